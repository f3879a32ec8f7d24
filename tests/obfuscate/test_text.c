/* Text jobs: tokens are renumbered for each slot and tables with them, a language
 * model's heads are told what to predict, nothing of the vocabulary is in the job, and
 * data that do not fit are refused in words that say why. */
#include <math.h>

#include "base/alloc.h"
#include "engine/source.h"
#include "graph/builder.h"
#include "obfuscate/samples.h"
#include "text_fixture.h"

enum { VOCAB = 30, SEQ = 6, OWN = 40, VAL = 10, POOL = 200, PAD = 4 };

static const text_source windows = {
    .seed = 1, .length = SEQ + 1, .vocab = VOCAB, .pad = PAD};
static const text_source documents = {
    .seed = 1, .length = SEQ, .vocab = VOCAB, .pad = PAD, .classes = 3};

static void write_named(const char *path, const char *name)
{
    const bool lm = amg_zoo_is_language_model(name);
    write_zoo(path, (amg_zoo_options){.name = name,
                                      .vocab = VOCAB,
                                      .seq = SEQ,
                                      .num_classes = lm ? 0 : 3,
                                      .width_model = 8,
                                      .layers = lm ? 1 : 0,
                                      .heads = lm ? 2 : 0,
                                      .dropout = 0,
                                      .pad = lm ? -1 : PAD,
                                      .seed = 3});
}

/* ---- what the owner sees ---- */

typedef struct {
    amg_manifest manifest;
    amg_secret *secret;
    amg_key_payload payload;
    amg_obf_plan plan;
    amg_graph *job, *model;
    int head;
} own_view;

static void open_view(own_view *v, const text_bench *b)
{
    uint8_t *bytes = NULL;
    size_t size;
    bool loose;
    char path[600];
    amg_error err = {0};
    *v = (own_view){.head = -1};
    snprintf(path, sizeof path, "%s/job.json", b->job);
    if (amg_manifest_read(path, &v->manifest, &err) ||
        amg_manifest_check_files(&v->manifest, b->job, true, &err) ||
        amg_keyfile_open(b->key, NULL, &v->secret, &bytes, &size, &loose, &err) ||
        amg_key_payload_parse(bytes, size, &v->payload, &err) ||
        amg_obf_plan_derive(v->secret, &v->payload.shape, &v->plan, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_payload_free(bytes);
    snprintf(path, sizeof path, "%s/model.onnx", b->job);
    if (amg_graph_read_onnx(path, &v->job, &err) ||
        amg_graph_read_onnx(b->model, &v->model, &err))
        fail_msg("%s: %s", err.where, err.what);
    for (int i = 0; i < v->manifest.num_heads; i++)
        if (!strcmp(v->manifest.heads[i].output, v->payload.names.output)) v->head = i;
    assert_in_range(v->head, 0, v->manifest.num_heads - 1);
}

static void close_view(own_view *v)
{
    amg_manifest_clear(&v->manifest);
    amg_key_payload_clear(&v->payload);
    amg_obf_plan_clear(&v->plan);
    amg_secret_free(v->secret);
    amg_graph_free(v->job);
    amg_graph_free(v->model);
}

static amg_status obfuscate(text_bench *b, amg_obfuscate_result *r)
{
    b->err = (amg_error){0};
    return amg_obfuscate(&b->options, NULL, r, &b->err);
}

static amg_obfuscate_result must_obfuscate(text_bench *b)
{
    amg_obfuscate_result r = {0};
    if (obfuscate(b, &r)) fail_msg("%s: %s", b->err.where, b->err.what);
    return r;
}

/* A token of the job as the slot's own. */
static int32_t true_token(const own_view *v, int slot, int32_t token)
{
    const int32_t *map = v->plan.subnets[slot].token_map;
    if (!map) return token;
    for (int32_t t = 0; t < VOCAB; t++)
        if (map[t] == token) return t;
    fail_msg("token %d is nobody's", token);
    return -1;
}

/* Each sample of the original's stream is the data's own; of decoys' each is one of the
 * pool's. */
static void assert_shows(const own_view *v, const text_bench *b, const amg_split *split,
                         const text_source *data)
{
    amg_source s = {0};
    amg_error err = {0};
    if (amg_source_open_job(b->job, &v->manifest, split, &s, &err))
        fail_msg("%s: %s", err.where, err.what);
    const int64_t n = data->length;
    assert_int_equal(s.dtype, AMG_I32);
    assert_int_equal(s.sample_bytes, (size_t)v->plan.num_positions * 4);
    int32_t *x = malloc(s.sample_bytes), y[2], own[SEQ + 1], want[SEQ + 1];
    for (int64_t i = 0; i < s.num_samples; i++) {
        assert_int_equal(s.read(&s, i, x, y, NULL), AMG_OK);
        for (int slot = 0; slot < v->plan.num_subnets; slot++) {
            bool found = false;
            for (int64_t j = 0; j < n; j++)
                own[j] = true_token(v, slot, x[v->plan.subnets[slot].select[j]]);
            if (slot == v->plan.original) {
                text_sample(data, i, want);
                assert_memory_equal(own, want, (size_t)n * 4);
                continue;
            }
            for (int64_t p = 0; p < POOL && !found; p++) {
                text_sample(&b->sources[2], p, want);
                found = !memcmp(own, want, (size_t)n * 4);
            }
            assert_true(found);
        }
    }
    free(x);
    amg_source_close(&s);
}

static const amg_tensor *tensor(const amg_graph *g, const char *name)
{
    const int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no \"%s\"", name);
    return &g->values[v].data;
}

/* The original's parameter in the job has row t of its own in row map[t]; map NULL:
 * where it was. */
static void assert_rows(const own_view *v, const char *own_name, const int32_t *map)
{
    const char *job_name = NULL;
    for (int i = 0; i < v->payload.names.count; i++)
        if (!strcmp(v->payload.names.own[i], own_name))
            job_name = v->payload.names.job[i];
    assert_non_null(job_name);
    const amg_tensor *own = tensor(v->model, own_name), *job = tensor(v->job, job_name);
    assert_true(amg_tensor_same_shape(own, job));
    const size_t row = own->size_bytes / (size_t)own->dims[0];
    for (int64_t t = 0; t < own->dims[0]; t++)
        assert_memory_equal((const char *)job->data + (size_t)(map ? map[t] : t) * row,
                            (const char *)own->data + (size_t)t * row, row);
}

/* From a value back to the Gather of its select. */
static const amg_tensor *select_of(const amg_graph *g, const char *value)
{
    int v = amg_graph_find_value(g, value);
    for (;;) {
        assert_true(v >= 0 && g->values[v].kind == AMG_VALUE_ACTIVATION);
        const amg_node *n = &g->nodes[g->values[v].producer];
        if (n->op == AMG_OP_GATHER) return &g->values[n->inputs[1]].data;
        v = n->inputs[0];
    }
}

/* ---- language models ---- */

static void assert_language_model(text_bench *b)
{
    own_view v;
    open_view(&v, b);
    assert_int_equal(v.manifest.task, AMG_TASK_LANGUAGE_MODEL);
    assert_int_equal(v.manifest.target_dtype, AMG_DTYPE_NONE);
    assert_null(v.manifest.train.shards[0].y);
    assert_true(v.payload.preprocess.windows);
    assert_int_equal(v.payload.shape.vocab, VOCAB);
    assert_true(v.payload.shape.tokens_are_classes);
    for (int h = 0; h < 2; h++) {
        const amg_head *head = &v.manifest.heads[h];
        assert_int_equal(head->num_classes, VOCAB);
        assert_int_equal(head->loss, AMG_LOSS_CROSS_ENTROPY);
        assert_true(head->has_ignore); /* the same number in all slots */
        assert_int_equal(head->ignore_index, PAD);
        assert_int_equal(v.plan.subnets[h].token_map[PAD], PAD);
        const amg_value *target =
            &v.job->values[amg_graph_find_value(v.job, head->target)];
        assert_int_equal(target->dtype, AMG_I64);
        assert_int_equal(target->rank, 2);
        assert_int_equal(target->dims[1], SEQ);
        const amg_tensor *index = select_of(v.job, head->target);
        assert_int_equal(amg_tensor_count(index), SEQ + 1);
        for (int i = 0; i <= SEQ; i++)
            assert_int_equal(((const int64_t *)index->data)[i],
                             v.plan.subnets[h].select[i]);
    }
    int *owner = calloc((size_t)v.job->num_nodes, sizeof *owner);
    amg_error err = {0};
    if (amg_graph_subnetworks(v.job, owner, &err))
        fail_msg("%s: %s", err.where, err.what);
    free(owner);
    assert_shows(&v, b, &v.manifest.train, &b->sources[0]);
    assert_shows(&v, b, &v.manifest.val, &b->sources[1]);
    close_view(&v);
}

static void an_untied_language_model(void **state)
{
    text_bench b;
    own_view v;
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "transformer_lm");
    const amg_obfuscate_result r = must_obfuscate(&b);
    assert_int_equal(r.task, AMG_TASK_LANGUAGE_MODEL);
    assert_true(r.tokens_permuted && r.labels_permuted && !r.tokens_kept);
    assert_int_equal(r.num_unknown_init, 0);
    assert_language_model(&b);
    open_view(&v, &b);
    const int32_t *map = v.plan.subnets[v.plan.original].token_map;
    assert_rows(&v, "input_emb.weight", map);
    assert_rows(&v, "decoder.weight", map);
    assert_rows(&v, "decoder.bias", map);
    assert_rows(&v, "encoder.layers.0.linear1.weight", NULL);
    close_view(&v);
    close_text_bench(&b);
}

static void a_tied_language_model_moves_its_table_once(void **state)
{
    text_bench b;
    own_view v;
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "gpt");
    must_obfuscate(&b);
    assert_language_model(&b);
    open_view(&v, &b);
    assert_rows(&v, "transformer.wte.weight",
                v.plan.subnets[v.plan.original].token_map);
    assert_rows(&v, "transformer.wpe.weight", NULL);
    close_view(&v);
    close_text_bench(&b);
}

static void tokens_are_kept_on_request(void **state)
{
    for (int both = 0; both < 2; both++) {
        text_bench b;
        own_view v;
        open_text_bench(&b, *state, windows, OWN, VAL, POOL);
        write_named(b.model, "gpt");
        b.options.keep_classes = both; /* of a language model the same thing */
        b.options.keep_tokens = !both;
        const amg_obfuscate_result r = must_obfuscate(&b);
        assert_false(r.tokens_permuted || r.labels_permuted);
        assert_non_null(strstr(r.tokens_kept, "options"));
        open_view(&v, &b);
        assert_int_equal(v.payload.shape.vocab, 0);
        assert_null(v.plan.subnets[0].token_map);
        assert_shows(&v, &b, &v.manifest.train, &b.sources[0]);
        assert_rows(&v, "transformer.wte.weight", NULL);
        close_view(&v);
        close_text_bench(&b);
        amg_dir_remove(b.job);
        assert_int_equal(remove(b.key), 0);
    }
}

static void equal_rows_keep_the_tokens(void **state)
{
    text_bench b;
    amg_graph *g = NULL;
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "transformer_lm");
    assert_int_equal(amg_graph_read_onnx(b.model, &g, NULL), AMG_OK);
    const amg_tensor *t = tensor(g, "input_emb.weight");
    memset(t->data, 0, 2 * t->size_bytes / VOCAB); /* two tokens without a meaning */
    write_graph(b.model, g);
    amg_graph_free(g);
    const amg_obfuscate_result r = must_obfuscate(&b);
    assert_false(r.tokens_permuted || r.labels_permuted);
    assert_non_null(strstr(r.tokens_kept, "equal"));
    close_text_bench(&b);
}

/* ---- classifiers ---- */

static void a_classifier_has_both_permutations(void **state)
{
    static const char *const models[] = {"embedding_bag", "text_cnn", "lstm"};
    for (int m = 0; m < 3; m++) {
        text_bench b;
        own_view v;
        open_text_bench(&b, *state, documents, OWN, VAL, POOL);
        write_named(b.model, models[m]);
        b.options.decoys.arch = AMG_DECOY_WALK;
        const amg_obfuscate_result r = must_obfuscate(&b);
        assert_int_equal(r.task, AMG_TASK_CLASSIFICATION);
        assert_true(r.tokens_permuted && r.labels_permuted);
        assert_false(r.same_arch);
        assert_int_equal(r.num_unknown_init, 0);
        open_view(&v, &b);
        assert_false(v.payload.shape.tokens_are_classes);
        assert_int_equal(v.payload.shape.num_fixed, 1);
        assert_int_equal(v.payload.shape.fixed[0], PAD);
        const amg_subnet_plan *own = &v.plan.subnets[v.plan.original];
        assert_rows(&v, "embedding.weight", own->token_map);
        assert_rows(&v, "fc.weight", own->label_map);
        assert_shows(&v, &b, &v.manifest.train, &b.sources[0]);
        close_view(&v);
        close_text_bench(&b);
        amg_dir_remove(b.job);
        assert_int_equal(remove(b.key), 0);
    }
}

/* ---- paper mode ---- */

static void paper_mode_inserts_tokens(void **state)
{
    const amg_noise noises[] = {AMG_NOISE_UNIFORM, AMG_NOISE_UNIGRAM, AMG_NOISE_BIGRAM};
    for (int n = 0; n < 3; n++) {
        text_bench b;
        own_view v;
        open_text_bench(&b, *state, windows, OWN, VAL, POOL);
        write_named(b.model, "gpt");
        b.options.mode = AMG_MODE_PAPER;
        b.options.noise = noises[n];
        b.options.amount = 0.5;
        b.options.cover_set = NULL;
        must_obfuscate(&b);
        open_view(&v, &b);
        assert_int_equal(v.plan.num_positions, SEQ + 1 + 4); /* 7 + round(3.5) */
        amg_source s = {0};
        assert_int_equal(
            amg_source_open_job(b.job, &v.manifest, &v.manifest.train, &s, NULL),
            AMG_OK);
        const uint32_t *select = v.plan.subnets[v.plan.original].select;
        for (int64_t i = 0; i < OWN; i++) {
            int32_t x[SEQ + 5], want[SEQ + 1];
            assert_int_equal(s.read(&s, i, x, NULL, NULL), AMG_OK);
            text_sample(&b.sources[0], i, want);
            for (int j = 0; j <= SEQ; j++)
                assert_int_equal(true_token(&v, v.plan.original, x[select[j]]),
                                 want[j]);
            for (int j = 0; j < SEQ + 5; j++) assert_in_range(x[j], 0, VOCAB - 1);
        }
        amg_source_close(&s);
        close_view(&v);
        close_text_bench(&b);
        amg_dir_remove(b.job);
        assert_int_equal(remove(b.key), 0);
    }
}

/* ---- what does not fit ---- */

static void assert_refused(text_bench *b, amg_status code, const char *where,
                           const char *words)
{
    amg_obfuscate_result r;
    assert_int_equal(obfuscate(b, &r), code);
    if (!strstr(b->err.what, words) || strcmp(b->err.where, where))
        fail_msg("%s: %s", b->err.where, b->err.what);
    assert_false(amg_path_exists(b->job));
    assert_false(amg_path_exists(b->key));
}

static void vocabularies_must_agree(void **state)
{
    text_bench b;
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "gpt");
    b.sources[1].vocab = VOCAB - 1;
    open_text_sets(&b, OWN, VAL, POOL);
    assert_refused(&b, AMG_MISMATCH, "validation text",
                   "has a vocabulary of 29 tokens, training text one of 30");
    b.sources[1] = b.sources[0];
    b.sources[2].pad = 0;
    open_text_sets(&b, OWN, VAL, POOL);
    assert_refused(&b, AMG_MISMATCH, "other text",
                   "is padded with token 0, training text with 4");
    for (int i = 0; i < TEXT_SETS; i++) b.sources[i] = windows;
    for (int i = 0; i < TEXT_SETS; i++) b.sources[i].vocab = VOCAB + 1;
    open_text_sets(&b, OWN, VAL, POOL);
    assert_refused(&b, AMG_MISMATCH, "training text", "has a vocabulary of 31 tokens");
    close_text_bench(&b);
}

static void tokens_out_of_range_name_their_sample(void **state)
{
    text_bench b;
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "gpt");
    for (int keep = 0; keep < 2; keep++) {
        b.options.keep_tokens = keep;
        b.sources[0].bad_row = 17;
        assert_refused(&b, AMG_MISMATCH, "training text",
                       "sample 17 has token 30, expected one of a vocabulary of 30");
        b.sources[0].bad_row = 0;
        b.sources[1].bad_row = 3;
        assert_refused(&b, AMG_MISMATCH, "validation text", "sample 3 has token 30");
        b.sources[1].bad_row = 0;
    }
    b.options.mode = AMG_MODE_PAPER;
    b.options.noise = AMG_NOISE_BIGRAM;
    b.options.cover_set = NULL;
    b.options.amount = 0.5;
    b.sources[0].bad_row = 17;
    assert_refused(&b, AMG_MISMATCH, "training text", "sample 17 has token 30");
    close_text_bench(&b);
}

static void a_language_model_needs_windows(void **state)
{
    text_bench b;
    open_text_bench(&b, *state, documents, OWN, VAL, POOL);
    write_named(b.model, "gpt");
    b.options.task_by_data = false;
    b.options.task = AMG_TASK_LANGUAGE_MODEL;
    assert_refused(&b, AMG_MISMATCH, "training text", "learns from I32[7]");
    assert_non_null(strstr(b.err.hint, "classify"));
    write_named(b.model, "embedding_bag");
    assert_refused(&b, AMG_MISMATCH, b.model, "a language model takes I64[L]");
    close_text_bench(&b);
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "embedding_bag");
    b.options.task_by_data = false;
    b.options.task = AMG_TASK_CLASSIFICATION;
    assert_refused(&b, AMG_MISMATCH, "training text", "samples are I32[7]");
    close_text_bench(&b);
}

/* ---- secrets ---- */

static bool file_holds(const char *dir, const char *name, const char *text)
{
    char path[1200];
    amg_map map;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(amg_map_open(path, &map, NULL), AMG_OK);
    const bool found = map.size && memmem(map.data, map.size, text, strlen(text));
    amg_map_close(&map);
    return found;
}

static void no_vocabulary_is_in_the_job(void **state)
{
    static const char *const secrets[] = {TEXT_VOCABULARY, "vocabulary", "<pad>",
                                          "training text", "other text", "wte",
                                          "token_map"};
    text_bench b;
    own_view v;
    open_text_bench(&b, *state, windows, OWN, VAL, POOL);
    write_named(b.model, "gpt");
    must_obfuscate(&b);
    open_view(&v, &b);
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        assert_false(file_holds(b.job, "job.json", secrets[i]));
        assert_false(file_holds(b.job, "model.onnx", secrets[i]));
        assert_false(file_holds(b.job, "weights.safetensors", secrets[i]));
    }
    close_view(&v);
    close_text_bench(&b);
}

/* Two keys give the same text other numbers; one key the same bytes. */
static void tokens_follow_the_key(void **state)
{
    char hash[3][65], path[600];
    for (int i = 0; i < 3; i++) {
        text_bench b;
        int64_t size;
        open_text_bench(&b, *state, windows, OWN, VAL, POOL);
        write_named(b.model, "transformer_lm");
        if (i == 2)
            b.options.seed_hex = "00000000000000000000000000000000"
                                 "00000000000000000000000000000008";
        must_obfuscate(&b);
        snprintf(path, sizeof path, "%s/data/train-x-00000.npy", b.job);
        assert_int_equal(amg_file_sha256(path, hash[i], &size, NULL), AMG_OK);
        close_text_bench(&b);
        amg_dir_remove(b.job);
        assert_int_equal(remove(b.key), 0);
    }
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[0], hash[2]);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(an_untied_language_model),
        IN_FOLDER(a_tied_language_model_moves_its_table_once),
        IN_FOLDER(tokens_are_kept_on_request),
        IN_FOLDER(equal_rows_keep_the_tokens),
        IN_FOLDER(a_classifier_has_both_permutations),
        IN_FOLDER(paper_mode_inserts_tokens),
        IN_FOLDER(vocabularies_must_agree),
        IN_FOLDER(tokens_out_of_range_name_their_sample),
        IN_FOLDER(a_language_model_needs_windows),
        IN_FOLDER(no_vocabulary_is_in_the_job),
        IN_FOLDER(tokens_follow_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
