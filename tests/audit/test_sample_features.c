/* Features of samples: numpy's, whatever way a sample comes; of tokens what
 * dictionaries of counts give, whatever the numbering. */
#include "audit/sample_features.h"

#include "audit/image_features.h"
#include "audit/token_features.h"
#include "fixture_samples.h"

typedef struct {
    int64_t dims[3];
    float values[4400];
    double features[AMG_MAX_FEATURES];
} picture_golden;
#include "features_golden.h"
enum { NUM_PICTURES = sizeof picture_goldens / sizeof *picture_goldens };

/* Sums of a few thousand doubles; deflate may pack otherwise in another zlib. */
static double tolerance(const char *feature, double golden)
{
    return strcmp(feature, "compressed size") == 0 ? 0.01 * golden
                                                   : 1e-9 * (1 + fabs(golden));
}

static void assert_features(const char *const *names, int count, const double *found,
                            const double *golden)
{
    for (int i = 0; i < count; i++)
        if (!(fabs(found[i] - golden[i]) <= tolerance(names[i], golden[i])))
            fail_msg("%s is %.12g, expected %.12g", names[i], found[i], golden[i]);
}

static amg_features open_features(const amg_evidence *e)
{
    amg_features f = {0};
    assert_int_equal(amg_features_open(e, &f, NULL), AMG_OK);
    return f;
}

static void pictures_have_numpys_features(void **state)
{
    (void)state;
    const char *names[AMG_MAX_FEATURES];
    const int count = amg_features_image_names(names);
    assert_int_equal(count, 21);
    for (int i = 0; i < NUM_PICTURES; i++) {
        double found[AMG_MAX_FEATURES];
        amg_features_image(picture_goldens[i].values, picture_goldens[i].dims, found);
        assert_features(names, count, found, picture_goldens[i].features);
    }
}

static const picture_golden *drawn; /* by draw_golden; other streams are noise */

static void draw_golden(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    sample_noise(rng, dims, sample);
    *label = 0;
    if (stream == 1 && row == 5)
        memcpy(sample, drawn->values,
               (size_t)(dims[0] * dims[1] * dims[2]) * sizeof *sample);
}

/* One golden sample in the midst of noise, as bytes and as floats, as a picture and as
 * numbers. */
static void streams_have_their_samples_features(void **state)
{
    (void)state;
    static const struct {
        int picture;
        amg_dtype dtype;
        bool is_image;
    } cases[] = {
        {0, AMG_U8, true}, {1, AMG_F32, true}, {4, AMG_F32, true}, {7, AMG_F32, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drawn = &picture_goldens[cases[i].picture];
        amg_evidence e;
        fixture_evidence(&e, cases[i].dtype, 3, 0, drawn->dims, 40, 0, draw_golden, 1);
        assert_int_equal(e.is_image, cases[i].is_image);
        amg_features f = open_features(&e);
        double found[2 * AMG_MAX_FEATURES];
        assert_int_equal(amg_features_of(&f, &e, 1, 4, 2, found, NULL), AMG_OK);
        assert_features(f.names, f.count, found + f.count, drawn->features);
        amg_features_close(&f);
        amg_evidence_close(&e);
    }
}

static void draw_not_finite(amg_rng *rng, int stream, int64_t row,
                            const int64_t dims[3], float *sample, int32_t *label)
{
    (void)stream;
    sample_noise(rng, dims, sample);
    sample[row] = row % 2 ? NAN : INFINITY;
    sample[row + 1] = 3e38f;
    *label = 0;
}

static void what_is_not_finite_has_features_too(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        amg_evidence e;
        fixture_evidence(&e, AMG_F32, 2, 0, (int64_t[]){1, 40, kind ? 6 : 1}, 20, 0,
                         draw_not_finite, 1);
        amg_features f = open_features(&e);
        double found[20 * AMG_MAX_FEATURES];
        assert_int_equal(amg_features_of(&f, &e, 1, 0, 20, found, NULL), AMG_OK);
        for (int i = 0; i < 20 * f.count; i++) assert_true(isfinite(found[i]));
        amg_features_close(&f);
        amg_evidence_close(&e);
    }
}

/* ---- tokens ---- */

/* Stream 0 as it is, stream 1 with numbers of its own. */
static void draw_token_row(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                           float *sample, int32_t *label)
{
    (void)rng;
    (void)dims;
    for (int i = 0; i < TOKEN_LENGTH; i++)
        sample[i] = (float)(stream == 0 ? token_rows[row][i]
                                        : 7919 * token_rows[row][i] % 9973);
    *label = 0;
}

static void tokens_have_the_features_of_counts(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_I32, 2, 0, (int64_t[]){1, TOKEN_LENGTH, 1}, TOKEN_ROWS, 0,
                     draw_token_row, 1);
    amg_features f = open_features(&e);
    assert_int_equal(f.count, 11);
    for (int stream = 0; stream < 2; stream++) {
        double found[TOKEN_ROWS * AMG_MAX_FEATURES];
        assert_int_equal(amg_features_of(&f, &e, stream, 0, TOKEN_ROWS, found, NULL),
                         AMG_OK);
        for (int i = 0; i < TOKEN_ROWS; i++)
            assert_features(f.names, f.count, found + i * f.count, token_goldens[i]);
    }
    amg_features_close(&f);
    amg_evidence_close(&e);
}

/* Of more than 2 million tokens the first rows are counted, here 0 .. 510; a later row
 * must not be taken off the counts. From row 500 on other tokens. */
static void draw_long(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                      float *sample, int32_t *label)
{
    (void)rng;
    (void)stream;
    for (int64_t i = 0; i < dims[1]; i++)
        sample[i] = (float)(i % 100 + 100 * (row / 500));
    *label = 0;
}

static void rows_beyond_the_counts_are_new(void **state)
{
    (void)state;
    enum { ROWS = 530 };
    amg_evidence e;
    fixture_evidence(&e, AMG_I32, 1, 0, (int64_t[]){1, 4096, 1}, ROWS, 0, draw_long, 1);
    amg_features f = open_features(&e);
    const char *names[AMG_MAX_FEATURES];
    const int count = amg_token_feature_names(names);
    double found[2 * AMG_MAX_FEATURES];
    assert_int_equal(amg_features_of(&f, &e, 0, 0, 1, found, NULL), AMG_OK);
    assert_int_equal(amg_features_of(&f, &e, 0, ROWS - 1, 1, found + count, NULL),
                     AMG_OK);
    const double old_tokens = 500.0 * 4096, new_tokens = 11.0 * 4096;
    const double all = old_tokens + new_tokens + 200;
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], "unigram cross entropy") != 0) continue;
        /* Tokens 0 .. 95 occur 41 times a row, 96 .. 99 40 times. */
        const double p41 = 41.0 * 96 / 4096, p40 = 1 - p41;
        assert_float_equal(found[i],
                           -p41 * log((499 * 41 + 1) / (all - 4096)) -
                               p40 * log((499 * 40 + 1) / (all - 4096)),
                           1e-9);
        assert_float_equal(
            found[count + i],
            -p41 * log((11 * 41 + 1) / all) - p40 * log((11 * 40 + 1) / all), 1e-9);
    }
    amg_features_close(&f);
    amg_evidence_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_have_numpys_features),
        cmocka_unit_test(streams_have_their_samples_features),
        cmocka_unit_test(what_is_not_finite_has_features_too),
        cmocka_unit_test(tokens_have_the_features_of_counts),
        cmocka_unit_test(rows_beyond_the_counts_are_new),
    };
    return cmocka_run_group_tests_name("sample_features", tests, NULL, NULL);
}
