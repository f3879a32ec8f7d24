/* Stretches of a network that may stand twice in a row: between values that every path
 * passes, of the same shape, behind the same kind of operator. Consumes a graph's
 * structure, never its weights. */
#include <string.h>

#include "base/alloc.h"
#include "graph/same.h"
#include "obfuscate/arch_edit.h"

/* Values that every path passes: after their node, nothing else is still needed. cut:
 * room for num_nodes. Returns how many, -1: out of memory. */
static int find_cuts(const amg_graph *g, int *cut)
{
    int *last_use = amg_calloc((size_t)g->num_values, sizeof *last_use);
    int *ended = amg_calloc((size_t)g->num_nodes + 1, sizeof *ended);
    int num_cuts = 0, live = 0;
    if (last_use && ended) {
        for (int i = 0; i < g->num_nodes; i++) /* what is not used ends with its node */
            for (int o = 0; o < g->nodes[i].num_outputs; o++)
                last_use[g->nodes[i].outputs[o]] = i;
        for (int i = 0; i < g->num_nodes; i++)
            for (int j = 0; j < g->nodes[i].num_inputs; j++)
                if (g->nodes[i].inputs[j] != AMG_NO_VALUE)
                    last_use[g->nodes[i].inputs[j]] = i;
        for (int v = 0; v < g->num_values; v++)
            if (g->values[v].kind != AMG_VALUE_PARAM) ended[last_use[v]]++;
        live = g->num_inputs;
        for (int i = 0; i < g->num_nodes; i++) {
            int out = g->nodes[i].outputs[0];
            live += g->nodes[i].num_outputs - ended[i];
            if (live == 1 && last_use[out] > i) cut[num_cuts++] = out;
        }
    } else {
        num_cuts = -1;
    }
    amg_free(last_use);
    amg_free(ended);
    return num_cuts;
}

/* The shortest stretch from the a-th cut; returns the cut it ends at, 0: none. */
static int find_stretch(const amg_graph *g, const int *cut, int num_cuts, int a)
{
    const amg_value *from = &g->values[cut[a]];
    bool weight = false;
    int node = from->producer + 1;
    for (int b = a + 1; b < num_cuts; b++) {
        const amg_value *to = &g->values[cut[b]];
        for (; node <= to->producer; node++) weight |= amg_is_layer(&g->nodes[node]);
        if (g->nodes[from->producer].op != g->nodes[to->producer].op) continue;
        if (from->rank != to->rank ||
            memcmp(from->dims, to->dims, (size_t)from->rank * sizeof from->dims[0]))
            return 0; /* shapes do not come back */
        if (weight) return b;
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

int amg_arch_regions(const amg_graph *g, amg_region *regions)
{
    int *cut = amg_calloc((size_t)g->num_nodes + 1, sizeof *cut);
    int *image = amg_calloc((size_t)g->num_values, sizeof *image);
    int num_cuts = cut && image ? find_cuts(g, cut) : -1, count = 0;
    for (int a = 0; a < num_cuts;) {
        int b = find_stretch(g, cut, num_cuts, a);
        if (b)
            regions[count++] =
                (amg_region){.from = cut[a],
                             .to = cut[b],
                             .first_node = g->values[cut[a]].producer + 1,
                             .last_node = g->values[cut[b]].producer};
        a = b ? b : a + 1;
    }
    count = num_cuts < 0 ? -1 : keep_first_of_runs(g, regions, count, image);
    amg_free(cut);
    amg_free(image);
    return count;
}
