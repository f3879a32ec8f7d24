/* Plain training of a model on a data set: the same trainer without a job around it.
 * Preprocessing is put before the model for training only; what is written is the
 * model as it came, with trained weights. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/job.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"

/* What plain training owns. */
typedef struct {
    amg_graph *file;    /* as read */
    amg_origin *origin; /* brings trained weights back into it */
    amg_graph *model;   /* constants folded: its weights are what can be trained */
    amg_graph *fed;     /* with preprocessing; each is a view of the one before */
    amg_source train, val;
    amg_params params;
    char *run_dir;
} plain;

amg_status amg_plain_open(const amg_graph *model, const char *data, bool reconstruction,
                          amg_source *out, amg_error *err)
{
    const amg_value *y = &model->values[model->outputs[0]];
    if (model->num_outputs != 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, "model", "%d outputs, expected one",
                        model->num_outputs);
    const int64_t classes = y->rank >= 2 && !reconstruction ? y->dims[1] : 0;
    if (y->rank >= 1 && classes >= 0)
        return amg_source_open_dataset(data, classes, out, err);
    char shape[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_UNSUPPORTED, -1, y->name,
                    "output is %s, expected a known shape behind the batch",
                    amg_shape_text(y->dtype, y->rank, y->dims, shape));
}

amg_status amg_plain_objective(const amg_graph *fed, const amg_graph *model,
                               const amg_source *source, bool reconstruction,
                               amg_objective *out, amg_error *err)
{
    amg_objective o = {.loss = AMG_LOSS_MSE};
    if (reconstruction) {
        o.target = fed->values[amg_graph_preprocessed(fed, model)].name;
    } else if (source->target_dtype == AMG_I32) {
        o.loss = AMG_LOSS_CROSS_ENTROPY;
    } else if (source->target_dtype == AMG_DTYPE_NONE) {
        const amg_status status =
            amg_fail(err, AMG_INVALID, -1, "data", "they have no targets");
        amg_hint(err, "an autoencoder needs the task reconstruction");
        return status;
    }
    *out = o;
    return AMG_OK;
}

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
    amg_objective objective;
    amg_preprocess feed = t->pre ? *t->pre : (amg_preprocess){0};
    amg_status status = amg_graph_read_onnx(t->model, &p.file, err);
    if (!status) status = amg_origin_new(p.file, &p.origin, err);
    if (!status) status = amg_graph_plan_batch(p.file, AMG_DIM_BATCH, &p.model, err);
    if (!status)
        status = amg_plain_open(p.model, t->train, t->reconstruction, &p.train, err);
    if (!status && t->val)
        status = amg_plain_open(p.model, t->val, t->reconstruction, &p.val, err);
    feed.data_dtype = p.train.dtype;
    if (!status) status = amg_graph_with_preprocess(p.model, &feed, &p.fed, err);
    if (!status)
        status = amg_plain_objective(p.fed, p.model, &p.train, t->reconstruction,
                                     &objective, err);
    if (!status) status = amg_params_new(p.fed, 0, &p.params, err);
    if (!status) status = make_run_dir(&p, t->out_onnx, err);
    if (status) goto done;
    const amg_train_task task = {.graph = p.fed,
                                 .objectives = &objective,
                                 .train = &p.train,
                                 .val = t->val ? &p.val : NULL,
                                 .out_dir = p.run_dir,
                                 .num_params_sets = 1,
                                 .params = &p.params};
    status = amg_train(&task, options, progress, &r, err);
    if (!status) status = write_trained(&p, t->out_onnx, err);
    if (status) goto done;
    /* Stopped by max_steps it may still be resumed with more. */
    if (!options->max_steps) amg_dir_remove(p.run_dir);
    if (result) *result = r;
done:
    if (status && p.run_dir) rmdir(p.run_dir); /* goes only if nothing was written */
    amg_params_clear(&p.params);
    if (p.fed) amg_graph_free(p.fed);
    if (p.model) amg_graph_free(p.model);
    amg_origin_free(p.origin);
    if (p.file) amg_graph_free(p.file);
    amg_source_close(&p.train);
    amg_source_close(&p.val);
    amg_free(p.run_dir);
    return status;
}
