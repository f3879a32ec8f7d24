/* Functions of an ONNX file: every call gives way to the nodes of the function's body,
 * under names that begin with the call's first output. Branches of an If likewise, both
 * of them: which of them is taken is onnx_if.c's. Consumes the unpacked model, produces
 * the list of nodes that the rest of the import reads; knows no other operator.
 *
 * A body reads its own formal inputs and makes its formal outputs; its attributes may
 * refer to those of the call, or to the function's defaults. It may call others, and
 * have an opset of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/onnx_import.h"

#define MAX_DEPTH 64
#define MAX_NODES ((size_t)1 << 20) /* and calls */

typedef struct {
    amg_import *im;
    const Onnx__ModelProto *model;
    size_t count, room, calls, initializer_room;
    amg_error *err;
} inliner;

/* A body at work: what its names stand for. NULL: the graph itself. */
typedef struct scope {
    const Onnx__FunctionProto *function; /* NULL: a branch of an If */
    const Onnx__GraphProto *branch;      /* NULL: a function */
    const struct scope *around;          /* whose names a branch sees */
    const Onnx__NodeProto *call;         /* or the If, in the graph's names */
    const char *prefix;                  /* of all names that are the body's own */
    size_t num_defaults;
    Onnx__AttributeProto **defaults;
    int depth;
} scope;

static amg_status no_memory(const inliner *in)
{
    return amg_fail(in->err, AMG_NO_MEMORY, -1, in->im->file,
                    "no memory for the functions");
}

static bool same_domain(const char *a, const char *b)
{
    a = a && strcmp(a, "ai.onnx") != 0 ? a : "";
    b = b && strcmp(b, "ai.onnx") != 0 ? b : "";
    return !strcmp(a, b);
}

/* The function that a node calls, NULL: none. */
static amg_status find_function(const inliner *in, const Onnx__NodeProto *node,
                                const Onnx__FunctionProto **out)
{
    const Onnx__ModelProto *m = in->model;
    *out = NULL;
    for (size_t i = 0; node->op_type && i < m->n_functions; i++) {
        const Onnx__FunctionProto *f = m->functions[i];
        if (!f->name || strcmp(f->name, node->op_type) != 0 ||
            !same_domain(f->domain, node->domain))
            continue;
        if (*out)
            return amg_fail(in->err, AMG_UNSUPPORTED, -1, in->im->file,
                            "function \"%.100s\" is there twice, expected one of a "
                            "name: overloads are not read",
                            f->name);
        *out = f;
    }
    return AMG_OK;
}

/* ---- a body's names and attributes ---- */

static int find_text(char *const *list, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(list[i], text)) return (int)i;
    return -1;
}

/* Whether a branch makes the value itself; else it is one around it. */
static bool makes(const Onnx__GraphProto *branch, const char *name)
{
    for (size_t i = 0; i < branch->n_initializer; i++)
        if (branch->initializer[i]->name && !strcmp(branch->initializer[i]->name, name))
            return true;
    for (size_t i = 0; i < branch->n_node; i++)
        if (find_text(branch->node[i]->output, branch->node[i]->n_output, name) >= 0)
            return true;
    return false;
}

/* What a name in a body is called in the graph; NULL: out of memory. */
static const char *outer_name(inliner *in, const scope *s, const char *name)
{
    while (s && s->branch && !makes(s->branch, name)) s = s->around;
    if (!s || !name[0]) return name;
    const Onnx__FunctionProto *f = s->function;
    if (f) {
        int i = find_text(f->input, f->n_input, name);
        if (i >= 0) return (size_t)i < s->call->n_input ? s->call->input[i] : "";
        i = find_text(f->output, f->n_output, name);
        if (i >= 0 && (size_t)i < s->call->n_output && s->call->output[i][0])
            return s->call->output[i];
    }
    const size_t size = strlen(s->prefix) + strlen(name) + 2;
    char *full = amg_arena_alloc(&in->im->arena, size);
    if (full) snprintf(full, size, "%s/%s", s->prefix, name);
    return full;
}

static amg_status rename_list(inliner *in, const scope *s, size_t count,
                              char *const *list, char ***out)
{
    *out = amg_arena_array(&in->im->arena, count + 1, sizeof **out);
    if (!*out) return no_memory(in);
    for (size_t i = 0; i < count; i++) {
        const char *name = outer_name(in, s, list[i]);
        if (!name) return no_memory(in);
        memcpy(&(*out)[i], &name, sizeof name); /* protobuf's lists are not const */
    }
    return AMG_OK;
}

static Onnx__AttributeProto *find_attribute(size_t count,
                                            Onnx__AttributeProto *const *list,
                                            const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (list[i]->name && !strcmp(list[i]->name, name)) return list[i];
    return NULL;
}

/* The attributes of a body's node, references replaced by what they refer to; those to
 * an attribute that nobody gives are left out. */
static amg_status resolve_attributes(inliner *in, const scope *s, Onnx__NodeProto *node)
{
    while (s && s->branch) s = s->around; /* the function that it stands in */
    if (!s) return AMG_OK;
    Onnx__AttributeProto **list =
        amg_arena_array(&in->im->arena, node->n_attribute + 1, sizeof *list);
    size_t count = 0;
    if (!list) return no_memory(in);
    for (size_t i = 0; i < node->n_attribute; i++) {
        Onnx__AttributeProto *a = node->attribute[i];
        if (a->ref_attr_name && a->ref_attr_name[0]) {
            const Onnx__AttributeProto *given = find_attribute(
                s->call->n_attribute, s->call->attribute, a->ref_attr_name);
            if (!given)
                given = find_attribute(s->num_defaults, s->defaults, a->ref_attr_name);
            if (!given) continue;
            Onnx__AttributeProto *copy = amg_arena_alloc(&in->im->arena, sizeof *copy);
            if (!copy) return no_memory(in);
            *copy = *given;
            copy->name = a->name;
            a = copy;
        }
        list[count++] = a;
    }
    node->attribute = list;
    node->n_attribute = count;
    return AMG_OK;
}

/* Whether a name of the graph begins with PREFIX/. */
static bool is_taken(const inliner *in, const char *prefix)
{
    const Onnx__GraphProto *g = in->model->graph;
    const size_t n = strlen(prefix);
    for (size_t i = 0; i < g->n_initializer; i++) {
        const char *name = g->initializer[i]->name;
        if (name && !strncmp(name, prefix, n) && name[n] == '/') return true;
    }
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++) {
            const char *name = g->node[i]->output[k];
            if (!strncmp(name, prefix, n) && name[n] == '/') return true;
        }
    return false;
}

/* No two calls have one output, so that no two bodies share a prefix. part: of the
 * branches of an If, which do. */
static amg_status find_prefix(inliner *in, scope *s, const char *part)
{
    const char *output = "";
    for (size_t i = 0; i < s->call->n_output && !output[0]; i++)
        output = s->call->output[i];
    const size_t size = strlen(output) + strlen(part) + 16;
    char *prefix = amg_arena_alloc(&in->im->arena, size);
    if (!prefix) return no_memory(in);
    snprintf(prefix, size, "%s%s", output, part);
    for (int i = 2; is_taken(in, prefix); i++)
        snprintf(prefix, size, "%s%s#%d", output, part, i);
    s->prefix = prefix;
    return AMG_OK;
}

/* ---- the list of nodes ---- */

static amg_status append(inliner *in, Onnx__NodeProto *node, int64_t opset)
{
    amg_import *im = in->im;
    if (in->count == MAX_NODES)
        return amg_fail(in->err, AMG_UNSUPPORTED, -1, im->file,
                        "its functions make more than %zu nodes", MAX_NODES);
    if (in->count == in->room) {
        const size_t room = in->room ? 2 * in->room : 256;
        Onnx__NodeProto **nodes = amg_arena_array(&im->arena, room, sizeof *nodes);
        int64_t *opsets = amg_arena_array(&im->arena, room, sizeof *opsets);
        if (!nodes || !opsets) return no_memory(in);
        if (in->count) {
            memcpy(nodes, im->inlined.node, in->count * sizeof *nodes);
            memcpy(opsets, im->opsets, in->count * sizeof *opsets);
        }
        im->inlined.node = nodes;
        im->opsets = opsets;
        in->room = room;
    }
    im->inlined.node[in->count] = node;
    im->opsets[in->count++] = opset;
    return AMG_OK;
}

static amg_status expand(inliner *in, const scope *outer, Onnx__NodeProto *node,
                         int64_t opset);

static amg_status add_initializer(inliner *in, const Onnx__TensorProto *t,
                                  const char *name)
{
    Onnx__GraphProto *g = &in->im->inlined;
    Onnx__TensorProto *copy = amg_arena_alloc(&in->im->arena, sizeof *copy);
    if (!copy || !name) return no_memory(in);
    if (g->n_initializer == in->initializer_room) {
        const size_t room = 2 * in->initializer_room + 16;
        Onnx__TensorProto **all = amg_arena_array(&in->im->arena, room, sizeof *all);
        if (!all) return no_memory(in);
        if (g->n_initializer)
            memcpy(all, g->initializer, g->n_initializer * sizeof *all);
        g->initializer = all;
        in->initializer_room = room;
    }
    *copy = *t;
    memcpy(&copy->name, &name, sizeof name);
    g->initializer[g->n_initializer++] = copy;
    return AMG_OK;
}

static amg_status find_opset(const inliner *in, const Onnx__FunctionProto *f,
                             int64_t *opset)
{
    for (size_t i = 0; i < f->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = f->opset_import[i];
        if (!same_domain(o->domain, "") || !o->has_version) continue;
        *opset = o->version;
        if (amg_import_reads_opset(o->version)) continue;
        return amg_fail(in->err, AMG_UNSUPPORTED, -1, in->im->file,
                        "function \"%.100s\" is of opset %" PRId64
                        ", which is not read",
                        f->name, o->version);
    }
    return AMG_OK;
}

static amg_status check_depth(inliner *in, const scope *s, const char *what)
{
    if (s->depth <= MAX_DEPTH && ++in->calls <= MAX_NODES) return AMG_OK;
    return amg_fail(in->err, AMG_MALFORMED, -1, in->im->file,
                    "functions nest deeper than %d or call more than %zu times, at "
                    "\"%.100s\"",
                    MAX_DEPTH, MAX_NODES, what);
}

static amg_status expand_body(inliner *in, const scope *outer,
                              const Onnx__FunctionProto *f, const Onnx__NodeProto *call,
                              int64_t opset)
{
    scope s = {.function = f, .call = call, .depth = outer ? outer->depth + 1 : 1};
    amg_status st = check_depth(in, &s, f->name);
    if (st) return st;
    if (call->n_input > f->n_input || call->n_output > f->n_output) {
        char where[AMG_NODE_TEXT];
        return amg_fail(in->err, AMG_MALFORMED, -1, amg_import_where(call, where),
                        "%zu inputs and %zu outputs, expected at most the function's "
                        "%zu and %zu",
                        call->n_input, call->n_output, f->n_input, f->n_output);
    }
    st = find_prefix(in, &s, "");
    if (!st) st = amg_import_defaults(in->im, f, &s.num_defaults, &s.defaults, in->err);
    if (!st) st = find_opset(in, f, &opset);
    for (size_t i = 0; i < f->n_node && !st; i++)
        st = expand(in, &s, f->node[i], opset);
    return st;
}

/* ---- branches ---- */

static bool is_if(const Onnx__NodeProto *node)
{
    return node->op_type && !strcmp(node->op_type, "If") &&
           same_domain(node->domain, "");
}

/* Adds the nodes of one branch; results: what its outputs are called in the graph. */
static amg_status expand_branch(inliner *in, scope *s, const char *part, int64_t opset,
                                char **results)
{
    const Onnx__GraphProto *b = s->branch;
    amg_status st = check_depth(in, s, "If");
    if (!st) st = find_prefix(in, s, part);
    for (size_t i = 0; i < b->n_initializer && !st; i++)
        if (b->initializer[i]->name)
            st = add_initializer(in, b->initializer[i],
                                 outer_name(in, s, b->initializer[i]->name));
    for (size_t i = 0; i < b->n_node && !st; i++) st = expand(in, s, b->node[i], opset);
    for (size_t i = 0; i < b->n_output && !st; i++) {
        const char *name = b->output[i]->name ? b->output[i]->name : "";
        name = outer_name(in, s, name);
        if (!name) st = no_memory(in);
        memcpy(&results[i], &name, sizeof name);
    }
    return st;
}

/* The node gets what its branches make as inputs behind its condition: all of the one,
 * then all of the other; see onnx_if.c. node: a copy of its own, in the graph's names.
 */
static amg_status expand_if(inliner *in, const scope *outer, Onnx__NodeProto *node,
                            int64_t opset)
{
    static const char *const names[] = {"then_branch", "else_branch"};
    static const char *const parts[] = {"/then", "/else"};
    const Onnx__GraphProto *branch[2] = {NULL};
    const size_t count = node->n_output;
    for (int i = 0; i < 2; i++) {
        const Onnx__AttributeProto *a =
            find_attribute(node->n_attribute, node->attribute, names[i]);
        branch[i] = a ? a->g : NULL;
    }
    char where[AMG_NODE_TEXT];
    if (!branch[0] || !branch[1] || node->n_input != 1 || !count ||
        branch[0]->n_output != count || branch[1]->n_output != count)
        return amg_fail(in->err, AMG_MALFORMED, -1, amg_import_where(node, where),
                        "expected one input, and two branches of its %zu output%s",
                        count, amg_plural((int64_t)count));
    char **inputs = amg_arena_array(&in->im->arena, 1 + 2 * count, sizeof *inputs);
    if (!inputs) return no_memory(in);
    inputs[0] = node->input[0];
    amg_status st = AMG_OK;
    for (int i = 0; i < 2 && !st; i++) {
        scope s = {.branch = branch[i],
                   .around = outer,
                   .call = node,
                   .depth = outer ? outer->depth + 1 : 1};
        st = expand_branch(in, &s, parts[i], opset, inputs + 1 + (size_t)i * count);
    }
    node->input = inputs;
    node->n_input = 1 + 2 * count;
    node->n_attribute = 0;
    return st ? st : append(in, node, opset);
}

/* Adds node, of outer's body, or what its function or its branches are made of. */
static amg_status expand(inliner *in, const scope *outer, Onnx__NodeProto *node,
                         int64_t opset)
{
    const Onnx__FunctionProto *f;
    amg_status st = find_function(in, node, &f);
    if (!st && (outer || is_if(node))) {
        Onnx__NodeProto *copy = amg_arena_alloc(&in->im->arena, sizeof *copy);
        if (!copy) return no_memory(in);
        *copy = *node;
        st = rename_list(in, outer, node->n_input, node->input, &copy->input);
        if (!st)
            st = rename_list(in, outer, node->n_output, node->output, &copy->output);
        if (!st) st = resolve_attributes(in, outer, copy);
        node = copy;
    }
    if (st) return st;
    if (f) return expand_body(in, outer, f, node, opset);
    return is_if(node) ? expand_if(in, outer, node, opset) : append(in, node, opset);
}

amg_status amg_import_functions(amg_import *im, amg_error *err)
{
    inliner in = {.im = im, .model = amg_onnx_model(im->onnx), .err = err};
    const Onnx__GraphProto *g = im->graph;
    bool any = in.model->n_functions > 0;
    for (size_t i = 0; i < g->n_node && !any; i++) any = is_if(g->node[i]);
    if (!any) return AMG_OK;
    amg_status st = AMG_OK;
    im->inlined = *g;
    im->inlined.node = NULL;
    in.initializer_room = g->n_initializer;
    for (size_t i = 0; i < g->n_node && !st; i++)
        st = expand(&in, NULL, g->node[i], im->opset);
    im->inlined.n_node = in.count;
    im->graph = &im->inlined;
    return st;
}
