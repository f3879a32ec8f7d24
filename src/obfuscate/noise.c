/* Noise laws: a data set in, draws out (noise.h says which laws and why). Data with
 * levels get a table of cumulated probabilities, so that all kinds draw alike; data
 * without get the law's formula. Knows no positions and no samples' keys. */
#include "obfuscate/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/samples.h"

#define MAX_LEVELS 65536
#define MAX_VALUES (1 << 24)
#define SQRT_2 1.4142135623730950488
#define TWO_32 4294967296.0

/* ---- what the data are ---- */

/* The different values seen, until there are too many. Keyed by bit pattern. */
typedef struct {
    uint32_t *keys;
    uint8_t *used;
    int64_t count; /* -1: more than MAX_LEVELS */
} level_set;

#define LEVEL_CELLS (4 * MAX_LEVELS)

static bool level_set_init(level_set *s)
{
    s->keys = amg_calloc(LEVEL_CELLS, sizeof *s->keys);
    s->used = amg_calloc(LEVEL_CELLS, 1);
    s->count = 0;
    return s->keys && s->used;
}

static void level_set_clear(level_set *s)
{
    amg_free(s->keys);
    amg_free(s->used);
}

static void level_set_add(level_set *s, float value)
{
    uint32_t bits;
    if (s->count < 0) return;
    memcpy(&bits, &value, sizeof bits);
    size_t at = (bits * UINT32_C(0x9E3779B1) >> 12) & (LEVEL_CELLS - 1);
    while (s->used[at]) {
        if (s->keys[at] == bits) return;
        at = (at + 1) & (LEVEL_CELLS - 1);
    }
    if (s->count == MAX_LEVELS) {
        s->count = -1;
        return;
    }
    s->used[at] = 1;
    s->keys[at] = bits;
    s->count++;
}

typedef struct {
    level_set levels;
    double count, sum, sum_squares, low, high;
} data_sums;

static void add_value(data_sums *d, float v)
{
    d->sum += (double)v;
    d->sum_squares += (double)v * (double)v;
    if ((double)v < d->low) d->low = (double)v;
    if ((double)v > d->high) d->high = (double)v;
    level_set_add(&d->levels, v);
}

/* Bytes go through a histogram: exact, and 256 additions instead of millions. */
static void add_bytes(data_sums *d, const uint8_t *x, size_t count)
{
    int64_t histogram[256] = {0};
    for (size_t i = 0; i < count; i++) histogram[x[i]]++;
    for (int v = 0; v < 256; v++) {
        if (!histogram[v]) continue;
        d->sum += (double)histogram[v] * v;
        d->sum_squares += (double)histogram[v] * v * v;
        if (v < d->low) d->low = v;
        if (v > d->high) d->high = v;
        level_set_add(&d->levels, (float)v);
    }
    d->count += (double)count;
}

/* Finite: the data set's reader refuses others. */
static void add_floats(data_sums *d, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) add_value(d, x[i]);
    d->count += (double)count;
}

/* Sums run in sample order, so that the law does not depend on threads. */
static amg_status sum_data(const amg_dataset *ds, data_sums *d, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    const int64_t chunk = amg_samples_chunk(info->sample_bytes);
    amg_status st = AMG_OK;
    const size_t elem = amg_dtype_size(info->dtype);
    void *x = amg_alloc_aligned((size_t)chunk * info->sample_bytes);
    if (!x || !level_set_init(&d->levels)) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "noise", "no memory to fit a law");
        goto done;
    }
    d->low = HUGE_VAL;
    d->high = -HUGE_VAL;
    for (int64_t first = 0; first < info->num_samples; first += chunk) {
        int64_t num =
            info->num_samples - first < chunk ? info->num_samples - first : chunk;
        const amg_samples s = {.set = ds, .first = first, .x = x};
        st = amg_samples_read(&s, num, err);
        if (st != AMG_OK) goto done;
        const size_t count = (size_t)num * (info->sample_bytes / elem);
        if (info->dtype == AMG_U8)
            add_bytes(d, x, count);
        else
            add_floats(d, x, count);
    }
done:
    amg_free_aligned(x);
    return st;
}

/* ---- the table of levels ---- */

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Probability of a value at most x under a law that was not cut yet. */
static double cumulated(const amg_noise_law *law, double x)
{
    if (law->std == 0.0) return x >= law->mean ? 1.0 : 0.0;
    double z = (x - law->mean) / law->std;
    if (law->kind == AMG_NOISE_GAUSSIAN) return 0.5 * erfc(-z / SQRT_2);
    z *= SQRT_2; /* laplace: scale = std / sqrt 2 */
    return z < 0 ? 0.5 * exp(z) : 1.0 - 0.5 * exp(-z);
}

/* law->levels is filled, ascending; makes upper and guide. */
static amg_status make_table(amg_noise_law *law, amg_error *err)
{
    const int64_t n = law->num_levels;
    law->upper = amg_malloc((size_t)n * sizeof *law->upper);
    if (!law->upper)
        return amg_fail(err, AMG_NO_MEMORY, -1, "noise", "no memory for %lld levels",
                        (long long)n);
    const bool even = law->kind == AMG_NOISE_UNIFORM || law->kind == AMG_NOISE_VALUES;
    for (int64_t l = 0; l + 1 < n; l++) {
        if (even) {
            law->upper[l] = (uint64_t)(l + 1) * (UINT64_C(1) << 32) / (uint64_t)n;
        } else { /* up to the middle between this level and the next */
            double middle = ((double)law->levels[l] + (double)law->levels[l + 1]) / 2;
            law->upper[l] = (uint64_t)(cumulated(law, middle) * TWO_32);
        }
    }
    law->upper[n - 1] = UINT64_C(1) << 32;
    int64_t l = 0;
    for (uint64_t i = 0; i < UINT64_C(1) << AMG_NOISE_GUIDE_BITS; i++) {
        while (law->upper[l] <= i << (32 - AMG_NOISE_GUIDE_BITS)) l++;
        law->guide[i] = (int32_t)l;
    }
    return AMG_OK;
}

static amg_status take_levels(amg_noise_law *law, const level_set *set, amg_error *err)
{
    law->levels = amg_malloc((size_t)set->count * sizeof *law->levels);
    if (!law->levels) return amg_fail(err, AMG_NO_MEMORY, -1, "noise", "no memory");
    int64_t n = 0;
    for (size_t at = 0; at < LEVEL_CELLS; at++)
        if (set->used[at]) memcpy(&law->levels[n++], &set->keys[at], sizeof(float));
    qsort(law->levels, (size_t)n, sizeof *law->levels, compare_floats);
    law->num_levels = n;
    return make_table(law, err);
}

static amg_status take_values(amg_noise_law *law, const float *values, int64_t count,
                              amg_error *err)
{
    if (count < 1 || count > MAX_VALUES)
        return amg_fail(err, AMG_INVALID, -1, "noise",
                        "found a list of %lld values, expected 1 to %d",
                        (long long)count, MAX_VALUES);
    for (int64_t i = 0; i < count; i++) {
        const bool byte =
            values[i] >= 0 && values[i] <= 255 && values[i] == floorf(values[i]);
        if (!isfinite(values[i]) || (law->dtype == AMG_U8 && !byte))
            return amg_fail(err, AMG_INVALID, -1, "noise",
                            "value %lld of the list is %g, expected %s", (long long)i,
                            (double)values[i],
                            law->dtype == AMG_U8 ? "a whole number from 0 to 255"
                                                 : "a finite number");
    }
    law->levels = amg_malloc((size_t)count * sizeof *law->levels);
    if (!law->levels) return amg_fail(err, AMG_NO_MEMORY, -1, "noise", "no memory");
    memcpy(law->levels, values, (size_t)count * sizeof *values);
    qsort(law->levels, (size_t)count, sizeof *law->levels, compare_floats);
    law->num_levels = count;
    law->low = (double)law->levels[0];
    law->high = (double)law->levels[count - 1];
    return make_table(law, err);
}

/* To `digits` binary digits. */
static double round_digits(double x, int digits)
{
    int exponent;
    double fraction = frexp(x, &exponent);
    return ldexp(round(ldexp(fraction, digits)), exponent - digits);
}

static amg_status fit_data(amg_noise_law *law, const amg_dataset *ds, amg_error *err)
{
    data_sums d = {0};
    amg_status st = sum_data(ds, &d, err);
    if (st != AMG_OK) goto done;
    const double mean = d.sum / d.count;
    const double variance = d.sum_squares / d.count - mean * mean;
    law->low = d.low;
    law->high = d.high;
    law->std = round_digits(variance > 0 ? sqrt(variance) : 0, 5);
    law->mean = law->std > 0 ? round(mean / (law->std / 16)) * (law->std / 16) : mean;
    if (d.levels.count > 0) st = take_levels(law, &d.levels, err);
done:
    level_set_clear(&d.levels);
    return st;
}

amg_status amg_noise_fit(amg_noise kind, const amg_dataset *ds, const float *values,
                         int64_t num_values, amg_noise_law *out, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    if (info->num_samples < 1 || info->sample_bytes < 1)
        return amg_fail(err, AMG_INVALID, -1, amg_dataset_source(ds),
                        "found no sample to fit noise to");
    if (kind == AMG_NOISE_UNIGRAM || kind == AMG_NOISE_BIGRAM)
        return amg_fail(err, AMG_INVALID, -1, "noise",
                        "is for tokens, numbers take uniform, gaussian, laplace or "
                        "values");
    amg_noise_law law = {.kind = kind, .dtype = info->dtype};
    amg_status st = kind == AMG_NOISE_VALUES
                        ? take_values(&law, values, num_values, err)
                        : fit_data(&law, ds, err);
    if (st == AMG_OK)
        *out = law;
    else
        amg_noise_clear(&law);
    return st;
}

void amg_noise_clear(amg_noise_law *law)
{
    amg_free(law->levels);
    amg_free(law->upper);
    amg_free(law->start);
    amg_free(law->next);
    *law = (amg_noise_law){0};
}

/* ---- draws ---- */

static inline float draw_level(const amg_noise_law *law, uint32_t u)
{
    int64_t l = law->guide[u >> (32 - AMG_NOISE_GUIDE_BITS)];
    while (law->upper[l] <= u) l++;
    return law->levels[l];
}

static float draw_continuous(const amg_noise_law *law, amg_keystream *ks)
{
    double x;
    if (law->kind == AMG_NOISE_UNIFORM) {
        x = law->low + amg_keystream_unit(ks) * (law->high - law->low);
    } else if (law->kind == AMG_NOISE_GAUSSIAN) {
        x = law->mean + law->std * amg_keystream_normal(ks);
    } else {
        double u = amg_keystream_unit(ks) - 0.5; /* [-1/2, 1/2) */
        double size = -log1p(-2 * fabs(u));      /* inverse of the law */
        x = law->mean + copysign(fmin(size, 1e3), u) * law->std / SQRT_2;
    }
    return (float)fmin(fmax(x, law->low), law->high);
}

void amg_noise_fill(const amg_noise_law *law, amg_keystream *ks, int64_t num, void *out)
{
    uint8_t *bytes = out;
    float *floats = out;
    if (law->dtype == AMG_I32) {
        amg_noise_fill_tokens(law, ks, num, out);
        return;
    }
    for (int64_t i = 0; i < num; i++) {
        float v = law->num_levels ? draw_level(law, amg_keystream_u32(ks))
                                  : draw_continuous(law, ks);
        if (law->dtype == AMG_U8)
            bytes[i] = (uint8_t)v;
        else
            floats[i] = v;
    }
}
