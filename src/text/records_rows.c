/* Rows of CSV and TSV files (RFC 4180). Consumes the file's window, produces the text
 * and the label of each row. Strict: as many columns in each row as in the first, and a
 * quote opens a field, closes it or is doubled in it; in TSV, where quoting is rare, a
 * quote within a field that none opened is text. Empty lines between rows are skipped.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/records_private.h"

#define MAX_COLUMNS 65536
#define LAST_COLUMN (-1)

/* A row being cut: data[0..size) from its first byte on. */
typedef struct {
    const char *data;
    size_t size, pos;
    bool ended; /* nothing follows */
    char separator;
    int num_fields;
} row;

/* The row needs bytes behind the window: no error, and never seen outside. */
#define NEED_MORE AMG_INTERRUPTED

static bool add_field(amg_records *r, int n, amg_field field)
{
    if (n == r->field_room) {
        const int room = r->field_room ? 2 * r->field_room : 16;
        amg_field *fields = amg_realloc(r->fields, (size_t)room * sizeof *fields);
        if (fields == NULL) return false;
        r->fields = fields;
        r->field_room = room;
    }
    r->fields[n] = field;
    return true;
}

/* From behind the opening quote to behind the closing one. */
static amg_status cut_quoted(const amg_records *r, row *w, amg_field *out,
                             amg_error *err)
{
    amg_field field = {.begin = w->pos + 1};
    size_t at = field.begin;
    for (;;) {
        const char *quote =
            at < w->size ? memchr(w->data + at, '"', w->size - at) : NULL;
        const bool last = quote != NULL && quote + 1 == w->data + w->size;
        if ((quote == NULL || last) && !w->ended) return NEED_MORE;
        if (quote == NULL)
            return amg_records_fail(r, AMG_MALFORMED, w->pos, err,
                                    "a quote opens a field and none closes it");
        field.end = (size_t)(quote - w->data);
        at = field.end + 1;
        if (last || *++quote != '"') break;
        field.doubled = true;
        at++;
    }
    w->pos = at;
    *out = field;
    return AMG_OK;
}

static amg_status cut_plain(const amg_records *r, row *w, amg_field *out,
                            amg_error *err)
{
    amg_field field = {.begin = w->pos};
    const bool strict = w->separator == ',';
    size_t at = w->pos;
    for (; at < w->size; at++) {
        const char c = w->data[at];
        if (c == w->separator || c == '\n') break;
        if (c == '"' && strict)
            return amg_records_fail(r, AMG_MALFORMED, at, err,
                                    "a quote in a field that does not begin with one");
    }
    if (at == w->size && !w->ended) return NEED_MORE;
    w->pos = field.end = at;
    const bool line_end = at < w->size && w->data[at] == '\n';
    if (line_end && at > field.begin && w->data[at - 1] == '\r') field.end--;
    *out = field;
    return AMG_OK;
}

/* Behind a field: its separator, or the row's end. */
static amg_status cut_end(const amg_records *r, row *w, bool *last, amg_error *err)
{
    size_t at = w->pos;
    if (at + 1 >= w->size && !w->ended) return NEED_MORE;
    if (at + 1 < w->size && w->data[at] == '\r' && w->data[at + 1] == '\n') at++;
    *last = at == w->size || w->data[at] == '\n';
    if (!*last && w->data[at] != w->separator)
        return amg_records_fail(r, AMG_MALFORMED, at, err,
                                "a quote closes a field and more follows: expected %s "
                                "or the line's end (quotes in a field are doubled)",
                                w->separator == ',' ? "a comma" : "a tab");
    w->pos = at + (at < w->size);
    return AMG_OK;
}

static amg_status cut_row(amg_records *r, row *w, amg_error *err)
{
    const int most = r->num_columns ? r->num_columns : MAX_COLUMNS;
    for (bool last = false; !last; w->num_fields++) {
        const size_t begin = w->pos;
        if (w->num_fields == most)
            return amg_records_fail(r, AMG_MALFORMED, begin, err,
                                    "a row of more than %d columns%s", most,
                                    r->num_columns ? ", the number in the first" : "");
        amg_field field = {0};
        const bool quoted = begin < w->size && w->data[begin] == '"';
        amg_status st =
            quoted ? cut_quoted(r, w, &field, err) : cut_plain(r, w, &field, err);
        if (st == AMG_OK) st = cut_end(r, w, &last, err);
        if (st != AMG_OK) return st;
        if (!add_field(r, w->num_fields, field)) return amg_records_no_memory(r, err);
    }
    return AMG_OK;
}

static bool is_empty(const amg_records *r, const row *w)
{
    return w->num_fields == 1 && r->fields[0].begin == 0 && r->fields[0].end == 0;
}

/* Cuts the row at source.pos, after empty lines. *whole: its bytes; 0: the file is
 * over. */
static amg_status next_row(amg_records *r, row *w, size_t *whole, amg_error *err)
{
    amg_text_source *s = &r->source;
    for (;;) {
        const size_t left = s->size - s->pos;
        const bool cut = left > AMG_MAX_RECORD_BYTES;
        *w = (row){.data = s->data + s->pos,
                   .size = cut ? AMG_MAX_RECORD_BYTES : left,
                   .ended = s->ended && !cut,
                   .separator = r->format == AMG_RECORDS_CSV ? ',' : '\t'};
        amg_status st = NEED_MORE;
        if (left > 0 || s->ended) {
            *whole = 0;
            if (left == 0) return AMG_OK;
            st = cut_row(r, w, err);
        }
        if (st == NEED_MORE && cut)
            return amg_records_fail(r, AMG_MALFORMED, 0, err,
                                    "a row of more than %d MiB",
                                    AMG_MAX_RECORD_BYTES >> 20);
        if (st == NEED_MORE) {
            st = amg_text_source_more(s, err);
        } else if (st == AMG_OK && !is_empty(r, w)) {
            *whole = w->pos;
            return amg_records_check(r, w->pos, err);
        } else if (st == AMG_OK) {
            amg_records_advance(r, w->pos);
        }
        if (st != AMG_OK) return st;
    }
}

/* Appends a field with its quotes undoubled. */
static bool append_field(amg_chars *to, const row *w, const amg_field *f)
{
    const char *p = w->data + f->begin, *end = w->data + f->end, *quote;
    while (f->doubled && (quote = memchr(p, '"', (size_t)(end - p))) != NULL) {
        if (!amg_chars_append(to, p, (size_t)(quote + 1 - p))) return false;
        p = quote + 2;
    }
    return amg_chars_append(to, p, (size_t)(end - p));
}

/* Column of a name that is a number from 1; LAST_COLUMN: it is none. */
static int column_number(const char *name)
{
    char *end;
    if (*name < '0' || *name > '9') return LAST_COLUMN;
    const long n = strtol(name, &end, 10);
    return *end == 0 && n >= 1 && n <= MAX_COLUMNS ? (int)n - 1 : LAST_COLUMN;
}

/* Finds a column by its name in the header w, else by number. */
static amg_status find_column(amg_records *r, const row *w, const char *name, int *out,
                              amg_error *err)
{
    for (int i = 0; w != NULL && i < w->num_fields; i++) {
        r->text.size = 0;
        if (!append_field(&r->text, w, &r->fields[i]))
            return amg_records_no_memory(r, err);
        if (r->text.size == strlen(name) &&
            memcmp(r->text.data, name, r->text.size) == 0) {
            *out = i;
            return AMG_OK;
        }
    }
    *out = column_number(name);
    if (*out >= 0 && (w == NULL || *out < w->num_fields)) return AMG_OK;
    if (w == NULL)
        return amg_fail(err, AMG_INVALID, -1, r->source.name,
                        "column \"%s\": without a header columns are numbers from 1",
                        name);
    return amg_records_fail(r, AMG_NOT_FOUND, 0, err,
                            "the header names no column \"%s\"", name);
}

/* Finds the columns asked for; w: the header, or NULL. */
static amg_status find_columns(amg_records *r, const row *w, amg_error *err)
{
    amg_status st = AMG_OK;
    r->text_columns[0] = LAST_COLUMN;
    for (int i = 0; i < r->num_text_names && st == AMG_OK; i++)
        st = find_column(r, w, r->text_names[i], &r->text_columns[i], err);
    if (r->num_text_names == 0) r->num_text_names = 1;
    if (st == AMG_OK && r->label_name != NULL)
        st = find_column(r, w, r->label_name, &r->label_column, err);
    return st;
}

amg_status amg_rows_begin(amg_records *r, bool header, amg_error *err)
{
    if (!header) return find_columns(r, NULL, err);
    row w;
    size_t whole;
    amg_status st = next_row(r, &w, &whole, err);
    if (st != AMG_OK) return st;
    if (whole == 0)
        return amg_records_fail(r, AMG_MALFORMED, 0, err,
                                "the file is empty, expected a header");
    r->num_columns = w.num_fields;
    st = find_columns(r, &w, err);
    amg_records_advance(r, whole);
    return st;
}

/* The first row without a header fixes their number; the others have as many. */
static amg_status check_columns(amg_records *r, const row *w, amg_error *err)
{
    int highest = r->label_name ? r->label_column : 0;
    for (int i = 0; i < r->num_text_names; i++)
        if (r->text_columns[i] > highest) highest = r->text_columns[i];
    if (r->num_columns == 0 && highest < w->num_fields) r->num_columns = w->num_fields;
    const int expected = r->num_columns ? r->num_columns : highest + 1;
    if (w->num_fields == expected) return AMG_OK;
    size_t end = w->pos;
    while (end > 0 && (w->data[end - 1] == '\n' || w->data[end - 1] == '\r')) end--;
    return amg_records_fail(r, AMG_MALFORMED, end, err,
                            "the row ends after %d column%s, expected %d",
                            w->num_fields, amg_plural(w->num_fields), expected);
}

/* One column that holds no doubled quotes is a view; else a copy, joined by spaces. */
static bool take_text(amg_records *r, const row *w, amg_record *out)
{
    r->text.size = 0;
    for (int i = 0; i < r->num_text_names; i++) {
        const int column = r->text_columns[i];
        const amg_field *f =
            &r->fields[column == LAST_COLUMN ? w->num_fields - 1 : column];
        if (r->num_text_names == 1 && !f->doubled) {
            out->text = w->data + f->begin;
            out->size = f->end - f->begin;
            return true;
        }
        if ((i > 0 && !amg_chars_append(&r->text, " ", 1)) ||
            !append_field(&r->text, w, f))
            return false;
    }
    out->text = r->text.size > 0 ? r->text.data : "";
    out->size = r->text.size;
    return true;
}

amg_status amg_rows_next(amg_records *r, amg_record *out, size_t *whole, amg_error *err)
{
    row w;
    amg_status st = next_row(r, &w, whole, err);
    if (st == AMG_OK && *whole > 0) st = check_columns(r, &w, err);
    if (st != AMG_OK || *whole == 0) return st;
    if (!take_text(r, &w, out)) return amg_records_no_memory(r, err);
    if (r->label_name == NULL) return AMG_OK;
    r->label.size = 0;
    if (!append_field(&r->label, &w, &r->fields[r->label_column]) ||
        !amg_chars_append(&r->label, "", 1))
        return amg_records_no_memory(r, err);
    out->label = r->label.data;
    return AMG_OK;
}
