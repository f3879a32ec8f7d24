/* Models of several outputs: read as one row, written as they were. */
#include "onnx_fixture.h"

#include <unistd.h>

#include "graph/merged_outputs.h"

/* An image x [N,3,8,8]: maps [N,3,4,4] and a row [N,48] of their numbers lead to two
 * outputs, one of which the other is made of. */
static void two_outputs(model *m)
{
    start(m, 17);
    node(m, "MaxPool", "x", "y");
    attr_ints(m, "kernel_shape", INTS(2, 2));
    attr_ints(m, "strides", INTS(2, 2));
    node(m, "Flatten", "y", "f");
    node(m, "Relu", "f", "row");
    m->outputs[m->g.n_output++] = info(m, "row", NULL);
}

static void to_file(model *m, char path[32])
{
    strcpy(path, "/tmp/amg-merged-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(amg_onnx_write(path, &m->m, NULL), AMG_OK);
    amg_arena_clear(&m->arena);
}

static amg_graph *must_read(const char *path)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_graph_read_model(path, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    return g;
}

static void expect_unreadable(model *m, amg_status code, const char *where,
                              const char *what)
{
    char path[32];
    amg_graph *g = NULL;
    amg_error err = {0};
    to_file(m, path);
    assert_int_equal(amg_graph_read_model(path, &g, &err), code);
    assert_string_equal(err.where, where);
    if (!strstr(err.what, what)) fail_msg("%s", err.what);
    unlink(path);
}

static void several_outputs_become_one(void **state)
{
    (void)state;
    model m;
    char names[1024], path[32];
    int values[AMG_MAX_MERGED];
    amg_graph *planned;
    two_outputs(&m);
    to_file(&m, path);
    amg_graph *g = must_read(path);
    op_names(g, names);
    assert_string_equal(names, "MaxPool Flatten Relu Reshape Reshape Concat");
    assert_int_equal(g->num_outputs, 1);
    expect_shape(g, "amalgam.outputs", "F32[N,96]");
    assert_int_equal(amg_merged_outputs_find(g, values), 2);
    assert_string_equal(g->values[values[0]].name, "y");
    assert_string_equal(g->values[values[1]].name, "row");
    assert_int_equal(amg_graph_plan_batch(g, AMG_DIM_BATCH, &planned, NULL), AMG_OK);
    assert_int_equal(amg_merged_outputs_find(planned, values), 2);
    amg_graph_free(planned);
    amg_graph_free(g);
    /* A job's are sub-networks: they stay. */
    assert_int_equal(amg_graph_read_onnx(path, &g, NULL), AMG_OK);
    assert_int_equal(g->num_outputs, 2);
    assert_int_equal(amg_merged_outputs_find(g, values), 0);
    amg_graph_free(g);
    unlink(path);
}

static void files_have_the_outputs_that_were_read(void **state)
{
    (void)state;
    model m;
    char path[32];
    amg_onnx *file;
    two_outputs(&m);
    m.inputs[m.g.n_input++] = info(&m, "shift", "N,48");
    node(&m, "Add", "row shift", "moved");
    m.outputs[1] = info(&m, "moved", NULL);
    to_file(&m, path);
    amg_graph *g = must_read(path);
    assert_int_equal(g->num_inputs, 1);
    assert_int_equal(amg_graph_write_onnx(path, g, NULL), AMG_OK);
    amg_graph_free(g);
    assert_int_equal(amg_onnx_open(path, &file, NULL), AMG_OK);
    const Onnx__GraphProto *written = amg_onnx_model(file)->graph;
    assert_int_equal(written->n_input, 2);
    assert_int_equal(written->n_output, 2);
    assert_string_equal(written->output[0]->name, "y");
    assert_string_equal(written->output[1]->name, "moved");
    assert_int_equal(written->output[0]->type->tensor_type->shape->n_dim, 4);
    assert_int_equal(written->n_node, 4);
    assert_int_equal(written->n_initializer, 0);
    amg_onnx_close(file);
    g = must_read(path);
    expect_shape(g, "amalgam.outputs", "F32[N,96]");
    amg_graph_free(g);
    unlink(path);
}

static void outputs_that_are_no_rows_of_floats_are_refused(void **state)
{
    (void)state;
    model m;
    two_outputs(&m);
    node(&m, "ArgMax", "row", "best");
    attr_int(&m, "axis", 1);
    m.outputs[1] = info(&m, "best", NULL);
    expect_unreadable(&m, AMG_UNSUPPORTED, "best",
                      "one of several outputs is I64[N,1], expected F32[batch, ...]");
    two_outputs(&m);
    node(&m, "Transpose", "row", "turned");
    m.outputs[1] = info(&m, "turned", NULL);
    expect_unreadable(&m, AMG_UNSUPPORTED, "turned",
                      "one of several outputs is F32[48,");
    two_outputs(&m);
    node(&m, "ReduceMean", "row", "mean");
    attr_int(&m, "keepdims", 0);
    m.outputs[1] = info(&m, "mean", NULL);
    expect_unreadable(&m, AMG_UNSUPPORTED, "mean", "one of several outputs is F32[]");
}

/* The losses: one for each output, dims from the graph. */
static void each_output_has_its_term(void **state)
{
    (void)state;
    model m;
    char path[32];
    amg_graph *g;
    amg_loss_part parts[AMG_MAX_PARTS];
    amg_error err = {0};
    int count;
    two_outputs(&m);
    to_file(&m, path);
    amg_graph *file = must_read(path);
    assert_int_equal(amg_graph_plan_batch(file, AMG_DIM_BATCH, &g, NULL), AMG_OK);
    assert_int_equal(
        amg_merged_outputs_parts(g, "cross_entropy+2*mse", parts, &count, &err),
        AMG_OK);
    assert_int_equal(count, 2);
    assert_int_equal(parts[0].rank, 3);
    assert_int_equal(amg_loss_part_outputs(&parts[0]), 48);
    assert_int_equal(amg_loss_part_targets(&parts[0]), 16);
    assert_int_equal(parts[1].rank, 1);
    assert_true(parts[1].weight == 2);
    static const char *const bad[] = {NULL, "mse", "mse+mse+mse"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(amg_merged_outputs_parts(g, bad[i], parts, &count, &err),
                         AMG_INVALID);
        assert_non_null(strstr(err.what, "\"y\" F32[N,3,4,4], \"row\" F32[N,48]"));
        assert_non_null(strstr(err.hint, "--loss cross_entropy+0.5*huber:0.5"));
    }
    bool by_data = true;
    amg_task task = AMG_TASK_CLASSIFICATION;
    assert_int_equal(amg_merged_outputs_task(g, &by_data, &task, &err), AMG_OK);
    assert_int_equal(task, AMG_TASK_MULTI_TASK);
    assert_false(by_data);
    task = AMG_TASK_REGRESSION;
    assert_int_equal(amg_merged_outputs_task(g, &by_data, &task, &err), AMG_INVALID);
    amg_graph_free(g);
    amg_graph_free(file);
    unlink(path);
}

static void one_output_stays_as_it_is(void **state)
{
    (void)state;
    model m;
    amg_graph *own = NULL;
    amg_error err = {0};
    bool by_data = false;
    amg_task task = AMG_TASK_MULTI_TASK;
    start(&m, 17);
    node(&m, "Relu", "x", "y");
    amg_graph *g = must_import(&m);
    assert_int_equal(amg_graph_as_given(g, &own, NULL), AMG_OK);
    assert_null(own);
    assert_int_equal(amg_merged_outputs_task(g, &by_data, &task, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "for a model of several outputs: this has one"));
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_outputs_become_one),
        cmocka_unit_test(files_have_the_outputs_that_were_read),
        cmocka_unit_test(outputs_that_are_no_rows_of_floats_are_refused),
        cmocka_unit_test(each_output_has_its_term),
        cmocka_unit_test(one_output_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
