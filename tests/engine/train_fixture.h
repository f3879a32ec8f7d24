/* What the trainer's tests share: small networks of every task with seeded weights and
 * an optional permutation of their classes, and a synthetic source that can be learned.
 */
#ifndef AMG_TESTS_TRAIN_FIXTURE_H
#define AMG_TESTS_TRAIN_FIXTURE_H

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
#include "engine/trainer.h"
#include "graph/builder.h"

enum { SIDE = 6, PIXELS = SIDE * SIDE, CLASSES = 7, MAX_LABELS = 4 };
enum { MAP_CLASSES = 3, NUMBERS = 2 };

/* What a network gives: one class, a class for each pixel, numbers, or its own image.
 */
typedef enum { NET_CLASS, NET_MAP, NET_NUMBERS, NET_IMAGE } net_form;

/* One head of a test network. */
typedef struct {
    const char *prefix; /* of its names */
    uint64_t seed;      /* of its weights */
    int64_t width;      /* channels of its convolution; 0: a network without one */
    const int32_t *map; /* class c stands in row map[c]; NULL: in row c */
    net_form form;      /* one for all heads of a network */
} net_head;

/* A random parameter, its rows (axis 0) permuted where map is given. */
static inline int net_param(amg_builder *b, const net_head *h, const char *name,
                            int rank, const int64_t *dims, uint64_t stream,
                            const int32_t *map)
{
    char full[64];
    amg_tensor t;
    amg_rng rng = amg_rng_init(h->seed, stream);
    snprintf(full, sizeof full, "%s%s", h->prefix, name);
    assert_int_equal(amg_tensor_new(AMG_F32, rank, dims, &t, NULL), AMG_OK);
    const int64_t row = amg_tensor_count(&t) / dims[0];
    float *data = t.data;
    for (int64_t r = 0; r < dims[0]; r++)
        for (int64_t i = 0; i < row; i++)
            data[(map ? map[r] : r) * row + i] = amg_rng_uniform(&rng) * 0.4f - 0.2f;
    const int value = amg_builder_param(b, full, &t);
    amg_tensor_clear(&t);
    return value;
}

/* n equal numbers, a scalar for n = 0. */
static inline int net_constant(amg_builder *b, const net_head *h, const char *name,
                               int64_t n, float fill)
{
    char full[64];
    float data[64];
    amg_tensor t;
    for (int i = 0; i < 64; i++) data[i] = fill;
    snprintf(full, sizeof full, "%s%s", h->prefix, name);
    assert_int_equal(amg_tensor_view(AMG_F32, n > 0, &n, data, &t, NULL), AMG_OK);
    return amg_builder_param(b, full, &t);
}

static inline int net_node(amg_builder *b, const net_head *h, amg_op op,
                           const char *name, const int *inputs, int num_inputs,
                           const amg_attr *attrs, int num_attrs)
{
    char full[64], out[64];
    snprintf(full, sizeof full, "%s%s", h->prefix, name);
    snprintf(out, sizeof out, "%s%s_y", h->prefix, name);
    return amg_builder_node(b, op, full, inputs, num_inputs, attrs, num_attrs, out);
}

/* Conv 3x3, batch norm, relu, max pool: [B,1,6,6] -> [B,width,3,3]. */
static inline int net_convolution(amg_builder *b, const net_head *h, int x)
{
    const int64_t w = h->width, kernel[2] = {3, 3}, pads[4] = {1, 1, 1, 1};
    const int64_t two[2] = {2, 2}, w_dims[4] = {w, 1, 3, 3};
    const amg_attr conv[] = {amg_ints("kernel_shape", 2, kernel),
                             amg_ints("pads", 4, pads)};
    const amg_attr pool[] = {amg_ints("kernel_shape", 2, two),
                             amg_ints("strides", 2, two)};
    int in[5] = {x, net_param(b, h, "conv.w", 4, w_dims, 1, NULL),
                 net_param(b, h, "conv.b", 1, &w, 2, NULL)};
    in[0] = net_node(b, h, AMG_OP_CONV, "conv", in, 3, conv, 2);
    in[1] = net_constant(b, h, "bn.scale", w, 1);
    in[2] = net_constant(b, h, "bn.bias", w, 0);
    in[3] = net_constant(b, h, "bn.mean", w, 0);
    in[4] = net_constant(b, h, "bn.var", w, 1);
    in[0] = net_node(b, h, AMG_OP_BATCH_NORM, "bn", in, 5, NULL, 0);
    in[0] = net_node(b, h, AMG_OP_RELU, "relu", in, 1, NULL, 0);
    return net_node(b, h, AMG_OP_MAX_POOL, "pool", in, 1, pool, 2);
}

/* Convolution of `in` to `out` channels, 3x3, the image's size kept. */
static inline int net_same_conv(amg_builder *b, const net_head *h, const char *name,
                                int x, int64_t in, int64_t out)
{
    const int64_t kernel[2] = {3, 3}, pads[4] = {1, 1, 1, 1}, dims[4] = {out, in, 3, 3};
    const amg_attr attrs[] = {amg_ints("kernel_shape", 2, kernel),
                              amg_ints("pads", 4, pads)};
    char weight[32];
    snprintf(weight, sizeof weight, "%s.w", name);
    const int inputs[2] = {x,
                           net_param(b, h, weight, 4, dims, 1 + (uint64_t)out, NULL)};
    return net_node(b, h, AMG_OP_CONV, name, inputs, 2, attrs, 2);
}

/* NET_MAP and NET_IMAGE: [B,1,6,6] halved ("<prefix>half_y"), Conv, Relu, Conv. */
static inline int net_image_to_image(amg_builder *b, const net_head *h, int x)
{
    const int64_t out = h->form == NET_MAP ? MAP_CLASSES : 1;
    const int in[2] = {x, net_constant(b, h, "half", 0, 0.5f)};
    int y = net_node(b, h, AMG_OP_MUL, "half", in, 2, NULL, 0);
    y = net_same_conv(b, h, "encode", y, 1, h->width);
    y = net_node(b, h, AMG_OP_RELU, "relu", &y, 1, NULL, 0);
    return net_same_conv(b, h, "decode", y, h->width, out);
}

/* Heads over one input f32[B,1,6,6] "x"; a head's output is "<prefix>fc_y", or
 * "<prefix>decode_y" of an image's size. */
static inline amg_graph *make_net(const net_head *heads, int num_heads)
{
    const int64_t dims[4] = {AMG_DIM_BATCH, 1, SIDE, SIDE};
    const int64_t classes = heads[0].form == NET_NUMBERS ? NUMBERS : CLASSES;
    const amg_attr trans = amg_int("transB", 1);
    amg_builder *b = amg_builder_new();
    const int x = amg_builder_input(b, "x", AMG_F32, 4, dims);
    for (int i = 0; i < num_heads; i++) {
        const net_head *h = &heads[i];
        const int64_t features = h->width ? h->width * (SIDE / 2) * (SIDE / 2) : PIXELS;
        const int64_t w_dims[2] = {classes, features};
        if (h->form == NET_MAP || h->form == NET_IMAGE) {
            amg_builder_output(b, net_image_to_image(b, h, x));
            continue;
        }
        int in[3] = {h->width ? net_convolution(b, h, x) : x};
        in[0] = net_node(b, h, AMG_OP_FLATTEN, "flat", in, 1, NULL, 0);
        if (h->width) {
            in[1] = net_constant(b, h, "ratio", 0, 0.25f);
            in[0] = net_node(b, h, AMG_OP_DROPOUT, "drop", in, 2, NULL, 0);
        }
        in[1] = net_param(b, h, "fc.w", 2, w_dims, 3, h->map);
        in[2] = net_param(b, h, "fc.b", 1, &classes, 4, h->map);
        amg_builder_output(b, net_node(b, h, AMG_OP_GEMM, "fc", in, 3, &trans, 1));
    }
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

/* Sample i: noise with a bright pixel pair at the place of its class; every label
 * column holds that class, through the column's own map. */
typedef struct {
    uint64_t seed;
    const int32_t *maps[MAX_LABELS];
    int64_t bad;    /* reading this sample fails; -1: none */
    int64_t poison; /* this sample holds NaN; -1: none */
    net_form form;
} synthetic;

/* Every column's target: the class through the column's map; of each pixel how bright
 * it is; or two numbers that are linear in the pixels. */
static inline void synthetic_targets(const amg_source *s, const float *pixel,
                                     int32_t label, void *targets)
{
    const synthetic *d = s->self;
    for (int c = 0; c < s->num_columns; c++) {
        int32_t *labels = (int32_t *)targets + c * s->target_count;
        float *numbers = (float *)targets + c * s->target_count;
        if (d->form == NET_CLASS) labels[0] = d->maps[c] ? d->maps[c][label] : label;
        for (int p = 0; p < PIXELS && d->form == NET_MAP; p++)
            labels[p] = pixel[p] < -.2f ? 0 : pixel[p] < .3f ? 1 : 2;
        if (d->form == NET_NUMBERS) {
            numbers[0] = pixel[0] + pixel[1] - pixel[7];
            numbers[1] = 2 * pixel[20];
        }
    }
}

static inline amg_status synthetic_read(const amg_source *s, int64_t i, void *x,
                                        void *targets, amg_error *err)
{
    const synthetic *d = s->self;
    amg_rng rng = amg_rng_init(d->seed, (uint64_t)i);
    float *pixel = x;
    if (i == d->bad)
        return amg_fail(err, AMG_IO, -1, "synthetic", "sample %lld", (long long)i);
    const int32_t label = (int32_t)amg_rng_below(&rng, CLASSES);
    for (int p = 0; p < PIXELS; p++) pixel[p] = amg_rng_uniform(&rng) - 0.5f;
    pixel[label * 5] += 1;
    pixel[label * 5 + 1] -= 1;
    if (i == d->poison) pixel[0] = NAN;
    synthetic_targets(s, pixel, label, targets);
    return AMG_OK;
}

static inline amg_source synthetic_source(synthetic *self, int64_t num_samples,
                                          int num_columns)
{
    amg_source s = {.self = self,
                    .dtype = AMG_F32,
                    .rank = 3,
                    .dims = {1, SIDE, SIDE},
                    .sample_bytes = PIXELS * sizeof(float),
                    .num_samples = num_samples,
                    .num_columns = self->form == NET_IMAGE ? 0 : num_columns,
                    .target_dtype = AMG_I32,
                    .target_count = 1,
                    .read = synthetic_read};
    if (self->form == NET_MAP) {
        s.target_rank = 2;
        s.target_dims[0] = s.target_dims[1] = SIDE;
        s.target_count = PIXELS;
    } else if (self->form == NET_NUMBERS) {
        s.target_dtype = AMG_F32;
        s.target_rank = 1;
        s.target_dims[0] = s.target_count = NUMBERS;
    } else if (self->form == NET_IMAGE) {
        s.target_dtype = AMG_DTYPE_NONE;
        s.target_count = 0;
    }
    return s;
}

/* A training of one net: everything amg_train takes, and what it gives. */
typedef struct {
    amg_graph *graph;
    amg_params params[MAX_LABELS];
    synthetic train_data, val_data;
    amg_source train, val;
    amg_objective objectives[MAX_LABELS];
    char targets[MAX_LABELS][64];
    amg_train_task task;
    amg_train_options options;
    amg_train_result result;
    amg_error err;
} session;

/* Momentum, weight decay, label smoothing, clipping, warm-up and cosine are all on. */
static inline amg_train_options session_options(void)
{
    return (amg_train_options){.batch = 16,
                               .epochs = 4,
                               .seed = 5,
                               .label_smoothing = 0.1f,
                               .threads = 2,
                               .optimizer = {.kind = AMG_OPT_SGD,
                                             .lr = 0.2,
                                             .momentum = 0.9,
                                             .weight_decay = 5e-4,
                                             .clip_norm = 2,
                                             .schedule = AMG_SCHEDULE_COSINE,
                                             .warmup_steps = 3}};
}

/* 100 training samples, batch 16: six steps an epoch, four samples left over. 30
 * validation samples: a batch and an incomplete one. */
static inline void session_open(session *s, const net_head *heads, int num_heads,
                                const char *out_dir)
{
    memset(s, 0, sizeof *s);
    s->graph = make_net(heads, num_heads);
    const net_form form = heads[0].form;
    s->train_data = (synthetic){.seed = 11, .bad = -1, .poison = -1, .form = form};
    s->val_data = (synthetic){.seed = 12, .bad = -1, .poison = -1, .form = form};
    for (int h = 0; h < num_heads; h++) {
        /* Head h reads column h, which is permuted as the head is. */
        amg_objective *o = &s->objectives[h];
        o->column = form == NET_IMAGE ? 0 : h;
        if (form == NET_NUMBERS || form == NET_IMAGE) o->loss = AMG_LOSS_MSE;
        if (form == NET_IMAGE) {
            snprintf(s->targets[h], sizeof s->targets[h], "%shalf_y", heads[h].prefix);
            o->target = s->targets[h];
        }
        s->train_data.maps[h] = s->val_data.maps[h] = heads[h].map;
        assert_int_equal(amg_params_new(s->graph, h, &s->params[h], NULL), AMG_OK);
    }
    s->train = synthetic_source(&s->train_data, 100, num_heads);
    s->val = synthetic_source(&s->val_data, 30, num_heads);
    s->task = (amg_train_task){.graph = s->graph,
                               .objectives = s->objectives,
                               .train = &s->train,
                               .val = &s->val,
                               .out_dir = out_dir,
                               .num_params_sets = num_heads,
                               .params = s->params};
    s->options = session_options();
}

static inline void session_close(session *s)
{
    for (int h = 0; h < s->task.num_params_sets; h++) amg_params_clear(&s->params[h]);
    amg_graph_free(s->graph);
}

static inline amg_status session_run(session *s, const amg_progress *progress)
{
    memset(&s->err, 0, sizeof s->err);
    return amg_train(&s->task, &s->options, progress, &s->result, &s->err);
}

/* Runs and must succeed. */
static inline void session_train(session *s)
{
    if (session_run(s, NULL))
        fail_msg("%s: %s: %s", amg_status_name(s->err.code), s->err.where, s->err.what);
}

static inline void assert_params_equal(const amg_params *a, const amg_params *b)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->items[i].tensor.data, b->items[i].tensor.data,
                   a->items[i].tensor.size_bytes) != 0)
            fail_msg("%s and %s differ", a->items[i].name, b->items[i].name);
}

static inline bool params_are_equal(const amg_params *a, const amg_params *b)
{
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->items[i].tensor.data, b->items[i].tensor.data,
                   a->items[i].tensor.size_bytes) != 0)
            return false;
    return true;
}

static inline void make_temp_dir(char dir[64])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, 64, "%s/amg-train-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
}

#endif
