/* UTF-8 and properties of code points. Consumes bytes, produces code points; knows
 * nothing of words, tokens or files. */
#include "text/utf8.h"

#include <string.h>

#include "text/lower_table.h"

#define HIGH_BITS 0x8080808080808080u

int amg_utf8_get(const char *text, size_t size, uint32_t *out)
{
    const unsigned char *p = (const unsigned char *)text;
    if (size == 0) return 0;
    if (p[0] < 0x80) {
        *out = p[0];
        return 1;
    }
    const int length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] < 0xc2 || p[0] > 0xf4 || size < (size_t)length) return 0;
    uint32_t c = p[0] & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (length == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) return 0;
    if (length == 4 && (c < 0x10000 || c > 0x10ffff)) return 0;
    *out = c;
    return length;
}

int amg_utf8_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const int length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)(leads[length] | c);
    return length;
}

/* Of eight bytes: the high bits of those beyond ASCII and, with low_bits, of those that
 * are 0 (then perhaps of others too). */
static inline uint64_t not_plain(const char *text, uint64_t low_bits)
{
    uint64_t eight;
    memcpy(&eight, text, sizeof eight);
    return (eight | (eight - low_bits)) & HIGH_BITS;
}

size_t amg_utf8_valid(const char *text, size_t size, bool nul)
{
    const uint64_t low_bits = nul ? 0 : 0x0101010101010101u;
    size_t at = 0;
    while (at < size) {
        if (size - at >= 8 && not_plain(text + at, low_bits) == 0) {
            at += 8;
            while (size - at >= 32 && (not_plain(text + at, low_bits) |
                                       not_plain(text + at + 8, low_bits) |
                                       not_plain(text + at + 16, low_bits) |
                                       not_plain(text + at + 24, low_bits)) == 0)
                at += 32;
            continue;
        }
        uint32_t c;
        const int length = amg_utf8_get(text + at, size - at, &c);
        if (length == 0 || (c == 0 && !nul)) return at;
        at += (size_t)length;
    }
    return size;
}

int64_t amg_utf8_count(const char *text, size_t size)
{
    int64_t n = 0;
    for (size_t i = 0; i < size; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

amg_status(amg_utf8_fail)(const char *text, size_t at, const char *name, int64_t offset,
                          amg_error *err)
{
    return amg_fail(err, AMG_MALFORMED, offset + (int64_t)at, name,
                    "invalid UTF-8: byte 0x%02x begins no valid sequence",
                    (unsigned char)text[at]);
}

bool amg_is_space(uint32_t c)
{
    if (c < 0x80) return amg_is_ascii_space((unsigned char)c);
    if (c < 0x1680) return c == 0x85 || c == 0xa0;
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

uint32_t amg_to_lower(uint32_t c)
{
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    size_t low = 0, high = sizeof lower_table / sizeof *lower_table;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const amg_lower_row *row = &lower_table[middle];
        if (c < row->first)
            high = middle;
        else if (c > row->last)
            low = middle + 1;
        else
            return (c - row->first) % row->step ? c
                                                : (uint32_t)((int32_t)c + row->delta);
    }
    return c;
}
