/* The moving average of a sub-network's weights. Knows slots only. */
#include "base/parallel.h"
#include "base/vector.h"
#include "engine/optimizer.h"

#define GRAIN 16384

typedef struct {
    const float *value;
    float *average;
    float weight;
} averaging;

AMG_VECTOR static void average_range(void *context, int64_t begin, int64_t end)
{
    const averaging a = *(const averaging *)context;
#pragma omp simd
    for (int64_t i = begin; i < end; i++)
        a.average[i] += a.weight * (a.value[i] - a.average[i]);
}

void amg_average_add(amg_plan *plan, int average, double decay, int64_t step)
{
    const float weight = step == 0 ? 1 : (float)(1 - decay);
    for (int i = 0; i < amg_plan_num_slots(plan); i++) {
        const amg_plan_slot *s = amg_plan_slot_at(plan, i);
        averaging a = {s->value, s->state[average], weight};
        amg_parallel_for(s->count, GRAIN, average_range, &a);
    }
}
