/* Features of a picture, and of any other numbers; values [C,H,W]. The first is the one
 * by which smaller means more natural. */
#ifndef AMG_AUDIT_IMAGE_FEATURES_H
#define AMG_AUDIT_IMAGE_FEATURES_H

#include <stdbool.h>
#include <stdint.h>
#include <zlib.h>

/* names [AMG_MAX_FEATURES]; how many. Those of numbers are the first of a picture's. */
int amg_image_feature_names(const char **names);
int amg_number_feature_names(const char **names);

/* Ready for amg_image_features, any number of times; ended by deflateEnd. False: no
 * memory (300 KiB). */
bool amg_deflate_start(z_stream *z);

/* z NULL: the compressed size is NaN. */
void amg_image_features(z_stream *z, const float *values, const int64_t dims[3],
                        double *out);
void amg_number_features(const float *values, const int64_t dims[3], double *out);

#endif
