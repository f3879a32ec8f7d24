/* Deals jobs from a data set or from a job's rows (shadow_deal.h). The covers' choice
 * is obfuscate's own code, so that what it does to a data set with repeated samples is
 * done here, too. Knows nothing of features or classifiers. */
#include "audit/shadow_deal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/rng.h"
#include "obfuscate/covers.h"
#include "obfuscate/samples.h"

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "shadow", "no memory to deal a job");
}

static int compare_rows(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void sort_rows(int64_t *rows, int64_t n)
{
    qsort(rows, (size_t)n, sizeof *rows, compare_rows);
}

/* ---- parts of a source as data sets of their own ---- */

typedef struct {
    const amg_dataset *source;
    const int64_t *rows;
} part;

static amg_status read_part(void *context, const int64_t *rows, int64_t num, void *x,
                            void *y, amg_error *err)
{
    const part *p = context;
    int64_t *ids = amg_malloc((size_t)num * sizeof *ids);
    if (!ids) return no_memory(err);
    for (int64_t i = 0; i < num; i++) ids[i] = p->rows[rows[i]];
    const amg_samples s = {.set = p->source, .rows = ids, .x = x, .y = y};
    const amg_status st = amg_samples_read(&s, num, err);
    amg_free(ids);
    return st;
}

/* name: parts of one name would be taken for one set. */
static amg_status open_part(part *p, int64_t num, const char *name, amg_dataset **out,
                            amg_error *err)
{
    amg_dataset_callbacks c = {.info = *amg_dataset_get_info(p->source),
                               .source = name,
                               .context = p,
                               .read = read_part};
    c.info.num_samples = num;
    c.info.stride = 0; /* neighbours here are none in the text: no stretches */
    return amg_dataset_from_callbacks(&c, out, err);
}

/* ---- which rows ---- */

static amg_status draw_secret(amg_rng *rng, amg_secret **out, amg_error *err)
{
    char hex[2 * AMG_SECRET_BYTES + 1];
    for (size_t i = 0; i < AMG_SECRET_BYTES / 8; i++)
        snprintf(hex + 16 * i, 17, "%016llx", (unsigned long long)amg_rng_u64(rng));
    return amg_secret_from_hex(hex, out, err);
}

/* rows [streams][num_rows]: the private ones, then each decoy's. order: room for
 * [num_available]. */
static amg_status choose_rows(const amg_deal *d, int i, int64_t *order, int64_t *rows,
                              amg_error *err)
{
    const int64_t n = d->num_rows, rest = d->num_available - n;
    amg_rng rng = amg_rng_init(d->seed, (uint64_t)i);
    part private = {d->source, order}, pool = {d->source, order + n};
    amg_dataset *own = NULL, *others = NULL;
    amg_secret *secret = NULL;
    amg_cover_plan plan = {0};
    amg_rng_permutation(&rng, d->num_available, order);
    sort_rows(order, n);
    sort_rows(order + n, rest);
    amg_status st = draw_secret(&rng, &secret, err);
    if (!st) st = open_part(&private, n, "private part", &own, err);
    if (!st) st = open_part(&pool, rest, "rest of the source", &others, err);
    if (!st) {
        const amg_cover_split split = {own, others};
        st = amg_cover_plan_derive(secret, d->form.num_streams - 1, &split, 1, &plan,
                                   err);
    }
    if (!st) {
        memcpy(rows, order, (size_t)n * sizeof *rows);
        for (int64_t j = 0; j < n * plan.num_decoys; j++)
            rows[n + j] = pool.rows[plan.rows[0][j]];
    }
    amg_cover_plan_clear(&plan);
    amg_dataset_close(own);
    amg_dataset_close(others);
    amg_secret_free(secret);
    return st;
}

/* ---- a dealt job ---- */

static amg_status make_room(const amg_deal *d, bool labels, amg_evidence *out,
                            amg_error *err)
{
    *out = d->form;
    out->num_rows = out->total_rows = d->num_rows;
    out->x = amg_malloc((size_t)(d->num_rows * out->num_positions) * out->elem);
    if (labels)
        out->labels =
            amg_malloc((size_t)(d->num_rows * out->num_streams) * sizeof *out->labels);
    return out->x && (!labels || out->labels) ? AMG_OK : no_memory(err);
}

/* Stream s of a row of out is sample rows[s][row] of the source. */
static amg_status read_streams(const amg_deal *d, const int64_t *rows,
                               amg_evidence *out, amg_error *err)
{
    const int64_t n = d->num_rows, streams = d->form.num_streams;
    const size_t bytes = amg_dataset_get_info(d->source)->sample_bytes;
    uint8_t *x = amg_malloc((size_t)n * bytes);
    int32_t *y = out->labels ? amg_malloc((size_t)n * sizeof *y) : NULL;
    amg_status st = x && (y || !out->labels) ? AMG_OK : no_memory(err);
    for (int64_t s = 0; s < streams && !st; s++) {
        const amg_samples all = {
            .set = d->source, .rows = rows + s * n, .x = x, .y = y};
        st = amg_samples_read(&all, n, err);
        for (int64_t row = 0; row < n && !st; row++) {
            const size_t at = (size_t)(row * streams + s);
            memcpy(out->x + at * bytes, x + (size_t)row * bytes, bytes);
            if (y) out->labels[at] = y[row];
        }
    }
    amg_free(x);
    amg_free(y);
    return st;
}

static amg_status deal_from_source(const amg_deal *d, int i, amg_evidence *out,
                                   amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(d->source);
    const size_t taken = (size_t)d->num_rows * (size_t)d->form.num_streams;
    int64_t *order = amg_malloc((size_t)d->num_available * sizeof *order);
    int64_t *rows = amg_malloc(taken * sizeof *rows);
    amg_status st = order && rows ? AMG_OK : no_memory(err);
    if (!st) st = choose_rows(d, i, order, rows, err);
    if (!st)
        st = make_room(d, info->target_dtype == AMG_I32 && info->target_rank == 0, out,
                       err);
    if (!st) st = read_streams(d, rows, out, err);
    amg_free(order);
    amg_free(rows);
    return st;
}

static amg_status deal_from_rows(const amg_deal *d, int i, amg_evidence *out,
                                 amg_error *err)
{
    const amg_evidence *job = d->job;
    const int64_t *rows = d->order + d->num_rows * i;
    const size_t bytes = (size_t)job->num_positions * job->elem;
    const size_t streams = (size_t)job->num_streams;
    const amg_status st = make_room(d, job->labels != NULL, out, err);
    for (size_t row = 0; row < (size_t)d->num_rows && !st; row++) {
        const size_t from = (size_t)rows[row];
        memcpy(out->x + row * bytes, job->x + from * bytes, bytes);
        if (out->labels)
            memcpy(out->labels + row * streams, job->labels + from * streams,
                   streams * sizeof *out->labels);
    }
    return st;
}

amg_status amg_deal_job(const amg_deal *deal, int i, amg_evidence *out, amg_error *err)
{
    amg_evidence dealt = {0};
    const amg_status st = deal->source ? deal_from_source(deal, i, &dealt, err)
                                       : deal_from_rows(deal, i, &dealt, err);
    if (st)
        amg_deal_clear_job(&dealt);
    else
        *out = dealt;
    return st;
}

void amg_deal_clear_job(amg_evidence *dealt)
{
    amg_free(dealt->x);
    amg_free(dealt->labels);
    *dealt = (amg_evidence){0};
}

/* ---- opening ---- */

/* As many rows as there are, within the bounds of time and memory. */
static int64_t bound_rows(const amg_evidence *form, int64_t rows)
{
    const int64_t bytes = form->num_positions * (int64_t)form->elem;
    if (rows > AMG_DEAL_MAX_ROWS) rows = AMG_DEAL_MAX_ROWS;
    return rows < AMG_DEAL_MAX_BYTES / bytes ? rows : AMG_DEAL_MAX_BYTES / bytes;
}

/* Streams of samples as the source has them, one behind the other. */
static amg_status make_form(const amg_evidence *job, amg_evidence *out, amg_error *err)
{
    const amg_stream *like = &job->streams[0];
    const int64_t values = like->num_values;
    amg_evidence form = {.num_streams = job->num_streams,
                         .dtype = job->dtype,
                         .elem = job->elem,
                         .is_image = job->is_image,
                         .is_tokens = job->is_tokens,
                         .num_positions = values * job->num_streams,
                         .dims = {1, values * job->num_streams, 1},
                         .has_truth = true};
    form.streams = amg_calloc((size_t)form.num_streams, sizeof *form.streams);
    for (int s = 0; form.streams && s < form.num_streams; s++) {
        amg_stream *stream = &form.streams[s];
        *stream = *like;
        stream->column = s;
        stream->select = amg_malloc((size_t)values * sizeof *stream->select);
        for (int64_t j = 0; stream->select && j < values; j++)
            stream->select[j] = (uint32_t)(s * values + j);
    }
    *out = form;
    bool complete = form.streams != NULL;
    for (int s = 0; complete && s < form.num_streams; s++)
        complete = form.streams[s].select != NULL;
    return complete ? AMG_OK : no_memory(err);
}

static amg_status check_source(const amg_deal *d, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(d->source);
    char found[AMG_SHAPE_TEXT];
    int64_t values;
    if (info->dtype == d->form.dtype &&
        amg_dims_count(info->dims, info->rank, &values) &&
        values == d->form.streams[0].num_values)
        return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(d->source),
             "samples are %s, those of the job's streams %s of %lld values",
             amg_shape_text(info->dtype, info->rank, info->dims, found),
             amg_dtype_name(d->form.dtype), (long long)d->form.streams[0].num_values);
    amg_hint(err, "the source is the data set that the job's private samples and its "
                  "covers were taken from");
    return AMG_MISMATCH;
}

amg_status amg_deal_open_source(const amg_evidence *job, const char *source,
                                uint64_t seed, amg_deal *out, amg_error *err)
{
    /* A language model's samples have one token more than it sees. */
    const bool next = job->job.manifest.task == AMG_TASK_LANGUAGE_MODEL;
    const amg_window window = {.seq = job->streams[0].num_values - next};
    amg_deal d = {.job = job, .seed = seed};
    amg_status st = make_form(job, &d.form, err);
    if (!st)
        st = amg_dataset_open_window(source, job->is_tokens ? &window : NULL, &d.source,
                                     err);
    if (!st) st = check_source(&d, err);
    if (st) {
        amg_deal_close(&d);
        return st;
    }
    d.num_available = amg_dataset_get_info(d.source)->num_samples;
    d.num_rows = bound_rows(&d.form, job->total_rows);
    /* A tenth stays free for samples that the covers' choice passes over. */
    const int64_t room = d.num_available * 9 / 10 / d.form.num_streams;
    if (d.num_rows > room) d.num_rows = room;
    *out = d;
    return AMG_OK;
}

amg_status amg_deal_open_rows(const amg_evidence *job, int num_jobs, uint64_t seed,
                              amg_deal *out, amg_error *err)
{
    amg_deal d = {.job = job, .form = *job, .seed = seed};
    d.form.x = NULL;
    d.form.rows = NULL;
    d.form.labels = NULL;
    d.num_available = job->num_rows;
    d.num_rows = bound_rows(job, job->num_rows / num_jobs);
    d.order = amg_malloc((size_t)d.num_available * sizeof *d.order);
    if (!d.order) return no_memory(err);
    amg_rng rng = amg_rng_init(seed, 0);
    amg_rng_permutation(&rng, d.num_available, d.order);
    for (int i = 0; i < num_jobs; i++) sort_rows(d.order + d.num_rows * i, d.num_rows);
    *out = d;
    return AMG_OK;
}

void amg_deal_close(amg_deal *deal)
{
    const bool own_form =
        deal->form.streams != NULL && deal->form.streams != deal->job->streams;
    for (int s = 0; own_form && s < deal->form.num_streams; s++)
        amg_free(deal->form.streams[s].select);
    if (own_form) amg_free(deal->form.streams);
    amg_dataset_close(deal->source);
    amg_free(deal->order);
    *deal = (amg_deal){0};
}
