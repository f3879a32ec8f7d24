/* Hash table of byte strings. Consumes spans of bytes, produces their numbers; knows
 * nothing of what they spell. */
#include "text/spans.h"

#include "base/alloc.h"

#define FIRST_SLOTS 1024

/* lo and hi of a string in the table: of a long one a hash, and 0 until it has a place.
 */
static amg_span_key make_key(const char *bytes, size_t size)
{
    amg_span_key key = {0};
    if (size <= AMG_SHORT_SPAN) {
        memcpy(&key, bytes, size);
        return key;
    }
    uint64_t part[2], hash = size;
    for (size_t at = 0; at < size; at += sizeof part) {
        if (size - at < sizeof part)
            at = size - sizeof part; /* the last ones overlap */
        memcpy(part, bytes + at, sizeof part);
        hash = amg_span_hash(part[0] ^ hash, part[1]);
    }
    key.lo = hash;
    return key;
}

static size_t first_slot(const amg_spans *s, amg_span_key key, size_t size)
{
    const uint64_t hash =
        size <= AMG_SHORT_SPAN ? amg_span_hash(key.lo, key.hi) : key.lo;
    return hash & (s->num_slots - 1);
}

/* The slot that holds the string, or the empty one where it belongs. */
static amg_span_slot *find_slot(const amg_spans *s, amg_span_key key, const char *bytes,
                                size_t size)
{
    for (size_t i = first_slot(s, key, size);; i = (i + 1) & (s->num_slots - 1)) {
        amg_span_slot *slot = &s->slots[i];
        if (slot->size == 0) return slot;
        if (slot->size != size || slot->lo != key.lo) continue;
        if (size <= AMG_SHORT_SPAN ? slot->hi == key.hi
                                   : memcmp(s->bytes + slot->hi, bytes, size) == 0)
            return slot;
    }
}

/* So many slots, a power of 2; the strings stay where they are. */
static bool grow_slots(amg_spans *s, size_t num_slots)
{
    amg_spans grown = *s;
    grown.num_slots = num_slots;
    grown.slots = amg_alloc_aligned(grown.num_slots * sizeof *grown.slots);
    if (grown.slots == NULL) return false;
    for (size_t i = 0; i < s->num_slots; i++) {
        const amg_span_slot *old = &s->slots[i];
        if (old->size == 0) continue;
        const amg_span_key key = {old->lo, old->hi};
        size_t at = first_slot(&grown, key, old->size);
        while (grown.slots[at].size != 0) at = (at + 1) & (grown.num_slots - 1);
        grown.slots[at] = *old;
    }
    amg_free_aligned(s->slots);
    *s = grown;
    return true;
}

static bool grow_begins(amg_spans *s, int64_t room)
{
    uint64_t *begins = amg_realloc(s->begins, (size_t)room * sizeof *begins);
    if (begins == NULL) return false;
    if (s->begins == NULL) begins[0] = 0;
    s->begins = begins;
    s->room = room;
    return true;
}

static bool grow_bytes(amg_spans *s, size_t room)
{
    char *bytes = amg_realloc(s->bytes, room);
    if (bytes == NULL) return false;
    s->bytes = bytes;
    s->bytes_room = room;
    return true;
}

/* Room for one more string of size bytes. */
static bool grow_strings(amg_spans *s, size_t size)
{
    if (s->count + 1 >= s->room && !grow_begins(s, s->room ? 2 * s->room : 512))
        return false;
    const size_t used = s->begins[s->count];
    if (size > s->bytes_room - used) {
        size_t room = s->bytes_room ? 2 * s->bytes_room : 8192;
        while (room - used < size) room *= 2;
        return grow_bytes(s, room);
    }
    return true;
}

void amg_spans_clear(amg_spans *s)
{
    amg_free_aligned(s->slots);
    amg_free(s->begins);
    amg_free(s->bytes);
    *s = (amg_spans){0};
}

bool amg_spans_reserve(amg_spans *s, int64_t count, size_t bytes)
{
    size_t slots = FIRST_SLOTS;
    while (3 * (uint64_t)slots < 5 * (uint64_t)count) slots *= 2;
    if (grow_slots(s, slots) && grow_begins(s, count + 2) && grow_bytes(s, bytes + 1))
        return true;
    amg_spans_clear(s);
    return false;
}

amg_span_slot *amg_spans_place(amg_spans *s, const char *bytes, size_t size)
{
    if (size == 0 || size > UINT32_MAX || s->count == INT32_MAX) return NULL;
    if (5 * (uint64_t)s->count >= 3 * s->num_slots &&
        !grow_slots(s, s->num_slots ? 2 * s->num_slots : FIRST_SLOTS))
        return NULL;
    const amg_span_key key = make_key(bytes, size);
    amg_span_slot *slot = find_slot(s, key, bytes, size);
    if (slot->size != 0) return slot;
    if (!grow_strings(s, size)) return NULL;
    const uint64_t begin = s->begins[s->count];
    memcpy(s->bytes + begin, bytes, size);
    *slot = (amg_span_slot){.lo = key.lo,
                            .hi = size <= AMG_SHORT_SPAN ? key.hi : begin,
                            .size = (uint32_t)size,
                            .id = (int32_t)s->count};
    s->begins[++s->count] = begin + size;
    return slot;
}

int64_t amg_spans_add(amg_spans *s, const char *bytes, size_t size)
{
    const amg_span_slot *slot = amg_spans_place(s, bytes, size);
    return slot != NULL ? slot->id : -1;
}

int64_t amg_spans_find(const amg_spans *s, const char *bytes, size_t size)
{
    if (s->num_slots == 0 || size == 0 || size > UINT32_MAX) return -1;
    const amg_span_slot *slot = find_slot(s, make_key(bytes, size), bytes, size);
    return slot->size != 0 ? slot->id : -1;
}

int32_t *amg_spans_places(const amg_spans *from, const amg_spans *to, int64_t none)
{
    int32_t *places = amg_malloc(((size_t)from->count + 1) * sizeof *places);
    for (int64_t i = 0; places != NULL && i < from->count; i++) {
        size_t size;
        const char *bytes = amg_spans_get(from, i, &size);
        const int64_t place = amg_spans_find(to, bytes, size);
        places[i] = (int32_t)(place >= 0 ? place : none);
    }
    return places;
}
