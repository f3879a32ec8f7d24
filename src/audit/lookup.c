/* The lookup attack: samples that are known from elsewhere, or stand in the job twice.
 *
 *   within a stream   equal samples: rates that differ tell streams apart; near ones
 *                     likewise
 *   across streams    an equal sample is a cover that serves twice, or a cover that is
 *                     the owner's: never in a sound job; images nearly equal, and texts
 *                     alike, but for how they are numbered, no more often than within
 *                     one
 *   --aux DATA     each stream's share of samples found there, equal or nearly
 *
 * Near: images of another compression, size or brightness, texts that share half of
 * their runs of five (signature.h). Tokens of another numbering are found by how they
 * repeat. Samples count as independent where shares are compared.
 *
 * Costs a signature (100 bytes) for each sample of the job's rows that were read and of
 * each set, and 64 bits of comparison for each pair, of the job's own images, too:
 * 40,000 samples against 60,000 take two to three seconds on two cores. Where many are
 * alike in layout, digits for one, it is several times that. */
#include <stdlib.h>

#include "audit/lookup_finder.h"
#include "audit/stats.h"
#include "base/alloc.h"

static const char attack[] = "lookup";

/* ---- repeats ---- */

typedef struct {
    uint64_t hash;
    int64_t sample;
} hashed;

static int compare_hashed(const void *a, const void *b)
{
    const hashed *x = a, *y = b;
    if (x->hash != y->hash) return x->hash > y->hash ? 1 : -1;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

/* In a run of equal samples: repeats [num_streams] counts those that have an earlier
 * one in their stream, shared [num_streams] those that have one in another stream. */
static void count_run(const amg_finder *f, const hashed *run, int64_t n,
                      int64_t *repeats, int64_t *shared)
{
    const int64_t rows = f->e->num_rows;
    const bool several = run[0].sample / rows != run[n - 1].sample / rows;
    for (int64_t i = 0; i < n; i++) {
        const int64_t s = run[i].sample / rows;
        if (i > 0 && run[i - 1].sample / rows == s) repeats[s]++;
        if (several) shared[s]++;
    }
}

/* Where the run that begins at i ends. */
static int64_t end_of_run(const hashed *list, int64_t n, int64_t i)
{
    int64_t j = i + 1;
    while (j < n && list[j].hash == list[i].hash) j++;
    return j;
}

static amg_status count_repeats(const amg_finder *f, int64_t *repeats, int64_t *shared,
                                amg_error *err)
{
    hashed *list = amg_malloc((size_t)f->total * sizeof *list);
    if (!list) return amg_finder_no_memory(err);
    for (int64_t i = 0; i < f->total; i++) list[i] = (hashed){f->own.exact[i], i};
    qsort(list, (size_t)f->total, sizeof *list, compare_hashed);
    for (int64_t i = 0, end; i < f->total; i = end) {
        end = end_of_run(list, f->total, i);
        count_run(f, list + i, end - i, repeats, shared);
    }
    amg_free(list);
    return AMG_OK;
}

/* Covers that serve twice are in decoys' streams: the one stream without is the guess.
 */
static amg_status tell_shared(const amg_finder *f, const int64_t *shared,
                              amg_error *err)
{
    amg_finding finding = amg_finding_new(attack, "samples equal in two streams");
    int without = 0, last = -1;
    finding.value = 0;
    finding.pass_low = finding.pass_high = 0;
    for (int s = 0; s < f->e->num_streams; s++) {
        finding.value += (double)shared[s];
        if (shared[s] == 0) without++, last = s;
    }
    if (finding.value > 0 && without == 1) finding.guess = last;
    if (finding.value == 0)
        return amg_findings_add(f->task->findings, &finding, err,
                                "No sample stands in two streams.");
    return amg_findings_add(
        f->task->findings, &finding, err,
        "%.0f samples stand in two or more streams: only covers are used twice, so "
        "whatever repeats is none of the owner's, or the pool holds private samples. "
        "Take a larger pool that is disjoint from the data.",
        finding.value);
}

/* Streams have vocabularies of their own: texts that are equal, or equal but for names
 * and numbers, are equal patterns. Any source has some; dealt out at random, two of
 * them lie in one stream as often as two samples do. Of each run one pair is looked at,
 * any. shared [num_streams]: how many of such a stream's samples are in pairs with
 * others. */
static amg_status pair_patterns(const amg_finder *f, int64_t *pairs, int64_t *across,
                                int64_t *shared, amg_error *err)
{
    const int64_t rows = f->e->num_rows;
    hashed *list = amg_malloc((size_t)f->total * sizeof *list);
    int64_t n = 0;
    if (!list) return amg_finder_no_memory(err);
    for (int64_t i = 0; i < f->total; i++)
        if (f->own.pattern[i]) list[n++] = (hashed){f->own.pattern[i], i};
    qsort(list, (size_t)n, sizeof *list, compare_hashed);
    for (int64_t i = 0, end; i < n; i = end) {
        end = end_of_run(list, n, i);
        if (end - i < 2) continue;
        const uint64_t size = (uint64_t)(end - i), draw = list[i].hash >> 8;
        const uint64_t one = draw % size;
        const uint64_t other = (one + 1 + draw / size % (size - 1)) % size;
        const int64_t a = list[i + (int64_t)one].sample / rows;
        const int64_t b = list[i + (int64_t)other].sample / rows;
        ++*pairs;
        if (a == b) continue;
        ++*across;
        shared[a]++;
        shared[b]++;
    }
    amg_free(list);
    return AMG_OK;
}

static amg_status tell_patterns(const amg_finder *f, int64_t *shared, amg_error *err)
{
    amg_finding finding =
        amg_finding_new(attack, "p that so many texts alike are in two streams");
    const int num = f->e->num_streams;
    int64_t pairs = 0, across = 0;
    int without = 0;
    amg_status st = pair_patterns(f, &pairs, &across, shared, err);
    if (st) return st;
    finding.value = amg_binomial_tail(across, pairs, 1 - 1.0 / num);
    finding.pass_low = AMG_LOOKUP_ALPHA;
    finding.pass_high = 1;
    for (int s = 0; s < num && finding.value < AMG_LOOKUP_ALPHA; s++)
        if (shared[s] == 0) without++, finding.guess = s;
    if (without != 1) finding.guess = -1;
    return amg_findings_add(
        f->task->findings, &finding, err,
        "%lld pairs of samples repeat their tokens in the same places, %lld of them in "
        "two streams; dealt at random it would be %.1f.%s",
        (long long)pairs, (long long)across, (double)pairs * (1 - 1.0 / num),
        finding.value < AMG_LOOKUP_ALPHA
            ? " Covers serve twice, or the pool holds private samples: take a larger "
              "pool that is disjoint from the data."
            : "");
}

amg_status amg_lookup_shares(const amg_finder *f, const char *metric,
                             const int64_t *hits, const char *what, const char *remedy,
                             amg_error *err)
{
    char list[400];
    int which;
    amg_finding finding = amg_finding_new(attack, metric);
    finding.value = amg_finder_compare(f, hits, &which);
    finding.pass_low = AMG_LOOKUP_ALPHA;
    finding.pass_high = 1;
    amg_finder_shares(f, hits, list, sizeof list);
    if (finding.value >= AMG_LOOKUP_ALPHA)
        return amg_findings_add(f->task->findings, &finding, err,
                                "%s, stream by stream: %s; no more than chance apart.",
                                what, list);
    finding.guess = which;
    return amg_findings_add(f->task->findings, &finding, err,
                            "%s, stream by stream: %s. Stream %d%s stands apart (p = "
                            "%.1g). %s",
                            what, list, which, amg_finder_whose(f, which),
                            finding.value, remedy);
}

static amg_status look_inside(const amg_finder *f, amg_error *err)
{
    const size_t num = (size_t)f->e->num_streams;
    int64_t *counts = amg_calloc(3 * num, sizeof *counts);
    if (!counts) return amg_finder_no_memory(err);
    int64_t *repeats = counts, *shared = counts + num;
    amg_status st = count_repeats(f, repeats, shared, err);
    if (!st) st = tell_shared(f, shared, err);
    if (!st && f->e->is_tokens) st = tell_patterns(f, counts + 2 * num, err);
    if (!st)
        st =
            amg_lookup_shares(f, "p that streams repeat samples equally often", repeats,
                              "Samples that repeat an earlier one of their stream",
                              "Remove repeated samples from data and pool alike, then "
                              "deal both from one source.",
                              err);
    if (!st && f->kind != AMG_SAMPLES_NUMBERS) st = amg_lookup_near(f, err);
    amg_free(counts);
    return st;
}

amg_status amg_attack_lookup(const amg_attack_task *task, amg_error *err)
{
    const amg_audit_options *o = task->options;
    amg_finder f = {0};
    if (task->evidence->num_streams < 2 || task->evidence->num_rows < 1)
        return amg_findings_skip(task->findings, attack, err,
                                 "The job has one network, nothing hides it.");
    amg_status st = amg_finder_open(task, &f, err);
    if (!st) st = look_inside(&f, err);
    const bool mixed =
        task->evidence->job.manifest.mixed && f.kind == AMG_SAMPLES_IMAGES;
    if (!st && mixed && o->num_lookup > 0)
        st = amg_findings_skip(task->findings, attack, err,
                               "the sets of --aux: images are mixed in this job "
                               "(--symmetry); the symmetry attack puts them back in "
                               "order, and then they are known again");
    for (int i = 0; i < o->num_lookup && !mixed && !st; i++)
        st = amg_lookup_set(&f, o->lookup[i], err);
    amg_finder_close(&f);
    return st;
}
