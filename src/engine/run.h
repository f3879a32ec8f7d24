/* The state of one training run, made by run.c and driven by trainer.c. */
#ifndef AMG_ENGINE_RUN_H
#define AMG_ENGINE_RUN_H

#include "engine/checkpoint.h"
#include "engine/criterion.h"
#include "engine/meter.h"
#include "engine/metrics.h"
#include "engine/profile.h"

typedef struct {
    const amg_train_task *task; /* borrowed */
    amg_train_options options;  /* defaults filled in */
    amg_graph *planned;
    bool *frozen; /* per value of planned; NULL: none */
    int num_heads, num_states;
    int average_state; /* the state in which the moving average is, -1: none */
    int sum_state;     /* the state in which gradients of parts are summed */
    int64_t part;      /* samples of a part: batch / accumulate */
    double weights[AMG_MAX_HEADS]; /* of the parts of this step so far */
    amg_plan *plans[AMG_MAX_HEADS];
    amg_criterion criteria[AMG_MAX_HEADS];
    float *class_weights[AMG_MAX_HEADS]; /* the criteria's */
    amg_class_order orders[AMG_MAX_HEADS];
    amg_params sets[AMG_MAX_HEADS][AMG_NUM_SETS]; /* where plans are stored to; states
                                                     only with an out_dir */
    amg_head_progress progress[AMG_MAX_HEADS];

    int64_t steps_per_epoch, total_steps;
    int64_t last_step; /* stop there: total_steps or max_steps */
    int64_t step, epochs_done;

    amg_batch batch;
    int64_t *sample_order; /* [train samples], of epoch ordered_epoch */
    int64_t ordered_epoch; /* -1: none yet */
    void *targets;         /* of one head's part, in its order of classes */
    void *workspace;       /* shared by all plans */
    size_t workspace_bytes;

    char *checkpoint_path; /* NULL: no out_dir */
    amg_identity identity;
    int64_t saved_step, saved_epochs, saved_ns; /* the last checkpoint */
    amg_metrics metrics;
    amg_meter meter;
    amg_profile profile;
    int64_t begin_ns;
    int64_t timed_ns, timed_step; /* the speed is counted from here */
} amg_run;

/* Checks task and options, plans every head, and with options.resume goes to where the
 * checkpoint is. run: zeroed; amg_run_clear in any case. */
AMG_MUST_CHECK amg_status amg_run_init(amg_run *run, const amg_train_task *task,
                                       const amg_train_options *options,
                                       const amg_progress *progress, amg_error *err);
void amg_run_clear(amg_run *run);

/* Part of amg_run_init: opens what is in the task's out_dir, and with options.resume
 * goes to where its checkpoint is. */
AMG_MUST_CHECK amg_status amg_run_open_out_dir(amg_run *run, amg_error *err);

/* What head h is measured by, and what comes out of it unless the best do: its weights
 * or their moving average, with the running statistics, in its order of classes. *out
 * stays valid until the head's next step. */
AMG_MUST_CHECK amg_status amg_run_take(amg_run *run, int h, const amg_params **out,
                                       amg_error *err);

/* Writes the checkpoint of this moment, unless it is written already or there is no
 * out_dir. */
AMG_MUST_CHECK amg_status amg_run_save(amg_run *run, amg_error *err);

/* Copies the trained parameters into the task's sets: all of them or, on failure, none.
 */
AMG_MUST_CHECK amg_status amg_run_finish(amg_run *run, amg_error *err);

#endif
