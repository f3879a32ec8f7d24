/* Compiles a plan: walks the sub-network in canonical order emitting forward steps,
 * then in reverse emitting backward steps. What an operator emits is its own business
 * (kernel_*.c). */
#include "engine/augment.h"
#include "engine/kernel.h"

/* Who needs a gradient: trainables that are not frozen, and what differentiable
 * operators make of them. */
static void mark_gradients(amg_plan *p)
{
    if (!p->options.training) return;
    for (int i = 0; i < p->num_params; i++)
        p->values[p->params[i]].needs_grad =
            p->graph->values[p->params[i]].role == AMG_ROLE_TRAINABLE &&
            !amg_plan_is_frozen(p, p->params[i]);
    for (int i = 0; i < p->num_nodes; i++) {
        const amg_node *n = &p->graph->nodes[p->order[i]];
        if (!(amg_op_get(n->op)->flags & AMG_OP_D)) continue;
        bool reached = false;
        for (int j = 0; j < n->num_inputs; j++)
            reached = reached || amg_plan_needs_grad(p, n->inputs[j]);
        for (int j = 0; j < n->num_outputs; j++)
            if (n->outputs[j] != AMG_NO_VALUE)
                p->values[n->outputs[j]].needs_grad = reached;
    }
}

static void count_uses(amg_plan *p)
{
    int dropouts = 0, noises = 0;
    for (int i = 0; i < p->num_nodes; i++) {
        const amg_node *n = &p->graph->nodes[p->order[i]];
        for (int j = 0; j < n->num_inputs; j++)
            if (n->inputs[j] != AMG_NO_VALUE) p->values[n->inputs[j]].num_uses++;
        if (n->op == AMG_OP_DROPOUT) p->nodes[p->order[i]].ordinal = dropouts++;
        if (n->op == AMG_OP_RANDOM_NORMAL_LIKE || n->op == AMG_OP_RANDOM_UNIFORM_LIKE)
            p->nodes[p->order[i]].ordinal = noises++;
    }
    p->values[p->graph->outputs[p->output]].num_uses++;
    if (p->kept_value != AMG_NO_VALUE) p->values[p->kept_value].num_uses++;
}

static void find_kept(amg_plan *p)
{
    p->kept_value = AMG_NO_VALUE;
    if (!p->options.kept) return;
    p->kept_value = amg_graph_find_value(p->graph, p->options.kept);
    if (p->kept_value == AMG_NO_VALUE) {
        amg_plan_fail(p, -1, AMG_NOT_FOUND, "no value is called \"%s\"",
                      p->options.kept);
        return;
    }
    const amg_dtype dtype = p->graph->values[p->kept_value].dtype;
    if (dtype != AMG_F32 && dtype != AMG_I64)
        amg_plan_fail(p, -1, AMG_UNSUPPORTED, "\"%s\" is %s, expected F32 or I64",
                      p->options.kept, amg_dtype_name(dtype));
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

static const amg_kernel_row *row_of(const amg_plan *p, int node)
{
    const amg_kernel_row *own = p->nodes[node].row;
    return own ? own : amg_kernel_get(p->graph->nodes[node].op);
}

/* Products and windows have kernels of floats alone; ONNX has them of whole numbers,
 * too. The other kernels look for themselves. */
static void check_types(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    switch (n->op) {
    case AMG_OP_CONV:
    case AMG_OP_CONV_TRANSPOSE:
    case AMG_OP_GEMM:
    case AMG_OP_MAT_MUL:
    case AMG_OP_GRID_SAMPLE:
    case AMG_OP_MAX_POOL:
    case AMG_OP_AVERAGE_POOL:
    case AMG_OP_GLOBAL_MAX_POOL:
    case AMG_OP_GLOBAL_AVERAGE_POOL: break;
    default: return;
    }
    for (int i = 0; i < n->num_inputs; i++)
        if (n->inputs[i] != AMG_NO_VALUE) amg_plan_expect_f32(p, node, n->inputs[i]);
}

static void emit_forward(amg_plan *p)
{
    p->augmented = p->options.training && p->options.augment
                       ? amg_image_find(p->graph, p->order, p->num_nodes)
                       : AMG_NO_VALUE;
    if (p->augmented != AMG_NO_VALUE && p->augmented == p->input)
        amg_plan_augment(p, -1);
    for (int i = 0; i < p->num_nodes && !p->status; i++) {
        int node = p->order[i];
        const amg_kernel_row *row = row_of(p, node);
        if (p->nodes[node].absorbed) continue;
        check_types(p, node);
        if (p->status) return;
        if (row->forward)
            row->forward(p, node);
        else
            amg_plan_fail(p, node, AMG_UNSUPPORTED,
                          "the engine cannot compute this operator");
        if (p->augmented != AMG_NO_VALUE &&
            p->augmented == p->graph->nodes[node].outputs[0])
            amg_plan_augment(p, node);
    }
}

/* The kept value: row-major until the backward begins, which it has no part in. */
static void define_kept(amg_plan *p)
{
    int value = p->kept_value;
    if (value == AMG_NO_VALUE) return;
    if (!p->values[value].layout)
        amg_plan_fail(p, -1, AMG_INVALID, "output %d does not depend on \"%s\"",
                      p->output, p->graph->values[value].name);
    else if (p->values[value].needs_grad)
        amg_plan_fail(p, -1, AMG_UNSUPPORTED, "\"%s\" depends on trained parameters",
                      p->graph->values[value].name);
    else
        p->kept = amg_plan_read(p, -1, value, amg_plan_plain(p, value));
}

/* The output: row-major, in place until the backward; and where its gradient comes in:
 * over the output if that can be, since logits may be the largest buffer of all. */
static void define_output(amg_plan *p)
{
    int value = p->graph->outputs[p->output];
    const amg_layout *plain = amg_plan_plain(p, value);
    p->y = amg_plan_read(p, -1, value, plain);
    define_kept(p);
    if (p->status) return;
    const amg_value *v = &p->graph->values[value];
    p->y_count = 1;
    for (int i = 0; i < v->rank; i++) p->y_count *= v->dims[i];
    p->first_backward = p->num_steps;
    /* The loss reads it while it writes the gradient. */
    if (p->kept != AMG_NO_BUFFER) p->buffers[p->kept].last = p->first_backward;
    if (!p->values[value].needs_grad) return;
    const bool over = p->y == p->values[value].buffer && p->options.training &&
                      amg_plan_gradient_may_replace(p, value);
    p->dy = over ? p->y : amg_plan_temp(p, p->buffers[p->y].bytes);
    if (p->status) return;
    if (!over) p->buffers[p->dy].first = p->first_backward;
    p->buffers[p->dy].last = p->first_backward;
    amg_plan_give_grad(p, -1, value, p->dy, plain);
}

/* Buffer of the gradient of the node's output i, AMG_NO_BUFFER if none was given. */
static int grad_of(const amg_plan *p, int node, int i)
{
    int value = i ? p->graph->nodes[node].outputs[i] : amg_plan_result(p, node);
    return value == AMG_NO_VALUE ? AMG_NO_BUFFER : p->values[value].grad;
}

static void emit_backward(amg_plan *p)
{
    for (int i = p->num_nodes - 1; i >= 0 && !p->status; i--) {
        int node = p->order[i];
        const amg_node *n = &p->graph->nodes[node];
        bool flows = false;
        for (int j = 0; j < n->num_outputs; j++)
            flows = flows || grad_of(p, node, j) != AMG_NO_BUFFER;
        /* Running statistics move even where no gradient flows. */
        if (p->nodes[node].absorbed || (!flows && n->op != AMG_OP_BATCH_NORM)) continue;
        const amg_kernel_row *row = row_of(p, node);
        if (row->backward)
            row->backward(p, node);
        else
            amg_plan_fail(p, node, AMG_UNSUPPORTED, "the operator has no gradient");
        for (int j = 0; j < n->num_outputs && !p->status; j++)
            if (grad_of(p, node, j) != AMG_NO_BUFFER)
                p->buffers[grad_of(p, node, j)].refs--;
    }
}

/* Slots of all trainables but frozen ones, also of those no gradient reaches: theirs
 * stays zero. */
static void define_slots(amg_plan *p)
{
    p->slots = amg_plan_alloc(p, (size_t)p->num_params + 1, sizeof *p->slots);
    p->slot_values =
        amg_plan_alloc(p, (size_t)p->num_params + 1, sizeof *p->slot_values);
    for (int i = 0; i < p->num_params && !p->status; i++) {
        int value = p->params[i];
        (void)amg_plan_layout(p, value); /* settles a parameter nobody read */
        if (amg_plan_needs_grad(p, value)) p->slot_values[p->num_slots++] = value;
    }
}

void amg_plan_compile(amg_plan *p)
{
    p->y = p->dy = p->kept = AMG_NO_BUFFER;
    find_kept(p);
    if (p->status) return;
    count_uses(p);
    mark_gradients(p);
    for (int i = 0; i < p->num_nodes && !p->status; i++) {
        const amg_kernel_row *row = amg_kernel_get(p->graph->nodes[p->order[i]].op);
        if (row->prepare) row->prepare(p, p->order[i]);
    }
    define_input(p);
    emit_forward(p);
    if (!p->status) define_output(p);
    if (!p->status && p->options.training) emit_backward(p);
    if (p->status) return;
    /* The output stays readable until the backward or the next run, whatever comes
     * after it. */
    const int last = p->options.training ? p->first_backward : p->num_steps;
    if (p->buffers[p->y].last < last) p->buffers[p->y].last = last;
    define_slots(p);
}
