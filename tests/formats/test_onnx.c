/* ONNX files as plain structs: every place where ONNX keeps a tensor's elements, the
 * wire format's malformed cases with their offsets, and write-read-write. More than 500
 * lines: a list of small cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/onnx.h"
#include "onnx.pb-c.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- making models ---- */

static Onnx__TensorProto make_tensor(int type, size_t n_dims, int64_t *dims)
{
    Onnx__TensorProto t = ONNX__TENSOR_PROTO__INIT;
    static char name[] = "w";
    t.name = name;
    t.has_data_type = type != 0;
    t.data_type = type;
    t.n_dims = n_dims;
    t.dims = dims;
    return t;
}

static void set_raw(Onnx__TensorProto *t, const void *data, size_t size_bytes)
{
    t->has_raw_data = 1;
    t->raw_data.len = size_bytes;
    t->raw_data.data = (uint8_t *)(uintptr_t)data;
}

/* Packs a model of one initializer. */
static uint8_t *pack_tensor(Onnx__TensorProto *t, size_t *size_bytes)
{
    Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto g = ONNX__GRAPH_PROTO__INIT;
    uint8_t *data = NULL;
    m.graph = &g;
    g.n_initializer = 1;
    g.initializer = &t;
    assert_int_equal(amg_onnx_pack(&m, &data, size_bytes, NULL), AMG_OK);
    return data;
}

/* Sends t through bytes and reads it as a tensor. */
static amg_status through_bytes(Onnx__TensorProto *t, amg_onnx **onnx, amg_tensor *out,
                                amg_error *err)
{
    size_t size;
    uint8_t *data = pack_tensor(t, &size);
    assert_int_equal(amg_onnx_parse(data, size, "m.onnx", NULL, onnx, err), AMG_OK);
    amg_free(data);
    return amg_onnx_tensor(*onnx, amg_onnx_model(*onnx)->graph->initializer[0], out,
                           err);
}

/* ---- elements ---- */

static void expect_elements(Onnx__TensorProto *t, amg_dtype dtype, const void *expected,
                            size_t size_bytes)
{
    amg_onnx *onnx;
    amg_tensor out;
    assert_int_equal(through_bytes(t, &onnx, &out, NULL), AMG_OK);
    assert_int_equal(out.dtype, dtype);
    assert_int_equal(out.rank, t->n_dims);
    assert_int_equal(out.size_bytes, size_bytes);
    assert_memory_equal(out.data, expected, size_bytes);
    amg_tensor_clear(&out);
    amg_onnx_close(onnx);
}

static void reads_raw_data_of_every_dtype(void **state)
{
    (void)state;
    const uint8_t bytes[16] = {1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1};
    for (int d = AMG_DTYPE_NONE + 1; d < AMG_DTYPE_COUNT; d++) {
        int64_t dims[] = {2, (int64_t)(8 / amg_dtype_size((amg_dtype)d))};
        Onnx__TensorProto t = make_tensor(amg_dtype_onnx((amg_dtype)d), 2, dims);
        set_raw(&t, bytes, sizeof bytes);
        expect_elements(&t, (amg_dtype)d, bytes, sizeof bytes);
    }
}

static void reads_fields_of_the_same_width(void **state)
{
    (void)state;
    int64_t dims[] = {2};
    float f[] = {1.5f, -0.0f};
    Onnx__TensorProto t = make_tensor(1, 1, dims);
    t.n_float_data = 2;
    t.float_data = f;
    expect_elements(&t, AMG_F32, f, sizeof f);

    double d[] = {1e300, -2};
    t = make_tensor(11, 1, dims);
    t.n_double_data = 2;
    t.double_data = d;
    expect_elements(&t, AMG_F64, d, sizeof d);

    int32_t i[] = {INT32_MIN, 7};
    t = make_tensor(6, 1, dims);
    t.n_int32_data = 2;
    t.int32_data = i;
    expect_elements(&t, AMG_I32, i, sizeof i);

    int64_t l[] = {INT64_MIN, -1};
    t = make_tensor(7, 1, dims);
    t.n_int64_data = 2;
    t.int64_data = l;
    expect_elements(&t, AMG_I64, l, sizeof l);

    uint64_t u[] = {UINT64_MAX, 1};
    t = make_tensor(13, 1, dims);
    t.n_uint64_data = 2;
    t.uint64_data = u;
    expect_elements(&t, AMG_U64, u, sizeof u);
}

static void narrows_elements_packed_in_wider_fields(void **state)
{
    (void)state;
    int64_t dims[] = {2};
    static const struct {
        amg_dtype dtype;
        int32_t in[2];
        uint8_t out[4];
    } rows[] = {
        {AMG_U8, {255, 1}, {255, 1}},
        {AMG_I8, {-128, 127}, {0x80, 0x7f}},
        {AMG_BOOL, {1, 0}, {1, 0}},
        {AMG_U16, {65535, 258}, {255, 255, 2, 1}},
        {AMG_I16, {-2, 258}, {0xfe, 0xff, 2, 1}},
        {AMG_F16, {0x3c00, 0xc000}, {0, 0x3c, 0, 0xc0}},
        {AMG_BF16, {0x3f80, 0x8000}, {0x80, 0x3f, 0, 0x80}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int32_t in[2] = {rows[i].in[0], rows[i].in[1]};
        Onnx__TensorProto t = make_tensor(amg_dtype_onnx(rows[i].dtype), 1, dims);
        t.n_int32_data = 2;
        t.int32_data = in;
        expect_elements(&t, rows[i].dtype, rows[i].out,
                        2 * amg_dtype_size(rows[i].dtype));
    }
    uint64_t wide[] = {UINT32_MAX, 3};
    uint32_t narrow[] = {UINT32_MAX, 3};
    Onnx__TensorProto t = make_tensor(12, 1, dims);
    t.n_uint64_data = 2;
    t.uint64_data = wide;
    expect_elements(&t, AMG_U32, narrow, sizeof narrow);
}

static void reads_scalars_and_empty_tensors(void **state)
{
    (void)state;
    float one = 1;
    Onnx__TensorProto t = make_tensor(1, 0, NULL);
    set_raw(&t, &one, sizeof one);
    expect_elements(&t, AMG_F32, &one, sizeof one);

    int64_t none[] = {3, 0};
    t = make_tensor(1, 2, none);
    amg_onnx *onnx;
    amg_tensor out;
    assert_int_equal(through_bytes(&t, &onnx, &out, NULL), AMG_OK);
    assert_int_equal(out.size_bytes, 0);
    assert_int_equal(out.dims[0], 3);
    amg_onnx_close(onnx);
}

/* ---- malformed tensors ---- */

static void expect_failure(Onnx__TensorProto *t, amg_status code, int64_t offset,
                           const char *what)
{
    amg_onnx *onnx;
    amg_tensor out = {.rank = 77};
    amg_error err = {0};
    assert_int_equal(through_bytes(t, &onnx, &out, &err), code);
    assert_int_equal(err.code, code);
    assert_int_equal(err.offset, offset);
    assert_string_equal(err.where, "tensor \"w\"");
    if (!strstr(err.what, what)) fail_msg("\"%s\" lacks \"%s\"", err.what, what);
    assert_int_equal(out.rank, 77); /* outputs only on success */
    amg_onnx_close(onnx);
}

static void refuses_dims_that_lie(void **state)
{
    (void)state;
    const uint8_t bytes[64] = {0};
    int64_t negative[] = {2, -2}, huge[] = {INT64_MAX, INT64_MAX}, four[] = {4};
    int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, wraps[] = {1LL << 32, 1LL << 32};

    Onnx__TensorProto t = make_tensor(1, 2, negative);
    set_raw(&t, bytes, 16);
    expect_failure(&t, AMG_MALFORMED, -1, "dim 1 is -2");
    t = make_tensor(1, 2, huge);
    expect_failure(&t, AMG_OVERFLOW, -1, "does not fit");
    t = make_tensor(1, 2, wraps); /* the product is 0 in 64 bits */
    expect_failure(&t, AMG_OVERFLOW, -1, "does not fit");
    t = make_tensor(1, 9, nine);
    set_raw(&t, bytes, 4);
    expect_failure(&t, AMG_UNSUPPORTED, -1, "9 dims, at most 8");
    t = make_tensor(1, 1, four);
    set_raw(&t, bytes, 15);
    expect_failure(&t, AMG_MISMATCH, -1, "raw_data has 15 bytes, its dims say 16");
    set_raw(&t, bytes, 17);
    expect_failure(&t, AMG_MISMATCH, -1, "raw_data has 17 bytes, its dims say 16");
    t = make_tensor(1, 1, four); /* no data at all */
    expect_failure(&t, AMG_MISMATCH, -1, "0 elements, its dims say 4");
}

static void refuses_dtypes_that_are_not_numbers(void **state)
{
    (void)state;
    int64_t dims[] = {1};
    Onnx__TensorProto t = make_tensor(0, 1, dims);
    expect_failure(&t, AMG_MALFORMED, -1, "no data type");
    t = make_tensor(8, 1, dims); /* STRING */
    expect_failure(&t, AMG_UNSUPPORTED, -1, "data type 8");
    t = make_tensor(99, 1, dims);
    expect_failure(&t, AMG_UNSUPPORTED, -1, "data type 99");
    t = make_tensor(-1, 1, dims);
    expect_failure(&t, AMG_UNSUPPORTED, -1, "data type -1");
}

static void refuses_data_in_the_wrong_place(void **state)
{
    (void)state;
    int64_t dims[] = {1};
    float f = 1;
    int32_t i = 1;
    Onnx__TensorProto t = make_tensor(1, 1, dims);
    set_raw(&t, &f, sizeof f);
    t.n_float_data = 1;
    t.float_data = &f;
    expect_failure(&t, AMG_MALFORMED, -1, "data in two places");
    t = make_tensor(1, 1, dims);
    t.n_int32_data = 1;
    t.int32_data = &i;
    expect_failure(&t, AMG_MALFORMED, -1, "not for F32");
    t = make_tensor(1, 1, dims);
    Onnx__TensorProto__Segment segment = ONNX__TENSOR_PROTO__SEGMENT__INIT;
    t.segment = &segment;
    expect_failure(&t, AMG_UNSUPPORTED, -1, "segments");
}

static void refuses_elements_out_of_range(void **state)
{
    (void)state;
    int64_t dims[] = {2};
    static const struct {
        amg_dtype dtype;
        int32_t value;
    } rows[] = {{AMG_U8, 256},     {AMG_U8, -1},   {AMG_I8, 128},    {AMG_I8, -129},
                {AMG_BOOL, 2},     {AMG_BOOL, -1}, {AMG_U16, 65536}, {AMG_I16, 32768},
                {AMG_I16, -32769}, {AMG_F16, -1},  {AMG_BF16, 65536}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        int32_t in[2] = {0, rows[i].value};
        Onnx__TensorProto t = make_tensor(amg_dtype_onnx(rows[i].dtype), 1, dims);
        t.n_int32_data = 2;
        t.int32_data = in;
        expect_failure(&t, AMG_MALFORMED, -1, "element 1 is");
    }
    uint64_t wide[] = {0, 1ULL << 32};
    Onnx__TensorProto t = make_tensor(12, 1, dims);
    t.n_uint64_data = 2;
    t.uint64_data = wide;
    expect_failure(&t, AMG_MALFORMED, -1, "element 1 is 4294967296");

    const uint8_t bools[] = {1, 2};
    t = make_tensor(9, 1, dims);
    set_raw(&t, bools, 2);
    expect_failure(&t, AMG_MALFORMED, 1, "bool 1 is 2");
}

/* ---- the wire format ---- */

static void expect_wire_error(const uint8_t *data, size_t size, amg_status code,
                              int64_t offset, const char *what)
{
    amg_onnx *onnx = NULL;
    amg_error err = {0};
    assert_int_equal(amg_onnx_parse(data, size, "m.onnx", NULL, &onnx, &err), code);
    assert_int_equal(err.offset, offset);
    assert_string_equal(err.where, "m.onnx");
    if (!strstr(err.what, what)) fail_msg("\"%s\" lacks \"%s\"", err.what, what);
    assert_null(onnx);
}

static void wire_errors_carry_code_and_offset(void **state)
{
    (void)state;
    static const struct {
        amg_status code;
        int64_t offset;
        const char *what;
        size_t size;
        uint8_t data[16];
    } rows[] = {
        {AMG_TRUNCATED, 0, "empty", 0, {0}},
        /* ir_version (1, varint) without its value, or with an endless one */
        {AMG_TRUNCATED, 1, "ir_version runs past", 1, {0x08}},
        {AMG_TRUNCATED, 1, "ir_version runs past", 3, {0x08, 0x80, 0x80}},
        {AMG_MALFORMED,
         1,
         "more than 10 bytes",
         12,
         {0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}},
        /* ir_version as bytes; graph (7) as a varint; producer_name (2) as fixed32 */
        {AMG_MALFORMED,
         0,
         "ir_version of a ModelProto has wire type 2",
         3,
         {0x0a, 1, 0}},
        {AMG_MALFORMED,
         2,
         "graph of a ModelProto has wire type 0",
         4,
         {0x08, 8, 0x38, 1}},
        {AMG_MALFORMED,
         0,
         "producer_name of a ModelProto has wire type 5",
         5,
         {0x15, 1, 2, 3, 4}},
        /* groups, field 0, unknown wire types */
        {AMG_MALFORMED, 0, "wire type 3", 2, {0x9b, 0x03}},
        {AMG_MALFORMED, 0, "field number 0", 2, {0x00, 0}},
        {AMG_MALFORMED, 2, "wire type 7", 4, {0x08, 8, 0x9f, 1}},
        /* graph longer than the file; name longer than its graph */
        {AMG_TRUNCATED, 0, "graph runs past", 2, {0x3a, 5}},
        {AMG_MALFORMED,
         2,
         "name runs past the end of its message",
         7,
         {0x3a, 3, 0x12, 5, 'a', 0x08, 1}},
        /* a 0 byte inside a name */
        {AMG_MALFORMED,
         5,
         "string field name holds a 0 byte",
         7,
         {0x3a, 5, 0x12, 3, 'a', 0, 'b'}},
        /* float_data (4, packed) of 3 bytes */
        {AMG_MALFORMED,
         6,
         "float_data has 3 bytes",
         9,
         {0x3a, 7, 0x2a, 5, 0x22, 3, 0, 0, 0}},
        /* an unknown field (100) longer than the file */
        {AMG_TRUNCATED, 0, "unknown field runs past", 3, {0xa2, 0x06, 9}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        /* Exactly size bytes on the heap, so that a read past the end shows. */
        uint8_t *exact = malloc(rows[i].size ? rows[i].size : 1);
        memcpy(exact, rows[i].data, rows[i].size);
        expect_wire_error(exact, rows[i].size, rows[i].code, rows[i].offset,
                          rows[i].what);
        free(exact);
    }
}

static void skips_unknown_fields_of_all_wire_types(void **state)
{
    (void)state;
    const uint8_t data[] = {0xa0, 0x06, 1,                         /* 100: varint */
                            0xa1, 0x06, 1, 2, 3, 4, 5,    6, 7, 8, /* fixed64 */
                            0xa2, 0x06, 2, 0, 0,                   /* bytes */
                            0xa5, 0x06, 1, 2, 3, 4, 0x08, 8};      /* fixed32, then */
    amg_onnx *onnx;
    assert_int_equal(amg_onnx_parse(data, sizeof data, "m", NULL, &onnx, NULL), AMG_OK);
    assert_int_equal(amg_onnx_model(onnx)->ir_version, 8);
    amg_onnx_close(onnx);
}

/* graph.node.attribute.g.node…: each level is three messages. protobuf-c would recurse
 * as deep as the file wants. */
static uint8_t *nest(int levels, size_t *size_bytes)
{
    size_t room = 16 * (size_t)levels + 16, size = 0;
    uint8_t *data = malloc(room);
    static const uint8_t tags[] = {0x2a, 0x0a, 0x32}; /* attribute, node, g */
    for (int i = 0; i < levels; i++) {
        size_t n = size, bytes = 1;
        for (size_t v = n; v > 127; v >>= 7) bytes++;
        memmove(data + 1 + bytes, data, size);
        data[0] = i == levels - 1 ? 0x3a : tags[i % 3];
        for (size_t k = 0; k < bytes; k++, n >>= 7)
            data[1 + k] = (uint8_t)((n & 127) | (k + 1 < bytes ? 128u : 0u));
        size += 1 + bytes;
    }
    *size_bytes = size;
    return data;
}

static void deep_nesting_is_refused_before_it_can_exhaust_the_stack(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = nest(3 * 33, &size); /* 99 messages in the model */
    amg_onnx *onnx;
    amg_error err = {0};
    assert_int_equal(amg_onnx_parse(data, size, "m", NULL, &onnx, NULL), AMG_OK);
    amg_onnx_close(onnx);
    free(data);

    data = nest(3 * 2000, &size);
    onnx = NULL;
    assert_int_equal(amg_onnx_parse(data, size, "m", NULL, &onnx, &err), AMG_MALFORMED);
    assert_non_null(strstr(err.what, "deeper than 100"));
    assert_true(err.offset > 100 && err.offset < 500); /* 100 tags and lengths in */
    assert_null(onnx);
    free(data);
}

/* ---- whole files ---- */

static Onnx__TensorProto sample_tensor(int64_t *dims, float *data, size_t n)
{
    dims[0] = (int64_t)n;
    for (size_t i = 0; i < n; i++) data[i] = (float)i * 0.5f;
    Onnx__TensorProto t = make_tensor(1, 1, dims);
    set_raw(&t, data, n * sizeof *data);
    return t;
}

static void every_truncation_fails_or_ends_at_a_field(void **state)
{
    (void)state;
    int64_t dims[1];
    float values[8];
    Onnx__TensorProto t = sample_tensor(dims, values, COUNT(values));
    size_t size;
    uint8_t *data = pack_tensor(&t, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1);
        memcpy(exact, data, cut);
        amg_onnx *onnx = NULL;
        amg_error err = {0};
        /* The model is one field, so that no cut is a whole model. */
        assert_int_equal(amg_onnx_parse(exact, cut, "m", NULL, &onnx, &err),
                         AMG_TRUNCATED);
        assert_true(err.offset >= 0 && (size_t)err.offset <= cut);
        free(exact);
    }
    amg_free(data);
}

static void pack_parse_pack_gives_the_same_bytes(void **state)
{
    (void)state;
    int64_t dims[1];
    float values[8];
    Onnx__TensorProto t = sample_tensor(dims, values, COUNT(values));
    size_t size, again_size;
    uint8_t *data = pack_tensor(&t, &size), *again;
    amg_onnx *onnx;
    assert_int_equal(amg_onnx_parse(data, size, "m", NULL, &onnx, NULL), AMG_OK);
    assert_int_equal(amg_onnx_pack(amg_onnx_model(onnx), &again, &again_size, NULL),
                     AMG_OK);
    assert_int_equal(size, again_size);
    assert_memory_equal(data, again, size);
    amg_free(data);
    amg_free(again);
    amg_onnx_close(onnx);
}

typedef struct {
    char dir[256], model[300], data[310];
} folder;

static void make_folder(folder *f)
{
    const char *base = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%s/amg-onnx-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->model, sizeof f->model, "%s/m.onnx", f->dir);
    snprintf(f->data, sizeof f->data, "%s.data", f->model);
}

static void write_open_gives_the_tensor_back(void **state)
{
    (void)state;
    folder f;
    make_folder(&f);
    int64_t small_dims[1], large_dims[2][1];
    float small[4], large[2][1000];
    Onnx__TensorProto a = sample_tensor(small_dims, small, COUNT(small));
    Onnx__TensorProto b = sample_tensor(large_dims[0], large[0], COUNT(large[0]));
    Onnx__TensorProto c = sample_tensor(large_dims[1], large[1], COUNT(large[1]));
    large[1][999] = -1;
    Onnx__TensorProto *all[] = {&a, &b, &c};
    Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto g = ONNX__GRAPH_PROTO__INIT;
    m.graph = &g;
    g.n_initializer = COUNT(all);
    g.initializer = all;
    const float *expected[] = {small, large[0], large[1]};

    for (int split = 0; split < 2; split++) {
        amg_status st = split ? amg_onnx_write_split(f.model, &m, 4000, NULL)
                              : amg_onnx_write(f.model, &m, NULL);
        assert_int_equal(st, AMG_OK);
        assert_int_equal(amg_path_exists(f.data), split);
        amg_onnx *onnx;
        assert_int_equal(amg_onnx_open(f.model, &onnx, NULL), AMG_OK);
        const Onnx__GraphProto *read = amg_onnx_model(onnx)->graph;
        for (size_t i = 0; i < COUNT(all); i++) {
            /* The small one stays inside, the large ones go out in the second round. */
            assert_int_equal(read->initializer[i]->has_raw_data, !split || i == 0);
            amg_tensor t;
            assert_int_equal(amg_onnx_tensor(onnx, read->initializer[i], &t, NULL),
                             AMG_OK);
            assert_int_equal(t.size_bytes, all[i]->raw_data.len);
            assert_memory_equal(t.data, expected[i], t.size_bytes);
            assert_false(t.owned); /* page-aligned: mapped, not copied */
        }
        amg_onnx_close(onnx);
    }
    amg_dir_remove(f.dir);
}

static void open_names_what_is_wrong_with_a_file(void **state)
{
    (void)state;
    folder f;
    make_folder(&f);
    amg_onnx *onnx = NULL;
    amg_error err = {0};
    assert_int_equal(amg_onnx_open(f.model, &onnx, &err), AMG_NOT_FOUND);
    assert_string_equal(err.where, f.model);
    assert_int_equal(amg_file_write(f.model, 0644, false, "", 0, NULL), AMG_OK);
    assert_int_equal(amg_onnx_open(f.model, &onnx, &err), AMG_TRUNCATED);
    assert_int_equal(err.offset, 0);
    assert_int_equal(amg_file_write(f.model, 0644, false, "\x89PNG", 4, NULL), AMG_OK);
    assert_int_equal(amg_onnx_open(f.model, &onnx, &err), AMG_TRUNCATED);
    assert_string_equal(err.where, f.model);
    assert_string_not_equal(err.hint, "");
    assert_null(onnx);
    amg_dir_remove(f.dir);
}

/* Fails the n-th request for each n, until parsing succeeds. ASan finds what leaks. */
static void any_failed_allocation_is_reported(void **state)
{
    (void)state;
    int64_t dims[] = {2};
    int32_t in[] = {1, 0};
    Onnx__TensorProto t = make_tensor(9, 1, dims); /* BOOL in int32_data: owned */
    t.n_int32_data = 2;
    t.int32_data = in;
    size_t size;
    uint8_t *data = pack_tensor(&t, &size);
    long n = 1;
    for (bool done = false; !done; n++) {
        long countdown = n;
        amg_onnx *onnx = NULL;
        amg_tensor out = {0};
        amg_alloc_fail_after(&countdown);
        amg_status st = amg_onnx_parse(data, size, "m", NULL, &onnx, NULL);
        if (!st)
            st = amg_onnx_tensor(onnx, amg_onnx_model(onnx)->graph->initializer[0],
                                 &out, NULL);
        amg_alloc_fail_after(NULL);
        done = st == AMG_OK;
        if (!done) assert_int_equal(st, AMG_NO_MEMORY);
        amg_tensor_clear(&out);
        amg_onnx_close(onnx);
        assert_true(n < 1000);
    }
    assert_true(n > 6); /* struct, name, model, graph, arrays, tensor */
    amg_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_raw_data_of_every_dtype),
        cmocka_unit_test(reads_fields_of_the_same_width),
        cmocka_unit_test(narrows_elements_packed_in_wider_fields),
        cmocka_unit_test(reads_scalars_and_empty_tensors),
        cmocka_unit_test(refuses_dims_that_lie),
        cmocka_unit_test(refuses_dtypes_that_are_not_numbers),
        cmocka_unit_test(refuses_data_in_the_wrong_place),
        cmocka_unit_test(refuses_elements_out_of_range),
        cmocka_unit_test(wire_errors_carry_code_and_offset),
        cmocka_unit_test(skips_unknown_fields_of_all_wire_types),
        cmocka_unit_test(deep_nesting_is_refused_before_it_can_exhaust_the_stack),
        cmocka_unit_test(every_truncation_fails_or_ends_at_a_field),
        cmocka_unit_test(pack_parse_pack_gives_the_same_bytes),
        cmocka_unit_test(write_open_gives_the_tensor_back),
        cmocka_unit_test(open_names_what_is_wrong_with_a_file),
        cmocka_unit_test(any_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
