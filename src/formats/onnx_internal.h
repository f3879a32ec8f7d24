/* What formats/onnx*.c share among themselves: the opened model and the wire check. */
#ifndef AMG_FORMATS_ONNX_INTERNAL_H
#define AMG_FORMATS_ONNX_INTERNAL_H

#include "formats/onnx.h"
#include "onnx.pb-c.h"

/* One file of external data, mapped when the first tensor asks for it. */
typedef struct {
    char *location;
    amg_map map;
} amg_onnx_file;

struct amg_onnx {
    char *name;     /* for errors: the path, or what the caller said */
    char *base_dir; /* NULL: external data are refused */
    Onnx__ModelProto *model;
    amg_onnx_file *files;
    size_t num_files;
    bool out_of_memory; /* the allocator under protobuf-c failed */
};

/* Walks the wire format of a message of type d without building anything: tags, wire
 * types, lengths, packed arrays, nesting depth, strings without a 0 byte. protobuf-c
 * itself says only "no", at no offset, and recurses as deep as the file wants.
 * AMG_TRUNCATED or AMG_MALFORMED with err->offset at the field that breaks the rules.
 */
AMG_MUST_CHECK amg_status amg_onnx_wire_check(const ProtobufCMessageDescriptor *d,
                                              const uint8_t *data, size_t size_bytes,
                                              const char *name, amg_error *err);

#endif
