/* Cuts text into words. Consumes UTF-8, produces spans of it, or of a scratch buffer
 * where letters change; knows no vocabulary. */
#include "text/words.h"

#include "base/alloc.h"

static bool is_punctuation(unsigned char c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

/* The code point at pos, its length in *length. */
static amg_status get(const amg_words *w, size_t at, uint32_t *c, size_t *length,
                      amg_error *err)
{
    const int n = amg_utf8_get(w->text + at, w->size - at, c);
    if (n == 0) return amg_utf8_fail(w->text, at, w->name, w->offset, err);
    if (*c == 0)
        return amg_fail(err, AMG_MALFORMED, w->offset + (int64_t)at, w->name,
                        "a NUL byte, which no text has");
    *length = (size_t)n;
    return AMG_OK;
}

static amg_status skip_space(amg_words *w, amg_error *err)
{
    while (w->pos < w->size) {
        uint32_t c;
        size_t length;
        const amg_status st = get(w, w->pos, &c, &length, err);
        if (st != AMG_OK) return st;
        if (!amg_is_space(c)) break;
        w->pos += length;
    }
    return AMG_OK;
}

/* Size of a special word that begins at pos and ends at a space; 0: there is none. */
static size_t special_size(const amg_words *w)
{
    static const char *const special[] = {AMG_PAD_WORD, AMG_UNKNOWN_WORD, AMG_EOS_WORD};
    const char *p = w->text + w->pos;
    const size_t left = w->size - w->pos, size = sizeof AMG_PAD_WORD - 1;
    if (left < size || *p != '<') return 0;
    uint32_t c;
    if (left > size &&
        (amg_utf8_get(p + size, left - size, &c) == 0 || !amg_is_space(c)))
        return 0;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (memcmp(p, special[i], size) == 0) return size;
    return 0;
}

/* From pos to where the word ends. */
static amg_status find_end(const amg_words *w, size_t *out, amg_error *err)
{
    size_t at = w->pos;
    while (at < w->size) {
        uint32_t c;
        size_t length;
        const amg_status st = get(w, at, &c, &length, err);
        if (st != AMG_OK) return st;
        if (amg_is_space(c)) break;
        if (w->punctuation && c < 0x80 && is_punctuation((unsigned char)c)) {
            if (at == w->pos) at++;
            break;
        }
        at += length;
    }
    *out = at;
    return AMG_OK;
}

/* The word in lower case, in the scratch buffer. The longest growth is from 2 bytes to
 * 3. */
static amg_status lower(amg_words *w, const char **word, size_t *size, amg_error *err)
{
    const size_t most = *size + *size / 2;
    if (most > w->lowered.room) {
        const size_t room = most < 128 ? 128 : most;
        char *data = amg_realloc(w->lowered.data, room);
        if (data == NULL)
            return amg_fail(err, AMG_NO_MEMORY, -1, w->name, "no memory for a word");
        w->lowered.data = data;
        w->lowered.room = room;
    }
    char *to = w->lowered.data;
    for (size_t i = 0; i < *size;) {
        uint32_t c = 0;
        i += (size_t)amg_utf8_get(*word + i, *size - i, &c);
        to += amg_utf8_put(amg_to_lower(c), to);
    }
    *word = w->lowered.data;
    *size = (size_t)(to - w->lowered.data);
    return AMG_OK;
}

amg_status amg_words_next(amg_words *w, const char **word, size_t *size, amg_error *err)
{
    const size_t before = w->pos;
    amg_status st = skip_space(w, err);
    if (st != AMG_OK) return st;
    *word = w->text + w->pos;
    size_t end = w->pos;
    if (before == 0 || before < w->pos) end += special_size(w);
    const bool special = end > w->pos;
    if (!special) st = find_end(w, &end, err);
    if (st != AMG_OK) return st;
    *size = end - w->pos;
    w->pos = end;
    if (w->lower && !special && *size > 0) return lower(w, word, size, err);
    return AMG_OK;
}
