/* Packing and writing ONNX models. Consumes a ModelProto, produces canonical bytes
 * (fields in the order of their numbers), or a file beside which large tensors stand as
 * external data when protobuf's 2 GiB would not do. Knows no operator. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/checked.h"
#include "formats/onnx_internal.h"

/* Smaller tensors stay inside; the others start at a page, so that they can be mapped.
 */
#define MIN_EXTERNAL_BYTES 1024
#define EXTERNAL_ALIGN 4096

amg_status amg_onnx_pack(const struct Onnx__ModelProto *model, uint8_t **data,
                         size_t *size_bytes, amg_error *err)
{
    size_t size = onnx__model_proto__get_packed_size(model);
    if (size > INT_MAX)
        return amg_fail(err, AMG_OVERFLOW, -1, "model",
                        "%zu bytes packed, expected less than 2 GiB", size);
    uint8_t *bytes = amg_malloc(size);
    if (!bytes) return amg_fail(err, AMG_NO_MEMORY, -1, "model", "no memory to pack");
    *size_bytes = onnx__model_proto__pack(model, bytes);
    *data = bytes;
    return AMG_OK;
}

/* A protobuf-c buffer that passes everything on to a stream. */
typedef struct {
    ProtobufCBuffer base;
    FILE *stream;
} stream_buffer;

static void append(ProtobufCBuffer *buffer, size_t size_bytes, const uint8_t *data)
{
    /* A failed write shows in ferror, which amg_outfile_commit reads. */
    (void)fwrite(data, 1, size_bytes, ((stream_buffer *)buffer)->stream);
}

static amg_status write_model(const char *path, const Onnx__ModelProto *model,
                              amg_error *err)
{
    amg_outfile f;
    amg_status st = amg_outfile_open(path, 0644, false, &f, err);
    if (st) return st;
    stream_buffer buffer = {.base = {.append = append}, .stream = f.stream};
    (void)onnx__model_proto__pack_to_buffer(model, &buffer.base);
    st = amg_outfile_commit(&f, false, err);
    amg_outfile_abort(&f);
    return st;
}

static Onnx__StringStringEntryProto *entry(amg_arena *arena, const char *key,
                                           const char *value)
{
    Onnx__StringStringEntryProto *e = amg_arena_alloc(arena, sizeof *e);
    if (!e) return NULL;
    onnx__string_string_entry_proto__init(e);
    e->key = amg_arena_strdup(arena, key);
    e->value = amg_arena_strdup(arena, value);
    return e->key && e->value ? e : NULL;
}

/* A copy of t whose data stand at offset of the file location; NULL: out of memory. */
static Onnx__TensorProto *outside(amg_arena *arena, const Onnx__TensorProto *t,
                                  const char *location, int64_t offset)
{
    Onnx__TensorProto *copy = amg_arena_alloc(arena, sizeof *copy);
    Onnx__StringStringEntryProto **e = amg_arena_array(arena, 3, sizeof(void *));
    if (!copy || !e) return NULL;
    char number[2][24];
    snprintf(number[0], sizeof number[0], "%" PRId64, offset);
    snprintf(number[1], sizeof number[1], "%zu", t->raw_data.len);
    e[0] = entry(arena, "location", location);
    e[1] = entry(arena, "offset", number[0]);
    e[2] = entry(arena, "length", number[1]);
    if (!e[0] || !e[1] || !e[2]) return NULL;
    *copy = *t;
    copy->has_raw_data = 0;
    copy->raw_data = (ProtobufCBinaryData){0};
    copy->has_data_location = 1;
    copy->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    copy->n_external_data = 3;
    copy->external_data = e;
    return copy;
}

/* Fills up to the next page, then writes the tensor's bytes; *offset: where they are.
 */
static void write_aligned(FILE *stream, const ProtobufCBinaryData *data,
                          int64_t *written, int64_t *offset)
{
    static const uint8_t zeros[EXTERNAL_ALIGN];
    int64_t gap = (EXTERNAL_ALIGN - *written % EXTERNAL_ALIGN) % EXTERNAL_ALIGN;
    (void)fwrite(zeros, 1, (size_t)gap, stream);
    (void)fwrite(data->data, 1, data->len, stream);
    *offset = *written + gap;
    *written = *offset + (int64_t)data->len;
}

/* Writes the large initializers of graph to data_path; list receives the initializers
 * as they are to stand in the model. */
static amg_status write_data(const char *data_path, const Onnx__GraphProto *graph,
                             amg_arena *arena, Onnx__TensorProto **list, amg_error *err)
{
    const char *slash = strrchr(data_path, '/');
    const char *location = slash ? slash + 1 : data_path;
    amg_outfile f;
    amg_status st = amg_outfile_open(data_path, 0644, false, &f, err);
    if (st) return st;
    int64_t written = 0;
    for (size_t i = 0; !st && i < graph->n_initializer; i++) {
        Onnx__TensorProto *t = graph->initializer[i];
        list[i] = t;
        if (!t->has_raw_data || t->raw_data.len < MIN_EXTERNAL_BYTES) continue;
        int64_t offset;
        write_aligned(f.stream, &t->raw_data, &written, &offset);
        list[i] = outside(arena, t, location, offset);
        if (!list[i])
            st = amg_fail(err, AMG_NO_MEMORY, -1, data_path, "no memory to write it");
    }
    if (!st) st = amg_outfile_commit(&f, false, err);
    amg_outfile_abort(&f);
    return st;
}

amg_status amg_onnx_write_split(const char *path, const struct Onnx__ModelProto *model,
                                size_t max_bytes, amg_error *err)
{
    if (onnx__model_proto__get_packed_size(model) <= max_bytes)
        return write_model(path, model, err);
    if (!model->graph)
        return amg_fail(err, AMG_INVALID, -1, path, "the model has no graph");

    amg_arena arena = {0};
    amg_status st = AMG_NO_MEMORY;
    Onnx__ModelProto outer = *model;
    Onnx__GraphProto graph = *model->graph;
    size_t n = strlen(path) + sizeof ".data";
    char *data_path = amg_arena_alloc(&arena, n);
    graph.initializer = amg_arena_array(&arena, graph.n_initializer, sizeof(void *));
    if (!data_path || !graph.initializer) {
        (void)amg_fail(err, st, -1, path, "no memory to write it");
        goto done;
    }
    snprintf(data_path, n, "%s.data", path);
    outer.graph = &graph;
    st = write_data(data_path, model->graph, &arena, graph.initializer, err);
    if (st) goto done;
    size_t size = onnx__model_proto__get_packed_size(&outer);
    st = size > INT_MAX
             ? amg_fail(err, AMG_OVERFLOW, -1, path,
                        "%zu bytes without its large tensors, expected less than 2 GiB",
                        size)
             : write_model(path, &outer, err);
done:
    amg_arena_clear(&arena);
    return st;
}

amg_status amg_onnx_write(const char *path, const struct Onnx__ModelProto *model,
                          amg_error *err)
{
    return amg_onnx_write_split(path, model, INT_MAX, err);
}
