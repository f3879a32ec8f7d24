/* The token axis: which networks treat the patches of an image alike, which weights
 * move with patches, and why other networks are refused. */
#include <stdio.h>
#include <stdlib.h>

#include "graph/onnx_graph.h"
#include "graph/token_axis.h"
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

/* Images of 2 x 3 patches, 4 numbers of each. */
static const int64_t image[3] = {2, 4, 6};

static int grid(amg_builder *b)
{
    const int64_t strides[2] = {2, 2};
    const int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2, 4, 6));
    const int w = weight(b, "w", 1, DIMS(4, 2, 2, 2));
    return amg_builder_node(b, AMG_OP_CONV, "conv", IDS(x, w),
                            ATTRS(amg_ints("strides", 2, strides)), NULL);
}

static int reshape(amg_builder *b, int x, const char *shape, int rank,
                   const int64_t *dims)
{
    const int s = ints(b, shape, rank, dims);
    return amg_builder_node(b, AMG_OP_RESHAPE, "reshape", IDS(x, s), NO_ATTRS, NULL);
}

static int transpose(amg_builder *b, int x, int rank, const int64_t *perm)
{
    return amg_builder_node(b, AMG_OP_TRANSPOSE, "transpose", IDS(x),
                            ATTRS(amg_ints("perm", rank, perm)), NULL);
}

static int plain(amg_builder *b, amg_op op, int x, int y)
{
    return amg_builder_node(b, op, "plain", (int[]){x, y}, y < 0 ? 1 : 2, NO_ATTRS,
                            NULL);
}

/* [N,6,4] */
static int tokens(amg_builder *b)
{
    return transpose(b, reshape(b, grid(b), "flat", DIMS(0, 4, 6)), DIMS(0, 2, 1));
}

static int placed(amg_builder *b)
{
    return plain(b, AMG_OP_ADD, tokens(b), weight(b, "position", 1, DIMS(1, 6, 4)));
}

static int reduce(amg_builder *b, int x, int64_t axis)
{
    return amg_builder_node(b, AMG_OP_REDUCE_MEAN, "mean", IDS(x),
                            ATTRS(amg_ints("axes", 1, &axis), amg_int("keepdims", 0)),
                            NULL);
}

static int part(amg_builder *b, int x, int64_t axis, int64_t at)
{
    return amg_builder_node(b, AMG_OP_GATHER, "part", IDS(x, SCALAR(b, "at", at)),
                            ATTRS(amg_int("axis", axis)), NULL);
}

static int softmax(amg_builder *b, int x)
{
    return amg_builder_node(b, AMG_OP_SOFTMAX, "softmax", IDS(x),
                            ATTRS(amg_int("axis", -1)), NULL);
}

static int dropout(amg_builder *b, int x, float ratio)
{
    const int r = weight(b, "ratio", ratio, 0, (const int64_t[]){0});
    return plain(b, AMG_OP_DROPOUT, x, r);
}

/* ---- networks that are admitted ---- */

static int mean_of_placed(amg_builder *b)
{
    int x = plain(b, AMG_OP_MAT_MUL, placed(b), weight(b, "m", 1, DIMS(4, 5)));
    return reduce(b, dropout(b, plain(b, AMG_OP_GELU, x, -1), 0), 1);
}

/* Queries, keys and values are the tokens themselves. */
static int attention(amg_builder *b)
{
    const int x = placed(b);
    const int scores = plain(b, AMG_OP_MAT_MUL, x, transpose(b, x, DIMS(0, 2, 1)));
    return reduce(b, plain(b, AMG_OP_MAT_MUL, softmax(b, scores), x), 1);
}

/* As linear layers on sequences are rewritten. */
static int by_rows(amg_builder *b)
{
    int x = reshape(b, placed(b), "rows", DIMS(-1, 4));
    x = plain(b, AMG_OP_GEMM, x, weight(b, "m", 1, DIMS(4, 6)));
    x = reshape(b, x, "heads", DIMS(-1, 6, 2, 3));
    return reduce(b, transpose(b, x, DIMS(0, 2, 1, 3)), 2);
}

static int grid_positions(amg_builder *b)
{
    const int x = grid(b);
    return plain(b, AMG_OP_GLOBAL_AVERAGE_POOL,
                 plain(b, AMG_OP_ADD, x, weight(b, "position", 1, DIMS(4, 2, 3))), -1);
}

static int no_positions(amg_builder *b) { return reduce(b, tokens(b), 1); }

static int alike_constants(amg_builder *b)
{
    const int c = weight(b, "c", 1, DIMS(6, 4)), x = tokens(b);
    amg_tensor *t = amg_builder_data(b, c);
    for (int i = 0; i < 24; i++) ((float *)t->data)[i] = (float)(i % 4);
    return reduce(b, plain(b, AMG_OP_SUB, x, c), 1);
}

/* ---- networks that are not ---- */

static int flattened(amg_builder *b)
{
    const int x = reshape(b, placed(b), "all", DIMS(-1, 24));
    return plain(b, AMG_OP_GEMM, x, weight(b, "m", 1, DIMS(24, 3)));
}

static int mixer(amg_builder *b)
{
    const int x = transpose(b, tokens(b), DIMS(0, 2, 1));
    return reduce(b, plain(b, AMG_OP_MAT_MUL, x, weight(b, "m", 1, DIMS(6, 6))), 2);
}

static int constants(amg_builder *b)
{
    const int x = tokens(b);
    return reduce(b, plain(b, AMG_OP_SUB, x, weight(b, "c", 1, DIMS(6, 4))), 1);
}

static int table_read_twice(amg_builder *b)
{
    const int x = tokens(b), t = weight(b, "position", 1, DIMS(1, 6, 4));
    return reduce(b, plain(b, AMG_OP_ADD, plain(b, AMG_OP_ADD, x, t), t), 1);
}

static int pairs(amg_builder *b)
{
    const int x = tokens(b);
    int s = plain(b, AMG_OP_MAT_MUL, x, transpose(b, x, DIMS(0, 2, 1)));
    s = softmax(b, plain(b, AMG_OP_ADD, s, weight(b, "bias", 1, DIMS(6, 6))));
    return reduce(b, plain(b, AMG_OP_MAT_MUL, s, x), 1);
}

static int first_patch(amg_builder *b) { return part(b, placed(b), 1, 0); }

static int neighbours(amg_builder *b)
{
    const int64_t pads[4] = {1, 1, 1, 1};
    const int x = grid(b), w = weight(b, "v", 1, DIMS(3, 4, 3, 3));
    return amg_builder_node(b, AMG_OP_CONV, "second", IDS(x, w),
                            ATTRS(amg_ints("pads", 4, pads)), NULL);
}

static int rows_of_the_grid(amg_builder *b) { return reduce(b, grid(b), 2); }

static int a_wrong_reshape(amg_builder *b)
{
    return reduce(b, reshape(b, grid(b), "wrong", DIMS(0, 6, 4)), 1);
}

static int samples_and_patches_confused(amg_builder *b)
{
    const int x = transpose(b, placed(b), DIMS(1, 0, 2));
    return reduce(b, reshape(b, x, "wrong", DIMS(-1, 6, 4)), 1);
}

static int each_patch(amg_builder *b) { return placed(b); }

static int with_dropout(amg_builder *b)
{
    return reduce(b, dropout(b, placed(b), .5f), 1);
}

static int summed_shifted(amg_builder *b)
{
    const int x = tokens(b);
    const int turned = reshape(b, transpose(b, x, DIMS(0, 2, 1)), "t", DIMS(0, 6, 4));
    return reduce(b, plain(b, AMG_OP_ADD, x, turned), 1);
}

/* ---- tests ---- */

static const char *find(const amg_graph *g, const int64_t dims[3],
                        amg_patch_tokens *out)
{
    amg_input_columns columns = {0};
    const char *why = amg_input_columns_find(g, dims, &columns);
    if (why) fail_msg("%s", why);
    return amg_patch_tokens_find(g, &columns, dims, out);
}

static amg_graph *made(int (*net)(amg_builder *))
{
    amg_builder *b = amg_builder_new();
    amg_builder_output(b, net(b));
    return must_finish(b);
}

static void networks_that_treat_patches_alike_are_admitted(void **state)
{
    (void)state;
    const struct {
        int (*net)(amg_builder *);
        int num_tables;
        int64_t inner;
    } cases[] = {{mean_of_placed, 1, 4}, {attention, 1, 4},    {by_rows, 1, 4},
                 {grid_positions, 1, 1}, {no_positions, 0, 0}, {alike_constants, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_patch_tokens t = {0};
        amg_graph *g = made(cases[i].net);
        const char *why = find(g, image, &t);
        if (why) fail_msg("case %zu: %s", i, why);
        assert_int_equal(t.num_patches, 6);
        assert_int_equal(t.num_tables, cases[i].num_tables);
        if (t.num_tables) {
            assert_string_equal(g->values[t.tables[0].param].name, "position");
            assert_int_equal(t.tables[0].rows, 6);
            assert_int_equal(t.tables[0].inner, cases[i].inner);
            assert_int_equal(t.tables[0].offset, 0);
        }
        amg_graph_free(g);
    }
}

static void networks_that_know_places_are_not(void **state)
{
    (void)state;
    const struct {
        int (*net)(amg_builder *);
        const char *why;
    } cases[] = {
        {flattened, "weights for each patch"},
        {mixer, "weights for each patch"},
        {constants, "constants"},
        {table_read_twice, "other layers read"},
        {pairs, "pairs of patches"},
        {first_patch, "some patches"},
        {neighbours, "by their place"},
        {rows_of_the_grid, "by their place"},
        {a_wrong_reshape, "apart"},
        {samples_and_patches_confused, "apart"},
        {each_patch, "for each patch"},
        {with_dropout, "dropout"},
        {summed_shifted, "apart"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_patch_tokens t = {.num_patches = -7};
        amg_graph *g = made(cases[i].net);
        const char *why = find(g, image, &t);
        if (!why || !strstr(why, cases[i].why))
            fail_msg("case %zu: %s, expected %s", i, why, cases[i].why);
        assert_int_equal(t.num_patches, -7);
        amg_graph_free(g);
    }
}

static int dense(amg_builder *b)
{
    const int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2, 4, 6));
    int y = reshape(b, x, "flat", DIMS(0, 48));
    y = plain(b, AMG_OP_GEMM, y, weight(b, "w", 1, DIMS(48, 5)));
    return plain(b, AMG_OP_GEMM, y, weight(b, "v", 1, DIMS(5, 3)));
}

static void a_dense_layer_has_one_block(void **state)
{
    (void)state;
    amg_patch_tokens t;
    amg_graph *g = made(dense);
    assert_non_null(strstr(find(g, image, &t), "one block"));
    amg_graph_free(g);
}

/* PyTorch's own encoder layer behind a class token, by both exporters; its dropout
 * stands in the way. */
static void an_exported_transformer_has_a_class_token(void **state)
{
    (void)state;
    static const char *const names[] = {"ts", "dynamo"};
    const int64_t dims[3] = {3, 8, 8};
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    for (int i = 0; i < 2; i++) {
        char path[4096];
        amg_graph *file = NULL, *g = NULL;
        amg_error err = {0};
        amg_patch_tokens t;
        snprintf(path, sizeof path, "%s/tests/graph/data/export_vit_%s.onnx",
                 root ? root : ".", names[i]);
        if (amg_graph_read_onnx(path, &file, &err) ||
            amg_graph_plan_batch(file, B, &g, &err))
            fail_msg("%s: %s", err.where, err.what);
        const char *why = find(g, dims, &t);
        assert_non_null(why);
        assert_non_null(strstr(why, "dropout"));
        for (int n = 0; n < g->num_nodes; n++)
            if (g->nodes[n].op == AMG_OP_DROPOUT)
                *(float *)g->values[g->nodes[n].inputs[1]].data.data = 0;
        why = find(g, dims, &t);
        if (why) fail_msg("%s: %s", path, why);
        assert_int_equal(t.num_tables, 1);
        assert_string_equal(g->values[t.tables[0].param].name, "pos");
        assert_int_equal(t.tables[0].rows, 5);
        assert_int_equal(t.tables[0].offset, 1);
        amg_graph_free(g);
        amg_graph_free(file);
    }
}

/* [2, 1 + 3 + 1, 2]: a row ahead and one behind stay. */
static void rows_of_patches_go_where_the_map_says(void **state)
{
    (void)state;
    const int32_t map[3] = {2, 0, 1};
    const int row[5] = {0, 3, 1, 2, 4};
    const amg_position_table table = {.rows = 5, .inner = 2, .offset = 1};
    float in[20], out[20] = {0};
    for (int i = 0; i < 20; i++) in[i] = (float)i;
    const amg_tensor from = {.dtype = AMG_F32,
                             .rank = 3,
                             .dims = {2, 5, 2},
                             .data = in,
                             .size_bytes = sizeof in};
    amg_tensor to = from;
    to.data = out;
    amg_position_table_move(&table, 3, map, &from, &to);
    for (int o = 0; o < 2; o++)
        for (int r = 0; r < 5; r++)
            for (int i = 0; i < 2; i++)
                assert_float_equal(out[o * 10 + row[r] * 2 + i], in[o * 10 + r * 2 + i],
                                   0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_that_treat_patches_alike_are_admitted),
        cmocka_unit_test(networks_that_know_places_are_not),
        cmocka_unit_test(a_dense_layer_has_one_block),
        cmocka_unit_test(an_exported_transformer_has_a_class_token),
        cmocka_unit_test(rows_of_patches_go_where_the_map_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
