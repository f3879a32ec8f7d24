/* Copying a graph into a builder, renamed or not, parameters by value or by view.
 * Consumes a finished graph; the copy's shapes are inferred anew from what its inputs
 * are mapped to. */
#include "graph/builder_private.h"

typedef struct {
    amg_rename_fn rename;
    void *context;
    bool view;
} copy_options;

static const char *new_name(const copy_options *o, const char *name)
{
    return o->rename ? o->rename(o->context, name) : name;
}

static int copy_param(amg_builder *b, const amg_value *v, const copy_options *o)
{
    const char *name = new_name(o, v->name);
    if (o->view || !v->data.data) return amg_builder_param_of(b, name, v);
    const int id = amg_builder_param(b, name, &v->data);
    amg_builder_say(b, id, v->said);
    return id;
}

/* rename may reuse one buffer, so each name is copied before the next is asked for. */
static bool copy_node(amg_builder *b, const amg_graph *src, const amg_node *node,
                      int *map, const copy_options *o)
{
    amg_arena *arena = &b->g->arena;
    char *name = amg_builder_text(b, new_name(o, node->name));
    int *inputs = amg_arena_array(arena, (size_t)node->num_inputs, sizeof *inputs);
    int *outputs = amg_arena_array(arena, (size_t)node->num_outputs, sizeof *outputs);
    const char **names =
        amg_arena_array(arena, (size_t)node->num_outputs, sizeof *names);
    if (!inputs || !outputs || !names) amg_builder_no_memory(b);
    if (!amg_builder_good(b) || !name) return false;
    for (int i = 0; i < node->num_inputs; i++)
        inputs[i] = node->inputs[i] < 0 ? AMG_NO_VALUE : map[node->inputs[i]];
    for (int i = 0; i < node->num_outputs; i++) {
        names[i] = amg_builder_text(b, new_name(o, src->values[node->outputs[i]].name));
        if (!names[i]) return false;
    }
    amg_builder_node_multi(b, node->op, name, inputs, node->num_inputs, node->attrs,
                           node->num_attrs, names, node->num_outputs, outputs);
    for (int i = 0; i < node->num_outputs; i++) map[node->outputs[i]] = outputs[i];
    return amg_builder_good(b);
}

static void copy_graph(amg_builder *b, const amg_graph *src, int *map,
                       const copy_options *o)
{
    for (int i = 0; i < src->num_values; i++)
        if (src->values[i].kind == AMG_VALUE_PARAM)
            map[i] = copy_param(b, &src->values[i], o);
    for (int i = 0; amg_builder_good(b) && i < src->num_nodes; i++)
        if (!copy_node(b, src, &src->nodes[i], map, o)) return;
}

void amg_builder_copy(amg_builder *b, const amg_graph *src, int *map,
                      amg_rename_fn rename, void *context)
{
    copy_graph(b, src, map, &(copy_options){.rename = rename, .context = context});
}

void amg_builder_copy_view(amg_builder *b, const amg_graph *src, int *map,
                           amg_rename_fn rename, void *context)
{
    copy_graph(b, src, map,
               &(copy_options){.rename = rename, .context = context, .view = true});
}
