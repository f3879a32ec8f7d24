/* Input columns: which first layers are recognised, why others are not, and that
 * columns go where a map sends them. */
#include "graph/input_columns.h"
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static const int64_t image[3] = {2, 4, 6};

static int conv(amg_builder *b, int x, int64_t kernel, int64_t stride, int64_t pad)
{
    const int64_t strides[2] = {stride, stride}, pads[4] = {pad, pad, pad, pad};
    const int w = weight(b, "w", 1, DIMS(3, 2, kernel, kernel));
    return amg_builder_node(
        b, AMG_OP_CONV, "conv", IDS(x, w),
        ATTRS(amg_ints("strides", 2, strides), amg_ints("pads", 4, pads)), NULL);
}

static int flatten(amg_builder *b, int x)
{
    return amg_builder_node(b, AMG_OP_FLATTEN, "flat", IDS(x),
                            ATTRS(amg_int("axis", 1)), NULL);
}

/* Two layers: the first is never the last. */
static int dense(amg_builder *b, int x, bool transposed)
{
    const int w =
        transposed ? weight(b, "w", 1, DIMS(5, 48)) : weight(b, "w", 1, DIMS(48, 5));
    x = amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(x, w),
                         ATTRS(amg_int("transB", transposed)), NULL);
    x = amg_builder_node(b, AMG_OP_RELU, "relu", IDS(x), NO_ATTRS, NULL);
    return amg_builder_node(b, AMG_OP_GEMM, "head",
                            IDS(x, weight(b, "v", 1, DIMS(5, 3))), NO_ATTRS, NULL);
}

static amg_builder *fresh(int *x)
{
    amg_builder *b = amg_builder_new();
    *x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2, 4, 6));
    return b;
}

static void is_found(amg_builder *b, int y, int64_t height, int64_t width, bool first)
{
    amg_input_columns c = {0};
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    const char *why = amg_input_columns_find(g, image, &c);
    if (why) fail_msg("%s", why);
    assert_string_equal(g->values[c.param].name, "w");
    assert_int_equal(c.block[0], height);
    assert_int_equal(c.block[1], width);
    assert_int_equal(c.num_values, 2 * height * width);
    assert_int_equal(c.first, first);
    amg_graph_free(g);
}

static void is_not(amg_builder *b, int y, const char *why)
{
    amg_input_columns c = {.param = -7};
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    const char *found = amg_input_columns_find(g, image, &c);
    assert_non_null(found);
    if (!strstr(found, why)) fail_msg("%s, expected %s", found, why);
    assert_int_equal(c.param, -7);
    amg_graph_free(g);
}

static void dense_layers_and_patches_are_found(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    is_found(b, dense(b, flatten(b, x), true), 4, 6, false);
    b = fresh(&x);
    is_found(b, dense(b, flatten(b, x), false), 4, 6, true);
    b = fresh(&x);
    is_found(b, conv(b, x, 2, 2, 0), 2, 2, false);
    b = fresh(&x); /* how many samples there are says nothing of their values */
    amg_builder_output(b,
                       amg_builder_node(b, AMG_OP_SHAPE, "s", IDS(x), NO_ATTRS, NULL));
    is_found(b, conv(b, x, 2, 2, 0), 2, 2, false);
}

static void other_first_layers_are_not(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    is_not(b, conv(b, x, 3, 1, 1), "neighbouring blocks");
    b = fresh(&x);
    is_not(b, conv(b, x, 2, 1, 0), "neighbouring blocks");
    b = fresh(&x);
    is_not(b, conv(b, x, 4, 4, 0), "neighbouring blocks"); /* 4 does not divide 6 */
    b = fresh(&x);
    is_not(b, conv(b, x, 1, 1, 0), "a single value");
    b = fresh(&x);
    is_not(b, conv(b, x, 2, 2, 2), "pads");
    b = fresh(&x);
    is_not(b, amg_builder_node(b, AMG_OP_RELU, "r", IDS(x), NO_ATTRS, NULL),
           "neither dense");
    b = fresh(&x);
    const int y = conv(b, x, 2, 2, 0);
    amg_builder_output(b, x);
    is_not(b, y, "several");
    b = fresh(&x);
    const int w = weight(b, "w", 1, DIMS(48, 5));
    is_not(
        b,
        amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(flatten(b, x), w), NO_ATTRS, NULL),
        "its last");
}

/* [2, 6] values in columns of dim 1, or of dim 0. */
static void columns_go_where_the_map_says(void **state)
{
    (void)state;
    const int32_t map[6] = {3, 0, 5, 1, 2, 4};
    for (int first = 0; first < 2; first++) {
        float in[12], out[12] = {0};
        for (int i = 0; i < 12; i++) in[i] = (float)i;
        const amg_input_columns c = {.first = first, .num_values = 6};
        amg_tensor from = {.dtype = AMG_F32,
                           .rank = 2,
                           .dims = {first ? 6 : 2, first ? 2 : 6},
                           .data = in,
                           .size_bytes = sizeof in};
        amg_tensor to = from;
        to.data = out;
        amg_input_columns_move(&c, map, &from, &to);
        for (int r = 0; r < 2; r++)
            for (int v = 0; v < 6; v++)
                assert_float_equal(out[first ? map[v] * 2 + r : r * 6 + map[v]],
                                   in[first ? v * 2 + r : r * 6 + v], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_layers_and_patches_are_found),
        cmocka_unit_test(other_first_layers_are_not),
        cmocka_unit_test(columns_go_where_the_map_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
