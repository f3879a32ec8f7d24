/* What kernel_index.c and kernel_scatter.c share: a node that takes or puts elements by
 * an index. */
#ifndef AMG_ENGINE_KERNEL_INDEX_H
#define AMG_ENGINE_KERNEL_INDEX_H

#include "engine/kernel.h"
#include "graph/index_offsets.h"

typedef enum {
    AMG_SCATTER_REPLACE,
    AMG_SCATTER_ADD,
    AMG_SCATTER_MUL,
    AMG_SCATTER_MAX,
    AMG_SCATTER_MIN
} amg_scatter_kind;

typedef struct {
    amg_index index;
    const void *constant; /* NULL: the index is a buffer, the last one */
    amg_dtype dtype;      /* of the index */
    size_t size;          /* of an element of the data */
    int64_t total;        /* elements of the data */
    amg_scatter_kind how;
    int offsets;       /* buffer */
    const char *where; /* node "NAME" (Op) */
} amg_indexing;

amg_scatter_kind amg_scatter_how(const amg_node *node);

/* y[at i] = y[at i] * update[i], or the larger or smaller of both. */
void amg_scatter_combine(const amg_indexing *s, float *y, const float *updates,
                         const int64_t *at);
/* Emits the gradients of such a scatter. */
void amg_scatter_reduced_backward(amg_plan *p, int node, const amg_indexing *s);

#endif
