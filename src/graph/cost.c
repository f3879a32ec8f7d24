/* Cost statements: FLOPs of one sample's forward pass and number of trainable scalars.
 * An operator without a matrix product counts as free. */
#include "graph/graph.h"

static double count(const amg_value *v)
{
    double n = 1;
    for (int i = 0; i < v->rank; i++) n *= (double)v->dims[i];
    return n;
}

/* Multiply-adds behind one element: of the output, or, of a ConvTranspose, of the
 * input.
 */
static double depth(const amg_graph *g, const amg_node *node)
{
    const amg_value *x = &g->values[node->inputs[0]], *w = &g->values[node->inputs[1]];
    if (x->rank < 2 || w->rank < 2) return 0;
    if (node->op != AMG_OP_CONV && node->op != AMG_OP_CONV_TRANSPOSE)
        return (double)x->dims[x->rank - 1];
    double n = 1;
    for (int i = 1; i < w->rank; i++) n *= (double)w->dims[i];
    return n;
}

/* Multiply-adds of an LSTM, GRU or RNN: its steps times W and R. */
static double recurrent(const amg_graph *g, const amg_node *node)
{
    const amg_value *x = &g->values[node->inputs[0]], *w = &g->values[node->inputs[1]];
    const amg_value *r = &g->values[node->inputs[2]];
    if (x->rank != 3 || w->rank != 3 || r->rank != 3) return 0;
    return (double)(x->dims[0] * x->dims[1]) * (double)(w->dims[0] * w->dims[1]) *
           (double)(w->dims[2] + r->dims[2]);
}

static double flops_of(const amg_graph *g)
{
    double flops = 0;
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        switch (node->op) {
        case AMG_OP_CONV:
        case AMG_OP_GEMM:
        case AMG_OP_MAT_MUL:
            flops += 2 * depth(g, node) * count(&g->values[node->outputs[0]]);
            break;
        case AMG_OP_CONV_TRANSPOSE:
            flops += 2 * depth(g, node) * count(&g->values[node->inputs[0]]);
            break;
        case AMG_OP_LSTM:
        case AMG_OP_GRU:
        case AMG_OP_RNN: flops += 2 * recurrent(g, node); break;
        default: break;
        }
    }
    return flops;
}

double amg_graph_flops(const amg_graph *g)
{
    amg_graph *one = NULL;
    if (amg_graph_plan_batch(g, 1, &one, NULL)) return 0;
    const double flops = flops_of(one);
    amg_graph_free(one);
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
