/* CIFAR-10 and CIFAR-100 binary files and the data sets made of them. */
#include "fixture.h"

#include "formats/cifar.h"
#include "formats/dataset.h"

enum { RECORD_10 = 3073, RECORD_100 = 3074 };

static const char ten_names[] =
    "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

/* Record i has label bytes given and pixels that count up from its number. */
static void fill_record(uint8_t *record, int coarse, int label, int number)
{
    if (coarse >= 0) *record++ = (uint8_t)coarse;
    *record++ = (uint8_t)label;
    for (int i = 0; i < AMG_CIFAR_PIXELS; i++) record[i] = (uint8_t)(number + i);
}

static void put_batch(void **state, const char *name, int first_label, int count)
{
    uint8_t *data = malloc((size_t)count * RECORD_10);
    for (int i = 0; i < count; i++)
        fill_record(data + i * RECORD_10, -1, first_label + i, first_label + i);
    put_file(state, name, data, (size_t)count * RECORD_10);
    free(data);
}

static void batches_follow_each_other_in_the_order_of_their_names(void **state)
{
    put_batch(state, "data_batch_4.bin", 5, 1);
    put_batch(state, "data_batch_1.bin", 2, 3);
    put_batch(state, "test_batch.bin", 9, 1);
    put_file(state, "batches.meta.txt", ten_names, sizeof ten_names - 1);
    amg_dataset *ds = NULL;
    uint8_t x[AMG_CIFAR_PIXELS];
    int32_t label;
    assert_ok(amg_dataset_open(*state, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_string_equal(info->kind, "cifar");
    assert_int_equal(info->dtype, AMG_U8);
    assert_int_equal(info->num_samples, 4);
    assert_int_equal(info->dims[0], 3);
    assert_int_equal(info->dims[1], 32);
    assert_int_equal(info->dims[2], 32);
    assert_int_equal(info->num_classes, 10);
    assert_int_equal(info->sample_bytes, AMG_CIFAR_PIXELS);
    for (int i = 0; i < 4; i++) {
        assert_ok(amg_dataset_read(ds, i, x, &label, &err));
        assert_int_equal(label, 2 + i);
        assert_int_equal(x[0], 2 + i);
        assert_int_equal(x[AMG_CIFAR_PIXELS - 1], (2 + i + AMG_CIFAR_PIXELS - 1) & 255);
    }
    assert_string_equal(amg_dataset_class_name(ds, 0), "airplane");
    assert_string_equal(amg_dataset_class_name(ds, 9), "truck");
    assert_null(amg_dataset_class_name(ds, 10));
    assert_null(amg_dataset_class_name(ds, -1));
    amg_dataset_close(ds);
}

static void cifar_100_uses_the_fine_label(void **state)
{
    char names[800];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "n%d\r\n", i % 10 + 10);
    uint8_t record[RECORD_100];
    fill_record(record, 19, 99, 1);
    put_file(state, "test.bin", record, sizeof record);
    amg_dataset *ds = NULL;
    /* test.bin alone is not enough to take the folder for CIFAR-100 */
    assert_failed(amg_dataset_open(*state, &ds, &err), AMG_UNSUPPORTED, -1);

    put_file(state, "fine_label_names.txt", names, n);
    assert_ok(amg_dataset_open(*state, &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->num_classes, 100);
    int32_t label;
    uint8_t x[AMG_CIFAR_PIXELS];
    assert_ok(amg_dataset_read(ds, 0, x, &label, &err));
    assert_int_equal(label, 99);
    assert_int_equal(x[0], 1);
    assert_string_equal(amg_dataset_class_name(ds, 99), "n19");
    amg_dataset_close(ds);
}

static void class_names_are_optional(void **state)
{
    put_batch(state, "test_batch.bin", 0, 1);
    amg_dataset *ds = NULL;
    assert_ok(amg_dataset_open(*state, &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->num_classes, 10);
    assert_null(amg_dataset_class_name(ds, 0));
    amg_dataset_close(ds);
}

static void malformed_records_give_code_and_offset(void **state)
{
    (void)state;
    uint8_t data[2 * RECORD_100] = {0};
    int64_t num;
    assert_failed(amg_cifar_parse(data, 0, "x", AMG_CIFAR_10, &num, &err),
                  AMG_TRUNCATED, 0);
    assert_failed(amg_cifar_parse(data, RECORD_10 - 1, "x", AMG_CIFAR_10, &num, &err),
                  AMG_TRUNCATED, 0);
    assert_failed(
        amg_cifar_parse(data, 2 * RECORD_10 - 1, "x", AMG_CIFAR_10, &num, &err),
        AMG_TRUNCATED, RECORD_10);
    assert_failed(amg_cifar_parse(data, RECORD_10 + 1, "x", AMG_CIFAR_10, &num, &err),
                  AMG_TRUNCATED, RECORD_10);
    data[RECORD_10] = 10;
    assert_failed(amg_cifar_parse(data, 2 * RECORD_10, "x", AMG_CIFAR_10, &num, &err),
                  AMG_MALFORMED, RECORD_10);
    data[RECORD_10] = 9;
    assert_ok(amg_cifar_parse(data, 2 * RECORD_10, "x", AMG_CIFAR_10, &num, &err));
    assert_int_equal(num, 2);

    memset(data, 0, sizeof data);
    data[RECORD_100] = 20;
    assert_failed(amg_cifar_parse(data, sizeof data, "x", AMG_CIFAR_100, &num, &err),
                  AMG_MALFORMED, RECORD_100);
    data[RECORD_100] = 19;
    data[RECORD_100 + 1] = 100;
    assert_failed(amg_cifar_parse(data, sizeof data, "x", AMG_CIFAR_100, &num, &err),
                  AMG_MALFORMED, RECORD_100 + 1);
    data[RECORD_100 + 1] = 99;
    assert_ok(amg_cifar_parse(data, sizeof data, "x", AMG_CIFAR_100, &num, &err));
}

static void malformed_names_give_code_and_offset(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        amg_status status;
        int64_t offset;
    } cases[] = {
        {"", AMG_MISMATCH, 0},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\n", AMG_MISMATCH, 18},
        {"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", AMG_MISMATCH, 20},
        {"a\nb\nc\nd\x1b[2J\ne\nf\ng\nh\ni\nj\n", AMG_MALFORMED, 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        const char *names[10];
        strcpy(text, cases[i].text);
        assert_failed(amg_cifar_parse_names(text, strlen(cases[i].text), "x",
                                            AMG_CIFAR_10, names, &err),
                      cases[i].status, cases[i].offset);
    }
    char last[] = "a\nb\nc\nd\ne\nf\ng\nh\ni\njk"; /* no newline at the end */
    const char *names[10];
    assert_ok(
        amg_cifar_parse_names(last, sizeof last - 1, "x", AMG_CIFAR_10, names, &err));
    assert_string_equal(names[9], "jk");
}

static void bad_label_in_a_later_batch_names_its_file(void **state)
{
    put_batch(state, "data_batch_1.bin", 0, 2);
    put_batch(state, "data_batch_2.bin", 8, 3); /* labels 8, 9, 10 */
    amg_dataset *ds = NULL;
    amg_error err = {0};
    assert_int_equal(amg_dataset_open(*state, &ds, &err), AMG_MALFORMED);
    assert_int_equal(err.offset, 2 * RECORD_10);
    assert_non_null(strstr(err.where, "data_batch_2.bin"));
    assert_null(ds);
}

static void missing_split_is_named(void **state)
{
    put_batch(state, "test_batch.bin", 0, 1);
    amg_dataset *ds = NULL;
    amg_error err = {0};
    char spec[8192];
    snprintf(spec, sizeof spec, "cifar:%s@train", (char *)*state);
    assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND);
    assert_string_equal(err.what, "no split \"train\", found test");
}

static void every_failed_allocation_is_reported(void **state)
{
    put_batch(state, "data_batch_1.bin", 2, 3);
    put_file(state, "batches.meta.txt", ten_names, sizeof ten_names - 1);
    amg_dataset *ds = NULL;
    amg_status st = AMG_NO_MEMORY;
    long n = 0;
    while (st != AMG_OK) {
        long countdown = ++n;
        amg_alloc_fail_after(&countdown);
        st = amg_dataset_open(*state, &ds, NULL);
        amg_alloc_fail_after(NULL);
        if (st != AMG_OK) assert_int_equal(st, AMG_NO_MEMORY);
        assert_true(n < 1000);
    }
    assert_true(n > 10);
    amg_dataset_close(ds);
}

/* Values from Python: r = np.fromfile(FILE, np.uint8).reshape(-1, 3073): r[:5, 0],
 * r[0, 1:6], r[0, 1:].sum(), r[-1, 1:].sum(). */
static void check_real(const amg_dataset *ds, int64_t row, const uint8_t labels[5],
                       const uint8_t pixels[5], int64_t sum)
{
    uint8_t x[AMG_CIFAR_PIXELS];
    int64_t own = 0;
    int32_t label;
    for (int64_t i = 0; i < 5; i++) {
        assert_ok(amg_dataset_read(ds, row + i, NULL, &label, &err));
        assert_int_equal(label, labels[i]);
    }
    assert_ok(amg_dataset_read(ds, row, x, NULL, &err));
    assert_memory_equal(x, pixels, 5);
    for (int i = 0; i < AMG_CIFAR_PIXELS; i++) own += x[i];
    assert_int_equal(own, sum);
}

static void real_cifar_10_subset(void **state)
{
    (void)state;
    const char *dir = find_real_data("cifar-10-batches-bin");
    if (dir == NULL) skip();
    amg_dataset *ds = NULL;
    assert_ok(amg_dataset_open(dir, &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->num_samples, 20000);
    assert_int_equal(amg_dataset_get_info(ds)->num_classes, 10);
    check_real(ds, 0, (const uint8_t[]){6, 9, 9, 4, 1},
               (const uint8_t[]){61, 48, 56, 81, 107}, 318142);
    check_real(ds, 10000, (const uint8_t[]){1, 6, 6, 8, 8},
               (const uint8_t[]){28, 22, 18, 18, 17}, 369148);
    assert_string_equal(amg_dataset_class_name(ds, 6), "frog");
    amg_dataset_close(ds);

    char spec[8300];
    snprintf(spec, sizeof spec, "cifar:%s/@test", dir);
    assert_ok(amg_dataset_open(spec, &ds, &err));
    assert_int_equal(amg_dataset_get_info(ds)->num_samples, 10000);
    check_real(ds, 0, (const uint8_t[]){3, 8, 8, 0, 6},
               (const uint8_t[]){167, 166, 168, 177, 162}, 332902);
    amg_dataset_close(ds);
}

#define WITH_DIR(test)                                                                 \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(batches_follow_each_other_in_the_order_of_their_names),
        WITH_DIR(cifar_100_uses_the_fine_label),
        WITH_DIR(class_names_are_optional),
        cmocka_unit_test(malformed_records_give_code_and_offset),
        cmocka_unit_test(malformed_names_give_code_and_offset),
        WITH_DIR(bad_label_in_a_later_batch_names_its_file),
        WITH_DIR(missing_split_is_named),
        WITH_DIR(every_failed_allocation_is_reported),
        cmocka_unit_test(real_cifar_10_subset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
