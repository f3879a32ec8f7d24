/* Fuzz target: any bytes as a job.json. What is accepted must hold the promises that
 * the trainer builds on: paths that stay inside, columns in range, sums that fit. */
#include <stdlib.h>
#include <string.h>

#include "formats/manifest.h"
#include "fuzz.h"

static void check_path(const char *path)
{
    if (!*path || *path == '/' || strchr(path, '\\') || strstr(path, "//")) abort();
    if (!strcmp(path, "..") || !strncmp(path, "../", 3) || strstr(path, "/../"))
        abort();
}

static void check_split(const amg_manifest *m, const amg_split *s)
{
    int64_t sum = 0;
    for (int i = 0; i < s->num_shards; i++) {
        check_path(s->shards[i].x);
        if (amg_task_has_targets(m->task) == !s->shards[i].y) abort();
        if (s->shards[i].y) check_path(s->shards[i].y);
        if (__builtin_add_overflow(sum, s->shards[i].rows, &sum)) abort();
    }
    if (sum != s->num_samples) abort();
}

/* The parts of a sum share the job's row of targets. */
static void check_parts(const amg_manifest *m, const amg_head *head)
{
    int64_t outputs, targets;
    if (!head->num_parts) return;
    if (amg_loss_parts_measure(head->parts, head->num_parts, &outputs, &targets, NULL))
        abort();
    if (m->target_rank != 1 || m->target_dims[0] != targets) abort();
    for (int i = 0; i < head->num_parts; i++) {
        const amg_loss_part *p = &head->parts[i];
        if (!(p->weight > 0) || amg_loss_has_delta(p->loss) != (p->delta > 0)) abort();
    }
}

/* Each head has a target of its own: a column of y, or a value of the graph. */
static void check_heads(const amg_manifest *m)
{
    uint64_t columns = 0;
    if (m->num_heads < 1 || m->num_heads > 64) abort();
    for (int i = 0; i < m->num_heads; i++) {
        const amg_head *head = &m->heads[i];
        const bool classes = head->loss == AMG_LOSS_CROSS_ENTROPY;
        if (amg_task_has_targets(m->task) != !head->target) abort();
        if (classes != (head->num_classes > 0)) abort();
        if (head->has_ignore && m->task != AMG_TASK_LANGUAGE_MODEL) abort();
        if (head->ignore_index < 0 || head->ignore_index > INT32_MAX) abort();
        if (!amg_task_takes_loss(m->task, head->loss)) abort();
        if ((head->loss == AMG_LOSS_SUM) != (head->num_parts > 0)) abort();
        check_parts(m, head);
        if (head->label_column < 0 || head->label_column > 63) abort();
        columns |= (uint64_t)1 << head->label_column;
    }
    const int expected = amg_task_has_targets(m->task) ? m->num_heads : 1;
    if (__builtin_popcountll(columns) != expected) abort();
}

static void check_target(const amg_manifest *m)
{
    static const amg_dtype dtypes[AMG_NUM_TASKS] = {
        AMG_I32, AMG_F32, AMG_DTYPE_NONE, AMG_DTYPE_NONE, AMG_F32, AMG_F32};
    if (m->target_dtype != dtypes[m->task]) abort();
    if (m->target_rank < 0 || m->target_rank > AMG_MAX_RANK - 2) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    amg_manifest m = {0};
    amg_error err;
    if (amg_manifest_parse((const char *)data, size, "fuzz", &m, &err)) {
        if (m.heads || err.offset < -1 || err.offset > (int64_t)size) abort();
        return 0;
    }
    check_heads(&m);
    check_target(&m);
    check_split(&m, &m.train);
    check_split(&m, &m.val);
    for (int i = 0; i < m.num_files; i++) {
        check_path(m.files[i].path);
        if (strlen(m.files[i].sha256) != 64) abort();
    }
    amg_manifest_clear(&m);
    return 0;
}
