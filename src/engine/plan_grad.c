/* Gradients of a plan while it is compiled: where they are written and how
 * contributions to one gradient meet.
 *
 * Two invariants make this simple: a gradient always has the layout of its value, and
 * contributions are added in the order in which backward() calls give them, the reverse
 * canonical order of the consumers. Gradients pass through views and additions without
 * a copy; a buffer's count of references says when it may be overwritten. */
#include "engine/kernel.h"

int amg_plan_grad(amg_plan *p, int node, const amg_layout *layout)
{
    if (p->status) return AMG_NO_BUFFER;
    const amg_value_state *st = &p->values[amg_plan_result(p, node)];
    if (!layout || amg_layout_same_bytes(layout, st->layout)) return st->grad;
    int buffer = amg_plan_temp(p, amg_layout_bytes(layout));
    amg_emit_reorder(p, node, st->grad, st->layout, buffer, layout, false);
    return buffer;
}

bool amg_plan_grad_exclusive(const amg_plan *p, int node)
{
    if (p->status) return false;
    return p->buffers[p->values[amg_plan_result(p, node)].grad].refs == 1;
}

int amg_plan_grad_target(amg_plan *p, int value, const amg_layout *layout)
{
    if (p->status) return AMG_NO_BUFFER;
    const amg_value_state *st = &p->values[value];
    if (!layout) layout = st->layout;
    if (st->grad_home != AMG_NO_BUFFER && !st->grad_given &&
        amg_layout_same_bytes(layout, st->layout))
        return st->grad_home;
    return amg_plan_temp(p, amg_layout_bytes(layout));
}

static const int64_t *count_of(amg_plan *p, int buffer)
{
    int64_t *count = amg_plan_alloc(p, 1, sizeof *count);
    if (count) *count = (int64_t)(p->buffers[buffer].bytes / sizeof(float));
    return count;
}

static void give_param_grad(amg_plan *p, int node, amg_value_state *st, int buffer,
                            const amg_layout *layout)
{
    int home = st->grad_home;
    if (st->grad_given) {
        if (!amg_layout_same_bytes(layout, st->layout)) {
            int moved = amg_plan_temp(p, amg_layout_bytes(st->layout));
            amg_emit_reorder(p, node, buffer, layout, moved, st->layout, true);
            buffer = moved;
        }
        if (p->status) return;
        amg_emit_kernel(p, node, "gradient sum", amg_loop_accumulate, count_of(p, home),
                        2, (int[]){home, buffer});
    } else if (buffer != home) {
        amg_emit_reorder(p, node, buffer, layout, home, st->layout, true);
    }
    st->grad_given = true;
}

/* Adds buffer to a gradient that exists, in place of either when nobody else reads it.
 */
static void accumulate(amg_plan *p, int node, amg_value_state *st, int buffer)
{
    int old = st->grad;
    if (p->buffers[old].refs == 1) {
        amg_emit_kernel(p, node, "gradient sum", amg_loop_accumulate, count_of(p, old),
                        2, (int[]){old, buffer});
        return;
    }
    if (p->buffers[buffer].refs == 0) {
        amg_emit_kernel(p, node, "gradient sum", amg_loop_accumulate, count_of(p, old),
                        2, (int[]){buffer, old});
        st->grad = buffer;
    } else {
        st->grad = amg_plan_temp(p, p->buffers[old].bytes);
        if (p->status) return;
        amg_emit_kernel(p, node, "gradient sum", amg_loop_sum, count_of(p, old), 3,
                        (int[]){st->grad, old, buffer});
    }
    p->buffers[old].refs--;
    p->buffers[st->grad].refs++;
}

void amg_plan_give_grad(amg_plan *p, int node, int value, int buffer,
                        const amg_layout *layout)
{
    if (p->status || !amg_plan_needs_grad(p, value)) return;
    amg_value_state *st = &p->values[value];
    if (!layout) layout = st->layout;
    if (st->grad_home != AMG_NO_BUFFER) {
        give_param_grad(p, node, st, buffer, layout);
        return;
    }
    if (!amg_layout_same_bytes(layout, st->layout)) {
        int moved = amg_plan_temp(p, amg_layout_bytes(st->layout));
        amg_emit_reorder(p, node, buffer, layout, moved, st->layout, false);
        if (p->status) return;
        buffer = moved;
    }
    if (st->grad != AMG_NO_BUFFER) {
        accumulate(p, node, st, buffer);
    } else {
        st->grad = buffer;
        p->buffers[buffer].refs++;
    }
}
