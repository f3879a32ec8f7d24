/* Bounded byte cursor: every read checks what is left first. */
#include "base/cursor.h"

amg_cursor amg_cursor_init(const void *data, size_t size_bytes)
{
    return (amg_cursor){.data = data, .size = size_bytes};
}

const uint8_t *amg_cursor_bytes(amg_cursor *c, size_t n)
{
    if (c->failed || amg_cursor_left(c) < n) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->data + c->pos;
    c->pos += n;
    return p;
}

static uint64_t read_le(amg_cursor *c, size_t n)
{
    const uint8_t *p = amg_cursor_bytes(c, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t amg_cursor_u8(amg_cursor *c) { return (uint8_t)read_le(c, 1); }
uint16_t amg_cursor_u16le(amg_cursor *c) { return (uint16_t)read_le(c, 2); }
uint32_t amg_cursor_u32le(amg_cursor *c) { return (uint32_t)read_le(c, 4); }
uint64_t amg_cursor_u64le(amg_cursor *c) { return read_le(c, 8); }
uint32_t amg_cursor_u32be(amg_cursor *c)
{
    return __builtin_bswap32((uint32_t)read_le(c, 4));
}
