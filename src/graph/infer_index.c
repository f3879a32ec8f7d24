/* Shape rules of operators that take elements by index or by blocks: OneHot,
 * DepthToSpace, SpaceToDepth. */
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"

amg_status amg_infer_depth_to_space(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const bool to_depth = c->node->op == AMG_OP_SPACE_TO_DEPTH;
    const int64_t b = amg_attr_int(c->node, "blocksize", 0);
    const char *mode = amg_attr_string(c->node, "mode", "DCR");
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (strcmp(mode, "DCR") != 0 && strcmp(mode, "CRD") != 0)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "mode is \"%.40s\", expected \"DCR\" or \"CRD\"", mode);
    if (x->rank < 0) return AMG_OK;
    int64_t area, dims[4];
    bool fits = x->rank == 4 && b > 0 && amg_mul_i64(b, b, &area) && x->dims[1] >= 0 &&
                x->dims[2] >= 0 && x->dims[3] >= 0;
    if (fits && to_depth)
        fits = x->dims[2] % b == 0 && x->dims[3] % b == 0 &&
               amg_mul_i64(x->dims[1], area, &dims[1]);
    else if (fits)
        fits = x->dims[1] % area == 0 && amg_mul_i64(x->dims[2], b, &dims[2]) &&
               amg_mul_i64(x->dims[3], b, &dims[3]);
    if (!fits) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "%s is not made of blocks of %lld",
            amg_shape_text(x->dtype, x->rank, x->dims, text), (long long)b);
    }
    dims[0] = x->dims[0];
    if (to_depth) {
        dims[2] = x->dims[2] / b;
        dims[3] = x->dims[3] / b;
    } else {
        dims[1] = x->dims[1] / area;
    }
    amg_infer_set(c, 0, x->dtype, 4, dims);
    return AMG_OK;
}

/* One number, whole, of any type that ONNX allows; false: not constant. */
static bool read_depth(const amg_value *v, int64_t *depth)
{
    int count;
    if (amg_value_ints(v, 1, depth, &count)) return count == 1;
    if (v->kind != AMG_VALUE_PARAM || !v->data.data || v->dtype != AMG_F32 ||
        amg_tensor_count(&v->data) != 1)
        return false;
    const float number = *(const float *)v->data.data;
    if (!(number >= 0 && number < 0x1p30f)) return false;
    *depth = (int64_t)number;
    return true;
}

amg_status amg_infer_one_hot(const amg_infer *c)
{
    const amg_value *index = amg_infer_in(c, 0), *values = amg_infer_in(c, 2);
    const int64_t given = amg_attr_int(c->node, "axis", -1);
    int64_t dims[AMG_MAX_RANK], depth;
    amg_infer_out(c, 0)->dtype = values->dtype;
    if (index->rank < 0 || values->rank < 0 || !read_depth(amg_infer_in(c, 1), &depth))
        return AMG_OK;
    const int rank = index->rank + 1, axis = amg_axis_find(given, rank);
    if (axis < 0 || rank > AMG_MAX_RANK || depth < 0 || values->rank != 1 ||
        values->dims[0] != 2)
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err,
            "axis %lld of %d dims with depth %lld, expected an axis in "
            "range, and two values",
            (long long)given, rank, (long long)depth);
    for (int i = 0; i < rank; i++)
        dims[i] = i == axis ? depth : index->dims[i < axis ? i : i - 1];
    amg_infer_set(c, 0, values->dtype, rank, dims);
    return AMG_OK;
}

/* One of the first two dims is of samples, the other of their elements. */
amg_status amg_infer_reverse_sequence(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *counts = amg_infer_in(c, 1);
    const int64_t samples = amg_attr_int(c->node, "batch_axis", 1);
    const int64_t time = amg_attr_int(c->node, "time_axis", 0);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (samples + time != 1 || samples * time != 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "batch_axis is %lld and time_axis %lld, expected 0 and 1, "
                             "or 1 and 0",
                             (long long)samples, (long long)time);
    if (x->rank < 0 || counts->rank < 0) return AMG_OK;
    char text[AMG_SHAPE_TEXT];
    if (x->rank < 2 || counts->dtype != AMG_I64 || counts->rank != 1 ||
        counts->dims[0] != x->dims[samples])
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err,
            "lengths are %s, expected I64 of one for each sample of the input",
            amg_shape_text(counts->dtype, counts->rank, counts->dims, text));
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}
