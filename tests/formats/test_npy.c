/* .npy: golden bytes of numpy read and written, every refusal with its code and offset,
 * failing allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/npy.h"

/* Goldens of numpy 2.4.6, each from
 *   python3 -c 'import io, numpy as np; b = io.BytesIO()
 *   np.lib.format.write_array(b, ARRAY, VERSION); print(b.getvalue())'
 * with the ARRAY and VERSION named. Runs of spaces are the macros below. */
#define S10 "          "
#define S50 S10 S10 S10 S10 S10

/* np.arange(6, dtype="<f4").reshape(2, 3), (1, 0) */
static const char golden_f4[] =
    "\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" S50
    "        \n\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@";
/* np.array(7, dtype="u1"), (1, 0) */
static const char golden_scalar[] =
    "\x93NUMPY\x01\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (), }" S50 S10
    "  \n\x07";
/* np.zeros((0, 3), "<i4"), (1, 0) */
static const char golden_empty[] =
    "\x93NUMPY\x01\0v\0{'descr': '<i4', 'fortran_order': False, 'shape': (0, 3), }" S50
    "        \n";
/* np.array([True, False]), (2, 0) */
static const char golden_v2[] =
    "\x93NUMPY\x02\0t\0\0\0{'descr': '|b1', 'fortran_order': False, 'shape': (2,), "
    "}" S50 "        \n\x01\0";
/* np.array([1, 2], dtype="<i8"), (3, 0) */
static const char golden_v3[] =
    "\x93NUMPY\x03\0t\0\0\0{'descr': '<i8', 'fortran_order': False, 'shape': (2,), "
    "}" S50 "        \n\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0";
/* np.asfortranarray(np.arange(4, dtype="<f4").reshape(2, 2)), (1, 0) */
static const char golden_fortran[] =
    "\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }" S50
    "         \n\0\0\0\0\0\0\0@\0\0\x80?\0\0@@";
/* np.arange(2, dtype=">f4"), (1, 0) */
static const char golden_big_endian[] =
    "\x93NUMPY\x01\0v\0{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }" S50
        S10 "\n\0\0\0\0?\x80\0";

static char dir[256];

static int make_dir(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/amg-npy-XXXXXX", base ? base : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    amg_dir_remove(dir);
    return 0;
}

static const char *in_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* The bytes in memory aligned as malloc gives it, exactly as long, for ASan. */
static void *aligned_copy(const void *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    return copy;
}

static void expect_refusal(const char *label, const void *data, size_t size,
                           amg_status code, int64_t offset)
{
    void *file = aligned_copy(data, size);
    amg_error err = {0};
    amg_tensor array = {0};
    amg_status got = amg_npy_parse(file, size, "test", &array, &err);
    if (got != code || err.code != code || err.offset != offset)
        fail_msg("%s: found %s at %lld (%s), expected %s at %lld", label,
                 amg_status_name(got), (long long)err.offset, err.what,
                 amg_status_name(code), (long long)offset);
    assert_null(array.data);
    free(file);
}

static void expect_array(const void *golden, size_t size, amg_dtype dtype, int rank,
                         const int64_t *dims, const void *values)
{
    void *file = aligned_copy(golden, size);
    amg_error err = {0};
    amg_tensor a = {0};
    if (amg_npy_parse(file, size, "golden", &a, &err)) fail_msg("%s", err.what);
    assert_int_equal(a.dtype, dtype);
    assert_int_equal(a.rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(a.dims[i], dims[i]);
    assert_false(a.owned);
    assert_ptr_equal(a.data, (uint8_t *)file + size - a.size_bytes);
    assert_memory_equal(a.data, values, a.size_bytes);
    free(file);
}

static void reads_what_numpy_wrote_in_all_versions(void **state)
{
    (void)state;
    const int64_t d23[] = {2, 3}, d2[] = {2}, d03[] = {0, 3};
    const float f4[] = {0, 1, 2, 3, 4, 5};
    const int64_t i8[] = {1, 2};
    expect_array(golden_f4, sizeof golden_f4 - 1, AMG_F32, 2, d23, f4);
    expect_array(golden_scalar, sizeof golden_scalar - 1, AMG_U8, 0, NULL, "\x07");
    expect_array(golden_empty, sizeof golden_empty - 1, AMG_I32, 2, d03, "");
    expect_array(golden_v2, sizeof golden_v2 - 1, AMG_BOOL, 1, d2, "\x01");
    expect_array(golden_v3, sizeof golden_v3, AMG_I64, 1, d2, i8); /* with its last 0 */
}

static void refuses_other_layouts_numpy_writes(void **state)
{
    (void)state;
    expect_refusal("fortran", golden_fortran, sizeof golden_fortran - 1,
                   AMG_UNSUPPORTED, 10 + 34);
    expect_refusal("big-endian", golden_big_endian, sizeof golden_big_endian,
                   AMG_UNSUPPORTED, 10 + 10);
}

/* A version 1.0 file of this header literal and data_size bytes, the data at a multiple
 * of 8. An '@' in the literal marks where the error is expected: it is taken out and
 * its file offset stored. */
static size_t image(const char *literal, size_t data_size, uint8_t out[1024],
                    int64_t *marked)
{
    size_t used = 10;
    memset(out, 0, 1024);
    for (const char *p = literal; *p; p++)
        if (*p == '@')
            *marked = (int64_t)used;
        else
            out[used++] = (uint8_t)*p;
    memcpy(out, "\x93NUMPY\x01", 8);
    out[8] = (uint8_t)(used - 10);
    out[9] = (uint8_t)((used - 10) >> 8);
    return used + data_size;
}

#define HEAD "{'descr': '|u1', 'fortran_order': False, "

static void accepts_any_order_and_spacing_of_the_literal(void **state)
{
    (void)state;
    static const char *const literals[] = {
        "{'shape':(2,3),'fortran_order':False,'descr':'|u1'}\n",
        "{ \"descr\" : \"|u1\" , \"shape\" : ( 2 , 3 , ) , 'fortran_order': False }  "
        "\n",
        HEAD "'shape': (2, 3)}\n",
    };
    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        uint8_t file[1024];
        int64_t unused;
        amg_tensor a;
        amg_error err = {0};
        size_t size = image(literals[i], 6, file, &unused);
        if (amg_npy_parse(file, size, "test", &a, &err)) fail_msg("%s", err.what);
        assert_int_equal(a.rank, 2);
        assert_int_equal(a.dims[0], 2);
        assert_int_equal(a.dims[1], 3);
    }
}

static void refuses_malformed_headers_at_their_byte(void **state)
{
    (void)state;
    static const struct {
        const char *literal; /* '@': the expected offset */
        size_t data_size;
        amg_status code;
    } cases[] = {
        /* shape of the literal */
        {"@", 0, AMG_MALFORMED},
        {"  \n@", 0, AMG_MALFORMED},
        {"@[]\n", 0, AMG_MALFORMED},
        {"{@}\n", 0, AMG_MALFORMED},
        {HEAD "@}\n", 0, AMG_MALFORMED},
        {HEAD "'shape': (1,)\n@", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,)} @#\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,)@}", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,)} @ ", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,) @'x': 1}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,),@,}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,), @'x': 1}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1,), @'shape': (1,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape' @(1,)}\n", 1, AMG_MALFORMED},
        {HEAD "@shape: (1,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape@\n': (1,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape_shape_sha@pe': (1,)}\n", 1, AMG_MALFORMED},
        {"{'descr@", 0, AMG_MALFORMED},
        /* descr */
        {"{'descr': @'|O', 'fortran_order': False, 'shape': (1,)}\n", 8,
         AMG_UNSUPPORTED},
        {"{'descr': @'<U4', 'fortran_order': False, 'shape': (1,)}\n", 16,
         AMG_UNSUPPORTED},
        {"{'descr': @'<c8', 'fortran_order': False, 'shape': (1,)}\n", 8,
         AMG_UNSUPPORTED},
        {"{'descr': @'>i8', 'fortran_order': False, 'shape': (1,)}\n", 8,
         AMG_UNSUPPORTED},
        {"{'descr': @'', 'fortran_order': False, 'shape': (1,)}\n", 8, AMG_UNSUPPORTED},
        {"{'descr': @[('a', '<f4')], 'fortran_order': False, 'shape': (1,)}\n", 4,
         AMG_UNSUPPORTED},
        {"{'descr': @None, 'fortran_order': False, 'shape': (1,)}\n", 4, AMG_MALFORMED},
        {"{'descr': '@\\x3cf4', 'fortran_order': False, 'shape': (1,)}\n", 4,
         AMG_MALFORMED},
        {"{'descr': '<@\xc3\xa9', 'fortran_order': False, 'shape': (1,)}\n", 4,
         AMG_MALFORMED},
        /* fortran_order */
        {"{'descr': '|u1', 'fortran_order': @True, 'shape': (1,)}\n", 1,
         AMG_UNSUPPORTED},
        {"{'descr': '|u1', 'fortran_order': @0, 'shape': (1,)}\n", 1, AMG_MALFORMED},
        {"{'descr': '|u1', 'fortran_order': @Fals", 1, AMG_MALFORMED},
        {"{'descr': '|u1', 'fortran_order': False@r, 'shape': (1,)}\n", 1,
         AMG_MALFORMED},
        /* shape */
        {HEAD "'shape': @[1]}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1@)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (@,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (@-1,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1@.0,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1@L,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (@01,)}\n", 1, AMG_MALFORMED},
        {HEAD "'shape': (1 @2)}\n", 2, AMG_MALFORMED},
        {HEAD "'shape': (1,@,2)}\n", 2, AMG_MALFORMED},
        {HEAD "'shape': (1@", 2, AMG_MALFORMED},
        {HEAD "'shape': (1,1,1,1,1,1,1,1,@1)}\n", 1, AMG_UNSUPPORTED},
        {HEAD "'shape': (@9223372036854775808,)}\n", 0, AMG_OVERFLOW},
        {HEAD "'shape': (@99999999999999999999999,)}\n", 0, AMG_OVERFLOW},
        {"@" HEAD "'shape': (4294967296,4294967296)}\n", 0, AMG_OVERFLOW},
        /* size of the data */
        {HEAD "'shape': (3,)}\n@", 4, AMG_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t file[1024];
        int64_t offset = -2;
        size_t size = image(cases[i].literal, cases[i].data_size, file, &offset);
        /* bytes beyond the array begin after the array */
        if (i + 1 == sizeof cases / sizeof cases[0]) offset += 3;
        expect_refusal(cases[i].literal, file, size, cases[i].code, offset);
    }
}

static void refuses_every_truncation_at_the_end_of_the_file(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof golden_f4 - 1; n++)
        expect_refusal("cut", golden_f4, n, AMG_TRUNCATED, (int64_t)n);
    amg_error err = {0};
    amg_tensor a;
    assert_int_equal(amg_npy_parse(NULL, 0, "empty", &a, &err), AMG_TRUNCATED);
}

static void refuses_bad_prefixes(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        amg_status code;
        int64_t offset;
    } cases[] = {
        {0, 'N', AMG_MALFORMED, 0},
        {5, 'Z', AMG_MALFORMED, 0},
        {6, 0, AMG_UNSUPPORTED, 6},
        {6, 4, AMG_UNSUPPORTED, 6},
        {7, 1, AMG_UNSUPPORTED, 6},
        {9, 255, AMG_TRUNCATED, sizeof golden_f4 - 1},
        {6, 2, AMG_TRUNCATED, sizeof golden_f4 - 1}, /* length "v\0{'" */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char file[sizeof golden_f4 - 1];
        memcpy(file, golden_f4, sizeof file);
        file[cases[i].at] = (char)cases[i].value;
        expect_refusal("prefix", file, sizeof file, cases[i].code, cases[i].offset);
    }
}

static void refuses_data_not_aligned_for_their_type(void **state)
{
    (void)state;
    uint8_t file[1024];
    int64_t unused;
    const char *literal = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n";
    size_t size = image(literal, 4, file, &unused);
    assert_int_equal((size - 4) % 4, 2);
    expect_refusal(literal, file, size, AMG_UNSUPPORTED, (int64_t)size - 4);
}

static void expect_file(const char *path, const void *bytes, size_t size)
{
    char found[1024];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(found, 1, sizeof found, f);
    fclose(f);
    assert_int_equal(n, size);
    assert_memory_equal(found, bytes, size);
}

static void writes_the_bytes_of_numpy(void **state)
{
    (void)state;
    const struct {
        const char *golden;
        size_t size;
    } cases[] = {{golden_f4, sizeof golden_f4 - 1},
                 {golden_scalar, sizeof golden_scalar - 1},
                 {golden_empty, sizeof golden_empty - 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *file = aligned_copy(cases[i].golden, cases[i].size);
        amg_tensor a;
        assert_int_equal(amg_npy_parse(file, cases[i].size, "golden", &a, NULL), 0);
        assert_int_equal(amg_npy_write(in_dir("a.npy"), &a, NULL), AMG_OK);
        expect_file(in_dir("a.npy"), cases[i].golden, cases[i].size);
        free(file);
        amg_npy npy;
        assert_int_equal(amg_npy_open(in_dir("a.npy"), &npy, NULL), AMG_OK);
        assert_int_equal((uintptr_t)npy.array.data % 64, 0);
        amg_npy_close(&npy);
    }
}

/* python3 -c 'import io, numpy as np; b = io.BytesIO();
 * np.lib.format.write_array_header_1_0( b, {"descr": D, "fortran_order": False,
 * "shape": S}); print(len(b.getvalue()))' */
static void header_lengths_are_those_of_numpy(void **state)
{
    (void)state;
    static const struct {
        amg_dtype dtype;
        int rank;
        int64_t dims[AMG_MAX_RANK];
        long length;
    } cases[] = {
        {AMG_U8, 4, {60000, 3, 64, 64}, 128}, /* "|u1" */
        /* up to the edge; there numpy pads by a whole 64, not by 0 */
        {AMG_I64, 3, {0, 1000000000000000000, 10000000000000000}, 128},
        {AMG_I64, 3, {0, 1000000000000000000, 100000000000000000}, 192},
        {AMG_I8, 8, {1, 1, 1, 1, 1, 1, 1, 1}, 128},
        {AMG_I8, 8, {1000000000000000000, 1, 1, 1, 1, 1, 1, 1}, 128},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *f = fopen(in_dir("h.npy"), "w+b");
        assert_non_null(f);
        assert_int_equal(
            amg_npy_write_header(f, cases[i].dtype, cases[i].rank, cases[i].dims, NULL),
            AMG_OK);
        assert_int_equal(ftell(f), cases[i].length);
        fclose(f);
    }
}

static void writer_refuses_and_leaves_no_file(void **state)
{
    (void)state;
    amg_error err = {0};
    const int64_t two = 2, negative = -1;
    static const uint16_t half[2] = {0};
    amg_tensor a;
    assert_int_equal(amg_tensor_view(AMG_BF16, 1, &two, half, &a, NULL), AMG_OK);
    assert_int_equal(amg_npy_write(in_dir("bf16.npy"), &a, &err), AMG_UNSUPPORTED);
    assert_int_equal(err.code, AMG_UNSUPPORTED);
    assert_false(amg_path_exists(in_dir("bf16.npy")));
    assert_int_equal(amg_npy_write_header(stderr, AMG_F32, 1, &negative, &err),
                     AMG_INVALID);
    assert_int_equal(amg_npy_write_header(stderr, AMG_F32, 9, &two, &err), AMG_INVALID);
    amg_npy npy;
    assert_int_equal(amg_npy_open(in_dir("missing.npy"), &npy, &err), AMG_NOT_FOUND);
}

/* Reading allocates nothing; each allocation of writing fails once. */
static void survives_failing_allocations(void **state)
{
    (void)state;
    void *file = aligned_copy(golden_f4, sizeof golden_f4 - 1);
    amg_tensor a;
    long countdown = 1;
    amg_alloc_fail_after(&countdown);
    assert_int_equal(amg_npy_parse(file, sizeof golden_f4 - 1, "golden", &a, NULL), 0);
    amg_alloc_fail_after(NULL);
    assert_int_equal(countdown, 1);

    amg_status got = AMG_NO_MEMORY;
    long n = 0;
    while (got) {
        assert_false(amg_path_exists(in_dir("nomem.npy")));
        countdown = ++n;
        amg_error err = {0};
        amg_alloc_fail_after(&countdown);
        got = amg_npy_write(in_dir("nomem.npy"), &a, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(err.code, got);
        if (got) assert_int_equal(got, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 2); /* the path and the temporary file's */
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_numpy_wrote_in_all_versions),
        cmocka_unit_test(refuses_other_layouts_numpy_writes),
        cmocka_unit_test(accepts_any_order_and_spacing_of_the_literal),
        cmocka_unit_test(refuses_malformed_headers_at_their_byte),
        cmocka_unit_test(refuses_every_truncation_at_the_end_of_the_file),
        cmocka_unit_test(refuses_bad_prefixes),
        cmocka_unit_test(refuses_data_not_aligned_for_their_type),
        cmocka_unit_test(writes_the_bytes_of_numpy),
        cmocka_unit_test(header_lengths_are_those_of_numpy),
        cmocka_unit_test(writer_refuses_and_leaves_no_file),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
