/* Batches that a graph sorts: between the sort and the way back the folded graph has
 * the samples as they come, and what would need the sorted order is refused. */
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

enum { STEPS = 5, INPUTS = 3, HIDDEN = 4 };

/* A graph that begins with a sort: n [N], x [N,5,3], sorted of both, and where they
 * stand. */
typedef struct {
    amg_builder *b;
    int n, x, count, sorted_n, places, sorted_x;
    int first; /* the layer's initial state */
} sorted;

static int node(amg_builder *b, amg_op op, const int *in, int count,
                const amg_attr *attrs, int num_attrs)
{
    return amg_builder_node(b, op, "n", in, count, attrs, num_attrs, NULL);
}

static int cast(amg_builder *b, int x, amg_dtype to)
{
    return node(b, AMG_OP_CAST, &x, 1, ATTRS(amg_int("to", amg_dtype_onnx(to))));
}

static int gather(amg_builder *b, int x, int index, int64_t axis)
{
    return node(b, AMG_OP_GATHER, IDS(x, index), ATTRS(amg_int("axis", axis)));
}

static sorted begin(void)
{
    sorted s = {.b = amg_builder_new(), .first = AMG_NO_VALUE};
    int top[2];
    s.n = amg_builder_input(s.b, "n", AMG_I64, DIMS(B));
    s.x = amg_builder_input(s.b, "x", AMG_F32, DIMS(B, STEPS, INPUTS));
    s.count = node(s.b, AMG_OP_SHAPE, &s.n, 1, NO_ATTRS);
    amg_builder_node_multi(s.b, AMG_OP_TOP_K, "sort", IDS(s.n, s.count), NULL, 0,
                           (const char *[]){"lengths", "places"}, 2, top);
    s.sorted_n = cast(s.b, top[0], AMG_I32);
    s.places = cast(s.b, top[1], AMG_I64);
    s.sorted_x = gather(s.b, s.x, s.places, 0);
    return s;
}

/* The way back, as PyTorch has it. */
static int inverse(const sorted *s)
{
    const int zero = SCALAR(s->b, "zero", 0), one = SCALAR(s->b, "one", 1);
    const int count = node(s->b, AMG_OP_SIZE, &s->places, 1, NO_ATTRS);
    const int up = node(s->b, AMG_OP_RANGE, IDS(zero, count, one), NO_ATTRS);
    const int shape = node(s->b, AMG_OP_SHAPE, &s->places, 1, NO_ATTRS);
    const int zeros = node(s->b, AMG_OP_CONSTANT_OF_SHAPE, &shape, 1, NO_ATTRS);
    return node(s->b, AMG_OP_SCATTER_ELEMENTS,
                IDS(cast(s->b, zeros, AMG_I64), s->places, up),
                ATTRS(amg_int("axis", 0)));
}

/* Y_h [1,N,4] of a GRU over the sorted samples. */
static int gru(const sorted *s)
{
    const amg_attr perm = amg_ints("perm", 3, (int64_t[]){1, 0, 2});
    const int in[6] = {node(s->b, AMG_OP_TRANSPOSE, &s->sorted_x, 1, &perm, 1),
                       weight(s->b, "w", 0, DIMS(1, 3 * HIDDEN, INPUTS)),
                       weight(s->b, "r", 0, DIMS(1, 3 * HIDDEN, HIDDEN)),
                       AMG_NO_VALUE,
                       s->sorted_n,
                       s->first};
    int out[2];
    amg_builder_node_multi(s->b, AMG_OP_GRU, "gru", in, 6, NULL, 0,
                           (const char *[]){"all", "last"}, 2, out);
    return out[1];
}

/* The graph of this output, folded with the batch open and for 3 samples: its
 * operators. */
static void expect(const sorted *s, int output, const char *expected)
{
    amg_builder_output(s->b, output);
    amg_graph *g = must_finish(s->b);
    for (int64_t batch = B; batch <= 3; batch += 4) {
        amg_graph *out = NULL;
        amg_error err = {0};
        char found[256] = "";
        if (amg_graph_plan_batch(g, batch, &out, &err))
            fail_msg("%s: %s", err.where, err.what);
        for (int i = 0; i < out->num_nodes; i++) {
            if (i) strcat(found, " ");
            strcat(found, amg_op_get(out->nodes[i].op)->name);
        }
        assert_string_equal(found, expected);
        assert_dims(&out->values[out->outputs[0]], DIMS(1, batch, HIDDEN));
        amg_graph_free(out);
    }
    amg_graph_free(g);
}

static void expect_refusal(const sorted *s, int output, const char *what)
{
    amg_builder_output(s->b, output);
    amg_graph *g = must_finish(s->b), *out = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, B, &out, &err), AMG_UNSUPPORTED);
    assert_null(out);
    assert_non_null(strstr(err.what, what));
    assert_non_null(strstr(err.hint, "enforce_sorted=False"));
    amg_graph_free(g);
}

#define LEFT "Cast Transpose GRU"

static void a_sort_that_is_undone_is_left_out(void **state)
{
    (void)state;
    sorted s = begin();
    expect(&s, gather(s.b, gru(&s), inverse(&s), 1), LEFT);
}

/* As numel() and x[order] = arange(N) come out of PyTorch. */
static void counts_may_be_scattered_as_rows(void **state)
{
    (void)state;
    sorted s = begin();
    const int zero = SCALAR(s.b, "zero", 0), one = SCALAR(s.b, "one", 1);
    const int shape = node(s.b, AMG_OP_SHAPE, &s.places, 1, NO_ATTRS);
    const int count =
        node(s.b, AMG_OP_REDUCE_PROD, &shape, 1, ATTRS(amg_int("keepdims", 0)));
    int up = node(s.b, AMG_OP_RANGE, IDS(zero, count, one), NO_ATTRS);
    up = node(s.b, AMG_OP_RESHAPE, IDS(up, shape), NO_ATTRS);
    const int zeros =
        cast(s.b, node(s.b, AMG_OP_CONSTANT_OF_SHAPE, &shape, 1, NO_ATTRS), AMG_I64);
    const int at =
        node(s.b, AMG_OP_UNSQUEEZE, IDS(s.places, INTS(s.b, "column", -1)), NO_ATTRS);
    const int back = node(s.b, AMG_OP_SCATTER_ND, IDS(zeros, at, up), NO_ATTRS);
    expect(&s, gather(s.b, gru(&s), back, 1), LEFT);
}

/* A state to begin with that is computed of no sample is the same in any order, and
 * zeros are none. */
static void rows_that_are_alike_need_no_order(void **state)
{
    (void)state;
    sorted s = begin();
    const int ends[2] = {INTS(s.b, "one_way", 1), INTS(s.b, "width", HIDDEN)};
    const int shape = node(s.b, AMG_OP_CONCAT, IDS(ends[0], s.count, ends[1]),
                           ATTRS(amg_int("axis", 0)));
    const int zeros = node(s.b, AMG_OP_CONSTANT_OF_SHAPE, &shape, 1, NO_ATTRS);
    s.first = gather(s.b, zeros, s.places, 1);
    expect(&s, gather(s.b, gru(&s), inverse(&s), 1), LEFT);
}

static void places_that_are_sorted_are_the_way_back(void **state)
{
    (void)state;
    for (int64_t largest = 0; largest < 2; largest++) {
        sorted s = begin();
        int back[2];
        const amg_attr order = amg_int("largest", largest);
        amg_builder_node_multi(s.b, AMG_OP_TOP_K, "back", IDS(s.places, s.count),
                               &order, 1, (const char *[]){"up", "at"}, 2, back);
        const int y = gather(s.b, gru(&s), back[1], 1);
        if (largest)
            expect_refusal(&s, y, "were sorted");
        else
            expect(&s, y, LEFT);
    }
}

/* What happens to each sample alone may stand between. */
static void samples_may_be_computed_with_in_between(void **state)
{
    (void)state;
    sorted s = begin();
    const int table = weight(s.b, "table", 0, DIMS(STEPS + 1, INPUTS));
    int y = gather(s.b, table, s.sorted_n, 0);
    y = node(s.b, AMG_OP_UNSQUEEZE, IDS(y, INTS(s.b, "axes", 1)), NO_ATTRS);
    s.sorted_x = node(s.b, AMG_OP_ADD, IDS(s.sorted_x, y), NO_ATTRS);
    expect(&s, gather(s.b, gru(&s), inverse(&s), 1),
           "Cast Gather Unsqueeze Add Transpose GRU");
}

static void what_needs_the_order_is_refused(void **state)
{
    (void)state;
    sorted s = begin();
    expect_refusal(&s, gru(&s), "a result whose samples are sorted");

    s = begin(); /* sorted beside as they come */
    s.sorted_x = node(s.b, AMG_OP_ADD, IDS(s.sorted_x, s.x), NO_ATTRS);
    expect_refusal(&s, gather(s.b, gru(&s), inverse(&s), 1), "beside others");

    s = begin(); /* each sample and those before it */
    const int axis = SCALAR(s.b, "axis", 0);
    s.sorted_x = node(s.b, AMG_OP_CUM_SUM, IDS(s.sorted_x, axis), NO_ATTRS);
    expect_refusal(&s, gather(s.b, gru(&s), inverse(&s), 1), "may depend on");

    s = begin(); /* from sample to sample */
    const int in[3] = {s.sorted_x, weight(s.b, "w", 0, DIMS(1, HIDDEN, INPUTS)),
                       weight(s.b, "r", 0, DIMS(1, HIDDEN, HIDDEN))};
    const int all = node(s.b, AMG_OP_RNN, in, 3, NO_ATTRS);
    expect_refusal(&s, gather(s.b, all, inverse(&s), 0), "may depend on");

    s = begin(); /* rows of other samples */
    const int rows = INTS(s.b, "rows", -1, INPUTS);
    const int flat = node(s.b, AMG_OP_RESHAPE, IDS(s.sorted_x, rows), NO_ATTRS);
    const int found = gather(s.b, flat, s.sorted_n, 0);
    expect_refusal(&s, gather(s.b, found, inverse(&s), 0), "may depend on");

    s = begin(); /* by its place */
    const int place = cast(s.b, s.places, AMG_F32);
    expect_refusal(&s, node(s.b, AMG_OP_EXP, &place, 1, NO_ATTRS), "a sort's order");

    s = begin(); /* back by the order itself */
    expect_refusal(&s, gather(s.b, gru(&s), s.places, 1), "beside others");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sort_that_is_undone_is_left_out),
        cmocka_unit_test(counts_may_be_scattered_as_rows),
        cmocka_unit_test(rows_that_are_alike_need_no_order),
        cmocka_unit_test(places_that_are_sorted_are_the_way_back),
        cmocka_unit_test(samples_may_be_computed_with_in_between),
        cmocka_unit_test(what_needs_the_order_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
