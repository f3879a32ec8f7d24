/* Arithmetic on single elements of constant tensors, private to graph/: what eval.c
 * folds with. Half floats are read, but not written. */
#ifndef AMG_GRAPH_EVAL_NUMBER_H
#define AMG_GRAPH_EVAL_NUMBER_H

#include "graph/graph.h"

/* An element: i if it is a whole number or a bool, else f. */
typedef struct {
    bool is_float;
    int64_t i;
    double f;
} amg_number;

/* Element at of t. false: a type that is not read, or a number beyond 63 bits. */
bool amg_number_load(const amg_tensor *t, int64_t at, amg_number *out);
/* The same way back. false also: a number that t's type cannot hold. */
bool amg_number_store(amg_tensor *t, int64_t at, amg_number v);

/* v = node's function of v, rounded once where it is a float's. false: not a function
 * of such numbers, or its result has no such type. */
bool amg_number_unary(const amg_node *node, amg_number *v);
/* Whether amg_number_unary knows the operator. */
bool amg_number_is_unary(amg_op op);
/* *out = a op b, both of the type of a (but Pow's exponent). */
bool amg_number_binary(const amg_node *node, amg_number a, amg_number b,
                       amg_number *out);
bool amg_number_is_binary(amg_op op);

#endif
