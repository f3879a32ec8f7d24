/* Values seen in the memory of another: what Reshape, Transpose, Slice, Split and a
 * Gather of one row make of row-major memory is a stride for each dim, so that kernels
 * can read and write through them without a copy. A Reshape may join dims that do not
 * follow each other; a dim is therefore one or more axes, the outermost first. */
#ifndef AMG_ENGINE_STRIDED_H
#define AMG_ENGINE_STRIDED_H

#include "engine/kernel.h"
#include "engine/walk.h"

typedef struct {
    int64_t base;
    int num_axes; /* of all dims, none of size 1 */
    int64_t size[AMG_WALK_RANK], stride[AMG_WALK_RANK];
    int rank;
    int first[AMG_MAX_RANK + 1]; /* dim d has the axes first[d] .. first[d+1]-1 */
} amg_strided;

/* Row-major memory of v's shape. */
void amg_strided_init(const amg_value *v, amg_strided *out);
/* s, the memory of node's input, as memory of its output y. false: node is another
 * operator, or that takes a copy. */
bool amg_strided_apply(amg_plan *p, int node, int y, amg_strided *s);
/* s, the memory of node's output, as memory of its input: Reshape and Transpose, and
 * what is like them. */
bool amg_strided_undo(amg_plan *p, int node, amg_strided *s);
/* A walk over dims first .. last-1. */
void amg_strided_walk(const amg_strided *s, int first, int last, int64_t base,
                      amg_walk *out);

#endif
