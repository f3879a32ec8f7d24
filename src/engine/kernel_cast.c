/* Cast between f32, i64, i32, bytes and bools: of what data hold to what networks read,
 * of masks to numbers. It has no gradient: floats come from whole numbers here. */
#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    const void *src;
    void *dst;
} cast_context;

/* Towards zero, as C and PyTorch do it; a float that is no such whole number gives any.
 */
#define CAST_RANGE(from, to, from_type, to_type, expression)                           \
    static void cast_##from##_##to(void *arg, int64_t begin, int64_t end)              \
    {                                                                                  \
        const cast_context *c = arg;                                                   \
        const from_type *src = c->src; /* NOLINT(bugprone-macro-parentheses) */        \
        to_type *dst = c->dst;         /* NOLINT(bugprone-macro-parentheses) */        \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++)                      \
        {                                                                              \
            const from_type x = src[i];                                                \
            dst[i] = (to_type)(expression);                                            \
        }                                                                              \
    }
CAST_RANGE(f32, i64, float, int64_t, x)
CAST_RANGE(f32, i32, float, int32_t, x)
CAST_RANGE(f32, u8, float, uint8_t, (int32_t)x)
CAST_RANGE(f32, bool, float, uint8_t, x != 0)
CAST_RANGE(i64, f32, int64_t, float, x)
CAST_RANGE(i64, i32, int64_t, int32_t, x)
CAST_RANGE(i64, u8, int64_t, uint8_t, x)
CAST_RANGE(i64, bool, int64_t, uint8_t, x != 0)
CAST_RANGE(i32, f32, int32_t, float, x)
CAST_RANGE(i32, i64, int32_t, int64_t, x)
CAST_RANGE(i32, u8, int32_t, uint8_t, x)
CAST_RANGE(i32, bool, int32_t, uint8_t, x != 0)
CAST_RANGE(u8, f32, uint8_t, float, x)
CAST_RANGE(u8, i64, uint8_t, int64_t, x)
CAST_RANGE(u8, i32, uint8_t, int32_t, x)
CAST_RANGE(u8, u8, uint8_t, uint8_t, x)
CAST_RANGE(u8, bool, uint8_t, uint8_t, x != 0)
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

/* By type: f32, i64, i32, u8, bool; a bool is a byte of 0 or 1. */
enum { F32, I64, I32, U8, BOOL, NUM_TYPES };

static int type_of(amg_dtype dtype)
{
    switch (dtype) {
    case AMG_F32: return F32;
    case AMG_I64: return I64;
    case AMG_I32: return I32;
    case AMG_U8: return U8;
    case AMG_BOOL: return BOOL;
    default: return NUM_TYPES;
    }
}

/* NULL: there is no such cast, or it is none. */
static amg_range_fn find_cast(amg_dtype from, amg_dtype to)
{
    static const amg_range_fn casts[NUM_TYPES + 1][NUM_TYPES + 1] = {
        [F32] = {NULL, cast_f32_i64, cast_f32_i32, cast_f32_u8, cast_f32_bool},
        [I64] = {cast_i64_f32, NULL, cast_i64_i32, cast_i64_u8, cast_i64_bool},
        [I32] = {cast_i32_f32, cast_i32_i64, NULL, cast_i32_u8, cast_i32_bool},
        [U8] = {cast_u8_f32, cast_u8_i64, cast_u8_i32, NULL, cast_u8_bool},
        [BOOL] = {cast_u8_f32, cast_u8_i64, cast_u8_i32, cast_u8_u8, NULL},
    };
    return casts[type_of(from)][type_of(to)];
}

void amg_cast_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    /* Only floats are ever in another layout. */
    const amg_layout *layout = x->dtype == y->dtype ? amg_plan_layout(p, n->inputs[0])
                                                    : amg_plan_plain(p, n->inputs[0]);
    int in = amg_plan_read(p, node, n->inputs[0], layout);
    if (p->status) return;
    if (x->dtype == y->dtype) {
        amg_plan_define_as(p, n->outputs[0], layout, in);
        return;
    }
    amg_range_fn range = find_cast(x->dtype, y->dtype);
    if (!range) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "%s to %s, expected F32, I64, I32, U8 or BOOL",
                      amg_dtype_name(x->dtype), amg_dtype_name(y->dtype));
        return;
    }
    cast *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    *self = (cast){(int64_t)(amg_layout_bytes(layout) / sizeof(float)), range};
    int out = amg_plan_define(p, n->outputs[0], layout);
    amg_emit_kernel(p, node, "cast", run_cast, self, 2, (int[]){out, in});
}
