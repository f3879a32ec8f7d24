/* One pass over a graph that finds its channel groups; private to channels.c and the
 * files of its rules. A rule says what the feature dim of a node's first output is, and
 * ties parameters and inputs to it; it may assume nothing of the widths but that they
 * are positive. */
#ifndef AMG_OBFUSCATE_CHANNEL_PASS_H
#define AMG_OBFUSCATE_CHANNEL_PASS_H

#include "obfuscate/channels.h"

/* `failed` collects out-of-memory, so that the rules read as rules. */
typedef struct {
    const amg_graph *g;
    amg_channels *c;
    bool *fixed; /* per value: a parameter that an operator unknown here reads */
    bool failed;
} amg_channel_pass;

typedef amg_feature_list (*amg_channel_rule)(amg_channel_pass *p, const amg_node *n);

/* Input i of n; NULL: absent. */
const amg_value *amg_channel_in(const amg_channel_pass *p, const amg_node *n, int i);

/* A list of one segment over a new group of this width. */
amg_feature_list amg_channel_open(amg_channel_pass *p, int64_t width, int axis,
                                  bool frozen);
/* What list would be, that often in a row. */
amg_feature_list amg_channel_repeat(amg_channel_pass *p, const amg_feature_list *list,
                                    int64_t times);
amg_segment *amg_channel_segments(amg_channel_pass *p, int count);
void amg_channel_freeze(amg_channel_pass *p, const amg_feature_list *list);
/* Makes two lists equal forever; where their structure differs, both stop moving. */
void amg_channel_join(amg_channel_pass *p, const amg_feature_list *a,
                      const amg_feature_list *b);
/* Parameter v's dim d follows list; a parameter used twice ties its lists. A dim of
 * another size (a broadcast) holds it. v may be AMG_NO_VALUE. */
void amg_channel_follow(amg_channel_pass *p, int v, int d,
                        const amg_feature_list *list);
/* The list of input i along axis: its own, or a frozen one of that dim where the
 * features lie elsewhere, which stop moving then. */
amg_feature_list amg_channel_at(amg_channel_pass *p, const amg_node *n, int i,
                                int axis);
/* list with its features along another axis. */
amg_feature_list amg_channel_moved(const amg_feature_list *list, int axis);
/* Nothing that n reads may move, nor what it gives. */
amg_feature_list amg_channel_unknown(amg_channel_pass *p, const amg_node *n);

/* Layers and norms: channel_layers.c. */
amg_feature_list amg_channel_conv(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_conv_transpose(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_gemm(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_mat_mul(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_recurrent(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_prelu(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_normalise(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_layer_norm(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_elementwise(amg_channel_pass *p, const amg_node *n);

/* What moves, cuts, joins or sums along axes: channel_moves.c. */
amg_feature_list amg_channel_concat(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_reshape(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_transpose(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_reduce(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_gather(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_slice(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_split(amg_channel_pass *p, const amg_node *n);
amg_feature_list amg_channel_softmax(amg_channel_pass *p, const amg_node *n);

#endif
