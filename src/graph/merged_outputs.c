/* Several outputs as one, and back. */
#include "graph/merged_outputs.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Nobody's values have these names but ours. */
#define MERGED "amalgam.outputs"
#define ROW "amalgam.row." /* of an output, flattened */
#define NAME_TEXT 512

/* ---- one out of several ---- */

/* A shape that is not known yet is looked at again once the graph is planned. */
static amg_status check_output(const amg_value *v, amg_error *err)
{
    char found[AMG_SHAPE_TEXT];
    if (v->dtype == AMG_F32 &&
        (v->rank < 0 || (v->rank > 0 && v->dims[0] == AMG_DIM_BATCH)))
        return AMG_OK;
    (void)amg_fail(err, AMG_UNSUPPORTED, -1, v->name,
                   "one of several outputs is %s, expected F32[batch, ...]",
                   amg_shape_text(v->dtype, v->rank, v->dims, found));
    amg_hint(err, "write the model with those outputs alone that are trained");
    return AMG_UNSUPPORTED;
}

static int add_row_shape(amg_builder *b)
{
    const int64_t row[] = {0, -1};
    amg_tensor t = {.dtype = AMG_I64, .rank = 1, .dims = {2}, .size_bytes = sizeof row};
    const int id = amg_builder_param(b, "amalgam.outputs.row", &t);
    amg_tensor *data = amg_builder_data(b, id);
    if (data) memcpy(data->data, row, sizeof row);
    return id;
}

amg_status amg_merged_outputs_add(amg_builder *b, const int *values, int count,
                                  amg_error *err)
{
    int rows[AMG_MAX_MERGED];
    const int shape = add_row_shape(b);
    for (int i = 0; i < count; i++) {
        const amg_value *v = amg_builder_value(b, values[i]);
        if (!v) return AMG_OK; /* the builder knows why */
        const amg_status st = check_output(v, err);
        if (st) return st;
        char name[NAME_TEXT];
        snprintf(name, sizeof name, ROW "%.400s", v->name);
        rows[i] = amg_builder_node(b, AMG_OP_RESHAPE, "", (int[]){values[i], shape}, 2,
                                   NULL, 0, name);
    }
    const amg_attr axis = amg_int("axis", 1);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_CONCAT, MERGED, rows, count, &axis, 1, MERGED));
    return AMG_OK;
}

/* ---- which they are ---- */

/* The node that makes the one output, -1: it is no merged one. */
static int find_concat(const amg_graph *g)
{
    if (g->num_outputs != 1) return -1;
    const amg_value *all = &g->values[g->outputs[0]];
    if (strcmp(all->name, MERGED) != 0 || all->producer < 0) return -1;
    const amg_node *concat = &g->nodes[all->producer];
    return concat->op == AMG_OP_CONCAT && concat->num_inputs <= AMG_MAX_MERGED
               ? all->producer
               : -1;
}

/* The Reshape that flattens a part of it. */
static int find_reshape(const amg_graph *g, int row)
{
    const amg_value *v = &g->values[row];
    const bool ours = strncmp(v->name, ROW, strlen(ROW)) == 0 && v->producer >= 0;
    return ours && g->nodes[v->producer].op == AMG_OP_RESHAPE ? v->producer : -1;
}

int amg_merged_outputs_find(const amg_graph *g, int values[AMG_MAX_MERGED])
{
    const int concat = find_concat(g);
    if (concat < 0) return 0;
    const amg_node *node = &g->nodes[concat];
    for (int i = 0; i < node->num_inputs; i++) {
        const int reshape = find_reshape(g, node->inputs[i]);
        if (reshape < 0) return 0;
        values[i] = g->nodes[reshape].inputs[0];
    }
    return node->num_inputs;
}

/* ---- what they are trained for ---- */

amg_status amg_merged_outputs_task(const amg_graph *g, bool *by_data, amg_task *task,
                                   amg_error *err)
{
    int values[AMG_MAX_MERGED];
    const int count = amg_merged_outputs_find(g, values);
    if (count && *by_data) {
        *task = AMG_TASK_MULTI_TASK;
        *by_data = false;
    }
    if (*by_data || !count == (*task != AMG_TASK_MULTI_TASK)) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "task",
                    count ? "it is %s, for a model of %d outputs multi_task"
                          : "it is %s, for a model of several outputs: this has one",
                    amg_task_name(*task), count);
}

/* Which outputs wait for how many terms. */
static amg_status wrong_terms(const amg_graph *g, const int *values, int count,
                              int num_terms, amg_error *err)
{
    char list[384] = "", shape[AMG_SHAPE_TEXT];
    char example[AMG_MAX_MERGED * 16] = "cross_entropy";
    for (int i = 0; i < count; i++) {
        const amg_value *v = &g->values[values[i]];
        const size_t at = strlen(list), end = strlen(example);
        amg_shape_text(v->dtype, v->rank, v->dims, shape);
        snprintf(list + at, sizeof list - at, "%s\"%.60s\" %s", i ? ", " : "", v->name,
                 shape);
        if (i)
            snprintf(example + end, sizeof example - end, "%s",
                     i == 1 ? "+0.5*huber:0.5" : "+mse");
    }
    (void)amg_fail(err, AMG_INVALID, -1, "loss",
                   "%d term%s for the model's %d outputs: %s", num_terms,
                   amg_plural(num_terms), count, list);
    amg_hint(err, "one term an output, in this order: --loss %s", example);
    return AMG_INVALID;
}

amg_status amg_merged_outputs_parts(const amg_graph *g, const char *terms,
                                    amg_loss_part parts[AMG_MAX_PARTS], int *count,
                                    amg_error *err)
{
    int values[AMG_MAX_MERGED], num_terms = 0;
    const int n = amg_merged_outputs_find(g, values);
    amg_status st = AMG_OK;
    if (terms) st = amg_loss_terms_parse(terms, parts, &num_terms, err);
    if (!st && num_terms != n) st = wrong_terms(g, values, n, num_terms, err);
    for (int i = 0; i < n && !st; i++) {
        const amg_value *v = &g->values[values[i]];
        st = check_output(v, err);
        if (st) break;
        if (v->rank < (parts[i].loss == AMG_LOSS_CROSS_ENTROPY ? 2 : 1))
            return amg_fail(err, AMG_INVALID, -1, v->name,
                            "output has no classes for cross_entropy");
        parts[i].rank = v->rank - 1;
        memcpy(parts[i].dims, v->dims + 1, (size_t)parts[i].rank * sizeof *v->dims);
    }
    if (!st) *count = n;
    return st;
}

/* ---- the file's own ---- */

static amg_status copy_view(const amg_graph *g, amg_graph **out, amg_error *err)
{
    amg_builder *b = amg_builder_new();
    int *map = amg_calloc((size_t)g->num_values, sizeof *map);
    amg_status st =
        b && map ? AMG_OK : amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    for (int i = 0; i < g->num_inputs && !st; i++) {
        const amg_value *in = &g->values[g->inputs[i]];
        map[g->inputs[i]] =
            amg_builder_input(b, in->name, in->dtype, in->rank, in->dims);
    }
    if (!st) {
        amg_builder_copy_view(b, g, map, NULL, NULL);
        for (int i = 0; i < g->num_outputs; i++)
            amg_builder_output(b, map[g->outputs[i]]);
        st = amg_builder_finish(b, out, err);
    }
    amg_free(map);
    amg_builder_free(b);
    return st;
}

/* The nodes but those that merge. */
static amg_status with_own_outputs(const amg_graph *g, amg_graph **out, amg_error *err)
{
    int own[AMG_MAX_MERGED];
    const int concat = find_concat(g), count = amg_merged_outputs_find(g, own);
    *out = NULL;
    if (!count) return AMG_OK;
    amg_graph view = *g;
    view.nodes = amg_calloc((size_t)g->num_nodes, sizeof *view.nodes);
    if (!view.nodes) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    view.num_nodes = 0;
    for (int n = 0; n < g->num_nodes; n++)
        if (n != concat && find_reshape(g, g->nodes[n].outputs[0]) < 0)
            view.nodes[view.num_nodes++] = g->nodes[n];
    view.outputs = own;
    view.num_outputs = count;
    const amg_status st = copy_view(&view, out, err);
    amg_free(view.nodes);
    return st;
}

amg_status amg_graph_as_given(const amg_graph *g, amg_graph **out, amg_error *err)
{
    amg_graph *own = NULL, *both = NULL;
    *out = NULL;
    amg_status st = amg_graph_with_own_inputs(g, &own, err);
    if (!st) st = with_own_outputs(own ? own : g, &both, err);
    if (!st && both) {
        amg_graph_free(own);
        own = both;
    }
    if (st)
        amg_graph_free(own);
    else
        *out = own;
    return st;
}
