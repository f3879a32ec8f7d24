/* Turning blocks: every path that this processor can run, against the definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "obfuscate/turn.h"

enum { SIDE = AMG_TURN_SIDE };

/* One block between rows that lie from_stride and to_stride apart, `shift` bytes from a
 * multiple of 64, in random order; nothing around them may change. */
static void check_block(amg_turn_fn *turn, size_t from_stride, size_t to_stride,
                        size_t shift, uint64_t seed)
{
    const size_t in_size = SIDE * from_stride + SIDE;
    const size_t out_size = (SIDE * to_stride + 2 * SIDE) / SIDE * SIDE;
    uint8_t *in = malloc(in_size), *out = aligned_alloc(SIDE, out_size);
    uint8_t *want = malloc(out_size);
    uint32_t from_rows[SIDE], to_rows[SIDE];
    amg_rng rng = amg_rng_init(seed, 0);
    assert_non_null(in);
    assert_non_null(out);
    assert_non_null(want);
    for (size_t i = 0; i < in_size; i++) in[i] = (uint8_t)amg_rng_u32(&rng);
    memset(out, 0xee, out_size);
    memset(want, 0xee, out_size);
    for (uint32_t i = 0; i < SIDE; i++) {
        from_rows[i] = amg_rng_u32(&rng) % SIDE; /* reading may repeat */
        to_rows[i] = (5 * i + (uint32_t)seed) % SIDE;
    }
    for (size_t r = 0; r < SIDE; r++)
        for (size_t c = 0; c < SIDE; c++)
            want[shift + to_rows[c] * to_stride + r] =
                in[shift + from_rows[r] * from_stride + c];
    turn((amg_turn_source){in + shift, from_stride, from_rows},
         (amg_turn_target){out + shift, to_stride, to_rows});
    assert_memory_equal(out, want, out_size);
    free(in);
    free(out);
    free(want);
}

static void every_path_turns_rows_wherever_they_lie(void **state)
{
    (void)state;
    const size_t strides[] = {64, 65, 100, 784, 1024, 4096};
    const size_t count = sizeof strides / sizeof strides[0];
    const amg_turn_path *paths;
    const int num_paths = amg_turn_paths(&paths);
    for (int p = 0; p < num_paths; p++)
        for (size_t a = 0; a < count; a++)
            for (size_t b = 0; b < count; b++)
                for (size_t shift = 0; shift < SIDE; shift += 21)
                    check_block(paths[p].turn, strides[a], strides[b], shift, a + b);
}

static void paths_past_the_caches_write_the_same(void **state)
{
    (void)state;
    const size_t strides[] = {64, 128, 3072, 4096};
    const amg_turn_path *paths;
    const int num_paths = amg_turn_paths(&paths);
    for (int p = 0; p < num_paths; p++)
        for (size_t a = 0; a < 4 && paths[p].turn_past; a++)
            for (size_t b = 0; b < 4; b++)
                check_block(paths[p].turn_past, strides[a], strides[b], 0, a + b);
}

static void any_processor_has_a_path(void **state)
{
    (void)state;
    const amg_turn_path *paths;
    assert_true(amg_turn_paths(&paths) >= 1);
    assert_string_equal(paths[0].name, "plain");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_processor_has_a_path),
        cmocka_unit_test(every_path_turns_rows_wherever_they_lie),
        cmocka_unit_test(paths_past_the_caches_write_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
