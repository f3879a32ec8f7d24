/* Drawing the next token. Consumes logits, produces tokens; one stream of random
 * numbers per seed. Knows no model and no text. */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

/* Keeps these draws apart from those of batch order and dropout with the same seed. */
#define SAMPLE_STREAM UINT64_C(0x53414d504c450000)

amg_status amg_sampler_init(const amg_sampling *o, int64_t vocab, amg_sampler *out,
                            amg_error *err)
{
    const bool never = o->has_never && o->never >= 0 && o->never < vocab;
    if (!(o->temperature >= 0) || !isfinite(o->temperature))
        return amg_fail(err, AMG_INVALID, -1, "temperature",
                        "found %g, expected 0 or more", o->temperature);
    if (o->top_k < 0)
        return amg_fail(err, AMG_INVALID, -1, "top-k", "found %lld, expected 0 or more",
                        (long long)o->top_k);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return amg_fail(err, AMG_INVALID, -1, "top-p", "found %g, expected 0 to 1",
                        o->top_p);
    if (vocab - never < 1 || vocab > INT32_MAX)
        return amg_fail(err, AMG_INVALID, -1, "vocabulary",
                        "found %lld tokens to draw from, expected 1 to %d",
                        (long long)vocab - never, INT32_MAX);
    amg_sampler s = {.options = *o,
                     .vocab = vocab,
                     .rng = amg_rng_init(o->seed, SAMPLE_STREAM),
                     .candidates = amg_malloc((size_t)vocab * sizeof(amg_candidate))};
    if (!s.candidates)
        return amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary", "%lld tokens",
                        (long long)vocab);
    s.options.has_never = never;
    *out = s;
    return AMG_OK;
}

void amg_sampler_clear(amg_sampler *s)
{
    amg_free(s->candidates);
    s->candidates = NULL;
}

/* Equal logits stand in the order of their tokens: qsort is not stable. */
static int by_descending_logit(const void *a, const void *b)
{
    const amg_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* Every token but the one never drawn; returns how many, *best the first most likely.
 */
static amg_status collect(amg_sampler *s, const float *logits, int64_t *count,
                          amg_candidate *best, amg_error *err)
{
    int64_t n = 0;
    for (int64_t t = 0; t < s->vocab; t++) {
        if (s->options.has_never && t == s->options.never) continue;
        if (!isfinite(logits[t]))
            return amg_fail(err, AMG_NOT_FINITE, -1, "logits",
                            "the one of token %lld is NaN or infinite", (long long)t);
        s->candidates[n] = (amg_candidate){.logit = logits[t], .token = (int32_t)t};
        if (!n || logits[t] > best->logit) *best = s->candidates[n];
        n++;
    }
    *count = n;
    return AMG_OK;
}

/* The fewest of the n first that together have the share top_p of their weight. */
static int64_t cut_nucleus(const amg_sampler *s, int64_t n)
{
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) total += s->candidates[i].weight;
    for (int64_t i = 0; i < n; i++) {
        sum += s->candidates[i].weight;
        if (sum >= s->options.top_p * total) return i + 1;
    }
    return n;
}

amg_status amg_sampler_weigh(amg_sampler *s, const float *logits, amg_error *err)
{
    const amg_sampling *o = &s->options;
    amg_candidate best = {0};
    int64_t n;
    amg_status status = collect(s, logits, &n, &best, err);
    if (status) return status;
    if (o->temperature == 0) {
        best.weight = 1;
        s->candidates[0] = best;
        s->num_kept = 1;
        return AMG_OK;
    }
    const bool nucleus = o->top_p > 0 && o->top_p < 1, few = o->top_k && o->top_k < n;
    if (nucleus || few)
        qsort(s->candidates, (size_t)n, sizeof *s->candidates, by_descending_logit);
    if (few) n = o->top_k;
    for (int64_t i = 0; i < n; i++)
        s->candidates[i].weight =
            exp(((double)s->candidates[i].logit - (double)best.logit) / o->temperature);
    s->num_kept = nucleus ? cut_nucleus(s, n) : n;
    return AMG_OK;
}

amg_status amg_sampler_draw(amg_sampler *s, const float *logits, int32_t *token,
                            amg_error *err)
{
    amg_status status = amg_sampler_weigh(s, logits, err);
    if (status) return status;
    double total = 0;
    for (int64_t i = 0; i < s->num_kept; i++) total += s->candidates[i].weight;
    double left = total * ((double)(amg_rng_u64(&s->rng) >> 11) * 0x1p-53);
    int64_t chosen = 0;
    for (int64_t i = 0; i < s->num_kept; i++) {
        if (s->candidates[i].weight <= 0) continue; /* underflow: never drawn */
        chosen = i; /* rounding may leave a rest behind the last one */
        left -= s->candidates[i].weight;
        if (left < 0) break;
    }
    *token = s->candidates[chosen].token;
    return AMG_OK;
}
