/* Architectures: how far sub-networks are from each other, which one lies in the
 * middle, which one apart; and their sizes. Distance is Jaccard's over two bags: nodes
 * (operator, attributes, shape of what they make) and edges (the tokens at both ends).
 * What a job's architectures are cannot be hidden; what must not be is an original that
 * is unlike decoys which are all alike. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/graph_parts.h"
#include "base/alloc.h"
#include "graph/bag.h"

static const char attack[] = "graph";

static uint64_t attr_token(const amg_attr *a)
{
    uint64_t t = amg_print_bytes(3, a->name, strlen(a->name));
    t = amg_print_mix(t, (uint64_t)a->i);
    t = amg_print_bytes(t, &a->f, sizeof a->f);
    if (a->s) t = amg_print_bytes(t, a->s, strlen(a->s));
    if (a->ints) t = amg_print_bytes(t, a->ints, (size_t)a->count * sizeof *a->ints);
    if (a->floats)
        t = amg_print_bytes(t, a->floats, (size_t)a->count * sizeof *a->floats);
    return t;
}

static uint64_t node_token(const amg_graph *g, const amg_node *n)
{
    uint64_t attrs = 0, token = amg_print_mix(1, (uint64_t)n->op);
    for (int i = 0; i < n->num_attrs; i++) attrs += attr_token(&n->attrs[i]);
    token = amg_print_mix(token, attrs);
    for (int i = 0; i < n->num_outputs; i++)
        token = amg_bag_shape(token, &g->values[n->outputs[i]]);
    return token;
}

/* Nodes and edges of some nodes. */
static amg_status make_bag(const amg_graph *g, const int *nodes, int count,
                           amg_bag *out, amg_error *err)
{
    int64_t room = count;
    for (int i = 0; i < count; i++) room += g->nodes[nodes[i]].num_inputs;
    out->tokens = amg_calloc((size_t)room, sizeof *out->tokens);
    if (!out->tokens) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int i = 0; i < count; i++) {
        const amg_node *n = &g->nodes[nodes[i]];
        const uint64_t token = node_token(g, n);
        out->tokens[out->count++] = token;
        for (int j = 0; j < n->num_inputs; j++) {
            const int v = n->inputs[j];
            if (v == AMG_NO_VALUE || g->values[v].kind == AMG_VALUE_PARAM) continue;
            const int from = g->values[v].producer;
            out->tokens[out->count++] =
                amg_print_mix(amg_print_mix(token, (uint64_t)j),
                              from < 0 ? 0 : node_token(g, &g->nodes[from]));
        }
    }
    amg_bag_sort(out);
    return AMG_OK;
}

/* The sub-network with the smallest (sign 1) or largest (-1) sum of distances, if it is
 * the only one; else -1. */
static int find_extreme(const double *sums, int num, double sign)
{
    int best = 0, ties = 0;
    for (int s = 1; s < num; s++)
        if (sign * sums[s] < sign * sums[best]) best = s;
    for (int s = 0; s < num; s++) ties += fabs(sums[s] - sums[best]) < 1e-9;
    return ties == 1 ? best : -1;
}

static const char *head_or_none(const amg_graph_parts *p, int subnet)
{
    return subnet < 0 ? "none" : amg_graph_head(p, subnet);
}

/* kinds: equal numbers for equal architectures. */
static amg_status tell_distances(const amg_graph_parts *p, const uint64_t *kinds,
                                 const double *sums, amg_error *err)
{
    const amg_agreement a = amg_graph_compare(kinds, p->num);
    const amg_evidence *e = p->e;
    amg_finding f = amg_finding_new(attack, "the original stands out by architecture");
    if (a.differing == 0) {
        f.value = e->has_truth ? 0 : NAN;
        return amg_findings_add(p->task->findings, &f, err,
                                "All sub-networks have one architecture: it tells "
                                "nobody which is real, and shows everybody what it "
                                "is.");
    }
    if (p->num == 2)
        return amg_findings_add(p->task->findings, &f, err,
                                "The two architectures differ: which one is the "
                                "original's, they do not say.");
    const int medoid = find_extreme(sums, p->num, 1);
    const int outlier = find_extreme(sums, p->num, -1);
    f.guess = a.odd >= 0 ? a.odd : medoid;
    f.chance = 2.0 / p->num;
    if (e->has_truth) f.value = e->original == medoid || e->original == outlier;
    if (e->has_truth && a.odd == e->original) f.pass_low = f.pass_high = 0;
    if (a.odd >= 0)
        return amg_findings_add(
            p->task->findings, &f, err,
            "All architectures but that of %s are the same: an attacker takes it for "
            "the "
            "original. Give the original decoys of its own architecture (--decoy-arch "
            "same), and covers with as many classes.",
            amg_graph_head(p, a.odd));
    return amg_findings_add(
        p->task->findings, &f, err,
        "Architectures differ; in the middle of all lies %s, farthest from all %s%s%s. "
        "Of one job that says little: by chance it is one of the two in %.0f %%.",
        head_or_none(p, medoid), head_or_none(p, outlier),
        e->has_truth ? ", the original is " : "",
        e->has_truth ? amg_graph_head(p, e->original) : "", 100 * f.chance);
}

amg_status amg_graph_check_architecture(const amg_graph_parts *p, amg_error *err)
{
    amg_status st = AMG_OK;
    amg_bag *bags = amg_calloc((size_t)p->num, sizeof *bags);
    uint64_t *kinds = amg_calloc((size_t)p->num, sizeof *kinds);
    double *sums = amg_calloc((size_t)p->num, sizeof *sums);
    if (!bags || !kinds || !sums)
        st = amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < p->num && !st; s++)
        st = make_bag(p->g, p->order[s], p->count[s], &bags[s], err);
    for (int s = 0; s < p->num && !st; s++) {
        kinds[s] = (uint64_t)s;
        for (int t = 0; t < p->num; t++) {
            const double d = amg_bag_distance(&bags[s], &bags[t]);
            sums[s] += d;
            if (d == 0 && t < s) kinds[s] = kinds[t];
        }
    }
    if (!st) st = tell_distances(p, kinds, sums, err);
    for (int s = 0; bags && s < p->num; s++) amg_free(bags[s].tokens);
    amg_free(bags);
    amg_free(kinds);
    amg_free(sums);
    return st;
}

/* ---- sizes ---- */

static int64_t count_trainable(const amg_graph_parts *p, int subnet)
{
    int64_t count = 0;
    for (int v = 0; v < p->g->num_values; v++) {
        const amg_value *val = &p->g->values[v];
        if (p->value_owner[v] == subnet && val->kind == AMG_VALUE_PARAM &&
            val->role == AMG_ROLE_TRAINABLE)
            count += amg_tensor_count(&val->data);
    }
    return count;
}

amg_status amg_graph_check_sizes(const amg_graph_parts *p, amg_error *err)
{
    char list[512] = "";
    size_t used = 0;
    int rank = 1, equal = 0;
    amg_finding f = amg_finding_new(attack, "the original's rank by size");
    const int64_t own = p->e->has_truth ? count_trainable(p, p->e->original) : 0;
    for (int s = 0; s < p->num; s++) {
        const int64_t count = count_trainable(p, s);
        rank += count > own;
        equal += count == own;
        if (used < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s %lld",
                                 s ? ", " : "", amg_graph_head(p, s), (long long)count);
    }
    if (p->e->has_truth) {
        f.value = rank + (equal - 1) / 2.0; /* amid those of its size */
        f.chance = (p->num + 1) / 2.0;
    }
    return amg_findings_add(p->task->findings, &f, err,
                            "Parameters that train, by sub-network: %s%s. Sizes are "
                            "not hidden.",
                            list, equal == p->num ? " (all equal)" : "");
}
