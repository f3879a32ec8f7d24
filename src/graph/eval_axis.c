/* See eval.h: what runs along axes or takes elements by index. Reductions, CumSum,
 * CumProd, ArgMax, ArgMin, GatherElements and GatherND. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/eval_private.h"
#include "graph/index_offsets.h"
#include "graph/infer.h"

/* Where element i of x goes, with a stride for each of its dims. */
static int64_t place_of(const amg_tensor *x, const int64_t *strides, int64_t i)
{
    int64_t to = 0;
    for (int d = x->rank - 1; d >= 0; d--) {
        to += i % x->dims[d] * strides[d];
        i /= x->dims[d];
    }
    return to;
}

/* A bit per axis that the node runs over; 0: not known. */
static unsigned find_axes(const amg_eval *e, int rank)
{
    const amg_node *n = e->node;
    const amg_attr *attr = amg_attr_find(n, "axes");
    int64_t buffer[AMG_MAX_RANK];
    const int64_t *axes = attr ? attr->ints : buffer;
    int count = attr ? attr->count : 0;
    unsigned mask = 0;
    if (n->num_inputs > 1 && n->inputs[1] != AMG_NO_VALUE &&
        !amg_value_ints(&e->values[n->inputs[1]], AMG_MAX_RANK, buffer, &count))
        return 0;
    for (int i = 0; i < count; i++) mask |= 1u << amg_axis_find(axes[i], rank);
    return count ? mask : (1u << rank) - 1;
}

static bool combine(amg_op op, amg_number a, amg_number b, amg_number *out)
{
    const bool larger = a.is_float ? b.f > a.f : b.i > a.i;
    switch (op) {
    case AMG_OP_REDUCE_MAX: *out = larger ? b : a; return true;
    case AMG_OP_REDUCE_MIN: *out = larger ? a : b; return true;
    case AMG_OP_REDUCE_PROD:
        return amg_number_binary(&(amg_node){.op = AMG_OP_MUL}, a, b, out) &&
               amg_eval_holds(AMG_OP_MUL, a, b, *out);
    default: return amg_number_binary(&(amg_node){.op = AMG_OP_ADD}, a, b, out);
    }
}

/* What a reduction makes of no elements; of whole numbers Max and Min have the type's
 * own end, which only bools have here. */
static bool of_nothing(const amg_eval *e)
{
    const bool whole = !amg_dtype_is_float(e->out->dtype);
    amg_number v = {.is_float = !whole};
    switch (e->node->op) {
    case AMG_OP_REDUCE_PROD:
        v.i = 1;
        v.f = 1;
        break;
    case AMG_OP_REDUCE_MIN:
        v.i = 1;
        v.f = (double)INFINITY;
        break;
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_LOG_SUM:
    case AMG_OP_REDUCE_LOG_SUM_EXP: v.f = -(double)INFINITY; break;
    case AMG_OP_REDUCE_SUM:
    case AMG_OP_REDUCE_L1:
    case AMG_OP_REDUCE_L2:
    case AMG_OP_REDUCE_SUM_SQUARE: break;
    default: return false;
    }
    if (whole && isinf(v.f) && e->out->dtype != AMG_BOOL) return false;
    for (int64_t i = 0, n = amg_tensor_count(e->out); i < n; i++)
        if (!amg_number_store(e->out, i, v)) return false;
    return true;
}

static bool folds(amg_op op)
{
    return op == AMG_OP_REDUCE_MAX || op == AMG_OP_REDUCE_MIN ||
           op == AMG_OP_REDUCE_SUM || op == AMG_OP_REDUCE_PROD;
}

bool amg_eval_reduce(const amg_eval *e)
{
    const amg_tensor *x = &e->values[e->node->inputs[0]].data;
    const amg_op op = e->node->op;
    const bool keeps = op == AMG_OP_REDUCE_MAX || op == AMG_OP_REDUCE_MIN;
    int64_t strides[AMG_MAX_RANK] = {0}, next = 1, count = amg_tensor_count(x);
    const unsigned mask = find_axes(e, x->rank);
    if (mask == 0 && x->rank > 0) return false;
    if (count == 0) return of_nothing(e);
    if (x->dtype == AMG_F32 || !folds(op)) return false;
    for (int d = x->rank - 1; d >= 0; d--) {
        /* The analyser does not know that a rank is at most AMG_MAX_RANK. */
        if (mask >> d & 1) continue; /* NOLINT(clang-analyzer-core.*) */
        strides[d] = next;
        next *= x->dims[d];
    }
    amg_number a, b;
    for (int64_t i = 0; i < count; i++) { /* where each result begins */
        if (!amg_number_load(x, i, &b)) return false;
        if (!keeps) b.f = (double)(b.i = op == AMG_OP_REDUCE_PROD);
        if (!amg_number_store(e->out, place_of(x, strides, i), b)) return false;
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t to = place_of(x, strides, i);
        if (!amg_number_load(x, i, &b) || !amg_number_load(e->out, to, &a) ||
            !combine(op, a, b, &a) || !amg_number_store(e->out, to, a))
            return false;
    }
    return true;
}

/* Positions are counted so, from a mask. */
bool amg_eval_cumulative(const amg_eval *e)
{
    const amg_tensor *x = &e->values[e->node->inputs[0]].data;
    const bool exclusive = amg_attr_int(e->node, "exclusive", 0) != 0;
    const bool reverse = amg_attr_int(e->node, "reverse", 0) != 0;
    const bool product = e->node->op == AMG_OP_CUM_PROD;
    const amg_op join = product ? AMG_OP_MUL : AMG_OP_ADD;
    int64_t axis, strides[AMG_MAX_RANK] = {0}, count = amg_tensor_count(x);
    int n;
    if (x->dtype == AMG_F32 ||
        !amg_value_ints(&e->values[e->node->inputs[1]], 1, &axis, &n))
        return false;
    axis = amg_axis_find(axis, x->rank);
    amg_eval_strides(x, strides);
    const int64_t step = reverse ? -strides[axis] : strides[axis];
    for (int64_t k = 0; k < count; k++) {
        const int64_t i = reverse ? count - 1 - k : k, from = i - step;
        const int64_t at = i / strides[axis] % x->dims[axis];
        amg_number a = {.i = product, .f = product}, b;
        if (!amg_number_load(x, i, &b)) return false;
        a.is_float = b.is_float;
        if (at != (reverse ? x->dims[axis] - 1 : 0)) {
            if (!amg_number_load(e->out, from, &a)) return false;
            if (exclusive && !amg_number_load(x, from, &b)) return false;
        } else if (exclusive) {
            b = a;
        }
        if (!amg_number_binary(&(amg_node){.op = join}, a, b, &a) ||
            !amg_number_store(e->out, i, a))
            return false;
    }
    return true;
}

/* The first, or last, of the largest, or smallest, along the axis. */
bool amg_eval_arg(const amg_eval *e)
{
    const amg_tensor *x = &e->values[e->node->inputs[0]].data;
    const bool least = e->node->op == AMG_OP_ARG_MIN;
    const bool last = amg_attr_int(e->node, "select_last_index", 0) != 0;
    const int axis = amg_axis_find(amg_attr_int(e->node, "axis", 0), x->rank);
    int64_t strides[AMG_MAX_RANK] = {0};
    amg_eval_strides(x, strides);
    const int64_t inner = strides[axis], size = x->dims[axis];
    for (int64_t r = 0, lines = amg_tensor_count(x) / size; r < lines; r++) {
        const int64_t first = r / inner * inner * size + r % inner;
        int64_t best = 0;
        amg_number a = {0}, b;
        for (int64_t i = 0; i < size; i++) {
            if (!amg_number_load(x, first + i * inner, &b)) return false;
            const bool more = b.is_float ? b.f > a.f : b.i > a.i;
            const bool less = b.is_float ? b.f < a.f : b.i < a.i;
            if (i > 0 && (least ? !less : !more) && !(last && !more && !less)) continue;
            best = i;
            a = b;
        }
        ((int64_t *)e->out->data)[r] = best;
    }
    return true;
}

bool amg_eval_gather_index(const amg_eval *e)
{
    const amg_tensor *x = &e->values[e->node->inputs[0]].data;
    const amg_tensor *index = &e->values[e->node->inputs[1]].data;
    amg_index where;
    amg_index_init(&where, e->node, x->rank, x->dims, index->rank, index->dims);
    int64_t *at = amg_calloc((size_t)where.count + 1, sizeof *at), wrong;
    const bool ok =
        at && amg_index_offsets(&where, index->data, index->dtype, at, &wrong);
    const size_t size = amg_dtype_size(x->dtype), bytes = size * (size_t)where.inner;
    for (int64_t i = 0; ok && i < where.count; i++)
        memcpy((char *)e->out->data + (size_t)i * bytes,
               (const char *)x->data + (size_t)at[i] * size, bytes);
    amg_free(at);
    return ok;
}
