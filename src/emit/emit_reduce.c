/* Forms of reductions, and of what runs along one axis: CumSum, CumProd,
 * ArgMax, ArgMin. */
#include "emit/emit_ops.h"

/* The text between the operand and the axes, and what follows the closing bracket. */
typedef struct {
    const char *call, *after;
} reduction;

static reduction find_reduction(amg_op op)
{
    switch (op) {
    case AMG_OP_REDUCE_MEAN: return (reduction){"%0.mean(", ""};
    case AMG_OP_REDUCE_MAX: return (reduction){"%0.amax(", ""};
    case AMG_OP_REDUCE_MIN: return (reduction){"%0.amin(", ""};
    case AMG_OP_REDUCE_L1: return (reduction){"%0.abs().sum(", ""};
    case AMG_OP_REDUCE_L2: return (reduction){"torch.linalg.vector_norm(%0, 2, ", ""};
    case AMG_OP_REDUCE_LOG_SUM: return (reduction){"%0.sum(", ".log()"};
    case AMG_OP_REDUCE_LOG_SUM_EXP: return (reduction){"torch.logsumexp(%0, ", ""};
    case AMG_OP_REDUCE_SUM_SQUARE: return (reduction){"%0.square().sum(", ""};
    default: return (reduction){"%0.sum(", ""};
    }
}

/* PyTorch multiplies along one axis at a time. */
static void product(amg_emit *e, const amg_emit_step *s, int count, const int64_t *axes,
                    bool keep)
{
    amg_emit_operand(e, s, 0);
    for (int i = count - 1; i >= 0; i--)
        amg_text_add(&e->out, keep ? ".prod(%lld, keepdim=True)" : ".prod(%lld)",
                     (long long)axes[i]);
}

amg_status amg_emit_reduce(amg_emit *e, const amg_emit_step *s)
{
    int rank = amg_emit_in(e, s, 0)->rank, count;
    int64_t axes[AMG_MAX_RANK];
    if (rank < 0) return amg_emit_fail(e, s, "input's shape is not known");
    amg_status st = amg_emit_axes(e, s, 1, rank, axes, &count);
    if (st) return st;
    if (count == 0 && amg_attr_int(s->node, "noop_with_empty_axes", 0) != 0) {
        amg_emit_operand(e, s, 0);
        return AMG_OK;
    }
    if (count == 0)
        for (; count < rank; count++) axes[count] = count;
    const bool keep = amg_attr_int(s->node, "keepdims", 1) != 0;
    if (s->node->op == AMG_OP_REDUCE_PROD) {
        product(e, s, count, axes, keep);
        return AMG_OK;
    }
    const reduction r = find_reduction(s->node->op);
    amg_emit_format(e, s, r.call);
    amg_text_tuple(&e->out, count, axes);
    if (s->node->op == AMG_OP_REDUCE_SUM && amg_emit_in(e, s, 0)->dtype == AMG_I32)
        amg_text_add(&e->out, ", dtype=torch.int32"); /* else PyTorch's is an int64 */
    amg_text_add(&e->out, keep ? ", keepdim=True)%s" : ")%s", r.after);
    return AMG_OK;
}

/* PyTorch takes the first of equals: the last is the first from the end. */
amg_status amg_emit_arg(amg_emit *e, const amg_emit_step *s)
{
    const bool last = amg_attr_int(s->node, "select_last_index", 0) != 0;
    const bool keep = amg_attr_int(s->node, "keepdims", 1) != 0;
    const amg_value *x = amg_emit_in(e, s, 0);
    int64_t axis = amg_attr_int(s->node, "axis", 0);
    if (axis < 0 && x->rank < 0)
        return amg_emit_fail(e, s, "axis %lld of an unknown shape", (long long)axis);
    if (axis < 0) axis += x->rank;
    if (last) {
        amg_emit_format(e, s, "%0.shape[");
        amg_text_add(&e->out, "%lld] - 1 - ", (long long)axis);
    }
    amg_emit_format(
        e, s, s->node->op == AMG_OP_ARG_MAX ? "torch.argmax(%0" : "torch.argmin(%0");
    if (last) amg_text_add(&e->out, ".flip(%lld)", (long long)axis);
    amg_text_add(&e->out, ", %lld%s)", (long long)axis, keep ? ", keepdim=True" : "");
    return AMG_OK;
}

amg_status amg_emit_top_k(amg_emit *e, const amg_emit_step *s)
{
    const amg_node *n = s->node;
    int64_t k;
    int count;
    if (!amg_emit_ints(amg_emit_in(e, s, 1), 1, &k, &count))
        return amg_emit_fail(e, s, "expected a constant number");
    amg_emit_format(e, s, "torch.topk(%0, ");
    amg_text_add(&e->out, "%lld, %lld%s)", (long long)k,
                 (long long)amg_attr_int(n, "axis", -1),
                 amg_attr_int(n, "largest", 1) ? "" : ", largest=False");
    return AMG_OK;
}

amg_status amg_emit_cumulative(amg_emit *e, const amg_emit_step *s)
{
    const bool exclusive = amg_attr_int(s->node, "exclusive", 0) != 0;
    const bool reverse = amg_attr_int(s->node, "reverse", 0) != 0;
    const bool product = s->node->op == AMG_OP_CUM_PROD;
    const int rank = amg_emit_in(e, s, 0)->rank;
    int64_t axis, shift[2 * AMG_MAX_RANK] = {0};
    int count;
    if (rank < 1 || !amg_emit_ints(amg_emit_in(e, s, 1), 1, &axis, &count))
        return amg_emit_fail(e, s, "expected a constant axis of a known shape");
    if (axis < 0) axis += rank;
    const int last = 2 * (rank - 1 - (int)axis); /* F.pad names the last dim first */
    shift[last] = 1;
    shift[last + 1] = -1;
    if (exclusive) amg_text_add(&e->out, "F.pad(");
    amg_emit_operand(e, s, 0);
    if (reverse) amg_text_add(&e->out, ".flip(%lld)", (long long)axis);
    if (exclusive) {
        amg_text_add(&e->out, ", ");
        amg_text_tuple(&e->out, last + 2, shift);
        amg_text_add(&e->out, product ? ", value=1)" : ")");
    }
    amg_text_add(&e->out, product ? ".cumprod(%lld)" : ".cumsum(%lld)",
                 (long long)axis);
    if (reverse) amg_text_add(&e->out, ".flip(%lld)", (long long)axis);
    return AMG_OK;
}
