/* The one kernel of the data augmenter: turns a block of 64 x 64 bytes. What the block
 * means and where it goes is scatter.c's business. */
#ifndef AMG_OBFUSCATE_TURN_H
#define AMG_OBFUSCATE_TURN_H

#include <stddef.h>
#include <stdint.h>

#define AMG_TURN_SIDE 64 /* one cache line */

/* Rows of a block: row r are the 64 bytes at base + index[r] * stride. Rows need no
 * alignment; rows that are written may repeat if they get the same bytes. */
typedef struct {
    const uint8_t *base;
    size_t stride;
    const uint32_t *index; /* [64] */
} amg_turn_source;
typedef struct {
    uint8_t *base;
    size_t stride;
    const uint32_t *index; /* [64] */
} amg_turn_target;

/* Byte c of row r of from becomes byte r of row c of to. No overlap. */
typedef void amg_turn_fn(amg_turn_source from, amg_turn_target to);

/* One way to do it: all of them give the same bytes. */
typedef struct {
    const char *name; /* "plain", "avx2", "avx512" */
    amg_turn_fn *turn;
    /* The same, past the caches: for large results that are not read soon. Rows of to
     * begin on multiples of 64 bytes. NULL where nothing is gained. */
    amg_turn_fn *turn_past;
} amg_turn_path;

/* The paths that this processor can run, the fastest last; returns how many. */
int amg_turn_paths(const amg_turn_path **paths);

#endif
