/* Layer operators of the engine (ConvTranspose, LSTM, GRU, Resize, normalisations by
 * group, activations with a derivative of their own), forward and backward, against
 * PyTorch's values (make_layer_goldens.py), and against finite differences of the
 * engine's own forward pass; what of them is refused, and by which message. */
#include "plan_fixture.h"

#define INTS(name, ...)                                                                \
    amg_ints(name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),          \
             (int64_t[]){__VA_ARGS__})
#define MAX_ATTRS 4

static amg_attr text_attr(const char *name, const char *value)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_STRING, .s = value};
}

/* One operator with up to three outputs, of which `output` is tested. */
typedef struct {
    const char *name;
    amg_op op;
    const char *params[3]; /* inputs after x */
    amg_attr attrs[MAX_ATTRS];
    int num_attrs, num_outputs, output;
} layer;

static int count_params(const layer *l)
{
    int n = 0;
    while (n < 3 && l->params[n]) n++;
    return n;
}

static void add_layer(const golden *g, const layer *l, int x, int out[3])
{
    int in[4] = {x}, n = count_params(l);
    for (int i = 0; i < n; i++) in[1 + i] = golden_param(g, l->params[i]);
    amg_builder_node_multi(g->b, l->op, l->name, in, 1 + n, l->attrs, l->num_attrs,
                           NULL, l->num_outputs ? l->num_outputs : 1, out);
}

static int conv(const golden *g, int x, const char *weight)
{
    int in[2] = {x, golden_param(g, weight)};
    return amg_builder_node(g->b, AMG_OP_CONV, weight, in, 2, NULL, 0, NULL);
}

static int constant_f32(const golden *g, const char *name, int64_t count,
                        const float *v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 1, &count, v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

static int constant_i64(const golden *g, const char *name, int64_t count,
                        const int64_t *v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I64, 1, &count, v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

/* ---- single operators -------------------------------------------------------------
 */

#define W_B                                                                            \
    {                                                                                  \
        "w", "b"                                                                       \
    }
#define LSTM_PARAMS                                                                    \
    {                                                                                  \
        "w", "r", "b"                                                                  \
    }
static const int64_t two[] = {2, 2}, two_one[] = {2, 1}, ones[] = {1, 1};
static const int64_t pads[] = {1, 1, 1, 1};
#define STRIDES(v)                                                                     \
    {                                                                                  \
        .name = "strides", .kind = AMG_ATTR_INTS, .count = 2, .ints = v                \
    }
#define PADS                                                                           \
    {                                                                                  \
        .name = "pads", .kind = AMG_ATTR_INTS, .count = 4, .ints = pads                \
    }
#define INT(n, v)                                                                      \
    {                                                                                  \
        .name = n, .kind = AMG_ATTR_INT, .i = v                                        \
    }
#define FLT(n, v)                                                                      \
    {                                                                                  \
        .name = n, .kind = AMG_ATTR_FLOAT, .f = v                                      \
    }
#define TEXT(n, v)                                                                     \
    {                                                                                  \
        .name = n, .kind = AMG_ATTR_STRING, .s = v                                     \
    }
#define BOTH TEXT("direction", "bidirectional")
#define LBR INT("linear_before_reset", 1)

static const layer layers[] = {
    {"transpose", AMG_OP_CONV_TRANSPOSE, W_B, {STRIDES(two)}, 1, 1, 0},
    {"transpose_wide",
     AMG_OP_CONV_TRANSPOSE,
     W_B,
     {STRIDES(two),
      PADS,
      {.name = "output_padding", .kind = AMG_ATTR_INTS, .count = 2, .ints = ones}},
     3,
     1,
     0},
    {"transpose_odd", AMG_OP_CONV_TRANSPOSE, W_B, {STRIDES(two_one), PADS}, 2, 1, 0},
    {"transpose_dilated",
     AMG_OP_CONV_TRANSPOSE,
     W_B,
     {{.name = "dilations", .kind = AMG_ATTR_INTS, .count = 2, .ints = two}, PADS},
     2,
     1,
     0},
    {"transpose_groups",
     AMG_OP_CONV_TRANSPOSE,
     W_B,
     {STRIDES(two), PADS, INT("group", 2)},
     3,
     1,
     0},
    {"transpose_depthwise",
     AMG_OP_CONV_TRANSPOSE,
     W_B,
     {STRIDES(two), PADS, INT("group", 16)},
     3,
     1,
     0},
    {"lstm", AMG_OP_LSTM, LSTM_PARAMS, {INT("hidden_size", 6)}, 1, 1, 0},
    {"lstm_both", AMG_OP_LSTM, LSTM_PARAMS, {BOTH}, 1, 3, 0},
    {"lstm_bare", AMG_OP_LSTM, {"w", "r"}, {BOTH}, 1, 1, 0},
    {"lstm_batch_first", AMG_OP_LSTM, LSTM_PARAMS, {BOTH, INT("layout", 1)}, 2, 3, 0},
    {"lstm_last", AMG_OP_LSTM, LSTM_PARAMS, {BOTH}, 1, 3, 1},
    {"lstm_cell", AMG_OP_LSTM, LSTM_PARAMS, {BOTH}, 1, 3, 2},
    {"lstm_two_steps", AMG_OP_LSTM, LSTM_PARAMS, {INT("hidden_size", 6)}, 1, 1, 0},
    {"gru", AMG_OP_GRU, LSTM_PARAMS, {LBR}, 1, 1, 0},
    {"gru_both", AMG_OP_GRU, LSTM_PARAMS, {BOTH, LBR}, 2, 2, 0},
    {"gru_bare", AMG_OP_GRU, {"w", "r"}, {LBR}, 1, 1, 0},
    {"gru_batch_first",
     AMG_OP_GRU,
     LSTM_PARAMS,
     {BOTH, LBR, INT("layout", 1)},
     3,
     1,
     0},
    {"gru_last", AMG_OP_GRU, LSTM_PARAMS, {BOTH, LBR}, 2, 2, 1},
    {"elu", AMG_OP_ELU, {NULL}, {FLT("alpha", 0.7f)}, 1, 1, 0},
    {"selu", AMG_OP_SELU, {NULL}, {{0}}, 0, 1, 0},
    {"softplus", AMG_OP_SOFTPLUS, {NULL}, {{0}}, 0, 1, 0},
    {"hard_sigmoid", AMG_OP_HARD_SIGMOID, {NULL}, {FLT("alpha", 1.0f / 6)}, 1, 1, 0},
    {"hard_swish", AMG_OP_HARD_SWISH, {NULL}, {{0}}, 0, 1, 0},
    {"prelu", AMG_OP_PRELU, {"slope"}, {{0}}, 0, 1, 0},
    {"prelu_channels", AMG_OP_PRELU, {"slope"}, {{0}}, 0, 1, 0},
    {"prelu_flat", AMG_OP_PRELU, {"slope"}, {{0}}, 0, 1, 0},
    {"instance_norm",
     AMG_OP_INSTANCE_NORM,
     {"scale", "bias"},
     {FLT("epsilon", 1e-3f)},
     1,
     1,
     0},
    {"instance_norm_1d", AMG_OP_INSTANCE_NORM, {"scale", "bias"}, {{0}}, 0, 1, 0},
    {"group_norm",
     AMG_OP_GROUP_NORM,
     {"scale", "bias"},
     {INT("num_groups", 2)},
     1,
     1,
     0},
    {"group_norm_1d",
     AMG_OP_GROUP_NORM,
     {"scale", "bias"},
     {INT("num_groups", 3)},
     1,
     1,
     0},
};
#define NUM_LAYERS (sizeof layers / sizeof *layers)

/* The units take three times the input, so that both sides of every kink are met. */
static int layer_input(const golden *g, const layer *l)
{
    int x = golden_input(g);
    float three = 3;
    amg_tensor t;
    if (l->op < AMG_OP_ELU || l->op > AMG_OP_HARD_SWISH) return x;
    assert_ok(amg_tensor_view(AMG_F32, 0, NULL, &three, &t, err));
    int in[2] = {x, amg_builder_param(g->b, "three", &t)};
    return amg_builder_node(g->b, AMG_OP_MUL, "three", in, 2, NULL, 0, NULL);
}

static void finish_and_check(golden *g)
{
    amg_graph *graph = golden_finish(g);
    check_golden(g, graph, (amg_plan_options){.training = true});
    amg_graph_free(graph);
    amg_builder_free(g->b);
}

static void layer_matches_pytorch(void **state)
{
    const layer *l = *state;
    amg_safetensors *st = open_goldens("layers.safetensors");
    golden g = {st, l->name, amg_builder_new()};
    int out[3];
    add_layer(&g, l, layer_input(&g, l), out);
    amg_builder_output(g.b, out[l->output]);
    finish_and_check(&g);
    amg_safetensors_close(st);
}

/* ---- several operators ------------------------------------------------------------
 */

static int add(const golden *g, int a, int b)
{
    return amg_builder_node(g->b, AMG_OP_ADD, "add", (int[]){a, b}, 2, NULL, 0, NULL);
}

/* Gradients come in through all three outputs at once. */
static int lstm_sum(const golden *g, int x)
{
    layer l = {"lstm_sum", AMG_OP_LSTM, LSTM_PARAMS, .num_outputs = 3};
    int out[3];
    add_layer(g, &l, x, out);
    return add(g, add(g, out[0], out[1]), out[2]);
}

static int conv_transpose_chain(const golden *g, int x)
{
    int in[3] = {conv(g, x, "w"), golden_param(g, "t"), golden_param(g, "b")};
    amg_attr strides = INTS("strides", 2, 2);
    int y =
        amg_builder_node(g->b, AMG_OP_CONV_TRANSPOSE, "t", in, 3, &strides, 1, NULL);
    return conv(g, y, "v");
}

static int resize(const golden *g, int x, const char *mode, const char *coordinates,
                  const float *scales, const int64_t *sizes)
{
    amg_attr attrs[] = {text_attr("mode", mode),
                        text_attr("coordinate_transformation_mode", coordinates),
                        text_attr("nearest_mode", "floor")};
    int in[4] = {x, AMG_NO_VALUE, AMG_NO_VALUE, AMG_NO_VALUE};
    if (scales) in[2] = constant_f32(g, "scales", 4, scales);
    if (sizes) in[3] = constant_i64(g, "sizes", 4, sizes);
    return amg_builder_node(g->b, AMG_OP_RESIZE, "resize", in, sizes ? 4 : 3, attrs, 3,
                            NULL);
}

static const float twice[] = {1, 1, 2, 2};

static int nearest(const golden *g, int x)
{
    return resize(g, x, "nearest", "asymmetric", twice, NULL);
}
static int nearest_sizes(const golden *g, int x)
{
    return resize(g, x, "nearest", "asymmetric", NULL, (int64_t[]){2, 3, 9, 4});
}
static int linear(const golden *g, int x)
{
    return resize(g, x, "linear", "half_pixel", twice, NULL);
}
static int linear_scale(const golden *g, int x)
{
    return resize(g, x, "linear", "half_pixel", (float[]){1, 1, 1.7f, 1.7f}, NULL);
}
static int linear_sizes(const golden *g, int x)
{
    return resize(g, x, "linear", "pytorch_half_pixel", NULL, (int64_t[]){2, 3, 4, 11});
}
static int linear_corners(const golden *g, int x)
{
    return resize(g, x, "linear", "align_corners", NULL, (int64_t[]){2, 3, 7, 10});
}
static int resize_blocked(const golden *g, int x)
{
    return conv(g, linear(g, conv(g, x, "w")), "v");
}

static int softplus_blocked(const golden *g, int x)
{
    int y = conv(g, x, "w");
    y = amg_builder_node(g->b, AMG_OP_SOFTPLUS, "s", &y, 1, NULL, 0, NULL);
    return conv(g, y, "v");
}
static int prelu_blocked(const golden *g, int x)
{
    int in[2] = {conv(g, x, "w"), golden_param(g, "slope")};
    return amg_builder_node(g->b, AMG_OP_PRELU, "p", in, 2, NULL, 0, NULL);
}
static int group_norm_blocked(const golden *g, int x)
{
    layer l = {"n", AMG_OP_GROUP_NORM, {"scale", "bias"}, {INT("num_groups", 4)}, 1};
    int out[3];
    add_layer(g, &l, conv(g, x, "w"), out);
    return out[0];
}

/* A GroupNorm as exporters write it: of the four parameters two are constants. */
static int group_norm_parts(const golden *g, int x)
{
    int flat[2] = {x, constant_i64(g, "flat", 3, (int64_t[]){0, 2, -1})};
    int y = amg_builder_node(g->b, AMG_OP_RESHAPE, "flat", flat, 2, NULL, 0, NULL);
    int in[3] = {y, constant_f32(g, "one", 2, (float[]){1, 1}),
                 constant_f32(g, "zero", 2, (float[]){0, 0})};
    y = amg_builder_node(g->b, AMG_OP_INSTANCE_NORM, "norm", in, 3, NULL, 0, NULL);
    int back[2] = {y, constant_i64(g, "back", 4, (int64_t[]){3, 6, 4, 3})};
    y = amg_builder_node(g->b, AMG_OP_RESHAPE, "back", back, 2, NULL, 0, NULL);
    int scaled[2] = {y, golden_param(g, "scale")};
    y = amg_builder_node(g->b, AMG_OP_MUL, "mul", scaled, 2, NULL, 0, NULL);
    return add(g, y, golden_param(g, "bias"));
}

typedef struct {
    const char *name;
    int (*build)(const golden *g, int x);
} network;

static const network networks[] = {
    {"lstm_sum", lstm_sum},
    {"conv_transpose_chain", conv_transpose_chain},
    {"nearest", nearest},
    {"nearest_sizes", nearest_sizes},
    {"linear", linear},
    {"linear_scale", linear_scale},
    {"linear_sizes", linear_sizes},
    {"linear_corners", linear_corners},
    {"resize_blocked", resize_blocked},
    {"softplus_blocked", softplus_blocked},
    {"prelu_blocked", prelu_blocked},
    {"group_norm_blocked", group_norm_blocked},
    {"group_norm_parts", group_norm_parts},
};
#define NUM_NETWORKS (sizeof networks / sizeof *networks)

static void network_matches_pytorch(void **state)
{
    const network *n = *state;
    amg_safetensors *st = open_goldens("layers.safetensors");
    golden g = {st, n->name, amg_builder_new()};
    amg_builder_output(g.b, n->build(&g, golden_input(&g)));
    finish_and_check(&g);
    amg_safetensors_close(st);
}

/* ---- finite differences -----------------------------------------------------------
 */

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    static const char *const smooth[] = {
        "transpose_wide", "transpose_groups", "lstm_both",     "lstm_cell",
        "gru_both",       "softplus",         "instance_norm", "group_norm"};
    amg_safetensors *st = open_goldens("layers.safetensors");
    int checked = 0;
    for (size_t i = 0; i < NUM_LAYERS; i++)
        for (size_t k = 0; k < sizeof smooth / sizeof *smooth; k++) {
            if (strcmp(layers[i].name, smooth[k]) != 0) continue;
            golden g = {st, layers[i].name, amg_builder_new()};
            int out[3];
            add_layer(&g, &layers[i], layer_input(&g, &layers[i]), out);
            amg_builder_output(g.b, out[layers[i].output]);
            amg_graph *graph = golden_finish(&g);
            check_finite_differences(&g, graph, 1);
            amg_graph_free(graph);
            amg_builder_free(g.b);
            checked++;
        }
    assert_int_equal(checked, sizeof smooth / sizeof *smooth);
    amg_safetensors_close(st);
}

int main(void)
{
    struct CMUnitTest tests[NUM_LAYERS + NUM_NETWORKS + 1];
    size_t n = 0;
    for (size_t i = 0; i < NUM_LAYERS; i++)
        tests[n++] =
            (struct CMUnitTest){.name = layers[i].name,
                                .test_func = layer_matches_pytorch,
                                .initial_state = (void *)(uintptr_t)&layers[i]};
    for (size_t i = 0; i < NUM_NETWORKS; i++)
        tests[n++] =
            (struct CMUnitTest){.name = networks[i].name,
                                .test_func = network_matches_pytorch,
                                .initial_state = (void *)(uintptr_t)&networks[i]};
    tests[n++] =
        (struct CMUnitTest)cmocka_unit_test(gradients_match_finite_differences);
    return _cmocka_run_group_tests("layers", tests, n, NULL, NULL);
}
