/* The dataset augmenter: private samples + covers (or noise) -> shards of augmented
 * samples.
 *
 *   sample i of the original ─┐
 *   cover of decoy 1 ─────────┼─ scatter by the plan's select indices ─► x[i]
 * (C,H',W'), y[i] (k+1 targets) cover of decoy 2 ────────┘
 *
 * Shard by shard in bounded memory; the bytes are a function of (key, data) alone. */
#ifndef AMG_OBFUSCATE_AUGMENT_DATA_H
#define AMG_OBFUSCATE_AUGMENT_DATA_H

#include "amalgam/progress.h"
#include "formats/dataset.h"
#include "formats/manifest.h"
#include "obfuscate/covers.h"
#include "obfuscate/noise.h"
#include "obfuscate/plan.h"

typedef struct {
    const amg_secret *secret;
    const amg_obf_plan *plan;
    const amg_dataset *data; /* the private samples of one split */
    /* Streams: the pool and, per decoy in slot order, its rows [k][samples]: one
     * split's array of an amg_cover_plan. NULL in paper mode. */
    const amg_dataset *covers;
    const int64_t *cover_rows;
    const amg_noise_law *noise; /* paper mode: fitted to the training split */
    /* Packed: each slot's samples, in slot order, as many in each; data is one of them.
     * Else NULL. */
    const amg_dataset *const *sets;
    int64_t vocab; /* samples are tokens below this, also where they keep their numbers;
                      0: not checked (a slot's own vocab always is) */
    int num_parts; /* of AMG_LOSS_SUM: what its targets must be; else 0 */
    const amg_loss_part *parts;
    const char *split;  /* "train" or "val": file names data/SPLIT-x-00000.npy */
    size_t shard_bytes; /* 0: 32 MiB */
} amg_augment_options;

/* Writes the shards into JOB_DIR/data (made if missing) and describes them in *split
 * (strings in m->arena). m's task and target say what y holds: a column of targets for
 * each sub-network, in tasks without targets no y at all. Data, covers, plan and target
 * must agree in shape and dtype, labels must be below the plan's classes and tokens in
 * the vocabulary (AMG_MISMATCH). Tokens are written as the slot's map numbers them;
 * noise as the original's. Progress: stage "augment", samples. On failure every file
 * made is removed. Memory: three chunks of at most 64 MiB (or of 128 augmented
 * samples, if those are more) and a tile of 64 augmented samples per thread. */
AMG_MUST_CHECK amg_status amg_augment_data(const amg_augment_options *options,
                                           const char *job_dir, amg_manifest *m,
                                           amg_split *split,
                                           const amg_progress *progress,
                                           amg_error *err);

/* The kernel, for benchmarks and tests: num samples of each stream [num][num_values]
 * (elements of elem bytes, 1 or 4) into out [num][num_positions]: out[i][select[s][j]]
 * = streams[s][i][j]. A stream may be NULL: its positions stay as they are (paper
 * mode). Single-threaded; callers split by sample, best in multiples of 64. */
void amg_scatter(const amg_obf_plan *plan, const void *const *streams, int64_t num,
                 size_t elem, void *out);
/* The inverse for one stream: in [num][num_positions] -> out [num][num_values]. */
void amg_select(const amg_obf_plan *plan, int subnet, const void *in, int64_t num,
                size_t elem, void *out);

#endif
