/* GroupNormalization and InstanceNormalization (a group a channel): each sample's
 * groups of channels are brought to mean 0 and variance 1, then scaled and shifted by
 * channel, while training and otherwise. All in the input's own layout: one pass for
 * sums by sample and channel, in double, one pass that applies
 *
 *     y = x a + b      dx = dy p + x q + r      (a .. r per sample and channel)
 *
 * Legend: N samples, C channels, M values of a group. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    amg_geometry g;
    const amg_layout *layout;
    int64_t groups;
    float epsilon;
    int stats; /* buffer, f32 [N][groups][2]: mean, 1 / standard deviation */
} group_state;

/* Per sample and channel, padding included: factor of the first and the second operand,
 * and what is added. */
typedef struct {
    float of_a, of_b, plus;
} term;

typedef struct {
    const amg_geometry *g;
    float *dst;
    const float *a, *b;
    const term *terms; /* [N][blocks * block] */
} context;

/* dst = a of_a + b of_b + plus; padding has zero terms. */
static void apply_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const int64_t block = c->g->block, spatial = c->g->spatial;
    for (int64_t u = begin; u < end; u++) {
        const term *t = c->terms + u * block;
        int64_t at = u * spatial * block;
        if (block == 1) {
            for (int64_t i = at; i < at + spatial; i++)
                c->dst[i] = c->a[i] * t->of_a + c->b[i] * t->of_b + t->plus;
            continue;
        }
        for (int64_t s = 0; s < spatial; s++, at += block)
            for (int64_t k = 0; k < block; k++)
                c->dst[at + k] =
                    c->a[at + k] * t[k].of_a + c->b[at + k] * t[k].of_b + t[k].plus;
    }
}

/* Where channel ch of sample n stands among sums and terms. */
static int64_t place(const amg_geometry *g, int64_t n, int64_t ch)
{
    return n * g->blocks * g->block + ch;
}

static void clear_terms(const amg_geometry *g, term *terms)
{
    for (int64_t i = 0; i < g->n * g->blocks * g->block; i++) terms[i] = (term){0};
}

/* ptr: y, x, scale, bias, stats, sums, terms. */
static void run_forward(const amg_call *call)
{
    const group_state *s = call->self;
    const amg_geometry *g = &s->g;
    const float *x = call->ptr[1], *scale = call->ptr[2], *bias = call->ptr[3];
    float *stats = call->ptr[4];
    double *sums = call->ptr[5];
    term *terms = call->ptr[6];
    const int64_t width = g->channels / s->groups;
    const double count = (double)(width * g->spatial);
    amg_channel_sums(g, x, x, sums);
    clear_terms(g, terms);
    for (int64_t i = 0; i < g->n * s->groups; i++) {
        const int64_t n = i / s->groups, first = i % s->groups * width;
        double sum = 0, square = 0;
        for (int64_t ch = first; ch < first + width; ch++) {
            sum += sums[2 * place(g, n, ch)];
            square += sums[2 * place(g, n, ch) + 1];
        }
        const double mean = sum / count, v = square / count - mean * mean;
        const double rstd = 1 / sqrt((v > 0 ? v : 0) + (double)s->epsilon);
        stats[2 * i] = (float)mean;
        stats[2 * i + 1] = (float)rstd;
        for (int64_t ch = first; ch < first + width; ch++) {
            const double a = (double)scale[ch] * rstd;
            terms[place(g, n, ch)] =
                (term){(float)a, 0, (float)((double)bias[ch] - mean * a)};
        }
    }
    context c = {g, call->ptr[0], x, x, terms};
    amg_parallel_for(g->n * g->blocks, 4, apply_range, &c);
}

/* Gradients of scale and bias, from the sums of dy and of dy * x. */
static void channel_gradients(const group_state *s, const float *stats,
                              const double *sums, float *dscale, float *dbias)
{
    const amg_geometry *g = &s->g;
    const int64_t width = g->channels / s->groups;
    for (int64_t ch = 0; ch < g->channels; ch++) {
        double scale = 0, bias = 0;
        for (int64_t n = 0; n < g->n; n++) {
            const float *of = stats + 2 * (n * s->groups + ch / width);
            const double *sum = sums + 2 * place(g, n, ch);
            scale += (sum[1] - (double)of[0] * sum[0]) * (double)of[1];
            bias += sum[0];
        }
        dscale[ch] = (float)scale;
        dbias[ch] = (float)bias;
    }
}

/* dx = rstd (scale dy - mean of (scale dy) - xhat mean of (scale dy xhat)). */
static void data_terms(const group_state *s, const float *stats, const float *scale,
                       const double *sums, term *terms)
{
    const amg_geometry *g = &s->g;
    const int64_t width = g->channels / s->groups;
    const double count = (double)(width * g->spatial);
    clear_terms(g, terms);
    for (int64_t i = 0; i < g->n * s->groups; i++) {
        const int64_t n = i / s->groups, first = i % s->groups * width;
        const double mean = (double)stats[2 * i], rstd = (double)stats[2 * i + 1];
        double dy = 0, dy_xhat = 0;
        for (int64_t ch = first; ch < first + width; ch++) {
            const double *sum = sums + 2 * place(g, n, ch);
            dy += (double)scale[ch] * sum[0];
            dy_xhat += (double)scale[ch] * (sum[1] - mean * sum[0]) * rstd;
        }
        const double of_x = -rstd * rstd * dy_xhat / count;
        const double plus = -rstd * dy / count - mean * of_x;
        for (int64_t ch = first; ch < first + width; ch++)
            terms[place(g, n, ch)] =
                (term){(float)((double)scale[ch] * rstd), (float)of_x, (float)plus};
    }
}

/* ptr: dx, dscale, dbias, dy, x, scale, stats, sums, terms. */
static void run_backward(const amg_call *call)
{
    const group_state *s = call->self;
    const float *dy = call->ptr[3], *x = call->ptr[4], *stats = call->ptr[6];
    double *sums = call->ptr[7];
    term *terms = call->ptr[8];
    amg_channel_sums(&s->g, dy, x, sums);
    channel_gradients(s, stats, sums, call->ptr[1], call->ptr[2]);
    data_terms(s, stats, call->ptr[5], sums, terms);
    context c = {&s->g, call->ptr[0], dy, x, terms};
    amg_parallel_for(s->g.n * s->g.blocks, 4, apply_range, &c);
}

static size_t terms_bytes(const amg_geometry *g)
{
    return (size_t)(g->n * g->blocks * g->block) * sizeof(term);
}

void amg_group_norm_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    group_state *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    p->nodes[node].self = s;
    s->layout = amg_plan_layout(p, n->inputs[0]);
    if (!p->status && !amg_layout_geometry(s->layout, &s->g)) {
        s->layout = amg_plan_plain(p, n->inputs[0]);
        if (s->layout) (void)amg_layout_geometry(s->layout, &s->g);
    }
    if (p->status) return;
    s->groups =
        n->op == AMG_OP_GROUP_NORM ? amg_attr_int(n, "num_groups", 1) : s->g.channels;
    s->epsilon = amg_attr_float(n, "epsilon", 1e-5f);
    s->stats = amg_plan_temp(p, (size_t)(s->g.n * s->groups) * 2 * sizeof(float));
    int x = amg_plan_read(p, node, n->inputs[0], s->layout);
    int scale = amg_plan_read(p, node, n->inputs[1], NULL);
    int bias = amg_plan_read(p, node, n->inputs[2], NULL);
    int y = amg_plan_define(p, n->outputs[0], s->layout);
    amg_emit_kernel(p, node, "group norm", run_forward, s, 7,
                    (int[]){y, x, scale, bias, s->stats,
                            amg_plan_temp(p, amg_channel_sums_bytes(&s->g)),
                            amg_plan_temp(p, terms_bytes(&s->g))});
}

void amg_group_norm_backward(amg_plan *p, int node)
{
    const group_state *s = p->nodes[node].self;
    const amg_node *n = amg_plan_node(p, node);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_exclusive(p, node)
                 ? dy
                 : amg_plan_grad_target(p, n->inputs[0], s->layout);
    int dscale = amg_plan_grad_target(p, n->inputs[1], NULL);
    int dbias = amg_plan_grad_target(p, n->inputs[2], NULL);
    amg_emit_kernel(p, node, "group norm backward", run_backward, s, 9,
                    (int[]){dx, dscale, dbias, dy,
                            amg_plan_read(p, node, n->inputs[0], s->layout),
                            amg_plan_read(p, node, n->inputs[1], NULL), s->stats,
                            amg_plan_temp(p, amg_channel_sums_bytes(&s->g)),
                            amg_plan_temp(p, terms_bytes(&s->g))});
    amg_plan_give_grad(p, node, n->inputs[0], dx, s->layout);
    amg_plan_give_grad(p, node, n->inputs[1], dscale, NULL);
    amg_plan_give_grad(p, node, n->inputs[2], dbias, NULL);
}
