/* Finds attention in a graph (attention.h). From the last MatMul upwards:
 *
 *     MatMul([Dropout] [Where] Softmax([Add mask] [Where] [Mul, Div by a number]
 *            MatMul(q, k)), v)
 *
 * where q, k and v come by a chain of views (strided.h) and Mul, Div by numbers, and
 * the result goes on through views. Values on the way must have no other reader. What
 * stands between the two MatMuls is attention_scores.c's. */
#include "engine/attention_match.h"

/* ---- chains ---- */

/* All that may be a view; multiples too, if they may be. */
static void climb(const amg_plan *p, int value, bool multiples, amg_attention_chain *c)
{
    c->length = 0;
    c->value[0] = value;
    while (c->length < AMG_MAX_CHAIN) {
        const int node = amg_attention_maker(p, value);
        if (node < 0 || amg_plan_node(p, node)->num_inputs == 0 ||
            (p->options.training && !amg_plan_needs_grad(p, value)))
            return;
        float by = 1;
        int x = multiples ? amg_attention_scaled(p, node, &by) : AMG_NO_VALUE;
        c->node[c->length] = node;
        c->is_view[c->length] = x == AMG_NO_VALUE;
        c->scale[c->length++] = by;
        value = x == AMG_NO_VALUE ? amg_plan_node(p, node)->inputs[0] : x;
        c->value[c->length] = value;
    }
}

/* Where the operand's elements stand in its root; false: not without a copy. */
static bool locate(amg_plan *p, const amg_attention_chain *c, amg_strided *out)
{
    amg_strided_init(amg_plan_value(p, c->value[c->length]), out);
    for (int i = c->length - 1; i >= 0; i--)
        if (c->is_view[i] && !amg_strided_apply(p, c->node[i], c->value[i], out))
            return false;
    return true;
}

/* How often the chains read value. */
static int uses_inside(const amg_attention_match *m, int value)
{
    int uses = 0, seen[3 * AMG_MAX_CHAIN], num_seen = 0;
    for (int k = 0; k < 3; k++) {
        const amg_attention_chain *c = &m->chain[k];
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
static bool is_shared(const amg_attention_match *m, int node)
{
    const amg_node *n = amg_plan_node(m->p, node);
    for (int i = 0; i < n->num_outputs; i++)
        if (n->outputs[i] != AMG_NO_VALUE &&
            uses_inside(m, n->outputs[i]) != m->p->values[n->outputs[i]].num_uses)
            return true;
    return false;
}

/* Shortens the chains to what is read through without a copy and by nobody else. */
static void cut(amg_attention_match *m)
{
    amg_strided at;
    for (bool again = true; again;) {
        again = false;
        for (int k = 0; k < 3; k++) {
            amg_attention_chain *c = &m->chain[k];
            const int before = c->length;
            while (!locate(m->p, c, &at)) c->length--;
            for (int i = 0; i < c->length; i++)
                if (is_shared(m, c->node[i])) c->length = i;
            again |= c->length != before;
        }
    }
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
static bool overlap(const amg_attention_match *m, int j, int k)
{
    const amg_attention_chain *c[2] = {&m->chain[j], &m->chain[k]};
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
static bool are_apart(const amg_attention_match *m)
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
static int follow(amg_attention_match *m, amg_strided *out)
{
    amg_plan *p = m->p;
    const int y = amg_plan_node(p, m->owner)->outputs[0];
    int last = y, views[AMG_MAX_CHAIN], num = 0;
    for (; num < AMG_MAX_CHAIN; num++) {
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

static void set_shape(const amg_attention_match *m, amg_attention *a)
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

static bool place(amg_attention_match *m, amg_attention *a)
{
    amg_plan *p = m->p;
    amg_strided at;
    if (p->options.training && !are_apart(m)) return false;
    set_shape(m, a);
    for (int k = 0; k < 3; k++) {
        const amg_attention_chain *c = &m->chain[k];
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
    amg_attention_match m = {.p = p,
                             .owner = node,
                             .mask = AMG_NO_VALUE,
                             .seen = {.condition = AMG_NO_VALUE},
                             .dropout = -1};
    const amg_node *n = amg_plan_node(p, node);
    if (!is_plain(p, node) || !amg_attention_take_weights(&m, n->inputs[0]) ||
        !is_plain(p, m.scores))
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
