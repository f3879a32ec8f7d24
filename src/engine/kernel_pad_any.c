/* Pad of any axes of row-major memory of any type, by a constant or by the elements
 * that the modes of pad_mode.h name. A row runs along the last axis. What kernel_pad.c
 * does in channel blocks (zeros on H and W) it does faster.
 *
 *     y[i] = x[source of i], or the constant      dx[j] = sum of dy[i] whose source is
 * j
 *
 * Rows that share a source are one thread's: the axes in front of the first padded one
 * are shared out. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/walk.h"
#include "graph/pad_mode.h"

#define GRAIN 4096

typedef struct {
    int rank;
    int64_t x_dims[AMG_MAX_RANK], y_dims[AMG_MAX_RANK], x_stride[AMG_MAX_RANK];
    const int64_t
        *source[AMG_MAX_RANK]; /* per axis, of each place of y; -1: constant */
    int64_t outer;             /* parts that share nothing */
    int64_t x_part, y_part;    /* elements of a part */
    int64_t y_rows;            /* rows of a part */
    size_t size;               /* of an element */
    unsigned char value[sizeof(int64_t)];
} pad;

typedef struct {
    const pad *s;
    void *dst;
    const void *src;
} context;

/* Where x's row for row r of y begins; -1: there is none. */
static int64_t row_source(const pad *s, int64_t r)
{
    int64_t at = 0;
    for (int d = s->rank - 2; d >= 0; d--) {
        const int64_t from = s->source[d][r % s->y_dims[d]];
        if (from < 0) return -1;
        at += from * s->x_stride[d];
        r /= s->y_dims[d];
    }
    return at;
}

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pad *s = c->s;
    const int64_t n = s->y_dims[s->rank - 1], *source = s->source[s->rank - 1];
    float value;
    memcpy(&value, s->value, sizeof value);
    for (int64_t r = begin; r < end; r++) {
        const int64_t from = row_source(s, r);
        float *y = (float *)c->dst + r * n;
        const float *x = (const float *)c->src + from;
        for (int64_t i = 0; i < n; i++)
            y[i] = from < 0 || source[i] < 0 ? value : x[source[i]];
    }
}

/* The same of whole numbers and bools. */
static void forward_bytes(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pad *s = c->s;
    const int64_t n = s->y_dims[s->rank - 1], *source = s->source[s->rank - 1];
    for (int64_t r = begin; r < end; r++) {
        const int64_t from = row_source(s, r);
        for (int64_t i = 0; i < n; i++) {
            const bool outside = from < 0 || source[i] < 0;
            memcpy((char *)c->dst + (size_t)(r * n + i) * s->size,
                   outside
                       ? (const char *)s->value
                       : (const char *)c->src + (size_t)(from + source[i]) * s->size,
                   s->size);
        }
    }
}

static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pad *s = c->s;
    const int64_t n = s->y_dims[s->rank - 1], *source = s->source[s->rank - 1];
    float *dx = c->dst;
    memset(dx + begin * s->x_part, 0,
           sizeof(float) * (size_t)((end - begin) * s->x_part));
    for (int64_t r = begin * s->y_rows; r < end * s->y_rows; r++) {
        const int64_t to = row_source(s, r);
        const float *dy = (const float *)c->src + r * n;
        for (int64_t i = 0; i < n && to >= 0; i++)
            if (source[i] >= 0) dx[to + source[i]] += dy[i];
    }
}

static void run_forward(const amg_call *call)
{
    const pad *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->outer * s->y_rows, GRAIN / s->y_dims[s->rank - 1] + 1,
                     forward_range, &c);
}

static void run_forward_bytes(const amg_call *call)
{
    const pad *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->outer * s->y_rows, GRAIN / s->y_dims[s->rank - 1] + 1,
                     forward_bytes, &c);
}

static void run_backward(const amg_call *call)
{
    const pad *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->outer, GRAIN / s->y_part + 1, backward_range, &c);
}

/* Whether y has the same dim as x without padding. */
static bool is_padded(const pad *s, int axis, int64_t before)
{
    return before != 0 || s->x_dims[axis] != s->y_dims[axis];
}

static const int64_t *find_sources(amg_plan *p, const pad *s, int axis, int64_t before,
                                   amg_pad_mode mode)
{
    int64_t *source = amg_plan_alloc(p, (size_t)s->y_dims[axis], sizeof *source);
    for (int64_t i = 0; source && i < s->y_dims[axis]; i++) {
        const int64_t from = i - before, n = s->x_dims[axis];
        source[i] = mode != AMG_PAD_CONSTANT ? amg_pad_source(mode, from, n)
                    : from >= 0 && from < n  ? from
                                             : -1;
    }
    return source;
}

/* false after a failure. */
static bool find_value(amg_plan *p, int node, pad *s)
{
    const amg_dtype dtype = amg_plan_value(p, amg_plan_input_value(p, node, 0))->dtype;
    const int given = amg_plan_input_value(p, node, 2);
    const amg_tensor *t = amg_plan_constant(p, given);
    s->size = amg_dtype_size(dtype);
    if (given == AMG_NO_VALUE) return true; /* 0 of any type */
    if (!t || t->dtype != dtype || amg_tensor_count(t) != 1) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its value is not a constant number");
        return false;
    }
    memcpy(s->value, t->data, s->size);
    return true;
}

void amg_pad_any_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const amg_pad_mode mode = amg_pad_mode_find(amg_attr_string(n, "mode", "constant"));
    int64_t amounts[2 * AMG_MAX_RANK];
    pad *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s || !find_value(p, node, s)) return;
    if (x->rank < 1 || mode == AMG_PAD_UNKNOWN ||
        amg_plan_ints(p, n->inputs[1], 2 * AMG_MAX_RANK, amounts) != 2 * x->rank) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "expected one dim or more, and constant pads of each");
        return;
    }
    s->rank = x->rank;
    s->outer = s->x_part = s->y_part = 1;
    memcpy(s->x_dims, x->dims, sizeof s->x_dims);
    memcpy(s->y_dims, y->dims, sizeof s->y_dims);
    amg_walk_strides(x->rank, x->dims, s->x_stride);
    bool inside = false;
    for (int d = 0; d < x->rank; d++) {
        inside = inside || is_padded(s, d, amounts[d]);
        s->source[d] = find_sources(p, s, d, amounts[d], mode);
        if (!inside) s->outer *= x->dims[d];
        if (inside) s->x_part *= x->dims[d];
        if (inside) s->y_part *= y->dims[d];
    }
    if (s->outer * s->x_part * s->y_part == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "it has no elements");
    if (p->status) return;
    s->y_rows = s->y_part / y->dims[x->rank - 1];
    if (!inside) { /* nothing is padded: a part is a row */
        s->y_rows = 1;
        s->x_part = s->y_part = x->dims[x->rank - 1];
        s->outer /= s->x_part;
    }
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "pad",
                    x->dtype == AMG_F32 ? run_forward : run_forward_bytes, s, 2,
                    (int[]){out, in});
}

void amg_pad_any_backward(amg_plan *p, int node)
{
    const int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "pad backward", run_backward, p->nodes[node].self, 2,
                    (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, plain);
}
