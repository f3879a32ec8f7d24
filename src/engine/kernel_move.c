/* Operators that move elements without computing: Transpose, Slice, Split, Expand,
 * Tile. Each output is one strided walk over the row-major input (walk.h); the gradient
 * walks the other way, and where an element was repeated its gradients are summed. */
#include <string.h>

#include "engine/kernel.h"
#include "engine/strided.h"

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

/* Where the elements of output y stand in the row-major input. */
static void set_walk(amg_plan *p, int node, int y, amg_walk *out)
{
    amg_strided s;
    amg_strided_init(amg_plan_value(p, amg_plan_input_value(p, node, 0)), &s);
    if (amg_strided_apply(p, node, y, &s)) amg_strided_walk(&s, 0, s.rank, s.base, out);
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
    if (count_of(y) == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its output has no elements");
    if (p->status) return;
    set_walk(p, node, n->outputs[0], &s->walk);
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
    p->nodes[node].self = parts;
    for (int i = 0; i < n->num_outputs && !p->status; i++) {
        const amg_value *y = amg_plan_value(p, n->outputs[i]);
        parts[i].size = amg_dtype_size(x->dtype);
        parts[i].in_count = count_of(x);
        if (p->values[n->outputs[i]].num_uses == 0) continue;
        if (count_of(y) == 0)
            amg_plan_fail(p, node, AMG_UNSUPPORTED, "output %d has no elements", i);
        if (p->status) return;
        set_walk(p, node, n->outputs[i], &parts[i].walk);
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
