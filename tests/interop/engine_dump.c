/* Test program: what the engine computes, for comparison with PyTorch and onnxruntime.
 *
 *     engine_dump [options] MODEL.onnx IN.safetensors OUT.safetensors
 *
 *   IN    x            [steps, batch, sample...], in the model's input dtype
 *         labels       i32[steps, batch], of a language model i32[steps, batch,
 *                      positions], of class maps i32[steps, batch, height, width]; for
 *                      a squared error f32[steps, output]; with --loss TERMS, of a
 *                      model of several outputs, f32[steps, batch, targets]; absent:
 *                      evaluation only
 *   OUT   eval.NAME    f32 in the shape of every output NAME, evaluation mode, batch 0
 *         and with labels, of the first output, whose last dim is the classes (of
 *         class maps [batch, classes, height, width]):
 *         logits       f32 in its shape, training mode, batch 0
 *         grad.NAME    of every trainable, batch 0
 *         losses       f64[steps], one optimizer step after each
 *         after.NAME   every trainable and buffer after the last step
 *         eval_after   as eval: batch 0 with those
 *         decide.NAME  of every further output, each step in training mode:
 *                      u8[steps, batch, values], (value > 0) + (value >= 6);
 *                      where NAME ends in .pool the values themselves, f32
 *
 * Uses the engine through its public headers only. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "engine/loss.h"
#include "engine/optimizer.h"
#include "engine/plan.h"
#include "engine/sum_loss.h"
#include "formats/safetensors.h"
#include "graph/merged_outputs.h"
#include "graph/onnx_graph.h"

/* The tensors of OUT; names and data are owned. */
typedef struct {
    amg_arena arena;
    amg_st_entry *entries;
    size_t count, capacity;
} dump;

typedef struct {
    amg_optimizer_options optimizer;
    double label_smoothing;
    bool no_winograd, bf16;
    const char *loss; /* of several outputs, which are read as one; NULL: one */
} settings;

/* One run: the planned graph and the batches. */
typedef struct {
    const amg_graph *g;
    const amg_tensor *x, *labels;
    const settings *s;
    int64_t steps, batch;
    amg_criterion sum; /* with settings.loss */
} task;

/* A plan with its own workspace and parameters. */
typedef struct {
    amg_plan *plan;
    void *workspace;
} bound_plan;

/* ---- output ---- */

/* Adds PREFIX NAME, zeroed; *out is valid until the dump is cleared. */
static amg_status dump_new(dump *d, const char *prefix, const char *name,
                           amg_dtype dtype, int rank, const int64_t *dims,
                           amg_tensor **out, amg_error *err)
{
    if (d->count == d->capacity)
        return amg_fail(err, AMG_OVERFLOW, -1, name, "more than %zu tensors",
                        d->capacity);
    const size_t size = strlen(prefix) + strlen(name) + 1;
    char *full = amg_arena_alloc(&d->arena, size);
    if (!full) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for a name");
    snprintf(full, size, "%s%s", prefix, name);
    amg_st_entry *e = &d->entries[d->count];
    amg_status st = amg_tensor_new(dtype, rank, dims, &e->tensor, err);
    if (st) return st;
    e->name = full;
    d->count++;
    *out = &e->tensor;
    return AMG_OK;
}

static amg_status dump_f32(dump *d, const char *prefix, const char *name, int rank,
                           const int64_t *dims, const float *data, amg_error *err)
{
    amg_tensor *t;
    amg_status st = dump_new(d, prefix, name, AMG_F32, rank, dims, &t, err);
    if (!st) memcpy(t->data, data, t->size_bytes);
    return st;
}

/* Every tensor of set, only trainables if trainables. */
static amg_status dump_params(dump *d, const char *prefix, const amg_params *set,
                              bool trainables, amg_error *err)
{
    for (int i = 0; i < set->count; i++) {
        const amg_param *p = &set->items[i];
        if (trainables && p->role != AMG_ROLE_TRAINABLE) continue;
        amg_status st = dump_f32(d, prefix, p->name, p->tensor.rank, p->tensor.dims,
                                 p->tensor.data, err);
        if (st) return st;
    }
    return AMG_OK;
}

static void dump_clear(dump *d)
{
    for (size_t i = 0; i < d->count; i++) amg_tensor_clear(&d->entries[i].tensor);
    amg_free(d->entries);
    amg_arena_clear(&d->arena);
}

/* ---- running ---- */

static amg_status bind(const task *t, int output, bool training,
                       const amg_params *params, bound_plan *b, amg_error *err)
{
    const amg_plan_options o = {.training = training,
                                .bf16 = training && t->s->bf16,
                                .no_winograd = t->s->no_winograd,
                                .num_states =
                                    amg_optimizer_num_states(&t->s->optimizer)};
    amg_status st = amg_plan_new(t->g, output, &o, &b->plan, err);
    if (st) return st;
    b->workspace = amg_alloc_aligned(amg_plan_workspace_bytes(b->plan));
    if (!b->workspace)
        return amg_fail(err, AMG_NO_MEMORY, -1, "plan", "no memory for the workspace");
    amg_plan_bind(b->plan, b->workspace);
    return amg_plan_load(b->plan, params, err);
}

static void unbind(bound_plan *b)
{
    amg_plan_free(b->plan);
    amg_free_aligned(b->workspace);
}

static amg_status forward(const task *t, const bound_plan *b, int64_t step,
                          const float **logits, amg_error *err)
{
    const size_t bytes = amg_plan_input_bytes(b->plan);
    memcpy(amg_plan_input(b->plan), (const char *)t->x->data + (size_t)step * bytes,
           bytes);
    int64_t count;
    return amg_plan_forward(b->plan, step, logits, &count, err);
}

static const amg_value *output_value(const task *t, int output)
{
    return &t->g->values[t->g->outputs[output]];
}

static amg_status evaluate(const task *t, int output, const amg_params *params,
                           const char *prefix, const char *name, dump *d,
                           amg_error *err)
{
    bound_plan b = {0};
    const float *logits;
    const amg_value *out = output_value(t, output);
    amg_status st = bind(t, output, false, params, &b, err);
    if (!st) st = forward(t, &b, 0, &logits, err);
    if (!st) st = dump_f32(d, prefix, name, out->rank, out->dims, logits, err);
    unbind(&b);
    return st;
}

static amg_status evaluate_all(const task *t, dump *d, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < t->g->num_outputs && !st; i++) {
        amg_params params = {0};
        st = amg_params_new(t->g, i, &params, err);
        if (!st)
            st = evaluate(t, i, &params, "eval.", output_value(t, i)->name, d, err);
        amg_params_clear(&params);
    }
    return st;
}

/* The gradients that the last backward left in the plan. */
static amg_status dump_grads(const bound_plan *b, const amg_params *params, dump *d,
                             amg_error *err)
{
    amg_params grads = {0};
    amg_status st = amg_params_like(params, &grads, err);
    if (!st) st = amg_plan_store_grad(b->plan, &grads, err);
    if (!st) st = dump_params(d, "grad.", &grads, true, err);
    amg_params_clear(&grads);
    return st;
}

static bool is_pool(const char *name)
{
    const size_t size = strlen(name), suffix = strlen(".pool");
    return size >= suffix && strcmp(name + size - suffix, ".pool") == 0;
}

/* What output decides on every batch, with the parameters that this batch trained. */
static amg_status dump_decisions(const task *t, int output, const amg_params *before,
                                 dump *d, amg_error *err)
{
    const amg_value *out = output_value(t, output);
    const int64_t dims[3] = {t->steps, t->batch, out->dims[1]};
    const size_t count = (size_t)(dims[1] * dims[2]);
    bound_plan b = {0};
    amg_params own = {0};
    amg_tensor *decided = NULL;
    amg_status st = amg_params_new(t->g, output, &own, err);
    if (!st) st = bind(t, output, true, &own, &b, err);
    const bool pool = is_pool(out->name);
    if (!st)
        st = dump_new(d, "decide.", out->name, pool ? AMG_F32 : AMG_U8, 3, dims,
                      &decided, err);
    for (int64_t step = 0; step < t->steps && !st; step++) {
        const float *values;
        for (int i = 0; i < own.count; i++) {
            const int from = amg_params_find(&before[step], own.items[i].name);
            memcpy(own.items[i].tensor.data, before[step].items[from].tensor.data,
                   own.items[i].tensor.size_bytes);
        }
        st = amg_plan_load(b.plan, &own, err);
        if (!st) st = forward(t, &b, step, &values, err);
        if (st) break;
        if (pool) {
            memcpy((float *)decided->data + (size_t)step * count, values,
                   count * sizeof *values);
            continue;
        }
        uint8_t *to = (uint8_t *)decided->data + (size_t)step * count;
        for (size_t i = 0; i < count; i++)
            to[i] = (uint8_t)((values[i] > 0) + (values[i] >= 6));
    }
    amg_params_clear(&own);
    unbind(&b);
    return st;
}

/* Whether out [batch, classes, height, width] has a class for each pixel. */
static bool is_map(const amg_value *out) { return out->rank == 4; }

/* The same, of several outputs. */
static amg_status compare_sum(const task *t, int64_t step, const float *logits,
                              float *dlogits, double *loss, amg_error *err)
{
    const size_t row = (size_t)t->sum.targets * sizeof(float);
    amg_batch batch = {.target_bytes = row, .targets = t->labels->data};
    batch.targets += (size_t)(step * t->batch) * row;
    amg_loss_result found[AMG_MAX_LOSSES];
    float *scratch = amg_malloc((size_t)(t->batch * (t->sum.count + t->sum.targets)) *
                                sizeof *scratch);
    if (!scratch)
        return amg_fail(err, AMG_NO_MEMORY, -1, "labels", "no memory for targets");
    const amg_status st = amg_sum_loss(&t->sum, &batch, t->batch, logits, 0, scratch,
                                       dlogits, found, err);
    amg_free(scratch);
    *loss = found[0].loss;
    return st;
}

/* The loss of one batch and its gradient. */
static amg_status compare(const task *t, int64_t step, const float *logits,
                          float *dlogits, double *loss, amg_error *err)
{
    const amg_value *out = output_value(t, 0);
    const int64_t num_labels = amg_tensor_count(t->labels) / t->steps;
    if (t->labels->dtype == AMG_F32) {
        const float *target = (const float *)t->labels->data + step * num_labels;
        *loss = amg_element_loss(AMG_LOSS_MSE, 1, logits, target, t->batch,
                                 num_labels / t->batch, dlogits)
                    .loss;
        return AMG_OK;
    }
    const int64_t classes = out->dims[is_map(out) ? 1 : out->rank - 1];
    const int64_t samples = is_map(out) ? t->batch : num_labels;
    const int32_t *labels = (const int32_t *)t->labels->data + step * num_labels;
    for (int64_t i = 0; i < num_labels; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return amg_fail(err, AMG_INVALID, -1, "labels", "label %d of %lld classes",
                            labels[i], (long long)classes);
    const amg_cross_entropy_task ce = {.samples = samples,
                                       .classes = classes,
                                       .positions = num_labels / samples,
                                       .label_smoothing = (float)t->s->label_smoothing};
    *loss = amg_cross_entropy(&ce, logits, labels, dlogits).loss;
    return AMG_OK;
}

static amg_status train_step(const task *t, const bound_plan *b, int64_t step,
                             const amg_params *params, float *dlogits, double *loss,
                             dump *d, amg_error *err)
{
    const float *logits;
    const amg_value *out = output_value(t, 0);
    amg_status st = forward(t, b, step, &logits, err);
    if (!st && step == 0)
        st = dump_f32(d, "", "logits", out->rank, out->dims, logits, err);
    if (!st)
        st = (t->s->loss ? compare_sum : compare)(t, step, logits, dlogits, loss, err);
    if (!st) st = amg_plan_backward(b->plan, dlogits, err);
    if (!st && step == 0) st = dump_grads(b, params, d, err);
    if (!st)
        amg_optimizer_step(&t->s->optimizer, t->s->optimizer.lr, step, -1, b->plan);
    return st;
}

static amg_status train(const task *t, dump *d, amg_error *err)
{
    bound_plan b = {0};
    amg_params params = {0};
    amg_params *before = amg_calloc((size_t)t->steps, sizeof *before);
    amg_tensor dlogits = {0}, *losses;
    const amg_value *out = output_value(t, 0);
    amg_status st =
        before ? amg_params_new(t->g, 0, &params, err)
               : amg_fail(err, AMG_NO_MEMORY, -1, "params", "no memory for a list");
    if (!st) st = bind(t, 0, true, &params, &b, err);
    if (!st) st = amg_tensor_new(AMG_F32, out->rank, out->dims, &dlogits, err);
    if (!st) st = dump_new(d, "", "losses", AMG_F64, 1, &t->steps, &losses, err);
    for (int64_t step = 0; step < t->steps && !st; step++) {
        if (t->g->num_outputs > 1) {
            st = amg_params_like(&params, &before[step], err);
            if (!st) st = amg_plan_store(b.plan, &before[step], err);
        }
        if (!st)
            st = train_step(t, &b, step, &params, dlogits.data,
                            (double *)losses->data + step, d, err);
    }
    if (!st) st = amg_plan_store(b.plan, &params, err);
    if (!st) st = dump_params(d, "after.", &params, false, err);
    if (!st) st = evaluate(t, 0, &params, "", "eval_after", d, err);
    for (int i = 1; i < t->g->num_outputs && !st; i++)
        st = dump_decisions(t, i, before, d, err);
    for (int64_t i = 0; before && i < t->steps; i++) amg_params_clear(&before[i]);
    amg_free(before);
    amg_tensor_clear(&dlogits);
    amg_params_clear(&params);
    unbind(&b);
    return st;
}

/* ---- input ---- */

static bool labels_fit(const amg_value *out, const amg_tensor *x, const amg_tensor *y)
{
    const bool numbers = y->dtype == AMG_F32;
    const int skipped = numbers || is_map(out) ? 0 : 1; /* classes last: not in y */
    if (!numbers && y->dtype != AMG_I32) return false;
    if (y->rank != out->rank + numbers) return false;
    for (int i = 0; i < y->rank; i++) {
        const int dim = numbers ? i - 1 : i - skipped;
        if (y->dims[i] != (i < 2 ? x->dims[i] : out->dims[dim])) return false;
    }
    return true;
}

static amg_status check_x(const amg_graph *g, const amg_tensor *x, amg_error *err)
{
    const amg_value *in = &g->values[g->inputs[0]];
    bool fits = x->dtype == in->dtype && x->rank == in->rank + 1 && x->dims[0] > 0 &&
                x->dims[1] > 0;
    for (int i = 1; fits && i < in->rank; i++) fits = x->dims[i + 1] == in->dims[i];
    if (!fits) {
        char a[AMG_SHAPE_TEXT], b[AMG_SHAPE_TEXT];
        return amg_fail(err, AMG_MISMATCH, -1, "x",
                        "is %s, expected [steps, batch] of the model's %s",
                        amg_shape_text(x->dtype, x->rank, x->dims, a),
                        amg_shape_text(in->dtype, in->rank, in->dims, b));
    }
    return AMG_OK;
}

/* t->g: planned, as some exports' outputs have a shape only then. */
static amg_status check_labels(const task *t, amg_error *err)
{
    const amg_tensor *y = t->labels;
    if (t->s->loss && y && y->dtype == AMG_F32 && y->rank == 3 &&
        y->dims[0] == t->steps && y->dims[1] == t->batch &&
        y->dims[2] == t->sum.targets)
        return AMG_OK;
    if (!t->labels || labels_fit(output_value(t, 0), t->x, t->labels)) return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, "labels",
                    "expected i32[steps, batch] as x has them, then the output's "
                    "positions, or f32[steps] and the output");
}

static amg_status read_model(const settings *s, const char *path, amg_graph **out,
                             amg_error *err)
{
    return s->loss ? amg_graph_read_model(path, out, err)
                   : amg_graph_read_onnx(path, out, err);
}

/* What each of several outputs is compared with. */
static amg_status find_sum(const settings *s, const amg_graph *g, amg_criterion *sum,
                           amg_error *err)
{
    amg_graph *planned = NULL;
    amg_objective *o = &sum->objective;
    if (!s->loss) return AMG_OK;
    sum->name = s->loss;
    amg_status st = amg_graph_plan_batch(g, AMG_DIM_BATCH, &planned, err);
    if (!st)
        st = amg_merged_outputs_parts(planned, s->loss, o->parts, &o->num_parts, err);
    if (!st)
        st = amg_loss_parts_measure(o->parts, o->num_parts, &sum->count, &sum->targets,
                                    err);
    amg_graph_free(planned);
    return st;
}

static amg_status run(const settings *s, char **paths, amg_error *err)
{
    amg_graph *own = NULL, *planned = NULL;
    amg_safetensors *in = NULL;
    dump d = {0};
    task t = {.s = s};
    amg_status st = read_model(s, paths[0], &own, err);
    if (!st) st = find_sum(s, own, &t.sum, err);
    if (!st) st = amg_safetensors_open(paths[1], &in, err);
    if (st) goto done;
    t.x = amg_safetensors_find(in, "x");
    t.labels = amg_safetensors_find(in, "labels");
    st = t.x ? check_x(own, t.x, err)
             : amg_fail(err, AMG_NOT_FOUND, -1, paths[1], "no tensor x");
    if (st) goto done;
    t.steps = t.x->dims[0];
    t.batch = t.x->dims[1];
    st = amg_graph_plan_batch(own, t.batch, &planned, err);
    if (st) goto done;
    t.g = planned;
    st = check_labels(&t, err);
    if (st) goto done;
    /* per parameter a gradient and a value, per output two, and four more */
    d.capacity = 2 * (size_t)planned->num_values + 2 * (size_t)planned->num_outputs + 4;
    d.entries = amg_calloc(d.capacity, sizeof *d.entries);
    if (!d.entries) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "output", "no memory for a list");
        goto done;
    }
    st = evaluate_all(&t, &d, err);
    if (!st && t.labels) st = train(&t, &d, err);
    if (!st) st = amg_safetensors_write(paths[2], d.entries, d.count, err);
done:
    dump_clear(&d);
    amg_graph_free(planned);
    amg_safetensors_close(in);
    amg_graph_free(own);
    return st;
}

int main(int argc, char **argv)
{
    static const struct option table[] = {
        {"lr", required_argument, NULL, 'l'},
        {"momentum", required_argument, NULL, 'm'},
        {"weight-decay", required_argument, NULL, 'w'},
        {"label-smoothing", required_argument, NULL, 's'},
        {"adamw", no_argument, NULL, 'a'},
        {"no-winograd", no_argument, NULL, 'd'},
        {"bf16", no_argument, NULL, 'b'},
        {"loss", required_argument, NULL, 'o'},
        {0}};
    settings s = {.optimizer = {.lr = 0.01}};
    int c;
    while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (c) {
        case 'l': s.optimizer.lr = atof(optarg); break;
        case 'm': s.optimizer.momentum = atof(optarg); break;
        case 'w': s.optimizer.weight_decay = atof(optarg); break;
        case 's': s.label_smoothing = atof(optarg); break;
        case 'a': s.optimizer.kind = AMG_OPT_ADAMW; break;
        case 'd': s.no_winograd = true; break;
        case 'b': s.bf16 = true; break;
        case 'o': s.loss = optarg; break;
        default: return 2;
        }
    }
    if (argc - optind != 3) {
        fprintf(stderr, "usage: engine_dump [options] MODEL IN OUT\n");
        return 2;
    }
    amg_error err = {0};
    amg_set_threads(0);
    amg_status st = amg_optimizer_check(&s.optimizer, &err);
    if (!st) st = run(&s, argv + optind, &err);
    if (!st) return 0;
    fprintf(stderr, "engine_dump: %s: %s\n", err.where, err.what);
    return 1;
}
