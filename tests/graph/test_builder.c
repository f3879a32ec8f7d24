/* The builder: what it makes, what it refuses, and that no allocation failure leaks. */
#include <stdio.h>

#include "graph_fixture.h"

/* conv -> bn -> relu -> global pool -> flatten -> gemm, over 3x8x8 images. */
static void build_small(amg_builder *b)
{
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3, 8, 8));
    int w = weight(b, "conv.weight", 0, DIMS(4, 3, 3, 3));
    int c = amg_builder_node(b, AMG_OP_CONV, "conv", IDS(x, w),
                             ATTRS(amg_ints("pads", 4, (int64_t[]){1, 1, 1, 1}),
                                   amg_ints("strides", 2, (int64_t[]){2, 2})),
                             NULL);
    int scale = weight(b, "bn.weight", 1, DIMS(4)),
        bias = weight(b, "bn.bias", 0, DIMS(4));
    int mean = weight(b, "bn.mean", 0, DIMS(4)), var = weight(b, "bn.var", 1, DIMS(4));
    int n = amg_builder_node(b, AMG_OP_BATCH_NORM, "bn", IDS(c, scale, bias, mean, var),
                             ATTRS(amg_flt("epsilon", 1e-5f)), "normed");
    int r = amg_builder_node(b, AMG_OP_RELU, "relu", IDS(n), NO_ATTRS, NULL);
    int p =
        amg_builder_node(b, AMG_OP_GLOBAL_AVERAGE_POOL, "pool", IDS(r), NO_ATTRS, NULL);
    int f = amg_builder_node(b, AMG_OP_FLATTEN, "flat", IDS(p), NO_ATTRS, NULL);
    int fw = weight(b, "fc.weight", 0, DIMS(10, 4)),
        fb = weight(b, "fc.bias", 0, DIMS(10));
    int y = amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(f, fw, fb),
                             ATTRS(amg_int("transB", 1)), "logits");
    amg_builder_output(b, y);
}

static void shapes_are_known_as_soon_as_a_node_is_added(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3, 8, 8));
    int w = weight(b, "w", 0, DIMS(4, 3, 3, 3));
    int c = amg_builder_node(b, AMG_OP_CONV, "conv", IDS(x, w), NO_ATTRS, NULL);
    assert_dims(amg_builder_value(b, c), DIMS(AMG_DIM_BATCH, 4, 6, 6));
    assert_int_equal(amg_builder_value(b, c)->dtype, AMG_F32);
    assert_string_equal(amg_builder_value(b, c)->name, "conv_out");
    amg_builder_free(b);
}

static void a_finished_graph_holds_what_was_built(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    build_small(b);
    amg_graph *g = must_finish(b);
    assert_int_equal(g->num_nodes, 6);
    assert_int_equal(g->num_inputs, 1);
    assert_int_equal(g->num_outputs, 1);
    assert_true(g->has_weights);
    assert_dims(named(g, "logits"), DIMS(AMG_DIM_BATCH, 10));
    assert_int_equal(maker(g, "logits")->op, AMG_OP_GEMM);
    assert_string_equal(maker(g, "logits")->name, "fc");
    assert_int_equal(amg_attr_int(maker(g, "logits"), "transB", 0), 1);
    assert_int_equal(amg_attr_int(maker(g, "logits"), "transA", 7), 7);
    assert_true(amg_attr_float(maker(g, "normed"), "epsilon", 0) == 1e-5f);
    const float *w = named(g, "conv.weight")->data.data;
    assert_true(w[0] == 0 && w[107] == 107);
    /* 4*3*3*3 + 2*4 + 10*4 + 10 trainables; the running statistics are not. */
    assert_int_equal(amg_graph_num_trainable(g), 108 + 8 + 50);
    /* conv: 2*27 a value, 4*4*4 values; gemm: 2*4 a value, 10 values. */
    assert_true(amg_graph_flops(g) == 2.0 * 27 * 64 + 2.0 * 4 * 10);
    amg_graph_free(g);
}

static void roles_follow_the_rule(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 2));
    int early = weight(b, "early", 1, DIMS(1, 2));
    int e = amg_builder_node(b, AMG_OP_MUL, "m0", IDS(x, early), NO_ATTRS, NULL);
    int w = weight(b, "w", 0, DIMS(2, 2)), copy = weight(b, "shared", 0, DIMS(2, 2));
    int same = amg_builder_node(b, AMG_OP_IDENTITY, "id", IDS(copy), NO_ATTRS, NULL);
    int h = amg_builder_node(b, AMG_OP_MAT_MUL, "mm", IDS(e, w), NO_ATTRS, NULL);
    h = amg_builder_node(b, AMG_OP_MAT_MUL, "mm2", IDS(h, same), NO_ATTRS, NULL);
    int late = weight(b, "late", 1, DIMS(2)),
        scalar = weight(b, "scalar", 1, DIMS(1, 1));
    int gone = weight(b, "minus", 1, DIMS(2)), low = weight(b, "low", 0, DIMS(1));
    h = amg_builder_node(b, AMG_OP_ADD, "a", IDS(h, late), NO_ATTRS, NULL);
    h = amg_builder_node(b, AMG_OP_MUL, "s", IDS(scalar, h), NO_ATTRS, NULL);
    h = amg_builder_node(b, AMG_OP_SUB, "d", IDS(h, gone), NO_ATTRS, NULL);
    h = amg_builder_node(b, AMG_OP_CLIP, "c", IDS(h, low), NO_ATTRS, NULL);
    int positive = amg_builder_node(
        b, AMG_OP_GREATER, "p", IDS(h, weight(b, "edge", 0, DIMS(2))), NO_ATTRS, NULL);
    h = amg_builder_node(b, AMG_OP_WHERE, "where",
                         IDS(positive, h, weight(b, "instead", 1, DIMS(2))), NO_ATTRS,
                         NULL);
    amg_builder_output(b, h);
    /* This one reaches the output through Cast only, which has no gradient. */
    int lost = weight(b, "lost", 0, DIMS(2, 2));
    int l = amg_builder_node(b, AMG_OP_MAT_MUL, "mm3", IDS(x, lost), NO_ATTRS, NULL);
    l = amg_builder_node(b, AMG_OP_CAST, "g", IDS(l), ATTRS(amg_int("to", 1)), NULL);
    amg_builder_output(b, l);
    amg_graph *g = must_finish(b);
    assert_int_equal(named(g, "w")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "shared")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "late")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "instead")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "edge")->role, AMG_ROLE_CONSTANT);
    assert_int_equal(named(g, "early")->role, AMG_ROLE_CONSTANT);
    assert_int_equal(named(g, "scalar")->role, AMG_ROLE_CONSTANT);
    assert_int_equal(named(g, "minus")->role, AMG_ROLE_CONSTANT);
    assert_int_equal(named(g, "low")->role, AMG_ROLE_CONSTANT);
    assert_int_equal(named(g, "lost")->role, AMG_ROLE_CONSTANT);
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind != AMG_VALUE_PARAM)
            assert_int_equal(g->values[v].role, AMG_ROLE_CONSTANT);
    amg_graph_free(g);
}

static void running_statistics_are_buffers(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    build_small(b);
    amg_graph *g = must_finish(b);
    assert_int_equal(named(g, "bn.mean")->role, AMG_ROLE_BUFFER);
    assert_int_equal(named(g, "bn.var")->role, AMG_ROLE_BUFFER);
    assert_int_equal(named(g, "bn.weight")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "bn.bias")->role, AMG_ROLE_TRAINABLE);
    amg_graph_free(g);
}

static void the_first_error_is_the_one_reported(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3, 8, 8));
    int w = weight(b, "w", 0, DIMS(4, 5, 3, 3));
    int c = amg_builder_node(b, AMG_OP_CONV, "conv1", IDS(x, w), NO_ATTRS, NULL);
    assert_int_equal(c, AMG_NO_VALUE);
    assert_null(amg_builder_value(b, x));
    c = amg_builder_node(b, AMG_OP_RELU, "relu1", IDS(c), NO_ATTRS, NULL);
    assert_int_equal(c, AMG_NO_VALUE);
    amg_builder_output(b, c);
    must_refuse(b, AMG_MISMATCH, "node \"conv1\" (Conv)", "does not fit input");
}

static void a_repeated_name_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    amg_builder_output(b, amg_builder_node(b, AMG_OP_RELU, "r", IDS(x), NO_ATTRS, "x"));
    must_refuse(b, AMG_MALFORMED, "x", "two values");
}

static void an_empty_name_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_builder_input(b, "", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    must_refuse(b, AMG_MALFORMED, "graph", "empty name");
}

static void a_graph_without_output_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    must_refuse(b, AMG_INVALID, "graph", "no output");
}

static void an_output_given_twice_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    amg_builder_output(b, x);
    amg_builder_output(b, x);
    must_refuse(b, AMG_MALFORMED, "x", "twice");
}

static void an_unknown_value_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    amg_builder_node(b, AMG_OP_RELU, "r", IDS(5), NO_ATTRS, NULL);
    must_refuse(b, AMG_INVALID, "node \"r\" (Relu)", "value 5");
}

static void a_batch_inside_the_shape_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_builder_input(b, "x", AMG_F32, DIMS(3, AMG_DIM_BATCH));
    must_refuse(b, AMG_MALFORMED, "x", "shape");
}

static void a_tensor_too_large_to_count_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_builder_param_absent(b, "huge", AMG_F32, DIMS(INT64_MAX, 4));
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OVERFLOW);
    amg_builder_free(b);
}

static void made_up_names_stay_unique(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "r_out", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    int y = x;
    for (int i = 0; i < 5000; i++)
        y = amg_builder_node(b, AMG_OP_RELU, "r", IDS(y), NO_ATTRS, NULL);
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    assert_int_equal(g->num_nodes, 5000);
    assert_int_equal(g->nodes[4999].inputs[0], g->nodes[4998].outputs[0]);
    amg_graph_free(g);
}

static void several_outputs_get_ids_and_shapes(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int out[2];
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    amg_builder_node_multi(b, AMG_OP_DROPOUT, "drop", IDS(x), NO_ATTRS,
                           (const char *const[]){"y", "mask"}, 2, out);
    assert_dims(amg_builder_value(b, out[1]), DIMS(AMG_DIM_BATCH, 3));
    assert_int_equal(amg_builder_value(b, out[1])->dtype, AMG_BOOL);
    amg_builder_output(b, out[0]);
    amg_graph *g = must_finish(b);
    assert_int_equal(named(g, "y")->producer, named(g, "mask")->producer);
    amg_graph_free(g);
}

static void absent_weights_leave_a_graph_without_weights(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    int w = amg_builder_param_absent(b, "w", AMG_F32, DIMS(3, 2));
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_MAT_MUL, "m", IDS(x, w), NO_ATTRS, "y"));
    amg_graph *g = must_finish(b);
    assert_false(g->has_weights);
    assert_null(named(g, "w")->data.data);
    assert_int_equal(named(g, "w")->data.size_bytes, 24);
    assert_dims(named(g, "y"), DIMS(AMG_DIM_BATCH, 2));
    assert_int_equal(amg_graph_num_trainable(g), 6);
    amg_graph_free(g);
}

static void set_data_checks_and_copies(void **state)
{
    (void)state;
    float data[2] = {5, 6};
    amg_tensor t = {
        .dtype = AMG_F32, .rank = 1, .dims = {2}, .data = data, .size_bytes = 8};
    amg_builder *b = amg_builder_new();
    int w = amg_builder_param_absent(b, "w", AMG_F32, DIMS(2));
    amg_builder_set_data(b, w, &t);
    data[0] = 0;
    assert_true(((float *)amg_builder_data(b, w)->data)[0] == 5);
    t.dims[0] = 1;
    amg_builder_set_data(b, w, &t);
    must_refuse(b, AMG_MISMATCH, "w", "expected F32[2]");
}

static const char *prefixed(void *context, const char *name)
{
    char *buffer = context; /* one buffer for all names, as rename may do */
    snprintf(buffer, 64, "copy/%s", name);
    return buffer;
}

static void a_graph_can_be_copied_twice_into_another(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    build_small(b);
    amg_graph *src = must_finish(b);
    int *map = amg_calloc((size_t)src->num_values, sizeof *map);
    char buffer[64];
    b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3, 8, 8));
    map[src->inputs[0]] = x;
    amg_builder_copy(b, src, map, prefixed, buffer);
    amg_builder_output(b, map[src->outputs[0]]);
    map[src->inputs[0]] = x;
    amg_builder_copy_view(b, src, map, NULL, NULL);
    amg_builder_output(b, map[src->outputs[0]]);
    amg_graph *g = must_finish(b);
    assert_int_equal(g->num_nodes, 2 * src->num_nodes);
    const amg_value *a = named(g, "copy/conv.weight"), *v = named(g, "conv.weight");
    const amg_value *s = named(src, "conv.weight");
    assert_ptr_equal(v->data.data, s->data.data);
    assert_ptr_not_equal(a->data.data, s->data.data);
    assert_memory_equal(a->data.data, s->data.data, s->data.size_bytes);
    assert_string_equal(maker(g, "copy/logits")->name, "copy/fc");
    assert_int_equal(amg_graph_num_trainable(g), 2 * amg_graph_num_trainable(src));
    amg_graph_free(g);
    amg_graph_free(src);
    amg_free(map);
}

static void every_failing_allocation_is_one_clean_error(void **state)
{
    (void)state;
    int failures = 0;
    for (long n = 1;; n++) {
        long countdown = n;
        amg_graph *g = NULL;
        amg_alloc_fail_after(&countdown);
        amg_builder *b = amg_builder_new();
        amg_status s = AMG_NO_MEMORY;
        if (b) {
            build_small(b);
            s = amg_builder_finish(b, &g, NULL);
        }
        amg_alloc_fail_after(NULL);
        amg_builder_free(b);
        if (s == AMG_OK) {
            amg_graph_free(g);
            break;
        }
        assert_int_equal(s, AMG_NO_MEMORY);
        assert_null(g);
        failures++;
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_known_as_soon_as_a_node_is_added),
        cmocka_unit_test(a_finished_graph_holds_what_was_built),
        cmocka_unit_test(roles_follow_the_rule),
        cmocka_unit_test(running_statistics_are_buffers),
        cmocka_unit_test(the_first_error_is_the_one_reported),
        cmocka_unit_test(a_repeated_name_is_refused),
        cmocka_unit_test(an_empty_name_is_refused),
        cmocka_unit_test(a_graph_without_output_is_refused),
        cmocka_unit_test(an_output_given_twice_is_refused),
        cmocka_unit_test(an_unknown_value_is_refused),
        cmocka_unit_test(a_batch_inside_the_shape_is_refused),
        cmocka_unit_test(a_tensor_too_large_to_count_is_refused),
        cmocka_unit_test(made_up_names_stay_unique),
        cmocka_unit_test(several_outputs_get_ids_and_shapes),
        cmocka_unit_test(absent_weights_leave_a_graph_without_weights),
        cmocka_unit_test(set_data_checks_and_copies),
        cmocka_unit_test(a_graph_can_be_copied_twice_into_another),
        cmocka_unit_test(every_failing_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
