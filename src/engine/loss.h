/* The losses: softmax cross entropy with label smoothing and the counts behind
 * accuracy, and the mean squared error; value and gradient of one batch. */
#ifndef AMG_ENGINE_LOSS_H
#define AMG_ENGINE_LOSS_H

#include <stdbool.h>
#include <stdint.h>

/* Result over one batch. loss is the mean as PyTorch's reduction="mean" gives it. */
typedef struct {
    double loss;
    int64_t top1, top5; /* positions whose label is among the 1 / 5 largest logits; 0
                           where nothing is classified */
    int64_t counted;    /* positions or elements that the mean is over */
} amg_loss_result;

typedef struct {
    int64_t samples, classes, positions; /* positions: the product of the dims behind
                                            the classes, 1 for one class a sample */
    bool classes_last; /* logits [samples, positions, classes], as language models give
                          them; else [samples, classes, positions] */
    float label_smoothing;
    bool has_ignore; /* labels equal to ignore count for nothing and get no gradient */
    int32_t ignore;
} amg_cross_entropy_task;

/* As CrossEntropyLoss(label_smoothing, ignore_index). labels [samples, positions] in
 * [0, classes) or ignored (checked by whoever made them). The loss is the mean over the
 * positions counted, 0 if there are none. dlogits (the logits' shape) may be NULL: then
 * no gradient; or logits itself: the gradient replaces them. Deterministic for any
 * number of threads: positions are independent, the sum runs in their order. */
amg_loss_result amg_cross_entropy(const amg_cross_entropy_task *task,
                                  const float *logits, const int32_t *labels,
                                  float *dlogits);

/* As MSELoss(): x and target f32[samples, count], the mean over all elements; dx (the
 * same shape) may be NULL. Deterministic for any number of threads, as above. */
amg_loss_result amg_mse(const float *x, const float *target, int64_t samples,
                        int64_t count, float *dx);

#endif
