/* naturalness: ranks the candidates by one feature at a time. Two ways to guess:
 *
 *   sample by sample   a rule (feature, smallest or largest) points at one stream of
 *                      each row; those that tie share it. The share of rows in which
 *                      the best rule points at the original is an identification rate.
 *                      Both directions are rules, so it is two-sided in effect; its
 *                      interval is corrected for the number of rules.
 *   all at once        the stream whose mean of a feature stands farthest out, in
 *                      standard errors: small shifts add up over the data set.
 *
 * Rows are taken as drawn independently of each other, those of tokens only as far as
 * the jackknife agrees (audit/jackknife.h).
 *
 * Costs the features of at most 65,536 samples: .1 ms each for 3x32x32, 2 s for 10,000
 * rows of four streams on two cores; of tokens 21 times, 20 s for such rows of 35; 11
 * MiB, and the counts of tokens. */
#include <math.h>

#include "audit/attack.h"
#include "audit/jackknife.h"
#include "audit/stats.h"
#include "base/alloc.h"

#define MAX_SAMPLES 65536
#define MIN_ROWS 10

static const char *const name = "naturalness";

/* ---- sample by sample ---- */

typedef struct {
    int rule; /* 2 * feature + (1: largest) */
    int stream;
    double points; /* rows in which the rule names the stream; of a tie, its part */
} pointing;

static const char *direction(int rule) { return rule % 2 ? "largest" : "smallest"; }

/* points [num_streams] of one rule, summed over rows. */
static void count_points(const amg_feature_table *t, int rule, double *points)
{
    const int feature = rule / 2;
    const double sign = rule % 2 ? -1 : 1;
    for (int s = 0; s < t->num_streams; s++) points[s] = 0;
    for (int64_t row = 0; row < t->num_rows; row++) {
        double best = sign * amg_feature_row(t, 0, row)[feature];
        int ties = 0;
        for (int s = 0; s < t->num_streams; s++) {
            const double x = sign * amg_feature_row(t, s, row)[feature];
            if (x <= best) ties = x < best ? 1 : ties + 1;
            if (x < best) best = x;
        }
        for (int s = 0; s < t->num_streams; s++)
            if (sign * amg_feature_row(t, s, row)[feature] == best)
                points[s] += 1.0 / ties;
    }
}

/* The rule that names the original most often, and the one that is most of one mind.
 * Of two streams every rule's opposite is as decided: there the first feature's
 * smaller side is taken, which is natural. points: room for num_streams. */
static void find_rules(const amg_feature_table *t, int original, double *points,
                       pointing *hit, pointing *guess)
{
    *hit = *guess = (pointing){.points = -1};
    for (int rule = 0; rule < 2 * t->count; rule++) {
        count_points(t, rule, points);
        for (int s = 0; s < t->num_streams; s++) {
            const pointing p = {rule, s, points[s]};
            if (s == original && p.points > hit->points) *hit = p;
            if (p.points > guess->points && (t->num_streams > 2 || rule == 0))
                *guess = p;
        }
    }
}

/* ---- all at once ---- */

/* One feature: means [num_streams] of what a stream's values differ from their rows'
 * means, and the standard error of each: if the streams of a row are interchangeable,
 * all have the same, given the rows' values; exact also for a feature that is nearly
 * always 0, where an estimate from the stream alone is far too small. Values are taken
 * relative to the first stream's, so that equal ones differ by nothing, not by
 * rounding. */
static void mean_differences(const amg_feature_table *t, int feature, double *means,
                             double *error)
{
    const double rows = (double)t->num_rows;
    double squares = 0;
    for (int s = 0; s < t->num_streams; s++) means[s] = 0;
    for (int64_t row = 0; row < t->num_rows; row++) {
        const double base = amg_feature_row(t, 0, row)[feature];
        double mean = 0;
        for (int s = 0; s < t->num_streams; s++)
            mean += (amg_feature_row(t, s, row)[feature] - base) / t->num_streams;
        for (int s = 0; s < t->num_streams; s++) {
            const double d = amg_feature_row(t, s, row)[feature] - base - mean;
            means[s] += d / rows;
            squares += d * d;
        }
    }
    *error = sqrt(squares / t->num_streams) / rows;
}

/* ---- what is found, and how far chance scatters it ---- */

typedef struct {
    pointing hit, guess;
    int original;           /* -1: not known */
    double *points;         /* [num_streams] */
    double *means, *errors; /* [count][num_streams] */
    double share_error;
    int degrees; /* of freedom of the errors; 0: as good as known */
} ranking;

/* [0]: the share of rows in which the hit's rule names the original; then the means
 * [count][num_streams]. */
static int num_estimates(const amg_feature_table *t)
{
    return 1 + t->count * t->num_streams;
}

static void estimate(const void *context, const amg_feature_table *t, double *out)
{
    const ranking *r = context;
    out[0] = 0;
    if (r->original >= 0) {
        count_points(t, r->hit.rule, r->points);
        out[0] = r->points[r->original] / (double)t->num_rows;
    }
    for (int f = 0; f < t->count; f++) {
        double error;
        mean_differences(t, f, out + 1 + f * t->num_streams, &error);
    }
}

/* Errors that take rows for independent are too small where features are not: of
 * tokens the larger one counts. */
static amg_status widen(const amg_attack_task *task, const amg_feature_table *t,
                        ranking *r, amg_error *err)
{
    const int count = num_estimates(t);
    double *errors = amg_malloc((size_t)count * sizeof *errors);
    if (!errors) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to compare");
    const amg_status st =
        amg_jackknife(task->evidence, t->num_rows, name, task->progress, estimate, r,
                      count, errors, &r->degrees, err);
    if (st == AMG_OK) r->share_error = errors[0];
    for (int i = 0; i < count - 1 && st == AMG_OK; i++)
        r->errors[i] = fmax(r->errors[i], errors[1 + i]);
    amg_free(errors);
    return st;
}

static amg_status rank(const amg_attack_task *task, const amg_feature_table *t,
                       ranking *r, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const int S = t->num_streams;
    r->points = amg_malloc((size_t)(S + 2 * t->count * S) * sizeof *r->points);
    if (!r->points) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to rank");
    r->means = r->points + S;
    r->errors = r->means + t->count * S;
    r->original = e->has_truth ? e->original : -1;
    find_rules(t, r->original, r->points, &r->hit, &r->guess);
    for (int f = 0; f < t->count; f++) {
        double error;
        mean_differences(t, f, r->means + f * S, &error);
        for (int s = 0; s < S; s++) r->errors[f * S + s] = error;
    }
    return e->is_tokens ? widen(task, t, r, err) : AMG_OK;
}

/* How many errors one of so many tests stays within, 95 times in 100. */
static double most_errors(const ranking *r, int tests)
{
    return r->degrees > 0 ? amg_student_limit(0.05 / tests, r->degrees)
                          : -amg_normal_quantile(0.025 / tests);
}

static amg_status tell_share(const amg_attack_task *task, const amg_feature_table *t,
                             const ranking *r, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const double rows = (double)t->num_rows;
    const int rules = 2 * t->count;
    amg_finding f = amg_finding_new(name, "samples in which the original is named");
    f.chance = 1.0 / t->num_streams;
    f.guess = r->guess.stream;
    if (!e->has_truth)
        return amg_findings_add(
            task->findings, &f, err,
            "Sorting the %d candidates of each sample by one number, \"%s\", the %s "
            "one is stream %d in %.1f %% of the samples; by chance it would be %.1f "
            "%%.",
            t->num_streams, t->names[r->guess.rule / 2], direction(r->guess.rule),
            r->guess.stream, 100 * r->guess.points / rows, 100 * f.chance);
    f.value = r->hit.points / rows;
    const double most = task->options->max_identification;
    f.pass_low = 0;
    f.pass_high = most > 0 ? most : f.chance;
    f.by_value = most > 0;
    amg_share_interval(llround(r->hit.points), t->num_rows, rules, &f.low, &f.high);
    const double reach = most_errors(r, rules) * r->share_error;
    f.low = fmax(fmin(f.low, f.value - reach), 0);
    f.high = fmin(fmax(f.high, f.value + reach), 1);
    return amg_findings_add(
        task->findings, &f, err,
        "Whoever takes the candidate with the %s \"%s\" has your sample in %.1f %% of "
        "the cases; a blind guess, in %.1f %%. It is the best of %d such rules.%s",
        direction(r->hit.rule), t->names[r->hit.rule / 2], 100 * f.value,
        100 * f.chance, rules,
        f.low > f.chance ? " Take covers from the same source as your data, split at "
                           "random (amalgam split)."
                         : "");
}

typedef struct {
    int feature, stream;
    double errors; /* standard errors between the stream's mean and the rows' */
} outlier;

static outlier farthest_out(const amg_feature_table *t, const ranking *r)
{
    outlier far = {0};
    for (int i = 0; i < t->count * t->num_streams; i++) {
        const double errors = r->errors[i] > 0 ? fabs(r->means[i]) / r->errors[i] : 0;
        if (errors > far.errors)
            far = (outlier){i / t->num_streams, i % t->num_streams, errors};
    }
    return far;
}

/* What it means that a stream stands out more than chance would have it. */
static const char *consequence(const amg_evidence *e, const outlier *far, double limit)
{
    if (far->errors <= limit) return "Averages over all samples tell nothing.";
    if (!e->has_truth) return "An attacker would name it, or rule it out.";
    if (e->num_streams > 2 && far->stream != e->original)
        return "It is a decoy: ruled out, it leaves one candidate fewer. Take all "
               "covers from the same source as your data, split at random (amalgam "
               "split).";
    return "So the data as a whole give it away. Take covers from the same source as "
           "your data, split at random (amalgam split).";
}

static amg_status tell_means(const amg_attack_task *task, const amg_feature_table *t,
                             const ranking *r, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const bool two = t->num_streams == 2; /* as far from each other, either way */
    const outlier far = farthest_out(t, r);
    const double limit = most_errors(r, t->count * (two ? 1 : t->num_streams));
    amg_finding f = amg_finding_new(name, "standard errors of the odd stream's mean");
    f.value = far.errors;
    f.guess = two ? -1 : far.stream;
    if (e->has_truth) {
        f.pass_low = 0;
        f.pass_high = limit;
    }
    return amg_findings_add(
        task->findings, &f, err,
        "Averaged over %lld samples, stream %d stands farthest from the rest, by its "
        "\"%s\": %.1f standard errors, where up to %.1f are chance. %s",
        (long long)t->num_rows, far.stream, t->names[far.feature], far.errors, limit,
        consequence(e, &far, limit));
}

amg_status amg_attack_naturalness(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (e->num_streams < 2 || e->num_rows < MIN_ROWS)
        return amg_findings_skip(task->findings, name, err,
                                 "Needs two candidates and %d samples; the job has %d "
                                 "and %lld.",
                                 MIN_ROWS, e->num_streams, (long long)e->num_rows);
    amg_feature_table t = {0};
    amg_status st =
        amg_feature_table_find(e, MAX_SAMPLES, name, task->progress, &t, err);
    ranking r = {0};
    if (!st) st = rank(task, &t, &r, err);
    if (!st) st = tell_share(task, &t, &r, err);
    if (!st) st = tell_means(task, &t, &r, err);
    amg_free(r.points);
    amg_feature_table_clear(&t);
    return st;
}
