/* Defaults of the attributes of an ONNX file's functions, which the definition of ONNX
 * that this was built with may not know: then they are unpacked here. */
#include <string.h>

#include "graph/onnx_import.h"

/* FunctionProto.attribute_proto, which older definitions of ONNX do not have. */
#define DEFAULTS_FIELD 11

static void *arena_alloc(void *arena, size_t size)
{
    return amg_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

/* A message whose field was unknown to the generated code: its bytes begin with their
 * length. */
static Onnx__AttributeProto *unpack_default(amg_import *im,
                                            const ProtobufCMessageUnknownField *field)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &im->arena};
    size_t skipped = 0;
    while (skipped < field->len && field->data[skipped] & 0x80) skipped++;
    if (skipped >= field->len) return NULL;
    return onnx__attribute_proto__unpack(&allocator, field->len - skipped - 1,
                                         field->data + skipped + 1);
}

amg_status amg_import_defaults(amg_import *im, const Onnx__FunctionProto *f,
                               size_t *count, Onnx__AttributeProto ***out,
                               amg_error *err)
{
    const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(
        &onnx__function_proto__descriptor, DEFAULTS_FIELD);
    const ProtobufCMessage *base = &f->base;
    if (known) {
        const char *bytes = (const char *)f;
        memcpy(count, bytes + known->quantifier_offset, sizeof *count);
        memcpy(out, bytes + known->offset, sizeof *out);
        return AMG_OK;
    }
    *out = amg_arena_array(&im->arena, base->n_unknown_fields + 1, sizeof **out);
    if (!*out)
        return amg_fail(err, AMG_NO_MEMORY, -1, im->file,
                        "no memory for the functions");
    for (unsigned i = 0; i < base->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &base->unknown_fields[i];
        if (field->tag != DEFAULTS_FIELD) continue;
        Onnx__AttributeProto *a = unpack_default(im, field);
        if (!a)
            return amg_fail(err, AMG_MALFORMED, -1, im->file,
                            "function \"%.100s\": a default of its attributes cannot "
                            "be read",
                            f->name);
        (*out)[(*count)++] = a;
    }
    return AMG_OK;
}
