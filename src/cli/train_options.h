/* The options of training, shared by amalgam-train, amalgam train and amalgam verify.
 */
#ifndef AMG_CLI_TRAIN_OPTIONS_H
#define AMG_CLI_TRAIN_OPTIONS_H

#include "cli/options.h"
#include "engine/trainer.h"

/* Plain variables that the option table writes to. */
typedef struct {
    int64_t epochs, batch, max_steps, threads, seed, warmup, step_epochs,
        checkpoint_steps;
    double lr, momentum, weight_decay, step_gamma, label_smoothing, clip, beta1, beta2,
        epsilon;
    int optimizer, schedule;
    bool nesterov, resume, quiet;
} cli_train_args;

enum { CLI_NUM_TRAIN_OPTIONS = 22 };

/* Sets the defaults and fills table with CLI_NUM_TRAIN_OPTIONS rows that write to args.
 */
void cli_train_options(cli_train_args *args, cli_option *table);
/* The engine's options of args. */
amg_train_options cli_train_make(const cli_train_args *args);
/* "3 epochs in 12.3 s" and the heads' table on stdout. names: per head, NULL: "head 0"
 * …. */
void cli_train_print(const amg_train_result *result);

#endif
