/* Inspection of an ONNX model: what it consists of, and whether it can be trained here;
 * if not, what stands in the way. Consumes a file, also one that the importer refuses.
 */
#include "api/inspect_model.h"

#include "base/alloc.h"
#include "engine/plan.h"
#include "graph/merged_outputs.h"
#include "graph/onnx_census.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"

/* Batch norm and the like want more than one sample. */
#define TRIED_BATCH 2

static json_t *value_json(const amg_value *v)
{
    json_t *dims = json_array();
    for (int i = 0; i < v->rank; i++)
        json_array_append_new(dims, v->dims[i] == AMG_DIM_BATCH
                                        ? json_string("N")
                                        : json_integer(v->dims[i]));
    return json_pack("{s:s, s:s, s:o}", "name", v->name, "dtype",
                     amg_dtype_name(v->dtype), "shape", dims);
}

/* Every initializer: dtype, shape and what it is to training. */
static json_t *params_json(const amg_graph *g)
{
    static const char *const roles[] = {[AMG_ROLE_CONSTANT] = "constant",
                                        [AMG_ROLE_TRAINABLE] = "trainable",
                                        [AMG_ROLE_BUFFER] = "buffer"};
    json_t *params = json_object();
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind != AMG_VALUE_PARAM) continue;
        json_t *entry = amg_inspect_shape(&v->data);
        json_object_set_new(entry, "role", json_string(roles[v->role]));
        json_object_set_new(params, v->name, entry);
    }
    return params;
}

/* Sizes of the trainables of g by name. */
static json_t *trained_json(const amg_graph *g)
{
    json_t *sizes = json_object();
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind != AMG_VALUE_PARAM || v->role != AMG_ROLE_TRAINABLE) continue;
        json_object_set_new(sizes, v->name, json_integer(amg_tensor_count(&v->data)));
    }
    return sizes;
}

/* Of one value of the folded graph; homes: room for flags. */
static void add_homes(const amg_origin *origin, int value, bool *homes, json_t *names)
{
    const amg_value *folded = &amg_origin_folded(origin)->values[value];
    const amg_graph *source = amg_origin_source(origin);
    if (folded->kind != AMG_VALUE_PARAM || folded->role != AMG_ROLE_TRAINABLE) return;
    amg_origin_find_homes(origin, value, homes);
    for (int v = 0; v < source->num_values; v++)
        if (homes[v]) json_array_append_new(names, json_string(source->values[v].name));
}

/* Names of the initializers of g whose elements, or some of them, train; NULL if they
 * cannot be told. */
static json_t *homes_json(const amg_graph *g)
{
    amg_origin *origin = NULL;
    bool *homes = amg_calloc((size_t)g->num_values + 1, sizeof *homes);
    json_t *names = NULL;
    if (homes && !amg_origin_new(g, &origin, NULL)) {
        names = json_array();
        for (int v = 0; v < amg_origin_folded(origin)->num_values; v++)
            add_homes(origin, v, homes, names);
    }
    amg_origin_free(origin);
    amg_free(homes);
    return names;
}

static json_t *graph_json(const amg_graph *g)
{
    json_t *inputs = json_array(), *outputs = json_array(), *ops = json_object();
    /* What a job would train: parameters as they are once constants are folded, which
     * takes an LSTM's matrices out of nodes that rearrange their gates. As read, where
     * that fails. */
    amg_graph *folded = NULL;
    const bool folds = !amg_graph_plan_batch(g, AMG_DIM_BATCH, &folded, NULL);
    json_t *trained = folds ? trained_json(folded) : NULL;
    const int64_t num_trainable = amg_graph_num_trainable(folds ? folded : g);
    const amg_graph *known = folds ? folded : g;
    for (int i = 0; i < g->num_inputs; i++)
        json_array_append_new(inputs, value_json(&g->values[g->inputs[i]]));
    for (int i = 0; i < g->num_outputs; i++)
        json_array_append_new(outputs, value_json(&known->values[known->outputs[i]]));
    amg_graph_free(folded);
    for (int i = 0; i < g->num_nodes; i++) {
        const char *name = amg_op_get(g->nodes[i].op)->name;
        json_int_t n = json_integer_value(json_object_get(ops, name));
        json_object_set_new(ops, name, json_integer(n + 1));
    }
    return json_pack("{s:o, s:o, s:i, s:o, s:o, s:o*, s:o*, s:I, s:f}", "inputs",
                     inputs, "outputs", outputs, "nodes", g->num_nodes, "operators",
                     ops, "parameters", params_json(g), "trained", trained, "homes",
                     homes_json(g), "trainable_parameters", (json_int_t)num_trainable,
                     "flops_per_sample", amg_graph_flops(g));
}

/* Compiles every output for training, which is what says no. */
static amg_status try_training(const amg_graph *g, amg_error *err)
{
    const amg_plan_options training = {.training = true};
    amg_graph *planned = NULL;
    amg_status st = amg_graph_plan_batch(g, TRIED_BATCH, &planned, err);
    if (!st && amg_graph_num_trainable(planned) == 0)
        st = amg_fail(err, AMG_UNSUPPORTED, -1, "model",
                      "no parameter trains: no weight of type F32 reaches an output "
                      "through operators that have a gradient");
    if (!st) st = amg_graph_origin_check(g, err);
    for (int i = 0; !st && i < g->num_outputs; i++) {
        amg_plan *plan = NULL;
        st = amg_plan_new(planned, i, &training, &plan, err);
        amg_plan_free(plan);
    }
    amg_graph_free(planned);
    return st;
}

static void add_if_missing(void *missing, const char *name, int64_t count, bool covered)
{
    if (!covered) json_object_set_new(missing, name, json_integer((json_int_t)count));
}

static void add_reason(json_t *shown, const amg_error *why)
{
    json_object_set_new(shown, "why", json_sprintf("%s: %s", why->where, why->what));
    if (why->hint[0]) json_object_set_new(shown, "hint", json_string(why->hint));
}

/* With the inputs and outputs that the file has. *shown becomes NULL if a name is not
 * UTF-8. */
static amg_status add_graph(json_t **shown, const amg_graph *g, amg_error *err)
{
    amg_graph *own = NULL;
    amg_status st = amg_graph_as_given(g, &own, err);
    if (!st && json_object_set_new(*shown, "graph", graph_json(own ? own : g))) {
        json_decref(*shown);
        *shown = NULL;
    }
    amg_graph_free(own);
    return st;
}

/* As a model that could be trained, if it is one: a job's graph has a head for each
 * sub-network, more than a model may have outputs. */
static amg_status read_graph(const char *path, amg_graph **out, amg_error *err)
{
    amg_status st = amg_graph_read_onnx(path, out, err);
    if (st || (*out)->num_outputs == 1 || (*out)->num_outputs > AMG_MAX_MERGED)
        return st;
    amg_graph_free(*out);
    *out = NULL;
    return amg_graph_read_model(path, out, err);
}

amg_status amg_inspect_model(const char *path, json_t **out, amg_error *err)
{
    amg_graph *g = NULL;
    amg_error why = {0};
    amg_status st = read_graph(path, &g, &why);
    if (st && st != AMG_UNSUPPORTED) {
        if (err) *err = why;
        return st;
    }
    if (!st) st = try_training(g, &why);
    *out = json_pack("{s:s, s:b}", "kind", "onnx model", "trainable", !st);
    if (st) {
        json_t *missing = json_object();
        add_reason(*out, &why);
        st = amg_onnx_census(path, add_if_missing, missing, err);
        if (json_object_size(missing))
            json_object_set(*out, "operators_not_covered", missing);
        json_decref(missing);
    }
    if (g && !st) st = add_graph(out, g, err);
    amg_graph_free(g);
    return st;
}
