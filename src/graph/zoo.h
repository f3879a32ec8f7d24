/* The model zoo: torchvision's CNNs with its parameter names, shapes, counts and
 * initialisation law. */
#ifndef AMG_GRAPH_ZOO_H
#define AMG_GRAPH_ZOO_H

#include "graph/graph.h"

typedef struct {
    const char *name; /* "resnet18" */
    int64_t channels, height, width;
    int64_t num_classes;
    uint64_t seed; /* of the initial weights; not secret by itself, but whoever guesses
                      it knows the initial weights: draw it at random for real jobs */
} amg_zoo_options;

/* Builds a model. 32x32 inputs (sides up to 64) get the CIFAR form (3x3 stem of stride
 * 1, no stem pooling), larger ones the ImageNet form. Weights: He/uniform laws as
 * torchvision's modules draw them. */
AMG_MUST_CHECK amg_status amg_zoo_build(const amg_zoo_options *options, amg_graph **out,
                                        amg_error *err);
/* The names, in the order `amalgam zoo --list` prints; returns how many. */
int amg_zoo_names(const char *const **names);

#endif
