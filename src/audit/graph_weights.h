/* What each tensor of initial weights looks like. Private to graph*.c. */
#ifndef AMG_AUDIT_GRAPH_WEIGHTS_H
#define AMG_AUDIT_GRAPH_WEIGHTS_H

#include "audit/graph_parts.h"
#include "obfuscate/decoy_init.h"

/* In what tensors of equal shape are compared. */
enum {
    AMG_BY_DEVIATION,
    AMG_BY_KURTOSIS,
    AMG_BY_ROWS,
    AMG_BY_ZEROS,
    AMG_NUM_WEIGHT_FEATURES
};

typedef struct {
    int value; /* of the graph */
    amg_init_fit fit;
    bool judged;  /* long enough, no constant */
    bool drawn;   /* looks like independent draws of one law */
    bool coarse;  /* numbers of fewer bits, or few different ones */
    uint64_t bag; /* its elements in any order */
    double features[AMG_NUM_WEIGHT_FEATURES];
} amg_weight_print;

/* One sub-network's trainables and buffers, in canonical order. */
typedef struct {
    int count;
    amg_weight_print *items;
} amg_subnet_weights;

/* Of all sub-networks; [num], freed with amg_weights_clear. O(weights). */
AMG_MUST_CHECK amg_status amg_weights_print(const amg_graph_parts *p,
                                            amg_subnet_weights **out, amg_error *err);
void amg_weights_clear(amg_subnet_weights *prints, int num); /* NULL is fine */

#endif
