/* Linear layers on sequences: what becomes Gemm, what stays, under which names. */
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static amg_graph *plan(const amg_graph *g, int64_t batch)
{
    amg_graph *p = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(g, batch, &p, &err))
        fail_msg("%s: %s", err.where, err.what);
    return p;
}

/* MatMul(x, W or its Transpose) [+ bias] over x of the given shape. */
typedef struct {
    amg_builder *b;
    int x, w, y;
} layer;

static int transposed(amg_builder *b, int w)
{
    return amg_builder_node(b, AMG_OP_TRANSPOSE, "t", IDS(w),
                            ATTRS(amg_ints("perm", 2, (int64_t[]){1, 0})), "wt");
}

static layer make(bool transpose, int rank, const int64_t *dims)
{
    layer l = {.b = amg_builder_new()};
    l.x = amg_builder_input(l.b, "x", AMG_F32, rank, dims);
    l.w = transpose ? weight(l.b, "w", 0, DIMS(6, 4)) : weight(l.b, "w", 0, DIMS(4, 6));
    int w = transpose ? transposed(l.b, l.w) : l.w;
    l.y = amg_builder_node(l.b, AMG_OP_MAT_MUL, "fc", IDS(l.x, w), NO_ATTRS, "product");
    return l;
}

static int add_bias(layer l, int rank, const int64_t *dims, bool first)
{
    int bias = weight(l.b, "bias", 0, rank, dims);
    return amg_builder_node(l.b, AMG_OP_ADD, "add",
                            first ? (int[]){bias, l.y} : (int[]){l.y, bias}, 2,
                            NO_ATTRS, "sum");
}

/* Reshape, Gemm, Reshape that give the output; returns the Gemm. */
static const amg_node *must_be_linear(const amg_graph *p, const char *output)
{
    assert_int_equal(p->num_nodes, 3);
    assert_int_equal(p->nodes[0].op, AMG_OP_RESHAPE);
    assert_int_equal(p->nodes[1].op, AMG_OP_GEMM);
    assert_int_equal(p->nodes[2].op, AMG_OP_RESHAPE);
    assert_string_equal(p->values[p->outputs[0]].name, output);
    assert_string_equal(p->values[p->nodes[1].inputs[1]].name, "w");
    assert_int_equal(p->values[p->nodes[1].inputs[1]].role, AMG_ROLE_TRAINABLE);
    return &p->nodes[1];
}

static void must_have_ints(const amg_value *v, int count, const int64_t *expected)
{
    assert_int_equal(v->dtype, AMG_I64);
    assert_dims(v, DIMS(count));
    assert_memory_equal(v->data.data, expected, (size_t)count * sizeof *expected);
}

static void a_linear_layer_on_a_sequence_trains_its_own_weight(void **state)
{
    (void)state;
    for (int transpose = 0; transpose < 2; transpose++)
        for (int bias = 0; bias < 3; bias++) {
            layer l = make(transpose, DIMS(B, 5, 4));
            int y = bias ? add_bias(l, DIMS(6), bias == 2) : l.y;
            amg_builder_output(l.b, y);
            amg_graph *g = must_finish(l.b), *p = plan(g, B), *q = plan(g, 3);
            const amg_node *gemm = must_be_linear(p, bias ? "sum" : "product");
            assert_int_equal(amg_attr_int(gemm, "transB", 0), transpose);
            assert_int_equal(gemm->num_inputs, bias ? 3 : 2);
            if (bias) assert_string_equal(p->values[gemm->inputs[2]].name, "bias");
            must_have_ints(&p->values[p->nodes[0].inputs[1]], DIMS(-1, 4));
            must_have_ints(&p->values[p->nodes[2].inputs[1]], DIMS(-1, 5, 6));
            assert_dims(&p->values[gemm->outputs[0]], DIMS(5 * B, 6));
            assert_dims(&p->values[p->outputs[0]], DIMS(B, 5, 6));
            must_be_linear(q, bias ? "sum" : "product");
            assert_dims(&q->values[q->outputs[0]], DIMS(3, 5, 6));
            amg_graph_free(q);
            amg_graph_free(p);
            amg_graph_free(g);
        }
}

static void the_batch_may_stand_anywhere(void **state)
{
    (void)state;
    layer l = {.b = amg_builder_new()};
    l.x = amg_builder_input(l.b, "x", AMG_F32, DIMS(B, 5, 4));
    int turned =
        amg_builder_node(l.b, AMG_OP_TRANSPOSE, "turn", IDS(l.x),
                         ATTRS(amg_ints("perm", 3, (int64_t[]){1, 0, 2})), NULL);
    int w = transposed(l.b, weight(l.b, "w", 0, DIMS(6, 4)));
    l.y = amg_builder_node(l.b, AMG_OP_MAT_MUL, "fc", IDS(turned, w), NO_ATTRS, "y");
    amg_builder_output(l.b, l.y);
    amg_graph *g = must_finish(l.b), *p = plan(g, B), *q = plan(p, 2);
    assert_int_equal(p->num_nodes, 4);
    must_have_ints(&p->values[p->nodes[3].inputs[1]], DIMS(5, -1, 6));
    assert_dims(&p->values[p->outputs[0]], DIMS(5, B, 6));
    assert_dims(&q->values[q->outputs[0]], DIMS(5, 2, 6));
    amg_graph_free(q);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* As a recurrent layer begins that an exporter unrolls: [1,N,4], one step. */
static void a_dim_of_one_before_the_batch_is_no_batch(void **state)
{
    (void)state;
    layer l = {.b = amg_builder_new()};
    l.x = amg_builder_input(l.b, "x", AMG_F32, DIMS(B, 4));
    int axis = INTS(l.b, "axis", 0);
    int step =
        amg_builder_node(l.b, AMG_OP_UNSQUEEZE, "step", IDS(l.x, axis), NO_ATTRS, NULL);
    l.y = amg_builder_node(l.b, AMG_OP_MAT_MUL, "fc",
                           IDS(step, weight(l.b, "w", 0, DIMS(4, 6))), NO_ATTRS, "y");
    amg_builder_output(l.b, l.y);
    amg_graph *g = must_finish(l.b);
    for (int64_t batch = 1; batch < 4; batch++) {
        amg_graph *p = plan(g, batch);
        assert_dims(named(p, "y"), DIMS(1, batch, 6));
        assert_int_equal(named(p, "w")->role, AMG_ROLE_TRAINABLE);
        amg_graph_free(p);
    }
    amg_graph_free(g);
}

static void a_flat_input_needs_no_reshape(void **state)
{
    (void)state;
    layer l = make(true, DIMS(B, 4));
    amg_builder_output(l.b, add_bias(l, DIMS(6), false));
    amg_graph *g = must_finish(l.b), *p = plan(g, B);
    assert_int_equal(p->num_nodes, 1);
    assert_int_equal(p->nodes[0].op, AMG_OP_GEMM);
    assert_int_equal(amg_attr_int(&p->nodes[0], "transB", 0), 1);
    assert_string_equal(p->values[p->nodes[0].inputs[1]].name, "w");
    assert_string_equal(p->values[p->nodes[0].inputs[2]].name, "bias");
    amg_graph_free(p);
    amg_graph_free(g);
    l = make(false, DIMS(B, 4)); /* the engine has this one as it is */
    amg_builder_output(l.b, add_bias(l, DIMS(6), false));
    g = must_finish(l.b);
    p = plan(g, B);
    assert_int_equal(p->num_nodes, 2);
    assert_int_equal(p->nodes[0].op, AMG_OP_MAT_MUL);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* A sum that is no bias of this layer alone stays an Add. */
static void only_a_vector_for_one_reader_is_a_bias(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        layer l = make(true, DIMS(B, 5, 4));
        int y = i == 0   ? add_bias(l, DIMS(5, 6), false)
                : i == 1 ? add_bias(l, DIMS(1), false)
                         : add_bias(l, DIMS(6), false);
        amg_builder_output(l.b, y);
        if (i == 2) amg_builder_output(l.b, l.y); /* the product is read, too */
        amg_graph *g = must_finish(l.b), *p = plan(g, B);
        assert_int_equal(p->num_nodes, 4);
        assert_int_equal(p->nodes[1].num_inputs, 2);
        assert_int_equal(p->nodes[3].op, AMG_OP_ADD);
        amg_graph_free(p);
        amg_graph_free(g);
    }
}

static void tied_weights_stay_one_parameter(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_I64, DIMS(B, 5));
    int w = weight(b, "w", 0, DIMS(11, 4));
    int h = amg_builder_node(b, AMG_OP_GATHER, "embedding", IDS(w, x), NO_ATTRS, NULL);
    h = amg_builder_node(b, AMG_OP_TANH, "tanh", IDS(h), NO_ATTRS, NULL);
    amg_builder_output(b, amg_builder_node(b, AMG_OP_MAT_MUL, "fc",
                                           IDS(h, transposed(b, w)), NO_ATTRS, "y"));
    amg_graph *g = must_finish(b), *p = plan(g, B);
    int trainables = 0;
    for (int v = 0; v < p->num_values; v++)
        trainables += p->values[v].kind == AMG_VALUE_PARAM &&
                      p->values[v].role == AMG_ROLE_TRAINABLE;
    assert_int_equal(trainables, 1);
    assert_dims(&p->values[p->outputs[0]], DIMS(B, 5, 11));
    amg_graph_free(p);
    amg_graph_free(g);
}

static void products_of_activations_stay(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5, 5));
    int y = amg_builder_node(b, AMG_OP_MAT_MUL, "scores", IDS(x, x), NO_ATTRS, NULL);
    int w = weight(b, "stack", 0, DIMS(3, 5, 5)); /* no 2-d parameter */
    int z = amg_builder_node(b, AMG_OP_UNSQUEEZE, "one", IDS(y, INTS(b, "axes", 1)),
                             NO_ATTRS, NULL);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_MAT_MUL, "stacked", IDS(z, w), NO_ATTRS, NULL));
    amg_graph *g = must_finish(b), *p = plan(g, B);
    assert_int_equal(p->num_nodes, 3);
    assert_int_equal(p->nodes[0].op, AMG_OP_MAT_MUL);
    assert_int_equal(p->nodes[2].op, AMG_OP_MAT_MUL);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void names_that_are_taken_are_avoided(void **state)
{
    (void)state;
    layer l = make(true, DIMS(B, 5, 4));
    int other = weight(l.b, "product_gemm", 0, DIMS(6));
    amg_builder_output(
        l.b, amg_builder_node(l.b, AMG_OP_MUL, "mul", IDS(l.y, other), NO_ATTRS, "y"));
    amg_graph *g = must_finish(l.b), *p = plan(g, B);
    assert_true(amg_graph_find_value(p, "product_gemm_") >= 0);
    assert_int_equal(p->values[amg_graph_find_value(p, "product_gemm")].kind,
                     AMG_VALUE_PARAM);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void every_failing_allocation_is_one_clean_error(void **state)
{
    (void)state;
    layer l = make(true, DIMS(B, 5, 4));
    amg_builder_output(l.b, add_bias(l, DIMS(6), false));
    amg_graph *g = must_finish(l.b);
    long n = 0;
    for (amg_status s = AMG_NO_MEMORY; s; n++) {
        amg_graph *p = NULL;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        s = amg_graph_plan_batch(g, 2, &p, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(s == AMG_OK || (s == AMG_NO_MEMORY && !p));
        amg_graph_free(p);
    }
    assert_true(n > 30);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_linear_layer_on_a_sequence_trains_its_own_weight),
        cmocka_unit_test(the_batch_may_stand_anywhere),
        cmocka_unit_test(a_dim_of_one_before_the_batch_is_no_batch),
        cmocka_unit_test(a_flat_input_needs_no_reshape),
        cmocka_unit_test(only_a_vector_for_one_reader_is_a_bias),
        cmocka_unit_test(tied_weights_stay_one_parameter),
        cmocka_unit_test(products_of_activations_stay),
        cmocka_unit_test(names_that_are_taken_are_avoided),
        cmocka_unit_test(every_failing_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
