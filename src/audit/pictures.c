/* Draws one row of the evidence: the owner's sample, the whole augmented row, and what
 * each head selects of it. Consumes evidence, produces pictures with the structural
 * similarity of each candidate to the sample. Knows no attack. */
#include "audit/pictures.h"

#include <math.h>
#include <string.h>

#include "audit/stats.h"
#include "base/alloc.h"

const char amg_picture_sample[] = "Your sample";
const char amg_picture_row[] = "What the cloud is sent";
const char amg_picture_candidate[] = "Candidate";

enum { ROW = 0 }; /* of the evidence */

typedef struct {
    const amg_evidence *e;
    double range;           /* of the row, from black to white */
    float *own, *candidate; /* [C,H,W]; own only with the truth */
} drawing;

static int64_t count(const int64_t dims[3]) { return dims[0] * dims[1] * dims[2]; }

void amg_picture_range(const amg_evidence *e, int64_t row, float *low, float *range)
{
    float least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < e->num_positions; i++) {
        const float v = amg_evidence_value(e, row, i);
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    const bool bytes = e->dtype == AMG_U8;
    *low = bytes ? 0 : least;
    *range = bytes ? 255 : most > least ? most - least : 1;
}

static uint8_t shade(float v, float low, float range)
{
    const float s = 255 * (v - low) / range;
    return s > 0 ? s < 255 ? (uint8_t)(s + 0.5f) : 255 : 0;
}

amg_status amg_picture_add(const amg_evidence *e, int64_t row, const int64_t dims[3],
                           const float *values, amg_picture picture, amg_findings *f,
                           amg_error *err)
{
    float low, range;
    amg_status st = amg_tensor_new(AMG_U8, 3, dims, &picture.image, err);
    if (st) return st;
    amg_picture_range(e, row, &low, &range);
    uint8_t *to = picture.image.data;
    for (int64_t i = 0; i < count(dims); i++)
        to[i] = shade(values ? values[i] : amg_evidence_value(e, row, i), low, range);
    picture.sample = e->rows[row];
    return amg_findings_add_picture(f, &picture, err);
}

static amg_status add_candidate(const drawing *d, int stream, amg_findings *f,
                                amg_error *err)
{
    const amg_stream *s = &d->e->streams[stream];
    const amg_stream *own = d->own ? &d->e->streams[d->e->original] : NULL;
    amg_picture picture = {
        .title = amg_picture_candidate, .stream = stream, .ssim = NAN};
    amg_evidence_sample(d->e, stream, ROW, d->candidate);
    if (own && !memcmp(own->dims, s->dims, sizeof s->dims))
        picture.ssim = amg_ssim(d->own, d->candidate, s->dims, d->range);
    return amg_picture_add(d->e, ROW, s->dims, d->candidate, picture, f, err);
}

static amg_status draw(drawing *d, amg_findings *f, amg_error *err)
{
    const amg_evidence *e = d->e;
    amg_status st = AMG_OK;
    amg_picture picture = {.stream = -1, .ssim = NAN};
    if (d->own) {
        amg_evidence_original(e, ROW, d->own);
        picture.title = amg_picture_sample;
        st = amg_picture_add(e, ROW, e->streams[e->original].dims, d->own, picture, f,
                             err);
    }
    picture.title = amg_picture_row;
    if (!st) st = amg_picture_add(e, ROW, e->dims, NULL, picture, f, err);
    for (int s = 0; s < e->num_streams && !st; s++) st = add_candidate(d, s, f, err);
    return st;
}

amg_status amg_audit_draw(const amg_evidence *e, amg_findings *f, amg_error *err)
{
    if (!e->is_image || e->num_rows < 1) return AMG_OK;
    int64_t largest = 0;
    for (int s = 0; s < e->num_streams; s++)
        if (e->streams[s].num_values > largest) largest = e->streams[s].num_values;
    drawing d = {.e = e, .candidate = amg_calloc((size_t)largest, sizeof(float))};
    if (e->has_truth) d.own = amg_calloc((size_t)largest, sizeof(float));
    amg_status st;
    if (d.candidate && (d.own || !e->has_truth)) {
        float low, range;
        amg_picture_range(e, ROW, &low, &range);
        d.range = (double)range;
        st = draw(&d, f, err);
    } else {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "audit", "no memory for pictures");
    }
    amg_free(d.own);
    amg_free(d.candidate);
    return st;
}
