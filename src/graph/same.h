/* Whether nodes and constants say the same. */
#ifndef AMG_GRAPH_SAME_H
#define AMG_GRAPH_SAME_H

#include "graph/graph.h"

/* In the same order, too, as one exporter writes them; tensors never are. */
bool amg_same_attrs(const amg_node *a, const amg_node *b);
/* Byte for byte; the caller knows that both have data, or neither. */
bool amg_same_data(const amg_value *a, const amg_value *b);
/* Whether b computes what a computes: the same operator and attributes, the same floats
 * (by their ids: two equal weights are two), integers of the same shape and bytes. */
bool amg_same_node(const amg_value *values, const amg_node *a, const amg_node *b);

#endif
