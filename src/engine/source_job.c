/* The shards of one split of a job as a source: mapped .npy files, x [rows, dims…] and
 * y [rows, heads, target dims…], no y in tasks without targets. Shapes and every target
 * are checked when it opens, so that reading a sample is a search for its shard and two
 * copies. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "engine/source.h"
#include "formats/npy.h"

typedef struct {
    amg_npy x, y;
    int64_t first; /* index of its first sample in the split */
} open_shard;

typedef struct {
    int num_shards;
    open_shard *shards;
} job_source;

/* The last shard that begins at or before sample i. */
static const open_shard *find_shard(const job_source *j, int64_t i)
{
    int low = 0, high = j->num_shards - 1;
    while (low < high) {
        const int middle = low + (high - low + 1) / 2;
        if (j->shards[middle].first <= i)
            low = middle;
        else
            high = middle - 1;
    }
    return &j->shards[low];
}

static size_t target_bytes(const amg_source *s)
{
    return (size_t)s->num_columns * (size_t)s->target_count * 4;
}

static amg_status job_read(const amg_source *s, int64_t i, void *x, void *targets,
                           amg_error *err)
{
    if (i < 0 || i >= s->num_samples)
        return amg_fail(err, AMG_INVALID, -1, "job data", "sample %lld of %lld",
                        (long long)i, (long long)s->num_samples);
    const open_shard *shard = find_shard(s->self, i);
    const size_t row = (size_t)(i - shard->first);
    const size_t bytes = target_bytes(s);
    memcpy(x, (const uint8_t *)shard->x.array.data + row * s->sample_bytes,
           s->sample_bytes);
    if (bytes > 0)
        memcpy(targets, (const uint8_t *)shard->y.array.data + row * bytes, bytes);
    return AMG_OK;
}

static void job_close(amg_source *s)
{
    job_source *j = s->self;
    for (int i = 0; i < j->num_shards; i++) {
        amg_npy_close(&j->shards[i].x);
        amg_npy_close(&j->shards[i].y);
    }
    amg_free(j->shards);
    amg_free(j);
}

static amg_status check_shape(const amg_tensor *found, amg_dtype dtype, int rank,
                              const int64_t *dims, const char *where, amg_error *err)
{
    char have[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    if (found->dtype == dtype && found->rank == rank &&
        !memcmp(found->dims, dims, (size_t)rank * sizeof *dims))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, where, "array is %s, expected %s",
                    amg_shape_text(found->dtype, found->rank, found->dims, have),
                    amg_shape_text(dtype, rank, dims, want));
}

/* classes[column]: number of classes of the head that reads this column. */
static amg_status check_labels(const amg_tensor *y, int64_t count,
                               const int64_t *classes, const char *where,
                               amg_error *err)
{
    const uint8_t *at = y->data;
    const int64_t columns = y->dims[1];
    for (int64_t i = 0; i < y->dims[0] * columns; i++)
        for (int64_t j = 0; j < count; j++, at += sizeof(int32_t)) {
            const int64_t most = classes[i % columns] - 1;
            int32_t label; /* a foreign .npy need not be aligned */
            memcpy(&label, at, sizeof label);
            if (label < 0 || label > most)
                return amg_fail(
                    err, AMG_MISMATCH, -1, where,
                    "row %lld, column %lld: label is %d, expected 0 to %lld",
                    (long long)(i / columns), (long long)(i % columns), label,
                    (long long)most);
        }
    return AMG_OK;
}

/* Targets of all columns of a row are per_row numbers. */
static amg_status check_finite(const amg_tensor *y, int64_t per_row, const char *where,
                               amg_error *err)
{
    const int64_t at = amg_tensor_find_not_finite(y);
    if (at < 0) return AMG_OK;
    return amg_fail(err, AMG_NOT_FINITE, -1, where,
                    "row %lld: number %lld of its targets is NaN or infinite",
                    (long long)(at / per_row), (long long)(at % per_row));
}

static amg_status open_array(const char *job_dir, const char *path, amg_npy *out,
                             amg_error *err)
{
    char *full = amg_path_join(job_dir, path);
    if (!full) return amg_fail(err, AMG_NO_MEMORY, -1, path, "opening a shard");
    amg_status status = amg_npy_open(full, out, err);
    amg_free(full);
    return status;
}

/* The y of a shard: [rows, heads, target dims…]. */
static amg_status open_targets(const char *job_dir, const amg_manifest *m,
                               const amg_shard *shard, const amg_source *s,
                               const int64_t *classes, amg_npy *out, amg_error *err)
{
    int64_t dims[AMG_MAX_RANK] = {shard->rows, m->num_heads};
    memcpy(dims + 2, m->target_dims, (size_t)m->target_rank * sizeof *dims);
    amg_status status = open_array(job_dir, shard->y, out, err);
    if (!status)
        status = check_shape(&out->array, m->target_dtype, m->target_rank + 2, dims,
                             shard->y, err);
    if (!status && m->target_dtype == AMG_I32)
        status = check_labels(&out->array, s->target_count, classes, shard->y, err);
    if (!status && m->target_dtype == AMG_F32)
        status =
            check_finite(&out->array, s->num_columns * s->target_count, shard->y, err);
    return status;
}

static amg_status open_one(const char *job_dir, const amg_manifest *m,
                           const amg_shard *shard, const amg_source *s,
                           const int64_t *classes, open_shard *out, amg_error *err)
{
    int64_t dims[AMG_MAX_RANK] = {shard->rows};
    memcpy(dims + 1, m->input_dims, (size_t)m->input_rank * sizeof *dims);
    amg_status status = open_array(job_dir, shard->x, &out->x, err);
    if (!status)
        status = check_shape(&out->x.array, m->input_dtype, m->input_rank + 1, dims,
                             shard->x, err);
    if (!status && s->num_columns > 0)
        status = open_targets(job_dir, m, shard, s, classes, &out->y, err);
    return status;
}

static amg_status open_shards(const char *job_dir, const amg_manifest *m,
                              const amg_split *split, amg_source *s, amg_error *err)
{
    job_source *j = s->self;
    int64_t *total = &s->num_samples;
    int64_t *classes = amg_calloc((size_t)m->num_heads, sizeof *classes);
    j->shards = amg_calloc((size_t)split->num_shards, sizeof *j->shards);
    amg_status status = AMG_OK;
    *total = 0;
    if (!classes || !j->shards) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, job_dir, "opening shards");
        goto done;
    }
    for (int h = 0; h < m->num_heads; h++)
        if (s->num_columns > 0)
            classes[m->heads[h].label_column] = m->heads[h].num_classes;
    for (int i = 0; i < split->num_shards && !status; i++) {
        j->num_shards = i + 1; /* a shard that fails half-way is closed too */
        j->shards[i].first = *total;
        status =
            open_one(job_dir, m, &split->shards[i], s, classes, &j->shards[i], err);
        if (!status && !amg_add_i64(*total, split->shards[i].rows, total))
            status = amg_fail(err, AMG_OVERFLOW, -1, job_dir, "too many rows");
    }
done:
    amg_free(classes);
    return status;
}

/* What the manifest says of a sample and its targets. The manifest may be made by hand
 * in memory: what its reader would refuse is refused here, too. */
static amg_status describe(const char *job_dir, const amg_manifest *m, amg_source *s,
                           amg_error *err)
{
    size_t bytes;
    if (m->input_rank < 1 || m->input_rank >= AMG_MAX_RANK)
        return amg_fail(err, AMG_UNSUPPORTED, -1, job_dir,
                        "input has %d dims, expected 1 to %d", m->input_rank,
                        AMG_MAX_RANK - 1);
    s->dtype = m->input_dtype;
    s->rank = m->input_rank;
    memcpy(s->dims, m->input_dims, (size_t)s->rank * sizeof *s->dims);
    amg_status status =
        amg_tensor_size(s->dtype, s->rank, s->dims, &s->sample_bytes, err);
    if (status || !amg_task_has_targets(m->task)) return status;

    const amg_dtype expected = m->task == AMG_TASK_CLASSIFICATION ? AMG_I32 : AMG_F32;
    if (m->target_dtype != expected || m->target_rank < 0 ||
        m->target_rank > AMG_MAX_RANK - 2)
        return amg_fail(err, AMG_UNSUPPORTED, -1, job_dir,
                        "targets are %s of %d dims, expected %s of 0 to %d",
                        amg_dtype_name(m->target_dtype), m->target_rank,
                        amg_dtype_name(expected), AMG_MAX_RANK - 2);
    for (int h = 0; h < m->num_heads; h++)
        if (m->heads[h].label_column < 0 || m->heads[h].label_column >= m->num_heads)
            return amg_fail(err, AMG_MISMATCH, -1, m->heads[h].output,
                            "label column is %d, the job has %d",
                            m->heads[h].label_column, m->num_heads);
    s->num_columns = m->num_heads;
    s->target_dtype = m->target_dtype;
    s->target_rank = m->target_rank;
    memcpy(s->target_dims, m->target_dims, (size_t)s->target_rank * sizeof *s->dims);
    status =
        amg_tensor_size(s->target_dtype, s->target_rank, s->target_dims, &bytes, err);
    s->target_count = status ? 0 : (int64_t)(bytes / 4);
    return status;
}

amg_status amg_source_open_job(const char *job_dir, const amg_manifest *m,
                               const amg_split *split, amg_source *out, amg_error *err)
{
    amg_source s = {.read = job_read, .close = job_close};
    if (split->num_shards == 0)
        return amg_fail(err, AMG_NOT_FOUND, -1, job_dir, "the job has no such split");
    amg_status status = describe(job_dir, m, &s, err);
    if (status) return status;
    s.self = amg_calloc(1, sizeof(job_source));
    if (!s.self) return amg_fail(err, AMG_NO_MEMORY, -1, job_dir, "opening shards");
    status = open_shards(job_dir, m, split, &s, err);
    if (!status && s.num_samples != split->num_samples)
        status = amg_fail(err, AMG_MISMATCH, -1, job_dir,
                          "shards hold %lld sample%s, the manifest says %lld",
                          (long long)s.num_samples, amg_plural(s.num_samples),
                          (long long)split->num_samples);
    if (status)
        job_close(&s);
    else
        *out = s;
    return status;
}
