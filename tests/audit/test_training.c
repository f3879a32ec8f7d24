/* training on whole jobs of small networks: a clean one passes, trained or not; one
 * whose original cannot learn is pointed at. The limit is held to the closed forms of
 * Student's t with 1 and 2 degrees of freedom, measures to what a single step of known
 * size must give. */
#include <math.h>

#include "audit/training_run.h"
#include "engine/job.h"
#include "fixture_job.h"

enum { OWN = 192, ROWS = 5 * OWN, CLASSES = 4, SIDE = 8, STEPS = 40 };
static const char votes[] = "rules that point at the original";
static const char deviations[] = "deviations of the original from decoys";

/* ---- jobs that learn ---- */

/* A class is the brighter quarter of a noisy image; of the first num_lost samples the
 * label says nothing. */
static void write_quarters(const char *dir, int64_t num_lost)
{
    const int64_t dims[3] = {1, SIDE, SIDE};
    uint8_t *x = malloc((size_t)ROWS * SIDE * SIDE);
    int64_t *labels = malloc(ROWS * sizeof *labels);
    amg_rng rng = amg_rng_init(21, 0);
    for (int64_t i = 0; i < ROWS; i++) {
        const int64_t class = (int64_t)amg_rng_below(&rng, CLASSES);
        for (int64_t j = 0; j < SIDE * SIDE; j++) {
            const int64_t quarter = j / SIDE / 4 * 2 + j % SIDE / 4;
            x[i * SIDE * SIDE + j] =
                (uint8_t)(60 * (quarter == class) + (int64_t)amg_rng_below(&rng, 128));
        }
        labels[i] = i < num_lost ? (int64_t)amg_rng_below(&rng, CLASSES) : class;
    }
    amg_dataset_close(make_set(dir, "set", AMG_U8, ROWS, dims, x, labels, ""));
    free(x);
    free(labels);
}

/* The first OWN samples are private, the rest covers. */
static void open_quarters(audit_bench *b, const char *dir, int num_decoys,
                          int64_t num_lost)
{
    char model[512], train[1200], covers[1200];
    amg_obfuscate_result result;
    amg_error err = {0};
    *b = (audit_bench){.options = {.train_steps = STEPS}};
    snprintf(b->job, sizeof b->job, "%s/job", dir);
    snprintf(b->key, sizeof b->key, "%s/job.key", dir);
    snprintf(model, sizeof model, "%s/model.onnx", dir);
    snprintf(train, sizeof train, "%s/set-x.npy,%s/set-y.npy[0:%d]", dir, dir, OWN);
    snprintf(covers, sizeof covers, "%s/set-x.npy,%s/set-y.npy[%d:%d]", dir, dir, OWN,
             ROWS);
    write_quarters(dir, num_lost);
    write_zoo(model, (amg_zoo_options){.name = "mlp",
                                       .channels = 1,
                                       .height = SIDE,
                                       .width = SIDE,
                                       .num_classes = CLASSES,
                                       .seed = 3});
    const amg_obfuscate_options o = {
        .model = model,
        .train = train,
        .covers = covers,
        .num_decoys = num_decoys,
        .decoys = {.arch = AMG_DECOY_SAME},
        .preprocess = {.num_channels = 1, .mean = {0.3f}, .std = {0.2f}},
        .key = b->key,
        .seed_hex = "0000000000000000000000000000000000000000000000000000000000000007",
        .out = b->job,
        .task_by_data = true};
    if (amg_obfuscate(&o, NULL, &result, &err)) fail_msg("%s: %s", err.where, err.what);
    open_evidence(b, true);
}

/* What `amalgam-train` leaves. */
static void train_job(audit_bench *b)
{
    const amg_train_options options = {
        .batch = 32, .epochs = 4, .threads = 2, .optimizer = {.lr = 0.05}};
    amg_error err = {0};
    amg_evidence_close(&b->e);
    if (amg_job_train(b->job, &options, NULL, NULL, &err))
        fail_msg("%s: %s", err.where, err.what);
    open_evidence(b, true);
}

/* ---- findings ---- */

/* Without validation data there are 7 measures, and the accuracy has no part in the
 * verdict. */
static const double tail = 0.05 / 6;

static void assert_close(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fabs(expected)))
        fail_msg("%.9g, expected %.9g", found, expected);
}

static void assert_clean(audit_bench *b, const char *training)
{
    run_attack(b, amg_attack_training);
    const amg_finding *f = find_metric(b, votes);
    assert_close(f->chance, 1.0 / 3, 1e-12);
    assert_true(f->value >= 0 && f->value <= 0.5); /* of two ends one at most */
    assert_in_range(f->guess, 0, 2);
    assert_verdict(b, votes, AMG_VERDICT_REPORT);
    if (!strstr(f->text, training)) fail_msg("%s", f->text);
    f = find_metric(b, deviations);
    assert_true(f->value > 0);
    assert_close(f->pass_high, tan(M_PI_2 * (1 - tail)), 1e-5);
    assert_verdict(b, deviations, AMG_VERDICT_PASS);
}

static void a_clean_job_passes(void **state)
{
    audit_bench b;
    open_quarters(&b, *state, 2, 0);
    assert_clean(&b, "7 measures of a short training");
    train_job(&b);
    assert_clean(&b, "7 measures of the training that was run");
    close_audit(&b);
}

static void assert_pointed_at(audit_bench *b)
{
    run_attack(b, amg_attack_training);
    const amg_finding *f = find_metric(b, votes);
    assert_int_equal(f->guess, b->e.original);
    assert_true(f->value > 0.25);
    f = find_metric(b, deviations);
    assert_close(f->pass_high, sqrt(2 / (1 - (1 - tail) * (1 - tail))) * (1 - tail),
                 1e-5);
    assert_verdict(b, deviations, AMG_VERDICT_FAIL);
}

static void an_original_that_cannot_learn_is_pointed_at(void **state)
{
    audit_bench b;
    open_quarters(&b, *state, 3, OWN);
    assert_pointed_at(&b);
    train_job(&b);
    assert_pointed_at(&b);

    /* Without the key it is the stream that an attacker would name. */
    const int original = b.e.original;
    amg_evidence_close(&b.e);
    open_evidence(&b, false);
    run_attack(&b, amg_attack_training);
    assert_int_equal(b.findings.count, 1);
    assert_int_equal(b.findings.items[0].guess, original);
    assert_true(isnan(b.findings.items[0].value));
    close_audit(&b);
}

static void one_decoy_allows_no_verdict(void **state)
{
    audit_bench b;
    open_quarters(&b, *state, 1, OWN);
    run_attack(&b, amg_attack_training);
    assert_int_equal(b.findings.count, 1);
    assert_verdict(&b, votes, AMG_VERDICT_REPORT);
    assert_int_equal(b.findings.items[0].guess, -1);
    close_audit(&b);
}

/* ---- measures ---- */

/* Adam's first step moves each weight that has a gradient by its rate. A chessboard of
 * weights of one size differs by twice that size everywhere, and keeps to it. */
static void one_step_gives_known_measures(void **state)
{
    audit_bench b;
    amg_training run;
    open_quarters(&b, *state, 1, 0);
    b.options.train_steps = 1;
    for (int h = 0; h < 2; h++) {
        const amg_param *first = &b.e.job.params[h].items[0];
        float *w = first->tensor.data;
        assert_int_equal(first->tensor.dims[1], SIDE * SIDE);
        for (int64_t i = 0; i < amg_tensor_count(&first->tensor); i++)
            w[i] = (i % SIDE + i / SIDE) % 2 ? 0.5f : -0.5f;
    }
    assert_int_equal(amg_training_run(&b.task, &run, NULL), AMG_OK);
    assert_int_equal(run.steps, 1);
    assert_false(run.was_trained);
    for (int h = 0; h < 2; h++) {
        const amg_params *set = &b.e.job.params[h];
        double count = 0, squares = 0;
        for (int i = 0; i < set->count; i++) {
            const amg_tensor *t = &set->items[i].tensor;
            count += (double)amg_tensor_count(t);
            for (int64_t j = 0; j < amg_tensor_count(t); j++)
                squares += pow(((const float *)t->data)[j], 2);
        }
        const double moved = 1e-3 * sqrt(count) / sqrt(squares);
        assert_true(run.of[AMG_MEASURE_DISTANCE][h] < moved * 1.001);
        assert_true(run.of[AMG_MEASURE_DISTANCE][h] > moved * 0.3);
        assert_close(run.of[AMG_MEASURE_ROUGHNESS][h], 2, 0.005);
        assert_true(run.of[AMG_MEASURE_FIRST_GRADIENT][h] > 0);
        assert_true(isnan(run.of[AMG_MEASURE_VAL_LOSS][h]));
    }
    close_audit(&b);
}

/* The evidence's own weights are not trained, and nothing appears in the job. Untrained
 * convolutions are as rough as noise: the mean difference of two numbers of one uniform
 * law is 4/3 of their mean size. */
static void a_job_stays_as_it_was(void **state)
{
    char out[600];
    amg_training run;
    audit_bench b;
    open_audit(&b, *state, &(job_recipe){0});
    b.options.train_steps = 2;
    const amg_tensor *t = &b.e.job.params[0].items[0].tensor;
    assert_int_equal(t->rank, 4);
    void *before = malloc(t->size_bytes);
    memcpy(before, t->data, t->size_bytes);
    assert_int_equal(amg_training_run(&b.task, &run, NULL), AMG_OK);
    assert_memory_equal(before, t->data, t->size_bytes);
    for (int h = 0; h < 4; h++)
        assert_close(run.of[AMG_MEASURE_ROUGHNESS][h], 4.0 / 3, 0.25);
    snprintf(out, sizeof out, "%s/out", b.job);
    assert_false(amg_path_exists(out));
    free(before);
    close_audit(&b);
}

static void damaged_weights_are_refused(void **state)
{
    char path[600];
    amg_error err = {0};
    audit_bench b;
    open_quarters(&b, *state, 1, 0);
    snprintf(path, sizeof path, "%s/out", b.job);
    assert_int_equal(amg_dir_make(path, NULL), AMG_OK);
    snprintf(path, sizeof path, "%s/out/weights.safetensors", b.job);
    assert_int_equal(amg_file_write(path, 0644, false, "\2\0\0\0\0\0\0\0{}", 10, NULL),
                     AMG_OK);
    assert_int_equal(amg_attack_training(&b.task, &err), AMG_NOT_FOUND);
    assert_int_equal(b.findings.count, 0);
    close_audit(&b);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_clean_job_passes),
        IN_FOLDER(an_original_that_cannot_learn_is_pointed_at),
        IN_FOLDER(one_decoy_allows_no_verdict),
        IN_FOLDER(one_step_gives_known_measures),
        IN_FOLDER(a_job_stays_as_it_was),
        IN_FOLDER(damaged_weights_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
