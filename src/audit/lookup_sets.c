/* The lookup attack's public sets: signs each sample of a data set, finds the job's
 * samples among them by hash, by pattern and by nearness, and compares the shares of
 * streams. Reads the set once, and again what a signature calls near. */
#include <stdlib.h>
#include <string.h>

#include "audit/lookup_finder.h"
#include "base/alloc.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "formats/dataset.h"

static const char attack[] = "lookup";

/* How a sample of a stream was found. */
enum { FOUND_NOT, FOUND_NEAR, FOUND_EQUAL };

typedef struct {
    const amg_finder *f;
    const amg_dataset_info *info;
    int64_t dims[3];
    int64_t first; /* sample that x begins with */
    const uint8_t *x;
    amg_signatures *out;
} set_signing;

static void sign_set_range(void *context, int64_t begin, int64_t end)
{
    const set_signing *w = context;
    for (int64_t i = begin; i < end; i++)
        amg_signature_set(w->out, w->first + i, w->f->kind, w->info->dtype, w->dims,
                          w->x + (size_t)i * w->info->sample_bytes);
}

static amg_status sign_set(const amg_finder *f, const amg_dataset *ds,
                           amg_signatures *out, amg_error *err)
{
    enum { ROWS = 256 };
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    set_signing w = {.f = f, .info = info, .dims = {1, 1, 1}, .out = out};
    int64_t ids[ROWS];
    uint8_t *x = amg_malloc(ROWS * info->sample_bytes);
    amg_status st =
        x ? amg_signatures_new(info->num_samples, out, err) : amg_finder_no_memory(err);
    /* [C,H,W] of an image; all values in a row otherwise. */
    for (int d = 0; d < info->rank; d++) {
        if (f->kind == AMG_SAMPLES_IMAGES)
            w.dims[3 - info->rank + d] = info->dims[d];
        else
            w.dims[1] *= info->dims[d];
    }
    w.x = x;
    for (; w.first < info->num_samples && !st; w.first += ROWS) {
        const int64_t left = info->num_samples - w.first, n = left < ROWS ? left : ROWS;
        for (int64_t i = 0; i < n; i++) ids[i] = w.first + i;
        st = amg_tick(f->task->progress, attack, w.first, info->num_samples, err);
        if (!st) st = amg_dataset_read_many(ds, ids, n, x, NULL, err);
        if (!st) amg_parallel_for(n, 16, sign_set_range, &w);
    }
    amg_free(x);
    return st;
}

/* Whether a set's samples can be compared with the job's. */
static bool fits(const amg_finder *f, const amg_dataset_info *info)
{
    int64_t count = 1;
    for (int d = 0; d < info->rank; d++) count *= info->dims[d];
    if (f->kind == AMG_SAMPLES_IMAGES)
        return info->dtype != AMG_I32 &&
               (info->rank == 2 ||
                (info->rank == 3 && (info->dims[0] == 1 || info->dims[0] == 3)));
    return info->dtype == f->e->dtype && count == f->sample_values;
}

/* A token set is cut as the job's samples are: windows of one more than the network
 * sees, or documents. */
static amg_status open_set(const amg_finder *f, const char *spec, amg_dataset **out,
                           amg_error *err)
{
    if (f->kind != AMG_SAMPLES_TOKENS) return amg_dataset_open(spec, out, err);
    for (int64_t seq = f->sample_values - 1; seq > 0; seq++) {
        amg_status st =
            amg_dataset_open_window(spec, &(amg_window){.seq = seq}, out, err);
        if (st || seq == f->sample_values ||
            amg_dataset_get_info(*out)->dims[0] == f->sample_values)
            return st;
        amg_dataset_close(*out);
    }
    return amg_dataset_open(spec, out, err);
}

static bool has_hash(const uint64_t *sorted, int64_t n, uint64_t hash)
{
    int64_t low = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        if (sorted[low + half] < hash) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return sorted[low] == hash;
}

static int compare_hashes(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* found [total]: marks samples whose hash (exact or pattern) the set has. A 0 is none.
 */
static amg_status find_equal(const amg_finder *f, const uint64_t *own,
                             const uint64_t *set, int64_t count, uint8_t *found,
                             amg_error *err)
{
    /* A 0 behind them all, which is no sample's, for a search that ends there. */
    uint64_t *sorted = amg_calloc((size_t)count + 1, sizeof *sorted);
    if (!sorted) return amg_finder_no_memory(err);
    memcpy(sorted, set, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_hashes);
    for (int64_t i = 0; i < f->total; i++)
        if (own[i] && has_hash(sorted, count, own[i])) found[i] = FOUND_EQUAL;
    amg_free(sorted);
    return AMG_OK;
}

static amg_status read_sample(void *context, int64_t i, void *values, amg_error *err)
{
    return amg_dataset_read(context, i, values, NULL, err);
}

/* found: marks those of the others that have a near one. */
static amg_status find_near(const amg_finder *f, amg_dataset *ds,
                            const amg_signatures *set, uint8_t *found, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    const amg_near_pool pool = {
        .pool = set,
        .dtype = info->dtype,
        .count = (int64_t)(info->sample_bytes / amg_dtype_size(info->dtype)),
        .read = read_sample,
        .context = ds};
    int64_t *near = amg_malloc((size_t)f->total * sizeof *near);
    amg_status st =
        near ? amg_finder_near(f, &pool, found, near, err) : amg_finder_no_memory(err);
    for (int64_t i = 0; i < f->total && !st; i++)
        if (near[i] >= 0) found[i] = FOUND_NEAR;
    amg_free(near);
    return st;
}

/* hits in all: a public set tells nobody apart, but is known. */
static amg_status tell_set(const amg_finder *f, const char *spec, const uint8_t *found,
                           amg_error *err)
{
    static const char metric[] = "p that streams are found in a set equally often";
    int64_t all = 0, near = 0;
    int which;
    char list[400];
    amg_finding finding = amg_finding_new(attack, metric);
    int64_t *hits = amg_calloc((size_t)f->e->num_streams, sizeof *hits);
    if (!hits) return amg_finder_no_memory(err);
    for (int64_t i = 0; i < f->total; i++) {
        hits[i / f->e->num_rows] += found[i] != FOUND_NOT;
        near += found[i] == FOUND_NEAR;
        all += found[i] != FOUND_NOT;
    }
    finding.value = amg_finder_compare(f, hits, &which);
    amg_finder_shares(f, hits, list, sizeof list);
    amg_free(hits);
    if (all == 0 || finding.value < AMG_LOOKUP_ALPHA) {
        finding.pass_low = AMG_LOOKUP_ALPHA;
        finding.pass_high = 1;
    }
    if (all == 0)
        return amg_findings_add(f->task->findings, &finding, err,
                                "No sample is known from %s.", spec);
    if (finding.value >= AMG_LOOKUP_ALPHA)
        return amg_findings_add(
            f->task->findings, &finding, err,
            "Samples known from %s, stream by stream: %s (%lld nearly equal). That "
            "tells "
            "no stream apart, but who has the set knows these samples.",
            spec, list, (long long)near);
    finding.guess = which;
    return amg_findings_add(
        f->task->findings, &finding, err,
        "Samples known from %s, stream by stream: %s (%lld nearly equal). Stream %d%s "
        "stands apart: who has the set knows which streams are covers. Deal private "
        "samples and covers from one source.",
        spec, list, (long long)near, which, amg_finder_whose(f, which));
}

amg_status amg_lookup_set(const amg_finder *f, const char *spec, amg_error *err)
{
    amg_dataset *ds = NULL;
    amg_signatures set = {0};
    uint8_t *found = amg_calloc((size_t)f->total, 1);
    amg_status st = found ? open_set(f, spec, &ds, err) : amg_finder_no_memory(err);
    if (st) goto done;
    if (!fits(f, amg_dataset_get_info(ds))) {
        st = amg_findings_skip(f->task->findings, attack, err,
                               "%s holds samples of another kind or size than the job.",
                               spec);
        goto done;
    }
    st = sign_set(f, ds, &set, err);
    if (!st) st = find_equal(f, f->own.exact, set.exact, set.count, found, err);
    if (!st) st = find_equal(f, f->own.pattern, set.pattern, set.count, found, err);
    if (!st && f->kind != AMG_SAMPLES_NUMBERS) st = find_near(f, ds, &set, found, err);
    if (!st) st = tell_set(f, spec, found, err);
done:
    amg_signatures_clear(&set);
    amg_dataset_close(ds);
    amg_free(found);
    return st;
}
