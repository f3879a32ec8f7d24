/* The job's samples for the lookup attack: gathered as each network sees them, signed
 * in parallel, searched for near ones; and the comparison of streams' shares. Knows
 * nothing of what is made of it. */
#include "audit/lookup_finder.h"

#include <stdio.h>
#include <string.h>

#include "audit/contingency.h"
#include "base/alloc.h"
#include "base/parallel.h"
#include "base/progress.h"

static const char attack[] = "lookup";

enum { CHUNK = 1024 };

amg_status amg_finder_no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory for its samples");
}

/* ---- the job's own samples ---- */

void amg_finder_gather(const amg_finder *f, int64_t i, void *out)
{
    const amg_evidence *e = f->e;
    const amg_stream *s = &e->streams[i / e->num_rows];
    const uint8_t *x = e->x + (size_t)(i % e->num_rows * e->num_positions) * e->elem;
    uint8_t *to = out;
    for (int64_t j = 0; j < s->num_values; j++, to += e->elem)
        memcpy(to, x + (size_t)s->select[j] * e->elem, e->elem);
}

typedef struct {
    amg_finder *f;
    bool failed;
} signing;

static void sign_range(void *context, int64_t begin, int64_t end)
{
    signing *w = context;
    amg_finder *f = w->f;
    void *sample = amg_malloc(f->sample_bytes);
    if (!sample) __atomic_store_n(&w->failed, true, __ATOMIC_RELAXED);
    for (int64_t i = begin; sample && i < end; i++) {
        amg_finder_gather(f, i, sample);
        amg_signature_set(&f->own, i, f->kind, f->e->dtype,
                          f->e->streams[i / f->e->num_rows].dims, sample);
    }
    amg_free(sample);
}

amg_status amg_finder_open(const amg_attack_task *task, amg_finder *out, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    amg_finder f = {.task = task,
                    .e = e,
                    .kind = e->is_tokens  ? AMG_SAMPLES_TOKENS
                            : e->is_image ? AMG_SAMPLES_IMAGES
                                          : AMG_SAMPLES_NUMBERS,
                    .total = e->num_streams * e->num_rows};
    for (int s = 0; s < e->num_streams; s++)
        if (e->streams[s].num_values > f.sample_values)
            f.sample_values = e->streams[s].num_values;
    f.sample_bytes = (size_t)f.sample_values * e->elem;
    amg_status st = amg_signatures_new(f.total, &f.own, err);
    if (st) return st;
    signing w = {.f = &f};
    amg_parallel_for(f.total, 64, sign_range, &w);
    if (w.failed) {
        amg_finder_close(&f);
        return amg_finder_no_memory(err);
    }
    *out = f;
    return AMG_OK;
}

void amg_finder_close(amg_finder *f) { amg_signatures_clear(&f->own); }

/* ---- shares of streams ---- */

double amg_finder_compare(const amg_finder *f, const int64_t *hits, int *which)
{
    const amg_evidence *e = f->e;
    double smallest = 1;
    int64_t all = 0;
    *which = -1;
    for (int s = 0; s < e->num_streams; s++) all += hits[s];
    for (int s = 0; s < e->num_streams; s++) {
        const double p =
            e->num_streams * amg_fisher(hits[s], e->num_rows, all - hits[s],
                                        e->num_rows * (e->num_streams - 1));
        if (p < smallest) {
            smallest = p;
            *which = s;
        }
    }
    return smallest;
}

const char *amg_finder_shares(const amg_finder *f, const int64_t *hits, char *text,
                              size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int s = 0; s < f->e->num_streams && used < size; s++)
        used += (size_t)snprintf(text + used, size - used, "%s%.2f %%", s ? ", " : "",
                                 100.0 * (double)hits[s] / (double)f->e->num_rows);
    return text;
}

const char *amg_finder_whose(const amg_finder *f, int stream)
{
    if (!f->e->has_truth || stream < 0) return "";
    return stream == f->e->original ? " (the original)" : " (a decoy)";
}

/* ---- near samples ---- */

typedef struct {
    const amg_finder *f;
    const amg_near_pool *pool; /* NULL: the job's own samples, */
    bool all_streams;          /* not of the sample's stream alone */
    const uint8_t *skip;
    int64_t begin;      /* of this chunk */
    int64_t *candidate; /* [CHUNK] index into the pool, or into the job's samples */
} search;

static void search_range(void *context, int64_t begin, int64_t end)
{
    const search *w = context;
    const int64_t rows = w->f->e->num_rows;
    for (int64_t i = begin; i < end; i++) {
        const int64_t sample = w->begin + i;
        const bool all = w->pool || w->all_streams;
        const int64_t first = all ? 0 : sample / rows * rows;
        const amg_signatures *in = w->pool ? w->pool->pool : &w->f->own;
        int distance;
        w->candidate[i] = -1;
        if (w->skip && w->skip[sample]) continue;
        w->candidate[i] = amg_signature_nearest(
            &w->f->own, sample, in, first, all ? in->count : first + rows, &distance);
    }
}

/* Two samples as floats or tokens, and one as it is read. */
typedef struct {
    float *a, *b;
    void *raw;
} pair;

static void clear_pair(pair *p)
{
    amg_free(p->a);
    amg_free(p->b);
    amg_free(p->raw);
}

static amg_status make_pair(const amg_finder *f, const amg_near_pool *pool, pair *p,
                            amg_error *err)
{
    const size_t bytes = (size_t)f->sample_values * sizeof(float);
    size_t raw = pool ? (size_t)pool->count * amg_dtype_size(pool->dtype) : 0;
    if (raw < f->sample_bytes) raw = f->sample_bytes;
    *p = (pair){amg_malloc(bytes), amg_malloc(bytes), amg_malloc(raw)};
    if (p->a && p->b && p->raw) return AMG_OK;
    clear_pair(p);
    *p = (pair){0};
    return amg_finder_no_memory(err);
}

/* Whether own sample i is near p->raw: n values of dtype. */
static amg_status verify(const amg_finder *f, int64_t i, amg_dtype dtype, int64_t n,
                         pair *p, bool *near, amg_error *err)
{
    const amg_evidence *e = f->e;
    const amg_stream *s = &e->streams[i / e->num_rows];
    if (f->kind == AMG_SAMPLES_TOKENS) {
        *near = false;
        if (s->num_values != n) return AMG_OK;
        amg_finder_gather(f, i, p->a);
        return amg_tokens_near((const int32_t *)p->a, p->raw, n, near, err);
    }
    *near = true; /* of another size: its 8x8 means must do */
    if (s->num_values != n) return AMG_OK;
    amg_evidence_sample(e, (int)(i / e->num_rows), i % e->num_rows, p->a);
    for (int64_t j = 0; j < n; j++)
        p->b[j] =
            dtype == AMG_U8 ? ((const uint8_t *)p->raw)[j] : ((const float *)p->raw)[j];
    *near = amg_images_near(p->a, p->b, n);
    return AMG_OK;
}

static amg_status verify_candidate(const search *w, int64_t i, pair *p, bool *near,
                                   amg_error *err)
{
    const amg_finder *f = w->f;
    const int64_t candidate = w->candidate[i - w->begin];
    if (!w->pool) {
        const int64_t n = f->e->streams[candidate / f->e->num_rows].num_values;
        amg_finder_gather(f, candidate, p->raw);
        return verify(f, i, f->e->dtype, n, p, near, err);
    }
    amg_status st = w->pool->read(w->pool->context, candidate, p->raw, err);
    return st ? st : verify(f, i, w->pool->dtype, w->pool->count, p, near, err);
}

static amg_status search_all(search w, int64_t *near, amg_error *err)
{
    const amg_finder *f = w.f;
    int64_t candidate[CHUNK];
    pair p = {0};
    amg_status st = make_pair(f, w.pool, &p, err);
    w.candidate = candidate;
    for (; w.begin < f->total && !st; w.begin += CHUNK) {
        const int64_t left = f->total - w.begin, n = left < CHUNK ? left : CHUNK;
        st = amg_tick(f->task->progress, attack, w.begin, f->total, err);
        if (!st) amg_parallel_for(n, 16, search_range, &w);
        for (int64_t i = 0; i < n && !st; i++) {
            bool found = false;
            if (candidate[i] >= 0)
                st = verify_candidate(&w, w.begin + i, &p, &found, err);
            near[w.begin + i] = found ? candidate[i] : -1;
        }
    }
    clear_pair(&p);
    return st;
}

amg_status amg_finder_near(const amg_finder *f, const amg_near_pool *pool,
                           const uint8_t *skip, int64_t *near, amg_error *err)
{
    const search w = {.f = f, .pool = pool, .skip = skip};
    return search_all(w, near, err);
}

amg_status amg_finder_twins(const amg_finder *f, int64_t *twin, amg_error *err)
{
    const search w = {.f = f, .all_streams = true};
    amg_status st = search_all(w, twin, err);
    for (int64_t i = 0; i < f->total && !st; i++)
        if (twin[i] >= 0 && twin[twin[i]] != i) twin[i] = -1;
    return st;
}
