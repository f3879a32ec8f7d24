/* Cyclic Jacobi (see the header). Consumes numbers; knows nothing of images or jobs. */
#include "audit/eigen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { MAX_SWEEPS = 30 };
#define PRECISION 1e-11 /* what is left off the diagonal, of the whole (L2) */

/* Two rows, turned by an angle. */
static void turn_rows(double *p, double *q, double c, double s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double a = p[i], b = q[i];
        p[i] = c * a - s * b;
        q[i] = s * a + c * b;
    }
}

/* Makes a[p][q] zero. Rows are turned, columns follow by symmetry. */
static void turn_pair(double *a, double *vectors, int64_t n, int64_t p, int64_t q)
{
    const double off = a[p * n + q], theta = (a[q * n + q] - a[p * n + p]) / (2 * off);
    const double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    const double app = a[p * n + p] - t * off, aqq = a[q * n + q] + t * off;
    turn_rows(a + p * n, a + q * n, c, s, n);
    for (int64_t i = 0; i < n; i++) {
        a[i * n + p] = a[p * n + i];
        a[i * n + q] = a[q * n + i];
    }
    a[p * n + p] = app;
    a[q * n + q] = aqq;
    a[p * n + q] = a[q * n + p] = 0;
    turn_rows(vectors + p * n, vectors + q * n, c, s, n);
}

static double off_diagonal(const double *a, int64_t n, double *all)
{
    double off = 0;
    *all = 0;
    for (int64_t i = 0; i < n * n; i++) {
        *all += a[i] * a[i];
        if (i / n != i % n) off += a[i] * a[i];
    }
    return off;
}

static void sweep(double *a, double *vectors, int64_t n, double least)
{
    for (int64_t p = 0; p < n; p++)
        for (int64_t q = p + 1; q < n; q++)
            if (fabs(a[p * n + q]) > least) turn_pair(a, vectors, n, p, q);
}

typedef struct {
    double value;
    int64_t row;
} ranked;

static int compare_values(const void *a, const void *b)
{
    const double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x < y) - (x > y);
}

amg_status amg_eigen_symmetric(double *a, int64_t n, double *values, double *vectors,
                               amg_error *err)
{
    ranked *order = amg_calloc((size_t)n, sizeof *order);
    if (!order)
        return amg_fail(err, AMG_NO_MEMORY, -1, "symmetry",
                        "no memory for eigenvectors");
    memset(vectors, 0, (size_t)(n * n) * sizeof *vectors);
    for (int64_t i = 0; i < n; i++) vectors[i * n + i] = 1;
    for (int k = 0; k < MAX_SWEEPS; k++) {
        double all;
        const double off = off_diagonal(a, n, &all);
        if (off <= all * PRECISION * PRECISION) break;
        sweep(a, vectors, n, sqrt(all) * PRECISION / (double)n);
    }
    for (int64_t i = 0; i < n; i++) order[i] = (ranked){a[i * n + i], i};
    qsort(order, (size_t)n, sizeof *order, compare_values);
    for (int64_t i = 0; i < n; i++) { /* a is free now */
        values[i] = order[i].value;
        memcpy(a + i * n, vectors + order[i].row * n, (size_t)n * sizeof *a);
    }
    memcpy(vectors, a, (size_t)(n * n) * sizeof *a);
    amg_free(order);
    return AMG_OK;
}
