/* Operators that are compositions of others, private to graph/: in the folded graph
 * they give way to those, so that the engine, PyTorch's forms and the obfuscator know
 * the parts only. The graph as read keeps them. Part of amg_graph_plan_batch; a rule
 * waits until the shapes that it needs are known.
 *
 *   file               operators
 *   lower_move.c       DepthToSpace, SpaceToDepth, OneHot, ReverseSequence,
 *                      Pad (some forms), TopK's values, Gather (of a Concat)
 *   lower_product.c    MatMul of vectors, Gemm that is more than a linear layer
 *   lower_einsum.c     Einsum
 *   lower_conv.c       DeformConv, CausalConvWithState
 *   lower_resize.c     Resize to the nearest (some forms)
 *   lower_norm.c       LpNormalization, LRN, MeanVarianceNormalization,
 *                      LayerNormalization's statistics, BatchNormalization of a weight
 *   lower_attention.c  Attention
 *   lower_rotary.c     RotaryEmbedding
 *   lower_image.c      AffineGrid, CenterCropPad, LpPool, GlobalLpPool,
 *                      MaxPool of bytes
 *   lower_mask.c       Hardmax, Dropout's mask
 *   lower_activation.c the other way round: Gelu and Mish, which exporters take apart
 */
#ifndef AMG_GRAPH_LOWER_H
#define AMG_GRAPH_LOWER_H

#include "graph/replace.h"

/* *out NULL: there was nothing to lower. Parameters by view: g must outlive *out. */
AMG_MUST_CHECK amg_status amg_lower_rewrite(const amg_graph *g, amg_graph **out,
                                            amg_error *err);

/* One node being written anew. Values are the builder's; errors stay in it. */
typedef struct {
    amg_replace *r;
    const amg_node *node;
    int num_made; /* names */
} amg_lower;

/* Whether a node, all of whose shapes are known, is lowered; and its outputs' values
 * (AMG_NO_VALUE: nothing reads it, or the builder has failed). */
typedef struct {
    bool (*applies)(const amg_graph *g, const amg_node *node);
    void (*lower)(amg_lower *l, int *out);
} amg_lower_rule;

/* Input i as the source graph has it, NULL if absent; as the builder has it. */
const amg_value *amg_lower_in(const amg_graph *g, const amg_node *node, int i);
int amg_lower_value(const amg_lower *l, int i);
/* Whether it is a parameter, or the transposed weight that folding makes one of later.
 */
bool amg_lower_is_weight(const amg_graph *g, const amg_value *v);
/* The shape of a value of the builder; rank 0 after an error. */
amg_value amg_lower_shape(const amg_lower *l, int value);

/* A name that is free, for a constant that the caller makes. */
void amg_lower_name(amg_lower *l, char name[AMG_REPLACE_NAME]);
/* New constants and nodes. count -1: a scalar. */
int amg_lower_ints(amg_lower *l, int count, const int64_t *v);
int amg_lower_float(amg_lower *l, float v);
int amg_lower_constant(amg_lower *l, amg_dtype dtype, int rank, const int64_t *dims,
                       const void *data);
int amg_lower_node(amg_lower *l, amg_op op, int num_inputs, const int *inputs,
                   int num_attrs, const amg_attr *attrs);
int amg_lower_unary(amg_lower *l, amg_op op, int x);
int amg_lower_binary(amg_lower *l, amg_op op, int a, int b);
/* A dim that is negative is the one that has the batch in it. */
int amg_lower_reshape(amg_lower *l, int x, int rank, const int64_t *dims);
int amg_lower_transpose(amg_lower *l, int x, int rank, const int64_t *perm);

/* Rules; NULL: the operator has none. */
const amg_lower_rule *amg_lower_rule_get(amg_op op);
extern const amg_lower_rule amg_lower_depth_to_space, amg_lower_one_hot, amg_lower_pad,
    amg_lower_gather, amg_lower_top_k, amg_lower_mat_mul, amg_lower_gemm,
    amg_lower_einsum, amg_lower_layer_norm, amg_lower_lp_norm, amg_lower_activation,
    amg_lower_lrn, amg_lower_batch_norm, amg_lower_mean_variance, amg_lower_attention,
    amg_lower_lp_pool, amg_lower_global_lp_pool, amg_lower_center_crop_pad,
    amg_lower_rotary, amg_lower_affine_grid, amg_lower_hardmax, amg_lower_dropout,
    amg_lower_resize, amg_lower_max_pool, amg_lower_reverse_sequence,
    amg_lower_deform_conv, amg_lower_causal_conv;

#endif
