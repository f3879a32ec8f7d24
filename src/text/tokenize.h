/* `amalgam tokenize` and `amalgam split`: text files -> token sets, and one token set
 * -> disjoint ones. Streaming; many threads; the bytes written depend on the input and
 * the options alone. */
#ifndef AMG_TEXT_TOKENIZE_H
#define AMG_TEXT_TOKENIZE_H

#include "amalgam/progress.h"
#include "formats/token_set.h"
#include "text/records.h"
#include "text/tokenizer.h"

typedef struct {
    const char *const *inputs; /* files, in this order */
    int num_inputs;
    amg_records_options records;
    amg_tokenizer_kind kind;
    const char *vocabulary; /* tokenizer to use (amg_tokenizer_open); NULL: word: made
                               from the inputs; byte: none needed */
    amg_word_options words; /* of a vocabulary that is made */
    const char *const *classes; /* label texts in class order; NULL: those of the input,
                                   sorted (all numbers: by value) */
    int num_classes;
    bool whole_file;    /* plain text: one document a file, line ends kept (byte, BPE);
                           else one a line, each with <eos> behind it where there is one */
    int64_t keep_bytes; /* memory for the words of inputs whose vocabulary is made: if
                           it holds them, files are read once, else twice; 0: 256 MiB */
    const char *out;    /* the token set to make */
} amg_tokenize_options;

typedef struct {
    amg_token_info info;    /* classes NULL */
    int64_t bytes, unknown; /* of text; tokens that are <unk> */
    double seconds;
} amg_tokenize_result;

/* Makes OUT or leaves nothing. AMG_MISMATCH: a label that classes lacks (names line and
 * column). */
AMG_MUST_CHECK amg_status amg_tokenize(const amg_tokenize_options *options,
                                       const amg_progress *progress,
                                       amg_tokenize_result *result, amg_error *err);

/* Cuts a token set into num_parts disjoint ones, drawn at random: chunk tokens at a
 * time (documents are cut too; 0: whole documents; labelled sets: always), as near to
 * shares as pieces allow. A piece goes to a part, and to its place there, by a keyed
 * shuffle under seed. Contiguous parts of a corpus drift in topic and give a decoy
 * away; random ones do not, nor does a stretch of one. */
typedef struct {
    const char *input;
    int num_parts;
    const char *const *outs;
    const double *shares; /* positive; any scale */
    int64_t chunk;
    uint64_t seed;
} amg_split_options;
AMG_MUST_CHECK amg_status amg_split_tokens(const amg_split_options *options,
                                           const amg_progress *progress,
                                           amg_token_info *parts, amg_error *err);

#endif
