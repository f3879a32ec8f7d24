/* Tokens of one piece: its symbols, then merges, the one of lowest rank first and of
 * those the leftmost, as Hugging Face's tokenizers do. A heap of candidates over a
 * linked list: n log n for a piece of n symbols. Pieces seen before come from a cache,
 * which changes no result. */
#include <string.h>

#include "base/alloc.h"
#include "text/bpe_private.h"
#include "text/utf8.h"

#define MAX_CACHED_SIZE 48
#define MAX_CACHED_PIECES (1 << 16)

static size_t merge_slot(const amg_bpe_merges *m, uint64_t pair)
{
    return amg_span_hash(pair, 0) & (m->num_slots - 1);
}

static uint64_t make_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

const amg_bpe_merge *amg_bpe_find_merge(const amg_bpe_merges *m, int32_t left,
                                        int32_t right)
{
    const uint64_t pair = make_pair(left, right);
    for (size_t i = merge_slot(m, pair);; i = (i + 1) & (m->num_slots - 1)) {
        if (m->slots[i].id < 0) return NULL;
        if (m->slots[i].pair == pair) return &m->slots[i];
    }
}

void amg_bpe_set_merge(amg_bpe_merges *m, int32_t left, int32_t right, int32_t rank,
                       int32_t id)
{
    const uint64_t pair = make_pair(left, right);
    size_t i = merge_slot(m, pair);
    while (m->slots[i].id >= 0 && m->slots[i].pair != pair)
        i = (i + 1) & (m->num_slots - 1);
    m->slots[i] = (amg_bpe_merge){.pair = pair, .rank = rank, .id = id};
}

/* The heap: a binary one, smallest order on top. */

static bool push(amg_bpe_work *w, amg_candidate c)
{
    if (w->heap_size == w->heap_room) {
        const size_t room = w->heap_room ? 2 * w->heap_room : 256;
        amg_candidate *heap = amg_realloc(w->heap, room * sizeof *heap);
        if (heap == NULL) return false;
        w->heap = heap;
        w->heap_room = room;
    }
    size_t i = w->heap_size++;
    for (; i > 0 && w->heap[(i - 1) / 2].order > c.order; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
    return true;
}

static amg_candidate pop(amg_bpe_work *w)
{
    amg_candidate *heap = w->heap;
    const amg_candidate top = heap[0], last = heap[--w->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_size; i = child) {
        if (child + 1 < w->heap_size && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= last.order) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* The merge of the symbol at position with the next one, if there is one. */
static bool push_pair(const amg_bpe *b, amg_bpe_work *w, int32_t position)
{
    const amg_symbol *s = &w->symbols[position];
    if (s->next < 0) return true;
    const amg_bpe_merge *m =
        amg_bpe_find_merge(&b->merges, s->id, w->symbols[s->next].id);
    if (m == NULL) return true;
    const uint64_t order = (uint64_t)(uint32_t)m->rank << 32 | (uint32_t)position;
    return push(w, (amg_candidate){.order = order, .id = m->id});
}

static bool merge_all(const amg_bpe *b, amg_bpe_work *w, int32_t count)
{
    amg_symbol *symbols = w->symbols;
    w->heap_size = 0;
    for (int32_t i = 0; i < count; i++)
        if (!push_pair(b, w, i)) return false;
    while (w->heap_size > 0) {
        const amg_candidate best = pop(w);
        const int32_t at = (int32_t)(uint32_t)best.order;
        amg_symbol *s = &symbols[at];
        if (s->id < 0 || s->next < 0) continue;
        amg_symbol *right = &symbols[s->next];
        const amg_bpe_merge *m = amg_bpe_find_merge(&b->merges, s->id, right->id);
        if (m == NULL || m->id != best.id) continue; /* merged otherwise meanwhile */
        s->id = m->id;
        s->next = right->next;
        right->id = -1;
        if (s->next >= 0) symbols[s->next].prev = at;
        if (s->prev >= 0 && !push_pair(b, w, s->prev)) return false;
        if (!push_pair(b, w, at)) return false;
    }
    return true;
}

static void add_symbol(amg_bpe_work *w, int32_t *count, int32_t id)
{
    const int32_t i = (*count)++;
    w->symbols[i] = (amg_symbol){.id = id, .prev = i - 1, .next = i + 1};
}

static int32_t find_token(const amg_bpe *b, const char *text, size_t size)
{
    const int64_t i = amg_spans_find(&b->vocab, text, size);
    return i < 0 ? -1 : b->vocab_ids[i];
}

/* Tokens of the bytes of a code point; false: one of them has none. */
static bool fall_back(const amg_bpe *b, amg_bpe_work *w, const char *text, size_t size,
                      int32_t *count)
{
    for (size_t i = 0; i < size; i++)
        if (b->byte_ids[(unsigned char)text[i]] < 0) return false;
    for (size_t i = 0; i < size; i++)
        add_symbol(w, count, b->byte_ids[(unsigned char)text[i]]);
    return true;
}

static amg_status lacks_symbol(const amg_bpe *b, const amg_bpe_work *w, amg_piece piece,
                               size_t i, size_t size)
{
    const int64_t offset = w->offset + piece.at + (int64_t)i;
    if (b->byte_level)
        return amg_fail(w->err, AMG_NOT_FOUND, offset, w->name,
                        "the tokenizer has no token for the byte 0x%02x, and none for "
                        "what is unknown",
                        (unsigned char)piece.text[i]);
    return amg_fail(w->err, AMG_NOT_FOUND, offset, w->name,
                    "the tokenizer has no token for \"%.*s\", and none for what is "
                    "unknown",
                    (int)size, piece.text + i);
}

/* The piece's bytes or code points, as symbols. */
static amg_status make_symbols(const amg_bpe *b, amg_bpe_work *w, amg_piece piece,
                               int32_t *count)
{
    bool after_unknown = false;
    *count = 0;
    for (size_t i = 0, size; i < piece.size; i += size) {
        uint32_t c;
        const char *p = piece.text + i;
        size = b->byte_level ? 1 : (size_t)amg_utf8_get(p, piece.size - i, &c);
        const int32_t id =
            b->byte_level ? b->byte_ids[(unsigned char)*p] : find_token(b, p, size);
        const bool known = id >= 0;
        if (known) add_symbol(w, count, id);
        if (known ||
            (b->byte_fallback && !b->byte_level && fall_back(b, w, p, size, count))) {
            after_unknown = false;
            continue;
        }
        if (b->unknown < 0) return lacks_symbol(b, w, piece, i, size);
        if (!after_unknown || !b->fuse_unknown)
            add_symbol(w, count, (int32_t)b->unknown);
        after_unknown = true;
    }
    w->symbols[0].prev = -1;
    w->symbols[*count - 1].next = -1;
    return AMG_OK;
}

static bool make_room(amg_bpe_work *w, size_t count)
{
    if (count <= w->symbol_room) return true;
    size_t room = w->symbol_room ? 2 * w->symbol_room : 256;
    if (room < count) room = count;
    amg_symbol *symbols = amg_realloc(w->symbols, room * sizeof *symbols);
    if (symbols == NULL) return false;
    w->symbols = symbols;
    w->symbol_room = room;
    return true;
}

static bool append(amg_tokens *to, const int32_t *ids, int64_t count)
{
    if (!amg_tokens_reserve(to, count)) return false;
    memcpy(to->ids + to->count, ids, (size_t)count * sizeof *ids);
    to->count += count;
    return true;
}

/* Remembers the tokens of a piece; when the cache is full, or memory short, it does
 * without. */
static void remember(amg_bpe_work *w, amg_piece piece, const int32_t *ids,
                     int64_t count)
{
    const int64_t n = w->cache.count;
    if (piece.size > MAX_CACHED_SIZE || n == MAX_CACHED_PIECES) return;
    if (w->cached_pieces == NULL)
        w->cached_pieces = amg_malloc(MAX_CACHED_PIECES * sizeof *w->cached_pieces);
    if (w->cached_pieces == NULL) return;
    const int64_t begin = w->cached.count;
    if (!append(&w->cached, ids, count)) return;
    w->cached_pieces[n] = (amg_cached_piece){begin, count};
    if (amg_spans_add(&w->cache, piece.text, piece.size) != n) w->cached.count = begin;
}

amg_status amg_bpe_encode_piece(const amg_bpe *b, amg_bpe_work *w, amg_piece piece)
{
    if (piece.size == 0) return AMG_OK;
    if (b->ignore_merges) {
        const int32_t id = find_token(b, piece.text, piece.size);
        if (id >= 0)
            return append(w->out, &id, 1) ? AMG_OK : amg_bpe_no_memory(w->name, w->err);
    }
    const int64_t seen = piece.size <= MAX_CACHED_SIZE
                             ? amg_spans_find(&w->cache, piece.text, piece.size)
                             : -1;
    if (seen >= 0) {
        const amg_cached_piece c = w->cached_pieces[seen];
        return append(w->out, w->cached.ids + c.begin, c.count)
                   ? AMG_OK
                   : amg_bpe_no_memory(w->name, w->err);
    }
    if (piece.size > INT32_MAX)
        return amg_fail(w->err, AMG_UNSUPPORTED, w->offset + piece.at, w->name,
                        "a piece of %zu bytes that nothing cuts", piece.size);
    int32_t count;
    if (!make_room(w, piece.size)) return amg_bpe_no_memory(w->name, w->err);
    const amg_status st = make_symbols(b, w, piece, &count);
    if (st != AMG_OK) return st;
    if (!merge_all(b, w, count) || !amg_tokens_reserve(w->out, count))
        return amg_bpe_no_memory(w->name, w->err);
    const int64_t begin = w->out->count;
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next)
        w->out->ids[w->out->count++] = w->symbols[i].id;
    remember(w, piece, w->out->ids + begin, w->out->count - begin);
    return AMG_OK;
}
