/* Likeness of two images [C,H,W]: structural similarity (Z. Wang, A. C. Bovik, H. R.
 * Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to
 * structural similarity", IEEE Transactions on Image Processing 13, 2004) and peak
 * signal-to-noise ratio. About 600 operations a pixel: for pictures, not for a whole
 * data set. */
#include <math.h>

#include "audit/stats.h"

enum { WINDOW = 11 };

/* Weights of a Gaussian of deviation 1.5 over size points, sum 1; returns size, at most
 * WINDOW and at most side. */
static int make_window(int64_t side, double weight[WINDOW])
{
    const int size = side < WINDOW ? (int)side : WINDOW;
    double sum = 0;
    for (int i = 0; i < size; i++) {
        const double at = i - (size - 1) / 2.0;
        sum += weight[i] = exp(-at * at / (2 * 1.5 * 1.5));
    }
    for (int i = 0; i < size; i++) weight[i] /= sum;
    return size;
}

typedef struct {
    int height, width;
    double rows[WINDOW], columns[WINDOW];
    double c1, c2;
} window;

/* Similarity in the window whose corner is at a and b, of images of this width. */
static double compare(const window *w, const float *a, const float *b, int64_t width)
{
    double mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < w->height; i++)
        for (int j = 0; j < w->width; j++) {
            const double weight = w->rows[i] * w->columns[j];
            const double x = (double)a[i * width + j], y = (double)b[i * width + j];
            mean_a += weight * x;
            mean_b += weight * y;
            aa += weight * x * x;
            bb += weight * y * y;
            ab += weight * x * y;
        }
    aa -= mean_a * mean_a;
    bb -= mean_b * mean_b;
    ab -= mean_a * mean_b;
    return (2 * mean_a * mean_b + w->c1) * (2 * ab + w->c2) /
           ((mean_a * mean_a + mean_b * mean_b + w->c1) * (aa + bb + w->c2));
}

/* Windows that lie wholly inside, channels averaged. */
double amg_ssim(const float *a, const float *b, const int64_t dims[3], double range)
{
    window w = {.c1 = 0.01 * range * 0.01 * range, .c2 = 0.03 * range * 0.03 * range};
    w.height = make_window(dims[1], w.rows);
    w.width = make_window(dims[2], w.columns);
    double sum = 0;
    int64_t count = 0;
    for (int64_t c = 0; c < dims[0]; c++)
        for (int64_t y = 0; y + w.height <= dims[1]; y++)
            for (int64_t x = 0; x + w.width <= dims[2]; x++, count++) {
                const int64_t at = (c * dims[1] + y) * dims[2] + x;
                sum += compare(&w, a + at, b + at, dims[2]);
            }
    return sum / (double)count;
}

double amg_psnr(const float *a, const float *b, const int64_t dims[3], double range)
{
    const int64_t n = dims[0] * dims[1] * dims[2];
    double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        const double off = (double)a[i] - (double)b[i];
        squares += off * off;
    }
    return squares > 0 ? 10 * log10(range * range * (double)n / squares) : INFINITY;
}
