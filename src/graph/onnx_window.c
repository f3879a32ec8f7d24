/* auto_pad and output_shape of imported convolutions and pools → explicit pads, as the
 * graph has them. Where a shape is not known yet they stay: the shape rule works them
 * out as well. */
#include <string.h>

#include "graph/onnx_import.h"
#include "graph/window.h"

static void drop(amg_attr *attrs, int *num, const char *name)
{
    for (int i = 0; i < *num; i++) {
        if (strcmp(attrs[i].name, name) != 0) continue;
        --*num;
        memmove(&attrs[i], &attrs[i + 1], (size_t)(*num - i) * sizeof *attrs);
        return;
    }
}

static const amg_value *operand(const amg_import *im, const amg_node *n, int i)
{
    int id = i < n->num_inputs ? n->inputs[i] : AMG_NO_VALUE;
    return id == AMG_NO_VALUE ? NULL : amg_builder_value(im->builder, id);
}

/* Whether v is [.,.,S...] with known spatial dims. */
static bool is_known(const amg_value *v)
{
    if (!v || v->rank < 3 || v->rank > 2 + AMG_MAX_SPATIAL) return false;
    for (int i = 2; i < v->rank; i++)
        if (v->dims[i] < 1 || v->dims[i] > INT32_MAX) return false;
    return true;
}

static amg_status set_ints(amg_import *im, amg_attr *attrs, int *num, const char *name,
                           int count, const int64_t *values, amg_error *err)
{
    int64_t *data = amg_arena_array(&im->arena, (size_t)count, sizeof *data);
    if (!data)
        return amg_fail(err, AMG_NO_MEMORY, -1, im->file, "no memory for the node");
    memcpy(data, values, (size_t)count * sizeof *data);
    drop(attrs, num, name);
    attrs[(*num)++] = amg_ints(name, count, data);
    return AMG_OK;
}

amg_status amg_import_window(amg_import *im, const amg_node *n, amg_attr *attrs,
                             int *num, amg_error *err)
{
    bool pool = n->op != AMG_OP_CONV && n->op != AMG_OP_CONV_TRANSPOSE;
    const amg_value *x = operand(im, n, 0), *w = pool ? NULL : operand(im, n, 1);
    const char *mode = amg_attr_string(n, "auto_pad", "NOTSET");
    if (!strcmp(mode, "NOTSET") && !amg_attr_find(n, "output_shape")) {
        drop(attrs, num, "auto_pad");
        return AMG_OK;
    }
    if (!is_known(x) || (!pool && (!is_known(w) || w->rank != x->rank))) return AMG_OK;
    amg_window win;
    amg_status st = amg_window_read(n, x, w, &win, err);
    if (st) return st;
    int64_t pads[2 * AMG_MAX_SPATIAL];
    bool longer = false;
    for (int i = 0; i < win.num_dims; i++) {
        pads[i] = win.begin[i];
        pads[win.num_dims + i] = win.end[i];
        longer = longer || win.extra[i] > 0;
    }
    drop(attrs, num, "auto_pad");
    drop(attrs, num, "output_shape");
    st = set_ints(im, attrs, num, "pads", 2 * win.num_dims, pads, err);
    if (st || !longer) return st;
    return set_ints(im, attrs, num, "output_padding", win.num_dims, win.extra, err);
}
