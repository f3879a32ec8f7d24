/* Edits of an architecture, by copying node after node through the builder. Weights are
 * dropped: a decoy draws its own. */
#include "obfuscate/arch_edit.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"
#include "graph/window.h"

enum { MAX_INPUTS = 256, MAX_OUTPUTS = 256, MAX_ATTRS = 8 };

/* What LeakyRelu has here and Clip is bounded by: PyTorch's LeakyReLU() and ReLU6(). */
#define LEAKY_SLOPE 0.01f
#define CLIP_MAX 6.0f

static bool is_scalar(const amg_graph *g, int v, float expected)
{
    const amg_tensor *t = v == AMG_NO_VALUE ? NULL : &g->values[v].data;
    return t && t->data && t->dtype == AMG_F32 && t->rank == 0 &&
           *(const float *)t->data == expected;
}

static bool is_activation(const amg_graph *g, const amg_node *n)
{
    if (n->op == AMG_OP_LEAKY_RELU)
        return amg_attr_float(n, "alpha", LEAKY_SLOPE) == LEAKY_SLOPE;
    if (n->op == AMG_OP_CLIP)
        return n->num_inputs == 3 && is_scalar(g, n->inputs[1], 0) &&
               is_scalar(g, n->inputs[2], CLIP_MAX);
    return n->op == AMG_OP_RELU;
}

amg_op amg_arch_activation(const amg_graph *g)
{
    amg_op op = AMG_OP_COUNT;
    for (int i = 0; i < g->num_nodes; i++) {
        if (!is_activation(g, &g->nodes[i])) continue;
        if (op != AMG_OP_COUNT && op != g->nodes[i].op) return AMG_OP_COUNT;
        op = g->nodes[i].op;
    }
    return op;
}

/* Whether a Conv's window can be one of another kernel: odd and the same in all
 * directions, dense, padded alike. */
static bool can_resize_window(const amg_node *n, const amg_value *w, int delta)
{
    const amg_attr *pads = amg_attr_find(n, "pads");
    const amg_attr *dilations = amg_attr_find(n, "dilations");
    if (w->rank < 3 || w->dims[2] % 2 == 0) return false;
    for (int i = 3; i < w->rank; i++)
        if (w->dims[i] != w->dims[2]) return false;
    if (strcmp(amg_attr_string(n, "auto_pad", "NOTSET"), "NOTSET")) return false;
    for (int i = 0; dilations && i < dilations->count; i++)
        if (dilations->ints[i] != 1) return false;
    int64_t pad = pads && pads->count ? pads->ints[0] : 0;
    for (int i = 0; pads && i < pads->count; i++)
        if (pads->ints[i] != pad) return false;
    int64_t kernel = w->dims[2] + 2 * delta;
    return w->dims[2] >= 3 && kernel >= 3 && kernel <= 7 && pad + delta >= 0;
}

bool amg_arch_kernel_can(const amg_graph *g, int n, int delta)
{
    if (g->nodes[n].op != AMG_OP_CONV) return false;
    const int weight = g->nodes[n].inputs[1];
    if (g->values[weight].kind != AMG_VALUE_PARAM) return false;
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *reader = &g->nodes[i];
        for (int j = 0; j < reader->num_inputs; j++)
            if (reader->inputs[j] == weight &&
                (reader->op != AMG_OP_CONV || j != 1 ||
                 !can_resize_window(reader, &g->values[weight], delta)))
                return false;
    }
    return true;
}

/* One pass of amg_arch_apply. */
typedef struct {
    const amg_graph *g;
    const amg_arch_edit *edit;
    amg_builder *b;
    amg_arena names; /* of what is new */
    int *map;        /* value of g -> value of b, AMG_NO_VALUE where not made yet */
    int *copied;     /* the same for the parameters of a duplicated stretch's copy */
    bool copying;
    bool no_memory;
} edit_state;

/* The name of the copy of a value or of a new constant, else the name itself. */
static const char *new_name(edit_state *s, const char *name, const char *word,
                            bool fresh)
{
    if (!fresh) return name;
    size_t size = strlen(name) + strlen(word) + 16;
    char *text = amg_arena_alloc(&s->names, size);
    if (!text) {
        s->no_memory = true;
        return name;
    }
    snprintf(text, size, "%s%s~%d", name, word, s->edit->serial);
    return text;
}

/* The parameter's dims after the edit. */
static void new_dims(const edit_state *s, int v, int64_t dims[AMG_MAX_RANK])
{
    memcpy(dims, s->g->values[v].dims, sizeof s->g->values[v].dims);
    if (!s->edit->width) return;
    const amg_channels *c = s->edit->channels;
    for (int d = 0; d < AMG_FEATURE_DIMS; d++)
        if (c->params[v].dim[d])
            dims[d] = amg_channels_size(c, c->params[v].dim[d], s->edit->width);
}

/* First use of a parameter makes it: constants with their data, the rest as a shape. */
static int use_param(edit_state *s, int v, int kernel_delta)
{
    int *made = s->copying ? &s->copied[v] : &s->map[v];
    if (*made != AMG_NO_VALUE) return *made;
    const amg_value *val = &s->g->values[v];
    const char *name = new_name(s, val->name, "", s->copying);
    if (val->role == AMG_ROLE_CONSTANT) {
        *made = amg_builder_param(s->b, name, &val->data);
    } else {
        int64_t dims[AMG_MAX_RANK];
        new_dims(s, v, dims);
        for (int i = 2; kernel_delta && i < val->rank; i++) dims[i] += 2 * kernel_delta;
        *made = amg_builder_param_absent(s->b, name, val->dtype, val->rank, dims);
    }
    amg_builder_say(s->b, *made, val->said);
    return *made;
}

static int add_bound(edit_state *s, const char *output, const char *word, float v)
{
    amg_tensor t = {.dtype = AMG_F32, .data = &v, .size_bytes = sizeof v};
    return amg_builder_param(s->b, new_name(s, output, word, true), &t);
}

static int add_activation(edit_state *s, const amg_node *n, const char *output)
{
    int in[3] = {s->map[n->inputs[0]], AMG_NO_VALUE, AMG_NO_VALUE};
    amg_op op = s->edit->activation_op;
    amg_attr slope = amg_flt("alpha", LEAKY_SLOPE);
    if (op != AMG_OP_CLIP)
        return amg_builder_node(s->b, op, n->name, in, 1, &slope,
                                op == AMG_OP_LEAKY_RELU, output);
    in[1] = add_bound(s, output, "_min", 0);
    in[2] = add_bound(s, output, "_max", CLIP_MAX);
    return amg_builder_node(s->b, op, n->name, in, 3, NULL, 0, output);
}

/* A layer's attributes; those that follow its weights can change. */
typedef struct {
    amg_attr list[MAX_ATTRS + 2];
    int count;
    int64_t kernel[AMG_MAX_SPATIAL], pads[2 * AMG_MAX_SPATIAL];
} layer_attrs;

/* In its place, so that nothing but the number shows the edit. */
static void set_attr(layer_attrs *a, amg_attr attr)
{
    int i = 0;
    while (i < a->count && strcmp(a->list[i].name, attr.name) != 0) i++;
    a->list[i] = attr;
    if (i == a->count) a->count++;
}

static void resize_conv(const edit_state *s, const amg_node *n, int kernel_delta,
                        layer_attrs *a)
{
    const amg_value *w = &s->g->values[n->inputs[1]];
    int64_t groups = amg_attr_int(n, "group", 1), dims[AMG_MAX_RANK];
    new_dims(s, n->inputs[1], dims);
    if (groups > 1 && dims[0] != w->dims[0]) /* only a depthwise one changes */
        set_attr(a, amg_int("group", dims[0]));
    if (!kernel_delta) return;
    const amg_attr *pads = amg_attr_find(n, "pads");
    int64_t pad = (pads ? pads->ints[0] : 0) + kernel_delta;
    const int num_dims = w->rank - 2;
    for (int i = 0; i < num_dims; i++) a->kernel[i] = w->dims[2] + 2 * kernel_delta;
    for (int i = 0; i < 2 * num_dims; i++) a->pads[i] = pad;
    set_attr(a, amg_ints("kernel_shape", num_dims, a->kernel));
    set_attr(a, amg_ints("pads", 2 * num_dims, a->pads));
}

static void resize_recurrent(const edit_state *s, const amg_node *n, layer_attrs *a)
{
    int64_t dims[AMG_MAX_RANK];
    new_dims(s, n->inputs[2], dims);
    if (amg_attr_find(n, "hidden_size")) set_attr(a, amg_int("hidden_size", dims[2]));
}

static bool has_sizes(const amg_node *n)
{
    return n->op == AMG_OP_CONV || amg_is_recurrent(n);
}

static void make_attrs(const edit_state *s, const amg_node *n, int kernel_delta,
                       layer_attrs *a)
{
    a->count = n->num_attrs;
    for (int i = 0; i < n->num_attrs; i++) a->list[i] = n->attrs[i];
    if (n->op == AMG_OP_CONV)
        resize_conv(s, n, kernel_delta, a);
    else
        resize_recurrent(s, n, a);
}

/* A Reshape's target, which may say the width of features in numbers. */
static int use_target(edit_state *s, int index)
{
    const amg_node *n = &s->g->nodes[index];
    const amg_value *target = &s->g->values[n->inputs[1]];
    const amg_channels *c = s->edit->channels;
    const amg_feature_list *list = s->edit->width ? &c->values[n->outputs[0]] : NULL;
    int64_t size = list ? amg_channels_size(c, list, s->edit->width) : 0;
    if (!list || !c->named[index] ||
        size == s->g->values[n->outputs[0]].dims[list->axis])
        return use_param(s, n->inputs[1], 0);
    const char *name = new_name(s, s->g->values[n->outputs[0]].name, "_shape", true);
    int made = amg_builder_param(s->b, name, &target->data);
    amg_tensor *data = amg_builder_data(s->b, made);
    if (data && data->data) ((int64_t *)data->data)[list->axis] = size;
    amg_builder_say(s->b, made, target->said);
    return made;
}

static int use_input(edit_state *s, int index, int i, int kernel_delta)
{
    const amg_node *n = &s->g->nodes[index];
    const int v = n->inputs[i];
    if (v == AMG_NO_VALUE) return AMG_NO_VALUE;
    if (s->g->values[v].kind != AMG_VALUE_PARAM) return s->map[v];
    if (n->op == AMG_OP_RESHAPE && i == 1) return use_target(s, index);
    return use_param(s, v, i == 1 ? kernel_delta : 0);
}

/* By how much the kernel of node n grows. */
static int kernel_delta_of(const edit_state *s, const amg_node *n)
{
    const amg_arch_edit *e = s->edit;
    const bool same = e->kernel_delta && n->op == AMG_OP_CONV &&
                      n->inputs[1] == s->g->nodes[e->kernel_node].inputs[1];
    return same ? e->kernel_delta : 0;
}

static void copy_node(edit_state *s, int index)
{
    const amg_node *n = &s->g->nodes[index];
    const amg_graph *g = s->g;
    const int delta = kernel_delta_of(s, n);
    int in[MAX_INPUTS], out[MAX_OUTPUTS];
    const char *outputs[MAX_OUTPUTS];
    for (int i = 0; i < n->num_outputs; i++)
        outputs[i] = new_name(s, g->values[n->outputs[i]].name, "", s->copying);
    if (s->edit->activation && is_activation(g, n)) {
        s->map[n->outputs[0]] = add_activation(s, n, outputs[0]);
        return;
    }
    for (int i = 0; i < n->num_inputs; i++) in[i] = use_input(s, index, i, delta);
    layer_attrs sizes = {.count = 0};
    const amg_attr *attrs = n->attrs;
    int num_attrs = n->num_attrs;
    if (has_sizes(n)) {
        make_attrs(s, n, delta, &sizes);
        attrs = sizes.list;
        num_attrs = sizes.count;
    }
    amg_builder_node_multi(s->b, n->op, n->name, in, n->num_inputs, attrs, num_attrs,
                           outputs, n->num_outputs, out);
    for (int i = 0; i < n->num_outputs; i++) s->map[n->outputs[i]] = out[i];
}

/* Runs the stretch once more behind itself, with parameters of its own. */
static void copy_again(edit_state *s, const amg_region *r)
{
    s->copying = true;
    s->map[r->from] = s->map[r->to];
    for (int i = r->first_node; i <= r->last_node; i++) copy_node(s, i);
    s->copying = false;
}

static amg_status check_nodes(const amg_graph *g, amg_error *err)
{
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        if (n->num_inputs > MAX_INPUTS || n->num_outputs > MAX_OUTPUTS ||
            (has_sizes(n) && n->num_attrs > MAX_ATTRS))
            return amg_fail(err, AMG_UNSUPPORTED, -1, n->name,
                            "a decoy cannot be made from a node with %d input%s, %d "
                            "output%s and %d attribute%s",
                            n->num_inputs, amg_plural(n->num_inputs), n->num_outputs,
                            amg_plural(n->num_outputs), n->num_attrs,
                            amg_plural(n->num_attrs));
    }
    return AMG_OK;
}

static void copy_all(edit_state *s)
{
    const amg_graph *g = s->g;
    const amg_region *gone = s->edit->remove, *twice = s->edit->duplicate;
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *v = &g->values[g->inputs[i]];
        s->map[g->inputs[i]] =
            amg_builder_input(s->b, v->name, v->dtype, v->rank, v->dims);
    }
    for (int i = 0; i < g->num_nodes; i++) {
        if (gone && i >= gone->first_node && i <= gone->last_node) {
            s->map[gone->to] = s->map[gone->from];
            continue;
        }
        copy_node(s, i);
        if (twice && i == twice->last_node) copy_again(s, twice);
    }
    for (int i = 0; i < g->num_outputs; i++)
        amg_builder_output(s->b, s->map[g->outputs[i]]);
}

amg_status amg_arch_apply(const amg_graph *g, const amg_arch_edit *edit,
                          amg_graph **out, amg_error *err)
{
    amg_status st = check_nodes(g, err);
    if (st) return st;
    amg_graph *made = NULL;
    edit_state s = {.g = g, .edit = edit, .b = amg_builder_new()};
    s.map = amg_calloc((size_t)g->num_values, sizeof *s.map);
    s.copied = amg_calloc((size_t)g->num_values, sizeof *s.copied);
    if (s.b && s.map && s.copied) {
        for (int i = 0; i < g->num_values; i++) s.map[i] = s.copied[i] = AMG_NO_VALUE;
        copy_all(&s);
        st = amg_builder_finish(s.b, &made, err);
    }
    if (!s.b || !s.map || !s.copied || s.no_memory) {
        amg_graph_free(made);
        st = amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory for its graph");
    }
    if (!st) *out = made;
    amg_builder_free(s.b);
    amg_arena_clear(&s.names);
    amg_free(s.map);
    amg_free(s.copied);
    return st;
}
