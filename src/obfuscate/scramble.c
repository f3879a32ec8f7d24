/* Opaque names and keyed order. What is left to tell sub-networks apart is their
 * structure, which the scheme has to show; see lab/privacy.md §4 for the list of
 * tell-tales this removes. Consumes any graph; must not know which sub-network is
 * whose. */
#include "obfuscate/scramble.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"
#include "graph/window.h"

enum { NAME_BYTES = 32, MAX_ATTRS = 32 };

/* A parameter of the new graph. A constant gets one for each of its uses, as exporters
 * and our edits differ in whether equal constants are shared. */
typedef struct {
    int value;   /* of g */
    int created; /* of b */
} entry;

/* One input of one node of g; the uses of a value are a list. */
typedef struct {
    int node;
    int next;  /* use of the same value, -1: none */
    int entry; /* of a parameter */
} use;

typedef struct {
    const amg_graph *g;
    amg_builder *b;
    char (*names)[NAME_BYTES]; /* per value of g */
    int *map;                  /* per value of g, parameters excepted: value of b */
    int *first_use;            /* per value of g: last of its uses, -1: none */
    int *node_use;             /* per node: the use of its input 0 */
    use *uses;
    entry *entries;
    int64_t *order; /* per entry */
    int num_entries;
    int *waiting; /* per node: inputs not made yet */
    int *ready;   /* nodes that wait for nothing */
    int num_ready;
    int num_outputs; /* of all nodes, those that are absent excepted */
    int num_named;   /* of them, so far */
    int *inputs;     /* of one node, as values of b */
    int *outputs;    /* likewise */
    const char **output_names;
} scrambler;

/* Enough digits for all, so that the order of names is the order of numbers. */
static void number_name(char name[NAME_BYTES], const char *prefix, int i, int count)
{
    int digits = 1;
    for (int last = count - 1; last >= 10 && digits < 10; last /= 10) digits++;
    snprintf(name, NAME_BYTES, "%s%0*d", prefix, digits, i);
}

/* Lists the uses of every value and the parameters that the new graph needs. */
static void list_uses(scrambler *s)
{
    int n = 0;
    for (int v = 0; v < s->g->num_values; v++) s->first_use[v] = -1;
    for (int i = 0; i < s->g->num_nodes; i++) {
        s->node_use[i] = n;
        for (int j = 0; j < s->g->nodes[i].num_inputs; j++, n++) {
            int v = s->g->nodes[i].inputs[j];
            if (v == AMG_NO_VALUE) continue;
            const amg_value *val = &s->g->values[v];
            s->uses[n] = (use){.node = i, .next = s->first_use[v], .entry = -1};
            s->first_use[v] = n;
            if (val->kind != AMG_VALUE_PARAM) continue;
            if (val->role != AMG_ROLE_CONSTANT && s->uses[n].next >= 0) {
                s->uses[n].entry = s->uses[s->uses[n].next].entry;
            } else {
                s->uses[n].entry = s->num_entries;
                s->entries[s->num_entries++].value = v;
            }
        }
    }
}

static void add_inputs(scrambler *s)
{
    for (int i = 0; i < s->g->num_inputs; i++) {
        int v = s->g->inputs[i];
        const amg_value *val = &s->g->values[v];
        if (i)
            number_name(s->names[v], "x", i, s->g->num_inputs);
        else
            strcpy(s->names[v], "x");
        s->map[v] =
            amg_builder_input(s->b, s->names[v], val->dtype, val->rank, val->dims);
    }
}

static void add_params(scrambler *s, amg_keystream *k)
{
    amg_keystream_permutation(k, s->num_entries, s->order);
    for (int i = 0; i < s->num_entries; i++) {
        entry *e = &s->entries[s->order[i]];
        number_name(s->names[e->value], "p", i, s->num_entries);
        const amg_value *val = &s->g->values[e->value];
        e->created = amg_builder_param(s->b, s->names[e->value], &val->data);
        amg_builder_say(s->b, e->created, val->said);
    }
}

static int compare_attrs(const void *a, const void *b)
{
    return strcmp(((const amg_attr *)a)->name, ((const amg_attr *)b)->name);
}

/* Attributes sorted by name, defaults that an exporter may leave out written out where
 * our edits write them. */
static int canonical_attrs(const amg_graph *g, const amg_node *n, amg_attr *attrs)
{
    static const int64_t ones[AMG_MAX_SPATIAL] = {1, 1, 1};
    static const int64_t zeros[2 * AMG_MAX_SPATIAL] = {0};
    int count = n->num_attrs;
    for (int i = 0; i < count; i++) attrs[i] = n->attrs[i];
    if (n->op == AMG_OP_CONV && g->values[n->inputs[1]].rank > 2) {
        const int dims = g->values[n->inputs[1]].rank - 2;
        const amg_attr full[] = {
            amg_ints("dilations", dims, ones), amg_int("group", 1),
            amg_ints("kernel_shape", dims, g->values[n->inputs[1]].dims + 2),
            amg_ints("pads", 2 * dims, zeros), amg_ints("strides", dims, ones)};
        bool explicit_pads = !amg_attr_find(n, "auto_pad");
        for (size_t i = 0; i < sizeof full / sizeof *full; i++)
            if (!amg_attr_find(n, full[i].name) &&
                (explicit_pads || strcmp(full[i].name, "pads") != 0))
                attrs[count++] = full[i];
    } else if (n->op == AMG_OP_LEAKY_RELU && !amg_attr_find(n, "alpha")) {
        attrs[count++] = amg_flt("alpha", 0.01f);
    }
    qsort(attrs, (size_t)count, sizeof *attrs, compare_attrs);
    return count;
}

/* An optional output that nothing reads, as one of an LSTM's: it gets no name, which
 * exporters and our edits would give or not. Split has no optional ones. */
static bool is_absent(const scrambler *s, const amg_node *n, int i)
{
    const int v = n->outputs[i];
    return n->num_outputs > 1 && n->op != AMG_OP_SPLIT && s->first_use[v] < 0 &&
           !s->names[v][0];
}

static void count_outputs(scrambler *s)
{
    for (int n = 0; n < s->g->num_nodes; n++)
        for (int i = 0; i < s->g->nodes[n].num_outputs; i++)
            s->num_outputs += !is_absent(s, &s->g->nodes[n], i);
}

/* Absent outputs at the end go, those before others get a name that no file shows. */
static int name_outputs(scrambler *s, const amg_node *n)
{
    int count = n->num_outputs;
    while (count > 1 && is_absent(s, n, count - 1)) count--;
    for (int i = 0; i < count; i++) {
        char *name = s->names[n->outputs[i]];
        s->output_names[i] = NULL;
        if (is_absent(s, n, i)) continue;
        if (!name[0]) number_name(name, "v", s->num_named, s->num_outputs);
        s->num_named++;
        s->output_names[i] = name;
    }
    return count;
}

static void add_node(scrambler *s, int index)
{
    const amg_node *n = &s->g->nodes[index];
    amg_attr attrs[MAX_ATTRS + 5];
    int *in = s->inputs;
    for (int i = 0; i < n->num_inputs; i++) {
        int v = n->inputs[i];
        if (v == AMG_NO_VALUE)
            in[i] = AMG_NO_VALUE;
        else if (s->g->values[v].kind == AMG_VALUE_PARAM)
            in[i] = s->entries[s->uses[s->node_use[index] + i].entry].created;
        else
            in[i] = s->map[v];
    }
    int num_attrs = canonical_attrs(s->g, n, attrs), count = name_outputs(s, n);
    amg_builder_node_multi(s->b, n->op, "", in, n->num_inputs, attrs, num_attrs,
                           s->output_names, count, s->outputs);
    for (int i = 0; i < count; i++) s->map[n->outputs[i]] = s->outputs[i];
}

static bool made_by_node(const amg_graph *g, int v)
{
    return v != AMG_NO_VALUE && g->values[v].kind == AMG_VALUE_ACTIVATION;
}

/* Each next node is drawn from all whose inputs are there. */
static void add_nodes(scrambler *s, amg_keystream *k)
{
    const amg_graph *g = s->g;
    for (int i = 0; i < g->num_nodes; i++) {
        for (int j = 0; j < g->nodes[i].num_inputs; j++)
            s->waiting[i] += made_by_node(g, g->nodes[i].inputs[j]);
        if (!s->waiting[i]) s->ready[s->num_ready++] = i;
    }
    while (s->num_ready) {
        uint64_t pick = amg_keystream_below(k, (uint64_t)s->num_ready);
        int index = s->ready[pick];
        s->ready[pick] = s->ready[--s->num_ready];
        add_node(s, index);
        for (int i = 0; i < g->nodes[index].num_outputs; i++)
            for (int u = s->first_use[g->nodes[index].outputs[i]]; u >= 0;
                 u = s->uses[u].next)
                if (--s->waiting[s->uses[u].node] == 0)
                    s->ready[s->num_ready++] = s->uses[u].node;
    }
}

static amg_status check_nodes(const amg_graph *g, amg_error *err)
{
    for (int i = 0; i < g->num_nodes; i++)
        if (g->nodes[i].num_attrs > MAX_ATTRS)
            return amg_fail(err, AMG_UNSUPPORTED, -1, g->nodes[i].name,
                            "found %d attributes, at most %d", g->nodes[i].num_attrs,
                            MAX_ATTRS);
    return AMG_OK;
}

static bool make_room(scrambler *s)
{
    size_t values = (size_t)s->g->num_values, nodes = (size_t)s->g->num_nodes;
    size_t uses = 1, most = 1, most_outputs = 1;
    for (size_t i = 0; i < nodes; i++) {
        size_t n = (size_t)s->g->nodes[i].num_inputs;
        uses += n;
        if (n > most) most = n;
        n = (size_t)s->g->nodes[i].num_outputs;
        if (n > most_outputs) most_outputs = n;
    }
    s->b = amg_builder_new();
    s->names = amg_calloc(values, sizeof *s->names);
    s->map = amg_calloc(values, sizeof *s->map);
    s->first_use = amg_calloc(values, sizeof *s->first_use);
    s->node_use = amg_calloc(nodes + 1, sizeof *s->node_use);
    s->uses = amg_calloc(uses, sizeof *s->uses);
    s->entries = amg_calloc(uses, sizeof *s->entries);
    s->order = amg_calloc(uses, sizeof *s->order);
    s->waiting = amg_calloc(nodes + 1, sizeof *s->waiting);
    s->ready = amg_calloc(nodes + 1, sizeof *s->ready);
    s->inputs = amg_calloc(most, sizeof *s->inputs);
    s->outputs = amg_calloc(most_outputs, sizeof *s->outputs);
    s->output_names = amg_calloc(most_outputs, sizeof *s->output_names);
    return s->b && s->names && s->map && s->first_use && s->node_use && s->uses &&
           s->entries && s->order && s->waiting && s->ready && s->inputs &&
           s->outputs && s->output_names;
}

static void clear(scrambler *s)
{
    amg_builder_free(s->b);
    amg_free(s->names);
    amg_free(s->map);
    amg_free(s->first_use);
    amg_free(s->node_use);
    amg_free(s->uses);
    amg_free(s->entries);
    amg_free(s->order);
    amg_free(s->waiting);
    amg_free(s->ready);
    amg_free(s->inputs);
    amg_free(s->outputs);
    amg_free(s->output_names);
}

static amg_status build(scrambler *s, amg_keystream *k, amg_graph **out, amg_error *err)
{
    const amg_graph *g = s->g;
    for (int i = 0; i < g->num_outputs; i++)
        number_name(s->names[g->outputs[i]], "h", i, g->num_outputs);
    list_uses(s);
    count_outputs(s);
    add_inputs(s);
    add_params(s, k);
    add_nodes(s, k);
    for (int i = 0; i < g->num_outputs; i++)
        amg_builder_output(s->b, s->map[g->outputs[i]]);
    return amg_builder_finish(s->b, out, err);
}

amg_status amg_scramble(amg_keystream *k, const amg_graph *g, amg_graph **out,
                        const char **names, amg_error *err)
{
    scrambler s = {.g = g};
    amg_graph *made = NULL;
    amg_status st = check_nodes(g, err);
    if (st) return st;
    if (make_room(&s))
        st = build(&s, k, &made, err);
    else
        st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory for its order");
    for (int v = 0; !st && v < g->num_values; v++) {
        names[v] = amg_arena_strdup(&made->arena, s.names[v]);
        if (!names[v])
            st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph",
                          "no memory for its names");
    }
    if (st)
        amg_graph_free(made);
    else
        *out = made;
    clear(&s);
    return st;
}
