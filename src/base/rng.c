/* Philox4x32-10: ten rounds of multiply, xor and key bump over a 128-bit counter.
 * Constants and round function from Salmon et al. (SC 2011); the test holds their
 * published vectors. */
#include "base/rng.h"

#include <math.h>

#include "base/vector.h"

#define MULT_0 0xD2511F53u
#define MULT_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u

void amg_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)MULT_0 * c0, p1 = (uint64_t)MULT_1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0,
                 n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Plane by plane: word j of all lanes, as vectors hold them. */
AMG_VECTOR void amg_philox_lanes(const uint32_t key[2], const uint32_t counter[4],
                                 uint32_t out[4 * AMG_PHILOX_LANES])
{
    uint32_t c0[AMG_PHILOX_LANES], c1[AMG_PHILOX_LANES], c2[AMG_PHILOX_LANES],
        c3[AMG_PHILOX_LANES];
    uint32_t k0 = key[0], k1 = key[1];
    for (uint32_t i = 0; i < AMG_PHILOX_LANES; i++) {
        c0[i] = counter[0] + i;
        c1[i] = counter[1];
        c2[i] = counter[2];
        c3[i] = counter[3];
    }
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int i = 0; i < AMG_PHILOX_LANES; i++) {
            const uint64_t p0 = (uint64_t)MULT_0 * c0[i], p1 = (uint64_t)MULT_1 * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)p1;
            c3[i] = (uint32_t)p0;
        }
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    for (int i = 0; i < AMG_PHILOX_LANES; i++) {
        out[4 * i] = c0[i];
        out[4 * i + 1] = c1[i];
        out[4 * i + 2] = c2[i];
        out[4 * i + 3] = c3[i];
    }
}

/* The stream number is the counter's upper half, so that streams of one seed are
 * disjoint. */
amg_rng amg_rng_init(uint64_t seed, uint64_t stream)
{
    return (amg_rng){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)},
        .used = 4 * AMG_PHILOX_LANES,
    };
}

uint32_t amg_rng_u32(amg_rng *rng)
{
    if (rng->used == 4 * AMG_PHILOX_LANES) {
        amg_philox_lanes(rng->key, rng->counter, rng->blocks);
        rng->counter[0] += AMG_PHILOX_LANES;
        if (rng->counter[0] == 0) rng->counter[1]++;
        rng->used = 0;
    }
    return rng->blocks[rng->used++];
}

uint64_t amg_rng_u64(amg_rng *rng)
{
    uint64_t low = amg_rng_u32(rng);
    return low | (uint64_t)amg_rng_u32(rng) << 32;
}

/* Rejects the draws of an incomplete copy of [0, bound): those below 2^64 mod bound,
 * which is itself below bound. */
uint64_t amg_rng_below(amg_rng *rng, uint64_t bound)
{
    uint64_t v;
    do v = amg_rng_u64(rng);
    while (v < bound && v < (uint64_t)(0 - bound) % bound);
    return v % bound;
}

float amg_rng_uniform(amg_rng *rng)
{
    return (float)(amg_rng_u32(rng) >> 8) * 0x1p-24f;
}

double amg_rng_normal(amg_rng *rng)
{
    double u = ((double)(amg_rng_u64(rng) >> 11) + 0.5) * 0x1p-53; /* never 0 */
    double v = (double)(amg_rng_u64(rng) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}

void amg_rng_permutation(amg_rng *rng, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t j = (int64_t)amg_rng_below(rng, (uint64_t)i + 1);
        out[i] = out[j];
        out[j] = i;
    }
}
