/* amalgam eval: loss, top-1 and top-5 of a model on a data set. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/parallel.h"
#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/trainer.h"
#include "graph/onnx_graph.h"

/* The model behind its preprocessing, run over every sample of data. */
static amg_status evaluate(const char *model, const char *data, amg_preprocess *pre,
                           int64_t batch, const amg_progress *progress,
                           amg_head_result *result, int64_t *num_samples,
                           amg_error *err)
{
    amg_graph *own = NULL, *g = NULL;
    amg_source source = {0};
    amg_params params = {0};
    amg_status st = amg_graph_read_onnx(model, &own, err);
    if (!st) {
        const amg_value *logits = &own->values[own->outputs[0]];
        st =
            amg_source_open_dataset(data, logits->dims[logits->rank - 1], &source, err);
    }
    if (!st) {
        pre->data_dtype = source.dtype;
        *num_samples = source.num_samples;
        st = amg_graph_with_preprocess(own, pre, &g, err);
    }
    if (!st) st = amg_params_new(g, 0, &params, err);
    if (!st) st = amg_evaluate(g, 0, &params, &source, 0, batch, progress, result, err);
    amg_params_clear(&params);
    amg_source_close(&source);
    amg_graph_free(g);
    amg_graph_free(own);
    return st;
}

int verb_eval(int argc, char **argv)
{
    const char *model = NULL, *data = NULL, *normalize = NULL;
    int64_t batch = AMG_DEFAULT_BATCH, threads = 0;
    bool json = false;
    const cli_option table[] = {
        {"model", CLI_STRING, &model, "ONNX", "the model", .required = true},
        {"data", CLI_STRING, &data, "DATA", "labelled samples", .required = true},
        {"normalize", CLI_STRING, &normalize, "M/S", CLI_NORMALIZE_HELP},
        {"batch", CLI_INT, &batch, "N", "samples at a time (128)", 1, 1 << 20},
        {"threads", CLI_INT, &threads, "N", "CPU threads (all cores)", 1, 1024},
        {"json", CLI_FLAG, &json, NULL, "one JSON object on stdout"},
    };
    const cli_command command = {
        .name = "amalgam eval",
        .synopsis = "--model ONNX --data DATA [--json]",
        .about = "Measures a model: mean cross entropy, top-1 and top-5 "
                 "accuracy.\n\n" CLI_DATA_HELP,
        .examples = "  amalgam eval --model trained.onnx --data mnist/@test",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;

    amg_error err = {0};
    amg_preprocess pre = {0};
    amg_head_result r = {0};
    int64_t n = 0;
    if (cli_parse_normalize(normalize, &pre, &err)) {
        ui_error(&err);
        return CLI_USAGE;
    }
    amg_set_threads((int)threads);
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, json);
    amg_status st = evaluate(model, data, &pre, batch, &progress, &r, &n, &err);
    ui_progress_clear(&bar);
    if (!st && !isfinite(r.val_loss))
        st = amg_fail(&err, AMG_NOT_FINITE, -1, model,
                      "its loss is no number: it holds or makes NaN or infinity");
    if (st) return ui_error(&err);
    if (json) {
        json_t *o = json_pack("{s:I, s:f, s:f, s:f}", "samples", (json_int_t)n, "loss",
                              r.val_loss, "top1", r.val_top1, "top5", r.val_top5);
        json_dumpf(o, stdout, JSON_INDENT(2));
        json_decref(o);
        printf("\n");
    } else {
        printf("%lld samples: loss %.6f, top-1 %.2f %%, top-5 %.2f %%\n", (long long)n,
               r.val_loss, 100 * r.val_top1, 100 * r.val_top5);
    }
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
