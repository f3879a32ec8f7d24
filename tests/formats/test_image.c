/* image.c and its codecs against Pillow's pixels, against damaged files and against an
 * allocator that fails. */
#include "fixture.h"

#include "formats/image.h"
#include "formats/image_codec.h"
#include "image_golden.h"

enum { NUM_GOLDEN = sizeof image_golden / sizeof *image_golden };

static void pixels_equal_pillows_for_every_kind_of_file(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_GOLDEN; i++) {
        amg_tensor image;
        assert_ok(amg_image_parse(image_golden[i].file, image_golden[i].size,
                                  image_golden[i].name, 0, &image, &err));
        assert_int_equal(image.dtype, AMG_U8);
        assert_int_equal(image.rank, 3);
        assert_memory_equal(image.dims, image_golden[i].dims,
                            sizeof image_golden[i].dims);
        if (memcmp(image.data, image_golden[i].pixels, image.size_bytes) != 0)
            fail_msg("%s: pixels differ from Pillow's", image_golden[i].name);
        amg_tensor_clear(&image);
    }
}

static void channels_convert_on_request(void **state)
{
    (void)state;
    amg_tensor image;
    assert_ok(amg_image_parse(png_rgb, sizeof png_rgb, "rgb", 1, &image, &err));
    assert_int_equal(image.dims[0], 1);
    assert_memory_equal(image.data, png_rgb_as_grey_pixels,
                        sizeof png_rgb_as_grey_pixels);
    amg_tensor_clear(&image);

    assert_ok(amg_image_parse(png_grey, sizeof png_grey, "grey", 3, &image, &err));
    assert_int_equal(image.dims[0], 3);
    for (size_t c = 0; c < 3; c++)
        assert_memory_equal((uint8_t *)image.data + c * 15, png_grey_pixels, 15);
    amg_tensor_clear(&image);

    assert_failed(amg_image_parse(png_rgb, sizeof png_rgb, "rgb", 2, &image, &err),
                  AMG_INVALID, -1);
}

/* Copies a golden file, changes one byte, expects status at offset. */
static void expect_damage(const uint8_t *file, size_t size, size_t at, uint8_t value,
                          amg_status status, int64_t offset)
{
    uint8_t *copy = malloc(size);
    memcpy(copy, file, size);
    copy[at] = value;
    amg_tensor image;
    assert_failed(amg_image_parse(copy, size, "damaged", 0, &image, &err), status,
                  offset);
    free(copy);
}

/* png_rgb: signature 8 bytes, IHDR at 8 (25 bytes), IDAT at 33, IEND in the last 12. */
static void damaged_png_names_the_chunk(void **state)
{
    (void)state;
    const size_t size = sizeof png_rgb, iend = size - 12;
    const uint8_t *f = png_rgb;
    expect_damage(f, size, 1, 'X', AMG_MALFORMED, 0);               /* signature */
    expect_damage(f, size, 12, 'X', AMG_MALFORMED, 8);              /* "XHDR" */
    expect_damage(f, size, 19, 4, AMG_MALFORMED, 8);                /* width */
    expect_damage(f, size, 29, (uint8_t)~f[29], AMG_MALFORMED, 8);  /* its CRC */
    expect_damage(f, size, 43, (uint8_t)~f[43], AMG_MALFORMED, 33); /* pixels */
    expect_damage(f, size, iend - 1, (uint8_t)~f[iend - 1], AMG_MALFORMED, 33);
    expect_damage(f, size, size - 1, (uint8_t)~f[size - 1], AMG_MALFORMED,
                  (int64_t)iend);
    expect_damage(f, size, 33, 0x7f, AMG_TRUNCATED, (int64_t)size); /* chunk length */
}

/* Builds a PNG of one IHDR (with a right CRC) in front of png_rgb's other chunks. */
static size_t png_with_header(uint32_t width, uint32_t height, uint8_t depth,
                              uint8_t color, uint8_t *out)
{
    memcpy(out, png_rgb, sizeof png_rgb);
    const uint8_t fields[10] = {(uint8_t)(width >> 24),
                                (uint8_t)(width >> 16),
                                (uint8_t)(width >> 8),
                                (uint8_t)width,
                                (uint8_t)(height >> 24),
                                (uint8_t)(height >> 16),
                                (uint8_t)(height >> 8),
                                (uint8_t)height,
                                depth,
                                color};
    memcpy(out + 16, fields, sizeof fields);
    const uint32_t crc = (uint32_t)crc32(0, out + 12, 17);
    for (int i = 0; i < 4; i++) out[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    return sizeof png_rgb;
}

static void png_of_impossible_size_is_refused_before_memory_is_asked_for(void **state)
{
    (void)state;
    const struct {
        uint32_t width, height;
        uint8_t depth, color;
        amg_status status;
        int64_t offset;
    } cases[] = {
        {65501, 2, 8, 2, AMG_UNSUPPORTED, 16},
        {2, 65501, 8, 2, AMG_UNSUPPORTED, 20},
        {0x7fffffff, 0x7fffffff, 1, 0, AMG_UNSUPPORTED, 16},
        {65500, 65500, 8, 2, AMG_TRUNCATED, sizeof png_rgb},
        {0, 2, 8, 2, AMG_MALFORMED, 8},
        {2, 0x80000000, 8, 2, AMG_MALFORMED, 8},
        {2, 2, 3, 2, AMG_MALFORMED, 8},
        {2, 2, 8, 5, AMG_MALFORMED, 8},
        {3, 3, 8, 2, AMG_MALFORMED, sizeof png_rgb - 12}, /* one row too few */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t file[sizeof png_rgb];
        const size_t size = png_with_header(cases[i].width, cases[i].height,
                                            cases[i].depth, cases[i].color, file);
        amg_tensor image;
        assert_failed(amg_image_parse(file, size, "png", 0, &image, &err),
                      cases[i].status, cases[i].offset);
    }
}

static void every_truncation_is_an_error_at_the_end(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_GOLDEN; i++)
        for (size_t size = 0; size < image_golden[i].size; size++) {
            uint8_t *cut = malloc(size + 1); /* ASan sees a read beyond size + 1 */
            memcpy(cut, image_golden[i].file, size);
            cut = realloc(cut, size > 0 ? size : 1);
            amg_tensor image;
            amg_error err = {0};
            const amg_status st =
                amg_image_parse(cut, size, image_golden[i].name, 0, &image, &err);
            /* cut between 3 and 8 bytes a PNG still lacks its signature */
            if (st != AMG_TRUNCATED || err.offset != (int64_t)size)
                fail_msg("%s cut to %zu: %s at %lld: %s", image_golden[i].name, size,
                         amg_status_name(st), (long long)err.offset, err.what);
            free(cut);
        }
}

static size_t find_marker(const uint8_t *file, size_t size, uint8_t marker)
{
    for (size_t i = 0; i + 1 < size; i++)
        if (file[i] == 0xff && file[i + 1] == marker) return i;
    fail_msg("no marker %02x", marker);
    return 0;
}

static void jpeg_warnings_about_data_are_errors(void **state)
{
    (void)state;
    const size_t size = sizeof jpeg_rgb;
    const size_t sof = find_marker(jpeg_rgb, size, 0xc0);
    const size_t sos = find_marker(jpeg_rgb, size, 0xda);
    /* a restart marker where none belongs, in the middle of the entropy-coded data */
    uint8_t file[sizeof jpeg_rgb];
    memcpy(file, jpeg_rgb, size);
    file[sos + 60] = 0xff;
    file[sos + 61] = 0xd3;
    amg_tensor image;
    amg_error err = {0};
    assert_int_equal(amg_image_parse(file, size, "jpeg", 0, &image, &err),
                     AMG_MALFORMED);
    assert_in_range(err.offset, (int64_t)sos, (int64_t)sos + 62);

    /* The offset is how far libjpeg had read: it judges the frame header's marker at
     * once, its contents after the scan header of 14 bytes. */
    expect_damage(jpeg_rgb, size, sof + 1, 0xc3, AMG_UNSUPPORTED, (int64_t)sof + 2);
    expect_damage(jpeg_rgb, size, sof + 4, 13, AMG_UNSUPPORTED, (int64_t)sos + 14);
    expect_damage(jpeg_rgb, size, 2, 0x00, AMG_MALFORMED, 0); /* signature */
}

static void jpeg_of_impossible_size_is_refused(void **state)
{
    (void)state;
    const size_t size = sizeof jpeg_rgb;
    const size_t sof = find_marker(jpeg_rgb, size, 0xc0);
    const size_t sos = find_marker(jpeg_rgb, size, 0xda);
    uint8_t file[sizeof jpeg_rgb];
    amg_tensor image;
    memcpy(file, jpeg_rgb, size);
    memset(file + sof + 5, 0xff, 4); /* 65535 x 65535 */
    assert_failed(amg_image_parse(file, size, "jpeg", 0, &image, &err), AMG_UNSUPPORTED,
                  (int64_t)sos + 14);
    memset(file + sof + 5, 0xf0, 4); /* 61680 x 61680 */
    assert_failed(amg_image_parse(file, size, "jpeg", 0, &image, &err), AMG_TRUNCATED,
                  (int64_t)size);
}

static void cmyk_jpeg_is_unsupported(void **state)
{
    (void)state;
    amg_tensor image;
    amg_error err = {0};
    assert_int_equal(
        amg_image_parse(jpeg_cmyk, sizeof jpeg_cmyk, "cmyk", 0, &image, &err),
        AMG_UNSUPPORTED);
    assert_non_null(strstr(err.what, "colours"));
}

static void written_png_reads_back_and_has_no_text_or_time(void **state)
{
    for (int channels = 1; channels <= 3; channels += 2) {
        const int64_t dims[3] = {channels, 7, 5};
        amg_tensor image, back;
        assert_ok(amg_tensor_new(AMG_U8, 3, dims, &image, &err));
        for (size_t i = 0; i < image.size_bytes; i++)
            ((uint8_t *)image.data)[i] = (uint8_t)(i * 37 + 11);
        assert_ok(amg_image_write_png(in_dir(state, "a.png"), &image, &err));
        assert_ok(amg_image_write_png(in_dir(state, "b.png"), &image, &err));
        assert_ok(amg_image_read(in_dir(state, "a.png"), 0, &back, &err));
        assert_true(amg_tensor_same_shape(&image, &back));
        assert_memory_equal(image.data, back.data, image.size_bytes);

        amg_map a, b;
        assert_ok(amg_map_open(in_dir(state, "a.png"), &a, &err));
        assert_ok(amg_map_open(in_dir(state, "b.png"), &b, &err));
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        /* signature, IHDR, then IDAT at once, and IEND at the end: nothing else */
        assert_memory_equal(a.data + 37, "IDAT", 4);
        const size_t idat = (size_t)a.data[35] << 8 | a.data[36];
        assert_int_equal(33 + 12 + idat + 12, a.size);
        uint8_t *png;
        size_t size;
        assert_ok(amg_image_encode_png(&image, "x", &png, &size, &err));
        assert_int_equal(size, a.size);
        assert_memory_equal(png, a.data, size);
        amg_free(png);
        amg_map_close(&a);
        amg_map_close(&b);
        amg_tensor_clear(&image);
        amg_tensor_clear(&back);
    }
}

static void writing_refuses_what_is_no_image_and_leaves_no_file(void **state)
{
    const int64_t two[3] = {2, 4, 4}, one[3] = {1, 4, 4};
    amg_tensor image;
    const char *path = in_dir(state, "x.png");
    assert_ok(amg_tensor_new(AMG_U8, 3, two, &image, &err));
    assert_failed(amg_image_write_png(path, &image, &err), AMG_INVALID, -1);
    amg_tensor_clear(&image);
    assert_ok(amg_tensor_new(AMG_F32, 3, one, &image, &err));
    assert_failed(amg_image_write_png(path, &image, &err), AMG_INVALID, -1);
    uint8_t *png;
    size_t size;
    assert_failed(amg_image_encode_png(&image, "x", &png, &size, &err), AMG_INVALID,
                  -1);
    amg_tensor_clear(&image);
    assert_ok(amg_tensor_new(AMG_U8, 3, one, &image, &err));
    assert_failed(amg_image_write_png(in_dir(state, "no/x.png"), &image, &err),
                  AMG_NOT_FOUND, -1);
    amg_tensor_clear(&image);
    assert_false(amg_path_exists(path));
}

static void missing_file_is_not_found(void **state)
{
    amg_tensor image;
    assert_failed(amg_image_read(in_dir(state, "none.png"), 0, &image, &err),
                  AMG_NOT_FOUND, -1);
}

static void every_failed_allocation_is_reported(void **state)
{
    const int64_t dims[3] = {3, 4, 4};
    amg_tensor image;
    for (int i = 0; i < NUM_GOLDEN; i++) {
        amg_status st = AMG_NO_MEMORY;
        long n = 0;
        while (st != AMG_OK) {
            long countdown = ++n;
            amg_alloc_fail_after(&countdown);
            st = amg_image_parse(image_golden[i].file, image_golden[i].size, "x", 0,
                                 &image, NULL);
            amg_alloc_fail_after(NULL);
            if (st != AMG_OK) assert_int_equal(st, AMG_NO_MEMORY);
            assert_true(n < 100);
        }
        assert_true(n > 2); /* at least pixels and tensor were asked for */
        amg_tensor_clear(&image);
    }
    assert_ok(amg_tensor_new(AMG_U8, 3, dims, &image, &err));
    amg_status st = AMG_NO_MEMORY;
    for (long n = 1; st != AMG_OK; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = amg_image_write_png(in_dir(state, "x.png"), &image, NULL);
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK) break;
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_false(amg_path_exists(in_dir(state, "x.png")));
        assert_true(n < 100);
    }
    st = AMG_NO_MEMORY;
    for (long n = 1; st != AMG_OK; n++) {
        uint8_t *png;
        size_t size;
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = amg_image_encode_png(&image, "x", &png, &size, NULL);
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK)
            amg_free(png);
        else
            assert_int_equal(st, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    amg_tensor_clear(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_equal_pillows_for_every_kind_of_file),
        cmocka_unit_test(channels_convert_on_request),
        cmocka_unit_test(damaged_png_names_the_chunk),
        cmocka_unit_test(png_of_impossible_size_is_refused_before_memory_is_asked_for),
        cmocka_unit_test(every_truncation_is_an_error_at_the_end),
        cmocka_unit_test(jpeg_warnings_about_data_are_errors),
        cmocka_unit_test(jpeg_of_impossible_size_is_refused),
        cmocka_unit_test(cmyk_jpeg_is_unsupported),
        cmocka_unit_test_setup_teardown(written_png_reads_back_and_has_no_text_or_time,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            writing_refuses_what_is_no_image_and_leaves_no_file, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(missing_file_is_not_found, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(every_failed_allocation_is_reported,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
