/* Statistics that attacks share. Plain functions of numbers; nothing here knows jobs.
 * Random draws come from base/rng.h with the caller's seed, so that an audit repeats.
 */
#ifndef AMG_AUDIT_STATS_H
#define AMG_AUDIT_STATS_H

#include <stdint.h>

#include "amalgam/status.h"
#include "base/rng.h"

/* Area under the ROC curve of score for positive (1) against others (0), ties by half;
 * NaN if one side is empty. AMG_NO_MEMORY gives NaN, too. */
double amg_auc(const double *score, const uint8_t *positive, int64_t n);
/* Its 95 % interval (Hanley and McNeil 1982), clipped to [0, 1]; tests: how many
 * intervals are looked at (Bonferroni; 1: one). */
void amg_auc_interval(double auc, int64_t num_positive, int64_t num_negative, int tests,
                      double *low, double *high);
/* Wilson's interval of a share of hits; tests as above. */
void amg_share_interval(int64_t hits, int64_t n, int tests, double *low, double *high);
/* P(X >= hits) of a binomial. */
double amg_binomial_tail(int64_t hits, int64_t n, double p);
double amg_normal_quantile(double p); /* Wichura's AS 241 or as exact */
/* t that |T| of Student's law exceeds with the probability tail. */
double amg_student_limit(double tail, int degrees);

void amg_mean_std(const double *x, int64_t n, double *mean, double *std);
double amg_median(double *x, int64_t n); /* reorders x; NaN if n is 0 */

/* Columns of x [n][d] to mean 0, deviation 1 (constant ones to 0), in place. mean, std
 * [d] receive what was taken off. */
void amg_standardise(double *x, int64_t n, int64_t d, double *mean, double *std);

/* Logistic regression with an L2 penalty (l2/2 * |w|^2, not on the bias), by Newton's
 * method with a damped step: x [n][d], y 0 or 1; w [d + 1] receives weights, bias last.
 */
AMG_MUST_CHECK amg_status amg_logistic_fit(const double *x, const uint8_t *y, int64_t n,
                                           int64_t d, double l2, double *w,
                                           amg_error *err);
double amg_logistic_score(const double *w, const double *x, int64_t d); /* log odds */

/* Adjusted Rand index of two clusterings (Hubert and Arabie 1985). */
double amg_adjusted_rand(const int32_t *a, const int32_t *b, int64_t n);

/* k-means (Lloyd, k-means++ start, restarts; the best inertia counts): x [n][d]. */
AMG_MUST_CHECK amg_status amg_kmeans(const double *x, int64_t n, int64_t d, int k,
                                     int restarts, amg_rng rng, int32_t *cluster,
                                     amg_error *err);

/* Mean structural similarity (Wang et al. 2004: 11x11 Gaussian window, sigma 1.5,
 * K1 = .01, K2 = .03) of two images [C,H,W] with values 0..range; a window smaller than
 * 11 where a side is. And the peak signal-to-noise ratio in dB (infinite if equal). */
double amg_ssim(const float *a, const float *b, const int64_t dims[3], double range);
double amg_psnr(const float *a, const float *b, const int64_t dims[3], double range);

#endif
