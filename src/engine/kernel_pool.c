/* MaxPool and AveragePool through oneDNN, in the layout of the input. MaxPool keeps the
 * positions of its maxima for the backward pass. */
#include <string.h>

#include "engine/kernel.h"

typedef struct {
    amg_pool_shape shape;
    amg_primitive *forward;
    const amg_layout *src, *dst;
    int positions; /* buffer */
} pool_state;

static void two_ints(const amg_node *n, const char *name, int64_t otherwise, int count,
                     int64_t *out)
{
    const amg_attr *a = amg_attr_find(n, name);
    for (int i = 0; i < count; i++)
        out[i] = a && a->count == count ? a->ints[i] : otherwise;
}

static bool read_shape(amg_plan *p, int node, amg_pool_shape *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    int64_t pads[4], dilations[2];
    two_ints(n, "kernel_shape", 1, 2, s->kernel);
    two_ints(n, "strides", 1, 2, s->stride);
    two_ints(n, "dilations", 1, 2, dilations);
    two_ints(n, "pads", 0, 4, pads);
    const char *auto_pad = amg_attr_string(n, "auto_pad", "NOTSET");
    bool explicit_pad = !strcmp(auto_pad, "NOTSET") || !strcmp(auto_pad, "VALID");
    if (x->rank != 4 || !explicit_pad || dilations[0] != 1 || dilations[1] != 1) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "%d dims, auto_pad %s, dilations %lldx%lld; expected 4 dims, "
                      "explicit padding, no dilation",
                      x->rank, auto_pad, (long long)dilations[0],
                      (long long)dilations[1]);
        return false;
    }
    s->n = x->dims[0];
    s->channels = x->dims[1];
    s->in_h = x->dims[2];
    s->in_w = x->dims[3];
    s->out_h = y->dims[2];
    s->out_w = y->dims[3];
    s->kind = AMG_POOL_MAX;
    if (n->op == AMG_OP_AVERAGE_POOL)
        s->kind = amg_attr_int(n, "count_include_pad", 0) ? AMG_POOL_AVERAGE_PADDED
                                                          : AMG_POOL_AVERAGE;
    for (int i = 0; i < 2; i++) {
        s->pad_begin[i] = pads[i];
        s->pad_end[i] = (y->dims[2 + i] - 1) * s->stride[i] + s->kernel[i] -
                        x->dims[2 + i] - pads[i];
        /* ceil_mode: windows beyond the declared padding, which do not count it. */
        if (s->kind == AMG_POOL_AVERAGE_PADDED && s->pad_end[i] > pads[2 + i]) {
            amg_plan_fail(p, node, AMG_UNSUPPORTED,
                          "ceil_mode with count_include_pad has windows beyond the "
                          "padding");
            return false;
        }
    }
    return true;
}

static amg_status make_forward(amg_plan *p, int node, pool_state *self,
                               const amg_layout *src, amg_error *err)
{
    self->src = src;
    self->dst = amg_plan_blocked_like(p, src, amg_plan_result(p, node));
    if (!self->dst) return p->status;
    return amg_dnnl_pool(p->dnnl, &self->shape, self->src, self->dst,
                         p->options.training, NULL, &self->forward, err);
}

void amg_pool_forward(amg_plan *p, int node)
{
    pool_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self || !read_shape(p, node, &self->shape)) return;
    p->nodes[node].self = self;
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *own = amg_plan_layout(p, x), *plain = amg_plan_plain(p, x);
    if (p->status) return;
    amg_error err = {0};
    amg_status status = make_forward(p, node, self, own, &err);
    if (status == AMG_UNSUPPORTED && own != plain)
        status = make_forward(p, node, self, plain, &err);
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
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status = amg_dnnl_pool(p->dnnl, &self->shape, self->src, self->dst, true,
                                      self->forward, &prim, &err);
    if (status) {
        amg_plan_fail_with(p, node, status, &err);
        return;
    }
    int dx = amg_plan_grad_target(p, x, self->src);
    amg_use uses[3] = {{AMG_ARG_DIFF_DST, amg_plan_grad(p, node, self->dst)},
                       {AMG_ARG_DIFF_SRC, dx},
                       {AMG_ARG_WORKSPACE, self->positions}};
    bool positions = amg_primitive_layout(prim, AMG_ARG_WORKSPACE) != NULL;
    amg_emit_primitive(p, node, "pool backward", prim, 2 + positions, uses);
    amg_plan_give_grad(p, node, x, dx, self->src);
}
