/* Shape rules of what runs along axes (the Reduce… family, ArgMax, CumSum), what of
 * them is refused, and the folding of integers. Expected values follow from the ONNX
 * operator specification. */
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static int input(amg_builder *b, int rank, const int64_t *dims)
{
    return amg_builder_input(b, "x", AMG_F32, rank, dims);
}

static void reductions_keep_or_drop_their_axes(void **state)
{
    (void)state;
    for (int op = AMG_OP_REDUCE_MAX; op <= AMG_OP_REDUCE_SUM_SQUARE; op++) {
        amg_builder *b = amg_builder_new();
        int x = input(b, DIMS(B, 3, 4, 5));
        const amg_attr axes = amg_ints("axes", 2, (int64_t[]){-1, 1});
        int y = amg_builder_node(b, (amg_op)op, "n", IDS(x), ATTRS(axes), NULL);
        assert_dims(amg_builder_value(b, y), DIMS(B, 1, 4, 1));
        y = amg_builder_node(b, (amg_op)op, "n", IDS(x),
                             ATTRS(axes, amg_int("keepdims", 0)), NULL);
        assert_dims(amg_builder_value(b, y), DIMS(B, 4));
        y = amg_builder_node(b, (amg_op)op, "n", IDS(x), NO_ATTRS, NULL);
        assert_dims(amg_builder_value(b, y), DIMS(1, 1, 1, 1));
        amg_builder_free(b);

        b = amg_builder_new();
        x = input(b, DIMS(B, 3));
        const amg_attr wrong = amg_ints("axes", 1, (int64_t[]){2});
        (void)amg_builder_node(b, (amg_op)op, "n", IDS(x), ATTRS(wrong), NULL);
        must_refuse(b, AMG_MISMATCH, amg_op_get((amg_op)op)->name, "axis 2");
    }
}

static void indices_of_the_largest_are_whole_numbers(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3, 4));
    int y = amg_builder_node(b, AMG_OP_ARG_MAX, "n", IDS(x), ATTRS(amg_int("axis", -1)),
                             NULL);
    assert_dims(amg_builder_value(b, y), DIMS(B, 3, 1));
    assert_int_equal(amg_builder_value(b, y)->dtype, AMG_I64);
    y = amg_builder_node(b, AMG_OP_ARG_MIN, "n", IDS(x),
                         ATTRS(amg_int("axis", 1), amg_int("keepdims", 0)), NULL);
    assert_dims(amg_builder_value(b, y), DIMS(B, 4));
    (void)amg_builder_node(b, AMG_OP_ARG_MAX, "n", IDS(x), ATTRS(amg_int("axis", 3)),
                           NULL);
    must_refuse(b, AMG_MISMATCH, "(ArgMax)", "axis 3");

    b = amg_builder_new();
    x = input(b, DIMS(B, 3, 4));
    (void)amg_builder_node(b, AMG_OP_CUM_SUM, "n", IDS(x, SCALAR(b, "a", 3)), NO_ATTRS,
                           NULL);
    must_refuse(b, AMG_MISMATCH, "(CumSum)", "axis 3");
}

/* Of ReverseSequence and of Attention's keys: one number for each sample. */
static void counts_are_of_samples(void **state)
{
    (void)state;
    for (int axis = 0; axis < 3; axis++) {
        amg_builder *b = amg_builder_new();
        const int x = input(b, DIMS(B, 7, 2, 4));
        const int n = amg_builder_node(
            b, AMG_OP_ARG_MAX, "i", IDS(x),
            ATTRS(amg_int("axis", 1), amg_int("keepdims", 0)), NULL); /* [N,2,4] */
        const int one =
            amg_builder_node(b, AMG_OP_GATHER, "one", IDS(n, SCALAR(b, "zero", 0)),
                             ATTRS(amg_int("axis", 1)), NULL);
        const int counts = amg_builder_node(b, AMG_OP_GATHER, "counts",
                                            IDS(one, SCALAR(b, "nought", 0)),
                                            ATTRS(amg_int("axis", 1)), NULL);
        int y = amg_builder_node(
            b, AMG_OP_REVERSE_SEQUENCE, "n", IDS(x, counts),
            ATTRS(amg_int("batch_axis", axis), amg_int("time_axis", 1 - axis)), NULL);
        if (axis == 0) {
            assert_dims(amg_builder_value(b, y), DIMS(B, 7, 2, 4));
            (void)amg_builder_node(
                b, AMG_OP_ATTENTION, "a",
                IDS(x, x, x, AMG_NO_VALUE, AMG_NO_VALUE, AMG_NO_VALUE, n), NO_ATTRS,
                NULL);
            must_refuse(b, AMG_MISMATCH, "(Attention)", "expected I64 of one for each");
        } else {
            must_refuse(b, AMG_MISMATCH, "(ReverseSequence)",
                        axis == 1 ? "expected I64 of one for each sample"
                                  : "batch_axis is 2 and time_axis -1");
        }
    }
}

/* The node over constants folds to these integers. */
static void folds_to(amg_builder *b, int value, int count, const int64_t *expected)
{
    amg_builder_output(b, value);
    amg_graph *g = must_finish(b), *out = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(g, 1, &out, &err)) fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(out->num_nodes, 0);
    const amg_value *v = &out->values[out->outputs[0]];
    assert_int_equal(v->dtype, AMG_I64);
    assert_int_equal(amg_tensor_count(&v->data), count);
    assert_memory_equal(v->data.data, expected, (size_t)count * sizeof *expected);
    amg_graph_free(out);
    amg_graph_free(g);
}

/* [[3, -1, 3], [0, 5, 2]] */
static int table(amg_builder *b)
{
    input(b, DIMS(B, 3));
    int flat = INTS(b, "flat", 3, -1, 3, 0, 5, 2);
    return amg_builder_node(b, AMG_OP_RESHAPE, "table",
                            IDS(flat, INTS(b, "shape", 2, 3)), NO_ATTRS, NULL);
}

static void integers_are_reduced(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t columns[3], all;
    } rows[] = {{AMG_OP_REDUCE_MAX, {3, 5, 3}, 5},
                {AMG_OP_REDUCE_MIN, {0, -1, 2}, -1},
                {AMG_OP_REDUCE_PROD, {0, -5, 6}, 0},
                {AMG_OP_REDUCE_SUM, {3, 4, 5}, 12}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int t = table(b);
        const bool sum = rows[i].op == AMG_OP_REDUCE_SUM;
        const amg_attr axes = amg_ints("axes", 1, (int64_t[]){0});
        int y = sum ? amg_builder_node(b, rows[i].op, "n", IDS(t, INTS(b, "axes", -2)),
                                       NO_ATTRS, NULL)
                    : amg_builder_node(b, rows[i].op, "n", IDS(t), ATTRS(axes), NULL);
        folds_to(b, y, 3, rows[i].columns);
        b = amg_builder_new();
        t = table(b);
        y = amg_builder_node(b, rows[i].op, "n", IDS(t), ATTRS(amg_int("keepdims", 0)),
                             NULL);
        folds_to(b, y, 1, &rows[i].all);
    }
}

static void integers_are_summed_along_an_axis(void **state)
{
    (void)state;
    static const struct {
        int64_t axis, exclusive, reverse, expected[6];
    } rows[] = {{1, 0, 0, {3, 2, 5, 0, 5, 7}},
                {0, 0, 0, {3, -1, 3, 3, 4, 5}},
                {-1, 1, 0, {0, 3, 2, 0, 0, 5}},
                {1, 0, 1, {5, 2, 3, 7, 7, 2}},
                {1, 1, 1, {2, 3, 0, 7, 2, 0}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int t = table(b);
        int y = amg_builder_node(b, AMG_OP_CUM_SUM, "n",
                                 IDS(t, SCALAR(b, "axis", rows[i].axis)),
                                 ATTRS(amg_int("exclusive", rows[i].exclusive),
                                       amg_int("reverse", rows[i].reverse)),
                                 NULL);
        folds_to(b, y, 6, rows[i].expected);
    }
}

static void places_of_integers_are_found(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t last, expected[2];
    } rows[] = {{AMG_OP_ARG_MAX, 0, {0, 1}},
                {AMG_OP_ARG_MAX, 1, {2, 1}},
                {AMG_OP_ARG_MIN, 0, {1, 0}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int t = table(b);
        int y = amg_builder_node(
            b, rows[i].op, "n", IDS(t),
            ATTRS(amg_int("axis", 1), amg_int("select_last_index", rows[i].last)),
            NULL);
        folds_to(b, y, 2, rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_keep_or_drop_their_axes),
        cmocka_unit_test(indices_of_the_largest_are_whole_numbers),
        cmocka_unit_test(counts_are_of_samples),
        cmocka_unit_test(integers_are_reduced),
        cmocka_unit_test(integers_are_summed_along_an_axis),
        cmocka_unit_test(places_of_integers_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
