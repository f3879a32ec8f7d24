/* The promise for every loss: a perceptron that learns numbers, several labels or rare
 * classes, obfuscated, trained as a job and extracted, has the same bits as trained
 * alone; and class weights tell no head from another. On made-up data. */
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

enum { ROWS = 48, FEATURES = 12, OUTPUTS = 4, WIDTH = 8, DECOYS = 2 };
enum { MOST_ROWS = DECOYS * ROWS };

/* ---- model and data ---- */

static int linear(amg_builder *b, const char *weight, const char *bias, int x,
                  int64_t in, int64_t out)
{
    const amg_attr transposed = amg_int("transB", 1);
    const int inputs[3] = {x, parameter(b, weight, 2, (int64_t[]){out, in}),
                           parameter(b, bias, 1, &out)};
    return amg_builder_node(b, AMG_OP_GEMM, weight, inputs, 3, &transposed, 1, NULL);
}

static void write_model(const places *p)
{
    amg_builder *b = amg_builder_new();
    amg_graph *g = NULL;
    amg_error err = {0};
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, FEATURES});
    x = linear(b, "aw", "ab", x, FEATURES, WIDTH);
    x = amg_builder_node(b, AMG_OP_RELU, "relu", &x, 1, NULL, 0, NULL);
    amg_builder_output(b, linear(b, "bw", "bb", x, WIDTH, OUTPUTS));
    must(amg_builder_finish(b, &g, &err), &err);
    must(amg_graph_write_onnx(p->model, g, &err), &err);
    amg_graph_free(g);
    amg_builder_free(b);
}

static void write_array(const char *path, amg_dtype dtype, int rank,
                        const int64_t *dims, const void *data)
{
    amg_tensor t;
    amg_error err = {0};
    must(amg_tensor_view(dtype, rank, dims, data, &t, &err), &err);
    must(amg_npy_write(path, &t, &err), &err);
}

/* Classes 0 to 3, the first ones rare; numbers; labels that apply or do not. */
static void write_data(const places *p, const char *prefix, int64_t rows, amg_task task,
                       char spec[2 * PATH])
{
    static float x[MOST_ROWS * FEATURES], y[MOST_ROWS * OUTPUTS];
    static int32_t classes[MOST_ROWS];
    char name[2][PATH];
    amg_rng rng = amg_rng_init((uint64_t)rows, 1);
    for (int64_t i = 0; i < rows * FEATURES; i++) x[i] = amg_rng_uniform(&rng) - 0.5f;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < OUTPUTS; k++) {
            const float v = x[i * FEATURES + k];
            y[i * OUTPUTS + k] = task == AMG_TASK_MULTI_LABEL ? v > 0 : 2 * v;
        }
        classes[i] = (int32_t)(sqrtf(x[i * FEATURES] + 0.5f) * OUTPUTS) % OUTPUTS;
    }
    for (int64_t i = 0; i < OUTPUTS; i++) classes[i] = (int32_t)i;
    snprintf(name[0], PATH, "%s/%sx.npy", p->dir, prefix);
    snprintf(name[1], PATH, "%s/%sy.npy", p->dir, prefix);
    write_array(name[0], AMG_F32, 2, (int64_t[]){rows, FEATURES}, x);
    if (task == AMG_TASK_CLASSIFICATION)
        write_array(name[1], AMG_I32, 1, &rows, classes);
    else
        write_array(name[1], AMG_F32, 2, (int64_t[]){rows, OUTPUTS}, y);
    snprintf(spec, 2 * PATH, "%s,%s", name[0], name[1]);
}

/* ---- the cycle ---- */

static amg_train_options training(amg_task task)
{
    return (amg_train_options){
        .batch = 8,
        .epochs = 3,
        .seed = 9,
        .label_smoothing = task == AMG_TASK_CLASSIFICATION ? 0.1f : 0,
        .threads = 2,
        .optimizer = {.lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4}};
}

static void obfuscate(const places *p, amg_task task, const amg_loss_options *loss)
{
    const amg_obfuscate_options o = {.model = p->model,
                                     .train = p->train,
                                     .covers = p->covers,
                                     .task = task,
                                     .loss = *loss,
                                     .num_decoys = DECOYS,
                                     .key = p->key,
                                     .out = p->job};
    amg_obfuscate_result r;
    amg_error err = {0};
    must(amg_obfuscate(&o, NULL, &r, &err), &err);
    assert_int_equal(r.labels_permuted, task == AMG_TASK_CLASSIFICATION);
}

static void train_and_extract(const places *p, amg_task task)
{
    const amg_extract_options o = {
        .key = p->key, .weights = p->weights, .out_onnx = p->mine};
    amg_train_options options = training(task);
    amg_train_result t;
    amg_extract_result r;
    amg_error err = {0};
    options.max_steps = 7;
    must(amg_job_train(p->job, &options, NULL, &t, &err), &err);
    options.max_steps = 0;
    options.resume = true;
    must(amg_job_train(p->job, &options, NULL, &t, &err), &err);
    const bool scored = task == AMG_TASK_CLASSIFICATION || task == AMG_TASK_MULTI_LABEL;
    assert_int_equal(isnan(t.heads[0].train_accuracy), !scored);
    must(amg_extract(&o, &r, &err), &err);
}

static void train_alone(const places *p, amg_task task, const amg_loss_options *loss)
{
    const amg_train_options options = training(task);
    const amg_plain_task plain = {.model = p->model,
                                  .train = p->train,
                                  .task = task,
                                  .loss = *loss,
                                  .out_onnx = p->alone};
    amg_train_result r;
    amg_error err = {0};
    must(amg_plain_train(&plain, &options, NULL, &r, &err), &err);
}

/* Leaves the folder to the caller. */
static void check_exact(places *p, amg_task task, amg_loss_options loss)
{
    open_places(p);
    write_model(p);
    write_data(p, "t", ROWS, task, p->train);
    write_data(p, "c", MOST_ROWS, task, p->covers);
    obfuscate(p, task, &loss);
    train_and_extract(p, task);
    train_alone(p, task, &loss);
    assert_true(files_equal(p->mine, p->alone));
    /* The loss is what trained it: with the task's own it is another file. */
    if (loss.loss || loss.class_weights) {
        train_alone(p, task, &(amg_loss_options){0});
        assert_false(files_equal(p->mine, p->alone));
    }
}

static void losses_of_numbers_are_exact(void **state)
{
    static const char *const losses[] = {"l1", "huber:0.25", "smooth_l1", NULL};
    (void)state;
    for (int i = 0; losses[i]; i++) {
        places p;
        check_exact(&p, AMG_TASK_REGRESSION, (amg_loss_options){.loss = losses[i]});
        amg_dir_remove(p.dir);
    }
}

static void several_labels_are_exact(void **state)
{
    (void)state;
    places p;
    check_exact(&p, AMG_TASK_MULTI_LABEL, (amg_loss_options){0});
    amg_dir_remove(p.dir);
}

/* ---- class weights ---- */

static void count_labels(const amg_source *s, int64_t counts[1 + DECOYS][OUTPUTS])
{
    float x[FEATURES * (1 + DECOYS)];
    int32_t labels[1 + DECOYS];
    amg_error err = {0};
    memset(counts, 0, sizeof(int64_t) * (1 + DECOYS) * OUTPUTS);
    assert_int_equal(s->sample_bytes, sizeof x);
    for (int64_t i = 0; i < s->num_samples; i++) {
        must(s->read(s, i, x, labels, &err), &err);
        for (int c = 0; c <= DECOYS; c++) counts[c][labels[c]]++;
    }
}

/* Each head's weights by the frequency of its labels, the rarest class first, must be
 * the same list for all heads; balanced ones follow from the labels instead. */
static void check_weights(const places *p, const float *by_frequency)
{
    amg_job job;
    amg_error err = {0};
    int64_t counts[1 + DECOYS][OUTPUTS];
    must(amg_job_open(p->job, true, &job, &err), &err);
    count_labels(&job.train, counts);
    for (int h = 0; h <= DECOYS; h++) {
        const amg_head *head = &job.manifest.heads[h];
        const int64_t *its = counts[head->label_column];
        assert_non_null(head->class_weights);
        for (int a = 0; a < OUTPUTS; a++) {
            int64_t total = 0;
            int rank = 0;
            for (int b = 0; b < OUTPUTS; b++) {
                total += its[b];
                rank += its[b] < its[a] || (its[b] == its[a] && b > a);
            }
            float expected = 0; /* no decoy has to have each class */
            if (by_frequency)
                expected = by_frequency[rank];
            else if (its[a])
                expected = (float)((double)total / ((double)OUTPUTS * (double)its[a]));
            assert_true(head->class_weights[a] == expected);
        }
    }
    amg_job_close(&job);
}

/* Of the owner's classes 0 is the rarest, 3 the most frequent. */
static void weights_follow_frequency_in_every_head(void **state)
{
    (void)state;
    places p;
    check_exact(&p, AMG_TASK_CLASSIFICATION,
                (amg_loss_options){.class_weights = "4,2.5,1,0.125"});
    check_weights(&p, (const float[]){4, 2.5f, 1, 0.125f});
    amg_dir_remove(p.dir);
}

static void balanced_weights_are_each_column_s_own(void **state)
{
    (void)state;
    places p;
    check_exact(&p, AMG_TASK_CLASSIFICATION,
                (amg_loss_options){.class_weights = "balanced"});
    check_weights(&p, NULL);
    amg_dir_remove(p.dir);
}

static void what_does_not_fit_is_refused(void **state)
{
    static const struct {
        amg_task task;
        amg_loss_options loss;
        const char *what;
    } bad[] = {
        {AMG_TASK_REGRESSION, {.loss = "l2"}, "expected cross_entropy, mse, l1"},
        {AMG_TASK_REGRESSION, {.loss = "huber:0"}, "expected a threshold above 0"},
        {AMG_TASK_REGRESSION, {.loss = "huber:"}, "expected a threshold above 0"},
        {AMG_TASK_REGRESSION, {.loss = "l1:2"}, "l1 has no threshold"},
        {AMG_TASK_REGRESSION, {.loss = "bce"}, "bce is no loss of the task regression"},
        {AMG_TASK_MULTI_LABEL, {.loss = "mse"}, "mse is no loss of the task multi_l"},
        {AMG_TASK_REGRESSION, {.class_weights = "balanced"}, "only classification"},
        {AMG_TASK_CLASSIFICATION, {.class_weights = "1,2,3"}, "fewer than 4"},
        {AMG_TASK_CLASSIFICATION, {.class_weights = "1,2,3,4,5"}, "more than 4"},
        {AMG_TASK_CLASSIFICATION, {.class_weights = "1,-2,3,4"}, "weight 1 is \"-2"},
        {AMG_TASK_CLASSIFICATION, {.class_weights = "1,x,3,4"}, "weight 1 is \"x"},
        {AMG_TASK_CLASSIFICATION, {.class_weights = "0,0,0,0"}, "all are 0"}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        places p;
        amg_error err = {0};
        amg_obfuscate_result r;
        open_places(&p);
        write_model(&p);
        write_data(&p, "t", ROWS, bad[i].task, p.train);
        write_data(&p, "c", MOST_ROWS, bad[i].task, p.covers);
        const amg_obfuscate_options o = {.model = p.model,
                                         .train = p.train,
                                         .covers = p.covers,
                                         .task = bad[i].task,
                                         .loss = bad[i].loss,
                                         .num_decoys = DECOYS,
                                         .key = p.key,
                                         .out = p.job};
        assert_int_equal(amg_obfuscate(&o, NULL, &r, &err), AMG_INVALID);
        if (!strstr(err.what, bad[i].what))
            fail_msg("\"%s\", expected \"%s\"", err.what, bad[i].what);
        assert_false(amg_path_exists(p.job) || amg_path_exists(p.key));
        amg_dir_remove(p.dir);
    }
}

/* Numbers of a regression are no labels: some lie below 0. */
static void labels_lie_within_0_to_1(void **state)
{
    (void)state;
    places p;
    amg_error err = {0};
    amg_obfuscate_result r;
    open_places(&p);
    write_model(&p);
    write_data(&p, "t", ROWS, AMG_TASK_REGRESSION, p.train);
    write_data(&p, "c", MOST_ROWS, AMG_TASK_MULTI_LABEL, p.covers);
    const amg_obfuscate_options o = {.model = p.model,
                                     .train = p.train,
                                     .covers = p.covers,
                                     .task = AMG_TASK_MULTI_LABEL,
                                     .num_decoys = DECOYS,
                                     .key = p.key,
                                     .out = p.job};
    assert_int_equal(amg_obfuscate(&o, NULL, &r, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "expected 0 to 1"));
    assert_false(amg_path_exists(p.job) || amg_path_exists(p.key));
    const amg_plain_task plain = {.model = p.model,
                                  .train = p.train,
                                  .task = AMG_TASK_MULTI_LABEL,
                                  .out_onnx = p.alone};
    const amg_train_options options = training(AMG_TASK_MULTI_LABEL);
    amg_train_result t;
    assert_int_equal(amg_plain_train(&plain, &options, NULL, &t, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "expected 0 to 1"));
    assert_false(amg_path_exists(p.alone));
    amg_dir_remove(p.dir);
}

/* Rows of numbers have no neighbours, and class maps would have to move along. */
static void what_is_no_image_is_not_augmented(void **state)
{
    (void)state;
    places p;
    amg_error err = {0};
    open_places(&p);
    write_model(&p);
    write_data(&p, "t", ROWS, AMG_TASK_REGRESSION, p.train);
    const amg_plain_task plain = {.model = p.model,
                                  .train = p.train,
                                  .task = AMG_TASK_REGRESSION,
                                  .out_onnx = p.alone};
    amg_train_options options = training(AMG_TASK_REGRESSION);
    amg_train_result t;
    options.augment = AMG_AUGMENT_HFLIP;
    assert_int_equal(amg_plain_train(&plain, &options, NULL, &t, &err),
                     AMG_UNSUPPORTED);
    assert_non_null(strstr(err.what, "takes F32[12], no images [C, H, W]"));
    assert_false(amg_path_exists(p.alone));
    amg_dir_remove(p.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_of_numbers_are_exact),
        cmocka_unit_test(several_labels_are_exact),
        cmocka_unit_test(weights_follow_frequency_in_every_head),
        cmocka_unit_test(balanced_weights_are_each_column_s_own),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(labels_lie_within_0_to_1),
        cmocka_unit_test(what_is_no_image_is_not_augmented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
