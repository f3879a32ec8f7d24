/* Token rows: which tables and comparisons are found, in a plain model, behind windows
 * and inside a job; what is refused; and the canonical order. */
#include "graph/class_rows.h"
#include "graph/token_rows.h"

#include <stdio.h>

#include "graph_fixture.h"

#define B AMG_DIM_BATCH

enum { VOCAB = 7, WIDTH = 4, SEQ = 5 };

static int op1(amg_builder *b, amg_op op, int x)
{
    return amg_builder_node(b, op, "n", IDS(x), NO_ATTRS, NULL);
}

static int op2(amg_builder *b, amg_op op, int p, int q)
{
    return amg_builder_node(b, op, "n", IDS(p, q), NO_ATTRS, NULL);
}

static amg_builder *fresh(int *x)
{
    amg_builder *b = amg_builder_new();
    *x = amg_builder_input(b, "x", AMG_I64, DIMS(B, SEQ));
    return b;
}

static int cast(amg_builder *b, int x, amg_dtype to)
{
    return amg_builder_node(b, AMG_OP_CAST, "cast", IDS(x),
                            ATTRS(amg_int("to", amg_dtype_onnx(to))), NULL);
}

/* [batch, positions, WIDTH] -> [batch, positions, VOCAB] by w [VOCAB, WIDTH]. */
static int logits(amg_builder *b, const char *name, int h, int w, int64_t positions)
{
    char text[64];
    snprintf(text, sizeof text, "%s/rows", name);
    int rows = op2(b, AMG_OP_RESHAPE, h, INTS(b, text, B, WIDTH));
    int y = amg_builder_node(b, AMG_OP_GEMM, "head", IDS(rows, w),
                             ATTRS(amg_int("transB", 1)), NULL);
    snprintf(text, sizeof text, "%s/back", name);
    return op2(b, AMG_OP_RESHAPE, y, INTS(b, text, B, positions, VOCAB));
}

static amg_graph *finish(amg_builder *b, int y)
{
    amg_builder_output(b, y);
    return must_finish(b);
}

static void finds(const amg_graph *g, int output, int num_tables,
                  const char *const *tables)
{
    amg_token_rows rows;
    memset(&rows, 0xff, sizeof rows);
    assert_true(amg_token_rows_find(g, output, &rows));
    assert_int_equal(rows.vocab, VOCAB);
    assert_int_equal(rows.num_tables, num_tables);
    for (int i = 0; i < num_tables; i++)
        assert_string_equal(g->values[rows.tables[i]].name, tables[i]);
}
#define FINDS(g, output, ...)                                                          \
    finds(g, output, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),    \
          (const char *[]){__VA_ARGS__})

static void refuses(amg_builder *b, int y)
{
    amg_graph *g = finish(b, y);
    amg_token_rows rows;
    assert_false(amg_token_rows_find(g, 0, &rows));
    amg_graph_free(g);
}

static void tables_are_found_in_order_of_use(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    int e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    int bias = weight(b, "token_bias", 0, DIMS(VOCAB, 1));
    int y = op2(b, AMG_OP_GATHER, e, x);
    y = op2(b, AMG_OP_ADD, y, op2(b, AMG_OP_GATHER, bias, x));
    y = op2(b, AMG_OP_ADD, y, op2(b, AMG_OP_GATHER, e, x)); /* a second lookup */
    amg_graph *g = finish(b, y);
    FINDS(g, 0, "embed", "token_bias");
    amg_graph_free(g);
}

static void a_position_table_is_no_token_table(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    int e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    int p = weight(b, "positions", 0, DIMS(VOCAB, WIDTH));
    int at = op2(b, AMG_OP_GATHER, p, INTS(b, "at", 0, 1, 2, 3, 4));
    amg_graph *g = finish(b, op2(b, AMG_OP_ADD, op2(b, AMG_OP_GATHER, e, x), at));
    FINDS(g, 0, "embed");
    amg_graph_free(g);
}

/* x I32 [N, SEQ+1] as preprocess with windows makes of it. */
static int window(amg_builder *b, const char *name, int x, int64_t from, int64_t to)
{
    char start[64], end[64], axis[64];
    snprintf(start, sizeof start, "%s/start%d", name, (int)from);
    snprintf(end, sizeof end, "%s/end%d", name, (int)from);
    snprintf(axis, sizeof axis, "%s/axis%d", name, (int)from);
    return amg_builder_node(
        b, AMG_OP_SLICE, "window",
        IDS(x, INTS(b, start, from), INTS(b, end, to), INTS(b, axis, 1)), NO_ATTRS,
        NULL);
}

static void tables_are_found_behind_windows(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_I32, DIMS(B, SEQ + 1));
    int tokens = cast(b, x, AMG_I64);
    window(b, "next", tokens, 1, SEQ + 1); /* the targets: no part of the network */
    int e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    amg_graph *g =
        finish(b, op2(b, AMG_OP_GATHER, e, window(b, "now", tokens, 0, SEQ)));
    FINDS(g, 0, "embed");
    amg_graph_free(g);
}

/* A tied and an untied language model over one input, each behind its select. */
static amg_graph *two_networks_of_a_job(void)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_I32, DIMS(B, 1, 2 * (SEQ + 1), 1));
    for (int s = 0; s < 2; s++) {
        char name[64];
        const char *prefix = s ? "s1" : "s0";
        snprintf(name, sizeof name, "%s/flat", prefix);
        int v = op2(b, AMG_OP_RESHAPE, x, INTS(b, name, 0, -1));
        snprintf(name, sizeof name, "%s/index", prefix);
        int index =
            s ? INTS(b, name, 0, 2, 4, 6, 8, 10) : INTS(b, name, 1, 3, 5, 7, 9, 11);
        v = amg_builder_node(b, AMG_OP_GATHER, "select", IDS(v, index),
                             ATTRS(amg_int("axis", 1)), NULL);
        snprintf(name, sizeof name, "%s/shape", prefix);
        v = op2(b, AMG_OP_RESHAPE, v, INTS(b, name, B, SEQ + 1));
        v = window(b, prefix, cast(b, v, AMG_I64), 0, SEQ);
        snprintf(name, sizeof name, "%s/embed", prefix);
        int e = weight(b, name, 0, DIMS(VOCAB, WIDTH)), w = e;
        snprintf(name, sizeof name, "%s/head", prefix);
        if (s) w = weight(b, name, 0, DIMS(VOCAB, WIDTH));
        amg_builder_output(b, logits(b, prefix, op2(b, AMG_OP_GATHER, e, v), w, SEQ));
    }
    return must_finish(b);
}

static void each_network_of_a_job_has_its_own(void **state)
{
    (void)state;
    amg_graph *g = two_networks_of_a_job();
    amg_class_rows rows;
    FINDS(g, 0, "s0/embed");
    FINDS(g, 1, "s1/embed");
    assert_true(amg_class_rows_find(g, 0, &rows));
    assert_true(rows.tied);
    assert_string_equal(g->values[rows.params[0]].name, "s0/embed");
    assert_int_equal(rows.num_classes, VOCAB);
    assert_true(amg_class_rows_find(g, 1, &rows));
    assert_false(rows.tied);
    assert_string_equal(g->values[rows.params[0]].name, "s1/head");
    amg_graph_free(g);
}

static void folding_changes_nothing(void **state)
{
    (void)state;
    amg_graph *g = two_networks_of_a_job(), *folded = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, 3, &folded, &err), AMG_OK);
    amg_class_rows rows;
    FINDS(folded, 0, "s0/embed");
    FINDS(folded, 1, "s1/embed");
    assert_true(amg_class_rows_find(folded, 0, &rows));
    assert_true(rows.tied);
    amg_graph_free(folded);
    amg_graph_free(g);
}

static void compared_tokens_are_fixed(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    int e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    int pad =
        op2(b, AMG_OP_EQUAL, x, INTS(b, "pads", 6, 1, 99, -100, 1)); /* two are none */
    int mask = amg_builder_node(b, AMG_OP_WHERE, "mask",
                                IDS(pad, SCALAR(b, "zero", 0), SCALAR(b, "one", 1)),
                                NO_ATTRS, NULL);
    mask = cast(b, mask, AMG_F32);
    mask = op2(b, AMG_OP_UNSQUEEZE, mask, INTS(b, "axes", 2));
    amg_graph *g = finish(b, op2(b, AMG_OP_MUL, op2(b, AMG_OP_GATHER, e, x), mask));
    amg_token_rows rows;
    assert_true(amg_token_rows_find(g, 0, &rows));
    assert_int_equal(rows.num_fixed, 2);
    assert_int_equal(rows.fixed[0], 1);
    assert_int_equal(rows.fixed[1], 6);
    amg_graph_free(g);
}

static void tokens_used_as_numbers_are_refused(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x); /* special ones come last */
    int e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    int special = op2(b, AMG_OP_GREATER, x, SCALAR(b, "words", 4));
    special = op2(b, AMG_OP_UNSQUEEZE, cast(b, special, AMG_F32), INTS(b, "axes", 2));
    refuses(b, op2(b, AMG_OP_MUL, op2(b, AMG_OP_GATHER, e, x), special));

    b = fresh(&x);
    e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    int n = op2(b, AMG_OP_UNSQUEEZE, cast(b, x, AMG_F32), INTS(b, "axes", 2));
    refuses(b, op2(b, AMG_OP_ADD, op2(b, AMG_OP_GATHER, e, x), n));

    b = fresh(&x); /* hashed tokens */
    e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    n = op2(b, AMG_OP_ADD, x, SCALAR(b, "one", 1));
    refuses(b, op2(b, AMG_OP_GATHER, e, n));

    b = fresh(&x); /* a table of numbers */
    e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    x = op2(b, AMG_OP_UNSQUEEZE, op2(b, AMG_OP_GATHER, INTS(b, "table", 0, 1, 2), x),
            INTS(b, "axes", 2));
    refuses(b, op2(b, AMG_OP_GATHER, e, x));
}

static void moved_tokens_may_be_joined(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    int e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    x = amg_builder_node(b, AMG_OP_CONCAT, "c", IDS(window(b, "one", x, 0, 1), x),
                         ATTRS(amg_int("axis", 1)), NULL);
    amg_graph *g = finish(b, op2(b, AMG_OP_GATHER, e, x));
    FINDS(g, 0, "embed");
    amg_graph_free(g);
}

static void data_that_are_no_tokens_are_refused(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3));
    refuses(b, op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5))));
    b = fresh(&x);
    refuses(b, op1(b, AMG_OP_IDENTITY, x)); /* no table */
}

static void a_table_with_another_use_is_refused(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x); /* tied to a layer that is not the last */
    int e = weight(b, "embed", 0, DIMS(WIDTH, WIDTH));
    int y = op2(b, AMG_OP_GATHER, e, x);
    refuses(b, op1(b, AMG_OP_RELU, op2(b, AMG_OP_MAT_MUL, y, e)));

    b = fresh(&x); /* rows of it that the graph itself chooses */
    e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    y = op2(b, AMG_OP_GATHER, e, INTS(b, "at", 0, 1, 2, 3, 4));
    refuses(b, op2(b, AMG_OP_ADD, op2(b, AMG_OP_GATHER, e, x), y));

    b = fresh(&x); /* columns, not rows */
    e = weight(b, "embed", 0, DIMS(WIDTH, VOCAB));
    refuses(b, amg_builder_node(b, AMG_OP_GATHER, "g", IDS(e, x),
                                ATTRS(amg_int("axis", 1)), NULL));

    b = fresh(&x); /* two vocabularies */
    e = weight(b, "embed", 0, DIMS(VOCAB, WIDTH));
    int f = weight(b, "other", 0, DIMS(VOCAB + 1, WIDTH));
    refuses(b, op2(b, AMG_OP_ADD, op2(b, AMG_OP_GATHER, e, x),
                   op2(b, AMG_OP_GATHER, f, x)));
}

static void too_many_fixed_tokens_are_refused(void **state)
{
    (void)state;
    int64_t values[AMG_MAX_FIXED_TOKENS + 1];
    for (int more = 0; more < 2; more++) {
        int x;
        amg_builder *b = fresh(&x);
        int e = weight(b, "embed", 0, DIMS(64, WIDTH));
        for (int i = 0; i <= AMG_MAX_FIXED_TOKENS; i++) values[i] = 3 * i;
        x = op2(b, AMG_OP_UNSQUEEZE, x, INTS(b, "axes", 2));
        int equal = op2(b, AMG_OP_EQUAL, x,
                        ints(b, "values", AMG_MAX_FIXED_TOKENS + more, values));
        int mask = amg_builder_node(
            b, AMG_OP_WHERE, "mask",
            IDS(equal, SCALAR(b, "zero", 0), SCALAR(b, "one", 1)), NO_ATTRS, NULL);
        mask = op2(b, AMG_OP_UNSQUEEZE, cast(b, mask, AMG_F32), INTS(b, "last", 3));
        amg_graph *g = finish(b, op2(b, AMG_OP_MUL, op2(b, AMG_OP_GATHER, e, x), mask));
        amg_token_rows rows;
        assert_int_equal(amg_token_rows_find(g, 0, &rows), !more);
        if (!more) assert_int_equal(rows.num_fixed, AMG_MAX_FIXED_TOKENS);
        amg_graph_free(g);
    }
}

static void the_canonical_order_survives_renumbering(void **state)
{
    (void)state;
    float a[VOCAB] = {1, 1, 2, 2, 3, 1, 2}, b[VOCAB] = {1, 2, 1, 2, 1, 3, 3};
    float pa[VOCAB], pb[VOCAB];
    int32_t order[VOCAB], permuted[VOCAB];
    static const int32_t map[VOCAB] = {3, 0, 6, 2, 5, 1, 4};
    amg_tensor t[4];
    float *data[4] = {a, b, pa, pb};
    amg_token_rows rows = {.num_tables = 2, .vocab = VOCAB};
    for (int i = 0; i < 4; i++)
        assert_int_equal(amg_tensor_view(AMG_F32, DIMS(VOCAB, 1), data[i], &t[i], NULL),
                         AMG_OK);
    for (int i = 0; i < 2; i++) amg_class_rows_permute(&t[i], 0, map, &t[i + 2]);
    assert_true(amg_token_rows_canonical(
        &rows, (const amg_tensor *const[]){&t[0], &t[1]}, order));
    assert_true(amg_token_rows_canonical(
        &rows, (const amg_tensor *const[]){&t[2], &t[3]}, permuted));
    for (int r = 0; r < VOCAB; r++) assert_int_equal(permuted[r], map[order[r]]);

    b[6] = 1; /* tokens 2 and 6 are the same now */
    assert_false(amg_token_rows_canonical(
        &rows, (const amg_tensor *const[]){&t[0], &t[1]}, order));
    for (int i = 0; i < VOCAB; i++) assert_int_equal(order[i], i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_found_in_order_of_use),
        cmocka_unit_test(a_position_table_is_no_token_table),
        cmocka_unit_test(tables_are_found_behind_windows),
        cmocka_unit_test(each_network_of_a_job_has_its_own),
        cmocka_unit_test(folding_changes_nothing),
        cmocka_unit_test(compared_tokens_are_fixed),
        cmocka_unit_test(tokens_used_as_numbers_are_refused),
        cmocka_unit_test(moved_tokens_may_be_joined),
        cmocka_unit_test(data_that_are_no_tokens_are_refused),
        cmocka_unit_test(a_table_with_another_use_is_refused),
        cmocka_unit_test(too_many_fixed_tokens_are_refused),
        cmocka_unit_test(the_canonical_order_survives_renumbering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
