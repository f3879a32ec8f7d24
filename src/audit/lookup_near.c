/* The lookup attack's near samples: groups of them in each stream, and twins across
 * streams. Wants the job's signatures; gives findings.
 *
 * Twins are nearest to each other of all samples of all streams: which they are, the
 * samples say, not the streams they were dealt to. Of a stream of n there are n - 1
 * others in it, and kn in the k other streams: dealt at random, that is how often twins
 * stand in one and in two streams. Of 20,000 images CIFAR-10 has 2 pairs, MNIST 304,
 * Fashion-MNIST 379. A shift by a pixel makes no twins. Texts are left out: each
 * stream's tokens are numbered in its own way.
 *
 * Costs 64 bits of comparison for each pair of all streams: of 40,000 images of
 * CIFAR-10 one second of one core, of MNIST, whose digits are alike in layout, seven.
 */
#include "audit/lookup_finder.h"
#include "audit/stats.h"
#include "base/alloc.h"

static const char attack[] = "lookup";

/* ---- within a stream ---- */

enum { COUNTED = -2 };

/* The group of a sample, by one of it. groups [total]: of each sample another one of
 * its group, or itself. */
static int64_t group_of(int64_t *groups, int64_t i)
{
    while (groups[i] != i) i = groups[i] = groups[groups[i]];
    return i;
}

/* hits [num_streams]: groups of samples that are near to each other. Groups, because
 * samples come in them: two copies are one coincidence, not two. */
static amg_status count_near(const amg_finder *f, int64_t *hits, amg_error *err)
{
    int64_t *near = amg_malloc((size_t)f->total * sizeof *near);
    int64_t *groups = amg_malloc((size_t)f->total * sizeof *groups);
    amg_status st = near && groups ? amg_finder_near(f, NULL, NULL, near, err)
                                   : amg_finder_no_memory(err);
    for (int64_t i = 0; i < f->total && !st; i++) groups[i] = i;
    for (int64_t i = 0; i < f->total && !st; i++) {
        if (near[i] < 0) continue;
        const int64_t a = group_of(groups, i), b = group_of(groups, near[i]);
        groups[a] = b;
    }
    for (int64_t i = 0; i < f->total && !st; i++) {
        if (near[i] < 0) continue;
        const int64_t group = group_of(groups, i);
        hits[i / f->e->num_rows] += near[group] != COUNTED;
        near[group] = COUNTED;
    }
    amg_free(near);
    amg_free(groups);
    return st;
}

/* ---- across streams ---- */

/* hits [num_streams]: samples whose twin stands in another stream. */
static amg_status pair_twins(const amg_finder *f, int64_t *pairs, int64_t *across,
                             int64_t *hits, amg_error *err)
{
    const int64_t rows = f->e->num_rows;
    int64_t *twin = amg_malloc((size_t)f->total * sizeof *twin);
    amg_status st = twin ? amg_finder_twins(f, twin, err) : amg_finder_no_memory(err);
    for (int64_t i = 0; i < f->total && !st; i++) {
        if (twin[i] < i) continue;
        const int64_t a = i / rows, b = twin[i] / rows;
        ++*pairs;
        if (a == b) continue;
        ++*across;
        hits[a]++;
        hits[b]++;
    }
    amg_free(twin);
    return st;
}

static amg_status tell_twins(const amg_finder *f, int64_t *hits, amg_error *err)
{
    amg_finding finding = amg_finding_new(
        attack, "p that so many images nearly equal are in two streams");
    const int num = f->e->num_streams;
    const double share = (double)((num - 1) * f->e->num_rows) / (double)(f->total - 1);
    int64_t pairs = 0, across = 0;
    int without = 0;
    amg_status st = pair_twins(f, &pairs, &across, hits, err);
    if (st) return st;
    finding.value = amg_binomial_tail(across, pairs, share);
    finding.pass_low = AMG_LOOKUP_ALPHA;
    finding.pass_high = 1;
    for (int s = 0; s < num && finding.value < AMG_LOOKUP_ALPHA; s++)
        if (hits[s] == 0) without++, finding.guess = s;
    if (without != 1) finding.guess = -1;
    return amg_findings_add(
        f->task->findings, &finding, err,
        "%lld pairs of images are nearly equal, %lld of them in two streams; dealt at "
        "random it would be %.1f.%s",
        (long long)pairs, (long long)across, (double)pairs * share,
        finding.value < AMG_LOOKUP_ALPHA
            ? " Covers were made from private samples or from each other, or the pool "
              "holds other versions of private samples: take a larger pool that is "
              "disjoint from the data."
            : "");
}

amg_status amg_lookup_near(const amg_finder *f, amg_error *err)
{
    const size_t num = (size_t)f->e->num_streams;
    int64_t *hits = amg_calloc(2 * num, sizeof *hits);
    if (!hits) return amg_finder_no_memory(err);
    amg_status st = count_near(f, hits, err);
    if (!st)
        st = amg_lookup_shares(f, "p that near repeats are equally frequent", hits,
                               "Groups of near samples, to a hundred",
                               "Deal private samples and covers from one source, "
                               "copies of a sample to the same side.",
                               err);
    const bool across = f->kind == AMG_SAMPLES_IMAGES;
    if (!st && across) st = tell_twins(f, hits + num, err);
    if (!st && across)
        st = amg_lookup_shares(
            f, "p that streams are nearly equal to others equally often", hits + num,
            "Samples that are nearly equal to one of another stream",
            "Take a pool that is disjoint from the data and holds no other versions of "
            "them, and no cover twice.",
            err);
    amg_free(hits);
    return st;
}
