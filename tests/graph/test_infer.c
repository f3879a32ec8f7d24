/* Shape rules: every operator's, against PyTorch where PyTorch has a rule of its own,
 * against the ONNX operator specification elsewhere; and the errors they give.
 * More than 500 lines: a list of small cases. */
#include "graph_fixture.h"

typedef struct {
    int64_t h, w, kernel, stride, pad, dilation, ceil, out_h, out_w;
} golden_shape;
#include "golden_shapes.h"

#define B AMG_DIM_BATCH

/* Adds one node over an F32 input of the given shape and returns its output. */
typedef struct {
    amg_builder *b;
    int x;
} one;

static one input(int rank, const int64_t *dims)
{
    one t = {.b = amg_builder_new()};
    t.x = amg_builder_input(t.b, "x", AMG_F32, rank, dims);
    return t;
}

static void gives(one t, int value, int rank, const int64_t *dims)
{
    const amg_value *v = amg_builder_value(t.b, value);
    if (!v) {
        amg_graph *g = NULL;
        amg_error err = {0};
        amg_status s = amg_builder_finish(t.b, &g, &err);
        fail_msg("%s: %s: %s", amg_status_name(s), err.where, err.what);
    }
    assert_dims(v, rank, dims);
    amg_builder_free(t.b);
}

static void gives_unknown(one t, int value)
{
    assert_non_null(amg_builder_value(t.b, value));
    assert_int_equal(amg_builder_value(t.b, value)->rank, -1);
    amg_builder_free(t.b);
}

static int node(one t, amg_op op, const int *ids, int count, const amg_attr *attrs,
                int num_attrs)
{
    return amg_builder_node(t.b, op, "n", ids, count, attrs, num_attrs, NULL);
}

/* ---- layers ---- */

static int windowed(one t, amg_op op, const int *ids, int count, const golden_shape *s)
{
    int64_t k[2] = {s->kernel, s->kernel}, st[2] = {s->stride, s->stride};
    int64_t p[4] = {s->pad, s->pad, s->pad, s->pad}, d[2] = {s->dilation, s->dilation};
    return node(t, op, ids, count,
                ATTRS(amg_ints("kernel_shape", 2, k), amg_ints("strides", 2, st),
                      amg_ints("pads", 4, p), amg_ints("dilations", 2, d),
                      amg_int("ceil_mode", s->ceil)));
}

static void convolution_matches_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof conv_shapes / sizeof conv_shapes[0]; i++) {
        const golden_shape *s = &conv_shapes[i];
        one t = input(DIMS(B, 4, s->h, s->w));
        int w = weight(t.b, "w", 0, DIMS(6, 2, s->kernel, s->kernel));
        int64_t k[2] = {s->kernel, s->kernel}, st[2] = {s->stride, s->stride};
        int64_t p[4] = {s->pad, s->pad, s->pad, s->pad};
        int64_t d[2] = {s->dilation, s->dilation};
        int y = node(t, AMG_OP_CONV, IDS(t.x, w),
                     ATTRS(amg_int("group", 2), amg_ints("kernel_shape", 2, k),
                           amg_ints("strides", 2, st), amg_ints("pads", 4, p),
                           amg_ints("dilations", 2, d)));
        gives(t, y, DIMS(B, 6, s->out_h, s->out_w));
    }
}

static void pooling_matches_pytorch_rounding_up_and_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pool_shapes / sizeof pool_shapes[0]; i++) {
        const golden_shape *s = &pool_shapes[i];
        one t = input(DIMS(B, 4, s->h, s->w));
        int y = windowed(t, i % 2 ? AMG_OP_MAX_POOL : AMG_OP_AVERAGE_POOL, IDS(t.x), s);
        gives(t, y, DIMS(B, 4, s->out_h, s->out_w));
    }
}

/* A 3x3 window of stride 2 over 7x8. */
static int auto_padded(one t, const char *mode)
{
    int w = weight(t.b, "w", 0, DIMS(2, 3, 3, 3));
    amg_attr how = {.name = "auto_pad", .kind = AMG_ATTR_STRING, .s = mode};
    return node(t, AMG_OP_CONV, IDS(t.x, w),
                ATTRS(how, amg_ints("strides", 2, (int64_t[]){2, 2})));
}

static void automatic_padding_follows_the_onnx_rule(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 7, 8));
    gives(t, auto_padded(t, "SAME_UPPER"), DIMS(B, 2, 4, 4));
    t = input(DIMS(B, 3, 7, 8));
    gives(t, auto_padded(t, "SAME_LOWER"), DIMS(B, 2, 4, 4));
    t = input(DIMS(B, 3, 7, 8));
    gives(t, auto_padded(t, "VALID"), DIMS(B, 2, 3, 3));
    t = input(DIMS(B, 3, 7, 8));
    auto_padded(t, "SIDEWAYS");
    must_refuse(t.b, AMG_UNSUPPORTED, "node \"n\" (Conv)", "SIDEWAYS");
}

static void convolution_refuses_what_does_not_fit(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 2, 2));
    int w = weight(t.b, "w", 0, DIMS(2, 3, 3, 3));
    node(t, AMG_OP_CONV, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "window of 3 does not fit height 2");

    t = input(DIMS(B, 3, 8, 8));
    w = weight(t.b, "w", 0, DIMS(2, 3, 3));
    node(t, AMG_OP_CONV, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "expected 4 dims");

    t = input(DIMS(B, 3, 8, 8));
    w = weight(t.b, "w", 0, DIMS(2, 3, 3, 3));
    int bias = weight(t.b, "b", 0, DIMS(3));
    node(t, AMG_OP_CONV, IDS(t.x, w, bias), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "bias is F32[3], expected F32[2]");

    t = input(DIMS(B, 3, 8, 8));
    w = weight(t.b, "w", 0, DIMS(2, 3, 3, 3));
    node(t, AMG_OP_CONV, IDS(t.x, w), ATTRS(amg_ints("strides", 2, (int64_t[]){1, 0})));
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "strides[1] is 0");

    t = input(DIMS(B, 4, 8, 8));
    w = weight(t.b, "w", 0, DIMS(3, 2, 3, 3));
    node(t, AMG_OP_CONV, IDS(t.x, w), ATTRS(amg_int("group", 2)));
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "2 groups");
}

static void sizes_beyond_counting_are_refused(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, INT64_MAX / 8, 2));
    int w = weight(t.b, "w", 0, DIMS(2, 3, 1, 1));
    node(t, AMG_OP_CONV, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "expected spatial dims of 1 to 2^31-1");

    t = input(DIMS(B, 3, 4, 4));
    w = amg_builder_param_absent(t.b, "w", AMG_F32,
                                 DIMS(1, 3, 1, INT32_MAX + INT64_C(1)));
    node(t, AMG_OP_CONV, IDS(t.x, w),
         ATTRS(amg_ints("dilations", 2, (int64_t[]){1, INT32_MAX})));
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "does not fit");

    t = input(DIMS(1 << 30, 1));
    w = amg_builder_param_absent(t.b, "w", AMG_F32, DIMS(INT64_C(1) << 40));
    node(t, AMG_OP_ADD, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_OVERFLOW, "(Add)", "too many elements");

    t = input(DIMS(B, INT64_MAX, 2));
    must_refuse(t.b, AMG_MALFORMED, "x", "shape");
}

static void a_byte_image_needs_a_cast_before_convolution(void **state)
{
    (void)state;
    one t = {.b = amg_builder_new()};
    t.x = amg_builder_input(t.b, "x", AMG_U8, DIMS(B, 3, 8, 8));
    int w = weight(t.b, "w", 0, DIMS(2, 3, 3, 3));
    node(t, AMG_OP_CONV, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "input is U8 and weight is F32");
}

static void windows_slide_over_one_dim_and_three(void **state)
{
    (void)state;
    one t = input(DIMS(B, 4, 11));
    int w = weight(t.b, "w", 0, DIMS(6, 2, 3));
    gives(t, node(t, AMG_OP_CONV, IDS(t.x, w), ATTRS(amg_int("group", 2))),
          DIMS(B, 6, 9));
    t = input(DIMS(B, 4, 5, 6, 7));
    w = weight(t.b, "w", 0, DIMS(6, 4, 3, 3, 3));
    gives(t,
          node(t, AMG_OP_CONV, IDS(t.x, w),
               ATTRS(amg_ints("strides", 3, (int64_t[]){1, 2, 2}),
                     amg_ints("pads", 6, (int64_t[]){1, 0, 0, 1, 0, 1}))),
          DIMS(B, 6, 5, 2, 3));
    t = input(DIMS(B, 4, 11));
    gives(t,
          node(t, AMG_OP_MAX_POOL, IDS(t.x),
               ATTRS(amg_ints("kernel_shape", 1, (int64_t[]){3}),
                     amg_ints("dilations", 1, (int64_t[]){4}))),
          DIMS(B, 4, 3));
    t = input(DIMS(B, 4, 5, 6, 7));
    gives(t, node(t, AMG_OP_GLOBAL_MAX_POOL, IDS(t.x), NO_ATTRS), DIMS(B, 4, 1, 1, 1));
    t = input(DIMS(B, 4, 2, 2, 2, 2));
    w = weight(t.b, "w", 0, DIMS(6, 4, 1, 1, 1, 1));
    node(t, AMG_OP_CONV, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "expected 3 to 5 dims");
}

static void pooling_refuses_a_missing_kernel(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 8, 8));
    node(t, AMG_OP_MAX_POOL, IDS(t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(MaxPool)", "kernel_shape is missing");
    t = input(DIMS(B, 3, 8));
    node(t, AMG_OP_MAX_POOL, IDS(t.x),
         ATTRS(amg_ints("kernel_shape", 2, (int64_t[]){2, 2})));
    must_refuse(t.b, AMG_MISMATCH, "(MaxPool)",
                "kernel_shape has 2 numbers, expected 1");
}

static void batch_norm_keeps_its_input_shape(void **state)
{
    (void)state;
    for (int rank = 2; rank <= 4; rank++) {
        one t = input(rank, (int64_t[]){B, 5, 2, 3});
        int p[4];
        const char *const names[] = {"s", "b", "m", "v"};
        for (int i = 0; i < 4; i++) p[i] = weight(t.b, names[i], 1, DIMS(5));
        gives(t, node(t, AMG_OP_BATCH_NORM, IDS(t.x, p[0], p[1], p[2], p[3]), NO_ATTRS),
              rank, (int64_t[]){B, 5, 2, 3});
    }
    one t = input(DIMS(B, 5, 2, 2));
    int v = weight(t.b, "v", 1, DIMS(5)), bad = weight(t.b, "bad", 1, DIMS(4));
    node(t, AMG_OP_BATCH_NORM, IDS(t.x, v, v, v, bad), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(BatchNormalization)", "variance is F32[4]");
    t = input(DIMS(B));
    v = weight(t.b, "v", 1, DIMS(5));
    node(t, AMG_OP_BATCH_NORM, IDS(t.x, v, v, v, v), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(BatchNormalization)", "expected 2 or more dims");
}

static void gemm_reads_both_weight_layouts(void **state)
{
    (void)state;
    one t = input(DIMS(B, 4));
    int w = weight(t.b, "w", 0, DIMS(4, 7));
    gives(t, node(t, AMG_OP_GEMM, IDS(t.x, w), NO_ATTRS), DIMS(B, 7));
    t = input(DIMS(B, 4));
    w = weight(t.b, "w", 0, DIMS(7, 4));
    int bias = weight(t.b, "b", 0, DIMS(7));
    gives(t, node(t, AMG_OP_GEMM, IDS(t.x, w, bias), ATTRS(amg_int("transB", 1))),
          DIMS(B, 7));
}

static void gemm_fits_its_operands_or_is_refused(void **state)
{
    (void)state;
    one t = input(DIMS(B, 4));
    int w = weight(t.b, "w", 0, DIMS(7, 4));
    node(t, AMG_OP_GEMM, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Gemm)", "weight F32[7,4] does not fit");
    t = input(DIMS(B, 4));
    w = weight(t.b, "w", 0, DIMS(4, 7));
    gives(t,
          node(t, AMG_OP_GEMM, IDS(t.x, w),
               ATTRS(amg_flt("alpha", 0.5f), amg_int("transA", 0))),
          DIMS(B, 7));
    t = input(DIMS(B, 4));
    w = weight(t.b, "w", 0, DIMS(4, 7));
    node(t, AMG_OP_GEMM, IDS(w, t.x), ATTRS(amg_int("transA", 1)));
    must_refuse(t.b, AMG_MISMATCH, "(Gemm)", "input F32[4,7] (transposed)");
    t = input(DIMS(B, 4));
    w = weight(t.b, "w", 0, DIMS(4, 7));
    int bias = weight(t.b, "b", 0, DIMS(6));
    node(t, AMG_OP_GEMM, IDS(t.x, w, bias), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Gemm)", "bias F32[6]");
}

static void matrix_products_broadcast_leading_dims(void **state)
{
    (void)state;
    one t = input(DIMS(B, 5, 4));
    int w = weight(t.b, "w", 0, DIMS(4, 7));
    gives(t, node(t, AMG_OP_MAT_MUL, IDS(t.x, w), NO_ATTRS), DIMS(B, 5, 7));
    t = input(DIMS(B, 4));
    w = weight(t.b, "w", 0, DIMS(3, 7));
    node(t, AMG_OP_MAT_MUL, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(MatMul)", "does not multiply F32[3,7]");
}

/* ---- elementwise ---- */

static void elementwise_operators_broadcast_as_numpy_does(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 1, 5));
    int w = weight(t.b, "w", 0, DIMS(4, 1));
    gives(t, node(t, AMG_OP_ADD, IDS(w, t.x), NO_ATTRS), DIMS(B, 3, 4, 5));
    t = input(DIMS(B, 3));
    w = weight(t.b, "w", 0, DIMS(1, 3));
    gives(t, node(t, AMG_OP_DIV, IDS(t.x, w), NO_ATTRS), DIMS(B, 3));
    t = input(DIMS(B, 3));
    w = weight(t.b, "w", 0, DIMS(2));
    node(t, AMG_OP_MUL, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Mul)", "does not broadcast with F32[2]");
    t = input(DIMS(B, 3));
    w = INTS(t.b, "i", 1, 2, 3);
    node(t, AMG_OP_SUB, IDS(t.x, w), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Sub)", "F32 and I64");
}

static void activations_keep_shape_and_type(void **state)
{
    (void)state;
    static const amg_op ops[] = {AMG_OP_RELU,    AMG_OP_LEAKY_RELU, AMG_OP_CLIP,
                                 AMG_OP_SIGMOID, AMG_OP_TANH,       AMG_OP_DROPOUT,
                                 AMG_OP_CELU,    AMG_OP_MISH,       AMG_OP_SHRINK,
                                 AMG_OP_ROUND,   AMG_OP_SIN,        AMG_OP_IDENTITY};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        one t = input(DIMS(B, 3, 2));
        int y = node(t, ops[i], IDS(t.x), NO_ATTRS);
        assert_int_equal(amg_builder_value(t.b, y)->dtype, AMG_F32);
        gives(t, y, DIMS(B, 3, 2));
    }
}

static void celu_needs_an_alpha(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3));
    node(t, AMG_OP_CELU, IDS(t.x), ATTRS(amg_flt("alpha", 0)));
    must_refuse(t.b, AMG_UNSUPPORTED, "(Celu)", "alpha is 0, expected another number");
}

static void cast_equal_and_where_give_their_types(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3));
    int i = node(t, AMG_OP_CAST, IDS(t.x), ATTRS(amg_int("to", 7)));
    assert_int_equal(amg_builder_value(t.b, i)->dtype, AMG_I64);
    int e = node(t, AMG_OP_EQUAL, IDS(i, i), NO_ATTRS);
    assert_int_equal(amg_builder_value(t.b, e)->dtype, AMG_BOOL);
    int w = node(t, AMG_OP_WHERE, IDS(e, t.x, t.x), NO_ATTRS);
    assert_int_equal(amg_builder_value(t.b, w)->dtype, AMG_F32);
    node(t, AMG_OP_WHERE, IDS(t.x, t.x, t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Where)", "condition is F32");
    t = input(DIMS(B, 3));
    node(t, AMG_OP_NOT, IDS(t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Not)", "operand is F32, expected BOOL");
    t = input(DIMS(B, 3));
    e = node(t, AMG_OP_LESS, IDS(t.x, t.x), NO_ATTRS);
    assert_int_equal(
        amg_builder_value(t.b, node(t, AMG_OP_OR, IDS(e, e), NO_ATTRS))->dtype,
        AMG_BOOL);
    node(t, AMG_OP_AND, IDS(e, t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(And)", "operands are BOOL and F32");
    t = input(DIMS(B, 3));
    e = node(t, AMG_OP_LESS, IDS(t.x, t.x), NO_ATTRS);
    node(t, AMG_OP_ADD, IDS(e, e), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Add)", "operands are BOOL, expected numbers");
    t = input(DIMS(B, 3));
    node(t, AMG_OP_CAST, IDS(t.x), ATTRS(amg_int("to", 8)));
    must_refuse(t.b, AMG_UNSUPPORTED, "(Cast)", "type 8");
}

/* ---- shapes ---- */

static int reshaped(one t, int rank, const int64_t *target)
{
    return node(t, AMG_OP_RESHAPE, IDS(t.x, ints(t.b, "target", rank, target)),
                NO_ATTRS);
}

static void reshape_keeps_the_batch(void **state)
{
    (void)state;
    one t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(0, -1)), DIMS(B, 32));
    t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(-1, 32)), DIMS(B, 32));
    t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(0, 2, -1, 2, 2)), DIMS(B, 2, 4, 2, 2));
}

static void reshape_recognises_a_batch_baked_in(void **state)
{
    (void)state;
    one t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(1, -1)), DIMS(B, 32));
    t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(16, 32)), DIMS(B, 32));
    t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(1, 2, 4, 2, 2)), DIMS(B, 2, 4, 2, 2));
}

/* [6N, 8], as Reshape makes it of [N, 6, 8]. */
static one merged(void)
{
    one t = input(DIMS(B, 6, 8));
    t.x = node(t, AMG_OP_RESHAPE, IDS(t.x, INTS(t.b, "merged", -1, 8)), NO_ATTRS);
    return t;
}

static void reshape_counts_the_batch_merged_with_another_dim(void **state)
{
    (void)state;
    one t = input(DIMS(B, 8, 2, 2));
    gives(t, reshaped(t, DIMS(-1, 2, 2)), DIMS(8 * B, 2, 2));
    t = merged();
    gives(t, reshaped(t, DIMS(-1, 3, 16)), DIMS(B, 3, 16));
    t = merged(); /* [T,N,C] joined, apart again */
    gives(t, reshaped(t, DIMS(6, -1, 8)), DIMS(6, B, 8));
    t = merged();
    gives(t, reshaped(t, DIMS(6, -1, 4)), DIMS(6, 2 * B, 4));
    t = merged(); /* a batch baked in: rows of samples again */
    gives(t, reshaped(t, DIMS(3, -1)), DIMS(B, 48));
    t = merged();
    gives(t, reshaped(t, DIMS(1, -1)), DIMS(B, 48));
    t = merged(); /* five samples: no part of six */
    gives(t, reshaped(t, DIMS(5, -1, 8)), DIMS(B, 6, 8));
    t = merged(); /* which dim has it? */
    gives_unknown(t, reshaped(t, DIMS(6, 3, 8)));
    t = input(DIMS(B, 8)); /* right for a batch of 5, 10, ... */
    gives_unknown(t, reshaped(t, DIMS(-1, 5)));
}

static void reshape_without_a_batch_is_plain(void **state)
{
    (void)state;
    one t = input(DIMS(6, 4));
    gives(t, reshaped(t, DIMS(3, -1)), DIMS(3, 8));
    t = input(DIMS(6, 4));
    reshaped(t, DIMS(5, 5));
    must_refuse(t.b, AMG_MISMATCH, "(Reshape)", "does not reshape to F32[5,5]");
    t = input(DIMS(6, 4));
    reshaped(t, DIMS(5, -1));
    must_refuse(t.b, AMG_MISMATCH, "(Reshape)", "does not reshape");
    t = input(DIMS(6, 4));
    reshaped(t, DIMS(-1, -1));
    must_refuse(t.b, AMG_MISMATCH, "(Reshape)", "shape[1] is -1");
    t = input(DIMS(6, 4));
    reshaped(t, DIMS(6, 4, 0));
    must_refuse(t.b, AMG_MISMATCH, "(Reshape)", "shape[2] is 0");
}

static void reshape_to_more_dims_than_we_have_is_refused(void **state)
{
    (void)state;
    one t = input(DIMS(B, 8));
    reshaped(t, DIMS(1, 1, 1, 1, 1, 1, 1, 1, 8));
    must_refuse(t.b, AMG_UNSUPPORTED, "(Reshape)", "9 dims, at most 8");
}

static void flatten_splits_at_its_axis(void **state)
{
    (void)state;
    one t = input(DIMS(B, 2, 3, 4));
    gives(t, node(t, AMG_OP_FLATTEN, IDS(t.x), NO_ATTRS), DIMS(B, 24));
    t = input(DIMS(5, 2, 3, 4));
    gives(t, node(t, AMG_OP_FLATTEN, IDS(t.x), ATTRS(amg_int("axis", -1))),
          DIMS(30, 4));
    t = input(DIMS(5, 2, 3, 4));
    gives(t, node(t, AMG_OP_FLATTEN, IDS(t.x), ATTRS(amg_int("axis", 0))),
          DIMS(1, 120));
    t = input(DIMS(B, 2, 3, 4));
    gives(t, node(t, AMG_OP_FLATTEN, IDS(t.x), ATTRS(amg_int("axis", 2))),
          DIMS(2 * B, 12));
    t = input(DIMS(B, 2));
    node(t, AMG_OP_FLATTEN, IDS(t.x), ATTRS(amg_int("axis", 3)));
    must_refuse(t.b, AMG_MISMATCH, "(Flatten)", "axis 3");
}

static void squeeze_and_unsqueeze_take_axes_both_ways(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 1, 1));
    gives(t, node(t, AMG_OP_SQUEEZE, IDS(t.x, INTS(t.b, "a", -1, 2)), NO_ATTRS),
          DIMS(B, 3));
    t = input(DIMS(B, 3, 1, 1));
    gives(t,
          node(t, AMG_OP_SQUEEZE, IDS(t.x), ATTRS(amg_ints("axes", 1, (int64_t[]){3}))),
          DIMS(B, 3, 1));
    t = input(DIMS(B, 3, 1, 1));
    gives(t, node(t, AMG_OP_SQUEEZE, IDS(t.x), NO_ATTRS), DIMS(B, 3));
    t = input(DIMS(B, 3));
    gives(t, node(t, AMG_OP_UNSQUEEZE, IDS(t.x, INTS(t.b, "a", 1, -1)), NO_ATTRS),
          DIMS(B, 1, 3, 1));
    t = input(DIMS(B, 3));
    node(t, AMG_OP_SQUEEZE, IDS(t.x, INTS(t.b, "a", 1)), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Squeeze)", "dim 1 is 3");
    t = input(DIMS(B, 3));
    node(t, AMG_OP_UNSQUEEZE, IDS(t.x, INTS(t.b, "a", 2, 2)), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Unsqueeze)", "axis 2 is repeated");
}

static void transpose_permutes(void **state)
{
    (void)state;
    one t = input(DIMS(B, 2, 3));
    gives(t,
          node(t, AMG_OP_TRANSPOSE, IDS(t.x),
               ATTRS(amg_ints("perm", 3, (int64_t[]){0, 2, 1}))),
          DIMS(B, 3, 2));
    t = input(DIMS(4, 2, 3));
    gives(t, node(t, AMG_OP_TRANSPOSE, IDS(t.x), NO_ATTRS), DIMS(3, 2, 4));
    t = input(DIMS(B, 2, 3));
    node(t, AMG_OP_TRANSPOSE, IDS(t.x),
         ATTRS(amg_ints("perm", 3, (int64_t[]){0, 1, 1})));
    must_refuse(t.b, AMG_MISMATCH, "(Transpose)", "not a permutation");
}

static int number(amg_builder *b, const char *name, float v)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_F32, 0, NULL, &v, &t, NULL), AMG_OK);
    return amg_builder_param(b, name, &t);
}

static void makers_of_constants_have_shapes(void **state)
{
    (void)state;
    one t = input(DIMS(B, 2, 3));
    gives(t, node(t, AMG_OP_SHAPE, IDS(t.x), NO_ATTRS), DIMS(3));
    t = input(DIMS(B, 2, 3));
    gives(t, node(t, AMG_OP_SHAPE, IDS(t.x), ATTRS(amg_int("start", -2))), DIMS(2));
    t = input(DIMS(B));
    gives(t,
          node(t, AMG_OP_CONSTANT, NULL, 0,
               ATTRS(amg_ints("value_ints", 3, (int64_t[]){1, 2, 3}))),
          DIMS(3));
    t = input(DIMS(B));
    gives(t, node(t, AMG_OP_CONSTANT_OF_SHAPE, IDS(INTS(t.b, "s", 2, 5)), NO_ATTRS),
          DIMS(2, 5));
    t = input(DIMS(B));
    gives(t,
          node(t, AMG_OP_RANGE,
               IDS(SCALAR(t.b, "a", 10), SCALAR(t.b, "b", 1), SCALAR(t.b, "c", -4)),
               NO_ATTRS),
          DIMS(3));
    t = input(DIMS(B, 1, 3));
    gives(t, node(t, AMG_OP_EXPAND, IDS(t.x, INTS(t.b, "s", 1, 4, 1)), NO_ATTRS),
          DIMS(B, 4, 3));
    t = input(DIMS(B));
    node(t, AMG_OP_RANGE,
         IDS(SCALAR(t.b, "a", 0), SCALAR(t.b, "b", 1), SCALAR(t.b, "c", 0)), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Range)", "not finite");
    for (int down = 0; down < 2; down++) { /* ceil(4.5) */
        const float delta = down ? -0.4f : 0.4f;
        t = input(DIMS(B));
        gives(t,
              node(t, AMG_OP_RANGE,
                   IDS(number(t.b, "a", 0.5f), number(t.b, "b", 0.5f + 4.5f * delta),
                       number(t.b, "c", delta)),
                   NO_ATTRS),
              DIMS(5));
    }
    t = input(DIMS(B));
    node(t, AMG_OP_RANGE,
         IDS(number(t.b, "a", 0), number(t.b, "b", 1), number(t.b, "c", 0)), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Range)", "not finite");
}

/* ---- moving ---- */

static void concat_adds_up_its_axis(void **state)
{
    (void)state;
    one t = input(DIMS(B, 2, 3));
    int r = node(t, AMG_OP_RELU, IDS(t.x), NO_ATTRS);
    gives(t, node(t, AMG_OP_CONCAT, IDS(t.x, r, t.x), ATTRS(amg_int("axis", -2))),
          DIMS(B, 6, 3));
    t = input(DIMS(B, 2, 3));
    int w = weight(t.b, "w", 0, DIMS(4, 2, 3));
    node(t, AMG_OP_CONCAT, IDS(t.x, w), ATTRS(amg_int("axis", 1)));
    must_refuse(t.b, AMG_MISMATCH, "(Concat)", "input 1 is F32[4,2,3]");
    t = input(DIMS(B, 2));
    node(t, AMG_OP_CONCAT, IDS(t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Concat)", "axis is missing");
}

static void gather_replaces_its_axis_by_the_index(void **state)
{
    (void)state;
    one t = input(DIMS(B, 12));
    gives(t,
          node(t, AMG_OP_GATHER, IDS(t.x, INTS(t.b, "i", 3, -12, 11)),
               ATTRS(amg_int("axis", 1))),
          DIMS(B, 3));
    t = input(DIMS(5, 12));
    gives(t, node(t, AMG_OP_GATHER, IDS(t.x, SCALAR(t.b, "i", 4)), NO_ATTRS), DIMS(12));
    t = input(DIMS(B, 12));
    node(t, AMG_OP_GATHER, IDS(t.x, INTS(t.b, "i", 0, 12)), ATTRS(amg_int("axis", 1)));
    must_refuse(t.b, AMG_MISMATCH, "(Gather)", "index 12 at 1 is out of range");
    t = input(DIMS(B, 12));
    node(t, AMG_OP_GATHER, IDS(t.x, t.x), ATTRS(amg_int("axis", 1)));
    must_refuse(t.b, AMG_MISMATCH, "(Gather)", "index is F32");
}

static int sliced(one t, int64_t start, int64_t end, int64_t axis, int64_t step)
{
    return node(t, AMG_OP_SLICE,
                IDS(t.x, INTS(t.b, "s", start), INTS(t.b, "e", end),
                    INTS(t.b, "a", axis), INTS(t.b, "st", step)),
                NO_ATTRS);
}

static void slice_clamps_as_numpy_does(void **state)
{
    (void)state;
    /* start, end, step over 10 elements; numpy: len(range(10)[s:e:st]) */
    static const int64_t cases[][4] = {
        {2, 8, 2, 3},          {2, 9, 2, 4},
        {-3, INT64_MAX, 1, 3}, {0, -1, 3, 3},
        {8, 2, 1, 0},          {9, -20, -1, 10},
        {-1, 0, -4, 3},        {50, 2, -3, 3},
        {-50, 3, 1, 3},        {-1, INT64_MIN + 1, -1, 10},
        {20, 30, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        one t = input(DIMS(B, 10));
        gives(t, sliced(t, cases[i][0], cases[i][1], 1, cases[i][2]),
              DIMS(B, cases[i][3]));
    }
    one t = input(DIMS(B, 10));
    gives(t, sliced(t, 0, INT64_MAX, 0, 1), DIMS(B, 10));
    t = input(DIMS(B, 10));
    gives_unknown(t, sliced(t, 0, 1, 0, 1));
    t = input(DIMS(B, 10));
    sliced(t, 0, 1, 1, 0);
    must_refuse(t.b, AMG_MISMATCH, "(Slice)", "step 0");
    t = input(DIMS(B, 10));
    int zeros = INTS(t.b, "s", 0, 0), ones = INTS(t.b, "a", 1, 1);
    node(t, AMG_OP_SLICE, IDS(t.x, zeros, ones, ones), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Slice)", "axis 1");
}

static void pad_grows_height_and_width(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 4, 5));
    int pads = INTS(t.b, "p", 0, 0, 1, 2, 0, 0, 3, -1);
    gives(t, node(t, AMG_OP_PAD, IDS(t.x, pads), NO_ATTRS), DIMS(B, 3, 8, 6));
    t = input(DIMS(B, 3, 4, 5));
    pads = INTS(t.b, "p", 1, 2);
    gives(
        t,
        node(t, AMG_OP_PAD, IDS(t.x, pads, AMG_NO_VALUE, INTS(t.b, "a", -1)), NO_ATTRS),
        DIMS(B, 3, 4, 8));
    t = input(DIMS(B, 3));
    pads = INTS(t.b, "p", 1, 0, 0, 0);
    node(t, AMG_OP_PAD, IDS(t.x, pads), NO_ATTRS);
    must_refuse(t.b, AMG_UNSUPPORTED, "(Pad)", "pads axis 0");
    t = input(DIMS(B, 3));
    pads = INTS(t.b, "p", 0, 0, 0, 0);
    amg_attr mode = {.name = "mode", .kind = AMG_ATTR_STRING, .s = "mirror"};
    node(t, AMG_OP_PAD, IDS(t.x, pads), ATTRS(mode));
    must_refuse(t.b, AMG_UNSUPPORTED, "(Pad)", "mirror");
}

static void reduce_mean_takes_axes_both_ways(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 4, 5));
    gives(t,
          node(t, AMG_OP_REDUCE_MEAN, IDS(t.x),
               ATTRS(amg_ints("axes", 2, (int64_t[]){2, -1}))),
          DIMS(B, 3, 1, 1));
    t = input(DIMS(B, 3, 4, 5));
    gives(t,
          node(t, AMG_OP_REDUCE_MEAN, IDS(t.x, INTS(t.b, "a", 2, 3)),
               ATTRS(amg_int("keepdims", 0))),
          DIMS(B, 3));
    t = input(DIMS(B, 3));
    gives(t, node(t, AMG_OP_REDUCE_MEAN, IDS(t.x), NO_ATTRS), DIMS(1, 1));
}

/* ---- arity ---- */

static void missing_and_surplus_inputs_are_refused(void **state)
{
    (void)state;
    one t = input(DIMS(B, 3, 4, 4));
    node(t, AMG_OP_CONV, IDS(t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Conv)", "has 1 input, expected 2 to 3");
    t = input(DIMS(B, 3));
    node(t, AMG_OP_RELU, IDS(t.x, t.x), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Relu)", "has 2 inputs");
    t = input(DIMS(B, 3));
    node(t, AMG_OP_ADD, IDS(t.x, AMG_NO_VALUE), NO_ATTRS);
    must_refuse(t.b, AMG_MISMATCH, "(Add)", "input 1 is missing");
}

static void what_follows_an_unknown_shape_is_unknown(void **state)
{
    (void)state;
    one t = input(DIMS(B, 8, 2, 2));
    int y = reshaped(t, DIMS(-1, 3, 2));
    y = node(t, AMG_OP_RELU, IDS(y), NO_ATTRS);
    int w = weight(t.b, "w", 0, DIMS(2, 2));
    y = node(t, AMG_OP_MAT_MUL, IDS(y, w), NO_ATTRS);
    y = node(t, AMG_OP_CONCAT, IDS(y, y), ATTRS(amg_int("axis", 1)));
    y = node(t, AMG_OP_TRANSPOSE, IDS(y), NO_ATTRS);
    assert_int_equal(amg_builder_value(t.b, y)->dtype, AMG_F32);
    gives_unknown(t, y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_matches_pytorch),
        cmocka_unit_test(pooling_matches_pytorch_rounding_up_and_down),
        cmocka_unit_test(automatic_padding_follows_the_onnx_rule),
        cmocka_unit_test(convolution_refuses_what_does_not_fit),
        cmocka_unit_test(sizes_beyond_counting_are_refused),
        cmocka_unit_test(a_byte_image_needs_a_cast_before_convolution),
        cmocka_unit_test(windows_slide_over_one_dim_and_three),
        cmocka_unit_test(pooling_refuses_a_missing_kernel),
        cmocka_unit_test(batch_norm_keeps_its_input_shape),
        cmocka_unit_test(gemm_reads_both_weight_layouts),
        cmocka_unit_test(gemm_fits_its_operands_or_is_refused),
        cmocka_unit_test(matrix_products_broadcast_leading_dims),
        cmocka_unit_test(elementwise_operators_broadcast_as_numpy_does),
        cmocka_unit_test(activations_keep_shape_and_type),
        cmocka_unit_test(celu_needs_an_alpha),
        cmocka_unit_test(cast_equal_and_where_give_their_types),
        cmocka_unit_test(reshape_keeps_the_batch),
        cmocka_unit_test(reshape_recognises_a_batch_baked_in),
        cmocka_unit_test(reshape_counts_the_batch_merged_with_another_dim),
        cmocka_unit_test(reshape_without_a_batch_is_plain),
        cmocka_unit_test(reshape_to_more_dims_than_we_have_is_refused),
        cmocka_unit_test(flatten_splits_at_its_axis),
        cmocka_unit_test(squeeze_and_unsqueeze_take_axes_both_ways),
        cmocka_unit_test(transpose_permutes),
        cmocka_unit_test(makers_of_constants_have_shapes),
        cmocka_unit_test(concat_adds_up_its_axis),
        cmocka_unit_test(gather_replaces_its_axis_by_the_index),
        cmocka_unit_test(slice_clamps_as_numpy_does),
        cmocka_unit_test(pad_grows_height_and_width),
        cmocka_unit_test(reduce_mean_takes_axes_both_ways),
        cmocka_unit_test(missing_and_surplus_inputs_are_refused),
        cmocka_unit_test(what_follows_an_unknown_shape_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
