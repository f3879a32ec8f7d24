/* Features of one sample by which natural data differ from noise, and one source from
 * another: what naturalness ranks by, and c2st and shadow learn from. */
#ifndef AMG_AUDIT_SAMPLE_FEATURES_H
#define AMG_AUDIT_SAMPLE_FEATURES_H

#include "audit/evidence.h"

#define AMG_MAX_FEATURES 24

/* Those that fit the evidence (images, tokens, other numbers): how many, their names.
 */
typedef struct {
    int count;
    const char *names[AMG_MAX_FEATURES];
    void *state; /* tokens: counts of each stream; owned */
} amg_features;

AMG_MUST_CHECK amg_status amg_features_open(const amg_evidence *e, amg_features *out,
                                            amg_error *err);
/* out [num_rows][count] of one stream's rows first .. first+num-1 (indices into the
 * evidence), in parallel. */
AMG_MUST_CHECK amg_status amg_features_of(const amg_features *f, const amg_evidence *e,
                                          int stream, int64_t first, int64_t num,
                                          double *out, amg_error *err);
void amg_features_close(amg_features *f); /* zeroed is fine */

/* The same of a sample that stands in memory (images and numbers): values [C,H,W]. */
void amg_features_image(const float *values, const int64_t dims[3], double *out);
int amg_features_image_names(const char **names); /* how many */

#endif
