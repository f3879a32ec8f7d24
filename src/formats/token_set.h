/* A token set: text as numbers, the folder that `amalgam tokenize` writes and the data
 * sets of kind "text" read (docs/text.md).
 *
 *   tokens.json        what is below, sizes of the files, SHA-256 of the vocabulary
 *   tokens-00000.npy   u16 or u32 [n], shard after shard one stream of tokens
 *   documents.npy      i64 [documents + 1]: where each begins in the stream; the last
 *                      entry is the number of tokens
 *   labels.npy         i32 [documents], where they have a class each
 *   vocabulary.json    the tokenizer (text/tokenizer.h); home only, not read here
 */
#ifndef AMG_FORMATS_TOKEN_SET_H
#define AMG_FORMATS_TOKEN_SET_H

#include "base/arena.h"
#include "formats/npy.h"

#define AMG_NO_TOKEN (-1)
/* Tokens of every shard but the last that we write; a reader takes any number. */
#define AMG_SHARD_TOKENS ((int64_t)1 << 24)

typedef struct {
    int64_t vocab_size;
    int64_t pad, eos;    /* tokens, or AMG_NO_TOKEN */
    char vocabulary[65]; /* SHA-256 of vocabulary.json: equal ones count alike */
    int64_t num_tokens, num_documents;
    int64_t num_classes;  /* 0: documents have no labels */
    const char **classes; /* [num_classes] names */
} amg_token_info;

typedef struct {
    amg_arena arena; /* owns strings and arrays below */
    const char *dir; /* as given to open, for errors */
    amg_token_info info;
    int num_shards;
    amg_npy *shards;
    int64_t *shard_begin; /* [num_shards + 1] tokens before each */
    amg_npy documents_file, labels_file;
    const int64_t *documents;
    const int32_t *labels; /* NULL: none */
} amg_token_set;

/* Maps and checks everything: fields, sizes, dtypes, that documents ascend and labels
 * are below num_classes; tokens are checked when read. docs/datasets.md has the bytes
 * and every refusal. */
AMG_MUST_CHECK amg_status amg_token_set_open(const char *dir, amg_token_set *out,
                                             amg_error *err);
void amg_token_set_close(amg_token_set *set); /* zeroed is fine */
/* Tokens begin .. begin+count-1 of the stream into out. AMG_MALFORMED with shard and
 * offset where one is not below vocab_size. Thread-safe. */
AMG_MUST_CHECK amg_status amg_token_set_read(const amg_token_set *set, int64_t begin,
                                             int64_t count, int32_t *out,
                                             amg_error *err);
/* The document that holds a token of the stream, 0 <= token < num_tokens. */
int64_t amg_token_set_document(const amg_token_set *set, int64_t token);

/* Writing, document by document, in bounded memory: everything goes into a folder
 * beside DIR that becomes DIR in finish. abort leaves nothing. */
typedef struct amg_token_writer amg_token_writer;

/* info: vocab_size, pad, eos, num_classes and classes (copied). */
AMG_MUST_CHECK amg_status amg_token_writer_new(const char *dir,
                                               const amg_token_info *info,
                                               amg_token_writer **out, amg_error *err);
/* Tokens of a document that is too long for one buffer: the next add ends it. */
AMG_MUST_CHECK amg_status amg_token_writer_part(amg_token_writer *w,
                                                const int32_t *tokens, int64_t count,
                                                amg_error *err);
/* One document; label is ignored where info has no classes. */
AMG_MUST_CHECK amg_status amg_token_writer_add(amg_token_writer *w,
                                               const int32_t *tokens, int64_t count,
                                               int32_t label, amg_error *err);
/* The folder being written, for vocabulary.json. */
const char *amg_token_writer_dir(const amg_token_writer *w);
/* Hashes vocabulary.json, which must be there by now, writes tokens.json, renames.
 * written (NULL allowed) is info with the numbers filled in and classes NULL. Frees w,
 * also on failure. AMG_INVALID: no token was added. */
AMG_MUST_CHECK amg_status amg_token_writer_finish(amg_token_writer *w,
                                                  amg_token_info *written,
                                                  amg_error *err);
void amg_token_writer_abort(amg_token_writer *w); /* NULL is fine */

#endif
