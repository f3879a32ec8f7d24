/* What a training run stores: checkpoints, from which it is restored, and what comes
 * out of it. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/run.h"

/* A killed run may leave the temporary file of a checkpoint behind. */
static void remove_temporaries(const char *dir)
{
    static const char prefix[] = AMG_CHECKPOINT_FILE ".tmp-";
    char **names;
    size_t count;
    if (amg_dir_list(dir, &names, &count, NULL)) return;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(names[i], prefix, sizeof prefix - 1) != 0) continue;
        char *path = amg_path_join(dir, names[i]);
        if (path) unlink(path);
        amg_free(path);
    }
    amg_dir_list_free(names, count);
}

static amg_checkpoint checkpoint_of(amg_run *run)
{
    return (amg_checkpoint){.step = run->step,
                            .batches = run->step * run->options.accumulate,
                            .job = run->task->job,
                            .epochs_done = run->epochs_done,
                            .identity = run->identity,
                            .num_heads = run->num_heads,
                            .progress = run->progress,
                            .sets = run->sets};
}

static void mark_saved(amg_run *run)
{
    run->saved_step = run->step;
    run->saved_epochs = run->epochs_done;
    run->saved_ns = amg_now_ns();
}

/* States that outlive a step: the optimizer's and the average. */
static int num_kept_states(const amg_run *run) { return run->sum_state; }

static amg_params *state_set(amg_run *run, int h, int i)
{
    return &run->sets[h]
                     [i == run->average_state ? AMG_SET_AVERAGE : AMG_SET_STATES + i];
}

static amg_status restore(amg_run *run, amg_error *err)
{
    amg_checkpoint c = checkpoint_of(run);
    amg_status status = amg_checkpoint_read(run->checkpoint_path, &c, err);
    if (status) return status;
    const int64_t per_epoch = run->steps_per_epoch;
    if (c.epochs_done < 0 || c.epochs_done > run->options.epochs || c.step < 0 ||
        c.step > run->total_steps || c.step < c.epochs_done * per_epoch ||
        c.step > (c.epochs_done + 1) * per_epoch)
        return amg_fail(err, AMG_MALFORMED, -1, run->checkpoint_path,
                        "step %lld after %lld epoch%s of %lld step%s",
                        (long long)c.step, (long long)c.epochs_done,
                        amg_plural(c.epochs_done), (long long)per_epoch,
                        amg_plural(per_epoch));
    for (int h = 0; h < run->num_heads && !status; h++) {
        for (int i = 0; i < AMG_SET_BEST; i++)
            if (run->sets[h][i].count)
                amg_class_order_to_canonical(&run->orders[h], &run->sets[h][i]);
        status = amg_plan_load(run->plans[h], &run->sets[h][AMG_SET_PARAMS], err);
        for (int i = 0; i < num_kept_states(run) && !status; i++)
            status = amg_plan_load_state(run->plans[h], i, state_set(run, h, i), err);
    }
    run->step = c.step;
    run->epochs_done = c.epochs_done;
    mark_saved(run);
    return status;
}

amg_status amg_run_open_out_dir(amg_run *run, amg_error *err)
{
    const char *dir = run->task->out_dir;
    amg_status status = amg_identity_of(run->task, &run->options, &run->identity, err);
    if (status) return status;
    run->checkpoint_path = amg_path_join(dir, AMG_CHECKPOINT_FILE);
    char *metrics = amg_path_join(dir, AMG_METRICS_FILE);
    if (!run->checkpoint_path || !metrics)
        status = amg_fail(err, AMG_NO_MEMORY, -1, dir, "opening the folder");
    if (!status) remove_temporaries(dir);
    if (!status && run->options.resume) status = restore(run, err);
    if (!status)
        status =
            amg_metrics_open(metrics, run->step, run->epochs_done, &run->metrics, err);
    amg_free(metrics);
    return status;
}

amg_status amg_run_take(amg_run *run, int h, const amg_params **out, amg_error *err)
{
    amg_params *params = &run->sets[h][AMG_SET_PARAMS];
    amg_params *average = &run->sets[h][AMG_SET_AVERAGE];
    amg_status status = amg_plan_store(run->plans[h], params, err);
    *out = params;
    if (status || run->average_state < 0) return status;
    amg_params_copy(params, average); /* those that do not train stay so */
    *out = average;
    return amg_plan_store_state(run->plans[h], run->average_state, average, err);
}

/* Everything of head h that a checkpoint holds, in the task's order of classes. */
static amg_status store_head(amg_run *run, int h, amg_error *err)
{
    amg_status status = amg_plan_store(run->plans[h], &run->sets[h][0], err);
    for (int i = 0; i < num_kept_states(run) && !status; i++)
        status = amg_plan_store_state(run->plans[h], i, state_set(run, h, i), err);
    for (int i = 0; i < AMG_SET_BEST && !status; i++)
        if (run->sets[h][i].count)
            amg_class_order_to_natural(&run->orders[h], &run->sets[h][i]);
    return status;
}

amg_status amg_run_save(amg_run *run, amg_error *err)
{
    if (!run->checkpoint_path ||
        (run->saved_step == run->step && run->saved_epochs == run->epochs_done))
        return AMG_OK;
    amg_status status = AMG_OK;
    for (int h = 0; h < run->num_heads && !status; h++)
        status = store_head(run, h, err);
    if (status) return status;
    const amg_checkpoint c = checkpoint_of(run);
    status = amg_checkpoint_write(run->checkpoint_path, &c, err);
    if (!status) mark_saved(run);
    return status;
}

/* What comes out of head h, in the task's order of classes. */
static amg_status find_outcome(amg_run *run, int h, const amg_params **out,
                               amg_error *err)
{
    *out = &run->sets[h][AMG_SET_BEST];
    if (run->options.best && run->progress[h].best_steps > 0) return AMG_OK;
    amg_status status = amg_run_take(run, h, out, err);
    const int set = run->average_state < 0 ? AMG_SET_PARAMS : AMG_SET_AVERAGE;
    if (!status) amg_class_order_to_natural(&run->orders[h], &run->sets[h][set]);
    return status;
}

amg_status amg_run_finish(amg_run *run, amg_error *err)
{
    const amg_params *outcomes[AMG_MAX_HEADS];
    for (int h = 0; h < run->num_heads; h++) {
        amg_status status = find_outcome(run, h, &outcomes[h], err);
        if (status) return status;
        for (int i = 0; i < outcomes[h]->count; i++) {
            const amg_param *p = &outcomes[h]->items[i];
            if (amg_tensor_find_not_finite(&p->tensor) >= 0)
                return amg_fail(err, AMG_NOT_FINITE, -1, p->name,
                                "head %d: NaN or infinity after step %lld", h,
                                (long long)run->step);
        }
    }
    for (int h = 0; h < run->num_heads; h++)
        amg_params_copy(outcomes[h], &run->task->params[h]);
    return AMG_OK;
}
