/* Bounded byte cursor: reads numbers out of a buffer and can never leave it. After the
 * first read past the end the cursor is `failed`, every further read gives 0, and pos
 * stays where the failing read began, so a parser may check once at the end of a
 * header. */
#ifndef AMG_BASE_CURSOR_H
#define AMG_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data; /* borrowed */
    size_t size, pos;
    bool failed;
} amg_cursor;

amg_cursor amg_cursor_init(const void *data, size_t size_bytes);
uint8_t amg_cursor_u8(amg_cursor *c);
uint16_t amg_cursor_u16le(amg_cursor *c);
uint32_t amg_cursor_u32le(amg_cursor *c);
uint64_t amg_cursor_u64le(amg_cursor *c);
uint32_t amg_cursor_u32be(amg_cursor *c);
/* A borrowed view of the next n bytes, NULL when fewer are left. */
const uint8_t *amg_cursor_bytes(amg_cursor *c, size_t n);
static inline size_t amg_cursor_left(const amg_cursor *c) { return c->size - c->pos; }

#endif
