/* MatMul of matrices in row-major memory, any number of batch dims in front, which
 * broadcast. By a 2-d parameter it is kernel_gemm.c's, if the other operand is 2-d too.
 *
 *     C[i] = A[at_a(i)] B[at_b(i)]      A [M,K], B [K,N], C [M,N]; i over the batch
 *     dA[j] = sum of dC[i] B[at_b(i)]^T over all i with at_a(i) = j, in their order
 *     dB[j] = sum of A[at_a(i)]^T dC[i] over all i with at_b(i) = j, in their order
 *
 * Matrices are shared out among threads; a single one is oneDNN's to share out. Where
 * all of A meets one B, A is one tall matrix. */
#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/walk.h"

typedef struct {
    int64_t m, n, k, batch;
    int64_t count[2];  /* matrices of A and B */
    int64_t *at[2];    /* [batch]: which of them */
    int64_t *first[2]; /* [count+1], into users */
    int64_t *users[2]; /* [batch]: the i of each operand's matrix, ascending */
} mat_mul;

typedef struct {
    const mat_mul *s;
    int which; /* operand whose gradient is computed */
    float *dst;
    const float *a, *b, *dc;
} context;

static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const mat_mul *s = c->s;
    for (int64_t i = begin; i < end; i++)
        amg_dnnl_gemm(false, false, s->m, s->n, s->k, c->a + s->at[0][i] * s->m * s->k,
                      s->k, c->b + s->at[1][i] * s->k * s->n, s->n, 0,
                      c->dst + i * s->m * s->n, s->n);
}

/* What matrix i of the batch adds to its matrix of A or B. */
static void add_gradient(const context *c, int64_t i, float beta)
{
    const mat_mul *s = c->s;
    const float *dc = c->dc + i * s->m * s->n;
    if (c->which == 0)
        amg_dnnl_gemm(false, true, s->m, s->k, s->n, dc, s->n,
                      c->b + s->at[1][i] * s->k * s->n, s->n, beta,
                      c->dst + s->at[0][i] * s->m * s->k, s->k);
    else
        amg_dnnl_gemm(true, false, s->k, s->n, s->m, c->a + s->at[0][i] * s->m * s->k,
                      s->k, dc, s->n, beta, c->dst + s->at[1][i] * s->k * s->n, s->n);
}

static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const int64_t *first = c->s->first[c->which], *users = c->s->users[c->which];
    for (int64_t j = begin; j < end; j++)
        for (int64_t u = first[j]; u < first[j + 1]; u++)
            add_gradient(c, users[u], u > first[j] ? 1 : 0);
}

static void run(context *c, int64_t count, amg_range_fn fn)
{
    amg_parallel_for(count, 32768 / (c->s->m * c->s->n * c->s->k) + 1, fn, c);
}

static void run_forward(const amg_call *call)
{
    context c = {
        .s = call->self, .dst = call->ptr[0], .a = call->ptr[1], .b = call->ptr[2]};
    run(&c, c.s->batch, forward_range);
}

/* ptr: gradient of the operand, dC, the other operand. */
static void run_da(const amg_call *call)
{
    context c = {
        .s = call->self, .dst = call->ptr[0], .dc = call->ptr[1], .b = call->ptr[2]};
    run(&c, c.s->count[0], backward_range);
}

static void run_db(const amg_call *call)
{
    context c = {.s = call->self,
                 .which = 1,
                 .dst = call->ptr[0],
                 .dc = call->ptr[1],
                 .a = call->ptr[2]};
    run(&c, c.s->count[1], backward_range);
}

/* Which matrix of operand k meets which, over the batch dims of the output. */
static void match(amg_plan *p, int node, int k, mat_mul *s)
{
    const amg_value *v = amg_plan_value(p, amg_plan_input_value(p, node, k));
    const amg_value *y = amg_plan_value(p, amg_plan_node(p, node)->outputs[0]);
    int64_t own[AMG_MAX_RANK] = {0}, stride[AMG_MAX_RANK] = {0};
    int lead = y->rank - 2, shift = y->rank - v->rank;
    amg_walk_strides(v->rank - 2, v->dims, own);
    s->count[k] = 1;
    for (int d = shift; d < lead; d++) {
        int64_t dim = v->dims[d - shift];
        stride[d] = dim == 1 ? 0 : own[d - shift];
        s->count[k] *= dim;
    }
    amg_walk w;
    amg_walk_init(&w, lead, y->dims, stride, 0);
    s->at[k] = amg_plan_alloc(p, (size_t)s->batch, sizeof(int64_t));
    s->users[k] = amg_plan_alloc(p, (size_t)s->batch, sizeof(int64_t));
    s->first[k] = amg_plan_alloc(p, (size_t)s->count[k] + 2, sizeof(int64_t));
    if (p->status) return;
    /* A counting sort: first[j + 1] counts up to where the users of j end. */
    int64_t *first = s->first[k];
    for (int64_t i = 0; i < s->batch; i++) {
        s->at[k][i] = amg_walk_at(&w, i);
        first[s->at[k][i] + 2]++;
    }
    for (int64_t j = 2; j < s->count[k] + 2; j++) first[j] += first[j - 1];
    for (int64_t i = 0; i < s->batch; i++) s->users[k][first[s->at[k][i] + 1]++] = i;
}

/* Whether kernel_gemm.c computes this node. */
static bool is_gemm(const amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *b = amg_plan_value(p, n->inputs[1]);
    return amg_plan_value(p, n->inputs[0])->rank == 2 && b->rank == 2 &&
           b->kind == AMG_VALUE_PARAM;
}

static int read_plain(amg_plan *p, int node, int i)
{
    int value = amg_plan_input_value(p, node, i);
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

void amg_mat_mul_forward(amg_plan *p, int node)
{
    if (is_gemm(p, node)) {
        amg_gemm_forward(p, node);
        return;
    }
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *a = amg_plan_value(p, n->inputs[0]);
    const amg_value *b = amg_plan_value(p, n->inputs[1]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    mat_mul *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    *s = (mat_mul){.m = a->dims[a->rank - 2],
                   .n = b->dims[b->rank - 1],
                   .k = a->dims[a->rank - 1],
                   .batch = 1};
    int64_t b_count = 1;
    for (int d = 0; d < b->rank - 2; d++) b_count *= b->dims[d];
    for (int d = 0; d < y->rank - 2; d++) s->batch *= y->dims[d];
    match(p, node, 0, s);
    match(p, node, 1, s);
    if (b_count == 1 && s->count[0] == s->batch && !p->status) {
        s->m *= s->batch;
        s->batch = s->count[0] = s->first[0][1] = s->first[1][1] = 1;
    }
    p->nodes[node].self = s;
    int in[2] = {read_plain(p, node, 0), read_plain(p, node, 1)};
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "matmul", run_forward, s, 3, (int[]){out, in[0], in[1]});
}

void amg_mat_mul_backward(amg_plan *p, int node)
{
    if (is_gemm(p, node)) {
        amg_gemm_backward(p, node);
        return;
    }
    const mat_mul *s = p->nodes[node].self;
    int dc = amg_plan_grad(p, node, NULL);
    for (int k = 0; k < 2; k++) {
        int value = amg_plan_input_value(p, node, k);
        if (!amg_plan_needs_grad(p, value)) continue;
        const amg_layout *plain = amg_plan_plain(p, value);
        int other = read_plain(p, node, 1 - k);
        int d = amg_plan_grad_target(p, value, plain);
        amg_emit_kernel(p, node, k ? "matmul d-b" : "matmul d-a", k ? run_db : run_da,
                        s, 3, (int[]){d, dc, other});
        amg_plan_give_grad(p, node, value, d, plain);
    }
}
