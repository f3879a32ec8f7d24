/* Samples of a batch that a graph sorts, and puts back: what pack_padded_sequence(…,
 * enforce_sorted=False) leaves in a file around recurrent layers, and what people write
 * around it by hand. Between the two, what happens to a sample does not depend on its
 * place, so the folded graph has neither:
 *
 *     n, order = sort(n)   x = x[order]   y = LSTM(x, n)   y[inverse of order]
 *     ─►  y = LSTM(x, n)
 *
 * PyTorch packs inside LSTM's own form (emit_recurrent.c). Private to graph/. */
#ifndef AMG_GRAPH_BATCH_ORDER_H
#define AMG_GRAPH_BATCH_ORDER_H

#include "graph/graph.h"

/* *out NULL: no batch is sorted. Parameters by view: g must outlive *out.
 * AMG_UNSUPPORTED: a node that needs the sorted order, or a result in it. */
AMG_MUST_CHECK amg_status amg_batch_order_drop(const amg_graph *g, amg_graph **out,
                                               amg_error *err);

#endif
