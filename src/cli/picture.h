/* A picture of one sample: as the owner has it, as its row in the job looks, and what a
 * reader of the job can make of that row: one candidate image for each sub-network. */
#ifndef AMG_CLI_PICTURE_H
#define AMG_CLI_PICTURE_H

#include "amalgam/status.h"

/* From left to right: sample 0 of data (8-bit, 1 or 3 channels), row 0 of the job's
 * training data, and that row through each head's select, in the job's order.
 * Enlarged, as PNG. */
AMG_MUST_CHECK amg_status cli_picture(const char *data, const char *job_dir,
                                      const char *png, amg_error *err);

#endif
