/* Byte pair encodings trained elsewhere: a tokenizer.json of Hugging Face's tokenizers,
 * or GPT-2's vocab.json and merges.txt, turned into one. What is covered is in
 * docs/text.md; anything else that would change tokens is refused by name. */
#ifndef AMG_TEXT_BPE_H
#define AMG_TEXT_BPE_H

#include "formats/json.h"
#include "text/tokenizer.h"

typedef struct amg_bpe amg_bpe;

/* The object that a tokenizer.json is. Nothing of it is borrowed. AMG_UNSUPPORTED names
 * what is not covered, AMG_MALFORMED what is wrong. */
AMG_MUST_CHECK amg_status amg_bpe_parse(const amg_json_node *tokenizer, amg_bpe **out,
                                        amg_error *err);
void amg_bpe_free(amg_bpe *b);

/* Text of a tokenizer.json that equals DIR/vocab.json with DIR/merges.txt. */
AMG_MUST_CHECK amg_status amg_bpe_read_gpt2(const char *dir, amg_chars *out,
                                            amg_error *err);

/* The tokenizer.json again, without what encoding and decoding do not read; borrowed.
 */
const amg_chars *amg_bpe_json(const amg_bpe *b);
int64_t amg_bpe_size(const amg_bpe *b);
int64_t amg_bpe_eos(const amg_bpe *b);
int64_t amg_bpe_pad(const amg_bpe *b);
int64_t amg_bpe_unknown(const amg_bpe *b);

/* As amg_tokenizer_encode and amg_tokenizer_decode. */
AMG_MUST_CHECK amg_status amg_bpe_encode(const amg_bpe *b, const char *text,
                                         size_t size, const char *name, int64_t offset,
                                         amg_tokens *out, amg_error *err);
/* ids are below amg_bpe_size; false: out of memory. */
bool amg_bpe_decode(const amg_bpe *b, const int32_t *ids, int64_t count,
                    amg_chars *out);

#endif
