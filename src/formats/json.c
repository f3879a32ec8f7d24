/* Checked reading of JSON over jansson. Consumes text, produces nodes that know their
 * place; knows no schema. jansson keeps no positions, so the byte of a refused value is
 * found afterwards by walking the (already validated) text along the node's path: only
 * a failure pays for it. */
#include "formats/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_TEXT 200

static amg_status parse_status(enum json_error_code code)
{
    switch (code) {
    case json_error_out_of_memory: return AMG_NO_MEMORY;
    case json_error_premature_end_of_input: return AMG_TRUNCATED;
    case json_error_numeric_overflow: return AMG_OVERFLOW;
    default: return AMG_MALFORMED;
    }
}

amg_status amg_json_parse(const char *text, size_t size, int64_t base, const char *name,
                          amg_json *out, amg_error *err)
{
    json_error_t e;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return amg_fail(err, parse_status(json_error_code(&e)), base + e.position, name,
                        "broken JSON: %s", e.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return amg_fail(err, AMG_MALFORMED, base, name,
                        "found a JSON array, expected an object");
    }
    *out = (amg_json){
        .name = name, .text = text, .size = size, .base = base, .root = root};
    return AMG_OK;
}

void amg_json_clear(amg_json *doc)
{
    json_decref(doc->root);
    *doc = (amg_json){0};
}

amg_json_node amg_json_root(const amg_json *doc)
{
    return (amg_json_node){.doc = doc, .value = doc->root};
}

amg_json_node amg_json_member(const amg_json_node *object, const char *key)
{
    return (amg_json_node){.doc = object->doc,
                           .parent = object,
                           .key = key,
                           .value = json_object_get(object->value, key)};
}

amg_json_node amg_json_element(const amg_json_node *array, size_t i)
{
    return (amg_json_node){.doc = array->doc,
                           .parent = array,
                           .index = i,
                           .value = json_array_get(array->value, i)};
}

/* The walk over validated text: each helper takes and gives a position, and stays at
 * the end once there. */

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static size_t skip_space(const amg_json *d, size_t p)
{
    while (p < d->size && is_space(d->text[p])) p++;
    return p;
}

/* From an opening quote to just past its closing one. */
static size_t skip_string(const amg_json *d, size_t p)
{
    for (p++; p < d->size && d->text[p] != '"'; p++)
        if (d->text[p] == '\\') p++;
    return p < d->size ? p + 1 : d->size;
}

/* From a value's first byte to just past it, without recursion. */
static size_t skip_value(const amg_json *d, size_t p)
{
    size_t depth = 0;
    while (p < d->size) {
        char c = d->text[p];
        if (c == '"') {
            p = skip_string(d, p);
        } else if (c == '{' || c == '[') {
            depth++;
            p++;
        } else if (c == '}' || c == ']') {
            if (!depth) return p; /* a number ended with its container */
            depth--;
            p++;
        } else if (!depth && (c == ',' || is_space(c))) {
            return p;
        } else {
            p++;
            continue; /* inside a number or a word, or between values */
        }
        if (!depth) return p;
    }
    return p;
}

/* Position of a node among its parent's values, in the order of the text: jansson keeps
 * it. */
static size_t ordinal(const amg_json_node *node)
{
    if (!node->key) return node->index;
    size_t i = 0;
    json_t *object = node->parent->value;
    for (void *it = json_object_iter(object); it;
         it = json_object_iter_next(object, it))
        if (!strcmp(json_object_iter_key(it), node->key))
            break;
        else
            i++;
    return i;
}

static size_t locate(const amg_json_node *node)
{
    const amg_json *d = node->doc;
    if (!node->parent) return skip_space(d, 0);
    size_t p = locate(node->parent) + 1; /* past its bracket */
    for (size_t left = ordinal(node);; left--) {
        p = skip_space(d, p);
        if (node->key) {
            p = skip_space(d, skip_string(d, p));
            p = skip_space(d, p + 1); /* the colon */
        }
        if (!left) return p;
        p = skip_space(d, skip_value(d, p)) + 1; /* the comma */
    }
}

/* "train.shards[3].rows" into buf; returns its length. */
static size_t path_text(const amg_json_node *node, char buf[PATH_TEXT])
{
    buf[0] = 0;
    if (!node->parent) return 0;
    size_t n = path_text(node->parent, buf);
    int added = node->key
                    ? snprintf(buf + n, PATH_TEXT - n, "%s%s", n ? "." : "", node->key)
                    : snprintf(buf + n, PATH_TEXT - n, "[%zu]", node->index);
    n += added < 0 ? 0 : (size_t)added;
    return n < PATH_TEXT ? n : PATH_TEXT - 1;
}

amg_status(amg_json_fail)(const amg_json_node *node, amg_error *err, amg_status code,
                          const char *fmt, ...)
{
    if (!err) return code;
    char path[PATH_TEXT], what[sizeof err->what];
    size_t n = path_text(node, path);
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return amg_fail(err, code, node->doc->base + (int64_t)locate(node), node->doc->name,
                    "%s%s%s", path, n ? ": " : "", what);
}

/* What a value is, for "found …, expected …". */
static const char *kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: break;
    }
    return "null";
}

static amg_status wrong_kind(const amg_json_node *node, const char *expected,
                             amg_error *err)
{
    return amg_json_fail(node, err, AMG_MALFORMED, "found %s, expected %s",
                         kind(node->value), expected);
}

amg_status amg_json_object(const amg_json_node *node, const char *const *keys,
                           size_t num_keys, amg_error *err)
{
    if (!json_is_object(node->value)) return wrong_kind(node, "an object", err);
    for (size_t i = 0; i < num_keys; i++)
        if (!json_object_get(node->value, keys[i]))
            return amg_json_fail(node, err, AMG_MALFORMED, "lacks the member \"%s\"",
                                 keys[i]);
    if (json_object_size(node->value) == num_keys) return AMG_OK;
    const char *key;
    json_t *value;
    json_object_foreach(node->value, key, value)
    {
        size_t i = 0;
        while (i < num_keys && strcmp(key, keys[i])) i++;
        if (i == num_keys) {
            amg_json_node member = amg_json_member(node, key);
            return amg_json_fail(&member, err, AMG_MALFORMED, "unknown member");
        }
    }
    return AMG_OK;
}

amg_status amg_json_array(const amg_json_node *node, size_t min, size_t max,
                          size_t *count, amg_error *err)
{
    if (!json_is_array(node->value)) return wrong_kind(node, "an array", err);
    size_t n = json_array_size(node->value);
    if (n < min || n > max)
        return amg_json_fail(node, err, AMG_MALFORMED,
                             "found %zu element%s, expected %zu to %zu", n,
                             amg_plural((int64_t)n), min, max);
    *count = n;
    return AMG_OK;
}

amg_status amg_json_int(const amg_json_node *node, int64_t min, int64_t max,
                        int64_t *out, amg_error *err)
{
    if (!json_is_integer(node->value)) return wrong_kind(node, "an integer", err);
    int64_t v = json_integer_value(node->value);
    if (v < min || v > max)
        return amg_json_fail(node, err, AMG_MALFORMED,
                             "found %lld, expected %lld to %lld", (long long)v,
                             (long long)min, (long long)max);
    *out = v;
    return AMG_OK;
}

amg_status amg_json_real(const amg_json_node *node, float least, float *out,
                         amg_error *err)
{
    if (!json_is_number(node->value)) return wrong_kind(node, "a number", err);
    const double v = json_number_value(node->value);
    *out = (float)v;
    if (isfinite(*out) && *out >= least) return AMG_OK;
    return amg_json_fail(node, err, AMG_MALFORMED, "found %g, expected %g or more", v,
                         (double)least);
}

amg_status amg_json_string(const amg_json_node *node, const char **out, amg_error *err)
{
    if (!json_is_string(node->value)) return wrong_kind(node, "a string", err);
    *out = json_string_value(node->value);
    return AMG_OK;
}
