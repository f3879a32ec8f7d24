/* Records of text files: opening, plain lines, and what all formats share. Consumes a
 * path, produces views of the file's text; knows no tokens. */
#include "text/records.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "text/records_private.h"
#include "text/utf8.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

amg_status amg_records_fail(const amg_records *r, amg_status code, size_t at,
                            amg_error *err, const char *fmt, ...)
{
    if (err == NULL) return code;
    char what[sizeof err->what];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    const amg_text_source *s = &r->source;
    const char *begin = s->data + s->pos, *end = begin + at, *newline;
    int64_t line = r->line;
    while ((newline = memchr(begin, '\n', (size_t)(end - begin))) != NULL) {
        line++;
        begin = newline + 1;
    }
    const int64_t column = amg_utf8_count(begin, (size_t)(end - begin)) + 1;
    return amg_fail(err, code, s->base + (int64_t)(s->pos + at), s->name,
                    "line %lld, column %lld: %s", (long long)line, (long long)column,
                    what);
}

amg_status amg_records_no_memory(const amg_records *r, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, r->source.name, "no memory for a record");
}

amg_status amg_records_check(const amg_records *r, size_t size, amg_error *err)
{
    if (size == 0) return AMG_OK;
    const char *data = r->source.data + r->source.pos;
    const size_t valid = amg_utf8_valid(data, size, false);
    if (valid < size && data[valid] == 0)
        return amg_records_fail(r, AMG_MALFORMED, valid, err,
                                "a NUL byte, which no text has");
    if (valid < size)
        return amg_records_fail(r, AMG_MALFORMED, valid, err,
                                "invalid UTF-8: byte 0x%02x begins no valid sequence",
                                (unsigned char)data[valid]);
    return AMG_OK;
}

amg_status amg_records_line(amg_records *r, size_t *size, size_t *whole, amg_error *err)
{
    amg_text_source *s = &r->source;
    size_t seen = 0;
    for (;;) {
        const size_t left = s->size - s->pos;
        const size_t most =
            left <= AMG_MAX_RECORD_BYTES ? left : AMG_MAX_RECORD_BYTES + 1;
        const char *begin = s->data + s->pos;
        const char *newline =
            most > seen ? memchr(begin + seen, '\n', most - seen) : NULL;
        if (newline != NULL) {
            *size = (size_t)(newline - begin);
            *whole = *size + 1;
            if (*size > 0 && newline[-1] == '\r') --*size;
            return AMG_OK;
        }
        if (left > AMG_MAX_RECORD_BYTES)
            return amg_records_fail(r, AMG_MALFORMED, 0, err,
                                    "a line of more than %d MiB",
                                    AMG_MAX_RECORD_BYTES >> 20);
        if (s->ended) {
            *size = *whole = left;
            return AMG_OK;
        }
        seen = most;
        const amg_status st = amg_text_source_more(s, err);
        if (st != AMG_OK) return st;
    }
}

void amg_records_advance(amg_records *r, size_t size)
{
    const char *p = r->source.data + r->source.pos, *end = p + size, *newline;
    while (p < end && (newline = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        r->line++;
        p = newline + 1;
    }
    r->source.pos += size;
}

static amg_status lines_next(amg_records *r, amg_record *out, size_t *whole,
                             amg_error *err)
{
    amg_status st = amg_records_line(r, &out->size, whole, err);
    if (st == AMG_OK) st = amg_records_check(r, out->size, err);
    if (st == AMG_OK) out->text = r->source.data + r->source.pos;
    return st;
}

static bool has_ending(const char *name, size_t size, const char *ending)
{
    const size_t n = strlen(ending);
    return size > n && strncasecmp(name + size - n, ending, n) == 0;
}

static amg_records_format format_of(const char *path)
{
    size_t size = strlen(path);
    if (has_ending(path, size, ".gz")) size -= 3;
    if (has_ending(path, size, ".csv")) return AMG_RECORDS_CSV;
    if (has_ending(path, size, ".tsv")) return AMG_RECORDS_TSV;
    if (has_ending(path, size, ".jsonl") || has_ending(path, size, ".ndjson"))
        return AMG_RECORDS_JSONL;
    return AMG_RECORDS_TEXT;
}

/* Keeps the names of text columns, cut at commas, and of the label's. */
static amg_status take_names(amg_records *r, const char *text, const char *label,
                             amg_error *err)
{
    const char *path = r->source.name;
    if (r->format == AMG_RECORDS_TEXT && (text != NULL || label != NULL))
        return amg_fail(err, AMG_INVALID, -1, path, "plain text has no columns");
    if (r->format == AMG_RECORDS_JSONL && text == NULL) text = "text";
    const size_t text_size = text ? strlen(text) + 1 : 0;
    r->names = amg_malloc(text_size + (label ? strlen(label) + 1 : 0));
    if (r->names == NULL) return amg_records_no_memory(r, err);
    if (label != NULL) r->label_name = strcpy(r->names + text_size, label);
    if (text == NULL) return AMG_OK;
    memcpy(r->names, text, text_size);
    for (char *name = r->names; name != NULL; r->num_text_names++) {
        if (r->num_text_names == AMG_MAX_TEXT_COLUMNS)
            return amg_fail(err, AMG_INVALID, -1, path,
                            "\"%s\" names more than %d columns", text,
                            AMG_MAX_TEXT_COLUMNS);
        r->text_names[r->num_text_names] = strsep(&name, ",");
    }
    return AMG_OK;
}

/* The first bytes are there, and no byte order mark before pos. */
static amg_status begin(amg_records *r, amg_error *err)
{
    amg_text_source *s = &r->source;
    if (!s->ended) {
        const amg_status st = amg_text_source_more(s, err);
        if (st != AMG_OK) return st;
    }
    const size_t mark = sizeof BYTE_ORDER_MARK - 1;
    if (s->size >= mark && memcmp(s->data, BYTE_ORDER_MARK, mark) == 0) s->pos = mark;
    return AMG_OK;
}

amg_status amg_records_open(const char *path, const amg_records_options *o,
                            amg_records **out, amg_error *err)
{
    amg_records *r = amg_calloc(1, sizeof *r);
    if (r == NULL) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for it");
    r->line = 1;
    r->format = o->format_by_name ? format_of(path) : o->format;
    amg_status st = amg_text_source_open(path, &r->source, err);
    if (st == AMG_OK) st = take_names(r, o->text, o->label, err);
    if (st == AMG_OK) st = begin(r, err);
    if (st == AMG_OK && (r->format == AMG_RECORDS_CSV || r->format == AMG_RECORDS_TSV))
        st = amg_rows_begin(r, o->header, err);
    if (st != AMG_OK) {
        amg_records_close(r);
        return st;
    }
    *out = r;
    return AMG_OK;
}

void amg_records_close(amg_records *r)
{
    if (r == NULL) return;
    amg_text_source_close(&r->source);
    amg_free(r->names);
    amg_free(r->fields);
    amg_chars_clear(&r->text);
    amg_chars_clear(&r->label);
    amg_free(r);
}

amg_status amg_records_next(amg_records *r, amg_record *out, bool *done, amg_error *err)
{
    amg_record record = {.label = ""};
    size_t whole = 0;
    amg_status st = AMG_OK;
    switch (r->format) {
    case AMG_RECORDS_TEXT: st = lines_next(r, &record, &whole, err); break;
    case AMG_RECORDS_CSV:
    case AMG_RECORDS_TSV: st = amg_rows_next(r, &record, &whole, err); break;
    case AMG_RECORDS_JSONL: st = amg_json_lines_next(r, &record, &whole, err); break;
    }
    if (st != AMG_OK) return st;
    *done = whole == 0;
    if (*done && r->num_records == 0)
        return amg_records_fail(r, AMG_MALFORMED, 0, err, "%s",
                                r->line > 1 ? "the file has no record"
                                            : "the file is empty");
    if (*done) return AMG_OK;
    record.line = r->line;
    record.offset = r->source.base + (int64_t)r->source.pos;
    if (r->format == AMG_RECORDS_TEXT) { /* a line */
        r->source.pos += whole;
        r->line++;
    } else {
        amg_records_advance(r, whole);
    }
    r->num_records++;
    *out = record;
    return AMG_OK;
}

void amg_records_position(const amg_records *r, int64_t *done, int64_t *all)
{
    const amg_text_source *s = &r->source;
    *done = (int64_t)(s->gz ? amg_gz_position(s->gz) : s->pos);
    *all = (int64_t)s->map.size;
}
