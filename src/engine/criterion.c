/* Checks objectives and computes their losses. Knows which target belongs to which
 * output; the arithmetic is in loss.c. */
#include "engine/criterion.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"

static amg_status bad_output(const amg_value *y, const char *expected, amg_error *err)
{
    char found[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_UNSUPPORTED, -1, y->name, "output is %s, expected %s",
                    amg_shape_text(y->dtype, y->rank, y->dims, found), expected);
}

/* The source's targets must be of this dtype and shape. */
static amg_status check_targets(const amg_value *y, const amg_objective *o,
                                const amg_source *s, amg_dtype dtype, int rank,
                                const int64_t *dims, amg_error *err)
{
    if (o->column < 0 || o->column >= s->num_columns)
        return amg_fail(err, AMG_MISMATCH, -1, y->name,
                        "target column is %d, the data have %d", o->column,
                        s->num_columns);
    if (s->target_dtype == dtype && s->target_rank == rank &&
        !memcmp(s->target_dims, dims, (size_t)rank * sizeof *dims))
        return AMG_OK;
    char found[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    return amg_fail(
        err, AMG_MISMATCH, -1, y->name,
        "the targets of one sample are %s, the output asks for %s",
        amg_shape_text(s->target_dtype, s->target_rank, s->target_dims, found),
        amg_shape_text(dtype, rank, dims, want));
}

/* Reconstruction: the value must be like the output, and the plan keeps it. */
static amg_status check_kept(const amg_graph *g, const amg_value *y, const char *name,
                             amg_error *err)
{
    char found[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    const int value = amg_graph_find_value(g, name);
    if (value < 0)
        return amg_fail(err, AMG_NOT_FOUND, -1, y->name,
                        "its target \"%s\" is no value of the model", name);
    const amg_value *t = &g->values[value];
    if (t->dtype == AMG_F32 && t->rank == y->rank &&
        !memcmp(t->dims, y->dims, (size_t)y->rank * sizeof *y->dims))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, y->name,
                    "output is %s, its target \"%s\" is %s",
                    amg_shape_text(y->dtype, y->rank, y->dims, want), name,
                    amg_shape_text(t->dtype, t->rank, t->dims, found));
}

amg_status amg_criterion_init(const amg_graph *planned, int output_index,
                              const amg_objective *objective, const amg_source *source,
                              amg_criterion *out, amg_error *err)
{
    const amg_value *y = &planned->values[planned->outputs[output_index]];
    const bool classes = objective->loss == AMG_LOSS_CROSS_ENTROPY;
    amg_criterion c = {.objective = *objective, .count = 1, .positions = 1};
    if (y->dtype != AMG_F32 || y->rank < (classes ? 2 : 1))
        return bad_output(y, classes ? "f32[batch, classes, ...]" : "f32[batch, ...]",
                          err);
    for (int i = 1; i < y->rank; i++)
        if (y->dims[i] < 1 || !amg_mul_i64(c.count, y->dims[i], &c.count))
            return bad_output(y, "a shape that fits", err);
    amg_status status;
    if (classes) {
        c.classes = y->dims[1];
        c.positions = c.count / c.classes;
        status =
            check_targets(y, objective, source, AMG_I32, y->rank - 2, y->dims + 2, err);
    } else if (objective->target) {
        status = check_kept(planned, y, objective->target, err);
    } else {
        status =
            check_targets(y, objective, source, AMG_F32, y->rank - 1, y->dims + 1, err);
    }
    if (!status) *out = c;
    return status;
}

/* Elements of one sample's target that come from the source. */
static int64_t gathered_count(const amg_criterion *c)
{
    if (c->objective.loss == AMG_LOSS_CROSS_ENTROPY) return c->positions;
    return c->objective.target ? 0 : c->count;
}

amg_status amg_criterion_bytes(const amg_criterion *c, int64_t samples, size_t *out,
                               amg_error *err)
{
    int64_t count;
    if (amg_mul_i64(samples, gathered_count(c), &count) &&
        amg_mul_size((size_t)count, sizeof(float), out))
        return AMG_OK;
    return amg_fail(err, AMG_OVERFLOW, -1, "training", "%lld samples of %lld targets",
                    (long long)samples, (long long)gathered_count(c));
}

/* The objective's column of the batch, one sample after the other. */
static void gather(const amg_criterion *c, const amg_batch *batch, int64_t samples,
                   void *out)
{
    const size_t bytes = (size_t)gathered_count(c) * sizeof(float);
    const uint8_t *from = batch->targets + (size_t)c->objective.column * bytes;
    for (size_t i = 0; i < (size_t)samples; i++)
        memcpy((uint8_t *)out + i * bytes, from + i * batch->target_bytes, bytes);
}

amg_loss_result amg_criterion_loss(const amg_criterion *c, const amg_batch *batch,
                                   int64_t samples, const amg_plan *plan,
                                   const float *output, const amg_class_order *order,
                                   float label_smoothing, void *gathered,
                                   float *doutput)
{
    if (c->objective.target)
        return amg_mse(output, amg_plan_kept(plan), samples, c->count, doutput);
    gather(c, batch, samples, gathered);
    if (c->objective.loss == AMG_LOSS_MSE)
        return amg_mse(output, gathered, samples, c->count, doutput);
    int32_t *labels = gathered;
    for (int64_t i = 0; i < samples * c->positions; i++)
        labels[i] = amg_class_order_label(order, labels[i]);
    return amg_cross_entropy(output, labels, samples, c->classes, c->positions,
                             label_smoothing, doutput);
}

double amg_criterion_accuracy(const amg_criterion *c, double hits, double samples)
{
    if (c->objective.loss != AMG_LOSS_CROSS_ENTROPY) return NAN;
    return hits / (samples * (double)c->positions);
}
