/* Files in which an exporter has baked its batch in: what becomes of the number, what
 * is left alone, and that a file which fits as it stands is read so. */
#include "onnx_fixture.h"

/* y = Concat(rows, x) over x [2,3,8]. */
static void join_rows(model *m)
{
    start(m, 17);
    m->inputs[0] = info(m, "x", "2,3,8");
    node(m, "Concat", "rows x", "y");
    attr_int(m, "axis", 1);
}

static void expect_open(model *m, const char *ops)
{
    char names[1024];
    amg_graph *g = must_import(m), *planned = NULL;
    op_names(g, names);
    assert_string_equal(names, ops);
    expect_shape(g, "y", "F32[N,4,8]");
    assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
    expect_shape(planned, "y", "F32[5,4,8]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void a_token_expanded_to_the_batch_follows_it(void **state)
{
    (void)state;
    model m;
    join_rows(&m);
    init(&m, "token", 1, 3, (int64_t[]){1, 1, 8}, 32);
    init_ints(&m, "shape", INTS(2, 1, 8));
    node(&m, "Expand", "token shape", "rows");
    expect_open(&m, "Shape Concat Expand Concat");
}

/* A position for each sample, of one that is repeated. */
static void a_row_repeated_to_the_batch_follows_it(void **state)
{
    (void)state;
    model m;
    join_rows(&m);
    init(&m, "token", 1, 3, (int64_t[]){1, 1, 8}, 32);
    init_ints(&m, "repeats", INTS(2, 1, 1));
    node(&m, "Tile", "token repeats", "rows");
    expect_open(&m, "Shape Concat Expand Concat");
}

/* Biases of two heads for every sample, the sample's heads one behind the other; their
 * number is computed in floats. */
static void rows_repeated_to_the_batch_follow_it(void **state)
{
    (void)state;
    model m;
    start(&m, 17);
    m.inputs[0] = info(&m, "x", "3,2,4");
    init(&m, "bias", 1, 3, (int64_t[]){2, 1, 4}, 32);
    init_ints(&m, "repeats", INTS(3, 1, 1));
    init_ints(&m, "heads", INTS(6, 1, 4));
    node(&m, "Reshape", "x heads", "h");
    node(&m, "Tile", "bias repeats", "biases");
    node(&m, "Add", "h biases", "sum");
    init_ints(&m, "two", INTS(2));
    init_ints(&m, "three_one", INTS(3, 1));
    init_ints(&m, "none", INTS(0));
    node(&m, "Squeeze", "two none", "number");
    node(&m, "Cast", "number", "float");
    attr_int(&m, "to", 1);
    node(&m, "Mul", "float float", "product");
    node(&m, "Cast", "product", "four");
    attr_int(&m, "to", 7);
    node(&m, "Unsqueeze", "four none", "columns");
    node(&m, "Concat", "three_one two columns", "back");
    attr_int(&m, "axis", 0);
    node(&m, "Reshape", "sum back", "y");
    amg_graph *g = must_import(&m), *planned = NULL;
    expect_shape(g, "y", "F32[N,1,2,4]");
    assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
    expect_shape(planned, "biases", "F32[10,1,4]");
    expect_shape(planned, "y", "F32[5,1,2,4]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

/* Windows of samples: three samples of four are [12,…], where [12,-1] may be N rows. */
static void a_reshape_follows_the_batch_by_its_number(void **state)
{
    (void)state;
    model m;
    start(&m, 17);
    m.inputs[0] = info(&m, "x", "3,4,10");
    init(&m, "token", 1, 3, (int64_t[]){1, 1, 5}, 20);
    init_ints(&m, "windows", INTS(12, 2, 5));
    init_ints(&m, "heads", INTS(12, 2, 1, -1));
    init_ints(&m, "one", INTS(12, 1, 5));
    init_ints(&m, "back", INTS(3, -1, 10));
    node(&m, "Reshape", "x windows", "w");
    node(&m, "Reshape", "w heads", "h");
    init_ints(&m, "axis", INTS(2));
    node(&m, "Squeeze", "h axis", "s");
    node(&m, "ReduceMax", "s", "most");
    attr_ints(&m, "axes", INTS(1));
    node(&m, "Expand", "most one", "same");
    node(&m, "Add", "same s", "sum");
    node(&m, "Reshape", "sum back", "b");
    init_ints(&m, "tokens_shape", INTS(3, 4, 5));
    node(&m, "Expand", "token tokens_shape", "tokens");
    node(&m, "Concat", "b tokens", "y");
    attr_int(&m, "axis", 2);
    amg_graph *g = must_import(&m), *planned = NULL;
    assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
    expect_shape(planned, "w", "F32[20,2,5]");
    expect_shape(planned, "same", "F32[20,1,5]");
    expect_shape(planned, "y", "F32[5,4,15]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

/* Attention over [5,N,16] of a file for one sample, and a class token that nothing
 * expands. */
static void one_sample_s_attention_follows_the_batch(void **state)
{
    (void)state;
    model m;
    start(&m, 17);
    m.inputs[0] = info(&m, "x", "1,5,16");
    init(&m, "token", 1, 3, (int64_t[]){1, 1, 16}, 64);
    init_ints(&m, "to_rows", INTS(5, 16));
    init_ints(&m, "to_steps", INTS(5, 1, 16));
    init_ints(&m, "to_heads", INTS(5, 2, 8));
    const char *const swap[][2] = {{"x", "a"}, {"heads", "b"}, {"c", "d"}, {"g", "h"}};
    for (int i = 0; i < 4; i++) {
        if (i == 1) {
            node(&m, "Reshape", "a to_rows", "rows");
            node(&m, "Relu", "rows", "r");
            node(&m, "Reshape", "r to_steps", "steps");
            node(&m, "Reshape", "steps to_heads", "heads");
        } else if (i == 2) {
            node(&m, "Softmax", "b", "c");
            attr_int(&m, "axis", -1);
        } else if (i == 3) {
            node(&m, "Reshape", "d to_rows", "e");
            node(&m, "Relu", "e", "f");
            node(&m, "Reshape", "f to_steps", "g");
        }
        node(&m, "Transpose", swap[i][0], swap[i][1]);
        attr_ints(&m, "perm", INTS(1, 0, 2));
    }
    node(&m, "Concat", "token h", "y");
    attr_int(&m, "axis", 1);
    amg_graph *g = must_import(&m), *planned = NULL;
    assert_int_equal(amg_graph_plan_batch(g, 3, &planned, NULL), AMG_OK);
    expect_shape(planned, "rows", "F32[15,16]");
    expect_shape(planned, "steps", "F32[5,3,16]");
    expect_shape(planned, "b", "F32[6,5,8]");
    expect_shape(planned, "e", "F32[15,16]");
    expect_shape(planned, "y", "F32[3,6,16]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

/* as_strided of a mean, as dynamo's exporter writes it: all of it, in its order. */
static void what_reads_all_in_order_is_a_reshape(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        model m;
        start(&m, 17);
        m.inputs[0] = info(&m, "x", "2,3");
        init_ints(&m, "all", INTS(-1));
        const int64_t at[6] = {0, 1, 2, 3, 4, 5 - wrong};
        memcpy(init(&m, "at", 7, 3, (int64_t[]){2, 3, 1}, sizeof at)->raw_data.data, at,
               sizeof at);
        node(&m, "Reshape", "x all", "flat");
        node(&m, "Gather", "flat at", "y");
        amg_graph *g = must_import(&m);
        expect_shape(g, "y", wrong ? "F32[2,3,1]" : "F32[N,3,1]");
        amg_graph_free(g);
    }
}

/* Zeros of the exporter's two samples meet rows whose shape only folding finds. */
static void a_batch_that_folding_finds_baked_in_follows_it(void **state)
{
    (void)state;
    model m;
    start(&m, 17);
    m.inputs[0] = info(&m, "x", "2,4,8");
    init(&m, "zeros", 1, 3, (int64_t[]){2, 4, 8}, 256)->doc_string =
        keep(&m, "constant");
    init_ints(&m, "half", INTS(0, 2, 4));
    init_ints(&m, "two", INTS(1, 2, 2));
    node(&m, "Mul", "half two", "shape");
    node(&m, "Reshape", "x shape", "rows");
    node(&m, "Add", "rows zeros", "y");
    amg_graph *g = must_import(&m), *planned = NULL;
    assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
    expect_shape(planned, "y", "F32[5,4,8]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void equal_rows_of_a_constant_follow_the_batch(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        model m;
        join_rows(&m);
        Onnx__TensorProto *rows = init(&m, "rows", 1, 3, (int64_t[]){2, 1, 8}, 64);
        if (wrong != 1) rows->doc_string = keep(&m, "constant");
        if (wrong == 2) rows->raw_data.data[63] = 1;
        if (wrong) /* a weight; rows that differ */
            expect_failure(&m, AMG_MISMATCH, "node \"n0\" (Concat)",
                           "does not join F32[2,1,8]");
        else
            expect_open(&m, "Shape Concat Expand Concat");
    }
}

/* A recurrent layer's first states, [layers, batch, width]: constant, or expanded to a
 * shape of constants. */
static void states_with_the_batch_second_follow_it(void **state)
{
    (void)state;
    for (int expanded = 0; expanded < 2; expanded++) {
        model m;
        start(&m, 17);
        m.inputs[0] = info(&m, "x", "2,3,8");
        if (expanded) {
            init(&m, "zero", 1, 3, (int64_t[]){1, 1, 1}, 4);
            init_ints(&m, "layers", INTS(1));
            init_ints(&m, "batch_width", INTS(2, 8));
            node(&m, "Concat", "layers batch_width", "shape");
            attr_int(&m, "axis", 0);
            node(&m, "Expand", "zero shape", "states");
        } else {
            init(&m, "states", 1, 3, (int64_t[]){1, 2, 8}, 64)->doc_string =
                keep(&m, "constant");
        }
        node(&m, "Transpose", "x", "steps");
        attr_ints(&m, "perm", INTS(1, 0, 2));
        node(&m, "Concat", "states steps", "joined");
        attr_int(&m, "axis", 0);
        node(&m, "Transpose", "joined", "y");
        attr_ints(&m, "perm", INTS(1, 0, 2));
        amg_graph *g = must_import(&m), *planned = NULL;
        assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
        expect_shape(planned, "y", "F32[5,4,8]");
        amg_graph_free(planned);
        amg_graph_free(g);
    }
}

/* Positions of whole numbers, rows alike, choose rows of a table. */
static void equal_rows_of_whole_numbers_follow_the_batch(void **state)
{
    (void)state;
    model m;
    join_rows(&m);
    init(&m, "table", 1, 2, (int64_t[]){7, 8}, 7 * 32);
    init(&m, "ids", 7, 2, (int64_t[]){2, 1}, 16);
    node(&m, "Gather", "table ids", "rows");
    expect_open(&m, "Shape Concat Expand Gather Concat");
}

/* x[arange(3), places]: rows that begin at 0, 4 and 8. */
static void counted_rows_follow_the_batch(void **state)
{
    (void)state;
    model m;
    start(&m, 17);
    m.inputs[0] = info(&m, "x", "3,4");
    init_ints(&m, "up", INTS(0, 1, 2));
    init_ints(&m, "four", INTS(4));
    init_ints(&m, "all", INTS(-1));
    init_ints(&m, "axis", INTS(1));
    node(&m, "ArgMax", "x", "places");
    attr_int(&m, "axis", 1);
    attr_int(&m, "keepdims", 0);
    node(&m, "Mul", "up four", "rows");
    node(&m, "Add", "rows places", "at");
    node(&m, "Reshape", "x all", "flat");
    node(&m, "Gather", "flat at", "found");
    node(&m, "Unsqueeze", "found axis", "column");
    node(&m, "Add", "x column", "y");
    amg_graph *g = must_import(&m), *planned = NULL;
    expect_shape(g, "found", "F32[N]");
    assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
    expect_shape(planned, "y", "F32[5,4]");
    amg_graph_free(planned);
    amg_graph_free(g);
}

/* The inverse of an order. */
static void counted_samples_follow_the_batch(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        model m;
        start(&m, 17);
        m.inputs[0] = info(&m, "x", "3,4");
        init_ints(&m, "axis", INTS(1));
        init_ints(&m, "zeros", INTS(0, 0, wrong == 1));
        init_ints(&m, "up", INTS(0, 1, wrong == 2 ? 1 : 2));
        node(&m, "ArgMax", "x", "places");
        attr_int(&m, "axis", 1);
        attr_int(&m, "keepdims", 0);
        node(&m, "ScatterElements", "zeros places up", "back");
        node(&m, "Unsqueeze", "back axis", "column");
        node(&m, "Cast", "column", "number");
        attr_int(&m, "to", 1);
        node(&m, "Add", "x number", "y");
        if (wrong) {
            expect_failure(&m, AMG_MISMATCH, "node \"n1\" (ScatterElements)",
                           "do not fit");
            continue;
        }
        char names[1024];
        amg_graph *g = must_import(&m), *planned = NULL;
        op_names(g, names);
        assert_string_equal(names, "ArgMax Shape Squeeze Range Shape Expand "
                                   "ScatterElements Unsqueeze Cast Add");
        expect_shape(g, "y", "F32[N,4]");
        assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
        expect_shape(planned, "y", "F32[5,4]");
        amg_graph_free(planned);
        amg_graph_free(g);
    }
}

static void a_file_that_fits_is_read_as_it_stands(void **state)
{
    (void)state;
    model m;
    char names[1024];
    start(&m, 17);
    m.inputs[0] = info(&m, "x", "1,3,8");
    init(&m, "mask", 1, 3, (int64_t[]){1, 3, 8}, 96)->doc_string = keep(&m, "constant");
    node(&m, "Add", "x mask", "y");
    amg_graph *g = must_import(&m);
    op_names(g, names);
    assert_string_equal(names, "Add");
    amg_graph_free(g);
}

static void a_batch_that_is_not_why_is_told_as_it_was(void **state)
{
    (void)state;
    model m;
    join_rows(&m);
    init(&m, "rows", 1, 3, (int64_t[]){2, 1, 9}, 72)->doc_string = keep(&m, "constant");
    expect_failure(&m, AMG_MISMATCH, "node \"n0\" (Concat)",
                   "does not join F32[2,1,9]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_expanded_to_the_batch_follows_it),
        cmocka_unit_test(a_row_repeated_to_the_batch_follows_it),
        cmocka_unit_test(rows_repeated_to_the_batch_follow_it),
        cmocka_unit_test(a_reshape_follows_the_batch_by_its_number),
        cmocka_unit_test(one_sample_s_attention_follows_the_batch),
        cmocka_unit_test(what_reads_all_in_order_is_a_reshape),
        cmocka_unit_test(a_batch_that_folding_finds_baked_in_follows_it),
        cmocka_unit_test(equal_rows_of_a_constant_follow_the_batch),
        cmocka_unit_test(states_with_the_batch_second_follow_it),
        cmocka_unit_test(equal_rows_of_whole_numbers_follow_the_batch),
        cmocka_unit_test(counted_samples_follow_the_batch),
        cmocka_unit_test(counted_rows_follow_the_batch),
        cmocka_unit_test(a_file_that_fits_is_read_as_it_stands),
        cmocka_unit_test(a_batch_that_is_not_why_is_told_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
