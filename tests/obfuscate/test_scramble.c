/* Tests of obfuscate/scramble: opaque names, uniform order, the same function. */
#include "arch_fixture.h"

#include "base/alloc.h"
#include "graph/onnx_graph.h"
#include "obfuscate/scramble.h"

static amg_graph *scramble(unsigned secret, const amg_graph *g, const char **names)
{
    amg_keystream *k = numbered_stream(secret, AMG_PURPOSE_NAMES);
    amg_graph *out = NULL;
    amg_error err = {0};
    if (amg_scramble(k, g, &out, names, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_keystream_free(k);
    return out;
}

static bool is_numbered(const char *name, char prefix)
{
    return name[0] == prefix && name[1] &&
           strspn(name + 1, "0123456789") == strlen(name + 1);
}

static void names_are_opaque_and_of_one_length(void **state)
{
    (void)state;
    amg_graph *g = zoo("mobilenet_v2");
    const char **names = calloc((size_t)g->num_values, sizeof *names);
    amg_graph *s = scramble(1, g, names);
    size_t length[2] = {0};
    const char *last = "";
    for (int v = 0; v < s->num_values; v++) {
        const amg_value *val = &s->values[v];
        bool param = val->kind == AMG_VALUE_PARAM;
        if (val->kind == AMG_VALUE_INPUT || v == s->outputs[0]) continue;
        assert_true(is_numbered(val->name, param ? 'p' : 'v'));
        if (length[param]) assert_int_equal(strlen(val->name), length[param]);
        length[param] = strlen(val->name);
        if (param) { /* they stand in the order of their names */
            assert_true(strcmp(last, val->name) < 0);
            last = val->name;
        }
    }
    assert_string_equal(s->values[s->inputs[0]].name, "x");
    assert_string_equal(s->values[s->outputs[0]].name, "h0");
    for (int n = 0; n < s->num_nodes; n++) assert_string_equal(s->nodes[n].name, "");
    amg_graph_free(s);
    free(names);
    amg_graph_free(g);
}

/* 101 parameters: p000 to p100. Two digits would put p100 before p11. */
static void a_hundred_and_one_parameters_have_three_digits(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 2});
    for (int i = 0; i < 101; i++) {
        char name[16];
        amg_tensor t = {.dtype = AMG_F32, .rank = 2, .dims = {2, 2}};
        snprintf(name, sizeof name, "w%d", i);
        x = amg_builder_node(b, AMG_OP_GEMM, name,
                             (int[]){x, amg_builder_param(b, name, &t)}, 2, NULL, 0,
                             NULL);
    }
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    const char **names = calloc((size_t)g->num_values, sizeof *names);
    amg_graph *s = scramble(1, g, names);
    assert_true(amg_graph_find_value(s, "p000") >= 0);
    assert_true(amg_graph_find_value(s, "p100") >= 0);
    amg_graph_free(s);
    free(names);
    amg_graph_free(g);
}

static void the_function_and_the_weights_stay(void **state)
{
    (void)state;
    const char *models[] = {"lenet", "resnet18", "densenet121"};
    for (int m = 0; m < 3; m++) {
        amg_graph *g = zoo(models[m]);
        const char **names = calloc((size_t)g->num_values, sizeof *names);
        amg_graph *s = scramble(2, g, names);
        assert_true(same_structure(g, s));
        for (int v = 0; v < g->num_values; v++) {
            const amg_value *own = &g->values[v];
            int w = amg_graph_find_value(s, names[v]);
            assert_true(w >= 0);
            const amg_value *new = &s->values[w];
            assert_int_equal(own->kind, new->kind);
            assert_int_equal(own->role, new->role);
            assert_true(own->data.size_bytes == new->data.size_bytes);
            if (own->kind == AMG_VALUE_PARAM)
                assert_memory_equal(own->data.data, new->data.data,
                                    own->data.size_bytes);
        }
        amg_graph_free(s);
        free(names);
        amg_graph_free(g);
    }
}

static void same_key_same_order_and_another_key_another(void **state)
{
    (void)state;
    amg_graph *g = zoo("lenet");
    const char *a[64], *b[64], *c[64];
    amg_graph *x = scramble(1, g, a), *y = scramble(1, g, b), *z = scramble(2, g, c);
    int differ = 0;
    for (int v = 0; v < g->num_values; v++) {
        assert_string_equal(a[v], b[v]);
        differ += strcmp(a[v], c[v]) != 0;
    }
    assert_true(differ > 5);
    amg_graph_free(x);
    amg_graph_free(y);
    amg_graph_free(z);
    amg_graph_free(g);
}

/* Eight chains of one node each over one input: any order is topological. */
static amg_graph *fan(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 2});
    for (int i = 0; i < 8; i++) {
        char name[16];
        amg_tensor t = {.dtype = AMG_F32, .rank = 2, .dims = {2, 2}};
        snprintf(name, sizeof name, "w%d", i);
        int w = amg_builder_param(b, name, &t);
        snprintf(name, sizeof name, "y%d", i);
        int y = amg_builder_node(b, AMG_OP_GEMM, name, (int[]){x, w}, 2, NULL, 0, name);
        snprintf(name, sizeof name, "z%d", i);
        amg_builder_output(
            b, amg_builder_node(b, AMG_OP_RELU, name, &y, 1, NULL, 0, name));
    }
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    return g;
}

/* Chi-square of 8 places over 4000 secrets: 7 degrees of freedom, 29.9 is exceeded once
 * in 10^4 by chance. Secrets are fixed, so this cannot flicker. */
static void the_order_of_parameters_and_nodes_is_uniform(void **state)
{
    (void)state;
    enum { SECRETS = 4000 };
    amg_graph *g = fan();
    const char *names[64];
    int place_of_param[8] = {0}, first_node[8] = {0};
    for (unsigned i = 0; i < SECRETS; i++) {
        amg_graph *s = scramble(i, g, names);
        place_of_param[atoi(names[amg_graph_find_value(g, "w3")] + 1)]++;
        int w = s->nodes[0].inputs[1];
        for (int j = 0; j < 8; j++) {
            char name[16];
            snprintf(name, sizeof name, "w%d", j);
            if (!strcmp(names[amg_graph_find_value(g, name)], s->values[w].name))
                first_node[j]++;
        }
        amg_graph_free(s);
    }
    const int *counts[] = {place_of_param, first_node};
    for (int c = 0; c < 2; c++) {
        double chi = 0, expected = SECRETS / 8.0;
        int total = 0;
        for (int j = 0; j < 8; j++) {
            chi += (counts[c][j] - expected) * (counts[c][j] - expected) / expected;
            total += counts[c][j];
        }
        assert_int_equal(total, SECRETS);
        if (chi > 29.9) fail_msg("chi-square %g of count %d", chi, c);
    }
    amg_graph_free(g);
}

/* Relu6 twice, with bounds shared or not; Conv with its defaults written out or not. */
static amg_graph *relu6_net(bool shared, bool full)
{
    amg_builder *b = amg_builder_new();
    float bounds[2] = {0, 6};
    const int64_t ones[2] = {1, 1}, zeros[4] = {0};
    amg_tensor low = {.dtype = AMG_F32, .data = &bounds[0], .size_bytes = 4};
    amg_tensor high = {.dtype = AMG_F32, .data = &bounds[1], .size_bytes = 4};
    amg_tensor w = {.dtype = AMG_F32, .rank = 4, .dims = {2, 1, 1, 1}};
    amg_attr attrs[] = {amg_ints("strides", 2, ones), amg_ints("pads", 4, zeros),
                        amg_ints("kernel_shape", 2, ones), amg_int("group", 1),
                        amg_ints("dilations", 2, ones)};
    int x = amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 1, 4, 4});
    x = amg_builder_node(b, AMG_OP_CONV, "c", (int[]){x, amg_builder_param(b, "w", &w)},
                         2, attrs, full ? 5 : 0, NULL);
    int in[3] = {x, amg_builder_param(b, "a", &low), amg_builder_param(b, "b", &high)};
    in[0] = amg_builder_node(b, AMG_OP_CLIP, "r", in, 3, NULL, 0, NULL);
    if (!shared) {
        in[1] = amg_builder_param(b, "c0", &low);
        in[2] = amg_builder_param(b, "d0", &high);
    }
    amg_builder_output(b, amg_builder_node(b, AMG_OP_CLIP, "s", in, 3, NULL, 0, NULL));
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    return g;
}

static void exporters_habits_do_not_show(void **state)
{
    (void)state;
    const char *names[32];
    amg_graph *a = relu6_net(true, false), *b = relu6_net(false, true);
    assert_false(same_structure(a, b));
    amg_graph *x = scramble(1, a, names), *y = scramble(1, b, names);
    assert_true(same_structure(x, y));
    assert_int_equal(x->num_values, y->num_values);
    for (int n = 0; n < x->num_nodes; n++) {
        assert_int_equal(x->nodes[n].num_attrs, y->nodes[n].num_attrs);
        for (int i = 0; i < x->nodes[n].num_attrs; i++)
            assert_string_equal(x->nodes[n].attrs[i].name, y->nodes[n].attrs[i].name);
    }
    amg_graph_free(x);
    amg_graph_free(y);
    amg_graph_free(a);
    amg_graph_free(b);
}

static void a_shared_weight_stays_one(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_tensor t = {.dtype = AMG_F32, .rank = 2, .dims = {2, 2}};
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 2});
    int w = amg_builder_param(b, "w", &t);
    x = amg_builder_node(b, AMG_OP_GEMM, "a", (int[]){x, w}, 2, NULL, 0, NULL);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "b", (int[]){x, w}, 2, NULL, 0, NULL));
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    const char *names[16];
    amg_graph *s = scramble(1, g, names);
    assert_int_equal(s->nodes[0].inputs[1], s->nodes[1].inputs[1]);
    amg_graph_free(s);
    amg_graph_free(g);
}

/* An LSTM of which only the last state is read, and a Split, both of whose parts are.
 */
static amg_graph *with_several_outputs(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, 3, (int64_t[]){AMG_DIM_BATCH, 5, 3});
    const int64_t turned[] = {1, 0, 2};
    x = amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", &x, 1,
                         (amg_attr[]){amg_ints("perm", 3, turned)}, 1, "turned");
    int64_t w_dims[] = {1, 16, 3}, r_dims[] = {1, 16, 4};
    amg_tensor w, r;
    float w_data[48] = {1}, r_data[64] = {2};
    assert_int_equal(amg_tensor_view(AMG_F32, 3, w_dims, w_data, &w, NULL), AMG_OK);
    assert_int_equal(amg_tensor_view(AMG_F32, 3, r_dims, r_data, &r, NULL), AMG_OK);
    int in[3] = {x, amg_builder_param(b, "w", &w), amg_builder_param(b, "r", &r)};
    int y[3], part[2];
    const char *outputs[3] = {"all", "last", "cell"};
    amg_builder_node_multi(b, AMG_OP_LSTM, "lstm", in, 3,
                           (amg_attr[]){amg_int("hidden_size", 4)}, 1, outputs, 3, y);
    amg_builder_node_multi(b, AMG_OP_SPLIT, "split", &y[1], 1,
                           (amg_attr[]){amg_int("axis", 2)}, 1, NULL, 2, part);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_MUL, "mul", part, 2, NULL, 0, "product"));
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

static void outputs_that_nothing_reads_have_no_name(void **state)
{
    (void)state;
    amg_graph *g = with_several_outputs(), *back = NULL;
    const char *names[16];
    uint8_t *bytes = NULL;
    size_t size = 0;
    amg_error err = {0};
    amg_graph *s = scramble(3, g, names);
    assert_string_equal(names[amg_graph_find_value(g, "all")], "");
    assert_string_equal(names[amg_graph_find_value(g, "cell")], "");
    assert_string_equal(names[amg_graph_find_value(g, "last")], "v1");
    assert_string_equal(names[amg_graph_find_value(g, "product")], "h0");
    assert_int_equal(s->num_nodes, 4);
    assert_int_equal(s->nodes[1].num_outputs, 2); /* "cell" is gone, "all" is absent */
    assert_int_equal(s->nodes[2].num_outputs, 2);
    /* The file shows no name that was made up for it. */
    assert_int_equal(amg_graph_pack_onnx(s, AMG_PACK_WHOLE, &bytes, &size, NULL),
                     AMG_OK);
    assert_null(memmem(bytes, size, "_out", 4));
    if (amg_graph_parse_onnx(bytes, size, "job", &back, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_true(same_structure(s, back));
    amg_free(bytes);
    amg_graph_free(back);
    amg_graph_free(s);
    amg_graph_free(g);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    amg_graph *g = fan();
    amg_keystream *k = numbered_stream(1, AMG_PURPOSE_NAMES);
    long n = 0;
    for (amg_status st = AMG_NO_MEMORY; st; n++) {
        amg_graph *out = NULL;
        const char *names[64];
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        st = amg_scramble(k, g, &out, names, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || (st == AMG_NO_MEMORY && !out));
        amg_graph_free(out);
    }
    assert_true(n > 10);
    amg_keystream_free(k);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_opaque_and_of_one_length),
        cmocka_unit_test(a_hundred_and_one_parameters_have_three_digits),
        cmocka_unit_test(the_function_and_the_weights_stay),
        cmocka_unit_test(same_key_same_order_and_another_key_another),
        cmocka_unit_test(the_order_of_parameters_and_nodes_is_uniform),
        cmocka_unit_test(exporters_habits_do_not_show),
        cmocka_unit_test(a_shared_weight_stays_one),
        cmocka_unit_test(outputs_that_nothing_reads_have_no_name),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
