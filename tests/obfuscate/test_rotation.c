/* Rotations: orthogonal, of the key alone, of no preferred sign; blocks of samples as
 * rotated data have them, and back. */
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "obfuscate/rotated_data.h"

static amg_rotation *derive(unsigned key, int64_t n)
{
    amg_secret *s = secret_number(key);
    amg_rotation *r = NULL;
    assert_int_equal(amg_rotation_derive(s, n, &r, NULL), AMG_OK);
    amg_secret_free(s);
    return r;
}

static void columns_are_orthogonal(void **state)
{
    (void)state;
    const int64_t sizes[] = {1, 2, 27, 192};
    for (int k = 0; k < 4; k++) {
        const int64_t n = sizes[k];
        amg_rotation *r = derive(1, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                double sum = 0;
                for (int64_t v = 0; v < n; v++)
                    sum += r->columns[i * n + v] * r->columns[j * n + v];
                assert_true(fabs(sum - (i == j)) < 1e-13);
            }
        amg_rotation_free(r);
    }
}

static void a_rotation_is_a_function_of_the_key(void **state)
{
    (void)state;
    amg_rotation *a = derive(1, 12), *b = derive(1, 12), *c = derive(2, 12);
    const size_t bytes = 144 * sizeof(double);
    assert_memory_equal(a->columns, b->columns, bytes);
    assert_memory_not_equal(a->columns, c->columns, bytes);
    amg_rotation_free(a);
    amg_rotation_free(b);
    amg_rotation_free(c);
}

/* Uniform: the mean of an entry is 0 and that of its square 1/n, the first of a column
 * not excepted. */
static void no_sign_is_preferred(void **state)
{
    (void)state;
    enum { KEYS = 2000 };
    double sum[4] = {0}, square[4] = {0};
    for (unsigned k = 0; k < KEYS; k++) {
        amg_rotation *r = derive(k, 2);
        for (int i = 0; i < 4; i++) {
            sum[i] += r->columns[i] / KEYS;
            square[i] += r->columns[i] * r->columns[i] / KEYS;
        }
        amg_rotation_free(r);
    }
    for (int i = 0; i < 4; i++) { /* five deviations */
        assert_true(fabs(sum[i]) < 5 * sqrt(0.5 / KEYS));
        assert_true(fabs(square[i] - 0.5) < 5 * sqrt(0.125 / KEYS));
    }
}

static void the_inverse_brings_values_back(void **state)
{
    (void)state;
    enum { N = 27 };
    amg_rotation *r = derive(3, N);
    double v[N], there[N], back[N], longest = 0;
    for (int i = 0; i < N; i++) v[i] = i % 5 - 1.5;
    amg_rotation_apply(r, v, there);
    amg_rotation_invert(r);
    amg_rotation_apply(r, there, back);
    for (int i = 0; i < N; i++) {
        assert_true(fabs(back[i] - v[i]) < 1e-13);
        longest = fmax(longest, fabs(there[i] - v[i]));
    }
    assert_true(longest > 0.1);
    amg_rotation_free(r);
}

static void rotated_data_are_normalised_blocks_turned(void **state)
{
    enum { N = 8, BLOCKS = 4, COUNT = N * BLOCKS };
    const int64_t dims[3] = {2, 4, 4};
    amg_dataset *set = make_random_set(*state, "set", 20, dims, 3, 5, ""),
                *turned = NULL;
    amg_rotation *r = derive(4, N);
    amg_rotated_data how = {.rotation = r,
                            .pre = {.data_dtype = AMG_U8,
                                    .num_channels = 2,
                                    .mean = {0.5F, 0.25F},
                                    .std = {0.5F, 2}},
                            .dims = {2, 4, 4},
                            .block = {2, 2}};
    assert_int_equal(amg_rotated_data_open(set, &how, &turned, NULL), AMG_OK);
    const amg_dataset_info *info = amg_dataset_get_info(turned);
    assert_int_equal(info->dtype, AMG_F32);
    assert_int_equal(info->sample_bytes, COUNT * sizeof(float));
    assert_int_equal(info->num_samples, 20);
    assert_string_equal(amg_dataset_source(turned), amg_dataset_source(set));
    uint8_t raw[COUNT];
    float x[COUNT], back[COUNT];
    double values[COUNT], scratch[2 * N];
    int32_t label, own;
    assert_int_equal(amg_dataset_read(set, 7, raw, &own, NULL), AMG_OK);
    assert_int_equal(amg_dataset_read(turned, 7, x, &label, NULL), AMG_OK);
    assert_int_equal(label, own);
    double length = 0, turned_length = 0;
    for (int i = 0; i < COUNT; i++) {
        values[i] = x[i];
        turned_length += (double)x[i] * (double)x[i];
    }
    amg_rotation_invert(r);
    amg_rotation_apply_sample(r, how.dims, how.block, values, scratch, back);
    for (int i = 0; i < COUNT; i++) {
        const double mean = i < 16 ? 0.5 : 0.25, std = i < 16 ? 0.5 : 2;
        const double expected = (raw[i] / 255.0 - mean) / std;
        assert_true(fabs((double)back[i] - expected) < 1e-6);
        length += expected * expected;
    }
    assert_true(fabs(length - turned_length) < 1e-5 * length);
    amg_dataset_close(turned);
    amg_dataset_close(set);
    amg_rotation_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_orthogonal),
        cmocka_unit_test(a_rotation_is_a_function_of_the_key),
        cmocka_unit_test(no_sign_is_preferred),
        cmocka_unit_test(the_inverse_brings_values_back),
        cmocka_unit_test_setup_teardown(rotated_data_are_normalised_blocks_turned,
                                        folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
