/* From scores of positions to a finding: areas under curves, their intervals, and the
 * stream that an attacker would name. Looks at the truth to score only, never to guess.
 * Knows no rule. */
#include "audit/positions.h"

#include <math.h>
#include <string.h>

#include "audit/stats.h"
#include "base/alloc.h"
#include "base/parallel.h"
#include "base/progress.h"

amg_status amg_position_scores_new(const amg_evidence *e, int num_rules,
                                   const char *const *names, amg_position_scores *out,
                                   amg_error *err)
{
    amg_position_scores s = {.num_rules = num_rules, .names = names};
    s.n = e->num_positions < AMG_MAX_SCORED ? e->num_positions : AMG_MAX_SCORED;
    s.score = amg_calloc((size_t)num_rules * (1 + AMG_ROW_GROUPS),
                         (size_t)s.n * sizeof *s.score);
    if (!s.score)
        return amg_fail(err, AMG_NO_MEMORY, -1, "audit",
                        "no memory for scores of %lld positions", (long long)s.n);
    *out = s;
    return AMG_OK;
}

void amg_position_scores_clear(amg_position_scores *s)
{
    amg_free(s->score);
    *s = (amg_position_scores){0};
}

/* ---- intervals ---- */

/* Scores are finite and both sides there, so that only memory can be missing. */
static amg_status measure(const amg_position_scores *s, int rule, int replicate,
                          const uint8_t *positive, double *auc, amg_error *err)
{
    *auc = amg_auc(amg_position_score(s, rule, replicate), positive, s->n);
    return isnan(*auc)
               ? amg_fail(err, AMG_NO_MEMORY, -1, "audit", "no memory to rank scores")
               : AMG_OK;
}

static bool has_both(const uint8_t *positive, int64_t n)
{
    return memchr(positive, 1, (size_t)n) && memchr(positive, 0, (size_t)n);
}

/* How far the interval of a rule's AUC reaches to either side. */
static amg_status find_reach(const amg_position_scores *s, int rule,
                             const uint8_t *positive, double auc, double *reach,
                             amg_error *err)
{
    const int groups = AMG_ROW_GROUPS;
    double without[AMG_ROW_GROUPS], mean, std, low, high;
    int64_t num_positive = 0;
    for (int g = 0; g < groups; g++) {
        const amg_status st = measure(s, rule, 1 + g, positive, &without[g], err);
        if (st) return st;
    }
    for (int64_t i = 0; i < s->n; i++) num_positive += positive[i];
    amg_mean_std(without, groups, &mean, &std);
    const double rows =
        amg_student_limit(0.05 / s->num_rules, groups - 1) * std * sqrt(groups - 1.0);
    amg_auc_interval(auc, num_positive, s->n - num_positive, s->num_rules, &low, &high);
    *reach = hypot(rows, fmax(high - auc, auc - low));
    return AMG_OK;
}

/* The rule that is surest of a difference: whose interval stays furthest from chance.
 */
static amg_status score_truth(const amg_evidence *e, const amg_position_scores *s,
                              bool two_sided, amg_finding *f, int *rule, amg_error *err)
{
    double surest = -INFINITY;
    if (!has_both(e->is_own, s->n)) return AMG_OK;
    for (int r = 0; r < s->num_rules; r++) {
        double auc, reach;
        amg_status st = measure(s, r, 0, e->is_own, &auc, err);
        if (!st) st = find_reach(s, r, e->is_own, auc, &reach, err);
        if (st) return st;
        if (fabs(auc - 0.5) - reach <= surest) continue;
        surest = fabs(auc - 0.5) - reach;
        if (two_sided && auc < 0.5) auc = 1 - auc;
        f->value = auc;
        f->low = fmax(auc - reach, 0);
        f->high = fmin(auc + reach, 1);
        *rule = r;
    }
    return AMG_OK;
}

/* ---- streams of tokens ---- */

static double mean_of_stream(const amg_position_scores *s, const double *score,
                             const amg_stream *stream)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < stream->num_values; i++)
        if (stream->select[i] < s->n) {
            sum += score[stream->select[i]];
            n++;
        }
    return n ? sum / (double)n : NAN;
}

/* The rule by which the original stands farthest from the decoys' mean, as a ratio to
 * it. Its interval is how far one more decoy would scatter; one decoy shows none. */
static void score_streams(const amg_evidence *e, const amg_position_scores *s,
                          amg_finding *f, int *rule)
{
    const int k = e->num_streams - 1;
    double surest = -INFINITY;
    for (int r = 0; r < s->num_rules; r++) {
        double own = 0, decoys[AMG_MAX_HEADS], mean, std;
        for (int i = 0, n = 0; i <= k; i++) {
            const double m =
                mean_of_stream(s, amg_position_score(s, r, 0), &e->streams[i]);
            if (i == e->original)
                own = m;
            else
                decoys[n++] = m;
        }
        amg_mean_std(decoys, k, &mean, &std);
        if (!(mean > 0) || isnan(own)) continue;
        const double limit = k > 1 ? amg_student_limit(0.05 / s->num_rules, k - 1) : 0;
        const double reach = k > 1 ? limit * std * sqrt((k + 1.0) / (k - 1)) / mean : 0;
        if (fabs(own / mean - 1) - reach <= surest) continue;
        surest = fabs(own / mean - 1) - reach;
        f->value = own / mean;
        f->low = k > 1 ? fmax(f->value - reach, 0) : NAN;
        f->high = k > 1 ? f->value + reach : NAN;
        *rule = r;
    }
}

/* ---- the finding ---- */

static void mark_stream(const amg_stream *stream, int64_t n, uint8_t *marked)
{
    memset(marked, 0, (size_t)n);
    for (int64_t i = 0; i < stream->num_values; i++)
        if (stream->select[i] < n) marked[stream->select[i]] = 1;
}

/* The stream whose positions stand out most, by any rule. Two that do so alike (two
 * streams, seen by a two-sided rule) leave nothing to name. marked: room for n. */
static amg_status name_stream(const amg_evidence *e, const amg_position_scores *s,
                              bool two_sided, uint8_t *marked, amg_finding *f,
                              int *rule, amg_error *err)
{
    double best = -INFINITY;
    for (int i = 0; i < e->num_streams; i++) {
        mark_stream(&e->streams[i], s->n, marked);
        for (int r = 0; r < s->num_rules && has_both(marked, s->n); r++) {
            double auc;
            const amg_status st = measure(s, r, 0, marked, &auc, err);
            if (st) return st;
            const double out = two_sided ? fabs(auc - 0.5) : auc;
            if (fabs(out - best) <= 1e-12 && i != f->guess) f->guess = -1;
            if (out <= best + 1e-12) continue;
            best = out;
            f->guess = i;
            if (!e->has_truth) *rule = r;
        }
    }
    return AMG_OK;
}

amg_status amg_position_scores_judge(const amg_evidence *e,
                                     const amg_position_scores *s, bool two_sided,
                                     amg_finding *f, int *rule, amg_error *err)
{
    uint8_t *marked = amg_malloc((size_t)s->n);
    if (!marked)
        return amg_fail(err, AMG_NO_MEMORY, -1, f->attack, "no memory to rank scores");
    amg_status st = AMG_OK;
    *rule = 0;
    f->chance = s->by_stream ? 1 : 0.5;
    if (e->has_truth && s->by_stream)
        score_streams(e, s, f, rule);
    else if (e->has_truth)
        st = score_truth(e, s, two_sided, f, rule, err);
    if (!st) st = name_stream(e, s, two_sided, marked, f, rule, err);
    amg_free(marked);
    return st;
}

amg_finding amg_position_finding(const amg_position_scores *s, const char *attack,
                                 double margin, double most_ratio)
{
    amg_finding f = amg_finding_new(
        attack, s->by_stream ? "the original's positions, as a ratio to the decoys'"
                             : "AUC of the original's positions");
    f.pass_low = s->by_stream ? 1 / most_ratio : 0.5 - margin;
    f.pass_high = s->by_stream ? most_ratio : 0.5 + margin;
    return f;
}

bool amg_finding_missed(const amg_finding *f)
{
    const double low = isnan(f->low) ? f->value : f->low;
    const double high = isnan(f->high) ? f->value : f->high;
    return high < f->pass_low || low > f->pass_high;
}

/* ---- neighbours ---- */

/* Bounds of rows * positions^2, a minute's products on two cores. */
enum { MAX_CORRELATED = 49152, MOST_ROWS = 4096, ENOUGH_ROWS = 256 };
#define MAX_PRODUCTS 620e9 /* 4096 rows of 12,288 positions */

static int64_t correlated(const amg_evidence *e)
{
    return e->num_positions < MAX_CORRELATED ? e->num_positions : MAX_CORRELATED;
}

int64_t amg_attack_neighbour_rows(const amg_evidence *e)
{
    const double n = (double)correlated(e);
    int64_t rows = (int64_t)fmin(MAX_PRODUCTS / (n * n), MOST_ROWS);
    if (rows < ENOUGH_ROWS) rows = ENOUGH_ROWS;
    return rows < e->num_rows ? rows : e->num_rows;
}

amg_status amg_attack_neighbours(const amg_attack_task *task, amg_error *err)
{
    if (task->neighbours->n > 0) return AMG_OK;
    amg_evidence part = *task->evidence; /* borrows all but x */
    const int64_t rows = amg_attack_neighbour_rows(&part), n = correlated(&part);
    const size_t whole = (size_t)part.num_positions * part.elem;
    const size_t kept = (size_t)n * part.elem;
    uint8_t *first = NULL;
    if (n < part.num_positions) {
        first = amg_malloc((size_t)rows * kept);
        if (!first)
            return amg_fail(err, AMG_NO_MEMORY, -1, "audit",
                            "no memory for %lld positions", (long long)n);
        for (int64_t row = 0; row < rows; row++)
            memcpy(first + (size_t)row * kept, part.x + (size_t)row * whole, kept);
        part.x = first;
        part.num_positions = n;
    }
    const amg_status st = amg_neighbours_find(&part, rows, AMG_TOP_NEIGHBOURS,
                                              task->progress, task->neighbours, err);
    amg_free(first);
    return st;
}

/* ---- walking ---- */

typedef struct {
    void (*fn)(void *context, int64_t begin, int64_t end);
    void *context;
    int64_t first, last; /* positions of this piece */
} piece;

static void walk_blocks(void *context, int64_t begin, int64_t end)
{
    const piece *p = context;
    for (int64_t b = begin; b < end; b++) {
        const int64_t at = p->first + b * AMG_POSITION_BLOCK;
        const int64_t rest = p->last - at;
        p->fn(p->context, at,
              at + (rest < AMG_POSITION_BLOCK ? rest : AMG_POSITION_BLOCK));
    }
}

amg_status amg_positions_walk(const amg_attack_task *task, const char *attack,
                              int64_t n,
                              void (*fn)(void *context, int64_t begin, int64_t end),
                              void *context, amg_error *err)
{
    enum { PIECE = 64 * AMG_POSITION_BLOCK };
    for (int64_t first = 0; first < n; first += PIECE) {
        const amg_status st = amg_tick(task->progress, attack, first, n, err);
        if (st) return st;
        piece p = {.fn = fn, .context = context, .first = first};
        p.last = n - first < PIECE ? n : first + PIECE;
        amg_parallel_for((p.last - first + AMG_POSITION_BLOCK - 1) / AMG_POSITION_BLOCK,
                         1, walk_blocks, &p);
    }
    return AMG_OK;
}
