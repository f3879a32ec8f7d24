/* What the files of the byte pair encoding share: the tables that encoding reads, which
 * never change once parsed, and the workspace of one encoding at a time. */
#ifndef AMG_TEXT_BPE_PRIVATE_H
#define AMG_TEXT_BPE_PRIVATE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>

#include "text/bpe.h"
#include "text/buffers.h"
#include "text/spans.h"

#define AMG_BPE_MAX_TOKENS (1 << 22)
#define AMG_BPE_MAX_STEPS 16

/* Two neighbours that become one: rank is the merge's place in the list. */
typedef struct {
    uint64_t pair; /* left << 32 | right */
    int32_t rank, id;
} amg_bpe_merge;

/* Open addressing by pair; id -1: empty. */
typedef struct {
    amg_bpe_merge *slots;
    size_t num_slots; /* a power of 2 */
} amg_bpe_merges;

/* What becomes of the matches of a pattern, and of the text between. */
typedef enum {
    AMG_SPLIT_REMOVED,
    AMG_SPLIT_ISOLATED,
    AMG_SPLIT_PREVIOUS,
    AMG_SPLIT_NEXT,
    AMG_SPLIT_CONTIGUOUS
} amg_split_behavior;

/* One step of cutting text into the pieces within which tokens merge. */
typedef struct {
    pcre2_code *pattern; /* NULL: no cut */
    amg_split_behavior behavior;
    bool invert;       /* matches and the text between change places */
    bool prefix_space; /* a piece begins with a space, added where there is none */
} amg_bpe_step;

/* A token found in the text before anything else is done to it. */
typedef struct {
    const char *text; /* in amg_bpe.token_bytes */
    size_t size;
    int32_t id;
    bool left, right; /* takes the white space there with it */
    int round;        /* 0: found first; 1: in what is left */
} amg_bpe_added;

/* Part of a text; at: its place in the text, for errors. */
typedef struct {
    const char *text;
    size_t size;
    int64_t at;
} amg_piece;

typedef struct amg_bpe_work amg_bpe_work;

/* Workspaces that no encoding uses. */
typedef struct {
    pthread_mutex_t lock;
    amg_bpe_work *free;
} amg_bpe_pool;

struct amg_bpe {
    amg_chars json;
    int64_t size, eos, pad, unknown;
    bool byte_level;       /* symbols are bytes, else code points */
    bool byte_fallback;    /* code points without token become tokens of bytes */
    bool fuse_unknown;     /* neighbours become one <unk> */
    bool ignore_merges;    /* a piece that is a token is that token */
    char *token_bytes;     /* what each token decodes to */
    uint64_t *begins;      /* [size + 1] in token_bytes */
    amg_spans vocab;       /* text -> number of the text; */
    int32_t *vocab_ids;    /* that number's token */
    int32_t byte_ids[256]; /* token of a byte, or -1 */
    amg_bpe_merges merges;
    amg_bpe_added *added; /* by round, first byte, longest first */
    int num_added;
    bool added_first[2][256]; /* by round: a token begins so */
    amg_bpe_step steps[AMG_BPE_MAX_STEPS];
    int num_steps;
    pcre2_general_context *memory; /* pcre2's allocations go through base/alloc.h */
    amg_bpe_pool *pool;            /* all that encoding changes */
};

/* Symbols of one piece as a list through an array. */
typedef struct {
    int32_t id, prev, next; /* id -1: merged into its neighbour */
} amg_symbol;

typedef struct {
    uint64_t order; /* rank << 32 | position: the smallest goes first */
    int32_t id;
} amg_candidate;

/* Where an encoded piece stands in cached. */
typedef struct {
    int64_t begin, count;
} amg_cached_piece;

struct amg_bpe_work {
    amg_bpe_work *next;
    amg_symbol *symbols;
    size_t symbol_room;
    amg_candidate *heap;
    size_t heap_size, heap_room;
    amg_spans cache; /* pieces seen before, */
    amg_cached_piece *cached_pieces;
    amg_tokens cached; /* and their tokens */
    amg_chars prefixed[AMG_BPE_MAX_STEPS];
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    /* The call being served. */
    const char *name;
    int64_t offset;
    amg_tokens *out;
    amg_error *err;
};

amg_status amg_bpe_no_memory(const char *name, amg_error *err);

/* Merge of two neighbours, or NULL. */
const amg_bpe_merge *amg_bpe_find_merge(const amg_bpe_merges *m, int32_t left,
                                        int32_t right);
/* Sets it; there is room for it. */
void amg_bpe_set_merge(amg_bpe_merges *m, int32_t left, int32_t right, int32_t rank,
                       int32_t id);
/* Appends the tokens of one piece. */
AMG_MUST_CHECK amg_status amg_bpe_encode_piece(const amg_bpe *b, amg_bpe_work *w,
                                               amg_piece piece);

/* Compiles pattern into a step: a regular expression as Oniguruma reads it (Ruby's
 * syntax), or literal text. AMG_UNSUPPORTED where it would mean something else here. */
AMG_MUST_CHECK amg_status amg_bpe_compile(const amg_json_node *pattern, bool literal,
                                          pcre2_general_context *memory,
                                          pcre2_code **out, amg_error *err);
/* Cuts a piece by the steps from first on, and encodes what comes of it. */
AMG_MUST_CHECK amg_status amg_bpe_split(const amg_bpe *b, amg_bpe_work *w, int first,
                                        amg_piece piece);

amg_bpe_work *amg_bpe_work_new(const amg_bpe *b); /* NULL: out of memory */
void amg_bpe_work_free(amg_bpe_work *w);

/* The byte that GPT-2 writes as the code point c; -1: none. */
int amg_bpe_byte_of(uint32_t c);

/* A token while parsing: its text, borrowed from the document. */
typedef struct {
    const char *text; /* NULL: no token has this number */
    bool added;       /* found in the text as it is, never merged */
} amg_bpe_token;

typedef struct {
    amg_bpe *bpe;
    const amg_json_node *root;
    amg_json_node model, vocab, merges, added;
    amg_bpe_token *tokens; /* [bpe->size] */
    amg_error *err;
} amg_bpe_parser;

/* Text and number of added token i of amg_bpe_num_added. */
AMG_MUST_CHECK amg_status amg_bpe_get_added(const amg_bpe_parser *p, size_t i,
                                            amg_json_node *node, const char **text,
                                            int64_t *id);
size_t amg_bpe_num_added(const amg_bpe_parser *p);
/* The number of a text that must be in the vocabulary; node: where that is said. */
AMG_MUST_CHECK amg_status amg_bpe_find_token(const amg_bpe_parser *p,
                                             const amg_json_node *node,
                                             const char *text, int32_t *out);
/* From tokens: all that amg_bpe has but options, steps and special tokens. */
AMG_MUST_CHECK amg_status amg_bpe_build_tables(amg_bpe_parser *p);

/* pre_tokenizer, and of the rest what is there only to be refused. */
AMG_MUST_CHECK amg_status amg_bpe_parse_steps(const amg_json_node *tokenizer,
                                              amg_bpe *b, amg_error *err);

/* Members that may be absent or null. */
AMG_MUST_CHECK amg_status amg_bpe_get_bool(const amg_json_node *object, const char *key,
                                           bool absent, bool *out, amg_error *err);
AMG_MUST_CHECK amg_status amg_bpe_get_type(const amg_json_node *object,
                                           const char **out, amg_error *err);

#endif
