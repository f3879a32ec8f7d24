/* The passes of `amalgam tokenize` over its inputs. A private header of text/.
 *
 *   files ──► batches ──► slices, on all threads ──► token set
 *
 * While threads take slices of a batch, one of them reads the next and one writes the
 * last; what is written depends on neither their number nor their speed. */
#ifndef AMG_TEXT_TOKENIZE_PASS_H
#define AMG_TEXT_TOKENIZE_PASS_H

#include <stdatomic.h>

#include "text/batch.h"
#include "text/buffers.h"

/* What a pass is for. */
typedef enum {
    AMG_COLLECT_LABELS,
    AMG_COUNT_WORDS, /* collects labels, too; keeps the words' numbers if they are few
                      */
    AMG_ENCODE,
    AMG_RENUMBER /* AMG_ENCODE from what was kept: the files are not read again */
} amg_text_work;

enum { AMG_TEXT_BLOCKS = 3 }; /* in turn: one is written, one worked on, one read */

/* A run of a batch's pieces, and what became of them. */
typedef struct {
    int64_t begin, end;
    amg_tokens tokens;
    int64_t *ends; /* [end - begin] tokens up to the end of each piece */
    int64_t ends_room;
    int64_t unknown;
    int thread; /* whose counter numbered the words */
    amg_status status;
    amg_error err;
} amg_text_slice;

/* A batch and its slices. */
typedef struct {
    amg_text_batch batch;
    amg_text_slice *slices; /* [num_slices] */
} amg_text_block;

/* Blocks without text, whose tokens are numbers of words in the counters. */
typedef struct {
    amg_text_block *blocks;
    int count, room;
    int64_t bytes;      /* of memory */
    int64_t text_bytes; /* of the text they were */
    bool complete;      /* nothing was left out */
} amg_kept_words;

typedef struct {
    const amg_tokenize_options *o;
    const amg_progress *progress;
    amg_word_options words;
    amg_tokenizer *tokenizer; /* NULL: to be made */
    amg_classes classes;
    bool has_labels;
    amg_token_writer *writer;
    amg_tokenize_result result;
    int num_threads, num_slices;
    amg_word_counter **counters; /* [num_threads], if the tokenizer is to be made */
    amg_kept_words kept;
    int32_t **tokens_of; /* [num_threads][words of its counter], to renumber */
    int32_t *class_of;   /* label as collected -> class; NULL: they are the same */

    /* One pass. */
    amg_text_work work;
    amg_batches *batches;
    amg_text_block blocks[AMG_TEXT_BLOCKS];
    amg_text_block *last, *current, *next;
    int next_kept;
    atomic_int next_task; /* 0: read; 1: write; then the slices */
    amg_status read_status, write_status;
    amg_error read_err, write_err;
} amg_text_job;

/* Counters for a tokenizer that is to be made; the slices. */
AMG_MUST_CHECK amg_status amg_text_job_init(amg_text_job *j, amg_error *err);
AMG_MUST_CHECK amg_status amg_text_pass(amg_text_job *j, amg_text_work work,
                                        amg_error *err);
/* All but o, progress and result. */
void amg_text_job_clear(amg_text_job *j);

#endif
