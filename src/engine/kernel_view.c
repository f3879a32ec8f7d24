/* Flatten, Reshape, Squeeze, Unsqueeze, Identity, StopGradient: other dims over the
 * same row-major bytes. No copy unless the input lies in channel blocks. */
#include "engine/kernel.h"

void amg_view_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0], y = n->outputs[0];
    if (n->op == AMG_OP_IDENTITY || n->op == AMG_OP_STOP_GRADIENT) {
        const amg_layout *own = amg_plan_layout(p, x);
        amg_plan_define_as(p, y, own, amg_plan_read(p, node, x, NULL));
        return;
    }
    int buffer = amg_plan_read(p, node, x, amg_plan_plain(p, x));
    amg_plan_define_as(p, y, amg_plan_plain(p, y), buffer);
}

void amg_view_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0];
    const amg_layout *layout =
        n->op == AMG_OP_IDENTITY ? amg_plan_layout(p, x) : amg_plan_plain(p, x);
    amg_plan_give_grad(p, node, x, amg_plan_grad(p, node, NULL), layout);
}
