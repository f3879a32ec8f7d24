/* See batch_order.h. Each value of the graph is followed with the order in which it has
 * the samples; the copy that is made has all of them in their own. */
#include "graph/batch_order.h"

#include "base/alloc.h"
#include "graph/eval.h"
#include "graph/eval_number.h"
#include "graph/infer.h"
#include "graph/pattern.h"
#include "graph/replace.h"

/* How a value has the samples. PLACES is the order of a sort, as an index; BACK that of
 * the way back. */
typedef enum { FREE, OWN, SORTED, PLACES, BACK, LOST } order_kind;

typedef struct {
    order_kind kind;
    int sort; /* node of the TopK */
} order;

typedef struct {
    amg_replace base;
    const amg_graph *g;
    order *orders; /* per value */
    amg_error *err;
} pass;

static amg_status refuse(const pass *p, const amg_node *node, const char *what)
{
    const amg_status s = amg_node_fail(node, AMG_UNSUPPORTED, p->err, "%s", what);
    amg_hint(p->err,
             "pack_padded_sequence(x, lengths, enforce_sorted=False) sorts the samples "
             "and puts them back by itself; sort nothing around it");
    return s;
}

/* ---- sorts and indices ---- */

/* Input i as the copy has it; NULL if the builder has failed. */
static const amg_value *input(const pass *p, const amg_node *n, int i)
{
    return amg_builder_value(p->base.b, p->base.map[n->inputs[i]]);
}

/* A TopK of all samples. */
static bool is_sort(const pass *p, const amg_node *n)
{
    int64_t k;
    int count;
    if (n->op != AMG_OP_TOP_K) return false;
    const amg_value *x = input(p, n, 0);
    return x && x->rank == 1 && x->dims[0] == AMG_DIM_BATCH &&
           amg_value_shape(input(p, n, 1), 1, &k, &count) && amg_eval_batches(k) == 1;
}

/* Whether a value counts 0, 1, 2 … to a number that is not constant. */
static bool counts_up(const pass *p, int value)
{
    const int reshaped = amg_graph_operand(p->g, value, AMG_OP_RESHAPE);
    const amg_node *n = amg_graph_maker(
        p->g, reshaped == AMG_NO_VALUE ? value : reshaped, AMG_OP_RANGE);
    return n && amg_graph_is_number(p->g, n->inputs[0], 0) &&
           amg_graph_is_number(p->g, n->inputs[2], 1);
}

static order order_of(const pass *p, const amg_node *n, int i)
{
    return i < n->num_inputs && n->inputs[i] != AMG_NO_VALUE ? p->orders[n->inputs[i]]
                                                             : (order){FREE, -1};
}

/* Whether a node inverts PLACES: counts, written to where they say. */
static bool is_inverse(const pass *p, const amg_node *n)
{
    const bool scatters =
        n->op == AMG_OP_SCATTER_ELEMENTS || n->op == AMG_OP_SCATTER_ND;
    return scatters && order_of(p, n, 0).kind == FREE &&
           order_of(p, n, 1).kind == PLACES && counts_up(p, n->inputs[2]) &&
           !amg_attr_find(n, "reduction");
}

/* The dim along which a Gather takes; 0: not known. */
static int64_t gathered_dim(const pass *p, const amg_node *n)
{
    const amg_value *x = input(p, n, 0);
    const int axis =
        x && x->rank > 0 ? amg_axis_find(amg_attr_int(n, "axis", 0), x->rank) : -1;
    return axis < 0 ? 0 : x->dims[axis];
}

/* A Gather of whole samples, one for each of a vector. */
static bool gathers_samples(const pass *p, const amg_node *n)
{
    if (n->op != AMG_OP_GATHER || gathered_dim(p, n) != AMG_DIM_BATCH) return false;
    const amg_value *index = input(p, n, 1);
    return index && index->rank == 1;
}

/* ---- what does the same to a sample wherever it stands ---- */

/* Product of the dims before the one with the batch; *times: what multiplies it there.
 * -1: there is none. */
static int64_t before_batch(const amg_value *v, int64_t *times)
{
    int64_t before = 1;
    for (int i = 0; i < v->rank; i++) {
        *times = -v->dims[i];
        if (v->dims[i] < 0) return before;
        before *= v->dims[i];
    }
    return -1;
}

static bool is_by_sample(const pass *p, const amg_node *n)
{
    const amg_value *v = amg_builder_value(p->base.b, p->base.map[n->outputs[0]]);
    int64_t times, own;
    if (!v) return true; /* the builder has failed; finish says how */
    const int64_t after = before_batch(v, &times);
    if (after < 0) return false;
    switch (n->op) {
    case AMG_OP_RESHAPE: /* the batch stays behind as many elements */
        return before_batch(input(p, n, 0), &own) == after;
    case AMG_OP_CONCAT:
    case AMG_OP_SLICE:
    case AMG_OP_SPLIT: return times == 1; /* else along the batch */
    case AMG_OP_GATHER: return times == 1 && gathered_dim(p, n) >= 0;
    case AMG_OP_GRU:
    case AMG_OP_LSTM:
    case AMG_OP_RNN: /* else it goes from sample to sample */
        return input(p, n, 0)->dims[amg_attr_int(n, "layout", 0) ? 0 : 1] < 0;
    case AMG_OP_GEMM: return amg_attr_int(n, "transA", 0) == 0;
    case AMG_OP_CAST:
    case AMG_OP_CLIP:
    case AMG_OP_DROPOUT:
    case AMG_OP_EXPAND:
    case AMG_OP_IDENTITY:
    case AMG_OP_MAT_MUL:
    case AMG_OP_REDUCE_SUM:
    case AMG_OP_SQUEEZE:
    case AMG_OP_TRANSPOSE:
    case AMG_OP_UNSQUEEZE:
    case AMG_OP_WHERE: return true;
    default:
        return amg_number_is_unary(n->op) || amg_number_is_binary(n->op) ||
               amg_op_reduces(n->op);
    }
}

/* ---- the pass ---- */

static void set_orders(const pass *p, const amg_node *n, order o)
{
    for (int i = 0; i < n->num_outputs; i++) p->orders[n->outputs[i]] = o;
}

/* The node gives way to its input i: an index that only sorts stands for itself by a
 * value of its shape. */
static void skip(const pass *p, const amg_node *n, int i, order o)
{
    for (int k = 0; k < n->num_outputs; k++)
        p->base.map[n->outputs[k]] = p->base.map[n->inputs[i]];
    set_orders(p, n, o);
}

static void visit_sort(const pass *p, const amg_node *n, int id)
{
    const order x = order_of(p, n, 0);
    order *values = &p->orders[n->outputs[0]], *places = &p->orders[n->outputs[1]];
    skip(p, n, 0, (order){LOST, id});
    if (x.kind == OWN || x.kind == FREE) {
        values->kind = SORTED;
        places->kind = PLACES;
    } else if (x.kind == PLACES && amg_attr_int(n, "largest", 1) == 0) {
        *places = (order){BACK, x.sort};
    }
}

/* The order that a node's inputs have in common; LOST: they differ. */
static order common_order(const pass *p, const amg_node *n)
{
    order found = {FREE, -1};
    for (int i = 0; i < n->num_inputs; i++) {
        const order o = order_of(p, n, i);
        if (o.kind == FREE) continue;
        if (found.kind == FREE) found = o;
        if (o.kind != found.kind || (o.kind != OWN && o.sort != found.sort))
            return (order){LOST, -1};
    }
    /* Counted by sample, though it reads no sample. */
    if (found.kind == FREE &&
        (n->op == AMG_OP_RANGE || n->op == AMG_OP_CUM_SUM || n->op == AMG_OP_EYE_LIKE))
        found.kind = OWN;
    return found;
}

static bool keeps_index(amg_op op)
{
    return op == AMG_OP_CAST || op == AMG_OP_IDENTITY || op == AMG_OP_RESHAPE ||
           op == AMG_OP_SQUEEZE || op == AMG_OP_UNSQUEEZE;
}

/* A node that is copied, and the order of what it makes. */
static amg_status visit_other(const pass *p, const amg_node *n)
{
    const amg_status s = amg_replace_copy(&p->base, n, p->err);
    if (s) return s;
    order o = common_order(p, n);
    if (n->op == AMG_OP_SHAPE || n->op == AMG_OP_SIZE) o.kind = FREE;
    set_orders(p, n, o);
    switch (o.kind) {
    case FREE:
    case OWN: return AMG_OK;
    case SORTED:
        return is_by_sample(p, n)
                   ? AMG_OK
                   : refuse(p, n,
                            "reads samples that were sorted, whose order it "
                            "may depend on");
    case PLACES:
    case BACK:
        return keeps_index(n->op) ? AMG_OK : refuse(p, n, "reads a sort's order");
    case LOST: break;
    }
    return refuse(p, n, "reads samples that were sorted beside others that were not");
}

static amg_status visit(const pass *p, int id)
{
    const amg_node *n = &p->g->nodes[id];
    const order x = order_of(p, n, 0), index = order_of(p, n, 1);
    if (is_sort(p, n)) {
        visit_sort(p, n, id);
        return AMG_OK;
    }
    if (is_inverse(p, n)) {
        skip(p, n, 2, (order){BACK, index.sort});
        return AMG_OK;
    }
    if (gathers_samples(p, n)) {
        /* What is computed of no sample, zeros to begin with, is alike for all. */
        const bool alike =
            x.kind == FREE && (index.kind == PLACES || index.kind == BACK);
        const bool sorts = x.kind == OWN && index.kind == PLACES;
        const bool undoes =
            x.kind == SORTED && index.kind == BACK && x.sort == index.sort;
        if (alike || sorts || undoes) {
            skip(p, n, 0,
                 alike   ? x
                 : sorts ? (order){SORTED, index.sort}
                         : (order){OWN, -1});
            return AMG_OK;
        }
    }
    return visit_other(p, n);
}

static amg_status rewrite(pass *p, amg_graph **out)
{
    const amg_graph *g = p->g;
    amg_status s = AMG_OK;
    amg_replace_values(&p->base, NULL);
    for (int i = 0; i < g->num_inputs; i++) p->orders[g->inputs[i]] = (order){OWN, -1};
    for (int n = 0; !s && n < g->num_nodes; n++) s = visit(p, n);
    for (int i = 0; !s && i < g->num_outputs; i++) {
        const amg_value *v = &g->values[g->outputs[i]];
        if (p->orders[g->outputs[i]].kind > OWN)
            s = refuse(p, &g->nodes[v->producer],
                       "is a result whose samples are sorted");
    }
    return s ? s : amg_replace_finish(&p->base, out, p->err);
}

amg_status amg_batch_order_drop(const amg_graph *g, amg_graph **out, amg_error *err)
{
    bool may = false;
    *out = NULL;
    for (int n = 0; n < g->num_nodes; n++)
        may = may || (g->nodes[n].op == AMG_OP_TOP_K &&
                      g->values[g->nodes[n].inputs[1]].kind == AMG_VALUE_ACTIVATION);
    if (!may) return AMG_OK;
    pass p = {.g = g,
              .orders = amg_calloc((size_t)g->num_values + 1, sizeof *p.orders),
              .err = err};
    amg_status s = amg_replace_init(&p.base, g, err);
    if (!s && !p.orders) s = amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    if (!s) s = rewrite(&p, out);
    amg_replace_clear(&p.base);
    amg_free(p.orders);
    return s;
}
