/* Verification: trains the original alone and inside its job, by the same engine and
 * options, and compares every parameter and buffer bit for bit. */
#ifndef AMG_CLI_VERIFY_H
#define AMG_CLI_VERIFY_H

#include "engine/trainer.h"
#include "key/keyfile.h"

typedef struct {
    int num_tensors, num_different; /* trainables and buffers of the original */
    int64_t num_scalars;            /* in them */
    int64_t bits_different;
    char first_different[256]; /* name of the first tensor that differs */
    int64_t steps;
    int threads;
    bool mixed;      /* the job mixes values: bits are compared with the original mixed
                        alike; from training in its own order parameters are away by */
    bool rotated;    /* … by a rotation */
    double rounding; /* … this much: relative L2 of all together */
    bool key_is_loose; /* others may read the key file */
} amg_verify_result;

/* Both runs start from JOB's initial weights and take options->max_steps steps.
 * "Inside" trains the job folder's graph with all sub-networks, goes through a weights
 * file and the extractor; "alone" trains the original's own graph on the original's own
 * stream of the job's data. Nothing is written but a temporary folder under temp_dir.
 */
AMG_MUST_CHECK amg_status amg_verify(const char *key, const amg_passphrase *pass,
                                     const char *job_dir, const char *temp_dir,
                                     const amg_train_options *options,
                                     const amg_progress *progress,
                                     amg_verify_result *result, amg_error *err);

#endif
