/* The promise, through real files: a model that is obfuscated, trained as a job and
 * extracted has the same bits as the model trained alone. On real images (CIFAR-10 from
 * AMALGAM_DATA or beside the source); without them every test is skipped by name.
 *
 * Argument "fast" or "slow": only the small networks, only the large ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/job.h"
#include "extract/extract.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"
#include "obfuscate/obfuscate.h"

enum { PATH = 512 };

/* One comparison. Every run is stopped at step 7 and resumed. */
typedef struct {
    const char *model;
    int num_decoys;
    const char *train;               /* part of the training split */
    int64_t max_steps;               /* compared after so many; 0: after all epochs */
    int64_t num_epochs;              /* 0: 1 */
    double amount;                   /* > 0: paper mode */
    const amg_train_options *recipe; /* batch, epochs and steps aside; NULL: SGD */
    bool validates; /* on images that are neither trained on nor covers */
} exactness_case;

/* A folder for one case, and the paths in it. */
typedef struct {
    char dir[PATH], cifar[PATH];
    char model[PATH], key[PATH], job[PATH], weights[PATH], mine[PATH], alone[PATH];
    char st[PATH], train[PATH + 64], covers[PATH + 64], val[PATH + 64];
    int64_t batches; /* that the model trained alone has seen by its result */
} places;

static bool find_cifar(char path[PATH])
{
    const char *data = getenv("AMALGAM_DATA"), *root = getenv("AMALGAM_SOURCE_ROOT");
    if (data)
        snprintf(path, PATH, "%s/cifar-10-batches-bin", data);
    else
        snprintf(path, PATH, "%s/../shared/data/cifar-10-batches-bin",
                 root ? root : ".");
    return amg_path_is_dir(path);
}

static void must(amg_status st, const amg_error *err)
{
    if (st) fail_msg("%s: %s: %s", amg_status_name(st), err->where, err->what);
}

static void open_places(places *p, const char *part)
{
    const char *tmp = getenv("TMPDIR");
    memset(p, 0, sizeof *p);
    if (!find_cifar(p->cifar)) {
        print_message("no CIFAR-10 at %s\n", p->cifar);
        skip();
    }
    snprintf(p->dir, 128, "%s/amg-exact-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->model, PATH, "%.128s/model.onnx", p->dir);
    snprintf(p->key, PATH, "%.128s/job.key", p->dir);
    snprintf(p->job, PATH, "%.128s/job", p->dir);
    snprintf(p->weights, PATH, "%.128s/job/out/weights.safetensors", p->dir);
    snprintf(p->mine, PATH, "%.128s/extracted.onnx", p->dir);
    snprintf(p->st, PATH, "%.128s/extracted.safetensors", p->dir);
    snprintf(p->alone, PATH, "%.128s/alone.onnx", p->dir);
    snprintf(p->train, sizeof p->train, "cifar:%s@train%s", p->cifar, part);
    snprintf(p->val, sizeof p->val, "cifar:%s@train[7000:7040]", p->cifar);
    snprintf(p->covers, sizeof p->covers, "cifar:%s@train[4000:7000]", p->cifar);
}

static const amg_preprocess cifar_values = {
    .num_channels = 3, .mean = {.4914f, .4822f, .4465f}, .std = {.247f, .243f, .262f}};

static void write_model(const places *p, const char *name)
{
    amg_zoo_options o = {.name = name,
                         .channels = 3,
                         .height = 32,
                         .width = 32,
                         .num_classes = 10,
                         .seed = 3};
    amg_graph *g = NULL;
    amg_error err = {0};
    must(amg_zoo_build(&o, &g, &err), &err);
    must(amg_graph_write_onnx(p->model, g, &err), &err);
    amg_graph_free(g);
}

static void obfuscate(const places *p, const exactness_case *c)
{
    amg_obfuscate_options o = {.model = p->model,
                               .train = p->train,
                               .val = c->validates ? p->val : NULL,
                               .num_decoys = c->num_decoys,
                               .preprocess = cifar_values,
                               .key = p->key,
                               .seed_hex = "00112233445566778899aabbccddeeff"
                                           "00112233445566778899aabbccddeeff",
                               .out = p->job};
    amg_obfuscate_result r;
    amg_error err = {0};
    if (c->amount > 0) {
        o.mode = AMG_MODE_PAPER;
        o.amount = o.decoys.model_amount = c->amount;
    } else {
        o.covers = p->covers;
    }
    must(amg_obfuscate(&o, NULL, &r, &err), &err);
    assert_true(r.labels_permuted);
    assert_int_equal(r.num_unknown_init, 0);
}

static amg_train_options training(const exactness_case *c)
{
    amg_train_options o = {.batch = 8,
                           .epochs = c->num_epochs,
                           .max_steps = c->max_steps,
                           .seed = 9,
                           .label_smoothing = 0.1f,
                           .threads = 2,
                           .optimizer = {.kind = AMG_OPT_SGD,
                                         .lr = 0.02,
                                         .momentum = 0.9,
                                         .weight_decay = 5e-4,
                                         .schedule = AMG_SCHEDULE_COSINE,
                                         .warmup_steps = 3}};
    if (!c->recipe) return o;
    amg_train_options own = *c->recipe;
    own.batch = o.batch;
    own.epochs = o.epochs;
    own.max_steps = o.max_steps;
    own.seed = o.seed;
    own.threads = o.threads;
    return own;
}

static void train_job(const places *p, const exactness_case *c)
{
    amg_train_options o = training(c);
    amg_train_result r;
    amg_error err = {0};
    o.max_steps = 7;
    must(amg_job_train(p->job, &o, NULL, &r, &err), &err);
    assert_int_equal(r.steps, 7);
    o.max_steps = c->max_steps;
    o.resume = true;
    must(amg_job_train(p->job, &o, NULL, &r, &err), &err);
    assert_true(r.steps >= 20);
}

static void train_alone(places *p, const exactness_case *c)
{
    amg_train_options o = training(c);
    amg_train_result r;
    amg_error err = {0};
    const amg_plain_task plain = {.model = p->model,
                                  .train = p->train,
                                  .val = c->validates ? p->val : NULL,
                                  .pre = &cifar_values,
                                  .task_by_data = true,
                                  .out_onnx = p->alone};
    must(amg_plain_train(&plain, &o, NULL, &r, &err), &err);
    p->batches = r.head_steps[0] * (o.accumulate ? o.accumulate : 1);
    assert_true(r.steps >= 20);
}

static void extract(const places *p)
{
    amg_extract_options o = {.key = p->key,
                             .weights = p->weights,
                             .out_onnx = p->mine,
                             .out_safetensors = p->st};
    amg_extract_result r;
    amg_error err = {0};
    must(amg_extract(&o, &r, &err), &err);
    assert_false(r.key_is_loose);
    assert_int_equal(r.steps, p->batches);
}

static amg_graph *read_model(const char *path)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    must(amg_graph_read_onnx(path, &g, &err), &err);
    return g;
}

/* Name of the first trainable or buffer that differs; NULL: all bits are equal. */
static const char *first_difference(const amg_graph *a, const amg_graph *b)
{
    for (int v = 0; v < a->num_values; v++) {
        const amg_value *x = &a->values[v];
        if (x->kind != AMG_VALUE_PARAM || x->role == AMG_ROLE_CONSTANT) continue;
        int w = amg_graph_find_value(b, x->name);
        if (w < 0 || x->data.size_bytes != b->values[w].data.size_bytes ||
            memcmp(x->data.data, b->values[w].data.data, x->data.size_bytes) != 0)
            return x->name;
    }
    return NULL;
}

static bool files_equal(const char *a, const char *b)
{
    char x[65], y[65];
    int64_t size;
    amg_error err = {0};
    must(amg_file_sha256(a, x, &size, &err), &err);
    must(amg_file_sha256(b, y, &size, &err), &err);
    return !strcmp(x, y);
}

static void assert_trained(const places *p)
{
    amg_graph *before = read_model(p->model), *after = read_model(p->mine);
    assert_non_null(first_difference(before, after));
    amg_graph_free(before);
    amg_graph_free(after);
}

static void assert_exact(const places *p)
{
    amg_graph *mine = read_model(p->mine), *alone = read_model(p->alone);
    const char *name = first_difference(alone, mine);
    if (name) fail_msg("%s differs from training alone", name);
    assert_true(files_equal(p->mine, p->alone));
    amg_graph_free(mine);
    amg_graph_free(alone);
}

static void check_exact(exactness_case c)
{
    places p;
    open_places(&p, c.train);
    write_model(&p, c.model);
    obfuscate(&p, &c);
    train_job(&p, &c);
    train_alone(&p, &c);
    extract(&p);
    assert_trained(&p);
    assert_exact(&p);
    amg_dir_remove(p.dir);
}

static void lenet_is_exact_after_20_steps_with_any_number_of_decoys(void **state)
{
    (void)state;
    const int decoys[] = {1, 3, 7};
    for (int i = 0; i < 3; i++)
        check_exact((exactness_case){.model = "lenet",
                                     .num_decoys = decoys[i],
                                     .train = "[0:320]",
                                     .max_steps = 20});
}

static void lenet_is_exact_after_two_epochs(void **state)
{
    (void)state;
    check_exact((exactness_case){
        .model = "lenet", .num_decoys = 3, .train = "[0:324]", .num_epochs = 2});
}

static void lenet_is_exact_with_any_amount_of_noise(void **state)
{
    (void)state;
    const double amounts[] = {.25, .5, 1.0};
    for (int i = 0; i < 3; i++)
        check_exact((exactness_case){.model = "lenet",
                                     .num_decoys = 2,
                                     .train = "[0:160]",
                                     .amount = amounts[i]});
}

static void lenet_is_exact_with_every_optimizer(void **state)
{
    (void)state;
    static const amg_train_options recipes[] = {
        {.optimizer = {.kind = AMG_OPT_ADAMW,
                       .lr = 1e-3,
                       .weight_decay = 5e-4,
                       .clip_norm = 0.5,
                       .schedule = AMG_SCHEDULE_COSINE}},
        {.optimizer =
             {.kind = AMG_OPT_RMSPROP, .lr = 1e-4, .momentum = 0.9, .centered = true}},
        {.optimizer = {.kind = AMG_OPT_ADAGRAD, .lr = 0.01, .lr_decay = 0.1}},
        {.optimizer = {.kind = AMG_OPT_LION, .lr = 1e-4, .weight_decay = 0.1}},
        {.bf16 = true, .optimizer = {.lr = 0.01, .momentum = 0.9}},
    };
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        check_exact((exactness_case){.model = "lenet",
                                     .num_decoys = 3,
                                     .train = "[0:160]",
                                     .recipe = &recipes[i]});
}

static void lenet_is_exact_with_every_recipe(void **state)
{
    (void)state;
    static const amg_train_options recipes[] = {
        {.accumulate = 2,
         .optimizer = {.lr = 0.05,
                       .momentum = 0.9,
                       .clip_norm = 1,
                       .schedule = AMG_SCHEDULE_ONE_CYCLE}},
        {.ema = 0.9,
         .best = true,
         .early_stop = 1,
         .optimizer = {.lr = 0.2,
                       .schedule = AMG_SCHEDULE_PLATEAU,
                       .plateau_factor = 0.5}},
        {.best = true, .optimizer = {.lr = 0.2, .momentum = 0.9}},
    };
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        check_exact((exactness_case){.model = "lenet",
                                     .num_decoys = 3,
                                     .train = "[0:160]",
                                     .num_epochs = 4,
                                     .validates = true,
                                     .recipe = &recipes[i]});
}

static void resnet18_is_exact_after_an_epoch(void **state)
{
    (void)state;
    for (int k = 1; k <= 3; k += 2)
        check_exact(
            (exactness_case){.model = "resnet18", .num_decoys = k, .train = "[0:160]"});
}

static void mobilenet_v2_with_dropout_is_exact_after_an_epoch(void **state)
{
    (void)state;
    for (int k = 1; k <= 3; k += 2)
        check_exact((exactness_case){
            .model = "mobilenet_v2", .num_decoys = k, .train = "[0:160]"});
}

/* Paper mode, each amount with another number of decoys. */
static void resnet18_is_exact_with_any_amount_of_noise(void **state)
{
    const double amounts[] = {.25, .5, 1.0};
    const int decoys[] = {1, 3, 2};
    (void)state;
    for (int i = 0; i < 3; i++)
        check_exact((exactness_case){.model = "resnet18",
                                     .num_decoys = decoys[i],
                                     .train = "[0:160]",
                                     .amount = amounts[i]});
}

/* Gives job.json the hash of the weights as they are now. */
static void seal_weights(const places *p, const char *weights)
{
    char path[PATH + 64];
    amg_manifest m;
    amg_error err = {0};
    snprintf(path, sizeof path, "%s/job.json", p->job);
    must(amg_manifest_read(path, &m, &err), &err);
    for (int i = 0; i < m.num_files; i++)
        if (!strcmp(m.files[i].path, "weights.safetensors"))
            must(amg_file_sha256(weights, m.files[i].sha256, &m.files[i].size_bytes,
                                 &err),
                 &err);
    must(amg_manifest_write(path, &m, &err), &err);
    amg_manifest_clear(&m);
}

/* Flips the lowest bit of the first weight of the first parameter of the job that is
 * the original's (own) or a decoy's (!own). */
static void perturb(const places *p, bool own)
{
    char path[PATH + 64], moved[PATH + 64];
    amg_secret *secret = NULL;
    uint8_t *bytes = NULL;
    size_t size, count;
    bool loose;
    amg_key_payload payload;
    amg_safetensors *st = NULL;
    amg_st_entry entries[256];
    amg_tensor copy;
    amg_error err = {0};
    must(amg_keyfile_open(p->key, NULL, &secret, &bytes, &size, &loose, &err), &err);
    must(amg_key_payload_parse(bytes, size, &payload, &err), &err);
    snprintf(path, sizeof path, "%s/weights.safetensors", p->job);
    snprintf(moved, sizeof moved, "%s/weights.new", p->dir);
    must(amg_safetensors_open(path, &st, &err), &err);
    count = amg_safetensors_count(st);
    assert_true(count > 0 && count <= 256);
    bool done = false;
    for (size_t i = 0; i < count; i++) {
        entries[i] = *amg_safetensors_at(st, i);
        bool is_own = false;
        for (int n = 0; n < payload.names.count; n++)
            is_own = is_own || !strcmp(payload.names.job[n], entries[i].name);
        if (done || is_own != own || entries[i].tensor.rank < 2) continue;
        const amg_tensor *t = &entries[i].tensor;
        must(amg_tensor_new(t->dtype, t->rank, t->dims, &copy, &err), &err);
        memcpy(copy.data, t->data, t->size_bytes);
        *(uint8_t *)copy.data ^= 1;
        entries[i].tensor = copy;
        done = true;
    }
    assert_true(done);
    must(amg_safetensors_write(moved, entries, count, &err), &err);
    amg_safetensors_close(st);
    assert_int_equal(rename(moved, path), 0);
    seal_weights(p, path);
    amg_tensor_clear(&copy);
    amg_key_payload_clear(&payload);
    amg_payload_free(bytes);
    amg_secret_free(secret);
}

/* Trained weights without a word of whose they are: the key knows the job as it was
 * before the change. */
static void forget_job(places *p)
{
    char moved[PATH + 64];
    amg_safetensors *st = NULL;
    amg_st_entry entries[256];
    amg_error err = {0};
    snprintf(moved, sizeof moved, "%s/weights.new", p->dir);
    must(amg_safetensors_open(p->weights, &st, &err), &err);
    const size_t count = amg_safetensors_count(st);
    assert_true(count <= 256);
    for (size_t i = 0; i < count; i++) entries[i] = *amg_safetensors_at(st, i);
    must(amg_safetensors_write(moved, entries, count, &err), &err);
    amg_safetensors_close(st);
    assert_int_equal(rename(moved, p->weights), 0);
    p->batches = -1;
}

/* The comparison finds one bit in one weight; and that bit in a decoy reaches no bit of
 * the original. */
static void one_bit_of_the_original_shows_and_one_of_a_decoy_does_not(void **state)
{
    (void)state;
    const exactness_case c = {.model = "lenet", .num_decoys = 1, .train = "[0:160]"};
    for (int own = 0; own < 2; own++) {
        places p;
        open_places(&p, c.train);
        write_model(&p, c.model);
        obfuscate(&p, &c);
        perturb(&p, own);
        train_job(&p, &c);
        train_alone(&p, &c);
        forget_job(&p);
        extract(&p);
        if (own) {
            amg_graph *mine = read_model(p.mine), *alone = read_model(p.alone);
            assert_non_null(first_difference(alone, mine));
            assert_false(files_equal(p.mine, p.alone));
            amg_graph_free(mine);
            amg_graph_free(alone);
        } else {
            assert_exact(&p);
        }
        amg_dir_remove(p.dir);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest fast[] = {
        cmocka_unit_test(lenet_is_exact_after_20_steps_with_any_number_of_decoys),
        cmocka_unit_test(lenet_is_exact_after_two_epochs),
        cmocka_unit_test(lenet_is_exact_with_any_amount_of_noise),
        cmocka_unit_test(lenet_is_exact_with_every_optimizer),
        cmocka_unit_test(lenet_is_exact_with_every_recipe),
        cmocka_unit_test(one_bit_of_the_original_shows_and_one_of_a_decoy_does_not),
    };
    const struct CMUnitTest slow[] = {
        cmocka_unit_test(resnet18_is_exact_after_an_epoch),
        cmocka_unit_test(mobilenet_v2_with_dropout_is_exact_after_an_epoch),
        cmocka_unit_test(resnet18_is_exact_with_any_amount_of_noise),
    };
    int failed = 0;
    if (argc < 2 || !strcmp(argv[1], "fast"))
        failed += cmocka_run_group_tests(fast, NULL, NULL);
    if (argc < 2 || !strcmp(argv[1], "slow"))
        failed += cmocka_run_group_tests(slow, NULL, NULL);
    return failed;
}
