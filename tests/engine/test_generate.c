/* What comes next: the right window, the right position, and only from models that can
 * continue a text. The network is small enough to be worked out by hand:
 *
 *   logits[i] = (table[x[i]] + place[i]) * W,  with W the unit matrix
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/generate.h"
#include "graph/builder.h"

enum { SEQ = 3, VOCAB = 4 };

static const float table[VOCAB][VOCAB] = {
    {1, 2, 3, 4}, {10, 20, 30, 40}, {5, 0, -5, 0}, {7, 8, 9, -7}};
static const float place[SEQ][VOCAB] = {
    {0, 0, 0, 0}, {100, 100, 100, 100}, {200, 200, 200, 200}};

typedef enum { POSITIONS, ROWS, MEAN, CLASSES, FLOATS } net_form;

static int param(amg_builder *b, const char *name, int rank, const int64_t *dims,
                 const float *data)
{
    float copy[VOCAB * VOCAB] = {0};
    amg_tensor t;
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= dims[i];
    memcpy(copy, data, (size_t)count * sizeof *data);
    assert_int_equal(amg_tensor_view(AMG_F32, rank, dims, copy, &t, NULL), AMG_OK);
    return amg_builder_param(b, name, &t);
}

static int mean_over_positions(amg_builder *b, int y)
{
    int64_t axis = 1;
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_I64, 1, (int64_t[]){1}, &axis, &t, NULL),
                     AMG_OK);
    const int axes = amg_builder_param(b, "axes", &t);
    return amg_builder_node(b, AMG_OP_REDUCE_MEAN, "mean", (int[]){y, axes}, 2, NULL, 0,
                            NULL);
}

/* POSITIONS [N,3,4]; ROWS: the same as [N*3,4]; MEAN: every position also sees the
 * others; CLASSES: one prediction for the whole text; FLOATS: no tokens in. */
static amg_graph *make_network(net_form form)
{
    amg_builder *b = amg_builder_new();
    amg_graph *g;
    float unit[VOCAB][VOCAB] = {{0}};
    for (int i = 0; i < VOCAB; i++) unit[i][i] = 1;
    const int64_t square[] = {VOCAB, VOCAB}, rows[] = {SEQ, VOCAB};
    int y;
    if (form == FLOATS) {
        y = amg_builder_input(b, "x", AMG_F32, 3,
                              (int64_t[]){AMG_DIM_BATCH, SEQ, VOCAB});
    } else {
        const int x =
            amg_builder_input(b, "x", AMG_I64, 2, (int64_t[]){AMG_DIM_BATCH, SEQ});
        const int e = param(b, "table", 2, square, table[0]);
        y = amg_builder_node(b, AMG_OP_GATHER, "look", (int[]){e, x}, 2, NULL, 0, NULL);
    }
    const int p = param(b, "place", 2, rows, place[0]);
    y = amg_builder_node(b, AMG_OP_ADD, "add", (int[]){y, p}, 2, NULL, 0, NULL);
    if (form == MEAN) {
        const int all = mean_over_positions(b, y); /* [N,1,4] */
        y = amg_builder_node(b, AMG_OP_ADD, "mix", (int[]){y, all}, 2, NULL, 0, NULL);
    }
    const int w = param(b, "w", 2, square, unit[0]);
    y = amg_builder_node(b, AMG_OP_MAT_MUL, "head", (int[]){y, w}, 2, NULL, 0, NULL);
    if (form == ROWS || form == CLASSES) {
        int64_t shape[] = {-1, form == ROWS ? VOCAB : SEQ * VOCAB};
        amg_tensor t;
        assert_int_equal(amg_tensor_view(AMG_I64, 1, (int64_t[]){2}, shape, &t, NULL),
                         AMG_OK);
        const int s = amg_builder_param(b, "shape", &t);
        y = amg_builder_node(b, AMG_OP_RESHAPE, "flat", (int[]){y, s}, 2, NULL, 0,
                             NULL);
    }
    amg_builder_output(b, y);
    amg_error err = {0};
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

/* The logits behind context must be those of its last token at position. */
static void expect(amg_generator *g, const int32_t *context, int64_t count,
                   int position)
{
    const float *logits;
    assert_int_equal(amg_generator_next(g, context, count, &logits, NULL), AMG_OK);
    for (int v = 0; v < VOCAB; v++)
        assert_true(logits[v] == table[context[count - 1]][v] + place[position][v]);
}

static void the_last_token_is_read_at_its_position_and_the_window_slides(void **state)
{
    (void)state;
    const int32_t text[] = {3, 1, 2, 0, 1};
    const net_form forms[] = {POSITIONS, ROWS};
    for (int i = 0; i < 2; i++) {
        amg_graph *model = make_network(forms[i]);
        amg_generator *g;
        assert_int_equal(amg_generator_new(model, "net", &g, NULL), AMG_OK);
        assert_int_equal(amg_generator_seq(g), SEQ);
        assert_int_equal(amg_generator_vocab(g), VOCAB);
        expect(g, text, 1, 0);
        expect(g, text, 2, 1);
        expect(g, text, 3, 2);
        expect(g, text, 4, 2);
        expect(g, text, 5, 2);
        expect(g, text, 1, 0); /* nothing is left of the call before */
        amg_generator_free(g);
        amg_graph_free(model);
    }
}

static void what_continues_no_text_is_refused(void **state)
{
    (void)state;
    const struct {
        net_form form;
        const char *what;
    } cases[] = {
        {MEAN, "depend on the tokens behind them"},
        {CLASSES, "I64[1,3] it makes F32[1,12]"},
        {FLOATS, "F32[1,3,4] it makes F32[1,3,4]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_graph *model = make_network(cases[i].form);
        amg_generator *g = NULL;
        amg_error err = {0};
        assert_int_equal(amg_generator_new(model, "net.onnx", &g, &err),
                         AMG_UNSUPPORTED);
        assert_string_equal(err.where, "net.onnx");
        assert_non_null(strstr(err.what, cases[i].what));
        assert_null(g);
        amg_graph_free(model);
    }
}

static void tokens_out_of_range_are_refused(void **state)
{
    (void)state;
    amg_graph *model = make_network(POSITIONS);
    amg_generator *g;
    const float *logits;
    const int32_t bad[][2] = {{0, VOCAB}, {-1, 0}};
    assert_int_equal(amg_generator_new(model, "net", &g, NULL), AMG_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(amg_generator_next(g, bad[i], 2, &logits, NULL), AMG_INVALID);
    assert_int_equal(amg_generator_next(g, bad[0], 0, &logits, NULL), AMG_INVALID);
    amg_generator_free(g);
    amg_graph_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_token_is_read_at_its_position_and_the_window_slides),
        cmocka_unit_test(what_continues_no_text_is_refused),
        cmocka_unit_test(tokens_out_of_range_are_refused),
    };
    return cmocka_run_group_tests_name("generate", tests, NULL, NULL);
}
