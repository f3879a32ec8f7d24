/* Models of several inputs: read as one vector, written as they were. That they compute
 * the same is tests/interop/test_onnx.py's. */
#include "onnx_fixture.h"

#include <unistd.h>

#include "graph/merged_inputs.h"

/* An image x [N,3,8,8] and a row of numbers: both lead to y. tokens: a third, of I64.
 */
static void two_inputs(model *m, bool tokens)
{
    start(m, 17);
    m->inputs[m->g.n_input++] = info(m, "row", "N,192");
    node(m, "Flatten", "x", "f");
    node(m, "Add", "f row", tokens ? "s" : "y");
    if (!tokens) return;
    m->inputs[m->g.n_input++] = info(m, "tokens", "N,4");
    m->inputs[2]->type->tensor_type->elem_type = 7;
    init(m, "table", 1, 2, (int64_t[]){9, 48}, 9 * 48 * 4);
    node(m, "Gather", "table tokens", "e");
    node(m, "Flatten", "e", "d");
    node(m, "Add", "s d", "y");
}

static void several_inputs_become_one(void **state)
{
    (void)state;
    model m;
    char names[1024];
    two_inputs(&m, true);
    amg_graph *g = must_import(&m);
    op_names(g, names);
    assert_string_equal(names,
                        "Split Reshape Reshape Reshape Cast Flatten Add Gather Flatten "
                        "Add");
    assert_int_equal(g->num_inputs, 1);
    expect_shape(g, "amalgam.inputs", "F32[N,388]");
    expect_shape(g, "x", "F32[N,3,8,8]");
    expect_shape(g, "row", "F32[N,192]");
    expect_shape(g, "tokens", "I64[N,4]");
    amg_graph *planned;
    assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
    expect_shape(planned, "y", "F32[5,192]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void files_have_the_inputs_that_were_read(void **state)
{
    (void)state;
    model m;
    amg_onnx *file;
    char path[] = "/tmp/amg-merged-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    two_inputs(&m, true);
    amg_graph *g = must_import(&m);
    assert_int_equal(amg_graph_write_onnx(path, g, NULL), AMG_OK);
    amg_graph_free(g);
    assert_int_equal(amg_onnx_open(path, &file, NULL), AMG_OK);
    const Onnx__GraphProto *written = amg_onnx_model(file)->graph;
    static const char *const expected[] = {"x", "row", "tokens"};
    assert_int_equal(written->n_input, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(written->input[i]->name, expected[i]);
    assert_int_equal(written->n_node, 5);
    assert_int_equal(written->n_initializer, 1);
    amg_onnx_close(file);
    assert_int_equal(amg_graph_read_onnx(path, &g, NULL), AMG_OK);
    expect_shape(g, "tokens", "I64[N,4]");
    amg_graph_free(g);
    unlink(path);
}

static void a_graph_of_one_input_stays_as_it_is(void **state)
{
    (void)state;
    model m;
    amg_graph *own = NULL;
    start(&m, 17);
    node(&m, "Relu", "x", "y");
    amg_graph *g = must_import(&m);
    assert_int_equal(amg_graph_with_own_inputs(g, &own, NULL), AMG_OK);
    assert_null(own);
    amg_graph_free(g);
}

static void inputs_that_a_float_does_not_hold_are_refused(void **state)
{
    (void)state;
    model m;
    two_inputs(&m, false);
    m.inputs[1]->type->tensor_type->elem_type = 11;
    expect_failure(&m, AMG_UNSUPPORTED, "row", "one of several inputs is F64");
    two_inputs(&m, false);
    m.inputs[1] = info(&m, "row", "N,width");
    expect_failure(&m, AMG_UNSUPPORTED, "input \"row\"", "dim 1 is symbolic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_inputs_become_one),
        cmocka_unit_test(files_have_the_inputs_that_were_read),
        cmocka_unit_test(a_graph_of_one_input_stays_as_it_is),
        cmocka_unit_test(inputs_that_a_float_does_not_hold_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
