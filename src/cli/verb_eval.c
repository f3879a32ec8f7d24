/* amalgam eval: loss of a model on a data set, top-1 and top-5 of a classifier,
 * perplexity and accuracy of a language model. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/parallel.h"
#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/train_options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/job.h"
#include "graph/onnx_graph.h"

/* What is measured. */
typedef struct {
    const char *model, *data;
    amg_preprocess pre;
    amg_task task;
    bool task_by_data;
    amg_loss_options loss;
    amg_window window;
    int64_t batch;
} measure;

/* The model behind its preprocessing, run over every sample of the data. */
static amg_status evaluate(measure *m, const amg_progress *progress,
                           amg_head_result *result, int64_t *num_samples,
                           amg_error *err)
{
    amg_graph *file = NULL, *own = NULL, *g = NULL;
    amg_source source = {0};
    amg_params params = {0};
    amg_objective objective = {0};
    amg_status st = amg_graph_read_model(m->model, &file, err);
    if (!st) st = amg_graph_plan_batch(file, AMG_DIM_BATCH, &own, err);
    if (!st)
        st = amg_plain_open(own, m->data, &m->window, m->task_by_data, &m->task,
                            &source, err);
    if (!st) {
        m->pre.data_dtype = source.dtype;
        m->pre.windows = m->task == AMG_TASK_LANGUAGE_MODEL;
        *num_samples = source.num_samples;
        st = amg_graph_with_preprocess(own, &m->pre, &g, err);
    }
    if (!st)
        st = amg_plain_objective(g, own, m->task, &m->loss, &source, &objective, err);
    if (!st) st = amg_params_new(g, 0, &params, err);
    if (!st)
        st = amg_evaluate(g, 0, &params, &source, &objective, m->batch, progress,
                          result, err);
    amg_params_clear(&params);
    amg_source_close(&source);
    amg_graph_free(g);
    amg_graph_free(own);
    amg_graph_free(file);
    return st;
}

/* A language model's loss is over tokens; a perplexity beyond double is infinite. */
static bool counts_tokens(const measure *m)
{
    return m->task == AMG_TASK_LANGUAGE_MODEL;
}

static json_t *parts_json(const amg_head_result *r)
{
    json_t *list = json_array();
    for (int i = 0; i < (int)r->num_parts; i++) {
        const double accuracy = r->parts[i].val_accuracy;
        json_array_append_new(
            list, json_pack("{s:f, s:o*}", "loss", r->parts[i].val_loss, "accuracy",
                            isnan(accuracy) ? NULL : json_real(accuracy)));
    }
    return list;
}

static void print_json(const measure *m, const amg_head_result *r, int64_t num_samples)
{
    json_t *o = json_pack("{s:I, s:f}", "samples", (json_int_t)num_samples, "loss",
                          r->val_loss);
    if (counts_tokens(m)) {
        const double perplexity = exp(r->val_loss);
        json_object_set_new(o, "tokens", json_integer(r->val_counted));
        json_object_set_new(o, "perplexity",
                            isfinite(perplexity) ? json_real(perplexity) : json_null());
    }
    if (!isnan(r->val_top1)) {
        const bool labels = isnan(r->val_top5);
        json_object_set_new(o, labels ? "accuracy" : "top1", json_real(r->val_top1));
        if (!labels) json_object_set_new(o, "top5", json_real(r->val_top5));
    }
    if (r->num_parts > 0) json_object_set_new(o, "outputs", parts_json(r));
    json_dumpf(o, stdout, JSON_INDENT(2));
    json_decref(o);
    printf("\n");
}

static void print_text(const measure *m, const amg_head_result *r, int64_t num_samples)
{
    char tokens[32];
    const int64_t counted = (int64_t)r->val_counted;
    if (counts_tokens(m))
        printf("%lld window%s, %s token%s to predict: loss %.6f, perplexity %.2f",
               (long long)num_samples, amg_plural(num_samples),
               ui_count(counted, tokens), amg_plural(counted), r->val_loss,
               exp(r->val_loss));
    else
        printf("%lld sample%s: loss %.6f", (long long)num_samples,
               amg_plural(num_samples), r->val_loss);
    if (!isnan(r->val_top1) && isnan(r->val_top5))
        printf(", %.2f %% of the labels right", 100 * r->val_top1);
    else if (!isnan(r->val_top1))
        printf(", top-1 %.2f %%, top-5 %.2f %%", 100 * r->val_top1, 100 * r->val_top5);
    printf("\n");
    cli_parts_print("", r);
}

int verb_eval(int argc, char **argv)
{
    const char *normalize = NULL;
    measure m = {.batch = AMG_DEFAULT_BATCH};
    int64_t threads = 0;
    int kind = 0;
    bool json = false;
    const cli_option table[] = {
        {"model", CLI_STRING, &m.model, "ONNX", "the model", .required = true},
        {"data", CLI_STRING, &m.data, "DATA", "samples and their targets",
         .required = true},
        {"normalize", CLI_STRING, &normalize, "M/S", CLI_NORMALIZE_HELP},
        {"task", CLI_CHOICE, &kind, "TASK", CLI_TASK_HELP, 0, 0, cli_tasks},
        {"loss", CLI_STRING, &m.loss.loss, "LOSS", CLI_LOSS_HELP},
        {"seq", CLI_INT, &m.window.seq, "N", CLI_SEQ_HELP, 1, 1 << 20},
        {"stride", CLI_INT, &m.window.stride, "N", CLI_STRIDE_HELP, 1, 1 << 20},
        {"batch", CLI_INT, &m.batch, "N", "samples at a time (128)", 1, 1 << 20},
        {"threads", CLI_INT, &threads, "N", "CPU threads (all cores)", 1, 1024},
        {"json", CLI_FLAG, &json, NULL, "one JSON object on stdout"},
    };
    const cli_command command = {
        .name = "amalgam eval",
        .synopsis = "--model ONNX --data DATA [--json]",
        .about =
            "Measures a model: mean cross entropy, top-1 and top-5 accuracy of a "
            "classifier;\n"
            "perplexity, exp(loss), and how often a language model's most likely "
            "token is the\n"
            "next one; mean squared error where the targets are numbers; of several "
            "outputs\n"
            "each one's loss, and accuracy where there are classes or "
            "labels.\n\n" CLI_DATA_HELP,
        .examples =
            "  amalgam eval --model trained.onnx --data mnist/@test\n"
            "  amalgam eval --model lm-trained.onnx --task lm --data text:wiki.valid",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;

    amg_error err = {0};
    amg_head_result r = {0};
    int64_t n = 0;
    m.task_by_data = !cli_task_find(kind, &m.task);
    if (cli_parse_normalize(normalize, &m.pre, &err)) {
        ui_error(&err);
        return CLI_USAGE;
    }
    amg_set_threads((int)threads);
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, json);
    amg_status st = evaluate(&m, &progress, &r, &n, &err);
    ui_progress_clear(&bar);
    if (!st && !isfinite(r.val_loss))
        st = amg_fail(&err, AMG_NOT_FINITE, -1, m.model,
                      "its loss is no number: it holds or makes NaN or infinity");
    if (st) return ui_error(&err);
    if (json)
        print_json(&m, &r, n);
    else
        print_text(&m, &r, n);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
