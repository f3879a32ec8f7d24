/* The dataset augmenter end to end on small sets: what the shards hold is what the plan
 * and the cover plan say, twice the same bytes, and nothing is left after a failure. */
#include <unistd.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "data_fixture.h"
#include "obfuscate/augment_data.h"

static const int64_t dims[3] = {2, 3, 5};
enum { VALUES = 30, SAMPLES = 150, POOL = 400 };

/* A job in the making: private data, pool, plan, covers or noise. */
typedef struct {
    char *dir;
    amg_secret *secret;
    amg_dataset *data, *pool;
    amg_obf_plan plan;
    amg_cover_plan covers;
    amg_noise_law noise;
    amg_manifest manifest;
    amg_augment_options options;
} job;

static void make_plan(job *j, amg_mode mode)
{
    const amg_plan_shape shape = {.mode = mode,
                                  .num_decoys = 2,
                                  .dims = {dims[0], dims[1], dims[2]},
                                  .dtype = AMG_U8,
                                  .amount = mode == AMG_MODE_PAPER ? 0.4 : 0,
                                  .num_classes = 7,
                                  .cover_classes = mode == AMG_MODE_PAPER ? 7 : 9,
                                  .permute_labels = true};
    assert_int_equal(amg_obf_plan_derive(j->secret, &shape, &j->plan, NULL), AMG_OK);
}

static job make_job(char *dir, unsigned key, amg_mode mode)
{
    job j = {.dir = dir,
             .secret = secret_number(key),
             .manifest = {.target_dtype = AMG_I32}};
    j.data = make_random_set(dir, "data", SAMPLES, dims, 7, 1, "");
    j.pool = make_random_set(dir, "pool", POOL, dims, 9, 2, "");
    make_plan(&j, mode);
    j.options = (amg_augment_options){.secret = j.secret,
                                      .data = j.data,
                                      .split = "train",
                                      .shard_bytes = 64 * 90}; /* 64 rows of 90 bytes */
    if (mode == AMG_MODE_STREAMS) {
        const amg_cover_split split = {j.data, j.pool};
        assert_int_equal(amg_cover_plan_derive(j.secret, 2, &split, 1, &j.covers, NULL),
                         AMG_OK);
        j.options.covers = j.pool;
        j.options.cover_rows = j.covers.rows[0];
    } else {
        assert_int_equal(
            amg_noise_fit(AMG_NOISE_UNIFORM, j.data, NULL, 0, &j.noise, NULL), AMG_OK);
    }
    return j;
}

static void clear_job(job *j)
{
    amg_secret_free(j->secret);
    amg_dataset_close(j->data);
    amg_dataset_close(j->pool);
    amg_obf_plan_clear(&j->plan);
    amg_cover_plan_clear(&j->covers);
    amg_noise_clear(&j->noise);
    amg_manifest_clear(&j->manifest);
}

static amg_status augment(job *j, amg_split *split, const amg_progress *progress,
                          amg_error *err)
{
    j->options.plan = &j->plan;
    j->options.noise = j->noise.levels ? &j->noise : NULL;
    return amg_augment_data(&j->options, j->dir, &j->manifest, split, progress, err);
}

static amg_split must_augment(job *j)
{
    amg_split split = {0};
    amg_error err = {0};
    if (augment(j, &split, NULL, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    return split;
}

/* All shards in one array: x [n][num_positions], y [n][num_subnets]. */
static void read_shards(const job *j, const amg_split *split, uint8_t *x, int32_t *y)
{
    for (int i = 0; i < split->num_shards; i++) {
        const amg_shard *shard = &split->shards[i];
        amg_npy file = {0};
        char *path = amg_path_join(j->dir, shard->x);
        assert_int_equal(amg_npy_open(path, &file, NULL), AMG_OK);
        const int64_t x_dims[4] = {shard->rows, j->plan.out_dims[0],
                                   j->plan.out_dims[1], j->plan.out_dims[2]};
        assert_int_equal(file.array.dtype, AMG_U8);
        assert_int_equal(file.array.rank, 4);
        assert_memory_equal(file.array.dims, x_dims, sizeof x_dims);
        memcpy(x, file.array.data, file.array.size_bytes);
        x += file.array.size_bytes;
        amg_npy_close(&file);
        free(path);
        path = amg_path_join(j->dir, shard->y);
        assert_int_equal(amg_npy_open(path, &file, NULL), AMG_OK);
        const int64_t y_dims[2] = {shard->rows, j->plan.num_subnets};
        assert_int_equal(file.array.dtype, AMG_I32);
        assert_int_equal(file.array.rank, 2);
        assert_memory_equal(file.array.dims, y_dims, sizeof y_dims);
        memcpy(y, file.array.data, file.array.size_bytes);
        y += shard->rows * j->plan.num_subnets;
        amg_npy_close(&file);
        free(path);
    }
}

/* True class of what sub-network s is shown as y. */
static int true_class(const amg_obf_plan *plan, int s, int32_t y)
{
    for (int c = 0; c < plan->subnets[s].num_classes; c++)
        if (plan->subnets[s].label_map[c] == y) return c;
    return -1;
}

/* Sub-network s of augmented sample x shows sample i of ds. */
static void assert_shows(const job *j, const uint8_t *x, int32_t y, int s,
                         const amg_dataset *ds, int64_t i)
{
    uint8_t want[VALUES], got[VALUES];
    int32_t label = -1;
    assert_int_equal(amg_dataset_read(ds, i, want, &label, NULL), AMG_OK);
    for (int v = 0; v < VALUES; v++) got[v] = x[j->plan.subnets[s].select[v]];
    assert_memory_equal(got, want, VALUES);
    assert_int_equal(true_class(&j->plan, s, y), label);
}

static void streams_show_the_data_and_its_covers(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    amg_split split = must_augment(&j);
    assert_int_equal(split.num_samples, SAMPLES);
    assert_int_equal(split.num_shards, 3); /* 64 + 64 + 22 rows */
    assert_int_equal(split.shards[2].rows, 22);
    assert_string_equal(split.shards[1].x, "data/train-x-00001.npy");
    assert_string_equal(split.shards[1].y, "data/train-y-00001.npy");
    uint8_t x[SAMPLES * 90];
    int32_t y[SAMPLES * 3];
    read_shards(&j, &split, x, y);
    for (int64_t i = 0; i < SAMPLES; i++)
        for (int s = 0, decoy = 0; s < 3; s++) {
            const bool own = s == j.plan.original;
            assert_shows(&j, x + i * 90, y[i * 3 + s], s, own ? j.data : j.pool,
                         own ? i : j.covers.rows[0][decoy * SAMPLES + i]);
            decoy += !own;
        }
    clear_job(&j);
}

static void paper_mode_hides_the_data_in_noise(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_PAPER);
    amg_split split = must_augment(&j);
    const int64_t N = j.plan.num_positions; /* 2 x 4 x 7 */
    assert_int_equal(N, 56);
    uint8_t x[SAMPLES * 56], own[56] = {0};
    int32_t y[SAMPLES * 3];
    read_shards(&j, &split, x, y);
    for (int v = 0; v < VALUES; v++) own[j.plan.subnets[j.plan.original].select[v]] = 1;
    int64_t repeated = 0, noise = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t label = 0;
        assert_shows(&j, x + i * N, y[i * 3 + j.plan.original], j.plan.original, j.data,
                     i);
        assert_int_equal(amg_dataset_read(j.data, i, NULL, &label, NULL), AMG_OK);
        for (int s = 0; s < 3; s++) /* decoys train on the same labels */
            assert_int_equal(true_class(&j.plan, s, y[i * 3 + s]), label);
        for (int64_t p = 0; i > 0 && p < N; p++) {
            if (own[p]) continue;
            noise++;
            repeated += x[i * N + p] == x[(i - 1) * N + p];
        }
    }
    assert_in_range(repeated, 0, noise / 100); /* 1/256 expected: fresh per sample */
    clear_job(&j);
}

static void noise_is_a_function_of_key_and_sample(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_PAPER);
    uint8_t x[SAMPLES * 56], part[SAMPLES * 56];
    int32_t y[SAMPLES * 3];
    amg_split split = must_augment(&j);
    read_shards(&j, &split, x, y);
    amg_dataset_close(j.data); /* the same samples, later in another set */
    j.options.data = j.data =
        make_random_set(*state, "data", SAMPLES, dims, 7, 1, "[70:150]");
    j.options.split = "val";
    split = must_augment(&j);
    read_shards(&j, &split, part, y);
    assert_memory_equal(part, x + 70 * 56, 80 * 56);
    clear_job(&j);
}

/* Hashes of all files in DIR/data, one after the other; removes the folder. */
static void take_hashes(const char *dir, char *out, size_t size)
{
    char *data = amg_path_join(dir, "data"), **names = NULL;
    size_t count = 0, used = 0;
    assert_int_equal(amg_dir_list(data, &names, &count, NULL), AMG_OK);
    assert_true(count * 64 < size);
    for (size_t i = 0; i < count; i++, used += 64) {
        char *path = amg_path_join(data, names[i]);
        int64_t bytes = 0;
        assert_int_equal(amg_file_sha256(path, out + used, &bytes, NULL), AMG_OK);
        free(path);
    }
    amg_dir_list_free(names, count);
    amg_dir_remove(data);
    free(data);
}

static void the_same_key_gives_the_same_bytes(void **state)
{
    for (int mode = AMG_MODE_STREAMS; mode <= AMG_MODE_PAPER; mode++) {
        char first[2048] = {0}, again[2048] = {0}, other[2048] = {0};
        const int threads = amg_threads();
        job j = make_job(*state, 4, (amg_mode)mode);
        must_augment(&j);
        take_hashes(*state, first, sizeof first);
        clear_job(&j);
        amg_set_threads(3); /* the split of the work does not show */
        j = make_job(*state, 4, (amg_mode)mode);
        must_augment(&j);
        take_hashes(*state, again, sizeof again);
        clear_job(&j);
        amg_set_threads(threads);
        j = make_job(*state, 5, (amg_mode)mode);
        must_augment(&j);
        take_hashes(*state, other, sizeof other);
        clear_job(&j);
        assert_true(strlen(first) >= 2 * 64);
        assert_string_equal(first, again);
        assert_string_not_equal(first, other);
    }
}

/* ---- progress and failure ---- */

typedef struct {
    int64_t last, stop_at;
    int calls;
} watcher;

static bool watch(void *context, const amg_progress_event *event)
{
    watcher *w = context;
    assert_string_equal(event->stage, "augment");
    assert_int_equal(event->total, SAMPLES);
    assert_true(event->done > w->last);
    w->last = event->done;
    w->calls++;
    return event->done < w->stop_at;
}

static void progress_counts_every_sample(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    watcher w = {.stop_at = SAMPLES + 1};
    amg_split split = {0};
    assert_int_equal(augment(&j, &split, &(amg_progress){watch, &w}, NULL), AMG_OK);
    assert_int_equal(w.last, SAMPLES);
    assert_int_equal(w.calls, 3);
    clear_job(&j);
}

static void assert_nothing_left(const job *j, const amg_split *split)
{
    char *data = amg_path_join(j->dir, "data");
    assert_false(amg_path_exists(data));
    assert_int_equal(split->num_shards, 0);
    assert_null(split->shards);
    free(data);
}

static void a_stop_on_request_leaves_no_file(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    watcher w = {.stop_at = 128}; /* after the second of three shards */
    amg_split split = {0};
    assert_int_equal(augment(&j, &split, &(amg_progress){watch, &w}, NULL),
                     AMG_INTERRUPTED);
    assert_int_equal(w.last, 128);
    assert_nothing_left(&j, &split);
    clear_job(&j);
}

static void a_class_beyond_the_plans_is_refused(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    amg_dataset_close(j.data);
    int64_t labels[SAMPLES] = {0};
    uint8_t x[SAMPLES * VALUES] = {0};
    labels[140] = 7; /* in the last shard */
    j.options.data = j.data =
        make_set(*state, "bad", AMG_U8, SAMPLES, dims, x, labels, "");
    amg_split split = {0};
    amg_error err = {0};
    assert_int_equal(augment(&j, &split, NULL, &err), AMG_MISMATCH);
    assert_string_equal(err.what, "sample 140 has class 7, expected one of 7");
    assert_int_equal(err.offset, -1);
    assert_nothing_left(&j, &split);
    clear_job(&j);
}

static void data_of_another_shape_are_refused(void **state)
{
    const int64_t other[3] = {2, 5, 3};
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    amg_dataset *wrong = make_random_set(*state, "wrong", SAMPLES, other, 7, 1, "");
    amg_split split = {0};
    amg_error err = {0};
    j.options.data = wrong;
    assert_int_equal(augment(&j, &split, NULL, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "[2,5,3]"));
    assert_non_null(strstr(err.what, "[2,3,5]"));
    j.options.data = j.data;
    j.options.covers = wrong;
    assert_int_equal(augment(&j, &split, NULL, &err), AMG_MISMATCH);
    assert_nothing_left(&j, &split);
    amg_dataset_close(wrong);
    clear_job(&j);
}

static void files_of_others_are_neither_overwritten_nor_removed(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    char *data = amg_path_join(j.dir, "data");
    char *mine = amg_path_join(data, "train-y-00001.npy");
    assert_int_equal(amg_dir_make(data, NULL), AMG_OK);
    assert_int_equal(amg_file_write(mine, 0644, true, "mine", 4, NULL), AMG_OK);
    amg_split split = {0};
    assert_int_equal(augment(&j, &split, NULL, NULL), AMG_EXISTS);
    char **names = NULL;
    size_t count = 0;
    assert_int_equal(amg_dir_list(data, &names, &count, NULL), AMG_OK);
    assert_int_equal(count, 1);
    assert_string_equal(names[0], "train-y-00001.npy");
    amg_dir_list_free(names, count);
    free(mine);
    free(data);
    clear_job(&j);
}

static void every_lack_of_memory_is_reported_and_cleaned_up(void **state)
{
    job j = make_job(*state, 4, AMG_MODE_STREAMS);
    int failures = 0;
    for (long nth = 1;; nth++) {
        amg_split split = {0};
        long countdown = nth;
        amg_alloc_fail_after(&countdown);
        amg_status st = augment(&j, &split, NULL, NULL);
        amg_alloc_fail_after(NULL);
        if (countdown > 0) { /* the n-th request was never made */
            assert_int_equal(st, AMG_OK);
            break;
        }
        if (st == AMG_OK) { /* scatter does without its tile */
            char hashes[2048];
            take_hashes(*state, hashes, sizeof hashes);
            continue;
        }
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_nothing_left(&j, &split);
        failures++;
    }
    assert_true(failures > 10);
    clear_job(&j);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(streams_show_the_data_and_its_covers),
        IN_FOLDER(paper_mode_hides_the_data_in_noise),
        IN_FOLDER(noise_is_a_function_of_key_and_sample),
        IN_FOLDER(the_same_key_gives_the_same_bytes),
        IN_FOLDER(progress_counts_every_sample),
        IN_FOLDER(a_stop_on_request_leaves_no_file),
        IN_FOLDER(a_class_beyond_the_plans_is_refused),
        IN_FOLDER(data_of_another_shape_are_refused),
        IN_FOLDER(files_of_others_are_neither_overwritten_nor_removed),
        IN_FOLDER(every_lack_of_memory_is_reported_and_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
