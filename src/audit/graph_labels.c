/* Columns of labels: how many classes each head has, and how often each class occurs.
 * Classes are renumbered by the key, so what compares is the list of counts from the
 * most frequent class down. Two tells: counts that differ from the other columns' (an
 * imbalance of the owner's data that covers do not have), and counts that are more even
 * than a random draw makes them, in one column alone (a set with exactly as many
 * samples of each class). O(rows). */
#include <math.h>
#include <stdlib.h>

#include "audit/contingency.h"
#include "audit/graph_parts.h"
#include "base/alloc.h"

static const char attack[] = "graph";

/* Parts of a set with equally many samples of each class are themselves somewhat more
 * even than independent draws. */
enum { STRICTER = 10 };

static int compare_down(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (y > x) - (y < x);
}

/* counts [num][classes], each row sorted down. */
static amg_status count_labels(const amg_evidence *e, int64_t classes, int64_t **out,
                               amg_error *err)
{
    int64_t *counts =
        amg_calloc((size_t)e->num_streams * (size_t)classes, sizeof *counts);
    if (!counts) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int64_t i = 0; i < e->num_rows * e->num_streams; i++) {
        const int32_t label = e->labels[i];
        if (label >= 0 && label < classes)
            counts[i % e->num_streams * classes + label]++;
    }
    for (int s = 0; s < e->num_streams; s++)
        qsort(counts + s * classes, (size_t)classes, sizeof *counts, compare_down);
    *out = counts;
    return AMG_OK;
}

/* p that column s comes from the law of the others, pooled. Classes expected fewer than
 * five times are counted together. */
static double differs_from_others(const int64_t *counts, int num, int64_t classes,
                                  int64_t rows, int s)
{
    double x2 = 0, rest_own = 0, rest_all = 0;
    int cells = 0;
    for (int64_t c = 0; c <= classes; c++) {
        double own = rest_own, all = rest_all;
        if (c < classes) {
            own = (double)counts[s * classes + c];
            all = 0;
            for (int t = 0; t < num; t++) all += (double)counts[t * classes + c];
            if (all / num < 5) {
                rest_own += own;
                rest_all += all;
                continue;
            }
        }
        if (all == 0) continue;
        const double expected = all / num, others = all - own;
        x2 += (own - expected) * (own - expected) / expected;
        x2 += (others - expected * (num - 1)) * (others - expected * (num - 1)) /
              (expected * (num - 1));
        cells++;
    }
    return rows > 0 ? amg_chi_square_tail(x2, cells - 1) : 1;
}

/* p of counts as even as these, or more, in a random draw of equally frequent classes.
 */
static double evenness(const int64_t *counts, int64_t classes, int64_t rows)
{
    const double expected = (double)rows / (double)classes;
    double x2 = 0;
    if (expected < 5) return 1;
    for (int64_t c = 0; c < classes; c++)
        x2 +=
            ((double)counts[c] - expected) * ((double)counts[c] - expected) / expected;
    return x2 > 0 ? 1 - amg_chi_square_tail(x2, (double)classes - 1) : 0;
}

static amg_status tell_classes(const amg_graph_parts *p, amg_error *err)
{
    const amg_evidence *e = p->e;
    uint64_t *prints = amg_calloc((size_t)p->num, sizeof *prints);
    amg_finding f = amg_finding_new(attack, "heads with another number of classes");
    if (!prints) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < p->num; s++) prints[s] = (uint64_t)e->streams[s].num_classes;
    const amg_agreement a = amg_graph_compare(prints, p->num);
    amg_free(prints);
    f.value = a.differing;
    f.guess = a.odd;
    if (e->has_truth && a.odd == e->original) f.pass_low = f.pass_high = 0;
    return amg_findings_add(
        p->task->findings, &f, err,
        a.differing ? "Heads have different numbers of classes: who knows the owner's "
                      "number finds the original. Take covers with as many classes."
                    : "All heads have %lld classes. How many is not hidden.",
        (long long)e->streams[0].num_classes);
}

/* smallest: corrected p; which: the column it belongs to. */
static amg_status tell_counts(const amg_graph_parts *p, const char *metric,
                              double smallest, int which, const char *bad,
                              amg_error *err)
{
    amg_finding f = amg_finding_new(attack, metric);
    f.value = fmin(1, smallest);
    f.chance = 1;
    f.pass_low = AMG_GRAPH_ALPHA;
    f.pass_high = 1;
    if (f.value >= AMG_GRAPH_ALPHA)
        return amg_findings_add(p->task->findings, &f, err,
                                "Classes occur alike in all columns of labels (p = "
                                "%.2g).",
                                f.value);
    f.guess = which;
    return amg_findings_add(
        p->task->findings, &f, err, "%s Column of %s%s (p = %.1g).", bad,
        amg_graph_head(p, which),
        p->e->has_truth && which == p->e->original ? ", the original's" : "", f.value);
}

static amg_status tell_histograms(const amg_graph_parts *p, int64_t classes,
                                  amg_error *err)
{
    const amg_evidence *e = p->e;
    int64_t *counts = NULL;
    amg_status st = count_labels(e, classes, &counts, err);
    if (st) return st;
    double other = 1, even = 1;
    int which_other = -1, which_even = -1, num_even = 0;
    for (int s = 0; s < p->num; s++) {
        const double d =
            p->num * differs_from_others(counts, p->num, classes, e->num_rows, s);
        const double v =
            STRICTER * p->num * evenness(counts + s * classes, classes, e->num_rows);
        num_even += v < AMG_GRAPH_ALPHA;
        if (d < other) other = d, which_other = s;
        if (v < even) even = v, which_even = s;
    }
    amg_free(counts);
    if (num_even == p->num) even = 1; /* covers paired by class: all are as even */
    st = tell_counts(
        p, "p that columns of labels have one class balance", other, which_other,
        "Classes occur in other shares in one column of labels than in the "
        "others: deal private samples and covers from one source at "
        "random, or pair them (obfuscate --pair-classes).",
        err);
    if (st) return st;
    return tell_counts(p, "p that no column of labels is more even than a draw", even,
                       which_even,
                       "Classes occur more evenly in some columns of labels than a "
                       "random draw makes them: deal private samples and covers from "
                       "one source at random, without balancing either.",
                       err);
}

amg_status amg_graph_check_labels(const amg_graph_parts *p, amg_error *err)
{
    const amg_evidence *e = p->e;
    int64_t most = 0;
    if (!e->labels) return AMG_OK; /* nothing to compare: targets are no classes */
    for (int s = 0; s < p->num; s++)
        if (e->streams[s].num_classes > most) most = e->streams[s].num_classes;
    amg_status st = tell_classes(p, err);
    if (!st && most > 1) st = tell_histograms(p, most, err);
    return st;
}
