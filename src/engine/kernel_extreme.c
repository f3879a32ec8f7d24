/* ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp
 * and ReduceSumSquare over any constant axes of row-major memory: folds of several
 * numbers at a time, in double. ReduceMean and ReduceSum are kernel_reduce.c's.
 *
 *     y = fold of x over the reduced axes        dx = slope(x, a, b), a and b by y's
 * place
 *
 * Max and min share the gradient evenly among equals, as PyTorch's amax; a norm of 0
 * has none. A NaN makes its whole fold NaN. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/vector.h"
#include "engine/walk.h"

#define GRAIN 4096
#define LANES 64 /* folds, or parts of one, side by side */

typedef enum {
    ADD,
    ADD_SIZE,
    ADD_SQUARE,
    ADD_POWER, /* e^(x - by) */
    MULTIPLY,
    MULTIPLY_BUT_ZERO,
    MOST,
    LEAST,
    COUNT /* of those that equal by */
} step;

typedef struct {
    amg_op op;
    amg_fold fold; /* its walks */
} state;

typedef struct {
    const state *s;
    float *dst;
    const float *x, *y, *dy;
} context;

static double first_of(step how)
{
    switch (how) {
    case MULTIPLY:
    case MULTIPLY_BUT_ZERO: return 1;
    case MOST: return -INFINITY;
    case LEAST: return INFINITY;
    default: return 0;
    }
}

static double join(step how, double a, double b)
{
    switch (how) {
    case MULTIPLY:
    case MULTIPLY_BUT_ZERO: return a * b;
    case MOST: return b > a || isnan(b) ? b : a;
    case LEAST: return b < a || isnan(b) ? b : a;
    default: return a + b;
    }
}

/* One more number for each of width folds. */
AMG_VECTOR static void accumulate(step how, int64_t width, const float *x,
                                  const float *by, double *sums)
{
#define EACH(expression)                                                               \
    {                                                                                  \
        _Pragma("omp simd") for (int64_t k = 0; k < width; k++) sums[k] =              \
            (expression);                                                              \
        return;                                                                        \
    }
    switch (how) {
    case ADD: EACH(sums[k] + (double)x[k]);
    case ADD_SIZE: EACH(sums[k] + (double)fabsf(x[k]));
    case ADD_SQUARE: EACH(sums[k] + (double)x[k] * (double)x[k]);
    case ADD_POWER: EACH(sums[k] + (double)amg_expf(x[k] - by[k]));
    case MULTIPLY: EACH(sums[k] * (double)x[k]);
    case MULTIPLY_BUT_ZERO: EACH(x[k] == 0 ? sums[k] : sums[k] * (double)x[k]);
    case MOST:
        EACH((double)x[k] <= sums[k] || sums[k] != sums[k] ? sums[k] : (double)x[k]);
    case LEAST:
        EACH((double)x[k] >= sums[k] || sums[k] != sums[k] ? sums[k] : (double)x[k]);
    case COUNT: EACH(sums[k] + (x[k] == by[k] ? 1 : 0));
    }
#undef EACH
}

/* One fold, whose numbers stand side by side in rows: LANES parts of it at a time. */
static double fold_rows(const amg_walk *w, step how, const float *x, const float *by)
{
    const int64_t n = w->dims[w->rank - 1];
    float same[LANES];
    double parts[LANES];
    for (int k = 0; k < LANES; k++) {
        same[k] = by ? by[0] : 0;
        parts[k] = first_of(how);
    }
    for (int64_t i = 0; i < w->count; i += n) {
        const float *row = x + amg_walk_at(w, i);
        for (int64_t j = 0; j < n; j += LANES)
            accumulate(how, n - j < LANES ? n - j : LANES, row + j, same, parts);
    }
    for (int k = 1; k < LANES; k++) parts[0] = join(how, parts[0], parts[k]);
    return parts[0];
}

/* width folds that stand side by side, from x on. */
static void fold(const state *s, step how, int64_t width, const float *x,
                 const float *by, double *sums)
{
    const amg_walk *w = &s->fold.summed;
    const int64_t n = w->dims[w->rank - 1], stride = w->stride[w->rank - 1];
    if (width == 1 && stride == 1) {
        sums[0] = fold_rows(w, how, x, by);
        return;
    }
    for (int64_t k = 0; k < width; k++) sums[k] = first_of(how);
    for (int64_t i = 0; i < w->count; i += n) {
        const float *row = x + amg_walk_at(w, i);
        for (int64_t j = 0; j < n; j++, row += stride)
            accumulate(how, width, row, by, sums);
    }
}

/* e^x summed from the largest on, so that nothing overflows; of infinities themselves.
 */
static void log_sum_exp(const state *s, int64_t width, const float *x, double *sums)
{
    double most[LANES];
    float shift[LANES];
    fold(s, MOST, width, x, NULL, most);
    for (int64_t k = 0; k < width; k++) shift[k] = isinf(most[k]) ? 0 : (float)most[k];
    fold(s, ADD_POWER, width, x, shift, sums);
    for (int64_t k = 0; k < width; k++)
        sums[k] = isinf(most[k]) ? most[k] : log(sums[k]) + (double)shift[k];
}

static void compute(const state *s, int64_t width, const float *x, double *sums)
{
    switch (s->op) {
    case AMG_OP_REDUCE_MAX: fold(s, MOST, width, x, NULL, sums); break;
    case AMG_OP_REDUCE_MIN: fold(s, LEAST, width, x, NULL, sums); break;
    case AMG_OP_REDUCE_PROD: fold(s, MULTIPLY, width, x, NULL, sums); break;
    case AMG_OP_REDUCE_L1: fold(s, ADD_SIZE, width, x, NULL, sums); break;
    case AMG_OP_REDUCE_LOG_SUM_EXP: log_sum_exp(s, width, x, sums); break;
    case AMG_OP_REDUCE_LOG_SUM:
        fold(s, ADD, width, x, NULL, sums);
        for (int64_t k = 0; k < width; k++) sums[k] = log(sums[k]);
        break;
    case AMG_OP_REDUCE_L2:
        fold(s, ADD_SQUARE, width, x, NULL, sums);
        for (int64_t k = 0; k < width; k++) sums[k] = sqrt(sums[k]);
        break;
    default: fold(s, ADD_SQUARE, width, x, NULL, sums); break;
    }
}

/* What slope() needs for width folds. */
static void prepare(const state *s, int64_t width, const float *x, const float *y,
                    const float *dy, float *a, float *b)
{
    static const float zeros[LANES];
    double sums[LANES], products[LANES];
    for (int64_t k = 0; k < width; k++) {
        a[k] = y[k];
        b[k] = dy[k];
    }
    switch (s->op) {
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN:
        fold(s, COUNT, width, x, y, sums);
        for (int64_t k = 0; k < width; k++) b[k] = (float)((double)dy[k] / sums[k]);
        break;
    case AMG_OP_REDUCE_PROD:
        fold(s, COUNT, width, x, zeros, sums);
        fold(s, MULTIPLY_BUT_ZERO, width, x, NULL, products);
        for (int64_t k = 0; k < width; k++) {
            const float all = (float)((double)dy[k] * products[k]);
            a[k] = sums[k] == 0 ? all : 0;
            b[k] = sums[k] == 1 ? all : 0;
        }
        break;
    case AMG_OP_REDUCE_L2:
        for (int64_t k = 0; k < width; k++) b[k] = y[k] == 0 ? 0 : dy[k] / y[k];
        break;
    case AMG_OP_REDUCE_LOG_SUM:
        fold(s, ADD, width, x, NULL, sums);
        for (int64_t k = 0; k < width; k++) b[k] = (float)((double)dy[k] / sums[k]);
        break;
    default: break;
    }
}

AMG_VECTOR static void slope(amg_op op, int64_t width, const float *x, const float *a,
                             const float *b, float *dx)
{
#define EACH(expression)                                                               \
    {                                                                                  \
        _Pragma("omp simd") for (int64_t k = 0; k < width; k++) dx[k] = (expression);  \
        return;                                                                        \
    }
    switch (op) {
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN: EACH(x[k] == a[k] ? b[k] : 0);
    case AMG_OP_REDUCE_PROD: EACH(x[k] == 0 ? b[k] : a[k] / x[k]);
    case AMG_OP_REDUCE_L1: EACH(x[k] > 0 ? b[k] : x[k] < 0 ? -b[k] : 0 * x[k]);
    case AMG_OP_REDUCE_L2: EACH(x[k] * b[k]);
    case AMG_OP_REDUCE_LOG_SUM: EACH(b[k]);
    case AMG_OP_REDUCE_LOG_SUM_EXP: EACH(amg_expf(x[k] - a[k]) * b[k]);
    default: EACH(2 * x[k] * b[k]);
    }
#undef EACH
}

static void spread(const state *s, int64_t width, const float *x, float *a, float *b,
                   float *dx)
{
    const amg_walk *w = &s->fold.summed;
    const int64_t n = w->dims[w->rank - 1], stride = w->stride[w->rank - 1];
    const bool row = width == 1 && stride == 1; /* LANES at a time, of one fold */
    for (int k = 1; row && k < LANES; k++) {
        a[k] = a[0];
        b[k] = b[0];
    }
    for (int64_t i = 0; i < w->count; i += n) {
        const int64_t at = amg_walk_at(w, i);
        for (int64_t j = 0; j < n; j += row ? LANES : 1)
            slope(s->op, row ? (n - j < LANES ? n - j : LANES) : width,
                  x + at + j * stride, a, b, dx + at + j * stride);
    }
}

/* How many folds from i on stand side by side, LANES at most. */
static int64_t width_at(const amg_walk *kept, int64_t i, int64_t end)
{
    const int64_t n = kept->dims[kept->rank - 1];
    int64_t width = kept->stride[kept->rank - 1] == 1 ? n - i % n : 1;
    if (width > LANES) width = LANES;
    return width < end - i ? width : end - i;
}

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_walk *kept = &c->s->fold.kept;
    double sums[LANES];
    for (int64_t i = begin, width; i < end; i += width) {
        width = width_at(kept, i, end);
        compute(c->s, width, c->x + amg_walk_at(kept, i), sums);
        for (int64_t k = 0; k < width; k++) c->dst[i + k] = (float)sums[k];
    }
}

static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_walk *kept = &c->s->fold.kept;
    float a[LANES], b[LANES];
    for (int64_t i = begin, width; i < end; i += width) {
        const int64_t at = amg_walk_at(kept, i);
        width = width_at(kept, i, end);
        prepare(c->s, width, c->x + at, c->y + i, c->dy + i, a, b);
        spread(c->s, width, c->x + at, a, b, c->dst + at);
    }
}

static void run(const context *c, amg_range_fn fn)
{
    context mine = *c;
    amg_parallel_for(c->s->fold.kept.count, GRAIN / (c->s->fold.summed.count + 1) + 1,
                     fn, &mine);
}

static void run_forward(const amg_call *call)
{
    run(&(context){.s = call->self, .dst = call->ptr[0], .x = call->ptr[1]},
        forward_range);
}

/* ptr: dx, dy, x, y. */
static void run_backward(const amg_call *call)
{
    run(&(context){.s = call->self,
                   .dst = call->ptr[0],
                   .dy = call->ptr[1],
                   .x = call->ptr[2],
                   .y = call->ptr[3]},
        backward_range);
}

void amg_extreme_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    if (x->dtype != AMG_F32) {
        amg_reduce_whole(p, node);
        return;
    }
    state *s = amg_plan_alloc(p, 1, sizeof *s);
    const unsigned mask = amg_reduce_axes(p, node, x->rank);
    if (p->status) return;
    s->op = n->op;
    amg_fold_init(&s->fold, x->rank, x->dims, mask, 1);
    if (s->fold.summed.count == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its input has no elements");
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "reduce", run_forward, s, 2, (int[]){out, in});
}

/* Whether the gradient is taken from the result, too. */
static bool reads_result(amg_op op)
{
    switch (op) {
    case AMG_OP_REDUCE_MAX:
    case AMG_OP_REDUCE_MIN:
    case AMG_OP_REDUCE_L2:
    case AMG_OP_REDUCE_LOG_SUM_EXP: return true;
    default: return false;
    }
}

void amg_extreme_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0];
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int in = amg_plan_read(p, node, x, plain);
    /* Must agree with backward_reads_result() of plan_value.c. */
    int y = reads_result(n->op) ? amg_plan_read(p, node, n->outputs[0], NULL) : dy;
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "reduce backward", run_backward, p->nodes[node].self, 4,
                    (int[]){dx, dy, in, y});
    amg_plan_give_grad(p, node, x, dx, plain);
}
