/* PyTorch's update rules, and Lion's, elementwise over a plan's slots.
 *
 * The arithmetic is float32 with scalars rounded to float first, as PyTorch's own
 * kernels do it; scalars themselves (learning rate, bias corrections) are computed in
 * double. Knows slots only: neither names nor shapes nor which sub-network it updates.
 */
#include "engine/optimizer.h"

#include <math.h>

#include "base/parallel.h"
#include "engine/vector.h"

const char *const amg_optimizer_names[] = {"sgd",     "adam", "adamw", "rmsprop",
                                           "adagrad", "lion", NULL};

#define GRAIN 16384

typedef struct {
    const amg_plan_slot *slot;
    float grad_scale;
    float lr, weight_decay;
    float momentum; /* SGD, RMSprop */
    bool nesterov, centered;
    float beta1, beta1_rest, beta2, beta2_rest, epsilon; /* rest = 1 - beta */
    float step_size, correction2_root; /* Adam: lr / (1 - beta1^t), … */
    float alpha, alpha_rest;           /* RMSprop */
    float first_sum;                   /* Adagrad: what its zeroed state stands for */
    float keep;                        /* decoupled: 1 - lr * weight_decay; else 1 */
} update;

AMG_VECTOR static void sgd_range(void *context, int64_t begin, int64_t end)
{
    const update u = *(const update *)context;
    const float *grad = u.slot->grad;
    float *value = u.slot->value;
#pragma omp simd
    for (int64_t i = begin; i < end; i++)
        value[i] -= u.lr * (grad[i] * u.grad_scale + u.weight_decay * value[i]);
}

AMG_VECTOR static void momentum_range(void *context, int64_t begin, int64_t end)
{
    const update u = *(const update *)context;
    const float *grad = u.slot->grad;
    float *value = u.slot->value, *buffer = u.slot->state[0];
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float d = grad[i] * u.grad_scale + u.weight_decay * value[i];
        /* PyTorch's first step sets buffer = d; the zeroed state gives the same. */
        const float moved = u.momentum * buffer[i] + d;
        buffer[i] = moved;
        value[i] -= u.lr * (u.nesterov ? d + u.momentum * moved : moved);
    }
}

AMG_VECTOR static void adam_range(void *context, int64_t begin, int64_t end)
{
    const update u = *(const update *)context;
    const float *grad = u.slot->grad;
    float *value = u.slot->value, *mean = u.slot->state[0], *square = u.slot->state[1];
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float g = grad[i] * u.grad_scale + u.weight_decay * value[i];
        const float m = mean[i] + u.beta1_rest * (g - mean[i]);
        const float v = u.beta2 * square[i] + u.beta2_rest * g * g;
        const float denominator = sqrtf(v) / u.correction2_root + u.epsilon;
        mean[i] = m;
        square[i] = v;
        value[i] = value[i] * u.keep - u.step_size * (m / denominator);
    }
}

/* States: the mean of squares; with momentum its buffer; centered, the mean. */
AMG_VECTOR static void rmsprop_range(void *context, int64_t begin, int64_t end)
{
    const update u = *(const update *)context;
    const bool moves = u.momentum != 0;
    const float *grad = u.slot->grad;
    float *value = u.slot->value, *square = u.slot->state[0];
    float *buffer = u.slot->state[1], *mean = u.slot->state[1 + moves];
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float g = grad[i] * u.grad_scale + u.weight_decay * value[i];
        float v = u.alpha * square[i] + u.alpha_rest * g * g;
        square[i] = v;
        if (u.centered) {
            const float m = mean[i] + u.alpha_rest * (g - mean[i]);
            mean[i] = m;
            v = fmaxf(v - m * m, 0); /* rounding: PyTorch's root would be NaN */
        }
        float d = g / (sqrtf(v) + u.epsilon);
        if (moves) {
            d = u.momentum * buffer[i] + d;
            buffer[i] = d;
        }
        value[i] -= u.lr * d;
    }
}

AMG_VECTOR static void adagrad_range(void *context, int64_t begin, int64_t end)
{
    const update u = *(const update *)context;
    const float *grad = u.slot->grad;
    float *value = u.slot->value, *sum = u.slot->state[0];
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float g = grad[i] * u.grad_scale + u.weight_decay * value[i];
        const float s = sum[i] + u.first_sum + g * g;
        sum[i] = s;
        value[i] -= u.lr * (g / (sqrtf(s) + u.epsilon));
    }
}

AMG_VECTOR static void lion_range(void *context, int64_t begin, int64_t end)
{
    const update u = *(const update *)context;
    const float *grad = u.slot->grad;
    float *value = u.slot->value, *mean = u.slot->state[0];
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float g = grad[i] * u.grad_scale, m = mean[i];
        const float way = m * u.beta1 + g * u.beta1_rest;
        const float sign = (float)((way > 0) - (way < 0));
        mean[i] = m * u.beta2 + g * u.beta2_rest;
        value[i] = value[i] * u.keep - u.lr * sign;
    }
}

static double or_default(double value, double otherwise)
{
    return value != 0 ? value : otherwise;
}

/* What all rules read; the learning rate in the form of the rule. */
static update make_update(const amg_optimizer_options *o, double lr, int64_t step)
{
    const bool lion = o->kind == AMG_OPT_LION, adagrad = o->kind == AMG_OPT_ADAGRAD;
    const bool decoupled = lion || o->kind == AMG_OPT_ADAMW;
    const double beta1 = or_default(o->beta1, 0.9);
    const double beta2 = or_default(o->beta2, lion ? 0.99 : 0.999);
    const double alpha = or_default(o->alpha, 0.99), t = (double)(step + 1);
    if (adagrad) lr /= 1 + (double)step * o->lr_decay;
    return (update){.lr = (float)lr,
                    .weight_decay = decoupled ? 0 : (float)o->weight_decay,
                    .keep = decoupled ? (float)(1 - lr * o->weight_decay) : 1,
                    .momentum = (float)o->momentum,
                    .nesterov = o->nesterov,
                    .centered = o->centered,
                    .beta1 = (float)beta1,
                    .beta1_rest = (float)(1 - beta1),
                    .beta2 = (float)beta2,
                    .beta2_rest = (float)(1 - beta2),
                    .epsilon = (float)or_default(o->epsilon, adagrad ? 1e-10 : 1e-8),
                    .step_size = (float)(lr / (1 - pow(beta1, t))),
                    .correction2_root = (float)sqrt(1 - pow(beta2, t)),
                    .alpha = (float)alpha,
                    .alpha_rest = (float)(1 - alpha),
                    .first_sum = step == 0 ? (float)o->initial_accumulator : 0};
}

void amg_optimizer_update_slot(const amg_optimizer_options *o, double lr, int64_t step,
                               float grad_scale, const amg_plan_slot *slot)
{
    static void (*const rules[])(void *, int64_t, int64_t) = {
        [AMG_OPT_SGD] = momentum_range,    [AMG_OPT_ADAM] = adam_range,
        [AMG_OPT_ADAMW] = adam_range,      [AMG_OPT_RMSPROP] = rmsprop_range,
        [AMG_OPT_ADAGRAD] = adagrad_range, [AMG_OPT_LION] = lion_range,
    };
    update u = make_update(o, lr, step);
    u.slot = slot;
    u.grad_scale = grad_scale;
    const bool plain = o->kind == AMG_OPT_SGD && u.momentum == 0;
    amg_parallel_for(slot->count, GRAIN, plain ? sgd_range : rules[o->kind], &u);
}

static amg_plan_slot slot_with(const amg_plan *plan, int i, int sum)
{
    amg_plan_slot slot = *amg_plan_slot_at(plan, i);
    if (sum >= 0) slot.grad = slot.state[sum];
    return slot;
}

void amg_optimizer_step(const amg_optimizer_options *o, double lr, int64_t step,
                        int sum, amg_plan *plan)
{
    const int n = amg_plan_num_slots(plan);
    float grad_scale = 1;
    if (o->clip_norm != 0) {
        double squares = 0;
        for (int i = 0; i < n; i++) {
            const amg_plan_slot s = slot_with(plan, i, sum);
            squares += amg_sum_of_squares(s.grad, s.count);
        }
        grad_scale = amg_clip_scale(o->clip_norm, squares);
    }
    for (int i = 0; i < n; i++) {
        const amg_plan_slot s = slot_with(plan, i, sum);
        amg_optimizer_update_slot(o, lr, step, grad_scale, &s);
    }
}

int amg_optimizer_num_states(const amg_optimizer_options *o)
{
    switch (o->kind) {
    case AMG_OPT_SGD: return o->momentum != 0;
    case AMG_OPT_ADAM:
    case AMG_OPT_ADAMW: return 2;
    case AMG_OPT_RMSPROP: return 1 + (o->momentum != 0) + o->centered;
    case AMG_OPT_ADAGRAD:
    case AMG_OPT_LION: return 1;
    }
    return 0;
}

static bool in_unit(double x) { return x >= 0 && x < 1; }

amg_status amg_optimizer_check(const amg_optimizer_options *o, amg_error *err)
{
    static const char where[] = "optimizer";
#define REFUSE(...) return amg_fail(err, AMG_INVALID, -1, where, __VA_ARGS__)
    if (o->kind > AMG_OPT_LION) REFUSE("unknown kind %d", (int)o->kind);
    if (o->schedule > AMG_SCHEDULE_PLATEAU)
        REFUSE("unknown schedule %d", (int)o->schedule);
    if (!(o->lr > 0) || !isfinite(o->lr))
        REFUSE("learning rate is %g, expected a positive number", o->lr);
    if (!in_unit(o->momentum))
        REFUSE("momentum is %g, expected 0 to below 1", o->momentum);
    if (o->nesterov && (o->kind != AMG_OPT_SGD || o->momentum == 0))
        REFUSE("Nesterov momentum needs SGD and a momentum above 0");
    if (o->centered && o->kind != AMG_OPT_RMSPROP) REFUSE("centered is RMSprop's");
    if (!in_unit(o->alpha)) REFUSE("alpha is %g, expected 0 to below 1", o->alpha);
    if (!(o->lr_decay >= 0) || !isfinite(o->lr_decay))
        REFUSE("the rate's decay is %g, expected 0 or more", o->lr_decay);
    if (!(o->initial_accumulator >= 0) || !isfinite(o->initial_accumulator))
        REFUSE("the initial accumulator is %g, expected 0 or more",
               o->initial_accumulator);
    if (!(o->weight_decay >= 0) || !isfinite(o->weight_decay))
        REFUSE("weight decay is %g, expected 0 or more", o->weight_decay);
    if (!in_unit(o->beta1) || !in_unit(o->beta2))
        REFUSE("betas are %g and %g, expected 0 to below 1", o->beta1, o->beta2);
    if (!(o->epsilon >= 0) || !isfinite(o->epsilon))
        REFUSE("epsilon is %g, expected 0 or more", o->epsilon);
    if (!(o->clip_norm >= 0) || !isfinite(o->clip_norm))
        REFUSE("clip norm is %g, expected 0 or more", o->clip_norm);
    if (o->warmup_steps < 0)
        REFUSE("warm-up is %lld steps, expected 0 or more", (long long)o->warmup_steps);
    if (o->schedule == AMG_SCHEDULE_STEP && o->step_epochs < 1)
        REFUSE("step schedule every %lld epochs, expected 1 or more",
               (long long)o->step_epochs);
    if (!(o->step_gamma >= 0) || !isfinite(o->step_gamma))
        REFUSE("step factor is %g, expected 0 or more", o->step_gamma);
    if (o->schedule == AMG_SCHEDULE_ONE_CYCLE && o->warmup_steps > 0)
        REFUSE("the one-cycle schedule has a warm-up of its own");
    if (o->plateau_patience < 0)
        REFUSE("a plateau's patience is %lld epochs, expected 0 or more",
               (long long)o->plateau_patience);
    if (!in_unit(o->plateau_factor))
        REFUSE("a plateau's factor is %g, expected 0 to below 1", o->plateau_factor);
#undef REFUSE
    return AMG_OK;
}
