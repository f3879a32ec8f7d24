/* The words for tasks and losses, of job.json and of command lines, and which belong
 * together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/manifest.h"

static const char *const task_names[AMG_NUM_TASKS] = {
    "classification", "regression",  "reconstruction",
    "language_model", "multi_label", "multi_task"};
static const char *const task_aliases[AMG_NUM_TASKS] = {
    [AMG_TASK_CLASSIFICATION] = "classify", [AMG_TASK_LANGUAGE_MODEL] = "lm"};
static const char *const loss_names[AMG_NUM_LOSSES] = {
    "cross_entropy", "mse", "l1", "huber", "smooth_l1", "bce", "sum"};

const char *amg_task_name(amg_task task) { return task_names[task]; }

const char *amg_loss_name(amg_loss_kind loss) { return loss_names[loss]; }

bool amg_task_find_name(const char *name, amg_task *out)
{
    for (int i = 0; i < AMG_NUM_TASKS; i++)
        if (!strcmp(task_names[i], name) ||
            (task_aliases[i] && !strcmp(task_aliases[i], name))) {
            *out = (amg_task)i;
            return true;
        }
    return false;
}

static bool find_loss(const char *name, size_t length, amg_loss_kind *out)
{
    for (int i = 0; i < AMG_NUM_LOSSES; i++)
        if (strlen(loss_names[i]) == length && !strncmp(loss_names[i], name, length)) {
            *out = (amg_loss_kind)i;
            return true;
        }
    return false;
}

bool amg_loss_find_name(const char *name, amg_loss_kind *out)
{
    return find_loss(name, strlen(name), out);
}

amg_status amg_loss_parse(const char *text, amg_loss_kind *loss, float *delta,
                          amg_error *err)
{
    const size_t length = strcspn(text, ":");
    const bool has_number = text[length] == ':';
    char *end = NULL;
    amg_loss_kind found;
    if (!find_loss(text, length, &found) || found == AMG_LOSS_SUM)
        return amg_fail(err, AMG_INVALID, -1, "loss",
                        "found \"%.40s\", expected cross_entropy, mse, l1, huber, "
                        "smooth_l1 or bce",
                        text);
    const float value = has_number ? strtof(text + length + 1, &end) : 1;
    if (has_number && !amg_loss_has_delta(found))
        return amg_fail(err, AMG_INVALID, -1, "loss",
                        "found \"%.40s\", but %s has no threshold", text,
                        loss_names[found]);
    if ((end && (*end || end == text + length + 1)) || !(value > 0) || !isfinite(value))
        return amg_fail(err, AMG_INVALID, -1, "loss",
                        "found \"%.40s\", expected a threshold above 0, as in %s:0.5",
                        text, loss_names[found]);
    *loss = found;
    *delta = amg_loss_has_delta(found) ? value : 0;
    return AMG_OK;
}

amg_loss_kind amg_task_loss(amg_task task)
{
    switch (task) {
    case AMG_TASK_CLASSIFICATION:
    case AMG_TASK_LANGUAGE_MODEL: return AMG_LOSS_CROSS_ENTROPY;
    case AMG_TASK_MULTI_LABEL: return AMG_LOSS_BCE;
    case AMG_TASK_MULTI_TASK: return AMG_LOSS_SUM;
    case AMG_TASK_REGRESSION:
    case AMG_TASK_RECONSTRUCTION: break;
    }
    return AMG_LOSS_MSE;
}

bool amg_task_takes_loss(amg_task task, amg_loss_kind loss)
{
    const bool numbers = task == AMG_TASK_REGRESSION || task == AMG_TASK_RECONSTRUCTION;
    return loss == amg_task_loss(task) ||
           (numbers && loss != AMG_LOSS_CROSS_ENTROPY && loss != AMG_LOSS_BCE &&
            loss != AMG_LOSS_SUM);
}

bool amg_loss_has_delta(amg_loss_kind loss)
{
    return loss == AMG_LOSS_HUBER || loss == AMG_LOSS_SMOOTH_L1;
}

bool amg_task_has_targets(amg_task task)
{
    return task == AMG_TASK_CLASSIFICATION || task == AMG_TASK_REGRESSION ||
           task == AMG_TASK_MULTI_LABEL || task == AMG_TASK_MULTI_TASK;
}

amg_status amg_loss_resolve(const amg_loss_options *o, amg_task task,
                            amg_loss_kind *loss, float *delta, amg_error *err)
{
    *loss = amg_task_loss(task);
    *delta = 0;
    if (o->loss && *loss != AMG_LOSS_SUM) {
        amg_status st = amg_loss_parse(o->loss, loss, delta, err);
        if (st) return st;
    }
    if (!amg_task_takes_loss(task, *loss)) {
        (void)amg_fail(err, AMG_INVALID, -1, "loss", "%s is no loss of the task %s",
                       amg_loss_name(*loss), amg_task_name(task));
        amg_hint(err, *loss == AMG_LOSS_BCE
                          ? "labels of which several may apply are the task multi_label"
                          : "numbers are the task regression, labels classification");
        return AMG_INVALID;
    }
    if (!o->class_weights || task == AMG_TASK_CLASSIFICATION) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "class weights",
                    "the task is %s, only classification has them",
                    amg_task_name(task));
}

amg_status amg_class_weights_parse(const char *text, int64_t classes, bool *balanced,
                                   float *out, amg_error *err)
{
    static const char where[] = "class weights";
    const char *at = text;
    bool any = false;
    *balanced = !strcmp(text, "balanced");
    for (int64_t c = 0; c < classes && !*balanced; c++) {
        char *end;
        out[c] = strtof(at, &end);
        if (end == at || !(out[c] >= 0) || !isfinite(out[c]) ||
            (*end != ',' && *end != 0))
            return amg_fail(err, AMG_INVALID, -1, where,
                            "weight %lld is \"%.20s\", expected a number from 0 on, or "
                            "\"balanced\" alone",
                            (long long)c, at);
        any = any || out[c] > 0;
        if ((*end == ',') != (c + 1 < classes))
            return amg_fail(err, AMG_INVALID, -1, where,
                            "%s than %lld, one for each class of the model",
                            *end ? "more" : "fewer", (long long)classes);
        at = end + 1;
    }
    if (any || *balanced) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, where, "all are 0");
}

void amg_class_weights_balance(const int64_t *counts, int64_t classes, float *out)
{
    double all = 0;
    for (int64_t c = 0; c < classes; c++) all += (double)counts[c];
    for (int64_t c = 0; c < classes; c++)
        out[c] = counts[c] ? (float)(all / ((double)classes * (double)counts[c])) : 0;
}
