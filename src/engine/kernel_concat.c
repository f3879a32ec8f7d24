/* Concat on any axis. On the channel axis of f32, where every input fills whole channel
 * blocks, the blocks of one sample are copied in one piece; where channels lie last,
 * those of one pixel; otherwise row-major memory is used. A sample is what the dims in
 * front of the axis count: in row-major memory and in blocks those in front of it, with
 * channels last all but the channels. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    int count;
    const amg_layout **layouts; /* of the inputs */
    const amg_layout *out;
    int64_t samples;
    size_t total;         /* bytes of one sample of the output */
    size_t *part, *first; /* of one sample of each input, and where it goes */
} concat_state;

typedef struct {
    const concat_state *self;
    int input; /* of a split */
} split_state;

typedef struct {
    const concat_state *self;
    int input;
    void *const *ptr;
} context;

static void join_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const concat_state *s = c->self;
    uint8_t *dst = c->ptr[0];
    for (size_t n = (size_t)begin; n < (size_t)end; n++)
        for (int i = 0; i < s->count; i++)
            memcpy(dst + n * s->total + s->first[i],
                   (const uint8_t *)c->ptr[1 + i] + n * s->part[i], s->part[i]);
}

static void split_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const concat_state *s = c->self;
    uint8_t *dst = c->ptr[0];
    const uint8_t *src = c->ptr[1];
    for (size_t n = (size_t)begin; n < (size_t)end; n++)
        memcpy(dst + n * s->part[c->input], src + n * s->total + s->first[c->input],
               s->part[c->input]);
}

static void run_join(const amg_call *call)
{
    const concat_state *s = call->self;
    context c = {s, 0, call->ptr};
    amg_parallel_for(s->samples, 1, join_range, &c);
}

static void run_split(const amg_call *call)
{
    const split_state *s = call->self;
    context c = {s->self, s->input, call->ptr};
    amg_parallel_for(s->self->samples, 1, split_range, &c);
}

/* The layout of an input whose channel block divides every input's channels, else of
 * one with channels last; NULL if there is none. */
static const amg_layout *common_layout(amg_plan *p, const amg_node *n)
{
    const amg_layout *channels_last = NULL;
    for (int i = 0; i < n->num_inputs; i++) {
        const amg_layout *l = amg_plan_layout(p, n->inputs[i]);
        amg_geometry g;
        if (!l || !amg_layout_geometry(l, &g) || g.block == 1) continue;
        if (amg_layout_is_channels_last(l)) {
            channels_last = l;
            continue;
        }
        bool fits = true;
        for (int j = 0; j < n->num_inputs; j++)
            fits = fits && amg_plan_value(p, n->inputs[j])->dims[1] % g.block == 0;
        if (fits) return l;
    }
    return channels_last;
}

/* Whether the samples' number counts dim d, else the size of one. */
static bool is_outer(int d, int64_t axis, bool channels_last)
{
    return d < axis || (channels_last && d > axis);
}

void amg_concat_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    int64_t axis = amg_attr_int(n, "axis", 1);
    if (axis < 0) axis += y->rank;
    size_t count = (size_t)n->num_inputs;
    concat_state *self = amg_plan_alloc(p, 1, sizeof *self);
    const amg_layout **layouts = amg_plan_alloc(p, count, sizeof *layouts);
    size_t *part = amg_plan_alloc(p, count, sizeof *part);
    size_t *first = amg_plan_alloc(p, count, sizeof *first);
    int *buffers = amg_plan_alloc(p, count + 1, sizeof *buffers);
    const amg_layout *like = y->rank == 4 && axis == 1 ? common_layout(p, n) : NULL;
    if (p->status) return;
    const bool channels_last = like && amg_layout_is_channels_last(like);
    *self = (concat_state){.count = n->num_inputs,
                           .layouts = layouts,
                           .part = part,
                           .first = first,
                           .samples = 1};
    for (int d = 0; d < y->rank; d++)
        if (is_outer(d, axis, channels_last)) self->samples *= y->dims[d];
    p->nodes[node].self = self;
    for (int i = 0; i < n->num_inputs && !p->status; i++) {
        const amg_value *x = amg_plan_value(p, n->inputs[i]);
        layouts[i] = like ? amg_plan_blocked_like(p, like, n->inputs[i])
                          : amg_plan_plain(p, n->inputs[i]);
        buffers[1 + i] = amg_plan_read(p, node, n->inputs[i], layouts[i]);
        part[i] = amg_dtype_size(y->dtype);
        for (int d = 0; d < x->rank; d++)
            if (!is_outer(d, axis, channels_last)) part[i] *= (size_t)x->dims[d];
        first[i] = self->total;
        self->total += part[i];
    }
    self->out = like ? amg_plan_blocked_like(p, like, n->outputs[0])
                     : amg_plan_plain(p, n->outputs[0]);
    buffers[0] = amg_plan_define(p, n->outputs[0], self->out);
    amg_emit_kernel(p, node, "concat", run_join, self, n->num_inputs + 1, buffers);
}

void amg_concat_backward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const concat_state *self = p->nodes[node].self;
    int dy = amg_plan_grad(p, node, self->out);
    for (int i = 0; i < n->num_inputs; i++) {
        if (!amg_plan_needs_grad(p, n->inputs[i])) continue;
        split_state *split = amg_plan_alloc(p, 1, sizeof *split);
        if (!split) return;
        *split = (split_state){self, i};
        int dx = amg_plan_grad_target(p, n->inputs[i], self->layouts[i]);
        amg_emit_kernel(p, node, "concat backward", run_split, split, 2,
                        (int[]){dx, dy});
        amg_plan_give_grad(p, node, n->inputs[i], dx, self->layouts[i]);
    }
}
