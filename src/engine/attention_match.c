/* Finds attention in a graph (attention.h). From the last MatMul upwards:
 *
 *     MatMul([Dropout] [Where] Softmax([Add mask] [Where] [Mul, Div by a number]
 *            MatMul(q, k)), v)
 *
 * where the Add may stand behind the inner Where, too; this takes a number in place of
 * some scores, and the outer one 0 in place of their weights; q, k and v come by a
 * chain of views (strided.h) and Mul, Div by numbers, and the result goes on through
 * views. Values on the way must have no other reader. */
#include <string.h>

#include "engine/attention.h"
#include "engine/strided.h"
#include "graph/drop_mask.h"

#define MAX_CHAIN 16

/* value[0] is the operand, value[i] what node[i] makes of value[i+1]; the last one is
 * the root. */
typedef struct {
    int length;
    int node[MAX_CHAIN], value[MAX_CHAIN + 1];
    bool is_view[MAX_CHAIN];
    float scale[MAX_CHAIN]; /* 1 of a view */
} chain;

/* A Where with a number on one side: what it takes where its condition is `kept`. */
typedef struct {
    int condition; /* AMG_NO_VALUE: there is none */
    bool kept;
    float instead;
} choice;

typedef struct {
    amg_plan *p;
    int owner, scores; /* the MatMul nodes */
    float scale;
    int mask;
    choice seen;
    bool hides;                                /* weights, too */
    bool masked_first;                         /* the choice is of masked scores */
    int dropout;                               /* node, -1: none */
    int num_inside, inside[6 + 2 * MAX_CHAIN]; /* nodes other than the chains' */
    int last;                                  /* of the views that follow, -1: none */
    chain chain[3];                            /* Q, K, V */
} match;

/* The node that makes value, unless another computes it too. */
static int maker(const amg_plan *p, int value)
{
    const amg_value *v = amg_plan_value(p, value);
    if (v->kind != AMG_VALUE_ACTIVATION || v->dtype != AMG_F32) return -1;
    return p->nodes[v->producer].absorbed ? -1 : v->producer;
}

/* The node that makes value, if nobody else reads that: it will not be computed. */
static int private_maker(const amg_plan *p, int value)
{
    return p->values[value].num_uses == 1 ? maker(p, value) : -1;
}

static bool is_number(const amg_plan *p, int value, float *out)
{
    const amg_tensor *t = amg_plan_constant(p, value);
    if (!t || t->dtype != AMG_F32 || amg_tensor_count(t) != 1) return false;
    *out = *(const float *)t->data;
    return true;
}

/* What a Mul or Div by a number multiplies, and by how much; else AMG_NO_VALUE. */
static int scaled(const amg_plan *p, int node, float *by)
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

/* ---- chains ---- */

/* All that may be a view; multiples too, if they may be. */
static void climb(const amg_plan *p, int value, bool multiples, chain *c)
{
    c->length = 0;
    c->value[0] = value;
    while (c->length < MAX_CHAIN) {
        const int node = maker(p, value);
        if (node < 0 || amg_plan_node(p, node)->num_inputs == 0 ||
            (p->options.training && !amg_plan_needs_grad(p, value)))
            return;
        float by = 1;
        int x = multiples ? scaled(p, node, &by) : AMG_NO_VALUE;
        c->node[c->length] = node;
        c->is_view[c->length] = x == AMG_NO_VALUE;
        c->scale[c->length++] = by;
        value = x == AMG_NO_VALUE ? amg_plan_node(p, node)->inputs[0] : x;
        c->value[c->length] = value;
    }
}

/* Where the operand's elements stand in its root; false: not without a copy. */
static bool locate(amg_plan *p, const chain *c, amg_strided *out)
{
    amg_strided_init(amg_plan_value(p, c->value[c->length]), out);
    for (int i = c->length - 1; i >= 0; i--)
        if (c->is_view[i] && !amg_strided_apply(p, c->node[i], c->value[i], out))
            return false;
    return true;
}

/* How often the chains read value. */
static int uses_inside(const match *m, int value)
{
    int uses = 0, seen[3 * MAX_CHAIN], num_seen = 0;
    for (int k = 0; k < 3; k++) {
        const chain *c = &m->chain[k];
        uses += c->value[0] == value;
        for (int i = 0; i < c->length; i++) {
            if (c->value[i + 1] != value) continue;
            bool again = false;
            for (int j = 0; j < num_seen; j++) again |= seen[j] == c->node[i];
            if (!again) seen[num_seen++] = c->node[i];
        }
    }
    return uses + num_seen;
}

/* Whether somebody else needs what node makes. */
static bool is_shared(const match *m, int node)
{
    const amg_node *n = amg_plan_node(m->p, node);
    for (int i = 0; i < n->num_outputs; i++)
        if (n->outputs[i] != AMG_NO_VALUE &&
            uses_inside(m, n->outputs[i]) != m->p->values[n->outputs[i]].num_uses)
            return true;
    return false;
}

/* Shortens the chains to what is read through without a copy and by nobody else. */
static void cut(match *m)
{
    amg_strided at;
    for (bool again = true; again;) {
        again = false;
        for (int k = 0; k < 3; k++) {
            chain *c = &m->chain[k];
            const int before = c->length;
            while (!locate(m->p, c, &at)) c->length--;
            for (int i = 0; i < c->length; i++)
                if (is_shared(m, c->node[i])) c->length = i;
            again |= c->length != before;
        }
    }
}

/* ---- between the two MatMuls ---- */

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
static bool take_scores(match *m, int value)
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
        value = scaled(m->p, node, &by);
        if (value == AMG_NO_VALUE || m->num_inside - num_inside == MAX_CHAIN) break;
        m->scale *= by;
        m->inside[m->num_inside++] = node;
    }
    m->num_inside = num_inside;
    return false;
}

/* What a Where chooses where it takes no number, and how; else AMG_NO_VALUE. */
static int chosen(const amg_plan *p, int node, choice *how)
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
static bool take_masked(match *m, int value)
{
    const amg_plan *p = m->p;
    const amg_value *scores = amg_plan_value(p, value);
    const int num_inside = m->num_inside, node = private_maker(p, value);
    choice how;
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
static bool take_softmax(match *m, int node)
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
static bool take_weights(match *m, int value)
{
    const amg_plan *p = m->p;
    choice hidden;
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

/* ---- where the matrices are ---- */

/* Whether some steps along the axes from a on lead offset far: fewer either way than
 * the axis has elements. Axes by stride, the longest first. */
static bool reaches(const amg_walk *w, int a, int64_t offset)
{
    int64_t rest = 0;
    if (a == w->rank) return offset == 0;
    for (int i = a + 1; i < w->rank; i++) rest += (w->dims[i] - 1) * w->stride[i];
    for (int64_t step = 1 - w->dims[a]; step < w->dims[a]; step++) {
        const int64_t left = offset - step * w->stride[a];
        if (left >= -rest && left <= rest && reaches(w, a + 1, left)) return true;
    }
    return false;
}

/* By stride, the longest first, joined where they follow each other. */
static void sort_axes(amg_walk *w)
{
    for (int i = 1; i < w->rank; i++)
        for (int j = i; j > 0 && w->stride[j] > w->stride[j - 1]; j--) {
            const int64_t stride = w->stride[j], dim = w->dims[j];
            w->stride[j] = w->stride[j - 1];
            w->dims[j] = w->dims[j - 1];
            w->stride[j - 1] = stride;
            w->dims[j - 1] = dim;
        }
    const amg_walk sorted = *w;
    amg_walk_init(w, sorted.rank, sorted.dims, sorted.stride, sorted.base);
}

/* Whether an element may be part of both operands. */
static bool overlap(const match *m, int j, int k)
{
    const chain *c[2] = {&m->chain[j], &m->chain[k]};
    amg_walk w[2];
    if (c[0]->value[c[0]->length] != c[1]->value[c[1]->length]) return false;
    for (int i = 0; i < 2; i++) {
        amg_strided at;
        if (!locate(m->p, c[i], &at)) return true;
        amg_strided_walk(&at, 0, at.rank, at.base, &w[i]);
        sort_axes(&w[i]);
        if (w[i].stride[w[i].rank - 1] < 0) return true;
    }
    if (w[0].rank != w[1].rank) return true;
    for (int d = 0; d < w[0].rank; d++)
        if (w[0].dims[d] != w[1].dims[d] || w[0].stride[d] != w[1].stride[d])
            return true;
    return reaches(&w[0], 0, w[1].base - w[0].base);
}

/* Whether gradients of the operands can be written side by side. */
static bool are_apart(const match *m)
{
    return !overlap(m, AMG_Q, AMG_K) && !overlap(m, AMG_Q, AMG_V) &&
           !overlap(m, AMG_K, AMG_V);
}

/* Elements [.., rows, cols] of s, or [.., cols, rows]; false: columns are no stride. */
static bool set_matrices(amg_plan *p, const amg_strided *s, bool transposed,
                         amg_matrices *out)
{
    const int lead = s->rank - 2;
    amg_walk row, col;
    amg_strided_walk(s, 0, lead, s->base, &out->batch);
    amg_strided_walk(s, lead + transposed, lead + transposed + 1, 0, &row);
    amg_strided_walk(s, lead + !transposed, lead + !transposed + 1, 0, &col);
    if (col.rank != 1) return false;
    out->rows = row.count;
    out->cols = col.count;
    out->col = col.stride[0];
    out->row = amg_plan_alloc(p, (size_t)row.count, sizeof *out->row);
    for (int64_t r = 0; r < row.count && out->row; r++)
        out->row[r] = amg_walk_at(&row, r);
    return !p->status;
}

static bool set_mask(amg_plan *p, int mask, const amg_value *scores, amg_matrices *out)
{
    const amg_value *v = amg_plan_value(p, mask);
    amg_strided s = {.rank = scores->rank};
    int64_t stride[AMG_MAX_RANK];
    (void)amg_walk_broadcast(v->rank, v->dims, scores->rank, scores->dims, stride);
    for (int d = 0; d < scores->rank; d++) {
        s.first[d] = d;
        s.size[d] = scores->dims[d];
        s.stride[d] = stride[d];
    }
    s.first[scores->rank] = s.num_axes = scores->rank;
    return set_matrices(p, &s, false, out);
}

/* The node that reads value, if there is only one reader. */
static int only_reader(const amg_plan *p, int value)
{
    if (p->values[value].num_uses != 1) return -1;
    for (int i = 0; i < p->num_nodes; i++) {
        const amg_node *n = amg_plan_node(p, p->order[i]);
        for (int j = 0; j < n->num_inputs; j++)
            if (n->inputs[j] == value) return p->order[i];
    }
    return -1;
}

/* O's place at the end of the views that follow; those are found here, and written to
 * inside. Its value. */
static int follow(match *m, amg_strided *out)
{
    amg_plan *p = m->p;
    const int y = amg_plan_node(p, m->owner)->outputs[0];
    int last = y, views[MAX_CHAIN], num = 0;
    for (; num < MAX_CHAIN; num++) {
        const int node = only_reader(p, last);
        amg_strided probe;
        if (node < 0) break;
        amg_strided_init(amg_plan_value(p, amg_plan_node(p, node)->outputs[0]), &probe);
        if (!amg_strided_undo(p, node, &probe)) break;
        views[num] = node;
        last = amg_plan_node(p, node)->outputs[0];
    }
    for (;; num--) {
        last = num ? amg_plan_node(p, views[num - 1])->outputs[0] : y;
        amg_strided_init(amg_plan_value(p, last), out);
        bool good = true;
        for (int i = num - 1; i >= 0 && good; i--)
            good = amg_strided_undo(p, views[i], out);
        if (good) break;
    }
    for (int i = 0; i < num; i++) m->inside[m->num_inside++] = views[i];
    m->last = num ? views[num - 1] : -1;
    return last;
}

/* Matrices of the same number, shapes that meet, no broadcasting. */
static bool is_plain(const amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *a = amg_plan_value(p, n->inputs[0]);
    const amg_value *b = amg_plan_value(p, n->inputs[1]);
    if (a->rank != b->rank || a->rank < 3 || a->dtype != AMG_F32) return false;
    for (int d = 0; d < a->rank - 2; d++)
        if (a->dims[d] != b->dims[d]) return false;
    return true;
}

static void set_shape(const match *m, amg_attention *a)
{
    const amg_value *v = amg_plan_value(m->p, m->chain[AMG_V].value[0]);
    const amg_value *q = amg_plan_value(m->p, m->chain[AMG_Q].value[0]);
    a->batch = 1;
    for (int d = 0; d < q->rank - 2; d++) a->batch *= q->dims[d];
    a->l = q->dims[q->rank - 2];
    a->d = q->dims[q->rank - 1];
    a->s = v->dims[v->rank - 2];
    a->e = v->dims[v->rank - 1];
    a->scale = m->scale;
    a->dropout = m->dropout;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < m->chain[k].length; i++) a->scale *= m->chain[k].scale[i];
}

static bool place(match *m, amg_attention *a)
{
    amg_plan *p = m->p;
    amg_strided at;
    if (p->options.training && !are_apart(m)) return false;
    set_shape(m, a);
    for (int k = 0; k < 3; k++) {
        const chain *c = &m->chain[k];
        a->value[k] = c->value[c->length];
        if (!locate(p, c, &at) || !set_matrices(p, &at, k == AMG_K, &a->at[k]))
            return false;
    }
    a->value[AMG_MASK] = m->mask;
    a->value[AMG_SEEN] = m->seen.condition;
    a->kept = m->seen.kept;
    a->instead = m->seen.instead;
    a->hides = m->hides;
    a->masked_first = m->masked_first;
    const amg_value *scores =
        amg_plan_value(p, amg_plan_node(p, m->scores)->outputs[0]);
    for (int k = AMG_MASK; k <= AMG_SEEN; k++)
        if (a->value[k] != AMG_NO_VALUE && !set_mask(p, a->value[k], scores, &a->at[k]))
            return false;
    a->value[AMG_O] = follow(m, &at);
    return set_matrices(p, &at, false, &a->at[AMG_O]);
}

void amg_attention_prepare(amg_plan *p, int node)
{
    match m = {.p = p,
               .owner = node,
               .mask = AMG_NO_VALUE,
               .seen = {.condition = AMG_NO_VALUE},
               .dropout = -1};
    const amg_node *n = amg_plan_node(p, node);
    if (!is_plain(p, node) || !take_weights(&m, n->inputs[0]) || !is_plain(p, m.scores))
        return;
    const amg_node *scores = amg_plan_node(p, m.scores);
    climb(p, scores->inputs[0], true, &m.chain[AMG_Q]);
    climb(p, scores->inputs[1], true, &m.chain[AMG_K]);
    climb(p, n->inputs[1], false, &m.chain[AMG_V]);
    cut(&m);
    amg_attention *a = amg_plan_alloc(p, 1, sizeof *a);
    if (!a || !place(&m, a)) return;
    for (int i = 0; i < m.num_inside; i++) p->nodes[m.inside[i]].absorbed = true;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < m.chain[k].length; i++)
            p->nodes[m.chain[k].node[i]].absorbed = true;
    p->nodes[node].fused = m.last;
    p->nodes[node].self = a;
    p->nodes[node].row = &amg_attention_row;
}
