/* Where a job and its keys go: checked before any work, written beside and renamed
 * last, so that there are all of them or none. */
#ifndef AMG_OBFUSCATE_JOB_PATHS_H
#define AMG_OBFUSCATE_JOB_PATHS_H

#include <limits.h>

#include "amalgam/status.h"

/* key and out are free and their folders there, key's may be written to and is not
 * inside out, also not by way of links (AMG_EXISTS, AMG_UNSAFE_PATH). */
AMG_MUST_CHECK amg_status amg_job_paths_check(const char *key, const char *out,
                                              amg_error *err);

/* Makes OUT.tmp-XXXXXX beside out; temp, if not "", is the caller's to remove. */
AMG_MUST_CHECK amg_status amg_job_temp_make(const char *out, char temp[PATH_MAX],
                                            amg_error *err);
/* Gives it its name, which nobody may have taken meanwhile; temp becomes "". */
AMG_MUST_CHECK amg_status amg_job_temp_publish(char temp[PATH_MAX], const char *out,
                                               amg_error *err);

#endif
