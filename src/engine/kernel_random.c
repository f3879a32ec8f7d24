/* Random numbers that a network adds or multiplies by: RandomNormalLike and
 * RandomUniformLike. As masks of dropout they are a pure function of (seed, which of
 * the sub-network, step, element); evaluation has their mean in place of all, as it has
 * of dropout. */
#include <math.h>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/vector.h"
#include "engine/kernel.h"

/* Keeps these draws apart from those of dropout and of amg_rng_init. */
#define NOISE_KEY UINT64_C(0x3b1f6a92d84c70e5)
#define GROUP (4 * AMG_PHILOX_LANES) /* elements drawn together */
#define GRAIN (4096 / GROUP)
#define TWO_PI 6.28318530717958647692f

typedef struct {
    bool normal;
    float from, by; /* mean and deviation, or the lower end and how far the upper is */
    uint32_t ordinal;
    int64_t count;
} noise;

typedef struct {
    const noise *d;
    float *y;
    int64_t step;
    uint32_t key[2];
} context;

/* [0, 1), 24 bits */
static float unit(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

/* Element i of a group is made of word i; of normal numbers two of two (Box-Muller). */
AMG_VECTOR static void draw_group(const noise *d, const uint32_t words[GROUP],
                                  float out[GROUP])
{
    if (!d->normal) {
#pragma omp simd
        for (int i = 0; i < GROUP; i++) out[i] = d->from + d->by * unit(words[i]);
        return;
    }
    for (int i = 0; i < GROUP; i += 2) {
        const float radius = d->by * sqrtf(-2 * logf(1 - unit(words[i])));
        const float angle = TWO_PI * unit(words[i + 1]);
        out[i] = d->from + radius * cosf(angle);
        out[i + 1] = d->from + radius * sinf(angle);
    }
}

static void draw_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const uint64_t step = (uint64_t)c->step;
    for (int64_t g = begin; g < end; g++) {
        const uint32_t counter[4] = {(uint32_t)(g * AMG_PHILOX_LANES), c->d->ordinal,
                                     (uint32_t)step, (uint32_t)(step >> 32)};
        const int64_t first = g * GROUP, left = c->d->count - first;
        uint32_t words[GROUP];
        float drawn[GROUP];
        amg_philox_lanes(c->key, counter, words);
        draw_group(c->d, words, drawn);
        for (int64_t i = 0; i < GROUP && i < left; i++) c->y[first + i] = drawn[i];
    }
}

static void run_draw(const amg_call *call)
{
    const uint64_t key = call->seed ^ NOISE_KEY;
    context c = {
        call->self, call->ptr[0], call->step, {(uint32_t)key, (uint32_t)(key >> 32)}};
    amg_parallel_for((c.d->count + GROUP - 1) / GROUP, GRAIN, draw_range, &c);
}

static void run_mean(const amg_call *call)
{
    const noise *d = call->self;
    float *y = call->ptr[0];
    const float mean = d->normal ? d->from : d->from + d->by / 2;
    for (int64_t i = 0; i < d->count; i++) y[i] = mean;
}

void amg_random_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    noise *d = amg_plan_alloc(p, 1, sizeof *d);
    if (!d) return;
    const amg_layout *layout = amg_plan_plain(p, n->outputs[0]);
    const float low = amg_attr_float(n, "low", 0);
    d->normal = n->op == AMG_OP_RANDOM_NORMAL_LIKE;
    d->from = d->normal ? amg_attr_float(n, "mean", 0) : low;
    d->by =
        d->normal ? amg_attr_float(n, "scale", 1) : amg_attr_float(n, "high", 1) - low;
    d->ordinal = (uint32_t)p->nodes[node].ordinal;
    const int y = amg_plan_define(p, n->outputs[0], layout);
    if (p->status) return;
    d->count = (int64_t)(amg_layout_bytes(layout) / sizeof(float));
    amg_emit_kernel(p, node, "noise", p->options.training ? run_draw : run_mean, d, 1,
                    &y);
}
