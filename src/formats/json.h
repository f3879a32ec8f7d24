/* Checked reading of JSON, shared by the readers of safetensors, job.json, the key
 * file's payload, pack's parts and the library's options; not for others. jansson
 * parses; this adds what a strict reader needs: exact members, ranges, and the byte of
 * the file where each refused value stands. */
#ifndef AMG_FORMATS_JSON_H
#define AMG_FORMATS_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

/* One parsed document. A zeroed struct is valid for amg_json_clear. */
typedef struct {
    const char *name; /* the file, for errors; borrowed until clear */
    const char *text; /* borrowed until clear */
    size_t size;
    int64_t base; /* file offset of text[0] */
    json_t *root; /* an object */
} amg_json;

/* A value and its place in the document. A node borrows its document and its parent
 * node: both outlive it. */
typedef struct amg_json_node {
    const amg_json *doc;
    const struct amg_json_node *parent; /* NULL: the root */
    const char *key;                    /* NULL: the root or an array's element */
    size_t index;                       /* of an array's element */
    json_t *value;
} amg_json_node;

/* Parses UTF-8 text that is one JSON object. Refuses duplicate members, NUL in strings,
 * nesting beyond 2048, anything but spaces and line ends around the object. The error's
 * offset is just past the offending token. jansson allocates by itself, outside the
 * hook of base/alloc.h. */
AMG_MUST_CHECK amg_status amg_json_parse(const char *text, size_t size, int64_t base,
                                         const char *name, amg_json *out,
                                         amg_error *err);
void amg_json_clear(amg_json *doc);

amg_json_node amg_json_root(const amg_json *doc);
/* Member key of an object that amg_json_object has checked. */
amg_json_node amg_json_member(const amg_json_node *object, const char *key);
/* Element i of an array that amg_json_array has checked. */
amg_json_node amg_json_element(const amg_json_node *array, size_t i);

/* amg_fail at this value: its byte as offset, the file as where, its path before the
 * message. O(size of the document). */
amg_status amg_json_fail(const amg_json_node *node, amg_error *err, amg_status code,
                         const char *fmt, ...) AMG_PRINTF(4, 5);
#define amg_json_fail(...) amg_not_ok(amg_json_fail(__VA_ARGS__))

/* The value is an object with exactly the members keys[0..num_keys). */
AMG_MUST_CHECK amg_status amg_json_object(const amg_json_node *node,
                                          const char *const *keys, size_t num_keys,
                                          amg_error *err);
/* The value is an array of min to max elements. */
AMG_MUST_CHECK amg_status amg_json_array(const amg_json_node *node, size_t min,
                                         size_t max, size_t *count, amg_error *err);
/* The value is an integer in [min, max]. */
AMG_MUST_CHECK amg_status amg_json_int(const amg_json_node *node, int64_t min,
                                       int64_t max, int64_t *out, amg_error *err);
/* The value is a finite number from least on, as a float. */
AMG_MUST_CHECK amg_status amg_json_real(const amg_json_node *node, float least,
                                        float *out, amg_error *err);
/* The value is a string (borrowed from the document; it holds no NUL). */
AMG_MUST_CHECK amg_status amg_json_string(const amg_json_node *node, const char **out,
                                          amg_error *err);

#endif
