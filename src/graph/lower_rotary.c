/* See lower.h: RotaryEmbedding. The first R numbers of each head are pairs, (a, b),
 * which are turned by the position's angle:
 *
 *     (cos a - sin b, sin a + cos b)
 *
 * Pairs lie R/2 apart, or side by side (interleaved). N batch, H heads, S positions, D
 * size of a head: x [N,H,S,D], or [N,S,H,D] made of [N,S,H*D]. */
#include "graph/lower.h"

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

/* Table i of cosines or sines for each sample's positions, [N,S,R/2] with a dim of
 * heads. It is a constant, whatever Gather takes a table for. */
static int angles(amg_lower *l, int i, int64_t heads_at)
{
    int table = amg_lower_value(l, i);
    const amg_value *v = amg_lower_in(l->r->g, l->node, i);
    if (v->kind == AMG_VALUE_PARAM && v->said == AMG_SAID_NOTHING)
        amg_builder_say(l->r->b, table, AMG_SAID_CONSTANT);
    if (amg_lower_in(l->r->g, l->node, 3))
        table = amg_lower_binary(l, AMG_OP_GATHER, table, amg_lower_value(l, 3));
    return amg_lower_binary(l, AMG_OP_UNSQUEEZE, table,
                            amg_lower_ints(l, 1, &heads_at));
}

/* x[..., from:to:step] */
static int part(amg_lower *l, int x, int64_t from, int64_t to, int64_t step)
{
    int in[5] = {x, amg_lower_ints(l, 1, &from), amg_lower_ints(l, 1, &to),
                 amg_lower_ints(l, 1, &(int64_t){-1}), amg_lower_ints(l, 1, &step)};
    return amg_lower_node(l, AMG_OP_SLICE, 5, in, 0, NULL);
}

static int join(amg_lower *l, int a, int b)
{
    const amg_attr last = amg_int("axis", -1);
    return amg_lower_node(l, AMG_OP_CONCAT, 2, (int[]){a, b}, 1, &last);
}

/* a times c, plus or minus b times d */
static int combine(amg_lower *l, amg_op op, int a, int c, int b, int d)
{
    return amg_lower_binary(l, op, amg_lower_binary(l, AMG_OP_MUL, c, a),
                            amg_lower_binary(l, AMG_OP_MUL, d, b));
}

/* Two numbers side by side: [..., R/2] and [..., R/2] to [..., R]. */
static int interleave(amg_lower *l, int a, int b, const int64_t *dims, int64_t rotated)
{
    const int64_t whole[4] = {dims[0], dims[1], dims[2], rotated};
    const int last = amg_lower_ints(l, 1, &(int64_t){-1});
    a = amg_lower_binary(l, AMG_OP_UNSQUEEZE, a, last);
    b = amg_lower_binary(l, AMG_OP_UNSQUEEZE, b, last);
    return amg_lower_reshape(l, join(l, a, b), 4, whole);
}

static void lower_rotary(amg_lower *l, int *out)
{
    const amg_value *v = amg_lower_in(l->r->g, l->node, 0);
    const bool flat = v->rank == 3,
               pairs = amg_attr_int(l->node, "interleaved", 0) != 0;
    const int64_t heads = amg_attr_int(l->node, "num_heads", 1);
    const int64_t dims[4] = {v->dims[0], v->dims[1], flat ? heads : v->dims[2],
                             flat ? v->dims[2] / heads : v->dims[3]};
    int64_t R = amg_attr_int(l->node, "rotary_embedding_dim", 0);
    if (R == 0) R = dims[3];
    int x = amg_lower_value(l, 0);
    if (flat) x = amg_lower_reshape(l, x, 4, dims);
    const int cos = angles(l, 1, flat ? 2 : 1), sin = angles(l, 2, flat ? 2 : 1);
    const int a = pairs ? part(l, x, 0, R, 2) : part(l, x, 0, R / 2, 1);
    const int b = pairs ? part(l, x, 1, R, 2) : part(l, x, R / 2, R, 1);
    const int first = combine(l, AMG_OP_SUB, a, cos, b, sin);
    const int second = combine(l, AMG_OP_ADD, a, sin, b, cos);
    int y = pairs ? interleave(l, first, second, dims, R) : join(l, first, second);
    if (R < dims[3]) y = join(l, y, part(l, x, R, dims[3], 1));
    out[0] = flat ? amg_lower_reshape(l, y, 3, v->dims) : y;
}

const amg_lower_rule amg_lower_rotary = {always, lower_rotary};
