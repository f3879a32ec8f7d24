/* What changed between opsets, undone here and nowhere else: a node as its own opset
 * has it becomes one in the graph's one form. Consumes a node whose inputs and
 * attributes are read, changes them in place and adds constants to the builder.
 *
 *   became an input     TopK k (10) · Clip min, max (11) · Dropout ratio (12) · Pad
 * pads, value (11) Slice starts, ends, axes (10) · Squeeze, Unsqueeze axes (13)
 *                       ReduceSum axes (13) · Split sizes (13)
 *   became an input,    Reduce… axes (18): an attribute again
 *   taken back          Pad axes (18): written out into pads; Split num_outputs (18)
 *   changed its meaning Softmax, LogSoftmax, Hardmax (13): the axis is written out
 *   another form        CastLike: a Cast; Upsample and old Resizes (11): a Resize;
 *                       others: onnx_parts.c
 *   dropped             what does not change training here: training_mode, seed,
 *                       storage_order, saturate, round_mode, stash_type, what Resize
 *                       has for other modes, and the outputs of BatchNormalization,
 *                       Dropout and MaxPool after the first
 *
 * More than 500 lines: one short rule for each operator that changed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "graph/infer.h"
#include "graph/onnx_import.h"

#define MAX_PARTS 64 /* of a Split whose sizes are worked out */

typedef amg_import_work node;

/* ---- attributes (read by onnx_attrs.c) ---- */

static amg_attr *find_attr(const node *n, const char *name)
{
    for (int i = 0; i < n->num_attrs; i++)
        if (!strcmp(n->attrs[i].name, name)) return &n->attrs[i];
    return NULL;
}

static void drop_attr(node *n, const char *name)
{
    amg_attr *a = find_attr(n, name);
    if (!a) return;
    if (a->kind == AMG_ATTR_TENSOR) amg_tensor_clear(&a->tensor);
    n->num_attrs--;
    memmove(a, a + 1, (size_t)(&n->attrs[n->num_attrs] - a) * sizeof *a);
}

/* An attribute that is about to become an input: it must be of the kind that ONNX says.
 * *out NULL: absent. */
static amg_status get_attr(node *n, const char *name, amg_attr_kind kind,
                           amg_attr **out)
{
    *out = find_attr(n, name);
    if (*out && (*out)->kind != kind)
        return amg_import_fail(n, AMG_MALFORMED,
                               "attribute %s is of another type than ONNX says", name);
    return AMG_OK;
}
/* ---- inputs ---- */

/* Sets input i, which may lie behind the last one. */
static void set_input(node *n, int i, int value)
{
    while (n->num_inputs <= i) n->inputs[n->num_inputs++] = AMG_NO_VALUE;
    n->inputs[i] = value;
}

/* OUTPUT_SUFFIX, with a number behind it where the file has that name; NULL: no memory.
 */
static char *free_name(const node *n, const char *suffix)
{
    const char *output = n->proto->output[0];
    size_t size = strlen(output) + strlen(suffix) + 24;
    char *name = amg_arena_alloc(&n->im->arena, size);
    if (!name) return NULL;
    snprintf(name, size, "%s_%s", output, suffix);
    for (int i = 1; amg_import_find(n->im, name); i++)
        snprintf(name, size, "%s_%s_%d", output, suffix, i);
    return name;
}

/* An initializer of our own, named after the node's output. */
static amg_status add_constant(node *n, int input, const char *suffix, amg_dtype dtype,
                               int rank, const int64_t *dims, const void *data)
{
    const char *name = free_name(n, suffix);
    if (!name) return amg_import_no_memory(n);
    amg_tensor t;
    amg_status st = amg_tensor_view(dtype, rank, dims, data, &t, n->err);
    if (!st) set_input(n, input, amg_builder_param(n->im->builder, name, &t));
    return st;
}

/* A list attribute → an I64 vector as an input. *count -1: absent. */
static amg_status ints_to_input(node *n, const char *name, int input, int *count)
{
    amg_attr *a;
    amg_status st = get_attr(n, name, AMG_ATTR_INTS, &a);
    if (st) return st;
    if (count) *count = a ? a->count : -1;
    if (!a) return AMG_OK;
    st = add_constant(n, input, name, AMG_I64, 1, (int64_t[]){a->count}, a->ints);
    drop_attr(n, name);
    return st;
}

/* A number attribute → a scalar as an input. */
static amg_status float_to_input(node *n, const char *name, int input)
{
    amg_attr *a;
    amg_status st = get_attr(n, name, AMG_ATTR_FLOAT, &a);
    if (st || !a) return st;
    st = add_constant(n, input, name, AMG_F32, 0, NULL, &a->f);
    drop_attr(n, name);
    return st;
}

/* The I64 vector that input i must be as an initializer. data NULL: the input is
 * absent. */
static amg_status constant_ints(node *n, int i, const char *what, amg_tensor *out)
{
    *out = (amg_tensor){0};
    if (i >= n->num_inputs || n->inputs[i] == AMG_NO_VALUE) return AMG_OK;
    const amg_value *v = amg_builder_value(n->im->builder, n->inputs[i]);
    if (!v) return AMG_OK; /* the builder has failed; finish says how */
    /* Known data, also where the exporter computes them from constants. */
    if (v->dtype != AMG_I64 || v->rank != 1 || !v->data.data)
        return amg_import_fail(n, AMG_UNSUPPORTED,
                               "%s (input %d) is not a constant I64 vector", what, i);
    *out = v->data;
    return AMG_OK;
}

/* ---- operators that changed ---- */

static amg_status old_clip(node *n)
{
    amg_status st = float_to_input(n, "min", 1);
    return st ? st : float_to_input(n, "max", 2);
}

static amg_status old_pad(node *n)
{
    int count;
    amg_attr *value;
    amg_status st = ints_to_input(n, "pads", 1, &count);
    if (!st && count < 0)
        st = amg_import_fail(n, AMG_MALFORMED, "attribute pads is missing");
    if (!st) st = get_attr(n, "value", AMG_ATTR_FLOAT, &value);
    if (st) return st;
    if (value && value->f == 0.0f) drop_attr(n, "value"); /* the default */
    return float_to_input(n, "value", 2);
}

static amg_status old_slice(node *n)
{
    int starts, ends, axes;
    amg_status st = ints_to_input(n, "starts", 1, &starts);
    if (!st) st = ints_to_input(n, "ends", 2, &ends);
    if (!st) st = ints_to_input(n, "axes", 3, &axes);
    if (st) return st;
    if (starts < 0 || starts != ends || (axes >= 0 && axes != starts))
        return amg_import_fail(
            n, AMG_MALFORMED,
            "starts, ends and axes have %d, %d and %d entries, expected one "
            "number",
            starts, ends, axes);
    return AMG_OK;
}

/* A reduction over no axes: what is left of it works on each element. */
static void reduce_nothing(node *n)
{
    n->num_attrs = 0;
    n->num_inputs = 1;
    switch (n->op) {
    case AMG_OP_REDUCE_L1:
    case AMG_OP_REDUCE_L2: n->op = AMG_OP_ABS; break;
    case AMG_OP_REDUCE_LOG_SUM: n->op = AMG_OP_LOG; break;
    case AMG_OP_REDUCE_SUM_SQUARE:
        n->op = AMG_OP_MUL;
        set_input(n, 1, n->inputs[0]);
        break;
    default: n->op = AMG_OP_IDENTITY; break;
    }
}

/* axes, an input since 18, back to an attribute. */
static amg_status new_reduce(node *n)
{
    amg_tensor axes;
    bool keep_all = false;
    amg_attr *a;
    amg_status st = get_attr(n, "noop_with_empty_axes", AMG_ATTR_INT, &a);
    if (!st) st = constant_ints(n, 1, "axes", &axes);
    if (st) return st;
    if (a) keep_all = a->i != 0;
    drop_attr(n, "noop_with_empty_axes");
    bool empty = !axes.data || axes.dims[0] == 0;
    if (n->num_inputs > 1) n->num_inputs = 1;
    if (empty && keep_all) {
        reduce_nothing(n);
    } else if (!empty) {
        if (find_attr(n, "axes"))
            return amg_import_fail(n, AMG_MALFORMED,
                                   "axes are an input and an attribute");
        n->attrs[n->num_attrs++] =
            amg_ints("axes", (int)axes.dims[0], (const int64_t *)axes.data);
    }
    return AMG_OK;
}

/* The number was an attribute (9), a vector of one since. */
static amg_status old_top_k(node *n)
{
    amg_attr *k;
    amg_status st = get_attr(n, "k", AMG_ATTR_INT, &k);
    if (st || !k) return st;
    st = add_constant(n, 1, "k", AMG_I64, 1, (int64_t[]){1}, &k->i);
    drop_attr(n, "k");
    return st;
}

static amg_status reduce_sum(node *n)
{
    amg_attr *a;
    amg_tensor axes;
    amg_status st = get_attr(n, "noop_with_empty_axes", AMG_ATTR_INT, &a);
    if (st || !a) return st;
    bool keeps_all = a->i != 0;
    drop_attr(n, "noop_with_empty_axes");
    if (!keeps_all) return AMG_OK;
    st = constant_ints(n, 1, "axes", &axes);
    if (!st && (!axes.data || axes.dims[0] == 0)) reduce_nothing(n);
    return st;
}

/* Pads of some axes, input 3 since 18 → pads of all axes. */
static amg_status new_pad(node *n)
{
    amg_tensor pads, axes;
    amg_status st = constant_ints(n, 3, "axes", &axes);
    if (st || !axes.data) return st;
    st = constant_ints(n, 1, "pads", &pads);
    const amg_value *x =
        n->inputs[0] >= 0 ? amg_builder_value(n->im->builder, n->inputs[0]) : NULL;
    if (st || !pads.data || !x) return st;
    if (x->rank < 0)
        return amg_import_fail(n, AMG_UNSUPPORTED,
                               "axes with an input of unknown rank");
    int64_t all[2 * AMG_MAX_RANK] = {0}, count = axes.dims[0];
    if (pads.dims[0] != 2 * count || count > x->rank)
        return amg_import_fail(n, AMG_MALFORMED,
                               "%" PRId64 " pads for %" PRId64 " axes of %d dims",
                               pads.dims[0], count, x->rank);
    bool seen[AMG_MAX_RANK] = {false};
    for (int64_t i = 0; i < count; i++) {
        int64_t axis = ((const int64_t *)axes.data)[i];
        if (axis < 0) axis += x->rank;
        if (axis < 0 || axis >= x->rank || seen[axis])
            return amg_import_fail(n, AMG_MALFORMED,
                                   "axes[%" PRId64 "] is out of range or twice", i);
        seen[axis] = true;
        all[axis] = ((const int64_t *)pads.data)[i];
        all[x->rank + axis] = ((const int64_t *)pads.data)[count + i];
    }
    n->num_inputs = 3;
    return add_constant(n, 1, "pads", AMG_I64, 1, (int64_t[]){2 * x->rank}, all);
}

/* Pads written out, see onnx_window.c. */
static amg_status window(node *n)
{
    const amg_node made = {.op = n->op,
                           .name = n->proto->name ? n->proto->name : "",
                           .num_inputs = n->num_inputs,
                           .num_attrs = n->num_attrs,
                           .inputs = n->inputs,
                           .attrs = n->attrs};
    return amg_import_window(n->im, &made, n->attrs, &n->num_attrs, n->err);
}

/* Whether text, names joined by commas, is `parts` once for each direction. Exporters
 * write them in small letters, too. */
static bool repeats(const char *text, const char *parts)
{
    const size_t size = strlen(parts);
    while (strncasecmp(text, parts, size) == 0) {
        text += size;
        if (!*text) return true;
        if (*text++ != ',') return false;
    }
    return false;
}

/* Activations of a recurrent layer: PyTorch's are left out, but for an RNN's Relu. */
static amg_status activations(node *n)
{
    static const char *const presets[] = {"Sigmoid,Tanh,Tanh", "Sigmoid,Tanh", "Tanh"};
    const char *preset = presets[n->op == AMG_OP_LSTM  ? 0
                                 : n->op == AMG_OP_GRU ? 1
                                                       : 2];
    amg_attr *a;
    amg_status st = get_attr(n, "activations", AMG_ATTR_STRING, &a);
    if (st || !a) return st;
    if (repeats(a->s, preset)) {
        drop_attr(n, "activations");
        return AMG_OK;
    }
    if (n->op == AMG_OP_RNN && repeats(a->s, "Relu")) {
        a->s = "Relu";
        return AMG_OK;
    }
    return amg_import_fail(n, AMG_UNSUPPORTED,
                           "activations are %.100s, expected %s for each direction",
                           a->s, preset);
}

/* A node of our own in front of n's, its output named after n's. */
static int add_part(node *n, amg_op op, int num_inputs, const int *inputs,
                    const amg_attr *attr, const char *suffix)
{
    char *name = free_name(n, suffix);
    if (!name) return AMG_NO_VALUE;
    return amg_builder_node(n->im->builder, op, name, inputs, num_inputs, attr,
                            attr ? 1 : 0, name);
}

/* Before 13 the axis and all that follow were one row: today's Softmax between two
 * Reshapes; without them where the axis is the last. */
static amg_status softmax(node *n)
{
    amg_attr *a;
    amg_status st = get_attr(n, "axis", AMG_ATTR_INT, &a);
    if (st || n->im->opset >= 13 || n->num_inputs < 1 || n->inputs[0] < 0) return st;
    const amg_value *x = amg_builder_value(n->im->builder, n->inputs[0]);
    int64_t axis = a ? a->i : 1, rows[AMG_MAX_RANK] = {0}, back[AMG_MAX_RANK];
    if (!x) return AMG_OK; /* the builder has failed; finish says how */
    const int rank = x->rank;
    if (axis < 0) axis += rank;
    if (rank < 0 || axis < 0 || axis >= (rank ? rank : 1))
        return amg_import_fail(n, AMG_UNSUPPORTED,
                               "axis %" PRId64 " of %d dim%s in opset %" PRId64
                               ", expected one of known dims",
                               a ? a->i : 1, rank, amg_plural(rank), n->im->opset);
    drop_attr(n, "axis");
    const amg_attr last = amg_int("axis", -1);
    if (axis == rank - 1) {
        n->attrs[n->num_attrs++] = last;
        return AMG_OK;
    }
    for (int d = 0; d < rank; d++)
        back[d] = d < axis ? 0 : x->dims[d] < 0 ? -1 : x->dims[d];
    rows[axis] = -1;
    int in[2] = {n->inputs[0], AMG_NO_VALUE};
    st = add_constant(n, 1, "rows", AMG_I64, 1, (int64_t[]){axis + 1}, rows);
    if (st) return st;
    in[1] = n->inputs[1];
    in[0] = add_part(n, AMG_OP_RESHAPE, 2, in, NULL, "flat");
    n->inputs[0] = add_part(n, n->op, 1, in, &last, "soft");
    n->op = AMG_OP_RESHAPE;
    return add_constant(n, 1, "back", AMG_I64, 1, (int64_t[]){rank}, back);
}

/* Parts of unequal size, which 18 allows with a number of outputs only, get sizes. */
static amg_status new_split(node *n)
{
    amg_attr *a;
    amg_status st = get_attr(n, "num_outputs", AMG_ATTR_INT, &a);
    if (st || !a) return st;
    int64_t parts = a->i, sizes[MAX_PARTS];
    drop_attr(n, "num_outputs");
    if (n->num_inputs > 1 || parts != (int64_t)n->proto->n_output)
        return amg_import_fail(
            n, AMG_MALFORMED,
            "num_outputs is %" PRId64 " with %d input%s and %zu output%s", parts,
            n->num_inputs, amg_plural(n->num_inputs), n->proto->n_output,
            amg_plural((int64_t)n->proto->n_output));
    const amg_value *x = n->num_inputs == 1 && n->inputs[0] >= 0
                             ? amg_builder_value(n->im->builder, n->inputs[0])
                             : NULL;
    st = get_attr(n, "axis", AMG_ATTR_INT, &a);
    if (st || !x || x->rank < 1) return st;
    int64_t axis = a ? a->i : 0, left;
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= x->rank || x->dims[axis] < 0 ||
        x->dims[axis] % parts == 0 || parts > MAX_PARTS)
        return AMG_OK; /* equal, or the shape rule's business */
    left = x->dims[axis];
    for (int64_t i = 0, each = left / parts + 1; i < parts; i++, left -= sizes[i - 1])
        sizes[i] = left < each ? left : each;
    return add_constant(n, 1, "sizes", AMG_I64, 1, &parts, sizes);
}

/* Whether the node is an Upsample, a Resize before there was one (10). */
bool amg_import_is_upsample(const node *n)
{
    return n->proto->op_type && !strcmp(n->proto->op_type, "Upsample");
}

/* Until 10 the scales were input 1 and pixels were points. */
static amg_status old_resize(node *n)
{
    amg_attr *attrs =
        amg_arena_array(&n->im->arena, (size_t)n->num_attrs + 3, sizeof *attrs);
    if (!attrs) return amg_import_no_memory(n);
    if (n->num_inputs != 2)
        return amg_import_fail(n, AMG_MALFORMED, "%d input%s, expected 2",
                               n->num_inputs, amg_plural(n->num_inputs));
    memcpy(attrs, n->attrs, (size_t)n->num_attrs * sizeof *attrs);
    n->attrs = attrs;
    attrs[n->num_attrs++] = (amg_attr){.name = "coordinate_transformation_mode",
                                       .kind = AMG_ATTR_STRING,
                                       .s = "asymmetric"};
    attrs[n->num_attrs++] =
        (amg_attr){.name = "nearest_mode", .kind = AMG_ATTR_STRING, .s = "floor"};
    set_input(n, 2, n->inputs[1]);
    n->inputs[1] = AMG_NO_VALUE;
    return AMG_OK;
}

/* Input i of a Resize, one number for each of the axes, which may be some since 18 →
 * one for each dim: scales as they are, sizes of an input of known spatial dims. */
static amg_status spread_axes(node *n, int i, const amg_value *x, const amg_attr *axes)
{
    if (i >= n->num_inputs || n->inputs[i] == AMG_NO_VALUE) return AMG_OK;
    const amg_value *v = amg_builder_value(n->im->builder, n->inputs[i]);
    if (!v || (v->rank == 1 && v->dims[0] == 0)) return AMG_OK;
    if (v->rank != 1 || v->dims[0] != axes->count || !v->data.data || x->rank < 0 ||
        v->dtype != (i == 2 ? AMG_F32 : AMG_I64))
        return amg_import_fail(
            n, AMG_UNSUPPORTED,
            "axes need %d constant numbers as input %d and an input of known rank",
            axes->count, i);
    float scales[AMG_MAX_RANK];
    int64_t sizes[AMG_MAX_RANK], rank = x->rank;
    for (int d = 0; d < rank; d++) {
        scales[d] = 1;
        sizes[d] = x->dims[d] < 0 ? 1 : x->dims[d];
    }
    for (int k = 0; k < axes->count; k++) {
        const int64_t d = axes->ints[k] < 0 ? axes->ints[k] + rank : axes->ints[k];
        if (d < 0 || d >= rank)
            return amg_import_fail(n, AMG_MALFORMED, "axes[%d] is out of range", k);
        if (i == 2)
            scales[d] = ((const float *)v->data.data)[k];
        else
            sizes[d] = ((const int64_t *)v->data.data)[k];
    }
    return i == 2 ? add_constant(n, i, "scales", AMG_F32, 1, &rank, scales)
                  : add_constant(n, i, "sizes", AMG_I64, 1, &rank, sizes);
}

/* Sizes of which each axis gets as much as all can have by one scale, the smallest or
 * the largest of theirs → the sizes that come out. A scale that makes no whole numbers
 * would also move the places where the input is read: refused. */
static amg_status keep_aspect(node *n, const amg_value *x, const amg_attr *axes,
                              bool larger)
{
    amg_tensor sizes;
    amg_status st = constant_ints(n, 3, "sizes", &sizes);
    if (st || !sizes.data) return st; /* of scales it says nothing */
    const int64_t count = sizes.dims[0], *wanted = sizes.data;
    int64_t dims[AMG_MAX_RANK], out[AMG_MAX_RANK];
    bool fits = x->rank >= 0 && count == (axes ? axes->count : x->rank);
    double scale = 0;
    for (int64_t i = 0; fits && i < count; i++) {
        const int d = axes ? amg_axis_find(axes->ints[i], x->rank) : (int)i;
        dims[i] = d < 0 ? 0 : x->dims[d];
        fits = dims[i] > 0;
        const double own = fits ? (double)wanted[i] / (double)dims[i] : 0;
        if (i == 0 || (larger ? own > scale : own < scale)) scale = own;
    }
    for (int64_t i = 0; fits && i < count; i++) {
        out[i] = (int64_t)floor(scale * (double)dims[i] + 0.5);
        fits = fabs(scale * (double)dims[i] - (double)out[i]) < 1e-6;
    }
    if (!fits)
        return amg_import_fail(n, AMG_UNSUPPORTED,
                               "keep_aspect_ratio_policy needs axes of known size, and "
                               "one scale that makes whole numbers of all");
    return add_constant(n, 3, "aspect", AMG_I64, 1, &count, out);
}

/* The region of interest and the rest of what says nothing for the modes that are read.
 */
static amg_status resize(node *n)
{
    amg_attr *a;
    if (n->im->opset < 11) return old_resize(n);
    if (n->num_inputs > 1) n->inputs[1] = AMG_NO_VALUE;
    drop_attr(n, "extrapolation_value");
    amg_attr *policy, *given;
    amg_status st = get_attr(n, "keep_aspect_ratio_policy", AMG_ATTR_STRING, &policy);
    if (!st) st = get_attr(n, "axes", AMG_ATTR_INTS, &given);
    if (st) return st;
    const amg_value *x = n->num_inputs > 0 && n->inputs[0] >= 0
                             ? amg_builder_value(n->im->builder, n->inputs[0])
                             : NULL;
    if (!x) return AMG_OK; /* the builder has failed; finish says how */
    if (policy && strcmp(policy->s, "stretch") != 0)
        st = keep_aspect(n, x, given, strcmp(policy->s, "not_smaller") == 0);
    drop_attr(n, "keep_aspect_ratio_policy");
    st = st ? st : get_attr(n, "axes", AMG_ATTR_INTS, &a);
    if (st || !a) return st;
    x = amg_builder_value(n->im->builder, n->inputs[0]);
    if (!x) return AMG_OK;
    const amg_attr axes = *a;
    drop_attr(n, "axes");
    st = spread_axes(n, 2, x, &axes);
    return st ? st : spread_axes(n, 3, x, &axes);
}

/* Modes had other names until 20. */
static amg_status grid_sample(node *n)
{
    amg_attr *mode;
    amg_status st = get_attr(n, "mode", AMG_ATTR_STRING, &mode);
    if (st || !mode) return st;
    if (!strcmp(mode->s, "bilinear")) mode->s = "linear";
    if (!strcmp(mode->s, "bicubic")) mode->s = "cubic";
    return AMG_OK;
}

/* The order that there was before 28 is said by nothing. */
static amg_status space_to_depth(node *n)
{
    amg_attr *mode;
    amg_status st = get_attr(n, "mode", AMG_ATTR_STRING, &mode);
    if (!st && mode && !strcmp(mode->s, "DCR")) drop_attr(n, "mode");
    return st;
}

static bool is_cast_like(const node *n)
{
    return n->proto->op_type && !strcmp(n->proto->op_type, "CastLike");
}

/* To the type of input 1, which inference knows: a Cast. */
static amg_status cast_like(node *n)
{
    const amg_value *like = n->num_inputs == 2 && n->inputs[1] >= 0
                                ? amg_builder_value(n->im->builder, n->inputs[1])
                                : NULL;
    if (n->num_inputs != 2)
        return amg_import_fail(n, AMG_MALFORMED, "%d input%s, expected 2",
                               n->num_inputs, amg_plural(n->num_inputs));
    n->num_inputs = 1;
    if (like) n->attrs[n->num_attrs++] = amg_int("to", amg_dtype_onnx(like->dtype));
    return AMG_OK;
}

/* Inputs that the table allows for newer opsets only. */
static amg_status at_most(node *n, int max)
{
    if (n->num_inputs <= max) return AMG_OK;
    return amg_import_fail(n, AMG_MALFORMED,
                           "%d inputs, expected at most %d in opset %" PRId64,
                           n->num_inputs, max, n->im->opset);
}

amg_status amg_import_normalise(node *n)
{
    int64_t opset = n->im->opset;
    if (amg_op_reduces(n->op)) return opset < 18 ? at_most(n, 1) : new_reduce(n);
    switch (n->op) {
    case AMG_OP_CLIP: return opset < 11 ? old_clip(n) : AMG_OK;
    case AMG_OP_PAD: return opset < 11 ? old_pad(n) : opset >= 18 ? new_pad(n) : AMG_OK;
    case AMG_OP_TOP_K: return opset < 10 ? old_top_k(n) : AMG_OK;
    case AMG_OP_SLICE: return opset < 10 ? old_slice(n) : AMG_OK;
    case AMG_OP_SQUEEZE:
    case AMG_OP_UNSQUEEZE:
        return opset < 13 ? ints_to_input(n, "axes", 1, NULL) : AMG_OK;
    case AMG_OP_REDUCE_SUM:
        return opset < 13 ? ints_to_input(n, "axes", 1, NULL) : reduce_sum(n);
    case AMG_OP_SPLIT:
        if (opset >= 18) return new_split(n);
        return opset < 13 ? ints_to_input(n, "split", 1, NULL) : AMG_OK;
    case AMG_OP_SOFTMAX:
    case AMG_OP_HARDMAX:
    case AMG_OP_LOG_SOFTMAX: return softmax(n);
    case AMG_OP_LAYER_NORM:
    case AMG_OP_RMS_NORM:
    case AMG_OP_GROUP_NORM: drop_attr(n, "stash_type"); return AMG_OK;
    case AMG_OP_RESIZE: return resize(n);
    case AMG_OP_LSTM:
    case AMG_OP_GRU:
    case AMG_OP_RNN: return activations(n);
    case AMG_OP_CONV:
    case AMG_OP_CONV_TRANSPOSE:
    case AMG_OP_LP_POOL:
    case AMG_OP_AVERAGE_POOL: return window(n);
    case AMG_OP_DROPOUT:
        if (n->num_inputs > 2) n->num_inputs = 2; /* training_mode */
        drop_attr(n, "seed");
        return opset < 12 ? float_to_input(n, "ratio", 1) : AMG_OK;
    case AMG_OP_BERNOULLI:
    case AMG_OP_RANDOM_UNIFORM_LIKE:
    case AMG_OP_RANDOM_NORMAL_LIKE: drop_attr(n, "seed"); return AMG_OK;
    case AMG_OP_BATCH_NORM: drop_attr(n, "training_mode"); return AMG_OK;
    case AMG_OP_MAX_POOL: drop_attr(n, "storage_order"); return window(n);
    case AMG_OP_CAST:
        drop_attr(n, "saturate");
        drop_attr(n, "round_mode");
        return is_cast_like(n) ? cast_like(n) : AMG_OK;
    case AMG_OP_ATTENTION: drop_attr(n, "softmax_precision"); return AMG_OK;
    case AMG_OP_GRID_SAMPLE: return grid_sample(n);
    case AMG_OP_EXPAND: return amg_import_open_expand(n);
    case AMG_OP_TILE: return amg_import_open_tile(n);
    case AMG_OP_CONCAT: return amg_import_open_concat(n);
    case AMG_OP_RESHAPE: return amg_import_open_reshape(n);
    case AMG_OP_GATHER: return amg_import_open_gather(n);
    case AMG_OP_MUL:
    case AMG_OP_SCATTER_ELEMENTS: return amg_import_open_counts(n);
    case AMG_OP_SPACE_TO_DEPTH: return space_to_depth(n);
    case AMG_OP_RANGE: drop_attr(n, "stash_type"); return AMG_OK;
    default: return AMG_OK;
    }
}
