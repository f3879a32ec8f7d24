/* Reading groups of nodes that together stand for one function. */
#include "graph/pattern.h"

#include <math.h>

const amg_node *amg_graph_maker(const amg_graph *g, int value, amg_op op)
{
    int node = value == AMG_NO_VALUE ? -1 : g->values[value].producer;
    return node >= 0 && g->nodes[node].op == op ? &g->nodes[node] : NULL;
}

int amg_graph_operand(const amg_graph *g, int value, amg_op op)
{
    const amg_node *n = amg_graph_maker(g, value, op);
    return n ? n->inputs[0] : AMG_NO_VALUE;
}

bool amg_value_number(const amg_value *v, double *out)
{
    if (v->kind != AMG_VALUE_PARAM || v->role != AMG_ROLE_CONSTANT || !v->data.data ||
        amg_tensor_count(&v->data) != 1)
        return false;
    const void *data = v->data.data;
    switch (v->dtype) {
    case AMG_F32: *out = (double)*(const float *)data; return true;
    case AMG_F64: *out = *(const double *)data; return true;
    case AMG_I32: *out = *(const int32_t *)data; return true;
    case AMG_I64: *out = (double)*(const int64_t *)data; return true;
    case AMG_BOOL: *out = *(const uint8_t *)data != 0; return true;
    default: return false;
    }
}

bool amg_graph_is_number(const amg_graph *g, int value, double expected)
{
    double found;
    return value != AMG_NO_VALUE && amg_value_number(&g->values[value], &found) &&
           fabs(found - expected) <= 1e-6 * fabs(expected);
}

int amg_graph_beside_number(const amg_graph *g, const amg_node *n, double number)
{
    if (amg_graph_is_number(g, n->inputs[1], number)) return n->inputs[0];
    if (amg_graph_is_number(g, n->inputs[0], number)) return n->inputs[1];
    return AMG_NO_VALUE;
}
