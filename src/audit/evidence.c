/* Evidence: opens a job as the cloud has it, with each head's select (graph/select.h),
 * reads rows of the training split, and takes the truth from the key.
 * Knows nothing of attacks. The key gives four facts and is closed again: whose job it
 * is, which output is the original's, the mode, and the order of its values. */
#include "audit/evidence.h"

#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "graph/select.h"
#include "obfuscate/plan.h"
#include "obfuscate/samples.h"

#define DEFAULT_ROWS 10000
#define MAX_BYTES ((int64_t)1 << 30) /* of x */
#define ROWS_STREAM 0xE7             /* of the seed: which rows are read */

static amg_status no_memory(amg_error *err, const char *where)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for the evidence");
}

/* ---- selects ---- */

/* The sample behind a select, as the Reshape after it shapes it; a row of values
 * without one. */
static amg_dataset_info sample_shape(const amg_graph *g, int select, int64_t num_values)
{
    amg_dataset_info shape = {.rank = 1, .dims = {num_values}};
    const int selected = g->nodes[select].outputs[0];
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        if (n->op != AMG_OP_RESHAPE || n->inputs[0] != selected) continue;
        const amg_value *v = &g->values[n->outputs[0]];
        int64_t count = 1;
        for (int j = 1; j < v->rank; j++) count *= v->dims[j];
        if (v->rank < 2 || v->rank - 1 > AMG_MAX_SAMPLE_RANK || count != num_values)
            continue;
        shape.rank = v->rank - 1;
        memcpy(shape.dims, v->dims + 1, (size_t)shape.rank * sizeof *shape.dims);
        break;
    }
    return shape;
}

static void find_label(amg_evidence *e, int head)
{
    const amg_source *train = &e->job.train;
    const amg_objective *o = &e->job.objectives[head];
    const bool classes = train->target_dtype == AMG_I32 && train->target_count == 1;
    amg_stream *s = &e->streams[head];
    int64_t at = s->column * train->target_count;
    s->label_at = classes ? at : -1;
    for (int i = 0; i < o->num_parts && s->label_at < 0; i++) {
        const amg_loss_part *part = &o->parts[i];
        if (part->loss == AMG_LOSS_CROSS_ENTROPY && amg_loss_part_targets(part) == 1) {
            s->num_classes = part->dims[0];
            s->label_at = at;
        }
        at += amg_loss_part_targets(part);
    }
}

static amg_status open_stream(amg_evidence *e, int head, int select, amg_error *err)
{
    const amg_graph *g = e->job.graph;
    const amg_manifest *m = &e->job.manifest;
    const char *name = g->values[g->outputs[head]].name;
    amg_stream *s = &e->streams[head];
    if (select < 0) {
        amg_fail(err, AMG_MISMATCH, -1, name,
                 "no select on the way from the input to this head");
        amg_hint(err, "a job as amalgam obfuscate makes it has a Gather there; this "
                      "model was changed");
        return AMG_MISMATCH;
    }
    const amg_status st =
        amg_graph_read_select(g, select, &s->select, &s->num_values, err);
    if (st) return st;
    const amg_dataset_info shape = sample_shape(g, select, s->num_values);
    amg_samples_dims(&shape, s->dims);
    e->is_image =
        e->is_image && shape.rank == 3 && (s->dims[0] == 1 || s->dims[0] == 3);
    s->column = e->job.objectives[head].column;
    for (int i = 0; i < m->num_heads && m->task == AMG_TASK_CLASSIFICATION; i++)
        if (!strcmp(m->heads[i].output, name)) s->num_classes = m->heads[i].num_classes;
    find_label(e, head);
    return AMG_OK;
}

static amg_status open_streams(amg_evidence *e, amg_error *err)
{
    const amg_graph *g = e->job.graph;
    int *selects = amg_calloc((size_t)g->num_outputs, sizeof *selects);
    e->streams = amg_calloc((size_t)g->num_outputs, sizeof *e->streams);
    amg_status st = selects && e->streams ? amg_graph_find_selects(g, selects, err)
                                          : no_memory(err, "model.onnx");
    if (!st) e->num_streams = g->num_outputs;
    e->is_image = !e->is_tokens;
    for (int h = 0; h < g->num_outputs && !st; h++)
        st = open_stream(e, h, selects[h], err);
    amg_free(selects);
    return st;
}

/* ---- rows ---- */

static amg_status describe_samples(amg_evidence *e, const char *job, amg_error *err)
{
    const amg_source *train = &e->job.train;
    amg_dataset_info shape = {.rank = train->rank};
    if (train->dtype != AMG_U8 && train->dtype != AMG_F32 && train->dtype != AMG_I32)
        return amg_fail(err, AMG_UNSUPPORTED, -1, job,
                        "samples are %s, expected U8, F32 or I32",
                        amg_dtype_name(train->dtype));
    memcpy(shape.dims, train->dims, (size_t)shape.rank * sizeof *shape.dims);
    amg_samples_dims(&shape, e->dims);
    e->dtype = train->dtype;
    e->elem = amg_dtype_size(train->dtype);
    e->is_tokens = train->dtype == AMG_I32;
    e->num_positions = (int64_t)(train->sample_bytes / e->elem);
    e->total_rows = train->num_samples;
    return AMG_OK;
}

/* So many of total rows, all subsets alike, ascending: each row is taken with the share
 * of those still wanted among those still to come (Knuth, vol. 2, 3.4.2, algorithm S).
 */
static void choose_rows(int64_t total, int64_t wanted, uint64_t seed, int64_t *rows)
{
    amg_rng rng = amg_rng_init(seed, ROWS_STREAM);
    for (int64_t i = 0, n = 0; n < wanted; i++)
        if ((int64_t)amg_rng_below(&rng, (uint64_t)(total - i)) < wanted - n)
            rows[n++] = i;
}

/* A class among floats; -1: a stranger's number that is none. */
static int32_t label_of(const int32_t *target, int64_t classes)
{
    float number;
    memcpy(&number, target, sizeof number);
    return number >= 0 && number < (float)classes ? (int32_t)number : -1;
}

/* Of one row the label of each head; targets: of all columns. */
static void keep_labels(amg_evidence *e, int64_t row, const int32_t *targets)
{
    const bool floats = e->job.train.target_dtype == AMG_F32;
    for (int i = 0; i < e->num_streams; i++) {
        const amg_stream *s = &e->streams[i];
        const int32_t *target = &targets[s->label_at];
        e->labels[row * e->num_streams + i] =
            floats ? label_of(target, s->num_classes) : *target;
    }
}

/* Whether each head has one. */
static bool have_labels(const amg_evidence *e)
{
    for (int s = 0; s < e->num_streams; s++)
        if (e->streams[s].label_at < 0) return false;
    return true;
}

static amg_status read_rows(amg_evidence *e, const amg_evidence_options *o,
                            amg_error *err)
{
    const amg_source *train = &e->job.train;
    const bool labels = have_labels(e);
    const int64_t fitting = MAX_BYTES / (int64_t)train->sample_bytes;
    int64_t n = o->max_rows > 0 ? o->max_rows : DEFAULT_ROWS;
    if (n > fitting) n = fitting > 0 ? fitting : 1;
    if (n > e->total_rows) n = e->total_rows;
    e->rows = amg_calloc((size_t)n, sizeof *e->rows);
    e->x = amg_calloc((size_t)n, train->sample_bytes);
    if (labels)
        e->labels = amg_calloc((size_t)n, (size_t)e->num_streams * sizeof *e->labels);
    int32_t *targets = amg_calloc(
        (size_t)train->num_columns * (size_t)train->target_count + 1, sizeof *targets);
    amg_status st = AMG_OK;
    if (!e->rows || !e->x || !targets || (labels && !e->labels)) {
        st = no_memory(err, o->job);
        goto done;
    }
    e->num_rows = n;
    choose_rows(e->total_rows, n, o->seed, e->rows);
    for (int64_t i = 0; i < n && !st; i++) {
        st = train->read(train, e->rows[i], e->x + (size_t)i * train->sample_bytes,
                         targets, err);
        if (!st && labels) keep_labels(e, i, targets);
    }
done:
    amg_free(targets);
    return st;
}

/* ---- truth ---- */

static amg_status mark_own(amg_evidence *e, const amg_key_payload *payload,
                           const char *job, amg_error *err)
{
    const amg_graph *g = e->job.graph;
    int own = 0;
    while (own < g->num_outputs &&
           strcmp(g->values[g->outputs[own]].name, payload->names.output) != 0)
        own++;
    if (strcmp(e->job.sha256, payload->job_sha256) != 0 || own == g->num_outputs) {
        amg_fail(err, AMG_MISMATCH, -1, job, "is not the job of this key");
        amg_hint(err,
                 "key and job are made together by one amalgam obfuscate; job.json "
                 "must be as it was made");
        return AMG_MISMATCH;
    }
    e->is_own = amg_calloc((size_t)e->num_positions, 1);
    if (!e->is_own) return no_memory(err, job);
    const amg_stream *s = &e->streams[own];
    for (int64_t i = 0; i < s->num_values; i++) e->is_own[s->select[i]] = 1;
    e->original = own;
    e->paper_mode = payload->shape.mode == AMG_MODE_PAPER;
    e->has_truth = true;
    return AMG_OK;
}

/* The original's positions in its own order, where the job mixes values. */
static amg_status order_own(amg_evidence *e, const amg_secret *secret,
                            const amg_plan_shape *shape, const char *job,
                            amg_error *err)
{
    const amg_stream *s = &e->streams[e->original];
    amg_obf_plan plan = {0};
    if (shape->block[0] == 0) return AMG_OK;
    amg_status st = amg_obf_plan_derive(secret, shape, &plan, err);
    if (st) return st;
    e->own_order = amg_calloc((size_t)s->num_values, sizeof *e->own_order);
    if (!e->own_order)
        st = no_memory(err, job);
    else if (plan.num_values != s->num_values)
        st = amg_fail(err, AMG_MISMATCH, -1, job, "is not the job of this key");
    for (int64_t i = 0; i < s->num_values && !st; i++)
        e->own_order[i] = s->select[amg_obf_plan_place(&plan, plan.original, i)];
    memcpy(e->block, shape->block, sizeof e->block);
    e->patches = shape->patches;
    e->rotation = plan.rotation; /* taken over */
    plan.rotation = NULL;
    if (e->rotation) {
        amg_rotation_invert(e->rotation);
        e->turning = amg_calloc((size_t)(plan.num_values + 2 * e->rotation->n),
                                sizeof *e->turning);
        if (!st && !e->turning) st = no_memory(err, job);
    }
    amg_obf_plan_clear(&plan);
    return st;
}

static amg_status read_truth(amg_evidence *e, const amg_evidence_options *o,
                             amg_error *err)
{
    amg_secret *secret = NULL;
    amg_key_payload payload = {0};
    uint8_t *bytes = NULL;
    size_t size;
    bool loose; /* the programs that write with a key speak of it */
    amg_status st =
        amg_keyfile_open(o->key, o->passphrase, &secret, &bytes, &size, &loose, err);
    if (!st) st = amg_key_payload_parse(bytes, size, &payload, err);
    if (!st) st = mark_own(e, &payload, o->job, err);
    if (!st) st = order_own(e, secret, &payload.shape, o->job, err);
    if (!st) e->pre = payload.preprocess;
    amg_payload_free(bytes);
    amg_key_payload_clear(&payload);
    amg_secret_free(secret);
    return st;
}

/* ---- the whole ---- */

amg_status amg_evidence_open(const amg_evidence_options *options, amg_evidence *out,
                             amg_error *err)
{
    amg_evidence e = {.original = -1};
    amg_status st = amg_job_open(options->job, true, &e.job, err);
    if (st) return st;
    st = describe_samples(&e, options->job, err);
    if (!st) st = open_streams(&e, err);
    if (!st && options->key) st = read_truth(&e, options, err);
    if (!st) st = read_rows(&e, options, err);
    if (st)
        amg_evidence_close(&e);
    else
        *out = e;
    return st;
}

void amg_evidence_close(amg_evidence *e)
{
    if (e->is_own) sodium_memzero(e->is_own, (size_t)e->num_positions);
    amg_free(e->is_own);
    if (e->own_order)
        sodium_memzero(e->own_order, (size_t)e->streams[e->original].num_values *
                                         sizeof *e->own_order);
    amg_free(e->own_order);
    amg_rotation_free(e->rotation);
    amg_free(e->turning);
    for (int s = 0; e->streams && s < e->num_streams; s++)
        amg_free(e->streams[s].select);
    amg_free(e->streams);
    amg_free(e->rows);
    amg_free(e->x);
    amg_free(e->labels);
    amg_job_close(&e->job);
    sodium_memzero(e, sizeof *e);
}

/* Row number row of those that are not left out. */
static int64_t row_at(const amg_evidence *e, int64_t row)
{
    return row < e->skip_at ? row : row + e->skip;
}

float amg_evidence_value(const amg_evidence *e, int64_t row, int64_t position)
{
    const int64_t at = row_at(e, row) * e->num_positions + position;
    if (e->dtype == AMG_U8) return e->x[at];
    if (e->dtype == AMG_I32) return (float)((const int32_t *)e->x)[at];
    return ((const float *)e->x)[at];
}

void amg_evidence_sample(const amg_evidence *e, int stream, int64_t row, float *out)
{
    const amg_stream *s = &e->streams[stream];
    for (int64_t i = 0; i < s->num_values; i++)
        out[i] = amg_evidence_value(e, row, s->select[i]);
}

void amg_evidence_original(const amg_evidence *e, int64_t row, float *out)
{
    const amg_stream *s = &e->streams[e->original];
    for (int64_t i = 0; i < s->num_values; i++)
        out[i] =
            amg_evidence_value(e, row, e->own_order ? e->own_order[i] : s->select[i]);
    if (!e->rotation) return;
    for (int64_t i = 0; i < s->num_values; i++) e->turning[i] = (double)out[i];
    amg_rotation_apply_sample(e->rotation, s->dims, e->block, e->turning,
                              e->turning + s->num_values, out);
}

void amg_evidence_tokens(const amg_evidence *e, int stream, int64_t row, int32_t *out)
{
    const amg_stream *s = &e->streams[stream];
    const int32_t *x = (const int32_t *)e->x + row_at(e, row) * e->num_positions;
    for (int64_t i = 0; i < s->num_values; i++) out[i] = x[s->select[i]];
}
