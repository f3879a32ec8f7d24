/* What the plan tests share: networks built from PyTorch goldens (make_goldens.py), a
 * bound plan, relative errors. */
#ifndef AMG_TESTS_PLAN_FIXTURE_H
#define AMG_TESTS_PLAN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/plan.h"
#include "formats/safetensors.h"
#include "graph/builder.h"

/* Forward against float64: a few roundings of f32 sums of up to a few hundred terms;
 * Winograd's transforms lose one digit more. Gradients pass several such sums. */
#define FORWARD_TOLERANCE 1e-5
#define GRADIENT_TOLERANCE 1e-4

/* Fails the test with the library's own message. */
#define assert_ok(call)                                                                \
    do {                                                                               \
        amg_error e_ = {0};                                                            \
        amg_error *err = &e_;                                                          \
        if ((call) != AMG_OK) fail_msg("%s: %s", e_.where, e_.what);                   \
    } while (0)

/* One case of a goldens file while its graph is built. */
typedef struct {
    const amg_safetensors *st;
    const char *name;
    amg_builder *b;
} golden;

static inline amg_safetensors *open_goldens(const char *file)
{
    char path[4096];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    (void)snprintf(path, sizeof path, "%s/tests/engine/data/%s", root ? root : ".",
                   file);
    amg_safetensors *st = NULL;
    assert_ok(amg_safetensors_open(path, &st, err));
    return st;
}

/* CASE.prefix+key; NULL if absent. */
static inline const amg_tensor *golden_find(const golden *g, const char *prefix,
                                            const char *key)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s.%s%s", g->name, prefix, key);
    return amg_safetensors_find(g->st, name);
}

static inline const amg_tensor *golden_get(const golden *g, const char *prefix,
                                           const char *key)
{
    const amg_tensor *t = golden_find(g, prefix, key);
    if (!t) fail_msg("no golden %s.%s%s", g->name, prefix, key);
    return t;
}

static inline int golden_param(const golden *g, const char *key)
{
    return amg_builder_param_view(g->b, key, golden_get(g, "", key));
}

/* The input plus the parameter "shift" of zeros, whose gradient is the input's. */
static inline int golden_input(const golden *g)
{
    const amg_tensor *x = golden_get(g, "", "x");
    amg_tensor zeros = *x;
    zeros.data = NULL;
    int in[2] = {amg_builder_input(g->b, "x", AMG_F32, x->rank, x->dims),
                 amg_builder_param(g->b, "shift", &zeros)};
    return amg_builder_node(g->b, AMG_OP_ADD, "shift", in, 2, NULL, 0, NULL);
}

/* Everything PyTorch has a gradient of trains here, also what amg_graph_classify takes
 * for a constant: the shift of the data, a divisor. */
static inline amg_graph *golden_finish(const golden *g)
{
    amg_graph *graph = NULL;
    assert_ok(amg_builder_finish(g->b, &graph, err));
    for (int i = 0; i < graph->num_values; i++)
        if (graph->values[i].kind == AMG_VALUE_PARAM &&
            golden_find(g, "d_", graph->values[i].name))
            graph->values[i].role = AMG_ROLE_TRAINABLE;
    return graph;
}

/* A plan with memory and parameters. */
typedef struct {
    amg_plan *plan;
    void *workspace;
    amg_params params;
} bound;

static inline bound bind_plan(const amg_graph *g, amg_plan_options options)
{
    bound b = {0};
    assert_ok(amg_plan_new(g, 0, &options, &b.plan, err));
    b.workspace = amg_alloc_aligned(amg_plan_workspace_bytes(b.plan));
    assert_non_null(b.workspace);
    amg_plan_bind(b.plan, b.workspace);
    assert_ok(amg_params_new(g, 0, &b.params, err));
    assert_ok(amg_plan_load(b.plan, &b.params, err));
    return b;
}

static inline void bound_clear(bound *b)
{
    amg_plan_free(b->plan);
    amg_free_aligned(b->workspace);
    amg_params_clear(&b->params);
}

static inline double norm_of(const float *a, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)a[i];
    return sqrt(sum);
}

/* |a - b| / |b|; b must not be all zero, or nothing would be tested. */
static inline double relative_error(const float *a, const float *b, int64_t n)
{
    double sum = 0, norm = norm_of(b, n);
    assert_true(norm > 0);
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum) / norm;
}

static inline void assert_close(const char *name, const char *what, const float *found,
                                const amg_tensor *expected, double tolerance)
{
    double e = relative_error(found, expected->data, amg_tensor_count(expected));
    if (!(e <= tolerance))
        fail_msg("%s: %s differs by %.3g, allowed %.3g", name, what, e, tolerance);
}

/* Runs one step and compares output, all gradients and all buffers with PyTorch's. */
static inline void check_golden(const golden *g, const amg_graph *graph,
                                amg_plan_options options)
{
    bound b = bind_plan(graph, options);
    const amg_tensor *x = golden_get(g, "", "x"), *y = golden_get(g, "", "y");
    assert_int_equal(amg_plan_input_bytes(b.plan), x->size_bytes);
    memcpy(amg_plan_input(b.plan), x->data, x->size_bytes);
    const float *logits;
    int64_t classes;
    assert_ok(amg_plan_forward(b.plan, 0, &logits, &classes, err));
    assert_int_equal(classes * y->dims[0], amg_tensor_count(y));
    assert_close(g->name, "output", logits, y, FORWARD_TOLERANCE);
    if (options.training) {
        assert_ok(amg_plan_backward(b.plan, golden_get(g, "", "dy")->data, err));
        amg_params grads;
        assert_ok(amg_params_like(&b.params, &grads, err));
        assert_ok(amg_plan_store_grad(b.plan, &grads, err));
        assert_ok(amg_plan_store(b.plan, &b.params, err));
        assert_true(amg_params_find(&grads, "shift") >= 0);
        for (int i = 0; i < grads.count; i++) {
            const amg_param *p = &grads.items[i];
            if (p->role == AMG_ROLE_TRAINABLE)
                assert_close(g->name, p->name, p->tensor.data,
                             golden_get(g, "d_", p->name), GRADIENT_TOLERANCE);
            else
                assert_close(g->name, p->name, b.params.items[i].tensor.data,
                             golden_get(g, "after_", p->name), FORWARD_TOLERANCE);
        }
        amg_params_clear(&grads);
    }
    bound_clear(&b);
}

#endif
