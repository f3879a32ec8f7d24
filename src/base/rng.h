/* Counter-based random numbers for everything that is NOT secret: initial weights,
 * batch order, dropout. Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011): a draw is a pure function of (seed, stream, counter), so any
 * thread may compute any part and the bits never depend on how work was split. Secrets
 * use src/key/, never this. */
#ifndef AMG_BASE_RNG_H
#define AMG_BASE_RNG_H

#include <stdint.h>

/* The raw block: 4 x 32 bits for one (key, counter). */
void amg_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);
/* The blocks of counter[0], counter[0] + 1, … (other words as they are), one after the
 * other: what as many calls of amg_philox give, in the processor's vectors. */
#define AMG_PHILOX_LANES 16
void amg_philox_lanes(const uint32_t key[2], const uint32_t counter[4],
                      uint32_t out[4 * AMG_PHILOX_LANES]);

/* A sequential reader over one stream. Copy it to fork; two streams of one seed never
 * overlap. */
typedef struct {
    uint32_t key[2];
    uint32_t counter[4]; /* of the next blocks: a multiple of AMG_PHILOX_LANES */
    uint32_t blocks[4 * AMG_PHILOX_LANES];
    int used; /* words of blocks already given out */
} amg_rng;

amg_rng amg_rng_init(uint64_t seed, uint64_t stream);
uint32_t amg_rng_u32(amg_rng *rng);
uint64_t amg_rng_u64(amg_rng *rng);
uint64_t amg_rng_below(amg_rng *rng,
                       uint64_t bound); /* unbiased in [0, bound), bound > 0 */
float amg_rng_uniform(amg_rng *rng);    /* [0, 1), 24 bits */
double amg_rng_normal(amg_rng *rng);    /* mean 0, variance 1 (Box-Muller) */
void amg_rng_permutation(amg_rng *rng, int64_t n, int64_t *out); /* uniform over n! */

#endif
