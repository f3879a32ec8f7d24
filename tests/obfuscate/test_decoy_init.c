/* Tests of obfuscate/decoy_init: which law the original's weights follow, and that what
 * is drawn follows it too, last bits included. PyTorch's own weights are in
 * data/torch_init.safetensors (make_init_goldens.py). */
#include "arch_fixture.h"

#include <math.h>

#include "formats/safetensors.h"
#include "obfuscate/augment_model.h"
#include "obfuscate/decoy_arch.h"
#include "obfuscate/decoy_init.h"

/* A network of PyTorch's weights: conv, batch norm, relu, mean, linear, linear.
 * products: the hidden layer as MatMul and Add. */
typedef struct {
    amg_safetensors *st;
    amg_graph *g;
} fixture;

static int golden(amg_builder *b, const fixture *f, const char *tensor,
                  const char *name)
{
    const amg_tensor *t = amg_safetensors_find(f->st, tensor);
    assert_non_null(t);
    return amg_builder_param(b, name, t);
}

static int vector(amg_builder *b, const char *name, float value)
{
    float data[64];
    amg_tensor t = {.dtype = AMG_F32,
                    .rank = 1,
                    .dims = {64},
                    .data = data,
                    .size_bytes = sizeof data};
    for (int i = 0; i < 64; i++) data[i] = value;
    return amg_builder_param(b, name, &t);
}

/* The hidden weight, [out,in] -> [in,out]. */
static int turned(amg_builder *b, const fixture *f, const char *tensor)
{
    const amg_tensor *t = amg_safetensors_find(f->st, tensor);
    const float *x = t->data;
    amg_tensor out;
    assert_int_equal(
        amg_tensor_new(AMG_F32, 2, (int64_t[]){t->dims[1], t->dims[0]}, &out, NULL),
        AMG_OK);
    for (int64_t i = 0; i < t->dims[0]; i++)
        for (int64_t j = 0; j < t->dims[1]; j++)
            ((float *)out.data)[j * t->dims[0] + i] = x[i * t->dims[1] + j];
    int v = amg_builder_param(b, "hidden.weight", &out);
    amg_tensor_clear(&out);
    return v;
}

static void open_net(fixture *f, const char *hidden, bool products)
{
    char path[512];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    amg_error err = {0};
    snprintf(path, sizeof path, "%s/tests/obfuscate/data/torch_init.safetensors",
             root ? root : ".");
    if (amg_safetensors_open(path, &f->st, &err)) fail_msg("%s: %s", path, err.what);
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 16, 8, 8});
    x = amg_builder_node(b, AMG_OP_CONV, "conv",
                         (int[]){x, golden(b, f, "conv.weight", "conv.weight")}, 2,
                         NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_BATCH_NORM, "bn",
                         (int[]){x, vector(b, "bn.weight", 1), vector(b, "bn.bias", 0),
                                 vector(b, "bn.mean", 0), vector(b, "bn.var", 1)},
                         5, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_RELU, "relu", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_GLOBAL_AVERAGE_POOL, "mean", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, NULL, 0, NULL);
    amg_attr trans = amg_int("transB", 1);
    int bias = golden(b, f, "hidden.bias", "hidden.bias");
    if (products) {
        x = amg_builder_node(b, AMG_OP_MAT_MUL, "hidden",
                             (int[]){x, turned(b, f, hidden)}, 2, NULL, 0, NULL);
        x = amg_builder_node(b, AMG_OP_ADD, "add", (int[]){bias, x}, 2, NULL, 0, NULL);
    } else {
        int w = golden(b, f, hidden, "hidden.weight");
        x = amg_builder_node(b, AMG_OP_GEMM, "hidden", (int[]){x, w, bias}, 3, &trans,
                             1, NULL);
    }
    x = amg_builder_node(b, AMG_OP_GEMM, "last",
                         (int[]){x, golden(b, f, "last.weight", "last.weight"),
                                 golden(b, f, "last.bias", "last.bias")},
                         3, &trans, 1, NULL);
    amg_builder_output(b, x);
    if (amg_builder_finish(b, &f->g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
}

static void close_net(fixture *f)
{
    amg_graph_free(f->g);
    amg_safetensors_close(f->st);
}

/* A decoy of other widths: half as many parameters. */
static amg_graph *decoy(const amg_graph *g, unsigned secret, double amount,
                        int *unknown)
{
    amg_secret *s = numbered_secret(secret);
    amg_graph *out = NULL;
    amg_error err = {0};
    amg_decoy_options o = {.arch = AMG_DECOY_SAME, .model_amount = amount};
    if (amg_decoy_make(s, g, 1, 1, 10, &o, &out, &err) ||
        amg_init_count_unknown(g, unknown, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_secret_free(s);
    return out;
}

static const amg_tensor *weight(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no \"%s\"", name);
    return &g->values[v].data;
}

typedef struct {
    double mean, deviation, max;
    double n;
} moments;

static moments measure(const amg_tensor *t)
{
    const float *x = t->data;
    moments m = {.n = (double)amg_tensor_count(t)};
    for (int64_t i = 0; i < amg_tensor_count(t); i++) {
        m.mean += x[i] / m.n;
        m.max = fmax(m.max, fabs(x[i]));
    }
    for (int64_t i = 0; i < amg_tensor_count(t); i++)
        m.deviation += (x[i] - m.mean) * (x[i] - m.mean) / m.n;
    m.deviation = sqrt(m.deviation);
    return m;
}

/* Five standard errors of mean and deviation (kurtosis 3), and a tail. */
static void assert_normal(const char *name, const amg_tensor *t, double deviation)
{
    moments m = measure(t);
    if (fabs(m.mean) > 5 * deviation / sqrt(m.n) ||
        fabs(m.deviation / deviation - 1) > 5 / sqrt(2 * m.n) ||
        (m.n > 1000 && m.max < 2.5 * deviation))
        fail_msg("%s: mean %g, deviation %g, largest %g of N(0, %g)", name, m.mean,
                 m.deviation, m.max, deviation);
}

/* The same with kurtosis 1.8, and the support. */
static void assert_uniform(const char *name, const amg_tensor *t, double bound)
{
    moments m = measure(t);
    double deviation = bound / sqrt(3);
    if (fabs(m.mean) > 5 * deviation / sqrt(m.n) ||
        fabs(m.deviation / deviation - 1) > 5 * sqrt(0.2 / m.n) ||
        m.max > bound * (1 + 1e-6) || (m.n > 100 && m.max < .9 * bound))
        fail_msg("%s: mean %g, deviation %g, largest %g of U(+-%g)", name, m.mean,
                 m.deviation, m.max, bound);
}

static void assert_constant(const char *name, const amg_tensor *t, float value)
{
    for (int64_t i = 0; i < amg_tensor_count(t); i++)
        if (((const float *)t->data)[i] != value) fail_msg("%s is not %g", name, value);
}

/* Share of the pairs (x[i], x[i+8]) of small radius whose 2^24 (1 - exp(-r^2/2)) is
 * within .1 of a whole number: about 1 for PyTorch's normal_, about .2 for others. */
static double lattice_share(const amg_tensor *t, double deviation)
{
    const float *x = t->data;
    int pairs = 0, whole = 0;
    for (int64_t i = 0; i + 32 <= amg_tensor_count(t); i += 16)
        for (int64_t j = i; j < i + 8; j++) {
            double a = x[j] / deviation, b = x[j + 8] / deviation;
            double k = ldexp(-expm1(-(a * a + b * b) / 2), 24);
            if (k < 1 || k > 1e5) continue;
            pairs++;
            whole += fabs(k - round(k)) < 0.1;
        }
    assert_true(pairs >= 8);
    return (double)whole / pairs;
}

/* Every value is n 2^-24 * width - bound in float arithmetic, as PyTorch's uniform_. */
static bool on_uniform_lattice(const amg_tensor *t, double bound)
{
    const float b = (float)bound, width = (float)(2 * bound);
    for (int64_t i = 0; i < amg_tensor_count(t); i++) {
        float x = ((const float *)t->data)[i];
        bool found = false;
        int64_t n = llround(((double)x + b) / width * 0x1p24);
        for (int64_t k = n - 2; k <= n + 2; k++) {
            float scaled = (float)k * 0x1p-24f * width;
            found = found || scaled - b == x;
        }
        if (!found) return false;
    }
    return true;
}

static void pytorchs_weights_are_recognised_and_drawn_alike(void **state)
{
    (void)state;
    for (int products = 0; products < 2; products++) {
        fixture f;
        int unknown = -1;
        open_net(&f, "hidden.weight", products);
        amg_graph *d = decoy(f.g, 1, 2, &unknown);
        assert_int_equal(unknown, 0);
        const amg_tensor *conv = weight(d, "conv.weight");
        const amg_tensor *hidden = weight(d, "hidden.weight");
        int64_t width = conv->dims[0];
        assert_true(width > 64);
        assert_int_equal(hidden->dims[products ? 0 : 1], width);
        double deviation = sqrt(2.0 / (double)(width * 9));
        double bound = 1 / sqrt((double)width);
        assert_normal("conv.weight", conv, deviation);
        assert_uniform("hidden.weight", hidden, bound);
        assert_uniform("hidden.bias", weight(d, "hidden.bias"), bound);
        assert_normal("last.weight", weight(d, "last.weight"), .01);
        assert_constant("last.bias", weight(d, "last.bias"), 0);
        assert_constant("bn.weight", weight(d, "bn.weight"), 1);
        assert_constant("bn.var", weight(d, "bn.var"), 1);

        /* The last bits: PyTorch's own first, so that the measure is known to work. */
        assert_true(lattice_share(weight(f.g, "conv.weight"), sqrt(2.0 / 576)) > .9);
        assert_true(lattice_share(conv, deviation) > .9);
        if (!products)
            assert_true(on_uniform_lattice(weight(f.g, "hidden.weight"), .125));
        assert_true(on_uniform_lattice(hidden, bound));
        amg_graph_free(d);
        close_net(&f);
    }
}

/* The zoo draws its normals from 53 bits: its decoys must not show 24. */
static void a_lattice_is_drawn_only_beside_a_lattice(void **state)
{
    (void)state;
    int unknown;
    amg_graph *g = zoo("resnet18"), *d = decoy(g, 1, 0, &unknown);
    const char *name = "layer3.0.conv2.weight";
    assert_true(lattice_share(weight(g, name), sqrt(2.0 / 2304)) < .5);
    assert_true(lattice_share(weight(d, name), sqrt(2.0 / 2304)) < .5);
    amg_graph_free(d);
    amg_graph_free(g);
}

static void a_trained_weight_is_counted_as_unknown(void **state)
{
    (void)state;
    fixture f;
    int unknown = -1;
    open_net(&f, "trained.weight", false);
    amg_graph *d = decoy(f.g, 1, 0, &unknown);
    assert_int_equal(unknown, 1);
    moments own = measure(weight(f.g, "hidden.weight"));
    moments drawn = measure(weight(d, "hidden.weight"));
    assert_true(fabs(own.mean - drawn.mean) < 5 * own.deviation / sqrt(own.n));
    assert_true(fabs(drawn.deviation / own.deviation - 1) < 5 / sqrt(2 * own.n));
    amg_graph_free(d);
    close_net(&f);
}

/* All but the layer whose shape follows from the number of classes. */
static void a_decoy_may_start_from_the_originals_weights(void **state)
{
    (void)state;
    amg_graph *g = zoo("resnet18"), *d = NULL;
    amg_secret *s = numbered_secret(1);
    const amg_decoy_options o = {.arch = AMG_DECOY_SAME, .start = AMG_START_SAME};
    amg_error err = {0};
    int equal = 0, drawn = 0;
    if (amg_decoy_make(s, g, 1, 1, 7, &o, &d, &err)) fail_msg("%s", err.what);
    for (int v = 0; v < g->num_values; v++) {
        const amg_value *val = &g->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        const amg_tensor *t = weight(d, val->name);
        if (t->size_bytes == val->data.size_bytes) {
            assert_memory_equal(t->data, val->data.data, t->size_bytes);
            equal++;
        } else {
            assert_int_equal(strncmp(val->name, "fc.", 3), 0);
            drawn++;
        }
    }
    assert_int_equal(drawn, 2);
    assert_true(equal > 60);
    amg_secret_free(s);
    amg_graph_free(d);
    amg_graph_free(g);
}

static void draws_repeat_by_secret_and_differ_by_it(void **state)
{
    (void)state;
    int unknown;
    amg_graph *g = zoo("lenet");
    amg_graph *a = decoy(g, 1, 0, &unknown), *again = decoy(g, 1, 0, &unknown);
    amg_graph *b = decoy(g, 2, 0, &unknown);
    const amg_tensor *x = weight(a, "fc1.weight");
    assert_memory_equal(x->data, weight(again, "fc1.weight")->data, x->size_bytes);
    assert_memory_not_equal(x->data, weight(b, "fc1.weight")->data, x->size_bytes);
    assert_memory_not_equal(x->data, weight(g, "fc1.weight")->data, x->size_bytes);
    amg_graph_free(a);
    amg_graph_free(again);
    amg_graph_free(b);
    amg_graph_free(g);
}

/* Laws of torchvision's modules: 'U' default uniform of fan in, 'O' and 'I' He normal
 * of fan out and fan in, '1' N(0, .01), '0' zero. */
typedef struct {
    const char *model;
    char conv, conv_bias, linear, linear_bias;
} model_laws;

static void assert_law(char law, const char *name, const amg_tensor *t,
                       const amg_tensor *w)
{
    double area = w->rank == 4 ? (double)(w->dims[2] * w->dims[3]) : 1;
    double in = (double)w->dims[1] * area, out = (double)w->dims[0] * area;
    if (law == 'U') assert_uniform(name, t, 1 / sqrt(in));
    if (law == 'O') assert_normal(name, t, sqrt(2 / out));
    if (law == 'I') assert_normal(name, t, sqrt(2 / in));
    if (law == '1') assert_normal(name, t, .01);
    if (law == '0') assert_constant(name, t, 0);
}

static void every_zoo_models_laws_are_found(void **state)
{
    (void)state;
    static const model_laws models[] = {
        {"lenet", 'U', 'U', 'U', 'U'},       {"mlp", 'U', 'U', 'U', 'U'},
        {"resnet18", 'O', '0', 'U', 'U'},    {"resnet34", 'O', '0', 'U', 'U'},
        {"resnet50", 'O', '0', 'U', 'U'},    {"vgg16", 'O', '0', '1', '0'},
        {"vgg16_bn", 'O', '0', '1', '0'},    {"densenet121", 'I', '0', 'U', '0'},
        {"mobilenet_v2", 'O', '0', '1', '0'}};
    const char *const *names;
    size_t num_images = 0;
    for (int i = amg_zoo_names(&names); i > 0; i--)
        num_images += !amg_zoo_is_text(names[i - 1]);
    assert_int_equal(num_images, sizeof models / sizeof *models);
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        int unknown = -1, layers = 0;
        amg_graph *g = zoo(models[m].model), *d = decoy(g, 5, .1, &unknown);
        assert_int_equal(unknown, 0);
        for (int n = 0; n < d->num_nodes; n++) {
            const amg_node *node = &d->nodes[n];
            bool conv = node->op == AMG_OP_CONV;
            if (!conv && node->op != AMG_OP_GEMM) continue;
            const amg_value *w = &d->values[node->inputs[1]];
            assert_law(conv ? models[m].conv : models[m].linear, w->name, &w->data,
                       &w->data);
            layers++;
            if (node->num_inputs < 3) continue;
            const amg_value *bias = &d->values[node->inputs[2]];
            assert_law(conv ? models[m].conv_bias : models[m].linear_bias, bias->name,
                       &bias->data, &w->data);
        }
        assert_true(layers >= 3);
        amg_graph_free(d);
        amg_graph_free(g);
    }
}

/* Of the same shape, a decoy's weights have the original's deviation and range. */
static void assert_like(const char *name, const amg_tensor *t, const amg_tensor *own)
{
    const moments a = measure(t), b = measure(own);
    if (b.deviation == 0) {
        assert_constant(name, t, ((const float *)own->data)[0]);
        return;
    }
    const double tolerance = 9 / sqrt(2 * b.n);
    if (fabs(log(a.deviation / b.deviation)) > tolerance)
        fail_msg("%s: deviation %g, the original's is %g", name, a.deviation,
                 b.deviation);
    const bool uniform = b.max < 1.9 * b.deviation;
    if (uniform && (a.max > 1.9 * a.deviation || fabs(a.max / b.max - 1) > 0.2))
        fail_msg("%s: up to %g, the original's up to %g", name, a.max, b.max);
}

static void laws_of_networks_for_text_are_found(void **state)
{
    (void)state;
    const char *const *names;
    int count = amg_zoo_names(&names), models = 0;
    for (int m = 0; m < count; m++) {
        if (!amg_zoo_is_text(names[m])) continue;
        int unknown = -1;
        amg_graph *file = zoo(names[m]), *g = NULL;
        amg_error err = {0};
        assert_int_equal(amg_graph_plan_batch(file, AMG_DIM_BATCH, &g, &err), AMG_OK);
        amg_secret *s = numbered_secret(5);
        amg_graph *d = NULL;
        if (amg_decoy_make(s, g, 1, 1, 0, &(amg_decoy_options){.arch = AMG_DECOY_SAME},
                           &d, &err) ||
            amg_init_count_unknown(g, &unknown, &err))
            fail_msg("%s: %s: %s", names[m], err.where, err.what);
        if (unknown != 0) fail_msg("%s: %d unknown laws", names[m], unknown);
        for (int v = 0; v < d->num_values; v++)
            if (d->values[v].kind == AMG_VALUE_PARAM &&
                d->values[v].role != AMG_ROLE_CONSTANT)
                assert_like(d->values[v].name, &d->values[v].data,
                            weight(g, d->values[v].name));
        models++;
        amg_secret_free(s);
        amg_graph_free(d);
        amg_graph_free(g);
        amg_graph_free(file);
    }
    assert_int_equal(models, 5);
}

static double deviation_of(const amg_tensor *t)
{
    double squares = 0;
    const int64_t n = amg_tensor_count(t);
    for (int64_t i = 0; i < n; i++)
        squares += (double)((float *)t->data)[i] * ((float *)t->data)[i];
    return sqrt(squares / (double)n);
}

/* GPT-2's projections into the residual stream: .02 / sqrt(number of them). A decoy of
 * another depth that kept the original's scale gave the original away. */
static void a_decoys_residual_law_follows_its_own_depth(void **state)
{
    (void)state;
    amg_graph *g = zoo("gpt");
    int num_other = 0;
    for (unsigned number = 1; number <= 12; number++) {
        amg_secret *secret = numbered_secret(number);
        amg_graph *decoy = NULL;
        int count = 0;
        amg_error err = {0};
        if (amg_decoy_make(secret, g, 1, 1, 0, &(amg_decoy_options){0}, &decoy, &err))
            fail_msg("%s: %s", err.where, err.what);
        for (int pass = 0; pass < 2; pass++)
            for (int v = 0; v < decoy->num_values; v++) {
                const amg_value *val = &decoy->values[v];
                if (val->role != AMG_ROLE_TRAINABLE || val->rank != 2) continue;
                const double deviation = deviation_of(&val->data);
                if (deviation > .015) continue; /* the other matrices' .02 */
                if (pass == 0)
                    count++;
                else
                    assert_true(fabs(log(deviation * sqrt(count) / .02)) <
                                6 / sqrt(2.0 * (double)amg_tensor_count(&val->data)));
            }
        num_other += count != 12;
        amg_graph_free(decoy);
        amg_secret_free(secret);
    }
    assert_true(num_other > 0);
    amg_graph_free(g);
}

static void a_padding_tokens_row_is_zero_in_decoys_too(void **state)
{
    (void)state;
    int unknown = -1;
    amg_graph *g = zoo("text_cnn"), *d = decoy(g, 5, 0, &unknown);
    const amg_tensor *own = weight(g, "embedding.weight");
    const amg_tensor *t = weight(d, "embedding.weight");
    assert_int_equal(unknown, 0);
    int64_t zeros[2] = {0, 0}; /* rows: the padding's, others */
    for (int64_t r = 0; r < t->dims[0]; r++) {
        bool zero = true;
        for (int64_t i = 0; i < t->dims[1]; i++)
            zero = zero && ((const float *)t->data)[r * t->dims[1] + i] == 0;
        zeros[r > 0] += zero;
    }
    assert_int_equal(((const float *)own->data)[0], 0);
    assert_int_equal(zeros[0], 1);
    assert_int_equal(zeros[1], 0);
    amg_graph_free(d);
    amg_graph_free(g);
}

static void a_skeleton_of_another_model_is_refused(void **state)
{
    (void)state;
    amg_graph *g = zoo("lenet"), *other = zoo("mobilenet_v2"), *out = NULL;
    amg_keystream *k = numbered_stream(1, AMG_PURPOSE_DECOY_INIT);
    amg_error err = {0};
    assert_int_equal(amg_decoy_init(k, g, other, false, &out, &err), AMG_NOT_FOUND);
    assert_null(out);
    amg_keystream_free(k);
    amg_graph_free(g);
    amg_graph_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pytorchs_weights_are_recognised_and_drawn_alike),
        cmocka_unit_test(a_lattice_is_drawn_only_beside_a_lattice),
        cmocka_unit_test(a_trained_weight_is_counted_as_unknown),
        cmocka_unit_test(a_decoy_may_start_from_the_originals_weights),
        cmocka_unit_test(draws_repeat_by_secret_and_differ_by_it),
        cmocka_unit_test(every_zoo_models_laws_are_found),
        cmocka_unit_test(laws_of_networks_for_text_are_found),
        cmocka_unit_test(a_decoys_residual_law_follows_its_own_depth),
        cmocka_unit_test(a_padding_tokens_row_is_zero_in_decoys_too),
        cmocka_unit_test(a_skeleton_of_another_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
