/* Element types and tensors: one table of types, checked sizes, views and owned
 * buffers. */
#include "base/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

static const struct {
    const char *name, *npy;
    size_t size;
    int onnx;
} dtypes[AMG_DTYPE_COUNT] = {[AMG_DTYPE_NONE] = {"?", "", 0, 0},
#define ROW(name, size, st, onnx, npy) [AMG_##name] = {st, npy, size, onnx},
                             AMG_DTYPE_LIST(ROW)
#undef ROW
};

bool amg_dtype_is_float(amg_dtype dtype)
{
    return dtype == AMG_F32 || dtype == AMG_F64 || dtype == AMG_F16 ||
           dtype == AMG_BF16;
}

size_t amg_dtype_size(amg_dtype dtype) { return dtypes[dtype].size; }
const char *amg_dtype_name(amg_dtype dtype) { return dtypes[dtype].name; }
const char *amg_dtype_npy(amg_dtype dtype) { return dtypes[dtype].npy; }
int amg_dtype_onnx(amg_dtype dtype) { return dtypes[dtype].onnx; }

amg_dtype amg_dtype_find_name(const char *name)
{
    for (int i = AMG_DTYPE_NONE + 1; i < AMG_DTYPE_COUNT; i++)
        if (!strcmp(dtypes[i].name, name)) return (amg_dtype)i;
    return AMG_DTYPE_NONE;
}

amg_dtype amg_dtype_find_npy(const char *descr)
{
    for (int i = AMG_DTYPE_NONE + 1; i < AMG_DTYPE_COUNT; i++)
        if (dtypes[i].npy[0] && !strcmp(dtypes[i].npy, descr)) return (amg_dtype)i;
    return AMG_DTYPE_NONE;
}

amg_dtype amg_dtype_find_onnx(int type)
{
    for (int i = AMG_DTYPE_NONE + 1; i < AMG_DTYPE_COUNT; i++)
        if (dtypes[i].onnx == type) return (amg_dtype)i;
    return AMG_DTYPE_NONE;
}

amg_status amg_tensor_size(amg_dtype dtype, int rank, const int64_t *dims,
                           size_t *size_bytes, amg_error *err)
{
    if (rank < 0 || rank > AMG_MAX_RANK)
        return amg_fail(err, AMG_INVALID, -1, "tensor",
                        "found rank %d, expected 0 to %d", rank, AMG_MAX_RANK);
    size_t n = amg_dtype_size(dtype);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return amg_fail(err, AMG_INVALID, -1, "tensor", "dim %d is negative (%lld)",
                            i, (long long)dims[i]);
        if (!amg_mul_size(n, (size_t)dims[i], &n) || n > INT64_MAX)
            return amg_fail(err, AMG_OVERFLOW, -1, "tensor",
                            "the product of %d dims does not fit 63 bits", rank);
    }
    *size_bytes = n;
    return AMG_OK;
}

/* dims may be out's own. */
static void set_shape(amg_tensor *out, amg_dtype dtype, int rank, const int64_t *dims)
{
    amg_tensor t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) t.dims[i] = dims[i];
    *out = t;
}

amg_status amg_tensor_new(amg_dtype dtype, int rank, const int64_t *dims,
                          amg_tensor *out, amg_error *err)
{
    size_t size;
    amg_status st = amg_tensor_size(dtype, rank, dims, &size, err);
    if (st) return st;
    void *data = amg_alloc_aligned(size);
    if (!data)
        return amg_fail(err, AMG_NO_MEMORY, -1, "tensor", "no memory for %zu bytes",
                        size);
    set_shape(out, dtype, rank, dims);
    out->data = data;
    out->size_bytes = size;
    out->owned = true;
    return AMG_OK;
}

amg_status amg_tensor_view(amg_dtype dtype, int rank, const int64_t *dims,
                           const void *data, amg_tensor *out, amg_error *err)
{
    size_t size;
    amg_status st = amg_tensor_size(dtype, rank, dims, &size, err);
    if (st) return st;
    set_shape(out, dtype, rank, dims);
    memcpy(&out->data, &data,
           sizeof data); /* a view is read through const T * by its users */
    out->size_bytes = size;
    return AMG_OK;
}

void amg_tensor_clear(amg_tensor *t)
{
    if (t->owned) amg_free_aligned(t->data);
    memset(t, 0, sizeof *t);
}

int64_t amg_tensor_count(const amg_tensor *t)
{
    int64_t n = 0;
    return amg_dims_count(t->dims, t->rank, &n) ? n : 0;
}

bool amg_tensor_same_shape(const amg_tensor *a, const amg_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]);
}

const char *amg_shape_text(amg_dtype dtype, int rank, const int64_t *dims,
                           char buf[AMG_SHAPE_TEXT])
{
    size_t n = (size_t)snprintf(buf, AMG_SHAPE_TEXT, "%s[", amg_dtype_name(dtype));
    for (int i = 0; i < rank && n < AMG_SHAPE_TEXT; i++) {
        size_t left = AMG_SHAPE_TEXT - n;
        if (dims[i] == -1)
            n += (size_t)snprintf(buf + n, left, "%sN", i ? "," : "");
        else
            n += (size_t)snprintf(buf + n, left, "%s%lld", i ? "," : "",
                                  (long long)dims[i]);
    }
    if (n < AMG_SHAPE_TEXT) snprintf(buf + n, AMG_SHAPE_TEXT - n, "]");
    return buf;
}

int64_t amg_tensor_find_not_finite(const amg_tensor *t)
{
    const float *v = t->data;
    int64_t n = amg_tensor_count(t);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return i;
    return -1;
}
