/* See lower.h: operators that move elements, and OneHot. */
#include <string.h>

#include "graph/infer.h"
#include "graph/lower.h"
#include "graph/pad_mode.h"

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

/* ---- DepthToSpace, SpaceToDepth ---- */

/* x reshaped to six dims, permuted, and reshaped to the node's output. */
static int shuffle(amg_lower *l, const int64_t *split, const int64_t *perm)
{
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    int x = amg_lower_reshape(l, amg_lower_value(l, 0), 6, split);
    return amg_lower_reshape(l, amg_lower_transpose(l, x, 6, perm), 4, y->dims);
}

static void lower_depth_to_space(amg_lower *l, int *out)
{
    const int64_t *d = amg_lower_in(l->r->g, l->node, 0)->dims;
    const int64_t b = amg_attr_int(l->node, "blocksize", 1);
    const bool depth_first = !strcmp(amg_attr_string(l->node, "mode", "DCR"), "DCR");
    if (l->node->op == AMG_OP_SPACE_TO_DEPTH) {
        static const int64_t dcr[6] = {0, 3, 5, 1, 2, 4}, crd[6] = {0, 1, 3, 5, 2, 4};
        const int64_t split[6] = {d[0], d[1], d[2] / b, b, d[3] / b, b};
        out[0] = shuffle(l, split, depth_first ? dcr : crd);
        return;
    }
    const int64_t depth = d[1] / (b * b);
    if (depth_first) {
        const int64_t split[6] = {d[0], b, b, depth, d[2], d[3]};
        out[0] = shuffle(l, split, (const int64_t[]){0, 3, 4, 1, 5, 2});
    } else {
        const int64_t split[6] = {d[0], depth, b, b, d[2], d[3]};
        out[0] = shuffle(l, split, (const int64_t[]){0, 1, 4, 2, 5, 3});
    }
}

const amg_lower_rule amg_lower_depth_to_space = {always, lower_depth_to_space};

/* ---- OneHot: Where(index == 0 … depth - 1, on, off); an index counts from the end,
 * too
 * ---- */

static int count_up(amg_lower *l, amg_dtype dtype, int64_t first, int64_t count,
                    int num_behind)
{
    int64_t dims[AMG_MAX_RANK] = {count};
    const amg_attr to = amg_int("to", amg_dtype_onnx(dtype));
    int from = amg_lower_ints(l, -1, &first),
        delta = amg_lower_ints(l, -1, &(int64_t){1});
    int limit = amg_lower_ints(l, -1, &(int64_t){first + count});
    int y = amg_lower_node(l, AMG_OP_RANGE, 3, (int[]){from, limit, delta}, 0, NULL);
    if (dtype != AMG_I64) y = amg_lower_node(l, AMG_OP_CAST, 1, &y, 1, &to);
    for (int i = 1; i <= num_behind; i++) dims[i] = 1;
    return amg_lower_reshape(l, y, 1 + num_behind, dims);
}

static int number_of(amg_lower *l, int vector, int64_t at)
{
    return amg_lower_binary(l, AMG_OP_GATHER, vector, amg_lower_ints(l, -1, &at));
}

static void lower_one_hot(amg_lower *l, int *out)
{
    const amg_value *index = amg_lower_in(l->r->g, l->node, 0);
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    const int axis = amg_axis_find(amg_attr_int(l->node, "axis", -1), y->rank);
    const int64_t at = axis, depth = y->dims[axis];
    int x = amg_lower_binary(l, AMG_OP_UNSQUEEZE, amg_lower_value(l, 0),
                             amg_lower_ints(l, 1, &at));
    int same[2];
    for (int i = 0; i < 2; i++)
        same[i] = amg_lower_binary(
            l, AMG_OP_EQUAL, x,
            count_up(l, index->dtype, -i * depth, depth, y->rank - 1 - axis));
    int in[3] = {amg_lower_binary(l, AMG_OP_OR, same[0], same[1]),
                 number_of(l, amg_lower_value(l, 2), 1),
                 number_of(l, amg_lower_value(l, 2), 0)};
    out[0] = amg_lower_node(l, AMG_OP_WHERE, 3, in, 0, NULL);
}

const amg_lower_rule amg_lower_one_hot = {always, lower_one_hot};

/* ---- ReverseSequence: element t < count of a sample is its element count - 1 - t ----
 */

static bool has_time(const amg_graph *g, const amg_node *node)
{
    return amg_lower_in(g, node, 0)->dims[amg_attr_int(node, "time_axis", 0)] > 0;
}

static void lower_reverse_sequence(amg_lower *l, int *out)
{
    static const int64_t swapped[AMG_MAX_RANK] = {1, 0, 2, 3, 4, 5, 6, 7};
    const amg_value *v = amg_lower_in(l->r->g, l->node, 0);
    const int time = (int)amg_attr_int(l->node, "time_axis", 0);
    const int64_t N = v->dims[1 - time], T = v->dims[time];
    const amg_attr batch = amg_int("batch_dims", 1);
    int x = amg_lower_value(l, 0);
    if (time == 0) x = amg_lower_transpose(l, x, v->rank, swapped);
    const int count =
        amg_lower_reshape(l, amg_lower_value(l, 1), 2, (const int64_t[]){N, 1});
    const int from = count_up(l, AMG_I64, 0, T, 0);
    const int last =
        amg_lower_binary(l, AMG_OP_SUB, count, amg_lower_ints(l, -1, &(int64_t){1}));
    int in[3] = {amg_lower_binary(l, AMG_OP_LESS, from, count),
                 amg_lower_binary(l, AMG_OP_SUB, last, from), from};
    int at = amg_lower_node(l, AMG_OP_WHERE, 3, in, 0, NULL);
    at = amg_lower_reshape(l, at, 3, (const int64_t[]){N, T, 1});
    x = amg_lower_node(l, AMG_OP_GATHER_ND, 2, (int[]){x, at}, 1, &batch);
    out[0] = time == 0 ? amg_lower_transpose(l, x, v->rank, swapped) : x;
}

const amg_lower_rule amg_lower_reverse_sequence = {has_time, lower_reverse_sequence};

/* ---- TopK: its values are gathered by its indices, which have no gradient ---- */

static bool values_are_read(const amg_graph *g, const amg_node *node)
{
    const int values = node->outputs[0];
    for (int i = 0; i < g->num_outputs; i++)
        if (g->outputs[i] == values) return true;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++)
            if (g->nodes[n].inputs[i] == values) return true;
    return false;
}

static void lower_top_k(amg_lower *l, int *out)
{
    const amg_attr axis = amg_int("axis", amg_attr_int(l->node, "axis", -1));
    const amg_dtype dtype = amg_lower_in(l->r->g, l->node, 0)->dtype;
    const amg_attr to = amg_int("to", amg_dtype_onnx(AMG_I64));
    const int x = amg_lower_value(l, 0);
    int in[2] = {x, amg_lower_value(l, 1)};
    if (dtype != AMG_F32 && dtype != AMG_I64)
        in[0] = amg_lower_node(l, AMG_OP_CAST, 1, &x, 1, &to);
    char names[2][AMG_REPLACE_NAME];
    int top[2];
    for (int i = 0; i < 2; i++) amg_lower_name(l, names[i]);
    amg_builder_node_multi(l->r->b, AMG_OP_TOP_K, names[1], in, 2, l->node->attrs,
                           l->node->num_attrs, (const char *[]){names[0], names[1]}, 2,
                           top);
    out[0] = amg_lower_node(l, AMG_OP_GATHER_ELEMENTS, 2, (int[]){x, top[1]}, 1, &axis);
    out[1] = top[1];
}

const amg_lower_rule amg_lower_top_k = {values_are_read, lower_top_k};

/* ---- Pad: what neither PyTorch nor the engine does in one ---- */

amg_pad_mode amg_pad_mode_find(const char *name)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    int i = 0;
    while (i < AMG_PAD_UNKNOWN && strcmp(name, names[i]) != 0) i++;
    return (amg_pad_mode)i;
}

int64_t amg_pad_source(amg_pad_mode mode, int64_t i, int64_t n)
{
    if (mode == AMG_PAD_EDGE || n == 1) return i < 0 ? 0 : i < n ? i : n - 1;
    const int64_t period = mode == AMG_PAD_REFLECT ? 2 * (n - 1) : n;
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

typedef struct {
    amg_pad_mode mode;
    int64_t amount[2 * AMG_MAX_RANK]; /* before each axis, then behind each */
    bool cuts;                        /* one is negative */
} padding;

/* false: not known. */
static bool read_padding(const amg_graph *g, const amg_node *node, padding *p)
{
    const int rank = amg_lower_in(g, node, 0)->rank;
    int count;
    p->mode = amg_pad_mode_find(amg_attr_string(node, "mode", "constant"));
    p->cuts = false;
    if (!amg_value_ints(amg_lower_in(g, node, 1), 2 * AMG_MAX_RANK, p->amount,
                        &count) ||
        count != 2 * rank || amg_lower_in(g, node, 3))
        return false;
    for (int i = 0; i < count; i++) p->cuts = p->cuts || p->amount[i] < 0;
    return true;
}

/* Whether F.pad has the mode for these amounts: dims behind the second of three to
 * five, by less than the dim is long. */
static bool pytorch_pads(const padding *p, const amg_value *x)
{
    for (int d = 0; d < x->rank; d++) {
        const int64_t before = p->amount[d], behind = p->amount[x->rank + d];
        const int64_t most = p->mode == AMG_PAD_REFLECT ? x->dims[d] - 1
                             : p->mode == AMG_PAD_WRAP  ? x->dims[d]
                                                        : INT64_MAX;
        if ((before || behind) && (d < 2 || before > most || behind > most))
            return false;
    }
    return x->rank >= 3 && x->rank <= 5 && !p->cuts;
}

static bool is_taken_apart(const amg_graph *g, const amg_node *node)
{
    padding p;
    if (!read_padding(g, node, &p)) return false;
    const amg_value *x = amg_lower_in(g, node, 0);
    if (p.mode == AMG_PAD_CONSTANT) return p.cuts;
    return x->dtype != AMG_F32 || !pytorch_pads(&p, x);
}

/* A negative amount cuts elements off. */
static int cut(amg_lower *l, const padding *p, int rank, const int64_t *dims)
{
    int64_t from[AMG_MAX_RANK], to[AMG_MAX_RANK], axes[AMG_MAX_RANK];
    int count = 0;
    for (int d = 0; d < rank; d++) {
        const int64_t before = p->amount[d], behind = p->amount[rank + d];
        if (before >= 0 && behind >= 0) continue;
        from[count] = before < 0 ? -before : 0;
        to[count] = behind < 0 ? dims[d] + behind : dims[d];
        axes[count++] = d;
    }
    int in[4] = {amg_lower_value(l, 0), amg_lower_ints(l, count, from),
                 amg_lower_ints(l, count, to), amg_lower_ints(l, count, axes)};
    return amg_lower_node(l, AMG_OP_SLICE, 4, in, 0, NULL);
}

/* One axis after the other, by index. */
static int by_index(amg_lower *l, const padding *p, int rank, const int64_t *dims)
{
    int x = amg_lower_value(l, 0);
    for (int d = 0; d < rank; d++) {
        const int64_t before = p->amount[d], behind = p->amount[rank + d];
        if (before == 0 && behind == 0) continue;
        const int64_t count = dims[d] + before + behind;
        const amg_tensor index = {.dtype = AMG_I64, .rank = 1, .dims = {count}};
        char name[AMG_REPLACE_NAME];
        amg_lower_name(l, name);
        int at = amg_builder_param(l->r->b, name, &index);
        amg_tensor *made = amg_builder_data(l->r->b, at);
        for (int64_t i = 0; made && i < count; i++)
            ((int64_t *)made->data)[i] = amg_pad_source(p->mode, i - before, dims[d]);
        const amg_attr axis = amg_int("axis", d);
        x = amg_lower_node(l, AMG_OP_GATHER, 2, (int[]){x, at}, 1, &axis);
    }
    return x;
}

static void lower_pad(amg_lower *l, int *out)
{
    const amg_value *x = amg_lower_in(l->r->g, l->node, 0);
    padding p;
    if (!read_padding(l->r->g, l->node, &p)) return; /* applies() saw that it can */
    if (p.mode != AMG_PAD_CONSTANT) {
        out[0] = by_index(l, &p, x->rank, x->dims);
        return;
    }
    int y = cut(l, &p, x->rank, x->dims);
    for (int i = 0; i < 2 * x->rank; i++)
        if (p.amount[i] < 0) p.amount[i] = 0;
    int in[3] = {y, amg_lower_ints(l, 2 * x->rank, p.amount), amg_lower_value(l, 2)};
    out[0] = amg_lower_node(l, AMG_OP_PAD, in[2] == AMG_NO_VALUE ? 2 : 3, in, 0, NULL);
}

const amg_lower_rule amg_lower_pad = {is_taken_apart, lower_pad};

/* ---- Gather of one row of a Concat: of the part that has it. A network that reads the
 * last of several layers' states has no need of the others ---- */

/* The part of the Concat behind the node that has its row, *at of its own; -1: none. */
static int find_part(const amg_graph *g, const amg_node *node, int64_t *at)
{
    const amg_value *x = amg_lower_in(g, node, 0), *index = amg_lower_in(g, node, 1);
    const amg_node *concat = x->producer < 0 ? NULL : &g->nodes[x->producer];
    const int axis = amg_axis_find(amg_attr_int(node, "axis", 0), x->rank);
    int count;
    if (!concat || concat->op != AMG_OP_CONCAT || x->dtype != AMG_F32 ||
        amg_axis_find(amg_attr_int(concat, "axis", 0), x->rank) != axis ||
        index->rank != 0 || !amg_value_ints(index, 1, at, &count))
        return -1;
    if (*at < 0) *at += x->dims[axis];
    for (int i = 0; i < concat->num_inputs; i++) {
        const int64_t rows = amg_lower_in(g, concat, i)->dims[axis];
        if (rows < 0 || *at < 0) return -1;
        if (*at < rows) return concat->inputs[i];
        *at -= rows;
    }
    return -1;
}

static bool is_of_one_part(const amg_graph *g, const amg_node *node)
{
    int64_t at;
    return find_part(g, node, &at) >= 0;
}

static void lower_gather(amg_lower *l, int *out)
{
    int64_t at = 0;
    const int part = find_part(l->r->g, l->node, &at);
    const amg_attr axis = amg_int("axis", amg_attr_int(l->node, "axis", 0));
    int in[2] = {l->r->map[part], amg_lower_ints(l, -1, &at)};
    out[0] = amg_lower_node(l, AMG_OP_GATHER, 2, in, 1, &axis);
}

const amg_lower_rule amg_lower_gather = {is_of_one_part, lower_gather};
