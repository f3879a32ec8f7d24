/* Packed jobs: a key opens its owner's part and no other's; slots are dealt out;
 * whatever memory fails, nothing stays. That each owner gets what training alone gives
 * is tests/cli's. */
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "extract/extract.h"
#include "formats/safetensors.h"
#include "obfuscate/pack.h"
#include "text_fixture.h"

enum { OWNERS = 3, ROWS = 40 };

typedef struct {
    char dir[512], job[600], weights[700];
    char model[OWNERS][600], train[OWNERS][1200], key[OWNERS][600], seed[OWNERS][65];
    amg_obfuscate_options owners[OWNERS];
    amg_pack_options options;
    amg_error err;
} bench;

static void write_bytes(const char *dir, int owner, const int64_t dims[3])
{
    const int64_t values = dims[0] * dims[1] * dims[2];
    uint8_t *x = malloc((size_t)(ROWS * values));
    int64_t *labels = malloc(ROWS * sizeof *labels);
    char name[16];
    amg_rng rng = amg_rng_init((uint64_t)owner, 0);
    for (int64_t i = 0; i < ROWS * values; i++)
        x[i] = (uint8_t)amg_rng_below(&rng, 256);
    for (int i = 0; i < ROWS; i++) labels[i] = (int64_t)amg_rng_below(&rng, 3);
    snprintf(name, sizeof name, "set%d", owner);
    amg_dataset_close(make_set(dir, name, AMG_U8, ROWS, dims, x, labels, ""));
    free(x);
    free(labels);
}

static void open_bench(bench *b, const char *dir)
{
    static const char *const nets[OWNERS] = {"mlp", "lenet", "mlp"};
    const int64_t dims[3] = {1, 12, 12};
    *b = (bench){0};
    snprintf(b->dir, sizeof b->dir, "%s", dir);
    snprintf(b->job, sizeof b->job, "%s/job", dir);
    snprintf(b->weights, sizeof b->weights, "%s/weights.safetensors", b->job);
    for (int i = 0; i < OWNERS; i++) {
        snprintf(b->model[i], sizeof b->model[i], "%s/model%d.onnx", dir, i);
        snprintf(b->train[i], sizeof b->train[i], "npy:%s/set%d-x.npy,%s/set%d-y.npy",
                 dir, i, dir, i);
        snprintf(b->key[i], sizeof b->key[i], "%s/%d.key", dir, i);
        snprintf(b->seed[i], sizeof b->seed[i], "%064x", i + 1);
        write_bytes(dir, i, dims);
        write_zoo(b->model[i], (amg_zoo_options){.name = nets[i],
                                                 .channels = 1,
                                                 .height = 12,
                                                 .width = 12,
                                                 .num_classes = 3 + i % 2,
                                                 .seed = (uint64_t)i + 1});
        b->owners[i] = (amg_obfuscate_options){.model = b->model[i],
                                               .train = b->train[i],
                                               .key = b->key[i],
                                               .seed_hex = b->seed[i],
                                               .task_by_data = true};
    }
    b->options = (amg_pack_options){
        .owners = b->owners, .num_owners = OWNERS, .out = b->job, .shard_bytes = 4096};
}

static void must_pack(bench *b)
{
    amg_pack_result r;
    if (amg_pack(&b->options, NULL, &r, &b->err))
        fail_msg("%s: %s", b->err.where, b->err.what);
    assert_int_equal(r.num_owners, OWNERS);
    assert_int_equal(r.num_train, ROWS);
    assert_true(fabs(r.compute_factor - 1) < 1e-9);
    assert_int_equal(r.job_params, r.own_params[0] + r.own_params[1] + r.own_params[2]);
}

typedef struct {
    amg_secret *secret;
    amg_key_payload payload;
} opened_key;

static void open_key(const bench *b, int owner, opened_key *k)
{
    uint8_t *bytes;
    size_t size;
    bool loose;
    amg_error err = {0};
    if (amg_keyfile_open(b->key[owner], NULL, &k->secret, &bytes, &size, &loose,
                         &err) ||
        amg_key_payload_parse(bytes, size, &k->payload, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_payload_free(bytes);
}

static void close_key(opened_key *k)
{
    amg_key_payload_clear(&k->payload);
    amg_secret_free(k->secret);
}

/* Every tensor of the job is one owner's; none is two's. */
static void keys_share_no_name(void **state)
{
    bench b;
    opened_key k[OWNERS];
    amg_safetensors *weights;
    open_bench(&b, *state);
    must_pack(&b);
    size_t named = 0;
    for (int i = 0; i < OWNERS; i++) {
        open_key(&b, i, &k[i]);
        named += (size_t)k[i].payload.names.count;
        for (int j = 0; j < i; j++) {
            const amg_job_names *x = &k[i].payload.names, *y = &k[j].payload.names;
            assert_string_not_equal(x->output, y->output);
            for (int m = 0; m < x->count * y->count; m++)
                assert_string_not_equal(x->job[m / y->count], y->job[m % y->count]);
        }
    }
    assert_int_equal(amg_safetensors_open(b.weights, &weights, &b.err), AMG_OK);
    assert_int_equal(named, amg_safetensors_count(weights));
    amg_safetensors_close(weights);
    for (int i = 0; i < OWNERS; i++) close_key(&k[i]);
}

static bool same_weights(const amg_graph *a, const amg_graph *b)
{
    bool same = true;
    for (int v = 0; same && v < a->num_values; v++)
        if (a->values[v].kind == AMG_VALUE_PARAM)
            same = !memcmp(a->values[v].data.data, b->values[v].data.data,
                           a->values[v].data.size_bytes);
    return same;
}

/* Even who has another owner's names, and not the secret, gets the classes in a wrong
 * order. */
static void a_secret_opens_its_owners_part_only(void **state)
{
    bench b;
    opened_key mine, other;
    amg_safetensors *weights;
    amg_graph *whole = NULL, *mixed = NULL, *original = NULL;
    open_bench(&b, *state);
    must_pack(&b);
    open_key(&b, 1, &mine);
    open_key(&b, 0, &other);
    assert_int_equal(amg_safetensors_open(b.weights, &weights, &b.err), AMG_OK);
    assert_int_equal(
        amg_extract_graph(mine.secret, &mine.payload, weights, &whole, &b.err), AMG_OK);
    assert_int_equal(
        amg_extract_graph(other.secret, &mine.payload, weights, &mixed, &b.err),
        AMG_OK);
    assert_int_equal(amg_graph_read_onnx(b.model[1], &original, &b.err), AMG_OK);
    assert_true(same_weights(whole, original));
    assert_false(same_weights(mixed, original));
    amg_graph_free(original);
    amg_graph_free(mixed);
    amg_graph_free(whole);
    amg_safetensors_close(weights);
    close_key(&mine);
    close_key(&other);
}

/* Where the first owner is, over jobs. */
static void slots_are_dealt_out(void **state)
{
    bench b;
    int seen[OWNERS] = {0};
    char seed[65];
    open_bench(&b, *state);
    b.options.seed_hex = seed;
    for (int job = 0; job < 24; job++) {
        amg_graph *g = NULL;
        opened_key k;
        char path[700];
        snprintf(seed, sizeof seed, "%064x", job + 100);
        must_pack(&b);
        open_key(&b, 0, &k);
        snprintf(path, sizeof path, "%s/model.onnx", b.job);
        assert_int_equal(amg_graph_read_onnx(path, &g, &b.err), AMG_OK);
        for (int h = 0; h < g->num_outputs; h++)
            if (!strcmp(g->values[g->outputs[h]].name, k.payload.names.output))
                seen[h]++;
        amg_graph_free(g);
        close_key(&k);
        amg_dir_remove(b.job);
        for (int i = 0; i < OWNERS; i++) remove(b.key[i]);
    }
    for (int h = 0; h < OWNERS; h++) assert_true(seen[h] > 0);
    assert_int_equal(seen[0] + seen[1] + seen[2], 24);
}

static void failing_memory_leaves_nothing(void **state)
{
    bench b;
    open_bench(&b, *state);
    long n = 0;
    for (amg_status st = AMG_NO_MEMORY; st; n += 1 + n / 8) {
        amg_pack_result r;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        st = amg_pack(&b.options, NULL, &r, &b.err);
        amg_alloc_fail_after(NULL);
        if (st && st != AMG_NO_MEMORY)
            fail_msg("%ld: %s: %s", n, b.err.where, b.err.what);
        assert_int_equal(amg_path_exists(b.job), st == AMG_OK);
        for (int i = 0; i < OWNERS; i++)
            assert_int_equal(amg_path_exists(b.key[i]), st == AMG_OK);
    }
    assert_true(n > 100);
}

#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(keys_share_no_name),
        IN_FOLDER(a_secret_opens_its_owners_part_only),
        IN_FOLDER(slots_are_dealt_out),
        IN_FOLDER(failing_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
