/* Operators that move elements without computing: Transpose, Slice, Split, Expand,
 * Tile. Each output is one strided walk over the row-major input (walk.h); the gradient
 * walks the other way, and where an element was repeated its gradients are summed. */
#include <string.h>

#include "engine/kernel.h"
#include "engine/walk.h"

/* Transpose, Slice, one part of Split: no element is repeated. */
typedef struct {
    amg_walk walk;
    size_t size;       /* of an element */
    int64_t in_count;  /* elements of the input; of a gradient that is zeroed first */
    bool zeroes_first; /* the walk leaves elements out */
} move_state;

typedef struct {
    amg_walk walk;
    amg_fold fold;
    size_t size;
} repeat_state;

static void run_gather(const amg_call *call)
{
    const move_state *s = call->self;
    amg_walk_gather(&s->walk, s->size, call->ptr[0], call->ptr[1]);
}

static void run_scatter(const amg_call *call)
{
    const move_state *s = call->self;
    float *dx = call->ptr[0];
    if (s->zeroes_first) memset(dx, 0, sizeof *dx * (size_t)s->in_count);
    amg_walk_scatter(&s->walk, sizeof *dx, dx, call->ptr[1]);
}

static void run_repeat(const amg_call *call)
{
    const repeat_state *s = call->self;
    amg_walk_gather(&s->walk, s->size, call->ptr[0], call->ptr[1]);
}

static void run_sum(const amg_call *call)
{
    const repeat_state *s = call->self;
    amg_fold_run(&s->fold, call->ptr[0], call->ptr[1]);
}

/* ---- Transpose, Slice -------------------------------------------------------------
 */

static int64_t count_of(const amg_value *v)
{
    int64_t count = 1;
    for (int d = 0; d < v->rank; d++) count *= v->dims[d];
    return count;
}

static void transpose_strides(const amg_node *n, const amg_value *x, int64_t *stride)
{
    int64_t own[AMG_MAX_RANK];
    const amg_attr *perm = amg_attr_find(n, "perm");
    amg_walk_strides(x->rank, x->dims, own);
    for (int d = 0; d < x->rank; d++)
        stride[d] = own[perm ? perm->ints[d] : x->rank - 1 - d];
}

/* Bounds are as the shape rule has checked them. Returns where the slice begins. */
static int64_t slice_strides(amg_plan *p, int node, int64_t *stride)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    int64_t start[AMG_MAX_RANK], axes[AMG_MAX_RANK], step[AMG_MAX_RANK], base = 0;
    int axes_value = amg_plan_input_value(p, node, 3);
    int step_value = amg_plan_input_value(p, node, 4);
    int count = amg_plan_ints(p, n->inputs[1], AMG_MAX_RANK, start);
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
        return 0;
    }
    amg_walk_strides(x->rank, x->dims, stride);
    for (int i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i], dim = x->dims[axis];
        if (start[i] < 0) start[i] = start[i] < -dim ? 0 : start[i] + dim;
        if (start[i] > dim - 1) start[i] = dim - 1;
        base += start[i] * stride[axis];
        /* One element has no next one, and its step may be any number. */
        stride[axis] = y->dims[axis] > 1 ? stride[axis] * step[i] : 0;
    }
    return base;
}

static void emit_move(amg_plan *p, int node, move_state *s, int y)
{
    int x = amg_plan_input_value(p, node, 0);
    int in = amg_plan_read(p, node, x, amg_plan_plain(p, x));
    int out = amg_plan_define(p, y, amg_plan_plain(p, y));
    amg_emit_kernel(p, node, "move", run_gather, s, 2, (int[]){out, in});
}

void amg_move_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    move_state *s = amg_plan_alloc(p, 1, sizeof *s);
    int64_t stride[AMG_MAX_RANK] = {0}, base = 0;
    if (!s) return;
    if (n->op == AMG_OP_SLICE)
        base = slice_strides(p, node, stride);
    else
        transpose_strides(n, x, stride);
    if (count_of(y) == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its output has no elements");
    if (p->status) return;
    amg_walk_init(&s->walk, y->rank, y->dims, stride, base);
    s->size = amg_dtype_size(x->dtype);
    s->in_count = count_of(x);
    s->zeroes_first = count_of(y) != s->in_count;
    p->nodes[node].self = s;
    emit_move(p, node, s, n->outputs[0]);
}

void amg_move_backward(amg_plan *p, int node)
{
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "move backward", run_scatter, p->nodes[node].self, 2,
                    (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, plain);
}

/* ---- Split ------------------------------------------------------------------------
 */

void amg_split_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    move_state *parts = amg_plan_alloc(p, (size_t)n->num_outputs, sizeof *parts);
    int64_t stride[AMG_MAX_RANK], base = 0, axis = amg_attr_int(n, "axis", 0);
    if (axis < 0) axis += x->rank;
    amg_walk_strides(x->rank, x->dims, stride);
    p->nodes[node].self = parts;
    for (int i = 0; i < n->num_outputs && !p->status; i++) {
        const amg_value *y = amg_plan_value(p, n->outputs[i]);
        amg_walk_init(&parts[i].walk, y->rank, y->dims, stride, base);
        parts[i].size = amg_dtype_size(x->dtype);
        parts[i].in_count = count_of(x);
        base += y->dims[axis] * stride[axis];
        if (p->values[n->outputs[i]].num_uses == 0) continue;
        if (count_of(y) == 0)
            amg_plan_fail(p, node, AMG_UNSUPPORTED, "output %d has no elements", i);
        emit_move(p, node, &parts[i], n->outputs[i]);
    }
}

/* Parts that no gradient reaches stay zero. */
void amg_split_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    move_state *parts = p->nodes[node].self;
    int x = n->inputs[0], grads = 0, emitted = 0;
    const amg_layout *plain = amg_plan_plain(p, x);
    int dx = amg_plan_grad_target(p, x, plain);
    for (int i = 0; i < n->num_outputs && !p->status; i++)
        grads += p->values[n->outputs[i]].grad != AMG_NO_BUFFER;
    for (int i = 0; i < n->num_outputs && !p->status; i++) {
        int dy = p->values[n->outputs[i]].grad; /* row-major, as its value */
        if (dy == AMG_NO_BUFFER) continue;
        parts[i].zeroes_first = grads < n->num_outputs && emitted++ == 0;
        amg_emit_kernel(p, node, "split backward", run_scatter, &parts[i], 2,
                        (int[]){dx, dy});
    }
    amg_plan_give_grad(p, node, x, dx, plain);
}

/* ---- Expand, Tile -----------------------------------------------------------------
 */

/* Expand and Tile see the output as [repeats, dim] for each dim: strides of the input
 * under dim, 0 under repeats, whose gradients are summed. An Expand that adds a dim of
 * its own, or repeats a dim of 1, is the same thing with dim 1. */
void amg_repeat_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    repeat_state *s = amg_plan_alloc(p, 1, sizeof *s);
    int64_t own[AMG_MAX_RANK], dims[AMG_WALK_RANK], stride[AMG_WALK_RANK];
    unsigned repeats = 0;
    if (count_of(y) == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its output has no elements");
    if (p->status) return;
    amg_walk_strides(x->rank, x->dims, own);
    for (int d = 0; d < y->rank; d++) {
        int from = d - (y->rank - x->rank);
        int64_t dim = from < 0 ? 1 : x->dims[from];
        dims[2 * d] = y->dims[d] / dim;
        dims[2 * d + 1] = dim;
        stride[2 * d] = 0;
        stride[2 * d + 1] = from < 0 ? 0 : own[from];
        repeats |= 1u << 2 * d;
    }
    amg_walk_init(&s->walk, 2 * y->rank, dims, stride, 0);
    amg_fold_init(&s->fold, 2 * y->rank, dims, repeats, 1);
    s->size = amg_dtype_size(x->dtype);
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "repeat", run_repeat, s, 2, (int[]){out, in});
}

void amg_repeat_backward(amg_plan *p, int node)
{
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "repeat backward", run_sum, p->nodes[node].self, 2,
                    (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, plain);
}
