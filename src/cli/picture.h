/* A picture of one sample: as the owner has it, and as the job shows it. */
#ifndef AMG_CLI_PICTURE_H
#define AMG_CLI_PICTURE_H

#include "amalgam/status.h"

/* Sample 0 of data (8-bit, 1 or 3 channels) beside row 0 of the job's training data,
 * enlarged, as PNG. */
AMG_MUST_CHECK amg_status cli_picture(const char *data, const char *job_dir,
                                      const char *png, amg_error *err);

#endif
