/* The features of all streams' samples at once, row beside row: what naturalness ranks
 * and c2st learns from. */
#ifndef AMG_AUDIT_FEATURE_TABLE_H
#define AMG_AUDIT_FEATURE_TABLE_H

#include "amalgam/progress.h"
#include "audit/sample_features.h"

typedef struct {
    int num_streams, count;
    int64_t num_rows; /* the evidence's first */
    const char *names[AMG_MAX_FEATURES];
    double *x; /* [num_streams][num_rows][count] */
} amg_feature_table;

/* As many rows as max_samples samples over all streams allow. stage: of progress. */
AMG_MUST_CHECK amg_status amg_feature_table_find(const amg_evidence *e,
                                                 int64_t max_samples, const char *stage,
                                                 const amg_progress *progress,
                                                 amg_feature_table *out,
                                                 amg_error *err);
void amg_feature_table_clear(amg_feature_table *t); /* zeroed is fine */

/* Features of one sample [count]. */
static inline const double *amg_feature_row(const amg_feature_table *t, int stream,
                                            int64_t row)
{
    return t->x + (stream * t->num_rows + row) * t->count;
}

#endif
