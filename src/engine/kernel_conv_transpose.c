/* ConvTranspose: the gradient of a convolution with regard to its data, so each of its
 * passes is another pass of that convolution, which reads y and writes x:
 *
 *     y  = conv d-data(x, W)      dx = conv(dy, W)      dW = conv d-weights(dy, x)
 *
 * Layouts are oneDNN's choice as in kernel_conv.c; the bias is ours, because d-data has
 * none. */
#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    amg_conv_shape shape;   /* of the convolution from y to x */
    amg_primitive *conv;    /* its forward: dx = conv(dy, W), and the others' hint */
    amg_primitive *forward; /* its d-data */
    const amg_layout *plain_weights;
    amg_geometry y;
} transpose_state;

/* ---- bias -------------------------------------------------------------------------
 */

typedef struct {
    const amg_geometry *g;
    float *y;
    const float *bias;
} bias_context;

/* Adds the bias to channel blocks; channel padding stays zero. */
static void bias_range(void *arg, int64_t begin, int64_t end)
{
    const bias_context *c = arg;
    const amg_geometry *g = c->g;
    for (int64_t u = begin; u < end; u++) {
        int64_t first = u % g->blocks * g->block, left = g->channels - first;
        int64_t width = left < g->block ? left : g->block;
        float *y = c->y + u * g->spatial * g->block;
        for (int64_t s = 0; s < g->spatial; s++)
            for (int64_t k = 0; k < width; k++)
                y[s * g->block + k] += c->bias[first + k];
    }
}

static void run_bias(const amg_call *call)
{
    const amg_geometry *g = call->self;
    bias_context c = {g, call->ptr[0], call->ptr[1]};
    amg_parallel_for(g->n * g->blocks, 4, bias_range, &c);
}

/* ptr: dbias, dy, sums. */
static void run_bias_gradient(const amg_call *call)
{
    const amg_geometry *g = call->self;
    float *dbias = call->ptr[0];
    const float *dy = call->ptr[1];
    double *sums = call->ptr[2];
    amg_channel_sums(g, dy, dy, sums);
    for (int64_t ch = 0; ch < g->channels; ch++) {
        double sum = 0;
        for (int64_t n = 0; n < g->n; n++)
            sum += sums[2 * (n * g->blocks * g->block + ch)];
        dbias[ch] = (float)sum;
    }
}

/* ---- emitting ---------------------------------------------------------------------
 */

static bool read_shape(amg_plan *p, int node, amg_conv_shape *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    amg_window w;
    if (!amg_plan_window(p, node, &w)) return false;
    s->n = x->dims[0];
    s->groups = amg_attr_int(n, "group", 1);
    s->in_channels = y->dims[1];
    s->out_channels = x->dims[1];
    /* Rows that output_padding adds are padding of a negative amount here. */
    amg_conv_set_window(s, &w, y->dims + 2, x->dims + 2);
    return true;
}

/* A pass in layouts of oneDNN's choice, dst excepted if given. */
static amg_primitive *make(amg_plan *p, int node, amg_pass pass, const amg_layout *src,
                           const amg_layout *weights, const amg_layout *dst)
{
    const transpose_state *self = p->nodes[node].self;
    amg_primitive *prim = NULL;
    amg_error err = {0};
    amg_status status = amg_dnnl_conv(p->dnnl, pass, &self->shape, src, weights, dst,
                                      self->conv, &prim, &err);
    if (status) amg_plan_fail_with(p, node, status, &err);
    return status ? NULL : prim;
}

static bool choose(amg_plan *p, int node, transpose_state *self)
{
    if (!read_shape(p, node, &self->shape)) return false;
    self->plain_weights = amg_conv_plain_weights(p, node, &self->shape);
    if (!p->status) self->conv = make(p, node, AMG_PASS_FORWARD, NULL, NULL, NULL);
    if (self->conv)
        self->forward = make(p, node, AMG_PASS_BACKWARD_DATA, NULL, NULL, NULL);
    return self->forward != NULL;
}

void amg_conv_transpose_forward(amg_plan *p, int node)
{
    transpose_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    p->nodes[node].self = self;
    if (!choose(p, node, self)) return;
    const amg_node *n = amg_plan_node(p, node);
    const amg_primitive *f = self->forward;
    const amg_layout *out = amg_primitive_layout(f, AMG_ARG_DIFF_SRC);
    int bias = amg_plan_input_value(p, node, 2);
    int x =
        amg_plan_read(p, node, n->inputs[0], amg_primitive_layout(f, AMG_ARG_DIFF_DST));
    int w = amg_conv_read_weights(p, node, n->inputs[1],
                                  amg_primitive_layout(f, AMG_ARG_WEIGHTS),
                                  self->plain_weights);
    int y = amg_plan_define(p, n->outputs[0], out);
    amg_use uses[] = {
        {AMG_ARG_DIFF_DST, x}, {AMG_ARG_WEIGHTS, w}, {AMG_ARG_DIFF_SRC, y}};
    amg_emit_primitive(p, node, "conv transpose", self->forward, 3, uses);
    if (bias == AMG_NO_VALUE) return;
    if (!amg_layout_geometry(out, &self->y)) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "the output's layout is %s",
                      amg_layout_name(out));
        return;
    }
    amg_emit_kernel(p, node, "bias", run_bias, &self->y, 2,
                    (int[]){y, amg_plan_read(p, node, bias, NULL)});
}

static void backward_bias(amg_plan *p, int node, int bias)
{
    const transpose_state *self = p->nodes[node].self;
    int dbias = amg_plan_grad_target(p, bias, NULL);
    amg_emit_kernel(p, node, "bias gradient", run_bias_gradient, &self->y, 3,
                    (int[]){dbias, amg_plan_grad(p, node, NULL),
                            amg_plan_temp(p, amg_channel_sums_bytes(&self->y))});
    amg_plan_give_grad(p, node, bias, dbias, NULL);
}

static void backward_weights(amg_plan *p, int node, int x, int w)
{
    const transpose_state *self = p->nodes[node].self;
    amg_primitive *prim = make(p, node, AMG_PASS_BACKWARD_WEIGHTS, NULL, NULL, NULL);
    if (!prim) return;
    const amg_layout *dweights = amg_primitive_layout(prim, AMG_ARG_DIFF_WEIGHTS);
    int dw = amg_conv_weights_target(p, w, dweights);
    amg_use uses[] = {
        {AMG_ARG_SRC, amg_plan_grad(p, node, amg_primitive_layout(prim, AMG_ARG_SRC))},
        {AMG_ARG_DIFF_DST,
         amg_plan_read(p, node, x, amg_primitive_layout(prim, AMG_ARG_DIFF_DST))},
        {AMG_ARG_DIFF_WEIGHTS, dw}};
    amg_emit_primitive(p, node, "conv transpose d-weights", prim, 3, uses);
    amg_conv_give_weights(p, node, w, dw, dweights, self->plain_weights);
}

static void backward_data(amg_plan *p, int node, int x, int w)
{
    const transpose_state *self = p->nodes[node].self;
    amg_primitive *prim = self->conv;
    const amg_layout *dst = amg_primitive_layout(prim, AMG_ARG_DST);
    int dx = amg_plan_grad_target(p, x, dst);
    amg_use uses[] = {
        {AMG_ARG_SRC, amg_plan_grad(p, node, amg_primitive_layout(prim, AMG_ARG_SRC))},
        {AMG_ARG_WEIGHTS,
         amg_conv_read_weights(p, node, w, amg_primitive_layout(prim, AMG_ARG_WEIGHTS),
                               self->plain_weights)},
        {AMG_ARG_DST, dx}};
    amg_emit_primitive(p, node, "conv transpose d-data", prim, 3, uses);
    amg_plan_give_grad(p, node, x, dx, dst);
}

void amg_conv_transpose_backward(amg_plan *p, int node)
{
    int x = amg_plan_input_value(p, node, 0), w = amg_plan_input_value(p, node, 1);
    int bias = amg_plan_input_value(p, node, 2);
    if (amg_plan_needs_grad(p, bias)) backward_bias(p, node, bias);
    if (amg_plan_needs_grad(p, w)) backward_weights(p, node, x, w);
    if (amg_plan_needs_grad(p, x)) backward_data(p, node, x, w);
}
