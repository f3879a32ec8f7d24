/* The key file's payload: public shape, preprocessing, name map and the original's ONNX
 * without weights <-> bytes (docs/key.md has the layout). It was sealed, so only we can
 * have made it; it is checked all the same, because older and newer versions of us are
 * somebody else. Must not know the secret. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/alloc.h"
#include "base/cursor.h"
#include "formats/json.h"
#include "graph/name_map.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"
#include "obfuscate/payload_shape.h"
#include "obfuscate/plan.h"

#define PAYLOAD_VERSION 1
#define HEAD_AT 4 /* after its size */
#define MAX_HEAD_BYTES ((size_t)64 << 20)
#define MAX_NAMES 1000000

static const char where[] = "key payload";

/* ---- rules that hold for what is packed and for what is parsed ---- */

static amg_status check_preprocess(const amg_key_payload *p, amg_error *err)
{
    const amg_preprocess *pre = &p->preprocess;
    /* Rotated data are what the preprocess made of others. */
    if (pre->data_dtype != p->shape.dtype &&
        (!p->shape.rotate || pre->data_dtype != AMG_U8))
        return amg_fail(
            err, AMG_INVALID, -1, where, "preprocess is for %s, data are %s",
            amg_dtype_name(pre->data_dtype), amg_dtype_name(p->shape.dtype));
    if (pre->windows && pre->data_dtype != AMG_I32)
        return amg_fail(err, AMG_INVALID, -1, where,
                        "preprocess cuts windows of %s, expected I32",
                        amg_dtype_name(pre->data_dtype));
    /* Channels are the first dim of a sample: of [C,H,W], or of [1, d0, rest]. */
    const int64_t *dims = p->shape.dims;
    const bool fits =
        pre->num_channels == dims[0] || (dims[0] == 1 && pre->num_channels == dims[1]);
    if (pre->num_channels != 0 && (!fits || pre->num_channels > 16))
        return amg_fail(err, AMG_INVALID, -1, where,
                        "preprocess has %d channel%s, the data %lld", pre->num_channels,
                        amg_plural(pre->num_channels), (long long)dims[0]);
    for (int c = 0; c < pre->num_channels; c++)
        if (!isfinite(pre->mean[c]) || !isfinite(pre->std[c]) || pre->std[c] <= 0)
            return amg_fail(err, AMG_INVALID, -1, where,
                            "preprocess of channel %d is mean %g, std %g", c,
                            (double)pre->mean[c], (double)pre->std[c]);
    return AMG_OK;
}

/* Adds a name that must be new and not empty. */
static amg_status add_name(amg_name_map *map, const char *name, int i, amg_error *err)
{
    if (name[0] == '\0')
        return amg_fail(err, AMG_INVALID, -1, where, "name %d is empty", i);
    if (amg_name_map_find(map, name) >= 0)
        return amg_fail(err, AMG_INVALID, -1, where, "name \"%s\" stands twice", name);
    if (!amg_name_map_add(map, name, i))
        return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for names");
    return AMG_OK;
}

/* Names are unique in their column; own names are trainables and buffers of the
 * original once folded, as jobs have it. */
static amg_status check_names(const amg_key_payload *p, const amg_graph *folded,
                              amg_error *err)
{
    amg_name_map job = {0}, own = {0}, params = {0};
    amg_status st = AMG_OK;
    for (int v = 0; st == AMG_OK && v < folded->num_values; v++)
        if (folded->values[v].kind == AMG_VALUE_PARAM &&
            folded->values[v].role != AMG_ROLE_CONSTANT)
            st = add_name(&params, folded->values[v].name, v, err);
    for (int i = 0; st == AMG_OK && i < p->names.count; i++) {
        st = add_name(&job, p->names.job[i], i, err);
        if (st == AMG_OK) st = add_name(&own, p->names.own[i], i, err);
        if (st == AMG_OK && amg_name_map_find(&params, p->names.own[i]) < 0)
            st = amg_fail(err, AMG_INVALID, -1, where,
                          "name \"%s\" is no parameter of the original",
                          p->names.own[i]);
    }
    amg_name_map_clear(&job);
    amg_name_map_clear(&own);
    amg_name_map_clear(&params);
    return st;
}

static amg_status check_payload(const amg_key_payload *p, const amg_origin *origin,
                                amg_error *err)
{
    amg_status st = amg_plan_shape_check(&p->shape, err);
    if (st == AMG_OK) st = check_preprocess(p, err);
    if (st == AMG_OK && p->names.output[0] == '\0')
        st = amg_fail(err, AMG_INVALID, -1, where, "original_output is empty");
    if (st == AMG_OK && (strspn(p->job_sha256, "0123456789abcdef") != 64 ||
                         strlen(p->job_sha256) != 64))
        st = amg_fail(err, AMG_INVALID, -1, where,
                      "job_sha256 is not 64 lowercase hex digits");
    if (st == AMG_OK) st = check_names(p, amg_origin_folded(origin), err);
    return st;
}

/* ---- out ---- */

static json_t *floats_json(const float *v, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_real((double)v[i]));
    return array;
}

/* NULL when out of memory or for text that is not UTF-8. */
static json_t *names_json(const amg_key_payload *p)
{
    json_t *array = json_array();
    for (int i = 0; i < p->names.count; i++) {
        json_t *pair = json_pack("[s, s]", p->names.job[i], p->names.own[i]);
        if (!pair || json_array_append_new(array, pair)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *preprocess_json(const amg_preprocess *pre)
{
    json_t *object =
        json_pack("{s:s, s:o, s:o}", "dtype", amg_dtype_name(pre->data_dtype), "mean",
                  floats_json(pre->mean, pre->num_channels), "std",
                  floats_json(pre->std, pre->num_channels));
    if (object && pre->windows) json_object_set_new(object, "windows", json_true());
    return object;
}

static char *head_text(const amg_key_payload *p)
{
    json_t *names = names_json(p);
    if (!names) return NULL;
    json_t *head =
        json_pack("{s:i, s:o, s:o, s:s, s:s}", "version", PAYLOAD_VERSION, "preprocess",
                  preprocess_json(&p->preprocess), "names", names, "original_output",
                  p->names.output, "job_sha256", p->job_sha256);
    json_t *shape = head ? amg_payload_shape_json(&p->shape) : NULL;
    char *text = NULL;
    if (shape && !json_object_update(head, shape) &&
        (!p->note || !json_object_set_new(head, "note", json_string(p->note))))
        text = json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(shape);
    json_decref(head);
    return text;
}

amg_status amg_key_payload_pack(const amg_key_payload *p, uint8_t **data,
                                size_t *size_bytes, amg_error *err)
{
    amg_origin *origin = NULL;
    amg_graph *stripped = NULL;
    amg_status st = amg_origin_new(p->original, &origin, err);
    if (st == AMG_OK) st = check_payload(p, origin, err);
    if (st == AMG_OK) st = amg_origin_strip(origin, &stripped, err);
    amg_origin_free(origin);
    if (st != AMG_OK) return st;
    uint8_t *onnx = NULL, *all = NULL;
    size_t onnx_bytes = 0;
    char *head = head_text(p);
    if (!head) {
        st = amg_fail(err, AMG_INVALID, -1, where, "a name is not UTF-8 text");
        goto done;
    }
    st = amg_graph_pack_onnx(stripped, AMG_PACK_STRIPPED, &onnx, &onnx_bytes, err);
    if (st != AMG_OK) goto done;
    const size_t head_bytes = strlen(head);
    all = head_bytes <= MAX_HEAD_BYTES ? amg_malloc(HEAD_AT + head_bytes + onnx_bytes)
                                       : NULL;
    if (!all) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for %zu bytes",
                      head_bytes + onnx_bytes);
        goto done;
    }
    for (int i = 0; i < HEAD_AT; i++) all[i] = (uint8_t)(head_bytes >> 8 * i);
    memcpy(all + HEAD_AT, head, head_bytes);
    memcpy(all + HEAD_AT + head_bytes, onnx, onnx_bytes);
    *data = all;
    *size_bytes = HEAD_AT + head_bytes + onnx_bytes;
done:
    if (head) sodium_memzero(head, strlen(head));
    free(head); /* jansson's, not ours */
    amg_free(onnx);
    amg_graph_free(stripped);
    return st;
}

/* ---- in ---- */

static amg_status parse_number(const amg_json_node *node, double *out, amg_error *err)
{
    if (!json_is_number(node->value))
        return amg_json_fail(node, err, AMG_MALFORMED, "expected a number");
    *out = json_number_value(node->value);
    return AMG_OK;
}

static amg_status parse_floats(const amg_json_node *node, float *out, size_t *count,
                               amg_error *err)
{
    amg_status st = amg_json_array(node, 0, 16, count, err);
    for (size_t i = 0; st == AMG_OK && i < *count; i++) {
        amg_json_node item = amg_json_element(node, i);
        double v = 0;
        st = parse_number(&item, &v, err);
        if (st == AMG_OK && fabs(v) > (double)3.4028234e38f)
            return amg_json_fail(&item, err, AMG_MALFORMED, "%g does not fit a float",
                                 v);
        out[i] = (float)v;
    }
    return st;
}

static amg_status parse_preprocess(const amg_json_node *node, amg_preprocess *out,
                                   amg_error *err)
{
    static const char *const keys[] = {"dtype", "mean", "std", "windows"};
    amg_status st = amg_payload_parse_object(node, keys, 4, 1, err);
    if (st != AMG_OK) return st;
    const amg_json_node dtype = amg_json_member(node, "dtype");
    const amg_json_node mean = amg_json_member(node, "mean");
    const amg_json_node std = amg_json_member(node, "std");
    size_t num_mean = 0, num_std = 0;
    st = amg_payload_parse_dtype(&dtype, &out->data_dtype, err);
    if (st == AMG_OK) st = parse_floats(&mean, out->mean, &num_mean, err);
    if (st == AMG_OK) st = parse_floats(&std, out->std, &num_std, err);
    if (st == AMG_OK && num_mean != num_std)
        return amg_json_fail(&std, err, AMG_MALFORMED,
                             "found %zu, expected %zu as mean", num_std, num_mean);
    out->num_channels = (int)num_mean;
    if (st == AMG_OK && json_object_get(node->value, "windows")) {
        const amg_json_node windows = amg_json_member(node, "windows");
        st = amg_payload_parse_bool(&windows, &out->windows, err);
    }
    return st;
}

static amg_status parse_pair(const amg_json_node *node, char **job, char **own,
                             amg_error *err)
{
    size_t count = 0;
    const char *text = NULL;
    amg_status st = amg_json_array(node, 2, 2, &count, err);
    char **out[2] = {job, own};
    for (size_t i = 0; st == AMG_OK && i < 2; i++) {
        amg_json_node item = amg_json_element(node, i);
        st = amg_json_string(&item, &text, err);
        if (st == AMG_OK && !(*out[i] = amg_strdup(text)))
            st = amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for names");
    }
    return st;
}

static amg_status parse_names(const amg_json_node *node, amg_key_payload *out,
                              amg_error *err)
{
    size_t count = 0;
    amg_status st = amg_json_array(node, 0, MAX_NAMES, &count, err);
    if (st != AMG_OK) return st;
    out->names.job = amg_calloc(count, sizeof(char *));
    out->names.own = amg_calloc(count, sizeof(char *));
    if (!out->names.job || !out->names.own)
        return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for names");
    out->names.count = (int)count;
    for (size_t i = 0; st == AMG_OK && i < count; i++) {
        amg_json_node pair = amg_json_element(node, i);
        st = parse_pair(&pair, &out->names.job[i], &out->names.own[i], err);
    }
    return st;
}

/* What does not fit stays empty, which check_payload refuses. */
static amg_status parse_sha256(const amg_json_node *node, char out[65], amg_error *err)
{
    const char *text = NULL;
    amg_status st = amg_json_string(node, &text, err);
    if (st == AMG_OK && strlen(text) == 64) strcpy(out, text);
    return st;
}

static amg_status parse_output(const amg_json_node *node, char out[256], amg_error *err)
{
    const char *text = NULL;
    amg_status st = amg_json_string(node, &text, err);
    if (st != AMG_OK) return st;
    if (strlen(text) > 255)
        return amg_json_fail(node, err, AMG_MALFORMED, "found %zu bytes, at most 255",
                             strlen(text));
    strcpy(out, text);
    return AMG_OK;
}

static amg_status parse_note(const amg_json_node *node, char **out, amg_error *err)
{
    const char *text = NULL;
    amg_status st = amg_json_string(node, &text, err);
    if (st == AMG_OK && !(*out = amg_strdup(text)))
        st = amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for the note");
    return st;
}

/* The head is an object with its own members and those of the shape. */
static amg_status check_members(const amg_json_node *root, amg_error *err)
{
    static const char *const own[] = {"version", "preprocess", "names",
                                      "original_output", "job_sha256"};
    const char *keys[24];
    const char *const *shape;
    size_t n = 0, num_optional = 0;
    const size_t num_shape = amg_payload_shape_keys(&shape, &num_optional);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) keys[n++] = own[i];
    for (size_t i = 0; i < num_shape; i++) keys[n++] = shape[i];
    keys[n++] = "note";
    return amg_payload_parse_object(root, keys, n, num_optional + 1, err);
}

static amg_status parse_head(const amg_json *doc, amg_key_payload *out, amg_error *err)
{
    const amg_json_node root = amg_json_root(doc);
    /* The version first: a newer head has other keys. */
    const json_t *version = json_object_get(doc->root, "version");
    if (json_is_integer(version) && json_integer_value(version) > PAYLOAD_VERSION)
        return amg_json_fail(&root, err, AMG_UNSUPPORTED,
                             "payload of version %lld, this program reads %d",
                             (long long)json_integer_value(version), PAYLOAD_VERSION);
    amg_status st = check_members(&root, err);
    if (st != AMG_OK) return st;
    int64_t number = 0;
    const amg_json_node version_node = amg_json_member(&root, "version");
    const amg_json_node preprocess = amg_json_member(&root, "preprocess");
    const amg_json_node names = amg_json_member(&root, "names");
    const amg_json_node output = amg_json_member(&root, "original_output");
    const amg_json_node job = amg_json_member(&root, "job_sha256");
    st = amg_json_int(&version_node, PAYLOAD_VERSION, PAYLOAD_VERSION, &number, err);
    if (st == AMG_OK) st = amg_payload_shape_parse(&root, &out->shape, err);
    if (st == AMG_OK) st = parse_preprocess(&preprocess, &out->preprocess, err);
    if (st == AMG_OK) st = parse_names(&names, out, err);
    if (st == AMG_OK) st = parse_output(&output, out->names.output, err);
    if (st == AMG_OK) st = parse_sha256(&job, out->job_sha256, err);
    if (st == AMG_OK && json_object_get(doc->root, "note")) {
        const amg_json_node note = amg_json_member(&root, "note");
        st = parse_note(&note, &out->note, err);
    }
    return st;
}

/* What the head and the graph say together; a rule broken in a file is MALFORMED. */
static amg_status check_parsed(const amg_key_payload *p, amg_error *err)
{
    amg_error inner = {0};
    amg_origin *origin = NULL;
    amg_status st = amg_origin_new(p->original, &origin, &inner);
    if (st == AMG_OK) st = check_payload(p, origin, &inner);
    amg_origin_free(origin);
    if (st == AMG_OK) return AMG_OK;
    if (st == AMG_INVALID) st = AMG_MALFORMED;
    return amg_fail(err, st, HEAD_AT, where, "%s: %s", inner.where, inner.what);
}

amg_status amg_key_payload_parse(const uint8_t *data, size_t size_bytes,
                                 amg_key_payload *out, amg_error *err)
{
    amg_cursor c = amg_cursor_init(data, size_bytes);
    const size_t head_bytes = amg_cursor_u32le(&c);
    if (!c.failed && head_bytes > MAX_HEAD_BYTES)
        return amg_fail(err, AMG_MALFORMED, 0, where,
                        "found a head of %zu bytes, expected at most %zu", head_bytes,
                        MAX_HEAD_BYTES);
    const uint8_t *head = amg_cursor_bytes(&c, head_bytes);
    if (c.failed)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)size_bytes, where,
                        "the payload ends before its head does");
    amg_json doc = {0};
    amg_key_payload p = {0};
    amg_status st =
        amg_json_parse((const char *)head, head_bytes, HEAD_AT, where, &doc, err);
    if (st == AMG_OK) st = parse_head(&doc, &p, err);
    if (st == AMG_OK)
        st = amg_graph_parse_onnx(data + c.pos, amg_cursor_left(&c), where, &p.original,
                                  err);
    if (st == AMG_OK) st = check_parsed(&p, err);
    amg_json_clear(&doc);
    if (st == AMG_OK)
        *out = p;
    else
        amg_key_payload_clear(&p);
    return st;
}

void amg_job_names_clear(amg_job_names *names)
{
    for (int i = 0; i < names->count; i++) {
        char *pair[2] = {names->job[i], names->own[i]};
        for (int column = 0; column < 2; column++) {
            if (pair[column]) sodium_memzero(pair[column], strlen(pair[column]));
            amg_free(pair[column]);
        }
    }
    amg_free(names->job);
    amg_free(names->own);
    *names = (amg_job_names){0};
}

void amg_key_payload_clear(amg_key_payload *p)
{
    amg_job_names_clear(&p->names);
    if (p->note) sodium_memzero(p->note, strlen(p->note));
    amg_free(p->note);
    amg_graph_free(p->original);
    sodium_memzero(p, sizeof *p);
}
