/* Forms of operators that move values without arithmetic: shapes, slices, joins. */
#include <string.h>

#include "emit/emit_ops.h"
#include "graph/pad_mode.h"

amg_status amg_emit_reshape(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *x = amg_emit_in(e, s, 0), *out = amg_emit_result(e, s);
    int64_t target[AMG_MAX_RANK];
    int rank;
    if (x->kind == AMG_VALUE_INPUT && out->rank == 2 && out->dims[0] == AMG_DIM_BATCH) {
        amg_emit_format(e, s, "%0.flatten(1)");
        return AMG_OK;
    }
    amg_emit_format(e, s, "%0.reshape(");
    if (out->rank >= 0) {
        if (out->rank == 0) amg_text_add(&e->out, "()");
        amg_emit_dims(e, out->rank, out->dims, true);
    } else {
        /* The batch and another dim in one: the shape is known while running only. */
        if (!amg_emit_ints(amg_emit_in(e, s, 1), AMG_MAX_RANK, target, &rank))
            return amg_emit_fail(e, s, "the shape is not constant");
        for (int i = 0; i < rank; i++) {
            amg_text_add(&e->out, i ? ", " : "");
            if (target[i] == 0 && amg_attr_int(s->node, "allowzero", 0) == 0) {
                amg_emit_operand(e, s, 0);
                amg_text_add(&e->out, ".shape[%d]", i);
            } else {
                amg_text_add(&e->out, "%lld", (long long)target[i]);
            }
        }
    }
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_flatten(amg_emit *e, const amg_emit_step *s)
{
    int rank = amg_emit_in(e, s, 0)->rank;
    int64_t axis = amg_attr_int(s->node, "axis", 1);
    if (axis < 0 && rank < 0)
        return amg_emit_fail(e, s, "axis %lld of an unknown shape", (long long)axis);
    if (axis < 0) axis += rank;
    if (axis == 0)
        amg_emit_format(e, s, "%0.reshape(1, -1)");
    else if (axis == rank)
        amg_emit_format(e, s, "%0.reshape(-1, 1)");
    else if (axis == 1)
        amg_emit_format(e, s, "torch.flatten(%0, 1)");
    else {
        amg_emit_format(e, s, "%0.flatten(");
        amg_text_add(&e->out, "%lld).flatten(0, %lld)", (long long)axis,
                     (long long)axis - 1);
    }
    return AMG_OK;
}

/* Squeeze and Unsqueeze, an axis at a time (PyTorch 1.13 has no more). */
amg_status amg_emit_squeeze(amg_emit *e, const amg_emit_step *s)
{
    bool add = s->node->op == AMG_OP_UNSQUEEZE;
    const amg_value *x = amg_emit_in(e, s, 0), *out = amg_emit_result(e, s);
    int64_t axes[AMG_MAX_RANK];
    int count, rank = add ? out->rank : x->rank;
    if (rank < 0) return amg_emit_fail(e, s, "the shape is not known");
    amg_status st = amg_emit_axes(e, s, 1, rank, axes, &count);
    if (st) return st;
    if (count == 0 && !add)
        for (int i = 0; i < rank; i++)
            if (x->dims[i] == 1) axes[count++] = i;
    amg_emit_operand(e, s, 0);
    for (int i = 0; i < count; i++)
        amg_text_add(&e->out, add ? ".unsqueeze(%lld)" : ".squeeze(%lld)",
                     (long long)axes[add ? i : count - 1 - i]);
    return AMG_OK;
}

amg_status amg_emit_transpose(amg_emit *e, const amg_emit_step *s)
{
    const amg_attr *perm = amg_attr_find(s->node, "perm");
    int rank = amg_emit_result(e, s)->rank;
    if (perm && perm->kind == AMG_ATTR_INTS) rank = perm->count;
    if (rank < 0) return amg_emit_fail(e, s, "the shape is not known");
    amg_emit_format(e, s, "%0.permute(");
    for (int i = 0; i < rank; i++)
        amg_text_add(&e->out, "%s%lld", i ? ", " : "",
                     perm ? (long long)perm->ints[i] : rank - 1LL - i);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_expand(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *out = amg_emit_result(e, s);
    if (out->rank < 0) return amg_emit_fail(e, s, "the shape is not known");
    amg_emit_format(e, s, "%0.expand(");
    amg_emit_dims(e, out->rank, out->dims, false);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* What a ConstantOfShape is filled with, as Python writes it; false: in a type that is
 * not read. */
static bool add_filling(amg_emit *e, const amg_attr *value)
{
    if (!value) {
        amg_text_float(&e->out, 0);
        return true;
    }
    if (value->kind != AMG_ATTR_TENSOR) return false;
    const void *data = value->tensor.data;
    switch (value->tensor.dtype) {
    case AMG_F32: amg_text_float(&e->out, *(const float *)data); return true;
    case AMG_I64:
        amg_text_add(&e->out, "%lld", (long long)*(const int64_t *)data);
        return true;
    case AMG_BOOL:
        amg_text_add(&e->out, *(const uint8_t *)data ? "True" : "False");
        return true;
    default: return false;
    }
}

/* As many of one number as the result has, which may depend on the batch. */
amg_status amg_emit_constant_of_shape(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *out = amg_emit_result(e, s);
    if (out->rank < 0) return amg_emit_fail(e, s, "the shape is not known");
    amg_text_add(&e->out, "%s.new_full((", e->g->values[e->g->inputs[0]].name);
    amg_emit_dims(e, out->rank, out->dims, false);
    amg_text_add(&e->out, out->rank == 1 ? ",), " : "), ");
    if (!add_filling(e, amg_attr_find(s->node, "value")))
        return amg_emit_fail(e, s, "its value is no F32, I64 or BOOL number");
    amg_text_add(&e->out, ", dtype=torch.%s)", amg_emit_dtype(out->dtype));
    return AMG_OK;
}

/* The samples' own numbers, 0, 1 …: all others are folded. */
amg_status amg_emit_range(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *out = amg_emit_result(e, s);
    if (out->rank < 0)
        return amg_emit_fail(e, s, "the number of elements is not known");
    amg_text_add(&e->out, "torch.arange(");
    amg_emit_dims(e, 1, out->dims, false);
    amg_text_add(&e->out, ", dtype=torch.%s, device=%s.device)",
                 amg_emit_dtype(out->dtype), e->g->values[e->g->inputs[0]].name);
    return AMG_OK;
}

/* The repeats follow from the two shapes; where the batch is in them, as a multiple. */
amg_status amg_emit_tile(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *x = amg_emit_in(e, s, 0), *out = amg_emit_result(e, s);
    int64_t repeats[AMG_MAX_RANK];
    if (x->rank < 0 || out->rank != x->rank)
        return amg_emit_fail(e, s, "the shape is not known");
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] == 0 || out->dims[i] % x->dims[i] != 0)
            return amg_emit_fail(e, s, "dim %d is no multiple of the input's", i);
        repeats[i] = out->dims[i] / x->dims[i];
    }
    amg_emit_format(e, s, "%0.repeat(");
    amg_emit_dims(e, x->rank, repeats, false);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* Whether the step makes a row of several outputs. */
static bool makes_row(const amg_emit *e, const amg_emit_step *s)
{
    bool output = false;
    for (int i = 0; i < e->g->num_outputs && e->rows; i++)
        output |= amg_emit_result(e, s) == &e->g->values[e->g->outputs[i]];
    return output;
}

amg_status amg_emit_concat(amg_emit *e, const amg_emit_step *s)
{
    const bool row = makes_row(e, s);
    amg_text_add(&e->out, "torch.cat((");
    for (int i = 0; i < s->num_inputs; i++) {
        if (i) amg_text_add(&e->out, ", ");
        if (row) amg_text_add(&e->out, "apart(");
        amg_emit_operand(e, s, i);
        if (row) amg_text_add(&e->out, ")");
    }
    amg_text_add(&e->out, "%s), %lld)", s->num_inputs == 1 ? "," : "",
                 (long long)amg_attr_int(s->node, "axis", 0));
    return AMG_OK;
}

amg_status amg_emit_split(amg_emit *e, const amg_emit_step *s)
{
    int64_t axis = amg_attr_int(s->node, "axis", 0), sizes[AMG_MAX_RANK * 8];
    int count, outputs = s->node->num_outputs;
    const amg_value *x = amg_emit_in(e, s, 0);
    amg_emit_format(e, s, "%0.split(");
    if (amg_emit_ints(amg_emit_in(e, s, 1), AMG_MAX_RANK * 8, sizes, &count)) {
        amg_text_tuple(&e->out, count, sizes);
    } else {
        int64_t at = axis < 0 ? axis + x->rank : axis;
        if (x->rank < 0 || at < 0 || at >= x->rank || x->dims[at] < 0)
            return amg_emit_fail(e, s, "the sizes are not known");
        amg_text_add(&e->out, "%lld",
                     (long long)((x->dims[at] + outputs - 1) / outputs));
    }
    amg_text_add(&e->out, ", %lld)", (long long)axis);
    return AMG_OK;
}

/* One axis of a slice, as Python writes it for a positive step. */
typedef struct {
    int64_t start, end, step; /* end INT64_MAX: to the last */
    bool given, backwards;
} range;

/* ONNX's bounds over n elements as Python's. Backwards (a negative step), they become
 * those of the axis turned round first, which needs n. */
static range make_range(int64_t n, int64_t start, int64_t end, int64_t step)
{
    range r = {start, end, step, true, step < 0};
    if (step < 0) {
        if (start < 0) start = start < -n ? -1 : start + n;
        if (end < 0) end = end < -n ? -1 : end + n;
        if (start > n - 1) start = n - 1;
        if (end > n - 1) end = n - 1;
        r = (range){n - 1 - start, n - 1 - end, -step, true, true};
    }
    if (r.end >= INT32_MAX || (n >= 0 && r.end >= n)) r.end = INT64_MAX;
    return r;
}

static amg_status read_ranges(amg_emit *e, const amg_emit_step *s, range *ranges,
                              int *last)
{
    const amg_value *x = amg_emit_in(e, s, 0);
    int64_t v[4][AMG_MAX_RANK];
    int count = 0, n;
    for (int i = 0; i < AMG_MAX_RANK; i++) {
        v[2][i] = i;
        v[3][i] = 1;
    }
    for (int i = 0; i < 4; i++) {
        const amg_value *bounds = amg_emit_in(e, s, i + 1);
        if (!bounds && i >= 2) continue;
        if (!bounds || !amg_emit_ints(bounds, AMG_MAX_RANK, v[i], &n))
            return amg_emit_fail(e, s, "bounds are not constant");
        if (i == 0) count = n;
        if (n != count) return amg_emit_fail(e, s, "bounds differ in number");
    }
    for (int i = 0; i < count; i++) {
        int64_t axis = v[2][i] < 0 ? v[2][i] + x->rank : v[2][i];
        if (axis < 0 || axis >= x->rank)
            return amg_emit_fail(e, s, "axis %lld is out of range", (long long)v[2][i]);
        if (v[3][i] < 0 && x->dims[axis] < 0)
            return amg_emit_fail(e, s, "a step of %lld through the batch",
                                 (long long)v[3][i]);
        ranges[axis] = make_range(x->dims[axis], v[0][i], v[1][i], v[3][i]);
        if (axis > *last) *last = (int)axis;
    }
    return AMG_OK;
}

amg_status amg_emit_slice(amg_emit *e, const amg_emit_step *s)
{
    range ranges[AMG_MAX_RANK] = {{0}};
    int last = -1;
    amg_status st = read_ranges(e, s, ranges, &last);
    if (st) return st;
    amg_emit_operand(e, s, 0);
    for (int i = 0; i <= last; i++)
        if (ranges[i].backwards) amg_text_add(&e->out, ".flip(%d)", i);
    if (last < 0) return AMG_OK;
    amg_text_add(&e->out, "[");
    for (int i = 0; i <= last; i++) {
        const range *r = &ranges[i];
        if (i) amg_text_add(&e->out, ", ");
        if (r->given && r->start != 0)
            amg_text_add(&e->out, "%lld", (long long)r->start);
        amg_text_add(&e->out, ":");
        if (r->given && r->end != INT64_MAX)
            amg_text_add(&e->out, "%lld", (long long)r->end);
        if (r->given && r->step != 1)
            amg_text_add(&e->out, ":%lld", (long long)r->step);
    }
    amg_text_add(&e->out, "]");
    return AMG_OK;
}

/* Whether a constant index counts from the end somewhere, which index_select refuses.
 */
static bool has_negative(const amg_value *index)
{
    int64_t count = index->data.data ? amg_tensor_count(&index->data) : 0;
    for (int64_t i = 0; i < count; i++)
        if (index->dtype == AMG_I64 ? ((const int64_t *)index->data.data)[i] < 0
                                    : ((const int32_t *)index->data.data)[i] < 0)
            return true;
    return false;
}

amg_status amg_emit_gather(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *x = amg_emit_in(e, s, 0), *index = amg_emit_in(e, s, 1);
    int64_t axis = amg_attr_int(s->node, "axis", 0);
    double at;
    if (axis < 0 && x->rank < 0)
        return amg_emit_fail(e, s, "axis %lld of an unknown shape", (long long)axis);
    if (axis < 0) axis += x->rank;
    if (index->rank == 0 && amg_value_number(index, &at)) {
        amg_emit_format(e, s, "%0.select(");
        amg_text_add(&e->out, "%lld, %lld)", (long long)axis, (long long)at);
    } else if (x->kind == AMG_VALUE_PARAM && x->rank == 2 && axis == 0 &&
               !has_negative(index)) {
        amg_emit_format(e, s, "F.embedding(%1, %0)");
    } else if (index->rank == 1 && !has_negative(index)) {
        amg_emit_format(e, s, "torch.index_select(%0, ");
        amg_text_add(&e->out, "%lld, ", (long long)axis);
        amg_emit_format(e, s, "%1)");
    } else {
        amg_emit_format(e, s, "%0[");
        for (int64_t i = 0; i < axis; i++) amg_text_add(&e->out, ":, ");
        /* int32 indices are PyTorch 2's */
        amg_emit_format(e, s, index->dtype == AMG_I64 ? "%1]" : "%1.long()]");
    }
    return AMG_OK;
}

/* PyTorch's name of Pad's mode; NULL: a number. */
static const char *find_mode(const amg_node *n)
{
    switch (amg_pad_mode_find(amg_attr_string(n, "mode", "constant"))) {
    case AMG_PAD_REFLECT: return "reflect";
    case AMG_PAD_EDGE: return "replicate";
    case AMG_PAD_WRAP: return "circular";
    default: return NULL;
    }
}

/* PyTorch's order: the last dim first, a pair a dim. */
amg_status amg_emit_pad(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *x = amg_emit_in(e, s, 0);
    int64_t pads[2 * AMG_MAX_RANK], axes[AMG_MAX_RANK],
        torch_pads[2 * AMG_MAX_RANK] = {0};
    int count, num_axes = x->rank, first = x->rank;
    const char *mode = find_mode(s->node);
    double value = 0;
    for (int i = 0; i < AMG_MAX_RANK; i++) axes[i] = i;
    if (x->rank < 0 ||
        !amg_emit_ints(amg_emit_in(e, s, 1), 2 * AMG_MAX_RANK, pads, &count) ||
        (amg_emit_in(e, s, 2) && !amg_value_number(amg_emit_in(e, s, 2), &value)) ||
        (amg_emit_in(e, s, 3) &&
         !amg_emit_ints(amg_emit_in(e, s, 3), AMG_MAX_RANK, axes, &num_axes)) ||
        count != 2 * num_axes)
        return amg_emit_fail(e, s, "expected constant pads and a constant number");
    for (int i = 0; i < num_axes; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < 0 || axis >= x->rank)
            return amg_emit_fail(e, s, "axis %lld is out of range", (long long)axes[i]);
        torch_pads[2 * (x->rank - 1 - axis)] = pads[i];
        torch_pads[2 * (x->rank - 1 - axis) + 1] = pads[num_axes + i];
        if ((pads[i] || pads[num_axes + i]) && axis < first) first = (int)axis;
    }
    if (first == x->rank) {
        amg_emit_operand(e, s, 0);
        return AMG_OK;
    }
    /* PyTorch wants the other modes' pads of all dims but the first two. */
    if (mode) first = 2;
    amg_emit_format(e, s, "F.pad(%0, ");
    amg_text_tuple(&e->out, 2 * (x->rank - first), torch_pads);
    if (mode) {
        amg_text_add(&e->out, ", mode=\"%s\"", mode);
    } else if (value != 0) {
        amg_text_add(&e->out, ", value=");
        amg_text_float(&e->out, (float)value);
    }
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_cast(amg_emit *e, const amg_emit_step *s)
{
    const char *dtype = amg_emit_dtype(amg_emit_result(e, s)->dtype);
    if (!dtype) return amg_emit_fail(e, s, "to a type that PyTorch has not");
    amg_emit_format(e, s, "%0.to(torch.");
    amg_text_add(&e->out, "%s)", dtype);
    return AMG_OK;
}
