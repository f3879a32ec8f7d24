/* What patterns freeze: names of the model as read, of the parameters that train once
 * the graph is folded. */
#include "graph_fixture.h"

#include "graph/freeze.h"

#define B AMG_DIM_BATCH

/* norm -> conv with a weight joined of two -> fc */
static amg_graph *model(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2, 4, 4));
    x = amg_builder_node(
        b, AMG_OP_BATCH_NORM, "n1",
        IDS(x, weight(b, "n1.weight", 1, DIMS(2)), weight(b, "n1.bias", 1, DIMS(2)),
            weight(b, "n1.mean", 0, DIMS(2)), weight(b, "n1.var", 1, DIMS(2))),
        NO_ATTRS, NULL);
    int w = amg_builder_node(b, AMG_OP_CONCAT, "join",
                             IDS(weight(b, "c1.a", 0, DIMS(1, 2, 4, 4)),
                                 weight(b, "c1.b", 9, DIMS(2, 2, 4, 4))),
                             ATTRS(amg_int("axis", 0)), "c1.joined");
    x = amg_builder_node(b, AMG_OP_CONV, "c1", IDS(x, w), NO_ATTRS, NULL);
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", IDS(x), NO_ATTRS, NULL);
    int fc = weight(b, "fc,1.weight", 2, DIMS(3, 5));
    int bias = weight(b, "fc,1.bias", 2, DIMS(5));
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "fc", IDS(x, fc, bias), NO_ATTRS, "y"));
    return must_finish(b);
}

static amg_status find(const char *pattern, bool norm_stats, amg_frozen *out,
                       amg_error *err)
{
    amg_graph *g = model();
    amg_origin *o;
    assert_int_equal(amg_origin_new(g, &o, NULL), AMG_OK);
    const amg_status st = amg_frozen_find(o, &pattern, 1, norm_stats, out, err);
    amg_origin_free(o);
    amg_graph_free(g);
    return st;
}

/* names: with a blank between them */
static void must_freeze(const char *pattern, bool norm_stats, const char *names)
{
    char found[200] = "";
    amg_frozen f;
    amg_error err = {0};
    if (find(pattern, norm_stats, &f, &err)) fail_msg("%s: %s", pattern, err.what);
    for (int i = 0; i < f.count; i++) {
        if (i) strcat(found, " ");
        strcat(found, f.names[i]);
        assert_true(amg_frozen_has((const char *const *)f.names, f.count, f.names[i]));
    }
    assert_string_equal(found, names);
    assert_false(amg_frozen_has((const char *const *)f.names, f.count, "fc"));
    amg_frozen_clear(&f);
}

static void patterns_choose_by_name(void **state)
{
    (void)state;
    must_freeze("n1.weight", false, "n1.weight");
    must_freeze("n1.*", false, "n1.bias n1.weight");
    must_freeze("n?.[vbw]*", false, "n1.bias n1.weight");
    must_freeze("n1.weight,n1.bias,n1.b*", false, "n1.bias n1.weight");
    must_freeze("fc\\,1.*", false, "fc,1.bias fc,1.weight");
    must_freeze("[nf]*", false, "fc,1.bias fc,1.weight n1.bias n1.weight");
}

/* What is folded of several trains under the folded value's name. */
static void joined_weights_freeze_together(void **state)
{
    (void)state;
    must_freeze("c1.*", false, "c1.joined");
    amg_frozen f;
    amg_error err = {0};
    assert_int_equal(find("c1.b", false, &f, &err), AMG_UNSUPPORTED);
    assert_non_null(strstr(err.what, "\"c1.b\" would be frozen and \"c1.a\" not"));
    assert_int_equal(f.count, 0);
}

static void statistics_follow_when_asked(void **state)
{
    (void)state;
    must_freeze("n1.*", true, "n1.bias n1.mean n1.var n1.weight");
    amg_frozen f;
    amg_error err = {0};
    assert_int_equal(find("n1.weight", true, &f, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "no batch norm"));
}

static void what_matches_nothing_is_refused_with_near_names(void **state)
{
    (void)state;
    amg_frozen f;
    amg_error err = {0};
    assert_int_equal(find("n1.weigth", false, &f, &err), AMG_NOT_FOUND);
    assert_string_equal(err.what, "\"n1.weigth\" matches none of the model's weights");
    assert_non_null(strstr(err.hint, "there are n1.weight, "));
    /* Running statistics are no weights; neither is the empty word between commas. */
    assert_int_equal(find("n1.mean", false, &f, &err), AMG_NOT_FOUND);
    assert_int_equal(find("n1.weight,", false, &f, &err), AMG_NOT_FOUND);
}

static void something_has_to_train(void **state)
{
    (void)state;
    amg_frozen f;
    amg_error err = {0};
    assert_int_equal(find("*", false, &f, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "all 5 weights of the model are frozen"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_choose_by_name),
        cmocka_unit_test(joined_weights_freeze_together),
        cmocka_unit_test(statistics_follow_when_asked),
        cmocka_unit_test(what_matches_nothing_is_refused_with_near_names),
        cmocka_unit_test(something_has_to_train),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
