/* Tests of obfuscate/arch_edit: every edit of every zoo model still is a network of the
 * same input and output. */
#include "arch_fixture.h"

#include "base/alloc.h"
#include "obfuscate/arch_edit.h"
#include "obfuscate/decoy_arch.h"

static amg_graph *apply(const amg_graph *g, const amg_arch_edit *edit)
{
    amg_graph *out = NULL;
    amg_error err = {0};
    if (amg_arch_apply(g, edit, &out, &err)) fail_msg("%s: %s", err.where, err.what);
    return out;
}

static amg_graph *copy(const amg_graph *g)
{
    return apply(g, &(amg_arch_edit){.serial = 1});
}

static void no_edit_is_a_copy_without_weights(void **state)
{
    (void)state;
    amg_graph *g = zoo("mobilenet_v2"), *c = copy(g);
    assert_true(same_structure(g, c));
    assert_true(g->has_weights);
    assert_false(c->has_weights);
    for (int v = 0; v < c->num_values; v++)
        if (c->values[v].kind == AMG_VALUE_PARAM)
            assert_int_equal(c->values[v].data.data != NULL,
                             c->values[v].role == AMG_ROLE_CONSTANT);
    amg_graph_free(c);
    amg_graph_free(g);
}

static void every_width_of_every_zoo_model_moves_up_and_back(void **state)
{
    (void)state;
    const char *const *names;
    int count = amg_zoo_names(&names);
    for (int m = 0; m < count; m++) {
        amg_graph *g = zoo(names[m]), *s = copy(g);
        amg_channels c;
        assert_int_equal(amg_channels_init(s, &c, NULL), AMG_OK);
        int64_t *width = calloc((size_t)c.num_groups, sizeof *width);
        int moved = 0;
        for (int i = 0; i < c.num_groups; i++)
            if (amg_channels_root(&c, i) == i && !c.frozen[i]) moved++;
        int step = moved > 40 ? 17 : 1, seen = 0;
        /* An LSTM's gates are brought into order by nodes until it is folded: see
         * test_sequence_widths. */
        assert_true(moved > 0 || !strcmp(names[m], "lstm"));
        for (int i = 0; i < c.num_groups; i++) {
            if (amg_channels_root(&c, i) != i || c.frozen[i] || seen++ % step) continue;
            memcpy(width, c.width, (size_t)c.num_groups * sizeof *width);
            width[i] = amg_decoy_ladder(width[i], true);
            amg_graph *up =
                apply(s, &(amg_arch_edit){.channels = &c, .width = width, .serial = 1});
            assert_plans(up, g, 10);
            assert_int_equal(same_structure(s, up), width[i] == c.width[i]);
            amg_channels d;
            assert_int_equal(amg_channels_init(up, &d, NULL), AMG_OK);
            assert_int_equal(d.num_groups, c.num_groups);
            memcpy(width, d.width, (size_t)d.num_groups * sizeof *width);
            if (d.width[i] != c.width[i]) width[i] = amg_decoy_ladder(width[i], false);
            amg_graph *back = apply(
                up, &(amg_arch_edit){.channels = &d, .width = width, .serial = 2});
            assert_true(same_structure(s, back));
            amg_channels_clear(&d);
            amg_graph_free(back);
            amg_graph_free(up);
        }
        free(width);
        amg_channels_clear(&c);
        amg_graph_free(s);
        amg_graph_free(g);
    }
}

static void every_kernel_that_can_grow_grows_and_shrinks_back(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int kernels; /* Convs of 3x3 or 5x5, from the papers */
    } models[] = {{"lenet", 2}, {"resnet18", 17}, {"mobilenet_v2", 18}, {"mlp", 0}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        amg_graph *g = zoo(models[m].name);
        int grown = 0;
        for (int n = 0; n < g->num_nodes; n++) {
            if (!amg_arch_kernel_can(g, n, 1)) continue;
            grown++;
            amg_graph *up = apply(
                g, &(amg_arch_edit){.kernel_node = n, .kernel_delta = 1, .serial = 1});
            assert_plans(up, g, 10);
            assert_false(same_structure(g, up));
            assert_true(amg_arch_kernel_can(up, n, -1));
            amg_graph *back = apply(
                up,
                &(amg_arch_edit){.kernel_node = n, .kernel_delta = -1, .serial = 2});
            assert_true(same_structure(g, back));
            amg_graph_free(back);
            amg_graph_free(up);
        }
        assert_int_equal(grown, models[m].kernels);
        amg_graph_free(g);
    }
}

/* w [3,3,3,3] read by two convolutions one behind the other, the second one with its
 * own padding. */
static amg_graph *unrolled(int64_t second_pad)
{
    amg_builder *b = amg_builder_new();
    amg_tensor t = {.dtype = AMG_F32, .rank = 4, .dims = {3, 3, 3, 3}};
    int x = amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 3, 8, 8});
    int w = amg_builder_param(b, "w", &t);
    for (int i = 0; i < 2; i++) {
        const int64_t p = i ? second_pad : 1, pads[4] = {1, 1, p, 1};
        amg_attr pad = amg_ints("pads", 4, pads);
        x = amg_builder_node(b, AMG_OP_CONV, i ? "b" : "a", (int[]){x, w}, 2, &pad, 1,
                             i ? "b" : "a");
    }
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    return g;
}

static void convolutions_of_one_weight_change_their_kernel_together(void **state)
{
    (void)state;
    amg_graph *g = unrolled(1);
    for (int node = 0; node < 2; node++) {
        assert_true(amg_arch_kernel_can(g, node, 1));
        amg_graph *wide = apply(
            g, &(amg_arch_edit){.kernel_node = node, .kernel_delta = 1, .serial = 1});
        for (int n = 0; n < 2; n++) {
            const amg_value *y = &wide->values[wide->nodes[n].outputs[0]];
            assert_int_equal(wide->values[wide->nodes[n].inputs[1]].dims[3], 5);
            assert_int_equal(amg_attr_find(&wide->nodes[n], "pads")->ints[2], 2);
            assert_int_equal(y->dims[2], 8);
        }
        amg_graph_free(wide);
    }
    amg_graph_free(g);
    g = unrolled(0); /* one of them cannot */
    assert_false(amg_arch_kernel_can(g, 0, 1));
    assert_false(amg_arch_kernel_can(g, 1, 1));
    amg_graph_free(g);
}

static void activations_change_as_one(void **state)
{
    (void)state;
    static const amg_op way[] = {AMG_OP_CLIP, AMG_OP_LEAKY_RELU, AMG_OP_RELU};
    amg_graph *g = zoo("resnet18"), *s = copy(g);
    assert_int_equal(amg_arch_activation(s), AMG_OP_RELU);
    for (int i = 0; i < 3; i++) {
        amg_graph *next =
            apply(s, &(amg_arch_edit){
                         .activation = true, .activation_op = way[i], .serial = 1 + i});
        assert_plans(next, g, 10);
        assert_int_equal(amg_arch_activation(next), way[i]);
        assert_int_equal(next->num_nodes, g->num_nodes);
        amg_graph_free(s);
        s = next;
    }
    assert_true(same_structure(g, s));
    amg_graph_free(s);
    amg_graph_free(g);
}

static amg_graph *two_activations(amg_op second, float alpha)
{
    amg_builder *b = amg_builder_new();
    amg_attr slope = amg_flt("alpha", alpha);
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 3});
    x = amg_builder_node(b, AMG_OP_RELU, "a", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, second, "b", &x, 1, &slope, second == AMG_OP_LEAKY_RELU,
                         NULL);
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    return g;
}

static void mixed_and_foreign_activations_are_not_of_the_vocabulary(void **state)
{
    (void)state;
    amg_graph *mixed = two_activations(AMG_OP_LEAKY_RELU, 0.01f);
    amg_graph *steep = two_activations(AMG_OP_LEAKY_RELU, 0.2f);
    assert_int_equal(amg_arch_activation(mixed), AMG_OP_COUNT);
    assert_int_equal(amg_arch_activation(steep), AMG_OP_RELU);
    amg_graph_free(mixed);
    amg_graph_free(steep);
}

/* Duplicating the i-th region and removing the i-th are each other's inverse. */
static void duplicate_and_remove_are_inverse_in_every_zoo_model(void **state)
{
    (void)state;
    const char *const *names;
    int count = amg_zoo_names(&names), total = 0;
    for (int m = 0; m < count; m++) {
        amg_graph *g = zoo(names[m]), *s = copy(g);
        amg_region *r = calloc((size_t)s->num_nodes + 1, sizeof *r);
        int n = amg_arch_regions(s, r), step = n > 6 ? 5 : 1;
        assert_true(n >= 0);
        total += n;
        for (int i = 0; i < n; i += step) {
            amg_graph *twice =
                apply(s, &(amg_arch_edit){.duplicate = &r[i], .serial = 1});
            assert_plans(twice, g, 10);
            assert_int_equal(twice->num_nodes,
                             s->num_nodes + r[i].last_node - r[i].first_node + 1);
            amg_region *t = calloc((size_t)twice->num_nodes + 1, sizeof *t);
            assert_int_equal(amg_arch_regions(twice, t), n);
            assert_true(t[i].repeated);
            amg_graph *back =
                apply(twice, &(amg_arch_edit){.remove = &t[i], .serial = 2});
            assert_true(same_structure(s, back));
            free(t);
            amg_graph_free(back);
            amg_graph_free(twice);
        }
        free(r);
        amg_graph_free(s);
        amg_graph_free(g);
    }
    assert_true(total > 20);
}

/* resnet18: the second block of each stage keeps its shape; in the first stage it
 * repeats the first. lenet has none. */
static void regions_are_the_blocks_that_keep_their_shape(void **state)
{
    (void)state;
    amg_graph *g = zoo("resnet18");
    amg_region r[200];
    assert_int_equal(amg_arch_regions(g, r), 4);
    assert_true(r[0].repeated);
    for (int i = 1; i < 4; i++) assert_false(r[i].repeated);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r[i].last_node - r[i].first_node + 1, 7);
        assert_int_equal(g->nodes[r[i].last_node].op, g->nodes[r[i].first_node - 1].op);
    }
    amg_graph_free(g);
    g = zoo("lenet");
    assert_int_equal(amg_arch_regions(g, r), 0);
    amg_graph_free(g);
}

static void a_copy_of_a_stretch_has_parameters_of_its_own(void **state)
{
    (void)state;
    amg_graph *g = zoo("resnet18");
    amg_region r[200];
    assert_int_equal(amg_arch_regions(g, r), 4);
    amg_graph *twice = apply(g, &(amg_arch_edit){.duplicate = &r[1], .serial = 5});
    int a = amg_graph_find_value(twice, "layer2.1.conv1.weight");
    int b = amg_graph_find_value(twice, "layer2.1.conv1.weight~5");
    assert_true(a >= 0 && b >= 0);
    for (int n = 0; n < twice->num_nodes; n++)
        for (int i = 0; i < twice->nodes[n].num_inputs; i++) {
            int v = twice->nodes[n].inputs[i];
            if (v == a) a = -2;
            if (v == b) b = -2;
        }
    assert_int_equal(a, -2);
    assert_int_equal(b, -2);
    amg_graph_free(twice);
    amg_graph_free(g);
}

static void a_node_of_two_outputs_is_copied_with_both(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 6}), y[2];
    amg_attr axis = amg_int("axis", 1);
    amg_builder_node_multi(b, AMG_OP_SPLIT, "split", &x, 1, &axis, 1, NULL, 2, y);
    int sub[2] = {y[1], y[0]};
    amg_builder_output(b,
                       amg_builder_node(b, AMG_OP_SUB, "sub", sub, 2, NULL, 0, NULL));
    amg_graph *g = NULL, *out = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    assert_int_equal(amg_arch_apply(g, &(amg_arch_edit){.serial = 1}, &out, NULL),
                     AMG_OK);
    assert_int_equal(out->num_nodes, 2);
    assert_int_equal(out->nodes[0].num_outputs, 2);
    assert_int_equal(out->nodes[1].inputs[0], out->nodes[0].outputs[1]);
    assert_int_equal(out->nodes[1].inputs[1], out->nodes[0].outputs[0]);
    amg_graph_free(out);
    amg_graph_free(g);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    amg_graph *g = zoo("lenet");
    long n = 0;
    for (amg_status st = AMG_NO_MEMORY; st; n++) {
        amg_graph *out = NULL;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        st = amg_arch_apply(g,
                            &(amg_arch_edit){.activation = true,
                                             .activation_op = AMG_OP_CLIP,
                                             .serial = 1},
                            &out, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || (st == AMG_NO_MEMORY && !out));
        amg_graph_free(out);
    }
    assert_true(n > 10);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_edit_is_a_copy_without_weights),
        cmocka_unit_test(every_width_of_every_zoo_model_moves_up_and_back),
        cmocka_unit_test(every_kernel_that_can_grow_grows_and_shrinks_back),
        cmocka_unit_test(convolutions_of_one_weight_change_their_kernel_together),
        cmocka_unit_test(activations_change_as_one),
        cmocka_unit_test(mixed_and_foreign_activations_are_not_of_the_vocabulary),
        cmocka_unit_test(duplicate_and_remove_are_inverse_in_every_zoo_model),
        cmocka_unit_test(regions_are_the_blocks_that_keep_their_shape),
        cmocka_unit_test(a_copy_of_a_stretch_has_parameters_of_its_own),
        cmocka_unit_test(a_node_of_two_outputs_is_copied_with_both),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
