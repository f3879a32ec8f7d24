/* Signatures. Images are reduced to 8x8 means over all channels, spread over the whole
 * range, so that neither another compression nor another brightness or normalisation
 * changes them much; a flat image has none. Of tokens five in a row are a feature, and
 * what fills up a short document (the run of one token at its end) is left out.
 *
 * A search looks at every pair, 64 bits each: a popcount, and for the few that differ
 * in little the sum of 64 differences; about 1.5 s a billion pairs on one core. Of
 * CIFAR-10 stored once more as JPEG it finds all of quality 75, 96 % of quality 50 and
 * 88 % of quality 30, and no wrong pair among 2e7. */
#include "audit/signature.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/print.h"
#include "base/vector.h"

enum {
    SIDE = 8,
    RUN = 5,           /* tokens that make one feature */
    MAX_PATTERN = 256, /* tokens of a pattern: finding it takes their square */
    MIN_REPEATS = 10,  /* of tokens, for a pattern that hardly two texts share */
    MIN_RUNS = 8,      /* for bits that mean something */
    NEAR_BITS = 12,    /* unrelated signatures differ in 32 +- 4 */
    NEAR_CELLS = 6 * AMG_CELLS, /* mean difference of 6 of 255 */
};

amg_status amg_signatures_new(int64_t count, amg_signatures *out, amg_error *err)
{
    const size_t n = (size_t)count;
    amg_signatures s = {.count = count,
                        .exact = amg_calloc(n, sizeof *s.exact),
                        .pattern = amg_calloc(n, sizeof *s.pattern),
                        .bits = amg_calloc(n, sizeof *s.bits),
                        .cells = amg_calloc(n, AMG_CELLS)};
    if (!s.exact || !s.pattern || !s.bits || !s.cells) {
        amg_signatures_clear(&s);
        return amg_fail(err, AMG_NO_MEMORY, -1, "lookup", "no memory for %lld samples",
                        (long long)count);
    }
    *out = s;
    return AMG_OK;
}

void amg_signatures_clear(amg_signatures *s)
{
    amg_free(s->exact);
    amg_free(s->pattern);
    amg_free(s->bits);
    amg_free(s->cells);
    *s = (amg_signatures){0};
}

/* ---- images ---- */

static double value_at(amg_dtype dtype, const void *values, int64_t i)
{
    return dtype == AMG_U8 ? ((const uint8_t *)values)[i]
                           : (double)((const float *)values)[i];
}

/* Means over 8x8 cells, each pixel in one; a side below 8 repeats its pixels. */
static void mean_cells(amg_dtype dtype, const int64_t dims[3], const void *values,
                       double cells[AMG_CELLS])
{
    const int64_t C = dims[0], H = dims[1], W = dims[2];
    for (int64_t row = 0; row < SIDE; row++)
        for (int64_t column = 0; column < SIDE; column++) {
            const int64_t y0 = row * H / SIDE, x0 = column * W / SIDE;
            int64_t y1 = (row + 1) * H / SIDE, x1 = (column + 1) * W / SIDE;
            double sum = 0;
            if (y1 <= y0) y1 = y0 + 1;
            if (x1 <= x0) x1 = x0 + 1;
            for (int64_t c = 0; c < C; c++)
                for (int64_t y = y0; y < y1; y++)
                    for (int64_t x = x0; x < x1; x++)
                        sum += value_at(dtype, values, (c * H + y) * W + x);
            cells[row * SIDE + column] = sum / (double)(C * (y1 - y0) * (x1 - x0));
        }
}

static void sign_image(amg_signatures *s, int64_t i, amg_dtype dtype,
                       const int64_t dims[3], const void *values)
{
    double cells[AMG_CELLS], low, high, middle = 0;
    mean_cells(dtype, dims, values, cells);
    low = high = cells[0];
    for (int j = 0; j < AMG_CELLS; j++) {
        low = fmin(low, cells[j]);
        high = fmax(high, cells[j]);
        middle += cells[j] / AMG_CELLS;
    }
    if (high - low < (dtype == AMG_U8 ? 4 : 1e-3 * fmax(fabs(low), fabs(high)))) return;
    for (int j = 0; j < AMG_CELLS; j++) {
        s->cells[i * AMG_CELLS + j] =
            (uint8_t)lround(255 * (cells[j] - low) / (high - low));
        if (cells[j] > middle) s->bits[i] |= UINT64_C(1) << j;
    }
}

/* ---- tokens ---- */

/* Without the run of one token that ends it, but for the first of them. */
static int64_t used_length(const int32_t *x, int64_t n)
{
    while (n > 1 && x[n - 1] == x[n - 2]) n--;
    return n;
}

static uint64_t hash_run(const int32_t *x)
{
    return amg_print_bytes(17, x, RUN * sizeof *x);
}

/* Each place gets the place at which its token was last seen. */
static uint64_t find_pattern(const int32_t *x, int64_t n)
{
    uint64_t pattern = 23;
    int64_t repeats = 0;
    if (n > MAX_PATTERN) n = MAX_PATTERN;
    for (int64_t i = 0; i < n; i++) {
        int64_t last = i - 1;
        while (last >= 0 && x[last] != x[i]) last--;
        pattern = amg_print_mix(pattern, (uint64_t)(i - last) * (last >= 0));
        repeats += last >= 0;
    }
    return repeats >= MIN_REPEATS ? pattern | 1 : 0;
}

static void sign_tokens(amg_signatures *s, int64_t i, int64_t length, const int32_t *x)
{
    uint64_t minima[64];
    const int64_t n = used_length(x, length);
    s->pattern[i] = find_pattern(x, n);
    if (n < RUN + MIN_RUNS) return;
    memset(minima, 0xFF, sizeof minima);
    for (int64_t at = 0; at + RUN <= n; at++) {
        const uint64_t run = hash_run(x + at);
        for (int j = 0; j < 64; j++) {
            const uint64_t hash = amg_print_mix(run, (uint64_t)j);
            if (hash < minima[j]) minima[j] = hash;
        }
    }
    for (int j = 0; j < 64; j++) s->bits[i] |= (minima[j] >> 7 & 1) << j;
}

void amg_signature_set(amg_signatures *s, int64_t i, amg_sample_kind kind,
                       amg_dtype dtype, const int64_t dims[3], const void *values)
{
    const int64_t count = dims[0] * dims[1] * dims[2];
    s->exact[i] = amg_print_bytes(29, values, (size_t)count * amg_dtype_size(dtype));
    s->pattern[i] = s->bits[i] = 0;
    if (kind == AMG_SAMPLES_IMAGES) sign_image(s, i, dtype, dims, values);
    if (kind == AMG_SAMPLES_TOKENS) sign_tokens(s, i, count, values);
}

/* ---- search ---- */

AMG_INLINE int cell_distance(const uint8_t *a, const uint8_t *b)
{
    int sum = 0;
    for (int j = 0; j < AMG_CELLS; j++) sum += abs(a[j] - b[j]);
    return sum;
}

AMG_VECTOR int64_t amg_signature_nearest(const amg_signatures *query, int64_t i,
                                         const amg_signatures *pool, int64_t first,
                                         int64_t last, int *distance)
{
    const uint64_t bits = query->bits[i], exact = query->exact[i];
    const uint8_t *cells = query->cells + i * AMG_CELLS;
    int64_t best = -1;
    int least = NEAR_CELLS + 1;
    if (!bits) return -1;
    for (int64_t j = first; j < last; j++) {
        const int differing = __builtin_popcountll(bits ^ pool->bits[j]);
        if (differing > NEAR_BITS || !pool->bits[j] || pool->exact[j] == exact)
            continue;
        /* Tokens have no cells: all are 0, and the bits decide. */
        const int d = differing + cell_distance(cells, pool->cells + j * AMG_CELLS);
        if (d < least) {
            least = d;
            best = j;
        }
    }
    if (best >= 0) *distance = least;
    return best;
}

bool amg_images_near(const float *a, const float *b, int64_t n)
{
    double mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;
    for (int64_t i = 0; i < n; i++) {
        mean_a += (double)a[i] / (double)n;
        mean_b += (double)b[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        const double x = (double)a[i] - mean_a, y = (double)b[i] - mean_b;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    return aa > 0 && bb > 0 && ab >= .95 * sqrt(aa * bb);
}

static int compare_hashes(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The different runs of x, sorted; returns how many. */
static int64_t list_runs(const int32_t *x, int64_t length, uint64_t *out)
{
    const int64_t n = used_length(x, length);
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; i + RUN <= n; i++) out[count++] = hash_run(x + i);
    qsort(out, (size_t)count, sizeof *out, compare_hashes);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || out[i] != out[i - 1]) out[kept++] = out[i];
    return kept;
}

amg_status amg_tokens_near(const int32_t *a, const int32_t *b, int64_t n, bool *near,
                           amg_error *err)
{
    uint64_t *runs = amg_calloc((size_t)n * 2, sizeof *runs);
    if (!runs) return amg_fail(err, AMG_NO_MEMORY, -1, "lookup", "no memory");
    const int64_t num_a = list_runs(a, n, runs), num_b = list_runs(b, n, runs + n);
    int64_t common = 0;
    for (int64_t i = 0, j = 0; i < num_a && j < num_b;) {
        const uint64_t x = runs[i], y = runs[n + j];
        common += x == y;
        i += x <= y;
        j += y <= x;
    }
    *near = common > 0 && 2 * common >= num_a + num_b - common;
    amg_free(runs);
    return AMG_OK;
}
