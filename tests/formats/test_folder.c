/* Data sets made of image folders: labels by sorted class name, splits, links, shapes.
 */
#include "fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include "formats/dataset.h"
#include "image_golden.h"

#define PUT(name, image) put_file(state, name, image, sizeof(image))

static amg_dataset *open_ok(const char *spec)
{
    amg_dataset *ds = NULL;
    assert_ok(amg_dataset_open(spec, &ds, &err));
    return ds;
}

/* png_rgb and png_rgba are [3,2,3]; png_grey is [1,3,5]. */
static void classes_and_files_are_sorted_bytewise(void **state)
{
    PUT("dog/2.png", png_rgb);
    PUT("dog/1.PNG", png_rgba);
    PUT("Zebra/a.png", png_rgb);
    PUT("cat/x.png", png_rgba);
    put_file(state, "readme.txt", "hello", 5);
    put_file(state, "dog/notes.txt", "hello", 5);
    PUT("dog/.hidden.png", png_grey);
    PUT(".cache/x.png", png_grey);
    amg_dataset *ds = open_ok(*state);
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_string_equal(info->kind, "folder");
    assert_int_equal(info->num_samples, 4);
    assert_int_equal(info->num_classes, 3);
    assert_int_equal(info->dims[0], 3);
    assert_int_equal(info->dims[1], 2);
    assert_int_equal(info->dims[2], 3);
    assert_int_equal(info->sample_bytes, 18);
    assert_string_equal(amg_dataset_class_name(ds, 0), "Zebra");
    assert_string_equal(amg_dataset_class_name(ds, 1), "cat");
    assert_string_equal(amg_dataset_class_name(ds, 2), "dog");
    static const int64_t labels[4] = {0, 1, 2, 2};
    static const uint8_t *const pixels[4] = {png_rgb_pixels, png_rgba_pixels,
                                             png_rgba_pixels, png_rgb_pixels};
    for (int i = 0; i < 4; i++) {
        uint8_t x[18];
        int32_t label;
        assert_ok(amg_dataset_read(ds, i, x, &label, &err));
        assert_int_equal(label, labels[i]);
        assert_memory_equal(x, pixels[i], 18);
    }
    amg_dataset_close(ds);
}

static void jpeg_is_read_whatever_its_spelling(void **state)
{
    PUT("a/1.jpeg", jpeg_rgb);
    PUT("b/1.JPG", jpeg_420);
    amg_dataset *ds = open_ok(*state);
    uint8_t *x = malloc(amg_dataset_get_info(ds)->sample_bytes);
    assert_ok(amg_dataset_read(ds, 1, x, NULL, &err));
    assert_memory_equal(x, jpeg_420_pixels, sizeof jpeg_420_pixels);
    free(x);
    amg_dataset_close(ds);
}

static void class_has_the_same_label_in_every_split(void **state)
{
    PUT("train/a/1.png", png_rgb);
    PUT("train/b/1.png", png_rgb);
    PUT("train/c/1.png", png_rgb);
    PUT("val/c/1.png", png_rgb); /* no folder a or b here, but one of its own */
    PUT("val/aa/1.png", png_rgb);
    char spec[8192];
    snprintf(spec, sizeof spec, "%s@val", (char *)*state);
    amg_dataset *ds = open_ok(spec);
    int32_t label;
    assert_int_equal(amg_dataset_get_info(ds)->num_samples, 2);
    assert_int_equal(amg_dataset_get_info(ds)->num_classes, 4);
    assert_ok(amg_dataset_read(ds, 0, NULL, &label, &err));
    assert_int_equal(label, 1);
    assert_ok(amg_dataset_read(ds, 1, NULL, &label, &err));
    assert_int_equal(label, 3);
    amg_dataset_close(ds);

    ds = open_ok(*state); /* train is the default */
    assert_int_equal(amg_dataset_get_info(ds)->num_samples, 3);
    assert_ok(amg_dataset_read(ds, 2, NULL, &label, &err));
    assert_int_equal(label, 3);
    amg_dataset_close(ds);

    amg_error err = {0};
    snprintf(spec, sizeof spec, "%s@test", (char *)*state);
    assert_int_equal(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND);
    assert_string_equal(err.what, "no split \"test\", found train, val");
}

static void class_called_train_is_not_a_split(void **state)
{
    PUT("train/1.png", png_rgb);
    PUT("plane/1.png", png_rgb);
    amg_dataset *ds = open_ok(*state);
    assert_int_equal(amg_dataset_get_info(ds)->num_classes, 2);
    assert_string_equal(amg_dataset_class_name(ds, 1), "train");
    amg_dataset_close(ds);
}

static void symbolic_links_are_refused(void **state)
{
    amg_dataset *ds = NULL;
    PUT("a/1.png", png_rgb);
    assert_int_equal(symlink("1.png", in_dir(state, "a/2.png")), 0);
    assert_failed(amg_dataset_open(*state, &ds, &err), AMG_UNSAFE_PATH, -1);
    assert_int_equal(unlink(in_dir(state, "a/2.png")), 0);
    assert_int_equal(symlink("a", in_dir(state, "b")), 0);
    assert_failed(amg_dataset_open(*state, &ds, &err), AMG_UNSAFE_PATH, -1);
    assert_int_equal(unlink(in_dir(state, "b")), 0);
    assert_int_equal(symlink("/", in_dir(state, "val")), 0);
    assert_failed(amg_dataset_open(*state, &ds, &err), AMG_UNSAFE_PATH, -1);
    assert_int_equal(unlink(in_dir(state, "val")), 0);
    amg_dataset_close(open_ok(*state));

    PUT("s/train/a/1.png", png_rgb); /* a split that is a link, beside a real one */
    assert_int_equal(symlink("train", in_dir(state, "s/val")), 0);
    assert_failed(amg_dataset_open(in_dir(state, "s"), &ds, &err), AMG_UNSAFE_PATH, -1);
}

static void image_that_is_no_regular_file_is_refused(void **state)
{
    amg_dataset *ds = NULL;
    PUT("a/1.png", png_rgb);
    assert_int_equal(mkfifo(in_dir(state, "a/2.png"), 0600), 0);
    assert_failed(amg_dataset_open(*state, &ds, &err), AMG_MALFORMED, -1);
}

static void later_image_of_another_shape_fails_when_read(void **state)
{
    PUT("a/1.png", png_rgb);
    PUT("a/2.png", png_interlaced);
    amg_dataset *ds = open_ok(*state);
    uint8_t x[18];
    amg_error err = {0};
    assert_int_equal(amg_dataset_read(ds, 1, x, NULL, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.where, "a/2.png"));
    assert_non_null(strstr(err.what, "U8[3,9,10]"));
    assert_non_null(strstr(err.what, "U8[3,2,3]"));
    amg_dataset_close(ds);
}

static void grey_is_widened_among_rgb_but_rgb_is_refused_among_grey(void **state)
{
    PUT("rgb/a/1.jpg", jpeg_rgb);
    PUT("rgb/a/2.jpg", jpeg_grey);
    const size_t plane = sizeof jpeg_grey_pixels;
    uint8_t *x = malloc(3 * plane);
    amg_dataset *ds = open_ok(in_dir(state, "rgb"));
    assert_ok(amg_dataset_read(ds, 1, x, NULL, &err));
    for (size_t c = 0; c < 3; c++)
        assert_memory_equal(x + c * plane, jpeg_grey_pixels, plane);
    amg_dataset_close(ds);

    PUT("grey/a/1.jpg", jpeg_grey);
    PUT("grey/a/2.jpg", jpeg_rgb);
    ds = open_ok(in_dir(state, "grey"));
    assert_failed(amg_dataset_read(ds, 1, x, NULL, &err), AMG_MISMATCH, -1);
    amg_dataset_close(ds);
    free(x);
}

static void damaged_image_is_named_with_its_offset(void **state)
{
    PUT("a/1.png", png_rgb);
    put_file(state, "a/2.png", png_rgb, 50);
    amg_dataset *ds = open_ok(*state);
    uint8_t x[18];
    amg_error err = {0};
    assert_int_equal(amg_dataset_read(ds, 1, x, NULL, &err), AMG_TRUNCATED);
    assert_int_equal(err.offset, 50);
    assert_non_null(strstr(err.where, "a/2.png"));
    amg_dataset_close(ds);
    put_file(state, "a/0.png", png_rgb, 50); /* the first image is read at once */
    assert_int_equal(amg_dataset_open(*state, &ds, &err), AMG_TRUNCATED);
}

static void folder_without_images_is_refused(void **state)
{
    amg_dataset *ds = NULL;
    char spec[8192];
    snprintf(spec, sizeof spec, "folder:%s", (char *)*state);
    put_file(state, "a/notes.txt", "x", 1);
    assert_failed(amg_dataset_open(spec, &ds, &err), AMG_NOT_FOUND, -1);
    assert_failed(amg_dataset_open(*state, &ds, &err), AMG_UNSUPPORTED, -1);
}

static void every_failed_allocation_is_reported(void **state)
{
    PUT("train/a/1.png", png_rgb);
    PUT("train/b/1.png", png_rgb);
    PUT("train/c/1.png", png_rgb);
    amg_dataset *ds = NULL;
    amg_status st = AMG_NO_MEMORY;
    uint8_t x[18];
    long n = 0;
    while (st != AMG_OK) {
        long countdown = ++n;
        ds = NULL;
        amg_alloc_fail_after(&countdown);
        st = amg_dataset_open(*state, &ds, NULL);
        if (st == AMG_OK) st = amg_dataset_read(ds, 2, x, NULL, NULL);
        amg_alloc_fail_after(NULL);
        if (st != AMG_OK) {
            assert_int_equal(st, AMG_NO_MEMORY);
            amg_dataset_close(ds);
        }
        assert_true(n < 1000);
    }
    assert_true(n > 50);
    amg_dataset_close(ds);
}

#define WITH_DIR(test)                                                                 \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(classes_and_files_are_sorted_bytewise),
        WITH_DIR(jpeg_is_read_whatever_its_spelling),
        WITH_DIR(class_has_the_same_label_in_every_split),
        WITH_DIR(class_called_train_is_not_a_split),
        WITH_DIR(symbolic_links_are_refused),
        WITH_DIR(image_that_is_no_regular_file_is_refused),
        WITH_DIR(later_image_of_another_shape_fails_when_read),
        WITH_DIR(grey_is_widened_among_rgb_but_rgb_is_refused_among_grey),
        WITH_DIR(damaged_image_is_named_with_its_offset),
        WITH_DIR(folder_without_images_is_refused),
        WITH_DIR(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
