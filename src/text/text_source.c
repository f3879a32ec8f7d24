/* The bytes of a text file, plain or .gz, as a window that moves. Consumes a path;
 * knows nothing of lines and records. */
#include <string.h>

#include "base/alloc.h"
#include "text/records_private.h"

#define FIRST_ROOM ((size_t)1 << 20)

amg_status amg_text_source_open(const char *path, amg_text_source *out, amg_error *err)
{
    out->name = amg_strdup(path);
    if (out->name == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its name");
    amg_status st = amg_map_open(path, &out->map, err);
    if (st != AMG_OK) return st;
    if (amg_gz_check(out->map.data, out->map.size))
        return amg_gz_open(out->map.data, out->map.size, out->name, &out->gz, err);
    out->data = out->map.data ? (const char *)out->map.data : "";
    out->size = out->map.size;
    out->ended = true;
    return AMG_OK;
}

void amg_text_source_close(amg_text_source *s)
{
    amg_gz_close(s->gz);
    amg_map_close(&s->map);
    amg_free(s->buffer);
    amg_free(s->name);
    *s = (amg_text_source){0};
}

/* Room behind what is left: the buffer doubles when a record fills half of it, so that
 * one that is read again after each piece is read a few times only. */
static bool make_room(amg_text_source *s)
{
    const size_t left = s->size - s->pos;
    if (s->buffer == NULL || left > s->room / 2) {
        const size_t room = s->buffer ? 2 * s->room : FIRST_ROOM;
        char *buffer = amg_malloc(room);
        if (buffer == NULL) return false;
        if (left > 0) memcpy(buffer, s->data + s->pos, left);
        amg_free(s->buffer);
        s->buffer = buffer;
        s->room = room;
    } else if (left > 0) {
        memmove(s->buffer, s->data + s->pos, left);
    }
    s->base += (int64_t)s->pos;
    s->data = s->buffer;
    s->size = left;
    s->pos = 0;
    return true;
}

amg_status amg_text_source_more(amg_text_source *s, amg_error *err)
{
    if (!make_room(s))
        return amg_fail(err, AMG_NO_MEMORY, -1, s->name, "no memory for its text");
    size_t got = 0;
    const amg_status st =
        amg_gz_read(s->gz, s->buffer + s->size, s->room - s->size, &got, err);
    if (st != AMG_OK) return st;
    s->ended = got < s->room - s->size;
    s->size += got;
    return AMG_OK;
}
