/* Data sets of samples and their targets behind one interface: IDX (plain, .gz),
 * CIFAR-10/100 binary, folders of PNG/JPEG by class, x.npy with or without y.npy, sets
 * of tokens, and a function of the caller's own. Random access; nothing is loaded whole
 * (a .gz file is unpacked once into an unlinked temporary file and mapped).
 *
 * DATA as users write it:  [KIND:]PATH[@SPLIT][PART]      (docs/datasets.md)
 *     KIND   idx | cifar | folder | npy | text; without it recognised from what PATH
 *            holds (text: a token set, formats/token_set.h)
 *     SPLIT  train | test | val; without it the first of these that the set has
 *     PART   [A:B] rows A to B-1 · [P%:seed=S] the first P percent of a keyed shuffle ·
 *            [P%-Q%:seed=S] from P to Q percent of it: parts of one seed that do not
 *            overlap are disjoint. Rows of a part keep the set's own order.
 */
#ifndef AMG_FORMATS_DATASET_H
#define AMG_FORMATS_DATASET_H

#include "base/tensor.h"

typedef struct amg_dataset amg_dataset;

/* Samples have 1 to this many dims: a shard adds the rows, a job the batch. */
#define AMG_MAX_SAMPLE_RANK 6

/* What a data set holds. A sample is row-major, of any shape; images are U8 [C,H,W]
 * (grey: C=1), tokens and indices I32. Its target is
 *     AMG_I32         class labels 0 .. num_classes-1: one (rank 0) or a map of them
 *     AMG_F32         numbers to predict, of any shape
 *     AMG_DTYPE_NONE  none: the samples are for reconstruction (target_bytes 0) */
typedef struct {
    const char *kind;    /* "idx", "cifar", "folder", "npy", "text", "callbacks",
                            "mapped" */
    amg_dtype dtype;     /* AMG_U8, AMG_F32 or AMG_I32 */
    int64_t num_samples; /* after the part was taken */
    int rank;            /* 1 .. AMG_MAX_SAMPLE_RANK */
    int64_t dims[AMG_MAX_RANK];
    int64_t num_classes; /* largest label of the whole set + 1, or the set's own list;
                            0 without class labels */
    size_t sample_bytes;
    amg_dtype target_dtype;
    int target_rank; /* 0 .. AMG_MAX_SAMPLE_RANK */
    int64_t target_dims[AMG_MAX_RANK];
    size_t target_bytes;
    /* Samples of tokens: each is below vocab_size; pad fills up short ones, or is
     * AMG_NO_TOKEN; vocabulary: SHA-256 in hex of what names them, "" if not known. 0
     * otherwise. */
    int64_t vocab_size, pad;
    char vocabulary[65];
    /* Rows are windows of one stream, each beginning so many tokens behind the one
     * before; 0: they are not, or it is not known. */
    int64_t stride;
} amg_dataset_info;

/* How a token set is cut into samples; other kinds have no use for it. seq: how many
 * tokens a network sees.
 *   without labels   windows of seq + 1 tokens (the last ones are what a language model
 *                    predicts next), each beginning stride tokens behind the one before
 *                    (0: seq); an incomplete last one is left out
 *   with labels      a document each: its first seq tokens, filled up with pad
 * Windows less than seq + 1 apart share tokens, two neighbours at the default stride
 * one: amg_dataset_source_row says of a window where it begins, so that equal ones are
 * the same sample and others overlap if less than seq + 1 apart. What that means for
 * covers is in docs/datasets.md. */
typedef struct {
    int64_t seq, stride;
} amg_window;

/* A data set made of a function of the caller's own. source names it (the same name:
 * the same rows); copied. info: all but kind, sample_bytes and target_bytes, which are
 * worked out here; num_classes 0 with class labels: not known, whoever uses a label
 * checks it. context is borrowed until the data set is closed. */
typedef struct {
    amg_dataset_info info;
    const char *source;
    void *context;
    /* Rows rows[0 .. num-1] into x [num][sample_bytes] and y [num][target_bytes];
     * either may be NULL. Never called from two threads at once. */
    amg_status (*read)(void *context, const int64_t *rows, int64_t num, void *x,
                       void *y, amg_error *err);
} amg_dataset_callbacks;

/* Opens and checks every header; with a folder, the first image fixes the shape and
 * every later one of another shape is an error when read. err->hint lists the kinds if
 * none matched. */
AMG_MUST_CHECK amg_status amg_dataset_open(const char *spec, amg_dataset **out,
                                           amg_error *err);
/* The same with a window for token sets, which amg_dataset_open refuses (AMG_INVALID);
 * window NULL: as amg_dataset_open. */
AMG_MUST_CHECK amg_status amg_dataset_open_window(const char *spec,
                                                  const amg_window *window,
                                                  amg_dataset **out, amg_error *err);
AMG_MUST_CHECK amg_status amg_dataset_from_callbacks(const amg_dataset_callbacks *c,
                                                     amg_dataset **out, amg_error *err);
/* The values of a sample x of the inner set's type, all of them, into out. Called from
 * several threads. */
typedef amg_status (*amg_dataset_map_fn)(const void *context, const void *x, float *out,
                                         amg_error *err);
/* A data set (of no tokens) with inner's targets, source and rows, whose samples are
 * F32 of the same dims through a function. inner and context are borrowed until it is
 * closed. */
AMG_MUST_CHECK amg_status amg_dataset_map(const amg_dataset *inner,
                                          amg_dataset_map_fn map, const void *context,
                                          amg_dataset **out, amg_error *err);
void amg_dataset_close(amg_dataset *ds);
const amg_dataset_info *amg_dataset_get_info(const amg_dataset *ds);
/* Whether samples are what a model takes that expects dims (without the batch): equal,
 * or equal but for a first dim of 1 that one of them leaves out (grey images). */
bool amg_dataset_shape_fits(const amg_dataset_info *info, int rank,
                            const int64_t *dims);
/* Class name, NULL where the set has none. Lives as long as ds. */
const char *amg_dataset_class_name(const amg_dataset *ds, int64_t label);
/* Row of the underlying file set that sample i is (of a window: its first token,
 * whatever the stride): equal rows of equal sources are the same sample, where their
 * dims are equal. Rows ascend with i. */
int64_t amg_dataset_source_row(const amg_dataset *ds, int64_t i);
/* Whether sample i + 1 (there is one) is the window after sample i; false where samples
 * are no windows. */
bool amg_dataset_continues(const amg_dataset *ds, int64_t i);
/* Whether sample i begins where a document of the stream does; false where documents
 * are not known. */
bool amg_dataset_begins_document(const amg_dataset *ds, int64_t i);
/* Canonical name of the source (real path and split) without the part; for "same pool"
 * checks. */
const char *amg_dataset_source(const amg_dataset *ds);

/* Reads sample i: x receives sample_bytes, y target_bytes (one int32 for a plain class
 * label); either may be NULL. Labels are checked to be in range, floats to be finite.
 * Thread-safe. */
AMG_MUST_CHECK amg_status amg_dataset_read(const amg_dataset *ds, int64_t i, void *x,
                                           void *y, amg_error *err);
/* The same for samples ids[0 .. num-1], one after the other in x and y; in one call
 * where the data set is made of a function. */
AMG_MUST_CHECK amg_status amg_dataset_read_many(const amg_dataset *ds,
                                                const int64_t *ids, int64_t num,
                                                void *x, void *y, amg_error *err);
/* Whether reading many samples by one call is cheaper than by one call each. */
bool amg_dataset_reads_batches(const amg_dataset *ds);

#endif
