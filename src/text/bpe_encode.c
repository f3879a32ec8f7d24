/* Text -> tokens of a byte pair encoding: added tokens are found first, the text
 * between them is cut into pieces (bpe_split.c), each piece encoded (bpe_merge.c). A
 * workspace per encoding comes from a pool, so that threads share tables and nothing
 * else. */
#include <string.h>

#include "base/alloc.h"
#include "text/bpe_private.h"
#include "text/utf8.h"

#define JIT_STACK_START ((size_t)32 << 10)
#define JIT_STACK_MOST ((size_t)8 << 20)
#define MATCH_LIMIT 1000000

amg_bpe_work *amg_bpe_work_new(const amg_bpe *b)
{
    amg_bpe_work *w = amg_calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->match = pcre2_match_data_create(1, b->memory);
    w->context = pcre2_match_context_create(b->memory);
    w->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MOST, b->memory);
    if (w->match == NULL || w->context == NULL) {
        amg_bpe_work_free(w);
        return NULL;
    }
    pcre2_set_match_limit(w->context, MATCH_LIMIT);
    if (w->stack != NULL) pcre2_jit_stack_assign(w->context, NULL, w->stack);
    return w;
}

void amg_bpe_work_free(amg_bpe_work *w)
{
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    amg_spans_clear(&w->cache);
    amg_tokens_clear(&w->cached);
    for (int i = 0; i < AMG_BPE_MAX_STEPS; i++) amg_chars_clear(&w->prefixed[i]);
    amg_free(w->cached_pieces);
    amg_free(w->symbols);
    amg_free(w->heap);
    amg_free(w);
}

static amg_bpe_work *take_work(const amg_bpe *b)
{
    pthread_mutex_lock(&b->pool->lock);
    amg_bpe_work *w = b->pool->free;
    if (w != NULL) b->pool->free = w->next;
    pthread_mutex_unlock(&b->pool->lock);
    return w != NULL ? w : amg_bpe_work_new(b);
}

static void give_work(const amg_bpe *b, amg_bpe_work *w)
{
    pthread_mutex_lock(&b->pool->lock);
    w->next = b->pool->free;
    b->pool->free = w;
    pthread_mutex_unlock(&b->pool->lock);
}

/* White_Space of Unicode, without the four control characters that Python adds. */
static bool is_white(uint32_t c)
{
    return amg_is_space(c) && !(c >= 0x1c && c <= 0x1f);
}

/* Bytes of white space at the begin of text. */
static size_t white_begin(const char *text, size_t size)
{
    size_t at = 0;
    uint32_t c;
    while (at < size) {
        const int length = amg_utf8_get(text + at, size - at, &c);
        if (!is_white(c)) break;
        at += (size_t)length;
    }
    return at;
}

/* Bytes of white space at its end. */
static size_t white_end(const char *text, size_t size)
{
    size_t end = size;
    while (end > 0) {
        size_t at = end - 1;
        uint32_t c = 0;
        while (((unsigned char)text[at] & 0xc0) == 0x80) at--;
        (void)amg_utf8_get(text + at, end - at, &c);
        if (!is_white(c)) break;
        end = at;
    }
    return size - end;
}

/* The longest added token of this round that text begins with, or NULL. */
static const amg_bpe_added *find_added(const amg_bpe *b, int round, const char *text,
                                       size_t size)
{
    for (int i = 0; i < b->num_added; i++) {
        const amg_bpe_added *a = &b->added[i];
        if (a->round == round && a->size <= size && a->text[0] == text[0] &&
            memcmp(a->text, text, a->size) == 0)
            return a;
    }
    return NULL;
}

/* Added tokens of this round, and of the next ones in the text between them. */
static amg_status encode_from_round(const amg_bpe *b, amg_bpe_work *w, int round,
                                    amg_piece piece)
{
    if (piece.size == 0) return AMG_OK;
    if (round == 2) return amg_bpe_split(b, w, 0, piece);
    const bool *first = b->added_first[round];
    size_t from = 0;
    for (size_t i = 0; i < piece.size;) {
        const char *p = piece.text + i;
        const amg_bpe_added *a =
            first[(unsigned char)*p] ? find_added(b, round, p, piece.size - i) : NULL;
        if (a == NULL) {
            i++;
            continue;
        }
        size_t begin = i, end = i + a->size;
        if (a->left) begin -= white_end(piece.text + from, begin - from);
        if (a->right) end += white_begin(piece.text + end, piece.size - end);
        const amg_piece before = {piece.text + from, begin - from,
                                  piece.at + (int64_t)from};
        const amg_status st = encode_from_round(b, w, round + 1, before);
        if (st != AMG_OK) return st;
        if (!amg_tokens_reserve(w->out, 1)) return amg_bpe_no_memory(w->name, w->err);
        w->out->ids[w->out->count++] = a->id;
        from = i = end;
    }
    const amg_piece rest = {piece.text + from, piece.size - from,
                            piece.at + (int64_t)from};
    return encode_from_round(b, w, round + 1, rest);
}

amg_status amg_bpe_encode(const amg_bpe *b, const char *text, size_t size,
                          const char *name, int64_t offset, amg_tokens *out,
                          amg_error *err)
{
    const size_t valid = amg_utf8_valid(text, size, true);
    if (valid < size) return amg_utf8_fail(text, valid, name, offset, err);
    amg_bpe_work *w = take_work(b);
    if (w == NULL) return amg_bpe_no_memory(name, err);
    w->name = name;
    w->offset = offset;
    w->out = out;
    w->err = err;
    const int64_t before = out->count;
    const amg_status st = encode_from_round(b, w, 0, (amg_piece){text, size, 0});
    if (st != AMG_OK) out->count = before;
    give_work(b, w);
    return st;
}
