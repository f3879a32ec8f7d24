/* Checkpoints: everything a training run needs to go on with the same bits, in ONE
 * safetensors file, so that one rename makes it the new one.
 *
 *     meta      i64[4 + AMG_ID_COUNT]   version, step, epochs done, heads; identity
 *     progress  f64[heads, 24]          running sums, last results, and what
 *                                       judge.h knows
 *     p<h>.<name>                       parameters and buffers of head h
 *     s<h>.<i>.<name>                   optimizer state i of each trainable of head h
 *     e<h>.<name>                       moving average of each trainable, if there is
 * one b<h>.<name>                       best parameters and buffers, if they are kept
 *
 * Parameters and states stand in the task's own order of classes and tokens. Metadata:
 * "steps", and "job" where a job is trained, as in trained weights. */
#ifndef AMG_ENGINE_CHECKPOINT_H
#define AMG_ENGINE_CHECKPOINT_H

#include "engine/identity.h"

#define AMG_CHECKPOINT_VERSION 4
#define AMG_CHECKPOINT_FILE "checkpoint.safetensors"

/* Losses (each times what it is the mean over), hits, and what they were counted over.
 */
typedef struct {
    double loss, hits, counted;
} amg_head_sums;

/* Sums over steps of this epoch, and over steps since the last metrics line; then the
 * last complete epoch's results. Doubles only: the file stores the struct as a row. */
typedef struct {
    amg_head_sums epoch, window;
    amg_head_result last;
    amg_plateau plateau;
    amg_head_result best; /* of the epoch with the lowest validation loss */
    double best_steps;    /* steps done by then; 0: no epoch yet */
    double bad_epochs;    /* since then */
    double stopped_steps; /* steps done when it was left as it is; 0: it trains */
} amg_head_progress;

/* The sets of a head; those not in use are empty. */
enum {
    AMG_SET_PARAMS,
    AMG_SET_STATES, /* the optimizer's, up to three */
    AMG_SET_AVERAGE = AMG_SET_STATES + 3,
    AMG_SET_BEST,
    AMG_NUM_SETS
};

typedef struct {
    int64_t step;        /* steps done */
    int64_t batches;     /* that batch norms saw. Written only */
    int64_t epochs_done; /* epochs whose end (validation, metrics) is done too */
    amg_identity identity;
    const char
        *job; /* SHA-256 of the job's job.json; NULL: a plain model. Written only */
    int num_heads;
    amg_head_progress *progress;      /* [num_heads] */
    amg_params (*sets)[AMG_NUM_SETS]; /* [num_heads] */
} amg_checkpoint;

/* Writes beside and renames. AMG_NOT_FINITE, and nothing is written, if a parameter is
 * no number: a good checkpoint is never replaced by a broken one. */
AMG_MUST_CHECK amg_status amg_checkpoint_write(const char *path,
                                               const amg_checkpoint *c, amg_error *err);
/* Reads into c, whose identity, heads and sets say what is expected; AMG_MISMATCH names
 * what differs, AMG_NOT_FOUND: no such file. On failure c's contents are undefined. */
AMG_MUST_CHECK amg_status amg_checkpoint_read(const char *path, amg_checkpoint *c,
                                              amg_error *err);

#endif
