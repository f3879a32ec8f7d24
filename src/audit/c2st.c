/* c2st, a classifier two-sample test: learns to tell the original's samples from one
 * decoy's on half of the rows, and is scored on the other half. A stream that a
 * classifier tells from the others stands out, whatever it is by.
 *
 *   sample -> its features (sample_features.h), and what it looks like from afar:
 *             images by 8x8 means a channel, other numbers by 64 means, tokens not
 *          -> standardised by the training half -> logistic regression
 *
 * Halves are of rows, not of samples: streams of one row share a class where labels
 * are paired, and belong together. Such pairs make the interval wider than it need be.
 *
 * Costs the features of at most 16,384 samples (.1 ms each for 3x32x32) and 2k+1
 * regressions of at most 4096 rows and 213 columns, half a second each, side by side
 * on all threads; 28 MiB, 8 MiB a thread, and the counts of tokens. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "audit/attack.h"
#include "audit/feature_table.h"
#include "audit/stats.h"
#include "base/alloc.h"
#include "base/parallel.h"
#include "base/progress.h"

enum {
    MAX_SAMPLES = 16384, /* over all streams */
    MAX_ROWS = 4096,
    MIN_ROWS = 40,
    IMAGE_CELLS = 8, /* a side */
    LINE_CELLS = 64,
    THE_REST = -1
};
#define PENALTY 1.0 /* of standardised columns: little beside hundreds of rows */

static const char *const name = "c2st";

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for a classifier");
}

/* ---- samples as rows of numbers ---- */

/* How values are averaged: dims of a sample and how many cells each is cut into. */
typedef struct {
    int64_t C, H, W;
    int64_t rows, columns; /* 0: no cells */
} grid;

typedef struct {
    const amg_evidence *e;
    amg_feature_table features;
    grid grid;
    int64_t num_rows, d;
    double *x;          /* [num_streams][num_rows][d] */
    int64_t *order;     /* of rows: the first half trains */
    atomic_bool failed; /* out of memory */
} samples;

static int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }

/* Streams of different shapes have no cells in common. */
static grid choose_grid(const amg_evidence *e)
{
    const amg_stream *first = &e->streams[0];
    if (e->is_tokens) return (grid){0};
    for (int s = 1; s < e->num_streams; s++)
        if (memcmp(e->streams[s].dims, first->dims, sizeof first->dims) != 0)
            return (grid){0};
    if (!e->is_image)
        return (grid){1, 1, first->num_values, 1,
                      at_most(first->num_values, LINE_CELLS)};
    return (grid){first->dims[0], first->dims[1], first->dims[2],
                  at_most(first->dims[1], IMAGE_CELLS),
                  at_most(first->dims[2], IMAGE_CELLS)};
}

static double *row_of(const samples *s, int stream, int64_t row)
{
    return s->x + (stream * s->num_rows + row) * s->d;
}

/* out [C][rows][columns] of values [C,H,W]; 0 where they are not finite. */
static void average_cells(const grid *g, const float *values, double *out)
{
    for (int64_t c = 0; c < g->C; c++)
        for (int64_t i = 0; i < g->rows; i++)
            for (int64_t j = 0; j < g->columns; j++) {
                const int64_t top = i * g->H / g->rows;
                const int64_t bottom = (i + 1) * g->H / g->rows;
                const int64_t left = j * g->W / g->columns;
                const int64_t right = (j + 1) * g->W / g->columns;
                double sum = 0;
                for (int64_t y = top; y < bottom; y++)
                    for (int64_t x = left; x < right; x++)
                        sum += values[(c * g->H + y) * g->W + x];
                const double mean = sum / (double)((bottom - top) * (right - left));
                *out++ = isfinite(mean) ? mean : 0;
            }
}

static void fill_rows(void *context, int64_t begin, int64_t end)
{
    samples *s = context;
    const amg_feature_table *t = &s->features;
    const bool cells = s->d > t->count;
    /* With cells, all streams have as many values. */
    const size_t most = cells ? (size_t)s->e->streams[0].num_values : 1;
    float *values = amg_malloc(most * sizeof *values);
    if (!values) s->failed = true;
    for (int64_t row = begin; row < end && values; row++)
        for (int stream = 0; stream < t->num_streams; stream++) {
            double *out = row_of(s, stream, row);
            memcpy(out, amg_feature_row(t, stream, row),
                   (size_t)t->count * sizeof *out);
            if (!cells) continue;
            amg_evidence_sample(s->e, stream, row, values);
            average_cells(&s->grid, values, out + t->count);
        }
    amg_free(values);
}

static amg_status gather(const amg_attack_task *task, samples *s, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const int64_t most = at_most(MAX_SAMPLES, (int64_t)MAX_ROWS * e->num_streams);
    amg_status st =
        amg_feature_table_find(e, most, name, task->progress, &s->features, err);
    if (st != AMG_OK) return st;
    s->e = e;
    s->grid = choose_grid(e);
    s->num_rows = s->features.num_rows;
    s->d = s->features.count + s->grid.C * s->grid.rows * s->grid.columns;
    const size_t num = (size_t)e->num_streams * (size_t)s->num_rows;
    s->x = amg_calloc(num, (size_t)s->d * sizeof *s->x);
    s->order = amg_malloc((size_t)s->num_rows * sizeof *s->order);
    if (!s->x || !s->order) return no_memory(err);
    amg_rng rng = amg_rng_init(task->seed, 0);
    amg_rng_permutation(&rng, s->num_rows, s->order);
    amg_parallel_for(s->num_rows, 16, fill_rows, s);
    return s->failed ? no_memory(err) : AMG_OK;
}

/* ---- one stream against another, or the rest ---- */

typedef struct {
    int stream, other; /* other: THE_REST draws one of them for each row */
    double auc;        /* on the rows held out; NaN: out of memory */
} comparison;

typedef struct {
    samples *samples;
    comparison *items;
    uint64_t seed;
    int first; /* of the group at work */
} comparing;

static int draw_other(const comparison *c, int num_streams, amg_rng *rng)
{
    if (c->other != THE_REST) return c->other;
    const int other = (int)amg_rng_below(rng, (uint64_t)num_streams - 1);
    return other + (other >= c->stream);
}

/* Scores of the held-out rows, and which are the stream's. */
static void score_rest(const samples *s, const comparison *c, const double *w,
                       const double *mean, const double *std, amg_rng *rng, double *row,
                       double *score, uint8_t *y)
{
    const int64_t d = s->d, half = s->num_rows / 2;
    for (int64_t i = 0; i < 2 * (s->num_rows - half); i++) {
        y[i] = i % 2 == 0;
        const int stream =
            y[i] ? c->stream : draw_other(c, s->features.num_streams, rng);
        const double *x = row_of(s, stream, s->order[half + i / 2]);
        for (int64_t j = 0; j < d; j++)
            row[j] = std[j] > 0 ? (x[j] - mean[j]) / std[j] : 0;
        score[i] = amg_logistic_score(w, row, d);
    }
}

static double compare(const samples *s, const comparison *c, amg_rng rng)
{
    const int64_t d = s->d, half = s->num_rows / 2, rest = s->num_rows - half;
    double *x = amg_malloc((size_t)(2 * half * d) * sizeof *x);
    double *numbers = amg_malloc((size_t)(4 * d + 1 + 2 * rest) * sizeof *numbers);
    uint8_t *y = amg_malloc((size_t)(2 * rest)); /* rest >= half */
    double auc = NAN;
    if (!x || !numbers || !y) goto done;
    double *mean = numbers, *std = mean + d, *row = std + d, *w = row + d;
    double *score = w + d + 1;
    for (int64_t i = 0; i < 2 * half; i++) {
        y[i] = i % 2 == 0;
        const int stream =
            y[i] ? c->stream : draw_other(c, s->features.num_streams, &rng);
        memcpy(x + i * d, row_of(s, stream, s->order[i / 2]), (size_t)d * sizeof *x);
    }
    amg_standardise(x, 2 * half, d, mean, std);
    if (amg_logistic_fit(x, y, 2 * half, d, PENALTY, w, NULL) != AMG_OK) goto done;
    score_rest(s, c, w, mean, std, &rng, row, score, y);
    auc = amg_auc(score, y, 2 * rest);
done:
    amg_free(x);
    amg_free(numbers);
    amg_free(y);
    return auc;
}

static void compare_range(void *context, int64_t begin, int64_t end)
{
    const comparing *c = context;
    for (int64_t i = begin; i < end; i++) {
        comparison *item = &c->items[c->first + i];
        item->auc = compare(c->samples, item,
                            amg_rng_init(c->seed, 1 + (uint64_t)(c->first + i)));
    }
}

/* As many at a time as there are threads, so that the user can stop in between. */
static amg_status compare_all(const amg_attack_task *task, samples *s,
                              comparison *items, int count, amg_error *err)
{
    comparing c = {.samples = s, .items = items, .seed = task->seed};
    const int group = amg_threads();
    for (c.first = 0; c.first < count; c.first += group) {
        const amg_status st = amg_tick(task->progress, name, c.first, count, err);
        if (st) return st;
        amg_parallel_for(at_most(group, count - c.first), 1, compare_range, &c);
    }
    for (int i = 0; i < count; i++)
        if (isnan(items[i].auc)) return no_memory(err);
    return AMG_OK;
}

/* ---- what is found ---- */

/* The comparisons: the original against each decoy, if it is known; then each stream
 * against the rest (of two streams, one against the other). Room for two a stream. */
static int list_comparisons(const amg_evidence *e, comparison *items)
{
    int count = 0;
    for (int s = 0; e->has_truth && s < e->num_streams; s++)
        if (s != e->original) items[count++] = (comparison){e->original, s, NAN};
    if (e->num_streams == 2 && !e->has_truth) items[count++] = (comparison){0, 1, NAN};
    for (int s = 0; e->num_streams > 2 && s < e->num_streams; s++)
        items[count++] = (comparison){s, THE_REST, NAN};
    return count;
}

static const comparison *largest(const comparison *items, int count)
{
    const comparison *best = items;
    for (int i = 1; i < count; i++)
        if (items[i].auc > best->auc) best = &items[i];
    return best;
}

static amg_status tell(const amg_attack_task *task, const samples *s,
                       const comparison *items, int count, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const int num_decoys = e->num_streams - 1;
    const int64_t rest = s->num_rows - s->num_rows / 2;
    const int scored = e->has_truth ? num_decoys : count;
    const comparison *best = largest(items, scored);
    amg_finding f =
        amg_finding_new(name, e->has_truth ? "AUC of the original against a decoy"
                                           : "AUC of a stream against the others");
    f.value = best->auc;
    f.chance = 0.5;
    amg_auc_interval(f.value, rest, rest, scored, &f.low, &f.high);
    /* Of two streams each is as far from the other. */
    if (e->num_streams > 2)
        f.guess = largest(items + count - e->num_streams, e->num_streams)->stream;
    if (!e->has_truth)
        return amg_findings_add(
            task->findings, &f, err,
            "A classifier that has seen %lld samples of each tells stream %d from %s "
            "in %.1f %% of pairs of new samples; by chance it would be 50 %%.",
            (long long)(s->num_rows / 2), best->stream,
            e->num_streams > 2 ? "the others" : "the other", 100 * f.value);
    f.pass_low = 0;
    f.pass_high = 0.55;
    return amg_findings_add(
        task->findings, &f, err,
        "A classifier that has seen %lld samples of each tells yours from those of the "
        "decoy in stream %d in %.1f %% of pairs of new samples; by chance it would be "
        "50 %%.%s",
        (long long)(s->num_rows / 2), best->other, 100 * f.value,
        f.low > f.pass_high ? " Take covers from the same source as your data, split "
                              "at random (amalgam split)."
                            : "");
}

amg_status amg_attack_c2st(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (e->num_streams < 2 || e->num_rows < MIN_ROWS)
        return amg_findings_skip(task->findings, name, err,
                                 "Needs two candidates and %d samples; the job has %d "
                                 "and %lld.",
                                 MIN_ROWS, e->num_streams, (long long)e->num_rows);
    samples s = {0};
    comparison *items = amg_calloc(2 * (size_t)e->num_streams, sizeof *items);
    amg_status st = items ? gather(task, &s, err) : no_memory(err);
    if (!st) {
        const int count = list_comparisons(e, items);
        st = compare_all(task, &s, items, count, err);
        if (!st) st = tell(task, &s, items, count, err);
    }
    amg_feature_table_clear(&s.features);
    amg_free(s.x);
    amg_free(s.order);
    amg_free(items);
    return st;
}
