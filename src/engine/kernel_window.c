/* What convolutions and pools share: the node's window, and the weights, which oneDNN
 * wants in layouts of its own, with a dim for the groups. Weights that are a parameter
 * live in the layout that the first forward pass chooses; weights that the network
 * computes (normalised ones) are reordered in every step. */
#include <string.h>

#include "engine/kernel.h"

bool amg_plan_window(amg_plan *p, int node, amg_window *out)
{
    const amg_node *n = amg_plan_node(p, node);
    bool pool = n->op != AMG_OP_CONV && n->op != AMG_OP_CONV_TRANSPOSE;
    amg_error err = {0};
    amg_status status =
        amg_window_read(n, amg_plan_value(p, n->inputs[0]),
                        pool ? NULL : amg_plan_value(p, n->inputs[1]), out, &err);
    if (status) amg_plan_fail_with(p, node, status, &err);
    return !status;
}

void amg_conv_set_window(amg_conv_shape *s, const amg_window *w, const int64_t *in,
                         const int64_t *out)
{
    const size_t size = sizeof *s->in * (size_t)w->num_dims;
    s->num_dims = w->num_dims;
    memcpy(s->in, in, size);
    memcpy(s->out, out, size);
    memcpy(s->kernel, w->kernel, size);
    memcpy(s->stride, w->stride, size);
    memcpy(s->dilation, w->dilation, size);
    memcpy(s->pad_begin, w->begin, size);
    /* Positions at the end that no window reaches are padding of a negative amount. */
    for (int i = 0; i < w->num_dims; i++)
        s->pad_end[i] = amg_window_end(w, i, in[i], out[i]);
}

const amg_layout *amg_conv_plain_weights(amg_plan *p, int node, const amg_conv_shape *s)
{
    int64_t dims[3 + AMG_MAX_DIMS] = {s->groups, s->out_channels / s->groups,
                                      s->in_channels / s->groups};
    int skip = s->groups == 1;
    for (int i = 0; i < s->num_dims; i++) dims[3 + i] = s->kernel[i];
    const amg_layout *l =
        amg_layout_plain(p->dnnl, 3 + s->num_dims - skip, dims + skip);
    if (!l) amg_plan_fail(p, node, AMG_NO_MEMORY, "no memory for a layout");
    return l;
}

int amg_conv_read_weights(amg_plan *p, int node, int value, const amg_layout *layout,
                          const amg_layout *plain)
{
    if (amg_plan_value(p, value)->kind == AMG_VALUE_PARAM)
        return amg_plan_read_param(p, node, value, layout, plain);
    int given = amg_plan_read(p, node, value, amg_plan_plain(p, value));
    if (p->status || amg_layout_same_bytes(layout, plain)) return given;
    int buffer = amg_plan_temp(p, amg_layout_bytes(layout));
    amg_emit_reorder(p, node, given, plain, buffer, layout, true);
    return buffer;
}

int amg_conv_weights_target(amg_plan *p, int value, const amg_layout *layout)
{
    if (amg_plan_value(p, value)->kind == AMG_VALUE_PARAM)
        return amg_plan_grad_target(p, value, layout);
    return amg_plan_temp(p, amg_layout_bytes(layout));
}

void amg_conv_give_weights(amg_plan *p, int node, int value, int buffer,
                           const amg_layout *layout, const amg_layout *plain)
{
    if (amg_plan_value(p, value)->kind == AMG_VALUE_PARAM) {
        amg_plan_give_grad(p, node, value, buffer, layout);
        return;
    }
    if (!amg_plan_needs_grad(p, value)) return;
    if (!amg_layout_same_bytes(layout, plain)) {
        int moved = amg_plan_temp(p, amg_layout_bytes(plain));
        amg_emit_reorder(p, node, buffer, layout, moved, plain, true);
        buffer = moved;
    }
    amg_plan_give_grad(p, node, value, buffer, amg_plan_plain(p, value));
}
