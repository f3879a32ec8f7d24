/* The keystream: known answers (make_vectors.py: RFC 8439 ChaCha20 in Python), the
 * draws' laws, and uniformity over many fixed streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "key/secret.h"
#include "vectors.h"

#define HEX_00_1F "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

typedef struct {
    amg_secret *secret;
    amg_keystream *k; /* POSITIONS, index 9 */
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(amg_secret_from_hex(HEX_00_1F, &f->secret, NULL), AMG_OK);
    assert_int_equal(
        amg_keystream_new(f->secret, AMG_PURPOSE_POSITIONS, 9, &f->k, NULL), AMG_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    amg_keystream_free(f->k);
    amg_secret_free(f->secret);
    free(f);
    return 0;
}

static void bytes_are_chacha20_of_the_subkey(void **state)
{
    fixture *f = *state;
    uint8_t got[sizeof vector_stream];
    amg_keystream_seek(f->k, UINT64_C(0x0123456789abcdef));
    amg_keystream_bytes(f->k, got, sizeof got);
    assert_memory_equal(got, vector_stream, sizeof got);
}

static void bytes_do_not_depend_on_how_they_are_cut(void **state)
{
    fixture *f = *state;
    const size_t cuts[] = {1, 3, 64, 1000, 1023, 1024, 1025, 2047};
    for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
        uint8_t got[sizeof vector_stream];
        amg_keystream_seek(f->k, UINT64_C(0x0123456789abcdef));
        for (size_t at = 0; at < sizeof got; at += cuts[c]) {
            size_t n = sizeof got - at < cuts[c] ? sizeof got - at : cuts[c];
            amg_keystream_bytes(f->k, got + at, n);
        }
        assert_memory_equal(got, vector_stream, sizeof got);
    }
}

static void numbers_are_little_endian_without_alignment(void **state)
{
    fixture *f = *state;
    uint8_t byte;
    amg_keystream_seek(f->k, UINT64_C(0x0123456789abcdef));
    amg_keystream_bytes(f->k, &byte, 1);
    const uint8_t *v = vector_stream + 1;
    uint32_t want32 = (uint32_t)v[0] | (uint32_t)v[1] << 8 | (uint32_t)v[2] << 16 |
                      (uint32_t)v[3] << 24;
    assert_int_equal(amg_keystream_u32(f->k), want32);
    uint64_t want64 = 0;
    for (int i = 0; i < 8; i++) want64 |= (uint64_t)v[4 + i] << 8 * i;
    assert_true(amg_keystream_u64(f->k) == want64);
}

static void draws_match_the_known_answers(void **state)
{
    fixture *f = *state;
    amg_keystream_seek(f->k, 7);
    for (int i = 0; i < 16; i++)
        assert_true(amg_keystream_below(f->k, (UINT64_C(1) << 63) + 1) ==
                    vector_below_big[i]);
    amg_keystream_seek(f->k, 7);
    for (int i = 0; i < 16; i++)
        assert_true(amg_keystream_below(f->k, 10) == vector_below_ten[i]);
    int64_t got[20];
    amg_keystream_seek(f->k, 9);
    amg_keystream_permutation(f->k, 20, got);
    assert_memory_equal(got, vector_permutation, sizeof vector_permutation);
    amg_keystream_seek(f->k, 9);
    assert_int_equal(amg_keystream_sample(f->k, 1000, 16, got, NULL), AMG_OK);
    assert_memory_equal(got, vector_sample, sizeof vector_sample);
    amg_keystream_seek(f->k, 9);
    for (int i = 0; i < 4; i++) assert_true(amg_keystream_unit(f->k) == vector_unit[i]);
    /* libm may differ from Python's in the last bits */
    amg_keystream_seek(f->k, 9);
    for (int i = 0; i < 6; i++)
        assert_true(fabs(amg_keystream_normal(f->k) - vector_normal[i]) < 1e-14);
}

static void purposes_and_indices_give_different_streams(void **state)
{
    fixture *f = *state;
    amg_keystream *other = NULL;
    assert_int_equal(amg_keystream_new(f->secret, AMG_PURPOSE_NOISE, 9, &other, NULL),
                     AMG_OK);
    uint8_t a[32], b[32];
    amg_keystream_bytes(f->k, a, 32);
    amg_keystream_bytes(other, b, 32);
    assert_memory_not_equal(a, b, 32);
    amg_keystream_seek(f->k, 9 + (UINT64_C(1) << 32)); /* the high half counts too */
    amg_keystream_bytes(f->k, b, 32);
    assert_memory_not_equal(a, b, 32);
    amg_keystream_seek(f->k, 9);
    amg_keystream_bytes(f->k, b, 32);
    assert_memory_equal(a, b, 32);
    amg_keystream_free(other);
}

static void sample_is_a_subset_without_repetition(void **state)
{
    fixture *f = *state;
    const int64_t sizes[][2] = {{1, 1}, {1, 0}, {7, 7}, {100, 99}, {5000, 1}};
    for (size_t c = 0; c < sizeof sizes / sizeof sizes[0]; c++) {
        int64_t n = sizes[c][0], count = sizes[c][1];
        int64_t *out = calloc((size_t)n, sizeof *out);
        char *seen = calloc((size_t)n, 1);
        assert_int_equal(amg_keystream_sample(f->k, n, count, out, NULL), AMG_OK);
        for (int64_t i = 0; i < count; i++) {
            assert_in_range(out[i], 0, n - 1);
            assert_int_equal(seen[out[i]], 0);
            seen[out[i]] = 1;
        }
        free(out);
        free(seen);
    }
}

static void sample_beyond_the_set_is_refused(void **state)
{
    fixture *f = *state;
    int64_t out[4];
    amg_error err = {0};
    assert_int_equal(amg_keystream_sample(f->k, 3, 4, out, &err), AMG_INVALID);
    assert_int_equal(err.offset, -1);
    assert_int_equal(amg_keystream_sample(f->k, 3, -1, out, &err), AMG_INVALID);
}

static void sample_reports_lack_of_memory(void **state)
{
    fixture *f = *state;
    for (long nth = 1; nth <= 2; nth++) {
        int64_t out[4];
        long countdown = nth;
        amg_error err = {0};
        amg_alloc_fail_after(&countdown);
        amg_status st = amg_keystream_sample(f->k, 100, 4, out, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(st, AMG_NO_MEMORY);
    }
}

/* Chi-square of 24 equally likely outcomes over 24,000 draws: 23 degrees of freedom,
 * 49.73 is passed by chance once in 1000. The streams are fixed, so the result is. */
static double chi_square_24(const int *counts)
{
    double sum = 0;
    for (int i = 0; i < 24; i++) sum += (counts[i] - 1000.0) * (counts[i] - 1000.0);
    return sum / 1000.0;
}

/* Rank of an arrangement of 4 different numbers, 0..23. */
static int rank_of_four(const int64_t *a)
{
    int rank = 0;
    for (int i = 0; i < 4; i++) {
        int smaller = 0;
        for (int j = i + 1; j < 4; j++) smaller += a[j] < a[i];
        rank = rank * (4 - i) + smaller;
    }
    return rank;
}

static void permutations_are_uniform(void **state)
{
    fixture *f = *state;
    int counts[24] = {0};
    for (int i = 0; i < 24000; i++) {
        int64_t a[4];
        amg_keystream_permutation(f->k, 4, a);
        counts[rank_of_four(a)]++;
    }
    assert_true(chi_square_24(counts) < 49.73);
}

static void samples_are_uniform_over_ordered_subsets(void **state)
{
    fixture *f = *state;
    int counts[24] = {0};
    for (int i = 0; i < 24000; i++) {
        int64_t a[3];
        assert_int_equal(amg_keystream_sample(f->k, 4, 3, a, NULL), AMG_OK);
        int64_t four[4] = {a[0], a[1], a[2], 6 - a[0] - a[1] - a[2]};
        counts[rank_of_four(four)]++;
    }
    assert_true(chi_square_24(counts) < 49.73);
}

static void bounded_draws_are_uniform(void **state)
{
    fixture *f = *state;
    int counts[24] = {0};
    for (int i = 0; i < 24000; i++) counts[amg_keystream_below(f->k, 24)]++;
    assert_true(chi_square_24(counts) < 49.73);
    /* With 3/4 of 2^64 as bound, taking x % bound without rejection would give the low
     * third half of all draws. */
    int low = 0;
    for (int i = 0; i < 9000; i++)
        low += amg_keystream_below(f->k, UINT64_C(3) << 62) < UINT64_C(1) << 62;
    assert_in_range(low, 3000 - 150, 3000 + 150); /* 3.4 standard deviations */
}

static void normals_have_mean_0_and_variance_1(void **state)
{
    fixture *f = *state;
    const int n = 40000;
    double sum = 0, square = 0;
    int beyond_2 = 0;
    for (int i = 0; i < n; i++) {
        double z = amg_keystream_normal(f->k);
        sum += z;
        square += z * z;
        beyond_2 += fabs(z) > 2;
    }
    assert_true(fabs(sum / n) < 4 / sqrt(n));
    assert_true(fabs(square / n - 1) < 4 * sqrt(2.0 / n));
    assert_true(fabs(beyond_2 / (double)n - 0.0455) < 0.0042); /* 4 deviations */
}

int main(void)
{
#define WITH_STREAM(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_STREAM(bytes_are_chacha20_of_the_subkey),
        WITH_STREAM(bytes_do_not_depend_on_how_they_are_cut),
        WITH_STREAM(numbers_are_little_endian_without_alignment),
        WITH_STREAM(draws_match_the_known_answers),
        WITH_STREAM(purposes_and_indices_give_different_streams),
        WITH_STREAM(sample_is_a_subset_without_repetition),
        WITH_STREAM(sample_beyond_the_set_is_refused),
        WITH_STREAM(sample_reports_lack_of_memory),
        WITH_STREAM(permutations_are_uniform),
        WITH_STREAM(samples_are_uniform_over_ordered_subsets),
        WITH_STREAM(bounded_draws_are_uniform),
        WITH_STREAM(normals_have_mean_0_and_variance_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
