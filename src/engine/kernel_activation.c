/* Relu, LeakyRelu, Clip, Sigmoid, Tanh: y = f(x) and dx = dy * f'(y). The derivative is
 * taken from the output, so that the result may lie over the input and the gradient
 * over the gradient: one read, one write each way. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/vector.h"

#define GRAIN 16384

typedef struct {
    amg_op op;
    float slope;     /* LeakyRelu */
    float low, high; /* Clip */
    int64_t count;
} activation;

typedef struct {
    const activation *a;
    float *dst;
    const float *x, *dy;
} context;

/* NaN passes through all of these, so that a diverged loss is seen. */
AMG_VECTOR static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const activation *a = c->a;
    const float *x = c->x;
    float *y = c->dst;
    switch (a->op) {
    case AMG_OP_RELU:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) y[i] = x[i] < 0 ? 0 : x[i];
        break;
    case AMG_OP_LEAKY_RELU:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) y[i] = x[i] < 0 ? x[i] * a->slope : x[i];
        break;
    case AMG_OP_CLIP:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) {
            float v = x[i] < a->low ? a->low : x[i];
            y[i] = v > a->high ? a->high : v;
        }
        break;
    case AMG_OP_SIGMOID:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) y[i] = amg_sigmoidf(x[i]);
        break;
    default:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) y[i] = amg_tanhf(x[i]);
        break;
    }
}

/* x is the forward's output here. */
AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const activation *a = c->a;
    const float *y = c->x, *dy = c->dy;
    float *dx = c->dst;
    switch (a->op) {
    case AMG_OP_RELU:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
        break;
    case AMG_OP_LEAKY_RELU:
#pragma omp simd
        for (int64_t i = begin; i < end; i++)
            dx[i] = y[i] > 0 ? dy[i] : dy[i] * a->slope;
        break;
    case AMG_OP_CLIP:
#pragma omp simd
        for (int64_t i = begin; i < end; i++)
            dx[i] = y[i] > a->low && y[i] < a->high ? dy[i] : 0;
        break;
    case AMG_OP_SIGMOID:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) dx[i] = dy[i] * (y[i] * (1 - y[i]));
        break;
    default:
#pragma omp simd
        for (int64_t i = begin; i < end; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
        break;
    }
}

static void run_forward(const amg_call *call)
{
    const activation *a = call->self;
    context c = {.a = a, .dst = call->ptr[0], .x = call->ptr[1]};
    amg_parallel_for(a->count, GRAIN, forward_range, &c);
}

static void run_backward(const amg_call *call)
{
    const activation *a = call->self;
    context c = {.a = a, .dst = call->ptr[0], .dy = call->ptr[1], .x = call->ptr[2]};
    amg_parallel_for(a->count, GRAIN, backward_range, &c);
}

/* A bound of Clip: input i (opset 11 on) or attribute. */
static float bound(amg_plan *p, int node, int i, const char *attr, float otherwise)
{
    int value = amg_plan_input_value(p, node, i);
    if (value == AMG_NO_VALUE)
        return amg_attr_float(amg_plan_node(p, node), attr, otherwise);
    const amg_tensor *t = amg_plan_constant(p, value);
    if (t && t->dtype == AMG_F32 && amg_tensor_count(t) == 1)
        return *(const float *)t->data;
    amg_plan_fail(p, node, AMG_UNSUPPORTED, "%s is not a constant f32 scalar", attr);
    return otherwise;
}

/* A Relu that alone reads a BatchNormalization or an Add of two equal shapes is
 * computed by it. */
void amg_relu_prepare(amg_plan *p, int node)
{
    int x = amg_plan_input_value(p, node, 0);
    const amg_value *v = amg_plan_value(p, x);
    if (v->kind != AMG_VALUE_ACTIVATION || v->dtype != AMG_F32 ||
        p->values[x].num_uses != 1)
        return;
    const amg_node *producer = amg_plan_node(p, v->producer);
    if (producer->outputs[0] != x) return;
    bool fuses = producer->op == AMG_OP_BATCH_NORM && v->rank > 2;
    if (producer->op == AMG_OP_ADD) {
        fuses = true;
        for (int i = 0; i < 2; i++) {
            const amg_value *in = amg_plan_value(p, producer->inputs[i]);
            fuses &= in->kind == AMG_VALUE_ACTIVATION && in->rank == v->rank;
            for (int d = 0; fuses && d < v->rank; d++)
                fuses = in->dims[d] == v->dims[d];
        }
    }
    if (!fuses) return;
    p->nodes[v->producer].fused = node;
    p->nodes[node].absorbed = true;
}

/* The output of a LeakyRelu of a negative slope does not say on which side x was. */
static bool folds_over(const amg_node *n)
{
    return n->op == AMG_OP_LEAKY_RELU && amg_attr_float(n, "alpha", 0) < 0;
}

void amg_activation_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    if (folds_over(n)) {
        amg_unit_forward(p, node);
        return;
    }
    if (amg_logic_takes(p, node)) {
        amg_logic_forward(p, node);
        return;
    }
    amg_plan_expect_f32(p, node, n->inputs[0]);
    activation *a = amg_plan_alloc(p, 1, sizeof *a);
    if (!a) return;
    p->nodes[node].self = a;
    a->op = n->op;
    a->slope = amg_attr_float(n, "alpha", 0.01f);
    a->low = -INFINITY;
    a->high = INFINITY;
    if (n->op == AMG_OP_CLIP) {
        a->low = bound(p, node, 1, "min", -INFINITY);
        a->high = bound(p, node, 2, "max", INFINITY);
    }
    int x = n->inputs[0], y = n->outputs[0];
    const amg_layout *layout = amg_plan_layout(p, x);
    if (p->status) return;
    a->count = (int64_t)(amg_layout_bytes(layout) / sizeof(float));
    int in = amg_plan_read(p, node, x, NULL), out = in;
    if (amg_plan_may_overwrite(p, x))
        amg_plan_define_as(p, y, layout, in);
    else
        out = amg_plan_define(p, y, layout);
    amg_emit_kernel(p, node, "activation", run_forward, a, 2, (int[]){out, in});

    amg_geometry *g = amg_plan_alloc(p, 1, sizeof *g);
    bool moves_zero = a->op == AMG_OP_SIGMOID || a->low > 0 || a->high < 0;
    if (g && moves_zero && amg_layout_geometry(layout, g) &&
        g->blocks * g->block > g->channels)
        amg_emit_kernel(p, node, "zero padding", amg_loop_zero_padding, g, 1, &out);
}

void amg_activation_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    if (folds_over(n)) {
        amg_unit_backward(p, node);
        return;
    }
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_exclusive(p, node)
                 ? dy
                 : amg_plan_grad_target(p, n->inputs[0], NULL);
    amg_emit_kernel(p, node, "activation backward", run_backward, p->nodes[node].self,
                    3, (int[]){dx, dy, amg_plan_read(p, node, n->outputs[0], NULL)});
    amg_plan_give_grad(p, node, n->inputs[0], dx, NULL);
}
