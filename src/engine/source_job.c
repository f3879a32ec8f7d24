/* The shards of one split of a job as a source: mapped .npy files, x [rows, dims…] and
 * y i32[rows, heads]. Shapes and every label are checked when it opens, so that reading
 * a sample is a search for its shard and two copies. */
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

static amg_status job_read(const amg_source *s, int64_t i, void *x, int32_t *labels,
                           amg_error *err)
{
    if (i < 0 || i >= s->num_samples)
        return amg_fail(err, AMG_INVALID, -1, "job data", "sample %lld of %lld",
                        (long long)i, (long long)s->num_samples);
    const open_shard *shard = find_shard(s->self, i);
    const size_t row = (size_t)(i - shard->first);
    const size_t label_bytes = (size_t)s->num_labels * sizeof *labels;
    memcpy(x, (const uint8_t *)shard->x.array.data + row * s->sample_bytes,
           s->sample_bytes);
    memcpy(labels, (const uint8_t *)shard->y.array.data + row * label_bytes,
           label_bytes);
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
static amg_status check_labels(const amg_tensor *y, const int64_t *classes,
                               const char *where, amg_error *err)
{
    const uint8_t *at = y->data;
    for (int64_t row = 0; row < y->dims[0]; row++)
        for (int64_t column = 0; column < y->dims[1]; column++, at += sizeof(int32_t)) {
            int32_t label; /* a foreign .npy need not be aligned */
            memcpy(&label, at, sizeof label);
            if (label < 0 || label >= classes[column])
                return amg_fail(
                    err, AMG_MISMATCH, -1, where,
                    "row %lld, column %lld: label is %d, expected 0 to %lld",
                    (long long)row, (long long)column, label,
                    (long long)classes[column] - 1);
        }
    return AMG_OK;
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

static amg_status open_one(const char *job_dir, const amg_manifest *m,
                           const amg_shard *shard, const int64_t *classes,
                           open_shard *out, amg_error *err)
{
    int64_t x_dims[AMG_MAX_RANK] = {shard->rows};
    const int64_t y_dims[2] = {shard->rows, m->num_heads};
    memcpy(x_dims + 1, m->input_dims, (size_t)m->input_rank * sizeof *x_dims);
    amg_status status = open_array(job_dir, shard->x, &out->x, err);
    if (!status)
        status = check_shape(&out->x.array, m->input_dtype, m->input_rank + 1, x_dims,
                             shard->x, err);
    if (!status) status = open_array(job_dir, shard->y, &out->y, err);
    if (!status) status = check_shape(&out->y.array, AMG_I32, 2, y_dims, shard->y, err);
    if (!status) status = check_labels(&out->y.array, classes, shard->y, err);
    return status;
}

static amg_status open_shards(const char *job_dir, const amg_manifest *m,
                              const amg_split *split, job_source *j, int64_t *total,
                              amg_error *err)
{
    int64_t *classes = amg_calloc((size_t)m->num_heads, sizeof *classes);
    j->shards = amg_calloc((size_t)split->num_shards, sizeof *j->shards);
    amg_status status = AMG_OK;
    *total = 0;
    if (!classes || !j->shards) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, job_dir, "opening shards");
        goto done;
    }
    for (int h = 0; h < m->num_heads; h++)
        classes[m->heads[h].label_column] = m->heads[h].num_classes;
    for (int i = 0; i < split->num_shards && !status; i++) {
        j->num_shards = i + 1; /* a shard that fails half-way is closed too */
        j->shards[i].first = *total;
        status = open_one(job_dir, m, &split->shards[i], classes, &j->shards[i], err);
        if (!status && !amg_add_i64(*total, split->shards[i].rows, total))
            status = amg_fail(err, AMG_OVERFLOW, -1, job_dir, "too many rows");
    }
done:
    amg_free(classes);
    return status;
}

amg_status amg_source_open_job(const char *job_dir, const amg_manifest *m,
                               const amg_split *split, amg_source *out, amg_error *err)
{
    amg_source s = {.dtype = m->input_dtype,
                    .rank = m->input_rank,
                    .num_labels = m->num_heads,
                    .read = job_read,
                    .close = job_close};
    if (split->num_shards == 0)
        return amg_fail(err, AMG_NOT_FOUND, -1, job_dir, "the job has no such split");
    if (m->input_rank < 1 || m->input_rank >= AMG_MAX_RANK)
        return amg_fail(err, AMG_UNSUPPORTED, -1, job_dir,
                        "input has %d dims, expected 1 to %d", m->input_rank,
                        AMG_MAX_RANK - 1);
    for (int h = 0; h < m->num_heads; h++)
        if (m->heads[h].label_column < 0 || m->heads[h].label_column >= m->num_heads)
            return amg_fail(err, AMG_MISMATCH, -1, m->heads[h].output,
                            "label column is %d, the job has %d",
                            m->heads[h].label_column, m->num_heads);
    amg_status status =
        amg_tensor_size(s.dtype, s.rank, m->input_dims, &s.sample_bytes, err);
    if (status) return status;
    memcpy(s.dims, m->input_dims, (size_t)s.rank * sizeof *s.dims);
    s.self = amg_calloc(1, sizeof(job_source));
    if (!s.self) return amg_fail(err, AMG_NO_MEMORY, -1, job_dir, "opening shards");
    status = open_shards(job_dir, m, split, s.self, &s.num_samples, err);
    if (!status && s.num_samples != split->num_samples)
        status = amg_fail(err, AMG_MISMATCH, -1, job_dir,
                          "shards hold %lld samples, the manifest says %lld",
                          (long long)s.num_samples, (long long)split->num_samples);
    if (status)
        job_close(&s);
    else
        *out = s;
    return status;
}
