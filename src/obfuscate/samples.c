/* Parallel reading of samples, for whoever walks over a data set: the augmenter, the
 * covers' and the noise's preparation. Knows nothing of keys or plans. */
#include "obfuscate/samples.h"

#include <stdatomic.h>

#include "base/parallel.h"

#define CHUNK_BYTES ((size_t)64 << 20)
#define MIN_CHUNK 128 /* two tiles of amg_scatter, for two threads */
#define GRAIN 16 /* samples: enough to be worth a thread, little enough to balance */

typedef struct {
    const amg_dataset *ds;
    const int64_t *rows;
    int64_t first;
    uint8_t *x;
    int64_t *labels;
    size_t sample_bytes;
    _Atomic int64_t first_bad;
} reading;

static amg_status read_one(const reading *r, int64_t i, amg_error *err)
{
    return amg_dataset_read(r->ds, r->rows ? r->rows[i] : r->first + i,
                            r->x ? r->x + (size_t)i * r->sample_bytes : NULL,
                            r->labels ? r->labels + i : NULL, err);
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

amg_status amg_samples_read(const amg_dataset *ds, const int64_t *rows, int64_t first,
                            int64_t num, void *x, int64_t *labels, amg_error *err)
{
    reading r = {
        ds, rows, first, x, labels, amg_dataset_get_info(ds)->sample_bytes, INT64_MAX};
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
