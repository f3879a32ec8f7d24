/* Initialisation laws: how PyTorch draws a new module's weights. The numbers come from
 * an amg_rng stream, so they are a function of (seed, stream) alone. Knows tensors and
 * random numbers, nothing of graphs: the zoo and the decoy maker share it. */
#ifndef AMG_GRAPH_INIT_H
#define AMG_GRAPH_INIT_H

#include "base/rng.h"
#include "base/tensor.h"

typedef enum {
    AMG_INIT_ZERO,
    AMG_INIT_ONE,
    AMG_INIT_UNIFORM_FAN_IN, /* U(-b, b), b = 1/sqrt(fan_in): the default of Conv2d and
                                Linear, weight and bias (kaiming_uniform_, a = sqrt 5)
                              */
    AMG_INIT_HE_FAN_IN,      /* N(0, 2/fan_in): kaiming_normal_ */
    AMG_INIT_HE_FAN_OUT,     /* N(0, 2/fan_out): kaiming_normal_(mode="fan_out") */
    AMG_INIT_NORMAL_001,     /* N(0, 0.01^2): torchvision's classifiers */
    AMG_INIT_XAVIER_UNIFORM, /* U(-b, b), b = sqrt(6/(fan_in + fan_out)):
                                xavier_uniform_ */
    AMG_INIT_UNIFORM,        /* U(-scale, scale) */
    AMG_INIT_NORMAL          /* N(0, scale^2); 1: the default of Embedding */
} amg_init_kind;

/* A law with the fans or the scale it depends on. A bias has its weight's fans. */
typedef struct {
    amg_init_kind kind;
    int64_t fan_in, fan_out;
    double scale;
} amg_init_law;

/* The law of a weight [out, in/groups, kernel...] with PyTorch's fans: fan_in = dims[1]
 * * kernel area, fan_out = dims[0] * kernel area (groups do not divide it). rank >= 2.
 */
amg_init_law amg_init_law_of(amg_init_kind kind, int rank, const int64_t *weight_dims);

/* Fills an F32 tensor. A random law takes one 64-bit number from rng, whatever the
 * tensor's size; the values do not depend on the number of threads. */
void amg_init_fill(const amg_init_law *law, amg_tensor *t, amg_rng *rng);

#endif
