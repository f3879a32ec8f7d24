/* Elu, Selu, Softplus, HardSigmoid, HardSwish: y = f(x) and dx = dy * f'(x). The
 * derivative is taken from the input, which the output does not always determine
 * (HardSwish falls, then rises). At the kinks it is PyTorch's. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"

#define GRAIN 16384

typedef struct {
    amg_op op;
    float alpha, beta; /* HardSigmoid: slope and offset; Elu, Selu: alpha and gamma */
    int64_t count;
} unit;

typedef struct {
    const unit *u;
    float *dst;
    const float *x, *dy;
} context;

static float soft(float x) { return (x > 0 ? x : 0) + log1pf(expf(-fabsf(x))); }

static float hard(const unit *u, float x)
{
    float v = x * u->alpha + u->beta;
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const unit *u = c->u;
    const float *x = c->x;
    float *y = c->dst;
    switch (u->op) {
    case AMG_OP_SOFTPLUS:
        for (int64_t i = begin; i < end; i++) y[i] = soft(x[i]);
        break;
    case AMG_OP_HARD_SIGMOID:
        for (int64_t i = begin; i < end; i++) y[i] = hard(u, x[i]);
        break;
    case AMG_OP_HARD_SWISH:
        for (int64_t i = begin; i < end; i++) y[i] = x[i] * hard(u, x[i]);
        break;
    default:
        for (int64_t i = begin; i < end; i++)
            y[i] = u->beta * (x[i] > 0 ? x[i] : u->alpha * expm1f(x[i]));
        break;
    }
}

static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const unit *u = c->u;
    const float *x = c->x, *dy = c->dy;
    float *dx = c->dst;
    switch (u->op) {
    case AMG_OP_SOFTPLUS:
        for (int64_t i = begin; i < end; i++) dx[i] = dy[i] / (1 + expf(-x[i]));
        break;
    case AMG_OP_HARD_SIGMOID:
        for (int64_t i = begin; i < end; i++) {
            float y = hard(u, x[i]);
            dx[i] = y > 0 && y < 1 ? dy[i] * u->alpha : 0;
        }
        break;
    case AMG_OP_HARD_SWISH:
        for (int64_t i = begin; i < end; i++)
            dx[i] = x[i] < -3   ? 0
                    : x[i] <= 3 ? dy[i] * (x[i] * 2 * u->alpha + u->beta)
                                : dy[i];
        break;
    default:
        for (int64_t i = begin; i < end; i++)
            dx[i] = dy[i] * u->beta * (x[i] > 0 ? 1 : u->alpha * expf(x[i]));
        break;
    }
}

static void run_forward(const amg_call *call)
{
    const unit *u = call->self;
    context c = {.u = u, .dst = call->ptr[0], .x = call->ptr[1]};
    amg_parallel_for(u->count, GRAIN, forward_range, &c);
}

static void run_backward(const amg_call *call)
{
    const unit *u = call->self;
    context c = {.u = u, .dst = call->ptr[0], .dy = call->ptr[1], .x = call->ptr[2]};
    amg_parallel_for(u->count, GRAIN, backward_range, &c);
}

static void read_constants(const amg_node *n, unit *u)
{
    u->op = n->op;
    u->beta = 1;
    switch (n->op) {
    case AMG_OP_SELU:
        u->alpha = amg_attr_float(n, "alpha", 1.67326319217681884765625f);
        u->beta = amg_attr_float(n, "gamma", 1.05070102214813232421875f);
        break;
    case AMG_OP_HARD_SIGMOID:
        u->alpha = amg_attr_float(n, "alpha", 0.2f);
        u->beta = amg_attr_float(n, "beta", 0.5f);
        break;
    case AMG_OP_HARD_SWISH:
        u->alpha = 1.0f / 6;
        u->beta = 0.5f;
        break;
    default: u->alpha = amg_attr_float(n, "alpha", 1); break;
    }
}

void amg_unit_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    unit *u = amg_plan_alloc(p, 1, sizeof *u);
    const amg_layout *layout = amg_plan_layout(p, n->inputs[0]);
    if (p->status) return;
    p->nodes[node].self = u;
    read_constants(n, u);
    u->count = (int64_t)(amg_layout_bytes(layout) / sizeof(float));
    int x = amg_plan_read(p, node, n->inputs[0], NULL);
    int y = amg_plan_define(p, n->outputs[0], layout);
    amg_emit_kernel(p, node, "unit", run_forward, u, 2, (int[]){y, x});

    amg_geometry *g = amg_plan_alloc(p, 1, sizeof *g);
    bool moves_zero = n->op == AMG_OP_SOFTPLUS || n->op == AMG_OP_HARD_SIGMOID;
    if (g && moves_zero && amg_layout_geometry(layout, g) &&
        g->blocks * g->block > g->channels)
        amg_emit_kernel(p, node, "zero padding", amg_loop_zero_padding, g, 1, &y);
}

void amg_unit_backward(amg_plan *p, int node)
{
    int x = amg_plan_input_value(p, node, 0);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_exclusive(p, node) ? dy : amg_plan_grad_target(p, x, NULL);
    amg_emit_kernel(p, node, "unit backward", run_backward, p->nodes[node].self, 3,
                    (int[]){dx, dy, amg_plan_read(p, node, x, NULL)});
    amg_plan_give_grad(p, node, x, dx, NULL);
}
