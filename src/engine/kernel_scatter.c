/* ScatterElements and ScatterND that multiply, or keep the largest or smallest, with
 * the gradients of PyTorch's scatter_reduce: those who are the largest share what
 * arrives; of products each gets the product of the others, also where it is 0 itself.
 * NaN is larger and smaller than anything. */
#include <string.h>

#include "engine/kernel_index.h"

typedef amg_indexing state;

amg_scatter_kind amg_scatter_how(const amg_node *node)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *how = amg_attr_string(node, "reduction", "none");
    int i = 0;
    while (i < AMG_SCATTER_MIN && strcmp(how, names[i]) != 0) i++;
    return (amg_scatter_kind)i; /* the shape rule knows no other */
}

static float combine(amg_scatter_kind how, float a, float b)
{
    if (how == AMG_SCATTER_MUL) return a * b;
    if (a != a || b != b) return a != a ? a : b;
    return (how == AMG_SCATTER_MAX ? b > a : b < a) ? b : a;
}

void amg_scatter_combine(const state *s, float *y, const float *updates,
                         const int64_t *at)
{
    for (int64_t i = 0; i < s->index.count; i++)
        for (int64_t k = 0; k < s->index.inner; k++) {
            float *to = y + at[i] + k;
            *to = combine(s->how, *to, updates[i * s->index.inner + k]);
        }
}

/* Calls fn for every update: its number and the element that it goes to. */
typedef struct {
    const float *x, *y, *updates, *dy;
    float *d;       /* the gradient at work */
    float *scratch; /* two numbers for each element of the data */
} gradients;
typedef void (*each_fn)(const gradients *g, int64_t update, int64_t to);

static void for_updates(const state *s, const int64_t *at, const gradients *g,
                        each_fn fn)
{
    for (int64_t i = 0; i < s->index.count; i++)
        for (int64_t k = 0; k < s->index.inner; k++)
            fn(g, i * s->index.inner + k, at[i] + k);
}

/* ---- the largest or smallest: scratch counts how many are it ---- */

static void count_equal(const gradients *g, int64_t update, int64_t to)
{
    if (g->updates[update] == g->y[to]) g->scratch[to]++;
}

static void share(const gradients *g, int64_t update, int64_t to)
{
    const bool is_it = g->updates[update] == g->y[to];
    g->d[update] = is_it ? g->dy[to] / g->scratch[to] : 0;
}

static void count_all(const state *s, const int64_t *at, const gradients *g)
{
    for (int64_t i = 0; i < s->total; i++) g->scratch[i] = g->x[i] == g->y[i];
    for_updates(s, at, g, count_equal);
}

/* ---- products: of the updates that are not 0, and behind it how many are ---- */

static void multiply(const gradients *g, int64_t update, int64_t to)
{
    const float u = g->updates[update];
    g->scratch[2 * to + (u == 0)] =
        u == 0 ? g->scratch[2 * to + 1] + 1 : g->scratch[2 * to] * u;
}

static void product_of_others(const gradients *g, int64_t update, int64_t to)
{
    const float u = g->updates[update], zeros = g->scratch[2 * to + 1];
    const float all = g->dy[to] * g->x[to] * g->scratch[2 * to];
    g->d[update] = zeros > (u == 0) ? 0 : u == 0 ? all : all / u;
}

static void multiply_all(const state *s, const int64_t *at, const gradients *g)
{
    for (int64_t i = 0; i < s->total; i++) {
        g->scratch[2 * i] = 1;
        g->scratch[2 * i + 1] = 0;
    }
    for_updates(s, at, g, multiply);
}

/* ---- steps: ptr is the gradient, dy, offsets, x, updates, y, scratch ---- */

static gradients gradients_of(const amg_call *call)
{
    return (gradients){.d = call->ptr[0],
                       .dy = call->ptr[1],
                       .x = call->ptr[3],
                       .updates = call->ptr[4],
                       .y = call->ptr[5],
                       .scratch = call->ptr[6]};
}

static void run_to_data(const amg_call *call)
{
    const state *s = call->self;
    const gradients g = gradients_of(call);
    if (s->how == AMG_SCATTER_MUL) {
        multiply_all(s, call->ptr[2], &g);
        for (int64_t i = 0; i < s->total; i++)
            g.d[i] = g.scratch[2 * i + 1] > 0 ? 0 : g.dy[i] * g.scratch[2 * i];
        return;
    }
    count_all(s, call->ptr[2], &g);
    for (int64_t i = 0; i < s->total; i++)
        g.d[i] = g.x[i] == g.y[i] ? g.dy[i] / g.scratch[i] : 0;
}

static void run_to_updates(const amg_call *call)
{
    const state *s = call->self;
    const gradients g = gradients_of(call);
    if (s->how == AMG_SCATTER_MUL)
        multiply_all(s, call->ptr[2], &g);
    else
        count_all(s, call->ptr[2], &g);
    for_updates(s, call->ptr[2], &g,
                s->how == AMG_SCATTER_MUL ? product_of_others : share);
}

static int read_plain(amg_plan *p, int node, int value)
{
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

static void give(amg_plan *p, int node, const state *s, int i, const char *what,
                 amg_kernel_fn fn)
{
    const amg_node *n = amg_plan_node(p, node);
    const int value = n->inputs[i];
    if (!amg_plan_needs_grad(p, value)) return;
    const amg_layout *plain = amg_plan_plain(p, value);
    int buffers[7] = {0,
                      amg_plan_grad(p, node, NULL),
                      s->offsets,
                      read_plain(p, node, n->inputs[0]),
                      read_plain(p, node, n->inputs[2]),
                      read_plain(p, node, n->outputs[0]),
                      amg_plan_temp(p, 2 * sizeof(float) * (size_t)s->total)};
    buffers[0] = amg_plan_grad_target(p, value, plain);
    amg_emit_kernel(p, node, what, fn, s, 7, buffers);
    amg_plan_give_grad(p, node, value, buffers[0], plain);
}

void amg_scatter_reduced_backward(amg_plan *p, int node, const state *s)
{
    give(p, node, s, 0, "scatter reduced d-data", run_to_data);
    give(p, node, s, 2, "scatter reduced d-updates", run_to_updates);
}
