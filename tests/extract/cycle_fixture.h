/* Where the files of a test of whole cycles lie: a folder of its own, and names in it.
 */
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

#endif
