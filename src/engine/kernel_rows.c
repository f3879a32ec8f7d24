/* See kernel_rows.h. Bools are bytes of 0 or 1. Whole numbers wrap around where they
 * overflow; a division by 0 gives 0, which ONNX leaves open. */
#include "engine/kernel_rows.h"

#include <float.h>
#include <math.h>

#include "base/vector.h"

/* Elements of both operands, which the caller may give as a and b. */
#define EACH(expression)                                                               \
    do {                                                                               \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = (expression);       \
    } while (0)

/* One operand has the output's shape. */
#define UNARY(name, from, to, f)                                                       \
    static void name(void *dst, const void *const *in, const int64_t *stride,          \
                     int64_t n)                                                        \
    {                                                                                  \
        to *y = dst;           /* NOLINT(bugprone-macro-parentheses) */                \
        const from *a = in[0]; /* NOLINT(bugprone-macro-parentheses) */                \
        (void)stride;                                                                  \
        EACH(f(a[i]));                                                                 \
    }

#define BINARY(name, from, to, f)                                                      \
    static void name(void *dst, const void *const *in, const int64_t *stride,          \
                     int64_t n)                                                        \
    {                                                                                  \
        to *y = dst;                       /* NOLINT(bugprone-macro-parentheses) */    \
        const from *a = in[0], *b = in[1]; /* NOLINT(bugprone-macro-parentheses) */    \
        if (stride[0] && stride[1])                                                    \
            EACH(f(a[i], b[i]));                                                       \
        else if (stride[0])                                                            \
            EACH(f(a[i], b[0]));                                                       \
        else                                                                           \
            EACH(f(a[0], b[i]));                                                       \
    }

/* ---- comparisons, choices, logic ---- */

#define EQ(a, b) ((a) == (b))
#define GT(a, b) ((a) > (b))
#define LT(a, b) ((a) < (b))
#define GE(a, b) ((a) >= (b))
#define LE(a, b) ((a) <= (b))
#define COMPARISONS(name, type)                                                        \
    BINARY(equal_##name, type, uint8_t, EQ)                                            \
    BINARY(greater_##name, type, uint8_t, GT)                                          \
    BINARY(less_##name, type, uint8_t, LT)                                             \
    BINARY(greater_or_equal_##name, type, uint8_t, GE)                                 \
    BINARY(less_or_equal_##name, type, uint8_t, LE)
COMPARISONS(f32, float)
COMPARISONS(i64, int64_t)
COMPARISONS(i32, int32_t)
COMPARISONS(u8, uint8_t)

#define AND(a, b) ((a) & (b))
#define OR(a, b) ((a) | (b))
#define XOR(a, b) ((a) ^ (b))
#define NOT(a) (!(a))
BINARY(and_row, uint8_t, uint8_t, AND)
BINARY(or_row, uint8_t, uint8_t, OR)
BINARY(xor_row, uint8_t, uint8_t, XOR)
UNARY(not_row, uint8_t, uint8_t, NOT)

#define NONE(a) ((void)(a), 0)
#define ABOVE(a) ((a) > FLT_MAX)
#define BELOW(a) ((a) < -FLT_MAX)
#define BEYOND(a) (fabsf(a) > FLT_MAX)
#define UNEQUAL(a) ((a) != (a))
UNARY(is_nan, float, uint8_t, UNEQUAL)
UNARY(is_inf, float, uint8_t, BEYOND)
UNARY(is_positive_inf, float, uint8_t, ABOVE)
UNARY(is_negative_inf, float, uint8_t, BELOW)
UNARY(is_never, float, uint8_t, NONE)

/* in: condition, value where it holds, value where not. */
#define WHERE(name, type)                                                              \
    static void where_##name(void *dst, const void *const *in, const int64_t *stride,  \
                             int64_t n)                                                \
    {                                                                                  \
        type *y = dst; /* NOLINT(bugprone-macro-parentheses) */                        \
        const uint8_t *c = in[0];                                                      \
        const type *a = in[1], *b = in[2]; /* NOLINT(bugprone-macro-parentheses) */    \
        const int64_t as = stride[1], bs = stride[2];                                  \
        if (!stride[0])                                                                \
            EACH(*c ? a[i * as] : b[i * bs]);                                          \
        else if (as && bs)                                                             \
            EACH(c[i] ? a[i] : b[i]);                                                  \
        else if (as)                                                                   \
            EACH(c[i] ? a[i] : *b);                                                    \
        else if (bs)                                                                   \
            EACH(c[i] ? *a : b[i]);                                                    \
        else                                                                           \
            EACH(c[i] ? *a : *b);                                                      \
    }
WHERE(f32, float)
WHERE(i64, int64_t)
WHERE(i32, int32_t)
WHERE(u8, uint8_t)

/* ---- arithmetic on whole numbers ---- */

/* Narrower types are computed in this one, and wrap around when they are stored. */
AMG_INLINE int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

AMG_INLINE int64_t difference(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

AMG_INLINE int64_t product(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

AMG_INLINE int64_t quotient(int64_t a, int64_t b)
{
    return b == 0 ? 0 : b == -1 ? difference(0, a) : a / b;
}

/* Of the dividend's sign, and of the divisor's. */
AMG_INLINE int64_t rest(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

AMG_INLINE int64_t modulus(int64_t a, int64_t b)
{
    const int64_t r = rest(a, b);
    return r && (r < 0) != (b < 0) ? r + b : r;
}

AMG_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
AMG_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
AMG_INLINE int64_t negated(int64_t a) { return difference(0, a); }
AMG_INLINE int64_t size(int64_t a) { return a < 0 ? negated(a) : a; }
AMG_INLINE int64_t sign(int64_t a) { return (a > 0) - (a < 0); }
AMG_INLINE int64_t positive(int64_t a) { return a > 0 ? a : 0; }

#define ARITHMETIC(name, type)                                                         \
    BINARY(add_##name, type, type, sum)                                                \
    BINARY(sub_##name, type, type, difference)                                         \
    BINARY(mul_##name, type, type, product)                                            \
    BINARY(div_##name, type, type, quotient)                                           \
    BINARY(mod_##name, type, type, modulus)                                            \
    BINARY(fmod_##name, type, type, rest)                                              \
    BINARY(max_##name, type, type, larger)                                             \
    BINARY(min_##name, type, type, smaller)                                            \
    UNARY(neg_##name, type, type, negated)                                             \
    UNARY(abs_##name, type, type, size)                                                \
    UNARY(sign_##name, type, type, sign)                                               \
    UNARY(relu_##name, type, type, positive)
ARITHMETIC(i64, int64_t)
ARITHMETIC(i32, int32_t)
ARITHMETIC(u8, uint8_t)

/* ---- finding ---- */

/* By type: f32, i64, i32, u8. */
enum { F32, I64, I32, U8, NUM_TYPES };

static int type_of(amg_dtype dtype)
{
    switch (dtype) {
    case AMG_F32: return F32;
    case AMG_I64: return I64;
    case AMG_I32: return I32;
    case AMG_U8:
    case AMG_BOOL: return U8;
    default: return NUM_TYPES;
    }
}

static amg_row_fn find_is_inf(const amg_node *node)
{
    const bool below = amg_attr_int(node, "detect_negative", 1) != 0;
    const bool above = amg_attr_int(node, "detect_positive", 1) != 0;
    if (below && above) return is_inf;
    return above ? is_positive_inf : below ? is_negative_inf : is_never;
}

amg_row_fn amg_row_find(const amg_node *node, amg_dtype dtype)
{
    const int type = type_of(dtype);
    if (type == NUM_TYPES) return NULL;
#define OF_TYPE(name)                                                                  \
    (amg_row_fn[]){name##_f32, name##_i64, name##_i32, name##_u8}[type]
#define OF_WHOLE(name) (amg_row_fn[]){NULL, name##_i64, name##_i32, name##_u8}[type]
    switch (node->op) {
    case AMG_OP_EQUAL: return OF_TYPE(equal);
    case AMG_OP_GREATER: return OF_TYPE(greater);
    case AMG_OP_LESS: return OF_TYPE(less);
    case AMG_OP_GREATER_OR_EQUAL: return OF_TYPE(greater_or_equal);
    case AMG_OP_LESS_OR_EQUAL: return OF_TYPE(less_or_equal);
    case AMG_OP_WHERE: return OF_TYPE(where);
    case AMG_OP_IS_NAN: return is_nan;
    case AMG_OP_IS_INF: return find_is_inf(node);
    case AMG_OP_NOT: return not_row;
    case AMG_OP_AND: return and_row;
    case AMG_OP_OR: return or_row;
    case AMG_OP_XOR: return xor_row;
    case AMG_OP_ADD: return OF_WHOLE(add);
    case AMG_OP_SUB: return OF_WHOLE(sub);
    case AMG_OP_MUL: return OF_WHOLE(mul);
    case AMG_OP_DIV: return OF_WHOLE(div);
    case AMG_OP_MOD:
        return amg_attr_int(node, "fmod", 0) ? OF_WHOLE(fmod) : OF_WHOLE(mod);
    case AMG_OP_MAX: return OF_WHOLE(max);
    case AMG_OP_MIN: return OF_WHOLE(min);
    case AMG_OP_NEG: return OF_WHOLE(neg);
    case AMG_OP_ABS: return OF_WHOLE(abs);
    case AMG_OP_SIGN: return OF_WHOLE(sign);
    case AMG_OP_RELU: return OF_WHOLE(relu);
    default: return NULL;
    }
}
