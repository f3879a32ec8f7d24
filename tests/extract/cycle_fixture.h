/* What tests of whole cycles share: where their files lie (a folder of its own, and
 * names in it), whether two are equal, and parameters of made-up models. */
#ifndef AMG_TESTS_CYCLE_FIXTURE_H
#define AMG_TESTS_CYCLE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amalgam/status.h"
#include "base/file.h"
#include "base/rng.h"
#include "graph/builder.h"

enum { PATH = 256 };

typedef struct {
    char dir[128];
    char model[PATH], key[PATH], job[PATH], weights[PATH], mine[PATH], alone[PATH];
    char train[2 * PATH], covers[2 * PATH];
    char val[2 * PATH], val_covers[2 * PATH]; /* where there are some */
} places;

static inline void must(amg_status st, const amg_error *err)
{
    if (st) fail_msg("%s: %s: %s", amg_status_name(st), err->where, err->what);
}

static inline void open_places(places *p)
{
    const char *tmp = getenv("TMPDIR");
    memset(p, 0, sizeof *p);
    snprintf(p->dir, sizeof p->dir, "%.100s/amg-cycle-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->model, PATH, "%s/model.onnx", p->dir);
    snprintf(p->key, PATH, "%s/job.key", p->dir);
    snprintf(p->job, PATH, "%s/job", p->dir);
    snprintf(p->weights, PATH, "%s/job/out/weights.safetensors", p->dir);
    snprintf(p->mine, PATH, "%s/extracted.onnx", p->dir);
    snprintf(p->alone, PATH, "%s/alone.onnx", p->dir);
}

static inline bool files_equal(const char *a, const char *b)
{
    char x[65], y[65];
    int64_t size;
    amg_error err = {0};
    must(amg_file_sha256(a, x, &size, &err), &err);
    must(amg_file_sha256(b, y, &size, &err), &err);
    return !strcmp(x, y);
}

/* Numbers evenly between -.2 and .2, others for each name (of two letters or more). */
static inline int parameter(amg_builder *b, const char *name, int rank,
                            const int64_t *dims)
{
    amg_tensor t;
    amg_rng rng = amg_rng_init(7, (uint64_t)name[0] * 256 + (uint64_t)name[1]);
    assert_int_equal(amg_tensor_new(AMG_F32, rank, dims, &t, NULL), AMG_OK);
    for (int64_t i = 0; i < amg_tensor_count(&t); i++)
        ((float *)t.data)[i] = amg_rng_uniform(&rng) * 0.4f - 0.2f;
    const int value = amg_builder_param(b, name, &t);
    amg_tensor_clear(&t);
    return value;
}

#endif
