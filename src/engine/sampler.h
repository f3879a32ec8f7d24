/* Drawing the next token from a language model's logits: temperature, top-k, top-p. */
#ifndef AMG_ENGINE_SAMPLER_H
#define AMG_ENGINE_SAMPLER_H

#include <stdbool.h>

#include "amalgam/status.h"
#include "base/rng.h"

/* Applied in this order, as Hugging Face's generate does. */
typedef struct {
    double temperature; /* logits are divided by it; 0: always the most likely token */
    int64_t top_k;      /* only the K most likely tokens; 0: all */
    double top_p;       /* of those the fewest that together have the probability P;
                           0 or 1: all */
    bool has_never;     /* a token that is not drawn: padding */
    int64_t never;
    uint64_t seed;
} amg_sampling;

/* What may be drawn, by descending logit where a filter is on. */
typedef struct {
    double weight; /* not normalised */
    float logit;
    int32_t token;
} amg_candidate;

typedef struct {
    amg_sampling options;
    int64_t vocab;
    amg_rng rng;
    amg_candidate *candidates; /* [vocab] owned */
    int64_t num_kept;          /* of them, after amg_sampler_weigh */
} amg_sampler;

/* AMG_INVALID: an option out of range, or nothing left to draw. */
AMG_MUST_CHECK amg_status amg_sampler_init(const amg_sampling *options, int64_t vocab,
                                           amg_sampler *out, amg_error *err);
void amg_sampler_clear(amg_sampler *s); /* zeroed is fine */

/* Fills candidates[0 .. num_kept-1] from logits [vocab]. AMG_NOT_FINITE names the
 * token whose logit is no number. Cost: vocab, sorted where a filter is on. */
AMG_MUST_CHECK amg_status amg_sampler_weigh(amg_sampler *s, const float *logits,
                                            amg_error *err);
/* Weighs and draws one token: the same seed and logits, the same tokens. */
AMG_MUST_CHECK amg_status amg_sampler_draw(amg_sampler *s, const float *logits,
                                           int32_t *token, amg_error *err);

#endif
