/* Softmax of a row of n floats, step apart, or its logarithm. The row is shifted by its
 * maximum; sums run in double. A NaN anywhere, or nothing but -infinity, makes the
 * whole row NaN, as in PyTorch. */
#ifndef AMG_ENGINE_SOFTMAX_ROW_H
#define AMG_ENGINE_SOFTMAX_ROW_H

#include "engine/vector.h"

/* y may be x, unless log_of. */
AMG_INLINE void amg_softmax_row(int64_t n, int64_t step, bool log_of, const float *x,
                                float *y)
{
    float most = x[0];
    double sum = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) most = x[i * step] > most ? x[i * step] : most;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const float e = amg_expf(x[i * step] - most);
        y[i * step] = e;
        sum += (double)e;
    }
    const float by = (float)(1 / sum), shift = (float)log(sum);
    if (log_of) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i * step] = x[i * step] - most - shift;
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i * step] *= by;
    }
}

/* The gradient by the input, from the output and its gradient; dx may be dy. */
AMG_INLINE void amg_softmax_row_gradient(int64_t n, int64_t step, bool log_of,
                                         const float *y, const float *dy, float *dx)
{
    double sum = 0;
    if (log_of) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += (double)dy[i * step];
        const float total = (float)sum;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dx[i * step] = dy[i * step] - amg_expf(y[i * step]) * total;
    } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++)
            sum += (double)dy[i * step] * (double)y[i * step];
        const float total = (float)sum;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dx[i * step] = y[i * step] * (dy[i * step] - total);
    }
}

#endif
