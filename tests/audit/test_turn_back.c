/* Eigenvectors of known matrices, and a planted rotation found again from data that
 * share nothing but their law. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "audit/eigen.h"
#include "audit/turn_back.h"
#include "base/alloc.h"
#include "base/rng.h"

enum { N = 6, SIDE = 2, BLOCKS = SIDE * SIDE, IMAGES = 4000, ALL = BLOCKS * N };

/* The second difference: 2 - 2 cos(pi k / (n + 1)), sine waves. */
static void eigenvalues_of_a_known_matrix(void **state)
{
    (void)state;
    enum { SIZE = 25 };
    static double a[SIZE * SIZE], vectors[SIZE * SIZE];
    double values[SIZE];
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++)
            a[i * SIZE + j] = i == j ? 2 : i - j == 1 || j - i == 1 ? -1 : 0;
    assert_int_equal(amg_eigen_symmetric(a, SIZE, values, vectors, NULL), AMG_OK);
    for (int k = 0; k < SIZE; k++) {
        const double turn = acos(-1) * (SIZE - k) / (SIZE + 1);
        assert_true(fabs(values[k] - (2 - 2 * cos(turn))) < 1e-10);
        const double sign = vectors[k * SIZE] < 0 ? -1 : 1;
        for (int i = 0; i < SIZE; i++)
            assert_true(fabs(sign * vectors[k * SIZE + i] -
                             sqrt(2.0 / (SIZE + 1)) * sin(turn * (i + 1))) < 1e-8);
    }
}

/* Images of 2 x 2 blocks: values of a block of several scales, some of them in common
 * with its neighbours, skewed, another mean in each block. */
static float *draw(uint64_t seed)
{
    float *rows = amg_malloc((size_t)IMAGES * ALL * sizeof *rows);
    amg_rng rng = amg_rng_init(seed, 0);
    for (int i = 0; i < IMAGES; i++) {
        double common[N];
        for (int v = 0; v < N; v++) common[v] = amg_rng_normal(&rng);
        for (int b = 0; b < BLOCKS; b++)
            for (int v = 0; v < N; v++) {
                const double own = amg_rng_normal(&rng);
                const double next = v > 0 ? common[v - 1] : 0;
                rows[i * ALL + b * N + v] =
                    (float)(pow(0.6, v) * (common[v] + 0.4 * (b % SIDE) * next +
                                           (1 + 0.5 * b) * own + 0.3 * own * own) +
                            0.2 * b);
            }
    }
    return rows;
}

/* A reflection, x - 2 u (u x): orthogonal. */
static void reflect(float *rows, const int32_t *to)
{
    double u[N], length = 0;
    for (int v = 0; v < N; v++) u[v] = v - 1.3;
    for (int v = 0; v < N; v++) length += u[v] * u[v];
    for (int i = 0; i < IMAGES; i++) {
        float moved[ALL];
        for (int b = 0; b < BLOCKS; b++) {
            const float *x = rows + i * ALL + b * N;
            double along = 0;
            for (int v = 0; v < N; v++) along += u[v] * (double)x[v];
            for (int v = 0; v < N; v++)
                moved[to[b] * N + v] =
                    (float)((double)x[v] - 2 * along * u[v] / length);
        }
        memcpy(rows + i * ALL, moved, sizeof moved);
    }
}

static amg_blocks blocks_of(float *rows)
{
    amg_blocks b = {
        .n = N, .blocks = BLOCKS, .across = SIDE, .num = IMAGES, .rows = rows};
    assert_int_equal(amg_blocks_of(&b, NULL), AMG_OK);
    return b;
}

static void a_planted_rotation_is_found(void **state)
{
    (void)state;
    const int32_t to[BLOCKS] = {2, 0, 3, 1};
    int32_t place[BLOCKS];
    double turn[N * N], shift[N], off = 0, all = 0;
    float *plain = draw(1), *turned = draw(1);
    reflect(turned, to);
    float sample[ALL], before[ALL];
    memcpy(sample, turned, sizeof sample);
    memcpy(before, plain, sizeof before);
    amg_free(plain);
    amg_blocks seen = blocks_of(turned), known = blocks_of(draw(2));
    assert_int_equal(amg_blocks_match(&seen, &known, place, NULL), AMG_OK);
    for (int b = 0; b < BLOCKS; b++) assert_int_equal(place[to[b]], b);
    assert_int_equal(amg_turn_back(&seen, &known, place, turn, shift, NULL), AMG_OK);
    for (int b = 0; b < BLOCKS; b++)
        for (int v = 0; v < N; v++) {
            double found = shift[v];
            for (int j = 0; j < N; j++)
                found += turn[v * N + j] * (double)sample[to[b] * N + j];
            const double own = (double)before[b * N + v];
            off += (found - own) * (found - own);
            all += own * own;
        }
    assert_true(off < 0.03 * all);
    amg_blocks_clear(&seen);
    amg_blocks_clear(&known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigenvalues_of_a_known_matrix),
        cmocka_unit_test(a_planted_rotation_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
