/* Noise laws: levels are the data's own, bit for bit; frequencies follow the law;
 * ranges hold; bad data and lists are refused. */
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "obfuscate/noise.h"

#define DRAWS 60000

static const int64_t dims[3] = {1, 4, 8};

/* 64 samples of 32 values, value(i) for the i-th of all. */
static amg_dataset *make_floats(const char *dir, float (*value)(int64_t i))
{
    float *x = malloc(64 * 32 * sizeof *x);
    int64_t labels[64] = {0};
    for (int64_t i = 0; i < 64 * 32; i++) x[i] = value(i);
    amg_dataset *ds = make_set(dir, "f", AMG_F32, 64, dims, x, labels, "");
    free(x);
    return ds;
}

static amg_dataset *make_bytes(const char *dir, uint8_t (*value)(int64_t i))
{
    uint8_t x[64 * 32];
    int64_t labels[64] = {0};
    for (int64_t i = 0; i < 64 * 32; i++) x[i] = value(i);
    return make_set(dir, "b", AMG_U8, 64, dims, x, labels, "");
}

static amg_noise_law fit(amg_noise kind, const amg_dataset *ds, const float *values,
                         int64_t num)
{
    amg_noise_law law = {0};
    amg_error err = {0};
    if (amg_noise_fit(kind, ds, values, num, &law, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    return law;
}

static amg_keystream *stream(uint64_t index)
{
    amg_secret *s = secret_number(5);
    amg_keystream *ks = NULL;
    assert_int_equal(amg_keystream_new(s, AMG_PURPOSE_NOISE, index, &ks, NULL), AMG_OK);
    amg_secret_free(s);
    return ks;
}

static void draw(const amg_noise_law *law, void *out)
{
    amg_keystream *ks = stream(3);
    amg_noise_fill(law, ks, DRAWS, out);
    amg_keystream_free(ks);
}

static uint8_t all_bytes(int64_t i) { return (uint8_t)i; }
static uint8_t middle_bytes(int64_t i)
{
    return (uint8_t)(100 + i % 2 * 20 + i % 3); /* 100 101 102 120 121 122 */
}
static uint8_t one_byte(int64_t i) { return (uint8_t)(7 + 0 * i); }
static float grid(int64_t i) { return (float)(i % 256) / 255.0f; }
static float line(int64_t i) { return -1.0f + (float)i * 0.001f; }
static float with_nan(int64_t i) { return i == 40 ? NAN : 0.5f; }

/* Many different floats: deterministic, in [-2, 2]. */
static float continuous(int64_t i)
{
    amg_rng rng = amg_rng_init(17, (uint64_t)i);
    return amg_rng_uniform(&rng) * 4 - 2;
}

static void uniform_bytes_take_every_level_alike(void **state)
{
    amg_dataset *ds = make_bytes(*state, all_bytes);
    amg_noise_law law = fit(AMG_NOISE_UNIFORM, ds, NULL, 0);
    assert_int_equal(law.num_levels, 256);
    uint8_t *x = malloc(DRAWS);
    draw(&law, x);
    int counts[256] = {0};
    for (int i = 0; i < DRAWS; i++) counts[x[i]]++;
    double sum = 0, expected = DRAWS / 256.0;
    for (int v = 0; v < 256; v++) sum += pow(counts[v] - expected, 2) / expected;
    assert_true(sum < 330.5); /* chi-square, 255 degrees: once in 1,000 */
    free(x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

static void only_values_of_the_data_are_drawn(void **state)
{
    amg_dataset *ds = make_bytes(*state, middle_bytes);
    const amg_noise kinds[] = {AMG_NOISE_UNIFORM, AMG_NOISE_GAUSSIAN,
                               AMG_NOISE_LAPLACE};
    for (int k = 0; k < 3; k++) {
        amg_noise_law law = fit(kinds[k], ds, NULL, 0);
        assert_int_equal(law.num_levels, 6);
        uint8_t *x = malloc(DRAWS);
        draw(&law, x);
        for (int i = 0; i < DRAWS; i++)
            assert_true((x[i] >= 100 && x[i] <= 102) || (x[i] >= 120 && x[i] <= 122));
        free(x);
        amg_noise_clear(&law);
    }
    amg_dataset_close(ds);
}

static void floats_of_8_bit_data_get_the_same_floats_bit_for_bit(void **state)
{
    amg_dataset *ds = make_floats(*state, grid);
    amg_noise_law law = fit(AMG_NOISE_GAUSSIAN, ds, NULL, 0);
    assert_int_equal(law.num_levels, 256);
    float *x = malloc(DRAWS * sizeof *x);
    draw(&law, x);
    for (int i = 0; i < DRAWS; i++) {
        float k = roundf(x[i] * 255.0f);
        assert_true(x[i] == k / 255.0f);
    }
    free(x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

/* Bytes 0..255 alike: mean 127.5, deviation 73.9; rounded: 72 and a multiple of 72/16.
 * Frequencies of the cut, quantised laws are integrals. */
static void gaussian_and_laplace_follow_their_laws(void **state)
{
    amg_dataset *ds = make_bytes(*state, all_bytes);
    uint8_t *x = malloc(DRAWS);
    amg_noise_law law = fit(AMG_NOISE_GAUSSIAN, ds, NULL, 0);
    assert_true(fabs(law.std - 73.9) < 73.9 / 32);
    assert_true(fabs(law.mean - 127.5) <= law.std / 32 + 1e-9);
    draw(&law, x);
    int zeros = 0, low = 0;
    for (int i = 0; i < DRAWS; i++) {
        zeros += x[i] == 0;
        low += x[i] <= 63;
    }
    double want_zero = 0.5 * erfc((law.mean - 0.5) / law.std / sqrt(2));
    double want_low = 0.5 * erfc((law.mean - 63.5) / law.std / sqrt(2));
    assert_true(fabs(zeros / (double)DRAWS - want_zero) < 4 * sqrt(want_zero / DRAWS));
    assert_true(fabs(low / (double)DRAWS - want_low) < 4 * sqrt(want_low / DRAWS));
    amg_noise_clear(&law);

    law = fit(AMG_NOISE_LAPLACE, ds, NULL, 0);
    draw(&law, x);
    int high = 0;
    low = 0;
    for (int i = 0; i < DRAWS; i++) {
        high += x[i] == 255;
        low += x[i] <= 63;
    }
    const double scale = law.std / sqrt(2);
    double want_high = 0.5 * exp(-(254.5 - law.mean) / scale);
    want_low = 0.5 * exp(-(law.mean - 63.5) / scale);
    assert_true(fabs(high / (double)DRAWS - want_high) < 4 * sqrt(want_high / DRAWS));
    assert_true(fabs(low / (double)DRAWS - want_low) < 4 * sqrt(want_low / DRAWS));
    amg_noise_clear(&law);
    free(x);
    amg_dataset_close(ds);
}

/* 64 x 32 different values are levels; to pass 65,536 the data must be larger. */
static void data_without_levels_get_the_formula_within_their_range(void **state)
{
    const int64_t big[3] = {1, 64, 64};
    float *x = malloc(40 * 4096 * sizeof *x);
    int64_t labels[40] = {0};
    for (int64_t i = 0; i < 40 * 4096; i++) x[i] = continuous(i);
    amg_dataset *ds = make_set(*state, "c", AMG_F32, 40, big, x, labels, "");
    const amg_noise kinds[] = {AMG_NOISE_UNIFORM, AMG_NOISE_GAUSSIAN,
                               AMG_NOISE_LAPLACE};
    for (int k = 0; k < 3; k++) {
        amg_noise_law law = fit(kinds[k], ds, NULL, 0);
        assert_int_equal(law.num_levels, 0);
        draw(&law, x);
        double within = 0, sum = 0;
        for (int i = 0; i < DRAWS; i++) {
            assert_true((double)x[i] >= law.low && (double)x[i] <= law.high);
            within += fabs((double)x[i] - law.mean) < law.std / 2;
            sum += (double)x[i];
        }
        /* P(|x - mean| < std/2): std = 4/sqrt 12 of the uniform law */
        const double want[] = {law.std / 4, erf(0.5 / sqrt(2)), 1 - exp(-sqrt(0.5))};
        assert_true(fabs(within / DRAWS - want[k]) < 0.012);
        assert_true(fabs(sum / DRAWS - law.mean) < 0.06);
        amg_noise_clear(&law);
    }
    free(x);
    amg_dataset_close(ds);
}

static void a_list_is_drawn_with_its_multiplicities(void **state)
{
    amg_dataset *ds = make_floats(*state, line);
    const float list[4] = {0.25f, -3.5f, 0.25f, 0.25f};
    amg_noise_law law = fit(AMG_NOISE_VALUES, ds, list, 4);
    float *x = malloc(DRAWS * sizeof *x);
    int low = 0;
    draw(&law, x);
    for (int i = 0; i < DRAWS; i++) {
        assert_true(x[i] == 0.25f || x[i] == -3.5f);
        low += x[i] == -3.5f;
    }
    assert_in_range(low, 15000 - 425, 15000 + 425); /* 4 deviations */
    free(x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

static void a_little_more_data_leaves_the_law_as_it_is(void **state)
{
    amg_dataset *ds = make_bytes(*state, all_bytes);
    uint8_t x[65 * 32];
    int64_t labels[65] = {0};
    for (int i = 0; i < 64 * 32; i++) x[i] = all_bytes(i);
    memset(x + 64 * 32, 130, 32);
    amg_dataset *grown = make_set(*state, "grown", AMG_U8, 65, dims, x, labels, "");
    amg_noise_law a = fit(AMG_NOISE_GAUSSIAN, ds, NULL, 0);
    amg_noise_law b = fit(AMG_NOISE_GAUSSIAN, grown, NULL, 0);
    assert_true(a.mean == b.mean && a.std == b.std);
    assert_memory_equal(a.upper, b.upper, 256 * sizeof *a.upper);
    amg_noise_clear(&a);
    amg_noise_clear(&b);
    amg_dataset_close(ds);
    amg_dataset_close(grown);
}

static void constant_data_give_constant_noise(void **state)
{
    amg_dataset *ds = make_bytes(*state, one_byte);
    for (int kind = AMG_NOISE_UNIFORM; kind <= AMG_NOISE_LAPLACE; kind++) {
        amg_noise_law law = fit((amg_noise)kind, ds, NULL, 0);
        uint8_t *x = malloc(DRAWS);
        draw(&law, x);
        for (int i = 0; i < DRAWS; i++) assert_int_equal(x[i], 7);
        free(x);
        amg_noise_clear(&law);
    }
    amg_dataset_close(ds);
}

static void data_that_are_not_finite_are_refused(void **state)
{
    amg_dataset *ds = make_floats(*state, with_nan);
    amg_noise_law law = {0};
    amg_error err = {0};
    assert_int_equal(amg_noise_fit(AMG_NOISE_UNIFORM, ds, NULL, 0, &law, &err),
                     AMG_NOT_FINITE);
    assert_non_null(strstr(err.what, "sample 1:"));
    assert_null(law.levels);
    amg_dataset_close(ds);
}

static void lists_that_the_data_cannot_hold_are_refused(void **state)
{
    amg_dataset *bytes = make_bytes(*state, all_bytes);
    amg_dataset *floats = make_floats(*state, grid);
    const struct {
        const amg_dataset *ds;
        float values[2];
        int64_t num;
        const char *part;
    } cases[] = {
        {bytes, {1, 256}, 2, "value 1 of the list is 256"},
        {bytes, {-1, 3}, 2, "value 0 of the list is -1"},
        {bytes, {2.5f, 3}, 2, "value 0 of the list is 2.5"},
        {floats, {0, INFINITY}, 2, "value 1 of the list is inf"},
        {floats, {0, NAN}, 2, "value 1 of the list"},
        {floats, {0, 0}, 0, "list of 0 values"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_noise_law law = {0};
        amg_error err = {0};
        assert_int_equal(amg_noise_fit(AMG_NOISE_VALUES, cases[i].ds, cases[i].values,
                                       cases[i].num, &law, &err),
                         AMG_INVALID);
        assert_non_null(strstr(err.what, cases[i].part));
        assert_null(law.levels);
    }
    amg_dataset_close(bytes);
    amg_dataset_close(floats);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(uniform_bytes_take_every_level_alike),
        IN_FOLDER(only_values_of_the_data_are_drawn),
        IN_FOLDER(floats_of_8_bit_data_get_the_same_floats_bit_for_bit),
        IN_FOLDER(gaussian_and_laplace_follow_their_laws),
        IN_FOLDER(data_without_levels_get_the_formula_within_their_range),
        IN_FOLDER(a_list_is_drawn_with_its_multiplicities),
        IN_FOLDER(a_little_more_data_leaves_the_law_as_it_is),
        IN_FOLDER(constant_data_give_constant_noise),
        IN_FOLDER(data_that_are_not_finite_are_refused),
        IN_FOLDER(lists_that_the_data_cannot_hold_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
