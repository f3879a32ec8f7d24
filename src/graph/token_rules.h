/* What operators make of values that hold patches; private to graph/token_axis.c. A
 * rule finds the layouts of its node's inputs, at least one of which holds patches, and
 * sets those of the outputs. It returns NULL, or why patches cannot change places. */
#ifndef AMG_GRAPH_TOKEN_RULES_H
#define AMG_GRAPH_TOKEN_RULES_H

#include "graph/token_axis.h"
#include "graph/token_layout.h"

typedef struct {
    const amg_graph *g;
    amg_token_layout *of; /* per value; of rank 0: holds nothing of patches */
    amg_patch_tokens found;
} amg_token_walk;

extern const char amg_token_by_place[]; /* the reason that says no more */

/* Of input i, which may be absent: its layout, of rank 0 then; NULL then. */
const amg_token_layout *amg_token_layout_of(const amg_token_walk *w,
                                            const amg_node *node, int i);
const amg_value *amg_token_input(const amg_token_walk *w, const amg_node *node, int i);
bool amg_token_carries(const amg_token_walk *w, const amg_node *node, int i);
/* Inputs from i on hold nothing of patches. */
bool amg_token_only_first(const amg_token_walk *w, const amg_node *node, int i);
/* Output i has layout l, if that still holds patches. */
void amg_token_set(amg_token_walk *w, const amg_node *node, int i,
                   const amg_token_layout *l);

/* Flatten, Squeeze and Unsqueeze, too. */
const char *amg_token_reshape(amg_token_walk *w, const amg_node *node);
const char *amg_token_transpose(amg_token_walk *w, const amg_node *node);
const char *amg_token_expand(amg_token_walk *w, const amg_node *node);
const char *amg_token_concat(amg_token_walk *w, const amg_node *node);
const char *amg_token_split(amg_token_walk *w, const amg_node *node);
const char *amg_token_slice(amg_token_walk *w, const amg_node *node);
const char *amg_token_gather(amg_token_walk *w, const amg_node *node);
/* ReduceSum, too; GlobalAveragePool. */
const char *amg_token_reduce(amg_token_walk *w, const amg_node *node);
const char *amg_token_pool(amg_token_walk *w, const amg_node *node);
/* BatchNormalization and those of instances and groups. */
const char *amg_token_normalise(amg_token_walk *w, const amg_node *node);
const char *amg_token_layer_norm(amg_token_walk *w, const amg_node *node);
const char *amg_token_softmax(amg_token_walk *w, const amg_node *node);
const char *amg_token_gemm(amg_token_walk *w, const amg_node *node);
const char *amg_token_mat_mul(amg_token_walk *w, const amg_node *node);

#endif
