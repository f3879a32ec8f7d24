/* Cost statements: FLOPs of one sample's forward pass and number of trainable scalars.
 * Consumes inferred shapes; an operator without a matrix product counts as free. */
#include "graph/graph.h"

/* Elements of one sample: all dims but the batch. */
static double sample_count(const amg_value *v)
{
    double n = 1;
    for (int i = 1; i < v->rank; i++) n *= (double)v->dims[i];
    return n;
}

/* Multiply-adds behind one output element. */
static double depth(const amg_graph *g, const amg_node *node)
{
    const amg_value *x = &g->values[node->inputs[0]], *w = &g->values[node->inputs[1]];
    if (x->rank < 2 || w->rank < 2) return 0;
    if (node->op != AMG_OP_CONV) return (double)x->dims[x->rank - 1];
    return (double)w->dims[1] * (double)w->dims[2] * (double)w->dims[3];
}

double amg_graph_flops(const amg_graph *g)
{
    double flops = 0;
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        if (node->op == AMG_OP_CONV || node->op == AMG_OP_GEMM ||
            node->op == AMG_OP_MAT_MUL)
            flops += 2 * depth(g, node) * sample_count(&g->values[node->outputs[0]]);
    }
    return flops;
}

int64_t amg_graph_num_trainable(const amg_graph *g)
{
    int64_t total = 0;
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind == AMG_VALUE_PARAM &&
            g->values[v].role == AMG_ROLE_TRAINABLE)
            total += amg_tensor_count(&g->values[v].data);
    return total;
}
