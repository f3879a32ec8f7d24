/* Pairing by class: covers of the same classes as the private samples, row by row. */
#ifndef AMG_OBFUSCATE_COVER_CLASSES_H
#define AMG_OBFUSCATE_COVER_CLASSES_H

#include "formats/dataset.h"

/* Classes of a set's samples: *out, heap [num_samples], the caller's. name is what the
 * set is, for errors. AMG_MISMATCH: its targets are not one class each. */
AMG_MUST_CHECK amg_status amg_cover_classes_read(const amg_dataset *ds,
                                                 const char *name, int32_t **out,
                                                 amg_error *err);

/* order [num], any rows of a set, becomes class by class, within a class as it was.
 * ends [num_classes] receives where each class ends. AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status amg_cover_classes_group(const int32_t *class_of,
                                                  int num_classes, int64_t *order,
                                                  int64_t num, int64_t *ends,
                                                  amg_error *err);

/* rows [num] of a pool, as many of each class as like [num] has: they come to stand so
 * that row i is of class like[i], within a class in the pool's own order.
 * AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status amg_cover_classes_align(const int32_t *class_of,
                                                  int num_classes, const int32_t *like,
                                                  int64_t *rows, int64_t num,
                                                  amg_error *err);

#endif
