/* Compiles a plan: walks the sub-network in canonical order emitting forward steps,
 * then in reverse emitting backward steps. What an operator emits is its own business
 * (kernel_*.c). */
#include "engine/kernel.h"

/* Who needs a gradient: trainables, and what differentiable operators make of them. */
static void mark_gradients(amg_plan *p)
{
    if (!p->options.training) return;
    for (int i = 0; i < p->num_params; i++)
        if (p->graph->values[p->params[i]].role == AMG_ROLE_TRAINABLE)
            p->values[p->params[i]].needs_grad = true;
    for (int i = 0; i < p->num_nodes; i++) {
        const amg_node *n = &p->graph->nodes[p->order[i]];
        if (!(amg_op_get(n->op)->flags & AMG_OP_D)) continue;
        for (int j = 0; j < n->num_inputs; j++)
            if (amg_plan_needs_grad(p, n->inputs[j]))
                p->values[n->outputs[0]].needs_grad = true;
    }
}

static void count_uses(amg_plan *p)
{
    int dropouts = 0;
    for (int i = 0; i < p->num_nodes; i++) {
        const amg_node *n = &p->graph->nodes[p->order[i]];
        for (int j = 0; j < n->num_inputs; j++)
            if (n->inputs[j] != AMG_NO_VALUE) p->values[n->inputs[j]].num_uses++;
        if (n->op == AMG_OP_DROPOUT) p->nodes[p->order[i]].ordinal = dropouts++;
    }
    p->values[p->graph->outputs[p->output]].num_uses++;
}

/* The sub-network's one input: a persistent buffer, so that a batch may be written
 * before the workspace is this plan's turn. */
static void define_input(amg_plan *p)
{
    p->input = AMG_NO_VALUE;
    for (int i = 0; i < p->graph->num_inputs; i++) {
        int value = p->graph->inputs[i];
        if (p->values[value].num_uses == 0) continue;
        if (p->input != AMG_NO_VALUE) {
            amg_plan_fail(p, -1, AMG_UNSUPPORTED, "output %d depends on two inputs",
                          p->output);
            return;
        }
        p->input = value;
    }
    if (p->input == AMG_NO_VALUE) {
        amg_plan_fail(p, -1, AMG_UNSUPPORTED, "output %d depends on no input",
                      p->output);
        return;
    }
    const amg_value *v = &p->graph->values[p->input];
    int64_t count = 1;
    for (int i = 0; i < v->rank; i++) {
        if (v->dims[i] < 1) {
            amg_plan_fail(p, -1, AMG_INVALID, "the batch of \"%s\" is not planned",
                          v->name);
            return;
        }
        count *= v->dims[i];
    }
    const amg_layout *plain = amg_plan_plain(p, p->input);
    int buffer = amg_plan_persistent(p, (size_t)count * amg_dtype_size(v->dtype));
    amg_plan_define_as(p, p->input, plain, buffer);
}

static void emit_forward(amg_plan *p)
{
    for (int i = 0; i < p->num_nodes && !p->status; i++) {
        int node = p->order[i];
        const amg_kernel_row *row = amg_kernel_get(p->graph->nodes[node].op);
        if (p->nodes[node].absorbed) continue;
        if (row->forward)
            row->forward(p, node);
        else
            amg_plan_fail(p, node, AMG_UNSUPPORTED,
                          "the engine cannot compute this operator");
    }
}

/* The logits: row-major, one row a sample, in place until the next run. */
static void define_logits(amg_plan *p)
{
    int value = p->graph->outputs[p->output];
    const amg_layout *plain = amg_plan_plain(p, value);
    p->logits = amg_plan_read(p, -1, value, plain);
    if (p->status) return;
    const amg_value *v = &p->graph->values[value];
    p->num_rows = v->rank ? v->dims[0] : 1;
    p->num_classes = 1;
    for (int i = 1; i < v->rank; i++) p->num_classes *= v->dims[i];
    p->first_backward = p->num_steps;
    if (!p->values[value].needs_grad) return;
    p->dlogits = amg_plan_temp(p, p->buffers[p->logits].bytes);
    if (p->status) return;
    p->buffers[p->dlogits].first = p->buffers[p->dlogits].last = p->first_backward;
    amg_plan_give_grad(p, -1, value, p->dlogits, plain);
}

static void emit_backward(amg_plan *p)
{
    for (int i = p->num_nodes - 1; i >= 0 && !p->status; i--) {
        int node = p->order[i];
        const amg_node *n = &p->graph->nodes[node];
        amg_value_state *result = &p->values[amg_plan_result(p, node)];
        bool flows = result->grad != AMG_NO_BUFFER;
        /* Running statistics move even where no gradient flows. */
        if (p->nodes[node].absorbed || (!flows && n->op != AMG_OP_BATCH_NORM)) continue;
        const amg_kernel_row *row = amg_kernel_get(n->op);
        if (row->backward)
            row->backward(p, node);
        else
            amg_plan_fail(p, node, AMG_UNSUPPORTED, "the operator has no gradient");
        if (!p->status && flows) p->buffers[result->grad].refs--;
    }
    /* Logits stay readable until the next run, whatever backward reuses. */
    if (!p->status) p->buffers[p->logits].last = p->num_steps;
}

/* Slots of all trainables, also of those no gradient reaches: theirs stays zero. */
static void define_slots(amg_plan *p)
{
    p->slots = amg_plan_alloc(p, (size_t)p->num_params + 1, sizeof *p->slots);
    p->slot_values =
        amg_plan_alloc(p, (size_t)p->num_params + 1, sizeof *p->slot_values);
    for (int i = 0; i < p->num_params && !p->status; i++) {
        int value = p->params[i];
        amg_param_role role = p->graph->values[value].role;
        (void)amg_plan_layout(p, value); /* settles a parameter nobody read */
        if (role == AMG_ROLE_TRAINABLE && p->options.training)
            p->slot_values[p->num_slots++] = value;
    }
}

void amg_plan_compile(amg_plan *p)
{
    p->logits = p->dlogits = AMG_NO_BUFFER;
    count_uses(p);
    mark_gradients(p);
    for (int i = 0; i < p->num_nodes && !p->status; i++) {
        const amg_kernel_row *row = amg_kernel_get(p->graph->nodes[p->order[i]].op);
        if (row->prepare) row->prepare(p, p->order[i]);
    }
    define_input(p);
    emit_forward(p);
    if (!p->status) define_logits(p);
    if (!p->status && p->options.training) emit_backward(p);
    if (!p->status) define_slots(p);
}
