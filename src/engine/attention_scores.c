/* What stands between the two MatMuls of an attention (attention_match.c):
 *
 *     [Dropout] [Where] Softmax([Add mask] [Where] [Mul, Div by a number] MatMul(q, k))
 *
 * The Add may stand behind the inner Where, too, which takes a number in place of some
 * scores; the outer one has 0 in place of their weights. */
#include <string.h>

#include "engine/attention_match.h"
#include "graph/drop_mask.h"

int amg_attention_maker(const amg_plan *p, int value)
{
    const amg_value *v = amg_plan_value(p, value);
    if (v->kind != AMG_VALUE_ACTIVATION || v->dtype != AMG_F32) return -1;
    return p->nodes[v->producer].absorbed ? -1 : v->producer;
}

/* The node that makes value, if nobody else reads that: it will not be computed. */
static int private_maker(const amg_plan *p, int value)
{
    return p->values[value].num_uses == 1 ? amg_attention_maker(p, value) : -1;
}

static bool is_number(const amg_plan *p, int value, float *out)
{
    const amg_tensor *t = amg_plan_constant(p, value);
    if (!t || t->dtype != AMG_F32 || amg_tensor_count(t) != 1) return false;
    *out = *(const float *)t->data;
    return true;
}

int amg_attention_scaled(const amg_plan *p, int node, float *by)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    float number = 0;
    int x = AMG_NO_VALUE;
    if (n->op != AMG_OP_MUL && n->op != AMG_OP_DIV) return AMG_NO_VALUE;
    if (is_number(p, n->inputs[1], &number))
        x = n->inputs[0];
    else if (n->op == AMG_OP_MUL && is_number(p, n->inputs[0], &number))
        x = n->inputs[1];
    if (x == AMG_NO_VALUE || amg_plan_value(p, x)->rank != y->rank) return AMG_NO_VALUE;
    *by = n->op == AMG_OP_DIV ? 1 / number : number;
    return x;
}

/* Whether value broadcasts to the scores. */
static bool spreads(const amg_plan *p, int value, const amg_value *scores)
{
    const amg_value *v = amg_plan_value(p, value);
    if (v->rank > scores->rank) return false;
    for (int d = 1; d <= v->rank; d++)
        if (v->dims[v->rank - d] != 1 &&
            v->dims[v->rank - d] != scores->dims[scores->rank - d])
            return false;
    return true;
}

static bool is_mask(const amg_plan *p, int value, const amg_value *scores)
{
    const amg_value *v = amg_plan_value(p, value);
    return v->dtype == AMG_F32 && !amg_plan_needs_grad(p, value) &&
           spreads(p, value, scores) &&
           !(v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_TRAINABLE);
}

/* Whether value is scores of two operands, perhaps scaled; takes that in. */
static bool take_scores(amg_attention_match *m, int value)
{
    float by;
    const int num_inside = m->num_inside;
    m->scale = 1;
    for (int node = private_maker(m->p, value); node >= 0;
         node = private_maker(m->p, value)) {
        if (amg_plan_node(m->p, node)->op == AMG_OP_MAT_MUL) {
            m->scores = node;
            m->inside[m->num_inside++] = node;
            return true;
        }
        value = amg_attention_scaled(m->p, node, &by);
        if (value == AMG_NO_VALUE || m->num_inside - num_inside == AMG_MAX_CHAIN) break;
        m->scale *= by;
        m->inside[m->num_inside++] = node;
    }
    m->num_inside = num_inside;
    return false;
}

/* What a Where chooses where it takes no number, and how; else AMG_NO_VALUE. */
static int chosen(const amg_plan *p, int node, amg_attention_choice *how)
{
    if (node < 0) return AMG_NO_VALUE;
    const amg_node *n = amg_plan_node(p, node);
    if (n->op != AMG_OP_WHERE) return AMG_NO_VALUE;
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    for (int i = 1; i < 3; i++) {
        const amg_value *x = amg_plan_value(p, n->inputs[i]);
        if (!is_number(p, n->inputs[3 - i], &how->instead) || x->rank != y->rank ||
            memcmp(x->dims, y->dims, sizeof *x->dims * (size_t)x->rank) != 0 ||
            !spreads(p, n->inputs[0], y))
            continue;
        how->condition = n->inputs[0];
        how->kept = i == 1;
        return n->inputs[i];
    }
    return AMG_NO_VALUE;
}

/* Scores, perhaps with a mask on them, and some of them chosen, in either order. */
static bool take_masked(amg_attention_match *m, int value)
{
    const amg_plan *p = m->p;
    const amg_value *scores = amg_plan_value(p, value);
    const int num_inside = m->num_inside, node = private_maker(p, value);
    amg_attention_choice how;
    if (take_scores(m, value)) return true;
    if (node < 0) return false;
    m->inside[m->num_inside++] = node;
    value = m->seen.condition == AMG_NO_VALUE ? chosen(p, node, &how) : AMG_NO_VALUE;
    if (value != AMG_NO_VALUE) {
        m->seen = how;
        if (take_masked(m, value)) return true;
        m->seen.condition = AMG_NO_VALUE;
    }
    if (amg_plan_node(p, node)->op == AMG_OP_ADD && m->mask == AMG_NO_VALUE) {
        m->masked_first = m->seen.condition != AMG_NO_VALUE;
        for (int i = 0; i < 2; i++) {
            m->mask = amg_plan_input_value(p, node, 1 - i);
            if (is_mask(p, m->mask, scores) &&
                take_masked(m, amg_plan_input_value(p, node, i)))
                return true;
        }
        m->mask = AMG_NO_VALUE;
    }
    m->num_inside = num_inside;
    return false;
}

/* Whether it draws for every element, and only its first output is read. */
static bool is_dropout(const amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    return n->op == AMG_OP_DROPOUT && !amg_attr_find(n, AMG_DROP_AXES) &&
           (n->num_outputs < 2 || n->outputs[1] == AMG_NO_VALUE ||
            p->values[n->outputs[1]].num_uses == 0);
}

/* Softmax over the last dim of scores. */
static bool take_softmax(amg_attention_match *m, int node)
{
    const amg_plan *p = m->p;
    if (node < 0 || amg_plan_node(p, node)->op != AMG_OP_SOFTMAX) return false;
    const amg_node *softmax = amg_plan_node(p, node);
    const int64_t axis = amg_attr_int(softmax, "axis", -1);
    if (axis != -1 && axis != amg_plan_value(p, softmax->inputs[0])->rank - 1)
        return false;
    m->inside[m->num_inside++] = node;
    return take_masked(m, softmax->inputs[0]);
}

/* Weights, perhaps dropped, or none where a Where hides them as it does their scores.
 */
bool amg_attention_take_weights(amg_attention_match *m, int value)
{
    const amg_plan *p = m->p;
    amg_attention_choice hidden;
    int node = private_maker(p, value);
    if (node >= 0 && is_dropout(p, node)) {
        m->dropout = m->inside[m->num_inside++] = node;
        node = private_maker(p, amg_plan_input_value(p, node, 0));
    }
    const int weights = chosen(p, node, &hidden);
    if (weights == AMG_NO_VALUE) return take_softmax(m, node);
    m->inside[m->num_inside++] = node;
    m->hides = take_softmax(m, private_maker(p, weights)) && hidden.instead == 0 &&
               hidden.condition == m->seen.condition && hidden.kept == m->seen.kept;
    return m->hides;
}
