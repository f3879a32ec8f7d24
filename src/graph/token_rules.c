/* Rules of operators that move, cut and sum (see the header). A rule looks at layouts
 * and constant arguments, never at weights. */
#include "graph/token_rules.h"

#include "graph/infer.h"

const char amg_token_by_place[] = "one of its layers takes patches by their place";

const amg_token_layout *amg_token_layout_of(const amg_token_walk *w,
                                            const amg_node *node, int i)
{
    static const amg_token_layout none = {0};
    return i < node->num_inputs && node->inputs[i] != AMG_NO_VALUE
               ? &w->of[node->inputs[i]]
               : &none;
}

const amg_value *amg_token_input(const amg_token_walk *w, const amg_node *node, int i)
{
    return i < node->num_inputs && node->inputs[i] != AMG_NO_VALUE
               ? &w->g->values[node->inputs[i]]
               : NULL;
}

bool amg_token_carries(const amg_token_walk *w, const amg_node *node, int i)
{
    return amg_token_layout_of(w, node, i)->rank > 0;
}

bool amg_token_only_first(const amg_token_walk *w, const amg_node *node, int i)
{
    for (; i < node->num_inputs; i++)
        if (amg_token_carries(w, node, i)) return false;
    return true;
}

void amg_token_set(amg_token_walk *w, const amg_node *node, int i,
                   const amg_token_layout *l)
{
    if (node->outputs[i] != AMG_NO_VALUE && amg_token_layout_holds(l))
        w->of[node->outputs[i]] = *l;
}

/* ---- operators of order ---- */

const char *amg_token_reshape(amg_token_walk *w, const amg_node *node)
{
    const amg_value *y = &w->g->values[node->outputs[0]];
    amg_token_layout l;
    if (!amg_token_layout_reshape(amg_token_layout_of(w, node, 0), y->rank, y->dims,
                                  &l))
        return "a reshape of it takes patches apart, or mixes them with something else";
    amg_token_set(w, node, 0, &l);
    return NULL;
}

const char *amg_token_transpose(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *in = amg_token_layout_of(w, node, 0);
    const amg_attr *perm = amg_attr_find(node, "perm");
    amg_token_layout l = {.rank = in->rank};
    bool columns = false;
    for (int d = 0; d < l.rank; d++) {
        l.dims[d] = in->dims[perm ? perm->ints[d] : l.rank - 1 - d];
        if (!amg_token_dim_holds_side(&l.dims[d])) continue;
        /* Behind their columns, rows would give patches in another order. */
        if (l.dims[d].num != 1 ||
            (l.dims[d].factors[0].kind == AMG_FACTOR_ROWS && columns))
            return amg_token_by_place;
        columns = true;
    }
    amg_token_set(w, node, 0, &l);
    return NULL;
}

const char *amg_token_expand(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *in = amg_token_layout_of(w, node, 0);
    const amg_value *y = &w->g->values[node->outputs[0]];
    amg_token_layout l = {.rank = y->rank};
    for (int d = 0; d < l.rank; d++) {
        const int at = d - (l.rank - in->rank);
        l.dims[d] = at >= 0 && in->dims[at].num > 0 ? in->dims[at]
                                                    : amg_token_dim_plain(y->dims[d]);
    }
    amg_token_set(w, node, 0, &l);
    return NULL;
}

/* Rows of something else (a class token) before and behind the patches. */
static const char *concat_rows(amg_token_walk *w, const amg_node *node, int axis,
                               int main)
{
    amg_token_layout l = *amg_token_layout_of(w, node, main);
    amg_factor *f = &l.dims[axis].factors[0];
    if (!amg_token_dim_is_patches(&l.dims[axis])) return amg_token_by_place;
    for (int i = 0; i < node->num_inputs; i++) {
        const amg_value *v = &w->g->values[node->inputs[i]];
        if (i == main) continue;
        if (amg_token_carries(w, node, i)) return amg_token_by_place;
        for (int d = 0; d < l.rank; d++)
            if (d != axis && v->dims[d] != 1 && amg_token_dim_holds(&l.dims[d]))
                return amg_token_by_place;
        *(i < main ? &f->ahead : &f->behind) += v->dims[axis];
        f->size += v->dims[axis];
    }
    amg_token_set(w, node, 0, &l);
    return NULL;
}

const char *amg_token_concat(amg_token_walk *w, const amg_node *node)
{
    const amg_value *y = &w->g->values[node->outputs[0]];
    const int axis = amg_axis_find(amg_attr_int(node, "axis", 0), y->rank);
    int main = 0;
    while (!amg_token_carries(w, node, main)) main++;
    amg_token_layout l = *amg_token_layout_of(w, node, main);
    if (amg_token_dim_holds(&l.dims[axis])) return concat_rows(w, node, axis, main);
    for (int i = 0; i < node->num_inputs; i++)
        for (int d = 0; d < l.rank; d++) {
            if (!amg_token_carries(w, node, i)) return amg_token_by_place;
            const amg_token_dim *own = &amg_token_layout_of(w, node, i)->dims[d];
            if ((amg_token_dim_holds(own) || amg_token_dim_holds(&l.dims[d])) &&
                (d == axis || !amg_token_dim_equal(own, &l.dims[d])))
                return amg_token_by_place;
        }
    l.dims[axis] = amg_token_dim_plain(y->dims[axis]);
    amg_token_set(w, node, 0, &l);
    return NULL;
}

/* ---- operators that take a part ---- */

static const char a_part[] = "it takes some patches without the others";

const char *amg_token_split(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *in = amg_token_layout_of(w, node, 0);
    const int axis = amg_axis_find(amg_attr_int(node, "axis", 0), in->rank);
    int64_t start = 0;
    for (int i = 0; i < node->num_outputs; i++) {
        const int64_t length = w->g->values[node->outputs[i]].dims[axis];
        amg_token_layout l = *in;
        if (!amg_token_dim_holds(&l.dims[axis]))
            l.dims[axis] = amg_token_dim_plain(length);
        else if (!amg_token_dim_cut(&l.dims[axis], start, length))
            return a_part;
        start += length;
        amg_token_set(w, node, i, &l);
    }
    return NULL;
}

/* Where entry i of a Slice begins, on a dim of so many; false: it goes another way than
 * one by one. */
static bool slice_start(const amg_token_walk *w, const amg_node *node, int axis,
                        int64_t size, int64_t *start)
{
    int64_t starts[AMG_MAX_RANK], axes[AMG_MAX_RANK], steps[AMG_MAX_RANK];
    const amg_value *v[] = {amg_token_input(w, node, 1), amg_token_input(w, node, 3),
                            amg_token_input(w, node, 4)};
    const int rank = w->g->values[node->inputs[0]].rank;
    int num, count;
    *start = 0;
    if (!amg_value_ints(v[0], AMG_MAX_RANK, starts, &num) ||
        (v[1] && !amg_value_ints(v[1], AMG_MAX_RANK, axes, &count)) ||
        (v[2] && !amg_value_ints(v[2], AMG_MAX_RANK, steps, &count)))
        return false;
    for (int i = 0; i < num; i++) {
        if ((v[1] ? amg_axis_find(axes[i], rank) : i) != axis) continue;
        *start = starts[i] < 0 ? starts[i] + size : starts[i];
        if (*start < 0) *start = 0;
        if (v[2] && steps[i] != 1) return false;
    }
    return true;
}

const char *amg_token_slice(amg_token_walk *w, const amg_node *node)
{
    const amg_value *y = &w->g->values[node->outputs[0]];
    amg_token_layout l = *amg_token_layout_of(w, node, 0);
    for (int d = 0; d < l.rank; d++) {
        const int64_t size = w->g->values[node->inputs[0]].dims[d];
        int64_t start;
        if (!amg_token_dim_holds(&l.dims[d])) {
            if (y->dims[d] != size) l.dims[d] = amg_token_dim_plain(y->dims[d]);
            continue;
        }
        if (!slice_start(w, node, d, size, &start)) return a_part;
        if (y->dims[d] != size && !amg_token_dim_cut(&l.dims[d], start, y->dims[d]))
            return a_part;
    }
    amg_token_set(w, node, 0, &l);
    return NULL;
}

/* Whether a Gather takes none of the patches along a dim. */
static bool takes_no_patch(const amg_token_dim *d, const amg_value *index)
{
    int64_t at[64];
    int num;
    if (!amg_value_ints(index, 64, at, &num)) return false;
    for (int i = 0; i < num; i++) {
        amg_token_dim row = *d;
        const int64_t place = at[i] < 0 ? at[i] + d->factors[0].size : at[i];
        if (!amg_token_dim_cut(&row, place, 1) || amg_token_dim_holds(&row))
            return false;
    }
    return true;
}

const char *amg_token_gather(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *in = amg_token_layout_of(w, node, 0);
    const amg_value *index = &w->g->values[node->inputs[1]];
    const int axis = amg_axis_find(amg_attr_int(node, "axis", 0), in->rank);
    amg_token_layout l = {0};
    if (!amg_token_only_first(w, node, 1)) return amg_token_by_place;
    if (amg_token_dim_holds(&in->dims[axis]) && !takes_no_patch(&in->dims[axis], index))
        return a_part;
    for (int d = 0; d < axis; d++) l.dims[l.rank++] = in->dims[d];
    for (int d = 0; d < index->rank; d++)
        l.dims[l.rank++] = amg_token_dim_plain(index->dims[d]);
    for (int d = axis + 1; d < in->rank; d++) l.dims[l.rank++] = in->dims[d];
    amg_token_set(w, node, 0, &l);
    return NULL;
}

/* ---- sums ---- */

/* A sum over dims (a bit each) does not care about the order of patches. */
static const char *reduce_dims(amg_token_walk *w, const amg_node *node, unsigned mask,
                               bool keep)
{
    const amg_token_layout *in = amg_token_layout_of(w, node, 0);
    amg_token_layout l = {0};
    if (amg_token_layout_splits_grid(in, mask)) return amg_token_by_place;
    for (int d = 0; d < in->rank; d++) {
        if (!(mask >> d & 1))
            l.dims[l.rank++] = in->dims[d];
        else if (keep)
            l.rank++;
    }
    amg_token_set(w, node, 0, &l);
    return NULL;
}

const char *amg_token_reduce(amg_token_walk *w, const amg_node *node)
{
    const amg_infer c = {.values = w->g->values, .node = node};
    const int rank = amg_token_layout_of(w, node, 0)->rank;
    unsigned mask = 0;
    bool known = false;
    if (amg_infer_axes(&c, 1, rank, &mask, &known) || !known) return amg_token_by_place;
    if (mask == 0 && amg_attr_int(node, "noop_with_empty_axes", 0) == 0)
        mask = (1u << rank) - 1;
    return reduce_dims(w, node, mask, amg_attr_int(node, "keepdims", 1) != 0);
}

const char *amg_token_pool(amg_token_walk *w, const amg_node *node)
{
    return reduce_dims(w, node, 1u << 2 | 1u << 3, true);
}

/* Statistics over all dims but the batch and the channels, weights per channel. */
const char *amg_token_normalise(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *l = amg_token_layout_of(w, node, 0);
    if (!amg_token_only_first(w, node, 1) || amg_token_dim_holds(&l->dims[1]) ||
        amg_token_layout_splits_grid(l, ~3u))
        return amg_token_by_place;
    amg_token_set(w, node, 0, l);
    return NULL;
}

const char *amg_token_layer_norm(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *l = amg_token_layout_of(w, node, 0);
    const int axis = amg_axis_find(amg_attr_int(node, "axis", -1), l->rank);
    for (int d = axis; d < l->rank; d++)
        if (amg_token_dim_holds(&l->dims[d])) return amg_token_by_place;
    if (!amg_token_only_first(w, node, 1)) return amg_token_by_place;
    amg_token_set(w, node, 0, l);
    return NULL;
}

const char *amg_token_softmax(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *l = amg_token_layout_of(w, node, 0);
    const int axis = amg_axis_find(amg_attr_int(node, "axis", -1), l->rank);
    if (amg_token_dim_holds_side(&l->dims[axis])) return amg_token_by_place;
    amg_token_set(w, node, 0, l);
    return NULL;
}

static const char weighs_all[] = "one of its layers has weights for each patch";

const char *amg_token_gemm(amg_token_walk *w, const amg_node *node)
{
    const amg_token_layout *in = amg_token_layout_of(w, node, 0);
    const amg_value *bias = amg_token_input(w, node, 2);
    const amg_value *y = &w->g->values[node->outputs[0]];
    if (!amg_token_only_first(w, node, 1) || in->rank != 2) return amg_token_by_place;
    if (amg_token_dim_holds(&in->dims[1])) return weighs_all;
    if (bias && bias->rank == 2 && bias->dims[0] != 1) return amg_token_by_place;
    const amg_token_layout l = {.rank = 2,
                                .dims = {in->dims[0], amg_token_dim_plain(y->dims[1])}};
    amg_token_set(w, node, 0, &l);
    return NULL;
}

/* Dim d, counted from the last, of input i of a product. */
static amg_token_dim dim_of(const amg_token_walk *w, const amg_node *node, int i, int d)
{
    const amg_value *v = &w->g->values[node->inputs[i]];
    const amg_token_layout *l = amg_token_layout_of(w, node, i);
    if (d >= v->rank) return (amg_token_dim){0};
    return l->rank ? l->dims[l->rank - 1 - d]
                   : amg_token_dim_plain(v->dims[v->rank - 1 - d]);
}

/* A dim that both inputs have and the product keeps. */
static bool join_batch(const amg_token_walk *w, const amg_node *node, int d,
                       amg_token_dim *out)
{
    const amg_token_dim a = dim_of(w, node, 0, d), b = dim_of(w, node, 1, d);
    *out = a.num ? a : b;
    return a.num == 0 || b.num == 0 || amg_token_dim_equal(&a, &b) ||
           (!amg_token_dim_holds(&a) && !amg_token_dim_holds(&b));
}

/* [.., M, K] x [.., K, N]: over patches if both have them there. */
const char *amg_token_mat_mul(amg_token_walk *w, const amg_node *node)
{
    const amg_token_dim row = dim_of(w, node, 0, 0), column = dim_of(w, node, 1, 1);
    amg_token_layout l = {.rank = w->g->values[node->outputs[0]].rank};
    if (amg_token_dim_holds(&row) || amg_token_dim_holds(&column)) {
        if (amg_token_dim_holds_side(&row)) return amg_token_by_place;
        if (!amg_token_dim_equal(&row, &column)) return weighs_all;
    }
    for (int d = 2; d < l.rank; d++)
        if (!join_batch(w, node, d, &l.dims[l.rank - 1 - d])) return amg_token_by_place;
    l.dims[l.rank - 2] = dim_of(w, node, 0, 1);
    l.dims[l.rank - 1] = dim_of(w, node, 1, 0);
    amg_token_set(w, node, 0, &l);
    return NULL;
}
