/* Cuts text into words, for the word-level tokenizer and the word counter alike: what
 * one counts, the other finds. */
#ifndef AMG_TEXT_WORDS_H
#define AMG_TEXT_WORDS_H

#include "text/spans.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define AMG_PAD_WORD "<pad>"
#define AMG_UNKNOWN_WORD "<unk>"
#define AMG_EOS_WORD "<eos>"

/* A walk over text. The caller fills all but the last, and clears it afterwards. */
typedef struct {
    const char *text;
    size_t size, pos;
    bool lower, punctuation;
    const char *name; /* for errors, with the offset of text[0] in it */
    int64_t offset;
    amg_chars lowered; /* scratch */
} amg_words;

/* The next word, valid until the next call; *size 0: there is none. Words are divided
 * as amg_word_options say; "<pad>", "<unk>" and "<eos>" between spaces stay whole.
 * AMG_MALFORMED for invalid UTF-8 and NUL. */
AMG_MUST_CHECK amg_status amg_words_next(amg_words *w, const char **word, size_t *size,
                                         amg_error *err);

/* The next word if it is one of 1 to 16 ASCII bytes with a space behind it and 16 bytes
 * of text left, and nothing is to be done to it: nearly all of English. Then pos is
 * behind the word, its size is returned and key is its form in amg_spans. Else 0, and
 * pos is where amg_words_next has to go on. */
static inline size_t amg_words_next_short(amg_words *w, amg_span_key *key);

/* 0x80 in each byte that is at most ' ' or beyond ASCII: a word may end there. */
static inline uint64_t amg_word_stops(uint64_t eight)
{
    const uint64_t high = 0x8080808080808080u, above_space = 0x2121212121212121u;
    return (~((eight | high) - above_space) | eight) & high;
}

static inline uint64_t amg_load_le64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint64_t amg_store_le64(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline size_t amg_words_next_short(amg_words *w, amg_span_key *key)
{
    const char *text = w->text;
    while (w->pos < w->size && amg_is_ascii_space((unsigned char)text[w->pos]))
        w->pos++;
    if (w->size - w->pos <= AMG_SHORT_SPAN) return 0;
    const char *p = text + w->pos;
    uint64_t lo = amg_load_le64(p), hi = 0, stops = amg_word_stops(lo);
    size_t size;
    if (stops != 0) {
        const int bits = __builtin_ctzll(stops) - 7; /* of the word */
        lo &= ((uint64_t)1 << bits) - 1;
        size = (size_t)bits / 8;
    } else {
        hi = amg_load_le64(p + 8);
        stops = amg_word_stops(hi);
        const int bits = stops != 0 ? __builtin_ctzll(stops) - 7 : 0;
        if (stops != 0) hi &= ((uint64_t)1 << bits) - 1;
        size = 8 + (stops != 0 ? (size_t)bits / 8 : 8);
    }
    if (size == 0 || !amg_is_ascii_space((unsigned char)p[size])) return 0;
    *key = (amg_span_key){amg_store_le64(lo), amg_store_le64(hi)};
    w->pos += size;
    return size;
}

#endif
