/* Pools by loops of our own, in any channel blocking: what oneDNN has only a reference
 * for or none at all. That is dilation, windows beyond the declared padding that count
 * it (ceil_mode), and GlobalMaxPool.
 *
 * Every spatial dim has a table of spans, made while compiling: which input positions
 * an output position reads, and how many it is divided by. Fewer than three spatial
 * dims are three of which the first are 1. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "engine/pool.h"

/* Reads first, first + dilation, ..., count of them; divisor: those that count. */
typedef struct {
    int64_t first, count, divisor;
} span;

typedef struct {
    amg_pool_maker maker; /* AMG_POOL_LOOP */
    bool max;
    amg_geometry g; /* of the input */
    const amg_layout *src, *dst;
    int64_t in[AMG_MAX_DIMS], out[AMG_MAX_DIMS], dilation[AMG_MAX_DIMS];
    span *spans[AMG_MAX_DIMS];
    int positions; /* buffer: where each maximum was, -1 nowhere; as the output */
} pool_loop;

/* One channel block of one sample at work. */
typedef struct {
    const pool_loop *s;
    float *dst;
    const float *src;
    int32_t *positions;
} context;

/* ---- loops ------------------------------------------------------------------------
 */

typedef struct {
    float *y;
    const float *x;
    int32_t *positions;
    float scale;
    int64_t block;
} cell;

typedef void (*tap_fn)(const cell *c, int64_t at);

AMG_INLINE void add_tap(const cell *c, int64_t at)
{
    const float *x = c->x + at * c->block;
#pragma omp simd
    for (int64_t k = 0; k < c->block; k++) c->y[k] += x[k];
}

/* As in PyTorch the first of equal maxima counts, and NaN is larger than anything. */
AMG_INLINE void max_tap(const cell *c, int64_t at)
{
    const float *x = c->x + at * c->block;
#pragma omp simd
    for (int64_t k = 0; k < c->block; k++) {
        const bool more = x[k] > c->y[k] || x[k] != x[k];
        c->positions[k] = more ? (int32_t)at : c->positions[k];
        c->y[k] = more ? x[k] : c->y[k];
    }
}

/* Here y is the input's gradient, x the output's. */
AMG_INLINE void spread_tap(const cell *c, int64_t at)
{
    float *dx = c->y + at * c->block;
#pragma omp simd
    for (int64_t k = 0; k < c->block; k++) dx[k] += c->x[k] * c->scale;
}

/* Calls tap for the input positions of output position o; returns the divisor. */
AMG_INLINE int64_t each_tap(const pool_loop *s, int64_t o, tap_fn tap, cell *c)
{
    const span a = s->spans[0][o / (s->out[1] * s->out[2])];
    const span b = s->spans[1][o / s->out[2] % s->out[1]];
    const span e = s->spans[2][o % s->out[2]];
    const int64_t divisor = a.divisor * b.divisor * e.divisor;
    c->scale = divisor ? 1 / (float)divisor : 0;
    for (int64_t i = 0; i < a.count; i++)
        for (int64_t j = 0; j < b.count; j++) {
            int64_t row = (a.first + i * s->dilation[0]) * s->in[1];
            row = (row + b.first + j * s->dilation[1]) * s->in[2];
            for (int64_t l = 0; l < e.count; l++)
                tap(c, row + e.first + l * s->dilation[2]);
        }
    return divisor;
}

static int64_t outputs_of(const pool_loop *s)
{
    return s->out[0] * s->out[1] * s->out[2];
}

AMG_VECTOR static void average_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pool_loop *s = c->s;
    const int64_t block = s->g.block, outputs = outputs_of(s);
    for (int64_t u = begin; u < end; u++)
        for (int64_t o = 0; o < outputs; o++) {
            cell at = {.y = c->dst + (u * outputs + o) * block,
                       .x = c->src + u * s->g.spatial * block,
                       .block = block};
            for (int64_t k = 0; k < block; k++) at.y[k] = 0;
            const int64_t divisor = each_tap(s, o, add_tap, &at);
            for (int64_t k = 0; divisor && k < block; k++) at.y[k] /= (float)divisor;
        }
}

AMG_VECTOR static void max_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pool_loop *s = c->s;
    const int64_t block = s->g.block, outputs = outputs_of(s);
    for (int64_t u = begin; u < end; u++) {
        const int64_t used = s->g.channels - u % s->g.blocks * block;
        for (int64_t o = 0; o < outputs; o++) {
            const int64_t first = (u * outputs + o) * block;
            cell at = {.y = c->dst + first,
                       .x = c->src + u * s->g.spatial * block,
                       .positions = c->positions + first,
                       .block = block};
            for (int64_t k = 0; k < block; k++) {
                at.y[k] = -INFINITY;
                at.positions[k] = -1;
            }
            (void)each_tap(s, o, max_tap, &at);
            for (int64_t k = used; k < block; k++) at.y[k] = 0;
        }
    }
}

AMG_VECTOR static void average_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pool_loop *s = c->s;
    const int64_t block = s->g.block, outputs = outputs_of(s);
    const int64_t size = s->g.spatial * block;
    memset(c->dst + begin * size, 0, sizeof(float) * (size_t)((end - begin) * size));
    for (int64_t u = begin; u < end; u++)
        for (int64_t o = 0; o < outputs; o++) {
            cell at = {.y = c->dst + u * size,
                       .x = c->src + (u * outputs + o) * block,
                       .block = block};
            (void)each_tap(s, o, spread_tap, &at);
        }
}

static void max_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pool_loop *s = c->s;
    const int64_t block = s->g.block, count = outputs_of(s) * block;
    const int64_t size = s->g.spatial * block;
    memset(c->dst + begin * size, 0, sizeof(float) * (size_t)((end - begin) * size));
    for (int64_t u = begin; u < end; u++)
        for (int64_t i = 0; i < count; i++) {
            const int32_t at = c->positions[u * count + i];
            if (at >= 0)
                c->dst[u * size + at * block + i % block] += c->src[u * count + i];
        }
}

/* ptr: y, x, positions; backward dx, dy, positions. A mean has no positions: y again.
 */
static void run(const amg_call *call, amg_range_fn max, amg_range_fn average)
{
    const pool_loop *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1], call->ptr[2]};
    amg_parallel_for(s->g.n * s->g.blocks, 1, s->max ? max : average, &c);
}

static void run_forward(const amg_call *call) { run(call, max_range, average_range); }
static void run_backward(const amg_call *call)
{
    run(call, max_gradient_range, average_gradient_range);
}

/* ---- emitting ---------------------------------------------------------------------
 */

/* Taps of a window that begins at `first` which lie in [low, high). *skipped: how many
 * lie before. */
static int64_t taps_in(int64_t first, int64_t kernel, int64_t dilation, int64_t low,
                       int64_t high, int64_t *skipped)
{
    int64_t count = 0;
    *skipped = 0;
    for (int64_t k = 0; k < kernel; k++) {
        const int64_t at = first + k * dilation;
        *skipped += at < low;
        count += at >= low && at < high;
    }
    return count;
}

static void fill_spans(span *spans, const amg_window *w, int i, int64_t in, int64_t out,
                       bool count_pads)
{
    for (int64_t o = 0; o < out; o++) {
        const int64_t first = o * w->stride[i] - w->begin[i];
        int64_t skipped, ignored;
        spans[o].count = taps_in(first, w->kernel[i], w->dilation[i], 0, in, &skipped);
        spans[o].first = first + skipped * w->dilation[i];
        spans[o].divisor = count_pads ? taps_in(first, w->kernel[i], w->dilation[i],
                                                -w->begin[i], in + w->end[i], &ignored)
                                      : spans[o].count;
    }
}

static void fill(amg_plan *p, int node, pool_loop *s, const amg_window *w)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const int lead = AMG_MAX_DIMS - w->num_dims;
    const bool global = n->op == AMG_OP_GLOBAL_MAX_POOL;
    const bool count_pads = amg_attr_int(n, "count_include_pad", 0) != 0;
    for (int i = 0; i < AMG_MAX_DIMS; i++) {
        const int d = i - lead;
        s->in[i] = d < 0 ? 1 : global ? w->kernel[d] : x->dims[2 + d];
        s->out[i] = d < 0 ? 1 : y->dims[2 + d];
        s->dilation[i] = d < 0 ? 1 : w->dilation[d];
        s->spans[i] = amg_plan_alloc(p, (size_t)s->out[i], sizeof *s->spans[i]);
        if (p->status) return;
        if (d < 0)
            s->spans[i][0] = (span){0, 1, 1};
        else
            fill_spans(s->spans[i], w, d, s->in[i], s->out[i], count_pads);
    }
}

void amg_pool_loop_forward(amg_plan *p, int node, const amg_window *w)
{
    const amg_node *n = amg_plan_node(p, node);
    pool_loop *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    p->nodes[node].self = s;
    s->maker = AMG_POOL_LOOP;
    s->max = n->op != AMG_OP_AVERAGE_POOL;
    fill(p, node, s, w);
    s->src = amg_plan_layout(p, n->inputs[0]);
    if (!p->status && !amg_layout_geometry(s->src, &s->g)) {
        s->src = amg_plan_plain(p, n->inputs[0]);
        if (s->src) (void)amg_layout_geometry(s->src, &s->g);
    }
    if (!p->status && s->g.spatial > INT32_MAX)
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "a sample has more than 2^31 positions");
    if (p->status) return;
    s->dst = amg_plan_blocked_like(p, s->src, n->outputs[0]);
    int x = amg_plan_read(p, node, n->inputs[0], s->src);
    int y = amg_plan_define(p, n->outputs[0], s->dst);
    if (p->status) return;
    s->positions = s->max ? amg_plan_temp(p, amg_layout_bytes(s->dst)) : y;
    amg_emit_kernel(p, node, "pool", run_forward, s, 3, (int[]){y, x, s->positions});
}

/* One window over all positions, which count as one dim. */
void amg_global_max_forward(amg_plan *p, int node)
{
    const amg_value *x = amg_plan_value(p, amg_plan_input_value(p, node, 0));
    amg_window w = {.num_dims = 1, .kernel = {1}, .stride = {1}, .dilation = {1}};
    for (int i = 2; i < x->rank; i++) w.kernel[0] *= x->dims[i];
    amg_pool_loop_forward(p, node, &w);
}

void amg_pool_loop_backward(amg_plan *p, int node)
{
    const pool_loop *s = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0);
    int dx = amg_plan_grad_target(p, x, s->src), dy = amg_plan_grad(p, node, s->dst);
    amg_emit_kernel(p, node, "pool backward", run_backward, s, 3,
                    (int[]){dx, dy, s->max ? s->positions : dy});
    amg_plan_give_grad(p, node, x, dx, s->src);
}
