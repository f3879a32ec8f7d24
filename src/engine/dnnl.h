/* One small wrapper over oneDNN's C API: layouts (memory descriptors) and primitives
 * (compiled kernels with their memory objects). Everything that differs between oneDNN
 * 2.x and 3.x stays in dnnl.c. Knows nothing of graphs or plans.
 *
 * All objects belong to their amg_dnnl and are freed with it. Layouts are interned: two
 * layouts are equal exactly when their pointers are. */
#ifndef AMG_ENGINE_DNNL_H
#define AMG_ENGINE_DNNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

typedef struct amg_dnnl amg_dnnl;
typedef struct amg_layout amg_layout;
typedef struct amg_primitive amg_primitive;

AMG_MUST_CHECK amg_status amg_dnnl_new(amg_dnnl **out, amg_error *err);
void amg_dnnl_free(amg_dnnl *d);

/* How an activation lies in memory, seen from our own kernels:
 *
 *     [n][blocks][spatial][block]      channel c of a position = c / block, c % block
 *
 * block 1 is row-major NCHW, 8 and 16 are oneDNN's nChw8c and nChw16c, block ==
 * channels is NHWC; the same with one and three spatial dims. blocks * block may exceed
 * channels: the padding is always zero. */
typedef struct {
    int64_t n, channels, blocks, spatial, block;
} amg_geometry;

/* Row-major f32. Rank 0 counts as one element of rank 1. NULL: out of memory. */
const amg_layout *amg_layout_plain(amg_dnnl *d, int rank, const int64_t *dims);
/* A matrix [rows, columns] that is stored transposed, as [columns, rows] row-major. */
const amg_layout *amg_layout_transposed(amg_dnnl *d, int64_t rows, int64_t columns);
/* A matrix of bf16, row-major or stored transposed. */
const amg_layout *amg_layout_bf16_matrix(amg_dnnl *d, int64_t rows, int64_t columns,
                                         bool transposed);
/* The same channel blocking as like for a tensor of other dims (rank 3 to 5, else
 * plain). */
const amg_layout *amg_layout_blocked_like(amg_dnnl *d, const amg_layout *like, int rank,
                                          const int64_t *dims);
size_t amg_layout_bytes(const amg_layout *l);
/* false for layouts only oneDNN itself can walk (weights). */
bool amg_layout_geometry(const amg_layout *l, amg_geometry *out);
/* Whether the bytes are those of the row-major tensor (a [N,64,1,1] in nChw16c is). */
bool amg_layout_is_row_major(const amg_layout *l);
/* Whether a pixel's channels lie side by side (nhwc), which no channel block is. */
bool amg_layout_is_channels_last(const amg_layout *l);
/* Whether both place every element at the same offset. */
bool amg_layout_same_bytes(const amg_layout *a, const amg_layout *b);
/* "nChw16c", "plain", "blocked": for amg_plan_describe. */
const char *amg_layout_name(const amg_layout *l);

typedef enum {
    AMG_ARG_SRC,
    AMG_ARG_DST,
    AMG_ARG_WEIGHTS,
    AMG_ARG_BIAS,
    AMG_ARG_MEAN,
    AMG_ARG_VARIANCE,
    AMG_ARG_SCALE,
    AMG_ARG_SHIFT,
    AMG_ARG_WORKSPACE,
    AMG_ARG_SCRATCH,
    AMG_ARG_DIFF_SRC,
    AMG_ARG_DIFF_DST,
    AMG_ARG_DIFF_WEIGHTS,
    AMG_ARG_DIFF_BIAS,
    AMG_ARG_DIFF_SCALE,
    AMG_ARG_DIFF_SHIFT,
    AMG_ARG_COUNT
} amg_arg;

typedef enum {
    AMG_PASS_FORWARD,
    AMG_PASS_BACKWARD_DATA,
    AMG_PASS_BACKWARD_WEIGHTS
} amg_pass;

enum { AMG_MAX_DIMS = 3 }; /* spatial ones */

/* Convolution over num_dims spatial dims; dilation 1 is none. */
typedef struct {
    int num_dims;
    int64_t n, groups, in_channels, out_channels;
    int64_t in[AMG_MAX_DIMS], out[AMG_MAX_DIMS], kernel[AMG_MAX_DIMS];
    int64_t stride[AMG_MAX_DIMS], dilation[AMG_MAX_DIMS];
    int64_t pad_begin[AMG_MAX_DIMS], pad_end[AMG_MAX_DIMS];
    bool bias, winograd;
    bool bf16; /* operands are, results and the bias are f32 */
} amg_conv_shape;

typedef enum { AMG_POOL_MAX, AMG_POOL_AVERAGE, AMG_POOL_AVERAGE_PADDED } amg_pool_kind;
typedef struct {
    amg_pool_kind kind;
    int num_dims;
    int64_t kernel[AMG_MAX_DIMS], stride[AMG_MAX_DIMS];
    int64_t pad_begin[AMG_MAX_DIMS], pad_end[AMG_MAX_DIMS];
} amg_pool_shape;

typedef struct {
    float epsilon;
    bool training; /* batch statistics; false: MEAN and VARIANCE are inputs */
    bool fixed;    /* training with MEAN and VARIANCE that do not depend on the batch */
    bool fuse_relu; /* training only; WORKSPACE keeps the mask */
} amg_norm_shape;

/* The makers below choose the fastest implementation oneDNN has for the fixed layouts;
 * a NULL layout is oneDNN's choice, to be asked for with amg_primitive_layout.
 * AMG_UNSUPPORTED: oneDNN has none, or only its unoptimised reference. */

/* Layouts are of the activation or its gradient and of the weight or its gradient.
 * forward: the forward primitive (backward passes only). Winograd is tried first if
 * asked for. */
AMG_MUST_CHECK amg_status
amg_dnnl_conv(amg_dnnl *d, amg_pass pass, const amg_conv_shape *shape,
              const amg_layout *src, const amg_layout *weights, const amg_layout *dst,
              const amg_primitive *forward, amg_primitive **out, amg_error *err);
/* dst[n,o] = src[n,i] weights[o,i] (+ bias[o]); layouts fixed, those of operands may be
 * bf16. */
AMG_MUST_CHECK amg_status amg_dnnl_inner(amg_dnnl *d, amg_pass pass, bool bias,
                                         const amg_layout *src,
                                         const amg_layout *weights,
                                         const amg_layout *dst,
                                         const amg_primitive *forward,
                                         amg_primitive **out, amg_error *err);
/* dst's layout follows src's. forward NULL: forward pass, else backward. */
AMG_MUST_CHECK amg_status amg_dnnl_pool(amg_dnnl *d, const amg_pool_shape *shape,
                                        const amg_layout *src, const amg_layout *dst,
                                        bool training, const amg_primitive *forward,
                                        amg_primitive **out, amg_error *err);
/* Batch normalisation over axis 1 with scale and shift; all activations in layout data.
 */
AMG_MUST_CHECK amg_status amg_dnnl_norm(amg_dnnl *d, const amg_norm_shape *shape,
                                        const amg_layout *data,
                                        const amg_primitive *forward,
                                        amg_primitive **out, amg_error *err);
/* Copies between two layouts of one tensor. oneDNN has a reference reorder only for
 * some rare pairs of layouts; they are used for weights alone, and are allowed if
 * allow_reference is set. */
AMG_MUST_CHECK amg_status amg_dnnl_reorder(amg_dnnl *d, const amg_layout *from,
                                           const amg_layout *to, bool allow_reference,
                                           amg_primitive **out, amg_error *err);

/* c[m,n] = a[m,k] b[k,n] + beta c, row-major, rows lda, ldb, ldc apart; a transposed
 * operand is stored as [k,m] or [n,k]. For loops that run inside a step and so cannot
 * fail: on an error c becomes NaN, which the loss shows. */
void amg_dnnl_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                   float *c, int64_t ldc);

/* NULL if the primitive has no such argument. */
const amg_layout *amg_primitive_layout(const amg_primitive *p, amg_arg arg);
/* oneDNN's name of the implementation, "jit_wino_4x3:avx512_core". */
const char *amg_primitive_name(const amg_primitive *p);
/* Points an argument at memory (64-byte aligned) of its layout; zeroes the padding
 * there. */
AMG_MUST_CHECK amg_status amg_primitive_bind(amg_primitive *p, amg_arg arg, void *data,
                                             amg_error *err);
/* Runs with the memory bound last; every argument must have been bound. */
AMG_MUST_CHECK amg_status amg_primitive_run(const amg_primitive *p, amg_error *err);

/* Whether oneDNN's implementation name says "reference": begins with "ref" or has such
 * a part. */
bool amg_dnnl_is_reference(const char *implementation);

#endif
