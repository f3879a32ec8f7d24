/* Forms of what takes or puts elements by an index tensor, and Trilu. */
#include <string.h>

#include "emit/emit_ops.h"

/* PyTorch's gather and scatter know no entries that count from the end. */
static void add_entries(amg_emit *e, const amg_emit_step *s, int64_t axis)
{
    const amg_value *index = amg_emit_in(e, s, 1);
    bool negative = index->kind != AMG_VALUE_PARAM || index->dtype != AMG_I64;
    const int64_t *entries = index->data.data;
    for (int64_t i = 0; !negative && i < amg_tensor_count(&index->data); i++)
        negative = entries[i] < 0;
    if (!negative) {
        amg_emit_operand(e, s, 1);
        return;
    }
    amg_emit_format(e, s, "%1.remainder(%0.shape[");
    amg_text_add(&e->out, "%lld]).long()", (long long)axis);
}

static bool find_axis(const amg_emit *e, const amg_emit_step *s, int64_t *axis)
{
    const int rank = amg_emit_in(e, s, 0)->rank;
    *axis = amg_attr_int(s->node, "axis", 0);
    if (*axis < 0) *axis += rank;
    return rank > 0 && *axis >= 0;
}

amg_status amg_emit_gather_elements(amg_emit *e, const amg_emit_step *s)
{
    int64_t axis;
    if (!find_axis(e, s, &axis)) return amg_emit_fail(e, s, "its shape is not known");
    amg_emit_format(e, s, "torch.gather(%0, ");
    amg_text_add(&e->out, "%lld, ", (long long)axis);
    add_entries(e, s, axis);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* The index's last row as an index each; of a batch dim, all of it in front of them. */
amg_status amg_emit_gather_nd(amg_emit *e, const amg_emit_step *s)
{
    const int64_t batch = amg_attr_int(s->node, "batch_dims", 0);
    const int rank = amg_emit_in(e, s, 1)->rank;
    if (batch > 1 || rank < 1) return amg_emit_fail(e, s, "has several batch dims");
    if (batch == 0) {
        amg_emit_format(e, s, "%0[%1.long().unbind(-1)]");
        return AMG_OK;
    }
    amg_emit_format(e, s, "%0[(torch.arange(%0.shape[0], device=%0.device).reshape(-1");
    for (int i = 0; i < rank - 2; i++) amg_text_add(&e->out, ", 1");
    amg_emit_format(e, s, "), *%1.long().unbind(-1))]");
    return AMG_OK;
}

/* scatter_reduce's name of a reduction; NULL: none is needed. */
static const char *reduction_of(const amg_node *n)
{
    const char *how = amg_attr_string(n, "reduction", "none");
    return strcmp(how, "mul") == 0   ? "prod"
           : strcmp(how, "max") == 0 ? "amax"
           : strcmp(how, "min") == 0 ? "amin"
                                     : NULL;
}

/* As one row of elements, by the offsets of all that the index names. */
static void scatter_flat(amg_emit *e, const amg_emit_step *s, const char *reduction)
{
    const amg_value *x = amg_emit_in(e, s, 0), *index = amg_emit_in(e, s, 1);
    const int k = (int)index->dims[index->rank - 1];
    int64_t inner = 1, stride[AMG_MAX_RANK], next = 1;
    for (int d = x->rank - 1; d >= 0; d--) {
        if (d == k - 1) inner = next;
        stride[d] = next;
        next *= x->dims[d];
    }
    amg_emit_format(e, s, "%0.flatten().scatter_reduce(0, ((%1.long().remainder(");
    amg_text_add(&e->out, "torch.tensor([");
    amg_emit_dims(e, k, x->dims, false);
    amg_emit_format(e, s, "], device=%0.device)) * torch.tensor([");
    amg_emit_dims(e, k, stride, false);
    amg_emit_format(e, s, "], device=%0.device)).sum(-1, keepdim=True) + ");
    amg_text_add(&e->out, "torch.arange(%lld, ", (long long)inner);
    amg_emit_format(e, s, "device=%0.device)).flatten(), %2.flatten(), ");
    amg_text_add(&e->out, "\"%s\")", reduction);
    amg_emit_format(e, s, ".reshape(%0.shape)");
}

amg_status amg_emit_scatter(amg_emit *e, const amg_emit_step *s)
{
    const bool adds = strcmp(amg_attr_string(s->node, "reduction", "none"), "add") == 0;
    const char *reduction = reduction_of(s->node);
    int64_t axis;
    if (s->node->op == AMG_OP_SCATTER_ND) {
        if (reduction) {
            scatter_flat(e, s, reduction);
            return AMG_OK;
        }
        amg_emit_format(e, s, "%0.index_put(%1.long().unbind(-1), %2");
        amg_text_add(&e->out, adds ? ", accumulate=True)" : ")");
        return AMG_OK;
    }
    if (!find_axis(e, s, &axis)) return amg_emit_fail(e, s, "its shape is not known");
    amg_emit_format(e, s,
                    reduction ? "%0.scatter_reduce("
                    : adds    ? "%0.scatter_add("
                              : "%0.scatter(");
    amg_text_add(&e->out, "%lld, ", (long long)axis);
    add_entries(e, s, axis);
    amg_emit_format(e, s, ", %2");
    if (reduction) amg_text_add(&e->out, ", \"%s\"", reduction);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_trilu(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *given = amg_emit_in(e, s, 1);
    int64_t k = 0;
    int count;
    if (given && !amg_emit_ints(given, 1, &k, &count))
        return amg_emit_fail(e, s, "its diagonal is not constant");
    amg_emit_format(
        e, s, amg_attr_int(s->node, "upper", 1) ? "torch.triu(%0" : "torch.tril(%0");
    if (k) amg_text_add(&e->out, ", %lld", (long long)k);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}
