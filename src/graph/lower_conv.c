/* See lower.h: convolutions that are others around something.
 *
 *   CausalConvWithState   a depthwise Conv of what came before and the input
 *   DeformConv            a product with what GridSample reads at moved places
 *
 * Legend of the latter: N batch, C channels of the input, H x W its size, O channels
 * and h x w size of the output, P = h w, K positions of the window, G groups, D groups
 * of channels that move alike. */
#include "base/alloc.h"
#include "graph/lower.h"
#include "graph/window.h"

#include <string.h>

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

/* ---- CausalConvWithState ---- */

/* The input with k - 1 elements before it: those given, or zeros. */
static int after_state(amg_lower *l, int64_t before)
{
    const int64_t pads[6] = {0, 0, before, 0, 0, 0};
    const amg_attr axis = amg_int("axis", 2);
    const int x = amg_lower_value(l, 0), state = amg_lower_value(l, 3);
    if (before == 0) return x;
    if (state == AMG_NO_VALUE)
        return amg_lower_binary(l, AMG_OP_PAD, x, amg_lower_ints(l, 6, pads));
    return amg_lower_node(l, AMG_OP_CONCAT, 2, (int[]){state, x}, 1, &axis);
}

static void lower_causal_conv(amg_lower *l, int *out)
{
    const amg_value *x = amg_lower_in(l->r->g, l->node, 0);
    const int64_t before = amg_lower_in(l->r->g, l->node, 1)->dims[2] - 1;
    const amg_attr group = amg_int("group", x->dims[1]);
    const char *activation = amg_attr_string(l->node, "activation", "none");
    const int in[3] = {after_state(l, before), amg_lower_value(l, 1),
                       amg_lower_value(l, 2)};
    const int y =
        amg_lower_node(l, AMG_OP_CONV, in[2] == AMG_NO_VALUE ? 2 : 3, in, 1, &group);
    out[0] = y;
    if (strcmp(activation, "none") != 0)
        out[0] =
            amg_lower_binary(l, AMG_OP_MUL, y, amg_lower_unary(l, AMG_OP_SIGMOID, y));
    if (l->node->num_outputs < 2) return;
    const int64_t from = x->dims[2], to = from + before, axis = 2;
    const int cut[4] = {in[0], amg_lower_ints(l, 1, &from), amg_lower_ints(l, 1, &to),
                        amg_lower_ints(l, 1, &axis)};
    out[1] = amg_lower_node(l, AMG_OP_SLICE, 4, cut, 0, NULL);
}

const amg_lower_rule amg_lower_causal_conv = {always, lower_causal_conv};

/* ---- DeformConv ---- */

typedef struct {
    amg_window w;
    int64_t N, C, H, W, h, wide, D;
} deform;

static bool read_deform(const amg_graph *g, const amg_node *node, deform *d)
{
    const amg_value *x = amg_lower_in(g, node, 0), *w = amg_lower_in(g, node, 1);
    const amg_value *y = &g->values[node->outputs[0]];
    if (amg_window_read(node, x, w, &d->w, NULL)) return false;
    d->N = x->dims[0];
    d->C = x->dims[1];
    d->H = x->dims[2];
    d->W = x->dims[3];
    d->h = y->dims[2];
    d->wide = y->dims[3];
    d->D = amg_attr_int(node, "offset_group", 1);
    return true;
}

static bool has_window(const amg_graph *g, const amg_node *node)
{
    deform d;
    return read_deform(g, node, &d);
}

/* Where GridSample finds the taps that do not move, [h*kh,w*kw,2]: of an image from -1
 * to 1, x before y. */
static int still_places(amg_lower *l, const deform *d)
{
    const int64_t *kernel = d->w.kernel, size[2] = {d->W, d->H};
    const int64_t dims[3] = {d->h * kernel[0], d->wide * kernel[1], 2};
    const int64_t count = dims[0] * dims[1];
    float *place = amg_calloc((size_t)(2 * count), sizeof *place);
    if (!place) return AMG_NO_VALUE;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at[2] = {i % dims[1], i / dims[1]};
        for (int c = 0; c < 2; c++) { /* the window's dims are y, x */
            const int k = 1 - c;
            const int64_t p = at[c] / kernel[k] * d->w.stride[k] - d->w.begin[k] +
                              at[c] % kernel[k] * d->w.dilation[k];
            place[2 * i + c] = (float)((2 * (double)p + 1) / (double)size[c] - 1);
        }
    }
    const int id = amg_lower_constant(l, AMG_F32, 3, dims, place);
    amg_free(place);
    return id;
}

/* Input i, [N,D*kh*kw*count,h,w], as [N*D,h*kh,w*kw,count]. */
static int by_taps(amg_lower *l, const deform *d, int i, int64_t count)
{
    static const int64_t order[7] = {0, 1, 5, 2, 6, 3, 4};
    const int64_t kh = d->w.kernel[0], kw = d->w.kernel[1];
    const int64_t split[7] = {d->N, d->D, kh, kw, count, d->h, d->wide};
    const int64_t taps[4] = {d->N * d->D, d->h * kh, d->wide * kw, count};
    int y = amg_lower_reshape(l, amg_lower_value(l, i), 7, split);
    return amg_lower_reshape(l, amg_lower_transpose(l, y, 7, order), 4, taps);
}

/* Places of all taps, [N*D,h*kh,w*kw,2]. Offsets have y before x. */
static int moved_places(amg_lower *l, const deform *d)
{
    static const int64_t swapped[2] = {1, 0}, two = 2;
    const float step[2] = {(float)(2 / (double)d->W), (float)(2 / (double)d->H)};
    const amg_attr axis = amg_int("axis", 3);
    const int in[2] = {by_taps(l, d, 2, 2), amg_lower_ints(l, 2, swapped)};
    int y = amg_lower_node(l, AMG_OP_GATHER, 2, in, 1, &axis);
    y = amg_lower_binary(l, AMG_OP_MUL, y,
                         amg_lower_constant(l, AMG_F32, 1, &two, step));
    return amg_lower_binary(l, AMG_OP_ADD, y, still_places(l, d));
}

/* What the taps read, times the mask, [N,C,h*kh,w*kw]. */
static int read_taps(amg_lower *l, const deform *d)
{
    const int64_t kh = d->w.kernel[0], kw = d->w.kernel[1];
    const int64_t part[4] = {d->N * d->D, d->C / d->D, d->H, d->W};
    const int64_t weighed[4] = {d->N * d->D, 1, d->h * kh, d->wide * kw};
    const int64_t image[4] = {d->N, d->C, d->h * kh, d->wide * kw};
    const int x = amg_lower_reshape(l, amg_lower_value(l, 0), 4, part);
    int y = amg_lower_binary(l, AMG_OP_GRID_SAMPLE, x, moved_places(l, d));
    if (amg_lower_in(l->r->g, l->node, 4))
        y = amg_lower_binary(l, AMG_OP_MUL, y,
                             amg_lower_reshape(l, by_taps(l, d, 4, 1), 4, weighed));
    return amg_lower_reshape(l, y, 4, image);
}

static void lower_deform_conv(amg_lower *l, int *out)
{
    deform d;
    if (!read_deform(l->r->g, l->node, &d)) return; /* applies() saw that it can */
    const amg_attr attrs[2] = {amg_ints("strides", 2, d.w.kernel),
                               amg_int("group", amg_attr_int(l->node, "group", 1))};
    const int in[3] = {read_taps(l, &d), amg_lower_value(l, 1), amg_lower_value(l, 3)};
    out[0] =
        amg_lower_node(l, AMG_OP_CONV, in[2] == AMG_NO_VALUE ? 2 : 3, in, 2, attrs);
}

const amg_lower_rule amg_lower_deform_conv = {has_window, lower_deform_conv};
