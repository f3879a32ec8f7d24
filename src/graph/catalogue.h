/* Textbook networks: which of the zoo's a network is, layer by layer. Beside others
 * that are none, who knows the catalogue takes such a one for the original. */
#ifndef AMG_GRAPH_CATALOGUE_H
#define AMG_GRAPH_CATALOGUE_H

#include "graph/graph.h"

/* What the network is for. */
typedef struct {
    int64_t dims[3];     /* of its images: C, H, W; not read for tokens */
    int64_t num_classes; /* not read for language models */
    int64_t seq;         /* tokens in; 0: images in */
    bool is_model;       /* a language model */
} amg_catalogue_data;

/* The zoo's name (static) of the network that the nodes n with owner[n] == subnet make
 * up (owner NULL: all of g); *name NULL: it is none of them. Compared are the layers
 * that learn, by operator and shapes of weights, and the activations: neither names nor
 * ways to write the same network down matter, nor the sizes that who builds a network
 * for text chooses. g is folded (amg_graph_plan_batch); weights are not read. The only
 * error is AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status amg_catalogue_find(const amg_graph *g, const int *owner,
                                             int subnet, const amg_catalogue_data *data,
                                             const char **name, amg_error *err);

#endif
