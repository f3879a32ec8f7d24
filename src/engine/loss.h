/* The losses: softmax cross entropy with label smoothing, class weights and the counts
 * behind accuracy; those that compare element by element, as the mean squared error;
 * value and gradient of one batch. */
#ifndef AMG_ENGINE_LOSS_H
#define AMG_ENGINE_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/manifest.h"

/* Result over one batch. loss is the mean as PyTorch's reduction="mean" gives it. */
typedef struct {
    double loss;
    int64_t top1, top5; /* positions whose label is among the 1 / 5 largest logits; of
                           BCE, elements on the target's side of one half (both); 0
                           where nothing is classified */
    int64_t counted;    /* positions or elements that the mean is over */
} amg_loss_result;

typedef struct {
    int64_t samples, classes, positions; /* positions: the product of the dims behind
                                            the classes, 1 for one class a sample */
    bool classes_last; /* logits [samples, positions, classes], as language models give
                          them; else [samples, classes, positions] */
    float label_smoothing;
    const float *class_weights; /* [classes], 0 or more; NULL: all 1 */
    bool has_ignore; /* labels equal to ignore count for nothing and get no gradient */
    int32_t ignore;
} amg_cross_entropy_task;

/* As CrossEntropyLoss(weight, label_smoothing, ignore_index). labels [samples,
 * positions] in [0, classes) or ignored (checked by whoever made them). The loss is the
 * mean over the positions counted, each as much as its label's weight; 0 if nothing
 * counts. dlogits (the logits' shape) may be NULL: then no gradient; or logits itself:
 * the gradient replaces them. Deterministic for any number of threads: positions are
 * independent, the sum runs in their order. */
amg_loss_result amg_cross_entropy(const amg_cross_entropy_task *task,
                                  const float *logits, const int32_t *labels,
                                  float *dlogits);

/* As MSELoss(), L1Loss(), HuberLoss(delta), SmoothL1Loss(beta=delta) and
 * BCEWithLogitsLoss(): x and target f32[samples, count], the mean over all elements;
 * targets of BCE lie in 0 to 1 (checked by whoever made them). dx (the same shape) may
 * be NULL, or x itself. Deterministic for any number of threads, as above. */
amg_loss_result amg_element_loss(amg_loss_kind kind, float delta, const float *x,
                                 const float *target, int64_t samples, int64_t count,
                                 float *dx);

#endif
