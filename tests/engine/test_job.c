/* Job folders and plain training: what is written, and that every file is checked
 * against the others before a step is taken. More than 500 lines: a list of small
 * cases. */
#include "lm_fixture.h"

#include "base/alloc.h"
#include "engine/job.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "formats/token_set.h"
#include "graph/onnx_graph.h"

static const net_head heads[2] = {{.prefix = "a.", .seed = 1, .width = 4},
                                  {.prefix = "b.", .seed = 2}};
enum { ROWS = 40, VAL_ROWS = 10 };

typedef struct {
    char dir[64];
    amg_graph *graph;
    amg_shard train, val;
    amg_head manifest_heads[2];
    amg_manifest manifest;
} job;

static const char *at(const job *j, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", j->dir, name);
    return path;
}

static void write_npy(const job *j, const char *name, amg_dtype dtype, int rank,
                      const int64_t *dims, const void *data)
{
    char path[160];
    amg_tensor t;
    assert_int_equal(amg_tensor_view(dtype, rank, dims, data, &t, NULL), AMG_OK);
    assert_int_equal(amg_npy_write(at(j, name, path), &t, NULL), AMG_OK);
}

/* Rows of the synthetic source as x and y of a shard. */
static void write_rows(const job *j, const char *x_name, const char *y_name,
                       uint64_t seed, int64_t rows)
{
    static float x[ROWS * PIXELS];
    static int32_t y[ROWS * 2];
    synthetic data = {.seed = seed, .bad = -1, .poison = -1};
    amg_source s = synthetic_source(&data, rows, 2);
    const int64_t x_dims[4] = {rows, 1, SIDE, SIDE}, y_dims[2] = {rows, 2};
    for (int64_t i = 0; i < rows; i++)
        assert_int_equal(s.read(&s, i, x + i * PIXELS, y + i * 2, NULL), AMG_OK);
    write_npy(j, x_name, AMG_F32, 4, x_dims, x);
    write_npy(j, y_name, AMG_I32, 2, y_dims, y);
}

/* weights.safetensors from the graph; skip leaves one out, poison makes one NaN, extra
 * adds one. */
static void write_weights(const job *j, const char *skip, const char *poison,
                          const char *extra)
{
    char path[160];
    amg_st_entry entries[32];
    amg_params sets[2];
    size_t n = 0;
    for (int h = 0; h < 2; h++) {
        assert_int_equal(amg_params_new(j->graph, h, &sets[h], NULL), AMG_OK);
        for (int i = 0; i < sets[h].count; i++) {
            const amg_param *p = &sets[h].items[i];
            if (skip && strcmp(p->name, skip) == 0) continue;
            if (poison && strcmp(p->name, poison) == 0)
                ((float *)p->tensor.data)[1] = NAN;
            entries[n++] = (amg_st_entry){p->name, p->tensor};
        }
    }
    if (extra) entries[n] = (amg_st_entry){extra, entries[0].tensor};
    n += extra != NULL;
    assert_int_equal(
        amg_safetensors_write(at(j, "weights.safetensors", path), entries, n, NULL),
        AMG_OK);
    for (int h = 0; h < 2; h++) amg_params_clear(&sets[h]);
}

static void write_manifest(const job *j)
{
    char path[160];
    amg_error err = {0};
    if (amg_manifest_write(at(j, "job.json", path), &j->manifest, &err))
        fail_msg("%s: %s", err.where, err.what);
}

static int make_job(void **state)
{
    char path[160];
    job *j = calloc(1, sizeof *j);
    make_temp_dir(j->dir);
    j->graph = make_net(heads, 2);
    assert_int_equal(amg_graph_write_onnx(at(j, "model.onnx", path), j->graph, NULL),
                     AMG_OK);
    write_weights(j, NULL, NULL, NULL);
    write_rows(j, "x.npy", "y.npy", 11, ROWS);
    write_rows(j, "vx.npy", "vy.npy", 12, VAL_ROWS);
    j->train = (amg_shard){"x.npy", "y.npy", ROWS};
    j->val = (amg_shard){"vx.npy", "vy.npy", VAL_ROWS};
    /* The manifest's order of heads is not the graph's. */
    j->manifest_heads[0] =
        (amg_head){.output = "b.fc_y", .label_column = 0, .num_classes = CLASSES};
    j->manifest_heads[1] =
        (amg_head){.output = "a.fc_y", .label_column = 1, .num_classes = CLASSES};
    j->manifest = (amg_manifest){.version = AMG_MANIFEST_VERSION,
                                 .task = AMG_TASK_CLASSIFICATION,
                                 .target_dtype = AMG_I32,
                                 .input_name = "x",
                                 .input_dtype = AMG_F32,
                                 .input_rank = 3,
                                 .input_dims = {1, SIDE, SIDE},
                                 .num_heads = 2,
                                 .heads = j->manifest_heads,
                                 .train = {ROWS, 1, &j->train},
                                 .val = {VAL_ROWS, 1, &j->val}};
    write_manifest(j);
    *state = j;
    return 0;
}

static int remove_job(void **state)
{
    job *j = *state;
    amg_graph_free(j->graph);
    amg_dir_remove(j->dir);
    free(j);
    return 0;
}

static const amg_train_options options = {
    .batch = 8, .epochs = 3, .threads = 2, .optimizer = {.lr = 0.1, .momentum = 0.9}};

static void a_job_is_trained_into_its_out_folder(void **state)
{
    const job *j = *state;
    char path[160];
    amg_error err = {0};
    amg_train_result r;
    amg_safetensors *st;
    if (amg_job_train(j->dir, &options, NULL, &r, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(r.num_heads, 2);
    assert_int_equal(r.steps, 15);
    assert_true(r.heads[0].val_top1 > 0 && r.heads[1].val_top1 > 0);
    assert_true(amg_path_exists(at(j, "out/metrics.jsonl", path)));
    assert_true(amg_path_exists(at(j, "out/checkpoint.safetensors", path)));

    /* All weights, by name, in order, and the bits that training on the spot gives. */
    session s;
    session_open(&s, heads, 2, NULL);
    s.options = options;
    s.train.num_samples = ROWS;
    s.val.num_samples = VAL_ROWS;
    session_train(&s);
    assert_int_equal(
        amg_safetensors_open(at(j, "out/weights.safetensors", path), &st, NULL),
        AMG_OK);
    assert_int_equal(amg_safetensors_count(st), s.params[0].count + s.params[1].count);
    for (size_t i = 1; i < amg_safetensors_count(st); i++)
        assert_true(strcmp(amg_safetensors_at(st, i - 1)->name,
                           amg_safetensors_at(st, i)->name) < 0);
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < s.params[h].count; i++) {
            const amg_param *p = &s.params[h].items[i];
            const amg_tensor *t = amg_safetensors_find(st, p->name);
            assert_non_null(t);
            assert_memory_equal(t->data, p->tensor.data, t->size_bytes);
        }
    assert_true(r.heads[1].val_loss == s.result.heads[1].val_loss);
    char sha256[65];
    int64_t size;
    assert_int_equal(amg_file_sha256(at(j, "job.json", path), sha256, &size, NULL),
                     AMG_OK);
    assert_int_equal(amg_safetensors_num_metadata(st), 2);
    assert_string_equal(amg_safetensors_find_metadata(st, "job"), sha256);
    assert_string_equal(amg_safetensors_find_metadata(st, "steps"), "15");
    amg_safetensors_close(st);
    assert_int_equal(
        amg_safetensors_open(at(j, "out/checkpoint.safetensors", path), &st, NULL),
        AMG_OK);
    assert_string_equal(amg_safetensors_find_metadata(st, "job"), sha256);
    assert_string_equal(amg_safetensors_find_metadata(st, "steps"), "15");
    amg_safetensors_close(st);
    session_close(&s);
}

static void a_stopped_job_resumes_to_the_same_weights(void **state)
{
    const job *j = *state;
    char path[160], straight[65], resumed[65];
    int64_t size;
    amg_train_options o = options;
    at(j, "out/weights.safetensors", path);
    assert_int_equal(amg_job_train(j->dir, &o, NULL, NULL, NULL), AMG_OK);
    assert_int_equal(amg_file_sha256(path, straight, &size, NULL), AMG_OK);
    o.max_steps = 7;
    assert_int_equal(amg_job_train(j->dir, &o, NULL, NULL, NULL), AMG_OK);
    assert_int_equal(amg_file_sha256(path, resumed, &size, NULL), AMG_OK);
    assert_string_not_equal(straight, resumed);
    o.max_steps = 0;
    o.resume = true;
    assert_int_equal(amg_job_train(j->dir, &o, NULL, NULL, NULL), AMG_OK);
    assert_int_equal(amg_file_sha256(path, resumed, &size, NULL), AMG_OK);
    assert_string_equal(straight, resumed);
}

static void expect_refusal(const job *j, amg_status code, const char *where,
                           const char *what)
{
    char path[160];
    amg_error err = {0};
    const amg_status status = amg_job_train(j->dir, &options, NULL, NULL, &err);
    if (status != code || !strstr(err.where, where) || !strstr(err.what, what))
        fail_msg("%s: %s: %s", amg_status_name(status), err.where, err.what);
    assert_false(amg_path_exists(at(j, "out", path))); /* nothing is left behind */
}

static void weights_must_be_exactly_the_model_s(void **state)
{
    const job *j = *state;
    write_weights(j, "a.bn.mean", NULL, NULL);
    expect_refusal(j, AMG_NOT_FOUND, "a.bn.mean", "");
    write_weights(j, NULL, "b.fc.w", NULL);
    expect_refusal(j, AMG_NOT_FINITE, "b.fc.w", "element 1 is NaN or infinite");
    write_weights(j, NULL, NULL, "zz");
    expect_refusal(j, AMG_MISMATCH, "weights.safetensors",
                   "tensor \"zz\" is no weight of the model");
}

static void heads_must_agree_with_the_model(void **state)
{
    job *j = *state;
    j->manifest_heads[0].num_classes = CLASSES + 1;
    write_manifest(j);
    expect_refusal(j, AMG_MISMATCH, "b.fc_y", "the manifest says 8 classes");
    j->manifest_heads[0].num_classes = CLASSES;
    j->manifest_heads[0].output = "c.fc_y";
    write_manifest(j);
    expect_refusal(j, AMG_MISMATCH, "b.fc_y", "no head of the manifest");
}

static void the_input_must_agree_with_the_model(void **state)
{
    job *j = *state;
    j->manifest.input_name = "y";
    write_manifest(j);
    expect_refusal(j, AMG_MISMATCH, "x", "the manifest calls the input \"y\"");
    j->manifest.input_name = "x";
    j->manifest.input_dims[1] = SIDE + 1;
    write_manifest(j);
    expect_refusal(j, AMG_MISMATCH, "x", "the manifest says F32[1,7,6]");
}

static void labels_beyond_the_classes_are_refused(void **state)
{
    const job *j = *state;
    int32_t y[ROWS * 2] = {0};
    const int64_t dims[2] = {ROWS, 2};
    y[2 * 3 + 1] = CLASSES;
    write_npy(j, "y.npy", AMG_I32, 2, dims, y);
    expect_refusal(j, AMG_MISMATCH, "y.npy", "row 3, column 1: label is 7");
}

static void missing_files_are_named(void **state)
{
    const job *j = *state;
    char path[160];
    remove(at(j, "model.onnx", path));
    expect_refusal(j, AMG_NOT_FOUND, "model.onnx", "");
    remove(at(j, "job.json", path));
    expect_refusal(j, AMG_NOT_FOUND, "job.json", "");
}

static void a_batch_larger_than_the_data_leaves_nothing(void **state)
{
    const job *j = *state;
    char path[160];
    amg_error err = {0};
    amg_train_options o = options;
    o.batch = ROWS + 1;
    assert_int_equal(amg_job_train(j->dir, &o, NULL, NULL, &err), AMG_INVALID);
    assert_false(amg_path_exists(at(j, "out", path)));
}

/* ---- plain training ---- */

typedef struct {
    char model[160], train[400], val[400], out[160], run[200];
} plain_paths;

/* A one-headed model, and x.npy,y.npy pairs with its labels. */
static void make_plain(const job *j, plain_paths *p)
{
    char x[160], y[160];
    synthetic data = {.seed = 11, .bad = -1, .poison = -1};
    amg_source s = synthetic_source(&data, ROWS, 1);
    static float pixels[ROWS * PIXELS];
    static int32_t labels[ROWS];
    const int64_t x_dims[4] = {ROWS, 1, SIDE, SIDE}, y_dims[1] = {ROWS};
    for (int64_t i = 0; i < ROWS; i++)
        assert_int_equal(s.read(&s, i, pixels + i * PIXELS, labels + i, NULL), AMG_OK);
    write_npy(j, "px.npy", AMG_F32, 4, x_dims, pixels);
    write_npy(j, "py.npy", AMG_I32, 1, y_dims, labels);
    amg_graph *g = make_net(heads, 1);
    assert_int_equal(amg_graph_write_onnx(at(j, "plain.onnx", p->model), g, NULL),
                     AMG_OK);
    amg_graph_free(g);
    at(j, "trained.onnx", p->out);
    at(j, "px.npy", x);
    at(j, "py.npy", y);
    snprintf(p->run, sizeof p->run, "%s.run", p->out);
    snprintf(p->train, sizeof p->train, "%s,%s", x, y);
    snprintf(p->val, sizeof p->val, "%s,%s[0:10]", x, y);
}

static void plain_training_writes_the_model_as_it_came_but_trained(void **state)
{
    const job *j = *state;
    plain_paths p;
    amg_error err = {0};
    amg_train_result r;
    const amg_preprocess pre = {
        .data_dtype = AMG_F32, .num_channels = 1, .mean = {0.1f}, .std = {0.5f}};
    make_plain(j, &p);
    const amg_plain_task task = {.model = p.model,
                                 .train = p.train,
                                 .val = p.val,
                                 .pre = &pre,
                                 .task_by_data = true,
                                 .out_onnx = p.out};
    if (amg_plain_train(&task, &options, NULL, &r, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(r.steps, 15);
    assert_true(r.heads[0].val_top1 > 0);
    assert_false(amg_path_exists(p.run));

    amg_graph *before, *after;
    assert_int_equal(amg_graph_read_onnx(p.model, &before, NULL), AMG_OK);
    assert_int_equal(amg_graph_read_onnx(p.out, &after, NULL), AMG_OK);
    assert_int_equal(before->num_nodes, after->num_nodes); /* no preprocessing in it */
    amg_params a, b;
    assert_int_equal(amg_params_new(before, 0, &a, NULL), AMG_OK);
    assert_int_equal(amg_params_new(after, 0, &b, NULL), AMG_OK);
    assert_int_equal(a.count, b.count);
    for (int i = 0; i < a.count; i++) {
        assert_string_equal(a.items[i].name, b.items[i].name);
        assert_memory_not_equal(a.items[i].tensor.data, b.items[i].tensor.data,
                                a.items[i].tensor.size_bytes);
    }
    amg_params_clear(&a);
    amg_params_clear(&b);
    amg_graph_free(before);
    amg_graph_free(after);
}

/* The loss after training and the other figures, of a model of this form. */
static amg_head_result train_plain_form(const job *j, net_form form,
                                        const char *targets, bool reconstruction)
{
    plain_paths p;
    char x[160], y[160], both[400];
    amg_error err = {0};
    amg_train_result r;
    const net_head head = {.prefix = "a.", .seed = 1, .width = 4, .form = form};
    const amg_preprocess pre = {.num_channels = 1, .mean = {0.1f}, .std = {0.5f}};
    make_plain(j, &p);
    amg_graph *g = make_net(&head, 1);
    assert_int_equal(amg_graph_write_onnx(p.model, g, NULL), AMG_OK);
    amg_graph_free(g);
    snprintf(both, sizeof both, "%s,%s", at(j, "px.npy", x), at(j, targets, y));
    const amg_plain_task task = {.model = p.model,
                                 .train = both,
                                 .val = both,
                                 .pre = &pre,
                                 .task = AMG_TASK_RECONSTRUCTION,
                                 .task_by_data = !reconstruction,
                                 .out_onnx = p.out};
    if (amg_plain_train(&task, &options, NULL, &r, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_true(amg_path_exists(p.out));
    return r.heads[0];
}

static void plain_training_takes_its_task_from_the_targets(void **state)
{
    const job *j = *state;
    static float numbers[ROWS * NUMBERS];
    static int32_t classes[ROWS * PIXELS];
    for (int i = 0; i < ROWS * NUMBERS; i++) numbers[i] = (float)(i % 5) / 10;
    for (int i = 0; i < ROWS * PIXELS; i++) classes[i] = i % MAP_CLASSES;
    write_npy(j, "numbers.npy", AMG_F32, 2, (int64_t[]){ROWS, NUMBERS}, numbers);
    write_npy(j, "map.npy", AMG_I32, 3, (int64_t[]){ROWS, SIDE, SIDE}, classes);

    amg_head_result r = train_plain_form(j, NET_NUMBERS, "numbers.npy", false);
    assert_true(r.val_loss > 0 && r.val_loss < 5 && isnan(r.val_top1));
    r = train_plain_form(j, NET_MAP, "map.npy", false);
    assert_true(r.val_loss > 0 && r.val_loss < 2 && r.val_top1 > 0 && r.val_top5 == 1);
    /* The labels that these images have are not looked at. */
    r = train_plain_form(j, NET_IMAGE, "py.npy", true);
    assert_true(r.val_loss > 0 && r.val_loss < 1 && isnan(r.train_accuracy));
}

static void plain_training_without_targets_must_be_a_reconstruction(void **state)
{
    const job *j = *state;
    plain_paths p;
    char x[160];
    amg_error err = {0};
    make_plain(j, &p);
    amg_plain_task task = {.model = p.model,
                           .train = at(j, "px.npy", x),
                           .task_by_data = true,
                           .out_onnx = p.out};
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_INVALID);
    assert_non_null(strstr(err.hint, "reconstruction"));
    task.task_by_data = false; /* a classification, then */
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_INVALID);
    assert_non_null(strstr(err.hint, "reconstruction"));
    assert_false(amg_path_exists(p.run));
}

static void plain_training_resumes(void **state)
{
    const job *j = *state;
    plain_paths p;
    char straight[65], resumed[65];
    int64_t size;
    amg_train_options o = options;
    make_plain(j, &p);
    const amg_plain_task task = {
        .model = p.model, .train = p.train, .task_by_data = true, .out_onnx = p.out};
    assert_int_equal(amg_plain_train(&task, &o, NULL, NULL, NULL), AMG_OK);
    assert_int_equal(amg_file_sha256(p.out, straight, &size, NULL), AMG_OK);
    o.max_steps = 4;
    assert_int_equal(amg_plain_train(&task, &o, NULL, NULL, NULL), AMG_OK);
    assert_true(amg_path_is_dir(p.run));
    o.max_steps = 0;
    o.resume = true;
    assert_int_equal(amg_plain_train(&task, &o, NULL, NULL, NULL), AMG_OK);
    assert_int_equal(amg_file_sha256(p.out, resumed, &size, NULL), AMG_OK);
    assert_string_equal(straight, resumed);
    assert_false(amg_path_exists(p.run));
}

static void plain_training_refuses_what_does_not_fit(void **state)
{
    const job *j = *state;
    plain_paths p;
    char two[160], many[160];
    amg_error err = {0};
    make_plain(j, &p);
    amg_plain_task task = {.model = at(j, "model.onnx", two),
                           .train = p.train,
                           .task_by_data = true,
                           .out_onnx = p.out};
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "0 terms for the model's 2 outputs"));
    task.task_by_data = false;
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "it is classification, for a model of 2 outputs"));
    task.task_by_data = true;

    int32_t y[ROWS] = {CLASSES};
    const int64_t dims[1] = {ROWS};
    write_npy(j, "py.npy", AMG_I32, 1, dims, y);
    task.model = p.model;
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "8 classes, the model has 7"));
    assert_non_null(strstr(err.hint, "at least 8 classes"));

    task.model = at(j, "gone.onnx", many);
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_NOT_FOUND);
    assert_false(amg_path_exists(p.out));
    assert_false(amg_path_exists(p.run));
}

/* ---- language models ---- */

/* A model of the law's windows, [rows, columns] of them in w.npy. */
static void make_plain_lm(const job *j, plain_paths *p, bool tied, int64_t columns)
{
    static int32_t tokens[ROWS * (SEQ + 1)];
    char w[160];
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t k = 0; k < columns; k++) tokens[i * columns + k] = lm_token(i, k);
    write_npy(j, "w.npy", AMG_I32, 2, (int64_t[]){ROWS, columns}, tokens);
    amg_graph *g = make_lm(tied);
    assert_int_equal(amg_graph_write_onnx(at(j, "lm.onnx", p->model), g, NULL), AMG_OK);
    amg_graph_free(g);
    at(j, "trained.onnx", p->out);
    snprintf(p->run, sizeof p->run, "%s.run", p->out);
    snprintf(p->train, sizeof p->train, "npy:%s", at(j, "w.npy", w));
}

static amg_plain_task lm_task(const plain_paths *p)
{
    return (amg_plain_task){.model = p->model,
                            .train = p->train,
                            .val = p->train,
                            .task = AMG_TASK_LANGUAGE_MODEL,
                            .out_onnx = p->out};
}

static void plain_training_of_a_language_model_takes_windows(void **state)
{
    const job *j = *state;
    plain_paths p;
    amg_error err = {0};
    amg_train_result r;
    amg_train_options o = options;
    o.epochs = 12;
    make_plain_lm(j, &p, false, SEQ + 1);
    amg_plain_task task = lm_task(&p);
    if (amg_plain_train(&task, &o, NULL, &r, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_true(r.heads[0].val_loss > 0 && r.heads[0].val_loss < log(VOCAB));
    assert_true(r.heads[0].val_counted == ROWS * SEQ);

    amg_graph *before, *after;
    assert_int_equal(amg_graph_read_onnx(p.model, &before, NULL), AMG_OK);
    assert_int_equal(amg_graph_read_onnx(p.out, &after, NULL), AMG_OK);
    assert_int_equal(before->num_nodes, after->num_nodes); /* no windows in it */
    assert_int_equal(after->values[after->inputs[0]].dtype, AMG_I64);
    amg_graph_free(before);
    amg_graph_free(after);

    /* Numbers without targets do not say that they are tokens. */
    task.task_by_data = true;
    assert_int_equal(amg_plain_train(&task, &o, NULL, NULL, &err), AMG_INVALID);
    assert_non_null(strstr(err.hint, "language_model"));
}

static void windows_that_do_not_fit_a_language_model_are_refused(void **state)
{
    const job *j = *state;
    plain_paths p;
    char w[160], y[160], both[400];
    amg_error err = {0};
    make_plain_lm(j, &p, false, SEQ);
    amg_plain_task task = lm_task(&p);
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_MISMATCH);
    assert_string_equal(
        err.what, "samples are I32[6], a language model of 6 tokens needs I32[7]");
    const int32_t labels[ROWS] = {0};
    write_npy(j, "labels.npy", AMG_I32, 1, (int64_t[]){ROWS}, labels);
    snprintf(both, sizeof both, "%s,%s", at(j, "w.npy", w), at(j, "labels.npy", y));
    task.train = both;
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_INVALID);
    assert_non_null(strstr(err.what, "the data have targets"));
    assert_false(amg_path_exists(p.run));
}

/* A token set of 40 windows' tokens, of which token 3 is padding. */
static void write_tokens(const char *dir, int64_t vocab)
{
    amg_token_writer *writer;
    char vocabulary[200];
    int32_t tokens[ROWS * SEQ + 1];
    const amg_token_info info = {.vocab_size = vocab, .pad = 3, .eos = AMG_NO_TOKEN};
    for (int i = 0; i <= ROWS * SEQ; i++) tokens[i] = lm_token(i / SEQ, i % SEQ);
    assert_int_equal(amg_token_writer_new(dir, &info, &writer, NULL), AMG_OK);
    assert_int_equal(amg_token_writer_add(writer, tokens, ROWS * SEQ + 1, 0, NULL),
                     AMG_OK);
    snprintf(vocabulary, sizeof vocabulary, "%s/vocabulary.json",
             amg_token_writer_dir(writer));
    assert_int_equal(amg_file_write(vocabulary, 0644, true, "{}", 2, NULL), AMG_OK);
    assert_int_equal(amg_token_writer_finish(writer, NULL, NULL), AMG_OK);
}

static void a_token_set_is_a_language_model_s_data(void **state)
{
    const job *j = *state;
    plain_paths p;
    char good[160], large[160];
    amg_error err = {0};
    amg_train_result r;
    int64_t counted = 0;
    make_plain_lm(j, &p, true, SEQ + 1);
    write_tokens(at(j, "good", good), VOCAB);
    write_tokens(at(j, "large", large), VOCAB + 1);
    for (int i = 1; i <= ROWS * SEQ; i++) counted += lm_token(i / SEQ, i % SEQ) != 3;
    amg_plain_task task = {.model = p.model,
                           .train = good,
                           .val = good,
                           .task_by_data = true,
                           .out_onnx = p.out};
    if (amg_plain_train(&task, &options, NULL, &r, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_true(r.heads[0].val_counted == (double)counted); /* padding left out */
    assert_true(r.heads[0].val_loss > 0 && r.heads[0].val_loss < log(VOCAB) + 0.1);

    task.train = large;
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_MISMATCH);
    assert_string_equal(err.what, "the data have a vocabulary of 14 tokens, the model "
                                  "of 13");
    assert_non_null(strstr(err.hint, "--vocab 14"));
    task.train = good;
    task.window.seq = SEQ - 1;
    assert_int_equal(amg_plain_train(&task, &options, NULL, NULL, &err), AMG_MISMATCH);
    assert_string_equal(
        err.what, "samples are I32[6], a language model of 6 tokens needs I32[7]");
}

/* A job of one language model over the windows of w.npy, named as the builder does. */
static void write_lm_job(job *j)
{
    const amg_preprocess windows = {.data_dtype = AMG_I32, .windows = true};
    char path[160];
    amg_graph *model = make_lm(false), *fed;
    amg_params params;
    amg_st_entry entries[8];
    assert_int_equal(amg_graph_with_preprocess(model, &windows, &fed, NULL), AMG_OK);
    assert_int_equal(amg_params_new(fed, 0, &params, NULL), AMG_OK);
    for (int i = 0; i < params.count; i++)
        entries[i] = (amg_st_entry){params.items[i].name, params.items[i].tensor};
    assert_int_equal(amg_safetensors_write(at(j, "weights.safetensors", path), entries,
                                           (size_t)params.count, NULL),
                     AMG_OK);
    assert_int_equal(amg_graph_write_onnx(at(j, "model.onnx", path), fed, NULL),
                     AMG_OK);
    j->train = j->val = (amg_shard){"w.npy", NULL, ROWS};
    j->manifest_heads[0] = (amg_head){.output = "logits_out",
                                      .num_classes = VOCAB,
                                      .loss = AMG_LOSS_CROSS_ENTROPY,
                                      .target = "preprocess/next",
                                      .has_ignore = true,
                                      .ignore_index = 3};
    j->manifest.task = AMG_TASK_LANGUAGE_MODEL;
    j->manifest.input_dtype = AMG_I32;
    j->manifest.input_rank = 1;
    j->manifest.input_dims[0] = SEQ + 1;
    j->manifest.num_heads = 1;
    j->manifest.train.num_samples = j->manifest.val.num_samples = ROWS;
    write_manifest(j);
    amg_params_clear(&params);
    amg_graph_free(fed);
    amg_graph_free(model);
}

static void a_job_of_a_language_model_trains_on_its_own_tokens(void **state)
{
    job *j = *state;
    plain_paths p;
    amg_error err = {0};
    amg_train_result r;
    amg_job opened;
    make_plain_lm(j, &p, false, SEQ + 1);
    write_lm_job(j);
    assert_int_equal(amg_job_open(j->dir, true, &opened, &err), AMG_OK);
    assert_string_equal(opened.objectives[0].target, "preprocess/next");
    assert_true(opened.objectives[0].has_ignore);
    assert_int_equal(opened.objectives[0].ignore, 3);
    assert_int_equal(opened.train.num_columns, 0);
    amg_job_close(&opened);
    if (amg_job_train(j->dir, &options, NULL, &r, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_true(r.heads[0].val_counted < ROWS * SEQ);

    /* The same figures as alone, where every token counts. */
    const amg_plain_task alone = lm_task(&p);
    amg_train_result other, again;
    j->manifest_heads[0].has_ignore = false;
    write_manifest(j);
    assert_int_equal(amg_plain_train(&alone, &options, NULL, &other, NULL), AMG_OK);
    assert_int_equal(amg_job_train(j->dir, &options, NULL, &again, NULL), AMG_OK);
    assert_memory_equal(&again.heads[0], &other.heads[0], sizeof other.heads[0]);
    assert_true(again.heads[0].train_loss != r.heads[0].train_loss);

    j->manifest_heads[0].num_classes = VOCAB + 1;
    write_manifest(j);
    assert_int_equal(amg_job_open(j->dir, true, &opened, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "F32[N,6,13], the manifest says 14 classes"));
}

int main(void)
{
#define IN_JOB(test) cmocka_unit_test_setup_teardown(test, make_job, remove_job)
    const struct CMUnitTest tests[] = {
        IN_JOB(a_job_is_trained_into_its_out_folder),
        IN_JOB(a_stopped_job_resumes_to_the_same_weights),
        IN_JOB(weights_must_be_exactly_the_model_s),
        IN_JOB(heads_must_agree_with_the_model),
        IN_JOB(the_input_must_agree_with_the_model),
        IN_JOB(labels_beyond_the_classes_are_refused),
        IN_JOB(missing_files_are_named),
        IN_JOB(a_batch_larger_than_the_data_leaves_nothing),
        IN_JOB(plain_training_writes_the_model_as_it_came_but_trained),
        IN_JOB(plain_training_takes_its_task_from_the_targets),
        IN_JOB(plain_training_without_targets_must_be_a_reconstruction),
        IN_JOB(plain_training_resumes),
        IN_JOB(plain_training_refuses_what_does_not_fit),
        IN_JOB(plain_training_of_a_language_model_takes_windows),
        IN_JOB(windows_that_do_not_fit_a_language_model_are_refused),
        IN_JOB(a_token_set_is_a_language_model_s_data),
        IN_JOB(a_job_of_a_language_model_trains_on_its_own_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
