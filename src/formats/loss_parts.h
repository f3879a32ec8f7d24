/* The parts of AMG_LOSS_SUM in job.json. A private header of the manifest's. */
#ifndef AMG_FORMATS_LOSS_PARTS_H
#define AMG_FORMATS_LOSS_PARTS_H

#include "formats/json.h"
#include "formats/manifest.h"

/* Reads 1 to AMG_MAX_PARTS of them into the arena. */
AMG_MUST_CHECK amg_status amg_loss_parts_read(const amg_json_node *node,
                                              amg_arena *arena, amg_head *head,
                                              amg_error *err);

/* A new reference; NULL: out of memory. */
json_t *amg_loss_parts_json(const amg_head *head);

#endif
