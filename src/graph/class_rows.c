/* Class rows: finds the last layer's weight and bias, permutes their rows, and sorts
 * classes into an order that does not depend on how they are numbered. Consumes a graph
 * and tensors; knows nothing of keys or label maps' origin. */
#include "graph/class_rows.h"

#include <string.h>

#include "graph/row_order.h"

static const amg_node *producer_of(const amg_graph *g, int value)
{
    int node = value < 0 ? -1 : g->values[value].producer;
    return node < 0 ? NULL : &g->nodes[node];
}

/* How often nodes read the value. */
static int num_uses(const amg_graph *g, int value)
{
    int uses = 0;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++)
            uses += g->nodes[n].inputs[i] == value;
    return uses;
}

/* A parameter that this layer alone reads. */
static bool is_own_param(const amg_graph *g, int value)
{
    return value >= 0 && g->values[value].kind == AMG_VALUE_PARAM &&
           num_uses(g, value) == 1;
}

/* Lookups of the parameter's rows by an index that is computed. */
static int num_lookups(const amg_graph *g, int value)
{
    int lookups = 0;
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        lookups += node->op == AMG_OP_GATHER && node->inputs[0] == value &&
                   amg_attr_int(node, "axis", 0) == 0 &&
                   g->values[node->inputs[1]].kind != AMG_VALUE_PARAM;
    }
    return lookups;
}

/* The weight of a matrix product whose result only the head itself reads. */
static bool add_weight(const amg_graph *g, const amg_node *product, amg_class_rows *out)
{
    if (product->op != AMG_OP_GEMM && product->op != AMG_OP_MAT_MUL) return false;
    const int weight = product->inputs[1];
    const bool trans =
        product->op == AMG_OP_GEMM && amg_attr_int(product, "transB", 0) != 0;
    if (g->values[weight].kind != AMG_VALUE_PARAM || g->values[weight].rank != 2)
        return false;
    const int lookups = num_lookups(g, weight);
    if (num_uses(g, weight) != 1 + lookups) return false;
    out->params[0] = weight;
    out->axis[0] = trans ? 0 : 1;
    out->tied = lookups > 0;
    out->num_classes = g->values[weight].dims[out->axis[0]];
    out->num_params = 1;
    /* What a lookup reads are rows: they must be the classes. */
    return out->num_classes > 0 && (!out->tied || trans);
}

/* The bias: one number a class along its last dim, any other dims 1. */
static bool add_bias(const amg_graph *g, int bias, amg_class_rows *out)
{
    if (!is_own_param(g, bias)) return false;
    const amg_value *v = &g->values[bias];
    if (v->rank < 1 || v->rank > 2 || v->dims[v->rank - 1] != out->num_classes ||
        (v->rank == 2 && v->dims[0] != 1))
        return false;
    out->params[1] = bias;
    out->axis[1] = v->rank - 1;
    out->num_params = 2;
    return true;
}

/* MatMul then Add, the bias on either side. */
static bool find_sum(const amg_graph *g, const amg_node *add, amg_class_rows *out)
{
    for (int side = 0; side < 2; side++) {
        const amg_node *product = producer_of(g, add->inputs[side]);
        if (product && product->op == AMG_OP_MAT_MUL &&
            num_uses(g, add->inputs[side]) == 1 && add_weight(g, product, out) &&
            add_bias(g, add->inputs[1 - side], out))
            return true;
    }
    return false;
}

/* The layer that gives the logits: their producer, or what it reshapes [rows, classes]
 * to [batch, positions, classes]. NULL: neither. */
static const amg_node *find_head(const amg_graph *g, int logits)
{
    const amg_value *out = &g->values[logits];
    const amg_node *head = producer_of(g, logits);
    if (!head || num_uses(g, logits) != 0) return NULL;
    if (out->rank == 2) return head;
    if (out->rank != 3 || head->op != AMG_OP_RESHAPE) return NULL;
    const amg_value *rows = &g->values[head->inputs[0]];
    if (rows->rank != 2 || rows->dims[1] != out->dims[2] ||
        num_uses(g, head->inputs[0]) != 1)
        return NULL;
    return producer_of(g, head->inputs[0]);
}

bool amg_class_rows_find(const amg_graph *g, int output_index, amg_class_rows *out)
{
    const int logits = g->outputs[output_index];
    const amg_node *head = find_head(g, logits);
    amg_class_rows rows = {0};
    bool found;
    if (!head) return false;
    if (head->op == AMG_OP_ADD) {
        found = find_sum(g, head, &rows);
    } else {
        found = add_weight(g, head, &rows);
        if (found && head->num_inputs > 2 && head->inputs[2] != AMG_NO_VALUE)
            found = add_bias(g, head->inputs[2], &rows);
    }
    const amg_value *v = &g->values[logits];
    if (!found || rows.num_classes != v->dims[v->rank - 1]) return false;
    *out = rows;
    return true;
}

void amg_class_rows_permute(const amg_tensor *in, int axis, const int32_t *map,
                            amg_tensor *out)
{
    int64_t outer, n = in->dims[axis];
    size_t inner;
    amg_row_split(in, axis, &outer, &inner);
    const char *from = in->data;
    char *to = out->data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t c = 0; c < n; c++)
            memcpy(to + (size_t)(o * n + map[c]) * inner,
                   from + (size_t)(o * n + c) * inner, inner);
}

bool amg_class_rows_canonical(const amg_class_rows *rows,
                              const amg_tensor *const data[2], int32_t *order)
{
    return amg_row_order_canonical(rows->num_params, data, rows->axis,
                                   rows->num_classes, order);
}
