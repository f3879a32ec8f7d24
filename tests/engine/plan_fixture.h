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

/* ---- the network of make_goldens.py -----------------------------------------------
 */

static inline int network_conv(const golden *g, int x, const char *weight, int64_t pad,
                               int64_t stride, int64_t group)
{
    amg_attr attrs[] = {amg_ints("pads", 4, (int64_t[]){pad, pad, pad, pad}),
                        amg_ints("strides", 2, (int64_t[]){stride, stride}),
                        amg_int("group", group)};
    int in[2] = {x, golden_param(g, weight)};
    return amg_builder_node(g->b, AMG_OP_CONV, weight, in, 2, attrs, 3, NULL);
}

static inline int network_norm(const golden *g, int x, int i)
{
    static const char *const parts[] = {"scale", "bias", "mean", "var"};
    int in[5] = {x};
    for (int k = 0; k < 4; k++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%s%d", parts[k], i);
        in[1 + k] = golden_param(g, key);
    }
    amg_attr momentum = amg_flt("momentum", 0.9f);
    return amg_builder_node(g->b, AMG_OP_BATCH_NORM, "norm", in, 5, &momentum, 1, NULL);
}

static inline int network_node(const golden *g, amg_op op, int a, int b)
{
    return amg_builder_node(g->b, op, "node", (int[]){a, b}, b == AMG_NO_VALUE ? 1 : 2,
                            NULL, 0, NULL);
}

static inline int network_scalar(const golden *g, const char *name, float v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 0, NULL, &v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

/* Residual, depthwise, relu6, concat, pooling, mean, dropout of ratio, linear head. */
static inline int build_network(const golden *g, int x, float ratio)
{
    const int none = AMG_NO_VALUE;
    int a = network_norm(g, network_conv(g, x, "stem", 1, 1, 1), 0);
    a = network_node(g, AMG_OP_RELU, a, none);
    int c = network_norm(g, network_conv(g, a, "body", 1, 1, 1), 1);
    c = network_node(g, AMG_OP_RELU, network_node(g, AMG_OP_ADD, c, a), none);
    int d = network_norm(g, network_conv(g, c, "depthwise", 1, 1, 16), 2);
    int clip[3] = {d, network_scalar(g, "zero", 0), network_scalar(g, "six", 6)};
    d = amg_builder_node(g->b, AMG_OP_CLIP, "clip", clip, 3, NULL, 0, NULL);
    amg_attr axis = amg_int("axis", 1), linear = amg_int("transB", 1);
    int e = amg_builder_node(g->b, AMG_OP_CONCAT, "concat", (int[]){d, c}, 2, &axis, 1,
                             NULL);
    amg_attr window[] = {amg_ints("kernel_shape", 2, (int64_t[]){2, 2}),
                         amg_ints("strides", 2, (int64_t[]){2, 2})};
    e = amg_builder_node(g->b, AMG_OP_MAX_POOL, "pool", &e, 1, window, 2, NULL);
    int f = network_norm(g, network_conv(g, e, "reduce", 0, 2, 1), 3);
    f = network_node(g, AMG_OP_RELU, f, none);
    f = network_node(g, AMG_OP_GLOBAL_AVERAGE_POOL, f, none);
    f = network_node(g, AMG_OP_FLATTEN, f, none);
    f = network_node(g, AMG_OP_DROPOUT, f, network_scalar(g, "ratio", ratio));
    int head[3] = {f, golden_param(g, "head"), golden_param(g, "head_bias")};
    return amg_builder_node(g->b, AMG_OP_GEMM, "head", head, 3, &linear, 1, NULL);
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

/* The whole network, from its own goldens; free with amg_graph_free before closing st.
 */
static inline amg_graph *network_graph(const amg_safetensors *st, float ratio)
{
    golden g = {st, "network", amg_builder_new()};
    amg_builder_output(g.b, build_network(&g, golden_input(&g), ratio));
    amg_graph *graph = golden_finish(&g);
    amg_builder_free(g.b);
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
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &logits, &count, err));
    assert_int_equal(count, amg_tensor_count(y));
    assert_close(g->name, "output", logits, y, FORWARD_TOLERANCE);
    if (options.training) {
        assert_ok(amg_plan_backward(b.plan, golden_get(g, "", "dy")->data, err));
        amg_params grads;
        assert_ok(amg_params_like(&b.params, &grads, err));
        assert_ok(amg_plan_store_grad(b.plan, &grads, err));
        assert_ok(amg_plan_store(b.plan, &b.params, err));
        /* Whole numbers have no gradient, and then no shift. */
        assert_true(amg_params_find(&grads, "shift") >= 0 || x->dtype != AMG_F32);
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

/* A case of a goldens file that is built by a function of its own. */
typedef struct {
    const char *name;
    int (*build)(const golden *g, int x);
} golden_case;

/* Tokens go in as they are: what has no gradient needs no shift. */
static inline int golden_case_input(const golden *g)
{
    const amg_tensor *x = golden_get(g, "", "x");
    if (x->dtype == AMG_F32) return golden_input(g);
    return amg_builder_input(g->b, "x", x->dtype, x->rank, x->dims);
}

static inline amg_graph *golden_case_graph(golden *g, const golden_case *c)
{
    g->b = amg_builder_new();
    assert_non_null(g->b);
    amg_builder_output(g->b, c->build(g, golden_case_input(g)));
    amg_graph *graph = golden_finish(g);
    amg_builder_free(g->b);
    return graph;
}

static inline void check_golden_case(const char *file, const golden_case *c)
{
    amg_safetensors *st = open_goldens(file);
    golden g = {st, c->name, NULL};
    amg_graph *graph = golden_case_graph(&g, c);
    check_golden(&g, graph, (amg_plan_options){.training = true});
    check_golden(&g, graph, (amg_plan_options){.training = false});
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

/* <logits, dy> for the parameters in b. */
static inline double objective(const bound *b, const amg_tensor *dy)
{
    const float *logits;
    int64_t count;
    double sum = 0;
    assert_ok(amg_plan_load(b->plan, &b->params, err));
    assert_ok(amg_plan_forward(b->plan, 5, &logits, &count, err));
    for (int64_t i = 0; i < amg_tensor_count(dy); i++)
        sum += (double)logits[i] * (double)((const float *)dy->data)[i];
    return sum;
}

/* Moves one parameter along its own gradient g by +-h: the objective must change by
 * 2 h |g|^2. An all-zero gradient would pass any such test, hence the first assertion.
 */
static inline void check_direction(bound *b, int i, const float *grad,
                                   const amg_tensor *dy)
{
    amg_tensor *t = &b->params.items[i].tensor;
    float *value = t->data;
    int64_t n = amg_tensor_count(t);
    double norm = norm_of(grad, n);
    assert_true(norm > 1e-4);
    float *saved = amg_malloc(t->size_bytes);
    assert_non_null(saved);
    memcpy(saved, value, t->size_bytes);
    double h = 3e-4 / norm, at[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t k = 0; k < n; k++)
            value[k] = (float)((double)saved[k] + (side ? h : -h) * (double)grad[k]);
        at[side] = objective(b, dy);
    }
    memcpy(value, saved, t->size_bytes);
    amg_free(saved);
    double slope = (at[1] - at[0]) / (2 * h * norm * norm);
    /* Rounding of the f32 forward passes and kinks of Relu and MaxPool leave up to
     * .006, least at this h. A wrong factor or a lost term is off by far more. */
    if (!(fabs(slope - 1) < 0.01))
        fail_msg("%s: slope is %.4f of the gradient's", b->params.items[i].name, slope);
}

/* Every gradient of one step against finite differences of the engine's own forward. */
static inline void check_finite_differences(const golden *g, const amg_graph *graph,
                                            uint64_t seed)
{
    const amg_tensor *x = golden_get(g, "", "x"), *dy = golden_get(g, "", "dy");
    bound b = bind_plan(graph, (amg_plan_options){.training = true, .seed = seed});
    memcpy(amg_plan_input(b.plan), x->data, x->size_bytes);
    (void)objective(&b, dy);
    assert_ok(amg_plan_backward(b.plan, dy->data, err));
    amg_params grads;
    assert_ok(amg_params_like(&b.params, &grads, err));
    assert_ok(amg_plan_store_grad(b.plan, &grads, err));
    for (int i = 0; i < grads.count; i++)
        if (grads.items[i].role == AMG_ROLE_TRAINABLE)
            check_direction(&b, i, grads.items[i].tensor.data, dy);
    amg_params_clear(&grads);
    bound_clear(&b);
}

#endif
