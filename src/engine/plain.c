/* Plain training of a model on a data set: the same trainer without a job around it.
 * Preprocessing is put before the model for training only; what is written is the
 * model as it came, with trained weights. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/job.h"
#include "graph/onnx_graph.h"

/* What plain training owns. */
typedef struct {
    amg_graph *file;  /* as read */
    amg_graph *model; /* constants folded: its weights are what can be trained */
    amg_graph *fed;   /* with preprocessing; each is a view of the one before */
    amg_source train, val;
    amg_params params;
    char *run_dir;
} plain;

static amg_status open_data(plain *p, const char *model, const char *train_spec,
                            const char *val_spec, amg_error *err)
{
    const amg_value *logits = &p->model->values[p->model->outputs[0]];
    if (p->model->num_outputs != 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, model,
                        "%d outputs, plain training takes a model with one",
                        p->model->num_outputs);
    if (logits->rank != 2 || logits->dims[1] < 1) {
        char shape[AMG_SHAPE_TEXT];
        return amg_fail(
            err, AMG_UNSUPPORTED, -1, logits->name,
            "output is %s, expected logits f32[batch, classes]",
            amg_shape_text(logits->dtype, logits->rank, logits->dims, shape));
    }
    amg_status status =
        amg_source_open_dataset(train_spec, logits->dims[1], &p->train, err);
    if (!status && val_spec)
        status = amg_source_open_dataset(val_spec, logits->dims[1], &p->val, err);
    return status;
}

/* The weight of the trained set by name, for amg_graph_with_weights. */
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
        amg_graph_with_weights(p->model, trained_weight, &p->params, &trained, err);
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

amg_status amg_plain_train(const char *model, const char *train_spec,
                           const char *val_spec, const amg_preprocess *pre,
                           const char *out_onnx, const amg_train_options *options,
                           const amg_progress *progress, amg_train_result *result,
                           amg_error *err)
{
    static const int column = 0;
    plain p = {0};
    amg_train_result r;
    amg_preprocess feed = pre ? *pre : (amg_preprocess){0};
    amg_status status = amg_graph_read_onnx(model, &p.file, err);
    if (!status) status = amg_graph_plan_batch(p.file, AMG_DIM_BATCH, &p.model, err);
    if (!status) status = open_data(&p, model, train_spec, val_spec, err);
    feed.data_dtype = p.train.dtype;
    if (!status) status = amg_graph_with_preprocess(p.model, &feed, &p.fed, err);
    if (!status) status = amg_params_new(p.fed, 0, &p.params, err);
    if (!status) status = make_run_dir(&p, out_onnx, err);
    if (status) goto done;
    const amg_train_task task = {.graph = p.fed,
                                 .label_columns = &column,
                                 .train = &p.train,
                                 .val = val_spec ? &p.val : NULL,
                                 .out_dir = p.run_dir,
                                 .num_params_sets = 1,
                                 .params = &p.params};
    status = amg_train(&task, options, progress, &r, err);
    if (!status) status = write_trained(&p, out_onnx, err);
    if (status) goto done;
    /* Stopped by max_steps it may still be resumed with more. */
    if (!options->max_steps) amg_dir_remove(p.run_dir);
    if (result) *result = r;
done:
    if (status && p.run_dir) rmdir(p.run_dir); /* goes only if nothing was written */
    amg_params_clear(&p.params);
    if (p.fed) amg_graph_free(p.fed);
    if (p.model) amg_graph_free(p.model);
    if (p.file) amg_graph_free(p.file);
    amg_source_close(&p.train);
    amg_source_close(&p.val);
    amg_free(p.run_dir);
    return status;
}
