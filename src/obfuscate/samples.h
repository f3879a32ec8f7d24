/* Reads many samples of a data set at once. */
#ifndef AMG_OBFUSCATE_SAMPLES_H
#define AMG_OBFUSCATE_SAMPLES_H

#include "formats/dataset.h"

/* Reads num samples: rows[0..num-1], or first .. first+num-1 if rows is NULL, into x
 * [num][sample_bytes] and y [num][target_bytes]; either may be NULL. In parallel, where
 * the data set does not read many by one call. On failure the error is that of the
 * first sample that cannot be read, however the work was split. */
AMG_MUST_CHECK amg_status amg_samples_read(const amg_dataset *ds, const int64_t *rows,
                                           int64_t first, int64_t num, void *x, void *y,
                                           amg_error *err);

/* A sample as the plan sees it: an image [C,H,W] as it is, any other shape as
 * [1, d0, product of the rest]. */
void amg_samples_dims(const amg_dataset_info *info, int64_t dims[3]);

/* How many samples of this size to handle at once: up to 1024, about 64 MiB, at least
 * 128, always a multiple of 64 (a tile of amg_scatter). */
int64_t amg_samples_chunk(size_t sample_bytes);

#endif
