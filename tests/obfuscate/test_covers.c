/* The choice of covers: no row twice, in the pool's order, uniform over keys, no bytes
 * in two streams, and what is refused with which words. */
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "obfuscate/covers.h"

static const int64_t dims[3] = {1, 2, 3};

typedef struct {
    amg_dataset *train, *val, *pool;
} sets;

/* 20 training, 10 validation samples; a pool of num_pool. All different bytes. */
static sets make_sets(const char *dir, int64_t num_pool)
{
    return (sets){make_random_set(dir, "train", 20, dims, 5, 1, ""),
                  make_random_set(dir, "val", 10, dims, 5, 2, ""),
                  make_random_set(dir, "pool", num_pool, dims, 5, 3, "")};
}

static void close_sets(sets *s)
{
    amg_dataset_close(s->train);
    amg_dataset_close(s->val);
    amg_dataset_close(s->pool);
}

static amg_status derive(unsigned key, int k, const sets *s, amg_cover_plan *out,
                         amg_error *err)
{
    const amg_cover_split splits[2] = {{s->train, s->pool}, {s->val, s->pool}};
    amg_secret *secret = secret_number(key);
    amg_status st = amg_cover_plan_derive(secret, k, splits, s->val ? 2 : 1, out, err);
    amg_secret_free(secret);
    return st;
}

static void no_row_serves_twice_in_any_split(void **state)
{
    sets s = make_sets(*state, 90); /* exactly 3 x (20 + 10) */
    amg_cover_plan p = {0};
    assert_int_equal(derive(1, 3, &s, &p, NULL), AMG_OK);
    uint8_t used[90] = {0};
    for (int split = 0; split < 2; split++)
        for (int64_t i = 0; i < 3 * p.num_samples[split]; i++) {
            assert_in_range(p.rows[split][i], 0, 89);
            assert_int_equal(used[p.rows[split][i]]++, 0);
        }
    assert_int_equal(p.num_samples[0], 20);
    assert_int_equal(p.num_samples[1], 10);
    assert_int_equal(p.private_repeats + p.cover_repeats + p.passed_over, 0);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void rows_stand_in_the_pools_own_order(void **state)
{
    sets s = make_sets(*state, 200);
    amg_cover_plan p = {0};
    assert_int_equal(derive(1, 3, &s, &p, NULL), AMG_OK);
    for (int split = 0; split < 2; split++)
        for (int d = 0; d < 3; d++)
            for (int64_t i = 1; i < p.num_samples[split]; i++) {
                const int64_t *rows = p.rows[split] + d * p.num_samples[split];
                assert_true(rows[i] > rows[i - 1]);
            }
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void the_choice_is_a_function_of_the_key(void **state)
{
    sets s = make_sets(*state, 200);
    amg_cover_plan a = {0}, b = {0}, c = {0};
    assert_int_equal(derive(1, 2, &s, &a, NULL), AMG_OK);
    assert_int_equal(derive(1, 2, &s, &b, NULL), AMG_OK);
    assert_int_equal(derive(2, 2, &s, &c, NULL), AMG_OK);
    assert_memory_equal(a.rows[0], b.rows[0], 40 * sizeof(int64_t));
    assert_memory_equal(a.rows[1], b.rows[1], 20 * sizeof(int64_t));
    assert_memory_not_equal(a.rows[0], c.rows[0], 40 * sizeof(int64_t));
    amg_cover_plan_clear(&a);
    amg_cover_plan_clear(&b);
    amg_cover_plan_clear(&c);
    close_sets(&s);
}

/* Each of 60 pool rows covers decoy 1's training data with probability 1/3: 200 keys
 * give 66.7 +- 6.7 for each row. */
static void every_pool_row_is_chosen_alike(void **state)
{
    sets s = make_sets(*state, 60);
    amg_dataset_close(s.val);
    s.val = NULL;
    int chosen[60] = {0};
    for (unsigned key = 0; key < 200; key++) {
        amg_cover_plan p = {0};
        assert_int_equal(derive(key, 2, &s, &p, NULL), AMG_OK);
        for (int i = 0; i < 20; i++) chosen[p.rows[0][i]]++;
        amg_cover_plan_clear(&p);
    }
    double sum = 0;
    for (int i = 0; i < 60; i++) sum += pow(chosen[i] - 200 / 3.0, 2) / (400 / 9.0);
    assert_true(sum < 99.0); /* about chi-square with 59 degrees: once in 1,000 */
    close_sets(&s);
}

static void a_set_that_grew_keeps_its_covers(void **state)
{
    const char *dir = *state;
    sets small = make_sets(dir, 200), grown = small;
    grown.train = make_random_set(dir, "grown", 23, dims, 5, 1, "");
    amg_cover_plan a = {0}, b = {0};
    assert_int_equal(derive(1, 2, &small, &a, NULL), AMG_OK);
    assert_int_equal(derive(1, 2, &grown, &b, NULL), AMG_OK);
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < 20; i++) {
            bool found = false;
            for (int j = 0; j < 23; j++)
                found |= a.rows[0][d * 20 + i] == b.rows[0][d * 23 + j];
            assert_true(found);
        }
    assert_memory_equal(a.rows[1], b.rows[1], 20 * sizeof(int64_t));
    amg_cover_plan_clear(&a);
    amg_cover_plan_clear(&b);
    amg_dataset_close(grown.train);
    close_sets(&small);
}

static void validation_may_have_a_pool_of_its_own(void **state)
{
    sets s = make_sets(*state, 40);
    amg_dataset *other = make_random_set(*state, "other", 25, dims, 5, 9, "");
    const amg_cover_split splits[2] = {{s.train, s.pool}, {s.val, other}};
    amg_secret *secret = secret_number(1);
    amg_cover_plan p = {0};
    assert_int_equal(amg_cover_plan_derive(secret, 2, splits, 2, &p, NULL), AMG_OK);
    for (int i = 0; i < 20; i++) assert_in_range(p.rows[1][i], 0, 24);
    amg_cover_plan_clear(&p);
    amg_secret_free(secret);
    amg_dataset_close(other);
    close_sets(&s);
}

/* ---- equal bytes ---- */

/* Set of n samples; sample i is filled with the byte values[i]. */
static amg_dataset *make_filled(const char *dir, const char *name, int64_t n,
                                const uint8_t *values)
{
    uint8_t *x = malloc((size_t)n * 6);
    int64_t *labels = calloc((size_t)n, sizeof *labels);
    for (int64_t i = 0; i < n; i++) memset(x + i * 6, values[i], 6);
    amg_dataset *ds = make_set(dir, name, AMG_U8, n, dims, x, labels, "");
    free(x);
    free(labels);
    return ds;
}

static void pool_samples_equal_to_private_ones_are_passed_over(void **state)
{
    const uint8_t private_bytes[4] = {1, 2, 3, 4};
    const uint8_t pool_bytes[10] = {1, 2, 3, 4, 1, 2, 21, 22, 23, 24};
    sets s = {make_filled(*state, "a", 4, private_bytes), NULL,
              make_filled(*state, "b", 10, pool_bytes)};
    for (unsigned key = 0; key < 20; key++) {
        amg_cover_plan p = {0};
        assert_int_equal(derive(key, 1, &s, &p, NULL), AMG_OK);
        const int64_t want[4] = {6, 7, 8, 9};
        assert_memory_equal(p.rows[0], want, sizeof want);
        assert_in_range(p.passed_over, 0, 6);
        amg_cover_plan_clear(&p);
    }
    close_sets(&s);
}

static void no_bytes_stand_in_two_streams(void **state)
{
    /* Every pool sample is there three times: 2 decoys x 4 samples out of 30. */
    const uint8_t private_bytes[4] = {1, 2, 3, 4};
    uint8_t pool_bytes[30];
    for (int i = 0; i < 30; i++) pool_bytes[i] = (uint8_t)(50 + i / 3);
    sets s = {make_filled(*state, "a", 4, private_bytes), NULL,
              make_filled(*state, "b", 30, pool_bytes)};
    int64_t repeats = 0, passed = 0;
    for (unsigned key = 0; key < 50; key++) {
        amg_cover_plan p = {0};
        assert_int_equal(derive(key, 2, &s, &p, NULL), AMG_OK);
        int64_t equal_within = 0;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                assert_int_not_equal(p.rows[0][i] / 3, p.rows[0][4 + j] / 3);
        for (int d = 0; d < 2; d++)
            for (int i = 1; i < 4; i++)
                equal_within +=
                    p.rows[0][d * 4 + i] / 3 == p.rows[0][d * 4 + i - 1] / 3;
        assert_int_equal(p.cover_repeats, equal_within);
        repeats += p.cover_repeats;
        passed += p.passed_over;
        amg_cover_plan_clear(&p);
    }
    assert_true(repeats > 0); /* natural repeats within a stream do stay … */
    assert_true(passed > 0);  /* … and some samples were refused to another stream */
    close_sets(&s);
}

static void repeats_in_the_private_data_are_counted(void **state)
{
    const uint8_t private_bytes[5] = {1, 2, 1, 1, 3};
    sets s = {make_filled(*state, "a", 5, private_bytes), NULL,
              make_random_set(*state, "b", 20, dims, 5, 3, "")};
    amg_cover_plan p = {0};
    assert_int_equal(derive(1, 1, &s, &p, NULL), AMG_OK);
    assert_int_equal(p.private_repeats, 2);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void a_pool_that_runs_out_of_different_samples_is_refused(void **state)
{
    const uint8_t private_bytes[4] = {1, 2, 3, 4};
    const uint8_t pool_bytes[6] = {1, 2, 3, 30, 31, 32};
    sets s = {make_filled(*state, "a", 4, private_bytes), NULL,
              make_filled(*state, "b", 6, pool_bytes)};
    amg_cover_plan p = {0};
    amg_error err = {0};
    assert_int_equal(derive(1, 1, &s, &p, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "has 6 samples (3 equal to others were passed"));
    assert_non_null(strstr(err.what, "1 more are needed for 1 x 4"));
    assert_null(p.rows[0]);
    close_sets(&s);
}

/* ---- refusals ---- */

static void a_pool_too_small_says_how_many_are_missing(void **state)
{
    sets s = make_sets(*state, 89);
    amg_cover_plan p = {0};
    amg_error err = {0};
    assert_int_equal(derive(1, 3, &s, &p, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "has 89 samples"));
    assert_non_null(
        strstr(err.what, "1 more are needed for 3 x 10 of validation data"));
    assert_true(err.hint[0] != '\0');
    close_sets(&s);
    s = make_sets(*state, 50);
    assert_int_equal(derive(1, 3, &s, &p, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "10 more are needed for 3 x 20 of training data"));
    close_sets(&s);
}

static void a_row_in_data_and_pool_is_refused(void **state)
{
    amg_dataset *all = make_random_set(*state, "all", 100, dims, 5, 1, "");
    sets s = {make_random_set(*state, "all", 100, dims, 5, 1, "[0:20]"), NULL,
              make_random_set(*state, "all", 100, dims, 5, 1, "[19:60]")};
    amg_cover_plan p = {0};
    amg_error err = {0};
    assert_int_equal(derive(1, 1, &s, &p, &err), AMG_MISMATCH);
    assert_string_equal(
        err.what, "row 19 is in the training data and in the cover pool, expected no "
                  "row in both");
    amg_dataset_close(s.pool);
    s.pool = make_random_set(*state, "all", 100, dims, 5, 1, "[20:60]");
    assert_int_equal(derive(1, 1, &s, &p, &err), AMG_OK);
    amg_cover_plan_clear(&p);
    close_sets(&s);
    amg_dataset_close(all);
}

static void a_row_in_training_and_validation_is_refused(void **state)
{
    sets s = make_sets(*state, 200);
    amg_dataset_close(s.val);
    s.val = make_random_set(*state, "train", 20, dims, 5, 1, "[5:8]");
    amg_cover_plan p = {0};
    amg_error err = {0};
    assert_int_equal(derive(1, 1, &s, &p, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "row 5 is in the training data and in the "
                                     "validation data"));
    close_sets(&s);
}

static void a_pool_of_another_shape_is_refused(void **state)
{
    const int64_t other[3] = {3, 2, 1};
    sets s = make_sets(*state, 60);
    amg_dataset_close(s.pool);
    s.pool = make_random_set(*state, "pool", 60, other, 5, 3, "");
    amg_cover_plan p = {0};
    amg_error err = {0};
    assert_int_equal(derive(1, 1, &s, &p, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "cover pool"));
    assert_non_null(strstr(err.what, "[3,2,1]"));
    assert_non_null(strstr(err.what, "[1,2,3]"));
    close_sets(&s);
}

/* Rows of four bytes that count; from row *context on they cannot be read. */
static amg_status read_counted(void *context, const int64_t *rows, int64_t num, void *x,
                               void *y, amg_error *err)
{
    (void)y;
    for (int64_t i = 0; i < num; i++) {
        const int32_t value = (int32_t)rows[i];
        if (rows[i] >= *(int64_t *)context)
            return amg_fail(err, AMG_IO, -1, "pool", "row %lld is gone",
                            (long long)rows[i]);
        memcpy((uint8_t *)x + i * 4, &value, 4);
    }
    return AMG_OK;
}

static amg_dataset *counted(const char *name, int64_t num, int64_t *readable)
{
    const amg_dataset_callbacks c = {
        .info = {.dtype = AMG_U8, .num_samples = num, .rank = 3, .dims = {1, 2, 2}},
        .source = name,
        .context = readable,
        .read = read_counted};
    amg_dataset *ds = NULL;
    assert_int_equal(amg_dataset_from_callbacks(&c, &ds, NULL), AMG_OK);
    return ds;
}

/* More candidates than are read at once, so that reading ends in the midst of them. */
static void a_pool_that_cannot_be_read_is_told_wherever_it_fails(void **state)
{
    (void)state;
    enum { PRIVATE = 9000, LARGE = 30000 };
    int64_t own_rows = PRIVATE, pool_rows = 0;
    amg_secret *secret = secret_number(1);
    amg_dataset *own = counted("own", PRIVATE, &own_rows);
    amg_dataset *pool = counted("large", LARGE, &pool_rows);
    const amg_cover_split many = {own, pool};
    for (pool_rows = 0; pool_rows < LARGE; pool_rows += 5000) {
        amg_cover_plan p = {0};
        assert_int_equal(amg_cover_plan_derive(secret, 1, &many, 1, &p, NULL), AMG_IO);
        assert_null(p.rows[0]);
    }
    amg_dataset_close(own);
    amg_dataset_close(pool);
    amg_secret_free(secret);
}

/* ---- paired by class ---- */

/* The private data's classes are i % 5; the pool's, of 8 classes, run 0 .. 7. */
static sets make_paired_sets(const char *dir, int64_t num_pool)
{
    sets s = make_sets(dir, 1);
    amg_dataset_close(s.pool);
    s.pool = make_random_set(dir, "classes", num_pool, dims, 8, 3, "");
    return s;
}

static amg_status derive_pairs(unsigned key, int k, const sets *s, amg_cover_plan *out,
                               amg_error *err)
{
    const amg_cover_split splits[2] = {{s->train, s->pool, true},
                                       {s->val, s->pool, true}};
    amg_secret *secret = secret_number(key);
    amg_status st = amg_cover_plan_derive(secret, k, splits, 2, out, err);
    amg_secret_free(secret);
    return st;
}

static void paired_covers_are_of_the_class_beside_them(void **state)
{
    sets s = make_paired_sets(*state, 144); /* 18 of each class: exactly 3 x (4 + 2) */
    amg_cover_plan p = {0};
    assert_int_equal(derive_pairs(1, 3, &s, &p, NULL), AMG_OK);
    uint8_t used[144] = {0};
    for (int split = 0; split < 2; split++)
        for (int64_t d = 0; d < 3; d++) {
            const int64_t n = p.num_samples[split], *rows = p.rows[split] + d * n;
            int64_t last[5] = {-1, -1, -1, -1, -1};
            for (int64_t i = 0; i < n; i++) {
                assert_int_equal(rows[i] % 8, i % 5);
                assert_int_equal(used[rows[i]]++, 0);
                assert_true(rows[i] > last[i % 5]); /* in the pool's order */
                last[i % 5] = rows[i];
            }
        }
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

/* Of 24 pool rows of a class 4 cover decoy 1's training data: 200 keys give each 33.3
 * +- 5.3. */
static void every_row_of_a_class_is_chosen_alike(void **state)
{
    sets s = make_paired_sets(*state, 192);
    int chosen[192] = {0};
    for (unsigned key = 0; key < 200; key++) {
        amg_cover_plan p = {0};
        assert_int_equal(derive_pairs(key, 2, &s, &p, NULL), AMG_OK);
        for (int i = 0; i < 20; i++) chosen[p.rows[0][i]]++;
        amg_cover_plan_clear(&p);
    }
    double sum = 0;
    for (int i = 0; i < 192; i++)
        if (i % 8 < 5)
            sum += pow(chosen[i] - 200 / 6.0, 2) / (1000 / 36.0);
        else
            assert_int_equal(chosen[i], 0);
    assert_true(sum < 171.0); /* about chi-square with 115 degrees: once in 2,000 */
    close_sets(&s);
}

static void a_class_that_the_pool_lacks_is_named(void **state)
{
    sets s = make_paired_sets(*state, 143); /* the last row is of class 6 */
    amg_error err;
    amg_cover_plan p = {0};
    assert_int_equal(derive_pairs(1, 3, &s, &p, NULL), AMG_OK);
    amg_cover_plan_clear(&p);
    amg_dataset_close(s.pool);
    s.pool = make_random_set(*state, "short", 138, dims, 8, 3, ""); /* 17 of 2, 3, 4 */
    assert_int_equal(derive_pairs(1, 3, &s, &p, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "1 more of class 2 are needed for 3 x 10 of"));
    assert_null(p.rows[0]);
    close_sets(&s);
}

static void pairs_need_classes(void **state)
{
    (void)state;
    enum { ROWS = 10 };
    amg_error err;
    int64_t left = ROWS;
    amg_cover_plan p = {0};
    amg_secret *secret = secret_number(1);
    amg_dataset *own = counted("own", ROWS, &left),
                *pool = counted("pool", ROWS, &left);
    const amg_cover_split split = {own, pool, true};
    assert_int_equal(amg_cover_plan_derive(secret, 1, &split, 1, &p, &err),
                     AMG_MISMATCH);
    assert_non_null(strstr(err.what, "the training data have no class each"));
    amg_dataset_close(own);
    amg_dataset_close(pool);
    amg_secret_free(secret);
}

static void every_lack_of_memory_is_reported_and_cleaned_up(void **state)
{
    for (int paired = 0; paired < 2; paired++) {
        sets s = make_sets(*state, 60);
        for (long nth = 1;; nth++) {
            amg_cover_plan p = {0};
            long countdown = nth;
            amg_alloc_fail_after(&countdown);
            amg_status st =
                paired ? derive_pairs(1, 1, &s, &p, NULL) : derive(1, 1, &s, &p, NULL);
            amg_alloc_fail_after(NULL);
            if (st == AMG_OK) {
                assert_true(nth > 6);
                amg_cover_plan_clear(&p);
                break;
            }
            assert_int_equal(st, AMG_NO_MEMORY);
            assert_null(p.rows[0]);
        }
        close_sets(&s);
    }
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(no_row_serves_twice_in_any_split),
        IN_FOLDER(rows_stand_in_the_pools_own_order),
        IN_FOLDER(the_choice_is_a_function_of_the_key),
        IN_FOLDER(every_pool_row_is_chosen_alike),
        IN_FOLDER(a_set_that_grew_keeps_its_covers),
        IN_FOLDER(validation_may_have_a_pool_of_its_own),
        IN_FOLDER(pool_samples_equal_to_private_ones_are_passed_over),
        IN_FOLDER(no_bytes_stand_in_two_streams),
        IN_FOLDER(repeats_in_the_private_data_are_counted),
        IN_FOLDER(a_pool_that_runs_out_of_different_samples_is_refused),
        IN_FOLDER(a_pool_too_small_says_how_many_are_missing),
        IN_FOLDER(a_row_in_data_and_pool_is_refused),
        IN_FOLDER(a_row_in_training_and_validation_is_refused),
        IN_FOLDER(a_pool_of_another_shape_is_refused),
        IN_FOLDER(paired_covers_are_of_the_class_beside_them),
        IN_FOLDER(every_row_of_a_class_is_chosen_alike),
        IN_FOLDER(a_class_that_the_pool_lacks_is_named),
        cmocka_unit_test(pairs_need_classes),
        cmocka_unit_test(a_pool_that_cannot_be_read_is_told_wherever_it_fails),
        IN_FOLDER(every_lack_of_memory_is_reported_and_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
