/* Training a job folder: what amalgam-train does. Reads job.json, model.onnx,
 * weights.safetensors and shards; writes out/weights.safetensors, out/metrics.jsonl and
 * checkpoints. Also plain training of a model on a data set. */
#ifndef AMG_ENGINE_JOB_H
#define AMG_ENGINE_JOB_H

#include "engine/trainer.h"
#include "graph/rewrite.h"

/* An open job: everything the cloud has. */
typedef struct {
    amg_manifest manifest;
    amg_graph *graph;
    amg_source train, val;
    bool has_val;
    amg_params *params; /* per head, from weights.safetensors */
    int *label_columns;
} amg_job;

/* Checks the files against the manifest (sizes; hashes too if hashes), the graph
 * against heads and data. */
AMG_MUST_CHECK amg_status amg_job_open(const char *dir, bool hashes, amg_job *out,
                                       amg_error *err);
void amg_job_close(amg_job *job);

/* Trains JOB and writes JOB/out/: checkpoint and metrics while it runs (trainer.h),
 * weights.safetensors, sorted by name, once it is done. */
AMG_MUST_CHECK amg_status amg_job_train(const char *dir,
                                        const amg_train_options *options,
                                        const amg_progress *progress,
                                        amg_train_result *result, amg_error *err);

/* Trains a plain model with one output. out_onnx receives the trained model, without
 * the preprocessing. The checkpoint and metrics go to OUT_ONNX's name + ".run/" while
 * training and stay there for --resume until the training is done (a run stopped by
 * max_steps keeps them). val_spec may be NULL; pre too, and its data_dtype is ignored:
 * the data set's own is taken. */
AMG_MUST_CHECK amg_status amg_plain_train(
    const char *model, const char *train_spec, const char *val_spec,
    const amg_preprocess *pre, const char *out_onnx, const amg_train_options *options,
    const amg_progress *progress, amg_train_result *result, amg_error *err);
#endif
