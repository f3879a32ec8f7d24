/* The model zoo: torchvision's CNNs, and networks for text, with the parameter names,
 * shapes, counts and initialisation law of their PyTorch form. */
#ifndef AMG_GRAPH_ZOO_H
#define AMG_GRAPH_ZOO_H

#include "graph/graph.h"

typedef struct {
    const char *name; /* "resnet18" */
    int64_t channels, height, width;
    int64_t num_classes; /* not for language models */
    /* Networks for text: tokens I64 [N, seq] in. 0 (dropout: NAN): the network's own.
     */
    int64_t vocab, seq;
    int64_t width_model, layers, heads,
        width_hidden; /* d_model, …, feed-forward or LSTM */
    double dropout;
    int64_t pad;   /* token that fills up short documents (classifiers), -1: none */
    uint64_t seed; /* of the initial weights; not secret by itself, but whoever guesses
                      it knows the initial weights: draw it at random for real jobs */
    bool no_weights; /* parameters without data: the architecture alone, at once */
} amg_zoo_options;

/* Builds a model. 32x32 inputs (sides up to 64) get the CIFAR form (3x3 stem of stride
 * 1, no stem pooling), larger ones the ImageNet form. Weights: He/uniform laws as
 * torchvision's modules draw them. */
AMG_MUST_CHECK amg_status amg_zoo_build(const amg_zoo_options *options, amg_graph **out,
                                        amg_error *err);
/* Scalars that train of a graph from amg_zoo_build, counted once folded: before, an
 * LSTM's matrices, whose gates are rearranged by nodes, are not seen to be weights. */
AMG_MUST_CHECK amg_status amg_zoo_count_trainable(const amg_graph *g, int64_t *count,
                                                  amg_error *err);
/* The names, in the order `amalgam zoo --list` prints; returns how many. */
int amg_zoo_names(const char *const **names);
/* Whether the network takes tokens; whether it is a language model ([N, seq, vocab]).
 */
bool amg_zoo_is_text(const char *name);
bool amg_zoo_is_language_model(const char *name);

#endif
