/* Patches on their way through a network (see the header): each value that holds
 * something of every patch has a layout (token_layout.h), and each operator a rule that
 * says what it makes of its inputs' layouts, or that it takes patches by their place:
 * here those that meet element by element, where weights of places come in, the others
 * in token_rules.c. Consumes a folded graph; knows nothing of keys. */
#include "graph/token_axis.h"

#include <string.h>

#include "base/alloc.h"
#include "graph/token_rules.h"

static const char positions[] =
    "it adds constants to patches, or weights that other layers read, by their place";

/* ---- operators of elements ---- */

static int64_t product(const int64_t *dims, int from, int to)
{
    int64_t all = 1;
    for (int d = from; d < to; d++) all *= dims[d];
    return all;
}

/* Whether constant v has the same elements for all patches, of which its dim d counts
 * first .. first + num - 1. */
static bool same_for_all(const amg_value *v, int d, int64_t first, int64_t num)
{
    const char *data = v->data.data;
    if (v->kind != AMG_VALUE_PARAM || v->role != AMG_ROLE_CONSTANT || !data)
        return false;
    const size_t inner =
        amg_dtype_size(v->dtype) * (size_t)product(v->dims, d + 1, v->rank);
    const size_t outer = (size_t)product(v->dims, 0, d);
    for (size_t o = 0; o < outer; o++) {
        const char *row = data + (o * (size_t)v->dims[d] + (size_t)first) * inner;
        for (size_t r = 1; r < (size_t)num; r++)
            if (memcmp(row, row + r * inner, inner) != 0) return false;
    }
    return true;
}

static bool is_read_once(const amg_graph *g, int value)
{
    int uses = 0;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++)
            uses += g->nodes[n].inputs[i] == value;
    for (int i = 0; i < g->num_outputs; i++) uses += g->outputs[i] == value;
    return uses == 1;
}

/* Parameter id has a row for each patch along dims d .. last of its own. */
static const char *add_table(amg_token_walk *w, int id, int d, int last, int64_t offset)
{
    const amg_value *v = &w->g->values[id];
    amg_patch_tokens *t = &w->found;
    if (v->kind != AMG_VALUE_PARAM || v->role != AMG_ROLE_TRAINABLE ||
        !is_read_once(w->g, id))
        return positions;
    if (t->num_tables == AMG_MAX_POSITION_TABLES)
        return "too many of its weights stand for places";
    t->tables[t->num_tables++] =
        (amg_position_table){.param = id,
                             .rows = product(v->dims, d, last + 1),
                             .inner = product(v->dims, last + 1, v->rank),
                             .offset = offset};
    return NULL;
}

/* Input id, which holds nothing of patches, meets those of l element by element. */
static const char *meet(amg_token_walk *w, int id, const amg_token_layout *l)
{
    const amg_value *v = &w->g->values[id];
    const int shift = l->rank - v->rank;
    int first = -1, last = -1;
    for (int d = 0; d < v->rank; d++) {
        const amg_token_dim *to = &l->dims[shift + d];
        if (v->dims[d] == 1 || !amg_token_dim_holds(to)) continue;
        const amg_factor *f = &to->factors[0];
        if (to->num != 1) return positions;
        if (same_for_all(v, d, f->ahead, f->size - f->ahead - f->behind)) continue;
        if (last >= 0 && last != d - 1) return "it adds weights to pairs of patches";
        if (first < 0) first = d;
        last = d;
    }
    if (first < 0) return NULL;
    const amg_factor *f = &l->dims[shift + first].factors[0];
    const bool is_grid = last == first + 1 && f->kind == AMG_FACTOR_ROWS &&
                         l->dims[shift + last].factors[0].kind == AMG_FACTOR_COLUMNS;
    if (!is_grid && (last != first || f->kind != AMG_FACTOR_PATCHES))
        return last == first ? amg_token_by_place
                             : "it adds weights to pairs of patches";
    return add_table(w, id, first, last, f->ahead);
}

/* Dim d of what a broadcast of node's inputs gives; false: values that hold patches do
 * not hold them alike. */
static bool join_dim(const amg_token_walk *w, const amg_node *node, int d, int rank,
                     amg_token_dim *out)
{
    bool any = false;
    *out = (amg_token_dim){0};
    for (int i = 0; i < node->num_inputs; i++) {
        const amg_token_layout *l = amg_token_layout_of(w, node, i);
        const int at = d - (rank - l->rank);
        if (l->rank == 0 || at < 0 || l->dims[at].num == 0) continue;
        const amg_token_dim *own = &l->dims[at];
        if (any && (amg_token_dim_holds(own) || amg_token_dim_holds(out)) &&
            !amg_token_dim_equal(own, out))
            return false;
        if (!any) *out = *own;
        any = true;
    }
    for (int i = 0; i < node->num_inputs && !any; i++) {
        const amg_value *v = amg_token_input(w, node, i);
        const int at = v ? d - (rank - v->rank) : -1;
        if (at >= 0 && out->num == 0) *out = amg_token_dim_plain(v->dims[at]);
    }
    return true;
}

/* Inputs are broadcast, every element of the output is made of one of each. */
static const char *elements(amg_token_walk *w, const amg_node *node)
{
    amg_token_layout l = {.rank = w->g->values[node->outputs[0]].rank};
    const char *why = NULL;
    for (int d = 0; d < l.rank; d++)
        if (!join_dim(w, node, d, l.rank, &l.dims[d])) return amg_token_by_place;
    for (int i = 0; i < node->num_inputs && !why; i++)
        if (amg_token_input(w, node, i) && !amg_token_carries(w, node, i))
            why = meet(w, node->inputs[i], &l);
    for (int i = 0; i < node->num_outputs && !why; i++) amg_token_set(w, node, i, &l);
    return why;
}

static const char *dropout(amg_token_walk *w, const amg_node *node)
{
    const amg_value *v = amg_token_input(w, node, 1);
    float ratio = amg_attr_float(node, "ratio", 0.5f);
    if (v) ratio = v->dtype == AMG_F32 && v->data.data ? *(float *)v->data.data : 1;
    if (ratio > 0)
        return "its dropout draws masks by place: training would differ by more than "
               "rounding";
    for (int i = 0; i < node->num_outputs; i++)
        amg_token_set(w, node, i, amg_token_layout_of(w, node, 0));
    return NULL;
}

static const char *prelu(amg_token_walk *w, const amg_node *node)
{
    const amg_value *slope = &w->g->values[node->inputs[1]];
    const amg_token_layout *l = amg_token_layout_of(w, node, 0);
    const bool is_one = product(slope->dims, 0, slope->rank) == 1;
    if (!amg_token_only_first(w, node, 1) || l->rank < 2 ||
        (!is_one && amg_token_dim_holds(&l->dims[1])))
        return amg_token_by_place;
    amg_token_set(w, node, 0, l);
    return NULL;
}

/* ---- the walk ---- */

static const char *visit(amg_token_walk *w, const amg_node *node)
{
    if (amg_token_only_first(w, node, 0) || node->op == AMG_OP_SHAPE ||
        node->op == AMG_OP_SIZE)
        return NULL;
    switch (node->op) {
    case AMG_OP_RESHAPE:
    case AMG_OP_FLATTEN:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE: return amg_token_reshape(w, node);
    case AMG_OP_TRANSPOSE: return amg_token_transpose(w, node);
    case AMG_OP_EXPAND: return amg_token_expand(w, node);
    case AMG_OP_CONCAT: return amg_token_concat(w, node);
    case AMG_OP_SPLIT: return amg_token_split(w, node);
    case AMG_OP_SLICE: return amg_token_slice(w, node);
    case AMG_OP_GATHER: return amg_token_gather(w, node);
    case AMG_OP_DROPOUT: return dropout(w, node);
    case AMG_OP_PRELU: return prelu(w, node);
    case AMG_OP_LAYER_NORM:
    case AMG_OP_RMS_NORM: return amg_token_layer_norm(w, node);
    case AMG_OP_SOFTMAX:
    case AMG_OP_LOG_SOFTMAX: return amg_token_softmax(w, node);
    case AMG_OP_BATCH_NORM:
    case AMG_OP_INSTANCE_NORM:
    case AMG_OP_GROUP_NORM: return amg_token_normalise(w, node);
    case AMG_OP_REDUCE_MEAN:
    case AMG_OP_REDUCE_SUM: return amg_token_reduce(w, node);
    case AMG_OP_GLOBAL_AVERAGE_POOL: return amg_token_pool(w, node);
    case AMG_OP_GEMM: return amg_token_gemm(w, node);
    case AMG_OP_MAT_MUL: return amg_token_mat_mul(w, node);
    case AMG_OP_CAST:
    case AMG_OP_WHERE:
    case AMG_OP_EQUAL:
    case AMG_OP_GREATER:
    case AMG_OP_LESS:
    case AMG_OP_GREATER_OR_EQUAL:
    case AMG_OP_LESS_OR_EQUAL:
    case AMG_OP_NOT:
    case AMG_OP_AND:
    case AMG_OP_OR:
    case AMG_OP_XOR:
    case AMG_OP_IS_NAN:
    case AMG_OP_IS_INF: return elements(w, node);
    default:
        return amg_op_get(node->op)->flags & AMG_OP_E ? elements(w, node)
                                                      : amg_token_by_place;
    }
}

/* The layer that makes patches of images; its output [N,D,h,w]. */
static const char *begin(amg_token_walk *w, const amg_input_columns *columns,
                         const int64_t dims[3], int *at)
{
    const int64_t h = dims[1] / columns->block[0], v = dims[2] / columns->block[1];
    while (w->g->nodes[*at].num_inputs < 2 ||
           w->g->nodes[*at].inputs[1] != columns->param)
        ++*at;
    const amg_node *node = &w->g->nodes[*at];
    const amg_value *y = &w->g->values[node->outputs[0]];
    if (node->op != AMG_OP_CONV || h * v < 2) return "a sample is one block";
    amg_token_layout l = {.rank = 4,
                          .dims = {amg_token_dim_plain(y->dims[0]),
                                   amg_token_dim_plain(y->dims[1]),
                                   {1, {{AMG_FACTOR_ROWS, h, 0, 0}}},
                                   {1, {{AMG_FACTOR_COLUMNS, v, 0, 0}}}}};
    if (h == 1 || v == 1) {
        l.dims[2 + (h == 1)].factors[0].kind = AMG_FACTOR_PATCHES;
        l.dims[2 + (v == 1)] = (amg_token_dim){0};
    }
    w->found.num_patches = h * v;
    amg_token_set(w, node, 0, &l);
    return NULL;
}

static const char *follow(amg_token_walk *w, const amg_input_columns *columns,
                          const int64_t dims[3])
{
    int n = 0;
    const char *why = begin(w, columns, dims, &n);
    while (!why && ++n < w->g->num_nodes) why = visit(w, &w->g->nodes[n]);
    for (int i = 0; i < w->g->num_outputs && !why; i++)
        if (w->of[w->g->outputs[i]].rank > 0) why = "it gives something for each patch";
    return why;
}

const char *amg_patch_tokens_find(const amg_graph *g, const amg_input_columns *columns,
                                  const int64_t dims[3], amg_patch_tokens *out)
{
    amg_token_walk w = {.g = g,
                        .of = amg_calloc((size_t)g->num_values + 1, sizeof *w.of)};
    const char *why =
        w.of ? follow(&w, columns, dims) : "there is no memory to follow its patches";
    if (!why) *out = w.found;
    amg_free(w.of);
    return why;
}

void amg_position_table_move(const amg_position_table *t, int64_t num_patches,
                             const int32_t *map, const amg_tensor *in, amg_tensor *out)
{
    const size_t row = (size_t)t->inner * amg_dtype_size(in->dtype);
    const size_t table = (size_t)t->rows * row;
    const char *from = in->data;
    char *to = out->data;
    memcpy(to, from, in->size_bytes);
    for (size_t at = 0; at < in->size_bytes; at += table)
        for (int64_t p = 0; p < num_patches; p++)
            memcpy(to + at + (size_t)(t->offset + map[p]) * row,
                   from + at + (size_t)(t->offset + p) * row, row);
}
