/* Loops that several operator families share. Each walks physical memory, so that
 * blocked layouts cost nothing; padding is zero before and after. */
#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/vector.h"

#define GRAIN 16384 /* elements: below this a thread costs more than it gains */

typedef struct {
    float *dst;
    const float *a, *b;
} loop_context;

AMG_VECTOR static void sum_range(void *context, int64_t begin, int64_t end)
{
    const loop_context *c = context;
    float *dst = c->dst;
    const float *a = c->a, *b = c->b;
#pragma omp simd
    for (int64_t i = begin; i < end; i++) dst[i] = a[i] + b[i];
}

void amg_loop_accumulate(const amg_call *call)
{
    loop_context c = {call->ptr[0], call->ptr[0], call->ptr[1]};
    amg_parallel_for(*(const int64_t *)call->self, GRAIN, sum_range, &c);
}

void amg_loop_sum(const amg_call *call)
{
    loop_context c = {call->ptr[0], call->ptr[1], call->ptr[2]};
    amg_parallel_for(*(const int64_t *)call->self, GRAIN, sum_range, &c);
}

AMG_VECTOR static void relu_gradient_range(void *context, int64_t begin, int64_t end)
{
    const loop_context *c = context;
    float *dx = c->dst;
    const float *dy = c->a, *y = c->b;
#pragma omp simd
    for (int64_t i = begin; i < end; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

void amg_loop_relu_gradient(const amg_call *call)
{
    loop_context c = {call->ptr[0], call->ptr[1], call->ptr[2]};
    amg_parallel_for(*(const int64_t *)call->self, GRAIN, relu_gradient_range, &c);
}

void amg_loop_zero_padding(const amg_call *call)
{
    const amg_geometry *g = call->self;
    float *data = call->ptr[0];
    int64_t used = g->channels - (g->blocks - 1) * g->block;
    for (int64_t n = 0; n < g->n; n++) {
        float *last = data + ((n + 1) * g->blocks - 1) * g->spatial * g->block;
        for (int64_t s = 0; s < g->spatial; s++)
            for (int64_t c = used; c < g->block; c++) last[s * g->block + c] = 0;
    }
}

typedef struct {
    const amg_geometry *g;
    const float *a, *b;
    double *sums;
} channel_context;

/* A unit is one channel block of one sample. */
static void channel_sums_range(void *context, int64_t begin, int64_t end)
{
    const channel_context *c = context;
    const int64_t block = c->g->block, size = c->g->spatial * block;
    for (int64_t u = begin; u < end; u++) {
        const float *a = c->a + u * size, *b = c->b + u * size;
        double *sums = c->sums + u * block * 2;
        for (int64_t k = 0; k < block; k++) {
            double sum = 0, product = 0;
            for (int64_t i = k; i < size; i += block) {
                sum += (double)a[i];
                product += (double)a[i] * (double)b[i];
            }
            sums[2 * k] = sum;
            sums[2 * k + 1] = product;
        }
    }
}

void amg_channel_sums(const amg_geometry *g, const float *a, const float *b,
                      double *sums)
{
    channel_context c = {g, a, b, sums};
    amg_parallel_for(g->n * g->blocks, 4, channel_sums_range, &c);
}

size_t amg_channel_sums_bytes(const amg_geometry *g)
{
    return (size_t)(g->n * g->blocks * g->block) * 2 * sizeof(double);
}
