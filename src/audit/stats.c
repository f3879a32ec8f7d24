/* Statistics of numbers: areas under curves, intervals, tails, moments, agreement of
 * clusterings. Plain functions; models are fitted in stats_fit.c, images compared in
 * stats_image.c. */
#include "audit/stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* ---- the ROC curve ---- */

typedef struct {
    double score;
    uint8_t positive;
} scored;

static int by_score(const void *a, const void *b)
{
    const double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

/* The Mann-Whitney statistic: for each group of equal scores its positives beat the
 * others below and half of those in the group. */
double amg_auc(const double *score, const uint8_t *positive, int64_t n)
{
    scored *items = amg_malloc((size_t)n * sizeof *items);
    bool ordered = items != NULL;
    for (int64_t i = 0; ordered && i < n; i++) {
        items[i] = (scored){score[i], positive[i]};
        ordered = !isnan(score[i]);
    }
    double wins = 0, below = 0, num_positive = 0;
    if (ordered) qsort(items, (size_t)n, sizeof *items, by_score);
    for (int64_t i = 0, end; ordered && i < n; i = end) {
        int64_t hits = 0;
        for (end = i; end < n && items[end].score == items[i].score; end++)
            hits += items[end].positive != 0;
        const double others = (double)(end - i - hits);
        wins += (double)hits * (below + others / 2);
        below += others;
        num_positive += (double)hits;
    }
    amg_free(items);
    return num_positive > 0 && below > 0 ? wins / (num_positive * below) : NAN;
}

/* ---- intervals ---- */

/* How many deviations a two-sided 95 % interval has to either side, when it is one of
 * several that are looked at. */
static double deviations(int tests)
{
    return -amg_normal_quantile(0.025 / (tests > 1 ? tests : 1));
}

void amg_auc_interval(double auc, int64_t num_positive, int64_t num_negative, int tests,
                      double *low, double *high)
{
    const double p = (double)num_positive, n = (double)num_negative;
    const double q1 = auc / (2 - auc), q2 = 2 * auc * auc / (1 + auc);
    const double variance =
        (auc * (1 - auc) + (p - 1) * (q1 - auc * auc) + (n - 1) * (q2 - auc * auc)) /
        (p * n);
    const double reach = deviations(tests) * sqrt(fmax(variance, 0));
    *low = fmax(auc - reach, 0);
    *high = fmin(auc + reach, 1);
}

void amg_share_interval(int64_t hits, int64_t n, int tests, double *low, double *high)
{
    *low = 0;
    *high = 1;
    if (n < 1) return;
    const double z = deviations(tests), share = (double)hits / (double)n;
    const double zz = z * z / (double)n;
    const double centre = (share + zz / 2) / (1 + zz);
    const double reach =
        z / (1 + zz) * sqrt(share * (1 - share) / (double)n + zz / (4 * (double)n));
    /* Rounding must not cut off the ends, which are exact. */
    if (hits > 0) *low = fmax(centre - reach, 0);
    if (hits < n) *high = fmin(centre + reach, 1);
}

static double log_factorial(int64_t n)
{
    int sign;
    return lgamma_r((double)n + 1, &sign);
}

double amg_binomial_tail(int64_t hits, int64_t n, double p)
{
    if (hits <= 0) return 1;
    if (hits > n || p <= 0) return 0;
    if (p >= 1) return 1;
    const double log_p = log(p), log_q = log1p(-p), ways = log_factorial(n);
    double sum = 0;
    for (int64_t i = n; i >= hits; i--) /* upwards from the smallest terms */
        sum += exp(ways - log_factorial(i) - log_factorial(n - i) + (double)i * log_p +
                   (double)(n - i) * log_q);
    return fmin(sum, 1);
}

/* Newton's method on log F(x) = log p in the lower half. The logarithm of the normal
 * distribution function is concave and the start lies left of the root (F(x) <=
 * exp(-x^2/2)/2 there): the steps never pass it, and end when they round to nothing. */
double amg_normal_quantile(double p)
{
    if (!(p > 0 && p < 1)) return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
    if (p == 0.5) return 0;
    const double q = p < 0.5 ? p : 1 - p;
    double x = -sqrt(-2 * log(q)), before;
    do {
        const double f = erfc(-x * M_SQRT1_2) / 2;
        const double density = exp(-x * x / 2) * M_SQRT1_2 * M_2_SQRTPI / 2;
        before = x;
        x += log(q / f) * f / density;
    } while (x > before);
    return p < 0.5 ? x : -x;
}

/* ---- moments ---- */

/* Both of all n as they are, not an estimate for more. */
/* P(|T| > t) of Student's t (Abramowitz and Stegun 26.7.3 and 26.7.4). */
static double student_tail(double t, int degrees)
{
    const double angle = atan(t / sqrt(degrees)), c = cos(angle);
    const bool odd = degrees % 2;
    double sum = 0, term = odd ? sin(angle) * c : sin(angle);
    for (int j = odd; j <= degrees - 2; j += 2) {
        sum += term;
        term *= c * c * (j + 1) / (j + 2);
    }
    return odd ? 1 - M_2_PI * (angle + sum) : 1 - sum;
}

/* By halving, from what is never passed to one digit in a million. */
double amg_student_limit(double tail, int degrees)
{
    double low = 0, high = 1e6;
    while (high - low > 1e-6 * high) {
        const double t = (low + high) / 2;
        if (student_tail(t, degrees) > tail)
            low = t;
        else
            high = t;
    }
    return high;
}

void amg_mean_std(const double *x, int64_t n, double *mean, double *std)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *std = sqrt(squares / (double)n);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double amg_median(double *x, int64_t n)
{
    if (n < 1) return NAN;
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* A column whose deviation is no more than the mean's rounding is constant. */
void amg_standardise(double *x, int64_t n, int64_t d, double *mean, double *std)
{
    memset(mean, 0, (size_t)d * sizeof *mean);
    memset(std, 0, (size_t)d * sizeof *std);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) mean[j] += x[i * d + j];
    for (int64_t j = 0; j < d; j++) mean[j] /= (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) {
            x[i * d + j] -= mean[j];
            std[j] += x[i * d + j] * x[i * d + j];
        }
    for (int64_t j = 0; j < d; j++) {
        std[j] = sqrt(std[j] / (double)n);
        if (std[j] <= 1e-12 * fabs(mean[j])) std[j] = 0;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++)
            x[i * d + j] = std[j] > 0 ? x[i * d + j] / std[j] : 0;
}

/* ---- agreement of clusterings ---- */

static int by_pair(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Pairs of elements that are equal in the bits of mask; keys sorted by them. */
static double equal_pairs(const uint64_t *keys, int64_t n, uint64_t mask)
{
    double pairs = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && ((keys[end] ^ keys[i]) & mask) == 0;) end++;
        pairs += (double)(end - i) * (double)(end - i - 1) / 2;
    }
    return pairs;
}

double amg_adjusted_rand(const int32_t *a, const int32_t *b, int64_t n)
{
    uint64_t *keys = amg_malloc((size_t)n * sizeof *keys);
    if (!keys) return NAN;
    for (int64_t i = 0; i < n; i++)
        keys[i] = (uint64_t)(uint32_t)a[i] << 32 | (uint32_t)b[i];
    qsort(keys, (size_t)n, sizeof *keys, by_pair);
    const double both = equal_pairs(keys, n, UINT64_MAX);
    const double in_a = equal_pairs(keys, n, UINT64_MAX << 32);
    for (int64_t i = 0; i < n; i++) keys[i] = (uint32_t)b[i];
    qsort(keys, (size_t)n, sizeof *keys, by_pair);
    const double in_b = equal_pairs(keys, n, UINT64_MAX);
    amg_free(keys);
    const double all = (double)n * (double)(n - 1) / 2;
    const double expected = all > 0 ? in_a * in_b / all : 0;
    const double most = (in_a + in_b) / 2;
    /* Both of one cluster, or both of clusters of one: they are the same. */
    return most == expected ? 1 : (both - expected) / (most - expected);
}
