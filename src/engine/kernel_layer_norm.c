/* LayerNormalization over the last dims: y = (x - mean) * rstd * scale + bias, each row
 * by its own mean and variance. Sums run in double. RMSNormalization is the same with a
 * mean of 0.
 *
 *     rows x size, row-major; scale and bias [size]; statistics [rows][2]: mean, rstd
 *
 *     dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),  g = dy * scale */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/vector.h"

#define LANES 64 /* columns that are summed side by side */

typedef struct {
    int64_t rows, size;
    double epsilon;
    bool has_bias, centred;
    int statistics; /* buffer */
} layer_norm;

typedef struct {
    const layer_norm *s;
    float *dst;
    const float *x, *dy, *scale, *bias;
    float *statistics;
} context;

AMG_VECTOR static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    int64_t size = c->s->size;
    for (int64_t r = begin; r < end; r++) {
        const float *x = c->x + r * size;
        float *y = c->dst + r * size;
        double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < size; i++) sum += (double)x[i];
        double mean = c->s->centred ? sum / (double)size : 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < size; i++)
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        float rstd = (float)(1 / sqrt(squares / (double)size + c->s->epsilon));
        float centre = (float)mean;
        c->statistics[2 * r] = centre;
        c->statistics[2 * r + 1] = rstd;
        const float *scale = c->scale, *bias = c->bias;
        if (bias) {
#pragma omp simd
            for (int64_t i = 0; i < size; i++)
                y[i] = (x[i] - centre) * rstd * scale[i] + bias[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < size; i++) y[i] = (x[i] - centre) * rstd * scale[i];
        }
    }
}

AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    int64_t size = c->s->size;
    for (int64_t r = begin; r < end; r++) {
        const float *x = c->x + r * size, *dy = c->dy + r * size, *scale = c->scale;
        float *dx = c->dst + r * size;
        float mean = c->statistics[2 * r], rstd = c->statistics[2 * r + 1];
        double sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
        for (int64_t i = 0; i < size; i++) {
            double g = (double)dy[i] * (double)scale[i];
            sum += g;
            product += g * (double)((x[i] - mean) * rstd);
        }
        float g_mean = c->s->centred ? (float)(sum / (double)size) : 0;
        float p_mean = (float)(product / (double)size);
#pragma omp simd
        for (int64_t i = 0; i < size; i++)
            dx[i] = rstd * (dy[i] * scale[i] - g_mean - (x[i] - mean) * rstd * p_mean);
    }
}

/* Gradients of scale (x given) or bias, over all rows in order. */
AMG_VECTOR static void column_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    int64_t size = c->s->size;
    for (int64_t first = begin; first < end; first += LANES) {
        int64_t width = end - first < LANES ? end - first : LANES;
        double sums[LANES] = {0};
        for (int64_t r = 0; r < c->s->rows; r++) {
            const float *dy = c->dy + r * size + first;
            if (!c->x) {
#pragma omp simd
                for (int64_t k = 0; k < width; k++) sums[k] += (double)dy[k];
                continue;
            }
            const float *x = c->x + r * size + first;
            float mean = c->statistics[2 * r], rstd = c->statistics[2 * r + 1];
#pragma omp simd
            for (int64_t k = 0; k < width; k++)
                sums[k] += (double)dy[k] * (double)((x[k] - mean) * rstd);
        }
        for (int64_t k = 0; k < width; k++) c->dst[first + k] = (float)sums[k];
    }
}

static int64_t grain_of(int64_t elements) { return 2048 / elements + 1; }

/* ptr: y, x, statistics, scale, bias (scale again if there is none). */
static void run_forward(const amg_call *call)
{
    const layer_norm *s = call->self;
    context c = {.s = s,
                 .dst = call->ptr[0],
                 .x = call->ptr[1],
                 .statistics = call->ptr[2],
                 .scale = call->ptr[3],
                 .bias = s->has_bias ? call->ptr[4] : NULL};
    amg_parallel_for(s->rows, grain_of(s->size), forward_range, &c);
}

/* ptr: dx, dy, x, statistics, scale. */
static void run_backward(const amg_call *call)
{
    const layer_norm *s = call->self;
    context c = {.s = s,
                 .dst = call->ptr[0],
                 .dy = call->ptr[1],
                 .x = call->ptr[2],
                 .statistics = call->ptr[3],
                 .scale = call->ptr[4]};
    amg_parallel_for(s->rows, grain_of(s->size), backward_range, &c);
}

/* ptr: dscale, dy, x, statistics. */
static void run_scale(const amg_call *call)
{
    const layer_norm *s = call->self;
    context c = {.s = s,
                 .dst = call->ptr[0],
                 .dy = call->ptr[1],
                 .x = call->ptr[2],
                 .statistics = call->ptr[3]};
    amg_parallel_for(s->size, grain_of(s->rows), column_range, &c);
}

/* ptr: dbias, dy. */
static void run_bias(const amg_call *call)
{
    const layer_norm *s = call->self;
    context c = {.s = s, .dst = call->ptr[0], .dy = call->ptr[1]};
    amg_parallel_for(s->size, grain_of(s->rows), column_range, &c);
}

static int read_plain(amg_plan *p, int node, int i)
{
    int value = amg_plan_input_value(p, node, i);
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

void amg_layer_norm_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    layer_norm *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    int64_t axis = amg_attr_int(n, "axis", -1);
    if (axis < 0) axis += x->rank;
    s->rows = s->size = 1;
    for (int d = 0; d < x->rank; d++) *(d < axis ? &s->rows : &s->size) *= x->dims[d];
    s->centred = n->op == AMG_OP_LAYER_NORM;
    s->epsilon = (double)amg_attr_float(n, "epsilon", 1e-5f);
    s->statistics = amg_plan_temp(p, sizeof(float) * 2 * (size_t)s->rows);
    p->nodes[node].self = s;
    s->has_bias = amg_plan_input_value(p, node, 2) != AMG_NO_VALUE;
    int in = read_plain(p, node, 0), scale = read_plain(p, node, 1);
    int bias = s->has_bias ? read_plain(p, node, 2) : scale;
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "layer norm", run_forward, s, 5,
                    (int[]){out, in, s->statistics, scale, bias});
}

void amg_layer_norm_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const layer_norm *s = p->nodes[node].self;
    int scale = n->inputs[1], bias = amg_plan_input_value(p, node, 2);
    int dy = amg_plan_grad(p, node, NULL), in = read_plain(p, node, 0);
    if (amg_plan_needs_grad(p, scale)) {
        const amg_layout *plain = amg_plan_plain(p, scale);
        int d = amg_plan_grad_target(p, scale, plain);
        amg_emit_kernel(p, node, "layer norm d-scale", run_scale, s, 4,
                        (int[]){d, dy, in, s->statistics});
        amg_plan_give_grad(p, node, scale, d, plain);
    }
    if (amg_plan_needs_grad(p, bias)) {
        const amg_layout *plain = amg_plan_plain(p, bias);
        int d = amg_plan_grad_target(p, bias, plain);
        amg_emit_kernel(p, node, "layer norm d-bias", run_bias, s, 2, (int[]){d, dy});
        amg_plan_give_grad(p, node, bias, d, plain);
    }
    if (amg_plan_needs_grad(p, n->inputs[0])) {
        const amg_layout *plain = amg_plan_plain(p, n->inputs[0]);
        int dx = amg_plan_grad_exclusive(p, node)
                     ? dy
                     : amg_plan_grad_target(p, n->inputs[0], plain);
        amg_emit_kernel(p, node, "layer norm d-data", run_backward, s, 5,
                        (int[]){dx, dy, in, s->statistics, read_plain(p, node, 1)});
        amg_plan_give_grad(p, node, n->inputs[0], dx, plain);
    }
}
