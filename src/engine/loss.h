/* Softmax cross entropy with label smoothing, its gradient, and the counts behind
 * accuracy. */
#ifndef AMG_ENGINE_LOSS_H
#define AMG_ENGINE_LOSS_H

#include <stdint.h>

/* Result over one batch. loss is the mean as PyTorch's
 * CrossEntropyLoss(reduction="mean") gives it. */
typedef struct {
    double loss;
    int64_t top1, top5; /* rows whose label is among the 1 / 5 largest logits */
} amg_loss_result;

/* logits f32[rows, classes], labels in [0, classes) (checked by the loader). dlogits
 * (same shape) may be NULL: then no gradient. Deterministic for any number of threads:
 * rows are independent, the sum runs in row order. */
amg_loss_result amg_cross_entropy(const float *logits, const int32_t *labels,
                                  int64_t rows, int64_t classes, float label_smoothing,
                                  float *dlogits);

#endif
