/* Gemm and MatMul by a 2-d parameter: oneDNN's inner product on row-major matrices. The
 * parameter keeps its own row-major layout; [K, M] weights are read as transposed. Each
 * pass reads two matrices, in bf16 if the plan says so, and writes the third in f32. */
#include "engine/kernel.h"

/* x, weights as [M, K], y; and the weights as the parameter has them. */
typedef struct {
    const amg_layout *src, *weights, *dst, *home;
} matrices;

typedef struct {
    matrices written, read;
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
    const matrices *r = &s->read, *w = &s->written;
    amg_status status = amg_dnnl_inner(
        p->dnnl, pass, bias, pass == AMG_PASS_BACKWARD_DATA ? w->src : r->src,
        pass == AMG_PASS_BACKWARD_WEIGHTS ? w->weights : r->weights,
        pass == AMG_PASS_FORWARD ? w->dst : r->dst, s->forward, &prim, &err);
    if (status) amg_plan_fail_with(p, node, status, &err);
    return status ? NULL : prim;
}

static void find_layouts(amg_plan *p, int node, gemm_state *self)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *w = amg_plan_value(p, n->inputs[1]);
    const bool as_stored = n->op == AMG_OP_GEMM && amg_attr_int(n, "transB", 0) != 0;
    const int64_t rows = w->dims[!as_stored], columns = w->dims[as_stored];
    matrices *written = &self->written, *read = &self->read;
    written->home = amg_plan_plain(p, n->inputs[1]);
    written->src = amg_plan_plain(p, n->inputs[0]);
    written->dst = amg_plan_plain(p, n->outputs[0]);
    written->weights =
        as_stored ? written->home : amg_layout_transposed(p->dnnl, rows, columns);
    *read = *written;
    if (p->options.bf16) {
        amg_dnnl *d = p->dnnl;
        read->home = amg_layout_bf16_matrix(d, w->dims[0], w->dims[1], false);
        read->src = amg_layout_bf16_matrix(d, x->dims[0], columns, false);
        read->dst = amg_layout_bf16_matrix(d, x->dims[0], rows, false);
        read->weights = amg_layout_bf16_matrix(d, rows, columns, !as_stored);
    }
    if (!p->status && (!written->weights || !read->home || !read->src || !read->dst ||
                       !read->weights))
        amg_plan_fail(p, node, AMG_NO_MEMORY, "no memory for a layout");
}

void amg_gemm_forward(amg_plan *p, int node)
{
    gemm_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self || !check_node(p, node)) return;
    p->nodes[node].self = self;
    const amg_node *n = amg_plan_node(p, node);
    find_layouts(p, node, self);
    if (p->status) return;
    int bias = amg_plan_input_value(p, node, 2);
    bool has_bias = bias != AMG_NO_VALUE;
    self->forward = make(p, node, AMG_PASS_FORWARD, has_bias);
    if (!self->forward) return;
    const matrices *read = &self->read, *written = &self->written;
    (void)amg_plan_read_param(p, node, n->inputs[1], written->home, written->home);
    amg_use uses[4] = {
        {AMG_ARG_SRC, amg_plan_read(p, node, n->inputs[0], read->src)},
        {AMG_ARG_WEIGHTS, amg_plan_read(p, node, n->inputs[1], read->home)},
        {AMG_ARG_DST, amg_plan_define(p, n->outputs[0], written->dst)}};
    if (has_bias) uses[3] = (amg_use){AMG_ARG_BIAS, amg_plan_read(p, node, bias, NULL)};
    amg_emit_primitive(p, node, "gemm", self->forward, 3 + has_bias, uses);
}

void amg_gemm_backward(amg_plan *p, int node)
{
    const gemm_state *self = p->nodes[node].self;
    const matrices *read = &self->read, *written = &self->written;
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0], w = n->inputs[1], b = amg_plan_input_value(p, node, 2);
    int dy = amg_plan_grad(p, node, read->dst);
    if (amg_plan_needs_grad(p, w) || amg_plan_needs_grad(p, b)) {
        bool bias = amg_plan_needs_grad(p, b);
        amg_primitive *prim = make(p, node, AMG_PASS_BACKWARD_WEIGHTS, bias);
        if (!prim) return;
        int dw = amg_plan_grad_target(p, w, written->home);
        int db = bias ? amg_plan_grad_target(p, b, NULL) : AMG_NO_BUFFER;
        amg_use uses[4] = {{AMG_ARG_SRC, amg_plan_read(p, node, x, read->src)},
                           {AMG_ARG_DIFF_DST, dy},
                           {AMG_ARG_DIFF_WEIGHTS, dw},
                           {AMG_ARG_DIFF_BIAS, db}};
        amg_emit_primitive(p, node, "gemm d-weights", prim, 3 + bias, uses);
        amg_plan_give_grad(p, node, w, dw, written->home);
        if (bias) amg_plan_give_grad(p, node, b, db, NULL);
    }
    if (amg_plan_needs_grad(p, x)) {
        amg_primitive *prim = make(p, node, AMG_PASS_BACKWARD_DATA, false);
        if (!prim) return;
        int dx = amg_plan_grad_target(p, x, written->src);
        amg_use uses[3] = {{AMG_ARG_DIFF_DST, dy},
                           {AMG_ARG_WEIGHTS, amg_plan_read(p, node, w, read->home)},
                           {AMG_ARG_DIFF_SRC, dx}};
        amg_emit_primitive(p, node, "gemm d-data", prim, 3, uses);
        amg_plan_give_grad(p, node, x, dx, written->src);
    }
}
