/* CIFAR-10 and CIFAR-100 in their binary form; docs/datasets.md draws the records. */
#ifndef AMG_FORMATS_CIFAR_H
#define AMG_FORMATS_CIFAR_H

#include <stddef.h>

#include "formats/dataset_kind.h"

#define AMG_CIFAR_PIXELS 3072 /* [3,32,32] */

typedef enum { AMG_CIFAR_10, AMG_CIFAR_100 } amg_cifar_variant;

/* Checks the records of one file: whole records, labels (the fine ones of CIFAR-100,
 * the coarse ones too) in range. *num_records > 0. O(records). */
AMG_MUST_CHECK amg_status amg_cifar_parse(const void *data, size_t size_bytes,
                                          const char *name, amg_cifar_variant variant,
                                          int64_t *num_records, amg_error *err);
/* Splits batches.meta.txt or fine_label_names.txt into its names: text is changed in
 * place (line ends become 0), names[0 .. 9 or 99] point into it. Text holds size_bytes
 * and one byte more, which is overwritten. */
AMG_MUST_CHECK amg_status amg_cifar_parse_names(char *text, size_t size_bytes,
                                                const char *name,
                                                amg_cifar_variant variant,
                                                const char **names, amg_error *err);

extern const amg_dataset_kind amg_dataset_cifar;

#endif
