/* What the tests of language models share: a small network of tokens made with the
 * builder, windows of tokens that follow a fixed law, and a permutation of a network's
 * vocabulary, of the zoo's networks too. */
#ifndef AMG_TESTS_LM_FIXTURE_H
#define AMG_TESTS_LM_FIXTURE_H

#include "train_fixture.h"

#include "engine/job.h"
#include "graph/class_rows.h"
#include "graph/rewrite.h"
#include "graph/token_rows.h"
#include "graph/zoo.h"

enum { VOCAB = 13, SEQ = 6, WIDTH = 8, WINDOWS = 12 };

/* ---- networks ---- */

/* The law of make_lm_goldens.py. */
static inline int lm_param(amg_builder *b, const char *name, int number, int rank,
                           const int64_t *dims)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_new(AMG_F32, rank, dims, &t, NULL), AMG_OK);
    float *data = t.data;
    for (int64_t i = 0; i < amg_tensor_count(&t); i++)
        data[i] = (float)((i * 37 + i * i * 11 + number * 53) % 251 - 125) / 512;
    const int value = amg_builder_param(b, name, &t);
    amg_tensor_clear(&t);
    return value;
}

static inline int lm_shape(amg_builder *b, const char *name, int count,
                           const int64_t *values)
{
    amg_tensor t;
    const int64_t dims[1] = {count};
    assert_int_equal(amg_tensor_view(AMG_I64, 1, dims, values, &t, NULL), AMG_OK);
    return amg_builder_param(b, name, &t);
}

#define LM_NODE(op, name, ...)                                                         \
    amg_builder_node(b, op, name, (int[]){__VA_ARGS__},                                \
                     sizeof((int[]){__VA_ARGS__}) / sizeof(int), NULL, 0, NULL)

/* tanh((wte[x] + wpe) w + b), then a linear layer of its own, as [N, SEQ, VOCAB], or
 * the table's, as [N * SEQ, VOCAB]. */
static inline amg_graph *make_lm(bool tied)
{
    const amg_attr trans = amg_int("transB", 1);
    amg_builder *b = amg_builder_new();
    const int x =
        amg_builder_input(b, "x", AMG_I64, 2, (int64_t[]){AMG_DIM_BATCH, SEQ});
    const int wte = lm_param(b, "wte", 1, 2, (int64_t[]){VOCAB, WIDTH});
    int h = LM_NODE(AMG_OP_GATHER, "look", wte, x);
    h = LM_NODE(AMG_OP_ADD, "place", h,
                lm_param(b, "wpe", 2, 2, (int64_t[]){SEQ, WIDTH}));
    h = LM_NODE(AMG_OP_MAT_MUL, "mix", h,
                lm_param(b, "w", 3, 2, (int64_t[]){WIDTH, WIDTH}));
    h = LM_NODE(AMG_OP_ADD, "shift", h, lm_param(b, "b", 4, 1, (int64_t[]){WIDTH}));
    h = LM_NODE(AMG_OP_TANH, "tanh", h);
    h = LM_NODE(AMG_OP_RESHAPE, "rows", h,
                lm_shape(b, "rows_shape", 2, (int64_t[]){-1, WIDTH}));
    int in[3] = {h, wte};
    if (!tied) {
        in[1] = lm_param(b, "head.w", 5, 2, (int64_t[]){VOCAB, WIDTH});
        in[2] = lm_param(b, "head.b", 6, 1, (int64_t[]){VOCAB});
    }
    h = amg_builder_node(b, AMG_OP_GEMM, "head", in, tied ? 2 : 3, &trans, 1, NULL);
    if (!tied)
        h = LM_NODE(AMG_OP_RESHAPE, "logits", h,
                    lm_shape(b, "logits_shape", 3, (int64_t[]){-1, SEQ, VOCAB}));
    amg_builder_output(b, h);
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

/* The zoo's, as small as possible, with dropout; "gpt" is tied. */
static inline amg_graph *make_zoo_lm(const char *name)
{
    const amg_zoo_options o = {.name = name,
                               .vocab = VOCAB,
                               .seq = SEQ,
                               .width_model = WIDTH,
                               .layers = 1,
                               .heads = 2,
                               .width_hidden = WIDTH,
                               .dropout = 0.2,
                               .pad = -1,
                               .seed = 4};
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&o, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    return g;
}

/* ---- data ---- */

/* Windows of tokens (i, j) by the law of make_lm_goldens.py, renumbered by map, with
 * two changes for tests of what is wrong. */
typedef struct {
    const int32_t *map; /* NULL: as they are */
    bool all_alike;     /* every token is 3 */
    int32_t last;       /* the last token of each window, else 0 */
} token_law;

static inline int32_t lm_token(int64_t i, int64_t j)
{
    return (int32_t)((i * i * 7 + j * j * 3 + i * j * 5 + i % 3 * j) % VOCAB);
}

static inline amg_status windows_read(const amg_source *s, int64_t i, void *x,
                                      void *targets, amg_error *err)
{
    const token_law *law = s->self;
    int32_t *tokens = x;
    (void)targets;
    (void)err;
    for (int64_t j = 0; j <= SEQ; j++) {
        tokens[j] = law->all_alike ? 3 : lm_token(i, j);
        if (law->map) tokens[j] = law->map[tokens[j]];
    }
    if (law->last) tokens[SEQ] = law->last;
    return AMG_OK;
}

static inline amg_source windows_source(token_law *law)
{
    return (amg_source){.self = law,
                        .dtype = AMG_I32,
                        .rank = 1,
                        .dims = {SEQ + 1},
                        .sample_bytes = (SEQ + 1) * sizeof(int32_t),
                        .num_samples = WINDOWS,
                        .read = windows_read};
}

/* ---- training ---- */

/* A training of one language model behind its windows. */
typedef struct {
    amg_graph *model, *fed;
    amg_params params;
    token_law law;
    amg_source source;
    amg_objective objective;
    amg_train_task task;
    amg_train_options options;
    amg_train_result result;
    amg_error err;
} lm_session;

/* Takes the model. Three steps an epoch, four epochs, validation on the same windows;
 * everything that looks at more than one weight or token is on. pad: a token that does
 * not count, or -1. */
static inline void lm_open(lm_session *s, amg_graph *model, int32_t pad)
{
    const amg_preprocess windows = {.data_dtype = AMG_I32, .windows = true};
    memset(s, 0, sizeof *s);
    s->model = model;
    assert_int_equal(amg_graph_with_preprocess(model, &windows, &s->fed, NULL), AMG_OK);
    assert_int_equal(amg_params_new(s->fed, 0, &s->params, NULL), AMG_OK);
    s->source = windows_source(&s->law);
    s->source.has_pad = pad >= 0;
    s->source.pad = pad;
    assert_int_equal(amg_plain_objective(s->fed, model, AMG_TASK_LANGUAGE_MODEL,
                                         &(amg_loss_options){0}, &s->source,
                                         &s->objective, NULL),
                     AMG_OK);
    s->task = (amg_train_task){.graph = s->fed,
                               .objectives = &s->objective,
                               .train = &s->source,
                               .val = &s->source,
                               .num_params_sets = 1,
                               .params = &s->params};
    s->options = (amg_train_options){.batch = 4,
                                     .epochs = 4,
                                     .seed = 5,
                                     .label_smoothing = 0.1f,
                                     .threads = 2,
                                     .optimizer = {.kind = AMG_OPT_ADAMW,
                                                   .lr = 0.01,
                                                   .weight_decay = 0.1,
                                                   .clip_norm = 0.2,
                                                   .schedule = AMG_SCHEDULE_COSINE,
                                                   .warmup_steps = 3}};
}

static inline void lm_close(lm_session *s)
{
    amg_params_clear(&s->params);
    amg_graph_free(s->fed);
    amg_graph_free(s->model);
}

static inline amg_status lm_run(lm_session *s, const amg_progress *progress)
{
    memset(&s->err, 0, sizeof s->err);
    return amg_train(&s->task, &s->options, progress, &s->result, &s->err);
}

/* Runs and must succeed. */
static inline void lm_train(lm_session *s)
{
    if (lm_run(s, NULL))
        fail_msg("%s: %s: %s", amg_status_name(s->err.code), s->err.where, s->err.what);
}

/* ---- renumbering the vocabulary ---- */

static inline void lm_permute_rows(amg_params *set, const char *name, int axis,
                                   const int32_t *map)
{
    amg_tensor *t = &set->items[amg_params_find(set, name)].tensor, moved;
    assert_int_equal(amg_tensor_new(AMG_F32, t->rank, t->dims, &moved, NULL), AMG_OK);
    amg_class_rows_permute(t, axis, map, &moved);
    memcpy(t->data, moved.data, t->size_bytes);
    amg_tensor_clear(&moved);
}

/* Row map[t] of every table and of the last layer becomes what row t was. */
static inline void lm_renumber(const amg_graph *g, amg_params *set, const int32_t *map)
{
    amg_class_rows classes;
    amg_token_rows tokens;
    amg_graph *planned;
    assert_int_equal(amg_graph_plan_batch(g, 4, &planned, NULL), AMG_OK);
    assert_true(amg_class_rows_find(planned, 0, &classes));
    assert_true(amg_token_rows_find(planned, 0, &tokens));
    for (int i = 0; i < classes.num_params; i++)
        lm_permute_rows(set, planned->values[classes.params[i]].name, classes.axis[i],
                        map);
    for (int i = 0; i < tokens.num_tables; i++)
        if (!classes.tied || tokens.tables[i] != classes.params[0])
            lm_permute_rows(set, planned->values[tokens.tables[i]].name, 0, map);
    amg_graph_free(planned);
}

#endif
