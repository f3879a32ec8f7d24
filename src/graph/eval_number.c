/* See eval_number.h. Floats are computed in double: one operation in double, rounded to
 * F32 after it, gives F32's own result, and a function of the C library its best one.
 */
#include "graph/eval_number.h"

#include <math.h>
#include <string.h>

/* sign, 5 bits of exponent, 10 of fraction */
static double half(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double v = exponent == 0    ? ldexp(fraction, -24)
               : exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                                : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -v : v;
}

/* The upper half of a float32. */
static double brain(uint16_t bits)
{
    const uint32_t whole = (uint32_t)bits << 16;
    float v;
    memcpy(&v, &whole, sizeof v);
    return (double)v;
}

bool amg_number_load(const amg_tensor *t, int64_t at, amg_number *out)
{
    *out = (amg_number){.is_float = amg_dtype_is_float(t->dtype)};
    switch (t->dtype) {
    case AMG_I64: out->i = ((const int64_t *)t->data)[at]; return true;
    case AMG_I32: out->i = ((const int32_t *)t->data)[at]; return true;
    case AMG_I16: out->i = ((const int16_t *)t->data)[at]; return true;
    case AMG_I8: out->i = ((const int8_t *)t->data)[at]; return true;
    case AMG_U8: out->i = ((const uint8_t *)t->data)[at]; return true;
    case AMG_U16: out->i = ((const uint16_t *)t->data)[at]; return true;
    case AMG_U32: out->i = ((const uint32_t *)t->data)[at]; return true;
    case AMG_U64: out->i = (int64_t)((const uint64_t *)t->data)[at]; return out->i >= 0;
    case AMG_BOOL: out->i = ((const uint8_t *)t->data)[at] != 0; return true;
    case AMG_F32: out->f = (double)((const float *)t->data)[at]; return true;
    case AMG_F64: out->f = ((const double *)t->data)[at]; return true;
    case AMG_F16: out->f = half(((const uint16_t *)t->data)[at]); return true;
    case AMG_BF16: out->f = brain(((const uint16_t *)t->data)[at]); return true;
    default: return false;
    }
}

bool amg_number_store(amg_tensor *t, int64_t at, amg_number v)
{
    const double f = v.is_float ? v.f : (double)v.i;
    switch (t->dtype) {
    case AMG_F32: ((float *)t->data)[at] = (float)f; return true;
    case AMG_F64: ((double *)t->data)[at] = f; return true;
    case AMG_BOOL: ((uint8_t *)t->data)[at] = f != 0; return true;
    default: break;
    }
    if (v.is_float) {
        if (!(v.f > -9.2e18 && v.f < 9.2e18)) return false;
        v.i = (int64_t)v.f;
    }
#define STORE(type)                                                                    \
    ((type *)t->data)[at] = (type)v.i;                                                 \
    return v.i == (int64_t)(type)v.i
    switch (t->dtype) {
    case AMG_I64: STORE(int64_t);
    case AMG_I32: STORE(int32_t);
    case AMG_I16: STORE(int16_t);
    case AMG_I8: STORE(int8_t);
    case AMG_U8: STORE(uint8_t);
    case AMG_U16: STORE(uint16_t);
    case AMG_U32: STORE(uint32_t);
    case AMG_U64: STORE(uint64_t) && v.i >= 0;
    default: return false;
    }
#undef STORE
}

/* ---- one operand ---- */

typedef struct {
    amg_op op;
    double (*of)(double);
} function;

static double negated(double x) { return -x; }
static double inverse(double x) { return 1 / x; }
static double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
static double relu(double x) { return x < 0 ? 0 : x; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double mish(double x) { return x * tanh(softplus(x)); }
static double softsign(double x) { return x / (1 + fabs(x)); }

static double hard_sigmoid(double x, double alpha, double beta)
{
    const double y = alpha * x + beta;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}

static double hard_swish(double x) { return x * hard_sigmoid(x, 1.0 / 6, 0.5); }

static const function functions[] = {
    {AMG_OP_RELU, relu},   {AMG_OP_SIGMOID, sigmoid},
    {AMG_OP_TANH, tanh},   {AMG_OP_SOFTPLUS, softplus},
    {AMG_OP_MISH, mish},   {AMG_OP_SOFTSIGN, softsign},
    {AMG_OP_ERF, erf},     {AMG_OP_HARD_SWISH, hard_swish},
    {AMG_OP_EXP, exp},     {AMG_OP_LOG, log},
    {AMG_OP_SQRT, sqrt},   {AMG_OP_NEG, negated},
    {AMG_OP_ABS, fabs},    {AMG_OP_RECIPROCAL, inverse},
    {AMG_OP_SIGN, sign},   {AMG_OP_FLOOR, floor},
    {AMG_OP_CEIL, ceil},   {AMG_OP_ROUND, rint},
    {AMG_OP_SIN, sin},     {AMG_OP_COS, cos},
    {AMG_OP_TAN, tan},     {AMG_OP_ASIN, asin},
    {AMG_OP_ACOS, acos},   {AMG_OP_ATAN, atan},
    {AMG_OP_SINH, sinh},   {AMG_OP_COSH, cosh},
    {AMG_OP_ASINH, asinh}, {AMG_OP_ACOSH, acosh},
    {AMG_OP_ATANH, atanh},
};

static const function *find_function(amg_op op)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (functions[i].op == op) return &functions[i];
    return NULL;
}

/* Functions with numbers of their own. NaN stays NaN. */
static bool with_attributes(const amg_node *n, double x, double *y)
{
    const double alpha = (double)amg_attr_float(n, "alpha", 1);
    switch (n->op) {
    case AMG_OP_LEAKY_RELU:
        *y = x < 0 ? x * (double)amg_attr_float(n, "alpha", 0.01f) : x;
        return true;
    case AMG_OP_ELU: *y = x < 0 ? alpha * expm1(x) : x; return true;
    case AMG_OP_CELU: *y = x < 0 ? alpha * expm1(x / alpha) : x; return true;
    case AMG_OP_SELU:
        *y = (double)amg_attr_float(n, "gamma", 1.05070102214813232421875f) *
             (x < 0 ? (double)amg_attr_float(n, "alpha", 1.67326319217681884765625f) *
                          expm1(x)
                    : x);
        return true;
    case AMG_OP_THRESHOLDED_RELU: *y = x <= alpha ? 0 : x; return true;
    case AMG_OP_SHRINK: {
        const double lambd = (double)amg_attr_float(n, "lambd", 0.5f);
        const double bias = (double)amg_attr_float(n, "bias", 0);
        *y = x < -lambd ? x + bias : x > lambd ? x - bias : x * 0;
        return true;
    }
    case AMG_OP_HARD_SIGMOID:
        *y = hard_sigmoid(x, (double)amg_attr_float(n, "alpha", 0.2f),
                          (double)amg_attr_float(n, "beta", 0.5f));
        return true;
    case AMG_OP_GELU:
        *y = strcmp(amg_attr_string(n, "approximate", "none"), "tanh") == 0
                 ? 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)))
                 : 0.5 * x * erfc(-x * M_SQRT1_2);
        return true;
    default: return false;
    }
}

/* Of the functions, those that whole numbers have. */
static bool whole(amg_op op, int64_t *i)
{
    switch (op) {
    case AMG_OP_NEG:
        if (*i == INT64_MIN) return false;
        *i = -*i;
        return true;
    case AMG_OP_ABS:
        if (*i == INT64_MIN) return false;
        *i = *i < 0 ? -*i : *i;
        return true;
    case AMG_OP_SIGN: *i = (*i > 0) - (*i < 0); return true;
    case AMG_OP_RELU: *i = *i < 0 ? 0 : *i; return true;
    case AMG_OP_NOT: *i = !*i; return true;
    default: return false;
    }
}

/* IsInf, IsNaN. */
static bool is_test(const amg_node *n, double x, int64_t *y)
{
    if (n->op == AMG_OP_IS_NAN) {
        *y = isnan(x);
        return true;
    }
    *y = isinf(x) &&
         amg_attr_int(n, x < 0 ? "detect_negative" : "detect_positive", 1) != 0;
    return n->op == AMG_OP_IS_INF;
}

bool amg_number_is_unary(amg_op op)
{
    double y;
    int64_t i;
    return op == AMG_OP_NOT || is_test(&(amg_node){.op = op}, 0, &i) ||
           find_function(op) || with_attributes(&(amg_node){.op = op}, 0, &y);
}

bool amg_number_unary(const amg_node *node, amg_number *v)
{
    if (!v->is_float) return whole(node->op, &v->i);
    if (is_test(node, v->f, &v->i)) {
        v->is_float = false;
        return true;
    }
    const function *f = find_function(node->op);
    if (!f) return with_attributes(node, v->f, &v->f);
    v->f = f->of(v->f);
    return true;
}

/* ---- two operands ---- */

typedef enum { LESS = 1, EQUAL = 2, GREATER = 4 } order;

/* Which orders of its operands a comparison holds for; 0: it is none. A NaN has no
 * order. */
static unsigned orders_of(amg_op op)
{
    switch (op) {
    case AMG_OP_EQUAL: return EQUAL;
    case AMG_OP_GREATER: return GREATER;
    case AMG_OP_LESS: return LESS;
    case AMG_OP_GREATER_OR_EQUAL: return GREATER | EQUAL;
    case AMG_OP_LESS_OR_EQUAL: return LESS | EQUAL;
    default: return 0;
    }
}

static unsigned order_of(amg_number a, amg_number b)
{
    const bool less = a.is_float ? a.f < b.f : a.i < b.i;
    const bool equal = a.is_float ? a.f == b.f : a.i == b.i;
    const bool greater = a.is_float ? a.f > b.f : a.i > b.i;
    return (less ? LESS : 0) | (equal ? EQUAL : 0) | (greater ? GREATER : 0);
}

/* The sign is the divisor's, or with fmod the dividend's. */
static double modulo(const amg_node *n, double a, double b)
{
    const double rest = fmod(a, b);
    if (amg_attr_int(n, "fmod", 0) || isnan(rest)) return rest;
    return rest == 0 ? copysign(0, b) : (rest < 0) != (b < 0) ? rest + b : rest;
}

static bool floats(const amg_node *n, double a, double b, double *y)
{
    switch (n->op) {
    case AMG_OP_ADD: *y = a + b; return true;
    case AMG_OP_SUB: *y = a - b; return true;
    case AMG_OP_MUL: *y = a * b; return true;
    case AMG_OP_DIV: *y = a / b; return true;
    case AMG_OP_POW: *y = pow(a, b); return true;
    case AMG_OP_MOD: *y = modulo(n, a, b); return true;
    case AMG_OP_PRELU: *y = a < 0 ? a * b : a; return true;
    case AMG_OP_MAX: *y = a > b || isnan(a) ? a : b; return true;
    case AMG_OP_MIN: *y = a < b || isnan(a) ? a : b; return true;
    default: return false;
    }
}

static bool power(int64_t a, int64_t e, int64_t *y)
{
    *y = 1;
    if (e < 0) return false;
    for (; e; e >>= 1) {
        if ((e & 1) && __builtin_mul_overflow(*y, a, y)) return false;
        if (e > 1 && __builtin_mul_overflow(a, a, &a)) return false;
    }
    return true;
}

/* Integers round towards zero as ONNX wants. */
static bool integers(const amg_node *n, int64_t a, int64_t b, int64_t *y)
{
    switch (n->op) {
    case AMG_OP_ADD: return !__builtin_add_overflow(a, b, y);
    case AMG_OP_SUB: return !__builtin_sub_overflow(a, b, y);
    case AMG_OP_MUL: return !__builtin_mul_overflow(a, b, y);
    case AMG_OP_DIV:
        if (b == 0 || (b == -1 && a == INT64_MIN)) return false;
        *y = a / b;
        return true;
    case AMG_OP_MOD: /* likewise */
        if (b == 0) return false;
        *y = b == -1 ? 0 : a % b;
        if (*y && (*y < 0) != (b < 0) && !amg_attr_int(n, "fmod", 0)) *y += b;
        return true;
    case AMG_OP_MAX: *y = a > b ? a : b; return true;
    case AMG_OP_MIN: *y = a < b ? a : b; return true;
    case AMG_OP_PRELU: *y = a; return a >= 0 || !__builtin_mul_overflow(a, b, y);
    case AMG_OP_POW: return power(a, b, y);
    case AMG_OP_AND: *y = a & b; return true;
    case AMG_OP_OR: *y = a | b; return true;
    case AMG_OP_XOR: *y = a ^ b; return true;
    default: return false;
    }
}

bool amg_number_is_binary(amg_op op)
{
    const amg_node n = {.op = op};
    double f;
    int64_t i;
    return orders_of(op) || floats(&n, 1, 1, &f) || integers(&n, 1, 1, &i);
}

bool amg_number_binary(const amg_node *node, amg_number a, amg_number b,
                       amg_number *out)
{
    *out = (amg_number){0};
    if (orders_of(node->op)) {
        out->i = (orders_of(node->op) & order_of(a, b)) != 0;
        return true;
    }
    if (!a.is_float && !b.is_float) return integers(node, a.i, b.i, &out->i);
    out->is_float = true;
    return floats(node, a.is_float ? a.f : (double)a.i, b.is_float ? b.f : (double)b.i,
                  &out->f);
}
