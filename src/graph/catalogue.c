/* Textbook networks. Consumes a graph or a part of one, builds the zoo's networks of
 * the same sizes without weights, and compares bags of layers. */
#include "graph/catalogue.h"

#include <math.h>

#include "base/alloc.h"
#include "base/print.h"
#include "graph/bag.h"
#include "graph/zoo.h"

enum {
    MAX_LAYERS = 48, /* of a network for text: GPT-2 XL's */
    MAX_SIZES = 16,
    NUM_IMAGE_SIZES = 3 /* its own, and one of each of the zoo's forms */
};

typedef struct {
    const amg_graph *g;
    const int *owner; /* [num_nodes]; NULL: all nodes are the network's */
    int subnet;
} network;

/* What a network is compared by. */
typedef struct {
    amg_bag bag;
    double num_weights;
} fingerprint;

static bool has_node(const network *net, int n)
{
    return !net->owner || net->owner[n] == net->subnet;
}

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "catalogue", "no memory");
}

/* Whether a node looks up rows of a table that learns: input 0. */
static bool is_lookup(const amg_graph *g, const amg_node *n)
{
    const amg_value *table = &g->values[n->inputs[0]];
    return n->op == AMG_OP_GATHER && table->kind == AMG_VALUE_PARAM &&
           table->role != AMG_ROLE_CONSTANT && table->rank == 2;
}

/* A token for each layer that learns (its operator and its weights' shapes) and each
 * activation. Of a table that is looked up, the width alone: how many rows it has the
 * data say. */
static amg_status make_bag(const network *net, amg_bag *out, amg_error *err)
{
    const amg_graph *g = net->g;
    out->tokens = amg_calloc((size_t)g->num_nodes, sizeof *out->tokens);
    out->count = 0;
    if (!out->tokens) return no_memory(err);
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        bool counts = node->op == AMG_OP_RELU || node->op == AMG_OP_LEAKY_RELU ||
                      node->op == AMG_OP_CLIP;
        uint64_t token = amg_print_mix(5, (uint64_t)node->op);
        if (!has_node(net, n)) continue;
        for (int i = 0; i < node->num_inputs; i++) {
            const int v = node->inputs[i];
            if (v == AMG_NO_VALUE || g->values[v].kind != AMG_VALUE_PARAM ||
                g->values[v].role == AMG_ROLE_CONSTANT)
                continue;
            token = i == 0 && is_lookup(g, node)
                        ? amg_print_mix(token, (uint64_t)g->values[v].dims[1])
                        : amg_bag_shape(token, &g->values[v]);
            counts = true;
        }
        if (counts) out->tokens[out->count++] = token;
    }
    amg_bag_sort(out);
    return AMG_OK;
}

/* The largest such table: [vocabulary, width]. NULL: there is none. */
static const amg_value *find_embedding(const network *net)
{
    const amg_graph *g = net->g;
    const amg_value *most = NULL;
    for (int n = 0; n < g->num_nodes; n++) {
        if (!has_node(net, n) || !is_lookup(g, &g->nodes[n])) continue;
        const amg_value *table = &g->values[g->nodes[n].inputs[0]];
        if (!most || table->dims[0] > most->dims[0]) most = table;
    }
    return most;
}

/* Values of the weights that its nodes read. */
static double count_weights(const network *net)
{
    const amg_graph *g = net->g;
    double sum = 0;
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; has_node(net, n) && i < g->nodes[n].num_inputs; i++) {
            const int v = g->nodes[n].inputs[i];
            if (v == AMG_NO_VALUE || g->values[v].kind != AMG_VALUE_PARAM) continue;
            double size = 1;
            for (int d = 0; d < g->values[v].rank; d++)
                size *= (double)g->values[v].dims[d];
            sum += size;
        }
    return sum;
}

/* Builds the network of these options, NULL if there is none: it can be, where its
 * weights must be there and are far more than most (folding halves them at the most).
 */
static amg_status build(amg_zoo_options o, double most, amg_graph **out)
{
    const bool no_weights = o.no_weights;
    o.no_weights = true;
    amg_status st = amg_zoo_build(&o, out, NULL);
    if (st || no_weights) return st;
    const bool fits = count_weights(&(network){.g = *out}) <= 2 * most;
    amg_graph_free(*out);
    *out = NULL;
    o.no_weights = false;
    return fits ? amg_zoo_build(&o, out, NULL) : AMG_INVALID;
}

/* Whether own is the network of these options; *larger (NULL: not wanted): that one has
 * more layers, or there is none. Not every network takes every size. */
static amg_status try_options(const fingerprint *own, const amg_zoo_options *o,
                              bool *same, bool *larger, amg_error *err)
{
    amg_graph *raw = NULL, *folded = NULL;
    amg_bag other = {0};
    amg_status st = build(*o, own->num_weights, &raw);
    if (!st) st = amg_graph_plan_batch(raw, AMG_DIM_BATCH, &folded, NULL);
    if (!st) st = make_bag(&(network){.g = folded}, &other, err);
    *same = !st && own->bag.count == other.count &&
            amg_bag_distance(&own->bag, &other) == 0;
    if (larger) *larger = st || other.count > own->bag.count;
    amg_free(other.tokens);
    amg_graph_free(folded);
    amg_graph_free(raw);
    return st == AMG_NO_MEMORY ? no_memory(err) : AMG_OK;
}

/* Shapes of weights depend on the image's size at most by the zoo's form and by what
 * the poolings leave. */
static amg_status try_images(const fingerprint *own, amg_zoo_options *o,
                             const int64_t dims[3], bool *same, amg_error *err)
{
    const int64_t heights[NUM_IMAGE_SIZES] = {dims[1], 32, 224},
                  widths[NUM_IMAGE_SIZES] = {dims[2], 32, 224};
    amg_status st = AMG_OK;
    o->channels = dims[0];
    for (int i = 0; i < NUM_IMAGE_SIZES && !st && !*same; i++) {
        o->height = heights[i];
        o->width = widths[i];
        st = try_options(own, o, same, NULL, err);
    }
    return st;
}

/* Sizes that occur in the network's weights, each once; returns how many. */
static int find_sizes(const network *net, int64_t sizes[MAX_SIZES])
{
    const amg_graph *g = net->g;
    int num = 0;
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        for (int i = 0; has_node(net, n) && i < node->num_inputs; i++) {
            if (node->inputs[i] == AMG_NO_VALUE) continue;
            const amg_value *v = &g->values[node->inputs[i]];
            if (v->kind != AMG_VALUE_PARAM || v->role == AMG_ROLE_CONSTANT) continue;
            for (int d = 0; d < v->rank && num < MAX_SIZES; d++) {
                int known = 0;
                while (known < num && sizes[known] != v->dims[d]) known++;
                if (known == num) sizes[num++] = v->dims[d];
            }
        }
    }
    return num;
}

/* Whoever builds a network for text chooses its width, its number of layers (0: it has
 * no such option, or the zoo's own) and its hidden width. */
static amg_status try_text(const network *net, const fingerprint *own,
                           amg_zoo_options *o, bool *same, amg_error *err)
{
    int64_t hidden[1 + MAX_SIZES] = {0}; /* the zoo's own first */
    const int num = 1 + find_sizes(net, hidden + 1);
    amg_status st = AMG_OK;
    for (int i = 0; i < num && !st && !*same; i++) {
        bool larger = false;
        o->width_hidden = hidden[i];
        for (o->layers = 0; o->layers <= MAX_LAYERS && !st && !*same && !larger;
             o->layers++) {
            st = try_options(own, o, same, &larger, err);
            larger = larger && o->layers > 0;
        }
    }
    return st;
}

amg_status amg_catalogue_find(const amg_graph *g, const int *owner, int subnet,
                              const amg_catalogue_data *data, const char **name,
                              amg_error *err)
{
    const network net = {g, owner, subnet};
    const amg_value *embedding = find_embedding(&net);
    const char *const *names;
    const int num_names = amg_zoo_names(&names);
    fingerprint own = {.num_weights = count_weights(&net)};
    bool same = false;
    *name = NULL;
    if (data->seq > 0 && !embedding) return AMG_OK;
    amg_status st = make_bag(&net, &own.bag, err);
    for (int i = 0; i < num_names && !st && !same; i++) {
        amg_zoo_options o = {
            .name = names[i], .dropout = NAN, .pad = -1, .no_weights = true};
        if (amg_zoo_is_text(names[i]) != (data->seq > 0) ||
            amg_zoo_is_language_model(names[i]) != data->is_model)
            continue;
        if (!data->is_model) o.num_classes = data->num_classes;
        if (data->seq > 0) {
            /* An LSTM's weights are rearranged while folding: they must be there, so
             * they had better be few. */
            o.no_weights = data->is_model;
            o.vocab = data->is_model ? embedding->dims[0] : 2;
            o.width_model = embedding->dims[1];
            o.seq = data->seq;
            o.heads = data->is_model; /* their number shapes no weights */
            st = try_text(&net, &own, &o, &same, err);
        } else {
            st = try_images(&own, &o, data->dims, &same, err);
        }
        if (same) *name = names[i];
    }
    amg_free(own.bag.tokens);
    return st;
}
