/* The losses of one batch, their gradients, and top-1/top-5 counts.
 *
 * A batch is cut into rows: one position of one sample (cross entropy), or one sample
 * (what compares elements). Each row is computed on its own; the rows' losses are then
 * added in row order. So the result does not depend on how rows were split over
 * threads. The order of classes does matter to rounding: the trainer fixes it
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
    int64_t top1, top5; /* as in amg_loss_result */
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
            r.top1 += k.results[i].top1;
            r.top5 += k.results[i].top5;
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
    double per_row; /* 1 / positions counted, or their labels' weights */
    double weights; /* sum of the class weights */
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

AMG_INLINE row_result rank_result(int64_t rank)
{
    return (row_result){.top1 = rank < 1, .top5 = rank < 5};
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
    row_result r = rank_result(label_rank(x, C, P, label));
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

/* With class weights w, their sum W, label y:
 *     loss = (1 - s) w[y] (-log p[y]) + s / C sum_c w[c] (-log p[c])
 *     dloss/dx[c] = p[c] ((1 - s) w[y] + s / C W) - [c = y] (1 - s) w[y] - s / C w[c]
 */
static row_result weighted_row(const cross_entropy *k, const float *x, int64_t P,
                               int64_t label, float *d)
{
    const int64_t C = k->task->classes;
    const float *w = k->task->class_weights;
    const double smoothing = (double)k->task->label_smoothing;
    const double even = smoothing / (double)C;
    const double own = (1 - smoothing) * (double)w[label];
    const float max = largest(x, C, P);
    row_result r = rank_result(label_rank(x, C, P, label));
    double plain = 0;
    for (int64_t c = 0; c < C; c++)
        plain += (double)w[c] * ((double)x[c * P] - (double)max);
    const double x_own = (double)x[label * P] - (double)max;
    const double sum = exponentials(x, C, P, max, d), log_sum = log(sum);
    r.loss = own * (log_sum - x_own) + even * (k->weights * log_sum - plain);
    const double total = own + even * k->weights;
    for (int64_t c = 0; d && c < C; c++) {
        const double p = (c == label ? exp(x_own) : (double)d[c * P]) / sum;
        d[c * P] = (float)((p * total - (c == label ? own : 0) - even * (double)w[c]) *
                           k->per_row);
    }
    return r;
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
        return (row_result){0};
    }
    if (k->task->class_weights)
        return weighted_row(k, k->logits + at, P, k->labels[row], d);
    return P == 1 ? contiguous_row(k, k->logits + at, k->labels[row], d)
                  : contiguous_or_not(k, k->logits + at, P, k->labels[row], d);
}

amg_loss_result amg_cross_entropy(const amg_cross_entropy_task *task,
                                  const float *logits, const int32_t *labels,
                                  float *dlogits)
{
    const int64_t rows = task->samples * task->positions;
    const float *w = task->class_weights;
    int64_t counted = 0;
    double over = 0, weights = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (!is_counted(task, labels[i])) continue;
        counted++;
        over += w ? (double)w[labels[i]] : 1;
    }
    for (int64_t c = 0; w && c < task->classes; c++) weights += (double)w[c];
    const cross_entropy k = {.task = task,
                             .logits = logits,
                             .labels = labels,
                             .dlogits = dlogits,
                             .stride = task->classes_last ? 1 : task->positions,
                             .per_row = over > 0 ? 1.0 / over : 0,
                             .weights = weights};
    const int64_t grain = 4096 / task->classes + 1;
    amg_loss_result r = sum_rows(&(row_loss){cross_entropy_row, &k, rows, grain});
    r.loss *= k.per_row;
    r.counted = counted;
    return r;
}

/* ---- element by element ---- */

typedef struct {
    const float *x, *target;
    float *dx; /* NULL: none wanted */
    int64_t count;
    double delta;
    double per_element; /* 1 / elements of the batch */
} elements;

/* One element's loss and, in *slope, its derivative by x. */
typedef double (*element_fn)(double x, double target, double delta, double *slope);

AMG_INLINE double squared(double x, double target, double delta, double *slope)
{
    const double error = x - target;
    (void)delta;
    *slope = 2 * error;
    return error * error;
}

static double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

AMG_INLINE double absolute(double x, double target, double delta, double *slope)
{
    (void)delta;
    *slope = sign_of(x - target);
    return fabs(x - target);
}

AMG_INLINE double huber(double x, double target, double delta, double *slope)
{
    const double error = x - target, size = fabs(error);
    const bool near = size < delta;
    *slope = near ? error : delta * sign_of(error);
    return near ? 0.5 * error * error : delta * (size - 0.5 * delta);
}

AMG_INLINE double smooth_l1(double x, double target, double delta, double *slope)
{
    const double error = x - target, size = fabs(error);
    const bool near = size < delta;
    *slope = near ? error / delta : sign_of(error);
    return near ? 0.5 * error * error / delta : size - 0.5 * delta;
}

/* Neither e^x nor e^-x may overflow. */
AMG_INLINE double binary(double x, double target, double delta, double *slope)
{
    const double e = exp(-fabs(x));
    (void)delta;
    *slope = (x >= 0 ? 1 : e) / (1 + e) - target;
    return (x > 0 ? x : 0) - x * target + log1p(e);
}

AMG_INLINE row_result element_row(const elements *k, int64_t row, element_fn element)
{
    const float *x = k->x + row * k->count, *target = k->target + row * k->count;
    float *dx = k->dx ? k->dx + row * k->count : NULL;
    row_result r = {0};
    for (int64_t i = 0; i < k->count; i++) {
        double slope;
        r.loss += element((double)x[i], (double)target[i], k->delta, &slope);
        if (dx) dx[i] = (float)(slope * k->per_element);
    }
    return r;
}

#define ELEMENT_ROW(element)                                                           \
    static row_result element##_row(const void *self, int64_t row)                     \
    {                                                                                  \
        return element_row(self, row, element);                                        \
    }
ELEMENT_ROW(squared)
ELEMENT_ROW(absolute)
ELEMENT_ROW(huber)
ELEMENT_ROW(smooth_l1)
#undef ELEMENT_ROW

/* Each element is a decision of its own: a logit above 0 for a target of one half on.
 */
static row_result binary_row(const void *self, int64_t row)
{
    const elements *k = self;
    const float *x = k->x + row * k->count, *target = k->target + row * k->count;
    int64_t hits = 0;
    for (int64_t i = 0; i < k->count; i++) hits += (x[i] > 0) == (target[i] >= 0.5f);
    row_result r = element_row(k, row, binary); /* may replace x */
    r.top1 = r.top5 = hits;
    return r;
}

amg_loss_result amg_element_loss(amg_loss_kind kind, float delta, const float *x,
                                 const float *target, int64_t samples, int64_t count,
                                 float *dx)
{
    static row_result (*const rows[AMG_NUM_LOSSES])(const void *, int64_t) = {
        [AMG_LOSS_MSE] = squared_row,
        [AMG_LOSS_L1] = absolute_row,
        [AMG_LOSS_HUBER] = huber_row,
        [AMG_LOSS_SMOOTH_L1] = smooth_l1_row,
        [AMG_LOSS_BCE] = binary_row};
    const elements k = {.x = x,
                        .target = target,
                        .dx = dx,
                        .count = count,
                        .delta = (double)delta,
                        .per_element = 1.0 / ((double)samples * (double)count)};
    amg_loss_result r = sum_rows(&(row_loss){rows[kind], &k, samples, 1});
    r.loss *= k.per_element;
    r.counted = samples * count;
    return r;
}
