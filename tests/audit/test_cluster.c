/* cluster and its eigenvectors: streams of natural data fall apart into the candidates,
 * noise falls off the original; graphs whose spectrum is known. */
#include <stdlib.h>

#include "audit/spectral.h"
#include "audit/stats.h"
#include "fixture_samples.h"

static const int64_t grey[3] = {1, 14, 14}, text[3] = {1, 30, 1};

static void draw_smooth(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    if (stream < 0)
        sample_noise(rng, dims, sample);
    else
        sample_smooth(rng, dims, sample);
    *label = (int32_t)(row % 10);
}

/* A frame that is always black, as in pictures of digits. */
static void draw_framed(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                        float *sample, int32_t *label)
{
    draw_smooth(rng, stream, row, dims, sample, label);
    for (int64_t i = 0; i < dims[1] * dims[2]; i++) {
        const int64_t y = i / dims[2], x = i % dims[2];
        if (y == 0 || x == 0 || y == dims[1] - 1 || x == dims[2] - 1) sample[i] = 0;
    }
}

static void draw_noise(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                       float *sample, int32_t *label)
{
    (void)stream;
    sample_noise(rng, dims, sample);
    *label = (int32_t)(row % 10);
}

static void draw_text(amg_rng *rng, int stream, int64_t row, const int64_t dims[3],
                      float *sample, int32_t *label)
{
    sample_text(rng, dims, sample);
    *label = (int32_t)(row % 10);
    for (int64_t i = 0; stream < 0 && i < dims[1]; i++)
        sample[i] = (float)amg_rng_below(rng, 40);
}

static const amg_finding *find(const amg_findings *f, const char *metric)
{
    for (int i = 0; i < f->count; i++)
        if (strstr(f->items[i].metric, metric)) return &f->items[i];
    fail_msg("no finding '%s'", metric);
    abort(); /* gcc does not know that cmocka never returns */
}

/* ---- the attack ---- */

static void test_streams(void **state)
{
    (void)state;
    for (int streams = 2; streams <= 8; streams += 3) {
        amg_evidence e;
        fixture_evidence(&e, AMG_U8, streams, 1, grey, 300, 0, draw_smooth, 21);
        amg_findings f = run_attack(amg_attack_cluster, &e, 7);
        assert_true(find(&f, "ARI")->value > 0.99);
        assert_int_equal(find(&f, "ARI")->verdict, AMG_VERDICT_REPORT);
        assert_true(find(&f, "exposed")->value == streams);
        assert_true(find(&f, "SSIM")->value > 0.95);
        assert_int_equal(f.num_pictures, 1);
        assert_int_equal(f.pictures[0].stream, 1);
        amg_findings_clear(&f);
        amg_evidence_close(&e);
    }
}

/* The clusters need no key, and the selects are as public. */
static void test_streams_without_truth(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 4, 1, grey, 300, 0, draw_smooth, 21);
    forget_truth(&e);
    amg_findings f = run_attack(amg_attack_cluster, &e, 7);
    assert_int_equal(f.count, 2);
    assert_true(find(&f, "exposed")->value == 4);
    assert_int_equal(f.num_pictures, 0);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void test_black_frames(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 3, 0, grey, 300, 0, draw_framed, 22);
    amg_findings f = run_attack(amg_attack_cluster, &e, 7);
    assert_non_null(strstr(find(&f, "ARI")->text, "432 of 588 positions"));
    assert_true(find(&f, "ARI")->value > 0.99);
    assert_true(find(&f, "exposed")->value == 3);
    assert_true(find(&f, "SSIM")->value > 0.99);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void test_nothing_to_find(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 3, 0, grey, 300, 0, draw_noise, 23);
    amg_findings f = run_attack(amg_attack_cluster, &e, 7);
    assert_true(fabs(find(&f, "ARI")->value) < 0.05);
    assert_true(find(&f, "exposed")->value == 0);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

/* The paper's noise. A decoy's select overlaps the original's, as there. */
static void test_noise(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 1, 0, grey, 256, 196, draw_smooth, 24);
    amg_stream streams[2] = {e.streams[0], e.streams[0]};
    uint32_t decoy[196];
    for (uint32_t i = 0; i < 196; i++) decoy[i] = 2 * i;
    streams[1].select = decoy;
    amg_stream *one = e.streams;
    e.streams = streams;
    e.num_streams = 2;
    amg_findings f = run_attack(amg_attack_cluster, &e, 7);
    assert_true(find(&f, "ARI")->value > 0.97);
    assert_true(find(&f, "SSIM")->value > 0.97);
    assert_int_equal(find(&f, "ARI")->guess, 0);
    assert_int_equal(f.num_pictures, 1);
    assert_true(f.pictures[0].ssim > 0.97);
    amg_findings_clear(&f);
    forget_truth(&e);
    f = run_attack(amg_attack_cluster, &e, 7);
    assert_int_equal(f.count, 1);
    assert_true(isnan(f.items[0].value));
    amg_findings_clear(&f);
    e.streams = one;
    e.num_streams = 1;
    amg_evidence_close(&e);
}

/* Of 196 noise positions one or two go together with a real one by chance, which goes
 * together with others more. */
static void test_noise_by_chance(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        amg_evidence e;
        fixture_evidence(&e, AMG_U8, 1, 0, grey, 256, 196, draw_smooth, seed);
        amg_findings f = run_attack(amg_attack_cluster, &e, 7);
        assert_true(find(&f, "ARI")->value == 1);
        amg_findings_clear(&f);
        amg_evidence_close(&e);
    }
}

static void test_text(void **state)
{
    (void)state;
    amg_evidence e;
    fixture_evidence(&e, AMG_I32, 3, 0, text, 3000, 0, draw_text, 25);
    amg_findings f = run_attack(amg_attack_cluster, &e, 7);
    assert_true(find(&f, "ARI")->value > 0.9);
    assert_int_equal(f.count, 2);
    amg_findings_clear(&f);
    amg_evidence_close(&e);
}

static void test_stops_and_starves(void **state)
{
    (void)state;
    static const int64_t small[3] = {1, 6, 6};
    amg_evidence e;
    fixture_evidence(&e, AMG_U8, 2, 1, small, 200, 0, draw_smooth, 26);
    assert_int_equal(stop_attack(amg_attack_cluster, &e), AMG_INTERRUPTED);
    starve_attack(amg_attack_cluster, &e);
    amg_evidence_close(&e);
}

/* ---- eigenvectors ---- */

/* Nodes in rings: node i of a ring of size is linked to the next one. */
static void make_rings(amg_links *g, int64_t rings, int64_t size)
{
    g->n = rings * size;
    g->start = amg_calloc((size_t)g->n + 1, sizeof *g->start);
    g->index = amg_calloc((size_t)g->n * 2, sizeof *g->index);
    g->weight = amg_calloc((size_t)g->n * 2, sizeof *g->weight);
    for (int64_t i = 0; i < g->n; i++) {
        const int64_t ring = i / size * size, at = i % size;
        g->index[2 * i] = (int32_t)(ring + (at + 1) % size);
        g->index[2 * i + 1] = (int32_t)(ring + (at + size - 1) % size);
        g->weight[2 * i] = g->weight[2 * i + 1] = 0.25f;
        g->start[i + 1] = 2 * i + 2;
    }
}

static void clear_links(amg_links *g)
{
    amg_free(g->start);
    amg_free(g->index);
    amg_free(g->weight);
}

/* v^T L v of a ring graph's vector c of count. */
static double rayleigh(const amg_links *g, const double *v, int count, int c)
{
    double sum = 0;
    for (int64_t i = 0; i < g->n; i++)
        for (int64_t l = g->start[i]; l < g->start[i + 1]; l++) {
            const double off = v[i * count + c] - v[g->index[l] * count + c];
            sum += off * off / 4;
        }
    return sum;
}

/* A ring of n has the eigenvalues 1 - cos(2 pi j / n), all but the first (and n/2)
 * twice. */
static void test_ring(void **state)
{
    (void)state;
    enum { COUNT = 5, SIZE = 2000 };
    amg_links g;
    double v[COUNT * SIZE], residual;
    make_rings(&g, 1, SIZE);
    assert_int_equal(
        amg_spectral_vectors(&g, COUNT, amg_rng_init(3, 0), v, &residual, NULL),
        AMG_OK);
    for (int c = 0; c < COUNT; c++) {
        const double expected = 1 - cos(2 * M_PI * ((c + 1) / 2) / SIZE);
        const double found = rayleigh(&g, v, COUNT, c);
        assert_true(fabs(found - expected) < 1e-6);
    }
    for (int a = 0; a < COUNT; a++)
        for (int b = 0; b <= a; b++) {
            double dot = 0;
            for (int64_t i = 0; i < SIZE; i++)
                dot += v[i * COUNT + a] * v[i * COUNT + b];
            assert_true(fabs(dot - (a == b)) < 1e-9);
        }
    assert_true(residual < 1e-3);
    clear_links(&g);
}

/* As many zeros as parts: constant on each, so that rows are equal or orthogonal. */
static void test_parts(void **state)
{
    (void)state;
    enum { PARTS = 4, SIZE = 50 };
    amg_links g;
    double v[PARTS * PARTS * SIZE], residual;
    make_rings(&g, PARTS, SIZE);
    assert_int_equal(
        amg_spectral_vectors(&g, PARTS, amg_rng_init(3, 0), v, &residual, NULL),
        AMG_OK);
    assert_true(residual < 1e-5);
    for (int64_t i = 0; i < g.n; i++)
        for (int64_t j = 0; j < g.n; j += 7) {
            double dot = 0;
            for (int c = 0; c < PARTS; c++) dot += v[i * PARTS + c] * v[j * PARTS + c];
            assert_true(fabs(dot - (i / SIZE == j / SIZE ? 1.0 / SIZE : 0)) < 1e-4);
        }
    clear_links(&g);
}

/* More vectors than nodes. */
static void test_small_graph(void **state)
{
    (void)state;
    amg_links g;
    double v[9], residual;
    make_rings(&g, 1, 3);
    assert_int_equal(
        amg_spectral_vectors(&g, 3, amg_rng_init(3, 0), v, &residual, NULL), AMG_OK);
    assert_true(residual < 1e-5);
    assert_int_equal(
        amg_spectral_vectors(&g, 4, amg_rng_init(3, 0), v, &residual, NULL),
        AMG_INVALID);
    clear_links(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_small_graph),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_streams_without_truth),
        cmocka_unit_test(test_black_frames),
        cmocka_unit_test(test_nothing_to_find),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_noise_by_chance),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_stops_and_starves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
