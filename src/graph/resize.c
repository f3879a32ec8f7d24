/* See resize.h. */
#include "graph/resize.h"

#include <math.h>
#include <string.h>

/* Index of text among count names, count if it is none. */
static int index_of(const char *text, int count, const char *const *names)
{
    int i = 0;
    while (i < count && strcmp(text, names[i]) != 0) i++;
    return i;
}

bool amg_resize_modes(const amg_node *node, amg_resized *r)
{
    static const char *const modes[AMG_COORDINATES] = {
        "half_pixel", "pytorch_half_pixel",   "align_corners",
        "asymmetric", "half_pixel_symmetric", "tf_half_pixel_for_nn"};
    static const char *const hows[AMG_ROUNDINGS] = {
        "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};
    const char *mode =
        amg_attr_string(node, "coordinate_transformation_mode", modes[0]);
    const char *how = amg_attr_string(node, "nearest_mode", hows[AMG_PREFER_FLOOR]);
    r->mode = (amg_coordinates)index_of(mode, AMG_COORDINATES, modes);
    r->how = (amg_rounding)index_of(how, AMG_ROUNDINGS, hows);
    return r->mode < AMG_COORDINATES && r->how < AMG_ROUNDINGS;
}

void amg_resize_dim(amg_resized *r, int64_t in, int64_t out, float scale)
{
    /* A scale that makes a whole number stands for a size. */
    const float whole = (float)out / (float)in;
    const bool sized = scale == 0 || fabsf(scale - whole) < 1e-6f * whole;
    r->in = in;
    r->out = out;
    r->step = sized ? (float)in / (float)out : 1 / scale;
}

float amg_resize_source(const amg_resized *r, int64_t i)
{
    const float in = (float)r->in, out = (float)r->out;
    float middle = 0;
    switch (r->mode) {
    case AMG_ASYMMETRIC: return (float)i * r->step;
    case AMG_ALIGN_CORNERS: return out > 1 ? (float)i * ((in - 1) / (out - 1)) : 0;
    case AMG_TF_HALF_PIXEL: return ((float)i + 0.5f) * r->step;
    case AMG_PYTORCH_HALF_PIXEL:
        if (r->out == 1) return 0;
        break;
    case AMG_HALF_PIXEL_SYMMETRIC: middle = in / 2 * (1 - out * r->step / in); break;
    default: break;
    }
    return middle + ((float)i + 0.5f) * r->step - 0.5f;
}

int64_t amg_resize_nearest(const amg_resized *r, int64_t i)
{
    const float x = amg_resize_source(r, i);
    const float at = r->how == AMG_FLOOR          ? floorf(x)
                     : r->how == AMG_CEIL         ? ceilf(x)
                     : r->how == AMG_PREFER_FLOOR ? ceilf(x - 0.5f)
                                                  : floorf(x + 0.5f);
    return at < 0 ? 0 : (int64_t)at >= r->in ? r->in - 1 : (int64_t)at;
}
