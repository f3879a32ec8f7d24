/* Weights that are read in more than one way: as they are and rearranged (a codebook
 * that is looked up in and compared with), or rearranged as a whole in two ways.
 * Folding what rearranges them would make weights of their own of them, of which each
 * trained alone. Parts that do not overlap (the gates of an LSTM's matrix) may be
 * folded. What becomes a weight by folding is looked at likewise. */
#include <stdlib.h>

#include "base/alloc.h"
#include "graph/eval.h"
#include "graph/fold_pass.h"
#include "graph/origin.h"
#include "graph/same.h"

typedef struct {
    const amg_graph *g;
    bool *weight; /* per value: a weight, or one rearranged */
    int *source;  /* per value: what it is through Identities */
    bool *data;   /* per value: it depends on the data, by more than their shape */
    int *first;   /* per value: the first node that rearranges it, -1: none */
    bool *plain, *whole, *differs; /* per value: it is read as it is; rearranged as a
                                      whole; rearranged in several ways */
} readers;

static bool rearranges(const readers *r, const amg_node *node, int i)
{
    if (node->op == AMG_OP_IDENTITY || !amg_origin_moves(node, i)) return false;
    for (int k = 0; k < node->num_inputs; k++)
        if (node->inputs[k] != AMG_NO_VALUE && r->data[node->inputs[k]]) return false;
    return true;
}

static bool is_part(amg_op op)
{
    return op == AMG_OP_SLICE || op == AMG_OP_SPLIT || op == AMG_OP_GATHER;
}

static void read_input(const readers *r, int n, int i)
{
    const amg_node *node = &r->g->nodes[n];
    const int v = r->source[node->inputs[i]];
    if (!r->weight[v] || node->op == AMG_OP_IDENTITY || amg_eval_reads_shape(node->op))
        return;
    if (!rearranges(r, node, i)) {
        r->plain[v] = true;
        return;
    }
    for (int k = 0; k < node->num_outputs; k++) r->weight[node->outputs[k]] = true;
    r->whole[v] = r->whole[v] || !is_part(node->op);
    if (r->first[v] < 0)
        r->first[v] = n;
    else if (!amg_same_node(r->g->values, &r->g->nodes[r->first[v]], node))
        r->differs[v] = true;
}

static void read_node(const readers *r, int n)
{
    const amg_node *node = &r->g->nodes[n];
    bool data = false;
    for (int i = 0; i < node->num_inputs; i++) {
        if (node->inputs[i] == AMG_NO_VALUE) continue;
        data = data || r->data[node->inputs[i]];
        read_input(r, n, i);
    }
    for (int i = 0; i < node->num_outputs; i++)
        r->data[node->outputs[i]] = data && !amg_eval_reads_shape(node->op);
    if (node->op == AMG_OP_IDENTITY)
        r->source[node->outputs[0]] = r->source[node->inputs[0]];
}

static void find(const readers *r, bool *tied)
{
    const amg_graph *g = r->g;
    for (int v = 0; v < g->num_values; v++) {
        const amg_value *value = &g->values[v];
        r->source[v] = v;
        r->first[v] = -1;
        r->weight[v] =
            value->kind == AMG_VALUE_PARAM && value->role == AMG_ROLE_TRAINABLE;
    }
    for (int i = 0; i < g->num_inputs; i++) r->data[g->inputs[i]] = true;
    for (int n = 0; n < g->num_nodes; n++) read_node(r, n);
    for (int v = 0; v < g->num_values; v++) {
        const int s = r->source[v];
        tied[v] = (r->plain[s] && r->first[s] >= 0) || (r->whole[s] && r->differs[s]);
    }
}

amg_status amg_fold_find_ties(amg_fold *p, amg_error *err)
{
    const size_t count = (size_t)p->g->num_values + 1;
    p->tied = amg_arena_array(&p->arena, count, sizeof *p->tied);
    int *ids = amg_calloc(2 * count, sizeof *ids);
    bool *flags = amg_calloc(5 * count, sizeof *flags);
    const amg_status s = p->tied && ids && flags ? AMG_OK : amg_fold_no_memory(err);
    if (!s)
        find(&(readers){p->g, flags, ids, flags + count, ids + count, flags + 2 * count,
                        flags + 3 * count, flags + 4 * count},
             p->tied);
    amg_free(ids);
    amg_free(flags);
    return s;
}

bool amg_fold_keeps_tie(const amg_fold *p, const amg_node *node)
{
    for (int i = 0; i < node->num_inputs; i++) {
        const int v = node->inputs[i];
        if (v != AMG_NO_VALUE && v < p->g->num_values && p->tied[v] &&
            amg_origin_moves(node, i))
            return true;
    }
    return false;
}
