/* Which stream holds which bytes, known by the samples' keyed tags
 * (obfuscate/samples.h): a hash table that never grows. */
#ifndef AMG_OBFUSCATE_COVER_TABLE_H
#define AMG_OBFUSCATE_COVER_TABLE_H

#include <stdbool.h>

#include "key/secret.h"

typedef struct {
    struct amg_cover_cell *cells;
    size_t mask;
} amg_cover_table;

/* Empty, with room for so many samples. False: no memory. */
bool amg_cover_table_init(amg_cover_table *t, size_t samples);
void amg_cover_table_empty(amg_cover_table *t);
void amg_cover_table_clear(amg_cover_table *t);

/* Stream that holds the bytes of this tag, or -1. */
int amg_cover_table_find(const amg_cover_table *t,
                         const uint8_t tag[AMG_SAMPLE_TAG_BYTES]);
/* The same, and if there was none they are now held by stream. */
int amg_cover_table_find_or_add(amg_cover_table *t,
                                const uint8_t tag[AMG_SAMPLE_TAG_BYTES], int stream);
/* The table is larger than the caches: tag i of num is looked at, one further on is
 * asked for. */
void amg_cover_table_expect(const amg_cover_table *t, const uint8_t *tags, int64_t i,
                            int64_t num);

#endif
