/* Tokenizers, as the rest of the program sees them: opening, saving, and the choice of
 * the kind. Consumes files and text, produces tokens; the kinds' own work is in
 * tokenizer_word.c and bpe*.c. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/token_set.h"
#include "text/tokenizer_private.h"

#define BYTE_EOS 256
#define BYTE_PAD 257
#define BYTE_SIZE 258

/* A file of ours has the member "format", a tokenizer.json "model". */
static amg_status parse(const char *text, size_t size, const char *name,
                        amg_tokenizer *t, amg_error *err)
{
    amg_json doc;
    amg_status st = amg_json_parse(text, size, 0, name, &doc, err);
    if (st != AMG_OK) return st;
    const amg_json_node root = amg_json_root(&doc);
    if (json_object_get(doc.root, "format") != NULL) {
        st = amg_vocabulary_parse(&root, t, err);
    } else if (json_object_get(doc.root, "model") != NULL) {
        t->kind = AMG_TOKENIZER_BPE;
        st = amg_bpe_parse(&root, &t->bpe, err);
    } else {
        st = amg_json_fail(&root, err, AMG_UNSUPPORTED,
                           "neither a vocabulary.json (it has no \"format\") nor a "
                           "tokenizer.json (it has no \"model\")");
        amg_hint(err, "for vocab.json with merges.txt give their folder");
    }
    amg_json_clear(&doc);
    return st;
}

static void take_bpe_numbers(amg_tokenizer *t)
{
    t->size = amg_bpe_size(t->bpe);
    t->eos = amg_bpe_eos(t->bpe);
    t->pad = amg_bpe_pad(t->bpe);
    t->unknown = amg_bpe_unknown(t->bpe);
}

static amg_status open_text(const char *text, size_t size, const char *name,
                            amg_tokenizer **out, amg_error *err)
{
    amg_tokenizer *t = amg_calloc(1, sizeof *t);
    if (t == NULL) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for it");
    const amg_status st = parse(text, size, name, t, err);
    if (st != AMG_OK) {
        amg_tokenizer_free(t);
        return st;
    }
    if (t->kind == AMG_TOKENIZER_BPE) take_bpe_numbers(t);
    *out = t;
    return AMG_OK;
}

static amg_status open_file(const char *path, amg_tokenizer **out, amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st != AMG_OK) return st;
    st = map.size == 0 ? amg_fail(err, AMG_TRUNCATED, 0, path, "the file is empty")
                       : open_text((const char *)map.data, map.size, path, out, err);
    amg_map_close(&map);
    return st;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = amg_path_join(dir, name);
    const bool found = path != NULL && amg_path_exists(path);
    amg_free(path);
    return found;
}

static amg_status open_folder(const char *dir, amg_tokenizer **out, amg_error *err)
{
    const char *name = has_file(dir, "vocabulary.json")  ? "vocabulary.json"
                       : has_file(dir, "tokenizer.json") ? "tokenizer.json"
                                                         : NULL;
    if (name != NULL) {
        char *path = amg_path_join(dir, name);
        if (path == NULL)
            return amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory for its name");
        const amg_status st = open_file(path, out, err);
        amg_free(path);
        return st;
    }
    if (!has_file(dir, "vocab.json") || !has_file(dir, "merges.txt"))
        return amg_fail(err, AMG_NOT_FOUND, -1, dir,
                        "the folder has no vocabulary.json, no tokenizer.json, and not "
                        "both vocab.json and merges.txt");
    amg_chars json = {0};
    amg_status st = amg_bpe_read_gpt2(dir, &json, err);
    if (st == AMG_OK) st = open_text(json.data, json.size, dir, out, err);
    amg_chars_clear(&json);
    return st;
}

amg_status amg_tokenizer_open(const char *path, amg_tokenizer **out, amg_error *err)
{
    return amg_path_is_dir(path) ? open_folder(path, out, err)
                                 : open_file(path, out, err);
}

void amg_bytes_init(amg_tokenizer *t)
{
    *t = (amg_tokenizer){.kind = AMG_TOKENIZER_BYTE,
                         .size = BYTE_SIZE,
                         .eos = BYTE_EOS,
                         .pad = BYTE_PAD,
                         .unknown = AMG_NO_TOKEN};
}

amg_status amg_tokenizer_bytes(amg_tokenizer **out, amg_error *err)
{
    amg_tokenizer *t = amg_calloc(1, sizeof *t);
    if (t == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, "vocabulary", "no memory for it");
    amg_bytes_init(t);
    *out = t;
    return AMG_OK;
}

void amg_tokenizer_free(amg_tokenizer *t)
{
    if (t == NULL) return;
    amg_spans_clear(&t->words);
    amg_bpe_free(t->bpe);
    amg_free(t);
}

amg_status amg_tokenizer_save(const amg_tokenizer *t, const char *path, amg_error *err)
{
    amg_chars json = {0};
    amg_status st = amg_vocabulary_print(t, &json, err);
    if (st == AMG_OK) st = amg_file_write(path, 0644, false, json.data, json.size, err);
    amg_chars_clear(&json);
    return st;
}

amg_tokenizer_kind amg_tokenizer_get_kind(const amg_tokenizer *t) { return t->kind; }
int64_t amg_tokenizer_size(const amg_tokenizer *t) { return t->size; }
int64_t amg_tokenizer_eos(const amg_tokenizer *t) { return t->eos; }
int64_t amg_tokenizer_pad(const amg_tokenizer *t) { return t->pad; }
int64_t amg_tokenizer_unknown(const amg_tokenizer *t) { return t->unknown; }

static amg_status encode_bytes(const char *text, size_t size, const char *name,
                               amg_tokens *out, amg_error *err)
{
    if (!amg_tokens_reserve(out, (int64_t)size))
        return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for %zu tokens", size);
    int32_t *ids = out->ids + out->count;
    for (size_t i = 0; i < size; i++) ids[i] = (unsigned char)text[i];
    out->count += (int64_t)size;
    return AMG_OK;
}

amg_status amg_tokenizer_encode(const amg_tokenizer *t, const char *text, size_t size,
                                const char *name, int64_t offset, amg_tokens *out,
                                amg_error *err)
{
    switch (t->kind) {
    case AMG_TOKENIZER_WORD:
        return amg_word_encode(t, text, size, name, offset, out, err);
    case AMG_TOKENIZER_BYTE: return encode_bytes(text, size, name, out, err);
    case AMG_TOKENIZER_BPE: break;
    }
    return amg_bpe_encode(t->bpe, text, size, name, offset, out, err);
}

static bool decode_bytes(const int32_t *ids, int64_t count, amg_chars *out)
{
    for (int64_t i = 0; i < count; i++) {
        const char c = ids[i] == BYTE_EOS ? '\n' : (char)ids[i];
        if (ids[i] != BYTE_PAD && !amg_chars_append(out, &c, 1)) return false;
    }
    return true;
}

amg_status amg_tokenizer_decode(const amg_tokenizer *t, const int32_t *ids,
                                int64_t count, amg_chars *out, amg_error *err)
{
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= t->size)
            return amg_fail(err, AMG_INVALID, -1, "tokens",
                            "token %lld of %lld is %d, the vocabulary has 0 to %lld",
                            (long long)i + 1, (long long)count, ids[i],
                            (long long)t->size - 1);
    const size_t before = out->size;
    bool done = false;
    switch (t->kind) {
    case AMG_TOKENIZER_WORD: done = amg_word_decode(t, ids, count, out); break;
    case AMG_TOKENIZER_BYTE: done = decode_bytes(ids, count, out); break;
    case AMG_TOKENIZER_BPE: done = amg_bpe_decode(t->bpe, ids, count, out); break;
    }
    if (done) return AMG_OK;
    out->size = before;
    return amg_fail(err, AMG_NO_MEMORY, -1, "tokens", "no memory for their text");
}
