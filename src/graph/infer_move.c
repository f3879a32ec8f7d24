/* Shape rules of operators that move, cut or sum along axes: Concat, Gather, Slice,
 * Pad, Split, Tile, the Reduce… family, ArgMax, CumSum. */
#include <string.h>

#include "base/checked.h"
#include "graph/eval.h"
#include "graph/infer.h"
#include "graph/pad_mode.h"

#define AMG_MAX_SPLIT 256 /* parts */

amg_status amg_infer_concat(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t dims[AMG_MAX_RANK];
    amg_infer_out(c, 0)->dtype = x->dtype;
    for (int i = 0; i < c->node->num_inputs; i++)
        if (amg_infer_in(c, i)->rank < 0) return AMG_OK;
    int axis = amg_axis_find(amg_attr_int(c->node, "axis", INT64_MIN), x->rank);
    if (axis < 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "axis is missing or out of range for rank %d", x->rank);
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = 0;
    for (int i = 0; i < c->node->num_inputs; i++) {
        const amg_value *v = amg_infer_in(c, i);
        bool fits = v->rank == x->rank && v->dtype == x->dtype;
        for (int d = 0; d < x->rank && fits; d++)
            fits = d == axis || v->dims[d] == x->dims[d];
        if (!fits) {
            char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "input %d is %s, which does not join %s on axis %d", i,
                                 amg_shape_text(v->dtype, v->rank, v->dims, a),
                                 amg_shape_text(x->dtype, x->rank, x->dims, b), axis);
        }
        if (v->dims[axis] < 0) return AMG_OK;
        if (!amg_add_i64(dims[axis], v->dims[axis], &dims[axis]))
            return amg_node_fail(c->node, AMG_OVERFLOW, c->err, "too many elements");
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}

/* Every constant index must be in [-n, n). */
static amg_status check_indices(const amg_infer *c, const amg_value *index, int64_t n)
{
    if (index->kind != AMG_VALUE_PARAM || !index->data.data || n < 0) return AMG_OK;
    int64_t count = amg_tensor_count(&index->data);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = index->dtype == AMG_I64 ? ((const int64_t *)index->data.data)[i]
                                             : ((const int32_t *)index->data.data)[i];
        if (at < -n || at >= n)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "index %lld at %lld is out of range for a dim of %lld",
                                 (long long)at, (long long)i, (long long)n);
    }
    return AMG_OK;
}

amg_status amg_infer_gather(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *index = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (index->dtype != AMG_I64 && index->dtype != AMG_I32)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "index is %s, expected I64 or I32",
                             amg_dtype_name(index->dtype));
    if (x->rank < 0 || index->rank < 0) return AMG_OK;
    int axis = amg_axis_find(amg_attr_int(c->node, "axis", 0), x->rank);
    if (axis < 0 || x->rank - 1 + index->rank > AMG_MAX_RANK)
        return amg_node_fail(c->node, axis < 0 ? AMG_MISMATCH : AMG_UNSUPPORTED, c->err,
                             "axis %lld with data of rank %d and index of rank %d",
                             (long long)amg_attr_int(c->node, "axis", 0), x->rank,
                             index->rank);
    amg_status s = check_indices(c, index, x->dims[axis]);
    if (s) return s;

    int64_t dims[AMG_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < axis; i++) dims[rank++] = x->dims[i];
    for (int i = 0; i < index->rank; i++) dims[rank++] = index->dims[i];
    for (int i = axis + 1; i < x->rank; i++) dims[rank++] = x->dims[i];
    amg_infer_set(c, 0, x->dtype, rank, dims);
    return AMG_OK;
}

/* Length of [start:end:step] over n elements, as ONNX clamps it. */
static int64_t slice_length(int64_t n, int64_t start, int64_t end, int64_t step)
{
    if (start < 0) start = start < -n ? -1 : start + n;
    if (end < 0) end = end < -n ? -1 : end + n;
    if (step > 0) {
        if (start < 0) start = 0;
        if (end < 0) end = 0;
        if (end > n) end = n;
        return end > start ? (end - start - 1) / step + 1 : 0;
    }
    if (start > n - 1) start = n - 1;
    if (end > n - 1) end = n - 1;
    return start > end ? (start - end - 1) / -step + 1 : 0;
}

amg_status amg_infer_slice(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t start[AMG_MAX_RANK], end[AMG_MAX_RANK], axes[AMG_MAX_RANK];
    int64_t step[AMG_MAX_RANK], dims[AMG_MAX_RANK];
    int n, count;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 || !amg_value_ints(amg_infer_in(c, 1), AMG_MAX_RANK, start, &n) ||
        !amg_value_ints(amg_infer_in(c, 2), AMG_MAX_RANK, end, &count))
        return AMG_OK;
    for (int i = 0; i < n; i++) {
        axes[i] = i;
        step[i] = 1;
    }
    int num_axes = n, num_steps = n;
    if ((amg_infer_find_in(c, 3) &&
         !amg_value_ints(amg_infer_find_in(c, 3), AMG_MAX_RANK, axes, &num_axes)) ||
        (amg_infer_find_in(c, 4) &&
         !amg_value_ints(amg_infer_find_in(c, 4), AMG_MAX_RANK, step, &num_steps)))
        return AMG_OK;
    if (count != n || num_axes != n || num_steps != n)
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err,
            "starts, ends, axes and steps have %d, %d, %d and %d entries", n, count,
            num_axes, num_steps);
    memcpy(dims, x->dims, sizeof dims);
    unsigned seen = 0;
    for (int i = 0; i < n; i++) {
        int axis = amg_axis_find(axes[i], x->rank);
        if (axis < 0 || seen >> axis & 1 || step[i] == 0 || step[i] == INT64_MIN)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "axis %lld, step %lld on rank %d", (long long)axes[i],
                                 (long long)step[i], x->rank);
        seen |= 1u << axis;
        if (dims[axis] >= 0)
            dims[axis] = slice_length(x->dims[axis], start[i], end[i], step[i]);
        else if (start[i] != 0 || end[i] < INT32_MAX || step[i] != 1)
            return AMG_OK; /* part of a batch that is not planned yet */
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}

amg_status amg_infer_pad(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t pads[2 * AMG_MAX_RANK], axes[AMG_MAX_RANK], dims[AMG_MAX_RANK];
    int count, num_axes;
    const char *mode = amg_attr_string(c->node, "mode", "constant");
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (amg_pad_mode_find(mode) == AMG_PAD_UNKNOWN)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "mode is \"%.40s\", which ONNX has not", mode);
    if (x->rank < 0 ||
        !amg_value_ints(amg_infer_in(c, 1), 2 * AMG_MAX_RANK, pads, &count))
        return AMG_OK;
    num_axes = x->rank;
    for (int i = 0; i < x->rank; i++) axes[i] = i;
    if (amg_infer_find_in(c, 3) &&
        !amg_value_ints(amg_infer_find_in(c, 3), AMG_MAX_RANK, axes, &num_axes))
        return AMG_OK;
    if (count != 2 * num_axes)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%d pads, expected %d",
                             count, 2 * num_axes);
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 0; i < num_axes; i++) {
        int axis = amg_axis_find(axes[i], x->rank);
        int64_t before = pads[i], after = pads[num_axes + i];
        if (before == 0 && after == 0 && axis >= 0) continue;
        if (axis < 0 || dims[axis] < 0 ||
            !amg_add_i64(dims[axis], before, &dims[axis]) ||
            !amg_add_i64(dims[axis], after, &dims[axis]) || dims[axis] < 0)
            return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                                 "pads axis %lld by %lld and %lld", (long long)axes[i],
                                 (long long)before, (long long)after);
        if (x->dims[axis] == 0 && amg_pad_mode_find(mode) != AMG_PAD_CONSTANT)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "mode \"%s\" has no elements to repeat on axis %d",
                                 mode, axis);
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}

/* Sizes are input 1, or all parts are equal. */
amg_status amg_infer_split(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *given = amg_infer_find_in(c, 1);
    const int parts = c->node->num_outputs;
    int64_t dims[AMG_MAX_RANK], sizes[AMG_MAX_SPLIT];
    int count = parts;
    for (int i = 0; i < parts; i++) amg_infer_out(c, i)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    int axis = amg_axis_find(amg_attr_int(c->node, "axis", 0), x->rank);
    if (axis < 0 || parts > AMG_MAX_SPLIT)
        return amg_node_fail(c->node, axis < 0 ? AMG_MISMATCH : AMG_UNSUPPORTED, c->err,
                             "axis %lld of %d dim%s into %d parts, at most %d",
                             (long long)amg_attr_int(c->node, "axis", 0), x->rank,
                             amg_plural(x->rank), parts, AMG_MAX_SPLIT);
    int64_t total = 0, dim = x->dims[axis];
    if (dim < 0) return AMG_OK;
    if (given && !amg_value_ints(given, AMG_MAX_SPLIT, sizes, &count)) return AMG_OK;
    for (int i = 0; i < count; i++) {
        if (!given) sizes[i] = dim / parts;
        if (sizes[i] < 0 || !amg_add_i64(total, sizes[i], &total)) total = -1;
        if (total < 0) break;
    }
    if (count != parts || total != dim)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "%d size%s, %lld in all, expected %d part%s of %lld",
                             count, amg_plural(count), (long long)total, parts,
                             amg_plural(parts), (long long)dim);
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 0; i < parts; i++) {
        dims[axis] = sizes[i];
        amg_infer_set(c, i, x->dtype, x->rank, dims);
    }
    return AMG_OK;
}

amg_status amg_infer_tile(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t repeats[AMG_MAX_RANK], dims[AMG_MAX_RANK];
    int count;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 ||
        !amg_value_ints(amg_infer_in(c, 1), AMG_MAX_RANK, repeats, &count))
        return AMG_OK;
    if (count != x->rank)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%d repeat%s for %d dim%s",
                             count, amg_plural(count), x->rank, amg_plural(x->rank));
    for (int i = 0; i < x->rank; i++) {
        dims[i] = x->dims[i];
        if (repeats[i] == 1) continue;
        if (dims[i] < 0) return AMG_OK; /* not planned yet */
        if (repeats[i] < 0 || !amg_mul_i64(dims[i], repeats[i], &dims[i]))
            return amg_node_fail(c->node, AMG_MISMATCH, c->err, "repeats[%d] is %lld",
                                 i, (long long)repeats[i]);
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}

bool amg_op_reduces(amg_op op)
{
    switch (op) {
    case AMG_OP_REDUCE_MEAN:
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN:
    case AMG_OP_REDUCE_PROD:
    case AMG_OP_REDUCE_L1:
    case AMG_OP_REDUCE_L2:
    case AMG_OP_REDUCE_LOG_SUM:
    case AMG_OP_REDUCE_LOG_SUM_EXP:
    case AMG_OP_REDUCE_SUM_SQUARE: return true;
    default: return false;
    }
}

amg_status amg_infer_reduce(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    unsigned mask;
    bool known, keep = amg_attr_int(c->node, "keepdims", 1) != 0;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    amg_status s = amg_infer_axes(c, 1, x->rank, &mask, &known);
    if (s || !known) return s;
    if (mask == 0 && amg_attr_int(c->node, "noop_with_empty_axes", 0) == 0)
        mask = (1u << x->rank) - 1;
    int64_t dims[AMG_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        if (!(mask >> i & 1))
            dims[rank++] = x->dims[i];
        else if (keep)
            dims[rank++] = 1;
    }
    amg_infer_set(c, 0, x->dtype, rank, dims);
    return AMG_OK;
}

amg_status amg_infer_arg(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const int64_t given = amg_attr_int(c->node, "axis", 0);
    amg_infer_out(c, 0)->dtype = AMG_I64;
    if (x->rank < 0) return AMG_OK;
    const int axis = amg_axis_find(given, x->rank);
    if (axis < 0 || x->dims[axis] == 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "axis %lld is empty or out of range for rank %d",
                             (long long)given, x->rank);
    const bool keep = amg_attr_int(c->node, "keepdims", 1) != 0;
    int64_t dims[AMG_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (i != axis || keep) dims[rank++] = i == axis ? 1 : x->dims[i];
    amg_infer_set(c, 0, AMG_I64, rank, dims);
    return AMG_OK;
}

amg_status amg_infer_top_k(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const int64_t given = amg_attr_int(c->node, "axis", -1);
    int64_t dims[AMG_MAX_RANK], k;
    int count;
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_infer_out(c, 1)->dtype = AMG_I64;
    if (x->rank < 0 || !amg_value_shape(amg_infer_in(c, 1), 1, &k, &count))
        return AMG_OK;
    const int axis = amg_axis_find(given, x->rank);
    if (amg_eval_batches(k)) { /* a sort of samples, where they are counted so */
        k = -amg_eval_batches(k);
        if (axis < 0 || x->dims[axis] != k) return AMG_OK;
    } else if (axis < 0 || count != 1 || k < 1 || x->dims[axis] < k)
        return amg_node_fail(
            c->node, axis >= 0 && x->dims[axis] < 0 ? AMG_UNSUPPORTED : AMG_MISMATCH,
            c->err,
            "%lld elements along axis %lld of %d dims, expected 1 to "
            "as many as there are",
            (long long)k, (long long)given, x->rank);
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = k;
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    amg_infer_set(c, 1, AMG_I64, x->rank, dims);
    return AMG_OK;
}

amg_status amg_infer_cum_sum(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t axis;
    int count;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (amg_value_ints(amg_infer_in(c, 1), 1, &axis, &count) &&
        (count != 1 || amg_axis_find(axis, x->rank) < 0))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "axis %lld is out of range for rank %d",
                             count == 1 ? (long long)axis : -1LL, x->rank);
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}
