/* safetensors reading and writing. Consumes a mapped file or a buffer that a stranger
 * may have made, produces named views; produces files byte-equal to those of the
 * reference implementation for the same order of entries. Knows no model: names and
 * shapes are checked against meaning elsewhere. docs/safetensors.md lists the refusals.
 */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/checked.h"
#include "base/cursor.h"
#include "formats/json.h"

#define MAX_HEADER_BYTES 100000000u /* the reference's own limit */
#define PREFIX_BYTES 8
#define METADATA "__metadata__"

struct amg_safetensors {
    amg_map map;           /* empty for a parsed buffer */
    amg_arena arena;       /* names, arrays, metadata */
    amg_st_entry *entries; /* in the order of their data */
    const amg_st_entry **by_name;
    size_t count;
    const char **metadata; /* key, value, key, value … */
    size_t num_metadata;
};

/* One tensor of the header, before the order of the data is known. */
typedef struct {
    const char *name; /* the JSON document's */
    amg_dtype dtype;
    int rank;
    int64_t dims[AMG_MAX_RANK];
    uint64_t begin, end; /* into the data section */
    size_t ordinal;      /* place in the header: orders empty tensors at one offset */
} st_item;

/* The file under reading. */
typedef struct {
    const char *name;
    const uint8_t *data; /* the data section */
    size_t data_size, data_start, file_size;
} st_file;

static amg_status no_memory(const char *name, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for its list of tensors");
}

/* Sizes of the three parts, before any JSON is looked at. */
static amg_status split_file(const void *bytes, size_t size, const char *name,
                             st_file *out, const char **header, size_t *header_size,
                             amg_error *err)
{
    amg_cursor c = amg_cursor_init(bytes, size);
    uint64_t declared = amg_cursor_u64le(&c);
    if (c.failed)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)size, name,
                        "found %zu bytes, expected at least %d", size, PREFIX_BYTES);
    if (declared > MAX_HEADER_BYTES)
        return amg_fail(err, AMG_MALFORMED, 0, name,
                        "header of %" PRIu64 " bytes, expected at most %u", declared,
                        MAX_HEADER_BYTES);
    if (declared > amg_cursor_left(&c))
        return amg_fail(err, AMG_TRUNCATED, (int64_t)size, name,
                        "header of %" PRIu64 " bytes, found %zu", declared,
                        amg_cursor_left(&c));
    *header_size = (size_t)declared;
    *header = (const char *)amg_cursor_bytes(&c, *header_size);
    if (!*header_size || (*header)[0] != '{')
        return amg_fail(err, AMG_MALFORMED, PREFIX_BYTES, name,
                        "the header does not begin with '{'");
    *out = (st_file){.name = name,
                     .data = (const uint8_t *)bytes + c.pos,
                     .data_size = size - c.pos,
                     .data_start = c.pos,
                     .file_size = size};
    return AMG_OK;
}

static amg_status read_dtype(const amg_json_node *node, amg_dtype *out, amg_error *err)
{
    const char *text;
    amg_status st = amg_json_string(node, &text, err);
    if (st) return st;
    if (!(*out = amg_dtype_find_name(text)))
        return amg_json_fail(node, err, AMG_UNSUPPORTED, "unknown dtype \"%s\"", text);
    return AMG_OK;
}

static amg_status read_shape(const amg_json_node *node, st_item *item, amg_error *err)
{
    size_t rank;
    amg_status st = amg_json_array(node, 0, SIZE_MAX, &rank, err);
    if (st) return st;
    if (rank > AMG_MAX_RANK)
        return amg_json_fail(node, err, AMG_UNSUPPORTED,
                             "found %zu dims, expected at most %d", rank, AMG_MAX_RANK);
    for (size_t i = 0; i < rank; i++) {
        amg_json_node dim = amg_json_element(node, i);
        if ((st = amg_json_int(&dim, 0, INT64_MAX, &item->dims[i], err))) return st;
    }
    item->rank = (int)rank;
    return AMG_OK;
}

static amg_status read_offsets(const amg_json_node *node, const st_file *file,
                               st_item *item, amg_error *err)
{
    size_t count;
    int64_t begin, end;
    amg_status st = amg_json_array(node, 2, 2, &count, err);
    if (st) return st;
    amg_json_node first = amg_json_element(node, 0);
    amg_json_node second = amg_json_element(node, 1);
    if ((st = amg_json_int(&first, 0, INT64_MAX, &begin, err))) return st;
    if ((st = amg_json_int(&second, begin, INT64_MAX, &end, err))) return st;
    if ((uint64_t)end > file->data_size)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)file->file_size, file->name,
                        "tensor \"%s\" ends at byte %lld of the data, found %zu",
                        item->name, (long long)end, file->data_size);
    item->begin = (uint64_t)begin;
    item->end = (uint64_t)end;
    return AMG_OK;
}

static amg_status read_item(const amg_json_node *node, const st_file *file,
                            st_item *item, amg_error *err)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    amg_status st = amg_json_object(node, keys, 3, err);
    if (st) return st;
    amg_json_node dtype = amg_json_member(node, "dtype");
    amg_json_node shape = amg_json_member(node, "shape");
    amg_json_node offsets = amg_json_member(node, "data_offsets");
    if ((st = read_dtype(&dtype, &item->dtype, err))) return st;
    if ((st = read_shape(&shape, item, err))) return st;
    size_t size;
    if (amg_tensor_size(item->dtype, item->rank, item->dims, &size, NULL))
        return amg_json_fail(&shape, err, AMG_OVERFLOW,
                             "the product of its dims does not fit 63 bits");
    if ((st = read_offsets(&offsets, file, item, err))) return st;
    if (item->end - item->begin != size) {
        char text[AMG_SHAPE_TEXT];
        amg_shape_text(item->dtype, item->rank, item->dims, text);
        return amg_json_fail(&offsets, err, AMG_MALFORMED,
                             "found %" PRIu64 " bytes, expected %zu for %s",
                             item->end - item->begin, size, text);
    }
    return AMG_OK;
}

static amg_status read_metadata(const amg_json_node *node, amg_safetensors *st,
                                amg_error *err)
{
    if (!json_is_object(node->value))
        return amg_json_fail(node, err, AMG_MALFORMED, "expected an object");
    size_t n = json_object_size(node->value);
    st->metadata = amg_arena_array(&st->arena, n, 2 * sizeof *st->metadata);
    if (!st->metadata) return no_memory(node->doc->name, err);
    json_t *object = node->value;
    const char **out = st->metadata;
    for (void *it = json_object_iter(object); it;
         it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        amg_json_node value = {node->doc, node, key, 0, json_object_iter_value(it)};
        const char *text;
        amg_status status = amg_json_string(&value, &text, err);
        if (status) return status;
        out[0] = amg_arena_strdup(&st->arena, key);
        out[1] = amg_arena_strdup(&st->arena, text);
        if (!out[0] || !out[1]) return no_memory(node->doc->name, err);
        out += 2;
    }
    st->num_metadata = n;
    return AMG_OK;
}

/* All members of the header; items holds as many as the header has members. */
static amg_status read_members(const amg_json *doc, const st_file *file,
                               amg_safetensors *st, st_item *items, amg_error *err)
{
    amg_json_node root = amg_json_root(doc);
    for (void *it = json_object_iter(doc->root); it;
         it = json_object_iter_next(doc->root, it)) {
        const char *key = json_object_iter_key(it);
        amg_json_node node = {doc, &root, key, 0, json_object_iter_value(it)};
        amg_status status;
        if (!strcmp(key, METADATA)) {
            status = read_metadata(&node, st, err);
        } else {
            items[st->count] = (st_item){.name = key, .ordinal = st->count};
            status = read_item(&node, file, &items[st->count], err);
            st->count++;
        }
        if (status) return status;
    }
    return AMG_OK;
}

static int compare_items(const void *a, const void *b)
{
    const st_item *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return x->ordinal < y->ordinal ? -1 : 1;
}

static int compare_entries(const void *a, const void *b)
{
    const amg_st_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Sorted tensors follow one another from the first byte of the data to the last. */
static amg_status check_coverage(const amg_json *doc, const st_file *file,
                                 const st_item *items, size_t count, amg_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].begin != at) {
            amg_json_node root = amg_json_root(doc);
            amg_json_node tensor = amg_json_member(&root, items[i].name);
            amg_json_node node = amg_json_member(&tensor, "data_offsets");
            return amg_json_fail(&node, err, AMG_MALFORMED,
                                 "%s: begins at byte %" PRIu64 ", expected %" PRIu64,
                                 items[i].begin < at ? "overlap" : "hole",
                                 items[i].begin, at);
        }
        at = items[i].end;
    }
    if (at != file->data_size)
        return amg_fail(err, AMG_MALFORMED, (int64_t)(file->data_start + at),
                        file->name, "found %" PRIu64 " byte%s beyond the last tensor",
                        file->data_size - at,
                        amg_plural((int64_t)(file->data_size - at)));
    return AMG_OK;
}

/* A view where the bytes are aligned for their type, else (the format does not promise
 * it) a copy that the reader owns. */
static amg_status fill_tensor(const st_item *item, const uint8_t *bytes,
                              amg_tensor *out, amg_error *err)
{
    if ((uintptr_t)bytes % amg_dtype_size(item->dtype) == 0)
        return amg_tensor_view(item->dtype, item->rank, item->dims, bytes, out, err);
    amg_status st = amg_tensor_new(item->dtype, item->rank, item->dims, out, err);
    if (!st && out->size_bytes) memcpy(out->data, bytes, out->size_bytes);
    return st;
}

static amg_status fill_entries(const st_file *file, const st_item *items,
                               amg_safetensors *st, amg_error *err)
{
    st->entries = amg_arena_array(&st->arena, st->count, sizeof *st->entries);
    st->by_name = amg_arena_array(&st->arena, st->count, sizeof(amg_st_entry *));
    if (!st->entries || !st->by_name) return no_memory(file->name, err);
    for (size_t i = 0; i < st->count; i++) {
        amg_st_entry *e = &st->entries[i];
        if (!(e->name = amg_arena_strdup(&st->arena, items[i].name)))
            return no_memory(file->name, err);
        amg_status status =
            fill_tensor(&items[i], file->data + items[i].begin, &e->tensor, err);
        if (status) return status;
        st->by_name[i] = e;
    }
    if (st->count) qsort(st->by_name, st->count, sizeof *st->by_name, compare_entries);
    return AMG_OK;
}

/* Fills a zeroed reader; on failure the caller closes it. */
static amg_status parse_into(amg_safetensors *st, const void *data, size_t size_bytes,
                             const char *name, amg_error *err)
{
    st_file file = {0};
    const char *header = NULL;
    size_t header_size = 0;
    amg_status status =
        split_file(data, size_bytes, name, &file, &header, &header_size, err);
    if (status) return status;
    amg_json doc;
    if ((status = amg_json_parse(header, header_size, PREFIX_BYTES, name, &doc, err)))
        return status;
    st_item *items = amg_calloc(json_object_size(doc.root), sizeof *items);
    if (!items) {
        status = no_memory(name, err);
        goto done;
    }
    if ((status = read_members(&doc, &file, st, items, err))) goto done;
    if (st->count) qsort(items, st->count, sizeof *items, compare_items);
    if ((status = check_coverage(&doc, &file, items, st->count, err))) goto done;
    status = fill_entries(&file, items, st, err);

done:
    amg_free(items);
    amg_json_clear(&doc);
    return status;
}

amg_status amg_safetensors_parse(const void *data, size_t size_bytes, const char *name,
                                 amg_safetensors **out, amg_error *err)
{
    amg_safetensors *st = amg_calloc(1, sizeof *st);
    if (!st) return no_memory(name, err);
    amg_status status = parse_into(st, data, size_bytes, name, err);
    if (status)
        amg_safetensors_close(st);
    else
        *out = st;
    return status;
}

amg_status amg_safetensors_open(const char *path, amg_safetensors **out, amg_error *err)
{
    amg_map map;
    amg_status status = amg_map_open(path, &map, err);
    if (status) return status;
    status = amg_safetensors_parse(map.data, map.size, path, out, err);
    if (status)
        amg_map_close(&map);
    else
        (*out)->map = map;
    return status;
}

void amg_safetensors_close(amg_safetensors *st)
{
    if (!st) return;
    for (size_t i = 0; st->entries && i < st->count; i++)
        amg_tensor_clear(&st->entries[i].tensor);
    amg_map_close(&st->map);
    amg_arena_clear(&st->arena);
    amg_free(st);
}

size_t amg_safetensors_count(const amg_safetensors *st) { return st->count; }

const amg_st_entry *amg_safetensors_at(const amg_safetensors *st, size_t i)
{
    return &st->entries[i];
}

const amg_tensor *amg_safetensors_find(const amg_safetensors *st, const char *name)
{
    amg_st_entry wanted = {.name = name};
    const amg_st_entry *key = &wanted;
    if (!st->count) return NULL;
    const amg_st_entry **hit =
        bsearch(&key, st->by_name, st->count, sizeof *st->by_name, compare_entries);
    return hit ? &(*hit)->tensor : NULL;
}

amg_status amg_safetensors_get(const amg_safetensors *st, const char *name,
                               amg_dtype dtype, int rank, const int64_t *dims,
                               const amg_tensor **out, amg_error *err)
{
    const amg_tensor *t = amg_safetensors_find(st, name);
    if (!t)
        return amg_fail(err, AMG_NOT_FOUND, -1, name, "the file has no such tensor");
    if (t->dtype != dtype || t->rank != rank ||
        (rank && memcmp(t->dims, dims, (size_t)rank * sizeof *dims))) {
        char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
        return amg_fail(err, AMG_MISMATCH, -1, name, "found %s, expected %s",
                        amg_shape_text(t->dtype, t->rank, t->dims, found),
                        amg_shape_text(dtype, rank, dims, expected));
    }
    *out = t;
    return AMG_OK;
}

size_t amg_safetensors_num_metadata(const amg_safetensors *st)
{
    return st->num_metadata;
}

void amg_safetensors_metadata(const amg_safetensors *st, size_t i, const char **key,
                              const char **value)
{
    *key = st->metadata[2 * i];
    *value = st->metadata[2 * i + 1];
}

const char *amg_safetensors_find_metadata(const amg_safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->num_metadata; i++)
        if (!strcmp(st->metadata[2 * i], key)) return st->metadata[2 * i + 1];
    return NULL;
}
