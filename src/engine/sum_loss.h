/* AMG_LOSS_SUM: the losses of an output's parts, each times its weight. Part of the
 * criterion. */
#ifndef AMG_ENGINE_SUM_LOSS_H
#define AMG_ENGINE_SUM_LOSS_H

#include "engine/criterion.h"

/* As amg_criterion_loss, of an objective that is such a sum. out[0]: the sum; out[1 +
 * i]: part i, not weighted. AMG_INVALID: a label is no whole number below its part's
 * classes, or a target of BCE not within 0 to 1. */
AMG_MUST_CHECK amg_status amg_sum_loss(const amg_criterion *c, const amg_batch *batch,
                                       int64_t samples, const float *output,
                                       float label_smoothing, float *scratch,
                                       float *doutput, amg_loss_result *out,
                                       amg_error *err);

#endif
