/* Text that grows, and Python's way to write numbers and long lines. */
#include "emit/emit_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { HANGING = 8 };

void amg_text_clear(amg_text *t)
{
    amg_free(t->data);
    *t = (amg_text){0};
}

void amg_text_reset(amg_text *t)
{
    t->length = 0;
    if (t->data) t->data[0] = 0;
}

const char *amg_text_get(const amg_text *t) { return t->data ? t->data : ""; }

static bool make_room(amg_text *t, size_t more)
{
    if (t->no_memory) return false;
    if (t->length + more < t->room) return true;
    size_t room = 2 * (t->length + more) + 64;
    char *data = amg_realloc(t->data, room);
    t->no_memory = !data;
    if (!data) return false;
    t->data = data;
    t->room = room;
    return true;
}

static void add_bytes(amg_text *t, const char *bytes, size_t length)
{
    if (!make_room(t, length)) return;
    memcpy(t->data + t->length, bytes, length);
    t->length += length;
    t->data[t->length] = 0;
}

void amg_text_add(amg_text *t, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    if (length >= 0 && make_room(t, (size_t)length)) {
        vsnprintf(t->data + t->length, t->room - t->length, fmt, again);
        t->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

/* Where to break a line of at most `room` columns: of the spaces between parentheses
 * that leave a part which fits, the last of those in the fewest; else the first there
 * is; 0: nowhere. depth: parentheses open before s. */
static size_t break_at(const char *s, size_t room, int depth)
{
    size_t at = 0;
    int fewest = 0;
    for (size_t i = 0; s[i] && (i <= room || at == 0); i++) {
        if (strchr("([{", s[i])) depth++;
        if (strchr(")]}", s[i])) depth--;
        if (s[i] != ' ' || depth < 1 || i == 0) continue;
        if (at == 0 || depth <= fewest) {
            at = i;
            fewest = depth;
        }
    }
    return at;
}

static int depth_after(const char *s, size_t length, int depth)
{
    for (size_t i = 0; i < length; i++) {
        if (strchr("([{", s[i])) depth++;
        if (strchr(")]}", s[i])) depth--;
    }
    return depth;
}

void amg_text_statement(amg_text *t, int indent, const char *statement)
{
    int depth = 0, column = indent;
    amg_text_add(t, "%*s", indent, "");
    for (;;) {
        size_t room = (size_t)(AMG_TEXT_COLUMNS - column);
        size_t at = strlen(statement) > room ? break_at(statement, room, depth) : 0;
        if (at == 0) break;
        add_bytes(t, statement, at);
        depth = depth_after(statement, at, depth);
        statement += at + 1;
        column = indent + HANGING;
        amg_text_add(t, "\n%*s", column, "");
    }
    amg_text_add(t, "%s\n", statement);
}

void amg_text_tuple(amg_text *t, int count, const int64_t *v)
{
    amg_text_add(t, "(");
    for (int i = 0; i < count; i++)
        amg_text_add(t, "%s%lld", i ? ", " : "", (long long)v[i]);
    amg_text_add(t, count == 1 ? ",)" : ")");
}

void amg_text_float(amg_text *t, float v)
{
    char text[32];
    if (!isfinite(v)) {
        amg_text_add(t, "float(\"%s\")", isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) break;
    }
    /* Python reads "1" as an integer. */
    amg_text_add(t, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}
