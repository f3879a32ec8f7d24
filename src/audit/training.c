/* training: does one sub-network train unlike the others? Ranks them by what
 * training_run.h measures; each measure is two rules, which name the stream of the
 * smallest value and that of the largest.
 *
 * One job is one draw: measures go together (who has the largest loss has the smallest
 * accuracy), some stream is the odd one in most of them, and 1 time in k+1 that is the
 * original. So the count of rules is reported, and the verdict is whether the original
 * stands farther from the decoys than these from each other, by Student's t with k-1
 * degrees of freedom for the measure where it does most, corrected for their number.
 * That needs 2 decoys, and with few it finds gross differences only: labels that do not
 * belong to the samples, another domain.
 *
 * Costs, where the job was not trained, 50 steps of 64 samples; in any case two of 256.
 * The job's files stay as they are. */
#include <math.h>
#include <string.h>

#include "audit/attack.h"
#include "audit/stats.h"
#include "audit/training_run.h"

#define AMG_MEASURE_TEXT(name, text) text,
static const char *const measure_names[] = {AMG_MEASURE_LIST(AMG_MEASURE_TEXT)};
#undef AMG_MEASURE_TEXT

/* The measures that all heads have. */
typedef struct {
    int num_streams, count;
    amg_measure measures[AMG_NUM_MEASURES];
    const double *values[AMG_NUM_MEASURES]; /* [num_streams] */
    int votes[AMG_MAX_HEADS];               /* of rules */
} ranking;

/* Stream of the smallest sign * value; -1: several have it. */
static int find_smallest(const double *values, int n, double sign)
{
    int best = 0;
    bool shared = false;
    for (int s = 1; s < n; s++) {
        if (sign * values[s] == sign * values[best]) shared = true;
        if (sign * values[s] >= sign * values[best]) continue;
        best = s;
        shared = false;
    }
    return shared ? -1 : best;
}

static ranking rank_streams(const amg_training *run, int num_streams)
{
    ranking r = {.num_streams = num_streams};
    for (int m = 0; m < AMG_NUM_MEASURES; m++) {
        bool complete = true;
        for (int s = 0; s < num_streams; s++) complete &= isfinite(run->of[m][s]);
        if (!complete) continue;
        r.measures[r.count] = (amg_measure)m;
        r.values[r.count++] = run->of[m];
        for (int sign = -1; sign <= 1; sign += 2) {
            const int named = find_smallest(run->of[m], num_streams, sign);
            if (named >= 0) r.votes[named]++;
        }
    }
    return r;
}

/* ---- standing out ---- */

/* How far a stream lies from the others, in deviations of one more of them. *mean: the
 * others'. */
static double student_t(const double *values, int n, int stream, double *mean)
{
    double sum = 0, squares = 0;
    const int k = n - 1;
    for (int s = 0; s < n; s++) sum += s == stream ? 0 : values[s];
    *mean = sum / k;
    for (int s = 0; s < n; s++)
        squares += s == stream ? 0 : (values[s] - *mean) * (values[s] - *mean);
    const double away = fabs(values[stream] - *mean);
    return away > 0 ? away / sqrt(squares / (k - 1) * (1 + 1.0 / k)) : 0;
}

/* The largest over measures; *at: which. An accuracy over one batch takes few values
 * and so is equal by chance: it only votes. */
static double stand_out(const ranking *r, int stream, int *at)
{
    double mean, most = -1;
    for (int i = 0; i < r->count; i++) {
        if (r->measures[i] == AMG_MEASURE_ACCURACY) continue;
        const double t = student_t(r->values[i], r->num_streams, stream, &mean);
        if (!(t > most)) continue;
        most = t;
        *at = i;
    }
    return most;
}

/* ---- findings ---- */

/* Most votes; of equal ones, who stands out. -1 with one decoy: each measure votes for
 * both. */
static int guess(const ranking *r)
{
    int best = -1, at;
    double farthest = 0;
    for (int s = 0; s < r->num_streams && r->num_streams > 2; s++) {
        const double t = stand_out(r, s, &at);
        if (best >= 0 && (r->votes[s] < r->votes[best] ||
                          (r->votes[s] == r->votes[best] && t <= farthest)))
            continue;
        best = s;
        farthest = t;
    }
    return best;
}

static const char *which_training(const amg_training *run)
{
    return run->was_trained ? "the training that was run" : "a short training";
}

static amg_status add_votes(const amg_attack_task *task, const amg_training *run,
                            const ranking *r, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const int rules = 2 * r->count;
    amg_finding f = amg_finding_new("training", "rules that point at the original");
    f.guess = guess(r);
    f.chance = 1.0 / r->num_streams;
    if (r->num_streams == 2)
        return amg_findings_add(
            task->findings, &f, err,
            "%d measures of %s were compared. With one decoy each of them ranks one "
            "network above the other, which tells nothing by itself; one who knows "
            "what the original should reach can still tell them apart.",
            r->count, which_training(run));
    if (!e->has_truth)
        return amg_findings_add(
            task->findings, &f, err,
            "%d of %d rules (the smallest or largest of %d measures of %s) name stream "
            "%d, the most of all; by chance a stream has %.1f.",
            r->votes[f.guess], rules, r->count, which_training(run), f.guess,
            rules * f.chance);
    const int hits = r->votes[e->original];
    f.value = (double)hits / rules;
    return amg_findings_add(
        task->findings, &f, err,
        "%d of %d rules (the smallest or largest of %d measures of %s) name the "
        "original; by chance it would be %.1f. If rules were independent so many had "
        "p = %.2g; they are not, so this is no verdict.",
        hits, rules, r->count, which_training(run), rules * f.chance,
        amg_binomial_tail(hits, rules, f.chance));
}

static amg_status add_distance(const amg_attack_task *task, const ranking *r,
                               amg_error *err)
{
    const int original = task->evidence->original;
    int at = 0, tests = 0;
    double mean = 0;
    for (int i = 0; i < r->count; i++) tests += r->measures[i] != AMG_MEASURE_ACCURACY;
    amg_finding f =
        amg_finding_new("training", "deviations of the original from decoys");
    f.value = stand_out(r, original, &at);
    f.pass_low = 0;
    f.pass_high = amg_student_limit(0.05 / tests, r->num_streams - 2);
    student_t(r->values[at], r->num_streams, original, &mean);
    return amg_findings_add(
        task->findings, &f, err,
        "The original differs most in its %s: %.4g, decoys %.4g on average. That is "
        "%.3g of their deviations; up to %.3g can be chance among %d decoys and %d "
        "measures.%s",
        measure_names[r->measures[at]], r->values[at][original], mean, f.value,
        f.pass_high, r->num_streams - 1, tests,
        f.value > f.pass_high
            ? " Decoys must learn as the original does: give them covers of the same "
              "source with the labels that belong to them, and start all of them alike."
            : "");
}

amg_status amg_attack_training(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    amg_training run;
    amg_error own = {0};
    if (!e->job.graph || e->num_streams < 2)
        return amg_findings_skip(task->findings, "training", err,
                                 "needs a job with decoys");
    amg_status st = amg_training_run(task, &run, &own);
    if (st == AMG_NOT_FINITE)
        return amg_findings_skip(task->findings, "training", err,
                                 "this job does not train: %s: %s", own.where,
                                 own.what);
    if (st) {
        if (err) *err = own;
        return st;
    }
    const ranking r = rank_streams(&run, e->num_streams);
    st = add_votes(task, &run, &r, err);
    if (!st && e->has_truth && e->num_streams > 2) st = add_distance(task, &r, err);
    return st;
}
