/* SGD, Adam, AdamW, RMSprop and Adagrad with PyTorch's update rules, Lion (Chen et al.,
 * 2023), and the learning-rate schedules. One optimizer per sub-network; nothing is
 * shared between sub-networks. */
#ifndef AMG_ENGINE_OPTIMIZER_H
#define AMG_ENGINE_OPTIMIZER_H

#include "engine/plan.h"

typedef enum {
    AMG_OPT_SGD,
    AMG_OPT_ADAM,
    AMG_OPT_ADAMW,
    AMG_OPT_RMSPROP,
    AMG_OPT_ADAGRAD,
    AMG_OPT_LION
} amg_optimizer_kind;
typedef enum {
    AMG_SCHEDULE_CONSTANT,
    AMG_SCHEDULE_STEP,
    AMG_SCHEDULE_COSINE,
    AMG_SCHEDULE_LINEAR,
    AMG_SCHEDULE_ONE_CYCLE,
    AMG_SCHEDULE_PLATEAU
} amg_schedule_kind;
/* What users call them, NULL behind the last. */
extern const char *const amg_optimizer_names[];
extern const char *const amg_schedule_names[];

typedef struct {
    amg_optimizer_kind kind;
    double lr, momentum, weight_decay; /* momentum: of SGD and RMSprop */
    bool nesterov;
    double beta1, beta2;        /* 0: .9 and .999, Lion's second .99 */
    double epsilon;             /* 0: PyTorch's 1e-8, Adagrad's 1e-10 */
    double alpha;               /* RMSprop; 0: PyTorch's .99 */
    bool centered;              /* RMSprop */
    double lr_decay;            /* Adagrad: step t has lr / (1 + t * lr_decay) */
    double initial_accumulator; /* Adagrad: its sums of squares begin here */
    double clip_norm;           /* per sub-network, total L2 norm; 0: off */
    amg_schedule_kind schedule;
    int64_t warmup_steps; /* linear: step t < warmup_steps has lr * (t + 1) / warmup */
    int64_t step_epochs;  /* AMG_SCHEDULE_STEP: every so many epochs … */
    double step_gamma;    /* … lr *= this; 0: PyTorch's .1 */
    int64_t plateau_patience; /* AMG_SCHEDULE_PLATEAU: after more epochs than that
                                 without a lower loss … */
    double plateau_factor;    /* … lr *= this; 0: PyTorch's .1 */
} amg_optimizer_options;

#define AMG_STEP_GAMMA 0.1
#define AMG_PLATEAU_FACTOR 0.1
#define AMG_PLATEAU_PATIENCE 10

/* Every field in its range, else AMG_INVALID. */
AMG_MUST_CHECK amg_status amg_optimizer_check(const amg_optimizer_options *o,
                                              amg_error *err);

/* Learning rate of a step (from 0) of total_steps, steps_per_epoch each epoch. Pure
 * function; formulas in schedule.c. */
double amg_schedule_lr(const amg_optimizer_options *o, int64_t step,
                       int64_t total_steps, int64_t steps_per_epoch);

/* The one schedule with a memory, each sub-network's own: torch.optim.lr_scheduler's
 * ReduceLROnPlateau with its default threshold, 1e-4 of the best loss. Doubles only: a
 * checkpoint stores it in a row of them. */
typedef struct {
    double lr; /* in place of the options' */
    double best, bad_epochs;
} amg_plateau;

amg_plateau amg_plateau_begin(const amg_optimizer_options *o);
/* The loss at the end of an epoch. */
void amg_plateau_observe(const amg_optimizer_options *o, double loss, amg_plateau *p);

/* Updates every slot of plan in place from its gradient, or from that in its state sum
 * (-1: none). step counts from 0 (Adam's bias correction uses step + 1). */
void amg_optimizer_step(const amg_optimizer_options *o, double lr, int64_t step,
                        int sum, amg_plan *plan);
/* The parts of amg_optimizer_step. One slot's update, its gradient times grad_scale;
 * the sum of squares, in an order that no number of threads changes; and the factor
 * that brings a gradient to clip_norm, as torch.nn.utils.clip_grad_norm_ computes it.
 */
void amg_optimizer_update_slot(const amg_optimizer_options *o, double lr, int64_t step,
                               float grad_scale, const amg_plan_slot *slot);
double amg_sum_of_squares(const float *data, int64_t count);
float amg_clip_scale(double clip_norm, double sum_of_squares);

/* Gradients of the micro-batches of a step, summed in state `sum` of every slot: adds
 * weight times the gradient (first: to nothing), then multiplies by scale. The
 * gradients themselves are the plan's and stay as they are. */
void amg_gradient_add(amg_plan *plan, int sum, bool first, float weight, float scale);

/* Moves the average of the values, in state `average` of every slot, (1 - decay) of the
 * way to them, as torch.optim.swa_utils does; in step 0 all the way. */
void amg_average_add(amg_plan *plan, int average, double decay, int64_t step);

/* How many state slots these options use: 0 to 3. */
int amg_optimizer_num_states(const amg_optimizer_options *o);

#endif
