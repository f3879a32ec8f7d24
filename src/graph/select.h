/* Selects: the Gather behind a job's input by which each of its networks takes its own
 * values out of a mixed sample. Read off the graph, as anybody can. */
#ifndef AMG_GRAPH_SELECT_H
#define AMG_GRAPH_SELECT_H

#include "graph/graph.h"

/* Whether a node gathers fixed positions of flat samples [N, values]. */
bool amg_graph_is_select(const amg_graph *g, const amg_node *n);
/* nodes [num_outputs]: of each head the node that gathers fixed positions of the
 * flattened input, of those on the way to it the one that leads to the fewest heads
 * (where sub-networks are joined, the others' lead to it, too). -1: there is none. */
AMG_MUST_CHECK amg_status amg_graph_find_selects(const amg_graph *g, int *nodes,
                                                 amg_error *err);
/* index (heap [*count]): the positions that a select takes. AMG_MISMATCH: one is not in
 * the sample. */
AMG_MUST_CHECK amg_status amg_graph_read_select(const amg_graph *g, int node,
                                                uint32_t **index, int64_t *count,
                                                amg_error *err);

#endif
