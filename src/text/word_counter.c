/* Making a word-level vocabulary. Consumes text, produces counts of its words, and from
 * them a tokenizer; files and threads are the caller's. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "formats/token_set.h"
#include "text/buffers.h"
#include "text/tokenizer_private.h"
#include "text/words.h"

struct amg_word_counter {
    amg_spans words; /* the tally of each: how often it came */
};

amg_word_counter *amg_word_counter_new(void)
{
    return amg_calloc(1, sizeof(amg_word_counter));
}

void amg_word_counter_free(amg_word_counter *c)
{
    if (c == NULL) return;
    amg_spans_clear(&c->words);
    amg_free(c);
}

/* Counts a word (NULL: there was no memory for it), appends its number to words, unless
 * that is NULL; false: out of memory. */
static inline bool count(amg_span_slot *word, amg_tokens *words)
{
    if (word == NULL) return false;
    word->tally++;
    if (words == NULL) return true;
    if (words->count == words->room && !amg_tokens_reserve(words, 1)) return false;
    words->ids[words->count++] = word->id;
    return true;
}

static inline bool count_short(amg_word_counter *c, const char *text,
                               const amg_short_word *s, amg_tokens *words)
{
    amg_span_slot *slot = amg_spans_find_short(&c->words, s->key, s->hash, s->size);
    if (slot == NULL) slot = amg_spans_place(&c->words, text + s->begin, s->size);
    return count(slot, words);
}

amg_status amg_word_counter_add(amg_word_counter *c, const amg_word_options *o,
                                const char *text, size_t size, const char *name,
                                int64_t offset, amg_tokens *words, amg_error *err)
{
    amg_words w = {.text = text,
                   .size = size,
                   .lower = o->lower,
                   .punctuation = o->punctuation,
                   .name = name,
                   .offset = offset};
    amg_status st = AMG_OK;
    for (bool memory = true, done = false; st == AMG_OK && !done;) {
        amg_short_word run[AMG_SHORT_RUN];
        const int n = amg_words_next_run(&w, &c->words, run);
        for (int i = 0; i < n && memory; i++)
            memory = count_short(c, text, &run[i], words);
        if (memory && n < AMG_SHORT_RUN) {
            const char *word;
            size_t length;
            st = amg_words_next(&w, &word, &length, err);
            done = st != AMG_OK || length == 0;
            if (!done) memory = count(amg_spans_place(&c->words, word, length), words);
        }
        if (!memory)
            st = amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to count its words");
    }
    amg_chars_clear(&w.lowered);
    return st;
}

amg_status amg_word_counter_merge(amg_word_counter *c, const amg_word_counter *from,
                                  amg_error *err)
{
    for (size_t i = 0; i < from->words.num_slots; i++) {
        const amg_span_slot *word = &from->words.slots[i];
        if (word->size == 0) continue;
        size_t size;
        const char *bytes = amg_spans_get(&from->words, word->id, &size);
        amg_span_slot *to = amg_spans_place(&c->words, bytes, size);
        if (to == NULL)
            return amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary",
                            "no memory to count words");
        to->tally += word->tally;
    }
    return AMG_OK;
}

int32_t *amg_word_counter_tokens(const amg_word_counter *c, const amg_tokenizer *t)
{
    return amg_spans_places(&c->words, &t->words, t->unknown);
}

typedef struct {
    const char *word;
    uint64_t first; /* its first 8 bytes as a number: mostly enough to order two */
    uint32_t size;
    int64_t count;
} counted;

static uint64_t first_bytes(const char *word, size_t size)
{
    uint64_t first = 0;
    for (size_t i = 0; i < sizeof first; i++)
        first = first << 8 | (i < size ? (unsigned char)word[i] : 0);
    return first;
}

static int by_bytes(const counted *a, const counted *b)
{
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    const int order = memcmp(a->word, b->word, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static int by_count_then_bytes(const void *a, const void *b)
{
    const counted *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return by_bytes(x, y);
}

typedef struct {
    counted *list;
    int64_t num;
} ranking;

/* Half 0 or 1 of the list. */
static void sort_halves(void *context, int64_t begin, int64_t end)
{
    const ranking *r = context;
    for (int64_t half = begin; half < end; half++) {
        const int64_t first = half * (r->num / 2),
                      num = half ? r->num - first : r->num / 2;
        qsort(r->list + first, (size_t)num, sizeof *r->list, by_count_then_bytes);
    }
}

/* Sorts list [num] by rank, with as much room behind it. */
static void sort_by_rank(counted *list, int64_t num)
{
    ranking r = {list, num};
    const counted *a = list, *b = list + num / 2, *a_end = b, *b_end = list + num;
    amg_parallel_for(2, 1, sort_halves, &r);
    for (int64_t i = 0; i < num; i++)
        list[num + i] =
            b == b_end || (a < a_end && by_count_then_bytes(a, b) < 0) ? *a++ : *b++;
    memcpy(list, list + num, (size_t)num * sizeof *list);
}

/* The words by rank into list [2 x count]; special ones are left out. Returns how many.
 */
static int64_t rank_words(const amg_word_counter *c, const amg_tokenizer *t,
                          int64_t min_count, counted *list)
{
    int64_t n = 0;
    for (size_t i = 0; i < c->words.num_slots; i++) {
        const amg_span_slot *slot = &c->words.slots[i];
        if (slot->size == 0 || slot->tally < min_count) continue;
        size_t size;
        const char *word = amg_spans_get(&c->words, slot->id, &size);
        if (amg_spans_find(&t->words, word, size) >= 0) continue;
        list[n++] =
            (counted){word, first_bytes(word, size), (uint32_t)size, slot->tally};
    }
    if (n > 0) sort_by_rank(list, n);
    return n;
}

static int64_t add_special(amg_tokenizer *t, const char *word)
{
    return amg_spans_add(&t->words, word, strlen(word));
}

static bool fill(const amg_word_counter *c, const amg_word_options *o, counted *list,
                 amg_tokenizer *t)
{
    const int64_t count = c->words.count;
    const size_t bytes = count > 0 ? (size_t)c->words.begins[count] : 0;
    if (!amg_spans_reserve(&t->words, count + 3, bytes)) return false;
    t->pad = o->pad ? add_special(t, AMG_PAD_WORD) : AMG_NO_TOKEN;
    t->unknown = add_special(t, AMG_UNKNOWN_WORD);
    t->eos = add_special(t, AMG_EOS_WORD);
    const int64_t specials = o->pad ? 3 : 2;
    if (t->words.count != specials) return false;
    int64_t n = rank_words(c, t, o->min_count, list);
    if (o->max_size > 0 && n > o->max_size - specials) n = o->max_size - specials;
    for (int64_t i = 0; i < n; i++)
        if (amg_spans_add(&t->words, list[i].word, list[i].size) < 0) return false;
    t->size = t->words.count;
    return true;
}

amg_status amg_word_counter_finish(const amg_word_counter *c, const amg_word_options *o,
                                   amg_tokenizer **out, amg_error *err)
{
    const int specials = o->pad ? 3 : 2;
    if (o->max_size < 0 || (o->max_size > 0 && o->max_size <= specials) ||
        o->min_count < 0)
        return amg_fail(err, AMG_INVALID, -1, "vocabulary",
                        "at most %lld tokens, words from %lld times on: it has %d "
                        "special tokens and needs a word",
                        (long long)o->max_size, (long long)o->min_count, specials);
    amg_tokenizer *t = amg_calloc(1, sizeof *t);
    counted *list = amg_malloc(2 * (size_t)c->words.count * sizeof *list);
    amg_status st = AMG_OK;
    if (t != NULL) {
        t->kind = AMG_TOKENIZER_WORD;
        t->lower = o->lower;
        t->punctuation = o->punctuation;
    }
    if (t == NULL || list == NULL || !fill(c, o, list, t)) {
        amg_tokenizer_free(t);
        st = amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary", "no memory for it");
    } else {
        *out = t;
    }
    amg_free(list);
    return st;
}
