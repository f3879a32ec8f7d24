/* The jackknife over blocks of rows. Consumes an evidence and a way to estimate from
 * its features, produces standard errors; must not know what is estimated. */
#include "audit/jackknife.h"

#include <math.h>

#include "base/alloc.h"
#include "base/progress.h"

enum { MOST_BLOCKS = 20 };

/* The estimates without rows first .. last-1. */
static amg_status leave_out(const amg_evidence *e, int64_t num_rows, int64_t first,
                            int64_t last, const char *stage, amg_estimate_fn estimate,
                            const void *context, double *out, amg_error *err)
{
    amg_evidence rest = *e;
    rest.skip_at = first;
    rest.skip = last - first;
    rest.num_rows = num_rows - rest.skip;
    amg_feature_table t = {0};
    const amg_status st =
        amg_feature_table_find(&rest, INT64_MAX, stage, NULL, &t, err);
    if (st == AMG_OK) estimate(context, &t, out);
    amg_feature_table_clear(&t);
    return st;
}

/* found [blocks][count] */
static double standard_error(const double *found, int blocks, int count, int i)
{
    double mean = 0, squares = 0;
    for (int b = 0; b < blocks; b++) mean += found[b * count + i] / blocks;
    for (int b = 0; b < blocks; b++) {
        const double d = found[b * count + i] - mean;
        squares += d * d;
    }
    return sqrt(squares * (blocks - 1) / blocks);
}

amg_status amg_jackknife(const amg_evidence *e, int64_t num_rows, const char *stage,
                         const amg_progress *progress, amg_estimate_fn estimate,
                         const void *context, int count, double *errors, int *degrees,
                         amg_error *err)
{
    const int blocks = num_rows / 2 < MOST_BLOCKS ? (int)(num_rows / 2) : MOST_BLOCKS;
    double *found = amg_malloc((size_t)blocks * (size_t)count * sizeof *found);
    if (!found)
        return amg_fail(err, AMG_NO_MEMORY, -1, stage, "no memory to repeat it");
    amg_status st = AMG_OK;
    for (int b = 0; b < blocks && st == AMG_OK; b++) {
        st = amg_tick(progress, stage, b, blocks, err);
        if (st == AMG_OK)
            st = leave_out(e, num_rows, b * num_rows / blocks,
                           (b + 1) * num_rows / blocks, stage, estimate, context,
                           found + b * count, err);
    }
    for (int i = 0; i < count && st == AMG_OK; i++)
        errors[i] = standard_error(found, blocks, count, i);
    *degrees = blocks - 1;
    amg_free(found);
    return st;
}
