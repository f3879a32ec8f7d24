/* ReduceMean and ReduceSum over any constant axes of row-major memory. A mean over H
 * and W, which CNNs end with, is kernel_mean.c's: it reads channel blocks; sums of
 * whole numbers are kernel_reduce_whole.c's. */
#include "engine/kernel.h"
#include "engine/walk.h"

typedef struct {
    amg_fold fold;
    amg_walk spread; /* the output's element for each of the input's */
    float scale;
} reduce_state;

static void run_forward(const amg_call *call)
{
    const reduce_state *s = call->self;
    amg_fold_run(&s->fold, call->ptr[0], call->ptr[1]);
}

static void run_backward(const amg_call *call)
{
    const reduce_state *s = call->self;
    amg_walk_scale(&s->spread, s->scale, call->ptr[0], call->ptr[1]);
}

unsigned amg_reduce_axes(amg_plan *p, int node, int rank)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_attr *attr = amg_attr_find(n, "axes");
    int value = amg_plan_input_value(p, node, 1);
    int64_t axes[AMG_MAX_RANK];
    int count = 0;
    unsigned mask = 0;
    if (value != AMG_NO_VALUE) {
        count = amg_plan_ints(p, value, AMG_MAX_RANK, axes);
        if (count < 0)
            amg_plan_fail(p, node, AMG_UNSUPPORTED, "its axes are not constant");
    } else if (attr) {
        for (; count < attr->count && count < AMG_MAX_RANK; count++)
            axes[count] = attr->ints[count];
    }
    for (int i = 0; i < count; i++)
        mask |= 1u << (axes[i] < 0 ? axes[i] + rank : axes[i]);
    return mask ? mask : (1u << rank) - 1;
}

void amg_reduce_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    if (x->dtype != AMG_F32) {
        amg_reduce_whole(p, node);
        return;
    }
    if (amg_mean_over_image(p, node)) {
        amg_global_pool_forward(p, node);
        return;
    }
    reduce_state *s = amg_plan_alloc(p, 1, sizeof *s);
    unsigned mask = amg_reduce_axes(p, node, x->rank);
    if (p->status) return;
    int64_t stride[AMG_MAX_RANK], part = 1, summed = 1;
    for (int d = x->rank - 1; d >= 0; d--) {
        bool gone = mask >> d & 1;
        stride[d] = gone ? 0 : part;
        *(gone ? &summed : &part) *= x->dims[d];
    }
    double scale = n->op == AMG_OP_REDUCE_MEAN ? 1.0 / (double)summed : 1;
    amg_fold_init(&s->fold, x->rank, x->dims, mask, scale);
    amg_walk_init(&s->spread, x->rank, x->dims, stride, 0);
    s->scale = (float)scale;
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "reduce", run_forward, s, 2, (int[]){out, in});
}

void amg_reduce_backward(amg_plan *p, int node)
{
    if (amg_mean_over_image(p, node)) {
        amg_global_pool_backward(p, node);
        return;
    }
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    amg_emit_kernel(p, node, "reduce backward", run_backward, p->nodes[node].self, 2,
                    (int[]){dx, dy});
    amg_plan_give_grad(p, node, x, dx, plain);
}
