/* A set of byte strings ("spans"), numbered in the order in which they came: the heart
 * of the word-level vocabulary and of the word counter. Open addressing; strings of up
 * to 16 bytes live in the table itself, so that finding one touches one line of cache.
 *
 *   slot   lo, hi: the bytes, zeros behind (size <= 16);  lo: hash, hi: begin (longer)
 *   bytes  all strings, one behind the other: number i is begins[i] .. begins[i+1]
 */
#ifndef AMG_TEXT_SPANS_H
#define AMG_TEXT_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define AMG_SHORT_SPAN 16

/* Two to a line of cache. */
typedef struct {
    uint64_t lo, hi;
    uint32_t size; /* 0: the slot is empty */
    int32_t id;
    int64_t tally; /* the caller's, 0 at first: how often it came, say */
} amg_span_slot;

typedef struct {
    uint64_t lo, hi;
} amg_span_key;

/* Zeroed is empty. */
typedef struct {
    amg_span_slot *slots; /* aligned */
    size_t num_slots;     /* a power of 2, or 0 */
    int64_t count, room;
    uint64_t *begins; /* [count + 1] */
    char *bytes;
    size_t bytes_room;
} amg_spans;

void amg_spans_clear(amg_spans *s);
/* Room in an empty set for so many strings, and so many bytes of all; false: out of
 * memory, the set is empty still. More fit nevertheless. */
bool amg_spans_reserve(amg_spans *s, int64_t count, size_t bytes);
/* The slot of bytes[0..size), which is added if it is not there, valid until the next
 * one is; NULL: out of memory, or size is not in [1, 2^32 - 1]. */
amg_span_slot *amg_spans_place(amg_spans *s, const char *bytes, size_t size);
/* Likewise its number, or -1. */
int64_t amg_spans_add(amg_spans *s, const char *bytes, size_t size);
/* Its number, or -1. */
int64_t amg_spans_find(const amg_spans *s, const char *bytes, size_t size);
/* The number in to of each of from's strings (heap [from->count]), none where it has
 * none; NULL: out of memory. */
int32_t *amg_spans_places(const amg_spans *from, const amg_spans *to, int64_t none);
/* Number i, borrowed until the next add. */
static inline const char *amg_spans_get(const amg_spans *s, int64_t i, size_t *size)
{
    *size = (size_t)(s->begins[i + 1] - s->begins[i]);
    return s->bytes + s->begins[i];
}

static inline uint64_t amg_span_hash(uint64_t lo, uint64_t hi)
{
    const __uint128_t product =
        (__uint128_t)(lo ^ 0xa0761d6478bd642fu) * (hi ^ 0xe7037ed1a0b428dbu);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* For strings of 1 to 16 bytes that are already in the table's form, as callers have
 * them that scan text eight bytes at a time. Large tables lie in far memory: callers
 * fetch the slots of some words ahead, then find them. */
static inline void amg_spans_fetch(const amg_spans *s, uint64_t hash)
{
    if (s->num_slots > 0) __builtin_prefetch(&s->slots[hash & (s->num_slots - 1)]);
}

/* Its slot, or NULL. */
static inline amg_span_slot *amg_spans_find_short(const amg_spans *s, amg_span_key key,
                                                  uint64_t hash, size_t size)
{
    if (s->num_slots == 0) return NULL;
    const size_t mask = s->num_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        amg_span_slot *slot = &s->slots[i];
        if (slot->lo == key.lo && slot->hi == key.hi && slot->size == size) return slot;
        if (slot->size == 0) return NULL;
    }
}

#endif
