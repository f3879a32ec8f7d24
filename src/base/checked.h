/* Arithmetic on sizes that come from files: every product and sum that could wrap goes
 * through here. true = fits, *out written; false = overflow, *out untouched. */
#ifndef AMG_BASE_CHECKED_H
#define AMG_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool amg_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool amg_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool amg_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool amg_add_i64(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Product of rank non-negative dims (1 for rank 0); false on a negative dim or
 * overflow. */
static inline bool amg_dims_count(const int64_t *dims, int rank, int64_t *out)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0 || !amg_mul_i64(n, dims[i], &n)) return false;
    *out = n;
    return true;
}

#endif
