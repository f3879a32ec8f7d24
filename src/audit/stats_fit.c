/* Models fitted to numbers: logistic regression and k-means. Rows are samples, x is
 * [n][d] row-major. One thread: attacks fit many small models and split over those. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "audit/stats.h"
#include "base/alloc.h"
#include "base/checked.h"

static amg_status no_memory(amg_error *err, const char *where)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for a fit");
}

/* ---- logistic regression ---- */

/* A problem, and scratch for one Newton step; m = d + 1 unknowns, the bias last. */
typedef struct {
    const double *x; /* [n][d] */
    const uint8_t *y;
    int64_t n, d, m;
    double l2;
    double *gradient; /* [m] */
    double *hessian;  /* [m][m], lower triangle */
    double *factor;   /* [m][m], its Cholesky factor */
    double *step;     /* [m] */
    double *trial;    /* [m] */
} problem;

double amg_logistic_score(const double *w, const double *x, int64_t d)
{
    double z = w[d];
    for (int64_t j = 0; j < d; j++) z += w[j] * x[j];
    return z;
}

/* log(1 + exp(z)), which does not overflow. */
static double softplus(double z) { return fmax(z, 0) + log1p(exp(-fabs(z))); }

static double objective(const problem *p, const double *w)
{
    double sum = 0;
    for (int64_t j = 0; j < p->d; j++) sum += p->l2 / 2 * w[j] * w[j];
    for (int64_t i = 0; i < p->n; i++) {
        const double z = amg_logistic_score(w, p->x + i * p->d, p->d);
        sum += softplus(p->y[i] ? -z : z);
    }
    return sum;
}

static void derive(const problem *p, const double *w)
{
    const int64_t d = p->d, m = p->m;
    memset(p->gradient, 0, (size_t)m * sizeof *p->gradient);
    memset(p->hessian, 0, (size_t)(m * m) * sizeof *p->hessian);
    for (int64_t j = 0; j < d; j++) {
        p->gradient[j] = p->l2 * w[j];
        p->hessian[j * m + j] = p->l2;
    }
    for (int64_t i = 0; i < p->n; i++) {
        const double *row = p->x + i * d;
        const double share = 1 / (1 + exp(-amg_logistic_score(w, row, d)));
        const double error = share - (p->y[i] != 0), weight = share * (1 - share);
        for (int64_t j = 0; j < m; j++) {
            const double at = j < d ? row[j] : 1;
            double *line = p->hessian + j * m;
            p->gradient[j] += error * at;
            for (int64_t k = 0; k <= j; k++)
                line[k] += weight * at * (k < d ? row[k] : 1);
        }
    }
}

/* factor factor^T = hessian + shift on the diagonal; false if that is not positive
 * definite. */
static bool factorise(const problem *p, double shift)
{
    const int64_t m = p->m;
    double *f = p->factor;
    for (int64_t j = 0; j < m; j++)
        for (int64_t k = 0; k <= j; k++) {
            double sum = p->hessian[j * m + k] + (j == k ? shift : 0);
            for (int64_t i = 0; i < k; i++) sum -= f[j * m + i] * f[k * m + i];
            if (j == k && !(sum > 0)) return false;
            f[j * m + k] = j == k ? sqrt(sum) : sum / f[k * m + k];
        }
    return true;
}

/* step = (hessian + shift)^-1 gradient, with as small a shift as makes that possible;
 * false: none does, the numbers are not finite. */
static bool solve(const problem *p)
{
    const int64_t m = p->m;
    double trace = 0, shift = 0;
    for (int64_t j = 0; j < m; j++) trace += p->hessian[j * m + j];
    if (!isfinite(trace)) return false;
    while (!factorise(p, shift)) shift = shift > 0 ? shift * 10 : 1e-12 * (trace + 1);
    for (int64_t j = 0; j < m; j++) {
        double sum = p->gradient[j];
        for (int64_t i = 0; i < j; i++) sum -= p->factor[j * m + i] * p->step[i];
        p->step[j] = sum / p->factor[j * m + j];
    }
    for (int64_t j = m - 1; j >= 0; j--) {
        double sum = p->step[j];
        for (int64_t i = j + 1; i < m; i++) sum -= p->factor[i * m + j] * p->step[i];
        p->step[j] = sum / p->factor[j * m + j];
    }
    return true;
}

/* One step down, halved until the objective falls enough (Armijo); false: it was the
 * last. Where the fall is lost in rounding the full step is right, and the last. */
static bool descend(const problem *p, double *w, double *value)
{
    double slope = 0;
    for (int64_t j = 0; j < p->m; j++) slope += p->step[j] * p->gradient[j];
    const bool last = slope <= 1e-14 * (1 + *value);
    double t = 1;
    for (int halving = 0; halving < 34; halving++, t /= 2) {
        for (int64_t j = 0; j < p->m; j++) p->trial[j] = w[j] - t * p->step[j];
        const double trial = objective(p, p->trial);
        if (!last && trial > *value - 1e-4 * t * slope) continue;
        memcpy(w, p->trial, (size_t)p->m * sizeof *w);
        *value = trial;
        return !last;
    }
    return false;
}

amg_status amg_logistic_fit(const double *x, const uint8_t *y, int64_t n, int64_t d,
                            double l2, double *w, amg_error *err)
{
    enum { MAX_STEPS = 100 }; /* separable data without a penalty have no optimum */
    const int64_t m = d + 1;
    int64_t count;
    double *scratch = NULL;
    if (amg_dims_count((int64_t[]){2, m, m + 2}, 3, &count))
        scratch = amg_calloc((size_t)count, sizeof *scratch);
    if (!scratch) return no_memory(err, "logistic regression");
    const problem p = {.x = x,
                       .y = y,
                       .n = n,
                       .d = d,
                       .m = m,
                       .l2 = l2,
                       .hessian = scratch,
                       .factor = scratch + m * m,
                       .gradient = scratch + 2 * m * m,
                       .step = scratch + 2 * m * m + m,
                       .trial = scratch + 2 * m * m + 2 * m};
    amg_status st = AMG_OK;
    memset(w, 0, (size_t)m * sizeof *w);
    double value = objective(&p, w);
    for (int i = 0; i < MAX_STEPS; i++) {
        derive(&p, w);
        if (!solve(&p)) {
            st = amg_fail(err, AMG_NOT_FINITE, -1, "logistic regression",
                          "a feature is NaN or infinite");
            break;
        }
        if (!descend(&p, w, &value)) break;
    }
    amg_free(scratch);
    return st;
}

/* ---- k-means ---- */

typedef struct {
    const double *x;
    int64_t n, d;
    int k;
    double *centre;   /* [k][d] */
    double *distance; /* [n] to the nearest centre, squared */
    int64_t *size;    /* [k] */
    int32_t *cluster; /* [n] */
} clustering;

static double squared_distance(const double *a, const double *b, int64_t d)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += (a[j] - b[j]) * (a[j] - b[j]);
    return sum;
}

/* A row by k-means++: with a chance as its distance from the centres so far. */
static int64_t draw_row(const clustering *c, amg_rng *rng)
{
    double total = 0;
    for (int64_t i = 0; i < c->n; i++) total += c->distance[i];
    double left = (double)amg_rng_uniform(rng) * total;
    int64_t last = 0; /* with a chance: rounding may leave some of left */
    for (int64_t i = 0; i < c->n; i++) {
        if (!(c->distance[i] > 0)) continue;
        last = i;
        if ((left -= c->distance[i]) < 0) break;
    }
    return total > 0 ? last : (int64_t)amg_rng_below(rng, (uint64_t)c->n);
}

static void start(const clustering *c, amg_rng *rng)
{
    for (int64_t i = 0; i < c->n; i++) c->distance[i] = INFINITY;
    for (int s = 0; s < c->k; s++) {
        const int64_t row =
            s ? draw_row(c, rng) : (int64_t)amg_rng_below(rng, (uint64_t)c->n);
        double *centre = c->centre + s * c->d;
        memcpy(centre, c->x + row * c->d, (size_t)c->d * sizeof *centre);
        for (int64_t i = 0; i < c->n; i++)
            c->distance[i] =
                fmin(c->distance[i], squared_distance(c->x + i * c->d, centre, c->d));
    }
    memset(c->cluster, 0, (size_t)c->n * sizeof *c->cluster);
}

/* Each row to its nearest centre; true if one moved. *inertia: sum of distances. */
static bool assign(const clustering *c, double *inertia)
{
    bool moved = false;
    *inertia = 0;
    memset(c->size, 0, (size_t)c->k * sizeof *c->size);
    for (int64_t i = 0; i < c->n; i++) {
        int32_t best = 0;
        double least = INFINITY;
        for (int32_t s = 0; s < c->k; s++) {
            const double to =
                squared_distance(c->x + i * c->d, c->centre + s * c->d, c->d);
            if (to < least) {
                least = to;
                best = s;
            }
        }
        moved |= best != c->cluster[i];
        c->cluster[i] = best;
        c->distance[i] = least;
        c->size[best]++;
        *inertia += least;
    }
    return moved;
}

/* Centres to their rows' means; one without rows to the row that is farthest off. */
static void centre_on_rows(const clustering *c)
{
    memset(c->centre, 0, (size_t)(c->k * c->d) * sizeof *c->centre);
    for (int64_t i = 0; i < c->n; i++) {
        double *centre = c->centre + c->cluster[i] * c->d;
        for (int64_t j = 0; j < c->d; j++) centre[j] += c->x[i * c->d + j];
    }
    for (int s = 0; s < c->k; s++) {
        double *centre = c->centre + s * c->d;
        for (int64_t j = 0; c->size[s] > 0 && j < c->d; j++)
            centre[j] /= (double)c->size[s];
        if (c->size[s] > 0) continue;
        int64_t far = 0;
        for (int64_t i = 1; i < c->n; i++)
            if (c->distance[i] > c->distance[far]) far = i;
        memcpy(centre, c->x + far * c->d, (size_t)c->d * sizeof *centre);
        c->distance[far] = 0;
    }
}

amg_status amg_kmeans(const double *x, int64_t n, int64_t d, int k, int restarts,
                      amg_rng rng, int32_t *cluster, amg_error *err)
{
    enum { MAX_ROUNDS = 300 };
    if (k < 1 || n < k)
        return amg_fail(err, AMG_INVALID, -1, "k-means", "%d clusters of %lld rows", k,
                        (long long)n);
    clustering c = {.x = x, .n = n, .d = d, .k = k};
    c.centre = amg_calloc((size_t)k, (size_t)d * sizeof *c.centre);
    c.distance = amg_calloc((size_t)n, sizeof *c.distance);
    c.size = amg_calloc((size_t)k, sizeof *c.size);
    c.cluster = amg_calloc((size_t)n, sizeof *c.cluster);
    const bool ok = c.centre && c.distance && c.size && c.cluster;
    double best = INFINITY;
    for (int r = 0; ok && r < (restarts > 1 ? restarts : 1); r++) {
        double inertia;
        start(&c, &rng);
        assign(&c, &inertia);
        for (int i = 0; i < MAX_ROUNDS; i++) {
            centre_on_rows(&c);
            if (!assign(&c, &inertia)) break;
        }
        if (r > 0 && !(inertia < best)) continue;
        best = inertia;
        memcpy(cluster, c.cluster, (size_t)n * sizeof *cluster);
    }
    amg_free(c.centre);
    amg_free(c.distance);
    amg_free(c.size);
    amg_free(c.cluster);
    return ok ? AMG_OK : no_memory(err, "k-means");
}
