/* The options of training, shared by amalgam-train, amalgam train and amalgam verify.
 */
#ifndef AMG_CLI_TRAIN_OPTIONS_H
#define AMG_CLI_TRAIN_OPTIONS_H

#include "cli/options.h"
#include "engine/trainer.h"

/* Plain variables that the option table writes to. */
typedef struct {
    int64_t epochs, batch, accumulate, plateau_patience, early_stop, max_steps, threads,
        seed, warmup, step_epochs, checkpoint_steps;
    double lr, momentum, weight_decay, step_gamma, label_smoothing, clip, beta1, beta2,
        epsilon, alpha, lr_decay, initial_sum, plateau_factor, ema;
    int optimizer, schedule, precision, augment;
    bool nesterov, centered, best, profile, resume, quiet;
} cli_train_args;

/* The first CLI_NUM_STEP_OPTIONS say what a step does, the rest how long to train. */
enum { CLI_NUM_STEP_OPTIONS = 30, CLI_NUM_TRAIN_OPTIONS = 35 };

/* Sets the defaults and fills table with num_rows rows (one of the above) that write to
 * args. */
void cli_train_options(cli_train_args *args, int num_rows, cli_option *table);
/* The engine's options of args. */
amg_train_options cli_train_make(const cli_train_args *args);
/* One row for each head, steps and seconds, on stdout. Accuracies are left out where
 * nothing is classified. */
void cli_train_print(const amg_train_result *result);
/* A line for each of several outputs, on stdout; nothing where there is one. */
void cli_parts_print(const char *before, const amg_head_result *result);

/* Trains a job folder and prints the result: amalgam-train, and amalgam train JOB.
 * Returns the exit code. */
int cli_train_job(const char *job, const cli_train_args *args);

#endif
