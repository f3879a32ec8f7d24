/* Reads a call's JSON options. Consumes text and a table, fills the table's values;
 * must not know what an option means. */
#include "api/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char where[] = "options";

static const api_option *find(const api_option *table, int num, const char *name)
{
    for (int i = 0; i < num; i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

/* " a, b, c" of names, as many as fit. */
static void list_names(const api_option *table, int num, char *buf, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < num && at < size; i++) {
        int n = snprintf(buf + at, size - at, "%s%s", i ? ", " : "", table[i].name);
        at += n > 0 ? (size_t)n : 0;
    }
}

static amg_status check_known(const amg_json *doc, const api_option *table, int num,
                              amg_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(doc->root, name, value)
    {
        if (find(table, num, name)) continue;
        char known[240];
        list_names(table, num, known, sizeof known);
        amg_fail(err, AMG_INVALID, -1, where, "unknown option \"%.100s\"", name);
        amg_hint(err, "known: %s", known);
        return AMG_INVALID;
    }
    for (int i = 0; i < num; i++)
        if (table[i].required && !json_object_get(doc->root, table[i].name))
            return amg_fail(err, AMG_INVALID, -1, where, "option \"%s\" is missing",
                            table[i].name);
    return AMG_OK;
}

static amg_status out_of_range(const api_option *o, const amg_json_node *node,
                               double found, amg_error *err)
{
    return amg_json_fail(node, err, AMG_INVALID, "found %g, expected %g to %g", found,
                         o->min, o->max);
}

static amg_status read_int(const api_option *o, const amg_json_node *node, int64_t *out,
                           amg_error *err)
{
    int64_t v;
    amg_status st = amg_json_int(node, INT64_MIN, INT64_MAX, &v, err);
    if (st) return st;
    if ((double)v < o->min || (double)v > o->max)
        return out_of_range(o, node, (double)v, err);
    *out = v;
    return AMG_OK;
}

static amg_status read_real(const api_option *o, const amg_json_node *node, double *out,
                            amg_error *err)
{
    if (!json_is_number(node->value))
        return amg_json_fail(node, err, AMG_MALFORMED, "expected a number");
    const double v = json_number_value(node->value);
    if (o->kind == API_REAL && !(v >= o->min && v <= o->max))
        return out_of_range(o, node, v, err);
    *out = v;
    return AMG_OK;
}

static amg_status read_choice(const api_option *o, const amg_json_node *node,
                              amg_error *err)
{
    const char *text;
    char known[200] = "";
    amg_status st = amg_json_string(node, &text, err);
    if (st) return st;
    for (int i = 0; o->choices[i]; i++) {
        if (!strcmp(o->choices[i], text)) {
            *(int *)o->value = i;
            return AMG_OK;
        }
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", o->choices[i]);
    }
    return amg_json_fail(node, err, AMG_INVALID, "found \"%.60s\", expected one of %s",
                         text, known);
}

static amg_status read_array(const api_option *o, const amg_json_node *node,
                             amg_error *err)
{
    size_t count = 0;
    amg_status st = amg_json_array(node, 0, (size_t)o->max_count, &count, err);
    for (size_t i = 0; !st && i < count; i++) {
        const amg_json_node item = amg_json_element(node, i);
        double v = 0;
        if (o->kind == API_INTS) {
            st = read_int(o, &item, (int64_t *)o->value + i, err);
            continue;
        }
        if (o->kind == API_STRINGS) {
            st = amg_json_string(&item, (const char **)o->value + i, err);
            continue;
        }
        st = read_real(o, &item, &v, err);
        if (!st && !isfinite((float)v))
            st = amg_json_fail(&item, err, AMG_INVALID, "%g does not fit a float", v);
        ((float *)o->value)[i] = (float)v;
    }
    if (!st) *o->count = (int)count;
    return st;
}

static amg_status read_one(const api_option *o, const amg_json_node *node,
                           amg_error *err)
{
    switch (o->kind) {
    case API_STRING: return amg_json_string(node, (const char **)o->value, err);
    case API_BOOL:
        if (!json_is_boolean(node->value))
            return amg_json_fail(node, err, AMG_MALFORMED, "expected true or false");
        *(bool *)o->value = json_is_true(node->value);
        return AMG_OK;
    case API_INT: return read_int(o, node, o->value, err);
    case API_REAL: return read_real(o, node, o->value, err);
    case API_CHOICE: return read_choice(o, node, err);
    case API_STRINGS:
    case API_REALS:
    case API_INTS: return read_array(o, node, err);
    }
    return AMG_OK;
}

amg_status api_options_read(const char *text, const api_option *table, int num_options,
                            amg_json *doc, amg_error *err)
{
    if (!text) text = "{}";
    amg_status st = amg_json_parse(text, strlen(text), 0, where, doc, err);
    if (st) return st;
    st = check_known(doc, table, num_options, err);
    const amg_json_node root = amg_json_root(doc);
    for (int i = 0; !st && i < num_options; i++) {
        const amg_json_node node = amg_json_member(&root, table[i].name);
        if (node.value && (table[i].required || !json_is_null(node.value)))
            st = read_one(&table[i], &node, err);
    }
    if (st) amg_json_clear(doc);
    return st;
}
