/* See strided.h. */
#include "engine/strided.h"

#include <string.h>

static void add_axis(amg_strided *s, int64_t size, int64_t stride)
{
    if (size == 1) return;
    s->size[s->num_axes] = size;
    s->stride[s->num_axes++] = stride;
}

void amg_strided_init(const amg_value *v, amg_strided *out)
{
    int64_t stride[AMG_MAX_RANK];
    amg_walk_strides(v->rank, v->dims, stride);
    *out = (amg_strided){.rank = v->rank};
    for (int d = 0; d < v->rank; d++) {
        out->first[d] = out->num_axes;
        add_axis(out, v->dims[d], stride[d]);
    }
    out->first[v->rank] = out->num_axes;
}

void amg_strided_walk(const amg_strided *s, int first, int last, int64_t base,
                      amg_walk *out)
{
    const int from = s->first[first];
    amg_walk_init(out, s->first[last] - from, s->size + from, s->stride + from, base);
}

/* The same elements in other dims: takes axes, and outer parts of them. */
static bool reshape(amg_strided *s, int rank, const int64_t *dims)
{
    amg_strided old = *s;
    int at = 0;
    *s = (amg_strided){.base = old.base, .rank = rank};
    for (int d = 0; d < rank; d++) {
        s->first[d] = s->num_axes;
        for (int64_t left = dims[d]; left > 1;) {
            if (at == old.num_axes || s->num_axes == AMG_WALK_RANK) return false;
            const int64_t size = old.size[at], stride = old.stride[at];
            if (left % size == 0) {
                add_axis(s, size, stride);
                left /= size;
                at++;
            } else if (size % left == 0) {
                add_axis(s, left, stride * (size / left));
                old.size[at] = size / left;
                left = 1;
            } else {
                return false;
            }
        }
    }
    s->first[rank] = s->num_axes;
    return at == old.num_axes;
}

/* Dim d becomes dim perm[d] of before. */
static void permute(amg_strided *s, const int64_t *perm)
{
    const amg_strided old = *s;
    s->num_axes = 0;
    for (int d = 0; d < s->rank; d++) {
        s->first[d] = s->num_axes;
        for (int a = old.first[perm[d]]; a < old.first[perm[d] + 1]; a++)
            add_axis(s, old.size[a], old.stride[a]);
    }
    s->first[s->rank] = s->num_axes;
}

static void read_perm(const amg_node *n, int rank, int64_t *perm)
{
    const amg_attr *attr = amg_attr_find(n, "perm");
    for (int d = 0; d < rank; d++) perm[d] = attr ? attr->ints[d] : rank - 1 - d;
}

static void invert(int rank, int64_t *perm)
{
    int64_t inverse[AMG_MAX_RANK];
    for (int d = 0; d < rank; d++) inverse[perm[d]] = d;
    memcpy(perm, inverse, sizeof *perm * (size_t)rank);
}

/* Elements start, start + step, … of dim d. Every axis of an index is a part of it, so
 * a dim of several axes can only be taken whole. */
static bool narrow(amg_strided *s, int d, int64_t start, int64_t step, int64_t count)
{
    const int axes = s->first[d + 1] - s->first[d], a = s->first[d];
    int64_t size = 1;
    for (int i = a; i < s->first[d + 1]; i++) size *= s->size[i];
    if (start == 0 && count == size && (step == 1 || count == 1)) return true;
    if (axes != 1) return false;
    s->base += start * s->stride[a];
    s->size[a] = count;
    s->stride[a] *= step;
    if (count > 1) return true;
    /* Gone. */
    memmove(s->size + a, s->size + a + 1,
            sizeof *s->size * (size_t)(s->num_axes - a - 1));
    memmove(s->stride + a, s->stride + a + 1,
            sizeof *s->stride * (size_t)(s->num_axes - a - 1));
    s->num_axes--;
    for (int i = d + 1; i <= s->rank; i++) s->first[i]--;
    return true;
}

/* Bounds are as the shape rule has checked them. */
static bool slice(amg_plan *p, int node, int result, amg_strided *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, result);
    int64_t start[AMG_MAX_RANK], axes[AMG_MAX_RANK], step[AMG_MAX_RANK];
    const int axes_value = amg_plan_input_value(p, node, 3);
    const int step_value = amg_plan_input_value(p, node, 4);
    const int count = amg_plan_ints(p, n->inputs[1], AMG_MAX_RANK, start);
    for (int i = 0; i < count; i++) {
        axes[i] = i;
        step[i] = 1;
    }
    if (count < 0 ||
        (axes_value != AMG_NO_VALUE &&
         amg_plan_ints(p, axes_value, AMG_MAX_RANK, axes) != count) ||
        (step_value != AMG_NO_VALUE &&
         amg_plan_ints(p, step_value, AMG_MAX_RANK, step) != count)) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its bounds are not constant");
        return false;
    }
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        const int axis = (int)(axes[i] < 0 ? axes[i] + x->rank : axes[i]);
        const int64_t dim = x->dims[axis];
        if (start[i] < 0) start[i] = start[i] < -dim ? 0 : start[i] + dim;
        if (start[i] > dim - 1) start[i] = dim - 1;
        good = narrow(s, axis, start[i], step[i], y->dims[axis]);
    }
    return good;
}

static bool split(amg_plan *p, int node, int result, amg_strided *s)
{
    const amg_node *n = amg_plan_node(p, node);
    int64_t axis = amg_attr_int(n, "axis", 0), start = 0;
    if (axis < 0) axis += s->rank;
    for (int i = 0; n->outputs[i] != result; i++)
        start += amg_plan_value(p, n->outputs[i])->dims[axis];
    return narrow(s, (int)axis, start, 1, amg_plan_value(p, result)->dims[axis]);
}

static bool gather_one(amg_plan *p, int node, int result, amg_strided *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, result);
    int64_t index, axis = amg_attr_int(n, "axis", 0);
    if (axis < 0) axis += x->rank;
    if (x->kind == AMG_VALUE_PARAM || amg_plan_ints(p, n->inputs[1], 1, &index) != 1)
        return false;
    if (index < 0) index += x->dims[axis];
    return index >= 0 && index < x->dims[axis] && narrow(s, (int)axis, index, 1, 1) &&
           reshape(s, y->rank, y->dims);
}

bool amg_strided_apply(amg_plan *p, int node, int y, amg_strided *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *v = amg_plan_value(p, y);
    int64_t perm[AMG_MAX_RANK];
    switch (n->op) {
    case AMG_OP_IDENTITY: return true;
    case AMG_OP_FLATTEN:
    case AMG_OP_RESHAPE:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE: return reshape(s, v->rank, v->dims);
    case AMG_OP_TRANSPOSE:
        read_perm(n, s->rank, perm);
        permute(s, perm);
        return true;
    case AMG_OP_SLICE: return slice(p, node, y, s);
    case AMG_OP_SPLIT: return split(p, node, y, s);
    case AMG_OP_GATHER: return gather_one(p, node, y, s);
    default: return false;
    }
}

bool amg_strided_undo(amg_plan *p, int node, amg_strided *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    int64_t perm[AMG_MAX_RANK];
    switch (n->op) {
    case AMG_OP_IDENTITY: return true;
    case AMG_OP_FLATTEN:
    case AMG_OP_RESHAPE:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE: return reshape(s, x->rank, x->dims);
    case AMG_OP_TRANSPOSE:
        read_perm(n, s->rank, perm);
        invert(s->rank, perm);
        permute(s, perm);
        return true;
    default: return false;
    }
}
