/* What the files of the record reader share: the bytes of the file as they come, the
 * reader's struct, and errors that name line and column. */
#ifndef AMG_TEXT_RECORDS_PRIVATE_H
#define AMG_TEXT_RECORDS_PRIVATE_H

#include "base/file.h"
#include "formats/gz.h"
#include "text/buffers.h"
#include "text/records.h"

#define AMG_MAX_TEXT_COLUMNS 16

/* A window on the (unpacked) bytes of a file: of a plain file all of it, of a packed
 * one what was unpacked and is still needed. */
typedef struct {
    char *name;
    amg_map map;
    amg_gz *gz; /* NULL: a plain file */
    const char *data;
    size_t size, pos; /* of the window; before pos all is done with */
    bool ended;       /* nothing follows the window */
    int64_t base;     /* offset of data[0] in the file */
    char *buffer;     /* what data is, packed */
    size_t room;
} amg_text_source;

/* A zeroed source may be closed, also after a failure. */
AMG_MUST_CHECK amg_status amg_text_source_open(const char *path, amg_text_source *out,
                                               amg_error *err);
void amg_text_source_close(amg_text_source *s);
/* Makes the window longer; data move, bytes before pos go. Not after the end. */
AMG_MUST_CHECK amg_status amg_text_source_more(amg_text_source *s, amg_error *err);

/* One field of a row: bytes begin .. end of the record. */
typedef struct {
    size_t begin, end;
    bool doubled; /* quotes within are doubled */
} amg_field;

struct amg_records {
    amg_text_source source;
    amg_records_format format;
    int64_t line; /* at source.pos, from 1 */
    int64_t num_records;
    char *names;                                  /* the strings below */
    const char *text_names[AMG_MAX_TEXT_COLUMNS]; /* as asked for */
    const char *label_name;                       /* NULL: no labels */
    int num_text_names;
    /* Rows */
    int text_columns[AMG_MAX_TEXT_COLUMNS], label_column; /* from 0; -1: the last */
    int num_columns;                                      /* 0: not known yet */
    amg_field *fields;                                    /* [field_room] */
    int field_room;
    /* What a record's views may point to. */
    amg_chars text, label;
};

/* amg_fail for the byte at of the record that begins at source.pos, "line L, column C:
 * " before the message. */
amg_status amg_records_fail(const amg_records *r, amg_status code, size_t at,
                            amg_error *err, const char *fmt, ...) AMG_PRINTF(5, 6);
amg_status amg_records_no_memory(const amg_records *r, amg_error *err);
/* The record's size bytes are UTF-8 without NUL. */
AMG_MUST_CHECK amg_status amg_records_check(const amg_records *r, size_t size,
                                            amg_error *err);
/* The line at source.pos, without its end; *whole with it; 0: the file is over. */
AMG_MUST_CHECK amg_status amg_records_line(amg_records *r, size_t *size, size_t *whole,
                                           amg_error *err);
/* Behind a record of size bytes. */
void amg_records_advance(amg_records *r, size_t size);

/* Reads the names of columns, where there are any, and finds those asked for. */
AMG_MUST_CHECK amg_status amg_rows_begin(amg_records *r, bool header, amg_error *err);
/* One record: fills text, size and label of out; *whole bytes of the file, 0: none. */
AMG_MUST_CHECK amg_status amg_rows_next(amg_records *r, amg_record *out, size_t *whole,
                                        amg_error *err);
AMG_MUST_CHECK amg_status amg_json_lines_next(amg_records *r, amg_record *out,
                                              size_t *whole, amg_error *err);

#endif
