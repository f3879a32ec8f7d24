/* Shape rules of operators on images that no window slides over: CenterCropPad,
 * GridSample, AffineGrid, and Col2Im, which puts windows back. */
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"
#include "graph/window.h"

/* shape names the dims of axes, or of all; the batch keeps its own. */
amg_status amg_infer_center_crop_pad(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const amg_attr *axes = amg_infer_attr_ints(c, "axes");
    int64_t shape[AMG_MAX_RANK], dims[AMG_MAX_RANK];
    int count;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 ||
        !amg_value_shape(amg_infer_in(c, 1), AMG_MAX_RANK, shape, &count))
        return AMG_OK;
    bool fits = count == (axes ? axes->count : x->rank);
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 0; fits && i < count; i++) {
        const int d = axes ? amg_axis_find(axes->ints[i], x->rank) : i;
        fits = d >= 0 && (dims[d] < 0 || (shape[i] >= 0 && dims[d] > 0));
        if (fits && dims[d] >= 0) dims[d] = shape[i];
    }
    if (!fits) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "a shape of %d number%s does not fit %s",
            count, amg_plural(count), amg_shape_text(x->dtype, x->rank, x->dims, text));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}

static bool is_one_of(const char *text, const char *a, const char *b, const char *c)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

/* x [N,C,S...] of two or three spatial dims, a grid [N,O...,dims] of places in it. */
amg_status amg_infer_grid_sample(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *grid = amg_infer_in(c, 1);
    const char *mode = amg_attr_string(c->node, "mode", "linear");
    const char *outside = amg_attr_string(c->node, "padding_mode", "zeros");
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (!is_one_of(mode, "linear", "nearest", "cubic") ||
        !is_one_of(outside, "zeros", "border", "reflection"))
        return amg_node_fail(
            c->node, AMG_UNSUPPORTED, c->err,
            "mode \"%.40s\", padding_mode \"%.40s\", which ONNX has not", mode,
            outside);
    if (x->rank < 0 || grid->rank < 0) return AMG_OK;
    int64_t out[AMG_MAX_RANK];
    const int dims = x->rank - 2;
    bool fits = dims >= 2 && dims <= 3 && grid->rank == x->rank &&
                grid->dims[0] == x->dims[0] && grid->dims[x->rank - 1] == dims &&
                x->dtype == AMG_F32 && grid->dtype == AMG_F32;
    for (int d = 2; fits && d < x->rank; d++) fits = x->dims[d] > 0;
    for (int d = 0; fits && d < x->rank; d++)
        out[d] = d < 2 ? x->dims[d] : grid->dims[d - 1];
    if (!fits) {
        char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "grid %s does not fit %s, expected F32 of 4 or 5 dims",
                             amg_shape_text(grid->dtype, grid->rank, grid->dims, a),
                             amg_shape_text(x->dtype, x->rank, x->dims, b));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, out);
    return AMG_OK;
}

/* theta [N,dims,dims+1] and a size [N,C,S...] → [N,S...,dims]. */
amg_status amg_infer_affine_grid(const amg_infer *c)
{
    const amg_value *theta = amg_infer_in(c, 0);
    int64_t size[AMG_MAX_RANK + 1];
    int count;
    amg_infer_out(c, 0)->dtype = theta->dtype;
    if (theta->rank < 0 ||
        !amg_value_shape(amg_infer_in(c, 1), AMG_MAX_RANK, size, &count))
        return AMG_OK;
    const int dims = count - 2;
    bool fits = dims >= 2 && dims <= 3 && theta->rank == 3 && theta->dims[1] == dims &&
                theta->dims[2] == dims + 1;
    for (int d = 2; fits && d < count; d++) fits = size[d] > 0;
    if (!fits) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "a size of %d number%s does not fit %s",
            count, amg_plural(count),
            amg_shape_text(theta->dtype, theta->rank, theta->dims, text));
    }
    size[1] = theta->dims[0];
    size[count] = dims;
    amg_infer_set(c, 0, theta->dtype, dims + 2, size + 1);
    return AMG_OK;
}

/* x [N,C*K,L]: K elements of a window, L windows over the image. */
amg_status amg_infer_col2im(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    int64_t out[2 + AMG_MAX_SPATIAL], taps = 1, windows = 1;
    amg_window w;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 || amg_infer_in(c, 1)->kind != AMG_VALUE_PARAM ||
        amg_infer_in(c, 2)->kind != AMG_VALUE_PARAM)
        return AMG_OK;
    bool fits = x->rank == 3 && amg_fold_read(c->node, amg_infer_in(c, 1),
                                              amg_infer_in(c, 2), &w, out + 2);
    for (int i = 0; fits && i < w.num_dims; i++) {
        const int64_t room =
            out[2 + i] + w.begin[i] + w.end[i] - amg_window_extent(&w, i);
        fits = room >= 0 && amg_mul_i64(taps, w.kernel[i], &taps) &&
               amg_mul_i64(windows, room / w.stride[i] + 1, &windows);
    }
    if (!fits || x->dims[1] % taps != 0 || x->dims[2] != windows) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "columns %s do not fit the image and its windows",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    }
    out[0] = x->dims[0];
    out[1] = x->dims[1] / taps;
    amg_infer_set(c, 0, x->dtype, 2 + w.num_dims, out);
    return AMG_OK;
}
