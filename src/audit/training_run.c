/* Measures the training of every sub-network (training_run.h): losses by the trainer's
 * own log or a short run of it, the rest from weights before and after. Consumes an
 * open job; must not know which head is the original's. */
#include "audit/training_run.h"

#include <math.h>
#include <string.h>

#include "audit/curves.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "formats/safetensors.h"

enum { STEPS = 50, BATCH = 64, PROBE_BATCH = 256 };

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "training", "no memory for weights");
}

/* ---- sets of weights, one a head ---- */

static void free_sets(amg_params *sets, int num_heads)
{
    for (int h = 0; sets && h < num_heads; h++) amg_params_clear(&sets[h]);
    amg_free(sets);
}

static amg_status copy_sets(const amg_params *from, int num_heads, amg_params **out,
                            amg_error *err)
{
    amg_params *sets = amg_calloc((size_t)num_heads, sizeof *sets);
    amg_status st = sets ? AMG_OK : no_memory(err);
    for (int h = 0; h < num_heads && !st; h++) {
        st = amg_params_like(&from[h], &sets[h], err);
        for (int i = 0; i < sets[h].count && !st; i++) {
            const amg_tensor *t = &from[h].items[i].tensor;
            memcpy(sets[h].items[i].tensor.data, t->data, t->size_bytes);
        }
    }
    if (st)
        free_sets(sets, num_heads);
    else
        *out = sets;
    return st;
}

/* Over all trainables; b NULL: the norm of a. */
static double distance(const amg_params *a, const amg_params *b)
{
    double sum = 0;
    for (int i = 0; i < a->count; i++) {
        if (a->items[i].role != AMG_ROLE_TRAINABLE) continue;
        const float *x = a->items[i].tensor.data;
        const float *y = b ? b->items[i].tensor.data : NULL;
        const int64_t count = amg_tensor_count(&a->items[i].tensor);
        for (int64_t j = 0; j < count; j++) {
            const double d = (double)x[j] - (y ? (double)y[j] : 0);
            sum += d * d;
        }
    }
    return sqrt(sum);
}

/* Mean difference of neighbours in maps [count][height][width], relative to the mean
 * size of their values. */
static double roughness(const float *maps, int64_t count, int64_t height, int64_t width)
{
    double differences = 0, size = 0;
    const int64_t pairs = height * (width - 1) + (height - 1) * width;
    for (int64_t i = 0; i < count * height * width; i++) {
        const int64_t row = i / width % height, column = i % width;
        size += fabs((double)maps[i]);
        if (column > 0) differences += fabs((double)maps[i] - (double)maps[i - 1]);
        if (row > 0) differences += fabs((double)maps[i] - (double)maps[i - width]);
    }
    return differences / (double)pairs / (size / (double)(height * width));
}

/* Of the first layer that looks at an image: a convolution, or a row of weights for
 * each unit. NaN: there is none. */
static double filter_roughness(const amg_evidence *e, int head, const amg_params *set)
{
    const amg_stream *s = &e->streams[head];
    for (int i = 0; i < set->count && e->is_image; i++) {
        const amg_tensor *t = &set->items[i].tensor;
        if (set->items[i].role != AMG_ROLE_TRAINABLE) continue;
        if (t->rank == 4 && t->dims[2] * t->dims[3] > 1)
            return roughness(t->data, t->dims[0] * t->dims[1], t->dims[2], t->dims[3]);
        if (t->rank == 2 && t->dims[1] == s->num_values)
            return roughness(t->data, t->dims[0] * s->dims[0], s->dims[1], s->dims[2]);
    }
    return NAN;
}

/* ---- the trainer ---- */

/* The trainer's reports under the attack's name, without its epochs. */
static bool relay(void *context, const amg_progress_event *event)
{
    const amg_progress *progress = context;
    const amg_progress_event own = {.stage = "training",
                                    .done = event->done,
                                    .total = event->total,
                                    .loss = NAN,
                                    .accuracy = NAN};
    return progress->report(progress->context, &own);
}

/* So many steps from sets on, in place. */
static amg_status train(const amg_attack_task *task, int64_t steps, int64_t batch,
                        const amg_optimizer_options *optimizer, amg_params *sets,
                        amg_train_result *result, amg_error *err)
{
    const amg_job *job = &task->evidence->job;
    const int64_t rows = job->train.num_samples;
    const int64_t size = batch < rows ? batch : rows;
    const amg_train_options options = {.batch = size,
                                       .epochs = steps / (rows / size) + 1,
                                       .max_steps = steps,
                                       .seed = task->seed,
                                       .threads = amg_threads(),
                                       .optimizer = *optimizer};
    const amg_train_task run = {.graph = job->graph,
                                .objectives = job->objectives,
                                .train = &job->train,
                                .num_params_sets = job->graph->num_outputs,
                                .params = sets,
                                .frozen = job->manifest.frozen,
                                .num_frozen = job->manifest.num_frozen};
    amg_progress upper = task->progress ? *task->progress : (amg_progress){0};
    const amg_progress progress = {upper.report ? relay : NULL, &upper};
    return amg_train(&run, &options, &progress, result, err);
}

/* Gradients at these weights: one step of plain descent with the rate 1 moves them by
 * just that. Loss and accuracy are those before it. */
static amg_status probe(const amg_attack_task *task, const amg_params *sets,
                        double *gradient, amg_train_result *result, amg_error *err)
{
    const int num_heads = task->evidence->num_streams;
    const amg_optimizer_options descent = {.kind = AMG_OPT_SGD, .lr = 1};
    amg_params *moved = NULL;
    amg_status st = copy_sets(sets, num_heads, &moved, err);
    if (!st) st = train(task, 1, PROBE_BATCH, &descent, moved, result, err);
    for (int h = 0; h < num_heads && !st; h++)
        gradient[h] = distance(&sets[h], &moved[h]);
    free_sets(moved, num_heads);
    return st;
}

static amg_status train_shortly(const amg_attack_task *task, amg_params *sets,
                                amg_training *out, amg_error *err)
{
    const amg_optimizer_options adam = {.kind = AMG_OPT_ADAM, .lr = 1e-3};
    amg_train_result result;
    out->steps = task->options->train_steps > 0 ? task->options->train_steps : STEPS;
    const amg_status st = train(task, out->steps, BATCH, &adam, sets, &result, err);
    for (int h = 0; h < task->evidence->num_streams && !st; h++)
        out->of[AMG_MEASURE_EARLY_LOSS][h] = result.heads[h].train_loss;
    return st;
}

/* ---- what a training has left ---- */

static amg_status read_weights(const amg_job *job, const char *path, amg_params *sets,
                               amg_error *err)
{
    amg_safetensors *file = NULL;
    amg_status st = amg_safetensors_open(path, &file, err);
    for (int h = 0; h < job->graph->num_outputs && !st; h++)
        for (int i = 0; i < sets[h].count && !st; i++) {
            amg_tensor *to = &sets[h].items[i].tensor;
            const amg_tensor *from;
            st = amg_safetensors_get(file, sets[h].items[i].name, AMG_F32, to->rank,
                                     to->dims, &from, err);
            if (!st && amg_tensor_find_not_finite(from) >= 0)
                st = amg_fail(err, AMG_NOT_FINITE, -1, path,
                              "\"%s\" holds NaN or infinity", sets[h].items[i].name);
            if (!st) memcpy(to->data, from->data, from->size_bytes);
        }
    amg_safetensors_close(file);
    return st;
}

/* A job trained elsewhere may come without its log. */
static amg_status read_losses(const amg_attack_task *task, amg_training *out,
                              amg_error *err)
{
    const int num_heads = task->evidence->num_streams;
    amg_curves curves = {0};
    const amg_status st = amg_curves_read(task->options->job, num_heads, &curves, err);
    if (st == AMG_NOT_FOUND) return AMG_OK;
    if (st) return st;
    const amg_curve *epochs = &curves.kinds[AMG_CURVE_EPOCHS];
    const amg_curve *steps = &curves.kinds[AMG_CURVE_STEPS];
    const amg_curve *val = &curves.kinds[AMG_CURVE_VALIDATION];
    const amg_curve *first = steps->count ? steps : epochs;
    const amg_curve *last = epochs->count ? epochs : steps;
    for (int h = 0; h < num_heads; h++) {
        if (first->count) out->of[AMG_MEASURE_EARLY_LOSS][h] = first->loss[h];
        if (last->count)
            out->of[AMG_MEASURE_END_LOSS][h] =
                last->loss[(last->count - 1) * num_heads + h];
        if (val->count)
            out->of[AMG_MEASURE_VAL_LOSS][h] =
                val->loss[(val->count - 1) * num_heads + h];
    }
    amg_curves_clear(&curves);
    return AMG_OK;
}

/* ---- the whole ---- */

static amg_status measure_ends(const amg_attack_task *task, const amg_params *trained,
                               amg_training *out, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const amg_params *initial = e->job.params;
    amg_train_result result;
    amg_status st =
        probe(task, initial, out->of[AMG_MEASURE_FIRST_GRADIENT], &result, err);
    if (!st)
        st = probe(task, trained, out->of[AMG_MEASURE_LAST_GRADIENT], &result, err);
    for (int h = 0; h < e->num_streams && !st; h++) {
        out->of[AMG_MEASURE_ACCURACY][h] = result.heads[h].train_accuracy;
        if (isnan(out->of[AMG_MEASURE_END_LOSS][h]))
            out->of[AMG_MEASURE_END_LOSS][h] = result.heads[h].train_loss;
        out->of[AMG_MEASURE_DISTANCE][h] =
            distance(&trained[h], &initial[h]) / distance(&initial[h], NULL);
        out->of[AMG_MEASURE_ROUGHNESS][h] = filter_roughness(e, h, &trained[h]);
    }
    return st;
}

amg_status amg_training_run(const amg_attack_task *task, amg_training *out,
                            amg_error *err)
{
    const amg_job *job = &task->evidence->job;
    const int num_heads = task->evidence->num_streams;
    amg_training run = {0};
    amg_params *sets = NULL;
    for (int m = 0; m < AMG_NUM_MEASURES; m++)
        for (int h = 0; h < AMG_MAX_HEADS; h++) run.of[m][h] = NAN;
    char *path = amg_path_join(task->options->job, "out/weights.safetensors");
    amg_status st = path ? AMG_OK : no_memory(err);
    if (!st) st = copy_sets(job->params, num_heads, &sets, err);
    if (!st) {
        run.was_trained = amg_path_exists(path);
        st = run.was_trained ? read_weights(job, path, sets, err)
                             : train_shortly(task, sets, &run, err);
    }
    if (!st && run.was_trained) st = read_losses(task, &run, err);
    if (!st) st = measure_ends(task, sets, &run, err);
    if (!st) *out = run;
    free_sets(sets, num_heads);
    amg_free(path);
    return st;
}
