/* Recognises several ONNX nodes that stand for one PyTorch function, so that model.py
 * runs what the exported module ran: the same bits need the same function, not only the
 * same formula.
 *
 * A match gives its last node the function's inputs; the nodes before it are then left
 * out where nothing else reads them. Legend: x the function's input, w weight, b bias.
 */
#include <math.h>
#include <string.h>

#include "emit/emit_fuse.h"

/* ---- reading the graph ---- */

void amg_fuse_set(amg_emit_step *s, amg_emit_form form, int num_inputs,
                  const int *inputs)
{
    s->form = form;
    s->num_inputs = num_inputs;
    memcpy(s->fused, inputs, (size_t)num_inputs * sizeof *inputs);
    s->inputs = s->fused;
}

/* ---- a linear layer over more than two dims: Reshape, Gemm, Reshape ---- */

static amg_status emit_linear(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s,
                    s->num_inputs > 2 ? "F.linear(%0, %1, %2)" : "F.linear(%0, %1)");
    return AMG_OK;
}

static amg_status emit_product(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(
        e, s, s->num_inputs > 2 ? "torch.matmul(%0, %1) + %2" : "torch.matmul(%0, %1)");
    return AMG_OK;
}

static bool match_linear(const amg_graph *g, amg_emit_step *s)
{
    const amg_node *gemm = s->node->op == AMG_OP_RESHAPE
                               ? amg_graph_maker(g, s->node->inputs[0], AMG_OP_GEMM)
                               : NULL;
    const amg_node *flat =
        gemm ? amg_graph_maker(g, gemm->inputs[0], AMG_OP_RESHAPE) : NULL;
    if (!flat) return false;
    const amg_value *x = &g->values[flat->inputs[0]];
    const amg_value *out = &g->values[s->node->outputs[0]];
    const amg_value *w = &g->values[gemm->inputs[1]];
    int trans_b = amg_attr_int(gemm, "transB", 0) != 0;
    int bias = gemm->num_inputs > 2 ? gemm->inputs[2] : AMG_NO_VALUE;
    bool plain =
        x->rank >= 3 && out->rank == x->rank && w->rank == 2 &&
        x->dims[x->rank - 1] == w->dims[trans_b] &&
        out->dims[x->rank - 1] == w->dims[!trans_b] &&
        memcmp(x->dims, out->dims, (size_t)(x->rank - 1) * sizeof *x->dims) == 0 &&
        amg_attr_int(gemm, "transA", 0) == 0 && amg_attr_float(gemm, "alpha", 1) == 1 &&
        amg_attr_float(gemm, "beta", 1) == 1 &&
        (bias == AMG_NO_VALUE || g->values[bias].rank == 1);
    if (plain)
        amg_fuse_set(s, trans_b ? emit_linear : emit_product,
                     bias == AMG_NO_VALUE ? 2 : 3,
                     (int[]){flat->inputs[0], gemm->inputs[1], bias});
    return plain;
}

/* ---- SiLU: x * sigmoid(x) ---- */

static amg_status emit_silu(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.silu(%0)");
    return AMG_OK;
}

static bool match_silu(const amg_graph *g, amg_emit_step *s)
{
    if (s->node->op != AMG_OP_MUL) return false;
    for (int side = 0; side < 2; side++) {
        const amg_node *sigmoid =
            amg_graph_maker(g, s->node->inputs[side], AMG_OP_SIGMOID);
        int x = s->node->inputs[1 - side];
        if (!sigmoid || sigmoid->inputs[0] != x) continue;
        amg_fuse_set(s, emit_silu, 1, &x);
        return true;
    }
    return false;
}

/* ---- layer norm, as exporters before opset 17 take it apart:
 *      d = x - mean(x); d / sqrt(mean(d * d) + eps) * w + b ---- */

static amg_status emit_parted_norm(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *w = amg_emit_in(e, s, 1);
    double eps = 0;
    if (!amg_value_number(amg_emit_in(e, s, 3), &eps))
        return amg_emit_fail(e, s, "epsilon is not a constant number");
    amg_emit_format(e, s, "F.layer_norm(%0, ");
    amg_text_tuple(&e->out, w->rank, w->dims);
    amg_emit_format(e, s, ", %1, %2, ");
    amg_text_float(&e->out, (float)eps);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* Whether n averages the last `count` dims and keeps them. */
static bool is_tail_mean(const amg_graph *g, const amg_node *n, int count)
{
    const amg_attr *axes = amg_attr_find(n, "axes");
    int rank = g->values[n->inputs[0]].rank;
    if (n->num_inputs > 1 || !axes || axes->kind != AMG_ATTR_INTS ||
        axes->count != count || rank < count || amg_attr_int(n, "keepdims", 1) == 0)
        return false;
    unsigned mask = 0;
    for (int i = 0; i < count; i++)
        mask |= 1u << ((axes->ints[i] < 0 ? axes->ints[i] + rank : axes->ints[i]) & 31);
    return mask == ((1u << count) - 1) << (rank - count);
}

/* Whether value is d * d, as a product or a power. */
static bool is_square(const amg_graph *g, int value, int d)
{
    const amg_node *pow = amg_graph_maker(g, value, AMG_OP_POW);
    const amg_node *mul = amg_graph_maker(g, value, AMG_OP_MUL);
    if (pow) return pow->inputs[0] == d && amg_graph_is_number(g, pow->inputs[1], 2);
    return mul && mul->inputs[0] == d && mul->inputs[1] == d;
}

/* x of (x - mean(x)) / sqrt(var + eps) over `count` dims; AMG_NO_VALUE if div is
 * something else. */
static int find_normed(const amg_graph *g, const amg_node *div, int count, int *eps)
{
    const amg_node *sub = amg_graph_maker(g, div->inputs[0], AMG_OP_SUB);
    const amg_node *root = amg_graph_maker(g, div->inputs[1], AMG_OP_SQRT);
    const amg_node *add = root ? amg_graph_maker(g, root->inputs[0], AMG_OP_ADD) : NULL;
    if (!sub || !add) return AMG_NO_VALUE;
    const amg_node *mean = amg_graph_maker(g, sub->inputs[1], AMG_OP_REDUCE_MEAN);
    const amg_node *var = amg_graph_maker(g, add->inputs[0], AMG_OP_REDUCE_MEAN);
    double number;
    *eps = add->inputs[1];
    bool fits = mean && var && amg_value_number(&g->values[*eps], &number) &&
                mean->inputs[0] == sub->inputs[0] &&
                is_square(g, var->inputs[0], div->inputs[0]) &&
                is_tail_mean(g, mean, count) && is_tail_mean(g, var, count);
    return fits ? sub->inputs[0] : AMG_NO_VALUE;
}

static bool match_layer_norm(const amg_graph *g, amg_emit_step *s)
{
    if (s->node->op != AMG_OP_ADD) return false;
    for (int i = 0; i < 4; i++) {
        const amg_node *mul = amg_graph_maker(g, s->node->inputs[i & 1], AMG_OP_MUL);
        const amg_node *div =
            mul ? amg_graph_maker(g, mul->inputs[i >> 1], AMG_OP_DIV) : NULL;
        if (!div) continue;
        int w = mul->inputs[1 - (i >> 1)], b = s->node->inputs[1 - (i & 1)], eps;
        const amg_value *scale = &g->values[w], *bias = &g->values[b];
        if (scale->kind != AMG_VALUE_PARAM || bias->kind != AMG_VALUE_PARAM ||
            scale->rank < 1 || scale->rank != bias->rank)
            continue;
        int x = find_normed(g, div, scale->rank, &eps);
        if (x == AMG_NO_VALUE ||
            memcmp(scale->dims, g->values[x].dims + g->values[x].rank - scale->rank,
                   (size_t)scale->rank * sizeof *scale->dims) != 0)
            continue;
        amg_fuse_set(s, emit_parted_norm, 4, (int[]){x, w, b, eps});
        return true;
    }
    return false;
}

/* ---- group norm, as exporters write it: Reshape [N,G,-1], InstanceNormalization by 1
 * and 0, Reshape back, * w [C,1,1], + b [C,1,1] ---- */

static amg_status emit_group_norm(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.group_norm(%0, ");
    amg_text_add(&e->out, "%lld", (long long)e->g->values[s->inner->inputs[1]].dims[0]);
    amg_emit_format(e, s, ", %1.reshape(-1), %2.reshape(-1), ");
    amg_text_float(&e->out, amg_attr_float(s->inner, "epsilon", 1e-5f));
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* Whether a parameter is one number a channel of x, [C,1,1…]. */
static bool is_channelwise(const amg_graph *g, int param, const amg_value *x)
{
    const amg_value *v = &g->values[param];
    bool fits = v->kind == AMG_VALUE_PARAM && x->rank >= 3 && v->rank == x->rank - 1 &&
                v->dims[0] == x->dims[1];
    for (int i = 1; fits && i < v->rank; i++) fits = v->dims[i] == 1;
    return fits;
}

/* Whether a parameter still is what the exporter made it: all one number. */
static bool is_filled(const amg_graph *g, int param, float number)
{
    const amg_value *v = &g->values[param];
    if (v->kind != AMG_VALUE_PARAM || v->dtype != AMG_F32 || !v->data.data)
        return false;
    int64_t count = amg_tensor_count(&v->data);
    for (int64_t i = 0; i < count; i++)
        if (((const float *)v->data.data)[i] != number) return false;
    return true;
}

static bool match_group_norm(const amg_graph *g, amg_emit_step *s)
{
    if (s->node->op != AMG_OP_ADD) return false;
    for (int i = 0; i < 4; i++) {
        const amg_node *mul = amg_graph_maker(g, s->node->inputs[i & 1], AMG_OP_MUL);
        const amg_node *back =
            mul ? amg_graph_maker(g, mul->inputs[i >> 1], AMG_OP_RESHAPE) : NULL;
        const amg_node *norm =
            back ? amg_graph_maker(g, back->inputs[0], AMG_OP_INSTANCE_NORM) : NULL;
        const amg_node *split =
            norm ? amg_graph_maker(g, norm->inputs[0], AMG_OP_RESHAPE) : NULL;
        if (!split) continue;
        int w = mul->inputs[1 - (i >> 1)], b = s->node->inputs[1 - (i & 1)];
        const amg_value *x = &g->values[split->inputs[0]];
        const amg_value *groups = &g->values[split->outputs[0]];
        const amg_value *out = &g->values[back->outputs[0]];
        if (groups->rank != 3 || groups->dims[0] != x->dims[0] ||
            out->rank != x->rank ||
            memcmp(out->dims, x->dims,
                   (size_t)(x->rank > 0 ? x->rank : 0) * sizeof *x->dims) != 0 ||
            !is_channelwise(g, w, x) || !is_channelwise(g, b, x) ||
            !is_filled(g, norm->inputs[1], 1) || !is_filled(g, norm->inputs[2], 0))
            continue;
        amg_fuse_set(s, emit_group_norm, 3, (int[]){split->inputs[0], w, b});
        s->inner = norm;
        return true;
    }
    return false;
}

/* ---- the list of steps ---- */

/* Leaves out the steps whose results nothing reads any more. live: a flag per value. */
static int prune(amg_emit_step *steps, int count, bool *live)
{
    for (int i = count; i-- > 0;) {
        bool needed = false;
        for (int j = 0; j < steps[i].node->num_outputs; j++)
            needed = needed || live[steps[i].node->outputs[j]];
        for (int j = 0; needed && j < steps[i].num_inputs; j++)
            if (steps[i].inputs[j] != AMG_NO_VALUE) live[steps[i].inputs[j]] = true;
        if (!needed) steps[i].form = NULL;
    }
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (!steps[i].form) continue;
        bool own = steps[i].inputs == steps[i].fused;
        steps[kept] = steps[i];
        if (own) steps[kept].inputs = steps[kept].fused;
        kept++;
    }
    return kept;
}

/* How many inputs of a node its form reads: where the shape of the result is known, the
 * arithmetic that computes it from the batch is not needed. */
static int num_read(const amg_graph *g, const amg_node *n)
{
    bool known = g->values[n->outputs[0]].rank >= 0;
    const bool is_noise =
        n->op == AMG_OP_RANDOM_NORMAL_LIKE || n->op == AMG_OP_RANDOM_UNIFORM_LIKE;
    if (known && (n->op == AMG_OP_CONSTANT_OF_SHAPE || n->op == AMG_OP_RANGE)) return 0;
    if (is_noise && amg_emit_noise_by_shape(g, n)) return 0;
    bool by_shape =
        n->op == AMG_OP_RESHAPE || n->op == AMG_OP_EXPAND || n->op == AMG_OP_TILE;
    return known && by_shape ? 1 : n->num_inputs;
}

int amg_emit_fuse(const amg_graph *g, const int *order, int num_nodes, bool *live,
                  amg_emit_step *steps)
{
    static bool (*const matchers[])(const amg_graph *, amg_emit_step *) = {
        match_linear,  match_silu,         match_layer_norm,      match_group_norm,
        amg_fuse_unit, amg_fuse_attention, amg_fuse_embedding_bag};
    for (int i = 0; i < num_nodes; i++) {
        const amg_node *n = &g->nodes[order[i]];
        steps[i] = (amg_emit_step){.node = n,
                                   .form = amg_emit_form_get(n->op),
                                   .num_inputs = num_read(g, n),
                                   .inputs = n->inputs};
        for (size_t m = 0; m < sizeof matchers / sizeof *matchers; m++)
            if (matchers[m](g, &steps[i])) break;
    }
    return prune(steps, num_nodes, live);
}
