/* A whole small job on disk, made by amg_obfuscate from random images, and its evidence
 * opened with the key. Header only, for tests/audit. */
#ifndef AMG_TESTS_AUDIT_FIXTURE_JOB_H
#define AMG_TESTS_AUDIT_FIXTURE_JOB_H

#include "../obfuscate/text_fixture.h"

#include <math.h>

#include "audit/attack.h"

enum { JOB_ROWS = 300, JOB_POOL = 1300, JOB_SIDE = 16 };

/* What a job is made of; the zero value of each is the default. */
typedef struct {
    const char *name;  /* folder and key: DIR/NAME, DIR/NAME.key; "job" */
    const char *model; /* of the zoo; "lenet" */
    int decoys;        /* 3 */
    bool walk;
    bool paper;
    uint32_t secret;    /* last word of the key's seed */
    uint64_t init;      /* seed of the original's weights */
    uint64_t data;      /* of the data */
    int64_t pool_first; /* the pool's first row */
} job_recipe;

typedef struct {
    char job[512], key[512], data[600];
    amg_evidence e;
    amg_audit_options options;
    amg_findings findings;
    amg_attack_task task;
} audit_bench;

/* Images whose pixels go with their neighbours', so that no two are alike. */
static inline void write_images(const char *dir, uint64_t seed)
{
    const int64_t dims[3] = {1, JOB_SIDE, JOB_SIDE};
    const int64_t values = JOB_SIDE * JOB_SIDE;
    uint8_t *x = malloc((size_t)(JOB_POOL * values));
    int64_t *labels = malloc(JOB_POOL * sizeof *labels);
    amg_rng rng = amg_rng_init(seed, 0);
    for (int64_t i = 0; i < JOB_POOL; i++) {
        labels[i] = (int64_t)amg_rng_below(&rng, 10);
        double v = 128;
        for (int64_t j = 0; j < values; j++) {
            v += 24 * amg_rng_normal(&rng) - .05 * (v - 128);
            x[i * values + j] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
    amg_dataset_close(make_set(dir, "data", AMG_U8, JOB_POOL, dims, x, labels, ""));
    free(x);
    free(labels);
}

/* Makes the job in the folder dir, without opening it. */
static inline void make_job(audit_bench *b, const char *dir, const job_recipe *r)
{
    char model[512], train[700], covers[700], hex[65];
    const char *name = r->name ? r->name : "job";
    amg_obfuscate_result result;
    amg_error err = {0};
    *b = (audit_bench){0};
    snprintf(b->job, sizeof b->job, "%s/%s", dir, name);
    snprintf(b->key, sizeof b->key, "%s/%s.key", dir, name);
    snprintf(b->data, sizeof b->data, "npy:%s/data-x.npy,%s/data-y.npy", dir, dir);
    snprintf(model, sizeof model, "%s/model.onnx", dir);
    snprintf(train, sizeof train, "%s[0:%d]", b->data, JOB_ROWS);
    snprintf(covers, sizeof covers, "%s[%d:%d]", b->data,
             (int)(JOB_ROWS + r->pool_first), JOB_POOL);
    snprintf(hex, sizeof hex, "%064x", r->secret + 7);
    write_images(dir, r->data + 3);
    write_zoo(model, (amg_zoo_options){.name = r->model ? r->model : "lenet",
                                       .channels = 1,
                                       .height = JOB_SIDE,
                                       .width = JOB_SIDE,
                                       .num_classes = 10,
                                       .seed = r->init + 5});
    const amg_obfuscate_options o = {
        .model = model,
        .train = train,
        .covers = r->paper ? NULL : covers,
        .num_decoys = r->decoys ? r->decoys : 3,
        .decoys = {.arch = r->walk ? AMG_DECOY_WALK : AMG_DECOY_SAME},
        .mode = r->paper ? AMG_MODE_PAPER : AMG_MODE_STREAMS,
        .amount = r->paper ? .5 : 0,
        .key = b->key,
        .seed_hex = hex,
        .out = b->job,
        .task_by_data = true};
    if (amg_obfuscate(&o, NULL, &result, &err)) fail_msg("%s: %s", err.where, err.what);
}

static inline void set_task(audit_bench *b)
{
    b->options.job = b->job;
    b->task = (amg_attack_task){
        .evidence = &b->e, .options = &b->options, .findings = &b->findings, .seed = 1};
}

static inline void open_evidence(audit_bench *b, bool truth)
{
    amg_error err = {0};
    const amg_evidence_options o = {.job = b->job, .key = truth ? b->key : NULL};
    if (amg_evidence_open(&o, &b->e, &err)) fail_msg("%s: %s", err.where, err.what);
    set_task(b);
}

static inline void open_audit(audit_bench *b, const char *dir, const job_recipe *r)
{
    make_job(b, dir, r);
    open_evidence(b, true);
}

static inline void close_audit(audit_bench *b)
{
    amg_evidence_close(&b->e);
    amg_findings_clear(&b->findings);
}

static inline void run_attack(audit_bench *b, amg_attack_fn attack)
{
    amg_error err = {0};
    amg_findings_clear(&b->findings);
    if (attack(&b->task, &err)) fail_msg("%s: %s", err.where, err.what);
}

static inline const amg_finding *find_metric(const audit_bench *b, const char *metric)
{
    for (int i = 0; i < b->findings.count; i++)
        if (!strcmp(b->findings.items[i].metric, metric)) return &b->findings.items[i];
    fail_msg("no finding \"%s\"", metric);
    abort(); /* gcc does not know that cmocka never returns */
}

static inline void assert_verdict(const audit_bench *b, const char *metric,
                                  amg_verdict verdict)
{
    const amg_finding *f = find_metric(b, metric);
    if (f->verdict != verdict)
        fail_msg("%s: %s (%g), expected %s: %s", metric, amg_verdict_name(f->verdict),
                 f->value, amg_verdict_name(verdict), f->text);
}

/* metric: the one that may fail; NULL: none. */
static inline void assert_no_failure_but(const audit_bench *b, const char *metric)
{
    for (int i = 0; i < b->findings.count; i++) {
        const amg_finding *f = &b->findings.items[i];
        if (f->verdict == AMG_VERDICT_FAIL && (!metric || strcmp(f->metric, metric)))
            fail_msg("%s: %s", f->metric, f->text);
    }
}

static inline void assert_no_failure(const audit_bench *b)
{
    assert_no_failure_but(b, NULL);
}

#endif
