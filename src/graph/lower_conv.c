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
    int64_t N, C, H, W, O, h, wide, P, K, G, D;
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
    d->O = y->dims[1];
    d->h = y->dims[2];
    d->wide = y->dims[3];
    d->P = d->h * d->wide;
    d->K = d->w.kernel[0] * d->w.kernel[1];
    d->G = amg_attr_int(node, "group", 1);
    d->D = amg_attr_int(node, "offset_group", 1);
    return true;
}

static bool has_window(const amg_graph *g, const amg_node *node)
{
    deform d;
    return read_deform(g, node, &d);
}

/* Where GridSample finds the places of the window that does not move, [K,h,w,2]: of an
 * image from -1 to 1, x before y. */
static int still_places(amg_lower *l, const deform *d)
{
    const int64_t size[2] = {d->W, d->H}, dims[4] = {d->K, d->h, d->wide, 2};
    float *place = amg_calloc((size_t)(2 * d->K * d->P), sizeof *place);
    if (!place) return AMG_NO_VALUE;
    for (int64_t i = 0; i < d->K * d->P; i++) {
        const int64_t k = i / d->P, at[2] = {i % d->wide, i / d->wide % d->h};
        const int64_t tap[2] = {k % d->w.kernel[1], k / d->w.kernel[1]};
        for (int c = 0; c < 2; c++) { /* the window's dims are y, x */
            const int64_t p = at[c] * d->w.stride[1 - c] - d->w.begin[1 - c] +
                              tap[c] * d->w.dilation[1 - c];
            place[2 * i + c] = (float)((2 * (double)p + 1) / (double)size[c] - 1);
        }
    }
    const int id = amg_lower_constant(l, AMG_F32, 4, dims, place);
    amg_free(place);
    return id;
}

/* Places of all taps, [N*D,K*h,w,2]. Offsets are [N,D*K*2,h,w], y before x. */
static int moved_places(amg_lower *l, const deform *d)
{
    static const int64_t last[6] = {0, 1, 2, 4, 5, 3}, swapped[2] = {1, 0};
    const int64_t split[6] = {d->N, d->D, d->K, 2, d->h, d->wide};
    const int64_t grid[4] = {d->N * d->D, d->K * d->h, d->wide, 2}, two = 2;
    const float step[2] = {(float)(2 / (double)d->W), (float)(2 / (double)d->H)};
    const amg_attr axis = amg_int("axis", 5);
    int y = amg_lower_reshape(l, amg_lower_value(l, 2), 6, split);
    y = amg_lower_transpose(l, y, 6, last);
    y = amg_lower_node(l, AMG_OP_GATHER, 2, (int[]){y, amg_lower_ints(l, 2, swapped)},
                       1, &axis);
    y = amg_lower_binary(l, AMG_OP_MUL, y,
                         amg_lower_constant(l, AMG_F32, 1, &two, step));
    y = amg_lower_binary(l, AMG_OP_ADD, y, still_places(l, d));
    return amg_lower_reshape(l, y, 4, grid);
}

/* What the taps read, times the mask, [N,G,C/G*K,P]. */
static int read_taps(amg_lower *l, const deform *d)
{
    const int64_t part[4] = {d->N * d->D, d->C / d->D, d->H, d->W};
    const int64_t read[5] = {d->N, d->D, d->C / d->D, d->K, d->P};
    const int64_t mask[5] = {d->N, d->D, 1, d->K, d->P};
    const int64_t columns[4] = {d->N, d->G, d->C / d->G * d->K, d->P};
    const int x = amg_lower_reshape(l, amg_lower_value(l, 0), 4, part);
    int y = amg_lower_binary(l, AMG_OP_GRID_SAMPLE, x, moved_places(l, d));
    if (amg_lower_in(l->r->g, l->node, 4)) {
        y = amg_lower_reshape(l, y, 5, read);
        y = amg_lower_binary(l, AMG_OP_MUL, y,
                             amg_lower_reshape(l, amg_lower_value(l, 4), 5, mask));
    }
    return amg_lower_reshape(l, y, 4, columns);
}

static void lower_deform_conv(amg_lower *l, int *out)
{
    deform d;
    if (!read_deform(l->r->g, l->node, &d)) return; /* applies() saw that it can */
    const int64_t weight[3] = {d.G, d.O / d.G, d.C / d.G * d.K};
    const int64_t bias[3] = {d.O, 1, 1}, image[4] = {d.N, d.O, d.h, d.wide};
    const int w = amg_lower_reshape(l, amg_lower_value(l, 1), 3, weight);
    int y = amg_lower_binary(l, AMG_OP_MAT_MUL, w, read_taps(l, &d));
    y = amg_lower_reshape(l, y, 4, image);
    if (amg_lower_in(l->r->g, l->node, 3))
        y = amg_lower_binary(l, AMG_OP_ADD, y,
                             amg_lower_reshape(l, amg_lower_value(l, 3), 3, bias));
    out[0] = y;
}

const amg_lower_rule amg_lower_deform_conv = {has_window, lower_deform_conv};
