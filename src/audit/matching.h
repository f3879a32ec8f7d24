/* Matching: which variable of one set of data is which of another, by their statistics
 * alone. */
#ifndef AMG_AUDIT_MATCHING_H
#define AMG_AUDIT_MATCHING_H

#include <stdbool.h>
#include <stdint.h>

#include "amalgam/status.h"

/* What is known of n variables, which stand in groups of equal size one behind the
 * other (channels). */
typedef struct {
    int64_t n, group, num; /* of num rows */
    double *moments;       /* [n][3] mean, deviation, skewness */
    float *corr;           /* [n][n] correlations */
} amg_variable_stats;

/* Of rows [num][n], num and n at least 1; the only error is AMG_NO_MEMORY, as of all
 * below. Free with amg_variable_stats_clear. */
AMG_MUST_CHECK amg_status amg_variable_stats_of(const float *rows, int64_t num,
                                                int64_t n, int64_t group,
                                                amg_variable_stats *out,
                                                amg_error *err);
void amg_variable_stats_clear(amg_variable_stats *s);

/* match[i] = the variable of b that variable i of a is taken for, one to one, a group's
 * within the same group, or, alike, all groups in the same way (a group is what is
 * known of one kind of n / group things): profiles of moments and sorted correlations
 * first, then, several times, whatever agrees best with the correlations that the last
 * matching gives (a fast approximate solution of the quadratic assignment problem,
 * Vogelstein et al., PLoS ONE 2015), at last exchanges of two as long as they gain.
 * Takes n^2 x group multiplications a step. */
AMG_MUST_CHECK amg_status amg_match_variables(const amg_variable_stats *a,
                                              const amg_variable_stats *b, bool alike,
                                              int32_t *match, amg_error *err);

/* The cheapest one-to-one assignment of n rows to n columns, cost [n][n] (shortest
 * augmenting paths, n^3). */
AMG_MUST_CHECK amg_status amg_assign(const double *cost, int64_t n, int32_t *column_of,
                                     amg_error *err);

#endif
