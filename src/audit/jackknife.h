/* How far what is found in a table of token features scatters by chance. Each sample is
 * measured by the counts of its own stream, so samples are not independent of each
 * other: what one stream's luck does to its counts it does to all of its samples, and
 * errors that take rows for independent are too small by a third or a half. */
#ifndef AMG_AUDIT_JACKKNIFE_H
#define AMG_AUDIT_JACKKNIFE_H

#include "audit/feature_table.h"

/* Finds the numbers out[count] in a table. */
typedef void (*amg_estimate_fn)(const void *context, const amg_feature_table *t,
                                double *out);

/* errors [count]: standard errors of what estimate finds in the table of e's first
 * num_rows >= 4 rows, by the jackknife over blocks of neighbouring rows (Tukey 1958):
 * each in turn is left out, also of the counts. Rows of one text are neighbours.
 * *degrees: of freedom. Costs the table 20 times. stage: of progress. */
AMG_MUST_CHECK amg_status amg_jackknife(const amg_evidence *e, int64_t num_rows,
                                        const char *stage, const amg_progress *progress,
                                        amg_estimate_fn estimate, const void *context,
                                        int count, double *errors, int *degrees,
                                        amg_error *err);

#endif
