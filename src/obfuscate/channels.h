/* Channel groups: which dims of a network must change together when one width changes.
 *
 * The feature dim of every activation (dim 1 of an image's [N,C,…], dim 2 of a
 * sequence's [N,L,C]) is a list of segments, each `times` x the width of a group. A
 * convolution, a linear or recurrent layer and a table of embeddings open a new group;
 * norms, activations, pooling and depthwise convolutions carry their input's list; Add
 * joins groups; Concat chains lists; Flatten multiplies by H*W; what moves axes moves
 * the feature dim with them. Dims of parameters follow from the lists. A group is
 * frozen where a width cannot move: the data input, the classes, and whatever an
 * operator unknown here touches. */
#ifndef AMG_OBFUSCATE_CHANNELS_H
#define AMG_OBFUSCATE_CHANNELS_H

#include "graph/graph.h"

enum { AMG_FEATURE_DIMS = 3 }; /* of a parameter, those that may follow a list */

typedef struct {
    int group;
    int64_t times;
} amg_segment;

typedef struct {
    int axis;  /* of a value: its feature dim */
    int count; /* 0: no feature dim known */
    amg_segment *segments;
} amg_feature_list;

/* Dims of one parameter that follow a list; NULL: fixed. */
typedef struct {
    const amg_feature_list *dim[AMG_FEATURE_DIMS];
} amg_param_features;

typedef struct {
    amg_arena arena;
    int num_groups;
    int *parent; /* union-find; use amg_channels_root */
    int64_t *width;
    bool *frozen;
    amg_feature_list *values;   /* per value of the graph */
    amg_param_features *params; /* per value of the graph */
    bool *named; /* per node: a Reshape whose target says its output's feature dim */
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
/* Whether n is an LSTM, GRU or RNN. */
bool amg_is_recurrent(const amg_node *n);

#endif
