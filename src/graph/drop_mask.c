/* See drop_mask.h: finding masks among the nodes of a file, and the way back. */
#include "graph/drop_mask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/infer.h"
#include "graph/pattern.h"
#include "graph/replace.h"

bool amg_drop_is_plain(const amg_node *node)
{
    return !amg_attr_find(node, AMG_DROP_AXES) && !amg_attr_find(node, AMG_DROP_DRAW);
}

void amg_drop_mask_dims(const amg_node *node, const amg_value *x, int64_t *dims)
{
    const amg_attr *axes = amg_attr_find(node, AMG_DROP_AXES);
    for (int d = 0; d < x->rank; d++) dims[d] = x->dims[d];
    for (int i = 0; axes && i < axes->count; i++) dims[axes->ints[i]] = 1;
}

/* ---- reading a mask ---- */

/* A graph and how many nodes and outputs read each of its values. */
typedef struct {
    const amg_graph *g;
    int *uses;
} reading;

/* One dropout: of x, by a mask of the value mask's dims. */
typedef struct {
    int x, mask;
    int ratio; /* value; AMG_NO_VALUE: it is 1 - keep */
    float keep;
    const char *draw, *order;
} drop;

/* The node that makes a value and that one node reads, if it is this operator. */
static const amg_node *only_maker(const reading *r, int value, amg_op op)
{
    const amg_node *n = amg_graph_maker(r->g, value, op);
    return n && r->uses[value] == 1 ? n : NULL;
}

/* The number that a value is, behind casts. */
static bool number_of(const amg_graph *g, int value, double *out)
{
    const amg_node *cast;
    while ((cast = amg_graph_maker(g, value, AMG_OP_CAST))) value = cast->inputs[0];
    return amg_value_number(&g->values[value], out);
}

/* Whether a value is the number that the mask keeps its elements by. */
static bool is_keep(const amg_graph *g, int value, float keep)
{
    double number;
    return number_of(g, value, &number) && (float)number == keep;
}

/* The number that all elements of a value are, in a shape that may depend on the batch.
 */
static bool filling_of(const amg_graph *g, int value, double *out)
{
    const amg_value *v = &g->values[value];
    const amg_node *of_shape = amg_graph_maker(g, value, AMG_OP_CONSTANT_OF_SHAPE);
    const amg_attr *filling = of_shape ? amg_attr_find(of_shape, "value") : NULL;
    if (filling && filling->tensor.dtype == AMG_F32 &&
        amg_tensor_count(&filling->tensor) == 1) {
        *out = (double)*(const float *)filling->tensor.data;
        return true;
    }
    const int expanded = amg_graph_operand(g, value, AMG_OP_EXPAND);
    if (expanded != AMG_NO_VALUE) return number_of(g, expanded, out);
    if (v->kind != AMG_VALUE_PARAM || v->dtype != AMG_F32 || !v->data.data)
        return false;
    const float *data = v->data.data;
    const int64_t count = amg_tensor_count(&v->data);
    for (int64_t i = 1; i < count; i++)
        if (data[i] != data[0]) return false;
    *out = count ? (double)data[0] : 0;
    return count > 0;
}

/* Numbers from [0, 1). */
static const amg_node *find_uniform(const reading *r, int value)
{
    const amg_node *n = only_maker(r, value, AMG_OP_RANDOM_UNIFORM_LIKE);
    return n && amg_attr_float(n, "low", 0) == 0 && amg_attr_float(n, "high", 1) == 1
               ? n
               : NULL;
}

/* PyTorch's exporters write x.bernoulli_(p) as torch.rand(x.shape) < p. TorchScript's
 * spells out the interval for the former alone; dynamo's does so for all, but then
 * draws in the shape of a Cast for the former, or says the type for torch.rand. */
static bool is_bernoulli(const amg_graph *g, const amg_node *uniform)
{
    return amg_attr_find(uniform, "low") && amg_attr_find(uniform, "high") &&
           (amg_attr_find(uniform, "dtype") ||
            amg_graph_maker(g, uniform->inputs[0], AMG_OP_CAST));
}

static const char *comparison_of(amg_op op)
{
    switch (op) {
    case AMG_OP_LESS: return "<";
    case AMG_OP_LESS_OR_EQUAL: return "<=";
    case AMG_OP_GREATER: return ">";
    case AMG_OP_GREATER_OR_EQUAL: return ">=";
    default: return NULL;
    }
}

/* torch.rand(…) < keep, as numbers. */
static bool find_compared(const reading *r, int value, drop *d)
{
    const amg_graph *g = r->g;
    const amg_node *cast = only_maker(r, value, AMG_OP_CAST);
    if (!cast) return false;
    const amg_node *inner = only_maker(r, cast->inputs[0], AMG_OP_CAST);
    const int bits = (inner ? inner : cast)->inputs[0];
    const int producer = g->values[bits].producer;
    if (producer < 0 || r->uses[bits] != 1) return false;
    const amg_node *n = &g->nodes[producer];
    const amg_node *uniform = NULL;
    double number;
    d->draw = comparison_of(n->op);
    if (d->draw) uniform = find_uniform(r, n->inputs[0]);
    if (!uniform || !number_of(g, n->inputs[1], &number)) return false;
    const bool keeps_below = d->draw[0] == '<';
    if (n->op == AMG_OP_LESS && is_bernoulli(g, uniform)) d->draw = AMG_DRAW_BERNOULLI;
    d->mask = n->inputs[0];
    d->keep = keeps_below ? (float)number : (float)(1 - number);
    return true;
}

/* floor(torch.rand(…) + keep) */
static bool find_floor(const reading *r, int value, drop *d)
{
    const amg_node *floor = only_maker(r, value, AMG_OP_FLOOR);
    const amg_node *add = floor ? only_maker(r, floor->inputs[0], AMG_OP_ADD) : NULL;
    double number;
    for (int side = 0; add && side < 2; side++) {
        if (!find_uniform(r, add->inputs[side]) ||
            !number_of(r->g, add->inputs[1 - side], &number))
            continue;
        *d = (drop){
            .mask = add->inputs[side], .keep = (float)number, .draw = AMG_DRAW_FLOOR};
        return true;
    }
    return false;
}

static bool find_sample(const reading *r, int value, drop *d)
{
    const amg_node *n = only_maker(r, value, AMG_OP_BERNOULLI);
    double number;
    if (!n || !filling_of(r->g, n->inputs[0], &number)) return false;
    *d = (drop){.mask = value, .keep = (float)number, .draw = AMG_DRAW_SAMPLE};
    return true;
}

/* A value of zeros and ones. */
static bool find_draw(const reading *r, int value, drop *d)
{
    return find_compared(r, value, d) || find_floor(r, value, d) ||
           find_sample(r, value, d);
}

/* A dropout of ones, as we write it and people may. */
static bool find_dropped_ones(const reading *r, int value, drop *d)
{
    const amg_node *n = only_maker(r, value, AMG_OP_DROPOUT);
    double number;
    if (!n || !filling_of(r->g, n->inputs[0], &number) || number != 1) return false;
    *d = (drop){.mask = value,
                .ratio = n->num_inputs > 1 ? n->inputs[1] : AMG_NO_VALUE,
                .keep = 0.5f};
    return true;
}

/* x * s, where s or x holds the division. */
static bool find_in_product(const reading *r, const amg_node *n, drop *d)
{
    for (int side = 0; side < 2; side++) {
        const int s = n->inputs[side], x = n->inputs[1 - side];
        const amg_node *scaled = only_maker(r, s, AMG_OP_DIV);
        const amg_node *divided = amg_graph_maker(r->g, x, AMG_OP_DIV);
        if (find_dropped_ones(r, s, d)) {
            d->x = x;
            return true;
        }
        d->ratio = AMG_NO_VALUE;
        if (scaled && find_draw(r, scaled->inputs[0], d) &&
            is_keep(r->g, scaled->inputs[1], d->keep)) {
            d->x = x;
            d->order = AMG_ORDER_MASK;
            return true;
        }
        if (divided && find_draw(r, s, d) &&
            is_keep(r->g, divided->inputs[1], d->keep)) {
            d->x = divided->inputs[0];
            d->order = AMG_ORDER_BEFORE;
            return true;
        }
    }
    return false;
}

/* (x * mask) / keep */
static bool find_in_quotient(const reading *r, const amg_node *n, drop *d)
{
    const amg_node *mul = only_maker(r, n->inputs[0], AMG_OP_MUL);
    for (int side = 0; mul && side < 2; side++) {
        if (!find_draw(r, mul->inputs[side], d) ||
            !is_keep(r->g, n->inputs[1], d->keep))
            continue;
        d->x = mul->inputs[1 - side];
        d->ratio = AMG_NO_VALUE;
        d->order = AMG_ORDER_AFTER;
        return true;
    }
    return false;
}

/* Whether the mask has one draw or more for each sample and none for two elements that
 * are not side by side along whole dims; and those dims. */
static bool find_axes(const amg_graph *g, const amg_node *n, const drop *d,
                      int64_t *axes, int *count)
{
    const amg_value *x = &g->values[d->x], *mask = &g->values[d->mask];
    const amg_value *y = &g->values[n->outputs[0]];
    *count = 0;
    if (x->rank < 1 || mask->rank != x->rank || y->rank != x->rank ||
        x->dtype != AMG_F32 || mask->dims[0] != x->dims[0] || x->dims[0] >= 0)
        return false;
    for (int i = 0; i < x->rank; i++) {
        if (y->dims[i] != x->dims[i]) return false;
        if (mask->dims[i] == x->dims[i]) continue;
        if (mask->dims[i] != 1) return false;
        axes[(*count)++] = i;
    }
    return true;
}

static bool find_drop(const reading *r, const amg_node *n, drop *d, int64_t *axes,
                      int *num_axes)
{
    *d = (drop){.ratio = AMG_NO_VALUE};
    return ((n->op == AMG_OP_MUL && find_in_product(r, n, d)) ||
            (n->op == AMG_OP_DIV && find_in_quotient(r, n, d))) &&
           d->keep > 0 && d->keep <= 1 && find_axes(r->g, n, d, axes, num_axes);
}

/* ---- one node out of several ---- */

/* The ratio of which 1 - ratio is keep: the shortest decimal, which is what the
 * module's author wrote. */
static float ratio_of(float keep)
{
    char text[32];
    double ratio = 0;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, 1 - (double)keep);
        ratio = strtod(text, NULL);
        if ((float)(1 - ratio) == keep) break;
    }
    return (float)ratio;
}

static int add_ratio(const amg_replace *r, const char *output, float ratio)
{
    char name[AMG_REPLACE_NAME];
    amg_tensor t = {.dtype = AMG_F32, .rank = 0};
    amg_replace_name(r, output, "ratio", name);
    const int id = amg_builder_param(r->b, name, &t);
    amg_tensor *data = amg_builder_data(r->b, id);
    if (data) memcpy(data->data, &ratio, sizeof ratio);
    amg_builder_say(r->b, id, AMG_SAID_CONSTANT);
    return id;
}

static amg_attr text_attr(const char *name, const char *text)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_STRING, .s = text};
}

static void add_dropout(const amg_replace *r, const amg_node *n, const drop *d,
                        const int64_t *axes, int num_axes)
{
    const char *output = r->g->values[n->outputs[0]].name;
    const bool has_ratio = d->draw || d->ratio != AMG_NO_VALUE;
    amg_attr attrs[3];
    int num_attrs = 0;
    if (num_axes) attrs[num_attrs++] = amg_ints(AMG_DROP_AXES, num_axes, axes);
    if (d->draw) attrs[num_attrs++] = text_attr(AMG_DROP_DRAW, d->draw);
    if (d->draw) attrs[num_attrs++] = text_attr(AMG_DROP_ORDER, d->order);
    const int ratio = d->draw ? add_ratio(r, output, ratio_of(d->keep))
                      : d->ratio == AMG_NO_VALUE ? AMG_NO_VALUE
                                                 : r->map[d->ratio];
    r->map[n->outputs[0]] =
        amg_builder_node(r->b, AMG_OP_DROPOUT, n->name, (int[]){r->map[d->x], ratio},
                         1 + has_ratio, attrs, num_attrs, output);
}

/* What the outputs need, dropouts put together. */
static void mark_live(const reading *r, bool *live)
{
    const amg_graph *g = r->g;
    int64_t axes[AMG_MAX_RANK];
    int num_axes;
    drop d;
    for (int i = 0; i < g->num_outputs; i++) live[g->outputs[i]] = true;
    for (int n = g->num_nodes - 1; n >= 0; n--) {
        const amg_node *node = &g->nodes[n];
        bool needed = false;
        for (int i = 0; i < node->num_outputs; i++)
            needed = needed || live[node->outputs[i]];
        if (!needed) continue;
        if (find_drop(r, node, &d, axes, &num_axes)) {
            live[d.x] = true;
            if (d.ratio != AMG_NO_VALUE) live[d.ratio] = true;
            continue;
        }
        for (int i = 0; i < node->num_inputs; i++)
            if (node->inputs[i] != AMG_NO_VALUE) live[node->inputs[i]] = true;
    }
}

static amg_status join(amg_replace *r, const reading *from, const bool *live,
                       amg_graph **out, amg_error *err)
{
    const amg_graph *g = r->g;
    int64_t axes[AMG_MAX_RANK];
    int num_axes;
    drop d;
    amg_replace_values(r, live);
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        amg_status s = AMG_OK;
        bool needed = false;
        for (int i = 0; i < node->num_outputs; i++)
            needed = needed || live[node->outputs[i]];
        if (!needed) continue;
        if (find_drop(from, node, &d, axes, &num_axes))
            add_dropout(r, node, &d, axes, num_axes);
        else
            s = amg_replace_copy(r, node, err);
        if (s) return s;
    }
    return amg_replace_finish(r, out, err);
}

static void count_uses(const amg_graph *g, int *uses)
{
    for (int i = 0; i < g->num_outputs; i++) uses[g->outputs[i]]++;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++)
            if (g->nodes[n].inputs[i] != AMG_NO_VALUE) uses[g->nodes[n].inputs[i]]++;
}

static bool has_masks(const reading *r)
{
    int64_t axes[AMG_MAX_RANK];
    int num_axes;
    drop d;
    for (int n = 0; n < r->g->num_nodes; n++)
        if (find_drop(r, &r->g->nodes[n], &d, axes, &num_axes)) return true;
    return false;
}

amg_status amg_drop_masks_join(const amg_graph *g, amg_graph **out, amg_error *err)
{
    *out = NULL;
    const size_t count = (size_t)g->num_values + 1;
    reading from = {.g = g, .uses = amg_calloc(count, sizeof *from.uses)};
    bool *live = amg_calloc(count, sizeof *live);
    amg_replace r = {0};
    amg_status s = AMG_OK;
    if (!from.uses || !live)
        s = amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    if (!s) count_uses(g, from.uses);
    if (!s && has_masks(&from)) {
        mark_live(&from, live);
        s = amg_replace_init(&r, g, err);
        if (!s) s = join(&r, &from, live, out, err);
    }
    amg_replace_clear(&r);
    amg_free(live);
    amg_free(from.uses);
    return s;
}

/* ---- what is no mask ---- */

static bool is_noise(amg_op op)
{
    return op == AMG_OP_RANDOM_UNIFORM_LIKE || op == AMG_OP_RANDOM_NORMAL_LIKE;
}

/* Whether random numbers, maybe with a number added or multiplied by one, stay some. */
static bool passes_noise(amg_op op)
{
    return op == AMG_OP_ADD || op == AMG_OP_SUB || op == AMG_OP_MUL ||
           op == AMG_OP_DIV || op == AMG_OP_NEG || op == AMG_OP_CAST;
}

/* Whether a mean has no meaning behind it. */
static bool decides(amg_op op)
{
    return comparison_of(op) || op == AMG_OP_FLOOR || op == AMG_OP_CEIL ||
           op == AMG_OP_ROUND || op == AMG_OP_SIGN || op == AMG_OP_BERNOULLI;
}

static amg_status refuse(const amg_node *node, amg_error *err)
{
    (void)amg_node_fail(node, AMG_UNSUPPORTED, err,
                        "random numbers that are no mask of a dropout");
    amg_hint(err, "docs/onnx.md lists the forms of dropout and of stochastic depth");
    return AMG_UNSUPPORTED;
}

amg_status amg_drop_masks_check(const amg_graph *g, amg_error *err)
{
    amg_status s = AMG_OK;
    /* The random node of which a value is made, NULL: of none. */
    const amg_node **source = amg_calloc((size_t)g->num_values + 1, sizeof *source);
    if (!source) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    for (int n = 0; n < g->num_nodes && !s; n++) {
        const amg_node *node = &g->nodes[n], *from = NULL;
        bool alone = true; /* but for parameters */
        for (int i = 0; i < node->num_inputs; i++) {
            const int v = node->inputs[i];
            if (v == AMG_NO_VALUE || g->values[v].kind == AMG_VALUE_PARAM) continue;
            if (source[v]) from = source[v];
            alone = alone && source[v];
        }
        if (node->op == AMG_OP_BERNOULLI) from = node;
        if (from && decides(node->op)) s = refuse(from, err);
        if (is_noise(node->op)) source[node->outputs[0]] = node;
        if (from && alone && passes_noise(node->op)) source[node->outputs[0]] = from;
    }
    amg_free(source);
    return s;
}
