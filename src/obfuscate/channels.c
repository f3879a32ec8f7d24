/* Channel groups by one pass over the nodes in topological order with union-find.
 * Consumes a graph's structure and shapes, never its weights; what it does not
 * understand it freezes, so that an edit by its lists always yields a valid network. */
#include "obfuscate/channels.h"

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

/* The pass. `failed` collects out-of-memory, so that the rules below read as rules. */
typedef struct {
    const amg_graph *g;
    amg_channels *c;
    bool *fixed; /* per value: a parameter that an operator unknown here reads */
    bool failed;
} pass;

static amg_segment *new_segments(pass *p, int count)
{
    amg_segment *s = amg_arena_array(&p->c->arena, (size_t)count, sizeof *s);
    if (!s) p->failed = true;
    return s;
}

/* A list of one segment over a new group of this width. */
static amg_feature_list open_group(pass *p, int64_t width, bool frozen)
{
    amg_segment *s = new_segments(p, 1);
    if (!s) return (amg_feature_list){0};
    amg_channels *c = p->c;
    int id = c->num_groups++;
    c->parent[id] = id;
    c->width[id] = width;
    c->frozen[id] = frozen;
    *s = (amg_segment){.group = id, .times = 1};
    return (amg_feature_list){.count = 1, .segments = s};
}

static void freeze(pass *p, const amg_feature_list *list)
{
    for (int i = 0; i < list->count; i++)
        p->c->frozen[amg_channels_root(p->c, list->segments[i].group)] = true;
}

/* Makes two lists equal forever; where their structure differs, both stop moving. */
static void join(pass *p, const amg_feature_list *a, const amg_feature_list *b)
{
    amg_channels *c = p->c;
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = a->segments[i].times == b->segments[i].times &&
               c->width[amg_channels_root(c, a->segments[i].group)] ==
                   c->width[amg_channels_root(c, b->segments[i].group)];
    if (!same) {
        freeze(p, a);
        freeze(p, b);
        return;
    }
    for (int i = 0; i < a->count; i++) {
        int x = amg_channels_root(c, a->segments[i].group);
        int y = amg_channels_root(c, b->segments[i].group);
        c->parent[y] = x;
        c->frozen[x] = c->frozen[x] || c->frozen[y];
    }
}

/* Parameter v's dim d follows list; a parameter used twice ties its lists. A list of
 * nothing (the feature dim of a parameter) is no size to follow. */
static void follow(pass *p, int v, int d, const amg_feature_list *list)
{
    if (v == AMG_NO_VALUE || !list->count) return;
    const amg_feature_list **slot = &p->c->params[v].dim[d];
    if (*slot)
        join(p, *slot, list);
    else
        *slot = list;
}

static int64_t feature_dim(const amg_value *v) { return v->rank > 1 ? v->dims[1] : 1; }

static amg_feature_list unknown(pass *p, const amg_node *n)
{
    for (int i = 0; i < n->num_inputs; i++)
        if (n->inputs[i] != AMG_NO_VALUE) {
            freeze(p, &p->c->values[n->inputs[i]]);
            p->fixed[n->inputs[i]] = true;
        }
    return open_group(p, feature_dim(&p->g->values[n->outputs[0]]), true);
}

static amg_feature_list conv(pass *p, const amg_node *n)
{
    const amg_graph *g = p->g;
    const amg_value *w = &g->values[n->inputs[1]];
    amg_feature_list *values = p->c->values, *in = &values[n->inputs[0]];
    int64_t groups = amg_attr_int(n, "group", 1);
    int bias = n->num_inputs > 2 ? n->inputs[2] : AMG_NO_VALUE;
    bool depthwise = groups > 1 && w->dims[1] == 1 && w->dims[0] == groups;
    if (w->kind != AMG_VALUE_PARAM || (groups > 1 && !depthwise)) return unknown(p, n);
    amg_feature_list *out = &values[n->outputs[0]];
    *out = depthwise ? *in : open_group(p, w->dims[0], false);
    if (!depthwise) follow(p, n->inputs[1], 1, in);
    follow(p, n->inputs[1], 0, out);
    follow(p, bias, 0, out);
    return *out;
}

/* The weight's first dim is the input's. */
static amg_feature_list conv_transpose(pass *p, const amg_node *n)
{
    const amg_value *w = &p->g->values[n->inputs[1]];
    amg_feature_list *values = p->c->values, *out = &values[n->outputs[0]];
    int bias = n->num_inputs > 2 ? n->inputs[2] : AMG_NO_VALUE;
    if (w->kind != AMG_VALUE_PARAM || amg_attr_int(n, "group", 1) != 1)
        return unknown(p, n);
    *out = open_group(p, w->dims[1], false);
    follow(p, n->inputs[1], 0, &values[n->inputs[0]]);
    follow(p, n->inputs[1], 1, out);
    follow(p, bias, 0, out);
    return *out;
}

/* One slope, or a vector [C] or [C,1,…] of them. */
static amg_feature_list prelu(pass *p, const amg_node *n)
{
    const amg_value *x = &p->g->values[n->inputs[0]];
    const amg_value *slope = &p->g->values[n->inputs[1]];
    const amg_feature_list *in = &p->c->values[n->inputs[0]];
    int64_t count = 1;
    for (int i = 0; i < slope->rank; i++) count *= slope->dims[i];
    if (slope->kind != AMG_VALUE_PARAM) return unknown(p, n);
    if (count == 1) return *in;
    if (slope->rank != x->rank - 1 || slope->dims[0] != count) return unknown(p, n);
    follow(p, n->inputs[1], 0, in);
    return *in;
}

/* A mean that leaves the feature dim where it is. */
static amg_feature_list reduce(pass *p, const amg_node *n)
{
    const amg_attr *axes = amg_attr_find(n, "axes");
    const amg_value *x = &p->g->values[n->inputs[0]];
    if (!axes || axes->kind != AMG_ATTR_INTS || x->rank < 2) return unknown(p, n);
    for (int i = 0; i < axes->count; i++)
        if ((axes->ints[i] + x->rank) % x->rank < 2) return unknown(p, n);
    return p->c->values[n->inputs[0]];
}

/* Scales keep the channels; sizes are constants that name them. */
static amg_feature_list resize(pass *p, const amg_node *n)
{
    if (n->num_inputs > 3 && n->inputs[3] != AMG_NO_VALUE) return unknown(p, n);
    return p->c->values[n->inputs[0]];
}

static amg_feature_list linear(pass *p, const amg_node *n)
{
    const amg_value *w = &p->g->values[n->inputs[1]];
    amg_feature_list *values = p->c->values, *out = &values[n->outputs[0]];
    if (w->kind != AMG_VALUE_PARAM || w->rank != 2 ||
        p->g->values[n->inputs[0]].rank != 2)
        return unknown(p, n);
    int out_dim = n->op == AMG_OP_GEMM && amg_attr_int(n, "transB", 0) ? 0 : 1;
    int bias = n->num_inputs > 2 ? n->inputs[2] : AMG_NO_VALUE;
    *out = open_group(p, w->dims[out_dim], false);
    follow(p, n->inputs[1], out_dim, out);
    follow(p, n->inputs[1], 1 - out_dim, &values[n->inputs[0]]);
    follow(p, bias, 0, out);
    return *out;
}

/* Add, Sub, Mul, Div: two activations are tied; a parameter must be a scalar or a
 * per-feature vector. */
static amg_feature_list elementwise(pass *p, const amg_node *n)
{
    amg_feature_list *values = p->c->values;
    const amg_value *a = &p->g->values[n->inputs[0]], *b = &p->g->values[n->inputs[1]];
    if (a->kind != AMG_VALUE_PARAM && b->kind != AMG_VALUE_PARAM) {
        if (a->rank != b->rank) return unknown(p, n);
        join(p, &values[n->inputs[0]], &values[n->inputs[1]]);
        return values[n->inputs[0]];
    }
    int param = a->kind == AMG_VALUE_PARAM ? 0 : 1;
    const amg_value *vec = param ? b : a, *act = param ? a : b;
    int64_t count = 1;
    for (int i = 0; i < vec->rank; i++) count *= vec->dims[i];
    const amg_feature_list *list = &values[n->inputs[!param]];
    if (count == 1) return *list;
    if (vec->rank == 1 && act->rank == 2) {
        follow(p, n->inputs[param], 0, list);
        return *list;
    }
    freeze(p, list); /* [1,C,1,1] and the like: correct, only not mutated */
    return *list;
}

static amg_feature_list concat(pass *p, const amg_node *n)
{
    if (amg_attr_int(n, "axis", 1) != 1) return unknown(p, n);
    int count = 0;
    for (int i = 0; i < n->num_inputs; i++) count += p->c->values[n->inputs[i]].count;
    amg_segment *s = new_segments(p, count ? count : 1);
    if (!s) return (amg_feature_list){0};
    int at = 0;
    for (int i = 0; i < n->num_inputs; i++) {
        const amg_feature_list *in = &p->c->values[n->inputs[i]];
        for (int j = 0; j < in->count; j++) s[at++] = in->segments[j];
    }
    return (amg_feature_list){.count = count, .segments = s};
}

/* [N,C,H,W] -> [N,C*H*W]: every channel becomes H*W features in a row. */
static amg_feature_list flatten(pass *p, const amg_node *n)
{
    const amg_value *in = &p->g->values[n->inputs[0]],
                    *out = &p->g->values[n->outputs[0]];
    const amg_feature_list *list = &p->c->values[n->inputs[0]];
    if (out->rank != 2 || in->rank < 2) return unknown(p, n);
    if (n->op == AMG_OP_FLATTEN && amg_attr_int(n, "axis", 1) != 1)
        return unknown(p, n);
    if (n->op == AMG_OP_RESHAPE) {
        const amg_tensor *to = &p->g->values[n->inputs[1]].data;
        if (!to->data || to->dtype != AMG_I64 || amg_tensor_count(to) != 2 ||
            ((const int64_t *)to->data)[1] != -1)
            return unknown(p, n);
    }
    int64_t area = 1;
    for (int i = 2; i < in->rank; i++) area *= in->dims[i];
    amg_segment *s = new_segments(p, list->count ? list->count : 1);
    if (!s) return (amg_feature_list){0};
    for (int i = 0; i < list->count; i++)
        s[i] = (amg_segment){list->segments[i].group, list->segments[i].times * area};
    return (amg_feature_list){.count = list->count, .segments = s};
}

static amg_feature_list output_of(pass *p, const amg_node *n)
{
    const amg_feature_list *in = n->num_inputs && n->inputs[0] != AMG_NO_VALUE
                                     ? &p->c->values[n->inputs[0]]
                                     : &(amg_feature_list){0};
    switch (n->op) {
    case AMG_OP_CONV: return conv(p, n);
    case AMG_OP_CONV_TRANSPOSE: return conv_transpose(p, n);
    case AMG_OP_PRELU: return prelu(p, n);
    case AMG_OP_REDUCE_MEAN: return reduce(p, n);
    case AMG_OP_RESIZE: return resize(p, n);
    case AMG_OP_INSTANCE_NORM:
        for (int i = 1; i < 3; i++) follow(p, n->inputs[i], 0, in);
        return *in;
    case AMG_OP_GEMM:
    case AMG_OP_MAT_MUL: return linear(p, n);
    case AMG_OP_BATCH_NORM:
        for (int i = 1; i < 5; i++) follow(p, n->inputs[i], 0, in);
        return *in;
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
    case AMG_OP_MAX_POOL:
    case AMG_OP_AVERAGE_POOL:
    case AMG_OP_GLOBAL_AVERAGE_POOL:
    case AMG_OP_GLOBAL_MAX_POOL:
    case AMG_OP_DROPOUT:
    case AMG_OP_IDENTITY:
    case AMG_OP_PAD: return *in;
    case AMG_OP_ADD:
    case AMG_OP_SUB:
    case AMG_OP_MUL:
    case AMG_OP_DIV:
    case AMG_OP_MAX:
    case AMG_OP_MIN: return elementwise(p, n);
    case AMG_OP_CONCAT: return concat(p, n);
    case AMG_OP_FLATTEN:
    case AMG_OP_RESHAPE: return flatten(p, n);
    default: return unknown(p, n);
    }
}

/* Where a list does not add up to the feature dim (a broadcast, a parameter among a
 * Concat's inputs), the rule that made it did not understand the node. */
static amg_feature_list checked_output(pass *p, const amg_node *n)
{
    amg_feature_list list = output_of(p, n);
    const amg_value *out = &p->g->values[n->outputs[0]];
    if (p->failed ||
        (out->rank > 1 && out->dims[1] == amg_channels_size(p->c, &list, p->c->width)))
        return list;
    freeze(p, &list);
    return unknown(p, n);
}

/* A constant's data cannot be resized, nor what an unknown operator reads. */
static void freeze_fixed(pass *p)
{
    for (int v = 0; v < p->g->num_values; v++) {
        const amg_value *val = &p->g->values[v];
        if (val->kind != AMG_VALUE_PARAM) continue;
        if (!p->fixed[v] && val->role != AMG_ROLE_CONSTANT) continue;
        for (int d = 0; d < 2; d++)
            if (p->c->params[v].dim[d]) freeze(p, p->c->params[v].dim[d]);
    }
}

amg_status amg_channels_init(const amg_graph *g, amg_channels *out, amg_error *err)
{
    *out = (amg_channels){0};
    size_t groups = 2 * (size_t)g->num_nodes + (size_t)g->num_inputs + 1;
    size_t values = (size_t)g->num_values;
    out->parent = amg_arena_array(&out->arena, groups, sizeof *out->parent);
    out->width = amg_arena_array(&out->arena, groups, sizeof *out->width);
    out->frozen = amg_arena_array(&out->arena, groups, sizeof *out->frozen);
    out->values = amg_arena_array(&out->arena, values, sizeof *out->values);
    out->params = amg_arena_array(&out->arena, values, sizeof *out->params);
    pass p = {.g = g, .c = out};
    p.fixed = amg_arena_array(&out->arena, values, sizeof *p.fixed);
    p.failed = !out->parent || !out->width || !out->frozen || !out->values ||
               !out->params || !p.fixed;
    for (int i = 0; !p.failed && i < g->num_inputs; i++)
        out->values[g->inputs[i]] =
            open_group(&p, feature_dim(&g->values[g->inputs[i]]), true);
    for (int i = 0; !p.failed && i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        amg_feature_list list = checked_output(&p, n);
        for (int o = 0; o < n->num_outputs; o++)
            if (n->outputs[o] != AMG_NO_VALUE) out->values[n->outputs[o]] = list;
    }
    for (int i = 0; !p.failed && i < g->num_outputs; i++)
        freeze(&p, &out->values[g->outputs[i]]);
    if (!p.failed) freeze_fixed(&p);
    if (!p.failed) return AMG_OK;
    amg_channels_clear(out);
    return amg_fail(err, AMG_NO_MEMORY, -1, "decoy",
                    "no memory for its channel groups");
}

bool amg_is_layer(const amg_node *n)
{
    switch (n->op) {
    case AMG_OP_CONV:
    case AMG_OP_CONV_TRANSPOSE:
    case AMG_OP_GEMM:
    case AMG_OP_MAT_MUL:
    case AMG_OP_LSTM:
    case AMG_OP_GRU:
    case AMG_OP_RNN: return true;
    default: return false;
    }
}
