/* Roles of initializers: what trains, what batch-norm keeps, what never changes. The
 * rule stands in graph.h beside amg_graph_classify.
 *
 * The role field of activations, otherwise unused, holds the walk's marks meanwhile:
 *   CONSTANT    no output is reached from here through differentiable operators
 *   TRAINABLE   one is
 *   BUFFER      one is, and a trainable lies upstream */
#include "graph/graph.h"

#include <math.h>

enum {
    MARK_NONE = AMG_ROLE_CONSTANT,
    MARK_REACHES = AMG_ROLE_TRAINABLE,
    MARK_DOWNSTREAM = AMG_ROLE_BUFFER
};

static amg_value *input_value(const amg_graph *g, const amg_node *node, int i)
{
    return node->inputs[i] == AMG_NO_VALUE ? NULL : &g->values[node->inputs[i]];
}

/* A parameter, seen through Identity nodes (exporters share weights through them) and
 * Expand (a class token, repeated for each sample). */
static amg_value *as_param(const amg_graph *g, amg_value *v)
{
    while (v && v->kind == AMG_VALUE_ACTIVATION &&
           (g->nodes[v->producer].op == AMG_OP_IDENTITY ||
            g->nodes[v->producer].op == AMG_OP_EXPAND))
        v = input_value(g, &g->nodes[v->producer], 0);
    return v && v->kind == AMG_VALUE_PARAM && v->dtype == AMG_F32 ? v : NULL;
}

/* Whether one of node's outputs leads to an output of the graph. */
static bool reaches(const amg_graph *g, const amg_node *node)
{
    for (int i = 0; i < node->num_outputs; i++)
        if ((int)g->values[node->outputs[i]].role != MARK_NONE) return true;
    return false;
}

/* From the outputs back along inputs that carry a gradient. */
static void mark_reaching(amg_graph *g)
{
    for (int i = 0; i < g->num_outputs; i++)
        g->values[g->outputs[i]].role = AMG_ROLE_TRAINABLE;
    for (int n = g->num_nodes - 1; n >= 0; n--) {
        const amg_node *node = &g->nodes[n];
        if (!(amg_op_get(node->op)->flags & AMG_OP_D) || !reaches(g, node)) continue;
        for (int i = 0; i < node->num_inputs; i++) {
            amg_value *v = input_value(g, node, i);
            if (v && v->kind == AMG_VALUE_ACTIVATION) v->role = AMG_ROLE_TRAINABLE;
        }
    }
}

static bool downstream(const amg_graph *g, const amg_node *node)
{
    for (int i = 0; i < node->num_inputs; i++) {
        const amg_value *v = input_value(g, node, i);
        if (v && v->kind == AMG_VALUE_ACTIVATION && (int)v->role == MARK_DOWNSTREAM)
            return true;
    }
    return false;
}

/* More than one element; none of them as large as those of an attention mask, which are
 * infinite or the lowest number. */
static bool is_tensor_of_weights(const amg_value *param)
{
    bool one_element = true;
    for (int d = 0; d < param->rank; d++)
        one_element = one_element && param->dims[d] == 1;
    if (one_element || !param->data.data) return !one_element;
    const float *data = param->data.data;
    for (int64_t i = 0, n = amg_tensor_count(&param->data); i < n; i++)
        if (fabsf(data[i]) >= 1e30f) return false;
    return true;
}

/* Whether all elements are x; false if there are no data. */
static bool is_all(const amg_value *param, float x)
{
    const float *data = param->data.data;
    if (!data) return false;
    for (int64_t i = 0, n = amg_tensor_count(&param->data); i < n; i++)
        if (data[i] != x) return false;
    return true;
}

/* Input i of an InstanceNormalization. Exporters write a GroupNorm as a Reshape to one
 * channel a group and an InstanceNormalization with scale 1 and bias 0, both constants:
 * the weights follow in a Mul and an Add. */
static bool is_instance_weight(const amg_graph *g, const amg_node *node, int i)
{
    const amg_value *x = input_value(g, node, 0), *scale = input_value(g, node, 1);
    const amg_value *bias = input_value(g, node, 2);
    bool reshaped = x->producer >= 0 && g->nodes[x->producer].op == AMG_OP_RESHAPE;
    return i > 0 && !(reshaped && is_all(scale, 1) && is_all(bias, 0));
}

/* Whether a recurrent layer's input i is an initial state that trains: one of zeros is
 * what an exporter spells out. */
static bool is_initial_state(int i, const amg_value *param)
{
    return (i == 5 || i == 6) && is_tensor_of_weights(param) && !is_all(param, 0);
}

/* Whether a gradient flows to input i of a differentiable node, a float. */
static bool has_gradient(amg_op op, int i)
{
    switch (op) {
    case AMG_OP_CLIP:
    case AMG_OP_DROPOUT:
    case AMG_OP_PAD:
    case AMG_OP_RESIZE: return i == 0;
    case AMG_OP_BATCH_NORM: return i < 3;
    default: return true;
    }
}

/* Whether input i of node, a float parameter, is a weight. */
static bool is_weight(const amg_graph *g, const amg_node *node, int i,
                      const amg_value *param, bool is_downstream)
{
    if (param->said != AMG_SAID_NOTHING)
        return param->said == AMG_SAID_WEIGHT && has_gradient(node->op, i);
    switch (node->op) {
    case AMG_OP_CONV:
    case AMG_OP_CONV_TRANSPOSE:
    case AMG_OP_GEMM:
    case AMG_OP_EINSUM:
    case AMG_OP_MAT_MUL: return true;
    case AMG_OP_DEFORM_CONV: return i == 1 || i == 3;
    case AMG_OP_CAUSAL_CONV: return i == 1 || i == 2;
    case AMG_OP_BATCH_NORM: return i < 3;
    case AMG_OP_LAYER_NORM:
    case AMG_OP_RMS_NORM:
    case AMG_OP_GROUP_NORM: return i > 0;
    case AMG_OP_INSTANCE_NORM: return is_instance_weight(g, node, i);
    case AMG_OP_PRELU: return i == 1;
    case AMG_OP_LSTM:
    case AMG_OP_GRU:
    case AMG_OP_RNN: return (i >= 1 && i <= 3) || i == 7 || is_initial_state(i, param);
    case AMG_OP_GATHER_ELEMENTS:
    case AMG_OP_GATHER_ND:
    case AMG_OP_GATHER: return i == 0;
    case AMG_OP_ATTENTION: /* the mask is added to the scores */
        return i == 3 && is_downstream && is_tensor_of_weights(param);
    case AMG_OP_ADD:
    case AMG_OP_MUL:
    case AMG_OP_CONCAT:
    case AMG_OP_SCATTER_ELEMENTS:
    case AMG_OP_SCATTER_ND:
    case AMG_OP_WHERE: return is_downstream && is_tensor_of_weights(param);
    default: return false;
    }
}

/* Gives roles to node's parameters; returns whether its output has a trainable
 * upstream. */
static bool classify_node(amg_graph *g, const amg_node *node)
{
    bool down = downstream(g, node);
    bool found = false;
    for (int i = 0; i < node->num_inputs; i++) {
        amg_value *param = as_param(g, input_value(g, node, i));
        if (!param) continue;
        if (is_weight(g, node, i, param, down)) {
            param->role = AMG_ROLE_TRAINABLE;
            found = true;
        } else if (node->op == AMG_OP_BATCH_NORM && param->role != AMG_ROLE_TRAINABLE) {
            param->role = AMG_ROLE_BUFFER;
        }
    }
    return down || found;
}

void amg_graph_classify(amg_graph *g)
{
    for (int v = 0; v < g->num_values; v++) g->values[v].role = AMG_ROLE_CONSTANT;
    mark_reaching(g);
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        if (!(amg_op_get(node->op)->flags & AMG_OP_D) || !reaches(g, node) ||
            !classify_node(g, node))
            continue;
        for (int i = 0; i < node->num_outputs; i++)
            g->values[node->outputs[i]].role = AMG_ROLE_BUFFER;
    }
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind != AMG_VALUE_PARAM) g->values[v].role = AMG_ROLE_CONSTANT;
}
