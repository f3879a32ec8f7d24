/* The plan: streams partition the positions, subsets are subsets, every choice depends
 * on the key and on nothing else, and is uniform over keys. */
#include <float.h>
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "obfuscate/plan.h"

static const amg_plan_shape streams_shape = {.mode = AMG_MODE_STREAMS,
                                             .num_decoys = 3,
                                             .dims = {3, 5, 7},
                                             .dtype = AMG_U8,
                                             .num_classes = 10,
                                             .cover_classes = 12,
                                             .permute_labels = true};
static const amg_plan_shape paper_shape = {.mode = AMG_MODE_PAPER,
                                           .num_decoys = 2,
                                           .dims = {3, 10, 6},
                                           .dtype = AMG_F32,
                                           .amount = 0.25,
                                           .num_classes = 10,
                                           .cover_classes = 10,
                                           .permute_labels = true};

/* A language model over windows of 9 tokens. */
static const amg_plan_shape tokens_shape = {.mode = AMG_MODE_STREAMS,
                                            .num_decoys = 3,
                                            .dims = {1, 9, 1},
                                            .dtype = AMG_I32,
                                            .num_classes = 40,
                                            .cover_classes = 40,
                                            .permute_labels = true,
                                            .vocab = 40,
                                            .tokens_are_classes = true,
                                            .num_fixed = 3,
                                            .fixed = {0, 17, 39}};

static amg_obf_plan derive(unsigned number, const amg_plan_shape *shape)
{
    amg_secret *s = secret_number(number);
    amg_obf_plan plan = {0};
    amg_error err = {0};
    if (amg_obf_plan_derive(s, shape, &plan, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    amg_secret_free(s);
    return plan;
}

static void streams_are_disjoint_and_cover_every_position(void **state)
{
    (void)state;
    amg_obf_plan p = derive(1, &streams_shape);
    assert_int_equal(p.num_subnets, 4);
    assert_int_equal(p.num_values, 105);
    assert_int_equal(p.num_positions, 420);
    assert_int_equal(p.out_dims[0], 3);
    assert_int_equal(p.out_dims[1], 20);
    assert_int_equal(p.out_dims[2], 7);
    uint8_t seen[420] = {0};
    for (int s = 0; s < 4; s++)
        for (int j = 0; j < 105; j++) {
            assert_in_range(p.subnets[s].select[j], 0, 419);
            seen[p.subnets[s].select[j]]++;
        }
    for (int i = 0; i < 420; i++) assert_int_equal(seen[i], 1);
    amg_obf_plan_clear(&p);
}

static void order_within_a_stream_is_secret(void **state)
{
    (void)state;
    amg_obf_plan p = derive(1, &streams_shape);
    for (int s = 0; s < 4; s++) {
        int ascending = 0;
        for (int j = 1; j < 105; j++)
            ascending += p.subnets[s].select[j] > p.subnets[s].select[j - 1];
        assert_in_range(ascending, 35, 69); /* 52 expected, deviation 3 */
    }
    amg_obf_plan_clear(&p);
}

static void values_change_places_within_their_block(void **state)
{
    (void)state;
    amg_plan_shape shape = streams_shape;
    amg_obf_plan plain = derive(1, &shape);
    shape.dims[1] = 6;
    shape.dims[2] = 8;
    shape.block[0] = 2;
    shape.block[1] = 4;
    amg_obf_plan p = derive(1, &shape), other = derive(2, &shape);
    assert_null(plain.subnets[0].value_map);
    assert_int_equal(amg_obf_plan_place(&plain, 0, 77), 77);
    assert_int_equal(p.subnets[0].num_block_values, 3 * 2 * 4);
    int moved = 0, differs = 0;
    uint8_t seen[144] = {0};
    for (int64_t v = 0; v < 144; v++) {
        const int64_t at = amg_obf_plan_place(&p, 0, v);
        assert_in_range(at, 0, 143);
        seen[at]++;
        assert_int_equal(at / 48, v / 48);                  /* the channel */
        assert_int_equal(at % 48 / 8 / 2, v % 48 / 8 / 2);  /* the block's row … */
        assert_int_equal(at % 8 / 4, v % 8 / 4);            /* … and column */
        assert_int_equal(at, amg_obf_plan_place(&p, 3, v)); /* all slots alike */
        moved += at != v;
        differs += at != amg_obf_plan_place(&other, 0, v);
        /* each block like the first one */
        const int64_t first = v / 48 * 48 + v % 48 / 8 % 2 * 8 + v % 4;
        const int64_t shift = v % 48 / 16 * 16 + v % 8 / 4 * 4;
        assert_int_equal(at, amg_obf_plan_place(&p, 0, first) + shift);
    }
    for (int i = 0; i < 144; i++) assert_int_equal(seen[i], 1);
    assert_true(moved > 72 && differs > 72);
    amg_obf_plan_clear(&plain);
    amg_obf_plan_clear(&p);
    amg_obf_plan_clear(&other);
    shape.block[1] = 3;
    assert_int_equal(amg_plan_shape_check(&shape, NULL), AMG_INVALID);
    shape.block[1] = 0;
    assert_int_equal(amg_plan_shape_check(&shape, NULL), AMG_INVALID);
    shape.block[1] = 4;
    shape.dtype = AMG_I32;
    assert_int_equal(amg_plan_shape_check(&shape, NULL), AMG_INVALID);
}

/* 3 x 2 blocks of 2 x 4, with and without an order of their own. */
static void patches_change_places_with_what_is_in_them(void **state)
{
    (void)state;
    amg_plan_shape shape = streams_shape;
    shape.dims[1] = 6;
    shape.dims[2] = 8;
    shape.block[0] = 2;
    shape.block[1] = 4;
    amg_obf_plan within = derive(1, &shape);
    shape.patches = true;
    amg_obf_plan p = derive(1, &shape), other = derive(2, &shape);
    const int32_t *map = p.subnets[0].patch_map;
    assert_null(within.subnets[0].patch_map);
    assert_int_equal(p.subnets[0].num_patches, 6);
    assert_memory_not_equal(map, other.subnets[0].patch_map, 6 * sizeof *map);
    uint8_t seen[144] = {0};
    for (int64_t v = 0; v < 144; v++) {
        const int64_t inner = amg_obf_plan_place(&within, 0, v); /* as ever */
        const int64_t at = amg_obf_plan_place(&p, 0, v);
        const int64_t block = v % 48 / 16 * 2 + v % 8 / 4;
        assert_in_range(map[block], 0, 5);
        const int64_t to = map[block] / 2 * 16 + map[block] % 2 * 4;
        const int64_t from = v % 48 / 16 * 16 + v % 8 / 4 * 4;
        assert_int_equal(at, inner + to - from);
        assert_int_equal(at, amg_obf_plan_place(&p, 3, v)); /* all slots alike */
        seen[at]++;
    }
    for (int i = 0; i < 144; i++) assert_int_equal(seen[i], 1);
    amg_obf_plan_clear(&within);
    amg_obf_plan_clear(&p);
    amg_obf_plan_clear(&other);
    shape.block[0] = 6;
    shape.block[1] = 8; /* a single one */
    assert_int_equal(amg_plan_shape_check(&shape, NULL), AMG_INVALID);
    shape.block[0] = shape.block[1] = 0;
    assert_int_equal(amg_plan_shape_check(&shape, NULL), AMG_INVALID);
}

static void paper_subsets_fit_the_grown_sample(void **state)
{
    (void)state;
    amg_obf_plan p = derive(1, &paper_shape);
    assert_int_equal(p.out_dims[0], 3);
    assert_int_equal(p.out_dims[1], 13); /* 10 + round(2.5) */
    assert_int_equal(p.out_dims[2], 8);  /* 6 + round(1.5) */
    assert_int_equal(p.num_positions, 312);
    for (int s = 0; s < 3; s++) {
        uint8_t seen[312] = {0};
        for (int j = 0; j < p.num_values; j++) {
            assert_in_range(p.subnets[s].select[j], 0, 311);
            assert_int_equal(seen[p.subnets[s].select[j]]++, 0);
        }
        assert_int_equal(p.subnets[s].num_classes, 10);
    }
    assert_memory_not_equal(p.subnets[0].select, p.subnets[1].select, 180 * 4);
    amg_obf_plan_clear(&p);
}

static void assert_same_plan(const amg_obf_plan *a, const amg_obf_plan *b, bool same)
{
    bool equal = a->original == b->original;
    for (int s = 0; s < a->num_subnets; s++) {
        equal = equal && !memcmp(a->subnets[s].select, b->subnets[s].select,
                                 (size_t)a->num_values * sizeof(uint32_t));
        equal = equal && a->subnets[s].num_classes == b->subnets[s].num_classes &&
                !memcmp(a->subnets[s].label_map, b->subnets[s].label_map,
                        (size_t)a->subnets[s].num_classes * sizeof(int32_t));
    }
    assert_int_equal(equal, same);
}

static void a_plan_is_a_function_of_the_key(void **state)
{
    (void)state;
    const amg_plan_shape *shapes[] = {&streams_shape, &paper_shape};
    for (int i = 0; i < 2; i++) {
        amg_obf_plan a = derive(1, shapes[i]), b = derive(1, shapes[i]);
        amg_obf_plan c = derive(2, shapes[i]);
        assert_same_plan(&a, &b, true);
        assert_same_plan(&a, &c, false);
        assert_memory_not_equal(a.subnets[0].select, c.subnets[0].select, 100 * 4);
        amg_obf_plan_clear(&a);
        amg_obf_plan_clear(&b);
        amg_obf_plan_clear(&c);
    }
}

static void label_maps_are_permutations_of_their_own_classes(void **state)
{
    (void)state;
    amg_obf_plan p = derive(3, &streams_shape);
    int moved = 0;
    for (int s = 0; s < 4; s++) {
        const int classes = s == p.original ? 10 : 12;
        uint8_t seen[12] = {0};
        assert_int_equal(p.subnets[s].num_classes, classes);
        for (int c = 0; c < classes; c++) {
            assert_in_range(p.subnets[s].label_map[c], 0, classes - 1);
            assert_int_equal(seen[p.subnets[s].label_map[c]]++, 0);
            moved += p.subnets[s].label_map[c] != c;
        }
    }
    assert_in_range(moved, 30, 46); /* about one class in each map stays */
    amg_obf_plan_clear(&p);
}

static void labels_stay_where_the_head_does_not_admit_a_permutation(void **state)
{
    (void)state;
    amg_plan_shape shape = streams_shape;
    shape.permute_labels = false;
    amg_obf_plan p = derive(3, &shape);
    for (int s = 0; s < 4; s++)
        for (int c = 0; c < p.subnets[s].num_classes; c++)
            assert_int_equal(p.subnets[s].label_map[c], c);
    amg_obf_plan_clear(&p);
}

/* Over 2,000 keys. Chi-square limits are passed by chance once in 1,000; the keys are
 * fixed, so the result is. */
static void token_maps_are_permutations_that_leave_fixed_tokens_alone(void **state)
{
    (void)state;
    amg_obf_plan p = derive(1, &tokens_shape);
    for (int s = 0; s < 4; s++) {
        const int32_t *map = p.subnets[s].token_map;
        uint8_t seen[40] = {0};
        int stay = 0;
        for (int t = 0; t < 40; t++) {
            assert_in_range(map[t], 0, 39);
            seen[map[t]]++;
            stay += map[t] == t;
        }
        for (int t = 0; t < 40; t++) assert_int_equal(seen[t], 1);
        for (int f = 0; f < 3; f++)
            assert_int_equal(map[tokens_shape.fixed[f]], tokens_shape.fixed[f]);
        assert_in_range(stay, 3, 12); /* one more expected */
        /* A language model's classes are its tokens. */
        assert_memory_equal(p.subnets[s].label_map, map, 40 * sizeof *map);
        if (s > 0)
            assert_memory_not_equal(map, p.subnets[0].token_map, 40 * sizeof *map);
    }
    amg_obf_plan_clear(&p);
}

/* docs/key.md: permutation(vocab - fixed) of keystream (TOKENS, slot). */
static void token_maps_follow_the_law_of_the_key_file(void **state)
{
    (void)state;
    amg_obf_plan p = derive(1, &tokens_shape);
    amg_secret *secret = secret_number(1);
    int64_t free_tokens[37], drawn[37];
    int n = 0;
    for (int t = 0; t < 40; t++)
        if (t != 0 && t != 17 && t != 39) free_tokens[n++] = t;
    for (int s = 0; s < 4; s++) {
        amg_keystream *ks = NULL;
        assert_int_equal(
            amg_keystream_new(secret, AMG_PURPOSE_TOKENS, (uint64_t)s, &ks, NULL),
            AMG_OK);
        amg_keystream_permutation(ks, 37, drawn);
        for (int i = 0; i < 37; i++)
            assert_int_equal(p.subnets[s].token_map[free_tokens[i]],
                             free_tokens[drawn[i]]);
        amg_keystream_free(ks);
    }
    amg_secret_free(secret);
    amg_obf_plan_clear(&p);
}

static void tokens_of_a_classifier_have_maps_of_their_own(void **state)
{
    (void)state;
    amg_plan_shape shape = tokens_shape;
    shape.tokens_are_classes = false;
    shape.num_classes = 40;
    amg_obf_plan p = derive(1, &shape);
    for (int s = 0; s < 4; s++)
        assert_memory_not_equal(p.subnets[s].label_map, p.subnets[s].token_map,
                                40 * sizeof(int32_t));
    amg_obf_plan_clear(&p);
    shape.vocab = shape.num_fixed = 0;
    p = derive(1, &shape);
    assert_null(p.subnets[0].token_map);
    amg_obf_plan_clear(&p);
}

static void rows_of_tokens_grow_along_the_row_alone(void **state)
{
    (void)state;
    amg_plan_shape shape = tokens_shape;
    shape.mode = AMG_MODE_PAPER;
    shape.amount = 0.5;
    amg_obf_plan p = derive(1, &shape);
    assert_int_equal(p.out_dims[0], 1);
    assert_int_equal(p.out_dims[1], 14); /* 9 + round(4.5) */
    assert_int_equal(p.out_dims[2], 1);
    amg_obf_plan_clear(&p);
}

static void the_originals_slot_and_positions_are_uniform_over_keys(void **state)
{
    (void)state;
    amg_plan_shape shape = streams_shape;
    shape.dims[0] = 1;
    shape.dims[1] = 2;
    shape.dims[2] = 1; /* 2 values of 8 positions */
    int slots[4] = {0}, first[8] = {0}, label[10] = {0};
    for (unsigned key = 0; key < 2000; key++) {
        amg_obf_plan p = derive(key, &shape);
        slots[p.original]++;
        first[p.subnets[p.original].select[0]]++;
        label[p.subnets[p.original].label_map[0]]++;
        amg_obf_plan_clear(&p);
    }
    double slot_sum = 0, first_sum = 0, label_sum = 0;
    for (int i = 0; i < 4; i++) slot_sum += pow(slots[i] - 500.0, 2) / 500.0;
    for (int i = 0; i < 8; i++) first_sum += pow(first[i] - 250.0, 2) / 250.0;
    for (int i = 0; i < 10; i++) label_sum += pow(label[i] - 200.0, 2) / 200.0;
    assert_true(slot_sum < 16.27);  /* 3 degrees of freedom */
    assert_true(first_sum < 24.32); /* 7 */
    assert_true(label_sum < 27.88); /* 9 */
}

static void clear_forgets_everything(void **state)
{
    (void)state;
    amg_obf_plan p = derive(1, &streams_shape), zero = {0};
    amg_obf_plan_clear(&p);
    assert_memory_equal(&p, &zero, sizeof p);
    amg_obf_plan_clear(&p);
}

static void shapes_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    struct {
        amg_plan_shape shape;
        const char *where;
    } cases[] = {
        {streams_shape, "num_decoys"},
        {streams_shape, "num_decoys"},
        {streams_shape, "dims"},
        {streams_shape, "dims"},
        {streams_shape, "dims"},
        {streams_shape, "dtype"},
        {streams_shape, "amount"},
        {paper_shape, "amount"},
        {paper_shape, "amount"},
        {paper_shape, "amount"},
        {paper_shape, "amount"},
        {streams_shape, "num_classes"},
        {streams_shape, "cover_classes"},
        {paper_shape, "cover_classes"},
        {streams_shape, "mode"},
        {paper_shape, "dims"},
        {tokens_shape, "vocab"},
        {tokens_shape, "vocab"},
        {tokens_shape, "fixed"},
        {tokens_shape, "fixed"},
        {tokens_shape, "fixed"},
        {tokens_shape, "tokens_are_classes"},
        {tokens_shape, "tokens_are_classes"},
        {tokens_shape, "fixed"},
        {tokens_shape, "amount"},
    };
    cases[0].shape.num_decoys = 0;
    cases[1].shape.num_decoys = 256;
    cases[2].shape.dims[1] = 0;
    cases[3].shape.dims[0] = INT64_MAX;
    cases[4].shape.dims[0] = cases[4].shape.dims[1] = 65536; /* 2^32 x 28 positions */
    cases[5].shape.dtype = AMG_I64;
    cases[6].shape.amount = 0.5;
    cases[7].shape.amount = 0;
    cases[8].shape.amount = NAN;
    cases[9].shape.amount = 17;
    cases[10].shape.amount = 0.01; /* rounds to no row */
    cases[11].shape.num_classes = 0;
    cases[12].shape.cover_classes = (1 << 24) + 1;
    cases[13].shape.cover_classes = 11;
    cases[14].shape.mode = (amg_mode)3;
    cases[15].shape.dtype = AMG_I32; /* tokens have one dim */
    cases[16].shape.vocab = -1;
    cases[17].shape.dtype = AMG_U8; /* no tokens */
    cases[18].shape.num_fixed = AMG_MAX_FIXED_TOKENS + 1;
    cases[19].shape.fixed[1] = 0; /* not ascending */
    cases[20].shape.fixed[2] = 40;
    cases[21].shape.num_classes = 39;
    cases[22].shape.permute_labels = false;
    cases[23].shape.vocab = 0;
    cases[24].shape.mode = AMG_MODE_PAPER, cases[24].shape.amount = 0.01;
    amg_secret *s = secret_number(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_obf_plan p = {0};
        amg_error err = {0};
        assert_int_equal(amg_obf_plan_derive(s, &cases[i].shape, &p, &err),
                         AMG_INVALID);
        assert_string_equal(err.where, cases[i].where);
        assert_int_equal(err.offset, -1);
        assert_null(p.subnets);
    }
    amg_secret_free(s);
}

static void every_lack_of_memory_is_reported_and_cleaned_up(void **state)
{
    (void)state;
    amg_secret *s = secret_number(1);
    for (long nth = 1;; nth++) {
        amg_obf_plan p = {0};
        long countdown = nth;
        amg_alloc_fail_after(&countdown);
        amg_status st = amg_obf_plan_derive(s, &tokens_shape, &p, NULL);
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK) {
            assert_true(nth > 8); /* slots, selects, maps, scratch were all tried */
            amg_obf_plan_clear(&p);
            break;
        }
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_null(p.subnets);
    }
    amg_secret_free(s);
}

static void a_rotation_is_all_slots_own(void **state)
{
    (void)state;
    amg_plan_shape shape = streams_shape;
    amg_obf_plan plan = {0};
    amg_secret *s = secret_number(1);
    shape.dtype = AMG_F32;
    shape.block[0] = 5;
    shape.block[1] = 1;
    shape.patches = shape.rotate = true;
    assert_int_equal(amg_obf_plan_derive(s, &shape, &plan, NULL), AMG_OK);
    assert_int_equal(plan.rotation->n, 15);
    for (int n = 0; n < plan.num_subnets; n++) {
        assert_ptr_equal(plan.subnets[n].rotation, plan.rotation);
        for (int i = 0; i < 15; i++) assert_int_equal(plan.subnets[n].value_map[i], i);
    }
    amg_obf_plan_clear(&plan);
    amg_secret_free(s);

    amg_error err = {0};
    amg_plan_shape wrong[4] = {shape, shape, shape, shape};
    wrong[0].dtype = AMG_U8;
    wrong[1].mode = AMG_MODE_PACK;
    wrong[2].dims[0] = 205; /* 1025 values */
    wrong[3].block[0] = wrong[3].block[1] = 0;
    wrong[3].patches = false;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(amg_plan_shape_check(&wrong[i], &err), AMG_INVALID);
        assert_string_equal(err.where, "rotate");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_disjoint_and_cover_every_position),
        cmocka_unit_test(order_within_a_stream_is_secret),
        cmocka_unit_test(values_change_places_within_their_block),
        cmocka_unit_test(patches_change_places_with_what_is_in_them),
        cmocka_unit_test(a_rotation_is_all_slots_own),
        cmocka_unit_test(paper_subsets_fit_the_grown_sample),
        cmocka_unit_test(a_plan_is_a_function_of_the_key),
        cmocka_unit_test(label_maps_are_permutations_of_their_own_classes),
        cmocka_unit_test(labels_stay_where_the_head_does_not_admit_a_permutation),
        cmocka_unit_test(token_maps_are_permutations_that_leave_fixed_tokens_alone),
        cmocka_unit_test(token_maps_follow_the_law_of_the_key_file),
        cmocka_unit_test(tokens_of_a_classifier_have_maps_of_their_own),
        cmocka_unit_test(rows_of_tokens_grow_along_the_row_alone),
        cmocka_unit_test(the_originals_slot_and_positions_are_uniform_over_keys),
        cmocka_unit_test(clear_forgets_everything),
        cmocka_unit_test(shapes_out_of_range_are_refused_by_name),
        cmocka_unit_test(every_lack_of_memory_is_reported_and_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
