/* Speed of the scatter kernel against copying the bytes it writes, both on all cores
 * over ranges of samples. Takes the shape, prints one JSON line. Rounds alternate
 * between the two and the ratio is the median of the rounds' ratios, so that a
 * neighbour on the machine disturbs both alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "obfuscate/augment_data.h"

enum { MAX_ROUNDS = 99 };

typedef struct {
    amg_obf_plan plan;
    uint8_t *streams[AMG_MAX_DECOYS + 1]; /* [num][num_values] each */
    uint8_t *source, *out;                /* [num][num_positions] */
    int64_t num;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void copy_range(void *context, int64_t begin, int64_t end)
{
    const bench *b = context;
    const size_t row = (size_t)b->plan.num_positions;
    memcpy(b->out + (size_t)begin * row, b->source + (size_t)begin * row,
           (size_t)(end - begin) * row);
}

static void scatter_range(void *context, int64_t begin, int64_t end)
{
    const bench *b = context;
    const void *streams[AMG_MAX_DECOYS + 1];
    for (int s = 0; s < b->plan.num_subnets; s++)
        streams[s] = b->streams[s] + (size_t)begin * (size_t)b->plan.num_values;
    amg_scatter(&b->plan, streams, end - begin, 1,
                b->out + (size_t)begin * (size_t)b->plan.num_positions);
}

static double seconds_of(amg_range_fn fn, bench *b)
{
    const double start = now();
    amg_parallel_for(b->num, 64, fn, b);
    return now() - start;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* The secret is of this run alone: which permutation it is does not matter. */
static amg_status make_plan(bench *b, const int64_t dims[3], int num_decoys,
                            amg_error *err)
{
    const amg_plan_shape shape = {.num_decoys = num_decoys,
                                  .dims = {dims[0], dims[1], dims[2]},
                                  .dtype = AMG_U8,
                                  .num_classes = 10,
                                  .cover_classes = 10};
    amg_secret *secret = NULL;
    amg_status st = amg_secret_new(&secret, err);
    if (st == AMG_OK) st = amg_obf_plan_derive(secret, &shape, &b->plan, err);
    amg_secret_free(secret);
    return st;
}

static uint8_t *filled(size_t size)
{
    uint8_t *p = amg_alloc_aligned(size);
    for (size_t i = 0; p && i < size; i++) p[i] = (uint8_t)(i * 31 + i / 4099);
    return p;
}

static bool make_data(bench *b)
{
    const size_t in = (size_t)(b->num * b->plan.num_values);
    bool ok = true;
    for (int s = 0; s < b->plan.num_subnets; s++)
        ok &= (b->streams[s] = filled(in)) != NULL;
    b->source = filled(in * (size_t)b->plan.num_subnets);
    b->out = filled(in * (size_t)b->plan.num_subnets);
    return ok && b->source && b->out;
}

static void measure(bench *b, const int64_t dims[3], int rounds)
{
    double copy[MAX_ROUNDS], scatter[MAX_ROUNDS], ratio[MAX_ROUNDS];
    seconds_of(scatter_range, b); /* threads started, pages there */
    for (int i = 0; i < rounds; i++) {
        copy[i] = seconds_of(copy_range, b);
        scatter[i] = seconds_of(scatter_range, b);
        ratio[i] = copy[i] / scatter[i];
    }
    const double bytes = (double)b->num * (double)b->plan.num_positions;
    const double copy_s = median(copy, rounds), scatter_s = median(scatter, rounds);
    printf("{\"shape\": \"%dx%dx%d\", \"k\": %d, \"samples\": %lld, \"threads\": %d, "
           "\"rounds\": %d, \"memcpy_gb_s\": %.2f, \"scatter_gb_s\": %.2f, "
           "\"ratio\": %.3f, \"ratio_of_best\": %.3f, \"images_s\": %.0f}\n",
           (int)dims[0], (int)dims[1], (int)dims[2], b->plan.num_subnets - 1,
           (long long)b->num, amg_threads(), rounds, bytes / copy_s * 1e-9,
           bytes / scatter_s * 1e-9, median(ratio, rounds), copy[0] / scatter[0],
           (double)b->num / scatter_s);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: bench_augment C H W DECOYS SAMPLES ROUNDS THREADS\n");
        return 2;
    }
    const int64_t dims[3] = {atoll(argv[1]), atoll(argv[2]), atoll(argv[3])};
    const int rounds = atoi(argv[6]);
    bench b = {.num = atoll(argv[5])};
    amg_error err = {0};
    if (rounds < 1 || rounds > MAX_ROUNDS || b.num < 1) {
        fprintf(stderr, "bench_augment: 1 to %d rounds, 1 or more samples\n",
                MAX_ROUNDS);
        return 2;
    }
    amg_set_threads(atoi(argv[7]));
    if (make_plan(&b, dims, atoi(argv[4]), &err) != AMG_OK || !make_data(&b)) {
        fprintf(stderr, "bench_augment: %s: %s\n", err.where, err.what);
        return 1;
    }
    measure(&b, dims, rounds);
    return 0; /* the process ends: its memory with it */
}
