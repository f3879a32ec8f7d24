/* Checkpoints: a resumed training ends with the same bits, whatever stopped it; a
 * checkpoint of another run is refused by name of what differs. */
#include "train_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "engine/checkpoint.h"
#include "engine/metrics.h"
#include "formats/safetensors.h"

static const int32_t map[CLASSES] = {3, 5, 0, 6, 2, 1, 4};
static const net_head heads[2] = {{.prefix = "a.", .seed = 1, .width = 8, .map = map},
                                  {.prefix = "b.", .seed = 2, .width = 4}};
enum { HEADS = 2, STEPS = 24 };

typedef struct {
    char dir[64];
    char file[128], metrics[128];
} folder;

static int make_folder(void **state)
{
    folder *f = calloc(1, sizeof *f);
    make_temp_dir(f->dir);
    snprintf(f->file, sizeof f->file, "%s/%s", f->dir, AMG_CHECKPOINT_FILE);
    snprintf(f->metrics, sizeof f->metrics, "%s/%s", f->dir, AMG_METRICS_FILE);
    *state = f;
    return 0;
}

static int remove_folder(void **state)
{
    folder *f = *state;
    amg_dir_remove(f->dir);
    free(f);
    return 0;
}

static void assert_same_outcome(const session *a, const session *b)
{
    for (int h = 0; h < HEADS; h++) assert_params_equal(&a->params[h], &b->params[h]);
    assert_memory_equal(a->result.heads, b->result.heads,
                        HEADS * sizeof a->result.heads[0]);
    assert_int_equal(a->result.steps, b->result.steps);
}

static void stop_and_resume(const folder *f, const amg_train_options *options,
                            int64_t stop)
{
    session straight, first, second;
    session_open(&straight, heads, HEADS, NULL);
    session_open(&first, heads, HEADS, f->dir);
    session_open(&second, heads, HEADS, f->dir);
    straight.options = first.options = second.options = *options;
    first.options.max_steps = stop;
    second.options.resume = true;
    session_train(&straight);
    session_train(&first);
    assert_int_equal(first.result.steps, stop);
    session_train(&second);
    if (!options->early_stop) assert_int_equal(second.result.steps, STEPS);
    assert_same_outcome(&straight, &second);
    session_close(&straight);
    session_close(&first);
    session_close(&second);
}

static void resuming_gives_the_bits_of_training_straight_through(void **state)
{
    const amg_train_options o = session_options();
    stop_and_resume(*state, &o, 7);  /* inside an epoch */
    stop_and_resume(*state, &o, 12); /* at the end of one */
    stop_and_resume(*state, &o, 1);
}

static void every_optimizer_resumes_with_the_same_bits(void **state)
{
    static const amg_optimizer_options rules[] = {
        {.kind = AMG_OPT_ADAM, .lr = 0.01},
        {.kind = AMG_OPT_ADAMW, .lr = 0.01, .weight_decay = 0.01},
        {.kind = AMG_OPT_RMSPROP, .lr = 0.001},
        {.kind = AMG_OPT_RMSPROP, .lr = 0.001, .momentum = 0.5, .centered = true},
        {.kind = AMG_OPT_ADAGRAD,
         .lr = 0.01,
         .lr_decay = 0.1,
         .initial_accumulator = 0.1},
        {.kind = AMG_OPT_LION, .lr = 0.001},
    };
    amg_train_options o = session_options();
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        o.optimizer = rules[i];
        stop_and_resume(*state, &o, 7);
    }
}

static void every_recipe_resumes_with_the_same_bits(void **state)
{
    amg_train_options o = session_options();
    o.accumulate = 4;
    stop_and_resume(*state, &o, 7);
    o.accumulate = 1;
    o.optimizer.warmup_steps = 0;
    o.optimizer.schedule = AMG_SCHEDULE_ONE_CYCLE;
    stop_and_resume(*state, &o, 7);
    o.optimizer.schedule = AMG_SCHEDULE_PLATEAU;
    o.optimizer.lr = 1; /* too much: the losses go up and down */
    stop_and_resume(*state, &o, 19);
    o.ema = 0.9;
    stop_and_resume(*state, &o, 7);
    o.best = true;
    stop_and_resume(*state, &o, 19);
    o.early_stop = 1;
    stop_and_resume(*state, &o, 13);
    o.ema = 0;
    o.best = false;
    stop_and_resume(*state, &o, 7);
}

static void a_finished_training_resumes_to_its_result(void **state)
{
    const folder *f = *state;
    session first, second;
    session_open(&first, heads, HEADS, f->dir);
    session_open(&second, heads, HEADS, f->dir);
    second.options.resume = true;
    session_train(&first);
    session_train(&second);
    assert_same_outcome(&first, &second);
    session_close(&first);
    session_close(&second);
}

/* Stops at the n-th event of a stage. */
typedef struct {
    const char *stage;
    int left;
} stopper;

static bool stop_at(void *context, const amg_progress_event *e)
{
    stopper *s = context;
    return strcmp(e->stage, s->stage) != 0 || s->left-- > 0;
}

static void a_stop_on_request_resumes_with_the_same_bits(void **state)
{
    const folder *f = *state;
    static const char *const stages[2] = {"train", "evaluate"};
    session straight;
    session_open(&straight, heads, HEADS, NULL);
    session_train(&straight);
    for (int i = 0; i < 2; i++) {
        stopper s = {stages[i], 1};
        const amg_progress progress = {stop_at, &s};
        session first, second;
        session_open(&first, heads, HEADS, f->dir);
        session_open(&second, heads, HEADS, f->dir);
        assert_int_equal(session_run(&first, &progress), AMG_INTERRUPTED);
        assert_non_null(strstr(first.err.hint, "resume"));
        second.options.resume = true;
        session_train(&second);
        assert_same_outcome(&straight, &second);
        session_close(&first);
        session_close(&second);
    }
    session_close(&straight);
}

/* metrics.jsonl without the one figure that is measured. */
static char *metrics_text(const char *path)
{
    amg_map map_;
    assert_int_equal(amg_map_open(path, &map_, NULL), AMG_OK);
    char *text = calloc(map_.size + 1, 1), *out = text;
    memcpy(text, map_.data, map_.size);
    amg_map_close(&map_);
    for (const char *in = text; *in;) {
        static const char speed[] = ",\"images_per_second\":";
        if (strncmp(in, speed, sizeof speed - 1) == 0)
            in = strchr(in, '}');
        else
            *out++ = *in++;
    }
    *out = 0;
    return text;
}

static void metrics_lines_do_not_repeat_after_resuming(void **state)
{
    const folder *f = *state;
    session s;
    char *straight, *resumed;
    session_open(&s, heads, HEADS, f->dir);
    s.options.epochs = 20; /* 120 steps: two step lines */
    session_train(&s);
    straight = metrics_text(f->metrics);
    session_close(&s);

    session_open(&s, heads, HEADS, f->dir);
    s.options.epochs = 20;
    s.options.max_steps = 53;
    session_train(&s);
    session_close(&s);
    /* A run that was killed wrote lines beyond its checkpoint, and half a line. */
    FILE *log = fopen(f->metrics, "a");
    assert_non_null(log);
    fputs("{\"step\":54,\"epoch\":9,\"end_of_epoch\":true,\"lr\":0}\n{\"step\":6", log);
    fclose(log);
    session_open(&s, heads, HEADS, f->dir);
    s.options.epochs = 20;
    s.options.resume = true;
    session_train(&s);
    session_close(&s);
    resumed = metrics_text(f->metrics);
    assert_string_equal(straight, resumed);

    /* And they are what the header says: 20 ends of epochs, two windows, no names. */
    int lines = 0, ends = 0;
    for (const char *p = straight; (p = strchr(p, '\n')); p++) lines++;
    for (const char *p = straight; (p = strstr(p, "end_of_epoch")); p++) ends++;
    assert_int_equal(lines, 22);
    assert_int_equal(ends, 20);
    assert_non_null(strstr(straight, "{\"step\":50,\"epoch\":9,\"lr\":"));
    assert_non_null(strstr(straight, "\"val_top5\":"));
    assert_null(strstr(straight, "a."));
    assert_null(strstr(straight, f->dir));
    free(straight);
    free(resumed);
}

static void another_run_s_checkpoint_is_refused_by_name(void **state)
{
    const folder *f = *state;
    session s;
    session_open(&s, heads, HEADS, f->dir);
    s.options.max_steps = 2;
    session_train(&s);
    session_close(&s);
    session_open(&s, heads, HEADS, f->dir);
    s.options.resume = true;
    const amg_train_options good = s.options;
#define DIFFERS(change, text)                                                          \
    do {                                                                               \
        change;                                                                        \
        assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);                         \
        if (!strstr(s.err.what, text))                                                 \
            fail_msg("\"%s\" not in: %s", text, s.err.what);                           \
        s.options = good;                                                              \
    } while (0)
    DIFFERS(s.options.seed = 6, "the seed: the checkpoint has 5, this run 6");
    DIFFERS(s.options.threads = 1, "the number of threads: the checkpoint has");
    DIFFERS(s.options.batch = 8, "the batch size: the checkpoint has");
    DIFFERS(s.options.accumulate = 2, "the number of parts of a batch");
    DIFFERS(s.options.epochs = 5, "the number of epochs: the checkpoint has");
    DIFFERS(s.options.label_smoothing = 0, "label smoothing: the checkpoint has");
    DIFFERS(s.options.optimizer.lr = 0.1,
            "the learning rate: the checkpoint has 0.2, this run 0.1");
    DIFFERS(s.options.optimizer.nesterov = true, "Nesterov");
    DIFFERS(s.options.optimizer.warmup_steps = 0, "warm-up");
    DIFFERS(s.options.optimizer.kind = AMG_OPT_ADAM,
            "the optimizer: the checkpoint has");
    DIFFERS(s.train_data.seed = 13, "the training data: not the same");
    s.train_data.seed = 11;
    DIFFERS(s.val.num_samples = 29,
            "the number of validation samples: the checkpoint has");
    s.val.num_samples = 30;
    ((float *)s.params[1].items[0].tensor.data)[0] += 1;
    DIFFERS((void)0, "the initial weights: not the same");
#undef DIFFERS
    assert_non_null(strstr(s.err.hint, "start afresh"));
    session_close(&s);

    session_open(&s, heads, 1, f->dir);
    s.options.resume = true;
    assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "2 heads, this run 1"));
    session_close(&s);
}

static void resuming_without_a_checkpoint_is_not_found(void **state)
{
    const folder *f = *state;
    session s;
    session_open(&s, heads, HEADS, f->dir);
    s.options.resume = true;
    assert_int_equal(session_run(&s, NULL), AMG_NOT_FOUND);
    assert_false(amg_path_exists(f->metrics));
    session_close(&s);
}

static void an_autoencoder_resumes_and_reports_no_accuracy(void **state)
{
    const folder *f = *state;
    const net_head image = {.prefix = "a.", .seed = 1, .width = 4, .form = NET_IMAGE};
    session straight, first, second;
    session_open(&straight, &image, 1, NULL);
    session_open(&first, &image, 1, f->dir);
    session_open(&second, &image, 1, f->dir);
    straight.options.epochs = first.options.epochs = second.options.epochs = 10;
    first.options.max_steps = 52;
    second.options.resume = true;
    session_train(&straight);
    session_train(&first);
    session_train(&second);
    assert_params_equal(&straight.params[0], &second.params[0]);
    assert_memory_equal(&straight.result.heads[0], &second.result.heads[0],
                        sizeof straight.result.heads[0]);
    char *text = metrics_text(f->metrics);
    assert_non_null(strstr(text, "{\"step\":50,"));
    assert_non_null(strstr(text, "\"val_loss\":"));
    assert_null(strstr(text, "accuracy"));
    assert_null(strstr(text, "top"));
    assert_null(strstr(text, "nan"));
    free(text);

    /* Another target is another run, though every shape is the same. */
    session_close(&first);
    session_open(&first, &image, 1, f->dir);
    first.options = second.options;
    first.objectives[0].target = "x";
    assert_int_equal(session_run(&first, NULL), AMG_MISMATCH);
    assert_non_null(strstr(first.err.what, "what the sub-networks are trained for"));
    session_close(&straight);
    session_close(&first);
    session_close(&second);
}

/* A head without ReLU, which would hide a NaN. */
static const net_head linear = {.prefix = "c.", .seed = 3};

static void a_loss_that_is_no_number_keeps_the_last_checkpoint(void **state)
{
    const folder *f = *state;
    session s;
    char before[65], after[65];
    int64_t size, order[100];
    session_open(&s, &linear, 1, f->dir);
    s.options.checkpoint_steps = 2;
    s.options.max_steps = 4;
    session_train(&s);
    assert_int_equal(amg_file_sha256(f->file, before, &size, NULL), AMG_OK);
    session_close(&s);

    session_open(&s, &linear, 1, f->dir);
    s.options.checkpoint_steps = 2;
    amg_epoch_order(s.options.seed, 0, 100, order);
    s.train_data.poison = order[5 * 16 + 3]; /* in the batch of step 5 */
    assert_int_equal(session_run(&s, NULL), AMG_NOT_FINITE);
    assert_non_null(strstr(s.err.what, "at step 5"));
    assert_int_equal(amg_file_sha256(f->file, after, &size, NULL), AMG_OK);
    session_close(&s);
    assert_string_equal(before, after);
}

/* Rewrites the checkpoint with entry `name` changed by `edit`, or left out where edit
 * is NULL. */
static void rewrite(const folder *f, const char *name, void (*edit)(amg_st_entry *e))
{
    amg_safetensors *st;
    amg_st_entry list[128];
    amg_tensor copies[128];
    size_t n = 0, found = 0;
    assert_int_equal(amg_safetensors_open(f->file, &st, NULL), AMG_OK);
    assert_true(amg_safetensors_count(st) <= 128);
    for (size_t i = 0; i < amg_safetensors_count(st); i++) {
        const amg_st_entry *e = amg_safetensors_at(st, i);
        const bool hit = strcmp(e->name, name) == 0;
        found += hit;
        if (hit && !edit) continue;
        assert_int_equal(amg_tensor_new(e->tensor.dtype, e->tensor.rank, e->tensor.dims,
                                        &copies[n], NULL),
                         AMG_OK);
        memcpy(copies[n].data, e->tensor.data, e->tensor.size_bytes);
        list[n] = (amg_st_entry){e->name, copies[n]};
        if (hit) edit(&list[n]);
        n++;
    }
    assert_int_equal(found, 1);
    assert_int_equal(amg_safetensors_write(f->file, list, n, NULL), AMG_OK);
    for (size_t i = 0; i < n; i++) amg_tensor_clear(&copies[i]);
    amg_safetensors_close(st);
}

static void to_nan(amg_st_entry *e) { ((float *)e->tensor.data)[0] = NAN; }
static void to_version_9(amg_st_entry *e) { ((int64_t *)e->tensor.data)[0] = 9; }
static void to_far_step(amg_st_entry *e) { ((int64_t *)e->tensor.data)[1] = 1000; }
static void to_far_epoch(amg_st_entry *e)
{
    ((int64_t *)e->tensor.data)[2] = INT64_MAX;
}
static void to_other_name(amg_st_entry *e) { e->name = "p0.unknown"; }
static void to_other_shape(amg_st_entry *e)
{
    e->tensor.dims[0] /= 2;
    e->tensor.size_bytes /= 2;
}

static void broken_checkpoints_are_refused(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *entry;
        void (*edit)(amg_st_entry *e);
        amg_status code;
        const char *where;
    } broken[] = {
        {"p0.a.fc.w", to_nan, AMG_NOT_FINITE, "p0.a.fc.w"},
        {"s1.0.b.fc.b", to_nan, AMG_NOT_FINITE, "s1.0.b.fc.b"},
        {"p0.a.conv.w", to_other_shape, AMG_MISMATCH, "p0.a.conv.w"},
        {"p0.a.conv.w", to_other_name, AMG_NOT_FOUND, "p0.a.conv.w"},
        {"s0.0.a.fc.b", NULL, AMG_NOT_FOUND, "s0.0.a.fc.b"},
        {"progress", NULL, AMG_NOT_FOUND, "progress"},
        {"meta", NULL, AMG_MALFORMED, AMG_CHECKPOINT_FILE},
        {"meta", to_version_9, AMG_UNSUPPORTED, AMG_CHECKPOINT_FILE},
        {"meta", to_far_step, AMG_MALFORMED, AMG_CHECKPOINT_FILE},
        {"meta", to_far_epoch, AMG_MALFORMED, AMG_CHECKPOINT_FILE},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        session s;
        session_open(&s, heads, HEADS, f->dir);
        s.options.max_steps = 2;
        session_train(&s);
        session_close(&s);
        rewrite(f, broken[i].entry, broken[i].edit);
        session_open(&s, heads, HEADS, f->dir);
        s.options.resume = true;
        const amg_status status = session_run(&s, NULL);
        if (status != broken[i].code || !strstr(s.err.where, broken[i].where))
            fail_msg("%s: %s: %s: %s", broken[i].entry, amg_status_name(status),
                     s.err.where, s.err.what);
        session_close(&s);
    }
}

static void temporaries_of_killed_runs_are_swept(void **state)
{
    const folder *f = *state;
    char stale[160], mine[160];
    session s;
    snprintf(stale, sizeof stale, "%s.tmp-abc123", f->file);
    snprintf(mine, sizeof mine, "%s/notes.txt", f->dir);
    assert_int_equal(amg_file_write(stale, 0644, true, "x", 1, NULL), AMG_OK);
    assert_int_equal(amg_file_write(mine, 0644, true, "x", 1, NULL), AMG_OK);
    session_open(&s, heads, HEADS, f->dir);
    s.options.max_steps = 1;
    session_train(&s);
    session_close(&s);
    assert_false(amg_path_exists(stale));
    assert_true(amg_path_exists(mine));
    assert_true(amg_path_exists(f->file));
}

/* ---- SIGKILL ---- */

/* What the child does: trains in dir, with a checkpoint each step, from the checkpoint
 * if there is one. A process of its own, because OpenMP's threads do not survive a
 * fork. */
static int child_main(const char *dir)
{
    char file[128];
    session s;
    snprintf(file, sizeof file, "%s/%s", dir, AMG_CHECKPOINT_FILE);
    session_open(&s, heads, HEADS, dir);
    s.options.checkpoint_steps = 1;
    s.options.resume = amg_path_exists(file);
    const amg_status status = session_run(&s, NULL);
    session_close(&s);
    return status ? 1 : 0;
}

/* The checkpoint's inode: each save renames a new file there. 0: no file. */
static ino_t inode_of(const char *file)
{
    struct stat st;
    return stat(file, &st) ? 0 : st.st_ino;
}

/* Starts the child, waits until it has saved once more and then some microseconds, and
 * kills it; true if it was done before. */
static bool run_and_kill(const folder *f, unsigned microseconds)
{
    int status = 0;
    char self[] = "/proc/self/exe", flag[] = "--child", path[64];
    memcpy(path, f->dir, sizeof path);
    char *const argv[] = {self, flag, path, NULL};
    const ino_t before = inode_of(f->file);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execv(self, argv);
        _exit(127);
    }
    pid_t ended = 0;
    while (!ended && inode_of(f->file) == before) {
        usleep(500);
        ended = waitpid(pid, &status, WNOHANG);
    }
    if (!ended) {
        usleep(microseconds);
        kill(pid, SIGKILL);
        ended = waitpid(pid, &status, 0);
    }
    assert_int_equal(ended, pid);
    if (!WIFEXITED(status)) return false;
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static void killed_at_any_moment_it_ends_with_the_same_bits(void **state)
{
    const folder *f = *state;
    session straight, last;
    amg_rng rng = amg_rng_init((uint64_t)getpid(), 0);
    int kills = 0;
    bool done = false;
    session_open(&straight, heads, HEADS, NULL);
    session_train(&straight);
    while (!done && kills < 6) {
        done = run_and_kill(f, (unsigned)amg_rng_below(&rng, 30000));
        kills += !done;
    }
    print_message("killed %d times, seed %d\n", kills, (int)getpid());
    assert_true(kills > 0);
    session_open(&last, heads, HEADS, f->dir);
    last.options.resume = true;
    session_train(&last);
    assert_same_outcome(&straight, &last);
    session_close(&straight);
    session_close(&last);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--child") == 0) return child_main(argv[2]);
#define IN_FOLDER(test)                                                                \
    cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(resuming_gives_the_bits_of_training_straight_through),
        IN_FOLDER(every_optimizer_resumes_with_the_same_bits),
        IN_FOLDER(every_recipe_resumes_with_the_same_bits),
        IN_FOLDER(a_finished_training_resumes_to_its_result),
        IN_FOLDER(a_stop_on_request_resumes_with_the_same_bits),
        IN_FOLDER(metrics_lines_do_not_repeat_after_resuming),
        IN_FOLDER(another_run_s_checkpoint_is_refused_by_name),
        IN_FOLDER(resuming_without_a_checkpoint_is_not_found),
        IN_FOLDER(an_autoencoder_resumes_and_reports_no_accuracy),
        IN_FOLDER(a_loss_that_is_no_number_keeps_the_last_checkpoint),
        IN_FOLDER(broken_checkpoints_are_refused),
        IN_FOLDER(temporaries_of_killed_runs_are_swept),
        IN_FOLDER(killed_at_any_moment_it_ends_with_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
