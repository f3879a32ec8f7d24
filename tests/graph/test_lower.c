/* Compositions give way to their parts once shapes are known, also with the batch free;
 * weights stay weights, and Einsum's equations are read. */
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

static amg_attr text(const char *name, const char *value)
{
    return (amg_attr){.name = name, .kind = AMG_ATTR_STRING, .s = value};
}

static int input(amg_builder *b, int rank, const int64_t *dims)
{
    return amg_builder_input(b, "x", AMG_F32, rank, dims);
}

/* The graph of one output "y", folded; its operators' names with a space between. */
static amg_graph *folded(amg_builder *b, int64_t batch, const char *expected)
{
    amg_graph *g = must_finish(b), *out = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(g, batch, &out, &err))
        fail_msg("%s: %s", err.where, err.what);
    char found[512] = "";
    for (int i = 0; i < out->num_nodes; i++) {
        if (i) strcat(found, " ");
        strcat(found, amg_op_get(out->nodes[i].op)->name);
    }
    assert_string_equal(found, expected);
    assert_string_equal(out->values[out->outputs[0]].name, "y");
    for (int i = 0; i < out->num_values; i++) { /* its parameters are views into g */
        amg_value *v = &out->values[i];
        v->data.data = NULL;
    }
    amg_graph_free(g);
    return out;
}

static void output(amg_builder *b, amg_op op, const int *in, int count,
                   const amg_attr *attrs, int num_attrs)
{
    amg_builder_output(b,
                       amg_builder_node(b, op, "n", in, count, attrs, num_attrs, "y"));
}

static void expect_output(amg_graph *g, int rank, const int64_t *dims)
{
    assert_dims(&g->values[g->outputs[0]], rank, dims);
    amg_graph_free(g);
}

static void blocks_move_with_the_batch_free(void **state)
{
    (void)state;
    for (int64_t batch = B; batch <= 3; batch += 4) {
        amg_builder *b = amg_builder_new();
        int x = input(b, DIMS(B, 12, 2, 3));
        output(b, AMG_OP_DEPTH_TO_SPACE, IDS(x), ATTRS(amg_int("blocksize", 2)));
        expect_output(folded(b, batch, "Reshape Transpose Reshape"),
                      DIMS(batch, 3, 4, 6));
        b = amg_builder_new();
        x = input(b, DIMS(B, 3, 4, 6));
        output(b, AMG_OP_SPACE_TO_DEPTH, IDS(x), ATTRS(amg_int("blocksize", 2)));
        expect_output(folded(b, batch, "Reshape Transpose Reshape"),
                      DIMS(batch, 12, 2, 3));
    }
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 10, 2, 3));
    output(b, AMG_OP_DEPTH_TO_SPACE, IDS(x), ATTRS(amg_int("blocksize", 2)));
    must_refuse(b, AMG_MISMATCH, "(DepthToSpace)", "blocks of 2");
}

static void one_hot_compares(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_I64, DIMS(B, 5));
    int in[3] = {x, SCALAR(b, "depth", 7), weight(b, "values", 0, DIMS(2))};
    output(b, AMG_OP_ONE_HOT, in, 3, ATTRS(amg_int("axis", 1)));
    expect_output(folded(b, B, "Unsqueeze Equal Equal Or Where"), DIMS(B, 7, 5));
}

static void only_what_pytorch_cannot_pad_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *mode, *expected;
        int64_t pads[8], dims[4];
    } rows[] = {
        {"constant", "Pad", {0, 1, 0, 2, 0, 0, 3, 0}, {B, 4, 7, 7}},
        {"constant", "Slice Pad", {0, 1, 0, -2, 0, 0, 3, 0}, {B, 4, 7, 3}},
        {"reflect", "Pad", {0, 0, 3, 2, 0, 0, 0, 0}, {B, 3, 7, 7}},
        {"reflect", "Gather", {0, 0, 4, 0, 0, 0, 0, 0}, {B, 3, 8, 5}},
        {"wrap", "Gather Gather", {0, 1, 0, -1, 0, 1, 0, 0}, {B, 5, 4, 4}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int x = input(b, DIMS(B, 3, 4, 5));
        int pads = ints(b, "pads", 8, rows[i].pads);
        output(b, AMG_OP_PAD, IDS(x, pads), ATTRS(text("mode", rows[i].mode)));
        expect_output(folded(b, B, rows[i].expected), 4, rows[i].dims);
    }
}

/* Parts of 2 and 3 rows; along another axis than theirs, or of several, it stays. */
static void one_row_of_several_parts_is_of_its_own(void **state)
{
    (void)state;
    static const struct {
        int64_t row, axis, own; /* own: the row of its part */
        const char *part;       /* the whole: "all" */
    } rows[] = {{1, 1, 1, "x"},
                {2, 1, 0, "padded"},
                {-1, -2, 2, "padded"},
                {-5, 1, 0, "x"},
                {1, 2, 1, "all"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int x = input(b, DIMS(B, 2, 4));
        int pads = ints(b, "pads", 6, (int64_t[]){0, 0, 0, 0, 1, 0});
        int y =
            amg_builder_node(b, AMG_OP_PAD, "pad", IDS(x, pads), NO_ATTRS, "padded");
        int all = amg_builder_node(b, AMG_OP_CONCAT, "join", IDS(x, y),
                                   ATTRS(amg_int("axis", 1)), "all");
        int row = SCALAR(b, "row", rows[i].row);
        output(b, AMG_OP_GATHER, IDS(all, row), ATTRS(amg_int("axis", rows[i].axis)));
        amg_graph *g = must_finish(b), *out = NULL;
        assert_int_equal(amg_graph_plan_batch(g, B, &out, NULL), AMG_OK);
        const amg_node *last = &out->nodes[out->num_nodes - 1];
        assert_int_equal(last->op, AMG_OP_GATHER);
        assert_string_equal(out->values[last->inputs[0]].name, rows[i].part);
        assert_int_equal(*(const int64_t *)out->values[last->inputs[1]].data.data,
                         rows[i].own);
        assert_int_equal(out->num_nodes,
                         1 + (*rows[i].part != 'x') + (*rows[i].part == 'a'));
        amg_graph_free(out);
        amg_graph_free(g);
    }
}

/* The middle of one axis, zeros around the other; the batch keeps its own size. */
static void a_crop_keeps_the_batch(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3, 4, 5));
    int shape = INTS(b, "shape", 8, 3, 7, 2);
    output(b, AMG_OP_CENTER_CROP_PAD, IDS(x, shape), NULL, 0);
    expect_output(folded(b, B, "Pad Slice"), DIMS(B, 3, 7, 2));
    b = amg_builder_new();
    x = input(b, DIMS(B, 3, 4, 5));
    output(b, AMG_OP_CENTER_CROP_PAD, IDS(x, INTS(b, "shape", 7, 2)), NULL, 0);
    must_refuse(b, AMG_MISMATCH, "(CenterCropPad)", "2 numbers does not fit");
}

/* Tables of angles are no weights, though they are gathered from. */
static void a_rotation_trains_nothing(void **state)
{
    (void)state;
    for (int64_t pairs = 0; pairs < 2; pairs++) {
        amg_builder *b = amg_builder_new();
        int in[4] = {
            input(b, DIMS(B, 4, 12)), weight(b, "cos", 1, DIMS(9, 3)),
            weight(b, "sin", 0, DIMS(9, 3)),
            amg_builder_node(b, AMG_OP_RESHAPE, "",
                             IDS(INTS(b, "p", 0, 1, 2, 3), INTS(b, "row", 1, 4)), NULL,
                             0, "ids")};
        output(b, AMG_OP_ROTARY_EMBEDDING, in, 4,
               ATTRS(amg_int("num_heads", 2), amg_int("interleaved", pairs)));
        const char *expected =
            pairs ? "Reshape Slice Slice Mul Mul Sub Mul Mul Add Unsqueeze Unsqueeze "
                    "Concat Reshape Reshape"
                  : "Reshape Slice Slice Mul Mul Sub Mul Mul Add Concat Reshape";
        amg_graph *g = folded(b, B, expected);
        for (int v = 0; v < g->num_values; v++)
            assert_true(g->values[v].kind != AMG_VALUE_PARAM ||
                        g->values[v].role == AMG_ROLE_CONSTANT);
        expect_output(g, DIMS(B, 4, 12));
    }
}

/* x * 0.5 * (1 + erf(x / root)), as PyTorch's exporters write it up to opset 19. */
static int gelu_parts(amg_builder *b, int x, float root, int *erf)
{
    const int numbers[3] = {weight(b, "root", root, 0, (int64_t[1]){0}),
                            weight(b, "one", 1, 0, (int64_t[1]){0}),
                            weight(b, "half", 0.5f, 0, (int64_t[1]){0})};
    int v = amg_builder_node(b, AMG_OP_DIV, "", IDS(x, numbers[0]), NULL, 0, "a");
    *erf = v = amg_builder_node(b, AMG_OP_ERF, "", IDS(v), NULL, 0, "e");
    v = amg_builder_node(b, AMG_OP_ADD, "", IDS(v, numbers[1]), NULL, 0, "s");
    v = amg_builder_node(b, AMG_OP_MUL, "", IDS(x, v), NULL, 0, "m");
    return amg_builder_node(b, AMG_OP_MUL, "", IDS(v, numbers[2]), NULL, 0, "g");
}

static void activations_come_together_again(void **state)
{
    (void)state;
    static const struct {
        float root;
        bool erf_is_read;
        const char *expected;
    } rows[] = {{1.41421356f, false, "Gelu Relu"},
                {1.5f, false, "Div Erf Add Mul Mul Relu"},
                {1.41421356f, true, "Div Erf Gelu Add"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int erf, g = gelu_parts(b, input(b, DIMS(B, 3)), rows[i].root, &erf);
        if (rows[i].erf_is_read)
            output(b, AMG_OP_ADD, IDS(g, erf), NULL, 0);
        else
            output(b, AMG_OP_RELU, IDS(g), NULL, 0);
        expect_output(folded(b, B, rows[i].expected), DIMS(B, 3));
    }
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3));
    int t = amg_builder_node(b, AMG_OP_SOFTPLUS, "", IDS(x), NULL, 0, "p");
    t = amg_builder_node(b, AMG_OP_TANH, "", IDS(t), NULL, 0, "t");
    output(b, AMG_OP_MUL, IDS(x, t), NULL, 0);
    expect_output(folded(b, B, "Mish"), DIMS(B, 3));
}

static void a_linear_layer_stays_one(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 4));
    int w = weight(b, "w", 0, DIMS(5, 4)), c = weight(b, "c", 0, DIMS(5));
    output(b, AMG_OP_GEMM, IDS(x, w, c), ATTRS(amg_int("transB", 1)));
    expect_output(folded(b, B, "Gemm"), DIMS(B, 5));

    b = amg_builder_new();
    x = input(b, DIMS(B, 4));
    w = weight(b, "w", 0, DIMS(5, 4));
    c = weight(b, "c", 0, DIMS(5));
    output(b, AMG_OP_GEMM, IDS(x, w, c),
           ATTRS(amg_int("transB", 1), amg_flt("alpha", 2), amg_flt("beta", 3)));
    amg_graph *g = folded(b, B, "Gemm Mul Add Mul");
    assert_int_equal(named(g, "w")->role, AMG_ROLE_TRAINABLE);
    assert_int_equal(named(g, "c")->role, AMG_ROLE_TRAINABLE);
    expect_output(g, DIMS(B, 5));
}

static void einsum(amg_builder *b, const char *equation, const int *in, int count)
{
    output(b, AMG_OP_EINSUM, in, count, ATTRS(text("equation", equation)));
}

static void an_equation_of_a_layer_is_one(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3, 4)), w = weight(b, "w", 0, DIMS(4, 5));
    einsum(b, "bsd,dh->bsh", IDS(x, w));
    amg_graph *g = folded(b, B, "Reshape Gemm Reshape");
    assert_int_equal(named(g, "w")->role, AMG_ROLE_TRAINABLE);
    expect_output(g, DIMS(B, 3, 5));

    b = amg_builder_new(); /* the weight as PyTorch's linear layers have it */
    x = input(b, DIMS(B, 3, 4));
    w = weight(b, "w", 0, DIMS(5, 4));
    einsum(b, "hd,bsd->bsh", IDS(w, x));
    expect_output(folded(b, B, "Reshape Gemm Reshape"), DIMS(B, 3, 5));

    b = amg_builder_new();
    x = input(b, DIMS(B, 3, 4));
    einsum(b, "bsd,btd->bst", IDS(x, x));
    expect_output(folded(b, B, "Transpose MatMul"), DIMS(B, 3, 3));
}

static int role_of(amg_builder *b, const char *name)
{
    amg_graph *g = must_finish(b);
    const int role = (int)named(g, name)->role;
    amg_graph_free(g);
    return role;
}

static void weights_are_weights_as_read(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 3, 4)), w = weight(b, "w", 0, DIMS(4, 5));
    einsum(b, "bsd,dh->bsh", IDS(x, w));
    assert_int_equal(role_of(b, "w"), AMG_ROLE_TRAINABLE);

    b = amg_builder_new(); /* a learned row, put behind a layer */
    x = input(b, DIMS(3, 4));
    int y = amg_builder_node(b, AMG_OP_MAT_MUL, "m",
                             IDS(x, weight(b, "w", 0, DIMS(4, 5))), NO_ATTRS, NULL);
    int at = ints(b, "i", 1, (int64_t[]){2});
    at = amg_builder_node(b, AMG_OP_UNSQUEEZE, "u", IDS(at, INTS(b, "a", 1)), NO_ATTRS,
                          NULL);
    output(b, AMG_OP_SCATTER_ND, IDS(y, at, weight(b, "row", 0, DIMS(1, 5))), NO_ATTRS);
    assert_int_equal(role_of(b, "row"), AMG_ROLE_TRAINABLE);
}

static void wrong_equations_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *equation, *what;
    } rows[] = {{"bs,bs->b", "numbers of dims"},
                {"bsd", "too few terms"},
                {"bsd,bsd,bsd", "too many terms"},
                {"bsd,bsd->bx", "in no operand"},
                {"bsd,bsd->bb", "twice"},
                {"bsd,bds->b", "is 3, expected 4"},
                {"b1d,bsd->b", "no label"},
                {"...,......->", "twice in one term"},
                {"bsd,bsd->b,s", "behind its result"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        amg_builder *b = amg_builder_new();
        int x = input(b, DIMS(B, 3, 4));
        einsum(b, rows[i].equation, IDS(x, x));
        must_refuse(b, AMG_MISMATCH, "(Einsum)", rows[i].what);
    }
    amg_builder *b = amg_builder_new();
    int x = input(b, DIMS(B, 2, 2, 2));
    einsum(b, "abcd,efgh->ae", IDS(x, x));
    must_refuse(b, AMG_UNSUPPORTED, "(Einsum)", "8 labels, at most 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_move_with_the_batch_free),
        cmocka_unit_test(one_hot_compares),
        cmocka_unit_test(only_what_pytorch_cannot_pad_is_taken_apart),
        cmocka_unit_test(one_row_of_several_parts_is_of_its_own),
        cmocka_unit_test(a_crop_keeps_the_batch),
        cmocka_unit_test(a_rotation_trains_nothing),
        cmocka_unit_test(activations_come_together_again),
        cmocka_unit_test(a_linear_layer_stays_one),
        cmocka_unit_test(an_equation_of_a_layer_is_one),
        cmocka_unit_test(weights_are_weights_as_read),
        cmocka_unit_test(wrong_equations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
