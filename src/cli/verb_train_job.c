/* amalgam-train JOB: what runs on the cloud when PyTorch does not. Knows nothing of the
 * owner's side. */
#include "cli/options.h"
#include "cli/train_options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/job.h"

int cli_train_job(const char *job, const cli_train_args *args)
{
    amg_error err = {0};
    amg_train_result result = {0};
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, args->quiet);
    amg_train_options options = cli_train_make(args);
    amg_status st = amg_job_train(job, &options, &progress, &result, &err);
    ui_progress_clear(&bar);
    if (st) return ui_error(&err);
    cli_train_print(&result);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_train_job(int argc, char **argv)
{
    cli_train_args args;
    cli_option table[CLI_NUM_TRAIN_OPTIONS];
    cli_train_options(&args, CLI_NUM_TRAIN_OPTIONS, table);
    const cli_command command = {
        .name = "amalgam-train",
        .synopsis = "JOB [options]",
        .about = "Trains a job folder: every sub-network, one after the other within "
                 "each step.\n"
                 "Writes JOB/out/weights.safetensors, metrics.jsonl and checkpoints. "
                 "Stopped or\n"
                 "killed, it goes on with --resume and ends with the same bits.",
        .examples =
            "  amalgam-train job/ --epochs 3 --batch 128 --optimizer sgd --lr 0.05 "
            "--momentum 0.9 \\\n"
            "      --weight-decay 5e-4 --schedule cosine --threads 2 --seed 7",
        .options = table,
        .num_options = CLI_NUM_TRAIN_OPTIONS,
        .positional = "JOB"};
    const char *job = NULL;
    int code = cli_parse(&command, argc, argv, &job);
    return code == CLI_GO_ON ? cli_train_job(job, &args) : code;
}
