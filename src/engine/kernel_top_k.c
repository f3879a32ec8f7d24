/* TopK's indices: of each line of row-major memory [outer][n][inner] the places of the
 * k largest or smallest numbers, in their order; of equals the first comes first, and a
 * NaN is larger than any number, as in PyTorch. Its values are no business of the
 * engine's: graph/lower_move.c gathers them.
 *
 * The k best so far are a heap whose root is the worst of them: n log k steps. */
#include <math.h>

#include "base/parallel.h"
#include "engine/kernel.h"

#define GRAIN 1024

typedef struct {
    int64_t outer, n, inner, k;
    bool least, whole; /* the smallest; of I64 */
} top_k;

typedef struct {
    const top_k *s;
    int64_t *dst;
    const void *src;
} context;

/* The numbers of a line, inner apart. */
typedef struct {
    const float *x;
    const int64_t *whole; /* NULL: x */
    int64_t inner;
    bool least;
} line;

/* Whether element a stands ahead of b in the result. */
static bool is_ahead(const line *l, int64_t a, int64_t b)
{
    if (l->whole) {
        const int64_t x = l->whole[a * l->inner], y = l->whole[b * l->inner];
        return x == y ? a < b : l->least ? x < y : x > y;
    }
    const float x = l->x[a * l->inner], y = l->x[b * l->inner];
    if (isnan(x) || isnan(y)) {
        if (isnan(x) && isnan(y)) return a < b;
        return isnan(x) ? !l->least : l->least;
    }
    if (x == y) return a < b;
    return l->least ? x < y : x > y;
}

/* Moves heap[at] down to where nothing below is worse. */
static void sift(const line *l, int64_t *heap, int64_t size, int64_t stride, int64_t at)
{
    for (;;) {
        int64_t worst = 2 * at + 1;
        if (worst >= size) return;
        if (worst + 1 < size &&
            is_ahead(l, heap[worst * stride], heap[(worst + 1) * stride]))
            worst++;
        if (!is_ahead(l, heap[at * stride], heap[worst * stride])) return;
        const int64_t moved = heap[at * stride];
        heap[at * stride] = heap[worst * stride];
        heap[worst * stride] = moved;
        at = worst;
    }
}

/* The heap is the result, whose elements are as far apart as the line's. */
static void find(const line *l, int64_t n, int64_t k, int64_t *heap)
{
    const int64_t stride = l->inner;
    for (int64_t i = 0; i < k; i++) heap[i * stride] = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--) sift(l, heap, k, stride, i);
    for (int64_t i = k; i < n; i++) {
        if (!is_ahead(l, i, heap[0])) continue;
        heap[0] = i;
        sift(l, heap, k, stride, 0);
    }
    for (int64_t size = k - 1; size > 0; size--) {
        const int64_t worst = heap[0];
        heap[0] = heap[size * stride];
        heap[size * stride] = worst;
        sift(l, heap, size, stride, 0);
    }
}

static void find_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const top_k *s = c->s;
    for (int64_t r = begin; r < end; r++) {
        const int64_t outer = r / s->inner, inner = r % s->inner;
        const int64_t first = outer * s->n * s->inner + inner;
        const line l = {.x = (const float *)c->src + first,
                        .whole = s->whole ? (const int64_t *)c->src + first : NULL,
                        .inner = s->inner,
                        .least = s->least};
        find(&l, s->n, s->k, c->dst + outer * s->k * s->inner + inner);
    }
}

static void run(const amg_call *call)
{
    const top_k *s = call->self;
    context c = {s, call->ptr[0], call->ptr[1]};
    amg_parallel_for(s->outer * s->inner, GRAIN / s->n + 1, find_range, &c);
}

void amg_top_k_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[1]);
    int64_t axis = amg_attr_int(n, "axis", -1);
    top_k *s = amg_plan_alloc(p, 1, sizeof *s);
    if (x->dtype != AMG_I64) amg_plan_expect_f32(p, node, n->inputs[0]);
    if (p->status) return;
    if (axis < 0) axis += x->rank;
    *s = (top_k){.outer = 1,
                 .n = x->dims[axis],
                 .inner = 1,
                 .k = y->dims[axis],
                 .least = amg_attr_int(n, "largest", 1) == 0,
                 .whole = x->dtype == AMG_I64};
    for (int d = 0; d < axis; d++) s->outer *= x->dims[d];
    for (int d = (int)axis + 1; d < x->rank; d++) s->inner *= x->dims[d];
    int in = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int out = amg_plan_define(p, n->outputs[1], amg_plan_plain(p, n->outputs[1]));
    amg_emit_kernel(p, node, "top k", run, s, 2, (int[]){out, in});
}
