/* The sum over an output's parts. A sample's row of outputs holds the parts one behind
 * the other, and its row of targets likewise:
 *
 *     output   [samples, outputs]   part 0 | part 1 | …
 *     targets  [samples, targets]   part 0 | part 1 | …
 *
 * Each part's columns are copied together, so that loss.c sees what it would see of a
 * model of this one output, and its gradient is copied back. */
#include "engine/sum_loss.h"

#include <string.h>

/* One part at work. */
typedef struct {
    const amg_loss_part *part;
    const char *name; /* of the output that it is a part of */
    int index;
    int64_t samples;
    int64_t outputs, targets; /* elements of a sample */
    float *x, *y;             /* [samples, outputs], [samples, targets] */
} term;

static void copy_columns(const float *from, int64_t from_stride, float *to,
                         int64_t to_stride, int64_t count, int64_t samples)
{
    for (int64_t i = 0; i < samples; i++)
        memcpy(to + i * to_stride, from + i * from_stride,
               (size_t)count * sizeof *from);
}

static amg_status check_targets(const term *t, amg_error *err)
{
    for (int64_t i = 0; i < t->samples * t->targets; i++) {
        if (amg_loss_part_takes(t->part, t->y[i])) continue;
        const bool classes = t->part->loss == AMG_LOSS_CROSS_ENTROPY;
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "target %lld of sample %lld of the batch for output %d is %g, "
                        "expected %s0 to %lld",
                        (long long)(i % t->targets), (long long)(i / t->targets),
                        t->index, (double)t->y[i], classes ? "a class from " : "",
                        classes ? (long long)t->part->dims[0] - 1 : 1);
    }
    return AMG_OK;
}

static amg_loss_result class_loss(const term *t, float label_smoothing, float *dx)
{
    const amg_cross_entropy_task task = {.samples = t->samples,
                                         .classes = t->part->dims[0],
                                         .positions = t->targets,
                                         .label_smoothing = label_smoothing};
    for (int64_t i = 0; i < t->samples * t->targets; i++) {
        const int32_t label = (int32_t)t->y[i];
        memcpy(&t->y[i], &label, sizeof label);
    }
    return amg_cross_entropy(&task, t->x, (const int32_t *)t->y, dx);
}

static amg_loss_result term_loss(const term *t, float label_smoothing, float *dx)
{
    const amg_loss_part *p = t->part;
    return p->loss == AMG_LOSS_CROSS_ENTROPY
               ? class_loss(t, label_smoothing, dx)
               : amg_element_loss(p->loss, p->delta, t->x, t->y, t->samples, t->outputs,
                                  dx);
}

amg_status amg_sum_loss(const amg_criterion *c, const amg_batch *batch, int64_t samples,
                        const float *output, float label_smoothing, float *scratch,
                        float *doutput, amg_loss_result *out, amg_error *err)
{
    const int64_t target_stride = (int64_t)(batch->target_bytes / sizeof(float));
    const float *targets =
        (const float *)batch->targets + c->objective.column * c->targets;
    int64_t at = 0, target_at = 0;
    out[0] = (amg_loss_result){.counted = samples};
    for (int i = 0; i < c->objective.num_parts; i++) {
        const amg_loss_part *p = &c->objective.parts[i];
        const term t = {.part = p,
                        .name = c->name,
                        .index = i,
                        .samples = samples,
                        .outputs = amg_loss_part_outputs(p),
                        .targets = amg_loss_part_targets(p),
                        .x = scratch,
                        .y = scratch + samples * c->count};
        copy_columns(output + at, c->count, t.x, t.outputs, t.outputs, samples);
        copy_columns(targets + target_at, target_stride, t.y, t.targets, t.targets,
                     samples);
        const amg_status status = check_targets(&t, err);
        if (status) return status;
        float *dx = doutput ? t.x : NULL;
        out[1 + i] = term_loss(&t, label_smoothing, dx);
        out[0].loss += (double)p->weight * out[1 + i].loss;
        for (int64_t j = 0; dx && j < samples * t.outputs; j++) dx[j] *= p->weight;
        if (dx) copy_columns(dx, t.outputs, doutput + at, c->count, t.outputs, samples);
        at += t.outputs;
        target_at += t.targets;
    }
    return AMG_OK;
}
