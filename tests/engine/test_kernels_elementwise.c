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
    static const amg_op ops[] = {AMG_OP_SIN, AMG_OP_MISH, AMG_OP_SIGMOID};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        amg_builder *b = amg_builder_new();
        int x = amg_builder_input(b, "x", AMG_I64, 2, (int64_t[]){1, 2});
        amg_builder_output(b, amg_builder_node(b, ops[i], "f", &x, 1, NULL, 0, NULL));
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
    enum { OTHERS = 3 };
    struct CMUnitTest tests[NUM_FUNCTIONS + OTHERS] = {
        cmocka_unit_test(gradients_match_finite_differences),
        cmocka_unit_test(nan_passes_through),
        cmocka_unit_test(whole_numbers_are_refused)};
    for (size_t i = 0; i < NUM_FUNCTIONS; i++)
        tests[OTHERS + i] =
            (struct CMUnitTest){.name = functions[i].name,
                                .test_func = function_matches_pytorch,
                                .initial_state = (void *)(uintptr_t)&functions[i]};
    return _cmocka_run_group_tests("elementwise", tests, NUM_FUNCTIONS + OTHERS, NULL,
                                   NULL);
}
