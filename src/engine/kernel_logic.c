/* What bools are made of and used for: comparisons (Equal, Greater, Less, …), IsNaN,
 * IsInf, Not, And, Or, Xor, and Where, by which networks mask padding and what
 * attention must not see; and arithmetic on whole numbers (positions, tokens). Any
 * broadcast, over row-major memory; the loops along it are kernel_rows.c's. Bools are
 * bytes of 0 or 1 and carry no gradient; Where's goes to whichever of its two values
 * was taken. */
#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/kernel_rows.h"
#include "engine/walk.h"

enum { GRAIN = 16384, MAX_OPERANDS = 3 };

typedef struct {
    int num_operands;
    amg_walk in[MAX_OPERANDS];          /* over the elements of the output */
    const void *constant[MAX_OPERANDS]; /* the graph's data; NULL: a buffer */
    size_t size[MAX_OPERANDS], out_size;
    int64_t run; /* the longest along which no operand changes its stride */
    amg_row_fn row;
    /* Of Where's gradient only: the operand, and the dims along which it repeats. */
    int which;
    amg_fold sum;
} logic;

typedef struct {
    const logic *s;
    char *dst;
    const void *in[MAX_OPERANDS];
    const float *dy;
} context;

/* ---- runs -------------------------------------------------------------------------
 */

/* Takes operands from the buffers that follow the first `skip`. */
static context begin(const amg_call *call, int skip)
{
    const logic *s = call->self;
    context c = {.s = s, .dst = call->ptr[0]};
    for (int k = 0; k < s->num_operands; k++)
        c.in[k] = s->constant[k] ? s->constant[k] : call->ptr[skip++];
    return c;
}

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const logic *s = c->s;
    const void *in[MAX_OPERANDS];
    int64_t stride[MAX_OPERANDS], n;
    for (int k = 0; k < s->num_operands; k++)
        stride[k] = s->in[k].stride[s->in[k].rank - 1];
    for (int64_t i = begin; i < end; i += n) {
        n = s->run - i % s->run;
        if (n > end - i) n = end - i;
        for (int k = 0; k < s->num_operands; k++)
            in[k] =
                (const char *)c->in[k] + (size_t)amg_walk_at(&s->in[k], i) * s->size[k];
        s->row(c->dst + (size_t)i * s->out_size, in, stride, n);
    }
}

static void run_forward(const amg_call *call)
{
    context c = begin(call, 1);
    amg_parallel_for(c.s->in[0].count, GRAIN, forward_range, &c);
}

/* The gradient of value `which` where it was taken, at each element of the output. */
static void gradient_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_walk *w = &c->s->in[0];
    const int64_t run = w->dims[w->rank - 1], stride = w->stride[w->rank - 1];
    const bool taken = c->s->which == 1;
    float *to = (float *)(void *)c->dst;
    int64_t n;
    for (int64_t i = begin; i < end; i += n) {
        const uint8_t *condition = (const uint8_t *)c->in[0] + amg_walk_at(w, i);
        n = run - i % run;
        if (n > end - i) n = end - i;
        for (int64_t k = 0; k < n; k++)
            to[i + k] = condition[k * stride] == taken ? c->dy[i + k] : 0;
    }
}

/* ptr: gradient at each element of the output, dy, the condition unless constant. */
static void run_gradient(const amg_call *call)
{
    context c = begin(call, 2);
    c.dy = call->ptr[1];
    amg_parallel_for(c.s->in[0].count, GRAIN, gradient_range, &c);
}

static void run_sum(const amg_call *call)
{
    const logic *s = call->self;
    amg_fold_run(&s->sum, call->ptr[0], call->ptr[1]);
}

/* ---- emitting ---------------------------------------------------------------------
 */

/* Whole numbers and bools that are constant are read where the graph has them. Returns
 * how many buffers were added. */
static int add_operand(amg_plan *p, int node, logic *s, int k, int *buffer)
{
    const int value = amg_plan_input_value(p, node, k);
    const amg_tensor *t = amg_plan_constant(p, value);
    if (t && t->dtype != AMG_F32) {
        s->constant[k] = t->data;
        return 0;
    }
    *buffer = amg_plan_read(p, node, value, amg_plan_plain(p, value));
    return 1;
}

bool amg_logic_takes(const amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_dtype dtype = amg_plan_value(p, n->inputs[0])->dtype;
    return dtype != AMG_F32 && amg_row_find(n, dtype);
}

void amg_logic_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const amg_value *x = amg_plan_value(p, n->inputs[n->num_inputs - 1]);
    logic *s = amg_plan_alloc(p, 1, sizeof *s);
    int buffers[1 + MAX_OPERANDS], num = 1;
    if (!s) return;
    s->row = amg_row_find(n, x->dtype);
    if (!s->row)
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "operands are %s, expected F32, I64, I32, U8 or BOOL",
                      amg_dtype_name(x->dtype));
    s->num_operands = n->num_inputs;
    s->out_size = amg_dtype_size(y->dtype);
    for (int k = 0; k < n->num_inputs && !p->status; k++) {
        const amg_value *v = amg_plan_value(p, n->inputs[k]);
        int64_t stride[AMG_MAX_RANK];
        (void)amg_walk_broadcast(v->rank, v->dims, y->rank, y->dims, stride);
        amg_walk_init(&s->in[k], y->rank, y->dims, stride, 0);
        const int64_t run = s->in[k].dims[s->in[k].rank - 1];
        if (k == 0 || run < s->run) s->run = run;
        s->size[k] = amg_dtype_size(v->dtype);
        num += add_operand(p, node, s, k, &buffers[num]);
    }
    if (p->status) return;
    p->nodes[node].self = s;
    buffers[0] = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "logic", run_forward, s, num, buffers);
}

/* Gradient of one of Where's values: where it takes the shape of the output, and its
 * sums over the dims along which it repeats. */
static void emit_gradient(amg_plan *p, int node, int which, int dy)
{
    const int value = amg_plan_input_value(p, node, which);
    const amg_value *x = amg_plan_value(p, value);
    const amg_value *y = amg_plan_value(p, amg_plan_result(p, node));
    const amg_layout *plain = amg_plan_plain(p, value);
    const amg_layout *wide = amg_plan_plain(p, amg_plan_result(p, node));
    logic *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s || !plain || !wide) return;
    *s = *(const logic *)p->nodes[node].self;
    s->num_operands = 1;
    s->which = which;
    int64_t stride[AMG_MAX_RANK];
    const unsigned repeats =
        amg_walk_broadcast(x->rank, x->dims, y->rank, y->dims, stride);
    amg_fold_init(&s->sum, y->rank, y->dims, repeats, 1);
    const int d = amg_plan_grad_target(p, value, plain);
    const int each = repeats ? amg_plan_temp(p, amg_layout_bytes(wide)) : d;
    int buffers[3] = {each, dy};
    const int num = 2 + add_operand(p, node, s, 0, &buffers[2]);
    amg_emit_kernel(p, node, "where backward", run_gradient, s, num, buffers);
    if (repeats) amg_emit_kernel(p, node, "where sum", run_sum, s, 2, (int[]){d, each});
    amg_plan_give_grad(p, node, value, d, plain);
}

void amg_where_backward(amg_plan *p, int node)
{
    const int dy = amg_plan_grad(p, node, NULL);
    for (int k = 1; k < MAX_OPERANDS; k++)
        if (amg_plan_needs_grad(p, amg_plan_input_value(p, node, k)))
            emit_gradient(p, node, k, dy);
}
