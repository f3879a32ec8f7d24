/* Checks objectives and computes their losses. Knows which target belongs to which
 * output; the arithmetic is in loss.c. */
#include "engine/criterion.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "engine/sum_loss.h"

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

/* The value that is to be reconstructed or predicted, and that the plan keeps. */
static amg_status find_target(const amg_graph *g, const amg_value *y, const char *name,
                              const amg_value **out, amg_error *err)
{
    const int value = amg_graph_find_value(g, name);
    if (value < 0)
        return amg_fail(err, AMG_NOT_FOUND, -1, y->name,
                        "its target \"%s\" is no value of the model", name);
    *out = &g->values[value];
    return AMG_OK;
}

static amg_status bad_target(const amg_value *y, const amg_value *t, amg_error *err)
{
    char found[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_MISMATCH, -1, y->name,
                    "output is %s, its target \"%s\" is %s",
                    amg_shape_text(y->dtype, y->rank, y->dims, want), t->name,
                    amg_shape_text(t->dtype, t->rank, t->dims, found));
}

/* Reconstruction: the target is like the output. */
static amg_status check_kept(const amg_graph *g, const amg_value *y, const char *name,
                             amg_error *err)
{
    const amg_value *t;
    amg_status status = find_target(g, y, name, &t, err);
    if (status) return status;
    if (t->dtype == AMG_F32 && t->rank == y->rank &&
        !memcmp(t->dims, y->dims, (size_t)y->rank * sizeof *y->dims))
        return AMG_OK;
    return bad_target(y, t, err);
}

/* A language model: I64 [batch, positions] of an output [batch, positions, classes] or
 * [batch * positions, classes]. */
static amg_status check_next_tokens(const amg_graph *g, const amg_value *y,
                                    amg_criterion *c, amg_error *err)
{
    const amg_value *t;
    amg_status status = find_target(g, y, c->objective.target, &t, err);
    if (status) return status;
    const int64_t batch = g->values[g->inputs[0]].dims[0];
    const bool fits = t->dtype == AMG_I64 && t->rank == 2 && t->dims[0] == batch &&
                      (y->rank == 3 ? y->dims[0] == batch && y->dims[1] == t->dims[1]
                                    : y->rank == 2 && y->dims[0] == batch * t->dims[1]);
    if (!fits) return bad_target(y, t, err);
    c->classes = y->dims[y->rank - 1];
    c->positions = t->dims[1];
    if (!amg_mul_i64(c->positions, c->classes, &c->count))
        return bad_output(y, "a shape that fits", err);
    return AMG_OK;
}

/* Labels in a column of the source, or numbers likewise. */
static amg_status check_column(const amg_value *y, const amg_source *source,
                               amg_criterion *c, amg_error *err)
{
    const bool classes = c->objective.loss == AMG_LOSS_CROSS_ENTROPY;
    const int skipped = classes ? 2 : 1;
    if (classes) {
        c->classes = y->dims[1];
        c->positions = c->count / c->classes;
    }
    return check_targets(y, &c->objective, source, classes ? AMG_I32 : AMG_F32,
                         y->rank - skipped, y->dims + skipped, err);
}

/* Parts that make up the output's row, and the targets'. */
static amg_status check_parts(const amg_value *y, const amg_source *source,
                              amg_criterion *c, amg_error *err)
{
    const amg_objective *o = &c->objective;
    int64_t outputs;
    amg_status status =
        amg_loss_parts_measure(o->parts, o->num_parts, &outputs, &c->targets, err);
    if (status) return status;
    if (y->rank == 2 && y->dims[1] == outputs)
        return check_targets(y, o, source, AMG_F32, 1, &c->targets, err);
    char found[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_MISMATCH, -1, y->name,
                    "output is %s, the parts of its loss are %lld numbers a sample",
                    amg_shape_text(y->dtype, y->rank, y->dims, found),
                    (long long)outputs);
}

amg_status amg_criterion_init(const amg_graph *planned, int output_index,
                              const amg_objective *objective, const amg_source *source,
                              amg_criterion *out, amg_error *err)
{
    const amg_value *y = &planned->values[planned->outputs[output_index]];
    const bool classes = objective->loss == AMG_LOSS_CROSS_ENTROPY;
    amg_criterion c = {
        .objective = *objective, .name = y->name, .count = 1, .positions = 1};
    if (y->dtype != AMG_F32 || y->rank < (classes ? 2 : 1))
        return bad_output(y, classes ? "f32[batch, classes, ...]" : "f32[batch, ...]",
                          err);
    for (int i = 1; i < y->rank; i++)
        if (y->dims[i] < 1 || !amg_mul_i64(c.count, y->dims[i], &c.count))
            return bad_output(y, "a shape that fits", err);
    amg_status status;
    if (objective->loss == AMG_LOSS_SUM)
        status = check_parts(y, source, &c, err);
    else if (!objective->target)
        status = check_column(y, source, &c, err);
    else if (classes)
        status = check_next_tokens(planned, y, &c, err);
    else
        status = check_kept(planned, y, objective->target, err);
    if (!status) *out = c;
    return status;
}

/* Elements of one sample's target that are gathered. */
static int64_t gathered_count(const amg_criterion *c)
{
    if (c->objective.loss == AMG_LOSS_SUM) return c->count + c->targets;
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

static void gather_labels(const amg_criterion *c, const amg_batch *batch,
                          int64_t samples, const amg_class_order *order, int32_t *out)
{
    gather(c, batch, samples, out);
    for (int64_t i = 0; i < samples * c->positions; i++)
        out[i] = amg_class_order_label(order, out[i]);
}

/* What a next token becomes that does not count. */
#define IGNORED (-1)

/* Next tokens as the trained head counts classes. Nobody has checked them before. */
static amg_status gather_tokens(const amg_criterion *c, int64_t samples,
                                const int64_t *next, const amg_class_order *order,
                                int32_t *out, amg_error *err)
{
    for (int64_t i = 0; i < samples * c->positions; i++) {
        if (c->objective.has_ignore && next[i] == c->objective.ignore)
            out[i] = IGNORED;
        else if (next[i] >= 0 && next[i] < c->classes)
            out[i] = amg_class_order_label(order, (int32_t)next[i]);
        else
            return amg_fail(err, AMG_INVALID, -1, c->name,
                            "token %lld at position %lld of sample %lld of the batch "
                            "is to be predicted, expected 0 to %lld",
                            (long long)next[i], (long long)(i % c->positions),
                            (long long)(i / c->positions), (long long)c->classes - 1);
    }
    return AMG_OK;
}

/* Labels that apply or do not, or to a degree. */
static amg_status check_labels(const amg_criterion *c, const float *target,
                               int64_t samples, amg_error *err)
{
    for (int64_t i = 0; i < samples * c->count; i++)
        if (!(target[i] >= 0 && target[i] <= 1))
            return amg_fail(err, AMG_INVALID, -1, c->name,
                            "label %lld of sample %lld of the batch is %g, expected 0 "
                            "to 1",
                            (long long)(i % c->count), (long long)(i / c->count),
                            (double)target[i]);
    return AMG_OK;
}

amg_status amg_criterion_weigh(amg_criterion *c, const amg_class_order *order,
                               float **owned, amg_error *err)
{
    const float *weights = c->objective.class_weights;
    *owned = NULL;
    if (!weights) return AMG_OK;
    float *own = amg_calloc((size_t)c->classes, sizeof *own);
    if (!own) return amg_fail(err, AMG_NO_MEMORY, -1, c->name, "class weights");
    for (int64_t k = 0; k < c->classes; k++)
        own[amg_class_order_label(order, (int32_t)k)] = weights[k];
    c->class_weights = *owned = own;
    return AMG_OK;
}

amg_status amg_criterion_loss(const amg_criterion *c, const amg_batch *batch,
                              int64_t samples, const amg_plan *plan,
                              const float *output, const amg_class_order *order,
                              float label_smoothing, void *gathered, float *doutput,
                              amg_loss_result *out, amg_error *err)
{
    const bool next = c->objective.target != NULL;
    if (c->objective.loss == AMG_LOSS_SUM)
        return amg_sum_loss(c, batch, samples, output, label_smoothing, gathered,
                            doutput, out, err);
    if (c->objective.loss != AMG_LOSS_CROSS_ENTROPY) {
        if (!next) gather(c, batch, samples, gathered);
        const float *target = next ? amg_plan_kept(plan) : gathered;
        amg_status status = AMG_OK;
        if (c->objective.loss == AMG_LOSS_BCE)
            status = check_labels(c, target, samples, err);
        if (!status)
            *out = amg_element_loss(c->objective.loss, c->objective.delta, output,
                                    target, samples, c->count, doutput);
        return status;
    }
    if (!next) {
        gather_labels(c, batch, samples, order, gathered);
    } else {
        amg_status status =
            gather_tokens(c, samples, amg_plan_kept(plan), order, gathered, err);
        if (status) return status;
    }
    const amg_cross_entropy_task task = {.samples = samples,
                                         .classes = c->classes,
                                         .positions = c->positions,
                                         .classes_last = next,
                                         .label_smoothing = label_smoothing,
                                         .class_weights = c->class_weights,
                                         .has_ignore = next && c->objective.has_ignore,
                                         .ignore = IGNORED};
    *out = amg_cross_entropy(&task, output, gathered, doutput);
    return AMG_OK;
}

double amg_criterion_accuracy(const amg_criterion *c, double hits, double counted)
{
    return amg_loss_accuracy(c->objective.loss, hits, counted);
}

double amg_loss_accuracy(amg_loss_kind loss, double hits, double counted)
{
    return loss == AMG_LOSS_CROSS_ENTROPY || loss == AMG_LOSS_BCE ? hits / counted
                                                                  : NAN;
}
