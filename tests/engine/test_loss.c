/* The losses against PyTorch, their stability, and their independence of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/rng.h"
#include "engine/loss.h"

typedef struct {
    int samples, classes, positions;
    float smoothing;
    double loss;
    int top1, top5;
    float logits[64];
    int32_t labels[16];
    float dlogits[64];
} loss_golden;

typedef struct {
    int samples, count;
    double loss;
    float x[64], target[64], dx[64];
} mse_golden;

#include "loss_goldens.h"

static void loss_gradient_and_counts_equal_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        const loss_golden *g = &goldens[i];
        float d[64];
        const amg_loss_result r =
            amg_cross_entropy(g->logits, g->labels, g->samples, g->classes,
                              g->positions, g->smoothing, d);
        /* The reference is float64 on the same float32 logits, so the loss differs by
         * float32's smoothing constant only, the gradient by its last bit. */
        assert_true(fabs(r.loss - g->loss) <= 1e-7 * fabs(g->loss));
        assert_int_equal(r.top1, g->top1);
        assert_int_equal(r.top5, g->top5);
        for (int k = 0; k < g->samples * g->classes * g->positions; k++)
            assert_true(fabsf(d[k] - g->dlogits[k]) <=
                        1e-7f * fabsf(g->dlogits[k]) + 1e-9f);
    }
}

static void mse_and_its_gradient_equal_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mse_goldens / sizeof mse_goldens[0]; i++) {
        const mse_golden *g = &mse_goldens[i];
        float dx[64];
        const amg_loss_result r = amg_mse(g->x, g->target, g->samples, g->count, dx);
        /* Both compute in float64 from the same float32: only sums differ in order. */
        assert_true(fabs(r.loss - g->loss) <= 1e-14 * g->loss);
        assert_true(g->loss > 0 && r.top1 == 0 && r.top5 == 0);
        for (int k = 0; k < g->samples * g->count; k++)
            assert_true(fabsf(dx[k] - g->dx[k]) <= 1e-7f * fabsf(g->dx[k]));
        const amg_loss_result without =
            amg_mse(g->x, g->target, g->samples, g->count, NULL);
        assert_memory_equal(&r, &without, sizeof r);
    }
}

static void a_class_map_is_as_many_single_labels(void **state)
{
    (void)state;
    enum { N = 3, C = 4, P = 5 };
    float x[N][C][P], rows[N][P][C], dx[N][C][P], drows[N][P][C];
    int32_t labels[N * P];
    amg_rng rng = amg_rng_init(9, 0);
    for (int n = 0; n < N; n++)
        for (int p = 0; p < P; p++) {
            labels[n * P + p] = (int32_t)amg_rng_below(&rng, C);
            for (int c = 0; c < C; c++)
                x[n][c][p] = rows[n][p][c] = (float)amg_rng_normal(&rng);
        }
    const amg_loss_result map =
        amg_cross_entropy(x[0][0], labels, N, C, P, 0.1f, dx[0][0]);
    const amg_loss_result single =
        amg_cross_entropy(rows[0][0], labels, N * P, C, 1, 0.1f, drows[0][0]);
    assert_memory_equal(&map, &single, sizeof map);
    for (int n = 0; n < N; n++)
        for (int p = 0; p < P; p++)
            for (int c = 0; c < C; c++) assert_true(dx[n][c][p] == drows[n][p][c]);
}

static void the_gradient_is_optional_and_does_not_change_the_loss(void **state)
{
    (void)state;
    float d[64];
    const loss_golden *g = &goldens[1];
    const amg_loss_result with = amg_cross_entropy(
        g->logits, g->labels, g->samples, g->classes, g->positions, g->smoothing, d);
    const amg_loss_result without = amg_cross_entropy(
        g->logits, g->labels, g->samples, g->classes, g->positions, g->smoothing, NULL);
    assert_memory_equal(&with, &without, sizeof with);
}

static void huge_logits_stay_finite(void **state)
{
    (void)state;
    const float x[2][3] = {{3e38f, -3e38f, 0}, {-1e30f, -1e30f, -1e30f}};
    const int32_t labels[2] = {0, 1};
    float d[6];
    const amg_loss_result r = amg_cross_entropy(x[0], labels, 2, 3, 1, 0, d);
    /* Row 0 is certain and right; row 1 is uniform. */
    assert_true(fabs(r.loss - log(3) / 2) < 1e-12);
    assert_true(d[0] == 0 && d[1] == 0);
    assert_true(fabsf(d[4] - (1.f / 3 - 1) / 2) < 1e-7f);
}

static void not_a_number_reaches_the_loss(void **state)
{
    (void)state;
    const float x[3] = {0, NAN, 1};
    const int32_t label = 0;
    assert_true(isnan(amg_cross_entropy(x, &label, 1, 3, 1, 0, NULL).loss));
    assert_true(isnan(amg_mse(x, x, 1, 3, NULL).loss));
}

static void equal_logits_count_as_argmax_does(void **state)
{
    (void)state;
    const float x[16] = {0}; /* two rows of eight equal logits: argmax gives class 0 */
    const int32_t labels[2] = {0, 5};
    const amg_loss_result r = amg_cross_entropy(x, labels, 2, 8, 1, 0, NULL);
    assert_int_equal(r.top1, 1);
    assert_int_equal(r.top5, 1);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    enum { ROWS = 1300, CLASSES = 10 }; /* more than two of the loss's chunks */
    static float x[ROWS * CLASSES], d1[ROWS * CLASSES], d2[ROWS * CLASSES];
    static int32_t labels[ROWS];
    amg_rng rng = amg_rng_init(3, 0);
    for (int i = 0; i < ROWS * CLASSES; i++) x[i] = (float)amg_rng_normal(&rng);
    for (int i = 0; i < ROWS; i++) labels[i] = (int32_t)amg_rng_below(&rng, CLASSES);
    amg_set_threads(1);
    const amg_loss_result one =
        amg_cross_entropy(x, labels, ROWS, CLASSES, 1, 0.1f, d1);
    const amg_loss_result mse_one = amg_mse(x, x + 1, ROWS - 1, CLASSES, NULL);
    amg_set_threads(2);
    const amg_loss_result two =
        amg_cross_entropy(x, labels, ROWS, CLASSES, 1, 0.1f, d2);
    const amg_loss_result mse_two = amg_mse(x, x + 1, ROWS - 1, CLASSES, NULL);
    amg_set_threads(0);
    assert_memory_equal(&one, &two, sizeof one);
    assert_memory_equal(d1, d2, sizeof d1);
    assert_memory_equal(&mse_one, &mse_two, sizeof mse_one);
    assert_true(mse_one.loss > 1);
    assert_true(one.top1 > 0 && one.top1 < one.top5 && one.top5 < ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_gradient_and_counts_equal_pytorch),
        cmocka_unit_test(mse_and_its_gradient_equal_pytorch),
        cmocka_unit_test(a_class_map_is_as_many_single_labels),
        cmocka_unit_test(the_gradient_is_optional_and_does_not_change_the_loss),
        cmocka_unit_test(huge_logits_stay_finite),
        cmocka_unit_test(not_a_number_reaches_the_loss),
        cmocka_unit_test(equal_logits_count_as_argmax_does),
        cmocka_unit_test(threads_do_not_change_a_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
