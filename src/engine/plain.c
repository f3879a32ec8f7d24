/* Plain training of a model on a data set: the same trainer without a job around it.
 * Preprocessing is put before the model for training only; what is written is the
 * model as it came, with trained weights. */
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/job.h"
#include "engine/metrics.h"
#include "graph/freeze.h"
#include "graph/merged_outputs.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"
#include "graph/token_rows.h"

/* What plain training owns. */
typedef struct {
    amg_graph *file;    /* as read */
    amg_origin *origin; /* brings trained weights back into it */
    amg_graph *model;   /* constants folded: its weights are what can be trained */
    amg_graph *fed;     /* with preprocessing; each is a view of the one before */
    amg_source train, val;
    amg_params params;
    amg_frozen frozen;
    float *class_weights;
    char *run_dir;
} plain;

/* ---- the data ---- */

/* Tokens a sample: as many as the model takes, where nothing else is said. */
static amg_window resolve_window(const amg_value *input, const amg_window *window)
{
    amg_window w = window ? *window : (amg_window){0};
    if (w.seq == 0 && input->rank == 2 && input->dims[1] > 0) w.seq = input->dims[1];
    return w;
}

static amg_status no_targets(const char *where, amg_error *err)
{
    (void)amg_fail(err, AMG_INVALID, -1, where, "the data have no targets");
    amg_hint(err, "an autoencoder needs the task reconstruction, a language model "
                  "language_model");
    return AMG_INVALID;
}

static amg_status find_task(const amg_dataset *ds, amg_task *out, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    if (info->target_dtype == AMG_I32)
        *out = AMG_TASK_CLASSIFICATION;
    else if (info->target_dtype == AMG_F32)
        *out = AMG_TASK_REGRESSION;
    else if (info->vocab_size > 0)
        *out = AMG_TASK_LANGUAGE_MODEL;
    else
        return no_targets(amg_dataset_source(ds), err);
    return AMG_OK;
}

/* Tokens must have a row in the model's tables, and those to be predicted a logit. */
static amg_status check_vocabulary(const amg_graph *model, const amg_dataset *ds,
                                   amg_task task, amg_error *err)
{
    const int64_t vocab = amg_dataset_get_info(ds)->vocab_size;
    const amg_value *y = &model->values[model->outputs[0]];
    amg_token_rows rows;
    int64_t most = INT64_MAX;
    if (amg_token_rows_find(model, 0, &rows)) most = rows.vocab;
    if (task == AMG_TASK_LANGUAGE_MODEL && y->dims[y->rank - 1] < most)
        most = y->dims[y->rank - 1];
    if (vocab <= most) return AMG_OK;
    (void)amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                   "the data have a vocabulary of %lld tokens, the model of %lld",
                   (long long)vocab, (long long)most);
    amg_hint(err, "build the model with --vocab %lld", (long long)vocab);
    return AMG_MISMATCH;
}

/* What the data must be for a language model. */
static amg_status check_windows(const amg_graph *model, const amg_dataset *ds,
                                amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    const amg_value *in = &model->values[model->inputs[0]];
    char found[AMG_SHAPE_TEXT];
    if (info->target_dtype != AMG_DTYPE_NONE)
        return amg_fail(err, AMG_INVALID, -1, amg_dataset_source(ds),
                        "the data have targets, a language model predicts the next "
                        "token of data without");
    if (info->rank == 1 && in->rank == 2 && info->dims[0] == in->dims[1] + 1)
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                    "samples are %s, a language model of %lld tokens needs I32[%lld]",
                    amg_shape_text(info->dtype, info->rank, info->dims, found),
                    (long long)in->dims[1], (long long)in->dims[1] + 1);
}

/* Its output's number of classes; 0: not a classifier. */
static amg_status count_classes(const amg_graph *model, amg_task task, int64_t *out,
                                amg_error *err)
{
    const amg_value *y = &model->values[model->outputs[0]];
    *out = 0;
    if (task == AMG_TASK_CLASSIFICATION && y->rank >= 2) *out = y->dims[1];
    if (y->rank >= 1 && *out >= 0) return AMG_OK;
    char shape[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_UNSUPPORTED, -1, y->name,
                    "output is %s, expected a known shape behind the batch",
                    amg_shape_text(y->dtype, y->rank, y->dims, shape));
}

amg_status amg_plain_open(const amg_graph *model, const char *data,
                          const amg_window *window, bool task_by_data, amg_task *task,
                          amg_source *out, amg_error *err)
{
    if (model->num_outputs != 1 || model->num_inputs != 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, "model",
                        "%d input%s and %d output%s, expected one each",
                        model->num_inputs, amg_plural(model->num_inputs),
                        model->num_outputs, amg_plural(model->num_outputs));
    const amg_window w = resolve_window(&model->values[model->inputs[0]], window);
    amg_task found = *task;
    int64_t classes;
    amg_dataset *ds;
    amg_status status = amg_merged_outputs_task(model, &task_by_data, &found, err);
    if (!status) status = amg_dataset_open_window(data, &w, &ds, err);
    if (status) return status;
    if (task_by_data) status = find_task(ds, &found, err);
    if (!status) status = count_classes(model, found, &classes, err);
    if (!status && found == AMG_TASK_LANGUAGE_MODEL)
        status = check_windows(model, ds, err);
    if (!status) status = check_vocabulary(model, ds, found, err);
    if (status) {
        amg_dataset_close(ds);
        return status;
    }
    status = amg_source_own_dataset(ds, classes, out, err);
    if (!status) *task = found;
    return status;
}

amg_status amg_plain_objective(const amg_graph *fed, const amg_graph *model,
                               amg_task task, const amg_loss_options *loss,
                               const amg_source *source, amg_objective *out,
                               amg_error *err)
{
    amg_objective o = {0};
    amg_status status = amg_loss_resolve(loss, task, &o.loss, &o.delta, err);
    if (!status && task == AMG_TASK_MULTI_TASK)
        status =
            amg_merged_outputs_parts(model, loss->loss, o.parts, &o.num_parts, err);
    if (status) return status;
    switch (task) {
    case AMG_TASK_CLASSIFICATION:
    case AMG_TASK_REGRESSION:
    case AMG_TASK_MULTI_LABEL:
    case AMG_TASK_MULTI_TASK:
        if (source->target_dtype == AMG_DTYPE_NONE) return no_targets("data", err);
        break;
    case AMG_TASK_RECONSTRUCTION:
        o.target = fed->values[amg_graph_preprocessed(fed, model)].name;
        break;
    case AMG_TASK_LANGUAGE_MODEL:
        o.target = fed->values[amg_graph_next_tokens(fed)].name;
        o.has_ignore = source->has_pad;
        o.ignore = source->has_pad ? source->pad : 0;
        break;
    }
    *out = o;
    return AMG_OK;
}

/* ---- class weights ---- */

/* How often each class is a label of the source. */
static amg_status count_labels(const amg_source *s, int64_t *counts, amg_error *err)
{
    uint8_t *x = amg_malloc(s->sample_bytes);
    int32_t *labels = amg_calloc((size_t)s->target_count + 1, sizeof *labels);
    amg_status status =
        x && labels ? AMG_OK
                    : amg_fail(err, AMG_NO_MEMORY, -1, "class weights", "one sample");
    for (int64_t i = 0; i < s->num_samples && !status; i++) {
        status = s->read(s, i, x, labels, err);
        for (int64_t j = 0; j < s->target_count && !status; j++) counts[labels[j]]++;
    }
    amg_free(x);
    amg_free(labels);
    return status;
}

/* *out, owned by the caller: one for each class of the model; NULL: none asked for. */
static amg_status find_class_weights(const plain *p, const char *text, float **out,
                                     amg_error *err)
{
    bool balanced;
    if (!text) return AMG_OK;
    const int64_t classes = p->model->values[p->model->outputs[0]].dims[1];
    float *weights = amg_calloc((size_t)classes, sizeof *weights);
    int64_t *counts = amg_calloc((size_t)classes, sizeof *counts);
    amg_status status = AMG_OK;
    if (!weights || !counts)
        status = amg_fail(err, AMG_NO_MEMORY, -1, "class weights", "no memory");
    if (!status)
        status = amg_class_weights_parse(text, classes, &balanced, weights, err);
    if (!status && balanced) {
        status = count_labels(&p->train, counts, err);
        amg_class_weights_balance(counts, classes, weights);
    }
    amg_free(counts);
    if (status)
        amg_free(weights);
    else
        *out = weights;
    return status;
}

/* ---- training ---- */

/* The weight of the trained set by name, for amg_origin_restore. */
static const amg_tensor *trained_weight(void *context, const amg_value *param)
{
    const amg_params *set = context;
    const int i = amg_params_find(set, param->name);
    return i < 0 ? NULL : &set->items[i].tensor;
}

static amg_status write_trained(plain *p, const char *out_onnx, amg_error *err)
{
    amg_graph *trained;
    amg_status status =
        amg_origin_restore(p->origin, trained_weight, &p->params, &trained, err);
    if (status) return status;
    status = amg_graph_write_onnx(out_onnx, trained, err);
    amg_graph_free(trained);
    return status;
}

static amg_status make_run_dir(plain *p, const char *out_onnx, amg_error *err)
{
    const size_t length = strlen(out_onnx);
    p->run_dir = amg_malloc(length + sizeof ".run");
    if (!p->run_dir) return amg_fail(err, AMG_NO_MEMORY, -1, out_onnx, "training");
    memcpy(p->run_dir, out_onnx, length);
    memcpy(p->run_dir + length, ".run", sizeof ".run");
    return amg_path_is_dir(p->run_dir) ? AMG_OK : amg_dir_make(p->run_dir, err);
}

amg_status amg_plain_train(const amg_plain_task *t, const amg_train_options *options,
                           const amg_progress *progress, amg_train_result *result,
                           amg_error *err)
{
    plain p = {0};
    amg_train_result r;
    amg_objective objective = {0};
    amg_task kind = t->task;
    amg_preprocess feed = t->pre ? *t->pre : (amg_preprocess){0};
    amg_status status = amg_graph_read_model(t->model, &p.file, err);
    if (!status) status = amg_origin_new(p.file, &p.origin, err);
    if (!status)
        status = amg_frozen_find(p.origin, t->freeze, t->num_freeze,
                                 t->freeze_norm_stats, &p.frozen, err);
    if (!status) status = amg_graph_plan_batch(p.file, AMG_DIM_BATCH, &p.model, err);
    if (!status)
        status = amg_plain_open(p.model, t->train, &t->window, t->task_by_data, &kind,
                                &p.train, err);
    if (!status && t->val)
        status = amg_plain_open(p.model, t->val, &t->window, false, &kind, &p.val, err);
    feed.data_dtype = p.train.dtype;
    feed.windows = kind == AMG_TASK_LANGUAGE_MODEL;
    if (!status) status = amg_graph_with_preprocess(p.model, &feed, &p.fed, err);
    if (!status)
        status = amg_plain_objective(p.fed, p.model, kind, &t->loss, &p.train,
                                     &objective, err);
    if (!status)
        status = find_class_weights(&p, t->loss.class_weights, &p.class_weights, err);
    objective.class_weights = p.class_weights;
    if (!status) status = amg_params_new(p.fed, 0, &p.params, err);
    if (!status) status = make_run_dir(&p, t->out_onnx, err);
    if (status) goto done;
    const amg_train_task task = {.graph = p.fed,
                                 .objectives = &objective,
                                 .train = &p.train,
                                 .val = t->val ? &p.val : NULL,
                                 .out_dir = p.run_dir,
                                 .num_params_sets = 1,
                                 .params = &p.params,
                                 .frozen = (const char *const *)p.frozen.names,
                                 .num_frozen = p.frozen.count};
    status = amg_train(&task, options, progress, &r, err);
    if (!status) status = write_trained(&p, t->out_onnx, err);
    if (status) goto done;
    /* Stopped by max_steps it may still be resumed with more. */
    if (!options->max_steps) amg_dir_remove(p.run_dir);
    if (result) *result = r;
done:
    if (status && p.run_dir) amg_metrics_drop_dir(p.run_dir);
    amg_params_clear(&p.params);
    amg_frozen_clear(&p.frozen);
    amg_free(p.class_weights);
    if (p.fed) amg_graph_free(p.fed);
    if (p.model) amg_graph_free(p.model);
    amg_origin_free(p.origin);
    if (p.file) amg_graph_free(p.file);
    amg_source_close(&p.train);
    amg_source_close(&p.val);
    amg_free(p.run_dir);
    return status;
}
