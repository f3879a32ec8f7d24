/* Judges epochs. The rule of "best" is the lowest validation loss, the first of equal
 * ones; a loss that is no number is never best. */
#include "engine/judge.h"

static amg_status keep_best(amg_run *run, int h, amg_error *err)
{
    const amg_params *now;
    amg_params *best = &run->sets[h][AMG_SET_BEST];
    amg_status status = amg_run_take(run, h, &now, err);
    if (status) return status;
    amg_params_copy(now, best);
    amg_class_order_to_natural(&run->orders[h], best);
    return AMG_OK;
}

amg_status amg_judge(amg_run *run, int h, amg_error *err)
{
    amg_head_progress *p = &run->progress[h];
    const amg_train_options *o = &run->options;
    const bool validated = run->task->val != NULL;
    if (amg_has_stopped(run, h)) return AMG_OK;
    amg_plateau_observe(&o->optimizer,
                        validated ? p->last.val_loss : p->last.train_loss, &p->plateau);
    if (!validated) return AMG_OK;
    if (p->last.val_loss < p->best.val_loss) {
        amg_status status = o->best ? keep_best(run, h, err) : AMG_OK;
        if (status) return status;
        p->best = p->last;
        p->best_steps = (double)run->step;
        p->bad_epochs = 0;
    } else {
        p->bad_epochs++;
    }
    if (o->early_stop && p->bad_epochs >= (double)o->early_stop)
        p->stopped_steps = (double)run->step;
    return AMG_OK;
}

bool amg_has_stopped(const amg_run *run, int h)
{
    return run->progress[h].stopped_steps > 0;
}

bool amg_all_have_stopped(const amg_run *run)
{
    int h = 0;
    while (h < run->num_heads && amg_has_stopped(run, h)) h++;
    return h == run->num_heads;
}

int64_t amg_head_steps(const amg_run *run, int h)
{
    const amg_head_progress *p = &run->progress[h];
    if (run->options.best && p->best_steps > 0) return (int64_t)p->best_steps;
    return amg_has_stopped(run, h) ? (int64_t)p->stopped_steps : run->step;
}
