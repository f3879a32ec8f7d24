/* Graph → ONNX: opset 17, IR 8 (opset 18 with a Mish, 20 with a Gelu,
 * 21 with a GroupNormalization),
 * canonical bytes. Consumes a graph, produces a model that says nothing but the
 * network: no producer, version, date or path; nodes in the graph's order,
 * initializers in value order, training switches left out. docs/onnx.md has the layout,
 * and the form without weights that key files hold. */
#include <stdio.h>
#include <string.h>

#include "formats/onnx.h"
#include "graph/builder.h"
#include "graph/drop_mask.h"
#include "graph/infer.h"
#include "graph/merged_outputs.h"
#include "graph/onnx_graph.h"
#include "graph/onnx_said.h"
#include "onnx.pb-c.h"

#define OLDEST_WRITTEN_OPSET 17
#define WRITTEN_IR 8

/* Everything built here lives in the arena; names and data are the graph's. */
typedef struct {
    const amg_graph *g;
    amg_pack_form form;
    int64_t opset;
    bool *used;               /* per value: a node reads it, or it is an output */
    Onnx__TensorProto **axes; /* of Reduce…s, from opset 18 on initializers */
    size_t num_axes;
    amg_arena arena;
    amg_error *err;
} exporter;

static amg_status fail_memory(const exporter *ex)
{
    return amg_fail(ex->err, AMG_NO_MEMORY, -1, "model", "no memory to write it");
}

/* protobuf-c's structs hold char *, but packing only reads. */
static char *text(const char *s)
{
    char *p;
    memcpy(&p, &s, sizeof p);
    return p;
}

static amg_status fill_dim(exporter *ex, int64_t dim,
                           Onnx__TensorShapeProto__Dimension **out)
{
    Onnx__TensorShapeProto__Dimension *d = amg_arena_alloc(&ex->arena, sizeof *d);
    if (!d) return fail_memory(ex);
    onnx__tensor_shape_proto__dimension__init(d);
    if (dim == AMG_DIM_BATCH) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = text("N");
    } else if (dim >= 0) { /* else several times the batch, which has no number */
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = dim;
    }
    *out = d;
    return AMG_OK;
}

/* A value of unknown rank has no shape field. */
static amg_status fill_shape(exporter *ex, const amg_value *v,
                             Onnx__TensorShapeProto **out)
{
    if (v->rank < 0) return AMG_OK;
    Onnx__TensorShapeProto *s = amg_arena_alloc(&ex->arena, sizeof *s);
    if (!s) return fail_memory(ex);
    onnx__tensor_shape_proto__init(s);
    s->n_dim = (size_t)v->rank;
    s->dim = amg_arena_array(&ex->arena, s->n_dim, sizeof *s->dim);
    if (!s->dim) return fail_memory(ex);
    for (int i = 0; i < v->rank; i++) {
        amg_status st = fill_dim(ex, v->dims[i], &s->dim[i]);
        if (st) return st;
    }
    *out = s;
    return AMG_OK;
}

/* The value of shape's dtype and dims, under its name in the graph. */
static amg_status fill_info(exporter *ex, const char *name, const amg_value *shape,
                            Onnx__ValueInfoProto **out)
{
    Onnx__ValueInfoProto *info = amg_arena_alloc(&ex->arena, sizeof *info);
    Onnx__TypeProto *type = amg_arena_alloc(&ex->arena, sizeof *type);
    Onnx__TypeProto__Tensor *t = amg_arena_alloc(&ex->arena, sizeof *t);
    if (!info || !type || !t) return fail_memory(ex);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(t);
    info->name = text(name);
    info->type = type;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = t;
    t->has_elem_type = 1;
    t->elem_type = amg_dtype_onnx(shape->dtype);
    *out = info;
    return fill_shape(ex, shape, &t->shape);
}

/* ids: values of the graph; shaped: the graph that knows their shapes, shape_ids there.
 */
static amg_status fill_infos(exporter *ex, const int *ids, const amg_graph *shaped,
                             const int *shape_ids, int count,
                             Onnx__ValueInfoProto ***out)
{
    *out = amg_arena_array(&ex->arena, (size_t)count, sizeof **out);
    if (!*out) return fail_memory(ex);
    for (int i = 0; i < count; i++) {
        amg_status st = fill_info(ex, ex->g->values[ids[i]].name,
                                  &shaped->values[shape_ids[i]], &(*out)[i]);
        if (st) return st;
    }
    return AMG_OK;
}

static bool knows_outputs(const amg_graph *g)
{
    for (int i = 0; i < g->num_outputs; i++)
        if (g->values[g->outputs[i]].rank < 0) return false;
    return true;
}

/* An output behind a computed Reshape has its shape only once the arithmetic is folded.
 * ONNX wants every output to have one; where folding fails, it is left out. */
static amg_status fill_outputs(exporter *ex, Onnx__GraphProto *graph)
{
    const amg_graph *g = ex->g;
    amg_graph *folded = NULL;
    amg_status st = AMG_OK;
    if (!knows_outputs(g)) st = amg_graph_plan_batch(g, AMG_DIM_BATCH, &folded, NULL);
    if (st == AMG_NO_MEMORY) return fail_memory(ex);
    const amg_graph *shaped = folded ? folded : g;
    st = fill_infos(ex, g->outputs, shaped, shaped->outputs, g->num_outputs,
                    &graph->output);
    amg_graph_free(folded);
    return st;
}

/* data false: location EXTERNAL and no external_data, our form without weights. */
static amg_status fill_tensor(exporter *ex, const char *name, const amg_tensor *t,
                              bool data, Onnx__TensorProto **out)
{
    Onnx__TensorProto *p = amg_arena_alloc(&ex->arena, sizeof *p);
    int64_t *dims = amg_arena_array(&ex->arena, (size_t)t->rank, sizeof *dims);
    if (!p || !dims) return fail_memory(ex);
    onnx__tensor_proto__init(p);
    for (int i = 0; i < t->rank; i++) dims[i] = t->dims[i];
    p->name = text(name);
    p->n_dims = (size_t)t->rank;
    p->dims = dims;
    p->has_data_type = 1;
    p->data_type = amg_dtype_onnx(t->dtype);
    if (data) {
        p->has_raw_data = 1;
        p->raw_data.len = t->size_bytes;
        p->raw_data.data = t->data;
    } else {
        p->has_data_location = 1;
        p->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    }
    *out = p;
    return AMG_OK;
}

static amg_status find_used(exporter *ex)
{
    const amg_graph *g = ex->g;
    ex->used = amg_arena_array(&ex->arena, (size_t)g->num_values, sizeof *ex->used);
    if (!ex->used) return fail_memory(ex);
    for (int i = 0; i < g->num_outputs; i++) ex->used[g->outputs[i]] = true;
    for (int i = 0; i < g->num_nodes; i++)
        for (int k = 0; k < g->nodes[i].num_inputs; k++)
            if (g->nodes[i].inputs[k] != AMG_NO_VALUE)
                ex->used[g->nodes[i].inputs[k]] = true;
    return AMG_OK;
}

/* So that who reads the file trains what this graph trains. */
static char *said_text(const amg_value *v)
{
    if (!amg_dtype_is_float(v->dtype) || v->said == AMG_SAID_NOTHING) return NULL;
    return text(v->said == AMG_SAID_WEIGHT ? AMG_TEXT_WEIGHT : AMG_TEXT_CONSTANT);
}

static bool has_data(const exporter *ex, const amg_value *v)
{
    switch (ex->form) {
    case AMG_PACK_BARE: return v->role == AMG_ROLE_CONSTANT && v->data.data;
    case AMG_PACK_STRIPPED: return v->data.data || !v->data.size_bytes;
    case AMG_PACK_WHOLE: break;
    }
    return true;
}

/* Parameters that no node reads are left out: a reader would drop them, too. */
static amg_status fill_initializers(exporter *ex, Onnx__GraphProto *graph)
{
    const amg_graph *g = ex->g;
    graph->initializer = amg_arena_array(
        &ex->arena, (size_t)g->num_values + ex->num_axes, sizeof *graph->initializer);
    if (!graph->initializer) return fail_memory(ex);
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind != AMG_VALUE_PARAM || !ex->used[i]) continue;
        const bool data = has_data(ex, v);
        if (data && !v->data.data && v->data.size_bytes)
            return amg_fail(ex->err, AMG_INVALID, -1, v->name,
                            "its data are absent: the graph was stored without "
                            "weights");
        amg_status st = fill_tensor(ex, v->name, &v->data, data,
                                    &graph->initializer[graph->n_initializer++]);
        if (st) return st;
        graph->initializer[graph->n_initializer - 1]->doc_string = said_text(v);
    }
    for (size_t i = 0; i < ex->num_axes; i++)
        graph->initializer[graph->n_initializer++] = ex->axes[i];
    return AMG_OK;
}

static amg_status fill_attr(exporter *ex, const amg_attr *a, Onnx__AttributeProto *p)
{
    onnx__attribute_proto__init(p);
    p->name = text(a->name);
    p->has_type = 1;
    switch (a->kind) {
    case AMG_ATTR_INT:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        p->has_i = 1;
        p->i = a->i;
        break;
    case AMG_ATTR_FLOAT:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        p->has_f = 1;
        p->f = a->f;
        break;
    case AMG_ATTR_STRING:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        p->has_s = 1;
        p->s.len = strlen(a->s);
        p->s.data = (uint8_t *)text(a->s);
        break;
    case AMG_ATTR_INTS:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        p->n_ints = (size_t)a->count;
        memcpy(&p->ints, &a->ints, sizeof p->ints); /* only read */
        break;
    case AMG_ATTR_FLOATS:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        p->n_floats = (size_t)a->count;
        memcpy(&p->floats, &a->floats, sizeof p->floats);
        break;
    case AMG_ATTR_TENSOR:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
        return fill_tensor(ex, NULL, &a->tensor, true, &p->t);
    }
    return AMG_OK;
}

/* An RNN's activation, once for each direction. */
static amg_status fill_activations(exporter *ex, const amg_node *n, const amg_attr *a,
                                   Onnx__AttributeProto *p)
{
    const bool both =
        strcmp(amg_attr_string(n, "direction", "forward"), "bidirectional") == 0;
    onnx__attribute_proto__init(p);
    p->name = text(a->name);
    p->has_type = 1;
    p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
    p->n_strings = both ? 2 : 1;
    p->strings = amg_arena_array(&ex->arena, p->n_strings, sizeof *p->strings);
    if (!p->strings) return fail_memory(ex);
    for (size_t i = 0; i < p->n_strings; i++) {
        p->strings[i].len = strlen(a->s);
        p->strings[i].data = (uint8_t *)text(a->s);
    }
    return AMG_OK;
}

static amg_status fill_attrs(exporter *ex, const amg_node *n, Onnx__NodeProto *p)
{
    p->attribute = amg_arena_array(&ex->arena, (size_t)n->num_attrs, sizeof(void *));
    if (!p->attribute) return fail_memory(ex);
    for (int i = 0; i < n->num_attrs; i++) {
        if (n->op == AMG_OP_BATCH_NORM && !strcmp(n->attrs[i].name, "training_mode"))
            continue;
        if (n->op == AMG_OP_AVERAGE_POOL && ex->opset < 19 &&
            !strcmp(n->attrs[i].name, "dilations"))
            continue;
        if (amg_op_reduces(n->op) && ex->opset >= 18 &&
            !strcmp(n->attrs[i].name, "axes"))
            continue;
        Onnx__AttributeProto *a = amg_arena_alloc(&ex->arena, sizeof *a);
        if (!a) return fail_memory(ex);
        p->attribute[p->n_attribute++] = a;
        const bool strings = !strcmp(n->attrs[i].name, "activations");
        amg_status st = strings ? fill_activations(ex, n, &n->attrs[i], a)
                                : fill_attr(ex, &n->attrs[i], a);
        if (st) return st;
    }
    return AMG_OK;
}

/* Names of values, "" for absent ones. */
static char **fill_names(exporter *ex, const int *ids, int count)
{
    char **names = amg_arena_array(&ex->arena, (size_t)count, sizeof *names);
    for (int i = 0; names && i < count; i++)
        names[i] = text(ids[i] == AMG_NO_VALUE ? "" : ex->g->values[ids[i]].name);
    return names;
}

/* An optional output that nothing reads; Split and TopK have none. */
static bool is_absent(const exporter *ex, const amg_node *n, int i)
{
    return n->num_outputs > 1 && n->op != AMG_OP_SPLIT && n->op != AMG_OP_TOP_K &&
           !ex->used[n->outputs[i]];
}

/* Whether the file has a value of this name: all but parameters that nobody reads. */
static bool is_written(const exporter *ex, const char *name)
{
    int v = amg_graph_find_value(ex->g, name);
    return v >= 0 && (ex->used[v] || ex->g->values[v].kind != AMG_VALUE_PARAM);
}

/* The axes of a reduction as its second input, under a name of their own. */
static amg_status fill_axes(exporter *ex, const amg_node *n, Onnx__NodeProto *p)
{
    const amg_attr *a = amg_attr_find(n, "axes");
    if (!a) return AMG_OK;
    const char *output = ex->g->values[n->outputs[0]].name;
    size_t size = strlen(output) + 32;
    char *name = amg_arena_alloc(&ex->arena, size);
    p->input = amg_arena_array(&ex->arena, 2, sizeof *p->input);
    if (!name || !p->input) return fail_memory(ex);
    snprintf(name, size, "%s_axes", output);
    for (int i = 1; is_written(ex, name); i++)
        snprintf(name, size, "%s_axes_%d", output, i);
    p->input[0] = text(ex->g->values[n->inputs[0]].name);
    p->input[1] = name;
    p->n_input = 2;
    amg_tensor t;
    int64_t count = a->count;
    amg_status st = amg_tensor_view(AMG_I64, 1, &count, a->ints, &t, ex->err);
    return st ? st : fill_tensor(ex, name, &t, true, &ex->axes[ex->num_axes++]);
}

/* Equal parts are said by their number since opset 18. */
static amg_status fill_num_outputs(exporter *ex, Onnx__NodeProto *p)
{
    Onnx__AttributeProto **all =
        amg_arena_array(&ex->arena, p->n_attribute + 1, sizeof *all);
    Onnx__AttributeProto *a = amg_arena_alloc(&ex->arena, sizeof *a);
    if (!all || !a) return fail_memory(ex);
    memcpy(all, p->attribute, p->n_attribute * sizeof *all);
    all[p->n_attribute++] = a;
    p->attribute = all;
    amg_attr number = amg_int("num_outputs", (int64_t)p->n_output);
    return fill_attr(ex, &number, a);
}

static amg_status fill_node(exporter *ex, const amg_node *n, Onnx__NodeProto **out)
{
    int num_inputs = n->num_inputs, num_outputs = n->num_outputs;
    if (n->op == AMG_OP_DROPOUT && num_inputs > 2) num_inputs = 2; /* training_mode */
    if (n->op == AMG_OP_BATCH_NORM) num_outputs = 1; /* more mean training_mode = 1 */
    while (num_outputs > 1 && is_absent(ex, n, num_outputs - 1)) num_outputs--;
    if (amg_op_reduces(n->op) && num_inputs > 1)
        return amg_fail(ex->err, AMG_INVALID, -1, n->name,
                        "its axes are an input, expected an attribute");

    Onnx__NodeProto *p = amg_arena_alloc(&ex->arena, sizeof *p);
    if (!p) return fail_memory(ex);
    onnx__node_proto__init(p);
    p->op_type = text(amg_op_get(n->op)->name);
    if (n->op == AMG_OP_STOP_GRADIENT) {
        p->op_type = text("Identity");
        p->doc_string = text(AMG_TEXT_NO_GRADIENT);
    }
    if (n->name[0]) p->name = text(n->name);
    p->input = fill_names(ex, n->inputs, num_inputs);
    p->output = fill_names(ex, n->outputs, num_outputs);
    if (!p->input || !p->output) return fail_memory(ex);
    for (int i = 0; i < num_outputs; i++)
        if (is_absent(ex, n, i)) p->output[i] = text("");
    p->n_input = (size_t)num_inputs;
    p->n_output = (size_t)num_outputs;
    *out = p;
    amg_status st = fill_attrs(ex, n, p);
    if (st || ex->opset < 18) return st;
    if (amg_op_reduces(n->op)) return fill_axes(ex, n, p);
    return n->op == AMG_OP_SPLIT && num_inputs == 1 ? fill_num_outputs(ex, p) : AMG_OK;
}

static bool all_one(const amg_attr *a)
{
    for (int i = 0; a && i < a->count; i++)
        if (a->ints[i] != 1) return false;
    return true;
}

/* The oldest opset that has the node in the form that the graph has, if it is younger
 * than all others. */
static int64_t opset_of(const amg_graph *g, const amg_node *n)
{
    switch (n->op) {
    case AMG_OP_MISH:
    case AMG_OP_CENTER_CROP_PAD:
    case AMG_OP_COL2IM:
    case AMG_OP_LP_POOL: return 18;
    case AMG_OP_AFFINE_GRID:
    case AMG_OP_GRID_SAMPLE:
    case AMG_OP_GELU: return 20;
    case AMG_OP_GROUP_NORM: return 21;
    case AMG_OP_AVERAGE_POOL: return all_one(amg_attr_find(n, "dilations")) ? 0 : 19;
    case AMG_OP_MOD: /* of floats by the divisor's sign */
        return g->values[n->inputs[0]].dtype == AMG_F32 && !amg_attr_int(n, "fmod", 0)
                   ? 28
                   : 0;
    case AMG_OP_PAD:
        return strcmp(amg_attr_string(n, "mode", "constant"), "wrap") == 0 ? 19 : 0;
    case AMG_OP_DEFORM_CONV: return 19;
    case AMG_OP_CAUSAL_CONV: return 27;
    case AMG_OP_CUM_PROD: return 26;
    case AMG_OP_ROTARY_EMBEDDING:
    case AMG_OP_RMS_NORM: return 23;
    case AMG_OP_SCATTER_ELEMENTS:
    case AMG_OP_SCATTER_ND:
        return amg_attr_string(n, "reduction", "none")[0] == 'm' ? 18 : 0;
    case AMG_OP_ATTENTION:
        return amg_attr_find(n, "left_window_size") ||
                       amg_attr_find(n, "right_window_size")
                   ? 25
               : n->num_inputs > 6 ? 24
                                   : 23;
    case AMG_OP_SPACE_TO_DEPTH: return amg_attr_find(n, "mode") ? 28 : 0;
    default: return 0;
    }
}

/* The oldest opset that has all of the operators in the form that the graph has. */
static int64_t find_opset(const amg_graph *g)
{
    int64_t opset = OLDEST_WRITTEN_OPSET;
    for (int i = 0; i < g->num_nodes; i++) {
        const int64_t needs = opset_of(g, &g->nodes[i]);
        if (needs > opset) opset = needs;
    }
    return opset;
}

static amg_status fill_graph(exporter *ex, Onnx__GraphProto *graph)
{
    const amg_graph *g = ex->g;
    onnx__graph_proto__init(graph);
    graph->name = text("g");
    graph->n_node = (size_t)g->num_nodes;
    graph->n_input = (size_t)g->num_inputs;
    graph->n_output = (size_t)g->num_outputs;
    amg_status st = find_used(ex);
    if (st) return st;
    graph->node = amg_arena_array(&ex->arena, graph->n_node, sizeof *graph->node);
    ex->axes = amg_arena_array(&ex->arena, graph->n_node, sizeof *ex->axes);
    if (!graph->node || !ex->axes) return fail_memory(ex);
    for (int i = 0; i < g->num_nodes; i++) {
        st = fill_node(ex, &g->nodes[i], &graph->node[i]);
        if (st) return st;
    }
    st = fill_infos(ex, g->inputs, g, g->inputs, g->num_inputs, &graph->input);
    if (!st) st = fill_outputs(ex, graph);
    return st ? st : fill_initializers(ex, graph);
}

/* The model as a whole, ready to be packed; it points into ex and the graph. */
typedef struct {
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, *opsets[1];
} whole;

static amg_status fill_model(exporter *ex, whole *w)
{
    onnx__model_proto__init(&w->model);
    onnx__operator_set_id_proto__init(&w->opset);
    ex->opset = find_opset(ex->g);
    w->opset.has_version = 1;
    w->opset.version = ex->opset;
    w->opsets[0] = &w->opset;
    w->model.has_ir_version = 1;
    w->model.ir_version = WRITTEN_IR;
    w->model.n_opset_import = 1;
    w->model.opset_import = w->opsets;
    w->model.graph = &w->graph;
    return fill_graph(ex, &w->graph);
}

amg_status amg_graph_write_onnx(const char *path, const amg_graph *g, amg_error *err)
{
    amg_graph *own = NULL, *split = NULL;
    amg_status st = amg_graph_as_given(g, &own, err);
    const amg_graph *given = own ? own : g;
    if (!st) st = amg_drop_masks_split(given, &split, err);
    exporter ex = {.g = split ? split : given, .form = AMG_PACK_WHOLE, .err = err};
    whole w;
    if (!st) st = fill_model(&ex, &w);
    if (!st) st = amg_onnx_write(path, &w.model, err);
    amg_arena_clear(&ex.arena);
    amg_graph_free(split);
    amg_graph_free(own);
    return st;
}

amg_status amg_graph_pack_onnx(const amg_graph *g, amg_pack_form form, uint8_t **data,
                               size_t *size_bytes, amg_error *err)
{
    amg_graph *split;
    amg_status st = amg_drop_masks_split(g, &split, err);
    exporter ex = {.g = split ? split : g, .form = form, .err = err};
    whole w;
    if (!st) st = fill_model(&ex, &w);
    if (!st) st = amg_onnx_pack(&w.model, data, size_bytes, err);
    amg_arena_clear(&ex.arena);
    amg_graph_free(split);
    return st;
}
