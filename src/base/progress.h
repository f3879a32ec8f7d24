/* One report of progress from work that counts its steps. */
#ifndef AMG_BASE_PROGRESS_H
#define AMG_BASE_PROGRESS_H

#include "amalgam/progress.h"
#include "amalgam/status.h"

/* Reports done of total (in the stage's own unit); progress may be NULL.
 * AMG_INTERRUPTED ("stopped on request") when it asks for a stop. */
AMG_MUST_CHECK amg_status amg_tick(const amg_progress *progress, const char *stage,
                                   int64_t done, int64_t total, amg_error *err);

#endif
