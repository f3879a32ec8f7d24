/* Reading many samples, for whoever walks over a data set: the augmenter, the covers'
 * and the noise's preparation. Knows nothing of keys or plans. */
#include "obfuscate/samples.h"

#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"

#define CHUNK_BYTES ((size_t)64 << 20)
#define SMALL_SAMPLE 1024 /* bytes: as of text, of which more fit the caches */
#define MIN_CHUNK 128     /* two tiles of amg_scatter, for two threads */
#define PART 16 /* samples: enough to be worth a thread, little enough to balance */

static bool reads_ahead(const amg_samples *s)
{
    return s->set && amg_dataset_reads_batches(s->set);
}

amg_status amg_samples_read_ahead(const amg_samples *s, int64_t num, amg_error *err)
{
    if (!reads_ahead(s) || num < 1) return AMG_OK;
    if (s->rows)
        return amg_dataset_read_many(s->set, s->rows + s->first, num, s->x, s->y, err);
    int64_t *counted = amg_malloc((size_t)num * sizeof *counted);
    if (!counted)
        return amg_fail(err, AMG_NO_MEMORY, -1, amg_dataset_source(s->set),
                        "no memory to read %lld samples", (long long)num);
    for (int64_t i = 0; i < num; i++) counted[i] = s->first + i;
    amg_status st = amg_dataset_read_many(s->set, counted, num, s->x, s->y, err);
    amg_free(counted);
    return st;
}

int64_t amg_samples_row(const amg_samples *s, int64_t i)
{
    return s->rows ? s->rows[s->first + i] : s->first + i;
}

amg_status amg_samples_read_part(const amg_samples *s, int64_t begin, int64_t end,
                                 amg_error *err)
{
    amg_status st = AMG_OK;
    if (!s->set || reads_ahead(s)) return AMG_OK;
    const amg_dataset_info *info = amg_dataset_get_info(s->set);
    for (int64_t i = begin; st == AMG_OK && i < end; i++)
        st = amg_dataset_read(
            s->set, amg_samples_row(s, i),
            s->x ? (uint8_t *)s->x + (size_t)i * info->sample_bytes : NULL,
            s->y ? (uint8_t *)s->y + (size_t)i * info->target_bytes : NULL, err);
    return st;
}

typedef struct {
    const amg_samples *samples;
    int64_t num;
} reading;

static amg_status read_item(void *context, int64_t item, amg_error *err)
{
    const reading *r = context;
    const int64_t begin = item * PART, left = r->num - begin;
    return amg_samples_read_part(r->samples, begin, begin + (left < PART ? left : PART),
                                 err);
}

amg_status amg_samples_read(const amg_samples *s, int64_t num, amg_error *err)
{
    reading r = {s, num};
    if (reads_ahead(s)) return amg_samples_read_ahead(s, num, err);
    return amg_parallel_items((num + PART - 1) / PART, read_item, &r, err);
}

int64_t amg_samples_chunk(size_t sample_bytes)
{
    const size_t most = sample_bytes <= SMALL_SAMPLE ? 4096 : 1024;
    size_t n = CHUNK_BYTES / (sample_bytes ? sample_bytes : 1) & ~(size_t)63;
    return n < MIN_CHUNK ? MIN_CHUNK : n > most ? (int64_t)most : (int64_t)n;
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
