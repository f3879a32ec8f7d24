/* Dropout, as PyTorch scales it: kept values are divided by 1 - ratio. Masks are a pure
 * function of (seed, which dropout of the sub-network, step, element), so that a
 * resumed or an obfuscated run drops the same values. Nothing happens in evaluation.
 *
 * A mask whose draws count along some dims (graph/drop_mask.h) is drawn in its own
 * shape, then applied row by row: the input as it lies in memory is a tensor of up to
 * AMG_MAX_RANK dims, each with a stride in the mask. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/vector.h"
#include "engine/kernel.h"
#include "graph/drop_mask.h"

/* Keeps these draws apart from those of amg_rng_init with the same seed. */
#define DROPOUT_KEY UINT64_C(0x9d5c1f4b7a3e6082)
#define GROUP (4 * AMG_PHILOX_LANES) /* elements drawn together */
#define GRAIN (4096 / GROUP)

typedef struct {
    float ratio;
    uint32_t ordinal;
    int64_t count; /* draws */
    int rank;      /* of the rows, the last dim being one row */
    int64_t dims[AMG_MAX_RANK], stride[AMG_MAX_RANK]; /* strides in the mask */
} dropout;

typedef struct {
    const dropout *d;
    const amg_call *call;
    float *y;       /* or dx; NULL: the mask alone is drawn */
    const float *x; /* or dy */
    uint8_t *mask;
    uint32_t key[2];
} context;

/* Draw i is word i of the stream, 24 bits of it: kept unless below the ratio. */
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
        uint8_t *mask = c->mask + first;
        uint32_t words[GROUP];
        amg_philox_lanes(c->key, counter, words);
#pragma omp simd
        for (int64_t i = 0; i < count; i++) mask[i] = words[i] >> 8 >= first_kept;
        if (!c->y) continue;
        float *y = c->y + first;
        const float *x = c->x + first;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) y[i] = mask[i] ? x[i] * scale : 0;
    }
}

static context context_of(const amg_call *call, float *y, const float *x, uint8_t *mask)
{
    const uint64_t key = call->seed ^ DROPOUT_KEY;
    return (context){call->self, call, y,
                     x,          mask, {(uint32_t)key, (uint32_t)(key >> 32)}};
}

/* ptr: y, x, mask */
static void run_forward(const amg_call *call)
{
    context c = context_of(call, call->ptr[0], call->ptr[1], call->ptr[2]);
    amg_parallel_for((c.d->count + GROUP - 1) / GROUP, GRAIN, draw_range, &c);
}

/* ptr: mask */
static void run_draw(const amg_call *call)
{
    context c = context_of(call, NULL, NULL, call->ptr[0]);
    amg_parallel_for((c.d->count + GROUP - 1) / GROUP, GRAIN, draw_range, &c);
}

AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const float scale = 1 / (1 - c->d->ratio);
#pragma omp simd
    for (int64_t i = begin; i < end; i++) c->y[i] = c->mask[i] ? c->x[i] * scale : 0;
}

/* ptr: dx, dy, mask */
static void run_backward(const amg_call *call)
{
    context c = context_of(call, call->ptr[0], call->ptr[1], call->ptr[2]);
    amg_parallel_for(c.d->count, GRAIN * GROUP, backward_range, &c);
}

/* Position in the mask of a row. */
static int64_t position(const dropout *d, int64_t row)
{
    int64_t at = 0;
    for (int i = d->rank - 2; i >= 0; i--) {
        at += row % d->dims[i] * d->stride[i];
        row /= d->dims[i];
    }
    return at;
}

/* y = x by the mask: values forward, gradients backward. */
AMG_VECTOR static void apply_rows(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const int64_t n = c->d->dims[c->d->rank - 1];
    const float scale = 1 / (1 - c->d->ratio);
    for (int64_t r = begin; r < end; r++) {
        const uint8_t *mask = c->mask + position(c->d, r);
        const float *x = c->x + r * n;
        float *y = c->y + r * n;
        if (c->d->stride[c->d->rank - 1]) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = mask[i] ? x[i] * scale : 0;
        } else if (*mask) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale;
        } else {
            memset(y, 0, (size_t)n * sizeof *y);
        }
    }
}

/* ptr: y or dx, x or dy, mask */
static void run_apply(const amg_call *call)
{
    context c = context_of(call, call->ptr[0], call->ptr[1], call->ptr[2]);
    int64_t rows = 1, n = c.d->dims[c.d->rank - 1];
    for (int i = 0; i < c.d->rank - 1; i++) rows *= c.d->dims[i];
    amg_parallel_for(rows, 4096 / (n ? n : 1) + 1, apply_rows, &c);
}

typedef struct {
    dropout d;
    const amg_layout *layout;
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

int amg_dropout_draw(amg_plan *p, int node, int64_t count, float *scale)
{
    const float ratio = find_ratio(p, node);
    dropout *d = amg_plan_alloc(p, 1, sizeof *d);
    if (p->status || !p->options.training || ratio == 0) return AMG_NO_BUFFER;
    *d = (dropout){ratio, (uint32_t)p->nodes[node].ordinal, .count = count};
    *scale = 1 / (1 - ratio);
    const int mask = amg_plan_temp(p, (size_t)count);
    amg_emit_kernel(p, node, "dropout mask", run_draw, d, 1, &mask);
    return mask;
}

/* Rows of a mask along whole positions of x, in whatever channel blocks it lies: one
 * draw for each sample, or for each channel of a sample, with the blocks' padding. */
static void by_channels(dropout *d, const amg_geometry *g, bool each)
{
    const int64_t row = each ? g->blocks * g->block : 1;
    d->count = g->n * row;
    d->rank = 4;
    memcpy(d->dims, (int64_t[]){g->n, g->blocks, g->spatial, g->block},
           4 * sizeof *d->dims);
    memcpy(d->stride, (int64_t[]){row, each ? g->block : 0, 0, each},
           4 * sizeof *d->stride);
    if (each && g->block > 1) return;
    d->rank = 3; /* a block of positions is one row */
    d->dims[2] *= g->block;
}

/* Rows of a mask along any dims of a row-major x. */
static void by_dims(dropout *d, const amg_node *n, const amg_value *x)
{
    int64_t mask[AMG_MAX_RANK];
    amg_drop_mask_dims(n, x, mask);
    d->count = 1;
    d->rank = x->rank;
    for (int i = x->rank - 1; i >= 0; i--) {
        d->dims[i] = x->dims[i];
        d->stride[i] = mask[i] == 1 ? 0 : d->count;
        d->count *= mask[i];
    }
    for (; d->rank > 1 && !d->stride[d->rank - 1] && !d->stride[d->rank - 2]; d->rank--)
        d->dims[d->rank - 2] *= d->dims[d->rank - 1];
}

/* How the mask of a dropout with axes lies over x, and the layout in which x is read:
 * its own where the axes have all positions of an image in them. */
static const amg_layout *describe_rows(amg_plan *p, int node, dropout *d)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_attr *axes = amg_attr_find(n, AMG_DROP_AXES);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_layout *layout = amg_plan_layout(p, n->inputs[0]);
    const bool each = axes->ints[0] != 1;
    amg_geometry g;
    if (layout && x->rank > 2 && axes->count == x->rank - 1 - each &&
        amg_layout_geometry(layout, &g)) {
        by_channels(d, &g, each);
        return layout;
    }
    by_dims(d, n, x);
    return amg_plan_plain(p, n->inputs[0]);
}

void amg_dropout_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const int x = n->inputs[0], y = n->outputs[0];
    const bool in_rows = amg_attr_find(n, AMG_DROP_AXES) != NULL;
    dropout_state *self = amg_plan_alloc(p, 1, sizeof *self);
    float ratio = find_ratio(p, node);
    if (n->num_outputs > 1 && n->outputs[1] != AMG_NO_VALUE &&
        p->values[n->outputs[1]].num_uses > 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "the mask output is used");
    if (p->status) return;
    p->nodes[node].self = self;
    self->mask = AMG_NO_BUFFER;
    self->layout = amg_plan_layout(p, x);
    if (!p->options.training || ratio == 0) {
        amg_plan_define_as(p, y, self->layout, amg_plan_read(p, node, x, NULL));
        return;
    }
    self->d = (dropout){.ratio = ratio, .ordinal = (uint32_t)p->nodes[node].ordinal};
    if (in_rows)
        self->layout = describe_rows(p, node, &self->d);
    else
        self->d.count = (int64_t)(amg_layout_bytes(self->layout) / sizeof(float));
    if (p->status) return;
    const int in = amg_plan_read(p, node, x, self->layout);
    self->mask = amg_plan_temp(p, (size_t)self->d.count);
    const int out = amg_plan_define_over(p, node, self->layout, in, false);
    if (in_rows)
        amg_emit_kernel(p, node, "dropout mask", run_draw, &self->d, 1, &self->mask);
    amg_emit_kernel(p, node, "dropout", in_rows ? run_apply : run_forward, &self->d, 3,
                    (int[]){out, in, self->mask});
}

void amg_dropout_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const dropout_state *self = p->nodes[node].self;
    int dy = amg_plan_grad(p, node, self->layout), dx = dy;
    if (self->mask != AMG_NO_BUFFER) {
        if (!amg_plan_grad_exclusive(p, node))
            dx = amg_plan_grad_target(p, n->inputs[0], self->layout);
        amg_emit_kernel(p, node, "dropout backward",
                        self->d.rank ? run_apply : run_backward, &self->d, 3,
                        (int[]){dx, dy, self->mask});
    }
    amg_plan_give_grad(p, node, n->inputs[0], dx, self->layout);
}
