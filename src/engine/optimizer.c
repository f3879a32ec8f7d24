/* SGD, Adam and AdamW with PyTorch's update rules, elementwise over a plan's slots.
 *
 * The arithmetic is float32 with scalars rounded to float first, as PyTorch's own
 * kernels do it; scalars themselves (learning rate, bias corrections) are computed in
 * double. Knows slots only: neither names nor shapes nor which sub-network it updates.
 */
#include "engine/optimizer.h"

#include <math.h>

#include "base/parallel.h"
#include "engine/vector.h"

/* Elements per block of the sum of squares. Fixed: the sum's order must not depend on
 * the number of threads. */
#define BLOCK 4096
#define BLOCKS_AT_ONCE 256
#define GRAIN 16384

typedef struct {
    const amg_plan_slot *slot;
    float grad_scale;
    float lr, weight_decay;
    float momentum; /* SGD */
    bool nesterov;
    float beta1_rest, beta2, beta2_rest, epsilon; /* Adam: rest = 1 - beta */
    float step_size, correction2_root;            /* Adam: lr / (1 - beta1^t), … */
    float keep; /* AdamW: 1 - lr * weight_decay; Adam: 1 */
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

static double or_default(double value, double otherwise)
{
    return value != 0 ? value : otherwise;
}

void amg_optimizer_update_slot(const amg_optimizer_options *o, double lr, int64_t step,
                               float grad_scale, const amg_plan_slot *slot)
{
    update u = {.slot = slot,
                .grad_scale = grad_scale,
                .lr = (float)lr,
                .weight_decay = (float)o->weight_decay,
                .momentum = (float)o->momentum,
                .nesterov = o->nesterov,
                .keep = 1};
    if (o->kind == AMG_OPT_SGD) {
        amg_parallel_for(slot->count, GRAIN,
                         u.momentum != 0 ? momentum_range : sgd_range, &u);
        return;
    }
    const double beta1 = or_default(o->beta1, 0.9), beta2 = or_default(o->beta2, 0.999);
    const double t = (double)(step + 1);
    u.beta1_rest = (float)(1 - beta1);
    u.beta2 = (float)beta2;
    u.beta2_rest = (float)(1 - beta2);
    u.epsilon = (float)or_default(o->epsilon, 1e-8);
    u.step_size = (float)(lr / (1 - pow(beta1, t)));
    u.correction2_root = (float)sqrt(1 - pow(beta2, t));
    if (o->kind == AMG_OPT_ADAMW) {
        u.keep = (float)(1 - lr * o->weight_decay);
        u.weight_decay = 0;
    }
    amg_parallel_for(slot->count, GRAIN, adam_range, &u);
}

typedef struct {
    const float *data;
    int64_t count; /* elements from data on */
    double block[BLOCKS_AT_ONCE];
} squares;

AMG_VECTOR static double block_squares(const float *x, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static void squares_range(void *context, int64_t begin, int64_t end)
{
    squares *s = context;
    for (int64_t b = begin; b < end; b++) {
        const int64_t left = s->count - b * BLOCK;
        s->block[b] = block_squares(s->data + b * BLOCK, left < BLOCK ? left : BLOCK);
    }
}

double amg_sum_of_squares(const float *data, int64_t count)
{
    double sum = 0;
    for (int64_t first = 0; first < count; first += BLOCK * BLOCKS_AT_ONCE) {
        squares s = {.data = data + first, .count = count - first};
        int64_t blocks = (s.count + BLOCK - 1) / BLOCK;
        if (blocks > BLOCKS_AT_ONCE) blocks = BLOCKS_AT_ONCE;
        amg_parallel_for(blocks, 4, squares_range, &s);
        for (int64_t b = 0; b < blocks; b++) sum += s.block[b];
    }
    return sum;
}

float amg_clip_scale(double clip_norm, double sum_of_squares)
{
    if (clip_norm == 0) return 1;
    const double scale = clip_norm / (sqrt(sum_of_squares) + 1e-6);
    return scale < 1 ? (float)scale : 1;
}

void amg_optimizer_step(const amg_optimizer_options *o, double lr, int64_t step,
                        amg_plan *plan)
{
    const int n = amg_plan_num_slots(plan);
    float grad_scale = 1;
    if (o->clip_norm != 0) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            const amg_plan_slot *s = amg_plan_slot_at(plan, i);
            sum += amg_sum_of_squares(s->grad, s->count);
        }
        grad_scale = amg_clip_scale(o->clip_norm, sum);
    }
    for (int i = 0; i < n; i++)
        amg_optimizer_update_slot(o, lr, step, grad_scale, amg_plan_slot_at(plan, i));
}

int amg_optimizer_num_states(const amg_optimizer_options *o)
{
    if (o->kind != AMG_OPT_SGD) return 2;
    return o->momentum != 0;
}

static bool in_unit(double x) { return x >= 0 && x < 1; }

amg_status amg_optimizer_check(const amg_optimizer_options *o, amg_error *err)
{
    static const char where[] = "optimizer";
#define REFUSE(...) return amg_fail(err, AMG_INVALID, -1, where, __VA_ARGS__)
    if (o->kind > AMG_OPT_ADAMW) REFUSE("unknown kind %d", (int)o->kind);
    if (o->schedule > AMG_SCHEDULE_COSINE)
        REFUSE("unknown schedule %d", (int)o->schedule);
    if (!(o->lr > 0) || !isfinite(o->lr))
        REFUSE("learning rate is %g, expected a positive number", o->lr);
    if (!in_unit(o->momentum))
        REFUSE("momentum is %g, expected 0 to below 1", o->momentum);
    if (o->nesterov && (o->kind != AMG_OPT_SGD || o->momentum == 0))
        REFUSE("Nesterov momentum needs SGD and a momentum above 0");
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
#undef REFUSE
    return AMG_OK;
}
