/* Col2Im: the columns of windows over an image, put back and added where windows meet,
 * as PyTorch's fold does it; in row-major memory. Fewer than three dims are three of
 * which the first are 1.
 *
 *     x [N,C*K,L]   K elements of a window, L windows   y [N,C,image...]
 *
 * Its gradient takes the columns again. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    int64_t planes; /* N * C */
    int64_t image[AMG_MAX_DIMS], count[AMG_MAX_DIMS], kernel[AMG_MAX_DIMS];
    int64_t stride[AMG_MAX_DIMS], dilation[AMG_MAX_DIMS], begin[AMG_MAX_DIMS];
    int64_t taps, windows, size; /* K, L, elements of an image */
} folding;

typedef struct {
    const folding *s;
    float *to;
    const float *from;
} context;

/* The element of an image under tap k of window l; -1: a pad. */
static int64_t element_of(const folding *s, int64_t k, int64_t l)
{
    int64_t at = 0, step = 1;
    for (int d = AMG_MAX_DIMS - 1; d >= 0; d--) {
        const int64_t i = l % s->count[d] * s->stride[d] - s->begin[d] +
                          k % s->kernel[d] * s->dilation[d];
        if (i < 0 || i >= s->image[d]) return -1;
        at += i * step;
        step *= s->image[d];
        k /= s->kernel[d];
        l /= s->count[d];
    }
    return at;
}

static void add_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const folding *s = c->s;
    for (int64_t u = begin; u < end; u++) {
        const float *x = c->from + u * s->taps * s->windows;
        float *y = c->to + u * s->size;
        memset(y, 0, sizeof(float) * (size_t)s->size);
        for (int64_t k = 0; k < s->taps; k++)
            for (int64_t l = 0; l < s->windows; l++) {
                const int64_t at = element_of(s, k, l);
                if (at >= 0) y[at] += x[k * s->windows + l];
            }
    }
}

static void take_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const folding *s = c->s;
    for (int64_t u = begin; u < end; u++) {
        float *dx = c->to + u * s->taps * s->windows;
        const float *dy = c->from + u * s->size;
        for (int64_t k = 0; k < s->taps; k++)
            for (int64_t l = 0; l < s->windows; l++) {
                const int64_t at = element_of(s, k, l);
                dx[k * s->windows + l] = at >= 0 ? dy[at] : 0;
            }
    }
}

static void run_forward(const amg_call *call)
{
    const folding *s = call->self;
    amg_parallel_for(s->planes, 1, add_range,
                     &(context){s, call->ptr[0], call->ptr[1]});
}

static void run_backward(const amg_call *call)
{
    const folding *s = call->self;
    amg_parallel_for(s->planes, 1, take_range,
                     &(context){s, call->ptr[0], call->ptr[1]});
}

static void read_dims(folding *s, const amg_window *w, const int64_t *image)
{
    s->taps = s->windows = s->size = 1;
    for (int d = 0; d < AMG_MAX_DIMS; d++) {
        const int i = d - (AMG_MAX_DIMS - w->num_dims);
        s->image[d] = i < 0 ? 1 : image[i];
        s->kernel[d] = i < 0 ? 1 : w->kernel[i];
        s->stride[d] = i < 0 ? 1 : w->stride[i];
        s->dilation[d] = i < 0 ? 1 : w->dilation[i];
        s->begin[d] = i < 0 ? 0 : w->begin[i];
        s->count[d] =
            i < 0 ? 1
                  : (image[i] + w->begin[i] + w->end[i] - amg_window_extent(w, i)) /
                            w->stride[i] +
                        1;
        s->taps *= s->kernel[d];
        s->windows *= s->count[d];
        s->size *= s->image[d];
    }
}

void amg_col2im_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    folding *s = amg_plan_alloc(p, 1, sizeof *s);
    int64_t image[AMG_MAX_SPATIAL];
    amg_window w;
    if (!s) return;
    amg_plan_expect_f32(p, node, n->inputs[0]);
    if (!amg_fold_read(n, amg_plan_value(p, n->inputs[1]),
                       amg_plan_value(p, n->inputs[2]), &w, image)) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its shapes are not constant");
        return;
    }
    read_dims(s, &w, image);
    s->planes = y->dims[0] * y->dims[1];
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "fold", run_forward, s, 2, (int[]){out, in});
}

void amg_col2im_backward(amg_plan *p, int node)
{
    const int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "fold backward", run_backward, p->nodes[node].self, 2,
                    (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, plain);
}
