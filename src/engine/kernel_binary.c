/* Add, Sub, Mul, Div, Max, Min, Pow, Mod, PRelu of operands whose shapes match the
 * output's or broadcast to it.
 *
 *   FULL     the output's shape: read side by side, in any channel blocking
 *   SCALAR   one number            CHANNEL  one number a channel (axis 1)
 *   GENERAL  anything else: a plain walk over row-major memory (kernel_broadcast.c)
 *
 * A residual Add is FULL + FULL: one pass, with its Relu, over its first operand when
 * nobody else needs that; its gradient is passed on without a copy. */
#include "engine/kernel_binary.h"

#include <math.h>

#include "base/parallel.h"
#include "base/vector.h"

#define GRAIN 16384

typedef struct {
    amg_binary_kind kind; /* AMG_BINARY_BLOCKED */
    amg_binary op;
    amg_geometry g;
    amg_operand mode[2];
    bool relu;
    int which; /* operand whose gradient is computed */
    const amg_layout *layout;
} binary_state;

typedef struct {
    const binary_state *b;
    float *dst;
    const float *in[2], *dy;
} context;

/* ---- loops ------------------------------------------------------------------------
 */

/* The sign is y's. */
AMG_INLINE float modulo(float x, float y)
{
    const float rest = fmodf(x, y);
    return rest == 0 ? copysignf(0, y) : (rest < 0) != (y < 0) ? rest + y : rest;
}

AMG_INLINE void row_of(amg_binary op, float *dst, const float *a, int64_t as,
                       const float *b, int64_t bs, int64_t n)
{
#define EACH(expression)                                                               \
    {                                                                                  \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                            \
        {                                                                              \
            const float x = a[i * as], y = b[i * bs];                                  \
            dst[i] = (expression);                                                     \
        }                                                                              \
        return;                                                                        \
    }
    switch (op) {
    case AMG_BINARY_ADD: EACH(x + y);
    case AMG_BINARY_SUB: EACH(x - y);
    case AMG_BINARY_MUL: EACH(x * y);
    case AMG_BINARY_DIV: EACH(x / y);
    case AMG_BINARY_MAX: EACH(x > y || x != x ? x : y);
    case AMG_BINARY_MIN: EACH(x < y || x != x ? x : y);
    case AMG_BINARY_POW: EACH(powf(x, y));
    case AMG_BINARY_FMOD: EACH(fmodf(x, y));
    case AMG_BINARY_MOD: EACH(modulo(x, y));
    case AMG_BINARY_PRELU: EACH(x > 0 ? x : x * y);
    }
#undef EACH
}

/* Of equal operands, the larger and the smaller get half of the gradient each; a NaN is
 * neither. */
float amg_binary_other_gradient(amg_binary op, int which, float dy, float a, float b)
{
    switch (op) {
    case AMG_BINARY_MAX: return a == b ? dy / 2 : (which ? a > b : a < b) ? 0 : dy;
    case AMG_BINARY_MIN: return a == b ? dy / 2 : (which ? a < b : a > b) ? 0 : dy;
    case AMG_BINARY_POW:
        if (which) return a == 0 && b >= 0 ? 0 : dy * powf(a, b) * logf(a);
        return b == 0 ? 0 : dy * b * powf(a, b - 1);
    case AMG_BINARY_FMOD: return which ? -dy * truncf(a / b) : dy;
    case AMG_BINARY_MOD: return which ? -dy * floorf(a / b) : dy;
    default: return which ? (a > 0 ? 0 : dy * a) : a > 0 ? dy : dy * b; /* PRelu */
    }
}

/* Strides that the compiler knows make vectors. */
AMG_VECTOR void amg_binary_row(amg_binary op, float *dst, const float *a, int64_t as,
                               const float *b, int64_t bs, int64_t n)
{
    if (as && bs)
        row_of(op, dst, a, 1, b, 1, n);
    else if (as)
        row_of(op, dst, a, 1, b, 0, n);
    else
        row_of(op, dst, a, 0, b, 1, n);
}

/* Where operand k starts for channel block i of sample n, and whether it advances along
 * channels and along positions. */
typedef struct {
    const float *base;
    int per_channel, per_position;
} cursor;

static cursor cursor_at(const context *c, int k, int64_t unit)
{
    const amg_geometry *g = &c->b->g;
    switch (c->b->mode[k]) {
    case AMG_OPERAND_FULL:
        return (cursor){c->in[k] + unit * g->spatial * g->block, 1, 1};
    case AMG_OPERAND_CHANNEL:
        return (cursor){c->in[k] + unit % g->blocks * g->block, 1, 0};
    default: return (cursor){c->in[k], 0, 0};
    }
}

/* One unit is one channel block of one sample; channel padding stays zero. */
AMG_VECTOR static void forward_units(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_geometry *g = &c->b->g;
    for (int64_t u = begin; u < end; u++) {
        cursor a = cursor_at(c, 0, u), b = cursor_at(c, 1, u);
        float *dst = c->dst + u * g->spatial * g->block;
        if (g->block == 1) {
            amg_binary_row(c->b->op, dst, a.base, a.per_position, b.base,
                           b.per_position, g->spatial);
            continue;
        }
        int64_t left = g->channels - u % g->blocks * g->block;
        int64_t width = left < g->block ? left : g->block;
        for (int64_t s = 0; s < g->spatial; s++) {
            int64_t at = s * g->block;
            row_of(c->b->op, dst + at, a.base + at * a.per_position, a.per_channel,
                   b.base + at * b.per_position, b.per_channel, width);
            for (int64_t k = width; k < g->block; k++) dst[at + k] = 0;
        }
    }
}

/* FULL + FULL, the residual: flat, with the Relu. */
AMG_VECTOR static void residual_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const float *a = c->in[0], *b = c->in[1];
    float *dst = c->dst;
    if (c->b->relu) {
#pragma omp simd
        for (int64_t i = begin; i < end; i++) {
            float v = a[i] + b[i];
            dst[i] = v < 0 ? 0 : v;
        }
    } else {
#pragma omp simd
        for (int64_t i = begin; i < end; i++) dst[i] = a[i] + b[i];
    }
}

static int64_t grain_of(const amg_geometry *g)
{
    return GRAIN / (g->spatial * g->block) + 1;
}

static void run_forward(const amg_call *call)
{
    const binary_state *b = call->self;
    const amg_geometry *g = &b->g;
    context c = {.b = b, .dst = call->ptr[0], .in = {call->ptr[1], call->ptr[2]}};
    bool full = b->mode[0] == AMG_OPERAND_FULL && b->mode[1] == AMG_OPERAND_FULL;
    int64_t units = g->n * g->blocks;
    if (full && b->op == AMG_BINARY_ADD)
        amg_parallel_for(units * g->spatial * g->block, GRAIN, residual_range, &c);
    else
        amg_parallel_for(units, grain_of(g), forward_units, &c);
}

/* Gradient of the FULL operand which. */
static void gradient_units(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_geometry *g = &c->b->g;
    for (int64_t u = begin; u < end; u++) {
        cursor a = cursor_at(c, 0, u), b = cursor_at(c, 1, u);
        int64_t first = u * g->spatial * g->block;
        if (g->block == 1 && amg_binary_repeats(c->b->op, c->b->which)) {
            const cursor other = c->b->which ? a : b;
            amg_binary_row(c->b->op, c->dst + first, c->dy + first, 1, other.base,
                           other.per_position, g->spatial);
            continue;
        }
        int64_t left = g->channels - u % g->blocks * g->block;
        for (int64_t s = 0; s < g->spatial; s++) {
            for (int64_t k = 0; k < g->block; k++) {
                int64_t at = s * g->block + k;
                float av = a.base[a.per_position ? at : k * a.per_channel * (k < left)];
                float bv = b.base[b.per_position ? at : k * b.per_channel * (k < left)];
                c->dst[first + at] =
                    k < left ? amg_binary_gradient(c->b->op, c->b->which,
                                                   c->dy[first + at], av, bv)
                             : 0;
            }
        }
    }
}

/* Sum over samples and positions of the gradient of a broadcast operand in channel ch.
 */
static double channel_sum(const context *c, int64_t ch)
{
    const amg_geometry *g = &c->b->g;
    double sum = 0;
    int64_t lane = ch % g->block;
    for (int64_t n = 0; n < g->n; n++) {
        int64_t unit = n * g->blocks + ch / g->block;
        cursor a = cursor_at(c, 0, unit), b = cursor_at(c, 1, unit);
        const float *dy = c->dy + unit * g->spatial * g->block;
        for (int64_t s = 0; s < g->spatial; s++) {
            int64_t at = s * g->block + lane;
            float av = a.base[a.per_position ? at : lane * a.per_channel];
            float bv = b.base[b.per_position ? at : lane * b.per_channel];
            sum += (double)amg_binary_gradient(c->b->op, c->b->which, dy[at], av, bv);
        }
    }
    return sum;
}

static void channel_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    for (int64_t ch = begin; ch < end; ch++) c->dst[ch] = (float)channel_sum(c, ch);
}

/* ptr: destination, dy, both operands. */
static void run_gradient(const amg_call *call)
{
    const binary_state *b = call->self;
    context c = {.b = b,
                 .dst = call->ptr[0],
                 .dy = call->ptr[1],
                 .in = {call->ptr[2], call->ptr[3]}};
    if (b->mode[b->which] == AMG_OPERAND_FULL) {
        amg_parallel_for(b->g.n * b->g.blocks, grain_of(&b->g), gradient_units, &c);
    } else if (b->mode[b->which] == AMG_OPERAND_CHANNEL) {
        amg_parallel_for(b->g.channels, 1, channel_range, &c);
    } else {
        double sum = 0;
        for (int64_t ch = 0; ch < b->g.channels; ch++) sum += channel_sum(&c, ch);
        c.dst[0] = (float)sum;
    }
}

/* ---- emitting ---------------------------------------------------------------------
 */

static amg_operand mode_of(const amg_value *v, const amg_value *y)
{
    int64_t count = 1;
    bool full = v->rank == y->rank, channel = y->rank > 1;
    for (int i = 0; i < v->rank; i++) count *= v->dims[i];
    for (int i = 0; full && i < y->rank; i++) full = v->dims[i] == y->dims[i];
    for (int i = 0; i < y->rank; i++) { /* aligned at the last dim */
        int at = i - (y->rank - v->rank);
        int64_t dim = at >= 0 ? v->dims[at] : 1;
        channel = channel && dim == (i == 1 ? y->dims[1] : 1);
    }
    if (full) return AMG_OPERAND_FULL;
    if (count == 1) return AMG_OPERAND_SCALAR;
    return channel ? AMG_OPERAND_CHANNEL : AMG_OPERAND_GENERAL;
}

/* Picks the layout of the first FULL operand that has channel blocks, else of the first
 * FULL one. false: the general walk has to do it. */
static bool choose_layout(amg_plan *p, int node, binary_state *self)
{
    const amg_node *n = amg_plan_node(p, node);
    for (int i = 0; i < 2; i++) {
        if (self->mode[i] == AMG_OPERAND_GENERAL) return false;
        if (self->mode[i] != AMG_OPERAND_FULL) continue;
        const amg_layout *l = amg_plan_layout(p, n->inputs[i]);
        amg_geometry g;
        if (!l || !amg_layout_geometry(l, &g)) continue;
        if (self->layout && g.block == 1) continue;
        self->layout = l;
        self->g = g;
    }
    return self->layout != NULL;
}

static int read_operand(amg_plan *p, int node, int i)
{
    const binary_state *self = p->nodes[node].self;
    int value = amg_plan_input_value(p, node, i);
    bool full = self->mode[i] == AMG_OPERAND_FULL;
    return amg_plan_read(p, node, value,
                         full ? self->layout : amg_plan_plain(p, value));
}

void amg_binary_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    if (amg_logic_takes(p, node)) {
        amg_logic_forward(p, node);
        return;
    }
    for (int i = 0; i < 2; i++) amg_plan_expect_f32(p, node, n->inputs[i]);
    binary_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    self->op = amg_binary_of(n);
    self->relu = p->nodes[node].fused >= 0;
    for (int i = 0; i < 2; i++)
        self->mode[i] = mode_of(amg_plan_value(p, n->inputs[i]), y);
    if (!choose_layout(p, node, self)) {
        if (self->relu) amg_plan_unfuse(p, node);
        if (!p->status) amg_broadcast_forward(p, node);
        return;
    }
    p->nodes[node].self = self;
    int a = read_operand(p, node, 0), b = read_operand(p, node, 1), out;
    int result = amg_plan_result(p, node);
    if (self->mode[0] == AMG_OPERAND_FULL && !amg_binary_looks(self->op) &&
        n->inputs[0] != n->inputs[1] &&
        amg_plan_layout(p, n->inputs[0]) == self->layout &&
        amg_plan_may_overwrite(p, n->inputs[0])) {
        out = a;
        amg_plan_define_as(p, result, self->layout, a);
    } else {
        out = amg_plan_define(p, result, self->layout);
    }
    amg_emit_kernel(p, node, self->relu ? "add+relu" : "binary", run_forward, self, 3,
                    (int[]){out, a, b});
}

/* Gradient of operand i from dy, by a loop of its own. */
static void emit_gradient(amg_plan *p, int node, int i, int dy)
{
    const binary_state *self = p->nodes[node].self;
    int value = amg_plan_input_value(p, node, i);
    binary_state *mine = amg_plan_alloc(p, 1, sizeof *mine);
    const amg_layout *layout =
        self->mode[i] == AMG_OPERAND_FULL ? self->layout : amg_plan_plain(p, value);
    if (!mine || !layout) return;
    *mine = *self;
    mine->which = i;
    int d = amg_plan_grad_target(p, value, layout);
    /* Where nobody looks at the operands: whatever lies there by now. */
    bool looks = amg_binary_looks(self->op);
    int a = looks ? read_operand(p, node, 0) : dy;
    int b = looks ? read_operand(p, node, 1) : dy;
    amg_emit_kernel(p, node, "binary backward", run_gradient, mine, 4,
                    (int[]){d, dy, a, b});
    amg_plan_give_grad(p, node, value, d, layout);
}

void amg_binary_backward(amg_plan *p, int node)
{
    const binary_state *self = p->nodes[node].self;
    if (self->kind == AMG_BINARY_GENERAL) {
        amg_broadcast_backward(p, node);
        return;
    }
    int dy = amg_plan_grad(p, node, NULL);
    if (self->relu) {
        int y = amg_plan_read(p, node, amg_plan_result(p, node), NULL);
        int64_t *count = amg_plan_alloc(p, 1, sizeof *count);
        if (!count) return;
        *count = self->g.n * self->g.blocks * self->g.spatial * self->g.block;
        int masked = amg_plan_grad_exclusive(p, node)
                         ? dy
                         : amg_plan_temp(p, amg_layout_bytes(self->layout));
        amg_emit_kernel(p, node, "relu backward", amg_loop_relu_gradient, count, 3,
                        (int[]){masked, dy, y});
        dy = masked;
    }
    for (int i = 0; i < 2; i++) {
        int value = amg_plan_input_value(p, node, i);
        if (!amg_plan_needs_grad(p, value)) continue;
        bool passes =
            self->mode[i] == AMG_OPERAND_FULL &&
            (self->op == AMG_BINARY_ADD || (self->op == AMG_BINARY_SUB && i == 0));
        if (passes)
            amg_plan_give_grad(p, node, value, dy, self->layout);
        else
            emit_gradient(p, node, i, dy);
    }
}
