/* Records of text files: lines of plain text, rows of CSV and TSV (RFC 4180 quoting),
 * objects of JSON Lines; each plain or .gz. Streams: memory is that of the longest
 * record. */
#ifndef AMG_TEXT_RECORDS_H
#define AMG_TEXT_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

typedef enum {
    AMG_RECORDS_TEXT,
    AMG_RECORDS_CSV,
    AMG_RECORDS_TSV,
    AMG_RECORDS_JSONL
} amg_records_format;

typedef struct {
    amg_records_format format;
    bool format_by_name; /* from the extension: .csv .tsv .jsonl .ndjson, else text; .gz
                            is looked through */
    /* CSV/TSV: a header's name or a number from 1; JSONL: a member. text may name
     * several, joined by a space: "2,3". NULL: text: the last column, or the member
     * "text"; label: none. */
    const char *text, *label;
    bool header; /* CSV/TSV: the first row names the columns */
} amg_records_options;

#define AMG_MAX_RECORD_BYTES (64 << 20)

/* One record; views live until the next call. */
typedef struct {
    const char *text;
    size_t size;
    const char *label; /* "" without labels; 0-terminated */
    int64_t line;      /* where it begins, from 1 */
    int64_t offset;    /* of its first byte in the (unpacked) file */
} amg_record;

typedef struct amg_records amg_records;

/* Quotes are strict in CSV; in TSV one within a field that none opened is text. Empty
 * lines between rows and objects are skipped. JSONL: a label is a string or an integer.
 */
AMG_MUST_CHECK amg_status amg_records_open(const char *path,
                                           const amg_records_options *o,
                                           amg_records **out, amg_error *err);
void amg_records_close(amg_records *r);
/* *done: there was none left. Errors name line and column of the record:
 * AMG_MALFORMED for a broken quote, a row with more or fewer columns than the first,
 * bad JSON, invalid UTF-8, a line longer than AMG_MAX_RECORD_BYTES, a NUL byte. An
 * empty file is AMG_MALFORMED. */
AMG_MUST_CHECK amg_status amg_records_next(amg_records *r, amg_record *out, bool *done,
                                           amg_error *err);
/* Bytes of the file read so far and altogether, for progress. */
void amg_records_position(const amg_records *r, int64_t *done, int64_t *all);

#endif
