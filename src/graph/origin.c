/* See origin.h. Method: fold; walk back in the source from each folded parameter, over
 * operators that only move elements, to the initializers it is made of; give those
 * consecutive 32-bit numbers as data and fold again. Folding moves raw bits, so the
 * numbers in the folded parameters say where each element comes from.
 *
 * A parameter that goes through folding unchanged needs no numbers: it is its own home.
 * Must not look at weights' data, so that a key's graph, which has none, gives the same
 * answer as the graph that the key was made from. */
#include "graph/origin.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"

/* What folding makes of an initializer of source. */
typedef enum {
    NOT_HOME, /* constant, or unused */
    WHOLE,    /* is a folded parameter */
    MOVED,    /* its elements are parts of folded parameters … */
    PARTLY    /* … but not all of them */
} home_kind;

/* A folded parameter made of moved elements. */
typedef struct {
    int value;           /* of folded */
    int64_t count;       /* elements */
    const uint32_t *ids; /* number of each; a view into folded */
} moved;

struct amg_origin {
    const amg_graph *source;
    amg_graph *shown; /* source with stand-ins as data; folded is a view of it */
    amg_graph *folded;
    void **filler;    /* per value of source: stand-in for its data; NULL: none */
    home_kind *homes; /* per value of source */
    int64_t *first;   /* per value of source, if MOVED or PARTLY: its first number */
    int64_t num_ids;  /* numbers run from 0 */
    int *source_of;   /* per value of folded, if WHOLE: value of source; else -1 */
    moved *moved;
    int num_moved;
};

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "no memory for weights' origins");
}

bool amg_origin_moves(const amg_node *node, int i)
{
    switch (node->op) {
    case AMG_OP_CONCAT: return true;
    case AMG_OP_IDENTITY:
    case AMG_OP_RESHAPE:
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE:
    case AMG_OP_TRANSPOSE:
    case AMG_OP_SLICE:
    case AMG_OP_SPLIT:
    case AMG_OP_GATHER:
    case AMG_OP_EXPAND:
    case AMG_OP_TILE: return i == 0;
    case AMG_OP_CAST:
        return i == 0 && amg_attr_int(node, "to", 0) == amg_dtype_onnx(AMG_F32);
    default: return false;
    }
}

static bool is_param(const amg_value *v)
{
    return v->kind == AMG_VALUE_PARAM && v->role != AMG_ROLE_CONSTANT;
}

/* ---- walking back ---- */

static amg_status fail_computed(const amg_graph *g, const char *param, int value,
                                amg_error *err)
{
    const amg_value *v = &g->values[value];
    const char *op = v->kind == AMG_VALUE_ACTIVATION
                         ? amg_op_get(g->nodes[v->producer].op)->name
                         : amg_dtype_name(v->dtype);
    amg_status s =
        amg_fail(err, AMG_UNSUPPORTED, -1, param,
                 "would train, but is computed: \"%.100s\" (%s) is no weight "
                 "and moves none",
                 v->name, op);
    amg_hint(err, "a trained value that was computed from others cannot be put back "
                  "into the model: export it with the weight itself");
    return s;
}

/* Marks the initializers that the value is made of as MOVED. stack has room for all
 * values; seen has a mark per value. */
static amg_status walk_back(amg_origin *o, int from, const char *param, int *stack,
                            bool *seen, amg_error *err)
{
    const amg_graph *g = o->source;
    int depth = 0;
    memset(seen, 0, (size_t)g->num_values * sizeof *seen);
    stack[depth++] = from;
    seen[from] = true;
    while (depth) {
        int value = stack[--depth];
        const amg_value *v = &g->values[value];
        if (v->kind == AMG_VALUE_PARAM && v->dtype == AMG_F32) {
            o->homes[value] = MOVED;
            continue;
        }
        if (v->kind != AMG_VALUE_ACTIVATION ||
            !amg_origin_moves(&g->nodes[v->producer], 0))
            return fail_computed(g, param, value, err);
        const amg_node *node = &g->nodes[v->producer];
        for (int i = 0; i < node->num_inputs; i++) {
            if (!amg_origin_moves(node, i) || seen[node->inputs[i]]) continue;
            seen[node->inputs[i]] = true;
            stack[depth++] = node->inputs[i];
        }
    }
    return AMG_OK;
}

/* ---- folding with other data ---- */

/* A copy of source in which parameter v has the data data[v], by view or by value. */
static amg_status copy_source(const amg_origin *o, void *const *data, bool by_value,
                              amg_graph **out, amg_error *err)
{
    const amg_graph *g = o->source;
    amg_graph shown = *g; /* borrows everything but the values */
    amg_builder *b = amg_builder_new();
    int *map = amg_calloc((size_t)g->num_values + 1, sizeof *map);
    amg_value *values = amg_calloc((size_t)g->num_values + 1, sizeof *values);
    amg_status s = AMG_OK;
    if (!b || !map || !values) {
        s = no_memory(err);
        goto done;
    }
    for (int v = 0; v < g->num_values; v++) {
        values[v] = g->values[v];
        if (values[v].kind == AMG_VALUE_PARAM) values[v].data.data = data[v];
    }
    shown.values = values;
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *v = &values[g->inputs[i]];
        map[g->inputs[i]] = amg_builder_input(b, v->name, v->dtype, v->rank, v->dims);
    }
    if (by_value)
        amg_builder_copy(b, &shown, map, NULL, NULL);
    else
        amg_builder_copy_view(b, &shown, map, NULL, NULL);
    for (int i = 0; i < g->num_outputs; i++) amg_builder_output(b, map[g->outputs[i]]);
    s = amg_builder_finish(b, out, err);
done:
    amg_free(map);
    amg_free(values);
    amg_builder_free(b);
    return s;
}

/* Source's own data per value, to be changed where others are to be shown. */
static void **own_data(const amg_origin *o)
{
    const amg_graph *g = o->source;
    void **data = amg_calloc((size_t)g->num_values + 1, sizeof *data);
    for (int v = 0; data && v < g->num_values; v++) data[v] = g->values[v].data.data;
    return data;
}

/* Folds source; absent weights are zeros meanwhile, because only known data fold. */
static amg_status fold_source(amg_origin *o, amg_error *err)
{
    const amg_graph *g = o->source;
    void **data = own_data(o);
    if (!data) return no_memory(err);
    amg_status s = AMG_OK;
    for (int v = 0; !s && v < g->num_values; v++) {
        const amg_value *val = &g->values[v];
        bool absent = val->kind == AMG_VALUE_PARAM && val->dtype == AMG_F32 &&
                      !val->data.data && val->data.size_bytes;
        if (absent && !o->filler[v]) {
            o->filler[v] = amg_calloc(val->data.size_bytes, 1);
            if (!o->filler[v]) s = no_memory(err);
        }
        if (o->filler[v]) data[v] = o->filler[v];
    }
    amg_graph_free(o->folded);
    amg_graph_free(o->shown);
    o->folded = o->shown = NULL;
    if (!s) s = copy_source(o, data, false, &o->shown, err);
    if (!s) s = amg_graph_plan_batch(o->shown, AMG_DIM_BATCH, &o->folded, err);
    amg_free(data);
    return s;
}

/* Numbers as data for the initializers that are moved. */
static amg_status number_homes(amg_origin *o, amg_error *err)
{
    const amg_graph *g = o->source;
    for (int v = 0; v < g->num_values; v++) {
        if (o->homes[v] != MOVED) continue;
        int64_t count = amg_tensor_count(&g->values[v].data);
        if (count > UINT32_MAX - o->num_ids)
            return amg_fail(err, AMG_UNSUPPORTED, -1, g->values[v].name,
                            "more than 2^32 weights are rearranged in the graph");
        uint32_t *ids = amg_malloc((size_t)count * sizeof *ids + 1);
        if (!ids) return no_memory(err);
        for (int64_t i = 0; i < count; i++) ids[i] = (uint32_t)(o->num_ids + i);
        amg_free(o->filler[v]);
        o->filler[v] = ids;
        o->first[v] = o->num_ids;
        o->num_ids += count;
    }
    return AMG_OK;
}

/* ---- reading the numbers ---- */

/* The initializer that number id belongs to. */
static int home_of(const amg_origin *o, int64_t id)
{
    for (int v = 0; v < o->source->num_values; v++)
        if ((o->homes[v] == MOVED || o->homes[v] == PARTLY) && id >= o->first[v] &&
            id < o->first[v] + amg_tensor_count(&o->source->values[v].data))
            return v;
    return -1;
}

/* Checks one folded parameter's numbers; used has a bit per number. */
static amg_status read_ids(const amg_origin *o, const moved *m, uint8_t *used,
                           amg_error *err)
{
    const char *name = o->folded->values[m->value].name;
    for (int64_t i = 0; i < m->count; i++) {
        uint32_t id = m->ids[i];
        if (id >= o->num_ids)
            return amg_fail(err, AMG_UNSUPPORTED, -1, name,
                            "element %lld is no weight of the model as read",
                            (long long)i);
        if (used[id / 8] >> id % 8 & 1) {
            const int home = home_of(o, id);
            amg_status s = amg_fail(
                err, AMG_UNSUPPORTED, -1, name,
                "trains a copy of \"%.100s\" element %lld, which trains elsewhere too",
                o->source->values[home].name, (long long)(id - o->first[home]));
            amg_hint(err, "parts of a weight that overlap would train apart; use it "
                          "whole in one of the places, or parts that do not overlap");
            return s;
        }
        used[id / 8] |= (uint8_t)(1u << id % 8);
    }
    return AMG_OK;
}

/* Homes of which some elements train nowhere keep their own data for them. */
static void mark_partly(amg_origin *o, const uint8_t *used)
{
    for (int v = 0; v < o->source->num_values; v++) {
        if (o->homes[v] != MOVED) continue;
        int64_t end = o->first[v] + amg_tensor_count(&o->source->values[v].data);
        for (int64_t id = o->first[v]; id < end && o->homes[v] == MOVED; id++)
            if (!(used[id / 8] >> id % 8 & 1)) o->homes[v] = PARTLY;
    }
}

static amg_status read_numbers(amg_origin *o, amg_error *err)
{
    const amg_graph *g = o->folded;
    uint8_t *used = amg_calloc((size_t)o->num_ids / 8 + 1, 1);
    o->moved = amg_calloc((size_t)g->num_values + 1, sizeof *o->moved);
    amg_status s = used && o->moved ? AMG_OK : no_memory(err);
    for (int v = 0; !s && v < g->num_values; v++) {
        if (!is_param(&g->values[v]) || o->source_of[v] >= 0) continue;
        moved *m = &o->moved[o->num_moved++];
        *m = (moved){v, amg_tensor_count(&g->values[v].data), g->values[v].data.data};
        s = read_ids(o, m, used, err);
    }
    if (!s) mark_partly(o, used);
    amg_free(used);
    return s;
}

/* ---- making ---- */

/* Finds the home of each folded parameter, or what it is made of. */
static amg_status find_homes(amg_origin *o, bool *any_moved, amg_error *err)
{
    const amg_graph *g = o->folded, *source = o->source;
    size_t n = (size_t)source->num_values + 1;
    int *stack = amg_calloc(n, sizeof *stack);
    bool *seen = amg_calloc(n, sizeof *seen);
    amg_status s = stack && seen ? AMG_OK : no_memory(err);
    for (int v = 0; !s && v < g->num_values; v++) {
        if (!is_param(&g->values[v])) continue;
        const char *name = g->values[v].name;
        int home = amg_graph_find_value(source, name);
        if (home < 0) {
            s = amg_fail(err, AMG_UNSUPPORTED, -1, name, "is not in the model as read");
        } else if (source->values[home].kind != AMG_VALUE_PARAM) {
            *any_moved = true;
            s = walk_back(o, home, name, stack, seen, err);
        }
    }
    for (int v = 0; !s && v < g->num_values; v++) {
        if (!is_param(&g->values[v])) continue;
        int home = amg_graph_find_value(source, g->values[v].name);
        if (source->values[home].kind != AMG_VALUE_PARAM) continue;
        if (o->homes[home] == MOVED) {
            s = amg_fail(err, AMG_UNSUPPORTED, -1, g->values[v].name,
                         "trains as it is and rearranged, in two places");
            amg_hint(err, "each weight must be used in one place once the graph is "
                          "folded; use it untransposed and unsliced in all of them");
        }
        o->homes[home] = WHOLE;
        o->source_of[v] = home;
    }
    amg_free(stack);
    amg_free(seen);
    return s;
}

static amg_status new_source_of(amg_origin *o, amg_error *err)
{
    amg_free(o->source_of);
    o->source_of = amg_calloc((size_t)o->folded->num_values + 1, sizeof *o->source_of);
    if (!o->source_of) return no_memory(err);
    for (int v = 0; v < o->folded->num_values; v++) o->source_of[v] = -1;
    return AMG_OK;
}

static amg_status trace(amg_origin *o, amg_error *err)
{
    bool any_moved = false, again = false;
    size_t n = (size_t)o->source->num_values + 1;
    o->filler = amg_calloc(n, sizeof *o->filler);
    o->homes = amg_calloc(n, sizeof *o->homes);
    o->first = amg_calloc(n, sizeof *o->first);
    if (!o->filler || !o->homes || !o->first) return no_memory(err);
    amg_status s = fold_source(o, err);
    if (!s) s = new_source_of(o, err);
    if (!s) s = find_homes(o, &any_moved, err);
    if (s || !any_moved) return s;
    s = number_homes(o, err);
    if (!s) s = fold_source(o, err);
    if (!s) s = new_source_of(o, err);
    /* The same answer as before: folding does not depend on weights' data. */
    if (!s) s = find_homes(o, &again, err);
    return s ? s : read_numbers(o, err);
}

/* Weights may be absent; anything else that is was never brought back. */
static amg_status check_absent(const amg_origin *o, amg_error *err)
{
    for (int v = 0; v < o->source->num_values; v++) {
        const amg_value *val = &o->source->values[v];
        if (val->kind == AMG_VALUE_PARAM && !val->data.data && val->data.size_bytes &&
            o->homes[v] == NOT_HOME)
            return amg_fail(err, AMG_INVALID, -1, val->name,
                            "a constant without data: only weights may be absent");
    }
    return AMG_OK;
}

amg_status amg_origin_new(const amg_graph *source, amg_origin **out, amg_error *err)
{
    amg_origin *o = amg_calloc(1, sizeof *o);
    if (!o) return no_memory(err);
    o->source = source;
    amg_status s = trace(o, err);
    if (!s) s = check_absent(o, err);
    if (s) {
        amg_origin_free(o);
        return s;
    }
    /* Stand-ins must not be taken for weights. */
    for (int v = 0; v < o->folded->num_values; v++)
        if (is_param(&o->folded->values[v])) o->folded->values[v].data.data = NULL;
    o->folded->has_weights = false;
    *out = o;
    return AMG_OK;
}

void amg_origin_free(amg_origin *o)
{
    if (!o) return;
    for (int v = 0; o->filler && v < o->source->num_values; v++) amg_free(o->filler[v]);
    amg_free(o->filler);
    amg_free(o->homes);
    amg_free(o->first);
    amg_free(o->source_of);
    amg_free(o->moved);
    amg_graph_free(o->folded);
    amg_graph_free(o->shown);
    amg_free(o);
}

amg_status amg_graph_origin_check(const amg_graph *source, amg_error *err)
{
    amg_origin *o;
    amg_status s = amg_origin_new(source, &o, err);
    if (!s) amg_origin_free(o);
    return s;
}

/* ---- using ---- */

const amg_graph *amg_origin_folded(const amg_origin *o) { return o->folded; }

const amg_graph *amg_origin_source(const amg_origin *o) { return o->source; }

void amg_origin_find_homes(const amg_origin *o, int value, bool *homes)
{
    memset(homes, 0, (size_t)o->source->num_values * sizeof *homes);
    if (o->source_of[value] >= 0) homes[o->source_of[value]] = true;
    for (int i = 0; i < o->num_moved; i++) {
        const moved *m = &o->moved[i];
        if (m->value != value) continue;
        int home = -1;
        for (int64_t k = 0; k < m->count; k++) {
            /* Neighbours mostly come from one initializer. */
            const int64_t id = m->ids[k];
            if (home < 0 || id < o->first[home] ||
                id >= o->first[home] + amg_tensor_count(&o->source->values[home].data))
                home = home_of(o, id);
            if (home >= 0) homes[home] = true;
        }
    }
}

bool amg_origin_is_home(const amg_origin *o, int value)
{
    return o->homes[value] != NOT_HOME;
}

amg_status amg_origin_strip(const amg_origin *o, amg_graph **out, amg_error *err)
{
    void **data = own_data(o);
    if (!data) return no_memory(err);
    for (int v = 0; v < o->source->num_values; v++)
        if (o->homes[v] == WHOLE || o->homes[v] == MOVED) data[v] = NULL;
    amg_status s = copy_source(o, data, false, out, err);
    amg_free(data);
    return s;
}

/* Trained data of one parameter of folded; *t NULL: source's own are to stay. */
static amg_status get_data(const amg_origin *o, int value, amg_weight_fn get,
                           void *context, const amg_tensor **t, amg_error *err)
{
    const amg_value *param = &o->folded->values[value];
    char found[AMG_SHAPE_TEXT], wanted[AMG_SHAPE_TEXT];
    *t = get(context, param);
    if (!*t || ((*t)->dtype == AMG_F32 && amg_tensor_same_shape(*t, &param->data)))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, param->name, "found %s, expected %s",
                    amg_shape_text((*t)->dtype, (*t)->rank, (*t)->dims, found),
                    amg_shape_text(param->dtype, param->rank, param->dims, wanted));
}

/* Brings moved elements home: all[id] is the element of that number. */
static amg_status gather_moved(const amg_origin *o, float *all, amg_weight_fn get,
                               void *context, void **data, amg_error *err)
{
    const amg_graph *g = o->source;
    bool missing = false;
    for (int v = 0; v < g->num_values; v++)
        if ((o->homes[v] == MOVED || o->homes[v] == PARTLY) && g->values[v].data.data)
            memcpy(all + o->first[v], g->values[v].data.data,
                   g->values[v].data.size_bytes);
    for (int i = 0; i < o->num_moved; i++) {
        const moved *m = &o->moved[i];
        const amg_tensor *t;
        amg_status s = get_data(o, m->value, get, context, &t, err);
        if (s) return s;
        missing = missing || !t;
        for (int64_t k = 0; t && k < m->count; k++)
            all[m->ids[k]] = ((const float *)t->data)[k];
    }
    for (int v = 0; v < g->num_values; v++) {
        if (o->homes[v] != MOVED && o->homes[v] != PARTLY) continue;
        if (missing && !g->values[v].data.data)
            return amg_fail(err, AMG_INVALID, -1, g->values[v].name,
                            "has neither trained data nor its own");
        data[v] = all + o->first[v];
    }
    return AMG_OK;
}

static amg_status gather_whole(const amg_origin *o, amg_weight_fn get, void *context,
                               void **data, amg_error *err)
{
    for (int v = 0; v < o->folded->num_values; v++) {
        const int home = o->source_of[v];
        const amg_tensor *t;
        if (home < 0) continue;
        amg_status s = get_data(o, v, get, context, &t, err);
        if (s) return s;
        if (t) data[home] = t->data;
        if (!data[home] && o->source->values[home].data.size_bytes)
            return amg_fail(err, AMG_INVALID, -1, o->source->values[home].name,
                            "has neither trained data nor its own");
    }
    return AMG_OK;
}

amg_status amg_origin_restore(const amg_origin *o, amg_weight_fn get, void *context,
                              amg_graph **out, amg_error *err)
{
    void **data = own_data(o);
    float *all = amg_calloc((size_t)o->num_ids + 1, sizeof *all);
    amg_status s = data && all ? AMG_OK : no_memory(err);
    if (!s) s = gather_moved(o, all, get, context, data, err);
    if (!s) s = gather_whole(o, get, context, data, err);
    if (!s) s = copy_source(o, data, true, out, err);
    amg_free(all);
    amg_free(data);
    return s;
}
