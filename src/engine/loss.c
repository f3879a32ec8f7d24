/* The losses of one batch, their gradients, and top-1/top-5 counts.
 *
 * A batch is cut into rows: one position of one sample (cross entropy), or one sample
 * (squared error). Each row is computed on its own; the rows' losses are then added in
 * row order. So the result does not depend on how rows were split over threads. The
 * order of classes does matter to rounding: the trainer fixes it
 * (engine/class_order.h).
 *
 *     logits [samples][C][P]      row r = (sample r / P, position r % P)
 *     its logit of class c        logits[(sample * C + c) * P + position]
 *     classes last                [samples * positions][C], which is P = 1
 *
 * A language model's row holds tens of thousands of classes: it is read from memory
 * once (every further pass finds it in the cache), and its gradient may replace it. */
#include "engine/loss.h"

#include <math.h>
#include <stddef.h>

#include "base/parallel.h"
#include "engine/vector.h"

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
    const amg_cross_entropy_task *task;
    const float *logits;
    const int32_t *labels;
    float *dlogits; /* NULL: none wanted */
    int64_t stride; /* of the classes */
    double per_row; /* 1 / positions counted */
} cross_entropy;

/* Elements that are added in float before their sum is added in double. */
#define BLOCK 512

/* The largest logit; a NaN may be passed over, the sum of exponentials shows it. */
AMG_INLINE float largest(const float *x, int64_t C, int64_t P)
{
    float max = x[0];
#pragma omp simd reduction(max : max)
    for (int64_t c = 0; c < C; c++) max = x[c * P] > max ? x[c * P] : max;
    return max;
}

/* Sum of e^(x - max); each is left in e (may be x), unless that is NULL. */
AMG_INLINE double exponentials(const float *x, int64_t C, int64_t P, float max,
                               float *e)
{
    double sum = 0;
    for (int64_t first = 0; first < C; first += BLOCK) {
        const int64_t end = C - first < BLOCK ? C : first + BLOCK;
        float part = 0;
        if (e) {
#pragma omp simd reduction(+ : part)
            for (int64_t c = first; c < end; c++) {
                e[c * P] = amg_expf(x[c * P] - max);
                part += e[c * P];
            }
        } else {
#pragma omp simd reduction(+ : part)
            for (int64_t c = first; c < end; c++) part += amg_expf(x[c * P] - max);
        }
        sum += (double)part;
    }
    return sum;
}

/* Classes with a larger logit, or an equal one and a smaller index (as argmax takes the
 * first). Where a NaN is involved the label comes second. */
AMG_INLINE int64_t label_rank(const float *x, int64_t C, int64_t P, int64_t label)
{
    const float own = x[label * P];
    int64_t rank = 0;
#pragma omp simd reduction(+ : rank)
    for (int64_t c = 0; c < label; c++) rank += !(x[c * P] < own);
#pragma omp simd reduction(+ : rank)
    for (int64_t c = label; c < C; c++) rank += !(x[c * P] <= own);
    return rank;
}

/* With p = softmax(x) and the smoothed target t = (1 - s) onehot + s / C:
 *     loss = -sum_c t[c] log p[c],   dloss/dx[c] = p[c] - t[c].
 * d may be x. */
AMG_INLINE row_result contiguous_or_not(const cross_entropy *k, const float *x,
                                        int64_t P, int64_t label, float *d)
{
    const int64_t C = k->task->classes;
    const double smoothing = (double)k->task->label_smoothing;
    const double even = smoothing / (double)C;
    const float max = largest(x, C, P);
    const double own = (double)x[label * P] - (double)max;
    row_result r = {.rank = label_rank(x, C, P, label)};
    double plain = 0;
    if (smoothing > 0)
        for (int64_t c = 0; c < C; c++) plain += (double)x[c * P] - (double)max;
    const double sum = exponentials(x, C, P, max, d), log_sum = log(sum);
    r.loss = (1 - smoothing) * (log_sum - own);
    if (smoothing > 0) r.loss += even * ((double)C * log_sum - plain);
    if (!d) return r;
    const float scale = (float)(k->per_row / sum), less = (float)(even * k->per_row);
#pragma omp simd
    for (int64_t c = 0; c < C; c++) d[c * P] = d[c * P] * scale - less;
    /* In double: where the label is almost certain the difference is small. */
    d[label * P] = (float)((exp(own) / sum - (even + 1 - smoothing)) * k->per_row);
    return r;
}

AMG_VECTOR static row_result contiguous_row(const cross_entropy *k, const float *x,
                                            int64_t label, float *d)
{
    return contiguous_or_not(k, x, 1, label, d);
}

static bool is_counted(const amg_cross_entropy_task *task, int32_t label)
{
    return !task->has_ignore || label != task->ignore;
}

static row_result cross_entropy_row(const void *self, int64_t row)
{
    const cross_entropy *k = self;
    const int64_t C = k->task->classes, P = k->stride;
    const int64_t at = row / P * C * P + row % P;
    float *d = k->dlogits ? k->dlogits + at : NULL;
    if (!is_counted(k->task, k->labels[row])) {
        for (int64_t c = 0; d && c < C; c++) d[c * P] = 0;
        return (row_result){.rank = INT64_MAX};
    }
    return P == 1 ? contiguous_row(k, k->logits + at, k->labels[row], d)
                  : contiguous_or_not(k, k->logits + at, P, k->labels[row], d);
}

amg_loss_result amg_cross_entropy(const amg_cross_entropy_task *task,
                                  const float *logits, const int32_t *labels,
                                  float *dlogits)
{
    const int64_t rows = task->samples * task->positions;
    int64_t counted = 0;
    for (int64_t i = 0; i < rows; i++) counted += is_counted(task, labels[i]);
    const cross_entropy k = {.task = task,
                             .logits = logits,
                             .labels = labels,
                             .dlogits = dlogits,
                             .stride = task->classes_last ? 1 : task->positions,
                             .per_row = counted ? 1.0 / (double)counted : 0};
    const int64_t grain = 4096 / task->classes + 1;
    amg_loss_result r = sum_rows(&(row_loss){cross_entropy_row, &k, rows, grain});
    r.loss *= k.per_row;
    r.counted = counted;
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
    r.counted = samples * count;
    return r;
}
