/* Rewrites: preprocessing in front of a model, and weights brought back into one. */
#include <math.h>

#include "graph/rewrite.h"
#include "graph_fixture.h"

#define B AMG_DIM_BATCH

/* relu(x) * w over 3x2x2 images; value names are the caller's. */
static amg_graph *model(amg_dtype dtype, const char *w_name)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "image", dtype, DIMS(B, 3, 2, 2));
    if (dtype != AMG_F32)
        x = amg_builder_node(b, AMG_OP_CAST, "own cast", IDS(x),
                             ATTRS(amg_int("to", 1)), NULL);
    int w = weight(b, w_name, 0, DIMS(4, 3, 1, 1));
    int y = amg_builder_node(b, AMG_OP_CONV, "conv", IDS(x, w), NO_ATTRS, "y");
    amg_builder_output(b, y);
    return must_finish(b);
}

static const amg_preprocess imagenet = {.data_dtype = AMG_U8,
                                        .num_channels = 3,
                                        .mean = {0.485f, 0.456f, 0.406f},
                                        .std = {0.229f, 0.224f, 0.225f}};

static amg_graph *rewritten(const amg_graph *g, const amg_preprocess *p)
{
    amg_graph *out = NULL;
    amg_error err = {0};
    amg_status s = amg_graph_with_preprocess(g, p, &out, &err);
    if (s) fail_msg("%s: %s", err.where, err.what);
    return out;
}

static void ops_are(const amg_graph *g, int count, const amg_op *ops)
{
    assert_int_equal(g->num_nodes, count);
    for (int i = 0; i < count; i++) assert_int_equal(g->nodes[i].op, ops[i]);
}

/* The constant behind node n. */
static const amg_value *operand(const amg_graph *g, int n)
{
    return &g->values[g->nodes[n].inputs[1]];
}

static void bytes_are_cast_scaled_and_normalised(void **state)
{
    (void)state;
    amg_graph *g = model(AMG_F32, "w"), *p = rewritten(g, &imagenet);
    ops_are(
        p, 5,
        (const amg_op[]){AMG_OP_CAST, AMG_OP_MUL, AMG_OP_SUB, AMG_OP_DIV, AMG_OP_CONV});
    assert_int_equal(p->values[p->inputs[0]].dtype, AMG_U8);
    assert_string_equal(p->values[p->inputs[0]].name, "image");
    assert_dims(&p->values[p->inputs[0]], DIMS(B, 3, 2, 2));
    assert_true(*(const float *)operand(p, 1)->data.data == 1.0f / 255.0f);
    assert_dims(operand(p, 2), DIMS(1, 3, 1, 1));
    assert_memory_equal(operand(p, 2)->data.data, imagenet.mean, 3 * sizeof(float));
    assert_dims(operand(p, 3), DIMS(1, 3, 1, 1));
    assert_memory_equal(operand(p, 3)->data.data, imagenet.std, 3 * sizeof(float));
    for (int n = 1; n < 4; n++) {
        assert_int_equal(p->nodes[n].inputs[0], p->nodes[n - 1].outputs[0]);
        assert_int_equal(operand(p, n)->role, AMG_ROLE_CONSTANT);
    }
    assert_int_equal(p->nodes[4].inputs[0], p->nodes[3].outputs[0]);
    assert_ptr_equal(named(p, "w")->data.data, named(g, "w")->data.data);
    assert_int_equal(named(p, "w")->role, AMG_ROLE_TRAINABLE);
    assert_dims(named(p, "y"), DIMS(B, 4, 2, 2));
    amg_graph_free(p);
    amg_graph_free(g);
}

static void floats_are_normalised_only(void **state)
{
    (void)state;
    amg_preprocess pre = imagenet;
    amg_graph *g = model(AMG_F32, "w");
    pre.data_dtype = AMG_F32;
    amg_graph *p = rewritten(g, &pre);
    ops_are(p, 3, (const amg_op[]){AMG_OP_SUB, AMG_OP_DIV, AMG_OP_CONV});
    amg_graph_free(p);
    pre.num_channels = 0;
    p = rewritten(g, &pre);
    ops_are(p, 1, (const amg_op[]){AMG_OP_CONV});
    amg_graph_free(p);
    pre.data_dtype = AMG_U8;
    p = rewritten(g, &pre);
    ops_are(p, 3, (const amg_op[]){AMG_OP_CAST, AMG_OP_MUL, AMG_OP_CONV});
    amg_graph_free(p);
    amg_graph_free(g);
}

static void a_model_of_bytes_stays_as_it_is(void **state)
{
    (void)state;
    amg_graph *g = model(AMG_U8, "w"), *p = rewritten(g, &imagenet);
    ops_are(p, 2, (const amg_op[]){AMG_OP_CAST, AMG_OP_CONV});
    amg_graph_free(p);
    amg_graph_free(g);
}

static void names_in_the_model_do_not_collide(void **state)
{
    (void)state;
    amg_graph *g = model(AMG_F32, "preprocess/mean"), *p = rewritten(g, &imagenet);
    assert_int_equal(p->num_nodes, 5);
    assert_int_equal(named(p, "preprocess/mean")->kind, AMG_VALUE_PARAM);
    assert_int_equal(named(p, "preprocess/mean_")->kind, AMG_VALUE_ACTIVATION);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void refuses(amg_dtype model_dtype, const amg_preprocess *p, amg_status code,
                    const char *what)
{
    amg_graph *g = model(model_dtype, "w"), *out = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_with_preprocess(g, p, &out, &err), code);
    assert_null(out);
    assert_string_equal(err.where, "image");
    assert_non_null(strstr(err.what, what));
    amg_graph_free(g);
}

static void preprocessing_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    amg_preprocess p = imagenet;
    p.num_channels = 1;
    refuses(AMG_F32, &p, AMG_MISMATCH, "1 channel for");
    p = imagenet;
    p.std[2] = 0;
    refuses(AMG_F32, &p, AMG_INVALID, "channel 2");
    p = imagenet;
    p.mean[0] = (float)NAN;
    refuses(AMG_F32, &p, AMG_INVALID, "channel 0");
    p = imagenet;
    p.data_dtype = AMG_I64;
    refuses(AMG_F32, &p, AMG_UNSUPPORTED, "I64");
    p = imagenet;
    p.data_dtype = AMG_F32;
    refuses(AMG_U8, &p, AMG_MISMATCH, "takes U8");
}

/* ---- windows ---- */

/* A table's lookups of I64[batch, tokens]. */
static amg_graph *language_model(amg_dtype dtype, int rank, int64_t tokens)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", dtype, rank, (const int64_t[]){B, tokens, 1});
    int w = weight(b, "w", 0, DIMS(11, 3));
    int y = amg_builder_node(b, AMG_OP_GATHER, "embed", IDS(w, x), NO_ATTRS, "y");
    amg_builder_output(b, y);
    return must_finish(b);
}

static const amg_preprocess windows = {.data_dtype = AMG_I32, .windows = true};

/* [begin, end) of dim 1, by the constants of Slice n. */
static void slices(const amg_graph *g, int n, int64_t begin, int64_t end)
{
    assert_int_equal(g->nodes[n].op, AMG_OP_SLICE);
    const int64_t expected[] = {begin, end, 1};
    for (int i = 0; i < 3; i++) {
        const amg_value *v = &g->values[g->nodes[n].inputs[1 + i]];
        assert_dims(v, DIMS(1));
        assert_int_equal(*(const int64_t *)v->data.data, expected[i]);
    }
}

static void windows_are_what_is_seen_and_what_comes_next(void **state)
{
    (void)state;
    amg_graph *g = language_model(AMG_I64, 2, 5), *p = rewritten(g, &windows);
    ops_are(p, 6,
            (const amg_op[]){AMG_OP_CAST, AMG_OP_SLICE, AMG_OP_SLICE, AMG_OP_SLICE,
                             AMG_OP_CONCAT, AMG_OP_GATHER});
    assert_int_equal(p->values[p->inputs[0]].dtype, AMG_I32);
    assert_dims(&p->values[p->inputs[0]], DIMS(B, 6));
    const int next = amg_graph_next_tokens(p), seen = amg_graph_preprocessed(p, g);
    assert_int_equal(p->values[next].dtype, AMG_I64);
    assert_dims(&p->values[next], DIMS(B, 5));
    assert_int_equal(p->values[seen].dtype, AMG_I64);
    assert_dims(&p->values[seen], DIMS(B, 5));
    assert_int_equal(p->nodes[5].inputs[1], seen);

    /* next = window[1:6]; seen = window[0:1] and next[0:4] */
    const int window = p->nodes[0].outputs[0];
    assert_int_equal(p->nodes[1].outputs[0], next);
    assert_int_equal(p->nodes[1].inputs[0], window);
    slices(p, 1, 1, 6);
    assert_int_equal(p->nodes[2].inputs[0], window);
    slices(p, 2, 0, 1);
    assert_int_equal(p->nodes[3].inputs[0], next);
    slices(p, 3, 0, 4);
    assert_int_equal(p->nodes[4].outputs[0], seen);
    assert_int_equal(p->nodes[4].inputs[0], p->nodes[2].outputs[0]);
    assert_int_equal(p->nodes[4].inputs[1], p->nodes[3].outputs[0]);
    amg_graph_free(p);
    amg_graph_free(g);
}

/* Planning drops what no output needs, and sub-networks must not hold anything else. */
static void next_tokens_stay_when_a_batch_is_planned(void **state)
{
    (void)state;
    amg_graph *g = language_model(AMG_I64, 2, 2), *p = rewritten(g, &windows);
    amg_graph *planned = NULL;
    int owner[8];
    assert_int_equal(amg_graph_subnetworks(p, owner, NULL), AMG_OK);
    assert_int_equal(amg_graph_plan_batch(p, 3, &planned, NULL), AMG_OK);
    const char *name = p->values[amg_graph_next_tokens(p)].name;
    assert_dims(named(planned, name), DIMS(3, 2));
    amg_graph_free(planned);
    amg_graph_free(p);
    amg_graph_free(g);
}

static void refuses_windows(amg_dtype dtype, int rank, int64_t tokens,
                            const amg_preprocess *p, const char *what)
{
    amg_graph *g = language_model(dtype, rank, tokens), *out = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_with_preprocess(g, p, &out, &err), AMG_MISMATCH);
    assert_null(out);
    assert_string_equal(err.where, "x");
    if (!strstr(err.what, what)) fail_msg("%s", err.what);
    amg_graph_free(g);
}

static void windows_need_a_model_of_tokens(void **state)
{
    (void)state;
    amg_preprocess bytes = windows;
    bytes.data_dtype = AMG_U8;
    refuses_windows(AMG_I64, 2, 5, &bytes, "found I64[N,5] and U8");
    refuses_windows(AMG_I64, 2, 1, &windows, "found I64[N,1]");
    refuses_windows(AMG_I64, 3, 5, &windows, "found I64[N,5,1]");
    refuses_windows(AMG_I32, 2, 5, &windows, "found I32[N,5]");
}

/* ---- weights ---- */

static const amg_tensor *give(void *context, const amg_value *param)
{
    assert_int_equal(param->role, AMG_ROLE_TRAINABLE);
    return context;
}

static void weights_come_back_as_copies(void **state)
{
    (void)state;
    float data[12];
    for (int i = 0; i < 12; i++) data[i] = 100 + (float)i;
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_F32, DIMS(4, 3, 1, 1), data, &t, NULL),
                     AMG_OK);
    amg_graph *g = model(AMG_F32, "w"), *p = rewritten(g, &imagenet), *out = NULL;
    assert_int_equal(amg_graph_with_weights(p, give, &t, &out, NULL), AMG_OK);
    /* The result needs neither the source nor what was given. */
    amg_graph_free(p);
    amg_graph_free(g);
    data[0] = 0;
    const float *w = named(out, "w")->data.data;
    assert_true(w[0] == 100 && w[11] == 111);
    assert_true(*(const float *)named(out, "preprocess/mean_value")->data.data ==
                0.485f);
    assert_true(out->has_weights);
    assert_int_equal(out->num_nodes, 5);
    amg_graph_free(out);
}

static void weights_fill_a_graph_that_was_stored_without(void **state)
{
    (void)state;
    float data[6] = {1, 2, 3, 4, 5, 6};
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_F32, DIMS(2, 3), data, &t, NULL), AMG_OK);
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, DIMS(B, 2));
    int w = amg_builder_param_absent(b, "w", AMG_F32, DIMS(2, 3));
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_MAT_MUL, "m", IDS(x, w), NO_ATTRS, NULL));
    amg_graph *g = must_finish(b), *out = NULL;
    assert_int_equal(amg_graph_with_weights(g, give, &t, &out, NULL), AMG_OK);
    assert_true(out->has_weights);
    assert_memory_equal(named(out, "w")->data.data, data, sizeof data);
    amg_graph_free(out);
    out = NULL;
    assert_int_equal(amg_graph_with_weights(g, give, NULL, &out, NULL), AMG_OK);
    assert_false(out->has_weights);
    amg_graph_free(out);
    amg_graph_free(g);
}

static void a_weight_of_another_shape_is_refused_by_name(void **state)
{
    (void)state;
    float data[12] = {0};
    amg_tensor t;
    amg_error err = {0};
    assert_int_equal(amg_tensor_view(AMG_F32, DIMS(3, 4, 1, 1), data, &t, NULL),
                     AMG_OK);
    amg_graph *g = model(AMG_F32, "w"), *out = NULL;
    assert_int_equal(amg_graph_with_weights(g, give, &t, &out, &err), AMG_MISMATCH);
    assert_null(out);
    assert_string_equal(err.where, "w");
    assert_string_equal(err.what, "found F32[3,4,1,1], expected F32[4,3,1,1]");
    amg_graph_free(g);
}

static void every_failing_allocation_is_one_clean_error(void **state)
{
    (void)state;
    amg_graph *g = model(AMG_F32, "w");
    int failures = 0;
    for (long n = 1;; n++) {
        long countdown = n;
        amg_graph *p = NULL, *q = NULL;
        amg_alloc_fail_after(&countdown);
        amg_status s = amg_graph_with_preprocess(g, &imagenet, &p, NULL);
        if (!s) s = amg_graph_with_weights(p, give, NULL, &q, NULL);
        amg_alloc_fail_after(NULL);
        amg_graph_free(p);
        amg_graph_free(q);
        if (s == AMG_OK) break;
        assert_int_equal(s, AMG_NO_MEMORY);
        assert_null(q);
        failures++;
    }
    assert_true(failures > 10);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_cast_scaled_and_normalised),
        cmocka_unit_test(floats_are_normalised_only),
        cmocka_unit_test(a_model_of_bytes_stays_as_it_is),
        cmocka_unit_test(names_in_the_model_do_not_collide),
        cmocka_unit_test(preprocessing_that_does_not_fit_is_refused),
        cmocka_unit_test(windows_are_what_is_seen_and_what_comes_next),
        cmocka_unit_test(next_tokens_stay_when_a_batch_is_planned),
        cmocka_unit_test(windows_need_a_model_of_tokens),
        cmocka_unit_test(weights_come_back_as_copies),
        cmocka_unit_test(weights_fill_a_graph_that_was_stored_without),
        cmocka_unit_test(a_weight_of_another_shape_is_refused_by_name),
        cmocka_unit_test(every_failing_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
