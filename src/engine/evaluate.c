/* Evaluation: an inference plan over a whole source. The last batch is padded with
 * zero samples, which inference computes independently and nothing counts. */
#include "engine/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/criterion.h"

/* What an evaluation owns. */
typedef struct {
    amg_plan *plan;
    void *own_workspace;
    amg_batch batch;
    amg_criterion criterion;
    float *class_weights; /* the criterion's */
    void *targets;        /* of one batch, in the head's order of classes */
} evaluation;

static amg_status prepare(const amg_eval_task *t, evaluation *e, amg_error *err)
{
    const amg_plan_options options = {.kept = t->objective->target,
                                      .row_orders = t->order->lookups,
                                      .num_row_orders = t->order->num_lookups};
    size_t target_bytes = 0;
    amg_status status = amg_batch_check(t->planned, t->source, err);
    if (!status)
        status = amg_criterion_init(t->planned, t->output_index, t->objective,
                                    t->source, &e->criterion, err);
    if (!status)
        status = amg_criterion_weigh(&e->criterion, t->order, &e->class_weights, err);
    if (!status)
        status = amg_criterion_bytes(&e->criterion, t->batch, &target_bytes, err);
    if (!status && t->source->num_samples < 1)
        status = amg_fail(err, AMG_INVALID, -1, "evaluation", "no samples");
    if (!status)
        status = amg_plan_new(t->planned, t->output_index, &options, &e->plan, err);
    if (!status) status = amg_plan_load(e->plan, t->params, err);
    if (!status) status = amg_batch_new(t->source, t->batch, &e->batch, err);
    if (status) return status;
    void *workspace = t->workspace;
    const size_t need = amg_plan_workspace_bytes(e->plan);
    if (!workspace || t->workspace_bytes < need)
        workspace = e->own_workspace = amg_alloc_aligned(need);
    e->targets = amg_malloc(target_bytes ? target_bytes : 1);
    if (!workspace || !e->targets)
        return amg_fail(err, AMG_NO_MEMORY, -1, "evaluation", "workspace of %zu bytes",
                        need);
    amg_plan_bind(e->plan, workspace);
    return AMG_OK;
}

static void report(const amg_criterion *c, amg_meter *meter, int64_t done,
                   int64_t total, int64_t begin_ns)
{
    if (!amg_meter_due(meter)) return;
    const bool tokens = amg_criterion_is_language_model(c);
    const double seconds = (double)(amg_now_ns() - begin_ns) * 1e-9;
    const double count = (double)done * (tokens ? (double)c->positions : 1);
    const amg_progress_event event = {.stage = "evaluate",
                                      .done = done,
                                      .total = total,
                                      .loss = NAN,
                                      .accuracy = NAN,
                                      .per_second = count / seconds,
                                      .predicts_tokens = tokens};
    amg_meter_report(meter, &event);
}

static void add(amg_loss_result *total, const amg_loss_result *r)
{
    total->loss += r->loss * (double)r->counted;
    total->top1 += r->top1;
    total->top5 += r->top5;
    total->counted += r->counted;
}

/* One batch; adds to the totals (AMG_MAX_LOSSES), losses as sums over what was counted.
 */
static amg_status run_batch(const amg_eval_task *t, evaluation *e, int64_t first,
                            int64_t count, amg_loss_result *total, amg_error *err)
{
    const float *output;
    int64_t output_count;
    amg_status status = amg_batch_read(&e->batch, NULL, first, count, err);
    if (status) return status;
    memcpy(amg_plan_input(e->plan), e->batch.x, e->batch.x_bytes);
    status = amg_plan_forward(e->plan, 0, &output, &output_count, err);
    if (status) return status;
    amg_loss_result r[AMG_MAX_LOSSES];
    status = amg_criterion_loss(&e->criterion, &e->batch, count, e->plan, output,
                                t->order, 0, e->targets, NULL, r, err);
    if (status) return status;
    for (int i = 0; i <= t->objective->num_parts; i++) add(&total[i], &r[i]);
    return AMG_OK;
}

static void fill_result(const amg_eval_task *t, const amg_criterion *c,
                        const amg_loss_result *total, amg_head_result *out)
{
    const double counted = (double)total->counted;
    out->val_loss = total->loss / counted;
    out->val_counted = counted;
    out->val_top1 = amg_criterion_accuracy(c, (double)total->top1, counted);
    out->val_top5 = t->objective->loss == AMG_LOSS_BCE
                        ? NAN
                        : amg_criterion_accuracy(c, (double)total->top5, counted);
    out->num_parts = t->objective->num_parts;
    for (int i = 0; i < t->objective->num_parts; i++) {
        const amg_loss_result *part = &total[1 + i];
        const double of = (double)part->counted;
        out->parts[i].val_loss = part->loss / of;
        out->parts[i].val_accuracy =
            amg_loss_accuracy(t->objective->parts[i].loss, (double)part->top1, of);
    }
}

amg_status amg_evaluate_planned(const amg_eval_task *t, amg_meter *meter,
                                amg_head_result *result, amg_error *err)
{
    const int64_t n = t->source->num_samples, begin_ns = amg_now_ns();
    amg_loss_result total[AMG_MAX_LOSSES] = {0};
    evaluation e = {0};
    amg_status status = prepare(t, &e, err);
    for (int64_t first = 0; first < n && !status; first += t->batch) {
        const int64_t count = n - first < t->batch ? n - first : t->batch;
        status = run_batch(t, &e, first, count, total, err);
        report(&e.criterion, meter, first + count, n, begin_ns);
        if (!status && meter->stop)
            status =
                amg_fail(err, AMG_INTERRUPTED, -1, "evaluation", "stopped on request");
    }
    if (!status) fill_result(t, &e.criterion, total, result);
    amg_plan_free(e.plan);
    amg_free_aligned(e.own_workspace);
    amg_free(e.targets);
    amg_free(e.class_weights);
    amg_batch_clear(&e.batch);
    return status;
}

amg_status amg_evaluate(const amg_graph *graph, int output_index,
                        const amg_params *params, const amg_source *source,
                        const amg_objective *objective, int64_t batch,
                        const amg_progress *progress, amg_head_result *result,
                        amg_error *err)
{
    const amg_class_order natural = {0};
    amg_meter meter = {.progress = progress};
    amg_head_result r = {NAN, NAN, NAN, NAN, NAN, 0};
    amg_graph *planned;
    if (output_index < 0 || output_index >= graph->num_outputs)
        return amg_fail(err, AMG_INVALID, -1, "evaluation", "output %d of %d",
                        output_index, graph->num_outputs);
    if (batch < 0)
        return amg_fail(err, AMG_INVALID, -1, "evaluation", "batch size is %lld",
                        (long long)batch);
    if (batch == 0) batch = AMG_DEFAULT_BATCH;
    amg_status status = amg_graph_plan_batch(graph, batch, &planned, err);
    if (status) return status;
    const amg_eval_task task = {.planned = planned,
                                .output_index = output_index,
                                .batch = batch,
                                .params = params,
                                .order = &natural,
                                .source = source,
                                .objective = objective};
    status = amg_evaluate_planned(&task, &meter, &r, err);
    if (!status) *result = r;
    amg_graph_free(planned);
    return status;
}
