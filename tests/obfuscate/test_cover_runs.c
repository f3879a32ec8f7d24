/* Covers for windows of a text: what the cloud can count (windows that begin with the
 * token the one before ends with) is alike in the private data and every decoy, for
 * sets that `amalgam split` made, ranges and random parts; and what is refused. */
#include <math.h>

#include "base/alloc.h"
#include "data_fixture.h"
#include "formats/token_set.h"
#include "obfuscate/covers.h"
#include "text/tokenize.h"

enum { VOCAB = 60000, SEQ = 8, K = 3 };

typedef struct {
    amg_dataset *train, *val, *pool, *val_pool; /* val and val_pool may be NULL */
} sets;

/* DIR/NAME: documents of the lengths given, over and over, of random tokens, which
 * hardly ever meet twice. */
static void write_tokens(const char *dir, const char *name, int documents,
                         const int *lengths, int num_lengths, uint64_t seed)
{
    char path[512];
    const amg_token_info info = {
        .vocab_size = VOCAB, .pad = AMG_NO_TOKEN, .eos = AMG_NO_TOKEN};
    amg_token_writer *w = NULL;
    amg_rng rng = amg_rng_init(seed, 0);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(amg_token_writer_new(path, &info, &w, NULL), AMG_OK);
    for (int d = 0; d < documents; d++) {
        int32_t tokens[250];
        const int length = lengths[d % num_lengths];
        for (int i = 0; i < length; i++)
            tokens[i] = (int32_t)(amg_rng_u32(&rng) % VOCAB);
        assert_int_equal(amg_token_writer_add(w, tokens, length, 0, NULL), AMG_OK);
    }
    snprintf(path, sizeof path, "%s/vocabulary.json", amg_token_writer_dir(w));
    assert_int_equal(amg_file_write(path, 0644, true, "{}", 2, NULL), AMG_OK);
    assert_int_equal(amg_token_writer_finish(w, NULL, NULL), AMG_OK);
}

/* A text of 1,000 documents, 10,505 tokens. */
static void write_text(const char *dir, const char *name, uint64_t seed)
{
    write_tokens(dir, name, 1000, (const int[]){3, 20, 11, 7, 13, 9, 16, 5}, 8, seed);
}

static amg_dataset *open_part(const char *dir, const char *part, int64_t stride)
{
    char spec[512];
    amg_dataset *ds = NULL;
    amg_error err = {0};
    snprintf(spec, sizeof spec, "text:%s/%s", dir, part);
    if (amg_dataset_open_window(spec, &(amg_window){SEQ, stride}, &ds, &err))
        fail_msg("%s: %s", err.where, err.what);
    return ds;
}

static sets open_sets(const char *dir, const char *train, const char *val,
                      const char *pool)
{
    return (sets){.train = open_part(dir, train, 0),
                  .val = val ? open_part(dir, val, 0) : NULL,
                  .pool = open_part(dir, pool, 0)};
}

static void close_sets(sets *s)
{
    amg_dataset_close(s->train);
    amg_dataset_close(s->val);
    amg_dataset_close(s->pool);
    amg_dataset_close(s->val_pool);
}

static amg_status derive(unsigned key, int k, const sets *s, amg_cover_plan *out,
                         amg_error *err)
{
    const amg_cover_split splits[2] = {{s->train, s->pool},
                                       {s->val, s->val_pool ? s->val_pool : s->pool}};
    amg_secret *secret = secret_number(key);
    const amg_status st =
        amg_cover_plan_derive(secret, k, splits, s->val ? 2 : 1, out, err);
    amg_secret_free(secret);
    return st;
}

static amg_cover_plan must_derive(unsigned key, int k, const sets *s)
{
    amg_cover_plan p = {0};
    amg_error err = {0};
    if (derive(key, k, s, &p, &err)) fail_msg("%s: %s", err.where, err.what);
    return p;
}

static int64_t size_of(const amg_dataset *ds)
{
    return amg_dataset_get_info(ds)->num_samples;
}

/* What the cloud counts: windows (rows NULL: all n) that begin with the last token of
 * the one before. */
static double seen(const amg_dataset *ds, const int64_t *rows, int64_t n)
{
    int32_t before[SEQ + 1], x[SEQ + 1];
    int64_t chains = 0;
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(amg_dataset_read(ds, rows ? rows[i] : i, x, NULL, NULL),
                         AMG_OK);
        chains += i > 0 && x[0] == before[SEQ];
        memcpy(before, x, sizeof x);
    }
    return (double)chains / (double)(n - 1);
}

/* No two runs share a token. */
static void assert_apart(const amg_dataset *ds, const int64_t *rows, int64_t n, int k)
{
    for (int a = 0; a < k; a++)
        for (int b = 0; b < k; b++) {
            const int64_t end = amg_dataset_source_row(ds, rows[a * n + n - 1]);
            const int64_t begin = amg_dataset_source_row(ds, rows[b * n]);
            if (a != b) assert_true(begin > end + SEQ || begin < end);
        }
}

static void assert_no_row_twice(const amg_cover_plan *p, const amg_dataset *pool)
{
    uint8_t *used = calloc((size_t)size_of(pool), 1);
    for (int s = 0; s < p->num_splits; s++)
        for (int64_t i = 0; i < p->num_decoys * p->num_samples[s]; i++)
            assert_int_equal(used[p->rows[s][i]]++, 0);
    free(used);
}

/* Every decoy is a stretch, as the private data are, of split s. */
static void assert_runs(const amg_cover_plan *p, int s, const amg_dataset *data,
                        const amg_dataset *pool)
{
    const int64_t n = p->num_samples[s];
    assert_true(seen(data, NULL, n) == 1);
    for (int d = 0; d < p->num_decoys; d++) {
        assert_true(seen(pool, p->rows[s] + d * n, n) == 1);
        if (amg_dataset_begins_document(data, 0))
            assert_true(amg_dataset_begins_document(pool, p->rows[s][d * n]));
    }
    assert_apart(pool, p->rows[s], n, p->num_decoys);
}

/* ---- what is alike ---- */

static void split(const char *dir, const char *set, int num_parts, int64_t chunk,
                  const double *shares)
{
    static const char *const names[] = {"own", "pool", "val"};
    char paths[3][512], input[512];
    const char *outs[3];
    amg_token_info parts[3];
    amg_error err = {0};
    snprintf(input, sizeof input, "%s/%s", dir, set);
    for (int i = 0; i < num_parts; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s", dir, names[i]);
        outs[i] = paths[i];
    }
    const amg_split_options o = {.input = input,
                                 .num_parts = num_parts,
                                 .outs = outs,
                                 .shares = shares,
                                 .chunk = chunk,
                                 .seed = 7};
    if (amg_split_tokens(&o, NULL, parts, &err))
        fail_msg("%s: %s", err.where, err.what);
}

static void sets_that_split_made_are_covered_by_stretches(void **state)
{
    const int64_t chunks[] = {0, 64, 50};
    write_text(*state, "all", 1);
    for (int c = 0; c < 3; c++) {
        split(*state, "all", 2, chunks[c], (const double[]){1, 5});
        sets s = open_sets(*state, "own", NULL, "pool");
        for (unsigned key = 0; key < 5; key++) {
            amg_cover_plan p = must_derive(key, K, &s);
            assert_runs(&p, 0, s.train, s.pool);
            assert_no_row_twice(&p, s.pool);
            amg_cover_plan_clear(&p);
        }
        close_sets(&s);
        char path[512];
        snprintf(path, sizeof path, "%s/own", (const char *)*state);
        amg_dir_remove(path);
        snprintf(path, sizeof path, "%s/pool", (const char *)*state);
        amg_dir_remove(path);
    }
}

static void ranges_are_covered_by_ranges_that_touch_nothing(void **state)
{
    write_text(*state, "all", 1);
    sets s = open_sets(*state, "all[1:200]", NULL, "all[200:1300]");
    amg_cover_plan p = must_derive(1, K, &s);
    assert_runs(&p, 0, s.train, s.pool);
    for (int64_t i = 0; i < K * 199; i++) /* the pool's first row follows the data */
        assert_in_range(p.rows[0][i], 1, 1098);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void windows_that_overlap_stay_apart_as_far_as_they_reach(void **state)
{
    write_text(*state, "all", 1);
    write_text(*state, "other", 2);
    sets s = {.train = open_part(*state, "all[1:1001]", 3),
              .pool = open_part(*state, "other", 3)};
    amg_cover_plan p = must_derive(1, K, &s);
    for (int d = 0; d < K; d++)
        for (int64_t i = 1; i < 1000; i++)
            assert_int_equal(p.rows[0][d * 1000 + i], p.rows[0][d * 1000] + i);
    assert_apart(s.pool, p.rows[0], 1000, K);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

/* A share v of n windows varies by sqrt(v (1 - v) / n) = 0.025 here. */
static void random_parts_are_covered_by_rows_that_chain_as_often(void **state)
{
    write_text(*state, "all", 1);
    sets s = open_sets(*state, "all[0%-20%:seed=3]", NULL, "all[20%-100%:seed=3]");
    const int64_t n = size_of(s.train);
    const double own = seen(s.train, NULL, n);
    double sum = 0;
    assert_true(fabs(own - 0.2) < 0.1);
    for (unsigned key = 0; key < 20; key++) {
        amg_cover_plan p = must_derive(key, K, &s);
        for (int d = 0; d < K; d++) {
            const double share = seen(s.pool, p.rows[0] + d * n, n);
            assert_true(fabs(share - 0.2) < 0.1);
            sum += share / (20 * K);
        }
        amg_cover_plan_clear(&p);
    }
    assert_true(fabs(sum - 0.2) < 0.025);
    close_sets(&s);
}

/* The pool is as large as what is taken of it: random rows are all of its rows, and
 * chain as stretches do. */
static void halves_of_a_set_cover_each_other(void **state)
{
    int halves = 0;
    write_text(*state, "text", 1);
    for (int seed = 0; seed < 60; seed++) {
        char own[64], pool[64];
        const int end = 10 + seed; /* 131 to 906 windows */
        snprintf(own, sizeof own, "text[0%%-%d%%:seed=%d]", end / 2, seed);
        snprintf(pool, sizeof pool, "text[%d%%-%d%%:seed=%d]", end / 2, end / 2 * 2,
                 seed);
        sets s = open_sets(*state, own, NULL, pool);
        if (size_of(s.train) == size_of(s.pool)) {
            amg_cover_plan p = must_derive(1, 1, &s);
            amg_cover_plan_clear(&p);
            halves++;
        }
        close_sets(&s);
    }
    assert_true(halves >= 20);
}

static void validation_data_get_runs_of_their_own(void **state)
{
    write_text(*state, "all", 1);
    split(*state, "all", 3, 64, (const double[]){2, 13, 1});
    sets s = open_sets(*state, "own", "val", "pool");
    for (unsigned key = 0; key < 5; key++) {
        amg_cover_plan p = must_derive(key, K, &s);
        assert_runs(&p, 0, s.train, s.pool);
        assert_runs(&p, 1, s.val, s.pool);
        assert_no_row_twice(&p, s.pool);
        amg_cover_plan_clear(&p);
    }
    /* A pool of their own: the other way may suit them. */
    amg_dataset_close(s.val);
    write_text(*state, "other", 2);
    s.val = open_part(*state, "other[0%-20%:seed=3]", 0);
    s.val_pool = open_part(*state, "other[20%-100%:seed=3]", 0);
    amg_cover_plan p = must_derive(1, K, &s);
    assert_runs(&p, 0, s.train, s.pool);
    for (int d = 0; d < K; d++)
        assert_true(
            fabs(seen(s.val_pool, p.rows[1] + d * p.num_samples[1], p.num_samples[1]) -
                 0.2) < 0.1);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

/* Which decoy has which of three places: 60 keys give each 20 +- 3.7. */
static void the_key_deals_the_runs_out(void **state)
{
    write_text(*state, "all", 1);
    sets s = open_sets(*state, "all[1:200]", NULL, "all[200:1300]");
    int first[K] = {0};
    for (unsigned key = 0; key < 60; key++) {
        amg_cover_plan p = must_derive(key, K, &s), again = must_derive(key, K, &s);
        assert_memory_equal(p.rows[0], again.rows[0], K * 199 * sizeof(int64_t));
        for (int d = 0; d < K; d++) first[d] += p.rows[0][(int64_t)d * 199] < 200;
        amg_cover_plan_clear(&p);
        amg_cover_plan_clear(&again);
    }
    assert_int_equal(first[0] + first[1] + first[2], 60);
    for (int d = 0; d < K; d++) assert_in_range(first[d], 6, 34);
    close_sets(&s);
}

static void a_text_that_grew_keeps_its_runs(void **state)
{
    write_text(*state, "all", 1);
    write_text(*state, "other", 2);
    sets small = open_sets(*state, "all[1:200]", "all[500:540]", "other");
    sets grown = open_sets(*state, "all[1:230]", "all[500:540]", "other");
    amg_cover_plan a = must_derive(1, K, &small), b = must_derive(1, K, &grown);
    for (int d = 0; d < K; d++)
        assert_memory_equal(a.rows[0] + (ptrdiff_t)d * 199,
                            b.rows[0] + (ptrdiff_t)d * 229, 199 * sizeof(int64_t));
    assert_memory_equal(a.rows[1], b.rows[1], K * 40 * sizeof(int64_t));
    amg_cover_plan_clear(&a);
    amg_cover_plan_clear(&b);
    close_sets(&small);
    close_sets(&grown);
}

/* As Python gives a row of tokens: documents are not known. */
static amg_status read_count(void *context, const int64_t *rows, int64_t num, void *x,
                             void *y, amg_error *err)
{
    (void)y, (void)err;
    for (int64_t i = 0; i < num; i++)
        for (int t = 0; t <= SEQ; t++)
            ((int32_t *)x)[i * (SEQ + 1) + t] =
                (int32_t)(*(const int64_t *)context + rows[i] * SEQ + t);
    return AMG_OK;
}

static amg_dataset *open_count(int64_t *begin, int64_t num)
{
    const amg_dataset_callbacks c = {.info = {.dtype = AMG_I32,
                                              .num_samples = num,
                                              .rank = 1,
                                              .dims = {SEQ + 1},
                                              .vocab_size = VOCAB,
                                              .pad = AMG_NO_TOKEN,
                                              .stride = SEQ},
                                     .source = *begin ? "pool" : "data",
                                     .context = begin,
                                     .read = read_count};
    amg_dataset *ds = NULL;
    assert_int_equal(amg_dataset_from_callbacks(&c, &ds, NULL), AMG_OK);
    return ds;
}

static void windows_of_a_callers_own_are_chained_too(void **state)
{
    int64_t begins[2] = {0, 5000};
    (void)state;
    sets s = {.train = open_count(&begins[0], 50), .pool = open_count(&begins[1], 400)};
    amg_cover_plan p = must_derive(1, K, &s);
    assert_runs(&p, 0, s.train, s.pool);
    assert_int_equal(amg_dataset_source_row(s.pool, 3), 3 * SEQ);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void refuse(const char *dir, const char *train, const char *val,
                   const char *pool, const char *what, const char *hint)
{
    sets s = open_sets(dir, train, val, pool);
    amg_cover_plan p = {0};
    amg_error err = {0};
    assert_int_equal(derive(1, K, &s, &p, &err), AMG_MISMATCH);
    if (!strstr(err.what, what)) fail_msg("found: %s\nexpected: %s", err.what, what);
    if (!strstr(err.hint, hint)) fail_msg("found: %s\nexpected: %s", err.hint, hint);
    assert_null(p.rows[0]);
    close_sets(&s);
}

/* ---- equal windows ---- */

/* DIR/NAME: windows that count on from first, each a document; but window copy is the
 * fifth of those that count from 0. */
static void write_counting(const char *dir, const char *name, int64_t windows,
                           int32_t first, int64_t copy)
{
    char path[512];
    const amg_token_info info = {
        .vocab_size = VOCAB, .pad = AMG_NO_TOKEN, .eos = AMG_NO_TOKEN};
    amg_token_writer *w = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(amg_token_writer_new(path, &info, &w, NULL), AMG_OK);
    for (int64_t i = 0; i <= windows; i++) {
        int32_t tokens[SEQ];
        const int64_t count = i < windows ? SEQ : 1;
        for (int32_t t = 0; t < SEQ; t++) tokens[t] = first + (int32_t)i * SEQ + t;
        for (int32_t t = 0; i == copy && t < SEQ; t++) tokens[t] = 4 * SEQ + t;
        if (i == copy + 1) tokens[0] = 5 * SEQ;
        assert_int_equal(amg_token_writer_add(w, tokens, count, 0, NULL), AMG_OK);
    }
    snprintf(path, sizeof path, "%s/vocabulary.json", amg_token_writer_dir(w));
    assert_int_equal(amg_file_write(path, 0644, true, "{}", 2, NULL), AMG_OK);
    assert_int_equal(amg_token_writer_finish(w, NULL, NULL), AMG_OK);
}

/* Where the three runs begin, in ascending order. */
static void assert_begin(const amg_cover_plan *p, int64_t a, int64_t b, int64_t c)
{
    const int64_t n = p->num_samples[0], want[3] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        int found = 0;
        for (int d = 0; d < 3; d++) found += p->rows[0][d * n] == want[i];
        assert_int_equal(found, 1);
    }
    for (int d = 0; d < 3; d++)
        for (int64_t i = 1; i < n; i++)
            assert_int_equal(p->rows[0][d * n + i], p->rows[0][d * n] + i);
}

static void a_run_begins_behind_a_window_of_the_private_data(void **state)
{
    write_counting(*state, "own", 10, 0, -2);
    write_counting(*state, "pool", 60, 1000, 25);
    sets s = open_sets(*state, "own", NULL, "pool");
    amg_cover_plan p = must_derive(1, 3, &s);
    assert_begin(&p, 0, 26, 40); /* places 0, 20, 40 */
    assert_int_equal(p.passed_over, 1);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void runs_move_together_where_the_last_has_no_room(void **state)
{
    write_counting(*state, "own", 18, 0, -2);
    write_counting(*state, "pool", 60, 1000, 56);
    sets s = open_sets(*state, "own", NULL, "pool");
    amg_cover_plan p = must_derive(1, 3, &s);
    assert_begin(&p, 0, 19, 38); /* at 40 it would have held window 56 */
    assert_int_equal(p.passed_over, 0);
    amg_cover_plan_clear(&p);
    close_sets(&s);
    write_counting(*state, "worse", 60, 1000, 50);
    refuse(*state, "own", NULL, "worse", "has 60 samples (1 equal to others were met)",
           "a larger pool");
}

/* ---- refusals ---- */

static void pools_whose_windows_chain_otherwise_are_refused(void **state)
{
    write_text(*state, "all", 1);
    write_text(*state, "other", 2);
    refuse(*state, "all[1:200]", NULL, "other[0%-70%:seed=1]",
           "100.0 % of the windows of the training data go on where the one before",
           "text:SET[0%-25%:seed=1] and text:SET[25%-100%:seed=1], or take whole sets");
    refuse(*state, "all[0%-10%:seed=1]", NULL, "other[1:400]",
           "% of the time (random rows of the cover pool) or ", "amalgam split");
    refuse(*state, "all[0%-15%:seed=1]", "other[0:60]", "all[20%-100%:seed=1]",
           "100.0 % of the windows of the validation data", "text:SET[25%-100%");
}

static void one_pool_for_two_ways_is_refused(void **state)
{
    write_text(*state, "all", 1);
    write_text(*state, "other", 2);
    write_text(*state, "third", 3);
    refuse(*state, "all[0%-15%:seed=1]", "other[1:60]", "third",
           "the training data would take random rows of the cover pool, the validation "
           "data stretches",
           "a pool of their own");
}

static void private_stretches_that_meet_are_refused(void **state)
{
    write_text(*state, "all", 1);
    write_text(*state, "other", 2);
    refuse(*state, "all[1:200]", "all[200:260]", "other",
           "share tokens where they meet", "leave a window out between them");
    refuse(*state, "all[60:260]", "all[1:60]", "other", "share tokens where they meet",
           "leave a window out between them");
    sets s = open_sets(*state, "all[1:200]", "all[201:260]", "other");
    amg_cover_plan p = must_derive(1, K, &s);
    amg_cover_plan_clear(&p);
    close_sets(&s);
}

static void a_pool_without_room_says_what_a_run_is(void **state)
{
    write_text(*state, "all", 1);
    write_tokens(*state, "one", 1, (const int[]){250}, 1, 2);
    refuse(*state, "all[1:200]", NULL, "all[300:898]",
           "has 598 samples (0 equal to others were met): no room for 3 stretches of "
           "199 for the training data, 1 apart",
           "take a larger pool or fewer decoys");
    refuse(*state, "one[0:2]", NULL, "one[2:31]",
           "no room for 3 stretches of 2 for the training data, 1 apart",
           "leave out the first window of the data, DATA[1:]");
}

static void every_lack_of_memory_is_reported_and_cleaned_up(void **state)
{
    write_text(*state, "all", 1);
    sets s = open_sets(*state, "all[1:200]", NULL, "all[200:1300]");
    for (long nth = 1;; nth++) {
        amg_cover_plan p = {0};
        long countdown = nth;
        amg_alloc_fail_after(&countdown);
        const amg_status st = derive(1, K, &s, &p, NULL);
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK) {
            assert_true(nth > 6);
            amg_cover_plan_clear(&p);
            break;
        }
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_null(p.rows[0]);
    }
    close_sets(&s);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(sets_that_split_made_are_covered_by_stretches),
        IN_FOLDER(ranges_are_covered_by_ranges_that_touch_nothing),
        IN_FOLDER(windows_that_overlap_stay_apart_as_far_as_they_reach),
        IN_FOLDER(random_parts_are_covered_by_rows_that_chain_as_often),
        IN_FOLDER(halves_of_a_set_cover_each_other),
        IN_FOLDER(validation_data_get_runs_of_their_own),
        IN_FOLDER(the_key_deals_the_runs_out),
        IN_FOLDER(a_text_that_grew_keeps_its_runs),
        IN_FOLDER(windows_of_a_callers_own_are_chained_too),
        IN_FOLDER(a_run_begins_behind_a_window_of_the_private_data),
        IN_FOLDER(runs_move_together_where_the_last_has_no_room),
        IN_FOLDER(pools_whose_windows_chain_otherwise_are_refused),
        IN_FOLDER(one_pool_for_two_ways_is_refused),
        IN_FOLDER(private_stretches_that_meet_are_refused),
        IN_FOLDER(a_pool_without_room_says_what_a_run_is),
        IN_FOLDER(every_lack_of_memory_is_reported_and_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
