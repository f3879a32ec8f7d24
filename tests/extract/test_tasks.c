/* The promise for every task: a perceptron that learns numbers, a small autoencoder and
 * a classifier of pixels, obfuscated, trained as a job and extracted, have the same
 * bits as trained alone. On made-up data, so that it runs everywhere. */
#include "cycle_fixture.h"

#include <math.h>

#include "base/file.h"
#include "base/rng.h"
#include "engine/augment.h"
#include "engine/job.h"
#include "extract/extract.h"
#include "formats/npy.h"
#include "graph/builder.h"
#include "graph/onnx_graph.h"
#include "obfuscate/obfuscate.h"

enum { ROWS = 48, SIDE = 8, FEATURES = 12, NUMBERS = 3, CLASSES = 4 };
enum { WIDTH = 8, IMAGE = SIDE * SIDE, DECOYS = 2, MOST_ROWS = DECOYS * ROWS };

/* ---- models ---- */

static int linear(amg_builder *b, const char *const names[3], int x, int64_t in,
                  int64_t out)
{
    const amg_attr transposed = amg_int("transB", 1);
    const int inputs[3] = {x, parameter(b, names[1], 2, (int64_t[]){out, in}),
                           parameter(b, names[2], 1, &out)};
    return amg_builder_node(b, AMG_OP_GEMM, names[0], inputs, 3, &transposed, 1, NULL);
}

static int conv(amg_builder *b, const char *const names[3], int x, int64_t in,
                int64_t out)
{
    const int64_t kernel[2] = {3, 3}, pads[4] = {1, 1, 1, 1};
    const amg_attr attrs[] = {amg_ints("kernel_shape", 2, kernel),
                              amg_ints("pads", 4, pads)};
    const int inputs[3] = {x, parameter(b, names[1], 4, (int64_t[]){out, in, 3, 3}),
                           parameter(b, names[2], 1, &out)};
    return amg_builder_node(b, AMG_OP_CONV, names[0], inputs, 3, attrs, 2, NULL);
}

/* Linear or Conv, Relu, Linear or Conv; channels: of the result. */
static void write_model(const places *p, bool images, int64_t channels)
{
    static const char *const first[3] = {"first", "aw", "ab"};
    static const char *const second[3] = {"second", "bw", "bb"};
    const int64_t image[4] = {AMG_DIM_BATCH, 1, SIDE, SIDE};
    const int64_t row[2] = {AMG_DIM_BATCH, FEATURES};
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "x", AMG_F32, images ? 4 : 2, images ? image : row);
    x = images ? conv(b, first, x, 1, WIDTH) : linear(b, first, x, FEATURES, WIDTH);
    x = amg_builder_node(b, AMG_OP_RELU, "relu", &x, 1, NULL, 0, NULL);
    x = images ? conv(b, second, x, WIDTH, channels)
               : linear(b, second, x, WIDTH, channels);
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    amg_error err = {0};
    must(amg_builder_finish(b, &g, &err), &err);
    must(amg_graph_write_onnx(p->model, g, &err), &err);
    amg_graph_free(g);
    amg_builder_free(b);
}

/* ---- data ---- */

static void write_array(const places *p, const char *name, amg_dtype dtype, int rank,
                        const int64_t *dims, const void *data)
{
    char path[PATH];
    amg_tensor t;
    amg_error err = {0};
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    must(amg_tensor_view(dtype, rank, dims, data, &t, &err), &err);
    must(amg_npy_write(path, &t, &err), &err);
}

/* Random samples, and targets that depend on them; the task says which. */
static void write_data(const places *p, const char *prefix, int64_t rows, amg_task task,
                       bool images, char spec[2 * PATH])
{
    static float x[MOST_ROWS * IMAGE], numbers[MOST_ROWS * NUMBERS];
    static int32_t map[MOST_ROWS * IMAGE];
    const int64_t size = images ? IMAGE : FEATURES;
    amg_rng rng = amg_rng_init((uint64_t)rows, 1);
    char name[2][16];
    for (int64_t i = 0; i < rows * size; i++) {
        x[i] = amg_rng_uniform(&rng) - 0.5f;
        map[i] = (int32_t)((x[i] + 0.5f) * CLASSES) % CLASSES;
    }
    for (int64_t i = 0; i < rows * NUMBERS; i++)
        numbers[i] = x[i / NUMBERS * size + i % NUMBERS] * 2;
    snprintf(name[0], sizeof name[0], "%sx.npy", prefix);
    snprintf(name[1], sizeof name[1], "%sy.npy", prefix);
    if (images)
        write_array(p, name[0], AMG_F32, 4, (int64_t[]){rows, 1, SIDE, SIDE}, x);
    else
        write_array(p, name[0], AMG_F32, 2, (int64_t[]){rows, FEATURES}, x);
    if (task == AMG_TASK_CLASSIFICATION)
        write_array(p, name[1], AMG_I32, 3, (int64_t[]){rows, SIDE, SIDE}, map);
    else if (task == AMG_TASK_REGRESSION)
        write_array(p, name[1], AMG_F32, 2, (int64_t[]){rows, NUMBERS}, numbers);
    if (task == AMG_TASK_RECONSTRUCTION)
        snprintf(spec, 2 * PATH, "%s/%s", p->dir, name[0]);
    else
        snprintf(spec, 2 * PATH, "%s/%s,%s/%s", p->dir, name[0], p->dir, name[1]);
}

/* ---- the cycle ---- */

static void obfuscate(const places *p, amg_task task, const amg_preprocess *pre,
                      bool noise)
{
    amg_obfuscate_options o = {.model = p->model,
                               .train = p->train,
                               .task = task,
                               .num_decoys = DECOYS,
                               .key = p->key,
                               .seed_hex = "00112233445566778899aabbccddeeff"
                                           "00112233445566778899aabbccddeeff",
                               .out = p->job};
    amg_obfuscate_result r;
    amg_error err = {0};
    if (pre) o.preprocess = *pre;
    if (noise) {
        o.mode = AMG_MODE_PAPER;
        o.amount = o.decoys.model_amount = 0.5;
    } else {
        o.covers = p->covers;
    }
    must(amg_obfuscate(&o, NULL, &r, &err), &err);
    assert_int_equal(r.task, task);
    assert_false(r.labels_permuted); /* numbers, images and maps keep their order */
}

static const amg_train_options training = {
    .batch = 8,
    .epochs = 3,
    .seed = 9,
    .threads = 2,
    .optimizer = {.lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4}};

static void train_and_extract(const places *p)
{
    amg_extract_options o = {.key = p->key, .weights = p->weights, .out_onnx = p->mine};
    amg_train_options stopped = training, resumed = training;
    amg_train_result t;
    amg_extract_result r;
    amg_error err = {0};
    stopped.max_steps = 7;
    resumed.resume = true;
    must(amg_job_train(p->job, &stopped, NULL, &t, &err), &err);
    must(amg_job_train(p->job, &resumed, NULL, &t, &err), &err);
    assert_int_equal(t.num_heads, 1 + DECOYS);
    assert_int_equal(t.steps, 18);
    must(amg_extract(&o, &r, &err), &err);
    assert_int_equal(r.num_params, 4);
    assert_int_equal(r.steps, 18);
}

static void check_exact(amg_task task, bool images, int64_t channels, bool noise)
{
    static const amg_preprocess halves = {
        .num_channels = 1, .mean = {0.1f}, .std = {0.5f}};
    const amg_preprocess *pre = images ? &halves : NULL;
    places p;
    amg_train_result r;
    amg_error err = {0};
    open_places(&p);
    write_model(&p, images, channels);
    write_data(&p, "t", ROWS, task, images, p.train);
    write_data(&p, "c", MOST_ROWS, task, images, p.covers);
    obfuscate(&p, task, pre, noise);
    train_and_extract(&p);
    const amg_plain_task plain = {.model = p.model,
                                  .train = p.train,
                                  .pre = pre,
                                  .task = task,
                                  .out_onnx = p.alone};
    amg_train_options moved = training;
    moved.augment = AMG_AUGMENT_CROP4;
    if (task == AMG_TASK_CLASSIFICATION) /* of pixels: their labels would stay */
        assert_int_equal(amg_plain_train(&plain, &moved, NULL, &r, &err),
                         AMG_UNSUPPORTED);
    must(amg_plain_train(&plain, &training, NULL, &r, &err), &err);
    assert_int_equal(r.steps, 18);
    assert_int_equal(isnan(r.heads[0].train_accuracy), task != AMG_TASK_CLASSIFICATION);
    assert_true(files_equal(p.mine, p.alone));
    assert_false(files_equal(p.mine, p.model)); /* something was trained */
    amg_dir_remove(p.dir);
}

static void a_perceptron_that_learns_numbers_is_exact(void **state)
{
    (void)state;
    check_exact(AMG_TASK_REGRESSION, false, NUMBERS, false);
}

static void an_autoencoder_is_exact(void **state)
{
    (void)state;
    check_exact(AMG_TASK_RECONSTRUCTION, true, 1, false);
    check_exact(AMG_TASK_RECONSTRUCTION, true, 1, true);
}

static void a_classifier_of_pixels_is_exact(void **state)
{
    (void)state;
    check_exact(AMG_TASK_CLASSIFICATION, true, CLASSES, false);
    check_exact(AMG_TASK_CLASSIFICATION, true, CLASSES, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_perceptron_that_learns_numbers_is_exact),
        cmocka_unit_test(an_autoencoder_is_exact),
        cmocka_unit_test(a_classifier_of_pixels_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
