/* See index_offsets.h; and the shape rules of its operators. */
#include "graph/index_offsets.h"

#include <string.h>

#include "graph/infer.h"

static bool is_of_elements(amg_op op)
{
    return op == AMG_OP_GATHER_ELEMENTS || op == AMG_OP_SCATTER_ELEMENTS;
}

void amg_index_init(amg_index *x, const amg_node *node, int rank, const int64_t *dims,
                    int index_rank, const int64_t *index_dims)
{
    *x = (amg_index){.elements = is_of_elements(node->op),
                     .rank = rank,
                     .index_rank = index_rank,
                     .count = 1,
                     .inner = 1};
    memcpy(x->dims, dims, (size_t)rank * sizeof *dims);
    memcpy(x->index_dims, index_dims, (size_t)index_rank * sizeof *dims);
    int64_t next = 1;
    for (int d = rank - 1; d >= 0; d--) {
        x->stride[d] = next;
        next *= dims[d];
    }
    if (x->elements) {
        x->axis = amg_axis_find(amg_attr_int(node, "axis", 0), rank);
        for (int d = 0; d < index_rank; d++) x->count *= index_dims[d];
        return;
    }
    x->batch_dims = (int)amg_attr_int(node, "batch_dims", 0);
    x->k = (int)index_dims[index_rank - 1];
    for (int d = 0; d < index_rank - 1; d++) x->count *= index_dims[d];
    for (int d = x->batch_dims + x->k; d < rank; d++) x->inner *= dims[d];
}

static int64_t entry(const void *index, amg_dtype dtype, int64_t i)
{
    return dtype == AMG_I64 ? ((const int64_t *)index)[i] : ((const int32_t *)index)[i];
}

/* An entry counts from the end if it is negative; -1: out of range. */
static int64_t place(int64_t at, int64_t dim)
{
    if (at < 0) at += dim;
    return at >= 0 && at < dim ? at : -1;
}

/* Offset of element or slice i, but for what the entries say. */
static int64_t own_offset(const amg_index *x, int64_t i)
{
    int64_t offset = 0;
    for (int d = x->index_rank - (x->elements ? 1 : 2); d >= 0; d--) {
        const int64_t at = i % x->index_dims[d];
        if (x->elements ? d != x->axis : d < x->batch_dims) offset += at * x->stride[d];
        i /= x->index_dims[d];
    }
    return offset;
}

bool amg_index_offsets(const amg_index *x, const void *index, amg_dtype dtype,
                       int64_t *offsets, int64_t *wrong)
{
    const int k = x->elements ? 1 : x->k, first = x->elements ? x->axis : x->batch_dims;
    for (int64_t i = 0; i < x->count; i++) {
        offsets[i] = own_offset(x, i);
        for (int j = 0; j < k; j++) {
            const int64_t at =
                place(entry(index, dtype, i * k + j), x->dims[first + j]);
            *wrong = i * k + j;
            if (at < 0) return false;
            offsets[i] += at * x->stride[first + j];
        }
    }
    return true;
}

/* ---- shape rules ---- */

static amg_status fail_index(const amg_infer *c, const amg_value *x,
                             const amg_value *index)
{
    char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
    return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                         "index %s does not name elements of %s",
                         amg_shape_text(index->dtype, index->rank, index->dims, a),
                         amg_shape_text(x->dtype, x->rank, x->dims, b));
}

static bool is_index(const amg_value *v)
{
    return v->dtype == AMG_I64 || v->dtype == AMG_I32;
}

/* Whether index names elements of x along the axis, as elements do. */
static bool fits_elements(const amg_infer *c, const amg_value *x,
                          const amg_value *index)
{
    const int axis = amg_axis_find(amg_attr_int(c->node, "axis", 0), x->rank);
    bool fits = axis >= 0 && x->rank == index->rank && is_index(index);
    for (int d = 0; fits && d < x->rank; d++)
        fits = d == axis || index->dims[d] == x->dims[d] ||
               (index->dims[d] >= 0 && index->dims[d] < x->dims[d]);
    return fits;
}

static bool fits_nd(const amg_infer *c, const amg_value *x, const amg_value *index)
{
    const int64_t b = amg_attr_int(c->node, "batch_dims", 0);
    if (index->rank < 1 || !is_index(index) || b < 0 || b >= index->rank) return false;
    const int64_t k = index->dims[index->rank - 1];
    bool fits = k >= 1 && b + k <= x->rank;
    for (int d = 0; fits && d < b; d++) fits = index->dims[d] == x->dims[d];
    return fits;
}

amg_status amg_infer_gather_elements(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *index = amg_infer_in(c, 1);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 || index->rank < 0) return AMG_OK;
    if (!fits_elements(c, x, index)) return fail_index(c, x, index);
    amg_infer_set(c, 0, x->dtype, index->rank, index->dims);
    return AMG_OK;
}

amg_status amg_infer_gather_nd(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *index = amg_infer_in(c, 1);
    int64_t dims[2 * AMG_MAX_RANK];
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 || index->rank < 0) return AMG_OK;
    if (!fits_nd(c, x, index)) return fail_index(c, x, index);
    int rank = 0;
    const int from =
        (int)(amg_attr_int(c->node, "batch_dims", 0) + index->dims[index->rank - 1]);
    for (int d = 0; d < index->rank - 1; d++) dims[rank++] = index->dims[d];
    for (int d = from; d < x->rank; d++) dims[rank++] = x->dims[d];
    if (rank > AMG_MAX_RANK)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err, "%d dims, at most %d",
                             rank, AMG_MAX_RANK);
    amg_infer_set(c, 0, x->dtype, rank, dims);
    return AMG_OK;
}

static bool is_reduction(const char *how)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(how, names[i]) == 0) return true;
    return false;
}

amg_status amg_infer_scatter(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *index = amg_infer_in(c, 1);
    const amg_value *updates = amg_infer_in(c, 2);
    const char *how = amg_attr_string(c->node, "reduction", "none");
    const bool elements = is_of_elements(c->node->op);
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (!is_reduction(how))
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "reduction is \"%.40s\", which ONNX has not", how);
    if (x->rank < 0 || index->rank < 0 || updates->rank < 0) return AMG_OK;
    bool fits = elements ? fits_elements(c, x, index) : fits_nd(c, x, index);
    if (!fits) return fail_index(c, x, index);
    const int lead = elements ? index->rank : index->rank - 1;
    const int from = elements ? x->rank : (int)index->dims[index->rank - 1];
    fits = updates->dtype == x->dtype && updates->rank == lead + x->rank - from;
    for (int d = 0; fits && d < updates->rank; d++)
        fits =
            updates->dims[d] == (d < lead ? index->dims[d] : x->dims[from + d - lead]);
    if (!fits) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "updates %s do not fit the index",
            amg_shape_text(updates->dtype, updates->rank, updates->dims, text));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}
