/* naturalness: ranks the candidates by one feature at a time. Two ways to guess:
 *
 *   sample by sample   a rule (feature, smallest or largest) points at one stream of
 *                      each row; ties are broken by lot. The share of rows in which the
 *                      best rule points at the original is an identification rate. Both
 *                      directions are rules, so it is two-sided in effect; its interval
 *                      is corrected for the number of rules and takes rows as drawn
 *                      independently of each other.
 *   all at once        the stream whose mean of a feature stands farthest out, in
 *                      standard errors: small shifts add up over the data set.
 *
 * Costs the features of at most 65,536 samples: .1 ms each for 3x32x32, 2 s for 10,000
 * rows of four streams on two cores; 11 MiB, and the counts of tokens. */
#include <math.h>

#include "audit/attack.h"
#include "audit/feature_table.h"
#include "audit/stats.h"
#include "base/alloc.h"

#define MAX_SAMPLES 65536
#define MIN_ROWS 10

static const char *const name = "naturalness";

/* ---- sample by sample ---- */

typedef struct {
    int rule; /* 2 * feature + (1: largest) */
    int stream;
    int64_t points; /* rows in which the rule names the stream */
} pointing;

static const char *direction(int rule) { return rule % 2 ? "largest" : "smallest"; }

/* Stream of a row that a rule names, one of those that tie. */
static int point(const amg_feature_table *t, int rule, int64_t row, amg_rng *rng)
{
    const int feature = rule / 2;
    const double sign = rule % 2 ? -1 : 1;
    int best = 0;
    uint64_t ties = 1;
    for (int s = 1; s < t->num_streams; s++) {
        const double difference = sign * (amg_feature_row(t, s, row)[feature] -
                                          amg_feature_row(t, best, row)[feature]);
        if (difference > 0) continue;
        ties = difference < 0 ? 1 : ties + 1;
        if (ties == 1 || amg_rng_below(rng, ties) == 0) best = s;
    }
    return best;
}

/* points [num_streams] of one rule. */
static void count_points(const amg_feature_table *t, int rule, uint64_t seed,
                         int64_t *points)
{
    amg_rng rng = amg_rng_init(seed, (uint64_t)rule);
    for (int s = 0; s < t->num_streams; s++) points[s] = 0;
    for (int64_t row = 0; row < t->num_rows; row++) points[point(t, rule, row, &rng)]++;
}

/* The rule that names the original most often, and the one that is most of one mind.
 * Of two streams every rule's opposite is as decided: there the first feature's
 * smaller side is taken, which is natural. points: room for num_streams. */
static void find_rules(const amg_feature_table *t, int original, uint64_t seed,
                       int64_t *points, pointing *hit, pointing *guess)
{
    *hit = *guess = (pointing){.points = -1};
    for (int rule = 0; rule < 2 * t->count; rule++) {
        count_points(t, rule, seed, points);
        for (int s = 0; s < t->num_streams; s++) {
            const pointing p = {rule, s, points[s]};
            if (s == original && p.points > hit->points) *hit = p;
            if (p.points > guess->points && (t->num_streams > 2 || rule == 0))
                *guess = p;
        }
    }
}

static amg_status rank_samples(const amg_attack_task *task, const amg_feature_table *t,
                               amg_error *err)
{
    const amg_evidence *e = task->evidence;
    int64_t *points = amg_malloc((size_t)t->num_streams * sizeof *points);
    if (!points) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to rank");
    pointing hit, guess;
    find_rules(t, e->has_truth ? e->original : -1, task->seed, points, &hit, &guess);
    amg_free(points);

    amg_finding f = amg_finding_new(name, "samples in which the original is named");
    f.chance = 1.0 / t->num_streams;
    f.guess = guess.stream;
    const double rows = (double)t->num_rows;
    if (!e->has_truth)
        return amg_findings_add(
            task->findings, &f, err,
            "Sorting the %d candidates of each sample by one number, \"%s\", the %s "
            "one is stream %d in %.1f %% of the samples; by chance it would be %.1f "
            "%%.",
            t->num_streams, t->names[guess.rule / 2], direction(guess.rule),
            guess.stream, 100 * (double)guess.points / rows, 100 * f.chance);
    f.value = (double)hit.points / rows;
    const double most = task->options->max_identification;
    f.pass_low = 0;
    f.pass_high = most > 0 ? most : f.chance;
    f.by_value = most > 0;
    amg_share_interval(hit.points, t->num_rows, 2 * t->count, &f.low, &f.high);
    return amg_findings_add(
        task->findings, &f, err,
        "Whoever takes the candidate with the %s \"%s\" has your sample in %.1f %% of "
        "the cases; a blind guess, in %.1f %%. It is the best of %d such rules.%s",
        direction(hit.rule), t->names[hit.rule / 2], 100 * f.value, 100 * f.chance,
        2 * t->count,
        f.low > f.chance ? " Take covers from the same source as your data, split at "
                           "random (amalgam split)."
                         : "");
}

/* ---- all at once ---- */

typedef struct {
    int feature, stream;
    double errors; /* standard errors between the stream's mean and the rows' */
} outlier;

/* One feature: sums [num_streams] of what a stream's values differ from their rows'
 * means; *squares: the differences' squares of all streams. Values are taken relative
 * to the first stream's, so that equal ones differ by nothing, not by rounding. */
static void sum_differences(const amg_feature_table *t, int feature, double *sums,
                            double *squares)
{
    *squares = 0;
    for (int s = 0; s < t->num_streams; s++) sums[s] = 0;
    for (int64_t row = 0; row < t->num_rows; row++) {
        const double base = amg_feature_row(t, 0, row)[feature];
        double mean = 0;
        for (int s = 0; s < t->num_streams; s++)
            mean += (amg_feature_row(t, s, row)[feature] - base) / t->num_streams;
        for (int s = 0; s < t->num_streams; s++) {
            const double d = amg_feature_row(t, s, row)[feature] - base - mean;
            sums[s] += d;
            *squares += d * d;
        }
    }
}

/* If the streams of a row are interchangeable, a stream's sum has the variance squares
 * / num_streams, given the rows' values: exact also for a feature that is nearly always
 * 0, where an estimate from the stream alone is far too small. sums: room for
 * num_streams. */
static outlier farthest_out(const amg_feature_table *t, double *sums)
{
    outlier far = {0};
    for (int feature = 0; feature < t->count; feature++) {
        double squares;
        sum_differences(t, feature, sums, &squares);
        for (int s = 0; s < t->num_streams; s++) {
            const double errors =
                squares > 0 ? fabs(sums[s]) / sqrt(squares / t->num_streams) : 0;
            if (errors > far.errors) far = (outlier){feature, s, errors};
        }
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

static amg_status compare_means(const amg_attack_task *task, const amg_feature_table *t,
                                amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const bool two = t->num_streams == 2; /* as far from each other, either way */
    double *sums = amg_malloc((size_t)t->num_streams * sizeof *sums);
    if (!sums) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to compare");
    const outlier far = farthest_out(t, sums);
    amg_free(sums);

    const int tests = t->count * (two ? 1 : t->num_streams);
    const double limit = -amg_normal_quantile(0.025 / tests);
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
    if (!st) st = rank_samples(task, &t, err);
    if (!st) st = compare_means(task, &t, err);
    amg_feature_table_clear(&t);
    return st;
}
