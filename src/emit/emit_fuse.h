/* What emit_fuse*.c share, private to emit/: reading groups of
 * nodes, and the groups themselves. */
#ifndef AMG_EMIT_EMIT_FUSE_H
#define AMG_EMIT_EMIT_FUSE_H

#include "emit/emit_ops.h"

/* Makes s a statement of form over inputs (AMG_EMIT_FUSED_INPUTS at most). */
void amg_fuse_set(amg_emit_step *s, amg_emit_form form, int num_inputs,
                  const int *inputs);

/* A matcher: whether s's node is the last of a group, which s then stands for. */
bool amg_fuse_unit(const amg_graph *g, amg_emit_step *s); /* emit_fuse_unit.c */
bool amg_fuse_attention(const amg_graph *g, amg_emit_step *s);
bool amg_fuse_embedding_bag(const amg_graph *g, amg_emit_step *s);

#endif
