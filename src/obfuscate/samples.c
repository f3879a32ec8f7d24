/* Reading many samples, for whoever walks over a data set: the augmenter, the covers'
 * and the noise's preparation. Knows nothing of keys or plans. */
#include "obfuscate/samples.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"

#define CHUNK_BYTES ((size_t)64 << 20)
#define MIN_CHUNK 128 /* two tiles of amg_scatter, for two threads */
#define GRAIN 16 /* samples: enough to be worth a thread, little enough to balance */

typedef struct {
    const amg_dataset *ds;
    const int64_t *rows;
    int64_t first;
    uint8_t *x, *y;
    size_t sample_bytes, target_bytes;
    _Atomic int64_t first_bad;
} reading;

static amg_status read_one(const reading *r, int64_t i, amg_error *err)
{
    return amg_dataset_read(r->ds, r->rows ? r->rows[i] : r->first + i,
                            r->x ? r->x + (size_t)i * r->sample_bytes : NULL,
                            r->y ? r->y + (size_t)i * r->target_bytes : NULL, err);
}

static void read_range(void *context, int64_t begin, int64_t end)
{
    reading *r = context;
    for (int64_t i = begin; i < end; i++) {
        if (read_one(r, i, NULL) == AMG_OK) continue;
        int64_t seen = atomic_load(&r->first_bad);
        while (i < seen && !atomic_compare_exchange_weak(&r->first_bad, &seen, i)) {
        }
        return;
    }
}

/* One call for all of them. */
static amg_status read_batch(const amg_dataset *ds, const int64_t *rows, int64_t first,
                             int64_t num, void *x, void *y, amg_error *err)
{
    if (rows || num < 1) return amg_dataset_read_many(ds, rows, num, x, y, err);
    int64_t *counted = amg_malloc((size_t)num * sizeof *counted);
    if (!counted)
        return amg_fail(err, AMG_NO_MEMORY, -1, amg_dataset_source(ds),
                        "no memory to read %lld samples", (long long)num);
    for (int64_t i = 0; i < num; i++) counted[i] = first + i;
    amg_status st = amg_dataset_read_many(ds, counted, num, x, y, err);
    amg_free(counted);
    return st;
}

amg_status amg_samples_read(const amg_dataset *ds, const int64_t *rows, int64_t first,
                            int64_t num, void *x, void *y, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    reading r = {ds,       rows, first, x, y, info->sample_bytes, info->target_bytes,
                 INT64_MAX};
    if (amg_dataset_reads_batches(ds))
        return read_batch(ds, rows, first, num, x, y, err);
    amg_parallel_for(num, GRAIN, read_range, &r);
    int64_t bad = atomic_load(&r.first_bad);
    /* Read again for the error's text. A sample that can be read now (a network drive
     * that came back) is there, but those after it in its range are not: read them. */
    while (bad < num) {
        amg_status st = read_one(&r, bad, err);
        if (st != AMG_OK) return st;
        bad++;
    }
    return AMG_OK;
}

int64_t amg_samples_chunk(size_t sample_bytes)
{
    size_t n = CHUNK_BYTES / (sample_bytes ? sample_bytes : 1) & ~(size_t)63;
    return n < MIN_CHUNK ? MIN_CHUNK : n > 1024 ? 1024 : (int64_t)n;
}

void amg_samples_dims(const amg_dataset_info *info, int64_t dims[3])
{
    if (info->rank == 3) {
        memcpy(dims, info->dims, 3 * sizeof *dims);
        return;
    }
    dims[0] = 1;
    dims[1] = info->dims[0];
    dims[2] = 1;
    for (int i = 1; i < info->rank; i++) dims[2] *= info->dims[i];
}
