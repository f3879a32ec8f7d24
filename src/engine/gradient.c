/* A sub-network's gradient: its norm, clipping, its mean over micro-batches. Knows
 * slots only. */
#include <math.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "engine/optimizer.h"

/* Elements per block of the sum of squares. Fixed: the sum's order must not depend on
 * the number of threads. */
#define BLOCK 4096
#define BLOCKS_AT_ONCE 256
#define GRAIN 16384

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

typedef struct {
    const float *grad;
    float *sum;
    float weight, scale;
    bool first;
} addition;

AMG_VECTOR static void add_range(void *context, int64_t begin, int64_t end)
{
    const addition a = *(const addition *)context;
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float part = a.weight * a.grad[i];
        a.sum[i] = (a.first ? part : a.sum[i] + part) * a.scale;
    }
}

void amg_gradient_add(amg_plan *plan, int sum, bool first, float weight, float scale)
{
    for (int i = 0; i < amg_plan_num_slots(plan); i++) {
        const amg_plan_slot *s = amg_plan_slot_at(plan, i);
        addition a = {s->grad, s->state[sum], weight, scale, first};
        amg_parallel_for(s->count, GRAIN, add_range, &a);
    }
}
