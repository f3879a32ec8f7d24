/* Windows in numbers. Consumes a node's attributes and the dims of its operands, and
 * knows ONNX's defaults for what is absent. */
#include "graph/window.h"

#include <string.h>

#include "graph/infer.h"

typedef enum { PAD_EXPLICIT, PAD_VALID, PAD_UPPER, PAD_LOWER } padding;

static const char *dim_name(int num_dims, int i)
{
    static const char *const names[] = {"depth", "height", "width"};
    return num_dims == 1 ? "length" : names[AMG_MAX_SPATIAL - num_dims + i];
}

/* Reads the ints of an attribute into out (left as preset if it is absent). */
static amg_status read_ints(const amg_node *node, const char *name, int count,
                            int64_t least, int64_t *out, amg_error *err)
{
    const amg_attr *a = amg_attr_find(node, name);
    if (!a) return AMG_OK;
    if (a->kind != AMG_ATTR_INTS || a->count != count)
        return amg_node_fail(node, AMG_MISMATCH, err, "%s has %d number%s, expected %d",
                             name, a->count, amg_plural(a->count), count);
    for (int i = 0; i < count; i++) {
        if (a->ints[i] < least || a->ints[i] > INT32_MAX)
            return amg_node_fail(node, AMG_MISMATCH, err,
                                 "%s[%d] is %lld, expected at least %lld", name, i,
                                 (long long)a->ints[i], (long long)least);
        out[i] = a->ints[i];
    }
    return AMG_OK;
}

static amg_status read_padding(const amg_node *node, padding *out, amg_error *err)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const char *mode = amg_attr_string(node, "auto_pad", names[PAD_EXPLICIT]);
    *out = PAD_EXPLICIT;
    if (!mode[0]) return AMG_OK;
    for (int i = 0; i < 4; i++)
        if (strcmp(mode, names[i]) == 0) {
            *out = (padding)i;
            return AMG_OK;
        }
    return amg_node_fail(node, AMG_UNSUPPORTED, err, "auto_pad is \"%.40s\"", mode);
}

int64_t amg_window_extent(const amg_window *w, int i)
{
    return w->dilation[i] * (w->kernel[i] - 1) + 1;
}

/* Splits total over both sides, the odd one at the end or at the beginning. */
static void split_pads(amg_window *w, int i, int64_t total, bool upper)
{
    if (total < 0) total = 0;
    w->begin[i] = upper ? total / 2 : total - total / 2;
    w->end[i] = total - w->begin[i];
}

/* out = ceil(in / stride) */
static void pad_same(amg_window *w, int i, int64_t in, bool upper)
{
    int64_t out = (in + w->stride[i] - 1) / w->stride[i];
    split_pads(w, i, (out - 1) * w->stride[i] + amg_window_extent(w, i) - in, upper);
}

/* out = in * stride, or as output_shape says: padding cuts what is too much, and what
 * is missing comes at the end. */
static void pad_result(amg_window *w, int i, int64_t in, int64_t out, bool upper)
{
    int64_t total =
        (in - 1) * w->stride[i] + w->extra[i] + amg_window_extent(w, i) - out;
    split_pads(w, i, total, upper);
    if (total < 0) w->extra[i] -= total;
}

/* output_shape: the spatial dims, or in old files all of them. */
static amg_status read_result(const amg_node *node, const amg_window *w, int64_t *shape,
                              bool *given, amg_error *err)
{
    const amg_attr *a = amg_attr_find(node, "output_shape");
    *given = a != NULL;
    if (!a) return AMG_OK;
    int skip = a->kind == AMG_ATTR_INTS ? a->count - w->num_dims : -1;
    if (skip != 0 && skip != 2)
        return amg_node_fail(node, AMG_MISMATCH, err,
                             "output_shape has %d number%s, expected %d", a->count,
                             amg_plural(a->count), w->num_dims);
    for (int i = 0; i < w->num_dims; i++) {
        shape[i] = a->ints[skip + i];
        if (shape[i] < 1 || shape[i] > INT32_MAX)
            return amg_node_fail(node, AMG_MISMATCH, err,
                                 "output_shape[%d] is %lld, expected 1 to 2^31-1",
                                 skip + i, (long long)shape[i]);
    }
    return AMG_OK;
}

/* Pads that are not written out. */
static amg_status find_pads(const amg_node *node, const int64_t *in, amg_window *w,
                            amg_error *err)
{
    padding mode;
    bool given = false, transposed = node->op == AMG_OP_CONV_TRANSPOSE;
    int64_t shape[AMG_MAX_SPATIAL];
    amg_status s = read_padding(node, &mode, err);
    if (!s && transposed) s = read_result(node, w, shape, &given, err);
    if (s) return s;
    bool upper = mode == PAD_UPPER, same = upper || mode == PAD_LOWER;
    for (int i = 0; i < w->num_dims; i++) {
        if (mode == PAD_VALID) w->begin[i] = w->end[i] = 0;
        if (given || (same && transposed))
            pad_result(w, i, in[i], given ? shape[i] : in[i] * w->stride[i], upper);
        else if (same)
            pad_same(w, i, in[i], upper);
    }
    return AMG_OK;
}

static amg_status check_kernel(const amg_node *node, const amg_value *weight,
                               const amg_window *w, amg_error *err)
{
    for (int i = 0; i < w->num_dims; i++) {
        if (w->kernel[i] == 0)
            return amg_node_fail(node, AMG_MISMATCH, err, "kernel_shape is missing");
        if (weight && w->kernel[i] != weight->dims[2 + i])
            return amg_node_fail(
                node, AMG_MISMATCH, err,
                "kernel_shape[%d] is %lld, but the weight's %s is %lld", i,
                (long long)w->kernel[i], dim_name(w->num_dims, i),
                (long long)weight->dims[2 + i]);
    }
    return AMG_OK;
}

amg_status amg_window_read(const amg_node *node, const amg_value *x,
                           const amg_value *weight, amg_window *out, amg_error *err)
{
    int64_t pads[2 * AMG_MAX_SPATIAL] = {0};
    amg_window w = {.num_dims = x->rank - 2,
                    .ceil_mode = amg_attr_int(node, "ceil_mode", 0) != 0};
    const int n = w.num_dims;
    for (int i = 0; i < n; i++) {
        w.stride[i] = w.dilation[i] = 1;
        if (weight) w.kernel[i] = weight->dims[2 + i];
    }
    amg_status s = read_ints(node, "kernel_shape", n, 1, w.kernel, err);
    if (!s) s = read_ints(node, "strides", n, 1, w.stride, err);
    if (!s) s = read_ints(node, "dilations", n, 1, w.dilation, err);
    if (!s) s = read_ints(node, "pads", 2 * n, 0, pads, err);
    if (!s) s = read_ints(node, "output_padding", n, 0, w.extra, err);
    if (!s) s = check_kernel(node, weight, &w, err);
    if (s) return s;
    for (int i = 0; i < n; i++) {
        w.begin[i] = pads[i];
        w.end[i] = pads[n + i];
    }
    s = find_pads(node, x->dims + 2, &w, err);
    if (!s) *out = w;
    return s;
}

amg_status amg_window_slide(const amg_node *node, const amg_window *w,
                            const int64_t *in, int64_t *out, amg_error *err)
{
    for (int i = 0; i < w->num_dims; i++) {
        int64_t extent = amg_window_extent(w, i);
        int64_t span = in[i] + w->begin[i] + w->end[i] - extent;
        if (span < 0)
            return amg_node_fail(node, AMG_MISMATCH, err,
                                 "window of %lld does not fit %s %lld (padded by %lld)",
                                 (long long)extent, dim_name(w->num_dims, i),
                                 (long long)in[i], (long long)w->begin[i] + w->end[i]);
        out[i] = span / w->stride[i] + 1;
        /* As in PyTorch, a window that rounding up adds must begin on the input or its
         * padding before it, never on the padding after it. */
        if (w->ceil_mode && span % w->stride[i] != 0 &&
            out[i] * w->stride[i] < in[i] + w->begin[i])
            out[i]++;
    }
    return AMG_OK;
}

amg_status amg_window_unslide(const amg_node *node, const amg_window *w,
                              const int64_t *in, int64_t *out, amg_error *err)
{
    for (int i = 0; i < w->num_dims; i++) {
        out[i] = (in[i] - 1) * w->stride[i] + amg_window_extent(w, i) + w->extra[i] -
                 w->begin[i] - w->end[i];
        if (out[i] < 1 || out[i] > INT32_MAX)
            return amg_node_fail(node, AMG_MISMATCH, err,
                                 "%s would be %lld, expected 1 to 2^31-1",
                                 dim_name(w->num_dims, i), (long long)out[i]);
    }
    return AMG_OK;
}

int64_t amg_window_end(const amg_window *w, int i, int64_t in, int64_t out)
{
    return (out - 1) * w->stride[i] + amg_window_extent(w, i) - in - w->begin[i];
}

bool amg_fold_read(const amg_node *node, const amg_value *image, const amg_value *block,
                   amg_window *out, int64_t dims[AMG_MAX_SPATIAL])
{
    int count[2];
    int64_t pads[2 * AMG_MAX_SPATIAL] = {0};
    *out = (amg_window){0};
    if (!amg_value_ints(image, AMG_MAX_SPATIAL, dims, &count[0]) ||
        !amg_value_ints(block, AMG_MAX_SPATIAL, out->kernel, &count[1]) ||
        count[0] != count[1] || count[0] < 1)
        return false;
    const int n = out->num_dims = count[0];
    for (int i = 0; i < n; i++) out->stride[i] = out->dilation[i] = 1;
    if (read_ints(node, "strides", n, 1, out->stride, NULL) ||
        read_ints(node, "dilations", n, 1, out->dilation, NULL) ||
        read_ints(node, "pads", 2 * n, 0, pads, NULL))
        return false;
    for (int i = 0; i < n; i++) {
        out->begin[i] = pads[i];
        out->end[i] = pads[n + i];
        if (dims[i] < 1 || dims[i] > INT32_MAX || out->kernel[i] < 1 ||
            out->kernel[i] > INT32_MAX)
            return false;
    }
    return true;
}
