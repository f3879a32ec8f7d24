/* Tests of counts that tell whether streams differ: tails of exact or well-known laws.
 * Plain functions of numbers; nothing here knows jobs. */
#ifndef AMG_AUDIT_CONTINGENCY_H
#define AMG_AUDIT_CONTINGENCY_H

#include <stdint.h>

/* Fisher's exact test, two-sided (twice the smaller tail, at most 1): how likely two
 * shares hits_a / a and hits_b / b are to differ so much if both come from one law.
 * O(smaller of hits and misses). */
double amg_fisher(int64_t hits_a, int64_t a, int64_t hits_b, int64_t b);

/* P(X >= x) of a chi-square with so many degrees of freedom (Wilson and Hilferty's
 * cube root, within 10 % of p down to 1e-4 from three degrees on). 1 without any. */
double amg_chi_square_tail(double x, double degrees);

/* Kruskal and Wallis's test that items of count groups stand in a row without regard to
 * group: group[i] of the i-th item, in 0 .. count-1. p; 1 where there is nothing to
 * compare. sums, sizes: room for count. */
double amg_kruskal_wallis(const int *group, int64_t n, int count, double *sums,
                          double *sizes);

#endif
