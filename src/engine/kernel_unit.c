/* Elu, Celu, Selu, Mish, Softsign, Shrink, ThresholdedRelu, Softplus, HardSigmoid,
 * HardSwish: y = f(x) and dx = dy * f'(x). The derivative is taken from the input,
 * which the output does not always determine (HardSwish falls, then rises; so does a
 * LeakyRelu of a negative slope). At the kinks it is PyTorch's. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/vector.h"

#define GRAIN 16384

typedef struct {
    amg_op op;
    /* HardSigmoid: slope and offset; Elu, Selu: alpha and gamma; Celu: alpha and
     * 1 / alpha; Shrink: lambd and bias; ThresholdedRelu, LeakyRelu: alpha. */
    float alpha, beta;
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

/* x tanh(log(1 + e^x)) = x n / (n + 2), where n = e^x (e^x + 2); x beyond e^20. */
AMG_INLINE float mish(float x)
{
    const float e = amg_expf(x > 20 ? 20 : x), n = e * (e + 2);
    return x * (n / (n + 2));
}

AMG_INLINE float mish_slope(float x)
{
    const float e = amg_expf(x > 20 ? 20 : x), n = e * (e + 2), d = 1 / (n + 2);
    return n * d + x * (4 * e * d * ((1 + e) * d));
}

AMG_INLINE float shrink(const unit *u, float x)
{
    const float above = x > u->alpha ? x - u->beta : x * 0;
    return x < -u->alpha ? x + u->beta : above;
}

AMG_VECTOR static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const unit *u = c->u;
    const float *x = c->x;
    float *y = c->dst;
#define EACH(expression)                                                               \
    {                                                                                  \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) y[i] = (expression); \
        return;                                                                        \
    }
    switch (u->op) {
    case AMG_OP_CELU: EACH(x[i] > 0 ? x[i] : u->alpha * expm1f(x[i] * u->beta));
    case AMG_OP_MISH: EACH(mish(x[i]));
    case AMG_OP_SOFTSIGN: EACH(x[i] / (1 + fabsf(x[i])));
    case AMG_OP_SHRINK: EACH(shrink(u, x[i]));
    case AMG_OP_THRESHOLDED_RELU: EACH(x[i] <= u->alpha ? 0 : x[i]);
    case AMG_OP_LEAKY_RELU: EACH(x[i] > 0 ? x[i] : x[i] * u->alpha);
    case AMG_OP_SOFTPLUS: EACH(soft(x[i]));
    case AMG_OP_HARD_SIGMOID: EACH(hard(u, x[i]));
    case AMG_OP_HARD_SWISH: EACH(x[i] * hard(u, x[i]));
    default: EACH(u->beta * (x[i] > 0 ? x[i] : u->alpha * expm1f(x[i])));
    }
}

AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const unit *u = c->u;
    const float *x = c->x, *dy = c->dy;
    float *y = c->dst;
    switch (u->op) {
    case AMG_OP_CELU: EACH(x[i] > 0 ? dy[i] : dy[i] * expf(x[i] * u->beta));
    case AMG_OP_MISH: EACH(dy[i] * mish_slope(x[i]));
    case AMG_OP_SOFTSIGN: EACH(dy[i] / ((1 + fabsf(x[i])) * (1 + fabsf(x[i]))));
    case AMG_OP_SHRINK: EACH(x[i] < -u->alpha || x[i] > u->alpha ? dy[i] : 0);
    case AMG_OP_THRESHOLDED_RELU: EACH(x[i] <= u->alpha ? 0 : dy[i]);
    case AMG_OP_LEAKY_RELU: EACH(x[i] > 0 ? dy[i] : dy[i] * u->alpha);
    case AMG_OP_SOFTPLUS: EACH(dy[i] / (1 + expf(-x[i])));
    case AMG_OP_HARD_SIGMOID:
        EACH(hard(u, x[i]) > 0 && hard(u, x[i]) < 1 ? dy[i] * u->alpha : 0);
    case AMG_OP_HARD_SWISH:
        EACH(x[i] < -3   ? 0
             : x[i] <= 3 ? dy[i] * (x[i] * 2 * u->alpha + u->beta)
                         : dy[i]);
    default: EACH(dy[i] * u->beta * (x[i] > 0 ? 1 : u->alpha * expf(x[i])));
    }
#undef EACH
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
    case AMG_OP_CELU:
        u->alpha = amg_attr_float(n, "alpha", 1);
        u->beta = 1 / u->alpha;
        break;
    case AMG_OP_SHRINK:
        u->alpha = amg_attr_float(n, "lambd", 0.5f);
        u->beta = amg_attr_float(n, "bias", 0);
        break;
    case AMG_OP_LEAKY_RELU: u->alpha = amg_attr_float(n, "alpha", 0.01f); break;
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
    amg_plan_expect_f32(p, node, n->inputs[0]);
    const amg_layout *layout = amg_plan_layout(p, n->inputs[0]);
    if (p->status) return;
    p->nodes[node].self = u;
    read_constants(n, u);
    u->count = (int64_t)(amg_layout_bytes(layout) / sizeof(float));
    int x = amg_plan_read(p, node, n->inputs[0], NULL);
    int y = amg_plan_define_over(p, node, layout, x, true);
    amg_emit_kernel(p, node, "unit", run_forward, u, 2, (int[]){y, x});

    amg_geometry *g = amg_plan_alloc(p, 1, sizeof *g);
    bool moves_zero = n->op == AMG_OP_SOFTPLUS || n->op == AMG_OP_HARD_SIGMOID ||
                      (n->op == AMG_OP_SHRINK && u->alpha < 0);
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
