/* See replace.h. */
#include "graph/replace.h"

#include <stdio.h>

#include "base/alloc.h"

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
}

amg_status amg_replace_init(amg_replace *r, const amg_graph *g, amg_error *err)
{
    *r = (amg_replace){.g = g,
                       .b = amg_builder_new(),
                       .map = amg_calloc((size_t)g->num_values + 1, sizeof *r->map)};
    return r->b && r->map ? AMG_OK : no_memory(err);
}

void amg_replace_clear(amg_replace *r)
{
    amg_builder_free(r->b);
    amg_free(r->map);
}

void amg_replace_values(const amg_replace *r, const bool *live)
{
    const amg_graph *g = r->g;
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *v = &g->values[g->inputs[i]];
        r->map[g->inputs[i]] =
            amg_builder_input(r->b, v->name, v->dtype, v->rank, v->dims);
    }
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind == AMG_VALUE_PARAM && (!live || live[i]))
            r->map[i] = amg_builder_param_of(r->b, v->name, v);
    }
}

amg_status amg_replace_copy(const amg_replace *r, const amg_node *node, amg_error *err)
{
    size_t num_inputs = (size_t)node->num_inputs;
    size_t num_outputs = (size_t)node->num_outputs;
    int *inputs = amg_calloc(num_inputs + 1, sizeof *inputs);
    int *outputs = amg_calloc(num_outputs, sizeof *outputs);
    const char **names = amg_calloc(num_outputs, sizeof *names);
    amg_status s = inputs && outputs && names ? AMG_OK : no_memory(err);
    if (s) goto done;
    for (int i = 0; i < node->num_inputs; i++)
        inputs[i] = node->inputs[i] < 0 ? AMG_NO_VALUE : r->map[node->inputs[i]];
    for (int i = 0; i < node->num_outputs; i++)
        names[i] = r->g->values[node->outputs[i]].name;
    amg_builder_node_multi(r->b, node->op, node->name, inputs, node->num_inputs,
                           node->attrs, node->num_attrs, names, node->num_outputs,
                           outputs);
    for (int i = 0; i < node->num_outputs; i++) r->map[node->outputs[i]] = outputs[i];
done:
    amg_free(inputs);
    amg_free(outputs);
    amg_free(names);
    return s;
}

amg_status amg_replace_finish(const amg_replace *r, amg_graph **out, amg_error *err)
{
    for (int i = 0; i < r->g->num_outputs; i++)
        amg_builder_output(r->b, r->map[r->g->outputs[i]]);
    return amg_builder_finish(r->b, out, err);
}

void amg_replace_name(const amg_replace *r, const char *base, const char *suffix,
                      char name[AMG_REPLACE_NAME])
{
    size_t length =
        (size_t)snprintf(name, AMG_REPLACE_NAME - 56, "%.180s_%s", base, suffix);
    while (amg_graph_find_value(r->g, name) >= 0 && length < AMG_REPLACE_NAME - 2) {
        name[length++] = '_';
        name[length] = 0;
    }
}

/* Moves the buffers of from to to, which views them. */
static amg_status adopt_buffers(amg_graph *to, amg_graph *from, amg_error *err)
{
    size_t count = (size_t)to->num_buffers + (size_t)from->num_buffers;
    void **all = amg_realloc(to->buffers, (count ? count : 1) * sizeof *all);
    if (!all) return no_memory(err);
    for (int i = 0; i < from->num_buffers; i++)
        all[to->num_buffers + i] = from->buffers[i];
    to->buffers = all;
    to->num_buffers = (int)count;
    from->num_buffers = 0;
    return AMG_OK;
}

amg_status amg_replace_graph(amg_graph **g, amg_graph *next, amg_error *err)
{
    amg_status s = adopt_buffers(next, *g, err);
    if (s) {
        amg_graph_free(next);
        return s;
    }
    amg_graph_free(*g);
    *g = next;
    return AMG_OK;
}

/* What the outputs need; returns whether that is all nodes. */
static bool mark_live(const amg_graph *g, bool *live)
{
    bool all = true;
    for (int i = 0; i < g->num_outputs; i++) live[g->outputs[i]] = true;
    for (int n = g->num_nodes - 1; n >= 0; n--) {
        const amg_node *node = &g->nodes[n];
        bool needed = false;
        for (int i = 0; i < node->num_outputs; i++)
            needed = needed || live[node->outputs[i]];
        all = all && needed;
        for (int i = 0; needed && i < node->num_inputs; i++)
            if (node->inputs[i] != AMG_NO_VALUE) live[node->inputs[i]] = true;
    }
    return all;
}

static amg_status copy_live(amg_replace *r, const bool *live, amg_graph **out,
                            amg_error *err)
{
    const amg_graph *g = r->g;
    amg_status s = AMG_OK;
    amg_replace_values(r, live);
    for (int n = 0; n < g->num_nodes && !s; n++) {
        bool needed = false;
        for (int i = 0; i < g->nodes[n].num_outputs; i++)
            needed = needed || live[g->nodes[n].outputs[i]];
        if (needed) s = amg_replace_copy(r, &g->nodes[n], err);
    }
    return s ? s : amg_replace_finish(r, out, err);
}

amg_status amg_replace_dead(amg_graph **g, amg_error *err)
{
    bool *live = amg_calloc((size_t)(*g)->num_values + 1, sizeof *live);
    if (!live) return no_memory(err);
    amg_graph *next = NULL;
    amg_status s = AMG_OK;
    if (!mark_live(*g, live)) {
        amg_replace r;
        s = amg_replace_init(&r, *g, err);
        if (!s) s = copy_live(&r, live, &next, err);
        amg_replace_clear(&r);
    }
    amg_free(live);
    return s || !next ? s : amg_replace_graph(g, next, err);
}
