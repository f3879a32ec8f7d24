/* Rewrites: preprocessing in front of a graph, and other weights in a graph. Both go
 * through the builder and leave their source untouched. */
#include "graph/rewrite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
}

/* A builder and a value map for copying g, whose data input is not mapped yet. */
static amg_status start(const amg_graph *g, amg_builder **b, int **map, amg_error *err)
{
    *b = amg_builder_new();
    *map = amg_calloc((size_t)g->num_values, sizeof **map);
    return *b && *map ? AMG_OK : no_memory(err);
}

/* Adds g's outputs and takes the graph out of the builder. */
static amg_status finish(amg_builder *b, const amg_graph *g, const int *map,
                         amg_graph **out, amg_error *err)
{
    for (int i = 0; i < g->num_outputs; i++) amg_builder_output(b, map[g->outputs[i]]);
    return amg_builder_finish(b, out, err);
}

/* ---- preprocessing ---- */

/* Preprocessing nodes and constants: a builder, and the graph whose names to avoid. */
typedef struct {
    amg_builder *b;
    const amg_graph *g;
} prefix;

/* "preprocess/WORD", with as many '_' behind it as make it free in g. */
static void free_name(const prefix *p, const char *word, char *name, size_t size)
{
    size_t length = (size_t)snprintf(name, size, "preprocess/%s", word);
    while (amg_graph_find_value(p->g, name) >= 0 && length + 1 < size) {
        name[length++] = '_';
        name[length] = 0;
    }
}

/* A constant of shape dims, named after word and its place. */
static int constant(const prefix *p, const char *word, const char *place,
                    amg_dtype dtype, int rank, const int64_t *dims, const void *values)
{
    char name[128], constant_word[64];
    amg_tensor t = {.dtype = dtype, .rank = rank};
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)(t.dims[i] = dims[i]);
    t.size_bytes = count * amg_dtype_size(dtype);
    snprintf(constant_word, sizeof constant_word, "%s_%s", word, place);
    free_name(p, constant_word, name, sizeof name);
    const int value = amg_builder_param(p->b, name, &t);
    amg_tensor *data = amg_builder_data(p->b, value);
    if (data) memcpy(data->data, values, t.size_bytes);
    return value;
}

/* op(x, constant), named after word; constant f32 of shape dims. */
static int apply(const prefix *p, amg_op op, const char *word, int x, int rank,
                 const int64_t *dims, const float *values)
{
    char name[128];
    const int operand = constant(p, word, "value", AMG_F32, rank, dims, values);
    free_name(p, word, name, sizeof name);
    return amg_builder_node(p->b, op, name, (int[]){x, operand}, 2, NULL, 0, name);
}

/* x[:, begin:end] */
static int slice(const prefix *p, const char *word, int x, int64_t begin, int64_t end)
{
    char name[128];
    const int inputs[] = {
        x, constant(p, word, "begin", AMG_I64, 1, &(int64_t){1}, &begin),
        constant(p, word, "end", AMG_I64, 1, &(int64_t){1}, &end),
        constant(p, word, "axis", AMG_I64, 1, &(int64_t){1}, &(int64_t){1})};
    free_name(p, word, name, sizeof name);
    return amg_builder_node(p->b, AMG_OP_SLICE, name, inputs, 4, NULL, 0, name);
}

static int add_preprocess(const prefix *p, const amg_preprocess *pre, int x, int rank,
                          amg_dtype wanted)
{
    if (pre->data_dtype != wanted) {
        char name[128];
        amg_attr to = amg_int("to", amg_dtype_onnx(wanted));
        free_name(p, wanted == AMG_F32 ? "float" : "integer", name, sizeof name);
        x = amg_builder_node(p->b, AMG_OP_CAST, name, &x, 1, &to, 1, name);
    }
    if (pre->data_dtype == AMG_U8 && wanted == AMG_F32)
        x = apply(p, AMG_OP_MUL, "scale", x, 0, NULL, &(float){1.0f / 255.0f});
    if (pre->num_channels > 0 && wanted == AMG_F32) {
        int64_t dims[AMG_MAX_RANK];
        for (int i = 0; i < rank; i++) dims[i] = i == 1 ? pre->num_channels : 1;
        x = apply(p, AMG_OP_SUB, "mean", x, rank, dims, pre->mean);
        x = apply(p, AMG_OP_DIV, "std", x, rank, dims, pre->std);
    }
    return x;
}

/* Of windows of L+1 tokens the first L. The model gets all but the first of them from
 * the next tokens, which would otherwise lead to no output:
 *
 *     window -- [1, L+1) --> next -- [0, L-1) --+
 *        `----- [0, 1) -------------------------+--> Concat */
static int split_windows(const prefix *p, int window, int64_t num_tokens)
{
    char name[128];
    const int next = slice(p, "next", window, 1, num_tokens + 1);
    const int first = slice(p, "first", window, 0, 1);
    const int inputs[] = {first, slice(p, "rest", next, 0, num_tokens - 1)};
    const amg_attr axis = amg_int("axis", 1);
    free_name(p, "tokens", name, sizeof name);
    return amg_builder_node(p->b, AMG_OP_CONCAT, name, inputs, 2, &axis, 1, name);
}

static amg_status check_windows(const amg_value *input, const amg_preprocess *p,
                                amg_error *err)
{
    if (input->dtype == AMG_I64 && input->rank == 2 && input->dims[1] >= 2 &&
        input->dims[1] < INT32_MAX && p->data_dtype == AMG_I32)
        return AMG_OK;
    char text[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_MISMATCH, -1, input->name,
                    "a language model takes I64[batch, 2 tokens or more] and data of "
                    "I32, found %s and %s",
                    amg_shape_text(input->dtype, input->rank, input->dims, text),
                    amg_dtype_name(p->data_dtype));
}

static amg_status check_preprocess(const amg_value *input, const amg_preprocess *p,
                                   amg_error *err)
{
    const amg_dtype data = p->data_dtype;
    if (data != AMG_U8 && data != AMG_F32 && data != AMG_I32)
        return amg_fail(err, AMG_UNSUPPORTED, -1, input->name,
                        "data are %s, expected U8, F32 or I32", amg_dtype_name(data));
    if (input->dtype == AMG_U8 && data == AMG_U8) return AMG_OK;
    if (input->dtype != AMG_F32) {
        const bool fits = (input->dtype == AMG_I64 && data != AMG_F32) ||
                          (input->dtype == AMG_I32 && data == AMG_I32);
        if (!fits)
            return amg_fail(err, AMG_MISMATCH, -1, input->name,
                            "the model takes %s, the data are %s",
                            amg_dtype_name(input->dtype), amg_dtype_name(data));
        if (p->num_channels == 0) return AMG_OK;
        return amg_fail(err, AMG_INVALID, -1, input->name,
                        "the model takes %s, which have no mean and std",
                        amg_dtype_name(input->dtype));
    }
    if (p->num_channels == 0) return AMG_OK;
    if (p->num_channels < 0 || p->num_channels > 16 || input->rank < 2 ||
        input->dims[1] != p->num_channels) {
        char text[AMG_SHAPE_TEXT];
        return amg_fail(err, AMG_MISMATCH, -1, input->name,
                        "mean and std of %d channel%s for an input %s", p->num_channels,
                        amg_plural(p->num_channels),
                        amg_shape_text(input->dtype, input->rank, input->dims, text));
    }
    for (int i = 0; i < p->num_channels; i++)
        if (!isfinite(p->mean[i]) || !isfinite(p->std[i]) || !(p->std[i] > 0))
            return amg_fail(err, AMG_INVALID, -1, input->name,
                            "channel %d has mean %g and std %g, expected a std above 0",
                            i, (double)p->mean[i], (double)p->std[i]);
    return AMG_OK;
}

amg_status amg_graph_with_preprocess(const amg_graph *g, const amg_preprocess *p,
                                     amg_graph **out, amg_error *err)
{
    if (g->num_inputs != 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, "graph",
                        "has %d inputs, expected one", g->num_inputs);
    const amg_value *input = &g->values[g->inputs[0]];
    amg_status s = check_preprocess(input, p, err);
    if (!s && p->windows) s = check_windows(input, p, err);
    if (s) return s;

    amg_builder *b;
    int *map;
    s = start(g, &b, &map, err);
    if (s) goto done;
    const prefix before = {.b = b, .g = g};
    int64_t dims[AMG_MAX_RANK];
    memcpy(dims, input->dims, sizeof dims);
    if (p->windows) dims[1]++;
    int x = amg_builder_input(b, input->name, p->data_dtype, input->rank, dims);
    x = add_preprocess(&before, p, x, input->rank, input->dtype);
    if (p->windows) x = split_windows(&before, x, input->dims[1]);
    map[g->inputs[0]] = x;
    amg_builder_copy_view(b, g, map, NULL, NULL);
    s = finish(b, g, map, out, err);
done:
    amg_free(map);
    amg_builder_free(b);
    return s;
}

int amg_graph_preprocessed(const amg_graph *fed, const amg_graph *g)
{
    const int num_added = fed->num_nodes - g->num_nodes; /* they come first */
    return num_added ? fed->nodes[num_added - 1].outputs[0] : fed->inputs[0];
}

int amg_graph_next_tokens(const amg_graph *fed)
{
    return fed->nodes[1].outputs[0]; /* behind the Cast */
}

/* ---- weights ---- */

amg_status amg_graph_with_weights(const amg_graph *g, amg_weight_fn get, void *context,
                                  amg_graph **out, amg_error *err)
{
    amg_builder *b;
    int *map;
    amg_status s = start(g, &b, &map, err);
    if (s) goto done;
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *v = &g->values[g->inputs[i]];
        map[g->inputs[i]] = amg_builder_input(b, v->name, v->dtype, v->rank, v->dims);
    }
    amg_builder_copy_view(b, g, map, NULL, NULL);
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind != AMG_VALUE_PARAM) continue;
        const amg_tensor *t = v->role == AMG_ROLE_CONSTANT ? NULL : get(context, v);
        if (!t && v->data.data) t = &v->data;
        if (t) amg_builder_set_data(b, map[i], t);
    }
    s = finish(b, g, map, out, err);
done:
    amg_free(map);
    amg_builder_free(b);
    return s;
}
