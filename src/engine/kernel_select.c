/* Cast of what data hold (bytes, i32) to what networks read (f32, i64), and Equal, by
 * which a network knows its padding. They have no gradient: they stand on data. */
#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    const void *src;
    void *dst;
} cast_context;

/* Exact but for i32 beyond 2^24, which f32 rounds. */
#define CAST_RANGE(name, from, to)                                                     \
    static void name(void *arg, int64_t begin, int64_t end)                            \
    {                                                                                  \
        const cast_context *c = arg;                                                   \
        const from *src = c->src; /* NOLINT(bugprone-macro-parentheses) */             \
        to *dst = c->dst;         /* NOLINT(bugprone-macro-parentheses) */             \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) dst[i] = (to)src[i]; \
    }
CAST_RANGE(cast_u8_f32, uint8_t, float)
CAST_RANGE(cast_u8_i64, uint8_t, int64_t)
CAST_RANGE(cast_i32_f32, int32_t, float)
CAST_RANGE(cast_i32_i64, int32_t, int64_t)
#undef CAST_RANGE

typedef struct {
    int64_t count;
    amg_range_fn range;
} cast;

static void run_cast(const amg_call *call)
{
    const cast *self = call->self;
    cast_context c = {call->ptr[1], call->ptr[0]};
    amg_parallel_for(self->count, 16384, self->range, &c);
}

/* NULL: there is no such cast. A bool is a byte of 0 or 1. */
static amg_range_fn find_cast(amg_dtype from, amg_dtype to)
{
    if (from == AMG_BOOL) from = AMG_U8;
    if (from == AMG_U8 && to == AMG_F32) return cast_u8_f32;
    if (from == AMG_U8 && to == AMG_I64) return cast_u8_i64;
    if (from == AMG_I32 && to == AMG_F32) return cast_i32_f32;
    if (from == AMG_I32 && to == AMG_I64) return cast_i32_i64;
    return NULL;
}

void amg_cast_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    const amg_layout *layout = amg_plan_layout(p, n->inputs[0]);
    int in = amg_plan_read(p, node, n->inputs[0], NULL);
    if (p->status) return;
    if (x->dtype == y->dtype) {
        amg_plan_define_as(p, n->outputs[0], layout, in);
        return;
    }
    amg_range_fn range = find_cast(x->dtype, y->dtype);
    if (!range) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "%s to %s, expected U8, I32 or BOOL to F32 or I64",
                      amg_dtype_name(x->dtype), amg_dtype_name(y->dtype));
        return;
    }
    cast *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    *self = (cast){(int64_t)(amg_layout_bytes(layout) / sizeof(float)), range};
    int out = amg_plan_define(p, n->outputs[0], layout);
    amg_emit_kernel(p, node, "cast", run_cast, self, 2, (int[]){out, in});
}

/* ---- Equal ------------------------------------------------------------------------
 */

typedef struct {
    int64_t count, number;
    amg_dtype dtype; /* I64 or I32 */
} equal;

typedef struct {
    const equal *e;
    const void *src;
    uint8_t *dst;
} equal_context;

static void equal_range(void *arg, int64_t begin, int64_t end)
{
    const equal_context *c = arg;
    const int64_t number = c->e->number;
    if (c->e->dtype == AMG_I64)
        for (int64_t i = begin; i < end; i++)
            c->dst[i] = ((const int64_t *)c->src)[i] == number;
    else
        for (int64_t i = begin; i < end; i++)
            c->dst[i] = ((const int32_t *)c->src)[i] == number;
}

static void run_equal(const amg_call *call)
{
    const equal *self = call->self;
    equal_context c = {self, call->ptr[1], call->ptr[0]};
    amg_parallel_for(self->count, 16384, equal_range, &c);
}

/* Integers and one constant number, on either side. */
void amg_equal_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    equal *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    int side = amg_plan_ints(p, n->inputs[0], 1, &self->number) == 1 ? 1 : 0;
    int count = amg_plan_ints(p, n->inputs[1 - side], 1, &self->number);
    self->dtype = amg_plan_value(p, n->inputs[side])->dtype;
    if (count != 1 || (self->dtype != AMG_I64 && self->dtype != AMG_I32) ||
        amg_plan_value(p, n->inputs[side])->rank !=
            amg_plan_value(p, n->outputs[0])->rank) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "only integers are compared, with one constant number");
        return;
    }
    const amg_layout *layout = amg_plan_layout(p, n->inputs[side]);
    int in = amg_plan_read(p, node, n->inputs[side], NULL);
    if (p->status) return;
    self->count = (int64_t)(amg_layout_bytes(layout) / sizeof(float));
    int out = amg_plan_define(p, n->outputs[0], layout);
    amg_emit_kernel(p, node, "equal", run_equal, self, 2, (int[]){out, in});
}
