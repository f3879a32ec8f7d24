/* What a graph knows of transformers: shapes and refusals of their operators, which of
 * their parameters train, that a weight stays one through folding, and the opset that
 * they are written in. */
#include "graph_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph/onnx_graph.h"

typedef struct {
    amg_builder *b;
    int x; /* F32 [N,3,4], behind a MatMul by a weight: a trainable is upstream */
} fixture;

static fixture begin(int64_t batch)
{
    fixture f = {.b = amg_builder_new()};
    int in = amg_builder_input(f.b, "in", AMG_F32, DIMS(batch, 3, 5));
    int w = weight(f.b, "w", 1, DIMS(5, 4));
    f.x = amg_builder_node(f.b, AMG_OP_MAT_MUL, "linear", IDS(in, w), NO_ATTRS, NULL);
    return f;
}

static amg_graph *finish(fixture *f, int y)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_builder_output(f->b, y);
    if (amg_builder_finish(f->b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(f->b);
    return g;
}

static void fails(fixture *f, int y, amg_status code, const char *what)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_builder_output(f->b, y);
    assert_int_equal(amg_builder_finish(f->b, &g, &err), code);
    assert_string_equal(err.what, what);
    amg_builder_free(f->b);
}

static void split_has_given_or_equal_sizes(void **state)
{
    (void)state;
    fixture f = begin(AMG_DIM_BATCH);
    int y[3], z[2], in[2] = {f.x, INTS(f.b, "sizes", 1, 0, 2)};
    amg_attr axis = amg_int("axis", 1), last = amg_int("axis", -1);
    amg_builder_node_multi(f.b, AMG_OP_SPLIT, "a", in, 2, &axis, 1, NULL, 3, y);
    assert_dims(amg_builder_value(f.b, y[0]), DIMS(AMG_DIM_BATCH, 1, 4));
    assert_dims(amg_builder_value(f.b, y[1]), DIMS(AMG_DIM_BATCH, 0, 4));
    assert_dims(amg_builder_value(f.b, y[2]), DIMS(AMG_DIM_BATCH, 2, 4));
    amg_builder_node_multi(f.b, AMG_OP_SPLIT, "b", in, 1, &last, 1, NULL, 2, z);
    assert_dims(amg_builder_value(f.b, z[1]), DIMS(AMG_DIM_BATCH, 3, 2));
    amg_builder_node_multi(f.b, AMG_OP_SPLIT, "c", in, 1, &axis, 1, NULL, 2, z);
    fails(&f, z[0], AMG_MISMATCH, "2 sizes, 2 in all, expected 2 parts of 3");
}

static void wrong_shapes_are_refused(void **state)
{
    (void)state;
    fixture f = begin(AMG_DIM_BATCH);
    int scale = weight(f.b, "scale", 1, DIMS(3));
    fails(
        &f,
        amg_builder_node(f.b, AMG_OP_LAYER_NORM, "n", IDS(f.x, scale), NO_ATTRS, NULL),
        AMG_MISMATCH, "scale is F32[3], expected F32[4]");
    f = begin(AMG_DIM_BATCH);
    fails(&f,
          amg_builder_node(f.b, AMG_OP_SOFTMAX, "s", IDS(f.x),
                           ATTRS(amg_int("axis", 3)), NULL),
          AMG_MISMATCH, "axis 3 is out of range for rank 3");
    f = begin(AMG_DIM_BATCH);
    int repeats = INTS(f.b, "repeats", 1, 2);
    fails(&f,
          amg_builder_node(f.b, AMG_OP_TILE, "t", IDS(f.x, repeats), NO_ATTRS, NULL),
          AMG_MISMATCH, "2 repeats for 3 dims");
    f = begin(AMG_DIM_BATCH);
    int exponent = weight(f.b, "exponent", 1, DIMS(5));
    fails(&f,
          amg_builder_node(f.b, AMG_OP_POW, "p", IDS(f.x, exponent), NO_ATTRS, NULL),
          AMG_MISMATCH, "F32[N,3,4] does not broadcast with F32[5]");
}

static amg_param_role role_of(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    assert_true(v >= 0);
    return g->values[v].role;
}

static int node2(fixture *f, amg_op op, int a, int b, const char *output)
{
    return amg_builder_node(f->b, op, output, IDS(a, b), NO_ATTRS, output);
}

/* [N,3,4] + a class token repeated for two samples, its place, a norm, a mask. */
static amg_graph *network(void)
{
    static const float mask[8] = {0, 0, -INFINITY};
    fixture f = begin(2);
    int token = weight(f.b, "token", 1, DIMS(1, 1, 4)), masked;
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_F32, 1, (int64_t[]){8}, mask, &t, NULL),
                     AMG_OK);
    masked = amg_builder_param(f.b, "mask", &t);
    int half = weight(f.b, "half", 0.5f, DIMS(1));
    token = node2(&f, AMG_OP_EXPAND, token, INTS(f.b, "shape", 2, 3, 4), "tokens");
    int y = amg_builder_node(f.b, AMG_OP_CONCAT, "join", IDS(f.x, token),
                             ATTRS(amg_int("axis", -1)), NULL);
    y = node2(&f, AMG_OP_ADD, y, weight(f.b, "position", 1, DIMS(1, 3, 8)), "placed");
    y = amg_builder_node(
        f.b, AMG_OP_LAYER_NORM, "norm",
        IDS(y, weight(f.b, "scale", 1, DIMS(8)), weight(f.b, "bias", 1, DIMS(8))),
        NO_ATTRS, NULL);
    y = node2(&f, AMG_OP_MUL, y, half, "scaled");
    y = node2(&f, AMG_OP_ADD, y, masked, "y");
    return finish(&f, y);
}

static amg_graph *plan(const amg_graph *g)
{
    amg_graph *planned = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(g, 2, &planned, &err))
        fail_msg("%s: %s", err.where, err.what);
    return planned;
}

static void tokens_positions_and_norms_train_but_masks_do_not(void **state)
{
    (void)state;
    static const char *const train[] = {"w", "token", "position", "scale", "bias"};
    amg_graph *g = network(), *planned = plan(g);
    const amg_graph *both[] = {planned, g};
    amg_graph_classify(g);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof train / sizeof *train; i++)
            assert_int_equal(role_of(both[k], train[i]), AMG_ROLE_TRAINABLE);
        assert_int_equal(role_of(both[k], "mask"), AMG_ROLE_CONSTANT);
        assert_int_equal(role_of(both[k], "half"), AMG_ROLE_CONSTANT);
    }
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void folding_does_not_repeat_a_weight(void **state)
{
    (void)state;
    amg_graph *g = network(), *planned = plan(g);
    int v = amg_graph_find_value(planned, "tokens");
    assert_true(v >= 0);
    assert_int_equal(planned->values[v].kind, AMG_VALUE_ACTIVATION);
    amg_graph_free(planned);
    amg_graph_free(g);
}

/* Gelu is of opset 20, where ReduceMean's axes are an input and Split needs a number.
 */
static void younger_operators_are_written_and_read_back(void **state)
{
    (void)state;
    fixture f = begin(AMG_DIM_BATCH);
    int y = amg_builder_node(f.b, AMG_OP_GELU, "gelu", IDS(f.x), NO_ATTRS, NULL);
    int halves[2];
    amg_attr last = amg_int("axis", -1);
    amg_builder_node_multi(f.b, AMG_OP_SPLIT, "split", &y, 1, &last, 1, NULL, 2,
                           halves);
    y = node2(&f, AMG_OP_MUL, halves[0], halves[1], "product");
    y = amg_builder_node(f.b, AMG_OP_REDUCE_MEAN, "mean", IDS(y),
                         ATTRS(amg_ints("axes", 1, (int64_t[]){1})), "y");
    amg_graph *g = finish(&f, y), *again = NULL;
    uint8_t *data[2];
    size_t size[2];
    amg_error err = {0};
    char path[] = "/tmp/amalgam-test-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    if (amg_graph_write_onnx(path, g, &err) ||
        amg_graph_read_onnx(path, &again, &err) ||
        amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &data[0], &size[0], &err) ||
        amg_graph_pack_onnx(again, AMG_PACK_WHOLE, &data[1], &size[1], &err))
        fail_msg("%s: %s", err.where, err.what);
    unlink(path);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(data[0], data[1], size[0]);
    const amg_node *mean = &again->nodes[again->values[again->outputs[0]].producer];
    assert_int_equal(mean->op, AMG_OP_REDUCE_MEAN);
    assert_int_equal(amg_attr_find(mean, "axes")->ints[0], 1);
    for (int i = 0; i < 2; i++) amg_free(data[i]);
    amg_graph_free(again);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_has_given_or_equal_sizes),
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(tokens_positions_and_norms_train_but_masks_do_not),
        cmocka_unit_test(folding_does_not_repeat_a_weight),
        cmocka_unit_test(younger_operators_are_written_and_read_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
