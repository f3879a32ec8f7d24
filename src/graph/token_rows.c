/* Token rows: finds the embedding tables that a sub-network looks its tokens up in, and
 * the tokens that it compares its input with. Consumes a graph; knows nothing of keys
 * or of where tokens come from. Must not look at weights' data, which may be absent. */
#include "graph/token_rows.h"

#include <string.h>

#include "base/alloc.h"
#include "graph/class_rows.h"
#include "graph/row_order.h"

/* What a sub-network does with its tokens, node by node. */
typedef struct {
    const amg_graph *g;
    bool *is_tokens; /* per value: its elements are tokens of the input */
    int head;        /* class rows' weight, tied to a table; AMG_NO_VALUE: none */
    amg_token_rows rows;
} walk;

static bool is_integer(amg_dtype dtype) { return dtype == AMG_I64 || dtype == AMG_I32; }

/* Whether input i of node is tokens. */
static bool takes_tokens(const walk *w, const amg_node *node, int i)
{
    return node->inputs[i] != AMG_NO_VALUE && w->is_tokens[node->inputs[i]];
}

/* Whether node only moves the elements of its input 0, or of all inputs. */
static bool moves(const amg_node *node)
{
    switch (node->op) {
    case AMG_OP_IDENTITY:
    case AMG_OP_RESHAPE:
    case AMG_OP_FLATTEN:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE:
    case AMG_OP_TRANSPOSE:
    case AMG_OP_SLICE:
    case AMG_OP_SPLIT:
    case AMG_OP_GATHER:
    case AMG_OP_EXPAND:
    case AMG_OP_TILE:
    case AMG_OP_CAST:
    case AMG_OP_CONCAT: return true;
    default: return false;
    }
}

/* The outputs of a node that moves tokens are tokens, too, if they are whole numbers
 * and nothing else is moved among them. */
static bool carry(walk *w, const amg_node *node)
{
    const bool all = node->op == AMG_OP_CONCAT;
    if (!moves(node)) return false;
    for (int i = 0; i < node->num_inputs; i++)
        if (takes_tokens(w, node, i) != (all || i == 0)) return false;
    for (int i = 0; i < node->num_outputs; i++) {
        if (node->outputs[i] == AMG_NO_VALUE) continue;
        if (!is_integer(w->g->values[node->outputs[i]].dtype)) return false;
        w->is_tokens[node->outputs[i]] = true;
    }
    return true;
}

/* Node looks tokens up in a table. */
static bool add_table(walk *w, const amg_node *node)
{
    const int table = node->inputs[0];
    const amg_value *v = &w->g->values[table];
    amg_token_rows *rows = &w->rows;
    if (v->kind != AMG_VALUE_PARAM || v->role == AMG_ROLE_CONSTANT || v->rank < 1 ||
        amg_attr_int(node, "axis", 0) != 0)
        return false;
    for (int i = 0; i < rows->num_tables; i++)
        if (rows->tables[i] == table) return true;
    if (rows->num_tables == AMG_MAX_TOKEN_TABLES ||
        (rows->num_tables && rows->vocab != v->dims[0]))
        return false;
    rows->tables[rows->num_tables++] = table;
    rows->vocab = v->dims[0];
    return true;
}

/* Inserts a token into the ascending list. */
static bool add_fixed(amg_token_rows *rows, int64_t token)
{
    int at = 0;
    while (at < rows->num_fixed && rows->fixed[at] < token) at++;
    if (at < rows->num_fixed && rows->fixed[at] == token) return true;
    if (rows->num_fixed == AMG_MAX_FIXED_TOKENS) return false;
    memmove(rows->fixed + at + 1, rows->fixed + at,
            (size_t)(rows->num_fixed - at) * sizeof *rows->fixed);
    rows->fixed[at] = token;
    rows->num_fixed++;
    return true;
}

/* Node compares tokens with constants. */
static bool add_comparison(walk *w, const amg_node *node)
{
    const int other = node->inputs[takes_tokens(w, node, 0)];
    const amg_value *v = &w->g->values[other];
    if (v->kind != AMG_VALUE_PARAM || !is_integer(v->dtype) || !v->data.data)
        return false;
    const void *data = v->data.data;
    for (int64_t i = 0, n = amg_tensor_count(&v->data); i < n; i++)
        if (!add_fixed(&w->rows, v->dtype == AMG_I64 ? ((const int64_t *)data)[i]
                                                     : ((const int32_t *)data)[i]))
            return false;
    return true;
}

static bool visit(walk *w, const amg_node *node)
{
    bool any = false;
    for (int i = 0; i < node->num_inputs; i++) any = any || takes_tokens(w, node, i);
    if (!any || node->op == AMG_OP_SHAPE) return true;
    if (node->op == AMG_OP_GATHER && !takes_tokens(w, node, 0))
        return add_table(w, node);
    return node->op == AMG_OP_EQUAL ? add_comparison(w, node) : carry(w, node);
}

/* Whether nothing but lookups of tokens, and the head that is tied to it, read the
 * table. */
static bool serves_tokens_only(const walk *w, int table)
{
    int others = 0;
    for (int n = 0; n < w->g->num_nodes; n++) {
        const amg_node *node = &w->g->nodes[n];
        for (int i = 0; i < node->num_inputs; i++)
            if (node->inputs[i] == table)
                others += node->op != AMG_OP_GATHER || i != 0 ||
                          !w->is_tokens[node->inputs[1]];
    }
    return others == (table == w->head ? 1 : 0);
}

/* Tokens that no input can be are nobody's. */
static void drop_unknown(amg_token_rows *rows)
{
    int kept = 0;
    for (int i = 0; i < rows->num_fixed; i++)
        if (rows->fixed[i] >= 0 && rows->fixed[i] < rows->vocab)
            rows->fixed[kept++] = rows->fixed[i];
    rows->num_fixed = kept;
}

static bool find(walk *w, int output_index, int *order)
{
    const amg_graph *g = w->g;
    amg_class_rows classes;
    w->head = amg_class_rows_find(g, output_index, &classes) && classes.tied
                  ? classes.params[0]
                  : AMG_NO_VALUE;
    for (int i = 0; i < g->num_inputs; i++) {
        if (!is_integer(g->values[g->inputs[i]].dtype)) return false;
        w->is_tokens[g->inputs[i]] = true;
    }
    const int count = amg_graph_canonical_order(g, output_index, order);
    for (int n = 0; n < count; n++)
        if (!visit(w, &g->nodes[order[n]])) return false;
    for (int i = 0; i < w->rows.num_tables; i++)
        if (!serves_tokens_only(w, w->rows.tables[i])) return false;
    drop_unknown(&w->rows);
    return w->rows.num_tables > 0;
}

bool amg_token_rows_find(const amg_graph *g, int output_index, amg_token_rows *out)
{
    walk w = {.g = g,
              .is_tokens = amg_calloc((size_t)g->num_values + 1, sizeof *w.is_tokens)};
    int *order = amg_calloc((size_t)g->num_nodes + 1, sizeof *order);
    const bool found = w.is_tokens && order && find(&w, output_index, order);
    if (found) *out = w.rows;
    amg_free(w.is_tokens);
    amg_free(order);
    return found;
}

bool amg_token_rows_canonical(const amg_token_rows *rows, const amg_tensor *const *data,
                              int32_t *order)
{
    static const int axis[AMG_MAX_TOKEN_TABLES] = {0};
    return amg_row_order_canonical(rows->num_tables, data, axis, rows->vocab, order);
}
