/* What a plan takes: time of each kernel while it is measured, and memory. */
#include <string.h>

#include "base/alloc.h"
#include "engine/kernel.h"

amg_status amg_plan_measure(amg_plan *plan, bool on, amg_error *err)
{
    amg_free(plan->elapsed_ns);
    plan->elapsed_ns = NULL;
    if (!on) return AMG_OK;
    plan->elapsed_ns =
        amg_calloc((size_t)plan->num_steps + 1, sizeof *plan->elapsed_ns);
    return plan->elapsed_ns ? AMG_OK
                            : amg_fail(err, AMG_NO_MEMORY, -1, "plan", "measuring");
}

int amg_plan_num_times(const amg_plan *plan)
{
    return plan->elapsed_ns ? plan->num_steps : 0;
}

amg_plan_time amg_plan_time_at(const amg_plan *plan, int i)
{
    const amg_step *s = &plan->steps[i];
    return (amg_plan_time){
        .op = s->node >= 0 ? amg_op_get(plan->graph->nodes[s->node].op)->name : "-",
        .what = s->what,
        .implementation = s->primitive ? amg_primitive_name(s->primitive) : "loop",
        .backward = i >= plan->first_backward,
        .elapsed_ns = plan->elapsed_ns[i]};
}

/* Keeps out[0 .. count-1] sorted, the largest first; returns the new count. */
static int insert(amg_plan_tensor *out, int count, int max, amg_plan_tensor t)
{
    int at = count;
    while (at > 0 && out[at - 1].bytes < t.bytes) at--;
    if (at == max) return count;
    if (count < max) count++;
    memmove(out + at + 1, out + at, sizeof *out * (size_t)(count - at - 1));
    out[at] = t;
    return count;
}

/* Values in one buffer count once, under the name of the first. */
static bool is_first(const amg_plan *p, int value)
{
    for (int v = 0; v < value; v++)
        if (p->values[v].layout && p->values[v].buffer == p->values[value].buffer)
            return false;
    return true;
}

int amg_plan_largest(const amg_plan *plan, amg_plan_tensor *out, int count, int max)
{
    for (int v = 0; v < plan->graph->num_values; v++) {
        const amg_value_state *st = &plan->values[v];
        if (!st->layout || st->buffer == AMG_NO_BUFFER || !is_first(plan, v)) continue;
        const amg_buffer *b = &plan->buffers[st->buffer];
        count =
            insert(out, count, max,
                   (amg_plan_tensor){&plan->graph->values[v], b->bytes, b->persistent});
    }
    return count;
}

amg_plan_memory amg_plan_memory_of(const amg_plan *plan)
{
    amg_plan_memory m = {.workspace_bytes = plan->workspace_bytes,
                         .persistent_bytes = plan->persistent_bytes};
    for (int i = 0; i < plan->num_slots; i++)
        m.state_bytes += (size_t)plan->slots[i].count * sizeof(float) *
                         (size_t)plan->options.num_states;
    return m;
}
