/* SGD (momentum, Nesterov, weight decay), Adam and AdamW with PyTorch's update rules,
 * and the learning-rate schedules. One optimizer per sub-network; nothing is shared
 * between sub-networks. */
#ifndef AMG_ENGINE_OPTIMIZER_H
#define AMG_ENGINE_OPTIMIZER_H

#include "engine/plan.h"

typedef enum { AMG_OPT_SGD, AMG_OPT_ADAM, AMG_OPT_ADAMW } amg_optimizer_kind;
typedef enum {
    AMG_SCHEDULE_CONSTANT,
    AMG_SCHEDULE_STEP,
    AMG_SCHEDULE_COSINE
} amg_schedule_kind;

typedef struct {
    amg_optimizer_kind kind;
    double lr, momentum, weight_decay;
    bool nesterov;
    double beta1, beta2, epsilon; /* 0: PyTorch's .9, .999, 1e-8 */
    double clip_norm;             /* per sub-network, total L2 norm; 0: off */
    amg_schedule_kind schedule;
    int64_t warmup_steps; /* linear from 0 */
    int64_t step_epochs;  /* AMG_SCHEDULE_STEP: every so many epochs … */
    double step_gamma;    /* … lr *= this */
} amg_optimizer_options;

/* Learning rate of a step (from 0) of total_steps, steps_per_epoch each epoch. Pure
 * function. */
double amg_schedule_lr(const amg_optimizer_options *o, int64_t step,
                       int64_t total_steps, int64_t steps_per_epoch);

/* Updates every slot of plan in place from its gradient. step counts from 0 (Adam's
 * bias correction uses step + 1). */
void amg_optimizer_step(const amg_optimizer_options *o, double lr, int64_t step,
                        amg_plan *plan);
/* How many state slots this kind uses: 0, 1 or 2. */
int amg_optimizer_num_states(const amg_optimizer_options *o);

#endif
