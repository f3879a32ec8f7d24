/* Findings: what attacks report, in the order in which they were run, and pictures that
 * show it. A finding is one figure with its interval, beside what chance would give. */
#ifndef AMG_AUDIT_FINDING_H
#define AMG_AUDIT_FINDING_H

#include "base/arena.h"
#include "base/tensor.h"

typedef enum {
    AMG_VERDICT_PASS,
    AMG_VERDICT_FAIL,
    AMG_VERDICT_REPORT, /* cannot pass, only be told; or there is no truth to score by
                         */
    AMG_VERDICT_SKIPPED /* does not apply to this job: text says why */
} amg_verdict;
const char *amg_verdict_name(amg_verdict v); /* "pass", "FAIL", "report", "skipped" */

typedef struct {
    const char *attack; /* "corr"; static */
    const char *metric; /* "AUC of the original's positions"; static */
    double value;       /* NaN: none */
    double low, high; /* 95 % interval, corrected for the number of rules; NaN: none */
    double chance;    /* NaN: none */
    /* Passes if [low, high] (the value, without an interval) reaches into this range;
     * both NaN: only reported. */
    double pass_low, pass_high;
    bool by_value; /* passes by the value whatever its interval: the owner's limit */
    int guess;     /* stream that an attacker would name by it; -1: none */
    /* filled in by amg_findings_add */
    amg_verdict verdict;
    const char *text; /* a sentence for the owner: what it means, what to do */
} amg_finding;

/* A finding with nothing but its names; all numbers NaN, no guess. */
amg_finding amg_finding_new(const char *attack, const char *metric);

/* What to draw in the report. */
typedef struct {
    const char *title; /* static or in the arena */
    amg_tensor image;  /* owned U8 [1|3,H,W] */
    double ssim;       /* to the original sample; NaN: not compared */
    int64_t sample;    /* row of the job */
    int stream;        /* of which it is a candidate; -1: of none */
} amg_picture;

typedef struct {
    amg_arena arena;
    int count, capacity;
    amg_finding *items;
    int num_pictures, picture_capacity;
    amg_picture *pictures;
} amg_findings;

/* Adds it with a verdict (FAIL, PASS or REPORT by its numbers) and a text. */
AMG_MUST_CHECK amg_status amg_findings_add(amg_findings *f, const amg_finding *finding,
                                           amg_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* One that does not apply. */
AMG_MUST_CHECK amg_status amg_findings_skip(amg_findings *f, const char *attack,
                                            amg_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Takes image over, also on failure. */
AMG_MUST_CHECK amg_status amg_findings_add_picture(amg_findings *f,
                                                   amg_picture *picture,
                                                   amg_error *err);
void amg_findings_clear(amg_findings *f);

#endif
