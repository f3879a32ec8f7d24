/* Rotated data: the samples of a data set as a job with rotated values has them. */
#ifndef AMG_OBFUSCATE_ROTATED_DATA_H
#define AMG_OBFUSCATE_ROTATED_DATA_H

#include "formats/dataset.h"
#include "graph/rewrite.h"
#include "obfuscate/rotation.h"

/* How samples become numbers and are turned. */
typedef struct {
    const amg_rotation *rotation; /* borrowed */
    amg_preprocess pre;           /* one channel for all, or one for each of dims[0] */
    int64_t dims[3], block[2];    /* as the plan sees a sample */
} amg_rotated_data;

/* set's samples, scaled and normalised as pre says, then each block multiplied by the
 * rotation: F32 of the same dims, with set's targets and rows. set and how are borrowed
 * until it is closed. */
AMG_MUST_CHECK amg_status amg_rotated_data_open(const amg_dataset *set,
                                                const amg_rotated_data *how,
                                                amg_dataset **out, amg_error *err);

#endif
