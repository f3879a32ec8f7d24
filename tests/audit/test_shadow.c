/* shadow on jobs made by hand: streams of one law are named at chance, of two laws
 * always; jobs are dealt by the law of `amalgam obfuscate`, and what that law does to a
 * source with repeated samples is found. */
#include <math.h>

#include "../obfuscate/data_fixture.h"
#include "audit/attack.h"
#include "audit/shadow_deal.h"
#include "fixture_evidence.h"
#include "formats/token_set.h"

enum { STREAMS = 4, ORIGINAL = 2, SIDE = 8, VALUES = SIDE * SIDE, WORDS = 50 };
static const int64_t image[3] = {1, SIDE, SIDE}, text[3] = {1, 12, 1};

/* ---- laws of samples ---- */

/* A soft slope in a random direction, with some noise. */
static void draw_slope(amg_rng *rng, const int64_t dims[3], float *sample)
{
    const double level = 90 + 20 * amg_rng_normal(rng), dx = 4 * amg_rng_normal(rng),
                 dy = 4 * amg_rng_normal(rng);
    for (int64_t y = 0; y < dims[1]; y++)
        for (int64_t x = 0; x < dims[2]; x++)
            sample[y * dims[2] + x] =
                (float)(level + dx * (double)x + dy * (double)y + amg_rng_normal(rng));
}

static void draw_alike(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    (void)stream, (void)row;
    draw_slope(rng, dims, sample);
    *label = (int32_t)amg_rng_below(rng, 10);
}

/* Brighter by less than samples differ: not to be seen in one of them. */
static void draw_shifted(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                         float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == ORIGINAL && i < dims[1] * dims[2]; i++)
        sample[i] += 20;
}

/* Nothing but its labels tells the original. */
static void draw_fewer_classes(amg_rng *rng, int stream, int64_t row,
                               const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    if (stream == ORIGINAL && *label > 5) *label = 0;
}

/* Every third sample of the original is the first one again. */
static void draw_repeated(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                          float *sample, int32_t *label)
{
    amg_rng fixed = amg_rng_init(99, 0);
    draw_alike(stream == ORIGINAL && row % 3 == 0 ? &fixed : rng, stream, row, dims,
               sample, label);
}

static void draw_tokens(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    (void)stream, (void)row;
    for (int64_t i = 0; i < dims[1]; i++)
        sample[i] =
            (float)(amg_rng_below(rng, WORDS) * amg_rng_below(rng, WORDS) / WORDS);
    *label = 0;
}

/* The original has a smaller vocabulary. */
static void draw_fewer_tokens(amg_rng *rng, int stream, int64_t row,
                              const int64_t dims[3], float *sample, int32_t *label)
{
    draw_tokens(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == ORIGINAL && i < dims[1]; i++)
        if (sample[i] >= WORDS / 2) sample[i] -= WORDS / 2;
}

/* ---- running it ---- */

static amg_status run_shadow(amg_evidence *e, const amg_audit_options *options,
                             amg_findings *findings, amg_error *err)
{
    const amg_attack_task task = {
        .evidence = e, .options = options, .findings = findings, .seed = 5};
    return amg_attack_shadow(&task, err);
}

/* Its findings; evidence is closed. */
static amg_findings findings_of(amg_evidence *e, const amg_audit_options *options)
{
    amg_findings findings = {0};
    amg_error err = {0};
    if (run_shadow(e, options, &findings, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_evidence_close(e);
    for (int i = 0; i < findings.count; i++) {
        assert_string_equal(findings.items[i].attack, "shadow");
        assert_non_null(findings.items[i].text);
    }
    return findings;
}

static amg_finding only_finding(amg_evidence *e)
{
    const amg_audit_options options = {0};
    amg_findings all = findings_of(e, &options);
    assert_int_equal(all.count, 1);
    amg_finding f = all.items[0];
    f.text = NULL; /* the list's */
    amg_findings_clear(&all);
    return f;
}

static amg_finding of_own_rows(amg_dtype dtype, const int64_t dims[3],
                               fixture_draw draw)
{
    amg_evidence e;
    fixture_evidence(&e, dtype, STREAMS, ORIGINAL, dims, 1200, 0, draw, 1);
    const amg_finding f = only_finding(&e);
    assert_true(f.chance == 0.25);
    assert_int_equal(f.guess, -1); /* it was told the truth to learn */
    return f;
}

static void assert_at_chance(const amg_finding *f)
{
    assert_true(f->low <= 0.25 && f->high >= 0.25);
    assert_true(f->high - f->low < 0.36); /* of 60 */
    assert_int_equal(f->verdict, AMG_VERDICT_PASS);
}

static void assert_identified(const amg_finding *f)
{
    if (!(f->value > 0.6)) fail_msg("identified in %g of the jobs", f->value);
    assert_int_equal(f->verdict, AMG_VERDICT_FAIL);
}

static void streams_of_one_law_are_at_chance(void **state)
{
    (void)state;
    const amg_finding images = of_own_rows(AMG_U8, image, draw_alike);
    const amg_finding tokens = of_own_rows(AMG_I32, text, draw_tokens);
    assert_at_chance(&images);
    assert_at_chance(&tokens);
}

static void a_shift_too_small_for_one_sample_is_found(void **state)
{
    (void)state;
    const amg_finding f = of_own_rows(AMG_U8, image, draw_shifted);
    assert_identified(&f);
}

static void labels_alone_give_it_away(void **state)
{
    (void)state;
    const amg_finding f = of_own_rows(AMG_U8, image, draw_fewer_classes);
    assert_identified(&f);
}

static void repeated_samples_give_it_away(void **state)
{
    (void)state;
    const amg_finding f = of_own_rows(AMG_U8, image, draw_repeated);
    assert_identified(&f);
}

static void a_smaller_vocabulary_is_found(void **state)
{
    (void)state;
    const amg_finding f = of_own_rows(AMG_I32, text, draw_fewer_tokens);
    assert_identified(&f);
}

static void a_threshold_of_the_users_counts(void **state)
{
    const amg_audit_options options = {.max_identification = 1};
    amg_evidence e;
    (void)state;
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, image, 600, 0, draw_shifted, 1);
    amg_findings all = findings_of(&e, &options);
    assert_int_equal(all.items[0].verdict, AMG_VERDICT_PASS);
    amg_findings_clear(&all);
}

/* ---- with a source ---- */

/* n samples of draw_alike, of which the first num_copies are the same one. */
static void write_source(const char *dir, int64_t n, int64_t num_copies, char *spec,
                         size_t size)
{
    uint8_t *x = malloc((size_t)n * VALUES);
    int64_t *labels = malloc((size_t)n * sizeof *labels);
    amg_rng rng = amg_rng_init(11, 0);
    for (int64_t i = 0; i < n; i++) {
        float sample[VALUES];
        int32_t label;
        draw_alike(&rng, 0, i, image, sample, &label);
        for (int64_t j = 0; j < VALUES; j++)
            x[i * VALUES + j] =
                i > 0 && i < num_copies ? x[j] : (uint8_t)fmin(fmax(sample[j], 0), 255);
        labels[i] = label;
    }
    amg_dataset_close(make_set(dir, "source", AMG_U8, n, image, x, labels, ""));
    snprintf(spec, size, "npy:%s/source-x.npy,%s/source-y.npy", dir, dir);
    free(x);
    free(labels);
}

static void a_source_split_at_random_is_at_chance(void **state)
{
    char source[1200];
    amg_evidence e;
    write_source(*state, 1000, 0, source, sizeof source);
    const amg_audit_options options = {.source = source};
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, image, 100, 0, draw_alike, 1);
    e.has_truth = false;
    e.original = -1;
    amg_findings all = findings_of(&e, &options);
    assert_int_equal(all.count, 1);
    assert_at_chance(&all.items[0]);
    assert_in_range(all.items[0].guess, 0, STREAMS - 1);
    assert_non_null(strstr(all.items[0].text, "100 samples a stream"));
    amg_findings_clear(&all);
}

/* The private part keeps its copies, covers equal to it are passed over: who deals such
 * jobs himself knows what to look for, and finds it in the real one. With the key the
 * job's own rows say the same. */
static void repeats_in_the_source_are_learned(void **state)
{
    char source[1200];
    amg_evidence e;
    write_source(*state, 1000, 60, source, sizeof source);
    const amg_audit_options options = {.source = source};
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, image, 600, 0, draw_repeated, 1);
    amg_findings all = findings_of(&e, &options);
    assert_int_equal(all.count, 2);
    assert_identified(&all.items[0]);
    assert_int_equal(all.items[0].guess, ORIGINAL);
    assert_identified(&all.items[1]);
    amg_findings_clear(&all);
}

/* Sample i is nothing but the number i: every dealt row says where it is from. */
static void a_job_is_dealt_by_the_law(void **state)
{
    enum { N = 400, ROWS = 60 };
    const int64_t dims[3] = {1, 1, 2};
    float x[2 * N];
    int64_t labels[N];
    int seen[N], before[N] = {0}, moved = 0;
    char source[1200];
    amg_evidence e;
    amg_deal deal;
    for (int i = 0; i < N; i++) {
        x[2 * i] = x[2 * i + 1] = (float)i;
        labels[i] = i % 7;
    }
    amg_dataset_close(make_set(*state, "n", AMG_F32, N, dims, x, labels, ""));
    snprintf(source, sizeof source, "npy:%s/n-x.npy,%s/n-y.npy", (char *)*state,
             (char *)*state);
    fixture_evidence(&e, AMG_F32, STREAMS, ORIGINAL, dims, ROWS, 0, draw_tokens, 1);
    assert_int_equal(amg_deal_open_source(&e, source, 3, &deal, NULL), AMG_OK);
    assert_int_equal(deal.num_rows, ROWS);
    for (int job = 0; job < 2; job++) {
        amg_evidence dealt;
        assert_int_equal(amg_deal_job(&deal, job, &dealt, NULL), AMG_OK);
        assert_int_equal(dealt.num_rows, ROWS);
        memset(seen, 0, sizeof seen);
        for (int s = 0; s < STREAMS; s++) {
            int last = -1;
            for (int row = 0; row < ROWS; row++) {
                float value[2];
                amg_evidence_sample(&dealt, s, row, value);
                const int from = (int)value[0];
                assert_true(value[0] == value[1]);
                assert_true(from > last); /* rows keep the set's order */
                assert_int_equal(dealt.labels[row * STREAMS + s], from % 7);
                seen[last = from]++;
            }
        }
        for (int i = 0; i < N; i++) {
            assert_in_range(seen[i], 0, 1);
            moved += job && seen[i] != before[i];
        }
        memcpy(before, seen, sizeof seen);
        amg_deal_clear_job(&dealt);
    }
    assert_true(moved > 50); /* other keys, other rows */
    amg_deal_close(&deal);
    amg_evidence_close(&e);
}

/* Token t of the source is the number t, windows of 11 and the next. A dealt part is no
 * text of its own: its decoys are random windows as the private ones are, not stretches
 * of what is left. */
static void windows_are_dealt_one_by_one(void **state)
{
    enum { SEQ = 11, N = 400, ROWS = 60, TOKENS = SEQ * N + 1 };
    const int64_t dims[3] = {1, SEQ + 1, 1};
    const amg_token_info info = {
        .vocab_size = TOKENS, .pad = AMG_NO_TOKEN, .eos = AMG_NO_TOKEN};
    static int32_t tokens[TOKENS];
    char dir[600], source[700], path[700];
    amg_token_writer *writer;
    amg_token_info made;
    amg_evidence e;
    amg_deal deal;
    int chained = 0;
    snprintf(dir, sizeof dir, "%s/set", (char *)*state);
    snprintf(source, sizeof source, "text:%s", dir);
    for (int t = 0; t < TOKENS; t++) tokens[t] = t;
    assert_int_equal(amg_token_writer_new(dir, &info, &writer, NULL), AMG_OK);
    assert_int_equal(amg_token_writer_add(writer, tokens, TOKENS, 0, NULL), AMG_OK);
    snprintf(path, sizeof path, "%s/vocabulary.json", amg_token_writer_dir(writer));
    FILE *vocabulary = fopen(path, "w");
    assert_non_null(vocabulary);
    assert_int_equal(fclose(vocabulary), 0);
    assert_int_equal(amg_token_writer_finish(writer, &made, NULL), AMG_OK);
    fixture_evidence(&e, AMG_I32, STREAMS, ORIGINAL, dims, ROWS, 0, draw_tokens, 1);
    e.job.manifest.task = AMG_TASK_LANGUAGE_MODEL;
    assert_int_equal(amg_deal_open_source(&e, source, 3, &deal, NULL), AMG_OK);
    for (int job = 0; job < 10; job++) {
        amg_evidence dealt;
        assert_int_equal(amg_deal_job(&deal, job, &dealt, NULL), AMG_OK);
        for (int s = 0; s < STREAMS; s++) {
            int32_t last = -SEQ, sample[SEQ + 1];
            for (int row = 0; row < ROWS; row++, last = sample[0]) {
                amg_evidence_tokens(&dealt, s, row, sample);
                assert_int_equal(sample[SEQ], sample[0] + SEQ);
                chained += sample[0] == last + SEQ;
            }
        }
        amg_deal_clear_job(&dealt);
    }
    /* 2400 rows, each with a chance of 60 / 400 that the next window is there, too. */
    assert_in_range(chained, 280, 440);
    amg_deal_close(&deal);
    amg_evidence_close(&e);
}

/* ---- what does not apply ---- */

static void another_source_is_refused(void **state)
{
    const int64_t other[3] = {1, 4, 4};
    char source[1200];
    amg_evidence e;
    amg_error err = {0};
    amg_findings findings = {0};
    write_source(*state, 100, 0, source, sizeof source);
    const amg_audit_options options = {.source = source};
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, other, 100, 0, draw_alike, 1);
    assert_int_equal(run_shadow(&e, &options, &findings, &err), AMG_MISMATCH);
    assert_non_null(strstr(err.what, "of 16 values"));
    assert_int_equal(findings.count, 0);
    amg_evidence_close(&e);
}

static void nothing_to_learn_from_is_skipped(void **state)
{
    amg_evidence e;
    (void)state;
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, image, 100, 0, draw_alike, 1);
    amg_finding f = only_finding(&e); /* one row a job */
    assert_int_equal(f.verdict, AMG_VERDICT_SKIPPED);
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, image, 600, 0, draw_alike, 1);
    e.has_truth = false;
    f = only_finding(&e);
    assert_int_equal(f.verdict, AMG_VERDICT_SKIPPED);
}

static bool stop(void *context, const amg_progress_event *event)
{
    int *calls = context;
    assert_string_equal(event->stage, "shadow");
    return ++*calls < 3;
}

static void it_stops_on_request(void **state)
{
    int calls = 0;
    const amg_progress progress = {stop, &calls};
    const amg_audit_options options = {0};
    amg_findings findings = {0};
    amg_evidence e;
    (void)state;
    fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, image, 600, 0, draw_alike, 1);
    const amg_attack_task task = {.evidence = &e,
                                  .options = &options,
                                  .findings = &findings,
                                  .progress = &progress};
    assert_int_equal(amg_attack_shadow(&task, NULL), AMG_INTERRUPTED);
    assert_int_equal(calls, 3);
    amg_evidence_close(&e);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_of_one_law_are_at_chance),
        cmocka_unit_test(a_shift_too_small_for_one_sample_is_found),
        cmocka_unit_test(labels_alone_give_it_away),
        cmocka_unit_test(repeated_samples_give_it_away),
        cmocka_unit_test(a_smaller_vocabulary_is_found),
        cmocka_unit_test(a_threshold_of_the_users_counts),
        IN_FOLDER(a_source_split_at_random_is_at_chance),
        IN_FOLDER(repeats_in_the_source_are_learned),
        IN_FOLDER(a_job_is_dealt_by_the_law),
        IN_FOLDER(windows_are_dealt_one_by_one),
        IN_FOLDER(another_source_is_refused),
        cmocka_unit_test(nothing_to_learn_from_is_skipped),
        cmocka_unit_test(it_stops_on_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
