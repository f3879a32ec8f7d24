/* What each sub-network does in training, for the training attack: read from JOB/out/
 * where the job was trained, else found by a short training in memory. A private header
 * of training. */
#ifndef AMG_AUDIT_TRAINING_RUN_H
#define AMG_AUDIT_TRAINING_RUN_H

#include "audit/attack.h"

/* X(name, for people) */
#define AMG_MEASURE_LIST(X)                                                            \
    X(EARLY_LOSS, "early loss")                                                        \
    X(END_LOSS, "loss at the end")                                                     \
    X(VAL_LOSS, "validation loss")                                                     \
    X(ACCURACY, "accuracy at the end")                                                 \
    X(FIRST_GRADIENT, "gradient norm at the beginning")                                \
    X(LAST_GRADIENT, "gradient norm at the end")                                       \
    X(DISTANCE, "distance of the weights from their initial values")                   \
    X(ROUGHNESS, "roughness of the first layer's filters")

#define AMG_MEASURE_ENUM(name, text) AMG_MEASURE_##name,
typedef enum { AMG_MEASURE_LIST(AMG_MEASURE_ENUM) AMG_NUM_MEASURES } amg_measure;
#undef AMG_MEASURE_ENUM

typedef struct {
    bool was_trained;                           /* by JOB/out/ */
    int64_t steps;                              /* of the short training, else 0 */
    double of[AMG_NUM_MEASURES][AMG_MAX_HEADS]; /* NaN: not measured */
} amg_training;

/* AMG_NOT_FINITE: the short training diverged. Otherwise the trainer's errors, and
 * those of the files in JOB/out/, which come from the cloud. */
AMG_MUST_CHECK amg_status amg_training_run(const amg_attack_task *task,
                                           amg_training *out, amg_error *err);

#endif
