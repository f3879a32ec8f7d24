/* A criterion: an objective (engine/trainer.h) worked out for one output of a planned
 * graph and a source. Brings an output, its targets and its loss together; what trainer
 * and evaluation share. */
#ifndef AMG_ENGINE_CRITERION_H
#define AMG_ENGINE_CRITERION_H

#include "engine/batch.h"
#include "engine/class_order.h"
#include "engine/plan.h"
#include "engine/trainer.h"

typedef struct {
    amg_objective objective;
    const char *name;           /* of the output */
    int64_t count;              /* elements of the output of one sample */
    const float *class_weights; /* [classes], as the trained head counts classes; NULL:
                                   all 1. See amg_criterion_weigh */
    int64_t classes, positions; /* cross entropy: it is [classes, positions], with next
                                   tokens as targets [positions, classes] */
    int64_t targets;            /* a sum: elements of a row of targets */
} amg_criterion;

/* Checks the objective against output output_index of a planned graph and the source's
 * targets. The objective's and the graph's strings stay borrowed. */
AMG_MUST_CHECK amg_status amg_criterion_init(const amg_graph *planned, int output_index,
                                             const amg_objective *objective,
                                             const amg_source *source,
                                             amg_criterion *out, amg_error *err);

/* Brings the objective's class weights into the order of classes. *owned: their memory,
 * which the caller frees after c's last use; NULL: there are none. */
AMG_MUST_CHECK amg_status amg_criterion_weigh(amg_criterion *c,
                                              const amg_class_order *order,
                                              float **owned, amg_error *err);

/* Bytes of the buffer that amg_criterion_loss puts the targets of `samples` samples in,
 * and of a sum the outputs; 0 in reconstruction. */
AMG_MUST_CHECK amg_status amg_criterion_bytes(const amg_criterion *c, int64_t samples,
                                              size_t *out, amg_error *err);

/* Loss of the batch's first `samples` samples. output: what plan, made with the
 * objective's target kept, computed of batch. order: of the classes. gathered: see
 * amg_criterion_bytes. doutput (the output's shape) may be NULL, or output itself. out:
 * AMG_MAX_LOSSES of them; the loss, then of a sum its parts', not weighted.
 * AMG_INVALID: a next token or a part's label is no class, or a target of BCE not
 * within 0 to 1; names the output and what was found. */
#define AMG_MAX_LOSSES (1 + AMG_MAX_PARTS)
AMG_MUST_CHECK amg_status amg_criterion_loss(const amg_criterion *c,
                                             const amg_batch *batch, int64_t samples,
                                             const amg_plan *plan, const float *output,
                                             const amg_class_order *order,
                                             float label_smoothing, void *gathered,
                                             float *doutput, amg_loss_result *out,
                                             amg_error *err);

/* hits as a fraction of the positions counted; NaN where nothing is classified. */
double amg_criterion_accuracy(const amg_criterion *c, double hits, double counted);
double amg_loss_accuracy(amg_loss_kind loss, double hits, double counted);

/* Whether the targets are next tokens. */
static inline bool amg_criterion_is_language_model(const amg_criterion *c)
{
    return c->objective.loss == AMG_LOSS_CROSS_ENTROPY && c->objective.target;
}

#endif
