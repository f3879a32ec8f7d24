/* Which rows a job's maps move, what forbids it, and that a map and its inverse leave
 * every bit in its place. */
#include "arch_fixture.h"

#include "formats/token_set.h"
#include "obfuscate/row_moves.h"

enum { VOCAB = 60 };

/* A shape that permutes what amg_tokens_permute lets it. */
static const char *permute(const amg_graph *g, bool is_model, int64_t pad,
                           amg_plan_shape *shape)
{
    *shape = (amg_plan_shape){.num_classes = VOCAB};
    return amg_tokens_permute(g, is_model, pad, shape);
}

static amg_graph *folded(const char *name, amg_graph **file)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    *file = zoo(name);
    if (amg_graph_plan_batch(*file, AMG_DIM_BATCH, &g, &err))
        fail_msg("%s: %s", err.where, err.what);
    return g;
}

static void tables_and_class_rows_move_once_each(void **state)
{
    (void)state;
    const struct {
        const char *model;
        int num_moves, by_token;
    } cases[] = {{"transformer_lm", 3, 1}, {"gpt", 1, 1}};
    for (int i = 0; i < 2; i++) {
        amg_plan_shape shape;
        amg_row_moves moves;
        amg_graph *file, *g = folded(cases[i].model, &file);
        assert_null(permute(g, true, AMG_NO_TOKEN, &shape));
        assert_int_equal(shape.vocab, VOCAB);
        assert_true(shape.permute_labels && shape.tokens_are_classes);
        assert_int_equal(amg_row_moves_find(g, &shape, VOCAB, &moves, NULL), AMG_OK);
        assert_int_equal(moves.count, cases[i].num_moves);
        for (int m = 0; m < moves.count; m++)
            assert_int_equal(moves.moves[m].by,
                             m < cases[i].by_token ? AMG_BY_TOKEN : AMG_BY_LABEL);
        shape.vocab++;
        assert_int_equal(amg_row_moves_find(g, &shape, VOCAB, &moves, NULL),
                         AMG_MISMATCH);
        shape.vocab--;
        assert_int_equal(amg_row_moves_find(g, &shape, VOCAB + 1, &moves, NULL),
                         AMG_MISMATCH);
        amg_graph_free(g);
        amg_graph_free(file);
    }
}

static void a_map_and_its_inverse_leave_everything_in_place(void **state)
{
    (void)state;
    amg_graph *file, *g = folded("gpt", &file);
    amg_plan_shape shape;
    amg_row_moves moves;
    int32_t map[VOCAB], inverse[VOCAB];
    for (int i = 0; i < VOCAB; i++) map[i] = (i * 37 + 11) % VOCAB;
    for (int i = 0; i < VOCAB; i++) inverse[map[i]] = i;
    const amg_subnet_plan there = {.token_map = map}, back = {.token_map = inverse};
    assert_null(permute(g, true, AMG_NO_TOKEN, &shape));
    assert_int_equal(amg_row_moves_find(g, &shape, VOCAB, &moves, NULL), AMG_OK);
    const amg_tensor *own = &g->values[moves.moves[0].param].data;
    amg_tensor moved, restored;
    assert_int_equal(amg_row_move_apply(&moves, 0, &there, own, &moved, NULL), AMG_OK);
    assert_int_equal(amg_row_move_apply(&moves, 0, &back, &moved, &restored, NULL),
                     AMG_OK);
    const size_t row = own->size_bytes / VOCAB;
    for (int i = 0; i < VOCAB; i++)
        assert_memory_equal((char *)moved.data + (size_t)map[i] * row,
                            (char *)own->data + (size_t)i * row, row);
    assert_memory_equal(restored.data, own->data, own->size_bytes);
    amg_tensor_clear(&moved);
    amg_tensor_clear(&restored);
    amg_graph_free(g);
    amg_graph_free(file);
}

/* ---- patches ---- */

static int normal(amg_builder *b, const char *name, int rank, const int64_t *dims)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    const int id = amg_builder_param(b, name, &t);
    amg_tensor *data = amg_builder_data(b, id);
    for (int64_t i = 0; i < amg_tensor_count(data); i++)
        ((float *)data->data)[i] = (float)i;
    return id;
}

/* 2 x 3 patches of 2 x 2, positions, then their mean; or, flat, a layer over all. */
static amg_graph *patches(bool flat)
{
    const int64_t two[2] = {2, 2}, turn[3] = {0, 2, 1}, axis = 1;
    const int64_t to[3] = {0, 4, 6}, all[2] = {-1, 24}, num[2] = {3, 2};
    amg_builder *b = amg_builder_new();
    amg_tensor shape;
    assert_int_equal(
        amg_tensor_view(AMG_I64, 1, &num[flat], flat ? all : to, &shape, NULL), AMG_OK);
    int x = amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 1, 4, 6});
    x = amg_builder_node(b, AMG_OP_CONV, "conv",
                         (int[]){x, normal(b, "patch", 4, (int64_t[]){4, 1, 2, 2})}, 2,
                         (amg_attr[]){amg_ints("strides", 2, two)}, 1, NULL);
    x = amg_builder_node(b, AMG_OP_RESHAPE, "flat",
                         (int[]){x, amg_builder_param(b, "to", &shape)}, 2, NULL, 0,
                         NULL);
    if (!flat) {
        x = amg_builder_node(b, AMG_OP_TRANSPOSE, "turn", &x, 1,
                             (amg_attr[]){amg_ints("perm", 3, turn)}, 1, NULL);
        x = amg_builder_node(b, AMG_OP_ADD, "place",
                             (int[]){x, normal(b, "position", 3, (int64_t[]){1, 6, 4})},
                             2, NULL, 0, NULL);
        x = amg_builder_node(
            b, AMG_OP_REDUCE_MEAN, "mean", &x, 1,
            (amg_attr[]){amg_ints("axes", 1, &axis), amg_int("keepdims", 0)}, 2, NULL);
    }
    const int64_t head[2] = {flat ? 24 : 4, 3};
    x = amg_builder_node(b, AMG_OP_GEMM, "head", (int[]){x, normal(b, "w", 2, head)}, 2,
                         NULL, 0, NULL);
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

static const float *data_of(const amg_graph *g, const char *name)
{
    const int v = amg_graph_find_value(g, name);
    assert_true(v >= 0);
    return g->values[v].data.data;
}

static void positions_move_with_patches(void **state)
{
    (void)state;
    const amg_plan_shape shape = {.dims = {1, 4, 6}, .block = {2, 2}, .patches = true};
    int32_t values[4] = {2, 0, 3, 1}, values_back[4] = {1, 3, 0, 2};
    int32_t places[6] = {4, 2, 0, 5, 1, 3}, places_back[6] = {2, 4, 1, 5, 0, 3};
    const amg_subnet_plan there = {
        .num_classes = 3, .value_map = values, .patch_map = places};
    const amg_subnet_plan back = {
        .num_classes = 3, .value_map = values_back, .patch_map = places_back};
    amg_graph *g = patches(false), *flat = patches(true), *moved, *restored;
    amg_row_moves moves;
    assert_int_equal(amg_row_moves_find(g, &shape, 3, &moves, NULL), AMG_OK);
    assert_int_equal(moves.count, 2);
    assert_int_equal(moves.moves[1].by, AMG_BY_PATCH);
    assert_int_equal(amg_row_moves_find(flat, &shape, 3, &moves, NULL), AMG_MISMATCH);
    assert_int_equal(amg_row_moves_apply(g, &shape, &there, &moved, NULL), AMG_OK);
    assert_int_equal(amg_row_moves_apply(moved, &shape, &back, &restored, NULL),
                     AMG_OK);
    for (int p = 0; p < 6; p++)
        assert_memory_equal(data_of(moved, "position") + 4 * places[p],
                            data_of(g, "position") + 4 * p, 16);
    for (int v = 0; v < 4; v++)
        assert_true(data_of(moved, "patch")[values[v]] == data_of(g, "patch")[v]);
    assert_memory_equal(data_of(moved, "w"), data_of(g, "w"), 48);
    assert_memory_equal(data_of(restored, "position"), data_of(g, "position"), 96);
    assert_memory_equal(data_of(restored, "patch"), data_of(g, "patch"), 64);
    amg_graph_free(restored);
    amg_graph_free(moved);
    amg_graph_free(flat);
    amg_graph_free(g);
}

static void rotated_columns_come_back_but_for_rounding(void **state)
{
    (void)state;
    const amg_plan_shape shape = {
        .dims = {1, 4, 6}, .block = {2, 2}, .dtype = AMG_F32, .rotate = true};
    amg_secret *secret = NULL;
    amg_rotation *r = NULL;
    assert_int_equal(amg_secret_new(&secret, NULL), AMG_OK);
    assert_int_equal(amg_rotation_derive(secret, 4, &r, NULL), AMG_OK);
    const amg_subnet_plan maps = {.num_classes = 3, .rotation = r};
    amg_graph *g = patches(false), *moved, *restored;
    amg_row_moves moves;
    assert_int_equal(amg_row_moves_find(g, &shape, 3, &moves, NULL), AMG_OK);
    assert_int_equal(moves.count, 1);
    assert_int_equal(moves.moves[0].by, AMG_BY_ROTATION);
    assert_int_equal(amg_row_moves_apply(g, &shape, &maps, &moved, NULL), AMG_OK);
    const float *own = data_of(g, "patch"), *turned = data_of(moved, "patch");
    double v[4], expected[4];
    for (int row = 0; row < 4; row++) {
        for (int i = 0; i < 4; i++) v[i] = own[4 * row + i];
        amg_rotation_apply(r, v, expected);
        for (int i = 0; i < 4; i++)
            assert_true(turned[4 * row + i] == (float)expected[i]);
    }
    amg_rotation_invert(r);
    assert_int_equal(amg_row_moves_apply(moved, &shape, &maps, &restored, NULL),
                     AMG_OK);
    for (int i = 0; i < 16; i++)
        assert_float_equal(data_of(restored, "patch")[i], own[i], 1e-5);
    amg_graph_free(restored);
    amg_graph_free(moved);
    amg_graph_free(g);
    amg_rotation_free(r);
    amg_secret_free(secret);
}

static void padding_is_fixed_beside_what_the_network_compares(void **state)
{
    (void)state;
    const struct {
        int64_t pad; /* of the data; the network knows 0 */
        int count;
        int64_t fixed[2];
    } cases[] = {{AMG_NO_TOKEN, 1, {0}}, {0, 1, {0}}, {7, 2, {0, 7}}};
    amg_graph *file, *g = folded("embedding_bag", &file);
    for (int i = 0; i < 3; i++) {
        amg_plan_shape shape;
        assert_null(permute(g, false, cases[i].pad, &shape));
        assert_false(shape.permute_labels || shape.tokens_are_classes);
        assert_int_equal(shape.num_fixed, cases[i].count);
        for (int f = 0; f < cases[i].count; f++)
            assert_int_equal(shape.fixed[f], cases[i].fixed[f]);
    }
    amg_graph_free(g);
    amg_graph_free(file);
}

static void obstacles_are_told(void **state)
{
    (void)state;
    amg_plan_shape shape;
    amg_graph *file, *g = folded("gpt", &file);
    /* As a classifier of 60 classes its last layer could not move without its table. */
    assert_false(amg_labels_permutable(g));
    assert_non_null(strstr(permute(g, false, AMG_NO_TOKEN, &shape), "embedding table"));
    assert_int_equal(shape.vocab, 0);
    const int wte = amg_graph_find_value(g, "transformer.wte.weight");
    assert_true(wte >= 0);
    char *rows = g->values[wte].data.data;
    memcpy(rows + 32 * 4, rows, 32 * 4);
    assert_non_null(strstr(permute(g, true, AMG_NO_TOKEN, &shape), "equal"));
    amg_graph_free(g);
    amg_graph_free(file);

    g = folded("embedding_bag", &file);
    assert_non_null(strstr(permute(g, true, AMG_NO_TOKEN, &shape), "last layer"));
    amg_graph_free(g);
    amg_graph_free(file);
    g = folded("lenet", &file);
    assert_non_null(strstr(permute(g, false, AMG_NO_TOKEN, &shape), "does more"));
    assert_true(amg_labels_permutable(g));
    amg_graph_free(g);
    amg_graph_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_and_class_rows_move_once_each),
        cmocka_unit_test(a_map_and_its_inverse_leave_everything_in_place),
        cmocka_unit_test(positions_move_with_patches),
        cmocka_unit_test(rotated_columns_come_back_but_for_rounding),
        cmocka_unit_test(padding_is_fixed_beside_what_the_network_compares),
        cmocka_unit_test(obstacles_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
