/* Values, buffers and gradients of a plan while it is compiled: who lives where, in
 * which layout, and how contributions to one gradient meet.
 *
 * Two invariants make the rest simple: a gradient always has the layout of its value,
 * and contributions are added in the order in which backward() calls give them, the
 * reverse canonical order of the consumers. */
#include <string.h>

#include "base/alloc.h"
#include "engine/kernel.h"

const amg_node *amg_plan_node(const amg_plan *p, int node)
{
    return &p->graph->nodes[node];
}

int amg_plan_input_value(const amg_plan *p, int node, int i)
{
    const amg_node *n = &p->graph->nodes[node];
    return i < n->num_inputs ? n->inputs[i] : AMG_NO_VALUE;
}

int amg_plan_result(const amg_plan *p, int node)
{
    const int last = p->nodes[node].fused;
    return p->graph->nodes[last >= 0 ? last : node].outputs[0];
}

void amg_plan_unfuse(amg_plan *p, int node)
{
    p->nodes[p->nodes[node].fused].absorbed = false;
    p->nodes[node].fused = -1;
}

const amg_value *amg_plan_value(const amg_plan *p, int value)
{
    return &p->graph->values[value];
}

bool amg_plan_needs_grad(const amg_plan *p, int value)
{
    return value != AMG_NO_VALUE && p->values[value].needs_grad;
}

bool amg_plan_is_frozen(const amg_plan *p, int value)
{
    return p->options.training && p->options.frozen && p->options.frozen[value];
}

const amg_tensor *amg_plan_constant(const amg_plan *p, int value)
{
    if (value == AMG_NO_VALUE) return NULL;
    const amg_value *v = &p->graph->values[value];
    bool constant = v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_CONSTANT;
    return constant && v->data.data ? &v->data : NULL;
}

int amg_plan_ints(const amg_plan *p, int value, int max, int64_t *out)
{
    const amg_tensor *t = amg_plan_constant(p, value);
    if (!t || t->rank > 1 || (t->dtype != AMG_I64 && t->dtype != AMG_I32)) return -1;
    int64_t count = amg_tensor_count(t);
    if (count > max) return -1;
    for (int64_t i = 0; i < count; i++)
        out[i] = t->dtype == AMG_I64 ? ((const int64_t *)t->data)[i]
                                     : ((const int32_t *)t->data)[i];
    return (int)count;
}

/* ---- buffers and steps ------------------------------------------------------------
 */

static int new_buffer(amg_plan *p, size_t bytes, bool persistent)
{
    if (p->status) return AMG_NO_BUFFER;
    if (p->num_buffers == p->cap_buffers) {
        int cap = p->cap_buffers ? 2 * p->cap_buffers : 256;
        amg_buffer *grown = amg_realloc(p->buffers, sizeof *grown * (size_t)cap);
        if (!grown) {
            amg_plan_fail(p, -1, AMG_NO_MEMORY, "no memory for %d buffers", cap);
            return AMG_NO_BUFFER;
        }
        p->buffers = grown;
        p->cap_buffers = cap;
    }
    p->buffers[p->num_buffers] =
        (amg_buffer){.bytes = bytes, .persistent = persistent, .first = -1, .last = -1};
    return p->num_buffers++;
}

int amg_plan_temp(amg_plan *p, size_t bytes) { return new_buffer(p, bytes, false); }
int amg_plan_persistent(amg_plan *p, size_t bytes)
{
    return new_buffer(p, bytes, true);
}

static amg_step *new_step(amg_plan *p, int node, const char *what, int num_uses)
{
    if (p->status) return NULL;
    if (p->num_steps == p->cap_steps) {
        int cap = p->cap_steps ? 2 * p->cap_steps : 256;
        amg_step *grown = amg_realloc(p->steps, sizeof *grown * (size_t)cap);
        if (!grown) {
            amg_plan_fail(p, node, AMG_NO_MEMORY, "no memory for %d steps", cap);
            return NULL;
        }
        p->steps = grown;
        p->cap_steps = cap;
    }
    amg_use *uses = amg_plan_alloc(p, (size_t)num_uses, sizeof *uses);
    void **ptr = amg_plan_alloc(p, (size_t)num_uses, sizeof *ptr);
    if (p->status) return NULL;
    amg_step *s = &p->steps[p->num_steps++];
    *s = (amg_step){
        .what = what, .node = node, .num_uses = num_uses, .uses = uses, .ptr = ptr};
    return s;
}

static void touch(amg_plan *p, int buffer)
{
    amg_buffer *b = &p->buffers[buffer];
    if (b->first < 0) b->first = p->num_steps - 1;
    b->last = p->num_steps - 1;
}

void amg_emit_primitive(amg_plan *p, int node, const char *what, amg_primitive *prim,
                        int num_uses, const amg_use *uses)
{
    if (p->status) return;
    const amg_layout *scratch = amg_primitive_layout(prim, AMG_ARG_SCRATCH);
    int total = num_uses + (scratch != NULL);
    amg_step *s = new_step(p, node, what, total);
    if (!s) return;
    s->primitive = prim;
    memcpy(s->uses, uses, sizeof *uses * (size_t)num_uses);
    if (scratch) /* lives for one step, so that all scratchpads share one region */
        s->uses[num_uses] =
            (amg_use){AMG_ARG_SCRATCH, amg_plan_temp(p, amg_layout_bytes(scratch))};
    for (int i = 0; i < total && !p->status; i++) touch(p, s->uses[i].buffer);
}

void amg_emit_kernel(amg_plan *p, int node, const char *what, amg_kernel_fn fn,
                     const void *self, int num_buffers, const int *buffers)
{
    amg_step *s = new_step(p, node, what, num_buffers);
    if (!s) return;
    s->fn = fn;
    s->self = self;
    for (int i = 0; i < num_buffers; i++) {
        s->uses[i].buffer = buffers[i];
        touch(p, buffers[i]);
    }
}

void amg_emit_reorder(amg_plan *p, int node, int from, const amg_layout *a, int to,
                      const amg_layout *b, bool allow_reference)
{
    if (p->status) return;
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status = amg_dnnl_reorder(p->dnnl, a, b, allow_reference, &prim, &err);
    if (status) {
        amg_plan_fail_with(p, node, status, &err);
        return;
    }
    amg_emit_primitive(p, node, "reorder", prim, 2,
                       (amg_use[]){{AMG_ARG_SRC, from}, {AMG_ARG_DST, to}});
}

/* ---- values -----------------------------------------------------------------------
 */

const amg_layout *amg_plan_plain(amg_plan *p, int value)
{
    if (p->status) return NULL;
    const amg_value *v = &p->graph->values[value];
    const amg_layout *l = amg_layout_plain(p->dnnl, v->rank, v->dims);
    if (!l) amg_plan_fail(p, -1, AMG_NO_MEMORY, "no memory for a layout");
    return l;
}

const amg_layout *amg_plan_blocked_like(amg_plan *p, const amg_layout *like, int value)
{
    if (p->status) return NULL;
    const amg_value *v = &p->graph->values[value];
    const amg_layout *l = amg_layout_blocked_like(p->dnnl, like, v->rank, v->dims);
    if (!l) amg_plan_fail(p, -1, AMG_NO_MEMORY, "no memory for a layout");
    return l;
}

/* Gives a parameter its home: value, gradient, and the way from and to row-major. */
static void settle_param(amg_plan *p, int node, int value, const amg_layout *layout,
                         const amg_layout *plain)
{
    if (p->status) return;
    amg_value_state *st = &p->values[value];
    const amg_value *v = &p->graph->values[value];
    if (v->dtype != AMG_F32) { /* a table of whole numbers, as it is */
        st->layout = st->plain = plain;
        st->buffer = amg_plan_persistent(p, v->data.size_bytes);
        return;
    }
    amg_error err = {0};
    amg_status status = AMG_OK;
    if (!amg_layout_same_bytes(layout, plain)) {
        status = amg_dnnl_reorder(p->dnnl, plain, layout, true, &st->load, &err);
        if (!status)
            status = amg_dnnl_reorder(p->dnnl, layout, plain, true, &st->store, &err);
    }
    if (status) amg_plan_fail_with(p, node, status, &err);
    st->layout = layout;
    st->plain = plain;
    st->buffer = amg_plan_persistent(p, amg_layout_bytes(layout));
    if (st->needs_grad)
        st->grad_home = amg_plan_persistent(p, amg_layout_bytes(layout));
}

const amg_layout *amg_plan_layout(amg_plan *p, int value)
{
    if (p->status) return NULL;
    if (!p->values[value].layout) {
        const amg_layout *plain = amg_plan_plain(p, value);
        settle_param(p, -1, value, plain, plain);
    }
    return p->status ? NULL : p->values[value].layout;
}

int amg_plan_read(amg_plan *p, int node, int value, const amg_layout *layout)
{
    const amg_layout *own = amg_plan_layout(p, value);
    if (p->status) return AMG_NO_BUFFER;
    amg_value_state *st = &p->values[value];
    if (!layout || amg_layout_same_bytes(layout, own)) return st->buffer;
    for (const amg_copy *c = st->copies; c; c = c->next)
        if (amg_layout_same_bytes(layout, c->layout)) return c->buffer;
    amg_copy *copy = amg_plan_alloc(p, 1, sizeof *copy);
    int buffer = amg_plan_temp(p, amg_layout_bytes(layout));
    bool is_param = p->graph->values[value].kind == AMG_VALUE_PARAM;
    amg_emit_reorder(p, node, st->buffer, own, buffer, layout, is_param);
    if (p->status) return AMG_NO_BUFFER;
    *copy = (amg_copy){layout, buffer, st->copies};
    st->copies = copy;
    return buffer;
}

int amg_plan_read_param(amg_plan *p, int node, int value, const amg_layout *layout,
                        const amg_layout *plain)
{
    if (!p->status && !p->values[value].layout) {
        if (p->graph->values[value].kind == AMG_VALUE_PARAM)
            settle_param(p, node, value, layout, plain);
        else
            amg_plan_fail(p, node, AMG_UNSUPPORTED, "weights are not a parameter");
    }
    return amg_plan_read(p, node, value, layout);
}

void amg_plan_define_as(amg_plan *p, int value, const amg_layout *layout, int buffer)
{
    if (p->status) return;
    p->values[value].layout = layout;
    p->values[value].buffer = buffer;
    p->buffers[buffer].refs++;
}

int amg_plan_define(amg_plan *p, int value, const amg_layout *layout)
{
    if (p->status) return AMG_NO_BUFFER;
    /* Layouts are f32; bytes of other types (u8 images) are always row-major. */
    const amg_value *v = &p->graph->values[value];
    size_t bytes = amg_layout_bytes(layout);
    if (v->dtype != AMG_F32) bytes = bytes / sizeof(float) * amg_dtype_size(v->dtype);
    int buffer = amg_plan_temp(p, bytes);
    amg_plan_define_as(p, value, layout, buffer);
    return buffer;
}

/* Whether node's backward reads what node computed. */
static bool backward_reads_result(const amg_plan *p, int node)
{
    if (p->nodes[node].fused >= 0) /* a Relu; batch norms keep a mask */
        return p->graph->nodes[node].op == AMG_OP_ADD;
    switch (p->graph->nodes[node].op) {
    case AMG_OP_RELU:
    case AMG_OP_LEAKY_RELU:
    case AMG_OP_CLIP:
    case AMG_OP_SIGMOID:
    case AMG_OP_TANH:
    case AMG_OP_SOFTMAX:
    case AMG_OP_LOG_SOFTMAX:
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN:
    case AMG_OP_REDUCE_L2:
    case AMG_OP_REDUCE_LOG_SUM_EXP:
    case AMG_OP_SCATTER_ELEMENTS: /* the largest or smallest */
    case AMG_OP_SCATTER_ND:
    case AMG_OP_LSTM:
    case AMG_OP_GRU:
    case AMG_OP_RNN: return true;
    default: return false;
    }
}

/* The node whose forward wrote value. */
static int writer_of(const amg_plan *p, int value)
{
    int producer = p->graph->values[value].producer;
    while (p->nodes[producer].absorbed) /* into a node before it */
        producer = p->graph->values[p->graph->nodes[producer].inputs[0]].producer;
    return producer;
}

bool amg_plan_may_overwrite(const amg_plan *p, int value)
{
    if (p->status) return false;
    const amg_value_state *st = &p->values[value];
    const amg_value *v = &p->graph->values[value];
    if (v->kind != AMG_VALUE_ACTIVATION || st->num_uses != 1) return false;
    if (p->buffers[st->buffer].persistent || p->buffers[st->buffer].refs != 1)
        return false;
    return !p->options.training || !backward_reads_result(p, writer_of(p, value));
}

int amg_plan_define_over(amg_plan *p, int node, const amg_layout *layout, int in,
                         bool reads)
{
    const amg_node *n = amg_plan_node(p, node);
    const int x = n->inputs[0];
    if ((reads && amg_plan_needs_grad(p, x)) || !amg_plan_may_overwrite(p, x) ||
        p->values[x].buffer != in)
        return amg_plan_define(p, n->outputs[0], layout);
    amg_plan_define_as(p, n->outputs[0], layout, in);
    return in;
}

void amg_plan_expect_f32(amg_plan *p, int node, int value)
{
    const amg_dtype found = amg_plan_value(p, value)->dtype;
    if (found != AMG_F32)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "input is %s, expected F32",
                      amg_dtype_name(found));
}

bool amg_plan_gradient_may_replace(const amg_plan *p, int value)
{
    if (p->status) return false;
    const int buffer = p->values[value].buffer;
    int refs = 0;
    /* The values that share the buffer: views, and what was computed in place. */
    while (p->graph->values[value].kind == AMG_VALUE_ACTIVATION &&
           p->values[value].buffer == buffer) {
        const int writer = writer_of(p, value);
        if (p->values[value].num_uses != 1 || backward_reads_result(p, writer))
            return false;
        refs++;
        value = amg_plan_input_value(p, writer, 0);
        if (value == AMG_NO_VALUE) break;
    }
    return !p->buffers[buffer].persistent && p->buffers[buffer].refs == refs;
}
