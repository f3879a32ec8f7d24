/* Time of a training step of an ONNX graph: every output's sub-network forward, cross
 * entropy, backward and update, on data made up here. Takes a plain model or a job's,
 * prints one JSON line with the median step, FLOPs and peak memory.
 *
 * Images get SGD with momentum. A graph that takes whole numbers is a language model
 * with logits [batch, positions, vocabulary]: it gets random tokens and AdamW, clipped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "engine/loss.h"
#include "engine/optimizer.h"
#include "graph/onnx_graph.h"

enum { MAX_HEADS = 16, MAX_STEPS = 1000 };

typedef struct {
    int num_heads;
    int64_t batch;
    amg_plan *plans[MAX_HEADS];
    amg_cross_entropy_task tasks[MAX_HEADS];
    int32_t *labels[MAX_HEADS];
    bool text;
    void *x; /* one batch, in the input's dtype */
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Plans every head; all share one workspace, as the trainer's do. */
static amg_status make_plans(bench *b, const amg_graph *g,
                             const amg_plan_options *options, amg_error *err)
{
    size_t largest = 0;
    if (g->num_outputs > MAX_HEADS)
        return amg_fail(err, AMG_INVALID, -1, "model", "found %d outputs, at most %d",
                        g->num_outputs, MAX_HEADS);
    for (b->num_heads = 0; b->num_heads < g->num_outputs; b->num_heads++) {
        const int h = b->num_heads;
        amg_params params = {0};
        amg_status st = amg_plan_new(g, h, options, &b->plans[h], err);
        if (st == AMG_OK) st = amg_params_new(g, h, &params, err);
        if (st == AMG_OK) st = amg_plan_load(b->plans[h], &params, err);
        amg_params_clear(&params);
        if (st != AMG_OK) return st;
        if (amg_plan_workspace_bytes(b->plans[h]) > largest)
            largest = amg_plan_workspace_bytes(b->plans[h]);
    }
    void *workspace = amg_alloc_aligned(largest);
    if (!workspace) return amg_fail(err, AMG_NO_MEMORY, -1, "model", "no workspace");
    for (int h = 0; h < b->num_heads; h++) amg_plan_bind(b->plans[h], workspace);
    return AMG_OK;
}

/* Random pixels, bytes or floats in [0, 1), or tokens below limit. */
static void fill_input(bench *b, amg_dtype dtype, size_t size, int64_t limit,
                       amg_rng *rng)
{
    const size_t count = size / amg_dtype_size(dtype);
    for (size_t i = 0; i < count; i++) switch (dtype) {
        case AMG_F32: ((float *)b->x)[i] = amg_rng_uniform(rng); break;
        case AMG_I32: ((int32_t *)b->x)[i] = (int32_t)(amg_rng_u32(rng) % limit); break;
        case AMG_I64: ((int64_t *)b->x)[i] = (int64_t)(amg_rng_u32(rng) % limit); break;
        default: ((uint8_t *)b->x)[i] = (uint8_t)amg_rng_u32(rng);
        }
}

/* The input, and what every output is compared with: random labels. */
static amg_status make_data(bench *b, const amg_graph *g, amg_error *err)
{
    const amg_dtype dtype = g->values[g->inputs[0]].dtype;
    const amg_value *first = &g->values[g->outputs[0]];
    const size_t size = amg_plan_input_bytes(b->plans[0]);
    amg_rng rng = amg_rng_init(1, 0);
    b->text = dtype == AMG_I32 || dtype == AMG_I64;
    b->x = amg_alloc_aligned(size);
    if (!b->x) return amg_fail(err, AMG_NO_MEMORY, -1, "data", "no memory");
    fill_input(b, dtype, size, first->dims[first->rank - 1], &rng);
    for (int h = 0; h < b->num_heads; h++) {
        const amg_value *y = &g->values[g->outputs[h]];
        amg_cross_entropy_task *t = &b->tasks[h];
        *t = (amg_cross_entropy_task){
            .samples = b->batch, .classes = y->dims[y->rank - 1], .classes_last = true};
        t->positions = y->rank == 3 ? y->dims[1] : 1;
        const int64_t count = b->batch * t->positions;
        b->labels[h] = amg_calloc((size_t)count, sizeof(int32_t));
        if (!b->labels[h]) return amg_fail(err, AMG_NO_MEMORY, -1, "data", "no memory");
        for (int64_t i = 0; i < count; i++)
            b->labels[h][i] = (int32_t)(amg_rng_u32(&rng) % t->classes);
    }
    return AMG_OK;
}

static amg_status step(bench *b, int64_t t, double *loss, amg_error *err)
{
    static const amg_optimizer_options sgd = {.kind = AMG_OPT_SGD,
                                              .lr = 0.01,
                                              .momentum = 0.9,
                                              .weight_decay = 5e-4},
                                       adamw = {.kind = AMG_OPT_ADAMW,
                                                .lr = 1e-4,
                                                .weight_decay = 0.01,
                                                .clip_norm = 1};
    const amg_optimizer_options *update = b->text ? &adamw : &sgd;
    for (int h = 0; h < b->num_heads; h++) {
        amg_plan *plan = b->plans[h];
        const float *logits;
        int64_t count;
        memcpy(amg_plan_input(plan), b->x, amg_plan_input_bytes(plan));
        amg_status st = amg_plan_forward(plan, t, &logits, &count, err);
        if (st != AMG_OK) return st;
        float *dlogits = amg_plan_doutput(plan);
        *loss = amg_cross_entropy(&b->tasks[h], logits, b->labels[h], dlogits).loss;
        st = amg_plan_backward(plan, dlogits, err);
        if (st != AMG_OK) return st;
        amg_optimizer_step(update, update->lr, t, -1, plan);
    }
    return AMG_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static amg_status measure(bench *b, const amg_graph *g, int warm_up, int steps,
                          amg_error *err)
{
    double ms[MAX_STEPS], loss = 0;
    for (int t = 0; t < warm_up + steps; t++) {
        const double start = now();
        amg_status st = step(b, t, &loss, err);
        if (st != AMG_OK) return st;
        if (t >= warm_up) ms[t - warm_up] = 1e3 * (now() - start);
    }
    qsort(ms, (size_t)steps, sizeof *ms, by_value);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"heads\": %d, \"batch\": %lld, \"threads\": %d, \"ms\": %.2f, "
           "\"best_ms\": %.2f, \"flops\": %.6g, \"rss_mb\": %.1f, \"loss\": %.6f}\n",
           b->num_heads, (long long)b->batch, amg_threads(),
           (ms[(steps - 1) / 2] + ms[steps / 2]) / 2, ms[0], amg_graph_flops(g),
           (double)usage.ru_maxrss / 1024, loss);
    return AMG_OK;
}

int main(int argc, char **argv)
{
    const char *variant = argc == 7 ? argv[6] : "f32";
    const amg_plan_options options = {.training = true,
                                      .num_states = 2,
                                      .no_winograd = !strcmp(variant, "no-winograd"),
                                      .bf16 = !strcmp(variant, "bf16")};
    if (argc < 6 || argc > 7 ||
        (strcmp(variant, "f32") && !options.no_winograd && !options.bf16)) {
        fprintf(stderr, "usage: bench_step MODEL.onnx BATCH WARM-UP STEPS THREADS "
                        "[f32 | no-winograd | bf16]\n");
        return 2;
    }
    const int warm_up = atoi(argv[3]), steps = atoi(argv[4]);
    bench b = {.batch = atoll(argv[2])};
    amg_graph *model = NULL, *g = NULL;
    amg_error err = {0};
    if (b.batch < 1 || warm_up < 0 || steps < 1 || steps > MAX_STEPS) {
        fprintf(stderr, "bench_step: 1 to %d steps\n", MAX_STEPS);
        return 2;
    }
    amg_set_threads(atoi(argv[5]));
    amg_status st = amg_graph_read_onnx(argv[1], &model, &err);
    if (st == AMG_OK) st = amg_graph_plan_batch(model, b.batch, &g, &err);
    if (st == AMG_OK) st = make_plans(&b, g, &options, &err);
    if (st == AMG_OK) st = make_data(&b, g, &err);
    if (st == AMG_OK) st = measure(&b, g, warm_up, steps, &err);
    if (st == AMG_OK) return 0; /* the process ends: its memory with it */
    fprintf(stderr, "bench_step: %s: %s\n", err.where, err.what);
    return 1;
}
