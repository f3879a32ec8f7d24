/* One pass of folding, private to fold.c and fold_inputs.c. */
#ifndef AMG_GRAPH_FOLD_PASS_H
#define AMG_GRAPH_FOLD_PASS_H

#include <string.h>

#include "base/arena.h"
#include "graph/graph.h"

typedef struct {
    const amg_graph *g;
    int64_t batch; /* AMG_DIM_BATCH: symbolic */
    bool *kept; /* not NULL: transposed weights are not folded; set if there is one */
    amg_arena arena;   /* everything below */
    amg_value *values; /* g's, then shapes made here; PARAM once known */
    int num_values;
    amg_node *nodes; /* g's, with resolved inputs */
    int *same_as;    /* per value: the value it is a plain copy of, else itself */
    int *map;        /* per value: the id in the result */
    bool *live;      /* per value: an output needs it */
    bool *tied;      /* per value of g: see amg_fold_find_ties */
    int *moved;      /* nodes whose floats were computed, in their order */
    int num_moved;
} amg_fold;

static inline amg_status amg_fold_no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
}

static inline int *amg_fold_inputs_of(const amg_fold *p, int n)
{
    int *inputs;
    memcpy(&inputs, &p->nodes[n].inputs, sizeof inputs); /* the pass's own */
    return inputs;
}

/* Before node n is inferred: its inputs, where they name the batch. */
AMG_MUST_CHECK amg_status amg_fold_inputs(amg_fold *p, int n, amg_error *err);
/* Behind it, of a Reshape: a number where inference found the batch; an exporter baked
 * its own batch in. */
AMG_MUST_CHECK amg_status amg_fold_baked_target(amg_fold *p, int n, amg_error *err);

/* Sets tied, of a weight that is read in several ways; and whether a node rearranges
 * such, which stays as it is. */
AMG_MUST_CHECK amg_status amg_fold_find_ties(amg_fold *p, amg_error *err);
bool amg_fold_keeps_tie(const amg_fold *p, const amg_node *node);

#endif
