/* The reupload attack: two job folders of the same data, laid side by side. A repeated
 * upload must be the same bytes. Otherwise what is equal in both is not noise and no
 * cover, but the owner's:
 *
 *   position   its column, the values of the rows that both jobs have, stands in the
 *              other job, too, wherever (another key moves it; of tokens the pattern of
 *              equal ones counts, as another key renumbers them), or most of it does at
 *              the same place
 *   stream     how many of its positions that is
 *   weights    whether a sub-network starts from tensors that the other job has, rows
 *              moved or not
 *
 * O(rows * positions), and the other job's rows in memory beside this one's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/attack.h"
#include "audit/columns.h"
#include "audit/stats.h"
#include "base/alloc.h"
#include "base/print.h"
#include "base/progress.h"

static const char attack[] = "reupload";

enum { MIN_ROWS = 16 };

typedef struct {
    const amg_attack_task *task;
    const amg_evidence *e;
    amg_evidence other;
    int64_t num_rows; /* that both have */
    int64_t *rows[2]; /* [num_rows] their places in each evidence */
    double *found;    /* [num_positions] 0..1; NaN: constant, says nothing */
    double *shares;   /* [num_streams] of a stream's positions or tensors found */
} comparison;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory to compare uploads");
}

/* ---- files ---- */

static const amg_job_file *find_file(const amg_manifest *m, const char *path)
{
    for (int i = 0; i < m->num_files; i++)
        if (!strcmp(m->files[i].path, path)) return &m->files[i];
    return NULL;
}

/* Files of a that b lacks, or has with other bytes (where both have them, once). */
static int count_differing(const amg_manifest *a, const amg_manifest *b,
                           bool also_bytes, const char **first)
{
    int count = 0;
    for (int i = 0; i < a->num_files; i++) {
        const amg_job_file *f = find_file(b, a->files[i].path);
        if (f && (!also_bytes || !strcmp(f->sha256, a->files[i].sha256))) continue;
        if (!*first) *first = a->files[i].path;
        count++;
    }
    return count;
}

static amg_status tell_files(const comparison *c, bool *same, amg_error *err)
{
    const amg_manifest *a = &c->e->job.manifest, *b = &c->other.job.manifest;
    const char *first = NULL;
    amg_finding f = amg_finding_new(attack, "files that differ");
    f.pass_low = f.pass_high = 0;
    *same = !strcmp(c->e->job.sha256, c->other.job.sha256);
    f.value =
        count_differing(a, b, true, &first) + count_differing(b, a, false, &first);
    if (!*same) f.value++; /* job.json, which lists them */
    if (*same)
        return amg_findings_add(c->task->findings, &f, err,
                                "Both uploads are the same bytes: together they show "
                                "what one shows.");
    return amg_findings_add(
        c->task->findings, &f, err,
        "%.0f files of the two uploads differ (%s is one). Whoever has both compares "
        "them: upload the same folder again, or make the new version with the same key "
        "and covers.",
        f.value, first ? first : "job.json");
}

/* ---- positions ---- */

/* The rows of the split that both jobs read. */
static amg_status match_rows(comparison *c, amg_error *err)
{
    const amg_evidence *a = c->e, *b = &c->other;
    const size_t most = (size_t)a->num_rows;
    for (int i = 0; i < 2; i++)
        if (!(c->rows[i] = amg_calloc(most, sizeof **c->rows))) return no_memory(err);
    for (int64_t i = 0, j = 0; i < a->num_rows && j < b->num_rows;) {
        if (a->rows[i] == b->rows[j]) {
            c->rows[0][c->num_rows] = i;
            c->rows[1][c->num_rows++] = j;
        }
        const bool next_a = a->rows[i] <= b->rows[j], next_b = b->rows[j] <= a->rows[i];
        i += next_a;
        j += next_b;
    }
    return AMG_OK;
}

static int compare_prints(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The share of rows in which both jobs have the same value at a position. */
static double share_in_place(const comparison *c, int64_t p)
{
    int64_t equal = 0;
    for (int64_t r = 0; r < c->num_rows; r++)
        equal += amg_columns_element(c->e, c->rows[0][r], p) ==
                 amg_columns_element(&c->other, c->rows[1][r], p);
    return (double)equal / (double)c->num_rows;
}

static amg_status find_positions(comparison *c, amg_error *err)
{
    amg_columns a = {0}, b = {0};
    const bool same_places =
        c->e->num_positions == c->other.num_positions && !c->e->is_tokens;
    amg_status st = amg_columns_print(c->e, c->rows[0], c->num_rows, &a, err);
    if (!st) st = amg_columns_print(&c->other, c->rows[1], c->num_rows, &b, err);
    if (!st) {
        const size_t num_other = (size_t)c->other.num_positions;
        qsort(b.prints, num_other, sizeof *b.prints, compare_prints);
        for (int64_t p = 0; p < c->e->num_positions; p++) {
            c->found[p] = bsearch(&a.prints[p], b.prints, num_other, sizeof *b.prints,
                                  compare_prints) != NULL;
            if (same_places && c->found[p] == 0) c->found[p] = share_in_place(c, p);
            if (a.constant[p]) c->found[p] = NAN;
        }
    }
    amg_columns_clear(&a);
    amg_columns_clear(&b);
    return st;
}

/* Own positions against all others, those that are constant left out. */
static amg_status tell_positions(const comparison *c, amg_error *err)
{
    const amg_evidence *e = c->e;
    amg_finding f = amg_finding_new(attack, "AUC of the original's positions");
    double *score = amg_calloc((size_t)e->num_positions, sizeof *score);
    uint8_t *own = amg_calloc((size_t)e->num_positions, 1);
    int64_t n = 0, num_own = 0, num_found = 0, num_right = 0;
    if (!score || !own) {
        amg_free(score);
        amg_free(own);
        return no_memory(err);
    }
    for (int64_t p = 0; p < e->num_positions; p++) {
        if (isnan(c->found[p])) continue;
        score[n] = c->found[p];
        own[n] = e->has_truth && e->is_own[p];
        num_own += own[n];
        num_found += score[n] == 1;
        num_right += score[n] == 1 && own[n];
        n++;
    }
    if (e->has_truth && num_own > 0 && num_own < n) {
        f.value = amg_auc(score, own, n);
        amg_auc_interval(f.value, num_own, n - num_own, 1, &f.low, &f.high);
        f.chance = .5;
        f.pass_low = .45;
        f.pass_high = .55;
    }
    amg_free(score);
    amg_free(own);
    if (!e->has_truth)
        return amg_findings_add(c->task->findings, &f, err,
                                "%lld of %lld positions have the same values in both "
                                "uploads, over %lld rows.",
                                (long long)num_found, (long long)n,
                                (long long)c->num_rows);
    return amg_findings_add(
        c->task->findings, &f, err,
        "%lld of %lld positions have the same values in both uploads, over %lld rows: "
        "%lld of the original's %lld are among them.",
        (long long)num_found, (long long)n, (long long)c->num_rows,
        (long long)num_right, (long long)num_own);
}

/* ---- streams ---- */

/* The only stream that is found (or, else, that is not), by whether most of it is. */
static int find_odd(const double *shares, int num)
{
    int in = 0, out = 0, last_in = -1, last_out = -1;
    for (int s = 0; s < num; s++)
        if (shares[s] >= .5) {
            in++;
            last_in = s;
        } else {
            out++;
            last_out = s;
        }
    return in == 1 ? last_in : out == 1 ? last_out : -1;
}

static amg_status tell_streams(const comparison *c, const char *metric,
                               const char *what, amg_error *err)
{
    const amg_evidence *e = c->e;
    amg_finding f = amg_finding_new(attack, metric);
    f.guess = find_odd(c->shares, e->num_streams);
    f.chance = 1.0 / e->num_streams;
    if (e->has_truth) {
        f.value = f.guess == e->original;
        f.pass_low = f.pass_high = 0;
    }
    if (f.guess < 0)
        return amg_findings_add(c->task->findings, &f, err,
                                "By %s that both uploads have, no stream is unlike the "
                                "others.",
                                what);
    return amg_findings_add(
        c->task->findings, &f, err,
        "By %s that both uploads have, stream %d is unlike the others%s: %.0f %% of it "
        "is in both.",
        what, f.guess,
        !e->has_truth            ? ""
        : f.guess == e->original ? " and is the original"
                                 : " and is a decoy",
        100 * c->shares[f.guess]);
}

static void share_positions(const comparison *c)
{
    for (int s = 0; s < c->e->num_streams; s++) {
        const amg_stream *stream = &c->e->streams[s];
        double found = 0, n = 0;
        for (int64_t i = 0; i < stream->num_values; i++) {
            const double v = c->found[stream->select[i]];
            if (isnan(v)) continue;
            found += v == 1;
            n++;
        }
        c->shares[s] = n > 0 ? found / n : 0;
    }
}

/* ---- weights ---- */

static bool is_constant(const amg_tensor *t)
{
    const float *x = t->data;
    const int64_t n = amg_tensor_count(t);
    for (int64_t i = 1; i < n; i++)
        if (x[i] != x[0]) return false;
    return true;
}

/* Fingerprints of all tensors of a job, sorted; returns how many. */
static int64_t print_weights(const amg_job *job, uint64_t *out)
{
    int64_t n = 0;
    for (int h = 0; h < job->graph->num_outputs; h++)
        for (int i = 0; i < job->params[h].count; i++) {
            const amg_tensor *t = &job->params[h].items[i].tensor;
            if (out) out[n] = amg_print_bag(t->data, amg_tensor_count(t));
            n++;
        }
    if (out) qsort(out, (size_t)n, sizeof *out, compare_prints);
    return n;
}

static amg_status share_weights(const comparison *c, amg_error *err)
{
    const amg_job *job = &c->e->job;
    const int64_t num = print_weights(&c->other.job, NULL);
    uint64_t *prints = amg_calloc((size_t)num + 1, sizeof *prints);
    if (!prints) return no_memory(err);
    print_weights(&c->other.job, prints);
    for (int h = 0; h < c->e->num_streams; h++) {
        double found = 0, n = 0;
        for (int i = 0; i < job->params[h].count; i++) {
            const amg_tensor *t = &job->params[h].items[i].tensor;
            if (is_constant(t)) continue;
            const uint64_t print = amg_print_bag(t->data, amg_tensor_count(t));
            found += bsearch(&print, prints, (size_t)num, sizeof *prints,
                             compare_prints) != NULL;
            n++;
        }
        c->shares[h] = n > 0 ? found / n : 0;
    }
    amg_free(prints);
    return AMG_OK;
}

/* ---- the whole ---- */

static amg_status compare_data(comparison *c, amg_error *err)
{
    amg_status st = match_rows(c, err);
    if (st) return st;
    if (c->e->dtype != c->other.dtype || c->num_rows < MIN_ROWS)
        return amg_findings_skip(c->task->findings, attack, err,
                                 "The uploads have %lld rows in common, too few to "
                                 "compare positions.",
                                 (long long)c->num_rows);
    st = find_positions(c, err);
    if (!st) st = tell_positions(c, err);
    if (st) return st;
    share_positions(c);
    return tell_streams(c, "the original told by its positions in both",
                        "the positions", err);
}

static amg_status compare_uploads(comparison *c, amg_error *err)
{
    bool same;
    amg_status st = tell_files(c, &same, err);
    if (st || same) return st;
    c->found = amg_calloc((size_t)c->e->num_positions, sizeof *c->found);
    c->shares = amg_calloc((size_t)c->e->num_streams, sizeof *c->shares);
    if (!c->found || !c->shares) return no_memory(err);
    st = amg_tick(c->task->progress, attack, 1, 3, err);
    if (!st) st = compare_data(c, err);
    if (!st) st = amg_tick(c->task->progress, attack, 2, 3, err);
    if (!st) st = share_weights(c, err);
    if (!st)
        st = tell_streams(c, "the original told by its initial weights in both",
                          "the initial weights", err);
    return st;
}

amg_status amg_attack_reupload(const amg_attack_task *task, amg_error *err)
{
    const amg_audit_options *o = task->options;
    comparison c = {.task = task, .e = task->evidence};
    if (!o->other)
        return amg_findings_skip(task->findings, attack, err,
                                 "Needs an earlier upload of the same data (--other).");
    if (!c.e->job.graph)
        return amg_findings_skip(task->findings, attack, err, "Needs a job.");
    const amg_evidence_options other = {
        .job = o->other, .max_rows = o->max_rows, .seed = o->seed};
    amg_status st = amg_evidence_open(&other, &c.other, err);
    if (!st) st = compare_uploads(&c, err);
    amg_evidence_close(&c.other);
    amg_free(c.rows[0]);
    amg_free(c.rows[1]);
    amg_free(c.found);
    amg_free(c.shares);
    return st;
}
