/* Stretches of a network that may stand twice in a row: between values that every path
 * from the weights passes, of the same shape, behind the same kind of operator.
 * Consumes a graph's structure, never its weights. */
#include <string.h>

#include "base/arena.h"
#include "graph/same.h"
#include "obfuscate/arch_edit.h"

/* What the search knows of a graph. */
typedef struct {
    const amg_graph *g;
    int *last_use; /* per value: node that reads it last, or that makes it */
    bool *learnt;  /* per value: weights are in it; of an activation */
    int *cut;      /* value ids, in the order of their nodes */
    int num_cuts;
} search;

static void find_uses(search *s)
{
    const amg_graph *g = s->g;
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        bool learnt = false;
        for (int j = 0; j < n->num_inputs; j++) {
            const int v = n->inputs[j];
            if (v == AMG_NO_VALUE) continue;
            s->last_use[v] = i;
            learnt |= s->learnt[v] || (g->values[v].kind == AMG_VALUE_PARAM &&
                                       g->values[v].role == AMG_ROLE_TRAINABLE);
        }
        for (int o = 0; o < n->num_outputs; o++) {
            s->last_use[n->outputs[o]] = i;
            s->learnt[n->outputs[o]] = learnt;
        }
    }
}

/* Values that every path from the weights passes: after their node nothing else that is
 * learnt is still needed. What the data alone give (a mask) may pass by. */
static void find_cuts(search *s, int *ended, int *ended_learnt)
{
    const amg_graph *g = s->g;
    int live = g->num_inputs, live_learnt = 0;
    find_uses(s);
    for (int v = 0; v < g->num_values; v++) {
        if (g->values[v].kind == AMG_VALUE_PARAM) continue;
        ended[s->last_use[v]]++;
        ended_learnt[s->last_use[v]] += s->learnt[v];
    }
    for (int i = 0; i < g->num_nodes; i++) {
        const int out = g->nodes[i].outputs[0], num = g->nodes[i].num_outputs;
        live += num - ended[i];
        live_learnt += (s->learnt[out] ? num : 0) - ended_learnt[i];
        if (s->last_use[out] > i && (live == 1 || (s->learnt[out] && live_learnt == 1)))
            s->cut[s->num_cuts++] = out;
    }
}

/* Whether nothing but its end is needed behind the stretch, of what it begins with or
 * makes. */
static bool is_closed(const search *s, int from, int to)
{
    const amg_graph *g = s->g;
    const int last = g->values[to].producer;
    if (s->last_use[from] > last) return false;
    for (int i = g->values[from].producer + 1; i <= last; i++)
        for (int o = 0; o < g->nodes[i].num_outputs; o++)
            if (g->nodes[i].outputs[o] != to &&
                s->last_use[g->nodes[i].outputs[o]] > last)
                return false;
    return true;
}

/* The shortest stretch from the a-th cut; returns the cut it ends at, 0: none. */
static int find_stretch(const search *s, int a)
{
    const amg_graph *g = s->g;
    const amg_value *from = &g->values[s->cut[a]];
    bool weight = false;
    int node = from->producer + 1;
    for (int b = a + 1; b < s->num_cuts; b++) {
        const amg_value *to = &g->values[s->cut[b]];
        for (; node <= to->producer; node++) weight |= amg_is_layer(&g->nodes[node]);
        if (g->nodes[from->producer].op != g->nodes[to->producer].op) continue;
        if (from->rank != to->rank ||
            memcmp(from->dims, to->dims, (size_t)from->rank * sizeof from->dims[0]))
            return 0; /* shapes do not come back */
        if (weight && is_closed(s, s->cut[a], s->cut[b])) return b;
    }
    return 0;
}

/* Two parameters that a decoy without weights cannot tell apart. */
static bool same_param(const amg_value *a, const amg_value *b)
{
    if (a->role != b->role || a->dtype != b->dtype || a->rank != b->rank ||
        (a->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0])))
        return false;
    return a->role != AMG_ROLE_CONSTANT || amg_same_data(a, b);
}

/* Whether stretch b, which begins where a ends, does the same as a. image (per value,
 * all AMG_NO_VALUE) receives b's value for each of a's. */
static bool same_stretch(const amg_graph *g, const amg_region *a, const amg_region *b,
                         int *image)
{
    if (a->to != b->from ||
        a->last_node - a->first_node != b->last_node - b->first_node)
        return false;
    image[a->from] = b->from;
    for (int i = a->first_node; i <= a->last_node; i++) {
        const amg_node *x = &g->nodes[i],
                       *y = &g->nodes[i - a->first_node + b->first_node];
        if (x->op != y->op || x->num_inputs != y->num_inputs ||
            x->num_outputs != y->num_outputs || !amg_same_attrs(x, y))
            return false;
        for (int j = 0; j < x->num_inputs; j++) {
            int p = x->inputs[j], q = y->inputs[j];
            if ((p == AMG_NO_VALUE) != (q == AMG_NO_VALUE)) return false;
            if (p == AMG_NO_VALUE) continue;
            const amg_value *v = &g->values[p], *w = &g->values[q];
            if (v->kind != AMG_VALUE_PARAM && image[p] == AMG_NO_VALUE && p == q)
                continue; /* passes by both */
            if (v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_CONSTANT) {
                if (w->kind != AMG_VALUE_PARAM || !same_param(v, w)) return false;
                continue; /* may be shared with all the network */
            }
            if (v->kind == AMG_VALUE_PARAM && image[p] == AMG_NO_VALUE && p != q &&
                w->kind == AMG_VALUE_PARAM && same_param(v, w))
                image[p] = q;
            if (image[p] != q) return false;
        }
        for (int j = 0; j < x->num_outputs; j++) image[x->outputs[j]] = y->outputs[j];
    }
    return true;
}

/* Marks those followed by an equal one and keeps the first of each run. */
static int keep_first_of_runs(const amg_graph *g, amg_region *regions, int count,
                              int *image)
{
    int kept = 0;
    bool equal = false; /* regions[i] and the one before */
    for (int i = 0; i < count; i++) {
        bool again = false;
        for (int v = 0; v < g->num_values; v++) image[v] = AMG_NO_VALUE;
        if (i + 1 < count) again = same_stretch(g, &regions[i], &regions[i + 1], image);
        regions[i].repeated = again;
        if (!equal) regions[kept++] = regions[i];
        equal = again;
    }
    return kept;
}

static int find_regions(const search *s, amg_region *regions)
{
    int count = 0;
    for (int a = 0; a < s->num_cuts;) {
        const int b = find_stretch(s, a);
        if (b)
            regions[count++] =
                (amg_region){.from = s->cut[a],
                             .to = s->cut[b],
                             .first_node = s->g->values[s->cut[a]].producer + 1,
                             .last_node = s->g->values[s->cut[b]].producer};
        a = b ? b : a + 1;
    }
    return count;
}

int amg_arch_regions(const amg_graph *g, amg_region *regions)
{
    amg_arena arena = {0};
    const size_t values = (size_t)g->num_values + 1, nodes = (size_t)g->num_nodes + 1;
    search s = {.g = g,
                .last_use = amg_arena_array(&arena, values, sizeof *s.last_use),
                .learnt = amg_arena_array(&arena, values, sizeof *s.learnt),
                .cut = amg_arena_array(&arena, nodes, sizeof *s.cut)};
    int *ended = amg_arena_array(&arena, nodes, sizeof *ended);
    int *ended_learnt = amg_arena_array(&arena, nodes, sizeof *ended_learnt);
    int *image = amg_arena_array(&arena, values, sizeof *image), count = -1;
    if (s.last_use && s.learnt && s.cut && ended && ended_learnt && image) {
        find_cuts(&s, ended, ended_learnt);
        count = keep_first_of_runs(g, regions, find_regions(&s, regions), image);
    }
    amg_arena_clear(&arena);
    return count;
}
