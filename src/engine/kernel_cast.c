/* Cast of what data hold (bytes, i32) to what networks read (f32, i64), and of bools to
 * numbers. It has no gradient: it stands on data. */
#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    const void *src;
    void *dst;
} cast_context;

/* Exact but for integers beyond 2^24, which f32 rounds. */
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
CAST_RANGE(cast_i64_f32, int64_t, float)
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
    if (from == AMG_I64 && to == AMG_F32) return cast_i64_f32;
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
                      "%s to %s, expected U8, I32 or BOOL to F32 or I64, or I64 to F32",
                      amg_dtype_name(x->dtype), amg_dtype_name(y->dtype));
        return;
    }
    cast *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    *self = (cast){(int64_t)(amg_layout_bytes(layout) / sizeof(float)), range};
    int out = amg_plan_define(p, n->outputs[0], layout);
    amg_emit_kernel(p, node, "cast", run_cast, self, 2, (int[]){out, in});
}
