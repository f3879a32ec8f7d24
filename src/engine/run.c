/* Sets up a training run: plans, buffers. Everything a step needs is allocated here, so
 * that a step allocates nothing. What goes in and out of files is in run_store.c. */
#include "engine/run.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "graph/freeze.h"

static amg_status resolve_options(const amg_train_options *in, amg_train_options *out,
                                  amg_error *err)
{
    static const char where[] = "training options";
    amg_train_options o = *in;
    if (o.batch == 0) o.batch = AMG_DEFAULT_BATCH;
    if (o.epochs == 0) o.epochs = 1;
    if (o.accumulate == 0) o.accumulate = 1;
    if (o.batch < 0 || o.accumulate < 0 || o.epochs < 0 || o.max_steps < 0 ||
        o.checkpoint_steps < 0 || o.threads < 0 || o.early_stop < 0)
        return amg_fail(err, AMG_INVALID, -1, where, "a count is negative");
    if (o.batch % o.accumulate)
        return amg_fail(err, AMG_INVALID, -1, where,
                        "a batch of %lld does not divide into %lld parts",
                        (long long)o.batch, (long long)o.accumulate);
    if (!(o.ema >= 0 && o.ema < 1))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "the average's decay is %g, expected 0 to below 1", o.ema);
    if (!(o.label_smoothing >= 0 && o.label_smoothing <= 1))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "label smoothing is %g, expected 0 to 1",
                        (double)o.label_smoothing);
    *out = o;
    return amg_optimizer_check(&o.optimizer, err);
}

static bool has_images_as_targets(const amg_train_task *t)
{
    if (t->train->target_rank >= 2) return true;
    for (int h = 0; h < t->graph->num_outputs; h++)
        for (int i = 0; i < t->objectives[h].num_parts; i++) {
            const amg_loss_part *part = &t->objectives[h].parts[i];
            if (part->rank - (part->loss == AMG_LOSS_CROSS_ENTROPY) >= 2) return true;
        }
    return false;
}

static amg_status check_task(const amg_train_task *t, const amg_train_options *o,
                             amg_error *err)
{
    const int64_t batch = o->batch;
    const int n = t->graph->num_outputs;
    if (n < 1 || n > AMG_MAX_HEADS)
        return amg_fail(err, AMG_INVALID, -1, "model", "%d heads, expected 1 to %d", n,
                        AMG_MAX_HEADS);
    if (t->num_params_sets != n)
        return amg_fail(err, AMG_INVALID, -1, "model",
                        "%d parameter set%s for %d head%s", t->num_params_sets,
                        amg_plural(t->num_params_sets), n, amg_plural(n));
    if (t->train->num_samples < batch) {
        (void)amg_fail(err, AMG_INVALID, -1, "training data",
                       "%lld sample%s, less than one batch of %lld",
                       (long long)t->train->num_samples,
                       amg_plural(t->train->num_samples), (long long)batch);
        amg_hint(err, "choose a smaller batch");
        return AMG_INVALID;
    }
    if (!t->val && (o->best || o->early_stop)) {
        (void)amg_fail(err, AMG_INVALID, -1, "validation data",
                       "there are none, %s needs them",
                       o->best ? "keeping the best weights" : "stopping early");
        amg_hint(err, "give them with --val: amalgam obfuscate's for a job");
        return AMG_INVALID;
    }
    if (o->augment && has_images_as_targets(t))
        return amg_fail(err, AMG_UNSUPPORTED, -1, "augmentation",
                        "the targets are images, too, and would have to be cropped and "
                        "mirrored alike");
    if (t->val && t->val->num_samples < 1)
        return amg_fail(err, AMG_INVALID, -1, "validation data", "no samples");
    return AMG_OK;
}

/* Plans the graph for a part of a batch, makes sure that no head can touch another and
 * that the data fit every head. */
static amg_status plan_graph(amg_run *run, amg_error *err)
{
    const amg_train_task *t = run->task;
    amg_status status = amg_graph_plan_batch(t->graph, run->part, &run->planned, err);
    if (status) return status;
    int *owner = amg_calloc((size_t)run->planned->num_nodes, sizeof *owner);
    if (!owner) return amg_fail(err, AMG_NO_MEMORY, -1, "model", "sub-networks");
    status = amg_graph_subnetworks(run->planned, owner, err);
    amg_free(owner);
    if (!status) status = amg_batch_check(run->planned, t->train, err);
    if (!status && t->val) status = amg_batch_check(run->planned, t->val, err);
    for (int h = 0; h < run->num_heads && !status; h++) {
        const amg_objective *o = &t->objectives[h];
        amg_criterion
            same; /* the validation's, but for the source it was checked with */
        status =
            amg_criterion_init(run->planned, h, o, t->train, &run->criteria[h], err);
        if (!status && t->val)
            status = amg_criterion_init(run->planned, h, o, t->val, &same, err);
    }
    return status;
}

/* Every frozen name must be a parameter's, or a misspelt one would train. */
static amg_status mark_frozen(amg_run *run, amg_error *err)
{
    const amg_train_task *t = run->task;
    const amg_graph *g = run->planned;
    int found = 0;
    if (t->num_frozen == 0) return AMG_OK;
    run->frozen = amg_calloc((size_t)g->num_values + 1, sizeof *run->frozen);
    if (!run->frozen) return amg_fail(err, AMG_NO_MEMORY, -1, "model", "frozen names");
    for (int v = 0; v < g->num_values; v++) {
        const amg_value *val = &g->values[v];
        run->frozen[v] = val->kind == AMG_VALUE_PARAM &&
                         val->role != AMG_ROLE_CONSTANT &&
                         amg_frozen_has(t->frozen, t->num_frozen, val->name);
        found += run->frozen[v];
    }
    if (found == t->num_frozen) return AMG_OK;
    int i = 0;
    while (i < t->num_frozen) {
        const int v = amg_graph_find_value(g, t->frozen[i]);
        if (v < 0 || !run->frozen[v]) break;
        i++;
    }
    return amg_fail(err, AMG_NOT_FOUND, -1, i < t->num_frozen ? t->frozen[i] : "model",
                    "is to be frozen, but is no parameter of the model");
}

/* States are stored for checkpoints only. */
static bool uses_set(const amg_run *run, int which)
{
    if (which == AMG_SET_PARAMS) return true;
    if (which == AMG_SET_AVERAGE) return run->options.ema > 0;
    if (which == AMG_SET_BEST) return run->options.best;
    return run->task->out_dir && which - AMG_SET_STATES < run->num_states;
}

static amg_status init_head(amg_run *run, int h, amg_error *err)
{
    const amg_params *initial = &run->task->params[h];
    amg_criterion *c = &run->criteria[h];
    /* Only labels can follow the classes of a last layer. */
    const bool has_classes = c->objective.loss == AMG_LOSS_CROSS_ENTROPY;
    amg_class_order *order = &run->orders[h];
    amg_head_result *last = &run->progress[h].last;
    run->progress[h].best.val_loss = INFINITY;
    last->val_loss = last->val_top1 = last->val_top5 = NAN;
    run->progress[h].plateau = amg_plateau_begin(&run->options.optimizer);
    amg_status status =
        amg_class_order_init(run->planned, h, has_classes, initial, order, err);
    if (!status) status = amg_criterion_weigh(c, order, &run->class_weights[h], err);
    for (int i = 0; i < AMG_NUM_SETS && !status; i++)
        if (uses_set(run, i)) status = amg_params_like(initial, &run->sets[h][i], err);
    const amg_plan_options options = {.training = true,
                                      .seed = run->options.seed,
                                      .bf16 = run->options.bf16,
                                      .num_states = run->sum_state +
                                                    (run->options.accumulate > 1),
                                      .kept = c->objective.target,
                                      .row_orders = order->lookups,
                                      .num_row_orders = order->num_lookups,
                                      .frozen = run->frozen,
                                      .augment = run->options.augment,
                                      .parts = run->options.accumulate};
    if (!status) status = amg_plan_new(run->planned, h, &options, &run->plans[h], err);
    if (status) return status;
    if (run->frozen && amg_plan_num_slots(run->plans[h]) == 0)
        return amg_fail(err, AMG_INVALID, -1, c->name,
                        "all of its parameters are frozen: nothing would train");
    amg_params_copy(initial, &run->sets[h][0]);
    amg_class_order_to_canonical(order, &run->sets[h][0]);
    const size_t need = amg_plan_workspace_bytes(run->plans[h]);
    if (need > run->workspace_bytes) run->workspace_bytes = need;
    return amg_plan_load(run->plans[h], &run->sets[h][0], err);
}

static amg_status allocate(amg_run *run, amg_error *err)
{
    size_t target_bytes = 1;
    for (int h = 0; h < run->num_heads; h++) {
        size_t bytes;
        amg_status status =
            amg_criterion_bytes(&run->criteria[h], run->part, &bytes, err);
        if (status) return status;
        if (bytes > target_bytes) target_bytes = bytes;
    }
    run->targets = amg_malloc(target_bytes);
    run->sample_order =
        amg_calloc((size_t)run->task->train->num_samples, sizeof *run->sample_order);
    run->workspace = amg_alloc_aligned(run->workspace_bytes);
    if (!run->targets || !run->sample_order || !run->workspace)
        return amg_fail(err, AMG_NO_MEMORY, -1, "training", "workspace of %zu bytes",
                        run->workspace_bytes);
    for (int h = 0; h < run->num_heads; h++)
        amg_plan_bind(run->plans[h], run->workspace);
    return amg_batch_new(run->task->train, run->part, &run->batch, err);
}

amg_status amg_run_init(amg_run *run, const amg_train_task *task,
                        const amg_train_options *options, const amg_progress *progress,
                        amg_error *err)
{
    run->task = task;
    run->meter.progress = progress;
    run->begin_ns = amg_now_ns();
    run->ordered_epoch = -1;
    run->saved_step = -1;
    amg_status status = resolve_options(options, &run->options, err);
    if (!status) status = check_task(task, &run->options, err);
    if (!status && run->options.resume && !task->out_dir)
        status = amg_fail(err, AMG_INVALID, -1, "training options",
                          "resuming needs a folder with a checkpoint");
    if (status) return status;

    amg_set_threads(run->options.threads);
    run->num_heads = task->graph->num_outputs;
    run->part = run->options.batch / run->options.accumulate;
    run->num_states = amg_optimizer_num_states(&run->options.optimizer);
    run->average_state = run->options.ema > 0 ? run->num_states : -1;
    run->sum_state = run->num_states + (run->options.ema > 0);
    run->steps_per_epoch = task->train->num_samples / run->options.batch;
    if (!amg_mul_i64(run->steps_per_epoch, run->options.epochs, &run->total_steps))
        return amg_fail(err, AMG_OVERFLOW, -1, "training options", "too many epochs");
    const int64_t max_steps = run->options.max_steps;
    run->last_step =
        max_steps && max_steps < run->total_steps ? max_steps : run->total_steps;

    status = plan_graph(run, err);
    if (!status) status = mark_frozen(run, err);
    for (int h = 0; h < run->num_heads && !status; h++) status = init_head(run, h, err);
    if (!status) status = allocate(run, err);
    if (!status && task->out_dir) status = amg_run_open_out_dir(run, err);
    const int64_t left = run->last_step - run->step;
    run->profile =
        (amg_profile){.stream = options->profile,
                      .plans = run->plans,
                      .num_plans = run->num_heads,
                      .batch = run->options.batch,
                      .skip = left > AMG_PROFILE_SKIPPED ? AMG_PROFILE_SKIPPED : 0};
    run->saved_ns = run->timed_ns = amg_now_ns();
    run->timed_step = run->step;
    return status;
}

void amg_run_clear(amg_run *run)
{
    for (int h = 0; h < run->num_heads; h++) {
        amg_plan_free(run->plans[h]);
        amg_class_order_clear(&run->orders[h]);
        amg_free(run->class_weights[h]);
        for (int i = 0; i < AMG_NUM_SETS; i++) amg_params_clear(&run->sets[h][i]);
    }
    if (run->planned) amg_graph_free(run->planned);
    amg_batch_clear(&run->batch);
    amg_free(run->frozen);
    amg_free(run->sample_order);
    amg_free(run->targets);
    amg_free_aligned(run->workspace);
    amg_free(run->checkpoint_path);
    amg_metrics_close(&run->metrics);
    memset(run, 0, sizeof *run);
}
