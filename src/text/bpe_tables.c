/* The tables of a byte pair encoding: what each token decodes to, tokens by their text,
 * merges, added tokens. Consumes the tokens that bpe_parse.c has collected and the
 * document that they come from. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/bpe_private.h"
#include "text/utf8.h"

static amg_status no_memory(const amg_bpe_parser *p)
{
    return amg_bpe_no_memory(p->root->doc->name, p->err);
}

/* Appends the bytes that text stands for, written as GPT-2 writes bytes; *all: text is
 * written so, else nothing is appended. */
static bool append_bytes(const char *text, amg_chars *out, bool *all)
{
    const size_t begin = out->size, size = strlen(text);
    *all = true;
    for (size_t i = 0; i < size;) {
        uint32_t c = 0;
        i += (size_t)amg_utf8_get(text + i, size - i, &c);
        const int byte = amg_bpe_byte_of(c);
        const char one = (char)byte;
        if (byte < 0) {
            *all = false;
            out->size = begin;
            return true;
        }
        if (!amg_chars_append(out, &one, 1)) return false;
    }
    return true;
}

/* The byte of a token "<0x41>"; -1: it is another. */
static int fallback_byte(const amg_bpe *b, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    if (!b->byte_fallback || strlen(text) != 6 || memcmp(text, "<0x", 3) != 0 ||
        text[5] != '>')
        return -1;
    const char *high = strchr(digits, text[3]), *low = strchr(digits, text[4]);
    return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

/* What a token decodes to. */
static bool append_decoded(const amg_bpe *b, const amg_bpe_token *t, amg_chars *out)
{
    bool all = false;
    const int byte = t->added ? -1 : fallback_byte(b, t->text);
    const char one = (char)byte;
    if (byte >= 0) return amg_chars_append(out, &one, 1);
    if (b->byte_level && !t->added && !append_bytes(t->text, out, &all)) return false;
    return all || amg_chars_append(out, t->text, strlen(t->text));
}

static amg_status build_decoder(amg_bpe_parser *p)
{
    amg_bpe *b = p->bpe;
    amg_chars bytes = {0};
    b->begins = amg_calloc((size_t)b->size + 1, sizeof *b->begins);
    bool done = b->begins != NULL;
    for (int64_t id = 0; id < b->size && done; id++) {
        const amg_bpe_token *t = &p->tokens[id];
        if (t->text != NULL) done = append_decoded(b, t, &bytes);
        b->begins[id + 1] = bytes.size;
    }
    b->token_bytes = bytes.data;
    return done ? AMG_OK : no_memory(p);
}

/* The model's tokens by the text that they encode: vocab, vocab_ids and byte_ids. */
static amg_status build_encoder(amg_bpe_parser *p)
{
    amg_bpe *b = p->bpe;
    const size_t room = json_object_size(p->vocab.value);
    amg_chars bytes = {0};
    const char *key;
    json_t *value;
    for (int i = 0; i < 256; i++) b->byte_ids[i] = -1;
    b->vocab_ids = amg_malloc(room * sizeof *b->vocab_ids);
    bool done = b->vocab_ids != NULL;
    json_object_foreach(p->vocab.value, key, value)
    {
        const int32_t id = (int32_t)json_integer_value(value);
        bool all = !b->byte_level;
        bytes.size = 0;
        if (done)
            done = b->byte_level ? append_bytes(key, &bytes, &all)
                                 : amg_chars_append(&bytes, key, strlen(key));
        if (!done) break;
        if (!all || bytes.size == 0) continue;
        const int byte = b->byte_level ? -1 : fallback_byte(b, key);
        if (byte >= 0) b->byte_ids[byte] = id;
        if (b->byte_level && bytes.size == 1)
            b->byte_ids[(unsigned char)bytes.data[0]] = id;
        const int64_t number = amg_spans_add(&b->vocab, bytes.data, bytes.size);
        done = number >= 0;
        if (done) b->vocab_ids[number] = id;
    }
    amg_chars_clear(&bytes);
    return done ? AMG_OK : no_memory(p);
}

/* The number of a text that must be in the vocabulary; node: where that is said. */
amg_status amg_bpe_find_token(const amg_bpe_parser *p, const amg_json_node *node,
                              const char *text, int32_t *out)
{
    const json_t *id = json_object_get(p->vocab.value, text);
    if (id == NULL)
        return amg_json_fail(node, p->err, AMG_MALFORMED,
                             "\"%s\" is not in the vocabulary", text);
    *out = (int32_t)json_integer_value(id);
    return AMG_OK;
}

/* A merge is "left right" or ["left", "right"]; both end up in joined, a 0 between. */
static amg_status read_merge(const amg_bpe_parser *p, const amg_json_node *node,
                             amg_chars *joined, size_t *right)
{
    const char *text[2] = {NULL, NULL}, *space = NULL;
    size_t size[2] = {0}, count;
    amg_status st;
    if (json_is_string(node->value)) {
        text[0] = json_string_value(node->value);
        space = strchr(text[0], ' ');
        if (space == NULL || space == text[0] || space[1] == 0 ||
            strchr(space + 1, ' '))
            return amg_json_fail(node, p->err, AMG_MALFORMED,
                                 "expected two tokens with a space between");
        text[1] = space + 1;
    } else {
        st = amg_json_array(node, 2, 2, &count, p->err);
        for (size_t i = 0; i < 2 && st == AMG_OK; i++) {
            const amg_json_node part = amg_json_element(node, i);
            st = amg_json_string(&part, &text[i], p->err);
        }
        if (st != AMG_OK) return st;
    }
    size[1] = strlen(text[1]);
    size[0] = space != NULL ? (size_t)(space - text[0]) : strlen(text[0]);
    joined->size = 0;
    *right = size[0] + 1;
    const bool done = amg_chars_append(joined, text[0], size[0]) &&
                      amg_chars_append(joined, "", 1) &&
                      amg_chars_append(joined, text[1], size[1] + 1);
    return done ? AMG_OK : no_memory(p);
}

static amg_status build_merge(amg_bpe_parser *p, size_t rank, amg_chars *joined)
{
    const amg_json_node node = amg_json_element(&p->merges, rank);
    int32_t left = 0, right = 0, both = 0;
    size_t middle = 0;
    amg_status st = read_merge(p, &node, joined, &middle);
    if (st != AMG_OK) return st;
    char *text = joined->data;
    st = amg_bpe_find_token(p, &node, text, &left);
    if (st == AMG_OK) st = amg_bpe_find_token(p, &node, text + middle, &right);
    if (st != AMG_OK) return st;
    memmove(text + middle - 1, text + middle, joined->size - middle);
    st = amg_bpe_find_token(p, &node, text, &both);
    if (st == AMG_OK)
        amg_bpe_set_merge(&p->bpe->merges, left, right, (int32_t)rank, both);
    return st;
}

static amg_status build_merges(amg_bpe_parser *p)
{
    size_t count;
    amg_status st = amg_json_array(&p->merges, 0, INT32_MAX / 4, &count, p->err);
    if (st != AMG_OK) return st;
    amg_bpe_merges *m = &p->bpe->merges;
    m->num_slots = 16;
    while (m->num_slots < 2 * count) m->num_slots *= 2;
    m->slots = amg_malloc(m->num_slots * sizeof *m->slots);
    if (m->slots == NULL) return no_memory(p);
    for (size_t i = 0; i < m->num_slots; i++) m->slots[i] = (amg_bpe_merge){.id = -1};
    amg_chars joined = {0};
    for (size_t i = 0; i < count && st == AMG_OK; i++) st = build_merge(p, i, &joined);
    amg_chars_clear(&joined);
    return st;
}

static int by_round_and_text(const void *a, const void *b)
{
    const amg_bpe_added *x = a, *y = b;
    if (x->round != y->round) return x->round - y->round;
    if (x->text[0] != y->text[0])
        return (unsigned char)x->text[0] - (unsigned char)y->text[0];
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    return memcmp(x->text, y->text, x->size);
}

static amg_status build_added(amg_bpe_parser *p)
{
    amg_bpe *b = p->bpe;
    b->added = amg_calloc(amg_bpe_num_added(p) + 1, sizeof *b->added);
    if (b->added == NULL) return no_memory(p);
    for (size_t i = 0; i < amg_bpe_num_added(p); i++) {
        amg_json_node node;
        const char *text;
        int64_t id;
        bool single = false, normalized = false;
        amg_bpe_added *a = &b->added[i];
        amg_status st = amg_bpe_get_added(p, i, &node, &text, &id);
        if (st == AMG_OK)
            st = amg_bpe_get_bool(&node, "single_word", false, &single, p->err);
        if (st == AMG_OK)
            st = amg_bpe_get_bool(&node, "lstrip", false, &a->left, p->err);
        if (st == AMG_OK)
            st = amg_bpe_get_bool(&node, "rstrip", false, &a->right, p->err);
        if (st == AMG_OK)
            st = amg_bpe_get_bool(&node, "normalized", false, &normalized, p->err);
        if (st == AMG_OK && single)
            st = amg_json_fail(&node, p->err, AMG_UNSUPPORTED,
                               "\"single_word\" is not covered");
        if (st != AMG_OK) return st;
        a->text = b->token_bytes + b->begins[id]; /* decodes to its text */
        a->size = strlen(text);
        a->id = (int32_t)id;
        a->round = normalized;
        b->added_first[a->round][(unsigned char)*text] = true;
        b->num_added++;
    }
    qsort(b->added, (size_t)b->num_added, sizeof *b->added, by_round_and_text);
    return AMG_OK;
}

amg_status amg_bpe_build_tables(amg_bpe_parser *p)
{
    amg_status st = build_decoder(p);
    if (st == AMG_OK) st = build_encoder(p);
    if (st == AMG_OK) st = build_merges(p);
    return st == AMG_OK ? build_added(p) : st;
}
