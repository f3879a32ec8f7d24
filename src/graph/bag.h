/* Bags of tokens, by which networks are compared: 64-bit fingerprints of what they
 * consist of, in no order. */
#ifndef AMG_GRAPH_BAG_H
#define AMG_GRAPH_BAG_H

#include "graph/graph.h"

typedef struct {
    int64_t count;
    uint64_t *tokens; /* sorted before bags are compared */
} amg_bag;

void amg_bag_sort(amg_bag *bag);
/* Jaccard's distance: 1 - common tokens / all tokens, each as often as it stands there;
 * 0 for equal bags, empty ones too. */
double amg_bag_distance(const amg_bag *a, const amg_bag *b);
/* token with a value's type and shape mixed in. */
uint64_t amg_bag_shape(uint64_t token, const amg_value *v);

#endif
