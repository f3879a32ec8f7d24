/* What must hold between private data and pools before a cover is chosen, and how the
 * covers' rows must follow each other. Reads no sample. */
#ifndef AMG_OBFUSCATE_COVER_CHECKS_H
#define AMG_OBFUSCATE_COVER_CHECKS_H

#include "obfuscate/covers.h"

/* "training data", "cover pool": what a split's sets are called in errors. */
extern const char *const amg_cover_data_names[AMG_COVER_SPLITS];
extern const char *const amg_cover_pool_names[AMG_COVER_SPLITS];

/* Shapes, rows in common, and the chains of windows (covers.h). runs[s]: whether split
 * s takes stretches of its pool, not rows at random. AMG_MISMATCH: see covers.h. */
AMG_MUST_CHECK amg_status amg_cover_check(const amg_cover_split *splits, int num_splits,
                                          bool runs[AMG_COVER_SPLITS], amg_error *err);

#endif
