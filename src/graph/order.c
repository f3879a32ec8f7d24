/* Who belongs to which output, and in which order: sub-networks and their canonical
 * orders. Both follow edges only; names and file order never matter here, because the
 * engine's arithmetic, and with it the bits of a trained model, follows these orders.
 *
 * Nothing is allocated and nothing recurses: a node is either waiting on the stack or
 * already written, never both, so the stack lives in the free end of the result. */
#include <string.h>

#include "graph/graph.h"
#include "graph/infer.h"

static bool contains(const int *list, int count, int item)
{
    /* From the end: in a network what one looks for was mostly written just now. */
    for (int i = count - 1; i >= 0; i--)
        if (list[i] == item) return true;
    return false;
}

/* First producer among node's inputs that is not written yet, -1 if none. */
static int next_producer(const amg_graph *g, const amg_node *node, int num_inputs,
                         const int *order, int written)
{
    for (int i = 0; i < num_inputs; i++) {
        int producer =
            node->inputs[i] == AMG_NO_VALUE ? -1 : g->values[node->inputs[i]].producer;
        if (producer >= 0 && !contains(order, written, producer)) return producer;
    }
    return -1;
}

/* through_shapes: whether a Shape, which reads no element of its input, leads there. */
static int walk(const amg_graph *g, int output_index, bool through_shapes, int *order)
{
    int written = 0, top = g->num_nodes; /* the stack is order[top .. num_nodes) */
    int root = g->values[g->outputs[output_index]].producer;
    if (root >= 0) order[--top] = root;
    while (top < g->num_nodes) {
        int node = order[top];
        const amg_node *n = &g->nodes[node];
        int num_inputs =
            (n->op == AMG_OP_SHAPE || n->op == AMG_OP_SIZE) && !through_shapes
                ? 0
                : n->num_inputs;
        int producer = next_producer(g, n, num_inputs, order, written);
        if (producer >= 0) {
            order[--top] = producer;
        } else {
            top++;
            order[written++] = node;
        }
    }
    return written;
}

int amg_graph_canonical_order(const amg_graph *g, int output_index, int *order)
{
    return walk(g, output_index, true, order);
}

int amg_graph_canonical_params(const amg_graph *g, int output_index, int *params)
{
    /* Every node has an output value of its own, so behind the places that parameters
     * can take there is room for the order of the nodes. */
    int count = 0;
    int *order = params + (g->num_values - g->num_nodes);
    /* A job's graph asks for the batch's size where a plan's has a number; both must
     * give parameters the same order. */
    int num_nodes = walk(g, output_index, false, order);
    for (int n = 0; n < num_nodes; n++) {
        const amg_node *node = &g->nodes[order[n]];
        for (int i = 0; i < node->num_inputs; i++) {
            int id = node->inputs[i];
            if (id == AMG_NO_VALUE || g->values[id].kind != AMG_VALUE_PARAM ||
                g->values[id].role == AMG_ROLE_CONSTANT || contains(params, count, id))
                continue;
            params[count++] = id;
        }
    }
    return count;
}

/* Whether nodes of two sub-networks read the value. */
static bool is_shared(const amg_graph *g, int value, const int *owner)
{
    int reader = -1;
    for (int n = 0; n < g->num_nodes; n++) {
        if (owner[n] == reader ||
            !contains(g->nodes[n].inputs, g->nodes[n].num_inputs, value))
            continue;
        if (reader >= 0) return true;
        reader = owner[n];
    }
    return false;
}

static amg_status shared_node(const amg_graph *g, int node, const int *owner,
                              int output, amg_error *err)
{
    return amg_node_fail(&g->nodes[node], AMG_INVALID, err,
                         "belongs to outputs %d and %d, expected one", owner[node],
                         output);
}

/* Marks one output's ancestors, from the last node to the first. */
static amg_status claim(const amg_graph *g, int output, int *owner, amg_error *err)
{
    int root = g->values[g->outputs[output]].producer;
    if (root < 0)
        return amg_fail(err, AMG_INVALID, -1, g->values[g->outputs[output]].name,
                        "is an output that no node makes");
    if (owner[root] >= 0) return shared_node(g, root, owner, output, err);
    owner[root] = output;
    for (int n = root; n >= 0; n--) {
        const amg_node *node = &g->nodes[n];
        if (owner[n] != output) continue;
        for (int i = 0; i < node->num_inputs; i++) {
            int producer = node->inputs[i] == AMG_NO_VALUE
                               ? -1
                               : g->values[node->inputs[i]].producer;
            if (producer < 0) continue;
            if (owner[producer] >= 0 && owner[producer] != output)
                return shared_node(g, producer, owner, output, err);
            owner[producer] = output;
        }
    }
    return AMG_OK;
}

amg_status amg_graph_subnetworks(const amg_graph *g, int *owner, amg_error *err)
{
    for (int n = 0; n < g->num_nodes; n++) owner[n] = -1;
    for (int o = 0; o < g->num_outputs; o++) {
        amg_status s = claim(g, o, owner, err);
        if (s) return s;
    }
    for (int n = 0; n < g->num_nodes; n++)
        if (owner[n] < 0)
            return amg_node_fail(&g->nodes[n], AMG_INVALID, err, "reaches no output");
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind == AMG_VALUE_PARAM && is_shared(g, v, owner))
            return amg_fail(err, AMG_INVALID, -1, g->values[v].name,
                            "is read by two sub-networks, expected one");
    return AMG_OK;
}
