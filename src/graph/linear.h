/* Linear layers on sequences, private to graph/: MatMul with a 2-d parameter becomes
 * Gemm, so that the parameter trains under its own name and the engine's MatMul sees
 * activations only. Part of amg_graph_plan_batch. */
#ifndef AMG_GRAPH_LINEAR_H
#define AMG_GRAPH_LINEAR_H

#include "graph/graph.h"

/* MatMul(x, Transpose(W)) and MatMul(x, W), x of rank 3 or more, W a 2-d F32 parameter:
 *
 *   x [N,T,K] → Reshape [-1,K] → Gemm with W itself (transB = 1 in the Transpose form)
 *             → Reshape [-1,T,M]
 *
 * With x of rank 2, the Transpose form becomes Gemm alone. An Add of a vector [M] that
 * is the only reader of the MatMul becomes Gemm's bias, and keeps its output's name. A
 * weight that others read too (an embedding tied to the output layer) stays one
 * parameter. MatMuls of unknown shape stay as they are. Parameters by view: g must
 * outlive *out. *out NULL: there was nothing to rewrite. */
AMG_MUST_CHECK amg_status amg_linear_rewrite(const amg_graph *g, amg_graph **out,
                                             amg_error *err);

/* Whether node is the Transpose of a 2-d F32 parameter. */
bool amg_linear_is_transposed_weight(const amg_value *values, const amg_node *node);

#endif
