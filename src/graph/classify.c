/* Roles of initializers: what trains, what batch-norm keeps, what never changes. The
 * rule stands in graph.h beside amg_graph_classify.
 *
 * The role field of activations, otherwise unused, holds the walk's marks meanwhile:
 *   CONSTANT    no output is reached from here through differentiable operators
 *   TRAINABLE   one is
 *   BUFFER      one is, and a trainable lies upstream */
#include "graph/graph.h"

enum {
    MARK_NONE = AMG_ROLE_CONSTANT,
    MARK_REACHES = AMG_ROLE_TRAINABLE,
    MARK_DOWNSTREAM = AMG_ROLE_BUFFER
};

static amg_value *input_value(const amg_graph *g, const amg_node *node, int i)
{
    return node->inputs[i] == AMG_NO_VALUE ? NULL : &g->values[node->inputs[i]];
}

/* A parameter, seen through Identity nodes (exporters share weights through them). */
static amg_value *as_param(const amg_graph *g, amg_value *v)
{
    while (v && v->kind == AMG_VALUE_ACTIVATION &&
           g->nodes[v->producer].op == AMG_OP_IDENTITY)
        v = input_value(g, &g->nodes[v->producer], 0);
    return v && v->kind == AMG_VALUE_PARAM && v->dtype == AMG_F32 ? v : NULL;
}

/* From the outputs back along inputs that carry a gradient. */
static void mark_reaching(amg_graph *g)
{
    for (int i = 0; i < g->num_outputs; i++)
        g->values[g->outputs[i]].role = AMG_ROLE_TRAINABLE;
    for (int n = g->num_nodes - 1; n >= 0; n--) {
        const amg_node *node = &g->nodes[n];
        if (!(amg_op_get(node->op)->flags & AMG_OP_D) ||
            (int)g->values[node->outputs[0]].role == MARK_NONE)
            continue;
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

/* Whether input i of node, a float parameter, is a weight. */
static bool is_weight(const amg_node *node, int i, const amg_value *param,
                      bool is_downstream)
{
    bool one_element = true;
    switch (node->op) {
    case AMG_OP_CONV:
    case AMG_OP_GEMM:
    case AMG_OP_MAT_MUL: return true;
    case AMG_OP_BATCH_NORM: return i < 3;
    case AMG_OP_ADD:
    case AMG_OP_MUL:
        for (int d = 0; d < param->rank; d++)
            one_element = one_element && param->dims[d] == 1;
        return is_downstream && !one_element;
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
        if (is_weight(node, i, param, down)) {
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
        amg_value *out = &g->values[node->outputs[0]];
        if (amg_op_get(node->op)->flags & AMG_OP_D && (int)out->role != MARK_NONE &&
            classify_node(g, node))
            out->role = AMG_ROLE_BUFFER;
    }
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind != AMG_VALUE_PARAM) g->values[v].role = AMG_ROLE_CONSTANT;
}
