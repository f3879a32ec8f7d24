/* The report's first pictures: one sample as its owner has it, as the cloud has it, and
 * each candidate that the job's selects make of it. Attacks add what they rebuild. */
#ifndef AMG_AUDIT_PICTURES_H
#define AMG_AUDIT_PICTURES_H

#include "audit/evidence.h"
#include "audit/finding.h"

/* Titles, for telling these pictures from an attack's. */
extern const char amg_picture_sample[], amg_picture_row[], amg_picture_candidate[];

/* Adds those of the evidence's first row; none where samples are no images. The sample
 * itself only with the truth. */
AMG_MUST_CHECK amg_status amg_audit_draw(const amg_evidence *e, amg_findings *f,
                                         amg_error *err);

/* Black and white of a row's pictures: bytes as they are, other numbers between the
 * row's smallest and largest. range > 0. */
void amg_picture_range(const amg_evidence *e, int64_t row, float *low, float *range);
/* Adds values [C,H,W] of a row in these shades (NULL: the whole row) as picture, whose
 * image and sample are set here. */
AMG_MUST_CHECK amg_status amg_picture_add(const amg_evidence *e, int64_t row,
                                          const int64_t dims[3], const float *values,
                                          amg_picture picture, amg_findings *f,
                                          amg_error *err);

#endif
