/* Tokenizers: text <-> tokens. Word-level (as WikiText is read), byte-level, and byte
 * pair encodings that were trained elsewhere (tokenizer.json of Hugging Face,
 * vocab.json with merges.txt of GPT-2).
 *
 * Saved as vocabulary.json, which names every token: whoever has it reads the text. It
 * stays at home. */
#ifndef AMG_TEXT_TOKENIZER_H
#define AMG_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

typedef struct amg_tokenizer amg_tokenizer;

typedef enum {
    AMG_TOKENIZER_WORD,
    AMG_TOKENIZER_BYTE,
    AMG_TOKENIZER_BPE
} amg_tokenizer_kind;

/* A list of tokens, grown by encode; zeroed is empty. */
typedef struct {
    int32_t *ids;
    int64_t count, room;
} amg_tokens;
void amg_tokens_clear(amg_tokens *t);

/* A buffer of bytes, grown by decode; zeroed is empty. Not 0-terminated. */
typedef struct {
    char *data;
    size_t size, room;
} amg_chars;
void amg_chars_clear(amg_chars *t);

/* A vocabulary.json of ours, a tokenizer.json, or a folder that has vocabulary.json (a
 * token set), tokenizer.json, or vocab.json and merges.txt. AMG_UNSUPPORTED names what
 * a tokenizer.json asks for that is not covered. */
AMG_MUST_CHECK amg_status amg_tokenizer_open(const char *path, amg_tokenizer **out,
                                             amg_error *err);
/* 256 tokens, one a byte; then <eos> and <pad>. */
AMG_MUST_CHECK amg_status amg_tokenizer_bytes(amg_tokenizer **out, amg_error *err);
void amg_tokenizer_free(amg_tokenizer *t);
/* Canonical bytes: the same vocabulary, the same file. */
AMG_MUST_CHECK amg_status amg_tokenizer_save(const amg_tokenizer *t, const char *path,
                                             amg_error *err);

amg_tokenizer_kind amg_tokenizer_get_kind(const amg_tokenizer *t);
int64_t amg_tokenizer_size(const amg_tokenizer *t);
/* AMG_NO_TOKEN (formats/token_set.h) where there is none. */
int64_t amg_tokenizer_eos(const amg_tokenizer *t);
int64_t amg_tokenizer_pad(const amg_tokenizer *t);
int64_t amg_tokenizer_unknown(const amg_tokenizer *t);

/* Appends the tokens of size bytes of UTF-8 (bytes: of anything), without <eos>. name
 * and offset (of text[0] in that file) are for errors: AMG_MALFORMED for invalid UTF-8,
 * AMG_NOT_FOUND for a word that the vocabulary lacks when it has no <unk>. Thread-safe.
 */
AMG_MUST_CHECK amg_status amg_tokenizer_encode(const amg_tokenizer *t, const char *text,
                                               size_t size, const char *name,
                                               int64_t offset, amg_tokens *out,
                                               amg_error *err);
/* Appends the text of tokens; words are joined by one space. In word-level and bytes
 * <eos> is a line end and <pad> nothing; in BPE they are what their names say.
 * AMG_INVALID: a token out of range. */
AMG_MUST_CHECK amg_status amg_tokenizer_decode(const amg_tokenizer *t,
                                               const int32_t *ids, int64_t count,
                                               amg_chars *out, amg_error *err);

/* Making a word-level vocabulary: counts first, then tokens by descending count, equal
 * ones by bytes. One per thread; merging is order-independent, so the result does not
 * depend on how the text was cut. */
typedef struct amg_word_counter amg_word_counter;

amg_word_counter *amg_word_counter_new(void); /* NULL: out of memory */
void amg_word_counter_free(amg_word_counter *c);
/* Words are what whitespace separates, as Python's str.split does (lower: ASCII letters
 * and those of Unicode's simple case mapping in lower case; punctuation: each of
 * ASCII's is a word, as basic English tokenizers do; "<unk>", "<eos>" and "<pad>"
 * between spaces stay whole). */
typedef struct {
    bool lower, punctuation;
    int64_t max_size;  /* of the vocabulary, special tokens included; 0: no limit */
    int64_t min_count; /* rarer words become <unk>; 0: 1 */
    bool pad;          /* with <pad>, as token 0 */
} amg_word_options;
/* words (NULL: not wanted) gets the counter's own number of each word behind what it
 * has. */
AMG_MUST_CHECK amg_status amg_word_counter_add(amg_word_counter *c,
                                               const amg_word_options *o,
                                               const char *text, size_t size,
                                               const char *name, int64_t offset,
                                               amg_tokens *words, amg_error *err);
/* The token of each of the counter's own numbers (heap), or NULL: no memory. */
int32_t *amg_word_counter_tokens(const amg_word_counter *c, const amg_tokenizer *t);
/* from stays as it is. */
AMG_MUST_CHECK amg_status amg_word_counter_merge(amg_word_counter *c,
                                                 const amg_word_counter *from,
                                                 amg_error *err);
/* Special tokens first: <pad> (if asked), <unk> (always; its count adds those of the
 * words left out, and of "<unk>" in the text), <eos>. */
AMG_MUST_CHECK amg_status amg_word_counter_finish(const amg_word_counter *c,
                                                  const amg_word_options *o,
                                                  amg_tokenizer **out, amg_error *err);

#endif
