/* DATA as users write it, [KIND:]PATH[@SPLIT][PART], and the rows that a part takes.
 * dataset.h has the grammar. A private header of formats/. */
#ifndef AMG_FORMATS_DATASET_SPEC_H
#define AMG_FORMATS_DATASET_SPEC_H

#include "formats/dataset_kind.h"

/* Percentages are counted in millionths, so that 33.333333% is exact. */
#define AMG_PERCENT_UNIT 1000000

typedef enum { AMG_PART_ALL, AMG_PART_ROWS, AMG_PART_PERCENT } amg_part_form;

typedef struct {
    amg_part_form form;
    int64_t begin, end; /* rows, end -1: to the last; or millionths of a percent */
    uint64_t seed;
} amg_dataset_part;

/* A zeroed struct is valid for amg_dataset_spec_clear. */
typedef struct {
    char kind[16]; /* "" if not given */
    char *path;    /* heap */
    amg_dataset_split split;
    amg_dataset_part part;
} amg_dataset_spec;

/* AMG_INVALID with the offset in text where it went wrong. */
AMG_MUST_CHECK amg_status amg_dataset_spec_parse(const char *text,
                                                 amg_dataset_spec *out, amg_error *err);
void amg_dataset_spec_clear(amg_dataset_spec *spec);

/* The rows of a part of a set of num_rows, ascending: *rows is a heap array of *count,
 * or NULL for the *count rows from *first on. Parts of one seed whose percentages do
 * not overlap are disjoint, and adjoining ones leave no row out. AMG_INVALID if it
 * leaves the set or is empty. */
AMG_MUST_CHECK amg_status amg_dataset_part_rows(const amg_dataset_part *part,
                                                int64_t num_rows, const char *name,
                                                int64_t *first, int64_t *count,
                                                int64_t **rows, amg_error *err);

#endif
