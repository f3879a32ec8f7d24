/* GatherElements, GatherND, ScatterElements and ScatterND by a constant index or an
 * activation, in row-major memory; and Trilu. Offsets come first (index_offsets.h),
 * then slices are copied one after the other, so that of those that name one element
 * the last one stays, and sums have one order.
 *
 *     gather    y[i] = x[at i]                    dx[at i] += dy[i]
 *     scatter   y = x, y[at i] = or += update[i]   dx = dy, 0 at all that is replaced;
 *                                                 dupdate[i] = dy[at i]
 *
 * Reductions by mul, max and min are kernel_scatter.c's. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel_index.h"

typedef amg_indexing state;

/* ptr: offsets, the index unless it is constant. */
static void run_offsets(const amg_call *call)
{
    const state *s = call->self;
    const void *index = s->constant ? s->constant : call->ptr[1];
    int64_t wrong;
    if (!amg_index_offsets(&s->index, index, s->dtype, call->ptr[0], &wrong)) {
        memset(call->ptr[0], 0, sizeof(int64_t) * (size_t)s->index.count);
        *call->status =
            amg_fail(call->err, AMG_INVALID, -1, s->where,
                     "entry %lld of the index is out of range", (long long)wrong);
    }
}

/* ptr: to, from, offsets. */
static void run_gather(const amg_call *call)
{
    const state *s = call->self;
    const int64_t *at = call->ptr[2];
    const size_t bytes = s->size * (size_t)s->index.inner;
    for (int64_t i = 0; i < s->index.count; i++)
        memcpy((char *)call->ptr[0] + (size_t)i * bytes,
               (const char *)call->ptr[1] + (size_t)at[i] * s->size, bytes);
}

static void add_slices(const state *s, float *to, const float *from, const int64_t *at)
{
    for (int64_t i = 0; i < s->index.count; i++)
        for (int64_t k = 0; k < s->index.inner; k++)
            to[at[i] + k] += from[i * s->index.inner + k];
}

/* ptr: dx, dy, offsets. */
static void run_gather_backward(const amg_call *call)
{
    const state *s = call->self;
    memset(call->ptr[0], 0, sizeof(float) * (size_t)s->total);
    add_slices(s, call->ptr[0], call->ptr[1], call->ptr[2]);
}

/* ptr: y, x, updates, offsets. */
static void run_scatter(const amg_call *call)
{
    const state *s = call->self;
    const int64_t *at = call->ptr[3], inner = s->index.inner;
    float *y = call->ptr[0];
    const float *updates = call->ptr[2];
    memcpy(y, call->ptr[1], sizeof(float) * (size_t)s->total);
    if (s->how != AMG_SCATTER_REPLACE) {
        if (s->how == AMG_SCATTER_ADD)
            add_slices(s, y, updates, at);
        else
            amg_scatter_combine(s, y, updates, at);
        return;
    }
    for (int64_t i = 0; i < s->index.count; i++)
        memcpy(y + at[i], updates + i * inner, sizeof(float) * (size_t)inner);
}

/* ptr: dx, dy, offsets. */
static void run_scatter_backward(const amg_call *call)
{
    const state *s = call->self;
    const int64_t *at = call->ptr[2];
    float *dx = call->ptr[0];
    memcpy(dx, call->ptr[1], sizeof(float) * (size_t)s->total);
    for (int64_t i = 0; i < s->index.count && s->how == AMG_SCATTER_REPLACE; i++)
        memset(dx + at[i], 0, sizeof(float) * (size_t)s->index.inner);
}

static int read_plain(amg_plan *p, int node, int i)
{
    int value = amg_plan_input_value(p, node, i);
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

/* The node's state and the step that finds offsets; NULL after a failure. */
static state *begin(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *index = amg_plan_value(p, n->inputs[1]);
    const amg_tensor *t = amg_plan_constant(p, n->inputs[1]);
    state *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return NULL;
    amg_index_init(&s->index, n, x->rank, x->dims, index->rank, index->dims);
    s->dtype = index->dtype;
    s->constant = t ? t->data : NULL;
    s->size = amg_dtype_size(x->dtype);
    s->total = 1;
    for (int d = 0; d < x->rank; d++) s->total *= x->dims[d];
    s->how = amg_scatter_how(n);
    s->where = amg_plan_where(p, node);
    if (s->index.count * s->index.inner * s->total == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "it has no elements");
    s->offsets = amg_plan_temp(p, sizeof(int64_t) * (size_t)s->index.count);
    p->nodes[node].self = s;
    int buffers[2] = {s->offsets};
    if (!t) buffers[1] = read_plain(p, node, 1);
    amg_emit_kernel(p, node, "offsets", run_offsets, s, t ? 1 : 2, buffers);
    return p->status ? NULL : s;
}

void amg_gather_index_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    state *s = begin(p, node);
    if (!s) return;
    int in = read_plain(p, node, 0);
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "gather", run_gather, s, 3, (int[]){out, in, s->offsets});
}

static void give(amg_plan *p, int node, int i, const char *what, amg_kernel_fn fn)
{
    const state *s = p->nodes[node].self;
    const int value = amg_plan_input_value(p, node, i);
    if (!amg_plan_needs_grad(p, value)) return;
    const amg_layout *plain = amg_plan_plain(p, value);
    int dy = amg_plan_grad(p, node, NULL);
    int d = amg_plan_grad_target(p, value, plain);
    amg_emit_kernel(p, node, what, fn, s, 3, (int[]){d, dy, s->offsets});
    amg_plan_give_grad(p, node, value, d, plain);
}

void amg_gather_index_backward(amg_plan *p, int node)
{
    give(p, node, 0, "gather backward", run_gather_backward);
}

void amg_scatter_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    if (amg_plan_value(p, n->inputs[0])->dtype != AMG_F32) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "input is not F32");
        return;
    }
    state *s = begin(p, node);
    if (!s) return;
    int in[2] = {read_plain(p, node, 0), read_plain(p, node, 2)};
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "scatter", run_scatter, s, 4,
                    (int[]){out, in[0], in[1], s->offsets});
}

void amg_scatter_backward(amg_plan *p, int node)
{
    const state *s = p->nodes[node].self;
    if (s->how != AMG_SCATTER_REPLACE && s->how != AMG_SCATTER_ADD) {
        amg_scatter_reduced_backward(p, node, s);
        return;
    }
    give(p, node, 0, "scatter d-data", run_scatter_backward);
    give(p, node, 2, "scatter d-updates", run_gather);
}

/* ---- Trilu ------------------------------------------------------------------------
 */

typedef struct {
    int64_t rows, columns, total, k; /* rows of one matrix, and of all */
    bool upper;
} triangle;

typedef struct {
    const triangle *s;
    float *dst;
    const float *src;
} context;

static void triangle_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const triangle *s = c->s;
    for (int64_t r = begin; r < end; r++) {
        const int64_t first = r % s->rows + s->k; /* the column on the diagonal */
        const float *x = c->src + r * s->columns;
        float *y = c->dst + r * s->columns;
        for (int64_t i = 0; i < s->columns; i++)
            y[i] = (s->upper ? i >= first : i <= first) ? x[i] : 0;
    }
}

static void run_triangle(const amg_call *call)
{
    const triangle *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->total, 4096 / s->columns + 1, triangle_range, &c);
}

void amg_trilu_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const int given = amg_plan_input_value(p, node, 1);
    triangle *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    if (x->dtype != AMG_F32 || x->rank < 2 ||
        (given != AMG_NO_VALUE && amg_plan_ints(p, given, 1, &s->k) != 1))
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "expected F32 matrices and a constant diagonal");
    if (p->status) return;
    s->upper = amg_attr_int(n, "upper", 1) != 0;
    s->rows = x->dims[x->rank - 2];
    s->columns = x->dims[x->rank - 1];
    s->total = 1;
    for (int d = 0; d < x->rank - 1; d++) s->total *= x->dims[d];
    if (s->total * s->columns == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "it has no elements");
    p->nodes[node].self = s;
    int in = read_plain(p, node, 0);
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "triangle", run_triangle, s, 2, (int[]){out, in});
}

void amg_trilu_backward(amg_plan *p, int node)
{
    const int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "triangle backward", run_triangle, p->nodes[node].self, 2,
                    (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, plain);
}
