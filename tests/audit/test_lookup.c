/* Repeated and known samples, planted one at a time in evidence made by hand: each is
 * found by its own finding, with the right stream; clean evidence has no failure. */
#include "../obfuscate/data_fixture.h"

#include <math.h>

#include "audit/attack.h"
#include "audit/signature.h"
#include "fixture_evidence.h"

enum { ROWS = 300, STREAMS = 4, ORIGINAL = 2 };
static const int64_t image[3] = {1, 16, 16};
static const int64_t text[3] = {1, 48, 1};
static const int64_t vector[3] = {1, 6, 1};

/* ---- evidence ---- */

/* A sum of waves: no two alike, smooth enough to have a likeness from afar. */
static void draw_image(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    double a[8], x[8], y[8], phase[8];
    (void)stream;
    (void)row;
    *label = (int32_t)amg_rng_below(rng, 10);
    for (int w = 0; w < 8; w++) {
        a[w] = amg_rng_normal(rng);
        x[w] = 3.0 * amg_rng_normal(rng) / (double)dims[2];
        y[w] = 3.0 * amg_rng_normal(rng) / (double)dims[1];
        phase[w] = 6.28 * amg_rng_uniform(rng);
    }
    for (int64_t i = 0; i < dims[1]; i++)
        for (int64_t j = 0; j < dims[2]; j++) {
            double v = 128;
            for (int w = 0; w < 8; w++)
                v += 20 * a[w] * sin(x[w] * (double)j + y[w] * (double)i + phase[w]);
            sample[i * dims[2] + j] = (float)(v < 0 ? 0 : v > 255 ? 255 : round(v));
        }
}

/* Words of a vocabulary of 400, frequent ones often. */
static void draw_text(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                      float *sample, int32_t *label)
{
    (void)stream;
    (void)row;
    *label = 0;
    for (int64_t i = 0; i < dims[1]; i++) {
        const float u = amg_rng_uniform(rng);
        sample[i] = floorf(400 * u * u * u);
    }
}

static void draw_numbers(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                         float *sample, int32_t *label)
{
    (void)stream;
    (void)row;
    *label = 0;
    for (int64_t i = 0; i < dims[1]; i++) sample[i] = (float)amg_rng_normal(rng);
}

typedef struct {
    amg_evidence e;
    amg_audit_options options;
    amg_findings findings;
    amg_progress progress;
} bench;

static void open_bench(bench *b, amg_dtype dtype, const int64_t dims[3],
                       fixture_draw draw)
{
    *b = (bench){0};
    fixture_evidence(&b->e, dtype, STREAMS, ORIGINAL, dims, ROWS, 0, draw, 5);
}

static void close_bench(bench *b)
{
    amg_evidence_close(&b->e);
    amg_findings_clear(&b->findings);
}

static amg_status run(bench *b, amg_error *err)
{
    const amg_attack_task task = {.evidence = &b->e,
                                  .options = &b->options,
                                  .findings = &b->findings,
                                  .progress = &b->progress};
    amg_findings_clear(&b->findings);
    return amg_attack_lookup(&task, err);
}

static void must_run(bench *b)
{
    amg_error err = {0};
    if (run(b, &err)) fail_msg("%s: %s", err.where, err.what);
}

static const amg_finding *find(const bench *b, const char *metric)
{
    for (int i = 0; i < b->findings.count; i++)
        if (!strcmp(b->findings.items[i].metric, metric)) return &b->findings.items[i];
    fail_msg("no finding \"%s\"", metric);
    abort(); /* gcc does not know that cmocka never returns */
}

static void assert_verdict(const bench *b, const char *metric, amg_verdict verdict,
                           int guess)
{
    const amg_finding *f = find(b, metric);
    if (f->verdict != verdict || f->guess != guess)
        fail_msg("%s: %s, guess %d, expected %s, %d: %s", metric,
                 amg_verdict_name(f->verdict), f->guess, amg_verdict_name(verdict),
                 guess, f->text);
}

static const char shared[] = "samples equal in two streams";
static const char alike[] = "p that so many texts alike are in two streams";
static const char repeats[] = "p that streams repeat samples equally often";
static const char near[] = "p that near repeats are equally frequent";
static const char twins[] = "p that so many images nearly equal are in two streams";
static const char twin_shares[] =
    "p that streams are nearly equal to others equally often";
static const char in_set[] = "p that streams are found in a set equally often";

/* ---- samples ---- */

static uint8_t *element(bench *b, int stream, int64_t row, int64_t i)
{
    const amg_evidence *e = &b->e;
    const int64_t at = row * e->num_positions + e->streams[stream].select[i];
    return e->x + (size_t)at * e->elem;
}

static void copy(bench *b, int from, int64_t from_row, int to, int64_t to_row)
{
    for (int64_t i = 0; i < b->e.streams[from].num_values; i++)
        memcpy(element(b, to, to_row, i), element(b, from, from_row, i), b->e.elem);
}

/* What a lossy file does to an image. */
static void disturb(uint8_t *x, int64_t n, amg_rng *rng)
{
    for (int64_t i = 0; i < n; i++) {
        const double v = 3 + .97 * x[i] + amg_rng_normal(rng);
        x[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* ---- within the job ---- */

static void clean_evidence_has_no_failure(void **state)
{
    (void)state;
    bench b;
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 0) open_bench(&b, AMG_U8, image, draw_image);
        if (kind == 1) open_bench(&b, AMG_I32, text, draw_text);
        if (kind == 2) open_bench(&b, AMG_F32, vector, draw_numbers);
        must_run(&b);
        assert_verdict(&b, shared, AMG_VERDICT_PASS, -1);
        assert_verdict(&b, repeats, AMG_VERDICT_PASS, -1);
        if (kind < 2) assert_verdict(&b, near, AMG_VERDICT_PASS, -1);
        if (kind == 1) assert_verdict(&b, alike, AMG_VERDICT_PASS, -1);
        if (kind == 0) assert_verdict(&b, twins, AMG_VERDICT_PASS, -1);
        if (kind == 0) assert_verdict(&b, twin_shares, AMG_VERDICT_PASS, -1);
        assert_int_equal(b.findings.count, kind == 0 ? 5 : kind == 1 ? 4 : 2);
        close_bench(&b);
    }
}

/* One cover twice; then one in each of the decoys. */
static void a_cover_that_serves_twice_is_found(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, AMG_U8, image, draw_image);
    copy(&b, 0, 7, 3, 200);
    must_run(&b);
    assert_verdict(&b, shared, AMG_VERDICT_FAIL, -1);
    assert_true(find(&b, shared)->value == 2);
    copy(&b, 0, 7, 1, 31);
    must_run(&b);
    assert_verdict(&b, shared, AMG_VERDICT_FAIL, ORIGINAL);
    assert_verdict(&b, repeats, AMG_VERDICT_PASS, -1);
    close_bench(&b);
}

/* Rows of stream 0 in stream 1, whose tokens have other numbers. */
static void translate(bench *b, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < text[1]; i++) {
            int32_t token;
            memcpy(&token, element(b, 0, row, i), sizeof token);
            token = (token * 7 + 3) % 401;
            memcpy(element(b, 1, row + 50, i), &token, sizeof token);
        }
}

/* Streams have vocabularies of their own: equal texts have no token in common. Some
 * stand in two streams wherever texts come from; that many do not. */
static void texts_that_serve_twice_are_found_by_their_patterns(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, AMG_I32, text, draw_text);
    translate(&b, 4);
    must_run(&b);
    assert_verdict(&b, alike, AMG_VERDICT_PASS, -1);
    assert_true(find(&b, alike)->value < 1);
    translate(&b, 40);
    must_run(&b);
    assert_verdict(&b, alike, AMG_VERDICT_FAIL, -1);
    assert_verdict(&b, shared, AMG_VERDICT_PASS, -1);
    close_bench(&b);
}

static void a_stream_that_repeats_itself_is_found(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, AMG_U8, image, draw_image);
    for (int64_t row = 0; row < 12; row++) copy(&b, ORIGINAL, row, ORIGINAL, row + 100);
    must_run(&b);
    assert_verdict(&b, repeats, AMG_VERDICT_FAIL, ORIGINAL);
    assert_verdict(&b, shared, AMG_VERDICT_PASS, -1);
    /* All streams alike: that is what data are like. */
    for (int s = 0; s < STREAMS; s++)
        for (int64_t row = 0; row < 12; row++) copy(&b, s, row, s, row + 100);
    must_run(&b);
    assert_verdict(&b, repeats, AMG_VERDICT_PASS, -1);
    close_bench(&b);
}

static void near_repeats_are_found(void **state)
{
    (void)state;
    bench b;
    amg_rng rng = amg_rng_init(3, 0);
    open_bench(&b, AMG_U8, image, draw_image);
    for (int64_t row = 0; row < 12; row++) {
        copy(&b, 1, row, 1, row + 100);
        for (int64_t i = 0; i < 256; i++)
            disturb(element(&b, 1, row + 100, i), 1, &rng);
    }
    must_run(&b);
    assert_verdict(&b, repeats, AMG_VERDICT_PASS, -1);
    assert_verdict(&b, near, AMG_VERDICT_FAIL, 1);
    close_bench(&b);

    open_bench(&b, AMG_I32, text, draw_text);
    for (int64_t row = 0; row < 12; row++) {
        const int32_t other = 401;
        copy(&b, 1, row, 1, row + 100);
        memcpy(element(&b, 1, row + 100, 3), &other, sizeof other);
        memcpy(element(&b, 1, row + 100, 40), &other, sizeof other);
    }
    must_run(&b);
    assert_verdict(&b, near, AMG_VERDICT_FAIL, 1);
    close_bench(&b);
}

/* ---- nearly equal in two streams ---- */

/* Ways from a sample to another version of it. */
enum { LOSSY, BRIGHTER, SMALLER, NUM_VERSIONS };

static uint8_t version_of(bench *b, int how, int stream, int64_t row, int64_t i)
{
    const int64_t y = i / image[2], x = i % image[2], width = image[2];
    if (how == SMALLER) { /* to half the size and back */
        const int64_t corner = y / 2 * 2 * width + x / 2 * 2;
        const int64_t at[4] = {0, 1, width, width + 1};
        int sum = 0;
        for (int j = 0; j < 4; j++) sum += *element(b, stream, row, corner + at[j]);
        return (uint8_t)(sum / 4);
    }
    const uint8_t v = *element(b, stream, row, i);
    return how == BRIGHTER ? (uint8_t)(v > 215 ? 255 : v + 40) : v;
}

/* Another version of a sample in another place. */
static void plant(bench *b, int how, int from, int64_t from_row, int to, int64_t to_row)
{
    amg_rng rng = amg_rng_init((uint64_t)from_row, 1);
    for (int64_t i = 0; i < image[1] * image[2]; i++) {
        uint8_t *x = element(b, to, to_row, i);
        *x = version_of(b, how, from, from_row, i);
        if (how == LOSSY) disturb(x, 1, &rng);
    }
}

/* Versions of the original's samples among the covers, and of a decoy's in others. */
static void other_versions_in_another_stream_are_found(void **state)
{
    (void)state;
    bench b;
    for (int how = 0; how < NUM_VERSIONS; how++) {
        open_bench(&b, AMG_U8, image, draw_image);
        const int decoys[] = {0, 1, 3};
        for (int64_t row = 0; row < 30; row++)
            plant(&b, how, ORIGINAL, row, decoys[row % 3], row + 100);
        must_run(&b);
        assert_verdict(&b, twins, AMG_VERDICT_FAIL, -1);
        assert_verdict(&b, twin_shares, AMG_VERDICT_FAIL, ORIGINAL);
        assert_verdict(&b, shared, AMG_VERDICT_PASS, -1);
        assert_verdict(&b, near, AMG_VERDICT_PASS, -1);
        close_bench(&b);
    }
    open_bench(&b, AMG_U8, image, draw_image);
    for (int64_t row = 0; row < 30; row++)
        plant(&b, LOSSY, row % 2, row, row % 2 ? 3 : 1, row + 100);
    must_run(&b);
    assert_verdict(&b, twins, AMG_VERDICT_FAIL, ORIGINAL);
    assert_verdict(&b, twin_shares, AMG_VERDICT_FAIL, ORIGINAL);
    close_bench(&b);
}

/* Two streams: no share can differ, only how many pairs there are. */
static void two_streams_show_as_many_pairs_as_each(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, AMG_U8, image, draw_image);
    b.e.num_streams = 2;
    for (int64_t row = 0; row < 10; row++) plant(&b, LOSSY, 0, row, 1, row + 100);
    must_run(&b);
    assert_verdict(&b, twins, AMG_VERDICT_FAIL, -1);
    assert_verdict(&b, twin_shares, AMG_VERDICT_PASS, -1);
    for (int64_t row = 0; row < 10; row++)
        plant(&b, LOSSY, row % 2, row + 20, row % 2, row + 200);
    must_run(&b);
    assert_verdict(&b, twins, AMG_VERDICT_PASS, -1);
    b.e.num_streams = STREAMS;
    close_bench(&b);
}

/* A source that has two versions of many, dealt out at random: rows of a bag. */
static void versions_dealt_at_random_pass(void **state)
{
    (void)state;
    enum { PAIRS = 200 };
    int64_t bag[STREAMS * ROWS];
    amg_rng rng = amg_rng_init(11, 0);
    bench b;
    open_bench(&b, AMG_U8, image, draw_image);
    for (int64_t i = 0; i < STREAMS * ROWS; i++) bag[i] = i;
    for (int64_t i = STREAMS * ROWS - 1; i > 0; i--) {
        const int64_t j = (int64_t)amg_rng_below(&rng, (uint32_t)i + 1);
        const int64_t other = bag[j];
        bag[j] = bag[i];
        bag[i] = other;
    }
    for (int64_t p = 0; p < PAIRS; p++)
        plant(&b, LOSSY, (int)(bag[2 * p] / ROWS), bag[2 * p] % ROWS,
              (int)(bag[2 * p + 1] / ROWS), bag[2 * p + 1] % ROWS);
    must_run(&b);
    assert_verdict(&b, twins, AMG_VERDICT_PASS, -1);
    assert_verdict(&b, twin_shares, AMG_VERDICT_PASS, -1);
    assert_in_range(strtol(find(&b, twins)->text, NULL, 10), PAIRS - 10, PAIRS);
    close_bench(&b);
}

/* ---- public sets ---- */

/* Samples of streams first .. last, rows 0 .. num-1 of each, each value scale times a
 * side, as DIR/set.npy; noise: as a lossy file has them. Returns the spec. */
static const char *write_set(bench *b, const char *dir, int first, int last,
                             int64_t num, int64_t scale, bool noise)
{
    static char path[600];
    const int64_t side = image[1] * scale, n = (last - first + 1) * num;
    uint8_t *x = malloc((size_t)(n * side * side)), *to = x;
    amg_rng rng = amg_rng_init(9, 0);
    amg_tensor t;
    for (int s = first; s <= last; s++)
        for (int64_t row = 0; row < num; row++)
            for (int64_t i = 0; i < side; i++)
                for (int64_t j = 0; j < side; j++)
                    *to++ = *element(b, s, row, i / scale * image[2] + j / scale);
    if (noise) disturb(x, n * side * side, &rng);
    snprintf(path, sizeof path, "%s/set.npy", dir);
    assert_int_equal(
        amg_tensor_view(AMG_U8, 4, (int64_t[]){n, 1, side, side}, x, &t, NULL), AMG_OK);
    assert_int_equal(amg_npy_write(path, &t, NULL), AMG_OK);
    free(x);
    return path;
}

static void look_up(bench *b, const char *spec, amg_verdict verdict, int guess)
{
    b->options.lookup = &spec;
    b->options.num_lookup = 1;
    must_run(b);
    assert_verdict(b, in_set, verdict, guess);
    assert_verdict(b, shared, AMG_VERDICT_PASS, -1);
}

static void samples_of_one_stream_in_a_public_set_are_found(void **state)
{
    bench b;
    open_bench(&b, AMG_U8, image, draw_image);
    look_up(&b, write_set(&b, *state, ORIGINAL, ORIGINAL, 30, 1, false),
            AMG_VERDICT_FAIL, ORIGINAL);
    assert_non_null(strstr(find(&b, in_set)->text, "(0 nearly"));
    look_up(&b, write_set(&b, *state, ORIGINAL, ORIGINAL, 30, 1, true),
            AMG_VERDICT_FAIL, ORIGINAL);
    assert_in_range(strtol(strchr(find(&b, in_set)->text, '(') + 1, NULL, 10), 28, 30);
    look_up(&b, write_set(&b, *state, 1, 1, 30, 2, true), AMG_VERDICT_FAIL, 1);
    /* The pool that all covers are from: the owner's stream stands apart. */
    const char *covers = write_set(&b, *state, 0, 1, ROWS, 1, false);
    b.e.num_streams = 3;
    look_up(&b, covers, AMG_VERDICT_FAIL, ORIGINAL);
    b.e.num_streams = STREAMS;
    close_bench(&b);
}

static void a_set_that_all_streams_are_from_tells_none_apart(void **state)
{
    bench b;
    open_bench(&b, AMG_U8, image, draw_image);
    look_up(&b, write_set(&b, *state, 0, STREAMS - 1, 40, 1, false), AMG_VERDICT_REPORT,
            -1);
    assert_true(find(&b, in_set)->value >= .01);
    close_bench(&b);
}

static void a_set_of_other_samples_is_no_hit(void **state)
{
    bench b, other;
    open_bench(&b, AMG_U8, image, draw_image);
    other = (bench){0};
    fixture_evidence(&other.e, AMG_U8, STREAMS, ORIGINAL, image, ROWS, 0, draw_image,
                     77);
    const char *spec = write_set(&other, *state, 0, STREAMS - 1, ROWS, 1, false);
    look_up(&b, spec, AMG_VERDICT_PASS, -1);
    close_bench(&other);
    close_bench(&b);
}

/* x.npy of tokens or numbers: rows 0 .. num-1 of a stream, or (renumber) with all
 * tokens replaced by others. */
static const char *write_rows(bench *b, const char *dir, int stream, int64_t num,
                              bool renumber)
{
    static char path[600];
    const int64_t n = b->e.streams[stream].num_values;
    int32_t *x = malloc((size_t)(num * n) * sizeof *x);
    amg_tensor t;
    for (int64_t i = 0; i < num * n; i++) {
        memcpy(&x[i], element(b, stream, i / n, i % n), sizeof *x);
        if (renumber) x[i] = (x[i] * 7 + 3) % 401;
    }
    snprintf(path, sizeof path, "%s/rows.npy", dir);
    assert_int_equal(amg_tensor_view(b->e.dtype, 2, (int64_t[]){num, n}, x, &t, NULL),
                     AMG_OK);
    assert_int_equal(amg_npy_write(path, &t, NULL), AMG_OK);
    free(x);
    return path;
}

static void texts_and_numbers_in_a_public_set_are_found(void **state)
{
    bench b;
    open_bench(&b, AMG_I32, text, draw_text);
    look_up(&b, write_rows(&b, *state, 3, 40, false), AMG_VERDICT_FAIL, 3);
    look_up(&b, write_rows(&b, *state, ORIGINAL, 40, true), AMG_VERDICT_FAIL, ORIGINAL);
    close_bench(&b);
    open_bench(&b, AMG_F32, vector, draw_numbers);
    look_up(&b, write_rows(&b, *state, 0, 40, false), AMG_VERDICT_FAIL, 0);
    close_bench(&b);
}

static void a_set_that_does_not_fit_is_skipped(void **state)
{
    bench b;
    open_bench(&b, AMG_F32, vector, draw_numbers);
    const char *spec = write_rows(&b, *state, 0, 40, false);
    amg_evidence_close(&b.e);
    fixture_evidence(&b.e, AMG_U8, STREAMS, ORIGINAL, vector, ROWS, 0, draw_image, 5);
    b.options.lookup = &spec;
    b.options.num_lookup = 1;
    must_run(&b);
    assert_verdict(&b, "", AMG_VERDICT_SKIPPED, -1);
    close_bench(&b);
}

static bool stop(void *context, const amg_progress_event *event)
{
    (void)event;
    return --*(int *)context > 0;
}

static void a_missing_set_and_a_stop_are_errors(void **state)
{
    bench b;
    amg_error err = {0};
    char path[600];
    const char *spec = path;
    int left = 3;
    open_bench(&b, AMG_U8, image, draw_image);
    snprintf(path, sizeof path, "%s/missing.npy", (char *)*state);
    b.options.lookup = &spec;
    b.options.num_lookup = 1;
    assert_int_equal(run(&b, &err), AMG_NOT_FOUND);
    b.progress = (amg_progress){stop, &left};
    write_set(&b, *state, 0, 0, ROWS, 1, false);
    snprintf(path, sizeof path, "%s/set.npy", (char *)*state);
    assert_int_equal(run(&b, &err), AMG_INTERRUPTED);
    close_bench(&b);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_evidence_has_no_failure),
        cmocka_unit_test(a_cover_that_serves_twice_is_found),
        cmocka_unit_test(texts_that_serve_twice_are_found_by_their_patterns),
        cmocka_unit_test(a_stream_that_repeats_itself_is_found),
        cmocka_unit_test(near_repeats_are_found),
        cmocka_unit_test(other_versions_in_another_stream_are_found),
        cmocka_unit_test(two_streams_show_as_many_pairs_as_each),
        cmocka_unit_test(versions_dealt_at_random_pass),
        IN_FOLDER(samples_of_one_stream_in_a_public_set_are_found),
        IN_FOLDER(a_set_that_all_streams_are_from_tells_none_apart),
        IN_FOLDER(a_set_of_other_samples_is_no_hit),
        IN_FOLDER(texts_and_numbers_in_a_public_set_are_found),
        IN_FOLDER(a_set_that_does_not_fit_is_skipped),
        IN_FOLDER(a_missing_set_and_a_stop_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
