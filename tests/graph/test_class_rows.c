/* Class rows: which heads are recognised, and that the canonical order follows the rows
 * and not their numbering. */
#include "graph/class_rows.h"
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static int op2(amg_builder *b, amg_op op, int p, int q)
{
    return amg_builder_node(b, op, "n", IDS(p, q), NO_ATTRS, NULL);
}

/* Finishes with y as the output and looks for its class rows. */
static amg_graph *look(amg_builder *b, int y, bool expected, amg_class_rows *rows)
{
    amg_builder_output(b, y);
    amg_graph *g = must_finish(b);
    memset(rows, 0xff, sizeof *rows);
    assert_int_equal(amg_class_rows_find(g, 0, rows), expected);
    return g;
}

static void is_head(amg_builder *b, int y, int axis, const char *bias)
{
    amg_class_rows rows;
    amg_graph *g = look(b, y, true, &rows);
    assert_int_equal(rows.num_classes, 5);
    assert_string_equal(g->values[rows.params[0]].name, "w");
    assert_int_equal(rows.axis[0], axis);
    assert_int_equal(rows.num_params, bias ? 2 : 1);
    if (bias) {
        assert_string_equal(g->values[rows.params[1]].name, bias);
        assert_int_equal(rows.axis[1], g->values[rows.params[1]].rank - 1);
    }
    amg_graph_free(g);
}

static void is_no_head(amg_builder *b, int y)
{
    amg_class_rows rows;
    amg_graph_free(look(b, y, false, &rows));
}

static amg_builder *fresh(int *x)
{
    amg_builder *b = amg_builder_new();
    *x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3));
    return b;
}

static int gemm(amg_builder *b, int x, int w, int bias, int64_t trans)
{
    return amg_builder_node(b, AMG_OP_GEMM, "fc", (int[]){x, w, bias},
                            bias == AMG_NO_VALUE ? 2 : 3,
                            ATTRS(amg_int("transB", trans)), NULL);
}

static void gemm_heads_are_found_in_both_layouts(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    int w = weight(b, "w", 0, DIMS(5, 3)), c = weight(b, "c", 0, DIMS(5));
    is_head(b, gemm(b, x, w, c, 1), 0, "c");
    b = fresh(&x);
    w = weight(b, "w", 0, DIMS(3, 5)), c = weight(b, "c", 0, DIMS(1, 5));
    is_head(b, gemm(b, x, w, c, 0), 1, "c");
    b = fresh(&x);
    w = weight(b, "w", 0, DIMS(5, 3));
    is_head(b, gemm(b, x, w, AMG_NO_VALUE, 1), 0, NULL);
}

static void matmul_heads_are_found_with_and_without_bias(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    is_head(b, op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5))), 1, NULL);
    b = fresh(&x);
    int y = op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5)));
    is_head(b, op2(b, AMG_OP_ADD, y, weight(b, "c", 0, DIMS(5))), 1, "c");
    b = fresh(&x);
    y = op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5)));
    is_head(b, op2(b, AMG_OP_ADD, weight(b, "c", 0, DIMS(5)), y), 1, "c");
}

/* A language model: tokens [N,4], rows of w of width 3 looked up if tied, logits
 * [N,4,5]. rank 2: without the last Reshape, [4N,5]. */
static int language_model(amg_builder *b, bool tied, int64_t trans, int rank)
{
    int x = amg_builder_input(b, "x", AMG_I64, DIMS(B, 4));
    int w = trans ? weight(b, "w", 0, DIMS(5, 3)) : weight(b, "w", 0, DIMS(3, 5));
    int e = tied ? w : weight(b, "e", 0, DIMS(5, 3));
    int y = op2(b, AMG_OP_GATHER, e, x);
    y = op2(b, AMG_OP_RESHAPE, y, INTS(b, "rows", -1, 3));
    y = gemm(b, y, w, weight(b, "c", 0, DIMS(5)), trans);
    return rank == 2 ? y : op2(b, AMG_OP_RESHAPE, y, INTS(b, "back", -1, 4, 5));
}

static void heads_of_language_models_are_found(void **state)
{
    (void)state;
    amg_class_rows rows;
    for (int rank = 2; rank <= 3; rank++)
        for (int tied = 0; tied < 2; tied++) {
            amg_builder *b = amg_builder_new();
            amg_graph *g = look(b, language_model(b, tied, 1, rank), true, &rows);
            assert_int_equal(rows.num_params, 2);
            assert_int_equal(rows.num_classes, 5);
            assert_int_equal(rows.axis[0], 0);
            assert_int_equal(rows.tied, tied);
            assert_string_equal(g->values[rows.params[0]].name, "w");
            assert_string_equal(g->values[rows.params[1]].name, "c");
            amg_graph_free(g);
        }
    amg_builder *b = amg_builder_new();
    is_head(b, language_model(b, false, 0, 3), 1, "c");
}

static void a_reshape_that_mixes_classes_is_no_head(void **state)
{
    (void)state;
    int x;
    amg_builder *b = fresh(&x);
    int y = gemm(b, x, weight(b, "w", 0, DIMS(20, 3)), AMG_NO_VALUE, 1);
    is_no_head(b, op2(b, AMG_OP_RESHAPE, y, INTS(b, "back", -1, 4, 5)));
    b = fresh(&x); /* [N,5,1]: the classes are not last */
    y = gemm(b, x, weight(b, "w", 0, DIMS(5, 3)), AMG_NO_VALUE, 1);
    is_no_head(b, op2(b, AMG_OP_RESHAPE, y, INTS(b, "back", -1, 5, 1)));
}

/* The rows that a lookup reads are inputs of the layer here, not classes. */
static void a_table_tied_the_other_way_is_no_head(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_I64, DIMS(B));
    int w = weight(b, "w", 0, DIMS(5, 5));
    is_no_head(b, op2(b, AMG_OP_MAT_MUL, op2(b, AMG_OP_GATHER, w, x), w));
}

static void shared_parameters_are_no_head(void **state)
{
    (void)state;
    int x;
    amg_builder *b = amg_builder_new();
    x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5));
    int w = weight(b, "w", 0, DIMS(5, 5));
    is_no_head(b, op2(b, AMG_OP_MAT_MUL, op2(b, AMG_OP_MAT_MUL, x, w), w));
    b = amg_builder_new();
    x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 5));
    int c = weight(b, "c", 0, DIMS(5));
    w = weight(b, "w", 0, DIMS(5, 5));
    is_no_head(b, gemm(b, op2(b, AMG_OP_ADD, x, c), w, c, 1));
}

static void other_heads_are_refused(void **state)
{
    (void)state;
    int x;
    amg_builder *b = amg_builder_new();
    x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 3, 4, 4));
    int w = weight(b, "w", 0, DIMS(5, 3, 1, 1));
    int y = op2(b, AMG_OP_CONV, x, w);
    y = amg_builder_node(b, AMG_OP_GLOBAL_AVERAGE_POOL, "p", IDS(y), NO_ATTRS, NULL);
    is_no_head(b, amg_builder_node(b, AMG_OP_FLATTEN, "f", IDS(y), NO_ATTRS, NULL));

    b = fresh(&x); /* a nonlinearity behind the last layer */
    y = op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5)));
    is_no_head(b, amg_builder_node(b, AMG_OP_RELU, "r", IDS(y), NO_ATTRS, NULL));

    b = fresh(
        &x); /* a bias for all classes alike, and a second reader of the product */
    y = op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5)));
    is_no_head(b, op2(b, AMG_OP_ADD, y, weight(b, "c", 0, DIMS(1))));
    b = fresh(&x);
    y = op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5)));
    amg_builder_node(b, AMG_OP_RELU, "r", IDS(y), NO_ATTRS, NULL);
    is_no_head(b, op2(b, AMG_OP_ADD, y, weight(b, "c", 0, DIMS(5))));

    b = fresh(&x); /* logits that another node reads */
    y = op2(b, AMG_OP_MAT_MUL, x, weight(b, "w", 0, DIMS(3, 5)));
    amg_builder_node(b, AMG_OP_RELU, "r", IDS(y), NO_ATTRS, NULL);
    is_no_head(b, y);

    b = fresh(&x); /* no layer at all */
    is_no_head(b, x);
}

/* ---- rows ---- */

static amg_tensor tensor(int rank, const int64_t *dims, float *data)
{
    amg_tensor t;
    amg_status s = amg_tensor_view(AMG_F32, rank, dims, data, &t, NULL);
    assert_int_equal(s, AMG_OK);
    return t;
}

static void rows_are_permuted_along_their_axis(void **state)
{
    (void)state;
    float in[6] = {0, 1, 2, 3, 4, 5}, out[6];
    static const int32_t map[3] = {2, 0, 1};
    amg_tensor a = tensor(DIMS(3, 2), in), b = tensor(DIMS(3, 2), out);
    amg_class_rows_permute(&a, 0, map, &b);
    assert_memory_equal(out, ((float[]){2, 3, 4, 5, 0, 1}), sizeof out);
    a = tensor(DIMS(2, 3), in), b = tensor(DIMS(2, 3), out);
    amg_class_rows_permute(&a, 1, map, &b);
    assert_memory_equal(out, ((float[]){1, 2, 0, 4, 5, 3}), sizeof out);
}

enum { CLASSES = 64, WIDTH = 3 };

/* Weights and biases of CLASSES classes; rows repeat in their first column, so that
 * later ones and the bias decide. axis: of the classes in the weight. */
static void fill(int axis, float *w, float *bias)
{
    for (int c = 0; c < CLASSES; c++) {
        for (int i = 0; i < WIDTH; i++)
            w[axis == 0 ? c * WIDTH + i : i * CLASSES + c] =
                (float)(i == 0   ? c % 2
                        : i == 1 ? c / 2 % 4
                                 : c / 8 % 4);
        bias[c] = (float)(c / 32) - 0.5f;
    }
}

static void canonical_order_survives_renumbering(void **state)
{
    (void)state;
    for (int axis = 0; axis < 2; axis++) {
        float w[CLASSES * WIDTH], pw[CLASSES * WIDTH], c[CLASSES], pc[CLASSES];
        int32_t map[CLASSES], order[CLASSES], permuted[CLASSES];
        amg_class_rows rows = {
            .num_params = 2, .axis = {axis, 0}, .num_classes = CLASSES};
        int64_t dims[2] = {axis == 0 ? CLASSES : WIDTH, axis == 0 ? WIDTH : CLASSES};
        fill(axis, w, c);
        for (int i = 0; i < CLASSES; i++) map[i] = (i * 37 + 11) % CLASSES;
        amg_tensor tw = tensor(2, dims, w), tpw = tensor(2, dims, pw);
        amg_tensor tc = tensor(DIMS(CLASSES), c), tpc = tensor(DIMS(CLASSES), pc);
        amg_class_rows_permute(&tw, axis, map, &tpw);
        amg_class_rows_permute(&tc, 0, map, &tpc);
        assert_true(amg_class_rows_canonical(
            &rows, (const amg_tensor *const[]){&tw, &tc}, order));
        assert_true(amg_class_rows_canonical(
            &rows, (const amg_tensor *const[]){&tpw, &tpc}, permuted));
        for (int r = 0; r < CLASSES; r++) assert_int_equal(permuted[r], map[order[r]]);
    }
}

static void rows_are_sorted_by_their_bytes_weight_first(void **state)
{
    (void)state;
    float w[3] = {2, 1, 2}, c[3] = {5, 9, 4};
    int32_t order[3];
    amg_class_rows rows = {.num_params = 2, .num_classes = 3};
    amg_tensor tw = tensor(DIMS(3, 1), w), tc = tensor(DIMS(3), c);
    assert_true(
        amg_class_rows_canonical(&rows, (const amg_tensor *const[]){&tw, &tc}, order));
    /* Little-endian bytes: 2.0 is 00 00 00 40, 1.0 is 00 00 80 3f; 4.0 is 00 00 80 40,
     * 5.0 is 00 00 a0 40. */
    assert_memory_equal(order, ((int32_t[]){2, 0, 1}), sizeof order);
}

static void equal_rows_have_no_canonical_order(void **state)
{
    (void)state;
    float w[6] = {3, 4, 1, 2, 3, 4}, c[3] = {0, 0, 0};
    int32_t order[3] = {9, 9, 9};
    amg_class_rows rows = {.num_params = 2, .num_classes = 3};
    amg_tensor tw = tensor(DIMS(3, 2), w), tc = tensor(DIMS(3), c);
    const amg_tensor *const data[2] = {&tw, &tc};
    assert_false(amg_class_rows_canonical(&rows, data, order));
    assert_memory_equal(order, ((int32_t[]){0, 1, 2}), sizeof order);
    c[2] = 1; /* the bias alone tells them apart */
    assert_true(amg_class_rows_canonical(&rows, data, order));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_heads_are_found_in_both_layouts),
        cmocka_unit_test(matmul_heads_are_found_with_and_without_bias),
        cmocka_unit_test(heads_of_language_models_are_found),
        cmocka_unit_test(a_reshape_that_mixes_classes_is_no_head),
        cmocka_unit_test(a_table_tied_the_other_way_is_no_head),
        cmocka_unit_test(shared_parameters_are_no_head),
        cmocka_unit_test(other_heads_are_refused),
        cmocka_unit_test(rows_are_permuted_along_their_axis),
        cmocka_unit_test(canonical_order_survives_renumbering),
        cmocka_unit_test(rows_are_sorted_by_their_bytes_weight_first),
        cmocka_unit_test(equal_rows_have_no_canonical_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
