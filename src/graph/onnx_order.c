/* Names and order of an ONNX graph: who produces which value, in what order nodes can
 * run, and which of them any output needs. Consumes the unpacked GraphProto, fills the
 * import's tables; knows no operator.
 *
 * ONNX demands unique names and sorted nodes. The first is checked, because a name with
 * two producers means different networks to different readers; the second is repaired,
 * because exporters and hand-made files break it without ambiguity. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/onnx_import.h"

static amg_status fail_memory(const amg_import *im, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, im->file, "no memory for the graph");
}

const char *amg_import_where(const Onnx__NodeProto *p, char buf[AMG_NODE_TEXT])
{
    const char *name = p->name && p->name[0] ? p->name
                       : p->n_output         ? p->output[0]
                                             : "";
    snprintf(buf, AMG_NODE_TEXT, "node \"%.200s\" (%.40s)", name,
             p->op_type ? p->op_type : "");
    return buf;
}

static int compare_names(const void *a, const void *b)
{
    const amg_name *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    if (c) return c;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int compare_key(const void *key, const void *entry)
{
    return strcmp(key, ((const amg_name *)entry)->name);
}

amg_name *amg_import_find(const amg_import *im, const char *name)
{
    if (!im->num_names) return NULL;
    return bsearch(name, im->names, im->num_names, sizeof *im->names, compare_key);
}

static amg_status add_name(amg_import *im, const char *name, amg_name_kind kind,
                           size_t index, amg_error *err)
{
    if (!name || !name[0])
        return amg_fail(err, AMG_MALFORMED, -1, im->file, "%s %zu has no name",
                        kind == AMG_NAME_INPUT ? "graph input" : "initializer", index);
    im->names[im->num_names++] =
        (amg_name){.name = name, .kind = kind, .index = index, .value = AMG_NO_VALUE};
    return AMG_OK;
}

/* An input with an initializer of its name is that initializer (all of them were, up to
 * IR version 3); any other name that occurs twice has two producers. */
static amg_status merge_names(amg_import *im, amg_error *err)
{
    static const char *const kinds[] = {"an initializer", "a graph input", "a node"};
    size_t n = 0;
    for (size_t i = 0; i < im->num_names; i++) {
        const amg_name *e = &im->names[i], *last = n ? &im->names[n - 1] : NULL;
        if (!last || strcmp(last->name, e->name)) {
            im->names[n++] = *e;
            continue;
        }
        bool is_default = last->kind == AMG_NAME_INITIALIZER &&
                          e->kind == AMG_NAME_INPUT &&
                          im->names[i - 1].kind == AMG_NAME_INITIALIZER;
        if (is_default) continue;
        return amg_fail(err, AMG_MALFORMED, -1, im->file,
                        "value \"%.200s\" has two producers: %s and %s", e->name,
                        kinds[last->kind], kinds[e->kind]);
    }
    im->num_names = n;
    return AMG_OK;
}

static amg_status collect_names(amg_import *im, amg_error *err)
{
    const Onnx__GraphProto *g = im->graph;
    size_t most = g->n_initializer + g->n_input;
    for (size_t i = 0; i < g->n_node; i++) most += g->node[i]->n_output;
    im->names = amg_arena_array(&im->arena, most ? most : 1, sizeof *im->names);
    if (!im->names) return fail_memory(im, err);
    amg_status st = AMG_OK;
    for (size_t i = 0; !st && i < g->n_initializer; i++)
        st = add_name(im, g->initializer[i]->name, AMG_NAME_INITIALIZER, i, err);
    for (size_t i = 0; !st && i < g->n_input; i++)
        st = add_name(im, g->input[i]->name, AMG_NAME_INPUT, i, err);
    for (size_t i = 0; !st && i < g->n_node; i++)
        for (size_t k = 0; !st && k < g->node[i]->n_output; k++)
            if (g->node[i]->output[k][0]) /* "": an optional output left out */
                st = add_name(im, g->node[i]->output[k], AMG_NAME_NODE, i, err);
    if (st) return st;
    qsort(im->names, im->num_names, sizeof *im->names, compare_names);
    return merge_names(im, err);
}

/* A node on the depth-first stack, and how many of its inputs were looked at. */
typedef struct {
    size_t node, next;
} frame;

enum { UNSEEN, ON_STACK, DONE };

/* The next node that top waits for (*found), if any. */
static amg_status next_producer(const amg_import *im, frame *top, const uint8_t *state,
                                bool *found, size_t *producer, amg_error *err)
{
    const Onnx__NodeProto *p = im->graph->node[top->node];
    char where[AMG_NODE_TEXT];
    *found = false;
    while (top->next < p->n_input) {
        const char *input = p->input[top->next++];
        if (!input[0]) continue; /* an optional input left out */
        const amg_name *e = amg_import_find(im, input);
        if (!e)
            return amg_fail(err, AMG_MALFORMED, -1, amg_import_where(p, where),
                            "input %zu, \"%.200s\", is produced by nothing",
                            top->next - 1, input);
        if (e->kind != AMG_NAME_NODE || state[e->index] == DONE) continue;
        if (state[e->index] == ON_STACK)
            return amg_fail(err, AMG_MALFORMED, -1, amg_import_where(p, where),
                            "input %zu, \"%.200s\", depends on the node itself",
                            top->next - 1, input);
        *producer = e->index;
        *found = true;
        return AMG_OK;
    }
    return AMG_OK;
}

/* Depth first from each node in file order, producers before consumers: a file that is
 * sorted keeps its order. */
static amg_status sort_nodes(amg_import *im, amg_error *err)
{
    size_t n = im->graph->n_node, num_sorted = 0, depth = 0;
    uint8_t *state = amg_arena_array(&im->arena, n ? n : 1, 1);
    frame *stack = amg_arena_array(&im->arena, n ? n : 1, sizeof *stack);
    im->order = amg_arena_array(&im->arena, n ? n : 1, sizeof *im->order);
    if (!state || !stack || !im->order) return fail_memory(im, err);
    for (size_t i = 0; i < n; i++) {
        if (state[i] == DONE) continue;
        stack[depth++] = (frame){.node = i};
        state[i] = ON_STACK;
        while (depth) {
            frame *top = &stack[depth - 1];
            bool found;
            size_t producer;
            amg_status st = next_producer(im, top, state, &found, &producer, err);
            if (st) return st;
            if (found) {
                stack[depth++] = (frame){.node = producer};
                state[producer] = ON_STACK;
            } else {
                state[top->node] = DONE;
                im->order[num_sorted++] = top->node;
                depth--;
            }
        }
    }
    return AMG_OK;
}

static void need(amg_import *im, const char *name)
{
    amg_name *e = name[0] ? amg_import_find(im, name) : NULL;
    if (!e) return;
    e->needed = true;
    if (e->kind == AMG_NAME_NODE) im->node_needed[e->index] = true;
}

/* What the needed nodes read, consumers before producers. An If shows what it needs of
 * its branches once it is read. */
static void spread_need(amg_import *im)
{
    for (size_t i = im->graph->n_node; i-- > 0;) {
        if (!im->node_needed[im->order[i]]) continue;
        const Onnx__NodeProto *p = im->graph->node[im->order[i]];
        const size_t count = amg_import_is_if(p) && p->n_input ? 1 : p->n_input;
        for (size_t k = 0; k < count; k++) need(im, p->input[k]);
    }
}

void amg_import_need(amg_import *im, const char *name)
{
    need(im, name);
    spread_need(im);
}

/* Marks what the outputs depend on. */
static amg_status mark_needed(amg_import *im, amg_error *err)
{
    const Onnx__GraphProto *g = im->graph;
    im->node_needed = amg_arena_array(&im->arena, g->n_node ? g->n_node : 1, 1);
    im->node_made = amg_arena_array(&im->arena, g->n_node ? g->n_node : 1, 1);
    if (!im->node_needed || !im->node_made) return fail_memory(im, err);
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = g->output[i]->name;
        if (!name || !amg_import_find(im, name))
            return amg_fail(err, AMG_MALFORMED, -1, im->file,
                            "graph output \"%.200s\" is produced by nothing",
                            name ? name : "");
        need(im, name);
    }
    spread_need(im);
    return AMG_OK;
}

amg_status amg_import_order(amg_import *im, amg_error *err)
{
    amg_status st = collect_names(im, err);
    if (!st) st = sort_nodes(im, err);
    return st ? st : mark_needed(im, err);
}
