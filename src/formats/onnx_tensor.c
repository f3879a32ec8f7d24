/* TensorProto → tensor. Consumes the bytes of one tensor wherever ONNX lets them stand:
 *
 *   raw_data      little-endian elements
 *   float_data    F32          double_data   F64        int64_data   I64
 *   int32_data    I32, and one element per entry of U8 I8 U16 I16 BOOL F16 BF16
 *   uint64_data   U64, and one element per entry of U32
 *   external      location, offset, length: bytes of a file beneath the model's folder
 *
 * and produces a view of them, or an owned copy where elements must be narrowed.
 * Nothing in a file is believed: sizes must agree with dims, in one place only. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "formats/onnx_external.h"
#include "formats/onnx_internal.h"

#define WHERE_TEXT 256

static void where_of(const Onnx__TensorProto *p, char where[WHERE_TEXT])
{
    snprintf(where, WHERE_TEXT, "tensor \"%s\"", p->name ? p->name : "");
}

static amg_status check_dtype(const Onnx__TensorProto *p, const char *where,
                              amg_dtype *dtype, amg_error *err)
{
    int type = p->has_data_type ? p->data_type : 0;
    if (!type) return amg_fail(err, AMG_MALFORMED, -1, where, "it has no data type");
    *dtype = amg_dtype_find_onnx(type);
    if (*dtype != AMG_DTYPE_NONE) return AMG_OK;
    return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                    "ONNX data type %d is not a number type that we know", type);
}

/* Fills dtype, rank, dims and size_bytes of *t; data stays NULL. */
static amg_status check_shape(const Onnx__TensorProto *p, const char *where,
                              amg_tensor *t, amg_error *err)
{
    amg_status st = check_dtype(p, where, &t->dtype, err);
    if (st) return st;
    if (p->segment)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where, "it is stored in segments");
    if (p->n_dims > AMG_MAX_RANK)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where, "it has %zu dims, at most %d",
                        p->n_dims, AMG_MAX_RANK);
    t->rank = (int)p->n_dims;
    for (int i = 0; i < t->rank; i++) {
        if (p->dims[i] < 0)
            return amg_fail(err, AMG_MALFORMED, -1, where, "dim %d is %" PRId64, i,
                            p->dims[i]);
        t->dims[i] = p->dims[i];
    }
    if (amg_tensor_size(t->dtype, t->rank, t->dims, &t->size_bytes, NULL))
        return amg_fail(err, AMG_OVERFLOW, -1, where,
                        "the product of its %d dims does not fit", t->rank);
    return AMG_OK;
}

/* Byte-for-byte data: a view where they are aligned, else an owned copy. */
static amg_status take_bytes(amg_tensor *t, const uint8_t *data, const char *where,
                             amg_error *err)
{
    if (t->dtype == AMG_BOOL)
        for (size_t i = 0; i < t->size_bytes; i++)
            if (data[i] > 1)
                return amg_fail(err, AMG_MALFORMED, (int64_t)i, where,
                                "bool %zu is %d, expected 0 or 1", i, data[i]);
    if (!t->size_bytes || (uintptr_t)data % amg_dtype_size(t->dtype) == 0) {
        memcpy(&t->data, &data, sizeof data); /* read through const by its users */
        return AMG_OK;
    }
    amg_status st = amg_tensor_new(t->dtype, t->rank, t->dims, t, err);
    if (!st) memcpy(t->data, data, t->size_bytes);
    return st;
}

/* The typed field that ONNX prescribes for a dtype. */
typedef struct {
    const void *data;
    size_t count, element_bytes;
} typed;

static typed typed_field(const Onnx__TensorProto *p, amg_dtype dtype)
{
    switch (dtype) {
    case AMG_F32: return (typed){p->float_data, p->n_float_data, sizeof(float)};
    case AMG_F64: return (typed){p->double_data, p->n_double_data, sizeof(double)};
    case AMG_I64: return (typed){p->int64_data, p->n_int64_data, sizeof(int64_t)};
    case AMG_U32:
    case AMG_U64: return (typed){p->uint64_data, p->n_uint64_data, sizeof(uint64_t)};
    default: return (typed){p->int32_data, p->n_int32_data, sizeof(int32_t)};
    }
}

/* Whether v, an entry of int32_data or uint64_data, is an element of the dtype. */
static bool fits(amg_dtype dtype, int64_t v)
{
    switch (dtype) {
    case AMG_U8: return v >= 0 && v <= UINT8_MAX;
    case AMG_I8: return v >= INT8_MIN && v <= INT8_MAX;
    case AMG_I16: return v >= INT16_MIN && v <= INT16_MAX;
    case AMG_BOOL: return v == 0 || v == 1;
    case AMG_U32: return v >= 0 && v <= UINT32_MAX;
    default: return v >= 0 && v <= UINT16_MAX; /* U16, F16, BF16 */
    }
}

/* Elements narrower than their entries: the low bytes of each (little-endian). */
static amg_status take_narrowed(amg_tensor *t, const typed *f, const char *where,
                                amg_error *err)
{
    amg_tensor narrow;
    amg_status st = amg_tensor_new(t->dtype, t->rank, t->dims, &narrow, err);
    if (st) return st;
    size_t size = amg_dtype_size(t->dtype);
    for (size_t i = 0; i < f->count; i++) {
        const uint8_t *entry = (const uint8_t *)f->data + i * f->element_bytes;
        int64_t v = 0;
        int32_t v32;
        if (f->element_bytes == sizeof v32) {
            memcpy(&v32, entry, sizeof v32);
            v = v32;
        } else {
            memcpy(&v, entry, sizeof v);
        }
        if (!fits(t->dtype, v)) {
            amg_tensor_clear(&narrow);
            return amg_fail(err, AMG_MALFORMED, -1, where,
                            "element %zu is %" PRId64 ", out of range for %s", i, v,
                            amg_dtype_name(t->dtype));
        }
        memcpy((uint8_t *)narrow.data + i * size, entry, size);
    }
    *t = narrow;
    return AMG_OK;
}

static size_t num_typed(const Onnx__TensorProto *p)
{
    return p->n_float_data + p->n_int32_data + p->n_int64_data + p->n_double_data +
           p->n_uint64_data + p->n_string_data;
}

static amg_status take_typed(const Onnx__TensorProto *p, amg_tensor *t,
                             const char *where, amg_error *err)
{
    typed f = typed_field(p, t->dtype);
    int64_t count = amg_tensor_count(t);
    if (num_typed(p) != f.count)
        return amg_fail(err, AMG_MALFORMED, -1, where,
                        "it has data in a field that is not for %s",
                        amg_dtype_name(t->dtype));
    if ((uint64_t)count != f.count)
        return amg_fail(err, AMG_MISMATCH, -1, where,
                        "it has %zu element%s, its dims say %" PRId64, f.count,
                        amg_plural((int64_t)f.count), count);
    if (f.element_bytes == amg_dtype_size(t->dtype))
        return take_bytes(t, f.data, where, err);
    return take_narrowed(t, &f, where, err);
}

/* A decimal number of external_data: digits only, within int64. */
static amg_status parse_number(const char *text, const char *key, const char *where,
                               int64_t *out, amg_error *err)
{
    int64_t v = 0;
    size_t n = strspn(text, "0123456789");
    if (!n || text[n])
        return amg_fail(err, AMG_MALFORMED, -1, where,
                        "external %s is \"%.40s\", expected a number", key, text);
    for (size_t i = 0; i < n; i++)
        if (!amg_mul_i64(v, 10, &v) || !amg_add_i64(v, text[i] - '0', &v))
            return amg_fail(err, AMG_OVERFLOW, -1, where,
                            "external %s %.40s does not fit 63 bits", key, text);
    *out = v;
    return AMG_OK;
}

typedef struct {
    const char *location;
    int64_t offset, length; /* -1: absent */
} external;

static amg_status read_external(const Onnx__TensorProto *p, const char *where,
                                external *out, amg_error *err)
{
    external e = {.offset = -1, .length = -1};
    for (size_t i = 0; i < p->n_external_data; i++) {
        const char *key = p->external_data[i]->key, *value = p->external_data[i]->value;
        if (!key || !value)
            return amg_fail(err, AMG_MALFORMED, -1, where,
                            "external data entry %zu lacks its key or value", i);
        bool twice = false;
        amg_status st = AMG_OK;
        if (!strcmp(key, "location")) {
            twice = e.location != NULL;
            e.location = value;
        } else if (!strcmp(key, "offset")) {
            twice = e.offset >= 0;
            st = parse_number(value, key, where, &e.offset, err);
        } else if (!strcmp(key, "length")) {
            twice = e.length >= 0;
            st = parse_number(value, key, where, &e.length, err);
        }
        if (st) return st;
        if (twice)
            return amg_fail(err, AMG_MALFORMED, -1, where, "external %s twice", key);
    }
    if (!e.location)
        return amg_fail(err, AMG_MALFORMED, -1, where,
                        "its data are external, "
                        "but no location is given");
    if (e.offset < 0) e.offset = 0;
    *out = e;
    return AMG_OK;
}

/* The mapped file of a location, opened on first use. */
static amg_status map_external(amg_onnx *onnx, const char *location, const char *where,
                               amg_map *out, amg_error *err)
{
    for (size_t i = 0; i < onnx->num_files; i++)
        if (!strcmp(onnx->files[i].location, location)) {
            *out = onnx->files[i].map;
            return AMG_OK;
        }
    if (!onnx->base_dir)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                        "its data are external, and the model is not in a file");
    amg_onnx_file *files =
        amg_realloc(onnx->files, (onnx->num_files + 1) * sizeof *files);
    if (!files) return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for a file");
    onnx->files = files;

    int fd;
    amg_status st =
        amg_open_beneath(onnx->base_dir, location, AMG_BENEATH_AUTO, &fd, err);
    if (st) return st;
    amg_map map = {0};
    st = amg_map_fd(fd, location, &map, err);
    close(fd);
    if (st) return st;
    char *copy = amg_strdup(location);
    if (!copy) {
        amg_map_close(&map);
        return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for a name");
    }
    onnx->files[onnx->num_files++] = (amg_onnx_file){.location = copy, .map = map};
    *out = map;
    return AMG_OK;
}

static amg_status take_external(amg_onnx *onnx, const Onnx__TensorProto *p,
                                amg_tensor *t, const char *where, amg_error *err)
{
    external e = {0};
    amg_map map = {0};
    size_t end;
    amg_status st = read_external(p, where, &e, err);
    if (st) return st;
    if (e.length >= 0 && (size_t)e.length != t->size_bytes)
        return amg_fail(err, AMG_MISMATCH, -1, where,
                        "%" PRId64 " bytes of external data, its dims say %zu",
                        e.length, t->size_bytes);
    if (!amg_add_size((size_t)e.offset, t->size_bytes, &end) || end > INT64_MAX)
        return amg_fail(err, AMG_OVERFLOW, e.offset, where,
                        "offset plus length of its external data do not fit 63 bits");
    st = map_external(onnx, e.location, where, &map, err);
    if (st) return st;
    if (end > map.size)
        return amg_fail(err, AMG_TRUNCATED, e.offset, where,
                        "external data end at byte %zu, \"%s\" has %zu bytes", end,
                        e.location, map.size);
    return take_bytes(t, map.data ? map.data + e.offset : NULL, where, err);
}

amg_status amg_onnx_tensor_shape(const struct Onnx__TensorProto *p, amg_tensor *out,
                                 amg_error *err)
{
    char where[WHERE_TEXT];
    where_of(p, where);
    amg_tensor t = {0};
    amg_status st = check_shape(p, where, &t, err);
    if (!st) *out = t;
    return st;
}

amg_status amg_onnx_tensor(amg_onnx *onnx, const struct Onnx__TensorProto *p,
                           amg_tensor *out, amg_error *err)
{
    char where[WHERE_TEXT];
    where_of(p, where);
    amg_tensor t = {0};
    amg_status st = check_shape(p, where, &t, err);
    if (st) return st;
    bool is_external = p->has_data_location &&
                       p->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    if ((p->has_raw_data && num_typed(p)) ||
        (is_external && (p->has_raw_data || num_typed(p))))
        return amg_fail(err, AMG_MALFORMED, -1, where, "it has data in two places");
    if (is_external) {
        st = take_external(onnx, p, &t, where, err);
    } else if (!p->has_raw_data) {
        st = take_typed(p, &t, where, err);
    } else if (p->raw_data.len != t.size_bytes) {
        st = amg_fail(err, AMG_MISMATCH, -1, where,
                      "raw_data has %zu bytes, its dims say %zu", p->raw_data.len,
                      t.size_bytes);
    } else {
        st = take_bytes(&t, p->raw_data.data, where, err);
    }
    if (!st) *out = t;
    return st;
}
