/* One ONNX node → the builder, in the graph's one form. Consumes a NodeProto and the
 * opset it was written for, adds a node (or, for a Constant, an initializer). What
 * changed between opsets is onnx_opset.c's; operators that the graph has in parts are
 * onnx_parts.c's. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graph/infer.h"
#include "graph/onnx_import.h"

/* Operators of a fixed number of inputs have 6 at most; Concat may have many. */
#define MAX_INPUTS 64
#define MAX_LIST_INPUTS 4096
#define ROOM 5 /* inputs that amg_import_normalise may need: Slice has five */

typedef amg_import_work node;

amg_status amg_import_fail(const node *n, amg_status code, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return amg_fail(n->err, code, -1, n->where, "%s", text);
}

/* ---- inputs ---- */

static amg_status read_inputs(node *n)
{
    const Onnx__NodeProto *p = n->proto;
    const amg_op_info *info = amg_op_get(n->op);
    size_t most = info->max_inputs < 0 ? MAX_LIST_INPUTS : MAX_INPUTS;
    if (p->n_input > most)
        return amg_import_fail(n, AMG_MALFORMED, "%zu inputs, at most %zu", p->n_input,
                               most);
    n->inputs = amg_arena_array(&n->im->arena, p->n_input + ROOM, sizeof *n->inputs);
    if (!n->inputs) return amg_import_no_memory(n);
    for (size_t i = 0; i < p->n_input; i++) {
        const amg_name *e = p->input[i][0] ? amg_import_find(n->im, p->input[i]) : NULL;
        if (e && !e->made)
            return amg_import_fail(
                n, AMG_UNSUPPORTED,
                "input %zu, \"%.200s\", is an output that is not computed here", i,
                p->input[i]);
        n->inputs[i] = e ? e->value : AMG_NO_VALUE;
    }
    n->num_inputs = (int)p->n_input;
    return AMG_OK;
}
/* Absent optional inputs at the end say nothing; required ones must be there. */
static amg_status check_inputs(node *n)
{
    const amg_op_info *info = amg_op_get(n->op);
    while (n->num_inputs > info->min_inputs &&
           n->inputs[n->num_inputs - 1] == AMG_NO_VALUE)
        n->num_inputs--;
    if (n->num_inputs < info->min_inputs ||
        (info->max_inputs >= 0 && n->num_inputs > info->max_inputs))
        return amg_import_fail(
            n, AMG_MALFORMED, "%d input%s, expected %d to %d", n->num_inputs,
            amg_plural(n->num_inputs), info->min_inputs,
            info->max_inputs < 0 ? MAX_LIST_INPUTS : info->max_inputs);
    for (size_t i = 0; i < (size_t)info->min_inputs && i < n->proto->n_input; i++)
        if (!n->proto->input[i][0] && n->inputs[i] == AMG_NO_VALUE)
            return amg_import_fail(n, AMG_MALFORMED,
                                   "input %zu is absent, expected a value", i);
    return AMG_OK;
}

/* ---- the node ---- */

static amg_status check_domain(const node *n)
{
    const Onnx__NodeProto *p = n->proto;
    const char *domain = p->domain ? p->domain : "";
    if (!domain[0] || !strcmp(domain, "ai.onnx")) return AMG_OK;
    amg_status st =
        amg_import_fail(n, AMG_UNSUPPORTED, "operator %.60s of domain \"%.100s\"",
                        p->op_type ? p->op_type : "", domain);
    amg_hint(n->err, "only ONNX's own operators are read: see docs/onnx.md");
    return st;
}

static amg_status check_op(node *n)
{
    const char *op = n->proto->op_type ? n->proto->op_type : "";
    n->op = amg_import_find_op(op);
    if (amg_import_is_upsample(n)) n->op = AMG_OP_RESIZE;
    if (n->op != AMG_OP_COUNT) return AMG_OK;
    amg_status st = amg_import_fail(
        n, AMG_UNSUPPORTED, "operator %.60s of opset %" PRId64 " is not supported", op,
        n->im->opset);
    amg_hint(n->err, "docs/ops.md lists the operators that are read");
    return st;
}

static const char *first_output(const node *n)
{
    for (size_t i = 0; i < n->proto->n_output; i++)
        if (n->proto->output[i][0]) return n->proto->output[i];
    return "";
}

/* A name for an output that is left out: nobody in the file has it, and no other node
 * gets it. */
static const char *absent_name(const node *n, int i)
{
    const char *base = first_output(n);
    char *name = amg_arena_alloc(&n->im->arena, strlen(base) + 48);
    if (!name) return NULL;
    sprintf(name, "%s_absent%d", base, i);
    for (int k = 2; amg_import_find(n->im, name); k++)
        sprintf(name, "%s_absent%d_%d", base, i, k);
    return name;
}

/* The outputs up to the last one that the graph needs. */
static int num_needed(const node *n)
{
    int count = (int)n->proto->n_output;
    for (; count > 1; count--) {
        const char *name = n->proto->output[count - 1];
        const amg_name *found = name[0] ? amg_import_find(n->im, name) : NULL;
        if (found && found->needed) break;
    }
    return count;
}

/* How many outputs of the node are read: all of Split, TopK, LSTM, GRU and RNN, those
 * of a LayerNormalization that are needed, the first of any other operator. */
static int num_outputs(const node *n)
{
    switch (n->op) {
    case AMG_OP_SPLIT:
    case AMG_OP_LSTM:
    case AMG_OP_GRU:
    case AMG_OP_RNN: return (int)n->proto->n_output;
    case AMG_OP_TOP_K: return n->proto->n_output < 2 ? 1 : 2;
    case AMG_OP_ATTENTION:
    case AMG_OP_CAUSAL_CONV:
    case AMG_OP_DROPOUT:
    case AMG_OP_LAYER_NORM: return num_needed(n);
    default: return 1;
    }
}

static bool has_absent_outputs(amg_op op)
{
    return op == AMG_OP_LSTM || op == AMG_OP_GRU || op == AMG_OP_RNN ||
           op == AMG_OP_LAYER_NORM || op == AMG_OP_TOP_K || op == AMG_OP_ATTENTION;
}

static amg_status add_node(node *n)
{
    const Onnx__NodeProto *p = n->proto;
    int count = num_outputs(n);
    const char **names = amg_arena_array(&n->im->arena, (size_t)count, sizeof *names);
    int *values = amg_arena_array(&n->im->arena, (size_t)count, sizeof *values);
    if (!names || !values) return amg_import_no_memory(n);
    for (int i = 0; i < count; i++) {
        names[i] = p->output[i];
        if (names[i][0]) continue;
        if (!has_absent_outputs(n->op))
            return amg_import_fail(n, AMG_UNSUPPORTED, "output %d is absent", i);
        names[i] = absent_name(n, i);
        if (!names[i]) return amg_import_no_memory(n);
    }
    amg_builder_node_multi(n->im->builder, n->op, p->name ? p->name : "", n->inputs,
                           n->num_inputs, n->attrs, n->num_attrs, names, count, values);
    amg_status st = AMG_OK;
    for (int i = 0; i < count; i++) {
        amg_name *output = amg_import_find(n->im, names[i]);
        if (!st) st = amg_import_note_front(n, values[i]);
        if (!output) continue;
        output->value = values[i];
        output->made = true;
    }
    return st;
}

/* The tensor of a Constant, whichever attribute it stands in. */
static amg_status constant_tensor(node *n, amg_tensor *t)
{
    if (n->num_attrs != 1)
        return amg_import_fail(n, AMG_MALFORMED, "%d attributes, expected one value",
                               n->num_attrs);
    amg_attr *a = &n->attrs[0];
    int64_t count = a->count;
    switch (a->kind) {
    case AMG_ATTR_TENSOR:
        *t = a->tensor;
        a->tensor = (amg_tensor){0}; /* t owns it now */
        return AMG_OK;
    case AMG_ATTR_FLOAT: return amg_tensor_view(AMG_F32, 0, NULL, &a->f, t, n->err);
    case AMG_ATTR_INT: return amg_tensor_view(AMG_I64, 0, NULL, &a->i, t, n->err);
    case AMG_ATTR_FLOATS:
        return amg_tensor_view(AMG_F32, 1, &count, a->floats, t, n->err);
    case AMG_ATTR_INTS: return amg_tensor_view(AMG_I64, 1, &count, a->ints, t, n->err);
    case AMG_ATTR_STRING: break;
    }
    return amg_import_fail(n, AMG_UNSUPPORTED, "its value is text, expected numbers");
}

static amg_status add_constant_node(node *n, amg_name *output)
{
    amg_tensor t = {0};
    amg_status st = constant_tensor(n, &t);
    if (!st)
        st = amg_import_param(n->im, output->name, &t, amg_said_of_node(&n->im->said),
                              &output->value, n->err);
    amg_tensor_clear(&t);
    output->made = !st;
    return st;
}

static amg_status translate(node *n)
{
    const Onnx__NodeProto *p = n->proto;
    bool done = false;
    amg_status st = check_domain(n);
    if (!st) st = amg_import_sequence(n->im, p, n->where, &done, n->err);
    if (!st && !done) st = amg_import_if(n->im, p, n->where, &done, n->err);
    if (done) return st;
    if (!st) st = check_op(n);
    if (!st)
        st = amg_import_attrs(n->im, p, n->where, &n->attrs, &n->num_attrs, n->err);
    if (st) return st;
    /* The node is needed, but maybe for an output that is not the first. */
    amg_name *output = p->output[0][0] ? amg_import_find(n->im, p->output[0]) : NULL;
    if (!output && !has_absent_outputs(n->op))
        return amg_import_fail(n, AMG_UNSUPPORTED, "its first output is absent");
    if (n->op == AMG_OP_CONSTANT) return add_constant_node(n, output);
    st = read_inputs(n);
    if (!st) st = amg_import_normalise(n);
    if (!st) st = amg_import_parts(n);
    if (!st) st = check_inputs(n);
    if (!st)
        st = amg_import_check_attrs(n->op, n->attrs, n->num_attrs, n->where, n->err);
    if (n->op == AMG_OP_IDENTITY && amg_said_stops(p)) n->op = AMG_OP_STOP_GRADIENT;
    return st ? st : add_node(n);
}

amg_status amg_import_node(amg_import *im, const Onnx__NodeProto *proto, amg_error *err)
{
    node n = {.im = im, .proto = proto, .err = err};
    (void)amg_import_where(proto, n.where);
    amg_status st = amg_builder_status(im->builder, err);
    if (!st) st = translate(&n);
    for (int i = 0; i < n.num_attrs; i++)
        if (n.attrs[i].kind == AMG_ATTR_TENSOR) amg_tensor_clear(&n.attrs[i].tensor);
    return st;
}
