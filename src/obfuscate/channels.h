/* Channel groups: which dims of a network must change together when one width changes.
 *
 * The feature dim of every activation ([N,C,…]: dim 1) is a list of segments, each
 * `times` x the width of a group. A convolution or linear layer opens a new group;
 * batch norm, activations, pooling and depthwise convolutions carry their input's list;
 * Add joins groups; Concat chains lists; Flatten multiplies by H*W. Dims of parameters
 * follow from the lists. A group is frozen where a width cannot move: the data input,
 * the classes, and whatever an operator unknown here touches. */
#ifndef AMG_OBFUSCATE_CHANNELS_H
#define AMG_OBFUSCATE_CHANNELS_H

#include "graph/graph.h"

typedef struct {
    int group;
    int64_t times;
} amg_segment;

typedef struct {
    int count; /* 0: no feature dim known */
    amg_segment *segments;
} amg_feature_list;

/* Dims of one parameter that follow a list; NULL: fixed. */
typedef struct {
    const amg_feature_list *dim[2];
} amg_param_features;

typedef struct {
    amg_arena arena;
    int num_groups;
    int *parent; /* union-find; use amg_channels_root */
    int64_t *width;
    bool *frozen;
    amg_feature_list *values;   /* per value of the graph */
    amg_param_features *params; /* per value of the graph */
} amg_channels;

/* g: shapes inferred, batch not planned; must outlive nothing (all is copied).
 * AMG_NO_MEMORY only: what is not understood is frozen. */
AMG_MUST_CHECK amg_status amg_channels_init(const amg_graph *g, amg_channels *out,
                                            amg_error *err);
void amg_channels_clear(amg_channels *c);
int amg_channels_root(const amg_channels *c, int group);
/* Size of a feature list under the given widths (indexed by root group). */
int64_t amg_channels_size(const amg_channels *c, const amg_feature_list *list,
                          const int64_t *width);

/* Whether n is a layer of weights: a convolution, Gemm, MatMul, LSTM, GRU or RNN. */
bool amg_is_layer(const amg_node *n);

#endif
