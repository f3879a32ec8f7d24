/* Shape inference: the dispatch over operators, the elementwise rules and the helpers
 * that all rules share. Consumes dtypes and dims of a node's inputs, and the data of
 * constant ones; knows nothing of builders or files. */
#include "graph/infer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "graph/eval.h"

amg_status amg_node_fail(const amg_node *node, amg_status code, amg_error *err,
                         const char *fmt, ...)
{
    char where[sizeof err->where], what[sizeof err->what];
    snprintf(where, sizeof where, "node \"%.200s\" (%s)", node->name,
             amg_op_get(node->op)->name);
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return amg_fail(err, code, -1, where, "%s", what);
}

const amg_value *amg_infer_in(const amg_infer *c, int i)
{
    return &c->values[c->node->inputs[i]]; /* check_arity saw it */
}

const amg_value *amg_infer_find_in(const amg_infer *c, int i)
{
    if (i >= c->node->num_inputs || c->node->inputs[i] == AMG_NO_VALUE) return NULL;
    return &c->values[c->node->inputs[i]];
}

amg_value *amg_infer_out(const amg_infer *c, int i)
{
    return &c->values[c->node->outputs[i]];
}

void amg_infer_set(const amg_infer *c, int i, amg_dtype dtype, int rank,
                   const int64_t *dims)
{
    amg_value *out = amg_infer_out(c, i);
    out->dtype = dtype;
    out->rank = rank;
    for (int d = 0; d < rank; d++) out->dims[d] = dims[d];
}

bool amg_value_ints(const amg_value *v, int max, int64_t *out, int *count)
{
    return v && !amg_eval_has_batch(&v->data) && amg_value_shape(v, max, out, count);
}

bool amg_value_shape(const amg_value *v, int max, int64_t *out, int *count)
{
    if (!v || !v->data.data || v->rank > 1) return false;
    int64_t n = v->rank == 0 ? 1 : v->dims[0];
    if (n > max || (v->dtype != AMG_I64 && v->dtype != AMG_I32)) return false;
    for (int64_t i = 0; i < n; i++)
        out[i] = v->dtype == AMG_I64 ? ((const int64_t *)v->data.data)[i]
                                     : ((const int32_t *)v->data.data)[i];
    *count = (int)n;
    return true;
}

const amg_attr *amg_infer_attr_ints(const amg_infer *c, const char *name)
{
    const amg_attr *a = amg_attr_find(c->node, name);
    return a && a->kind == AMG_ATTR_INTS ? a : NULL;
}

int amg_axis_find(int64_t axis, int rank)
{
    if (axis < -rank || axis >= rank) return -1;
    return (int)(axis < 0 ? axis + rank : axis);
}

amg_status amg_infer_axes(const amg_infer *c, int input, int rank, unsigned *mask,
                          bool *known)
{
    int64_t buffer[AMG_MAX_RANK];
    const int64_t *axes = buffer;
    int count = 0;
    const amg_value *v = amg_infer_find_in(c, input);
    const amg_attr *attr = amg_infer_attr_ints(c, "axes");
    *mask = 0;
    *known = true;
    if (v && !amg_value_ints(v, AMG_MAX_RANK, buffer, &count)) {
        *known = false;
        return AMG_OK;
    }
    if (!v && attr) {
        axes = attr->ints;
        count = attr->count;
    }
    for (int i = 0; i < count; i++) {
        int axis = amg_axis_find(axes[i], rank);
        if (axis < 0 || *mask >> axis & 1)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "axis %lld is repeated or out of range for rank %d",
                                 (long long)axes[i], rank);
        *mask |= 1u << axis;
    }
    return AMG_OK;
}

bool amg_dims_broadcast(int64_t *dims, int *rank, const int64_t *b, int b_rank)
{
    int64_t out[AMG_MAX_RANK];
    int n = *rank > b_rank ? *rank : b_rank;
    for (int i = 0; i < n; i++) {
        int ia = i - (n - *rank), ib = i - (n - b_rank);
        int64_t da = ia < 0 ? 1 : dims[ia], db = ib < 0 ? 1 : b[ib];
        if (da != db && da != 1 && db != 1) return false;
        out[i] = da == 1 ? db : da;
    }
    memcpy(dims, out, (size_t)n * sizeof *dims);
    *rank = n;
    return true;
}

bool amg_dims_product(const int64_t *dims, int rank, int64_t *product, bool *batch)
{
    int64_t n = 1;
    bool seen = false;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0 && seen) return false;
        if (!amg_mul_i64(n, dims[i] < 0 ? -dims[i] : dims[i], &n)) return false;
        seen = seen || dims[i] < 0;
    }
    *product = n;
    *batch = seen;
    return true;
}

/* All outputs have the first input's shape; a second one (Dropout's mask) is BOOL. */
static amg_status infer_same(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    if (c->node->num_outputs > 1) amg_infer_set(c, 1, AMG_BOOL, x->rank, x->dims);
    return AMG_OK;
}

/* The input's shape, and its type but where an attribute names another. */
static amg_status infer_random(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const int64_t given = amg_attr_int(c->node, "dtype", amg_dtype_onnx(x->dtype));
    const amg_dtype dtype =
        given > 0 && given < 64 ? amg_dtype_find_onnx((int)given) : AMG_DTYPE_NONE;
    if (dtype != AMG_F32)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "draws numbers of ONNX element type %lld, expected FLOAT",
                             (long long)given);
    amg_infer_set(c, 0, dtype, x->rank, x->dims);
    return AMG_OK;
}

/* Celu divides by alpha. */
static amg_status infer_celu(const amg_infer *c)
{
    if (amg_attr_float(c->node, "alpha", 1) == 0.0f)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "alpha is 0, expected another number");
    return infer_same(c);
}

static amg_status infer_cast(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t to = amg_attr_int(c->node, "to", 0);
    amg_dtype dtype = to > 0 && to < 64 ? amg_dtype_find_onnx((int)to) : AMG_DTYPE_NONE;
    if (dtype == AMG_DTYPE_NONE)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "casts to ONNX element type %lld", (long long)to);
    amg_infer_set(c, 0, dtype, x->rank, x->dims);
    return AMG_OK;
}

/* Numpy broadcasting of all inputs into output 0. */
static amg_status broadcast_shapes(const amg_infer *c, amg_dtype dtype)
{
    const amg_value *a = amg_infer_in(c, 0);
    int rank = 0;
    int64_t dims[AMG_MAX_RANK] = {0};
    amg_infer_out(c, 0)->dtype = dtype;
    for (int i = 0; i < c->node->num_inputs; i++) {
        const amg_value *v = amg_infer_in(c, i);
        if (v->rank < 0) return AMG_OK;
        char left[AMG_SHAPE_TEXT], right[AMG_SHAPE_TEXT];
        amg_shape_text(a->dtype, rank, dims, left);
        if (!amg_dims_broadcast(dims, &rank, v->dims, v->rank))
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "%s does not broadcast with %s", left,
                                 amg_shape_text(v->dtype, v->rank, v->dims, right));
    }
    amg_infer_set(c, 0, dtype, rank, dims);
    return AMG_OK;
}

/* The same where inputs first.. must be of one dtype. */
static amg_status broadcast_inputs(const amg_infer *c, int first, amg_dtype dtype)
{
    const amg_dtype expected = amg_infer_in(c, first)->dtype;
    amg_infer_out(c, 0)->dtype = dtype;
    for (int i = first; i < c->node->num_inputs; i++) {
        const amg_dtype found = amg_infer_in(c, i)->dtype;
        if (found != expected)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "operands are %s and %s, expected one type",
                                 amg_dtype_name(expected), amg_dtype_name(found));
    }
    return broadcast_shapes(c, dtype);
}

static amg_status infer_binary(const amg_infer *c)
{
    if (amg_infer_in(c, 0)->dtype == AMG_BOOL)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "operands are BOOL, expected numbers");
    return broadcast_inputs(c, 0, amg_infer_in(c, 0)->dtype);
}

/* An exponent may be of a type of its own. */
static amg_status infer_pow(const amg_infer *c)
{
    return broadcast_shapes(c, amg_infer_in(c, 0)->dtype);
}

static amg_status infer_test(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    if (!amg_dtype_is_float(x->dtype))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected floats", amg_dtype_name(x->dtype));
    amg_infer_set(c, 0, AMG_BOOL, x->rank, x->dims);
    return AMG_OK;
}

static amg_status infer_comparison(const amg_infer *c)
{
    return broadcast_inputs(c, 0, AMG_BOOL);
}

static amg_status expect_bool(const amg_infer *c, const char *what)
{
    const amg_dtype found = amg_infer_in(c, 0)->dtype;
    if (found == AMG_BOOL) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s is %s, expected BOOL", what,
                         amg_dtype_name(found));
}

/* Not, And, Or, Xor. */
static amg_status infer_logic(const amg_infer *c)
{
    amg_status s = expect_bool(c, "operand");
    return s ? s : broadcast_inputs(c, 0, AMG_BOOL);
}

static amg_status infer_where(const amg_infer *c)
{
    amg_status s = expect_bool(c, "condition");
    return s ? s : broadcast_inputs(c, 1, amg_infer_in(c, 1)->dtype);
}

static const amg_infer_fn rules[] = {
    [AMG_OP_CONV] = amg_infer_conv,
    [AMG_OP_BATCH_NORM] = amg_infer_batch_norm,
    [AMG_OP_RELU] = infer_same,
    [AMG_OP_LEAKY_RELU] = infer_same,
    [AMG_OP_CLIP] = infer_same,
    [AMG_OP_SIGMOID] = infer_same,
    [AMG_OP_TANH] = infer_same,
    [AMG_OP_MAX_POOL] = amg_infer_pool,
    [AMG_OP_AVERAGE_POOL] = amg_infer_pool,
    [AMG_OP_GLOBAL_AVERAGE_POOL] = amg_infer_global_pool,
    [AMG_OP_GLOBAL_MAX_POOL] = amg_infer_global_pool,
    [AMG_OP_LP_POOL] = amg_infer_pool,
    [AMG_OP_GLOBAL_LP_POOL] = amg_infer_global_pool,
    [AMG_OP_GEMM] = amg_infer_gemm,
    [AMG_OP_MAT_MUL] = amg_infer_mat_mul,
    [AMG_OP_EINSUM] = amg_infer_einsum,
    [AMG_OP_ADD] = infer_binary,
    [AMG_OP_SUB] = infer_binary,
    [AMG_OP_MUL] = infer_binary,
    [AMG_OP_DIV] = infer_binary,
    [AMG_OP_MAX] = infer_binary,
    [AMG_OP_MIN] = infer_binary,
    [AMG_OP_CONCAT] = amg_infer_concat,
    [AMG_OP_FLATTEN] = amg_infer_flatten,
    [AMG_OP_RESHAPE] = amg_infer_reshape,
    [AMG_OP_DROPOUT] = infer_same,
    [AMG_OP_BERNOULLI] = infer_random,
    [AMG_OP_RANDOM_UNIFORM_LIKE] = infer_random,
    [AMG_OP_RANDOM_NORMAL_LIKE] = infer_random,
    [AMG_OP_IDENTITY] = infer_same,
    [AMG_OP_STOP_GRADIENT] = infer_same,
    [AMG_OP_REDUCE_MEAN] = amg_infer_reduce,
    [AMG_OP_PAD] = amg_infer_pad,
    [AMG_OP_CENTER_CROP_PAD] = amg_infer_center_crop_pad,
    [AMG_OP_DEPTH_TO_SPACE] = amg_infer_depth_to_space,
    [AMG_OP_SPACE_TO_DEPTH] = amg_infer_depth_to_space,
    [AMG_OP_CONV_TRANSPOSE] = amg_infer_conv_transpose,
    [AMG_OP_DEFORM_CONV] = amg_infer_deform_conv,
    [AMG_OP_CAUSAL_CONV] = amg_infer_causal_conv,
    [AMG_OP_RESIZE] = amg_infer_resize,
    [AMG_OP_COL2IM] = amg_infer_col2im,
    [AMG_OP_GRID_SAMPLE] = amg_infer_grid_sample,
    [AMG_OP_AFFINE_GRID] = amg_infer_affine_grid,
    [AMG_OP_LSTM] = amg_infer_recurrent,
    [AMG_OP_GRU] = amg_infer_recurrent,
    [AMG_OP_RNN] = amg_infer_recurrent,
    [AMG_OP_INSTANCE_NORM] = amg_infer_channel_norm,
    [AMG_OP_GROUP_NORM] = amg_infer_channel_norm,
    [AMG_OP_ELU] = infer_same,
    [AMG_OP_CELU] = infer_celu,
    [AMG_OP_SELU] = infer_same,
    [AMG_OP_MISH] = infer_same,
    [AMG_OP_SOFTSIGN] = infer_same,
    [AMG_OP_SHRINK] = infer_same,
    [AMG_OP_THRESHOLDED_RELU] = infer_same,
    [AMG_OP_SOFTPLUS] = infer_same,
    [AMG_OP_HARD_SIGMOID] = infer_same,
    [AMG_OP_HARD_SWISH] = infer_same,
    [AMG_OP_PRELU] = amg_infer_prelu,
    [AMG_OP_GATHER] = amg_infer_gather,
    [AMG_OP_GATHER_ELEMENTS] = amg_infer_gather_elements,
    [AMG_OP_GATHER_ND] = amg_infer_gather_nd,
    [AMG_OP_SCATTER_ELEMENTS] = amg_infer_scatter,
    [AMG_OP_SCATTER_ND] = amg_infer_scatter,
    [AMG_OP_REVERSE_SEQUENCE] = amg_infer_reverse_sequence,
    [AMG_OP_ONE_HOT] = amg_infer_one_hot,
    [AMG_OP_EYE_LIKE] = amg_infer_eye_like,
    [AMG_OP_CAST] = infer_cast,
    [AMG_OP_SHAPE] = amg_infer_shape,
    [AMG_OP_SIZE] = amg_infer_size,
    [AMG_OP_SLICE] = amg_infer_slice,
    [AMG_OP_SQUEEZE] = amg_infer_squeeze,
    [AMG_OP_UNSQUEEZE] = amg_infer_unsqueeze,
    [AMG_OP_TRANSPOSE] = amg_infer_transpose,
    [AMG_OP_CONSTANT] = amg_infer_constant,
    [AMG_OP_CONSTANT_OF_SHAPE] = amg_infer_constant_of_shape,
    [AMG_OP_RANGE] = amg_infer_range,
    [AMG_OP_WHERE] = infer_where,
    [AMG_OP_EQUAL] = infer_comparison,
    [AMG_OP_IS_NAN] = infer_test,
    [AMG_OP_IS_INF] = infer_test,
    [AMG_OP_MOD] = infer_binary,
    [AMG_OP_TRILU] = infer_same,
    [AMG_OP_EXPAND] = amg_infer_expand,
    [AMG_OP_LAYER_NORM] = amg_infer_layer_norm,
    [AMG_OP_RMS_NORM] = amg_infer_layer_norm,
    [AMG_OP_LP_NORM] = amg_infer_softmax,
    [AMG_OP_LRN] = infer_same,
    [AMG_OP_MEAN_VARIANCE_NORM] = amg_infer_mean_variance,
    [AMG_OP_ATTENTION] = amg_infer_attention,
    [AMG_OP_ROTARY_EMBEDDING] = amg_infer_rotary,
    [AMG_OP_SOFTMAX] = amg_infer_softmax,
    [AMG_OP_LOG_SOFTMAX] = amg_infer_softmax,
    [AMG_OP_HARDMAX] = amg_infer_softmax,
    [AMG_OP_GELU] = infer_same,
    [AMG_OP_ERF] = infer_same,
    [AMG_OP_EXP] = infer_same,
    [AMG_OP_LOG] = infer_same,
    [AMG_OP_SQRT] = infer_same,
    [AMG_OP_NEG] = infer_same,
    [AMG_OP_ABS] = infer_same,
    [AMG_OP_SIGN] = infer_same,
    [AMG_OP_FLOOR] = infer_same,
    [AMG_OP_CEIL] = infer_same,
    [AMG_OP_ROUND] = infer_same,
    [AMG_OP_SIN] = infer_same,
    [AMG_OP_COS] = infer_same,
    [AMG_OP_TAN] = infer_same,
    [AMG_OP_ASIN] = infer_same,
    [AMG_OP_ACOS] = infer_same,
    [AMG_OP_ATAN] = infer_same,
    [AMG_OP_SINH] = infer_same,
    [AMG_OP_COSH] = infer_same,
    [AMG_OP_ASINH] = infer_same,
    [AMG_OP_ACOSH] = infer_same,
    [AMG_OP_ATANH] = infer_same,
    [AMG_OP_RECIPROCAL] = infer_same,
    [AMG_OP_POW] = infer_pow,
    [AMG_OP_SPLIT] = amg_infer_split,
    [AMG_OP_TILE] = amg_infer_tile,
    [AMG_OP_REDUCE_SUM] = amg_infer_reduce,
    [AMG_OP_REDUCE_MAX] = amg_infer_reduce,
    [AMG_OP_REDUCE_MIN] = amg_infer_reduce,
    [AMG_OP_REDUCE_PROD] = amg_infer_reduce,
    [AMG_OP_REDUCE_L1] = amg_infer_reduce,
    [AMG_OP_REDUCE_L2] = amg_infer_reduce,
    [AMG_OP_REDUCE_LOG_SUM] = amg_infer_reduce,
    [AMG_OP_REDUCE_LOG_SUM_EXP] = amg_infer_reduce,
    [AMG_OP_REDUCE_SUM_SQUARE] = amg_infer_reduce,
    [AMG_OP_ARG_MAX] = amg_infer_arg,
    [AMG_OP_ARG_MIN] = amg_infer_arg,
    [AMG_OP_TOP_K] = amg_infer_top_k,
    [AMG_OP_CUM_SUM] = amg_infer_cum_sum,
    [AMG_OP_CUM_PROD] = amg_infer_cum_sum,
    [AMG_OP_GREATER] = infer_comparison,
    [AMG_OP_LESS] = infer_comparison,
    [AMG_OP_GREATER_OR_EQUAL] = infer_comparison,
    [AMG_OP_LESS_OR_EQUAL] = infer_comparison,
    [AMG_OP_NOT] = infer_logic,
    [AMG_OP_AND] = infer_logic,
    [AMG_OP_OR] = infer_logic,
    [AMG_OP_XOR] = infer_logic,
};
_Static_assert(sizeof rules / sizeof rules[0] == AMG_OP_COUNT, "a rule per operator");

/* Number of inputs and outputs, and presence of the required ones. */
static amg_status check_arity(const amg_node *node, amg_error *err)
{
    const amg_op_info *op = amg_op_get(node->op);
    if (node->num_inputs < op->min_inputs ||
        (op->max_inputs >= 0 && node->num_inputs > op->max_inputs))
        return amg_node_fail(node, AMG_MISMATCH, err,
                             "has %d input%s, expected %d to %d (-1: any number)",
                             node->num_inputs, amg_plural(node->num_inputs),
                             op->min_inputs, op->max_inputs);
    if (node->num_outputs < op->min_outputs ||
        (op->max_outputs >= 0 && node->num_outputs > op->max_outputs))
        return amg_node_fail(node, AMG_MISMATCH, err,
                             "has %d output%s, expected %d to %d", node->num_outputs,
                             amg_plural(node->num_outputs), op->min_outputs,
                             op->max_outputs);
    for (int i = 0; i < node->num_inputs; i++)
        if (node->inputs[i] == AMG_NO_VALUE &&
            (i < op->min_inputs || op->max_inputs < 0))
            return amg_node_fail(node, AMG_MISMATCH, err, "input %d is missing", i);
    return AMG_OK;
}

/* Elements of every output can be counted, so that later products need no check. */
static amg_status check_size(const amg_infer *c)
{
    for (int i = 0; i < c->node->num_outputs; i++) {
        const amg_value *v = amg_infer_out(c, i);
        int64_t count = 1;
        for (int d = 0; d < v->rank; d++) {
            int64_t dim = v->dims[d] < 0 ? -v->dims[d] : v->dims[d];
            if (!amg_mul_i64(count, dim, &count))
                return amg_node_fail(c->node, AMG_OVERFLOW, c->err,
                                     "output %d has too many elements to count", i);
        }
    }
    return AMG_OK;
}

amg_status amg_infer_node(amg_value *values, const amg_node *node, amg_error *err)
{
    amg_infer c = {.values = values, .node = node, .err = err};
    for (int i = 0; i < node->num_outputs; i++) values[node->outputs[i]].rank = -1;
    amg_status s = check_arity(node, err);
    if (!s) s = rules[node->op](&c);
    return s ? s : check_size(&c);
}
