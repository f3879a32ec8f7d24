/* Scatter and select: against the definition, value by value, for sizes around every
 * boundary of the tiles, and back again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "obfuscate/augment_data.h"

static void fill_random(void *out, size_t size, uint64_t seed)
{
    amg_rng rng = amg_rng_init(seed, 1);
    for (size_t i = 0; i < size; i++) ((uint8_t *)out)[i] = (uint8_t)amg_rng_u32(&rng);
}

static void *must_alloc(size_t size)
{
    void *p = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(p);
    return p;
}

/* One case: scatter, compare with out[i][select[s][j]] = streams[s][i][j], select. */
static void check_case(amg_mode mode, int num_decoys, int64_t c, int64_t h, int64_t w,
                       int64_t num, size_t elem)
{
    const amg_plan_shape shape = {.mode = mode,
                                  .num_decoys = num_decoys,
                                  .dims = {c, h, w},
                                  .dtype = elem == 1 ? AMG_U8 : AMG_F32,
                                  .amount = mode == AMG_MODE_PAPER ? 0.5 : 0,
                                  .num_classes = 2,
                                  .cover_classes = 2};
    amg_secret *secret = NULL;
    amg_obf_plan plan = {0};
    assert_int_equal(amg_secret_new(&secret, NULL), AMG_OK);
    assert_int_equal(amg_obf_plan_derive(secret, &shape, &plan, NULL), AMG_OK);
    const size_t in_bytes = (size_t)(num * plan.num_values) * elem;
    const size_t out_bytes = (size_t)(num * plan.num_positions) * elem;
    uint8_t *out = must_alloc(out_bytes), *want = must_alloc(out_bytes);
    uint8_t *back = must_alloc(in_bytes);
    void *streams[8] = {0};
    memset(out, 0xee, out_bytes);
    memset(want, 0xee, out_bytes);
    for (int s = 0; s < plan.num_subnets; s++) {
        if (mode == AMG_MODE_PAPER && s != plan.original) continue;
        streams[s] = must_alloc(in_bytes);
        fill_random(streams[s], in_bytes, (uint64_t)s + 1);
        for (int64_t i = 0; i < num; i++)
            for (int64_t j = 0; j < plan.num_values; j++)
                memcpy(want + (size_t)(i * plan.num_positions +
                                       plan.subnets[s].select[j]) *
                                  elem,
                       (uint8_t *)streams[s] + (size_t)(i * plan.num_values + j) * elem,
                       elem);
    }
    amg_scatter(&plan, (const void *const *)streams, num, elem, out);
    assert_memory_equal(out, want, out_bytes);
    for (int s = 0; s < plan.num_subnets; s++) {
        if (!streams[s]) continue;
        memset(back, 0x11, in_bytes);
        amg_select(&plan, s, out, num, elem, back);
        assert_memory_equal(back, streams[s], in_bytes);
        free(streams[s]);
    }
    free(out);
    free(want);
    free(back);
    amg_obf_plan_clear(&plan);
    amg_secret_free(secret);
}

static void bytes_go_where_the_plan_says(void **state)
{
    (void)state;
    const int64_t widths[] = {1, 7, 15, 16, 17, 48, 64, 65, 100};
    const int64_t nums[] = {1, 2, 15, 16, 17, 63, 64, 65, 80, 130};
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++)
        for (size_t n = 0; n < sizeof nums / sizeof nums[0]; n++)
            check_case(AMG_MODE_STREAMS, 1, 1, 1, widths[w], nums[n], 1);
    check_case(AMG_MODE_STREAMS, 3, 3, 32, 32, 64, 1);
    check_case(AMG_MODE_STREAMS, 2, 1, 28, 28, 100, 1);
    check_case(AMG_MODE_STREAMS, 7, 3, 5, 9, 77, 1);
}

/* Results of 4 MiB and more are written past the caches, by samples whose lines begin
 * alike: every one, every second, every fourth, every 64th. */
static void large_results_go_where_the_plan_says(void **state)
{
    (void)state;
    check_case(AMG_MODE_STREAMS, 1, 3, 32, 32, 700, 1);
    check_case(AMG_MODE_STREAMS, 1, 1, 28, 28, 2700, 1);
    check_case(AMG_MODE_STREAMS, 2, 1, 28, 28, 1900, 1);
    check_case(AMG_MODE_STREAMS, 1, 1, 28, 54, 1500, 1);
    check_case(AMG_MODE_STREAMS, 2, 1, 17, 23, 4200, 1);
}

static void floats_go_where_the_plan_says(void **state)
{
    (void)state;
    const int64_t nums[] = {1, 3, 4, 15, 16, 17, 33};
    for (size_t n = 0; n < sizeof nums / sizeof nums[0]; n++) {
        check_case(AMG_MODE_STREAMS, 1, 1, 1, 1, nums[n], 4);
        check_case(AMG_MODE_STREAMS, 2, 3, 5, 7, nums[n], 4);
        check_case(AMG_MODE_STREAMS, 3, 1, 16, 16, nums[n], 4);
    }
}

static void positions_without_a_stream_stay_as_they_are(void **state)
{
    (void)state;
    for (int64_t num = 1; num < 70; num += 23) {
        check_case(AMG_MODE_PAPER, 3, 3, 9, 11, num, 1);
        check_case(AMG_MODE_PAPER, 1, 1, 4, 4, num, 4);
    }
}

static void lack_of_memory_makes_it_slow_not_wrong(void **state)
{
    (void)state;
    const amg_plan_shape shape = {.num_decoys = 1,
                                  .dims = {1, 8, 8},
                                  .dtype = AMG_U8,
                                  .num_classes = 2,
                                  .cover_classes = 2};
    amg_secret *secret = NULL;
    amg_obf_plan plan = {0};
    assert_int_equal(amg_secret_new(&secret, NULL), AMG_OK);
    assert_int_equal(amg_obf_plan_derive(secret, &shape, &plan, NULL), AMG_OK);
    uint8_t a[20 * 64], b[20 * 64], with[20 * 128], without[20 * 128], back[20 * 64];
    fill_random(a, sizeof a, 1);
    fill_random(b, sizeof b, 2);
    const void *streams[2] = {a, b};
    amg_scatter(&plan, streams, 20, 1, with);
    long countdown = 1;
    amg_alloc_fail_after(&countdown);
    amg_scatter(&plan, streams, 20, 1, without);
    amg_alloc_fail_after(NULL);
    assert_true(countdown <= 0); /* the request was made, and refused */
    assert_memory_equal(with, without, sizeof with);
    countdown = 1;
    amg_alloc_fail_after(&countdown);
    amg_select(&plan, 1, with, 20, 1, back);
    amg_alloc_fail_after(NULL);
    assert_memory_equal(back, b, sizeof b);
    amg_obf_plan_clear(&plan);
    amg_secret_free(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_where_the_plan_says),
        cmocka_unit_test(large_results_go_where_the_plan_says),
        cmocka_unit_test(floats_go_where_the_plan_says),
        cmocka_unit_test(positions_without_a_stream_stay_as_they_are),
        cmocka_unit_test(lack_of_memory_makes_it_slow_not_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
