/* lattice, marginal and corr: what attackers find position by position. Each has a job
 * with nothing to find, and one that it must report. */
#include <stdlib.h>

#include "fixture_samples.h"

static const int64_t grey[3] = {1, 14, 14}, colour[3] = {3, 8, 8};
static const int64_t text[3] = {1, 30, 1};
enum { ORIGINAL = 2, STREAMS = 4, NOT_GIVEN = -2 };

/* ---- samples ---- */

static int64_t count(const int64_t dims[3]) { return dims[0] * dims[1] * dims[2]; }

static void draw_alike(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    if (stream < 0)
        sample_noise(rng, dims, sample);
    else
        sample_smooth(rng, dims, sample);
    *label = (int32_t)(row % 10);
}

static void draw_brighter(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                          float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == ORIGINAL && i < count(dims); i++) sample[i] += 12;
}

/* The original in steps of four levels. */
static void draw_coarse(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == ORIGINAL && i < count(dims); i++)
        sample[i] = 4 * rintf(sample[i] / 4);
}

/* 8-bit values brought to mean and deviation of their channel, as usual. */
static void draw_normalised(amg_rng *rng, int stream, int64_t row,
                            const int64_t dims[3], float *sample, int32_t *label)
{
    static const float mean[3] = {.485f, .456f, .406f}, std[3] = {.229f, .224f, .225f};
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; i < count(dims); i++) {
        const int64_t c = i / (dims[1] * dims[2]);
        const float level = fminf(fmaxf(rintf(sample[i]), 0), 255);
        sample[i] = (level / 255 - mean[c]) / std[c];
    }
}

/* Of one decoy's first six values of 192 one row in three is off the grid. */
static void draw_few_off(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                         float *sample, int32_t *label)
{
    draw_normalised(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == 0 && row % 3 == 0 && i < 6; i++) sample[i] += .007f;
}

static void draw_continuous_noise(amg_rng *rng, int stream, int64_t row,
                                  const int64_t dims[3], float *sample, int32_t *label)
{
    draw_normalised(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream < 0 && i < count(dims); i++)
        sample[i] = 4 * amg_rng_uniform(rng) - 2;
}

/* A frame that is always black. */
static void draw_framed(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream >= 0 && i < count(dims); i++)
        if (i % dims[2] == 0 || i < dims[2]) sample[i] = 0;
}

/* Tokens of each stream have numbers of their own. */
static void draw_text(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                      float *sample, int32_t *label)
{
    sample_text(rng, dims, sample);
    *label = (int32_t)(row % 10);
    for (int64_t i = 0; i < count(dims); i++)
        sample[i] = stream < 0 ? (float)amg_rng_below(rng, 40)
                               : (float)(((int)sample[i] * 3 + stream * 11) % 40);
}

/* The decoys' streams are no text: tokens drawn evenly. */
static void draw_text_among_uniform(amg_rng *rng, int stream, int64_t row,
                                    const int64_t dims[3], float *sample,
                                    int32_t *label)
{
    draw_text(rng, stream == ORIGINAL ? stream : -1, row, dims, sample, label);
}

/* ---- checks ---- */

static const amg_finding *find(const amg_findings *f, const char *metric)
{
    for (int i = 0; i < f->count; i++)
        if (strstr(f->items[i].metric, metric)) return &f->items[i];
    fail_msg("no finding '%s'", metric);
    abort(); /* gcc does not know that cmocka never returns */
}

typedef struct {
    const char *name;
    amg_attack_fn attack;
    amg_dtype dtype;
    fixture_draw draw;
    const int64_t *dims;
    int streams;
    int64_t rows, noise;
    const char *metric;
    amg_verdict verdict;
    int guess;
    double low, high; /* of the value */
    double width;     /* of the interval at least: it counts the samples' chance */
} check;

#define AUC "AUC"
#define RATIO "ratio"
#define OFF "off the grid"
#define PASS AMG_VERDICT_PASS
#define FAIL AMG_VERDICT_FAIL
#define LATTICE amg_attack_lattice
#define MARGINAL amg_attack_marginal
#define CORR amg_attack_corr

/* Four streams of 196 smooth grey values, 300 samples, no noise, but where it says
 * otherwise. */
static const check checks[] = {
    {"lattice, alike", LATTICE, AMG_U8, draw_alike, grey, STREAMS, 300, 0, AUC, PASS,
     NOT_GIVEN, .5, .62},
    {"lattice, steps of four", LATTICE, AMG_U8, draw_coarse, grey, STREAMS, 300, 0, AUC,
     FAIL, ORIGINAL, 1, 1},
    {"lattice, noise of bytes", LATTICE, AMG_U8, draw_alike, grey, 1, 300, 196, AUC,
     FAIL, 0, .99, 1},
    {"lattice, normalised", LATTICE, AMG_F32, draw_normalised, colour, STREAMS, 300, 0,
     AUC, PASS, NOT_GIVEN, .5, .62},
    {"lattice, normalised, off the grid", LATTICE, AMG_F32, draw_normalised, colour,
     STREAMS, 300, 0, OFF, PASS, -1, 0, 0},
    {"lattice, six positions of a decoy off", LATTICE, AMG_F32, draw_few_off, colour,
     STREAMS, 1500, 0, OFF, FAIL, -1, -.005, -.002},
    {"lattice, continuous noise", LATTICE, AMG_F32, draw_continuous_noise, colour, 1,
     16, 192, AUC, FAIL, 0, .999, 1},
    {"lattice, continuous noise off the grid", LATTICE, AMG_F32, draw_continuous_noise,
     colour, 1, 16, 192, OFF, FAIL, -1, -1, -.5},
    {"lattice, text", LATTICE, AMG_I32, draw_text, text, STREAMS, 400, 0, AUC, PASS,
     NOT_GIVEN, .5, .68},
    {"marginal, alike", MARGINAL, AMG_U8, draw_alike, grey, STREAMS, 300, 0, AUC, PASS,
     NOT_GIVEN, .5, .85, .2},
    {"marginal, brighter", MARGINAL, AMG_U8, draw_brighter, grey, STREAMS, 300, 0, AUC,
     FAIL, ORIGINAL, .9, 1},
    {"marginal, brighter, floats", MARGINAL, AMG_F32, draw_brighter, grey, STREAMS, 300,
     0, AUC, FAIL, ORIGINAL, .9, 1},
    {"marginal, noise", MARGINAL, AMG_U8, draw_alike, grey, 1, 300, 196, AUC, FAIL, 0,
     .99, 1},
    {"marginal, text", MARGINAL, AMG_I32, draw_text, text, STREAMS, 400, 0, RATIO, PASS,
     NOT_GIVEN, .9, 1.1},
    {"marginal, a stream of text", MARGINAL, AMG_I32, draw_text_among_uniform, text,
     STREAMS, 400, 0, RATIO, FAIL, ORIGINAL, 1.3, 9},
    {"marginal, a stream of text, one of noise", MARGINAL, AMG_I32,
     draw_text_among_uniform, text, ORIGINAL + 1, 400, 0, RATIO, FAIL, NOT_GIVEN, 1.3,
     9},
    {"corr, text", CORR, AMG_I32, draw_text, text, STREAMS, 400, 0, RATIO, PASS,
     NOT_GIVEN, .8, 1.3},
    {"corr, a stream of text", CORR, AMG_I32, draw_text_among_uniform, text, STREAMS,
     2000, 0, RATIO, FAIL, ORIGINAL, 3, 99},
    {"marginal, text among uniform tokens", MARGINAL, AMG_I32, draw_text, text, 1, 2000,
     30, AUC, FAIL, 0, .95, 1},
    {"corr, alike", CORR, AMG_U8, draw_alike, grey, STREAMS, 300, 0, AUC, PASS,
     NOT_GIVEN, .3, .7},
    {"corr, noise", CORR, AMG_U8, draw_alike, grey, 1, 256, 196, AUC, FAIL, 0, .99, 1},
    {"corr, noise, recovered", CORR, AMG_U8, draw_alike, grey, 1, 256, 196, "recovered",
     FAIL, 0, 1, 1},
    {"corr, noise, black frames recovered", CORR, AMG_U8, draw_framed, grey, 1, 256,
     196, "recovered", FAIL, 0, 1, 1},
    {"corr, noise, rebuilt", CORR, AMG_U8, draw_alike, grey, 1, 256, 196, "SSIM",
     AMG_VERDICT_REPORT, -1, 1, 1},
    {"corr, noise, few samples", CORR, AMG_U8, draw_alike, grey, 1, 16, 196, AUC, FAIL,
     0, .9, 1},
    {"corr, text among uniform tokens", CORR, AMG_I32, draw_text, text, 1, 2000, 30,
     AUC, FAIL, 0, .95, 1},
};

static void test_checks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        const check *c = &checks[i];
        amg_evidence e;
        fixture_evidence(&e, c->dtype, c->streams, c->streams > 1 ? ORIGINAL : 0,
                         c->dims, c->rows, c->noise, c->draw, 71 + i);
        amg_findings f = run_attack(c->attack, &e, 7);
        const amg_finding *found = find(&f, c->metric);
        if (found->verdict != c->verdict || found->value < c->low ||
            found->value > c->high || found->high - found->low < c->width ||
            (c->guess != NOT_GIVEN && found->guess != c->guess))
            fail_msg("%s: %g [%g, %g], guess %d, %s: %s", c->name, found->value,
                     found->low, found->high, found->guess,
                     amg_verdict_name(found->verdict), found->text);
        amg_findings_clear(&f);
        amg_evidence_close(&e);
    }
}

/* Many jobs with nothing to find: the interval holds for samples, too. Two halves of so
 * few samples differ in brightness by more than .55 in every other job. */
static void test_false_alarms(void **state)
{
    (void)state;
    static const amg_attack_fn attacks[] = {LATTICE, MARGINAL, CORR};
    for (int a = 0; a < 3; a++) {
        int alarms = 0;
        for (uint64_t seed = 0; seed < 20; seed++) {
            amg_evidence e;
            fixture_evidence(&e, AMG_U8, 2, 1, grey, 60, 0, draw_alike, seed);
            amg_findings f = run_attack(attacks[a], &e, seed);
            alarms += f.items[0].verdict == FAIL;
            amg_findings_clear(&f);
            amg_evidence_close(&e);
        }
        assert_true(alarms <= 2);
    }
}

static void test_without_truth(void **state)
{
    (void)state;
    static const amg_attack_fn attacks[] = {LATTICE, MARGINAL};
    static const fixture_draw draws[] = {draw_coarse, draw_brighter};
    for (int a = 0; a < 2; a++) {
        amg_evidence e;
        fixture_evidence(&e, AMG_U8, STREAMS, ORIGINAL, grey, 300, 0, draws[a], 5);
        forget_truth(&e);
        amg_findings f = run_attack(attacks[a], &e, 3);
        assert_int_equal(f.count, 1);
        assert_true(isnan(f.items[0].value));
        assert_int_equal(f.items[0].verdict, AMG_VERDICT_REPORT);
        assert_int_equal(f.items[0].guess, ORIGINAL);
        amg_findings_clear(&f);
        amg_evidence_close(&e);
    }
}

/* Two streams, one brighter: either may be the original's. */
static void test_two_streams_tie(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 2, 1, grey, 100, 0, draw_alike, 9);
    for (int64_t row = 0; row < e.num_rows; row++)
        for (int64_t i = 0; i < 196; i++)
            e.x[row * e.num_positions + e.streams[1].select[i]] |= 0x40;
    amg_findings f = run_attack(MARGINAL, &e, 3);
    assert_int_equal(f.items[0].verdict, FAIL);
    assert_int_equal(f.items[0].guess, -1);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void test_too_few_samples(void **state)
{
    (void)state;
    static const amg_attack_fn attacks[] = {LATTICE, MARGINAL, CORR};
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 2, 1, grey, 9, 0, draw_alike, 9);
    for (int a = 0; a < 3; a++) {
        amg_findings f = run_attack(attacks[a], &e, 3);
        assert_int_equal(f.count, 1);
        assert_int_equal(f.items[0].verdict, AMG_VERDICT_SKIPPED);
        amg_findings_clear(&f);
    }
    amg_evidence_close(&e);
}

static void test_stops_and_starves(void **state)
{
    (void)state;
    static const int64_t small[3] = {1, 4, 4};
    static const amg_attack_fn attacks[] = {LATTICE, MARGINAL, CORR};
    amg_evidence floats, tokens;
    fixture_evidence(&floats, AMG_F32, 2, 1, small, 20, 0, draw_normalised, 9);
    fixture_evidence(&tokens, AMG_I32, 2, 1, text, 20, 0, draw_text, 9);
    for (int a = 0; a < 3; a++) {
        assert_int_equal(stop_attack(attacks[a], &floats), AMG_INTERRUPTED);
        starve_attack(attacks[a], &floats);
        starve_attack(attacks[a], &tokens);
    }
    amg_evidence_close(&floats);
    amg_evidence_close(&tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_without_truth),
        cmocka_unit_test(test_two_streams_tie),
        cmocka_unit_test(test_too_few_samples),
        cmocka_unit_test(test_stops_and_starves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
