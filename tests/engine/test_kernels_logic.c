/* Comparisons, Not, And, Or and Where, forward and backward, against PyTorch's values
 * (make_transformer_goldens.py); every type that is compared; gradients against finite
 * differences. */
#include "plan_fixture.h"

#define COUNT(...) ((int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)))
#define PLAIN(op, ...)                                                                 \
    amg_builder_node(g->b, op, #op, (int[]){__VA_ARGS__}, COUNT(__VA_ARGS__), NULL, 0, \
                     NULL)
#define PARAM(name) golden_param(g, name)

static int constant(const golden *g, const char *name, amg_dtype dtype, int rank,
                    const int64_t *dims, const void *data)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(dtype, rank, dims, (void *)(uintptr_t)data, &t, err));
    return amg_builder_param(g->b, name, &t);
}

static int number(const golden *g, const char *name, float v)
{
    return network_scalar(g, name, v);
}

static int greater(const golden *g, int x, float v)
{
    char name[16];
    (void)snprintf(name, sizeof name, "%g", (double)v);
    return PLAIN(AMG_OP_GREATER, x, number(g, name, v));
}

static int times(const golden *g, float factor, int x)
{
    return PLAIN(AMG_OP_MUL, number(g, "factor", factor), x);
}

static int square(const golden *g, int x) { return PLAIN(AMG_OP_MUL, x, x); }

#define COMPARISON(name, op)                                                           \
    static int name(const golden *g, int x)                                            \
    {                                                                                  \
        int o = PARAM("o");                                                            \
        return PLAIN(AMG_OP_WHERE, PLAIN(op, x, o), times(g, 3, x),                    \
                     PLAIN(AMG_OP_SUB, x, o));                                         \
    }
COMPARISON(equal, AMG_OP_EQUAL)
COMPARISON(greater_case, AMG_OP_GREATER)
COMPARISON(less, AMG_OP_LESS)
COMPARISON(greater_or_equal, AMG_OP_GREATER_OR_EQUAL)
COMPARISON(less_or_equal, AMG_OP_LESS_OR_EQUAL)

static int where_parameters(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_WHERE, greater(g, x, 0), PARAM("a"), PARAM("b"));
    return PLAIN(AMG_OP_ADD, y, x);
}

/* The condition repeats along the innermost dim. */
static int where_samples(const golden *g, int x)
{
    const int64_t one = 1, zero = 0, axis = 2;
    int first = PLAIN(AMG_OP_SLICE, x, constant(g, "start", AMG_I64, 1, &one, &zero),
                      constant(g, "end", AMG_I64, 1, &one, &one),
                      constant(g, "axis", AMG_I64, 1, &one, &axis));
    int o = PARAM("o");
    return PLAIN(AMG_OP_WHERE, greater(g, first, 0), PLAIN(AMG_OP_MUL, x, o), o);
}

static int where_same(const golden *g, int x)
{
    return PLAIN(AMG_OP_WHERE, greater(g, x, 0), x, x);
}

static int masked_fill(const golden *g, int x)
{
    uint8_t later[16];
    for (int i = 0; i < 16; i++) later[i] = i % 4 > i / 4;
    int mask = constant(g, "mask", AMG_BOOL, 2, (int64_t[]){4, 4}, later);
    return PLAIN(AMG_OP_WHERE, mask, number(g, "filling", -1.5f), square(g, x));
}

static int logic(const golden *g, int x)
{
    static const uint8_t rows[3] = {1, 0, 1};
    int mask = constant(g, "rows", AMG_BOOL, 2, (int64_t[]){3, 1}, rows);
    int a = PLAIN(AMG_OP_AND, greater(g, x, -1), mask);
    int b = PLAIN(AMG_OP_NOT, PLAIN(AMG_OP_LESS_OR_EQUAL, x, number(g, "half", 0.5f)));
    return PLAIN(AMG_OP_WHERE, PLAIN(AMG_OP_OR, a, b), square(g, x), times(g, 3, x));
}

/* Between channel blocks. */
static int conv_where(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_CONV, x, PARAM("w"));
    y = PLAIN(AMG_OP_WHERE, greater(g, y, 0), y, square(g, y));
    return PLAIN(AMG_OP_CONV, y, PARAM("w2"));
}

/* tokens == 3, as a column beside what a table has for them. */
static int is_padding(const golden *g, int tokens, amg_op then)
{
    const int64_t one = 1, last = -1;
    const int32_t pad = 3;
    int y = PLAIN(AMG_OP_EQUAL, tokens, constant(g, "pad", AMG_I32, 0, NULL, &pad));
    if (then == AMG_OP_NOT) y = PLAIN(AMG_OP_NOT, y);
    return PLAIN(AMG_OP_UNSQUEEZE, y, constant(g, "last", AMG_I64, 1, &one, &last));
}

static int padding_left_out(const golden *g, int x)
{
    const amg_attr to = amg_int("to", amg_dtype_onnx(AMG_F32));
    int kept = is_padding(g, x, AMG_OP_NOT);
    kept = amg_builder_node(g->b, AMG_OP_CAST, "kept", &kept, 1, &to, 1, NULL);
    return PLAIN(AMG_OP_MUL, PLAIN(AMG_OP_GATHER, PARAM("w"), x), kept);
}

static int mask_token(const golden *g, int x)
{
    return PLAIN(AMG_OP_WHERE, is_padding(g, x, AMG_OP_EQUAL), PARAM("token"),
                 PLAIN(AMG_OP_GATHER, PARAM("w"), x));
}

static const golden_case cases[] = {{"equal", equal},
                                    {"greater", greater_case},
                                    {"less", less},
                                    {"greater_or_equal", greater_or_equal},
                                    {"less_or_equal", less_or_equal},
                                    {"where_parameters", where_parameters},
                                    {"where_samples", where_samples},
                                    {"where_same", where_same},
                                    {"masked_fill", masked_fill},
                                    {"logic", logic},
                                    {"conv_where", conv_where},
                                    {"padding_left_out", padding_left_out},
                                    {"mask_token", mask_token}};
#define NUM_CASES (sizeof cases / sizeof *cases)

static void matches_pytorch(void **state)
{
    check_golden_case("transformer.safetensors", *state);
}

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    amg_safetensors *st = open_goldens("transformer.safetensors");
    for (size_t i = 0; i < NUM_CASES; i++) {
        /* Steps across a comparison's edge are no slope. */
        if (cases[i].build != where_parameters && cases[i].build != masked_fill &&
            cases[i].build != mask_token)
            continue;
        golden g = {st, cases[i].name, NULL};
        amg_graph *graph = golden_case_graph(&g, &cases[i]);
        check_finite_differences(&g, graph, 1);
        amg_graph_free(graph);
    }
    amg_safetensors_close(st);
}

/* ---- every type -------------------------------------------------------------------
 */

enum { ROWS = 2, COLUMNS = 5, ALL = ROWS * COLUMNS };

/* data [ROWS,COLUMNS] op row [COLUMNS], as numbers. */
static void check_comparison(amg_op op, amg_dtype dtype, const void *data,
                             const void *row, const char *expected)
{
    golden local = {.b = amg_builder_new()}, *g = &local;
    const amg_attr to = amg_int("to", amg_dtype_onnx(AMG_F32));
    int x = amg_builder_input(g->b, "x", dtype, 2, (int64_t[]){ROWS, COLUMNS});
    int y = PLAIN(op, x, constant(g, "row", dtype, 1, (int64_t[]){COLUMNS}, row));
    amg_builder_output(
        g->b, amg_builder_node(g->b, AMG_OP_CAST, "cast", &y, 1, &to, 1, NULL));
    amg_graph *graph = NULL;
    assert_ok(amg_builder_finish(g->b, &graph, err));
    amg_builder_free(g->b);
    bound b = bind_plan(graph, (amg_plan_options){.training = true});
    assert_int_equal(amg_plan_input_bytes(b.plan), ALL * amg_dtype_size(dtype));
    memcpy(amg_plan_input(b.plan), data, amg_plan_input_bytes(b.plan));
    const float *out;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &out, &count, err));
    assert_int_equal(count, ALL);
    for (int i = 0; i < ALL; i++)
        if (out[i] != (float)(expected[i] == '1'))
            fail_msg("%s of %s: element %d is %g", amg_op_get(op)->name,
                     amg_dtype_name(dtype), i, (double)out[i]);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void every_type_is_compared(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        const char *expected, *of_floats;
    } rows[] = {{AMG_OP_EQUAL, "0101000110", "0001000010"},
                {AMG_OP_GREATER, "1000001000", "1000000000"},
                {AMG_OP_LESS, "0010110001", "0010010001"},
                {AMG_OP_GREATER_OR_EQUAL, "1101001110", "1001000010"},
                {AMG_OP_LESS_OR_EQUAL, "0111110111", "0011010011"}};
    /* Bits beyond 32, and what a float would round, tell wide numbers apart. */
    const int64_t wide[ALL] = {8, 3, (1LL << 53) + 1, -7, 0,
                               6, 4, (1LL << 53) + 2, -7, -1};
    const int64_t wide_row[COLUMNS] = {7, 3, (1LL << 53) + 2, -7, 1LL << 32};
    const int32_t narrow[ALL] = {8, 3, (1 << 24) + 1, -7, 0,
                                 6, 4, (1 << 24) + 2, -7, -1};
    const int32_t narrow_row[COLUMNS] = {7, 3, (1 << 24) + 2, -7, 1 << 24};
    const uint8_t bytes[ALL] = {8, 3, 254, 9, 0, 6, 4, 255, 9, 1};
    const uint8_t bytes_row[COLUMNS] = {7, 3, 255, 9, 128};
    const float floats[ALL] = {8, NAN, 0.5f, -0.0f, NAN, -INFINITY, 4, NAN, 0, -1};
    const float floats_row[COLUMNS] = {7, NAN, 1, 0, INFINITY};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const amg_op op = rows[i].op;
        check_comparison(op, AMG_I64, wide, wide_row, rows[i].expected);
        check_comparison(op, AMG_I32, narrow, narrow_row, rows[i].expected);
        check_comparison(op, AMG_U8, bytes, bytes_row, rows[i].expected);
        check_comparison(op, AMG_F32, floats, floats_row, rows[i].of_floats);
    }
}

int main(void)
{
    enum { OTHERS = 2 };
    struct CMUnitTest tests[NUM_CASES + OTHERS] = {
        cmocka_unit_test(gradients_match_finite_differences),
        cmocka_unit_test(every_type_is_compared)};
    static golden_case mutable_cases[NUM_CASES];
    memcpy(mutable_cases, cases, sizeof cases);
    for (size_t i = 0; i < NUM_CASES; i++)
        tests[OTHERS + i] = (struct CMUnitTest){cases[i].name, matches_pytorch, NULL,
                                                NULL, &mutable_cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
