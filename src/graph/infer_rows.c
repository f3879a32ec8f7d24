/* Shape rules of operators that work along rows and keep the shape: LayerNormalization,
 * RMSNormalization, MeanVarianceNormalization, Softmax, LogSoftmax. */
#include "graph/infer.h"

static amg_status expect_float(const amg_infer *c, const amg_value *x)
{
    if (x->dtype == AMG_F32) return AMG_OK;
    return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err, "input is %s, expected F32",
                         amg_dtype_name(x->dtype));
}

amg_status amg_infer_layer_norm(const amg_infer *c)
{
    static const char *const names[] = {"input", "scale", "bias"};
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = expect_float(c, x);
    if (s || x->rank < 0) return s;
    int64_t given = amg_attr_int(c->node, "axis", -1);
    int axis = amg_axis_find(given, x->rank);
    if (axis < 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "axis %lld is out of range for rank %d", (long long)given,
                             x->rank);
    for (int i = 1; i < 3; i++) {
        const amg_value *v = amg_infer_find_in(c, i);
        if (!v || v->rank < 0) continue;
        bool fits = v->dtype == AMG_F32 && v->rank == x->rank - axis;
        for (int d = 0; fits && d < v->rank; d++)
            fits = v->dims[d] == x->dims[axis + d] && v->dims[d] != AMG_DIM_BATCH;
        if (fits) continue;
        char found[AMG_SHAPE_TEXT], wanted[AMG_SHAPE_TEXT];
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "%s is %s, expected %s", names[i],
            amg_shape_text(v->dtype, v->rank, v->dims, found),
            amg_shape_text(AMG_F32, x->rank - axis, x->dims + axis, wanted));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    int64_t rows[AMG_MAX_RANK]; /* of the mean and 1 / deviation */
    for (int d = 0; d < x->rank; d++) rows[d] = d < axis ? x->dims[d] : 1;
    for (int i = 1; i < c->node->num_outputs; i++)
        amg_infer_set(c, i, AMG_F32, x->rank, rows);
    return AMG_OK;
}

/* The axes are an attribute, or all but the second of four. */
amg_status amg_infer_mean_variance(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const amg_attr *axes = amg_infer_attr_ints(c, "axes");
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = expect_float(c, x);
    if (s || x->rank < 0) return s;
    bool fits = axes || x->rank == 4;
    for (int i = 0; axes && i < axes->count; i++)
        fits = fits && amg_axis_find(axes->ints[i], x->rank) >= 0;
    if (!fits)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "its axes are not those of %d dims", x->rank);
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}

amg_status amg_infer_softmax(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = expect_float(c, x);
    if (s || x->rank < 0) return s;
    int64_t axis = amg_attr_int(c->node, "axis", -1);
    if (amg_axis_find(axis, x->rank) < 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "axis %lld is out of range for rank %d", (long long)axis,
                             x->rank);
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}
