/* Add, Sub, Mul, Div for any broadcast, over row-major memory: each operand has a
 * stride per output dim, 0 where it repeats. Rare (per-pixel constants, outer
 * products), so it is kept simple: the gradient runs on one thread, in output order. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel_binary.h"

typedef struct {
    amg_binary_kind kind;
    amg_binary op;
    int rank;
    int64_t dims[AMG_MAX_RANK], count; /* of the output */
    int64_t stride[2][AMG_MAX_RANK];
    int which;             /* operand whose gradient is computed */
    int64_t operand_count; /* its elements */
} broadcast;

typedef struct {
    const broadcast *b;
    float *dst;
    const float *in[2];
} context;

/* Position of operand k for output element i. */
static int64_t position(const broadcast *b, int k, int64_t i)
{
    int64_t at = 0;
    for (int d = b->rank - 1; d >= 0; d--) {
        at += i % b->dims[d] * b->stride[k][d];
        i /= b->dims[d];
    }
    return at;
}

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    for (int64_t i = begin; i < end; i++) {
        float a = c->in[0][position(c->b, 0, i)], b = c->in[1][position(c->b, 1, i)];
        switch (c->b->op) {
        case AMG_BINARY_ADD: c->dst[i] = a + b; break;
        case AMG_BINARY_SUB: c->dst[i] = a - b; break;
        case AMG_BINARY_MUL: c->dst[i] = a * b; break;
        case AMG_BINARY_DIV: c->dst[i] = a / b; break;
        }
    }
}

static void run_forward(const amg_call *call)
{
    context c = {call->self, call->ptr[0], {call->ptr[1], call->ptr[2]}};
    amg_parallel_for(c.b->count, 4096, forward_range, &c);
}

/* ptr: destination, dy, both operands. */
static void run_gradient(const amg_call *call)
{
    const broadcast *b = call->self;
    float *dst = call->ptr[0];
    const float *dy = call->ptr[1], *in0 = call->ptr[2], *in1 = call->ptr[3];
    memset(dst, 0, sizeof *dst * (size_t)b->operand_count);
    for (int64_t i = 0; i < b->count; i++)
        dst[position(b, b->which, i)] += amg_binary_gradient(
            b->op, b->which, dy[i], in0[position(b, 0, i)], in1[position(b, 1, i)]);
}

void amg_broadcast_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    broadcast *b = amg_plan_alloc(p, 1, sizeof *b);
    if (!b) return;
    b->kind = AMG_BINARY_GENERAL;
    b->op = amg_binary_of(n->op);
    b->rank = y->rank;
    b->count = 1;
    for (int d = 0; d < y->rank; d++) {
        b->dims[d] = y->dims[d];
        b->count *= y->dims[d];
    }
    for (int k = 0; k < 2; k++) {
        const amg_value *v = amg_plan_value(p, n->inputs[k]);
        int64_t stride = 1;
        for (int d = v->rank - 1; d >= 0; d--) {
            b->stride[k][d + y->rank - v->rank] = v->dims[d] == 1 ? 0 : stride;
            stride *= v->dims[d];
        }
    }
    int in[2];
    for (int k = 0; k < 2; k++)
        in[k] = amg_plan_read(p, node, n->inputs[k], amg_plan_plain(p, n->inputs[k]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "broadcast", run_forward, b, 3,
                    (int[]){out, in[0], in[1]});
    p->nodes[node].self = b;
}

void amg_broadcast_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const broadcast *forward = p->nodes[node].self;
    int dy = amg_plan_grad(p, node, NULL);
    for (int k = 0; k < 2; k++) {
        if (!amg_plan_needs_grad(p, n->inputs[k])) continue;
        const amg_value *v = amg_plan_value(p, n->inputs[k]);
        const amg_layout *plain = amg_plan_plain(p, n->inputs[k]);
        broadcast *b = amg_plan_alloc(p, 1, sizeof *b);
        if (!b || !plain) return;
        *b = *forward;
        b->which = k;
        b->operand_count = 1;
        for (int d = 0; d < v->rank; d++) b->operand_count *= v->dims[d];
        int in[2];
        for (int i = 0; i < 2; i++)
            in[i] =
                amg_plan_read(p, node, n->inputs[i], amg_plan_plain(p, n->inputs[i]));
        int d = amg_plan_grad_target(p, n->inputs[k], plain);
        amg_emit_kernel(p, node, "broadcast backward", run_gradient, b, 4,
                        (int[]){d, dy, in[0], in[1]});
        amg_plan_give_grad(p, node, n->inputs[k], d, plain);
    }
}
