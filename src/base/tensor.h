/* Element types and the tensor: a dense, row-major, little-endian array with a shape.
 */
#ifndef AMG_BASE_TENSOR_H
#define AMG_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

#define AMG_MAX_RANK 8

/* X(name, size in bytes, safetensors name, ONNX TensorProto.DataType, numpy descr) */
#define AMG_DTYPE_LIST(X)                                                              \
    X(F32, 4, "F32", 1, "<f4")                                                         \
    X(U8, 1, "U8", 2, "|u1")                                                           \
    X(I8, 1, "I8", 3, "|i1")                                                           \
    X(U16, 2, "U16", 4, "<u2")                                                         \
    X(I16, 2, "I16", 5, "<i2")                                                         \
    X(I32, 4, "I32", 6, "<i4")                                                         \
    X(I64, 8, "I64", 7, "<i8")                                                         \
    X(BOOL, 1, "BOOL", 9, "|b1")                                                       \
    X(F16, 2, "F16", 10, "<f2")                                                        \
    X(F64, 8, "F64", 11, "<f8")                                                        \
    X(U32, 4, "U32", 12, "<u4")                                                        \
    X(U64, 8, "U64", 13, "<u8")                                                        \
    X(BF16, 2, "BF16", 16, "")

#define AMG_DTYPE_ENUM(name, size, st, onnx, npy) AMG_##name,
typedef enum {
    AMG_DTYPE_NONE,
    AMG_DTYPE_LIST(AMG_DTYPE_ENUM) AMG_DTYPE_COUNT
} amg_dtype;
#undef AMG_DTYPE_ENUM

bool amg_dtype_is_float(amg_dtype dtype);
size_t amg_dtype_size(amg_dtype dtype);      /* bytes; 0 for AMG_DTYPE_NONE */
const char *amg_dtype_name(amg_dtype dtype); /* safetensors' name, "?" for none */
const char *amg_dtype_npy(amg_dtype dtype);  /* numpy descr, "" where numpy has none */
int amg_dtype_onnx(amg_dtype dtype);         /* TensorProto.DataType, 0 for none */
amg_dtype amg_dtype_find_name(const char *name); /* AMG_DTYPE_NONE if unknown */
amg_dtype amg_dtype_find_npy(const char *descr);
amg_dtype amg_dtype_find_onnx(int type);

/* A tensor. data is a view (owned == false: borrowed from a mapped file, an arena or a
 * graph; the struct's giver says until when) or an owned buffer (owned == true: from
 * amg_tensor_new, freed by amg_tensor_clear). A zeroed tensor is valid and empty. */
typedef struct {
    amg_dtype dtype;
    int rank;
    int64_t dims[AMG_MAX_RANK];
    void *data;
    size_t size_bytes;
    bool owned;
} amg_tensor;

/* Product of dims x element size, checked. AMG_OVERFLOW or AMG_INVALID (negative dim,
 * rank). */
AMG_MUST_CHECK amg_status amg_tensor_size(amg_dtype dtype, int rank,
                                          const int64_t *dims, size_t *size_bytes,
                                          amg_error *err);
/* Owned, zeroed, 64-byte aligned. */
AMG_MUST_CHECK amg_status amg_tensor_new(amg_dtype dtype, int rank, const int64_t *dims,
                                         amg_tensor *out, amg_error *err);
/* A view of data, which must hold the whole tensor. */
AMG_MUST_CHECK amg_status amg_tensor_view(amg_dtype dtype, int rank,
                                          const int64_t *dims, const void *data,
                                          amg_tensor *out, amg_error *err);
void amg_tensor_clear(amg_tensor *t);
int64_t amg_tensor_count(const amg_tensor *t); /* number of elements */
bool amg_tensor_same_shape(const amg_tensor *a, const amg_tensor *b);
/* "f32[64,3,3,3]" into buf; returns buf. */
#define AMG_SHAPE_TEXT 192
const char *amg_shape_text(amg_dtype dtype, int rank, const int64_t *dims,
                           char buf[AMG_SHAPE_TEXT]);
/* Index of the first NaN or infinity of an F32 tensor, -1 if all are finite. */
int64_t amg_tensor_find_not_finite(const amg_tensor *t);

#endif
