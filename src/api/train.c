/* amalgam_train_job: native training of a job folder. Consumes JSON options, produces
 * JOB/out/ through engine/job; knows nothing of the owner's side. */
#include <stdio.h>

#include "api/api.h"
#include "api/options.h"
#include "base/alloc.h"
#include "base/file.h"
#include "engine/augment.h"
#include "engine/job.h"

static const char *const precisions[] = {"f32", "bf16", NULL};
/* What each is: the bits of engine/augment.h. */
static const char *const augmentations[] = {"none",        "crop4",       "hflip",
                                            "crop4,hflip", "hflip,crop4", NULL};
static const unsigned kinds[] = {0, AMG_AUGMENT_CROP4, AMG_AUGMENT_HFLIP,
                                 AMG_AUGMENT_CROP4 | AMG_AUGMENT_HFLIP,
                                 AMG_AUGMENT_CROP4 | AMG_AUGMENT_HFLIP};

/* amalgam-train's options, defaults and ranges (cli/train_options.c). */
static amg_status read_options(const char *text, amg_train_options *out, amg_error *err)
{
    amg_train_options o = {.batch = AMG_DEFAULT_BATCH,
                           .epochs = 1,
                           .seed = 1,
                           .optimizer = {.lr = 0.01,
                                         .step_epochs = 30,
                                         .step_gamma = AMG_STEP_GAMMA,
                                         .plateau_patience = AMG_PLATEAU_PATIENCE}};
    amg_optimizer_options *p = &o.optimizer;
    int64_t seed = 1, threads = 0;
    int optimizer = 0, schedule = 0, precision = 0, augment = 0;
    double smoothing = 0;
    const api_option table[] = {
        {"batch", API_INT, &o.batch, 1, 1 << 20},
        {"accumulate", API_INT, &o.accumulate, 1, 1 << 20},
        {"epochs", API_INT, &o.epochs, 1, 1e6},
        {"max_steps", API_INT, &o.max_steps, 1, 9e15},
        {"seed", API_INT, &seed, 0, 9e15},
        {"optimizer", API_CHOICE, &optimizer, .choices = amg_optimizer_names},
        {"lr", API_REAL, &p->lr, 0, 1e6},
        {"momentum", API_REAL, &p->momentum, 0, 1},
        {"nesterov", API_BOOL, &p->nesterov},
        {"weight_decay", API_REAL, &p->weight_decay, 0, 1e6},
        {"beta1", API_REAL, &p->beta1, 1e-9, 1 - 1e-9},
        {"beta2", API_REAL, &p->beta2, 1e-9, 1 - 1e-9},
        {"epsilon", API_REAL, &p->epsilon, 1e-30, 1},
        {"alpha", API_REAL, &p->alpha, 1e-9, 1 - 1e-9},
        {"centered", API_BOOL, &p->centered},
        {"lr_decay", API_REAL, &p->lr_decay, 0, 1e6},
        {"initial_accumulator", API_REAL, &p->initial_accumulator, 0, 1e6},
        {"clip", API_REAL, &p->clip_norm, 0, 1e9},
        {"augment", API_CHOICE, &augment, .choices = augmentations},
        {"label_smoothing", API_REAL, &smoothing, 0, 1},
        {"schedule", API_CHOICE, &schedule, .choices = amg_schedule_names},
        {"warmup", API_INT, &p->warmup_steps, 0, 1e9},
        {"step_epochs", API_INT, &p->step_epochs, 1, 1e6},
        {"step_gamma", API_REAL, &p->step_gamma, 1e-9, 1e3},
        {"ema", API_REAL, &o.ema, 0, 1 - 1e-9},
        {"best", API_BOOL, &o.best},
        {"early_stop", API_INT, &o.early_stop, 1, 1e6},
        {"plateau_patience", API_INT, &p->plateau_patience, 0, 1e6},
        {"plateau_factor", API_REAL, &p->plateau_factor, 1e-9, 1 - 1e-9},
        {"precision", API_CHOICE, &precision, .choices = precisions},
        {"threads", API_INT, &threads, 1, 1024},
        {"checkpoint_steps", API_INT, &o.checkpoint_steps, 1, 9e15},
        {"resume", API_BOOL, &o.resume},
    };
    amg_json doc;
    amg_status st =
        api_options_read(text, table, sizeof table / sizeof *table, &doc, err);
    if (st) return st;
    amg_json_clear(&doc);
    o.seed = (uint64_t)seed;
    o.threads = (int)threads;
    o.bf16 = precision == 1;
    o.label_smoothing = (float)smoothing;
    o.augment = kinds[augment];
    p->kind = (amg_optimizer_kind)optimizer;
    p->schedule = (amg_schedule_kind)schedule;
    *out = o;
    return AMG_OK;
}

/* Of several outputs, each one's; NULL: there is one. */
static json_t *parts_json(const amg_head_result *h)
{
    json_t *list = h->num_parts > 0 ? json_array() : NULL;
    for (int i = 0; i < (int)h->num_parts; i++)
        json_array_append_new(
            list, json_pack("{s:o, s:o}", "val_loss", api_real(h->parts[i].val_loss),
                            "val_accuracy", api_real(h->parts[i].val_accuracy)));
    return list;
}

static json_t *head_json(const amg_head_result *h, int64_t steps)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o*}", "steps", (json_int_t)steps,
                     "train_loss", api_real(h->train_loss), "train_accuracy",
                     api_real(h->train_accuracy), "val_loss", api_real(h->val_loss),
                     "val_top1", api_real(h->val_top1), "val_top5",
                     api_real(h->val_top5), "outputs", parts_json(h));
}

static amg_status describe(const char *job, const amg_train_result *r, char **out,
                           amg_error *err)
{
    char *weights = amg_path_join(job, "out/weights.safetensors");
    if (!weights) return amg_fail(err, AMG_NO_MEMORY, -1, job, "no memory");
    json_t *heads = json_array();
    for (int i = 0; i < r->num_heads; i++)
        json_array_append_new(heads, head_json(&r->heads[i], r->head_steps[i]));
    json_t *value =
        json_pack("{s:s, s:I, s:f, s:o}", "weights", weights, "steps",
                  (json_int_t)r->steps, "seconds", r->seconds, "heads", heads);
    amg_free(weights);
    return api_result(value, out, err);
}

amg_status amalgam_train_job(const char *job, const char *options,
                             const amg_progress *progress, char **result,
                             amg_error *err)
{
    amg_train_options o;
    amg_train_result r = {0};
    amg_status st = read_options(options, &o, err);
    if (!st) st = amg_job_train(job, &o, progress, &r, err);
    return st ? st : describe(job, &r, result, err);
}
