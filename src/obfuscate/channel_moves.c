/* Channel groups where axes move, are cut, joined or summed: where the feature dim is
 * afterwards. What cuts through the features themselves is unknown. */
#include "obfuscate/channel_pass.h"

static const amg_feature_list *list_of(const amg_channel_pass *p, const amg_node *n,
                                       int i)
{
    return &p->c->values[n->inputs[i]];
}

static bool is_param(const amg_channel_pass *p, const amg_node *n, int i)
{
    return p->g->values[n->inputs[i]].kind == AMG_VALUE_PARAM;
}

static int axis_of(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

/* The integers of a constant, at most AMG_MAX_RANK; -1: it is none. */
static int read_ints(const amg_value *v, int64_t out[AMG_MAX_RANK])
{
    const int64_t *data = v ? v->data.data : NULL;
    if (!data || v->kind != AMG_VALUE_PARAM || v->dtype != AMG_I64) return -1;
    const int64_t count = amg_tensor_count(&v->data);
    for (int64_t i = 0; i < count && count <= AMG_MAX_RANK; i++) out[i] = data[i];
    return count <= AMG_MAX_RANK ? (int)count : -1;
}

/* The axes of a node, a bit each, from input `input` or its attribute; 0: not known. */
static unsigned axes_of(const amg_channel_pass *p, const amg_node *n, int input)
{
    int64_t axes[AMG_MAX_RANK];
    const int rank = amg_channel_in(p, n, 0)->rank;
    const amg_attr *attr = amg_attr_find(n, "axes");
    const bool given = amg_channel_in(p, n, input);
    const int count = given  ? read_ints(amg_channel_in(p, n, input), axes)
                      : attr ? attr->count
                             : 0;
    unsigned mask = 0;
    for (int i = 0; i < count; i++)
        mask |= 1u << axis_of(given ? axes[i] : attr->ints[i], rank);
    return mask;
}

/* Along the features: lists in a row. */
static amg_feature_list chain(amg_channel_pass *p, const amg_node *n, int axis)
{
    int count = 0, at = 0;
    for (int i = 0; i < n->num_inputs; i++) count += list_of(p, n, i)->count;
    amg_segment *s = amg_channel_segments(p, count ? count : 1);
    if (!s) return (amg_feature_list){0};
    for (int i = 0; i < n->num_inputs; i++) {
        const amg_feature_list *in = list_of(p, n, i);
        for (int j = 0; j < in->count; j++) s[at++] = in->segments[j];
    }
    return (amg_feature_list){.axis = axis, .count = count, .segments = s};
}

/* Along another axis than that of features, which all inputs have alike. */
amg_feature_list amg_channel_concat(amg_channel_pass *p, const amg_node *n)
{
    const amg_feature_list *first = list_of(p, n, 0);
    const int rank = amg_channel_in(p, n, 0)->rank;
    const int axis = axis_of(amg_attr_int(n, "axis", 1), rank);
    for (int i = 0; i < n->num_inputs; i++)
        if (is_param(p, n, i) || list_of(p, n, i)->axis != first->axis)
            return amg_channel_unknown(p, n);
    if (axis == first->axis) return chain(p, n, axis);
    for (int i = 1; i < n->num_inputs; i++)
        amg_channel_join(p, first, list_of(p, n, i));
    return *first;
}

/* Elements along some dims; negative: the batch times as many. */
static int64_t product(const int64_t *dims, int from, int to)
{
    int64_t all = 1;
    for (int d = from; d < to; d++) all *= dims[d];
    return all;
}

/* Where a dim ends up that makes other dims with its neighbours: the result's dim of
 * out holds all of x's along axis, and each *times. -1: nowhere as a whole. */
static int find_axis(const amg_value *x, int axis, const amg_value *out, int64_t *times)
{
    const int64_t ahead = product(x->dims, 0, axis);
    const int64_t behind = product(x->dims, axis + 1, x->rank);
    for (int d = 0; d < out->rank; d++) {
        const int64_t before = product(out->dims, 0, d);
        const int64_t after = product(out->dims, d + 1, out->rank);
        if (!before || !after || (before < 0) != (ahead < 0) || ahead % before != 0 ||
            behind % after != 0)
            continue;
        *times = ahead / before * (behind / after);
        if (out->dims[d] == *times * x->dims[axis]) return d;
    }
    return -1;
}

/* Whether a Reshape's target is one in which the features' dim can be another, and says
 * that dim in numbers (*named). */
static bool read_target(const amg_channel_pass *p, const amg_node *n, int from, int to,
                        int64_t times, bool *named)
{
    int64_t target[AMG_MAX_RANK];
    const int rank = read_ints(amg_channel_in(p, n, 1), target);
    const bool zeros = amg_attr_int(n, "allowzero", 0) == 0; /* are dims of the input */
    if (rank < 0) return false;
    for (int i = 0; i < rank; i++)
        if (i == from && i != to && zeros && target[i] == 0) return false;
    const bool copied = zeros && target[to] == 0 && from == to && times == 1;
    *named = !copied && target[to] != -1;
    return true;
}

/* [N,C,H,W] -> [N,C*H*W]: every channel becomes H*W features in a row; [L,N,2,C] ->
 * [L,N,2*C]: all channels twice. Of a dim of 1 one cannot say where it is. */
amg_feature_list amg_channel_reshape(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *x = amg_channel_in(p, n, 0), *out = &p->g->values[n->outputs[0]];
    const amg_feature_list *list = list_of(p, n, 0);
    bool *named = &p->c->named[n - p->g->nodes];
    int64_t times = 1;
    if (!list->count || list->axis >= x->rank || x->dims[list->axis] < 2)
        return amg_channel_unknown(p, n);
    const int to = find_axis(x, list->axis, out, &times);
    if (to < 0 ||
        (n->op == AMG_OP_RESHAPE && !read_target(p, n, list->axis, to, times, named)))
        return amg_channel_unknown(p, n);
    const amg_feature_list all = amg_channel_repeat(p, list, times);
    return amg_channel_moved(&all, to);
}

amg_feature_list amg_channel_transpose(amg_channel_pass *p, const amg_node *n)
{
    const amg_feature_list *list = list_of(p, n, 0);
    const amg_attr *perm = amg_attr_find(n, "perm");
    const int rank = amg_channel_in(p, n, 0)->rank;
    for (int i = 0; i < rank; i++)
        if ((perm ? perm->ints[i] : rank - 1 - i) == list->axis)
            return amg_channel_moved(list, i);
    return amg_channel_unknown(p, n);
}

amg_feature_list amg_channel_reduce(amg_channel_pass *p, const amg_node *n)
{
    const amg_feature_list *list = list_of(p, n, 0);
    const unsigned mask = axes_of(p, n, 1);
    int axis = list->axis;
    if (!mask || mask >> axis & 1) return amg_channel_unknown(p, n);
    for (int i = 0; i < list->axis && !amg_attr_int(n, "keepdims", 1); i++)
        axis -= (int)(mask >> i & 1);
    return amg_channel_moved(list, axis);
}

/* A table of embeddings: rows by any index. */
static amg_feature_list table(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *data = amg_channel_in(p, n, 0), *index = amg_channel_in(p, n, 1);
    const amg_feature_list rows = amg_channel_open(p, data->dims[0], 0, true);
    const amg_feature_list out = amg_channel_open(p, data->dims[1], index->rank, false);
    amg_channel_follow(p, n->inputs[0], 0, &rows);
    amg_channel_follow(p, n->inputs[0], 1, &out);
    return out;
}

/* The axis that is indexed gives way to those of the index. */
amg_feature_list amg_channel_gather(amg_channel_pass *p, const amg_node *n)
{
    const amg_value *data = amg_channel_in(p, n, 0), *index = amg_channel_in(p, n, 1);
    const amg_feature_list *list = list_of(p, n, 0);
    const int axis = axis_of(amg_attr_int(n, "axis", 0), data->rank);
    if (is_param(p, n, 0) && data->rank == 2 && axis == 0 && index->rank >= 0)
        return table(p, n);
    if (is_param(p, n, 0) || !is_param(p, n, 1) || axis == list->axis)
        return amg_channel_unknown(p, n);
    return amg_channel_moved(list, axis < list->axis ? list->axis - 1 + index->rank
                                                     : list->axis);
}

/* Bounds along the features are in numbers. */
amg_feature_list amg_channel_slice(amg_channel_pass *p, const amg_node *n)
{
    const amg_feature_list *list = list_of(p, n, 0);
    int64_t starts[AMG_MAX_RANK];
    const int count = read_ints(amg_channel_in(p, n, 1), starts);
    const unsigned mask = amg_channel_in(p, n, 3) ? axes_of(p, n, 3)
                          : count > 0             ? (1u << count) - 1
                                                  : 0;
    return !mask || mask >> list->axis & 1 ? amg_channel_unknown(p, n) : *list;
}

amg_feature_list amg_channel_split(amg_channel_pass *p, const amg_node *n)
{
    const amg_feature_list list = *list_of(p, n, 0);
    const int rank = amg_channel_in(p, n, 0)->rank;
    if (axis_of(amg_attr_int(n, "axis", 0), rank) == list.axis)
        return amg_channel_unknown(p, n);
    for (int i = 1; i < n->num_outputs; i++) p->c->values[n->outputs[i]] = list;
    return list;
}

/* Over the features it is that of an attention, whose scale is a constant. */
amg_feature_list amg_channel_softmax(amg_channel_pass *p, const amg_node *n)
{
    const amg_feature_list *list = list_of(p, n, 0);
    const int rank = amg_channel_in(p, n, 0)->rank;
    return axis_of(amg_attr_int(n, "axis", -1), rank) == list->axis
               ? amg_channel_unknown(p, n)
               : *list;
}
