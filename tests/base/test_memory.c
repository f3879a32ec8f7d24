/* base: the allocation hook, aligned buffers, the arena, parallel-for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/parallel.h"

static void the_hook_fails_the_nth_request_once(void **state)
{
    (void)state;
    long countdown = 2;
    amg_alloc_fail_after(&countdown);
    void *a = amg_malloc(8), *b = amg_malloc(8), *c = amg_malloc(8);
    amg_alloc_fail_after(NULL);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    amg_free(a);
    amg_free(c);
    assert_null(amg_calloc(SIZE_MAX, 2));
}

static void aligned_buffers_are_aligned_and_zero(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 64, 100, (size_t)5 << 20};
    for (size_t i = 0; i < 5; i++) {
        unsigned char *p = amg_alloc_aligned(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
#ifndef __SANITIZE_ADDRESS__
        if (sizes[i] >= (size_t)4 << 20) assert_int_equal((uintptr_t)p % (2u << 20), 0);
#endif
        if (sizes[i]) p[sizes[i] - 1] = 0;
        for (size_t j = 0; j < sizes[i]; j++)
            if (p[j]) fail_msg("byte %zu of %zu is not zero", j, sizes[i]);
        amg_free_aligned(p);
    }
}

static void an_arena_gives_zeroed_memory_of_any_size(void **state)
{
    (void)state;
    amg_arena arena = {0};
    char *last = NULL;
    for (size_t n = 0; n < 5000; n += 37) {
        char *p = amg_arena_alloc(&arena, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xAA, n);
        assert_ptr_not_equal(p, last);
        last = p;
    }
    assert_string_equal(amg_arena_strndup(&arena, "conv1.weight", 5), "conv1");
    assert_null(amg_arena_array(&arena, SIZE_MAX, 2));
    assert_null(amg_arena_alloc(&arena, SIZE_MAX));
    long countdown = 1;
    amg_alloc_fail_after(&countdown);
    assert_null(amg_arena_alloc(&arena, (size_t)1 << 22));
    amg_alloc_fail_after(NULL);
    amg_arena_clear(&arena);
    assert_null(arena.head);
}

static void add_range(void *context, int64_t begin, int64_t end)
{
    int *count = context;
    for (int64_t i = begin; i < end; i++) count[i]++;
}

static void parallel_for_visits_each_index_once(void **state)
{
    (void)state;
    static int count[10001];
    for (int threads = 1; threads <= 4; threads++) {
        amg_set_threads(threads);
        assert_int_equal(amg_threads(), threads);
        const int64_t sizes[] = {0, 1, 3, 1000, 10001};
        for (size_t s = 0; s < 5; s++)
            for (int64_t grain = 1; grain < 5000; grain *= 70) {
                memset(count, 0, sizeof count);
                amg_parallel_for(sizes[s], grain, add_range, count);
                for (int64_t i = 0; i < 10001; i++)
                    assert_int_equal(count[i], i < sizes[s]);
            }
    }
    amg_set_threads(0);
    assert_true(amg_threads() >= 1);
}

typedef struct {
    int count[1000];
    int fails_from; /* items from here on fail, all but the last */
} counted_items;

static amg_status count_item(void *context, int64_t item, amg_error *err)
{
    counted_items *c = context;
    c->count[item]++;
    if (item < c->fails_from || item == 999) return AMG_OK;
    return amg_fail(err, AMG_INVALID, item, "item", "fails");
}

static void parallel_items_calls_each_once_and_tells_of_the_lowest_failure(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        amg_set_threads(threads);
        for (int from = 0; from <= 1000; from += 100) {
            counted_items c = {.fails_from = from};
            amg_error err = {0};
            const int fails = from < 999;
            assert_int_equal(amg_parallel_items(1000, count_item, &c, &err),
                             fails ? AMG_INVALID : AMG_OK);
            if (fails) assert_int_equal(err.offset, from);
            for (int i = 0; i < 1000; i++) assert_int_equal(c.count[i], 1);
        }
        assert_int_equal(amg_parallel_items(0, count_item, NULL, NULL), AMG_OK);
    }
    amg_set_threads(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hook_fails_the_nth_request_once),
        cmocka_unit_test(aligned_buffers_are_aligned_and_zero),
        cmocka_unit_test(an_arena_gives_zeroed_memory_of_any_size),
        cmocka_unit_test(parallel_for_visits_each_index_once),
        cmocka_unit_test(
            parallel_items_calls_each_once_and_tells_of_the_lowest_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
