/* The promise for text, through real files: a language model or a classifier of texts
 * that is obfuscated (its vocabulary renumbered, its rows moved), trained as a job with
 * dropout, clipping, AdamW and a schedule, and extracted, has the same bits as the
 * model trained alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "engine/job.h"
#include "extract/extract.h"
#include "formats/token_set.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"
#include "obfuscate/obfuscate.h"

enum { PATH = 512, VOCAB = 97, SEQ = 12, PAD = 5, CLASSES = 4, STEPS = 50 };

typedef struct {
    const char *model; /* of the zoo, or a file of data/ */
    bool no_pad;       /* padding is a token like others */
    int num_decoys;
    double amount; /* > 0: paper mode … */
    amg_noise noise;
    bool keep_tokens;
} text_case;

/* A folder for one case, and the paths in it. */
typedef struct {
    char dir[PATH], model[PATH], key[PATH], job[PATH], weights[PATH];
    char mine[PATH], alone[PATH], train[PATH + 16], covers[PATH + 16];
} places;

static void must(amg_status st, const amg_error *err)
{
    if (st) fail_msg("%s: %s: %s", amg_status_name(st), err->where, err->what);
}

static void write_vocabulary(const char *dir)
{
    char path[PATH + 64];
    snprintf(path, sizeof path, "%s/vocabulary.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("{\"a test's\": \"own\"}\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Documents of 1 to 2 * SEQ random tokens, the low ones more often. */
static void write_texts(const char *dir, const char *name, bool labels, int documents,
                        uint64_t seed)
{
    static const char *classes[CLASSES] = {"a", "b", "c", "d"};
    char path[PATH + 64];
    const amg_token_info info = {.vocab_size = VOCAB,
                                 .pad = PAD,
                                 .eos = AMG_NO_TOKEN,
                                 .num_classes = labels ? CLASSES : 0,
                                 .classes = classes};
    amg_token_writer *w = NULL;
    amg_token_info written;
    amg_error err = {0};
    amg_rng rng = amg_rng_init(seed, 0);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    must(amg_token_writer_new(path, &info, &w, &err), &err);
    for (int d = 0; d < documents; d++) {
        int32_t x[2 * SEQ];
        const int64_t count = 1 + amg_rng_u32(&rng) % (2 * SEQ);
        for (int64_t i = 0; i < count; i++) {
            const double u = amg_rng_u32(&rng) / 4294967296.0;
            x[i] = (int32_t)(u * u * VOCAB);
        }
        must(amg_token_writer_add(w, x, count, (int32_t)(x[0] % CLASSES), &err), &err);
    }
    write_vocabulary(amg_token_writer_dir(w));
    must(amg_token_writer_finish(w, &written, &err), &err);
}

static amg_graph *read_model(const char *path)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    must(amg_graph_read_onnx(path, &g, &err), &err);
    return g;
}

static bool is_language_model(const text_case *c)
{
    return amg_zoo_is_language_model(c->model) || !strcmp(c->model, "user_gpt");
}

static amg_graph *build_model(const text_case *c)
{
    const char *name = c->model;
    const bool lm = is_language_model(c);
    const amg_zoo_options o = {.name = name,
                               .vocab = VOCAB,
                               .seq = SEQ,
                               .num_classes = lm ? 0 : CLASSES,
                               .width_model = 16,
                               .layers = lm ? 2 : 0,
                               .heads = lm ? 2 : 0,
                               .width_hidden = strcmp(name, "embedding_bag") ? 24 : 0,
                               .dropout = NAN,
                               .pad = lm || c->no_pad ? -1 : PAD,
                               .seed = 3};
    amg_graph *g = NULL;
    amg_error err = {0};
    must(amg_zoo_build(&o, &g, &err), &err);
    return g;
}

static amg_graph *user_model(const text_case *c)
{
    char path[PATH];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/extract/data/%s.onnx", root ? root : ".",
             c->model);
    return read_model(path);
}

static void write_model(const places *p, const text_case *c)
{
    amg_error err = {0};
    amg_graph *g = strncmp(c->model, "user_", 5) ? build_model(c) : user_model(c);
    must(amg_graph_write_onnx(p->model, g, &err), &err);
    amg_graph_free(g);
}

static void open_places(places *p, const text_case *c)
{
    const char *tmp = getenv("TMPDIR");
    const bool lm = is_language_model(c);
    memset(p, 0, sizeof *p);
    snprintf(p->dir, 128, "%s/amg-text-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->model, PATH, "%.128s/model.onnx", p->dir);
    snprintf(p->key, PATH, "%.128s/job.key", p->dir);
    snprintf(p->job, PATH, "%.128s/job", p->dir);
    snprintf(p->weights, PATH, "%.128s/job/out/weights.safetensors", p->dir);
    snprintf(p->mine, PATH, "%.128s/extracted.onnx", p->dir);
    snprintf(p->alone, PATH, "%.128s/alone.onnx", p->dir);
    snprintf(p->train, sizeof p->train, "text:%.128s/train", p->dir);
    snprintf(p->covers, sizeof p->covers, "text:%.128s/covers", p->dir);
    write_texts(p->dir, "train", !lm, 100, 1);
    write_texts(p->dir, "covers", !lm, 500, 2);
    write_model(p, c);
}

static void obfuscate(const places *p, const text_case *c)
{
    amg_obfuscate_options o = {.model = p->model,
                               .train = p->train,
                               .num_decoys = c->num_decoys,
                               .task_by_data = true,
                               .keep_tokens = c->keep_tokens,
                               .key = p->key,
                               .seed_hex = "00112233445566778899aabbccddeeff"
                                           "00112233445566778899aabbccddeeff",
                               .out = p->job};
    amg_obfuscate_result r;
    amg_error err = {0};
    if (c->amount > 0) {
        o.mode = AMG_MODE_PAPER;
        o.amount = o.decoys.model_amount = c->amount;
        o.noise = c->noise;
    } else {
        o.covers = p->covers;
    }
    must(amg_obfuscate(&o, NULL, &r, &err), &err);
    assert_int_equal(r.tokens_permuted, !c->keep_tokens);
    assert_int_equal(r.num_unknown_init, 0);
}

static amg_train_options training(void)
{
    return (amg_train_options){.batch = 8,
                               .epochs = 12,
                               .max_steps = STEPS,
                               .seed = 9,
                               .label_smoothing = 0.1f,
                               .threads = 2,
                               .optimizer = {.kind = AMG_OPT_ADAMW,
                                             .lr = 3e-3,
                                             .weight_decay = 0.1,
                                             .clip_norm = 0.25,
                                             .schedule = AMG_SCHEDULE_COSINE,
                                             .warmup_steps = 5}};
}

/* Stopped at step 7 and resumed. */
static void train_job(const places *p)
{
    amg_train_options o = training();
    amg_train_result r;
    amg_error err = {0};
    o.max_steps = 7;
    must(amg_job_train(p->job, &o, NULL, &r, &err), &err);
    o.max_steps = STEPS;
    o.resume = true;
    must(amg_job_train(p->job, &o, NULL, &r, &err), &err);
    assert_int_equal(r.steps, STEPS);
}

static void train_alone(const places *p)
{
    amg_train_options o = training();
    amg_train_result r;
    amg_error err = {0};
    const amg_plain_task plain = {.model = p->model,
                                  .train = p->train,
                                  .task_by_data = true,
                                  .out_onnx = p->alone};
    must(amg_plain_train(&plain, &o, NULL, &r, &err), &err);
    assert_int_equal(r.steps, STEPS);
}

/* Name of the first trainable that differs; NULL: all bits are equal. */
static const char *first_difference(const amg_graph *a, const amg_graph *b)
{
    for (int v = 0; v < a->num_values; v++) {
        const amg_value *x = &a->values[v];
        if (x->kind != AMG_VALUE_PARAM || x->dtype != AMG_F32) continue;
        int w = amg_graph_find_value(b, x->name);
        if (w < 0 || x->data.size_bytes != b->values[w].data.size_bytes ||
            memcmp(x->data.data, b->values[w].data.data, x->data.size_bytes) != 0)
            return x->name;
    }
    return NULL;
}

static void check_exact(text_case c)
{
    places p;
    amg_extract_result r;
    amg_error err = {0};
    open_places(&p, &c);
    obfuscate(&p, &c);
    train_job(&p);
    train_alone(&p);
    const amg_extract_options o = {
        .key = p.key, .weights = p.weights, .out_onnx = p.mine};
    must(amg_extract(&o, &r, &err), &err);
    amg_graph *before = read_model(p.model), *mine = read_model(p.mine);
    amg_graph *alone = read_model(p.alone);
    assert_non_null(first_difference(before, mine));
    const char *name = first_difference(alone, mine);
    if (name) fail_msg("%s: %s differs from training alone", c.model, name);
    amg_graph_free(before);
    amg_graph_free(mine);
    amg_graph_free(alone);
    amg_dir_remove(p.dir);
}

static void check_with_decoys(const char *model)
{
    for (int k = 1; k <= 3; k += 2)
        check_exact((text_case){.model = model, .num_decoys = k});
}

static void an_untied_language_model_is_exact(void **state)
{
    (void)state;
    check_with_decoys("transformer_lm");
}

static void a_tied_language_model_is_exact(void **state)
{
    (void)state;
    check_with_decoys("gpt");
}

static void an_embedding_bag_is_exact(void **state)
{
    (void)state;
    check_with_decoys("embedding_bag");
}

static void an_embedding_bag_without_padding_is_exact(void **state)
{
    (void)state;
    for (int k = 1; k <= 3; k += 2)
        check_exact(
            (text_case){.model = "embedding_bag", .no_pad = true, .num_decoys = k});
}

static void positions_of_a_longer_text_are_exact(void **state)
{
    (void)state;
    check_with_decoys("user_gpt");
}

static void a_classifier_that_masks_its_padding_is_exact(void **state)
{
    (void)state;
    check_with_decoys("user_classifier");
}

static void a_convolutional_classifier_is_exact(void **state)
{
    (void)state;
    check_with_decoys("text_cnn");
}

static void a_recurrent_classifier_is_exact(void **state)
{
    (void)state;
    check_with_decoys("lstm");
}

static void tokens_that_keep_their_numbers_are_exact(void **state)
{
    (void)state;
    check_exact((text_case){.model = "gpt", .num_decoys = 1, .keep_tokens = true});
}

static void noise_of_any_kind_and_amount_is_exact(void **state)
{
    (void)state;
    const text_case cases[] = {
        {.model = "transformer_lm", .amount = .25, .noise = AMG_NOISE_UNIFORM},
        {.model = "gpt", .amount = .5, .noise = AMG_NOISE_BIGRAM},
        {.model = "embedding_bag", .amount = 1, .noise = AMG_NOISE_UNIGRAM}};
    for (int i = 0; i < 3; i++)
        for (int k = 1; k <= 2; k++) {
            text_case c = cases[i];
            c.num_decoys = k;
            check_exact(c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_untied_language_model_is_exact),
        cmocka_unit_test(a_tied_language_model_is_exact),
        cmocka_unit_test(an_embedding_bag_is_exact),
        cmocka_unit_test(an_embedding_bag_without_padding_is_exact),
        cmocka_unit_test(positions_of_a_longer_text_are_exact),
        cmocka_unit_test(a_classifier_that_masks_its_padding_is_exact),
        cmocka_unit_test(a_convolutional_classifier_is_exact),
        cmocka_unit_test(a_recurrent_classifier_is_exact),
        cmocka_unit_test(tokens_that_keep_their_numbers_are_exact),
        cmocka_unit_test(noise_of_any_kind_and_amount_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
