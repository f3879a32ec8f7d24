/* Tests of extract: what went in comes out, byte for byte, and whatever the cloud
 * returns that is not it is refused without a trace. */
#include "../obfuscate/job_fixture.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "extract/extract.h"
#include "formats/safetensors.h"

enum { MAX_ENTRIES = 1024 };

typedef struct {
    job_fixture job;
    char dir[64], key[128], weights[128], onnx[128], st[128];
    amg_st_entry entries[MAX_ENTRIES]; /* the job's weights, to be spoiled */
    size_t count;
} fixture;

static void open_fixture(fixture *f, unsigned secret, const char *model)
{
    const char *tmp = getenv("TMPDIR");
    uint8_t *bytes = NULL;
    size_t size;
    amg_error err = {0};
    memset(f, 0, sizeof *f);
    open_job(&f->job, secret, model, AMG_DECOY_SAME);
    snprintf(f->dir, sizeof f->dir, "%.40s/amg-extract-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->key, sizeof f->key, "%s/key", f->dir);
    snprintf(f->weights, sizeof f->weights, "%s/weights.safetensors", f->dir);
    snprintf(f->onnx, sizeof f->onnx, "%s/out.onnx", f->dir);
    snprintf(f->st, sizeof f->st, "%s/out.safetensors", f->dir);
    assert_int_equal(amg_key_payload_pack(&f->job.payload, &bytes, &size, NULL),
                     AMG_OK);
    if (amg_keyfile_create(f->key, f->job.secret, NULL, bytes, size, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_free(bytes);
    const amg_graph *g = f->job.job;
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind == AMG_VALUE_PARAM &&
            g->values[v].role != AMG_ROLE_CONSTANT) {
            assert_true(f->count < MAX_ENTRIES);
            f->entries[f->count++] =
                (amg_st_entry){g->values[v].name, g->values[v].data};
        }
}

static void close_fixture(fixture *f)
{
    amg_dir_remove(f->dir);
    close_job(&f->job);
}

/* The entry that holds the original's parameter (own) or, for NULL, one of a decoy. */
static amg_st_entry *entry_of(fixture *f, const char *own)
{
    const amg_key_payload *p = &f->job.payload;
    size_t i = 0;
    for (; i < f->count; i++) {
        const char *name = NULL;
        for (int n = 0; n < p->names.count; n++)
            if (!strcmp(p->names.job[n], f->entries[i].name)) name = p->names.own[n];
        if (own ? name && !strcmp(name, own) : !name) break;
    }
    if (i == f->count) fail_msg("no entry of %s", own ? own : "a decoy");
    return &f->entries[i];
}

static amg_status run(fixture *f, amg_extract_result *r, amg_error *err)
{
    amg_extract_options o = {.key = f->key,
                             .weights = f->weights,
                             .out_onnx = f->onnx,
                             .out_safetensors = f->st};
    memset(err, 0, sizeof *err);
    return amg_extract(&o, r, err);
}

static size_t num_files(const char *dir)
{
    char **names;
    size_t count;
    assert_int_equal(amg_dir_list(dir, &names, &count, NULL), AMG_OK);
    amg_dir_list_free(names, count);
    return count;
}

static void write_weights(fixture *f)
{
    assert_int_equal(amg_safetensors_write(f->weights, f->entries, f->count, NULL),
                     AMG_OK);
}

/* Extraction fails with code at where, its text holds what, and nothing is written. */
static void must_refuse(fixture *f, amg_status code, const char *where,
                        const char *what)
{
    amg_extract_result r = {.num_params = -1};
    amg_error err;
    write_weights(f);
    size_t before = num_files(f->dir);
    assert_int_equal(run(f, &r, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.where, where) || !strstr(err.what, what))
        fail_msg("error is \"%s: %s\", expected \"%s: %s\"", err.where, err.what, where,
                 what);
    assert_int_equal(r.num_params, -1);
    assert_int_equal(num_files(f->dir), before);
}

static void untrained_weights_come_back_byte_for_byte(void **state)
{
    (void)state;
    const char *models[] = {"lenet", "resnet18", "mobilenet_v2"};
    for (int m = 0; m < 3; m++) {
        fixture f;
        amg_extract_result r;
        amg_error err;
        amg_safetensors *st = NULL;
        open_fixture(&f, 11 + (unsigned)m, models[m]);
        write_weights(&f);
        if (run(&f, &r, &err)) fail_msg("%s: %s", err.where, err.what);
        const amg_graph *g = f.job.original;
        assert_int_equal(amg_safetensors_open(f.st, &st, &err), AMG_OK);
        assert_int_equal(amg_safetensors_count(st), r.num_params);
        assert_int_equal(r.num_scalars, amg_graph_num_trainable(g));
        int count = 0;
        for (int v = 0; v < g->num_values; v++) {
            const amg_value *own = &g->values[v];
            if (own->kind != AMG_VALUE_PARAM || own->role == AMG_ROLE_CONSTANT)
                continue;
            const amg_tensor *t = amg_safetensors_find(st, own->name);
            assert_non_null(t);
            assert_true(amg_tensor_same_shape(t, &own->data));
            assert_memory_equal(t->data, own->data.data, own->data.size_bytes);
            count++;
        }
        assert_int_equal(count, r.num_params);
        amg_safetensors_close(st);
        close_fixture(&f);
    }
}

/* The classes were permuted in the job, so the bytes above were put back. */
static void the_job_holds_the_class_rows_elsewhere(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 11, "lenet");
    int v = amg_graph_find_value(f.job.original, "fc3.weight");
    const amg_tensor *own = &f.job.original->values[v].data;
    assert_memory_not_equal(entry_of(&f, "fc3.weight")->tensor.data, own->data,
                            own->size_bytes);
    close_fixture(&f);
}

/* A poisoned copy of an entry's data. */
static float *spoil(amg_st_entry *e, int64_t at, float value)
{
    float *copy = malloc(e->tensor.size_bytes);
    memcpy(copy, e->tensor.data, e->tensor.size_bytes);
    copy[at] = value;
    e->tensor.data = copy;
    return copy;
}

static void nan_and_infinity_are_refused_also_in_decoys(void **state)
{
    (void)state;
    const char *where[] = {"conv2.weight", "fc3.bias", NULL};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2; k++) {
            fixture f;
            open_fixture(&f, 21, "lenet");
            amg_st_entry *e = entry_of(&f, where[i]);
            float *copy = spoil(e, 5, k ? INFINITY : NAN);
            must_refuse(&f, AMG_NOT_FINITE, e->name, "element 5 is NaN or infinite");
            free(copy);
            close_fixture(&f);
        }
}

static void another_shape_is_refused(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 22, "lenet");
    amg_tensor *t = &entry_of(&f, "fc2.weight")->tensor;
    const char *name = entry_of(&f, "fc2.weight")->name;
    t->dims[0] = 120; /* [84,120] turned */
    t->dims[1] = 84;
    must_refuse(&f, AMG_MISMATCH, name, "[120,84]");
    close_fixture(&f);
}

static void another_element_type_is_refused_also_in_decoys(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        fixture f;
        open_fixture(&f, 23, "lenet");
        amg_st_entry *e = entry_of(&f, own ? "conv1.weight" : NULL);
        e->tensor.dtype = AMG_I32; /* as many bytes */
        must_refuse(&f, AMG_MISMATCH, e->name, "found element type I32, expected F32");
        close_fixture(&f);
    }
}

static void a_missing_tensor_is_refused(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 24, "lenet");
    amg_st_entry *e = entry_of(&f, "conv1.bias");
    const char *name = e->name;
    *e = f.entries[--f.count];
    must_refuse(&f, AMG_NOT_FOUND, name, "");
    close_fixture(&f);
}

static void a_truncated_file_is_refused(void **state)
{
    (void)state;
    fixture f;
    amg_extract_result r;
    amg_error err;
    struct stat info;
    open_fixture(&f, 25, "lenet");
    write_weights(&f);
    assert_int_equal(stat(f.weights, &info), 0);
    assert_int_equal(truncate(f.weights, info.st_size - 4), 0);
    assert_int_not_equal(run(&f, &r, &err), AMG_OK);
    assert_int_equal(num_files(f.dir), 2);
    close_fixture(&f);
}

/* Another job of the same model and data: other names, so that what is named p07 has
 * another shape or is not there. */
static void the_key_of_another_job_is_refused(void **state)
{
    (void)state;
    fixture a, b;
    amg_extract_result r;
    amg_error err;
    open_fixture(&a, 26, "resnet18");
    open_fixture(&b, 27, "resnet18");
    write_weights(&a);
    write_weights(&b);
    snprintf(a.weights, sizeof a.weights, "%s", b.weights);
    size_t before = num_files(a.dir);
    amg_status st = run(&a, &r, &err);
    assert_true(st == AMG_MISMATCH || st == AMG_NOT_FOUND);
    assert_non_null(strstr(err.hint, "key"));
    assert_int_equal(num_files(a.dir), before);
    close_fixture(&a);
    close_fixture(&b);
}

static void a_damaged_key_is_refused(void **state)
{
    (void)state;
    fixture f;
    amg_extract_result r;
    amg_error err;
    open_fixture(&f, 28, "lenet");
    write_weights(&f);
    FILE *key = fopen(f.key, "r+b");
    assert_non_null(key);
    assert_int_equal(fseek(key, -20, SEEK_END), 0);
    int c = fgetc(key);
    assert_int_equal(fseek(key, -20, SEEK_END), 0);
    fputc(c ^ 1, key);
    fclose(key);
    assert_int_equal(run(&f, &r, &err), AMG_BAD_KEY);
    assert_int_equal(num_files(f.dir), 2);
    close_fixture(&f);
}

/* The same tensors as a checkpoint names them, with what else one holds. */
static void write_checkpoint(const fixture *f)
{
    static int64_t meta[2];
    static float state[2] = {NAN, 1}; /* no parameter: nobody's business */
    amg_st_entry *entries = calloc(f->count + 2, sizeof *entries);
    char(*names)[64] = calloc(f->count, sizeof *names);
    for (size_t i = 0; i < f->count; i++) {
        snprintf(names[i], sizeof names[i], "p%zu.%s", i % 3, f->entries[i].name);
        entries[i] = (amg_st_entry){names[i], f->entries[i].tensor};
    }
    entries[f->count].name = "meta";
    entries[f->count + 1].name = "s0.0.p001";
    int64_t two = 2;
    assert_int_equal(
        amg_tensor_view(AMG_I64, 1, &two, meta, &entries[f->count].tensor, NULL), 0);
    assert_int_equal(
        amg_tensor_view(AMG_F32, 1, &two, state, &entries[f->count + 1].tensor, NULL),
        0);
    const amg_st_pair steps = {AMG_ST_STEPS, "1234"};
    assert_int_equal(
        amg_safetensors_write_with(f->weights, entries, f->count + 2, &steps, 1, NULL),
        AMG_OK);
    free(entries);
    free(names);
}

static void a_checkpoint_is_as_good_as_final_weights(void **state)
{
    (void)state;
    fixture f;
    amg_extract_result r, c;
    amg_error err;
    open_fixture(&f, 32, "lenet");
    write_weights(&f);
    if (run(&f, &r, &err)) fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(r.steps, -1);
    assert_int_equal(remove(f.onnx), 0);
    amg_map before, after;
    assert_int_equal(amg_map_open(f.st, &before, NULL), AMG_OK);
    snprintf(f.st, sizeof f.st, "%s/other.safetensors", f.dir);
    write_checkpoint(&f);
    if (run(&f, &c, &err)) fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(c.steps, 1234);
    assert_int_equal(c.num_params, r.num_params);
    assert_int_equal(amg_map_open(f.st, &after, NULL), AMG_OK);
    assert_int_equal(after.size, before.size);
    assert_memory_equal(after.data, before.data, before.size);
    amg_map_close(&after);
    amg_map_close(&before);
    close_fixture(&f);
}

static void another_job_s_weights_of_equal_shapes_are_refused(void **state)
{
    (void)state;
    fixture f;
    amg_extract_result r;
    amg_error err;
    open_fixture(&f, 34, "lenet");
    char job[65] = "";
    for (int i = 0; i < 2; i++) {
        memset(job, i ? '1' : '0', 64); /* the fixture's key says 000… */
        const amg_st_pair pair = {AMG_ST_JOB, job};
        assert_int_equal(
            amg_safetensors_write_with(f.weights, f.entries, f.count, &pair, 1, NULL),
            AMG_OK);
        assert_int_equal(run(&f, &r, &err), i ? AMG_MISMATCH : AMG_OK);
        assert_int_equal(amg_path_exists(f.onnx), !i);
        (void)remove(f.onnx);
    }
    assert_non_null(strstr(err.what, "1111"));
    close_fixture(&f);
}

static void a_poisoned_parameter_of_a_checkpoint_is_refused(void **state)
{
    (void)state;
    fixture f;
    amg_extract_result r;
    amg_error err;
    open_fixture(&f, 33, "lenet");
    amg_st_entry *e = entry_of(&f, NULL);
    float *copy = malloc(e->tensor.size_bytes);
    memcpy(copy, e->tensor.data, e->tensor.size_bytes);
    copy[0] = INFINITY;
    e->tensor.data = copy;
    write_checkpoint(&f);
    assert_int_equal(run(&f, &r, &err), AMG_NOT_FINITE);
    assert_non_null(strstr(err.where, e->name));
    assert_int_equal(num_files(f.dir), 2);
    free(copy);
    close_fixture(&f);
}

static void a_payload_that_lacks_a_name_is_refused(void **state)
{
    (void)state;
    fixture f;
    amg_error err = {0};
    amg_safetensors *st = NULL;
    amg_graph *out = NULL;
    open_fixture(&f, 29, "lenet");
    write_weights(&f);
    assert_int_equal(amg_safetensors_open(f.weights, &st, NULL), AMG_OK);
    amg_key_payload p = f.job.payload;
    p.names.count--;
    assert_int_equal(amg_extract_graph(f.job.secret, &p, st, &out, &err), AMG_BAD_KEY);
    assert_null(out);
    amg_safetensors_close(st);
    close_fixture(&f);
}

static void a_model_that_cannot_be_written_leaves_no_weights(void **state)
{
    (void)state;
    fixture f;
    amg_extract_result r;
    amg_error err;
    open_fixture(&f, 30, "lenet");
    write_weights(&f);
    snprintf(f.onnx, sizeof f.onnx, "%s/missing/out.onnx", f.dir);
    assert_int_not_equal(run(&f, &r, &err), AMG_OK);
    assert_int_equal(num_files(f.dir), 2);
    snprintf(f.onnx, sizeof f.onnx, "%s", f.st);
    assert_int_equal(run(&f, &r, &err), AMG_INVALID);
    assert_int_equal(num_files(f.dir), 2);
    close_fixture(&f);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    fixture f;
    amg_safetensors *st = NULL;
    open_fixture(&f, 31, "lenet");
    write_weights(&f);
    assert_int_equal(amg_safetensors_open(f.weights, &st, NULL), AMG_OK);
    long n = 0;
    for (amg_status s = AMG_NO_MEMORY; s; n++) {
        amg_graph *out = NULL;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        s = amg_extract_graph(f.job.secret, &f.job.payload, st, &out, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(s == AMG_OK || (s == AMG_NO_MEMORY && !out));
        amg_graph_free(out);
    }
    assert_true(n > 10);
    amg_safetensors_close(st);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(untrained_weights_come_back_byte_for_byte),
        cmocka_unit_test(a_checkpoint_is_as_good_as_final_weights),
        cmocka_unit_test(another_job_s_weights_of_equal_shapes_are_refused),
        cmocka_unit_test(a_poisoned_parameter_of_a_checkpoint_is_refused),
        cmocka_unit_test(the_job_holds_the_class_rows_elsewhere),
        cmocka_unit_test(nan_and_infinity_are_refused_also_in_decoys),
        cmocka_unit_test(another_shape_is_refused),
        cmocka_unit_test(another_element_type_is_refused_also_in_decoys),
        cmocka_unit_test(a_missing_tensor_is_refused),
        cmocka_unit_test(a_truncated_file_is_refused),
        cmocka_unit_test(the_key_of_another_job_is_refused),
        cmocka_unit_test(a_damaged_key_is_refused),
        cmocka_unit_test(a_payload_that_lacks_a_name_is_refused),
        cmocka_unit_test(a_model_that_cannot_be_written_leaves_no_weights),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
