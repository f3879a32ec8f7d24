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
    bool classes_last;
    int counted; /* labels that are not IGNORED */
    float smoothing;
    double loss;
    int top1, top5;
    float logits[64];
    int32_t labels[16];
    float dlogits[64];
    float weights[16]; /* of weighted_goldens */
} loss_golden;

typedef struct {
    amg_loss_kind kind;
    float delta;
    int samples, count;
    double loss;
    int hits;
    float x[64], target[64], dx[64];
} element_golden;

typedef struct {
    int samples, count;
    double loss;
    float x[64], target[64], dx[64];
} mse_golden;

#include "loss_goldens.h"

#define IGNORED (-100)

static amg_loss_result run_golden(const loss_golden *g, const float *logits,
                                  const float *weights, float *d)
{
    const amg_cross_entropy_task task = {.samples = g->samples,
                                         .classes = g->classes,
                                         .positions = g->positions,
                                         .classes_last = g->classes_last,
                                         .label_smoothing = g->smoothing,
                                         .class_weights = weights,
                                         .has_ignore =
                                             g->counted < g->samples * g->positions,
                                         .ignore = IGNORED};
    return amg_cross_entropy(&task, logits, g->labels, d);
}

/* The task of one class a sample. */
static amg_cross_entropy_task single(int64_t samples, int64_t classes, float smoothing)
{
    return (amg_cross_entropy_task){.samples = samples,
                                    .classes = classes,
                                    .positions = 1,
                                    .label_smoothing = smoothing};
}

static void check_goldens(const loss_golden *all, size_t count, bool weighted)
{
    for (size_t i = 0; i < count; i++) {
        const loss_golden *g = &all[i];
        float d[64], same[64];
        const float *weights = weighted ? g->weights : NULL;
        const amg_loss_result r = run_golden(g, g->logits, weights, d);
        memcpy(same, g->logits, sizeof same);
        run_golden(g, same, weights, same);
        assert_memory_equal(
            same, d, sizeof(float) * (size_t)(g->samples * g->classes * g->positions));
        /* The reference is float64 on the same float32 logits. Ours takes the
         * exponentials in float (1e-7 each) of differences that are rounded to float
         * (6e-8 of the largest, which exp makes relative). */
        assert_true(fabs(r.loss - g->loss) <= 5e-7 * fabs(g->loss));
        assert_int_equal(r.top1, g->top1);
        assert_int_equal(r.top5, g->top5);
        assert_int_equal(r.counted, g->counted);
        for (int k = 0; k < g->samples * g->classes * g->positions; k++)
            assert_true(fabsf(d[k] - g->dlogits[k]) <=
                        2e-6f * fabsf(g->dlogits[k]) + 3e-8f);
    }
}

static void loss_gradient_and_counts_equal_pytorch(void **state)
{
    (void)state;
    check_goldens(goldens, sizeof goldens / sizeof goldens[0], false);
}

static void class_weights_equal_pytorch(void **state)
{
    (void)state;
    check_goldens(weighted_goldens,
                  sizeof weighted_goldens / sizeof weighted_goldens[0], true);
}

static void losses_of_elements_equal_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof element_goldens / sizeof element_goldens[0]; i++) {
        const element_golden *g = &element_goldens[i];
        float dx[64];
        const amg_loss_result r = amg_element_loss(g->kind, g->delta, g->x, g->target,
                                                   g->samples, g->count, dx);
        /* The reference is float64 on the same float32 numbers, and so are our sums. */
        assert_true(fabs(r.loss - g->loss) <= 1e-12 * fabs(g->loss));
        assert_int_equal(r.top1, g->hits);
        assert_int_equal(r.counted, g->samples * g->count);
        for (int k = 0; k < g->samples * g->count; k++)
            assert_true(fabsf(dx[k] - g->dx[k]) <= 1e-6f * fabsf(g->dx[k]) + 1e-30f);
        const amg_loss_result only = amg_element_loss(
            g->kind, g->delta, g->x, g->target, g->samples, g->count, NULL);
        assert_memory_equal(&only.loss, &r.loss, sizeof r.loss);
    }
}

static void mse_and_its_gradient_equal_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mse_goldens / sizeof mse_goldens[0]; i++) {
        const mse_golden *g = &mse_goldens[i];
        float dx[64];
        const amg_loss_result r = amg_element_loss(AMG_LOSS_MSE, 0, g->x, g->target,
                                                   g->samples, g->count, dx);
        /* Both compute in float64 from the same float32: only sums differ in order, and
         * the gradient in its last place. */
        assert_true(fabs(r.loss - g->loss) <= 1e-14 * g->loss);
        assert_true(g->loss > 0 && r.top1 == 0 && r.top5 == 0);
        for (int k = 0; k < g->samples * g->count; k++)
            assert_true(fabsf(dx[k] - g->dx[k]) <= 1.2e-7f * fabsf(g->dx[k]));
        const amg_loss_result without = amg_element_loss(
            AMG_LOSS_MSE, 0, g->x, g->target, g->samples, g->count, NULL);
        assert_memory_equal(&r, &without, sizeof r);
    }
}

static void the_gradient_may_replace_the_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        const loss_golden *g = &goldens[i];
        float d[64], x[64];
        memcpy(x, g->logits, sizeof x);
        const size_t bytes =
            sizeof *x * (size_t)(g->samples * g->classes * g->positions);
        const amg_loss_result beside = run_golden(g, x, NULL, d);
        const amg_loss_result in_place = run_golden(g, x, NULL, x);
        assert_memory_equal(&beside, &in_place, sizeof beside);
        assert_memory_equal(x, d, bytes);
        assert_memory_not_equal(x, g->logits, bytes);
    }
}

static void nothing_counted_is_no_loss(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    const int32_t labels[2] = {IGNORED, IGNORED};
    float d[6] = {9, 9, 9, 9, 9, 9};
    amg_cross_entropy_task task = single(2, 3, 0.1f);
    task.has_ignore = true;
    task.ignore = IGNORED;
    const amg_loss_result r = amg_cross_entropy(&task, x, labels, d);
    assert_true(r.loss == 0 && r.top1 == 0 && r.top5 == 0 && r.counted == 0);
    for (int i = 0; i < 6; i++) assert_true(d[i] == 0);
}

/* A vocabulary's worth of classes, against the same sums in double. */
static void tens_of_thousands_of_classes_keep_their_digits(void **state)
{
    (void)state;
    enum { C = 33278, LABEL = 30000 };
    static float x[C], d[C];
    const int32_t label = LABEL;
    amg_rng rng = amg_rng_init(5, 0);
    double sum = 0;
    int64_t larger = 0;
    for (int c = 0; c < C; c++) {
        x[c] = 4 * (float)amg_rng_normal(&rng);
        sum += exp((double)x[c]);
    }
    for (int c = 0; c < C; c++) larger += x[c] > x[LABEL];
    assert_true(larger > 5);
    const amg_cross_entropy_task task = single(1, C, 0);
    const amg_loss_result r = amg_cross_entropy(&task, x, &label, d);
    const double loss = log(sum) - (double)x[LABEL];
    assert_true(fabs(r.loss - loss) <= 1e-7 * loss);
    assert_int_equal(r.top5, 0);
    for (int c = 0; c < C; c++) {
        const double p = exp((double)x[c]) / sum, wanted = p - (c == LABEL);
        /* x - max is up to 36 here, its float up to 2e-6 off. */
        assert_true(fabs((double)d[c] - wanted) <= 3e-6 * fabs(wanted));
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
    amg_cross_entropy_task task = {
        .samples = N, .classes = C, .positions = P, .label_smoothing = 0.1f};
    const amg_loss_result map = amg_cross_entropy(&task, x[0][0], labels, dx[0][0]);
    task = single(N * P, C, 0.1f);
    const amg_loss_result one =
        amg_cross_entropy(&task, rows[0][0], labels, drows[0][0]);
    /* Wider vectors add in another order. */
    assert_true(fabs(map.loss - one.loss) <= 1e-7 * one.loss);
    assert_true(map.top1 == one.top1 && map.top5 == one.top5);
    for (int n = 0; n < N; n++)
        for (int p = 0; p < P; p++)
            for (int c = 0; c < C; c++)
                assert_true(fabsf(dx[n][c][p] - drows[n][p][c]) <= 1e-8f);
    task = (amg_cross_entropy_task){.samples = N,
                                    .classes = C,
                                    .positions = P,
                                    .classes_last = true,
                                    .label_smoothing = 0.1f};
    const amg_loss_result last = amg_cross_entropy(&task, rows[0][0], labels, NULL);
    assert_memory_equal(&last, &one, sizeof last);
}

static void the_gradient_is_optional_and_does_not_change_the_loss(void **state)
{
    (void)state;
    float d[64];
    const loss_golden *g = &goldens[1];
    const amg_loss_result with = run_golden(g, g->logits, NULL, d);
    const amg_loss_result without = run_golden(g, g->logits, NULL, NULL);
    assert_memory_equal(&with, &without, sizeof with);
}

static void huge_logits_stay_finite(void **state)
{
    (void)state;
    const float x[2][3] = {{3e38f, -3e38f, 0}, {-1e30f, -1e30f, -1e30f}};
    const int32_t labels[2] = {0, 1};
    float d[6];
    const amg_cross_entropy_task task = single(2, 3, 0);
    const amg_loss_result r = amg_cross_entropy(&task, x[0], labels, d);
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
    const amg_cross_entropy_task task = single(1, 3, 0);
    assert_true(isnan(amg_cross_entropy(&task, x, &label, NULL).loss));
    assert_true(isnan(amg_element_loss(AMG_LOSS_MSE, 0, x, x, 1, 3, NULL).loss));
}

static void equal_logits_count_as_argmax_does(void **state)
{
    (void)state;
    const float x[16] = {0}; /* two rows of eight equal logits: argmax gives class 0 */
    const int32_t labels[2] = {0, 5};
    const amg_cross_entropy_task task = single(2, 8, 0);
    const amg_loss_result r = amg_cross_entropy(&task, x, labels, NULL);
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
    const amg_cross_entropy_task task = single(ROWS, CLASSES, 0.1f);
    const amg_loss_result one = amg_cross_entropy(&task, x, labels, d1);
    const amg_loss_result mse_one =
        amg_element_loss(AMG_LOSS_MSE, 0, x, x + 1, ROWS - 1, CLASSES, NULL);
    amg_set_threads(2);
    const amg_loss_result two = amg_cross_entropy(&task, x, labels, d2);
    const amg_loss_result mse_two =
        amg_element_loss(AMG_LOSS_MSE, 0, x, x + 1, ROWS - 1, CLASSES, NULL);
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
        cmocka_unit_test(class_weights_equal_pytorch),
        cmocka_unit_test(losses_of_elements_equal_pytorch),
        cmocka_unit_test(the_gradient_may_replace_the_logits),
        cmocka_unit_test(nothing_counted_is_no_loss),
        cmocka_unit_test(tens_of_thousands_of_classes_keep_their_digits),
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
