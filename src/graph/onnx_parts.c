/* Operators that the graph has in parts, because PyTorch computes them so, or because
 * older readers of ONNX then know them:
 *
 *   Sum, Mean             Adds in a row, and a Div by their number
 *   Max, Min              of more than two: of two at a time, in a row
 *   Swish                 Mul(x, Sigmoid(alpha x)); SwiGLU: times another
 *   Clip                  of whole numbers, or by bounds that are computed: Max and
 *                         Min; other bounds are written as float32 numbers
 *   Pow                   a whole exponent of floats, but for one number: a Cast of it
 *   Gather                of an embedding with a padding_idx: Where that token stands,
 *                         the same row without its gradient
 *
 * Consumes a node with its inputs and attributes read; adds all parts but the last to
 * the builder, and leaves that one in the node. */
#include <stdio.h>
#include <string.h>

#include "graph/onnx_import.h"

typedef amg_import_work work;

/* A name for a part: the node's output with a word and, if taken, a number. */
static const char *part_name(const work *w, const char *word)
{
    const char *output = w->proto->output[0];
    size_t size = strlen(output) + strlen(word) + 24;
    char *name = amg_arena_alloc(&w->im->arena, size);
    if (!name) return NULL;
    snprintf(name, size, "%s_%s", output, word);
    for (int i = 1; amg_import_find(w->im, name); i++)
        snprintf(name, size, "%s_%s_%d", output, word, i);
    return name;
}

/* *out = op(a, b), or op(a) where b is AMG_NO_VALUE. */
static amg_status add_part(work *w, amg_op op, const char *word, int a, int b,
                           const amg_attr *attr, int *out)
{
    const char *name = part_name(w, word);
    if (!name) return amg_import_no_memory(w);
    *out = amg_builder_node(w->im->builder, op, w->proto->name ? w->proto->name : "",
                            (int[]){a, b}, b == AMG_NO_VALUE ? 1 : 2, attr,
                            attr ? 1 : 0, name);
    return AMG_OK;
}

static amg_status add_constant(work *w, const char *word, const amg_tensor *t, int *out)
{
    const char *name = part_name(w, word);
    if (!name) return amg_import_no_memory(w);
    *out = amg_builder_param(w->im->builder, name, t);
    amg_builder_say(w->im->builder, *out, AMG_SAID_CONSTANT);
    return AMG_OK;
}

static amg_status add_number(work *w, const char *word, float number, int *out)
{
    amg_tensor t;
    amg_status st = amg_tensor_view(AMG_F32, 0, NULL, &number, &t, w->err);
    return st ? st : add_constant(w, word, &t, out);
}

/* The node is op(a, b) from now on, without attributes. */
static void become(work *w, amg_op op, int a, int b)
{
    w->op = op;
    w->inputs[0] = a;
    w->inputs[1] = b;
    w->num_inputs = b == AMG_NO_VALUE ? 1 : 2;
    w->num_attrs = 0;
}

/* NULL: absent, or the builder has failed, which its finish reports. */
static const amg_value *input(const work *w, int i)
{
    return i < w->num_inputs && w->inputs[i] != AMG_NO_VALUE
               ? amg_builder_value(w->im->builder, w->inputs[i])
               : NULL;
}

/* op(op(a, b), c) …; all but the last as parts. */
static amg_status in_a_row(work *w, amg_op op, const char *word)
{
    int row = w->inputs[0];
    for (int i = 0; i < w->num_inputs; i++)
        if (!w->proto->input[i][0])
            return amg_fail(w->err, AMG_MALFORMED, -1, w->where,
                            "input %d is absent, expected a value", i);
    for (int i = 1; i + 1 < w->num_inputs; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s%d", word, i);
        amg_status st = add_part(w, op, text, row, w->inputs[i], NULL, &row);
        if (st) return st;
    }
    if (w->num_inputs > 1)
        become(w, op, row, w->inputs[w->num_inputs - 1]);
    else if (w->num_inputs == 1)
        become(w, AMG_OP_IDENTITY, row, AMG_NO_VALUE);
    return AMG_OK;
}

static amg_status mean(work *w)
{
    const float count = (float)w->num_inputs;
    int sum, number;
    amg_status st = in_a_row(w, AMG_OP_ADD, "sum");
    if (st || w->num_inputs < 2) return st;
    st = add_part(w, AMG_OP_ADD, "sum", w->inputs[0], w->inputs[1], NULL, &sum);
    if (!st) st = add_number(w, "count", count, &number);
    if (!st) become(w, AMG_OP_DIV, sum, number);
    return st;
}

static amg_status swish(work *w, int num_inputs)
{
    const amg_attr *alpha = w->num_attrs ? &w->attrs[0] : NULL;
    if (w->num_inputs != num_inputs || w->num_attrs > 1 ||
        (alpha && (strcmp(alpha->name, "alpha") != 0 || alpha->kind != AMG_ATTR_FLOAT)))
        return amg_fail(w->err, AMG_MALFORMED, -1, w->where,
                        "expected %d input%s, and no attribute but a number alpha",
                        num_inputs, amg_plural(num_inputs));
    const int x = w->inputs[0];
    int inner = x, number, sigmoid;
    amg_status st = AMG_OK;
    if (alpha && alpha->f != 1.0f) {
        st = add_number(w, "alpha", alpha->f, &number);
        if (!st) st = add_part(w, AMG_OP_MUL, "scaled", x, number, NULL, &inner);
    }
    if (!st)
        st =
            add_part(w, AMG_OP_SIGMOID, "sigmoid", inner, AMG_NO_VALUE, NULL, &sigmoid);
    if (!st && num_inputs == 1) become(w, AMG_OP_MUL, x, sigmoid);
    if (st || num_inputs == 1) return st;
    st = add_part(w, AMG_OP_MUL, "swish", x, sigmoid, NULL, &inner);
    if (!st) become(w, AMG_OP_MUL, inner, w->inputs[1]);
    return st;
}

/* ---- Clip ---- */

/* The one number of a constant bound; false: it is computed. */
static bool bound_of(const amg_value *v, float *out)
{
    if (!v->data.data || amg_tensor_count(&v->data) != 1) return false;
    switch (v->dtype) {
    case AMG_F32: *out = *(const float *)v->data.data; return true;
    case AMG_F64: *out = (float)*(const double *)v->data.data; return true;
    case AMG_I64: *out = (float)*(const int64_t *)v->data.data; return true;
    case AMG_I32: *out = (float)*(const int32_t *)v->data.data; return true;
    default: return false;
    }
}

/* Whether input i is made of a constant in ways that exporters know: folding makes it
 * one. */
static bool will_be_constant(const work *w, int i)
{
    static const char *const moves[] = {"Cast", "Identity", "Reshape", "Squeeze",
                                        "Unsqueeze"};
    const char *from = (size_t)i < w->proto->n_input ? w->proto->input[i] : "";
    for (;;) {
        const amg_name *name = from[0] ? amg_import_find(w->im, from) : NULL;
        if (!name || name->kind != AMG_NAME_NODE)
            return name && name->kind == AMG_NAME_INITIALIZER;
        const Onnx__NodeProto *n = w->im->graph->node[name->index];
        bool moved = false;
        for (size_t k = 0; k < sizeof moves / sizeof *moves; k++)
            moved = moved || strcmp(n->op_type, moves[k]) == 0;
        if (!moved || n->n_input == 0) return strcmp(n->op_type, "Constant") == 0;
        from = n->input[0];
    }
}

/* Bounds as ONNX wants them for floats: numbers without a dim, of the same type. */
static amg_status plain_bounds(work *w)
{
    for (int i = 1; i < w->num_inputs; i++) {
        const amg_value *v = input(w, i);
        float number;
        if (!v || (v->dtype == AMG_F32 && v->rank == 0) || !bound_of(v, &number))
            continue;
        amg_status st = add_number(w, i == 1 ? "min" : "max", number, &w->inputs[i]);
        if (st) return st;
    }
    return AMG_OK;
}

static amg_status clip(work *w)
{
    const amg_value *x = input(w, 0), *low = input(w, 1), *high = input(w, 2);
    float number;
    if (!x || w->num_inputs > 3) return AMG_OK;
    if (x->dtype == AMG_F32 &&
        (!low || bound_of(low, &number) || will_be_constant(w, 1)) &&
        (!high || bound_of(high, &number) || will_be_constant(w, 2)))
        return plain_bounds(w);
    const int above = low ? w->inputs[1] : AMG_NO_VALUE;
    const int below = high ? w->inputs[2] : AMG_NO_VALUE;
    int y = w->inputs[0];
    amg_status st = AMG_OK;
    if (low && high) {
        st = add_part(w, AMG_OP_MAX, "max", y, above, NULL, &y);
        if (!st) become(w, AMG_OP_MIN, y, below);
    } else if (low || high) {
        become(w, low ? AMG_OP_MAX : AMG_OP_MIN, y, low ? above : below);
    } else {
        become(w, AMG_OP_IDENTITY, y, AMG_NO_VALUE);
    }
    return st;
}

static amg_status whole_exponent(work *w)
{
    const amg_value *x = input(w, 0), *e = input(w, 1);
    if (!x || !e || x->dtype != AMG_F32 || e->dtype == AMG_F32 ||
        (e->data.data && amg_tensor_count(&e->data) == 1))
        return AMG_OK;
    const amg_attr to = amg_int("to", amg_dtype_onnx(AMG_F32));
    return add_part(w, AMG_OP_CAST, "exponent", w->inputs[1], AMG_NO_VALUE, &to,
                    &w->inputs[1]);
}

static amg_status padded_rows(work *w)
{
    const int64_t pad = amg_said_padding(w->proto), one = 1, last = -1;
    const int32_t pad32 = (int32_t)pad;
    const amg_value *table = input(w, 0), *tokens = input(w, 1);
    if (pad < 0 || !table || table->rank != 2 || !tokens || w->num_attrs > 1)
        return AMG_OK;
    const bool is_i32 = tokens->dtype == AMG_I32;
    amg_tensor t;
    int number, axis, rows, here, stopped;
    amg_status st = amg_tensor_view(is_i32 ? AMG_I32 : AMG_I64, 0, NULL,
                                    is_i32 ? (const void *)&pad32 : &pad, &t, w->err);
    if (!st) st = add_constant(w, "padding", &t, &number);
    if (!st) st = amg_tensor_view(AMG_I64, 1, &one, &last, &t, w->err);
    if (!st) st = add_constant(w, "last_axis", &t, &axis);
    if (!st)
        st = add_part(w, AMG_OP_GATHER, "rows", w->inputs[0], w->inputs[1],
                      w->num_attrs ? &w->attrs[0] : NULL, &rows);
    if (!st)
        st = add_part(w, AMG_OP_EQUAL, "is_padding", w->inputs[1], number, NULL, &here);
    if (!st)
        st = add_part(w, AMG_OP_UNSQUEEZE, "is_padded_row", here, axis, NULL, &here);
    if (!st)
        st = add_part(w, AMG_OP_STOP_GRADIENT, "stopped", rows, AMG_NO_VALUE, NULL,
                      &stopped);
    if (st) return st;
    become(w, AMG_OP_WHERE, here, stopped);
    w->inputs[w->num_inputs++] = rows;
    return AMG_OK;
}

amg_op amg_import_find_op(const char *name)
{
    const amg_op_composed *c;
    for (int i = 0; (c = amg_op_composed_at(i)); i++)
        if (!strcmp(c->info.name, name)) return c->last;
    return amg_op_find(name);
}

amg_status amg_import_parts(amg_import_work *w)
{
    const char *name = w->proto->op_type;
    if (!strcmp(name, "Sum")) return in_a_row(w, AMG_OP_ADD, "sum");
    if (!strcmp(name, "Mean")) return mean(w);
    if (!strcmp(name, "Swish")) return swish(w, 1);
    if (!strcmp(name, "SwiGLU")) return swish(w, 2);
    switch (w->op) {
    case AMG_OP_MAX: return in_a_row(w, AMG_OP_MAX, "max");
    case AMG_OP_MIN: return in_a_row(w, AMG_OP_MIN, "min");
    case AMG_OP_CLIP: return clip(w);
    case AMG_OP_POW: return whole_exponent(w);
    case AMG_OP_GATHER: return padded_rows(w);
    default: return AMG_OK;
    }
}
