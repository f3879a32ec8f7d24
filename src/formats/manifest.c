/* Reading and checking job.json. Consumes JSON that a stranger may have made, produces
 * plain data in one arena; opens the files it names only to check their size and hash.
 * Does not know what a head computes or who owns the job. docs/job.md has the schema
 * and every refusal. */
#include "formats/manifest.h"

#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "formats/json.h"
#include "formats/loss_parts.h"

#define MAX_HEADS 64
#define MAX_SHARDS 100000
#define MAX_FILES 500000
#define MAX_FROZEN 1000000
#define MAX_TEXT 1024 /* bytes of a name or path */
#define MAX_ROWS ((int64_t)1 << 40)

static amg_status no_memory(const amg_json_node *node, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, node->doc->name,
                    "no memory for the manifest");
}

/* A non-empty string of at most MAX_TEXT bytes without control characters, copied. */
static amg_status read_text(const amg_json_node *node, amg_manifest *m,
                            const char **out, amg_error *err)
{
    const char *text;
    amg_status st = amg_json_string(node, &text, err);
    if (st) return st;
    size_t n = strlen(text);
    if (!n || n > MAX_TEXT)
        return amg_json_fail(node, err, AMG_MALFORMED,
                             "found %zu bytes, expected 1 to %d", n, MAX_TEXT);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return amg_json_fail(node, err, AMG_MALFORMED, "holds a control character");
    if (!(*out = amg_arena_strdup(&m->arena, text))) return no_memory(node, err);
    return AMG_OK;
}

/* A path that cannot leave its folder: components between single '/', none of them "",
 * "." or "..", and no '\', which other systems read as '/'. */
static bool path_is_safe(const char *path)
{
    if (strchr(path, '\\')) return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (!n || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')))) return false;
        p += n;
        if (!*p) return true;
    }
}

static amg_status read_path(const amg_json_node *node, amg_manifest *m,
                            const char **out, amg_error *err)
{
    amg_status st = read_text(node, m, out, err);
    if (!st && !path_is_safe(*out))
        return amg_json_fail(node, err, AMG_UNSAFE_PATH,
                             "\"%s\" is no plain path inside the job folder", *out);
    return st;
}

/* A dtype and dims that go together: of the input, of a target. */
typedef struct {
    amg_dtype dtype;
    int rank;
    int64_t dims[AMG_MAX_RANK];
} shape;

static amg_status read_shape(const amg_json_node *node, size_t min_rank,
                             size_t max_rank, shape *out, amg_error *err)
{
    amg_json_node dtype = amg_json_member(node, "dtype");
    amg_json_node dims = amg_json_member(node, "dims");
    const char *type;
    size_t rank, size;
    amg_status st = amg_json_string(&dtype, &type, err);
    if (st) return st;
    if (!(out->dtype = amg_dtype_find_name(type)))
        return amg_json_fail(&dtype, err, AMG_UNSUPPORTED, "unknown dtype \"%s\"",
                             type);
    if ((st = amg_json_array(&dims, min_rank, max_rank, &rank, err))) return st;
    out->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        amg_json_node dim = amg_json_element(&dims, i);
        if ((st = amg_json_int(&dim, 1, INT32_MAX, &out->dims[i], err))) return st;
    }
    if (amg_tensor_size(out->dtype, out->rank, out->dims, &size, NULL))
        return amg_json_fail(&dims, err, AMG_OVERFLOW,
                             "the product of its dims does not fit 63 bits");
    return AMG_OK;
}

/* A job says the name itself: aliases are for command lines. */
static amg_status read_task(const amg_json_node *node, amg_manifest *m, amg_error *err)
{
    const char *name;
    amg_status st = amg_json_string(node, &name, err);
    if (st) return st;
    if (amg_task_find_name(name, &m->task) && !strcmp(amg_task_name(m->task), name))
        return AMG_OK;
    return amg_json_fail(node, err, AMG_UNSUPPORTED,
                         "found \"%s\", expected classification, regression, "
                         "reconstruction, language_model, multi_label or "
                         "multi_task",
                         name);
}

static amg_status read_input(const amg_json_node *node, amg_manifest *m, amg_error *err)
{
    static const char *const keys[] = {"name", "dtype", "dims", "mixed", "rotated"};
    const amg_json_node mixed = amg_json_member(node, "mixed");
    const amg_json_node rotated = amg_json_member(node, "rotated");
    /* Rotated ones are mixed, too. */
    amg_status st = amg_json_object(node, keys,
                                    rotated.value ? 5
                                    : mixed.value ? 4
                                                  : 3,
                                    err);
    if (st) return st;
    if (mixed.value && !json_is_true(mixed.value))
        return amg_json_fail(&mixed, err, AMG_MALFORMED, "expected true, or nothing");
    if (rotated.value && !json_is_true(rotated.value))
        return amg_json_fail(&rotated, err, AMG_MALFORMED, "expected true, or nothing");
    m->mixed = mixed.value != NULL;
    m->rotated = rotated.value != NULL;
    amg_json_node name = amg_json_member(node, "name");
    shape s;
    if ((st = read_text(&name, m, &m->input_name, err))) return st;
    if ((st = read_shape(node, 1, AMG_MAX_RANK - 1, &s, err))) return st;
    m->input_dtype = s.dtype;
    m->input_rank = s.rank;
    memcpy(m->input_dims, s.dims, (size_t)s.rank * sizeof *s.dims);
    return AMG_OK;
}

/* A shard's y puts rows and heads before a target's dims. */
static amg_status read_target(const amg_json_node *node, amg_manifest *m,
                              amg_error *err)
{
    static const char *const keys[] = {"dtype", "dims"};
    const amg_dtype expected = m->task == AMG_TASK_CLASSIFICATION ? AMG_I32 : AMG_F32;
    amg_status st = amg_json_object(node, keys, 2, err);
    if (st) return st;
    shape s;
    if ((st = read_shape(node, 0, AMG_MAX_RANK - 2, &s, err))) return st;
    if (s.dtype != expected) {
        amg_json_node dtype = amg_json_member(node, "dtype");
        return amg_json_fail(
            &dtype, err, AMG_UNSUPPORTED, "found \"%s\", expected \"%s\" for %s",
            amg_dtype_name(s.dtype), amg_dtype_name(expected), amg_task_name(m->task));
    }
    m->target_dtype = s.dtype;
    m->target_rank = s.rank;
    memcpy(m->target_dims, s.dims, (size_t)s.rank * sizeof *s.dims);
    return AMG_OK;
}

static amg_status read_loss(const amg_json_node *node, const amg_manifest *m,
                            amg_loss_kind *out, amg_error *err)
{
    const char *name;
    amg_status st = amg_json_string(node, &name, err);
    if (st) return st;
    if (amg_loss_find_name(name, out) && amg_task_takes_loss(m->task, *out))
        return AMG_OK;
    return amg_json_fail(
        node, err, AMG_UNSUPPORTED, "found \"%s\", expected \"%s\"%s for %s", name,
        amg_loss_name(amg_task_loss(m->task)),
        amg_task_loss(m->task) == AMG_LOSS_MSE ? ", \"l1\", \"huber\" or \"smooth_l1\""
                                               : "",
        amg_task_name(m->task));
}

static amg_status read_class_weights(const amg_json_node *node, amg_manifest *m,
                                     amg_head *head, amg_error *err)
{
    size_t count;
    bool any = false;
    amg_status st = amg_json_array(node, 1, INT32_MAX, &count, err);
    if (st) return st;
    if ((int64_t)count != head->num_classes)
        return amg_json_fail(node, err, AMG_MALFORMED,
                             "found %zu weights, expected one for each of %" PRId64
                             " classes",
                             count, head->num_classes);
    float *weights = amg_arena_array(&m->arena, count, sizeof *weights);
    if (!weights) return no_memory(node, err);
    for (size_t i = 0; i < count; i++) {
        const amg_json_node weight = amg_json_element(node, i);
        if ((st = amg_json_real(&weight, 0, &weights[i], err))) return st;
        any = any || weights[i] > 0;
    }
    head->class_weights = weights;
    return any ? AMG_OK : amg_json_fail(node, err, AMG_MALFORMED, "all weights are 0");
}

/* The terms of a sum, which share the row of targets among them. */
static amg_status read_parts(const amg_json_node *node, amg_manifest *m, amg_head *head,
                             amg_error *err)
{
    const amg_json_node parts = amg_json_member(node, "parts");
    int64_t outputs, targets;
    amg_status st = amg_loss_parts_read(&parts, &m->arena, head, err);
    if (st) return st;
    if (amg_loss_parts_measure(head->parts, head->num_parts, &outputs, &targets, NULL))
        return amg_json_fail(&parts, err, AMG_OVERFLOW,
                             "the product of their dims does not fit 63 bits");
    if (m->target_rank == 1 && m->target_dims[0] == targets) return AMG_OK;
    return amg_json_fail(
        &parts, err, AMG_MALFORMED,
        "their targets are %" PRId64 " numbers, the job's have other dims", targets);
}

/* What a loss has beside its name. */
static amg_status read_loss_numbers(const amg_json_node *node, amg_manifest *m,
                                    amg_head *head, amg_error *err)
{
    const amg_json_node delta = amg_json_member(node, "delta");
    const amg_json_node weights = amg_json_member(node, "class_weights");
    if (head->loss == AMG_LOSS_SUM) return read_parts(node, m, head, err);
    if (amg_loss_has_delta(head->loss))
        return amg_json_real(&delta, FLT_MIN, &head->delta, err);
    return weights.value ? read_class_weights(&weights, m, head, err) : AMG_OK;
}

/* The value of the graph that the head is compared with, one head's only. */
static amg_status read_target_value(const amg_json_node *node, amg_manifest *m,
                                    amg_head *head, amg_error *err)
{
    amg_json_node target = amg_json_member(node, "target");
    amg_status st = read_text(&target, m, &head->target, err);
    if (st) return st;
    for (const amg_head *other = m->heads; other < head; other++)
        if (!strcmp(other->target, head->target))
            return amg_json_fail(&target, err, AMG_MALFORMED, "\"%s\" is used twice",
                                 head->target);
    return AMG_OK;
}

/* The column of y that the head is compared with, one head's only. */
static amg_status read_label_column(const amg_json_node *node, amg_manifest *m,
                                    amg_head *head, amg_error *err)
{
    amg_json_node column = amg_json_member(node, "label_column");
    int64_t label_column;
    amg_status st = amg_json_int(&column, 0, m->num_heads - 1, &label_column, err);
    if (st) return st;
    head->label_column = (int)label_column;
    for (const amg_head *other = m->heads; other < head; other++)
        if (other->label_column == head->label_column)
            return amg_json_fail(&column, err, AMG_MALFORMED, "%d is used twice",
                                 head->label_column);
    return AMG_OK;
}

/* The members that depend on the task. */
static amg_status read_head_target(const amg_json_node *node, amg_manifest *m,
                                   amg_head *head, amg_error *err)
{
    amg_status st = amg_task_has_targets(m->task)
                        ? read_label_column(node, m, head, err)
                        : read_target_value(node, m, head, err);
    if (st || amg_task_loss(m->task) != AMG_LOSS_CROSS_ENTROPY) return st;
    amg_json_node classes = amg_json_member(node, "num_classes");
    if ((st = amg_json_int(&classes, 1, INT32_MAX, &head->num_classes, err))) return st;
    if (!head->has_ignore) return AMG_OK;
    amg_json_node ignore = amg_json_member(node, "ignore_index");
    return amg_json_int(&ignore, 0, INT32_MAX, &head->ignore_index, err);
}

/* The members that a head of the task has; those of its loss last, where they are. */
static amg_status check_members(const amg_json_node *node, amg_task task,
                                amg_head *head, amg_error *err)
{
    static const struct {
        const char *keys[4];
        size_t count;
    } members[AMG_NUM_TASKS] = {
        [AMG_TASK_CLASSIFICATION] = {{"output", "loss", "label_column", "num_classes"},
                                     4},
        [AMG_TASK_REGRESSION] = {{"output", "loss", "label_column"}, 3},
        [AMG_TASK_RECONSTRUCTION] = {{"output", "loss", "target"}, 3},
        [AMG_TASK_LANGUAGE_MODEL] = {{"output", "loss", "target", "num_classes"}, 4},
        [AMG_TASK_MULTI_LABEL] = {{"output", "loss", "label_column"}, 3},
        [AMG_TASK_MULTI_TASK] = {{"output", "loss", "label_column", "parts"}, 4}};
    const amg_json_node loss = amg_json_member(node, "loss");
    const char *keys[6], *more = NULL;
    size_t count = members[task].count;
    amg_loss_kind kind;
    memcpy(keys, members[task].keys, sizeof members[task].keys);
    head->has_ignore =
        task == AMG_TASK_LANGUAGE_MODEL && amg_json_member(node, "ignore_index").value;
    if (head->has_ignore) more = "ignore_index";
    if (task == AMG_TASK_CLASSIFICATION && amg_json_member(node, "class_weights").value)
        more = "class_weights";
    if (json_is_string(loss.value) &&
        amg_loss_find_name(json_string_value(loss.value), &kind) &&
        amg_task_takes_loss(task, kind) && amg_loss_has_delta(kind))
        more = "delta";
    if (more) keys[count++] = more;
    return amg_json_object(node, keys, count, err);
}

static amg_status read_head(const amg_json_node *node, amg_manifest *m, amg_head *head,
                            amg_error *err)
{
    amg_status st = check_members(node, m->task, head, err);
    if (st) return st;
    amg_json_node output = amg_json_member(node, "output");
    amg_json_node loss = amg_json_member(node, "loss");
    if ((st = read_text(&output, m, &head->output, err))) return st;
    for (const amg_head *other = m->heads; other < head; other++)
        if (!strcmp(other->output, head->output))
            return amg_json_fail(&output, err, AMG_MALFORMED, "\"%s\" is used twice",
                                 head->output);
    if ((st = read_head_target(node, m, head, err))) return st;
    if ((st = read_loss(&loss, m, &head->loss, err))) return st;
    return read_loss_numbers(node, m, head, err);
}

static amg_status read_heads(const amg_json_node *node, amg_manifest *m, amg_error *err)
{
    size_t count;
    amg_status st = amg_json_array(node, 1, MAX_HEADS, &count, err);
    if (st) return st;
    if (!(m->heads = amg_arena_array(&m->arena, count, sizeof *m->heads)))
        return no_memory(node, err);
    m->num_heads = (int)count;
    for (size_t i = 0; i < count && !st; i++) {
        amg_json_node head = amg_json_element(node, i);
        st = read_head(&head, m, &m->heads[i], err);
    }
    return st;
}

/* In ascending order, so that each name stands there once and is found fast. */
static amg_status read_frozen(const amg_json_node *node, amg_manifest *m,
                              amg_error *err)
{
    size_t count;
    amg_status st = amg_json_array(node, 1, MAX_FROZEN, &count, err);
    if (st) return st;
    if (!(m->frozen = amg_arena_array(&m->arena, count, sizeof *m->frozen)))
        return no_memory(node, err);
    m->num_frozen = (int)count;
    for (size_t i = 0; i < count; i++) {
        amg_json_node name = amg_json_element(node, i);
        if ((st = read_text(&name, m, &m->frozen[i], err))) return st;
        if (i > 0 && strcmp(m->frozen[i - 1], m->frozen[i]) >= 0)
            return amg_json_fail(&name, err, AMG_MALFORMED,
                                 "\"%s\" does not come after \"%s\": expected "
                                 "ascending names",
                                 m->frozen[i], m->frozen[i - 1]);
    }
    return AMG_OK;
}

static amg_status read_shard(const amg_json_node *node, amg_manifest *m,
                             amg_shard *shard, amg_error *err)
{
    static const char *const keys[] = {"x", "rows", "y"};
    const bool has_y = amg_task_has_targets(m->task);
    amg_status st = amg_json_object(node, keys, has_y ? 3 : 2, err);
    if (st) return st;
    amg_json_node x = amg_json_member(node, "x");
    amg_json_node rows = amg_json_member(node, "rows");
    if ((st = read_path(&x, m, &shard->x, err))) return st;
    if (has_y) {
        amg_json_node y = amg_json_member(node, "y");
        if ((st = read_path(&y, m, &shard->y, err))) return st;
    }
    return amg_json_int(&rows, 1, MAX_ROWS, &shard->rows, err);
}

/* The sum of rows cannot overflow: MAX_SHARDS x MAX_ROWS < 2^57. */
static amg_status read_split(const amg_json_node *node, size_t min_shards,
                             amg_manifest *m, amg_split *split, amg_error *err)
{
    static const char *const keys[] = {"num_samples", "shards"};
    amg_status st = amg_json_object(node, keys, 2, err);
    if (st) return st;
    amg_json_node samples = amg_json_member(node, "num_samples");
    amg_json_node shards = amg_json_member(node, "shards");
    size_t count;
    if ((st = amg_json_int(&samples, 0, INT64_MAX, &split->num_samples, err)))
        return st;
    if ((st = amg_json_array(&shards, min_shards, MAX_SHARDS, &count, err))) return st;
    if (!(split->shards = amg_arena_array(&m->arena, count, sizeof *split->shards)))
        return no_memory(node, err);
    split->num_shards = (int)count;
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        amg_json_node shard = amg_json_element(&shards, i);
        if ((st = read_shard(&shard, m, &split->shards[i], err))) return st;
        sum += split->shards[i].rows;
    }
    if (sum != split->num_samples)
        return amg_json_fail(&samples, err, AMG_MALFORMED,
                             "found %" PRId64 ", the shards hold %" PRId64,
                             split->num_samples, sum);
    return AMG_OK;
}

static amg_status read_file(const amg_json_node *node, amg_manifest *m,
                            amg_job_file *file, amg_error *err)
{
    static const char *const keys[] = {"path", "size_bytes", "sha256"};
    amg_status st = amg_json_object(node, keys, 3, err);
    if (st) return st;
    amg_json_node path = amg_json_member(node, "path");
    amg_json_node size = amg_json_member(node, "size_bytes");
    amg_json_node sha256 = amg_json_member(node, "sha256");
    const char *hex;
    if ((st = read_path(&path, m, &file->path, err))) return st;
    if (!strcmp(file->path, "job.json") || !strncmp(file->path, "out/", 4))
        return amg_json_fail(&path, err, AMG_MALFORMED,
                             "\"%s\" is not one of the job's own files", file->path);
    if ((st = amg_json_int(&size, 0, INT64_MAX, &file->size_bytes, err))) return st;
    if ((st = amg_json_string(&sha256, &hex, err))) return st;
    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
        return amg_json_fail(&sha256, err, AMG_MALFORMED,
                             "expected 64 lowercase hex digits");
    memcpy(file->sha256, hex, 65);
    return AMG_OK;
}

static int compare_paths(const void *a, const void *b)
{
    const amg_job_file *const *x = a, *const *y = b;
    int order = strcmp((*x)->path, (*y)->path);
    if (order) return order;
    return *x < *y ? -1 : *x > *y; /* so that the second one is named, not the first */
}

static amg_status check_unique_paths(const amg_json_node *node, const amg_manifest *m,
                                     amg_error *err)
{
    size_t n = (size_t)m->num_files;
    if (n < 2) return AMG_OK;
    const amg_job_file **sorted = amg_calloc(n, sizeof *sorted);
    if (!sorted) return no_memory(node, err);
    for (size_t i = 0; i < n; i++) sorted[i] = &m->files[i];
    qsort(sorted, n, sizeof *sorted, compare_paths);
    amg_status st = AMG_OK;
    for (size_t i = 1; i < n && !st; i++) {
        if (strcmp(sorted[i - 1]->path, sorted[i]->path)) continue;
        amg_json_node file = amg_json_element(node, (size_t)(sorted[i] - m->files));
        amg_json_node path = amg_json_member(&file, "path");
        st = amg_json_fail(&path, err, AMG_MALFORMED, "\"%s\" is listed twice",
                           sorted[i]->path);
    }
    amg_free(sorted);
    return st;
}

static amg_status read_files(const amg_json_node *node, amg_manifest *m, amg_error *err)
{
    size_t count;
    amg_status st = amg_json_array(node, 0, MAX_FILES, &count, err);
    if (st) return st;
    if (!(m->files = amg_arena_array(&m->arena, count, sizeof *m->files)))
        return no_memory(node, err);
    m->num_files = (int)count;
    for (size_t i = 0; i < count; i++) {
        amg_json_node file = amg_json_element(node, i);
        if ((st = read_file(&file, m, &m->files[i], err))) return st;
    }
    return check_unique_paths(node, m, err);
}

/* Fills a zeroed manifest; on failure the caller clears it. The version is judged
 * first: a later version may have other members. So is the task, which decides about
 * the target. */
static amg_status read_root(const amg_json_node *root, amg_manifest *m, amg_error *err)
{
    const char *keys[9] = {"version", "task", "input", "heads",
                           "train",   "val",  "files"};
    size_t num_keys = 7;
    amg_json_node version = amg_json_member(root, "version");
    amg_json_node task = amg_json_member(root, "task");
    int64_t number;
    amg_status st;
    if (version.value) {
        if ((st = amg_json_int(&version, 1, INT32_MAX, &number, err))) return st;
        if (number != AMG_MANIFEST_VERSION)
            return amg_json_fail(&version, err, AMG_UNSUPPORTED,
                                 "found %" PRId64 ", expected %d", number,
                                 AMG_MANIFEST_VERSION);
    }
    if (task.value && (st = read_task(&task, m, err))) return st;
    const bool has_target = amg_task_has_targets(m->task);
    amg_json_node frozen = amg_json_member(root, "frozen");
    if (has_target) keys[num_keys++] = "target";
    if (frozen.value) keys[num_keys++] = "frozen";
    if ((st = amg_json_object(root, keys, num_keys, err))) return st;
    m->version = AMG_MANIFEST_VERSION;
    amg_json_node input = amg_json_member(root, "input");
    amg_json_node heads = amg_json_member(root, "heads");
    amg_json_node train = amg_json_member(root, "train");
    amg_json_node val = amg_json_member(root, "val");
    amg_json_node files = amg_json_member(root, "files");
    if ((st = read_input(&input, m, err))) return st;
    if (has_target) {
        amg_json_node target = amg_json_member(root, "target");
        if ((st = read_target(&target, m, err))) return st;
    }
    if ((st = read_heads(&heads, m, err))) return st;
    if (frozen.value && (st = read_frozen(&frozen, m, err))) return st;
    if ((st = read_split(&train, 1, m, &m->train, err))) return st;
    if ((st = read_split(&val, 0, m, &m->val, err))) return st;
    return read_files(&files, m, err);
}

amg_status amg_manifest_parse(const char *json, size_t size_bytes, const char *name,
                              amg_manifest *out, amg_error *err)
{
    amg_json doc;
    amg_status st = amg_json_parse(json, size_bytes, 0, name, &doc, err);
    if (st) return st;
    amg_manifest m = {0};
    amg_json_node root = amg_json_root(&doc);
    st = read_root(&root, &m, err);
    amg_json_clear(&doc);
    if (st)
        amg_manifest_clear(&m);
    else
        *out = m;
    return st;
}

amg_status amg_manifest_read(const char *path, amg_manifest *out, amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st) return st;
    const char *text = map.data ? (const char *)map.data : "";
    st = amg_manifest_parse(text, map.size, path, out, err);
    amg_map_close(&map);
    return st;
}

void amg_manifest_clear(amg_manifest *m)
{
    amg_arena_clear(&m->arena);
    *m = (amg_manifest){0};
}

static amg_status check_file(const amg_job_file *file, const char *job_dir, bool hashes,
                             amg_error *err)
{
    char *path = amg_path_join(job_dir, file->path);
    if (!path)
        return amg_fail(err, AMG_NO_MEMORY, -1, file->path, "no memory for its path");
    amg_map map = {0};
    amg_status st = amg_map_open(path, &map, err);
    if (st) goto done;
    if ((int64_t)map.size != file->size_bytes) {
        st = amg_fail(err, AMG_MISMATCH, -1, path,
                      "found %zu bytes, job.json says %" PRId64, map.size,
                      file->size_bytes);
        goto done;
    }
    if (hashes) {
        char hex[65];
        st = amg_sha256_hex(map.data, map.size, hex, err);
        if (!st && strcmp(hex, file->sha256))
            st = amg_fail(err, AMG_MISMATCH, -1, path,
                          "found SHA-256 %s, job.json says %s", hex, file->sha256);
    }

done:
    amg_map_close(&map);
    amg_free(path);
    return st;
}

typedef struct {
    const amg_manifest *m;
    const char *job_dir;
    bool hashes;
} file_check;

static amg_status check_item(void *context, int64_t item, amg_error *err)
{
    const file_check *c = context;
    return check_file(&c->m->files[item], c->job_dir, c->hashes, err);
}

amg_status amg_manifest_check_files(const amg_manifest *m, const char *job_dir,
                                    bool hashes, amg_error *err)
{
    file_check c = {m, job_dir, hashes};
    return amg_parallel_items(m->num_files, check_item, &c, err);
}
