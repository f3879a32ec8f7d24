/* Evaluation of single nodes on constant tensors, private to graph/: the arithmetic
 * behind constant folding. Small tensors of integers and floats; no kernels. */
#ifndef AMG_GRAPH_EVAL_H
#define AMG_GRAPH_EVAL_H

#include "graph/graph.h"

/* The batch dimension as an element of an I64 tensor while it has no number: Shape
 * makes it and operators that only move elements carry it. */
#define AMG_EVAL_BATCH INT64_MIN

/* Whether node may be evaluated with AMG_EVAL_BATCH among the elements of input i. */
bool amg_eval_carries_batch(const amg_node *node, int i);
/* Whether an I64 tensor holds AMG_EVAL_BATCH. */
bool amg_eval_has_batch(const amg_tensor *t);

/* Computes node, whose inputs are known (in values[].data), into out: zeroed, of the
 * output's inferred dtype and shape. Shape needs its input's dims only. false: not
 * something that can be computed here. */
bool amg_eval_node(const amg_value *values, const amg_node *node, amg_tensor *out);

#endif
