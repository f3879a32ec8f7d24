/* Our own functions of floats against math.h in double, over their whole range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "engine/vector.h"

#define UNIT 0x1p-23 /* of a float's last place, relative to the float at worst */

/* As the loops that use it are compiled. */
AMG_VECTOR static void exponentials(float *y, const float *x, int n)
{
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] = amg_expf(x[i]);
}

static void exp_is_right_to_the_last_place(void **state)
{
    (void)state;
    enum { N = 64 };
    float x[N], y[N];
    for (double at = -87.32; at < 88.35;) {
        for (int i = 0; i < N; i++, at += 1.7e-4) x[i] = (float)at;
        exponentials(y, x, N);
        for (int i = 0; i < N; i++) {
            const double wanted = exp((double)x[i]);
            assert_true(fabs((double)y[i] - wanted) <= UNIT * wanted);
        }
    }
}

static void exp_has_ends(void **state)
{
    (void)state;
    const float x[8] = {-INFINITY, -3e38f, -87.34f, 0, -0.0f, 89, INFINITY, NAN};
    float y[8];
    exponentials(y, x, 8);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0);
    assert_true(y[3] == 1 && y[4] == 1);
    assert_true(y[5] > 2.3e38f && y[5] == y[6] && isfinite(y[5]));
    assert_true(isnan(y[7]));
}

typedef void (*row_fn)(float *y, const float *x, int n);
#define ROW(name, expression)                                                          \
    AMG_VECTOR static void name(float *y, const float *x, int n)                       \
    {                                                                                  \
        _Pragma("omp simd") for (int i = 0; i < n; i++) y[i] = (expression);           \
    }
ROW(tanhs, amg_tanhf(x[i]))
ROW(erfs, amg_erff(x[i]))
ROW(sigmoids, amg_sigmoidf(x[i]))

AMG_VECTOR static void normals(float *y, const float *x, int n)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        float bell;
        y[i] = amg_normalf(x[i], &bell);
    }
}

static double sigmoid_of(double x) { return 1 / (1 + exp(-x)); }
static double normal_of(double x) { return 0.5 * erfc(-x * sqrt(0.5)); }

/* Over [-range, range]: relative error at most `units` last places, or an absolute one
 * of `absolute`. */
static void assert_right(row_fn row, double (*of)(double), double range, double units,
                         double absolute)
{
    enum { N = 64 };
    float x[N], y[N];
    for (double at = -range; at < range;) {
        for (int i = 0; i < N; i++, at += range / 5e4) x[i] = (float)at;
        row(y, x, N);
        for (int i = 0; i < N; i++) {
            const double wanted = of((double)x[i]);
            assert_true(fabs((double)y[i] - wanted) <=
                        units * UNIT * fabs(wanted) + absolute);
        }
    }
}

static void functions_are_right_to_a_few_last_places(void **state)
{
    (void)state;
    assert_right(tanhs, tanh, 12, 2, 0);
    assert_right(erfs, erf, 6, 2, 0);
    assert_right(sigmoids, sigmoid_of, 80, 2, 0);
    /* Far out the tail's relative error is that of e^(-x^2/2), whose exponent is
     * rounded to float. */
    assert_right(normals, normal_of, 3, 6, 0);
    assert_right(normals, normal_of, 14, 0, 3e-7);
}

static void functions_end_where_they_must(void **state)
{
    (void)state;
    const row_fn rows[4] = {tanhs, erfs, sigmoids, normals};
    const float lowest[4] = {-1, -1, 0, 0};
    const float x[8] = {-INFINITY, INFINITY, NAN, 0, -300, 300, -0.0f, NAN};
    for (int f = 0; f < 4; f++) {
        float y[8];
        rows[f](y, x, 8);
        assert_true(y[0] - lowest[f] < 1e-38f && y[4] - lowest[f] < 1e-38f);
        assert_true(y[1] == 1 && y[5] == 1);
        assert_true(isnan(y[2]) && isnan(y[7]));
        assert_true(f < 2 ? y[3] == 0 && y[6] == 0 : fabsf(y[3] - 0.5f) < 3e-7f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_right_to_the_last_place),
        cmocka_unit_test(exp_has_ends),
        cmocka_unit_test(functions_are_right_to_a_few_last_places),
        cmocka_unit_test(functions_end_where_they_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
