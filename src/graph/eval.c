/* See eval.h. Two kinds of operators: those that move elements (one strided walk or
 * block copies, for any dtype) and those that compute, element by element
 * (eval_number.h). */
#include "graph/eval_private.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"

static const amg_value *in_value(const amg_eval *e, int i)
{
    return &e->values[e->node->inputs[i]];
}

static const amg_tensor *in(const amg_eval *e, int i) { return &in_value(e, i)->data; }

static bool has_in(const amg_eval *e, int i)
{
    return i < e->node->num_inputs && e->node->inputs[i] != AMG_NO_VALUE;
}

/* Whether node may be evaluated with the batch among the elements of input i. */
static bool carries_batch(const amg_node *node, int i)
{
    switch (node->op) {
    case AMG_OP_CONCAT:
    case AMG_OP_ADD:
    case AMG_OP_SUB:
    case AMG_OP_MUL:
    case AMG_OP_DIV:
    case AMG_OP_EQUAL: return true;
    case AMG_OP_WHERE: return i > 0;
    case AMG_OP_CAST: return amg_attr_int(node, "to", 0) == amg_dtype_onnx(AMG_I64);
    case AMG_OP_IDENTITY:
    case AMG_OP_RESHAPE:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE:
    case AMG_OP_TRANSPOSE:
    case AMG_OP_GATHER:
    case AMG_OP_REDUCE_PROD:
    case AMG_OP_SLICE:
    case AMG_OP_SPLIT:
    case AMG_OP_TILE:
    case AMG_OP_EXPAND: return i == 0;
    default: return false;
    }
}

int64_t amg_eval_batches(int64_t v)
{
    const int64_t most = (int64_t)1 << 20;
    if (v >= 0 || v % AMG_EVAL_BATCH != 0 || v / AMG_EVAL_BATCH > most) return 0;
    return v / AMG_EVAL_BATCH;
}

bool amg_eval_has_batch(const amg_tensor *t)
{
    if (t->dtype != AMG_I64 || !t->data) return false;
    for (int64_t i = 0, n = amg_tensor_count(t); i < n; i++)
        if (amg_eval_batches(((const int64_t *)t->data)[i])) return true;
    return false;
}

bool amg_eval_reads_shape(amg_op op)
{
    return op == AMG_OP_SHAPE || op == AMG_OP_SIZE || op == AMG_OP_EYE_LIKE;
}

bool amg_eval_ready(const amg_value *values, const amg_node *node)
{
    if (!(amg_op_get(node->op)->flags & AMG_OP_F)) return false;
    for (int k = 0; k < node->num_outputs; k++) {
        const amg_value *out = &values[node->outputs[k]];
        if (out->rank < 0) return false;
        for (int i = 0; i < out->rank; i++)
            if (out->dims[i] < 0) return false;
    }
    if (amg_eval_reads_shape(node->op)) return true;
    for (int i = 0; i < node->num_inputs; i++) {
        if (node->inputs[i] == AMG_NO_VALUE) continue;
        const amg_tensor *t = &values[node->inputs[i]].data;
        if (!t->data || (!carries_batch(node, i) && amg_eval_has_batch(t)))
            return false;
    }
    return true;
}

/* ---- moving elements ---- */

/* Row-major strides in elements. */
void amg_eval_strides(const amg_tensor *t, int64_t *strides)
{
    int64_t s = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        strides[i] = s;
        s *= t->dims[i];
    }
}

/* Offset in a source, with one stride for each of out's dims, of out's element i. */
static int64_t offset_of(const amg_tensor *out, const int64_t *strides, int64_t i)
{
    int64_t offset = 0;
    for (int d = out->rank - 1; d >= 0; d--) {
        /* The analyser does not know that a rank is at most AMG_MAX_RANK. */
        offset += i % out->dims[d] * strides[d]; /* NOLINT(clang-analyzer-core.*) */
        i /= out->dims[d];
    }
    return offset;
}

/* Strides for reading t as if broadcast to out's shape. */
static void broadcast_strides(const amg_tensor *t, const amg_tensor *out,
                              int64_t *strides)
{
    int64_t own[AMG_MAX_RANK];
    amg_eval_strides(t, own);
    for (int d = 0; d < out->rank; d++) {
        int from = d - (out->rank - t->rank);
        strides[d] = from < 0 || t->dims[from] == 1 ? 0 : own[from];
    }
}

/* out[i] = t[base + offset(i)]. */
static void move(const amg_tensor *t, int64_t base, const int64_t *strides,
                 amg_tensor *out)
{
    size_t size = amg_dtype_size(out->dtype);
    for (int64_t i = 0, n = amg_tensor_count(out); i < n; i++)
        memcpy((char *)out->data + (size_t)i * size,
               (const char *)t->data +
                   (size_t)(base + offset_of(out, strides, i)) * size,
               size);
}

/* Same elements in the same order: Reshape and its relatives. */
static bool eval_same(const amg_eval *e)
{
    if (e->out->size_bytes) memcpy(e->out->data, in(e, 0)->data, e->out->size_bytes);
    return true;
}

static bool eval_expand(const amg_eval *e)
{
    int64_t strides[AMG_MAX_RANK] = {0};
    broadcast_strides(in(e, 0), e->out, strides);
    move(in(e, 0), 0, strides, e->out);
    return true;
}

/* Each dim begins again where the input's ends. */
static bool eval_tile(const amg_eval *e)
{
    const amg_tensor *x = in(e, 0);
    size_t size = amg_dtype_size(x->dtype);
    int64_t own[AMG_MAX_RANK] = {0};
    amg_eval_strides(x, own);
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++) {
        int64_t from = 0, rest = i;
        for (int d = x->rank - 1; d >= 0; d--) {
            from += rest % e->out->dims[d] % x->dims[d] * own[d];
            rest /= e->out->dims[d];
        }
        memcpy((char *)e->out->data + (size_t)i * size,
               (const char *)x->data + (size_t)from * size, size);
    }
    return true;
}

static bool eval_transpose(const amg_eval *e)
{
    const amg_tensor *x = in(e, 0);
    const amg_attr *perm = amg_attr_find(e->node, "perm");
    int64_t own[AMG_MAX_RANK] = {0}, strides[AMG_MAX_RANK] = {0};
    amg_eval_strides(x, own);
    for (int d = 0; d < x->rank; d++)
        strides[d] =
            own[perm && perm->kind == AMG_ATTR_INTS ? perm->ints[d] : x->rank - 1 - d];
    move(x, 0, strides, e->out);
    return true;
}

static bool eval_slice(const amg_eval *e)
{
    const amg_tensor *x = in(e, 0);
    int64_t start[AMG_MAX_RANK], axes[AMG_MAX_RANK], step[AMG_MAX_RANK];
    int64_t own[AMG_MAX_RANK], base = 0;
    int n, count;
    if (!amg_value_ints(in_value(e, 1), AMG_MAX_RANK, start, &n)) return false;
    for (int i = 0; i < n; i++) {
        axes[i] = i;
        step[i] = 1;
    }
    if (has_in(e, 3) && !amg_value_ints(in_value(e, 3), AMG_MAX_RANK, axes, &count))
        return false;
    if (has_in(e, 4) && !amg_value_ints(in_value(e, 4), AMG_MAX_RANK, step, &count))
        return false;
    if (amg_tensor_count(e->out) == 0) return true;
    amg_eval_strides(x, own);
    for (int i = 0; i < n; i++) {
        int axis = amg_axis_find(axes[i], x->rank);
        int64_t dim = x->dims[axis];
        if (start[i] < 0) start[i] = start[i] < -dim ? 0 : start[i] + dim;
        if (start[i] > dim - 1) start[i] = dim - 1;
        base += start[i] * own[axis];
        /* One element has no next one, and its step may be any number. */
        own[axis] = e->out->dims[axis] > 1 ? own[axis] * step[i] : 0;
    }
    move(x, base, own, e->out);
    return true;
}

/* The upper or lower triangle of matrices, from diagonal k; zeros elsewhere. */
static bool eval_trilu(const amg_eval *e)
{
    const amg_tensor *x = in(e, 0);
    const bool upper = amg_attr_int(e->node, "upper", 1) != 0;
    const size_t size = amg_dtype_size(x->dtype);
    int64_t k = 0;
    int count;
    if (x->rank < 2 || (has_in(e, 1) && !amg_value_ints(in_value(e, 1), 1, &k, &count)))
        return false;
    const int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    for (int64_t i = 0, n = amg_tensor_count(x); i < n; i++) {
        const int64_t above = i % columns - i / columns % rows; /* the diagonal */
        if (upper ? above >= k : above <= k)
            memcpy((char *)e->out->data + (size_t)i * size,
                   (const char *)x->data + (size_t)i * size, size);
    }
    return true;
}

static bool eval_split(const amg_eval *e)
{
    const amg_tensor *x = in(e, 0);
    int axis = amg_axis_find(amg_attr_int(e->node, "axis", 0), x->rank);
    int64_t own[AMG_MAX_RANK] = {0}, start = 0;
    amg_eval_strides(x, own);
    for (int i = 0; i < e->which; i++)
        start += e->values[e->node->outputs[i]].dims[axis];
    move(x, start * own[axis], own, e->out);
    return true;
}

static bool eval_gather(const amg_eval *e)
{
    const amg_tensor *x = in(e, 0), *index = in(e, 1);
    int axis = amg_axis_find(amg_attr_int(e->node, "axis", 0), x->rank);
    size_t inner = amg_dtype_size(x->dtype);
    int64_t outer = 1, n = x->dims[axis], count = amg_tensor_count(index);
    for (int i = 0; i < axis; i++) outer *= x->dims[i];
    for (int i = axis + 1; i < x->rank; i++) inner *= (size_t)x->dims[i];
    char *to = e->out->data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < count; i++, to += inner) {
            int64_t at = index->dtype == AMG_I64 ? ((const int64_t *)index->data)[i]
                                                 : ((const int32_t *)index->data)[i];
            if (at < 0) at += n;
            if (at < 0 || at >= n) return false;
            memcpy(to, (const char *)x->data + (size_t)(o * n + at) * inner, inner);
        }
    return true;
}

static bool eval_concat(const amg_eval *e)
{
    const amg_tensor *out = e->out;
    int axis = amg_axis_find(amg_attr_int(e->node, "axis", 0), out->rank);
    size_t inner = amg_dtype_size(out->dtype);
    int64_t outer = 1;
    for (int i = 0; i < axis; i++) outer *= out->dims[i];
    for (int i = axis + 1; i < out->rank; i++) inner *= (size_t)out->dims[i];
    char *to = out->data;
    for (int64_t o = 0; o < outer; o++)
        for (int i = 0; i < e->node->num_inputs; i++) {
            size_t bytes = (size_t)in(e, i)->dims[axis] * inner;
            if (bytes)
                memcpy(to, (const char *)in(e, i)->data + (size_t)o * bytes, bytes);
            to += bytes;
        }
    return true;
}

static bool eval_where(const amg_eval *e)
{
    size_t size = amg_dtype_size(e->out->dtype);
    int64_t strides[3][AMG_MAX_RANK];
    for (int i = 0; i < 3; i++) broadcast_strides(in(e, i), e->out, strides[i]);
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++) {
        const uint8_t *condition = in(e, 0)->data;
        int from = condition[offset_of(e->out, strides[0], i)] ? 1 : 2;
        memcpy((char *)e->out->data + (size_t)i * size,
               (const char *)in(e, from)->data +
                   (size_t)offset_of(e->out, strides[from], i) * size,
               size);
    }
    return true;
}

/* ---- computing ---- */

static bool eval_cast(const amg_eval *e)
{
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++) {
        amg_number v;
        if (!amg_number_load(in(e, 0), i, &v) || !amg_number_store(e->out, i, v))
            return false;
    }
    return true;
}

bool amg_eval_holds(amg_op op, amg_number a, amg_number b, amg_number c)
{
    int64_t na = amg_eval_batches(a.i), nb = amg_eval_batches(b.i);
    if (a.is_float || (na == 0 && nb == 0)) return true;
    if (op == AMG_OP_EQUAL) return (na && nb) || (na ? b.i : a.i) <= 0;
    if (op == AMG_OP_DIV && !na) return false;
    return amg_eval_batches(c.i) || (c.i >= 0 && c.i < -AMG_EVAL_BATCH / 2);
}

static bool eval_unary(const amg_eval *e)
{
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++) {
        amg_number v;
        if (!amg_number_load(in(e, 0), i, &v) || !amg_number_unary(e->node, &v) ||
            !amg_number_store(e->out, i, v))
            return false;
    }
    return true;
}

static bool eval_binary(const amg_eval *e)
{
    int64_t sa[AMG_MAX_RANK], sb[AMG_MAX_RANK];
    broadcast_strides(in(e, 0), e->out, sa);
    broadcast_strides(in(e, 1), e->out, sb);
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++) {
        amg_number a, b, c;
        if (!amg_number_load(in(e, 0), offset_of(e->out, sa, i), &a) ||
            !amg_number_load(in(e, 1), offset_of(e->out, sb, i), &b) ||
            !amg_number_binary(e->node, a, b, &c) ||
            !amg_eval_holds(e->node->op, a, b, c) || !amg_number_store(e->out, i, c))
            return false;
    }
    return true;
}

/* Of floats; whole numbers are clipped by Max and Min. */
static bool eval_clip(const amg_eval *e)
{
    amg_number low = {.is_float = true, .f = -INFINITY}, high = {.f = INFINITY}, v;
    if ((has_in(e, 1) && !amg_number_load(in(e, 1), 0, &low)) ||
        (has_in(e, 2) && !amg_number_load(in(e, 2), 0, &high)))
        return false;
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++) {
        if (!amg_number_load(in(e, 0), i, &v) || !v.is_float) return false;
        if (v.f < low.f) v.f = low.f;
        if (v.f > high.f) v.f = high.f;
        if (!amg_number_store(e->out, i, v)) return false;
    }
    return true;
}

/* ---- making constants ---- */

static bool eval_shape(const amg_eval *e)
{
    const amg_value *x = in_value(e, 0);
    int64_t begin = amg_attr_int(e->node, "start", 0);
    if (begin < 0) begin = begin + x->rank < 0 ? 0 : begin + x->rank;
    for (int64_t i = 0; i < e->out->dims[0]; i++) {
        int64_t dim = x->dims[begin + i];
        ((int64_t *)e->out->data)[i] = dim < 0 ? -dim * AMG_EVAL_BATCH : dim;
    }
    return true;
}

static bool eval_size(const amg_eval *e)
{
    const amg_value *x = in_value(e, 0);
    int64_t count;
    bool batch;
    if (!amg_dims_product(x->dims, x->rank, &count, &batch)) return false;
    if (batch && !amg_mul_i64(count, AMG_EVAL_BATCH, &count)) return false;
    *(int64_t *)e->out->data = count;
    return true;
}

static bool eval_constant(const amg_eval *e)
{
    const amg_attr *a = &e->node->attrs[0];
    const void *from = a->kind == AMG_ATTR_TENSOR   ? a->tensor.data
                       : a->kind == AMG_ATTR_INT    ? (const void *)&a->i
                       : a->kind == AMG_ATTR_FLOAT  ? (const void *)&a->f
                       : a->kind == AMG_ATTR_INTS   ? (const void *)a->ints
                       : a->kind == AMG_ATTR_FLOATS ? (const void *)a->floats
                                                    : NULL;
    if (e->out->size_bytes == 0) return true;
    if (!from) return false;
    memcpy(e->out->data, from, e->out->size_bytes);
    return true;
}

static bool eval_constant_of_shape(const amg_eval *e)
{
    const amg_attr *value = amg_attr_find(e->node, "value");
    size_t size = amg_dtype_size(e->out->dtype);
    if (!value || value->kind != AMG_ATTR_TENSOR) return true; /* zeros */
    if (value->tensor.size_bytes != size || !value->tensor.data) return false;
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++)
        memcpy((char *)e->out->data + (size_t)i * size, value->tensor.data, size);
    return true;
}

static bool eval_eye_like(const amg_eval *e)
{
    const int64_t k = amg_attr_int(e->node, "k", 0), columns = e->out->dims[1];
    const amg_number one = {
        .is_float = amg_dtype_is_float(e->out->dtype), .i = 1, .f = 1};
    for (int64_t i = 0; i < e->out->dims[0]; i++)
        if (k >= -i && k < columns - i &&
            !amg_number_store(e->out, i * columns + i + k, one))
            return false;
    return true;
}

static bool eval_range(const amg_eval *e)
{
    amg_number start, delta;
    if (!amg_number_load(in(e, 0), 0, &start) || !amg_number_load(in(e, 2), 0, &delta))
        return false;
    for (int64_t i = 0; i < e->out->dims[0]; i++) {
        const amg_number v = {.is_float = start.is_float,
                              .i = start.i + i * delta.i,
                              .f = start.f + (double)i * delta.f};
        if (!amg_number_store(e->out, i, v)) return false;
    }
    return true;
}

bool amg_eval_node(const amg_value *values, const amg_node *node, int which,
                   amg_tensor *out)
{
    amg_eval e = {.values = values, .node = node, .which = which, .out = out};
    switch (node->op) {
    case AMG_OP_IDENTITY:
    case AMG_OP_RESHAPE:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE: return eval_same(&e);
    case AMG_OP_EXPAND: return eval_expand(&e);
    case AMG_OP_TILE: return eval_tile(&e);
    case AMG_OP_TRANSPOSE: return eval_transpose(&e);
    case AMG_OP_SLICE: return eval_slice(&e);
    case AMG_OP_SPLIT: return eval_split(&e);
    case AMG_OP_GATHER: return eval_gather(&e);
    case AMG_OP_CONCAT: return eval_concat(&e);
    case AMG_OP_WHERE: return eval_where(&e);
    case AMG_OP_CAST: return eval_cast(&e);
    case AMG_OP_CLIP: return eval_clip(&e);
    case AMG_OP_REDUCE_SUM:
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN:
    case AMG_OP_REDUCE_PROD:
    case AMG_OP_REDUCE_L1:
    case AMG_OP_REDUCE_L2:
    case AMG_OP_REDUCE_LOG_SUM:
    case AMG_OP_REDUCE_LOG_SUM_EXP:
    case AMG_OP_REDUCE_SUM_SQUARE: return amg_eval_reduce(&e);
    case AMG_OP_GATHER_ELEMENTS:
    case AMG_OP_GATHER_ND: return amg_eval_gather_index(&e);
    case AMG_OP_CUM_SUM:
    case AMG_OP_CUM_PROD: return amg_eval_cumulative(&e);
    case AMG_OP_ARG_MAX:
    case AMG_OP_ARG_MIN: return amg_eval_arg(&e);
    case AMG_OP_TRILU: return eval_trilu(&e);
    case AMG_OP_SHAPE: return eval_shape(&e);
    case AMG_OP_SIZE: return eval_size(&e);
    case AMG_OP_CONSTANT: return eval_constant(&e);
    case AMG_OP_CONSTANT_OF_SHAPE: return eval_constant_of_shape(&e);
    case AMG_OP_EYE_LIKE: return eval_eye_like(&e);
    case AMG_OP_RANGE: return eval_range(&e);
    default: break;
    }
    if (amg_number_is_binary(node->op)) return eval_binary(&e);
    return amg_number_is_unary(node->op) && eval_unary(&e);
}
