/* Dropout by a mask, as PyTorch's exporters write it (make_drop_exports.py), is one
 * node of the graph, and of the file again what ONNX has; other random numbers stay. */
#include <stdio.h>
#include <stdlib.h>

#include "graph/drop_mask.h"
#include "graph/onnx_graph.h"
#include "graph_fixture.h"

typedef struct {
    const char *draw, *order; /* NULL: none */
    int axes[3], num_axes;
} expected;

/* clang-format off */
static const expected forms[] = {
    {"bernoulli", "mask", {1, 2, 3}, 3}, {"floor", "before", {1, 2, 3}, 3},
    {"bernoulli", "mask", {1, 2, 3}, 3}, {"sample", "after", {0}, 0},
    {"<", "after", {1, 2, 3}, 3},        {">=", "mask", {2, 3}, 2},
    {NULL, NULL, {1}, 1},                {"bernoulli", "mask", {2, 3}, 2}};
/* clang-format on */
enum {
    NUM_FORMS = sizeof forms / sizeof *forms,
    WITHOUT_CHANNELS = NUM_FORMS - 1,
    BY_COMPARISON = 4
};

static amg_graph *read_export(const char *file)
{
    char path[512];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    amg_error err = {0};
    amg_graph *g = NULL;
    snprintf(path, sizeof path, "%s/tests/graph/data/%s", root ? root : ".", file);
    if (amg_graph_read_onnx(path, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    return g;
}

static void expect_text(const amg_node *n, const char *name, const char *text)
{
    assert_string_equal(amg_attr_string(n, name, "none"), text ? text : "none");
}

/* draws false: the file has been written by us, which keeps their shapes alone. */
static void expect_dropouts(const amg_graph *g, int count, const expected *rows,
                            bool draws)
{
    int found = 0;
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        assert_true(n->op != AMG_OP_MUL && n->op != AMG_OP_RANDOM_UNIFORM_LIKE);
        if (n->op != AMG_OP_DROPOUT) continue;
        const expected *e = &rows[found++];
        const amg_attr *axes = amg_attr_find(n, AMG_DROP_AXES);
        assert_int_equal(axes ? axes->count : 0, e->num_axes);
        for (int k = 0; k < e->num_axes; k++)
            assert_int_equal(axes->ints[k], e->axes[k]);
        expect_text(n, AMG_DROP_DRAW, draws ? e->draw : NULL);
        expect_text(n, AMG_DROP_ORDER, draws ? e->order : NULL);
        const amg_value *ratio = &g->values[n->inputs[1]];
        assert_true(*(const float *)ratio->data.data == 0.25f);
    }
    assert_int_equal(found, count);
}

static void masks_of_both_exporters_are_dropouts(void **state)
{
    (void)state;
    amg_graph *g = read_export("drops_ts.onnx");
    expect_dropouts(g, WITHOUT_CHANNELS, forms, true);
    amg_graph_free(g);
    /* Dynamo writes torch.rand(…) < p as it writes bernoulli_(p). */
    expected rows[NUM_FORMS];
    memcpy(rows, forms, sizeof rows);
    rows[BY_COMPARISON].draw = "bernoulli";
    g = read_export("drops_dynamo.onnx");
    expect_dropouts(g, NUM_FORMS, rows, true);
    amg_graph_free(g);
}

static void a_file_of_ours_is_read_as_it_was_written(void **state)
{
    (void)state;
    amg_graph *g = read_export("drops_dynamo.onnx"), *again;
    uint8_t *a, *b;
    size_t a_size, b_size;
    assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &a, &a_size, NULL), AMG_OK);
    assert_int_equal(amg_graph_parse_onnx(a, a_size, "a", &again, NULL), AMG_OK);
    expect_dropouts(again, NUM_FORMS, forms, false);
    assert_int_equal(amg_graph_pack_onnx(again, AMG_PACK_WHOLE, &b, &b_size, NULL),
                     AMG_OK);
    assert_int_equal(a_size, b_size);
    assert_memory_equal(a, b, a_size);
    assert_null(memmem(a, a_size, "bernoulli", strlen("bernoulli")));
    amg_free(a);
    amg_free(b);
    amg_graph_free(again);
    amg_graph_free(g);
}

/* ---- what is none ---- */

static int number(amg_builder *b, const char *name, float value)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_F32, 0, NULL, &value, &t, NULL), AMG_OK);
    return amg_builder_param(b, name, &t);
}

typedef enum { FINE, SHARED_BY_ALL, USED_TWICE, OTHER_SHARE, NO_SHARE } flaw;

/* x * ((rand < .75) / .75), but for one thing. */
static amg_graph *with_flaw(flaw f)
{
    amg_builder *b = amg_builder_new();
    const int x = amg_builder_input(b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 5));
    const int keep = number(b, "keep", .75f), wrong = number(b, "wrong", .5f);
    const int one_row = weight(b, "row", 0, DIMS(1, 5));
    const amg_attr to = amg_int("to", amg_dtype_onnx(AMG_F32));
    int v = amg_builder_node(b, AMG_OP_RANDOM_UNIFORM_LIKE, "random",
                             IDS(f == SHARED_BY_ALL ? one_row : x), NO_ATTRS, "r");
    v = amg_builder_node(b, AMG_OP_LESS, "", IDS(v, keep), NO_ATTRS, "l");
    v = amg_builder_node(b, AMG_OP_CAST, "", IDS(v), &to, 1, "m");
    if (f != NO_SHARE)
        v = amg_builder_node(b, AMG_OP_DIV, "", IDS(v, f == OTHER_SHARE ? wrong : keep),
                             NO_ATTRS, "d");
    int y = amg_builder_node(b, AMG_OP_MUL, "", IDS(v, x), NO_ATTRS, "y");
    if (f == USED_TWICE)
        y = amg_builder_node(b, AMG_OP_ADD, "", IDS(y, v), NO_ATTRS, "z");
    amg_builder_output(b, y);
    return must_finish(b);
}

static void a_mask_has_one_reader_its_share_and_its_samples(void **state)
{
    (void)state;
    for (flaw f = FINE; f <= NO_SHARE; f++) {
        amg_graph *g = with_flaw(f), *joined, *planned = NULL;
        amg_error err = {0};
        assert_int_equal(amg_drop_masks_join(g, &joined, &err), AMG_OK);
        assert_int_equal(joined != NULL, f == FINE);
        const amg_status st = amg_graph_plan_batch(g, AMG_DIM_BATCH, &planned, &err);
        assert_int_equal(st, f == FINE ? AMG_OK : AMG_UNSUPPORTED);
        if (f == FINE) {
            assert_int_equal(joined->num_nodes, 1);
            assert_int_equal(planned->num_nodes, 1);
            assert_string_equal(joined->values[joined->outputs[0]].name, "y");
        } else {
            assert_string_equal(err.where, "node \"random\" (RandomUniformLike)");
            assert_non_null(strstr(err.what, "no mask of a dropout"));
        }
        amg_graph_free(planned);
        amg_graph_free(joined);
        amg_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_of_both_exporters_are_dropouts),
        cmocka_unit_test(a_file_of_ours_is_read_as_it_was_written),
        cmocka_unit_test(a_mask_has_one_reader_its_share_and_its_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
