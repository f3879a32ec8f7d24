/* Subspace iteration for the largest eigenvectors of S = D^-1/2 W D^-1/2, which are the
 * Laplacian's smallest. A round filters a block of vectors by a Chebyshev polynomial of
 * S that is small on the unwanted part of the spectrum (Zhou and Saad 2007), then finds
 * the best vectors of the block's span (Rayleigh and Ritz) and measures what is left of
 * the equation. Knows nothing of audits.
 *
 * Cost: a product with S takes links * block operations; some hundred of them. */
#include "audit/spectral.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"

enum {
    GUARD = 8,       /* vectors beside those wanted: the gap that counts is wider */
    DEGREE = 16,     /* of the polynomial */
    MAX_ROUNDS = 60, /* a thousand products */
    MAX_SWEEPS = 50  /* of Jacobi's method; a dozen suffice */
};
#define CONVERGED 1e-5

/* Blocks of vectors are [n][m]: one node's numbers lie together. */
typedef struct {
    const amg_links *g;
    int m;
    double *scale;            /* [n] 1 / sqrt(degree) */
    double *v, *sv, *before;  /* [n][m] */
    double *small, *rotation; /* [m][m] */
    double *values, *row;     /* [m] */
} iteration;

typedef struct {
    const iteration *it;
    const double *from;
    double *to;
} product;

static void multiply_rows(void *context, int64_t begin, int64_t end)
{
    const product *p = context;
    const iteration *it = p->it;
    const amg_links *g = it->g;
    for (int64_t i = begin; i < end; i++) {
        double *to = p->to + i * it->m;
        memset(to, 0, (size_t)it->m * sizeof *to);
        for (int64_t l = g->start[i]; l < g->start[i + 1]; l++) {
            const double w =
                (double)g->weight[l] * it->scale[i] * it->scale[g->index[l]];
            const double *from = p->from + (int64_t)g->index[l] * it->m;
            for (int c = 0; c < it->m; c++) to[c] += w * from[c];
        }
    }
}

/* to = S from */
static void multiply(const iteration *it, const double *from, double *to)
{
    product p = {.it = it, .from = from, .to = to};
    amg_parallel_for(it->g->n, 512, multiply_rows, &p);
}

/* v = T_degree(S), with the spectrum's part [-1, top] brought to [-1, 1], times v:
 * there the polynomial stays within 1, beyond it grows at once. */
static void filter(iteration *it, double top)
{
    const double centre = (top - 1) / 2, half = fmax((top + 1) / 2, 0.05);
    const int64_t size = it->g->n * it->m;
    multiply(it, it->v, it->sv);
    memcpy(it->before, it->v, (size_t)size * sizeof *it->v);
    for (int64_t i = 0; i < size; i++)
        it->v[i] = (it->sv[i] - centre * it->v[i]) / half;
    for (int d = 2; d <= DEGREE; d++) {
        multiply(it, it->v, it->sv);
        for (int64_t i = 0; i < size; i++) {
            const double next =
                2 * (it->sv[i] - centre * it->v[i]) / half - it->before[i];
            it->before[i] = it->v[i];
            it->v[i] = next;
        }
    }
}

/* ---- small matrices ---- */

/* out [m][m] = x^T y; symmetric by use, made so against rounding. */
static void gram(const iteration *it, const double *x, const double *y, double *out)
{
    const int m = it->m;
    memset(out, 0, (size_t)(m * m) * sizeof *out);
    for (int64_t i = 0; i < it->g->n; i++)
        for (int a = 0; a < m; a++)
            for (int b = 0; b < m; b++) out[a * m + b] += x[i * m + a] * y[i * m + b];
    for (int a = 0; a < m; a++)
        for (int b = 0; b < a; b++)
            out[a * m + b] = out[b * m + a] = (out[a * m + b] + out[b * m + a]) / 2;
}

/* Turns rows and columns p, q of a so that a[p][q] becomes 0, and columns of u with
 * them. */
static void turn(double *a, double *u, int m, int p, int q)
{
    if (a[p * m + q] == 0) return;
    const double theta = (a[q * m + q] - a[p * m + p]) / (2 * a[p * m + q]);
    const double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    for (int i = 0; i < m; i++) {
        const double x = a[i * m + p], y = a[i * m + q];
        a[i * m + p] = c * x - s * y;
        a[i * m + q] = s * x + c * y;
    }
    for (int i = 0; i < m; i++) {
        const double x = a[p * m + i], y = a[q * m + i];
        a[p * m + i] = c * x - s * y;
        a[q * m + i] = s * x + c * y;
    }
    for (int i = 0; i < m; i++) {
        const double x = u[i * m + p], y = u[i * m + q];
        u[i * m + p] = c * x - s * y;
        u[i * m + q] = s * x + c * y;
    }
}

static double off_diagonal(const double *a, int m)
{
    double sum = 0, all = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) {
            all += a[i * m + j] * a[i * m + j];
            if (i != j) sum += a[i * m + j] * a[i * m + j];
        }
    return all > 0 ? sum / all : 0;
}

/* Eigenvalues of it->small, largest first, into it->values, and their vectors into the
 * columns of it->rotation, by Jacobi's cyclic method. */
static void solve_small(iteration *it)
{
    const int m = it->m;
    double *a = it->small, *u = it->rotation;
    memset(u, 0, (size_t)(m * m) * sizeof *u);
    for (int i = 0; i < m; i++) u[i * m + i] = 1;
    for (int sweep = 0; sweep < MAX_SWEEPS && off_diagonal(a, m) > 1e-30; sweep++)
        for (int p = 0; p < m; p++)
            for (int q = p + 1; q < m; q++) turn(a, u, m, p, q);
    for (int i = 0; i < m; i++) it->values[i] = a[i * m + i];
    for (int i = 0; i < m; i++) {
        int most = i;
        for (int j = i + 1; j < m; j++)
            if (it->values[j] > it->values[most]) most = j;
        const double value = it->values[most];
        it->values[most] = it->values[i];
        it->values[i] = value;
        for (int r = 0; r < m && most != i; r++) {
            const double x = u[r * m + i];
            u[r * m + i] = u[r * m + most];
            u[r * m + most] = x;
        }
    }
}

/* x [n][m] becomes x * it->rotation. */
static void rotate(const iteration *it, double *x)
{
    const int m = it->m;
    for (int64_t i = 0; i < it->g->n; i++) {
        double *row = x + i * m;
        memset(it->row, 0, (size_t)m * sizeof *it->row);
        for (int a = 0; a < m; a++)
            for (int b = 0; b < m; b++) it->row[b] += row[a] * it->rotation[a * m + b];
        memcpy(row, it->row, (size_t)m * sizeof *row);
    }
}

/* ---- rounds ---- */

/* By the eigenvectors of the Gram matrix of columns of length 1 (Stathopoulos and Wu
 * 2002), twice: filtered vectors are nearly parallel, and what the first pass makes of
 * almost nothing is not yet orthogonal. */
static void orthonormalise(iteration *it)
{
    const int m = it->m;
    double *a = it->small, *u = it->rotation, *length = it->row;
    for (int pass = 0; pass < 2; pass++) {
        gram(it, it->v, it->v, a);
        for (int i = 0; i < m; i++) length[i] = sqrt(fmax(a[i * m + i], 1e-300));
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++) a[i * m + j] /= length[i] * length[j];
        solve_small(it);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < m; j++)
                u[i * m + j] /= length[i] * sqrt(fmax(it->values[j], 1e-15));
        rotate(it, it->v);
    }
}

/* The best vectors of the block's span; the largest residual of the first count. */
static double improve(iteration *it, int count)
{
    orthonormalise(it);
    multiply(it, it->v, it->sv);
    gram(it, it->v, it->sv, it->small);
    solve_small(it);
    rotate(it, it->v);
    rotate(it, it->sv);
    double worst = 0;
    for (int c = 0; c < count; c++) {
        double sum = 0;
        for (int64_t i = 0; i < it->g->n; i++) {
            const double off =
                it->sv[i * it->m + c] - it->values[c] * it->v[i * it->m + c];
            sum += off * off;
        }
        worst = fmax(worst, sqrt(sum));
    }
    return worst;
}

static void start(iteration *it, amg_rng *rng)
{
    const amg_links *g = it->g;
    for (int64_t i = 0; i < g->n; i++) {
        double degree = 0;
        for (int64_t l = g->start[i]; l < g->start[i + 1]; l++)
            degree += (double)g->weight[l];
        it->scale[i] = 1 / sqrt(degree);
    }
    for (int64_t i = 0; i < g->n * it->m; i++) it->v[i] = amg_rng_normal(rng);
}

static bool iteration_init(iteration *it, const amg_links *g, int m)
{
    const size_t n = (size_t)g->n, side = (size_t)m;
    *it = (iteration){.g = g, .m = m};
    it->scale = amg_calloc(n, sizeof(double));
    it->v = amg_calloc(n, side * sizeof(double));
    it->sv = amg_calloc(n, side * sizeof(double));
    it->before = amg_calloc(n, side * sizeof(double));
    it->small = amg_calloc(side, side * sizeof(double));
    it->rotation = amg_calloc(side, side * sizeof(double));
    it->values = amg_calloc(side, sizeof(double));
    it->row = amg_calloc(side, sizeof(double));
    return it->scale && it->v && it->sv && it->before && it->small && it->rotation &&
           it->values && it->row;
}

static void iteration_clear(iteration *it)
{
    amg_free(it->scale);
    amg_free(it->v);
    amg_free(it->sv);
    amg_free(it->before);
    amg_free(it->small);
    amg_free(it->rotation);
    amg_free(it->values);
    amg_free(it->row);
}

amg_status amg_spectral_vectors(const amg_links *g, int count, amg_rng rng,
                                double *vectors, double *residual, amg_error *err)
{
    iteration it;
    const int m = count + GUARD < g->n ? count + GUARD : (int)g->n;
    amg_status st = AMG_OK;
    if (count > m)
        return amg_fail(err, AMG_INVALID, -1, "spectral",
                        "%d eigenvectors of a graph of %lld nodes", count,
                        (long long)g->n);
    if (iteration_init(&it, g, m)) {
        start(&it, &rng);
        double worst = improve(&it, count);
        for (int round = 0; round < MAX_ROUNDS && worst > CONVERGED; round++) {
            filter(&it, it.values[m - 1]);
            worst = improve(&it, count);
        }
        *residual = worst;
        for (int64_t i = 0; i < g->n; i++)
            memcpy(vectors + i * count, it.v + i * m, (size_t)count * sizeof *vectors);
    } else {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "spectral",
                      "no memory for %d vectors of %lld numbers", m, (long long)g->n);
    }
    iteration_clear(&it);
    return st;
}
