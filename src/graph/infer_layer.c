/* Shape rules of layers: convolution, pooling, normalisation, matrix products.
 *
 * Legend: N batch, C channels, H W height and width, O output channels, G groups, K the
 * summed dim of a matrix product. */
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"

/* A window sliding over H and W: index 0 is H, 1 is W. */
typedef struct {
    int64_t kernel[2], stride[2], dilation[2], pad_begin[2], pad_end[2];
    bool ceil_mode;
} window;

/* Reads the ints of an attribute into out (left as preset if it is absent). */
static amg_status read_ints(const amg_infer *c, const char *name, int count,
                            int64_t least, int64_t *out)
{
    const amg_attr *a = amg_attr_find(c->node, name);
    if (!a) return AMG_OK;
    if (a->kind != AMG_ATTR_INTS || a->count != count)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "%s has %d number%s, expected %d (2-d)", name, a->count,
                             amg_plural(a->count), count);
    for (int i = 0; i < count; i++) {
        if (a->ints[i] < least || a->ints[i] > INT32_MAX)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "%s[%d] is %lld, expected at least %lld", name, i,
                                 (long long)a->ints[i], (long long)least);
        out[i] = a->ints[i];
    }
    return AMG_OK;
}

/* Padding of auto_pad SAME_*: out = ceil(in / stride), the odd one on the named side.
 */
static void pad_same(window *w, int axis, int64_t in, bool upper)
{
    int64_t extent = w->dilation[axis] * (w->kernel[axis] - 1) + 1;
    int64_t out = (in + w->stride[axis] - 1) / w->stride[axis];
    int64_t total = (out - 1) * w->stride[axis] + extent - in;
    if (total < 0) total = 0;
    w->pad_begin[axis] = upper ? total / 2 : total - total / 2;
    w->pad_end[axis] = total - w->pad_begin[axis];
}

/* The window's attributes; w->kernel is preset for a convolution. dims: [N,C,H,W]. */
static amg_status read_window(const amg_infer *c, const int64_t *dims, window *w)
{
    int64_t pads[4] = {0, 0, 0, 0};
    w->stride[0] = w->stride[1] = w->dilation[0] = w->dilation[1] = 1;
    w->ceil_mode = amg_attr_int(c->node, "ceil_mode", 0) != 0;
    amg_status s = read_ints(c, "kernel_shape", 2, 1, w->kernel);
    if (!s) s = read_ints(c, "strides", 2, 1, w->stride);
    if (!s) s = read_ints(c, "dilations", 2, 1, w->dilation);
    if (!s) s = read_ints(c, "pads", 4, 0, pads);
    if (s) return s;

    const char *mode = amg_attr_string(c->node, "auto_pad", "NOTSET");
    bool upper = strcmp(mode, "SAME_UPPER") == 0;
    bool same = upper || strcmp(mode, "SAME_LOWER") == 0;
    bool valid = strcmp(mode, "VALID") == 0;
    if (!same && !valid && strcmp(mode, "NOTSET") != 0 && mode[0] != 0)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err, "auto_pad is \"%.40s\"",
                             mode);
    for (int i = 0; i < 2; i++) {
        w->pad_begin[i] = valid ? 0 : pads[i];
        w->pad_end[i] = valid ? 0 : pads[2 + i];
        if (same) pad_same(w, i, dims[2 + i], upper);
    }
    return AMG_OK;
}

/* out[2], out[3] from the window over dims[2], dims[3]. */
static amg_status slide(const amg_infer *c, const window *w, const int64_t *dims,
                        int64_t *out)
{
    for (int i = 0; i < 2; i++) {
        int64_t extent = w->dilation[i] * (w->kernel[i] - 1) + 1;
        int64_t span = dims[2 + i] + w->pad_begin[i] + w->pad_end[i] - extent;
        if (span < 0)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "window of %lld does not fit %s %lld (padded by %lld)",
                                 (long long)extent, i ? "width" : "height",
                                 (long long)dims[2 + i],
                                 (long long)w->pad_begin[i] + w->pad_end[i]);
        int64_t n = span / w->stride[i] + 1;
        /* As in PyTorch, a window that rounding up adds must begin on the input or its
         * padding before it, never on the padding after it. */
        if (w->ceil_mode && span % w->stride[i] != 0 &&
            n * w->stride[i] < dims[2 + i] + w->pad_begin[i])
            n++;
        out[2 + i] = n;
    }
    return AMG_OK;
}

static amg_status expect_rank(const amg_infer *c, const char *what, const amg_value *v,
                              int rank)
{
    char text[AMG_SHAPE_TEXT];
    if (v->rank == rank) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s is %s, expected %d dim%s",
                         what, amg_shape_text(v->dtype, v->rank, v->dims, text), rank,
                         amg_plural(rank));
}

/* x is [N,C,H,W] with a height and width that leave window arithmetic room. */
static amg_status expect_image(const amg_infer *c, const amg_value *x)
{
    char text[AMG_SHAPE_TEXT];
    amg_status s = expect_rank(c, "input", x, 4);
    if (s || (x->dims[2] >= 1 && x->dims[2] <= INT32_MAX && x->dims[3] >= 1 &&
              x->dims[3] <= INT32_MAX))
        return s;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                         "input is %s, expected a height and width of 1 to 2^31-1",
                         amg_shape_text(x->dtype, 4, x->dims, text));
}

/* v, if present, is a vector of n of x's type. */
static amg_status expect_vector(const amg_infer *c, const char *what,
                                const amg_value *v, int64_t n, amg_dtype dtype)
{
    char text[AMG_SHAPE_TEXT];
    if (!v || (v->rank == 1 && v->dims[0] == n && v->dtype == dtype)) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s is %s, expected %s[%lld]",
                         what, amg_shape_text(v->dtype, v->rank, v->dims, text),
                         amg_dtype_name(dtype), (long long)n);
}

static amg_status expect_same_type(const amg_infer *c, const amg_value *x,
                                   const amg_value *w)
{
    if (x->dtype == w->dtype) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                         "input is %s and weight is %s, expected one type",
                         amg_dtype_name(x->dtype), amg_dtype_name(w->dtype));
}

amg_status amg_infer_conv(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = expect_same_type(c, x, w);
    if (s) return s;
    if (x->rank < 0 || w->rank < 0) return AMG_OK;
    s = expect_rank(c, "weight", w, 4);
    if (!s) s = expect_image(c, x);
    if (!s) s = expect_vector(c, "bias", amg_infer_find_in(c, 2), w->dims[0], x->dtype);
    if (s) return s;

    int64_t group = amg_attr_int(c->node, "group", 1);
    if (w->dims[0] < 1 || w->dims[2] < 1 || w->dims[2] > INT32_MAX || w->dims[3] < 1 ||
        w->dims[3] > INT32_MAX || group < 1 || x->dims[1] % group != 0 ||
        w->dims[1] != x->dims[1] / group || w->dims[0] % group != 0) {
        char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "weight %s does not fit input %s with %lld group%s",
                             amg_shape_text(w->dtype, 4, w->dims, a),
                             amg_shape_text(x->dtype, 4, x->dims, b), (long long)group,
                             amg_plural(group));
    }
    window win = {.kernel = {w->dims[2], w->dims[3]}};
    int64_t out[4] = {x->dims[0], w->dims[0], 0, 0};
    s = read_window(c, x->dims, &win);
    if (!s && (win.kernel[0] != w->dims[2] || win.kernel[1] != w->dims[3]))
        s = amg_node_fail(c->node, AMG_MISMATCH, c->err,
                          "kernel_shape is %lldx%lld, but the weight is %lldx%lld",
                          (long long)win.kernel[0], (long long)win.kernel[1],
                          (long long)w->dims[2], (long long)w->dims[3]);
    if (!s) s = slide(c, &win, x->dims, out);
    if (!s) amg_infer_set(c, 0, x->dtype, 4, out);
    return s;
}

/* W is [C, O/G, KH, KW]: the weights of the convolution whose gradient this is. */
amg_status amg_infer_conv_transpose(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = expect_same_type(c, x, w);
    if (s) return s;
    if (x->rank < 0 || w->rank < 0) return AMG_OK;
    int64_t group = amg_attr_int(c->node, "group", 1);
    s = expect_rank(c, "weight", w, 4);
    if (!s) s = expect_image(c, x);
    if (s) return s;
    int64_t extra[2] = {0, 0}, out[4] = {x->dims[0], 0, 0, 0};
    bool fits = group >= 1 && w->dims[0] == x->dims[1] && x->dims[1] % group == 0 &&
                w->dims[1] >= 1 && amg_mul_i64(w->dims[1], group, &out[1]);
    for (int i = 2; i < 4; i++) fits &= w->dims[i] >= 1 && w->dims[i] <= INT32_MAX;
    if (!fits) {
        char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "weight %s does not fit input %s with %lld group%s",
                             amg_shape_text(w->dtype, 4, w->dims, a),
                             amg_shape_text(x->dtype, 4, x->dims, b), (long long)group,
                             amg_plural(group));
    }
    window win = {.kernel = {w->dims[2], w->dims[3]}};
    s = expect_vector(c, "bias", amg_infer_find_in(c, 2), out[1], x->dtype);
    if (!s) s = read_window(c, x->dims, &win);
    if (!s) s = read_ints(c, "output_padding", 2, 0, extra);
    if (s) return s;
    if (strncmp(amg_attr_string(c->node, "auto_pad", ""), "SAME", 4) == 0 ||
        amg_attr_find(c->node, "output_shape"))
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "has auto_pad or output_shape, expected explicit pads");
    if (win.kernel[0] != w->dims[2] || win.kernel[1] != w->dims[3])
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "kernel_shape is %lldx%lld, but the weight is %lldx%lld",
                             (long long)win.kernel[0], (long long)win.kernel[1],
                             (long long)w->dims[2], (long long)w->dims[3]);
    for (int i = 0; i < 2; i++) {
        out[2 + i] = (x->dims[2 + i] - 1) * win.stride[i] +
                     win.dilation[i] * (win.kernel[i] - 1) + 1 + extra[i] -
                     win.pad_begin[i] - win.pad_end[i];
        if (out[2 + i] < 1 || out[2 + i] > INT32_MAX)
            return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                                 "%s would be %lld, expected 1 to 2^31-1",
                                 i ? "width" : "height", (long long)out[2 + i]);
    }
    amg_infer_set(c, 0, x->dtype, 4, out);
    return AMG_OK;
}

amg_status amg_infer_pool(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    amg_status s = expect_image(c, x);
    if (s) return s;

    window win = {.kernel = {0, 0}};
    int64_t out[4] = {x->dims[0], x->dims[1], 0, 0};
    s = read_window(c, x->dims, &win);
    if (s) return s;
    if (win.kernel[0] == 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "kernel_shape is missing");
    if (win.dilation[0] != 1 || win.dilation[1] != 1)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "dilation is %lldx%lld, only 1x1 is supported",
                             (long long)win.dilation[0], (long long)win.dilation[1]);
    s = slide(c, &win, x->dims, out);
    if (!s) amg_infer_set(c, 0, x->dtype, 4, out);
    return s;
}

amg_status amg_infer_global_pool(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    amg_status s = expect_rank(c, "input", x, 4);
    if (!s) amg_infer_set(c, 0, x->dtype, 4, (int64_t[]){x->dims[0], x->dims[1], 1, 1});
    return s;
}

amg_status amg_infer_batch_norm(const amg_infer *c)
{
    static const char *const names[] = {"input", "scale", "bias", "mean", "variance"};
    const amg_value *x = amg_infer_in(c, 0);
    for (int i = 0; i < c->node->num_outputs; i++)
        amg_infer_out(c, i)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (x->rank != 4 && x->rank != 2) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "input is %s, expected 4 or 2 dims",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    }
    for (int i = 1; i < 5; i++) {
        amg_status s =
            expect_vector(c, names[i], amg_infer_in(c, i), x->dims[1], x->dtype);
        if (s) return s;
    }
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    for (int i = 1; i < c->node->num_outputs; i++)
        amg_infer_set(c, i, x->dtype, 1, &x->dims[1]);
    return AMG_OK;
}

/* InstanceNormalization and GroupNormalization: scale and bias are one a channel (of
 * GroupNormalization since opset 21). */
amg_status amg_infer_channel_norm(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    char text[AMG_SHAPE_TEXT];
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (x->rank < 3)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected 3 or more dims",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    int64_t groups = c->node->op == AMG_OP_GROUP_NORM
                         ? amg_attr_int(c->node, "num_groups", 0)
                         : x->dims[1];
    if (groups < 1 || x->dims[1] % groups != 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "%lld groups do not divide the channels of %s",
                             (long long)groups,
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    amg_status s = expect_vector(c, "scale", amg_infer_in(c, 1), x->dims[1], x->dtype);
    if (!s) s = expect_vector(c, "bias", amg_infer_in(c, 2), x->dims[1], x->dtype);
    if (!s) amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return s;
}

/* The slope broadcasts to x, never the other way. */
amg_status amg_infer_prelu(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *slope = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = expect_same_type(c, x, slope);
    if (s || x->rank < 0 || slope->rank < 0) return s;
    int64_t dims[AMG_MAX_RANK];
    int rank = x->rank;
    memcpy(dims, x->dims, sizeof dims);
    bool fits = amg_dims_broadcast(dims, &rank, slope->dims, slope->rank) &&
                rank == x->rank &&
                memcmp(dims, x->dims, sizeof *dims * (size_t)rank) == 0;
    if (!fits) {
        char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "slope %s does not fit %s",
                             amg_shape_text(slope->dtype, slope->rank, slope->dims, a),
                             amg_shape_text(x->dtype, x->rank, x->dims, b));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}

amg_status amg_infer_gemm(const amg_infer *c)
{
    const amg_value *a = amg_infer_in(c, 0), *b = amg_infer_in(c, 1);
    const amg_value *bias = amg_infer_find_in(c, 2);
    float alpha = amg_attr_float(c->node, "alpha", 1);
    float beta = amg_attr_float(c->node, "beta", 1);
    amg_infer_out(c, 0)->dtype = a->dtype;
    amg_status s = expect_same_type(c, a, b);
    if (s) return s;
    if (alpha != 1.0f || beta != 1.0f || amg_attr_int(c->node, "transA", 0) != 0)
        return amg_node_fail(
            c->node, AMG_UNSUPPORTED, c->err,
            "alpha %g, beta %g, transA %lld, only 1, 1, 0 are supported", (double)alpha,
            (double)beta, (long long)amg_attr_int(c->node, "transA", 0));
    if (a->rank < 0 || b->rank < 0) return AMG_OK;
    s = expect_rank(c, "weight", b, 2);
    if (!s) s = expect_rank(c, "input", a, 2);
    if (s) return s;

    bool trans = amg_attr_int(c->node, "transB", 0) != 0;
    char x[AMG_SHAPE_TEXT], w[AMG_SHAPE_TEXT];
    if (a->dims[1] != b->dims[trans ? 1 : 0])
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "weight %s%s does not fit input %s",
            amg_shape_text(b->dtype, 2, b->dims, w), trans ? " (transposed)" : "",
            amg_shape_text(a->dtype, 2, a->dims, x));
    int64_t out[2] = {a->dims[0], b->dims[trans ? 0 : 1]}, sum[2] = {out[0], out[1]};
    int rank = 2;
    if (bias && bias->rank >= 0 &&
        (!amg_dims_broadcast(sum, &rank, bias->dims, bias->rank > 2 ? 0 : bias->rank) ||
         bias->rank > 2 || sum[0] != out[0] || sum[1] != out[1]))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "bias %s does not fit output %s",
                             amg_shape_text(bias->dtype, bias->rank, bias->dims, w),
                             amg_shape_text(a->dtype, 2, out, x));
    amg_infer_set(c, 0, a->dtype, 2, out);
    return AMG_OK;
}

amg_status amg_infer_mat_mul(const amg_infer *c)
{
    const amg_value *a = amg_infer_in(c, 0), *b = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = a->dtype;
    amg_status s = expect_same_type(c, a, b);
    if (s) return s;
    if (a->rank < 0 || b->rank < 0) return AMG_OK;
    if (a->rank < 2 || b->rank < 2)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "operands have %d and %d dims, expected 2 or more",
                             a->rank, b->rank);
    int64_t out[AMG_MAX_RANK];
    int lead = a->rank - 2;
    memcpy(out, a->dims, sizeof out);
    if (a->dims[a->rank - 1] != b->dims[b->rank - 2] ||
        !amg_dims_broadcast(out, &lead, b->dims, b->rank - 2)) {
        char x[AMG_SHAPE_TEXT], y[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s does not multiply %s",
                             amg_shape_text(a->dtype, a->rank, a->dims, x),
                             amg_shape_text(b->dtype, b->rank, b->dims, y));
    }
    out[lead] = a->dims[a->rank - 2];
    out[lead + 1] = b->dims[b->rank - 1];
    amg_infer_set(c, 0, a->dtype, lead + 2, out);
    return AMG_OK;
}
