/* Conv: oneDNN's Winograd or direct convolution in whatever layouts it prefers. The
 * forward pass chooses the layout in which the weights live for good; the backward
 * passes follow it, or get a reorder. */
#include "engine/kernel.h"

typedef struct {
    amg_conv_shape shape;
    amg_primitive *forward;
    const amg_layout *plain_weights;
    amg_primitive *weights_pass; /* bf16: made ahead, its layout is the weights' home */
    const amg_layout *gradient_layout; /* NULL: not read yet */
    int gradient;
} conv_state;

/* In bf16 operands are copied first: it pays where a copied value meets many others.
 * Below this many (a product's terms over what it reads and writes, for one pixel of a
 * group) f32 is faster (bench/LOG.md, 2026-11-23). */
#define BF16_LEAST_REUSE 40

static bool pays_in_bf16(const amg_conv_shape *s)
{
    int64_t in = s->in_channels / s->groups, out = s->out_channels / s->groups;
    int64_t terms = in * out;
    for (int i = 0; i < s->num_dims; i++) terms *= s->kernel[i];
    return terms >= BF16_LEAST_REUSE * (in + out);
}

/* Reads the node; false after a failure. */
static bool read_shape(amg_plan *p, int node, amg_conv_shape *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    amg_window w;
    if (!amg_plan_window(p, node, &w)) return false;
    s->n = x->dims[0];
    s->groups = amg_attr_int(n, "group", 1);
    s->in_channels = x->dims[1];
    s->out_channels = y->dims[1];
    amg_conv_set_window(s, &w, x->dims + 2, y->dims + 2);
    s->bias = amg_plan_input_value(p, node, 2) != AMG_NO_VALUE;
    /* An image's few channels are no reason to leave the layout of what follows. */
    s->bf16 =
        p->options.bf16 && (pays_in_bf16(s) || !amg_plan_needs_grad(p, n->inputs[0]));
    /* Winograd pads channels to 16: on the 3 of an image direct convolution is cheaper.
     */
    s->winograd = !p->options.no_winograd && s->in_channels >= 16 && !s->bf16;
    return true;
}

/* A backward primitive in the given layouts (weights in any case) or, where there is
 * none or src is NULL, in layouts of oneDNN's choice. */
static amg_primitive *make_backward(amg_plan *p, int node, amg_pass pass,
                                    const amg_conv_shape *shape, const amg_layout *src,
                                    const amg_layout *weights)
{
    const conv_state *self = p->nodes[node].self;
    const amg_layout *dst = amg_primitive_layout(self->forward, AMG_ARG_DST);
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status = AMG_UNSUPPORTED;
    if (src)
        status = amg_dnnl_conv(p->dnnl, pass, shape, src, weights, dst, self->forward,
                               &prim, &err);
    if (status == AMG_UNSUPPORTED)
        status = amg_dnnl_conv(p->dnnl, pass, shape, NULL, NULL, NULL, self->forward,
                               &prim, &err);
    if (status) amg_plan_fail_with(p, node, status, &err);
    return status ? NULL : prim;
}

static bool is_1x1(const amg_conv_shape *s)
{
    for (int i = 0; i < s->num_dims; i++)
        if (s->kernel[i] != 1) return false;
    return true;
}

/* oneDNN fills a row of bf16 pixels up to 32 before it sums them into the weights'
 * gradient: short rows are summed faster in f32 (bench/LOG.md, 2026-11-23). */
static bool has_short_rows(const amg_conv_shape *s)
{
    return s->out[s->num_dims - 1] < (is_1x1(s) ? 16 : 8);
}

static amg_primitive *make_weights_pass(amg_plan *p, int node)
{
    const conv_state *self = p->nodes[node].self;
    const int x = amg_plan_input_value(p, node, 0);
    const int w = amg_plan_input_value(p, node, 1);
    const amg_layout *src = NULL, *home = NULL;
    amg_conv_shape shape = self->shape;
    shape.bias = amg_plan_needs_grad(p, amg_plan_input_value(p, node, 2));
    if (!shape.bf16) {
        src = amg_primitive_layout(self->forward, AMG_ARG_SRC);
        if (amg_plan_value(p, w)->kind == AMG_VALUE_PARAM) home = amg_plan_layout(p, w);
    } else if (has_short_rows(&shape)) {
        shape.bf16 = false;
        shape.winograd = !p->options.no_winograd;
        if (is_1x1(&shape)) src = amg_plan_layout(p, x);
    }
    return make_backward(p, node, AMG_PASS_BACKWARD_WEIGHTS, &shape, src, home);
}

static bool has_weights_pass(const amg_plan *p, int node)
{
    return amg_plan_needs_grad(p, amg_plan_input_value(p, node, 1)) ||
           amg_plan_needs_grad(p, amg_plan_input_value(p, node, 2));
}

/* The weights in a layout. In bf16 that is a copy: their home is f32, where their
 * gradient comes out. */
static int read_weights(amg_plan *p, int node, const amg_layout *layout)
{
    const conv_state *self = p->nodes[node].self;
    const int w = amg_plan_input_value(p, node, 1);
    const amg_layout *home =
        self->weights_pass
            ? amg_primitive_layout(self->weights_pass, AMG_ARG_DIFF_WEIGHTS)
            : self->plain_weights;
    if (self->shape.bf16)
        (void)amg_conv_read_weights(p, node, w, home, self->plain_weights);
    return amg_conv_read_weights(p, node, w, layout, self->plain_weights);
}

/* The gradient of the result in a layout; two passes want the same one. */
static int read_gradient(amg_plan *p, int node, const amg_layout *layout)
{
    conv_state *self = p->nodes[node].self;
    if (layout != self->gradient_layout) {
        self->gradient = amg_plan_grad(p, node, layout);
        self->gradient_layout = layout;
    }
    return self->gradient;
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
    self->plain_weights = amg_conv_plain_weights(p, node, s);
    if (s->bf16 && has_weights_pass(p, node))
        self->weights_pass = make_weights_pass(p, node);
    if (p->status) return;
    int x = amg_plan_input_value(p, node, 0);
    amg_use uses[4] = {
        {AMG_ARG_SRC, amg_plan_read(p, node, x, amg_primitive_layout(f, AMG_ARG_SRC))},
        {AMG_ARG_WEIGHTS,
         read_weights(p, node, amg_primitive_layout(f, AMG_ARG_WEIGHTS))}};
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

static void backward_weights(amg_plan *p, int node)
{
    const conv_state *self = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0), w = amg_plan_input_value(p, node, 1);
    int b = amg_plan_input_value(p, node, 2);
    const bool bias = amg_plan_needs_grad(p, b);
    amg_primitive *prim =
        self->weights_pass ? self->weights_pass : make_weights_pass(p, node);
    if (!prim) return;
    const amg_layout *dweights = amg_primitive_layout(prim, AMG_ARG_DIFF_WEIGHTS);
    int dw = amg_conv_weights_target(p, w, dweights);
    int db = bias ? amg_plan_grad_target(p, b, NULL) : AMG_NO_BUFFER;
    amg_use uses[4] = {
        {AMG_ARG_SRC,
         amg_plan_read(p, node, x, amg_primitive_layout(prim, AMG_ARG_SRC))},
        {AMG_ARG_DIFF_DST,
         read_gradient(p, node, amg_primitive_layout(prim, AMG_ARG_DIFF_DST))},
        {AMG_ARG_DIFF_WEIGHTS, dw},
        {AMG_ARG_DIFF_BIAS, db}};
    amg_emit_primitive(p, node, "conv d-weights", prim, 3 + bias, uses);
    amg_conv_give_weights(p, node, w, dw, dweights, self->plain_weights);
    if (bias) amg_plan_give_grad(p, node, b, db, NULL);
}

static void backward_data(amg_plan *p, int node)
{
    const conv_state *self = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0);
    amg_conv_shape shape = self->shape;
    shape.bias = false;
    /* Direct convolution wants the weights' two channel blocks the other way round: its
     * own choice plus one small reorder is far cheaper than forcing the home layout. */
    const amg_layout *src =
        shape.bf16 ? NULL : amg_primitive_layout(self->forward, AMG_ARG_SRC);
    amg_primitive *prim =
        make_backward(p, node, AMG_PASS_BACKWARD_DATA, &shape, src, NULL);
    if (!prim) return;
    const amg_layout *dsrc = amg_primitive_layout(prim, AMG_ARG_DIFF_SRC);
    int dx = amg_plan_grad_target(p, x, dsrc);
    amg_use uses[3] = {
        {AMG_ARG_DIFF_DST,
         read_gradient(p, node, amg_primitive_layout(prim, AMG_ARG_DIFF_DST))},
        {AMG_ARG_WEIGHTS,
         read_weights(p, node, amg_primitive_layout(prim, AMG_ARG_WEIGHTS))},
        {AMG_ARG_DIFF_SRC, dx}};
    amg_emit_primitive(p, node, "conv d-data", prim, 3, uses);
    amg_plan_give_grad(p, node, x, dx, dsrc);
}

void amg_conv_backward(amg_plan *p, int node)
{
    if (has_weights_pass(p, node)) backward_weights(p, node);
    if (amg_plan_needs_grad(p, amg_plan_input_value(p, node, 0)))
        backward_data(p, node);
}
