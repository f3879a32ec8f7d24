/* The graph as a container: freeing it, looking things up, inferring it as a whole.
 * What operators mean is infer.c's business. */
#include "graph/graph.h"

#include <string.h>

#include "base/alloc.h"
#include "graph/infer.h"

void amg_graph_free(amg_graph *g)
{
    if (!g) return;
    for (int i = 0; i < g->num_buffers; i++) amg_free_aligned(g->buffers[i]);
    amg_free(g->buffers);
    amg_arena_clear(&g->arena);
    amg_free(g);
}

int amg_graph_find_value(const amg_graph *g, const char *name)
{
    for (int i = 0; i < g->num_values; i++)
        if (strcmp(g->values[i].name, name) == 0) return i;
    return AMG_NO_VALUE;
}

const amg_attr *amg_attr_find(const amg_node *node, const char *name)
{
    for (int i = 0; i < node->num_attrs; i++)
        if (strcmp(node->attrs[i].name, name) == 0) return &node->attrs[i];
    return NULL;
}

int64_t amg_attr_int(const amg_node *node, const char *name, int64_t otherwise)
{
    const amg_attr *a = amg_attr_find(node, name);
    return a && a->kind == AMG_ATTR_INT ? a->i : otherwise;
}

float amg_attr_float(const amg_node *node, const char *name, float otherwise)
{
    const amg_attr *a = amg_attr_find(node, name);
    return a && a->kind == AMG_ATTR_FLOAT ? a->f : otherwise;
}

const char *amg_attr_string(const amg_node *node, const char *name,
                            const char *otherwise)
{
    const amg_attr *a = amg_attr_find(node, name);
    return a && a->kind == AMG_ATTR_STRING ? a->s : otherwise;
}

amg_status amg_graph_infer(amg_graph *g, amg_error *err)
{
    for (int i = 0; i < g->num_nodes; i++) {
        amg_status s = amg_infer_node(g->values, &g->nodes[i], err);
        if (s) return s;
    }
    return AMG_OK;
}
