/* What the search for attention knows, private to attention_match.c and
 * attention_scores.c. */
#ifndef AMG_ENGINE_ATTENTION_MATCH_H
#define AMG_ENGINE_ATTENTION_MATCH_H

#include "engine/attention.h"
#include "engine/strided.h"

#define AMG_MAX_CHAIN 16

/* value[0] is the operand, value[i] what node[i] makes of value[i+1]; the last one is
 * the root. */
typedef struct {
    int length;
    int node[AMG_MAX_CHAIN], value[AMG_MAX_CHAIN + 1];
    bool is_view[AMG_MAX_CHAIN];
    float scale[AMG_MAX_CHAIN]; /* 1 of a view */
} amg_attention_chain;

/* A Where with a number on one side: what it takes where its condition is `kept`. */
typedef struct {
    int condition; /* AMG_NO_VALUE: there is none */
    bool kept;
    float instead;
} amg_attention_choice;

typedef struct {
    amg_plan *p;
    int owner, scores; /* the MatMul nodes */
    float scale;
    int mask;
    amg_attention_choice seen;
    bool hides;                                    /* weights, too */
    bool masked_first;                             /* the choice is of masked scores */
    int dropout;                                   /* node, -1: none */
    int num_inside, inside[6 + 2 * AMG_MAX_CHAIN]; /* nodes other than the chains' */
    int last;                     /* of the views that follow, -1: none */
    amg_attention_chain chain[3]; /* Q, K, V */
} amg_attention_match;

/* The node that makes value, unless another computes it too; -1: there is none. */
int amg_attention_maker(const amg_plan *p, int value);
/* What a Mul or Div by a number multiplies, and by how much; else AMG_NO_VALUE. */
int amg_attention_scaled(const amg_plan *p, int node, float *by);

/* Whether value is weights: softmax of scores, a MatMul's. Takes in all that stands
 * between the two MatMuls. attention_scores.c */
bool amg_attention_take_weights(amg_attention_match *m, int value);

#endif
