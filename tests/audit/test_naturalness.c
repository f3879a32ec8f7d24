/* naturalness: noise is told from pictures and text every time, streams of one law
 * never; small shifts by their averages. */
#include "fixture_samples.h"

static const int64_t picture[3] = {3, 16, 16};
static const int64_t text[3] = {1, 30, 1};
enum { ORIGINAL = 2, STREAMS = 4 };

static void draw_alike(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    (void)stream;
    sample_smooth(rng, dims, sample);
    *label = (int32_t)(row % 10);
}

static void draw_among_noise(amg_rng *rng, int stream, int64_t row,
                             const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    if (stream != ORIGINAL) sample_noise(rng, dims, sample);
}

/* The first stream always darker, mostly rougher. */
static void draw_first_is_rough(amg_rng *rng, int stream, int64_t row,
                                const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == 0 && i < dims[0] * dims[1] * dims[2]; i++)
        sample[i] = sample[i] / 2 + 30 * amg_rng_uniform(rng) - 15;
}

/* Three grey levels brighter; from picture to picture they differ by about 17. */
static void brighten(const int64_t dims[3], float *sample)
{
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++) sample[i] += 3;
}

static void draw_bright_original(amg_rng *rng, int stream, int64_t row,
                                 const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    if (stream == ORIGINAL) brighten(dims, sample);
}

static void draw_bright_decoy(amg_rng *rng, int stream, int64_t row,
                              const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    if (stream == 1) brighten(dims, sample);
}

static void draw_constant(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                          float *sample, int32_t *label)
{
    (void)rng;
    (void)stream;
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++)
        sample[i] = (float)(row % 200);
    *label = 0;
}

static void draw_text_among_uniform(amg_rng *rng, int stream, int64_t row,
                                    const int64_t dims[3], float *sample,
                                    int32_t *label)
{
    sample_text(rng, dims, sample);
    *label = (int32_t)(row % 10);
    for (int64_t i = 0; stream != ORIGINAL && i < dims[1]; i++)
        sample[i] = (float)amg_rng_below(rng, 40);
}

/* The right frequencies, no order: a shuffled text of ten lines. */
static void draw_text_among_unigrams(amg_rng *rng, int stream, int64_t row,
                                     const int64_t dims[3], float *sample,
                                     int32_t *label)
{
    float other[30];
    sample_text(rng, dims, sample);
    *label = (int32_t)(row % 10);
    for (int64_t i = 0; stream != ORIGINAL && i < dims[1]; i++) {
        sample_text(rng, dims, other);
        sample[i] = other[amg_rng_below(rng, (uint64_t)dims[1])];
    }
}

static void draw_texts(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    (void)stream;
    sample_text(rng, dims, sample);
    *label = (int32_t)(row % 10);
}

static void pictures(amg_evidence *e, int streams, int64_t rows, fixture_draw draw,
                     uint64_t seed)
{
    fixture_evidence(e, AMG_U8, streams, streams > ORIGINAL ? ORIGINAL : 0, picture,
                     rows, 0, draw, seed);
}

static void texts(amg_evidence *e, fixture_draw draw)
{
    fixture_evidence(e, AMG_I32, STREAMS, ORIGINAL, text, 300, 0, draw, 4);
}

/* Both findings of a run; the rate first. */
static amg_findings run(const amg_evidence *e)
{
    amg_findings f = run_attack(amg_attack_naturalness, e, 9);
    assert_int_equal(f.count, 2);
    return f;
}

static void noise_is_told_from_pictures(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, STREAMS, 200, draw_among_noise, 1);
    amg_findings f = run(&e);
    assert_float_equal(f.items[0].value, 1, 0);
    assert_float_equal(f.items[0].chance, .25, 1e-12);
    assert_true(f.items[0].low > .9 && f.items[0].high == 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(f.items[i].verdict, AMG_VERDICT_FAIL);
        assert_int_equal(f.items[i].guess, ORIGINAL);
        assert_non_null(strstr(f.items[i].text, "amalgam split"));
    }
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void assert_at_chance(const amg_evidence *e)
{
    amg_findings f = run(e);
    const double chance = 1.0 / e->num_streams;
    assert_true(f.items[0].low <= chance && chance <= f.items[0].high);
    assert_true(f.items[0].value < chance + .12);
    for (int i = 0; i < 2; i++) {
        if (f.items[i].verdict != AMG_VERDICT_PASS) fail_msg("%s", f.items[i].text);
        assert_null(strstr(f.items[i].text, "amalgam split"));
    }
    amg_findings_clear(&f);
}

static void one_law_is_at_chance(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        amg_evidence e;
        pictures(&e, seed % 2 ? STREAMS : 2, 200, draw_alike, seed);
        assert_at_chance(&e);
        amg_evidence_close(&e);
    }
    amg_evidence e;
    texts(&e, draw_texts);
    assert_at_chance(&e);
    amg_evidence_close(&e);
}

/* Every rule ties on every sample: lots, not the first stream, decide. */
static void equal_samples_are_told_by_lot(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, STREAMS, 0, picture, 400, 0, draw_constant, 1);
    assert_at_chance(&e);
    amg_findings f = run(&e);
    assert_true(f.items[0].value > .2);
    assert_float_equal(f.items[1].value, 0, 0);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void text_is_told_from_noise(void **state)
{
    (void)state;
    const fixture_draw draws[] = {draw_text_among_uniform, draw_text_among_unigrams};
    for (int i = 0; i < 2; i++) {
        amg_evidence e;
        texts(&e, draws[i]);
        amg_findings f = run(&e);
        assert_true(f.items[0].value > .95);
        assert_int_equal(f.items[0].verdict, AMG_VERDICT_FAIL);
        assert_int_equal(f.items[0].guess, ORIGINAL);
        assert_int_equal(f.items[1].verdict, AMG_VERDICT_FAIL);
        amg_findings_clear(&f);
        amg_evidence_close(&e);
    }
}

/* Too small for any sample, plain in 1000. */
static void a_small_shift_adds_up(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, STREAMS, 1000, draw_bright_original, 1);
    amg_findings f = run(&e);
    assert_true(f.items[0].value < .4);
    assert_int_equal(f.items[1].verdict, AMG_VERDICT_FAIL);
    assert_int_equal(f.items[1].guess, ORIGINAL);
    assert_non_null(strstr(f.items[1].text, "give it away"));
    amg_findings_clear(&f);
    amg_evidence_close(&e);

    pictures(&e, STREAMS, 1000, draw_bright_decoy, 1);
    f = run(&e);
    assert_int_equal(f.items[1].verdict, AMG_VERDICT_FAIL);
    assert_int_equal(f.items[1].guess, 1);
    assert_non_null(strstr(f.items[1].text, "ruled out"));
    amg_findings_clear(&f);
    amg_evidence_close(&e);

    /* Of two, the one that is not yours gives yours away. */
    fixture_evidence(&e, AMG_U8, 2, 1, picture, 1000, 0, draw_bright_decoy, 1);
    f = run(&e);
    assert_int_equal(f.items[1].verdict, AMG_VERDICT_FAIL);
    assert_non_null(strstr(f.items[1].text, "give it away"));
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void without_truth_it_guesses(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, STREAMS, 100, draw_among_noise, 1);
    forget_truth(&e);
    amg_findings f = run(&e);
    assert_true(isnan(f.items[0].value));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(f.items[i].guess, ORIGINAL);
        assert_int_equal(f.items[i].verdict, AMG_VERDICT_REPORT);
    }
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

/* Of two, one is as odd as the other: the smoother is named, though a darker one is
 * told more surely. */
static void of_two_streams_the_natural_one_is_named(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 2, 0, picture, 100, 0, draw_first_is_rough, 1);
    forget_truth(&e);
    amg_findings f = run(&e);
    assert_int_equal(f.items[0].guess, 1);
    assert_non_null(strstr(f.items[0].text, "total variation"));
    assert_null(strstr(f.items[0].text, "100.0 %"));
    assert_int_equal(f.items[1].guess, -1);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void what_does_not_apply_is_skipped(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        amg_evidence e;
        pictures(&e, i ? 2 : 1, i ? 9 : 50, draw_alike, 1);
        amg_findings f = run_attack(amg_attack_naturalness, &e, 1);
        assert_int_equal(f.count, 1);
        assert_int_equal(f.items[0].verdict, AMG_VERDICT_SKIPPED);
        amg_findings_clear(&f);
        amg_evidence_close(&e);
    }
}

static void it_stops_and_runs_out_of_memory(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, 2, 20, draw_alike, 1);
    assert_int_equal(stop_attack(amg_attack_naturalness, &e), AMG_INTERRUPTED);
    starve_attack(amg_attack_naturalness, &e);
    amg_evidence_close(&e);
    fixture_evidence(&e, AMG_I32, 2, 0, text, 20, 0, draw_texts, 1);
    starve_attack(amg_attack_naturalness, &e);
    amg_evidence_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_told_from_pictures),
        cmocka_unit_test(one_law_is_at_chance),
        cmocka_unit_test(equal_samples_are_told_by_lot),
        cmocka_unit_test(text_is_told_from_noise),
        cmocka_unit_test(a_small_shift_adds_up),
        cmocka_unit_test(without_truth_it_guesses),
        cmocka_unit_test(of_two_streams_the_natural_one_is_named),
        cmocka_unit_test(what_does_not_apply_is_skipped),
        cmocka_unit_test(it_stops_and_runs_out_of_memory),
    };
    return cmocka_run_group_tests_name("naturalness", tests, NULL, NULL);
}
