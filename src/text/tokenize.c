/* Text files -> a token set. Consumes batches of text, produces the set and its
 * vocabulary. Threads take slices of a batch while one of them reads the next; what is
 * written depends on neither their number nor their speed. */
#include "text/tokenize.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "text/batch.h"
#include "text/buffers.h"

enum { SLICES_PER_THREAD = 4 }; /* so that a slow slice does not keep all waiting */

/* What a pass over the inputs is for. */
typedef enum { COLLECT_LABELS, COUNT_WORDS, ENCODE } work;

/* A run of a batch's pieces, and what became of them. */
typedef struct {
    int64_t begin, end;
    amg_tokens tokens;
    int64_t *ends; /* [end - begin] tokens up to the end of each piece */
    int64_t ends_room;
    int64_t unknown;
    amg_status status;
    amg_error err;
} slice;

typedef struct {
    const amg_tokenize_options *o;
    const amg_progress *progress;
    amg_word_options words;
    amg_tokenizer *tokenizer;
    amg_classes classes;
    bool has_labels;
    amg_token_writer *writer;
    amg_tokenize_result result;

    /* One pass over the inputs. */
    const char *stage;
    amg_batches *batches;
    amg_text_batch batch[2]; /* one is worked on, the other read */
    int current;
    work work;
    amg_word_counter **counters; /* [num_threads] */
    slice *slices;
    int num_threads, num_slices;
    atomic_int next_task; /* 0: read; i: slice i - 1 */
    amg_status read_status;
    amg_error read_err;
} job;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "tokenize", "no memory");
}

/* ---- one slice ---- */

static const char *path_of(const job *j, const amg_piece *piece)
{
    return j->o->inputs[piece->input];
}

static amg_status count_piece(const job *j, amg_word_counter *counter,
                              const amg_piece *piece, amg_error *err)
{
    return amg_word_counter_add(counter, &j->words,
                                j->batch[j->current].text + piece->begin, piece->size,
                                path_of(j, piece), piece->offset, err);
}

/* <eos> ends the documents of a stream; a document with a label is cut or filled up. */
static amg_status encode_piece(const job *j, slice *s, const amg_piece *piece,
                               amg_error *err)
{
    const char *text = j->batch[j->current].text + piece->begin;
    const int64_t eos = amg_tokenizer_eos(j->tokenizer);
    const amg_status st =
        amg_tokenizer_encode(j->tokenizer, text, piece->size, path_of(j, piece),
                             piece->offset, &s->tokens, err);
    if (st != AMG_OK || j->has_labels || eos == AMG_NO_TOKEN || !piece->ends_document)
        return st;
    if (!amg_tokens_reserve(&s->tokens, 1)) return no_memory(err);
    s->tokens.ids[s->tokens.count++] = (int32_t)eos;
    return AMG_OK;
}

static void run_slice(const job *j, amg_word_counter *counter, slice *s)
{
    const amg_piece *pieces = j->batch[j->current].pieces;
    s->tokens.count = 0;
    s->status = AMG_OK;
    for (int64_t i = s->begin; i < s->end && s->status == AMG_OK; i++) {
        if (j->work == COUNT_WORDS)
            s->status = count_piece(j, counter, &pieces[i], &s->err);
        else if (j->work == ENCODE)
            s->status = encode_piece(j, s, &pieces[i], &s->err);
        s->ends[i - s->begin] = s->tokens.count;
    }
    s->unknown = 0;
    if (j->work != ENCODE) return;
    const int64_t unknown = amg_tokenizer_unknown(j->tokenizer);
    for (int64_t t = 0; t < s->tokens.count; t++)
        s->unknown += s->tokens.ids[t] == unknown;
}

/* Threads first .. last-1, each of which takes tasks until none is left. */
static void run_tasks(void *context, int64_t first, int64_t last)
{
    job *j = context;
    (void)last;
    for (int task; (task = atomic_fetch_add(&j->next_task, 1)) <= j->num_slices;) {
        if (task > 0)
            run_slice(j, j->counters[first], &j->slices[task - 1]);
        else
            j->read_status =
                amg_batches_next(j->batches, &j->batch[1 - j->current], &j->read_err);
    }
}

/* ---- one batch ---- */

/* Cuts the batch into slices of about as many bytes each. */
static amg_status cut_slices(job *j, amg_error *err)
{
    const amg_text_batch *b = &j->batch[j->current];
    int64_t at = 0;
    for (int i = 0; i < j->num_slices; i++) {
        slice *s = &j->slices[i];
        const size_t until = b->size / (size_t)j->num_slices * (size_t)(i + 1);
        s->begin = at;
        while (at < b->count && (i == j->num_slices - 1 || b->pieces[at].begin < until))
            at++;
        s->end = at;
        if (s->end - s->begin <= s->ends_room) continue;
        amg_free(s->ends);
        s->ends_room = s->end - s->begin;
        s->ends = amg_malloc((size_t)s->ends_room * sizeof *s->ends);
        if (s->ends == NULL) {
            s->ends_room = 0;
            return no_memory(err);
        }
    }
    return AMG_OK;
}

static amg_status write_slice(job *j, const slice *s, amg_error *err)
{
    const amg_piece *pieces = j->batch[j->current].pieces + s->begin;
    amg_status st = AMG_OK;
    int64_t begin = 0;
    for (int64_t i = 0; i < s->end - s->begin && st == AMG_OK; i++) {
        const int32_t *tokens = s->tokens.ids + begin;
        const int64_t count = s->ends[i] - begin;
        st = pieces[i].ends_document
                 ? amg_token_writer_add(j->writer, tokens, count, pieces[i].label, err)
                 : amg_token_writer_part(j->writer, tokens, count, err);
        begin = s->ends[i];
    }
    return st;
}

static amg_status report(const job *j, amg_error *err)
{
    amg_progress_event event = {.stage = j->stage, .loss = NAN, .accuracy = NAN};
    if (j->progress == NULL || j->progress->report == NULL) return AMG_OK;
    amg_batches_position(j->batches, &event.done, &event.total);
    if (j->progress->report(j->progress->context, &event)) return AMG_OK;
    return amg_fail(err, AMG_INTERRUPTED, -1, j->o->out, "stopped, nothing written");
}

/* Works on the current batch and reads the next. Errors are those of the input's order:
 * the batch's before the ones of what follows it. */
static amg_status run_batch(job *j, amg_error *err)
{
    amg_status st = cut_slices(j, err);
    if (st != AMG_OK) return st;
    atomic_store(&j->next_task, 0);
    amg_parallel_for(j->num_threads, 1, run_tasks, j);
    for (int i = 0; i < j->num_slices; i++) {
        const slice *s = &j->slices[i];
        if (s->status != AMG_OK) {
            if (err != NULL) *err = s->err;
            return s->status;
        }
        if (j->work == ENCODE) st = write_slice(j, s, err);
        if (st != AMG_OK) return st;
        j->result.unknown += s->unknown;
    }
    if (j->work == ENCODE) j->result.bytes += (int64_t)j->batch[j->current].size;
    if (j->read_status != AMG_OK) {
        if (err != NULL) *err = j->read_err;
        return j->read_status;
    }
    j->current = 1 - j->current;
    return report(j, err);
}

/* ---- one pass ---- */

static amg_cut cut_of(const job *j)
{
    const amg_tokenizer_kind kind = j->tokenizer != NULL
                                        ? amg_tokenizer_get_kind(j->tokenizer)
                                        : AMG_TOKENIZER_WORD;
    return kind == AMG_TOKENIZER_BYTE   ? AMG_CUT_ANYWHERE
           : kind == AMG_TOKENIZER_WORD ? AMG_CUT_AT_SPACE
                                        : AMG_CUT_NOWHERE;
}

static amg_status run_pass(job *j, work what, amg_error *err)
{
    static const char *const stages[] = {"collect labels", "count words", "tokenize"};
    j->work = what;
    j->stage = stages[what];
    j->current = 0;
    amg_status st = amg_batches_open(
        j->o, cut_of(j), j->has_labels ? &j->classes : NULL, &j->batches, err);
    if (st == AMG_OK) st = amg_batches_next(j->batches, &j->batch[0], err);
    while (st == AMG_OK && j->batch[j->current].count > 0) st = run_batch(j, err);
    amg_batches_close(j->batches);
    j->batches = NULL;
    return st;
}

/* ---- what the set is made with ---- */

/* The classes of the token set whose vocabulary is used, if it has any. */
static amg_status take_classes_of_set(job *j, amg_error *err)
{
    amg_token_set set;
    if (j->o->vocabulary == NULL || !amg_path_is_dir(j->o->vocabulary)) return AMG_OK;
    char *description = amg_path_join(j->o->vocabulary, "tokens.json");
    if (description == NULL) return no_memory(err);
    const bool is_set = amg_path_exists(description);
    amg_free(description);
    if (!is_set) return AMG_OK;
    amg_status st = amg_token_set_open(j->o->vocabulary, &set, err);
    if (st != AMG_OK) return st;
    if (set.info.num_classes > 0)
        st = amg_classes_set(&j->classes, set.info.classes, set.info.num_classes, err);
    amg_token_set_close(&set);
    return st;
}

static amg_status check_options(const amg_tokenize_options *o, amg_error *err)
{
    if (o->num_inputs < 1)
        return amg_fail(err, AMG_INVALID, -1, "tokenize", "no file to read");
    if (o->whole_file &&
        (o->records.text != NULL || o->records.label != NULL ||
         (!o->records.format_by_name && o->records.format != AMG_RECORDS_TEXT)))
        return amg_fail(
            err, AMG_INVALID, -1, "tokenize",
            "a whole file is plain text: it has neither columns nor labels");
    if (o->num_classes > 0 && o->records.label == NULL)
        return amg_fail(err, AMG_INVALID, -1, "tokenize",
                        "classes, but no column of labels");
    if (amg_path_exists(o->out))
        return amg_fail(err, AMG_EXISTS, -1, o->out, "exists already, not overwritten");
    return AMG_OK;
}

/* The tokenizer and the classes, as far as they do not come from the inputs. */
static amg_status prepare(job *j, amg_error *err)
{
    const amg_tokenize_options *o = j->o;
    amg_status st = check_options(o, err);
    if (st != AMG_OK) return st;
    j->has_labels = o->records.label != NULL;
    j->words = o->words;
    j->words.pad = o->words.pad || j->has_labels;
    if (o->vocabulary != NULL)
        st = amg_tokenizer_open(o->vocabulary, &j->tokenizer, err);
    else if (o->kind == AMG_TOKENIZER_BYTE)
        st = amg_tokenizer_bytes(&j->tokenizer, err);
    else if (o->kind == AMG_TOKENIZER_BPE)
        st = amg_fail(err, AMG_INVALID, -1, "tokenize",
                      "byte pair encoding, and no tokenizer to take it from");
    if (st != AMG_OK || !j->has_labels) return st;
    if (o->num_classes > 0)
        return amg_classes_set(&j->classes, o->classes, o->num_classes, err);
    return take_classes_of_set(j, err);
}

static amg_status make_threads(job *j, amg_error *err)
{
    j->num_threads = amg_threads();
    j->num_slices = SLICES_PER_THREAD * j->num_threads;
    j->slices = amg_calloc((size_t)j->num_slices, sizeof *j->slices);
    j->counters = amg_calloc((size_t)j->num_threads, sizeof *j->counters);
    if (j->slices == NULL || j->counters == NULL) return no_memory(err);
    for (int i = 0; j->tokenizer == NULL && i < j->num_threads; i++)
        if ((j->counters[i] = amg_word_counter_new()) == NULL) return no_memory(err);
    return AMG_OK;
}

/* The first pass, if anything is to be learned from the inputs. */
static amg_status learn(job *j, amg_error *err)
{
    const bool make_words = j->tokenizer == NULL;
    const bool make_classes = j->has_labels && !j->classes.sealed;
    if (!make_words && !make_classes) return AMG_OK;
    amg_status st = run_pass(j, make_words ? COUNT_WORDS : COLLECT_LABELS, err);
    if (st == AMG_OK && make_classes) st = amg_classes_seal(&j->classes, err);
    if (!make_words) return st;
    for (int i = 1; i < j->num_threads && st == AMG_OK; i++)
        st = amg_word_counter_merge(j->counters[0], j->counters[i], err);
    if (st == AMG_OK)
        st = amg_word_counter_finish(j->counters[0], &j->words, &j->tokenizer, err);
    return st;
}

/* ---- the set ---- */

static amg_status begin_set(job *j, amg_error *err)
{
    amg_token_info info = {.vocab_size = amg_tokenizer_size(j->tokenizer),
                           .pad = amg_tokenizer_pad(j->tokenizer),
                           .eos = amg_tokenizer_eos(j->tokenizer)};
    if (j->has_labels && info.pad == AMG_NO_TOKEN) {
        const amg_status st =
            amg_fail(err, AMG_MISMATCH, -1,
                     j->o->vocabulary != NULL ? j->o->vocabulary : "tokenize",
                     "the vocabulary has no token to fill documents up with");
        amg_hint(err, "make it with --label, or with --pad");
        return st;
    }
    const char **names = NULL;
    if (j->has_labels) {
        names = amg_classes_names(&j->classes);
        if (names == NULL) return no_memory(err);
        info.num_classes = j->classes.labels.count;
        info.classes = names;
    }
    const amg_status st = amg_token_writer_new(j->o->out, &info, &j->writer, err);
    amg_free(names);
    return st;
}

static amg_status save_vocabulary(const job *j, amg_error *err)
{
    char *path = amg_path_join(amg_token_writer_dir(j->writer), "vocabulary.json");
    if (path == NULL) return no_memory(err);
    const amg_status st = amg_tokenizer_save(j->tokenizer, path, err);
    amg_free(path);
    return st;
}

static void clear_job(job *j)
{
    amg_token_writer_abort(j->writer);
    for (int i = 0; j->counters != NULL && i < j->num_threads; i++)
        amg_word_counter_free(j->counters[i]);
    for (int i = 0; j->slices != NULL && i < j->num_slices; i++) {
        amg_tokens_clear(&j->slices[i].tokens);
        amg_free(j->slices[i].ends);
    }
    amg_free(j->counters);
    amg_free(j->slices);
    amg_text_batch_clear(&j->batch[0]);
    amg_text_batch_clear(&j->batch[1]);
    amg_classes_clear(&j->classes);
    amg_tokenizer_free(j->tokenizer);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

amg_status amg_tokenize(const amg_tokenize_options *options,
                        const amg_progress *progress, amg_tokenize_result *result,
                        amg_error *err)
{
    job j = {.o = options, .progress = progress};
    const double start = now();
    amg_status st = prepare(&j, err);
    if (st == AMG_OK) st = make_threads(&j, err);
    if (st == AMG_OK) st = learn(&j, err);
    if (st == AMG_OK) st = begin_set(&j, err);
    if (st == AMG_OK) st = save_vocabulary(&j, err);
    if (st == AMG_OK) st = run_pass(&j, ENCODE, err);
    if (st == AMG_OK) {
        st = amg_token_writer_finish(j.writer, &j.result.info, err);
        j.writer = NULL;
    }
    if (st == AMG_OK) {
        j.result.seconds = now() - start;
        *result = j.result;
    }
    clear_job(&j);
    return st;
}
