/* GPT-2's pair of files, vocab.json and merges.txt -> the tokenizer.json that equals
 * them. Consumes a folder; faults are reported with their place in the file they are
 * in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "text/bpe_private.h"

#define END_OF_TEXT "<|endoftext|>"

typedef struct {
    const char *name; /* of merges.txt */
    const json_t *vocab;
    json_t *list; /* of merges */
    amg_chars token;
    amg_error *err;
} merges_reader;

/* text[0..size) is in the vocabulary. */
static amg_status check_token(merges_reader *r, const char *text, size_t size,
                              int64_t offset, int64_t line)
{
    r->token.size = 0;
    if (!amg_chars_append(&r->token, text, size) || !amg_chars_append(&r->token, "", 1))
        return amg_bpe_no_memory(r->name, r->err);
    if (json_object_get(r->vocab, r->token.data) != NULL) return AMG_OK;
    return amg_fail(r->err, AMG_MALFORMED, offset, r->name,
                    "line %lld: \"%s\" is not in vocab.json", (long long)line,
                    r->token.data);
}

static amg_status read_line(merges_reader *r, const char *text, size_t size,
                            int64_t offset, int64_t line)
{
    const char *space = size > 0 ? memchr(text, ' ', size) : NULL;
    const size_t left = space ? (size_t)(space - text) : size;
    const size_t right = space ? size - left - 1 : 0;
    if (left == 0 || right == 0 || memchr(space + 1, ' ', right) != NULL)
        return amg_fail(r->err, AMG_MALFORMED, offset, r->name,
                        "line %lld: expected two tokens with a space between",
                        (long long)line);
    amg_status st = check_token(r, text, left, offset, line);
    if (st == AMG_OK) st = check_token(r, space + 1, right, offset, line);
    if (st != AMG_OK) return st;
    json_t *merge = json_stringn(text, size);
    if (merge == NULL)
        return amg_fail(r->err, AMG_MALFORMED, offset, r->name, "line %lld: not UTF-8",
                        (long long)line);
    if (json_array_append_new(r->list, merge) != 0)
        return amg_bpe_no_memory(r->name, r->err);
    return st;
}

/* A line each; the first may say "#version", the last may be empty. */
static amg_status read_merges(merges_reader *r, const char *data, size_t size)
{
    int64_t line = 1;
    amg_status st = AMG_OK;
    for (size_t at = 0; at < size && st == AMG_OK; line++) {
        const char *p = data + at, *end = memchr(p, '\n', size - at);
        const size_t whole = end ? (size_t)(end + 1 - p) : size - at;
        size_t length = end ? whole - 1 : whole;
        if (length > 0 && p[length - 1] == '\r') length--;
        const bool version = length >= 8 && memcmp(p, "#version", 8) == 0;
        if (!version && length > 0) st = read_line(r, p, length, (int64_t)at, line);
        at += whole;
    }
    return st;
}

/* {"model": {…}, …} with copies of nothing: vocab and merges are borrowed. */
static json_t *wrap(json_t *vocab, json_t *merges)
{
    json_t *added = json_array(), *end = json_object_get(vocab, END_OF_TEXT);
    if (end != NULL)
        json_array_append_new(added, json_pack("{s:O, s:s, s:b, s:b, s:b, s:b, s:b}",
                                               "id", end, "content", END_OF_TEXT,
                                               "single_word", 0, "lstrip", 0, "rstrip",
                                               0, "normalized", 0, "special", 1));
    return json_pack("{s:o, s:{s:s, s:b}, s:{s:s}, s:{s:s, s:O, s:O}}", "added_tokens",
                     added, "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                     "decoder", "type", "ByteLevel", "model", "type", "BPE", "vocab",
                     vocab, "merges", merges);
}

static amg_status print(json_t *vocab, json_t *merges, const char *dir, amg_chars *out,
                        amg_error *err)
{
    json_t *tokenizer = wrap(vocab, merges);
    char *text = tokenizer != NULL ? json_dumps(tokenizer, JSON_COMPACT) : NULL;
    const bool done = text != NULL && amg_chars_append(out, text, strlen(text));
    free(text);
    json_decref(tokenizer);
    return done ? AMG_OK : amg_bpe_no_memory(dir, err);
}

amg_status amg_bpe_read_gpt2(const char *dir, amg_chars *out, amg_error *err)
{
    char *paths[2] = {amg_path_join(dir, "vocab.json"),
                      amg_path_join(dir, "merges.txt")};
    amg_map maps[2] = {{0}, {0}};
    amg_json vocab = {0};
    merges_reader r = {.name = paths[1], .list = json_array(), .err = err};
    amg_status st = AMG_OK;
    if (paths[0] == NULL || paths[1] == NULL || r.list == NULL)
        st = amg_bpe_no_memory(dir, err);
    for (int i = 0; i < 2 && st == AMG_OK; i++)
        st = amg_map_open(paths[i], &maps[i], err);
    if (st == AMG_OK)
        st = amg_json_parse((const char *)maps[0].data, maps[0].size, 0, paths[0],
                            &vocab, err);
    if (st != AMG_OK) goto done;
    r.vocab = vocab.root;
    st = read_merges(&r, (const char *)maps[1].data, maps[1].size);
    if (st == AMG_OK) st = print(vocab.root, r.list, dir, out, err);
done:
    amg_json_clear(&vocab);
    json_decref(r.list);
    amg_chars_clear(&r.token);
    for (int i = 0; i < 2; i++) {
        amg_map_close(&maps[i]);
        amg_free(paths[i]);
    }
    return st;
}
