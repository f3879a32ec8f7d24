/* The inputs of `amalgam tokenize` as batches: some megabytes of text, cut into pieces
 * that threads can work on. A private header of text/. */
#ifndef AMG_TEXT_BATCH_H
#define AMG_TEXT_BATCH_H

#include "text/classes.h"
#include "text/tokenize.h"

/* A record, or part of a whole file. */
typedef struct {
    size_t begin, size; /* in the batch's text */
    int64_t offset;     /* of its text in the file, for errors: near it, for records */
    int input;          /* which file */
    int32_t label;
    bool ends_document;
} amg_piece;

/* Zeroed is empty. */
typedef struct {
    char *text;
    size_t size, room;
    amg_piece *pieces;
    int64_t count, pieces_room;
} amg_text_batch;

void amg_text_batch_clear(amg_text_batch *b);

typedef struct amg_batches amg_batches;

/* classes: NULL without labels. cut: how whole files may be cut. Both borrowed, as
 * options are, until close. */
typedef enum {
    AMG_CUT_ANYWHERE, /* bytes are tokens */
    AMG_CUT_AT_SPACE, /* words are */
    AMG_CUT_NOWHERE   /* what is a token depends on what follows */
} amg_cut;
AMG_MUST_CHECK amg_status amg_batches_open(const amg_tokenize_options *options,
                                           amg_cut cut, amg_classes *classes,
                                           amg_batches **out, amg_error *err);
void amg_batches_close(amg_batches *b);
/* Fills out anew; count 0: nothing was left. One thread at a time. */
AMG_MUST_CHECK amg_status amg_batches_next(amg_batches *b, amg_text_batch *out,
                                           amg_error *err);
/* Bytes of all files read so far, and altogether. */
void amg_batches_position(const amg_batches *b, int64_t *done, int64_t *all);

#endif
