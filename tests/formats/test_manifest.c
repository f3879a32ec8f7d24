/* job.json: canonical bytes, every refusal with its code and offset, path rules, file
 * checks, failing allocations. Malformed documents are one edit away from a good one.
 * Long because of its tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/manifest.h"

#define HASH_A "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define HASH_B "0000000000000000000000000000000000000000000000000000000000000000"

/* The canonical bytes, written by hand from docs/job.md. HASH_A is sha256("abc"), the
 * example of FIPS 180-2. */
static const char good[] = "{\n"
                           "  \"version\": 1,\n"
                           "  \"task\": \"classification\",\n"
                           "  \"input\": {\n"
                           "    \"name\": \"x\",\n"
                           "    \"dtype\": \"U8\",\n"
                           "    \"dims\": [\n"
                           "      3,\n"
                           "      64,\n"
                           "      65\n"
                           "    ]\n"
                           "  },\n"
                           "  \"target\": {\n"
                           "    \"dtype\": \"I32\",\n"
                           "    \"dims\": []\n"
                           "  },\n"
                           "  \"heads\": [\n"
                           "    {\n"
                           "      \"output\": \"q1\",\n"
                           "      \"label_column\": 1,\n"
                           "      \"num_classes\": 10,\n"
                           "      \"loss\": \"cross_entropy\"\n"
                           "    },\n"
                           "    {\n"
                           "      \"output\": \"q\xc3\xa9\",\n"
                           "      \"label_column\": 0,\n"
                           "      \"num_classes\": 11,\n"
                           "      \"loss\": \"cross_entropy\"\n"
                           "    }\n"
                           "  ],\n"
                           "  \"train\": {\n"
                           "    \"num_samples\": 150,\n"
                           "    \"shards\": [\n"
                           "      {\n"
                           "        \"x\": \"data/0.npy\",\n"
                           "        \"y\": \"data/1.npy\",\n"
                           "        \"rows\": 100\n"
                           "      },\n"
                           "      {\n"
                           "        \"x\": \"data/2.npy\",\n"
                           "        \"y\": \"data/3.npy\",\n"
                           "        \"rows\": 50\n"
                           "      }\n"
                           "    ]\n"
                           "  },\n"
                           "  \"val\": {\n"
                           "    \"num_samples\": 0,\n"
                           "    \"shards\": []\n"
                           "  },\n"
                           "  \"files\": [\n"
                           "    {\n"
                           "      \"path\": \"data/0.npy\",\n"
                           "      \"size_bytes\": 3,\n"
                           "      \"sha256\": \"" HASH_A "\"\n"
                           "    },\n"
                           "    {\n"
                           "      \"path\": \"model.onnx\",\n"
                           "      \"size_bytes\": 0,\n"
                           "      \"sha256\": \"" HASH_B "\"\n"
                           "    }\n"
                           "  ]\n"
                           "}\n";

/* The other tasks, likewise. */
static const char regression[] = "{\n"
                                 "  \"version\": 1,\n"
                                 "  \"task\": \"regression\",\n"
                                 "  \"input\": {\n"
                                 "    \"name\": \"x\",\n"
                                 "    \"dtype\": \"F32\",\n"
                                 "    \"dims\": [\n"
                                 "      13\n"
                                 "    ]\n"
                                 "  },\n"
                                 "  \"target\": {\n"
                                 "    \"dtype\": \"F32\",\n"
                                 "    \"dims\": [\n"
                                 "      2,\n"
                                 "      3\n"
                                 "    ]\n"
                                 "  },\n"
                                 "  \"heads\": [\n"
                                 "    {\n"
                                 "      \"output\": \"h0\",\n"
                                 "      \"label_column\": 0,\n"
                                 "      \"loss\": \"mse\"\n"
                                 "    }\n"
                                 "  ],\n"
                                 "  \"train\": {\n"
                                 "    \"num_samples\": 1,\n"
                                 "    \"shards\": [\n"
                                 "      {\n"
                                 "        \"x\": \"data/0.npy\",\n"
                                 "        \"y\": \"data/1.npy\",\n"
                                 "        \"rows\": 1\n"
                                 "      }\n"
                                 "    ]\n"
                                 "  },\n"
                                 "  \"val\": {\n"
                                 "    \"num_samples\": 0,\n"
                                 "    \"shards\": []\n"
                                 "  },\n"
                                 "  \"files\": []\n"
                                 "}\n";
static const char reconstruction[] = "{\n"
                                     "  \"version\": 1,\n"
                                     "  \"task\": \"reconstruction\",\n"
                                     "  \"input\": {\n"
                                     "    \"name\": \"x\",\n"
                                     "    \"dtype\": \"U8\",\n"
                                     "    \"dims\": [\n"
                                     "      4\n"
                                     "    ]\n"
                                     "  },\n"
                                     "  \"heads\": [\n"
                                     "    {\n"
                                     "      \"output\": \"h0\",\n"
                                     "      \"target\": \"v3\",\n"
                                     "      \"loss\": \"mse\"\n"
                                     "    },\n"
                                     "    {\n"
                                     "      \"output\": \"h1\",\n"
                                     "      \"target\": \"v7\",\n"
                                     "      \"loss\": \"mse\"\n"
                                     "    }\n"
                                     "  ],\n"
                                     "  \"train\": {\n"
                                     "    \"num_samples\": 1,\n"
                                     "    \"shards\": [\n"
                                     "      {\n"
                                     "        \"x\": \"data/0.npy\",\n"
                                     "        \"rows\": 1\n"
                                     "      }\n"
                                     "    ]\n"
                                     "  },\n"
                                     "  \"val\": {\n"
                                     "    \"num_samples\": 0,\n"
                                     "    \"shards\": []\n"
                                     "  },\n"
                                     "  \"files\": []\n"
                                     "}\n";
static const char language_model[] = "{\n"
                                     "  \"version\": 1,\n"
                                     "  \"task\": \"language_model\",\n"
                                     "  \"input\": {\n"
                                     "    \"name\": \"x\",\n"
                                     "    \"dtype\": \"I32\",\n"
                                     "    \"dims\": [\n"
                                     "      1,\n"
                                     "      72,\n"
                                     "      1\n"
                                     "    ]\n"
                                     "  },\n"
                                     "  \"heads\": [\n"
                                     "    {\n"
                                     "      \"output\": \"h0\",\n"
                                     "      \"target\": \"v3\",\n"
                                     "      \"num_classes\": 33278,\n"
                                     "      \"ignore_index\": 1,\n"
                                     "      \"loss\": \"cross_entropy\"\n"
                                     "    },\n"
                                     "    {\n"
                                     "      \"output\": \"h1\",\n"
                                     "      \"target\": \"v7\",\n"
                                     "      \"num_classes\": 33278,\n"
                                     "      \"loss\": \"cross_entropy\"\n"
                                     "    }\n"
                                     "  ],\n"
                                     "  \"train\": {\n"
                                     "    \"num_samples\": 1,\n"
                                     "    \"shards\": [\n"
                                     "      {\n"
                                     "        \"x\": \"data/0.npy\",\n"
                                     "        \"rows\": 1\n"
                                     "      }\n"
                                     "    ]\n"
                                     "  },\n"
                                     "  \"val\": {\n"
                                     "    \"num_samples\": 0,\n"
                                     "    \"shards\": []\n"
                                     "  },\n"
                                     "  \"files\": []\n"
                                     "}\n";

static char dir[256];

static int make_dir(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/amg-job-XXXXXX", base ? base : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    amg_dir_remove(dir);
    return 0;
}

static const char *in_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* A document with the n-th (from 0) occurrence of from replaced by to, where an '@'
 * marks the expected offset and is taken out. Owned by the caller. */
static char *edited_of(const char *document, const char *from, int nth, const char *to,
                       int64_t *marked)
{
    const char *at = strstr(document, from);
    for (int i = 0; at && i < nth; i++) at = strstr(at + 1, from);
    assert_non_null(at);
    size_t size = strlen(document) + strlen(to) + 1;
    char *text = malloc(size);
    assert_non_null(text);
    snprintf(text, size, "%.*s%s%s", (int)(at - document), document, to,
             at + strlen(from));
    char *mark = strchr(text, '@');
    if (mark) {
        *marked = mark - text;
        memmove(mark, mark + 1, strlen(mark));
    }
    return text;
}

static char *edited(const char *from, int nth, const char *to, int64_t *marked)
{
    return edited_of(good, from, nth, to, marked);
}

static void expect_refusal(const char *text, size_t size, amg_status code,
                           int64_t offset, const char *label)
{
    char *exact = malloc(size ? size : 1); /* so that ASan sees any overrun */
    assert_non_null(exact);
    memcpy(exact, text, size);
    amg_error err = {0};
    amg_manifest m = {0};
    amg_status got = amg_manifest_parse(exact, size, "job.json", &m, &err);
    if (got != code || err.code != code || err.offset != offset)
        fail_msg("%s: found %s at %lld (%s), expected %s at %lld", label,
                 amg_status_name(got), (long long)err.offset, err.what,
                 amg_status_name(code), (long long)offset);
    assert_null(m.heads);
    free(exact);
}

static void reads_every_field(void **state)
{
    (void)state;
    amg_manifest m;
    assert_int_equal(amg_manifest_parse(good, sizeof good - 1, "job.json", &m, NULL),
                     0);
    assert_int_equal(m.version, 1);
    assert_int_equal(m.task, AMG_TASK_CLASSIFICATION);
    assert_string_equal(m.input_name, "x");
    assert_int_equal(m.input_dtype, AMG_U8);
    assert_int_equal(m.input_rank, 3);
    assert_int_equal(m.input_dims[0], 3);
    assert_int_equal(m.input_dims[1], 64);
    assert_int_equal(m.input_dims[2], 65);
    assert_int_equal(m.target_dtype, AMG_I32);
    assert_int_equal(m.target_rank, 0);
    assert_int_equal(m.num_heads, 2);
    assert_string_equal(m.heads[0].output, "q1");
    assert_int_equal(m.heads[0].label_column, 1);
    assert_int_equal(m.heads[0].num_classes, 10);
    assert_int_equal(m.heads[0].loss, AMG_LOSS_CROSS_ENTROPY);
    assert_null(m.heads[0].target);
    assert_string_equal(m.heads[1].output, "q\xc3\xa9");
    assert_int_equal(m.heads[1].label_column, 0);
    assert_int_equal(m.heads[1].num_classes, 11);
    assert_int_equal(m.train.num_samples, 150);
    assert_int_equal(m.train.num_shards, 2);
    assert_string_equal(m.train.shards[1].x, "data/2.npy");
    assert_string_equal(m.train.shards[1].y, "data/3.npy");
    assert_int_equal(m.train.shards[1].rows, 50);
    assert_int_equal(m.val.num_samples, 0);
    assert_int_equal(m.val.num_shards, 0);
    assert_int_equal(m.num_files, 2);
    assert_string_equal(m.files[0].path, "data/0.npy");
    assert_int_equal(m.files[0].size_bytes, 3);
    assert_string_equal(m.files[0].sha256, HASH_A);
    amg_manifest_clear(&m);
    assert_null(m.heads);
}

static amg_manifest must_parse(const char *text)
{
    amg_manifest m = {0};
    amg_error err = {0};
    if (amg_manifest_parse(text, strlen(text), "job.json", &m, &err))
        fail_msg("%s", err.what);
    return m;
}

/* Edits of a document's first `from` are refused at the '@'. */
static void refuse_edits(const char *document, const char *from, const char *const *to)
{
    for (; *to; to++) {
        int64_t offset = -1;
        char *text = edited_of(document, from, 0, *to, &offset);
        expect_refusal(text, strlen(text), AMG_MALFORMED, offset, *to);
        free(text);
    }
}

/* The writer's bytes are read as the same numbers. */
static amg_manifest write_and_read(const amg_manifest *m)
{
    amg_manifest again = {0};
    const char *path = in_dir("again.json");
    assert_int_equal(amg_manifest_write(path, m, NULL), AMG_OK);
    assert_int_equal(amg_manifest_read(path, &again, NULL), AMG_OK);
    return again;
}

static void classes_may_have_weights(void **state)
{
#define NINE "1, 2, 0.1, 0, 1e-3, 1, 1, 1, 1"
    (void)state;
    int64_t offset = -1;
    char *text = edited("\"loss\": \"cross_entropy\"", 0,
                        "\"loss\": \"cross_entropy\", \"class_weights\": [" NINE ", 3]",
                        &offset);
    amg_manifest m = must_parse(text), again = write_and_read(&m);
    free(text);
    assert_true(again.heads[0].class_weights[2] == 0.1f);
    assert_true(again.heads[0].class_weights[9] == 3);
    assert_null(again.heads[1].class_weights);
    amg_manifest_clear(&again);
    amg_manifest_clear(&m);
    refuse_edits(good, "\"loss\": \"cross_entropy\"",
                 (const char *const[]){
                     "\"loss\": \"cross_entropy\", \"class_weights\": @[" NINE "]",
                     "\"loss\": \"cross_entropy\", \"class_weights\": [" NINE ", @-1]",
                     "\"loss\": \"cross_entropy\", \"class_weights\": [" NINE
                     ", @\"1\"]",
                     "\"loss\": \"cross_entropy\", \"class_weights\": "
                     "@[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
                     "\"loss\": \"cross_entropy\", \"delta\": @1", NULL});
#undef NINE
}

static void numbers_have_a_choice_of_losses(void **state)
{
    (void)state;
    int64_t offset = -1;
    char *text = edited_of(regression, "\"loss\": \"mse\"", 0,
                           "\"loss\": \"huber\", \"delta\": 0.3", &offset);
    amg_manifest m = must_parse(text), again = write_and_read(&m);
    free(text);
    assert_int_equal(again.heads[0].loss, AMG_LOSS_HUBER);
    assert_true(again.heads[0].delta == 0.3f);
    amg_manifest_clear(&again);
    amg_manifest_clear(&m);
    text = edited_of(regression, "\"mse\"", 0, "\"l1\"", &offset);
    m = must_parse(text);
    free(text);
    assert_int_equal(m.heads[0].loss, AMG_LOSS_L1);
    amg_manifest_clear(&m);
    refuse_edits(regression, "\"loss\": \"mse\"",
                 (const char *const[]){"\"loss\": \"smooth_l1\", \"delta\": @0",
                                       "\"loss\": \"smooth_l1\", \"delta\": @true",
                                       "\"loss\": \"l1\", \"delta\": @1", NULL});
}

static void several_labels_are_numbers_with_a_loss_of_their_own(void **state)
{
    (void)state;
    int64_t offset = -1;
    char *task = edited_of(regression, "regression", 0, "multi_label", &offset);
    char *text = edited_of(task, "\"mse\"", 0, "\"bce\"", &offset);
    amg_manifest m = must_parse(text);
    assert_int_equal(m.task, AMG_TASK_MULTI_LABEL);
    assert_int_equal(m.heads[0].loss, AMG_LOSS_BCE);
    amg_manifest_clear(&m);
    free(text);
    text = edited_of(task, "\"mse\"", 0, "@\"mse\"", &offset);
    expect_refusal(text, strlen(text), AMG_UNSUPPORTED, offset, "mse of labels");
    free(text);
    free(task);
}

/* The regression's six numbers, shared among parts. */
static void several_outputs_have_parts(void **state)
{
#define HEAD "\"loss\": \"sum\", \"parts\": "
#define CLASSES "{\"dims\": [7, 4], \"loss\": \"cross_entropy\", \"weight\": 1}"
#define BOX "{\"dims\": [2], \"loss\": \"huber\", \"delta\": 0.3, \"weight\": 0.5}"
    (void)state;
    int64_t offset = -1;
    char *task = edited_of(regression, "regression", 0, "multi_task", &offset);
    char *row = edited_of(task, "2,\n      3", 0, "6", &offset);
    char *text =
        edited_of(row, "\"loss\": \"mse\"", 0, HEAD "[" CLASSES ", " BOX "]", &offset);
    amg_manifest m = must_parse(text), again = write_and_read(&m);
    assert_int_equal(again.task, AMG_TASK_MULTI_TASK);
    assert_int_equal(again.heads[0].loss, AMG_LOSS_SUM);
    assert_int_equal(again.heads[0].num_parts, 2);
    assert_memory_equal(again.heads[0].parts, m.heads[0].parts,
                        2 * sizeof(amg_loss_part));
    assert_int_equal(again.heads[0].parts[0].rank, 2);
    assert_int_equal(again.heads[0].parts[0].dims[0], 7);
    assert_true(again.heads[0].parts[1].delta == 0.3f);
    assert_true(again.heads[0].parts[1].weight == 0.5f);
    amg_manifest_clear(&again);
    amg_manifest_clear(&m);
    free(text);
#define BIG "2147483647, 2147483647, 2147483647"
    static const struct {
        const char *head; /* '@': the expected offset */
        amg_status code;
    } bad[] = {
        {HEAD "@[]", AMG_MALFORMED},
        {HEAD "@[" CLASSES "]", AMG_MALFORMED}, /* four targets, not six */
        {HEAD "[" CLASSES ", @7]", AMG_MALFORMED},
        {HEAD "[@{\"dims\": [2], \"loss\": \"mse\"}]", AMG_MALFORMED},
        {HEAD "[{\"dims\": [2], \"loss\": \"mse\", \"weight\": @0}]", AMG_MALFORMED},
        {HEAD "[{\"dims\": [2], \"loss\": \"mse\", \"weight\": @\"1\"}]",
         AMG_MALFORMED},
        {HEAD "[{\"dims\": [2], \"loss\": \"mse\", \"weight\": 1, \"delta\": @1}]",
         AMG_MALFORMED},
        {HEAD "[{\"dims\": [2], \"loss\": \"huber\", \"weight\": 1, \"delta\": @0}]",
         AMG_MALFORMED},
        {HEAD "[{\"dims\": [2], \"loss\": @\"sum\", \"weight\": 1}]", AMG_UNSUPPORTED},
        {HEAD "[{\"dims\": [@0], \"loss\": \"mse\", \"weight\": 1}]", AMG_MALFORMED},
        {HEAD "[{\"dims\": @[], \"loss\": \"cross_entropy\", \"weight\": 1}]",
         AMG_MALFORMED},
        {HEAD "@[{\"dims\": [" BIG "], \"loss\": \"mse\", \"weight\": 1}]",
         AMG_OVERFLOW},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text = edited_of(row, "\"loss\": \"mse\"", 0, bad[i].head, &offset);
        expect_refusal(text, strlen(text), bad[i].code, offset, bad[i].head);
        free(text);
    }
    free(row);
    free(task);
#undef HEAD
#undef CLASSES
#undef BOX
#undef BIG
}

/* What does not train stands behind the heads; ascending, so that it is found fast. */
static void frozen_names_ascend(void **state)
{
    static const struct {
        const char *text;
        amg_status code;
    } bad[] = {{"\"frozen\": @[], ", AMG_MALFORMED},
               {"\"frozen\": @\"p1\", ", AMG_MALFORMED},
               {"\"frozen\": [@7], ", AMG_MALFORMED},
               {"\"frozen\": [@\"\"], ", AMG_MALFORMED},
               {"\"frozen\": [\"p1\", @\"p1\"], ", AMG_MALFORMED},
               {"\"frozen\": [\"p2\", @\"p1\"], ", AMG_MALFORMED}};
    (void)state;
    char with[160];
    int64_t offset = -1;
    char *text =
        edited("\"train\"", 0, "\"frozen\": [\"p1\", \"p2\"], \"train\"", &offset);
    amg_manifest m = must_parse(text), again;
    free(text);
    assert_int_equal(m.num_frozen, 2);
    assert_string_equal(m.frozen[1], "p2");
    const char *path = in_dir("frozen.json");
    assert_int_equal(amg_manifest_write(path, &m, NULL), AMG_OK);
    assert_int_equal(amg_manifest_read(path, &again, NULL), AMG_OK);
    assert_int_equal(again.num_frozen, 2);
    assert_string_equal(again.frozen[0], "p1");
    amg_manifest_clear(&again);
    amg_manifest_clear(&m);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(with, sizeof with, "%s\"train\"", bad[i].text);
        text = edited("\"train\"", 0, with, &offset);
        expect_refusal(text, strlen(text), bad[i].code, offset, bad[i].text);
        free(text);
    }
}

static void regression_has_numbers_as_targets(void **state)
{
    (void)state;
    amg_manifest m = must_parse(regression);
    assert_int_equal(m.task, AMG_TASK_REGRESSION);
    assert_int_equal(m.target_dtype, AMG_F32);
    assert_int_equal(m.target_rank, 2);
    assert_int_equal(m.target_dims[0], 2);
    assert_int_equal(m.target_dims[1], 3);
    assert_int_equal(m.heads[0].loss, AMG_LOSS_MSE);
    assert_int_equal(m.heads[0].label_column, 0);
    assert_int_equal(m.heads[0].num_classes, 0);
    assert_null(m.heads[0].target);
    assert_string_equal(m.train.shards[0].y, "data/1.npy");
    amg_manifest_clear(&m);
}

static void reconstruction_names_its_targets_in_the_graph(void **state)
{
    (void)state;
    amg_manifest m = must_parse(reconstruction);
    assert_int_equal(m.task, AMG_TASK_RECONSTRUCTION);
    assert_int_equal(m.target_dtype, AMG_DTYPE_NONE);
    assert_int_equal(m.heads[0].loss, AMG_LOSS_MSE);
    assert_string_equal(m.heads[0].target, "v3");
    assert_string_equal(m.heads[1].target, "v7");
    assert_null(m.train.shards[0].y);
    amg_manifest_clear(&m);
}

static void a_language_model_names_tokens_to_predict_and_padding(void **state)
{
    (void)state;
    amg_manifest m = must_parse(language_model);
    assert_int_equal(m.task, AMG_TASK_LANGUAGE_MODEL);
    assert_int_equal(m.target_dtype, AMG_DTYPE_NONE);
    assert_int_equal(m.heads[0].loss, AMG_LOSS_CROSS_ENTROPY);
    assert_string_equal(m.heads[0].target, "v3");
    assert_int_equal(m.heads[0].num_classes, 33278);
    assert_true(m.heads[0].has_ignore);
    assert_int_equal(m.heads[0].ignore_index, 1);
    assert_string_equal(m.heads[1].target, "v7");
    assert_false(m.heads[1].has_ignore);
    assert_null(m.train.shards[0].y);
    amg_manifest_clear(&m);
}

static void tasks_and_losses_have_names(void **state)
{
    (void)state;
    amg_task task;
    for (int i = 0; i < 4; i++) {
        task = (amg_task)-1;
        assert_true(amg_task_find_name(amg_task_name((amg_task)i), &task));
        assert_int_equal(task, i);
    }
    assert_false(amg_task_find_name("Regression", &task));
    assert_string_equal(amg_loss_name(amg_task_loss(AMG_TASK_CLASSIFICATION)),
                        "cross_entropy");
    assert_string_equal(amg_loss_name(amg_task_loss(AMG_TASK_RECONSTRUCTION)), "mse");
    assert_string_equal(amg_loss_name(amg_task_loss(AMG_TASK_LANGUAGE_MODEL)),
                        "cross_entropy");
    assert_true(amg_task_has_targets(AMG_TASK_CLASSIFICATION));
    assert_true(amg_task_has_targets(AMG_TASK_REGRESSION));
    assert_false(amg_task_has_targets(AMG_TASK_RECONSTRUCTION));
    assert_false(amg_task_has_targets(AMG_TASK_LANGUAGE_MODEL));
}

static void two_tasks_have_short_names(void **state)
{
    (void)state;
    amg_task task;
    assert_true(amg_task_find_name("lm", &task));
    assert_int_equal(task, AMG_TASK_LANGUAGE_MODEL);
    assert_true(amg_task_find_name("classify", &task));
    assert_int_equal(task, AMG_TASK_CLASSIFICATION);
    assert_string_equal(amg_task_name(AMG_TASK_LANGUAGE_MODEL), "language_model");
}

static void write_gives_the_canonical_bytes(void **state)
{
    (void)state;
    static const char *const documents[] = {good, regression, reconstruction,
                                            language_model};
    for (int i = 0; i < 4; i++) {
        amg_manifest m = must_parse(documents[i]);
        assert_int_equal(amg_manifest_write(in_dir("job.json"), &m, NULL), AMG_OK);
        amg_manifest_clear(&m);
        amg_map map;
        assert_int_equal(amg_map_open(in_dir("job.json"), &map, NULL), AMG_OK);
        assert_int_equal(map.size, strlen(documents[i]));
        assert_memory_equal(map.data, documents[i], map.size);
        amg_map_close(&map);
    }
}

/* Spacing and the order of members are free to read; writing brings them back. */
static void write_read_write_gives_equal_bytes(void **state)
{
    (void)state;
    static const char loose[] =
        "{\"files\":[],\"val\":{\"shards\":[{\"rows\":2,\"x\":\"a\",\"y\":\"b\"}],"
        "\"num_samples\":2},\"train\":{\"num_samples\":1,\"shards\":[{\"x\":\"a\","
        "\"y\":\"b..c/.d/e.\",\"rows\":1}]},\"heads\":[{\"loss\":\"cross_entropy\","
        "\"num_classes\":1,\"label_column\":0,\"output\":\"\\u00e9\\\"\"}],\r\n\t"
        "\"input\":{\"dims\":[1],\"dtype\":\"F32\",\"name\":\"n\"},"
        "\"target\":{\"dims\":[7],\"dtype\":\"I32\"},"
        "\"task\":\"classification\",\"version\":1}";
    amg_manifest m;
    amg_map first, second;
    amg_error err = {0};
    if (amg_manifest_parse(loose, sizeof loose - 1, "loose", &m, &err))
        fail_msg("%s", err.what);
    assert_int_equal(amg_manifest_write(in_dir("1.json"), &m, NULL), AMG_OK);
    amg_manifest_clear(&m);
    assert_int_equal(amg_manifest_read(in_dir("1.json"), &m, NULL), AMG_OK);
    assert_int_equal(m.val.shards[0].rows, 2);
    assert_int_equal(amg_manifest_write(in_dir("2.json"), &m, NULL), AMG_OK);
    amg_manifest_clear(&m);
    assert_int_equal(amg_map_open(in_dir("1.json"), &first, NULL), AMG_OK);
    assert_int_equal(amg_map_open(in_dir("2.json"), &second, NULL), AMG_OK);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    amg_map_close(&first);
    amg_map_close(&second);
}

static void refuses_malformed_documents_at_their_byte(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        int nth;
        const char *to; /* '@': the expected offset */
        amg_status code;
    } cases[] = {
        /* the document */
        {"  ]\n}\n", 0, "  ]\n}\nx@", AMG_MALFORMED},
        {"\"version\": 1", 0, "\"version\": 1, \"version\"@: 1", AMG_MALFORMED},
        {"\"task\"", 0, "\"more\": @1, \"task\"", AMG_MALFORMED},
        {"\"version\": 1,", 0, "\"version\": @2,", AMG_UNSUPPORTED},
        {"\"version\": 1,", 0, "\"version\": @2, \"more\": 1,", AMG_UNSUPPORTED},
        {"\"version\": 1,", 0, "\"version\": @0,", AMG_MALFORMED},
        {"\"version\": 1,", 0, "\"version\": @\"1\",", AMG_MALFORMED},
        {"\"version\": 1,", 0, "\"version\": @1.0,", AMG_MALFORMED},
        {"\"classification\"", 0, "@\"ranking\"", AMG_UNSUPPORTED},
        {"\"classification\"", 0, "@\"\"", AMG_UNSUPPORTED},
        {"\"classification\"", 0, "@null", AMG_MALFORMED},
        /* input */
        {"\"name\": \"x\"", 0, "\"name\": @\"a\\u0007\"", AMG_MALFORMED},
        {"\"name\": \"x\"", 0, "\"name\": @\"\\u007f\"", AMG_MALFORMED},
        {"\"U8\"", 0, "@\"u8\"", AMG_UNSUPPORTED},
        {"\"U8\"", 0, "@8", AMG_MALFORMED},
        {"      3,\n", 0, "      @0,\n", AMG_MALFORMED},
        {"      3,\n", 0, "      @2147483648,\n", AMG_MALFORMED},
        {"      65\n", 0, "      65, @-1\n", AMG_MALFORMED},
        {"\"dims\": [\n", 0, "\"dims\": @[ 1, 1, 1, 1, 1,\n", AMG_MALFORMED},
        {"\"dims\": [\n", 0, "\"dims\": @[ 2147483647, 2147483647,\n", AMG_OVERFLOW},
        /* target */
        {"\"I32\"", 0, "@\"F32\"", AMG_UNSUPPORTED},
        {"\"I32\"", 0, "@\"I33\"", AMG_UNSUPPORTED},
        {"\"dims\": []", 0, "\"dims\": [@0]", AMG_MALFORMED},
        {"\"dims\": []", 0, "\"dims\": @[1,1,1,1,1,1,1]", AMG_MALFORMED},
        {"\"dims\": []", 0, "\"dims\": [], \"name\": @1", AMG_MALFORMED},
        /* heads */
        {"\"label_column\": 0", 0, "\"label_column\": @1", AMG_MALFORMED},
        {"\"label_column\": 1", 0, "\"label_column\": @2", AMG_MALFORMED},
        {"\"label_column\": 1", 0, "\"label_column\": @-1", AMG_MALFORMED},
        {"\"q\xc3\xa9\"", 0, "@\"q1\"", AMG_MALFORMED},
        {"\"q\xc3\xa9\"", 0, "\"q@\xc3\"", AMG_MALFORMED},
        {"\"num_classes\": 11", 0, "\"num_classes\": @0", AMG_MALFORMED},
        {"\"num_classes\": 11", 0, "\"num_classes\": @2147483648", AMG_MALFORMED},
        {"\"cross_entropy\"", 1, "@\"mse\"", AMG_UNSUPPORTED},
        {"\"cross_entropy\"", 1, "\"cross_entropy\", \"w\": @[[{}]]", AMG_MALFORMED},
        {"\"cross_entropy\"", 1, "\"cross_entropy\", \"target\": @\"v\"",
         AMG_MALFORMED},
        /* splits */
        {"\"num_samples\": 150", 0, "\"num_samples\": @151", AMG_MALFORMED},
        {"\"num_samples\": 150", 0, "\"num_samples\": @-1", AMG_MALFORMED},
        {"\"num_samples\": 0", 0, "\"num_samples\": @1", AMG_MALFORMED},
        {"\"num_samples\": 0", 0, "\"num_samples\": 9223372036854775808@",
         AMG_OVERFLOW},
        {"\"rows\": 50", 0, "\"rows\": @0", AMG_MALFORMED},
        {"\"rows\": 50", 0, "\"rows\": @1099511627777", AMG_MALFORMED},
        {"\"rows\": 50", 0, "\"rows\": @true", AMG_MALFORMED},
        {"\"shards\": []", 0, "\"shards\": @{}", AMG_MALFORMED},
        {"\"shards\": []", 0, "\"shards\": [@[]]", AMG_MALFORMED},
        {"\"data/3.npy\"", 0, "@\"../3.npy\"", AMG_UNSAFE_PATH},
        /* files */
        {"\"model.onnx\"", 0, "@\"data/0.npy\"", AMG_MALFORMED},
        {"\"model.onnx\"", 0, "@\"job.json\"", AMG_MALFORMED},
        {"\"model.onnx\"", 0, "@\"out/weights.safetensors\"", AMG_MALFORMED},
        {"\"model.onnx\"", 0, "@\"/model.onnx\"", AMG_UNSAFE_PATH},
        {"\"size_bytes\": 0", 0, "\"size_bytes\": @-1", AMG_MALFORMED},
        {"\"" HASH_B, 0, "@\"A" HASH_B, AMG_MALFORMED},
        {"\"" HASH_B "\"", 0, "@\"" HASH_B "0\"", AMG_MALFORMED},
        {"\"" HASH_A "\"", 0, "@\"\"", AMG_MALFORMED},
        {"\"ba7816bf", 0, "@\"BA7816BF", AMG_MALFORMED},
        {"\"ba7816bf", 0, "@\"ga7816bf", AMG_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t offset = -2;
        char *text = edited(cases[i].from, cases[i].nth, cases[i].to, &offset);
        expect_refusal(text, strlen(text), cases[i].code, offset, cases[i].to);
        free(text);
    }
}

/* What one task has and another has not. */
static void refuses_members_of_another_task(void **state)
{
    (void)state;
    static const struct {
        const char *document, *from;
        int nth;
        const char *to; /* '@': the expected offset */
        amg_status code;
    } cases[] = {
        {regression, "\"regression\"", 0, "\"classification\"", AMG_UNSUPPORTED},
        {regression, "\"F32\"", 1, "@\"I32\"", AMG_UNSUPPORTED},
        {regression, "\"mse\"", 0, "@\"cross_entropy\"", AMG_UNSUPPORTED},
        {regression, "\"loss\"", 0, "\"num_classes\": @2, \"loss\"", AMG_MALFORMED},
        {regression, "\"label_column\": 0", 0, "\"label_column\": @1", AMG_MALFORMED},
        {reconstruction, "\"heads\"", 0,
         "\"target\": @{\"dtype\":\"F32\",\"dims\":[]}, \"heads\"", AMG_MALFORMED},
        {reconstruction, "\"loss\"", 0, "\"label_column\": @0, \"loss\"",
         AMG_MALFORMED},
        {reconstruction, "\"v7\"", 0, "@\"v3\"", AMG_MALFORMED},
        {reconstruction, "\"v7\"", 0, "@\"\"", AMG_MALFORMED},
        {reconstruction, "\"rows\"", 0, "\"y\": @\"data/1.npy\", \"rows\"",
         AMG_MALFORMED},
        {reconstruction, "\"loss\"", 0, "\"ignore_index\": @0, \"loss\"",
         AMG_MALFORMED},
        {language_model, "\"language_model\"", 0, "@\"lm\"", AMG_UNSUPPORTED},
        {language_model, "\"cross_entropy\"", 0, "@\"mse\"", AMG_UNSUPPORTED},
        {language_model, "\"loss\"", 0, "\"label_column\": @0, \"loss\"",
         AMG_MALFORMED},
        {language_model, "\"loss\"", 1, "\"ignore\": @0, \"loss\"", AMG_MALFORMED},
        {language_model, "\"v7\"", 0, "@\"v3\"", AMG_MALFORMED},
        {language_model, "\"num_classes\": 33278", 1, "\"num_classes\": @0",
         AMG_MALFORMED},
        {language_model, "\"ignore_index\": 1", 0, "\"ignore_index\": @-1",
         AMG_MALFORMED},
        {language_model, "\"ignore_index\": 1", 0, "\"ignore_index\": @2147483648",
         AMG_MALFORMED},
        {language_model, "\"ignore_index\": 1", 0, "\"ignore_index\": @null",
         AMG_MALFORMED},
        {language_model, "{\n      \"output\": \"h1\",\n      \"target\"", 0,
         "@{\n      \"output\": \"h1\",\n      \"goal\"", AMG_MALFORMED},
        {language_model, "\"rows\"", 0, "\"y\": @\"data/1.npy\", \"rows\"",
         AMG_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t offset = -2;
        char *text = edited_of(cases[i].document, cases[i].from, cases[i].nth,
                               cases[i].to, &offset);
        if (offset == -2) /* classification with floats: at their type */
            offset = strstr(strstr(text, "\"target\""), "\"F32\"") - text;
        expect_refusal(text, strlen(text), cases[i].code, offset, cases[i].to);
        free(text);
    }
}

/* A member that lacks is reported at the brace of its object. */
static void refuses_missing_members_at_their_object(void **state)
{
    (void)state;
    static const struct {
        const char *member, *object; /* object: text whose end is the expected brace */
    } cases[] = {
        {"version", ""},
        {"task", ""},
        {"input", ""},
        {"target", ""},
        {"heads", ""},
        {"train", ""},
        {"val", ""},
        {"files", ""},
        {"name", "\"input\": "},
        {"dtype", "\"input\": "},
        {"dims", "\"input\": "},
        {"output", "\"heads\": [\n    "},
        {"label_column", "\"heads\": [\n    "},
        {"num_classes", "\"heads\": [\n    "},
        {"loss", "\"heads\": [\n    "},
        {"num_samples", "\"train\": "},
        {"shards", "\"train\": "},
        {"x", "\"shards\": [\n      "},
        {"y", "\"shards\": [\n      "},
        {"rows", "\"shards\": [\n      "},
        {"path", "\"files\": [\n    "},
        {"size_bytes", "\"files\": [\n    "},
        {"sha256", "\"files\": [\n    "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "\"%s\":", cases[i].member);
        snprintf(to, sizeof to, "\"%s?\":", cases[i].member);
        int64_t unused;
        char *text = edited(from, 0, to, &unused);
        const char *object = strstr(text, cases[i].object);
        assert_non_null(object);
        int64_t offset = object + strlen(cases[i].object) - text;
        assert_int_equal(text[offset], '{');
        expect_refusal(text, strlen(text), AMG_MALFORMED, offset, cases[i].member);
        free(text);
    }
}

static void refuses_unsafe_paths(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/a",   "a/",    "a//b",    ".",          "..",        "./a", "a/.",
        "a/..", "../a",  "a/../b",  "a\\\\b",     "\\\\\\\\h", "/",   "C:\\\\a",
        "//a",  "a/./b", "a/b/../", "\\u002e./a", "\\u002fetc"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char to[64];
        int64_t offset;
        snprintf(to, sizeof to, "@\"%s\"", paths[i]);
        char *text = edited("\"data/2.npy\"", 0, to, &offset);
        expect_refusal(text, strlen(text), AMG_UNSAFE_PATH, offset, paths[i]);
        free(text);
        text = edited("\"model.onnx\"", 0, to, &offset);
        expect_refusal(text, strlen(text), AMG_UNSAFE_PATH, offset, paths[i]);
        free(text);
    }
}

static void refuses_every_truncation_at_its_end(void **state)
{
    (void)state;
    const size_t split_utf8 = (size_t)(strstr(good, "\xc3") + 1 - good);
    for (size_t n = 0; n < sizeof good - 2; n++)
        if (n != split_utf8) expect_refusal(good, n, AMG_TRUNCATED, (int64_t)n, "cut");
    expect_refusal(good, split_utf8, AMG_MALFORMED, (int64_t)split_utf8 - 1,
                   "half a é");
    expect_refusal("[]", 2, AMG_MALFORMED, 0, "array");
    expect_refusal(good, sizeof good, AMG_MALFORMED, sizeof good, "NUL after it");
}

/* 64 heads are read, 65 are not; a name of 1024 bytes is read, of 1025 is not. */
static void bounds_counts_and_lengths(void **state)
{
    (void)state;
    const char *begin = strstr(good, "    {\n      \"output\": \"q1\"");
    const char *end = strstr(good, "\n  ],\n  \"train\"");
    for (int heads = 64; heads <= 65; heads++) {
        size_t room = sizeof good + 65 * 128;
        char *text = malloc(room);
        assert_non_null(text);
        size_t n = (size_t)snprintf(text, room, "%.*s", (int)(begin - good), good);
        for (int i = 0; i < heads; i++)
            n += (size_t)snprintf(text + n, room - n,
                                  "%s{\"output\":\"o%d\",\"label_column\":%d,"
                                  "\"num_classes\":2,\"loss\":\"cross_entropy\"}",
                                  i ? "," : "", i, i);
        n += (size_t)snprintf(text + n, room - n, "%s", end);
        if (heads == 64) {
            amg_manifest m;
            assert_int_equal(amg_manifest_parse(text, n, "t", &m, NULL), 0);
            assert_int_equal(m.num_heads, 64);
            amg_manifest_clear(&m);
        } else {
            int64_t bracket = strstr(good, "\"heads\": [") + 9 - good;
            expect_refusal(text, n, AMG_MALFORMED, bracket, "65 heads");
        }
        free(text);
    }
    for (int length = 1024; length <= 1025; length++) {
        char to[1100];
        snprintf(to, sizeof to, "@\"%0*d\"", length, 0);
        int64_t offset;
        char *text = edited("\"model.onnx\"", 0, to, &offset);
        amg_manifest m;
        if (length == 1024) {
            assert_int_equal(amg_manifest_parse(text, strlen(text), "t", &m, NULL), 0);
            amg_manifest_clear(&m);
        } else {
            expect_refusal(text, strlen(text), AMG_MALFORMED, offset, "1025 bytes");
        }
        free(text);
    }
}

static void errors_name_the_place(void **state)
{
    (void)state;
    int64_t offset;
    amg_error err = {0};
    amg_manifest m;
    char *text = edited("\"rows\": 50", 0, "\"rows\": 0", &offset);
    assert_int_equal(amg_manifest_parse(text, strlen(text), "job/job.json", &m, &err),
                     AMG_MALFORMED);
    assert_string_equal(err.where, "job/job.json");
    assert_string_equal(err.what, "train.shards[1].rows: found 0, expected 1 to "
                                  "1099511627776");
    free(text);
}

static void writer_refuses_what_the_reader_would(void **state)
{
    (void)state;
    amg_manifest m;
    amg_error err = {0};
    assert_int_equal(amg_manifest_parse(good, sizeof good - 1, "job.json", &m, NULL),
                     0);
    const char *path = in_dir("bad.json");

    m.train.shards[0].x = "../x";
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    assert_int_equal(err.code, AMG_INVALID);
    assert_int_equal(err.offset, -1);
    m.train.shards[0].x = "x\xff";
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.train.shards[0].x = NULL;
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.train.shards[0].x = "x";
    m.heads[1].output = "\xff";
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.heads[1].output = "q1";
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.heads[1].output = "q2";
    m.target_dtype = AMG_F32;
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.target_dtype = AMG_I32;
    m.task = AMG_TASK_RECONSTRUCTION; /* of heads that name no target */
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.task = AMG_TASK_LANGUAGE_MODEL;
    assert_int_equal(amg_manifest_write(path, &m, &err), AMG_INVALID);
    m.task = AMG_TASK_CLASSIFICATION;
    m.input_rank = 0;
    assert_int_equal(amg_manifest_write(path, &m, NULL), AMG_INVALID);
    m.input_rank = 3;
    m.train.num_samples = 1;
    assert_int_equal(amg_manifest_write(path, &m, NULL), AMG_INVALID);
    m.train.num_samples = 150;
    assert_false(amg_path_exists(path));
    assert_int_equal(amg_manifest_write(path, &m, NULL), AMG_OK);
    amg_manifest_clear(&m);
}

static void checks_sizes_and_hashes_of_files(void **state)
{
    (void)state;
    amg_manifest m;
    amg_error err = {0};
    assert_int_equal(amg_manifest_parse(good, sizeof good - 1, "job.json", &m, NULL),
                     0);
    assert_int_equal(amg_manifest_check_files(&m, dir, true, &err), AMG_NOT_FOUND);
    assert_int_equal(amg_dir_make(in_dir("data"), NULL), AMG_OK);
    assert_int_equal(amg_file_write(in_dir("data/0.npy"), 0644, true, "abc", 3, NULL),
                     0);
    assert_int_equal(amg_file_write(in_dir("model.onnx"), 0644, true, "", 0, NULL), 0);
    assert_int_equal(amg_manifest_check_files(&m, dir, false, &err), AMG_OK);
    /* the second file's hash is not that of no bytes */
    assert_int_equal(amg_manifest_check_files(&m, dir, true, &err), AMG_MISMATCH);
    assert_string_equal(err.where, in_dir("model.onnx"));
    m.num_files = 1;
    assert_int_equal(amg_manifest_check_files(&m, dir, true, &err), AMG_OK);
    m.files[0].size_bytes = 4;
    assert_int_equal(amg_manifest_check_files(&m, dir, false, &err), AMG_MISMATCH);
    assert_string_equal(err.what, "found 3 bytes, job.json says 4");
    amg_manifest_clear(&m);
}

static void read_reports_missing_and_empty_files(void **state)
{
    (void)state;
    amg_manifest m;
    amg_error err = {0};
    assert_int_equal(amg_manifest_read(in_dir("none.json"), &m, &err), AMG_NOT_FOUND);
    assert_int_equal(amg_file_write(in_dir("empty.json"), 0644, true, "", 0, NULL), 0);
    assert_int_equal(amg_manifest_read(in_dir("empty.json"), &m, &err), AMG_TRUNCATED);
    assert_int_equal(err.offset, 0);
}

/* Each allocation of reading and of writing fails once: an error, no leak, no file. */
static void survives_failing_allocations(void **state)
{
    (void)state;
    amg_manifest m;
    amg_status got = AMG_NO_MEMORY;
    long n = 0;
    while (got) {
        long countdown = ++n;
        amg_error err = {0};
        amg_alloc_fail_after(&countdown);
        got = amg_manifest_parse(good, sizeof good - 1, "job.json", &m, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(err.code, got);
        if (got) assert_int_equal(got, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 2); /* the arena and the sorted paths */
    got = AMG_NO_MEMORY;
    for (n = 0; got;) {
        assert_false(amg_path_exists(in_dir("nomem.json")));
        long countdown = ++n;
        amg_error err = {0};
        amg_alloc_fail_after(&countdown);
        got = amg_manifest_write(in_dir("nomem.json"), &m, &err);
        amg_alloc_fail_after(NULL);
        assert_int_equal(err.code, got);
        if (got) assert_int_equal(got, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 5); /* text, reading back, path, name of the temporary file */
    amg_manifest_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_field),
        cmocka_unit_test(classes_may_have_weights),
        cmocka_unit_test(numbers_have_a_choice_of_losses),
        cmocka_unit_test(several_labels_are_numbers_with_a_loss_of_their_own),
        cmocka_unit_test(several_outputs_have_parts),
        cmocka_unit_test(frozen_names_ascend),
        cmocka_unit_test(regression_has_numbers_as_targets),
        cmocka_unit_test(reconstruction_names_its_targets_in_the_graph),
        cmocka_unit_test(a_language_model_names_tokens_to_predict_and_padding),
        cmocka_unit_test(tasks_and_losses_have_names),
        cmocka_unit_test(two_tasks_have_short_names),
        cmocka_unit_test(refuses_members_of_another_task),
        cmocka_unit_test(write_gives_the_canonical_bytes),
        cmocka_unit_test(write_read_write_gives_equal_bytes),
        cmocka_unit_test(refuses_malformed_documents_at_their_byte),
        cmocka_unit_test(refuses_missing_members_at_their_object),
        cmocka_unit_test(refuses_unsafe_paths),
        cmocka_unit_test(refuses_every_truncation_at_its_end),
        cmocka_unit_test(bounds_counts_and_lengths),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(writer_refuses_what_the_reader_would),
        cmocka_unit_test(checks_sizes_and_hashes_of_files),
        cmocka_unit_test(read_reports_missing_and_empty_files),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
