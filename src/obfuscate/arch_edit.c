/* Edits of an architecture, by copying node after node through the builder. Weights are
 * dropped: a decoy draws its own. */
#include "obfuscate/arch_edit.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"

typedef struct {
    const amg_graph *g;
    const amg_arch_edit *edit;
    amg_builder *b;
    int *map; /* value of g -> value of b, AMG_NO_VALUE where not made yet */
    int copy; /* 0: the ordinary pass, 1..: copy number of a duplicated stretch */
} edit_state;

bool amg_arch_is_activation(const amg_graph *g, const amg_node *n)
{
    if (n->op == AMG_OP_RELU || n->op == AMG_OP_LEAKY_RELU) return true;
    if (n->op != AMG_OP_CLIP || n->num_inputs < 3) return false;
    float bound[2] = {-1, -1};
    for (int i = 0; i < 2; i++) {
        const amg_tensor *t =
            n->inputs[i + 1] == AMG_NO_VALUE ? NULL : &g->values[n->inputs[i + 1]].data;
        if (t && t->data && t->dtype == AMG_F32) bound[i] = *(const float *)t->data;
    }
    return bound[0] == 0 && bound[1] == 6;
}

bool amg_arch_kernel_can(const amg_graph *g, int n, int delta)
{
    const amg_node *node = &g->nodes[n];
    if (node->op != AMG_OP_CONV) return false;
    const amg_value *w = &g->values[node->inputs[1]];
    const amg_attr *pads = amg_attr_find(node, "pads");
    const amg_attr *dilations = amg_attr_find(node, "dilations");
    if (w->rank != 4 || w->dims[2] != w->dims[3] || w->dims[2] % 2 == 0) return false;
    if (strcmp(amg_attr_string(node, "auto_pad", "NOTSET"), "NOTSET")) return false;
    for (int i = 0; dilations && i < dilations->count; i++)
        if (dilations->ints[i] != 1) return false;
    int64_t pad = pads && pads->count == 4 ? pads->ints[0] : 0;
    for (int i = 0; pads && i < pads->count; i++)
        if (pads->ints[i] != pad) return false;
    int64_t kernel = w->dims[2] + 2 * delta;
    return w->dims[2] >= 3 && kernel >= 3 && kernel <= 7 && pad + delta >= 0;
}

/* Values that every path passes: after node i, exactly one activation is still needed.
 */
int amg_arch_regions(const amg_graph *g, amg_region *regions)
{
    int *last_use = amg_calloc((size_t)g->num_values, sizeof *last_use);
    int *cut = amg_calloc((size_t)g->num_nodes + 1, sizeof *cut);
    int num_cuts = 0, num_regions = 0;
    if (!last_use || !cut) {
        num_regions = -1;
        goto done;
    }
    for (int i = 0; i < g->num_nodes; i++)
        for (int j = 0; j < g->nodes[i].num_inputs; j++)
            if (g->nodes[i].inputs[j] != AMG_NO_VALUE)
                last_use[g->nodes[i].inputs[j]] = i;
    for (int i = 0; i < g->num_nodes; i++) {
        int live = 0, value = AMG_NO_VALUE;
        for (int v = 0; v < g->num_values; v++) {
            const amg_value *val = &g->values[v];
            bool made = val->kind == AMG_VALUE_INPUT ||
                        (val->kind == AMG_VALUE_ACTIVATION && val->producer <= i);
            if (made && last_use[v] > i) live++, value = v;
        }
        if (live == 1 && g->values[value].producer == i) cut[num_cuts++] = value;
    }
    for (int a = 0; a < num_cuts; a++)
        for (int b = a + 1; b < num_cuts; b++) {
            const amg_value *from = &g->values[cut[a]], *to = &g->values[cut[b]];
            if (g->nodes[from->producer].op != g->nodes[to->producer].op) continue;
            if (from->rank != to->rank ||
                memcmp(from->dims, to->dims, (size_t)from->rank * sizeof from->dims[0]))
                break; /* shapes do not come back */
            bool weighs = false;
            for (int i = from->producer + 1; i <= to->producer; i++)
                weighs = weighs || g->nodes[i].op == AMG_OP_CONV ||
                         g->nodes[i].op == AMG_OP_GEMM ||
                         g->nodes[i].op == AMG_OP_MAT_MUL;
            if (!weighs) continue;
            regions[num_regions++] =
                (amg_region){cut[a], cut[b], from->producer + 1, to->producer};
            break; /* the shortest stretch from here */
        }
done:
    amg_free(last_use);
    amg_free(cut);
    return num_regions;
}

/* The parameter's dims after the edit. */
static void new_dims(const edit_state *s, int v, int64_t dims[AMG_MAX_RANK])
{
    memcpy(dims, s->g->values[v].dims, sizeof s->g->values[v].dims);
    if (!s->edit->width) return;
    const amg_channels *c = s->edit->channels;
    for (int d = 0; d < 2; d++)
        if (c->params[v].dim[d])
            dims[d] = amg_channels_size(c, c->params[v].dim[d], s->edit->width);
}

/* First use of a parameter copies it: constants with their data, the rest as a shape.
 */
static int use_param(edit_state *s, int v, int kernel_delta)
{
    if (s->map[v] != AMG_NO_VALUE) return s->map[v];
    const amg_value *val = &s->g->values[v];
    char name[320];
    if (s->copy)
        snprintf(name, sizeof name, "%s~%d", val->name, s->copy);
    else
        snprintf(name, sizeof name, "%s", val->name);
    if (val->role == AMG_ROLE_CONSTANT) {
        s->map[v] = amg_builder_param(s->b, name, &val->data);
    } else {
        int64_t dims[AMG_MAX_RANK];
        new_dims(s, v, dims);
        if (kernel_delta) dims[2] += 2 * kernel_delta, dims[3] += 2 * kernel_delta;
        s->map[v] = amg_builder_param_absent(s->b, name, val->dtype, val->rank, dims);
    }
    return s->map[v];
}

static int bound(edit_state *s, const char *node, const char *which, float v)
{
    char name[352];
    snprintf(name, sizeof name, "%s_%s~%d", node, which, s->edit->serial);
    amg_tensor t = {.dtype = AMG_F32, .data = &v, .size_bytes = sizeof v};
    return amg_builder_param(s->b, name, &t);
}

static int add_activation(edit_state *s, const amg_node *n, const char *output)
{
    int in[3] = {s->map[n->inputs[0]], AMG_NO_VALUE, AMG_NO_VALUE};
    amg_op op = s->edit->activation_op;
    amg_attr slope = amg_flt("alpha", 0.01f);
    if (op != AMG_OP_CLIP)
        return amg_builder_node(s->b, op, n->name, in, 1, &slope,
                                op == AMG_OP_LEAKY_RELU, output);
    in[1] = bound(s, output, "min", 0);
    in[2] = bound(s, output, "max", 6);
    return amg_builder_node(s->b, op, n->name, in, 3, NULL, 0, output);
}

/* Conv with another kernel: kernel_shape and pads follow the weight. */
static int add_conv(edit_state *s, const amg_node *n, const int *in, const char *output)
{
    amg_attr attrs[16];
    int64_t kernel = s->g->values[n->inputs[1]].dims[2] + 2 * s->edit->kernel_delta;
    const amg_attr *pads = amg_attr_find(n, "pads");
    int64_t pad = (pads ? pads->ints[0] : 0) + s->edit->kernel_delta;
    int count = 0;
    for (int i = 0; i < n->num_attrs && count < 14; i++)
        if (strcmp(n->attrs[i].name, "pads") &&
            strcmp(n->attrs[i].name, "kernel_shape"))
            attrs[count++] = n->attrs[i];
    attrs[count++] = amg_ints("kernel_shape", 2, (int64_t[]){kernel, kernel});
    attrs[count++] = amg_ints("pads", 4, (int64_t[]){pad, pad, pad, pad});
    return amg_builder_node(s->b, AMG_OP_CONV, n->name, in, n->num_inputs, attrs, count,
                            output);
}

static void copy_node(edit_state *s, int index)
{
    const amg_node *n = &s->g->nodes[index];
    bool conv = s->edit->kernel_delta && index == s->edit->kernel_node;
    int in[64];
    const char *output = s->g->values[n->outputs[0]].name;
    char name[320];
    if (s->copy) {
        snprintf(name, sizeof name, "%s~%d", output, s->copy);
        output = name;
    }
    if (s->edit->activation && amg_arch_is_activation(s->g, n)) {
        s->map[n->outputs[0]] = add_activation(s, n, output);
        return;
    }
    for (int i = 0; i < n->num_inputs; i++) {
        int v = n->inputs[i];
        bool param = v != AMG_NO_VALUE && s->g->values[v].kind == AMG_VALUE_PARAM;
        in[i] = v == AMG_NO_VALUE ? v
                : param ? use_param(s, v, conv && i == 1 ? s->edit->kernel_delta : 0)
                        : s->map[v];
    }
    s->map[n->outputs[0]] =
        conv ? add_conv(s, n, in, output)
             : amg_builder_node(s->b, n->op, n->name, in, n->num_inputs, n->attrs,
                                n->num_attrs, output);
}

/* Runs the stretch once more behind itself, with parameters of its own. */
static void copy_again(edit_state *s, const amg_region *r)
{
    for (int i = r->first_node; i <= r->last_node; i++)
        for (int j = 0; j < s->g->nodes[i].num_inputs; j++) {
            int v = s->g->nodes[i].inputs[j];
            if (v != AMG_NO_VALUE && s->g->values[v].kind == AMG_VALUE_PARAM)
                s->map[v] = AMG_NO_VALUE;
        }
    s->copy = s->edit->serial;
    s->map[r->from] = s->map[r->to];
    for (int i = r->first_node; i <= r->last_node; i++) copy_node(s, i);
    s->copy = 0;
}

amg_status amg_arch_apply(const amg_graph *g, const amg_arch_edit *edit,
                          amg_graph **out, amg_error *err)
{
    amg_status st = AMG_OK;
    edit_state s = {.g = g, .edit = edit, .b = amg_builder_new()};
    s.map = amg_calloc((size_t)g->num_values, sizeof *s.map);
    if (!s.b || !s.map) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory for its graph");
        goto done;
    }
    for (int i = 0; i < g->num_values; i++) s.map[i] = AMG_NO_VALUE;
    for (int i = 0; i < g->num_nodes; i++)
        if (g->nodes[i].num_inputs > 64 || g->nodes[i].num_outputs != 1) {
            st = amg_fail(
                err, AMG_UNSUPPORTED, -1, g->nodes[i].name,
                "a decoy cannot be made from a node with %d inputs and %d outputs",
                g->nodes[i].num_inputs, g->nodes[i].num_outputs);
            goto done;
        }
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *v = &g->values[g->inputs[i]];
        s.map[g->inputs[i]] =
            amg_builder_input(s.b, v->name, v->dtype, v->rank, v->dims);
    }
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_region *gone = edit->remove, *twice = edit->duplicate;
        if (gone && i >= gone->first_node && i <= gone->last_node) {
            s.map[gone->to] = s.map[gone->from];
            continue;
        }
        copy_node(&s, i);
        if (twice && i == twice->last_node) copy_again(&s, twice);
    }
    for (int i = 0; i < g->num_outputs; i++)
        amg_builder_output(s.b, s.map[g->outputs[i]]);
    st = amg_builder_finish(s.b, out, err);
done:
    amg_builder_free(s.b);
    amg_free(s.map);
    return st;
}
