/* amalgam train: a job folder as amalgam-train does, or a plain model on a plain data
 * set, with the same engine and options, so that the two can be compared bit for bit.
 */
#include <string.h>

#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/train_options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/job.h"

static bool has_option(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], name, strlen(name))) return true;
    return false;
}

int verb_train(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] != '-' && !has_option(argc, argv, "--model"))
        return verb_train_job(argc, argv);
    cli_train_args args;
    const char *model = NULL, *train = NULL, *val = NULL, *out = NULL,
               *normalize = NULL;
    cli_option table[CLI_NUM_TRAIN_OPTIONS + 5] = {
        {"model", CLI_STRING, &model, "ONNX", "the model, with its initial weights",
         .required = true},
        {"train", CLI_STRING, &train, "DATA", "training data", .required = true},
        {"val", CLI_STRING, &val, "DATA", "validation data, measured after each epoch"},
        {"normalize", CLI_STRING, &normalize, "M/S", CLI_NORMALIZE_HELP},
        {"o", CLI_STRING, &out, "ONNX", "the trained model", .required = true},
    };
    cli_train_options(&args, table + 5);
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
        .num_options = CLI_NUM_TRAIN_OPTIONS + 5};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;

    amg_error err = {0};
    amg_preprocess pre = {0};
    amg_train_result result = {0};
    if (cli_parse_normalize(normalize, &pre, &err)) return ui_error(&err);
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, args.quiet);
    amg_train_options options = cli_train_make(&args);
    amg_status st = amg_plain_train(model, train, val, &pre, out, &options, &progress,
                                    &result, &err);
    ui_progress_clear(&bar);
    if (st) return ui_error(&err);
    cli_train_print(&result);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
