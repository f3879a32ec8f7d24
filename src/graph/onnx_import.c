/* ONNX file → graph. Consumes an unpacked model, produces a graph in its one form:
 * opset 13 style where axes, bounds and pads are inputs, ReduceMean's axes an
 * attribute, constants initializers, the batch dimension AMG_DIM_BATCH. Order and names
 * come from onnx_order.c, single nodes from onnx_node.c; shapes are the builder's
 * business. docs/onnx.md states what is read. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/drop_mask.h"
#include "graph/merged_outputs.h"
#include "graph/onnx_import.h"
#include "graph/replace.h"

#define OLDEST_OPSET 9
#define NEWEST_OPSET 28 /* onnx 1.23; newer ones may change an operator's meaning */

static bool is_onnx_domain(const char *domain)
{
    return !domain || !domain[0] || !strcmp(domain, "ai.onnx");
}

bool amg_import_reads_opset(int64_t opset)
{
    return opset >= OLDEST_OPSET && opset <= NEWEST_OPSET;
}

static amg_status check_opset(amg_import *im, const Onnx__ModelProto *m, amg_error *err)
{
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = m->opset_import[i];
        if (!is_onnx_domain(o->domain))
            continue; /* matters only where a node uses it */
        if (im->opset)
            return amg_fail(err, AMG_MALFORMED, -1, im->file,
                            "it imports ONNX's operators twice");
        im->opset = o->has_version ? o->version : 0;
        if (amg_import_reads_opset(im->opset)) continue;
        amg_status st = amg_fail(err, AMG_UNSUPPORTED, -1, im->file,
                                 "opset %" PRId64 ", expected %d to %d", im->opset,
                                 OLDEST_OPSET, NEWEST_OPSET);
        amg_hint(err, "export with opset_version=17");
        return st;
    }
    if (!im->opset)
        return amg_fail(err, AMG_MALFORMED, -1, im->file,
                        "it does not say which opset of ONNX it uses");
    return AMG_OK;
}

static amg_status check_model(amg_import *im, amg_error *err)
{
    const Onnx__ModelProto *m = amg_onnx_model(im->onnx);
    if (!m->graph) {
        amg_status st =
            amg_fail(err, AMG_MALFORMED, -1, im->file, "the model has no graph");
        amg_hint(err, "is this an ONNX file, and complete?");
        return st;
    }
    amg_status st = check_opset(im, m, err);
    if (st) return st;
    im->graph = m->graph;
    if (im->graph->n_sparse_initializer)
        return amg_fail(err, AMG_UNSUPPORTED, -1, im->file,
                        "it has %zu sparse initializers, expected none",
                        im->graph->n_sparse_initializer);
    if (!im->graph->n_output)
        return amg_fail(err, AMG_MALFORMED, -1, im->file, "the graph has no output");
    return AMG_OK;
}

/* One dimension of the data input. The first is the batch, whatever the file says,
 * unless it is read as it is. */
static amg_status input_dim(amg_import *im, const Onnx__TensorShapeProto *shape, int i,
                            const char *where, int64_t *dim, amg_error *err)
{
    const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
    bool is_number =
        d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    if (i == 0 && !im->as_is) {
        *dim = AMG_DIM_BATCH;
        im->fixed_batch = is_number ? d->dim_value : 0;
        return AMG_OK;
    }
    if (!is_number) {
        const char *param =
            d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
                ? d->dim_param
                : "?";
        amg_status st =
            amg_fail(err, AMG_UNSUPPORTED, -1, where,
                     "dim %d is symbolic (\"%.100s\"), expected a number", i, param);
        amg_hint(err, "export with only the batch dimension dynamic");
        return st;
    }
    if (d->dim_value < 1)
        return amg_fail(err, AMG_MALFORMED, -1, where,
                        "dim %d is %" PRId64 ", expected 1 or more", i, d->dim_value);
    *dim = d->dim_value;
    return AMG_OK;
}

/* dtype, rank and dims of a data input. */
static amg_status describe_input(amg_import *im, const amg_name *e,
                                 amg_merged_input *out, amg_error *err)
{
    char where[256];
    snprintf(where, sizeof where, "input \"%.200s\"", e->name);
    const Onnx__TypeProto *type = im->graph->input[e->index]->type;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where, "it is not a dense tensor");
    const Onnx__TypeProto__Tensor *t = type->tensor_type;
    int code = t->has_elem_type ? t->elem_type : 0;
    out->name = e->name;
    out->dtype = amg_dtype_find_onnx(code);
    if (out->dtype == AMG_DTYPE_NONE)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                        "ONNX data type %d is not a number type that we know", code);
    if (!t->shape || (!t->shape->n_dim && !im->as_is))
        return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                        "it has no shape, expected a batch dimension and more");
    if (t->shape->n_dim > AMG_MAX_RANK)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where, "it has %zu dims, at most %d",
                        t->shape->n_dim, AMG_MAX_RANK);
    out->rank = (int)t->shape->n_dim;
    amg_status st = AMG_OK;
    for (int i = 0; i < out->rank && !st; i++)
        st = input_dim(im, t->shape, i, where, &out->dims[i], err);
    return st;
}

static amg_status add_input(amg_import *im, amg_name *e, amg_error *err)
{
    amg_merged_input in;
    amg_status st = describe_input(im, e, &in, err);
    if (st) return st;
    e->value = amg_builder_input(im->builder, e->name, in.dtype, in.rank, in.dims);
    im->batch_value = e->value;
    e->made = true;
    return AMG_OK;
}

/* The data inputs, those that are not initializers, in the file's order: one as it is,
 * several as one vector. */
static amg_status add_data_inputs(amg_import *im, amg_error *err)
{
    amg_name *data[AMG_MAX_MERGED];
    amg_merged_input merged[AMG_MAX_MERGED];
    int count = 0;
    for (size_t i = 0; i < im->graph->n_input; i++) {
        amg_name *e = amg_import_find(im, im->graph->input[i]->name);
        if (e->kind != AMG_NAME_INPUT) continue;
        if (count == AMG_MAX_MERGED)
            return amg_fail(err, AMG_UNSUPPORTED, -1, im->file,
                            "it has more than %d data inputs", AMG_MAX_MERGED);
        data[count++] = e;
    }
    if (count == 0)
        return amg_fail(err, AMG_UNSUPPORTED, -1, im->file,
                        "it has no data input, expected one or more");
    if (count == 1) return add_input(im, data[0], err);
    amg_status st = AMG_OK;
    for (int i = 0; i < count && !st; i++)
        st = describe_input(im, data[i], &merged[i], err);
    if (!st) st = amg_merged_inputs_add(im->builder, merged, count, err);
    for (int i = 0; i < count && !st; i++) {
        data[i]->value = merged[i].value;
        data[i]->made = true;
        im->batch_value = merged[i].value;
    }
    return st;
}

static amg_status add_all_inputs(amg_import *im, amg_error *err)
{
    amg_status st = AMG_OK;
    for (size_t i = 0; i < im->num_names && !st; i++)
        if (im->names[i].kind == AMG_NAME_INPUT) st = add_input(im, &im->names[i], err);
    return st;
}

/* One number is no weight: exporters write bounds as F64, and a Cast after them. */
static bool is_number(const amg_tensor *t)
{
    return t->dtype == AMG_F64 && amg_tensor_count(t) == 1;
}

/* Whether all that reads it makes another type of it, which folding does. */
static bool is_cast(const amg_import *im, const char *name)
{
    for (size_t n = 0; n < im->graph->n_node; n++) {
        const Onnx__NodeProto *node = im->graph->node[n];
        for (size_t i = 0; i < node->n_input; i++)
            if (!strcmp(node->input[i], name) &&
                (i > 0 || (strcmp(node->op_type, "Cast") != 0 &&
                           strcmp(node->op_type, "CastLike") != 0)))
                return false;
    }
    return true;
}

amg_status amg_import_param(amg_import *im, const char *name, const amg_tensor *t,
                            amg_param_said said, int *value, amg_error *err)
{
    const bool trains = t->dtype == AMG_F32 || !amg_dtype_is_float(t->dtype);
    if (!im->as_is && !trains && !is_number(t) && !is_cast(im, name)) {
        char where[256];
        snprintf(where, sizeof where, "tensor \"%.200s\"", name);
        amg_status st = amg_fail(err, AMG_UNSUPPORTED, -1, where,
                                 "float type %s, expected F32: only F32 weights train",
                                 amg_dtype_name(t->dtype));
        amg_hint(err, "export the model in float32: model.float()");
        return st;
    }
    *value = AMG_NO_VALUE;
    amg_status st = amg_import_open_rows(im, name, t, said, value, err);
    if (st || *value != AMG_NO_VALUE) return st;
    *value =
        t->data || !t->size_bytes
            ? amg_builder_param(im->builder, name, t)
            : amg_builder_param_absent(im->builder, name, t->dtype, t->rank, t->dims);
    if (amg_dtype_is_float(t->dtype)) amg_builder_say(im->builder, *value, said);
    return AMG_OK;
}

/* Stored without data: our form for key files. */
static bool is_absent(const Onnx__TensorProto *p)
{
    return p->has_data_location &&
           p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL &&
           !p->n_external_data && !p->has_raw_data;
}

static amg_status add_initializer(amg_import *im, size_t index, amg_error *err)
{
    const Onnx__TensorProto *p = im->graph->initializer[index];
    amg_name *e = amg_import_find(im, p->name);
    if (!e->needed || e->made) return AMG_OK;
    amg_tensor t = {0};
    amg_status st = is_absent(p) ? amg_onnx_tensor_shape(p, &t, err)
                                 : amg_onnx_tensor(im->onnx, p, &t, err);
    if (!st)
        st = amg_import_param(im, p->name, &t, amg_said_of_initializer(&im->said, p),
                              &e->value, err);
    amg_tensor_clear(&t);
    e->made = !st;
    return st;
}

static amg_status add_initializers(amg_import *im, amg_error *err)
{
    amg_status st = AMG_OK;
    for (size_t i = 0; !st && i < im->graph->n_initializer; i++)
        st = add_initializer(im, i, err);
    return st;
}

/* The needed ones, in their order; from the start where one of them needs others. */
static amg_status add_nodes(amg_import *im, amg_error *err)
{
    amg_status st = AMG_OK;
    for (size_t i = 0; !st && i < im->graph->n_node; i++) {
        const size_t n = im->order[i];
        if (!im->node_needed[n] || im->node_made[n]) continue;
        if (im->opsets) im->opset = im->opsets[n];
        im->again = false;
        st = amg_import_node(im, im->graph->node[n], err);
        im->node_made[n] = !im->again;
        if (st || !im->again) continue;
        st = add_initializers(im, err);
        i = SIZE_MAX; /* and on from 0 */
    }
    return st;
}

static amg_status find_output(amg_import *im, size_t index, int *value, amg_error *err)
{
    const char *name = im->graph->output[index]->name;
    const amg_name *e = amg_import_find(im, name);
    const amg_value *v = e->made ? amg_builder_value(im->builder, e->value) : NULL;
    if (!e->made || (v && v->kind != AMG_VALUE_ACTIVATION && !im->as_is))
        return amg_fail(err, AMG_UNSUPPORTED, -1, im->file,
                        "graph output \"%.200s\" is not the first output of a node",
                        name);
    *value = e->value;
    return AMG_OK;
}

static amg_status add_outputs(amg_import *im, amg_error *err)
{
    const size_t count = im->graph->n_output;
    int merged[AMG_MAX_MERGED], value;
    amg_status st = AMG_OK;
    const bool merges = im->merges && count > 1;
    if (merges && count > AMG_MAX_MERGED)
        return amg_fail(err, AMG_UNSUPPORTED, -1, im->file,
                        "it has %zu outputs, at most %d", count, AMG_MAX_MERGED);
    for (size_t i = 0; i < count && !st; i++) {
        st = find_output(im, i, &value, err);
        if (st) break;
        if (merges)
            merged[i] = value;
        else
            amg_builder_output(im->builder, value);
    }
    return !st && merges ? amg_merged_outputs_add(im->builder, merged, (int)count, err)
                         : st;
}

/* Weights may be absent (key files), which is any F32 tensor here: some are weights
 * only once the graph is folded, and folding has the last word. What shapes depend on
 * may not. */
static amg_status check_constants(const amg_graph *g, amg_error *err)
{
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind != AMG_VALUE_PARAM || v->dtype == AMG_F32 || v->data.data ||
            !v->data.size_bytes)
            continue;
        char where[256];
        snprintf(where, sizeof where, "tensor \"%.200s\"", v->name);
        return amg_fail(err, AMG_MALFORMED, -1, where,
                        "a constant without data: only weights may be absent");
    }
    return AMG_OK;
}

static amg_status join_masks(amg_graph **g, amg_error *err)
{
    amg_graph *joined;
    const amg_status st = amg_drop_masks_join(*g, &joined, err);
    return st || !joined ? st : amg_replace_graph(g, joined, err);
}

static amg_status import_graph(amg_import *im, amg_graph **out, amg_error *err)
{
    amg_status st = check_model(im, err);
    if (!st) st = amg_import_functions(im, err);
    if (!st &&
        !amg_said_init(&im->said, amg_onnx_model(im->onnx), im->graph, &im->arena))
        st = amg_fail(err, AMG_NO_MEMORY, -1, im->file, "no memory for the graph");
    if (!st) st = amg_import_order(im, err);
    if (!st) st = im->as_is ? add_all_inputs(im, err) : add_data_inputs(im, err);
    if (!st) st = add_initializers(im, err);
    if (!st) st = add_nodes(im, err);
    if (!st) st = add_outputs(im, err);
    amg_graph *made;
    if (!st) st = amg_builder_finish(im->builder, &made, err);
    if (st == AMG_MISMATCH && im->fixed_batch)
        amg_hint(err,
                 "the batch is fixed in the file and may stand in its shapes: export "
                 "with a dynamic batch dimension");
    if (st) return st;
    st = check_constants(made, err);
    if (!st && !im->as_is) st = amg_said_finish(&im->said, made, err);
    if (!st && !im->as_is) st = join_masks(&made, err);
    if (!st && !im->as_is) st = amg_replace_dead(&made, err);
    if (st)
        amg_graph_free(made);
    else
        *out = made;
    return st;
}

/* im: how to read. */
static amg_status import_once(amg_import *im, amg_graph **out, amg_error *err)
{
    im->builder = amg_builder_new();
    amg_status st = im->builder ? import_graph(im, out, err)
                                : amg_fail(err, AMG_NO_MEMORY, -1, im->file,
                                           "no memory for the graph");
    amg_builder_free(im->builder);
    amg_arena_clear(&im->arena);
    return st;
}

/* Whether shapes fit together for another batch than the file's. */
static bool fits_another_batch(const amg_graph *g, int64_t fixed)
{
    amg_graph *planned = NULL;
    const amg_status st = amg_graph_plan_batch(g, fixed + 1, &planned, NULL);
    amg_graph_free(planned);
    return st != AMG_MISMATCH;
}

/* Of a file with a fixed batch that does not fit together: read as one that has its
 * batch baked in. Where shapes do not fit then either, the first attempt, st with *out
 * or err, counts. */
static amg_status import_baked(amg_import *how, amg_status st, amg_graph **out,
                               amg_error *err)
{
    amg_graph *second = NULL;
    amg_error again = {0};
    const amg_status result = import_once(how, &second, &again);
    if (result == AMG_MISMATCH ||
        (!st && (result || !fits_another_batch(second, how->baked)))) {
        amg_graph_free(second);
        return st;
    }
    if (!st) amg_graph_free(*out);
    if (result && err) *err = again;
    *out = second;
    return result;
}

/* Takes over onnx. */
static amg_status import_onnx(amg_onnx *onnx, const char *file, amg_import how,
                              amg_graph **out, amg_error *err)
{
    how.onnx = onnx;
    how.file = file;
    amg_import im = how;
    *out = NULL;
    amg_status st = import_once(&im, out, err);
    how.baked = im.fixed_batch;
    if (im.fixed_batch > 0 &&
        (st ? st == AMG_MISMATCH : !fits_another_batch(*out, im.fixed_batch)))
        st = import_baked(&how, st, out, err);
    amg_onnx_close(onnx);
    return st;
}

static amg_status read_onnx(const char *path, amg_import how, amg_graph **out,
                            amg_error *err)
{
    amg_onnx *onnx;
    amg_status st = amg_onnx_open(path, &onnx, err);
    return st ? st : import_onnx(onnx, path, how, out, err);
}

amg_status amg_graph_read_onnx(const char *path, amg_graph **out, amg_error *err)
{
    return read_onnx(path, (amg_import){0}, out, err);
}

amg_status amg_graph_read_model(const char *path, amg_graph **out, amg_error *err)
{
    return read_onnx(path, (amg_import){.merges = true}, out, err);
}

amg_status amg_graph_read_onnx_as_is(const char *path, amg_graph **out, amg_error *err)
{
    return read_onnx(path, (amg_import){.as_is = true}, out, err);
}

amg_status amg_graph_parse_onnx(const void *data, size_t size_bytes, const char *name,
                                amg_graph **out, amg_error *err)
{
    amg_onnx *onnx;
    amg_status st = amg_onnx_parse(data, size_bytes, name, NULL, &onnx, err);
    return st ? st : import_onnx(onnx, name, (amg_import){0}, out, err);
}
