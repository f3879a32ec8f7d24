/* The builder: a graph that still grows. It owns one amg_graph whose arrays are on the
 * heap until finish moves them into the graph's arena; every value has its shape from
 * the moment it is added. The first error sticks and turns later calls into no-ops. */
#include "graph/builder_private.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "graph/eval.h"
#include "graph/infer.h"

/* ---- errors and memory ---- */

void amg_builder_no_memory(amg_builder *b)
{
    b->status = amg_fail(&b->error, AMG_NO_MEMORY, -1, "graph", "out of memory");
}

/* Makes room for one more element. array: address of the pointer. */
static bool reserve(amg_builder *b, void *array, int count, int *capacity, size_t size)
{
    if (count < *capacity) return true;
    int larger = *capacity ? *capacity * 2 : 16;
    void *old, *grown = NULL;
    memcpy(&old, array, sizeof old);
    size_t bytes;
    if (*capacity <= INT_MAX / 2 && amg_mul_size((size_t)larger, size, &bytes))
        grown = amg_realloc(old, bytes);
    if (!grown) {
        amg_builder_no_memory(b);
        return false;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = larger;
    return true;
}

/* Zeroed storage that the graph owns. */
static void *new_buffer(amg_builder *b, size_t size_bytes)
{
    amg_graph *g = b->g;
    if (!reserve(b, &g->buffers, g->num_buffers, &b->room.buffers, sizeof *g->buffers))
        return NULL;
    void *p = amg_alloc_aligned(size_bytes ? size_bytes : 1);
    if (p)
        g->buffers[g->num_buffers++] = p;
    else
        amg_builder_no_memory(b);
    return p;
}

char *amg_builder_text(amg_builder *b, const char *s)
{
    char *copy = amg_arena_strdup(&b->g->arena, s);
    if (!copy) amg_builder_no_memory(b);
    return copy;
}

static void *copy_array(amg_builder *b, const void *from, int count, size_t size)
{
    void *p = amg_arena_array(&b->g->arena, (size_t)count, size);
    if (!p)
        amg_builder_no_memory(b);
    else if (count)
        memcpy(p, from, (size_t)count * size);
    return p;
}

amg_builder *amg_builder_new(void)
{
    amg_builder *b = amg_calloc(1, sizeof *b);
    if (!b) return NULL;
    b->g = amg_calloc(1, sizeof *b->g);
    if (!b->g) {
        amg_free(b);
        return NULL;
    }
    return b;
}

/* Drops the graph under construction. */
static void discard(amg_builder *b)
{
    if (b->g) {
        amg_free(b->g->values);
        amg_free(b->g->nodes);
        amg_free(b->g->inputs);
        amg_free(b->g->outputs);
        amg_graph_free(b->g);
    }
    b->g = NULL;
    amg_name_map_clear(&b->names);
}

void amg_builder_free(amg_builder *b)
{
    if (!b) return;
    discard(b);
    amg_free(b);
}

/* ---- values ---- */

static bool is_value(const amg_builder *b, int id)
{
    return id >= 0 && id < b->g->num_values;
}

/* Adds a value under a new name; NULL after an error. */
static amg_value *add_value(amg_builder *b, const char *name, amg_value_kind kind,
                            amg_dtype dtype, int rank, const int64_t *dims)
{
    amg_graph *g = b->g;
    if (name[0] == 0) {
        b->status = amg_fail(&b->error, AMG_MALFORMED, -1, "graph",
                             "a value has an empty name");
        return NULL;
    }
    if (amg_name_map_find(&b->names, name) >= 0) {
        b->status = amg_fail(&b->error, AMG_MALFORMED, -1, name,
                             "two values have this name, expected it once");
        return NULL;
    }
    char *copy = amg_builder_text(b, name);
    if (!copy ||
        !reserve(b, &g->values, g->num_values, &b->room.values, sizeof *g->values))
        return NULL;
    if (!amg_name_map_add(&b->names, copy, g->num_values)) {
        amg_builder_no_memory(b);
        return NULL;
    }
    amg_value *v = &g->values[g->num_values++];
    *v = (amg_value){
        .name = copy, .kind = kind, .dtype = dtype, .rank = rank, .producer = -1};
    for (int i = 0; i < rank; i++) v->dims[i] = dims[i];
    return v;
}

static int append_id(amg_builder *b, int **array, int *count, int *capacity, int id)
{
    if (!reserve(b, array, *count, capacity, sizeof **array)) return AMG_NO_VALUE;
    (*array)[(*count)++] = id;
    return id;
}

int amg_builder_input(amg_builder *b, const char *name, amg_dtype dtype, int rank,
                      const int64_t *dims)
{
    if (!amg_builder_good(b)) return AMG_NO_VALUE;
    bool valid = rank >= 0 && rank <= AMG_MAX_RANK && amg_dtype_size(dtype) > 0;
    int64_t count = 1;
    for (int i = 0; valid && i < rank; i++)
        valid = (i == 0 && dims[i] == AMG_DIM_BATCH) ||
                (dims[i] >= 0 && amg_mul_i64(count, dims[i], &count));
    if (!valid) {
        b->status = amg_fail(&b->error, AMG_MALFORMED, -1, name,
                             "the input's shape is not valid");
        return AMG_NO_VALUE;
    }
    if (!add_value(b, name, AMG_VALUE_INPUT, dtype, rank, dims)) return AMG_NO_VALUE;
    return append_id(b, &b->g->inputs, &b->g->num_inputs, &b->room.inputs,
                     b->g->num_values - 1);
}

/* Adds a PARAM without data and gives its size. */
static amg_value *add_param(amg_builder *b, const char *name, amg_dtype dtype, int rank,
                            const int64_t *dims, size_t *size_bytes)
{
    b->status = amg_tensor_size(dtype, rank, dims, size_bytes, &b->error);
    if (b->status) {
        if (b->error.where[0] == 0)
            snprintf(b->error.where, sizeof b->error.where, "%s", name);
        return NULL;
    }
    amg_value *v = add_value(b, name, AMG_VALUE_PARAM, dtype, rank, dims);
    if (!v) return NULL;
    v->data.dtype = dtype;
    v->data.rank = rank;
    memcpy(v->data.dims, v->dims, sizeof v->dims);
    v->data.size_bytes = *size_bytes;
    return v;
}

int amg_builder_param(amg_builder *b, const char *name, const amg_tensor *t)
{
    size_t size;
    if (!amg_builder_good(b)) return AMG_NO_VALUE;
    amg_value *v = add_param(b, name, t->dtype, t->rank, t->dims, &size);
    if (!v || !(v->data.data = new_buffer(b, size))) return AMG_NO_VALUE;
    if (t->data && size) memcpy(v->data.data, t->data, size);
    return b->g->num_values - 1;
}

int amg_builder_param_view(amg_builder *b, const char *name, const amg_tensor *t)
{
    size_t size;
    if (!amg_builder_good(b)) return AMG_NO_VALUE;
    amg_value *v = add_param(b, name, t->dtype, t->rank, t->dims, &size);
    if (!v) return AMG_NO_VALUE;
    v->data.data = t->data;
    return b->g->num_values - 1;
}

int amg_builder_param_absent(amg_builder *b, const char *name, amg_dtype dtype,
                             int rank, const int64_t *dims)
{
    size_t size;
    if (!amg_builder_good(b) || !add_param(b, name, dtype, rank, dims, &size))
        return AMG_NO_VALUE;
    return b->g->num_values - 1;
}

int amg_builder_param_of(amg_builder *b, const char *name, const amg_value *param)
{
    const amg_value *v = param;
    const int id = v->data.data
                       ? amg_builder_param_view(b, name, &v->data)
                       : amg_builder_param_absent(b, name, v->dtype, v->rank, v->dims);
    amg_builder_say(b, id, v->said);
    return id;
}

void amg_builder_say(amg_builder *b, int param, amg_param_said said)
{
    if (amg_builder_good(b) && is_value(b, param)) b->g->values[param].said = said;
}

amg_tensor *amg_builder_data(amg_builder *b, int param)
{
    if (!amg_builder_good(b) || !is_value(b, param)) return NULL;
    return &b->g->values[param].data;
}

void amg_builder_set_data(amg_builder *b, int param, const amg_tensor *t)
{
    if (!amg_builder_good(b) || !is_value(b, param)) return;
    amg_tensor *data = &b->g->values[param].data;
    if (!amg_tensor_same_shape(data, t) || data->dtype != t->dtype) {
        char found[AMG_SHAPE_TEXT], wanted[AMG_SHAPE_TEXT];
        b->status = amg_fail(
            &b->error, AMG_MISMATCH, -1, b->g->values[param].name,
            "found %s, expected %s", amg_shape_text(t->dtype, t->rank, t->dims, found),
            amg_shape_text(data->dtype, data->rank, data->dims, wanted));
        return;
    }
    void *copy = new_buffer(b, data->size_bytes);
    if (!copy) return;
    if (data->size_bytes) memcpy(copy, t->data, data->size_bytes);
    data->data = copy;
}

const amg_value *amg_builder_value(const amg_builder *b, int value)
{
    return amg_builder_good(b) && is_value(b, value) ? &b->g->values[value] : NULL;
}

/* ---- nodes ---- */

static bool copy_attr(amg_builder *b, const amg_attr *from, amg_attr *to)
{
    *to = *from;
    to->name = amg_builder_text(b, from->name);
    switch (from->kind) {
    case AMG_ATTR_INT:
    case AMG_ATTR_FLOAT: break;
    case AMG_ATTR_STRING: to->s = amg_builder_text(b, from->s); break;
    case AMG_ATTR_INTS:
        to->ints = copy_array(b, from->ints, from->count, sizeof *from->ints);
        break;
    case AMG_ATTR_FLOATS:
        to->floats = copy_array(b, from->floats, from->count, sizeof *from->floats);
        break;
    case AMG_ATTR_TENSOR:
        to->tensor.owned = false;
        to->tensor.data = new_buffer(b, from->tensor.size_bytes);
        if (to->tensor.data && from->tensor.size_bytes)
            memcpy(to->tensor.data, from->tensor.data, from->tensor.size_bytes);
        break;
    }
    return b->status == AMG_OK;
}

/* A free name for output i of a node: NAME_out, else NAME_out_N. */
static void make_up_name(amg_builder *b, const char *node, int i, char *out,
                         size_t size)
{
    if (i == 0)
        snprintf(out, size, "%.200s_out", node);
    else
        snprintf(out, size, "%.200s_out%d", node, i);
    while (amg_name_map_find(&b->names, out) >= 0)
        snprintf(out, size, "%.200s_out_%d", node, ++b->made_up);
}

static bool add_outputs(amg_builder *b, amg_node *node, const char *const *names)
{
    int *ids = amg_arena_array(&b->g->arena, (size_t)node->num_outputs, sizeof *ids);
    if (!ids) {
        amg_builder_no_memory(b);
        return false;
    }
    for (int i = 0; i < node->num_outputs; i++) {
        char made_up[256];
        const char *name = names ? names[i] : NULL;
        if (!name) {
            make_up_name(b, node->name, i, made_up, sizeof made_up);
            name = made_up;
        }
        amg_value *v =
            add_value(b, name, AMG_VALUE_ACTIVATION, AMG_DTYPE_NONE, -1, NULL);
        if (!v) return false;
        v->producer = b->g->num_nodes;
        ids[i] = b->g->num_values - 1;
    }
    node->outputs = ids;
    return true;
}

static bool copy_attrs(amg_builder *b, amg_node *node, const amg_attr *attrs)
{
    amg_attr *copy =
        amg_arena_array(&b->g->arena, (size_t)node->num_attrs, sizeof *copy);
    if (!copy) {
        amg_builder_no_memory(b);
        return false;
    }
    for (int i = 0; i < node->num_attrs; i++)
        if (!copy_attr(b, &attrs[i], &copy[i])) return false;
    node->attrs = copy;
    return true;
}

/* Keeps output i of a node whose inputs are known, if it is small enough for a shape;
 * of floats one number, which a shape may be computed of. */
static bool note_output(amg_builder *b, const amg_node *node, int i)
{
    amg_value *out = &b->g->values[node->outputs[i]];
    const size_t most = 2 * AMG_MAX_RANK * sizeof(int64_t);
    amg_tensor t = {.dtype = out->dtype, .rank = out->rank};
    if (amg_dtype_is_float(out->dtype) && out->rank != 0) return true;
    memcpy(t.dims, out->dims, sizeof t.dims);
    if (amg_tensor_size(t.dtype, t.rank, t.dims, &t.size_bytes, NULL) ||
        t.size_bytes > most)
        return true;
    t.data = amg_arena_alloc(&b->g->arena, most);
    if (!t.data) {
        amg_builder_no_memory(b);
        return false;
    }
    if (amg_eval_node(b->g->values, node, i, &t)) out->data = t;
    return true;
}

/* A shape that the node computes from the batch is kept with its value, so that what
 * reads it has dims before the batch is planned. */
static bool note_shape(amg_builder *b, const amg_node *node)
{
    if (!amg_eval_ready(b->g->values, node)) return true;
    for (int i = 0; i < node->num_outputs; i++)
        if (!note_output(b, node, i)) return false;
    return true;
}

/* Adds a node whose inputs are known to be valid ids or absent. */
static bool add_node(amg_builder *b, amg_node node, const amg_attr *attrs,
                     const char *const *output_names)
{
    amg_graph *g = b->g;
    node.name = amg_builder_text(b, node.name);
    node.inputs = copy_array(b, node.inputs, node.num_inputs, sizeof *node.inputs);
    if (!node.name || !node.inputs || !copy_attrs(b, &node, attrs) ||
        !reserve(b, &g->nodes, g->num_nodes, &b->room.nodes, sizeof *g->nodes) ||
        !add_outputs(b, &node, output_names))
        return false;
    g->nodes[g->num_nodes++] = node;
    const amg_node *added = &g->nodes[g->num_nodes - 1];
    b->status = amg_infer_node(g->values, added, &b->error);
    return b->status == AMG_OK && note_shape(b, added);
}

void amg_builder_node_multi(amg_builder *b, amg_op op, const char *name,
                            const int *inputs, int num_inputs, const amg_attr *attrs,
                            int num_attrs, const char *const *output_names,
                            int num_outputs, int *out)
{
    for (int i = 0; i < num_outputs; i++) out[i] = AMG_NO_VALUE;
    if (!amg_builder_good(b)) return;
    amg_node node = {.op = op,
                     .name = name,
                     .num_inputs = num_inputs,
                     .num_outputs = num_outputs,
                     .num_attrs = num_attrs,
                     .inputs = inputs};
    for (int i = 0; i < num_inputs; i++)
        if (inputs[i] != AMG_NO_VALUE && !is_value(b, inputs[i])) {
            b->status = amg_node_fail(&node, AMG_INVALID, &b->error,
                                      "input %d is value %d, which does not exist", i,
                                      inputs[i]);
            return;
        }
    if (!add_node(b, node, attrs, output_names)) return;
    memcpy(out, b->g->nodes[b->g->num_nodes - 1].outputs,
           (size_t)num_outputs * sizeof *out);
}

int amg_builder_node(amg_builder *b, amg_op op, const char *name, const int *inputs,
                     int num_inputs, const amg_attr *attrs, int num_attrs,
                     const char *output_name)
{
    int out;
    amg_builder_node_multi(b, op, name, inputs, num_inputs, attrs, num_attrs,
                           &output_name, 1, &out);
    return out;
}

void amg_builder_output(amg_builder *b, int value)
{
    if (!amg_builder_good(b)) return;
    amg_graph *g = b->g;
    if (!is_value(b, value)) {
        b->status = amg_fail(&b->error, AMG_INVALID, -1, "graph",
                             "output is value %d, which does not exist", value);
        return;
    }
    for (int i = 0; i < g->num_outputs; i++)
        if (g->outputs[i] == value) {
            b->status = amg_fail(&b->error, AMG_MALFORMED, -1, g->values[value].name,
                                 "is an output twice, expected once");
            return;
        }
    append_id(b, &g->outputs, &g->num_outputs, &b->room.outputs, value);
}

amg_attr amg_int(const char *name, int64_t v)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_INT, .i = v};
}

amg_attr amg_flt(const char *name, float v)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_FLOAT, .f = v};
}

amg_attr amg_ints(const char *name, int count, const int64_t *v)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_INTS, .count = count, .ints = v};
}

/* ---- finishing ---- */

/* Moves the arrays from the heap into the graph's arena: all or none, so that discard
 * knows where they are. */
static bool settle_all(amg_builder *b)
{
    amg_graph *g = b->g, settled = *g;
    settled.values = copy_array(b, g->values, g->num_values, sizeof *g->values);
    settled.nodes = copy_array(b, g->nodes, g->num_nodes, sizeof *g->nodes);
    settled.inputs = copy_array(b, g->inputs, g->num_inputs, sizeof *g->inputs);
    settled.outputs = copy_array(b, g->outputs, g->num_outputs, sizeof *g->outputs);
    if (b->status) return false;
    amg_free(g->values);
    amg_free(g->nodes);
    amg_free(g->inputs);
    amg_free(g->outputs);
    settled.arena = g->arena; /* grew meanwhile */
    *g = settled;
    return true;
}

amg_status amg_builder_status(const amg_builder *b, amg_error *err)
{
    if (b->status && err) *err = b->error;
    return b->status;
}

amg_status amg_builder_finish(amg_builder *b, amg_graph **out, amg_error *err)
{
    amg_graph *g = b->g;
    if (b->status == AMG_OK && (!g || g->num_outputs == 0))
        b->status = amg_fail(&b->error, AMG_INVALID, -1, "graph",
                             "has no output, expected one");
    if (b->status || !settle_all(b)) {
        if (err) *err = b->error;
        discard(b);
        return b->status;
    }
    g->has_weights = true;
    for (int i = 0; i < g->num_values; i++)
        if (g->values[i].kind == AMG_VALUE_PARAM && !g->values[i].data.data)
            g->has_weights = false;
    amg_graph_classify(g);
    b->g = NULL;
    discard(b);
    *out = g;
    return AMG_OK;
}
