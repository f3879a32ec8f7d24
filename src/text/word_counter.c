/* Making a word-level vocabulary. Consumes text, produces counts of its words, and from
 * them a tokenizer; files and threads are the caller's. */
#include <stdlib.h>

#include "base/alloc.h"
#include "formats/token_set.h"
#include "text/buffers.h"
#include "text/tokenizer_private.h"
#include "text/words.h"

struct amg_word_counter {
    amg_spans words;
    int64_t *counts; /* [room]; of words.count in use */
    int64_t room;
};

amg_word_counter *amg_word_counter_new(void)
{
    return amg_calloc(1, sizeof(amg_word_counter));
}

void amg_word_counter_free(amg_word_counter *c)
{
    if (c == NULL) return;
    amg_spans_clear(&c->words);
    amg_free(c->counts);
    amg_free(c);
}

/* Counts a word times; its number, or -1: out of memory. */
static int64_t count_word(amg_word_counter *c, const char *word, size_t size,
                          int64_t times)
{
    const int64_t known = c->words.count;
    if (known == c->room) {
        const int64_t room = c->room ? 2 * c->room : 1024;
        int64_t *counts = amg_realloc(c->counts, (size_t)room * sizeof *counts);
        if (counts == NULL) return -1;
        c->counts = counts;
        c->room = room;
    }
    const int64_t id = amg_spans_add(&c->words, word, size);
    if (id < 0) return -1;
    c->counts[id] = (id == known ? 0 : c->counts[id]) + times;
    return id;
}

/* Appends a word's number to words, unless that is NULL; false: out of memory. */
static inline bool note(amg_tokens *words, int64_t id)
{
    if (id < 0) return false;
    if (words == NULL) return true;
    if (words->count == words->room && !amg_tokens_reserve(words, 1)) return false;
    words->ids[words->count++] = (int32_t)id;
    return true;
}

static inline bool count_short(amg_word_counter *c, const char *text,
                               const amg_short_word *s, amg_tokens *words)
{
    int64_t id = amg_spans_find_short(&c->words, s->key, s->hash, s->size);
    if (id >= 0)
        c->counts[id]++;
    else
        id = count_word(c, text + s->begin, s->size, 1);
    return note(words, id);
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
            if (!done) memory = note(words, count_word(c, word, length, 1));
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
    for (int64_t i = 0; i < from->words.count; i++) {
        size_t size;
        const char *word = amg_spans_get(&from->words, i, &size);
        if (count_word(c, word, size, from->counts[i]) < 0)
            return amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary",
                            "no memory to count words");
    }
    return AMG_OK;
}

amg_status amg_word_counter_tokens(const amg_word_counter *c, const amg_tokenizer *t,
                                   int32_t **out, amg_error *err)
{
    if (amg_spans_places(&c->words, &t->words, t->unknown, out)) return AMG_OK;
    return amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary", "no memory for its words");
}

typedef struct {
    const char *word;
    size_t size;
    int64_t count;
} counted;

static int by_bytes(const counted *a, const counted *b)
{
    const int order = memcmp(a->word, b->word, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static int by_count_then_bytes(const void *a, const void *b)
{
    const counted *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return by_bytes(x, y);
}

/* The words by rank into list [count]; special ones are left out. Returns how many. */
static int64_t rank_words(const amg_word_counter *c, const amg_tokenizer *t,
                          int64_t min_count, counted *list)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->words.count; i++) {
        counted word = {.count = c->counts[i]};
        word.word = amg_spans_get(&c->words, i, &word.size);
        if (word.count < min_count) continue;
        if (amg_spans_find(&t->words, word.word, word.size) >= 0) continue;
        list[n++] = word;
    }
    if (n > 0) qsort(list, (size_t)n, sizeof *list, by_count_then_bytes);
    return n;
}

static int64_t add_special(amg_tokenizer *t, const char *word)
{
    return amg_spans_add(&t->words, word, strlen(word));
}

static bool fill(const amg_word_counter *c, const amg_word_options *o, counted *list,
                 amg_tokenizer *t)
{
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
    counted *list = amg_malloc((size_t)c->words.count * sizeof *list);
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
