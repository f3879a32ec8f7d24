/* Corr: positions of one natural sample go together (a pixel with the pixels around
 * it), noise goes with nothing. The score of a position is the mean of its four largest
 * |correlations| with others; one that never changes is no noise either and scores
 * highest. Tokens are correlated by how frequent they are.
 *
 * Produces the AUC of the original's positions and, in paper mode, what an attacker
 * takes out: the best-scored positions, as many as a sample has values, how many of
 * them are the original's, and the image they give. The interval's jackknife keeps each
 * position's neighbours and works their correlations out again.
 *
 * Cost: O(rows * positions^2) for the neighbours (correlation.h), which cluster shares:
 * half a minute for 4096 rows of 12,288 positions on two cores. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/positions.h"
#include "audit/rebuild.h"
#include "audit/stats.h"
#include "base/alloc.h"
#include "base/parallel.h"

enum { COUNTED = 4 /* neighbours */ };
_Static_assert((int)COUNTED <= (int)AMG_TOP_NEIGHBOURS, "they are found");
static const char *const rule_names[] = {"correlation with other positions"};

typedef struct {
    const amg_evidence *e;
    const amg_neighbours *near;
    amg_position_scores scores;
    int64_t num_rows; /* from which neighbours were found */
    /* Sums over each group's rows; [group][n] of values and their squares,
     * [group][n][COUNTED] of products with neighbours. */
    double *sum, *squares, *products;
} corr;

/* ---- scores ---- */

static void score_all_rows(const corr *c)
{
    double *score = amg_position_score(&c->scores, 0, 0);
    for (int64_t p = 0; p < c->scores.n; p++) {
        score[p] = 0;
        for (int t = 0; t < COUNTED; t++)
            score[p] += fabs((double)c->near->corr[p * c->near->top + t]) / COUNTED;
        if (score[p] == 0) score[p] = 1;
    }
    for (int r = 1; r <= AMG_ROW_GROUPS; r++)
        memcpy(amg_position_score(&c->scores, 0, r), score,
               (size_t)c->scores.n * sizeof *score);
}

static void sum_products(void *context, int64_t begin, int64_t end)
{
    const corr *c = context;
    const int64_t n = c->scores.n;
    for (int64_t row = 0; row < c->num_rows; row++) {
        const int64_t group = amg_row_group(row) * n;
        for (int64_t p = begin; p < end; p++) {
            const double x = (double)amg_evidence_value(c->e, row, p);
            const int32_t *near = c->near->index + p * c->near->top;
            c->sum[group + p] += x;
            c->squares[group + p] += x * x;
            for (int t = 0; t < COUNTED; t++)
                c->products[(group + p) * COUNTED + t] +=
                    x * (double)amg_evidence_value(c->e, row, near[t]);
        }
    }
}

/* Sum over the groups but one, step apart. */
static double sum_without(const double *of, int64_t step, int group)
{
    double sum = 0;
    for (int g = 0; g < AMG_ROW_GROUPS; g++)
        if (g != group) sum += of[g * step];
    return sum;
}

/* |correlation| of a position with its neighbour t, without a group's rows. */
static double correlate_without(const corr *c, int64_t p, int t, int group)
{
    const int64_t n = c->scores.n, q = c->near->index[p * c->near->top + t];
    const double rows =
        (double)(c->num_rows -
                 (c->num_rows + AMG_ROW_GROUPS - 1 - group) / AMG_ROW_GROUPS);
    const double a = sum_without(c->sum + p, n, group) / rows;
    const double b = sum_without(c->sum + q, n, group) / rows;
    const double aa = sum_without(c->squares + p, n, group) / rows;
    const double bb = sum_without(c->squares + q, n, group) / rows;
    const double ab =
        sum_without(c->products + p * COUNTED + t, n * COUNTED, group) / rows;
    const double va = aa - a * a, vb = bb - b * b;
    if (!(va > 1e-9 * aa && vb > 1e-9 * bb)) return 0; /* constant without them */
    return fabs(ab - a * b) / sqrt(va * vb);
}

static void score_without(void *context, int64_t begin, int64_t end)
{
    const corr *c = context;
    for (int64_t p = begin; p < end; p++)
        for (int g = 0; g < AMG_ROW_GROUPS; g++) {
            double score = 0;
            for (int t = 0; t < COUNTED; t++)
                score += correlate_without(c, p, t, g) / COUNTED;
            amg_position_score(&c->scores, 0, 1 + g)[p] = score > 0 ? score : 1;
        }
}

/* Tokens stand for their frequency in correlation.c alone: their interval goes without
 * the jackknife. */
static amg_status score(corr *c, amg_error *err)
{
    const size_t n = (size_t)c->scores.n * AMG_ROW_GROUPS;
    score_all_rows(c);
    if (c->e->is_tokens) return AMG_OK;
    c->sum = amg_calloc(n, sizeof *c->sum);
    c->squares = amg_calloc(n, sizeof *c->squares);
    c->products = amg_calloc(n, (size_t)COUNTED * sizeof *c->products);
    if (!c->sum || !c->squares || !c->products)
        return amg_fail(err, AMG_NO_MEMORY, -1, "corr", "no memory for %lld positions",
                        (long long)c->scores.n);
    amg_parallel_for(c->scores.n, 1024, sum_products, c);
    amg_parallel_for(c->scores.n, 1024, score_without, c);
    return AMG_OK;
}

/* ---- findings ---- */

static const char advice[] =
    " No noise of independent values survives this: take covers from the source of "
    "your data (--decoys-from).";

static amg_status report_auc(const amg_attack_task *task, const corr *c, amg_error *err)
{
    int rule;
    amg_finding f = amg_position_finding(&c->scores, "corr", 0.1, 2);
    amg_status st = amg_position_scores_judge(c->e, &c->scores, false, &f, &rule, err);
    if (st) return st;
    if (!c->e->has_truth)
        return amg_findings_add(task->findings, &f, err,
                                "Natural data go together from position to position. "
                                "From %lld samples, candidate %d does so most.",
                                (long long)c->num_rows, f.guess);
    if (c->scores.by_stream)
        return amg_findings_add(
            task->findings, &f, err,
            "Natural text goes together from position to position, noise does not. "
            "From %lld samples the positions of your stream do so %.2f times as much "
            "as the decoys'.%s",
            (long long)c->num_rows, f.value, amg_finding_missed(&f) ? advice : "");
    return amg_findings_add(
        task->findings, &f, err,
        "Natural data go together from position to position, noise does not. From %lld "
        "samples a position of yours scores higher than one of the others %.1f %% of "
        "the time (chance 50 %%).%s",
        (long long)c->num_rows, 100 * f.value, amg_finding_missed(&f) ? advice : "");
}

typedef struct {
    double score;
    int64_t position;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static amg_status report_share(const amg_attack_task *task, const corr *c, int64_t own,
                               int64_t hits, int guess, amg_error *err)
{
    amg_finding f = amg_finding_new("corr", "share of your positions recovered");
    f.value = (double)hits / (double)own;
    f.chance = (double)own / (double)c->scores.n;
    f.guess = guess;
    amg_share_interval(hits, own, 1, &f.low, &f.high);
    f.pass_low = 0;
    f.pass_high = f.chance;
    return amg_findings_add(
        task->findings, &f, err,
        "Of the %lld positions that go together most, %lld are yours%s (%.0f %% by "
        "chance).",
        (long long)own, (long long)hits,
        hits == own ? ": recovered exactly, without a look at the model" : "",
        100 * f.chance);
}

/* What an attacker takes for the sample: as many of the best positions as it has
 * values (of those that were correlated). */
static amg_status report_recovery(const amg_attack_task *task, const corr *c,
                                  amg_error *err)
{
    const amg_evidence *e = c->e;
    const int64_t n = c->scores.n;
    int64_t own = 0, hits = 0;
    ranked *order = amg_malloc((size_t)n * sizeof *order);
    uint8_t *found = amg_calloc((size_t)e->num_positions, 1);
    amg_status st = AMG_OK;
    if (!order || !found) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "corr", "no memory to rank positions");
        goto done;
    }
    for (int64_t p = 0; p < n; p++) {
        order[p] = (ranked){amg_position_score(&c->scores, 0, 0)[p], p};
        own += e->is_own[p];
    }
    qsort(order, (size_t)n, sizeof *order, by_score);
    for (int64_t i = 0; i < own; i++) {
        found[order[i].position] = 1;
        hits += e->is_own[order[i].position];
    }
    const int guess = amg_rebuild_stream(e, found);
    if (own > 0) st = report_share(task, c, own, hits, guess, err);
    if (!st)
        st = amg_rebuild_report(task, "corr", "Rebuilt from positions that go together",
                                guess, found, err);
done:
    amg_free(order);
    amg_free(found);
    return st;
}

amg_status amg_attack_corr(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (e->num_rows < AMG_ROW_GROUPS || e->num_positions <= COUNTED)
        return amg_findings_skip(task->findings, "corr", err,
                                 "needs %d samples and %d values, the job has %lld and "
                                 "%lld",
                                 AMG_ROW_GROUPS, COUNTED + 1, (long long)e->num_rows,
                                 (long long)e->num_positions);
    corr c = {.e = e, .near = task->neighbours};
    amg_status st = amg_attack_neighbours(task, err);
    if (!st) st = amg_position_scores_new(e, 1, rule_names, &c.scores, err);
    if (st) return st;
    c.scores.by_stream = e->is_tokens && !e->paper_mode && e->num_streams > 1;
    if (c.scores.n > c.near->n) c.scores.n = c.near->n;
    c.num_rows = amg_attack_neighbour_rows(e);
    st = score(&c, err);
    if (!st) st = report_auc(task, &c, err);
    if (!st && e->paper_mode) st = report_recovery(task, &c, err);
    amg_free(c.sum);
    amg_free(c.squares);
    amg_free(c.products);
    amg_position_scores_clear(&c.scores);
    return st;
}
