/* Pairing by class (see the header). Consumes labels and rows, produces rows in another
 * order; knows nothing of keys, and nothing of samples. */
#include "obfuscate/cover_classes.h"

#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/samples.h"

#define CHUNK 65536

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory to pair classes");
}

amg_status amg_cover_classes_read(const amg_dataset *ds, const char *name,
                                  int32_t **out, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    const int64_t n = info->num_samples;
    if (info->target_dtype != AMG_I32 || info->target_rank != 0) {
        amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                 "samples of the %s have no class each, expected one to pair covers by",
                 name);
        amg_hint(err, "leave --pair-classes out: it is for classifiers");
        return AMG_MISMATCH;
    }
    int32_t *classes = amg_malloc((size_t)n * sizeof *classes);
    if (!classes) return no_memory(err);
    amg_status st = AMG_OK;
    for (int64_t first = 0; first < n && st == AMG_OK; first += CHUNK) {
        const amg_samples s = {.set = ds, .first = first, .y = classes + first};
        st = amg_samples_read(&s, n - first < CHUNK ? n - first : CHUNK, err);
    }
    for (int64_t i = 0; i < n && st == AMG_OK; i++)
        if (classes[i] < 0 || classes[i] >= info->num_classes)
            st = amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                          "sample %lld of the %s is of class %d, expected 0 to %lld",
                          (long long)i, name, (int)classes[i],
                          (long long)info->num_classes - 1);
    if (st == AMG_OK)
        *out = classes;
    else
        amg_free(classes);
    return st;
}

/* begins [num_classes + 1] of the classes of rows [num]. */
static void count_classes(const int32_t *class_of, int num_classes, const int64_t *rows,
                          int64_t num, int64_t *begins)
{
    memset(begins, 0, ((size_t)num_classes + 1) * sizeof *begins);
    for (int64_t i = 0; i < num; i++) begins[class_of[rows ? rows[i] : i] + 1]++;
    for (int c = 0; c < num_classes; c++) begins[c + 1] += begins[c];
}

amg_status amg_cover_classes_group(const int32_t *class_of, int num_classes,
                                   int64_t *order, int64_t num, int64_t *ends,
                                   amg_error *err)
{
    int64_t *place = amg_malloc(((size_t)num_classes + 1) * sizeof *place);
    int64_t *grouped = amg_malloc((size_t)num * sizeof *grouped);
    if (place && grouped) {
        count_classes(class_of, num_classes, order, num, place);
        memcpy(ends, place + 1, (size_t)num_classes * sizeof *ends);
        for (int64_t i = 0; i < num; i++)
            grouped[place[class_of[order[i]]]++] = order[i];
        memcpy(order, grouped, (size_t)num * sizeof *order);
        sodium_memzero(grouped, (size_t)num * sizeof *grouped);
    }
    const bool done = place && grouped;
    amg_free(place);
    amg_free(grouped);
    return done ? AMG_OK : no_memory(err);
}

amg_status amg_cover_classes_align(const int32_t *class_of, int num_classes,
                                   const int32_t *like, int64_t *rows, int64_t num,
                                   amg_error *err)
{
    int64_t *next = amg_malloc(((size_t)num_classes + 1) * sizeof *next);
    int64_t *ends = amg_malloc((size_t)num_classes * sizeof *ends);
    int64_t *grouped = amg_malloc((size_t)num * sizeof *grouped);
    amg_status st = next && ends && grouped ? AMG_OK : no_memory(err);
    if (st == AMG_OK) {
        memcpy(grouped, rows, (size_t)num * sizeof *rows);
        st = amg_cover_classes_group(class_of, num_classes, grouped, num, ends, err);
    }
    if (st == AMG_OK) {
        count_classes(like, num_classes, NULL, num, next);
        for (int64_t i = 0; i < num; i++) rows[i] = grouped[next[like[i]]++];
    }
    if (grouped) sodium_memzero(grouped, (size_t)num * sizeof *grouped);
    amg_free(next);
    amg_free(ends);
    amg_free(grouped);
    return st;
}
