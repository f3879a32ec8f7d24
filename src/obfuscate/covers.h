/* Covers: which pool samples fill the decoys' streams. What makes the original hard to
 * tell from decoys is that all streams are drawn alike, so:
 *
 *   - every decoy's rows are a uniform choice from the pool, made by the key; no row
 *     serves twice, in any split
 *   - rows stand in the pool's own order, as the original's stand in their set's;
 * paired by class, each cover is of the class of the private sample in its row, and
 * those of a class stand in the pool's order
 *   - no sample of one stream has the same bytes as one of another stream: such a pool
 *     row is passed over. Equal samples within one stream stay: the original keeps its
 *     own, so a decoy without any would be known by that.
 *
 * Training rows are taken from the front of the pool's keyed order and validation rows
 * from its back, decoys in turn, so that a set which grew a little keeps its covers.
 *
 * Windows of a token stream are chained: one begins where the one before ends, so the
 * cloud sees how many of a stream's neighbours are neighbours in the text. A random
 * part of a set is chained as often as random rows of its other parts; a whole set, or
 * a range, is chained throughout, and a decoy must be a stretch of the pool. So what is
 * nearer to the private data's share of chains is done, and refused where neither is
 * near. Runs:
 *
 *   - k stretches at equal distances; which decoy has which is the key's choice
 *   - windows that share tokens are in no two runs, nor in one and the private data: a
 *     text that goes on from one stream into another would set the third apart
 *   - where the private data begin with a document, so does every run
 *   - a stretch with a sample of another stream is not taken: passing a row over in it
 *     would leave a gap that the private data do not have */
#ifndef AMG_OBFUSCATE_COVERS_H
#define AMG_OBFUSCATE_COVERS_H

#include "formats/dataset.h"
#include "key/secret.h"

#define AMG_COVER_SPLITS 2 /* training, validation */

typedef struct {
    const amg_dataset *data; /* the private samples */
    const amg_dataset *pool; /* the same pointer in both splits: one pool for both */
    bool
        pair_classes; /* the same in both splits: a cover is of the class of the private
                         sample that it stands beside; class c of the pool is class c */
} amg_cover_split;

typedef struct {
    int num_decoys, num_splits;
    int64_t num_samples[AMG_COVER_SPLITS];
    int64_t *rows[AMG_COVER_SPLITS]; /* [num_decoys][num_samples] */
    /* Samples that are byte-equal to an earlier one of their own stream: of the private
     * data, and of all decoys together. Rates that differ much tell them apart. */
    int64_t private_repeats, cover_repeats;
    int64_t passed_over; /* pool rows equal to a sample of another stream */
} amg_cover_plan;

/* Chooses for all splits at once; reads every private sample and every chosen one once.
 * AMG_MISMATCH: the pool is too small (says how many samples are missing), has another
 * shape or dtype, or shares a row with private data or another pool (says which); or
 * classes are paired and there are none, or too few samples of one (says which); or
 * the two private splits share a row; or windows would be chained more or less often
 * than the private data's; or the pool has no room for the runs. Memory: about 32 bytes
 * per sample of the job and 14 (paired 26) per sample of a pool. */
AMG_MUST_CHECK amg_status amg_cover_plan_derive(const amg_secret *secret,
                                                int num_decoys,
                                                const amg_cover_split *splits,
                                                int num_splits, amg_cover_plan *out,
                                                amg_error *err);
void amg_cover_plan_clear(amg_cover_plan *plan); /* wipes; zeroed is fine */

#endif
