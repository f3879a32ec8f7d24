/* Initialisation laws. A tensor is cut into chunks of fixed length, each with a random
 * stream of its own, so that large tensors fill in parallel and the split over threads
 * never shows in the bits. */
#include "graph/init.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "base/parallel.h"

/* Elements per random stream: part of the bits, never to change. */
#define CHUNK 65536

typedef struct {
    amg_init_kind kind;
    float *data;
    int64_t count;
    double scale; /* bound or deviation */
    uint64_t seed;
} fill_job;

static int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

static void fill_constant(float *data, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) data[i] = value;
}

/* U(-bound, bound) on PyTorch's lattice of 24 bits with its rounding: weights from
 * here, from PyTorch and from the decoy maker must not be told apart by their last
 * bits. */
static void fill_uniform(float *data, int64_t count, float bound, amg_rng *rng)
{
    float width = bound + bound;
    for (int64_t i = 0; i < count; i++) data[i] = amg_rng_uniform(rng) * width - bound;
}

/* [0, 1), 53 bits */
static double uniform53(amg_rng *rng)
{
    return (double)(amg_rng_u64(rng) >> 11) * 0x1p-53;
}

/* N(0, std^2) by Box-Muller. amg_rng_normal throws one value of each pair away, which
 * takes about twice as long. Fewer bits would be
 * faster still, but then x^2 + y^2 of small pairs shows the lattice of u, and with it
 * whose weights these are. */
static void fill_normal(float *data, int64_t count, double std, amg_rng *rng)
{
    for (int64_t i = 0; i < count; i += 2) {
        double u = uniform53(rng) + 0x1p-54; /* never 0 */
        double angle = uniform53(rng) * (2.0 * M_PI);
        double radius = std * sqrt(-2.0 * log(u));
        data[i] = (float)(radius * cos(angle));
        if (i + 1 < count) data[i + 1] = (float)(radius * sin(angle));
    }
}

static bool is_uniform(amg_init_kind kind)
{
    return kind == AMG_INIT_UNIFORM_FAN_IN || kind == AMG_INIT_XAVIER_UNIFORM ||
           kind == AMG_INIT_UNIFORM;
}

/* chunks [begin, end) of a random law */
static void fill_chunks(void *context, int64_t begin, int64_t end)
{
    const fill_job *job = context;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        amg_rng rng = amg_rng_init(job->seed, (uint64_t)chunk);
        float *data = job->data + chunk * CHUNK;
        int64_t count = min_i64(CHUNK, job->count - chunk * CHUNK);
        if (is_uniform(job->kind))
            fill_uniform(data, count, (float)job->scale, &rng);
        else
            fill_normal(data, count, job->scale, &rng);
    }
}

/* Bound of the uniform law, deviation of the normal ones, 0 for constants. */
static double law_scale(const amg_init_law *law)
{
    switch (law->kind) {
    case AMG_INIT_ZERO:
    case AMG_INIT_ONE: return 0;
    case AMG_INIT_UNIFORM_FAN_IN: return 1 / sqrt((double)law->fan_in);
    case AMG_INIT_HE_FAN_IN: return sqrt(2 / (double)law->fan_in);
    case AMG_INIT_HE_FAN_OUT: return sqrt(2 / (double)law->fan_out);
    case AMG_INIT_NORMAL_001: return 0.01;
    case AMG_INIT_XAVIER_UNIFORM: return sqrt(6 / (double)(law->fan_in + law->fan_out));
    case AMG_INIT_UNIFORM:
    case AMG_INIT_NORMAL: return law->scale;
    }
    return 0;
}

amg_init_law amg_init_law_of(amg_init_kind kind, int rank, const int64_t *weight_dims)
{
    assert(rank >= 2);
    int64_t area = 1;
    for (int i = 2; i < rank; i++) area *= weight_dims[i];
    return (amg_init_law){.kind = kind,
                          .fan_in = weight_dims[1] * area,
                          .fan_out = weight_dims[0] * area};
}

void amg_init_fill(const amg_init_law *law, amg_tensor *t, amg_rng *rng)
{
    assert(t->dtype == AMG_F32);
    int64_t count = amg_tensor_count(t);
    if (law->kind == AMG_INIT_ZERO || law->kind == AMG_INIT_ONE) {
        fill_constant(t->data, count, law->kind == AMG_INIT_ONE ? 1.0f : 0.0f);
        return;
    }
    fill_job job = {law->kind, t->data, count, law_scale(law), amg_rng_u64(rng)};
    amg_parallel_for((count + CHUNK - 1) / CHUNK, 1, fill_chunks, &job);
}
