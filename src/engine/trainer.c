/* The training loop: steps, ends of epochs, metrics, progress and when to save. What a
 * run consists of is in run.c. */
#include "engine/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/evaluate.h"
#include "engine/judge.h"

/* Without checkpoint_steps: at most this much work is lost. */
#define SAVE_INTERVAL_NS (INT64_C(60) * 1000000000)

static bool has_plateau(const amg_run *run)
{
    return run->options.optimizer.schedule == AMG_SCHEDULE_PLATEAU;
}

static double learning_rate(const amg_run *run, int h, int64_t step)
{
    amg_optimizer_options o = run->options.optimizer;
    if (has_plateau(run)) o.lr = run->progress[h].plateau.lr;
    return amg_schedule_lr(&o, step, run->total_steps, run->steps_per_epoch);
}

static void add_result(amg_head_sums *sums, const amg_loss_result *r)
{
    sums->loss += r->loss * (double)r->counted;
    sums->hits += (double)r->top1;
    sums->counted += (double)r->counted;
}

/* Means of what was counted; NaN where that is nothing. */
static void take_means(const amg_criterion *c, const amg_head_sums *sums, double *loss,
                       double *accuracy)
{
    *loss = sums->loss / sums->counted;
    *accuracy = amg_criterion_accuracy(c, sums->hits, sums->counted);
}

/* Sums the gradients of the parts; after the last, the gradient is their mean, in which
 * each weighs by what it counts. */
static void accumulate(amg_run *run, int h, int64_t i, const amg_loss_result *r)
{
    const amg_criterion *c = &run->criteria[h];
    const double most = (double)(run->part * c->positions);
    const double weight = c->objective.has_ignore ? (double)r->counted / most : 1;
    const double total = (i > 0 ? run->weights[h] : 0) + weight;
    run->weights[h] = total;
    const bool last = i + 1 == run->options.accumulate && total > 0;
    amg_gradient_add(run->plans[h], run->sum_state, i == 0, (float)weight,
                     last ? (float)(1 / total) : 1);
}

static void update_head(amg_run *run, int h)
{
    const amg_train_options *o = &run->options;
    amg_optimizer_step(&o->optimizer, learning_rate(run, h, run->step), run->step,
                       o->accumulate > 1 ? run->sum_state : -1, run->plans[h]);
    if (run->average_state >= 0)
        amg_average_add(run->plans[h], run->average_state, o->ema, run->step);
}

/* One head's share of part i of a step: forward, loss, backward; after the last part
 * the update. */
static amg_status step_head(amg_run *run, int h, int64_t i, amg_error *err)
{
    const amg_train_options *o = &run->options;
    amg_plan *plan = run->plans[h];
    const float *output;
    int64_t count;
    memcpy(amg_plan_input(plan), run->batch.x, run->batch.x_bytes);
    amg_status status =
        amg_plan_forward(plan, run->step * o->accumulate + i, &output, &count, err);
    if (status) return status;
    amg_loss_result r[AMG_MAX_LOSSES];
    int64_t clock = amg_profile_clock(&run->profile);
    status = amg_criterion_loss(&run->criteria[h], &run->batch, run->part, plan, output,
                                &run->orders[h], o->label_smoothing, run->targets,
                                amg_plan_doutput(plan), r, err);
    if (status) return status;
    amg_profile_add(&run->profile, AMG_PROFILE_LOSS, clock);
    if (!isfinite(r->loss)) {
        char where[32];
        snprintf(where, sizeof where, "head %d", h);
        status = amg_fail(err, AMG_NOT_FINITE, -1, where, "the loss is %g at step %lld",
                          r->loss, (long long)run->step);
        amg_hint(err, "a smaller learning rate, a warm-up or clipping may help");
        return status;
    }
    status = amg_plan_backward(plan, amg_plan_doutput(plan), err);
    if (status) return status;
    clock = amg_profile_clock(&run->profile);
    if (o->accumulate > 1) accumulate(run, h, i, r);
    if (i + 1 == o->accumulate) update_head(run, h);
    amg_profile_add(&run->profile, AMG_PROFILE_OPTIMIZER, clock);
    add_result(&run->progress[h].epoch, r);
    add_result(&run->progress[h].window, r);
    return AMG_OK;
}

static amg_status train_step(amg_run *run, amg_error *err)
{
    const int64_t epoch = run->epochs_done;
    if (run->ordered_epoch != epoch) {
        amg_epoch_order(run->options.seed, epoch, run->task->train->num_samples,
                        run->sample_order);
        run->ordered_epoch = epoch;
    }
    const int64_t first =
        (run->step - epoch * run->steps_per_epoch) * run->options.batch;
    amg_status status = amg_profile_begin(&run->profile, err);
    for (int64_t i = 0; i < run->options.accumulate && !status; i++) {
        const int64_t clock = amg_profile_clock(&run->profile);
        status = amg_batch_read(&run->batch, run->sample_order + first + i * run->part,
                                0, run->part, err);
        amg_profile_add(&run->profile, AMG_PROFILE_DATA, clock);
        for (int h = 0; h < run->num_heads && !status; h++)
            if (!amg_has_stopped(run, h)) status = step_head(run, h, i, err);
    }
    if (!status) status = amg_profile_end(&run->profile, err);
    if (!status) run->step++;
    return status;
}

/* Heads share one task. */
static bool predicts_tokens(const amg_run *run)
{
    return amg_criterion_is_language_model(&run->criteria[0]);
}

/* Samples a second, or tokens that a head predicts. */
static double speed(const amg_run *run)
{
    const double seconds = (double)(amg_now_ns() - run->timed_ns) * 1e-9;
    const double each = predicts_tokens(run) ? (double)run->criteria[0].positions : 1;
    return (double)((run->step - run->timed_step) * run->options.batch) * each /
           seconds;
}

/* Means over heads that train since the epoch's start, or over all of the last
 * validation. */
static void report(amg_run *run, const char *stage, bool end_of_epoch)
{
    amg_progress_event event = {.stage = stage,
                                .done = run->step,
                                .total = run->last_step,
                                .epoch = run->epochs_done + 1,
                                .num_epochs = run->options.epochs,
                                .per_second = speed(run),
                                .end_of_epoch = end_of_epoch,
                                .predicts_tokens = predicts_tokens(run)};
    const bool all = end_of_epoch || amg_all_have_stopped(run);
    int count = 0;
    for (int h = 0; h < run->num_heads; h++) {
        const amg_head_progress *p = &run->progress[h];
        double loss = p->last.val_loss, accuracy = p->last.val_top1;
        if (!all && amg_has_stopped(run, h)) continue;
        if (!all) take_means(&run->criteria[h], &p->epoch, &loss, &accuracy);
        event.loss += loss;
        event.accuracy += accuracy;
        count++;
    }
    event.loss /= count;
    event.accuracy /= count;
    amg_meter_report(&run->meter, &event);
}

static amg_status write_line(amg_run *run, bool end_of_epoch,
                             const amg_head_result *heads, double per_second,
                             amg_error *err)
{
    double rates[AMG_MAX_HEADS];
    for (int h = 0; h < run->num_heads; h++)
        rates[h] = learning_rate(run, h, run->step - 1);
    const amg_metrics_line line = {.step = run->step,
                                   .epoch = run->epochs_done + 1,
                                   .end_of_epoch = end_of_epoch,
                                   .lr = rates,
                                   .each_lr = has_plateau(run),
                                   .heads = heads,
                                   .num_heads = run->num_heads,
                                   .per_second = per_second,
                                   .predicts_tokens = predicts_tokens(run)};
    return amg_metrics_write(&run->metrics, &line, err);
}

static amg_status write_window(amg_run *run, amg_error *err)
{
    amg_head_result heads[AMG_MAX_HEADS];
    for (int h = 0; h < run->num_heads; h++) {
        amg_head_sums *window = &run->progress[h].window;
        heads[h] = (amg_head_result){NAN, NAN, NAN, NAN, NAN, 0};
        take_means(&run->criteria[h], window, &heads[h].train_loss,
                   &heads[h].train_accuracy);
        *window = (amg_head_sums){0};
    }
    return write_line(run, false, heads, speed(run), err);
}

/* What follows a step: metrics, progress, checkpoint. */
static amg_status after_step(amg_run *run, amg_error *err)
{
    const bool epoch_ends = run->step == (run->epochs_done + 1) * run->steps_per_epoch;
    const int64_t every = run->options.checkpoint_steps;
    amg_status status = AMG_OK;
    if (run->step % AMG_METRICS_EVERY == 0) status = write_window(run, err);
    if (epoch_ends || amg_meter_due(&run->meter)) report(run, "train", false);
    if (status) return status;
    const bool save = every ? run->step % every == 0
                            : amg_now_ns() - run->saved_ns >= SAVE_INTERVAL_NS;
    return save ? amg_run_save(run, err) : AMG_OK;
}

static amg_status validate(amg_run *run, amg_error *err)
{
    amg_status status = AMG_OK;
    for (int h = 0; h < run->num_heads && !status; h++) {
        const amg_params *params;
        if (amg_has_stopped(run, h)) continue;
        status = amg_run_take(run, h, &params, err);
        if (status) return status;
        const amg_eval_task task = {.planned = run->planned,
                                    .output_index = h,
                                    .batch = run->part,
                                    .params = params,
                                    .order = &run->orders[h],
                                    .source = run->task->val,
                                    .objective = &run->task->objectives[h],
                                    .workspace = run->workspace,
                                    .workspace_bytes = run->workspace_bytes};
        status = amg_evaluate_planned(&task, &run->meter, &run->progress[h].last, err);
    }
    return status;
}

/* Validation and the epoch's line. Interrupted before its end, it is done again after
 * resuming: epochs_done counts it only when all is written. */
static amg_status finish_epoch(amg_run *run, amg_error *err)
{
    amg_head_result heads[AMG_MAX_HEADS];
    const double per_second = speed(run);
    amg_status status = run->task->val ? validate(run, err) : AMG_OK;
    if (status) return status;
    for (int h = 0; h < run->num_heads; h++) {
        amg_head_progress *p = &run->progress[h];
        if (!amg_has_stopped(run, h))
            take_means(&run->criteria[h], &p->epoch, &p->last.train_loss,
                       &p->last.train_accuracy);
        heads[h] = p->last;
    }
    status = write_line(run, true, heads, per_second, err);
    if (status) return status;
    report(run, "evaluate", true);
    for (int h = 0; h < run->num_heads && !status; h++) {
        run->progress[h].epoch = (amg_head_sums){0};
        status = amg_judge(run, h, err);
    }
    if (status) return status;
    run->epochs_done++;
    run->timed_ns = amg_now_ns();
    run->timed_step = run->step;
    return run->options.checkpoint_steps ? AMG_OK : amg_run_save(run, err);
}

static amg_status interrupted(amg_run *run, amg_error *err)
{
    amg_status status = amg_run_save(run, err);
    if (status) return status;
    status = amg_fail(err, AMG_INTERRUPTED, -1, "training",
                      "stopped on request after step %lld of %lld",
                      (long long)run->step, (long long)run->last_step);
    if (run->checkpoint_path) amg_hint(err, "resume to go on from here");
    return status;
}

static amg_status run_steps(amg_run *run, amg_error *err)
{
    if (run->options.resume) report(run, "resume", false);
    for (;;) {
        const bool epoch_ended =
            run->step == (run->epochs_done + 1) * run->steps_per_epoch;
        if (!epoch_ended && (run->step >= run->last_step || amg_all_have_stopped(run)))
            break;
        if (run->meter.stop) return interrupted(run, err);
        amg_status status = epoch_ended ? finish_epoch(run, err) : train_step(run, err);
        if (!status && !epoch_ended) status = after_step(run, err);
        if (status == AMG_INTERRUPTED) return interrupted(run, err); /* validating */
        if (status) return status;
    }
    amg_status status = amg_profile_finish(&run->profile, err);
    return status ? status : amg_run_save(run, err);
}

static void fill_result(const amg_run *run, amg_train_result *out)
{
    const bool within_epoch = run->step > run->epochs_done * run->steps_per_epoch;
    memset(out, 0, sizeof *out);
    out->num_heads = run->num_heads;
    out->predicts_tokens = predicts_tokens(run);
    out->steps = run->step;
    out->seconds = (double)(amg_now_ns() - run->begin_ns) * 1e-9;
    out->workspace_bytes = run->workspace_bytes;
    for (int h = 0; h < run->num_heads; h++) {
        const amg_head_progress *p = &run->progress[h];
        out->heads[h] = p->last;
        out->head_steps[h] = amg_head_steps(run, h);
        if (run->options.best && p->best_steps > 0)
            out->heads[h] = p->best;
        else if (within_epoch && !amg_has_stopped(run, h))
            take_means(&run->criteria[h], &p->epoch, &out->heads[h].train_loss,
                       &out->heads[h].train_accuracy);
    }
}

amg_status amg_train(const amg_train_task *task, const amg_train_options *options,
                     const amg_progress *progress, amg_train_result *result,
                     amg_error *err)
{
    amg_run *run = amg_calloc(1, sizeof *run);
    if (!run) return amg_fail(err, AMG_NO_MEMORY, -1, "training", "starting");
    amg_status status = amg_run_init(run, task, options, progress, err);
    if (!status) status = run_steps(run, err);
    if (!status) status = amg_run_finish(run, err);
    if (!status && result) fill_result(run, result);
    amg_run_clear(run);
    amg_free(run);
    return status;
}
