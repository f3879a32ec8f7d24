/* What emit_fuse*.c share, private to emit/: reading groups of
 * nodes, and the groups themselves. */
#ifndef AMG_EMIT_EMIT_FUSE_H
#define AMG_EMIT_EMIT_FUSE_H

#include "emit/emit_ops.h"

/* The node that makes a value, if it is this operator; else NULL. */
const amg_node *amg_fuse_maker(const amg_graph *g, int value, amg_op op);
/* Whether a value is this one number, within rounding of float32. */
bool amg_fuse_is_number(const amg_graph *g, int value, double expected);
/* The other input of a node one of whose two inputs is a number; AMG_NO_VALUE if none
 * is. */
int amg_fuse_beside_number(const amg_graph *g, const amg_node *n, double number);
/* Makes s a statement of form over inputs (AMG_EMIT_FUSED_INPUTS at most). */
void amg_fuse_set(amg_emit_step *s, amg_emit_form form, int num_inputs,
                  const int *inputs);

/* A matcher: whether s's node is the last of a group, which s then stands for. */
bool amg_fuse_unit(const amg_graph *g, amg_emit_step *s); /* emit_fuse_unit.c */
bool amg_fuse_attention(const amg_graph *g, amg_emit_step *s);
bool amg_fuse_embedding_bag(const amg_graph *g, amg_emit_step *s);

#endif
