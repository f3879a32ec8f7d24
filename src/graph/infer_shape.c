/* Shape rules of operators that rename, read or make shapes: Reshape and its relatives,
 * Shape, and the makers of constants. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "graph/eval.h"
#include "graph/eval_number.h"
#include "graph/infer.h"

static amg_status too_many_dims(const amg_infer *c, int64_t rank)
{
    return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err, "%lld dims, at most %d",
                         (long long)rank, AMG_MAX_RANK);
}

/* Product of dims as one dim, negative if the batch is in it. */
static bool merge_dims(const int64_t *dims, int rank, int64_t *out)
{
    bool batch;
    if (!amg_dims_product(dims, rank, out, &batch)) return false;
    if (batch) *out = -*out;
    return true;
}

amg_status amg_infer_flatten(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    int64_t axis = amg_attr_int(c->node, "axis", 1), out[2];
    if (axis < -x->rank || axis > x->rank)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "axis %lld is out of range for rank %d", (long long)axis,
                             x->rank);
    int split = (int)(axis < 0 ? axis + x->rank : axis);
    if (merge_dims(x->dims, split, &out[0]) &&
        merge_dims(x->dims + split, x->rank - split, &out[1]))
        amg_infer_set(c, 0, x->dtype, 2, out);
    return AMG_OK;
}

/* Solves a Reshape target. dims: the target with 0 replaced by the input's dims (so
 * the batch may stand in it); free_at: where the target says -1, or -1.
 *
 * With an unplanned batch the product of the others, P, must come out:
 *   [B, 3, -1]   P/3 at the free place
 *   [-1, 512]    the free place is P/512 times the batch
 *   [1, 512]     a number first, where the input has the batch, and the rest makes P:
 *                an exporter baked its batch in
 *   [1, -1]      likewise; of samples in several rows, [B*4, 16], also [7, -1], which
 *                makes rows of samples again, and [7, -1, 64], unless 7 divides the 4
 *   [7, -1, 64]  else the free place has the batch
 * Anything else is unknown until the batch is planned. */
typedef enum { SOLVED, UNKNOWN, CONTRADICTION } solution;

/* Whether a target's number in front is a batch that an exporter baked in, of a free
 * place behind it. */
static bool bakes(const amg_value *x, const int64_t *dims, int rank)
{
    const int64_t rows = -x->dims[0]; /* of a sample */
    return x->dims[0] == AMG_DIM_BATCH ||
           (rows > 1 && dims[0] > 0 &&
            (rank == 2 || dims[0] == 1 || rows % dims[0] != 0));
}

static solution solve(const amg_value *x, int64_t *dims, int rank, int free_at)
{
    int64_t total, rest;
    bool x_batch, batch;
    if (free_at >= 0) dims[free_at] = 1;
    if (!amg_dims_product(x->dims, x->rank, &total, &x_batch)) return UNKNOWN;
    if (!amg_dims_product(dims, rank, &rest, &batch)) return CONTRADICTION;

    bool fits = rest > 0 && total % rest == 0;
    if (x_batch == batch) {
        if (free_at < 0) return rest == total ? SOLVED : CONTRADICTION;
        if (!fits) return CONTRADICTION;
        dims[free_at] = total / rest;
        return SOLVED;
    }
    if (free_at == 0 || (free_at > 0 && x_batch && !bakes(x, dims, rank))) {
        if (!x_batch || !fits) return UNKNOWN;
        dims[free_at] = -(total / rest);
        return SOLVED;
    }
    int64_t tail = 1;
    if (rank < 1 || dims[0] < 1 || !amg_dims_count(dims + 1, rank - 1, &tail) ||
        tail < 1 || total % tail != 0 || (free_at < 0 && tail != total))
        return UNKNOWN;
    dims[0] = AMG_DIM_BATCH;
    if (free_at > 0) dims[free_at] = total / tail;
    return SOLVED;
}

amg_status amg_infer_reshape(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t target[AMG_MAX_RANK], dims[AMG_MAX_RANK];
    int rank, free_at = -1;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (amg_infer_in(c, 1)->rank == 1 && amg_infer_in(c, 1)->dims[0] > AMG_MAX_RANK)
        return too_many_dims(c, amg_infer_in(c, 1)->dims[0]);
    if (x->rank < 0 ||
        !amg_value_shape(amg_infer_in(c, 1), AMG_MAX_RANK, target, &rank))
        return AMG_OK;

    bool allow_zero = amg_attr_int(c->node, "allowzero", 0) != 0;
    for (int i = 0; i < rank; i++) {
        dims[i] = target[i];
        if (target[i] == 0 && !allow_zero) {
            if (i >= x->rank)
                return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                     "shape[%d] is 0, but the input has %d dim%s", i,
                                     x->rank, amg_plural(x->rank));
            dims[i] = x->dims[i];
        } else if (target[i] == -1 && free_at < 0) {
            free_at = i;
        } else if (amg_eval_batches(target[i])) {
            dims[i] = -amg_eval_batches(target[i]);
        } else if (target[i] < 0) {
            return amg_node_fail(c->node, AMG_MISMATCH, c->err, "shape[%d] is %lld", i,
                                 (long long)target[i]);
        }
    }
    switch (solve(x, dims, rank, free_at)) {
    case SOLVED: amg_infer_set(c, 0, x->dtype, rank, dims); return AMG_OK;
    case UNKNOWN: return AMG_OK;
    case CONTRADICTION: break;
    }
    char found[AMG_SHAPE_TEXT], wanted[AMG_SHAPE_TEXT];
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s does not reshape to %s",
                         amg_shape_text(x->dtype, x->rank, x->dims, found),
                         amg_shape_text(x->dtype, rank, target, wanted));
}

amg_status amg_infer_squeeze(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    unsigned mask;
    bool known = false;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    amg_status s = amg_infer_axes(c, 1, x->rank, &mask, &known);
    if (s || !known) return s;
    int64_t dims[AMG_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        bool drop = mask ? mask >> i & 1 : x->dims[i] == 1;
        if (drop && x->dims[i] != 1)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "dim %d is %lld, expected 1", i,
                                 (long long)x->dims[i]);
        if (!drop) dims[rank++] = x->dims[i];
    }
    amg_infer_set(c, 0, x->dtype, rank, dims);
    return AMG_OK;
}

amg_status amg_infer_unsqueeze(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *axes = amg_infer_find_in(c, 1);
    const amg_attr *attr = amg_infer_attr_ints(c, "axes");
    unsigned mask;
    bool known = false;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 || (axes && axes->rank < 0)) return AMG_OK;
    int64_t added =
        axes ? (axes->rank == 0 ? 1 : axes->dims[0]) : (attr ? attr->count : 0);
    if (added < 0 || added > AMG_MAX_RANK - x->rank)
        return too_many_dims(c, x->rank + added);
    int rank = x->rank + (int)added;
    amg_status s = amg_infer_axes(c, 1, rank, &mask, &known);
    if (s || !known) return s;
    int64_t dims[AMG_MAX_RANK];
    for (int i = 0, from = 0; i < rank; i++)
        dims[i] = mask >> i & 1 ? 1 : x->dims[from++];
    amg_infer_set(c, 0, x->dtype, rank, dims);
    return AMG_OK;
}

amg_status amg_infer_transpose(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const amg_attr *perm = amg_infer_attr_ints(c, "perm");
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    int64_t dims[AMG_MAX_RANK];
    unsigned seen = 0;
    for (int i = 0; i < x->rank; i++) {
        int64_t from = !perm ? x->rank - 1 - i : i < perm->count ? perm->ints[i] : -1;
        if (from < 0 || from >= x->rank || seen >> from & 1)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "perm is not a permutation of %d axes", x->rank);
        seen |= 1u << from;
        dims[i] = x->dims[from];
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}

/* Dims from a shape: each >= 0, or one of them with the batch in it; *known false: the
 * batch is in several. Fails naming the first that is negative. */
static amg_status make_dims(const amg_infer *c, int64_t *dims, int rank, bool *known)
{
    int num_batches = 0;
    for (int i = 0; i < rank; i++) {
        if (amg_eval_batches(dims[i])) {
            dims[i] = -amg_eval_batches(dims[i]);
            num_batches++;
        } else if (dims[i] < 0) {
            return amg_node_fail(c->node, AMG_MISMATCH, c->err, "shape[%d] is %lld", i,
                                 (long long)dims[i]);
        }
    }
    *known = num_batches < 2;
    return AMG_OK;
}

amg_status amg_infer_expand(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t target[AMG_MAX_RANK];
    int rank;
    amg_infer_out(c, 0)->dtype = x->dtype;
    bool known = false;
    if (x->rank < 0 ||
        !amg_value_shape(amg_infer_in(c, 1), AMG_MAX_RANK, target, &rank))
        return AMG_OK;
    amg_status s = make_dims(c, target, rank, &known);
    if (s || !known) return s;
    bool batch = false; /* where x may have the number that an exporter baked in */
    for (int i = 0; i < rank; i++) batch |= target[i] < 0;
    if (!amg_dims_broadcast(target, &rank, x->dims, x->rank)) {
        if (batch) return AMG_OK;
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "%s does not expand to the given shape",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    }
    amg_infer_set(c, 0, x->dtype, rank, target);
    return AMG_OK;
}

amg_status amg_infer_shape(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = AMG_I64;
    if (x->rank < 0) return AMG_OK;
    int64_t begin = amg_attr_int(c->node, "start", 0);
    int64_t end = amg_attr_int(c->node, "end", x->rank);
    if (begin < 0) begin = begin + x->rank < 0 ? 0 : begin + x->rank;
    if (end < 0) end += x->rank;
    if (end > x->rank) end = x->rank;
    amg_infer_set(c, 0, AMG_I64, 1, (int64_t[]){end > begin ? end - begin : 0});
    return AMG_OK;
}

/* Known, as its value, once the shape is. */
amg_status amg_infer_size(const amg_infer *c)
{
    amg_infer_out(c, 0)->dtype = AMG_I64;
    if (amg_infer_in(c, 0)->rank >= 0) amg_infer_set(c, 0, AMG_I64, 0, NULL);
    return AMG_OK;
}

amg_status amg_infer_constant(const amg_infer *c)
{
    const amg_attr *a = c->node->num_attrs == 1 ? &c->node->attrs[0] : NULL;
    if (a && a->kind == AMG_ATTR_TENSOR) {
        amg_infer_set(c, 0, a->tensor.dtype, a->tensor.rank, a->tensor.dims);
    } else if (a && (a->kind == AMG_ATTR_INT || a->kind == AMG_ATTR_FLOAT)) {
        amg_infer_set(c, 0, a->kind == AMG_ATTR_INT ? AMG_I64 : AMG_F32, 0, NULL);
    } else if (a && (a->kind == AMG_ATTR_INTS || a->kind == AMG_ATTR_FLOATS)) {
        amg_infer_set(c, 0, a->kind == AMG_ATTR_INTS ? AMG_I64 : AMG_F32, 1,
                      (int64_t[]){a->count});
    } else {
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "has no tensor, number or list of numbers as its value");
    }
    return AMG_OK;
}

amg_status amg_infer_constant_of_shape(const amg_infer *c)
{
    const amg_attr *value = amg_attr_find(c->node, "value");
    int64_t dims[AMG_MAX_RANK];
    int rank;
    amg_dtype dtype =
        value && value->kind == AMG_ATTR_TENSOR ? value->tensor.dtype : AMG_F32;
    amg_infer_out(c, 0)->dtype = dtype;
    bool known = false;
    if (!amg_value_shape(amg_infer_in(c, 0), AMG_MAX_RANK, dims, &rank)) return AMG_OK;
    amg_status s = make_dims(c, dims, rank, &known);
    if (!s && known) amg_infer_set(c, 0, dtype, rank, dims);
    return s;
}

amg_status amg_infer_eye_like(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const int64_t to = amg_attr_int(c->node, "dtype", 0);
    amg_dtype dtype = x->dtype;
    if (to) dtype = to > 0 && to < 64 ? amg_dtype_find_onnx((int)to) : AMG_DTYPE_NONE;
    if (dtype == AMG_DTYPE_NONE || (x->rank >= 0 && x->rank != 2))
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "makes ONNX element type %lld of %d dims, expected a "
                             "number type and 2",
                             (long long)to, x->rank);
    amg_infer_out(c, 0)->dtype = dtype;
    if (x->rank == 2) amg_infer_set(c, 0, dtype, 2, x->dims);
    return AMG_OK;
}

/* ceil((limit - start) / delta) numbers, worked out in float64. */
static amg_status range_of_floats(const amg_infer *c)
{
    amg_number v[3];
    for (int i = 0; i < 3; i++) {
        const amg_value *in = amg_infer_in(c, i);
        if (in->kind != AMG_VALUE_PARAM || !in->data.data ||
            amg_tensor_count(&in->data) != 1 || !amg_number_load(&in->data, 0, &v[i]))
            return AMG_OK;
    }
    const double count = ceil((v[1].f - v[0].f) / v[2].f);
    if (!(count < 0x1p31)) /* nor is it a NaN */
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "range %g..%g by %g is not finite, or of more than 2^31",
                             v[0].f, v[1].f, v[2].f);
    amg_infer_set(c, 0, amg_infer_in(c, 0)->dtype, 1,
                  (int64_t[]){count > 0 ? (int64_t)count : 0});
    return AMG_OK;
}

static amg_status range_of_ints(const amg_infer *c)
{
    int64_t v[3], span;
    int n;
    for (int i = 0; i < 3; i++)
        if (!amg_value_shape(amg_infer_in(c, i), 1, &v[i], &n) || n != 1) return AMG_OK;
    const int64_t batches = amg_eval_batches(v[1]);
    if (batches && v[0] == 0 && v[2] == 1)
        amg_infer_set(c, 0, amg_infer_in(c, 0)->dtype, 1, (int64_t[]){-batches});
    if (batches || amg_eval_batches(v[0]) || amg_eval_batches(v[2])) return AMG_OK;
    if (v[2] == 0 || __builtin_sub_overflow(v[1], v[0], &span) || v[2] == INT64_MIN)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "range %lld..%lld by %lld is not finite", (long long)v[0],
                             (long long)v[1], (long long)v[2]);
    int64_t step = v[2] < 0 ? -v[2] : v[2];
    if (v[2] < 0) span = span == INT64_MIN ? INT64_MAX : -span;
    amg_infer_set(c, 0, amg_infer_in(c, 0)->dtype, 1,
                  (int64_t[]){span > 0 ? (span - 1) / step + 1 : 0});
    return AMG_OK;
}

amg_status amg_infer_range(const amg_infer *c)
{
    const amg_dtype dtype = amg_infer_in(c, 0)->dtype;
    amg_infer_out(c, 0)->dtype = dtype;
    for (int i = 1; i < 3; i++)
        if (amg_infer_in(c, i)->dtype != dtype)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "start, limit and delta differ in type");
    return dtype == AMG_F32 || dtype == AMG_F64 ? range_of_floats(c) : range_of_ints(c);
}
