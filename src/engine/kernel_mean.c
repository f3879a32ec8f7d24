/* GlobalAveragePool and ReduceMean over H and W: any channel blocking in, row-major
 * [N, C] out. One unit of work is one channel block of one sample. */
#include "base/parallel.h"
#include "engine/kernel.h"

#define MAX_BLOCK 64 /* channels that are summed side by side */

typedef struct {
    const amg_layout *layout; /* of the input, as it is read */
    amg_geometry g;
} mean_state;

typedef struct {
    const amg_geometry *g;
    const float *src;
    float *dst;
} context;

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_geometry *g = c->g;
    float scale = 1.0f / (float)g->spatial;
    for (int64_t i = begin; i < end; i++) {
        int64_t n = i / g->blocks, first = i % g->blocks * g->block;
        const float *x = c->src + i * g->spatial * g->block;
        float *y = c->dst + n * g->channels + first;
        int64_t width = g->channels - first < g->block ? g->channels - first : g->block;
        for (int64_t c0 = 0; c0 < width; c0 += MAX_BLOCK) {
            int64_t part = width - c0 < MAX_BLOCK ? width - c0 : MAX_BLOCK;
            float sum[MAX_BLOCK] = {0};
            for (int64_t s = 0; s < g->spatial; s++)
                for (int64_t k = 0; k < part; k++) sum[k] += x[s * g->block + c0 + k];
            for (int64_t k = 0; k < part; k++) y[c0 + k] = sum[k] * scale;
        }
    }
}

static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_geometry *g = c->g;
    float scale = 1.0f / (float)g->spatial;
    for (int64_t i = begin; i < end; i++) {
        int64_t n = i / g->blocks, first = i % g->blocks * g->block;
        const float *dy = c->src + n * g->channels + first;
        float *dx = c->dst + i * g->spatial * g->block;
        for (int64_t s = 0; s < g->spatial; s++)
            for (int64_t k = 0; k < g->block; k++)
                dx[s * g->block + k] = first + k < g->channels ? dy[k] * scale : 0;
    }
}

static void run_forward(const amg_call *call)
{
    const mean_state *self = call->self;
    context c = {&self->g, call->ptr[1], call->ptr[0]};
    amg_parallel_for(self->g.n * self->g.blocks, 16, forward_range, &c);
}

static void run_backward(const amg_call *call)
{
    const mean_state *self = call->self;
    context c = {&self->g, call->ptr[1], call->ptr[0]};
    amg_parallel_for(self->g.n * self->g.blocks, 16, backward_range, &c);
}

bool amg_mean_over_image(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    if (x->rank != 4 || n->op != AMG_OP_REDUCE_MEAN) return false;
    const int64_t *axes = NULL;
    int64_t count = 0;
    const amg_attr *a = amg_attr_find(n, "axes");
    const amg_tensor *t = amg_plan_constant(p, amg_plan_input_value(p, node, 1));
    if (a) {
        axes = a->ints;
        count = a->count;
    } else if (t && t->dtype == AMG_I64) {
        axes = t->data;
        count = amg_tensor_count(t);
    }
    bool seen[4] = {false};
    for (int64_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < 2 || axis > 3) return false;
        seen[axis] = true;
    }
    return seen[2] && seen[3];
}

void amg_global_pool_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0], y = n->outputs[0];
    mean_state *self = amg_plan_alloc(p, 1, sizeof *self);
    const amg_layout *layout = amg_plan_layout(p, x);
    if (p->status) return;
    if (!amg_layout_geometry(layout, &self->g)) {
        layout = amg_plan_plain(p, x);
        if (!layout || !amg_layout_geometry(layout, &self->g)) return;
    }
    self->layout = layout;
    p->nodes[node].self = self;
    int in = amg_plan_read(p, node, x, layout);
    int out = amg_plan_define(p, y, amg_plan_plain(p, y));
    amg_emit_kernel(p, node, "mean", run_forward, self, 2, (int[]){out, in});
}

void amg_global_pool_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int dy = amg_plan_grad(p, node, NULL);
    mean_state *self = p->nodes[node].self;
    int dx = amg_plan_grad_target(p, n->inputs[0], self->layout);
    amg_emit_kernel(p, node, "mean backward", run_backward, self, 2, (int[]){dx, dy});
    amg_plan_give_grad(p, node, n->inputs[0], dx, self->layout);
}
