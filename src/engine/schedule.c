/* Learning-rate schedules: pure functions of the step, so that a resumed run needs no
 * schedule state; but for the plateau.
 *
 *   lr(t) = lr · warm(t) · shape(t)
 *   warm  = (t + 1) / W for t < W, else 1          the line that is 0 one step before
 *                                                  the first: no step is wasted on 0
 *   shape = 1                                       constant
 *         = gamma ^ floor(epoch(t) / step_epochs)   step: PyTorch's StepLR
 *         = (1 + cos(pi · (t - W) / (T - W))) / 2   cosine, 1 while t < W: PyTorch's
 *                                                  CosineAnnealingLR stepped each step
 *         = (T - t) / (T - W)                       linear, 1 while t < W: to 0 one
 * step after the last = one cycle                               PyTorch's OneCycleLR
 * with its defaults: up from 1/25 in 0.3 T steps, then down to 1/250000, by half
 * cosines = 1                                       plateau, whose lr changes instead
 * with W warmup_steps, T total_steps and epoch(t) = floor(t / steps_per_epoch). */
#include <math.h>

#include "engine/optimizer.h"

const char *const amg_schedule_names[] = {"constant",  "step",    "cosine", "linear",
                                          "one-cycle", "plateau", NULL};

#define PI 3.14159265358979323846

static double cosine_shape(int64_t step, int64_t total_steps)
{
    if (step <= 0) return 1;
    if (step >= total_steps) return 0;
    return (1 + cos(PI * (double)step / (double)total_steps)) / 2;
}

static double linear_shape(int64_t step, int64_t total_steps)
{
    if (step <= 0) return 1;
    if (step >= total_steps) return 0;
    return (double)(total_steps - step) / (double)total_steps;
}

/* Half a cosine from a to b. */
static double anneal(double a, double b, double part)
{
    return b + (a - b) / 2 * (cos(PI * part) + 1);
}

static double one_cycle(double lr, int64_t step, int64_t total_steps)
{
    const double begin = lr / 25, end = begin / 1e4, t = (double)step;
    const double top = 0.3 * (double)total_steps - 1, last = (double)total_steps - 1;
    if (t > last) return end;
    return t <= top ? anneal(begin, lr, t / top)
                    : anneal(lr, end, (t - top) / (last - top));
}

double amg_schedule_lr(const amg_optimizer_options *o, int64_t step,
                       int64_t total_steps, int64_t steps_per_epoch)
{
    const int64_t warmup = o->warmup_steps;
    double lr = o->lr;
    if (step < warmup) lr *= (double)(step + 1) / (double)warmup;
    switch (o->schedule) {
    case AMG_SCHEDULE_CONSTANT:
    case AMG_SCHEDULE_PLATEAU: return lr;
    case AMG_SCHEDULE_STEP:
        return lr * pow(o->step_gamma != 0 ? o->step_gamma : AMG_STEP_GAMMA,
                        (double)(step / steps_per_epoch / o->step_epochs));
    case AMG_SCHEDULE_COSINE:
        return lr * cosine_shape(step - warmup, total_steps - warmup);
    case AMG_SCHEDULE_LINEAR:
        return lr * linear_shape(step - warmup, total_steps - warmup);
    case AMG_SCHEDULE_ONE_CYCLE: return one_cycle(lr, step, total_steps);
    }
    return lr;
}

amg_plateau amg_plateau_begin(const amg_optimizer_options *o)
{
    return (amg_plateau){.lr = o->lr, .best = INFINITY};
}

void amg_plateau_observe(const amg_optimizer_options *o, double loss, amg_plateau *p)
{
    const double factor =
        o->plateau_factor != 0 ? o->plateau_factor : AMG_PLATEAU_FACTOR;
    const double lower = p->lr * factor;
    if (loss < p->best * (1 - 1e-4)) {
        p->best = loss;
        p->bad_epochs = 0;
    } else {
        p->bad_epochs++;
    }
    if (p->bad_epochs <= (double)o->plateau_patience) return;
    p->bad_epochs = 0;
    if (p->lr - lower > 1e-8) p->lr = lower; /* PyTorch's eps */
}
