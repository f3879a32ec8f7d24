/* Softmax and LogSoftmax over one axis of row-major memory [outer][n][inner]. A row is
 * shifted by its maximum; sums run in double. The gradient is taken from the output. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"

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

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const softmax_state *s = c->s;
    int64_t step = s->inner, length = s->n * s->inner;
    for (int64_t r = begin; r < end; r++) {
        const float *x = c->a + row_at(s, r);
        float *y = c->dst + row_at(s, r);
        float most = x[0];
        double sum = 0;
        for (int64_t i = 0; i < length; i += step)
            if (x[i] > most || isnan(x[i])) most = x[i];
        for (int64_t i = 0; i < length; i += step) {
            y[i] = expf(x[i] - most);
            sum += (double)y[i];
        }
        float by = (float)(1 / sum), shift = (float)log(sum);
        for (int64_t i = 0; i < length; i += step)
            y[i] = s->log ? x[i] - most - shift : y[i] * by;
    }
}

static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const softmax_state *s = c->s;
    int64_t step = s->inner, length = s->n * s->inner;
    for (int64_t r = begin; r < end; r++) {
        const float *y = c->a + row_at(s, r), *dy = c->dy + row_at(s, r);
        float *dx = c->dst + row_at(s, r);
        double sum = 0;
        for (int64_t i = 0; i < length; i += step)
            sum += (double)dy[i] * (s->log ? 1 : (double)y[i]);
        float total = (float)sum;
        for (int64_t i = 0; i < length; i += step)
            dx[i] = s->log ? dy[i] - expf(y[i]) * total : y[i] * (dy[i] - total);
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
