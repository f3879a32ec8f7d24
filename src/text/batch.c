/* Reading the inputs of `amalgam tokenize`. Consumes files as records or whole, looks
 * labels up in the classes, produces batches of text. Knows nothing of tokens but where
 * a text may be cut. */
#include "text/batch.h"

#include "base/alloc.h"
#include "text/records_private.h"
#include "text/utf8.h"

#define BATCH_BYTES ((size_t)4 << 20)
#define BATCH_PIECES (1 << 16)
#define BLOCK_BYTES ((size_t)1 << 18) /* of a whole file, to a piece */

struct amg_batches {
    const amg_tokenize_options *options;
    amg_cut cut;
    amg_classes *classes;
    int input;              /* the file being read; num_inputs: all were */
    amg_records *records;   /* of that file, or NULL: not open */
    amg_text_source source; /* the same for a whole file: name is NULL if not open */
    int64_t bytes_before;   /* of the files before */
    int64_t bytes_all;
};

void amg_text_batch_clear(amg_text_batch *b)
{
    amg_free(b->text);
    amg_free(b->pieces);
    *b = (amg_text_batch){0};
}

static amg_status add_piece(amg_text_batch *b, const char *text, const amg_piece *piece,
                            const char *path, amg_error *err)
{
    const size_t size = piece->size;
    if (b->room - b->size < size) {
        const size_t room = b->size + size > BATCH_BYTES ? b->size + size : BATCH_BYTES;
        char *grown = amg_realloc(b->text, room);
        if (grown == NULL) goto no_memory;
        b->text = grown;
        b->room = room;
    }
    if (b->count == b->pieces_room) {
        const int64_t room = b->pieces_room > 0 ? 2 * b->pieces_room : 1024;
        amg_piece *grown = amg_realloc(b->pieces, (size_t)room * sizeof *grown);
        if (grown == NULL) goto no_memory;
        b->pieces = grown;
        b->pieces_room = room;
    }
    if (size > 0) memcpy(b->text + b->size, text, size);
    b->pieces[b->count] = *piece;
    b->pieces[b->count++].begin = b->size;
    b->size += size;
    return AMG_OK;
no_memory:
    return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its text");
}

static bool is_full(const amg_text_batch *b)
{
    return b->size >= BATCH_BYTES || b->count >= BATCH_PIECES;
}

static const char *path_of(const amg_batches *b)
{
    return b->options->inputs[b->input];
}

/* ---- records ---- */

static amg_status read_records(amg_batches *b, amg_text_batch *out, bool *done,
                               amg_error *err)
{
    amg_status st = AMG_OK;
    if (b->records == NULL)
        st = amg_records_open(path_of(b), &b->options->records, &b->records, err);
    while (st == AMG_OK && !is_full(out)) {
        amg_record record;
        st = amg_records_next(b->records, &record, done, err);
        if (st != AMG_OK || *done) break;
        amg_piece piece = {.size = record.size,
                           .offset = record.offset,
                           .input = b->input,
                           .ends_document = true};
        if (b->classes != NULL)
            st = amg_classes_find(b->classes, &record, path_of(b), &piece.label, err);
        if (st == AMG_OK) st = add_piece(out, record.text, &piece, path_of(b), err);
    }
    return st;
}

/* ---- whole files ---- */

/* How much of the text is the next piece; 0: more of it must be seen first. */
static size_t cut(const amg_batches *b, const char *text, size_t size, bool ended)
{
    if (b->cut == AMG_CUT_NOWHERE) return ended ? size : 0;
    if (size <= BLOCK_BYTES) return ended ? size : 0;
    if (b->cut == AMG_CUT_ANYWHERE) return BLOCK_BYTES;
    size_t n = BLOCK_BYTES;
    while (n > 0 && !amg_is_ascii_space((unsigned char)text[n - 1])) n--;
    if (n > 0) return n;
    for (n = BLOCK_BYTES; n < size; n++) /* a very long word */
        if (amg_is_ascii_space((unsigned char)text[n])) return n;
    return ended ? size : 0;
}

static amg_status read_whole(amg_batches *b, amg_text_batch *out, bool *done,
                             amg_error *err)
{
    amg_text_source *s = &b->source;
    amg_status st = AMG_OK;
    if (s->name == NULL) st = amg_text_source_open(path_of(b), s, err);
    while (st == AMG_OK && !is_full(out) && !*done) {
        const char *text = s->data != NULL ? s->data + s->pos : "";
        const size_t left = s->size - s->pos, size = cut(b, text, left, s->ended);
        if (size == 0 && !s->ended) {
            st = amg_text_source_more(s, err);
            continue;
        }
        const int64_t offset = s->base + (int64_t)s->pos;
        if (size == 0 && offset == 0)
            return amg_fail(err, AMG_MALFORMED, 0, path_of(b), "the file is empty");
        *done = s->ended && size == left;
        const amg_piece piece = {
            .size = size, .offset = offset, .input = b->input, .ends_document = *done};
        st = add_piece(out, text, &piece, path_of(b), err);
        s->pos += size;
    }
    return st;
}

/* ---- all of them ---- */

static void close_file(amg_batches *b)
{
    amg_records_close(b->records);
    b->records = NULL;
    amg_text_source_close(&b->source);
}

static void position_in_file(const amg_batches *b, int64_t *done, int64_t *all)
{
    *done = *all = 0;
    if (b->records != NULL) amg_records_position(b->records, done, all);
    if (b->source.name != NULL) {
        *done = (int64_t)(b->source.gz != NULL ? amg_gz_position(b->source.gz)
                                               : b->source.pos);
        *all = (int64_t)b->source.map.size;
    }
}

amg_status amg_batches_next(amg_batches *b, amg_text_batch *out, amg_error *err)
{
    amg_status st = AMG_OK;
    out->size = 0;
    out->count = 0;
    while (st == AMG_OK && !is_full(out) && b->input < b->options->num_inputs) {
        bool done = false;
        st = b->options->whole_file ? read_whole(b, out, &done, err)
                                    : read_records(b, out, &done, err);
        if (st != AMG_OK || !done) continue;
        int64_t read, all;
        position_in_file(b, &read, &all);
        b->bytes_before += all;
        close_file(b);
        b->input++;
    }
    return st;
}

void amg_batches_position(const amg_batches *b, int64_t *done, int64_t *all)
{
    int64_t here;
    position_in_file(b, done, &here);
    *done += b->bytes_before;
    *all = b->bytes_all;
}

amg_status amg_batches_open(const amg_tokenize_options *options, amg_cut cut_at,
                            amg_classes *classes, amg_batches **out, amg_error *err)
{
    amg_batches *b = amg_calloc(1, sizeof *b);
    if (b == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, "tokenize", "no memory to read files");
    b->options = options;
    b->cut = cut_at;
    b->classes = classes;
    for (int i = 0; i < options->num_inputs; i++) {
        amg_map map;
        const amg_status st = amg_map_open(options->inputs[i], &map, err);
        if (st != AMG_OK) {
            amg_batches_close(b);
            return st;
        }
        b->bytes_all += (int64_t)map.size;
        amg_map_close(&map);
    }
    *out = b;
    return AMG_OK;
}

void amg_batches_close(amg_batches *b)
{
    if (b == NULL) return;
    close_file(b);
    amg_free(b);
}
