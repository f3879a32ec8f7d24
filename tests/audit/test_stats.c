/* Statistics against numbers that other means gave (make_stats_golden.py), their ends
 * and odd inputs, and k-means on clusters that anybody sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "audit/stats.h"
#include "base/alloc.h"

typedef struct {
    int64_t n;
    double score[64];
    uint8_t positive[64];
    double auc;
} auc_golden;

typedef struct {
    double auc;
    int64_t positives, negatives;
    int tests;
    double low, high;
} interval_golden;

typedef struct {
    int64_t hits, n;
    int tests;
    double low, high;
} share_golden;

typedef struct {
    int64_t hits, n;
    double p, tail;
} tail_golden;

typedef struct {
    double p, quantile;
} quantile_golden;

enum { RAND_ROWS = 24, FIT_ROWS = 20, FIT_COLUMNS = 3 };

typedef struct {
    int32_t a[RAND_ROWS], b[RAND_ROWS];
    double rand;
} rand_golden;

typedef struct {
    double l2, x[FIT_ROWS * FIT_COLUMNS];
    uint8_t y[FIT_ROWS];
    double w[FIT_COLUMNS + 1];
} logistic_golden;

typedef struct {
    int64_t dims[3];
    double range, ssim, psnr;
    float a[576], b[576];
} image_golden;

#include "stats_golden.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Relative to the larger of 1 and the expected number. */
static void near(double found, double expected, double tolerance)
{
    if (isinf(expected) && found == expected) return;
    if (!(fabs(found - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static void areas(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(auc_goldens); i++) {
        const auc_golden *g = &auc_goldens[i];
        near(amg_auc(g->score, g->positive, g->n), g->auc, 1e-14);
    }
    const double score[3] = {1, 2, 3}, odd[3] = {1, NAN, 3};
    assert_true(isnan(amg_auc(score, (const uint8_t[]){1, 1, 1}, 3)));
    assert_true(isnan(amg_auc(score, (const uint8_t[]){0, 0, 0}, 3)));
    assert_true(isnan(amg_auc(odd, (const uint8_t[]){0, 1, 1}, 3)));
    assert_true(isnan(amg_auc(score, NULL, 0)));
    long countdown = 1;
    amg_alloc_fail_after(&countdown);
    const double without_memory = amg_auc(score, (const uint8_t[]){0, 1, 1}, 3);
    amg_alloc_fail_after(NULL);
    assert_true(isnan(without_memory));
    near(amg_auc(score, (const uint8_t[]){0, 1, 1}, 3), 1, 0);
}

static void intervals(void **state)
{
    (void)state;
    double low, high;
    for (size_t i = 0; i < COUNT(interval_goldens); i++) {
        const interval_golden *g = &interval_goldens[i];
        amg_auc_interval(g->auc, g->positives, g->negatives, g->tests, &low, &high);
        near(low, g->low, 1e-12);
        near(high, g->high, 1e-12);
    }
    for (size_t i = 0; i < COUNT(share_goldens); i++) {
        const share_golden *g = &share_goldens[i];
        amg_share_interval(g->hits, g->n, g->tests, &low, &high);
        near(low, g->low, 1e-11);
        near(high, g->high, 1e-11);
    }
    amg_share_interval(0, 60, 1, &low, &high);
    assert_true(low == 0);
    amg_share_interval(60, 60, 1, &low, &high);
    assert_true(high == 1);
    amg_share_interval(0, 0, 1, &low, &high);
    assert_true(low == 0 && high == 1);
}

static void tails_and_quantiles(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(tail_goldens); i++) {
        const tail_golden *g = &tail_goldens[i];
        const double tail = amg_binomial_tail(g->hits, g->n, g->p);
        near(tail / g->tail, 1, 1e-11);
    }
    near(amg_binomial_tail(5, 4, 0.5), 0, 0);
    near(amg_binomial_tail(1, 4, 0), 0, 0);
    near(amg_binomial_tail(4, 4, 1), 1, 0);
    for (size_t i = 0; i < COUNT(quantile_goldens); i++) {
        const quantile_golden *g = &quantile_goldens[i];
        near(amg_normal_quantile(g->p), g->quantile, 1e-14);
    }
    near(amg_normal_quantile(0), -INFINITY, 0);
    near(amg_normal_quantile(1), INFINITY, 0);
    assert_true(isnan(amg_normal_quantile(-0.1)));
    assert_true(isnan(amg_normal_quantile(NAN)));
}

static void moments(void **state)
{
    (void)state;
    double mean, std, x[5] = {4, 1, 7, 2, 1};
    amg_mean_std(x, 5, &mean, &std);
    near(mean, 3, 1e-15);
    near(std, sqrt(26 / 5.0), 1e-15);
    near(amg_median(x, 5), 2, 0);
    near(amg_median((double[]){4, 1, 7, 2}, 4), 3, 0);
    assert_true(isnan(amg_median(x, 0)));
    /* The second column is constant, up to what its sum rounds away. */
    double rows[8] = {1, 0.1, 2, 0.1, 3, 0.1, 6, 0.1}, means[2], stds[2];
    amg_standardise(rows, 4, 2, means, stds);
    const double expected[4] = {-2, -1, 0, 3}, deviation = sqrt(14 / 4.0);
    for (int i = 0; i < 4; i++) {
        near(rows[2 * i], expected[i] / deviation, 1e-15);
        near(rows[2 * i + 1], 0, 0);
    }
    near(means[0], 3, 0);
    near(means[1], 0.1, 1e-15);
    near(stds[0], deviation, 1e-15);
    near(stds[1], 0, 0);
}

static void logistic_regression(void **state)
{
    (void)state;
    double w[FIT_COLUMNS + 1];
    amg_error err = {0};
    for (size_t i = 0; i < COUNT(logistic_goldens); i++) {
        const logistic_golden *g = &logistic_goldens[i];
        assert_int_equal(
            amg_logistic_fit(g->x, g->y, FIT_ROWS, FIT_COLUMNS, g->l2, w, &err),
            AMG_OK);
        for (int j = 0; j <= FIT_COLUMNS; j++) near(w[j], g->w[j], 1e-10);
        near(amg_logistic_score(w, g->x, FIT_COLUMNS),
             g->w[0] * g->x[0] + g->w[1] * g->x[1] + g->w[2] * g->x[2] + g->w[3], 1e-9);
    }
}

/* Without a penalty separable data have no optimum, and a column twice has many: the
 * fit ends all the same, and tells the sides apart. */
static void logistic_regression_of_odd_data(void **state)
{
    (void)state;
    const double x[8] = {-1, -1, -2, -2, 1, 1, 3, 3};
    const uint8_t y[4] = {0, 0, 1, 1};
    double w[3], bad[8];
    amg_error err = {0};
    assert_int_equal(amg_logistic_fit(x, y, 4, 2, 0, w, &err), AMG_OK);
    for (int i = 0; i < 4; i++) {
        const double z = amg_logistic_score(w, x + 2 * i, 2);
        assert_true(isfinite(z) && (z > 0) == (y[i] == 1));
    }
    memcpy(bad, x, sizeof x);
    bad[5] = NAN;
    assert_int_equal(amg_logistic_fit(bad, y, 4, 2, 1, w, &err), AMG_NOT_FINITE);
    long countdown = 1;
    amg_alloc_fail_after(&countdown);
    const amg_status st = amg_logistic_fit(x, y, 4, 2, 1, w, &err);
    amg_alloc_fail_after(NULL);
    assert_int_equal(st, AMG_NO_MEMORY);
}

static void rand_indices(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rand_goldens); i++) {
        const rand_golden *g = &rand_goldens[i];
        near(amg_adjusted_rand(g->a, g->b, RAND_ROWS), g->rand, 1e-14);
        near(amg_adjusted_rand(g->b, g->a, RAND_ROWS), g->rand, 1e-14);
    }
    const int32_t one[3] = {5, 5, 5}, each[3] = {1, 2, 3};
    near(amg_adjusted_rand(one, one, 3), 1, 0);
    near(amg_adjusted_rand(each, each, 3), 1, 0);
    near(amg_adjusted_rand(one, each, 3), 0, 0);
}

enum { BLOB_ROWS = 300, BLOBS = 3 };

static void make_blobs(double x[BLOB_ROWS * 2], int32_t blob[BLOB_ROWS])
{
    static const double centre[BLOBS][2] = {{0, 0}, {10, 0}, {0, 10}};
    amg_rng rng = amg_rng_init(7, 0);
    for (int i = 0; i < BLOB_ROWS; i++) {
        blob[i] = i % BLOBS;
        for (int j = 0; j < 2; j++)
            x[2 * i + j] = centre[blob[i]][j] + amg_rng_normal(&rng);
    }
}

static void clusters(void **state)
{
    (void)state;
    double x[BLOB_ROWS * 2];
    int32_t blob[BLOB_ROWS], cluster[BLOB_ROWS], again[BLOB_ROWS];
    amg_error err = {0};
    make_blobs(x, blob);
    const amg_rng rng = amg_rng_init(1, 2);
    assert_int_equal(amg_kmeans(x, BLOB_ROWS, 2, BLOBS, 5, rng, cluster, &err), AMG_OK);
    near(amg_adjusted_rand(cluster, blob, BLOB_ROWS), 1, 0);
    for (int i = 0; i < BLOB_ROWS; i++) assert_in_range(cluster[i], 0, BLOBS - 1);
    assert_int_equal(amg_kmeans(x, BLOB_ROWS, 2, BLOBS, 5, rng, again, &err), AMG_OK);
    assert_memory_equal(cluster, again, sizeof cluster);
    /* Fewer different rows than clusters. */
    const double same[4] = {3, 3, 3, 3};
    assert_int_equal(amg_kmeans(same, 4, 1, 3, 2, rng, cluster, &err), AMG_OK);
    for (int i = 0; i < 4; i++) assert_in_range(cluster[i], 0, 2);
    assert_int_equal(amg_kmeans(same, 4, 1, 5, 2, rng, cluster, &err), AMG_INVALID);
    for (long n = 1; n <= 4; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status st = amg_kmeans(same, 4, 1, 3, 2, rng, cluster, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(st, AMG_NO_MEMORY);
    }
}

static void images(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(image_goldens); i++) {
        const image_golden *g = &image_goldens[i];
        near(amg_ssim(g->a, g->b, g->dims, g->range), g->ssim, 1e-9);
        near(amg_psnr(g->a, g->b, g->dims, g->range), g->psnr, 1e-12);
        near(amg_ssim(g->a, g->a, g->dims, g->range), 1, 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(areas),
        cmocka_unit_test(intervals),
        cmocka_unit_test(tails_and_quantiles),
        cmocka_unit_test(moments),
        cmocka_unit_test(logistic_regression),
        cmocka_unit_test(logistic_regression_of_odd_data),
        cmocka_unit_test(rand_indices),
        cmocka_unit_test(clusters),
        cmocka_unit_test(images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
