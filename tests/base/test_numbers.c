/* base: status and errors, checked arithmetic, cursor, element types, random numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/rng.h"
#include "base/tensor.h"

static void every_status_has_name_and_text(void **state)
{
    (void)state;
    for (int i = 0; i < AMG_STATUS_COUNT; i++) {
        assert_string_not_equal(amg_status_name((amg_status)i), "?");
        assert_string_not_equal(amg_status_text((amg_status)i), "unknown status");
    }
    assert_string_equal(amg_status_name((amg_status)999), "?");
}

static void an_error_keeps_code_offset_and_clean_text(void **state)
{
    (void)state;
    amg_error err = {0};
    char hostile[600];
    memset(hostile, 'a', sizeof hostile);
    hostile[0] = '\x1b'; /* a terminal escape in a tensor's name */
    hostile[sizeof hostile - 1] = 0;
    amg_hint(&err, "old hint");
    assert_int_equal(amg_fail(&err, AMG_MISMATCH, 17, hostile, "found %d\n", 3),
                     AMG_MISMATCH);
    assert_int_equal(err.offset, 17);
    assert_string_equal(err.what, "found 3?");
    assert_string_equal(err.hint, "");
    assert_int_equal(err.where[0], '?');
    assert_int_equal(strlen(err.where), sizeof err.where - 1);
    assert_int_equal(amg_fail(NULL, AMG_IO, 0, "x", "y"), AMG_IO);
    assert_int_equal(amg_fail_errno(&err, 2, "f", "open"), AMG_NOT_FOUND);
    assert_string_equal(err.what, "open: No such file or directory");
}

static void checked_arithmetic_refuses_what_wraps(void **state)
{
    (void)state;
    size_t s = 7;
    int64_t v = 7;
    assert_true(amg_mul_size(1u << 20, 4, &s) && s == 4u << 20);
    assert_false(amg_mul_size(SIZE_MAX, 2, &s));
    assert_false(amg_add_size(SIZE_MAX, 1, &s));
    assert_int_equal(s, 4u << 20);
    assert_false(amg_mul_i64(INT64_MAX, 2, &v));
    assert_false(amg_add_i64(INT64_MAX, 1, &v));
    assert_int_equal(v, 7);
    assert_true(amg_dims_count((int64_t[]){2, 3, 4}, 3, &v) && v == 24);
    assert_true(amg_dims_count(NULL, 0, &v) && v == 1);
    assert_false(amg_dims_count((int64_t[]){2, -1}, 2, &v));
    assert_false(amg_dims_count((int64_t[]){INT64_MAX, 2}, 2, &v));
}

static void a_cursor_never_leaves_its_buffer(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    amg_cursor c = amg_cursor_init(data, sizeof data);
    assert_int_equal(amg_cursor_u8(&c), 1);
    assert_int_equal(amg_cursor_u16le(&c), 0x0302);
    assert_int_equal(amg_cursor_u32be(&c), 0x04050607);
    assert_int_equal(amg_cursor_left(&c), 2);
    assert_int_equal(amg_cursor_u32le(&c), 0);
    assert_true(c.failed);
    assert_int_equal(c.pos, 7); /* where the failing read began */
    assert_int_equal(amg_cursor_u8(&c), 0);
    c = amg_cursor_init(data, sizeof data);
    assert_int_equal(amg_cursor_u64le(&c), 0x0807060504030201);
    assert_null(amg_cursor_bytes(&c, SIZE_MAX));
}

static void element_types_map_both_ways(void **state)
{
    (void)state;
    for (int i = AMG_DTYPE_NONE + 1; i < AMG_DTYPE_COUNT; i++) {
        amg_dtype t = (amg_dtype)i;
        assert_true(amg_dtype_size(t) > 0);
        assert_int_equal(amg_dtype_find_name(amg_dtype_name(t)), t);
        assert_int_equal(amg_dtype_find_onnx(amg_dtype_onnx(t)), t);
        if (amg_dtype_npy(t)[0])
            assert_int_equal(amg_dtype_find_npy(amg_dtype_npy(t)), t);
    }
    assert_int_equal(amg_dtype_find_npy(""), AMG_DTYPE_NONE);
    assert_int_equal(amg_dtype_find_name("F31"), AMG_DTYPE_NONE);
}

static void tensor_sizes_are_checked(void **state)
{
    (void)state;
    size_t size = 1;
    amg_error err = {0};
    char text[AMG_SHAPE_TEXT];
    assert_int_equal(amg_tensor_size(AMG_F32, 2, (int64_t[]){3, 5}, &size, NULL),
                     AMG_OK);
    assert_int_equal(size, 60);
    assert_int_equal(amg_tensor_size(AMG_F32, 9, (int64_t[9]){0}, &size, &err),
                     AMG_INVALID);
    assert_int_equal(amg_tensor_size(AMG_F32, 1, (int64_t[]){-2}, &size, &err),
                     AMG_INVALID);
    assert_int_equal(amg_tensor_size(AMG_F64, 2,
                                     (int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40},
                                     &size, &err),
                     AMG_OVERFLOW);
    assert_int_equal(size, 60);
    assert_string_equal(amg_shape_text(AMG_U8, 3, (int64_t[]){-1, 3, 32}, text),
                        "U8[N,3,32]");
}

static void tensors_find_the_first_bad_number(void **state)
{
    (void)state;
    amg_tensor t;
    assert_int_equal(amg_tensor_new(AMG_F32, 1, (int64_t[]){5}, &t, NULL), AMG_OK);
    assert_int_equal(amg_tensor_find_not_finite(&t), -1);
    ((float *)t.data)[3] = 1.0f / 0.0f;
    assert_int_equal(amg_tensor_find_not_finite(&t), 3);
    ((float *)t.data)[1] = 0.0f / 0.0f;
    assert_int_equal(amg_tensor_find_not_finite(&t), 1);
    amg_tensor_clear(&t);
}

/* The known-answer vectors that come with Random123 (kat_vectors: philox4x32 10). */
static void philox_gives_the_published_vectors(void **state)
{
    (void)state;
    const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        amg_philox(cases[i].key, cases[i].counter, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void lanes_of_philox_are_as_many_blocks(void **state)
{
    (void)state;
    const uint32_t key[2] = {0x12345678, 0x9abcdef0};
    /* The first counter wraps around on the way. */
    const uint32_t first[4] = {UINT32_MAX - 4, 7, 0x80000001, 3};
    uint32_t lanes[4 * AMG_PHILOX_LANES], block[4];
    amg_philox_lanes(key, first, lanes);
    for (uint32_t i = 0; i < AMG_PHILOX_LANES; i++) {
        amg_philox(key, (uint32_t[4]){first[0] + i, first[1], first[2], first[3]},
                   block);
        assert_memory_equal(lanes + 4 * i, block, sizeof block);
    }
}

static void bounded_draws_are_uniform(void **state)
{
    (void)state;
    amg_rng rng = amg_rng_init(5, 0);
    int count[7] = {0};
    for (int i = 0; i < 70000; i++) count[amg_rng_below(&rng, 7)]++;
    double chi2 = 0;
    for (int i = 0; i < 7; i++) chi2 += (count[i] - 1e4) * (count[i] - 1e4) / 1e4;
    assert_true(chi2 < 22.5); /* 6 degrees of freedom, p = .001 */
}

static void permutations_are_permutations_and_streams_differ(void **state)
{
    (void)state;
    int64_t a[1000], b[1000];
    int seen[1000] = {0};
    amg_rng rng = amg_rng_init(9, 1), other = amg_rng_init(9, 2);
    amg_rng_permutation(&rng, 1000, a);
    amg_rng_permutation(&other, 1000, b);
    for (int i = 0; i < 1000; i++) seen[a[i]]++;
    for (int i = 0; i < 1000; i++) assert_int_equal(seen[i], 1);
    assert_memory_not_equal(a, b, sizeof a);
}

static void normals_have_mean_zero_and_variance_one(void **state)
{
    (void)state;
    amg_rng rng = amg_rng_init(1, 3);
    double sum = 0, squares = 0;
    enum { N = 100000 };
    for (int i = 0; i < N; i++) {
        double x = amg_rng_normal(&rng);
        sum += x;
        squares += x * x;
    }
    assert_true(sum / N < .015 && sum / N > -.015); /* 4.7 standard errors */
    assert_true(squares / N < 1 + .02 && squares / N > 1 - .02); /* 4.5 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_name_and_text),
        cmocka_unit_test(an_error_keeps_code_offset_and_clean_text),
        cmocka_unit_test(checked_arithmetic_refuses_what_wraps),
        cmocka_unit_test(a_cursor_never_leaves_its_buffer),
        cmocka_unit_test(element_types_map_both_ways),
        cmocka_unit_test(tensor_sizes_are_checked),
        cmocka_unit_test(tensors_find_the_first_bad_number),
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(lanes_of_philox_are_as_many_blocks),
        cmocka_unit_test(bounded_draws_are_uniform),
        cmocka_unit_test(permutations_are_permutations_and_streams_differ),
        cmocka_unit_test(normals_have_mean_zero_and_variance_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
