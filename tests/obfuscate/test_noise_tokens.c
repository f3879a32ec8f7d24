/* Noise of tokens: frequencies follow the data's tokens and pairs, what does not fit is
 * refused. */
#include <math.h>

#include "obfuscate/noise.h"
#include "text_fixture.h"

enum { VOCAB = 12, LENGTH = 9, SAMPLES = 400, DRAWS = 60000 };

static text_source source(void)
{
    return (text_source){
        .seed = 3, .length = LENGTH, .vocab = VOCAB, .pad = AMG_NO_TOKEN};
}

static amg_noise_law fit(amg_noise kind, amg_dataset *ds, int64_t vocab)
{
    amg_noise_law law = {0};
    amg_error err = {0};
    if (amg_noise_fit_tokens(kind, ds, vocab, &law, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(law.dtype, AMG_I32);
    return law;
}

static void draw(const amg_noise_law *law, uint64_t index, int64_t num, int32_t *out)
{
    amg_secret *s = secret_number(5);
    amg_keystream *ks = NULL;
    assert_int_equal(amg_keystream_new(s, AMG_PURPOSE_NOISE, index, &ks, NULL), AMG_OK);
    amg_noise_fill(law, ks, num, out);
    amg_keystream_free(ks);
    amg_secret_free(s);
}

/* Counts of the data's tokens, and of its pairs of neighbours. */
static void count(const text_source *t, double single[VOCAB], double pair[VOCAB][VOCAB])
{
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t x[LENGTH];
        text_sample(t, i, x);
        for (int j = 0; j < LENGTH; j++) {
            single[x[j]]++;
            if (j + 1 < LENGTH) pair[x[j]][x[j + 1]]++;
        }
    }
}

static void uniform_tokens_are_all_alike(void **state)
{
    (void)state;
    text_source t = source();
    amg_dataset *ds = open_text(&t, "text", SAMPLES);
    amg_noise_law law = fit(AMG_NOISE_UNIFORM, ds, 2 * VOCAB); /* also unseen ones */
    int32_t *x = malloc(DRAWS * sizeof *x), counts[2 * VOCAB] = {0};
    draw(&law, 1, DRAWS, x);
    for (int i = 0; i < DRAWS; i++) {
        assert_in_range(x[i], 0, 2 * VOCAB - 1);
        counts[x[i]]++;
    }
    for (int v = 0; v < 2 * VOCAB; v++)
        assert_in_range(counts[v], 2250, 2750); /* 2500 expected, deviation 49 */
    free(x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

static void unigram_tokens_are_as_often_as_in_the_data(void **state)
{
    (void)state;
    text_source t = source();
    amg_dataset *ds = open_text(&t, "text", SAMPLES);
    amg_noise_law law = fit(AMG_NOISE_UNIGRAM, ds, VOCAB + 3);
    double single[VOCAB] = {0}, pair[VOCAB][VOCAB] = {{0}};
    int32_t *x = malloc(DRAWS * sizeof *x);
    int64_t counts[VOCAB + 3] = {0};
    count(&t, single, pair);
    draw(&law, 1, DRAWS, x);
    for (int i = 0; i < DRAWS; i++) counts[x[i]]++;
    for (int v = 0; v < VOCAB; v++) {
        const double expected = single[v] / (SAMPLES * LENGTH) * DRAWS;
        assert_true(counts[v] > expected * 0.9 && counts[v] < expected * 1.1);
    }
    for (int v = VOCAB; v < VOCAB + 3; v++) assert_int_equal(counts[v], 0);
    free(x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

/* Every pair that is drawn is one of the data's, as often as there. */
static void bigram_tokens_follow_each_other_as_in_the_data(void **state)
{
    (void)state;
    text_source t = source();
    amg_dataset *ds = open_text(&t, "text", SAMPLES);
    amg_noise_law law = fit(AMG_NOISE_BIGRAM, ds, VOCAB);
    double single[VOCAB] = {0}, pair[VOCAB][VOCAB] = {{0}}, drawn[VOCAB][VOCAB] = {{0}};
    double rows[VOCAB] = {0}, drawn_rows[VOCAB] = {0};
    int32_t *x = malloc(DRAWS * sizeof *x);
    count(&t, single, pair);
    draw(&law, 1, DRAWS, x);
    for (int i = 0; i + 1 < DRAWS; i++) drawn[x[i]][x[i + 1]]++, drawn_rows[x[i]]++;
    for (int a = 0; a < VOCAB; a++)
        for (int b = 0; b < VOCAB; b++) rows[a] += pair[a][b];
    for (int a = 0; a < VOCAB; a++)
        for (int b = 0; b < VOCAB; b++) {
            const double expected = pair[a][b] / rows[a] * drawn_rows[a];
            if (pair[a][b] == 0) assert_true(drawn[a][b] == 0);
            if (fabs(drawn[a][b] - expected) > 6 * sqrt(expected) + 1)
                fail_msg("%d %d: %g of %g", a, b, drawn[a][b], expected);
        }
    free(x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

/* A token that ends every sample has no successor: the next one is drawn anew. */
static void a_token_without_a_successor_ends_nothing(void **state)
{
    (void)state;
    text_source t = {.seed = 3, .length = 2, .vocab = VOCAB, .pad = AMG_NO_TOKEN};
    amg_dataset *ds = open_text(&t, "text", 1); /* one pair */
    amg_noise_law law = fit(AMG_NOISE_BIGRAM, ds, VOCAB);
    int32_t pair[2], x[64];
    text_sample(&t, 0, pair);
    assert_int_not_equal(pair[0], pair[1]);
    draw(&law, 1, 64, x);
    for (int i = 0; i < 64; i++) assert_int_equal(x[i], pair[i % 2]);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

static void noise_is_a_function_of_the_stream(void **state)
{
    (void)state;
    text_source t = source();
    amg_dataset *ds = open_text(&t, "text", SAMPLES);
    amg_noise_law law = fit(AMG_NOISE_BIGRAM, ds, VOCAB);
    int32_t x[200], y[200], z[200];
    draw(&law, 1, 200, x);
    draw(&law, 1, 200, y);
    draw(&law, 2, 200, z);
    assert_memory_equal(x, y, sizeof x);
    assert_memory_not_equal(x, z, sizeof x);
    amg_noise_clear(&law);
    amg_dataset_close(ds);
}

static void wrong_laws_and_tokens_are_refused(void **state)
{
    (void)state;
    text_source t = source();
    amg_dataset *ds = open_text(&t, "text", SAMPLES);
    amg_noise_law law = {0};
    amg_error err = {0};
    assert_int_equal(amg_noise_fit_tokens(AMG_NOISE_GAUSSIAN, ds, VOCAB, &law, &err),
                     AMG_INVALID);
    assert_non_null(strstr(err.what, "uniform, unigram or bigram"));
    assert_int_equal(amg_noise_fit(AMG_NOISE_BIGRAM, ds, NULL, 0, &law, &err),
                     AMG_INVALID);
    assert_non_null(strstr(err.what, "is for tokens"));
    t.bad_row = 7;
    for (int kind = AMG_NOISE_UNIGRAM; kind <= AMG_NOISE_BIGRAM; kind++) {
        assert_int_equal(amg_noise_fit_tokens((amg_noise)kind, ds, VOCAB, &law, &err),
                         AMG_MISMATCH);
        assert_non_null(strstr(err.what, "sample 7 has token 12"));
        assert_null(law.start);
    }
    amg_dataset_close(ds);
    t.length = 1; /* nothing follows anything */
    ds = open_text(&t, "text", SAMPLES);
    assert_int_equal(amg_noise_fit_tokens(AMG_NOISE_BIGRAM, ds, VOCAB, &law, &err),
                     AMG_INVALID);
    amg_dataset_close(ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_tokens_are_all_alike),
        cmocka_unit_test(unigram_tokens_are_as_often_as_in_the_data),
        cmocka_unit_test(bigram_tokens_follow_each_other_as_in_the_data),
        cmocka_unit_test(a_token_without_a_successor_ends_nothing),
        cmocka_unit_test(noise_is_a_function_of_the_stream),
        cmocka_unit_test(wrong_laws_and_tokens_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
