/* vocabulary.json, the tokenizer's own file. Consumes its JSON, produces a tokenizer,
 * and the other way round: one member a line in a fixed order, so that the same
 * vocabulary gives the same bytes.
 *
 *   {"format": "amalgam vocabulary", "version": 1, "kind": "word", "lower": false,
 *    "punctuation": false, "pad": null, "unknown": 0, "eos": 1, "tokens": ["<unk>", …]}
 *   {…, "kind": "byte"}
 *   {…, "kind": "bpe", "tokenizer": {what is used of a tokenizer.json}}
 *
 * Knows no merges and no text. */
#include <stdio.h>
#include <string.h>

#include "formats/token_set.h"
#include "text/tokenizer_private.h"

#define FORMAT "amalgam vocabulary"
#define VERSION 1

static amg_status parse_bool(const amg_json_node *object, const char *key, bool *out,
                             amg_error *err)
{
    const amg_json_node node = amg_json_member(object, key);
    if (!json_is_boolean(node.value))
        return amg_json_fail(&node, err, AMG_MALFORMED, "expected true or false");
    *out = json_is_true(node.value);
    return AMG_OK;
}

static amg_status parse_token(const amg_json_node *object, const char *key,
                              int64_t size, int64_t *out, amg_error *err)
{
    const amg_json_node node = amg_json_member(object, key);
    if (!json_is_null(node.value)) return amg_json_int(&node, 0, size - 1, out, err);
    *out = AMG_NO_TOKEN;
    return AMG_OK;
}

static amg_status parse_tokens(const amg_json_node *root, amg_tokenizer *t,
                               amg_error *err)
{
    const amg_json_node list = amg_json_member(root, "tokens");
    size_t count;
    amg_status st = amg_json_array(&list, 1, INT32_MAX, &count, err);
    for (size_t i = 0; i < count && st == AMG_OK; i++) {
        const amg_json_node node = amg_json_element(&list, i);
        const char *word;
        st = amg_json_string(&node, &word, err);
        if (st != AMG_OK) return st;
        if (*word == 0)
            return amg_json_fail(&node, err, AMG_MALFORMED, "an empty token");
        const int64_t id = amg_spans_add(&t->words, word, strlen(word));
        if (id < 0)
            return amg_fail(err, AMG_NO_MEMORY, -1, root->doc->name,
                            "no memory for its tokens");
        if (id != (int64_t)i)
            return amg_json_fail(&node, err, AMG_MALFORMED, "equal to token %lld",
                                 (long long)id);
    }
    t->size = t->words.count;
    return st;
}

static amg_status parse_word(const amg_json_node *root, amg_tokenizer *t,
                             amg_error *err)
{
    static const char *const keys[] = {"format",  "version",     "kind",
                                       "lower",   "punctuation", "pad",
                                       "unknown", "eos",         "tokens"};
    amg_status st = amg_json_object(root, keys, sizeof keys / sizeof *keys, err);
    t->kind = AMG_TOKENIZER_WORD;
    if (st == AMG_OK) st = parse_bool(root, "lower", &t->lower, err);
    if (st == AMG_OK) st = parse_bool(root, "punctuation", &t->punctuation, err);
    if (st == AMG_OK) st = parse_tokens(root, t, err);
    if (st == AMG_OK) st = parse_token(root, "pad", t->size, &t->pad, err);
    if (st == AMG_OK) st = parse_token(root, "unknown", t->size, &t->unknown, err);
    if (st == AMG_OK) st = parse_token(root, "eos", t->size, &t->eos, err);
    if (st != AMG_OK) return st;
    const bool same = (t->pad >= 0 && (t->pad == t->unknown || t->pad == t->eos)) ||
                      (t->eos >= 0 && t->eos == t->unknown);
    if (!same) return AMG_OK;
    const amg_json_node node = amg_json_member(root, "eos");
    return amg_json_fail(&node, err, AMG_MALFORMED,
                         "pad, unknown and eos are not three tokens");
}

static amg_status parse_byte(const amg_json_node *root, amg_tokenizer *t,
                             amg_error *err)
{
    static const char *const keys[] = {"format", "version", "kind"};
    const amg_status st = amg_json_object(root, keys, 3, err);
    if (st == AMG_OK) amg_bytes_init(t);
    return st;
}

static amg_status parse_bpe(const amg_json_node *root, amg_tokenizer *t, amg_error *err)
{
    static const char *const keys[] = {"format", "version", "kind", "tokenizer"};
    const amg_status st = amg_json_object(root, keys, 4, err);
    if (st != AMG_OK) return st;
    const amg_json_node tokenizer = amg_json_member(root, "tokenizer");
    t->kind = AMG_TOKENIZER_BPE;
    return amg_bpe_parse(&tokenizer, &t->bpe, err);
}

amg_status amg_vocabulary_parse(const amg_json_node *root, amg_tokenizer *t,
                                amg_error *err)
{
    const amg_json_node format = amg_json_member(root, "format"),
                        version = amg_json_member(root, "version"),
                        kind = amg_json_member(root, "kind");
    const char *text;
    int64_t number;
    amg_status st = amg_json_string(&format, &text, err);
    if (st != AMG_OK) return st;
    if (strcmp(text, FORMAT) != 0)
        return amg_json_fail(&format, err, AMG_MALFORMED,
                             "found \"%s\", expected \"" FORMAT "\"", text);
    if (version.value == NULL || kind.value == NULL)
        return amg_json_fail(root, err, AMG_MALFORMED,
                             "lacks the member \"version\" or \"kind\"");
    st = amg_json_int(&version, 1, INT32_MAX, &number, err);
    if (st == AMG_OK) st = amg_json_string(&kind, &text, err);
    if (st != AMG_OK) return st;
    if (number != VERSION)
        return amg_json_fail(&version, err, AMG_UNSUPPORTED,
                             "version %lld, this program reads version %d",
                             (long long)number, VERSION);
    if (strcmp(text, "word") == 0) return parse_word(root, t, err);
    if (strcmp(text, "byte") == 0) return parse_byte(root, t, err);
    if (strcmp(text, "bpe") == 0) return parse_bpe(root, t, err);
    return amg_json_fail(&kind, err, AMG_MALFORMED,
                         "found \"%s\", expected \"word\", \"byte\" or \"bpe\"", text);
}

/* Writing; false: out of memory. */

static bool put(amg_chars *out, const char *text)
{
    return amg_chars_append(out, text, strlen(text));
}

static bool put_string(amg_chars *out, const char *bytes, size_t size)
{
    if (!put(out, "\"")) return false;
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        char escaped[8] = {bytes[i]};
        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
        if (!put(out, escaped)) return false;
    }
    return put(out, "\"");
}

static bool put_token(amg_chars *out, const char *key, int64_t token)
{
    char line[64];
    if (token == AMG_NO_TOKEN)
        snprintf(line, sizeof line, "\"%s\": null,\n", key);
    else
        snprintf(line, sizeof line, "\"%s\": %lld,\n", key, (long long)token);
    return put(out, line);
}

static bool put_bool(amg_chars *out, const char *key, bool value)
{
    return put(out, "\"") && put(out, key) &&
           put(out, value ? "\": true,\n" : "\": false,\n");
}

static bool put_word(const amg_tokenizer *t, amg_chars *out)
{
    if (!put(out, "\"kind\": \"word\",\n") || !put_bool(out, "lower", t->lower) ||
        !put_bool(out, "punctuation", t->punctuation) ||
        !put_token(out, "pad", t->pad) || !put_token(out, "unknown", t->unknown) ||
        !put_token(out, "eos", t->eos) || !put(out, "\"tokens\": [\n"))
        return false;
    for (int64_t i = 0; i < t->size; i++) {
        size_t size;
        const char *word = amg_spans_get(&t->words, i, &size);
        if (!put_string(out, word, size) || !put(out, i + 1 < t->size ? ",\n" : "\n"))
            return false;
    }
    return put(out, "]}\n");
}

static bool put_bpe(const amg_bpe *bpe, amg_chars *out)
{
    const amg_chars *json = amg_bpe_json(bpe);
    return put(out, "\"kind\": \"bpe\",\n\"tokenizer\": ") &&
           amg_chars_append(out, json->data, json->size) && put(out, "}\n");
}

amg_status amg_vocabulary_print(const amg_tokenizer *t, amg_chars *out, amg_error *err)
{
    bool done = put(out, "{\"format\": \"" FORMAT "\",\n\"version\": 1,\n");
    switch (t->kind) {
    case AMG_TOKENIZER_WORD: done = done && put_word(t, out); break;
    case AMG_TOKENIZER_BYTE: done = done && put(out, "\"kind\": \"byte\"}\n"); break;
    case AMG_TOKENIZER_BPE: done = done && put_bpe(t->bpe, out); break;
    }
    if (done) return AMG_OK;
    amg_chars_clear(out);
    return amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary.json",
                    "no memory for its text");
}
