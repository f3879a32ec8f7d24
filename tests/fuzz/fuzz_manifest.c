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

static void check_split(const amg_split *s)
{
    int64_t sum = 0;
    for (int i = 0; i < s->num_shards; i++) {
        check_path(s->shards[i].x);
        check_path(s->shards[i].y);
        if (__builtin_add_overflow(sum, s->shards[i].rows, &sum)) abort();
    }
    if (sum != s->num_samples) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    amg_manifest m = {0};
    amg_error err;
    if (amg_manifest_parse((const char *)data, size, "fuzz", &m, &err)) {
        if (m.heads || err.offset < -1 || err.offset > (int64_t)size) abort();
        return 0;
    }
    uint64_t columns = 0;
    if (m.num_heads < 1 || m.num_heads > 64) abort();
    for (int i = 0; i < m.num_heads; i++) {
        if (m.heads[i].label_column < 0 || m.heads[i].label_column > 63) abort();
        columns |= (uint64_t)1 << m.heads[i].label_column;
    }
    if (__builtin_popcountll(columns) != m.num_heads) abort();
    check_split(&m.train);
    check_split(&m.val);
    for (int i = 0; i < m.num_files; i++) {
        check_path(m.files[i].path);
        if (strlen(m.files[i].sha256) != 64) abort();
    }
    amg_manifest_clear(&m);
    return 0;
}
