/* Operators of transformers, forward and backward, against PyTorch's values
 * (make_transformer_goldens.py), gradients of a whole block against finite differences,
 * and what an index out of range does. */
#include "node_fixture.h"

#include "base/parallel.h"

static int transpose4(const golden *g, int x, int64_t a, int64_t b, int64_t c,
                      int64_t d)
{
    return WITH(AMG_OP_TRANSPOSE, INTS("perm", a, b, c, d), x);
}

static int conv(const golden *g, int x, const char *weight)
{
    return PLAIN(AMG_OP_CONV, x, PARAM(weight));
}

static int tanh_of(const golden *g, int x) { return PLAIN(AMG_OP_TANH, x); }
static int sigmoid(const golden *g, int x) { return PLAIN(AMG_OP_SIGMOID, x); }

/* ---- matrices ---------------------------------------------------------------------
 */

static int mat_mul(const golden *g, int x)
{
    return PLAIN(AMG_OP_MAT_MUL, x, transpose4(g, tanh_of(g, x), 0, 1, 3, 2));
}
static int mat_mul_flat(const golden *g, int x)
{
    return PLAIN(AMG_OP_MAT_MUL, x, PLAIN(AMG_OP_TRANSPOSE, tanh_of(g, x)));
}
static int mat_mul_w(const golden *g, int x)
{
    return PLAIN(AMG_OP_MAT_MUL, x, PARAM("w"));
}
static int mat_mul_broadcast_a(const golden *g, int x)
{
    return PLAIN(AMG_OP_MAT_MUL, PARAM("w"), x);
}

/* ---- rows -------------------------------------------------------------------------
 */

static int layer_norm(const golden *g, int x)
{
    return PLAIN(AMG_OP_LAYER_NORM, x, PARAM("scale"), PARAM("bias"));
}
static int layer_norm_wide(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("axis", 1), amg_flt("epsilon", 1e-3f)};
    return amg_builder_node(g->b, AMG_OP_LAYER_NORM, "norm", (int[]){x, PARAM("scale")},
                            2, attrs, 2, NULL);
}
static int softmax(const golden *g, int x)
{
    return PLAIN(AMG_OP_SOFTMAX, PLAIN(AMG_OP_MUL, x, network_scalar(g, "three", 3)));
}
static int softmax_middle(const golden *g, int x)
{
    return WITH(AMG_OP_SOFTMAX, amg_int("axis", 1), x);
}
/* Whatever follows must not write over what the gradient reads. */
static int softmax_dropped(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_DROPOUT, softmax_middle(g, x), network_scalar(g, "ratio", 0));
    return PLAIN(AMG_OP_SIGMOID, y);
}
static int log_softmax(const golden *g, int x)
{
    return PLAIN(AMG_OP_LOG_SOFTMAX,
                 PLAIN(AMG_OP_ADD, x, network_scalar(g, "far", 50)));
}
static int log_softmax_middle(const golden *g, int x)
{
    return WITH(AMG_OP_LOG_SOFTMAX, amg_int("axis", -2), x);
}
static int conv_softmax(const golden *g, int x)
{
    return softmax_middle(g, conv(g, x, "w"));
}

/* ---- functions --------------------------------------------------------------------
 */

static int gelu(const golden *g, int x) { return PLAIN(AMG_OP_GELU, x); }
static int gelu_tanh(const golden *g, int x)
{
    amg_attr how = {.name = "approximate", .kind = AMG_ATTR_STRING, .s = "tanh"};
    return WITH(AMG_OP_GELU, how, x);
}
static int erf_case(const golden *g, int x) { return PLAIN(AMG_OP_ERF, x); }
static int exp_case(const golden *g, int x) { return PLAIN(AMG_OP_EXP, x); }
static int log_case(const golden *g, int x) { return PLAIN(AMG_OP_LOG, x); }
static int sqrt_case(const golden *g, int x) { return PLAIN(AMG_OP_SQRT, x); }
static int neg(const golden *g, int x) { return PLAIN(AMG_OP_NEG, x); }
static int abs_case(const golden *g, int x) { return PLAIN(AMG_OP_ABS, x); }
static int reciprocal(const golden *g, int x) { return PLAIN(AMG_OP_RECIPROCAL, x); }
static int power(const golden *g, int x, float exponent)
{
    return PLAIN(AMG_OP_POW, x, network_scalar(g, "exponent", exponent));
}
static int pow_2(const golden *g, int x) { return power(g, x, 2); }
static int pow_3(const golden *g, int x)
{
    return PLAIN(AMG_OP_POW, x, index_scalar(g, "exponent", 3));
}
static int pow_half(const golden *g, int x) { return power(g, x, 0.5f); }
static int pow_negative(const golden *g, int x) { return power(g, x, -1.5f); }
static int conv_exp(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_DIV, conv(g, x, "w"), network_scalar(g, "four", 4));
    return conv(g, PLAIN(AMG_OP_EXP, y), "w2");
}

/* ---- broadcasting -----------------------------------------------------------------
 */

#define BINARY(name, op)                                                               \
    static int name(const golden *g, int x) { return PLAIN(op, x, PARAM("o")); }       \
    static int name##_left(const golden *g, int x)                                     \
    {                                                                                  \
        return PLAIN(op, PARAM("o"), x);                                               \
    }                                                                                  \
    static int name##_activations(const golden *g, int x)                              \
    {                                                                                  \
        return PLAIN(op, x, WITH(AMG_OP_REDUCE_MEAN, INTS("axes", 1), x));             \
    }
BINARY(add, AMG_OP_ADD)
BINARY(sub, AMG_OP_SUB)
BINARY(mul, AMG_OP_MUL)
BINARY(quotient, AMG_OP_DIV)
#undef BINARY

/* ---- moving -----------------------------------------------------------------------
 */

static int transpose(const golden *g, int x) { return transpose4(g, x, 0, 2, 3, 1); }
static int transpose_reversed(const golden *g, int x)
{
    return PLAIN(AMG_OP_TRANSPOSE, x);
}
static int slice(const golden *g, int x)
{
    return PLAIN(AMG_OP_SLICE, x, VECTOR("start", 1, -3), VECTOR("end", 6, INT64_MAX),
                 VECTOR("axes", 1, 2), VECTOR("step", 2, 1));
}
static int slice_backward(const golden *g, int x)
{
    return PLAIN(AMG_OP_SLICE, x, VECTOR("start", 5), VECTOR("end", 0),
                 VECTOR("axes", -2), VECTOR("step", -2));
}
/* The middle of three parts is not read. */
static int split(const golden *g, int x)
{
    int parts[3], in[2] = {x, VECTOR("sizes", 2, 3, 2)};
    amg_builder_node_multi(g->b, AMG_OP_SPLIT, "split", in, 2,
                           (amg_attr[]){amg_int("axis", 1)}, 1, NULL, 3, parts);
    return PLAIN(AMG_OP_MUL, parts[0], parts[2]);
}
static int split_equal(const golden *g, int x)
{
    int parts[3];
    amg_builder_node_multi(g->b, AMG_OP_SPLIT, "split", &x, 1,
                           (amg_attr[]){amg_int("axis", -1)}, 1, NULL, 3, parts);
    int y = PLAIN(AMG_OP_MUL, parts[0], tanh_of(g, parts[1]));
    return PLAIN(AMG_OP_ADD, y, parts[2]);
}
static int expanded(const golden *g, int x, const char *name, int64_t a, int64_t b,
                    int64_t c)
{
    return PLAIN(AMG_OP_EXPAND, x, VECTOR(name, a, b, c));
}
static int concat_last(const golden *g, int x)
{
    int w = expanded(g, PARAM("w"), "shape", 2, 3, 5);
    return WITH(AMG_OP_CONCAT, amg_int("axis", -1), x, w, tanh_of(g, x));
}
static int concat_first(const golden *g, int x)
{
    return WITH(AMG_OP_CONCAT, amg_int("axis", 0), PARAM("w"), x);
}
static int expand(const golden *g, int x)
{
    return PLAIN(AMG_OP_MUL, expanded(g, x, "shape", 2, 3, 4),
                 expanded(g, PARAM("w"), "shape_w", 2, 3, 4));
}
static int tile(const golden *g, int x)
{
    return PLAIN(AMG_OP_TILE, x, VECTOR("repeats", 1, 2, 3));
}
static int class_token(const golden *g, int x)
{
    int token = expanded(g, PARAM("token"), "shape", 2, 1, 4);
    return PLAIN(AMG_OP_ADD, WITH(AMG_OP_CONCAT, amg_int("axis", 1), token, x),
                 PARAM("position"));
}
static int gather_one(const golden *g, int x)
{
    return WITH(AMG_OP_GATHER, amg_int("axis", 1), x, index_scalar(g, "i", 0));
}
static int gather_several(const golden *g, int x)
{
    return WITH(AMG_OP_GATHER, amg_int("axis", 2), x, VECTOR("i", 3, 0, -1, 1));
}
static int gather_columns(const golden *g, int x)
{
    return WITH(AMG_OP_GATHER, amg_int("axis", -1), x, VECTOR("i", 3, 0, 3, 1));
}
static int embedding(const golden *g, int x)
{
    return PLAIN(AMG_OP_GATHER, PARAM("w"), x);
}
static int embedding_tied(const golden *g, int x)
{
    int w = PARAM("w"), y = tanh_of(g, PLAIN(AMG_OP_GATHER, w, x));
    amg_attr attrs[] = {INTS("axes", 1), amg_int("keepdims", 0)};
    y = amg_builder_node(g->b, AMG_OP_REDUCE_MEAN, "mean", &y, 1, attrs, 2, NULL);
    return WITH(AMG_OP_GEMM, amg_int("transB", 1), y, w);
}

/* Causal attention over the tokens of a table that is the output layer, too. */
static int language_model(const golden *g, int tokens)
{
    float causal[25] = {0};
    amg_tensor t;
    for (int i = 0; i < 25; i++) causal[i] = i % 5 > i / 5 ? -INFINITY : 0;
    assert_ok(amg_tensor_view(AMG_F32, 2, (int64_t[]){5, 5}, causal, &t, err));
    int w = PARAM("w"), mask = amg_builder_param(g->b, "mask", &t);
    int x =
        PLAIN(AMG_OP_MUL, PLAIN(AMG_OP_GATHER, w, tokens), network_scalar(g, "two", 2));
    int y = PLAIN(AMG_OP_MAT_MUL, x, WITH(AMG_OP_TRANSPOSE, INTS("perm", 0, 2, 1), x));
    y = PLAIN(AMG_OP_ADD, PLAIN(AMG_OP_MUL, y, network_scalar(g, "half", 0.5f)), mask);
    y = PLAIN(AMG_OP_MAT_MUL, WITH(AMG_OP_SOFTMAX, amg_int("axis", -1), y), x);
    y = PLAIN(AMG_OP_LAYER_NORM, PLAIN(AMG_OP_ADD, x, y), PARAM("scale"),
              PARAM("bias"));
    y = PLAIN(AMG_OP_RESHAPE, y, VECTOR("rows", -1, 4));
    y = WITH(AMG_OP_GEMM, amg_int("transB", 1), y, w);
    return PLAIN(AMG_OP_RESHAPE, y, VECTOR("sequences", -1, 5, 7));
}

/* ---- summing ----------------------------------------------------------------------
 */

static int mean_last(const golden *g, int x)
{
    amg_attr attrs[] = {INTS("axes", -1), amg_int("keepdims", 0)};
    return amg_builder_node(g->b, AMG_OP_REDUCE_MEAN, "mean", &x, 1, attrs, 2, NULL);
}
static int mean_middle_kept(const golden *g, int x)
{
    return PLAIN(AMG_OP_MUL, WITH(AMG_OP_REDUCE_MEAN, INTS("axes", 1), x), x);
}
static int mean_outer(const golden *g, int x)
{
    amg_attr attrs[] = {INTS("axes", 2, 0), amg_int("keepdims", 0)};
    return amg_builder_node(g->b, AMG_OP_REDUCE_MEAN, "mean", &x, 1, attrs, 2, NULL);
}
static int mean_channels(const golden *g, int x)
{
    amg_attr attrs[] = {INTS("axes", 1), amg_int("keepdims", 0)};
    int y = conv(g, x, "w");
    return amg_builder_node(g->b, AMG_OP_REDUCE_MEAN, "mean", &y, 1, attrs, 2, NULL);
}
static int sum_all_kept(const golden *g, int x)
{
    return PLAIN(AMG_OP_MUL, PLAIN(AMG_OP_REDUCE_SUM, x), x);
}
static int sum_positions(const golden *g, int x)
{
    return WITH(AMG_OP_REDUCE_SUM, amg_int("keepdims", 0), PLAIN(AMG_OP_MUL, x, x),
                VECTOR("axes", 1));
}

/* ---- channel blocks ---------------------------------------------------------------
 */

static int patches(const golden *g, int x)
{
    int y = WITH(AMG_OP_CONV, INTS("strides", 2, 2), x, PARAM("w"), PARAM("b"));
    y = PLAIN(AMG_OP_RESHAPE, y, VECTOR("shape", 2, 20, 16));
    y = WITH(AMG_OP_TRANSPOSE, INTS("perm", 0, 2, 1), y);
    return layer_norm(g, PLAIN(AMG_OP_ADD, y, PARAM("position")));
}
static int channels(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_SLICE, conv(g, x, "w"), VECTOR("start", 4), VECTOR("end", 20),
                  VECTOR("axes", 1));
    y = PLAIN(AMG_OP_RESHAPE, PLAIN(AMG_OP_GELU, y), VECTOR("shape", 2, 2, 8, 4, 4));
    y = WITH(AMG_OP_REDUCE_SUM, amg_int("keepdims", 0), y, VECTOR("axes_sum", 1));
    return conv(g, y, "w2");
}

/* ---- a block ----------------------------------------------------------------------
 */

static int linear(const golden *g, int x, const char *weight, const char *bias)
{
    int y = PLAIN(AMG_OP_MAT_MUL, x, PARAM(weight));
    return bias ? PLAIN(AMG_OP_ADD, y, PARAM(bias)) : y;
}

static int attention(const golden *g, int x)
{
    int y = linear(g, x, "qkv", "qkv_bias"), head[3];
    y = PLAIN(AMG_OP_RESHAPE, y, VECTOR("heads", 3, 5, 3, 2, 4));
    y = WITH(AMG_OP_TRANSPOSE, INTS("perm", 2, 0, 3, 1, 4), y);
    for (int i = 0; i < 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "head%d", i);
        head[i] = PLAIN(AMG_OP_GATHER, y, index_scalar(g, name, i));
    }
    int scores = PLAIN(AMG_OP_MAT_MUL, head[0], transpose4(g, head[1], 0, 1, 3, 2));
    scores = PLAIN(AMG_OP_DIV, scores, network_scalar(g, "two", 2));
    y = PLAIN(AMG_OP_MAT_MUL, PLAIN(AMG_OP_SOFTMAX, scores), head[2]);
    y = PLAIN(AMG_OP_RESHAPE, transpose4(g, y, 0, 2, 1, 3), VECTOR("flat", 3, 5, 8));
    return linear(g, y, "out", "out_bias");
}

static int block(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_LAYER_NORM, x, PARAM("scale0"), PARAM("bias0"));
    x = PLAIN(AMG_OP_ADD, x, attention(g, y));
    y = PLAIN(AMG_OP_LAYER_NORM, x, PARAM("scale1"), PARAM("bias1"));
    y = PLAIN(AMG_OP_GELU, linear(g, y, "up", "up_bias"));
    return PLAIN(AMG_OP_ADD, x, linear(g, y, "down", NULL));
}

/* ---- tests ------------------------------------------------------------------------
 */

#define OF_BINARY(name, op)                                                            \
    {name "_samples", op}, {name "_positions", op}, {name "_vector", op},              \
        {name "_column", op}, {name "_scalar", op}, {name "_grows", op},               \
        {name "_activations", op##_activations},                                       \
    {                                                                                  \
        name "_left", op##_left                                                        \
    }

static const golden_case cases[] = {
    {"mat_mul", mat_mul},
    {"mat_mul_flat", mat_mul_flat},
    {"mat_mul_tall", mat_mul_w},
    {"mat_mul_broadcast_b", mat_mul_w},
    {"mat_mul_broadcast_both", mat_mul_w},
    {"mat_mul_broadcast_a", mat_mul_broadcast_a},
    {"layer_norm", layer_norm},
    {"layer_norm_wide", layer_norm_wide},
    {"layer_norm_far", layer_norm},
    {"softmax", softmax},
    {"softmax_middle", softmax_middle},
    {"softmax_dropped", softmax_dropped},
    {"log_softmax", log_softmax},
    {"log_softmax_middle", log_softmax_middle},
    {"conv_softmax", conv_softmax},
    {"gelu", gelu},
    {"gelu_tanh", gelu_tanh},
    {"erf", erf_case},
    {"exp", exp_case},
    {"log", log_case},
    {"sqrt", sqrt_case},
    {"neg", neg},
    {"abs", abs_case},
    {"reciprocal", reciprocal},
    {"pow_2", pow_2},
    {"pow_3", pow_3},
    {"pow_half", pow_half},
    {"pow_negative", pow_negative},
    {"conv_exp", conv_exp},
    OF_BINARY("add", add),
    OF_BINARY("sub", sub),
    OF_BINARY("mul", mul),
    OF_BINARY("div", quotient),
    {"transpose", transpose},
    {"transpose_reversed", transpose_reversed},
    {"slice", slice},
    {"slice_backward", slice_backward},
    {"split", split},
    {"split_equal", split_equal},
    {"concat_last", concat_last},
    {"concat_first", concat_first},
    {"expand", expand},
    {"tile", tile},
    {"class_token", class_token},
    {"gather_one", gather_one},
    {"gather_several", gather_several},
    {"gather_columns", gather_columns},
    {"embedding", embedding},
    {"embedding_tied", embedding_tied},
    {"language_model", language_model},
    {"gelu_far", gelu},
    {"gelu_tanh_far", gelu_tanh},
    {"tanh_far", tanh_of},
    {"sigmoid_far", sigmoid},
    {"mean_last", mean_last},
    {"mean_middle_kept", mean_middle_kept},
    {"mean_outer", mean_outer},
    {"mean_channels", mean_channels},
    {"sum_all_kept", sum_all_kept},
    {"sum_positions", sum_positions},
    {"patches", patches},
    {"channels", channels},
    {"block", block},
};
#define NUM_CASES (sizeof cases / sizeof *cases)

static void matches_pytorch(void **state)
{
    check_golden_case("transformer.safetensors", *state);
}

static void gradients_of_a_block_match_finite_differences(void **state)
{
    (void)state;
    amg_safetensors *st = open_goldens("transformer.safetensors");
    golden g = {st, "block", NULL};
    amg_graph *graph = golden_case_graph(&g, &(golden_case){"block", block});
    check_finite_differences(&g, graph, 1);
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

/* Gradient of the table for a batch of many repeated tokens. */
static void table_gradient(const amg_graph *graph, int threads, float *out,
                           size_t bytes)
{
    enum { NUM = 96 * 64 };
    amg_set_threads(threads);
    bound b = bind_plan(graph, (amg_plan_options){.training = true});
    int32_t *x = amg_plan_input(b.plan);
    static float dy[NUM * 48];
    uint32_t random = 1;
    for (int i = 0; i < NUM; i++)
        x[i] = (int32_t)((random = random * 1664525 + 1013904223) >> 16) % 50;
    for (int i = 0; i < NUM * 48; i++)
        dy[i] = (float)((random = random * 1664525 + 1013904223) >> 8) * 0x1p-24f;
    const float *y;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &y, &count, err));
    assert_int_equal(count, NUM * 48);
    assert_ok(amg_plan_backward(b.plan, dy, err));
    assert_int_equal(amg_plan_slot_at(b.plan, 0)->count * (int64_t)sizeof(float),
                     bytes);
    memcpy(out, amg_plan_slot_at(b.plan, 0)->grad, bytes);
    bound_clear(&b);
    amg_set_threads(0);
}

static amg_graph *embedding_graph(int64_t batch, int64_t length, int64_t rows,
                                  int64_t width)
{
    amg_builder *b = amg_builder_new();
    amg_tensor table = {.dtype = AMG_F32, .rank = 2, .dims = {rows, width}};
    assert_ok(amg_tensor_size(AMG_F32, 2, table.dims, &table.size_bytes, err));
    int in[2] = {amg_builder_param(b, "table", &table),
                 amg_builder_input(b, "x", AMG_I32, 2, (int64_t[]){batch, length})};
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GATHER, "tokens", in, 2, NULL, 0, NULL));
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    amg_graph_classify(g);
    assert_int_equal(g->values[in[0]].role, AMG_ROLE_TRAINABLE);
    return g;
}

static void embedding_gradients_do_not_depend_on_threads(void **state)
{
    (void)state;
    amg_graph *g = embedding_graph(96, 64, 50, 48); /* 16 columns a thread */
    static float one[50 * 48], three[50 * 48];
    table_gradient(g, 1, one, sizeof one);
    table_gradient(g, 3, three, sizeof three);
    assert_true(norm_of(one, 50 * 48) > 0);
    assert_memory_equal(one, three, sizeof one);
    amg_graph_free(g);
}

enum { ROWS = 7, WIDTH = 4, TOKENS = 6 };

/* One step of embedding_graph(2, 3, ROWS, WIDTH). Returns the output. */
static const float *embed(const bound *b, const int32_t tokens[TOKENS], const float *dy)
{
    const float *y;
    int64_t count;
    memcpy(amg_plan_input(b->plan), tokens, sizeof(int32_t) * TOKENS);
    assert_ok(amg_plan_forward(b->plan, 0, &y, &count, err));
    assert_int_equal(count, TOKENS * WIDTH);
    if (dy) assert_ok(amg_plan_backward(b->plan, dy, err));
    return y;
}

static void rows_of_the_step_before_have_no_gradient(void **state)
{
    (void)state;
    static const int32_t before[TOKENS] = {0, 1, 2, 3, 4, 5};
    static const int32_t tokens[TOKENS] = {6, 1, 6, 6, 1, -1}; /* -1 is 6, too */
    float dy[TOKENS * WIDTH], expected[ROWS * WIDTH] = {0};
    for (int i = 0; i < TOKENS * WIDTH; i++) dy[i] = 1 / (float)(i + 3);
    for (int i = 0; i < TOKENS; i++)
        for (int k = 0; k < WIDTH; k++)
            expected[(tokens[i] + ROWS) % ROWS * WIDTH + k] += dy[i * WIDTH + k];
    amg_graph *g = embedding_graph(2, 3, ROWS, WIDTH);
    bound b = bind_plan(g, (amg_plan_options){.training = true});
    const float *grad = amg_plan_slot_at(b.plan, 0)->grad;
    (void)embed(&b, before, dy);
    assert_true(grad[5 * WIDTH] == dy[5 * WIDTH]);
    (void)embed(&b, tokens, dy);
    assert_memory_equal(grad, expected, sizeof expected);
    bound_clear(&b);
    amg_graph_free(g);
}

static void rows_in_another_order_give_the_same_bits(void **state)
{
    (void)state;
    static const int32_t rank[ROWS] = {3, 6, 0, 5, 1, 4, 2};
    static const int32_t tokens[TOKENS] = {6, 1, 6, 0, -7, 3};
    const amg_row_order order = {.param = "table", .rank = rank};
    amg_graph *g = embedding_graph(2, 3, ROWS, WIDTH);
    bound natural = bind_plan(g, (amg_plan_options){.training = true});
    bound other =
        bind_plan(g, (amg_plan_options){
                         .training = true, .row_orders = &order, .num_row_orders = 1});
    float dy[TOKENS * WIDTH], y[TOKENS * WIDTH];
    for (int i = 0; i < TOKENS * WIDTH; i++) dy[i] = 1 / (float)(i + 3);
    const amg_plan_slot *a = amg_plan_slot_at(natural.plan, 0);
    const amg_plan_slot *b = amg_plan_slot_at(other.plan, 0);
    for (int i = 0; i < ROWS * WIDTH; i++) a->value[i] = (float)i;
    for (int i = 0; i < ROWS; i++)
        memcpy(b->value + rank[i] * WIDTH, a->value + i * WIDTH, sizeof *dy * WIDTH);
    memcpy(y, embed(&natural, tokens, NULL), sizeof y);
    assert_true(y[0] == 6 * WIDTH && y[4 * WIDTH] == 0);
    assert_memory_equal(y, embed(&other, tokens, NULL), sizeof y);
    (void)embed(&natural, tokens, dy);
    (void)embed(&other, tokens, dy);
    for (int i = 0; i < ROWS; i++)
        assert_memory_equal(a->grad + i * WIDTH, b->grad + rank[i] * WIDTH,
                            sizeof *dy * WIDTH);
    assert_true(norm_of(a->grad, ROWS * WIDTH) > 0);
    bound_clear(&natural);
    bound_clear(&other);
    amg_graph_free(g);
}

static void tokens_out_of_range_end_the_run(void **state)
{
    (void)state;
    static const int32_t wrong[] = {7, -8, INT32_MAX, INT32_MIN};
    amg_graph *g = embedding_graph(2, 3, 7, 4);
    bound b = bind_plan(g, (amg_plan_options){.training = true});
    int32_t *x = amg_plan_input(b.plan);
    const float *y;
    int64_t count;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        amg_error err = {0};
        memset(x, 0, 6 * sizeof *x);
        x[4] = wrong[i];
        assert_int_equal(amg_plan_forward(b.plan, 0, &y, &count, &err), AMG_INVALID);
        assert_string_equal(err.where, "node \"tokens\" (Gather)");
        char expected[64];
        (void)snprintf(expected, sizeof expected, "index %d at 4, expected -7 to 6",
                       (int)wrong[i]);
        assert_string_equal(err.what, expected);
    }
    x[4] = -7; /* counts from the end */
    assert_ok(amg_plan_forward(b.plan, 0, &y, &count, err));
    bound_clear(&b);
    amg_graph_free(g);
}

int main(void)
{
    enum { OTHERS = 5 };
    struct CMUnitTest tests[NUM_CASES + OTHERS] = {
        cmocka_unit_test(gradients_of_a_block_match_finite_differences),
        cmocka_unit_test(embedding_gradients_do_not_depend_on_threads),
        cmocka_unit_test(rows_of_the_step_before_have_no_gradient),
        cmocka_unit_test(rows_in_another_order_give_the_same_bits),
        cmocka_unit_test(tokens_out_of_range_end_the_run)};
    static golden_case mutable_cases[NUM_CASES];
    memcpy(mutable_cases, cases, sizeof cases);
    for (size_t i = 0; i < NUM_CASES; i++)
        tests[OTHERS + i] = (struct CMUnitTest){cases[i].name, matches_pytorch, NULL,
                                                NULL, &mutable_cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
