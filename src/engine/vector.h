/* Functions of math.h in a form that the compiler can put into vectors: no branch, no
 * call, no table. Checked against math.h in double by test_vector. */
#ifndef AMG_ENGINE_VECTOR_H
#define AMG_ENGINE_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/vector.h"

/* e^x to one unit in the last place. 0 below -87.33, where
 * floats lose digits; e^88.37, which is 2.4e38, above that. NaN stays NaN.
 *
 * x = n log 2 + r with |r| <= log 2 / 2; e^r = 1 + r + r^2 p(r), p interpolated at
 * Chebyshev's points. Adding 1.5 * 2^23 rounds n to an integer and leaves it in the
 * last bits, from where it moves to the exponent of 2^n. */
AMG_INLINE float amg_expf(float x)
{
    const float shifter = 0x1.8p23f, clamped = x > 88.37f ? 88.37f : x;
    const float shifted = clamped * 0x1.715476p+0f + shifter, n = shifted - shifter;
    const float r = clamped - n * 0x1.63p-1f - n * -0x1.bd0106p-13f;
    float p = 0x1.6d117cp-10f;
    p = p * r + 0x1.120be2p-7f;
    p = p * r + 0x1.555518p-5f;
    p = p * r + 0x1.5554dcp-3f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits << 23) + UINT32_C(0x3f800000);
    float power;
    memcpy(&power, &bits, 4);
    return x < -87.33f ? 0 : p * power;
}

AMG_INLINE float amg_sigmoidf(float x) { return 1 / (1 + amg_expf(-x)); }

/* tanh to 2 units in the last place: x p(x^2) near 0, which elsewhere is 1 - 2 / (e^2x
 * + 1) with the sign of x. */
AMG_INLINE float amg_tanhf(float x)
{
    const float u = x * x, size = fabsf(x);
    float p = -0.00565998163f;
    p = p * u + 0.0205909815f;
    p = p * u - 0.0537210666f;
    p = p * u + 0.133311272f;
    p = p * u - 0.333332598f;
    const float near = x + x * (u * p);
    const float far = copysignf(1 - 2 / (amg_expf(2 * size) + 1), x);
    return size < 0.625f ? near : far;
}

/* The upper tail of the normal distribution beyond |x|, 3e-7 off at most. *bell:
 * e^(-x^2/2), by which the tail is divided to be a polynomial in 1 / (1 + 0.3 |x|). */
AMG_INLINE float amg_normal_tailf(float x, float *bell)
{
    const float t = 1 / (1 + 0.3f * fabsf(x));
    float p = 0.038299121f;
    p = p * t - 0.168780655f;
    p = p * t + 0.227862358f;
    p = p * t - 0.0755922124f;
    p = p * t + 0.141902536f;
    p = p * t + 0.0949538797f;
    p = p * t + 0.121850953f;
    p = p * t + 0.119497448f;
    p = p * t + 6.59346733e-6f;
    *bell = amg_expf(-0.5f * x * x);
    return *bell * p;
}

/* The normal distribution up to x. */
AMG_INLINE float amg_normalf(float x, float *bell)
{
    const float tail = amg_normal_tailf(x, bell);
    return x < 0 ? tail : 1 - tail;
}

/* erf to 2 units in the last place: x p(x^2) near 0, elsewhere by the normal's tail. */
AMG_INLINE float amg_erff(float x)
{
    const float u = x * x, size = fabsf(x);
    float p = 7.85385491e-5f, bell;
    p = p * u - 0.000801019138f;
    p = p * u + 0.00518832728f;
    p = p * u - 0.026853811f;
    p = p * u + 0.112835854f;
    p = p * u - 0.37612626f;
    p = p * u + 1.12837911f;
    const float tail = amg_normal_tailf(size * 1.41421356f, &bell);
    return size < 1 ? x * p : copysignf(1 - 2 * tail, x);
}

#endif
