/* Planning a batch: exporters' shape arithmetic folds, no-ops and dead values go, baked
 * batches follow, and what cannot be known is refused. More than 500 lines: a list
 * of small cases. */
#include <math.h>

#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static amg_graph *plan(const amg_graph *g, int64_t batch)
{
    amg_graph *out = NULL;
    amg_error err = {0};
    amg_status s = amg_graph_plan_batch(g, batch, &out, &err);
    if (s) fail_msg("%s: %s", err.where, err.what);
    return out;
}

/* Folds one node over the given constants, as the target of a graph with that node as
 * its only output. */
static amg_graph *folded(amg_builder *b, int value)
{
    amg_builder_output(b, value);
    amg_graph *g = must_finish(b);
    amg_graph *out = plan(g, 1);
    amg_graph_free(g);
    assert_int_equal(out->num_nodes, 0);
    return out;
}

static void gives_ints(amg_builder *b, int value, int count, const int64_t *expected)
{
    amg_graph *g = folded(b, value);
    const amg_value *v = &g->values[g->outputs[0]];
    assert_int_equal(v->kind, AMG_VALUE_PARAM);
    assert_int_equal(v->dtype, AMG_I64);
    assert_int_equal(amg_tensor_count(&v->data), count);
    for (int i = 0; i < count; i++)
        assert_int_equal(((const int64_t *)v->data.data)[i], expected[i]);
    amg_graph_free(g);
}

static amg_builder *fresh(void)
{
    amg_builder *b = amg_builder_new();
    amg_builder_input(b, "x", AMG_F32, DIMS(B, 3));
    return b;
}

static int op2(amg_builder *b, amg_op op, int p, int q)
{
    return amg_builder_node(b, op, "n", IDS(p, q), NO_ATTRS, NULL);
}

static void integers_are_computed(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t expected[3];
    } cases[] = {{AMG_OP_ADD, {-5, 11, 12}},
                 {AMG_OP_SUB, {-9, 7, 8}},
                 {AMG_OP_MUL, {-14, 18, 20}},
                 {AMG_OP_DIV, {-3, 4, 5}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_builder *b = fresh();
        int p = INTS(b, "p", -7, 9, 10), q = SCALAR(b, "q", 2);
        gives_ints(b, op2(b, cases[i].op, p, q), 3, cases[i].expected);
    }
}

static void elements_are_moved(void **state)
{
    (void)state;
    amg_builder *b = fresh();
    int m = op2(b, AMG_OP_RESHAPE, INTS(b, "p", 0, 1, 2, 3, 4, 5), INTS(b, "s", 2, 3));
    gives_ints(b, amg_builder_node(b, AMG_OP_TRANSPOSE, "t", IDS(m), NO_ATTRS, NULL),
               DIMS(0, 3, 1, 4, 2, 5));

    b = fresh();
    m = op2(b, AMG_OP_RESHAPE, INTS(b, "p", 0, 1, 2, 3, 4, 5), INTS(b, "s", 2, 3));
    gives_ints(b,
               amg_builder_node(b, AMG_OP_GATHER, "g", IDS(m, INTS(b, "i", -1, 0)),
                                ATTRS(amg_int("axis", 1)), NULL),
               DIMS(2, 0, 5, 3));

    b = fresh();
    m = op2(b, AMG_OP_RESHAPE, INTS(b, "p", 0, 1, 2, 3, 4, 5), INTS(b, "s", 2, 3));
    gives_ints(b,
               amg_builder_node(b, AMG_OP_CONCAT, "c", IDS(m, m),
                                ATTRS(amg_int("axis", 1)), NULL),
               DIMS(0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5));

    b = fresh();
    gives_ints(b, op2(b, AMG_OP_EXPAND, INTS(b, "p", 7, 8), INTS(b, "s", 2, 2)),
               DIMS(7, 8, 7, 8));

    b = fresh();
    int e = op2(b, AMG_OP_EQUAL, INTS(b, "p", 1, -1, 3), SCALAR(b, "q", -1));
    gives_ints(b,
               amg_builder_node(b, AMG_OP_WHERE, "w",
                                IDS(e, SCALAR(b, "y", 5), INTS(b, "z", 6, 7, 8)),
                                NO_ATTRS, NULL),
               DIMS(6, 5, 8));
}

static int to_ints(amg_builder *b, int x)
{
    return amg_builder_node(b, AMG_OP_CAST, "cast", &x, 1,
                            ATTRS(amg_int("to", amg_dtype_onnx(AMG_I64))), NULL);
}

static void comparisons_and_logic_are_folded(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t expected[3]; /* of 1, -1, 3 and -1 */
    } rows[] = {{AMG_OP_GREATER, {1, 0, 1}},
                {AMG_OP_LESS, {0, 0, 0}},
                {AMG_OP_GREATER_OR_EQUAL, {1, 1, 1}},
                {AMG_OP_LESS_OR_EQUAL, {0, 1, 0}},
                {AMG_OP_EQUAL, {0, 1, 0}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        amg_builder *b = fresh();
        int c = op2(b, rows[i].op, INTS(b, "p", 1, -1, 3), SCALAR(b, "q", -1));
        gives_ints(b, to_ints(b, c), 3, rows[i].expected);
    }
    static const struct {
        amg_op op;
        int64_t expected[4]; /* of 1 1 0 0 and 1 0 1 0 */
    } of_bools[] = {{AMG_OP_AND, {1, 0, 0, 0}}, {AMG_OP_OR, {1, 1, 1, 0}}};
    for (size_t i = 0; i < sizeof of_bools / sizeof of_bools[0]; i++) {
        amg_builder *b = fresh();
        int p = op2(b, AMG_OP_EQUAL, INTS(b, "p", 1, 1, 0, 0), SCALAR(b, "one", 1));
        int q = op2(b, AMG_OP_EQUAL, INTS(b, "q", 1, 0, 1, 0), SCALAR(b, "zero", 0));
        q = amg_builder_node(b, AMG_OP_NOT, "n", &q, 1, NO_ATTRS, NULL);
        gives_ints(b, to_ints(b, op2(b, of_bools[i].op, p, q)), 4,
                   of_bools[i].expected);
    }
}

static void slices_take_the_elements_numpy_takes(void **state)
{
    (void)state;
    static const struct {
        int64_t start, end, step;
        int count;
        int64_t expected[5];
    } cases[] = {{1, 4, 1, 3, {11, 12, 13}},
                 {-2, INT64_MAX, 1, 2, {13, 14}},
                 {-1, INT64_MIN + 1, -1, 5, {14, 13, 12, 11, 10}},
                 {3, 0, -2, 2, {13, 11}},
                 {0, 5, 2, 3, {10, 12, 14}},
                 {-50, 2, 1, 2, {10, 11}},
                 {2, 3, INT64_MAX, 1, {12}},
                 {4, 4, 1, 0, {0}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_builder *b = fresh();
        int p = INTS(b, "p", 10, 11, 12, 13, 14);
        int s = INTS(b, "s", cases[i].start), e = INTS(b, "e", cases[i].end);
        int a = INTS(b, "a", 0), st = INTS(b, "st", cases[i].step);
        gives_ints(
            b,
            amg_builder_node(b, AMG_OP_SLICE, "n", IDS(p, s, e, a, st), NO_ATTRS, NULL),
            cases[i].count, cases[i].expected);
    }
}

static void constants_are_made(void **state)
{
    (void)state;
    amg_builder *b = fresh();
    int r = amg_builder_node(
        b, AMG_OP_RANGE, "r",
        IDS(SCALAR(b, "a", 5), SCALAR(b, "l", -2), SCALAR(b, "d", -3)), NO_ATTRS, NULL);
    gives_ints(b, r, DIMS(5, 2, -1));

    b = fresh();
    int64_t nine = 9;
    amg_attr value = {.name = "value", .kind = AMG_ATTR_TENSOR};
    assert_int_equal(amg_tensor_view(AMG_I64, DIMS(1), &nine, &value.tensor, NULL),
                     AMG_OK);
    gives_ints(b,
               amg_builder_node(b, AMG_OP_CONSTANT_OF_SHAPE, "c",
                                IDS(INTS(b, "s", 1, 3)), ATTRS(value), NULL),
               DIMS(9, 9, 9));

    b = fresh();
    gives_ints(b,
               amg_builder_node(b, AMG_OP_CONSTANT, "c", NULL, 0,
                                ATTRS(amg_ints("value_ints", 2, (int64_t[]){4, 5})),
                                NULL),
               DIMS(4, 5));
}

static void floats_keep_single_precision(void **state)
{
    (void)state;
    amg_builder *b = fresh();
    int p = weight(b, "p", 1, DIMS(3)), q = weight(b, "q", 3, DIMS(1));
    amg_graph *g = folded(b, op2(b, AMG_OP_DIV, p, q));
    const float *out = g->values[g->outputs[0]].data.data;
    for (int i = 0; i < 3; i++) assert_true(out[i] == (float)(i + 1) / 3.0f);
    amg_graph_free(g);

    b = fresh();
    p = weight(b, "p", 1.75f, DIMS(2));
    gives_ints(
        b, amg_builder_node(b, AMG_OP_CAST, "c", IDS(p), ATTRS(amg_int("to", 7)), NULL),
        DIMS(1, 2));
}

/* Of one number each; expected is what PyTorch has in double. */
static void functions_of_a_number_are_folded(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        float x, y;
    } cases[] = {
        {AMG_OP_SIN, 0.5f, 0.47942554f},
        {AMG_OP_COS, 0.5f, 0.87758256f},
        {AMG_OP_TAN, 0.5f, 0.5463025f},
        {AMG_OP_ASIN, 0.5f, 0.52359878f},
        {AMG_OP_ACOS, 0.5f, 1.0471976f},
        {AMG_OP_ATAN, 0.5f, 0.46364761f},
        {AMG_OP_SINH, 0.5f, 0.5210953f},
        {AMG_OP_COSH, 0.5f, 1.1276260f},
        {AMG_OP_ASINH, 0.5f, 0.48121183f},
        {AMG_OP_ACOSH, 1.5f, 0.96242365f},
        {AMG_OP_ATANH, 0.5f, 0.54930614f},
        {AMG_OP_SIGN, -0.5f, -1},
        {AMG_OP_FLOOR, -0.5f, -1},
        {AMG_OP_CEIL, 0.5f, 1},
        {AMG_OP_ROUND, 2.5f, 2},
        {AMG_OP_ABS, -2, 2},
        {AMG_OP_EXP, 0.5f, 1.6487213f},
        {AMG_OP_LOG, 0.5f, -0.69314718f},
        {AMG_OP_RELU, -2, 0},
        {AMG_OP_SIGMOID, 0.5f, 0.62245933f},
        {AMG_OP_TANH, 0.5f, 0.46211716f},
        {AMG_OP_ERF, 0.5f, 0.52049988f},
        {AMG_OP_GELU, 0.5f, 0.34573123f},
        {AMG_OP_SOFTPLUS, 0.5f, 0.97407698f},
        {AMG_OP_MISH, 0.5f, 0.37524524f},
        {AMG_OP_SOFTSIGN, 0.5f, 0.33333334f},
        {AMG_OP_ELU, -0.5f, -0.39346934f},
        {AMG_OP_CELU, -0.5f, -0.39346934f},
        {AMG_OP_SELU, -0.5f, -0.69175819f},
        {AMG_OP_LEAKY_RELU, -0.5f, -0.005f},
        {AMG_OP_HARD_SIGMOID, 0.5f, 0.6f},
        {AMG_OP_HARD_SWISH, 0.5f, 0.29166667f},
        {AMG_OP_SHRINK, 0.75f, 0.75f},
        {AMG_OP_THRESHOLDED_RELU, 0.75f, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_builder *b = fresh();
        int x = weight(b, "p", cases[i].x, DIMS(1));
        amg_graph *g =
            folded(b, amg_builder_node(b, cases[i].op, "n", IDS(x), NO_ATTRS, NULL));
        const float y = *(const float *)g->values[g->outputs[0]].data.data;
        if (!(fabsf(y - cases[i].y) <= 1.2e-7f * fabsf(cases[i].y)))
            fail_msg("%s of %g is %.9g", amg_op_get(cases[i].op)->name,
                     (double)cases[i].x, (double)y);
        amg_graph_free(g);
    }
}

/* Sines of positions, added to what trains: as numbers they would train, too. */
static void a_table_that_a_function_makes_stays_computed(void **state)
{
    (void)state;
    amg_builder *b = fresh();
    int w = weight(b, "w", 1, DIMS(3, 3)), positions = weight(b, "p", 2, DIMS(3));
    int y = op2(b, AMG_OP_MAT_MUL, amg_builder_input(b, "z", AMG_F32, DIMS(B, 3)), w);
    int sines = amg_builder_node(b, AMG_OP_SIN, "sin", IDS(positions), NO_ATTRS, NULL);
    amg_builder_output(b, op2(b, AMG_OP_ADD, y, sines));
    amg_graph *g = must_finish(b), *out = plan(g, 4);
    assert_int_equal(out->num_nodes, 3);
    assert_int_equal(named(out, "p")->role, AMG_ROLE_CONSTANT);
    assert_int_equal(amg_graph_num_trainable(out), 9);
    amg_graph_free(out);
    amg_graph_free(g);
}

/* Otherwise its product would keep the value that it had before training. */
static void arithmetic_on_a_weight_is_not_folded(void **state)
{
    (void)state;
    amg_builder *b = fresh();
    int w = weight(b, "w", 1, DIMS(3, 3)),
        x = amg_builder_input(b, "z", AMG_F32, DIMS(B, 3));
    int y = op2(b, AMG_OP_MAT_MUL, x, w);
    int half = op2(b, AMG_OP_MUL, w, weight(b, "half", 0.5f, DIMS(1)));
    amg_builder_output(b, op2(b, AMG_OP_MAT_MUL, y, half));
    amg_graph *g = must_finish(b), *out = plan(g, 4);
    assert_int_equal(out->num_nodes, 3);
    assert_int_equal(amg_graph_num_trainable(out), 9);
    amg_graph_free(out);
    amg_graph_free(g);
}

static void a_division_by_zero_is_left_alone(void **state)
{
    (void)state;
    amg_builder *b = fresh();
    amg_builder_output(b, op2(b, AMG_OP_DIV, INTS(b, "p", 1), INTS(b, "q", 0)));
    amg_graph *g = must_finish(b);
    amg_graph *p = plan(g, 1);
    assert_int_equal(p->num_nodes, 1);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* x.view(x.size(0), -1) as TorchScript's exporter writes it, then a linear layer. */
static amg_graph *exported_view(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2, 3, 1));
    int s = amg_builder_node(b, AMG_OP_SHAPE, "shape", IDS(x), NO_ATTRS, NULL);
    int n = amg_builder_node(b, AMG_OP_GATHER, "first", IDS(s, SCALAR(b, "zero", 0)),
                             NO_ATTRS, NULL);
    n = amg_builder_node(b, AMG_OP_UNSQUEEZE, "vec", IDS(n, INTS(b, "axes", 0)),
                         NO_ATTRS, NULL);
    int t = amg_builder_node(b, AMG_OP_CONCAT, "target", IDS(n, INTS(b, "minus", -1)),
                             ATTRS(amg_int("axis", 0)), NULL);
    int y = amg_builder_node(b, AMG_OP_RESHAPE, "view", IDS(x, t), NO_ATTRS, "flat");
    int w = weight(b, "w", 0, DIMS(6, 4));
    y = amg_builder_node(b, AMG_OP_MAT_MUL, "fc", IDS(y, w), NO_ATTRS, "y");
    amg_builder_output(b, y);
    return must_finish(b);
}

static void shape_arithmetic_folds_for_a_planned_batch(void **state)
{
    (void)state;
    amg_graph *g = exported_view();
    assert_dims(named(g, "flat"), DIMS(B, 6)); /* computed, and known all the same */
    amg_graph *p = plan(g, 5);
    assert_int_equal(p->num_nodes, 2);
    assert_dims(named(p, "x"), DIMS(5, 2, 3, 1));
    assert_dims(named(p, "flat"), DIMS(5, 6));
    assert_dims(named(p, "y"), DIMS(5, 4));
    assert_int_equal(amg_graph_find_value(p, "minus"), AMG_NO_VALUE);
    assert_ptr_equal(named(p, "w")->data.data, named(g, "w")->data.data);
    assert_int_equal(named(p, "w")->role, AMG_ROLE_TRAINABLE);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void shape_arithmetic_folds_with_the_batch_symbolic(void **state)
{
    (void)state;
    amg_graph *g = exported_view();
    amg_graph *p = plan(g, B);
    assert_int_equal(p->num_nodes, 2);
    assert_dims(named(p, "flat"), DIMS(B, 6));
    assert_dims(named(p, "y"), DIMS(B, 4));
    const amg_node *view = maker(p, "flat");
    const int64_t *target = p->values[view->inputs[1]].data.data;
    assert_int_equal(target[0], 0);
    assert_int_equal(target[1], -1);
    /* What is symbolic can still be planned, after the source is gone. */
    amg_graph *q = plan(p, 7);
    assert_dims(named(q, "y"), DIMS(7, 4));
    amg_graph_free(q);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void a_batch_baked_into_a_reshape_follows_the_plan(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 8, 2, 2));
    int y = op2(b, AMG_OP_RESHAPE, x, INTS(b, "s", 1, 2, 4, 2, 2));
    y = op2(b, AMG_OP_RESHAPE, y, INTS(b, "t", 1, -1));
    amg_builder_output(b, y);
    /* PyTorch's newer exporter sets allowzero on every Reshape. */
    int s = INTS(b, "u", 2, 8, 4);
    amg_builder_output(b, amg_builder_node(b, AMG_OP_RESHAPE, "zero", IDS(x, s),
                                           ATTRS(amg_int("allowzero", 1)), NULL));
    amg_graph *g = must_finish(b);
    for (int64_t batch = 1; batch < 4; batch++) {
        amg_graph *p = plan(g, batch);
        assert_dims(&p->values[p->nodes[0].outputs[0]], DIMS(batch, 2, 4, 2, 2));
        assert_dims(&p->values[p->outputs[0]], DIMS(batch, 32));
        assert_dims(&p->values[p->outputs[1]], DIMS(batch, 8, 4));
        amg_graph_free(p);
    }
    amg_graph_free(g);
}

/* Channels as samples of their own, [3N,16], and back for the exporter's seven samples.
 */
static void a_batch_baked_in_where_rows_are_joined_follows_the_plan(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3, 16));
    int y = op2(b, AMG_OP_RESHAPE, x, INTS(b, "s", -1, 16));
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, y, INTS(b, "t", 7, -1)));
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, y, INTS(b, "u", 7, 4, -1)));
    amg_graph *g = must_finish(b);
    for (int64_t batch = 1; batch < 8; batch++) {
        amg_graph *p = plan(g, batch);
        assert_dims(&p->values[p->outputs[0]], DIMS(batch, 48));
        assert_dims(&p->values[p->outputs[1]], DIMS(batch, 4, 12));
        amg_graph_free(p);
    }
    amg_graph_free(g);
}

/* Targets for three samples, as a file with a fixed batch has them, of [5,N,64]: heads
 * beside the batch, apart from it, and all positions as rows and back. */
static void a_batch_that_is_not_first_stays_where_it_is(void **state)
{
    (void)state;
    static const int64_t swap[3] = {1, 0, 2};
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5, 64));
    x = amg_builder_node(b, AMG_OP_TRANSPOSE, "t", IDS(x),
                         ATTRS(amg_ints("perm", 3, swap)), NULL);
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, x, INTS(b, "heads", 5, 12, 16)));
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, x, INTS(b, "apart", 5, 3, 4, 16)));
    int rows = op2(b, AMG_OP_RESHAPE, x, INTS(b, "rows", 15, 64));
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, rows, INTS(b, "back", 5, 3, 64)));
    amg_graph *g = must_finish(b);
    for (int64_t batch = 2; batch < 5; batch++) {
        amg_graph *p = plan(g, batch);
        assert_dims(&p->values[p->outputs[0]], DIMS(5, 4 * batch, 16));
        assert_dims(&p->values[p->outputs[1]], DIMS(5, batch, 4, 16));
        assert_dims(&p->values[p->outputs[2]], DIMS(5, batch, 64));
        amg_graph_free(p);
    }
    amg_graph_free(g);
}

static void a_merged_batch_is_known_once_planned(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 8, 2));
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, x, INTS(b, "s", -1, 2)));
    amg_graph *g = must_finish(b);
    amg_graph *p = plan(g, 3);
    assert_dims(&p->values[p->outputs[0]], DIMS(24, 2));
    amg_graph_free(p);
    amg_graph_free(g);
}

static void arithmetic_on_the_batch_folds_once_it_is_a_number(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 4, 2));
    int s = amg_builder_node(b, AMG_OP_SHAPE, "s", IDS(x), NO_ATTRS, NULL);
    int n = op2(b, AMG_OP_GATHER, s, INTS(b, "zero", 0));
    n = op2(b, AMG_OP_MUL, n, INTS(b, "two", 2));
    int t = amg_builder_node(b, AMG_OP_CONCAT, "t", IDS(n, INTS(b, "rest", 2, 2)),
                             ATTRS(amg_int("axis", 0)), NULL);
    amg_builder_output(b, op2(b, AMG_OP_RESHAPE, x, t));
    amg_graph *g = must_finish(b);
    amg_graph *p = plan(g, 6);
    assert_dims(&p->values[p->outputs[0]], DIMS(12, 2, 2));
    assert_int_equal(p->num_nodes, 1);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* Reshapes and expands to shapes that an exporter computes from the batch, as attention
 * and class tokens do. */
static void shapes_with_the_batch_in_them_are_known(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5, 8));
    int s = amg_builder_node(b, AMG_OP_SHAPE, "s", IDS(x), NO_ATTRS, NULL);
    int n = op2(b, AMG_OP_GATHER, s, INTS(b, "zero", 0));
    int heads = op2(b, AMG_OP_MUL, n, INTS(b, "two", 2));
    int t = amg_builder_node(b, AMG_OP_CONCAT, "t",
                             IDS(INTS(b, "five", 5), heads, INTS(b, "four", 4)),
                             ATTRS(amg_int("axis", 0)), NULL);
    int turned =
        amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", IDS(x),
                         ATTRS(amg_ints("perm", 3, (int64_t[]){1, 0, 2})), NULL);
    amg_builder_output(b, amg_builder_node(b, AMG_OP_RESHAPE, "split", IDS(turned, t),
                                           NO_ATTRS, "apart"));
    int u = amg_builder_node(b, AMG_OP_CONCAT, "u", IDS(n, INTS(b, "rest", 1, 8)),
                             ATTRS(amg_int("axis", 0)), NULL);
    int token = weight(b, "token", 0, DIMS(1, 1, 8));
    int each =
        amg_builder_node(b, AMG_OP_EXPAND, "expand", IDS(token, u), NO_ATTRS, "each");
    amg_builder_output(b, amg_builder_node(b, AMG_OP_CONCAT, "join", IDS(each, x),
                                           ATTRS(amg_int("axis", 1)), "joined"));
    amg_graph *g = must_finish(b), *p = plan(g, B), *q = plan(p, 3);
    assert_dims(named(g, "apart"), DIMS(5, 2 * B, 4));
    assert_dims(named(p, "apart"), DIMS(5, 2 * B, 4));
    assert_int_equal(((int64_t *)p->values[maker(p, "apart")->inputs[1]].data.data)[1],
                     -1);
    assert_dims(named(p, "each"), DIMS(B, 1, 8));
    assert_dims(named(p, "joined"), DIMS(B, 6, 8));
    assert_dims(named(q, "apart"), DIMS(5, 6, 4));
    assert_dims(named(q, "joined"), DIMS(3, 6, 8));
    amg_graph_free(q);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* What would hold for some batches only is computed once there is a number. */
static void arithmetic_that_the_batch_decides_waits_for_it(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t operand;
        bool batch_first;
        int64_t planned; /* for a batch of 6 */
    } cases[] = {{AMG_OP_ADD, 1, true, 7},
                 {AMG_OP_SUB, 20, false, 14},
                 {AMG_OP_DIV, 2, true, 3},
                 {AMG_OP_DIV, 12, false, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_builder *b = amg_builder_new();
        int x = amg_builder_input(b, "x", AMG_F32, DIMS(B));
        int n = amg_builder_node(b, AMG_OP_SHAPE, "s", IDS(x), NO_ATTRS, NULL);
        int k = INTS(b, "k", cases[i].operand);
        n = cases[i].batch_first ? op2(b, cases[i].op, n, k)
                                 : op2(b, cases[i].op, k, n);
        int y = amg_builder_node(b, AMG_OP_CONSTANT_OF_SHAPE, "made", IDS(n), NO_ATTRS,
                                 "made");
        amg_builder_output(
            b, amg_builder_node(b, AMG_OP_RELU, "r", IDS(y), NO_ATTRS, NULL));
        amg_graph *g = must_finish(b), *p = plan(g, B), *q = plan(g, 6);
        assert_int_equal(named(p, "made")->rank, -1);
        assert_dims(&q->values[q->outputs[0]], DIMS(cases[i].planned));
        amg_graph_free(q);
        amg_graph_free(p);
        amg_graph_free(g);
    }
}

static void zeros_as_a_first_state_are_left_out(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5, 3));
    int s = amg_builder_node(b, AMG_OP_SHAPE, "s", IDS(x), NO_ATTRS, NULL);
    int n = op2(b, AMG_OP_GATHER, s, INTS(b, "zero", 0));
    int t = amg_builder_node(b, AMG_OP_CONCAT, "t",
                             IDS(INTS(b, "one", 1), n, INTS(b, "four", 4)),
                             ATTRS(amg_int("axis", 0)), NULL);
    int h = amg_builder_node(b, AMG_OP_CONSTANT_OF_SHAPE, "h", IDS(t), NO_ATTRS, NULL);
    int turned =
        amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", IDS(x),
                         ATTRS(amg_ints("perm", 3, (int64_t[]){1, 0, 2})), NULL);
    int w = weight(b, "w", 0, DIMS(1, 16, 3)), r = weight(b, "r", 1, DIMS(1, 16, 4));
    int y[3];
    amg_builder_node_multi(b, AMG_OP_LSTM, "lstm",
                           IDS(turned, w, r, AMG_NO_VALUE, AMG_NO_VALUE, h, h),
                           ATTRS(amg_int("hidden_size", 4)), NULL, 3, y);
    amg_builder_output(b, y[1]);
    amg_graph *g = must_finish(b), *p = plan(g, B);
    assert_int_equal(p->num_nodes, 2);
    assert_int_equal(p->nodes[1].num_inputs, 3);
    assert_int_equal(p->nodes[1].num_outputs, 2); /* the cell's state goes, too */
    assert_dims(&p->values[p->outputs[0]], DIMS(1, B, 4));
    amg_graph_free(p);
    amg_graph_free(g);
}

/* Zeros of the exporter's own batch, spread over the batch that the data have: nothing
 * that another batch would contradict. */
static void zeros_of_a_baked_batch_are_left_out(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5, 3));
    int s = amg_builder_node(b, AMG_OP_SHAPE, "s", IDS(x), NO_ATTRS, NULL);
    int n = op2(b, AMG_OP_GATHER, s, INTS(b, "place", 0));
    int t = amg_builder_node(b, AMG_OP_CONCAT, "t",
                             IDS(INTS(b, "one", 1), n, INTS(b, "four", 4)),
                             ATTRS(amg_int("axis", 0)), NULL);
    int turned =
        amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", IDS(x),
                         ATTRS(amg_ints("perm", 3, (int64_t[]){1, 0, 2})), NULL);
    amg_tensor zeros = {.dtype = AMG_F32, .rank = 3, .dims = {1, 8, 4}};
    int h = op2(b, AMG_OP_EXPAND, amg_builder_param(b, "zeros", &zeros), t);
    int w = weight(b, "w", 0, DIMS(1, 16, 3)), r = weight(b, "r", 1, DIMS(1, 16, 4));
    int y[3];
    amg_builder_node_multi(b, AMG_OP_LSTM, "lstm",
                           IDS(turned, w, r, AMG_NO_VALUE, AMG_NO_VALUE, h, h),
                           ATTRS(amg_int("hidden_size", 4)), NULL, 3, y);
    amg_builder_output(b, y[1]);
    amg_graph *g = must_finish(b), *p = plan(g, 2);
    assert_int_equal(p->num_nodes, 2);
    assert_int_equal(p->nodes[1].num_inputs, 3);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void zeros_as_a_bias_are_left_out(void **state)
{
    (void)state;
    for (int zero = 0; zero < 2; zero++) {
        amg_builder *b = amg_builder_new();
        int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3, 5, 5));
        int w = weight(b, "w", 0, DIMS(4, 3, 1, 1));
        int bias = weight(b, "number", zero ? 0 : 1, DIMS(1));
        bias = amg_builder_node(b, AMG_OP_EXPAND, "e", IDS(bias, INTS(b, "four", 4)),
                                NO_ATTRS, NULL);
        amg_builder_output(b, amg_builder_node(b, AMG_OP_CONV, "conv", IDS(x, w, bias),
                                               NO_ATTRS, NULL));
        amg_graph *g = must_finish(b), *p = plan(g, B);
        assert_int_equal(p->nodes[0].num_inputs, zero ? 2 : 3);
        amg_graph_free(p);
        amg_graph_free(g);
    }
}

static void copies_disappear_and_dropout_stays(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int w = weight(b, "w", 0, DIMS(2, 2));
    int shared = amg_builder_node(b, AMG_OP_IDENTITY, "i", IDS(w), NO_ATTRS, "w2");
    int y = op2(b, AMG_OP_MAT_MUL, x, w);
    y = amg_builder_node(b, AMG_OP_CAST, "c", IDS(y), ATTRS(amg_int("to", 1)), NULL);
    y = amg_builder_node(b, AMG_OP_DROPOUT, "d", IDS(y), NO_ATTRS, NULL);
    y = op2(b, AMG_OP_MAT_MUL, y, shared);
    y = amg_builder_node(b, AMG_OP_IDENTITY, "last", IDS(y), NO_ATTRS, "logits");
    amg_builder_output(b, y);
    amg_builder_node(b, AMG_OP_TANH, "dead", IDS(x), NO_ATTRS, NULL);
    amg_graph *g = must_finish(b);
    amg_graph *p = plan(g, 2);
    assert_int_equal(p->num_nodes, 3);
    assert_int_equal(p->nodes[0].op, AMG_OP_MAT_MUL);
    assert_int_equal(p->nodes[1].op, AMG_OP_DROPOUT);
    assert_int_equal(p->nodes[2].op, AMG_OP_MAT_MUL);
    assert_int_equal(p->nodes[0].inputs[1], p->nodes[2].inputs[1]);
    assert_string_equal(p->values[p->outputs[0]].name, "logits");
    amg_graph_free(p);
    amg_graph_free(g);
}

static void an_output_that_copies_the_input_keeps_its_node(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int y = amg_builder_node(b, AMG_OP_RELU, "r", IDS(x), NO_ATTRS, "y");
    amg_builder_output(b, y);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_IDENTITY, "i", IDS(y), NO_ATTRS, "z"));
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_IDENTITY, "j", IDS(x), NO_ATTRS, "q"));
    amg_graph *g = must_finish(b);
    amg_graph *p = plan(g, 2);
    assert_string_equal(p->values[p->outputs[0]].name, "y");
    assert_string_equal(p->values[p->outputs[1]].name, "z");
    assert_string_equal(p->values[p->outputs[2]].name, "q");
    amg_graph_free(p);
    amg_graph_free(g);
}

static void a_transposed_weight_trains_once_folded(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int w = weight(b, "w", 0, DIMS(3, 2));
    int t = amg_builder_node(b, AMG_OP_TRANSPOSE, "t", IDS(w), NO_ATTRS, "wt");
    amg_builder_output(b, op2(b, AMG_OP_GEMM, x, t));
    amg_graph *g = must_finish(b);
    assert_int_equal(named(g, "w")->role, AMG_ROLE_CONSTANT);
    amg_graph *p = plan(g, 4);
    assert_int_equal(named(p, "wt")->role, AMG_ROLE_TRAINABLE);
    assert_true(((const float *)named(p, "wt")->data.data)[1] == 2);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* A block that runs twice moves its weight twice: one weight trains. Another one, equal
 * to the bit, stays one of its own, and so does the same one moved elsewhere. */
static void a_weight_moved_alike_is_one_weight(void **state)
{
    (void)state;
    static const char *const names[] = {"u0", "u1", "u2", "u3"};
    amg_builder *b = amg_builder_new();
    int y = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2, 2, 2));
    int w = weight(b, "w", 0, DIMS(2)), v = weight(b, "v", 0, DIMS(2));
    int inner[] = {INTS(b, "a0", 1, 2), INTS(b, "a1", 1, 2), INTS(b, "a2", 1, 2),
                   INTS(b, "a3", 0, 1)};
    y = op2(b, AMG_OP_CONV, y, weight(b, "conv", 0, DIMS(2, 2, 1, 1)));
    for (int i = 0; i < 4; i++) {
        int moved = amg_builder_node(b, AMG_OP_UNSQUEEZE, "u",
                                     IDS(i == 2 ? v : w, inner[i]), NO_ATTRS, names[i]);
        y = op2(b, AMG_OP_MUL, y, moved);
    }
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b), *p = plan(g, 4);
    assert_int_equal(p->num_nodes, 5);
    assert_int_equal(amg_graph_num_trainable(p), 4 + 3 * 2);
    assert_int_equal(p->nodes[1].inputs[1], p->nodes[2].inputs[1]);
    assert_int_not_equal(p->nodes[1].inputs[1], p->nodes[3].inputs[1]);
    assert_int_not_equal(p->nodes[1].inputs[1], p->nodes[4].inputs[1]);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void absent_weights_stay_absent(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int w = amg_builder_param_absent(b, "w", AMG_F32, DIMS(2, 5));
    amg_builder_output(b, op2(b, AMG_OP_MAT_MUL, x, w));
    amg_graph *g = must_finish(b);
    amg_graph *p = plan(g, 4);
    assert_false(p->has_weights);
    assert_dims(&p->values[p->outputs[0]], DIMS(4, 5));
    amg_graph_free(p);
    amg_graph_free(g);
}

static void an_absent_constant_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int mean = amg_builder_param_absent(b, "mean", AMG_F32, DIMS(2));
    amg_builder_output(b, op2(b, AMG_OP_SUB, x, mean));
    amg_graph *g = must_finish(b), *p = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, B, &p, &err), AMG_INVALID);
    assert_null(p);
    assert_string_equal(err.where, "mean");
    amg_graph_free(g);
}

static void a_shape_that_depends_on_data_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 4));
    int s =
        amg_builder_node(b, AMG_OP_CAST, "cast", IDS(x), ATTRS(amg_int("to", 7)), NULL);
    s = op2(b, AMG_OP_RESHAPE, s, INTS(b, "flat", -1));
    int y = amg_builder_node(b, AMG_OP_RESHAPE, "bad", IDS(x, s), NO_ATTRS, NULL);
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b), *p = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, 2, &p, &err), AMG_UNSUPPORTED);
    assert_null(p);
    assert_string_equal(err.where, "node \"bad\" (Reshape)");
    assert_non_null(strstr(err.what, "depends on data"));
    amg_graph_free(g);
}

static void a_batch_that_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3));
    int t = INTS(b, "s", -1, 4);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_RESHAPE, "fours", IDS(x, t), NO_ATTRS, NULL));
    amg_graph *g = must_finish(b), *p = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, 2, &p, &err), AMG_MISMATCH);
    assert_null(p);
    assert_string_equal(err.where, "node \"fours\" (Reshape)");
    p = plan(g, 8);
    assert_dims(&p->values[p->outputs[0]], DIMS(6, 4));
    amg_graph_free(p);
    amg_graph_free(g);
}

static void a_batch_below_one_is_refused(void **state)
{
    (void)state;
    amg_graph *g = exported_view(), *p = NULL;
    assert_int_equal(amg_graph_plan_batch(g, 0, &p, NULL), AMG_INVALID);
    assert_int_equal(amg_graph_plan_batch(g, -2, &p, NULL), AMG_INVALID);
    assert_null(p);
    amg_graph_free(g);
}

static void every_failing_allocation_is_one_clean_error(void **state)
{
    (void)state;
    amg_graph *g = exported_view();
    int failures = 0;
    for (long n = 1;; n++) {
        long countdown = n;
        amg_graph *p = NULL;
        amg_alloc_fail_after(&countdown);
        amg_status s = amg_graph_plan_batch(g, 3, &p, NULL);
        amg_alloc_fail_after(NULL);
        if (s == AMG_OK) {
            amg_graph_free(p);
            break;
        }
        assert_int_equal(s, AMG_NO_MEMORY);
        assert_null(p);
        failures++;
    }
    assert_true(failures > 10);
    amg_graph_free(g);
}

/* A zero state in the batch's shape, which two sub-networks spell out alike: each keeps
 * its own. */
static void equal_constants_of_two_networks_stay_two(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    const int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 4));
    for (int i = 0; i < 2; i++) {
        const char *const names[2][6] = {{"a0", "s0", "t0", "c0", "z0", "y0"},
                                         {"a1", "s1", "t1", "c1", "z1", "y1"}};
        const char *const *name = names[i];
        const amg_attr end = amg_int("end", 1), axis = amg_int("axis", 0);
        const int a = amg_builder_node(b, AMG_OP_RELU, "", IDS(x), NO_ATTRS, name[0]);
        const int s = amg_builder_node(b, AMG_OP_SHAPE, "", IDS(a), &end, 1, name[1]);
        const int four = ints(b, name[2], DIMS(4));
        const int c =
            amg_builder_node(b, AMG_OP_CONCAT, "", IDS(s, four), &axis, 1, name[3]);
        const int z = amg_builder_node(b, AMG_OP_CONSTANT_OF_SHAPE, "", IDS(c),
                                       NO_ATTRS, name[4]);
        amg_builder_output(
            b, amg_builder_node(b, AMG_OP_ADD, "", IDS(a, z), NO_ATTRS, name[5]));
    }
    amg_graph *g = must_finish(b), *planned = NULL;
    int owner[16];
    assert_int_equal(amg_graph_plan_batch(g, 3, &planned, NULL), AMG_OK);
    assert_int_equal(planned->num_nodes, 4);
    assert_int_equal(amg_graph_subnetworks(planned, owner, NULL), AMG_OK);
    amg_graph_free(planned);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_computed),
        cmocka_unit_test(elements_are_moved),
        cmocka_unit_test(comparisons_and_logic_are_folded),
        cmocka_unit_test(slices_take_the_elements_numpy_takes),
        cmocka_unit_test(constants_are_made),
        cmocka_unit_test(floats_keep_single_precision),
        cmocka_unit_test(functions_of_a_number_are_folded),
        cmocka_unit_test(a_table_that_a_function_makes_stays_computed),
        cmocka_unit_test(arithmetic_on_a_weight_is_not_folded),
        cmocka_unit_test(a_division_by_zero_is_left_alone),
        cmocka_unit_test(shape_arithmetic_folds_for_a_planned_batch),
        cmocka_unit_test(shape_arithmetic_folds_with_the_batch_symbolic),
        cmocka_unit_test(a_batch_baked_into_a_reshape_follows_the_plan),
        cmocka_unit_test(a_batch_baked_in_where_rows_are_joined_follows_the_plan),
        cmocka_unit_test(a_batch_that_is_not_first_stays_where_it_is),
        cmocka_unit_test(a_merged_batch_is_known_once_planned),
        cmocka_unit_test(arithmetic_on_the_batch_folds_once_it_is_a_number),
        cmocka_unit_test(shapes_with_the_batch_in_them_are_known),
        cmocka_unit_test(arithmetic_that_the_batch_decides_waits_for_it),
        cmocka_unit_test(zeros_as_a_first_state_are_left_out),
        cmocka_unit_test(zeros_of_a_baked_batch_are_left_out),
        cmocka_unit_test(zeros_as_a_bias_are_left_out),
        cmocka_unit_test(copies_disappear_and_dropout_stays),
        cmocka_unit_test(an_output_that_copies_the_input_keeps_its_node),
        cmocka_unit_test(a_transposed_weight_trains_once_folded),
        cmocka_unit_test(a_weight_moved_alike_is_one_weight),
        cmocka_unit_test(absent_weights_stay_absent),
        cmocka_unit_test(an_absent_constant_is_refused),
        cmocka_unit_test(a_shape_that_depends_on_data_is_refused),
        cmocka_unit_test(a_batch_that_does_not_fit_is_refused_by_name),
        cmocka_unit_test(a_batch_below_one_is_refused),
        cmocka_unit_test(equal_constants_of_two_networks_stay_two),
        cmocka_unit_test(every_failing_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
