/* The first layer of a network (see the header). Consumes a folded graph; knows nothing
 * of keys, or of why values should change places. */
#include "graph/input_columns.h"

#include <string.h>

#include "graph/class_rows.h"

/* The only node that reads the value (not just how many samples it has), NULL if there
 * are several or none. */
static const amg_node *only_reader(const amg_graph *g, int value)
{
    const amg_node *reader = NULL;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++) {
            if (g->nodes[n].inputs[i] != value || g->nodes[n].op == AMG_OP_SHAPE)
                continue;
            if (reader || i > 0) return NULL;
            reader = &g->nodes[n];
        }
    for (int i = 0; i < g->num_outputs; i++)
        if (g->outputs[i] == value) return NULL;
    return reader;
}

/* Values stay in their order. */
static bool only_reshapes(amg_op op)
{
    return op == AMG_OP_RESHAPE || op == AMG_OP_FLATTEN || op == AMG_OP_SQUEEZE ||
           op == AMG_OP_UNSQUEEZE || op == AMG_OP_IDENTITY;
}

/* A trainable that node n alone reads, as its second input. */
static bool is_own_weight(const amg_graph *g, const amg_node *n)
{
    const int weight = n->num_inputs > 1 ? n->inputs[1] : AMG_NO_VALUE;
    if (weight == AMG_NO_VALUE || g->values[weight].kind != AMG_VALUE_PARAM ||
        g->values[weight].role == AMG_ROLE_CONSTANT)
        return false;
    int uses = 0;
    for (int i = 0; i < g->num_nodes; i++)
        for (int k = 0; k < g->nodes[i].num_inputs; k++)
            uses += g->nodes[i].inputs[k] == weight;
    return uses == 1;
}

static const char *find_dense(const amg_graph *g, const amg_node *n,
                              const int64_t *dims, amg_input_columns *out)
{
    const amg_value *x = &g->values[n->inputs[0]], *w = &g->values[n->inputs[1]];
    const bool gemm = n->op == AMG_OP_GEMM;
    const int64_t all = dims[0] * dims[1] * dims[2];
    const bool transposed = gemm && amg_attr_int(n, "transB", 0) != 0;
    if (x->rank != 2 || x->dims[1] != all || w->rank != 2 ||
        (gemm && amg_attr_int(n, "transA", 0) != 0))
        return "its first layer does not weigh all values of a sample";
    out->block[0] = dims[1];
    out->block[1] = dims[2];
    out->first = !transposed;
    return NULL;
}

static bool all_equal(const amg_node *n, const char *name, int64_t value)
{
    const amg_attr *a = amg_attr_find(n, name);
    for (int i = 0; a && i < a->count; i++)
        if (a->ints[i] != value) return false;
    return true;
}

static const char *find_patches(const amg_graph *g, const amg_node *n,
                                const int64_t *dims, amg_input_columns *out)
{
    const amg_value *x = &g->values[n->inputs[0]], *w = &g->values[n->inputs[1]];
    const amg_attr *strides = amg_attr_find(n, "strides");
    if (x->rank != 4 || memcmp(x->dims + 1, dims, 3 * sizeof *dims) != 0 ||
        w->rank != 4 || w->dims[1] != dims[0])
        return "its first layer is no convolution of whole images";
    for (int d = 0; d < 2; d++) {
        const int64_t side = w->dims[2 + d];
        const int64_t stride = strides ? strides->ints[d] : 1;
        if (stride != side || dims[1 + d] % side != 0)
            return "neighbouring blocks of the image meet in its first convolution";
        out->block[d] = side;
    }
    if (!all_equal(n, "pads", 0) || !all_equal(n, "dilations", 1) ||
        amg_attr_int(n, "group", 1) != 1)
        return "its first convolution pads, dilates or has groups";
    return NULL;
}

const char *amg_input_columns_find(const amg_graph *g, const int64_t dims[3],
                                   amg_input_columns *out)
{
    amg_input_columns c = {.channels = dims[0]};
    const amg_node *n = only_reader(g, g->inputs[0]);
    const char *why = NULL;
    while (n && only_reshapes(n->op)) n = only_reader(g, n->outputs[0]);
    if (!n) return "several of its layers read the samples";
    const bool dense = n->op == AMG_OP_GEMM || n->op == AMG_OP_MAT_MUL;
    if (!dense && n->op != AMG_OP_CONV)
        return "its first layer is neither dense nor a convolution of blocks";
    if (!is_own_weight(g, n)) return "its first layer has no weights of its own";
    why = dense ? find_dense(g, n, dims, &c) : find_patches(g, n, dims, &c);
    c.param = n->inputs[1];
    c.num_values = c.channels * c.block[0] * c.block[1];
    amg_class_rows classes;
    if (!why && amg_class_rows_find(g, 0, &classes) && classes.params[0] == c.param)
        why = "its first layer is its last";
    if (!why && c.block[0] * c.block[1] < 2) why = "a block is a single value";
    if (!why) *out = c;
    return why;
}

void amg_input_columns_move(const amg_input_columns *columns, const int32_t *map,
                            const amg_tensor *in, amg_tensor *out)
{
    amg_tensor from = *in, to = *out;
    const int64_t rows =
        columns->first ? in->dims[1] : in->dims[0]; /* num_values columns each */
    from.rank = to.rank = 2;
    from.dims[columns->first] = to.dims[columns->first] = rows;
    from.dims[!columns->first] = to.dims[!columns->first] = columns->num_values;
    amg_class_rows_permute(&from, columns->first ? 0 : 1, map, &to);
}
