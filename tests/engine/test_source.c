/* Sources: shards of a job, data sets, the order of samples in an epoch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/source.h"
#include "formats/npy.h"

/* A job folder with two heads and three shards of u8[1,2,2] samples; sample i holds the
 * values 4i .. 4i+3 and labels {i % 3, i % 2}. */
enum { ROWS_A = 3, ROWS_B = 1, ROWS_C = 4, TOTAL = 8, SAMPLE = 4 };

typedef struct {
    char dir[64];
    amg_shard shards[3];
    amg_head heads[2];
    amg_manifest manifest;
} job;

static const int64_t rows_of[3] = {ROWS_A, ROWS_B, ROWS_C};

static void write_array(const job *j, const char *name, amg_dtype dtype, int rank,
                        const int64_t *dims, const void *data)
{
    char path[128];
    amg_tensor t;
    assert_int_equal(amg_tensor_view(dtype, rank, dims, data, &t, NULL), AMG_OK);
    snprintf(path, sizeof path, "%s/%s", j->dir, name);
    assert_int_equal(amg_npy_write(path, &t, NULL), AMG_OK);
}

static int make_job(void **state)
{
    static const char *const x_names[3] = {"x0.npy", "x1.npy", "x2.npy"};
    static const char *const y_names[3] = {"y0.npy", "y1.npy", "y2.npy"};
    job *j = calloc(1, sizeof *j);
    const char *tmp = getenv("TMPDIR");
    snprintf(j->dir, sizeof j->dir, "%s/amg-source-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(j->dir));
    uint8_t x[TOTAL * SAMPLE];
    int32_t y[TOTAL * 2];
    for (int i = 0; i < TOTAL * SAMPLE; i++) x[i] = (uint8_t)i;
    for (int i = 0; i < TOTAL; i++) {
        y[2 * i] = i % 3;
        y[2 * i + 1] = i % 2;
    }
    int64_t first = 0;
    for (int s = 0; s < 3; s++) {
        const int64_t x_dims[4] = {rows_of[s], 1, 2, 2}, y_dims[2] = {rows_of[s], 2};
        write_array(j, x_names[s], AMG_U8, 4, x_dims, x + first * SAMPLE);
        write_array(j, y_names[s], AMG_I32, 2, y_dims, y + first * 2);
        j->shards[s] = (amg_shard){x_names[s], y_names[s], rows_of[s]};
        first += rows_of[s];
    }
    /* Head 0 reads column 1, so that a mix-up of the two shows. */
    j->heads[0] = (amg_head){.output = "a", .label_column = 1, .num_classes = 2};
    j->heads[1] = (amg_head){.output = "b", .label_column = 0, .num_classes = 3};
    j->manifest = (amg_manifest){.input_dtype = AMG_U8,
                                 .input_rank = 3,
                                 .input_dims = {1, 2, 2},
                                 .target_dtype = AMG_I32,
                                 .num_heads = 2,
                                 .heads = j->heads,
                                 .train = {TOTAL, 3, j->shards}};
    *state = j;
    return 0;
}

static int remove_job(void **state)
{
    job *j = *state;
    amg_dir_remove(j->dir);
    free(j);
    return 0;
}

static amg_status open_job(const job *j, amg_source *out, amg_error *err)
{
    return amg_source_open_job(j->dir, &j->manifest, &j->manifest.train, out, err);
}

static void samples_come_from_the_right_shard(void **state)
{
    amg_source s;
    assert_int_equal(open_job(*state, &s, NULL), AMG_OK);
    assert_int_equal(s.num_samples, TOTAL);
    assert_int_equal(s.sample_bytes, SAMPLE);
    assert_int_equal(s.num_columns, 2);
    assert_int_equal(s.target_dtype, AMG_I32);
    assert_int_equal(s.target_rank, 0);
    assert_int_equal(s.target_count, 1);
    assert_int_equal(s.rank, 3);
    for (int i = TOTAL - 1; i >= 0; i--) {
        uint8_t x[SAMPLE];
        int32_t labels[2];
        assert_int_equal(s.read(&s, i, x, labels, NULL), AMG_OK);
        assert_int_equal(x[0], 4 * i);
        assert_int_equal(x[3], 4 * i + 3);
        assert_int_equal(labels[0], i % 3);
        assert_int_equal(labels[1], i % 2);
    }
    amg_source_close(&s);
}

static void a_sample_beyond_the_end_is_refused(void **state)
{
    amg_source s;
    uint8_t x[SAMPLE];
    int32_t labels[2];
    assert_int_equal(open_job(*state, &s, NULL), AMG_OK);
    assert_int_equal(s.read(&s, TOTAL, x, labels, NULL), AMG_INVALID);
    assert_int_equal(s.read(&s, -1, x, labels, NULL), AMG_INVALID);
    amg_source_close(&s);
}

static void a_label_beyond_its_head_s_classes_is_refused(void **state)
{
    job *j = *state;
    amg_source s = {0};
    amg_error err = {0};
    j->heads[1].num_classes = 2; /* column 0 holds labels up to 2 */
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.where, "y0.npy");
    assert_non_null(strstr(err.what, "row 2, column 0: label is 2, expected 0 to 1"));
    assert_null(s.read);
}

static void a_negative_label_is_refused(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    const int64_t dims[2] = {ROWS_B, 2};
    const int32_t y[2] = {0, -1};
    write_array(j, "y1.npy", AMG_I32, 2, dims, y);
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "row 0, column 1: label is -1"));
}

static void shards_of_another_shape_are_refused(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    j->manifest.input_dims[2] = 3;
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.where, "x0.npy");
    j->manifest.input_dims[2] = 2;

    j->shards[2].rows = ROWS_C + 1;
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.where, "x2.npy");
    j->shards[2].rows = ROWS_C;

    const int64_t dims[2] = {ROWS_A, 2};
    const int64_t y[2 * ROWS_A] = {0};
    write_array(j, "y0.npy", AMG_I64, 2, dims, y);
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.where, "y0.npy");
}

static void a_wrong_total_a_missing_split_and_a_bad_column_are_refused(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    j->manifest.train.num_samples = TOTAL + 1;
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "shards hold 8 samples, the manifest says 9"));
    j->heads[0].label_column = 2;
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.where, "a");
    assert_int_equal(
        amg_source_open_job(j->dir, &j->manifest, &j->manifest.val, &s, &err),
        AMG_NOT_FOUND);
}

static void a_missing_shard_is_named(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    j->shards[1].y = "gone.npy";
    assert_int_equal(open_job(j, &s, &err), AMG_NOT_FOUND);
    assert_non_null(strstr(err.where, "gone.npy"));
}

/* Shards of numbers: row r of column c holds 10 r + c and 10 r + c + 0.5. */
static void make_numbers(job *j)
{
    float y[TOTAL][2][2];
    int64_t first = 0;
    for (int i = 0; i < TOTAL; i++)
        for (int c = 0; c < 2; c++)
            for (int e = 0; e < 2; e++)
                y[i][c][e] = (float)(10 * i + c) + .5f * (float)e;
    for (int s = 0; s < 3; s++) {
        const int64_t dims[3] = {rows_of[s], 2, 2};
        write_array(j, j->shards[s].y, AMG_F32, 3, dims, y[first]);
        first += rows_of[s];
    }
    j->manifest.task = AMG_TASK_REGRESSION;
    j->manifest.target_dtype = AMG_F32;
    j->manifest.target_rank = 1;
    j->manifest.target_dims[0] = 2;
}

static void numbers_are_targets_of_their_shape(void **state)
{
    job *j = *state;
    amg_source s;
    uint8_t x[SAMPLE];
    float y[2][2];
    make_numbers(j);
    assert_int_equal(open_job(j, &s, NULL), AMG_OK);
    assert_int_equal(s.num_columns, 2);
    assert_int_equal(s.target_dtype, AMG_F32);
    assert_int_equal(s.target_rank, 1);
    assert_int_equal(s.target_count, 2);
    for (int i = 0; i < TOTAL; i++) {
        assert_int_equal(s.read(&s, i, x, y, NULL), AMG_OK);
        assert_int_equal(x[0], 4 * i);
        assert_true(y[0][0] == (float)(10 * i) && y[1][0] == (float)(10 * i + 1));
        assert_true(y[0][1] == y[0][0] + .5f && y[1][1] == y[1][0] + .5f);
    }
    amg_source_close(&s);
}

static void numbers_that_are_not_finite_are_refused(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    float y[ROWS_C][2][2] = {0};
    make_numbers(j);
    y[2][1][0] = INFINITY;
    write_array(j, "y2.npy", AMG_F32, 3, (const int64_t[]){ROWS_C, 2, 2}, y);
    assert_int_equal(open_job(j, &s, &err), AMG_NOT_FINITE);
    assert_string_equal(err.where, "y2.npy");
    assert_string_equal(err.what, "row 2: number 2 of its targets is NaN or infinite");
}

static void class_maps_are_checked_in_every_element(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    int32_t y[TOTAL][2][3] = {0}, got[2][3];
    uint8_t x[SAMPLE];
    for (int e = 0; e < 3; e++) y[5][0][e] = e; /* of three classes */
    j->manifest.target_rank = 1;
    j->manifest.target_dims[0] = 3;
    for (int shard = 0, first = 0; shard < 3; first += (int)rows_of[shard++])
        write_array(j, j->shards[shard].y, AMG_I32, 3,
                    (const int64_t[]){rows_of[shard], 2, 3}, y[first]);
    assert_int_equal(open_job(j, &s, NULL), AMG_OK);
    assert_int_equal(s.target_count, 3);
    assert_int_equal(s.read(&s, 5, x, got, NULL), AMG_OK);
    assert_memory_equal(got, y[5], sizeof got);
    amg_source_close(&s);

    y[6][1][2] = 2; /* column 1 has two classes */
    write_array(j, "y2.npy", AMG_I32, 3, (const int64_t[]){ROWS_C, 2, 3}, y[4]);
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.what, "row 2, column 1: label is 2, expected 0 to 1");
}

static void reconstruction_has_no_targets(void **state)
{
    job *j = *state;
    amg_source s;
    uint8_t x[SAMPLE];
    j->manifest.task = AMG_TASK_RECONSTRUCTION;
    for (int i = 0; i < 3; i++) j->shards[i].y = NULL;
    assert_int_equal(open_job(j, &s, NULL), AMG_OK);
    assert_int_equal(s.num_columns, 0);
    assert_int_equal(s.target_dtype, AMG_DTYPE_NONE);
    assert_int_equal(s.target_count, 0);
    assert_int_equal(s.read(&s, 7, x, NULL, NULL), AMG_OK);
    assert_int_equal(x[0], 28);
    amg_source_close(&s);
}

static void targets_of_another_type_or_shape_are_refused(void **state)
{
    job *j = *state;
    amg_source s;
    amg_error err = {0};
    j->manifest.target_dtype = AMG_F32;
    assert_int_equal(open_job(j, &s, &err), AMG_UNSUPPORTED);
    make_numbers(j);
    j->manifest.target_dims[0] = 1;
    assert_int_equal(open_job(j, &s, &err), AMG_MISMATCH);
    assert_string_equal(err.where, "y0.npy");
    j->manifest.target_rank = AMG_MAX_RANK - 1;
    assert_int_equal(open_job(j, &s, &err), AMG_UNSUPPORTED);
}

/* A data set of the pair x.npy,y.npy in the job's folder, labels 0 to 3. */
static void make_pair(const job *j, char spec[256])
{
    const int64_t x_dims[4] = {4, 1, 2, 2}, y_dims[1] = {4};
    const int64_t y[4] = {3, 0, 1, 2};
    uint8_t x[16];
    for (int i = 0; i < 16; i++) x[i] = (uint8_t)(i + 1);
    write_array(j, "px.npy", AMG_U8, 4, x_dims, x);
    write_array(j, "py.npy", AMG_I64, 1, y_dims, y);
    snprintf(spec, 256, "%s/px.npy,%s/py.npy", j->dir, j->dir);
}

static void a_data_set_is_a_source_with_one_label(void **state)
{
    amg_source s;
    char spec[256];
    uint8_t x[4];
    int32_t label;
    make_pair(*state, spec);
    assert_int_equal(amg_source_open_dataset(spec, 10, &s, NULL), AMG_OK);
    assert_int_equal(s.num_samples, 4);
    assert_int_equal(s.num_columns, 1);
    assert_int_equal(s.target_count, 1);
    assert_int_equal(s.sample_bytes, 4);
    assert_int_equal(s.dims[1], 2);
    assert_int_equal(s.read(&s, 3, x, &label, NULL), AMG_OK);
    assert_int_equal(x[0], 13);
    assert_int_equal(label, 2);
    amg_source_close(&s);
    amg_source_close(&s); /* a closed source is a zeroed one */
}

static void a_data_set_with_more_classes_than_the_model_is_refused(void **state)
{
    amg_source s;
    amg_error err = {0};
    char spec[256];
    make_pair(*state, spec);
    assert_int_equal(amg_source_open_dataset(spec, 3, &s, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "4 classes, the model has 3"));
    assert_non_null(strstr(err.hint, "4 classes"));
}

/* An open data set stays its owner's; samples alone have no column. */
static void an_open_data_set_is_a_source(void **state)
{
    job *j = *state;
    amg_dataset *ds = NULL;
    amg_source s;
    amg_error err = {0};
    char spec[256];
    uint8_t x[4];
    make_pair(j, spec);
    *strchr(spec, ',') = 0;
    assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_OK);
    assert_int_equal(amg_source_from_dataset(ds, 0, &s, NULL), AMG_OK);
    assert_int_equal(s.num_columns, 0);
    assert_int_equal(s.target_dtype, AMG_DTYPE_NONE);
    assert_int_equal(s.read(&s, 2, x, NULL, NULL), AMG_OK);
    assert_int_equal(x[0], 9);
    amg_source_close(&s);
    assert_int_equal(amg_dataset_read(ds, 0, x, NULL, NULL), AMG_OK);
    amg_dataset_close(ds);
}

static void a_number_is_a_target_of_a_data_set(void **state)
{
    job *j = *state;
    amg_source s;
    char spec[256];
    float got[3];
    const float y[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    make_pair(j, spec);
    write_array(j, "py.npy", AMG_F32, 2, (const int64_t[]){4, 3}, y);
    assert_int_equal(amg_source_open_dataset(spec, 0, &s, NULL), AMG_OK);
    assert_int_equal(s.target_dtype, AMG_F32);
    assert_int_equal(s.target_rank, 1);
    assert_int_equal(s.target_count, 3);
    uint8_t x[4];
    assert_int_equal(s.read(&s, 1, x, got, NULL), AMG_OK);
    assert_memory_equal(got, y + 3, sizeof got);
    amg_source_close(&s);
}

static void an_epoch_is_a_permutation_that_seed_and_epoch_decide(void **state)
{
    (void)state;
    enum { N = 1000 };
    static int64_t a[N], b[N], c[N], d[N];
    static int seen[N];
    amg_epoch_order(7, 0, N, a);
    amg_epoch_order(7, 0, N, b);
    amg_epoch_order(7, 1, N, c);
    amg_epoch_order(8, 0, N, d);
    for (int i = 0; i < N; i++) {
        assert_in_range(a[i], 0, N - 1);
        assert_int_equal(seen[a[i]]++, 0);
    }
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    assert_memory_not_equal(a, d, sizeof a);
    assert_memory_not_equal(c, d, sizeof c);
}

int main(void)
{
#define IN_JOB(test) cmocka_unit_test_setup_teardown(test, make_job, remove_job)
    const struct CMUnitTest tests[] = {
        IN_JOB(samples_come_from_the_right_shard),
        IN_JOB(a_sample_beyond_the_end_is_refused),
        IN_JOB(a_label_beyond_its_head_s_classes_is_refused),
        IN_JOB(a_negative_label_is_refused),
        IN_JOB(shards_of_another_shape_are_refused),
        IN_JOB(a_wrong_total_a_missing_split_and_a_bad_column_are_refused),
        IN_JOB(a_missing_shard_is_named),
        IN_JOB(numbers_are_targets_of_their_shape),
        IN_JOB(numbers_that_are_not_finite_are_refused),
        IN_JOB(class_maps_are_checked_in_every_element),
        IN_JOB(reconstruction_has_no_targets),
        IN_JOB(targets_of_another_type_or_shape_are_refused),
        IN_JOB(an_open_data_set_is_a_source),
        IN_JOB(a_number_is_a_target_of_a_data_set),
        IN_JOB(a_data_set_is_a_source_with_one_label),
        IN_JOB(a_data_set_with_more_classes_than_the_model_is_refused),
        cmocka_unit_test(an_epoch_is_a_permutation_that_seed_and_epoch_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
