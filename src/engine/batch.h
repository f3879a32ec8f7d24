/* One batch, gathered from a source in parallel into one buffer that every head
 * reads. */
#ifndef AMG_ENGINE_BATCH_H
#define AMG_ENGINE_BATCH_H

#include "engine/source.h"
#include "graph/graph.h"

typedef struct {
    const amg_source *source; /* borrowed */
    int64_t size;             /* samples */
    uint8_t *x;               /* [size, sample_bytes] */
    size_t x_bytes;
    uint8_t *targets;    /* [size, num_columns, target_count] of 4 bytes each */
    size_t target_bytes; /* of one sample */
} amg_batch;

/* Checks that g can be fed from source: one input, of the source's dtype and shape. */
AMG_MUST_CHECK amg_status amg_batch_check(const amg_graph *g, const amg_source *source,
                                          amg_error *err);

AMG_MUST_CHECK amg_status amg_batch_new(const amg_source *source, int64_t size,
                                        amg_batch *out, amg_error *err);
void amg_batch_clear(amg_batch *b);

/* Reads count <= size samples: rows[0 .. count-1], or first .. first+count-1 where rows
 * is NULL. The rest of the batch becomes zeros. Allocates nothing. If several samples
 * fail, err is that of the first. */
AMG_MUST_CHECK amg_status amg_batch_read(amg_batch *b, const int64_t *rows,
                                         int64_t first, int64_t count, amg_error *err);

#endif
