/* Shape rule of Resize: from the constant scales or sizes. What of the modes can be
 * computed is the engine's business; that the batch and the channels keep their sizes
 * is checked here. */
#include <math.h>
#include <string.h>

#include "graph/infer.h"

/* The numbers of a constant F32 vector of n; NULL if v is none. */
static const float *find_floats(const amg_value *v, int n)
{
    if (!v || v->kind != AMG_VALUE_PARAM || !v->data.data || v->dtype != AMG_F32 ||
        v->rank != 1 || v->dims[0] != n)
        return NULL;
    return v->data.data;
}

static bool is_empty(const amg_value *v) { return v->rank == 1 && v->dims[0] == 0; }

/* Sizes of dims 2.. from `count` trailing numbers of sizes. */
static amg_status from_sizes(const amg_infer *c, const amg_value *sizes, int64_t *out,
                             int rank, bool *known)
{
    int64_t n[AMG_MAX_RANK];
    int count;
    *known = amg_value_ints(sizes, AMG_MAX_RANK, n, &count);
    if (!*known) return AMG_OK;
    if (count != rank)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "sizes are %d number%s, expected %d", count,
                             amg_plural(count), rank);
    for (int i = 0; i < rank; i++) {
        /* An exporter baked its own batch in: the batch's size stays what it is. */
        if (i == 0) continue;
        if (n[i] < 1 || n[i] > INT32_MAX || (i == 1 && n[i] != out[i]))
            return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                                 "sizes[%d] is %lld, expected the batch and channels "
                                 "kept and 1 to 2^31-1",
                                 i, (long long)n[i]);
        out[i] = n[i];
    }
    return AMG_OK;
}

static amg_status from_scales(const amg_infer *c, const amg_value *v, int64_t *out,
                              int rank, bool *known)
{
    const float *scales = find_floats(v, rank);
    *known = scales != NULL;
    for (int i = 0; *known && i < rank; i++) {
        double size = i < 2 ? 1 : floor((double)out[i] * (double)scales[i]);
        if (!(size >= 1 && size <= INT32_MAX) || (i < 2 && scales[i] != 1))
            return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                                 "scales[%d] is %g, expected the batch and channels "
                                 "kept and a size of 1 to 2^31-1",
                                 i, (double)scales[i]);
        if (i >= 2) out[i] = (int64_t)size;
    }
    return AMG_OK;
}

amg_status amg_infer_resize(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const amg_value *scales = amg_infer_find_in(c, 2), *sizes = amg_infer_find_in(c, 3);
    int64_t out[AMG_MAX_RANK];
    bool known = false;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0) return AMG_OK;
    if (x->rank < 3)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "input has %d dim%s, expected 3 or more", x->rank,
                             amg_plural(x->rank));
    memcpy(out, x->dims, sizeof out);
    amg_status s = AMG_OK;
    if (sizes && !is_empty(sizes))
        s = from_sizes(c, sizes, out, x->rank, &known);
    else if (scales && !is_empty(scales))
        s = from_scales(c, scales, out, x->rank, &known);
    else
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "has neither scales nor sizes, expected one");
    if (!s && known) amg_infer_set(c, 0, x->dtype, x->rank, out);
    return s;
}
