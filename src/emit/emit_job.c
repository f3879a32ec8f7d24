/* The texts of a job folder: the module of its networks, and the files that are the
 * same in every job (train.py and src/emit/job/, put into the program when it is
 * built). */
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "emit/emit.h"
#include "emit/emit_files.h"
#include "graph/freeze.h"

/* What amg_emit_model writes and what lies in emit_files, merged. */
static const char *const made[] = {"constants.safetensors", "model.py"};
enum { NUM_MADE = sizeof made / sizeof *made };

const char *amg_emit_job_file(size_t i)
{
    size_t m = 0, f = 0;
    for (;;) {
        const char *file = amg_emit_files[f].path;
        bool next_made = m < NUM_MADE && (!file || strcmp(made[m], file) < 0);
        const char *name = next_made ? made[m++] : file;
        if (!name || i-- == 0) return name;
        if (!next_made) f++;
    }
}

/* The folder of a file one level down; there may be others in it already. */
static amg_status make_folder(const char *dir, const char *file, amg_error *err)
{
    const char *slash = strchr(file, '/');
    if (!slash) return AMG_OK;
    char name[64];
    size_t length = (size_t)(slash - file);
    if (length >= sizeof name)
        return amg_fail(err, AMG_INVALID, -1, file, "a folder's name is too long");
    memcpy(name, file, length);
    name[length] = 0;
    char *path = amg_path_join(dir, name);
    amg_status st = AMG_OK;
    if (!path)
        st = amg_fail(err, AMG_NO_MEMORY, -1, file, "no memory");
    else if (!amg_path_is_dir(path))
        st = amg_dir_make(path, err);
    amg_free(path);
    return st;
}

static amg_status write_file(const char *dir, const amg_emit_file *f, amg_error *err)
{
    amg_status st = make_folder(dir, f->path, err);
    if (st) return st;
    char *path = amg_path_join(dir, f->path);
    if (!path) return amg_fail(err, AMG_NO_MEMORY, -1, f->path, "no memory");
    st = amg_file_write(path, 0644, false, f->data, f->size_bytes, err);
    amg_free(path);
    return st;
}

amg_status amg_emit_job(const char *dir, const amg_graph *g, const amg_manifest *m,
                        amg_error *err)
{
    if (m->num_heads != g->num_outputs)
        return amg_fail(err, AMG_MISMATCH, -1, "job.json",
                        "%d head%s, but the graph has %d output%s", m->num_heads,
                        amg_plural(m->num_heads), g->num_outputs,
                        amg_plural(g->num_outputs));
    const char **targets = amg_calloc((size_t)g->num_outputs + 1, sizeof *targets);
    bool *fixed = amg_calloc((size_t)g->num_values + 1, sizeof *fixed);
    amg_status st = AMG_OK;
    if (!targets || !fixed)
        st = amg_fail(err, AMG_NO_MEMORY, -1, "model.py", "no memory");
    for (int i = 0; i < g->num_outputs && !st; i++) targets[i] = m->heads[i].target;
    for (int v = 0; v < g->num_values && !st; v++)
        fixed[v] = g->values[v].kind == AMG_VALUE_PARAM &&
                   g->values[v].role == AMG_ROLE_BUFFER &&
                   amg_frozen_has(m->frozen, m->num_frozen, g->values[v].name);
    const bool rows = m->task == AMG_TASK_MULTI_TASK;
    if (!st) st = amg_emit_model(dir, g, targets, fixed, rows, err);
    amg_free(targets);
    amg_free(fixed);
    for (const amg_emit_file *f = amg_emit_files; !st && f->path; f++)
        st = write_file(dir, f, err);
    return st;
}
