/* job.json: what a job folder holds, as plain data (docs/job.md has the schema). Opaque
 * names only. */
#ifndef AMG_FORMATS_MANIFEST_H
#define AMG_FORMATS_MANIFEST_H

#include "base/arena.h"
#include "base/tensor.h"

#define AMG_MANIFEST_VERSION 1

/* What the sub-networks learn: classes (i32 targets), numbers (f32 targets), their own
 * input, the next token of it (no targets), which of several labels apply (f32 targets
 * from 0 to 1), or several of these at once (f32 targets, a row for all). */
typedef enum {
    AMG_TASK_CLASSIFICATION,
    AMG_TASK_REGRESSION,
    AMG_TASK_RECONSTRUCTION,
    AMG_TASK_LANGUAGE_MODEL,
    AMG_TASK_MULTI_LABEL,
    AMG_TASK_MULTI_TASK
} amg_task;
#define AMG_NUM_TASKS 6

/* BCE: binary cross entropy of logits. SUM: of the others, each of a part of the
 * output. */
typedef enum {
    AMG_LOSS_CROSS_ENTROPY,
    AMG_LOSS_MSE,
    AMG_LOSS_L1,
    AMG_LOSS_HUBER,
    AMG_LOSS_SMOOTH_L1,
    AMG_LOSS_BCE,
    AMG_LOSS_SUM
} amg_loss_kind;
#define AMG_NUM_LOSSES 7

/* One term of AMG_LOSS_SUM: what one of a model's own outputs is trained for. A
 * sample's outputs stand in one row, flattened one behind the other, and so do its
 * targets. */
typedef struct {
    amg_loss_kind loss;         /* any but SUM */
    float delta;                /* of losses that have one, above 0; else 0 */
    float weight;               /* above 0 */
    int rank;                   /* 0: one number */
    int64_t dims[AMG_MAX_RANK]; /* of the output of one sample; cross entropy: the
                                   classes first */
} amg_loss_part;
#define AMG_MAX_PARTS 16

/* Elements of a part in a row of outputs, and in one of targets: where classes compete,
 * a label, as a whole number, for each position. */
int64_t amg_loss_part_outputs(const amg_loss_part *part);
int64_t amg_loss_part_targets(const amg_loss_part *part);
/* Whether target can be one of the part's: a class, or what lies in 0 to 1 for BCE. */
bool amg_loss_part_takes(const amg_loss_part *part, float target);
bool amg_loss_parts_equal(const amg_loss_part *a, const amg_loss_part *b, int count);
/* Elements of both rows. AMG_INVALID: dims that do not fit the loss, or anything. */
AMG_MUST_CHECK amg_status amg_loss_parts_measure(const amg_loss_part *parts, int count,
                                                 int64_t *outputs, int64_t *targets,
                                                 amg_error *err);
/* Terms as people write them, "cross_entropy+0.5*huber:0.5": everything of the parts
 * but their dims. AMG_INVALID says what a term looks like. */
AMG_MUST_CHECK amg_status amg_loss_terms_parse(const char *text,
                                               amg_loss_part parts[AMG_MAX_PARTS],
                                               int *count, amg_error *err);

/* "classification", …; "cross_entropy", …: the words of job.json. */
const char *amg_task_name(amg_task task);
const char *amg_loss_name(amg_loss_kind loss);
/* False if no task has this name; "classify" and "lm" are names, too. */
bool amg_task_find_name(const char *name, amg_task *out);
bool amg_loss_find_name(const char *name, amg_loss_kind *out);
/* A loss and its threshold as people write them, "mse" or "huber:0.5" (1 if left out).
 * AMG_INVALID names what there is. */
AMG_MUST_CHECK amg_status amg_loss_parse(const char *text, amg_loss_kind *loss,
                                         float *delta, amg_error *err);
/* How a loss is asked for. Zeroed: the task's own, all classes alike. */
typedef struct {
    const char *loss;          /* as amg_loss_parse takes it, of several outputs as
                                  amg_loss_terms_parse does; NULL: the task's own */
    const char *class_weights; /* cross entropy of classes: "balanced", or a number for
                                  each class, between commas; NULL: all 1 */
} amg_loss_options;

/* What the options mean for a task: loss and delta; AMG_LOSS_SUM's terms are left to
 * amg_loss_terms_parse. AMG_INVALID: not of this task. */
AMG_MUST_CHECK amg_status amg_loss_resolve(const amg_loss_options *o, amg_task task,
                                           amg_loss_kind *loss, float *delta,
                                           amg_error *err);
/* The weights that text lists for so many classes; *balanced: it asks to count them
 * instead, and out is not written. */
AMG_MUST_CHECK amg_status amg_class_weights_parse(const char *text, int64_t classes,
                                                  bool *balanced, float *out,
                                                  amg_error *err);
/* Weights by which all classes together count alike: labels / (classes * labels of the
 * class), 0 for a class without labels. */
void amg_class_weights_balance(const int64_t *counts, int64_t classes, float *out);

/* The task's loss where nothing is said: cross entropy for classes and tokens, BCE for
 * labels, the sum for several outputs, else the mean squared error. */
amg_loss_kind amg_task_loss(amg_task task);
/* Numbers may be trained for by other losses than the mean squared error. */
bool amg_task_takes_loss(amg_task task, amg_loss_kind loss);
/* Whether the loss has a threshold: Huber's delta, smooth L1's beta. */
bool amg_loss_has_delta(amg_loss_kind loss);
/* Whether samples come with targets: classification, regression, multi-label,
 * multi-task. Else each head names a value of the graph. */
bool amg_task_has_targets(amg_task task);

/* One shard of a split: x is [rows, sample dims…], y is [rows, num_heads, target dims…]
 * of the target's type, NULL in tasks without targets. Paths are relative to the job
 * folder, with '/', and never leave it. */
typedef struct {
    const char *x, *y;
    int64_t rows;
} amg_shard;

typedef struct {
    int64_t num_samples; /* sum of rows */
    int num_shards;      /* 0: the job has no such split */
    amg_shard *shards;
} amg_split;

/* One sub-network as the cloud sees it: graph output, its column of y, its loss. */
typedef struct {
    const char *output;  /* name of the value in model.onnx */
    int label_column;    /* of y; 0 without targets */
    int64_t num_classes; /* classification; language model: tokens; else 0 */
    amg_loss_kind loss;
    float delta;                /* of losses that have one, above 0; else 0 */
    const float *class_weights; /* [num_classes], 0 or more, some above 0; NULL: all
                                   count alike */
    int num_parts;              /* of AMG_LOSS_SUM; else 0 */
    const amg_loss_part *parts;
    const char *target; /* reconstruction: the value to reconstruct; language model: the
                           tokens to predict, i64 [batch, positions]; else NULL */
    bool has_ignore;    /* language model: targets equal to ignore_index are padding */
    int64_t ignore_index;
} amg_head;

typedef struct {
    const char *path;
    int64_t size_bytes;
    char sha256[65];
} amg_job_file;

typedef struct {
    amg_arena arena; /* owns every string and array below */
    int version;
    amg_task task;
    const char *input_name;
    amg_dtype input_dtype;
    int input_rank;
    int64_t input_dims[AMG_MAX_RANK]; /* without the batch dimension */
    bool mixed;   /* values of a network's sample are in no image's order: crops and
                     mirroring make no sense */
    bool rotated; /* mixed by a rotation: SGD alone trains them as it trains the
                     original */
    amg_dtype target_dtype; /* AMG_I32, AMG_F32; AMG_DTYPE_NONE without targets */
    int target_rank;
    int64_t target_dims[AMG_MAX_RANK]; /* of one head and sample; [] = one number */
    int num_heads;
    amg_head *heads;
    int num_frozen;      /* 0: everything trains */
    const char **frozen; /* names of parameters that do not train, and of running
                            statistics that stay and normalise; ascending */
    amg_split train, val;
    int num_files;
    amg_job_file *files; /* every file of the job but job.json and out/ */
} amg_manifest;

/* Reads and checks JOB/job.json: fields, types, ranges, path rules, unique outputs and
 * columns. Does not touch the files named. */
AMG_MUST_CHECK amg_status amg_manifest_read(const char *path, amg_manifest *out,
                                            amg_error *err);
AMG_MUST_CHECK amg_status amg_manifest_parse(const char *json, size_t size_bytes,
                                             const char *name, amg_manifest *out,
                                             amg_error *err);
/* Canonical bytes: fixed key order, two-space indent, final newline. */
AMG_MUST_CHECK amg_status amg_manifest_write(const char *path, const amg_manifest *m,
                                             amg_error *err);
void amg_manifest_clear(amg_manifest *m);

/* Checks that each listed file exists with this size (and, if hashes, this SHA-256). */
AMG_MUST_CHECK amg_status amg_manifest_check_files(const amg_manifest *m,
                                                   const char *job_dir, bool hashes,
                                                   amg_error *err);

#endif
