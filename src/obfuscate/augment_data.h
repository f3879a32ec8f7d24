/* The dataset augmenter for images: private samples + covers (or noise) -> shards of
 * augmented samples.
 *
 *   sample i of the original ─┐
 *   cover of decoy 1 ─────────┼─ scatter by the plan's select indices ─► x[i]
 * (C,H',W'), y[i] (k+1 labels) cover of decoy 2 ─────────┘
 *
 * Shard by shard in bounded memory; the bytes are a function of (key, data) alone. */
#ifndef AMG_OBFUSCATE_AUGMENT_DATA_H
#define AMG_OBFUSCATE_AUGMENT_DATA_H

#include "amalgam/progress.h"
#include "formats/dataset.h"
#include "formats/manifest.h"
#include "obfuscate/plan.h"

typedef struct {
    const amg_secret *secret;
    const amg_obf_plan *plan;
    const amg_dataset *data;   /* the private samples of one split */
    const amg_dataset *covers; /* pool (streams mode); NULL in paper mode */
    int64_t cover_first; /* pool samples already used by earlier splits (in the pool's
                            keyed order) */
    amg_noise noise;     /* paper mode */
    const float *noise_values; /* AMG_NOISE_VALUES: the values to draw from */
    int64_t num_noise_values;
    const char *split;  /* "train" or "val": file names data/SPLIT-x-00000.npy */
    size_t shard_bytes; /* 0: 64 MiB */
} amg_augment_options;

/* Writes the shards into JOB_DIR/data and describes them in *split (strings in
 * m->arena). Streams need (k * samples) unused pool samples: AMG_MISMATCH says how many
 * are missing; a pool sample that is also a private sample (same source and row) is an
 * error. */
AMG_MUST_CHECK amg_status amg_augment_data(const amg_augment_options *options,
                                           const char *job_dir, amg_manifest *m,
                                           amg_split *split,
                                           const amg_progress *progress,
                                           amg_error *err);

/* The kernel, for benchmarks and tests: num samples of each stream [num][num_values]
 * (elements of elem bytes, 1 or 4) into out [num][num_positions]: out[i][select[s][j]]
 * = streams[s][i][j]. Single-threaded; callers split by sample. */
void amg_scatter(const amg_obf_plan *plan, const void *const *streams, int64_t num,
                 size_t elem, void *out);
/* The inverse for one stream: in [num][num_positions] -> out [num][num_values]. */
void amg_select(const amg_obf_plan *plan, int subnet, const void *in, int64_t num,
                size_t elem, void *out);

#endif
