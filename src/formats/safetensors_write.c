/* Writing safetensors. Consumes named tensors, produces one file: compact JSON header,
 * space-padded so that the data begin at a multiple of 8 (as the reference
 * implementation does), then the tensors back to back in the given order. No metadata
 * but the caller's, no time, no tool name: the same input gives the same bytes. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "formats/safetensors.h"

#define PREFIX_BYTES 8
#define METADATA "__metadata__"

static amg_status no_memory(const char *path, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its header");
}

/* An entry must be a whole tensor under a name that the format can carry. */
static amg_status check_entry(const amg_st_entry *e, amg_error *err)
{
    const amg_tensor *t = &e->tensor;
    size_t size;
    if (!strcmp(e->name, METADATA))
        return amg_fail(err, AMG_INVALID, -1, e->name, "this name is reserved");
    if (t->dtype <= AMG_DTYPE_NONE || t->dtype >= AMG_DTYPE_COUNT)
        return amg_fail(err, AMG_INVALID, -1, e->name, "the tensor has no dtype");
    amg_status st = amg_tensor_size(t->dtype, t->rank, t->dims, &size, err);
    if (st) return st;
    if (size != t->size_bytes || (size && !t->data)) {
        char shape[AMG_SHAPE_TEXT];
        return amg_fail(err, AMG_INVALID, -1, e->name,
                        "found %zu bytes, expected %zu for %s",
                        t->data ? t->size_bytes : 0, size,
                        amg_shape_text(t->dtype, t->rank, t->dims, shape));
    }
    return AMG_OK;
}

/* {"dtype":…,"shape":…,"data_offsets":[begin,end]}; NULL when out of memory. */
static json_t *describe(const amg_tensor *t, size_t begin, size_t end)
{
    json_t *shape = json_array();
    for (int i = 0; shape && i < t->rank; i++)
        if (json_array_append_new(shape, json_integer(t->dims[i]))) {
            json_decref(shape);
            shape = NULL;
        }
    if (!shape) return NULL;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", amg_dtype_name(t->dtype), "shape",
                     shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static amg_status add_entry(json_t *header, const amg_st_entry *e, size_t *at,
                            amg_error *err)
{
    amg_status st = check_entry(e, err);
    if (st) return st;
    size_t end;
    if (!amg_add_size(*at, e->tensor.size_bytes, &end) || end > INT64_MAX)
        return amg_fail(err, AMG_OVERFLOW, -1, e->name,
                        "the sum of sizes does not fit 63 bits");
    if (json_object_get(header, e->name))
        return amg_fail(err, AMG_INVALID, -1, e->name, "found twice");
    json_t *name = json_string(e->name); /* NULL: not UTF-8 */
    if (!name) return amg_fail(err, AMG_INVALID, -1, e->name, "the name is not UTF-8");
    json_decref(name);
    if (json_object_set_new(header, e->name, describe(&e->tensor, *at, end)))
        return no_memory(e->name, err);
    *at = end;
    return AMG_OK;
}

/* The metadata object, first in the header as the reference writes it. */
static amg_status add_metadata(json_t *header, const amg_st_pair *pairs, size_t count,
                               amg_error *err)
{
    if (count == 0) return AMG_OK;
    json_t *object = json_object();
    if (json_object_set_new(header, METADATA, object)) return no_memory(METADATA, err);
    for (size_t i = 0; i < count; i++) {
        const char *key = pairs[i].key;
        if (json_object_get(object, key))
            return amg_fail(err, AMG_INVALID, -1, METADATA, "key \"%s\" is given twice",
                            key);
        if (json_object_set_new(object, key, json_string(pairs[i].value)))
            return amg_fail(err, AMG_INVALID, -1, METADATA,
                            "pair %zu is not UTF-8, or memory ran out", i);
    }
    return AMG_OK;
}

/* The padded header, as an owned buffer of *size bytes. */
static amg_status make_header(const char *path, const amg_st_entry *entries,
                              size_t count, const amg_st_pair *pairs, size_t num_pairs,
                              char **out, size_t *size, amg_error *err)
{
    size_t at = 0;
    char *text = NULL;
    json_t *header = json_object();
    if (!header) return no_memory(path, err);
    amg_status st = add_metadata(header, pairs, num_pairs, err);
    for (size_t i = 0; i < count && !st; i++)
        st = add_entry(header, &entries[i], &at, err);
    if (st) goto done;
    size_t length = json_dumpb(header, NULL, 0, JSON_COMPACT);
    size_t padded = (length + 7) & ~(size_t)7;
    if (!length || !(text = amg_malloc(padded))) {
        st = no_memory(path, err);
        goto done;
    }
    json_dumpb(header, text, length, JSON_COMPACT);
    memset(text + length, ' ', padded - length);
    *out = text;
    *size = padded;

done:
    json_decref(header);
    return st;
}

amg_status amg_safetensors_write(const char *path, const amg_st_entry *entries,
                                 size_t count, amg_error *err)
{
    return amg_safetensors_write_with(path, entries, count, NULL, 0, err);
}

amg_status amg_safetensors_write_with(const char *path, const amg_st_entry *entries,
                                      size_t count, const amg_st_pair *pairs,
                                      size_t num_pairs, amg_error *err)
{
    char *header = NULL;
    size_t size = 0;
    amg_status st =
        make_header(path, entries, count, pairs, num_pairs, &header, &size, err);
    if (st) return st;
    amg_outfile f;
    if ((st = amg_outfile_open(path, 0644, false, &f, err))) goto done;
    uint8_t prefix[PREFIX_BYTES];
    for (int i = 0; i < PREFIX_BYTES; i++)
        prefix[i] = (uint8_t)((uint64_t)size >> (8 * i));
    fwrite(prefix, 1, sizeof prefix, f.stream);
    fwrite(header, 1, size, f.stream);
    for (size_t i = 0; i < count; i++)
        if (entries[i].tensor.size_bytes)
            fwrite(entries[i].tensor.data, 1, entries[i].tensor.size_bytes, f.stream);
    st = amg_outfile_commit(&f, false, err);

done:
    amg_free(header);
    return st;
}
