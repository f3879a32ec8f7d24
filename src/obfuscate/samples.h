/* Reads many samples of a data set at once. */
#ifndef AMG_OBFUSCATE_SAMPLES_H
#define AMG_OBFUSCATE_SAMPLES_H

#include "formats/dataset.h"

/* Samples to be read: sample i is row rows[first + i] of the set, or first + i where
 * rows is NULL, and goes to x [i][sample_bytes] and y [i][target_bytes]; either may be
 * NULL. */
typedef struct {
    const amg_dataset *set; /* NULL: none, there is nothing to read */
    const int64_t *rows;
    int64_t first;
    void *x, *y;
} amg_samples;

/* Row of the set that sample i is. */
int64_t amg_samples_row(const amg_samples *s, int64_t i);

/* Reads samples 0 .. num-1, in parallel where the set does not read many by one call.
 * The error is that of the first sample that cannot be read, however the work was
 * split. */
AMG_MUST_CHECK amg_status amg_samples_read(const amg_samples *s, int64_t num,
                                           amg_error *err);

/* The same in two steps, for callers that do more with a sample than read it. On the
 * calling thread first: all samples, of sets that read many by one call. Then on any
 * threads: samples begin .. end-1, of all other sets. */
AMG_MUST_CHECK amg_status amg_samples_read_ahead(const amg_samples *s, int64_t num,
                                                 amg_error *err);
AMG_MUST_CHECK amg_status amg_samples_read_part(const amg_samples *s, int64_t begin,
                                                int64_t end, amg_error *err);

/* A sample as the plan sees it: an image [C,H,W] as it is, any other shape as
 * [1, d0, product of the rest]. */
void amg_samples_dims(const amg_dataset_info *info, int64_t dims[3]);

/* How many samples of this size to handle at once: up to 1024 (4096 of less than a
 * KiB), about 64 MiB, at least 128, always a multiple of 64 (a tile of amg_scatter). */
int64_t amg_samples_chunk(size_t sample_bytes);

#endif
