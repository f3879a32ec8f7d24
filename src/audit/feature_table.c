/* Fills a table of features, some rows of one stream at a time, so that the user can
 * stop it. Must not know what features mean. */
#include "audit/feature_table.h"

#include <math.h>

#include "base/alloc.h"
#include "base/progress.h"

enum { CHUNK = 1024 }; /* rows between two reports */

static amg_status fill(const amg_features *f, const amg_evidence *e, const char *stage,
                       const amg_progress *progress, amg_feature_table *t,
                       amg_error *err)
{
    const int64_t total = t->num_streams * t->num_rows;
    for (int s = 0; s < t->num_streams; s++)
        for (int64_t row = 0; row < t->num_rows; row += CHUNK) {
            amg_status st =
                amg_tick(progress, stage, s * t->num_rows + row, total, err);
            if (st) return st;
            const int64_t left = t->num_rows - row, num = left < CHUNK ? left : CHUNK;
            double *out = t->x + (s * t->num_rows + row) * t->count;
            st = amg_features_of(f, e, s, row, num, out, err);
            if (st != AMG_OK) return st;
        }
    return AMG_OK;
}

amg_status amg_feature_table_find(const amg_evidence *e, int64_t max_samples,
                                  const char *stage, const amg_progress *progress,
                                  amg_feature_table *out, amg_error *err)
{
    amg_features f = {0};
    amg_feature_table t = {.num_streams = e->num_streams, .num_rows = e->num_rows};
    if (t.num_rows > max_samples / t.num_streams)
        t.num_rows = max_samples / t.num_streams;
    amg_status st = amg_features_open(e, &f, err);
    if (st != AMG_OK) return st;
    t.count = f.count;
    for (int i = 0; i < f.count; i++) t.names[i] = f.names[i];
    const size_t samples = (size_t)t.num_streams * (size_t)t.num_rows;
    t.x = amg_calloc(samples, (size_t)t.count * sizeof *t.x);
    st = t.x ? fill(&f, e, stage, progress, &t, err)
             : amg_fail(err, AMG_NO_MEMORY, -1, stage, "no memory for features");
    amg_features_close(&f);
    if (st == AMG_OK)
        *out = t;
    else
        amg_feature_table_clear(&t);
    return st;
}

void amg_feature_table_clear(amg_feature_table *t)
{
    amg_free(t->x);
    *t = (amg_feature_table){0};
}
