/* Labels of records and the classes that they name. Consumes label texts, produces
 * class numbers; files and tokens are not its business. */
#include "text/classes.h"

#include <stdlib.h>

#include "base/alloc.h"

#define MAX_LABEL_BYTES 1024 /* formats/token_set.c reads no longer ones */
#define MAX_DIGITS 18        /* of a label that counts as a number */

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "classes", "no memory for their names");
}

/* What a token set can keep: 1 to MAX_LABEL_BYTES bytes, no control character. */
static bool is_name(const char *text)
{
    const size_t n = strlen(text);
    if (n == 0 || n > MAX_LABEL_BYTES) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
    return true;
}

static bool is_number(const char *text, size_t size, int64_t *value)
{
    const bool minus = size > 0 && text[0] == '-';
    if (size == (size_t)minus || size > MAX_DIGITS) return false;
    int64_t sum = 0;
    for (size_t i = minus; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        sum = 10 * sum + (text[i] - '0');
    }
    *value = minus ? -sum : sum;
    return true;
}

/* Whether all (any) labels are numbers. */
static bool are_numbers(const amg_spans *labels, bool all)
{
    bool any = false;
    for (int64_t i = 0; i < labels->count; i++) {
        size_t size;
        int64_t value;
        const char *text = amg_spans_get(labels, i, &size);
        const bool number = is_number(text, size, &value);
        if (all && !number) return false;
        any = any || number;
    }
    return any;
}

void amg_classes_clear(amg_classes *c)
{
    amg_spans_clear(&c->labels);
    *c = (amg_classes){0};
}

static void seal(amg_classes *c)
{
    c->sealed = true;
    c->by_place = !are_numbers(&c->labels, false);
}

amg_status amg_classes_set(amg_classes *c, const char *const *texts, int64_t count,
                           amg_error *err)
{
    for (int64_t i = 0; i < count; i++) {
        if (!is_name(texts[i]))
            return amg_fail(err, AMG_INVALID, -1, "classes",
                            "class %lld: expected 1 to %d bytes without control "
                            "characters",
                            (long long)i + 1, MAX_LABEL_BYTES);
        if (amg_spans_find(&c->labels, texts[i], strlen(texts[i])) >= 0)
            return amg_fail(err, AMG_INVALID, -1, "classes",
                            "class %lld, \"%s\", is there twice", (long long)i + 1,
                            texts[i]);
        if (amg_spans_add(&c->labels, texts[i], strlen(texts[i])) < 0)
            return no_memory(err);
    }
    seal(c);
    return AMG_OK;
}

/* ---- sorting ---- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Equal values ("1", "01") by bytes, so that the order is one. */
static int by_value(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    int64_t left = 0, right = 0;
    is_number(x, strlen(x), &left);
    is_number(y, strlen(y), &right);
    return left != right ? (left > right) - (left < right) : strcmp(x, y);
}

amg_status amg_classes_seal(amg_classes *c, int32_t **class_of, amg_error *err)
{
    const int64_t count = c->labels.count;
    amg_spans collected = c->labels;
    const char **names = amg_classes_names(c);
    if (names == NULL) return no_memory(err);
    c->labels = (amg_spans){0};
    if (count > 0)
        qsort(names, (size_t)count, sizeof *names,
              are_numbers(&collected, true) ? by_value : by_bytes);
    amg_status st = AMG_OK;
    for (int64_t i = 0; i < count && st == AMG_OK; i++)
        if (amg_spans_add(&c->labels, names[i], strlen(names[i])) < 0)
            st = no_memory(err);
    amg_free(names);
    if (st == AMG_OK && class_of != NULL) {
        *class_of = amg_spans_places(&collected, &c->labels, -1);
        if (*class_of == NULL) st = no_memory(err);
    }
    amg_spans_clear(&collected);
    if (st == AMG_OK) seal(c);
    return st;
}

/* ---- labels ---- */

/* Records keep no column of their label: the line is where to look. */
static amg_status refuse(const amg_classes *c, const amg_record *record,
                         const char *path, amg_error *err)
{
    if (!is_name(record->label))
        return amg_fail(err, AMG_MALFORMED, record->offset, path,
                        "line %lld, column 1: the label \"%.80s\" is no name for a "
                        "class",
                        (long long)record->line, record->label);
    const amg_status st = amg_fail(
        err, AMG_MISMATCH, record->offset, path,
        "line %lld, column 1: label \"%.80s\", expected one of the %lld classes",
        (long long)record->line, record->label, (long long)c->labels.count);
    size_t size;
    const char *first = amg_spans_get(&c->labels, 0, &size);
    amg_hint(err, "a label is the name of a class%s; the first is \"%.*s\"",
             c->by_place ? ", or its number from 1" : "", (int)(size < 80 ? size : 80),
             first);
    return st;
}

amg_status amg_classes_find(amg_classes *c, const amg_record *record, const char *path,
                            int32_t *out, amg_error *err)
{
    const size_t size = strlen(record->label);
    int64_t id = amg_spans_find(&c->labels, record->label, size), number;
    if (!c->sealed) {
        if (id < 0 && !is_name(record->label)) return refuse(c, record, path, err);
        if (id < 0) id = amg_spans_add(&c->labels, record->label, size);
        *out = (int32_t)id;
        return id >= 0 ? AMG_OK : no_memory(err);
    }
    if (id < 0 && c->by_place && is_number(record->label, size, &number) &&
        number >= 1 && number <= c->labels.count)
        id = number - 1;
    if (id < 0) return refuse(c, record, path, err);
    *out = (int32_t)id;
    return AMG_OK;
}

/* ---- names ---- */

const char **amg_classes_names(const amg_classes *c)
{
    const int64_t count = c->labels.count;
    size_t bytes = (size_t)count * sizeof(char *), size;
    for (int64_t i = 0; i < count; i++) {
        amg_spans_get(&c->labels, i, &size);
        bytes += size + 1;
    }
    const char **names = amg_malloc(bytes);
    if (names == NULL) return NULL;
    char *at = (char *)(names + count);
    for (int64_t i = 0; i < count; i++) {
        const char *text = amg_spans_get(&c->labels, i, &size);
        memcpy(at, text, size);
        at[size] = 0;
        names[i] = at;
        at += size + 1;
    }
    return names;
}
