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
        cmocka_unit_test(padding_is_fixed_beside_what_the_network_compares),
        cmocka_unit_test(obstacles_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
