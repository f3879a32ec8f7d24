/* Initial weights: each tensor of each sub-network against the laws by which networks
 * are initialised (obfuscate/decoy_init.h). Decoys are drawn by the original's laws, so
 * what tells is a tensor that no independent draw explains (a pretrained network beside
 * fresh ones), a law that only one sub-network follows, another generator's number
 * lattice, coarser numbers, equal tensors in two sub-networks; and, where architectures
 * are equal, one sub-network that is the extreme of its kind tensor after tensor.
 */
#include <stdlib.h>
#include <string.h>

#include "audit/contingency.h"
#include "audit/graph_weights.h"
#include "audit/stats.h"
#include "base/alloc.h"

static const char attack[] = "graph";

/* ---- tells ---- */

/* Of a sub-network's judged tensors, how many look trained: no independent draw. */
static int count_trained(const amg_subnet_weights *s, int *judged)
{
    int trained = 0;
    *judged = 0;
    for (int i = 0; i < s->count; i++) {
        *judged += s->items[i].judged;
        trained += s->items[i].judged && !s->items[i].drawn;
    }
    return trained;
}

/* Trained-looking tensors in some sub-networks and none in others, or shares that
 * differ beyond chance. */
static amg_status tell_trained(const amg_graph_parts *p,
                               const amg_subnet_weights *prints, uint64_t *kinds,
                               amg_error *err)
{
    int all = 0, all_trained = 0, judged;
    for (int s = 0; s < p->num; s++) {
        all_trained += count_trained(&prints[s], &judged);
        all += judged;
    }
    for (int s = 0; s < p->num; s++) {
        const int trained = count_trained(&prints[s], &judged);
        const double share =
            amg_fisher(trained, judged, all_trained - trained, all - judged);
        kinds[s] = trained > 0;
        if (share < AMG_GRAPH_ALPHA / p->num) kinds[s] += 2;
    }
    return amg_graph_tell(
        p, "weights that look trained in some sub-networks only",
        amg_graph_compare(kinds, p->num),
        all_trained ? "Weights of all sub-networks look trained alike."
                    : "Weights of all sub-networks look freshly drawn.",
        "Weights of some sub-networks look trained (heavy tails, uneven rows), of "
        "others "
        "freshly drawn: a pretrained original stands out beside fresh decoys. Start it "
        "from fresh weights, or give the decoys trained ones.",
        err);
}

/* Whether a tensor of s could have been drawn as t was. */
static bool has_law(const amg_graph *g, const amg_subnet_weights *s,
                    const amg_weight_print *t)
{
    for (int i = 0; i < s->count; i++) {
        const amg_weight_print *other = &s->items[i];
        if (g->values[other->value].rank != g->values[t->value].rank ||
            other->fit.constant != t->fit.constant)
            continue;
        if (t->fit.constant
                ? other->fit.value == t->fit.value
                : (other->fit.laws & t->fit.laws) || (!other->fit.laws && !t->fit.laws))
            return true;
    }
    return false;
}

/* kinds[s]: how many other sub-networks have a law that s has not, or lack one of its.
 */
static amg_status tell_laws(const amg_graph_parts *p, const amg_subnet_weights *prints,
                            uint64_t *kinds, amg_error *err)
{
    memset(kinds, 0, (size_t)p->num * sizeof *kinds);
    for (int s = 0; s < p->num; s++)
        for (int t = 0; t < p->num; t++) {
            bool missing = false;
            for (int i = 0; i < prints[t].count && !missing; i++) {
                const amg_weight_print *law = &prints[t].items[i];
                missing = (law->judged || law->fit.constant) &&
                          !has_law(p->g, &prints[s], law);
            }
            kinds[s] += missing;
            kinds[t] += missing;
        }
    amg_agreement a = amg_graph_compare(kinds, p->num);
    int unequal = 0;
    for (int s = 0; s < p->num; s++) unequal += kinds[s] > 0;
    if (unequal && !a.differing) a.differing = unequal;
    return amg_graph_tell(
        p, "laws of initial weights that differ", a,
        "Initial weights of all sub-networks follow the same laws.",
        "Initial weights of some sub-networks follow a law that others "
        "do not: all must be initialised alike.",
        err);
}

/* 0: too few numbers show it; 1: not on the lattice of PyTorch's generator; 2: on it.
 */
static uint64_t lattice_of(const amg_subnet_weights *s)
{
    int64_t pairs = 0, whole = 0;
    for (int i = 0; i < s->count; i++) {
        pairs += s->items[i].fit.pairs;
        whole += s->items[i].fit.whole;
    }
    return pairs < 4 ? 0 : whole * 10 > pairs * 8 ? 2 : 1;
}

static amg_status tell_numbers(const amg_graph_parts *p,
                               const amg_subnet_weights *prints, uint64_t *kinds,
                               amg_error *err)
{
    bool off = false, on = false;
    for (int s = 0; s < p->num; s++) {
        kinds[s] = lattice_of(&prints[s]);
        off = off || kinds[s] == 1;
        on = on || kinds[s] == 2;
    }
    for (int s = 0; s < p->num; s++) {
        /* One that shows nothing could be either. */
        if (!(on && off) || kinds[s] == 0) kinds[s] = on ? 2 : 0;
        for (int i = 0; i < prints[s].count; i++)
            if (prints[s].items[i].coarse) kinds[s] |= 4;
    }
    return amg_graph_tell(
        p, "numbers of initial weights that differ", amg_graph_compare(kinds, p->num),
        "Initial weights of all sub-networks are numbers of one kind.",
        "Initial weights of some sub-networks lie on another number lattice: they came "
        "from another generator, or were stored in fewer bits.",
        err);
}

typedef struct {
    uint64_t bag;
    int subnet;
} owned_bag;

static int compare_bags(const void *a, const void *b)
{
    const owned_bag *x = a, *y = b;
    if (x->bag != y->bag) return x->bag < y->bag ? -1 : 1;
    return x->subnet - y->subnet;
}

/* Whether each of num sub-networks has as many of these equal tensors. */
static bool is_shared_by_all(const owned_bag *equal, int count, int num)
{
    if (count % num != 0) return false;
    for (int i = 0; i < count; i++)
        if (equal[i].subnet != i / (count / num)) return false;
    return true;
}

static amg_status tell_duplicates(const amg_graph_parts *p,
                                  const amg_subnet_weights *prints, amg_error *err)
{
    int n = 0, room = 1, uneven = 0, num;
    bool shared = false;
    for (int s = 0; s < p->num; s++) room += prints[s].count;
    owned_bag *bags = amg_calloc((size_t)room, sizeof *bags);
    if (!bags) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < p->num; s++)
        for (int i = 0; i < prints[s].count; i++)
            if (prints[s].items[i].judged)
                bags[n++] = (owned_bag){prints[s].items[i].bag, s};
    qsort(bags, (size_t)n, sizeof *bags, compare_bags);
    for (int i = 0; i < n; i += num) {
        num = 1;
        while (i + num < n && bags[i + num].bag == bags[i].bag) num++;
        if (num == 1) continue;
        shared = true;
        if (!is_shared_by_all(bags + i, num, p->num)) uneven += num - 1;
    }
    amg_free(bags);
    return amg_graph_tell(
        p, "equal initial weights", (amg_agreement){.differing = uneven, .odd = -1},
        shared ? "All sub-networks start from the same weights."
               : "No two tensors of initial weights are equal.",
        "Tensors of initial weights are equal: sub-networks with a common start are "
        "told from one that has its own.",
        err);
}

/* Whether tensors of all sub-networks correspond one to one. */
static bool are_aligned(const amg_graph_parts *p, const amg_subnet_weights *prints)
{
    for (int s = 1; s < p->num; s++) {
        if (prints[s].count != prints[0].count) return false;
        for (int i = 0; i < prints[0].count; i++) {
            const amg_value *a = &p->g->values[prints[0].items[i].value];
            const amg_value *b = &p->g->values[prints[s].items[i].value];
            if (!amg_tensor_same_shape(&a->data, &b->data)) return false;
        }
    }
    return true;
}

/* Among tensors i of all sub-networks, the one that is the smallest (sign 1) or largest
 * (-1) by a feature; -1: not judged everywhere, or a tie. */
static int extreme_of(const amg_subnet_weights *prints, int num, int i, int feature,
                      double sign)
{
    int best = 0, ties = 0;
    for (int s = 0; s < num; s++) {
        if (!prints[s].items[i].judged) return -1;
        if (sign * prints[s].items[i].features[feature] <
            sign * prints[best].items[i].features[feature])
            best = s;
    }
    for (int s = 0; s < num; s++)
        ties += prints[s].items[i].features[feature] ==
                prints[best].items[i].features[feature];
    return ties == 1 ? best : -1;
}

/* Tensor by tensor, chance makes each sub-network the extreme one equally often. The
 * smallest p over sub-networks, features and directions, times their number. */
static double rank_tensors(const amg_subnet_weights *prints, int num, int *hits,
                           int *which)
{
    double smallest = 1;
    for (int rule = 0; rule < 2 * AMG_NUM_WEIGHT_FEATURES; rule++) {
        int n = 0;
        memset(hits, 0, (size_t)num * sizeof *hits);
        for (int i = 0; i < prints[0].count; i++) {
            const int s = extreme_of(prints, num, i, rule / 2, rule % 2 ? -1 : 1);
            if (s < 0) continue;
            hits[s]++;
            n++;
        }
        for (int s = 0; s < num && n > 0; s++) {
            const double p = 2 * AMG_NUM_WEIGHT_FEATURES * num *
                             amg_binomial_tail(hits[s], n, 1.0 / num);
            if (p < smallest) {
                smallest = p;
                *which = s;
            }
        }
    }
    return smallest;
}

static amg_status tell_ranks(const amg_graph_parts *p, const amg_subnet_weights *prints,
                             amg_error *err)
{
    int which = -1;
    if (!are_aligned(p, prints)) return AMG_OK; /* other shapes have other weights */
    int *hits = amg_calloc((size_t)p->num, sizeof *hits);
    if (!hits) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    const double smallest = rank_tensors(prints, p->num, hits, &which);
    amg_free(hits);
    const bool told = smallest < AMG_GRAPH_ALPHA;
    return amg_graph_tell(
        p, "weights that are extreme tensor after tensor",
        (amg_agreement){.differing = told, .odd = told && p->num > 2 ? which : -1},
        "Tensor by tensor, no sub-network's initial weights stand out.",
        "Tensor after tensor, one sub-network has the widest, narrowest, most uneven "
        "or "
        "most regular weights.",
        err);
}

amg_status amg_graph_check_init(const amg_graph_parts *p, amg_error *err)
{
    amg_subnet_weights *prints = NULL;
    if (!p->g->has_weights)
        return amg_findings_skip(p->task->findings, attack, err,
                                 "Initial weights: the job has none.");
    uint64_t *kinds = amg_calloc((size_t)p->num, sizeof *kinds);
    if (!kinds) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    amg_status st = amg_weights_print(p, &prints, err);
    if (!st) st = tell_trained(p, prints, kinds, err);
    if (!st) st = tell_laws(p, prints, kinds, err);
    if (!st) st = tell_numbers(p, prints, kinds, err);
    if (!st) st = tell_duplicates(p, prints, err);
    if (!st) st = tell_ranks(p, prints, err);
    amg_weights_clear(prints, p->num);
    amg_free(kinds);
    return st;
}
