/* Evidence of real jobs: every head's view is a sample that went in, the truth is the
 * original's, rows are those that were asked for; the wrong key and changed graphs are
 * refused in words that say why. */
#include "fixture_job.h"

#include "base/alloc.h"

enum { VOCAB = 30, LENGTH = 7, TEXTS = 40, TEXT_POOL = 200 };

static amg_status open_job(const char *job, const char *key, int64_t max_rows,
                           uint64_t seed, amg_evidence *e, amg_error *err)
{
    const amg_evidence_options o = {
        .job = job, .key = key, .max_rows = max_rows, .seed = seed};
    *err = (amg_error){0};
    return amg_evidence_open(&o, e, err);
}

static amg_evidence must_open(const char *job, const char *key)
{
    amg_evidence e;
    amg_error err;
    if (open_job(job, key, 0, 0, &e, &err)) fail_msg("%s: %s", err.where, err.what);
    return e;
}

static void refused(const char *job, const char *key, amg_status status,
                    const char *word)
{
    amg_evidence e = {.num_streams = -7};
    amg_error err;
    assert_int_equal(open_job(job, key, 0, 0, &e, &err), status);
    if (!strstr(err.what, word)) fail_msg("\"%s\" lacks \"%s\"", err.what, word);
    assert_int_equal(e.num_streams, -7);
}

/* Streams share no position and leave none out. */
static void assert_disjoint(const amg_evidence *e)
{
    uint8_t *seen = calloc((size_t)e->num_positions, 1);
    int64_t count = 0;
    for (int s = 0; s < e->num_streams; s++)
        for (int64_t i = 0; i < e->streams[s].num_values; i++, count++)
            assert_int_equal(seen[e->streams[s].select[i]]++, 0);
    assert_int_equal(count, e->num_positions);
    free(seen);
}

/* is_own says exactly what the original's select does. */
static void assert_truth(const amg_evidence *e, bool paper)
{
    assert_true(e->has_truth);
    assert_int_equal(e->paper_mode, paper);
    assert_in_range(e->original, 0, e->num_streams - 1);
    const amg_stream *own = &e->streams[e->original];
    int64_t marked = 0;
    for (int64_t p = 0; p < e->num_positions; p++) marked += e->is_own[p];
    assert_int_equal(marked, own->num_values);
    for (int64_t i = 0; i < own->num_values; i++)
        assert_int_equal(e->is_own[own->select[i]], 1);
}

/* The original's view of row i of the evidence is its sample of the data, value for
 * value, and its label the data's, under one renaming of classes. No other stream shows
 * it. */
static void assert_shows(const amg_evidence *e, const char *data)
{
    enum { VALUES = JOB_SIDE * JOB_SIDE };
    uint8_t want[VALUES];
    int32_t label, class_of[10];
    float got[VALUES];
    amg_dataset *ds = NULL;
    assert_int_equal(amg_dataset_open(data, &ds, NULL), AMG_OK);
    for (int c = 0; c < 10; c++) class_of[c] = -1;
    for (int64_t i = 0; i < e->num_rows; i++) {
        assert_int_equal(amg_dataset_read(ds, e->rows[i], want, &label, NULL), AMG_OK);
        for (int s = 0; s < e->num_streams; s++) {
            int64_t equal = 0;
            amg_evidence_sample(e, s, i, got);
            for (int64_t j = 0; j < VALUES; j++) equal += got[j] == (float)want[j];
            assert_int_equal(equal == VALUES, s == e->original);
        }
        const int32_t found = e->labels[i * e->num_streams + e->original];
        if (class_of[label] < 0) class_of[label] = found;
        assert_int_equal(found, class_of[label]);
    }
    for (int a = 0; a < 10; a++)
        for (int b = 0; b < a; b++) assert_int_not_equal(class_of[a], class_of[b]);
    amg_dataset_close(ds);
}

/* ---- images ---- */

static void images_in_streams(void **state)
{
    audit_bench b;
    make_job(&b, *state, &(job_recipe){0});
    amg_evidence e = must_open(b.job, b.key);
    assert_int_equal(e.num_streams, 4);
    assert_int_equal(e.dtype, AMG_U8);
    assert_int_equal(e.elem, 1);
    assert_true(e.is_image);
    assert_false(e.is_tokens);
    assert_int_equal(e.num_positions, 4 * JOB_SIDE * JOB_SIDE);
    assert_memory_equal(e.dims, ((int64_t[]){1, 4 * JOB_SIDE, JOB_SIDE}),
                        sizeof e.dims);
    assert_int_equal(e.total_rows, JOB_ROWS);
    assert_int_equal(e.num_rows, JOB_ROWS);
    int columns = 0;
    for (int s = 0; s < 4; s++) {
        const amg_stream *t = &e.streams[s];
        assert_memory_equal(t->dims, ((int64_t[]){1, JOB_SIDE, JOB_SIDE}),
                            sizeof t->dims);
        assert_int_equal(t->num_classes, 10);
        columns |= 1 << t->column;
    }
    assert_int_equal(columns, 15);
    for (int64_t i = 0; i < e.num_rows; i++) assert_int_equal(e.rows[i], i);
    assert_disjoint(&e);
    assert_truth(&e, false);
    assert_shows(&e, b.data);
    amg_evidence_close(&e);
    assert_null(e.is_own);
    assert_false(e.has_truth);
    amg_evidence_close(&e);
}

static void without_a_key_there_is_no_truth(void **state)
{
    audit_bench b;
    make_job(&b, *state, &(job_recipe){0});
    amg_evidence e = must_open(b.job, NULL);
    assert_false(e.has_truth);
    assert_int_equal(e.original, -1);
    assert_null(e.is_own);
    assert_disjoint(&e);
    amg_evidence_close(&e);
}

static void some_of_the_rows(void **state)
{
    enum { SOME = 50 };
    audit_bench b;
    amg_evidence e, again, other;
    amg_error err;
    make_job(&b, *state, &(job_recipe){0});
    assert_int_equal(open_job(b.job, b.key, SOME, 1, &e, &err), AMG_OK);
    assert_int_equal(open_job(b.job, b.key, SOME, 1, &again, &err), AMG_OK);
    assert_int_equal(open_job(b.job, b.key, SOME, 2, &other, &err), AMG_OK);
    assert_int_equal(e.num_rows, SOME);
    assert_int_equal(e.total_rows, JOB_ROWS);
    for (int i = 1; i < SOME; i++) assert_true(e.rows[i] > e.rows[i - 1]);
    assert_true(e.rows[SOME - 1] < JOB_ROWS);
    assert_memory_equal(e.rows, again.rows, SOME * sizeof *e.rows);
    assert_memory_equal(e.x, again.x, (size_t)(SOME * e.num_positions));
    assert_memory_not_equal(e.rows, other.rows, SOME * sizeof *e.rows);
    assert_shows(&e, b.data);
    amg_evidence_close(&e);
    amg_evidence_close(&again);
    amg_evidence_close(&other);
}

static void images_in_paper_mode(void **state)
{
    audit_bench b;
    make_job(&b, *state, &(job_recipe){.paper = true, .decoys = 2});
    amg_evidence e = must_open(b.job, b.key);
    assert_int_equal(e.num_streams, 3);
    assert_memory_equal(e.dims, ((int64_t[]){1, 24, 24}), sizeof e.dims);
    assert_true(e.is_image);
    assert_truth(&e, true);
    assert_shows(&e, b.data);
    amg_evidence_close(&e);
}

/* ---- tokens ---- */

static void write_text_model(const text_bench *b, const char *name, bool windows)
{
    write_zoo(b->model, (amg_zoo_options){.name = name,
                                          .vocab = VOCAB,
                                          .seq = windows ? LENGTH - 1 : LENGTH,
                                          .num_classes = windows ? 0 : 3,
                                          .width_model = 8,
                                          .layers = windows ? 1 : 0,
                                          .heads = windows ? 2 : 0,
                                          .pad = windows ? -1 : 4,
                                          .seed = 3});
}

/* The original's stream is the text under one renaming of its tokens. */
static void assert_tells(const amg_evidence *e, const text_source *data)
{
    int32_t want[LENGTH], got[LENGTH], token_of[VOCAB];
    float numbers[LENGTH];
    memset(token_of, -1, sizeof token_of);
    for (int64_t i = 0; i < e->num_rows; i++) {
        text_sample(data, e->rows[i], want);
        amg_evidence_tokens(e, e->original, i, got);
        amg_evidence_sample(e, e->original, i, numbers);
        for (int j = 0; j < LENGTH; j++) {
            if (token_of[want[j]] < 0) token_of[want[j]] = got[j];
            assert_int_equal(got[j], token_of[want[j]]);
            assert_true(numbers[j] == (float)got[j]);
        }
    }
    for (int a = 0; a < VOCAB; a++)
        for (int b = 0; b < a; b++)
            assert_true(token_of[a] < 0 || token_of[a] != token_of[b]);
}

static void check_text(const char *dir, const char *model, bool windows)
{
    const text_source like = {.seed = 1,
                              .length = LENGTH,
                              .vocab = VOCAB,
                              .pad = 4,
                              .classes = windows ? 0 : 3};
    text_bench b;
    amg_obfuscate_result r;
    open_text_bench(&b, dir, like, TEXTS, 10, TEXT_POOL);
    write_text_model(&b, model, windows);
    if (amg_obfuscate(&b.options, NULL, &r, &b.err))
        fail_msg("%s: %s", b.err.where, b.err.what);
    amg_evidence e = must_open(b.job, b.key);
    assert_int_equal(e.num_streams, 2);
    assert_true(e.is_tokens);
    assert_false(e.is_image);
    assert_int_equal(e.elem, 4);
    assert_int_equal(e.num_positions, 2 * LENGTH);
    for (int s = 0; s < 2; s++) {
        assert_memory_equal(e.streams[s].dims, ((int64_t[]){1, LENGTH, 1}),
                            sizeof e.streams[s].dims);
        assert_int_equal(e.streams[s].num_classes, windows ? 0 : 3);
    }
    assert_int_equal(e.labels == NULL, windows);
    assert_disjoint(&e);
    assert_truth(&e, false);
    assert_tells(&e, &b.sources[0]);
    amg_evidence_close(&e);
    close_text_bench(&b);
}

static void documents_with_classes(void **state)
{
    check_text(*state, "embedding_bag", false);
}

static void windows_of_a_language_model(void **state)
{
    check_text(*state, "gpt", true);
}

/* ---- what is refused ---- */

static void the_key_of_another_job(void **state)
{
    audit_bench b, other;
    make_job(&b, *state, &(job_recipe){0});
    make_job(&other, *state, &(job_recipe){.name = "other", .secret = 9});
    refused(b.job, other.key, AMG_MISMATCH, "is not the job of this key");
    refused(other.job, b.key, AMG_MISMATCH, "is not the job of this key");
    refused(b.job, "/nonexistent.key", AMG_NOT_FOUND, "");
    refused(*state, b.key, AMG_NOT_FOUND, "");
}

static void change_manifest(const audit_bench *b,
                            void (*change)(const audit_bench *b, amg_manifest *m))
{
    char path[600];
    amg_manifest m;
    amg_error err = {0};
    snprintf(path, sizeof path, "%s/job.json", b->job);
    if (amg_manifest_read(path, &m, &err)) fail_msg("%s: %s", err.where, err.what);
    change(b, &m);
    if (amg_manifest_write(path, &m, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_manifest_clear(&m);
}

static void hash_model(const audit_bench *b, amg_manifest *m)
{
    char path[600];
    snprintf(path, sizeof path, "%s/model.onnx", b->job);
    for (int i = 0; i < m->num_files; i++)
        if (!strcmp(m->files[i].path, "model.onnx"))
            assert_int_equal(amg_file_sha256(path, m->files[i].sha256,
                                             &m->files[i].size_bytes, NULL),
                             AMG_OK);
}

/* Changes the job's graph as the cloud could, its hash in the manifest, too. */
static void change_graph(const audit_bench *b, void (*change)(amg_graph *g))
{
    char path[600];
    amg_graph *g = NULL;
    amg_error err = {0};
    snprintf(path, sizeof path, "%s/model.onnx", b->job);
    if (amg_graph_read_onnx(path, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    change(g);
    write_graph(path, g);
    amg_graph_free(g);
    change_manifest(b, hash_model);
}

/* The node of the last select. */
static int some_select(const amg_graph *g)
{
    int node = g->num_nodes - 1;
    while (node > 0 && g->nodes[node].op != AMG_OP_GATHER) node--;
    assert_int_equal(g->nodes[node].op, AMG_OP_GATHER);
    return node;
}

static void add_to_index(amg_graph *g, int64_t more)
{
    static int64_t index[JOB_SIDE * JOB_SIDE];
    amg_tensor *t = &g->values[g->nodes[some_select(g)].inputs[1]].data;
    assert_int_equal(t->size_bytes, sizeof index);
    memcpy(index, t->data, sizeof index);
    index[5] += more;
    t->data = index;
}

static void point_beyond(amg_graph *g) { add_to_index(g, 4 * JOB_SIDE * JOB_SIDE); }

static void point_before(amg_graph *g) { add_to_index(g, -4 * JOB_SIDE * JOB_SIDE); }

static void drop_select(amg_graph *g)
{
    amg_node *n = &g->nodes[some_select(g)];
    n->op = AMG_OP_IDENTITY;
    n->num_inputs = 1;
    n->num_attrs = 0;
}

/* A Relu of one network becomes the sum of another network's Relu and its own input, in
 * this order: a walk up comes to the other's select first. */
static void join_networks(amg_graph *g)
{
    static int inputs[2];
    int first = -1;
    for (int i = 0; i < g->num_nodes; i++) {
        amg_node *n = &g->nodes[i];
        if (n->op != AMG_OP_RELU) continue;
        const amg_value *v = &g->values[n->outputs[0]];
        const amg_value *w = first < 0 ? NULL : &g->values[first];
        if (!w) {
            first = n->outputs[0];
        } else if (v->rank == w->rank &&
                   !memcmp(v->dims, w->dims, (size_t)v->rank * sizeof *v->dims)) {
            inputs[0] = first;
            inputs[1] = n->inputs[0];
            n->op = AMG_OP_ADD;
            n->inputs = inputs;
            n->num_inputs = 2;
            return;
        }
    }
    fail_msg("no two Relus alike");
}

static void check_change(const char *dir, void (*change)(amg_graph *g),
                         const char *word)
{
    audit_bench b;
    make_job(&b, dir, &(job_recipe){0});
    change_graph(&b, change);
    refused(b.job, NULL, AMG_MISMATCH, word);
}

static void an_index_beyond_the_sample(void **state)
{
    check_change(*state, point_beyond, "out of range for a dim of 1024");
}

static void an_index_before_the_sample(void **state)
{
    check_change(*state, point_before, "index 5 of a select is -");
}

static void a_head_without_a_select(void **state)
{
    check_change(*state, drop_select, "no select");
}

/* What joins sub-networks is the graph attack's to report: each head keeps its own
 * select. The key, however, is of the job as it was. */
static void joined_networks_keep_their_selects(void **state)
{
    audit_bench b;
    make_job(&b, *state, &(job_recipe){0});
    amg_evidence before = must_open(b.job, NULL);
    change_graph(&b, join_networks);
    amg_evidence after = must_open(b.job, NULL);
    for (int s = 0; s < 4; s++)
        assert_memory_equal(before.streams[s].select, after.streams[s].select,
                            JOB_SIDE * JOB_SIDE * sizeof *after.streams[s].select);
    amg_evidence_close(&before);
    amg_evidence_close(&after);
    refused(b.job, b.key, AMG_MISMATCH, "is not the job of this key");
}

static void turn_columns(const audit_bench *b, amg_manifest *m)
{
    (void)b;
    for (int i = 0; i < m->num_heads; i++)
        m->heads[i].label_column = (m->heads[i].label_column + 1) % m->num_heads;
}

/* Labels are by head, whatever columns the heads read. */
static void labels_follow_the_columns(void **state)
{
    audit_bench b;
    make_job(&b, *state, &(job_recipe){0});
    amg_evidence before = must_open(b.job, NULL);
    change_manifest(&b, turn_columns);
    amg_evidence after = must_open(b.job, NULL);
    int of_column[4];
    for (int s = 0; s < 4; s++) of_column[before.streams[s].column] = s;
    for (int s = 0; s < 4; s++) {
        const int t = of_column[after.streams[s].column];
        assert_int_not_equal(s, t);
        for (int64_t i = 0; i < JOB_ROWS; i++)
            assert_int_equal(after.labels[4 * i + s], before.labels[4 * i + t]);
    }
    amg_evidence_close(&before);
    amg_evidence_close(&after);
}

static void without_memory(void **state)
{
    audit_bench b;
    amg_status st = AMG_NO_MEMORY;
    make_job(&b, *state, &(job_recipe){.decoys = 1});
    for (long n = 1; st == AMG_NO_MEMORY; n += n < 20 ? 1 : n / 20) {
        amg_evidence e;
        amg_error err;
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = open_job(b.job, b.key, 0, 0, &e, &err);
        amg_alloc_fail_after(NULL);
        if (!st) amg_evidence_close(&e);
    }
    assert_int_equal(st, AMG_OK);
}

int main(void)
{
#define IN_A_FOLDER(test)                                                              \
    cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(images_in_streams),
        IN_A_FOLDER(without_a_key_there_is_no_truth),
        IN_A_FOLDER(some_of_the_rows),
        IN_A_FOLDER(images_in_paper_mode),
        IN_A_FOLDER(documents_with_classes),
        IN_A_FOLDER(windows_of_a_language_model),
        IN_A_FOLDER(the_key_of_another_job),
        IN_A_FOLDER(an_index_beyond_the_sample),
        IN_A_FOLDER(an_index_before_the_sample),
        IN_A_FOLDER(a_head_without_a_select),
        IN_A_FOLDER(joined_networks_keep_their_selects),
        IN_A_FOLDER(labels_follow_the_columns),
        IN_A_FOLDER(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
