/* Softmax cross entropy: loss, gradient and top-1/top-5 counts of one batch.
 *
 * Each row is computed on its own, in double, with the row's maximum subtracted first;
 * the rows' losses are then added in row order. So the result does not depend on how
 * rows were split over threads. The order of classes does matter to rounding: the
 * trainer fixes it (engine/class_order.h). */
#include "engine/loss.h"

#include <math.h>
#include <stddef.h>

#include "base/parallel.h"

/* Rows whose results are kept on the stack between the parallel part and the sum. */
#define CHUNK_ROWS 512

typedef struct {
    const float *logits; /* [rows, classes], from the chunk's first row on */
    const int32_t *labels;
    float *dlogits; /* NULL: none wanted */
    int64_t classes;
    double smoothing, per_row; /* label smoothing; 1 / rows of the whole batch */
    double loss[CHUNK_ROWS];
    int64_t rank[CHUNK_ROWS]; /* how many classes stand before the label */
} chunk;

/* Classes with a larger logit, or an equal one and a smaller index (as argmax takes the
 * first). Where a NaN is involved the label comes second. */
static int64_t label_rank(const float *x, int64_t classes, int32_t label)
{
    int64_t rank = 0;
    for (int64_t c = 0; c < classes; c++)
        rank += !(x[c] < x[label] || (x[c] == x[label] && c >= label));
    return rank;
}

/* With p = softmax(x) and the smoothed target t = (1 - s) onehot + s / C:
 *     loss = -sum_c t[c] log p[c],   dloss/dx[c] = p[c] - t[c]. */
static void row_loss(chunk *k, int64_t row)
{
    const int64_t C = k->classes;
    const float *x = k->logits + row * C;
    const int32_t label = k->labels[row];
    double max = x[0], sum = 0, plain = 0;
    for (int64_t c = 1; c < C; c++)
        if (x[c] > max) max = x[c];
    for (int64_t c = 0; c < C; c++) {
        sum += exp(x[c] - max);
        plain += x[c] - max;
    }
    const double log_sum = log(sum), even = k->smoothing / (double)C;
    k->loss[row] = (1 - k->smoothing) * (log_sum - (x[label] - max)) +
                   even * ((double)C * log_sum - plain);
    k->rank[row] = label_rank(x, C, label);
    if (!k->dlogits) return;
    float *d = k->dlogits + row * C;
    for (int64_t c = 0; c < C; c++) {
        const double target = even + (c == label ? 1 - k->smoothing : 0);
        d[c] = (float)((exp(x[c] - max - log_sum) - target) * k->per_row);
    }
}

static void chunk_rows(void *context, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++) row_loss(context, row);
}

amg_loss_result amg_cross_entropy(const float *logits, const int32_t *labels,
                                  int64_t rows, int64_t classes, float label_smoothing,
                                  float *dlogits)
{
    amg_loss_result r = {0};
    chunk k = {.classes = classes,
               .smoothing = (double)label_smoothing,
               .per_row = 1.0 / (double)rows};
    for (int64_t first = 0; first < rows; first += CHUNK_ROWS) {
        const int64_t left = rows - first, n = left < CHUNK_ROWS ? left : CHUNK_ROWS;
        k.logits = logits + first * classes;
        k.labels = labels + first;
        k.dlogits = dlogits ? dlogits + first * classes : NULL;
        amg_parallel_for(n, 16, chunk_rows, &k);
        for (int64_t i = 0; i < n; i++) {
            r.loss += k.loss[i];
            r.top1 += k.rank[i] < 1;
            r.top5 += k.rank[i] < 5;
        }
    }
    r.loss *= k.per_row;
    return r;
}
