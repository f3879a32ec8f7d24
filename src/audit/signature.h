/* Signatures of samples: what finds equal and nearly equal ones among many without
 * comparing the samples themselves. Knows samples in memory, nothing of jobs. */
#ifndef AMG_AUDIT_SIGNATURE_H
#define AMG_AUDIT_SIGNATURE_H

#include "base/tensor.h"

typedef enum {
    AMG_SAMPLES_NUMBERS, /* equal or not, nothing in between */
    AMG_SAMPLES_IMAGES,
    AMG_SAMPLES_TOKENS
} amg_sample_kind;

#define AMG_CELLS 64 /* 8x8 */

/* Of count samples. A signature of 0 bits or patterns compares with nothing. */
typedef struct {
    int64_t count;
    uint64_t *exact;   /* hash of the bytes */
    uint64_t *pattern; /* tokens: hash of which places hold the same token, equal after
                          any renumbering of the vocabulary; 0: says too little */
    uint64_t *bits;    /* images: which of 8x8 means are above their middle; tokens: a
                          bit of each of 64 minima over runs of five (Broder 1997; Li
                          and König 2010). Near ones differ in few. 0: too little */
    uint8_t *cells;    /* [count][AMG_CELLS] images: those means, spread to 0..255 */
} amg_signatures;

AMG_MUST_CHECK amg_status amg_signatures_new(int64_t count, amg_signatures *out,
                                             amg_error *err);
void amg_signatures_clear(amg_signatures *s); /* zeroed is fine */

/* Signature i of a sample: dims [C,H,W] of values of dtype U8 or F32; tokens I32, dims
 * [1,n,1]. */
void amg_signature_set(amg_signatures *s, int64_t i, amg_sample_kind kind,
                       amg_dtype dtype, const int64_t dims[3], const void *values);

/* The nearest of pool's first .. last-1 by bits and cells, left out: those with the
 * query's exact hash. -1: none is near. *distance: 0 and more, compares with another
 * call's. */
int64_t amg_signature_nearest(const amg_signatures *query, int64_t i,
                              const amg_signatures *pool, int64_t first, int64_t last,
                              int *distance);

/* Whether samples are near: images of n values by their correlation, .95 and more;
 * tokens if runs of five are common to half of all that either has. */
bool amg_images_near(const float *a, const float *b, int64_t n);
AMG_MUST_CHECK amg_status amg_tokens_near(const int32_t *a, const int32_t *b, int64_t n,
                                          bool *near, amg_error *err);

#endif
