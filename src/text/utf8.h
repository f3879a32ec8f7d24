/* UTF-8 as RFC 3629 has it: strict reading, and the two properties of code points that
 * word-level text needs. */
#ifndef AMG_TEXT_UTF8_H
#define AMG_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

/* The code point at text[0..size), its length in bytes returned; 0: none that is valid.
 * Refuses overlong forms, surrogates and what is beyond U+10FFFF. */
int amg_utf8_get(const char *text, size_t size, uint32_t *out);
/* Writes a code point, 1 to 4 bytes. */
int amg_utf8_put(uint32_t c, char out[4]);
/* Bytes before the first sequence that is not valid (nul: NUL is); size: all of it is.
 */
size_t amg_utf8_valid(const char *text, size_t size, bool nul);
/* Code points in valid text. */
int64_t amg_utf8_count(const char *text, size_t size);
/* AMG_MALFORMED for the byte text[at]; offset is that of text[0]. */
amg_status amg_utf8_fail(const char *text, size_t at, const char *name, int64_t offset,
                         amg_error *err);
#define amg_utf8_fail(...) amg_not_ok(amg_utf8_fail(__VA_ARGS__))

/* What Python's str.split takes for space: White_Space and U+001C to U+001F. */
bool amg_is_space(uint32_t c);
static inline bool amg_is_ascii_space(unsigned char c)
{
    return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
}
/* Unicode's simple lower-case mapping. */
uint32_t amg_to_lower(uint32_t c);

#endif
