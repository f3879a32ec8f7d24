/* The other half of drop_mask.h: a Dropout whose draws count for several elements, in
 * operators that ONNX has. */
#include <string.h>

#include "graph/drop_mask.h"
#include "graph/replace.h"

static int add_value(const amg_replace *r, const amg_node *n, const char *suffix,
                     amg_op op, int num_inputs, const int *inputs, int num_attrs,
                     const amg_attr *attrs)
{
    char name[AMG_REPLACE_NAME];
    amg_replace_name(r, r->g->values[n->outputs[0]].name, suffix, name);
    return amg_builder_node(r->b, op, "", inputs, num_inputs, attrs, num_attrs, name);
}

/* The mask's dims but the first, as numbers. */
static int add_tail(const amg_replace *r, const amg_node *n)
{
    const amg_value *x = &r->g->values[n->inputs[0]];
    int64_t dims[AMG_MAX_RANK];
    char name[AMG_REPLACE_NAME];
    amg_tensor t = {.dtype = AMG_I64, .rank = 1, .dims = {x->rank - 1}};
    amg_drop_mask_dims(n, x, dims);
    amg_replace_name(r, r->g->values[n->outputs[0]].name, "tail", name);
    const int id = amg_builder_param(r->b, name, &t);
    amg_tensor *data = amg_builder_data(r->b, id);
    if (data) memcpy(data->data, dims + 1, data->size_bytes);
    return id;
}

static void add_parts(const amg_replace *r, const amg_node *n)
{
    const int x = r->map[n->inputs[0]];
    const amg_attr first[] = {amg_int("end", 1), amg_int("start", 0)};
    const amg_attr axis = amg_int("axis", 0);
    amg_attr one = {.name = "value", .kind = AMG_ATTR_TENSOR};
    float number = 1;
    one.tensor = (amg_tensor){.dtype = AMG_F32,
                              .rank = 1,
                              .dims = {1},
                              .size_bytes = sizeof number,
                              .data = &number};
    const int batch = add_value(r, n, "batch", AMG_OP_SHAPE, 1, &x, 2, first);
    const int shape = add_value(r, n, "shape", AMG_OP_CONCAT, 2,
                                (int[]){batch, add_tail(r, n)}, 1, &axis);
    const int ones =
        add_value(r, n, "ones", AMG_OP_CONSTANT_OF_SHAPE, 1, &shape, 1, &one);
    const int has_ratio = n->num_inputs > 1 && n->inputs[1] != AMG_NO_VALUE;
    const int drawn[] = {ones, has_ratio ? r->map[n->inputs[1]] : AMG_NO_VALUE};
    const int mask =
        add_value(r, n, "mask", AMG_OP_DROPOUT, 1 + has_ratio, drawn, 0, NULL);
    r->map[n->outputs[0]] =
        amg_builder_node(r->b, AMG_OP_MUL, n->name, (int[]){x, mask}, 2, NULL, 0,
                         r->g->values[n->outputs[0]].name);
}

/* A node without the attributes that ONNX has not. */
static amg_status copy_plain(const amg_replace *r, const amg_node *n, amg_error *err)
{
    amg_node plain = *n;
    if (n->op == AMG_OP_DROPOUT && !amg_drop_is_plain(n)) plain.num_attrs = 0;
    return amg_replace_copy(r, &plain, err);
}

static amg_status split(amg_replace *r, amg_graph **out, amg_error *err)
{
    const amg_graph *g = r->g;
    amg_replace_values(r, NULL);
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        amg_status s = AMG_OK;
        if (n->op == AMG_OP_DROPOUT && amg_attr_find(n, AMG_DROP_AXES))
            add_parts(r, n);
        else
            s = copy_plain(r, n, err);
        if (s) return s;
    }
    return amg_replace_finish(r, out, err);
}

amg_status amg_drop_masks_split(const amg_graph *g, amg_graph **out, amg_error *err)
{
    bool any = false;
    *out = NULL;
    for (int n = 0; n < g->num_nodes && !any; n++)
        any = g->nodes[n].op == AMG_OP_DROPOUT && !amg_drop_is_plain(&g->nodes[n]);
    if (!any) return AMG_OK;
    amg_replace r;
    amg_status s = amg_replace_init(&r, g, err);
    if (!s) s = split(&r, out, err);
    amg_replace_clear(&r);
    return s;
}
