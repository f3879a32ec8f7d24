/* See lower.h: Resize to the nearest pixel in ways that PyTorch has not. Where those
 * choose the pixels of PyTorch's own way, they become that; else rows and columns are
 * taken by index. */
#include <string.h>

#include "graph/infer.h"
#include "graph/lower.h"
#include "graph/resize.h"

/* The node's scale of dim d, 0: it has sizes. false: neither is known. */
static bool find_scale(const amg_graph *g, const amg_node *node, int d, float *scale)
{
    const amg_value *scales = amg_lower_in(g, node, 2),
                    *sizes = amg_lower_in(g, node, 3);
    const int rank = amg_lower_in(g, node, 0)->rank;
    *scale = 0;
    if (sizes && sizes->rank == 1 && sizes->dims[0] > 0) return true;
    if (!scales || scales->dtype != AMG_F32 || !scales->data.data ||
        amg_tensor_count(&scales->data) != rank)
        return false;
    *scale = ((const float *)scales->data.data)[d];
    return true;
}

enum { MOST = 1 << 24 }; /* pixels along a dim, which are looked at one by one */

/* Spatial dim d as the node has it, and as PyTorch's nearest. */
static bool find_dim(const amg_graph *g, const amg_node *node, int d, amg_resized *own,
                     amg_resized *pytorch)
{
    const amg_value *x = amg_lower_in(g, node, 0), *y = &g->values[node->outputs[0]];
    float scale;
    if (!amg_resize_modes(node, own) || x->dims[d] < 1 || y->dims[d] < 1 ||
        y->dims[d] > MOST || !find_scale(g, node, d, &scale))
        return false;
    amg_resize_dim(own, x->dims[d], y->dims[d], scale);
    *pytorch = *own;
    pytorch->mode = AMG_ASYMMETRIC;
    pytorch->how = AMG_FLOOR;
    return true;
}

static bool is_same(const amg_resized *a, const amg_resized *b)
{
    for (int64_t i = 0; i < a->out; i++)
        if (amg_resize_nearest(a, i) != amg_resize_nearest(b, i)) return false;
    return true;
}

/* PyTorch has two: nearest and nearest-exact. */
static bool is_other(const amg_graph *g, const amg_node *node)
{
    amg_resized own, pytorch;
    if (strcmp(amg_attr_string(node, "mode", "nearest"), "nearest") != 0 ||
        amg_attr_int(node, "antialias", 0) != 0)
        return false;
    for (int d = 2; d < amg_lower_in(g, node, 0)->rank; d++)
        if (!find_dim(g, node, d, &own, &pytorch)) return false;
    if (!amg_resize_modes(node, &own)) return false;
    const bool half = own.mode == AMG_HALF_PIXEL || own.mode == AMG_PYTORCH_HALF_PIXEL;
    return !(own.mode == AMG_ASYMMETRIC && own.how == AMG_FLOOR) &&
           !(half && own.how == AMG_PREFER_CEIL);
}

/* The same node in PyTorch's words. */
static int reword(amg_lower *l)
{
    const amg_attr attrs[2] = {
        {.name = "coordinate_transformation_mode",
         .kind = AMG_ATTR_STRING,
         .s = "asymmetric"},
        {.name = "nearest_mode", .kind = AMG_ATTR_STRING, .s = "floor"}};
    int in[4];
    for (int i = 0; i < 4; i++) in[i] = amg_lower_value(l, i);
    return amg_lower_node(l, AMG_OP_RESIZE, l->node->num_inputs, in, 2, attrs);
}

static int take(amg_lower *l, int x, int d, const amg_resized *r)
{
    const amg_tensor index = {.dtype = AMG_I64, .rank = 1, .dims = {r->out}};
    const amg_attr axis = amg_int("axis", d);
    char name[AMG_REPLACE_NAME];
    amg_lower_name(l, name);
    const int at = amg_builder_param(l->r->b, name, &index);
    const amg_tensor *made = amg_builder_data(l->r->b, at);
    for (int64_t i = 0; made && i < r->out; i++)
        ((int64_t *)made->data)[i] = amg_resize_nearest(r, i);
    return amg_lower_node(l, AMG_OP_GATHER, 2, (int[]){x, at}, 1, &axis);
}

static void lower_resize(amg_lower *l, int *out)
{
    const int rank = amg_lower_in(l->r->g, l->node, 0)->rank;
    amg_resized own, pytorch;
    bool same = true;
    for (int d = 2; d < rank; d++)
        same = same && find_dim(l->r->g, l->node, d, &own, &pytorch) &&
               is_same(&own, &pytorch);
    if (same) {
        out[0] = reword(l);
        return;
    }
    out[0] = amg_lower_value(l, 0);
    for (int d = 2; d < rank; d++)
        if (find_dim(l->r->g, l->node, d, &own, &pytorch))
            out[0] = take(l, out[0], d, &own);
}

const amg_lower_rule amg_lower_resize = {is_other, lower_resize};
