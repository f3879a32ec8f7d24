/* Samples to make evidence of (fixture_evidence.h), and an attack run on it. Header
 * only, for tests/audit. */
#ifndef AMG_TESTS_AUDIT_FIXTURE_SAMPLES_H
#define AMG_TESTS_AUDIT_FIXTURE_SAMPLES_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <math.h>

#include "audit/attack.h"
#include "fixture_evidence.h"

/* A smooth picture: a few slow waves of random phase about a random grey, a little
 * noise; the channels differ in grey. */
static inline void sample_smooth(amg_rng *rng, const int64_t dims[3], float *x)
{
    const float turn = 6.2831853f;
    float phase[4];
    for (int i = 0; i < 4; i++) phase[i] = turn * amg_rng_uniform(rng);
    const float grey = 90 + 60 * amg_rng_uniform(rng);
    const float swing = 20 + 30 * amg_rng_uniform(rng);
    for (int64_t c = 0; c < dims[0]; c++)
        for (int64_t i = 0; i < dims[1]; i++)
            for (int64_t j = 0; j < dims[2]; j++)
                *x++ = grey + 8 * (float)c +
                       swing * (cosf(turn * (float)i / (float)dims[1] + phase[0]) +
                                cosf(turn * (float)j / (float)dims[2] + phase[1]) +
                                .5f * cosf(turn * (float)(i + j) / 16 + phase[2])) +
                       2 * (float)amg_rng_normal(rng);
}

static inline void sample_noise(amg_rng *rng, const int64_t dims[3], float *x)
{
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++)
        x[i] = (float)amg_rng_below(rng, 256);
}

/* A text of 40 words: with most words goes one that follows. */
static inline void sample_text(amg_rng *rng, const int64_t dims[3], float *x)
{
    uint64_t word = amg_rng_below(rng, 40);
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++) {
        x[i] = (float)word;
        word = amg_rng_below(rng, 10) < 7
                   ? (word * 7 + 3) % 40
                   : amg_rng_below(rng, 1 + amg_rng_below(rng, 40));
    }
}

/* Runs it; the findings are the caller's to clear. */
static inline amg_findings run_attack(amg_attack_fn attack, const amg_evidence *e,
                                      uint64_t seed)
{
    amg_findings findings = {0};
    amg_neighbours neighbours = {0};
    const amg_audit_options options = {0};
    amg_error err = {0};
    const amg_attack_task task = {.evidence = e,
                                  .options = &options,
                                  .findings = &findings,
                                  .neighbours = &neighbours,
                                  .seed = seed};
    if (attack(&task, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_neighbours_clear(&neighbours);
    return findings;
}

/* Takes the truth away, as if there were no key. */
static inline void forget_truth(amg_evidence *e)
{
    e->has_truth = e->paper_mode = false;
    e->original = -1;
    amg_free(e->is_own);
    e->is_own = NULL;
}

static inline bool refuse_progress(void *context, const amg_progress_event *event)
{
    (void)context;
    (void)event;
    return false;
}

/* What it returns when the user stops it. */
static inline amg_status stop_attack(amg_attack_fn attack, const amg_evidence *e)
{
    amg_findings findings = {0};
    amg_neighbours neighbours = {0};
    const amg_progress progress = {.report = refuse_progress};
    const amg_audit_options options = {0};
    const amg_attack_task task = {.evidence = e,
                                  .options = &options,
                                  .findings = &findings,
                                  .neighbours = &neighbours,
                                  .progress = &progress};
    const amg_status st = attack(&task, NULL);
    amg_neighbours_clear(&neighbours);
    assert_int_equal(findings.count, 0);
    amg_findings_clear(&findings);
    return st;
}

/* Every allocation fails once: an error each time, until there is none left to fail. */
static inline void starve_attack(amg_attack_fn attack, const amg_evidence *e)
{
    long n = 1;
    for (amg_status st = AMG_NO_MEMORY; st != AMG_OK; n++) {
        amg_findings findings = {0};
        amg_neighbours neighbours = {0};
        const amg_audit_options options = {0};
        const amg_attack_task task = {.evidence = e,
                                      .options = &options,
                                      .findings = &findings,
                                      .neighbours = &neighbours};
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = attack(&task, NULL);
        amg_alloc_fail_after(NULL);
        if (countdown > 0) assert_int_equal(st, AMG_OK);
        if (st != AMG_OK) assert_int_equal(st, AMG_NO_MEMORY);
        amg_neighbours_clear(&neighbours);
        amg_findings_clear(&findings);
    }
    assert_true(n > 5);
}

#endif
