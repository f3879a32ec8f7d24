/* What makes a training run the same run: a checkpoint may only be continued where all
 * of this is equal, because else the bits would not be. */
#ifndef AMG_ENGINE_IDENTITY_H
#define AMG_ENGINE_IDENTITY_H

#include "engine/trainer.h"

/* X(name, kind, what a message calls it); kinds: INT, REAL (a double's bits), HASH
 * (the first 8 bytes of a SHA-256). Their order is the checkpoint's. */
#define AMG_IDENTITY_LIST(X)                                                           \
    X(MODEL, HASH, "the model")                                                        \
    X(WEIGHTS, HASH, "the initial weights")                                            \
    X(OBJECTIVES, HASH, "what the sub-networks are trained for")                       \
    X(FROZEN, HASH, "what is frozen")                                                  \
    X(TRAIN_SAMPLES, INT, "the number of training samples")                            \
    X(TRAIN_DATA, HASH, "the training data")                                           \
    X(VAL_SAMPLES, INT, "the number of validation samples")                            \
    X(VAL_DATA, HASH, "the validation data")                                           \
    X(THREADS, INT, "the number of threads")                                           \
    X(PRECISION, INT, "the precision")                                                 \
    X(SEED, INT, "the seed")                                                           \
    X(BATCH, INT, "the batch size")                                                    \
    X(ACCUMULATE, INT, "the number of parts of a batch")                               \
    X(EPOCHS, INT, "the number of epochs")                                             \
    X(EMA, REAL, "the average's decay")                                                \
    X(BEST, INT, "keeping the best weights")                                           \
    X(EARLY_STOP, INT, "the epochs before stopping early")                             \
    X(LABEL_SMOOTHING, REAL, "label smoothing")                                        \
    X(AUGMENT, INT, "augmentation")                                                    \
    X(OPTIMIZER, INT, "the optimizer")                                                 \
    X(LR, REAL, "the learning rate")                                                   \
    X(MOMENTUM, REAL, "momentum")                                                      \
    X(WEIGHT_DECAY, REAL, "weight decay")                                              \
    X(NESTEROV, INT, "Nesterov momentum")                                              \
    X(BETA1, REAL, "beta1")                                                            \
    X(BETA2, REAL, "beta2")                                                            \
    X(EPSILON, REAL, "epsilon")                                                        \
    X(ALPHA, REAL, "alpha")                                                            \
    X(CENTERED, INT, "centered RMSprop")                                               \
    X(LR_DECAY, REAL, "the rate's decay")                                              \
    X(INITIAL_ACCUMULATOR, REAL, "the initial accumulator")                            \
    X(CLIP_NORM, REAL, "the clip norm")                                                \
    X(SCHEDULE, INT, "the schedule")                                                   \
    X(WARMUP_STEPS, INT, "the number of warm-up steps")                                \
    X(STEP_EPOCHS, INT, "the schedule's step")                                         \
    X(STEP_GAMMA, REAL, "the schedule's factor")                                       \
    X(PLATEAU_PATIENCE, INT, "a plateau's patience")                                   \
    X(PLATEAU_FACTOR, REAL, "a plateau's factor")

#define AMG_IDENTITY_ENUM(name, kind, text) AMG_ID_##name,
typedef enum { AMG_IDENTITY_LIST(AMG_IDENTITY_ENUM) AMG_ID_COUNT } amg_identity_field;
#undef AMG_IDENTITY_ENUM

typedef struct {
    int64_t field[AMG_ID_COUNT];
} amg_identity;

/* Of a task with resolved options, on amg_threads() threads. The data are told apart by
 * shape, number and a few samples spread over them. */
AMG_MUST_CHECK amg_status amg_identity_of(const amg_train_task *task,
                                          const amg_train_options *options,
                                          amg_identity *out, amg_error *err);

/* AMG_MISMATCH that says what differs first and how. */
AMG_MUST_CHECK amg_status amg_identity_check(const amg_identity *saved,
                                             const amg_identity *now, const char *where,
                                             amg_error *err);

#endif
