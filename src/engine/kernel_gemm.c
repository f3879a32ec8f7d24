/* Gemm and MatMul by a 2-d parameter: oneDNN's inner product on row-major matrices. The
 * parameter keeps its own row-major layout; [K, M] weights are read as transposed. */
#include "engine/kernel.h"

typedef struct {
    const amg_layout *src, *weights, *dst; /* weights as [M, K] */
    const amg_layout *home;                /* weights as the parameter has them */
    amg_primitive *forward;
} gemm_state;

static bool check_node(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *w = amg_plan_value(p, n->inputs[1]);
    int b = amg_plan_input_value(p, node, 2);
    if (x->rank != 2 || w->rank != 2 || w->kind != AMG_VALUE_PARAM) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "%d dims by %d dims, expected a matrix by a matrix parameter",
                      x->rank, w->rank);
        return false;
    }
    if (amg_attr_float(n, "alpha", 1) != 1 || amg_attr_float(n, "beta", 1) != 1 ||
        amg_attr_int(n, "transA", 0) != 0) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "expected alpha = 1, beta = 1, transA = 0");
        return false;
    }
    if (b == AMG_NO_VALUE) return true;
    int64_t count = 1, columns = amg_plan_value(p, n->outputs[0])->dims[1];
    const amg_value *bias = amg_plan_value(p, b);
    for (int i = 0; i < bias->rank; i++) count *= bias->dims[i];
    if (bias->kind == AMG_VALUE_PARAM && count == columns &&
        (bias->rank == 0 || bias->dims[bias->rank - 1] == columns))
        return true;
    amg_plan_fail(p, node, AMG_UNSUPPORTED, "bias has %lld values, expected %lld",
                  (long long)count, (long long)columns);
    return false;
}

static amg_primitive *make(amg_plan *p, int node, amg_pass pass, bool bias)
{
    const gemm_state *s = p->nodes[node].self;
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status = amg_dnnl_inner(p->dnnl, pass, bias, s->src, s->weights, s->dst,
                                       s->forward, &prim, &err);
    if (status) amg_plan_fail_with(p, node, status, &err);
    return status ? NULL : prim;
}

void amg_gemm_forward(amg_plan *p, int node)
{
    gemm_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self || !check_node(p, node)) return;
    p->nodes[node].self = self;
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *w = amg_plan_value(p, n->inputs[1]);
    bool transposed = n->op == AMG_OP_GEMM && amg_attr_int(n, "transB", 0) != 0;
    self->home = amg_plan_plain(p, n->inputs[1]);
    self->src = amg_plan_plain(p, n->inputs[0]);
    self->dst = amg_plan_plain(p, n->outputs[0]);
    self->weights = transposed ? self->home
                               : amg_layout_transposed(p->dnnl, w->dims[1], w->dims[0]);
    if (!p->status && !self->weights)
        amg_plan_fail(p, node, AMG_NO_MEMORY, "no memory for a layout");
    if (p->status) return;
    int bias = amg_plan_input_value(p, node, 2);
    bool has_bias = bias != AMG_NO_VALUE;
    self->forward = make(p, node, AMG_PASS_FORWARD, has_bias);
    if (!self->forward) return;
    amg_use uses[4] = {{AMG_ARG_SRC, amg_plan_read(p, node, n->inputs[0], self->src)},
                       {AMG_ARG_WEIGHTS, amg_plan_read_param(p, node, n->inputs[1],
                                                             self->home, self->home)},
                       {AMG_ARG_DST, amg_plan_define(p, n->outputs[0], self->dst)}};
    if (has_bias) uses[3] = (amg_use){AMG_ARG_BIAS, amg_plan_read(p, node, bias, NULL)};
    amg_emit_primitive(p, node, "gemm", self->forward, 3 + has_bias, uses);
}

void amg_gemm_backward(amg_plan *p, int node)
{
    const gemm_state *self = p->nodes[node].self;
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0], w = n->inputs[1], b = amg_plan_input_value(p, node, 2);
    int dy = amg_plan_grad(p, node, self->dst);
    if (amg_plan_needs_grad(p, w) || amg_plan_needs_grad(p, b)) {
        bool bias = amg_plan_needs_grad(p, b);
        amg_primitive *prim = make(p, node, AMG_PASS_BACKWARD_WEIGHTS, bias);
        if (!prim) return;
        int dw = amg_plan_grad_target(p, w, self->home);
        int db = bias ? amg_plan_grad_target(p, b, NULL) : AMG_NO_BUFFER;
        amg_use uses[4] = {{AMG_ARG_SRC, amg_plan_read(p, node, x, self->src)},
                           {AMG_ARG_DIFF_DST, dy},
                           {AMG_ARG_DIFF_WEIGHTS, dw},
                           {AMG_ARG_DIFF_BIAS, db}};
        amg_emit_primitive(p, node, "gemm d-weights", prim, 3 + bias, uses);
        amg_plan_give_grad(p, node, w, dw, self->home);
        if (bias) amg_plan_give_grad(p, node, b, db, NULL);
    }
    if (amg_plan_needs_grad(p, x)) {
        amg_primitive *prim = make(p, node, AMG_PASS_BACKWARD_DATA, false);
        if (!prim) return;
        int dx = amg_plan_grad_target(p, x, self->src);
        amg_use uses[3] = {{AMG_ARG_DIFF_DST, dy},
                           {AMG_ARG_WEIGHTS, amg_plan_read(p, node, w, self->home)},
                           {AMG_ARG_DIFF_SRC, dx}};
        amg_emit_primitive(p, node, "gemm d-data", prim, 3, uses);
        amg_plan_give_grad(p, node, x, dx, self->src);
    }
}
