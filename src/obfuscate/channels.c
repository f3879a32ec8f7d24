/* Channel groups by one pass over the nodes in topological order with union-find.
 * Consumes a graph's structure and shapes, never its weights; what it does not
 * understand it freezes, so that an edit by its lists always yields a valid network.
 * The rules of single operators stand in channel_layers.c and channel_moves.c. */
#include "obfuscate/channels.h"

#include "obfuscate/channel_pass.h"

int amg_channels_root(const amg_channels *c, int group)
{
    while (c->parent[group] != group) group = c->parent[group];
    return group;
}

int64_t amg_channels_size(const amg_channels *c, const amg_feature_list *list,
                          const int64_t *width)
{
    int64_t n = 0;
    for (int i = 0; i < list->count; i++)
        n += list->segments[i].times *
             width[amg_channels_root(c, list->segments[i].group)];
    return n;
}

void amg_channels_clear(amg_channels *c)
{
    amg_arena_clear(&c->arena);
    *c = (amg_channels){0};
}

/* ---- what the rules use ---- */

const amg_value *amg_channel_in(const amg_channel_pass *p, const amg_node *n, int i)
{
    return i < n->num_inputs && n->inputs[i] != AMG_NO_VALUE
               ? &p->g->values[n->inputs[i]]
               : NULL;
}

amg_segment *amg_channel_segments(amg_channel_pass *p, int count)
{
    amg_segment *s = amg_arena_array(&p->c->arena, (size_t)count, sizeof *s);
    if (!s) p->failed = true;
    return s;
}

amg_feature_list amg_channel_open(amg_channel_pass *p, int64_t width, int axis,
                                  bool frozen)
{
    amg_segment *s = amg_channel_segments(p, 1);
    if (!s) return (amg_feature_list){0};
    amg_channels *c = p->c;
    int id = c->num_groups++;
    c->parent[id] = id;
    c->width[id] = width;
    c->frozen[id] = frozen;
    *s = (amg_segment){.group = id, .times = 1};
    return (amg_feature_list){.axis = axis, .count = 1, .segments = s};
}

amg_feature_list amg_channel_repeat(amg_channel_pass *p, const amg_feature_list *list,
                                    int64_t times)
{
    amg_segment *s = amg_channel_segments(p, list->count ? list->count : 1);
    if (!s) return (amg_feature_list){0};
    for (int i = 0; i < list->count; i++)
        s[i] = (amg_segment){list->segments[i].group, list->segments[i].times * times};
    return (amg_feature_list){.axis = list->axis, .count = list->count, .segments = s};
}

void amg_channel_freeze(amg_channel_pass *p, const amg_feature_list *list)
{
    for (int i = 0; i < list->count; i++)
        p->c->frozen[amg_channels_root(p->c, list->segments[i].group)] = true;
}

void amg_channel_join(amg_channel_pass *p, const amg_feature_list *a,
                      const amg_feature_list *b)
{
    amg_channels *c = p->c;
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = a->segments[i].times == b->segments[i].times &&
               c->width[amg_channels_root(c, a->segments[i].group)] ==
                   c->width[amg_channels_root(c, b->segments[i].group)];
    if (!same) {
        amg_channel_freeze(p, a);
        amg_channel_freeze(p, b);
        return;
    }
    for (int i = 0; i < a->count; i++) {
        int x = amg_channels_root(c, a->segments[i].group);
        int y = amg_channels_root(c, b->segments[i].group);
        c->parent[y] = x;
        c->frozen[x] = c->frozen[x] || c->frozen[y];
    }
}

void amg_channel_follow(amg_channel_pass *p, int v, int d, const amg_feature_list *list)
{
    if (v == AMG_NO_VALUE || !list->count) return;
    if (p->g->values[v].dims[d] != amg_channels_size(p->c, list, p->c->width)) {
        amg_channel_freeze(p, list);
        return;
    }
    const amg_feature_list **slot = &p->c->params[v].dim[d];
    if (*slot) {
        amg_channel_join(p, *slot, list);
        return;
    }
    amg_feature_list *kept = amg_arena_alloc(&p->c->arena, sizeof *kept);
    if (kept)
        *kept = *list;
    else
        p->failed = true;
    *slot = kept;
}

amg_feature_list amg_channel_at(amg_channel_pass *p, const amg_node *n, int i, int axis)
{
    const amg_feature_list *list = &p->c->values[n->inputs[i]];
    if (list->count && list->axis == axis) return *list;
    amg_channel_freeze(p, list);
    return amg_channel_open(p, p->g->values[n->inputs[i]].dims[axis], axis, true);
}

amg_feature_list amg_channel_moved(const amg_feature_list *list, int axis)
{
    return (amg_feature_list){
        .axis = axis, .count = list->count, .segments = list->segments};
}

/* A value whose features are not known counts as one of dim 1 that stays. */
static amg_feature_list frozen_value(amg_channel_pass *p, int v)
{
    const amg_value *val = &p->g->values[v];
    return amg_channel_open(p, val->rank > 1 ? val->dims[1] : 1, 1, true);
}

amg_feature_list amg_channel_unknown(amg_channel_pass *p, const amg_node *n)
{
    for (int i = 0; i < n->num_inputs; i++)
        if (n->inputs[i] != AMG_NO_VALUE) {
            amg_channel_freeze(p, &p->c->values[n->inputs[i]]);
            p->fixed[n->inputs[i]] = true;
        }
    return frozen_value(p, n->outputs[0]);
}

/* ---- the pass ---- */

static amg_feature_list carry(amg_channel_pass *p, const amg_node *n)
{
    return p->c->values[n->inputs[0]];
}

/* Of images: the operator reads dim 1 as channels. */
static amg_feature_list carry_channels(amg_channel_pass *p, const amg_node *n)
{
    return p->g->values[n->inputs[0]].rank > 1 ? amg_channel_at(p, n, 0, 1)
                                               : amg_channel_unknown(p, n);
}

/* Scales keep the channels; sizes are constants that name them. */
static amg_feature_list resize(amg_channel_pass *p, const amg_node *n)
{
    return amg_channel_in(p, n, 3) ? amg_channel_unknown(p, n) : carry_channels(p, n);
}

static amg_channel_rule rule_of(const amg_node *n)
{
    switch (n->op) {
    case AMG_OP_CONV: return amg_channel_conv;
    case AMG_OP_CONV_TRANSPOSE: return amg_channel_conv_transpose;
    case AMG_OP_GEMM: return amg_channel_gemm;
    case AMG_OP_MAT_MUL: return amg_channel_mat_mul;
    case AMG_OP_LSTM:
    case AMG_OP_GRU:
    case AMG_OP_RNN: return amg_channel_recurrent;
    case AMG_OP_PRELU: return amg_channel_prelu;
    case AMG_OP_BATCH_NORM:
    case AMG_OP_INSTANCE_NORM: return amg_channel_normalise;
    case AMG_OP_LAYER_NORM:
    case AMG_OP_RMS_NORM: return amg_channel_layer_norm;
    case AMG_OP_ADD:
    case AMG_OP_SUB:
    case AMG_OP_MUL:
    case AMG_OP_DIV:
    case AMG_OP_MAX:
    case AMG_OP_MIN: return amg_channel_elementwise;
    case AMG_OP_CONCAT: return amg_channel_concat;
    case AMG_OP_FLATTEN:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE:
    case AMG_OP_RESHAPE: return amg_channel_reshape;
    case AMG_OP_TRANSPOSE: return amg_channel_transpose;
    case AMG_OP_REDUCE_MEAN:
    case AMG_OP_REDUCE_SUM:
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN: return amg_channel_reduce;
    case AMG_OP_GATHER: return amg_channel_gather;
    case AMG_OP_SLICE: return amg_channel_slice;
    case AMG_OP_SPLIT: return amg_channel_split;
    case AMG_OP_SOFTMAX:
    case AMG_OP_LOG_SOFTMAX: return amg_channel_softmax;
    case AMG_OP_RESIZE: return resize;
    case AMG_OP_MAX_POOL:
    case AMG_OP_AVERAGE_POOL:
    case AMG_OP_GLOBAL_AVERAGE_POOL:
    case AMG_OP_GLOBAL_MAX_POOL: return carry_channels;
    case AMG_OP_RELU:
    case AMG_OP_LEAKY_RELU:
    case AMG_OP_CLIP:
    case AMG_OP_SIGMOID:
    case AMG_OP_TANH:
    case AMG_OP_ELU:
    case AMG_OP_CELU:
    case AMG_OP_SELU:
    case AMG_OP_MISH:
    case AMG_OP_SOFTSIGN:
    case AMG_OP_SHRINK:
    case AMG_OP_THRESHOLDED_RELU:
    case AMG_OP_SOFTPLUS:
    case AMG_OP_HARD_SIGMOID:
    case AMG_OP_HARD_SWISH:
    case AMG_OP_GELU:
    case AMG_OP_DROPOUT:
    case AMG_OP_IDENTITY:
    case AMG_OP_STOP_GRADIENT:
    case AMG_OP_PAD: return carry;
    default: return amg_channel_unknown;
    }
}

/* Where a list does not add up to the feature dim (a broadcast, a shape that is not
 * known yet), the rule that made it did not understand the node. */
static amg_feature_list checked_output(amg_channel_pass *p, const amg_node *n)
{
    const bool reads = n->num_inputs && n->inputs[0] != AMG_NO_VALUE &&
                       p->g->values[n->inputs[0]].rank >= 0;
    const amg_feature_list list = (reads ? rule_of(n) : amg_channel_unknown)(p, n);
    const amg_value *out = &p->g->values[n->outputs[0]];
    if (p->failed ||
        (out->rank > list.axis &&
         out->dims[list.axis] == amg_channels_size(p->c, &list, p->c->width)))
        return list;
    amg_channel_freeze(p, &list);
    return amg_channel_unknown(p, n);
}

static void visit(amg_channel_pass *p, const amg_node *n)
{
    amg_feature_list *values = p->c->values;
    values[n->outputs[0]] = checked_output(p, n);
    for (int i = 1; !p->failed && i < n->num_outputs; i++)
        if (!values[n->outputs[i]].count)
            values[n->outputs[i]] = frozen_value(p, n->outputs[i]);
}

/* A constant's data cannot be resized, nor what an unknown operator reads. */
static void freeze_fixed(amg_channel_pass *p)
{
    for (int v = 0; v < p->g->num_values; v++) {
        const amg_value *val = &p->g->values[v];
        if (val->kind != AMG_VALUE_PARAM) continue;
        if (!p->fixed[v] && val->role != AMG_ROLE_CONSTANT) continue;
        for (int d = 0; d < AMG_FEATURE_DIMS; d++)
            if (p->c->params[v].dim[d]) amg_channel_freeze(p, p->c->params[v].dim[d]);
    }
}

/* A rule opens a group for each input at most, one for its output and one more; so does
 * what stands in for it, for each output. */
static size_t max_groups(const amg_graph *g)
{
    size_t count = (size_t)g->num_inputs;
    for (int i = 0; i < g->num_nodes; i++)
        count += (size_t)g->nodes[i].num_inputs + (size_t)g->nodes[i].num_outputs + 2;
    return count;
}

amg_status amg_channels_init(const amg_graph *g, amg_channels *out, amg_error *err)
{
    *out = (amg_channels){0};
    const size_t groups = max_groups(g), values = (size_t)g->num_values;
    out->parent = amg_arena_array(&out->arena, groups, sizeof *out->parent);
    out->width = amg_arena_array(&out->arena, groups, sizeof *out->width);
    out->frozen = amg_arena_array(&out->arena, groups, sizeof *out->frozen);
    out->values = amg_arena_array(&out->arena, values, sizeof *out->values);
    out->params = amg_arena_array(&out->arena, values, sizeof *out->params);
    out->named =
        amg_arena_array(&out->arena, (size_t)g->num_nodes + 1, sizeof *out->named);
    amg_channel_pass p = {.g = g, .c = out};
    p.fixed = amg_arena_array(&out->arena, values, sizeof *p.fixed);
    p.failed = !out->parent || !out->width || !out->frozen || !out->values ||
               !out->params || !out->named || !p.fixed;
    for (int i = 0; !p.failed && i < g->num_inputs; i++)
        out->values[g->inputs[i]] = frozen_value(&p, g->inputs[i]);
    for (int i = 0; !p.failed && i < g->num_nodes; i++) visit(&p, &g->nodes[i]);
    for (int i = 0; !p.failed && i < g->num_outputs; i++)
        amg_channel_freeze(&p, &out->values[g->outputs[i]]);
    if (!p.failed) freeze_fixed(&p);
    if (!p.failed) return AMG_OK;
    amg_channels_clear(out);
    return amg_fail(err, AMG_NO_MEMORY, -1, "decoy",
                    "no memory for its channel groups");
}

bool amg_is_recurrent(const amg_node *n)
{
    return n->op == AMG_OP_LSTM || n->op == AMG_OP_GRU || n->op == AMG_OP_RNN;
}

bool amg_is_layer(const amg_node *n)
{
    switch (n->op) {
    case AMG_OP_CONV:
    case AMG_OP_CONV_TRANSPOSE:
    case AMG_OP_GEMM:
    case AMG_OP_MAT_MUL: return true;
    default: return amg_is_recurrent(n);
    }
}
