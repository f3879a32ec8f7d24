/* SplitToSequence and SequenceAt, as PyTorch's exporter by dynamo writes chunk and
 * split:
 *
 *   s = SplitToSequence(x, sizes)   →   s_part0, s_part1, … = Split(x, sizes)
 *   y = SequenceAt(s, 1)            →   y = Identity(s_part1)
 *
 * Where the size of the axis is not known before constants are folded, those parts of
 * one size that are read are Slices: the last may be smaller. Consumes the two
 * operators, adds nodes; a sequence is nothing that a graph has, only the list of its
 * parts beside its name. Any other operator that reads one is refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/infer.h"
#include "graph/onnx_import.h"

enum { MAX_PARTS = 1024 };

typedef struct {
    amg_import *im;
    const Onnx__NodeProto *proto;
    const char *where;
    amg_error *err;
} sequence_node;

static amg_status fail_memory(const sequence_node *n)
{
    return amg_fail(n->err, AMG_NO_MEMORY, -1, n->where, "no memory for the node");
}

/* OUTPUT_SUFFIX, which nobody in the file has. */
static const char *own_name(const sequence_node *n, const char *suffix)
{
    const char *base = n->proto->output[0];
    const size_t size = strlen(base) + strlen(suffix) + 24;
    char *name = amg_arena_alloc(&n->im->arena, size);
    if (!name) return NULL;
    snprintf(name, size, "%s_%s", base, suffix);
    for (int i = 1; amg_import_find(n->im, name); i++)
        snprintf(name, size, "%s_%s_%d", base, suffix, i);
    return name;
}

static const amg_name *input_name(const sequence_node *n, size_t i)
{
    return i < n->proto->n_input ? amg_import_find(n->im, n->proto->input[i]) : NULL;
}

/* The value of an input; NULL: absent or not computed here. */
static const amg_value *input_value(const sequence_node *n, size_t i)
{
    const amg_name *e = input_name(n, i);
    return e && e->made ? amg_builder_value(n->im->builder, e->value) : NULL;
}

/* The numbers of input i, constant and of at most one dim. */
static amg_status constant_input(const sequence_node *n, size_t i, int most,
                                 int64_t *out, int *count)
{
    const amg_value *v = input_value(n, i);
    if (!v || !v->data.data || v->rank > 1 || amg_tensor_count(&v->data) > most ||
        (v->dtype != AMG_I64 && v->dtype != AMG_I32))
        return amg_fail(n->err, AMG_UNSUPPORTED, -1, n->where,
                        "input %zu is not a constant of at most %d integers", i, most);
    *count = (int)amg_tensor_count(&v->data);
    for (int j = 0; j < *count; j++)
        out[j] = v->dtype == AMG_I64 ? ((const int64_t *)v->data.data)[j]
                                     : ((const int32_t *)v->data.data)[j];
    return AMG_OK;
}

/* A number as sizes: as often as it goes into dim, and what is left. */
static amg_status repeat_size(const sequence_node *n, int64_t dim, int64_t size,
                              int64_t *sizes, int *count)
{
    if (size < 1 || (dim - 1) / size >= MAX_PARTS)
        return amg_fail(n->err, AMG_UNSUPPORTED, -1, n->where,
                        "splits %" PRId64 " into parts of %" PRId64
                        ", expected 1 to %d parts",
                        dim, size, MAX_PARTS);
    *count = 0;
    for (int64_t left = dim; left > 0; left -= size)
        sizes[(*count)++] = left < size ? left : size;
    return AMG_OK;
}

/* The number that a Constant holds, -1: none. It may come later in the file. */
static int64_t read_constant(const sequence_node *n, const Onnx__NodeProto *maker)
{
    amg_attr *attrs;
    int num_attrs = 0;
    int64_t number = -1;
    if (strcmp(maker->op_type, "Constant") != 0 ||
        amg_import_attrs(n->im, maker, n->where, &attrs, &num_attrs, NULL))
        return -1;
    for (int i = 0; i < num_attrs; i++) {
        if (!strcmp(attrs[i].name, "value_int")) number = attrs[i].i;
        if (attrs[i].kind != AMG_ATTR_TENSOR) continue;
        const amg_tensor *t = &attrs[i].tensor;
        if (t->dtype == AMG_I64 && amg_tensor_count(t) == 1)
            number = *(const int64_t *)t->data;
        amg_tensor_clear(&attrs[i].tensor);
    }
    return number;
}

/* The place that a SequenceAt reads, -1: not told. */
static int64_t place_read(const sequence_node *n)
{
    const amg_name *e = input_name(n, 1);
    int64_t place;
    int count;
    if (e && !e->made && e->kind == AMG_NAME_NODE)
        return read_constant(n, n->im->graph->node[e->index]);
    return constant_input(n, 1, 1, &place, &count) || count != 1 ? -1 : place;
}

/* How many parts are read: by SequenceAt of constant places from 0 on; 0: not told. */
static int count_read(const sequence_node *n)
{
    const Onnx__GraphProto *graph = n->im->graph;
    int64_t count = 0;
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *at = graph->node[i];
        const sequence_node reader = {.im = n->im, .proto = at, .where = n->where};
        if (at->n_input != 2 || strcmp(at->op_type, "SequenceAt") != 0 ||
            strcmp(at->input[0], n->proto->output[0]) != 0)
            continue;
        const int64_t place = place_read(&reader);
        if (place < 0 || place >= MAX_PARTS) return 0;
        if (place >= count) count = place + 1;
    }
    return (int)count;
}

static amg_status add_split(const sequence_node *n, int x, int64_t axis,
                            const int64_t *sizes, int count)
{
    amg_name *sequence = amg_import_find(n->im, n->proto->output[0]);
    const char **names = amg_arena_array(&n->im->arena, (size_t)count, sizeof *names);
    int *parts = amg_arena_array(&n->im->arena, (size_t)count, sizeof *parts);
    const char *sizes_name = own_name(n, "sizes");
    if (!names || !parts || !sizes_name) return fail_memory(n);
    for (int i = 0; i < count; i++) {
        char suffix[16];
        snprintf(suffix, sizeof suffix, "part%d", i);
        names[i] = own_name(n, suffix);
        if (!names[i]) return fail_memory(n);
    }
    amg_tensor t;
    amg_status st = amg_tensor_view(AMG_I64, 1, (int64_t[]){count}, sizes, &t, n->err);
    if (st) return st;
    const int inputs[2] = {x, amg_builder_param(n->im->builder, sizes_name, &t)};
    const amg_attr attr = amg_int("axis", axis);
    amg_builder_node_multi(n->im->builder, AMG_OP_SPLIT,
                           n->proto->name ? n->proto->name : "", inputs, 2, &attr, 1,
                           names, count, parts);
    sequence->parts = parts;
    sequence->num_parts = count;
    return AMG_OK;
}

static int add_range(const sequence_node *n, const char *word, int64_t number)
{
    const int64_t one = 1;
    const char *name = own_name(n, word);
    amg_tensor t;
    const amg_status st = amg_tensor_view(AMG_I64, 1, &one, &number, &t, NULL);
    return st || !name ? AMG_NO_VALUE : amg_builder_param(n->im->builder, name, &t);
}

/* Parts of a size, of an axis whose own is not known. */
static amg_status add_slices(const sequence_node *n, int x, int64_t axis, int64_t size,
                             int count)
{
    amg_name *sequence = amg_import_find(n->im, n->proto->output[0]);
    int *parts = amg_arena_array(&n->im->arena, (size_t)count, sizeof *parts);
    if (!parts) return fail_memory(n);
    for (int i = 0; i < count; i++) {
        char word[32];
        int inputs[4] = {x};
        snprintf(word, sizeof word, "part%d_start", i);
        inputs[1] = add_range(n, word, i * size);
        snprintf(word, sizeof word, "part%d_end", i);
        inputs[2] = add_range(n, word, (i + 1) * size);
        snprintf(word, sizeof word, "part%d_axis", i);
        inputs[3] = add_range(n, word, axis);
        snprintf(word, sizeof word, "part%d", i);
        const char *name = own_name(n, word);
        if (!name || inputs[1] == AMG_NO_VALUE || inputs[2] == AMG_NO_VALUE ||
            inputs[3] == AMG_NO_VALUE)
            return fail_memory(n);
        parts[i] = amg_builder_node(n->im->builder, AMG_OP_SLICE, name, inputs, 4, NULL,
                                    0, name);
    }
    sequence->parts = parts;
    sequence->num_parts = count;
    return AMG_OK;
}

static amg_status split_to_sequence(const sequence_node *n)
{
    amg_attr *attrs;
    int num_attrs = 0, count = 0;
    int64_t axis = 0, keepdims = 1, sizes[MAX_PARTS] = {1};
    amg_status st =
        amg_import_attrs(n->im, n->proto, n->where, &attrs, &num_attrs, n->err);
    for (int i = 0; i < num_attrs; i++) {
        if (!strcmp(attrs[i].name, "axis")) axis = attrs[i].i;
        if (!strcmp(attrs[i].name, "keepdims")) keepdims = attrs[i].i;
        if (attrs[i].kind == AMG_ATTR_TENSOR) amg_tensor_clear(&attrs[i].tensor);
    }
    if (st) return st;
    const amg_name *input = input_name(n, 0);
    const amg_value *x = input ? input_value(n, 0) : NULL;
    const int d = x ? amg_axis_find(axis, x->rank) : -1;
    const bool given = n->proto->n_input > 1 && n->proto->input[1][0];
    const amg_value *parts = given ? input_value(n, 1) : NULL;
    const bool listed = parts && parts->rank == 1;
    const bool known = d >= 0 && x->dims[d] >= 1;
    const int num_read = x && x->rank < 0 && given ? count_read(n) : 0;
    if (!known && !num_read)
        return amg_fail(n->err, AMG_UNSUPPORTED, -1, n->where,
                        "splits axis %" PRId64 ", expected one whose size is known",
                        axis);
    if (!given && !keepdims)
        return amg_fail(n->err, AMG_UNSUPPORTED, -1, n->where,
                        "keepdims is 0, expected parts that keep their dims");
    if (given) st = constant_input(n, 1, MAX_PARTS, sizes, &count);
    if (!st && !listed && !known)
        return add_slices(n, input->value, axis, sizes[0], num_read);
    if (!st && !listed) st = repeat_size(n, x->dims[d], sizes[0], sizes, &count);
    return st ? st : add_split(n, input->value, axis, sizes, count);
}

static amg_status sequence_at(const sequence_node *n)
{
    const amg_name *sequence = n->proto->n_input == 2 ? input_name(n, 0) : NULL;
    int64_t index = 0;
    int count = 0;
    if (!sequence || !sequence->parts)
        return amg_fail(n->err, AMG_UNSUPPORTED, -1, n->where,
                        "input 0 is not what a SplitToSequence made");
    amg_status st = constant_input(n, 1, 1, &index, &count);
    if (st) return st;
    if (index < 0) index += sequence->num_parts;
    if (count != 1 || index < 0 || index >= sequence->num_parts)
        return amg_fail(n->err, AMG_MALFORMED, -1, n->where,
                        "position %" PRId64 " of a sequence of %d", index,
                        sequence->num_parts);
    amg_name *output = amg_import_find(n->im, n->proto->output[0]);
    output->value = amg_builder_node(n->im->builder, AMG_OP_IDENTITY,
                                     n->proto->name ? n->proto->name : "",
                                     &sequence->parts[index], 1, NULL, 0, output->name);
    output->made = true;
    return AMG_OK;
}

amg_status amg_import_sequence(amg_import *im, const Onnx__NodeProto *proto,
                               const char *where, bool *done, amg_error *err)
{
    const sequence_node n = {.im = im, .proto = proto, .where = where, .err = err};
    const char *op = proto->op_type ? proto->op_type : "";
    const bool splits = !strcmp(op, "SplitToSequence");
    *done = splits || !strcmp(op, "SequenceAt");
    if (!*done) return AMG_OK;
    return splits ? split_to_sequence(&n) : sequence_at(&n);
}
