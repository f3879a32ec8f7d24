/* Passes over the inputs of `amalgam tokenize`. Consumes batches of text, produces
 * counts of words and labels, or the token set's data. What passes there are and what
 * they begin with is tokenize.c's. */
#include "text/tokenize_pass.h"

#include <math.h>

#include "base/alloc.h"
#include "base/parallel.h"

enum { SLICES_PER_THREAD = 8 }; /* so that a slow slice does not keep all waiting */

/* Of kept words: some hundred MB of text are read once, larger ones twice. */
#define KEPT_BYTES ((int64_t)256 << 20)
#define KEPT_EOS (-2) /* the end of a document among them; not AMG_NO_TOKEN */

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "tokenize", "no memory");
}

/* ---- one slice ---- */

static const char *path_of(const amg_text_job *j, const amg_piece *piece)
{
    return j->o->inputs[piece->input];
}

/* <eos> ends the documents of a stream; a document with a label is cut or filled up. */
static amg_status end_piece(const amg_text_job *j, amg_text_slice *s,
                            const amg_piece *piece, int64_t eos, amg_error *err)
{
    if (j->has_labels || eos == AMG_NO_TOKEN || !piece->ends_document) return AMG_OK;
    if (!amg_tokens_reserve(&s->tokens, 1)) return no_memory(err);
    s->tokens.ids[s->tokens.count++] = (int32_t)eos;
    return AMG_OK;
}

static amg_status count_piece(const amg_text_job *j, amg_text_slice *s,
                              const amg_piece *piece, amg_error *err)
{
    const bool keep = j->kept.complete;
    const amg_status st = amg_word_counter_add(
        j->counters[s->thread], &j->words, j->current->batch.text + piece->begin,
        piece->size, path_of(j, piece), piece->offset, keep ? &s->tokens : NULL, err);
    return st || !keep ? st : end_piece(j, s, piece, KEPT_EOS, err);
}

static amg_status encode_piece(const amg_text_job *j, amg_text_slice *s,
                               const amg_piece *piece, amg_error *err)
{
    const amg_status st = amg_tokenizer_encode(
        j->tokenizer, j->current->batch.text + piece->begin, piece->size,
        path_of(j, piece), piece->offset, &s->tokens, err);
    return st ? st : end_piece(j, s, piece, amg_tokenizer_eos(j->tokenizer), err);
}

static void run_pieces(const amg_text_job *j, amg_text_slice *s)
{
    const amg_piece *pieces = j->current->batch.pieces;
    const int64_t bytes =
        s->end > s->begin ? (int64_t)(pieces[s->end - 1].begin +
                                      pieces[s->end - 1].size - pieces[s->begin].begin)
                          : 0;
    s->tokens.count = 0;
    s->status = AMG_OK;
    /* Mostly enough, so that nothing has to move; words are longer than that. */
    if (j->kept.complete &&
        !amg_tokens_reserve(&s->tokens, bytes / 4 + s->end - s->begin))
        s->status = no_memory(&s->err);
    for (int64_t i = s->begin; i < s->end && s->status == AMG_OK; i++) {
        if (j->work == AMG_COUNT_WORDS)
            s->status = count_piece(j, s, &pieces[i], &s->err);
        else if (j->work == AMG_ENCODE)
            s->status = encode_piece(j, s, &pieces[i], &s->err);
        s->ends[i - s->begin] = s->tokens.count;
    }
}

static void renumber(const amg_text_job *j, amg_text_slice *s)
{
    const int32_t *map = j->tokens_of[s->thread];
    const int32_t eos = (int32_t)amg_tokenizer_eos(j->tokenizer);
    for (int64_t t = 0; t < s->tokens.count; t++) {
        const int32_t word = s->tokens.ids[t];
        s->tokens.ids[t] = word == KEPT_EOS ? eos : map[word];
    }
}

static void run_slice(const amg_text_job *j, int thread, amg_text_slice *s)
{
    s->unknown = 0;
    if (j->work == AMG_RENUMBER) {
        renumber(j, s);
    } else {
        s->thread = thread;
        run_pieces(j, s);
    }
    if (j->tokenizer == NULL) return;
    const int64_t unknown = amg_tokenizer_unknown(j->tokenizer);
    for (int64_t t = 0; t < s->tokens.count; t++)
        s->unknown += s->tokens.ids[t] == unknown;
}

/* ---- one batch ---- */

/* Cuts the batch into slices of about as many bytes each. */
static amg_status cut_slices(amg_text_job *j, amg_error *err)
{
    const amg_text_batch *b = &j->current->batch;
    int64_t at = 0;
    for (int i = 0; i < j->num_slices; i++) {
        amg_text_slice *s = &j->current->slices[i];
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

static amg_status write_slice(amg_text_job *j, const amg_text_slice *s,
                              const amg_piece *pieces, amg_error *err)
{
    amg_status st = AMG_OK;
    int64_t begin = 0;
    for (int64_t i = 0; i < s->end - s->begin && st == AMG_OK; i++) {
        const amg_piece *piece = &pieces[s->begin + i];
        const int32_t *tokens = s->tokens.ids + begin;
        const int64_t count = s->ends[i] - begin;
        const int32_t label = j->class_of ? j->class_of[piece->label] : piece->label;
        st = piece->ends_document
                 ? amg_token_writer_add(j->writer, tokens, count, label, err)
                 : amg_token_writer_part(j->writer, tokens, count, err);
        begin = s->ends[i];
    }
    return st;
}

/* Writes the last batch, if there was one. */
static amg_status write_last(amg_text_job *j, amg_error *err)
{
    const amg_text_batch *b = &j->last->batch;
    amg_status st = AMG_OK;
    if (j->writer == NULL || b->count == 0) return AMG_OK;
    for (int i = 0; i < j->num_slices && st == AMG_OK; i++) {
        const amg_text_slice *s = &j->last->slices[i];
        st = write_slice(j, s, b->pieces, err);
        j->result.unknown += s->unknown;
    }
    j->result.bytes += (int64_t)b->size;
    return st;
}

/* Threads first .. last-1, each of which takes tasks until none is left. */
static void run_tasks(void *context, int64_t first, int64_t last)
{
    amg_text_job *j = context;
    (void)last;
    for (int task; (task = atomic_fetch_add(&j->next_task, 1)) < j->num_slices + 2;) {
        if (task > 1)
            run_slice(j, (int)first, &j->current->slices[task - 2]);
        else if (task == 1)
            j->write_status = write_last(j, &j->write_err);
        else if (j->work != AMG_RENUMBER)
            j->read_status =
                amg_batches_next(j->batches, &j->next->batch, &j->read_err);
    }
}

static amg_status report(const amg_text_job *j, amg_error *err)
{
    static const char *const stages[] = {"collect labels", "count words", "tokenize",
                                         "tokenize"};
    amg_progress_event event = {.stage = stages[j->work], .loss = NAN, .accuracy = NAN};
    if (j->progress == NULL || j->progress->report == NULL) return AMG_OK;
    if (j->batches != NULL) {
        amg_batches_position(j->batches, &event.done, &event.total);
    } else {
        event.done = j->result.bytes;
        event.total = j->kept.text_bytes;
    }
    if (j->progress->report(j->progress->context, &event)) return AMG_OK;
    return amg_fail(err, AMG_INTERRUPTED, -1, j->o->out, "stopped, nothing written");
}

static amg_status give(amg_status st, const amg_error *from, amg_error *err)
{
    if (st != AMG_OK && err != NULL) *err = *from;
    return st;
}

/* Works on the current batch, writes the last and reads the next. Errors are those of
 * the input's order: the batch's before the ones of what follows it. */
static amg_status run_batch(amg_text_job *j, amg_error *err)
{
    j->read_status = AMG_OK;
    atomic_store(&j->next_task, 0);
    amg_parallel_for(j->num_threads, 1, run_tasks, j);
    amg_status st = give(j->write_status, &j->write_err, err);
    for (int i = 0; i < j->num_slices && st == AMG_OK; i++)
        st = give(j->current->slices[i].status, &j->current->slices[i].err, err);
    return st ? st : give(j->read_status, &j->read_err, err);
}

/* ---- kept words ---- */

static void clear_block(amg_text_block *b, int num_slices)
{
    for (int i = 0; b->slices != NULL && i < num_slices; i++) {
        amg_tokens_clear(&b->slices[i].tokens);
        amg_free(b->slices[i].ends);
    }
    amg_free(b->slices);
    amg_text_batch_clear(&b->batch);
}

static void clear_kept(amg_text_job *j)
{
    for (int i = 0; i < j->kept.count; i++)
        clear_block(&j->kept.blocks[i], j->num_slices);
    amg_free(j->kept.blocks);
    j->kept = (amg_kept_words){0};
}

static int64_t block_bytes(const amg_text_job *j, const amg_text_block *b)
{
    int64_t bytes = b->batch.pieces_room * (int64_t)sizeof *b->batch.pieces;
    for (int i = 0; i < j->num_slices; i++)
        bytes += b->slices[i].tokens.room * (int64_t)sizeof(int32_t) +
                 b->slices[i].ends_room * (int64_t)sizeof(int64_t);
    return bytes;
}

/* Takes what the current batch became, all but its text; or nothing more from here on,
 * if it is too much. */
static amg_status keep_words(amg_text_job *j, amg_error *err)
{
    amg_kept_words *k = &j->kept;
    amg_text_block *b = j->current;
    if (!k->complete) return AMG_OK;
    k->bytes += block_bytes(j, b);
    k->text_bytes += (int64_t)b->batch.size;
    if (k->bytes > (j->o->keep_bytes ? j->o->keep_bytes : KEPT_BYTES)) {
        clear_kept(j);
        return AMG_OK;
    }
    if (k->count == k->room) {
        const int room = k->room > 0 ? 2 * k->room : 16;
        amg_text_block *grown =
            amg_realloc(k->blocks, (size_t)room * sizeof *k->blocks);
        if (grown == NULL) return no_memory(err);
        k->blocks = grown;
        k->room = room;
    }
    amg_text_slice *slices = amg_calloc((size_t)j->num_slices, sizeof *slices);
    if (slices == NULL) return no_memory(err);
    amg_text_block *to = &k->blocks[k->count++];
    *to = *b;
    to->batch.text = NULL;
    to->batch.room = 0;
    b->batch.pieces = NULL;
    b->batch.pieces_room = 0;
    b->slices = slices;
    return AMG_OK;
}

/* The next block of what was kept, an empty one behind the last. */
static amg_text_block *take_kept(amg_text_job *j)
{
    return j->next_kept < j->kept.count ? &j->kept.blocks[j->next_kept++]
                                        : &j->blocks[0];
}

/* ---- one pass ---- */

static amg_cut cut_of(const amg_text_job *j)
{
    const amg_tokenizer_kind kind = j->tokenizer != NULL
                                        ? amg_tokenizer_get_kind(j->tokenizer)
                                        : AMG_TOKENIZER_WORD;
    return kind == AMG_TOKENIZER_BYTE   ? AMG_CUT_ANYWHERE
           : kind == AMG_TOKENIZER_WORD ? AMG_CUT_AT_SPACE
                                        : AMG_CUT_NOWHERE;
}

static amg_status begin(amg_text_job *j, amg_error *err)
{
    for (int b = 0; b < AMG_TEXT_BLOCKS; b++) j->blocks[b].batch.count = 0;
    j->last = &j->blocks[0];
    j->current = &j->blocks[1];
    j->next = &j->blocks[2];
    if (j->work == AMG_RENUMBER) {
        j->next_kept = 0;
        j->current = take_kept(j);
        j->next = take_kept(j);
        return AMG_OK;
    }
    j->kept.complete = j->work == AMG_COUNT_WORDS;
    amg_classes *classes = j->has_labels ? &j->classes : NULL;
    amg_status st = amg_batches_open(j->o, cut_of(j), classes, &j->batches, err);
    if (st == AMG_OK) st = amg_batches_next(j->batches, &j->current->batch, err);
    return st;
}

static void advance(amg_text_job *j)
{
    amg_text_block *written = j->last;
    j->last = j->current;
    j->current = j->next;
    j->next = j->work == AMG_RENUMBER ? take_kept(j) : written;
}

amg_status amg_text_pass(amg_text_job *j, amg_text_work work, amg_error *err)
{
    j->work = work;
    amg_status st = begin(j, err);
    while (st == AMG_OK && j->current->batch.count > 0) {
        if (work != AMG_RENUMBER) st = cut_slices(j, err);
        if (st == AMG_OK) st = run_batch(j, err);
        if (st == AMG_OK && work == AMG_COUNT_WORDS) st = keep_words(j, err);
        if (st == AMG_OK) st = report(j, err);
        advance(j);
    }
    if (st == AMG_OK) st = write_last(j, err);
    amg_batches_close(j->batches);
    j->batches = NULL;
    return st;
}

/* ---- the job ---- */

amg_status amg_text_job_init(amg_text_job *j, amg_error *err)
{
    j->num_threads = amg_threads();
    j->num_slices = SLICES_PER_THREAD * j->num_threads;
    j->counters = amg_calloc((size_t)j->num_threads, sizeof(amg_word_counter *));
    j->tokens_of = amg_calloc((size_t)j->num_threads, sizeof *j->tokens_of);
    if (j->counters == NULL || j->tokens_of == NULL) return no_memory(err);
    for (int b = 0; b < AMG_TEXT_BLOCKS; b++) {
        j->blocks[b].slices = amg_calloc((size_t)j->num_slices, sizeof(amg_text_slice));
        if (j->blocks[b].slices == NULL) return no_memory(err);
    }
    for (int i = 0; j->tokenizer == NULL && i < j->num_threads; i++)
        if ((j->counters[i] = amg_word_counter_new()) == NULL) return no_memory(err);
    return AMG_OK;
}

void amg_text_job_clear(amg_text_job *j)
{
    amg_token_writer_abort(j->writer);
    for (int i = 0; j->counters != NULL && i < j->num_threads; i++)
        amg_word_counter_free(j->counters[i]);
    for (int i = 0; j->tokens_of != NULL && i < j->num_threads; i++)
        amg_free(j->tokens_of[i]);
    amg_free(j->counters);
    amg_free(j->tokens_of);
    amg_free(j->class_of);
    clear_kept(j);
    for (int b = 0; b < AMG_TEXT_BLOCKS; b++) clear_block(&j->blocks[b], j->num_slices);
    amg_classes_clear(&j->classes);
    amg_tokenizer_free(j->tokenizer);
}
