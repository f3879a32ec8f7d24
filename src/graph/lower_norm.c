/* See lower.h: normalisations that are a few reductions or another's, and the
 * statistics that a LayerNormalization may give. */
#include <math.h>

#include "graph/infer.h"
#include "graph/lower.h"

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

static int mean(amg_lower *l, int x, int count, const int64_t *axes)
{
    const amg_attr attr = amg_ints("axes", count, axes);
    return amg_lower_node(l, AMG_OP_REDUCE_MEAN, 1, &x, 1, &attr);
}

static int square(amg_lower *l, int x) { return amg_lower_binary(l, AMG_OP_MUL, x, x); }

/* ---- LpNormalization: x / |x| along the axis, 0 where that is 0 ---- */

static void lower_lp(amg_lower *l, int *out)
{
    const int64_t axis = amg_attr_int(l->node, "axis", -1);
    const bool one = amg_attr_int(l->node, "p", 2) == 1;
    const amg_attr axes = amg_ints("axes", 1, &axis);
    const int x = amg_lower_value(l, 0);
    int norm =
        amg_lower_node(l, one ? AMG_OP_REDUCE_L1 : AMG_OP_REDUCE_L2, 1, &x, 1, &axes);
    int none = amg_lower_binary(l, AMG_OP_EQUAL, norm, amg_lower_float(l, 0));
    int in[3] = {none, amg_lower_float(l, 1), norm};
    out[0] = amg_lower_binary(l, AMG_OP_DIV, x,
                              amg_lower_node(l, AMG_OP_WHERE, 3, in, 0, NULL));
}

const amg_lower_rule amg_lower_lp_norm = {always, lower_lp};

/* ---- LRN: x / (bias + alpha * mean of the squares of size channels)^beta ---- */

/* Whether it has channels and a window; else it stays, and the engine refuses it. */
static bool has_window(const amg_graph *g, const amg_node *node)
{
    return amg_lower_in(g, node, 0)->rank >= 3 && amg_attr_int(node, "size", 0) > 0;
}

/* The mean is a pooling over the channels as an image of one column a position. */
static void lower_lrn(amg_lower *l, int *out)
{
    const amg_value *v = amg_lower_in(l->r->g, l->node, 0);
    const int64_t size = amg_attr_int(l->node, "size", 0);
    int64_t rows[4] = {v->dims[0], 1, v->dims[1], 1};
    for (int d = 2; d < v->rank; d++) rows[3] *= v->dims[d];
    const int x = amg_lower_value(l, 0);
    const int image = amg_lower_reshape(l, square(l, x), 4, rows);
    const amg_attr pooling[] = {
        amg_ints("kernel_shape", 2, (int64_t[]){size, 1}),
        amg_ints("pads", 4, (int64_t[]){(size - 1) / 2, 0, size / 2, 0}),
        amg_int("count_include_pad", 1)};
    int base = amg_lower_node(l, AMG_OP_AVERAGE_POOL, 1, &image, 3, pooling);
    base = amg_lower_reshape(l, base, v->rank, v->dims);
    base =
        amg_lower_binary(l, AMG_OP_MUL, base,
                         amg_lower_float(l, amg_attr_float(l->node, "alpha", 1e-4f)));
    base = amg_lower_binary(l, AMG_OP_ADD, base,
                            amg_lower_float(l, amg_attr_float(l->node, "bias", 1)));
    base = amg_lower_binary(l, AMG_OP_POW, base,
                            amg_lower_float(l, amg_attr_float(l->node, "beta", 0.75f)));
    out[0] = amg_lower_binary(l, AMG_OP_DIV, x, base);
}

const amg_lower_rule amg_lower_lrn = {has_window, lower_lrn};

/* ---- MeanVarianceNormalization: (x - mean) / (deviation + 1e-9) ---- */

static void lower_mean_variance(amg_lower *l, int *out)
{
    static const int64_t usual[3] = {0, 2, 3};
    const amg_attr *given = amg_attr_find(l->node, "axes");
    const int64_t *axes = given ? given->ints : usual;
    const int count = given ? given->count : 3;
    const int x = amg_lower_value(l, 0);
    int centred = amg_lower_binary(l, AMG_OP_SUB, x, mean(l, x, count, axes));
    int deviation =
        amg_lower_unary(l, AMG_OP_SQRT, mean(l, square(l, centred), count, axes));
    deviation = amg_lower_binary(l, AMG_OP_ADD, deviation, amg_lower_float(l, 1e-9f));
    out[0] = amg_lower_binary(l, AMG_OP_DIV, centred, deviation);
}

const amg_lower_rule amg_lower_mean_variance = {always, lower_mean_variance};

/* ---- BatchNormalization of one row by its own statistics: of a weight ---- */

/* F.batch_norm(weight.reshape(1, out, -1), None, None, training=True): the statistics
 * are computed, and written for those who read the file in inference form. */
static bool is_of_one_row(const amg_graph *g, const amg_node *node)
{
    const amg_value *x = amg_lower_in(g, node, 0), *mean = amg_lower_in(g, node, 3);
    return x->rank > 2 && x->dims[0] == 1 && mean && mean->kind == AMG_VALUE_ACTIVATION;
}

static void lower_batch_norm(amg_lower *l, int *out)
{
    const amg_attr epsilon =
        amg_flt("epsilon", amg_attr_float(l->node, "epsilon", 1e-5f));
    const int in[3] = {amg_lower_value(l, 0), amg_lower_value(l, 1),
                       amg_lower_value(l, 2)};
    out[0] = amg_lower_node(l, AMG_OP_INSTANCE_NORM, 3, in, 1, &epsilon);
}

const amg_lower_rule amg_lower_batch_norm = {is_of_one_row, lower_batch_norm};

/* ---- LayerNormalization: mean and 1 / deviation as outputs 1 and 2 ---- */

static bool gives_statistics(const amg_graph *g, const amg_node *node)
{
    (void)g;
    return node->num_outputs > 1;
}

static void lower_layer_norm(amg_lower *l, int *out)
{
    const amg_value *v = amg_lower_in(l->r->g, l->node, 0);
    int64_t axes[AMG_MAX_RANK];
    int count = 0,
        in[3] = {amg_lower_value(l, 0), amg_lower_value(l, 1), amg_lower_value(l, 2)};
    for (int d = amg_axis_find(amg_attr_int(l->node, "axis", -1), v->rank); d < v->rank;
         d++)
        axes[count++] = d;
    out[0] = amg_lower_node(l, AMG_OP_LAYER_NORM, in[2] == AMG_NO_VALUE ? 2 : 3, in,
                            l->node->num_attrs, l->node->attrs);
    out[1] = mean(l, in[0], count, axes);
    int centred = amg_lower_binary(l, AMG_OP_SUB, in[0], out[1]);
    int variance = mean(l, square(l, centred), count, axes);
    const float epsilon = amg_attr_float(l->node, "epsilon", 1e-5f);
    variance = amg_lower_binary(l, AMG_OP_ADD, variance, amg_lower_float(l, epsilon));
    out[2] = amg_lower_unary(l, AMG_OP_RECIPROCAL,
                             amg_lower_unary(l, AMG_OP_SQRT, variance));
}

const amg_lower_rule amg_lower_layer_norm = {gives_statistics, lower_layer_norm};
