/* Noise of the paper's mode: what stands at positions that are not the original's. A
 * law is fitted to the training split once and used for every split.
 *
 *   levels   the data's own values, if there are at most 65,536 of them (8-bit images:
 *            256, whether stored as bytes or as k/255): noise takes exactly these, bit
 *            for bit, because noise off the data's lattice is recognised at sight
 *   uniform  every level alike; without levels: uniform from the least value to the
 *            largest
 *   gaussian, laplace   the data's mean and deviation (laplace: scale = deviation /
 *            sqrt 2), cut at the data's range, each draw moved to the nearest level
 *   values   uniform over the user's list
 *
 * Mean and deviation are rounded (deviation to 5 binary digits, mean to 1/16 of it), so
 * that a data set that grew a little keeps its noise: else two uploads of one sample
 * would differ in the noise positions and show them.
 *
 * Tokens have laws of their own (noise_tokens.c):
 *
 *   uniform  every token of the vocabulary alike
 *   unigram  a token as often as in the training data
 *   bigram   after each token one that follows it in the training data, as often as it
 *            does there; the first one, and one after a token that nothing follows,
 *            unigram
 *
 * Their counts are the data's own, so a data set that grew gets other noise, and two
 * uploads of one sample show it: this too is only for comparison.
 *
 * None of this hides the original from an attacker who looks (DESIGN.md §7). */
#ifndef AMG_OBFUSCATE_NOISE_H
#define AMG_OBFUSCATE_NOISE_H

#include "formats/dataset.h"
#include "key/secret.h"
#include "obfuscate/plan.h"

#define AMG_NOISE_GUIDE_BITS 12

typedef struct {
    amg_noise kind;
    amg_dtype dtype;
    double low, high; /* range of the data */
    double mean, std; /* rounded as above */
    /* Levels: level l is drawn for 32-bit numbers in [upper[l-1], upper[l]). guide[i]
     * is the first level that a number with the top bits i can mean. 0: no levels. */
    int64_t num_levels;
    float *levels;
    uint64_t *upper;
    int32_t guide[1 << AMG_NOISE_GUIDE_BITS];
    /* Tokens: their number; unigram and bigram: pairs of neighbours by their first
     * token, those of t are next[start[t]] to next[start[t+1] - 1]; unigram: next NULL,
     * start counts tokens. */
    int64_t vocab;
    int64_t *start; /* [vocab + 1] */
    int32_t *next;
} amg_noise_law;

/* Fits a law to ds (U8 or F32; one pass, none for AMG_NOISE_VALUES). values: the list
 * of AMG_NOISE_VALUES, copied. AMG_INVALID: no sample, no value, or a value that dtype
 * cannot hold; AMG_NOT_FINITE (from the reader) names the sample. */
AMG_MUST_CHECK amg_status amg_noise_fit(amg_noise kind, const amg_dataset *ds,
                                        const float *values, int64_t num_values,
                                        amg_noise_law *out, amg_error *err);
/* The same for tokens (I32) below vocab: uniform, unigram or bigram. AMG_MISMATCH names
 * a sample with a token that is not. Memory: 8 bytes a token of the vocabulary, bigram
 * 4 more for each token of the data, up to 64 MiB: of larger data every m-th sample
 * counts. */
AMG_MUST_CHECK amg_status amg_noise_fit_tokens(amg_noise kind, const amg_dataset *ds,
                                               int64_t vocab, amg_noise_law *out,
                                               amg_error *err);
void amg_noise_clear(amg_noise_law *law); /* zeroed is fine */

/* num draws as elements of the law's dtype into out. */
void amg_noise_fill(const amg_noise_law *law, amg_keystream *ks, int64_t num,
                    void *out);
void amg_noise_fill_tokens(const amg_noise_law *law, amg_keystream *ks, int64_t num,
                           int32_t *out);

#endif
