/* Features of one picture, and those of them that fit any numbers: change from place to
 * place, values wherever they stand, symmetry, compressed size. Consumes values
 * [C,H,W], produces one number a feature. Must not know of streams.
 *
 * Cost: about .1 ms for 3x32x32 values, most of it deflate. */
#include "audit/image_features.h"

#include <math.h>
#include <string.h>

#include "audit/sample_features.h"
#include "base/alloc.h"

/* Those before NUM_NUMBER_FEATURES fit any numbers. */
enum {
    TOTAL_VARIATION,
    MEAN,
    DEVIATION,
    SKEWNESS,
    KURTOSIS,
    SHARE_OF_ZEROS,
    SHARE_OF_MINIMUM,
    SHARE_OF_MAXIMUM,
    NUM_NUMBER_FEATURES,
    ENTROPY = NUM_NUMBER_FEATURES,
    DISTINCT_LEVELS,
    HORIZONTAL_CORRELATION,
    VERTICAL_CORRELATION,
    SLANT,
    BLOCKINESS,
    GRADIENT_KURTOSIS,
    HIGH_FREQUENCY_ENERGY,
    HIGH_FREQUENCY_SHARE,
    COMPRESSIBILITY,
    MIRROR_SYMMETRY,
    CHANNEL_CORRELATION,
    CENTRE_BRIGHTNESS,
    NUM_IMAGE_FEATURES
};
_Static_assert(NUM_IMAGE_FEATURES <= AMG_MAX_FEATURES, "room for every feature");

static const char *const image_names[NUM_IMAGE_FEATURES] = {
    [TOTAL_VARIATION] = "total variation",
    [MEAN] = "mean",
    [DEVIATION] = "deviation",
    [SKEWNESS] = "skewness",
    [KURTOSIS] = "kurtosis",
    [SHARE_OF_ZEROS] = "share of zeros",
    [SHARE_OF_MINIMUM] = "share of the minimum",
    [SHARE_OF_MAXIMUM] = "share of the maximum",
    [ENTROPY] = "entropy of the histogram",
    [DISTINCT_LEVELS] = "distinct levels",
    [HORIZONTAL_CORRELATION] = "correlation of horizontal neighbours",
    [VERTICAL_CORRELATION] = "correlation of vertical neighbours",
    [SLANT] = "horizontal against vertical change",
    [BLOCKINESS] = "steps at every eighth pixel",
    [GRADIENT_KURTOSIS] = "kurtosis of the gradient",
    [HIGH_FREQUENCY_ENERGY] = "high-frequency energy",
    [HIGH_FREQUENCY_SHARE] = "high-frequency share",
    [COMPRESSIBILITY] = "compressed size",
    [MIRROR_SYMMETRY] = "mirror symmetry",
    [CHANNEL_CORRELATION] = "correlation of channels",
    [CENTRE_BRIGHTNESS] = "brightness of the centre",
};

/* Below: x [C,H,W], n = C * H * W. */
typedef struct {
    const float *x;
    int64_t C, H, W, n;
    double mean, low, high;
    double level_scale; /* level of a value: (value - level_low) * level_scale … */
    double level_low;   /* … rounded, 0..255 */
} picture;

/* ---- sums over pairs of values ---- */

typedef struct {
    double n, a, b, aa, bb, ab;
    double abs, square, fourth; /* of the difference */
} pair_sums;

static inline void add_pair(pair_sums *p, double a, double b)
{
    const double d = b - a, square = d * d;
    p->n++;
    p->a += a;
    p->b += b;
    p->aa += a * a;
    p->bb += b * b;
    p->ab += a * b;
    p->abs += fabs(d);
    p->square += square;
    p->fourth += square * square;
}

/* Quotient, 0 where there is nothing to divide by: constant and tiny samples. */
static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

static double correlation(const pair_sums *p)
{
    const double n = p->n > 0 ? p->n : 1;
    const double va = p->aa - p->a * p->a / n, vb = p->bb - p->b * p->b / n;
    /* What rounding leaves of a constant is no variance. */
    if (va <= 1e-12 * p->aa || vb <= 1e-12 * p->bb) return 0;
    return (p->ab - p->a * p->b / n) / sqrt(va * vb);
}

/* Each value against the one dy rows and dx columns further. */
static pair_sums sum_neighbours(const picture *p, int64_t dy, int64_t dx)
{
    pair_sums sums = {0};
    for (int64_t row = 0; row < p->C * p->H; row++) {
        if (row % p->H + dy >= p->H) continue;
        const float *a = p->x + row * p->W, *b = a + dy * p->W + dx;
        for (int64_t x = 0; x + dx < p->W; x++)
            add_pair(&sums, a[x] - p->mean, b[x] - p->mean);
    }
    return sums;
}

static double mirror_symmetry(const picture *p)
{
    pair_sums sums = {0};
    for (int64_t row = 0; row < p->C * p->H; row++) {
        const float *a = p->x + row * p->W;
        for (int64_t x = 0; x < p->W; x++)
            add_pair(&sums, a[x] - p->mean, a[p->W - 1 - x] - p->mean);
    }
    return correlation(&sums);
}

/* Mean over pairs of channels. */
static double channel_correlation(const picture *p)
{
    const int64_t area = p->H * p->W;
    double sum = 0;
    for (int64_t c = 0; c < p->C; c++)
        for (int64_t d = c + 1; d < p->C; d++) {
            pair_sums sums = {0};
            for (int64_t i = 0; i < area; i++)
                add_pair(&sums, p->x[c * area + i] - p->mean,
                         p->x[d * area + i] - p->mean);
            sum += correlation(&sums);
        }
    return ratio(sum, (double)(p->C * (p->C - 1)) / 2);
}

/* ---- change from place to place ---- */

/* How much larger the steps at the borders of 8x8 blocks are than all steps: what JPEG
 * leaves behind. */
static double blockiness(const picture *p, double total_variation)
{
    double sum = 0, num = 0;
    for (int64_t row = 0; row < p->C * p->H; row++) {
        const float *v = p->x + row * p->W;
        const int64_t y = row % p->H;
        for (int64_t x = 8; x < p->W; x += 8, num++)
            sum += fabs((double)v[x] - v[x - 1]);
        if (y == 0 || y % 8) continue;
        for (int64_t x = 0; x < p->W; x++, num++)
            sum += fabs((double)v[x] - v[x - p->W]);
    }
    return num > 0 ? ratio(sum / num - total_variation, total_variation) : 0;
}

/* Mean square of the Laplacian (4, -1 -1 -1 -1) away from the border. */
static double laplacian_energy(const picture *p)
{
    double sum = 0;
    for (int64_t c = 0; c < p->C; c++)
        for (int64_t y = 1; y + 1 < p->H; y++) {
            const float *v = p->x + (c * p->H + y) * p->W;
            for (int64_t x = 1; x + 1 < p->W; x++) {
                const double l =
                    4.0 * v[x] - v[x - 1] - v[x + 1] - v[x - p->W] - v[x + p->W];
                sum += l * l;
            }
        }
    const bool any = p->H > 2 && p->W > 2;
    return any ? sum / (double)(p->C * (p->H - 2) * (p->W - 2)) : 0;
}

/* Mean of the middle half of rows and columns, less the mean of all. */
static double centre_brightness(const picture *p)
{
    double sum = 0, num = 0;
    for (int64_t c = 0; c < p->C; c++)
        for (int64_t y = p->H / 4; y < p->H - p->H / 4; y++)
            for (int64_t x = p->W / 4; x < p->W - p->W / 4; x++, num++)
                sum += p->x[(c * p->H + y) * p->W + x];
    return ratio(sum, num) - (num > 0 ? p->mean : 0);
}

static void measure_change(const picture *p, double *out)
{
    const pair_sums h = sum_neighbours(p, 0, 1), v = sum_neighbours(p, 1, 0);
    const double steps = h.n + v.n, mean_h = ratio(h.abs, h.n),
                 mean_v = ratio(v.abs, v.n);
    const double second = ratio(h.square + v.square, steps);
    const double fourth = ratio(h.fourth + v.fourth, steps);
    out[TOTAL_VARIATION] = ratio(h.abs + v.abs, steps);
    out[HORIZONTAL_CORRELATION] = correlation(&h);
    out[VERTICAL_CORRELATION] = correlation(&v);
    out[SLANT] = ratio(mean_h - mean_v, mean_h + mean_v);
    out[BLOCKINESS] = blockiness(p, out[TOTAL_VARIATION]);
    /* Kurtoses as logarithms: a few samples must not rule the mean. */
    out[GRADIENT_KURTOSIS] = second > 0 ? log(fourth / (second * second)) : 0;
    out[HIGH_FREQUENCY_ENERGY] = laplacian_energy(p);
    /* 1 for white noise, whose Laplacian has 16 + 4 times its variance. */
    out[HIGH_FREQUENCY_SHARE] =
        ratio(out[HIGH_FREQUENCY_ENERGY], 20 * out[DEVIATION] * out[DEVIATION]);
}

/* ---- values wherever they stand ---- */

/* Bytes are their own levels, other numbers are stretched over the sample's range. */
static picture look_at(const float *x, const int64_t dims[3])
{
    picture p = {.x = x, .C = dims[0], .H = dims[1], .W = dims[2]};
    p.n = p.C * p.H * p.W;
    p.low = p.n > 0 ? x[0] : 0;
    p.high = p.low;
    bool bytes = true;
    for (int64_t i = 0; i < p.n; i++) {
        p.mean += x[i];
        if (x[i] < p.low) p.low = x[i];
        if (x[i] > p.high) p.high = x[i];
        bytes &= x[i] >= 0 && x[i] <= 255 && x[i] == floorf(x[i]);
    }
    p.mean = ratio(p.mean, (double)p.n);
    p.level_low = bytes ? 0 : p.low;
    p.level_scale = bytes ? 1 : ratio(255, p.high - p.low);
    return p;
}

/* Also of what is no number (0), so that the conversion is always defined. */
static inline uint8_t level_of(const picture *p, float value)
{
    const double level = (value - p->level_low) * p->level_scale + 0.5;
    return level > 0 ? (uint8_t)(level < 255 ? level : 255) : 0;
}

static void measure_values(const picture *p, double *out)
{
    double second = 0, third = 0, fourth = 0;
    int64_t zeros = 0, lowest = 0, highest = 0;
    for (int64_t i = 0; i < p->n; i++) {
        const double d = p->x[i] - p->mean, square = d * d;
        second += square;
        third += square * d;
        fourth += square * square;
        zeros += p->x[i] == 0;
        lowest += p->x[i] == p->low;
        highest += p->x[i] == p->high;
    }
    const double n = p->n > 0 ? (double)p->n : 1, variance = second / n;
    const bool constant = !(p->high > p->low);
    out[MEAN] = p->mean;
    out[DEVIATION] = constant ? 0 : sqrt(variance);
    out[SKEWNESS] = constant ? 0 : third / n / (variance * sqrt(variance));
    out[KURTOSIS] = constant ? 0 : log(fourth / n / (variance * variance));
    out[SHARE_OF_ZEROS] = (double)zeros / n;
    out[SHARE_OF_MINIMUM] = (double)lowest / n;
    out[SHARE_OF_MAXIMUM] = (double)highest / n;
}

static void measure_histogram(const picture *p, double *out)
{
    int64_t histogram[256] = {0};
    for (int64_t i = 0; i < p->n; i++) histogram[level_of(p, p->x[i])]++;
    out[ENTROPY] = out[DISTINCT_LEVELS] = 0;
    for (int i = 0; i < 256; i++) {
        const double share = ratio((double)histogram[i], (double)p->n);
        if (share > 0) out[ENTROPY] -= share * log2(share);
        out[DISTINCT_LEVELS] += share > 0;
    }
}

/* ---- compression ---- */

static voidpf zlib_alloc(voidpf unused, uInt count, uInt size)
{
    (void)unused;
    return amg_calloc(count, size);
}

static void zlib_free(voidpf unused, voidpf p)
{
    (void)unused;
    amg_free(p);
}

bool amg_deflate_start(z_stream *z)
{
    *z = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
    return deflateInit(z, 6) == Z_OK;
}

/* Bytes after deflate over bytes before, of the values' levels in raster order. */
static double compressed_share(z_stream *z, const picture *p)
{
    uint8_t levels[4096], packed[4096];
    deflateReset(z);
    for (int64_t at = 0; at < p->n;) {
        const int64_t num =
            p->n - at < (int64_t)sizeof levels ? p->n - at : (int64_t)sizeof levels;
        for (int64_t i = 0; i < num; i++) levels[i] = level_of(p, p->x[at + i]);
        at += num;
        z->next_in = levels;
        z->avail_in = (uInt)num;
        do {
            z->next_out = packed;
            z->avail_out = sizeof packed;
            deflate(z, at == p->n ? Z_FINISH : Z_NO_FLUSH);
        } while (z->avail_out == 0);
    }
    return ratio((double)z->total_out, (double)p->n);
}

/* ---- a sample ---- */

void amg_number_features(const float *values, const int64_t dims[3], double *out)
{
    const picture p = look_at(values, dims);
    const pair_sums h = sum_neighbours(&p, 0, 1), v = sum_neighbours(&p, 1, 0);
    measure_values(&p, out);
    out[TOTAL_VARIATION] = ratio(h.abs + v.abs, h.n + v.n);
}

void amg_image_features(z_stream *z, const float *values, const int64_t dims[3],
                        double *out)
{
    const picture p = look_at(values, dims);
    measure_values(&p, out);
    measure_histogram(&p, out);
    measure_change(&p, out);
    out[MIRROR_SYMMETRY] = mirror_symmetry(&p);
    out[CHANNEL_CORRELATION] = channel_correlation(&p);
    out[CENTRE_BRIGHTNESS] = centre_brightness(&p);
    out[COMPRESSIBILITY] = z ? compressed_share(z, &p) : NAN;
}

int amg_image_feature_names(const char **names)
{
    memcpy(names, image_names, sizeof image_names);
    return NUM_IMAGE_FEATURES;
}

int amg_number_feature_names(const char **names)
{
    memcpy(names, image_names, NUM_NUMBER_FEATURES * sizeof *image_names);
    return NUM_NUMBER_FEATURES;
}
