/* Operators that reduce, sum up or search along axes, forward and backward, against
 * PyTorch's values (make_axis_goldens.py), and gradients against finite differences. */
#include "node_fixture.h"

/* axes: attribute, count of them 0: all. */
static int reduced(const golden *g, amg_op op, int x, int count, const int64_t *axes,
                   int64_t keep)
{
    amg_attr attrs[] = {amg_int("keepdims", keep), amg_ints("axes", count, axes)};
    return amg_builder_node(g->b, op, "reduced", &x, 1, attrs, count ? 2 : 1, NULL);
}

#define REDUCTION(name, op)                                                            \
    static int name##_last(const golden *g, int x)                                     \
    {                                                                                  \
        return reduced(g, op, x, 1, (int64_t[]){-1}, 0);                               \
    }                                                                                  \
    static int name##_middle(const golden *g, int x)                                   \
    {                                                                                  \
        return reduced(g, op, x, 1, (int64_t[]){1}, 1);                                \
    }                                                                                  \
    static int name##_outer(const golden *g, int x)                                    \
    {                                                                                  \
        return reduced(g, op, x, 2, (int64_t[]){2, 0}, 0);                             \
    }                                                                                  \
    static int name##_wide(const golden *g, int x)                                     \
    {                                                                                  \
        return reduced(g, op, x, 1, (int64_t[]){-2}, 0);                               \
    }                                                                                  \
    static int name##_all(const golden *g, int x)                                      \
    {                                                                                  \
        return reduced(g, op, x, 0, NULL, 1);                                          \
    }
REDUCTION(max, AMG_OP_REDUCE_MAX)
REDUCTION(min, AMG_OP_REDUCE_MIN)
REDUCTION(prod, AMG_OP_REDUCE_PROD)
REDUCTION(l1, AMG_OP_REDUCE_L1)
REDUCTION(l2, AMG_OP_REDUCE_L2)
REDUCTION(log_sum, AMG_OP_REDUCE_LOG_SUM)
REDUCTION(log_sum_exp, AMG_OP_REDUCE_LOG_SUM_EXP)
REDUCTION(sum_square, AMG_OP_REDUCE_SUM_SQUARE)
#undef REDUCTION

static int min_first(const golden *g, int x)
{
    return reduced(g, AMG_OP_REDUCE_MIN, x, 1, (int64_t[]){0}, 0);
}
static int max_conv(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_CONV, x, PARAM("w"));
    return reduced(g, AMG_OP_REDUCE_MAX, y, 2, (int64_t[]){2, 3}, 0);
}

static int summed(const golden *g, int x, int64_t axis, int64_t exclusive,
                  int64_t reverse)
{
    amg_attr attrs[] = {amg_int("exclusive", exclusive), amg_int("reverse", reverse)};
    int in[2] = {x, index_scalar(g, "axis", axis)};
    return amg_builder_node(g->b, AMG_OP_CUM_SUM, "sum", in, 2, attrs, 2, NULL);
}
static int cum_sum(const golden *g, int x) { return summed(g, x, 1, 0, 0); }
static int cum_sum_last(const golden *g, int x) { return summed(g, x, -1, 0, 0); }
static int cum_sum_reverse(const golden *g, int x) { return summed(g, x, 1, 0, 1); }
static int cum_sum_exclusive(const golden *g, int x) { return summed(g, x, -2, 1, 0); }
static int cum_sum_both(const golden *g, int x) { return summed(g, x, 0, 1, 1); }

/* x times the index, which the engine has as I64. */
static int by_index(const golden *g, int x, amg_op op, int64_t axis, int64_t last)
{
    amg_attr attrs[] = {amg_int("axis", axis), amg_int("select_last_index", last)};
    int at = amg_builder_node(g->b, op, "index", &x, 1, attrs, 2, NULL);
    at = WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(AMG_F32)), at);
    return PLAIN(AMG_OP_MUL, x, at);
}
static int arg_max(const golden *g, int x)
{
    return by_index(g, x, AMG_OP_ARG_MAX, 1, 0);
}
static int arg_min_outer(const golden *g, int x)
{
    return by_index(g, x, AMG_OP_ARG_MIN, 0, 0);
}
static int arg_max_last(const golden *g, int x)
{
    return by_index(g, x, AMG_OP_ARG_MAX, -1, 1);
}

#define OF_REDUCTION(name)                                                             \
    {#name "_last", name##_last}, {#name "_middle", name##_middle},                    \
        {#name "_outer", name##_outer}, {#name "_wide", name##_wide},                  \
    {                                                                                  \
#name "_all", name##_all                                                       \
    }

static const golden_case cases[] = {
    OF_REDUCTION(max),
    OF_REDUCTION(min),
    OF_REDUCTION(prod),
    OF_REDUCTION(l1),
    OF_REDUCTION(l2),
    OF_REDUCTION(log_sum),
    OF_REDUCTION(log_sum_exp),
    OF_REDUCTION(sum_square),
    {"max_ties", max_last},
    {"min_ties", min_first},
    {"prod_zeros", prod_last},
    {"l1_zeros", l1_last},
    {"l2_zeros", l2_last},
    {"log_sum_exp_far", log_sum_exp_last},
    {"max_conv", max_conv},
    {"cum_sum", cum_sum},
    {"cum_sum_last", cum_sum_last},
    {"cum_sum_reverse", cum_sum_reverse},
    {"cum_sum_exclusive", cum_sum_exclusive},
    {"cum_sum_both", cum_sum_both},
    {"arg_max", arg_max},
    {"arg_min_outer", arg_min_outer},
    {"arg_max_last", arg_max_last},
};
#define NUM_CASES (sizeof cases / sizeof *cases)

static void matches_pytorch(void **state)
{
    check_golden_case("axis.safetensors", *state);
}

/* Of cases without kinks close by. */
static void gradients_match_finite_differences(void **state)
{
    (void)state;
    static const golden_case smooth[] = {{"max_last", max_last},
                                         {"prod_middle", prod_middle},
                                         {"l2_outer", l2_outer},
                                         {"log_sum_wide", log_sum_wide},
                                         {"sum_square_all", sum_square_all},
                                         {"log_sum_exp_outer", log_sum_exp_outer},
                                         {"cum_sum_both", cum_sum_both}};
    amg_safetensors *st = open_goldens("axis.safetensors");
    for (size_t i = 0; i < sizeof smooth / sizeof *smooth; i++) {
        golden g = {st, smooth[i].name, NULL};
        amg_graph *graph = golden_case_graph(&g, &smooth[i]);
        check_finite_differences(&g, graph, 1);
        amg_graph_free(graph);
    }
    amg_safetensors_close(st);
}

int main(void)
{
    enum { OTHERS = 1 };
    struct CMUnitTest tests[NUM_CASES + OTHERS] = {
        cmocka_unit_test(gradients_match_finite_differences)};
    static golden_case mutable_cases[NUM_CASES];
    memcpy(mutable_cases, cases, sizeof cases);
    for (size_t i = 0; i < NUM_CASES; i++)
        tests[OTHERS + i] = (struct CMUnitTest){cases[i].name, matches_pytorch, NULL,
                                                NULL, &mutable_cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
