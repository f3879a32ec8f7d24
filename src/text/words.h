/* Cuts text into words, for the word-level tokenizer and the word counter alike: what
 * one counts, the other finds. */
#ifndef AMG_TEXT_WORDS_H
#define AMG_TEXT_WORDS_H

#include "text/spans.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

/* Bit i: byte i of 64 is at most ' ' or beyond ASCII: a word may end there. */
#define AMG_WORD_BLOCK 64

static inline uint64_t amg_word_stops_plain(const char *p)
{
    uint64_t stops = 0;
    for (int i = 0; i < AMG_WORD_BLOCK; i++)
        stops |= (uint64_t)((signed char)p[i] <= ' ') << i;
    return stops;
}

static inline uint64_t amg_word_stops(const char *p)
{
#ifdef __SSE2__
    uint64_t inside = 0;
    for (int i = 0; i < AMG_WORD_BLOCK; i += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        const __m128i more = _mm_cmpgt_epi8(bytes, _mm_set1_epi8(' '));
        inside |= (uint64_t)(unsigned)_mm_movemask_epi8(more) << i;
    }
    return ~inside;
#else
    return amg_word_stops_plain(p);
#endif
}

/* The first n of 8 bytes in memory, n in 0 .. 8, zeros behind. */
static inline uint64_t amg_first_bytes(const char *p, unsigned n)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    if (n == 0) return 0;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return v & ~UINT64_C(0) << (64 - 8 * n);
#else
    return v & ~UINT64_C(0) >> (64 - 8 * n);
#endif
}

/* A word of 1 to 16 ASCII bytes with a space or the end behind it, to which nothing is
 * to be done: nearly all of English. */
typedef struct {
    amg_span_key key; /* its form in amg_spans */
    uint64_t hash;
    size_t begin, size; /* in the text */
} amg_short_word;

enum { AMG_SHORT_RUN = 64 };

/* Goes on with run[n..], as far as short words of the next block of text go; returns
 * how many are in run then. How long a word is no processor can guess: no branch
 * depends on it, and where the next begins waits for a shift alone. */
static inline int amg_words_of_block(amg_words *w, const amg_spans *spans,
                                     amg_short_word run[AMG_SHORT_RUN], int n)
{
    const size_t left = w->size - w->pos;
    const char *p = w->text + w->pos;
    char last[AMG_WORD_BLOCK + AMG_SHORT_SPAN] = {0};
    if (left < sizeof last) p = memcpy(last, p, left);
    unsigned at = 0; /* stops begins there */
    for (uint64_t stops = amg_word_stops(p); stops != 0 && n < AMG_SHORT_RUN;) {
        const unsigned size = (unsigned)__builtin_ctzll(stops), end = at + size;
        if (size > AMG_SHORT_SPAN) break;
        if (end < left && !amg_is_ascii_space((unsigned char)p[end])) break;
        if (size > 0) {
            const uint64_t lo = amg_first_bytes(p + at, size < 8 ? size : 8),
                           hi = amg_first_bytes(p + at + 8, size < 8 ? 0 : size - 8);
            const uint64_t hash = amg_span_hash(lo, hi);
            run[n++] = (amg_short_word){{lo, hi}, hash, w->pos + at, size};
            amg_spans_fetch(spans, hash);
        }
        at = end < left ? end + 1 : end; /* behind the space */
        if (end >= left) break;
        stops = stops >> size >> 1;
    }
    w->pos += at;
    return n;
}

/* The short words that come next, at most AMG_SHORT_RUN, with their slots in spans
 * fetched; returns how many. With 0, or after fewer, amg_words_next has to go on. None
 * are short where words change. */
static inline int amg_words_next_run(amg_words *w, const amg_spans *spans,
                                     amg_short_word run[AMG_SHORT_RUN])
{
    int n = 0;
    if (w->lower || w->punctuation) return 0;
    for (size_t before = w->size; n < AMG_SHORT_RUN && w->pos != before;) {
        before = w->pos;
        n = amg_words_of_block(w, spans, run, n);
    }
    return n;
}

#endif
