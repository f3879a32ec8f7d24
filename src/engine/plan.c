/* The life of a plan: made from a graph, bound to a workspace, run, described.
 * Compiling is in plan_build.c, memory in plan_memory.c, parameters in plan_params.c.
 */
#include "engine/plan.h"

#include <stdarg.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/kernel.h"
#include "engine/meter.h"

void amg_plan_fail_with(amg_plan *p, int node, amg_status code, const amg_error *cause)
{
    const bool first = !p->status;
    amg_plan_fail(p, node, code, "%s", cause->what);
    if (first && cause->hint[0]) amg_hint(p->err, "%s", cause->hint);
}

/* node "NAME" (Op) */
static void write_where(const amg_plan *p, int node, char where[256])
{
    const amg_node *n = &p->graph->nodes[node];
    (void)snprintf(where, 256, "node \"%.200s\" (%s)", n->name,
                   amg_op_get(n->op)->name);
}

const char *amg_plan_where(amg_plan *p, int node)
{
    char where[256];
    write_where(p, node, where);
    char *copy = amg_plan_alloc(p, strlen(where) + 1, 1);
    if (copy) memcpy(copy, where, strlen(where) + 1);
    return copy;
}

void amg_plan_fail(amg_plan *p, int node, amg_status code, const char *fmt, ...)
{
    if (p->status) return;
    char where[256] = "plan", what[512];
    if (node >= 0) write_where(p, node, where);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    p->status = amg_fail(p->err, code, -1, where, "%s", what);
}

void *amg_plan_alloc(amg_plan *p, size_t count, size_t size_bytes)
{
    if (p->status) return NULL;
    void *memory = amg_arena_array(&p->arena, count, size_bytes);
    if (!memory) amg_plan_fail(p, -1, AMG_NO_MEMORY, "no memory for a plan");
    return memory;
}

/* Everything before the first step: order, parameters, empty states. */
static void set_up(amg_plan *p)
{
    const amg_graph *g = p->graph;
    size_t num_values = (size_t)g->num_values, num_nodes = (size_t)g->num_nodes;
    p->order = amg_plan_alloc(p, num_nodes + 1, sizeof *p->order);
    p->params = amg_plan_alloc(p, num_values + 1, sizeof *p->params);
    p->nodes = amg_plan_alloc(p, num_nodes + 1, sizeof *p->nodes);
    p->values = amg_plan_alloc(p, num_values + 1, sizeof *p->values);
    if (p->status) return;
    p->num_nodes = amg_graph_canonical_order(g, p->output, p->order);
    p->num_params = amg_graph_canonical_params(g, p->output, p->params);
    for (size_t i = 0; i < num_nodes; i++) p->nodes[i].fused = -1;
    for (size_t i = 0; i < num_values; i++)
        p->values[i] = (amg_value_state){
            .buffer = AMG_NO_BUFFER, .grad = AMG_NO_BUFFER, .grad_home = AMG_NO_BUFFER};
}

static void fill_slots(amg_plan *p)
{
    for (int i = 0; i < p->num_slots && !p->status; i++) {
        const amg_value_state *st = &p->values[p->slot_values[i]];
        amg_plan_slot *slot = &p->slots[i];
        size_t bytes = p->buffers[st->buffer].bytes;
        slot->count = (int64_t)(bytes / sizeof(float));
        slot->value = amg_plan_ptr(p, st->buffer);
        slot->grad = amg_plan_ptr(p, st->grad_home);
    }
}

amg_status amg_plan_new(const amg_graph *g, int output_index,
                        const amg_plan_options *options, amg_plan **out, amg_error *err)
{
    if (output_index < 0 || output_index >= g->num_outputs)
        return amg_fail(err, AMG_INVALID, -1, "plan", "output %d of a graph with %d",
                        output_index, g->num_outputs);
    amg_plan *p = amg_calloc(1, sizeof *p);
    if (!p) return amg_fail(err, AMG_NO_MEMORY, -1, "plan", "no memory for a plan");
    p->graph = g;
    p->output = output_index;
    p->options = *options;
    p->err = err;
    p->status = amg_dnnl_new(&p->dnnl, err);
    set_up(p);
    if (!p->status) amg_plan_compile(p);
    if (!p->status) amg_plan_place(p);
    fill_slots(p);
    if (!p->status) amg_plan_load_constants(p);
    p->err = NULL;
    p->options.kept = NULL; /* both were borrowed */
    p->options.frozen = NULL;
    if (p->status) {
        amg_status status = p->status;
        amg_plan_free(p);
        return status;
    }
    *out = p;
    return AMG_OK;
}

void amg_plan_free(amg_plan *plan)
{
    if (!plan) return;
    amg_dnnl_free(plan->dnnl);
    amg_arena_clear(&plan->arena);
    amg_free(plan->buffers);
    amg_free(plan->steps);
    amg_free(plan->elapsed_ns);
    amg_free_aligned(plan->persistent);
    amg_free_aligned(plan->states);
    amg_free(plan);
}

size_t amg_plan_workspace_bytes(const amg_plan *plan) { return plan->workspace_bytes; }

static amg_status bind_step(amg_plan *p, amg_step *s)
{
    for (int i = 0; i < s->num_uses; i++) {
        s->ptr[i] = amg_plan_ptr(p, s->uses[i].buffer);
        if (!s->primitive) continue;
        amg_status status =
            amg_primitive_bind(s->primitive, s->uses[i].arg, s->ptr[i], NULL);
        if (status) return status;
    }
    return AMG_OK;
}

void amg_plan_bind(amg_plan *plan, void *workspace)
{
    plan->workspace = workspace;
    plan->bind_status = AMG_OK;
    for (int i = 0; i < plan->num_steps && !plan->bind_status; i++)
        plan->bind_status = bind_step(plan, &plan->steps[i]);
}

static amg_status run_step(const amg_plan *p, const amg_step *s, amg_error *err)
{
    if (s->primitive) return amg_primitive_run(s->primitive, err);
    amg_status status = AMG_OK;
    s->fn(&(amg_call){s->ptr, s->self, p->step, p->options.seed, &status, err});
    return status;
}

static amg_status run(const amg_plan *p, int begin, int end, amg_error *err)
{
    if (!p->workspace)
        return amg_fail(err, AMG_INVALID, -1, "plan", "run before amg_plan_bind");
    if (p->bind_status)
        return amg_fail(err, p->bind_status, -1, "plan",
                        "oneDNN refused the workspace");
    for (int i = begin; i < end; i++) {
        const int64_t begin_ns = p->elapsed_ns ? amg_now_ns() : 0;
        amg_status status = run_step(p, &p->steps[i], err);
        if (status) return status;
        if (p->elapsed_ns) p->elapsed_ns[i] += amg_now_ns() - begin_ns;
    }
    return AMG_OK;
}

void *amg_plan_input(amg_plan *plan)
{
    return amg_plan_ptr(plan, plan->values[plan->input].buffer);
}

size_t amg_plan_input_bytes(const amg_plan *plan)
{
    return plan->buffers[plan->values[plan->input].buffer].bytes;
}

amg_status amg_plan_forward(amg_plan *plan, int64_t step, const float **output,
                            int64_t *count, amg_error *err)
{
    plan->step = step;
    amg_status status = run(plan, 0, plan->first_backward, err);
    if (status) return status;
    *output = amg_plan_ptr(plan, plan->y);
    *count = plan->y_count;
    return AMG_OK;
}

const void *amg_plan_kept(const amg_plan *plan)
{
    return plan->kept == AMG_NO_BUFFER ? NULL : amg_plan_ptr(plan, plan->kept);
}

float *amg_plan_doutput(amg_plan *plan)
{
    return plan->dy == AMG_NO_BUFFER ? NULL : amg_plan_ptr(plan, plan->dy);
}

amg_status amg_plan_backward(amg_plan *plan, const float *doutput, amg_error *err)
{
    if (!plan->options.training)
        return amg_fail(err, AMG_INVALID, -1, "plan", "backward of an evaluation plan");
    if (plan->workspace && plan->dy != AMG_NO_BUFFER &&
        doutput != amg_plan_doutput(plan))
        memcpy(amg_plan_doutput(plan), doutput, sizeof(float) * (size_t)plan->y_count);
    return run(plan, plan->first_backward, plan->num_steps, err);
}

int amg_plan_num_slots(const amg_plan *plan) { return plan->num_slots; }

const amg_plan_slot *amg_plan_slot_at(const amg_plan *plan, int i)
{
    return &plan->slots[i];
}

void amg_plan_describe(const amg_plan *plan, FILE *stream)
{
    for (int i = 0; i < plan->num_steps; i++) {
        const amg_step *s = &plan->steps[i];
        size_t bytes = 0;
        for (int u = 0; u < s->num_uses; u++)
            bytes += plan->buffers[s->uses[u].buffer].bytes;
        const amg_node *n = s->node >= 0 ? &plan->graph->nodes[s->node] : NULL;
        const amg_layout *l =
            n ? plan->values[amg_plan_result(plan, s->node)].layout : NULL;
        (void)fprintf(stream, "%-4d %-8s %-20s %-24s %-24s %-8s %zu bytes\n", i,
                      i < plan->first_backward ? "forward" : "backward", s->what,
                      n ? n->name : "-",
                      s->primitive ? amg_primitive_name(s->primitive) : "loop",
                      l ? amg_layout_name(l) : "-", bytes);
    }
    (void)fprintf(stream, "workspace %zu bytes, persistent %zu bytes\n",
                  plan->workspace_bytes, plan->persistent_bytes);
}
