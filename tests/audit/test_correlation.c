/* Neighbours by correlation against all pairs computed directly, one by one, in double:
 * bytes, floats and tokens, more positions than one block of the matrix has rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/correlation.h"
#include "fixture_evidence.h"

enum { ROWS = 40, TOP = 5, TOKENS = 30 };

/* Pixels that drift over the image, so that neighbours go together. */
static void draw_image(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    (void)stream, (void)row;
    float at = 128;
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++)
        sample[i] = at = 0.8f * at + 51.2f * amg_rng_uniform(rng);
    *label = 0;
}

static void draw_tokens(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    (void)stream, (void)row;
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++) {
        const float u = amg_rng_uniform(rng);
        sample[i] = i % 3 ? sample[i - 1] : floorf(u * u * TOKENS);
    }
    *label = 0;
}

/* ---- the direct way ---- */

/* log of 1 + the number of tokens that are more frequent, or as frequent and lower. */
static double rank_number(const amg_evidence *e, int64_t num_rows, int32_t token)
{
    int64_t uses[TOKENS] = {0};
    const int32_t *x = (const int32_t *)e->x;
    for (int64_t i = 0; i < num_rows * e->num_positions; i++) uses[x[i]]++;
    int before = 0;
    for (int32_t t = 0; t < TOKENS; t++)
        before += uses[t] > uses[token] || (uses[t] == uses[token] && t < token);
    return log(1 + before);
}

static double *numbers(const amg_evidence *e, int64_t num_rows)
{
    double *x = malloc((size_t)(num_rows * e->num_positions) * sizeof *x);
    double of_token[TOKENS] = {0};
    for (int32_t t = 0; e->is_tokens && t < TOKENS; t++)
        of_token[t] = rank_number(e, num_rows, t);
    for (int64_t i = 0; i < num_rows * e->num_positions; i++) {
        const float v =
            amg_evidence_value(e, i / e->num_positions, i % e->num_positions);
        x[i] = e->is_tokens ? of_token[(int)v] : (double)v;
    }
    return x;
}

static double correlation(const double *x, int64_t n, int64_t step, int64_t a,
                          int64_t b)
{
    double mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;
    for (int64_t i = 0; i < n; i++) {
        mean_a += x[i * step + a] / (double)n;
        mean_b += x[i * step + b] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        const double p = x[i * step + a] - mean_a, q = x[i * step + b] - mean_b;
        aa += p * p;
        bb += q * q;
        ab += p * q;
    }
    return aa > 1e-9 && bb > 1e-9 ? ab / sqrt(aa * bb) : 0;
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Every list: numbers as those of its indices, none twice, the largest that there are.
 */
static void check(const amg_evidence *e, int64_t asked, int64_t num_rows)
{
    const int64_t n = e->num_positions;
    amg_neighbours found = {0};
    amg_error err = {0};
    double *x = numbers(e, num_rows), *all = malloc((size_t)n * sizeof *all);
    if (amg_neighbours_find(e, asked, TOP, NULL, &found, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(found.n, n);
    assert_int_equal(found.top, TOP);
    for (int64_t p = 0; p < n; p++) {
        int64_t others = 0;
        for (int64_t q = 0; q < n; q++)
            if (q != p) all[others++] = fabs(correlation(x, num_rows, n, p, q));
        qsort(all, (size_t)others, sizeof *all, descending);
        for (int i = 0; i < TOP; i++) {
            const int32_t q = found.index[p * TOP + i];
            const double corr = (double)found.corr[p * TOP + i];
            assert_in_range(q, 0, n - 1);
            assert_int_not_equal(q, p);
            for (int j = 0; j < i; j++)
                assert_int_not_equal(q, found.index[p * TOP + j]);
            assert_true(fabs(corr - correlation(x, num_rows, n, p, q)) < 1e-5);
            assert_true(fabs(fabs(corr) - all[i]) < 1e-5);
        }
    }
    free(x);
    free(all);
    amg_neighbours_clear(&found);
}

static void images_over_several_blocks(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 2, 0, (const int64_t[]){1, 16, 18}, ROWS, 0,
                     draw_image, 1);
    assert_true(e.num_positions > 512);
    for (int64_t row = 0; row < ROWS; row++) e.x[row * e.num_positions + 7] = 201;
    check(&e, 0, ROWS);
    check(&e, 25, 25);
    check(&e, 1000, ROWS);
    amg_evidence_close(&e);
}

static void floats(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_F32, 3, 1, (const int64_t[]){1, 4, 5}, ROWS, 0, draw_image,
                     2);
    float *x = (float *)(void *)e.x;
    for (int64_t row = 0; row < ROWS; row++) {
        x[row * e.num_positions + 3] = 0.1f;                      /* constant */
        x[row * e.num_positions + 9] = -x[row * e.num_positions]; /* the opposite */
    }
    check(&e, 0, ROWS);
    amg_neighbours found = {0};
    assert_int_equal(amg_neighbours_find(&e, 0, 1, NULL, &found, NULL), AMG_OK);
    assert_int_equal(found.index[0], 9);
    assert_true(found.corr[0] < -0.9999f);
    assert_true(found.corr[3] == 0);
    amg_neighbours_clear(&found);
    /* A position that is not finite goes with nothing, and spoils no other. */
    x[0] = INFINITY;
    assert_int_equal(amg_neighbours_find(&e, 0, 100, NULL, &found, NULL), AMG_OK);
    assert_int_equal(found.top, e.num_positions - 1);
    for (int64_t i = 0; i < found.n * found.top; i++) {
        assert_false(isnan(found.corr[i]));
        if (i / found.top == 0 || found.index[i] == 0) assert_true(found.corr[i] == 0);
    }
    amg_neighbours_clear(&found);
    amg_evidence_close(&e);
}

static void tokens_by_their_rank(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_I32, 2, 0, (const int64_t[]){1, 24, 1}, ROWS, 0,
                     draw_tokens, 3);
    check(&e, 0, ROWS);
    /* Numbers that are no tokens stand for themselves. */
    int32_t *x = (int32_t *)(void *)e.x;
    for (int64_t i = 0; i < ROWS * e.num_positions; i++) x[i] = -x[i];
    amg_neighbours found = {0};
    assert_int_equal(amg_neighbours_find(&e, 0, 1, NULL, &found, NULL), AMG_OK);
    e.is_tokens = false; /* the direct way, too, takes them as they are */
    double *direct = numbers(&e, ROWS);
    assert_true(fabs((double)found.corr[0] - correlation(direct, ROWS, e.num_positions,
                                                         0, found.index[0])) < 1e-5);
    free(direct);
    amg_neighbours_clear(&found);
    amg_evidence_close(&e);
}

static bool stop(void *context, const amg_progress_event *event)
{
    int *reports = context;
    assert_int_equal(event->total, 2 * 16 * 18);
    return ++*reports < 2;
}

static void it_stops_on_request_and_without_memory(void **state)
{
    (void)state;
    amg_evidence e;
    amg_neighbours found = {0};
    amg_error err = {0};
    int reports = 0;
    const amg_progress progress = {stop, &reports};
    fixture_evidence(&e, AMG_U8, 2, 0, (const int64_t[]){1, 16, 18}, ROWS, 0,
                     draw_image, 1);
    assert_int_equal(amg_neighbours_find(&e, 0, TOP, &progress, &found, &err),
                     AMG_INTERRUPTED);
    assert_int_equal(reports, 2);
    assert_null(found.index);
    for (long n = 1; n <= 4; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status st = amg_neighbours_find(&e, 0, TOP, NULL, &found, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_null(found.corr);
    }
    amg_evidence_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_over_several_blocks),
        cmocka_unit_test(floats),
        cmocka_unit_test(tokens_by_their_rank),
        cmocka_unit_test(it_stops_on_request_and_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
