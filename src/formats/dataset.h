/* Data sets of labelled images behind one interface: IDX (plain, .gz), CIFAR-10/100
 * binary, folders of PNG/JPEG by class, a pair x.npy,y.npy. Random access; nothing is
 * loaded whole (a .gz file is unpacked once into an unlinked temporary file and
 * mapped).
 *
 * DATA as users write it:  [KIND:]PATH[@SPLIT][PART]      (docs/datasets.md)
 *     KIND   idx | cifar | folder | npy; without it recognised from what PATH holds
 *     SPLIT  train | test | val; without it the first of these that the set has
 *     PART   [A:B] rows A to B-1 · [P%:seed=S] the first P percent of a keyed shuffle ·
 *            [P%-Q%:seed=S] from P to Q percent of it: parts of one seed that do not
 *            overlap are disjoint. Rows of a part keep the set's own order.
 */
#ifndef AMG_FORMATS_DATASET_H
#define AMG_FORMATS_DATASET_H

#include "base/tensor.h"

typedef struct amg_dataset amg_dataset;

/* What a data set holds. A sample is [C,H,W] row-major, dtype AMG_U8 or AMG_F32
 * (images: U8; grey: C=1). Labels are 0 .. num_classes-1. */
typedef struct {
    const char *kind; /* "idx", "cifar", "folder", "npy" */
    amg_dtype dtype;
    int64_t num_samples; /* after the part was taken */
    int64_t dims[3];     /* C, H, W */
    int64_t num_classes; /* largest label of the whole set + 1, or the set's own list */
    size_t sample_bytes;
} amg_dataset_info;

/* Opens and checks every header; with a folder, the first image fixes the shape and
 * every later one of another shape is an error when read. err->hint lists the kinds if
 * none matched. */
AMG_MUST_CHECK amg_status amg_dataset_open(const char *spec, amg_dataset **out,
                                           amg_error *err);
void amg_dataset_close(amg_dataset *ds);
const amg_dataset_info *amg_dataset_get_info(const amg_dataset *ds);
/* Class name, NULL where the set has none. Lives as long as ds. */
const char *amg_dataset_class_name(const amg_dataset *ds, int64_t label);
/* Row of the underlying file set that sample i is: equal rows of equal sources are the
 * same sample. */
int64_t amg_dataset_source_row(const amg_dataset *ds, int64_t i);
/* Canonical name of the source (real path and split) without the part; for "same pool"
 * checks. */
const char *amg_dataset_source(const amg_dataset *ds);

/* Reads sample i: x receives sample_bytes, *label the class; either may be NULL.
 * Thread-safe. */
AMG_MUST_CHECK amg_status amg_dataset_read(const amg_dataset *ds, int64_t i, void *x,
                                           int64_t *label, amg_error *err);

#endif
