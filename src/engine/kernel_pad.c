/* Pad; with zeros on H and W, in any channel blocking, here: the image is copied row by
 * row into the middle of a larger one, and back for the gradient. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    const amg_layout *layout; /* of the input, as it is read */
    amg_geometry g;
    int64_t in_h, in_w, out_h, out_w, top, left;
} pad_state;

typedef struct {
    const pad_state *s;
    float *large, *small;
} context;

static void pad_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pad_state *s = c->s;
    int64_t block = s->g.block, image = s->out_h * s->out_w * block;
    for (int64_t i = begin; i < end; i++) {
        float *out = c->large + i * image;
        memset(out, 0, sizeof(float) * (size_t)image);
        for (int64_t h = 0; h < s->in_h; h++)
            memcpy(out + ((h + s->top) * s->out_w + s->left) * block,
                   c->small + (i * s->in_h + h) * s->in_w * block,
                   sizeof(float) * (size_t)(s->in_w * block));
    }
}

static void crop_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const pad_state *s = c->s;
    int64_t block = s->g.block, image = s->out_h * s->out_w * block;
    for (int64_t i = begin; i < end; i++)
        for (int64_t h = 0; h < s->in_h; h++)
            memcpy(c->small + (i * s->in_h + h) * s->in_w * block,
                   c->large + i * image + ((h + s->top) * s->out_w + s->left) * block,
                   sizeof(float) * (size_t)(s->in_w * block));
}

static void run_pad(const amg_call *call)
{
    const pad_state *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->g.n * s->g.blocks, 4, pad_range, &c);
}

static void run_crop(const amg_call *call)
{
    const pad_state *s = call->self;
    context c = {s, call->ptr[1], call->ptr[0]};
    amg_parallel_for(s->g.n * s->g.blocks, 4, crop_range, &c);
}

/* The eight amounts (begin of each dim, then end). Whether they are known, zero on N
 * and C, and not negative. */
static bool find_pads(amg_plan *p, int node, int64_t *pads)
{
    const amg_node *n = amg_plan_node(p, node);
    if (amg_plan_ints(p, n->inputs[1], 8, pads) != 8) return false;
    if (pads[0] || pads[1] || pads[4] || pads[5]) return false;
    return pads[2] >= 0 && pads[3] >= 0 && pads[6] >= 0 && pads[7] >= 0;
}

static bool pads_zeros(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int value = amg_plan_input_value(p, node, 2);
    if (strcmp(amg_attr_string(n, "mode", "constant"), "constant") != 0) return false;
    if (value == AMG_NO_VALUE) return true;
    const amg_tensor *t = amg_plan_constant(p, value);
    return t && t->dtype == AMG_F32 && *(const float *)t->data == 0;
}

/* Whether this file pads, not kernel_pad_any.c. */
static bool is_image(amg_plan *p, int node, int64_t *pads)
{
    const amg_value *x = amg_plan_value(p, amg_plan_input_value(p, node, 0));
    return x->rank == 4 && x->dtype == AMG_F32 && find_pads(p, node, pads) &&
           pads_zeros(p, node);
}

void amg_pad_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    int64_t pads[8];
    if (!is_image(p, node, pads)) {
        amg_pad_any_forward(p, node);
        return;
    }
    pad_state *s = amg_plan_alloc(p, 1, sizeof *s);
    const amg_layout *layout = amg_plan_layout(p, n->inputs[0]);
    if (p->status) return;
    if (!amg_layout_geometry(layout, &s->g)) {
        layout = amg_plan_plain(p, n->inputs[0]);
        if (!layout || !amg_layout_geometry(layout, &s->g)) return;
    }
    p->nodes[node].self = s;
    s->layout = layout;
    s->in_h = x->dims[2];
    s->in_w = x->dims[3];
    s->out_h = y->dims[2];
    s->out_w = y->dims[3];
    s->top = pads[2];
    s->left = pads[3];
    int in = amg_plan_read(p, node, n->inputs[0], layout);
    const amg_layout *wide = amg_plan_blocked_like(p, layout, n->outputs[0]);
    int out = amg_plan_define(p, n->outputs[0], wide);
    amg_emit_kernel(p, node, "pad", run_pad, s, 2, (int[]){out, in});
}

void amg_pad_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0];
    int64_t pads[8];
    if (!is_image(p, node, pads)) {
        amg_pad_any_backward(p, node);
        return;
    }
    pad_state *s = p->nodes[node].self;
    int dx = amg_plan_grad_target(p, x, s->layout);
    int dy = amg_plan_grad(p, node, NULL);
    amg_emit_kernel(p, node, "pad backward", run_crop, s, 2, (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, s->layout);
}
