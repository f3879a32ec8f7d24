/* Identity of a training run: fills and compares the fields of identity.h. */
#include "engine/identity.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "graph/onnx_graph.h"

/* Samples of a source that its hash looks at. */
#define PROBES 16

static int64_t real_bits(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* SHA-256 of what was mixed in so far and a buffer; hex, as base/file gives it. */
typedef struct {
    char hex[65];
    amg_status status; /* what failed first; mixing goes on without effect */
    amg_error *err;
} digest;

static void mix(digest *d, const void *data, size_t size_bytes)
{
    char both[128];
    memcpy(both, d->hex, 64);
    if (!d->status) d->status = amg_sha256_hex(data, size_bytes, d->hex, d->err);
    memcpy(both + 64, d->hex, 64);
    if (!d->status) d->status = amg_sha256_hex(both, sizeof both, d->hex, d->err);
}

static amg_status digest_bits(const digest *d, int64_t *out)
{
    char head[17] = {0};
    memcpy(head, d->hex, 16);
    *out = (int64_t)strtoull(head, NULL, 16);
    return d->status;
}

static amg_status hash_model(const amg_graph *g, int64_t *out, amg_error *err)
{
    uint8_t *packed;
    size_t size_bytes;
    digest d = {.err = err};
    amg_status status =
        amg_graph_pack_onnx(g, AMG_PACK_BARE, &packed, &size_bytes, err);
    if (status) return status;
    mix(&d, packed, size_bytes);
    amg_free(packed);
    return digest_bits(&d, out);
}

static amg_status hash_weights(const amg_train_task *task, int64_t *out, amg_error *err)
{
    digest d = {.err = err};
    for (int h = 0; h < task->num_params_sets; h++)
        for (int i = 0; i < task->params[h].count; i++) {
            const amg_tensor *t = &task->params[h].items[i].tensor;
            mix(&d, t->data, t->size_bytes);
        }
    return digest_bits(&d, out);
}

/* Of an output [batch, classes, ...]. */
static int64_t count_classes(const amg_graph *g, int h)
{
    return g->values[g->outputs[h]].dims[1];
}

static amg_status hash_objectives(const amg_train_task *task, int64_t *out,
                                  amg_error *err)
{
    digest d = {.err = err};
    for (int h = 0; h < task->num_params_sets; h++) {
        const amg_objective *o = &task->objectives[h];
        const int64_t fields[] = {o->loss, o->target ? -1 : o->column, o->has_ignore,
                                  o->has_ignore ? o->ignore : 0};
        mix(&d, fields, sizeof fields);
        if (o->target) mix(&d, o->target, strlen(o->target));
        if (amg_loss_has_delta(o->loss)) mix(&d, &o->delta, sizeof o->delta);
        mix(&d, o->parts, (size_t)o->num_parts * sizeof *o->parts);
        if (o->class_weights)
            mix(&d, o->class_weights,
                sizeof(float) * (size_t)count_classes(task->graph, h));
    }
    return digest_bits(&d, out);
}

static amg_status hash_frozen(const amg_train_task *task, int64_t *out, amg_error *err)
{
    digest d = {.err = err};
    for (int i = 0; i < task->num_frozen; i++)
        mix(&d, task->frozen[i], strlen(task->frozen[i]));
    return digest_bits(&d, out);
}

static amg_status hash_source(const amg_source *s, int64_t *out, amg_error *err)
{
    digest d = {.err = err};
    amg_status status = AMG_OK;
    const int64_t shape[] = {s->dtype, s->rank, s->num_columns, s->target_dtype,
                             s->target_rank};
    const size_t target_bytes =
        (size_t)s->num_columns * (size_t)s->target_count * sizeof(int32_t);
    uint8_t *x = amg_malloc(s->sample_bytes);
    uint8_t *targets = amg_malloc(target_bytes ? target_bytes : 1);
    if (!x || !targets) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, "data", "one sample");
        goto done;
    }
    mix(&d, shape, sizeof shape);
    mix(&d, s->dims, (size_t)s->rank * sizeof *s->dims);
    mix(&d, s->target_dims, (size_t)s->target_rank * sizeof *s->target_dims);
    const int64_t probes = s->num_samples < PROBES ? s->num_samples : PROBES;
    for (int64_t i = 0; i < probes && !status; i++) {
        const int64_t row = s->num_samples / probes * i;
        status = s->read(s, row, x, targets, err);
        if (status) break;
        mix(&d, x, s->sample_bytes);
        mix(&d, targets, target_bytes);
    }
    if (!status) status = digest_bits(&d, out);
done:
    amg_free(x);
    amg_free(targets);
    return status;
}

static void fill_options(const amg_train_options *o, amg_identity *id)
{
    const amg_optimizer_options *p = &o->optimizer;
    int64_t *f = id->field;
    f[AMG_ID_THREADS] = amg_threads();
    f[AMG_ID_PRECISION] = o->bf16;
    f[AMG_ID_SEED] = (int64_t)o->seed;
    f[AMG_ID_BATCH] = o->batch;
    f[AMG_ID_ACCUMULATE] = o->accumulate;
    f[AMG_ID_EPOCHS] = o->epochs;
    f[AMG_ID_EMA] = real_bits(o->ema);
    f[AMG_ID_BEST] = o->best;
    f[AMG_ID_EARLY_STOP] = o->early_stop;
    f[AMG_ID_LABEL_SMOOTHING] = real_bits((double)o->label_smoothing);
    f[AMG_ID_AUGMENT] = o->augment;
    f[AMG_ID_OPTIMIZER] = p->kind;
    f[AMG_ID_LR] = real_bits(p->lr);
    f[AMG_ID_MOMENTUM] = real_bits(p->momentum);
    f[AMG_ID_WEIGHT_DECAY] = real_bits(p->weight_decay);
    f[AMG_ID_NESTEROV] = p->nesterov;
    f[AMG_ID_BETA1] = real_bits(p->beta1);
    f[AMG_ID_BETA2] = real_bits(p->beta2);
    f[AMG_ID_EPSILON] = real_bits(p->epsilon);
    f[AMG_ID_ALPHA] = real_bits(p->alpha);
    f[AMG_ID_CENTERED] = p->centered;
    f[AMG_ID_LR_DECAY] = real_bits(p->lr_decay);
    f[AMG_ID_INITIAL_ACCUMULATOR] = real_bits(p->initial_accumulator);
    f[AMG_ID_CLIP_NORM] = real_bits(p->clip_norm);
    f[AMG_ID_SCHEDULE] = p->schedule;
    f[AMG_ID_WARMUP_STEPS] = p->warmup_steps;
    f[AMG_ID_STEP_EPOCHS] = p->step_epochs;
    f[AMG_ID_STEP_GAMMA] = real_bits(p->step_gamma);
    f[AMG_ID_PLATEAU_PATIENCE] = p->plateau_patience;
    f[AMG_ID_PLATEAU_FACTOR] = real_bits(p->plateau_factor);
}

amg_status amg_identity_of(const amg_train_task *task, const amg_train_options *options,
                           amg_identity *out, amg_error *err)
{
    amg_identity id = {{0}};
    int64_t *f = id.field;
    fill_options(options, &id);
    f[AMG_ID_TRAIN_SAMPLES] = task->train->num_samples;
    amg_status status = hash_weights(task, &f[AMG_ID_WEIGHTS], err);
    if (!status) status = hash_objectives(task, &f[AMG_ID_OBJECTIVES], err);
    if (!status) status = hash_model(task->graph, &f[AMG_ID_MODEL], err);
    if (!status && task->num_frozen) status = hash_frozen(task, &f[AMG_ID_FROZEN], err);
    if (!status) status = hash_source(task->train, &f[AMG_ID_TRAIN_DATA], err);
    if (!status && task->val) {
        f[AMG_ID_VAL_SAMPLES] = task->val->num_samples;
        status = hash_source(task->val, &f[AMG_ID_VAL_DATA], err);
    }
    if (!status) *out = id;
    return status;
}

typedef enum { INT, REAL, HASH } field_kind;

static const struct {
    field_kind kind;
    const char *text;
} fields[AMG_ID_COUNT] = {
#define FIELD_ROW(name, kind, text) {kind, text},
    AMG_IDENTITY_LIST(FIELD_ROW)
#undef FIELD_ROW
};

static double bits_real(int64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

amg_status amg_identity_check(const amg_identity *saved, const amg_identity *now,
                              const char *where, amg_error *err)
{
    int i = 0;
    while (i < AMG_ID_COUNT && saved->field[i] == now->field[i]) i++;
    if (i == AMG_ID_COUNT) return AMG_OK;

    const int64_t a = saved->field[i], b = now->field[i];
    const char *text = fields[i].text;
    switch (fields[i].kind) {
    case INT:
        (void)amg_fail(err, AMG_MISMATCH, -1, where,
                       "%s: the checkpoint has %lld, this run %lld", text, (long long)a,
                       (long long)b);
        break;
    case REAL:
        (void)amg_fail(err, AMG_MISMATCH, -1, where,
                       "%s: the checkpoint has %g, this run %g", text, bits_real(a),
                       bits_real(b));
        break;
    case HASH:
        (void)amg_fail(err, AMG_MISMATCH, -1, where,
                       "%s: not the same as the checkpoint's", text);
        break;
    }
    amg_hint(err, "resume with what the run began with, or start afresh without "
                  "resuming");
    return AMG_MISMATCH;
}
