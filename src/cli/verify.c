/* Verification. The two trainings share nothing but the engine, the options and the
 * starting weights. */
#include "cli/verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "cli/verify_stream.h"
#include "engine/job.h"
#include "extract/extract.h"
#include "formats/safetensors.h"
#include "graph/freeze.h"
#include "graph/select.h"

/* The original with some weights: as it came, and with its constants folded, the form
 * that is trained (a view of the first). */
typedef struct {
    amg_graph *file, *folded;
} model;

static void free_model(model *m)
{
    amg_graph_free(m->folded);
    amg_graph_free(m->file);
}

/* All that both runs need, opened and checked. */
typedef struct {
    amg_secret *secret;
    amg_key_payload payload;
    amg_obf_plan plan;
    amg_job job;
    int head;             /* index of the original's output in the job */
    bool loose;           /* key file readable by others */
    float *class_weights; /* as the original numbers its classes; NULL: none */
    const char **frozen;  /* the original's names of what does not train, sorted */
    int num_frozen;
    model initial;  /* with the job's initial weights */
    model mixed;    /* the same in the job's order, where that mixes values */
    char dir[4096]; /* temporary folder; "" before it exists */
} bench;

static void close_all(bench *b)
{
    if (b->dir[0]) amg_dir_remove(b->dir);
    amg_free(b->frozen);
    amg_free(b->class_weights);
    free_model(&b->initial);
    free_model(&b->mixed);
    amg_job_close(&b->job);
    amg_obf_plan_clear(&b->plan);
    amg_key_payload_clear(&b->payload);
    amg_secret_free(b->secret);
}

/* On failure the caller frees out too. mixed: the columns of its first layer, and its
 * positions, stay as the job has them. */
static amg_status extract_from(const bench *b, const char *path, bool mixed, model *out,
                               amg_error *err)
{
    amg_safetensors *st = NULL;
    amg_key_payload payload = b->payload; /* a view */
    if (mixed) {
        memset(payload.shape.block, 0, sizeof payload.shape.block);
        payload.shape.patches = payload.shape.rotate = false;
    }
    amg_status status = amg_safetensors_open(path, &st, err);
    if (!status) status = amg_extract_graph(b->secret, &payload, st, &out->file, err);
    if (!status)
        status = amg_graph_plan_batch(out->file, AMG_DIM_BATCH, &out->folded, err);
    amg_safetensors_close(st);
    return status;
}

/* The plan's positions must lie within the job's samples: the folder may come back from
 * the cloud, whose manifest is not trusted. */
static bool fits_plan(const amg_job *job, const amg_obf_plan *plan)
{
    return job->graph->num_outputs == plan->shape.num_decoys + 1 &&
           job->train.rank == 3 && job->train.dtype == plan->shape.dtype &&
           !memcmp(job->train.dims, plan->out_dims, sizeof plan->out_dims);
}

/* Of a packed job no key holds positions: which are the owner's, the job's graph says.
 */
static amg_status take_select(bench *b, const char *job_dir, amg_error *err)
{
    const amg_graph *g = b->job.graph;
    amg_subnet_plan *own = &b->plan.subnets[b->plan.original];
    int64_t count = 0;
    int *selects = amg_calloc((size_t)g->num_outputs, sizeof *selects);
    amg_status st = selects ? amg_graph_find_selects(g, selects, err)
                            : amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    if (!st && selects[b->head] < 0)
        st = amg_fail(err, AMG_MISMATCH, -1, job_dir,
                      "no select on the way from the input to the head \"%s\"",
                      b->payload.names.output);
    if (!st) st = amg_graph_read_select(g, selects[b->head], &own->select, &count, err);
    if (!st && count != b->plan.num_values) /* the plan wipes as many as it has */
        st = amg_fail(err, AMG_MISMATCH, -1, job_dir,
                      "the head \"%s\" selects %lld values, expected %lld",
                      b->payload.names.output, (long long)count,
                      (long long)b->plan.num_values);
    if (st && own->select) {
        amg_free(own->select);
        own->select = NULL;
    }
    amg_free(selects);
    return st;
}

/* Turns the positions of the original's values, in their own order, into the job's
 * order; or, with back, the other way round. */
static amg_status mix_select(bench *b, bool back, amg_error *err)
{
    amg_subnet_plan *own = &b->plan.subnets[b->plan.original];
    uint32_t *mixed = amg_calloc((size_t)b->plan.num_values, sizeof *mixed);
    if (!mixed) return amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    for (int64_t i = 0; i < b->plan.num_values; i++) {
        const int64_t place = amg_obf_plan_place(&b->plan, b->plan.original, i);
        if (back)
            mixed[i] = own->select[place];
        else
            mixed[place] = own->select[i];
    }
    explicit_bzero(own->select, (size_t)b->plan.num_values * sizeof *own->select);
    amg_free(own->select);
    own->select = mixed;
    return AMG_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What the job freezes of the original, by the original's names. */
static amg_status find_frozen(bench *b, amg_error *err)
{
    const amg_job_names *names = &b->payload.names;
    const amg_manifest *m = &b->job.manifest;
    b->frozen = amg_calloc((size_t)names->count + 1, sizeof *b->frozen);
    if (!b->frozen) return amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    for (int i = 0; i < names->count; i++)
        if (amg_frozen_has(m->frozen, m->num_frozen, names->job[i]))
            b->frozen[b->num_frozen++] = names->own[i];
    qsort(b->frozen, (size_t)b->num_frozen, sizeof *b->frozen, by_bytes);
    return AMG_OK;
}

/* The weights of the original's head, by the original's classes. */
static amg_status find_class_weights(bench *b, amg_error *err)
{
    const amg_subnet_plan *own = &b->plan.subnets[b->plan.original];
    const float *weights = b->job.objectives[b->head].class_weights;
    if (!weights) return AMG_OK;
    const amg_value *y = &b->job.graph->values[b->job.graph->outputs[b->head]];
    if (y->dims[1] != own->num_classes) /* as many as weights: amg_job_open checks */
        return amg_fail(err, AMG_MISMATCH, -1, y->name,
                        "has %lld classes, the key's model %lld", (long long)y->dims[1],
                        (long long)own->num_classes);
    b->class_weights = amg_calloc((size_t)own->num_classes, sizeof(float));
    if (!b->class_weights)
        return amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    for (int64_t c = 0; c < own->num_classes; c++)
        b->class_weights[c] = weights[own->label_map[c]];
    return AMG_OK;
}

static amg_status open_all(bench *b, const char *key, const amg_passphrase *pass,
                           const char *job_dir, const char *temp_dir, amg_error *err)
{
    uint8_t *bytes = NULL;
    size_t size;
    amg_status st =
        amg_keyfile_open(key, pass, &b->secret, &bytes, &size, &b->loose, err);
    if (!st) st = amg_key_payload_parse(bytes, size, &b->payload, err);
    amg_payload_free(bytes);
    if (!st) st = amg_obf_plan_derive(b->secret, &b->payload.shape, &b->plan, err);
    if (!st) st = amg_job_open(job_dir, true, &b->job, err);
    if (st) return st;
    b->head = -1;
    for (int i = 0; i < b->job.graph->num_outputs; i++)
        if (!strcmp(b->job.graph->values[b->job.graph->outputs[i]].name,
                    b->payload.names.output))
            b->head = i;
    if (b->head < 0 || !fits_plan(&b->job, &b->plan)) {
        amg_fail(err, AMG_MISMATCH, -1, job_dir, "is not the job of this key");
        amg_hint(err, "key and job are made together by one amalgam obfuscate");
        return AMG_MISMATCH;
    }
    if (b->payload.shape.mode == AMG_MODE_PACK) {
        st = take_select(b, job_dir, err);
        if (!st && b->plan.shape.block[0] > 0) st = mix_select(b, true, err);
    }
    if (!st) st = find_frozen(b, err);
    if (!st) st = find_class_weights(b, err);
    if (st) return st;
    snprintf(b->dir, sizeof b->dir, "%s/amalgam-verify-XXXXXX", temp_dir);
    if (!mkdtemp(b->dir)) {
        b->dir[0] = 0;
        return amg_fail(err, AMG_IO, -1, temp_dir,
                        "cannot make a temporary folder in it");
    }
    char *weights = amg_path_join(job_dir, "weights.safetensors");
    if (!weights) return amg_fail(err, AMG_NO_MEMORY, -1, job_dir, "no memory");
    st = extract_from(b, weights, false, &b->initial, err);
    if (!st && b->plan.shape.block[0] > 0)
        st = extract_from(b, weights, true, &b->mixed, err);
    amg_free(weights);
    return st;
}

/* What the original's head is trained for, in graph, the original alone. */
static amg_objective own_objective(const bench *b, const amg_graph *graph)
{
    const amg_objective *head = &b->job.objectives[b->head];
    amg_objective own = *head;
    own.class_weights = b->class_weights;
    own.column = 0;
    own.target = NULL;
    if (b->payload.preprocess.windows)
        own.target = graph->values[amg_graph_next_tokens(graph)].name;
    else if (head->target)
        own.target =
            graph->values[amg_graph_preprocessed(graph, b->initial.folded)].name;
    return own;
}

/* The recipe looks at validation data, and the job has some. */
static bool validates(const bench *b, const amg_train_options *o)
{
    return b->job.has_val &&
           (o->best || o->early_stop || o->optimizer.schedule == AMG_SCHEDULE_PLATEAU);
}

/* Trains g, the original, alone on the positions that the plan selects, back (NULL:
 * none) undoing their rotation; *out owns its parameters, *graph (freed by the caller)
 * their names. */
static amg_status train_alone(bench *b, const amg_graph *g, amg_rotation *back,
                              const amg_train_options *options,
                              const amg_progress *progress, amg_graph **graph,
                              amg_params *out, amg_error *err)
{
    amg_own_stream t = {.job = &b->job.train,
                        .plan = &b->plan,
                        .column = b->job.objectives[b->head].column,
                        .elem = amg_dtype_size(b->plan.shape.dtype),
                        .back = back};
    const amg_preprocess none = {.data_dtype = AMG_F32};
    amg_train_result ignored;
    amg_status st = amg_graph_with_preprocess(
        g, b->plan.rotation ? &none : &b->payload.preprocess, graph, err);
    if (!st) st = amg_params_new(*graph, 0, out, err);
    if (!st) st = amg_own_stream_invert_tokens(&t, err);
    if (st) return st;
    const amg_objective objective = own_objective(b, *graph);
    const amg_value *input = &(*graph)->values[(*graph)->inputs[0]];
    amg_own_stream v = t;
    v.job = &b->job.val;
    const amg_source source = amg_own_stream_source(&t, input);
    const amg_source val =
        validates(b, options) ? amg_own_stream_source(&v, input) : source;
    const amg_train_task task = {.graph = *graph,
                                 .objectives = &objective,
                                 .train = &source,
                                 .val = validates(b, options) ? &val : NULL,
                                 .num_params_sets = 1,
                                 .params = out,
                                 .frozen = b->frozen,
                                 .num_frozen = b->num_frozen};
    st = amg_train(&task, options, progress, &ignored, err);
    amg_free(t.tokens);
    return st;
}

/* What comes out of the trained job. */
typedef struct {
    model own;   /* as extract gives it */
    model mixed; /* in the job's order, where that mixes values */
} trained;

/* Trains the whole job, writes the weights as amalgam-train does and extracts. */
static amg_status train_inside(bench *b, const amg_train_options *options,
                               const amg_progress *progress, trained *out,
                               amg_error *err)
{
    amg_train_result ignored;
    amg_train_task task = {.graph = b->job.graph,
                           .objectives = b->job.objectives,
                           .train = &b->job.train,
                           .val = validates(b, options) ? &b->job.val : NULL,
                           .num_params_sets = b->job.graph->num_outputs,
                           .params = b->job.params,
                           .frozen = b->job.manifest.frozen,
                           .num_frozen = b->job.manifest.num_frozen};
    amg_status st = amg_train(&task, options, progress, &ignored, err);
    if (st) return st;
    size_t n = 0, room = (size_t)b->job.graph->num_values;
    amg_st_entry *entries = amg_calloc(room, sizeof *entries);
    char *path = amg_path_join(b->dir, "weights.safetensors");
    if (!entries || !path) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "verify", "no memory");
    } else {
        for (int h = 0; h < task.num_params_sets; h++)
            for (int i = 0; i < task.params[h].count; i++)
                entries[n++] = (amg_st_entry){task.params[h].items[i].name,
                                              task.params[h].items[i].tensor};
        st = amg_safetensors_write(path, entries, n, err);
        if (!st) st = extract_from(b, path, false, &out->own, err);
        if (!st && b->plan.shape.block[0] > 0)
            st = extract_from(b, path, true, &out->mixed, err);
    }
    amg_free(entries);
    amg_free(path);
    return st;
}

/* The other model's tensor of a parameter. */
static amg_status find_same(const amg_graph *inside, const amg_param *p,
                            const amg_tensor **out, amg_error *err)
{
    const int v = amg_graph_find_value(inside, p->name);
    if (v < 0 || !amg_tensor_same_shape(&inside->values[v].data, &p->tensor))
        return amg_fail(err, AMG_MISMATCH, -1, p->name,
                        "is in one of the two models only");
    *out = &inside->values[v].data;
    return AMG_OK;
}

static amg_status compare(const amg_params *alone, const amg_graph *inside,
                          amg_verify_result *r, amg_error *err)
{
    for (int i = 0; i < alone->count; i++) {
        const amg_param *p = &alone->items[i];
        const amg_tensor *other;
        const amg_status st = find_same(inside, p, &other, err);
        if (st) return st;
        const uint32_t *a = p->tensor.data, *b = other->data;
        int64_t n = amg_tensor_count(&p->tensor), bits = 0;
        for (int64_t j = 0; j < n; j++) bits += __builtin_popcount(a[j] ^ b[j]);
        if (bits && !r->num_different++)
            snprintf(r->first_different, sizeof r->first_different, "%s", p->name);
        r->bits_different += bits;
        r->num_scalars += n;
        r->num_tensors++;
    }
    return AMG_OK;
}

/* How far all parameters together are from those of training in the original's own
 * order: relative L2. A single one may be far: where its gradient is nothing but
 * rounding (the bias of an attention's keys), Adam makes steps of it. */
static amg_status measure_rounding(const amg_params *alone, const amg_graph *inside,
                                   double *out, amg_error *err)
{
    double all = 0, off = 0;
    for (int i = 0; i < alone->count; i++) {
        const amg_param *p = &alone->items[i];
        const amg_tensor *other;
        const amg_status st = find_same(inside, p, &other, err);
        if (st) return st;
        const float *a = p->tensor.data, *b = other->data;
        for (int64_t j = 0; j < amg_tensor_count(&p->tensor); j++) {
            const double d = (double)a[j] - (double)b[j];
            all += (double)a[j] * (double)a[j];
            off += d * d;
        }
    }
    *out = all > 0 ? sqrt(off / all) : 0;
    return AMG_OK;
}

/* In a job whose values are mixed the network sums in another order than the original.
 * Its bits are those of the original mixed alike, trained alone; beside the original in
 * its own order it differs by rounding. */
static amg_status verify_mixed(bench *b, const amg_train_options *o,
                               const amg_progress *progress, const trained *inside,
                               amg_verify_result *r, amg_error *err)
{
    amg_graph *graph = NULL, *own_graph = NULL;
    amg_params alone = {0}, own = {0};
    if (b->plan.rotation) amg_rotation_invert(b->plan.rotation);
    amg_status st = train_alone(b, b->initial.folded, b->plan.rotation, o, progress,
                                &own_graph, &own, err);
    if (!st) st = measure_rounding(&own, inside->own.folded, &r->rounding, err);
    if (!st) st = mix_select(b, false, err);
    if (!st)
        st = train_alone(b, b->mixed.folded, NULL, o, progress, &graph, &alone, err);
    if (!st) st = compare(&alone, inside->mixed.folded, r, err);
    amg_params_clear(&alone);
    amg_params_clear(&own);
    amg_graph_free(graph);
    amg_graph_free(own_graph);
    return st;
}

static amg_status verify_own(bench *b, const amg_train_options *o,
                             const amg_progress *progress, const trained *inside,
                             amg_verify_result *r, amg_error *err)
{
    amg_graph *graph = NULL;
    amg_params alone = {0};
    amg_status st =
        train_alone(b, b->initial.folded, NULL, o, progress, &graph, &alone, err);
    if (!st) st = compare(&alone, inside->own.folded, r, err);
    amg_params_clear(&alone);
    amg_graph_free(graph);
    return st;
}

amg_status amg_verify(const char *key, const amg_passphrase *pass, const char *job_dir,
                      const char *temp_dir, const amg_train_options *options,
                      const amg_progress *progress, amg_verify_result *result,
                      amg_error *err)
{
    bench b = {0};
    trained inside = {0};
    amg_verify_result r = {.steps = options->max_steps};
    amg_train_options o = *options;
    amg_status st = open_all(&b, key, pass, job_dir, temp_dir, err);
    if (!st) st = amg_job_check_options(&b.job, job_dir, options, err);
    if (st) goto done;
    int64_t n = b.job.train.num_samples;
    if (!o.batch) o.batch = AMG_DEFAULT_BATCH;
    if (o.batch > n) o.batch = n;
    int64_t per_epoch = n / o.batch;
    o.epochs = (o.max_steps + per_epoch - 1) / per_epoch;
    r.mixed = b.plan.shape.block[0] > 0;
    r.rotated = b.plan.shape.rotate;
    st = train_inside(&b, &o, progress, &inside, err);
    if (!st)
        st = (r.mixed ? verify_mixed : verify_own)(&b, &o, progress, &inside, &r, err);
    r.threads = amg_threads();
    r.key_is_loose = b.loose;
    if (!st) *result = r;
done:
    free_model(&inside.own);
    free_model(&inside.mixed);
    close_all(&b);
    return st;
}
