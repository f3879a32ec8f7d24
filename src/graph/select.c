/* Finds each head's select by walking up from its output. Consumes a graph that may
 * have been changed by somebody; knows nothing of keys and of what is selected. */
#include "graph/select.h"

#include "base/alloc.h"

static int64_t num_positions(const amg_graph *g)
{
    const amg_value *input = &g->values[g->inputs[0]];
    int64_t count = 1;
    for (int i = 1; i < input->rank; i++) count *= input->dims[i];
    return count;
}

/* Whether a value is the job's input, at most reshaped. */
static bool is_input(const amg_graph *g, int v)
{
    while (g->values[v].kind == AMG_VALUE_ACTIVATION) {
        const amg_node *n = &g->nodes[g->values[v].producer];
        if (n->op != AMG_OP_RESHAPE && n->op != AMG_OP_FLATTEN &&
            n->op != AMG_OP_IDENTITY)
            return false;
        v = n->inputs[0];
    }
    return v == g->inputs[0];
}

bool amg_graph_is_select(const amg_graph *g, const amg_node *n)
{
    if (n->op != AMG_OP_GATHER) return false;
    const amg_value *data = &g->values[n->inputs[0]];
    const amg_tensor *index = &g->values[n->inputs[1]].data;
    const int64_t axis = amg_attr_int(n, "axis", 0);
    return (axis == 1 || axis == -1) && data->rank == 2 &&
           data->dims[1] == num_positions(g) && is_input(g, n->inputs[0]) &&
           g->values[n->inputs[1]].kind == AMG_VALUE_PARAM && index->data &&
           index->rank == 1 && index->dims[0] > 0 &&
           (index->dtype == AMG_I64 || index->dtype == AMG_I32);
}

/* heads[node], zeros before: how many heads each select leads to. order: room for all
 * nodes. */
static void count_heads(const amg_graph *g, int *order, int *heads)
{
    for (int h = 0; h < g->num_outputs; h++) {
        const int count = amg_graph_canonical_order(g, h, order);
        for (int i = 0; i < count; i++)
            heads[order[i]] += amg_graph_is_select(g, &g->nodes[order[i]]);
    }
}

static int find_select(const amg_graph *g, int head, int *order, const int *heads)
{
    int best = -1;
    const int count = amg_graph_canonical_order(g, head, order);
    for (int i = 0; i < count; i++) {
        const int node = order[i];
        if (heads[node] > 0 && (best < 0 || heads[node] < heads[best])) best = node;
    }
    return best;
}

amg_status amg_graph_find_selects(const amg_graph *g, int *nodes, amg_error *err)
{
    int *order = amg_calloc(2 * (size_t)g->num_nodes + 1, sizeof *order);
    if (!order) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "no memory");
    int *heads = order + g->num_nodes;
    count_heads(g, order, heads);
    for (int h = 0; h < g->num_outputs; h++) nodes[h] = find_select(g, h, order, heads);
    amg_free(order);
    return AMG_OK;
}

amg_status amg_graph_read_select(const amg_graph *g, int node, uint32_t **index,
                                 int64_t *count, amg_error *err)
{
    const amg_value *v = &g->values[g->nodes[node].inputs[1]];
    const int64_t n = v->data.dims[0], most = num_positions(g);
    uint32_t *list = amg_calloc((size_t)n, sizeof *list);
    if (!list) return amg_fail(err, AMG_NO_MEMORY, -1, v->name, "no memory");
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = v->data.dtype == AMG_I64
                               ? ((const int64_t *)v->data.data)[i]
                               : ((const int32_t *)v->data.data)[i];
        if (at < 0 || at >= most) {
            amg_free(list);
            return amg_fail(err, AMG_MISMATCH, -1, v->name,
                            "index %lld of a select is %lld, expected 0 to %lld",
                            (long long)i, (long long)at, (long long)most - 1);
        }
        list[i] = (uint32_t)at;
    }
    *index = list;
    *count = n;
    return AMG_OK;
}
