/* IDX arrays, plain and gzipped, and the data sets made of them. */
#include "fixture.h"

#include "formats/dataset.h"
#include "formats/idx.h"

/* Two grey images of 2x3 and their labels. */
#define IMAGES                                                                         \
    "\0\0\x08\3\0\0\0\2\0\0\0\2\0\0\0\3"                                               \
    "\1\2\3\4\5\6"                                                                     \
    "\7\10\11\12\13\14"
#define LABELS                                                                         \
    "\0\0\x08\1\0\0\0\2"                                                               \
    "\1\3"

static void array_of_each_type_and_rank_is_read(void **state)
{
    (void)state;
    amg_idx idx;
    assert_ok(amg_idx_parse(IMAGES, sizeof IMAGES - 1, "x", &idx, &err));
    assert_int_equal(idx.dtype, AMG_U8);
    assert_int_equal(idx.rank, 3);
    assert_int_equal(idx.dims[0], 2);
    assert_int_equal(idx.dims[1], 2);
    assert_int_equal(idx.dims[2], 3);
    assert_int_equal(idx.data[11], 12);
    amg_idx_close(&idx);

    static const char floats[] = "\0\0\x0d\1\0\0\0\1\x3f\x80\0\0";
    assert_ok(amg_idx_parse(floats, sizeof floats - 1, "x", &idx, &err));
    assert_int_equal(idx.dtype, AMG_F32);
    assert_int_equal(idx.rank, 1);
    amg_idx_close(&idx);
}

/* X(text of the file, status, offset, what is wrong) */
#define MALFORMED(X)                                                                   \
    X("", TRUNCATED, 0, "empty")                                                       \
    X("\0\0\x08", TRUNCATED, 0, "half a magic number")                                 \
    X("\1\0\x08\1\0\0\0\1\1", MALFORMED, 0, "first byte of the magic number")          \
    X("\0\1\x08\1\0\0\0\1\1", MALFORMED, 0, "second byte of the magic number")         \
    X("\0\0\x07\1\0\0\0\1\1", MALFORMED, 2, "no such type")                            \
    X("\0\0\x09\1\0\0\0\1\1", UNSUPPORTED, 2, "signed bytes")                          \
    X("\0\0\x0e\1\0\0\0\1\1", UNSUPPORTED, 2, "doubles")                               \
    X("\0\0\x08\0\1", UNSUPPORTED, 3, "no dims")                                       \
    X("\0\0\x08\5\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\1", UNSUPPORTED, 3,          \
      "five dims")                                                                     \
    X("\0\0\x08\2\0\0\0\1\0\0", TRUNCATED, 8, "ends in the second dim")                \
    X("\0\0\x08\1\0\0\0\0", MALFORMED, 4, "dim of 0")                                  \
    X("\0\0\x08\2\0\0\0\1\0\0\0\0", MALFORMED, 8, "second dim of 0")                   \
    X("\0\0\x08\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", OVERFLOW, 8,       \
      "dims that overflow")                                                            \
    X("\0\0\x08\1\0\0\0\3\1\2", TRUNCATED, 10, "one byte too few")                     \
    X("\0\0\x08\1\0\0\0\1\1\2", MALFORMED, 9, "one byte too many")                     \
    X("\0\0\x0d\1\0\0\0\2\1\2\3\4\5\6\7", TRUNCATED, 15, "floats cut short")

#define ROW(text, status, offset, what) {text, sizeof text - 1, AMG_##status, offset},
static const struct {
    const char *text;
    size_t size;
    amg_status status;
    int64_t offset;
} malformed[] = {MALFORMED(ROW)};
enum { NUM_MALFORMED = sizeof malformed / sizeof *malformed };

static void malformed_file_gives_code_and_offset(void **state)
{
    (void)state;
    amg_idx idx;
    for (int i = 0; i < NUM_MALFORMED; i++)
        assert_failed(
            amg_idx_parse(malformed[i].text, malformed[i].size, "x", &idx, &err),
            malformed[i].status, malformed[i].offset);
}

static void malformed_file_is_no_better_gzipped(void **state)
{
    (void)state;
    amg_idx idx;
    uint8_t packed[256];
    for (int i = 0; i < NUM_MALFORMED; i++) {
        const size_t size =
            gzip(malformed[i].text, malformed[i].size, packed, sizeof packed);
        assert_failed(amg_idx_parse(packed, size, "x", &idx, &err), malformed[i].status,
                      malformed[i].offset);
    }
}

static void gzipped_array_equals_plain(void **state)
{
    (void)state;
    uint8_t packed[256];
    const size_t size = gzip(IMAGES, sizeof IMAGES - 1, packed, sizeof packed);
    amg_idx idx;
    assert_ok(amg_idx_parse(packed, size, "x", &idx, &err));
    assert_int_equal(idx.rank, 3);
    assert_memory_equal(idx.data, &IMAGES[16], 12);
    amg_idx_close(&idx);
}

static void damaged_gzip_gives_code_and_offset(void **state)
{
    (void)state;
    uint8_t packed[256];
    const size_t size = gzip(IMAGES, sizeof IMAGES - 1, packed, sizeof packed);
    amg_idx idx;
    for (size_t cut = 2; cut < size; cut++)
        assert_failed(amg_idx_parse(packed, cut, "x", &idx, &err), AMG_TRUNCATED,
                      (int64_t)cut);
    packed[size] = 0;
    assert_failed(amg_idx_parse(packed, size + 1, "x", &idx, &err), AMG_MALFORMED,
                  (int64_t)size);
    packed[size - 1] ^= 1; /* length in the trailer */
    assert_failed(amg_idx_parse(packed, size, "x", &idx, &err), AMG_MALFORMED,
                  (int64_t)size);
    packed[size - 1] ^= 1;
    packed[size - 5] ^= 1; /* checksum in the trailer */
    assert_failed(amg_idx_parse(packed, size, "x", &idx, &err), AMG_MALFORMED,
                  (int64_t)size - 4);
    packed[size - 5] ^= 1;
    packed[2] = 7; /* compression method: zlib has then taken 4 bytes */
    assert_failed(amg_idx_parse(packed, size, "x", &idx, &err), AMG_MALFORMED, 4);
}

/* 64 MiB of zeros in 64 KiB: unpacking must stop after the ten bytes promised. */
static void gzip_bomb_stops_at_the_size_of_the_header(void **state)
{
    (void)state;
    const size_t zeros = 64u << 20, room = 1u << 20;
    uint8_t *data = calloc(1, zeros), *packed = malloc(room);
    memcpy(data, LABELS, sizeof LABELS - 1);
    const size_t size = gzip(data, zeros, packed, room);
    amg_idx idx;
    assert_failed(amg_idx_parse(packed, size, "x", &idx, &err), AMG_MALFORMED, 10);
    free(data);
    free(packed);
}

static void put_pair(void **state, const char *images, const char *labels)
{
    put_file(state, images, IMAGES, sizeof IMAGES - 1);
    put_file(state, labels, LABELS, sizeof LABELS - 1);
}

static void check_set(const char *spec)
{
    amg_dataset *ds = NULL;
    uint8_t x[6];
    int32_t label;
    assert_ok(amg_dataset_open(spec, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_string_equal(info->kind, "idx");
    assert_int_equal(info->dtype, AMG_U8);
    assert_int_equal(info->num_samples, 2);
    assert_int_equal(info->dims[0], 1);
    assert_int_equal(info->dims[1], 2);
    assert_int_equal(info->dims[2], 3);
    assert_int_equal(info->num_classes, 4);
    assert_int_equal(info->sample_bytes, 6);
    assert_ok(amg_dataset_read(ds, 1, x, &label, &err));
    assert_memory_equal(x, "\7\10\11\12\13\14", 6);
    assert_int_equal(label, 3);
    assert_null(amg_dataset_class_name(ds, 0));
    amg_dataset_close(ds);
}

static void folder_with_either_spelling_is_recognised(void **state)
{
    put_pair(state, "a/train-images-idx3-ubyte", "a/train-labels-idx1-ubyte");
    check_set(in_dir(state, "a"));
    put_pair(state, "b/t10k-images.idx3-ubyte", "b/t10k-labels.idx1-ubyte");
    check_set(in_dir(state, "b")); /* the only split is the default */
    check_set(in_dir(state, "b@test"));

    uint8_t packed[256];
    size_t size = gzip(IMAGES, sizeof IMAGES - 1, packed, sizeof packed);
    put_file(state, "c/train-images-idx3-ubyte.gz", packed, size);
    size = gzip(LABELS, sizeof LABELS - 1, packed, sizeof packed);
    put_file(state, "c/train-labels-idx1-ubyte.gz", packed, size);
    check_set(in_dir(state, "c@train"));
}

static void split_or_file_that_is_missing_is_named(void **state)
{
    amg_dataset *ds = NULL;
    amg_error err = {0};
    put_pair(state, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    char spec[8192];
    snprintf(spec, sizeof spec, "%s@test", (char *)*state);
    assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND);
    assert_string_equal(err.what, "no split \"test\", found train");

    put_file(state, "t10k-images-idx3-ubyte", IMAGES, sizeof IMAGES - 1);
    assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND);
    assert_non_null(strstr(err.what, "t10k-labels-idx1-ubyte"));
    assert_null(ds);
}

static void labels_that_do_not_fit_the_images_are_refused(void **state)
{
    static const char three[] = "\0\0\x08\1\0\0\0\3\1\2\3";
    static const char square[] = "\0\0\x08\2\0\0\0\2\0\0\0\1\1\2";
    amg_dataset *ds = NULL;
    const char *spec = *state;
    put_pair(state, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    put_file(state, "train-labels-idx1-ubyte", three, sizeof three - 1);
    assert_failed(amg_dataset_open(spec, &ds, &err), AMG_MISMATCH, 4);
    put_file(state, "train-labels-idx1-ubyte", square, sizeof square - 1);
    assert_failed(amg_dataset_open(spec, &ds, &err), AMG_MISMATCH, 2);
    put_file(state, "train-labels-idx1-ubyte", LABELS, sizeof LABELS - 1);
    put_file(state, "train-images-idx3-ubyte", square, sizeof square - 1);
    assert_failed(amg_dataset_open(spec, &ds, &err), AMG_MISMATCH, 3);
}

static void class_count_is_that_of_both_splits(void **state)
{
    static const char seven[] = "\0\0\x08\1\0\0\0\2\7\0";
    amg_dataset *ds = NULL;
    put_pair(state, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    put_file(state, "t10k-labels-idx1-ubyte", seven, sizeof seven - 1);
    assert_ok(amg_dataset_open(*state, &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->num_classes, 8);
    amg_dataset_close(ds);
}

static void float_colour_images_come_out_native_and_nan_is_refused(void **state)
{
    /* N=2, C=2, H=1, W=1: 1.0, -2.5; 0.5, NaN */
    static const char floats[] = "\0\0\x0d\4\0\0\0\2\0\0\0\2\0\0\0\1\0\0\0\1"
                                 "\x3f\x80\0\0\xc0\x20\0\0\x3f\0\0\0\x7f\xc0\0\0";
    put_file(state, "train-images-idx4-float", floats, sizeof floats - 1);
    put_file(state, "train-labels-idx1-ubyte", LABELS, sizeof LABELS - 1);
    amg_dataset *ds = NULL;
    float x[2];
    int32_t label;
    assert_ok(amg_dataset_open(*state, &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->dtype, AMG_F32);
    assert_int_equal(amg_dataset_get_info(ds)->dims[0], 2);
    assert_int_equal(amg_dataset_get_info(ds)->sample_bytes, 8);
    assert_ok(amg_dataset_read(ds, 0, x, NULL, &err));
    assert_true(x[0] == 1.0f && x[1] == -2.5f);
    assert_failed(amg_dataset_read(ds, 1, x, &label, &err), AMG_NOT_FINITE, -1);
    assert_ok(amg_dataset_read(ds, 1, NULL, &label, &err));
    assert_int_equal(label, 3);
    amg_dataset_close(ds);
}

static void every_failed_allocation_is_reported(void **state)
{
    uint8_t packed[256];
    size_t size = gzip(IMAGES, sizeof IMAGES - 1, packed, sizeof packed);
    put_file(state, "train-images-idx3-ubyte.gz", packed, size);
    size = gzip(LABELS, sizeof LABELS - 1, packed, sizeof packed);
    put_file(state, "train-labels-idx1-ubyte.gz", packed, size);
    amg_dataset *ds = NULL;
    amg_status st = AMG_NO_MEMORY;
    long n = 0;
    while (st != AMG_OK) {
        long countdown = ++n;
        amg_alloc_fail_after(&countdown);
        st = amg_dataset_open(*state, &ds, NULL);
        amg_alloc_fail_after(NULL);
        if (st != AMG_OK) {
            assert_int_equal(st, AMG_NO_MEMORY);
            assert_null(ds);
        }
        assert_true(n < 1000);
    }
    assert_true(n > 20);
    amg_dataset_close(ds);
}

/* Values from Python: np.frombuffer(gzip.open(FILE).read(), np.uint8, offset=16)
 * .reshape(-1, 28, 28): x[0,5,12:20], x[0].sum(), x[-1].sum(), x.sum(); labels with
 * offset=8. */
static void check_real(const char *dir, const char *split, int64_t num,
                       const uint8_t labels[5], const uint8_t pixels[8],
                       int64_t first_sum, int64_t last_sum, int64_t total)
{
    char spec[8300];
    snprintf(spec, sizeof spec, "%s@%s", dir, split);
    amg_dataset *ds = NULL;
    assert_ok(amg_dataset_open(spec, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_int_equal(info->num_samples, num);
    assert_int_equal(info->dims[0], 1);
    assert_int_equal(info->dims[1], 28);
    assert_int_equal(info->dims[2], 28);
    assert_int_equal(info->num_classes, 10);
    int64_t sum = 0;
    for (int64_t i = 0; i < num; i++) {
        uint8_t x[784];
        int64_t own = 0;
        int32_t label;
        assert_int_equal(amg_dataset_read(ds, i, x, &label, NULL), AMG_OK);
        for (int j = 0; j < 784; j++) own += x[j];
        if (i < 5) assert_int_equal(label, labels[i]);
        if (i == 0) assert_memory_equal(x + 5 * 28 + 12, pixels, 8);
        if (i == 0) assert_int_equal(own, first_sum);
        if (i == num - 1) assert_int_equal(own, last_sum);
        sum += own;
    }
    assert_int_equal(sum, total);
    amg_dataset_close(ds);
}

static void real_mnist(void **state)
{
    (void)state;
    const char *dir = find_real_data("mnist");
    if (dir == NULL) skip();
    check_real(dir, "train", 60000, (const uint8_t[]){5, 0, 4, 1, 9},
               (const uint8_t[]){3, 18, 18, 18, 126, 136, 175, 26}, 27525, 20920,
               1567298545);
    check_real(dir, "test", 10000, (const uint8_t[]){7, 2, 1, 0, 4},
               (const uint8_t[8]){0}, 18454, 41833, 264923200);
}

static void real_fashion_mnist(void **state)
{
    (void)state;
    const char *dir = "/usr/share/datasets/fashion-mnist";
    if (!amg_path_is_dir(dir)) {
        print_message("skipped: no %s (package dataset-fashion-mnist)\n", dir);
        skip();
    }
    check_real(dir, "train", 60000, (const uint8_t[]){9, 0, 0, 3, 0},
               (const uint8_t[]){6, 0, 102, 204, 176, 134, 144, 123}, 76247, 16684,
               3431114169);
    check_real(dir, "test", 10000, (const uint8_t[]){9, 2, 1, 1, 6},
               (const uint8_t[8]){0}, 33456, 24390, 573469082);
}

#define WITH_DIR(test)                                                                 \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(array_of_each_type_and_rank_is_read),
        cmocka_unit_test(malformed_file_gives_code_and_offset),
        cmocka_unit_test(malformed_file_is_no_better_gzipped),
        cmocka_unit_test(gzipped_array_equals_plain),
        cmocka_unit_test(damaged_gzip_gives_code_and_offset),
        cmocka_unit_test(gzip_bomb_stops_at_the_size_of_the_header),
        WITH_DIR(folder_with_either_spelling_is_recognised),
        WITH_DIR(split_or_file_that_is_missing_is_named),
        WITH_DIR(labels_that_do_not_fit_the_images_are_refused),
        WITH_DIR(class_count_is_that_of_both_splits),
        WITH_DIR(float_colour_images_come_out_native_and_nan_is_refused),
        WITH_DIR(every_failed_allocation_is_reported),
        cmocka_unit_test(real_mnist),
        cmocka_unit_test(real_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
