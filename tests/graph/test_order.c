/* Sub-networks and canonical orders: a function of structure, whatever the names and
 * the file order. */
#include <stdio.h>

#include "graph_fixture.h"

/* A residual network with a concat; `names` is mixed into every name, `late` moves the
 * second branch's nodes and all parameters to other places of the file. */
static amg_graph *network(const char *names, bool late)
{
    char n[8][32];
    amg_builder *b = amg_builder_new();
    for (int i = 0; i < 8; i++)
        snprintf(n[i], sizeof n[i], "%s%d", names, late ? 9 - i : i);
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 4));
    int w[4];
    for (int k = 0; k < 4; k++) {
        int i = late ? 3 - k : k;
        w[i] = weight(b, n[i], (float)i, DIMS(i < 3 ? 4 : 12, 4));
    }
    int left, right, third;
    if (!late) {
        left = amg_builder_node(b, AMG_OP_MAT_MUL, n[0], IDS(x, w[0]), NO_ATTRS, NULL);
        left = amg_builder_node(b, AMG_OP_TANH, n[1], IDS(left), NO_ATTRS, NULL);
    }
    right = amg_builder_node(b, AMG_OP_MAT_MUL, n[2], IDS(x, w[1]), NO_ATTRS, NULL);
    third = amg_builder_node(b, AMG_OP_MAT_MUL, n[3], IDS(right, w[2]), NO_ATTRS, NULL);
    third = amg_builder_node(b, AMG_OP_SIGMOID, n[4], IDS(third), NO_ATTRS, NULL);
    if (late) {
        left = amg_builder_node(b, AMG_OP_MAT_MUL, n[0], IDS(x, w[0]), NO_ATTRS, NULL);
        left = amg_builder_node(b, AMG_OP_TANH, n[1], IDS(left), NO_ATTRS, NULL);
    }
    int all = amg_builder_node(b, AMG_OP_CONCAT, n[5], IDS(left, right, third),
                               ATTRS(amg_int("axis", 1)), NULL);
    int y = amg_builder_node(b, AMG_OP_MAT_MUL, n[6], IDS(all, w[3]), NO_ATTRS, NULL);
    y = amg_builder_node(b, AMG_OP_ADD, n[7], IDS(y, left), NO_ATTRS, NULL);
    amg_builder_output(b, y);
    return must_finish(b);
}

static void the_order_is_depth_first_with_inputs_in_turn(void **state)
{
    (void)state;
    amg_graph *g = network("a", true);
    int order[16];
    static const amg_op expected[] = {AMG_OP_MAT_MUL, AMG_OP_TANH,    AMG_OP_MAT_MUL,
                                      AMG_OP_MAT_MUL, AMG_OP_SIGMOID, AMG_OP_CONCAT,
                                      AMG_OP_MAT_MUL, AMG_OP_ADD};
    assert_int_equal(g->num_nodes, 8);
    assert_int_equal(amg_graph_canonical_order(g, 0, order), 8);
    for (int i = 0; i < 8; i++) assert_int_equal(g->nodes[order[i]].op, expected[i]);
    amg_graph_free(g);
}

static void names_and_file_order_change_nothing(void **state)
{
    (void)state;
    amg_graph *a = network("a", false), *z = network("z", true);
    int oa[16], oz[16], pa[64], pz[64];
    /* The two files do differ. */
    assert_int_not_equal(
        a->nodes[0].op == AMG_OP_MAT_MUL && a->nodes[1].op == AMG_OP_TANH,
        z->nodes[0].op == AMG_OP_MAT_MUL && z->nodes[1].op == AMG_OP_TANH);
    assert_int_equal(amg_graph_canonical_order(a, 0, oa),
                     amg_graph_canonical_order(z, 0, oz));
    for (int i = 0; i < 8; i++)
        assert_int_equal(a->nodes[oa[i]].op, z->nodes[oz[i]].op);
    assert_int_equal(amg_graph_canonical_params(a, 0, pa), 4);
    assert_int_equal(amg_graph_canonical_params(z, 0, pz), 4);
    for (int i = 0; i < 4; i++) {
        /* Each weight counts up from its own number. */
        const amg_value *va = &a->values[pa[i]], *vz = &z->values[pz[i]];
        assert_int_equal(va->data.size_bytes, vz->data.size_bytes);
        assert_memory_equal(va->data.data, vz->data.data, va->data.size_bytes);
        assert_true(*(const float *)va->data.data == (float)i);
    }
    amg_graph_free(a);
    amg_graph_free(z);
}

static void producers_come_before_consumers(void **state)
{
    (void)state;
    amg_graph *g = network("a", true);
    int order[16];
    int n = amg_graph_canonical_order(g, 0, order);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < g->nodes[order[i]].num_inputs; k++) {
            int producer = g->values[g->nodes[order[i]].inputs[k]].producer, at = -1;
            for (int j = 0; j < i; j++)
                if (order[j] == producer) at = j;
            assert_true(producer < 0 || at >= 0);
        }
    amg_graph_free(g);
}

static void a_very_deep_network_needs_no_stack(void **state)
{
    (void)state;
    enum { DEPTH = 20000 };
    amg_builder *b = amg_builder_new();
    int y = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3));
    for (int i = 0; i < DEPTH; i++)
        y = amg_builder_node(b, AMG_OP_RELU, "r", IDS(y), NO_ATTRS, NULL);
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    int *order = amg_malloc(DEPTH * sizeof *order);
    assert_int_equal(amg_graph_canonical_order(g, 0, order), DEPTH);
    for (int i = 0; i < DEPTH; i++) assert_int_equal(order[i], i);
    amg_free(order);
    amg_graph_free(g);
}

/* Two heads over one input; their nodes interleave. */
static amg_builder *two_heads(int *left, int *right)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 2));
    int l = amg_builder_node(b, AMG_OP_RELU, "l0", IDS(x), NO_ATTRS, NULL);
    int r = amg_builder_node(b, AMG_OP_TANH, "r0", IDS(x), NO_ATTRS, NULL);
    *left = amg_builder_node(b, AMG_OP_RELU, "l1", IDS(l), NO_ATTRS, NULL);
    *right = amg_builder_node(b, AMG_OP_TANH, "r1", IDS(r), NO_ATTRS, NULL);
    return b;
}

static void subnetworks_are_told_apart(void **state)
{
    (void)state;
    int l, r, owner[4] = {9, 9, 9, 9};
    amg_builder *b = two_heads(&l, &r);
    amg_builder_output(b, r);
    amg_builder_output(b, l);
    amg_graph *g = must_finish(b);
    assert_int_equal(amg_graph_subnetworks(g, owner, NULL), AMG_OK);
    assert_int_equal(owner[0], 1);
    assert_int_equal(owner[1], 0);
    assert_int_equal(owner[2], 1);
    assert_int_equal(owner[3], 0);
    amg_graph_free(g);
}

static void refuses(amg_builder *b, const char *where, const char *what)
{
    int owner[16];
    amg_error err = {0};
    amg_graph *g = must_finish(b);
    assert_int_equal(amg_graph_subnetworks(g, owner, &err), AMG_INVALID);
    assert_non_null(strstr(err.where, where));
    assert_non_null(strstr(err.what, what));
    amg_graph_free(g);
}

static void an_edge_between_subnetworks_is_found(void **state)
{
    (void)state;
    int l, r;
    amg_builder *b = two_heads(&l, &r);
    r = amg_builder_node(b, AMG_OP_ADD, "r2", IDS(r, l), NO_ATTRS, NULL);
    amg_builder_output(b, l);
    amg_builder_output(b, r);
    refuses(b, "node \"l1\" (Relu)", "outputs 0 and 1");

    b = two_heads(&l, &r);
    r = amg_builder_node(b, AMG_OP_ADD, "r2", IDS(r, l), NO_ATTRS, NULL);
    amg_builder_output(b, r);
    amg_builder_output(b, l);
    refuses(b, "node \"l1\" (Relu)", "outputs 0 and 1");
}

static void a_node_that_reaches_no_output_is_found(void **state)
{
    (void)state;
    int l, r;
    amg_builder *b = two_heads(&l, &r);
    amg_builder_output(b, l);
    refuses(b, "node \"r0\" (Tanh)", "reaches no output");
}

static void a_parameter_of_two_subnetworks_is_found(void **state)
{
    (void)state;
    int l, r;
    amg_builder *b = two_heads(&l, &r);
    int w = weight(b, "both", 0, DIMS(2, 2));
    l = amg_builder_node(b, AMG_OP_MAT_MUL, "l2", IDS(l, w), NO_ATTRS, NULL);
    l = amg_builder_node(b, AMG_OP_MAT_MUL, "l3", IDS(l, w), NO_ATTRS, NULL);
    amg_builder_output(b, l);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_MAT_MUL, "r2", IDS(r, w), NO_ATTRS, NULL));
    refuses(b, "both", "two sub-networks");
}

static void parameters_are_listed_once_and_constants_never(void **state)
{
    (void)state;
    int l, r, params[32];
    amg_builder *b = two_heads(&l, &r);
    int w = weight(b, "w", 0, DIMS(2, 2)), s = weight(b, "s", 0, DIMS(1));
    l = amg_builder_node(b, AMG_OP_MAT_MUL, "l2", IDS(l, w), NO_ATTRS, NULL);
    l = amg_builder_node(b, AMG_OP_MAT_MUL, "l3", IDS(l, w), NO_ATTRS, NULL);
    l = amg_builder_node(b, AMG_OP_ADD, "l4", IDS(l, s), NO_ATTRS, NULL);
    amg_builder_output(b, l);
    amg_builder_output(b, r);
    amg_graph *g = must_finish(b);
    assert_int_equal(amg_graph_canonical_params(g, 0, params), 1);
    assert_string_equal(g->values[params[0]].name, "w");
    assert_int_equal(amg_graph_canonical_params(g, 1, params), 0);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_depth_first_with_inputs_in_turn),
        cmocka_unit_test(names_and_file_order_change_nothing),
        cmocka_unit_test(producers_come_before_consumers),
        cmocka_unit_test(a_very_deep_network_needs_no_stack),
        cmocka_unit_test(subnetworks_are_told_apart),
        cmocka_unit_test(an_edge_between_subnetworks_is_found),
        cmocka_unit_test(a_node_that_reaches_no_output_is_found),
        cmocka_unit_test(a_parameter_of_two_subnetworks_is_found),
        cmocka_unit_test(parameters_are_listed_once_and_constants_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
