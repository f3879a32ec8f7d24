/* The trainer: sub-networks, one after the other within each step, over batches of a
 * source.
 *
 *   step t   batch = rows order[t*B .. t*B+B-1] of the epoch
 *                                        (an incomplete last batch is dropped)
 *            for each head: forward, loss, backward, update
 *                                        (all in one shared workspace)
 *            with accumulation the batch comes in parts: forward, loss, backward of all
 *            heads for each part, and with the last one the update
 *
 * Heads are independent by construction: each has its own plan, optimizer and loss, and
 * is trained in its canonical order of classes and tokens (engine/class_order.h), so
 * that neither other heads nor a permutation of classes or of the vocabulary changes a
 * bit of it. */
#ifndef AMG_ENGINE_TRAINER_H
#define AMG_ENGINE_TRAINER_H

#include "amalgam/progress.h"
#include "engine/loss.h"
#include "engine/optimizer.h"
#include "engine/source.h"

typedef struct {
    int64_t batch;      /* 0: AMG_DEFAULT_BATCH */
    int64_t accumulate; /* 0: 1; parts of a batch, whose gradients are averaged: memory
                           is needed for one, and batch norms see one. Divides batch */
    int64_t epochs;     /* 0: 1 */
    int64_t max_steps;  /* 0: no limit; else stop after so many (schedule still over
                           epochs) */
    uint64_t seed;      /* batch order, dropout */
    float label_smoothing;
    unsigned augment; /* bits of engine/augment.h; validation sees images as they are */
    double ema; /* 0: off; else the decay of a moving average of the weights: what is
                   validated and comes out. Running statistics are the last ones */
    bool best;  /* of each head what comes out is that of the epoch with its lowest
                   validation loss; that of the last step before any epoch's end */
    int64_t early_stop; /* 0: off; else a head is left as it is after so many epochs in
                           a row without a lower validation loss */
    int threads;        /* 0: all cores */
    bool bf16;          /* as amg_plan_options has it; evaluation is in f32 */
    amg_optimizer_options optimizer;
    int64_t checkpoint_steps; /* 0: at the end of each epoch and every 60 s; else every
                                 so many steps */
    FILE *profile; /* NULL: off; else where a table of the time of some steps goes
                      (engine/profile.h) */
    bool resume;   /* go on from out_dir's checkpoint; AMG_NOT_FOUND if none,
                      AMG_MISMATCH if it belongs to another run (max_steps and
                      checkpoint_steps may differ) */
} amg_train_options;

#define AMG_MAX_HEADS 64
#define AMG_DEFAULT_BATCH 128

/* What one output of a graph is trained for: its loss, and what it is compared with.
 * The zero value: cross entropy against the labels of column 0. */
typedef struct {
    amg_loss_kind loss;
    float delta;                /* of losses that have one */
    const float *class_weights; /* cross entropy: one a class; NULL: all 1 */
    int column;                 /* of the source's targets */
    const char *target; /* instead of a column, the name of a value of the graph that no
                           trainable reaches; else NULL. Numbers: what is to be
                           reconstructed, f32 of the output's shape. Cross entropy: the
                           next tokens, i64 [batch, positions], of an output [batch,
                           positions, classes] or [batch * positions, classes] */
    bool has_ignore;    /* next tokens equal to ignore are padding: they do not count */
    int64_t ignore;
    int num_parts; /* of AMG_LOSS_SUM: they make up the output f32 [batch, sum], and in
                      the same way a column of targets */
    amg_loss_part parts[AMG_MAX_PARTS];
} amg_objective;

/* One trained head, in the graph's output order. Train: means of the last epoch, or of
 * its part that was run. Val: after the last complete epoch; NaN without such an epoch
 * or without validation data. Losses and accuracies are means over samples and
 * positions, padding left out (with class weights, over samples of their batches'
 * means); accuracies are fractions of 1, NaN where nothing is classified. Where several
 * labels may apply, top1 is over all labels, and there is no top5. With options.best:
 * of the epoch whose weights come out. A language model's perplexity is exp(loss). */
typedef struct {
    double train_loss, train_accuracy;
    double val_loss, val_top1, val_top5;
    double val_counted; /* positions or elements that val_loss is over; else 0 */
    double num_parts;   /* of AMG_LOSS_SUM, once validated; else 0 */
    struct {
        double val_loss, val_accuracy; /* of the part, not weighted; NaN as above */
    } parts[AMG_MAX_PARTS];
} amg_head_result;

typedef struct {
    int num_heads;
    amg_head_result heads[AMG_MAX_HEADS];
    bool predicts_tokens; /* language models: a loss has a perplexity */
    int64_t steps; /* done since the training's beginning, earlier runs included */
    int64_t head_steps[AMG_MAX_HEADS]; /* behind the weights that come out: fewer where
                                          a head stopped early or its best are older */
    double seconds;                    /* of this run */
    size_t workspace_bytes;
} amg_train_result;

typedef struct {
    const amg_graph *graph;          /* training form, batch not planned */
    const amg_objective *objectives; /* one per output */
    const amg_source *train, *val;   /* val may be NULL */
    const char *job;     /* SHA-256 of job.json, for checkpoints; NULL: no job */
    const char *out_dir; /* checkpoints, metrics.jsonl; NULL: none are written */
    int num_params_sets;
    amg_params *params;        /* one per output: initial in, trained out */
    const char *const *frozen; /* sorted names of parameters that do not train, and of
                                  running statistics that stay (and normalise) */
    int num_frozen;
} amg_train_task;

/* Trains. With out_dir (an existing folder): DIR/checkpoint.safetensors, written beside
 * and renamed, and DIR/metrics.jsonl. SIGKILL at any moment loses at most the work
 * since the last checkpoint. On failure params stay as they were.
 * AMG_INTERRUPTED: progress asked to stop (a checkpoint is written first).
 * AMG_NOT_FINITE: a loss or weight is no number; names head and step, and the last
 * checkpoint stays. AMG_INVALID: an option, or fewer samples than one batch. */
AMG_MUST_CHECK amg_status amg_train(const amg_train_task *task,
                                    const amg_train_options *options,
                                    const amg_progress *progress,
                                    amg_train_result *result, amg_error *err);

/* Loss and accuracy of one output over a whole source (the last batch padded, padding
 * not counted). params as amg_params_new gives them; batch 0: 128. Fills the val_
 * fields of result; the train_ fields become NaN. Top-5 of fewer than five classes is
 * 1. */
AMG_MUST_CHECK amg_status amg_evaluate(const amg_graph *graph, int output_index,
                                       const amg_params *params,
                                       const amg_source *source,
                                       const amg_objective *objective, int64_t batch,
                                       const amg_progress *progress,
                                       amg_head_result *result, amg_error *err);
#endif
