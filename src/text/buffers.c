/* Growing lists of tokens and bytes. */
#include "text/buffers.h"

#include <string.h>

#include "base/alloc.h"

void amg_tokens_clear(amg_tokens *t)
{
    amg_free(t->ids);
    *t = (amg_tokens){0};
}

bool amg_tokens_reserve(amg_tokens *t, int64_t count)
{
    if (count <= t->room - t->count) return true;
    int64_t room = t->room ? 2 * t->room : 1024;
    if (room - t->count < count) room = t->count + count;
    int32_t *ids = amg_realloc(t->ids, (size_t)room * sizeof *ids);
    if (ids == NULL) return false;
    t->ids = ids;
    t->room = room;
    return true;
}

void amg_chars_clear(amg_chars *t)
{
    amg_free(t->data);
    *t = (amg_chars){0};
}

bool amg_chars_append(amg_chars *t, const char *data, size_t size)
{
    if (size > t->room - t->size) {
        size_t room = t->room ? 2 * t->room : 1024;
        if (room - t->size < size) room = t->size + size;
        char *grown = amg_realloc(t->data, room);
        if (grown == NULL) return false;
        t->data = grown;
        t->room = room;
    }
    if (size > 0) memcpy(t->data + t->size, data, size);
    t->size += size;
    return true;
}
