/* Evidence made by hand: k+1 streams of one law or several, dealt out to secret
 * positions as a job would, with the truth. Header only, for tests/audit. */
#ifndef AMG_TESTS_AUDIT_FIXTURE_EVIDENCE_H
#define AMG_TESTS_AUDIT_FIXTURE_EVIDENCE_H

#include <string.h>

#include "audit/evidence.h"
#include "base/alloc.h"
#include "base/rng.h"

/* Fills one sample [C,H,W] (numbers 0..255 for U8) and its label. */
typedef void (*fixture_draw)(amg_rng *rng, int stream, int64_t row,
                             const int64_t dims[3], float *sample, int32_t *label);

/* streams mode: num_streams streams of dims each, H' = num_streams * H; original: which
 * is the owner's. num_noise > 0: paper mode, with so many positions that no stream has,
 * filled by draw(stream -1) samples of dims in turn (num_noise at most the product of
 * dims). */
static inline void fixture_evidence(amg_evidence *e, amg_dtype dtype, int num_streams,
                                    int original, const int64_t dims[3],
                                    int64_t num_rows, int64_t num_noise,
                                    fixture_draw draw, uint64_t seed)
{
    memset(e, 0, sizeof *e);
    const int64_t values = dims[0] * dims[1] * dims[2];
    amg_rng rng = amg_rng_init(seed, 0);
    e->num_streams = num_streams;
    e->original = original;
    e->has_truth = true;
    e->paper_mode = num_noise > 0;
    e->dtype = dtype;
    e->elem = dtype == AMG_U8 ? 1 : 4;
    e->is_tokens = dtype == AMG_I32;
    e->is_image = !e->is_tokens && (dims[0] == 1 || dims[0] == 3) && dims[2] > 1;
    e->num_positions = values * num_streams + num_noise;
    e->dims[0] = 1;
    e->dims[1] = e->num_positions;
    e->dims[2] = 1;
    if (num_noise == 0) {
        memcpy(e->dims, dims, sizeof e->dims);
        e->dims[1] *= num_streams;
    }
    e->total_rows = e->num_rows = num_rows;
    e->rows = amg_malloc((size_t)num_rows * sizeof *e->rows);
    e->x = amg_calloc((size_t)(num_rows * e->num_positions), e->elem);
    e->labels = amg_calloc((size_t)(num_rows * num_streams), sizeof *e->labels);
    e->is_own = amg_calloc((size_t)e->num_positions, 1);
    e->streams = amg_calloc((size_t)num_streams, sizeof *e->streams);
    int64_t *order = amg_malloc((size_t)e->num_positions * sizeof *order);
    float *sample = amg_malloc((size_t)values * sizeof *sample);
    amg_rng_permutation(&rng, e->num_positions, order);
    for (int s = 0; s < num_streams; s++) {
        amg_stream *stream = &e->streams[s];
        stream->num_values = values;
        stream->select = amg_malloc((size_t)values * sizeof *stream->select);
        memcpy(stream->dims, dims, sizeof stream->dims);
        stream->num_classes = 10;
        stream->column = s;
        for (int64_t j = 0; j < values; j++) {
            stream->select[j] = (uint32_t)order[s * values + j];
            if (s == original) e->is_own[stream->select[j]] = 1;
        }
    }
    for (int64_t row = 0; row < num_rows; row++) {
        e->rows[row] = row;
        for (int s = 0; s < num_streams + (num_noise > 0); s++) {
            int32_t label = 0;
            const bool noise = s == num_streams;
            draw(&rng, noise ? -1 : s, row, dims, sample, &label);
            if (!noise) e->labels[row * num_streams + s] = label;
            for (int64_t j = 0; j < (noise ? num_noise : values); j++) {
                const int64_t at = row * e->num_positions + order[s * values + j];
                if (dtype == AMG_U8)
                    e->x[at] = (uint8_t)(sample[j] < 0     ? 0
                                         : sample[j] > 255 ? 255
                                                           : sample[j] + 0.5f);
                else if (dtype == AMG_I32)
                    ((int32_t *)e->x)[at] = (int32_t)sample[j];
                else
                    ((float *)e->x)[at] = sample[j];
            }
        }
    }
    amg_free(order);
    amg_free(sample);
}

#endif
