/* Features of a stream's samples: chooses those that fit the evidence (images, tokens,
 * other numbers) and measures rows in parallel. What is measured is in
 * image_features.c and token_features.c. Must not know which stream is the original's.
 *
 * Cost: .1 ms for an image of 3x32x32; 300 KiB a thread, token_features.h's counts. */
#include "audit/sample_features.h"

#include <math.h>
#include <stdatomic.h>

#include "audit/image_features.h"
#include "audit/token_features.h"
#include "base/alloc.h"
#include "base/parallel.h"

int amg_features_image_names(const char **names)
{
    return amg_image_feature_names(names);
}

void amg_features_image(const float *values, const int64_t dims[3], double *out)
{
    z_stream z;
    const bool ready = amg_deflate_start(&z);
    amg_image_features(ready ? &z : NULL, values, dims, out);
    if (ready) deflateEnd(&z);
}

/* ---- rows of a stream ---- */

amg_status amg_features_open(const amg_evidence *e, amg_features *out, amg_error *err)
{
    amg_features f = {0};
    if (e->is_tokens) {
        amg_token_counts *counts = NULL;
        const amg_status st = amg_token_counts_new(e, &counts, err);
        if (st != AMG_OK) return st;
        f.state = counts;
        f.count = amg_token_feature_names(f.names);
    } else {
        f.count = e->is_image ? amg_image_feature_names(f.names)
                              : amg_number_feature_names(f.names);
    }
    *out = f;
    return AMG_OK;
}

void amg_features_close(amg_features *f)
{
    amg_token_counts_free(f->state);
    *f = (amg_features){0};
}

typedef struct {
    const amg_features *features;
    const amg_evidence *e;
    int stream;
    int64_t first;
    double *out;
    atomic_bool failed; /* out of memory */
} measuring;

static void measure_range(void *context, int64_t begin, int64_t end)
{
    measuring *m = context;
    const amg_stream *s = &m->e->streams[m->stream];
    z_stream z;
    const bool ready = m->e->is_image && amg_deflate_start(&z);
    float *values = amg_malloc((size_t)s->num_values * sizeof *values);
    if (!values || (m->e->is_image && !ready)) m->failed = true;
    for (int64_t i = begin; i < end && !m->failed; i++) {
        double *out = m->out + i * m->features->count;
        amg_evidence_sample(m->e, m->stream, m->first + i, values);
        if (m->e->is_image)
            amg_image_features(&z, values, s->dims, out);
        else
            amg_number_features(values, s->dims, out);
    }
    amg_free(values);
    if (ready) deflateEnd(&z);
}

static void measure_tokens(void *context, int64_t begin, int64_t end)
{
    measuring *m = context;
    if (!amg_token_features(m->features->state, m->e, m->stream, m->first + begin,
                            end - begin, m->out + begin * m->features->count))
        m->failed = true;
}

amg_status amg_features_of(const amg_features *f, const amg_evidence *e, int stream,
                           int64_t first, int64_t num, double *out, amg_error *err)
{
    measuring m = {.features = f, .e = e, .stream = stream, .first = first, .out = out};
    amg_parallel_for(num, 16, e->is_tokens ? measure_tokens : measure_range, &m);
    if (m.failed)
        return amg_fail(err, AMG_NO_MEMORY, -1, "features", "no memory for a sample");
    /* Samples with NaN or infinity in them have features like any other. */
    for (int64_t i = 0; i < num * f->count; i++)
        if (!isfinite(out[i])) out[i] = 0;
    return AMG_OK;
}
