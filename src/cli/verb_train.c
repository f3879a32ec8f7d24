/* amalgam train: a job folder as amalgam-train does, or a plain model on a plain data
 * set, with the same engine and options, so that the two can be compared bit for bit.
 */
#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/train_options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/job.h"

static int train_plain(const char *model, const char *train, const char *val,
                       const char *normalize, const char *out,
                       const cli_train_args *args)
{
    amg_error err = {0};
    amg_preprocess pre = {0};
    amg_train_result result = {0};
    if (cli_parse_normalize(normalize, &pre, &err)) {
        ui_error(&err);
        return CLI_USAGE;
    }
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, args->quiet);
    amg_train_options options = cli_train_make(args);
    amg_status st = amg_plain_train(model, train, val, &pre, out, &options, &progress,
                                    &result, &err);
    ui_progress_clear(&bar);
    if (st) return ui_error(&err);
    cli_train_print(&result);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_train(int argc, char **argv)
{
    enum { NUM_OWN = 5 };
    cli_train_args args;
    const char *job = NULL, *model = NULL, *train = NULL, *val = NULL, *out = NULL,
               *normalize = NULL;
    cli_option table[NUM_OWN + CLI_NUM_TRAIN_OPTIONS] = {
        {"model", CLI_STRING, &model, "ONNX", "the model, with its initial weights"},
        {"train", CLI_STRING, &train, "DATA", "training data"},
        {"val", CLI_STRING, &val, "DATA", "validation data, measured after each epoch"},
        {"normalize", CLI_STRING, &normalize, "M/S", CLI_NORMALIZE_HELP},
        {"o", CLI_STRING, &out, "ONNX", "the trained model to write"},
    };
    cli_train_options(&args, CLI_NUM_TRAIN_OPTIONS, table + NUM_OWN);
    const cli_command command = {
        .name = "amalgam train",
        .synopsis = "JOB [options]  |  --model ONNX --train DATA [--val DATA] -o ONNX "
                    "[options]",
        .about = "Trains a job folder (as amalgam-train does), or a plain model "
                 "alone.\n\n" CLI_DATA_HELP,
        .examples =
            "  amalgam train --model model.onnx --train mnist/ --val mnist/@test -o "
            "trained.onnx --epochs 3",
        .options = table,
        .num_options = NUM_OWN + CLI_NUM_TRAIN_OPTIONS,
        .positional = "JOB",
        .positional_optional = true};
    int code = cli_parse(&command, argc, argv, &job);
    if (code != CLI_GO_ON) return code;
    const bool plain = model || train || val || out || normalize;
    if (job && plain)
        return cli_usage_error(
            &command, NULL,
            "a job ('%s') has its model and data in it: --model, --train, --val, "
            "--normalize and -o are for a plain model",
            job);
    if (job) return cli_train_job(job, &args);
    if (!model || !train || !out)
        return cli_usage_error(&command, NULL, "amalgam train: missing %s",
                               !plain   ? "a job folder, or --model, --train and -o"
                               : !model ? "--model"
                               : !train ? "--train"
                                        : "-o");
    return train_plain(model, train, val, normalize, out, &args);
}
