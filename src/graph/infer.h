/* Shape rules, private to graph/: what one node makes of its inputs' dtypes and dims.
 *
 * A rule reads values[node->inputs[i]] and writes dtype, rank and dims of the outputs,
 * which it finds with rank -1 (unknown). It may leave them so when they depend on an
 * unknown input or on data that is not constant. Dims of unplanned graphs may be
 * AMG_DIM_BATCH. */
#ifndef AMG_GRAPH_INFER_H
#define AMG_GRAPH_INFER_H

#include "graph/graph.h"

/* One node at work. */
typedef struct {
    amg_value *values;
    const amg_node *node;
    amg_error *err;
} amg_infer;

/* Infers node's outputs in place. Outputs are written on failure too (as unknown). */
AMG_MUST_CHECK amg_status amg_infer_node(amg_value *values, const amg_node *node,
                                         amg_error *err);

/* Fails with where = node "NAME" (Op). */
amg_status amg_node_fail(const amg_node *node, amg_status code, amg_error *err,
                         const char *fmt, ...) AMG_PRINTF(4, 5);

/* Input i of the node, which the table requires; an optional input, NULL if absent;
 * output i. */
const amg_value *amg_infer_in(const amg_infer *c, int i);
const amg_value *amg_infer_find_in(const amg_infer *c, int i);
amg_value *amg_infer_out(const amg_infer *c, int i);
/* Gives output i a shape. */
void amg_infer_set(const amg_infer *c, int i, amg_dtype dtype, int rank,
                   const int64_t *dims);

/* Whether the operator reduces over axes that are an attribute up to opset 17 and an
 * input from 18 on: the Reduce… family without ReduceSum. */
bool amg_op_reduces(amg_op op);

/* The integers of a value of rank 0 or 1 (I64 or I32) that is constant, or computed of
 * constants and shapes. false: not known, not integers, or more than max. */
bool amg_value_ints(const amg_value *v, int max, int64_t *out, int *count);

/* The same for a shape, which may be computed from the batch: elements that are k times
 * the batch read AMG_EVAL_BATCH * k. */
bool amg_value_shape(const amg_value *v, int max, int64_t *out, int *count);

/* v, called `what`, has this rank; v, if present, is a vector of n numbers; two
 * operands are of one type. (infer_layer.c) */
AMG_MUST_CHECK amg_status amg_infer_expect_rank(const amg_infer *c, const char *what,
                                                const amg_value *v, int rank);
AMG_MUST_CHECK amg_status amg_infer_expect_vector(const amg_infer *c, const char *what,
                                                  const amg_value *v, int64_t n,
                                                  amg_dtype dtype);
AMG_MUST_CHECK amg_status amg_infer_expect_same_type(const amg_infer *c,
                                                     const amg_value *x,
                                                     const amg_value *w);

/* The attribute if it is a list of integers, else NULL. */
const amg_attr *amg_infer_attr_ints(const amg_infer *c, const char *name);
/* axis in [-rank, rank) -> [0, rank); -1 if out of range. */
int amg_axis_find(int64_t axis, int rank);
/* The axes of a node, from input `input` or, in older opsets, from its attribute
 * "axes": a bit per axis of `rank`. *known false: not constant. None given: *mask 0. */
AMG_MUST_CHECK amg_status amg_infer_axes(const amg_infer *c, int input, int rank,
                                         unsigned *mask, bool *known);
/* Numpy broadcasting of b into dims; false if the two do not fit. AMG_DIM_BATCH fits
 * itself and 1. */
bool amg_dims_broadcast(int64_t *dims, int *rank, const int64_t *b, int b_rank);
/* Product of dims; *batch says whether the batch is one more factor of it. false:
 * overflow, or the batch twice. */
bool amg_dims_product(const int64_t *dims, int rank, int64_t *product, bool *batch);

/* Rules, by file. */
typedef amg_status (*amg_infer_fn)(const amg_infer *c);
amg_status amg_infer_conv(const amg_infer *c); /* infer_window.c */
amg_status amg_infer_conv_transpose(const amg_infer *c);
amg_status amg_infer_deform_conv(const amg_infer *c);
amg_status amg_infer_causal_conv(const amg_infer *c);
amg_status amg_infer_pool(const amg_infer *c);
amg_status amg_infer_global_pool(const amg_infer *c);
amg_status amg_infer_batch_norm(const amg_infer *c); /* infer_layer.c */
amg_status amg_infer_channel_norm(const amg_infer *c);
amg_status amg_infer_prelu(const amg_infer *c);
amg_status amg_infer_gemm(const amg_infer *c);
amg_status amg_infer_mat_mul(const amg_infer *c);
amg_status amg_infer_flatten(const amg_infer *c); /* infer_shape.c */
amg_status amg_infer_reshape(const amg_infer *c);
amg_status amg_infer_squeeze(const amg_infer *c);
amg_status amg_infer_unsqueeze(const amg_infer *c);
amg_status amg_infer_transpose(const amg_infer *c);
amg_status amg_infer_expand(const amg_infer *c);
amg_status amg_infer_shape(const amg_infer *c);
amg_status amg_infer_size(const amg_infer *c);
amg_status amg_infer_constant(const amg_infer *c);
amg_status amg_infer_constant_of_shape(const amg_infer *c);
amg_status amg_infer_range(const amg_infer *c);
amg_status amg_infer_eye_like(const amg_infer *c);
amg_status amg_infer_concat(const amg_infer *c); /* infer_move.c */
amg_status amg_infer_gather(const amg_infer *c);
amg_status amg_infer_slice(const amg_infer *c);
amg_status amg_infer_pad(const amg_infer *c);
amg_status amg_infer_reduce(const amg_infer *c);
amg_status amg_infer_arg(const amg_infer *c);
amg_status amg_infer_top_k(const amg_infer *c);
amg_status amg_infer_cum_sum(const amg_infer *c);
amg_status amg_infer_reverse_sequence(const amg_infer *c);
amg_status amg_infer_split(const amg_infer *c);
amg_status amg_infer_tile(const amg_infer *c);
amg_status amg_infer_depth_to_space(const amg_infer *c); /* infer_index.c */
amg_status amg_infer_one_hot(const amg_infer *c);
amg_status amg_infer_gather_elements(const amg_infer *c); /* index_offsets.c */
amg_status amg_infer_gather_nd(const amg_infer *c);
amg_status amg_infer_scatter(const amg_infer *c);
amg_status amg_infer_einsum(const amg_infer *c);     /* einsum.c */
amg_status amg_infer_layer_norm(const amg_infer *c); /* infer_rows.c */
amg_status amg_infer_softmax(const amg_infer *c);
amg_status amg_infer_mean_variance(const amg_infer *c);
amg_status amg_infer_attention(const amg_infer *c); /* infer_attention.c */
amg_status amg_infer_rotary(const amg_infer *c);
amg_status amg_infer_center_crop_pad(const amg_infer *c); /* infer_image.c */
amg_status amg_infer_col2im(const amg_infer *c);
amg_status amg_infer_grid_sample(const amg_infer *c);
amg_status amg_infer_affine_grid(const amg_infer *c);
amg_status amg_infer_recurrent(const amg_infer *c); /* infer_recurrent.c */
/* Whether sequence_lens of a recurrent layer are numbers that say nothing. */
bool amg_recurrent_is_full(const amg_value *lengths, int64_t steps);
amg_status amg_infer_resize(const amg_infer *c); /* infer_resize.c */

#endif
