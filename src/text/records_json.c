/* Objects of JSON Lines files, one a line; empty lines are skipped. Consumes the file's
 * window, produces the text and the label of each object. */
#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "text/records_private.h"

/* An error of the JSON reader, with line and column. */
static amg_status place(const amg_records *r, const amg_error *inner, size_t size,
                        amg_error *err)
{
    const int64_t begin = r->source.base + (int64_t)r->source.pos;
    size_t at = 0;
    if (inner->offset > begin) at = (size_t)(inner->offset - begin);
    return amg_records_fail(r, inner->code, at < size ? at : size, err, "%s",
                            inner->what);
}

static amg_status find_member(const amg_json_node *object, const char *name,
                              amg_json_node *out, amg_error *err)
{
    *out = amg_json_member(object, name);
    if (out->value != NULL) return AMG_OK;
    return amg_json_fail(object, err, AMG_MALFORMED, "lacks the member \"%s\"", name);
}

static amg_status take_text(amg_records *r, const amg_json_node *object,
                            amg_record *out, amg_error *err)
{
    r->text.size = 0;
    for (int i = 0; i < r->num_text_names; i++) {
        amg_json_node member;
        const char *text;
        amg_status st = find_member(object, r->text_names[i], &member, err);
        if (st == AMG_OK) st = amg_json_string(&member, &text, err);
        if (st != AMG_OK) return st;
        if ((i > 0 && !amg_chars_append(&r->text, " ", 1)) ||
            !amg_chars_append(&r->text, text, strlen(text)))
            return amg_records_no_memory(r, err);
    }
    out->text = r->text.size > 0 ? r->text.data : "";
    out->size = r->text.size;
    return AMG_OK;
}

/* A label is a string or an integer. */
static amg_status take_label(amg_records *r, const amg_json_node *object,
                             amg_record *out, amg_error *err)
{
    amg_json_node member;
    char number[32];
    const char *label = number;
    amg_status st = find_member(object, r->label_name, &member, err);
    if (st != AMG_OK) return st;
    if (json_is_integer(member.value))
        snprintf(number, sizeof number, "%lld",
                 (long long)json_integer_value(member.value));
    else
        st = amg_json_string(&member, &label, err);
    if (st != AMG_OK) return st;
    r->label.size = 0;
    if (!amg_chars_append(&r->label, label, strlen(label) + 1))
        return amg_records_no_memory(r, err);
    out->label = r->label.data;
    return AMG_OK;
}

static amg_status take_object(amg_records *r, size_t size, amg_record *out,
                              amg_error *err)
{
    const amg_text_source *s = &r->source;
    amg_json doc;
    amg_status st = amg_json_parse(s->data + s->pos, size, s->base + (int64_t)s->pos,
                                   s->name, &doc, err);
    if (st != AMG_OK) return st;
    const amg_json_node root = amg_json_root(&doc);
    st = take_text(r, &root, out, err);
    if (st == AMG_OK && r->label_name != NULL) st = take_label(r, &root, out, err);
    amg_json_clear(&doc);
    return st;
}

static bool is_blank(const char *p, size_t size)
{
    while (size > 0 && (*p == ' ' || *p == '\t')) p++, size--;
    return size == 0;
}

amg_status amg_json_lines_next(amg_records *r, amg_record *out, size_t *whole,
                               amg_error *err)
{
    for (;;) {
        size_t size;
        amg_status st = amg_records_line(r, &size, whole, err);
        if (st == AMG_OK) st = amg_records_check(r, size, err);
        if (st != AMG_OK || *whole == 0) return st;
        if (!is_blank(r->source.data + r->source.pos, size)) {
            amg_error inner = {0};
            st = take_object(r, size, out, &inner);
            return st == AMG_OK ? st : place(r, &inner, size, err);
        }
        amg_records_advance(r, *whole);
    }
}
