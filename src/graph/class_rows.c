/* Class rows: finds the last layer's weight and bias, permutes their rows, and sorts
 * classes into an order that does not depend on how they are numbered. Consumes a graph
 * and tensors; knows nothing of keys or label maps' origin. */
#include "graph/class_rows.h"

#include <string.h>

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

/* The weight of a matrix product whose result only the head itself reads. */
static bool add_weight(const amg_graph *g, const amg_node *product, amg_class_rows *out)
{
    int weight = product->inputs[1];
    bool trans = product->op == AMG_OP_GEMM && amg_attr_int(product, "transB", 0) != 0;
    if (product->op != AMG_OP_GEMM && product->op != AMG_OP_MAT_MUL) return false;
    if (!is_own_param(g, weight) || g->values[weight].rank != 2) return false;
    out->params[0] = weight;
    out->axis[0] = trans ? 0 : 1;
    out->num_classes = g->values[weight].dims[out->axis[0]];
    out->num_params = 1;
    return out->num_classes > 0;
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

bool amg_class_rows_find(const amg_graph *g, int output_index, amg_class_rows *out)
{
    int logits = g->outputs[output_index];
    const amg_node *head = producer_of(g, logits);
    amg_class_rows rows = {0};
    bool found;
    if (!head || g->values[logits].rank != 2 || num_uses(g, logits) != 0) return false;
    if (head->op == AMG_OP_ADD) {
        found = find_sum(g, head, &rows);
    } else {
        found = add_weight(g, head, &rows);
        if (found && head->num_inputs > 2 && head->inputs[2] != AMG_NO_VALUE)
            found = add_bias(g, head->inputs[2], &rows);
    }
    if (found) *out = rows;
    return found;
}

/* A tensor as [outer, n, inner] around an axis; inner in bytes. */
static void split_at(const amg_tensor *t, int axis, int64_t *outer, size_t *inner)
{
    *outer = 1;
    *inner = amg_dtype_size(t->dtype);
    for (int i = 0; i < axis; i++) *outer *= t->dims[i];
    for (int i = axis + 1; i < t->rank; i++) *inner *= (size_t)t->dims[i];
}

void amg_class_rows_permute(const amg_tensor *in, int axis, const int32_t *map,
                            amg_tensor *out)
{
    int64_t outer, n = in->dims[axis];
    size_t inner;
    split_at(in, axis, &outer, &inner);
    const char *from = in->data;
    char *to = out->data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t c = 0; c < n; c++)
            memcpy(to + (size_t)(o * n + map[c]) * inner,
                   from + (size_t)(o * n + c) * inner, inner);
}

/* Bytewise order of rows a and b: the weight's bytes first, then the bias's. */
static int compare_rows(const amg_class_rows *rows, const amg_tensor *const data[2],
                        int32_t a, int32_t b)
{
    for (int p = 0; p < rows->num_params; p++) {
        int64_t outer;
        size_t inner;
        split_at(data[p], rows->axis[p], &outer, &inner);
        const char *bytes = data[p]->data;
        for (int64_t o = 0; o < outer; o++) {
            const char *block = bytes + (size_t)(o * rows->num_classes) * inner;
            int order =
                memcmp(block + (size_t)a * inner, block + (size_t)b * inner, inner);
            if (order) return order;
        }
    }
    return 0;
}

/* Moves order[root] down until both children are smaller (a heap with the largest on
 * top). */
static void sift_down(const amg_class_rows *rows, const amg_tensor *const data[2],
                      int32_t *order, int64_t root, int64_t count)
{
    for (int64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count &&
            compare_rows(rows, data, order[child], order[child + 1]) < 0)
            child++;
        if (compare_rows(rows, data, order[root], order[child]) >= 0) return;
        int32_t held = order[root];
        order[root] = order[child];
        order[child] = held;
    }
}

bool amg_class_rows_canonical(const amg_class_rows *rows,
                              const amg_tensor *const data[2], int32_t *order)
{
    /* Heap sort: in place, n log n for any input, and rows are all distinct when the
     * result counts, so that stability does not matter. */
    int64_t n = rows->num_classes;
    for (int64_t c = 0; c < n; c++) order[c] = (int32_t)c;
    for (int64_t root = n / 2; root-- > 0;) sift_down(rows, data, order, root, n);
    for (int64_t last = n - 1; last > 0; last--) {
        int32_t held = order[0];
        order[0] = order[last];
        order[last] = held;
        sift_down(rows, data, order, 0, last);
    }
    for (int64_t r = 1; r < n; r++)
        if (compare_rows(rows, data, order[r - 1], order[r]) == 0) {
            for (int64_t c = 0; c < n; c++) order[c] = (int32_t)c;
            return false;
        }
    return true;
}
