/* The metadata of a graph or node, which onnx.proto has since 1.16: with an older one
 * they are an unknown field of the unpacked message, with a newer one a known one.
 * Finds a text by its key in either form. */
#include <string.h>

#include "formats/onnx_internal.h"

/* The fields metadata_props: StringStringEntryProto { key, value }. */
enum { OF_GRAPH = 16, OF_NODE = 9 };
enum { KEY = 1, VALUE = 2, WIRE_BYTES = 2 };

typedef struct {
    const uint8_t *at, *end;
} bytes;

/* A field of varint length from the front of b; false: it is cut short. */
static bool take(bytes *b, bytes *out)
{
    uint64_t size = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (b->at == b->end) return false;
        const uint8_t byte = *b->at++;
        size |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        if (size > (uint64_t)(b->end - b->at)) return false;
        *out = (bytes){b->at, b->at + size};
        b->at += size;
        return true;
    }
    return false;
}

/* The value of an entry, packed, whose key is key. */
static bool read_entry(bytes entry, const char *key, bytes *value)
{
    bool is_key = false, has_value = false;
    while (entry.at < entry.end) {
        const uint8_t tag = *entry.at++;
        bytes field;
        if ((tag & 7) != WIRE_BYTES || !take(&entry, &field)) return false;
        if (tag >> 3 == KEY)
            is_key = (size_t)(field.end - field.at) == strlen(key) &&
                     !memcmp(field.at, key, strlen(key));
        if (tag >> 3 != VALUE) continue;
        *value = field;
        has_value = true;
    }
    return is_key && has_value;
}

static bool find_known(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *field,
                       const char *key, bytes *value)
{
    size_t count;
    Onnx__StringStringEntryProto **entries;
    memcpy(&count, (const char *)m + field->quantifier_offset, sizeof count);
    memcpy(&entries, (const char *)m + field->offset, sizeof entries);
    for (size_t i = 0; i < count; i++) {
        const Onnx__StringStringEntryProto *e = entries[i];
        if (!e->key || !e->value || strcmp(e->key, key) != 0) continue;
        const uint8_t *text = (const uint8_t *)e->value;
        *value = (bytes){text, text + strlen(e->value)};
        return true;
    }
    return false;
}

static bool find(const ProtobufCMessage *m, unsigned tag, const char *key,
                 const char **text, size_t *size)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(m->descriptor, tag);
    bytes value = {0}, entry;
    bool found = field && find_known(m, field, key, &value);
    for (unsigned i = 0; i < m->n_unknown_fields && !found; i++) {
        const ProtobufCMessageUnknownField *u = &m->unknown_fields[i];
        bytes all = {u->data, u->data + u->len};
        found = u->tag == tag && take(&all, &entry) && read_entry(entry, key, &value);
    }
    if (!found) return false;
    *text = (const char *)value.at;
    *size = (size_t)(value.end - value.at);
    return true;
}

bool amg_onnx_graph_metadata(const Onnx__GraphProto *g, const char *key,
                             const char **text, size_t *size)
{
    return find(&g->base, OF_GRAPH, key, text, size);
}

bool amg_onnx_node_metadata(const Onnx__NodeProto *n, const char *key,
                            const char **text, size_t *size)
{
    return find(&n->base, OF_NODE, key, text, size);
}
