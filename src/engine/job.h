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
    char sha256[65]; /* of job.json */
    amg_graph *graph;
    amg_source train, val;
    bool has_val;
    amg_params *params;        /* per head, from weights.safetensors */
    amg_objective *objectives; /* per head; strings are the manifest's */
} amg_job;

/* Checks the files against the manifest (sizes; hashes too if hashes), the graph
 * against heads and data. */
AMG_MUST_CHECK amg_status amg_job_open(const char *dir, bool hashes, amg_job *out,
                                       amg_error *err);
void amg_job_close(amg_job *job);

/* AMG_UNSUPPORTED: the job's values are rotated, which SGD alone does not mind, or
 * mixed, so that there is no image to augment. */
AMG_MUST_CHECK amg_status amg_job_check_options(const amg_job *job, const char *dir,
                                                const amg_train_options *options,
                                                amg_error *err);

/* Trains JOB and writes JOB/out/: checkpoint and metrics while it runs (trainer.h),
 * weights.safetensors, sorted by name and with the number of steps in its metadata
 * ("steps": "1200"), once it is done. */
AMG_MUST_CHECK amg_status amg_job_train(const char *dir,
                                        const amg_train_options *options,
                                        const amg_progress *progress,
                                        amg_train_result *result, amg_error *err);

/* A plain model with one output, and its data. */
typedef struct {
    const char *model;         /* ONNX */
    const char *train, *val;   /* data sets; val may be NULL */
    const amg_preprocess *pre; /* may be NULL; its data_dtype is ignored: the data set's
                                  own is taken */
    amg_task task;
    bool task_by_data;     /* instead of task: class labels mean classification, numbers
                              regression, windows of a token set a language model */
    amg_window window;     /* token sets; seq 0: as many tokens as the model takes */
    amg_loss_options loss; /* balanced class weights: of the training data */
    const char *const *freeze; /* patterns of parameters that do not train, as in
                                  graph/freeze.h */
    int num_freeze;
    bool freeze_norm_stats; /* … nor do their batch norms' running statistics move */
    const char *out_onnx;   /* receives the trained model, without the preprocessing */
} amg_plain_task;

/* What plain training and amalgam eval share. Opens a data set for a model with one
 * output whose batch is folded (amg_graph_plan_batch with AMG_DIM_BATCH): labels must
 * be below the model's number of classes, tokens below its vocabulary. *task: given
 * (task_by_data false), or found. window may be NULL. */
AMG_MUST_CHECK amg_status amg_plain_open(const amg_graph *model, const char *data,
                                         const amg_window *window, bool task_by_data,
                                         amg_task *task, amg_source *out,
                                         amg_error *err);
/* What fed, model behind its preprocessing, is trained for on the source's targets, but
 * for class weights. Strings are fed's. AMG_INVALID: the task needs targets, and there
 * are none, or has no such loss. */
AMG_MUST_CHECK amg_status amg_plain_objective(const amg_graph *fed,
                                              const amg_graph *model, amg_task task,
                                              const amg_loss_options *loss,
                                              const amg_source *source,
                                              amg_objective *out, amg_error *err);

/* Trains it. The checkpoint and metrics go to OUT_ONNX's name + ".run/" while training
 * and stay there for --resume until the training is done (a run stopped by max_steps
 * keeps them). */
AMG_MUST_CHECK amg_status amg_plain_train(const amg_plain_task *task,
                                          const amg_train_options *options,
                                          const amg_progress *progress,
                                          amg_train_result *result, amg_error *err);
#endif
