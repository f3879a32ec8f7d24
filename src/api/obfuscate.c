/* amalgam_obfuscate: options and data of the caller -> job folder and key. Consumes
 * JSON and data sets, produces JSON; every choice is obfuscate/'s. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "api/options.h"
#include "base/file.h"
#include "obfuscate/obfuscate.h"

/* amg_task_find_name knows them all. */
static const char *const tasks[] = {"classification",
                                    "regression",
                                    "reconstruction",
                                    "language_model",
                                    "classify",
                                    "lm",
                                    NULL};
/* In the order of amg_noise. */
static const char *const noises[] = {"uniform", "gaussian", "laplace", "values",
                                     "unigram", "bigram",   NULL};
static const char *const archs[] = {"auto", "walk", "same", NULL};
static const char *const starts[] = {"auto", "drawn", "same", NULL};

/* As they stand in the JSON, before they are put together. */
typedef struct {
    amg_obfuscate_options o;
    int64_t decoys, walk_steps, shard_bytes;
    int task, noise, arch, start, num_mean, num_std;
    double amount, model_amount;
} request;

static amg_status read_request(const char *text, request *r, amg_json *doc,
                               amg_error *err)
{
    const api_option table[] = {
        {"model", API_STRING, &r->o.model, .required = true},
        {"out", API_STRING, &r->o.out, .required = true},
        {"key", API_STRING, &r->o.key, .required = true},
        {"task", API_CHOICE, &r->task, .choices = tasks},
        {"decoys", API_INT, &r->decoys, 1, 63},
        {"decoy_arch", API_CHOICE, &r->arch, .choices = archs},
        {"decoy_start", API_CHOICE, &r->start, .choices = starts},
        {"walk_steps", API_INT, &r->walk_steps, 1, 1000},
        {"keep_classes", API_BOOL, &r->o.keep_classes},
        {"keep_tokens", API_BOOL, &r->o.keep_tokens},
        {"seq", API_INT, &r->o.window.seq, 1, 1 << 28},
        {"stride", API_INT, &r->o.window.stride, 1, 1 << 28},
        {"mean", API_REALS, r->o.preprocess.mean, .max_count = 16,
         .count = &r->num_mean},
        {"std", API_REALS, r->o.preprocess.std, .max_count = 16, .count = &r->num_std},
        {"noise", API_CHOICE, &r->noise, .choices = noises},
        {"noise_values", API_STRING, &r->o.noise_values},
        {"amount", API_REAL, &r->amount, 0.01, 100},
        {"model_amount", API_REAL, &r->model_amount, 0.001, 1000},
        {"shard_bytes", API_INT, &r->shard_bytes, 1, 1e15},
        {"note", API_STRING, &r->o.note},
        {"seed_hex", API_STRING, &r->o.seed_hex},
    };
    return api_options_read(text, table, sizeof table / sizeof *table, doc, err);
}

static amg_status check_normalisation(const request *r, amg_error *err)
{
    if (r->num_mean != r->num_std)
        return amg_fail(err, AMG_INVALID, -1, "options",
                        "%d mean%s and %d deviation%s, expected as many", r->num_mean,
                        amg_plural(r->num_mean), r->num_std, amg_plural(r->num_std));
    for (int i = 0; i < r->num_std; i++)
        if (!(r->o.preprocess.std[i] > 0))
            return amg_fail(err, AMG_INVALID, -1, "options",
                            "deviation %d is %g, expected above 0", i,
                            (double)r->o.preprocess.std[i]);
    return AMG_OK;
}

/* Options that exclude or need each other. */
static amg_status check_request(const request *r, bool covers, bool paper,
                                amg_error *err)
{
    static const char where[] = "options";
    if (covers && paper)
        return amg_fail(err, AMG_INVALID, -1, where,
                        "covers and noise (paper mode) exclude each other");
    if (!covers && !paper) {
        amg_fail(err, AMG_INVALID, -1, where,
                 "nothing to fill the decoys' streams with: no covers");
        amg_hint(err, "best is a random part of the data's own source");
        return AMG_INVALID;
    }
    if (r->model_amount > 0 && (!paper || r->arch == AMG_DECOY_SAME))
        return amg_fail(
            err, AMG_INVALID, -1, where,
            "model_amount goes with paper mode only, not with decoy_arch same");
    if (r->start == AMG_START_SAME &&
        (r->arch == AMG_DECOY_WALK || (paper && r->arch != AMG_DECOY_SAME)))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "decoy_start same needs decoys of the model's own architecture "
                        "(decoy_arch same)");
    if ((r->noise == AMG_NOISE_VALUES) != (r->o.noise_values != NULL))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "noise \"values\" and noise_values go together");
    return check_normalisation(r, err);
}

/* Every option in its place; paper mode is chosen by any of its options. */
static amg_status settle(request *r, const amalgam_datasets *data, amg_error *err)
{
    const bool covers = data->covers.spec || data->covers.dataset;
    const bool paper = r->noise >= 0 || r->amount > 0;
    amg_status st = check_request(r, covers, paper, err);
    if (st) return st;
    r->o.task_by_data = r->task < 0;
    if (r->task >= 0 && !amg_task_find_name(tasks[r->task], &r->o.task))
        return amg_fail(err, AMG_INVALID, -1, "options", "no task \"%s\"",
                        tasks[r->task]);
    r->o.num_decoys = (int)r->decoys;
    r->o.decoys.arch = (amg_decoy_arch)r->arch;
    r->o.decoys.start = (amg_decoy_start)r->start;
    r->o.decoys.walk_steps = (int)r->walk_steps;
    r->o.preprocess.num_channels = r->num_mean;
    r->o.shard_bytes = (size_t)r->shard_bytes;
    r->o.mode = paper ? AMG_MODE_PAPER : AMG_MODE_STREAMS;
    if (paper) {
        r->o.noise = r->noise < 0 ? AMG_NOISE_UNIFORM : (amg_noise)r->noise;
        r->o.amount = r->amount > 0 ? r->amount : 0.5;
        if (r->arch != AMG_DECOY_SAME)
            r->o.decoys.model_amount = r->model_amount > 0 ? r->model_amount : 0.5;
    }
    r->o.train = data->train.spec;
    r->o.val = data->val.spec;
    r->o.covers = data->covers.spec;
    r->o.val_covers = data->val_covers.spec;
    return AMG_OK;
}

static amg_status open_data(request *r, const amalgam_datasets *data, amg_error *err)
{
    amg_status st = api_dataset_open(&data->train, &r->o.train_set, err);
    if (!st) st = api_dataset_open(&data->val, &r->o.val_set, err);
    if (!st) st = api_dataset_open(&data->covers, &r->o.cover_set, err);
    if (!st) st = api_dataset_open(&data->val_covers, &r->o.val_cover_set, err);
    if (!st && !r->o.train && !r->o.train_set)
        st = amg_fail(err, AMG_INVALID, -1, "options", "no training data");
    const amg_dataset_info *info =
        r->o.train_set ? amg_dataset_get_info(r->o.train_set) : NULL;
    if (!st && r->o.task_by_data && info && info->target_dtype == AMG_DTYPE_NONE &&
        info->vocab_size == 0) {
        r->o.task = AMG_TASK_RECONSTRUCTION;
        r->o.task_by_data = false;
    }
    return st;
}

static void close_data(request *r)
{
    amg_dataset_close(r->o.train_set);
    amg_dataset_close(r->o.val_set);
    amg_dataset_close(r->o.cover_set);
    amg_dataset_close(r->o.val_cover_set);
}

static amg_status describe(const amg_obfuscate_result *r, char **out, amg_error *err)
{
    return api_result(
        json_pack(
            "{s:s, s:i, s:I, s:I, s:o, s:o, s:f, s:f, s:I, s:I, s:b, s:b, s:s?, s:b, "
            "s:s?, s:i, s:b, s:I, s:I, s:f}",
            "task", amg_task_name(r->task), "decoys", r->num_decoys, "train_samples",
            (json_int_t)r->num_train, "val_samples", (json_int_t)r->num_val, "sample",
            api_dims(3, r->dims), "job_sample", api_dims(3, r->out_dims),
            "compute_factor", r->compute_factor, "upload_factor", r->upload_factor,
            "own_parameters", (json_int_t)r->own_params, "job_parameters",
            (json_int_t)r->job_params, "classes_permuted", r->labels_permuted,
            "tokens_permuted", r->tokens_permuted, "tokens_kept", r->tokens_kept,
            "same_arch", r->same_arch, "textbook", r->textbook, "unknown_init",
            r->num_unknown_init, "same_start", r->same_start, "passed_over",
            (json_int_t)r->num_passed_over, "job_bytes", (json_int_t)r->job_bytes,
            "seconds", r->seconds),
        out, err);
}

amg_status amalgam_obfuscate(const char *options, const char *passphrase,
                             const amalgam_datasets *data, const amg_progress *progress,
                             char **result, amg_error *err)
{
    request r = {.noise = -1, .task = -1};
    amg_json doc;
    amg_passphrase pass = {0};
    amg_obfuscate_result made;
    amg_status st = read_request(options, &r, &doc, err);
    if (st) return st;
    st = settle(&r, data, err);
    if (!st) st = open_data(&r, data, err);
    if (!st) st = api_passphrase_init(passphrase, &pass, err);
    r.o.passphrase = pass.text ? &pass : NULL;
    if (!st) st = amg_obfuscate(&r.o, progress, &made, err);
    if (!st && (st = describe(&made, result, err))) {
        amg_dir_remove(r.o.out);
        (void)remove(r.o.key);
    }
    api_passphrase_clear(&pass);
    close_data(&r);
    amg_json_clear(&doc);
    return st;
}
