/* Channel groups at layers and norms: what their weights' dims follow. Consumes
 * shapes; whatever is not of a form that a width can move through is unknown. */
#include "obfuscate/channel_pass.h"

static bool is_param(const amg_value *v) { return v && v->kind == AMG_VALUE_PARAM; }

static int bias_of(const amg_node *n)
{
    return n->num_inputs > 2 ? n->inputs[2] : AMG_NO_VALUE;
}

amg_feature_list amg_channel_conv(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *w = amg_channel_in(p, n, 1);
    const int64_t groups = amg_attr_int(n, "group", 1);
    const bool depthwise = groups > 1 && w->dims[1] == 1 && w->dims[0] == groups;
    if (!is_param(w) || (groups > 1 && !depthwise)) return amg_channel_unknown(p, n);
    const amg_feature_list in = amg_channel_at(p, n, 0, 1);
    const amg_feature_list out =
        depthwise ? in : amg_channel_open(p, w->dims[0], 1, false);
    if (!depthwise) amg_channel_follow(p, n->inputs[1], 1, &in);
    amg_channel_follow(p, n->inputs[1], 0, &out);
    amg_channel_follow(p, bias_of(n), 0, &out);
    return out;
}

/* The weight's first dim is the input's. */
amg_feature_list amg_channel_conv_transpose(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *w = amg_channel_in(p, n, 1);
    if (!is_param(w) || amg_attr_int(n, "group", 1) != 1)
        return amg_channel_unknown(p, n);
    const amg_feature_list in = amg_channel_at(p, n, 0, 1);
    const amg_feature_list out = amg_channel_open(p, w->dims[1], 1, false);
    amg_channel_follow(p, n->inputs[1], 0, &in);
    amg_channel_follow(p, n->inputs[1], 1, &out);
    amg_channel_follow(p, bias_of(n), 0, &out);
    return out;
}

/* Features are the input's last dim. */
static amg_feature_list linear(amg_channel_pass *p, const amg_node *n, int out_dim)
{
    const amg_value *w = amg_channel_in(p, n, 1);
    const int axis = amg_channel_in(p, n, 0)->rank - 1;
    const amg_feature_list in = amg_channel_at(p, n, 0, axis);
    const amg_feature_list out = amg_channel_open(p, w->dims[out_dim], axis, false);
    amg_channel_follow(p, n->inputs[1], out_dim, &out);
    amg_channel_follow(p, n->inputs[1], 1 - out_dim, &in);
    amg_channel_follow(p, bias_of(n), 0, &out);
    return out;
}

amg_feature_list amg_channel_gemm(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *w = amg_channel_in(p, n, 1), *bias = amg_channel_in(p, n, 2);
    if (!is_param(w) || amg_attr_int(n, "transA", 0) ||
        (bias && (!is_param(bias) || bias->rank != 1)))
        return amg_channel_unknown(p, n);
    return linear(p, n, amg_attr_int(n, "transB", 0) ? 0 : 1);
}

/* The linear layer that a value is from, if what lies between moves, scales, adds and
 * normalises; NULL: none. */
static const amg_node *projection_of(const amg_channel_pass *p, int v)
{
    const amg_graph *g = p->g;
    while (g->values[v].producer >= 0) {
        const amg_node *n = &g->nodes[g->values[v].producer];
        int next = AMG_NO_VALUE;
        for (int i = n->num_inputs - 1; i >= 0; i--)
            if (n->inputs[i] != AMG_NO_VALUE && !is_param(&g->values[n->inputs[i]]))
                next = n->inputs[i];
        if (n->op == AMG_OP_GEMM ||
            (n->op == AMG_OP_MAT_MUL && is_param(&g->values[n->inputs[1]])))
            return n;
        if (next == AMG_NO_VALUE || amg_is_layer(n) || n->op == AMG_OP_SOFTMAX ||
            (n->op == AMG_OP_GATHER && is_param(&g->values[n->inputs[0]])))
            return NULL;
        v = next;
    }
    return NULL;
}

/* An attention's queries, keys and values are as wide as designers make what they are
 * from: that width stays, too. */
static bool hold_projection(amg_channel_pass *p, int v)
{
    const amg_node *n = projection_of(p, v);
    if (n) amg_channel_freeze(p, &p->c->values[n->inputs[0]]);
    return n;
}

/* Of two activations the second one's rows are summed: its features stay features,
 * wherever the first has its own. */
static amg_feature_list sum_rows(amg_channel_pass *p, const amg_node *n)
{
    const int rank = p->g->values[n->outputs[0]].rank;
    const bool queries = hold_projection(p, n->inputs[0]);
    if (hold_projection(p, n->inputs[1]) || queries) return amg_channel_unknown(p, n);
    amg_channel_freeze(p, &p->c->values[n->inputs[0]]);
    p->fixed[n->inputs[0]] = true;
    const amg_feature_list features =
        amg_channel_at(p, n, 1, amg_channel_in(p, n, 1)->rank - 1);
    return amg_channel_moved(&features, rank - 1);
}

amg_feature_list amg_channel_mat_mul(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *a = amg_channel_in(p, n, 0), *b = amg_channel_in(p, n, 1);
    if (is_param(b) && b->rank == 2 && a->rank > 1) return linear(p, n, 1);
    if (is_param(b) || b->rank < 2 || a->rank < 2 ||
        p->g->values[n->outputs[0]].rank < 2)
        return amg_channel_unknown(p, n);
    return sum_rows(p, n);
}

/* A state at the beginning, [D,N,H] or [N,D,H]. */
static void recurrent_state(amg_channel_pass *p, const amg_node *n, int i,
                            const amg_feature_list *hidden)
{
    const amg_value *v = amg_channel_in(p, n, i);
    if (!v) return;
    if (is_param(v)) {
        amg_channel_follow(p, n->inputs[i], 2, hidden);
        return;
    }
    const amg_feature_list state = amg_channel_at(p, n, i, 2);
    amg_channel_join(p, &state, hidden);
}

/* X […,…,I], W [D,G*H,I], R [D,G*H,H], B [D,2*G*H], P [D,3*H] -> Y […,…,…,H], last
 * states […,…,H]. */
amg_feature_list amg_channel_recurrent(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *w = amg_channel_in(p, n, 1), *r = amg_channel_in(p, n, 2);
    const amg_value *bias = amg_channel_in(p, n, 3), *peep = amg_channel_in(p, n, 7);
    if (!is_param(w) || !is_param(r) || (bias && !is_param(bias)) ||
        (peep && !is_param(peep)))
        return amg_channel_unknown(p, n);
    const int64_t num_gates = w->dims[1] / r->dims[2];
    const amg_feature_list in = amg_channel_at(p, n, 0, 2);
    const amg_feature_list hidden = amg_channel_open(p, r->dims[2], 2, false);
    const amg_feature_list gates = amg_channel_repeat(p, &hidden, num_gates);
    const amg_feature_list biases = amg_channel_repeat(p, &hidden, 2 * num_gates);
    amg_channel_follow(p, n->inputs[1], 1, &gates);
    amg_channel_follow(p, n->inputs[1], 2, &in);
    amg_channel_follow(p, n->inputs[2], 1, &gates);
    amg_channel_follow(p, n->inputs[2], 2, &hidden);
    const amg_feature_list peepholes = amg_channel_repeat(p, &hidden, 3);
    if (bias) amg_channel_follow(p, n->inputs[3], 1, &biases);
    if (peep) amg_channel_follow(p, n->inputs[7], 1, &peepholes);
    for (int i = 5; i < 7; i++) recurrent_state(p, n, i, &hidden);
    for (int i = 1; i < n->num_outputs; i++) p->c->values[n->outputs[i]] = hidden;
    return amg_channel_moved(&hidden, 3);
}

/* One slope, or a vector [C] or [C,1,…] of them. */
amg_feature_list amg_channel_prelu(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *x = amg_channel_in(p, n, 0), *slope = amg_channel_in(p, n, 1);
    int64_t count = 1;
    for (int i = 0; i < slope->rank; i++) count *= slope->dims[i];
    if (!is_param(slope)) return amg_channel_unknown(p, n);
    if (count == 1) return p->c->values[n->inputs[0]];
    if (slope->rank != x->rank - 1 || slope->dims[0] != count)
        return amg_channel_unknown(p, n);
    const amg_feature_list in = amg_channel_at(p, n, 0, 1);
    amg_channel_follow(p, n->inputs[1], 0, &in);
    return in;
}

/* Vectors with an element for each channel. */
amg_feature_list amg_channel_normalise(amg_channel_pass *p, const amg_node *n)
{
    if (amg_channel_in(p, n, 0)->rank < 2) return amg_channel_unknown(p, n);
    const amg_feature_list in = amg_channel_at(p, n, 0, 1);
    for (int i = 1; i < n->num_inputs; i++) amg_channel_follow(p, n->inputs[i], 0, &in);
    return in;
}

amg_feature_list amg_channel_layer_norm(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *x = amg_channel_in(p, n, 0);
    const int64_t axis = amg_attr_int(n, "axis", -1);
    if (axis != -1 && axis != x->rank - 1) return amg_channel_unknown(p, n);
    for (int i = 1; i < n->num_inputs; i++)
        if (!is_param(amg_channel_in(p, n, i))) return amg_channel_unknown(p, n);
    const amg_feature_list in = amg_channel_at(p, n, 0, x->rank - 1);
    for (int i = 1; i < n->num_inputs; i++) amg_channel_follow(p, n->inputs[i], 0, &in);
    return in;
}

/* A parameter beside an activation: its dim under the features has one element or one
 * for each. */
static amg_feature_list beside_param(amg_channel_pass *p, const amg_node *n, int param)
{
    const amg_value *vec = amg_channel_in(p, n, param);
    const amg_value *act = amg_channel_in(p, n, !param);
    const amg_feature_list *list = &p->c->values[n->inputs[!param]];
    if (vec->rank > act->rank) return amg_channel_unknown(p, n);
    const int at = list->axis - (act->rank - vec->rank);
    if (at < 0 || vec->dims[at] == 1) return *list;
    if (at < AMG_FEATURE_DIMS)
        amg_channel_follow(p, n->inputs[param], at, list);
    else
        amg_channel_freeze(p, list);
    return *list;
}

/* Two activations are tied; dims align at the end. */
amg_feature_list amg_channel_elementwise(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *a = amg_channel_in(p, n, 0), *b = amg_channel_in(p, n, 1);
    const amg_feature_list *x = &p->c->values[n->inputs[0]];
    const amg_feature_list *y = &p->c->values[n->inputs[1]];
    if (is_param(b) && !is_param(a)) return beside_param(p, n, 1);
    if (is_param(a) && !is_param(b)) return beside_param(p, n, 0);
    if (is_param(a) || b->rank < 0 || a->rank - x->axis != b->rank - y->axis)
        return amg_channel_unknown(p, n);
    amg_channel_join(p, x, y);
    return a->rank < b->rank ? *y : *x;
}
