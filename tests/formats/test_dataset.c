/* The DATA argument, parts, .npy files, data sets made of a function, and the interface
 * over all kinds. More than 500 lines: a list of small cases. */
#include "fixture.h"

#include "formats/dataset.h"
#include "formats/dataset_spec.h"
#include "formats/npy.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

static void spec_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *kind, *path;
        amg_dataset_split split;
        amg_dataset_part part;
    } cases[] = {
        {"data/mnist", "", "data/mnist", AMG_SPLIT_NONE, {0}},
        {"idx:data/mnist@test", "idx", "data/mnist", AMG_SPLIT_TEST, {0}},
        {"/x@y/z", "", "/x@y/z", AMG_SPLIT_NONE, {0}},
        {"/x@y/@val", "", "/x@y/", AMG_SPLIT_VAL, {0}},
        {"./a:b", "", "./a:b", AMG_SPLIT_NONE, {0}},
        {"d[1]/", "", "d[1]/", AMG_SPLIT_NONE, {0}},
        {"d@train[0:30000]", "", "d", AMG_SPLIT_TRAIN, {AMG_PART_ROWS, 0, 30000, 0}},
        {"d[:7]", "", "d", AMG_SPLIT_NONE, {AMG_PART_ROWS, 0, 7, 0}},
        {"d[7:]", "", "d", AMG_SPLIT_NONE, {AMG_PART_ROWS, 7, -1, 0}},
        {"d[50%:seed=3]",
         "",
         "d",
         AMG_SPLIT_NONE,
         {AMG_PART_PERCENT, 0, 50 * AMG_PERCENT_UNIT, 3}},
        {"npy:x.npy,y.npy[12.5%-33.333333%:seed=9223372036854775807]",
         "npy",
         "x.npy,y.npy",
         AMG_SPLIT_NONE,
         {AMG_PART_PERCENT, 12500000, 33333333, INT64_MAX}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_dataset_spec spec;
        assert_ok(amg_dataset_spec_parse(cases[i].text, &spec, &err));
        assert_string_equal(spec.kind, cases[i].kind);
        assert_string_equal(spec.path, cases[i].path);
        assert_int_equal(spec.split, cases[i].split);
        assert_int_equal(spec.part.form, cases[i].part.form);
        assert_int_equal(spec.part.begin, cases[i].part.begin);
        assert_int_equal(spec.part.end, cases[i].part.end);
        assert_int_equal(spec.part.seed, cases[i].part.seed);
        amg_dataset_spec_clear(&spec);
    }
}

static void wrong_spec_gives_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t offset;
    } cases[] = {
        {"", 0},
        {"idx:", 4},
        {"@train", 0},
        {"[0:1]", 0},
        {"averyveryverylongkind:x", 0},
        {"d@tset", 2},
        {"d@", 2},
        {"d[]", 2},
        {"d[1]", 3},
        {"d[1:2:3]", 5},
        {"d[-1:2]", 2},
        {"d[1:x]", 4},
        {"d[99999999999999999999:]", 2},
        {"d[50%]", 5},
        {"d[50%:seed=]", 11},
        {"d[50%:seed=x]", 11},
        {"d[50%:seed=-1]", 11},
        {"d[50%:seed=9223372036854775808]", 11},
        {"d[50%:seed=3x]", 12},
        {"d[101%:seed=3]", 2},
        {"d[100.1%:seed=3]", 2},
        {"d[50%-101%:seed=3]", 6},
        {"d[1.1234567%:seed=3]", 2},
        {"d[.5%:seed=3]", 2},
        {"d[5.%:seed=3]", 2},
        {"d[50-60%:seed=3]", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_dataset_spec spec;
        assert_failed(amg_dataset_spec_parse(cases[i].text, &spec, &err), AMG_INVALID,
                      cases[i].offset);
    }
}

/* The rows of "d" + part of a set of num rows, as a string of numbers. */
static const char *rows_of(const char *part, int64_t num)
{
    static char text[4096];
    amg_dataset_spec spec;
    char data[256];
    int64_t first, count, *rows;
    snprintf(data, sizeof data, "d%s", part);
    assert_ok(amg_dataset_spec_parse(data, &spec, &err));
    assert_ok(amg_dataset_part_rows(&spec.part, num, "d", &first, &count, &rows, &err));
    size_t n = 0;
    text[0] = 0;
    for (int64_t i = 0; i < count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld", i > 0 ? " " : "",
                              (long long)(rows != NULL ? rows[i] : first + i));
    amg_free(rows);
    amg_dataset_spec_clear(&spec);
    return text;
}

/* Goldens from make_part_golden.py, a second implementation. */
static void part_takes_the_rows_of_the_specification(void **state)
{
    (void)state;
    assert_string_equal(rows_of("", 3), "0 1 2");
    assert_string_equal(rows_of("[1:3]", 4), "1 2");
    assert_string_equal(rows_of("[2:]", 4), "2 3");
    assert_string_equal(rows_of("[:4]", 4), "0 1 2 3");
    assert_string_equal(rows_of("[100%:seed=5]", 4), "0 1 2 3");
    assert_string_equal(rows_of("[0%-50%:seed=3]", 20), "1 2 7 9 10 12 13 14 18 19");
    assert_string_equal(rows_of("[50%-100%:seed=3]", 20), "0 3 4 5 6 8 11 15 16 17");
    assert_string_equal(rows_of("[12.5%-33.333333%:seed=3]", 20), "1 12 13 14");
    assert_string_equal(rows_of("[0%-25%:seed=9223372036854775807]", 20), "2 4 6 9 15");
}

static void parts_of_one_seed_partition_the_set(void **state)
{
    (void)state;
    static const char *const cuts[] = {"0",  "0.000001", "12.5", "33.333333",
                                       "50", "66.7",     "100"};
    enum { NUM_CUTS = sizeof cuts / sizeof *cuts };
    for (int64_t num = 1; num <= 101; num += 20) {
        int seen[101] = {0};
        for (int c = 0; c + 1 < NUM_CUTS; c++) {
            char data[64];
            amg_dataset_spec spec;
            int64_t first, count, *rows = NULL;
            snprintf(data, sizeof data, "d[%s%%-%s%%:seed=8]", cuts[c], cuts[c + 1]);
            assert_ok(amg_dataset_spec_parse(data, &spec, &err));
            const amg_status st = amg_dataset_part_rows(&spec.part, num, "d", &first,
                                                        &count, &rows, NULL);
            amg_dataset_spec_clear(&spec);
            if (st == AMG_INVALID) continue; /* rounds to no row at all */
            assert_int_equal(st, AMG_OK);
            for (int64_t i = 0; i < count; i++) {
                seen[rows[i]]++;
                if (i > 0) assert_true(rows[i - 1] < rows[i]);
            }
            amg_free(rows);
        }
        for (int64_t i = 0; i < num; i++) assert_int_equal(seen[i], 1);
    }
}

static void part_that_is_empty_or_leaves_the_set_is_refused(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "d[3:3]",       "d[3:2]",       "d[0:11]",         "d[10:]",
        "d[1%:seed=1]", "d[0%:seed=1]", "d[9:5000000000]", "d[60%-40%:seed=1]"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        amg_dataset_spec spec;
        int64_t first, count, *rows;
        assert_ok(amg_dataset_spec_parse(parts[i], &spec, &err));
        assert_failed(
            amg_dataset_part_rows(&spec.part, 10, "d", &first, &count, &rows, &err),
            AMG_INVALID, -1);
        amg_dataset_spec_clear(&spec);
    }
}

static void percentage_of_a_huge_set_does_not_overflow(void **state)
{
    (void)state;
    const amg_dataset_part half = {AMG_PART_PERCENT, 0, 50 * AMG_PERCENT_UNIT, 1};
    int64_t first, count, *rows;
    assert_failed(
        amg_dataset_part_rows(&half, INT64_MAX, "d", &first, &count, &rows, &err),
        AMG_NO_MEMORY, -1);
}

/* ---- pairs of .npy files ---- */

static void put_npy(void **state, const char *name, amg_dtype dtype, int rank,
                    const int64_t *dims, const void *data)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(dtype, rank, dims, data, &t, &err));
    assert_ok(amg_npy_write(in_dir(state, name), &t, &err));
}

static const char *pair_spec(void **state, const char *tail)
{
    static char spec[8300];
    snprintf(spec, sizeof spec, "%s/x.npy,%s/y.npy%s", (char *)*state, (char *)*state,
             tail);
    return spec;
}

static const uint8_t bytes[24] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                  13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};
static const int64_t two_labels[2] = {4, 0};
static const int64_t shape[4] = {2, 3, 2, 2};

static void pair_of_each_rank_has_its_dims(void **state)
{
    static const int64_t shapes[4][7] = {
        {2, 12}, {2, 4, 3}, {2, 3, 2, 2}, {2, 1, 2, 1, 3, 1, 2}};
    static const int ranks[4] = {2, 3, 4, 7};
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    for (int i = 0; i < 4; i++) {
        put_npy(state, "x.npy", AMG_U8, ranks[i], shapes[i], bytes);
        amg_dataset *ds = NULL;
        uint8_t x[12];
        int32_t label;
        assert_ok(amg_dataset_open(pair_spec(state, ""), &ds, &err));
        const amg_dataset_info *info = amg_dataset_get_info(ds);
        assert_string_equal(info->kind, "npy");
        assert_int_equal(info->num_samples, 2);
        assert_int_equal(info->dtype, AMG_U8);
        assert_int_equal(info->rank, ranks[i] - 1);
        assert_memory_equal(info->dims, shapes[i] + 1,
                            (size_t)info->rank * sizeof(int64_t));
        assert_int_equal(info->num_classes, 5);
        assert_int_equal(info->sample_bytes, 12);
        assert_int_equal(info->target_dtype, AMG_I32);
        assert_int_equal(info->target_rank, 0);
        assert_int_equal(info->target_bytes, 4);
        assert_ok(amg_dataset_read(ds, 1, x, &label, &err));
        assert_memory_equal(x, bytes + 12, 12);
        assert_int_equal(label, 0);
        assert_failed(amg_dataset_read(ds, 2, x, &label, &err), AMG_INVALID, -1);
        assert_failed(amg_dataset_read(ds, -1, x, &label, &err), AMG_INVALID, -1);
        amg_dataset_close(ds);
    }
}

/* Bytes, floats and tokens as the inputs of one model: vectors of floats. */
static void joined_arrays_are_one_vector(void **state)
{
    static const float floats[4] = {0.5f, -1, 2, 3};
    static const int64_t tokens[6] = {1, 2, 3, 4, 5, 1 << 24};
    char spec[3 * 4200];
    const char *dir = *state;
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "f.npy", AMG_F32, 2, (const int64_t[]){2, 2}, floats);
    put_npy(state, "t.npy", AMG_I64, 2, (const int64_t[]){2, 3}, tokens);
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    snprintf(spec, sizeof spec, "%s/x.npy+%s/f.npy+%s/t.npy,%s/y.npy[1:2]", dir, dir,
             dir, dir);
    amg_dataset *ds = NULL;
    float x[17];
    int32_t label;
    assert_ok(amg_dataset_open(spec, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_string_equal(info->kind, "join");
    assert_int_equal(info->dtype, AMG_F32);
    assert_int_equal(info->rank, 1);
    assert_int_equal(info->dims[0], 17);
    assert_int_equal(info->num_samples, 1);
    assert_int_equal(info->num_classes, 5);
    assert_ok(amg_dataset_read(ds, 0, x, &label, &err));
    for (int i = 0; i < 12; i++) assert_true(x[i] == bytes[12 + i]);
    assert_true(x[12] == 2 && x[13] == 3);
    assert_true(x[14] == 4 && x[15] == 5 && x[16] == 1 << 24);
    assert_int_equal(label, 0);
    amg_dataset_close(ds);
    put_npy(state, "t.npy", AMG_I64, 2, (const int64_t[]){2, 3},
            (const int64_t[]){1, 2, 3, 4, 5, (1 << 24) + 1});
    assert_ok(amg_dataset_open(spec, &ds, &err));
    assert_failed(amg_dataset_read(ds, 0, x, NULL, &err), AMG_UNSUPPORTED, -1);
    amg_dataset_close(ds);
    put_npy(state, "t.npy", AMG_I64, 2, (const int64_t[]){3, 2}, tokens);
    assert_failed(amg_dataset_open(spec, &ds, &err), AMG_MISMATCH, -1);
}

/* Labels, degrees and a box as one row of targets; a single array of samples stays as
 * it is. */
static void joined_targets_are_one_row(void **state)
{
    static const float box[4] = {0.5f, -1, 2, 3};
    static const uint8_t degrees[4] = {0, 1, 1, 0};
    char spec[5 * 4200];
    const char *dir = *state;
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    put_npy(state, "b.npy", AMG_F32, 3, (const int64_t[]){2, 1, 2}, box);
    put_npy(state, "d.npy", AMG_U8, 2, (const int64_t[]){2, 2}, degrees);
    snprintf(spec, sizeof spec, "%s/x.npy,%s/y.npy+%s/b.npy+%s/d.npy", dir, dir, dir,
             dir);
    amg_dataset *ds = NULL;
    float y[5];
    uint8_t x[12];
    assert_ok(amg_dataset_open(spec, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_string_equal(info->kind, "join");
    assert_int_equal(info->dtype, AMG_U8);
    assert_int_equal(info->rank, 3);
    assert_int_equal(info->target_dtype, AMG_F32);
    assert_int_equal(info->target_rank, 1);
    assert_int_equal(info->target_dims[0], 5);
    assert_int_equal(info->num_classes, 0);
    assert_ok(amg_dataset_read(ds, 0, x, y, &err));
    assert_memory_equal(x, bytes, 12);
    assert_true(y[0] == 4 && y[1] == 0.5f && y[2] == -1 && y[3] == 0 && y[4] == 1);
    assert_ok(amg_dataset_read(ds, 1, NULL, y, &err));
    assert_true(y[0] == 0 && y[1] == 2 && y[2] == 3 && y[3] == 1 && y[4] == 0);
    amg_dataset_close(ds);
    /* Several of both. */
    snprintf(spec, sizeof spec, "%s/x.npy+%s/b.npy,%s/b.npy+%s/y.npy[1:2]", dir, dir,
             dir, dir);
    float both[14];
    assert_ok(amg_dataset_open(spec, &ds, &err));
    info = amg_dataset_get_info(ds);
    assert_int_equal(info->dims[0], 14);
    assert_int_equal(info->target_dims[0], 3);
    assert_ok(amg_dataset_read(ds, 0, both, y, &err));
    assert_true(both[0] == bytes[12] && both[12] == 2 && both[13] == 3);
    assert_true(y[0] == 2 && y[1] == 3 && y[2] == 0);
    amg_dataset_close(ds);
}

static void joined_targets_must_fit(void **state)
{
    static const float box[6] = {0.5f, -1, 2, 3};
    char spec[5 * 4200];
    const char *dir = *state;
    amg_dataset *ds = NULL;
    float y[5];
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2},
            (const int64_t[]){1, (1 << 24) + 1});
    put_npy(state, "b.npy", AMG_F32, 2, (const int64_t[]){2, 2}, box);
    snprintf(spec, sizeof spec, "%s/x.npy,%s/b.npy+%s/y.npy", dir, dir, dir);
    assert_ok(amg_dataset_open(spec, &ds, &err));
    assert_ok(amg_dataset_read(ds, 0, NULL, y, &err));
    assert_failed(amg_dataset_read(ds, 1, NULL, y, &err), AMG_UNSUPPORTED, -1);
    amg_dataset_close(ds);
    put_npy(state, "b.npy", AMG_F32, 2, (const int64_t[]){3, 2}, box);
    assert_failed(amg_dataset_open(spec, &ds, &err), AMG_MISMATCH, -1);
}

/* Tokens and indices: [2 samples][3]. */
static void integers_are_given_as_i32(void **state)
{
    static const int32_t expected[3] = {7, 0, 300};
    static const uint16_t u16[6] = {1, 2, 3, 7, 0, 300};
    static const int32_t i32[6] = {1, -2, 3, 7, 0, 300};
    static const int64_t i64[6] = {INT32_MIN, INT32_MAX, 3, 7, 0, 300};
    static const struct {
        amg_dtype dtype;
        const void *data;
        int32_t first, second;
    } cases[] = {{AMG_U16, u16, 1, 2},
                 {AMG_I32, i32, 1, -2},
                 {AMG_I64, i64, INT32_MIN, INT32_MAX}};
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_dataset *ds = NULL;
        int32_t x[3];
        put_npy(state, "x.npy", cases[i].dtype, 2, (const int64_t[]){2, 3},
                cases[i].data);
        assert_ok(amg_dataset_open(pair_spec(state, ""), &ds, &err));
        assert_int_equal(amg_dataset_get_info(ds)->dtype, AMG_I32);
        assert_int_equal(amg_dataset_get_info(ds)->sample_bytes, 12);
        assert_ok(amg_dataset_read(ds, 1, x, NULL, &err));
        assert_memory_equal(x, expected, sizeof x);
        assert_ok(amg_dataset_read(ds, 0, x, NULL, &err));
        assert_int_equal(x[0], cases[i].first);
        assert_int_equal(x[1], cases[i].second);
        amg_dataset_close(ds);
    }
}

static void an_integer_beyond_32_bits_is_refused_at_its_byte(void **state)
{
    static const int64_t i64[4] = {1, 2, 3, (int64_t)INT32_MAX + 1};
    static const uint64_t u64[4] = {1, UINT64_MAX, 3, 4};
    static const uint32_t u32[4] = {1, 2, UINT32_C(1) << 31, 4};
    static const struct {
        amg_dtype dtype;
        const void *data;
        int64_t offset;
        const char *sample;
    } cases[] = {{AMG_I64, i64, 128 + 24, "sample 1"},
                 {AMG_U64, u64, 128 + 8, "sample 0"},
                 {AMG_U32, u32, 128 + 8, "sample 1"}};
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_dataset *ds = NULL;
        amg_error err = {0};
        put_npy(state, "x.npy", cases[i].dtype, 2, (const int64_t[]){2, 2},
                cases[i].data);
        assert_int_equal(amg_dataset_open(pair_spec(state, ""), &ds, &err),
                         AMG_UNSUPPORTED);
        assert_int_equal(err.offset, cases[i].offset);
        assert_non_null(strstr(err.what, cases[i].sample));
    }
}

static void class_maps_are_targets_of_their_shape(void **state)
{
    static const uint8_t map[8] = {0, 1, 2, 3, 3, 2, 1, 6};
    static const int32_t second[4] = {3, 2, 1, 6};
    amg_dataset *ds = NULL;
    int32_t y[4];
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "y.npy", AMG_U8, 3, (const int64_t[]){2, 2, 2}, map);
    assert_ok(amg_dataset_open(pair_spec(state, ""), &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_int_equal(info->target_dtype, AMG_I32);
    assert_int_equal(info->target_rank, 2);
    assert_int_equal(info->target_dims[0], 2);
    assert_int_equal(info->target_dims[1], 2);
    assert_int_equal(info->target_bytes, 16);
    assert_int_equal(info->num_classes, 7);
    assert_ok(amg_dataset_read(ds, 1, NULL, y, &err));
    assert_memory_equal(y, second, sizeof y);
    amg_dataset_close(ds);
}

static void float_targets_are_numbers(void **state)
{
    static const float numbers[6] = {1, 2, 3, -4, .5f, 6}, bad[2] = {1, NAN};
    amg_dataset *ds = NULL;
    amg_error why = {0};
    float y[3];
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "y.npy", AMG_F32, 2, (const int64_t[]){2, 3}, numbers);
    assert_ok(amg_dataset_open(pair_spec(state, ""), &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_int_equal(info->target_dtype, AMG_F32);
    assert_int_equal(info->target_rank, 1);
    assert_int_equal(info->target_dims[0], 3);
    assert_int_equal(info->num_classes, 0);
    assert_ok(amg_dataset_read(ds, 1, NULL, y, &err));
    assert_memory_equal(y, numbers + 3, sizeof y);
    amg_dataset_close(ds);

    put_npy(state, "y.npy", AMG_F32, 1, (const int64_t[]){2}, bad);
    assert_ok(amg_dataset_open(pair_spec(state, ""), &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->target_rank, 0);
    assert_ok(amg_dataset_read(ds, 0, NULL, y, &err));
    assert_int_equal(amg_dataset_read(ds, 1, NULL, y, &why), AMG_NOT_FINITE);
    assert_string_equal(why.what, "sample 1: value 0 of its target is NaN or infinite");
    amg_dataset_close(ds);
}

static void samples_alone_have_no_targets(void **state)
{
    amg_dataset *ds = NULL;
    uint8_t x[12], y = 77;
    char real[4096], source[4200];
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    assert_ok(amg_dataset_open(in_dir(state, "x.npy"), &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_int_equal(info->target_dtype, AMG_DTYPE_NONE);
    assert_int_equal(info->target_bytes, 0);
    assert_int_equal(info->num_classes, 0);
    assert_non_null(realpath(*state, real));
    snprintf(source, sizeof source, "npy:%s/x.npy", real);
    assert_string_equal(amg_dataset_source(ds), source);
    assert_ok(amg_dataset_read(ds, 1, x, &y, &err));
    assert_memory_equal(x, bytes + 12, 12);
    assert_int_equal(y, 77);
    amg_dataset_close(ds);
}

static void grey_images_may_leave_their_channel_out(void **state)
{
    static const int64_t grey[3] = {1, 4, 3}, turned[2] = {3, 4}, many[3] = {2, 4, 3},
                         twice[4] = {1, 1, 4, 3};
    amg_dataset *ds = NULL;
    put_npy(state, "x.npy", AMG_U8, 3, (const int64_t[]){2, 4, 3}, bytes);
    assert_ok(amg_dataset_open(in_dir(state, "x.npy"), &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_true(amg_dataset_shape_fits(info, 2, grey + 1));
    assert_true(amg_dataset_shape_fits(info, 3, grey));
    const amg_dataset_info channel = {.rank = 3, .dims = {1, 4, 3}};
    assert_true(amg_dataset_shape_fits(&channel, 2, grey + 1));
    assert_false(amg_dataset_shape_fits(&channel, 2, turned));
    assert_false(amg_dataset_shape_fits(info, 2, turned));
    assert_false(amg_dataset_shape_fits(info, 3, many));
    assert_false(amg_dataset_shape_fits(info, 4, twice));
    assert_false(amg_dataset_shape_fits(info, 1, grey));
    amg_dataset_close(ds);
}

static void labels_of_every_integer_type_are_read(void **state)
{
    static const struct {
        amg_dtype dtype;
        uint8_t data[16]; /* {1, 200}, or {1, 100} where 200 does not fit */
        int64_t second;
    } cases[] = {
        {AMG_U8, {1, 200}, 200},
        {AMG_I8, {1, 100}, 100},
        {AMG_U16, {1, 0, 200, 0}, 200},
        {AMG_I16, {1, 0, 200, 1}, 456},
        {AMG_U32, {1, 0, 0, 0, 200, 0, 1, 0}, 65736},
        {AMG_I32, {1, 0, 0, 0, 200, 0, 0, 0}, 200},
        {AMG_U64, {1, 0, 0, 0, 0, 0, 0, 0, 200}, 200},
        {AMG_I64, {1, 0, 0, 0, 0, 0, 0, 0, 200}, 200},
    };
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_npy(state, "y.npy", cases[i].dtype, 1, (const int64_t[]){2}, cases[i].data);
        amg_dataset *ds = NULL;
        int32_t label;
        assert_ok(amg_dataset_open(pair_spec(state, ""), &ds, &err));
        assert_int_equal(amg_dataset_get_info(ds)->num_classes, cases[i].second + 1);
        assert_ok(amg_dataset_read(ds, 0, NULL, &label, &err));
        assert_int_equal(label, 1);
        assert_ok(amg_dataset_read(ds, 1, NULL, &label, &err));
        assert_int_equal(label, cases[i].second);
        amg_dataset_close(ds);
    }
}

static void wrong_pair_is_refused(void **state)
{
    static const int64_t negative[2] = {3, -1}, huge[2] = {3, 0x7fffffff};
    static const double doubles[12] = {1, 2};
    amg_dataset *ds = NULL;
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_NOT_FOUND, -1);

    /* 128 bytes of header, then the labels: the second one is at byte 136 */
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, negative);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_MALFORMED,
                  136);
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, huge);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_MALFORMED,
                  136);
    put_npy(state, "y.npy", AMG_F64, 1, (const int64_t[]){2}, doubles);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_UNSUPPORTED,
                  -1);
    put_npy(state, "y.npy", AMG_U8, 1, (const int64_t[]){3}, bytes);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_MISMATCH, -1);
    put_npy(state, "y.npy", AMG_U8, 2, (const int64_t[]){2, 0}, bytes);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_MALFORMED, -1);
    /* of a class map the sample is named, not the pixel */
    put_npy(state, "y.npy", AMG_I64, 2, (const int64_t[]){1, 2}, negative);
    put_npy(state, "x.npy", AMG_U8, 2, (const int64_t[]){1, 2}, bytes);
    amg_error why = {0};
    assert_int_equal(amg_dataset_open(pair_spec(state, ""), &ds, &why), AMG_MALFORMED);
    assert_int_equal(why.offset, 136);
    assert_string_equal(why.what, "label -1 of sample 0, expected 0 to 2147483646");

    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    assert_failed(amg_dataset_open(pair_spec(state, "@train"), &ds, &err),
                  AMG_NOT_FOUND, -1);
    put_npy(state, "x.npy", AMG_F64, 2, (const int64_t[]){2, 6}, doubles);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_UNSUPPORTED,
                  -1);
    put_npy(state, "x.npy", AMG_U8, 1, (const int64_t[]){2}, bytes);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_UNSUPPORTED,
                  -1);
    put_npy(state, "x.npy", AMG_U8, 2, (const int64_t[]){2, 0}, bytes);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_MALFORMED, -1);
    put_npy(state, "x.npy", AMG_U8, 8, (const int64_t[]){2, 1, 1, 1, 1, 1, 1, 1},
            bytes);
    assert_failed(amg_dataset_open(pair_spec(state, ""), &ds, &err), AMG_UNSUPPORTED,
                  -1);
    assert_failed(amg_dataset_open("npy:x.nqy", &ds, &err), AMG_INVALID, -1);
}

static void part_of_a_set_reads_the_rows_it_names(void **state)
{
    static const uint8_t labels[20] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
                                       10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
    put_npy(state, "x.npy", AMG_U8, 2, (const int64_t[]){20, 1}, labels);
    put_npy(state, "y.npy", AMG_U8, 1, (const int64_t[]){20}, labels);
    static const char *const parts[] = {"", "[5:9]", "[50%:seed=3]"};
    static const int64_t counts[] = {20, 4, 10};
    for (int p = 0; p < 3; p++) {
        amg_dataset *ds = NULL;
        assert_ok(amg_dataset_open(pair_spec(state, parts[p]), &ds, &err));
        assert_int_equal(amg_dataset_get_info(ds)->num_samples, counts[p]);
        /* the class count is that of the whole set, whatever the part */
        assert_int_equal(amg_dataset_get_info(ds)->num_classes, 20);
        for (int64_t i = 0; i < counts[p]; i++) {
            uint8_t x;
            int32_t label;
            assert_ok(amg_dataset_read(ds, i, &x, &label, &err));
            assert_int_equal(label, amg_dataset_source_row(ds, i));
            assert_int_equal(x, label);
            if (p == 1) assert_int_equal(label, 5 + i);
        }
        assert_failed(amg_dataset_read(ds, counts[p], NULL, NULL, &err), AMG_INVALID,
                      -1);
        amg_dataset_close(ds);
    }
}

static amg_status halve(const void *context, const void *x, float *out, amg_error *e)
{
    (void)e;
    ++**(int *const *)context;
    out[0] = (float)*(const uint8_t *)x / 2;
    return AMG_OK;
}

static void a_mapped_set_keeps_rows_targets_and_source(void **state)
{
    static const uint8_t labels[20] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
                                       10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
    put_npy(state, "x.npy", AMG_U8, 2, (const int64_t[]){20, 1}, labels);
    put_npy(state, "y.npy", AMG_U8, 1, (const int64_t[]){20}, labels);
    amg_dataset *inner = NULL, *ds = NULL;
    int calls = 0, *counter = &calls;
    assert_ok(amg_dataset_open(pair_spec(state, "[50%:seed=3]"), &inner, &err));
    assert_ok(amg_dataset_map(inner, halve, &counter, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_int_equal(info->dtype, AMG_F32);
    assert_int_equal(info->sample_bytes, 4);
    assert_int_equal(info->num_samples, 10);
    assert_int_equal(info->num_classes, 20);
    assert_string_equal(amg_dataset_source(ds), amg_dataset_source(inner));
    for (int64_t i = 0; i < 10; i++) {
        float x;
        int32_t label;
        assert_int_equal(amg_dataset_source_row(ds, i),
                         amg_dataset_source_row(inner, i));
        assert_ok(amg_dataset_read(ds, i, &x, &label, &err));
        assert_int_equal(label, amg_dataset_source_row(ds, i));
        assert_true(x == (float)label / 2);
    }
    assert_ok(amg_dataset_read(ds, 0, NULL, NULL, &err));
    assert_int_equal(calls, 10);
    assert_failed(amg_dataset_read(ds, 10, NULL, NULL, &err), AMG_INVALID, -1);
    amg_dataset_close(ds);
    amg_dataset_close(inner);
}

static void source_is_the_same_however_it_is_written(void **state)
{
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    char roundabout[8300], real[4096], expected[8300];
    snprintf(roundabout, sizeof roundabout, "npy:%s/./x.npy,%s//y.npy[0:1]",
             (char *)*state, (char *)*state);
    assert_non_null(realpath(*state, real));
    snprintf(expected, sizeof expected, "npy:%s/x.npy,%s/y.npy", real, real);
    amg_dataset *a = NULL, *b = NULL;
    assert_ok(amg_dataset_open(roundabout, &a, &err));
    assert_ok(amg_dataset_open(pair_spec(state, "[1:2]"), &b, &err));
    assert_string_equal(amg_dataset_source(a), expected);
    assert_string_equal(amg_dataset_source(b), expected);
    amg_dataset_close(a);
    amg_dataset_close(b);

    uint8_t record[3073] = {0};
    put_file(state, "c/test_batch.bin", record, sizeof record);
    snprintf(expected, sizeof expected, "cifar:%s/c@test", real);
    assert_ok(amg_dataset_open(in_dir(state, "./c"), &a, &err));
    assert_string_equal(amg_dataset_source(a), expected);
    amg_dataset_close(a);
}

static void unknown_kind_and_unrecognised_path_list_the_kinds(void **state)
{
    amg_dataset *ds = NULL;
    amg_error err = {0};
    assert_int_equal(amg_dataset_open("tfrecord:x", &ds, &err), AMG_INVALID);
    assert_int_equal(err.offset, 0);
    static const char *const words[] = {"idx (", "cifar (", "folder (", "npy ("};
    for (int i = 0; i < 4; i++) assert_non_null(strstr(err.hint, words[i]));
    assert_true(strlen(err.hint) < sizeof err.hint - 1); /* not cut */

    assert_int_equal(amg_dataset_open(*state, &ds, &err), AMG_UNSUPPORTED);
    assert_non_null(strstr(err.hint, "folder ("));
    assert_int_equal(amg_dataset_open(in_dir(state, "nowhere"), &ds, &err),
                     AMG_NOT_FOUND);
    assert_string_equal(err.where, in_dir(state, "nowhere"));
    put_file(state, "file", "x", 1);
    assert_int_equal(amg_dataset_open(in_dir(state, "file"), &ds, &err),
                     AMG_UNSUPPORTED);
    static const char *const kinds[] = {"idx", "cifar", "folder"};
    for (int i = 0; i < 3; i++) {
        char spec[8300];
        snprintf(spec, sizeof spec, "%s:%s", kinds[i], in_dir(state, "nowhere"));
        assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND);
        assert_string_equal(err.what, "no such folder");
        snprintf(spec, sizeof spec, "%s:%s", kinds[i], (char *)*state);
        assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND);
        assert_null(strstr(err.what, "such"));
    }
    assert_null(ds);
}

/* ---- data sets made of a function ---- */

/* Row r is {r, r + 1} with the target r % 3; it knows how it was called. */
typedef struct {
    _Atomic int inside, calls, most;
    _Atomic bool overlapped; /* two threads were here at once */
    int64_t bad_row;
    bool silent;
} counter;

static amg_status read_counted(void *context, const int64_t *rows, int64_t num, void *x,
                               void *y, amg_error *err)
{
    counter *c = context;
    if (atomic_fetch_add(&c->inside, 1) != 0) c->overlapped = true;
    atomic_fetch_add(&c->calls, 1);
    amg_status st = AMG_OK;
    if (num > c->most) c->most = (int)num;
    for (int64_t i = 0; i < num; i++) {
        const float sample[2] = {(float)rows[i], (float)rows[i] + 1};
        const int32_t target = rows[i] == c->bad_row ? -1 : (int32_t)(rows[i] % 3);
        if (x) memcpy((uint8_t *)x + (size_t)i * sizeof sample, sample, sizeof sample);
        if (y) memcpy((uint8_t *)y + (size_t)i * sizeof target, &target, sizeof target);
        if (c->silent) st = AMG_IO;
        if (rows[i] == 1000 - 1)
            st = amg_fail(err, AMG_IO, -1, "python", "row 999 cannot be read");
    }
    atomic_fetch_sub(&c->inside, 1);
    return st;
}

static amg_dataset_callbacks counted(counter *c)
{
    return (amg_dataset_callbacks){.info = {.dtype = AMG_F32,
                                            .num_samples = 1000,
                                            .rank = 1,
                                            .dims = {2},
                                            .num_classes = 3,
                                            .target_dtype = AMG_I32},
                                   .source = "mine",
                                   .context = c,
                                   .read = read_counted};
}

static void a_function_is_a_data_set(void **state)
{
    (void)state;
    counter c = {.bad_row = 500};
    amg_dataset *ds = NULL;
    const amg_dataset_callbacks calls = counted(&c);
    assert_ok(amg_dataset_from_callbacks(&calls, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_string_equal(info->kind, "callbacks");
    assert_string_equal(amg_dataset_source(ds), "mine");
    assert_int_equal(info->sample_bytes, 8);
    assert_int_equal(info->target_bytes, 4);
    assert_true(amg_dataset_reads_batches(ds));
    assert_int_equal(amg_dataset_source_row(ds, 7), 7);
    float x[3][2];
    int32_t y[3];
    assert_ok(amg_dataset_read(ds, 8, x, y, &err));
    assert_true(x[0][0] == 8 && x[0][1] == 9 && y[0] == 2);
    c.calls = 0;
    static const int64_t ids[3] = {4, 998, 0};
    assert_ok(amg_dataset_read_many(ds, ids, 3, x, y, &err));
    assert_int_equal(c.calls, 1);
    assert_int_equal(c.most, 3);
    assert_true(x[1][0] == 998 && x[2][1] == 1 && y[1] == 2);
    assert_ok(amg_dataset_read_many(ds, ids, 3, NULL, y, &err));
    assert_ok(amg_dataset_read_many(ds, ids, 3, x, NULL, &err));
    amg_dataset_close(ds);
}

static void what_a_function_gives_is_checked(void **state)
{
    (void)state;
    counter c = {.bad_row = 500};
    amg_dataset *ds = NULL;
    float x[3][2];
    int32_t y[3];
    amg_error why = {0};
    amg_dataset_callbacks calls = counted(&c);
    assert_ok(amg_dataset_from_callbacks(&calls, &ds, &err));
    static const int64_t ids[3] = {4, 500, 999}, beyond[1] = {1000};
    assert_int_equal(amg_dataset_read_many(ds, ids, 2, x, y, &why), AMG_MISMATCH);
    assert_string_equal(why.what, "label -1 of sample 500, expected 0 to 2");
    assert_int_equal(amg_dataset_read_many(ds, ids, 3, x, y, &why), AMG_IO);
    assert_string_equal(why.what, "row 999 cannot be read"); /* its own words */
    assert_int_equal(amg_dataset_read_many(ds, beyond, 1, x, y, &why), AMG_INVALID);
    c.silent = true;
    assert_int_equal(amg_dataset_read(ds, 3, x, y, &why), AMG_IO);
    assert_string_equal(why.where, "mine");
    amg_dataset_close(ds);

    c = (counter){.bad_row = -1};
    calls.info.num_classes = 2; /* rows of class 2 are there */
    assert_ok(amg_dataset_from_callbacks(&calls, &ds, &err));
    assert_int_equal(amg_dataset_read(ds, 5, x, y, &why), AMG_MISMATCH);
    assert_string_equal(why.what, "label 2 of sample 5, expected 0 to 1");
    amg_dataset_close(ds);
    calls.info.num_classes = 0; /* not known: nobody here can tell */
    assert_ok(amg_dataset_from_callbacks(&calls, &ds, &err));
    assert_ok(amg_dataset_read(ds, 5, x, y, &err));
    amg_dataset_close(ds);
}

static void a_function_badly_described_is_refused(void **state)
{
    (void)state;
    counter c = {0};
    const amg_dataset_callbacks good = counted(&c);
    amg_dataset *ds = NULL;
#define REFUSED(edit, words)                                                           \
    do {                                                                               \
        amg_dataset_callbacks calls = good;                                            \
        amg_error err = {0};                                                           \
        calls.info.edit;                                                               \
        assert_int_equal(amg_dataset_from_callbacks(&calls, &ds, &err), AMG_INVALID);  \
        if (!strstr(err.what, words)) fail_msg("%s", err.what);                        \
    } while (0)
    REFUSED(num_samples = 0, "0 samples");
    REFUSED(dtype = AMG_I64, "samples are I64");
    REFUSED(rank = 0, "samples have 0 dims");
    REFUSED(rank = 7, "samples have 7 dims");
    REFUSED(dims[0] = 0, "dim 0 of the samples is 0");
    REFUSED(target_dtype = AMG_U8, "targets are U8");
    REFUSED(target_rank = 7, "targets have 7 dims");
    REFUSED(num_classes = -1, "-1 classes");
    REFUSED(target_dtype = AMG_F32, "3 classes, expected 0 to 0");
#undef REFUSED
    assert_null(ds);
}

static void *read_all(void *context)
{
    const amg_dataset *ds = context;
    amg_status st = AMG_OK;
    float x[2];
    for (int64_t i = 0; st == AMG_OK && i < 300; i++)
        st = amg_dataset_read(ds, i, x, NULL, NULL);
    return st == AMG_OK ? NULL : context;
}

static void threads_take_turns_in_a_function(void **state)
{
    (void)state;
    counter c = {.bad_row = -1};
    amg_dataset *ds = NULL;
    const amg_dataset_callbacks calls = counted(&c);
    pthread_t threads[4];
    assert_ok(amg_dataset_from_callbacks(&calls, &ds, &err));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, ds), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(c.calls, 1200);
    assert_false(c.overlapped);
    amg_dataset_close(ds);
}

static void every_failed_allocation_is_reported(void **state)
{
    put_npy(state, "x.npy", AMG_U8, 4, shape, bytes);
    put_npy(state, "y.npy", AMG_I64, 1, (const int64_t[]){2}, two_labels);
    amg_dataset *ds = NULL;
    amg_status st = AMG_NO_MEMORY;
    long n = 0;
    while (st != AMG_OK) {
        long countdown = ++n;
        amg_alloc_fail_after(&countdown);
        st = amg_dataset_open(pair_spec(state, "[50%:seed=1]"), &ds, NULL);
        amg_alloc_fail_after(NULL);
        if (st != AMG_OK) {
            assert_int_equal(st, AMG_NO_MEMORY);
            assert_null(ds);
        }
        assert_true(n < 1000);
    }
    assert_true(n > 10);
    amg_dataset_close(ds);
}

#define WITH_DIR(test)                                                                 \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spec_is_taken_apart),
        cmocka_unit_test(wrong_spec_gives_the_place),
        cmocka_unit_test(part_takes_the_rows_of_the_specification),
        cmocka_unit_test(parts_of_one_seed_partition_the_set),
        cmocka_unit_test(part_that_is_empty_or_leaves_the_set_is_refused),
        cmocka_unit_test(percentage_of_a_huge_set_does_not_overflow),
        WITH_DIR(joined_arrays_are_one_vector),
        WITH_DIR(joined_targets_are_one_row),
        WITH_DIR(joined_targets_must_fit),
        WITH_DIR(pair_of_each_rank_has_its_dims),
        WITH_DIR(integers_are_given_as_i32),
        WITH_DIR(an_integer_beyond_32_bits_is_refused_at_its_byte),
        WITH_DIR(class_maps_are_targets_of_their_shape),
        WITH_DIR(float_targets_are_numbers),
        WITH_DIR(samples_alone_have_no_targets),
        WITH_DIR(grey_images_may_leave_their_channel_out),
        WITH_DIR(labels_of_every_integer_type_are_read),
        WITH_DIR(wrong_pair_is_refused),
        WITH_DIR(part_of_a_set_reads_the_rows_it_names),
        WITH_DIR(a_mapped_set_keeps_rows_targets_and_source),
        WITH_DIR(source_is_the_same_however_it_is_written),
        WITH_DIR(unknown_kind_and_unrecognised_path_list_the_kinds),
        cmocka_unit_test(a_function_is_a_data_set),
        cmocka_unit_test(what_a_function_gives_is_checked),
        cmocka_unit_test(a_function_badly_described_is_refused),
        cmocka_unit_test(threads_take_turns_in_a_function),
        WITH_DIR(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
