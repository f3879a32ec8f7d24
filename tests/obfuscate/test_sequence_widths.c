/* Tests of obfuscate/channels, arch_edit and arch_region on networks of sequences:
 * which widths of recurrent layers, tables and attention move, what moves with them,
 * and how many recurrent layers there are. */
#include "arch_fixture.h"

#include "obfuscate/channels.h"
#include "obfuscate/decoy_arch.h"

#define COUNT(type, ...) ((int)(sizeof((type[]){__VA_ARGS__}) / sizeof(type)))
#define INTS(...)                                                                      \
    COUNT(int64_t, __VA_ARGS__), (int64_t[]) { __VA_ARGS__ }

/* A node called name, whose inputs are the values given. */
#define NODE(op, name, attrs, ...)                                                     \
    amg_builder_node(b, op, name, (int[]){__VA_ARGS__}, COUNT(int, __VA_ARGS__),       \
                     attrs, (int)(sizeof(attrs) / sizeof(amg_attr)), name)
#define PLAIN(op, name, ...)                                                           \
    amg_builder_node(b, op, name, (int[]){__VA_ARGS__}, COUNT(int, __VA_ARGS__), NULL, \
                     0, name)
#define ATTRS(...) ((amg_attr[]){__VA_ARGS__})

static int weight(amg_builder *b, const char *name, int rank, const int64_t *dims)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    return amg_builder_param(b, name, &t);
}

static int ints(amg_builder *b, const char *name, int count, const int64_t *v)
{
    const int64_t dim = count;
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_I64, 1, &dim, v, &t, NULL), AMG_OK);
    return amg_builder_param(b, name, &t);
}

/* Tokens [N,6] looked up in a table of 50 x 12: [N,6,12]. */
static int embedded(amg_builder *b)
{
    int x = amg_builder_input(b, "x", AMG_I64, 2, (int64_t[]){AMG_DIM_BATCH, 6});
    return PLAIN(AMG_OP_GATHER, "embedded", weight(b, "table", INTS(50, 12)), x);
}

/* One of 16 hidden values: out [6,D,N,16], last states [D,N,16]. */
typedef struct {
    amg_op op;
    const char *name;
    int64_t gates, inputs, directions;
    int first[2]; /* states, AMG_NO_VALUE: none */
    bool peepholes;
} layer;

enum { HIDDEN = 16 };

static void add_layer(amg_builder *b, const layer *l, int x, int out[3])
{
    char names[7][32];
    const char *parts[] = {"w", "r", "b", "", "h", "c", "p"}, *outputs[3];
    for (int i = 0; i < 7; i++)
        snprintf(names[i], sizeof names[i], "%s%s%s", l->name, *parts[i] ? "." : "",
                 parts[i]);
    for (int i = 0; i < 3; i++) outputs[i] = names[3 + i];
    const int64_t rows = l->gates * HIDDEN;
    const int num_states = l->op == AMG_OP_LSTM ? 2 : 1;
    const int in[8] = {x,
                       weight(b, names[0], INTS(l->directions, rows, l->inputs)),
                       weight(b, names[1], INTS(l->directions, rows, HIDDEN)),
                       weight(b, names[2], INTS(l->directions, 2 * rows)),
                       AMG_NO_VALUE,
                       l->first[0],
                       l->first[1],
                       l->peepholes
                           ? weight(b, names[6], INTS(l->directions, 3 * HIDDEN))
                           : AMG_NO_VALUE};
    const amg_attr attrs[2] = {amg_int("hidden_size", HIDDEN),
                               {.name = "direction",
                                .kind = AMG_ATTR_STRING,
                                .s = l->directions == 2 ? "bidirectional" : "forward"}};
    amg_builder_node_multi(b, l->op, l->name, in, 5 + num_states + l->peepholes, attrs,
                           2, outputs, 1 + num_states, out);
}

static amg_graph *finish(amg_builder *b, int x)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_builder_output(b, x);
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

/* x [N,features] -> [N,5] */
static amg_graph *classify(amg_builder *b, int x, int64_t features)
{
    return finish(b, NODE(AMG_OP_GEMM, "fc", ATTRS(amg_int("transB", 1)), x,
                          weight(b, "fc.w", INTS(5, features)),
                          weight(b, "fc.b", INTS(5))));
}

static int find(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no value \"%s\"", name);
    return v;
}

/* g with the features of value one rung up the ladder; NULL: they do not move. */
static amg_graph *widened(const amg_graph *g, const char *value)
{
    amg_channels c;
    amg_graph *out = NULL;
    amg_error err = {0};
    assert_int_equal(amg_channels_init(g, &c, NULL), AMG_OK);
    const amg_feature_list *l = &c.values[find(g, value)];
    assert_int_equal(l->count, 1);
    const int group = amg_channels_root(&c, l->segments[0].group);
    int64_t width[64];
    assert_true(c.num_groups <= 64);
    memcpy(width, c.width, (size_t)c.num_groups * sizeof *width);
    width[group] = amg_decoy_ladder(width[group], true);
    const amg_arch_edit edit = {.channels = &c, .width = width, .serial = 1};
    if (!c.frozen[group] && amg_arch_apply(g, &edit, &out, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_channels_clear(&c);
    return out;
}

static void assert_stays(const amg_graph *g, const char *value)
{
    if (widened(g, value)) fail_msg("%s moves", value);
}

static void assert_dims(const amg_graph *g, const char *name, int rank,
                        const int64_t *dims)
{
    const amg_value *v = &g->values[find(g, name)];
    assert_int_equal(v->rank, rank);
    for (int i = 0; i < rank; i++)
        if (v->dims[i] != dims[i])
            fail_msg("dim %d of %s is %lld, expected %lld", i, name,
                     (long long)v->dims[i], (long long)dims[i]);
}

/* Reads, and gives on, all that two layers of an LSTM have in exporters' forms: Y both
 * ways through a Reshape whose target says the width or does not, the last states as
 * first ones. */
static amg_graph *translator(int64_t said)
{
    amg_builder *b = amg_builder_new();
    const layer encoder = {AMG_OP_LSTM, "enc", 4, 12, 2, {AMG_NO_VALUE, AMG_NO_VALUE},
                           true};
    int enc[3], dec[3];
    int x = NODE(AMG_OP_TRANSPOSE, "steps", ATTRS(amg_ints("perm", INTS(1, 0, 2))),
                 embedded(b));
    add_layer(b, &encoder, x, enc);
    x = NODE(AMG_OP_TRANSPOSE, "beside", ATTRS(amg_ints("perm", INTS(0, 2, 1, 3))),
             enc[0]);
    x = PLAIN(AMG_OP_RESHAPE, "both", x, ints(b, "target", INTS(0, 0, said)));
    const layer decoder = {AMG_OP_LSTM, "dec", 4, 32, 2, {enc[1], enc[2]}, false};
    add_layer(b, &decoder, x, dec);
    int states[2];
    states[0] = NODE(AMG_OP_GATHER, "ahead", ATTRS(amg_int("axis", 0)), dec[1],
                     ints(b, "first", INTS(0)));
    states[1] = NODE(AMG_OP_GATHER, "back", ATTRS(amg_int("axis", 0)), dec[1],
                     ints(b, "second", INTS(1)));
    x = NODE(AMG_OP_CONCAT, "states", ATTRS(amg_int("axis", 2)), states[0], states[1]);
    x = PLAIN(AMG_OP_SQUEEZE, "row", x, ints(b, "axes", INTS(0)));
    return classify(b, x, 32);
}

static void a_hidden_width_moves_all_that_follows_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        amg_graph *g = translator(i ? 32 : -1), *wide = widened(g, "enc");
        assert_non_null(wide);
        assert_dims(wide, "enc.w", INTS(2, 4 * 24, 12));
        assert_dims(wide, "enc.r", INTS(2, 4 * 24, 24));
        assert_dims(wide, "enc.b", INTS(2, 8 * 24));
        assert_dims(wide, "enc.p", INTS(2, 3 * 24));
        assert_dims(wide, "both", INTS(6, -1, 2 * 24));
        assert_dims(wide, "dec.w", INTS(2, 4 * 24, 48)); /* by the first states */
        assert_dims(wide, "fc.w", INTS(5, 2 * 24));
        assert_dims(wide, "fc", INTS(-1, 5));
        for (int n = 0; n < wide->num_nodes; n++)
            if (amg_is_recurrent(&wide->nodes[n]))
                assert_int_equal(amg_attr_int(&wide->nodes[n], "hidden_size", 0), 24);
        amg_graph_free(wide);
        wide = widened(g, "embedded");
        assert_non_null(wide);
        assert_dims(wide, "table", INTS(50, 16));
        assert_dims(wide, "enc.w", INTS(2, 64, 16));
        assert_dims(wide, "enc.r", INTS(2, 64, 16));
        amg_graph_free(wide);
        assert_stays(g, "x");
        assert_stays(g, "fc");
        amg_graph_free(g);
    }
}

/* One head, self-attention: the stream's width and its parts' are one,
 * which a designer would not write down otherwise. */
static void an_attention_holds_its_widths(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = embedded(b), part[3];
    static const char *const names[] = {"q", "k", "v"};
    static const char *const weights[] = {"wq", "wk", "wv"};
    x = PLAIN(AMG_OP_MAT_MUL, "hidden", x, weight(b, "wh", INTS(12, 20)));
    x = PLAIN(AMG_OP_RELU, "relu", x);
    x = PLAIN(AMG_OP_MAT_MUL, "stream", x, weight(b, "ws", INTS(20, 12)));
    for (int i = 0; i < 3; i++)
        part[i] =
            PLAIN(AMG_OP_MAT_MUL, names[i], x, weight(b, weights[i], INTS(12, 12)));
    int k =
        NODE(AMG_OP_TRANSPOSE, "kt", ATTRS(amg_ints("perm", INTS(0, 2, 1))), part[1]);
    int a = PLAIN(AMG_OP_MAT_MUL, "scores", part[0], k);
    a = NODE(AMG_OP_SOFTMAX, "share", ATTRS(amg_int("axis", -1)), a);
    x = PLAIN(AMG_OP_ADD, "sum", x, PLAIN(AMG_OP_MAT_MUL, "mixed", a, part[2]));
    x = NODE(AMG_OP_LAYER_NORM, "norm", ATTRS(amg_int("axis", -1)), x,
             weight(b, "norm.w", INTS(12)), weight(b, "norm.b", INTS(12)));
    x = NODE(AMG_OP_REDUCE_MEAN, "mean",
             ATTRS(amg_ints("axes", INTS(1)), amg_int("keepdims", 0)), x);
    amg_graph *g = classify(b, x, 12), *wide = widened(g, "hidden");
    for (int i = 0; i < 3; i++) assert_stays(g, names[i]);
    assert_stays(g, "stream");
    assert_stays(g, "norm");
    assert_non_null(wide);
    assert_dims(wide, "ws", INTS(30, 12));
    amg_graph_free(wide);
    amg_graph_free(g);
}

/* Weights for each step, a mean over steps: of the states of a recurrent layer, whose
 * width moves; the layer that says the weights has one feature, which does not. */
static void a_weighed_mean_of_states_moves_with_them(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    const layer gru = {AMG_OP_GRU, "gru", 3, 12, 1, {AMG_NO_VALUE, AMG_NO_VALUE},
                       false};
    int out[3];
    int x = NODE(AMG_OP_TRANSPOSE, "steps", ATTRS(amg_ints("perm", INTS(1, 0, 2))),
                 embedded(b));
    add_layer(b, &gru, x, out);
    x = PLAIN(AMG_OP_SQUEEZE, "one", out[0], ints(b, "axis", INTS(1)));
    x = NODE(AMG_OP_TRANSPOSE, "states", ATTRS(amg_ints("perm", INTS(1, 0, 2))), x);
    int score = PLAIN(AMG_OP_TANH, "tanh", x);
    score = PLAIN(AMG_OP_RESHAPE, "rows", score, ints(b, "flat", INTS(-1, 16)));
    score = PLAIN(AMG_OP_GEMM, "score", score, weight(b, "score.w", INTS(16, 1)));
    score = PLAIN(AMG_OP_RESHAPE, "row", score, ints(b, "back", INTS(-1, 1, 6)));
    score = NODE(AMG_OP_SOFTMAX, "share", ATTRS(amg_int("axis", -1)), score);
    x = PLAIN(AMG_OP_MAT_MUL, "mean", score, x);
    x = PLAIN(AMG_OP_RESHAPE, "features", x, ints(b, "out", INTS(-1, 16)));
    amg_graph *g = classify(b, x, 16), *wide = widened(g, "gru");
    assert_non_null(wide);
    assert_dims(wide, "gru.w", INTS(1, 3 * 24, 12));
    assert_dims(wide, "score.w", INTS(24, 1));
    assert_dims(wide, "mean", INTS(-1, 1, 24));
    assert_dims(wide, "fc.w", INTS(5, 24));
    assert_stays(g, "score");
    amg_graph_free(wide);
    amg_graph_free(g);
}

/* What names single features, or takes them apart, holds them. */
static void what_cuts_through_features_holds_them(void **state)
{
    (void)state;
    const amg_op ops[] = {AMG_OP_SLICE, AMG_OP_RESHAPE, AMG_OP_SOFTMAX, AMG_OP_GATHER};
    for (int i = 0; i < 4; i++) {
        amg_builder *b = amg_builder_new();
        int x = embedded(b);
        if (ops[i] == AMG_OP_SLICE)
            x = PLAIN(ops[i], "cut", x, ints(b, "from", INTS(0)),
                      ints(b, "to", INTS(12)), ints(b, "axes", INTS(2)));
        else if (ops[i] == AMG_OP_RESHAPE) /* heads */
            x = PLAIN(ops[i], "cut", x, ints(b, "heads", INTS(0, 6, 3, 4)));
        else if (ops[i] == AMG_OP_SOFTMAX)
            x = NODE(ops[i], "cut", ATTRS(amg_int("axis", 2)), x);
        else
            x = NODE(ops[i], "cut", ATTRS(amg_int("axis", 2)), x,
                     ints(b, "index", INTS(0, 1, 2)));
        x = NODE(AMG_OP_FLATTEN, "flat", ATTRS(amg_int("axis", 1)), x);
        amg_graph *g = classify(b, x, ops[i] == AMG_OP_GATHER ? 18 : 72);
        assert_stays(g, "embedded");
        amg_graph_free(g);
    }
}

/* A constant vector beside features, and a position's weights. */
static void what_is_added_to_features_moves_with_them_or_holds_them(void **state)
{
    (void)state;
    for (int constant = 0; constant < 2; constant++) {
        amg_builder *b = amg_builder_new();
        int x = embedded(b), by = weight(b, "place", INTS(1, 6, 12));
        if (constant) amg_builder_say(b, by, AMG_SAID_CONSTANT);
        x = PLAIN(AMG_OP_ADD, "placed", x, by);
        x = NODE(AMG_OP_FLATTEN, "flat", ATTRS(amg_int("axis", 1)), x);
        amg_graph *g = classify(b, x, 72), *wide = widened(g, "embedded");
        assert_int_equal(wide == NULL, constant);
        if (wide) {
            assert_dims(wide, "place", INTS(1, 6, 16));
            assert_dims(wide, "fc.w", INTS(5, 6 * 16));
        }
        amg_graph_free(wide);
        amg_graph_free(g);
    }
}

/* One feature and a vector of five give five, and stay what they are. */
static void a_vector_beside_one_feature_stays(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 8});
    x = PLAIN(AMG_OP_MAT_MUL, "hidden", x, weight(b, "w", INTS(8, 16)));
    x = PLAIN(AMG_OP_MAT_MUL, "one", x, weight(b, "v", INTS(16, 1)));
    x = PLAIN(AMG_OP_ADD, "five", x, weight(b, "by", INTS(5)));
    amg_graph *g = classify(b, x, 5), *wide = widened(g, "hidden");
    assert_stays(g, "one");
    assert_non_null(wide);
    assert_dims(wide, "by", INTS(5));
    assert_dims(wide, "v", INTS(24, 1));
    assert_dims(wide, "fc.w", INTS(5, 5));
    amg_graph_free(wide);
    amg_graph_free(g);
}

static int num_recurrent(const amg_graph *g)
{
    int count = 0;
    for (int n = 0; n < g->num_nodes; n++) count += amg_is_recurrent(&g->nodes[n]);
    return count;
}

/* The first layer reads another width than it gives, the third is as the second. */
static void a_recurrent_layer_can_stand_once_more_or_not_at_all(void **state)
{
    (void)state;
    amg_graph *two = stacked_lstm(2), *three = stacked_lstm(3), *made = NULL;
    amg_region r[200];
    assert_int_equal(amg_arch_regions(two, r), 1);
    assert_false(r[0].repeated);
    assert_int_equal(amg_arch_apply(two,
                                    &(amg_arch_edit){.duplicate = &r[0], .serial = 2},
                                    &made, NULL),
                     AMG_OK);
    assert_int_equal(num_recurrent(made), 3);
    assert_plans(made, two, 10);
    assert_true(same_structure(made, three));
    amg_graph_free(made);
    assert_int_equal(amg_arch_regions(three, r), 1);
    assert_true(r[0].repeated);
    assert_int_equal(amg_arch_apply(three,
                                    &(amg_arch_edit){.remove = &r[0], .serial = 2},
                                    &made, NULL),
                     AMG_OK);
    assert_true(same_structure(made, two));
    amg_graph_free(made);
    amg_graph_free(two);
    amg_graph_free(three);
}

/* A mask that is made between two layers and read behind them: whoever removed that
 * stretch would remove the mask. */
static void a_stretch_that_makes_what_others_read_is_none(void **state)
{
    (void)state;
    for (int inside = 0; inside < 2; inside++) {
        amg_builder *b = amg_builder_new();
        int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 8});
        int mask = x, y = x;
        if (!inside) mask = PLAIN(AMG_OP_SIGMOID, "mask", x);
        y = PLAIN(AMG_OP_MAT_MUL, "a", y, weight(b, "wa", INTS(8, 8)));
        if (inside) mask = PLAIN(AMG_OP_SIGMOID, "mask", x);
        y = PLAIN(AMG_OP_MAT_MUL, "b", y, weight(b, "wb", INTS(8, 8)));
        y = PLAIN(AMG_OP_MUL, "masked", y, mask);
        amg_graph *g = classify(b, y, 8);
        amg_region r[8];
        assert_int_equal(amg_arch_regions(g, r), !inside);
        amg_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hidden_width_moves_all_that_follows_it),
        cmocka_unit_test(an_attention_holds_its_widths),
        cmocka_unit_test(a_weighed_mean_of_states_moves_with_them),
        cmocka_unit_test(what_cuts_through_features_holds_them),
        cmocka_unit_test(what_is_added_to_features_moves_with_them_or_holds_them),
        cmocka_unit_test(a_vector_beside_one_feature_stays),
        cmocka_unit_test(a_recurrent_layer_can_stand_once_more_or_not_at_all),
        cmocka_unit_test(a_stretch_that_makes_what_others_read_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
