/* One owner's side of a job, as the library's callers give it. Consumes options and
 * data sets, produces what obfuscate/ takes; which networks share a job is not its
 * business. */
#include "api/owner.h"

/* amg_task_find_name knows them all. */
static const char *const tasks[] = {"classification", "regression",  "reconstruction",
                                    "language_model", "multi_label", "multi_task",
                                    "classify",       "lm",          NULL};

void api_owner_options(api_owner *w, api_option table[API_NUM_OWNER_OPTIONS])
{
    amg_obfuscate_options *o = &w->o;
    const api_option options[API_NUM_OWNER_OPTIONS] = {
        {"model", API_STRING, &o->model, .required = true},
        {"key", API_STRING, &o->key, .required = true},
        {"task", API_CHOICE, &w->task, .choices = tasks},
        {"keep_classes", API_BOOL, &o->keep_classes},
        {"keep_tokens", API_BOOL, &o->keep_tokens},
        {"symmetry", API_BOOL, &o->symmetry},
        {"rotate", API_BOOL, &o->rotate},
        {"seq", API_INT, &o->window.seq, 1, 1 << 28},
        {"stride", API_INT, &o->window.stride, 1, 1 << 28},
        {"mean", API_REALS, o->preprocess.mean, .max_count = 16, .count = &w->num_mean},
        {"std", API_REALS, o->preprocess.std, .max_count = 16, .count = &w->num_std},
        {"loss", API_STRING, &o->loss.loss},
        {"class_weights", API_STRING, &o->loss.class_weights},
        {"freeze", API_STRING, &w->freeze},
        {"freeze_norm_stats", API_BOOL, &o->freeze_norm_stats},
        {"note", API_STRING, &o->note},
        {"seed_hex", API_STRING, &o->seed_hex},
    };
    w->task = -1;
    for (int i = 0; i < API_NUM_OWNER_OPTIONS; i++) table[i] = options[i];
}

static amg_status check_normalisation(const api_owner *w, amg_error *err)
{
    if (w->num_mean != w->num_std)
        return amg_fail(err, AMG_INVALID, -1, "options",
                        "%d mean%s and %d deviation%s, expected as many", w->num_mean,
                        amg_plural(w->num_mean), w->num_std, amg_plural(w->num_std));
    for (int i = 0; i < w->num_std; i++)
        if (!(w->o.preprocess.std[i] > 0))
            return amg_fail(err, AMG_INVALID, -1, "options",
                            "deviation %d is %g, expected above 0", i,
                            (double)w->o.preprocess.std[i]);
    return AMG_OK;
}

static amg_status find_task(api_owner *w, amg_error *err)
{
    w->o.task_by_data = w->task < 0;
    if (w->task < 0 || amg_task_find_name(tasks[w->task], &w->o.task)) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "options", "no task \"%s\"", tasks[w->task]);
}

static amg_status open_data(api_owner *w, const amalgam_datasets *data, amg_error *err)
{
    amg_obfuscate_options *o = &w->o;
    o->train = data->train.spec;
    o->val = data->val.spec;
    o->covers = data->covers.spec;
    o->val_covers = data->val_covers.spec;
    amg_status st = api_dataset_open(&data->train, &o->train_set, err);
    if (!st) st = api_dataset_open(&data->val, &o->val_set, err);
    if (!st) st = api_dataset_open(&data->covers, &o->cover_set, err);
    if (!st) st = api_dataset_open(&data->val_covers, &o->val_cover_set, err);
    if (!st && !o->train && !o->train_set)
        st = amg_fail(err, AMG_INVALID, -1, "options", "no training data");
    const amg_dataset_info *info =
        o->train_set ? amg_dataset_get_info(o->train_set) : NULL;
    if (!st && o->task_by_data && info && info->target_dtype == AMG_DTYPE_NONE &&
        info->vocab_size == 0) {
        o->task = AMG_TASK_RECONSTRUCTION;
        o->task_by_data = false;
    }
    return st;
}

amg_status api_owner_open(api_owner *w, const char *passphrase,
                          const amalgam_datasets *data, amg_error *err)
{
    w->o.preprocess.num_channels = w->num_mean;
    w->o.freeze = &w->freeze;
    w->o.num_freeze = w->freeze != NULL;
    amg_status st = check_normalisation(w, err);
    if (!st) st = find_task(w, err);
    if (!st) st = open_data(w, data, err);
    if (!st) st = api_passphrase_init(passphrase, &w->passphrase, err);
    w->o.passphrase = w->passphrase.text ? &w->passphrase : NULL;
    return st;
}

void api_owner_close(api_owner *w)
{
    api_passphrase_clear(&w->passphrase);
    amg_dataset_close(w->o.train_set);
    amg_dataset_close(w->o.val_set);
    amg_dataset_close(w->o.cover_set);
    amg_dataset_close(w->o.val_cover_set);
}
