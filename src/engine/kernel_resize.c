/* Resize over one to three spatial dims, nearest, linear or cubic, in any channel
 * blocking. Along each dim an output position is a weighted sum of up to four input
 * positions, or of more where antialiasing widens the filter; the weights are tables
 * made while compiling, so all modes run the same loops. Fewer than three spatial dims
 * are three of which the first are 1. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "engine/kernel.h"
#include "graph/resize.h"

/* What one output index reads: the sum of in[at[i]] * part[i]. */
typedef struct {
    int64_t *at;
    float *part;
} taps;

typedef struct {
    amg_geometry g; /* of the input */
    const amg_layout *layout;
    int64_t in[AMG_MAX_DIMS], out[AMG_MAX_DIMS];
    int num_taps[AMG_MAX_DIMS];
    taps *of[AMG_MAX_DIMS];
} resize_state;

typedef struct {
    const resize_state *s;
    float *dst;
    const float *src;
} context;

/* ---- loops ------------------------------------------------------------------------
 */

/* One channel block of one sample, or one output position of it. */
typedef struct {
    float *to;
    const float *from;
    int64_t block;
} cell;

/* What happens between input position `at` and the output position at work. */
typedef void (*tap_fn)(const cell *c, int64_t at, float part);

AMG_INLINE void gather(const cell *c, int64_t at, float part)
{
    const float *in = c->from + at * c->block;
#pragma omp simd
    for (int64_t k = 0; k < c->block; k++) c->to[k] += in[k] * part;
}

AMG_INLINE void spread(const cell *c, int64_t at, float part)
{
    float *in = c->to + at * c->block;
#pragma omp simd
    for (int64_t k = 0; k < c->block; k++) in[k] += c->from[k] * part;
}

/* Calls tap for what output position o of a channel block reads. */
AMG_INLINE void each_tap(const resize_state *s, int64_t o, tap_fn tap, const cell *at)
{
    const taps *a = &s->of[0][o / (s->out[1] * s->out[2])];
    const taps *b = &s->of[1][o / s->out[2] % s->out[1]];
    const taps *c = &s->of[2][o % s->out[2]];
    for (int i = 0; i < s->num_taps[0]; i++)
        for (int j = 0; j < s->num_taps[1]; j++) {
            const int64_t row = (a->at[i] * s->in[1] + b->at[j]) * s->in[2];
            const float part = a->part[i] * b->part[j];
            for (int k = 0; k < s->num_taps[2]; k++)
                tap(at, row + c->at[k], part * c->part[k]);
        }
}

static int64_t outputs_of(const resize_state *s)
{
    return s->out[0] * s->out[1] * s->out[2];
}

/* One unit is one channel block of one sample. */
AMG_VECTOR static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const resize_state *s = c->s;
    const int64_t block = s->g.block, outputs = outputs_of(s);
    for (int64_t u = begin; u < end; u++)
        for (int64_t o = 0; o < outputs; o++) {
            const cell at = {c->dst + (u * outputs + o) * block,
                             c->src + u * s->g.spatial * block, block};
            for (int64_t k = 0; k < block; k++) at.to[k] = 0;
            each_tap(s, o, gather, &at);
        }
}

/* Spreads each output's gradient over what it read, in the order of the outputs. */
AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const resize_state *s = c->s;
    const int64_t block = s->g.block, outputs = outputs_of(s);
    const int64_t size = s->g.spatial * block;
    memset(c->dst + begin * size, 0, sizeof(float) * (size_t)((end - begin) * size));
    for (int64_t u = begin; u < end; u++)
        for (int64_t o = 0; o < outputs; o++) {
            const cell at = {c->dst + u * size, c->src + (u * outputs + o) * block,
                             block};
            each_tap(s, o, spread, &at);
        }
}

static void run_forward(const amg_call *call)
{
    const resize_state *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->g.n * s->g.blocks, 1, forward_range, &c);
}

static void run_backward(const amg_call *call)
{
    const resize_state *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->g.n * s->g.blocks, 1, backward_range, &c);
}

/* ---- coordinates ------------------------------------------------------------------
 */

typedef enum { NEAREST, LINEAR, CUBIC, NUM_KINDS } interpolation;

/* How one dim is resized. */
typedef struct {
    amg_resized dim;
    interpolation kind;
    float cubic;
    bool exclude_outside, antialias;
} axis;

/* Index of text among count names, -1 if it is none. */
static int index_of(const char *text, int count, const char *const *names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) return i;
    return -1;
}

static int64_t clamp(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

static void linear_taps(const axis *x, float at, taps *t)
{
    if (at < 0) at = 0; /* beyond the edge stands the edge's value */
    t->at[0] = clamp((int64_t)floorf(at), x->dim.in);
    t->at[1] = clamp(t->at[0] + 1, x->dim.in);
    const float part = t->at[0] == t->at[1] ? 0 : at - (float)t->at[0];
    t->part[0] = 1 - part;
    t->part[1] = part;
}

/* Keys' kernel at distances 1 + t, t, 1 - t and 2 - t. */
static void cubic_taps(const axis *x, float at, taps *t)
{
    const int64_t first = (int64_t)floorf(at);
    const float a = x->cubic, u = at - (float)first, v = 1 - u;
    float sum = 0;
    t->part[0] = ((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) - 4 * a;
    t->part[1] = ((a + 2) * u - (a + 3)) * u * u + 1;
    t->part[2] = ((a + 2) * v - (a + 3)) * v * v + 1;
    t->part[3] = ((a * (v + 1) - 5 * a) * (v + 1) + 8 * a) * (v + 1) - 4 * a;
    for (int i = 0; i < 4; i++) {
        t->at[i] = clamp(first - 1 + i, x->dim.in);
        if (x->exclude_outside && t->at[i] != first - 1 + i) t->part[i] = 0;
        sum += t->part[i];
    }
    for (int i = 0; x->exclude_outside && i < 4; i++) t->part[i] /= sum;
}

/* The filter at a distance: a triangle, or Keys' kernel. */
static double filter_at(const axis *x, double distance)
{
    const double a = (double)x->cubic, d = fabs(distance);
    if (x->kind == LINEAR) return d < 1 ? 1 - d : 0;
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* How far the filter reaches: an output pixel that covers several widens it. */
static double radius_of(const axis *x)
{
    return (x->kind == LINEAR ? 1 : 2) * fmax((double)x->dim.step, 1);
}

static int count_taps(const axis *x)
{
    static const int counts[] = {[NEAREST] = 1, [LINEAR] = 2, [CUBIC] = 4};
    return x->antialias ? (int)ceil(2 * radius_of(x)) + 1 : counts[x->kind];
}

static void antialias_taps(const axis *x, float at, taps *t)
{
    const int count = count_taps(x);
    const int64_t first = (int64_t)floor((double)at - radius_of(x)) + 1;
    double sum = 0;
    for (int i = 0; i < count; i++) {
        const double distance = (double)(first + i) - (double)at;
        double part = filter_at(x, distance / fmax((double)x->dim.step, 1));
        t->at[i] = clamp(first + i, x->dim.in);
        if (x->exclude_outside && t->at[i] != first + i) part = 0;
        t->part[i] = (float)part;
        sum += part;
    }
    for (int i = 0; i < count; i++) t->part[i] = (float)((double)t->part[i] / sum);
}

static void fill_taps(const axis *x, taps *t)
{
    for (int64_t i = 0; i < x->dim.out; i++) {
        const float at = amg_resize_source(&x->dim, i);
        if (x->antialias) {
            antialias_taps(x, at, &t[i]);
        } else if (x->kind == CUBIC) {
            cubic_taps(x, at, &t[i]);
        } else if (x->kind == LINEAR) {
            linear_taps(x, at, &t[i]);
        } else {
            t[i].at[0] = amg_resize_nearest(&x->dim, i);
            t[i].part[0] = 1;
        }
    }
}

/* ---- emitting ---------------------------------------------------------------------
 */

/* The scale of spatial dim i if the node has scales and no sizes, else 0. */
static float scale_of(amg_plan *p, int node, int i)
{
    const int rank = amg_plan_value(p, amg_plan_input_value(p, node, 0))->rank;
    const amg_tensor *sizes = amg_plan_constant(p, amg_plan_input_value(p, node, 3));
    const amg_tensor *t = amg_plan_constant(p, amg_plan_input_value(p, node, 2));
    if (sizes && amg_tensor_count(sizes) > 0) return 0;
    return t && t->dtype == AMG_F32 && amg_tensor_count(t) == rank
               ? ((const float *)t->data)[2 + i]
               : 0;
}

static bool read_modes(amg_plan *p, int node, axis *x)
{
    static const char *const kinds[NUM_KINDS] = {"nearest", "linear", "cubic"};
    const amg_node *n = amg_plan_node(p, node);
    const char *kind = amg_attr_string(n, "mode", kinds[0]);
    const int k = index_of(kind, NUM_KINDS, kinds);
    const bool antialias = amg_attr_int(n, "antialias", 0) != 0;
    *x = (axis){.kind = (interpolation)k,
                .cubic = amg_attr_float(n, "cubic_coeff_a", -0.75f),
                .exclude_outside = amg_attr_int(n, "exclude_outside", 0) != 0,
                .antialias = antialias};
    if (amg_resize_modes(n, &x->dim) && k >= 0 && !(antialias && k == NEAREST))
        return true;
    amg_plan_fail(
        p, node, AMG_UNSUPPORTED,
        "mode %.20s, %.40s, %.40s%s; expected linear, cubic, or nearest without "
        "antialiasing, and no cropping",
        kind, amg_attr_string(n, "coordinate_transformation_mode", "half_pixel"),
        amg_attr_string(n, "nearest_mode", "round_prefer_floor"),
        antialias ? ", antialias" : "");
    return false;
}

/* The tables of dim d of three, the i-th spatial one (below 0: it is 1). */
static void fill_axis(amg_plan *p, int node, resize_state *s, int d, int i, axis x)
{
    const amg_node *n = amg_plan_node(p, node);
    s->in[d] = i < 0 ? 1 : amg_plan_value(p, n->inputs[0])->dims[2 + i];
    s->out[d] = i < 0 ? 1 : amg_plan_value(p, n->outputs[0])->dims[2 + i];
    if (i < 0) {
        x.kind = NEAREST;
        x.antialias = false;
    }
    amg_resize_dim(&x.dim, s->in[d], s->out[d], i < 0 ? 0 : scale_of(p, node, i));
    const int count = s->num_taps[d] = count_taps(&x);
    int64_t *at = amg_plan_alloc(p, (size_t)(x.dim.out * count), sizeof *at);
    float *part = amg_plan_alloc(p, (size_t)(x.dim.out * count), sizeof *part);
    s->of[d] = amg_plan_alloc(p, (size_t)x.dim.out, sizeof *s->of[d]);
    if (p->status) return;
    for (int64_t o = 0; o < x.dim.out; o++)
        s->of[d][o] = (taps){at + o * count, part + o * count};
    fill_taps(&x, s->of[d]);
}

void amg_resize_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const int num_dims = x->rank - 2;
    resize_state *s = amg_plan_alloc(p, 1, sizeof *s);
    axis how;
    if (!s || !read_modes(p, node, &how)) return;
    if (num_dims < 1 || num_dims > AMG_MAX_DIMS || x->dtype != AMG_F32) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "its input is %s of %d dims, expected F32 of 3 to 5",
                      amg_dtype_name(x->dtype), x->rank);
        return;
    }
    p->nodes[node].self = s;
    s->layout = amg_plan_layout(p, n->inputs[0]);
    if (!p->status && !amg_layout_geometry(s->layout, &s->g)) {
        s->layout = amg_plan_plain(p, n->inputs[0]);
        if (s->layout) (void)amg_layout_geometry(s->layout, &s->g);
    }
    for (int d = 0; d < AMG_MAX_DIMS && !p->status; d++)
        fill_axis(p, node, s, d, d - (AMG_MAX_DIMS - num_dims), how);
    if (p->status) return;
    int in = amg_plan_read(p, node, n->inputs[0], s->layout);
    int out = amg_plan_define(p, n->outputs[0],
                              amg_plan_blocked_like(p, s->layout, n->outputs[0]));
    amg_emit_kernel(p, node, "resize", run_forward, s, 2, (int[]){out, in});
}

void amg_resize_backward(amg_plan *p, int node)
{
    const resize_state *s = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0);
    int dx = amg_plan_grad_target(p, x, s->layout);
    amg_emit_kernel(p, node, "resize backward", run_backward, s, 2,
                    (int[]){dx, amg_plan_grad(p, node, NULL)});
    amg_plan_give_grad(p, node, x, dx, s->layout);
}
