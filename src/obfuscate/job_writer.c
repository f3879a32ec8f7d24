/* The files of a job folder. Everything here goes to the cloud: consumes the scrambled
 * graph and the manifest, and must not know the key or which head is whose. */
#include "obfuscate/job_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "emit/emit.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const amg_st_entry *)a)->name, ((const amg_st_entry *)b)->name);
}

static amg_status write_weights(const char *path, const amg_graph *g, amg_error *err)
{
    amg_st_entry *entries = amg_calloc((size_t)g->num_values + 1, sizeof *entries);
    if (!entries) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory");
    size_t n = 0;
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind == AMG_VALUE_PARAM &&
            g->values[v].role != AMG_ROLE_CONSTANT)
            entries[n++] = (amg_st_entry){g->values[v].name, g->values[v].data};
    qsort(entries, n, sizeof *entries, compare_entries);
    amg_status st = amg_safetensors_write(path, entries, n, err);
    amg_free(entries);
    return st;
}

/* Head i learns from column i, or from its value of the graph. */
static bool describe_head(const amg_graph *g, int i, const amg_job_objective *o,
                          amg_manifest *m)
{
    const amg_value *out = &g->values[g->outputs[i]];
    amg_head *head = &m->heads[i];
    head->output = amg_arena_strdup(&m->arena, out->name);
    head->loss = o->loss;
    head->delta = o->delta;
    head->num_parts = o->num_parts;
    head->parts = o->parts;
    head->class_weights = o->class_weights ? o->class_weights[i] : NULL;
    if (m->task == AMG_TASK_CLASSIFICATION) head->num_classes = out->dims[1];
    if (amg_task_has_targets(m->task)) {
        head->label_column = i;
        return head->output != NULL;
    }
    head->target = amg_arena_strdup(&m->arena, o->target_names[i]);
    if (m->task == AMG_TASK_LANGUAGE_MODEL) {
        head->num_classes = out->dims[out->rank - 1];
        head->has_ignore = o->pad != NULL;
        head->ignore_index = o->pad ? *o->pad : 0;
    }
    return head->output && head->target;
}

static amg_status describe_graph(const amg_graph *g, const amg_job_objective *o,
                                 amg_manifest *m, amg_error *err)
{
    const amg_value *in = &g->values[g->inputs[0]];
    m->version = AMG_MANIFEST_VERSION;
    m->input_name = amg_arena_strdup(&m->arena, in->name);
    m->input_dtype = in->dtype;
    m->input_rank = in->rank - 1;
    for (int i = 1; i < in->rank; i++) m->input_dims[i - 1] = in->dims[i];
    m->num_heads = g->num_outputs;
    m->heads = amg_arena_array(&m->arena, (size_t)g->num_outputs, sizeof *m->heads);
    bool ok = m->input_name && m->heads;
    for (int i = 0; ok && i < g->num_outputs; i++) ok = describe_head(g, i, o, m);
    return ok ? AMG_OK : amg_fail(err, AMG_NO_MEMORY, -1, "job.json", "no memory");
}

static bool add_file(amg_manifest *m, const char *name)
{
    m->files[m->num_files].path = amg_arena_strdup(&m->arena, name);
    return m->files[m->num_files++].path != NULL;
}

static int64_t num_texts(void)
{
    int64_t n = 0;
    while (amg_emit_job_file((size_t)n)) n++;
    return n;
}

/* The names of all files, in the manifest's order: texts, model, weights, data. */
static amg_status list_files(amg_manifest *m, amg_error *err)
{
    const amg_split *splits[] = {&m->train, &m->val};
    const size_t texts = (size_t)num_texts();
    size_t count = texts + 2 + 2 * (size_t)(m->train.num_shards + m->val.num_shards);
    m->num_files = 0;
    m->files = amg_arena_array(&m->arena, count, sizeof *m->files);
    bool ok = m->files != NULL;
    for (size_t i = 0; ok && i < texts; i++) ok = add_file(m, amg_emit_job_file(i));
    ok = ok && add_file(m, "model.onnx") && add_file(m, "weights.safetensors");
    for (int s = 0; s < 2; s++)
        for (int i = 0; ok && i < splits[s]->num_shards; i++) {
            ok = add_file(m, splits[s]->shards[i].x);
            if (ok && splits[s]->shards[i].y) ok = add_file(m, splits[s]->shards[i].y);
        }
    return ok ? AMG_OK : amg_fail(err, AMG_NO_MEMORY, -1, "job.json", "no memory");
}

typedef struct {
    const char *dir;
    const amg_graph *g;
    amg_manifest *m; /* each item fills entries of files of its own */
    int64_t texts;   /* the first files */
} writing;

/* Size and hash of one of the files, which is made by make before if that is given. */
static amg_status seal_file(const writing *w, int64_t index,
                            amg_status (*make)(const char *, const amg_graph *,
                                               amg_error *),
                            amg_error *err)
{
    amg_job_file *f = &w->m->files[index];
    char *path = amg_path_join(w->dir, f->path);
    if (!path) return amg_fail(err, AMG_NO_MEMORY, -1, f->path, "no memory");
    amg_status st = make ? make(path, w->g, err) : AMG_OK;
    if (!st) st = amg_file_sha256(path, f->sha256, &f->size_bytes, err);
    amg_free(path);
    return st;
}

/* Items are begun in this order: what waits for the disk while another thread hashes
 * data. */
static amg_status write_item(void *context, int64_t item, amg_error *err)
{
    const writing *w = context;
    if (item == 0) return seal_file(w, w->texts, amg_graph_write_onnx, err);
    if (item == 1) return seal_file(w, w->texts + 1, write_weights, err);
    if (item > 2) return seal_file(w, w->texts + item - 1, NULL, err);
    amg_status st = amg_emit_job(w->dir, w->g, w->m, err);
    for (int64_t i = 0; i < w->texts && !st; i++) st = seal_file(w, i, NULL, err);
    return st;
}

amg_status amg_job_write(const char *dir, const amg_graph *g,
                         const amg_job_objective *objective, amg_manifest *m,
                         int64_t *job_bytes, amg_error *err)
{
    writing w = {dir, g, m, num_texts()};
    char *manifest = amg_path_join(dir, "job.json");
    amg_status st =
        manifest ? AMG_OK : amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory");
    *job_bytes = 0;
    if (!st) st = describe_graph(g, objective, m, err);
    if (!st) st = list_files(m, err);
    if (!st) st = amg_parallel_items(m->num_files - w.texts + 1, write_item, &w, err);
    for (int i = 0; i < m->num_files && !st; i++) *job_bytes += m->files[i].size_bytes;
    if (!st) st = amg_manifest_write(manifest, m, err);
    amg_free(manifest);
    return st;
}
