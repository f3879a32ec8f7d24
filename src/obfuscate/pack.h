/* `amalgam pack`: several owners' models and data -> one job, in which each is the
 * others' cover, and a key for each. Nobody pays for decoys: the job computes what the
 * owners' trainings would. */
#ifndef AMG_OBFUSCATE_PACK_H
#define AMG_OBFUSCATE_PACK_H

#include "obfuscate/obfuscate.h"

#define AMG_MAX_OWNERS 64

typedef struct {
    /* One for each owner, [num_owners] of 2 .. AMG_MAX_OWNERS: model, train, val (all
     * or none), task, keep_*, window, preprocess, key, seed_hex, passphrase, note, and
     * open data sets; the rest is not read. Keys differ. */
    const amg_obfuscate_options *owners;
    int num_owners;
    const char *out;      /* job folder to make */
    const char *seed_hex; /* of the job's own secret, for tests; NULL: the system's */
    size_t shard_bytes;
} amg_pack_options;

typedef struct {
    amg_task task;
    int num_owners;
    int64_t num_train, num_val;   /* of each owner */
    int64_t dims[3], out_dims[3]; /* as in amg_obfuscate_result */
    double compute_factor;        /* FLOPs of the job / the owners' together */
    int64_t own_params[AMG_MAX_OWNERS], job_params;
    int64_t job_bytes;
    double seconds;
} amg_pack_result;

/* Makes OUT and all keys, or nothing. The owners' samples are alike in shape, type,
 * task and targets' shape, and as many in train and val (AMG_MISMATCH says which are
 * not). Which slot is whose is drawn from a secret that is in no key: a key opens its
 * owner's part. But one owner's key and data tell the owner which streams are left to
 * the others. */
AMG_MUST_CHECK amg_status amg_pack(const amg_pack_options *options,
                                   const amg_progress *progress,
                                   amg_pack_result *result, amg_error *err);
#endif
