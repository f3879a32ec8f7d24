/* The operator table: its rows are consistent and can be found. */
#include "graph_fixture.h"

static void every_name_finds_its_own_row(void **state)
{
    (void)state;
    for (int i = 0; i < AMG_OP_COUNT; i++)
        assert_int_equal(amg_op_find(amg_op_get((amg_op)i)->name), i);
}

static void unknown_names_are_not_found(void **state)
{
    (void)state;
    assert_int_equal(amg_op_find("NonMaxSuppression"), AMG_OP_COUNT);
    assert_int_equal(amg_op_find("conv"), AMG_OP_COUNT);
    assert_int_equal(amg_op_find(""), AMG_OP_COUNT);
}

static void rows_have_sensible_bounds(void **state)
{
    (void)state;
    for (int i = 0; i < AMG_OP_COUNT; i++) {
        const amg_op_info *op = amg_op_get((amg_op)i);
        assert_true(op->max_inputs == -1 || op->max_inputs >= op->min_inputs);
        assert_true(op->min_outputs >= 1);
        assert_true(op->max_outputs == -1 || op->max_outputs >= op->min_outputs);
        /* An operator that is neither computed, folded nor drawn would be useless. */
        assert_true(op->flags & (AMG_OP_D | AMG_OP_F | AMG_OP_T));
    }
}

static void rows_match_the_onnx_operators(void **state)
{
    (void)state;
    const amg_op_info *conv = amg_op_get(AMG_OP_CONV);
    assert_string_equal(conv->name, "Conv");
    assert_int_equal(conv->min_inputs, 2);
    assert_int_equal(conv->max_inputs, 3);
    assert_int_equal(amg_op_get(AMG_OP_CONCAT)->max_inputs, -1);
    assert_true(amg_op_get(AMG_OP_DROPOUT)->flags & AMG_OP_T);
    assert_int_equal(amg_op_get(AMG_OP_SPLIT)->max_outputs, -1);
    assert_true(amg_op_get(AMG_OP_GATHER)->flags & AMG_OP_D);
    assert_false(amg_op_get(AMG_OP_CAST)->flags & AMG_OP_D);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_finds_its_own_row),
        cmocka_unit_test(unknown_names_are_not_found),
        cmocka_unit_test(rows_have_sensible_bounds),
        cmocka_unit_test(rows_match_the_onnx_operators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
