/* Several data inputs as one, and back. */
#include "graph/merged_inputs.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

/* Nobody's input has this name but ours. */
#define MERGED "amalgam.inputs"
#define FLOATS "amalgam.floats." /* of an input before its Cast */
#define NAME_TEXT 512

/* ---- one out of several ---- */

static amg_status measure(const amg_merged_input *in, int64_t *count, amg_error *err)
{
    *count = 1;
    for (int d = 1; d < in->rank; d++)
        if (!amg_mul_i64(*count, in->dims[d], count))
            return amg_fail(err, AMG_OVERFLOW, -1, in->name, "its dims overflow");
    if (in->dtype == AMG_F32 || in->dtype == AMG_I64 || in->dtype == AMG_I32 ||
        in->dtype == AMG_BOOL)
        return AMG_OK;
    return amg_fail(err, AMG_UNSUPPORTED, -1, in->name,
                    "one of several inputs is %s, expected F32, I32, I64 or BOOL",
                    amg_dtype_name(in->dtype));
}

static int add_ints(amg_builder *b, const char *word, const char *name, int64_t count,
                    const int64_t *values)
{
    char full[NAME_TEXT];
    snprintf(full, sizeof full, "amalgam.%s.%.400s", word, name);
    amg_tensor t = {.dtype = AMG_I64,
                    .rank = 1,
                    .dims = {count},
                    .size_bytes = (size_t)count * sizeof *values};
    const int id = amg_builder_param(b, full, &t);
    amg_tensor *data = amg_builder_data(b, id);
    if (data) memcpy(data->data, values, t.size_bytes);
    return id;
}

/* One input's part in its own shape and type, under its own name. */
static void add_part(amg_builder *b, int part, amg_merged_input *in)
{
    int64_t target[AMG_MAX_RANK] = {-1};
    for (int d = 1; d < in->rank; d++) target[d] = in->dims[d];
    if (in->rank > 1) target[0] = 0; /* as the part has it */
    char floats[NAME_TEXT];
    snprintf(floats, sizeof floats, FLOATS "%.400s", in->name);
    const bool casts = in->dtype != AMG_F32;
    const int shaped[] = {part, add_ints(b, "shape", in->name, in->rank, target)};
    in->value = amg_builder_node(b, AMG_OP_RESHAPE, "", shaped, 2, NULL, 0,
                                 casts ? floats : in->name);
    if (!casts) return;
    const amg_attr to = amg_int("to", amg_dtype_onnx(in->dtype));
    in->value = amg_builder_node(b, AMG_OP_CAST, "", &in->value, 1, &to, 1, in->name);
}

amg_status amg_merged_inputs_add(amg_builder *b, amg_merged_input *inputs, int count,
                                 amg_error *err)
{
    int64_t sizes[AMG_MAX_MERGED], total = 0;
    int parts[AMG_MAX_MERGED];
    for (int i = 0; i < count; i++) {
        amg_status st = measure(&inputs[i], &sizes[i], err);
        if (st) return st;
        if (!amg_add_i64(total, sizes[i], &total))
            return amg_fail(err, AMG_OVERFLOW, -1, inputs[i].name, "its dims overflow");
    }
    const int all =
        amg_builder_input(b, MERGED, AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, total});
    const int split[] = {all, add_ints(b, "sizes", "inputs", count, sizes)};
    const amg_attr axis = amg_int("axis", 1);
    amg_builder_node_multi(b, AMG_OP_SPLIT, "amalgam.parts", split, 2, &axis, 1, NULL,
                           count, parts);
    for (int i = 0; i < count; i++) add_part(b, parts[i], &inputs[i]);
    return AMG_OK;
}

/* ---- and back ---- */

/* The only node that reads value, -1: none or several. */
static int only_reader(const amg_graph *g, int value)
{
    int found = -1;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++) {
            if (g->nodes[n].inputs[i] != value) continue;
            if (found >= 0) return -1;
            found = n;
        }
    return found;
}

static bool is_merged(const amg_graph *g)
{
    if (g->num_inputs != 1 || strcmp(g->values[g->inputs[0]].name, MERGED) != 0)
        return false;
    const int split = only_reader(g, g->inputs[0]);
    return split >= 0 && g->nodes[split].op == AMG_OP_SPLIT &&
           g->nodes[split].num_outputs <= AMG_MAX_MERGED;
}

/* The input that a part becomes; marks the nodes on the way. -1: not of our form. */
static int find_own(const amg_graph *g, int part, bool *gone)
{
    int node = only_reader(g, part);
    if (node < 0 || g->nodes[node].op != AMG_OP_RESHAPE) return -1;
    gone[node] = true;
    const int value = g->nodes[node].outputs[0];
    if (strncmp(g->values[value].name, FLOATS, strlen(FLOATS)) != 0) return value;
    node = only_reader(g, value);
    if (node < 0 || g->nodes[node].op != AMG_OP_CAST) return -1;
    gone[node] = true;
    return g->nodes[node].outputs[0];
}

/* A view of g in which own inputs stand in place of the nodes that make them. */
typedef struct {
    amg_graph graph;
    amg_value *values;
    amg_node *nodes;
    bool *gone;
    int *map;
    int own[AMG_MAX_MERGED];
} own_view;

static amg_status make_view(const amg_graph *g, own_view *v, amg_error *err)
{
    const int split = only_reader(g, g->inputs[0]);
    const amg_node *parts = &g->nodes[split];
    v->graph = *g;
    v->values = amg_calloc((size_t)g->num_values, sizeof *v->values);
    v->nodes = amg_calloc((size_t)g->num_nodes, sizeof *v->nodes);
    v->gone = amg_calloc((size_t)g->num_nodes, sizeof *v->gone);
    v->map = amg_calloc((size_t)g->num_values, sizeof *v->map);
    if (!v->values || !v->nodes || !v->gone || !v->map)
        return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    memcpy(v->values, g->values, (size_t)g->num_values * sizeof *v->values);
    v->gone[split] = true;
    for (int i = 0; i < parts->num_outputs; i++) {
        v->own[i] = find_own(g, parts->outputs[i], v->gone);
        if (v->own[i] < 0)
            return amg_fail(err, AMG_MALFORMED, -1, MERGED,
                            "its part %d does not become one input", i);
        v->values[v->own[i]].kind = AMG_VALUE_INPUT;
        v->values[v->own[i]].producer = -1;
    }
    v->graph.num_nodes = 0;
    for (int n = 0; n < g->num_nodes; n++)
        if (!v->gone[n]) v->nodes[v->graph.num_nodes++] = g->nodes[n];
    v->graph.values = v->values;
    v->graph.nodes = v->nodes;
    v->graph.inputs = v->own;
    v->graph.num_inputs = parts->num_outputs;
    return AMG_OK;
}

static amg_status copy_view(own_view *v, amg_graph **out, amg_error *err)
{
    const amg_graph *g = &v->graph;
    amg_builder *b = amg_builder_new();
    if (!b) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *in = &g->values[g->inputs[i]];
        v->map[g->inputs[i]] =
            amg_builder_input(b, in->name, in->dtype, in->rank, in->dims);
    }
    amg_builder_copy_view(b, g, v->map, NULL, NULL);
    for (int i = 0; i < g->num_outputs; i++)
        amg_builder_output(b, v->map[g->outputs[i]]);
    amg_status st = amg_builder_finish(b, out, err);
    amg_builder_free(b);
    return st;
}

amg_status amg_graph_with_own_inputs(const amg_graph *g, amg_graph **out,
                                     amg_error *err)
{
    own_view v = {0};
    *out = NULL;
    if (!is_merged(g)) return AMG_OK;
    amg_status st = make_view(g, &v, err);
    if (!st) st = copy_view(&v, out, err);
    amg_free(v.values);
    amg_free(v.nodes);
    amg_free(v.gone);
    amg_free(v.map);
    return st;
}
