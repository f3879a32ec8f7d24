/* The sample that an attacker puts together from positions he found. */
#ifndef AMG_AUDIT_REBUILD_H
#define AMG_AUDIT_REBUILD_H

#include "audit/attack.h"

/* The stream that has the largest share of its positions among those found (found
 * [num_positions], 1: found); -1: none has any. */
int amg_rebuild_stream(const amg_evidence *e, const uint8_t *found);

/* Puts found positions in a stream's order, which the model shows, and grey where a
 * position is missing; adds how much some rows' images are like the original's samples
 * (structural similarity; nothing to pass) and a picture of the first row. Only for
 * images, with the truth. title: static, of the picture. */
AMG_MUST_CHECK amg_status amg_rebuild_report(const amg_attack_task *task,
                                             const char *attack, const char *title,
                                             int stream, const uint8_t *found,
                                             amg_error *err);

#endif
