/* Writing job.json. Consumes a manifest, produces its canonical bytes: members in the
 * order below, two-space indent, final newline. What it writes it has read back first,
 * so the reader's rules are the only ones and no job can be made that cannot be opened.
 */
#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/loss_parts.h"

/* Each maker gives a new reference, or NULL: out of memory or a string that is not
 * UTF-8. jansson's appenders and packers take NULL as failure, so only the last result
 * needs a look. */

static json_t *make_dims(int rank, const int64_t *values)
{
    json_t *dims = json_array();
    for (int i = 0; i < rank; i++)
        if (json_array_append_new(dims, json_integer(values[i]))) {
            json_decref(dims);
            return NULL;
        }
    return dims;
}

static json_t *make_input(const amg_manifest *m)
{
    json_t *mixed = m->mixed ? json_true() : NULL;
    json_t *rotated = m->rotated ? json_true() : NULL;
    return json_pack("{s:s, s:s, s:o, s:o*, s:o*}", "name", m->input_name, "dtype",
                     amg_dtype_name(m->input_dtype), "dims",
                     make_dims(m->input_rank, m->input_dims), "mixed", mixed, "rotated",
                     rotated);
}

static json_t *make_target(const amg_manifest *m)
{
    return json_pack("{s:s, s:o}", "dtype", amg_dtype_name(m->target_dtype), "dims",
                     make_dims(m->target_rank, m->target_dims));
}

/* Adds what the loss has beside its name; takes head, NULL too. */
static json_t *with_loss(json_t *head, const amg_head *h)
{
    bool ok =
        head && !json_object_set_new(head, "loss", json_string(amg_loss_name(h->loss)));
    if (ok && amg_loss_has_delta(h->loss))
        ok = !json_object_set_new(head, "delta", json_real((double)h->delta));
    json_t *weights = ok && h->class_weights ? json_array() : NULL;
    for (int64_t c = 0; weights && ok && c < h->num_classes; c++)
        ok = !json_array_append_new(weights, json_real((double)h->class_weights[c]));
    if (ok && h->class_weights)
        ok = !json_object_set_new(head, "class_weights", weights);
    if (ok && h->loss == AMG_LOSS_SUM)
        ok = !json_object_set_new(head, "parts", amg_loss_parts_json(h));
    if (ok) return head;
    json_decref(head);
    return NULL;
}

static json_t *make_class_head(const void *item)
{
    const amg_head *h = item;
    return with_loss(json_pack("{s:s, s:i, s:I}", "output", h->output, "label_column",
                               h->label_column, "num_classes",
                               (json_int_t)h->num_classes),
                     h);
}

static json_t *make_number_head(const void *item)
{
    const amg_head *h = item;
    return with_loss(
        json_pack("{s:s, s:i}", "output", h->output, "label_column", h->label_column),
        h);
}

static json_t *make_input_head(const void *item)
{
    const amg_head *h = item;
    return with_loss(json_pack("{s:s, s:s}", "output", h->output, "target", h->target),
                     h);
}

static json_t *make_token_head(const void *item)
{
    const amg_head *h = item;
    json_t *ignore = h->has_ignore ? json_integer(h->ignore_index) : NULL;
    if (h->has_ignore && !ignore) return NULL;
    return with_loss(json_pack("{s:s, s:s, s:I, s:o*}", "output", h->output, "target",
                               h->target, "num_classes", (json_int_t)h->num_classes,
                               "ignore_index", ignore),
                     h);
}

static json_t *make_shard(const void *item)
{
    const amg_shard *s = item;
    return json_pack("{s:s, s:s, s:I}", "x", s->x, "y", s->y, "rows",
                     (json_int_t)s->rows);
}

static json_t *make_bare_shard(const void *item)
{
    const amg_shard *s = item;
    return json_pack("{s:s, s:I}", "x", s->x, "rows", (json_int_t)s->rows);
}

static json_t *make_file(const void *item)
{
    const amg_job_file *f = item;
    return json_pack("{s:s, s:I, s:s}", "path", f->path, "size_bytes",
                     (json_int_t)f->size_bytes, "sha256", f->sha256);
}

static json_t *make_list(const void *items, int count, size_t item_size,
                         json_t *(*make)(const void *item))
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        const char *item = (const char *)items + (size_t)i * item_size;
        if (json_array_append_new(list, make(item))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *make_split(const amg_manifest *m, const amg_split *s)
{
    json_t *(*make)(const void *) =
        amg_task_has_targets(m->task) ? make_shard : make_bare_shard;
    return json_pack("{s:I, s:o}", "num_samples", (json_int_t)s->num_samples, "shards",
                     make_list(s->shards, s->num_shards, sizeof *s->shards, make));
}

static json_t *make_heads(const amg_manifest *m)
{
    static json_t *(*const make[])(const void *) = {
        [AMG_TASK_CLASSIFICATION] = make_class_head,
        [AMG_TASK_REGRESSION] = make_number_head,
        [AMG_TASK_RECONSTRUCTION] = make_input_head,
        [AMG_TASK_LANGUAGE_MODEL] = make_token_head,
        [AMG_TASK_MULTI_LABEL] = make_number_head,
        [AMG_TASK_MULTI_TASK] = make_number_head};
    return make_list(m->heads, m->num_heads, sizeof *m->heads, make[m->task]);
}

/* NULL: nothing is frozen, or a failure, which *failed says. */
static json_t *make_frozen(const amg_manifest *m, bool *failed)
{
    json_t *list = m->num_frozen ? json_array() : NULL;
    *failed = m->num_frozen && !list;
    for (int i = 0; i < m->num_frozen && !*failed; i++)
        *failed = json_array_append_new(list, json_string(m->frozen[i])) != 0;
    return list;
}

static json_t *make_root(const amg_manifest *m)
{
    bool failed;
    json_t *frozen = make_frozen(m, &failed);
    if (failed) {
        json_decref(frozen);
        return NULL;
    }
    json_t *target = amg_task_has_targets(m->task) ? make_target(m) : NULL;
    return json_pack("{s:i, s:s, s:o, s:o*, s:o, s:o*, s:o, s:o, s:o}", "version",
                     m->version, "task", amg_task_name(m->task), "input", make_input(m),
                     "target", target, "heads", make_heads(m), "frozen", frozen,
                     "train", make_split(m, &m->train), "val", make_split(m, &m->val),
                     "files",
                     make_list(m->files, m->num_files, sizeof *m->files, make_file));
}

/* The canonical bytes, owned. */
static amg_status make_text(const char *path, const amg_manifest *m, char **out,
                            size_t *size, amg_error *err)
{
    json_t *root = make_root(m);
    if (!root)
        return amg_fail(err, AMG_INVALID, -1, path,
                        "cannot be JSON: a string is missing or not UTF-8");
    size_t length = json_dumpb(root, NULL, 0, JSON_INDENT(2));
    char *text = length ? amg_malloc(length + 1) : NULL;
    if (text) {
        json_dumpb(root, text, length, JSON_INDENT(2));
        text[length] = '\n';
    }
    json_decref(root);
    if (!text) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its text");
    *out = text;
    *size = length + 1;
    return AMG_OK;
}

amg_status amg_manifest_write(const char *path, const amg_manifest *m, amg_error *err)
{
    char *text = NULL;
    size_t size = 0;
    amg_status st = make_text(path, m, &text, &size, err);
    if (st) return st;
    amg_manifest read_back;
    st = amg_manifest_parse(text, size, path, &read_back, err);
    if (st && st != AMG_NO_MEMORY) {
        /* The caller's mistake, not a file's: no byte of any file to point at. */
        st = AMG_INVALID;
        if (err) err->code = st, err->offset = -1;
    }
    if (!st) {
        amg_manifest_clear(&read_back);
        st = amg_file_write(path, 0644, false, text, size, err);
    }
    amg_free(text);
    return st;
}
