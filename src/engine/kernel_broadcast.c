/* kernel_binary.c's operators for any broadcast, over row-major memory: each operand
 * has a stride per output dim, 0 where it repeats. The gradient of an operand that
 * repeats is its gradient at every element of the output, summed over the dims it
 * repeats along.
 */
#include <assert.h>

#include "base/parallel.h"
#include "engine/kernel_binary.h"
#include "engine/walk.h"

typedef struct {
    amg_binary_kind kind;
    amg_binary op;
    int rank;
    int64_t dims[AMG_MAX_RANK], count; /* of the output */
    int64_t stride[2][AMG_MAX_RANK];
    amg_fold sum[2]; /* over the dims along which an operand repeats */
    int which;       /* operand whose gradient is computed */
} broadcast;

typedef struct {
    const broadcast *b;
    float *dst;
    const float *in[2], *dy;
} context;

/* Position of operand k for the row of the output that begins at i. */
static int64_t position(const broadcast *b, int k, int64_t i)
{
    int64_t at = 0;
    i /= b->dims[b->rank - 1];
    for (int d = b->rank - 2; d >= 0; d--) {
        at += i % b->dims[d] * b->stride[k][d];
        i /= b->dims[d];
    }
    return at;
}

static void forward_rows(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const broadcast *s = c->b;
    int64_t n = s->dims[s->rank - 1];
    int64_t sa = s->stride[0][s->rank - 1], sb = s->stride[1][s->rank - 1];
    for (int64_t r = begin * n; r < end * n; r += n) {
        const float *a = c->in[0] + position(s, 0, r);
        const float *b = c->in[1] + position(s, 1, r);
        amg_binary_row(s->op, c->dst + r, a, sa, b, sb, n);
    }
}

static void gradient_rows(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const broadcast *s = c->b;
    int64_t n = s->dims[s->rank - 1];
    int64_t sa = s->stride[0][s->rank - 1], sb = s->stride[1][s->rank - 1];
    for (int64_t r = begin * n; r < end * n; r += n) {
        const float *a = c->in[0] + position(s, 0, r);
        const float *b = c->in[1] + position(s, 1, r);
        if (amg_binary_repeats(s->op, s->which)) {
            amg_binary_row(s->op, c->dst + r, c->dy + r, 1, s->which ? a : b,
                           s->which ? sa : sb, n);
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            c->dst[r + i] = amg_binary_gradient(s->op, s->which, c->dy[r + i],
                                                a[i * sa], b[i * sb]);
    }
}

static void for_rows(const broadcast *b, context *c, amg_range_fn fn)
{
    int64_t n = b->dims[b->rank - 1];
    amg_parallel_for(b->count / n, 4096 / n + 1, fn, c);
}

static void run_forward(const amg_call *call)
{
    context c = {call->self, call->ptr[0], {call->ptr[1], call->ptr[2]}, NULL};
    for_rows(c.b, &c, forward_rows);
}

/* ptr: gradient at each element of the output, dy, both operands. */
static void run_gradient(const amg_call *call)
{
    context c = {call->self, call->ptr[0], {call->ptr[2], call->ptr[3]}, call->ptr[1]};
    for_rows(c.b, &c, gradient_rows);
}

static void run_sum(const amg_call *call)
{
    const broadcast *b = call->self;
    amg_fold_run(&b->sum[b->which], call->ptr[0], call->ptr[1]);
}

void amg_broadcast_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    broadcast *b = amg_plan_alloc(p, 1, sizeof *b);
    if (!b) return;
    b->kind = AMG_BINARY_GENERAL;
    b->op = amg_binary_of(n);
    b->rank = y->rank;
    b->count = 1;
    for (int d = 0; d < y->rank; d++) {
        b->dims[d] = y->dims[d];
        b->count *= y->dims[d];
    }
    assert(y->rank >= 0 && y->rank <= AMG_MAX_RANK);
    if (y->rank == 0) b->dims[b->rank++] = 1; /* one number is a row of one */
    for (int k = 0; k < 2; k++) {
        const amg_value *v = amg_plan_value(p, n->inputs[k]);
        const unsigned repeats =
            amg_walk_broadcast(v->rank, v->dims, y->rank, y->dims, b->stride[k]);
        amg_fold_init(&b->sum[k], y->rank, y->dims, repeats, 1);
    }
    int in[2];
    for (int k = 0; k < 2; k++)
        in[k] = amg_plan_read(p, node, n->inputs[k], amg_plan_plain(p, n->inputs[k]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "broadcast", run_forward, b, 3,
                    (int[]){out, in[0], in[1]});
    p->nodes[node].self = b;
}

/* Gradient of operand k: where it takes the shape of the output, and its sums. */
static void emit_gradient(amg_plan *p, int node, int k, int dy)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_layout *plain = amg_plan_plain(p, n->inputs[k]);
    const amg_layout *wide = amg_plan_plain(p, n->outputs[0]);
    broadcast *b = amg_plan_alloc(p, 1, sizeof *b);
    if (!b || !plain || !wide) return;
    *b = *(const broadcast *)p->nodes[node].self;
    b->which = k;
    bool repeats = amg_layout_bytes(plain) < amg_layout_bytes(wide);
    int d = amg_plan_grad_target(p, n->inputs[k], plain), each = dy;
    /* An Add, or the left side of a Sub, passes the gradient on as it is. */
    if (b->op != AMG_BINARY_ADD && (b->op != AMG_BINARY_SUB || k == 1)) {
        int in[2];
        for (int i = 0; i < 2; i++)
            in[i] =
                amg_plan_read(p, node, n->inputs[i], amg_plan_plain(p, n->inputs[i]));
        each = repeats ? amg_plan_temp(p, amg_layout_bytes(wide)) : d;
        amg_emit_kernel(p, node, "broadcast backward", run_gradient, b, 4,
                        (int[]){each, dy, in[0], in[1]});
    }
    if (repeats)
        amg_emit_kernel(p, node, "broadcast sum", run_sum, b, 2, (int[]){d, each});
    else
        d = each;
    amg_plan_give_grad(p, node, n->inputs[k], d, plain);
}

void amg_broadcast_backward(amg_plan *p, int node)
{
    int dy = amg_plan_grad(p, node, NULL);
    for (int k = 0; k < 2; k++) {
        int value = amg_plan_input_value(p, node, k);
        if (amg_plan_needs_grad(p, value)) emit_gradient(p, node, k, dy);
    }
}
