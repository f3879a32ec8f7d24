/* Which elements an index tensor names, for GatherElements, GatherND, ScatterElements
 * and ScatterND: shared by graph/ and engine/.
 *
 *     elements   one element per entry: the entry's own place, but for the axis
 *     ND         one slice per last row of k entries, behind batch_dims shared dims */
#ifndef AMG_GRAPH_INDEX_OFFSETS_H
#define AMG_GRAPH_INDEX_OFFSETS_H

#include "graph/graph.h"

typedef struct {
    bool elements;
    int rank, index_rank;                             /* of the data and the index */
    int axis;                                         /* elements */
    int batch_dims, k;                                /* ND */
    int64_t dims[AMG_MAX_RANK], stride[AMG_MAX_RANK]; /* of the data */
    int64_t index_dims[AMG_MAX_RANK];
    int64_t count, inner; /* elements or slices named; elements of each */
} amg_index;

void amg_index_init(amg_index *x, const amg_node *node, int rank, const int64_t *dims,
                    int index_rank, const int64_t *index_dims);
/* Offsets of all, in elements of the data. false: *wrong, an entry, is out of range. */
bool amg_index_offsets(const amg_index *x, const void *index, amg_dtype dtype,
                       int64_t *offsets, int64_t *wrong);

#endif
