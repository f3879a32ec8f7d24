/* Resize over H and W, nearest or linear, in any channel blocking. Each output row and
 * column is a weighted sum of at most two of the input; the weights are tables made
 * while compiling, so all coordinate modes run the same loops. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

/* What one output index reads: in[low] * (1 - part) + in[high] * part. */
typedef struct {
    int64_t low, high;
    float part;
} tap;

typedef struct {
    amg_geometry g; /* of the input */
    const amg_layout *layout;
    int64_t in[2], out[2]; /* H and W */
    tap *taps[2];
    bool linear;
} resize_state;

typedef struct {
    const resize_state *s;
    float *dst;
    const float *src;
} context;

/* ---- loops ------------------------------------------------------------------------
 */

/* One unit is one channel block of one sample. */
static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const resize_state *s = c->s;
    const int64_t block = s->g.block, in_w = s->in[1], out_w = s->out[1];
    for (int64_t i = begin * s->out[0]; i < end * s->out[0]; i++) {
        const tap h = s->taps[0][i % s->out[0]];
        const float *image = c->src + i / s->out[0] * s->in[0] * in_w * block;
        const float *top = image + h.low * in_w * block;
        const float *bottom = image + h.high * in_w * block;
        float *row = c->dst + i * out_w * block;
        for (int64_t x = 0; x < out_w; x++) {
            const tap w = s->taps[1][x];
            const int64_t l = w.low * block, r = w.high * block;
            for (int64_t k = 0; k < block; k++)
                row[x * block + k] = s->linear
                                         ? (1 - h.part) * ((1 - w.part) * top[l + k] +
                                                           w.part * top[r + k]) +
                                               h.part * ((1 - w.part) * bottom[l + k] +
                                                         w.part * bottom[r + k])
                                         : top[l + k];
        }
    }
}

/* Spreads each output's gradient over what it read, in the order of the outputs. */
static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const resize_state *s = c->s;
    const int64_t block = s->g.block, in_w = s->in[1], out_w = s->out[1];
    const int64_t size = s->in[0] * in_w * block;
    memset(c->dst + begin * size, 0, sizeof(float) * (size_t)((end - begin) * size));
    for (int64_t i = begin * s->out[0]; i < end * s->out[0]; i++) {
        const tap h = s->taps[0][i % s->out[0]];
        float *image = c->dst + i / s->out[0] * size;
        float *top = image + h.low * in_w * block;
        float *bottom = image + h.high * in_w * block;
        const float *row = c->src + i * out_w * block;
        for (int64_t x = 0; x < out_w; x++) {
            const tap w = s->taps[1][x];
            for (int64_t k = 0; k < block; k++) {
                const float dy = row[x * block + k];
                const int64_t l = w.low * block + k, r = w.high * block + k;
                top[l] += (1 - h.part) * (1 - w.part) * dy;
                if (!s->linear) continue;
                top[r] += (1 - h.part) * w.part * dy;
                bottom[l] += h.part * (1 - w.part) * dy;
                bottom[r] += h.part * w.part * dy;
            }
        }
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

typedef enum { HALF_PIXEL, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC } coordinates;
typedef enum { FLOOR, CEIL, PREFER_FLOOR, PREFER_CEIL } rounding;

/* Index of text among count names, -1 if it is none. */
static int index_of(const char *text, int count, const char *const *names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) return i;
    return -1;
}

/* Where output index i lies in the input; f32 as PyTorch has it, so that both choose
 * the same pixel. step: input positions per output position. */
static float source_of(coordinates mode, int64_t i, float step, int64_t in, int64_t out)
{
    switch (mode) {
    case ASYMMETRIC: return (float)i * step;
    case ALIGN_CORNERS:
        return out > 1 ? (float)i * ((float)(in - 1) / (float)(out - 1)) : 0;
    case PYTORCH_HALF_PIXEL:
        if (out == 1) return 0;
        break;
    case HALF_PIXEL: break;
    }
    return ((float)i + 0.5f) * step - 0.5f;
}

static int64_t round_to(rounding how, float x)
{
    switch (how) {
    case FLOOR: return (int64_t)floorf(x);
    case CEIL: return (int64_t)ceilf(x);
    case PREFER_FLOOR: return (int64_t)ceilf(x - 0.5f);
    case PREFER_CEIL: break;
    }
    return (int64_t)floorf(x + 0.5f);
}

static int64_t clamp(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

static void fill_taps(tap *taps, bool linear, coordinates mode, rounding how,
                      float step, int64_t in, int64_t out)
{
    for (int64_t i = 0; i < out; i++) {
        float x = source_of(mode, i, step, in, out);
        if (!linear) {
            taps[i].low = taps[i].high = clamp(round_to(how, x), in);
            continue;
        }
        if (x < 0) x = 0; /* beyond the edge stands the edge's value */
        taps[i].low = clamp((int64_t)floorf(x), in);
        taps[i].high = clamp(taps[i].low + 1, in);
        taps[i].part = x - (float)taps[i].low;
        if (taps[i].low == taps[i].high) taps[i].part = 0;
    }
}

/* ---- emitting ---------------------------------------------------------------------
 */

/* The scale of H or W if the node has scales and no sizes, else 0. */
static float scale_of(amg_plan *p, int node, int axis)
{
    const amg_tensor *sizes = amg_plan_constant(p, amg_plan_input_value(p, node, 3));
    const amg_tensor *t = amg_plan_constant(p, amg_plan_input_value(p, node, 2));
    if (sizes && amg_tensor_count(sizes) > 0) return 0;
    return t && t->dtype == AMG_F32 && amg_tensor_count(t) == 4
               ? ((const float *)t->data)[2 + axis]
               : 0;
}

static bool read_modes(amg_plan *p, int node, bool *linear, coordinates *mode,
                       rounding *how)
{
    static const char *const modes[] = {"half_pixel", "pytorch_half_pixel",
                                        "align_corners", "asymmetric"};
    static const char *const hows[] = {"floor", "ceil", "round_prefer_floor",
                                       "round_prefer_ceil"};
    const amg_node *n = amg_plan_node(p, node);
    const char *kind = amg_attr_string(n, "mode", "nearest");
    int m = index_of(
        amg_attr_string(n, "coordinate_transformation_mode", modes[HALF_PIXEL]), 4,
        modes);
    int h = index_of(amg_attr_string(n, "nearest_mode", hows[PREFER_FLOOR]), 4, hows);
    *linear = strcmp(kind, "linear") == 0;
    if (m < 0 || h < 0 || (!*linear && strcmp(kind, "nearest") != 0) ||
        amg_attr_int(n, "antialias", 0) != 0 || amg_attr_int(n, "exclude_outside", 0)) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "mode %.20s, %.40s, %.40s; expected nearest or linear without "
                      "antialiasing",
                      kind, amg_attr_string(n, "coordinate_transformation_mode", ""),
                      amg_attr_string(n, "nearest_mode", ""));
        return false;
    }
    *mode = (coordinates)m;
    *how = (rounding)h;
    return true;
}

void amg_resize_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    resize_state *s = amg_plan_alloc(p, 1, sizeof *s);
    coordinates mode;
    rounding how;
    if (!s || !read_modes(p, node, &s->linear, &mode, &how)) return;
    if (x->rank != 4 || x->dtype != AMG_F32) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "input is %s of %d dims, expected F32 of 4",
                      amg_dtype_name(x->dtype), x->rank);
        return;
    }
    p->nodes[node].self = s;
    s->layout = amg_plan_layout(p, n->inputs[0]);
    if (!p->status && !amg_layout_geometry(s->layout, &s->g)) {
        s->layout = amg_plan_plain(p, n->inputs[0]);
        if (s->layout) (void)amg_layout_geometry(s->layout, &s->g);
    }
    for (int i = 0; i < 2; i++) {
        s->in[i] = x->dims[2 + i];
        s->out[i] = y->dims[2 + i];
        s->taps[i] = amg_plan_alloc(p, (size_t)s->out[i], sizeof *s->taps[i]);
        if (p->status) return;
        /* A scale that makes a whole number stands for a size. */
        float scale = scale_of(p, node, i), whole = (float)s->out[i] / (float)s->in[i];
        bool sized = scale == 0 || fabsf(scale - whole) < 1e-6f * whole;
        float step = sized ? (float)s->in[i] / (float)s->out[i] : 1 / scale;
        fill_taps(s->taps[i], s->linear, mode, how, step, s->in[i], s->out[i]);
    }
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
