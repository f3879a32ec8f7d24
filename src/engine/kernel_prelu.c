/* PRelu: y = x where x > 0, else slope * x, with a parameter as the slope: one number,
 * or one a channel. Walks channel blocks in the input's own layout. Other slopes are
 * kernel_binary.c's. */
#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    amg_geometry g;
    const amg_layout *layout;
    bool per_channel;
} prelu_state;

typedef struct {
    const prelu_state *s;
    float *dst;
    const float *x, *dy, *slope;
    double *sums; /* [n][blocks * block] */
} context;

static float slope_at(const context *c, int64_t ch)
{
    if (!c->s->per_channel) return c->slope[0];
    return ch < c->s->g.channels ? c->slope[ch] : 0;
}

/* dst = x or dy, times the slope where x is not positive; padding stays zero. */
static void scale_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_geometry *g = &c->s->g;
    for (int64_t u = begin; u < end; u++) {
        int64_t at = u * g->spatial * g->block, ch = u % g->blocks * g->block;
        for (int64_t k = 0; k < g->block; k++) {
            float slope = slope_at(c, ch + k);
            for (int64_t i = at + k; i < at + g->spatial * g->block; i += g->block)
                c->dst[i] = c->x[i] > 0 ? c->dy[i] : slope * c->dy[i];
        }
    }
}

static void sum_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_geometry *g = &c->s->g;
    for (int64_t u = begin; u < end; u++) {
        int64_t at = u * g->spatial * g->block;
        for (int64_t k = 0; k < g->block; k++) {
            double sum = 0;
            for (int64_t i = at + k; i < at + g->spatial * g->block; i += g->block)
                sum += c->x[i] > 0 ? 0 : (double)c->x[i] * (double)c->dy[i];
            c->sums[u * g->block + k] = sum;
        }
    }
}

/* ptr: y, x, slope. */
static void run_forward(const amg_call *call)
{
    const prelu_state *s = call->self;
    context c = {.s = s,
                 .dst = call->ptr[0],
                 .x = call->ptr[1],
                 .dy = call->ptr[1],
                 .slope = call->ptr[2]};
    amg_parallel_for(s->g.n * s->g.blocks, 4, scale_range, &c);
}

/* ptr: dx, dy, x, slope. */
static void run_backward(const amg_call *call)
{
    const prelu_state *s = call->self;
    context c = {.s = s,
                 .dst = call->ptr[0],
                 .dy = call->ptr[1],
                 .x = call->ptr[2],
                 .slope = call->ptr[3]};
    amg_parallel_for(s->g.n * s->g.blocks, 4, scale_range, &c);
}

/* ptr: dslope, dy, x, sums. Samples are summed apart, then in order. */
static void run_slope(const amg_call *call)
{
    const prelu_state *s = call->self;
    const amg_geometry *g = &s->g;
    float *dslope = call->ptr[0];
    context c = {.s = s, .dy = call->ptr[1], .x = call->ptr[2], .sums = call->ptr[3]};
    amg_parallel_for(g->n * g->blocks, 4, sum_range, &c);
    double all = 0;
    for (int64_t ch = 0; ch < g->channels; ch++) {
        double sum = 0;
        for (int64_t n = 0; n < g->n; n++) sum += c.sums[n * g->blocks * g->block + ch];
        if (s->per_channel) dslope[ch] = (float)sum;
        all += sum;
    }
    if (!s->per_channel) dslope[0] = (float)all;
}

/* Whether the slope is a parameter of one number, or one a channel (axis 1 of x). */
static bool is_channelwise(const amg_plan *p, int node, bool *per_channel)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *slope = amg_plan_value(p, n->inputs[1]);
    int64_t count = 1;
    int channels = x->rank < 2 ? -1 : slope->rank - (x->rank - 1);
    for (int i = 0; i < slope->rank; i++) count *= slope->dims[i];
    *per_channel = count > 1;
    return slope->kind == AMG_VALUE_PARAM &&
           (count == 1 || (channels >= 0 && slope->dims[channels] == count));
}

void amg_prelu_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    bool per_channel;
    if (!is_channelwise(p, node, &per_channel)) {
        amg_binary_forward(p, node);
        return;
    }
    amg_plan_expect_f32(p, node, n->inputs[0]);
    prelu_state *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    p->nodes[node].self = s;
    s->per_channel = per_channel;
    s->layout = amg_plan_layout(p, n->inputs[0]);
    if (!p->status && !amg_layout_geometry(s->layout, &s->g)) {
        s->layout = amg_plan_plain(p, n->inputs[0]);
        if (s->layout) (void)amg_layout_geometry(s->layout, &s->g);
    }
    if (p->status) return;
    int x = amg_plan_read(p, node, n->inputs[0], s->layout);
    int a = amg_plan_read(p, node, n->inputs[1], NULL);
    amg_emit_kernel(p, node, "prelu", run_forward, s, 3,
                    (int[]){amg_plan_define(p, n->outputs[0], s->layout), x, a});
}

void amg_prelu_backward(amg_plan *p, int node)
{
    bool per_channel;
    if (!is_channelwise(p, node, &per_channel)) {
        amg_binary_backward(p, node);
        return;
    }
    const prelu_state *s = p->nodes[node].self;
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0], slope = n->inputs[1];
    int in = amg_plan_read(p, node, x, s->layout), dy = amg_plan_grad(p, node, NULL);
    if (amg_plan_needs_grad(p, slope)) {
        int sums = amg_plan_temp(p, amg_channel_sums_bytes(&s->g) / 2);
        int dslope = amg_plan_grad_target(p, slope, NULL);
        amg_emit_kernel(p, node, "prelu d-slope", run_slope, s, 4,
                        (int[]){dslope, dy, in, sums});
        amg_plan_give_grad(p, node, slope, dslope, NULL);
    }
    if (!amg_plan_needs_grad(p, x)) return;
    int dx =
        amg_plan_grad_exclusive(p, node) ? dy : amg_plan_grad_target(p, x, s->layout);
    amg_emit_kernel(p, node, "prelu d-data", run_backward, s, 4,
                    (int[]){dx, dy, in, amg_plan_read(p, node, slope, NULL)});
    amg_plan_give_grad(p, node, x, dx, s->layout);
}
