/* What the tests of ONNX import and export share: looking at graphs, and making models
 * that no exporter would write. A model's parts live in its arena until it is imported.
 */
#ifndef AMG_TESTS_ONNX_FIXTURE_H
#define AMG_TESTS_ONNX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "formats/onnx.h"
#include "graph/onnx_graph.h"
#include "onnx.pb-c.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- looking at graphs ---- */

/* "Conv BatchNormalization …" */
static inline void op_names(const amg_graph *g, char out[1024])
{
    out[0] = 0;
    for (int i = 0; i < g->num_nodes; i++)
        snprintf(out + strlen(out), 1024 - strlen(out), "%s%s", i ? " " : "",
                 amg_op_get(g->nodes[i].op)->name);
}

static inline const amg_value *value_of(const amg_graph *g, const char *name)
{
    int id = amg_graph_find_value(g, name);
    if (id < 0) fail_msg("no value \"%s\"", name);
    return &g->values[id];
}

static inline void expect_shape(const amg_graph *g, const char *name,
                                const char *expected)
{
    const amg_value *v = value_of(g, name);
    char text[AMG_SHAPE_TEXT];
    assert_string_equal(amg_shape_text(v->dtype, v->rank, v->dims, text), expected);
}

/* ---- making models ---- */

/* A model under construction; everything in it lives in the arena. */
typedef struct {
    amg_arena arena;
    Onnx__ModelProto m;
    Onnx__GraphProto g;
    Onnx__OperatorSetIdProto opset, *opsets[1];
    Onnx__NodeProto *nodes[16], *last;
    Onnx__ValueInfoProto *inputs[4], *outputs[4];
    Onnx__TensorProto *inits[16];
} model;

static inline char *keep(model *m, const char *s)
{
    return amg_arena_strdup(&m->arena, s);
}

#define DEFINE_NEW(type, name)                                                         \
    static inline type *new_##name(model *m)                                           \
    {                                                                                  \
        type *p = amg_arena_alloc(&m->arena, sizeof *p);                               \
        onnx__##name##__init(p);                                                       \
        return p;                                                                      \
    }
DEFINE_NEW(Onnx__NodeProto, node_proto)
DEFINE_NEW(Onnx__TensorProto, tensor_proto)
DEFINE_NEW(Onnx__AttributeProto, attribute_proto)
DEFINE_NEW(Onnx__ValueInfoProto, value_info_proto)
DEFINE_NEW(Onnx__TypeProto, type_proto)
DEFINE_NEW(Onnx__TypeProto__Tensor, type_proto__tensor)
DEFINE_NEW(Onnx__TensorShapeProto, tensor_shape_proto)
DEFINE_NEW(Onnx__TensorShapeProto__Dimension, tensor_shape_proto__dimension)

/* shape: "N,3,8,8", names for symbolic dims; NULL: none. */
static inline Onnx__ValueInfoProto *info(model *m, const char *name, const char *shape)
{
    Onnx__ValueInfoProto *v = new_value_info_proto(m);
    v->name = keep(m, name);
    if (!shape) return v;
    v->type = new_type_proto(m);
    v->type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type->tensor_type = new_type_proto__tensor(m);
    v->type->tensor_type->has_elem_type = 1;
    v->type->tensor_type->elem_type = 1;
    Onnx__TensorShapeProto *s = v->type->tensor_type->shape = new_tensor_shape_proto(m);
    s->dim = amg_arena_array(&m->arena, 16, sizeof *s->dim);
    char *text = keep(m, shape);
    for (char *d = strtok(text, ","); d; d = strtok(NULL, ",")) {
        Onnx__TensorShapeProto__Dimension *dim = new_tensor_shape_proto__dimension(m);
        s->dim[s->n_dim++] = dim;
        bool number = *d == '-' || (*d >= '0' && *d <= '9');
        dim->value_case = number ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                                 : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        if (number)
            dim->dim_value = atoll(d);
        else
            dim->dim_param = d;
    }
    return v;
}

/* One input "x" F32[N,3,8,8], one output "y". */
static inline void start(model *m, int64_t opset)
{
    memset(m, 0, sizeof *m);
    onnx__model_proto__init(&m->m);
    onnx__graph_proto__init(&m->g);
    onnx__operator_set_id_proto__init(&m->opset);
    m->m.graph = &m->g;
    m->m.has_ir_version = 1;
    m->m.ir_version = 4;
    m->m.opset_import = m->opsets;
    m->m.n_opset_import = 1;
    m->opsets[0] = &m->opset;
    m->opset.has_version = 1;
    m->opset.version = opset;
    m->g.node = m->nodes;
    m->g.input = m->inputs;
    m->g.output = m->outputs;
    m->g.initializer = m->inits;
    m->inputs[m->g.n_input++] = info(m, "x", "N,3,8,8");
    m->outputs[m->g.n_output++] = info(m, "y", NULL);
}

/* Splits "a b -" into names; "-" is the absent one. */
static inline char **split(model *m, const char *names, size_t *count)
{
    char **out = amg_arena_array(&m->arena, 128, sizeof *out);
    char *text = keep(m, names);
    for (char *s = strtok(text, " "); s; s = strtok(NULL, " "))
        out[(*count)++] = strcmp(s, "-") ? s : keep(m, "");
    return out;
}

static inline void node(model *m, const char *op, const char *inputs,
                        const char *outputs)
{
    Onnx__NodeProto *n = m->last = m->nodes[m->g.n_node++] = new_node_proto(m);
    char name[32];
    snprintf(name, sizeof name, "n%zu", m->g.n_node - 1);
    n->name = keep(m, name);
    n->op_type = keep(m, op);
    n->input = split(m, inputs, &n->n_input);
    n->output = split(m, outputs, &n->n_output);
    n->attribute = amg_arena_array(&m->arena, 8, sizeof *n->attribute);
}

static inline Onnx__AttributeProto *attr(model *m, const char *name, int type)
{
    Onnx__AttributeProto *a = new_attribute_proto(m);
    m->last->attribute[m->last->n_attribute++] = a;
    a->name = keep(m, name);
    a->has_type = 1;
    a->type = (Onnx__AttributeProto__AttributeType)type;
    return a;
}

static inline void attr_int(model *m, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = attr(m, name, 2);
    a->has_i = 1;
    a->i = v;
}

static inline void attr_float(model *m, const char *name, float v)
{
    Onnx__AttributeProto *a = attr(m, name, 1);
    a->has_f = 1;
    a->f = v;
}

static inline void attr_text(model *m, const char *name, const char *v)
{
    Onnx__AttributeProto *a = attr(m, name, 3);
    a->has_s = 1;
    a->s.len = strlen(v);
    a->s.data = (uint8_t *)keep(m, v);
}

static inline void attr_texts(model *m, const char *name, size_t n,
                              const char *const *v)
{
    Onnx__AttributeProto *a = attr(m, name, 8);
    a->n_strings = n;
    a->strings = amg_arena_array(&m->arena, n, sizeof *a->strings);
    for (size_t i = 0; i < n; i++) {
        a->strings[i].len = strlen(v[i]);
        a->strings[i].data = (uint8_t *)keep(m, v[i]);
    }
}

static inline void attr_ints(model *m, const char *name, size_t n, const int64_t *v)
{
    Onnx__AttributeProto *a = attr(m, name, 7);
    a->n_ints = n;
    a->ints = amg_arena_array(&m->arena, n, sizeof *v);
    memcpy(a->ints, v, n * sizeof *v);
}
#define INTS(...)                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]) { __VA_ARGS__ }

/* An initializer of type (1 F32, 7 I64, …) with zeroed raw data of size_bytes. */
static inline Onnx__TensorProto *init(model *m, const char *name, int type,
                                      size_t n_dims, const int64_t *dims,
                                      size_t size_bytes)
{
    Onnx__TensorProto *t = m->inits[m->g.n_initializer++] = new_tensor_proto(m);
    t->name = keep(m, name);
    t->has_data_type = 1;
    t->data_type = type;
    t->n_dims = n_dims;
    t->dims = amg_arena_array(&m->arena, n_dims, sizeof *dims);
    if (n_dims) memcpy(t->dims, dims, n_dims * sizeof *dims);
    t->has_raw_data = 1;
    t->raw_data.len = size_bytes;
    t->raw_data.data = amg_arena_alloc(&m->arena, size_bytes);
    return t;
}

static inline void init_ints(model *m, const char *name, size_t n, const int64_t *v)
{
    int64_t dims[] = {(int64_t)n};
    memcpy(init(m, name, 7, 1, dims, n * sizeof *v)->raw_data.data, v, n * sizeof *v);
}

/* Sends the model through bytes into a graph, and lets go of it. */
static inline amg_status import(model *m, amg_graph **g, amg_error *err)
{
    uint8_t *data;
    size_t size;
    assert_int_equal(amg_onnx_pack(&m->m, &data, &size, NULL), AMG_OK);
    amg_arena_clear(&m->arena);
    amg_status st = amg_graph_parse_onnx(data, size, "m.onnx", g, err);
    amg_free(data);
    return st;
}

static inline amg_graph *must_import(model *m)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    if (import(m, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    return g;
}

static inline void expect_failure(model *m, amg_status code, const char *where,
                                  const char *what)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_status st = import(m, &g, &err);
    if (st != code || strcmp(err.where, where) || !strstr(err.what, what))
        fail_msg("%s, \"%s\": \"%s\"; expected %s, \"%s\": \"%s\"", amg_status_name(st),
                 err.where, err.what, amg_status_name(code), where, what);
    assert_int_equal(err.offset, -1);
    assert_null(g);
}

#endif
