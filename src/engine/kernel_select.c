/* The first operators of a sub-network: Gather of constant positions (the select) and
 * Cast of bytes to f32. Neither has a gradient: they stand on data. */
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    int64_t outer, source, count, inner_bytes; /* [outer][source][inner] */
    const int64_t *index;
} gather;

typedef struct {
    const gather *g;
    const uint8_t *src;
    uint8_t *dst;
} gather_context;

static void gather_range(void *arg, int64_t begin, int64_t end)
{
    const gather_context *c = arg;
    const gather *g = c->g;
    for (int64_t n = begin; n < end; n++) {
        const uint8_t *src = c->src + n * g->source * g->inner_bytes;
        uint8_t *dst = c->dst + n * g->count * g->inner_bytes;
        if (g->inner_bytes == 1) {
            for (int64_t i = 0; i < g->count; i++) dst[i] = src[g->index[i]];
        } else if (g->inner_bytes == sizeof(float)) {
            for (int64_t i = 0; i < g->count; i++)
                memcpy(dst + i * 4, src + g->index[i] * 4, 4);
        } else {
            for (int64_t i = 0; i < g->count; i++)
                memcpy(dst + i * g->inner_bytes, src + g->index[i] * g->inner_bytes,
                       (size_t)g->inner_bytes);
        }
    }
}

static void run_gather(const amg_call *call)
{
    const gather *g = call->self;
    gather_context c = {g, call->ptr[1], call->ptr[0]};
    amg_parallel_for(g->outer, 1, gather_range, &c);
}

/* A checked copy of the node's constant index; NULL after a failure. */
static const int64_t *read_index(amg_plan *p, int node, const amg_tensor *t,
                                 int64_t source)
{
    int64_t count = amg_tensor_count(t);
    int64_t *index = amg_plan_alloc(p, (size_t)count, sizeof *index);
    for (int64_t i = 0; i < count && index; i++) {
        int64_t at = t->dtype == AMG_I64 ? ((const int64_t *)t->data)[i]
                                         : ((const int32_t *)t->data)[i];
        if (at < 0) at += source;
        if (at < 0 || at >= source) {
            amg_plan_fail(p, node, AMG_INVALID, "index %lld is not below %lld",
                          (long long)at, (long long)source);
            return NULL;
        }
        index[i] = at;
    }
    return index;
}

void amg_gather_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_tensor *t = amg_plan_constant(p, n->inputs[1]);
    int64_t axis = amg_attr_int(n, "axis", 0);
    if (axis < 0) axis += x->rank;
    if (axis != 1 || x->rank < 2 || !t ||
        (t->dtype != AMG_I64 && t->dtype != AMG_I32)) {
        amg_plan_fail(
            p, node, AMG_UNSUPPORTED,
            "axis %lld of %d dims, expected a constant integer index on axis 1",
            (long long)axis, x->rank);
        return;
    }
    gather *g = amg_plan_alloc(p, 1, sizeof *g);
    const int64_t *index = read_index(p, node, t, x->dims[1]);
    if (p->status) return;
    *g = (gather){x->dims[0], x->dims[1], amg_tensor_count(t),
                  (int64_t)amg_dtype_size(x->dtype), index};
    for (int d = 2; d < x->rank; d++) g->inner_bytes *= x->dims[d];
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "gather", run_gather, g, 2, (int[]){out, in});
}

typedef struct {
    const uint8_t *src;
    float *dst;
} cast_context;

static void cast_range(void *arg, int64_t begin, int64_t end)
{
    const cast_context *c = arg;
#pragma omp simd
    for (int64_t i = begin; i < end; i++) c->dst[i] = (float)c->src[i];
}

static void run_cast(const amg_call *call)
{
    cast_context c = {call->ptr[1], call->ptr[0]};
    amg_parallel_for(*(const int64_t *)call->self, 16384, cast_range, &c);
}

void amg_cast_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const amg_layout *layout = amg_plan_layout(p, n->inputs[0]);
    int in = amg_plan_read(p, node, n->inputs[0], NULL);
    if (p->status) return;
    if (x->dtype == AMG_F32 && y->dtype == AMG_F32) {
        amg_plan_define_as(p, n->outputs[0], layout, in);
        return;
    }
    if (x->dtype != AMG_U8 || y->dtype != AMG_F32) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "%s to %s, expected U8 to F32",
                      amg_dtype_name(x->dtype), amg_dtype_name(y->dtype));
        return;
    }
    int64_t *count = amg_plan_alloc(p, 1, sizeof *count);
    if (!count) return;
    *count = (int64_t)(amg_layout_bytes(layout) / sizeof(float));
    int out = amg_plan_define(p, n->outputs[0], layout);
    amg_emit_kernel(p, node, "cast", run_cast, count, 2, (int[]){out, in});
}
