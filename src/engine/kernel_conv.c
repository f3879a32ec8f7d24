/* Conv: oneDNN's Winograd or direct convolution in whatever layouts it prefers. The
 * forward pass chooses the layout in which the weights live for good; the backward
 * passes follow it, or get a reorder. */
#include <string.h>

#include "engine/kernel.h"

typedef struct {
    amg_conv_shape shape;
    amg_primitive *forward;
    const amg_layout *plain_weights;
} conv_state;

void amg_node_ints(const amg_node *n, const char *name, int count, int64_t otherwise,
                   int64_t *out)
{
    const amg_attr *a = amg_attr_find(n, name);
    for (int i = 0; i < count; i++)
        out[i] =
            a && a->kind == AMG_ATTR_INTS && a->count == count ? a->ints[i] : otherwise;
}

/* Reads the node; false after a failure. */
static bool read_shape(amg_plan *p, int node, amg_conv_shape *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *w = amg_plan_value(p, n->inputs[1]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const char *auto_pad = amg_attr_string(n, "auto_pad", "NOTSET");
    if (x->rank != 4 || w->rank != 4) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "input has %d dims and weight %d, expected 4", x->rank, w->rank);
        return false;
    }
    if (strcmp(auto_pad, "NOTSET") != 0 && strcmp(auto_pad, "VALID") != 0) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "auto_pad is %s, expected explicit padding", auto_pad);
        return false;
    }
    int64_t pads[4];
    amg_node_ints(n, "pads", 4, 0, pads);
    amg_node_ints(n, "strides", 2, 1, s->stride);
    amg_node_ints(n, "dilations", 2, 1, s->dilation);
    s->n = x->dims[0];
    s->groups = amg_attr_int(n, "group", 1);
    s->in_channels = x->dims[1];
    s->in_h = x->dims[2];
    s->in_w = x->dims[3];
    s->out_channels = y->dims[1];
    s->out_h = y->dims[2];
    s->out_w = y->dims[3];
    const int64_t in[2] = {s->in_h, s->in_w}, out[2] = {s->out_h, s->out_w};
    for (int i = 0; i < 2; i++) {
        s->kernel[i] = w->dims[2 + i];
        s->pad_begin[i] = pads[i];
        /* Rows at the end that no window reaches are padding of a negative amount. */
        s->pad_end[i] = (out[i] - 1) * s->stride[i] +
                        (s->kernel[i] - 1) * s->dilation[i] + 1 - in[i] - pads[i];
    }
    s->bias = amg_plan_input_value(p, node, 2) != AMG_NO_VALUE;
    /* Winograd pads channels to 16: on the 3 of an image direct convolution is cheaper.
     */
    s->winograd = !p->options.no_winograd && s->in_channels >= 16;
    return true;
}

void amg_conv_forward(amg_plan *p, int node)
{
    conv_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self || !read_shape(p, node, &self->shape)) return;
    p->nodes[node].self = self;
    const amg_conv_shape *s = &self->shape;
    amg_error err = {0};
    amg_status status = amg_dnnl_conv(p->dnnl, AMG_PASS_FORWARD, s, NULL, NULL, NULL,
                                      NULL, &self->forward, &err);
    if (status) {
        amg_plan_fail_with(p, node, status, &err);
        return;
    }
    const amg_primitive *f = self->forward;
    int64_t grouped[] = {s->groups, s->out_channels / s->groups,
                         s->in_channels / s->groups, s->kernel[0], s->kernel[1]};
    int skip = s->groups == 1;
    self->plain_weights = amg_layout_plain(p->dnnl, 5 - skip, grouped + skip);
    if (!self->plain_weights) {
        amg_plan_fail(p, node, AMG_NO_MEMORY, "no memory for a layout");
        return;
    }
    int x = amg_plan_input_value(p, node, 0), w = amg_plan_input_value(p, node, 1);
    amg_use uses[4] = {
        {AMG_ARG_SRC, amg_plan_read(p, node, x, amg_primitive_layout(f, AMG_ARG_SRC))},
        {AMG_ARG_WEIGHTS,
         amg_plan_read_param(p, node, w, amg_primitive_layout(f, AMG_ARG_WEIGHTS),
                             self->plain_weights)}};
    int count = 2;
    if (s->bias)
        uses[count++] =
            (amg_use){AMG_ARG_BIAS,
                      amg_plan_read(p, node, amg_plan_input_value(p, node, 2), NULL)};
    uses[count++] =
        (amg_use){AMG_ARG_DST, amg_plan_define(p, amg_plan_result(p, node),
                                               amg_primitive_layout(f, AMG_ARG_DST))};
    amg_emit_primitive(p, node, "conv", self->forward, count, uses);
}

/* A backward primitive in the forward's layouts (weights as given), or, where there is
 * none, in layouts of oneDNN's choice. */
static amg_primitive *make_backward(amg_plan *p, int node, amg_pass pass,
                                    const amg_conv_shape *shape,
                                    const amg_layout *weights)
{
    const conv_state *self = p->nodes[node].self;
    const amg_layout *src = amg_primitive_layout(self->forward, AMG_ARG_SRC);
    const amg_layout *dst = amg_primitive_layout(self->forward, AMG_ARG_DST);
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status = amg_dnnl_conv(p->dnnl, pass, shape, src, weights, dst,
                                      self->forward, &prim, &err);
    if (status == AMG_UNSUPPORTED)
        status = amg_dnnl_conv(p->dnnl, pass, shape, NULL, NULL, NULL, self->forward,
                               &prim, &err);
    if (status) amg_plan_fail_with(p, node, status, &err);
    return status ? NULL : prim;
}

static void backward_weights(amg_plan *p, int node)
{
    const conv_state *self = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0), w = amg_plan_input_value(p, node, 1);
    int b = amg_plan_input_value(p, node, 2);
    amg_conv_shape shape = self->shape;
    shape.bias = amg_plan_needs_grad(p, b);
    amg_primitive *prim = make_backward(p, node, AMG_PASS_BACKWARD_WEIGHTS, &shape,
                                        amg_plan_layout(p, w));
    if (!prim) return;
    const amg_layout *dweights = amg_primitive_layout(prim, AMG_ARG_DIFF_WEIGHTS);
    int dw = amg_plan_grad_target(p, w, dweights);
    int db = shape.bias ? amg_plan_grad_target(p, b, NULL) : AMG_NO_BUFFER;
    amg_use uses[4] = {
        {AMG_ARG_SRC,
         amg_plan_read(p, node, x, amg_primitive_layout(prim, AMG_ARG_SRC))},
        {AMG_ARG_DIFF_DST,
         amg_plan_grad(p, node, amg_primitive_layout(prim, AMG_ARG_DIFF_DST))},
        {AMG_ARG_DIFF_WEIGHTS, dw},
        {AMG_ARG_DIFF_BIAS, db}};
    amg_emit_primitive(p, node, "conv d-weights", prim, 3 + shape.bias, uses);
    amg_plan_give_grad(p, node, w, dw, dweights);
    if (shape.bias) amg_plan_give_grad(p, node, b, db, NULL);
}

static void backward_data(amg_plan *p, int node)
{
    const conv_state *self = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0), w = amg_plan_input_value(p, node, 1);
    amg_conv_shape shape = self->shape;
    shape.bias = false;
    /* Direct convolution wants the weights' two channel blocks the other way round: its
     * own choice plus one small reorder is far cheaper than forcing the home layout. */
    amg_primitive *prim = make_backward(p, node, AMG_PASS_BACKWARD_DATA, &shape, NULL);
    if (!prim) return;
    const amg_layout *dsrc = amg_primitive_layout(prim, AMG_ARG_DIFF_SRC);
    int dx = amg_plan_grad_target(p, x, dsrc);
    amg_use uses[3] = {
        {AMG_ARG_DIFF_DST,
         amg_plan_grad(p, node, amg_primitive_layout(prim, AMG_ARG_DIFF_DST))},
        {AMG_ARG_WEIGHTS,
         amg_plan_read(p, node, w, amg_primitive_layout(prim, AMG_ARG_WEIGHTS))},
        {AMG_ARG_DIFF_SRC, dx}};
    amg_emit_primitive(p, node, "conv d-data", prim, 3, uses);
    amg_plan_give_grad(p, node, x, dx, dsrc);
}

void amg_conv_backward(amg_plan *p, int node)
{
    bool weights = amg_plan_needs_grad(p, amg_plan_input_value(p, node, 1)) ||
                   amg_plan_needs_grad(p, amg_plan_input_value(p, node, 2));
    if (weights) backward_weights(p, node);
    if (amg_plan_needs_grad(p, amg_plan_input_value(p, node, 0)))
        backward_data(p, node);
}
