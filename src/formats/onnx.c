/* Opening ONNX files: protobuf-c over the distribution's onnx.proto. Consumes a path or
 * a buffer, produces the unpacked ModelProto; no operator and no graph is known here.
 * The wire format is checked first (onnx_wire.c), so that errors carry an offset. */
#include "formats/onnx.h"

#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/onnx_external.h"
#include "formats/onnx_internal.h"

static void *pb_alloc(void *context, size_t size_bytes)
{
    amg_onnx *onnx = context;
    void *p = amg_malloc(size_bytes);
    if (!p) onnx->out_of_memory = true;
    return p;
}

static void pb_free(void *context, void *p)
{
    (void)context;
    amg_free(p);
}

static ProtobufCAllocator allocator_of(amg_onnx *onnx)
{
    return (ProtobufCAllocator){
        .alloc = pb_alloc, .free = pb_free, .allocator_data = onnx};
}

static amg_status unpack(amg_onnx *onnx, const uint8_t *data, size_t size_bytes,
                         amg_error *err)
{
    const char *name = onnx->name;
    if (!size_bytes) return amg_fail(err, AMG_TRUNCATED, 0, name, "the file is empty");
    if (size_bytes > INT_MAX) {
        amg_status st = amg_fail(
            err, AMG_UNSUPPORTED, -1, name,
            "%zu bytes, expected less than 2 GiB (protobuf's limit)", size_bytes);
        amg_hint(err, "store the weights as external data");
        return st;
    }
    amg_status st = amg_onnx_wire_check(&onnx__model_proto__descriptor, data,
                                        size_bytes, name, err);
    if (st) {
        amg_hint(err, "is this an ONNX file, and complete?");
        return st;
    }
    ProtobufCAllocator allocator = allocator_of(onnx);
    onnx->model = onnx__model_proto__unpack(&allocator, size_bytes, data);
    if (onnx->model) return AMG_OK;
    if (onnx->out_of_memory)
        return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for the model");
    return amg_fail(err, AMG_MALFORMED, -1, name, "protobuf-c refuses the message");
}

amg_status amg_onnx_parse(const void *data, size_t size_bytes, const char *name,
                          const char *base_dir, amg_onnx **out, amg_error *err)
{
    amg_status st = AMG_NO_MEMORY;
    amg_onnx *onnx = amg_calloc(1, sizeof *onnx);
    if (onnx) {
        onnx->name = amg_strdup(name);
        onnx->base_dir = base_dir ? amg_strdup(base_dir) : NULL;
    }
    if (!onnx || !onnx->name || (base_dir && !onnx->base_dir))
        (void)amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for the model");
    else
        st = unpack(onnx, data, size_bytes, err);
    if (st) {
        amg_onnx_close(onnx);
        return st;
    }
    *out = onnx;
    return AMG_OK;
}

amg_status amg_onnx_open(const char *path, amg_onnx **out, amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st) return st;
    char *dir = amg_folder_of(path);
    st = dir ? amg_onnx_parse(map.data, map.size, path, dir, out, err)
             : amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its folder");
    amg_free(dir);
    amg_map_close(&map);
    return st;
}

void amg_onnx_close(amg_onnx *onnx)
{
    if (!onnx) return;
    ProtobufCAllocator allocator = allocator_of(onnx);
    if (onnx->model) onnx__model_proto__free_unpacked(onnx->model, &allocator);
    for (size_t i = 0; i < onnx->num_files; i++) {
        amg_free(onnx->files[i].location);
        amg_map_close(&onnx->files[i].map);
    }
    amg_free(onnx->files);
    amg_free(onnx->base_dir);
    amg_free(onnx->name);
    amg_free(onnx);
}

const struct Onnx__ModelProto *amg_onnx_model(const amg_onnx *onnx)
{
    return onnx->model;
}
