/* Forms of layers whose window slides over an image or a sequence: convolutions, pools,
 * and resizing.
 *
 * ONNX pads each side on its own; PyTorch's own padding is the same on both sides.
 * Where they differ, F.pad comes first. D: spatial dims, 1 or 2. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "emit/emit_ops.h"

enum { MAX_SPATIAL = 2 };

typedef struct {
    int num_dims; /* D */
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL];
    int64_t begin[MAX_SPATIAL], end[MAX_SPATIAL]; /* pads */
    bool even;                                    /* begin equals end */
    bool padded;                                  /* any pad */
} window;

static void read_ints(const amg_node *n, const char *name, int count, int64_t *out)
{
    const amg_attr *a = amg_attr_find(n, name);
    if (a && a->kind == AMG_ATTR_INTS && a->count == count)
        memcpy(out, a->ints, (size_t)count * sizeof *out);
}

/* auto_pad's padding: out = ceil(in / stride), the odd one at the end or the beginning.
 */
static void pad_same(window *w, int i, int64_t in, bool upper)
{
    assert(w->stride[i] > 0); /* shape inference refuses others */
    int64_t extent = w->dilation[i] * (w->kernel[i] - 1) + 1;
    int64_t total =
        ((in + w->stride[i] - 1) / w->stride[i] - 1) * w->stride[i] + extent;
    total = total > in ? total - in : 0;
    w->begin[i] = upper ? total / 2 : total - total / 2;
    w->end[i] = total - w->begin[i];
}

/* weight: of a convolution, NULL: kernel_shape says the window. */
static amg_status read_window(const amg_emit *e, const amg_emit_step *s,
                              const amg_value *weight, window *w)
{
    const amg_value *x = amg_emit_in(e, s, 0);
    const char *mode = amg_attr_string(s->node, "auto_pad", "NOTSET");
    bool same = strncmp(mode, "SAME_", 5) == 0;
    int64_t pads[2 * MAX_SPATIAL] = {0};
    *w = (window){.num_dims = x->rank - 2, .even = true};
    if (w->num_dims < 1 || w->num_dims > MAX_SPATIAL)
        return amg_emit_fail(e, s, "its input has %d dims, expected 3 or 4", x->rank);
    for (int i = 0; i < w->num_dims; i++) {
        w->stride[i] = w->dilation[i] = 1;
        w->kernel[i] = weight ? weight->dims[2 + i] : 1;
    }
    read_ints(s->node, "kernel_shape", w->num_dims, w->kernel);
    read_ints(s->node, "strides", w->num_dims, w->stride);
    read_ints(s->node, "dilations", w->num_dims, w->dilation);
    if (strcmp(mode, "VALID") != 0) read_ints(s->node, "pads", 2 * w->num_dims, pads);
    for (int i = 0; i < w->num_dims; i++) {
        w->begin[i] = pads[i];
        w->end[i] = pads[w->num_dims + i];
        if (same) pad_same(w, i, x->dims[2 + i], strcmp(mode, "SAME_UPPER") == 0);
        w->even = w->even && w->begin[i] == w->end[i];
        w->padded = w->padded || w->begin[i] || w->end[i];
    }
    return AMG_OK;
}

/* F.pad's argument: the last dim first. */
static void add_pads(amg_emit *e, int num_dims, const int64_t *begin,
                     const int64_t *end)
{
    int64_t pads[2 * MAX_SPATIAL];
    for (int i = 0; i < num_dims; i++) {
        pads[2 * i] = begin[num_dims - 1 - i];
        pads[2 * i + 1] = end[num_dims - 1 - i];
    }
    amg_text_tuple(&e->out, 2 * num_dims, pads);
}

/* The layer's input: x, or x padded by hand. value: Python's text of the padding. */
static void add_padded(amg_emit *e, const amg_emit_step *s, const window *w,
                       const char *value)
{
    if (w->even) {
        amg_emit_operand(e, s, 0);
        return;
    }
    amg_emit_format(e, s, "F.pad(%0, ");
    add_pads(e, w->num_dims, w->begin, w->end);
    amg_text_add(&e->out, "%s%s)", value ? ", value=" : "", value ? value : "");
}

/* ", name=(a, b)" unless all are the preset that PyTorch has anyway. */
static void add_option(amg_emit *e, const char *name, int count, const int64_t *v,
                       int64_t preset)
{
    for (int i = 0; i < count; i++)
        if (v[i] != preset) {
            amg_text_add(&e->out, ", %s=", name);
            amg_text_tuple(&e->out, count, v);
            return;
        }
}

amg_status amg_emit_conv(amg_emit *e, const amg_emit_step *s)
{
    window w;
    int64_t group = amg_attr_int(s->node, "group", 1);
    amg_status st = read_window(e, s, amg_emit_in(e, s, 1), &w);
    if (st) return st;
    amg_text_add(&e->out, "F.conv%dd(", w.num_dims);
    add_padded(e, s, &w, NULL);
    amg_emit_format(e, s, amg_emit_in(e, s, 2) ? ", %1, %2" : ", %1");
    add_option(e, "stride", w.num_dims, w.stride, 1);
    if (w.even) add_option(e, "padding", w.num_dims, w.begin, 0);
    add_option(e, "dilation", w.num_dims, w.dilation, 1);
    if (group != 1) amg_text_add(&e->out, ", groups=%lld", (long long)group);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_conv_transpose(amg_emit *e, const amg_emit_step *s)
{
    window w;
    int64_t group = amg_attr_int(s->node, "group", 1), extra[MAX_SPATIAL] = {0};
    amg_status st = read_window(e, s, amg_emit_in(e, s, 1), &w);
    if (st) return st;
    if (strncmp(amg_attr_string(s->node, "auto_pad", ""), "SAME", 4) == 0 ||
        amg_attr_find(s->node, "output_shape"))
        return amg_emit_fail(e, s, "has auto_pad or output_shape, expected pads");
    read_ints(s->node, "output_padding", w.num_dims, extra);
    /* Here padding cuts the result; where the sides differ, F.pad by less than nothing
     * does it afterwards. */
    amg_text_add(&e->out, "%sF.conv_transpose%dd(", w.even ? "" : "F.pad(", w.num_dims);
    amg_emit_format(e, s, amg_emit_in(e, s, 2) ? "%0, %1, %2" : "%0, %1");
    add_option(e, "stride", w.num_dims, w.stride, 1);
    if (w.even) add_option(e, "padding", w.num_dims, w.begin, 0);
    add_option(e, "output_padding", w.num_dims, extra, 0);
    if (group != 1) amg_text_add(&e->out, ", groups=%lld", (long long)group);
    add_option(e, "dilation", w.num_dims, w.dilation, 1);
    amg_text_add(&e->out, ")");
    if (!w.even) {
        int64_t begin[MAX_SPATIAL], end[MAX_SPATIAL];
        for (int i = 0; i < w.num_dims; i++) {
            begin[i] = -w.begin[i];
            end[i] = -w.end[i];
        }
        amg_text_add(&e->out, ", ");
        add_pads(e, w.num_dims, begin, end);
        amg_text_add(&e->out, ")");
    }
    return AMG_OK;
}

/* PyTorch pads a pool by half its window at most, the same on both sides, and with
 * ceil_mode drops a window that begins behind the input. Otherwise: pads written out so
 * that exactly the windows of the result fit. */
static bool torch_pads(const window *w)
{
    bool fits = w->even;
    for (int i = 0; i < w->num_dims; i++)
        fits = fits && 2 * w->begin[i] <= w->kernel[i];
    return fits;
}

static void fit_pads(window *w, const amg_value *x, const amg_value *out)
{
    w->even = false;
    for (int i = 0; i < w->num_dims; i++)
        w->end[i] = (out->dims[2 + i] - 1) * w->stride[i] +
                    w->dilation[i] * (w->kernel[i] - 1) + 1 - x->dims[2 + i] -
                    w->begin[i];
}

static void add_window(amg_emit *e, const window *w, bool pads)
{
    amg_text_add(&e->out, ", ");
    amg_text_tuple(&e->out, w->num_dims, w->kernel);
    amg_text_add(&e->out, ", ");
    amg_text_tuple(&e->out, w->num_dims, w->stride);
    if (pads) add_option(e, "padding", w->num_dims, w->begin, 0);
}

amg_status amg_emit_max_pool(amg_emit *e, const amg_emit_step *s)
{
    window w;
    amg_status st = read_window(e, s, NULL, &w);
    if (st) return st;
    bool ceil_mode = amg_attr_int(s->node, "ceil_mode", 0) != 0, own = torch_pads(&w);
    if (!own) fit_pads(&w, amg_emit_in(e, s, 0), amg_emit_result(e, s));
    amg_text_add(&e->out, "F.max_pool%dd(", w.num_dims);
    add_padded(e, s, &w, "float(\"-inf\")");
    add_window(e, &w, own);
    add_option(e, "dilation", w.num_dims, w.dilation, 1);
    if (own && ceil_mode) amg_text_add(&e->out, ", ceil_mode=True");
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* Padding by hand: the mean over what counts is that of the padded input over the mean
 * of a padded 1. What counts is the input, and its pads where count_include_pad. */
static void padded_average(amg_emit *e, const amg_emit_step *s, window w,
                           bool count_pads)
{
    window all = w;
    fit_pads(&all, amg_emit_in(e, s, 0), amg_emit_result(e, s));
    amg_text_add(&e->out, "F.avg_pool%dd(", w.num_dims);
    add_padded(e, s, &all, NULL);
    add_window(e, &w, false);
    amg_text_add(&e->out, ") / F.avg_pool%dd(F.pad(torch.ones_like(", w.num_dims);
    if (count_pads) {
        amg_emit_format(e, s, "F.pad(%0, ");
        add_pads(e, w.num_dims, w.begin, w.end);
        amg_text_add(&e->out, ")), ");
        for (int i = 0; i < w.num_dims; i++) {
            all.begin[i] = 0;
            all.end[i] -= w.end[i];
        }
    } else {
        amg_emit_format(e, s, "%0), ");
    }
    add_pads(e, w.num_dims, all.begin, all.end);
    amg_text_add(&e->out, ")");
    add_window(e, &w, false);
    amg_text_add(&e->out, ")");
}

amg_status amg_emit_average_pool(amg_emit *e, const amg_emit_step *s)
{
    window w;
    amg_status st = read_window(e, s, NULL, &w);
    if (st) return st;
    bool count_pads = amg_attr_int(s->node, "count_include_pad", 0) != 0;
    for (int i = 0; i < w.num_dims; i++)
        if (w.dilation[i] != 1)
            return amg_emit_fail(e, s, "a dilation of %lld", (long long)w.dilation[i]);
    if (!torch_pads(&w)) {
        padded_average(e, s, w, count_pads);
        return AMG_OK;
    }
    amg_text_add(&e->out, "F.avg_pool%dd(", w.num_dims);
    amg_emit_operand(e, s, 0);
    add_window(e, &w, true);
    if (amg_attr_int(s->node, "ceil_mode", 0) != 0)
        amg_text_add(&e->out, ", ceil_mode=True");
    if (w.padded && !count_pads) amg_text_add(&e->out, ", count_include_pad=False");
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_global_average_pool(amg_emit *e, const amg_emit_step *s)
{
    int rank = amg_emit_in(e, s, 0)->rank;
    if (rank != 3 && rank != 4)
        return amg_emit_fail(e, s, "its input has %d dims, expected 3 or 4", rank);
    amg_text_add(&e->out, "F.adaptive_avg_pool%dd(", rank - 2);
    amg_emit_format(e, s, "%0, 1)");
    return AMG_OK;
}

/* PyTorch's mode of a Resize, NULL if it has none. *aligned: align_corners. */
static const char *resize_mode(const amg_node *n, int num_dims, bool *aligned)
{
    const char *mode = amg_attr_string(n, "mode", "nearest");
    const char *place =
        amg_attr_string(n, "coordinate_transformation_mode", "half_pixel");
    const char *nearest = amg_attr_string(n, "nearest_mode", "round_prefer_floor");
    bool half = strstr(place, "half_pixel") != NULL;
    *aligned = strcmp(place, "align_corners") == 0;
    if (strcmp(mode, "linear") == 0 && (half || *aligned))
        return num_dims == 1 ? "linear" : "bilinear";
    if (strcmp(mode, "cubic") == 0 && (half || *aligned) && num_dims == 2 &&
        amg_attr_float(n, "cubic_coeff_a", -0.75f) == -0.75f)
        return "bicubic";
    if (strcmp(mode, "nearest") != 0) return NULL;
    *aligned = false;
    if (strcmp(place, "asymmetric") == 0 && strcmp(nearest, "floor") == 0)
        return "nearest";
    return half && strcmp(nearest, "round_prefer_ceil") == 0 ? "nearest-exact" : NULL;
}

/* The scales of the spatial dims where a size does not say the same: where it does, the
 * module gave the size or a scale without a fraction, and both run alike. */
static const float *find_scales(const amg_emit *e, const amg_emit_step *s,
                                const amg_value *x, const amg_value *out)
{
    const amg_value *v = amg_emit_in(e, s, s->num_inputs == 2 ? 1 : 2);
    if (!v || v->kind != AMG_VALUE_PARAM || !v->data.data || v->dtype != AMG_F32 ||
        v->rank != 1 || v->dims[0] != x->rank)
        return NULL;
    const float *scales = v->data.data;
    for (int i = 2; i < x->rank; i++)
        if (fabs((double)x->dims[i] * (double)scales[i] - (double)out->dims[i]) > 1e-4)
            return scales + 2;
    return NULL;
}

amg_status amg_emit_resize(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *x = amg_emit_in(e, s, 0), *out = amg_emit_result(e, s);
    int num_dims = out->rank - 2;
    bool aligned;
    if (num_dims < 1 || num_dims > MAX_SPATIAL)
        return amg_emit_fail(e, s, "its result has %d dims, expected 3 or 4",
                             out->rank);
    const char *mode = resize_mode(s->node, num_dims, &aligned);
    const float *scales = find_scales(e, s, x, out);
    if (!mode)
        return amg_emit_fail(
            e, s, "mode \"%.40s\" with coordinates \"%.60s\" is none of PyTorch's",
            amg_attr_string(s->node, "mode", "nearest"),
            amg_attr_string(s->node, "coordinate_transformation_mode", "half_pixel"));
    amg_emit_format(e, s, "F.interpolate(%0, ");
    if (scales) {
        amg_text_add(&e->out, "scale_factor=(");
        for (int i = 0; i < num_dims; i++) {
            amg_text_float(&e->out, scales[i]);
            amg_text_add(&e->out, i + 1 < num_dims ? ", " : num_dims == 1 ? ",)" : ")");
        }
    } else {
        amg_text_add(&e->out, "size=");
        amg_text_tuple(&e->out, num_dims, out->dims + 2);
    }
    amg_text_add(&e->out, ", mode=\"%s\"", mode);
    if (aligned) amg_text_add(&e->out, ", align_corners=True");
    amg_text_add(&e->out, ")");
    return AMG_OK;
}
