/* Evaluation of single nodes on constant tensors, private to graph/: the arithmetic
 * behind constant folding. Small tensors of integers and floats; no kernels. */
#ifndef AMG_GRAPH_EVAL_H
#define AMG_GRAPH_EVAL_H

#include "graph/graph.h"

/* The batch as an element of an I64 tensor while it has no number: Shape makes it,
 * operators that move elements carry it, and it counts: k times it is k times the
 * batch. No real shape comes near it. */
#define AMG_EVAL_BATCH (-((int64_t)1 << 40))

/* k > 0 if v is k times the batch, else 0. */
int64_t amg_eval_batches(int64_t v);
/* Whether an I64 tensor holds a multiple of the batch. */
bool amg_eval_has_batch(const amg_tensor *t);
/* Whether the operator reads its input's shape alone. */
bool amg_eval_reads_shape(amg_op op);
/* Whether everything that node reads is known well enough to compute it, its outputs'
 * shapes too: for most operators, without the batch in it. */
bool amg_eval_ready(const amg_value *values, const amg_node *node);

/* Computes output `which` of node, whose inputs are known (in values[].data), into out:
 * zeroed, of the output's inferred dtype and shape. Shape needs its input's dims only.
 * false: not something that can be computed here. */
bool amg_eval_node(const amg_value *values, const amg_node *node, int which,
                   amg_tensor *out);

#endif
