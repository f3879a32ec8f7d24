/* Gather along any axis, by a constant index (the select, a class token) or by an
 * activation (the tokens of an embedding).
 *
 *     data [outer][source][inner], index [count], result [outer][count][inner]
 *
 * The gradient of a row is the sum over the positions that read it, in their order: the
 * same bits for any number of threads, and for any order of the rows. An index out of
 * range ends the run.
 *
 * An embedding table has far more rows than a batch has tokens. Its gradient is dense
 * (the optimizer moves all rows), but only rows that are read now, or were in the step
 * before, are touched here. Rows may stand in another order than tokens count
 * (amg_row_order of plan.h). */
#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "engine/kernel.h"

typedef struct {
    int64_t outer, source, count, inner_bytes;
    const int64_t *constant; /* checked, not negative; NULL: the index is a buffer */
    const int32_t *rank;     /* token -> row; NULL: as they count */
    amg_dtype dtype;         /* of the index buffer */
    const char *where;       /* node "NAME" (Gather) */
} gather;

typedef struct {
    const gather *g;
    const uint8_t *src;
    uint8_t *dst;
    const void *index; /* NULL: constant */
} context;

/* What the index says at i; from the end if it was negative. */
static int64_t index_at(const context *c, int64_t i)
{
    const gather *g = c->g;
    if (g->constant) return g->constant[i];
    int64_t at = g->dtype == AMG_I64 ? ((const int64_t *)c->index)[i]
                                     : ((const int32_t *)c->index)[i];
    return at < 0 ? at + g->source : at;
}

/* The row that position i reads, once the index is known to be good. */
static int64_t row_at(const context *c, int64_t i)
{
    const int64_t at = index_at(c, i);
    return c->g->rank ? c->g->rank[at] : at;
}

static void gather_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const gather *g = c->g;
    for (int64_t r = begin; r < end; r++) {
        int64_t o = r / g->count, i = r % g->count;
        memcpy(c->dst + r * g->inner_bytes,
               c->src + (o * g->source + row_at(c, i)) * g->inner_bytes,
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
            int64_t at = row_at(c, i);
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

/* ---- the gradient of a table, in place --------------------------------------------
 */

typedef struct {
    context c;        /* dst: the table's gradient, src: the result's */
    int64_t *touched; /* [count]: rows of the step before; NULL: nothing is cleared */
} table_context;

/* Columns begin..end of all rows: however tokens are spread, threads share the work. */
AMG_VECTOR static void table_range(void *arg, int64_t begin, int64_t end)
{
    const table_context *t = arg;
    const context *c = &t->c;
    const int64_t inner = c->g->inner_bytes / (int64_t)sizeof(float);
    float *table = (float *)(void *)c->dst;
    const float *dy = (const float *)(const void *)c->src;
    for (int64_t i = 0; i < c->g->count && t->touched; i++)
        memset(table + t->touched[i] * inner + begin, 0,
               sizeof *table * (size_t)(end - begin));
    for (int64_t i = 0; i < c->g->count; i++) {
        float *to = table + row_at(c, i) * inner;
        const float *from = dy + i * inner;
#pragma omp simd
        for (int64_t k = begin; k < end; k++) to[k] += from[k];
    }
}

static void add_rows(const amg_call *call, const void *index, int64_t *touched)
{
    const gather *g = call->self;
    table_context t = {{g, call->ptr[1], call->ptr[0], index}, touched};
    amg_parallel_for(g->inner_bytes / (int64_t)sizeof(float), 16, table_range, &t);
}

/* Into a gradient that others have written. ptr: as run_add. */
static void run_add_rows(const amg_call *call)
{
    const gather *g = call->self;
    add_rows(call, g->constant ? NULL : call->ptr[2], NULL);
}

/* Into a gradient that is this node's alone, zero but for the rows of the step before.
 * ptr: gradient of the table, of the result, rows touched, the index unless it is
 * constant. */
static void run_set_rows(const amg_call *call)
{
    const gather *g = call->self;
    const void *index = g->constant ? NULL : call->ptr[3];
    int64_t *touched = call->ptr[2];
    const context c = {.g = g, .index = index};
    add_rows(call, index, touched);
    for (int64_t i = 0; i < g->count; i++) touched[i] = row_at(&c, i);
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

/* The table's own order of rows, if it has one. */
static const int32_t *find_rank(const amg_plan *p, const amg_value *table)
{
    for (int i = 0; i < p->options.num_row_orders; i++)
        if (table->kind == AMG_VALUE_PARAM &&
            strcmp(p->options.row_orders[i].param, table->name) == 0)
            return p->options.row_orders[i].rank;
    return NULL;
}

/* The index goes last, if it is a buffer. */
static void emit(amg_plan *p, int node, const char *what, amg_kernel_fn fn,
                 int num_buffers, const int *buffers)
{
    const gather *g = p->nodes[node].self;
    int all[4] = {0};
    memcpy(all, buffers, sizeof *all * (size_t)num_buffers);
    if (!g->constant)
        all[num_buffers++] =
            amg_plan_read(p, node, amg_plan_input_value(p, node, 1), NULL);
    amg_emit_kernel(p, node, what, fn, g, num_buffers, all);
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
    g->where = amg_plan_where(p, node);
    for (int d = 0; d < axis; d++) g->outer *= x->dims[d];
    for (int d = (int)axis + 1; d < x->rank; d++) g->inner_bytes *= x->dims[d];
    for (int d = 0; d < index->rank; d++) g->count *= index->dims[d];
    if (t) g->constant = read_index(p, node, t, g->source);
    if (axis == 0) g->rank = find_rank(p, x);
    p->nodes[node].self = g;
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    emit(p, node, "gather", run_gather, 2, (int[]){out, in});
}

void amg_gather_backward(amg_plan *p, int node)
{
    const gather *g = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0);
    const amg_layout *plain = amg_plan_plain(p, x);
    if (p->status || !amg_plan_needs_grad(p, x)) return;
    int dy = amg_plan_grad(p, node, NULL);
    const amg_value_state *st = &p->values[x];
    const bool table = g->outer == 1 && st->grad_home != AMG_NO_BUFFER &&
                       amg_layout_same_bytes(plain, st->layout);
    if (table && st->grad_given) {
        emit(p, node, "gather add rows", run_add_rows, 2, (int[]){st->grad_home, dy});
        return;
    }
    int dx = amg_plan_grad_target(p, x, plain);
    if (table && st->num_uses == 1) {
        int touched = amg_plan_persistent(p, sizeof(int64_t) * (size_t)g->count);
        emit(p, node, "gather set rows", run_set_rows, 3, (int[]){dx, dy, touched});
    } else {
        emit(p, node, "gather backward", run_add, 2, (int[]){dx, dy});
    }
    amg_plan_give_grad(p, node, x, dx, plain);
}
