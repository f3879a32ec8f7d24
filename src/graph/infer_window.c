/* Shape rules of layers whose window slides over an image, a sequence or a volume:
 * convolutions and pools.
 *
 * Legend: N batch, C channels, S spatial dims (one to three), O output channels, G
 * groups, K the window. */
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"
#include "graph/window.h"

/* x is [N,C,S...] with spatial dims that leave window arithmetic room. */
static amg_status expect_spatial(const amg_infer *c, const amg_value *x)
{
    char text[AMG_SHAPE_TEXT];
    if (x->rank < 3 || x->rank > 2 + AMG_MAX_SPATIAL)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected 3 to 5 dims",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    for (int i = 2; i < x->rank; i++)
        if (x->dims[i] < 1 || x->dims[i] > INT32_MAX)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "input is %s, expected spatial dims of 1 to 2^31-1",
                                 amg_shape_text(x->dtype, x->rank, x->dims, text));
    return AMG_OK;
}

static amg_status expect_weight(const amg_infer *c, const amg_value *x,
                                const amg_value *w, int64_t group, bool fits)
{
    char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
    for (int i = 2; i < w->rank; i++)
        fits = fits && w->dims[i] >= 1 && w->dims[i] <= INT32_MAX;
    if (fits) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                         "weight %s does not fit input %s with %lld group%s",
                         amg_shape_text(w->dtype, w->rank, w->dims, a),
                         amg_shape_text(x->dtype, x->rank, x->dims, b),
                         (long long)group, amg_plural(group));
}

/* Types and ranks of a convolution's operands. *known false: a rank is not. */
static amg_status expect_operands(const amg_infer *c, bool *known)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    *known = x->rank >= 0 && w->rank >= 0;
    amg_status s = amg_infer_expect_same_type(c, x, w);
    if (s || !*known) return s;
    s = expect_spatial(c, x);
    return s ? s : amg_infer_expect_rank(c, "weight", w, x->rank);
}

/* W is [O,C/G,K...]. */
amg_status amg_infer_conv(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    bool known;
    amg_status s = expect_operands(c, &known);
    if (s || !known) return s;
    int64_t group = amg_attr_int(c->node, "group", 1);
    int64_t out[2 + AMG_MAX_SPATIAL] = {x->dims[0], w->dims[0]};
    bool fits = group >= 1 && w->dims[0] >= 1 && x->dims[1] % group == 0 &&
                w->dims[1] == x->dims[1] / group && w->dims[0] % group == 0;
    amg_window win;
    s = amg_infer_expect_vector(c, "bias", amg_infer_find_in(c, 2), out[1], x->dtype);
    if (!s) s = expect_weight(c, x, w, group, fits);
    if (!s) s = amg_window_read(c->node, x, w, &win, c->err);
    if (!s) s = amg_window_slide(c->node, &win, x->dims + 2, out + 2, c->err);
    if (!s) amg_infer_set(c, 0, x->dtype, x->rank, out);
    return s;
}

/* W is [C,O/G,K...]: the weights of the convolution whose gradient this is. */
amg_status amg_infer_conv_transpose(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    bool known;
    amg_status s = expect_operands(c, &known);
    if (s || !known) return s;
    int64_t group = amg_attr_int(c->node, "group", 1);
    int64_t out[2 + AMG_MAX_SPATIAL] = {x->dims[0]};
    bool fits = group >= 1 && w->dims[0] == x->dims[1] && x->dims[1] % group == 0 &&
                w->dims[1] >= 1 && amg_mul_i64(w->dims[1], group, &out[1]);
    amg_window win;
    s = expect_weight(c, x, w, group, fits);
    if (!s)
        s = amg_infer_expect_vector(c, "bias", amg_infer_find_in(c, 2), out[1],
                                    x->dtype);
    if (!s) s = amg_window_read(c->node, x, w, &win, c->err);
    if (!s) s = amg_window_unslide(c->node, &win, x->dims + 2, out + 2, c->err);
    if (!s) amg_infer_set(c, 0, x->dtype, x->rank, out);
    return s;
}

/* Input i of the node is [N,count,rest...], F32, or absent. */
static amg_status expect_image(const amg_infer *c, int i, const char *what,
                               int64_t count, const int64_t *dims)
{
    const amg_value *v = amg_infer_find_in(c, i);
    const int64_t wanted[4] = {dims[0], count, dims[2], dims[3]};
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    bool fits = !v || (v->rank == 4 && v->dtype == AMG_F32);
    for (int d = 0; v && fits && d < 4; d++) fits = v->dims[d] == wanted[d];
    if (fits) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s %s, expected %s", what,
                         amg_shape_text(v->dtype, v->rank, v->dims, found),
                         amg_shape_text(AMG_F32, 4, wanted, expected));
}

/* A Conv whose taps are moved by input 2, and weighed by input 4. */
amg_status amg_infer_deform_conv(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    const amg_value *offset = amg_infer_in(c, 2), *mask = amg_infer_find_in(c, 4);
    bool known;
    amg_status s = expect_operands(c, &known);
    if (s || !known || offset->rank < 0 || (mask && mask->rank < 0)) return s;
    const int64_t group = amg_attr_int(c->node, "group", 1);
    const int64_t moved = amg_attr_int(c->node, "offset_group", 1);
    int64_t out[2 + AMG_MAX_SPATIAL] = {x->dims[0], w->dims[0]};
    const bool fits = x->rank == 4 && x->dtype == AMG_F32 && group >= 1 && moved >= 1 &&
                      w->dims[0] >= 1 && x->dims[1] % group == 0 &&
                      x->dims[1] % moved == 0 && w->dims[1] == x->dims[1] / group &&
                      w->dims[0] % group == 0;
    amg_window win;
    s = amg_infer_expect_vector(c, "bias", amg_infer_find_in(c, 3), out[1], x->dtype);
    if (!s) s = expect_weight(c, x, w, group, fits);
    if (!s) s = amg_window_read(c->node, x, w, &win, c->err);
    if (!s) s = amg_window_slide(c->node, &win, x->dims + 2, out + 2, c->err);
    if (s) return s;
    int64_t taps;
    if (!amg_mul_i64(win.kernel[0], win.kernel[1], &taps) ||
        !amg_mul_i64(2 * moved, taps, &taps))
        return amg_node_fail(c->node, AMG_OVERFLOW, c->err,
                             "its window has too many elements to count");
    s = expect_image(c, 2, "offsets are", taps, out);
    if (!s) s = expect_image(c, 4, "mask is", taps / 2, out);
    if (!s) amg_infer_set(c, 0, x->dtype, 4, out);
    return s;
}

/* A depthwise Conv [C,1,k] of [N,C,L] with k - 1 elements of before in front. */
amg_status amg_infer_causal_conv(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    const amg_value *past = amg_infer_find_in(c, 3);
    const char *activation = amg_attr_string(c->node, "activation", "none");
    bool known;
    amg_status s = expect_operands(c, &known);
    for (int i = 1; i < c->node->num_outputs; i++)
        amg_infer_out(c, i)->dtype = x->dtype;
    if (strcmp(activation, "none") != 0 && strcmp(activation, "silu") != 0 &&
        strcmp(activation, "swish") != 0)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "activation is \"%.40s\", expected none, silu or swish",
                             activation);
    if (s || !known || (past && past->rank < 0)) return s;
    const bool fits = x->rank == 3 && x->dtype == AMG_F32 && x->dims[2] >= 1 &&
                      w->dims[0] == x->dims[1] && w->dims[1] == 1;
    s = amg_infer_expect_vector(c, "bias", amg_infer_find_in(c, 2), x->dims[1],
                                x->dtype);
    if (!s) s = expect_weight(c, x, w, x->dims[1], fits);
    if (s) return s;
    const int64_t state[3] = {x->dims[0], x->dims[1], w->dims[2] - 1};
    char found[AMG_SHAPE_TEXT], wanted[AMG_SHAPE_TEXT];
    if (past && (past->rank != 3 || past->dtype != AMG_F32 ||
                 memcmp(past->dims, state, sizeof state) != 0))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "past_state is %s, expected %s",
                             amg_shape_text(past->dtype, past->rank, past->dims, found),
                             amg_shape_text(AMG_F32, 3, state, wanted));
    amg_infer_set(c, 0, x->dtype, 3, x->dims);
    if (c->node->num_outputs > 1) amg_infer_set(c, 1, x->dtype, 3, state);
    return AMG_OK;
}

amg_status amg_infer_pool(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    int64_t out[2 + AMG_MAX_SPATIAL] = {x->dims[0], x->dims[1]};
    amg_window win;
    amg_status s = expect_spatial(c, x);
    if (!s) s = amg_window_read(c->node, x, NULL, &win, c->err);
    if (!s) s = amg_window_slide(c->node, &win, x->dims + 2, out + 2, c->err);
    if (!s) amg_infer_set(c, 0, x->dtype, x->rank, out);
    return s;
}

amg_status amg_infer_global_pool(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    char text[AMG_SHAPE_TEXT];
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (x->rank < 3)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected 3 or more dims",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    int64_t out[AMG_MAX_RANK] = {x->dims[0], x->dims[1]};
    for (int i = 2; i < x->rank; i++) out[i] = 1;
    amg_infer_set(c, 0, x->dtype, x->rank, out);
    return AMG_OK;
}
