/* Learning-rate schedules: pure functions of the step, so that a resumed run needs no
 * schedule state.
 *
 *   lr(t) = lr · warm(t) · shape(t)
 *   warm  = (t + 1) / W for t < W, else 1          the line that is 0 one step before
 *                                                  the first: no step is wasted on 0
 *   shape = 1                                       constant
 *         = gamma ^ floor(epoch(t) / step_epochs)   step: PyTorch's StepLR
 *         = (1 + cos(pi · (t - W) / (T - W))) / 2   cosine, 1 while t < W: PyTorch's
 *                                                  CosineAnnealingLR stepped each step
 * with W warmup_steps, T total_steps and epoch(t) = floor(t / steps_per_epoch). */
#include <math.h>

#include "engine/optimizer.h"

static double cosine_shape(int64_t step, int64_t total_steps)
{
    static const double pi = 3.14159265358979323846;
    if (step <= 0) return 1;
    if (step >= total_steps) return 0;
    return (1 + cos(pi * (double)step / (double)total_steps)) / 2;
}

double amg_schedule_lr(const amg_optimizer_options *o, int64_t step,
                       int64_t total_steps, int64_t steps_per_epoch)
{
    const int64_t warmup = o->warmup_steps;
    double lr = o->lr;
    if (step < warmup) lr *= (double)(step + 1) / (double)warmup;
    switch (o->schedule) {
    case AMG_SCHEDULE_CONSTANT: return lr;
    case AMG_SCHEDULE_STEP:
        return lr * pow(o->step_gamma != 0 ? o->step_gamma : AMG_STEP_GAMMA,
                        (double)(step / steps_per_epoch / o->step_epochs));
    case AMG_SCHEDULE_COSINE:
        return lr * cosine_shape(step - warmup, total_steps - warmup);
    }
    return lr;
}
