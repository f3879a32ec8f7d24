/* Word-level tokens: text -> numbers of its words, and back. The hot loop of the room:
 * a common word costs one look into a table. Knows the vocabulary as it is, not how it
 * was made or saved. */
#include "formats/token_set.h"
#include "text/tokenizer_private.h"
#include "text/words.h"

/* At most this much of a word is shown. */
#define SHOWN_BYTES 60

static amg_status lacks_word(const amg_words *w, const char *word, size_t size,
                             amg_error *err)
{
    const int shown = size < SHOWN_BYTES ? (int)size : SHOWN_BYTES;
    const int64_t end = w->offset + (int64_t)w->pos;
    const amg_status st =
        amg_fail(err, AMG_NOT_FOUND, end - (int64_t)size, w->name,
                 "the vocabulary lacks the word \"%.*s\"%s and has no <unk>", shown,
                 word, size > SHOWN_BYTES ? "…" : "");
    amg_hint(err, "make the vocabulary from all of the text");
    return st;
}

static inline bool append(amg_tokens *out, int64_t id)
{
    if (__builtin_expect(out->count == out->room, 0) && !amg_tokens_reserve(out, 1))
        return false;
    out->ids[out->count++] = (int32_t)id;
    return true;
}

/* The slow way: any word. *done: there was none left. */
static amg_status encode_word(const amg_tokenizer *t, amg_words *w, amg_tokens *out,
                              bool *done, amg_error *err)
{
    const char *word;
    size_t size;
    const amg_status st = amg_words_next(w, &word, &size, err);
    if (st != AMG_OK) return st;
    *done = size == 0;
    if (*done) return AMG_OK;
    int64_t id = amg_spans_find(&t->words, word, size);
    if (id < 0) id = t->unknown;
    if (id < 0) return lacks_word(w, word, size, err);
    if (!append(out, id))
        return amg_fail(err, AMG_NO_MEMORY, -1, w->name, "no memory for tokens");
    return AMG_OK;
}

/* False: the vocabulary lacks it, or no memory. */
static inline bool append_short(const amg_tokenizer *t, const amg_short_word *s,
                                amg_tokens *out)
{
    const amg_span_slot *slot =
        amg_spans_find_short(&t->words, s->key, s->hash, s->size);
    const int64_t id = slot != NULL ? slot->id : t->unknown;
    return id >= 0 && append(out, id);
}

amg_status amg_word_encode(const amg_tokenizer *t, const char *text, size_t size,
                           const char *name, int64_t offset, amg_tokens *out,
                           amg_error *err)
{
    amg_words w = {.text = text,
                   .size = size,
                   .lower = t->lower,
                   .punctuation = t->punctuation,
                   .name = name,
                   .offset = offset};
    const int64_t before = out->count;
    amg_status st = AMG_OK;
    for (bool done = false; !done && st == AMG_OK;) {
        amg_short_word run[AMG_SHORT_RUN];
        const int n = amg_words_next_run(&w, &t->words, run);
        int i = 0;
        while (i < n && append_short(t, &run[i], out)) i++;
        if (i < n) w.pos = run[i].begin; /* the slow way says what is wrong */
        if (i < AMG_SHORT_RUN) st = encode_word(t, &w, out, &done, err);
    }
    amg_chars_clear(&w.lowered);
    if (st != AMG_OK) out->count = before;
    return st;
}

bool amg_word_decode(const amg_tokenizer *t, const int32_t *ids, int64_t count,
                     amg_chars *out)
{
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] == t->pad) continue;
        const bool eos = ids[i] == t->eos;
        const bool first = out->size == 0 || out->data[out->size - 1] == '\n';
        size_t size;
        const char *word = amg_spans_get(&t->words, ids[i], &size);
        if (eos ? !amg_chars_append(out, "\n", 1)
                : (!first && !amg_chars_append(out, " ", 1)) ||
                      !amg_chars_append(out, word, size))
            return false;
    }
    return true;
}
