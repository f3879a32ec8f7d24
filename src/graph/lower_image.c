/* See lower.h: CenterCropPad, AffineGrid, pools of norms and of bytes. */
#include "base/alloc.h"
#include "graph/lower.h"
#include "graph/window.h"

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

/* ---- CenterCropPad: zeros around what is short, then a cut of what is long ---- */

static void lower_center_crop_pad(amg_lower *l, int *out)
{
    const amg_value *x = amg_lower_in(l->r->g, l->node, 0);
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    int64_t pads[2 * AMG_MAX_RANK] = {0}, from[AMG_MAX_RANK], to[AMG_MAX_RANK],
                     axes[AMG_MAX_RANK];
    int num_cuts = 0, num_pads = 0, id = amg_lower_value(l, 0);
    for (int d = 0; d < x->rank; d++) {
        const int64_t more = y->dims[d] - x->dims[d];
        if (more > 0) {
            pads[d] = more / 2;
            pads[x->rank + d] = more - more / 2;
            num_pads++;
        } else if (more < 0) {
            from[num_cuts] = -more / 2;
            to[num_cuts] = from[num_cuts] + y->dims[d];
            axes[num_cuts++] = d;
        }
    }
    if (num_pads)
        id = amg_lower_binary(l, AMG_OP_PAD, id, amg_lower_ints(l, 2 * x->rank, pads));
    if (num_cuts) {
        int in[4] = {id, amg_lower_ints(l, num_cuts, from),
                     amg_lower_ints(l, num_cuts, to),
                     amg_lower_ints(l, num_cuts, axes)};
        id = amg_lower_node(l, AMG_OP_SLICE, 4, in, 0, NULL);
    }
    out[0] = id;
}

const amg_lower_rule amg_lower_center_crop_pad = {always, lower_center_crop_pad};

/* ---- AffineGrid: places of all positions, times theta ---- */

/* Position i of n from -1 to 1, the middles of the first and the last, or their edges;
 * in the arithmetic of torch.linspace. */
static float place_of(int64_t i, int64_t n, bool align)
{
    if (n == 1) return 0;
    const float step = 2 / (float)(n - 1);
    const float place =
        i < n / 2 ? -1 + step * (float)i : 1 - step * (float)(n - 1 - i);
    return align ? place : place * (float)(n - 1) / (float)n;
}

/* Rows of places with a 1 behind, [P,dims+1], for all P positions; the last dim's place
 * comes first. */
static int make_places(amg_lower *l, int dims, const int64_t *size, int64_t rows)
{
    const bool align = amg_attr_int(l->node, "align_corners", 0) != 0;
    const int64_t shape[2] = {rows, dims + 1};
    float *places = amg_calloc((size_t)(rows * (dims + 1)), sizeof *places);
    if (!places) return AMG_NO_VALUE;
    for (int64_t r = 0; r < rows; r++) {
        int64_t rest = r;
        for (int d = dims - 1; d >= 0; rest /= size[d--])
            places[r * (dims + 1) + dims - 1 - d] =
                place_of(rest % size[d], size[d], align);
        places[r * (dims + 1) + dims] = 1;
    }
    const int id = amg_lower_constant(l, AMG_F32, 2, shape, places);
    amg_free(places);
    return id;
}

static void lower_affine_grid(amg_lower *l, int *out)
{
    static const int64_t turned[3] = {0, 2, 1};
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    const int dims = y->rank - 2;
    int64_t rows = 1;
    for (int d = 0; d < dims; d++) rows *= y->dims[1 + d];
    const int theta = amg_lower_transpose(l, amg_lower_value(l, 0), 3, turned);
    const int places = make_places(l, dims, y->dims + 1, rows);
    out[0] = amg_lower_reshape(l, amg_lower_binary(l, AMG_OP_MAT_MUL, places, theta),
                               y->rank, y->dims);
}

const amg_lower_rule amg_lower_affine_grid = {always, lower_affine_grid};

/* ---- LpPool, GlobalLpPool: the p-th root of sums of |x|^p ---- */

/* |x|^p */
static int power(amg_lower *l, int x, int64_t p)
{
    if (p == 2) return amg_lower_binary(l, AMG_OP_MUL, x, x);
    x = amg_lower_unary(l, AMG_OP_ABS, x);
    return p == 1 ? x
                  : amg_lower_binary(l, AMG_OP_POW, x, amg_lower_float(l, (float)p));
}

static int root(amg_lower *l, int x, int64_t p)
{
    if (p == 1) return x;
    if (p == 2) return amg_lower_unary(l, AMG_OP_SQRT, x);
    return amg_lower_binary(l, AMG_OP_POW, x,
                            amg_lower_float(l, (float)(1.0 / (double)p)));
}

/* The sums are means of windows, pads counted in, times the window's size. */
static void lower_lp_pool(amg_lower *l, int *out)
{
    const amg_value *x = amg_lower_in(l->r->g, l->node, 0);
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    const int64_t p = amg_attr_int(l->node, "p", 2);
    int64_t pads[2 * AMG_MAX_SPATIAL], size = 1;
    amg_window w;
    if (amg_window_read(l->node, x, NULL, &w, NULL)) return; /* its shape rule saw it */
    for (int i = 0; i < w.num_dims; i++) {
        const int64_t end = amg_window_end(&w, i, x->dims[2 + i], y->dims[2 + i]);
        pads[i] = w.begin[i];
        pads[w.num_dims + i] = end > 0 ? end : 0;
        size *= w.kernel[i];
    }
    const amg_attr attrs[] = {amg_ints("dilations", w.num_dims, w.dilation),
                              amg_ints("kernel_shape", w.num_dims, w.kernel),
                              amg_ints("pads", 2 * w.num_dims, pads),
                              amg_ints("strides", w.num_dims, w.stride),
                              amg_int("count_include_pad", 1)};
    int sum = power(l, amg_lower_value(l, 0), p);
    sum = amg_lower_node(l, AMG_OP_AVERAGE_POOL, 1, &sum, 5, attrs);
    sum = amg_lower_binary(l, AMG_OP_MUL, sum, amg_lower_float(l, (float)size));
    out[0] = root(l, sum, p);
}

const amg_lower_rule amg_lower_lp_pool = {always, lower_lp_pool};

static void lower_global_lp_pool(amg_lower *l, int *out)
{
    const amg_value *x = amg_lower_in(l->r->g, l->node, 0);
    const int64_t p = amg_attr_int(l->node, "p", 2);
    int64_t axes[AMG_MAX_RANK];
    const int count = x->rank - 2;
    for (int i = 0; i < count; i++) axes[i] = 2 + i;
    if (p == 1 || p == 2) { /* the norms, whose slope at 0 is 0 */
        const amg_attr attr = amg_ints("axes", count, axes);
        const int in = amg_lower_value(l, 0);
        out[0] = amg_lower_node(l, p == 1 ? AMG_OP_REDUCE_L1 : AMG_OP_REDUCE_L2, 1, &in,
                                1, &attr);
        return;
    }
    int sum = amg_lower_binary(l, AMG_OP_REDUCE_SUM, power(l, amg_lower_value(l, 0), p),
                               amg_lower_ints(l, count, axes));
    out[0] = root(l, sum, p);
}

const amg_lower_rule amg_lower_global_lp_pool = {always, lower_global_lp_pool};

/* ---- MaxPool of bytes: of the same numbers as floats ---- */

static bool reads_bytes(const amg_graph *g, const amg_node *node)
{
    const amg_dtype dtype = amg_lower_in(g, node, 0)->dtype;
    return dtype == AMG_U8 || dtype == AMG_I8;
}

static int cast(amg_lower *l, int x, amg_dtype dtype)
{
    const amg_attr to = amg_int("to", amg_dtype_onnx(dtype));
    return amg_lower_node(l, AMG_OP_CAST, 1, &x, 1, &to);
}

static void lower_max_pool(amg_lower *l, int *out)
{
    const amg_node *n = l->node;
    const int x = cast(l, amg_lower_value(l, 0), AMG_F32);
    const int y = amg_lower_node(l, AMG_OP_MAX_POOL, 1, &x, n->num_attrs, n->attrs);
    out[0] = cast(l, y, amg_lower_in(l->r->g, n, 0)->dtype);
}

const amg_lower_rule amg_lower_max_pool = {reads_bytes, lower_max_pool};
