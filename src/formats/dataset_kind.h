/* What a kind of data set is to dataset.c: one descriptor. A new kind of files is a
 * file with one of these and a row in dataset.c's table. A private header of formats/.
 */
#ifndef AMG_FORMATS_DATASET_KIND_H
#define AMG_FORMATS_DATASET_KIND_H

#include <stdbool.h>

#include "formats/dataset.h"

/* Labels above this are taken for damage: job files store labels as i32. */
#define AMG_MAX_LABEL 0x7ffffffe

typedef enum {
    AMG_SPLIT_NONE, /* none asked for; or: the set has no splits */
    AMG_SPLIT_TRAIN,
    AMG_SPLIT_TEST,
    AMG_SPLIT_VAL,
    AMG_SPLIT_COUNT
} amg_dataset_split;

typedef struct {
    const char *name;  /* as in "idx:PATH" */
    const char *holds; /* what PATH is, one phrase for hints */
    bool is_folder;    /* PATH is one folder, not a pair of files */

    /* Whether PATH looks like this kind: names only, no content. */
    amg_status (*recognise)(const char *path, bool *yes, amg_error *err);

    /* Opens a split and checks every header. *split: the one asked for, then the one
     * opened. Fills info but kind. *set is freed by close; NULL is not a set. */
    amg_status (*open)(const char *path, amg_dataset_split *split, void **set,
                       amg_dataset_info *info, amg_error *err);
    /* In place of open, for kinds whose samples are cut by a window. */
    amg_status (*open_window)(const char *path, amg_dataset_split *split,
                              const amg_window *window, void **set,
                              amg_dataset_info *info, amg_error *err);
    void (*close)(void *set);

    /* Row of the split, 0 <= row < num_samples; x and y may be NULL. Thread-safe. */
    amg_status (*read)(const void *set, int64_t row, void *x, void *y, amg_error *err);
    /* NULL where rows are read one by one; else num of them at once. Thread-safe. */
    amg_status (*read_many)(const void *set, const int64_t *rows, int64_t num, void *x,
                            void *y, amg_error *err);

    /* NULL where the kind has no names; else a name or NULL, label is in range. */
    const char *(*class_name)(const void *set, int64_t label);

    /* What amg_dataset_begins_document says of a row; NULL: false. */
    bool (*begins_document)(const void *set, int64_t row);

    /* Row of the source that a row is; NULL: the same. */
    int64_t (*source_row)(const void *set, int64_t row);

    /* PATH without links and dots, heap. NULL: realpath of PATH itself. */
    amg_status (*real_path)(const char *path, char **out, amg_error *err);
} amg_dataset_kind;

/* Fills what a set of images [C,H,W] with one class each is to others, but the number
 * of classes and samples. */
void amg_dataset_describe_images(amg_dataset_info *info, amg_dtype dtype,
                                 const int64_t dims[3]);
/* Writes a class label as the one int32 that such a target is; y may be NULL. */
void amg_dataset_put_label(void *y, int64_t label);

/* A new data set of this kind; takes over set, and source (heap). NULL: no memory, and
 * nothing was taken. */
amg_dataset *amg_dataset_wrap(const amg_dataset_kind *kind, void *set,
                              const amg_dataset_info *info, char *source);

/* realpath on the library's heap. */
AMG_MUST_CHECK amg_status amg_dataset_real_path(const char *path, char **out,
                                                amg_error *err);

/* "train", "test", "val"; "" for AMG_SPLIT_NONE. */
const char *amg_split_name(amg_dataset_split split);
/* Picks the split asked for out of those present (bit 1 << split each); none asked: the
 * first present in the order train, test, val. AMG_NOT_FOUND names those present. */
AMG_MUST_CHECK amg_status amg_split_choose(const char *path, unsigned present,
                                           amg_dataset_split asked,
                                           amg_dataset_split *out, amg_error *err);

#endif
