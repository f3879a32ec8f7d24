/* Shape rules of operators on images that no window slides over: CenterCropPad. */
#include <string.h>

#include "graph/infer.h"

/* shape names the dims of axes, or of all; the batch keeps its own. */
amg_status amg_infer_center_crop_pad(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0);
    const amg_attr *axes = amg_infer_attr_ints(c, "axes");
    int64_t shape[AMG_MAX_RANK], dims[AMG_MAX_RANK];
    int count;
    amg_infer_out(c, 0)->dtype = x->dtype;
    if (x->rank < 0 ||
        !amg_value_shape(amg_infer_in(c, 1), AMG_MAX_RANK, shape, &count))
        return AMG_OK;
    bool fits = count == (axes ? axes->count : x->rank);
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 0; fits && i < count; i++) {
        const int d = axes ? amg_axis_find(axes->ints[i], x->rank) : i;
        fits = d >= 0 && (dims[d] < 0 || (shape[i] >= 0 && dims[d] > 0));
        if (fits && dims[d] >= 0) dims[d] = shape[i];
    }
    if (!fits) {
        char text[AMG_SHAPE_TEXT];
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err, "a shape of %d number%s does not fit %s",
            count, amg_plural(count), amg_shape_text(x->dtype, x->rank, x->dims, text));
    }
    amg_infer_set(c, 0, x->dtype, x->rank, dims);
    return AMG_OK;
}
