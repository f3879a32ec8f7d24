/* See lower.h: the table of rules, the pass over the graph, and what rules build with.
 */
#include "graph/lower.h"

#include "graph/linear.h"

#include <stdio.h>
#include <string.h>

#define MAX_OUTPUTS 4

const amg_lower_rule *amg_lower_rule_get(amg_op op)
{
    switch (op) {
    case AMG_OP_DEPTH_TO_SPACE:
    case AMG_OP_SPACE_TO_DEPTH: return &amg_lower_depth_to_space;
    case AMG_OP_ONE_HOT: return &amg_lower_one_hot;
    case AMG_OP_RESIZE: return &amg_lower_resize;
    case AMG_OP_MAX_POOL: return &amg_lower_max_pool;
    case AMG_OP_DEFORM_CONV: return &amg_lower_deform_conv;
    case AMG_OP_CAUSAL_CONV: return &amg_lower_causal_conv;
    case AMG_OP_REVERSE_SEQUENCE: return &amg_lower_reverse_sequence;
    case AMG_OP_PAD: return &amg_lower_pad;
    case AMG_OP_GATHER: return &amg_lower_gather;
    case AMG_OP_TOP_K: return &amg_lower_top_k;
    case AMG_OP_MUL: return &amg_lower_activation;
    case AMG_OP_MAT_MUL: return &amg_lower_mat_mul;
    case AMG_OP_GEMM: return &amg_lower_gemm;
    case AMG_OP_EINSUM: return &amg_lower_einsum;
    case AMG_OP_LAYER_NORM: return &amg_lower_layer_norm;
    case AMG_OP_BATCH_NORM: return &amg_lower_batch_norm;
    case AMG_OP_LP_NORM: return &amg_lower_lp_norm;
    case AMG_OP_LRN: return &amg_lower_lrn;
    case AMG_OP_MEAN_VARIANCE_NORM: return &amg_lower_mean_variance;
    case AMG_OP_LP_POOL: return &amg_lower_lp_pool;
    case AMG_OP_GLOBAL_LP_POOL: return &amg_lower_global_lp_pool;
    case AMG_OP_CENTER_CROP_PAD: return &amg_lower_center_crop_pad;
    case AMG_OP_AFFINE_GRID: return &amg_lower_affine_grid;
    case AMG_OP_ROTARY_EMBEDDING: return &amg_lower_rotary;
    case AMG_OP_HARDMAX: return &amg_lower_hardmax;
    case AMG_OP_DROPOUT: return &amg_lower_dropout;
    case AMG_OP_ATTENTION: return &amg_lower_attention;
    default: return NULL;
    }
}

const amg_value *amg_lower_in(const amg_graph *g, const amg_node *node, int i)
{
    if (i >= node->num_inputs || node->inputs[i] == AMG_NO_VALUE) return NULL;
    return &g->values[node->inputs[i]];
}

int amg_lower_value(const amg_lower *l, int i)
{
    if (i >= l->node->num_inputs || l->node->inputs[i] == AMG_NO_VALUE)
        return AMG_NO_VALUE;
    return l->r->map[l->node->inputs[i]];
}

bool amg_lower_is_weight(const amg_graph *g, const amg_value *v)
{
    return v->kind == AMG_VALUE_PARAM ||
           (v->kind == AMG_VALUE_ACTIVATION &&
            amg_linear_is_transposed_weight(g->values, &g->nodes[v->producer]));
}

amg_value amg_lower_shape(const amg_lower *l, int value)
{
    const amg_value *v = amg_builder_value(l->r->b, value);
    return v && v->rank >= 0 ? *v : (amg_value){0};
}

void amg_lower_name(amg_lower *l, char name[AMG_REPLACE_NAME])
{
    char suffix[32];
    (void)snprintf(suffix, sizeof suffix, "part%d", l->num_made++);
    amg_replace_name(l->r, l->r->g->values[l->node->outputs[0]].name, suffix, name);
}

int amg_lower_constant(amg_lower *l, amg_dtype dtype, int rank, const int64_t *dims,
                       const void *data)
{
    char name[AMG_REPLACE_NAME];
    amg_tensor t = {.dtype = dtype, .rank = rank};
    amg_lower_name(l, name);
    if (rank) memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    int id = amg_builder_param(l->r->b, name, &t);
    amg_tensor *made = amg_builder_data(l->r->b, id);
    if (made) memcpy(made->data, data, made->size_bytes);
    amg_builder_say(l->r->b, id, AMG_SAID_CONSTANT);
    return id;
}

int amg_lower_ints(amg_lower *l, int count, const int64_t *v)
{
    const int64_t dims[1] = {count};
    return amg_lower_constant(l, AMG_I64, count >= 0, dims, v);
}

int amg_lower_float(amg_lower *l, float v)
{
    return amg_lower_constant(l, AMG_F32, 0, NULL, &v);
}

int amg_lower_node(amg_lower *l, amg_op op, int num_inputs, const int *inputs,
                   int num_attrs, const amg_attr *attrs)
{
    char name[AMG_REPLACE_NAME];
    amg_lower_name(l, name);
    return amg_builder_node(l->r->b, op, name, inputs, num_inputs, attrs, num_attrs,
                            name);
}

int amg_lower_unary(amg_lower *l, amg_op op, int x)
{
    return amg_lower_node(l, op, 1, &x, 0, NULL);
}

int amg_lower_binary(amg_lower *l, amg_op op, int a, int b)
{
    return amg_lower_node(l, op, 2, (int[]){a, b}, 0, NULL);
}

int amg_lower_reshape(amg_lower *l, int x, int rank, const int64_t *dims)
{
    int64_t target[AMG_MAX_RANK];
    for (int i = 0; i < rank; i++) target[i] = dims[i] < 0 ? -1 : dims[i];
    return amg_lower_binary(l, AMG_OP_RESHAPE, x, amg_lower_ints(l, rank, target));
}

int amg_lower_transpose(amg_lower *l, int x, int rank, const int64_t *perm)
{
    const amg_attr attr = amg_ints("perm", rank, perm);
    return amg_lower_node(l, AMG_OP_TRANSPOSE, 1, &x, 1, &attr);
}

/* ---- the pass ---- */

static const amg_lower_rule *find_rule(const amg_graph *g, const amg_node *node)
{
    const amg_lower_rule *rule = amg_lower_rule_get(node->op);
    if (!rule) return NULL;
    for (int i = 0; i < node->num_inputs; i++) {
        const amg_value *v = amg_lower_in(g, node, i);
        if (v && v->rank < 0) return NULL;
    }
    if (g->values[node->outputs[0]].rank < 0) return NULL;
    return rule->applies(g, node) ? rule : NULL;
}

/* An Identity gives a result the name that the node gave it; folding removes it. */
static void write_anew(amg_replace *r, const amg_node *node, const amg_lower_rule *rule)
{
    amg_lower l = {.r = r, .node = node};
    int out[MAX_OUTPUTS];
    for (int i = 0; i < MAX_OUTPUTS; i++) out[i] = AMG_NO_VALUE;
    rule->lower(&l, out);
    for (int i = 0; i < node->num_outputs && i < MAX_OUTPUTS; i++) {
        r->map[node->outputs[i]] = AMG_NO_VALUE;
        if (out[i] != AMG_NO_VALUE)
            r->map[node->outputs[i]] =
                amg_builder_node(r->b, AMG_OP_IDENTITY, node->name, &out[i], 1, NULL, 0,
                                 r->g->values[node->outputs[i]].name);
    }
}

static amg_status rewrite(amg_replace *r, amg_graph **out, amg_error *err)
{
    const amg_graph *g = r->g;
    amg_replace_values(r, NULL);
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_lower_rule *rule = find_rule(g, &g->nodes[n]);
        amg_status s = AMG_OK;
        if (rule)
            write_anew(r, &g->nodes[n], rule);
        else
            s = amg_replace_copy(r, &g->nodes[n], err);
        if (s) return s;
    }
    return amg_replace_finish(r, out, err);
}

amg_status amg_lower_rewrite(const amg_graph *g, amg_graph **out, amg_error *err)
{
    bool any = false;
    *out = NULL;
    for (int n = 0; n < g->num_nodes && !any; n++)
        any = find_rule(g, &g->nodes[n]) != NULL;
    if (!any) return AMG_OK;
    amg_replace r;
    amg_status s = amg_replace_init(&r, g, err);
    if (!s) s = rewrite(&r, out, err);
    amg_replace_clear(&r);
    return s;
}
