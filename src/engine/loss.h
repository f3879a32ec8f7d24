/* The losses: softmax cross entropy with label smoothing and the counts behind
 * accuracy, and the mean squared error; value and gradient of one batch. */
#ifndef AMG_ENGINE_LOSS_H
#define AMG_ENGINE_LOSS_H

#include <stdint.h>

/* Result over one batch. loss is the mean as PyTorch's reduction="mean" gives it. */
typedef struct {
    double loss;
    int64_t top1, top5; /* positions whose label is among the 1 / 5 largest logits; 0
                           where nothing is classified */
} amg_loss_result;

/* As CrossEntropyLoss(label_smoothing). logits f32[samples, classes, positions], labels
 * [samples, positions] in [0, classes) (checked by the loader); positions is the
 * product of the dims behind the classes, 1 for one class a sample. The loss is the
 * mean over samples and positions. dlogits (the logits' shape) may be NULL: then no
 * gradient. Deterministic for any number of threads: positions are independent, the sum
 * runs in their order. */
amg_loss_result amg_cross_entropy(const float *logits, const int32_t *labels,
                                  int64_t samples, int64_t classes, int64_t positions,
                                  float label_smoothing, float *dlogits);

/* As MSELoss(): x and target f32[samples, count], the mean over all elements; dx (the
 * same shape) may be NULL. Deterministic for any number of threads, as above. */
amg_loss_result amg_mse(const float *x, const float *target, int64_t samples,
                        int64_t count, float *dx);

#endif
