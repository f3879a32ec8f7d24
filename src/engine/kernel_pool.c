/* MaxPool and AveragePool through oneDNN, in the layout of the input; what it has no
 * fast kernel for goes to kernel_pool_loop.c. MaxPool keeps the positions of its maxima
 * for the backward pass. */
#include <string.h>

#include "engine/pool.h"

typedef struct {
    amg_pool_maker maker; /* AMG_POOL_DNNL */
    amg_pool_shape shape;
    amg_primitive *forward, *backward; /* backward: training only */
    const amg_layout *src, *dst;
    int positions; /* buffer */
} pool_state;

/* false: not one of oneDNN's. */
static bool set_shape(amg_plan *p, int node, const amg_window *w, amg_pool_shape *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const size_t size = sizeof *s->kernel * (size_t)w->num_dims;
    s->num_dims = w->num_dims;
    s->kind = AMG_POOL_MAX;
    if (n->op == AMG_OP_AVERAGE_POOL)
        s->kind = amg_attr_int(n, "count_include_pad", 0) ? AMG_POOL_AVERAGE_PADDED
                                                          : AMG_POOL_AVERAGE;
    memcpy(s->kernel, w->kernel, size);
    memcpy(s->stride, w->stride, size);
    memcpy(s->pad_begin, w->begin, size);
    for (int i = 0; i < w->num_dims; i++) {
        s->pad_end[i] = amg_window_end(w, i, x->dims[2 + i], y->dims[2 + i]);
        /* ceil_mode: windows beyond the declared padding, which do not count it. */
        if (w->dilation[i] != 1 || w->begin[i] >= w->kernel[i] ||
            s->pad_end[i] >= w->kernel[i] ||
            (s->kind == AMG_POOL_AVERAGE_PADDED && s->pad_end[i] > w->end[i]))
            return false;
    }
    return true;
}

/* Both primitives, so that a pool has one maker for both. */
static amg_status make(amg_plan *p, int node, pool_state *self, const amg_layout *src,
                       amg_error *err)
{
    self->src = src;
    self->dst = amg_plan_blocked_like(p, src, amg_plan_result(p, node));
    if (!self->dst) return p->status;
    const bool training = p->options.training;
    amg_status status = amg_dnnl_pool(p->dnnl, &self->shape, self->src, self->dst,
                                      training, NULL, &self->forward, err);
    if (status || !training) return status;
    return amg_dnnl_pool(p->dnnl, &self->shape, self->src, self->dst, true,
                         self->forward, &self->backward, err);
}

void amg_pool_forward(amg_plan *p, int node)
{
    pool_state *self = amg_plan_alloc(p, 1, sizeof *self);
    amg_window w;
    if (!self || !amg_plan_window(p, node, &w)) return;
    if (!set_shape(p, node, &w, &self->shape)) {
        amg_pool_loop_forward(p, node, &w);
        return;
    }
    p->nodes[node].self = self;
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *own = amg_plan_layout(p, x), *plain = amg_plan_plain(p, x);
    if (p->status) return;
    amg_error err = {0};
    amg_status status = make(p, node, self, own, &err);
    if (status == AMG_UNSUPPORTED && own != plain)
        status = make(p, node, self, plain, &err);
    if (status == AMG_UNSUPPORTED) {
        amg_pool_loop_forward(p, node, &w);
        return;
    }
    if (status) {
        amg_plan_fail_with(p, node, status, &err);
        return;
    }
    amg_use uses[3] = {
        {AMG_ARG_SRC, amg_plan_read(p, node, x, self->src)},
        {AMG_ARG_DST, amg_plan_define(p, amg_plan_result(p, node), self->dst)}};
    const amg_layout *positions =
        amg_primitive_layout(self->forward, AMG_ARG_WORKSPACE);
    if (positions) {
        self->positions = amg_plan_temp(p, amg_layout_bytes(positions));
        uses[2] = (amg_use){AMG_ARG_WORKSPACE, self->positions};
    }
    amg_emit_primitive(p, node, "pool", self->forward, 2 + (positions != NULL), uses);
}

void amg_pool_backward(amg_plan *p, int node)
{
    const pool_state *self = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0);
    if (!amg_plan_needs_grad(p, x)) return;
    if (self->maker == AMG_POOL_LOOP) {
        amg_pool_loop_backward(p, node);
        return;
    }
    amg_primitive *prim = self->backward;
    int dx = amg_plan_grad_target(p, x, self->src);
    amg_use uses[3] = {{AMG_ARG_DIFF_DST, amg_plan_grad(p, node, self->dst)},
                       {AMG_ARG_DIFF_SRC, dx},
                       {AMG_ARG_WORKSPACE, self->positions}};
    bool positions = amg_primitive_layout(prim, AMG_ARG_WORKSPACE) != NULL;
    amg_emit_primitive(p, node, "pool backward", prim, 2 + positions, uses);
    amg_plan_give_grad(p, node, x, dx, self->src);
}
