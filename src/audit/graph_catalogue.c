/* Textbook networks: sub-networks that are, layer by layer, one of the zoo's. Beside
 * decoys that are none, who knows the catalogue takes such a one for the original. What
 * is compared are the layers that learn, with the shapes of their weights: neither
 * names nor ways to write the same network down matter. */
#include <math.h>

#include "audit/graph_bag.h"
#include "audit/graph_parts.h"
#include "base/alloc.h"
#include "graph/zoo.h"

static const char attack[] = "graph";

/* A token for each layer that learns: its operator and its weights' shapes. The nodes
 * are chosen by owner; NULL: all. */
static amg_status make_layer_bag(const amg_graph *g, const int *owner, int subnet,
                                 amg_bag *out, amg_error *err)
{
    out->tokens = amg_calloc((size_t)g->num_nodes, sizeof *out->tokens);
    out->count = 0;
    if (!out->tokens) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        uint64_t token = amg_print_mix(5, (uint64_t)node->op);
        bool learns = false;
        if (owner && owner[n] != subnet) continue;
        for (int i = 0; i < node->num_inputs; i++) {
            const int v = node->inputs[i];
            if (v == AMG_NO_VALUE || g->values[v].kind != AMG_VALUE_PARAM ||
                g->values[v].role == AMG_ROLE_CONSTANT)
                continue;
            token = amg_bag_shape(token, &g->values[v]);
            learns = true;
        }
        if (learns) out->tokens[out->count++] = token;
    }
    amg_bag_sort(out);
    return AMG_OK;
}

/* The vocabulary: rows of the largest table that is looked up. */
static int64_t find_vocabulary(const amg_graph *g)
{
    int64_t most = 0;
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_value *table = &g->values[g->nodes[n].inputs[0]];
        if (g->nodes[n].op == AMG_OP_GATHER && table->kind == AMG_VALUE_PARAM &&
            table->dims[0] > most)
            most = table->dims[0];
    }
    return most;
}

/* The tokens of the zoo's network for a stream's data, built without weights and folded
 * as a job's are; none where it is not for such data. */
static amg_status bag_textbook(const amg_graph_parts *p, const char *name,
                               const amg_stream *s, amg_bag *out, amg_error *err)
{
    const amg_evidence *e = p->e;
    const bool is_model = e->job.manifest.task == AMG_TASK_LANGUAGE_MODEL;
    amg_graph *raw = NULL, *folded = NULL;
    amg_zoo_options o = {.name = name, .dropout = NAN, .pad = -1, .no_weights = true};
    if (amg_zoo_is_text(name) != e->is_tokens ||
        amg_zoo_is_language_model(name) != is_model)
        return AMG_OK;
    if (e->is_tokens) {
        o.vocab = find_vocabulary(p->g);
        o.seq = s->num_values - is_model; /* a window has the last token's successor */
    } else {
        o.channels = s->dims[0];
        o.height = s->dims[1];
        o.width = s->dims[2];
    }
    if (!is_model) o.num_classes = s->num_classes;
    /* Not every network takes every size: those that do not are not it. */
    amg_status st = amg_zoo_build(&o, &raw, NULL);
    if (!st) st = amg_graph_plan_batch(raw, AMG_DIM_BATCH, &folded, NULL);
    if (!st)
        st = make_layer_bag(folded, NULL, 0, out, err);
    else
        st = st == AMG_NO_MEMORY ? amg_fail(err, st, -1, attack, "no memory") : AMG_OK;
    amg_graph_free(folded);
    amg_graph_free(raw);
    return st;
}

/* The zoo's network that sub-network s is; *name NULL: none. */
static amg_status find_textbook(const amg_graph_parts *p, int s, const char **name,
                                amg_error *err)
{
    const char *const *names;
    const int num_names = amg_zoo_names(&names);
    amg_bag own = {0};
    amg_status st = make_layer_bag(p->g, p->owner, s, &own, err);
    *name = NULL;
    for (int i = 0; i < num_names && !st && !*name; i++) {
        amg_bag other = {0};
        st = bag_textbook(p, names[i], &p->e->streams[s], &other, err);
        if (!st && own.count == other.count && amg_bag_distance(&own, &other) == 0)
            *name = names[i];
        amg_free(other.tokens);
    }
    amg_free(own.tokens);
    return st;
}

amg_status amg_graph_check_catalogue(const amg_graph_parts *p, amg_error *err)
{
    int known = 0, which = -1;
    const char *found = NULL;
    for (int s = 0; s < p->num; s++) {
        const char *name;
        amg_status st = find_textbook(p, s, &name, err);
        if (st) return st;
        if (!name) continue;
        known++;
        which = s;
        found = name;
    }
    amg_finding f = amg_finding_new(attack, "textbook networks");
    f.value = known;
    if (known == 1) f.guess = which;
    if (known == 0)
        return amg_findings_add(
            p->task->findings, &f, err,
            "No sub-network is one of the catalogue (amalgam zoo).");
    if (known == p->num)
        return amg_findings_add(p->task->findings, &f, err,
                                "Every sub-network is a textbook %s: that tells "
                                "nobody which is real.",
                                found);
    return amg_findings_add(
        p->task->findings, &f, err,
        "%d of %d sub-networks %s textbook network (%s %s) beside others that are "
        "none: "
        "who knows the catalogue takes it for the original. --decoy-arch same hides "
        "which one is real.",
        known, p->num, known == 1 ? "is a" : "are each a", amg_graph_head(p, which),
        found);
}
