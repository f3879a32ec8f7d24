/* amalgam train: a job folder as amalgam-train does, or a plain model on a plain data
 * set, with the same engine and options, so that the two can be compared bit for bit.
 */
#include "base/alloc.h"
#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/train_options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/job.h"

static int train_plain(amg_plain_task *task, const char *normalize,
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
    task->pre = &pre;
    amg_status st = amg_plain_train(task, &options, &progress, &result, &err);
    ui_progress_clear(&bar);
    if (st) return ui_error(&err);
    cli_train_print(&result);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

static int run(int argc, char **argv, cli_list *freeze)
{
    enum { NUM_OWN = 12 };
    cli_train_args args;
    const char *job = NULL, *normalize = NULL;
    amg_plain_task task = {0};
    int kind = 0;
    cli_option table[NUM_OWN + CLI_NUM_TRAIN_OPTIONS] = {
        {"model", CLI_STRING, &task.model, "ONNX",
         "the model, with its initial weights"},
        {"train", CLI_STRING, &task.train, "DATA", "training data"},
        {"val", CLI_STRING, &task.val, "DATA",
         "validation data, measured after each epoch"},
        {"normalize", CLI_STRING, &normalize, "M/S", CLI_NORMALIZE_HELP},
        {"task", CLI_CHOICE, &kind, "TASK", CLI_TASK_HELP, 0, 0, cli_tasks},
        {"seq", CLI_INT, &task.window.seq, "N", CLI_SEQ_HELP, 1, 1 << 20},
        {"stride", CLI_INT, &task.window.stride, "N", CLI_STRIDE_HELP, 1, 1 << 20},
        {"loss", CLI_STRING, &task.loss.loss, "LOSS", CLI_LOSS_HELP},
        {"class-weights", CLI_STRING, &task.loss.class_weights, "W,W,...",
         CLI_CLASS_WEIGHTS_HELP},
        {"freeze", CLI_REPEAT, freeze, "PATTERN", CLI_FREEZE_HELP},
        {"freeze-norm-stats", CLI_FLAG, &task.freeze_norm_stats, NULL,
         CLI_FREEZE_STATS_HELP},
        {"o", CLI_STRING, &task.out_onnx, "ONNX", "the trained model to write"},
    };
    cli_train_options(&args, CLI_NUM_TRAIN_OPTIONS, table + NUM_OWN);
    const cli_command command = {
        .name = "amalgam train",
        .synopsis = "JOB [options]  |  --model ONNX --train DATA [--val DATA] -o ONNX "
                    "[options]",
        .about = "Trains a job folder (as amalgam-train does), or a plain model alone: "
                 "class labels\n"
                 "mean classification, targets of numbers regression (mean squared "
                 "error), running\n"
                 "text a language model (each token's next one).\n\n" CLI_DATA_HELP,
        .examples =
            "  amalgam train --model model.onnx --train mnist/ --val mnist/@test -o "
            "trained.onnx --epochs 3\n"
            "  amalgam train --model lm.onnx --task lm --seq 35 --train "
            "text:wiki.train "
            "-o lm-trained.onnx\n"
            "  amalgam train --model pretrained.onnx --freeze 'features.*' --train "
            "mine/ -o tuned.onnx",
        .options = table,
        .num_options = NUM_OWN + CLI_NUM_TRAIN_OPTIONS,
        .positional = "JOB",
        .positional_optional = true};
    int code = cli_parse(&command, argc, argv, &job);
    if (code != CLI_GO_ON) return code;
    task.task_by_data = !cli_task_find(kind, &task.task);
    const bool plain = task.model || task.train || task.val || task.out_onnx ||
                       normalize || !task.task_by_data || task.window.seq ||
                       task.window.stride || freeze->count || task.freeze_norm_stats ||
                       task.loss.loss || task.loss.class_weights;
    if (job && plain)
        return cli_usage_error(
            &command, NULL,
            "a job ('%s') has its model and data in it: --model, --train, --val, "
            "--normalize, --task, --seq, --stride, --loss, --class-weights, --freeze "
            "and -o are for a plain "
            "model",
            job);
    if (job) return cli_train_job(job, &args);
    if (!task.model || !task.train || !task.out_onnx)
        return cli_usage_error(&command, NULL, "amalgam train: missing %s",
                               !plain ? "a job folder, or --model, --train and -o"
                               : !task.model ? "--model"
                               : !task.train ? "--train"
                                             : "-o");
    if (task.freeze_norm_stats && !freeze->count)
        return cli_usage_error(&command, NULL, "--freeze-norm-stats needs --freeze");
    task.freeze = freeze->items;
    task.num_freeze = freeze->count;
    return train_plain(&task, normalize, &args);
}

int verb_train(int argc, char **argv)
{
    cli_list freeze = {.items = amg_calloc((size_t)argc + 1, sizeof *freeze.items)};
    const int code = freeze.items ? run(argc, argv, &freeze) : CLI_FAILURE;
    amg_free(freeze.items);
    return code;
}
