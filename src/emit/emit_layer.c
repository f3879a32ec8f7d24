/* Forms of layers whose window slides over an image, a sequence or a volume:
 * convolutions, pools, and resizing.
 *
 * ONNX pads each side on its own; PyTorch's own padding is the same on both sides.
 * Where they differ, F.pad comes first. D: spatial dims, 1 to 3. */
#include <math.h>
#include <string.h>

#include "emit/emit_ops.h"
#include "graph/window.h"

enum { MAX_SPATIAL = AMG_MAX_SPATIAL };

/* weight: of a convolution, NULL: kernel_shape says the window. */
static amg_status read_window(const amg_emit *e, const amg_emit_step *s,
                              const amg_value *weight, amg_window *w)
{
    return amg_window_read(s->node, amg_emit_in(e, s, 0), weight, w, e->err);
}

/* Whether both sides of every dim are padded alike. */
static bool is_even(const amg_window *w)
{
    for (int i = 0; i < w->num_dims; i++)
        if (w->begin[i] != w->end[i]) return false;
    return true;
}

static bool is_padded(const amg_window *w)
{
    for (int i = 0; i < w->num_dims; i++)
        if (w->begin[i] || w->end[i]) return true;
    return false;
}

static bool is_dilated(const amg_window *w)
{
    for (int i = 0; i < w->num_dims; i++)
        if (w->dilation[i] != 1) return true;
    return false;
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

/* The layer's input, padded by hand. value: Python's text of the padding. */
static void add_padded(amg_emit *e, const amg_emit_step *s, const amg_window *w,
                       const char *value)
{
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
    amg_window w;
    int64_t group = amg_attr_int(s->node, "group", 1);
    amg_status st = read_window(e, s, amg_emit_in(e, s, 1), &w);
    if (st) return st;
    amg_text_add(&e->out, "F.conv%dd(", w.num_dims);
    if (is_even(&w))
        amg_emit_operand(e, s, 0);
    else
        add_padded(e, s, &w, NULL);
    amg_emit_format(e, s, amg_emit_in(e, s, 2) ? ", %1, %2" : ", %1");
    add_option(e, "stride", w.num_dims, w.stride, 1);
    if (is_even(&w)) add_option(e, "padding", w.num_dims, w.begin, 0);
    add_option(e, "dilation", w.num_dims, w.dilation, 1);
    if (group != 1) amg_text_add(&e->out, ", groups=%lld", (long long)group);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* Padding cuts the result here; where the sides differ, F.pad by less than nothing does
 * it afterwards. */
static void add_cut(amg_emit *e, const amg_window *w)
{
    int64_t begin[MAX_SPATIAL], end[MAX_SPATIAL];
    for (int i = 0; i < w->num_dims; i++) {
        begin[i] = -w->begin[i];
        end[i] = -w->end[i];
    }
    amg_text_add(&e->out, ", ");
    add_pads(e, w->num_dims, begin, end);
    amg_text_add(&e->out, ")");
}

amg_status amg_emit_conv_transpose(amg_emit *e, const amg_emit_step *s)
{
    amg_window w;
    int64_t group = amg_attr_int(s->node, "group", 1);
    amg_status st = read_window(e, s, amg_emit_in(e, s, 1), &w);
    if (st) return st;
    for (int i = 0; i < w.num_dims; i++)
        if (w.extra[i] > 0 && w.extra[i] >= w.stride[i] && w.extra[i] >= w.dilation[i])
            return amg_emit_fail(e, s,
                                 "its result is longer by %lld, expected less than "
                                 "the stride or dilation",
                                 (long long)w.extra[i]);
    bool even = is_even(&w);
    amg_text_add(&e->out, "%sF.conv_transpose%dd(", even ? "" : "F.pad(", w.num_dims);
    amg_emit_format(e, s, amg_emit_in(e, s, 2) ? "%0, %1, %2" : "%0, %1");
    add_option(e, "stride", w.num_dims, w.stride, 1);
    if (even) add_option(e, "padding", w.num_dims, w.begin, 0);
    add_option(e, "output_padding", w.num_dims, w.extra, 0);
    if (group != 1) amg_text_add(&e->out, ", groups=%lld", (long long)group);
    add_option(e, "dilation", w.num_dims, w.dilation, 1);
    amg_text_add(&e->out, ")");
    if (!even) add_cut(e, &w);
    return AMG_OK;
}

/* PyTorch pads a pool by half its window at most, the same on both sides, and with
 * ceil_mode drops a window that begins behind the input. Otherwise: pads written out so
 * that exactly the windows of the result fit. */
static bool torch_pads(const amg_window *w)
{
    bool fits = is_even(w);
    for (int i = 0; i < w->num_dims; i++)
        fits = fits && 2 * w->begin[i] <= w->kernel[i];
    return fits;
}

static void fit_pads(amg_window *w, const amg_value *x, const amg_value *out)
{
    for (int i = 0; i < w->num_dims; i++)
        w->end[i] = amg_window_end(w, i, x->dims[2 + i], out->dims[2 + i]);
}

static void add_window(amg_emit *e, const amg_window *w, bool pads)
{
    amg_text_add(&e->out, ", ");
    amg_text_tuple(&e->out, w->num_dims, w->kernel);
    amg_text_add(&e->out, ", ");
    amg_text_tuple(&e->out, w->num_dims, w->stride);
    if (pads) add_option(e, "padding", w->num_dims, w->begin, 0);
}

amg_status amg_emit_max_pool(amg_emit *e, const amg_emit_step *s)
{
    amg_window w;
    amg_status st = read_window(e, s, NULL, &w);
    if (st) return st;
    bool ceil_mode = amg_attr_int(s->node, "ceil_mode", 0) != 0, own = torch_pads(&w);
    amg_text_add(&e->out, "F.max_pool%dd(", w.num_dims);
    if (own) {
        amg_emit_operand(e, s, 0);
    } else {
        fit_pads(&w, amg_emit_in(e, s, 0), amg_emit_result(e, s));
        add_padded(e, s, &w, "float(\"-inf\")");
    }
    add_window(e, &w, own);
    add_option(e, "dilation", w.num_dims, w.dilation, 1);
    if (own && ceil_mode) amg_text_add(&e->out, ", ceil_mode=True");
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* The mean over windows of what `add` writes. PyTorch's pools of means have no
 * dilation: then a convolution with ones, which is a multiple of the mean. */
static void add_average(amg_emit *e, const amg_emit_step *s, const amg_window *w,
                        void (*add)(amg_emit *e, const amg_emit_step *s,
                                    const amg_window *w))
{
    const int64_t channels = amg_emit_in(e, s, 0)->dims[1];
    int64_t ones[2 + MAX_SPATIAL] = {channels, 1};
    amg_text_add(&e->out, is_dilated(w) ? "F.conv%dd(" : "F.avg_pool%dd(", w->num_dims);
    add(e, s, w);
    if (!is_dilated(w)) {
        add_window(e, w, false);
        amg_text_add(&e->out, ")");
        return;
    }
    memcpy(ones + 2, w->kernel, sizeof w->kernel);
    amg_emit_format(e, s, ", torch.ones(");
    amg_text_tuple(&e->out, 2 + w->num_dims, ones);
    amg_emit_format(e, s, ", dtype=%0.dtype, device=%0.device)");
    add_option(e, "stride", w->num_dims, w->stride, 1);
    add_option(e, "dilation", w->num_dims, w->dilation, 1);
    amg_text_add(&e->out, ", groups=%lld)", (long long)channels);
}

static void add_filled(amg_emit *e, const amg_emit_step *s, const amg_window *w)
{
    amg_window all = *w;
    fit_pads(&all, amg_emit_in(e, s, 0), amg_emit_result(e, s));
    add_padded(e, s, &all, NULL);
}

/* 1 where the input is, or its pads where they count, 0 around. */
static void add_counted(amg_emit *e, const amg_emit_step *s, const amg_window *w)
{
    amg_window all = *w;
    fit_pads(&all, amg_emit_in(e, s, 0), amg_emit_result(e, s));
    amg_text_add(&e->out, "F.pad(torch.ones_like(");
    if (amg_attr_int(s->node, "count_include_pad", 0) == 0) {
        amg_emit_format(e, s, "%0), ");
    } else {
        amg_emit_format(e, s, "F.pad(%0, ");
        add_pads(e, w->num_dims, w->begin, w->end);
        amg_text_add(&e->out, ")), ");
        for (int i = 0; i < w->num_dims; i++) {
            all.begin[i] = 0;
            all.end[i] -= w->end[i];
        }
    }
    add_pads(e, w->num_dims, all.begin, all.end);
    amg_text_add(&e->out, ")");
}

amg_status amg_emit_average_pool(amg_emit *e, const amg_emit_step *s)
{
    amg_window w;
    amg_status st = read_window(e, s, NULL, &w);
    if (st) return st;
    bool count_pads = amg_attr_int(s->node, "count_include_pad", 0) != 0;
    if (!torch_pads(&w) || is_dilated(&w)) { /* the mean over what counts */
        add_average(e, s, &w, add_filled);
        amg_text_add(&e->out, " / ");
        add_average(e, s, &w, add_counted);
        return AMG_OK;
    }
    amg_text_add(&e->out, "F.avg_pool%dd(", w.num_dims);
    amg_emit_operand(e, s, 0);
    add_window(e, &w, true);
    if (amg_attr_int(s->node, "ceil_mode", 0) != 0)
        amg_text_add(&e->out, ", ceil_mode=True");
    if (is_padded(&w) && !count_pads)
        amg_text_add(&e->out, ", count_include_pad=False");
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_global_pool(amg_emit *e, const amg_emit_step *s)
{
    int num_dims = amg_emit_in(e, s, 0)->rank - 2;
    if (num_dims < 1 || num_dims > MAX_SPATIAL)
        return amg_emit_fail(e, s, "its input has %d dims, expected 3 to 5",
                             num_dims + 2);
    amg_text_add(&e->out, "F.adaptive_%s_pool%dd(",
                 s->node->op == AMG_OP_GLOBAL_MAX_POOL ? "max" : "avg", num_dims);
    amg_emit_format(e, s, "%0, 1)");
    return AMG_OK;
}

static bool antialiases(const amg_node *n)
{
    return amg_attr_int(n, "antialias", 0) != 0;
}

/* Whether F.interpolate has the node's filter: with antialias of images alone, where
 * what lies outside does not count and the cubic kernel is another one. */
static bool has_filter(const amg_node *n, const char *mode, const char *place,
                       int num_dims)
{
    const bool cubic = strcmp(mode, "cubic") == 0, smooth = antialiases(n);
    if (smooth && (num_dims != 2 || strcmp(place, "half_pixel") != 0)) return false;
    if ((cubic || smooth) && (amg_attr_int(n, "exclude_outside", 0) != 0) != smooth)
        return false;
    return !cubic ||
           amg_attr_float(n, "cubic_coeff_a", -0.75f) == (smooth ? -0.5f : -0.75f);
}

/* PyTorch's mode of a Resize, NULL if it has none. *aligned: align_corners. */
static const char *resize_mode(const amg_node *n, int num_dims, bool *aligned)
{
    const char *mode = amg_attr_string(n, "mode", "nearest");
    const char *place =
        amg_attr_string(n, "coordinate_transformation_mode", "half_pixel");
    const char *nearest = amg_attr_string(n, "nearest_mode", "round_prefer_floor");
    bool half =
        strcmp(place, "half_pixel") == 0 || strcmp(place, "pytorch_half_pixel") == 0;
    *aligned = strcmp(place, "align_corners") == 0;
    if (!has_filter(n, mode, place, num_dims)) return NULL;
    if (strcmp(mode, "linear") == 0 && (half || *aligned))
        return num_dims == 1 ? "linear" : num_dims == 2 ? "bilinear" : "trilinear";
    if (strcmp(mode, "cubic") == 0 && (half || *aligned) && num_dims == 2)
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
        return amg_emit_fail(e, s, "its result has %d dims, expected 3 to 5",
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
    if (antialiases(s->node)) amg_text_add(&e->out, ", antialias=True");
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* ONNX's names are those of PyTorch's modes but for two. */
amg_status amg_emit_grid_sample(amg_emit *e, const amg_emit_step *s)
{
    const char *mode = amg_attr_string(s->node, "mode", "linear");
    const bool cubic = strcmp(mode, "cubic") == 0;
    if (cubic && amg_emit_in(e, s, 0)->rank != 4)
        return amg_emit_fail(e, s, "mode \"cubic\" of 3-d is none of PyTorch's");
    amg_emit_format(e, s, "F.grid_sample(%0, %1, mode=\"");
    amg_text_add(&e->out, "%s\", padding_mode=\"%s\", align_corners=%s)",
                 cubic                         ? "bicubic"
                 : strcmp(mode, "linear") == 0 ? "bilinear"
                                               : "nearest",
                 amg_attr_string(s->node, "padding_mode", "zeros"),
                 amg_attr_int(s->node, "align_corners", 0) ? "True" : "False");
    return AMG_OK;
}

/* F.fold has pads of both sides alike; others are part of a larger image, cut after. */
amg_status amg_emit_col2im(amg_emit *e, const amg_emit_step *s)
{
    int64_t image[MAX_SPATIAL];
    amg_window w;
    if (!amg_fold_read(s->node, amg_emit_in(e, s, 1), amg_emit_in(e, s, 2), &w,
                       image) ||
        w.num_dims != 2)
        return amg_emit_fail(e, s,
                             "its image is not of two dims, as PyTorch's fold has");
    const bool even = is_even(&w);
    for (int i = 0; i < 2 && !even; i++) image[i] += w.begin[i] + w.end[i];
    amg_emit_format(e, s, even ? "F.fold(%0, " : "F.pad(F.fold(%0, ");
    amg_text_tuple(&e->out, 2, image);
    amg_text_add(&e->out, ", ");
    amg_text_tuple(&e->out, 2, w.kernel);
    add_option(e, "dilation", 2, w.dilation, 1);
    if (even) add_option(e, "padding", 2, w.begin, 0);
    add_option(e, "stride", 2, w.stride, 1);
    amg_text_add(&e->out, ")");
    if (!even) add_cut(e, &w);
    return AMG_OK;
}
