/* BatchNormalization: batch statistics while training, running statistics otherwise,
 * with a following Relu fused in. The running statistics move in the backward pass,
 * once a step, also where no gradient flows; frozen ones stay, and normalise. */
#include "base/parallel.h"
#include "base/vector.h"
#include "engine/kernel.h"

typedef struct {
    amg_norm_shape shape;
    amg_primitive *forward;
    const amg_layout *data;
    int mean, variance, mask; /* buffers */
} norm_state;

/* ---- batch statistics, summed in double: oneDNN adds a channel's values one after the
 * other in f32, which loses a digit and a half on a few thousand of them. -------------
 */

#define MAX_BLOCK 16 /* channels that are summed side by side */

typedef struct {
    const amg_geometry *g;
    const float *x;
    double *sums; /* [n][blocks][2][block]: of x and of x * x over one sample */
} sums_context;

/* Sums part channels over one sample's block; inlined with part = MAX_BLOCK it is
 * straight vector code. */
AMG_INLINE void sum_channels(const float *x, int64_t spatial, int64_t stride,
                             int64_t part, double *sums, double *squares)
{
    double sum[MAX_BLOCK] = {0}, square[MAX_BLOCK] = {0};
    for (int64_t s = 0; s < spatial; s++) {
#pragma omp simd
        for (int64_t k = 0; k < part; k++) {
            const double v = (double)x[s * stride + k];
            sum[k] += v;
            square[k] += v * v;
        }
    }
    for (int64_t k = 0; k < part; k++) sums[k] = sum[k];
    for (int64_t k = 0; k < part; k++) squares[k] = square[k];
}

AMG_VECTOR static void sum_range(void *arg, int64_t begin, int64_t end)
{
    const sums_context *c = arg;
    const amg_geometry *g = c->g;
    for (int64_t i = begin; i < end; i++) {
        const float *x = c->x + i * g->spatial * g->block;
        double *sums = c->sums + i * g->block * 2, *squares = sums + g->block;
        for (int64_t k = 0; k < g->block; k += MAX_BLOCK) {
            const int64_t part = g->block - k;
            if (part >= MAX_BLOCK)
                sum_channels(x + k, g->spatial, g->block, MAX_BLOCK, sums + k,
                             squares + k);
            else
                sum_channels(x + k, g->spatial, g->block, part, sums + k, squares + k);
        }
    }
}

/* ptr: mean, variance, x, sums. The same bits for any number of threads: samples are
 * summed apart, then in order. */
static void batch_stats(const amg_call *call)
{
    const amg_geometry *g = call->self;
    float *mean = call->ptr[0], *variance = call->ptr[1];
    sums_context c = {g, call->ptr[2], call->ptr[3]};
    amg_parallel_for(g->n * g->blocks, 4, sum_range, &c);
    const int64_t stride = g->blocks * g->block * 2;
    const double count = (double)(g->n * g->spatial);
    for (int64_t k = 0; k < g->channels; k++) {
        const double *sums = c.sums + k / g->block * g->block * 2 + k % g->block;
        double sum = 0, square = 0;
        for (int64_t i = 0; i < g->n; i++) {
            sum += sums[i * stride];
            square += sums[i * stride + g->block];
        }
        const double m = sum / count, v = square / count - m * m;
        mean[k] = (float)m;
        variance[k] = v > 0 ? (float)v : 0;
    }
}

static void emit_batch_stats(amg_plan *p, int node, const norm_state *self, int x)
{
    amg_geometry *g = amg_plan_alloc(p, 1, sizeof *g);
    if (!g || !amg_layout_geometry(self->data, g)) return;
    int sums =
        amg_plan_temp(p, (size_t)(g->n * g->blocks * g->block) * 2 * sizeof(double));
    amg_emit_kernel(p, node, "batch statistics", batch_stats, g, 4,
                    (int[]){self->mean, self->variance, x, sums});
}

/* running = running * momentum + batch * (1 - momentum), ONNX's momentum. */
typedef struct {
    int64_t channels;
    float momentum;
    float unbias; /* n / (n - 1): PyTorch keeps the unbiased variance */
} stats_params;

static void update_stats(const amg_call *call)
{
    const stats_params *s = call->self;
    const float *mean = call->ptr[0], *variance = call->ptr[1];
    float *running_mean = call->ptr[2], *running_variance = call->ptr[3];
    float keep = s->momentum, take = 1 - s->momentum;
    for (int64_t c = 0; c < s->channels; c++) {
        running_mean[c] = running_mean[c] * keep + mean[c] * take;
        running_variance[c] =
            running_variance[c] * keep + variance[c] * s->unbias * take;
    }
}

/* [N, C, S, 1] of any input: oneDNN wants four dims. Only a channel blocking looks at
 * the rank, and it places the same bytes. like NULL: row-major. */
static const amg_layout *flat(amg_plan *p, const amg_value *x, const amg_layout *like)
{
    int64_t dims[4] = {x->dims[0], x->dims[1], 1, 1};
    for (int i = 2; i < x->rank; i++) dims[2] *= x->dims[i];
    return like ? amg_layout_blocked_like(p->dnnl, like, 4, dims)
                : amg_layout_plain(p->dnnl, 4, dims);
}

/* The forward primitive in the input's own layout, of which the statistics know where a
 * channel lies, else in row-major order, else in row-major order with the Relu left to
 * itself. */
static amg_status choose(amg_plan *p, int node, norm_state *self, amg_error *err)
{
    const int value = amg_plan_input_value(p, node, 0);
    const amg_value *x = amg_plan_value(p, value);
    const amg_layout *own = amg_plan_layout(p, value),
                     *plain = amg_plan_plain(p, value);
    if (p->status) return p->status;
    if (x->rank != 4) {
        own = flat(p, x, own);
        plain = flat(p, x, NULL);
    }
    if (!plain || !own)
        return amg_fail(err, AMG_NO_MEMORY, -1, "", "no memory for a layout");
    amg_geometry g;
    amg_status status = AMG_UNSUPPORTED;
    self->data = own;
    if (amg_layout_geometry(own, &g))
        status = amg_dnnl_norm(p->dnnl, &self->shape, own, NULL, &self->forward, err);
    if (status != AMG_UNSUPPORTED) return status;
    self->data = plain;
    status = amg_dnnl_norm(p->dnnl, &self->shape, plain, NULL, &self->forward, err);
    if (status != AMG_UNSUPPORTED || !self->shape.fuse_relu) return status;
    self->shape.fuse_relu = false;
    amg_plan_unfuse(p, node);
    return amg_dnnl_norm(p->dnnl, &self->shape, plain, NULL, &self->forward, err);
}

void amg_norm_forward(amg_plan *p, int node)
{
    norm_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    p->nodes[node].self = self;
    const amg_node *n = amg_plan_node(p, node);
    self->shape = (amg_norm_shape){.epsilon = amg_attr_float(n, "epsilon", 1e-5f),
                                   .training = p->options.training,
                                   .fixed = amg_plan_is_frozen(p, n->inputs[3]),
                                   .fuse_relu = p->nodes[node].fused >= 0};
    if (amg_plan_is_frozen(p, n->inputs[4]) != self->shape.fixed) {
        amg_plan_fail(p, node, AMG_INVALID,
                      "one of mean and variance is frozen, expected both or none");
        return;
    }
    amg_error err = {0};
    amg_status status = choose(p, node, self, &err);
    if (status) {
        amg_plan_fail_with(p, node, status, &err);
        return;
    }
    const amg_primitive *f = self->forward;
    int result = amg_plan_result(p, node);
    const amg_layout *out = amg_plan_value(p, result)->rank == 4
                                ? self->data
                                : amg_plan_blocked_like(p, self->data, result);
    const bool batch = self->shape.training && !self->shape.fixed;
    if (batch) {
        size_t bytes = amg_layout_bytes(amg_primitive_layout(f, AMG_ARG_SCALE));
        self->mean = amg_plan_temp(p, bytes);
        self->variance = amg_plan_temp(p, bytes);
    } else {
        self->mean = amg_plan_read(p, node, n->inputs[3], NULL);
        self->variance = amg_plan_read(p, node, n->inputs[4], NULL);
    }
    int x = amg_plan_read(p, node, n->inputs[0], self->data);
    if (batch) emit_batch_stats(p, node, self, x);
    amg_use uses[7] = {{AMG_ARG_SRC, x},
                       {AMG_ARG_SCALE, amg_plan_read(p, node, n->inputs[1], NULL)},
                       {AMG_ARG_SHIFT, amg_plan_read(p, node, n->inputs[2], NULL)},
                       {AMG_ARG_MEAN, self->mean},
                       {AMG_ARG_VARIANCE, self->variance},
                       {AMG_ARG_DST, amg_plan_define(p, result, out)}};
    const amg_layout *mask = amg_primitive_layout(f, AMG_ARG_WORKSPACE);
    if (mask) {
        self->mask = amg_plan_temp(p, amg_layout_bytes(mask));
        uses[6] = (amg_use){AMG_ARG_WORKSPACE, self->mask};
    }
    amg_emit_primitive(p, node, self->shape.fuse_relu ? "norm+relu" : "norm",
                       self->forward, 6 + (mask != NULL), uses);
}

static void emit_stats(amg_plan *p, int node)
{
    const norm_state *self = p->nodes[node].self;
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    stats_params *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    int64_t count = 1;
    for (int i = 0; i < x->rank; i++) count *= i == 1 ? 1 : x->dims[i];
    s->channels = x->dims[1];
    s->momentum = amg_attr_float(n, "momentum", 0.9f);
    s->unbias = count > 1 ? (float)((double)count / (double)(count - 1)) : 1;
    amg_emit_kernel(p, node, "running statistics", update_stats, s, 4,
                    (int[]){self->mean, self->variance,
                            amg_plan_read(p, node, n->inputs[3], NULL),
                            amg_plan_read(p, node, n->inputs[4], NULL)});
}

void amg_norm_backward(amg_plan *p, int node)
{
    const norm_state *self = p->nodes[node].self;
    const amg_node *n = amg_plan_node(p, node);
    if (!self->shape.fixed) emit_stats(p, node);
    if (p->status || p->values[amg_plan_result(p, node)].grad == AMG_NO_BUFFER) return;
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status =
        amg_dnnl_norm(p->dnnl, &self->shape, self->data, self->forward, &prim, &err);
    if (status) {
        amg_plan_fail_with(p, node, status, &err);
        return;
    }
    int dy = amg_plan_grad(p, node, self->data);
    /* oneDNN may overwrite the gradient it reads. */
    int dx = amg_plan_grad_exclusive(p, node)
                 ? dy
                 : amg_plan_grad_target(p, n->inputs[0], self->data);
    int dscale = amg_plan_grad_target(p, n->inputs[1], NULL);
    int dshift = amg_plan_grad_target(p, n->inputs[2], NULL);
    amg_use uses[10] = {{AMG_ARG_SRC, amg_plan_read(p, node, n->inputs[0], self->data)},
                        {AMG_ARG_MEAN, self->mean},
                        {AMG_ARG_VARIANCE, self->variance},
                        {AMG_ARG_SCALE, amg_plan_read(p, node, n->inputs[1], NULL)},
                        {AMG_ARG_SHIFT, amg_plan_read(p, node, n->inputs[2], NULL)},
                        {AMG_ARG_DIFF_DST, dy},
                        {AMG_ARG_DIFF_SRC, dx},
                        {AMG_ARG_DIFF_SCALE, dscale},
                        {AMG_ARG_DIFF_SHIFT, dshift},
                        {AMG_ARG_WORKSPACE, self->mask}};
    bool mask = amg_primitive_layout(prim, AMG_ARG_WORKSPACE) != NULL;
    amg_emit_primitive(p, node, "norm backward", prim, 9 + mask, uses);
    amg_plan_give_grad(p, node, n->inputs[0], dx, self->data);
    amg_plan_give_grad(p, node, n->inputs[1], dscale, NULL);
    amg_plan_give_grad(p, node, n->inputs[2], dshift, NULL);
}
