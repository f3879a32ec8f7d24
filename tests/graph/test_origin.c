/* Origins: what folding moves comes home, element by element; what it computes or
 * copies is refused; exporters' graphs come back whole from a key's graph. */
#include "graph_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/onnx_graph.h"
#include "graph/origin.h"

#define B AMG_DIM_BATCH

static amg_origin *origin(const amg_graph *g)
{
    amg_origin *o = NULL;
    amg_error err = {0};
    if (amg_origin_new(g, &o, &err)) fail_msg("%s: %s", err.where, err.what);
    return o;
}

static void must_not_come_home(amg_builder *b, const char *where, const char *what)
{
    amg_graph *g = must_finish(b);
    amg_error err = {0};
    assert_int_equal(amg_graph_origin_check(g, &err), AMG_UNSUPPORTED);
    if (strcmp(err.where, where) || !strstr(err.what, what))
        fail_msg("\"%s: %s\", expected \"%s: %s\"", err.where, err.what, where, what);
    amg_graph_free(g);
}

/* Trained data: the elements of the folded graph, by another law than at the start. */
typedef struct {
    const amg_graph *trained; /* folded, with data */
} source;

static const amg_tensor *get_trained(void *context, const amg_value *param)
{
    return &named(((source *)context)->trained, param->name)->data;
}

/* What training did: every trainable element becomes 1000 more. */
static void train(const amg_graph *folded)
{
    for (int v = 0; v < folded->num_values; v++) {
        const amg_value *val = &folded->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        for (int64_t i = 0; i < amg_tensor_count(&val->data); i++)
            ((float *)val->data.data)[i] += 1000;
    }
}

static float at(const amg_graph *g, const char *name, int64_t i)
{
    return ((const float *)named(g, name)->data.data)[i];
}

/* Gemm with [join(a, b)] whose first column is cut off, transposed: 2 x 2. */
static amg_graph *joined_and_cut(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int first = weight(b, "a", 0, DIMS(1, 3)), second = weight(b, "b", 10, DIMS(1, 3));
    int w = amg_builder_node(b, AMG_OP_CONCAT, "join", IDS(first, second),
                             ATTRS(amg_int("axis", 0)), NULL);
    w = amg_builder_node(
        b, AMG_OP_SLICE, "cut",
        IDS(w, INTS(b, "start", 1), INTS(b, "end", 3), INTS(b, "axis", 1)), NO_ATTRS,
        NULL);
    w = amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", IDS(w), NO_ATTRS, "moved");
    int bias = weight(b, "bias", 20, DIMS(2));
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(x, w, bias), NO_ATTRS, "y"));
    return must_finish(b);
}

static void moved_elements_come_home(void **state)
{
    (void)state;
    amg_graph *g = joined_and_cut(), *copy = joined_and_cut(), *trained = NULL;
    amg_graph *back = NULL;
    assert_int_equal(amg_graph_plan_batch(copy, B, &trained, NULL), AMG_OK);
    train(trained);
    amg_origin *o = origin(g);
    assert_null(named(amg_origin_folded(o), "moved")->data.data);
    assert_true(amg_origin_is_home(o, amg_graph_find_value(g, "a")));
    assert_false(amg_origin_is_home(o, amg_graph_find_value(g, "start")));
    amg_error err = {0};
    if (amg_origin_restore(o, get_trained, &(source){trained}, &back, &err))
        fail_msg("%s: %s", err.where, err.what);
    /* The first columns train nowhere. */
    const float a[] = {0, 1001, 1002}, b[] = {10, 1011, 1012};
    assert_memory_equal(named(back, "a")->data.data, a, sizeof a);
    assert_memory_equal(named(back, "b")->data.data, b, sizeof b);
    assert_true(at(back, "bias", 1) == 1021);
    assert_int_equal(back->num_nodes, g->num_nodes);
    amg_origin_free(o);
    amg_graph_free(back);
    amg_graph_free(trained);
    amg_graph_free(copy);
    amg_graph_free(g);
}

static void a_key_keeps_only_what_training_does_not_bring(void **state)
{
    (void)state;
    amg_graph *g = joined_and_cut(), *stripped = NULL, *back = NULL;
    amg_origin *o = origin(g), *p;
    assert_int_equal(amg_origin_strip(o, &stripped, NULL), AMG_OK);
    assert_non_null(named(stripped, "a")->data.data); /* its first column trains not */
    assert_null(named(stripped, "bias")->data.data);
    assert_non_null(named(stripped, "start")->data.data);
    p = origin(stripped);
    assert_int_equal(amg_origin_folded(p)->num_nodes, amg_origin_folded(o)->num_nodes);
    amg_graph *trained = NULL;
    assert_int_equal(amg_graph_plan_batch(g, B, &trained, NULL), AMG_OK);
    assert_int_equal(
        amg_origin_restore(p, get_trained, &(source){trained}, &back, NULL), AMG_OK);
    for (const char *const *name = (const char *const[]){"a", "b", "bias", NULL}; *name;
         name++)
        assert_memory_equal(named(back, *name)->data.data, named(g, *name)->data.data,
                            named(g, *name)->data.size_bytes);
    amg_graph_free(back);
    amg_graph_free(trained);
    amg_origin_free(p);
    amg_origin_free(o);
    amg_graph_free(stripped);
    amg_graph_free(g);
}

static const amg_tensor *get_nothing(void *context, const amg_value *param)
{
    (void)context;
    (void)param;
    return NULL;
}

static const amg_tensor *get_other_shape(void *context, const amg_value *param)
{
    (void)param;
    return context;
}

static void wrong_data_are_refused(void **state)
{
    (void)state;
    amg_graph *g = joined_and_cut(), *stripped = NULL, *back = NULL;
    amg_origin *o = origin(g), *p;
    amg_error err = {0};
    assert_int_equal(
        amg_origin_restore(o, get_other_shape,
                           &(amg_tensor){.dtype = AMG_F32, .rank = 1, .dims = {5}},
                           &back, &err),
        AMG_MISMATCH);
    assert_string_equal(err.where, "moved");
    assert_int_equal(amg_origin_strip(o, &stripped, NULL), AMG_OK);
    p = origin(stripped);
    assert_int_equal(amg_origin_restore(p, get_nothing, NULL, &back, &err),
                     AMG_INVALID);
    assert_string_equal(err.where, "bias");
    assert_null(back);
    amg_origin_free(p);
    amg_origin_free(o);
    amg_graph_free(stripped);
    amg_graph_free(g);
}

static void a_computed_weight_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int v = weight(b, "v", 1, DIMS(2, 2)), scale = weight(b, "g", 1, DIMS(2, 1));
    int w =
        amg_builder_node(b, AMG_OP_MUL, "scale", IDS(v, scale), NO_ATTRS, "product");
    w = amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", IDS(w), NO_ATTRS, "w");
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(x, w), NO_ATTRS, "y"));
    must_not_come_home(b, "w", "\"product\" (Mul)");
}

static void an_element_with_two_homes_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int v = weight(b, "v", 1, DIMS(1, 2));
    int w = amg_builder_node(b, AMG_OP_CONCAT, "twice", IDS(v, v),
                             ATTRS(amg_int("axis", 0)), "w");
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(x, w), NO_ATTRS, "y"));
    must_not_come_home(b, "w", "a copy of \"v\" element 0");

    b = amg_builder_new(); /* rows 0 and 1, rows 1 and 2 */
    x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    v = weight(b, "v", 1, DIMS(3, 2));
    for (int64_t i = 0; i < 2; i++) {
        w = amg_builder_node(
            b, AMG_OP_SLICE, i ? "low" : "high",
            IDS(v, INTS(b, i ? "s1" : "s0", i), INTS(b, i ? "e1" : "e0", i + 2)),
            NO_ATTRS, i ? "w1" : "w0");
        x = amg_builder_node(b, AMG_OP_GEMM, i ? "two" : "one", IDS(x, w), NO_ATTRS,
                             NULL);
    }
    amg_builder_output(b, x);
    must_not_come_home(b, "w1", "a copy of \"v\" element 2");
}

/* As it is and turned; turned in two ways. What trains is the weight, once. */
static void a_weight_that_is_read_in_two_ways_stays_one(void **state)
{
    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        amg_builder *b = amg_builder_new();
        int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
        int v = weight(b, "v", 1, DIMS(2, 2));
        amg_builder_say(b, v, AMG_SAID_WEIGHT);
        int w = amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", IDS(v), NO_ATTRS, "w");
        int u = plain ? v
                      : amg_builder_node(b, AMG_OP_RESHAPE, "row",
                                         IDS(v, INTS(b, "s", 1, 4)), NO_ATTRS, "u");
        int y = amg_builder_node(b, AMG_OP_MAT_MUL, "one", IDS(x, w), NO_ATTRS, NULL);
        if (plain)
            y = amg_builder_node(b, AMG_OP_MAT_MUL, "two", IDS(y, u), NO_ATTRS, "y");
        else
            y = amg_builder_node(
                b, AMG_OP_MUL, "two",
                IDS(amg_builder_node(b, AMG_OP_CONCAT, "both", IDS(y, y),
                                     ATTRS(amg_int("axis", 1)), NULL),
                    u),
                NO_ATTRS, "y");
        amg_builder_output(b, y);
        amg_graph *g = must_finish(b);
        amg_origin *o = origin(g);
        const amg_graph *folded = amg_origin_folded(o);
        int trained = 0;
        for (int i = 0; i < folded->num_values; i++)
            trained += folded->values[i].role == AMG_ROLE_TRAINABLE;
        assert_int_equal(trained, 1);
        assert_int_equal(named(folded, "v")->role, AMG_ROLE_TRAINABLE);
        amg_origin_free(o);
        amg_graph_free(g);
    }
}

static void an_absent_constant_is_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int mean = amg_builder_param_absent(b, "mean", AMG_F32, DIMS(2));
    int w = weight(b, "w", 0, DIMS(2, 2));
    x = amg_builder_node(b, AMG_OP_SUB, "centre", IDS(x, mean), NO_ATTRS, NULL);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(x, w), NO_ATTRS, "y"));
    amg_graph *g = must_finish(b);
    amg_error err = {0};
    assert_int_equal(amg_graph_origin_check(g, &err), AMG_INVALID);
    assert_string_equal(err.where, "mean");
    amg_graph_free(g);
}

/* ---- what PyTorch exports: make_exports.py ---- */

static const char *data_path(const char *name, const char *suffix)
{
    static char path[512];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/graph/data/export_%s%s", root ? root : ".",
             name, suffix);
    return path;
}

/* As obfuscate and extract do it: through a key's bytes and back. */
static amg_graph *through_a_key(const amg_graph *g, amg_origin **o, amg_graph **key)
{
    amg_graph *stripped = NULL, *trained = NULL, *back = NULL;
    uint8_t *bytes = NULL;
    size_t size;
    amg_error err = {0};
    amg_origin *first = origin(g);
    assert_int_equal(amg_graph_plan_batch(g, B, &trained, NULL), AMG_OK);
    assert_int_equal(amg_origin_strip(first, &stripped, NULL), AMG_OK);
    assert_int_equal(
        amg_graph_pack_onnx(stripped, AMG_PACK_STRIPPED, &bytes, &size, NULL), AMG_OK);
    if (amg_graph_parse_onnx(bytes, size, "key", key, &err))
        fail_msg("%s: %s", err.where, err.what);
    *o = origin(*key);
    if (amg_origin_restore(*o, get_trained, &(source){trained}, &back, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_free(bytes);
    amg_graph_free(stripped);
    amg_graph_free(trained);
    amg_origin_free(first);
    return back;
}

/* Rows of a table that a constant index passes over train nowhere, and are the owner's
 * all the same. */
static void rows_that_nobody_looks_up_go_through_a_key(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int w = weight(b, "w", 0, DIMS(2, 2)), table = weight(b, "table", 10, DIMS(3, 2));
    int row = amg_builder_node(b, AMG_OP_GATHER, "row", IDS(table, INTS(b, "at", 1)),
                               NO_ATTRS, NULL);
    int y = amg_builder_node(b, AMG_OP_MAT_MUL, "mm", IDS(x, w), NO_ATTRS, NULL);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_ADD, "add", IDS(y, row), NO_ATTRS, "y"));
    amg_graph *g = must_finish(b), *key, *back;
    amg_origin *o;
    back = through_a_key(g, &o, &key);
    assert_memory_equal(named(back, "table")->data.data, named(g, "table")->data.data,
                        named(g, "table")->data.size_bytes);
    amg_origin_free(o);
    amg_graph_free(back);
    amg_graph_free(key);
    amg_graph_free(g);
}

/* Parameters and running statistics of the module, all of them, under their names. */
static void must_hold_the_state_dict(const char *name, const amg_graph *g,
                                     const amg_origin *o, const amg_graph *key)
{
    FILE *f = fopen(data_path(name, ".txt"), "r");
    char param[128];
    long long count;
    int num_params = 0, num_homes = 0;
    assert_non_null(f);
    while (fscanf(f, "%127s %lld", param, &count) == 2) {
        assert_int_equal(amg_tensor_count(&named(g, param)->data), count);
        assert_true(amg_origin_is_home(o, amg_graph_find_value(key, param)));
        num_params++;
    }
    fclose(f);
    for (int v = 0; v < key->num_values; v++) num_homes += amg_origin_is_home(o, v);
    assert_true(num_params > 2);
    assert_int_equal(num_homes, num_params);
}

/* As dynamo writes a table looked up by a matrix of places (Swin's relative positions).
 */
static void a_table_that_is_picked_from_twice_stays_one_weight(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    amg_graph *planned = NULL;
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3, 2));
    int table = weight(b, "table", 0, DIMS(2, 2));
    int at = amg_builder_node(b, AMG_OP_UNSQUEEZE, "at",
                              IDS(INTS(b, "places", 0, 1, 0), INTS(b, "axis", 1)),
                              NO_ATTRS, NULL);
    int rows =
        amg_builder_node(b, AMG_OP_GATHER_ND, "rows", IDS(table, at), NO_ATTRS, NULL);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_MUL, "scale", IDS(x, rows), NO_ATTRS, "y"));
    amg_graph *g = must_finish(b);
    assert_int_equal(amg_graph_plan_batch(g, B, &planned, NULL), AMG_OK);
    assert_int_equal(amg_graph_num_trainable(planned), 4);
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void exported_models_come_back_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"block", "unet", "vit",        "tied",
                                        "mlp",   "lstm", "autoencoder"};
    for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
        const char *name = names[i / 2];
        if (i % 2 && !strcmp(name, "tied")) continue; /* only one exporter's is read */
        amg_graph *g = NULL, *key = NULL;
        amg_origin *o = NULL;
        amg_error err = {0};
        if (amg_graph_read_onnx(data_path(name, i % 2 ? "_dynamo.onnx" : "_ts.onnx"),
                                &g, &err))
            fail_msg("%s: %s: %s", name, err.where, err.what);
        amg_graph *back = through_a_key(g, &o, &key);
        must_hold_the_state_dict(name, back, o, key);
        assert_int_equal(back->num_nodes, key->num_nodes);
        for (int v = 0; v < key->num_values; v++)
            if (key->values[v].kind == AMG_VALUE_PARAM) {
                const amg_tensor *t = &named(g, key->values[v].name)->data;
                assert_memory_equal(named(back, key->values[v].name)->data.data,
                                    t->data, t->size_bytes);
            }
        amg_graph_free(back);
        amg_origin_free(o);
        amg_graph_free(key);
        amg_graph_free(g);
    }
}

static void every_failing_allocation_is_one_clean_error(void **state)
{
    (void)state;
    amg_graph *g = joined_and_cut(), *trained = NULL;
    assert_int_equal(amg_graph_plan_batch(g, B, &trained, NULL), AMG_OK);
    long n = 0;
    for (amg_status s = AMG_NO_MEMORY; s; n++) {
        amg_origin *o = NULL;
        amg_graph *back = NULL;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        s = amg_origin_new(g, &o, NULL);
        if (!s) s = amg_origin_restore(o, get_trained, &(source){trained}, &back, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(s == AMG_OK || (s == AMG_NO_MEMORY && !back));
        amg_origin_free(o);
        amg_graph_free(back);
    }
    assert_true(n > 50);
    amg_graph_free(trained);
    amg_graph_free(g);
}

/* Where a layer gives way to its parts, its weights train as they are. */
static void weights_of_parts_are_the_layers_own(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    const amg_attr even = amg_ints("pads", 4, (int64_t[]){1, 1, 1, 1});
    const amg_attr attrs[] = {even, amg_int("offset_group", 2), amg_int("group", 2)};
    int x = amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){B, 4, 5, 6});
    int o = weight(b, "o", 1, 4, (int64_t[]){36, 4, 3, 3});
    int w = weight(b, "w", 2, 4, (int64_t[]){6, 2, 3, 3});
    int bias = weight(b, "b", 3, 1, (int64_t[]){6});
    o = amg_builder_node(b, AMG_OP_CONV, "moves", (int[]){x, o}, 2, &even, 1, NULL);
    int y = amg_builder_node(b, AMG_OP_DEFORM_CONV, "deform", (int[]){x, w, o, bias}, 4,
                             attrs, 3, NULL);
    y = amg_builder_node(b, AMG_OP_RESHAPE, "flat",
                         (int[]){y, ints(b, "rows", 3, (int64_t[]){-1, 6, 30})}, 2,
                         NULL, 0, NULL);
    int taps = weight(b, "taps", 4, 3, (int64_t[]){6, 1, 4});
    y = amg_builder_node(b, AMG_OP_CAUSAL_CONV, "causal", (int[]){y, taps, bias}, 3,
                         NULL, 0, NULL);
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    amg_origin *home = origin(g);
    const amg_graph *folded = amg_origin_folded(home);
    int found = 0;
    for (int v = 0; v < folded->num_values; v++)
        if (folded->values[v].kind == AMG_VALUE_PARAM &&
            folded->values[v].role == AMG_ROLE_TRAINABLE) {
            assert_true(amg_graph_find_value(g, folded->values[v].name) >= 0);
            found++;
        }
    assert_int_equal(found, 4);
    amg_origin_free(home);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_elements_come_home),
        cmocka_unit_test(a_key_keeps_only_what_training_does_not_bring),
        cmocka_unit_test(wrong_data_are_refused),
        cmocka_unit_test(a_computed_weight_is_refused),
        cmocka_unit_test(an_element_with_two_homes_is_refused),
        cmocka_unit_test(a_weight_that_is_read_in_two_ways_stays_one),
        cmocka_unit_test(an_absent_constant_is_refused),
        cmocka_unit_test(rows_that_nobody_looks_up_go_through_a_key),
        cmocka_unit_test(a_table_that_is_picked_from_twice_stays_one_weight),
        cmocka_unit_test(weights_of_parts_are_the_layers_own),
        cmocka_unit_test(exported_models_come_back_whole),
        cmocka_unit_test(every_failing_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
