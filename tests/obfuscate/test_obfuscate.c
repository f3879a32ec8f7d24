/* Whole jobs of every kind of data: what obfuscation writes, the owner's plan selects
 * back bit for bit, samples and targets; data that do not fit are refused in words that
 * say why, and leave nothing. The networks are one layer each: this is about data. */
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "engine/source.h"
#include "graph/builder.h"
#include "graph/onnx_graph.h"
#include "obfuscate/obfuscate.h"

enum { ROWS = 100, OWN = 40, VAL = 10 }; /* of the source, of the data */

/* ---- models ---- */

static int weights(amg_builder *b, const char *name, int rank, const int64_t *dims)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = rank};
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= t.dims[i] = dims[i];
    t.size_bytes = (size_t)count * sizeof(float);
    int id = amg_builder_param(b, name, &t);
    amg_rng rng = amg_rng_init((uint64_t)rank + (uint64_t)count, 9);
    for (int64_t i = 0; i < count; i++)
        ((float *)amg_builder_data(b, id)->data)[i] =
            (float)amg_rng_u32(&rng) / 4294967296.0f - 0.5f;
    return id;
}

/* Gemm of x [N,in] to [N,out]. */
static int linear(amg_builder *b, const char *name, int x, int64_t in, int64_t out)
{
    char w[64], bias[64];
    snprintf(w, sizeof w, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    int inputs[3] = {x, weights(b, w, 2, (const int64_t[]){out, in}),
                     weights(b, bias, 1, &out)};
    return amg_builder_node(b, AMG_OP_GEMM, name, inputs, 3,
                            (amg_attr[]){amg_int("transB", 1)}, 1, NULL);
}

static void write_model(const char *path, amg_builder *b, int output)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_builder_output(b, output);
    if (amg_builder_finish(b, &g, &err) || amg_graph_write_onnx(path, g, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_graph_free(g);
    amg_builder_free(b);
}

/* Input [N,dims…] flattened, hidden layer of 8, Relu, out outputs. */
static void write_mlp(const char *path, int rank, const int64_t *dims, int64_t out)
{
    amg_builder *b = amg_builder_new();
    int64_t all[AMG_MAX_RANK] = {AMG_DIM_BATCH}, count = 1;
    for (int i = 0; i < rank; i++) count *= all[i + 1] = dims[i];
    int x = amg_builder_input(b, "samples", AMG_F32, rank + 1, all);
    if (rank > 1) x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, NULL, 0, NULL);
    x = linear(b, "hidden", x, count, 8);
    x = amg_builder_node(b, AMG_OP_RELU, "relu", &x, 1, NULL, 0, NULL);
    write_model(path, b, linear(b, "last", x, 8, out));
}

/* Tokens [N,length] -> table [words,4] -> out. */
static void write_embedding(const char *path, int64_t length, int64_t words,
                            int64_t out)
{
    amg_builder *b = amg_builder_new();
    int x = amg_builder_input(b, "tokens", AMG_I64, 2,
                              (const int64_t[]){AMG_DIM_BATCH, length});
    int table = weights(b, "table", 2, (const int64_t[]){words, 4});
    x = amg_builder_node(b, AMG_OP_GATHER, "embed", (int[]){table, x}, 2,
                         (amg_attr[]){amg_int("axis", 0)}, 1, NULL);
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, NULL, 0, NULL);
    write_model(path, b, linear(b, "last", x, length * 4, out));
}

/* Images [N,C,H,W] -> class maps [N,out,H,W]. */
static void write_conv(const char *path, const int64_t dims[3], int64_t out)
{
    amg_builder *b = amg_builder_new();
    int x =
        amg_builder_input(b, "images", AMG_F32, 4,
                          (const int64_t[]){AMG_DIM_BATCH, dims[0], dims[1], dims[2]});
    int w = weights(b, "conv.weight", 4, (const int64_t[]){out, dims[0], 1, 1});
    x = amg_builder_node(
        b, AMG_OP_CONV, "conv", (int[]){x, w}, 2,
        (amg_attr[]){amg_ints("kernel_shape", 2, (const int64_t[]){1, 1})}, 1, NULL);
    write_model(path, b, x);
}

/* ---- data ---- */

/* One kind of data and the job made of it. */
typedef struct {
    amg_dtype dtype; /* of x.npy */
    int rank;
    int64_t dims[4];
    amg_dtype target_dtype; /* of y.npy; AMG_DTYPE_NONE: no y.npy */
    int target_rank;
    int64_t target_dims[3];
    int64_t classes; /* or words */
    int64_t job_dims[3];
} data_kind;

/* Random values: integers below `below`, floats in [-1,1). */
static void write_random(const char *path, amg_dtype dtype, int rank,
                         const int64_t *dims, int64_t below, uint64_t seed)
{
    int64_t all[AMG_MAX_RANK] = {ROWS};
    memcpy(all + 1, dims, (size_t)rank * sizeof *all);
    amg_tensor t;
    assert_int_equal(amg_tensor_new(dtype, rank + 1, all, &t, NULL), AMG_OK);
    amg_rng rng = amg_rng_init(seed, 0);
    for (int64_t i = 0; i < amg_tensor_count(&t); i++) {
        const uint32_t r = amg_rng_u32(&rng);
        if (dtype == AMG_F32)
            ((float *)t.data)[i] = (float)r / 2147483648.0f - 1;
        else if (dtype == AMG_I64)
            ((int64_t *)t.data)[i] = (int64_t)(r % (uint64_t)below);
        else
            ((uint8_t *)t.data)[i] = (uint8_t)(r % (uint64_t)below);
    }
    assert_int_equal(amg_npy_write(path, &t, NULL), AMG_OK);
    amg_tensor_clear(&t);
}

/* Paths of one test's folder, and its options. */
typedef struct {
    char model[512], x[512], y[512], key[512], job[512];
    char train[1200], val[1200], covers[1200];
    amg_obfuscate_options options;
    amg_error err;
} bench;

static void open_bench(bench *b, const char *dir)
{
    *b = (bench){0};
    snprintf(b->model, sizeof b->model, "%s/model.onnx", dir);
    snprintf(b->x, sizeof b->x, "%s/x.npy", dir);
    snprintf(b->y, sizeof b->y, "%s/y.npy", dir);
    snprintf(b->key, sizeof b->key, "%s/job.key", dir);
    snprintf(b->job, sizeof b->job, "%s/job", dir);
    b->options = (amg_obfuscate_options){.model = b->model,
                                         .train = b->train,
                                         .val = b->val,
                                         .covers = b->covers,
                                         .num_decoys = 1,
                                         .decoys = {.arch = AMG_DECOY_SAME},
                                         .key = b->key,
                                         .seed_hex = "00000000000000000000000000000000"
                                                     "00000000000000000000000000000007",
                                         .out = b->job,
                                         .task_by_data = true,
                                         .shard_bytes = 1024};
}

static void write_data(bench *b, const data_kind *k)
{
    char set[1100];
    write_random(b->x, k->dtype, k->rank, k->dims,
                 k->dtype == AMG_U8 ? 256 : k->classes, 3);
    if (k->target_dtype)
        write_random(b->y, k->target_dtype, k->target_rank, k->target_dims, k->classes,
                     4);
    snprintf(set, sizeof set, k->target_dtype ? "%s,%s" : "%s", b->x, b->y);
    snprintf(b->train, sizeof b->train, "%s[0:%d]", set, OWN);
    snprintf(b->val, sizeof b->val, "%s[%d:%d]", set, OWN, OWN + VAL);
    snprintf(b->covers, sizeof b->covers, "%s[%d:%d]", set, OWN + VAL, ROWS);
}

static amg_status obfuscate(bench *b, amg_obfuscate_result *r)
{
    return amg_obfuscate(&b->options, NULL, r, &b->err);
}

/* What the owner has of a job: manifest, plan, the column of the original. */
typedef struct {
    amg_manifest manifest;
    amg_secret *secret;
    amg_key_payload payload;
    amg_obf_plan plan;
    int head;
} own_view;

static void open_view(own_view *v, const bench *b)
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
}

/* Labels of the job back to the data's. */
static void unmap(const amg_obf_plan *plan, int32_t *labels, int64_t count)
{
    const amg_subnet_plan *own = &plan->subnets[plan->original];
    for (int64_t i = 0; i < count; i++) {
        int32_t c = 0;
        while (c < own->num_classes && own->label_map[c] != labels[i]) c++;
        labels[i] = c;
    }
}

static void unmap_tokens(const amg_obf_plan *plan, int32_t *tokens)
{
    const int32_t *map = plan->subnets[plan->original].token_map;
    for (int64_t i = 0; map && i < plan->num_values; i++) {
        int32_t t = 0;
        while (t < plan->shape.vocab && map[t] != tokens[i]) t++;
        tokens[i] = t;
    }
}

/* Every sample and target of a split is the data set's, bit for bit. */
static void assert_shows(const own_view *v, const bench *b, const amg_split *split,
                         const char *spec)
{
    amg_source s = {0};
    amg_dataset *ds = NULL;
    amg_error err = {0};
    if (amg_source_open_job(b->job, &v->manifest, split, &s, &err) ||
        amg_dataset_open(spec, &ds, &err))
        fail_msg("%s: %s", err.where, err.what);
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    const bool targets = v->manifest.task != AMG_TASK_RECONSTRUCTION;
    const size_t column = targets ? info->target_bytes : 0;
    const size_t columns = (size_t)s.num_columns * column + 1;
    uint8_t *x = malloc(s.sample_bytes), *all = malloc(columns);
    uint8_t *own = malloc(info->sample_bytes), *want = malloc(info->sample_bytes);
    uint8_t *target = malloc(info->target_bytes + 1);
    assert_int_equal(s.num_samples, info->num_samples);
    assert_int_equal(s.num_columns, targets ? v->manifest.num_heads : 0);
    assert_int_equal((size_t)s.target_count * 4, column);
    for (int64_t i = 0; i < s.num_samples; i++) {
        assert_int_equal(s.read(&s, i, x, all, NULL), AMG_OK);
        assert_int_equal(amg_dataset_read(ds, i, want, target, NULL), AMG_OK);
        amg_select(&v->plan, v->plan.original, x, 1, amg_dtype_size(s.dtype), own);
        unmap_tokens(&v->plan, (void *)own);
        assert_memory_equal(own, want, info->sample_bytes);
        if (!column) continue;
        uint8_t *got = all + (size_t)v->manifest.heads[v->head].label_column * column;
        if (s.target_dtype == AMG_I32) unmap(&v->plan, (void *)got, s.target_count);
        assert_memory_equal(got, target, column);
    }
    free(x), free(all), free(own), free(want), free(target);
    amg_source_close(&s);
    amg_dataset_close(ds);
}

static amg_obfuscate_result must_show(bench *b, const data_kind *k, amg_task task)
{
    amg_obfuscate_result r = {0};
    own_view v;
    if (obfuscate(b, &r)) fail_msg("%s: %s", b->err.where, b->err.what);
    open_view(&v, b);
    assert_int_equal(r.task, task);
    assert_int_equal(v.manifest.task, task);
    assert_int_equal(v.manifest.input_rank, 3);
    assert_memory_equal(v.manifest.input_dims, k->job_dims, sizeof k->job_dims);
    assert_int_equal(v.manifest.input_dtype, k->dtype == AMG_I64 ? AMG_I32 : k->dtype);
    assert_shows(&v, b, &v.manifest.train, b->train);
    assert_shows(&v, b, &v.manifest.val, b->val);
    close_view(&v);
    return r;
}

static void vectors_and_numbers(void **state)
{
    const data_kind k = {AMG_F32, 1, {13}, AMG_F32, 1, {2}, 0, {1, 26, 1}};
    bench b;
    open_bench(&b, *state);
    write_mlp(b.model, 1, k.dims, 2);
    write_data(&b, &k);
    const amg_obfuscate_result r = must_show(&b, &k, AMG_TASK_REGRESSION);
    assert_false(r.labels_permuted);
}

static void sequences_and_classes(void **state)
{
    const data_kind k = {AMG_F32, 2, {6, 5}, AMG_U8, 0, {0}, 4, {1, 12, 5}};
    bench b;
    open_bench(&b, *state);
    write_mlp(b.model, 2, k.dims, 4);
    write_data(&b, &k);
    const amg_obfuscate_result r = must_show(&b, &k, AMG_TASK_CLASSIFICATION);
    assert_true(r.labels_permuted);
}

static void classes_are_kept_on_request(void **state)
{
    const data_kind k = {AMG_F32, 2, {6, 5}, AMG_U8, 0, {0}, 4, {1, 12, 5}};
    bench b;
    own_view v;
    open_bench(&b, *state);
    write_mlp(b.model, 2, k.dims, 4);
    write_data(&b, &k);
    b.options.keep_classes = true;
    const amg_obfuscate_result r = must_show(&b, &k, AMG_TASK_CLASSIFICATION);
    assert_false(r.labels_permuted);
    open_view(&v, &b);
    for (int s = 0; s < 2; s++)
        for (int32_t c = 0; c < 4; c++)
            assert_int_equal(v.plan.subnets[s].label_map[c], c);
    close_view(&v);
}

static void volumes_of_four_dims(void **state)
{
    const data_kind k = {AMG_F32, 4, {2, 3, 2, 2}, AMG_U8, 0, {0}, 3, {1, 4, 12}};
    bench b;
    open_bench(&b, *state);
    write_mlp(b.model, 4, k.dims, 3);
    write_data(&b, &k);
    must_show(&b, &k, AMG_TASK_CLASSIFICATION);
}

static void tokens_and_classes(void **state)
{
    const data_kind k = {AMG_I64, 1, {7}, AMG_U8, 0, {0}, 5, {1, 14, 1}};
    bench b;
    open_bench(&b, *state);
    write_embedding(b.model, 7, 5, 5);
    write_data(&b, &k);
    const amg_obfuscate_result r = must_show(&b, &k, AMG_TASK_CLASSIFICATION);
    assert_true(r.tokens_permuted); /* by the table: the data name no vocabulary */
}

static void images_and_class_maps(void **state)
{
    const data_kind k = {AMG_U8, 3, {3, 4, 5}, AMG_U8, 2, {4, 5}, 6, {3, 8, 5}};
    bench b;
    open_bench(&b, *state);
    write_conv(b.model, k.dims, 6);
    write_data(&b, &k);
    must_show(&b, &k, AMG_TASK_CLASSIFICATION);
}

/* From a value back to the Gather of its select. */
static const amg_tensor *select_of(const amg_graph *g, const char *value)
{
    int v = amg_graph_find_value(g, value);
    assert_true(v >= 0);
    for (;;) {
        assert_int_equal(g->values[v].kind, AMG_VALUE_ACTIVATION);
        const amg_node *n = &g->nodes[g->values[v].producer];
        if (n->op == AMG_OP_GATHER) return &g->values[n->inputs[1]].data;
        v = n->inputs[0];
    }
}

/* The target of every head is its own network's input, normalised. */
static void autoencoders_have_no_targets_but_their_input(void **state)
{
    const data_kind k = {AMG_F32, 1, {12}, AMG_DTYPE_NONE, 0, {0}, 0, {1, 24, 1}};
    bench b;
    own_view v;
    amg_graph *g = NULL;
    char path[600];
    open_bench(&b, *state);
    write_mlp(b.model, 1, k.dims, 12);
    write_data(&b, &k);
    b.options.task_by_data = false;
    b.options.task = AMG_TASK_RECONSTRUCTION;
    must_show(&b, &k, AMG_TASK_RECONSTRUCTION);
    open_view(&v, &b);
    snprintf(path, sizeof path, "%s/model.onnx", b.job);
    assert_int_equal(amg_graph_read_onnx(path, &g, NULL), AMG_OK);
    for (int h = 0; h < 2; h++) {
        const amg_tensor *index = select_of(g, v.manifest.heads[h].target);
        assert_int_equal(amg_tensor_count(index), 12);
        for (int i = 0; i < 12; i++)
            assert_int_equal(((int64_t *)index->data)[i], v.plan.subnets[h].select[i]);
        const amg_value *value =
            &g->values[amg_graph_find_value(g, v.manifest.heads[h].target)];
        assert_int_equal(value->dtype, AMG_F32);
        assert_int_equal(value->rank, 2);
        assert_int_equal(value->dims[1], 12);
    }
    assert_null(v.manifest.train.shards[0].y);
    snprintf(path, sizeof path, "%s/data/train-y-00000.npy", b.job);
    assert_false(amg_path_exists(path));
    amg_graph_free(g);
    close_view(&v);
}

/* ---- data sets given as such ---- */

typedef struct {
    amg_dataset *ds;
    int calls;
} relay;

static amg_status read_relayed(void *context, const int64_t *rows, int64_t num, void *x,
                               void *y, amg_error *err)
{
    relay *r = context;
    r->calls++;
    return amg_dataset_read_many(r->ds, rows, num, x, y, err);
}

/* All files of two jobs are the same but for the order in which sets were given. */
static void open_data_sets_make_the_same_job(void **state)
{
    const data_kind k = {AMG_F32, 1, {13}, AMG_F32, 0, {0}, 0, {1, 26, 1}};
    bench b;
    amg_dataset *sets[3] = {NULL};
    relay relays[3] = {{0}};
    char hash[2][65], path[600];
    int64_t size;
    open_bench(&b, *state);
    write_mlp(b.model, 1, k.dims, 1);
    write_data(&b, &k);
    const char *specs[3] = {b.train, b.val, b.covers};
    amg_obfuscate_result r;
    /* Targets [] for an output [1]: numpy's y of one dim. */
    assert_int_equal(obfuscate(&b, &r), AMG_MISMATCH);
    assert_non_null(strstr(b.err.hint, "reshape(-1, 1)"));
    const data_kind column = {AMG_F32, 1, {13}, AMG_F32, 1, {1}, 0, {1, 26, 1}};
    write_data(&b, &column);
    must_show(&b, &column, AMG_TASK_REGRESSION);
    snprintf(path, sizeof path, "%s/job.json", b.job);
    assert_int_equal(amg_file_sha256(path, hash[0], &size, NULL), AMG_OK);
    amg_dir_remove(b.job);
    assert_int_equal(remove(b.key), 0);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(amg_dataset_open(specs[i], &relays[i].ds, NULL), AMG_OK);
        const amg_dataset_callbacks c = {.info = *amg_dataset_get_info(relays[i].ds),
                                         .source = specs[i],
                                         .context = &relays[i],
                                         .read = read_relayed};
        assert_int_equal(amg_dataset_from_callbacks(&c, &sets[i], NULL), AMG_OK);
    }
    b.options.train = b.options.val = b.options.covers = NULL;
    b.options.train_set = sets[0];
    b.options.val_set = sets[1];
    b.options.cover_set = sets[2];
    if (obfuscate(&b, &r)) fail_msg("%s: %s", b.err.where, b.err.what);
    assert_int_equal(amg_file_sha256(path, hash[1], &size, NULL), AMG_OK);
    assert_string_equal(hash[0], hash[1]);
    assert_in_range(relays[0].calls, 1, 8); /* not one call for each sample */
    for (int i = 0; i < 3; i++) {
        float x[13]; /* still open */
        assert_int_equal(amg_dataset_read(sets[i], 0, x, NULL, NULL), AMG_OK);
        amg_dataset_close(sets[i]);
        amg_dataset_close(relays[i].ds);
    }
}

/* ---- what does not fit ---- */

static void assert_refused(bench *b, amg_status code, const char *words)
{
    amg_obfuscate_result r;
    b->err = (amg_error){0};
    assert_int_equal(obfuscate(b, &r), code);
    if (!strstr(b->err.what, words)) fail_msg("%s: %s", b->err.where, b->err.what);
    assert_false(amg_path_exists(b->job));
    assert_false(amg_path_exists(b->key));
}

static void tasks_need_their_targets(void **state)
{
    const data_kind classes = {AMG_F32, 1, {13}, AMG_U8, 0, {0}, 4, {0}};
    const data_kind none = {AMG_F32, 1, {13}, AMG_DTYPE_NONE, 0, {0}, 0, {0}};
    const data_kind numbers = {AMG_F32, 1, {13}, AMG_F32, 1, {3}, 0, {0}};
    const data_kind maps = {AMG_F32, 1, {13}, AMG_U8, 1, {2}, 4, {0}};
    bench b;
    open_bench(&b, *state);
    write_mlp(b.model, 1, classes.dims, 3);
    write_data(&b, &classes);
    assert_refused(&b, AMG_MISMATCH, "has 4 classes");
    b.options.task_by_data = false;
    b.options.task = AMG_TASK_REGRESSION;
    assert_refused(&b, AMG_MISMATCH, "targets are I32[]");
    b.options.task = AMG_TASK_RECONSTRUCTION;
    assert_refused(&b, AMG_MISMATCH, "reconstruction of its input needs F32[13]");
    write_data(&b, &maps);
    b.options.task = AMG_TASK_CLASSIFICATION;
    assert_refused(&b, AMG_MISMATCH, "targets are I32[2]");
    write_data(&b, &numbers);
    assert_refused(&b, AMG_MISMATCH, "expected class labels for classification");
    assert_non_null(strstr(b.err.hint, "regression"));
    write_data(&b, &none);
    assert_refused(&b, AMG_MISMATCH, "targets are none");
    assert_non_null(strstr(b.err.hint, "reconstruction"));
}

static void samples_need_the_models_shape_and_type(void **state)
{
    const data_kind floats = {AMG_F32, 1, {7}, AMG_U8, 0, {0}, 5, {0}};
    const data_kind turned = {AMG_F32, 2, {5, 6}, AMG_U8, 0, {0}, 4, {0}};
    const int64_t dims[2] = {6, 5};
    bench b;
    open_bench(&b, *state);
    write_mlp(b.model, 2, dims, 4);
    write_data(&b, &turned);
    assert_refused(&b, AMG_MISMATCH, "samples are F32[5,6]");
    write_embedding(b.model, 7, 5, 5);
    write_data(&b, &floats);
    assert_refused(&b, AMG_MISMATCH, "the model takes I64, the data are F32");
    write_mlp(b.model, 1, floats.dims, 5); /* a row of numbers is no image */
    b.options.mode = AMG_MODE_PAPER;
    b.options.amount = 0.5;
    b.options.covers = NULL;
    assert_refused(&b, AMG_UNSUPPORTED, "streams mode only");
}

static void covers_need_targets_of_the_same_shape(void **state)
{
    const data_kind k = {AMG_F32, 1, {13}, AMG_F32, 1, {2}, 0, {0}};
    char alone[600], other[600], pool[1300];
    bench b;
    open_bench(&b, *state);
    write_mlp(b.model, 1, k.dims, 2);
    write_data(&b, &k);
    snprintf(alone, sizeof alone, "%s[50:100]", b.x);
    b.options.covers = alone;
    assert_refused(&b, AMG_MISMATCH, "targets of the covers are none");
    snprintf(other, sizeof other, "%s/z.npy", (char *)*state);
    write_random(other, AMG_F32, 2, (const int64_t[]){1, 2}, 0, 5);
    snprintf(pool, sizeof pool, "%s,%s[50:100]", b.x, other);
    b.options.covers = pool;
    assert_refused(&b, AMG_MISMATCH, "targets of the covers are F32[1,2]");
}

static void targets_out_of_range_name_their_row(void **state)
{
    const data_kind k = {AMG_F32, 1, {13}, AMG_F32, 1, {2}, 0, {0}};
    bench b;
    amg_tensor t;
    open_bench(&b, *state);
    write_mlp(b.model, 1, k.dims, 2);
    write_data(&b, &k);
    assert_int_equal(amg_tensor_new(AMG_F32, 2, (const int64_t[]){ROWS, 2}, &t, NULL),
                     AMG_OK);
    ((float *)t.data)[2 * 17 + 1] = NAN;
    assert_int_equal(amg_npy_write(b.y, &t, NULL), AMG_OK);
    assert_refused(&b, AMG_NOT_FINITE, "sample 17: value 1 of its target");
    amg_tensor_clear(&t);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(vectors_and_numbers),
        IN_FOLDER(sequences_and_classes),
        IN_FOLDER(classes_are_kept_on_request),
        IN_FOLDER(volumes_of_four_dims),
        IN_FOLDER(tokens_and_classes),
        IN_FOLDER(images_and_class_maps),
        IN_FOLDER(autoencoders_have_no_targets_but_their_input),
        IN_FOLDER(open_data_sets_make_the_same_job),
        IN_FOLDER(tasks_need_their_targets),
        IN_FOLDER(samples_need_the_models_shape_and_type),
        IN_FOLDER(covers_need_targets_of_the_same_shape),
        IN_FOLDER(targets_out_of_range_name_their_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
