/* Shape rules, roles and costs of ConvTranspose, LSTM, GRU, Resize, the normalisations
 * by group and PRelu, what of them is refused, and how Resize's sizes lose the batch.
 * Shapes are PyTorch's, or follow from the ONNX operator specification. */
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static amg_attr text(const char *name, const char *value)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_STRING, .s = value};
}

static int input(amg_builder *b, int rank, const int64_t *dims)
{
    return amg_builder_input(b, "x", AMG_F32, rank, dims);
}

static int node(amg_builder *b, amg_op op, const int *ids, int count,
                const amg_attr *attrs, int num_attrs)
{
    return amg_builder_node(b, op, "n", ids, count, attrs, num_attrs, NULL);
}

/* (5 - 1) * 2 + 2 * (3 - 1) + 1 + 1 - 1 - 2 = 11 high, (4 - 1) * 2 + 3 - 2 = 7 wide. */
static void conv_transpose_undoes_the_window(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int in[3] = {input(b, DIMS(B, 6, 5, 4)), weight(b, "w", 0, DIMS(6, 4, 3, 3)),
                 weight(b, "b", 0, DIMS(8))};
    int y = node(b, AMG_OP_CONV_TRANSPOSE, in, 3,
                 ATTRS(amg_int("group", 2), amg_ints("strides", 2, (int64_t[]){2, 2}),
                       amg_ints("dilations", 2, (int64_t[]){2, 1}),
                       amg_ints("pads", 4, (int64_t[]){1, 1, 2, 1}),
                       amg_ints("output_padding", 2, (int64_t[]){1, 0})));
    assert_dims(amg_builder_value(b, y), DIMS(B, 8, 11, 7));
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    assert_int_equal(named(g, "w")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "b")->role, AMG_ROLE_TRAINABLE);
    assert_true(amg_graph_flops(g) == 2.0 * 6 * 5 * 4 * (4 * 3 * 3));
    amg_graph_free(g);
}

static void conv_transpose_follows_its_output_shape(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 6, 5, 4)), w = weight(b, "w", 0, DIMS(6, 4, 3, 3));
    amg_attr strides = amg_ints("strides", 2, (int64_t[]){2, 3});
    int same = node(b, AMG_OP_CONV_TRANSPOSE, IDS(x, w),
                    ATTRS(text("auto_pad", "SAME_UPPER"), strides));
    assert_dims(amg_builder_value(b, same), DIMS(B, 4, 10, 12));
    int given = node(b, AMG_OP_CONV_TRANSPOSE, IDS(x, w),
                     ATTRS(strides, amg_ints("output_shape", 2, (int64_t[]){9, 14})));
    assert_dims(amg_builder_value(b, given), DIMS(B, 4, 9, 14));
    amg_builder_free(b);
}

static void conv_transpose_refuses_what_does_not_fit(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 6, 5, 4)), w = weight(b, "w", 0, DIMS(4, 6, 3, 3));
    node(b, AMG_OP_CONV_TRANSPOSE, IDS(x, w), NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(ConvTranspose)", "does not fit input");

    b = amg_builder_new();
    x = input(b, DIMS(B, 6, 5, 4));
    w = weight(b, "w", 0, DIMS(6, 4, 3, 3));
    node(b, AMG_OP_CONV_TRANSPOSE, IDS(x, w),
         ATTRS(amg_ints("output_shape", 3, (int64_t[]){1, 2, 3})));
    must_refuse(b, AMG_MISMATCH, "(ConvTranspose)", "output_shape has 3 numbers");

    b = amg_builder_new();
    x = input(b, DIMS(B, 6, 1, 1));
    w = weight(b, "w", 0, DIMS(6, 4, 1, 1));
    node(b, AMG_OP_CONV_TRANSPOSE, IDS(x, w),
         ATTRS(amg_ints("pads", 4, (int64_t[]){1, 0, 0, 0})));
    must_refuse(b, AMG_MISMATCH, "(ConvTranspose)", "height would be 0");
}

/* A recurrent layer of hidden 6 both ways over x. */
static void recurrent(amg_builder *b, amg_op op, int x, int64_t layout, int out[3])
{
    int64_t rows = op == AMG_OP_LSTM ? 24 : 18;
    int in[4] = {x, weight(b, "w", 0, DIMS(2, rows, 4)),
                 weight(b, "r", 0, DIMS(2, rows, 6)),
                 weight(b, "b", 0, DIMS(2, 2 * rows))};
    amg_builder_node_multi(b, op, "n", in, 4,
                           ATTRS(text("direction", "bidirectional"),
                                 amg_int("linear_before_reset", 1),
                                 amg_int("layout", layout)),
                           NULL, op == AMG_OP_LSTM ? 3 : 2, out);
}

static void recurrent_layers_have_both_layouts(void **state)
{
    (void)state;
    int out[3];
    amg_builder *b = amg_builder_new();
    recurrent(b, AMG_OP_LSTM, input(b, DIMS(B, 5, 4)), 1, out);
    assert_dims(amg_builder_value(b, out[0]), DIMS(B, 5, 2, 6));
    assert_dims(amg_builder_value(b, out[1]), DIMS(B, 2, 6));
    assert_dims(amg_builder_value(b, out[2]), DIMS(B, 2, 6));
    amg_builder_output(b, out[2]);
    amg_graph *g = must_finish(b);
    for (int i = 0; i < 3; i++)
        assert_int_equal(named(g, (const char *[]){"w", "r", "b"}[i])->role,
                         AMG_ROLE_TRAINABLE);
    assert_true(amg_graph_flops(g) == 2.0 * 5 * 2 * 24 * (4 + 6));
    amg_graph_free(g);

    b = amg_builder_new();
    recurrent(b, AMG_OP_GRU, input(b, DIMS(5, 3, 4)), 0, out);
    assert_dims(amg_builder_value(b, out[0]), DIMS(5, 2, 3, 6));
    assert_dims(amg_builder_value(b, out[1]), DIMS(2, 3, 6));
    amg_builder_free(b);
}

/* Full sequences have no lengths, and a state of zeros is none; another one trains. */
static void recurrent_layers_begin_where_they_are_told(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int in[6] = {
        input(b, DIMS(B, 5, 4)),          weight(b, "w", 0, DIMS(1, 6, 4)),
        weight(b, "r", 0, DIMS(1, 6, 6)), AMG_NO_VALUE,
        ints(b, "lengths", DIMS(5, 5)),   weight(b, "first", 1, DIMS(2, 1, 6))};
    int y = node(b, AMG_OP_RNN, in, 6,
                 ATTRS(amg_int("layout", 1), text("direction", "reverse")));
    assert_dims(amg_builder_value(b, y), DIMS(B, 5, 1, 6));
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b), *planned = NULL;
    assert_int_equal(named(g, "first")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(amg_graph_plan_batch(g, 2, &planned, NULL), AMG_OK);
    assert_int_equal(planned->nodes[0].inputs[4], AMG_NO_VALUE);
    assert_true(planned->nodes[0].inputs[5] != AMG_NO_VALUE);
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void recurrent_layers_refuse_other_forms(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int in[8] = {input(b, DIMS(5, 3, 4)), weight(b, "w", 0, DIMS(1, 24, 4)),
                 weight(b, "r", 0, DIMS(1, 24, 6)), weight(b, "b", 0, DIMS(1, 24))};
    node(b, AMG_OP_LSTM, in, 4, NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(LSTM)", "B is F32[1,24], expected F32[1,48]");

    b = amg_builder_new();
    const int peepholes[8] = {input(b, DIMS(5, 3, 4)),
                              weight(b, "w", 0, DIMS(1, 24, 4)),
                              weight(b, "r", 0, DIMS(1, 24, 6)),
                              AMG_NO_VALUE,
                              AMG_NO_VALUE,
                              AMG_NO_VALUE,
                              AMG_NO_VALUE,
                              weight(b, "p", 0, DIMS(1, 24))};
    node(b, AMG_OP_LSTM, peepholes, 8, NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(LSTM)", "P is F32[1,24], expected F32[1,18]");

    b = amg_builder_new();
    in[0] = input(b, DIMS(5, 3, 4));
    in[1] = weight(b, "w", 0, DIMS(1, 24, 4));
    in[2] = weight(b, "r", 0, DIMS(1, 24, 6));
    node(b, AMG_OP_LSTM, in, 3, ATTRS(text("direction", "sideways")));
    must_refuse(b, AMG_UNSUPPORTED, "(LSTM)", "direction is \"sideways\"");

    b = amg_builder_new();
    in[0] = input(b, DIMS(5, 3, 4));
    in[1] = weight(b, "w", 0, DIMS(1, 6, 4));
    in[2] = weight(b, "r", 0, DIMS(1, 6, 6));
    in[3] = AMG_NO_VALUE;
    in[4] = ints(b, "lengths", DIMS(5, 5, 4));
    node(b, AMG_OP_RNN, in, 5, NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(RNN)", "sequence_lens is I64, expected I32");

    b = amg_builder_new();
    in[0] = input(b, DIMS(5, 3, 4));
    in[1] = weight(b, "w", 0, DIMS(1, 6, 4));
    in[2] = weight(b, "r", 0, DIMS(1, 6, 6));
    in[4] = node(b, AMG_OP_CAST, IDS(INTS(b, "lengths", 5, 4)),
                 ATTRS(amg_int("to", amg_dtype_onnx(AMG_I32))));
    node(b, AMG_OP_RNN, in, 5, NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(RNN)", "sequence_lens is I32[2], expected I32[3]");

    b = amg_builder_new();
    in[0] = input(b, DIMS(5, 3, 4));
    in[1] = weight(b, "w", 0, DIMS(1, 18, 4));
    in[2] = weight(b, "r", 0, DIMS(1, 18, 6));
    node(b, AMG_OP_GRU, in, 3, ATTRS(amg_flt("clip", 1)));
    must_refuse(b, AMG_UNSUPPORTED, "(GRU)", "has clip");

    b = amg_builder_new();
    in[0] = input(b, DIMS(0, 3, 4));
    in[1] = weight(b, "w", 0, DIMS(1, 24, 4));
    in[2] = weight(b, "r", 0, DIMS(1, 24, 6));
    node(b, AMG_OP_LSTM, in, 3, NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(LSTM)", "F32[0,3,4], expected 3 dims and a step");
}

static void normalisations_by_group_train_scale_and_bias(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 6, 5, 4)), s = weight(b, "s", 0, DIMS(6));
    int c = weight(b, "c", 0, DIMS(6)), p = weight(b, "p", 0, DIMS(6, 1, 1));
    int y = node(b, AMG_OP_GROUP_NORM, IDS(x, s, c), ATTRS(amg_int("num_groups", 3)));
    y = node(b, AMG_OP_PRELU, IDS(y, p), NO_ATTRS);
    assert_dims(amg_builder_value(b, y), DIMS(B, 6, 5, 4));
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    assert_int_equal(named(g, "s")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "c")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "p")->role, AMG_ROLE_TRAINABLE);
    amg_graph_free(g);

    b = amg_builder_new();
    x = input(b, DIMS(B, 6, 5, 4));
    s = weight(b, "s", 0, DIMS(6));
    node(b, AMG_OP_GROUP_NORM, IDS(x, s, s), ATTRS(amg_int("num_groups", 4)));
    must_refuse(b, AMG_MISMATCH, "(GroupNormalization)", "4 groups do not divide");

    b = amg_builder_new();
    x = input(b, DIMS(B, 6, 5, 4));
    p = weight(b, "p", 0, DIMS(5, 1, 1));
    node(b, AMG_OP_PRELU, IDS(x, p), NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(PRelu)", "slope F32[5,1,1] does not fit");
}

static int floats(amg_builder *b, const char *name, int64_t count, const float *v)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_F32, 1, &count, v, &t, NULL), AMG_OK);
    return amg_builder_param(b, name, &t);
}

static void resize_rounds_scales_down(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3, 5, 4));
    int scales = floats(b, "scales", 4, (float[]){1, 1, 1.5f, 2});
    int y = node(b, AMG_OP_RESIZE, IDS(x, AMG_NO_VALUE, scales), NO_ATTRS);
    assert_dims(amg_builder_value(b, y), DIMS(B, 3, 7, 8));
    amg_builder_free(b);

    b = amg_builder_new();
    x = input(b, DIMS(B, 3, 5, 4));
    scales = floats(b, "scales", 4, (float[]){1, 2, 1, 1});
    node(b, AMG_OP_RESIZE, IDS(x, AMG_NO_VALUE, scales), NO_ATTRS);
    must_refuse(b, AMG_UNSUPPORTED, "(Resize)", "scales[1] is 2");

    b = amg_builder_new();
    x = input(b, DIMS(B, 3, 5, 4));
    node(b, AMG_OP_RESIZE, IDS(x), NO_ATTRS);
    must_refuse(b, AMG_MISMATCH, "(Resize)", "neither scales nor sizes");
}

/* sizes = [N, C of Shape(x); 7, 9], as exporters write F.interpolate(size=(7, 9)). */
static void resize_to_sizes_keeps_the_batch_symbolic(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3, 5, 11));
    int shape = node(b, AMG_OP_SHAPE, IDS(x), NO_ATTRS);
    int head = amg_builder_node(b, AMG_OP_SLICE, "s",
                                IDS(shape, INTS(b, "from", 0), INTS(b, "to", 2)),
                                NO_ATTRS, NULL);
    int sizes = amg_builder_node(b, AMG_OP_CONCAT, "c", IDS(head, INTS(b, "hw", 7, 9)),
                                 ATTRS(amg_int("axis", 0)), NULL);
    const amg_attr linear = {.name = "mode", .kind = AMG_ATTR_STRING, .s = "linear"};
    amg_builder_output(b, amg_builder_node(b, AMG_OP_RESIZE, "r",
                                           IDS(x, AMG_NO_VALUE, AMG_NO_VALUE, sizes),
                                           ATTRS(linear), NULL));
    amg_graph *g = must_finish(b), *planned = NULL;
    assert_int_equal(amg_graph_plan_batch(g, B, &planned, NULL), AMG_OK);
    assert_dims(&planned->values[planned->outputs[0]], DIMS(B, 3, 7, 9));
    assert_int_equal(planned->num_nodes, 1);
    amg_graph_free(planned);
    assert_int_equal(amg_graph_plan_batch(g, 4, &planned, NULL), AMG_OK);
    assert_dims(&planned->values[planned->outputs[0]], DIMS(4, 3, 7, 9));
    amg_graph_free(planned);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_transpose_undoes_the_window),
        cmocka_unit_test(conv_transpose_follows_its_output_shape),
        cmocka_unit_test(conv_transpose_refuses_what_does_not_fit),
        cmocka_unit_test(recurrent_layers_have_both_layouts),
        cmocka_unit_test(recurrent_layers_begin_where_they_are_told),
        cmocka_unit_test(recurrent_layers_refuse_other_forms),
        cmocka_unit_test(normalisations_by_group_train_scale_and_bias),
        cmocka_unit_test(resize_rounds_scales_down),
        cmocka_unit_test(resize_to_sizes_keeps_the_batch_symbolic)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
