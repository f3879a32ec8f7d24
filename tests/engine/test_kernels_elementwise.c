/* Activations and other elementwise functions, forward and backward, against PyTorch's
 * values (make_elementwise_goldens.py), row-major and between channel blocks; against
 * finite differences of the engine's own forward pass; and what is refused. */
#include "plan_fixture.h"

#define FLT(n, v)                                                                      \
    {                                                                                  \
        .name = n, .kind = AMG_ATTR_FLOAT, .f = v                                      \
    }

/* One operator on the input. */
typedef struct {
    const char *name;
    amg_op op;
    int num_attrs;
    amg_attr attrs[2];
    bool kinks; /* no slope at some places: not for finite differences */
} function;

static const function functions[] = {
    {"celu", AMG_OP_CELU},
    {"celu_alpha", AMG_OP_CELU, 1, {FLT("alpha", 0.3f)}},
    {"celu_negative", AMG_OP_CELU, 1, {FLT("alpha", -1.5f)}},
    {"elu_negative", AMG_OP_ELU, 1, {FLT("alpha", -0.5f)}, true},
    {"selu_other", AMG_OP_SELU, 2, {FLT("alpha", 1.5f), FLT("gamma", 2)}, true},
    {"mish", AMG_OP_MISH},
    {"mish_far", AMG_OP_MISH},
    {"softsign", AMG_OP_SOFTSIGN},
    {"shrink_hard", AMG_OP_SHRINK, 1, {FLT("lambd", 1.5f)}, true},
    {"shrink_soft", AMG_OP_SHRINK, 2, {FLT("lambd", 1.5f), FLT("bias", 1.5f)}, true},
    {"shrink_other", AMG_OP_SHRINK, 2, {FLT("lambd", 1), FLT("bias", 0.25f)}, true},
    {"thresholded_relu", AMG_OP_THRESHOLDED_RELU, .kinks = true},
    {"thresholded_relu_low", AMG_OP_THRESHOLDED_RELU, 1, {FLT("alpha", -2)}, true},
    {"leaky_relu_negative", AMG_OP_LEAKY_RELU, 1, {FLT("alpha", -0.4f)}, true},
    {"hard_sigmoid_other",
     AMG_OP_HARD_SIGMOID,
     2,
     {FLT("alpha", 0.3f), FLT("beta", 0.4f)},
     true},
    {"sin", AMG_OP_SIN},
    {"cos", AMG_OP_COS},
    {"tan", AMG_OP_TAN},
    {"asin", AMG_OP_ASIN},
    {"acos", AMG_OP_ACOS},
    {"atan", AMG_OP_ATAN},
    {"sinh", AMG_OP_SINH},
    {"cosh", AMG_OP_COSH},
    {"asinh", AMG_OP_ASINH},
    {"acosh", AMG_OP_ACOSH},
    {"atanh", AMG_OP_ATANH},
    {"blocked_mish", AMG_OP_MISH},
    {"blocked_cos", AMG_OP_COS},
    {"blocked_celu", AMG_OP_CELU},
    {"blocked_leaky_relu_negative", AMG_OP_LEAKY_RELU, 1, {FLT("alpha", -0.4f)}, true},
    {"sign", AMG_OP_SIGN, .kinks = true},
    {"floor", AMG_OP_FLOOR, .kinks = true},
    {"ceil", AMG_OP_CEIL, .kinks = true},
    {"round", AMG_OP_ROUND, .kinks = true},
};
#define NUM_FUNCTIONS (sizeof functions / sizeof *functions)

static int conv(const golden *g, int x, const char *weight)
{
    return amg_builder_node(g->b, AMG_OP_CONV, weight,
                            (int[]){x, golden_param(g, weight)}, 2, NULL, 0, NULL);
}

/* The blocked ones stand between convolutions; what has no gradient is a factor of x.
 */
static amg_graph *function_graph(golden *g, const function *f)
{
    const bool blocked = strncmp(f->name, "blocked_", 8) == 0;
    g->b = amg_builder_new();
    assert_non_null(g->b);
    int x = golden_input(g);
    if (blocked) x = conv(g, x, "w");
    int y = amg_builder_node(g->b, f->op, "f", &x, 1, f->attrs, f->num_attrs, NULL);
    if (blocked) y = conv(g, y, "v");
    if (!(amg_op_get(f->op)->flags & AMG_OP_D)) y = network_node(g, AMG_OP_MUL, x, y);
    amg_builder_output(g->b, y);
    amg_graph *graph = golden_finish(g);
    amg_builder_free(g->b);
    return graph;
}

static void function_matches_pytorch(void **state)
{
    const function *f = *state;
    amg_safetensors *st = open_goldens("elementwise.safetensors");
    golden g = {st, f->name, NULL};
    amg_graph *graph = function_graph(&g, f);
    check_golden(&g, graph, (amg_plan_options){.training = true});
    check_golden(&g, graph, (amg_plan_options){.training = false});
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    amg_safetensors *st = open_goldens("elementwise.safetensors");
    for (size_t i = 0; i < NUM_FUNCTIONS; i++) {
        if (functions[i].kinks) continue;
        golden g = {st, functions[i].name, NULL};
        amg_graph *graph = function_graph(&g, &functions[i]);
        check_finite_differences(&g, graph, 1);
        amg_graph_free(graph);
    }
    amg_safetensors_close(st);
}

/* ---- two operands -----------------------------------------------------------------
 */

/* op(x, b), or op(b, x). */
typedef struct {
    const char *name;
    amg_op op;
    bool fmod, swapped, tanh; /* tanh: of b, which so is no parameter */
    bool kinks;
} pair;

#define SHAPES(name, op, ...)                                                          \
    {name "_same", op, __VA_ARGS__}, {name "_number", op, __VA_ARGS__},                \
        {name "_channel", op, __VA_ARGS__}, {name "_row", op, __VA_ARGS__},            \
    {                                                                                  \
        name "_flat", op, __VA_ARGS__                                                  \
    }

static const pair pairs[] = {
    SHAPES("max", AMG_OP_MAX, .kinks = true),
    SHAPES("min", AMG_OP_MIN, .kinks = true),
    SHAPES("pow", AMG_OP_POW, .kinks = false),
    SHAPES("fmod", AMG_OP_MOD, .fmod = true, .kinks = true),
    SHAPES("mod", AMG_OP_MOD, .kinks = true),
    SHAPES("prelu", AMG_OP_PRELU, .kinks = true),
    {"max_wide", AMG_OP_MAX, .kinks = true},
    {"min_wide", AMG_OP_MIN, .kinks = true},
    {"pow_wide", AMG_OP_POW},
    {"fmod_wide", AMG_OP_MOD, .fmod = true, .kinks = true},
    {"mod_wide", AMG_OP_MOD, .kinks = true},
    {"max_ties", AMG_OP_MAX, .kinks = true},
    {"min_ties", AMG_OP_MIN, .kinks = true},
    {"pow_zeros", AMG_OP_POW, .kinks = true},
    {"pow_of_two", AMG_OP_POW, .swapped = true},
    {"pow_raised", AMG_OP_POW},
    {"prelu_of_data", AMG_OP_PRELU, .tanh = true, .kinks = true},
    {"blocked_max", AMG_OP_MAX, .kinks = true},
    {"blocked_max_channel", AMG_OP_MAX, .kinks = true},
    {"blocked_prelu", AMG_OP_PRELU, .kinks = true},
};
#define NUM_PAIRS (sizeof pairs / sizeof *pairs)

static amg_graph *pair_graph(golden *g, const pair *f)
{
    const bool blocked = strncmp(f->name, "blocked_", 8) == 0;
    const amg_attr fmod = amg_int("fmod", 1);
    g->b = amg_builder_new();
    assert_non_null(g->b);
    int x = golden_input(g), b = golden_param(g, "b");
    if (blocked) x = conv(g, x, "w");
    if (f->tanh) b = network_node(g, AMG_OP_TANH, b, AMG_NO_VALUE);
    const int in[2] = {f->swapped ? b : x, f->swapped ? x : b};
    int y = amg_builder_node(g->b, f->op, "f", in, 2, &fmod, f->fmod, NULL);
    if (blocked) y = conv(g, y, "v");
    amg_builder_output(g->b, y);
    amg_graph *graph = golden_finish(g);
    amg_builder_free(g->b);
    return graph;
}

static void pair_matches_pytorch(void **state)
{
    const pair *f = *state;
    amg_safetensors *st = open_goldens("elementwise.safetensors");
    golden g = {st, f->name, NULL};
    amg_graph *graph = pair_graph(&g, f);
    check_golden(&g, graph, (amg_plan_options){.training = true});
    check_golden(&g, graph, (amg_plan_options){.training = false});
    if (!f->kinks) check_finite_differences(&g, graph, 1);
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

/* ---- whole numbers ----------------------------------------------------------------
 */

enum { WHOLE = 6 };

/* op(x, y) of data x and a constant y, or op(x) where y is NULL; then a Cast to F32. */
static void check_whole(amg_op op, bool fmod, amg_dtype dtype, const int64_t *x,
                        const int64_t *y, const int64_t *expected)
{
    int32_t narrow[2][WHOLE];
    const amg_attr attrs[] = {amg_int("fmod", fmod),
                              amg_int("to", amg_dtype_onnx(AMG_F32))};
    for (int i = 0; i < WHOLE; i++) {
        narrow[0][i] = (int32_t)x[i];
        narrow[1][i] = (int32_t)(y ? y[i] : 0);
    }
    const bool is_wide = dtype == AMG_I64;
    amg_builder *b = amg_builder_new();
    amg_tensor t;
    assert_ok(amg_tensor_view(dtype, 1, (int64_t[]){WHOLE},
                              is_wide ? (const void *)y : narrow[1], &t, err));
    int in[2] = {amg_builder_input(b, "x", dtype, 2, (int64_t[]){1, WHOLE})};
    if (y) in[1] = amg_builder_param(b, "y", &t);
    int z = amg_builder_node(b, op, "f", in, y ? 2 : 1, attrs, op == AMG_OP_MOD, NULL);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_CAST, "c", &z, 1, attrs + 1, 1, NULL));
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    bound plan = bind_plan(g, (amg_plan_options){.training = true});
    memcpy(amg_plan_input(plan.plan), is_wide ? (const void *)x : narrow[0],
           amg_plan_input_bytes(plan.plan));
    const float *found;
    int64_t count;
    assert_ok(amg_plan_forward(plan.plan, 0, &found, &count, err));
    for (int i = 0; i < WHOLE; i++)
        if (found[i] != (float)expected[i])
            fail_msg("%s of %s: element %d is %g, expected %g", amg_op_get(op)->name,
                     amg_dtype_name(dtype), i, (double)found[i], (double)expected[i]);
    bound_clear(&plan);
    amg_graph_free(g);
}

static void whole_numbers_are_computed(void **state)
{
    (void)state;
    static const int64_t x[WHOLE] = {7, -7, 7, -7, 0, 6},
                         y[WHOLE] = {3, 3, -3, -3, 5, 6};
    static const struct {
        amg_op op;
        bool fmod, unary;
        int64_t expected[WHOLE];
    } rows[] = {{AMG_OP_ADD, .expected = {10, -4, 4, -10, 5, 12}},
                {AMG_OP_SUB, .expected = {4, -10, 10, -4, -5, 0}},
                {AMG_OP_MUL, .expected = {21, -21, -21, 21, 0, 36}},
                {AMG_OP_DIV, .expected = {2, -2, -2, 2, 0, 1}},
                {AMG_OP_MOD, .expected = {1, 2, -2, -1, 0, 0}},
                {AMG_OP_MOD, .fmod = true, .expected = {1, -1, 1, -1, 0, 0}},
                {AMG_OP_MAX, .expected = {7, 3, 7, -3, 5, 6}},
                {AMG_OP_MIN, .expected = {3, -7, -3, -7, 0, 6}},
                {AMG_OP_NEG, .unary = true, .expected = {-7, 7, -7, 7, 0, -6}},
                {AMG_OP_ABS, .unary = true, .expected = {7, 7, 7, 7, 0, 6}},
                {AMG_OP_SIGN, .unary = true, .expected = {1, -1, 1, -1, 0, 1}},
                {AMG_OP_RELU, .unary = true, .expected = {7, 0, 7, 0, 0, 6}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int wide = 0; wide < 2; wide++)
            check_whole(rows[i].op, rows[i].fmod, wide ? AMG_I64 : AMG_I32, x,
                        rows[i].unary ? NULL : y, rows[i].expected);
}

/* What the processor would stop at. */
static void divisions_without_a_result_do_not_stop(void **state)
{
    (void)state;
    static const int64_t x[WHOLE] = {INT64_MIN, 5, INT64_MIN, 1, 1, 1};
    static const int64_t y[WHOLE] = {-1, 0, 0, 1, 1, 1};
    check_whole(AMG_OP_DIV, false, AMG_I64, x, y,
                (int64_t[]){INT64_MIN, 0, 0, 1, 1, 1});
    check_whole(AMG_OP_MOD, false, AMG_I64, x, y, (int64_t[]){0, 0, 0, 0, 0, 0});
}

/* x, cast from F32 to each type and back. */
static void casts_go_both_ways(void **state)
{
    (void)state;
    static const float x[WHOLE] = {0, 1.75f, 2.5f, 200, 0.25f, 7};
    static const struct {
        amg_dtype dtype;
        float expected[WHOLE];
    } rows[] = {{AMG_I64, {0, 1, 2, 200, 0, 7}},
                {AMG_I32, {0, 1, 2, 200, 0, 7}},
                {AMG_U8, {0, 1, 2, 200, 0, 7}},
                {AMG_BOOL, {0, 1, 1, 1, 1, 1}}};
    static const amg_dtype between[] = {AMG_I64, AMG_I32, AMG_U8, AMG_BOOL};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof between / sizeof *between; k++) {
            const amg_dtype types[] = {rows[i].dtype, between[k], AMG_F32};
            amg_builder *b = amg_builder_new();
            int y = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){1, WHOLE});
            for (int t = 0; t < 3; t++) {
                const amg_attr to = amg_int("to", amg_dtype_onnx(types[t]));
                y = amg_builder_node(b, AMG_OP_CAST, "c", &y, 1, &to, 1, NULL);
            }
            amg_builder_output(b, y);
            amg_graph *g = NULL;
            assert_ok(amg_builder_finish(b, &g, err));
            amg_builder_free(b);
            bound plan = bind_plan(g, (amg_plan_options){.training = true});
            memcpy(amg_plan_input(plan.plan), x, sizeof x);
            const float *found;
            int64_t count;
            assert_ok(amg_plan_forward(plan.plan, 0, &found, &count, err));
            for (int e = 0; e < WHOLE; e++) {
                const float wanted = between[k] == AMG_BOOL
                                         ? (float)(rows[i].expected[e] != 0)
                                         : rows[i].expected[e];
                assert_true(found[e] == wanted);
            }
            bound_clear(&plan);
            amg_graph_free(g);
        }
}

/* What diverged must be seen to have. */
static void nan_passes_through(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_FUNCTIONS; i++) {
        amg_builder *b = amg_builder_new();
        int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){1, 2});
        x = amg_builder_node(b, functions[i].op, "f", &x, 1, functions[i].attrs,
                             functions[i].num_attrs, NULL);
        amg_builder_output(b, x);
        amg_graph *g = NULL;
        assert_ok(amg_builder_finish(b, &g, err));
        amg_builder_free(b);
        bound plan = bind_plan(g, (amg_plan_options){.training = false});
        memcpy(amg_plan_input(plan.plan), (float[]){NAN, 1}, 2 * sizeof(float));
        const float *y;
        int64_t count;
        assert_ok(amg_plan_forward(plan.plan, 0, &y, &count, err));
        if (!isnan(y[0]) || isnan(y[1]))
            fail_msg("%s: %g, %g", functions[i].name, (double)y[0], (double)y[1]);
        bound_clear(&plan);
        amg_graph_free(g);
    }
}

static void whole_numbers_are_refused(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int num_inputs;
    } cases[] = {{AMG_OP_SIN, 1},
                 {AMG_OP_MISH, 1},
                 {AMG_OP_SIGMOID, 1},
                 {AMG_OP_GLOBAL_MAX_POOL, 1},
                 {AMG_OP_GLOBAL_AVERAGE_POOL, 1},
                 {AMG_OP_MAT_MUL, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_builder *b = amg_builder_new();
        const int x = amg_builder_input(b, "x", AMG_I64, 3, (int64_t[]){1, 2, 2});
        const int in[2] = {x, x};
        amg_builder_output(b, amg_builder_node(b, cases[i].op, "f", in,
                                               cases[i].num_inputs, NULL, 0, NULL));
        amg_graph *g = NULL;
        amg_plan *plan = NULL;
        amg_error err = {0};
        assert_int_equal(amg_builder_finish(b, &g, &err), AMG_OK);
        amg_builder_free(b);
        assert_int_equal(amg_plan_new(g, 0, &(amg_plan_options){0}, &plan, &err),
                         AMG_UNSUPPORTED);
        assert_string_equal(err.what, "input is I64, expected F32");
        assert_null(plan);
        amg_graph_free(g);
    }
}

int main(void)
{
    enum { OTHERS = 6, ALL = OTHERS + NUM_FUNCTIONS + NUM_PAIRS };
    struct CMUnitTest tests[ALL] = {
        cmocka_unit_test(whole_numbers_are_computed),
        cmocka_unit_test(divisions_without_a_result_do_not_stop),
        cmocka_unit_test(casts_go_both_ways),
        cmocka_unit_test(gradients_match_finite_differences),
        cmocka_unit_test(nan_passes_through),
        cmocka_unit_test(whole_numbers_are_refused)};
    for (size_t i = 0; i < NUM_FUNCTIONS; i++)
        tests[OTHERS + i] =
            (struct CMUnitTest){.name = functions[i].name,
                                .test_func = function_matches_pytorch,
                                .initial_state = (void *)(uintptr_t)&functions[i]};
    for (size_t i = 0; i < NUM_PAIRS; i++)
        tests[OTHERS + NUM_FUNCTIONS + i] =
            (struct CMUnitTest){.name = pairs[i].name,
                                .test_func = pair_matches_pytorch,
                                .initial_state = (void *)(uintptr_t)&pairs[i]};
    return _cmocka_run_group_tests("elementwise", tests, ALL, NULL, NULL);
}
