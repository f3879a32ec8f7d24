/* A job folder, opened and trained: job.json, model.onnx, weights.safetensors and
 * shards in, out/ out. Everything is checked against everything else first. This is
 * the cloud's side: it knows k+1 heads and cannot know which one matters. */
#include "engine/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/metrics.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"

/* DIR/NAME read by `read`, the path freed again. */
static amg_status with_path(const char *dir, const char *name,
                            amg_status (*read)(const char *path, amg_job *job,
                                               amg_error *err),
                            amg_job *job, amg_error *err)
{
    char *path = amg_path_join(dir, name);
    if (!path) return amg_fail(err, AMG_NO_MEMORY, -1, name, "opening the job");
    amg_status status = read(path, job, err);
    amg_free(path);
    return status;
}

static amg_status read_manifest(const char *path, amg_job *job, amg_error *err)
{
    int64_t size_bytes;
    amg_status status = amg_file_sha256(path, job->sha256, &size_bytes, err);
    return status ? status : amg_manifest_read(path, &job->manifest, err);
}

/* The manifest's head for an output, NULL if it has none. */
static const amg_head *find_head(const amg_manifest *m, const char *output)
{
    for (int i = 0; i < m->num_heads; i++)
        if (strcmp(m->heads[i].output, output) == 0) return &m->heads[i];
    return NULL;
}

/* What the trainer does not know: the manifest's number of classes. The rest it checks
 * itself. */
static amg_status check_head(const amg_value *output, const amg_head *head,
                             amg_error *err)
{
    if (!head)
        return amg_fail(err, AMG_MISMATCH, -1, output->name,
                        "an output of the model, but no head of the manifest");
    const int axis = head->target ? output->rank - 1 : 1; /* of the classes */
    if (head->loss != AMG_LOSS_CROSS_ENTROPY ||
        (output->rank >= 2 && output->dims[axis] == head->num_classes))
        return AMG_OK;
    char shape[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_MISMATCH, -1, output->name,
                    "output is %s, the manifest says %lld classes",
                    amg_shape_text(output->dtype, output->rank, output->dims, shape),
                    (long long)head->num_classes);
}

static amg_status check_input(const amg_graph *g, const amg_manifest *m, amg_error *err)
{
    char found[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    const amg_value *in = &g->values[g->inputs[0]];
    if (strcmp(in->name, m->input_name) != 0)
        return amg_fail(err, AMG_MISMATCH, -1, in->name,
                        "the manifest calls the input \"%s\"", m->input_name);
    if (in->dtype == m->input_dtype && in->rank == m->input_rank + 1 &&
        !memcmp(in->dims + 1, m->input_dims,
                (size_t)m->input_rank * sizeof *m->input_dims))
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, in->name,
                    "input is %s without its batch dim, the manifest says %s",
                    amg_shape_text(in->dtype, in->rank - (in->rank > 0),
                                   in->dims + (in->rank > 0), found),
                    amg_shape_text(m->input_dtype, m->input_rank, m->input_dims, want));
}

static amg_objective objective_of(const amg_head *head)
{
    amg_objective o = {.loss = head->loss,
                       .delta = head->delta,
                       .class_weights = head->class_weights,
                       .column = head->label_column,
                       .target = head->target,
                       .has_ignore = head->has_ignore,
                       .ignore = head->ignore_index,
                       .num_parts = head->num_parts};
    for (int i = 0; i < head->num_parts; i++) o.parts[i] = head->parts[i];
    return o;
}

/* The graph, and each of its outputs' head. */
static amg_status read_model(const char *path, amg_job *job, amg_error *err)
{
    const amg_manifest *m = &job->manifest;
    amg_status status = amg_graph_read_onnx(path, &job->graph, err);
    if (status) return status;
    const amg_graph *g = job->graph;
    if (g->num_outputs != m->num_heads || g->num_outputs > AMG_MAX_HEADS)
        return amg_fail(err, AMG_MISMATCH, -1, path,
                        "%d output%s, the manifest has %d head%s (at most %d)",
                        g->num_outputs, amg_plural(g->num_outputs), m->num_heads,
                        amg_plural(m->num_heads), AMG_MAX_HEADS);
    job->objectives = amg_calloc((size_t)g->num_outputs, sizeof *job->objectives);
    job->params = amg_calloc((size_t)g->num_outputs, sizeof *job->params);
    if (!job->objectives || !job->params)
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "opening the job");
    status = check_input(g, m, err);
    for (int h = 0; h < g->num_outputs && !status; h++) {
        const amg_value *output = &g->values[g->outputs[h]];
        const amg_head *head = find_head(m, output->name);
        status = check_head(output, head, err);
        if (!status) job->objectives[h] = objective_of(head);
    }
    return status;
}

/* One parameter out of the file; the model's own data are only there for other tools.
 */
static amg_status read_param(const amg_safetensors *st, amg_param *p, amg_error *err)
{
    const amg_tensor *t;
    amg_status status = amg_safetensors_get(st, p->name, p->tensor.dtype,
                                            p->tensor.rank, p->tensor.dims, &t, err);
    if (status) return status;
    const int64_t bad = amg_tensor_find_not_finite(t);
    if (bad >= 0)
        return amg_fail(err, AMG_NOT_FINITE, -1, p->name,
                        "initial weight: element %lld is NaN or infinite",
                        (long long)bad);
    memcpy(p->tensor.data, t->data, t->size_bytes);
    return AMG_OK;
}

static bool is_expected(const amg_job *job, const char *name)
{
    for (int h = 0; h < job->graph->num_outputs; h++)
        if (amg_params_find(&job->params[h], name) >= 0) return true;
    return false;
}

/* Exactly the graph's trainables and buffers. */
static amg_status read_weights(const char *path, amg_job *job, amg_error *err)
{
    amg_safetensors *st;
    amg_status status = amg_safetensors_open(path, &st, err);
    if (status) return status;
    for (int h = 0; h < job->graph->num_outputs && !status; h++) {
        status = amg_params_new(job->graph, h, &job->params[h], err);
        for (int i = 0; i < job->params[h].count && !status; i++)
            status = read_param(st, &job->params[h].items[i], err);
    }
    for (size_t i = 0; i < amg_safetensors_count(st) && !status; i++) {
        const char *name = amg_safetensors_at(st, i)->name;
        if (!is_expected(job, name))
            status = amg_fail(err, AMG_MISMATCH, -1, path,
                              "tensor \"%s\" is no weight of the model", name);
    }
    amg_safetensors_close(st);
    return status;
}

amg_status amg_job_open(const char *dir, bool hashes, amg_job *out, amg_error *err)
{
    amg_job job = {0};
    const amg_manifest *m = &job.manifest;
    amg_status status = with_path(dir, "job.json", read_manifest, &job, err);
    if (!status) status = amg_manifest_check_files(m, dir, hashes, err);
    if (!status) status = with_path(dir, "model.onnx", read_model, &job, err);
    if (!status)
        status = with_path(dir, "weights.safetensors", read_weights, &job, err);
    if (!status) status = amg_source_open_job(dir, m, &m->train, &job.train, err);
    if (!status && m->val.num_shards) {
        status = amg_source_open_job(dir, m, &m->val, &job.val, err);
        job.has_val = !status;
    }
    if (status)
        amg_job_close(&job);
    else
        *out = job;
    return status;
}

void amg_job_close(amg_job *job)
{
    amg_source_close(&job->train);
    amg_source_close(&job->val);
    for (int h = 0; job->params && h < job->graph->num_outputs; h++)
        amg_params_clear(&job->params[h]);
    amg_free(job->params);
    amg_free(job->objectives);
    if (job->graph) amg_graph_free(job->graph);
    amg_manifest_clear(&job->manifest);
    memset(job, 0, sizeof *job);
}

static int by_name(const void *a, const void *b)
{
    const amg_st_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

enum { PAIR_TEXT = 24, MAX_PAIRS = 2 + AMG_MAX_HEADS };

/* Metadata of trained weights, and the text behind it. */
typedef struct {
    amg_st_pair pairs[MAX_PAIRS];
    char counts[MAX_PAIRS][PAIR_TEXT], *keys[MAX_PAIRS];
    size_t count;
} metadata;

static void add_count(metadata *m, const char *key, int64_t count)
{
    char *text = m->counts[m->count];
    snprintf(text, PAIR_TEXT, "%lld", (long long)count);
    m->pairs[m->count++] = (amg_st_pair){key, text};
}

/* Whose the weights are, and the batches that batch norms saw: counters of the original
 * (PyTorch's num_batches_tracked) come home through them. Heads whose weights saw fewer
 * have a count of their own. */
static amg_status make_metadata(const amg_job *job, const amg_train_result *r,
                                int64_t parts, metadata *m, amg_error *err)
{
    m->pairs[m->count++] = (amg_st_pair){AMG_ST_JOB, job->sha256};
    add_count(m, AMG_ST_STEPS, r->steps * parts);
    for (int h = 0; h < r->num_heads; h++) {
        if (r->head_steps[h] == r->steps) continue;
        const char *output = job->graph->values[job->graph->outputs[h]].name;
        const size_t size = sizeof AMG_ST_STEPS "." + strlen(output);
        char *key = m->keys[m->count] = amg_malloc(size);
        if (!key) return amg_fail(err, AMG_NO_MEMORY, -1, output, "writing weights");
        snprintf(key, size, AMG_ST_STEPS ".%s", output);
        add_count(m, key, r->head_steps[h] * parts);
    }
    return AMG_OK;
}

/* All heads' parameters in one file, sorted by their opaque names. */
static amg_status write_weights(const char *path, const amg_job *job, const metadata *m,
                                amg_error *err)
{
    size_t count = 0, n = 0;
    for (int h = 0; h < job->graph->num_outputs; h++)
        count += (size_t)job->params[h].count;
    amg_st_entry *entries = amg_calloc(count, sizeof *entries);
    if (!entries) return amg_fail(err, AMG_NO_MEMORY, -1, path, "writing weights");
    for (int h = 0; h < job->graph->num_outputs; h++)
        for (int i = 0; i < job->params[h].count; i++) {
            const amg_param *p = &job->params[h].items[i];
            entries[n++] = (amg_st_entry){p->name, p->tensor};
        }
    qsort(entries, count, sizeof *entries, by_name);
    amg_status status =
        amg_safetensors_write_with(path, entries, count, m->pairs, m->count, err);
    amg_free(entries);
    return status;
}

static amg_status write_result(const char *path, const amg_job *job,
                               const amg_train_options *options,
                               const amg_train_result *r, amg_error *err)
{
    metadata m = {0};
    const int64_t parts = options->accumulate ? options->accumulate : 1;
    amg_status status = make_metadata(job, r, parts, &m, err);
    if (!status) status = write_weights(path, job, &m, err);
    for (int i = 0; i < MAX_PAIRS; i++) amg_free(m.keys[i]);
    return status;
}

/* Adam's steps depend on the axes along which weights are written down; crops and
 * mirroring on who is whose neighbour. */
amg_status amg_job_check_options(const amg_job *job, const char *dir,
                                 const amg_train_options *options, amg_error *err)
{
    if (options->augment && job->manifest.mixed)
        return amg_fail(err, AMG_UNSUPPORTED, -1, dir,
                        "the values of this job's samples are mixed: they have no "
                        "neighbours to crop or mirror");
    if (!job->manifest.rotated || options->optimizer.kind == AMG_OPT_SGD) return AMG_OK;
    amg_fail(err, AMG_UNSUPPORTED, -1, dir,
             "the values of this job's samples are rotated: only SGD trains them as it "
             "trains the original");
    amg_hint(err, "--optimizer sgd, with or without momentum, weight decay and clip");
    return AMG_UNSUPPORTED;
}

amg_status amg_job_train(const char *dir, const amg_train_options *options,
                         const amg_progress *progress, amg_train_result *result,
                         amg_error *err)
{
    amg_job job = {0};
    char *out = amg_path_join(dir, "out");
    char *weights = amg_path_join(dir, "out/weights.safetensors");
    amg_status status = AMG_OK;
    amg_train_result r;
    if (!out || !weights) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, dir, "opening the job");
        goto done;
    }
    /* What was hashed when the training began is not hashed again to go on. */
    status = amg_job_open(dir, !options->resume, &job, err);
    if (!status) status = amg_job_check_options(&job, dir, options, err);
    if (!status && !amg_path_is_dir(out)) status = amg_dir_make(out, err);
    if (status) goto done;
    const amg_train_task task = {.graph = job.graph,
                                 .objectives = job.objectives,
                                 .train = &job.train,
                                 .val = job.has_val ? &job.val : NULL,
                                 .job = job.sha256,
                                 .out_dir = out,
                                 .num_params_sets = job.graph->num_outputs,
                                 .params = job.params,
                                 .frozen = job.manifest.frozen,
                                 .num_frozen = job.manifest.num_frozen};
    status = amg_train(&task, options, progress, &r, err);
    if (!status) status = write_result(weights, &job, options, &r, err);
    if (!status && result) *result = r;
done:
    if (status && out) amg_metrics_drop_dir(out);
    amg_job_close(&job);
    amg_free(out);
    amg_free(weights);
    return status;
}
