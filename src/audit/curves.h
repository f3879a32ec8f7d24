/* Loss curves: reads JOB/out/metrics.jsonl (engine/metrics.h), which comes back from
 * the cloud and is checked as such. */
#ifndef AMG_AUDIT_CURVES_H
#define AMG_AUDIT_CURVES_H

#include <stdbool.h>
#include <stdint.h>

#include "amalgam/status.h"

typedef enum {
    AMG_CURVE_STEPS,      /* training loss, means of some steps each */
    AMG_CURVE_EPOCHS,     /* training loss, an epoch each */
    AMG_CURVE_VALIDATION, /* validation loss, an epoch each */
    AMG_NUM_CURVES
} amg_curve_kind;

/* One kind of loss of every head over the steps. */
typedef struct {
    int64_t count;
    int64_t capacity; /* points there is room for */
    double *step;     /* [count], not falling */
    double *loss;     /* [count][num_heads]; NaN: not told */
} amg_curve;

typedef struct {
    int num_heads;
    amg_curve kinds[AMG_NUM_CURVES];
} amg_curves;

/* AMG_NOT_FOUND without a file: the job was not trained. A line cut off at the end is
 * passed over; AMG_MALFORMED: another that is none of its form, AMG_MISMATCH: another
 * number of heads. */
AMG_MUST_CHECK amg_status amg_curves_read(const char *job, int num_heads,
                                          amg_curves *out, amg_error *err);
void amg_curves_clear(amg_curves *c); /* zeroed is fine */

#endif
