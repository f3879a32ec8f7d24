/* Dropout, as PyTorch scales it: kept values are divided by 1 - ratio. Masks are a pure
 * function of (seed, which dropout of the sub-network, step, element), so that a
 * resumed or an obfuscated run drops the same values. Nothing happens in evaluation. */
#include <math.h>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/vector.h"
#include "engine/kernel.h"

/* Keeps these draws apart from those of amg_rng_init with the same seed. */
#define DROPOUT_KEY UINT64_C(0x9d5c1f4b7a3e6082)
#define GROUP (4 * AMG_PHILOX_LANES) /* elements drawn together */
#define GRAIN (4096 / GROUP)

typedef struct {
    float ratio;
    uint32_t ordinal;
    int64_t count;
} dropout;

typedef struct {
    const dropout *d;
    const amg_call *call;
    uint32_t key[2];
} context;

/* Element i draws word i of the stream, 24 bits of it: kept unless below the ratio. */
AMG_VECTOR static void draw_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const float scale = 1 / (1 - c->d->ratio);
    const uint32_t first_kept = (uint32_t)ceilf(c->d->ratio * 0x1p24f);
    const uint64_t step = (uint64_t)c->call->step;
    for (int64_t g = begin; g < end; g++) {
        const uint32_t counter[4] = {(uint32_t)(g * AMG_PHILOX_LANES), c->d->ordinal,
                                     (uint32_t)step, (uint32_t)(step >> 32)};
        const int64_t first = g * GROUP, left = c->d->count - first;
        const int64_t count = left < GROUP ? left : GROUP;
        float *y = (float *)c->call->ptr[0] + first;
        const float *x = (const float *)c->call->ptr[1] + first;
        uint8_t *mask = (uint8_t *)c->call->ptr[2] + first;
        uint32_t words[GROUP];
        amg_philox_lanes(c->key, counter, words);
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            const bool keep = words[i] >> 8 >= first_kept;
            mask[i] = keep;
            y[i] = keep ? x[i] * scale : 0;
        }
    }
}

static void run_forward(const amg_call *call)
{
    const dropout *d = call->self;
    uint64_t key = call->seed ^ DROPOUT_KEY;
    context c = {d, call, {(uint32_t)key, (uint32_t)(key >> 32)}};
    amg_parallel_for((d->count + GROUP - 1) / GROUP, GRAIN, draw_range, &c);
}

AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    float *dx = c->call->ptr[0];
    const float *dy = c->call->ptr[1];
    const uint8_t *mask = c->call->ptr[2];
    float scale = 1 / (1 - c->d->ratio);
#pragma omp simd
    for (int64_t i = begin; i < end; i++) dx[i] = mask[i] ? dy[i] * scale : 0;
}

static void run_backward(const amg_call *call)
{
    const dropout *d = call->self;
    context c = {.d = d, .call = call};
    amg_parallel_for(d->count, GRAIN * GROUP, backward_range, &c);
}

typedef struct {
    dropout d;
    int mask; /* buffer, AMG_NO_BUFFER: nothing is dropped */
} dropout_state;

/* Input 1 from opset 12 on, attribute before. */
static float find_ratio(amg_plan *p, int node)
{
    int value = amg_plan_input_value(p, node, 1);
    float ratio = amg_attr_float(amg_plan_node(p, node), "ratio", 0.5f);
    if (value != AMG_NO_VALUE) {
        const amg_tensor *t = amg_plan_constant(p, value);
        if (t && t->dtype == AMG_F32 && amg_tensor_count(t) == 1)
            ratio = *(const float *)t->data;
        else
            ratio = -1;
    }
    if (!(ratio >= 0 && ratio < 1))
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "ratio must be a constant f32 scalar in [0, 1)");
    return ratio;
}

void amg_dropout_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0], y = n->outputs[0];
    dropout_state *self = amg_plan_alloc(p, 1, sizeof *self);
    const amg_layout *layout = amg_plan_layout(p, x);
    float ratio = find_ratio(p, node);
    int in = amg_plan_read(p, node, x, NULL), out = in;
    if (n->num_outputs > 1 && n->outputs[1] != AMG_NO_VALUE &&
        p->values[n->outputs[1]].num_uses > 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "the mask output is used");
    if (p->status) return;
    p->nodes[node].self = self;
    self->mask = AMG_NO_BUFFER;
    if (!p->options.training || ratio == 0) {
        amg_plan_define_as(p, y, layout, in);
        return;
    }
    self->d = (dropout){ratio, (uint32_t)p->nodes[node].ordinal,
                        (int64_t)(amg_layout_bytes(layout) / sizeof(float))};
    self->mask = amg_plan_temp(p, (size_t)self->d.count);
    if (amg_plan_may_overwrite(p, x))
        amg_plan_define_as(p, y, layout, in);
    else
        out = amg_plan_define(p, y, layout);
    amg_emit_kernel(p, node, "dropout", run_forward, &self->d, 3,
                    (int[]){out, in, self->mask});
}

void amg_dropout_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const dropout_state *self = p->nodes[node].self;
    int dy = amg_plan_grad(p, node, NULL), dx = dy;
    if (self->mask != AMG_NO_BUFFER) {
        if (!amg_plan_grad_exclusive(p, node))
            dx = amg_plan_grad_target(p, n->inputs[0], NULL);
        amg_emit_kernel(p, node, "dropout backward", run_backward, &self->d, 3,
                        (int[]){dx, dy, self->mask});
    }
    amg_plan_give_grad(p, node, n->inputs[0], dx, NULL);
}
