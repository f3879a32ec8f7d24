/* Where batches come from: a job's shards, a data set, or one sub-network's view of a
 * job. */
#ifndef AMG_ENGINE_SOURCE_H
#define AMG_ENGINE_SOURCE_H

#include "formats/dataset.h"
#include "formats/manifest.h"

/* A source of samples. read fills x (sample_bytes) and targets
 * [num_columns][target_count], elements of 4 bytes: int32 labels, each checked to be in
 * its head's range by whoever made the source, or finite floats. Thread-safe. A struct
 * of functions so that the owner's side can supply one of its own (verify trains the
 * original alone on its stream of the job). */
typedef struct amg_source {
    void *self;
    amg_dtype dtype;
    int rank;
    int64_t dims[AMG_MAX_RANK]; /* of one sample */
    size_t sample_bytes;
    int64_t num_samples;
    int num_columns;        /* of targets; 0 in tasks without targets */
    amg_dtype target_dtype; /* AMG_I32, AMG_F32; AMG_DTYPE_NONE without targets */
    int target_rank;
    int64_t target_dims[AMG_MAX_RANK]; /* of one column of one sample */
    int64_t target_count;              /* their product; 0 without targets */
    bool has_pad; /* of a data set of tokens: pad fills up short samples */
    int64_t pad;
    amg_status (*read)(const struct amg_source *s, int64_t i, void *x, void *targets,
                       amg_error *err);
    void (*close)(struct amg_source *s);
} amg_source;

/* Opens the shards of one split of a job (mapped, shapes and targets checked). */
AMG_MUST_CHECK amg_status amg_source_open_job(const char *job_dir,
                                              const amg_manifest *m,
                                              const amg_split *split, amg_source *out,
                                              amg_error *err);
/* A data set with its target as the one column; labels must be below num_classes (0:
 * the set's own count). The second form takes a data set that stays open until the
 * source is closed, the third owns it, also on failure. */
AMG_MUST_CHECK amg_status amg_source_open_dataset(const char *spec, int64_t num_classes,
                                                  amg_source *out, amg_error *err);
AMG_MUST_CHECK amg_status amg_source_from_dataset(const amg_dataset *ds,
                                                  int64_t num_classes, amg_source *out,
                                                  amg_error *err);
AMG_MUST_CHECK amg_status amg_source_own_dataset(amg_dataset *ds, int64_t num_classes,
                                                 amg_source *out, amg_error *err);
void amg_source_close(amg_source *s); /* zeroed is fine */

/* Order of samples in one epoch: a permutation that is a pure function of (seed, epoch,
 * n). Same for every sub-network and for plain training. */
void amg_epoch_order(uint64_t seed, int64_t epoch, int64_t n, int64_t *order);

#endif
