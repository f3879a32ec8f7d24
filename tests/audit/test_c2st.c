/* c2st: the classifier tells noise and small shifts, and nothing where streams have one
 * law, also where the samples of a row go together. */
#include "fixture_samples.h"

static const int64_t picture[3] = {1, 16, 16};
static const int64_t record[3] = {1, 12, 1};
enum { ORIGINAL = 1, STREAMS = 3, ROWS = 600 };

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

/* Ten grey levels, where pictures differ by about 17. */
static void draw_bright_original(amg_rng *rng, int stream, int64_t row,
                                 const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; stream == ORIGINAL && i < dims[1] * dims[2]; i++)
        sample[i] += 10;
}

/* Only the last stream is another's, and neither the original's. */
static void draw_one_odd_decoy(amg_rng *rng, int stream, int64_t row,
                               const int64_t dims[3], float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    if (stream == STREAMS - 1) sample_noise(rng, dims, sample);
}

/* The upper left corner is darker: no feature, only the cells, say where. */
static void draw_dark_corner(amg_rng *rng, int stream, int64_t row,
                             const int64_t dims[3], float *sample, int32_t *label)
{
    sample_noise(rng, dims, sample);
    *label = (int32_t)(row % 10);
    const int64_t top = stream == ORIGINAL ? 0 : dims[1] / 2;
    for (int64_t i = top; i < top + 4; i++)
        for (int64_t j = 0; j < 4; j++) sample[i * dims[2] + j] *= .8f;
}

/* Labels are paired: the streams of a row share a class, here its brightness. */
static void draw_paired(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    draw_alike(rng, stream, row, dims, sample, label);
    *label = (int32_t)(row * 7919 % 10);
    for (int64_t i = 0; i < dims[1] * dims[2]; i++) sample[i] += 9 * (float)*label - 45;
}

static void draw_records(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                         float *sample, int32_t *label)
{
    for (int64_t i = 0; i < dims[1]; i++) sample[i] = (float)amg_rng_normal(rng);
    if (stream == ORIGINAL) sample[5] += 1, sample[6] -= 1;
    *label = (int32_t)(row % 2);
}

static void draw_texts(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    (void)stream;
    sample_text(rng, dims, sample);
    *label = (int32_t)(row % 10);
}

static void pictures(amg_evidence *e, int streams, fixture_draw draw, uint64_t seed)
{
    fixture_evidence(e, AMG_U8, streams, ORIGINAL, picture, ROWS, 0, draw, seed);
}

static amg_finding run(const amg_evidence *e)
{
    amg_findings f = run_attack(amg_attack_c2st, e, 3);
    assert_int_equal(f.count, 1);
    const amg_finding finding = f.items[0];
    const bool advice = strstr(finding.text, "amalgam split") != NULL;
    assert_int_equal(advice, finding.verdict == AMG_VERDICT_FAIL);
    amg_findings_clear(&f);
    return finding;
}

static void noise_is_told_from_pictures(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, STREAMS, draw_among_noise, 1);
    const amg_finding f = run(&e);
    assert_true(f.value > .99 && f.low > .9);
    assert_int_equal(f.verdict, AMG_VERDICT_FAIL);
    assert_int_equal(f.guess, ORIGINAL);
    amg_evidence_close(&e);
}

static void one_law_is_at_chance(void **state)
{
    (void)state;
    static const fixture_draw draws[] = {draw_alike, draw_paired};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        amg_evidence e;
        pictures(&e, seed <= 2 ? STREAMS : 2, draws[seed % 2], seed);
        const amg_finding f = run(&e);
        assert_true(f.low <= .5 && .5 <= f.high);
        assert_true(f.value <= .55);
        assert_int_equal(f.verdict, AMG_VERDICT_PASS);
        amg_evidence_close(&e);
    }
    amg_evidence e;
    fixture_evidence(&e, AMG_I32, 2, 0, (int64_t[]){1, 20, 1}, ROWS, 0, draw_texts, 1);
    assert_true(run(&e).value <= .55);
    amg_evidence_close(&e);
}

static void assert_found(amg_evidence *e)
{
    const amg_finding f = run(e);
    assert_true(f.low > .55);
    assert_int_equal(f.verdict, AMG_VERDICT_FAIL);
    assert_int_equal(f.guess, ORIGINAL);
    assert_true(run(e).value == f.value); /* and again */
    amg_evidence_close(e);
}

static void small_shifts_are_found(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, STREAMS, draw_bright_original, 1);
    assert_found(&e);
    pictures(&e, STREAMS, draw_dark_corner, 1);
    assert_found(&e);
    fixture_evidence(&e, AMG_F32, STREAMS, ORIGINAL, record, ROWS, 0, draw_records, 1);
    assert_found(&e);
}

/* The largest of the decoys' counts, and an attacker would name the odd one. */
static void one_odd_decoy_is_named(void **state)
{
    (void)state;
    amg_evidence e;
    pictures(&e, STREAMS, draw_one_odd_decoy, 1);
    const amg_finding f = run(&e);
    assert_true(f.value > .99);
    assert_int_equal(f.guess, STREAMS - 1);
    amg_evidence_close(&e);
}

static void without_truth_it_guesses(void **state)
{
    (void)state;
    for (int streams = 2; streams <= STREAMS; streams++) {
        amg_evidence e;
        pictures(&e, streams, draw_bright_original, 1);
        forget_truth(&e);
        const amg_finding f = run(&e);
        assert_true(f.value > .6 && f.low < f.value);
        assert_int_equal(f.verdict, AMG_VERDICT_REPORT);
        assert_int_equal(f.guess, streams == 2 ? -1 : ORIGINAL);
        amg_evidence_close(&e);
    }
}

static void what_does_not_apply_is_skipped(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        amg_evidence e;
        fixture_evidence(&e, AMG_U8, i ? 2 : 1, 0, picture, i ? 39 : 50, 0, draw_alike,
                         1);
        const amg_finding f = run(&e);
        assert_int_equal(f.verdict, AMG_VERDICT_SKIPPED);
        amg_evidence_close(&e);
    }
}

static void it_stops_and_runs_out_of_memory(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, STREAMS, 0, picture, 40, 0, draw_alike, 1);
    assert_int_equal(stop_attack(amg_attack_c2st, &e), AMG_INTERRUPTED);
    starve_attack(amg_attack_c2st, &e);
    amg_evidence_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_told_from_pictures),
        cmocka_unit_test(one_law_is_at_chance),
        cmocka_unit_test(small_shifts_are_found),
        cmocka_unit_test(one_odd_decoy_is_named),
        cmocka_unit_test(without_truth_it_guesses),
        cmocka_unit_test(what_does_not_apply_is_skipped),
        cmocka_unit_test(it_stops_and_runs_out_of_memory),
    };
    return cmocka_run_group_tests_name("c2st", tests, NULL, NULL);
}
