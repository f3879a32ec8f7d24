/* Gathers batches from a source, in parallel. Knows samples and targets, not heads. */
#include "engine/batch.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/parallel.h"

amg_status amg_batch_check(const amg_graph *g, const amg_source *source, amg_error *err)
{
    char found[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    if (g->num_inputs != 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, "model", "%d data inputs, expected 1",
                        g->num_inputs);
    const amg_value *in = &g->values[g->inputs[0]];
    amg_dataset_info samples = {.rank = source->rank};
    memcpy(samples.dims, source->dims, sizeof samples.dims);
    if (in->dtype != source->dtype || in->rank < 1 ||
        !amg_dataset_shape_fits(&samples, in->rank - 1, in->dims + 1))
        return amg_fail(
            err, AMG_MISMATCH, -1, in->name, "samples are %s, the model takes %s",
            amg_shape_text(source->dtype, source->rank, source->dims, found),
            amg_shape_text(in->dtype, in->rank - (in->rank > 0),
                           in->dims + (in->rank > 0), want));
    return AMG_OK;
}

amg_status amg_batch_new(const amg_source *source, int64_t size, amg_batch *out,
                         amg_error *err)
{
    amg_batch b = {.source = source, .size = size};
    size_t column, all;
    if (!amg_mul_size((size_t)source->target_count, sizeof(int32_t), &column) ||
        !amg_mul_size((size_t)source->num_columns, column, &b.target_bytes) ||
        !amg_mul_size((size_t)size, b.target_bytes, &all) ||
        !amg_mul_size((size_t)size, source->sample_bytes, &b.x_bytes))
        return amg_fail(err, AMG_OVERFLOW, -1, "batch", "%lld samples of %zu bytes",
                        (long long)size, source->sample_bytes);
    b.x = amg_alloc_aligned(b.x_bytes);
    b.targets = all ? amg_malloc(all) : NULL;
    if (!b.x || (all && !b.targets)) {
        amg_batch_clear(&b);
        return amg_fail(err, AMG_NO_MEMORY, -1, "batch", "%lld samples of %zu bytes",
                        (long long)size, source->sample_bytes);
    }
    *out = b;
    return AMG_OK;
}

void amg_batch_clear(amg_batch *b)
{
    amg_free_aligned(b->x);
    amg_free(b->targets);
    memset(b, 0, sizeof *b);
}

typedef struct {
    amg_batch *batch;
    const int64_t *rows;
    int64_t first;
    pthread_mutex_t lock; /* of the three below */
    int64_t failed;       /* place of the first sample that failed */
    amg_status status;
    amg_error *err;
} gather;

static void gather_range(void *context, int64_t begin, int64_t end)
{
    gather *g = context;
    amg_batch *b = g->batch;
    amg_error err = {0};
    for (int64_t i = begin; i < end; i++) {
        const int64_t row = g->rows ? g->rows[i] : g->first + i;
        const amg_status status = b->source->read(
            b->source, row, b->x + (size_t)i * b->source->sample_bytes,
            b->targets ? b->targets + (size_t)i * b->target_bytes : NULL, &err);
        if (!status) continue;
        pthread_mutex_lock(&g->lock);
        if (!g->status || i < g->failed) {
            g->failed = i;
            g->status = status;
            if (g->err) *g->err = err;
        }
        pthread_mutex_unlock(&g->lock);
        return;
    }
}

amg_status amg_batch_read(amg_batch *b, const int64_t *rows, int64_t first,
                          int64_t count, amg_error *err)
{
    gather g = {.batch = b,
                .rows = rows,
                .first = first,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .err = err};
    const size_t filled = (size_t)count * b->source->sample_bytes;
    amg_parallel_for(count, 8, gather_range, &g);
    memset(b->x + filled, 0, b->x_bytes - filled);
    return g.status;
}
