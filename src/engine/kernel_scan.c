/* Operators that run along one axis of row-major memory [outer][n][inner]: CumSum,
 * whose gradient is the sum from the other end; CumProd; and ArgMax and ArgMin, which
 * have none.
 *
 *     y[j] = x[0] … x[j]     dx[i] = x[0] … x[i-1] * tail[i]
 *                            tail[i] = dy[i] + x[i+1] tail[i+1]
 *
 * so that zeros need no care. Exclusive, y[j] ends with x[j-1], and tail[i] is
 * dy[i+1] + x[i+1] tail[i+1]. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

#define GRAIN 4096

typedef struct {
    amg_dtype dtype;
    int64_t outer, n, inner;
    bool product;
    bool exclusive, backwards; /* CumSum, CumProd */
    bool least, last;          /* ArgMin; the last of equals */
} scan;

typedef struct {
    const scan *s;
    void *dst;
    const void *src;
    const float *dy; /* CumProd's gradient */
    bool backwards;
} context;

/* Where line r begins; its elements are s->inner apart. */
static int64_t line_at(const scan *s, int64_t r)
{
    return r / s->inner * s->n * s->inner + r % s->inner;
}

/* acc: the type of the sum, or product. */
#define SUM_RANGE(name, type, acc)                                                     \
    static void name(void *arg, int64_t begin, int64_t end)                            \
    {                                                                                  \
        const context *c = arg;                                                        \
        const scan *s = c->s;                                                          \
        for (int64_t r = begin; r < end; r++) {                                        \
            const type *x = (const type *)c->src + line_at(s, r); /* NOLINT */         \
            type *y = (type *)c->dst + line_at(s, r);             /* NOLINT */         \
            acc sum = s->product;                                                      \
            for (int64_t i = 0; i < s->n; i++) {                                       \
                const int64_t at = (c->backwards ? s->n - 1 - i : i) * s->inner;       \
                const acc next = s->product ? sum * (acc)x[at] : sum + (acc)x[at];     \
                y[at] = (type)(s->exclusive ? sum : next);                             \
                sum = next;                                                            \
            }                                                                          \
        }                                                                              \
    }
SUM_RANGE(sum_f32, float, double)
SUM_RANGE(sum_i64, int64_t, int64_t)
SUM_RANGE(sum_i32, int32_t, int32_t)
#undef SUM_RANGE

static void product_gradient(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const scan *s = c->s;
    for (int64_t r = begin; r < end; r++) {
        const float *x = (const float *)c->src + line_at(s, r),
                    *dy = c->dy + line_at(s, r);
        float *dx = (float *)c->dst + line_at(s, r);
        double before = 1, later = 0;
        for (int64_t i = 0; i < s->n; i++) {
            const int64_t at = (c->backwards ? s->n - 1 - i : i) * s->inner;
            dx[at] = (float)before;
            before *= (double)x[at];
        }
        for (int64_t i = s->n - 1; i >= 0; i--) {
            const int64_t at = (c->backwards ? s->n - 1 - i : i) * s->inner;
            const double tail = s->exclusive ? later : (double)dy[at] + later;
            dx[at] = (float)((double)dx[at] * tail);
            later = (s->exclusive ? (double)dy[at] : 0) + (double)x[at] * tail;
        }
    }
}

/* The first NaN is both the largest and the smallest, as in PyTorch. */
#define FIND_RANGE(name, type)                                                         \
    static void name(void *arg, int64_t begin, int64_t end)                            \
    {                                                                                  \
        const context *c = arg;                                                        \
        const scan *s = c->s;                                                          \
        for (int64_t r = begin; r < end; r++) {                                        \
            const type *x = (const type *)c->src + line_at(s, r); /* NOLINT */         \
            int64_t best = 0;                                                          \
            for (int64_t i = 1; i < s->n; i++) {                                       \
                const type now = x[i * s->inner], old = x[best * s->inner];            \
                const bool beyond = s->least ? now < old : now > old;                  \
                if (old == old && (beyond || now != now || (s->last && now == old)))   \
                    best = i;                                                          \
            }                                                                          \
            ((int64_t *)c->dst)[r] = best;                                             \
        }                                                                              \
    }
FIND_RANGE(find_f32, float)
FIND_RANGE(find_i64, int64_t)
FIND_RANGE(find_i32, int32_t)
#undef FIND_RANGE

static void for_lines(const context *c, amg_range_fn fn)
{
    context mine = *c;
    amg_parallel_for(c->s->outer * c->s->inner, GRAIN / c->s->n + 1, fn, &mine);
}

static void run_sum(const amg_call *call)
{
    const scan *s = call->self;
    const context c = {
        .s = s, .dst = call->ptr[0], .src = call->ptr[1], .backwards = s->backwards};
    for_lines(&c, s->dtype == AMG_F32   ? sum_f32
                  : s->dtype == AMG_I64 ? sum_i64
                                        : sum_i32);
}

static void run_sum_backward(const amg_call *call)
{
    const scan *s = call->self;
    const context c = {
        .s = s, .dst = call->ptr[0], .src = call->ptr[1], .backwards = !s->backwards};
    for_lines(&c, sum_f32);
}

/* ptr: dx, dy, x */
static void run_product_backward(const amg_call *call)
{
    const scan *s = call->self;
    const context c = {.s = s,
                       .dst = call->ptr[0],
                       .src = call->ptr[2],
                       .dy = call->ptr[1],
                       .backwards = s->backwards};
    for_lines(&c, product_gradient);
}

static void run_find(const amg_call *call)
{
    const scan *s = call->self;
    const context c = {.s = s, .dst = call->ptr[0], .src = call->ptr[1]};
    for_lines(&c, s->dtype == AMG_F32   ? find_f32
                  : s->dtype == AMG_I64 ? find_i64
                                        : find_i32);
}

/* NULL after a failure. */
static scan *new_scan(amg_plan *p, int node, int64_t axis)
{
    const amg_value *x = amg_plan_value(p, amg_plan_input_value(p, node, 0));
    scan *s = amg_plan_alloc(p, 1, sizeof *s);
    if (x->dtype != AMG_F32 && x->dtype != AMG_I64 && x->dtype != AMG_I32)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "input is %s, expected F32, I64 or I32",
                      amg_dtype_name(x->dtype));
    if (p->status) return NULL;
    if (axis < 0) axis += x->rank;
    *s = (scan){.dtype = x->dtype, .outer = 1, .n = x->dims[axis], .inner = 1};
    for (int d = 0; d < axis; d++) s->outer *= x->dims[d];
    for (int d = (int)axis + 1; d < x->rank; d++) s->inner *= x->dims[d];
    p->nodes[node].self = s;
    if (s->n == 0) amg_plan_fail(p, node, AMG_UNSUPPORTED, "its input has no elements");
    return p->status ? NULL : s;
}

static void emit(amg_plan *p, int node, const char *what, amg_kernel_fn fn)
{
    const amg_node *n = amg_plan_node(p, node);
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, what, fn, p->nodes[node].self, 2, (int[]){out, in});
}

void amg_cumulative_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int64_t axis;
    if (amg_plan_ints(p, n->inputs[1], 1, &axis) != 1) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its axis is not constant");
        return;
    }
    scan *s = new_scan(p, node, axis);
    if (!s) return;
    s->product = n->op == AMG_OP_CUM_PROD;
    s->exclusive = amg_attr_int(n, "exclusive", 0) != 0;
    s->backwards = amg_attr_int(n, "reverse", 0) != 0;
    emit(p, node, s->product ? "cumulative product" : "cumulative sum", run_sum);
}

void amg_cumulative_backward(amg_plan *p, int node)
{
    const scan *s = p->nodes[node].self;
    const int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int buffers[3] = {-1, amg_plan_grad(p, node, NULL)};
    if (s->product) buffers[2] = amg_plan_read(p, node, x, plain);
    buffers[0] = amg_plan_grad_target(p, x, plain);
    if (s->product)
        amg_emit_kernel(p, node, "cumulative product backward", run_product_backward, s,
                        3, buffers);
    else
        amg_emit_kernel(p, node, "cumulative sum backward", run_sum_backward, s, 2,
                        buffers);
    amg_plan_give_grad(p, node, x, buffers[0], plain);
}

void amg_arg_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    scan *s = new_scan(p, node, amg_attr_int(n, "axis", 0));
    if (!s) return;
    s->least = n->op == AMG_OP_ARG_MIN;
    s->last = amg_attr_int(n, "select_last_index", 0) != 0;
    emit(p, node, "arg", run_find);
}
