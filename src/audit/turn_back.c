/* Turning back (see the header): a rotation moves the axes of the covariance along and
 * leaves the deviations along them as they are; which way an axis points, what blocks
 * have to do with their neighbours tells. Consumes rows of numbers; knows nothing of
 * jobs. */
#include "audit/turn_back.h"

#include <math.h>
#include <string.h>

#include "audit/eigen.h"
#include "base/alloc.h"
#include "base/vector.h"

enum { MAX_ROUNDS = 50, POWER_STEPS = 100 };

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "symmetry", "no memory for covariances");
}

void amg_blocks_clear(amg_blocks *b)
{
    amg_free(b->rows);
    amg_free(b->mean);
    amg_free(b->axes);
    amg_free(b->deviation);
    amg_free(b->skewness);
    *b = (amg_blocks){0};
}

AMG_VECTOR static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* ---- axes ---- */

static void take_mean(amg_blocks *b)
{
    const int64_t n = b->n, all = b->num * b->blocks;
    for (int64_t r = 0; r < all; r++)
        for (int64_t i = 0; i < n; i++) b->mean[i] += (double)b->rows[r * n + i];
    for (int64_t i = 0; i < n; i++) b->mean[i] /= (double)all;
}

AMG_VECTOR static void take_covariance(const amg_blocks *b, double *own, double *out)
{
    const int64_t n = b->n, all = b->num * b->blocks;
    for (int64_t r = 0; r < all; r++) {
        for (int64_t i = 0; i < n; i++)
            own[i] = (double)b->rows[r * n + i] - b->mean[i];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) out[i * n + j] += own[i] * own[j];
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++)
            out[j * n + i] = out[i * n + j] = out[i * n + j] / (double)all;
}

static void take_deviations(amg_blocks *b)
{
    double sum = 0;
    for (int64_t k = 0; k < b->n; k++) {
        b->deviation[k] = b->deviation[k] > 0 ? sqrt(b->deviation[k]) : 0;
        sum += b->deviation[k] * b->deviation[k];
    }
    b->length = sqrt(sum);
}

/* From here on rows are what lies along each axis, in its deviations: an axis that
 * nothing lies along has zeros. */
static void change_axes(amg_blocks *b, double *own)
{
    const int64_t n = b->n, all = b->num * b->blocks;
    const double least = 1e-6 * b->length;
    for (int64_t r = 0; r < all; r++) {
        for (int64_t i = 0; i < n; i++)
            own[i] = (double)b->rows[r * n + i] - b->mean[i];
        for (int64_t k = 0; k < n; k++) {
            const double along = b->deviation[k] > least
                                     ? dot(b->axes + k * n, own, n) / b->deviation[k]
                                     : 0;
            b->rows[r * n + k] = (float)along;
            b->skewness[k] += along * along * along / (double)all;
        }
    }
}

amg_status amg_blocks_of(amg_blocks *b, amg_error *err)
{
    const size_t row = (size_t)b->n, all = row * row;
    double *covariance = amg_calloc(all, sizeof *covariance);
    double *own = amg_calloc(row, sizeof *own);
    b->mean = amg_calloc(row, sizeof *b->mean);
    b->axes = amg_calloc(all, sizeof *b->axes);
    b->deviation = amg_calloc(row, sizeof *b->deviation);
    b->skewness = amg_calloc(row, sizeof *b->skewness);
    const bool room =
        covariance && own && b->mean && b->axes && b->deviation && b->skewness;
    amg_status st = room ? AMG_OK : no_memory(err);
    if (!st) {
        take_mean(b);
        take_covariance(b, own, covariance);
        st = amg_eigen_symmetric(covariance, b->n, b->deviation, b->axes, err);
    }
    if (!st) {
        take_deviations(b);
        change_axes(b, own);
    } else {
        amg_blocks_clear(b);
    }
    amg_free(covariance);
    amg_free(own);
    return st;
}

/* ---- blocks ---- */

/* Sum over images of what block p has along axis k times what block q has along l, or,
 * of inner products, along the same, by the squares of its deviation. */
static double inner_product(const amg_blocks *b, int64_t p, int64_t q)
{
    const int64_t n = b->n;
    double sum = 0;
    for (int64_t k = 0; k < n; k++) {
        double along = 0;
        for (int64_t i = 0; i < b->num; i++)
            along += (double)b->rows[(i * b->blocks + p) * n + k] *
                     (double)b->rows[(i * b->blocks + q) * n + k];
        sum += along * b->deviation[k] * b->deviation[k];
    }
    return sum / (double)b->num;
}

/* What a rotation leaves alone, as statistics of as many variables as there are blocks:
 * around the mean of all blocks, so that correlations tell what means do, too. */
static amg_status take_invariants(const amg_blocks *b, amg_variable_stats *out,
                                  amg_error *err)
{
    const int64_t m = b->blocks;
    amg_variable_stats s = {.n = m, .group = m, .num = b->num};
    s.moments = amg_calloc((size_t)(3 * m), sizeof *s.moments);
    s.corr = amg_calloc((size_t)(m * m), sizeof *s.corr);
    if (!s.moments || !s.corr) {
        amg_variable_stats_clear(&s);
        return no_memory(err);
    }
    for (int64_t p = 0; p < m; p++)
        s.moments[3 * p + 1] = sqrt(inner_product(b, p, p)) / b->length;
    for (int64_t p = 0; p < m; p++)
        for (int64_t q = 0; q <= p; q++) {
            const double by =
                s.moments[3 * p + 1] * s.moments[3 * q + 1] * b->length * b->length;
            s.corr[p * m + q] = s.corr[q * m + p] =
                (float)(by > 0 ? inner_product(b, p, q) / by : 0);
        }
    *out = s;
    return AMG_OK;
}

amg_status amg_blocks_match(const amg_blocks *seen, const amg_blocks *known,
                            int32_t *place, amg_error *err)
{
    amg_variable_stats a = {0}, b = {0};
    amg_status st = take_invariants(seen, &a, err);
    if (!st) st = take_invariants(known, &b, err);
    if (!st) st = amg_match_variables(&a, &b, false, place, err);
    amg_variable_stats_clear(&a);
    amg_variable_stats_clear(&b);
    return st;
}

/* ---- signs ---- */

/* Adds what blocks have to do with the block to their right (step 1) or below (step
 * across): out [n][n]. at[i]: where the block that stands at place i is. */
AMG_VECTOR static void add_neighbours(const amg_blocks *b, const int32_t *at,
                                      int64_t step, double *out)
{
    const int64_t n = b->n;
    for (int64_t p = 0; p + step < b->blocks; p++) {
        if (step == 1 && (p + 1) % b->across == 0) continue;
        for (int64_t i = 0; i < b->num; i++) {
            const float *one = b->rows + (i * b->blocks + at[p]) * n;
            const float *next = b->rows + (i * b->blocks + at[p + step]) * n;
            for (int64_t k = 0; k < n; k++)
                for (int64_t l = 0; l < n; l++)
                    out[k * n + l] += (double)(one[k] * next[l]);
        }
    }
    for (int64_t i = 0; i < n * n; i++) out[i] /= (double)(b->num * b->blocks);
}

static void block_mean(const amg_blocks *b, int64_t block, int64_t k, double *out)
{
    double sum = 0;
    for (int64_t i = 0; i < b->num; i++)
        sum += (double)b->rows[(i * b->blocks + block) * b->n + k];
    *out = sum / (double)b->num;
}

static double mean_along(const amg_blocks *b, int64_t k)
{
    const double along = dot(b->axes + k * b->n, b->mean, b->n);
    return b->deviation[k] > 0 ? along / b->deviation[k] : 0;
}

/* What speaks for axis k pointing the same way in both, by itself. */
static double own_evidence(const amg_blocks *seen, const amg_blocks *known,
                           const int32_t *at, int64_t k)
{
    double sum = seen->skewness[k] * known->skewness[k];
    if (seen->blocks == 1) return sum + mean_along(seen, k) * mean_along(known, k);
    for (int64_t p = 0; p < known->blocks; p++) {
        double a, b;
        block_mean(seen, at[p], k, &a);
        block_mean(known, p, k, &b);
        sum += a * b;
    }
    return sum;
}

/* Signs s that s'W s + h's grows with, one after the other; returns what it is. */
static double climb(const double *w, const double *h, int64_t n, double *s)
{
    double all = 0;
    bool moved = true;
    for (int k = 0; k < MAX_ROUNDS && moved; k++) {
        moved = false;
        for (int64_t i = 0; i < n; i++) {
            const double pull = h[i] + 2 * (dot(w + i * n, s, n) - w[i * n + i] * s[i]);
            moved = moved || pull * s[i] < 0;
            if (pull * s[i] < 0) s[i] = -s[i];
        }
    }
    for (int64_t i = 0; i < n; i++) all += s[i] * (dot(w + i * n, s, n) + h[i]);
    return all;
}

/* The signs of W's first eigenvector, the way that h agrees with. */
static void start_at_first(const double *w, const double *h, int64_t n, double *s,
                           double *next)
{
    for (int64_t i = 0; i < n; i++) s[i] = h[i] < 0 ? -1 : 1;
    for (int k = 0; k < POWER_STEPS; k++) {
        for (int64_t i = 0; i < n; i++) next[i] = dot(w + i * n, s, n);
        const double length = sqrt(dot(next, next, n));
        for (int64_t i = 0; length > 0 && i < n; i++) s[i] = next[i] / length;
    }
    for (int64_t i = 0; i < n; i++) s[i] = s[i] < 0 ? -1 : 1;
    const double agrees = dot(s, h, n);
    for (int64_t i = 0; agrees < 0 && i < n; i++) s[i] = -s[i];
}

/* w [n][n]: what speaks for axes k and l pointing the same ways in both, room 2 [n][n].
 */
static void compare_neighbours(const amg_blocks *seen, const amg_blocks *known,
                               const int32_t *at, const int32_t *own, double *w,
                               double *room)
{
    const int64_t n = seen->n, steps[2] = {1, seen->across};
    const size_t bytes = (size_t)(n * n) * sizeof *w;
    for (int d = 0; d < 2; d++) {
        double *a = room, *b = room + n * n;
        memset(room, 0, 2 * bytes);
        add_neighbours(seen, at, steps[d], a);
        add_neighbours(known, own, steps[d], b);
        for (int64_t k = 0; k < n; k++)
            for (int64_t l = 0; l < n; l++) {
                const double both = a[k * n + l] * b[k * n + l] / 2;
                w[k * n + l] += both;
                w[l * n + k] += both;
            }
    }
}

static void choose_signs(const double *w, const double *h, int64_t n, double *sign,
                         double *room)
{
    double *other = room, *next = room + n;
    for (int64_t i = 0; i < n; i++) sign[i] = h[i] < 0 ? -1 : 1;
    start_at_first(w, h, n, other, next);
    if (climb(w, h, n, other) > climb(w, h, n, sign))
        memcpy(sign, other, (size_t)n * sizeof *sign);
}

/* ---- the map ---- */

static void compose(const amg_blocks *seen, const amg_blocks *known, const double *sign,
                    double *turn, double *shift)
{
    const int64_t n = seen->n;
    const double scale = seen->length > 0 ? known->length / seen->length : 1;
    memset(turn, 0, (size_t)(n * n) * sizeof *turn);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < n; i++) {
            const double by = scale * sign[k] * known->axes[k * n + i];
            for (int64_t j = 0; j < n; j++)
                turn[i * n + j] += by * seen->axes[k * n + j];
        }
    for (int64_t i = 0; i < n; i++)
        shift[i] = known->mean[i] - dot(turn + i * n, seen->mean, n);
}

amg_status amg_turn_back(const amg_blocks *seen, const amg_blocks *known,
                         const int32_t *place, double *turn, double *shift,
                         amg_error *err)
{
    const int64_t n = seen->n, blocks = seen->blocks;
    double *w = amg_calloc((size_t)(3 * n * n), sizeof *w);
    double *h = amg_calloc((size_t)(4 * n), sizeof *h);
    int32_t *at = amg_calloc((size_t)(2 * blocks), sizeof *at);
    amg_status st = w && h && at ? AMG_OK : no_memory(err);
    if (!st) {
        int32_t *own = at + blocks;
        for (int64_t b = 0; b < blocks; b++) {
            own[b] = (int32_t)b;
            at[place ? place[b] : b] = (int32_t)b;
        }
        for (int64_t k = 0; k < n; k++) h[k] = own_evidence(seen, known, at, k);
        if (blocks > 1) compare_neighbours(seen, known, at, own, w, w + n * n);
        choose_signs(w, h, n, h + n, h + 2 * n);
        compose(seen, known, h + n, turn, shift);
    }
    amg_free(w);
    amg_free(h);
    amg_free(at);
    return st;
}
