/* safetensors: golden files of the reference package, every refusal with its code and
 * offset, write-read-write, and failing allocations. Long because of its tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "formats/safetensors.h"

/* python3 -c 'import numpy as np; from safetensors.numpy import save   # 0.8.0
 * print(save({"b": np.arange(4, dtype="<f4").reshape(2, 2),
 *             "a": np.array([1, 2, 3], dtype="u1"), "s": np.array(5, dtype="<i8")}))'
 */
static const char golden[] =
    "\xa8\0\0\0\0\0\0\0"
    "{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]},"
    "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[24,27]}}     "
    "\x05\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\x80?\0\0\0@\0\0@@"
    "\x01\x02\x03";
#define GOLDEN_SIZE (sizeof golden - 1)

/* python3 -c 'import numpy as np; from safetensors.numpy import save
 * print(save({"b": np.array([1.5], dtype="<f4")}, metadata={"format": "pt"}))' */
static const char golden_metadata[] =
    "X\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   \0\0\xc0?";

/* A header that needs no space:
 * python3 -c 'import numpy as np; from safetensors.numpy import save
 * print(save({"aaaa": np.array([7], dtype="u1")}))' */
static const char golden_unpadded[] =
    "8\0\0\0\0\0\0\0"
    "{\"aaaa\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}\x07";

static char dir[256];

static int make_dir(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/amg-st-XXXXXX", base ? base : "/tmp");
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

/* A file image of header text and data_size zero bytes, 16-byte aligned as malloc is.
 * An '@' in the header marks where the error is expected: it is taken out and its file
 * offset stored. */
static uint8_t *image(const char *header, size_t data_size, size_t *size,
                      int64_t *marked)
{
    size_t n = strlen(header), used = 0;
    uint8_t *file = calloc(1, 8 + n + data_size + 1);
    assert_non_null(file);
    for (size_t i = 0; i < n; i++)
        if (header[i] == '@')
            *marked = (int64_t)(8 + used);
        else
            file[8 + used++] = (uint8_t)header[i];
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)used >> (8 * i));
    *size = 8 + used + data_size;
    return file;
}

static void expect_refusal_of(const char *label, const void *data, size_t size,
                              amg_status code, int64_t offset)
{
    amg_error err = {0};
    amg_safetensors *st = NULL;
    amg_status got = amg_safetensors_parse(data, size, "test", &st, &err);
    if (got != code || err.code != code || err.offset != offset)
        fail_msg("%s: found %s at %lld (%s), expected %s at %lld", label,
                 amg_status_name(got), (long long)err.offset, err.what,
                 amg_status_name(code), (long long)offset);
    assert_null(st);
}

static void expect_refusal(const void *data, size_t size, amg_status code,
                           int64_t offset)
{
    expect_refusal_of("file", data, size, code, offset);
}

static void reads_what_the_reference_wrote(void **state)
{
    (void)state;
    amg_safetensors *st;
    assert_int_equal(amg_safetensors_parse(golden, GOLDEN_SIZE, "golden", &st, NULL),
                     0);
    assert_int_equal(amg_safetensors_count(st), 3);
    static const char *const names[] = {"s", "b", "a"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(amg_safetensors_at(st, i)->name, names[i]);
    const amg_tensor *s = amg_safetensors_find(st, "s");
    assert_int_equal(s->dtype, AMG_I64);
    assert_int_equal(s->rank, 0);
    assert_int_equal(*(const int64_t *)s->data, 5);
    const amg_tensor *b = amg_safetensors_find(st, "b");
    assert_int_equal(b->dtype, AMG_F32);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->dims[0], 2);
    assert_int_equal(b->dims[1], 2);
    for (int i = 0; i < 4; i++) assert_true(((const float *)b->data)[i] == (float)i);
    const amg_tensor *a = amg_safetensors_find(st, "a");
    assert_int_equal(a->size_bytes, 3);
    assert_memory_equal(a->data, "\x01\x02\x03", 3);
    assert_null(amg_safetensors_find(st, "c"));
    assert_int_equal(amg_safetensors_num_metadata(st), 0);
    amg_safetensors_close(st);
}

static void reads_metadata(void **state)
{
    (void)state;
    amg_safetensors *st;
    assert_int_equal(amg_safetensors_parse(golden_metadata, sizeof golden_metadata - 1,
                                           "golden", &st, NULL),
                     0);
    assert_int_equal(amg_safetensors_count(st), 1);
    assert_int_equal(amg_safetensors_num_metadata(st), 1);
    const char *key, *value;
    amg_safetensors_metadata(st, 0, &key, &value);
    assert_string_equal(key, "format");
    assert_string_equal(value, "pt");
    assert_true(*(const float *)amg_safetensors_find(st, "b")->data == 1.5f);
    amg_safetensors_close(st);
}

static void get_names_both_shapes(void **state)
{
    (void)state;
    amg_safetensors *st;
    amg_error err = {0};
    const amg_tensor *t = NULL;
    const int64_t good[] = {2, 2}, bad[] = {4, 1};
    assert_int_equal(amg_safetensors_parse(golden, GOLDEN_SIZE, "golden", &st, NULL),
                     0);
    assert_int_equal(amg_safetensors_get(st, "b", AMG_F32, 2, good, &t, &err), AMG_OK);
    assert_ptr_equal(t, amg_safetensors_find(st, "b"));
    assert_int_equal(amg_safetensors_get(st, "s", AMG_I64, 0, NULL, &t, &err), AMG_OK);
    assert_int_equal(amg_safetensors_get(st, "x", AMG_F32, 2, good, &t, &err),
                     AMG_NOT_FOUND);
    assert_string_equal(err.where, "x");
    assert_int_equal(amg_safetensors_get(st, "b", AMG_F32, 2, bad, &t, &err),
                     AMG_MISMATCH);
    assert_string_equal(err.what, "found F32[2,2], expected F32[4,1]");
    assert_int_equal(amg_safetensors_get(st, "b", AMG_I32, 2, good, &t, &err),
                     AMG_MISMATCH);
    assert_int_equal(amg_safetensors_get(st, "b", AMG_F32, 1, good, &t, &err),
                     AMG_MISMATCH);
    amg_safetensors_close(st);
}

/* Valid though unusual. */
static void accepts_valid_but_unusual_files(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_size, count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}      ", 0, 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}}", 0, 1},
        /* an empty tensor between two others, listed last */
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
         "\"e\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[2,2]}}",
         4, 3},
        {"{\"\xc3\xa9\\u00e8\":{\"dtype\":\"BF16\",\"shape\":[1],"
         "\"data_offsets\":[0,2]}}",
         2, 1},
        {"{\"__metadata__\":{}}", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size;
        int64_t unused;
        amg_error err = {0};
        uint8_t *file = image(cases[i].header, cases[i].data_size, &size, &unused);
        amg_safetensors *st;
        if (amg_safetensors_parse(file, size, "test", &st, &err))
            fail_msg("%s: %s", cases[i].header, err.what);
        assert_int_equal(amg_safetensors_count(st), cases[i].count);
        amg_safetensors_close(st);
        free(file);
    }
}

static void finds_escaped_names_decoded(void **state)
{
    (void)state;
    size_t size;
    int64_t unused;
    uint8_t *file =
        image("{\"\\u00e8/\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
              1, &size, &unused);
    amg_safetensors *st;
    assert_int_equal(amg_safetensors_parse(file, size, "test", &st, NULL), 0);
    assert_non_null(amg_safetensors_find(st, "\xc3\xa8/"));
    amg_safetensors_close(st);
    free(file);
}

static void copies_data_that_are_not_aligned_for_their_type(void **state)
{
    (void)state;
    size_t size;
    int64_t unused;
    uint8_t *file =
        image("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
              "\"b\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[1,9]}}",
              9, &size, &unused);
    const double value = 0.1;
    memcpy(file + size - 8, &value, 8);
    amg_safetensors *st;
    assert_int_equal(amg_safetensors_parse(file, size, "test", &st, NULL), 0);
    const amg_tensor *b = amg_safetensors_find(st, "b");
    assert_int_equal((uintptr_t)b->data % 8, 0);
    assert_true(*(const double *)b->data == value);
    amg_safetensors_close(st);
    free(file);
}

#define T(dtype, shape, offsets)                                                       \
    "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void refuses_malformed_headers_at_their_byte(void **state)
{
    (void)state;
    static const struct {
        const char *header; /* '@': the expected offset */
        size_t data_size;
        amg_status code;
    } cases[] = {
        /* JSON; jansson's position is just past the offending token */
        {"@", 0, AMG_MALFORMED},
        {"@ {}", 0, AMG_MALFORMED},
        {"@[]", 0, AMG_MALFORMED},
        {"@5", 0, AMG_MALFORMED},
        {"{@", 0, AMG_TRUNCATED},
        {"{\"a\":{}@", 0, AMG_TRUNCATED},
        {"{}x@", 0, AMG_MALFORMED},
        {"{\"a\":1,\"a\"@:1}", 0, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[0]", "[0,0],\"shape\"@:[0]") "}", 0, AMG_MALFORMED},
        {"{\"a\\u0000b\"@:1}", 0, AMG_MALFORMED},
        {"{\"@\xff\":1}", 0, AMG_MALFORMED},
        {"{\"@\xc0\x80\":1}", 0, AMG_MALFORMED},
        {"{\"a\":99999999999999999999@}", 0, AMG_OVERFLOW},
        /* members */
        {"{\"a\":@5}", 0, AMG_MALFORMED},
        {"{\"a\":@null}", 0, AMG_MALFORMED},
        {"{\"a\":@{\"dtype\":\"U8\",\"shape\":[0]}}", 0, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[0]", "[0,0],\"x\":@1") "}", 0, AMG_MALFORMED},
        {"{ \"a\" : " T("@7", "[0]", "[0,0]") "}", 0, AMG_MALFORMED},
        {"{\"a\":" T("@\"U9\"", "[0]", "[0,0]") "}", 0, AMG_UNSUPPORTED},
        {"{\"a\":" T("@\"F8_E4M3\"", "[0]", "[0,0]") "}", 0, AMG_UNSUPPORTED},
        {"{\"a\":" T("\"U8\"", "@7", "[0,0]") "}", 0, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[1, @-1]", "[0,0]") "}", 0, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[@1.0]", "[0,1]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[@\"1\"]", "[0,1]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "@[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1,
         AMG_UNSUPPORTED},
        {"{\"a\":" T("\"F32\"", "@[4294967296,4294967296]", "[0,0]") "}", 0,
         AMG_OVERFLOW},
        {"{\"a\":" T("\"F64\"", "@[1152921504606846976]", "[0,0]") "}", 0,
         AMG_OVERFLOW},
        {"{\"a\":" T("\"U8\"", "[1]", "@[0]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[1]", "@[0,1,1]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[1]", "[@-1,0]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[1]", "[1,@0]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[2]", "@[0,1]") "}", 1, AMG_MALFORMED},
        {"{\"a\":" T("\"F32\"", "[2]", "@[0,2]") "}", 2, AMG_MALFORMED},
        /* the member refused is not the first, and brackets hide in strings */
        {"{\"}]\\\"{\":" T("\"U8\"", "[1]", "[0,1]") ",\"b\":" T("\"U8\"", "@{}",
                                                                 "[1,1]") "}",
         1, AMG_MALFORMED},
        /* coverage: the later tensor in data order is named */
        {"{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]",
                                                           "@[1,3]") "}",
         3, AMG_MALFORMED},
        {"{\"b\":" T("\"U8\"", "[2]", "@[0,2]") ",\"a\":" T("\"U8\"", "[1]",
                                                            "[0,1]") "}",
         2, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[4]", "[0,4]") ",\"e\":" T("\"U8\"", "[0]",
                                                           "@[2,2]") "}",
         4, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[1]", "@[1,2]") "}", 2, AMG_MALFORMED},
        {"{\"a\":" T("\"U8\"", "[1]", "[0,1]") ",\"b\":" T("\"U8\"", "[1]",
                                                           "@[2,3]") "}",
         3, AMG_MALFORMED},
        /* metadata */
        {"{\"__metadata__\":@[]}", 0, AMG_MALFORMED},
        {"{\"__metadata__\":{\"a\":\"\",\"b\":@1}}", 0, AMG_MALFORMED},
        {"{\"__metadata__\":{\"a\":@{}}}", 0, AMG_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size;
        int64_t offset = -2;
        uint8_t *file = image(cases[i].header, cases[i].data_size, &size, &offset);
        expect_refusal_of(cases[i].header, file, size, cases[i].code, offset);
        free(file);
    }
}

static void refuses_wrong_sizes_of_the_parts(void **state)
{
    (void)state;
    uint8_t file[GOLDEN_SIZE + 1] = {0};
    memcpy(file, golden, GOLDEN_SIZE);
    for (size_t n = 0; n < GOLDEN_SIZE; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* exact, so that ASan sees any overrun */
        assert_non_null(cut);
        memcpy(cut, golden, n);
        expect_refusal(cut, n, AMG_TRUNCATED, (int64_t)n);
        free(cut);
    }
    expect_refusal(NULL, 0, AMG_TRUNCATED, 0);
    expect_refusal(file, GOLDEN_SIZE + 1, AMG_MALFORMED, GOLDEN_SIZE);
    static const uint64_t huge[] = {100000001, 1ull << 32, 1ull << 63, UINT64_MAX,
                                    UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        memcpy(file, &huge[i], 8);
        expect_refusal(file, GOLDEN_SIZE, AMG_MALFORMED, 0);
    }
    memcpy(file, &(uint64_t){100000000}, 8);
    expect_refusal(file, GOLDEN_SIZE, AMG_TRUNCATED, GOLDEN_SIZE);
}

static void refuses_raw_nul_in_a_name(void **state)
{
    (void)state;
    static const char file[] = "\x08\0\0\0\0\0\0\0{\"a\0b\":1}";
    expect_refusal(file, 16, AMG_MALFORMED, 8 + 3);
}

static void refuses_nesting_bombs(void **state)
{
    (void)state;
    size_t n = 100000, size;
    int64_t unused;
    char *header = malloc(n + 1);
    assert_non_null(header);
    memset(header, '[', n);
    memcpy(header, "{\"a\":", 5);
    header[n] = 0;
    uint8_t *file = image(header, 0, &size, &unused);
    /* 2047 brackets below the object are allowed, the next one is not */
    expect_refusal(file, size, AMG_MALFORMED, 8 + 5 + 2048);
    free(file);
    free(header);
}

static size_t slurp(const char *path, char *out, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

/* Reads a golden file, writes what it read, compares. */
static void expect_same_bytes_written(const char *bytes, size_t size)
{
    amg_safetensors *st;
    assert_int_equal(amg_safetensors_parse(bytes, size, "golden", &st, NULL), 0);
    amg_st_entry entries[4];
    size_t count = amg_safetensors_count(st);
    assert_in_range(count, 0, 4);
    for (size_t i = 0; i < count; i++) entries[i] = *amg_safetensors_at(st, i);
    char path[400], written[1024];
    snprintf(path, sizeof path, "%s", in_dir("golden.safetensors"));
    assert_int_equal(amg_safetensors_write(path, entries, count, NULL), AMG_OK);
    assert_int_equal(slurp(path, written, sizeof written), size);
    assert_memory_equal(written, bytes, size);
    amg_safetensors_close(st);

    assert_int_equal(amg_safetensors_open(path, &st, NULL), AMG_OK);
    assert_int_equal(amg_safetensors_count(st), count);
    amg_safetensors_close(st);
}

static void writes_the_bytes_of_the_reference(void **state)
{
    (void)state;
    expect_same_bytes_written(golden, GOLDEN_SIZE);
    expect_same_bytes_written(golden_unpadded, sizeof golden_unpadded - 1);
    expect_same_bytes_written("\x08\0\0\0\0\0\0\0{}      ", 16); /* save({}) */
}

static void write_read_write_gives_equal_bytes(void **state)
{
    (void)state;
    /* an order that leaves "f" misaligned, an empty tensor, a name to be escaped */
    static const float values[2] = {1.25f, -3};
    static const uint8_t bytes[3] = {7, 8, 9};
    amg_st_entry entries[4] = {
        {.name = "u"}, {.name = "f"}, {.name = "e"}, {"q\"\xc3\xa9\n", {0}}};
    const int64_t three = 3, two = 2, none[2] = {0, 5};
    assert_int_equal(
        amg_tensor_view(AMG_U8, 1, &three, bytes, &entries[0].tensor, NULL), 0);
    assert_int_equal(
        amg_tensor_view(AMG_F32, 1, &two, values, &entries[1].tensor, NULL), 0);
    assert_int_equal(amg_tensor_view(AMG_F32, 2, none, NULL, &entries[2].tensor, NULL),
                     0);
    assert_int_equal(
        amg_tensor_view(AMG_BOOL, 0, NULL, bytes, &entries[3].tensor, NULL), 0);
    char first[400], second[400], a[1024], b[1024];
    snprintf(first, sizeof first, "%s", in_dir("1.safetensors"));
    snprintf(second, sizeof second, "%s", in_dir("2.safetensors"));
    assert_int_equal(amg_safetensors_write(first, entries, 4, NULL), AMG_OK);
    amg_safetensors *st;
    assert_int_equal(amg_safetensors_open(first, &st, NULL), AMG_OK);
    amg_st_entry read[4];
    for (size_t i = 0; i < 4; i++) {
        read[i] = *amg_safetensors_at(st, i);
        assert_string_equal(read[i].name, entries[i].name);
        assert_true(amg_tensor_same_shape(&read[i].tensor, &entries[i].tensor));
    }
    assert_memory_equal(read[1].tensor.data, values, sizeof values);
    assert_int_equal(amg_safetensors_write(second, read, 4, NULL), AMG_OK);
    amg_safetensors_close(st);
    size_t n = slurp(first, a, sizeof a);
    assert_int_equal(slurp(second, b, sizeof b), n);
    assert_memory_equal(a, b, n);
    uint64_t header_size;
    memcpy(&header_size, a, 8);
    assert_int_equal(header_size % 8, 0);
    assert_int_equal(n, 8 + header_size + 3 + 8 + 0 + 1);
}

static void metadata_are_written_as_the_reference_writes_them(void **state)
{
    (void)state;
    /* safetensors.numpy.save({"a": np.array([1, 2], np.uint8)},
     *                        metadata={"format": "pt", "steps": "24"}) */
    static const char reference[] =
        "h\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\",\"steps\":\"24\"},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}       \1\2";
    static const uint8_t bytes[2] = {1, 2};
    const int64_t two = 2;
    const amg_st_pair pairs[] = {{"format", "pt"}, {AMG_ST_STEPS, "24"}};
    amg_st_entry entry = {.name = "a"};
    amg_safetensors *st;
    char path[400], written[256];
    assert_int_equal(amg_tensor_view(AMG_U8, 1, &two, bytes, &entry.tensor, NULL), 0);
    snprintf(path, sizeof path, "%s", in_dir("meta.safetensors"));
    assert_int_equal(amg_safetensors_write_with(path, &entry, 1, pairs, 2, NULL), 0);
    assert_int_equal(slurp(path, written, sizeof written), sizeof reference - 1);
    assert_memory_equal(written, reference, sizeof reference - 1);

    assert_int_equal(amg_safetensors_open(path, &st, NULL), AMG_OK);
    assert_int_equal(amg_safetensors_num_metadata(st), 2);
    assert_string_equal(amg_safetensors_find_metadata(st, "steps"), "24");
    assert_string_equal(amg_safetensors_find_metadata(st, "format"), "pt");
    assert_null(amg_safetensors_find_metadata(st, "step"));
    amg_safetensors_close(st);
}

static void metadata_that_cannot_be_written_leave_no_file(void **state)
{
    (void)state;
    const amg_st_pair cases[][2] = {{{"a", "1"}, {"a", "2"}},
                                    {{"a", "1"}, {"\xff", "2"}},
                                    {{"a", "1"}, {"b", "\xff"}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_error err = {0};
        assert_int_equal(
            amg_safetensors_write_with(in_dir("x"), NULL, 0, cases[i], 2, &err),
            AMG_INVALID);
        assert_string_equal(err.where, "__metadata__");
        assert_false(amg_path_exists(in_dir("x")));
    }
}

static void writer_refuses_what_the_reader_would(void **state)
{
    (void)state;
    static const uint8_t byte = 1;
    amg_st_entry good = {.name = "a"};
    const int64_t one = 1;
    assert_int_equal(amg_tensor_view(AMG_U8, 1, &one, &byte, &good.tensor, NULL), 0);
    amg_st_entry reserved = good, not_utf8 = good, short_data = good, no_data = good;
    amg_st_entry no_type = good;
    reserved.name = "__metadata__";
    not_utf8.name = "\xff";
    short_data.tensor.dims[0] = 2;
    no_data.tensor.data = NULL;
    no_type.tensor.dtype = AMG_DTYPE_NONE;
    const amg_st_entry cases[][2] = {{good, good},     {good, reserved},
                                     {good, not_utf8}, {good, short_data},
                                     {good, no_data},  {good, no_type}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_error err = {0};
        assert_int_equal(amg_safetensors_write(in_dir("x"), cases[i], 2, &err),
                         AMG_INVALID);
        assert_int_equal(err.code, AMG_INVALID);
        assert_string_equal(err.where,
                            cases[i][1].name[0] == '\xff' ? "\xff" : cases[i][1].name);
        assert_false(amg_path_exists(in_dir("x")));
    }
}

static void open_reports_missing_files(void **state)
{
    (void)state;
    amg_safetensors *st;
    amg_error err = {0};
    assert_int_equal(amg_safetensors_open(in_dir("missing"), &st, &err), AMG_NOT_FOUND);
    assert_int_equal(amg_safetensors_open(dir, &st, &err), AMG_IO);
}

/* Every allocation of reading and writing fails once: an error, no leak (ASan), no
 * file. */
static void survives_failing_allocations(void **state)
{
    (void)state;
    size_t size;
    int64_t unused;
    uint8_t *file =
        image("{\"__metadata__\":{\"k\":\"v\"},"
              "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
              "\"b\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[1,9]}}",
              9, &size, &unused);
    amg_safetensors *st = NULL;
    amg_status got = AMG_NO_MEMORY;
    long n = 0;
    while (got) {
        long countdown = ++n;
        amg_error err = {0};
        amg_alloc_fail_after(&countdown);
        got = amg_safetensors_parse(file, size, "test", &st, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(err.code, got);
        if (got) assert_int_equal(got, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 4); /* reader, items, arena, copy of b */

    const amg_st_entry *entry = amg_safetensors_at(st, 1);
    got = AMG_NO_MEMORY;
    for (n = 0; got;) {
        assert_false(amg_path_exists(in_dir("nomem")));
        long countdown = ++n;
        amg_alloc_fail_after(&countdown);
        got = amg_safetensors_write(in_dir("nomem"), entry, 1, NULL);
        amg_alloc_fail_after(NULL);
        if (got) assert_int_equal(got, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 3); /* header, path, name of the temporary file */
    amg_safetensors_close(st);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_reference_wrote),
        cmocka_unit_test(reads_metadata),
        cmocka_unit_test(get_names_both_shapes),
        cmocka_unit_test(accepts_valid_but_unusual_files),
        cmocka_unit_test(finds_escaped_names_decoded),
        cmocka_unit_test(copies_data_that_are_not_aligned_for_their_type),
        cmocka_unit_test(refuses_malformed_headers_at_their_byte),
        cmocka_unit_test(refuses_wrong_sizes_of_the_parts),
        cmocka_unit_test(refuses_raw_nul_in_a_name),
        cmocka_unit_test(refuses_nesting_bombs),
        cmocka_unit_test(writes_the_bytes_of_the_reference),
        cmocka_unit_test(write_read_write_gives_equal_bytes),
        cmocka_unit_test(metadata_are_written_as_the_reference_writes_them),
        cmocka_unit_test(metadata_that_cannot_be_written_leave_no_file),
        cmocka_unit_test(writer_refuses_what_the_reader_would),
        cmocka_unit_test(open_reports_missing_files),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
