/* See lower.h: Hardmax, and the mask of a Dropout. */
#include "base/alloc.h"
#include "graph/infer.h"
#include "graph/lower.h"

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

static int cast(amg_lower *l, int x, amg_dtype dtype)
{
    const amg_attr to = amg_int("to", amg_dtype_onnx(dtype));
    return amg_lower_node(l, AMG_OP_CAST, 1, &x, 1, &to);
}

/* ---- Hardmax: 1 at the first of the largest, 0 elsewhere ---- */

static void lower_hardmax(amg_lower *l, int *out)
{
    const amg_value *x = amg_lower_in(l->r->g, l->node, 0);
    const int axis = amg_axis_find(amg_attr_int(l->node, "axis", -1), x->rank);
    const amg_attr along = amg_int("axis", axis);
    const int64_t count = x->dims[axis];
    int64_t dims[AMG_MAX_RANK] = {count};
    int in = amg_lower_value(l, 0);
    int64_t *places = amg_calloc((size_t)count + 1, sizeof *places);
    if (!places) return; /* the output is missing: the builder says so */
    for (int64_t i = 0; i < count; i++) places[i] = i;
    for (int d = 1; d < x->rank - axis; d++) dims[d] = 1;
    int largest = amg_lower_node(l, AMG_OP_ARG_MAX, 1, &in, 1, &along);
    int all = amg_lower_constant(l, AMG_I64, x->rank - axis, dims, places);
    amg_free(places);
    out[0] = cast(l, amg_lower_binary(l, AMG_OP_EQUAL, largest, all), x->dtype);
}

const amg_lower_rule amg_lower_hardmax = {always, lower_hardmax};

/* ---- Dropout whose mask is read: x times what a Dropout makes of ones, of which the
 * mask says where it is not 0 ---- */

static bool gives_mask(const amg_graph *g, const amg_node *node)
{
    (void)g;
    return node->num_outputs > 1;
}

static void lower_dropout(amg_lower *l, int *out)
{
    const int x = amg_lower_value(l, 0);
    const int same = amg_lower_binary(l, AMG_OP_EQUAL, x, x);
    const int all =
        amg_lower_binary(l, AMG_OP_OR, same, amg_lower_unary(l, AMG_OP_IS_NAN, x));
    int in[2] = {cast(l, all, AMG_F32), amg_lower_value(l, 1)};
    int kept =
        amg_lower_node(l, AMG_OP_DROPOUT, in[1] == AMG_NO_VALUE ? 1 : 2, in, 0, NULL);
    out[0] = amg_lower_binary(l, AMG_OP_MUL, x, kept);
    out[1] = cast(l, kept, AMG_BOOL);
}

const amg_lower_rule amg_lower_dropout = {gives_mask, lower_dropout};
