/* Edits of an architecture: each makes a new graph without weights ("skeleton") that
 * computes something of the same input and output shape. The vocabulary of the decoys'
 * walks. */
#ifndef AMG_OBFUSCATE_ARCH_EDIT_H
#define AMG_OBFUSCATE_ARCH_EDIT_H

#include "graph/graph.h"
#include "obfuscate/channels.h"

/* A shape-preserving stretch of the network between two values that every path passes,
 * but for what is no function of weights. */
typedef struct {
    int from, to;              /* value ids, same dims */
    int first_node, last_node; /* nodes between them, inclusive */
    bool repeated;             /* an equal stretch follows */
} amg_region;

/* All fields apply at once; zeroed = a plain copy without weights. */
typedef struct {
    const int64_t *width;         /* new width per root group of channels; NULL: kept */
    const amg_channels *channels; /* of the edited graph, with width */
    int kernel_node, kernel_delta; /* the kernel of this Conv, and of all that share
                                      its weight, grows by 2*delta, pads by delta;
                                      delta 0: none */
    bool activation; /* every one of the activation vocabulary becomes activation_op */
    amg_op activation_op;
    const amg_region *duplicate, *remove;
    int serial; /* > 0, another one for each edit of a walk: makes new names unique */
} amg_arch_edit;

/* New parameters of a duplicated stretch are named NAME~SERIAL; everything else
 * keeps its name. */
AMG_MUST_CHECK amg_status amg_arch_apply(const amg_graph *g, const amg_arch_edit *edit,
                                         amg_graph **out, amg_error *err);

/* Stretches that may be duplicated, and removed where repeated: they hold a layer of
 * weights (Conv, Gemm, MatMul, LSTM …) and begin and end behind the same kind of
 * operator. They do not overlap, and of a run of equal ones only the first is given.
 * Hence a duplicated stretch gives a network with as many, in which it is repeated:
 * duplicating the i-th and removing the i-th are each other's inverse. regions: room
 * for num_nodes; returns how many. -1: out of memory. */
int amg_arch_regions(const amg_graph *g, amg_region *regions);

/* Whether node n is a Conv whose square odd kernel may change by delta (sizes 3 to 7
 * stay in range), and so may that of all nodes that read its weight. */
bool amg_arch_kernel_can(const amg_graph *g, int n, int delta);
/* The activation vocabulary: Relu, LeakyRelu(0.01), Clip(0,6). Which of them the whole
 * network uses; AMG_OP_COUNT: none, or several. */
amg_op amg_arch_activation(const amg_graph *g);

#endif
