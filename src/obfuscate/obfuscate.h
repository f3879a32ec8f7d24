/* `amalgam obfuscate`: model + data -> job folder + key file. */
#ifndef AMG_OBFUSCATE_OBFUSCATE_H
#define AMG_OBFUSCATE_OBFUSCATE_H

#include "key/keyfile.h"
#include "obfuscate/augment_data.h"
#include "obfuscate/augment_model.h"

typedef struct {
    const char *model;       /* ONNX */
    const char *train, *val; /* DATA; val may be NULL */
    const char *covers;      /* --decoys-from; NULL in paper mode */
    const char *val_covers;  /* NULL: val's covers come from covers too */
    /* Open data sets instead of the four above; borrowed until return. */
    amg_dataset *train_set, *val_set, *cover_set, *val_cover_set;
    amg_task task;
    bool task_by_data; /* instead of task: what the targets of the training data are */
    bool keep_classes; /* no permutation of classes */
    bool keep_tokens;  /* no permutation of the vocabulary */
    bool pair_classes; /* each cover is of the class of the sample it stands beside */
    bool symmetry;     /* values of a sample change places (docs/symmetry.md) */
    bool rotate;       /* … or are rotated, whatever symmetry is */
    amg_loss_options loss;
    const char *const *freeze; /* patterns of parameters that do not train, as in
                                  graph/freeze.h */
    int num_freeze;
    bool freeze_norm_stats; /* … nor do their batch norms' running statistics move */
    amg_window window;      /* token sets; seq 0: as many tokens as the model takes */
    int num_decoys;         /* 0: 1 */
    amg_mode mode;
    double amount; /* paper mode; 0: 0.5 */
    amg_noise noise;
    const char *noise_values;  /* file of numbers, one per line or .npy */
    amg_decoy_options decoys;  /* model_amount 0 in paper mode: 0.5 */
    amg_preprocess preprocess; /* normalisation; data_dtype is set from the data */
    const char *key;           /* key file to make */
    const char *seed_hex;      /* NULL: the system's generator */
    const amg_passphrase *passphrase;
    const char *note; /* sealed in the key as it is (UTF-8); NULL: none */
    const char *out;  /* job folder to make */
    size_t shard_bytes;
} amg_obfuscate_options;

/* What the choice costs and hides, for the program to print. */
typedef struct {
    amg_task task;
    int num_decoys;
    int64_t num_train, num_val;
    int64_t dims[3], out_dims[3]; /* as the plan sees samples */
    double compute_factor;        /* FLOPs of the job / the original's */
    double upload_factor;         /* bytes of a job sample / a sample as it was */
    int64_t own_params, job_params;
    bool labels_permuted, tokens_permuted;
    int64_t block[2];         /* within which values change places; 0, 0: they do not */
    bool patches;             /* such blocks change places, too */
    bool rotated;             /* values are rotated within them instead */
    const char *patches_kept; /* there are several, and they do not: why, for people */
    const char *tokens_kept;  /* samples are tokens that keep their numbers: why, for
                                 people; else NULL */
    int64_t vocab; /* samples are tokens of a set with so many; 0: they are not */
    const char *textbook; /* the catalogue's name of the model; NULL: it has none */
    bool same_arch; /* decoys have the model's architecture: as asked for, or because it
                       is a textbook network, or starts from weights of its own, or a
                       walk finds nothing to change, or not so that a decoy remains a
                       network of this job */
    int num_frozen; /* parameters of the model that do not train */
    int num_unknown_init;    /* parameters of the model that follow no known law */
    bool same_start;         /* decoys start from the model's own weights */
    int64_t num_passed_over; /* see amg_cover_plan */
    int64_t job_bytes;
    double seconds;
} amg_obfuscate_result;

/* Makes OUT and KEY, or neither. OUT is built as OUT.tmp-XXXXXX beside it and renamed
 * last; the key is written first, so that no job exists without its key, and removed
 * again on failure. AMG_UNSAFE_PATH if KEY lies inside OUT. */
AMG_MUST_CHECK amg_status amg_obfuscate(const amg_obfuscate_options *options,
                                        const amg_progress *progress,
                                        amg_obfuscate_result *result, amg_error *err);
#endif
