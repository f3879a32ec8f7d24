/* Check of protobuf's wire format against a message descriptor, before protobuf-c
 * unpacks it. Consumes bytes, produces a verdict with a byte offset; builds nothing and
 * knows no field of ONNX by name.
 *
 *   field    tag varint = number << 3 | wire type, then
 *            0 varint · 1 eight bytes · 2 length varint + bytes · 5 four bytes */
#include <string.h>

#include "formats/onnx_internal.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* Protobuf's own usual limit. A graph in an attribute costs three levels. */
#define MAX_DEPTH 100

typedef struct {
    const uint8_t *data;
    size_t size;
    const char *name;
    amg_error *err;
} wire;

/* Data that run past the whole file were cut off; past their message only, they lie. */
static amg_status fail_end(const wire *w, size_t pos, size_t end, const char *what)
{
    return amg_fail(w->err, end == w->size ? AMG_TRUNCATED : AMG_MALFORMED,
                    (int64_t)pos, w->name, "%s runs past the end of its %s at byte %zu",
                    what, end == w->size ? "file" : "message", end);
}

static amg_status read_varint(const wire *w, size_t *pos, size_t end, const char *what,
                              uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10; i++) {
        if (*pos + i >= end) return fail_end(w, *pos, end, what);
        uint8_t b = w->data[*pos + i];
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (b & 0x80) continue;
        *pos += i + 1;
        *value = v;
        return AMG_OK;
    }
    return amg_fail(w->err, AMG_MALFORMED, (int64_t)*pos, w->name,
                    "%s is a varint of more than 10 bytes", what);
}

static unsigned wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BYTES;
    default: return WIRE_VARINT;
    }
}

/* A packed array in [pos, end): whole elements only. */
static amg_status check_packed(const wire *w, const ProtobufCFieldDescriptor *f,
                               size_t pos, size_t end)
{
    unsigned type = wire_of(f->type);
    if (type == WIRE_VARINT) {
        uint64_t ignored;
        amg_status st = AMG_OK;
        while (!st && pos < end) st = read_varint(w, &pos, end, f->name, &ignored);
        return st;
    }
    size_t element = type == WIRE_32 ? 4 : 8;
    if ((end - pos) % element)
        return amg_fail(w->err, AMG_MALFORMED, (int64_t)pos, w->name,
                        "packed field %s has %zu bytes, expected a multiple of %zu",
                        f->name, end - pos, element);
    return AMG_OK;
}

static amg_status check_message(const wire *w, const ProtobufCMessageDescriptor *d,
                                size_t pos, size_t end, int depth);

/* What lies in a length-delimited field; f NULL: unknown to us, skipped. */
static amg_status check_bytes(const wire *w, const ProtobufCFieldDescriptor *f,
                              size_t pos, size_t end, int depth)
{
    if (!f || f->type == PROTOBUF_C_TYPE_BYTES) return AMG_OK;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(w, f->descriptor, pos, end, depth + 1);
    if (f->type != PROTOBUF_C_TYPE_STRING) return check_packed(w, f, pos, end);
    const uint8_t *zero = end > pos ? memchr(w->data + pos, 0, end - pos) : NULL;
    if (!zero) return AMG_OK;
    /* C would see a shorter name than other readers do. */
    return amg_fail(w->err, AMG_MALFORMED, (int64_t)(zero - w->data), w->name,
                    "string field %s holds a 0 byte", f->name);
}

static amg_status check_field(const wire *w, const ProtobufCMessageDescriptor *d,
                              size_t *pos, size_t end, int depth)
{
    size_t start = *pos;
    uint64_t tag = 0, length = 0;
    amg_status st = read_varint(w, pos, end, "a tag", &tag);
    if (st) return st;
    unsigned type = (unsigned)(tag & 7);
    if (tag >> 3 == 0 || tag > UINT32_MAX)
        return amg_fail(w->err, AMG_MALFORMED, (int64_t)start, w->name,
                        "field number %llu of a %s is out of range",
                        (unsigned long long)(tag >> 3), d->short_name);
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
    bool packed = f && f->label == PROTOBUF_C_LABEL_REPEATED && type == WIRE_BYTES;
    if (f && type != wire_of(f->type) && !packed)
        return amg_fail(w->err, AMG_MALFORMED, (int64_t)start, w->name,
                        "field %s of a %s has wire type %u, expected %u", f->name,
                        d->short_name, type, wire_of(f->type));

    const char *what = f ? f->name : "an unknown field";
    switch (type) {
    case WIRE_VARINT: return read_varint(w, pos, end, what, &length);
    case WIRE_64: length = 8; break;
    case WIRE_32: length = 4; break;
    case WIRE_BYTES:
        st = read_varint(w, pos, end, what, &length);
        if (st) return st;
        break;
    default:
        return amg_fail(w->err, AMG_MALFORMED, (int64_t)start, w->name,
                        "wire type %u in a %s, expected 0, 1, 2 or 5", type,
                        d->short_name);
    }
    if (length > end - *pos) return fail_end(w, start, end, what);
    size_t body = *pos;
    *pos += (size_t)length;
    return type == WIRE_BYTES ? check_bytes(w, f, body, *pos, depth) : AMG_OK;
}

/* Recursion is bounded by MAX_DEPTH. */
static amg_status check_message(const wire *w, const ProtobufCMessageDescriptor *d,
                                size_t pos, size_t end, int depth)
{
    if (depth > MAX_DEPTH)
        return amg_fail(w->err, AMG_MALFORMED, (int64_t)pos, w->name,
                        "messages nest deeper than %d", MAX_DEPTH);
    while (pos < end) {
        amg_status st = check_field(w, d, &pos, end, depth);
        if (st) return st;
    }
    return AMG_OK;
}

amg_status amg_onnx_wire_check(const ProtobufCMessageDescriptor *d, const uint8_t *data,
                               size_t size_bytes, const char *name, amg_error *err)
{
    const wire w = {.data = data, .size = size_bytes, .name = name, .err = err};
    return check_message(&w, d, 0, size_bytes, 1);
}
