/* Gather along any axis, by a constant index (the select, a class token) or by an
 * activation (the tokens of an embedding).
 *
 *     data [outer][source][inner], index [count], result [outer][count][inner]
 *
 * The gradient is added up in the order of the index, row by row of the source, so that
 * it does not depend on the number of threads. An index out of range ends the run. */
#include <stdio.h>
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    int64_t outer, source, count, inner_bytes;
    const int64_t *constant; /* checked, not negative; NULL: the index is a buffer */
    amg_dtype dtype;         /* of the index buffer */
    const char *where;       /* node "NAME" (Gather) */
} gather;

typedef struct {
    const gather *g;
    const uint8_t *src;
    uint8_t *dst;
    const void *index; /* NULL: constant */
} context;

static int64_t index_at(const context *c, int64_t i)
{
    const gather *g = c->g;
    if (g->constant) return g->constant[i];
    int64_t at = g->dtype == AMG_I64 ? ((const int64_t *)c->index)[i]
                                     : ((const int32_t *)c->index)[i];
    return at < 0 ? at + g->source : at;
}

static void gather_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const gather *g = c->g;
    for (int64_t r = begin; r < end; r++) {
        int64_t o = r / g->count, i = r % g->count;
        memcpy(c->dst + r * g->inner_bytes,
               c->src + (o * g->source + index_at(c, i)) * g->inner_bytes,
               (size_t)g->inner_bytes);
    }
}

/* The select: a constant index of single bytes or floats, a sample at a time. */
static void select_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const gather *g = c->g;
    for (int64_t n = begin; n < end; n++) {
        const uint8_t *src = c->src + n * g->source * g->inner_bytes;
        uint8_t *dst = c->dst + n * g->count * g->inner_bytes;
        if (g->inner_bytes == 1)
            for (int64_t i = 0; i < g->count; i++) dst[i] = src[g->constant[i]];
        else
            for (int64_t i = 0; i < g->count; i++)
                memcpy(dst + i * 4, src + g->constant[i] * 4, 4);
    }
}

static bool index_is_good(const context *c, const amg_call *call)
{
    const gather *g = c->g;
    for (int64_t i = 0; i < g->count; i++) {
        int64_t at = index_at(c, i);
        if (at >= 0 && at < g->source) continue;
        *call->status =
            amg_fail(call->err, AMG_INVALID, -1, g->where,
                     "index %lld at %lld, expected -%lld to %lld",
                     (long long)(at < 0 ? at - g->source : at), (long long)i,
                     (long long)g->source, (long long)g->source - 1);
        return false;
    }
    return true;
}

/* ptr: result, data, the index unless it is constant. */
static void run_gather(const amg_call *call)
{
    const gather *g = call->self;
    context c = {g, call->ptr[1], call->ptr[0], g->constant ? NULL : call->ptr[2]};
    if (g->constant && (g->inner_bytes == 1 || g->inner_bytes == 4))
        amg_parallel_for(g->outer, 1, select_range, &c);
    else if (g->constant || index_is_good(&c, call))
        amg_parallel_for(g->outer * g->count, 4096 / g->inner_bytes + 1, gather_range,
                         &c);
}

/* Rows begin..end of the source, in every outer part: each thread looks at all of the
 * index, and adds what falls to its rows. */
static void add_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const gather *g = c->g;
    int64_t inner = g->inner_bytes / (int64_t)sizeof(float);
    float *dx = (float *)(void *)c->dst;
    const float *dy = (const float *)(const void *)c->src;
    for (int64_t o = 0; o < g->outer; o++) {
        float *part = dx + o * g->source * inner;
        memset(part + begin * inner, 0, sizeof *dx * (size_t)((end - begin) * inner));
        for (int64_t i = 0; i < g->count; i++) {
            int64_t at = index_at(c, i);
            if (at < begin || at >= end) continue;
            const float *from = dy + (o * g->count + i) * inner;
            for (int64_t k = 0; k < inner; k++) part[at * inner + k] += from[k];
        }
    }
}

/* ptr: gradient of the data, of the result, the index unless it is constant. */
static void run_add(const amg_call *call)
{
    const gather *g = call->self;
    context c = {g, call->ptr[1], call->ptr[0], g->constant ? NULL : call->ptr[2]};
    amg_parallel_for(g->source, 8, add_range, &c);
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

static const char *name_node(amg_plan *p, const amg_node *n)
{
    char where[256];
    (void)snprintf(where, sizeof where, "node \"%.200s\" (Gather)", n->name);
    char *copy = amg_plan_alloc(p, strlen(where) + 1, 1);
    if (copy) memcpy(copy, where, strlen(where) + 1);
    return copy;
}

/* The buffers of a step: dst, src and the index if it is one. */
static void emit(amg_plan *p, int node, const char *what, amg_kernel_fn fn, int dst,
                 int src)
{
    const gather *g = p->nodes[node].self;
    int buffers[3] = {dst, src, AMG_NO_BUFFER};
    if (!g->constant)
        buffers[2] = amg_plan_read(p, node, amg_plan_input_value(p, node, 1), NULL);
    amg_emit_kernel(p, node, what, fn, g, g->constant ? 2 : 3, buffers);
}

void amg_gather_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *index = amg_plan_value(p, n->inputs[1]);
    const amg_tensor *t = amg_plan_constant(p, n->inputs[1]);
    gather *g = amg_plan_alloc(p, 1, sizeof *g);
    if (!g) return;
    int64_t axis = amg_attr_int(n, "axis", 0);
    if (axis < 0) axis += x->rank;
    *g = (gather){.outer = 1, .source = x->dims[axis], .count = 1};
    g->inner_bytes = (int64_t)amg_dtype_size(x->dtype);
    g->dtype = index->dtype;
    g->where = name_node(p, n);
    for (int d = 0; d < axis; d++) g->outer *= x->dims[d];
    for (int d = (int)axis + 1; d < x->rank; d++) g->inner_bytes *= x->dims[d];
    for (int d = 0; d < index->rank; d++) g->count *= index->dims[d];
    if (t) g->constant = read_index(p, node, t, g->source);
    p->nodes[node].self = g;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    emit(p, node, "gather", run_gather, out, in);
}

void amg_gather_backward(amg_plan *p, int node)
{
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    if (p->status || !amg_plan_needs_grad(p, x)) return;
    int dy = amg_plan_grad(p, node, NULL);
    int dx = amg_plan_grad_target(p, x, plain);
    emit(p, node, "gather backward", run_add, dx, dy);
    amg_plan_give_grad(p, node, x, dx, plain);
}
