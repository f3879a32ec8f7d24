/* Opening and checking the data of a job. Consumes specs or open data sets and the
 * model, produces data sets that fit it; whatever does not fit is refused here, before
 * work is spent on it. Knows no secret. */
#include "obfuscate/inputs.h"

#include <string.h>

#include "base/parallel.h"
#include "formats/token_set.h"
#include "graph/merged_outputs.h"
#include "graph/token_rows.h"

/* One data set, as its errors call it. */
typedef struct {
    const char *name; /* the spec, or the source */
    const amg_dataset_info *info;
} named_set;

static named_set name_set(const char *spec, const amg_dataset *ds)
{
    return (named_set){spec ? spec : amg_dataset_source(ds), amg_dataset_get_info(ds)};
}

static const char *sample_text(const amg_dataset_info *info, char buf[AMG_SHAPE_TEXT])
{
    return amg_shape_text(info->dtype, info->rank, info->dims, buf);
}

static const char *target_text(const amg_dataset_info *info, char buf[AMG_SHAPE_TEXT])
{
    if (info->target_dtype == AMG_DTYPE_NONE) return "none";
    return amg_shape_text(info->target_dtype, info->target_rank, info->target_dims,
                          buf);
}

/* Shape of one sample of a model's input or output. */
static const char *value_text(const amg_value *v, char buf[AMG_SHAPE_TEXT])
{
    return amg_shape_text(v->dtype, v->rank - 1, v->dims + 1, buf);
}

static const char *output_text(const amg_value *v, char buf[AMG_SHAPE_TEXT])
{
    if (v->rank < 0) return "a shape that does not follow from the sample's";
    return v->rank > 0 ? value_text(v, buf) : "one number";
}

static int64_t product(int rank, const int64_t *dims)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= dims[i];
    return n;
}

static bool same_dims(int rank, const int64_t *dims, int other_rank,
                      const int64_t *other)
{
    return rank == other_rank && memcmp(dims, other, (size_t)rank * sizeof *dims) == 0;
}

/* A flat input takes any layout, any other only its own: HWC data for a CHW model have
 * as many values, and train on nonsense. */
static amg_status check_samples(const amg_graph *g, const char *model, named_set set,
                                amg_error *err)
{
    const amg_dataset_info *info = set.info;
    const amg_value *in = &g->values[g->inputs[0]];
    char want[AMG_SHAPE_TEXT], have[AMG_SHAPE_TEXT];
    const bool flat = in->rank == 2 && in->dims[1] == product(info->rank, info->dims);
    if (in->rank >= 2 &&
        (flat || amg_dataset_shape_fits(info, in->rank - 1, in->dims + 1)))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, set.name, "samples are %s, %s expects %s",
                    sample_text(info, have), model,
                    in->rank > 0 ? value_text(in, want) : "no batch");
}

/* Output [N, classes, dims…] for a target of dims. */
static amg_status check_classes(const amg_value *out, const char *model, named_set set,
                                amg_error *err)
{
    const amg_dataset_info *info = set.info;
    char have[AMG_SHAPE_TEXT], target[AMG_SHAPE_TEXT];
    if (info->target_dtype != AMG_I32) {
        amg_fail(err, AMG_MISMATCH, -1, set.name,
                 "targets are %s, expected class labels for classification",
                 target_text(info, target));
        amg_hint(err, info->target_dtype == AMG_F32
                          ? "numbers to predict are the task regression"
                          : "a model that gives back its input is the task "
                            "reconstruction");
        return AMG_MISMATCH;
    }
    if (out->rank < 2 ||
        !same_dims(out->rank - 2, out->dims + 2, info->target_rank, info->target_dims))
        return amg_fail(err, AMG_MISMATCH, -1, set.name,
                        "targets are %s, %s gives %s, expected [classes, dims of a "
                        "target]",
                        target_text(info, target), model, output_text(out, have));
    if (out->dims[1] >= info->num_classes) return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, set.name, "has %lld classes, %s gives %s",
             (long long)info->num_classes, model,
             amg_shape_text(out->dtype, out->rank, out->dims, have));
    amg_hint(err, "the model's last layer needs one output for each class");
    return AMG_MISMATCH;
}

static amg_status check_numbers(const amg_value *out, amg_task task, const char *model,
                                named_set set, amg_error *err)
{
    const amg_dataset_info *info = set.info;
    char have[AMG_SHAPE_TEXT], target[AMG_SHAPE_TEXT];
    if (info->target_dtype == AMG_F32 && out->rank >= 1 &&
        same_dims(out->rank - 1, out->dims + 1, info->target_rank, info->target_dims))
        return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, set.name, "targets are %s, %s with %s expects %s",
             target_text(info, target), amg_task_name(task), model,
             output_text(out, have));
    if (info->target_dtype == AMG_F32 && out->rank == 2 && out->dims[1] == 1 &&
        info->target_rank == 0)
        amg_hint(err, "give each target a dim of its own: y.reshape(-1, 1)");
    return AMG_MISMATCH;
}

/* A row of targets for a model of several outputs. */
static amg_status check_parts(const amg_inputs *in, const char *model, named_set set,
                              amg_error *err)
{
    const amg_dataset_info *info = set.info;
    char target[AMG_SHAPE_TEXT];
    int64_t outputs, targets;
    amg_status st =
        amg_loss_parts_measure(in->parts, in->num_parts, &outputs, &targets, err);
    if (st || (info->target_dtype == AMG_F32 &&
               same_dims(1, &targets, info->target_rank, info->target_dims)))
        return st;
    amg_fail(err, AMG_MISMATCH, -1, set.name,
             "targets are %s, the losses of %s's outputs expect F32[%lld]",
             target_text(info, target), model, (long long)targets);
    amg_hint(err, "an array of targets for each output: x.npy,y.npy+z.npy");
    return AMG_MISMATCH;
}

/* The output is compared with the input as the network sees it. */
static amg_status check_output(const amg_graph *g, const char *model, amg_error *err)
{
    const amg_value *in = &g->values[g->inputs[0]], *out = &g->values[g->outputs[0]];
    char have[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    if (in->dtype == AMG_F32 && same_dims(in->rank, in->dims, out->rank, out->dims))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, model,
                    "gives %s, reconstruction of its input needs %s%s",
                    output_text(out, have),
                    in->rank > 0 ? value_text(in, want) : "a batch",
                    in->dtype == AMG_F32 ? "" : " of floats");
}

/* A language model takes L tokens and gives logits for each; its data have one more. */
static amg_status check_windows(const amg_graph *g, const char *model, named_set set,
                                amg_error *err)
{
    const amg_dataset_info *info = set.info;
    const amg_value *in = &g->values[g->inputs[0]], *out = &g->values[g->outputs[0]];
    char have[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    const bool takes = in->dtype == AMG_I64 && in->rank == 2 && in->dims[1] > 0;
    const bool gives = takes && ((out->rank == 3 && out->dims[1] == in->dims[1]) ||
                                 (out->rank == 2 && out->dims[0] == -in->dims[1]));
    if (!gives || out->dtype != AMG_F32) {
        amg_fail(err, AMG_MISMATCH, -1, model,
                 "takes %s and gives %s, a language model takes I64[L] and gives "
                 "F32[L,vocabulary]",
                 in->rank > 0 ? value_text(in, have) : "no batch",
                 output_text(out, want));
        amg_hint(err, "a classifier of texts is the task classify");
        return AMG_MISMATCH;
    }
    if (info->dtype == AMG_I32 && info->rank == 1 && info->dims[0] == in->dims[1] + 1)
        return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, set.name,
             "samples are %s, %s learns from I32[%lld]: its %lld tokens and the next",
             sample_text(info, have), model, (long long)in->dims[1] + 1,
             (long long)in->dims[1]);
    if (info->vocab_size > 0)
        amg_hint(err, info->target_dtype == AMG_I32
                          ? "its documents have labels: that is the task classify"
                          : "--seq is the number of tokens that the model takes");
    return AMG_MISMATCH;
}

/* Tokens that the model's tables know, or a language model its logits; 0: not known. */
static int64_t model_vocab(const amg_graph *g, amg_task task)
{
    amg_token_rows rows;
    const amg_value *out = &g->values[g->outputs[0]];
    if (amg_token_rows_find(g, 0, &rows)) return rows.vocab;
    return task == AMG_TASK_LANGUAGE_MODEL && out->rank > 0 ? out->dims[out->rank - 1]
                                                            : 0;
}

static amg_status check_vocab(const amg_graph *g, const char *model, amg_task task,
                              named_set set, amg_error *err)
{
    const int64_t vocab = model_vocab(g, task);
    if (vocab == 0 || set.info->vocab_size <= vocab) return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, set.name,
             "has a vocabulary of %lld tokens, %s has rows for %lld",
             (long long)set.info->vocab_size, model, (long long)vocab);
    amg_hint(err, "tokenize with the model's own vocabulary");
    return AMG_MISMATCH;
}

/* One of the owner's own sets against model and task. */
static amg_status check_data(const amg_graph *g, const char *model,
                             const amg_inputs *in, named_set set, amg_error *err)
{
    const amg_task task = in->task;
    const amg_value *out = &g->values[g->outputs[0]];
    if (task == AMG_TASK_LANGUAGE_MODEL) {
        amg_status st = check_windows(g, model, set, err);
        return st ? st : check_vocab(g, model, task, set, err);
    }
    amg_status st = check_samples(g, model, set, err);
    if (!st) st = check_vocab(g, model, task, set, err);
    if (st) return st;
    switch (task) {
    case AMG_TASK_CLASSIFICATION: return check_classes(out, model, set, err);
    case AMG_TASK_REGRESSION:
    case AMG_TASK_MULTI_LABEL: return check_numbers(out, task, model, set, err);
    case AMG_TASK_MULTI_TASK: return check_parts(in, model, set, err);
    case AMG_TASK_RECONSTRUCTION:
    case AMG_TASK_LANGUAGE_MODEL: break;
    }
    return check_output(g, model, err);
}

/* A token must mean the same in all data of a job. */
static amg_status check_same_tokens(named_set train, named_set other, amg_error *err)
{
    const amg_dataset_info *a = other.info, *b = train.info;
    if (a->vocab_size == 0 || b->vocab_size == 0) return AMG_OK;
    if (a->vocabulary[0] && b->vocabulary[0] && strcmp(a->vocabulary, b->vocabulary)) {
        amg_fail(err, AMG_MISMATCH, -1, other.name,
                 "has the vocabulary %.16s…, %s has %.16s…: expected the same",
                 a->vocabulary, train.name, b->vocabulary);
        amg_hint(err, "tokenize all of them with one vocabulary (--vocab)");
        return AMG_MISMATCH;
    }
    if (a->vocab_size != b->vocab_size)
        return amg_fail(err, AMG_MISMATCH, -1, other.name,
                        "has a vocabulary of %lld tokens, %s one of %lld: expected the "
                        "same",
                        (long long)a->vocab_size, train.name, (long long)b->vocab_size);
    if (a->pad == b->pad) return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, other.name,
                    "is padded with token %lld, %s with %lld: expected the same",
                    (long long)a->pad, train.name, (long long)b->pad);
}

/* Covers have samples and targets of the training data's shape; of classes they may
 * have more or fewer. */
static amg_status check_covers(named_set train, named_set pool, amg_task task,
                               amg_error *err)
{
    const amg_dataset_info *a = pool.info, *b = train.info;
    char have[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    if (a->dtype != b->dtype || !same_dims(a->rank, a->dims, b->rank, b->dims))
        return amg_fail(err, AMG_MISMATCH, -1, pool.name,
                        "samples of the covers are %s, expected %s as in the training "
                        "data",
                        sample_text(a, have), sample_text(b, want));
    if (!amg_task_has_targets(task) ||
        (a->target_dtype == b->target_dtype &&
         same_dims(a->target_rank, a->target_dims, b->target_rank, b->target_dims)))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, pool.name,
                    "targets of the covers are %s, expected %s as in the training data",
                    target_text(a, have), target_text(b, want));
}

/* Noise is drawn for images and for tokens of a known vocabulary. */
static amg_status check_paper(named_set train, int64_t vocab, amg_error *err)
{
    char have[AMG_SHAPE_TEXT];
    const amg_dataset_info *info = train.info;
    const bool tokens = info->dtype == AMG_I32 && info->rank == 1 && vocab > 0;
    const bool image = info->dtype != AMG_I32 && (info->rank == 2 || info->rank == 3);
    if (tokens || image) return AMG_OK;
    amg_fail(err, AMG_UNSUPPORTED, -1, train.name,
             "samples are %s, paper mode takes images and rows of tokens: streams mode "
             "only",
             sample_text(info, have));
    amg_hint(err, "--decoys-from POOL instead of noise");
    return AMG_UNSUPPORTED;
}

/* Whether the data's type can be made the model's: building it says. */
static amg_status check_feed(const amg_graph *g, const amg_obfuscate_options *o,
                             amg_task task, amg_dtype dtype, amg_error *err)
{
    amg_preprocess pre = o->preprocess;
    amg_graph *fed = NULL;
    pre.data_dtype = dtype;
    pre.windows = task == AMG_TASK_LANGUAGE_MODEL;
    const amg_status st = amg_graph_with_preprocess(g, &pre, &fed, err);
    amg_graph_free(fed);
    return st;
}

static amg_task task_of_data(const amg_dataset_info *train)
{
    if (train->target_dtype == AMG_DTYPE_NONE && train->vocab_size > 0)
        return AMG_TASK_LANGUAGE_MODEL;
    return train->target_dtype == AMG_F32 ? AMG_TASK_REGRESSION
                                          : AMG_TASK_CLASSIFICATION;
}

/* The task, and what each of several outputs is trained for. */
static amg_status choose_task(const amg_obfuscate_options *o, const amg_graph *g,
                              amg_inputs *in, amg_error *err)
{
    bool by_data = o->task_by_data;
    in->task = o->task;
    amg_status st = amg_merged_outputs_task(g, &by_data, &in->task, err);
    if (st) return st;
    if (by_data) in->task = task_of_data(amg_dataset_get_info(in->train));
    if (in->task != AMG_TASK_MULTI_TASK) return AMG_OK;
    return amg_merged_outputs_parts(g, o->loss.loss, in->parts, &in->num_parts, err);
}

/* What is known of tokens, from the model or from the data. */
static void describe_tokens(const amg_graph *g, amg_inputs *in)
{
    const amg_dataset_info *info = amg_dataset_get_info(in->train);
    in->pad = info->vocab_size > 0 ? info->pad : AMG_NO_TOKEN;
    in->vocab = info->dtype == AMG_I32 ? model_vocab(g, in->task) : 0;
    if (info->dtype == AMG_I32 && in->vocab == 0) in->vocab = info->vocab_size;
}

static amg_status check_all(const amg_obfuscate_options *o, const amg_graph *g,
                            const amg_inputs *in, amg_error *err)
{
    const named_set train = name_set(o->train, in->train);
    amg_status st = check_data(g, o->model, in, train, err);
    if (!st && o->mode == AMG_MODE_PAPER) st = check_paper(train, in->vocab, err);
    if (!st) st = check_feed(g, o, in->task, train.info->dtype, err);
    if (!st && in->val)
        st = check_data(g, o->model, in, name_set(o->val, in->val), err);
    const named_set others[3] = {
        in->val ? name_set(o->val, in->val) : train,
        in->covers ? name_set(o->covers, in->covers) : train,
        in->val_covers ? name_set(o->val_covers, in->val_covers) : train};
    for (int i = 0; !st && i < 3; i++) {
        st = check_same_tokens(train, others[i], err);
        if (!st && i > 0) st = check_covers(train, others[i], in->task, err);
    }
    return st;
}

static void count_classes(const amg_graph *g, bool paired, amg_inputs *in)
{
    const amg_dataset *pools[] = {in->covers, in->val_covers};
    const amg_value *out = &g->values[g->outputs[0]];
    in->num_classes = in->cover_classes = 1;
    if (in->task == AMG_TASK_LANGUAGE_MODEL)
        in->num_classes = in->cover_classes = out->dims[out->rank - 1];
    if (in->task != AMG_TASK_CLASSIFICATION) return;
    in->num_classes = in->cover_classes = out->dims[1];
    for (int i = 0; i < 2 && !paired; i++)
        if (pools[i] && amg_dataset_get_info(pools[i])->num_classes > in->cover_classes)
            in->cover_classes = amg_dataset_get_info(pools[i])->num_classes;
}

/* How token sets are cut: as the options say, or for the model. */
static amg_window choose_window(const amg_obfuscate_options *o, const amg_graph *g)
{
    const amg_value *in = &g->values[g->inputs[0]];
    amg_window window = o->window;
    if (window.seq == 0 && in->rank == 2 && in->dims[1] > 0) window.seq = in->dims[1];
    return window;
}

/* A set that is to be opened, unless the caller gave it or there is none. */
typedef struct {
    const char *spec;
    const amg_window *window; /* NULL: no tokens */
    amg_dataset *given, *opened;
} opening;

static amg_status open_item(void *context, int64_t item, amg_error *err)
{
    opening *one = (opening *)context + item;
    if (one->given || !one->spec) return AMG_OK;
    return amg_dataset_open_window(one->spec, one->window, &one->opened, err);
}

amg_status amg_inputs_open(const amg_obfuscate_options *o, const amg_graph *model,
                           amg_inputs *out, amg_error *err)
{
    amg_inputs in = {.train = o->train_set,
                     .val = o->val_set,
                     .covers = o->cover_set,
                     .val_covers = o->val_cover_set};
    const char *const specs[4] = {o->train, o->val, o->covers, o->val_covers};
    amg_dataset **const sets[4] = {&in.train, &in.val, &in.covers, &in.val_covers};
    const amg_window window = choose_window(o, model);
    opening all[4];
    for (int i = 0; i < 4; i++)
        all[i] = (opening){specs[i], window.seq > 0 ? &window : NULL, *sets[i], NULL};
    amg_status st = amg_parallel_items(4, open_item, all, err);
    for (int i = 0; i < 4; i++) {
        in.opened[i] = all[i].opened;
        if (all[i].opened) *sets[i] = all[i].opened;
    }
    if (!st) st = choose_task(o, model, &in, err);
    if (!st) {
        describe_tokens(model, &in);
        st = check_all(o, model, &in, err);
    }
    if (!st) {
        count_classes(model, o->pair_classes, &in);
        *out = in;
    } else {
        amg_inputs_close(&in);
    }
    return st;
}

void amg_inputs_close(amg_inputs *in)
{
    for (int i = 0; i < 4; i++) amg_dataset_close(in->opened[i]);
    *in = (amg_inputs){0};
}
