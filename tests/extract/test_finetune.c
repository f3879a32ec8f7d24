/* Fine-tuning through real files: a network pretrained on MNIST learns Fashion-MNIST
 * with some of its weights frozen, as a job and alone. The bits are equal, and frozen
 * weights come back as they were. Skipped by name without the two data sets
 * (AMALGAM_DATA, package dataset-fashion-mnist). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "engine/job.h"
#include "engine/plan.h"
#include "extract/extract.h"
#include "graph/builder.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"
#include "obfuscate/obfuscate.h"

#define FASHION "/usr/share/datasets/fashion-mnist"

enum { PATH = 512 };

typedef struct {
    char dir[128];
    char fresh[PATH], model[PATH], key[PATH], job[PATH], weights[PATH];
    char mine[PATH], alone[PATH], mnist[PATH];
} places;

typedef struct {
    const char *network; /* of the zoo; NULL: normed_network */
    const char *freeze;  /* one glob */
    bool norm_stats;
    int64_t steps; /* of 16 samples */
    amg_decoy_arch arch;
} tuning;

static const amg_preprocess bytes = {
    .num_channels = 1, .mean = {.2860f}, .std = {.3530f}};

static void must(amg_status st, const amg_error *err)
{
    if (st) fail_msg("%s: %s: %s", amg_status_name(st), err->where, err->what);
}

static void open_places(places *p)
{
    const char *tmp = getenv("TMPDIR"), *data = getenv("AMALGAM_DATA");
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    memset(p, 0, sizeof *p);
    if (data)
        snprintf(p->mnist, PATH, "%.400s/mnist", data);
    else
        snprintf(p->mnist, PATH, "%.400s/../shared/data/mnist", root ? root : ".");
    if (!amg_path_is_dir(p->mnist) || !amg_path_is_dir(FASHION)) {
        print_message("no MNIST at %s, or no %s\n", p->mnist, FASHION);
        skip();
    }
    snprintf(p->dir, sizeof p->dir, "%.90s/amg-tune-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->fresh, PATH, "%s/fresh.onnx", p->dir);
    snprintf(p->model, PATH, "%s/pretrained.onnx", p->dir);
    snprintf(p->key, PATH, "%s/job.key", p->dir);
    snprintf(p->job, PATH, "%s/job", p->dir);
    snprintf(p->weights, PATH, "%s/job/out/weights.safetensors", p->dir);
    snprintf(p->mine, PATH, "%s/extracted.onnx", p->dir);
    snprintf(p->alone, PATH, "%s/alone.onnx", p->dir);
}

static amg_train_options training(int64_t steps)
{
    return (amg_train_options){.batch = 16,
                               .epochs = 2,
                               .max_steps = steps,
                               .seed = 4,
                               .threads = 2,
                               .optimizer = {.kind = AMG_OPT_SGD,
                                             .lr = 0.02,
                                             .momentum = 0.9,
                                             .weight_decay = 1e-3,
                                             .clip_norm = 1}};
}

static void train_plain(const char *model, const char *data, const tuning *t,
                        int64_t steps, const char *out)
{
    const amg_train_options o = training(steps);
    const amg_plain_task task = {.model = model,
                                 .train = data,
                                 .pre = &bytes,
                                 .task_by_data = true,
                                 .freeze = &t->freeze,
                                 .num_freeze = t->freeze != NULL,
                                 .freeze_norm_stats = t->norm_stats,
                                 .out_onnx = out};
    amg_train_result r;
    amg_error err = {0};
    must(amg_plain_train(&task, &o, NULL, &r, &err), &err);
}

static int parameter(amg_builder *b, const char *stem, const char *name, float least,
                     float most, int rank, const int64_t *dims)
{
    char text[64];
    amg_tensor t;
    amg_rng rng = amg_rng_init(7, (uint64_t)strlen(stem) * 256 + (uint64_t)name[0]);
    snprintf(text, sizeof text, "%s.%s", stem, name);
    assert_int_equal(amg_tensor_new(AMG_F32, rank, dims, &t, NULL), AMG_OK);
    for (int64_t i = 0; i < amg_tensor_count(&t); i++)
        ((float *)t.data)[i] = least + amg_rng_uniform(&rng) * (most - least);
    const int value = amg_builder_param(b, text, &t);
    amg_tensor_clear(&t);
    return value;
}

/* Conv of stride 2, BatchNormalization, Relu. */
static int block(amg_builder *b, const char *conv, const char *norm, int x, int64_t in,
                 int64_t out)
{
    const amg_attr attrs[] = {amg_ints("kernel_shape", 2, (int64_t[]){3, 3}),
                              amg_ints("strides", 2, (int64_t[]){2, 2}),
                              amg_ints("pads", 4, (int64_t[]){1, 1, 1, 1})};
    const int inputs[] = {
        x, parameter(b, conv, "weight", -.3f, .3f, 4, (int64_t[]){out, in, 3, 3})};
    x = amg_builder_node(b, AMG_OP_CONV, conv, inputs, 2, attrs, 3, NULL);
    const int normed[] = {x, parameter(b, norm, "weight", .8f, 1.2f, 1, &out),
                          parameter(b, norm, "bias", -.1f, .1f, 1, &out),
                          parameter(b, norm, "running_mean", -.1f, .1f, 1, &out),
                          parameter(b, norm, "var", .8f, 1.2f, 1, &out)};
    x = amg_builder_node(b, AMG_OP_BATCH_NORM, norm, normed, 5, NULL, 0, NULL);
    return amg_builder_node(b, AMG_OP_RELU, conv, &x, 1, NULL, 0, NULL);
}

/* conv1, norm1, conv2, norm2, fc: what the zoo has with norms is too large. */
static amg_graph *normed_network(amg_error *err)
{
    const int64_t classes = 10;
    const amg_attr transposed = amg_int("transB", 1);
    amg_graph *g = NULL;
    amg_builder *b = amg_builder_new();
    int x =
        amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 1, 28, 28});
    x = block(b, "conv1", "norm1", x, 1, 8);
    x = block(b, "conv.2", "norm.2", x, 8, 16);
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, NULL, 0, NULL);
    const int inputs[] = {
        x, parameter(b, "fc", "weight", -.1f, .1f, 2, (int64_t[]){classes, 784}),
        parameter(b, "fc", "bias", -.1f, .1f, 1, &classes)};
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_GEMM, "fc", inputs, 3, &transposed, 1, NULL));
    must(amg_builder_finish(b, &g, err), err);
    amg_builder_free(b);
    return g;
}

static void pretrain(const places *p, const tuning *t)
{
    const amg_zoo_options o = {.name = t->network,
                               .channels = 1,
                               .height = 28,
                               .width = 28,
                               .num_classes = 10,
                               .seed = 3};
    char data[PATH + 32];
    amg_graph *g = NULL;
    amg_error err = {0};
    if (t->network)
        must(amg_zoo_build(&o, &g, &err), &err);
    else
        g = normed_network(&err);
    must(amg_graph_write_onnx(p->fresh, g, &err), &err);
    amg_graph_free(g);
    snprintf(data, sizeof data, "%s@train[0:512]", p->mnist);
    train_plain(p->fresh, data, &(tuning){.network = t->network}, t->steps, p->model);
}

static void tune_in_a_job(const places *p, const tuning *t)
{
    const amg_obfuscate_options o = {.model = p->model,
                                     .train = FASHION "@train[0:256]",
                                     .covers = FASHION "@train[1000:2000]",
                                     .task_by_data = true,
                                     .num_decoys = 2,
                                     .decoys.arch = t->arch,
                                     .freeze = &t->freeze,
                                     .num_freeze = 1,
                                     .freeze_norm_stats = t->norm_stats,
                                     .preprocess = bytes,
                                     .key = p->key,
                                     .out = p->job};
    const amg_extract_options back = {
        .key = p->key, .weights = p->weights, .out_onnx = p->mine};
    amg_train_options training_of = training(t->steps / 2);
    amg_obfuscate_result made;
    amg_extract_result extracted;
    amg_train_result r;
    amg_error err = {0};
    must(amg_obfuscate(&o, NULL, &made, &err), &err);
    assert_true(made.num_frozen > 0);
    /* Stopped half-way and resumed. */
    must(amg_job_train(p->job, &training_of, NULL, &r, &err), &err);
    training_of.max_steps = t->steps;
    training_of.resume = true;
    must(amg_job_train(p->job, &training_of, NULL, &r, &err), &err);
    must(amg_extract(&back, &extracted, &err), &err);
}

static amg_graph *read_model(const char *path)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    must(amg_graph_read_onnx(path, &g, &err), &err);
    return g;
}

static bool same(const amg_value *a, const amg_graph *g)
{
    const amg_tensor *b = &g->values[amg_graph_find_value(g, a->name)].data;
    return a->data.size_bytes == b->size_bytes &&
           !memcmp(a->data.data, b->data, b->size_bytes);
}

/* Frozen ones are the start's, bit for bit; all others have moved. */
static void assert_tuned(const places *p, const tuning *t)
{
    amg_graph *before = read_model(p->model), *after = read_model(p->mine);
    int num_frozen = 0;
    for (int v = 0; v < after->num_values; v++) {
        const amg_value *val = &after->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        const bool stays = !fnmatch(t->freeze, val->name, 0) &&
                           (val->role == AMG_ROLE_TRAINABLE || t->norm_stats);
        num_frozen += stays;
        if (same(val, before) != stays)
            fail_msg("%s: expected %s", val->name, stays ? "as it was" : "trained");
    }
    assert_true(num_frozen > 0);
    amg_graph_free(before);
    amg_graph_free(after);
}

static void assert_same_file(const places *p)
{
    char x[65], y[65];
    int64_t size;
    amg_error err = {0};
    must(amg_file_sha256(p->mine, x, &size, &err), &err);
    must(amg_file_sha256(p->alone, y, &size, &err), &err);
    assert_string_equal(x, y);
}

static void check(const tuning *t)
{
    places p;
    open_places(&p);
    pretrain(&p, t);
    tune_in_a_job(&p, t);
    train_plain(p.model, FASHION "@train[0:256]", t, t->steps, p.alone);
    assert_tuned(&p, t);
    assert_same_file(&p);
    amg_dir_remove(p.dir);
}

/* The lines of a plan's description with both words in them. */
static int count_lines(const char *text, const char *first, const char *second)
{
    int count = 0;
    while (*text) {
        char line[256];
        const size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        count += strstr(line, first) && strstr(line, second);
        text += length + (text[length] != 0);
    }
    return count;
}

/* Needs no data. */
static void nothing_is_computed_backward_ahead_of_what_trains(void **state)
{
    const amg_zoo_options o = {.name = "lenet",
                               .channels = 1,
                               .height = 28,
                               .width = 28,
                               .num_classes = 10,
                               .seed = 3};
    amg_graph *g = NULL, *planned = NULL;
    amg_error err = {0};
    (void)state;
    must(amg_zoo_build(&o, &g, &err), &err);
    must(amg_graph_plan_batch(g, 4, &planned, &err), &err);
    for (int froze = 0; froze < 2; froze++) {
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        amg_plan *plan;
        bool *frozen = calloc((size_t)planned->num_values, sizeof *frozen);
        for (int v = 0; v < planned->num_values; v++)
            frozen[v] = froze && !fnmatch("conv*", planned->values[v].name, 0);
        const amg_plan_options options = {.training = true, .frozen = frozen};
        must(amg_plan_new(planned, 0, &options, &plan, &err), &err);
        amg_plan_describe(plan, stream);
        assert_int_equal(fclose(stream), 0);
        assert_int_equal(amg_plan_num_slots(plan), froze ? 6 : 10);
        assert_true(count_lines(text, "forward", "conv") >= 2);
        assert_int_equal(count_lines(text, "backward", "conv") > 0, !froze);
        assert_int_equal(count_lines(text, "backward", "gemm d-weights"), 3);
        /* Behind fc1 nothing waits for a gradient. */
        assert_int_equal(count_lines(text, "backward", "gemm d-data"), froze ? 2 : 3);
        amg_plan_free(plan);
        free(text);
        free(frozen);
    }
    amg_graph_free(planned);
    amg_graph_free(g);
}

static void frozen_convolutions_stay_and_the_rest_is_exact(void **state)
{
    (void)state;
    check(&(tuning){.network = "lenet", .freeze = "conv*", .steps = 24});
}

/* Nothing upstream trains, then something does: gradients pass frozen layers. */
static void layers_behind_trained_ones_may_be_frozen(void **state)
{
    (void)state;
    check(&(tuning){.network = "lenet", .freeze = "fc[12].*", .steps = 24});
}

/* Walked decoys have other layers; the ones made after frozen ones are frozen. */
static void walked_decoys_follow(void **state)
{
    (void)state;
    check(&(tuning){
        .network = "lenet", .freeze = "conv*", .steps = 24, .arch = AMG_DECOY_WALK});
}

static void frozen_norms_go_on_with_their_statistics(void **state)
{
    (void)state;
    check(&(tuning){.freeze = "*1.*", .steps = 24});
}

static void frozen_norms_may_keep_their_statistics(void **state)
{
    (void)state;
    check(&(tuning){.freeze = "*1.*", .norm_stats = true, .steps = 24});
    check(&(tuning){.freeze = "norm*", .norm_stats = true, .steps = 24});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_computed_backward_ahead_of_what_trains),
        cmocka_unit_test(frozen_convolutions_stay_and_the_rest_is_exact),
        cmocka_unit_test(layers_behind_trained_ones_may_be_frozen),
        cmocka_unit_test(walked_decoys_follow),
        cmocka_unit_test(frozen_norms_go_on_with_their_statistics),
        cmocka_unit_test(frozen_norms_may_keep_their_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
