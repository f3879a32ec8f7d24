/* Opaque names and keyed order. What is left to tell sub-networks apart is their
 * structure, which the scheme has to show; see lab/privacy.md §4 for the list of
 * tell-tales this removes. */
#include "obfuscate/scramble.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"

enum { NAME_BYTES = 32 };

typedef struct {
    const amg_graph *g;
    amg_builder *b;
    int *map;                  /* value of g -> value of b */
    char (*names)[NAME_BYTES]; /* per value of g */
    int64_t *order;            /* scratch of num_values */
    int *waiting;              /* per node: inputs not made yet */
    int *ready;
    int *inputs; /* of one node, as values of b */
    int num_ready;
    int num_outputs_named;
} scrambler;

/* Enough digits for all, so that the order of names is the order of numbers. */
static void name_value(scrambler *s, int v, const char *prefix, int i, int count)
{
    int digits = 1;
    for (; count > 10 && digits < 10; count /= 10) digits++;
    snprintf(s->names[v], NAME_BYTES, "%s%0*d", prefix, digits, i);
}

static void add_inputs(scrambler *s)
{
    for (int i = 0; i < s->g->num_inputs; i++) {
        int v = s->g->inputs[i];
        const amg_value *val = &s->g->values[v];
        if (i)
            name_value(s, v, "x", i, s->g->num_inputs);
        else
            strcpy(s->names[v], "x");
        s->map[v] =
            amg_builder_input(s->b, s->names[v], val->dtype, val->rank, val->dims);
    }
}

static void add_params(scrambler *s, amg_keystream *k)
{
    int count = 0;
    for (int v = 0; v < s->g->num_values; v++)
        count += s->g->values[v].kind == AMG_VALUE_PARAM;
    int *params = s->ready; /* free until nodes are added; num_values long */
    count = 0;
    for (int v = 0; v < s->g->num_values; v++)
        if (s->g->values[v].kind == AMG_VALUE_PARAM) params[count++] = v;
    amg_keystream_permutation(k, count, s->order);
    for (int i = 0; i < count; i++) {
        int v = params[s->order[i]];
        name_value(s, v, "p", i, count);
        s->map[v] = amg_builder_param(s->b, s->names[v], &s->g->values[v].data);
    }
}

static bool made_by_node(const amg_graph *g, int v)
{
    return v != AMG_NO_VALUE && g->values[v].kind == AMG_VALUE_ACTIVATION;
}

static void add_node(scrambler *s, int index, int number)
{
    const amg_node *n = &s->g->nodes[index];
    int *in = s->inputs, out = n->outputs[0];
    for (int i = 0; i < n->num_inputs; i++)
        in[i] = n->inputs[i] == AMG_NO_VALUE ? AMG_NO_VALUE : s->map[n->inputs[i]];
    if (!s->names[out][0]) name_value(s, out, "v", number, s->g->num_nodes);
    s->map[out] = amg_builder_node(s->b, n->op, "", in, n->num_inputs, n->attrs,
                                   n->num_attrs, s->names[out]);
}

/* Each next node is drawn from all whose inputs are there. */
static void add_nodes(scrambler *s, amg_keystream *k)
{
    const amg_graph *g = s->g;
    s->num_ready = 0;
    for (int i = 0; i < g->num_nodes; i++) {
        s->waiting[i] = 0;
        for (int j = 0; j < g->nodes[i].num_inputs; j++)
            s->waiting[i] += made_by_node(g, g->nodes[i].inputs[j]);
        if (!s->waiting[i]) s->ready[s->num_ready++] = i;
    }
    for (int number = 0; s->num_ready; number++) {
        uint64_t pick = amg_keystream_below(k, (uint64_t)s->num_ready);
        int index = s->ready[pick];
        s->ready[pick] = s->ready[--s->num_ready];
        add_node(s, index, number);
        int out = g->nodes[index].outputs[0];
        for (int i = 0; i < g->num_nodes; i++)
            for (int j = 0; j < g->nodes[i].num_inputs; j++)
                if (g->nodes[i].inputs[j] == out && --s->waiting[i] == 0)
                    s->ready[s->num_ready++] = i;
    }
}

amg_status amg_scramble(amg_keystream *k, const amg_graph *g, amg_graph **out,
                        const char **names, amg_error *err)
{
    amg_status st = AMG_OK;
    size_t values = (size_t)g->num_values, nodes = (size_t)g->num_nodes;
    scrambler s = {.g = g, .b = amg_builder_new()};
    s.map = amg_calloc(values, sizeof *s.map);
    s.names = amg_calloc(values, sizeof *s.names);
    s.order = amg_calloc(values, sizeof *s.order);
    s.waiting = amg_calloc(nodes + 1, sizeof *s.waiting);
    s.ready = amg_calloc(values + nodes, sizeof *s.ready);
    int most_inputs = 1;
    for (int i = 0; i < g->num_nodes; i++)
        if (g->nodes[i].num_inputs > most_inputs) most_inputs = g->nodes[i].num_inputs;
    s.inputs = amg_calloc((size_t)most_inputs, sizeof *s.inputs);
    if (!s.b || !s.inputs || !s.map || !s.names || !s.order || !s.waiting || !s.ready) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory for its order");
        goto done;
    }
    for (int i = 0; i < g->num_outputs; i++)
        name_value(&s, g->outputs[i], "h", i, g->num_outputs);
    add_inputs(&s);
    add_params(&s, k);
    add_nodes(&s, k);
    for (int i = 0; i < g->num_outputs; i++)
        amg_builder_output(s.b, s.map[g->outputs[i]]);
    st = amg_builder_finish(s.b, out, err);
    for (int v = 0; !st && v < g->num_values; v++) {
        names[v] = amg_arena_strdup(&(*out)->arena, s.names[v]);
        if (!names[v]) {
            amg_graph_free(*out);
            st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph",
                          "no memory for its names");
        }
    }
done:
    amg_builder_free(s.b);
    amg_free(s.map);
    amg_free(s.names);
    amg_free(s.order);
    amg_free(s.waiting);
    amg_free(s.ready);
    amg_free(s.inputs);
    return st;
}
