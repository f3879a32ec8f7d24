/* Arithmetic on single constants of every type: what folds, to which numbers, and what
 * is left alone. Expected values are numpy's. */
#include "graph_fixture.h"

#include <math.h>

#include "graph/eval_number.h"

enum { LENGTH = 4 };

static amg_tensor tensor(amg_dtype dtype, void *data)
{
    return (amg_tensor){.dtype = dtype,
                        .rank = 1,
                        .dims = {LENGTH},
                        .data = data,
                        .size_bytes = LENGTH * amg_dtype_size(dtype)};
}

static amg_number whole(int64_t i) { return (amg_number){.i = i}; }
static amg_number real(double f) { return (amg_number){.is_float = true, .f = f}; }

static const amg_dtype types[] = {AMG_I64, AMG_I32, AMG_I16, AMG_I8,  AMG_U8,
                                  AMG_U16, AMG_U32, AMG_U64, AMG_F32, AMG_F64};
#define NUM_TYPES (sizeof types / sizeof *types)

static bool is_float(amg_dtype dtype) { return dtype == AMG_F32 || dtype == AMG_F64; }

static void every_type_keeps_its_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUM_TYPES; i++) {
        uint8_t data[64];
        amg_number v;
        amg_tensor t = tensor(types[i], data);
        memset(data, 0xff, sizeof data);
        assert_true(amg_number_store(&t, 2, whole(100)));
        assert_true(amg_number_load(&t, 2, &v));
        assert_int_equal(v.is_float, is_float(types[i]));
        assert_true(v.is_float ? v.f == 100 : v.i == 100);
        /* The one beside it is untouched. */
        assert_int_equal(data[2 * amg_dtype_size(types[i]) - 1], 0xff);
        assert_int_equal(data[3 * amg_dtype_size(types[i])], 0xff);
    }
}

static void numbers_that_a_type_cannot_hold_are_refused(void **state)
{
    (void)state;
    static const struct {
        amg_dtype dtype;
        int64_t most, least;
    } rows[] = {{AMG_I32, INT32_MAX, INT32_MIN}, {AMG_I16, INT16_MAX, INT16_MIN},
                {AMG_I8, INT8_MAX, INT8_MIN},    {AMG_U8, UINT8_MAX, 0},
                {AMG_U16, UINT16_MAX, 0},        {AMG_U32, UINT32_MAX, 0},
                {AMG_U64, INT64_MAX - 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t data[64];
        amg_tensor t = tensor(rows[i].dtype, data);
        assert_true(amg_number_store(&t, 0, whole(rows[i].most)));
        assert_true(amg_number_store(&t, 0, whole(rows[i].least)));
        assert_false(amg_number_store(&t, 0, whole(rows[i].least - 1)));
        if (rows[i].dtype != AMG_U64)
            assert_false(amg_number_store(&t, 0, whole(rows[i].most + 1)));
        assert_false(amg_number_store(&t, 0, real(NAN)));
        assert_false(amg_number_store(&t, 0, real(1e19)));
    }
    uint64_t large = UINT64_MAX;
    amg_number v;
    amg_tensor t = tensor(AMG_U64, &large);
    assert_false(amg_number_load(&t, 0, &v));
    t.dtype = AMG_F16;
    assert_false(amg_number_store(&t, 0, whole(1)));
}

/* Values by numpy and by ml_dtypes. */
static void half_floats_are_read(void **state)
{
    (void)state;
    static const struct {
        amg_dtype dtype;
        uint16_t bits;
        double value;
    } rows[] = {{AMG_F16, 0x3e00, 1.5},        {AMG_F16, 0xc500, -5},
                {AMG_F16, 0x7bff, 65504},      {AMG_F16, 0x0001, 0x1p-24},
                {AMG_F16, 0x83ff, -0x3ffp-24}, {AMG_F16, 0x0400, 0x1p-14},
                {AMG_F16, 0xfc00, -INFINITY},  {AMG_BF16, 0x3fc0, 1.5},
                {AMG_BF16, 0xc0a0, -5},        {AMG_BF16, 0x7f80, INFINITY},
                {AMG_BF16, 0x0001, 0x1p-133}};
    amg_number v;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint16_t bits = rows[i].bits;
        amg_tensor t = tensor(rows[i].dtype, &bits);
        assert_true(amg_number_load(&t, 0, &v));
        assert_true(v.is_float);
        assert_true(v.f == rows[i].value);
    }
    uint16_t bits = 0x7e00;
    amg_tensor t = tensor(AMG_F16, &bits);
    assert_true(amg_number_load(&t, 0, &v) && isnan(v.f));
}

static void two_whole_numbers(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t a, b, expected;
        bool fmod;
    } rows[] = {{AMG_OP_ADD, 7, -9, -2},
                {AMG_OP_SUB, 7, -9, 16},
                {AMG_OP_MUL, 7, -9, -63},
                {AMG_OP_DIV, -7, 2, -3},
                {AMG_OP_MOD, -7, 3, 2},
                {AMG_OP_MOD, 7, -3, -2},
                {AMG_OP_MOD, -7, 3, -1, true},
                {AMG_OP_MOD, INT64_MIN, -1, 0},
                {AMG_OP_POW, -3, 5, -243},
                {AMG_OP_POW, 5, 0, 1},
                {AMG_OP_MAX, -3, 2, 2},
                {AMG_OP_MIN, -3, 2, -3},
                {AMG_OP_PRELU, -3, 4, -12},
                {AMG_OP_PRELU, 3, 4, 3},
                {AMG_OP_EQUAL, 3, 3, 1},
                {AMG_OP_GREATER, 3, 3, 0},
                {AMG_OP_LESS, 2, 3, 1},
                {AMG_OP_GREATER_OR_EQUAL, 3, 3, 1},
                {AMG_OP_LESS_OR_EQUAL, 4, 3, 0},
                {AMG_OP_AND, 1, 0, 0},
                {AMG_OP_OR, 1, 0, 1},
                {AMG_OP_XOR, 1, 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const amg_attr fmod = amg_int("fmod", 1);
        const amg_node n = {
            .op = rows[i].op, .num_attrs = rows[i].fmod, .attrs = &fmod};
        amg_number v;
        assert_true(amg_number_is_binary(n.op));
        assert_true(amg_number_binary(&n, whole(rows[i].a), whole(rows[i].b), &v));
        if (v.is_float || v.i != rows[i].expected)
            fail_msg("%s of %lld and %lld is %lld", amg_op_get(n.op)->name,
                     (long long)rows[i].a, (long long)rows[i].b, (long long)v.i);
    }
}

static void two_floats(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        double a, b, expected;
        bool fmod;
    } rows[] = {{AMG_OP_MOD, -5.5, 3, 0.5},     {AMG_OP_MOD, -5.5, 3, -2.5, true},
                {AMG_OP_MOD, 5.5, -3, -0.5},    {AMG_OP_POW, 2, -1, 0.5},
                {AMG_OP_MAX, -1, 2, 2},         {AMG_OP_MIN, -1, 2, -1},
                {AMG_OP_PRELU, -2, 0.25, -0.5}, {AMG_OP_MAX, NAN, 2, NAN},
                {AMG_OP_MIN, 2, NAN, NAN},      {AMG_OP_DIV, 1, 0, INFINITY},
                {AMG_OP_MOD, 6, -3, -0.0},      {AMG_OP_MOD, 1, 0, NAN}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const amg_attr fmod = amg_int("fmod", 1);
        const amg_node n = {
            .op = rows[i].op, .num_attrs = rows[i].fmod, .attrs = &fmod};
        amg_number v;
        assert_true(amg_number_binary(&n, real(rows[i].a), real(rows[i].b), &v));
        const bool same =
            isnan(rows[i].expected)
                ? isnan(v.f)
                : v.f == rows[i].expected && signbit(v.f) == signbit(rows[i].expected);
        if (!v.is_float || !same)
            fail_msg("%s of %g and %g is %g", amg_op_get(n.op)->name, rows[i].a,
                     rows[i].b, v.f);
    }
}

/* An exponent has a type of its own. */
static void powers_of_mixed_types(void **state)
{
    (void)state;
    const amg_node n = {.op = AMG_OP_POW};
    amg_number v;
    assert_true(amg_number_binary(&n, real(1.5), whole(2), &v));
    assert_true(v.is_float && v.f == 2.25);
    assert_true(amg_number_binary(&n, whole(4), real(0.5), &v));
    assert_true(v.is_float && v.f == 2);
}

static void what_has_no_result_is_left_alone(void **state)
{
    (void)state;
    static const struct {
        amg_op op;
        int64_t a, b;
    } rows[] = {{AMG_OP_ADD, INT64_MAX, 1},   {AMG_OP_SUB, INT64_MIN, 1},
                {AMG_OP_MUL, INT64_MAX, 2},   {AMG_OP_DIV, 1, 0},
                {AMG_OP_DIV, INT64_MIN, -1},  {AMG_OP_MOD, 1, 0},
                {AMG_OP_POW, 2, -1},          {AMG_OP_POW, 10, 19},
                {AMG_OP_PRELU, INT64_MIN, 2}, {AMG_OP_MAT_MUL, 1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const amg_node n = {.op = rows[i].op};
        amg_number v;
        assert_false(amg_number_binary(&n, whole(rows[i].a), whole(rows[i].b), &v));
    }
    amg_number v = whole(INT64_MIN);
    assert_false(amg_number_unary(&(amg_node){.op = AMG_OP_NEG}, &v));
    assert_false(amg_number_unary(&(amg_node){.op = AMG_OP_ABS}, &v));
    assert_false(amg_number_unary(&(amg_node){.op = AMG_OP_SIN}, &v));
    assert_false(amg_number_is_unary(AMG_OP_CONV));
    assert_false(amg_number_is_binary(AMG_OP_CONV));
}

static void infinities_are_found_by_sign(void **state)
{
    (void)state;
    static const struct {
        double x;
        bool below, above, expected;
    } rows[] = {{INFINITY, true, true, true},   {-INFINITY, true, true, true},
                {INFINITY, true, false, false}, {-INFINITY, true, false, true},
                {INFINITY, false, true, true},  {-INFINITY, false, true, false},
                {NAN, true, true, false},       {3, true, true, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const amg_attr attrs[] = {amg_int("detect_negative", rows[i].below),
                                  amg_int("detect_positive", rows[i].above)};
        amg_number v = real(rows[i].x);
        assert_true(amg_number_unary(
            &(amg_node){.op = AMG_OP_IS_INF, .num_attrs = 2, .attrs = attrs}, &v));
        assert_true(!v.is_float && v.i == rows[i].expected);
    }
    amg_number v = real(NAN), one = real(1);
    const amg_node is_nan = {.op = AMG_OP_IS_NAN};
    assert_true(amg_number_unary(&is_nan, &v) && v.i == 1);
    assert_true(amg_number_unary(&is_nan, &one) && one.i == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_keeps_its_numbers),
        cmocka_unit_test(numbers_that_a_type_cannot_hold_are_refused),
        cmocka_unit_test(half_floats_are_read),
        cmocka_unit_test(two_whole_numbers),
        cmocka_unit_test(two_floats),
        cmocka_unit_test(powers_of_mixed_types),
        cmocka_unit_test(what_has_no_result_is_left_alone),
        cmocka_unit_test(infinities_are_found_by_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
