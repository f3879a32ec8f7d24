/* Initialisation laws against PyTorch: scale, shape of the distribution, range, and
 * that the bits depend on the stream alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "graph/init.h"

#define SEED 7

/* A filled tensor of count elements from stream 0; the caller clears it. */
static amg_tensor filled(amg_init_law law, int64_t count, uint64_t seed)
{
    amg_tensor t;
    assert_int_equal(amg_tensor_new(AMG_F32, 1, &count, &t, NULL), AMG_OK);
    amg_rng rng = amg_rng_init(seed, 0);
    amg_init_fill(&law, &t, &rng);
    return t;
}

typedef struct {
    double mean, std, kurtosis, max;
} moments;

static moments measure(const amg_tensor *t)
{
    const float *x = t->data;
    int64_t n = amg_tensor_count(t);
    moments m = {0};
    for (int64_t i = 0; i < n; i++) m.mean += x[i] / (double)n;
    double m2 = 0, m4 = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] - m.mean;
        m2 += d * d / (double)n;
        m4 += d * d * d * d / (double)n;
        m.max = fmax(m.max, fabs(x[i]));
    }
    m.std = sqrt(m2);
    m.kurtosis = m4 / (m2 * m2);
    return m;
}

static void fans_are_those_of_pytorch(void **state)
{
    (void)state;
    /* torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(dims)) */
    static const struct {
        int rank;
        int64_t dims[4], fan_in, fan_out;
    } golden[] = {
        {4, {64, 3, 7, 7}, 147, 3136},
        {4, {96, 1, 3, 3}, 9, 864}, /* depthwise: groups do not divide fan_out */
        {4, {320, 960, 1, 1}, 960, 320},
        {2, {1000, 512}, 512, 1000},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        amg_init_law law =
            amg_init_law_of(AMG_INIT_HE_FAN_IN, golden[i].rank, golden[i].dims);
        assert_int_equal(law.kind, AMG_INIT_HE_FAN_IN);
        assert_int_equal(law.fan_in, golden[i].fan_in);
        assert_int_equal(law.fan_out, golden[i].fan_out);
    }
}

/* Golden: moments of torch.nn.init draws into torch.empty(256, 128, 5, 5) (fan_in 3200,
 * fan_out 6400), torch.manual_seed(0), double precision:
 *   kaiming_uniform_(w, a=5**.5), kaiming_normal_(w), kaiming_normal_(w,
 *   mode="fan_out"), normal_(w, 0, 0.01), xavier_uniform_(w), uniform_(w, -0.1, 0.1),
 *   normal_(w, 0, 0.02);  std and fourth central moment / std^4 */
static void laws_have_the_moments_of_pytorch(void **state)
{
    (void)state;
    static const struct {
        amg_init_kind kind;
        double std, kurtosis, scale;
    } golden[] = {
        {AMG_INIT_UNIFORM_FAN_IN, 0.010204, 1.799, 0},
        {AMG_INIT_HE_FAN_IN, 0.024997, 3.014, 0},
        {AMG_INIT_HE_FAN_OUT, 0.017687, 3.005, 0},
        {AMG_INIT_NORMAL_001, 0.009981, 2.995, 0},
        {AMG_INIT_XAVIER_UNIFORM, 0.014431, 1.799, 0},
        {AMG_INIT_UNIFORM, 0.057725, 1.799, 0.1},
        {AMG_INIT_NORMAL, 0.019999, 2.997, 0.02},
    };
    int64_t dims[4] = {256, 128, 5, 5};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        amg_init_law law = amg_init_law_of(golden[i].kind, 4, dims);
        law.scale = golden[i].scale;
        amg_tensor t = filled(law, 256 * 128 * 25, SEED);
        moments m = measure(&t);
        /* 819200 draws twice: the deviations of std, kurtosis and mean are below
         * 0.0012 std, 0.0077 and 0.0011 std; five times that. */
        assert_true(fabs(m.std / golden[i].std - 1) < 0.006);
        assert_true(fabs(m.kurtosis - golden[i].kurtosis) < 0.04);
        assert_true(fabs(m.mean) < 0.006 * golden[i].std);
        amg_tensor_clear(&t);
    }
}

static void uniform_law_stays_within_its_bound_and_reaches_it(void **state)
{
    (void)state;
    amg_init_law law = {.kind = AMG_INIT_UNIFORM_FAN_IN, .fan_in = 400, .fan_out = 120};
    amg_tensor t = filled(law, 100000, SEED);
    moments m = measure(&t);
    assert_true(m.max <= 0.05); /* 1/sqrt(400) */
    assert_true(m.max > 0.05 * 0.999);
    amg_tensor_clear(&t);
}

/* PyTorch draws k * 2^-24 * (2 * bound) - bound in float32; another formula rounds
 * differently and would mark the weights as ours. */
static void uniform_law_has_the_lattice_of_pytorch(void **state)
{
    (void)state;
    amg_init_law law = {.kind = AMG_INIT_UNIFORM_FAN_IN, .fan_in = 300, .fan_out = 1};
    amg_tensor t = filled(law, 20000, SEED);
    float bound = (float)(1 / sqrt(300.0));
    for (int64_t i = 0; i < 20000; i++) {
        float x = ((float *)t.data)[i];
        long k = lrint(((double)x + bound) / (2.0 * bound) * 0x1p24);
        bool found = false; /* rounding may move k by one */
        for (long j = k - 1; j <= k + 1; j++)
            found |= (float)j * 0x1p-24f * (2 * bound) - bound == x;
        assert_true(found);
    }
    amg_tensor_clear(&t);
}

/* Pairs of a Box-Muller transform on few bits: exp(-r^2/2) of a pair with a small r
 * would be a multiple of 2^-24 or 2^-32, which no independent normals show. */
static void neighbours_of_the_normal_law_hide_their_uniforms(void **state)
{
    (void)state;
    amg_tensor t = filled((amg_init_law){.kind = AMG_INIT_NORMAL_001}, 1 << 22, SEED);
    int near = 0, pairs = 0;
    for (int64_t i = 0; i < 1 << 22; i += 2) {
        const float *x = (const float *)t.data + i;
        double r2 = ((double)x[0] * x[0] + (double)x[1] * x[1]) / (0.01 * 0.01);
        double k = -expm1(-r2 / 2) * 0x1p32;
        if (k > 200000) continue; /* float32 leaves k good to about 0.03 */
        pairs++;
        near += fabs(2 * k - round(2 * k)) < 0.2;
    }
    assert_true(pairs > 50);         /* expected 98 */
    assert_true(near < pairs * 0.6); /* expected 0.4, all of them on a lattice */
    amg_tensor_clear(&t);
}

static void constants_fill_without_drawing(void **state)
{
    (void)state;
    const amg_init_kind kinds[] = {AMG_INIT_ZERO, AMG_INIT_ONE};
    for (int k = 0; k < 2; k++) {
        amg_init_law law = {.kind = kinds[k]};
        int64_t count = 70001;
        amg_tensor t = filled((amg_init_law){.kind = AMG_INIT_NORMAL_001}, count, SEED);
        amg_rng rng = amg_rng_init(SEED, 3), untouched = rng;
        amg_init_fill(&law, &t, &rng);
        for (int64_t i = 0; i < count; i++)
            assert_true(((float *)t.data)[i] == (float)k);
        assert_true(amg_rng_u64(&rng) == amg_rng_u64(&untouched));
        amg_tensor_clear(&t);
    }
}

static void bits_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    const amg_init_kind kinds[] = {AMG_INIT_UNIFORM_FAN_IN, AMG_INIT_HE_FAN_OUT};
    for (int k = 0; k < 2; k++) {
        amg_init_law law = {.kind = kinds[k], .fan_in = 9, .fan_out = 9};
        amg_set_threads(1);
        amg_tensor one = filled(law, 300007, SEED);
        amg_set_threads(3);
        amg_tensor three = filled(law, 300007, SEED);
        amg_set_threads(0);
        assert_memory_equal(one.data, three.data, one.size_bytes);
        amg_tensor_clear(&one);
        amg_tensor_clear(&three);
    }
}

static bool repeats(const amg_tensor *t, int64_t a, int64_t b, int64_t count)
{
    const float *x = t->data;
    return memcmp(x + a, x + b, (size_t)count * sizeof *x) == 0;
}

/* A large tensor is drawn piece by piece: no piece may be another's copy. */
static void pieces_of_a_large_tensor_differ(void **state)
{
    (void)state;
    amg_tensor t = filled((amg_init_law){.kind = AMG_INIT_NORMAL_001}, 4 * 65536, SEED);
    for (int64_t a = 0; a < 4; a++)
        for (int64_t b = a + 1; b < 4; b++)
            assert_false(repeats(&t, a * 65536, b * 65536, 16));
    amg_tensor_clear(&t);
}

static void seeds_and_successive_fills_differ(void **state)
{
    (void)state;
    amg_init_law law = {.kind = AMG_INIT_HE_FAN_IN, .fan_in = 9, .fan_out = 9};
    amg_tensor a = filled(law, 1000, 1), b = filled(law, 1000, 2);
    assert_memory_not_equal(a.data, b.data, a.size_bytes);
    amg_rng rng = amg_rng_init(1, 0);
    amg_init_fill(&law, &b, &rng);
    assert_memory_equal(a.data, b.data, a.size_bytes);
    amg_init_fill(&law, &b, &rng);
    assert_memory_not_equal(a.data, b.data, a.size_bytes);
    amg_tensor_clear(&a);
    amg_tensor_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fans_are_those_of_pytorch),
        cmocka_unit_test(laws_have_the_moments_of_pytorch),
        cmocka_unit_test(uniform_law_stays_within_its_bound_and_reaches_it),
        cmocka_unit_test(uniform_law_has_the_lattice_of_pytorch),
        cmocka_unit_test(neighbours_of_the_normal_law_hide_their_uniforms),
        cmocka_unit_test(constants_fill_without_drawing),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(pieces_of_a_large_tensor_differ),
        cmocka_unit_test(seeds_and_successive_fills_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
