/* See lower.h: products of matrices that are not the engine's two forms, a matrix by a
 * 2-d parameter with a bias (Gemm) and stacks of matrices (MatMul). */
#include "graph/lower.h"

/* ---- MatMul of vectors ---- */

static bool is_of_vectors(const amg_graph *g, const amg_node *node)
{
    return amg_lower_in(g, node, 0)->rank == 1 || amg_lower_in(g, node, 1)->rank == 1;
}

/* A vector on the left is a row, on the right a column; either goes again. */
static void lower_mat_mul(amg_lower *l, int *out)
{
    int side[2], num_gone = 0;
    int64_t gone[2]; /* of the product: its rows, its columns */
    for (int i = 0; i < 2; i++) {
        side[i] = amg_lower_value(l, i);
        if (amg_lower_in(l->r->g, l->node, i)->rank != 1) continue;
        const int64_t axis = i;
        side[i] =
            amg_lower_binary(l, AMG_OP_UNSQUEEZE, side[i], amg_lower_ints(l, 1, &axis));
        gone[num_gone++] = i - 2;
    }
    int y = amg_lower_binary(l, AMG_OP_MAT_MUL, side[0], side[1]);
    out[0] = amg_lower_binary(l, AMG_OP_SQUEEZE, y, amg_lower_ints(l, num_gone, gone));
}

const amg_lower_rule amg_lower_mat_mul = {is_of_vectors, lower_mat_mul};

/* ---- Gemm: alpha A' B' + beta C ---- */

static bool is_matrix_of_weights(const amg_graph *g, const amg_value *v)
{
    return amg_lower_is_weight(g, v) && v->rank == 2;
}

/* A parameter of one number a column. */
static bool is_bias(const amg_value *bias, int64_t columns)
{
    int64_t count = 1;
    for (int d = 0; d < bias->rank; d++) count *= bias->dims[d];
    return bias->kind == AMG_VALUE_PARAM && count == columns &&
           (bias->rank == 0 || bias->dims[bias->rank - 1] == columns);
}

static bool is_more_than_linear(const amg_graph *g, const amg_node *node)
{
    const amg_value *bias = amg_lower_in(g, node, 2);
    const amg_value *y = &g->values[node->outputs[0]];
    return amg_attr_float(node, "alpha", 1) != 1 ||
           amg_attr_float(node, "beta", 1) != 1 ||
           amg_attr_int(node, "transA", 0) != 0 ||
           !is_matrix_of_weights(g, amg_lower_in(g, node, 1)) ||
           (bias && !is_bias(bias, y->dims[1]));
}

static int by_number(amg_lower *l, int x, float by)
{
    if (by == 1) return x;
    return amg_lower_binary(l, AMG_OP_MUL, x, amg_lower_float(l, by));
}

/* beta (alpha / beta A' B' + C): C stays an operand of Add, as which it trains. */
static void lower_gemm(amg_lower *l, int *out)
{
    static const int64_t swap[2] = {1, 0};
    const float alpha = amg_attr_float(l->node, "alpha", 1);
    const float beta = amg_attr_float(l->node, "beta", 1);
    const bool trans_b = amg_attr_int(l->node, "transB", 0) != 0;
    const bool weights =
        is_matrix_of_weights(l->r->g, amg_lower_in(l->r->g, l->node, 1));
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    const amg_value *c = amg_lower_in(l->r->g, l->node, 2);
    int a = amg_lower_value(l, 0), b = amg_lower_value(l, 1), product;
    if (amg_attr_int(l->node, "transA", 0)) a = amg_lower_transpose(l, a, 2, swap);
    if (weights) {
        const bool bias = c && alpha == 1 && beta == 1 && is_bias(c, y->dims[1]);
        const amg_attr trans = amg_int("transB", trans_b);
        product = amg_lower_node(l, AMG_OP_GEMM, bias ? 3 : 2,
                                 (int[]){a, b, amg_lower_value(l, 2)}, 1, &trans);
        if (bias) c = NULL;
    } else {
        if (trans_b) b = amg_lower_transpose(l, b, 2, swap);
        product = amg_lower_binary(l, AMG_OP_MAT_MUL, a, b);
    }
    if (!c || beta == 0) {
        out[0] = by_number(l, product, alpha);
        return;
    }
    product = by_number(l, product, alpha / beta);
    int sum = amg_lower_binary(l, AMG_OP_ADD, product, amg_lower_value(l, 2));
    out[0] = by_number(l, sum, beta);
}

const amg_lower_rule amg_lower_gemm = {is_more_than_linear, lower_gemm};
