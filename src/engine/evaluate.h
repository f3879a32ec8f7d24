/* Evaluation of one head on a planned graph: what amg_evaluate and the trainer's
 * validation share. */
#ifndef AMG_ENGINE_EVALUATE_H
#define AMG_ENGINE_EVALUATE_H

#include "engine/class_order.h"
#include "engine/meter.h"
#include "engine/trainer.h"

typedef struct {
    const amg_graph *planned; /* for this batch */
    int output_index;
    int64_t batch;
    const amg_params *params;     /* classes and tokens as `order` says */
    const amg_class_order *order; /* zeroed: natural */
    const amg_source *source;
    const amg_objective *objective;
    void *workspace; /* used if it is large enough, else an own one is made */
    size_t workspace_bytes;
} amg_eval_task;

/* Fills the val_ fields of result only. AMG_INTERRUPTED when meter says stop. */
AMG_MUST_CHECK amg_status amg_evaluate_planned(const amg_eval_task *task,
                                               amg_meter *meter,
                                               amg_head_result *result, amg_error *err);

#endif
