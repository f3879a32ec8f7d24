/* What the tests of text jobs share: token sets in memory, and the files of a job. */
#ifndef AMG_TESTS_OBFUSCATE_TEXT_FIXTURE_H
#define AMG_TESTS_OBFUSCATE_TEXT_FIXTURE_H

#include "data_fixture.h"
#include "formats/token_set.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"
#include "obfuscate/obfuscate.h"

#define TEXT_VOCABULARY                                                                \
    "5eb63bbbe01eeed093cb22bb8f5acdc3aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* Samples of random tokens below vocab; the first ones are more often than the others,
 * as words are. classes > 0: with labels, and documents of any length, padded. */
typedef struct {
    uint64_t seed;
    int64_t length, vocab, pad, classes;
    int64_t bad_row; /* > 0: this sample has a token beyond the vocabulary */
} text_source;

static inline void text_sample(const text_source *t, int64_t row, int32_t *x)
{
    amg_rng rng = amg_rng_init(t->seed, (uint64_t)row);
    const int64_t used =
        t->classes ? 1 + (int64_t)(amg_rng_u32(&rng) % (uint64_t)t->length) : t->length;
    for (int64_t i = 0; i < t->length; i++) {
        const double u = amg_rng_u32(&rng) / 4294967296.0;
        x[i] = (int32_t)(u * u * (double)t->vocab);
        if (x[i] == t->pad) x[i] = t->pad ? 0 : 1;
        if (i >= used) x[i] = (int32_t)t->pad;
    }
    if (t->bad_row > 0 && row == t->bad_row) x[t->length / 2] = (int32_t)t->vocab;
}

static inline int32_t text_label(const text_source *t, int64_t row)
{
    return (int32_t)((row * 7 + (int64_t)t->seed) % t->classes);
}

static inline amg_status read_text(void *context, const int64_t *rows, int64_t num,
                                   void *x, void *y, amg_error *err)
{
    const text_source *t = context;
    (void)err;
    for (int64_t i = 0; i < num; i++) {
        if (x) text_sample(t, rows[i], (int32_t *)x + i * t->length);
        if (y && t->classes) ((int32_t *)y)[i] = text_label(t, rows[i]);
    }
    return AMG_OK;
}

/* The set as T's own file format would give it. */
static inline amg_dataset *open_text(text_source *t, const char *name, int64_t num)
{
    amg_dataset_callbacks c = {.info = {.dtype = AMG_I32,
                                        .num_samples = num,
                                        .rank = 1,
                                        .dims = {t->length},
                                        .vocab_size = t->vocab,
                                        .pad = t->pad,
                                        .vocabulary = TEXT_VOCABULARY},
                               .source = name,
                               .context = t,
                               .read = read_text};
    if (t->classes) {
        c.info.target_dtype = AMG_I32;
        c.info.num_classes = t->classes;
    }
    amg_dataset *ds = NULL;
    amg_error err = {0};
    if (amg_dataset_from_callbacks(&c, &ds, &err))
        fail_msg("%s: %s", err.where, err.what);
    return ds;
}

enum { TEXT_SETS = 3 };

/* A text job: paths, data in memory (training, validation, covers), options. */
typedef struct {
    char model[512], key[512], job[512];
    text_source sources[TEXT_SETS];
    amg_dataset *sets[TEXT_SETS];
    amg_obfuscate_options options;
    amg_error err;
} text_bench;

/* num_covers: large enough for the options' decoys. */
static inline void open_text_sets(text_bench *b, int64_t num_train, int64_t num_val,
                                  int64_t num_covers)
{
    static const char *const names[TEXT_SETS] = {"training text", "validation text",
                                                 "other text"};
    const int64_t num[TEXT_SETS] = {num_train, num_val, num_covers};
    for (int i = 0; i < TEXT_SETS; i++) {
        amg_dataset_close(b->sets[i]);
        b->sets[i] = open_text(&b->sources[i], names[i], num[i]);
    }
    b->options.train_set = b->sets[0];
    b->options.val_set = b->sets[1];
    b->options.cover_set = b->sets[2];
}

/* like: of all three sets but for their seeds. */
static inline void open_text_bench(text_bench *b, const char *dir, text_source like,
                                   int64_t num_train, int64_t num_val,
                                   int64_t num_covers)
{
    *b = (text_bench){0};
    snprintf(b->model, sizeof b->model, "%s/model.onnx", dir);
    snprintf(b->key, sizeof b->key, "%s/job.key", dir);
    snprintf(b->job, sizeof b->job, "%s/job", dir);
    b->options = (amg_obfuscate_options){.model = b->model,
                                         .num_decoys = 1,
                                         .decoys = {.arch = AMG_DECOY_SAME},
                                         .key = b->key,
                                         .seed_hex = "00000000000000000000000000000000"
                                                     "00000000000000000000000000000007",
                                         .out = b->job,
                                         .task_by_data = true};
    for (int i = 0; i < TEXT_SETS; i++) {
        b->sources[i] = like;
        b->sources[i].seed += (uint64_t)i;
    }
    open_text_sets(b, num_train, num_val, num_covers);
}

static inline void close_text_bench(text_bench *b)
{
    for (int i = 0; i < TEXT_SETS; i++) amg_dataset_close(b->sets[i]);
}

static inline void write_graph(const char *path, const amg_graph *g)
{
    amg_error err = {0};
    if (amg_graph_write_onnx(path, g, &err)) fail_msg("%s: %s", err.where, err.what);
}

static inline void write_zoo(const char *path, amg_zoo_options o)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&o, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    write_graph(path, g);
    amg_graph_free(g);
}

#endif
