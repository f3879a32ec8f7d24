/* Every operator of the engine, forward and backward, against PyTorch's values
 * (make_goldens.py), and the check that keeps oneDNN's reference code out. */
#include "plan_fixture.h"

#include "engine/dnnl.h"

#define NODE(op, attrs, ...)                                                           \
    amg_builder_node(g->b, op, #op, (int[]){__VA_ARGS__},                              \
                     (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), attrs,         \
                     (int)(sizeof(attrs) / sizeof(amg_attr)), NULL)
#define PLAIN(op, ...)                                                                 \
    amg_builder_node(g->b, op, #op, (int[]){__VA_ARGS__},                              \
                     (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), NULL, 0, NULL)
#define INTS(name, ...)                                                                \
    amg_ints(name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),          \
             (int64_t[]){__VA_ARGS__})

static int constant_f32(const golden *g, const char *name, float v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 0, NULL, &v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

static int constant_i64(const golden *g, const char *name, int64_t count,
                        const int64_t *v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I64, 1, &count, v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

/* ---- convolution ------------------------------------------------------------------
 */

static int conv(const golden *g, int x, const char *weight, const char *bias,
                const amg_attr *attrs, int num_attrs)
{
    int in[3] = {x, golden_param(g, weight), bias ? golden_param(g, bias) : 0};
    return amg_builder_node(g->b, AMG_OP_CONV, weight, in, bias ? 3 : 2, attrs,
                            num_attrs, NULL);
}

static int conv_basic(const golden *g, int x)
{
    return conv(g, x, "w", "b", (amg_attr[]){INTS("pads", 1, 1, 1, 1)}, 1);
}
static int conv_wide(const golden *g, int x)
{
    return conv(g, x, "w", NULL, (amg_attr[]){INTS("pads", 1, 1, 1, 1)}, 1);
}
static int conv_stride(const golden *g, int x)
{
    return conv(g, x, "w", "b",
                (amg_attr[]){INTS("pads", 1, 0, 2, 1), INTS("strides", 2, 2)}, 2);
}
static int conv_dilated(const golden *g, int x)
{
    return conv(g, x, "w", "b",
                (amg_attr[]){INTS("pads", 2, 2, 2, 2), INTS("dilations", 2, 2)}, 2);
}
static int conv_groups(const golden *g, int x)
{
    return conv(g, x, "w", "b",
                (amg_attr[]){INTS("pads", 1, 1, 1, 1), amg_int("group", 2)}, 2);
}
static int conv_depthwise(const golden *g, int x)
{
    return conv(g, x, "w", "b",
                (amg_attr[]){INTS("pads", 1, 1, 1, 1), amg_int("group", 6)}, 2);
}
static int conv_depthwise16(const golden *g, int x)
{
    return conv(g, x, "w", NULL,
                (amg_attr[]){INTS("pads", 1, 1, 1, 1), amg_int("group", 16),
                             INTS("strides", 2, 2)},
                3);
}
static int conv_1x1(const golden *g, int x)
{
    return conv(g, x, "w", "b", (amg_attr[]){INTS("strides", 2, 2)}, 1);
}

/* ---- normalisation ----------------------------------------------------------------
 */

static int norm(const golden *g, int x)
{
    return NODE(AMG_OP_BATCH_NORM, ((amg_attr[]){amg_flt("momentum", 0.9f)}), x,
                golden_param(g, "scale"), golden_param(g, "bias"),
                golden_param(g, "mean"), golden_param(g, "var"));
}
static int norm_relu(const golden *g, int x) { return PLAIN(AMG_OP_RELU, norm(g, x)); }
static int conv_norm_relu(const golden *g, int x)
{
    return norm_relu(g, conv(g, x, "w", NULL, NULL, 0));
}

/* ---- activations ------------------------------------------------------------------
 */

static int relu(const golden *g, int x) { return PLAIN(AMG_OP_RELU, x); }
static int leaky_relu(const golden *g, int x)
{
    return NODE(AMG_OP_LEAKY_RELU, ((amg_attr[]){amg_flt("alpha", 0.1f)}), x);
}
static int clip(const golden *g, int x)
{
    int low = constant_f32(g, "low", 0), high = constant_f32(g, "high", 0.75f);
    return PLAIN(AMG_OP_CLIP, x, low, high);
}
static int sigmoid(const golden *g, int x) { return PLAIN(AMG_OP_SIGMOID, x); }
static int tanh_case(const golden *g, int x) { return PLAIN(AMG_OP_TANH, x); }
static int padding(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_SIGMOID, conv(g, x, "w", NULL, NULL, 0));
    return conv(g, y, "w2", NULL, NULL, 0);
}

/* ---- pooling ----------------------------------------------------------------------
 */

#define WINDOW3                                                                        \
    INTS("kernel_shape", 3, 3), INTS("strides", 2, 2), INTS("pads", 1, 1, 1, 1)

static int max_pool(const golden *g, int x)
{
    return NODE(AMG_OP_MAX_POOL, ((amg_attr[]){WINDOW3}), x);
}
static int max_pool_ceil(const golden *g, int x)
{
    return NODE(AMG_OP_MAX_POOL,
                ((amg_attr[]){INTS("kernel_shape", 2, 2), INTS("strides", 2, 2),
                              amg_int("ceil_mode", 1)}),
                x);
}
static int average_pool(const golden *g, int x)
{
    return NODE(AMG_OP_AVERAGE_POOL, ((amg_attr[]){WINDOW3}), x);
}
static int average_pool_padded(const golden *g, int x)
{
    return NODE(AMG_OP_AVERAGE_POOL,
                ((amg_attr[]){WINDOW3, amg_int("count_include_pad", 1)}), x);
}
static int global_pool(const golden *g, int x)
{
    return PLAIN(AMG_OP_GLOBAL_AVERAGE_POOL, x);
}
static int reduce_mean(const golden *g, int x)
{
    return NODE(AMG_OP_REDUCE_MEAN,
                ((amg_attr[]){INTS("axes", 2, 3), amg_int("keepdims", 0)}), x);
}
static int conv_mean(const golden *g, int x)
{
    return reduce_mean(g, conv(g, x, "w", NULL, NULL, 0));
}

/* ---- matrices ---------------------------------------------------------------------
 */

static int gemm(const golden *g, int x)
{
    return NODE(AMG_OP_GEMM, ((amg_attr[]){amg_int("transB", 1)}), x,
                golden_param(g, "w"), golden_param(g, "b"));
}
static int gemm_plain(const golden *g, int x)
{
    return PLAIN(AMG_OP_GEMM, x, golden_param(g, "w"), golden_param(g, "b"));
}
static int mat_mul_bias(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_MAT_MUL, x, golden_param(g, "w"));
    return PLAIN(AMG_OP_ADD, y, golden_param(g, "b"));
}
static int gemm_twice(const golden *g, int x)
{
    int w = golden_param(g, "w");
    amg_attr attrs[] = {amg_int("transB", 1)};
    int y = NODE(AMG_OP_GEMM, attrs, x, w);
    y = PLAIN(AMG_OP_TANH, y);
    return NODE(AMG_OP_GEMM, attrs, y, w);
}

/* ---- elementwise ------------------------------------------------------------------
 */

static int add(const golden *g, int x)
{
    return PLAIN(AMG_OP_ADD, x, golden_param(g, "o"));
}
static int sub(const golden *g, int x)
{
    return PLAIN(AMG_OP_SUB, x, golden_param(g, "o"));
}
static int mul(const golden *g, int x)
{
    return PLAIN(AMG_OP_MUL, x, golden_param(g, "o"));
}
static int div_case(const golden *g, int x)
{
    return PLAIN(AMG_OP_DIV, x, golden_param(g, "o"));
}
static int conv_div(const golden *g, int x)
{
    return div_case(g, conv(g, x, "w", NULL, NULL, 0));
}
static int add_self(const golden *g, int x) { return PLAIN(AMG_OP_ADD, x, x); }
static int residual(const golden *g, int x)
{
    int y = conv_wide(g, x);
    return PLAIN(AMG_OP_RELU, PLAIN(AMG_OP_ADD, y, x));
}

/* ---- moving data ------------------------------------------------------------------
 */

static int concat(const golden *g, int x)
{
    int y = conv(g, x, "w", NULL, NULL, 0);
    return NODE(AMG_OP_CONCAT, ((amg_attr[]){amg_int("axis", 1)}), x, y, x);
}
static int concat_blocked(const golden *g, int x)
{
    int a = conv(g, x, "w", NULL, NULL, 0);
    int b = conv(g, x, "w2", NULL, (amg_attr[]){INTS("pads", 1, 1, 1, 1)}, 1);
    return NODE(AMG_OP_CONCAT, ((amg_attr[]){amg_int("axis", 1)}), a, b);
}
static int grouped(const golden *g, int x)
{
    int y = conv(g, conv(g, x, "w", NULL, NULL, 0), "w2", NULL,
                 (amg_attr[]){INTS("pads", 1, 1, 1, 1), amg_int("group", 2),
                              INTS("strides", 2, 2)},
                 3);
    int pads = constant_i64(g, "pads", 8, (int64_t[]){0, 0, 1, 1, 0, 0, 0, 0});
    int wide = PLAIN(AMG_OP_PAD, norm(g, y), pads);
    const amg_attr axes[] = {INTS("axes", 2, 3), amg_int("keepdims", 0)};
    return PLAIN(AMG_OP_ADD, NODE(AMG_OP_REDUCE_MEAN, axes, wide),
                 NODE(AMG_OP_REDUCE_MEAN, axes, y));
}
static int flatten(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_FLATTEN, conv(g, x, "w", NULL, NULL, 0));
    return NODE(AMG_OP_GEMM, ((amg_attr[]){amg_int("transB", 1)}), y,
                golden_param(g, "v"));
}
static int reshape(const golden *g, int x)
{
    int shape = constant_i64(g, "shape", 4, (int64_t[]){2, 3, 2, 2});
    return conv(g, PLAIN(AMG_OP_RESHAPE, x, shape), "w", NULL, NULL, 0);
}
static int pad(const golden *g, int x)
{
    int y = conv(g, x, "w", NULL, NULL, 0);
    int pads = constant_i64(g, "pads", 8, (int64_t[]){0, 0, 1, 2, 0, 0, 3, 0});
    return PLAIN(AMG_OP_PAD, y, pads);
}

/* ---- running them -----------------------------------------------------------------
 */

typedef struct {
    const char *name;
    int (*build)(const golden *g, int x);
    bool evaluation;
} kernel_case;

static const kernel_case cases[] = {
    {"conv", conv_basic, false},
    {"conv_wide", conv_wide, false},
    {"conv_stride", conv_stride, false},
    {"conv_dilated", conv_dilated, false},
    {"conv_groups", conv_groups, false},
    {"conv_depthwise", conv_depthwise, false},
    {"conv_depthwise16", conv_depthwise16, false},
    {"grouped", grouped, false},
    {"conv_1x1", conv_1x1, false},
    {"norm", norm, false},
    {"norm_relu", norm_relu, false},
    {"norm_flat", norm, false},
    {"norm_eval", norm, true},
    {"conv_norm_relu", conv_norm_relu, false},
    {"relu", relu, false},
    {"leaky_relu", leaky_relu, false},
    {"clip", clip, false},
    {"sigmoid", sigmoid, false},
    {"tanh", tanh_case, false},
    {"padding", padding, false},
    {"max_pool", max_pool, false},
    {"max_pool_ceil", max_pool_ceil, false},
    {"average_pool", average_pool, false},
    {"average_pool_padded", average_pool_padded, false},
    {"global_pool", global_pool, false},
    {"reduce_mean", reduce_mean, false},
    {"conv_mean", conv_mean, false},
    {"gemm", gemm, false},
    {"gemm_plain", gemm_plain, false},
    {"mat_mul_bias", mat_mul_bias, false},
    {"gemm_twice", gemm_twice, false},
    {"add_full", add, false},
    {"add_channel", add, false},
    {"add_scalar", add, false},
    {"add_general", add, false},
    {"sub_full", sub, false},
    {"sub_channel", sub, false},
    {"sub_scalar", sub, false},
    {"sub_general", sub, false},
    {"mul_full", mul, false},
    {"mul_channel", mul, false},
    {"mul_scalar", mul, false},
    {"mul_general", mul, false},
    {"div_full", div_case, false},
    {"div_channel", div_case, false},
    {"div_scalar", div_case, false},
    {"div_general", div_case, false},
    {"conv_div_channel", conv_div, false},
    {"add_self", add_self, false},
    {"residual", residual, false},
    {"concat", concat, false},
    {"concat_blocked", concat_blocked, false},
    {"flatten", flatten, false},
    {"reshape", reshape, false},
    {"pad", pad, false},
};
#define NUM_CASES (sizeof cases / sizeof *cases)

static void matches_pytorch(void **state)
{
    const kernel_case *c = *state;
    amg_safetensors *st = open_goldens("kernels.safetensors");
    golden g = {st, c->name, amg_builder_new()};
    amg_builder_output(g.b, c->build(&g, golden_input(&g)));
    amg_graph *graph = golden_finish(&g);
    check_golden(&g, graph, (amg_plan_options){.training = !c->evaluation});
    check_golden(&g, graph,
                 (amg_plan_options){.training = !c->evaluation, .no_winograd = true});
    amg_graph_free(graph);
    amg_builder_free(g.b);
    amg_safetensors_close(st);
}

/* Bytes through the select: Reshape, Gather, Reshape, then Cast, exactly. */
static void select_and_cast_are_exact(void **state)
{
    (void)state;
    golden local = {.b = amg_builder_new()}, *g = &local;
    int x = amg_builder_input(g->b, "x", AMG_U8, 3, (int64_t[]){2, 1, 5});
    int flat = constant_i64(g, "flat", 2, (int64_t[]){2, 5});
    int image = constant_i64(g, "image", 4, (int64_t[]){2, 1, 1, 3});
    x = PLAIN(AMG_OP_RESHAPE, x, flat);
    int index = constant_i64(g, "index", 3, (int64_t[]){4, 0, 3});
    int y = NODE(AMG_OP_GATHER, ((amg_attr[]){amg_int("axis", 1)}), x, index);
    y = PLAIN(AMG_OP_RESHAPE, y, image);
    y = NODE(AMG_OP_CAST, ((amg_attr[]){amg_int("to", 1)}), y);
    amg_builder_output(g->b, y);
    amg_graph *graph = NULL;
    assert_ok(amg_builder_finish(g->b, &graph, err));
    bound b = bind_plan(graph, (amg_plan_options){.training = true});
    memcpy(amg_plan_input(b.plan), (uint8_t[]){1, 2, 3, 4, 5, 250, 251, 252, 253, 255},
           10);
    const float *out;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &out, &count, err));
    assert_int_equal(count, 6);
    const float expected[6] = {5, 1, 4, 255, 250, 253};
    assert_memory_equal(out, expected, sizeof expected);
    bound_clear(&b);
    amg_graph_free(graph);
    amg_builder_free(g->b);
}

/* The last node's result for integers of the data, as the plan holds it. */
static void check_integer_cast(amg_dtype to, const void *expected, size_t size_bytes)
{
    const int32_t data[4] = {0, -7, 1 << 20, INT32_MAX};
    golden local = {.b = amg_builder_new()}, *g = &local;
    int x = amg_builder_input(g->b, "x", AMG_I32, 2, (int64_t[]){2, 2});
    amg_builder_output(
        g->b, NODE(AMG_OP_CAST, ((amg_attr[]){amg_int("to", amg_dtype_onnx(to))}), x));
    amg_graph *graph = NULL;
    assert_ok(amg_builder_finish(g->b, &graph, err));
    bound b = bind_plan(graph, (amg_plan_options){.training = false});
    assert_int_equal(amg_plan_input_bytes(b.plan), sizeof data);
    memcpy(amg_plan_input(b.plan), data, sizeof data);
    const float *out;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &out, &count, err));
    assert_int_equal(count, 4);
    assert_memory_equal(out, expected, size_bytes);
    bound_clear(&b);
    amg_graph_free(graph);
    amg_builder_free(g->b);
}

static void integer_data_become_tokens_or_numbers(void **state)
{
    (void)state;
    const int64_t tokens[4] = {0, -7, 1 << 20, INT32_MAX};
    const float numbers[4] = {0, -7, 1 << 20, 2147483648.0f};
    check_integer_cast(AMG_I64, tokens, sizeof tokens);
    check_integer_cast(AMG_F32, numbers, sizeof numbers);
    check_integer_cast(AMG_I32, (int32_t[]){0, -7, 1 << 20, INT32_MAX}, 16);
}

/* data == number as numbers, the constant on the left or on the right. */
static amg_graph *equal_graph(amg_dtype dtype, bool on_the_left)
{
    golden local = {.b = amg_builder_new()}, *g = &local;
    int x = amg_builder_input(g->b, "x", dtype, 2, (int64_t[]){2, 3});
    const int64_t wide = -7;
    const int32_t narrow = -7;
    amg_tensor t;
    assert_ok(amg_tensor_view(
        dtype, 0, NULL, dtype == AMG_I64 ? (const void *)&wide : &narrow, &t, err));
    int pad = amg_builder_param(g->b, "pad", &t);
    int y = on_the_left ? PLAIN(AMG_OP_EQUAL, pad, x) : PLAIN(AMG_OP_EQUAL, x, pad);
    y = NODE(AMG_OP_CAST, ((amg_attr[]){amg_int("to", 1)}), y);
    amg_builder_output(g->b, y);
    amg_graph *graph = NULL;
    assert_ok(amg_builder_finish(g->b, &graph, err));
    amg_builder_free(g->b);
    return graph;
}

static void check_equal(amg_dtype dtype, const void *data, size_t size_bytes,
                        bool on_the_left)
{
    const float expected[6] = {0, 1, 0, 0, 1, 1};
    amg_graph *graph = equal_graph(dtype, on_the_left);
    bound b = bind_plan(graph, (amg_plan_options){.training = true});
    assert_int_equal(amg_plan_input_bytes(b.plan), size_bytes);
    memcpy(amg_plan_input(b.plan), data, size_bytes);
    const float *out;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &out, &count, err));
    assert_int_equal(count, 6);
    assert_memory_equal(out, expected, sizeof expected);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void tokens_are_compared_with_a_number(void **state)
{
    (void)state;
    /* the last eight bits, or 32, of some are those of -7 */
    const int64_t wide[6] = {7, -7, 249, 4294967289, -7, -7};
    const int32_t narrow[6] = {7, -7, 249, 0, -7, -7};
    for (int side = 0; side < 2; side++) {
        check_equal(AMG_I64, wide, sizeof wide, side);
        check_equal(AMG_I32, narrow, sizeof narrow, side);
    }
}

#define DROPPED 4000

static amg_graph *dropout_graph(float ratio)
{
    golden local = {.b = amg_builder_new()}, *g = &local;
    int64_t dims[2] = {1, DROPPED};
    amg_tensor ones;
    assert_ok(amg_tensor_new(AMG_F32, 2, dims, &ones, err));
    for (int i = 0; i < DROPPED; i++) ((float *)ones.data)[i] = 1;
    int x = amg_builder_input(g->b, "x", AMG_F32, 2, dims);
    int y = PLAIN(AMG_OP_MUL, x, amg_builder_param(g->b, "w", &ones));
    amg_tensor_clear(&ones);
    for (int i = 0; i < 2; i++)
        y = PLAIN(AMG_OP_DROPOUT, y, constant_f32(g, i ? "r1" : "r0", ratio));
    amg_builder_output(g->b, y);
    amg_graph *graph = NULL;
    assert_ok(amg_builder_finish(g->b, &graph, err));
    amg_builder_free(g->b);
    graph->values[amg_graph_find_value(graph, "w")].role = AMG_ROLE_TRAINABLE;
    return graph;
}

static void run_dropout(const bound *b, int64_t step, float *out)
{
    for (int i = 0; i < DROPPED; i++) ((float *)amg_plan_input(b->plan))[i] = 1;
    const float *y;
    int64_t count;
    assert_ok(amg_plan_forward(b->plan, step, &y, &count, err));
    memcpy(out, y, sizeof *y * DROPPED);
}

static void dropout_drops_scales_and_repeats_its_mask(void **state)
{
    (void)state;
    amg_graph *graph = dropout_graph(0.25f);
    bound b = bind_plan(graph, (amg_plan_options){.training = true, .seed = 3});
    static float first[DROPPED], second[DROPPED], again[DROPPED], dy[DROPPED];
    run_dropout(&b, 7, first);
    run_dropout(&b, 8, second);
    run_dropout(&b, 7, again);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, second, sizeof first);
    /* Two independent dropouts keep .75 * .75 = .5625: six standard deviations are
     * .047. One mask used twice would keep .75. */
    int kept = 0;
    for (int i = 0; i < DROPPED; i++) {
        kept += first[i] != 0;
        if (first[i] != 0) assert_float_equal(first[i], 16.0f / 9, 1e-6);
    }
    assert_in_range(kept, (int)(0.515 * DROPPED), (int)(0.610 * DROPPED));
    for (int i = 0; i < DROPPED; i++) dy[i] = 1;
    assert_ok(amg_plan_backward(b.plan, dy, err));
    assert_memory_equal(amg_plan_slot_at(b.plan, 0)->grad, first, sizeof first);
    bound_clear(&b);

    b = bind_plan(graph, (amg_plan_options){.training = false});
    run_dropout(&b, 7, first);
    for (int i = 0; i < DROPPED; i++) assert_true(first[i] == 1);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void reference_implementations_are_recognised(void **state)
{
    (void)state;
    assert_true(amg_dnnl_is_reference("ref:any"));
    assert_true(amg_dnnl_is_reference("ref"));
    assert_true(amg_dnnl_is_reference("gemm:ref"));
    assert_true(amg_dnnl_is_reference("simple:any:ref:fused"));
    assert_true(amg_dnnl_is_reference("bnorm_ref:any"));
    assert_false(amg_dnnl_is_reference("jit:avx512_core"));
    assert_false(amg_dnnl_is_reference("gemm:jit"));
    assert_false(amg_dnnl_is_reference("bnorm_jit:avx512_core"));
    assert_false(amg_dnnl_is_reference(""));
}

int main(void)
{
    enum { OTHERS = 5 };
    struct CMUnitTest tests[NUM_CASES + OTHERS] = {
        cmocka_unit_test(select_and_cast_are_exact),
        cmocka_unit_test(tokens_are_compared_with_a_number),
        cmocka_unit_test(integer_data_become_tokens_or_numbers),
        cmocka_unit_test(dropout_drops_scales_and_repeats_its_mask),
        cmocka_unit_test(reference_implementations_are_recognised)};
    static kernel_case mutable_cases[NUM_CASES];
    memcpy(mutable_cases, cases, sizeof cases);
    for (size_t i = 0; i < NUM_CASES; i++)
        tests[OTHERS + i] = (struct CMUnitTest){cases[i].name, matches_pytorch, NULL,
                                                NULL, &mutable_cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
