/* Decoys of networks whose operators the walk does not all understand: a U-Net, an LSTM
 * classifier, a transformer block; and of convolutions over one and three dims. They
 * must be valid and give the original's output
 * shape, with parts not understood as they were, and every weight drawn by the law of
 * the original's. */
#include "arch_fixture.h"

#include <math.h>

#include "base/rng.h"
#include "obfuscate/arch_edit.h"
#include "obfuscate/augment_model.h"
#include "obfuscate/decoy_init.h"

typedef struct {
    amg_builder *b;
    amg_rng rng;
} net;

#define NODE(op, attrs, ...)                                                           \
    amg_builder_node(n->b, op, #op, (int[]){__VA_ARGS__},                              \
                     (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), attrs,         \
                     (int)(sizeof(attrs) / sizeof(amg_attr)), NULL)
#define PLAIN(op, ...)                                                                 \
    amg_builder_node(n->b, op, #op, (int[]){__VA_ARGS__},                              \
                     (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), NULL, 0, NULL)
#define DIMS(...)                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])             \
    {                                                                                  \
        __VA_ARGS__                                                                    \
    }
#define INTS(name, ...) amg_ints(name, DIMS(__VA_ARGS__))

typedef enum { UNIFORM, NORMAL, ONES, ZEROS } fill;

/* scale: bound of the uniform law, deviation of the normal one. */
static int param(net *n, const char *name, fill how, double scale, int rank,
                 const int64_t *dims)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_new(AMG_F32, rank, dims, &t, NULL), AMG_OK);
    float *x = t.data;
    for (int64_t i = 0; i < amg_tensor_count(&t); i++)
        x[i] = how == UNIFORM
                   ? (float)(scale * (2 * (double)amg_rng_uniform(&n->rng) - 1))
               : how == NORMAL ? (float)(scale * amg_rng_normal(&n->rng))
               : how == ONES   ? 1
                               : 0;
    int id = amg_builder_param(n->b, name, &t);
    amg_tensor_clear(&t);
    return id;
}

static int ints(net *n, const char *name, int64_t count, const int64_t *v)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_view(AMG_I64, 1, &count, v, &t, NULL), AMG_OK);
    return amg_builder_param(n->b, name, &t);
}

static amg_graph *finish(net *n, int out)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_builder_output(n->b, out);
    if (amg_builder_finish(n->b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(n->b);
    return g;
}

/* ---- the networks -----------------------------------------------------------------
 */

static int unet_conv(net *n, int x, const char *name, int64_t in, int64_t out)
{
    char bias[32];
    double bound = 1 / sqrt((double)in * 9);
    snprintf(bias, sizeof bias, "%s.bias", name);
    x = NODE(AMG_OP_CONV, ((amg_attr[]){INTS("pads", 1, 1, 1, 1)}), x,
             param(n, name, UNIFORM, bound, DIMS(out, in, 3, 3)),
             param(n, bias, UNIFORM, bound, DIMS(out)));
    return PLAIN(AMG_OP_RELU, x);
}

static amg_graph *unet(void)
{
    net local = {amg_builder_new(), amg_rng_init(1, 0)}, *n = &local;
    int x = amg_builder_input(n->b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3, 16, 16));
    int top = unet_conv(n, x, "down1", 3, 16);
    int low =
        NODE(AMG_OP_MAX_POOL,
             ((amg_attr[]){INTS("kernel_shape", 2, 2), INTS("strides", 2, 2)}), top);
    low = unet_conv(n, low, "down2", 16, 32);
    low = unet_conv(n, low, "down3", 32, 32);
    low = PLAIN(AMG_OP_INSTANCE_NORM, low, param(n, "norm.weight", ONES, 0, DIMS(32)),
                param(n, "norm.bias", ZEROS, 0, DIMS(32)));
    double bound = 1 / sqrt(16 * 4);
    int up = NODE(AMG_OP_CONV_TRANSPOSE, ((amg_attr[]){INTS("strides", 2, 2)}), low,
                  param(n, "up", UNIFORM, bound, DIMS(32, 16, 2, 2)),
                  param(n, "up.bias", UNIFORM, bound, DIMS(16)));
    x = NODE(AMG_OP_CONCAT, ((amg_attr[]){amg_int("axis", 1)}), up, top);
    x = unet_conv(n, x, "merge", 32, 16);
    x = PLAIN(AMG_OP_CONV, x, param(n, "head", UNIFORM, .25, DIMS(5, 16, 1, 1)));
    return finish(n, x);
}

/* Conv, BatchNormalization, Relu and pools over num_dims dims of 16. */
static amg_graph *cnn(int num_dims)
{
    net local = {amg_builder_new(), amg_rng_init(4, 0)}, *n = &local;
    const int rank = 2 + num_dims;
    const int64_t ones[6] = {1, 1, 1, 1, 1, 1}, twos[3] = {2, 2, 2};
    int x = amg_builder_input(n->b, "x", AMG_F32, rank,
                              (int64_t[]){AMG_DIM_BATCH, 3, 16, 16, 16});
    for (int i = 0; i < 3; i++) {
        static const char *const names[3][5] = {{"w0", "g0", "b0", "m0", "v0"},
                                                {"w1", "g1", "b1", "m1", "v1"},
                                                {"w2", "g2", "b2", "m2", "v2"}};
        const int64_t in = i ? 16 : 3;
        const double bound = 1 / sqrt((double)in * pow(3, num_dims));
        x = NODE(
            AMG_OP_CONV, ((amg_attr[]){amg_ints("pads", 2 * num_dims, ones)}), x,
            param(n, names[i][0], UNIFORM, bound, rank, (int64_t[]){16, in, 3, 3, 3}));
        x = PLAIN(AMG_OP_BATCH_NORM, x, param(n, names[i][1], ONES, 0, DIMS(16)),
                  param(n, names[i][2], ZEROS, 0, DIMS(16)),
                  param(n, names[i][3], ZEROS, 0, DIMS(16)),
                  param(n, names[i][4], ONES, 0, DIMS(16)));
        x = PLAIN(AMG_OP_RELU, x);
        x = NODE(AMG_OP_MAX_POOL,
                 ((amg_attr[]){amg_ints("kernel_shape", num_dims, twos),
                               amg_ints("strides", num_dims, twos)}),
                 x);
    }
    x = PLAIN(AMG_OP_FLATTEN, PLAIN(AMG_OP_GLOBAL_MAX_POOL, x));
    x = NODE(AMG_OP_GEMM, ((amg_attr[]){amg_int("transB", 1)}), x,
             param(n, "head", UNIFORM, .25, DIMS(5, 16)));
    return finish(n, x);
}

static amg_graph *cnn1(void) { return cnn(1); }
static amg_graph *cnn3(void) { return cnn(3); }

enum { HIDDEN = 24 };

static amg_graph *lstm(void)
{
    net local = {amg_builder_new(), amg_rng_init(2, 0)}, *n = &local;
    const double bound = 1 / sqrt(HIDDEN);
    int out[3];
    int x = amg_builder_input(n->b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 7, 9));
    x = NODE(AMG_OP_TRANSPOSE, ((amg_attr[]){INTS("perm", 1, 0, 2)}), x);
    int in[4] = {x, param(n, "lstm.w", UNIFORM, bound, DIMS(1, 4 * HIDDEN, 9)),
                 param(n, "lstm.r", UNIFORM, bound, DIMS(1, 4 * HIDDEN, HIDDEN)),
                 param(n, "lstm.b", UNIFORM, bound, DIMS(1, 8 * HIDDEN))};
    amg_attr hidden = amg_int("hidden_size", HIDDEN);
    amg_builder_node_multi(n->b, AMG_OP_LSTM, "lstm", in, 4, &hidden, 1, NULL, 3, out);
    x = PLAIN(AMG_OP_SQUEEZE, out[1], ints(n, "axes", 1, (int64_t[]){0}));
    x = NODE(AMG_OP_GEMM, ((amg_attr[]){amg_int("transB", 1)}), x,
             param(n, "fc1", UNIFORM, bound, DIMS(32, HIDDEN)),
             param(n, "fc1.bias", UNIFORM, bound, DIMS(32)));
    x = PLAIN(AMG_OP_RELU, x);
    x = NODE(AMG_OP_GEMM, ((amg_attr[]){amg_int("transB", 1)}), x,
             param(n, "fc2", UNIFORM, 1 / sqrt(32), DIMS(5, 32)));
    return finish(n, x);
}

enum { WIDTH = 32, TOKENS = 16 };

static int norm(net *n, int x, const char *weight, const char *bias)
{
    return NODE(AMG_OP_LAYER_NORM, ((amg_attr[]){amg_int("axis", -1)}), x,
                param(n, weight, ONES, 0, DIMS(WIDTH)),
                param(n, bias, ZEROS, 0, DIMS(WIDTH)));
}

static int attention(net *n, int x)
{
    int part[3];
    int qkv =
        PLAIN(AMG_OP_MAT_MUL, x, param(n, "qkv", NORMAL, .02, DIMS(WIDTH, 3 * WIDTH)));
    amg_attr axis = amg_int("axis", -1);
    amg_builder_node_multi(n->b, AMG_OP_SPLIT, "split", &qkv, 1, &axis, 1, NULL, 3,
                           part);
    int k = NODE(AMG_OP_TRANSPOSE, ((amg_attr[]){INTS("perm", 0, 2, 1)}), part[1]);
    int a = PLAIN(AMG_OP_MAT_MUL, part[0], k);
    a = NODE(AMG_OP_SOFTMAX, ((amg_attr[]){amg_int("axis", -1)}), a);
    return PLAIN(AMG_OP_MAT_MUL, a, part[2]);
}

static amg_graph *vit(void)
{
    net local = {amg_builder_new(), amg_rng_init(3, 0)}, *n = &local;
    int x = amg_builder_input(n->b, "x", AMG_F32, DIMS(AMG_DIM_BATCH, 3, 16, 16));
    x = NODE(AMG_OP_CONV, ((amg_attr[]){INTS("strides", 4, 4)}), x,
             param(n, "patch", NORMAL, .02, DIMS(WIDTH, 3, 4, 4)));
    x = PLAIN(AMG_OP_RESHAPE, x, ints(n, "flat", DIMS(0, WIDTH, TOKENS)));
    x = NODE(AMG_OP_TRANSPOSE, ((amg_attr[]){INTS("perm", 0, 2, 1)}), x);
    x = PLAIN(AMG_OP_ADD, x, param(n, "position", NORMAL, .02, DIMS(1, TOKENS, WIDTH)));
    x = PLAIN(AMG_OP_ADD, x, attention(n, norm(n, x, "norm1.weight", "norm1.bias")));
    int y = norm(n, x, "norm2.weight", "norm2.bias");
    y = PLAIN(AMG_OP_MAT_MUL, y, param(n, "mlp1", NORMAL, .02, DIMS(WIDTH, 64)));
    y = PLAIN(AMG_OP_GELU, y);
    y = PLAIN(AMG_OP_MAT_MUL, y, param(n, "mlp2", NORMAL, .02, DIMS(64, WIDTH)));
    x = PLAIN(AMG_OP_ADD, x, y);
    x = NODE(AMG_OP_REDUCE_MEAN,
             ((amg_attr[]){INTS("axes", 1), amg_int("keepdims", 0)}), x);
    x = NODE(AMG_OP_GEMM, ((amg_attr[]){amg_int("transB", 1)}), x,
             param(n, "head", NORMAL, .02, DIMS(5, WIDTH)));
    return finish(n, x);
}

/* ---- their decoys -----------------------------------------------------------------
 */

static amg_graph *decoy(const amg_graph *g, unsigned secret, int64_t classes,
                        double amount)
{
    amg_secret *s = numbered_secret(secret);
    amg_decoy_options o = {.model_amount = amount};
    amg_graph *out = NULL;
    amg_error err = {0};
    int unknown = -1;
    if (amg_decoy_make(s, g, 1, 1, classes, &o, &out, &err) ||
        amg_init_count_unknown(g, &unknown, &err))
        fail_msg("secret %u: %s: %s", secret, err.where, err.what);
    assert_int_equal(unknown, 0);
    assert_true(out->has_weights);
    amg_secret_free(s);
    return out;
}

static const amg_tensor *weights(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no value is called %s", name);
    return &g->values[v].data;
}

static void check_output(const amg_graph *d, const amg_graph *g, int64_t classes)
{
    amg_graph *planned = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(d, 2, &planned, &err))
        fail_msg("%s: %s", err.where, err.what);
    const amg_value *out = &planned->values[planned->outputs[0]];
    const amg_value *want = &g->values[g->outputs[0]];
    assert_int_equal(out->rank, want->rank);
    assert_int_equal(out->dims[0], 2);
    assert_int_equal(out->dims[1], classes);
    for (int i = 2; i < out->rank; i++) assert_int_equal(out->dims[i], want->dims[i]);
    amg_graph_free(planned);
}

static double deviation(const amg_tensor *t)
{
    const float *x = t->data;
    double sum = 0;
    const int64_t n = amg_tensor_count(t);
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

static double largest(const amg_tensor *t)
{
    const float *x = t->data;
    double m = 0;
    for (int64_t i = 0; i < amg_tensor_count(t); i++)
        if (fabs((double)x[i]) > m) m = fabs((double)x[i]);
    return m;
}

static void assert_all(const amg_tensor *t, float v)
{
    for (int64_t i = 0; i < amg_tensor_count(t); i++)
        assert_true(((const float *)t->data)[i] == v);
}

typedef amg_graph *(*network)(void);
enum { SECRETS = 24 };

static void decoys_are_valid(void **state)
{
    network make = *(const network *)*state;
    amg_graph *g = make();
    char *own = structure(g, 0);
    int changed = 0;
    for (unsigned s = 0; s < SECRETS; s++) {
        amg_graph *d = decoy(g, s, s % 2 ? 5 : 7, 0);
        check_output(d, g, s % 2 ? 5 : 7);
        char *text = structure(d, 0);
        changed += s % 2 && strcmp(text, own) != 0;
        free(text);
        amg_graph_free(d);
    }
    assert_true(changed > 0); /* what the walk understands, it moves */
    free(own);
    amg_graph_free(g);
}

static void decoys_of_another_size_are_valid(void **state)
{
    network make = *(const network *)*state;
    amg_graph *g = make();
    for (unsigned s = 0; s < 4; s++) {
        amg_graph *d = decoy(g, s, 5, 0.5);
        check_output(d, g, 5);
        amg_graph_free(d);
    }
    amg_graph_free(g);
}

/* By its own ones: a decoy of another width has another bound. */
static void an_lstm_decoy_is_uniform_by_its_hidden_values(void **state)
{
    (void)state;
    amg_graph *g = lstm();
    int other_widths = 0;
    static const char *const names[] = {"lstm.w", "lstm.r", "lstm.b"};
    for (unsigned secret = 0; secret < SECRETS; secret++) {
        amg_graph *d = decoy(g, secret, 5, 0);
        const int64_t hidden = weights(d, "lstm.r")->dims[2];
        const double bound = 1 / sqrt((double)hidden);
        for (int i = 0; i < 3; i++) {
            const amg_tensor *t = weights(d, names[i]);
            const amg_tensor *own = weights(g, names[i]);
            assert_true(largest(t) <= bound);
            assert_true(fabs(deviation(t) * sqrt(3) / bound - 1) < 0.15);
            if (t->size_bytes == own->size_bytes)
                assert_memory_not_equal(t->data, own->data, t->size_bytes);
        }
        other_widths += hidden != HIDDEN;
        amg_graph_free(d);
    }
    assert_true(other_widths > 0);
    amg_graph_free(g);
}

static void a_transformer_decoy_has_its_originals_laws(void **state)
{
    (void)state;
    amg_graph *g = vit(), *d = decoy(g, 3, 5, 0);
    const amg_tensor *position = weights(d, "position");
    assert_true(fabs(deviation(position) / .02 - 1) < 0.2);
    assert_true(largest(position) > .04);
    assert_memory_not_equal(position->data, weights(g, "position")->data,
                            position->size_bytes);
    assert_all(weights(d, "norm1.weight"), 1);
    assert_all(weights(d, "norm2.bias"), 0);
    amg_graph_free(d);
    amg_graph_free(g);
}

static void kernels_of_signals_and_volumes_can_change(void **state)
{
    (void)state;
    for (int num_dims = 1; num_dims <= 3; num_dims += 2) {
        amg_graph *g = cnn(num_dims), *wide = NULL;
        assert_true(amg_arch_kernel_can(g, 0, 1));
        const amg_arch_edit edit = {.kernel_node = 0, .kernel_delta = 1, .serial = 1};
        assert_int_equal(amg_arch_apply(g, &edit, &wide, NULL), AMG_OK);
        const amg_value *w = &wide->values[wide->nodes[0].inputs[1]];
        const amg_value *y = &wide->values[wide->nodes[0].outputs[0]];
        for (int i = 2; i < 2 + num_dims; i++) {
            assert_int_equal(w->dims[i], 5);
            assert_int_equal(y->dims[i], 16);
        }
        amg_graph_free(wide);
        amg_graph_free(g);
    }
}

int main(void)
{
    static network networks[] = {unet, lstm, vit, cnn1, cnn3};
    static const char *const names[] = {
        "decoys_of_a_unet_are_valid", "decoys_of_an_lstm_are_valid",
        "decoys_of_a_transformer_are_valid", "decoys_of_a_signals_network_are_valid",
        "decoys_of_a_volumes_network_are_valid"};
    enum { NETWORKS = sizeof networks / sizeof *networks };
    struct CMUnitTest tests[NETWORKS + 4];
    for (int i = 0; i < NETWORKS; i++)
        tests[i] = (struct CMUnitTest){.name = names[i],
                                       .test_func = decoys_are_valid,
                                       .initial_state = &networks[i]};
    tests[NETWORKS] = (struct CMUnitTest){.name = "decoys_of_another_size_are_valid",
                                          .test_func = decoys_of_another_size_are_valid,
                                          .initial_state = &networks[0]};
    tests[NETWORKS + 1] = (struct CMUnitTest)cmocka_unit_test(
        an_lstm_decoy_is_uniform_by_its_hidden_values);
    tests[NETWORKS + 2] =
        (struct CMUnitTest)cmocka_unit_test(a_transformer_decoy_has_its_originals_laws);
    tests[NETWORKS + 3] =
        (struct CMUnitTest)cmocka_unit_test(kernels_of_signals_and_volumes_can_change);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
