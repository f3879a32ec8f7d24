/* Softmax and LogSoftmax over one axis of row-major memory [outer][n][inner]. The
 * gradient is taken from the output. */
#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/softmax_row.h"

typedef struct {
    bool log;
    int64_t outer, n, inner;
} softmax_state;

typedef struct {
    const softmax_state *s;
    float *dst;
    const float *a, *dy; /* input, or output and its gradient */
} context;

/* Where row r begins; its elements are s->inner apart. */
static int64_t row_at(const softmax_state *s, int64_t r)
{
    return r / s->inner * s->n * s->inner + r % s->inner;
}

AMG_VECTOR static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const softmax_state *s = c->s;
    for (int64_t r = begin; r < end; r++) {
        const float *x = c->a + row_at(s, r);
        float *y = c->dst + row_at(s, r);
        if (s->inner == 1)
            amg_softmax_row(s->n, 1, s->log, x, y);
        else
            amg_softmax_row(s->n, s->inner, s->log, x, y);
    }
}

AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const softmax_state *s = c->s;
    for (int64_t r = begin; r < end; r++) {
        const float *y = c->a + row_at(s, r), *dy = c->dy + row_at(s, r);
        float *dx = c->dst + row_at(s, r);
        if (s->inner == 1)
            amg_softmax_row_gradient(s->n, 1, s->log, y, dy, dx);
        else
            amg_softmax_row_gradient(s->n, s->inner, s->log, y, dy, dx);
    }
}

static void for_rows(const softmax_state *s, context *c, amg_range_fn fn)
{
    amg_parallel_for(s->outer * s->inner, 1024 / s->n + 1, fn, c);
}

static void run_forward(const amg_call *call)
{
    context c = {.s = call->self, .dst = call->ptr[0], .a = call->ptr[1]};
    for_rows(c.s, &c, forward_range);
}

static void run_backward(const amg_call *call)
{
    context c = {call->self, call->ptr[0], call->ptr[2], call->ptr[1]};
    for_rows(c.s, &c, backward_range);
}

void amg_softmax_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    softmax_state *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    int64_t axis = amg_attr_int(n, "axis", -1);
    if (axis < 0) axis += x->rank;
    *s = (softmax_state){n->op == AMG_OP_LOG_SOFTMAX, 1, x->dims[axis], 1};
    for (int d = 0; d < axis; d++) s->outer *= x->dims[d];
    for (int d = (int)axis + 1; d < x->rank; d++) s->inner *= x->dims[d];
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "softmax", run_forward, s, 2, (int[]){out, in});
}

void amg_softmax_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0];
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_exclusive(p, node) ? dy : amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "softmax backward", run_backward, p->nodes[node].self, 3,
                    (int[]){dx, dy, amg_plan_read(p, node, n->outputs[0], NULL)});
    amg_plan_give_grad(p, node, x, dx, plain);
}
