/* amalgam_obfuscate: options and data of the caller -> job folder and key. Consumes
 * JSON and data sets, produces JSON; every choice is obfuscate/'s. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "api/owner.h"
#include "base/file.h"

/* In the order of amg_noise. */
static const char *const noises[] = {"uniform", "gaussian", "laplace", "values",
                                     "unigram", "bigram",   NULL};
static const char *const archs[] = {"auto", "walk", "same", NULL};
static const char *const starts[] = {"auto", "drawn", "same", NULL};

/* As they stand in the JSON, before they are put together. */
typedef struct {
    api_owner own;
    int64_t decoys, walk_steps, shard_bytes;
    int noise, arch, start;
    double amount, model_amount;
} request;

static amg_status read_request(const char *text, request *r, amg_json *doc,
                               amg_error *err)
{
    enum { NUM_MORE = 11 };
    amg_obfuscate_options *o = &r->own.o;
    const api_option more[NUM_MORE] = {
        {"out", API_STRING, &o->out, .required = true},
        {"decoys", API_INT, &r->decoys, 1, 63},
        {"pair_classes", API_BOOL, &o->pair_classes},
        {"decoy_arch", API_CHOICE, &r->arch, .choices = archs},
        {"decoy_start", API_CHOICE, &r->start, .choices = starts},
        {"walk_steps", API_INT, &r->walk_steps, 1, 1000},
        {"noise", API_CHOICE, &r->noise, .choices = noises},
        {"noise_values", API_STRING, &o->noise_values},
        {"amount", API_REAL, &r->amount, 0.01, 100},
        {"model_amount", API_REAL, &r->model_amount, 0.001, 1000},
        {"shard_bytes", API_INT, &r->shard_bytes, 1, 1e15},
    };
    api_option table[API_NUM_OWNER_OPTIONS + NUM_MORE];
    api_owner_options(&r->own, table);
    memcpy(table + API_NUM_OWNER_OPTIONS, more, sizeof more);
    return api_options_read(text, table, sizeof table / sizeof *table, doc, err);
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
    if (r->own.o.pair_classes && !covers)
        return amg_fail(err, AMG_INVALID, -1, where, "pair_classes needs covers");
    if (r->model_amount > 0 && (!paper || r->arch == AMG_DECOY_SAME))
        return amg_fail(
            err, AMG_INVALID, -1, where,
            "model_amount goes with paper mode only, not with decoy_arch same");
    if (r->start == AMG_START_SAME &&
        (r->arch == AMG_DECOY_WALK || (paper && r->arch != AMG_DECOY_SAME)))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "decoy_start same needs decoys of the model's own architecture "
                        "(decoy_arch same)");
    if ((r->noise == AMG_NOISE_VALUES) != (r->own.o.noise_values != NULL))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "noise \"values\" and noise_values go together");
    return AMG_OK;
}

/* Every option in its place; paper mode is chosen by any of its options. */
static amg_status settle(request *r, const amalgam_datasets *data, amg_error *err)
{
    const bool covers = data->covers.spec || data->covers.dataset;
    const bool paper = r->noise >= 0 || r->amount > 0;
    amg_status st = check_request(r, covers, paper, err);
    if (st) return st;
    amg_obfuscate_options *o = &r->own.o;
    o->num_decoys = (int)r->decoys;
    o->decoys.arch = (amg_decoy_arch)r->arch;
    o->decoys.start = (amg_decoy_start)r->start;
    o->decoys.walk_steps = (int)r->walk_steps;
    o->shard_bytes = (size_t)r->shard_bytes;
    o->mode = paper ? AMG_MODE_PAPER : AMG_MODE_STREAMS;
    if (paper) {
        o->noise = r->noise < 0 ? AMG_NOISE_UNIFORM : (amg_noise)r->noise;
        o->amount = r->amount > 0 ? r->amount : 0.5;
        if (r->arch != AMG_DECOY_SAME)
            o->decoys.model_amount = r->model_amount > 0 ? r->model_amount : 0.5;
    }
    return AMG_OK;
}

static amg_status describe(const amg_obfuscate_result *r, char **out, amg_error *err)
{
    return api_result(
        json_pack(
            "{s:s, s:i, s:I, s:I, s:o, s:o, s:f, s:f, s:I, s:I, s:b, s:b, s:s?, s:b, "
            "s:s?, s:i, s:i, s:b, s:o?, s:b, s:b, s:s?, s:I, s:I, s:f}",
            "task", amg_task_name(r->task), "decoys", r->num_decoys, "train_samples",
            (json_int_t)r->num_train, "val_samples", (json_int_t)r->num_val, "sample",
            api_dims(3, r->dims), "job_sample", api_dims(3, r->out_dims),
            "compute_factor", r->compute_factor, "upload_factor", r->upload_factor,
            "own_parameters", (json_int_t)r->own_params, "job_parameters",
            (json_int_t)r->job_params, "classes_permuted", r->labels_permuted,
            "tokens_permuted", r->tokens_permuted, "tokens_kept", r->tokens_kept,
            "same_arch", r->same_arch, "textbook", r->textbook, "unknown_init",
            r->num_unknown_init, "frozen", r->num_frozen, "same_start", r->same_start,
            "block", r->block[0] ? api_dims(2, r->block) : NULL, "patches", r->patches,
            "rotated", r->rotated, "patches_kept", r->patches_kept, "passed_over",
            (json_int_t)r->num_passed_over, "job_bytes", (json_int_t)r->job_bytes,
            "seconds", r->seconds),
        out, err);
}

amg_status amalgam_obfuscate(const char *options, const char *passphrase,
                             const amalgam_datasets *data, const amg_progress *progress,
                             char **result, amg_error *err)
{
    request r = {.noise = -1};
    amg_json doc;
    amg_obfuscate_result made;
    amg_status st = read_request(options, &r, &doc, err);
    if (st) return st;
    st = settle(&r, data, err);
    if (!st) st = api_owner_open(&r.own, passphrase, data, err);
    if (!st) st = amg_obfuscate(&r.own.o, progress, &made, err);
    if (!st && (st = describe(&made, result, err))) {
        amg_dir_remove(r.own.o.out);
        (void)remove(r.own.o.key);
    }
    api_owner_close(&r.own);
    amg_json_clear(&doc);
    return st;
}
