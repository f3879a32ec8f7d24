/* The losses of one batch, their gradients, and top-1/top-5 counts.
 *
 * A batch is cut into rows: one position of one sample (cross entropy), or one sample
 * (squared error). Each row is computed on its own, in double; the rows' losses are
 * then added in row order. So the result does not depend on how rows were split over
 * threads. The order of classes does matter to rounding: the trainer fixes it
 * (engine/class_order.h).
 *
 *     logits [samples][C][P]      row r = (sample r / P, position r % P)
 *     its logit of class c        logits[(sample * C + c) * P + position] */
#include "engine/loss.h"

#include <math.h>
#include <stddef.h>

#include "base/parallel.h"

/* Rows whose results are kept on the stack between the parallel part and the sum. */
#define CHUNK_ROWS 512

typedef struct {
    double loss;
    int64_t rank; /* how many classes stand before the label */
} row_result;

/* A loss that is cut into rows: fills the result of row, and its gradient. */
typedef struct {
    row_result (*row)(const void *self, int64_t row);
    const void *self;
    int64_t num_rows, grain;
} row_loss;

typedef struct {
    const row_loss *loss;
    int64_t first;
    row_result results[CHUNK_ROWS];
} chunk;

static void chunk_rows(void *context, int64_t begin, int64_t end)
{
    chunk *k = context;
    for (int64_t i = begin; i < end; i++)
        k->results[i] = k->loss->row(k->loss->self, k->first + i);
}

/* Sum of the rows' losses, and their counts. */
static amg_loss_result sum_rows(const row_loss *loss)
{
    amg_loss_result r = {0};
    chunk k = {.loss = loss};
    for (k.first = 0; k.first < loss->num_rows; k.first += CHUNK_ROWS) {
        const int64_t left = loss->num_rows - k.first;
        const int64_t n = left < CHUNK_ROWS ? left : CHUNK_ROWS;
        amg_parallel_for(n, loss->grain, chunk_rows, &k);
        for (int64_t i = 0; i < n; i++) {
            r.loss += k.results[i].loss;
            r.top1 += k.results[i].rank < 1;
            r.top5 += k.results[i].rank < 5;
        }
    }
    return r;
}

/* ---- cross entropy ---- */

typedef struct {
    const float *logits;
    const int32_t *labels;
    float *dlogits; /* NULL: none wanted */
    int64_t classes, positions;
    double smoothing, per_row; /* label smoothing; 1 / rows */
} cross_entropy;

/* Classes with a larger logit, or an equal one and a smaller index (as argmax takes the
 * first). Where a NaN is involved the label comes second. P: stride of the classes. */
static int64_t label_rank(const float *x, int64_t C, int64_t P, int32_t label)
{
    const float own = x[label * P];
    int64_t rank = 0;
    for (int64_t c = 0; c < C; c++)
        rank += !(x[c * P] < own || (x[c * P] == own && c >= label));
    return rank;
}

/* With p = softmax(x) and the smoothed target t = (1 - s) onehot + s / C:
 *     loss = -sum_c t[c] log p[c],   dloss/dx[c] = p[c] - t[c]. */
static row_result cross_entropy_row(const void *self, int64_t row)
{
    const cross_entropy *k = self;
    const int64_t C = k->classes, P = k->positions;
    const int64_t at = row / P * C * P + row % P;
    const float *x = k->logits + at;
    const int32_t label = k->labels[row];
    double max = x[0], sum = 0, plain = 0;
    for (int64_t c = 1; c < C; c++)
        if (x[c * P] > max) max = x[c * P];
    for (int64_t c = 0; c < C; c++) {
        sum += exp(x[c * P] - max);
        plain += x[c * P] - max;
    }
    const double log_sum = log(sum), even = k->smoothing / (double)C;
    const row_result r = {(1 - k->smoothing) * (log_sum - (x[label * P] - max)) +
                              even * ((double)C * log_sum - plain),
                          label_rank(x, C, P, label)};
    if (!k->dlogits) return r;
    float *d = k->dlogits + at;
    for (int64_t c = 0; c < C; c++) {
        const double target = even + (c == label ? 1 - k->smoothing : 0);
        d[c * P] = (float)((exp(x[c * P] - max - log_sum) - target) * k->per_row);
    }
    return r;
}

amg_loss_result amg_cross_entropy(const float *logits, const int32_t *labels,
                                  int64_t samples, int64_t classes, int64_t positions,
                                  float label_smoothing, float *dlogits)
{
    const int64_t rows = samples * positions;
    const cross_entropy k = {.logits = logits,
                             .labels = labels,
                             .dlogits = dlogits,
                             .classes = classes,
                             .positions = positions,
                             .smoothing = (double)label_smoothing,
                             .per_row = 1.0 / (double)rows};
    amg_loss_result r = sum_rows(&(row_loss){cross_entropy_row, &k, rows, 16});
    r.loss *= k.per_row;
    return r;
}

/* ---- mean squared error ---- */

typedef struct {
    const float *x, *target;
    float *dx; /* NULL: none wanted */
    int64_t count;
    double per_element; /* 1 / elements of the batch */
} squared_error;

static row_result squared_error_row(const void *self, int64_t row)
{
    const squared_error *k = self;
    const float *x = k->x + row * k->count, *target = k->target + row * k->count;
    float *dx = k->dx ? k->dx + row * k->count : NULL;
    row_result r = {.rank = INT64_MAX}; /* no hit: nothing is classified */
    for (int64_t i = 0; i < k->count; i++) {
        const double error = (double)x[i] - (double)target[i];
        r.loss += error * error;
        if (dx) dx[i] = (float)(2 * error * k->per_element);
    }
    return r;
}

amg_loss_result amg_mse(const float *x, const float *target, int64_t samples,
                        int64_t count, float *dx)
{
    const squared_error k = {.x = x,
                             .target = target,
                             .dx = dx,
                             .count = count,
                             .per_element = 1.0 / ((double)samples * (double)count)};
    amg_loss_result r = sum_rows(&(row_loss){squared_error_row, &k, samples, 1});
    r.loss *= k.per_element;
    return r;
}
