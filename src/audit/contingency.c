/* Tests of counts. Fisher's tail is summed term by term in logarithms, so that it is
 * exact where shares are near 0 or 1 and normal approximations fail; the others are the
 * textbook statistics. */
#include "audit/contingency.h"

#include <math.h>

static double log_choose(double n, double k)
{
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);
}

/* P(X = x): x of a drawn ones are hits, of hits among n. */
static double hypergeometric(double x, double a, double hits, double n)
{
    return exp(log_choose(hits, x) + log_choose(n - hits, a - x) - log_choose(n, a));
}

double amg_fisher(int64_t hits_a, int64_t a, int64_t hits_b, int64_t b)
{
    const int64_t n = a + b;
    int64_t hits = hits_a + hits_b, x = hits_a;
    if (a <= 0 || b <= 0) return 1;
    if (hits > n - hits) { /* the same table, told by its misses */
        hits = n - hits;
        x = a - hits_a;
    }
    const int64_t least = hits > b ? hits - b : 0, most = hits < a ? hits : a;
    double up = 0, down = 0;
    for (int64_t i = least; i <= most; i++) {
        const double p = hypergeometric((double)i, (double)a, (double)hits, (double)n);
        if (i >= x) up += p;
        if (i <= x) down += p;
    }
    const double p = 2 * (up < down ? up : down);
    return p < 1 ? p : 1;
}

double amg_chi_square_tail(double x, double degrees)
{
    if (!(degrees > 0) || !(x > 0)) return 1;
    const double scale = 2 / (9 * degrees);
    const double z = (cbrt(x / degrees) - (1 - scale)) / sqrt(scale);
    return 0.5 * erfc(z / sqrt(2));
}

double amg_kruskal_wallis(const int *group, int64_t n, int count, double *sums,
                          double *sizes)
{
    int used = 0;
    double h = 0;
    for (int g = 0; g < count; g++) sums[g] = sizes[g] = 0;
    for (int64_t i = 0; i < n; i++) {
        sums[group[i]] += (double)(i + 1);
        sizes[group[i]]++;
    }
    for (int g = 0; g < count; g++) {
        if (sizes[g] == 0) continue;
        h += sums[g] * sums[g] / sizes[g];
        used++;
    }
    const double m = (double)n;
    h = 12 / (m * (m + 1)) * h - 3 * (m + 1);
    return used > 1 ? amg_chi_square_tail(h, used - 1) : 1;
}
