/* See lower.h: Einsum as products of two operands at a time, from left to right. Labels
 * of two operands are
 *
 *     batch       in both, and needed later     A [batch, own, summed]
 *     summed      in both, and not needed       B [batch, summed, own]
 *     own         in one of them                A B [batch, own of A, own of B]
 *
 * A weight stands on the right of a MatMul, where linear.c makes a layer of it. */
#include "graph/einsum.h"
#include "graph/lower.h"

/* An operand on the way: the value, and the label and size of each dim. */
typedef struct {
    int value, rank;
    bool is_param;
    int label[AMG_MAX_RANK];
    int64_t dims[AMG_MAX_RANK];
} operand;

typedef struct {
    int count;
    int label[AMG_MAX_RANK];
} labels;

static int place_of(const operand *x, int label)
{
    for (int d = 0; d < x->rank; d++)
        if (x->label[d] == label) return d;
    return -1;
}

static void drop(operand *x, int at)
{
    x->rank--;
    for (int d = at; d < x->rank; d++) {
        x->label[d] = x->label[d + 1];
        x->dims[d] = x->dims[d + 1];
    }
}

static bool term_has(const amg_einsum_term *t, int label)
{
    for (int d = 0; d < t->rank; d++)
        if (t->label[d] == label) return true;
    return false;
}

/* Whether the result or an operand from first on has the label. */
static bool is_needed(const amg_einsum *e, int first, int label)
{
    for (int i = first; i < e->num_operands; i++)
        if (term_has(&e->operand[i], label)) return true;
    return term_has(&e->result, label);
}

static void permute(amg_lower *l, operand *x, const int *order)
{
    const operand old = *x;
    int64_t perm[AMG_MAX_RANK];
    bool moves = false;
    for (int d = 0; d < x->rank; d++) {
        perm[d] = order[d];
        moves = moves || order[d] != d;
        x->label[d] = old.label[order[d]];
        x->dims[d] = old.dims[order[d]];
    }
    if (moves) x->value = amg_lower_transpose(l, x->value, x->rank, perm);
}

static void reshape(amg_lower *l, operand *x, int rank, const int64_t *dims)
{
    bool same = rank == x->rank;
    for (int d = 0; d < rank && same; d++) same = dims[d] == x->dims[d];
    if (!same) x->value = amg_lower_reshape(l, x->value, rank, dims);
}

/* A label twice in one operand: its diagonal, every (n + 1)-th of n * n elements. */
static void take_diagonal(amg_lower *l, operand *x, int a, int b)
{
    int order[AMG_MAX_RANK], count = 0;
    for (int d = 0; d < x->rank; d++)
        if (d != a && d != b) order[count++] = d;
    order[count++] = a;
    order[count] = b;
    permute(l, x, order);
    const int64_t n = x->dims[x->rank - 1];
    int64_t dims[AMG_MAX_RANK];
    for (int d = 0; d < x->rank; d++) dims[d] = x->dims[d];
    dims[x->rank - 2] = n * n;
    reshape(l, x, x->rank - 1, dims);
    drop(x, x->rank - 1);
    int in[5] = {x->value, amg_lower_ints(l, 1, &(int64_t){0}),
                 amg_lower_ints(l, 1, &(int64_t){n * n}),
                 amg_lower_ints(l, 1, &(int64_t){-1}),
                 amg_lower_ints(l, 1, &(int64_t){n + 1})};
    x->value = amg_lower_node(l, AMG_OP_SLICE, 5, in, 0, NULL);
}

/* Labels that nothing else has. needed: a flag per label. */
static void sum_out(amg_lower *l, operand *x, const bool *needed)
{
    int64_t axes[AMG_MAX_RANK];
    int count = 0;
    const amg_attr keep = amg_int("keepdims", 0);
    for (int d = 0; d < x->rank; d++)
        if (!needed[x->label[d]]) axes[count++] = d;
    if (!count) return;
    x->value =
        amg_lower_node(l, AMG_OP_REDUCE_SUM, 2,
                       (int[]){x->value, amg_lower_ints(l, count, axes)}, 1, &keep);
    while (count) drop(x, (int)axes[--count]);
}

/* Operand i with every label once, those that broadcast (1 here, more elsewhere) and
 * those that only it has left out. */
static operand read_operand(amg_lower *l, const amg_einsum *e, int i,
                            const int64_t *size)
{
    const amg_value *v = amg_lower_in(l->r->g, l->node, i);
    operand x = {.value = amg_lower_value(l, i),
                 .rank = v->rank,
                 .is_param = amg_lower_is_weight(l->r->g, v)};
    for (int d = 0; d < v->rank; d++) {
        x.label[d] = e->operand[i].label[d];
        x.dims[d] = v->dims[d];
    }
    for (int b = 1; b < x.rank; b++) {
        const int a = place_of(&x, x.label[b]);
        if (a == b) continue;
        take_diagonal(l, &x, a, b);
        b = 0;
    }
    operand thin = x;
    for (int d = thin.rank - 1; d >= 0; d--)
        if (thin.dims[d] == 1 && size[thin.label[d]] != 1) drop(&thin, d);
    if (thin.rank < x.rank)
        thin.value = amg_lower_reshape(l, x.value, thin.rank, thin.dims);
    bool needed[AMG_EINSUM_LABELS];
    for (int k = 0; k < AMG_EINSUM_LABELS; k++) {
        needed[k] = term_has(&e->result, k);
        for (int o = 0; o < e->num_operands && !needed[k]; o++)
            needed[k] = o != i && term_has(&e->operand[o], k);
    }
    sum_out(l, &thin, needed);
    return thin;
}

static void sort_labels(const amg_einsum *e, int next, const operand *a,
                        const operand *b, labels *batch, labels *summed, labels *own)
{
    *batch = *summed = *own = (labels){0};
    for (int d = 0; d < a->rank; d++) {
        const int label = a->label[d];
        labels *to = place_of(b, label) < 0      ? own
                     : is_needed(e, next, label) ? batch
                                                 : summed;
        to->label[to->count++] = label;
    }
}

/* x's dims in the order of three lists of labels. */
static void order_by(amg_lower *l, operand *x, const labels *first,
                     const labels *second, const labels *third)
{
    const labels *lists[3] = {first, second, third};
    int order[AMG_MAX_RANK], count = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < lists[i]->count; k++)
            order[count++] = place_of(x, lists[i]->label[k]);
    permute(l, x, order);
}

/* Product of count dims from first on; negative with the batch in it. */
static int64_t product(const operand *x, int first, int count)
{
    int64_t all = 1;
    for (int d = first; d < first + count; d++) all *= x->dims[d];
    return all;
}

/* The result's labels: batch, own of a, own of b. */
static operand joined(const operand *a, const operand *b, const labels *batch,
                      const labels *own_a, const labels *own_b)
{
    operand y = {0};
    const labels *lists[3] = {batch, own_a, own_b};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < lists[i]->count; k++) {
            const operand *x = i == 2 ? b : a;
            y.dims[y.rank] = x->dims[place_of(x, lists[i]->label[k])];
            y.label[y.rank++] = lists[i]->label[k];
        }
    return y;
}

/* count new dims of 1 from axis at on. A Reshape that begins with a number would be
 * taken for one into which an exporter baked its batch. */
static int widen(amg_lower *l, int value, int at, int count)
{
    int64_t axes[AMG_MAX_RANK];
    for (int i = 0; i < count; i++) axes[i] = at + i;
    if (count == 0) return value;
    return amg_lower_binary(l, AMG_OP_UNSQUEEZE, value, amg_lower_ints(l, count, axes));
}

static operand multiply(amg_lower *l, operand a, operand b, const labels *batch,
                        const labels *own_a, const labels *own_b)
{
    const labels none = {0};
    operand y = joined(&a, &b, batch, own_a, own_b);
    order_by(l, &a, batch, own_a, &none);
    order_by(l, &b, batch, own_b, &none);
    y.value = amg_lower_binary(l, AMG_OP_MUL, widen(l, a.value, a.rank, own_b->count),
                               widen(l, b.value, batch->count, own_a->count));
    return y;
}

static operand contract(amg_lower *l, operand a, operand b, const labels *batch,
                        const labels *summed, const labels *own_a, const labels *own_b)
{
    const int lead = batch->count;
    operand y = joined(&a, &b, batch, own_a, own_b), made = {0};
    int64_t dims[AMG_MAX_RANK];
    order_by(l, &a, batch, own_a, summed);
    order_by(l, &b, batch, summed, own_b);
    /* Rows are one dim; without a batch they stay apart, as the result has them. */
    made.rank = lead == 0 ? own_a->count : lead + (own_a->count > 0);
    for (int d = 0; d < made.rank; d++) made.dims[d] = dims[d] = a.dims[d];
    if (lead > 0 && own_a->count > 0)
        made.dims[lead] = dims[lead] = product(&a, lead, own_a->count);
    dims[made.rank] = product(&a, lead + own_a->count, summed->count);
    reshape(l, &a, made.rank + 1, dims);
    if (own_a->count == 0) {
        a.value = widen(l, a.value, lead, 1);
        made.dims[made.rank++] = 1;
    }
    for (int d = 0; d < lead; d++) dims[d] = b.dims[d];
    dims[lead] = product(&b, lead, summed->count);
    dims[lead + 1] = product(&b, lead + summed->count, own_b->count);
    made.dims[made.rank++] = dims[lead + 1];
    if (own_b->count == 0) {
        reshape(l, &b, lead + 1, dims);
        b.value = widen(l, b.value, lead + 1, 1);
    } else {
        reshape(l, &b, lead + 2, dims);
    }
    made.value = amg_lower_binary(l, AMG_OP_MAT_MUL, a.value, b.value);
    reshape(l, &made, y.rank, y.dims);
    y.value = made.value;
    return y;
}

/* next: the first operand that is not yet in a or b. */
static operand join(amg_lower *l, const amg_einsum *e, int next, operand a, operand b)
{
    labels batch, summed, own_a, own_b, unused[2];
    sort_labels(e, next, &a, &b, &batch, &summed, &own_a);
    if (a.is_param && !b.is_param && batch.count == 0) {
        const operand swap = a;
        a = b;
        b = swap;
        sort_labels(e, next, &a, &b, &batch, &summed, &own_a);
    }
    sort_labels(e, next, &b, &a, &unused[0], &unused[1], &own_b);
    if (summed.count == 0) return multiply(l, a, b, &batch, &own_a, &own_b);
    return contract(l, a, b, &batch, &summed, &own_a, &own_b);
}

static void lower(amg_lower *l, int *out)
{
    const amg_graph *g = l->r->g;
    int ranks[AMG_EINSUM_OPERANDS], order[AMG_MAX_RANK];
    int64_t size[AMG_EINSUM_LABELS];
    amg_einsum e;
    for (int i = 0; i < l->node->num_inputs; i++)
        ranks[i] = amg_lower_in(g, l->node, i)->rank;
    if (amg_einsum_parse(amg_attr_string(l->node, "equation", ""), l->node->num_inputs,
                         ranks, &e))
        return; /* the shape rule has refused it */
    for (int k = 0; k < AMG_EINSUM_LABELS; k++) size[k] = 1;
    for (int i = 0; i < e.num_operands; i++)
        for (int d = 0; d < ranks[i]; d++) {
            const int64_t dim = amg_lower_in(g, l->node, i)->dims[d];
            if (dim != 1) size[e.operand[i].label[d]] = dim;
        }
    operand y = read_operand(l, &e, 0, size);
    for (int i = 1; i < e.num_operands; i++)
        y = join(l, &e, i + 1, y, read_operand(l, &e, i, size));
    bool needed[AMG_EINSUM_LABELS]; /* what another operand had with size 1 is left */
    for (int k = 0; k < AMG_EINSUM_LABELS; k++) needed[k] = term_has(&e.result, k);
    sum_out(l, &y, needed);
    for (int d = 0; d < e.result.rank; d++) order[d] = place_of(&y, e.result.label[d]);
    permute(l, &y, order);
    out[0] = y.value;
}

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

const amg_lower_rule amg_lower_einsum = {always, lower};
