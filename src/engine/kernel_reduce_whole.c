/* ReduceSum, ReduceMax, ReduceMin and ReduceProd of whole numbers and bools (how many
 * tokens are no padding, whether any is) over any constant axes of row-major memory.
 * Sums and products wrap round. They have no gradient. */
#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/walk.h"

#define GRAIN 4096

typedef struct {
    amg_op op;
    amg_dtype dtype;
    amg_fold fold; /* its walks */
} state;

typedef struct {
    const state *s;
    void *dst;
    const void *src;
} context;

static int64_t join(amg_op op, int64_t a, int64_t b)
{
    switch (op) {
    case AMG_OP_REDUCE_MAX: return a > b ? a : b;
    case AMG_OP_REDUCE_MIN: return a < b ? a : b;
    case AMG_OP_REDUCE_PROD: return (int64_t)((uint64_t)a * (uint64_t)b);
    default: return (int64_t)((uint64_t)a + (uint64_t)b);
    }
}

#define FOLD_RANGE(name, type)                                                         \
    static void name(void *arg, int64_t begin, int64_t end)                            \
    {                                                                                  \
        const context *c = arg;                                                        \
        const amg_fold *f = &c->s->fold;                                               \
        for (int64_t i = begin; i < end; i++) {                                        \
            const type *x =                                                            \
                (const type *)c->src + amg_walk_at(&f->kept, i); /* NOLINT */          \
            int64_t all = (int64_t)x[amg_walk_at(&f->summed, 0)];                      \
            for (int64_t j = 1; j < f->summed.count; j++)                              \
                all = join(c->s->op, all, (int64_t)x[amg_walk_at(&f->summed, j)]);     \
            ((type *)c->dst)[i] = (type)all; /* NOLINT */                              \
        }                                                                              \
    }
FOLD_RANGE(fold_i64, int64_t)
FOLD_RANGE(fold_i32, int32_t)
FOLD_RANGE(fold_u8, uint8_t) /* and bools */
#undef FOLD_RANGE

static void run(const amg_call *call)
{
    const state *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->fold.kept.count, GRAIN / s->fold.summed.count + 1,
                     s->dtype == AMG_I64   ? fold_i64
                     : s->dtype == AMG_I32 ? fold_i32
                                           : fold_u8,
                     &c);
}

static bool is_taken(amg_op op, amg_dtype dtype)
{
    const bool extreme = op == AMG_OP_REDUCE_MAX || op == AMG_OP_REDUCE_MIN;
    if (dtype == AMG_U8 || dtype == AMG_BOOL) return extreme;
    return (dtype == AMG_I64 || dtype == AMG_I32) &&
           (extreme || op == AMG_OP_REDUCE_SUM || op == AMG_OP_REDUCE_PROD);
}

void amg_reduce_whole(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    state *s = amg_plan_alloc(p, 1, sizeof *s);
    const unsigned mask = amg_reduce_axes(p, node, x->rank);
    if (!is_taken(n->op, x->dtype))
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "input is %s, expected F32",
                      amg_dtype_name(x->dtype));
    if (p->status) return;
    s->op = n->op;
    s->dtype = x->dtype;
    amg_fold_init(&s->fold, x->rank, x->dims, mask, 1);
    if (s->fold.summed.count == 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED, "its input has no elements");
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "reduce", run, s, 2, (int[]){out, in});
}
