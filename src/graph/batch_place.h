/* Where the batch is in a Reshape's target of plain numbers, which an exporter writes
 * for a batch that is fixed: in memory it stays where it was. Private to graph/. */
#ifndef AMG_GRAPH_BATCH_PLACE_H
#define AMG_GRAPH_BATCH_PLACE_H

#include "graph/graph.h"

/* How many samples a target of numbers is for, 0 if x has no batch or their elements
 * are no multiple of a sample's. */
int64_t amg_batch_samples(const amg_value *x, const int64_t *target, int rank);

/* The dim of a target for so many samples in which x's batch lies: behind as many
 * elements as in x or, where x's dim is several times the batch, as it may; or merged
 * with what is in front of it. A dim of just the samples goes first. -1: none, or it
 * may be one of several. */
int amg_batch_place(const amg_value *x, int64_t samples, const int64_t *target,
                    int rank);

#endif
