/* Sample by sample: select, then tokens, values and labels back from the job's maps.
 * What stands in a job is not trusted: a number no map has is AMG_MISMATCH. */
#include "cli/verify_stream.h"

#include <string.h>

#include "base/alloc.h"
#include "obfuscate/augment_data.h"

/* Tokens of the job back to the original's. */
static amg_status unmap_tokens(const amg_own_stream *t, int64_t i, int32_t *tokens,
                               amg_error *err)
{
    const int64_t vocab = t->plan->shape.vocab;
    for (int64_t j = 0; j < t->plan->num_values; j++) {
        if (tokens[j] < 0 || tokens[j] >= vocab)
            return amg_fail(err, AMG_MISMATCH, -1, "verify",
                            "sample %lld of the job has token %d, expected one of a "
                            "vocabulary of %lld",
                            (long long)i, tokens[j], (long long)vocab);
        tokens[j] = t->tokens[tokens[j]];
    }
    return AMG_OK;
}

/* Rotated values back to the original's. */
static amg_status rotate_back(const amg_own_stream *t, float *x, amg_error *err)
{
    const amg_plan_shape *shape = &t->plan->shape;
    const int64_t count = t->plan->num_values;
    double *values = amg_calloc((size_t)(count + 2 * t->back->n), sizeof *values);
    if (!values) return amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    for (int64_t i = 0; i < count; i++) values[i] = x[i];
    amg_rotation_apply_sample(t->back, shape->dims, shape->block, values,
                              values + count, x);
    amg_free(values);
    return AMG_OK;
}

amg_status amg_own_stream_invert_tokens(amg_own_stream *t, amg_error *err)
{
    const int32_t *map = t->plan->subnets[t->plan->original].token_map;
    const int64_t vocab = t->plan->shape.vocab;
    if (!map) return AMG_OK;
    t->tokens = amg_calloc((size_t)vocab, sizeof *t->tokens);
    if (!t->tokens) return amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    for (int64_t i = 0; i < vocab; i++) t->tokens[map[i]] = (int32_t)i;
    return AMG_OK;
}

/* Labels of the job back to the original's classes. */
static amg_status unmap_labels(const amg_own_stream *t, int64_t i, int32_t *labels,
                               amg_error *err)
{
    const amg_subnet_plan *own = &t->plan->subnets[t->plan->original];
    for (int64_t j = 0; j < t->job->target_count; j++) {
        int32_t c = 0;
        while (c < own->num_classes && own->label_map[c] != labels[j]) c++;
        if (c == own->num_classes)
            return amg_fail(err, AMG_MISMATCH, -1, "verify",
                            "sample %lld of the job has label %d, expected one of %lld "
                            "classes",
                            (long long)i, labels[j], (long long)own->num_classes);
        labels[j] = c;
    }
    return AMG_OK;
}

static amg_status read_stream(const amg_source *s, int64_t i, void *x, void *targets,
                              amg_error *err)
{
    const amg_own_stream *t = s->self;
    const size_t column = (size_t)s->target_count * sizeof(int32_t);
    uint8_t *sample = amg_malloc(t->job->sample_bytes);
    uint8_t *all = amg_malloc((size_t)t->job->num_columns * column + 1);
    amg_status st;
    if (!sample || !all)
        st = amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory for a sample");
    else
        st = t->job->read(t->job, i, sample, all, err);
    if (!st) {
        amg_select(t->plan, t->plan->original, sample, 1, t->elem, x);
        if (column) memcpy(targets, all + (size_t)t->column * column, column);
        if (t->tokens) st = unmap_tokens(t, i, x, err);
        if (!st && t->back) st = rotate_back(t, x, err);
        if (!st && s->target_dtype == AMG_I32) st = unmap_labels(t, i, targets, err);
    }
    amg_free(sample);
    amg_free(all);
    return st;
}

static void close_stream(amg_source *s) { (void)s; }

amg_source amg_own_stream_source(amg_own_stream *t, const amg_value *input)
{
    const amg_source *job = t->job;
    amg_source s = {.self = t,
                    .dtype = t->plan->shape.dtype,
                    .rank = input->rank - 1,
                    .sample_bytes = (size_t)t->plan->num_values * t->elem,
                    .num_samples = job->num_samples,
                    .num_columns = job->num_columns ? 1 : 0,
                    .target_dtype = job->target_dtype,
                    .target_rank = job->target_rank,
                    .target_count = job->target_count,
                    .read = read_stream,
                    .close = close_stream};
    memcpy(s.dims, input->dims + 1, (size_t)s.rank * sizeof *s.dims);
    memcpy(s.target_dims, job->target_dims, sizeof s.target_dims);
    return s;
}
