/* shadow: an attacker who makes many jobs of the same kind himself knows of each of
 * them which stream is the original, and learns from that to name it in another. Here
 * the jobs are dealt from the source that the owner names, or from the job's own rows
 * (shadow_deal.h).
 *
 *   job j    each stream: mean and deviation of every feature over its rows, entropy of
 *            its labels, share of repeated samples; standardised over the k+1 streams
 *   fold     logistic regression original against decoy on the jobs of the other folds;
 *            in each job left out the stream of the highest score is named
 *
 * A tell too small for one sample adds up over a thousand. If nothing tells, each job's
 * original is named with the chance 1/(k+1), whatever was learned. But hits are not
 * independent: two jobs that look alike help to name each other, so a likeness by
 * chance counts twice, and the share of hits varies up to twice as much as that of
 * independent ones. Wilson's interval is widened by sqrt(2) for it.
 *
 * Costs the features of secrets * (k+1) * rows samples, rows at most 1000 (a minute for
 * 60 secrets of CIFAR-size images and k = 3 on two cores), and one dealt job's memory,
 * at most 256 MiB. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/attack.h"
#include "audit/sample_features.h"
#include "audit/shadow_deal.h"
#include "audit/stats.h"
#include "base/alloc.h"
#include "base/progress.h"

enum {
    SECRETS = 60, /* fewer scatter widely */
    FOLDS = 10,
    MIN_ROWS = 4, /* of a dealt job: less has no deviation to speak of */
    VALUES = 2 * AMG_MAX_FEATURES + 2 /* of a stream; those that do not apply are 0 */
};
#define PENALTY 1.0 /* of weights; features have deviation 1 */

typedef struct {
    const amg_attack_task *task;
    int num_jobs, num_streams, original;
    double *x; /* [num_jobs][num_streams][VALUES] */
} shadow;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "shadow", "no memory to learn from jobs");
}

/* ---- what a stream looks like as a whole ---- */

static int compare_features(const void *a, const void *b, void *size)
{
    return memcmp(a, b, *(const size_t *)size);
}

/* Share of samples that an equal one stands beside. Equal samples have equal features,
 * and others practically never. Sorts the rows of features [n][count]. */
static double repeated_share(double *features, int64_t n, int count)
{
    size_t size = (size_t)count * sizeof *features;
    int64_t repeats = 0;
    qsort_r(features, (size_t)n, size, compare_features, &size);
    for (int64_t i = 1; i < n; i++)
        repeats += !memcmp(features + i * count, features + (i - 1) * count, size);
    return (double)repeats / (double)n;
}

static int compare_labels(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* In nats; it does not depend on what the classes are called. room: [num_rows]. */
static double label_entropy(const amg_evidence *e, int stream, int32_t *room)
{
    const int64_t n = e->num_rows;
    double entropy = 0;
    for (int64_t i = 0; i < n; i++) room[i] = e->labels[i * e->num_streams + stream];
    qsort(room, (size_t)n, sizeof *room, compare_labels);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && room[end] == room[i];) end++;
        const double share = (double)(end - i) / (double)n;
        entropy -= share * log(share);
    }
    return entropy;
}

/* out [num_streams][VALUES], standardised over streams. */
static amg_status describe(const amg_evidence *e, double *out, amg_error *err)
{
    const int64_t n = e->num_rows;
    double mean[VALUES], std[VALUES];
    amg_features f = {0};
    double *features = amg_malloc((size_t)n * AMG_MAX_FEATURES * sizeof *features);
    double *column = amg_malloc((size_t)n * sizeof *column);
    int32_t *labels = amg_malloc((size_t)n * sizeof *labels);
    amg_status st = features && column && labels ? AMG_OK : no_memory(err);
    if (!st) st = amg_features_open(e, &f, err);
    memset(out, 0, (size_t)e->num_streams * VALUES * sizeof *out);
    for (int s = 0; s < e->num_streams && !st; s++) {
        double *values = out + s * VALUES;
        st = amg_features_of(&f, e, s, 0, n, features, err);
        if (st) break;
        for (int j = 0; j < f.count; j++) {
            for (int64_t i = 0; i < n; i++) column[i] = features[i * f.count + j];
            amg_mean_std(column, n, &values[2 * j], &values[2 * j + 1]);
        }
        values[VALUES - 2] = repeated_share(features, n, f.count);
        if (e->labels) values[VALUES - 1] = label_entropy(e, s, labels);
    }
    if (!st) amg_standardise(out, e->num_streams, VALUES, mean, std);
    amg_features_close(&f);
    amg_free(features);
    amg_free(column);
    amg_free(labels);
    return st;
}

/* Rows are read and features found in parallel within a job: one job's memory, whatever
 * the number of threads. */
static amg_status describe_jobs(shadow *sh, const amg_deal *deal, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int j = 0; j < sh->num_jobs && !st; j++) {
        amg_evidence dealt = {0};
        st = amg_deal_job(deal, j, &dealt, err);
        if (!st)
            st = describe(&dealt, sh->x + (size_t)j * sh->num_streams * VALUES, err);
        amg_deal_clear_job(&dealt);
        if (!st) st = amg_tick(sh->task->progress, "shadow", j + 1, sh->num_jobs, err);
    }
    return st;
}

/* ---- learning to name it ---- */

/* Weights w [VALUES + 1] from all jobs but those of a fold (-1: from all). */
static amg_status learn(const shadow *sh, int fold, double *w, amg_error *err)
{
    const size_t per_job = (size_t)sh->num_streams * VALUES;
    const size_t most = (size_t)sh->num_jobs * (size_t)sh->num_streams;
    double *x = amg_malloc(most * VALUES * sizeof *x);
    uint8_t *y = amg_calloc(most, 1);
    int64_t n = 0;
    amg_status st = x && y ? AMG_OK : no_memory(err);
    for (int j = 0; j < sh->num_jobs && !st; j++) {
        if (j % FOLDS == fold) continue;
        memcpy(x + n * VALUES, sh->x + (size_t)j * per_job, per_job * sizeof *x);
        y[n + sh->original] = 1;
        n += sh->num_streams;
    }
    if (!st) st = amg_logistic_fit(x, y, n, VALUES, PENALTY, w, err);
    amg_free(x);
    amg_free(y);
    return st;
}

/* The stream of the highest score; of equal ones, any: streams that look the same must
 * not be told apart by their number. x [num_streams][VALUES]. */
static int name_stream(const double *w, const double *x, int num_streams, amg_rng *rng)
{
    int best = 0;
    uint64_t equal = 0;
    double highest = -INFINITY;
    for (int s = 0; s < num_streams; s++) {
        const double score = amg_logistic_score(w, x + s * VALUES, VALUES);
        if (score < highest) continue;
        equal = score > highest ? 1 : equal + 1;
        highest = score;
        if (amg_rng_below(rng, equal) == 0) best = s;
    }
    return best;
}

static amg_status count_hits(const shadow *sh, int64_t *hits, amg_error *err)
{
    double w[VALUES + 1];
    amg_rng rng = amg_rng_init(sh->task->seed, UINT64_MAX);
    *hits = 0;
    for (int fold = 0; fold < FOLDS && fold < sh->num_jobs; fold++) {
        const amg_status st = learn(sh, fold, w, err);
        if (st) return st;
        for (int j = fold; j < sh->num_jobs; j += FOLDS) {
            const double *x = sh->x + (size_t)j * sh->num_streams * VALUES;
            *hits += name_stream(w, x, sh->num_streams, &rng) == sh->original;
        }
    }
    return AMG_OK;
}

/* What one who learned from all of the dealt jobs says of the real one. */
static amg_status guess_original(const shadow *sh, int *guess, amg_error *err)
{
    const amg_attack_task *task = sh->task;
    double w[VALUES + 1], x[AMG_MAX_HEADS * VALUES];
    amg_rng rng = amg_rng_init(task->seed, UINT64_MAX - 1);
    amg_deal deal = {0};
    amg_evidence real = {0};
    amg_status st = amg_deal_open_rows(task->evidence, 1, task->seed, &deal, err);
    if (!st) st = amg_deal_job(&deal, 0, &real, err);
    if (!st) st = describe(&real, x, err);
    if (!st) st = learn(sh, -1, w, err);
    if (!st) *guess = name_stream(w, x, sh->num_streams, &rng);
    amg_deal_clear_job(&real);
    amg_deal_close(&deal);
    return st;
}

/* ---- the finding ---- */

static amg_status add_finding(const shadow *sh, const amg_deal *deal, int64_t hits,
                              int guess, amg_error *err)
{
    const double most = sh->task->options->max_identification;
    const char *advice = "";
    amg_finding f = amg_finding_new(
        "shadow", deal->source ? "original named in jobs dealt from the source"
                               : "original named in parts of the job's own rows");
    f.value = (double)hits / sh->num_jobs;
    f.chance = 1.0 / sh->num_streams;
    f.pass_low = 0;
    f.pass_high = most > 0 ? most : f.chance;
    f.by_value = most > 0;
    f.guess = guess;
    amg_share_interval(hits, sh->num_jobs, 1, &f.low, &f.high);
    f.low = fmax(f.value - M_SQRT2 * (f.value - f.low), 0);
    f.high = fmin(f.value + M_SQRT2 * (f.high - f.value), 1);
    if (f.low > f.pass_high)
        advice = " The streams differ in kind: take private data and covers from one "
                 "source, split at random (amalgam split), without repeated samples.";
    if (deal->source)
        return amg_findings_add(
            sh->task->findings, &f, err,
            "Of %d jobs dealt anew from the source, with %lld samples a stream, a "
            "classifier that had learned from the others named the original in %lld; "
            "by chance it would be %.0f.%s",
            sh->num_jobs, (long long)deal->num_rows, (long long)hits,
            f.chance * sh->num_jobs, advice);
    return amg_findings_add(
        sh->task->findings, &f, err,
        "The job's rows were dealt into %d parts of %lld. A classifier that was told "
        "the original in the other parts, as only the key can, named it in %lld; by "
        "chance it would be %.0f.%s",
        sh->num_jobs, (long long)deal->num_rows, (long long)hits,
        f.chance * sh->num_jobs, advice);
}

static amg_status attack(const amg_attack_task *task, int num_jobs,
                         const amg_deal *deal, amg_error *err)
{
    shadow sh = {.task = task,
                 .num_jobs = num_jobs,
                 .num_streams = deal->form.num_streams,
                 .original = deal->form.original};
    int64_t hits = 0;
    int guess = -1;
    amg_error own = {0};
    if (deal->num_rows < MIN_ROWS)
        return amg_findings_skip(task->findings, "shadow", err,
                                 "%lld rows are too few for %d jobs of %d streams",
                                 (long long)deal->num_available,
                                 deal->source ? 1 : num_jobs, sh.num_streams);
    sh.x = amg_calloc((size_t)num_jobs, (size_t)sh.num_streams * VALUES * sizeof *sh.x);
    amg_status st = sh.x ? AMG_OK : no_memory(&own);
    if (!st) st = describe_jobs(&sh, deal, &own);
    if (!st) st = count_hits(&sh, &hits, &own);
    if (!st && deal->source) st = guess_original(&sh, &guess, &own);
    if (!st) st = add_finding(&sh, deal, hits, guess, &own);
    amg_free(sh.x);
    /* So many samples of the source are equal that covers run out. */
    if (st == AMG_MISMATCH)
        return amg_findings_skip(task->findings, "shadow", err,
                                 "no job can be dealt from the source: %s", own.what);
    if (st && err) *err = own;
    return st;
}

/* Noise is no cover that a source could give: in paper mode the job's rows are all. */
amg_status amg_attack_shadow(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const int num_jobs = task->options->secrets ? task->options->secrets : SECRETS;
    const char *source = e->paper_mode ? NULL : task->options->source;
    amg_status st = AMG_OK;
    if (num_jobs < 2)
        return amg_fail(err, AMG_INVALID, -1, "shadow",
                        "%d secrets, expected 2 or more", num_jobs);
    if (e->num_streams < 2 || (!source && !e->has_truth))
        return amg_findings_skip(task->findings, "shadow", err,
                                 "needs decoys, and the key or a source to deal from");
    if (source) {
        amg_deal deal = {0};
        st = amg_deal_open_source(e, source, task->seed, &deal, err);
        if (!st) st = attack(task, num_jobs, &deal, err);
        amg_deal_close(&deal);
    }
    if (!st && e->has_truth) {
        amg_deal deal = {0};
        st = amg_deal_open_rows(e, num_jobs, task->seed, &deal, err);
        if (!st) st = attack(task, num_jobs, &deal, err);
        amg_deal_close(&deal);
    }
    return st;
}
