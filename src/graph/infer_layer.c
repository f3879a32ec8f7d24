/* Shape rules of normalisations and matrix products, and what layers ask of operands.
 */
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"

amg_status amg_infer_expect_rank(const amg_infer *c, const char *what,
                                 const amg_value *v, int rank)
{
    char text[AMG_SHAPE_TEXT];
    if (v->rank == rank) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s is %s, expected %d dim%s",
                         what, amg_shape_text(v->dtype, v->rank, v->dims, text), rank,
                         amg_plural(rank));
}

amg_status amg_infer_expect_vector(const amg_infer *c, const char *what,
                                   const amg_value *v, int64_t n, amg_dtype dtype)
{
    char text[AMG_SHAPE_TEXT];
    if (!v || (v->rank == 1 && v->dims[0] == n && v->dtype == dtype)) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s is %s, expected %s[%lld]",
                         what, amg_shape_text(v->dtype, v->rank, v->dims, text),
                         amg_dtype_name(dtype), (long long)n);
}

amg_status amg_infer_expect_same_type(const amg_infer *c, const amg_value *x,
                                      const amg_value *w)
{
    if (x->dtype == w->dtype) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                         "input is %s and weight is %s, expected one type",
                         amg_dtype_name(x->dtype), amg_dtype_name(w->dtype));
}

amg_status amg_infer_batch_norm(const amg_infer *c)
{
    static const char *const names[] = {"input", "scale", "bias", "mean", "variance"};
    const amg_value *x = amg_infer_in(c, 0);
    for (int i = 0; i < c->node->num_outputs; i++)
        amg_infer_out(c, i)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (x->rank < 2) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected 2 or more dims",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    }
    for (int i = 1; i < 5; i++) {
        amg_status s = amg_infer_expect_vector(c, names[i], amg_infer_in(c, i),
                                               x->dims[1], x->dtype);
        if (s) return s;
    }
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    for (int i = 1; i < c->node->num_outputs; i++)
        amg_infer_set(c, i, x->dtype, 1, &x->dims[1]);
    return AMG_OK;
}

/* InstanceNormalization and GroupNormalization: scale and bias are one a channel (of
 * GroupNormalization since opset 21). */
amg_status amg_infer_channel_norm(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    char text[AMG_SHAPE_TEXT];
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (x->rank < 3)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected 3 or more dims",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    int64_t groups = c->node->op == AMG_OP_GROUP_NORM
                         ? amg_attr_int(c->node, "num_groups", 0)
                         : x->dims[1];
    if (groups < 1 || x->dims[1] % groups != 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "%lld groups do not divide the channels of %s",
                             (long long)groups,
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    amg_status s =
        amg_infer_expect_vector(c, "scale", amg_infer_in(c, 1), x->dims[1], x->dtype);
    if (!s)
        s = amg_infer_expect_vector(c, "bias", amg_infer_in(c, 2), x->dims[1],
                                    x->dtype);
    if (!s) amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return s;
}

/* The slope broadcasts to x, never the other way. */
amg_status amg_infer_prelu(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *slope = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    amg_status s = amg_infer_expect_same_type(c, x, slope);
    if (s || x->rank < 0 || slope->rank < 0) return s;
    int64_t dims[AMG_MAX_RANK];
    int rank = x->rank;
    memcpy(dims, x->dims, sizeof dims);
    bool fits = amg_dims_broadcast(dims, &rank, slope->dims, slope->rank) &&
                rank == x->rank &&
                memcmp(dims, x->dims, sizeof *dims * (size_t)rank) == 0;
    if (!fits) {
        char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "slope %s does not fit %s",
                             amg_shape_text(slope->dtype, slope->rank, slope->dims, a),
                             amg_shape_text(x->dtype, x->rank, x->dims, b));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}

amg_status amg_infer_gemm(const amg_infer *c)
{
    const amg_value *a = amg_infer_in(c, 0), *b = amg_infer_in(c, 1);
    const amg_value *bias = amg_infer_find_in(c, 2);
    amg_infer_out(c, 0)->dtype = a->dtype;
    amg_status s = amg_infer_expect_same_type(c, a, b);
    if (s) return s;
    if (a->rank < 0 || b->rank < 0) return AMG_OK;
    s = amg_infer_expect_rank(c, "weight", b, 2);
    if (!s) s = amg_infer_expect_rank(c, "input", a, 2);
    if (s) return s;

    const bool trans_a = amg_attr_int(c->node, "transA", 0) != 0;
    const bool trans_b = amg_attr_int(c->node, "transB", 0) != 0;
    char x[AMG_SHAPE_TEXT], w[AMG_SHAPE_TEXT];
    if (a->dims[!trans_a] != b->dims[trans_b])
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "weight %s%s does not fit input %s%s",
            amg_shape_text(b->dtype, 2, b->dims, w), trans_b ? " (transposed)" : "",
            amg_shape_text(a->dtype, 2, a->dims, x), trans_a ? " (transposed)" : "");
    int64_t out[2] = {a->dims[trans_a], b->dims[!trans_b]}, sum[2] = {out[0], out[1]};
    int rank = 2;
    if (bias && bias->rank >= 0 &&
        (!amg_dims_broadcast(sum, &rank, bias->dims, bias->rank > 2 ? 0 : bias->rank) ||
         bias->rank > 2 || sum[0] != out[0] || sum[1] != out[1]))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "bias %s does not fit output %s",
                             amg_shape_text(bias->dtype, bias->rank, bias->dims, w),
                             amg_shape_text(a->dtype, 2, out, x));
    amg_infer_set(c, 0, a->dtype, 2, out);
    return AMG_OK;
}

/* A vector on the left is a row, on the right a column, which the product then lacks.
 */
amg_status amg_infer_mat_mul(const amg_infer *c)
{
    const amg_value *a = amg_infer_in(c, 0), *b = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = a->dtype;
    amg_status s = amg_infer_expect_same_type(c, a, b);
    if (s) return s;
    if (a->rank < 0 || b->rank < 0) return AMG_OK;
    const bool row = a->rank == 1, column = b->rank == 1;
    int64_t out[AMG_MAX_RANK];
    int rank = row ? 0 : a->rank - 2;
    memcpy(out, a->dims, sizeof out);
    if (a->rank == 0 || b->rank == 0 ||
        a->dims[a->rank - 1] != b->dims[column ? 0 : b->rank - 2] ||
        !amg_dims_broadcast(out, &rank, b->dims, column ? 0 : b->rank - 2)) {
        char x[AMG_SHAPE_TEXT], y[AMG_SHAPE_TEXT];
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s does not multiply %s",
                             amg_shape_text(a->dtype, a->rank, a->dims, x),
                             amg_shape_text(b->dtype, b->rank, b->dims, y));
    }
    if (!row) out[rank++] = a->dims[a->rank - 2];
    if (!column) out[rank++] = b->dims[b->rank - 1];
    amg_infer_set(c, 0, a->dtype, rank, out);
    return AMG_OK;
}
