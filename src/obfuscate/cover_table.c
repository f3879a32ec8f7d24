/* Open addressing, at most 2/3 full. A tag is uniform already: its first bytes are its
 * place. */
#include "obfuscate/cover_table.h"

#include <string.h>

#include "base/alloc.h"

#define AHEAD 8 /* tags */

typedef struct amg_cover_cell {
    uint64_t high;
    uint64_t low; /* 48 bits of the tag, then the stream + 1 in 16 bits; 0: empty */
} cell;

static uint64_t le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* The cell of these bytes, empty if they are new. */
static cell *find_cell(const amg_cover_table *t,
                       const uint8_t tag[AMG_SAMPLE_TAG_BYTES])
{
    const uint64_t high = le64(tag), low = le64(tag + 8) & ~UINT64_C(0xFFFF);
    size_t at = (size_t)high & t->mask;
    while ((t->cells[at].low & 0xFFFF) &&
           (t->cells[at].high != high || (t->cells[at].low & ~UINT64_C(0xFFFF)) != low))
        at = (at + 1) & t->mask;
    return &t->cells[at];
}

bool amg_cover_table_init(amg_cover_table *t, size_t samples)
{
    size_t cells = 64;
    while (cells < samples + samples / 2) cells *= 2;
    *t = (amg_cover_table){amg_alloc_aligned(cells * sizeof(cell)), cells - 1};
    if (t->cells) amg_cover_table_empty(t);
    return t->cells != NULL;
}

void amg_cover_table_empty(amg_cover_table *t)
{
    memset(t->cells, 0, (t->mask + 1) * sizeof *t->cells);
}

void amg_cover_table_clear(amg_cover_table *t)
{
    amg_free_aligned(t->cells);
    *t = (amg_cover_table){0};
}

int amg_cover_table_find(const amg_cover_table *t,
                         const uint8_t tag[AMG_SAMPLE_TAG_BYTES])
{
    return (int)(find_cell(t, tag)->low & 0xFFFF) - 1;
}

int amg_cover_table_find_or_add(amg_cover_table *t,
                                const uint8_t tag[AMG_SAMPLE_TAG_BYTES], int stream)
{
    cell *c = find_cell(t, tag);
    const int held = (int)(c->low & 0xFFFF) - 1;
    if (held < 0)
        *c = (cell){le64(tag),
                    (le64(tag + 8) & ~UINT64_C(0xFFFF)) | (uint64_t)(stream + 1)};
    return held;
}

void amg_cover_table_expect(const amg_cover_table *t, const uint8_t *tags, int64_t i,
                            int64_t num)
{
    if (i + AHEAD < num)
        __builtin_prefetch(
            &t->cells[le64(tags + (i + AHEAD) * AMG_SAMPLE_TAG_BYTES) & t->mask]);
}
