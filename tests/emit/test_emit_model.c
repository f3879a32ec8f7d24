/* model.py and constants.safetensors as bytes: what the text says, which names it
 * refuses, and that the same graph gives the same text. What the text computes is
 * tests/interop/test_emit.py's business, as that needs PyTorch. */
#include "../graph/graph_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "emit/emit.h"
#include "emit/emit_ops.h"
#include "formats/safetensors.h"

/* ---- a folder for each test ---- */

static int make_folder(void **state)
{
    const char *root = getenv("TMPDIR");
    char *dir = malloc(4096);
    snprintf(dir, 4096, "%s/amg-test-XXXXXX", root ? root : "/tmp");
    *state = mkdtemp(dir);
    return *state == NULL;
}

static int remove_folder(void **state)
{
    amg_dir_remove(*state);
    free(*state);
    return 0;
}

/* The text of DIR/NAME, in one buffer. */
static const char *read_text(const char *dir, const char *name)
{
    static char text[1 << 16];
    char *path = amg_path_join(dir, name);
    amg_map map;
    assert_int_equal(amg_map_open(path, &map, NULL), AMG_OK);
    assert_true(map.size < sizeof text);
    memcpy(text, map.data, map.size);
    text[map.size] = 0;
    amg_map_close(&map);
    amg_free(path);
    return text;
}

static void must_emit(const char *dir, const amg_graph *g, const char *const *targets)
{
    amg_error err = {0};
    if (amg_emit_model(dir, g, targets, NULL, false, &err))
        fail_msg("%s: %s", err.where, err.what);
}

static void assert_has(const char *text, const char *part)
{
    assert_non_null(strstr(text, part));
}

static void assert_lacks(const char *text, const char *part)
{
    assert_null(strstr(text, part));
}

/* ---- graphs ---- */

/* x [N,6] -> flat -> select [N,4] -> [N,2,2] as a job has it; returns the stream. */
static int add_select(amg_builder *b, int x, const char *prefix)
{
    char names[6][16];
    static const char *const parts[] = {"s", "i", "t", "va", "vb", "vc"};
    for (int i = 0; i < 6; i++)
        snprintf(names[i], sizeof names[i], "%s%s", parts[i], prefix);
    int flat = INTS(b, names[0], 0, -1), index = INTS(b, names[1], 5, 0, 3, 2);
    int shape = INTS(b, names[2], -1, 2, 2);
    int v = amg_builder_node(b, AMG_OP_RESHAPE, "", IDS(x, flat), NO_ATTRS, names[3]);
    v = amg_builder_node(b, AMG_OP_GATHER, "", IDS(v, index), ATTRS(amg_int("axis", 1)),
                         names[4]);
    return amg_builder_node(b, AMG_OP_RESHAPE, "", IDS(v, shape), NO_ATTRS, names[5]);
}

/* Two networks over x: select, Flatten, Gemm with class rows; the second has a Relu
 * more and no bias. */
static amg_graph *two_networks(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 2, 3));
    int w0 = weight(b, "p1", 1, DIMS(3, 4)), b0 = weight(b, "p0", 1, DIMS(3));
    int w1 = weight(b, "p2", 1, DIMS(3, 4));
    int u = add_select(b, x, "0"), v = add_select(b, x, "1");
    u = amg_builder_node(b, AMG_OP_FLATTEN, "", IDS(u), NO_ATTRS, "v1");
    v = amg_builder_node(b, AMG_OP_FLATTEN, "", IDS(v), NO_ATTRS, "v2");
    v = amg_builder_node(b, AMG_OP_RELU, "", IDS(v), NO_ATTRS, "v3");
    u = amg_builder_node(b, AMG_OP_GEMM, "", IDS(u, w0, b0),
                         ATTRS(amg_int("transB", 1)), "h0");
    v = amg_builder_node(b, AMG_OP_GEMM, "", IDS(v, w1), ATTRS(amg_int("transB", 1)),
                         "h1");
    amg_builder_output(b, u);
    amg_builder_output(b, v);
    return must_finish(b);
}

/* x -> Relu -> Gemm by the weight `param`, through values of given names. */
static amg_graph *named_network(const char *input, const char *param, const char *inner)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, input, AMG_F32, DIMS(AMG_DIM_BATCH, 4));
    int w = weight(b, param, 1, DIMS(4, 4));
    int v = amg_builder_node(b, AMG_OP_RELU, "", IDS(x), NO_ATTRS, inner);
    v = amg_builder_node(b, AMG_OP_GEMM, "", IDS(v, w), NO_ATTRS, "h0");
    amg_builder_output(b, v);
    return must_finish(b);
}

/* ---- tests ---- */

static void test_module_has_a_class_for_each_output(void **state)
{
    amg_graph *g = two_networks();
    must_emit(*state, g, NULL);
    const char *text = read_text(*state, "model.py");
    assert_has(text, "class Net0(nn.Module):\n    output = \"h0\"\n"
                     "    class_rows = ((\"p1\", 0), (\"p0\", 0))");
    assert_has(text, "class Net1(nn.Module):\n    output = \"h1\"\n"
                     "    class_rows = ((\"p2\", 0),)");
    assert_has(text, "self.p1 = nn.Parameter(torch.empty(3, 4))");
    assert_has(text, "NETS = (Net0, Net1)\n");
    assert_has(text, "\nbatch_norm = F.batch_norm");
    assert_has(text, "class Model(nn.Module):");
    amg_graph_free(g);
}

static void test_forward_follows_the_network_and_frees_what_it_used(void **state)
{
    amg_graph *g = two_networks();
    must_emit(*state, g, NULL);
    const char *text = read_text(*state, "model.py");
    assert_has(text, "    def forward(self, x):\n"
                     "        va1 = x.flatten(1)\n"
                     "        # the positions of this network in the sample\n"
                     "        vb1 = torch.index_select(va1, 1, self.c001); del va1\n"
                     "        vc1 = vb1.reshape(-1, 2, 2); del vb1\n"
                     "        if self.augment is not None:\n"
                     "            vc1 = self.augment(vc1)\n"
                     "        v2 = torch.flatten(vc1, 1); del vc1\n"
                     "        v3 = F.relu(v2); del v2\n"
                     "        h1 = F.linear(v3, self.p2); del v3\n"
                     "        return h1\n");
    amg_graph_free(g);
}

/* The first of two Concats is the network's own. */
static void test_gradients_of_a_row_of_outputs_come_apart(void **state)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 4));
    int u = amg_builder_node(b, AMG_OP_RELU, "", IDS(x), NO_ATTRS, "v0");
    int v = amg_builder_node(b, AMG_OP_CONCAT, "", IDS(u, x), ATTRS(amg_int("axis", 1)),
                             "v1");
    v = amg_builder_node(b, AMG_OP_CONCAT, "", IDS(u, v), ATTRS(amg_int("axis", 1)),
                         "h0");
    amg_builder_output(b, v);
    amg_graph *g = must_finish(b);
    amg_error err = {0};
    must_emit(*state, g, NULL);
    assert_lacks(read_text(*state, "model.py"), "apart");
    assert_int_equal(amg_emit_model(*state, g, NULL, NULL, true, &err), AMG_OK);
    const char *text = read_text(*state, "model.py");
    assert_has(text, "v1 = torch.cat((v0, x), 1)");
    assert_has(text, "h0 = torch.cat((apart(v0), apart(v1)), 1)");
    assert_has(text, "\ndef apart(x):\n");
    amg_graph_free(g);
}

static void test_constants_file_holds_the_buffers(void **state)
{
    amg_graph *g = two_networks();
    must_emit(*state, g, NULL);
    char *path = amg_path_join(*state, "constants.safetensors");
    amg_safetensors *file = NULL;
    assert_int_equal(amg_safetensors_open(path, &file, NULL), AMG_OK);
    assert_int_equal(amg_safetensors_count(file), 2);
    for (int i = 0; i < 2; i++) {
        const int64_t expected[] = {5, 0, 3, 2};
        const amg_tensor *t = amg_safetensors_find(file, i ? "c001" : "c000");
        assert_non_null(t);
        assert_int_equal(t->dtype, AMG_I64);
        assert_memory_equal(t->data, expected, sizeof expected);
    }
    amg_safetensors_close(file);
    amg_free(path);
    amg_graph_free(g);
}

static void test_target_is_returned_beside_the_output_and_kept(void **state)
{
    amg_graph *g = two_networks();
    must_emit(*state, g, (const char *const[]){"vc0", NULL});
    const char *text = read_text(*state, "model.py");
    assert_has(text, "        return h0, vc0\n");
    assert_has(text, "        return h1\n");
    assert_lacks(text, "del vc0");
    amg_graph_free(g);
}

static void test_target_of_another_network_is_refused(void **state)
{
    amg_graph *g = two_networks();
    amg_error err = {0};
    assert_int_equal(amg_emit_model(*state, g, (const char *const[]){"vc1", NULL}, NULL,
                                    false, &err),
                     AMG_INVALID);
    assert_string_equal(err.where, "vc1");
    char *path = amg_path_join(*state, "model.py");
    assert_false(amg_path_exists(path));
    amg_free(path);
    amg_graph_free(g);
}

static void test_same_graph_gives_the_same_bytes(void **state)
{
    char *first = NULL;
    for (int i = 0; i < 2; i++) {
        amg_graph *g = two_networks();
        must_emit(*state, g, NULL);
        const char *text = read_text(*state, "model.py");
        if (i) assert_string_equal(text, first);
        if (!i) first = strdup(text);
        amg_graph_free(g);
    }
    free(first);
}

static void test_names_that_python_cannot_have_are_refused(void **state)
{
    static const struct {
        const char *input, *param, *inner, *bad, *what;
    } cases[] = {
        {"lambda", "p0", "v0", "lambda", "a word of Python"},
        {"x", "class", "v0", "class", "a word of Python"},
        {"x", "p0", "F", "F", "of the module"},
        {"x", "augment", "v0", "augment", "of the module"},
        {"x", "c000", "v0", "c000", "of the module"},
        {"x", "conv1.weight", "v0", "conv1.weight", "no identifier"},
        {"x", "p0", "0v", "0v", "no identifier"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_graph *g = named_network(cases[i].input, cases[i].param, cases[i].inner);
        amg_error err = {0};
        assert_int_equal(amg_emit_model(*state, g, NULL, NULL, false, &err),
                         AMG_INVALID);
        assert_string_equal(err.where, cases[i].bad);
        assert_has(err.what, cases[i].what);
        amg_graph_free(g);
    }
    amg_graph *good = named_network("x", "p0", "v0");
    must_emit(*state, good, NULL);
    amg_graph_free(good);
}

static void test_every_operator_has_a_form(void **state)
{
    (void)state;
    for (int op = 0; op < AMG_OP_COUNT; op++)
        assert_non_null(amg_emit_form_get((amg_op)op));
}

static void test_operator_without_a_form_is_named(void **state)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 4));
    int v = amg_builder_node(b, AMG_OP_SHAPE, "", IDS(x), NO_ATTRS, "v0");
    amg_builder_output(b, v);
    amg_graph *g = must_finish(b);
    amg_error err = {0};
    assert_int_equal(amg_emit_model(*state, g, NULL, NULL, false, &err),
                     AMG_UNSUPPORTED);
    assert_has(err.where, "Shape");
    amg_graph_free(g);
}

static void test_floats_are_the_shortest_that_read_back(void **state)
{
    (void)state;
    static const struct {
        float v;
        const char *text;
    } cases[] = {{0.1f, "0.1"},
                 {1e-5f, "1e-05"},
                 {1, "1.0"},
                 {-2.5f, "-2.5"},
                 {1.0f / 3, "0.33333334"},
                 {16777216, "16777216.0"},
                 {__builtin_inff(), "float(\"inf\")"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_text t = {0};
        amg_text_float(&t, cases[i].v);
        assert_string_equal(amg_text_get(&t), cases[i].text);
        amg_text_clear(&t);
    }
}

static void test_long_statements_break_between_parentheses(void **state)
{
    (void)state;
    char statement[400] = "y = torch.cat((";
    for (int i = 0; i < 30; i++) strcat(statement, "v00000, ");
    strcat(statement, "v1), 1)");
    amg_text t = {0};
    amg_text_statement(&t, 8, statement);
    for (const char *line = amg_text_get(&t); *line;) {
        size_t length = strcspn(line, "\n");
        assert_in_range(length, 1, AMG_TEXT_COLUMNS);
        line += length + 1;
    }
    assert_has(amg_text_get(&t), ",\n                v00000");
    amg_text_clear(&t);
}

static void test_failing_allocations_leave_no_model(void **state)
{
    amg_graph *g = two_networks();
    char *path = amg_path_join(*state, "model.py");
    amg_status st = AMG_NO_MEMORY;
    for (long n = 1; st != AMG_OK && n < 2000; n++) {
        long countdown = n;
        assert_false(amg_path_exists(path));
        amg_alloc_fail_after(&countdown);
        st = amg_emit_model(*state, g, NULL, NULL, false, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || st == AMG_NO_MEMORY);
    }
    assert_int_equal(st, AMG_OK);
    assert_true(amg_path_exists(path));
    amg_free(path);
    amg_graph_free(g);
}

static void test_job_files_are_sorted_and_written(void **state)
{
    amg_graph *g = two_networks();
    amg_head heads[2] = {{.output = "h0"}, {.output = "h1"}};
    amg_manifest m = {.num_heads = 2, .heads = heads};
    amg_error err = {0};
    if (amg_emit_job(*state, g, &m, &err)) fail_msg("%s: %s", err.where, err.what);
    size_t count = 0;
    for (const char *name; (name = amg_emit_job_file(count)); count++) {
        char *path = amg_path_join(*state, name);
        assert_true(amg_path_exists(path));
        amg_free(path);
        if (count) assert_true(strcmp(amg_emit_job_file(count - 1), name) < 0);
    }
    assert_in_range(count, 8, 32);
    assert_has(read_text(*state, "README.md"), "out/weights.safetensors");
    m.num_heads = 1;
    assert_int_equal(amg_emit_job(*state, g, &m, &err), AMG_MISMATCH);
    amg_graph_free(g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_module_has_a_class_for_each_output),
        TEST(test_forward_follows_the_network_and_frees_what_it_used),
        TEST(test_gradients_of_a_row_of_outputs_come_apart),
        TEST(test_constants_file_holds_the_buffers),
        TEST(test_target_is_returned_beside_the_output_and_kept),
        TEST(test_target_of_another_network_is_refused),
        TEST(test_same_graph_gives_the_same_bytes),
        TEST(test_names_that_python_cannot_have_are_refused),
        TEST(test_every_operator_has_a_form),
        TEST(test_operator_without_a_form_is_named),
        TEST(test_floats_are_the_shortest_that_read_back),
        TEST(test_long_statements_break_between_parentheses),
        TEST(test_failing_allocations_leave_no_model),
        TEST(test_job_files_are_sorted_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
