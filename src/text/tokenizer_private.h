/* What the files of the tokenizer share: its struct, and the kinds
 * behind it. */
#ifndef AMG_TEXT_TOKENIZER_PRIVATE_H
#define AMG_TEXT_TOKENIZER_PRIVATE_H

#include "formats/json.h"
#include "text/bpe.h"
#include "text/buffers.h"
#include "text/spans.h"
#include "text/tokenizer.h"

struct amg_tokenizer {
    amg_tokenizer_kind kind;
    int64_t size, eos, pad, unknown;
    amg_spans words; /* word-level: token i is number i */
    bool lower, punctuation;
    amg_bpe *bpe;
};

/* Makes it the byte-level tokenizer. */
void amg_bytes_init(amg_tokenizer *t);

AMG_MUST_CHECK amg_status amg_word_encode(const amg_tokenizer *t, const char *text,
                                          size_t size, const char *name, int64_t offset,
                                          amg_tokens *out, amg_error *err);
bool amg_word_decode(const amg_tokenizer *t, const int32_t *ids, int64_t count,
                     amg_chars *out);

/* vocabulary.json, whose root is an object: fills a zeroed tokenizer. */
AMG_MUST_CHECK amg_status amg_vocabulary_parse(const amg_json_node *root,
                                               amg_tokenizer *t, amg_error *err);
/* Its text. */
AMG_MUST_CHECK amg_status amg_vocabulary_print(const amg_tokenizer *t, amg_chars *out,
                                               amg_error *err);

#endif
