/* Writes metrics.jsonl. The one file that grows in place instead of being written
 * beside and renamed: it is a log to follow while training runs, so it is opened here
 * and not through base/file. */
#include "engine/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

/* The parts of a line that say when it was written: everything before "lr". */
static bool line_time(const char *line, long long *step, long long *epoch, bool *end)
{
    *end = strstr(line, "\"end_of_epoch\":true") != NULL;
    return sscanf(line, "{\"step\":%lld,\"epoch\":%lld,", step, epoch) == 2;
}

/* Bytes of the file's leading lines that a run at (step, epochs_done) has written; a
 * line cut off by a crash is not one. */
static size_t bytes_to_keep(const uint8_t *data, size_t size, int64_t step,
                            int64_t epochs_done)
{
    size_t kept = 0;
    while (kept < size) {
        const uint8_t *begin = data + kept;
        const uint8_t *newline = memchr(begin, '\n', size - kept);
        char line[128];
        long long line_step, line_epoch;
        bool end;
        if (!newline) break;
        const size_t length = (size_t)(newline - begin);
        const size_t head = length < sizeof line - 1 ? length : sizeof line - 1;
        memcpy(line, begin, head);
        line[head] = 0;
        if (!line_time(line, &line_step, &line_epoch, &end)) break;
        if (line_step > step || (end && line_epoch > epochs_done)) break;
        kept += length + 1;
    }
    return kept;
}

static amg_status find_end(const char *path, int64_t step, int64_t epochs_done,
                           size_t *end, amg_error *err)
{
    amg_map map;
    *end = 0;
    if (step == 0 || !amg_path_exists(path)) return AMG_OK;
    amg_status status = amg_map_open(path, &map, err);
    if (status) return status;
    *end = bytes_to_keep(map.data, map.size, step, epochs_done);
    amg_map_close(&map);
    return AMG_OK;
}

amg_status amg_metrics_open(const char *path, int64_t step, int64_t epochs_done,
                            amg_metrics *out, amg_error *err)
{
    size_t end;
    amg_metrics m = {0};
    amg_status status = find_end(path, step, epochs_done, &end, err);
    if (status) return status;
    m.path = amg_strdup(path);
    if (!m.path) return amg_fail(err, AMG_NO_MEMORY, -1, path, "metrics");
    m.stream = fopen(path, "ae");
    if (!m.stream || ftruncate(fileno(m.stream), (off_t)end)) {
        status = amg_fail_errno(err, errno, path, "cannot open for appending");
        amg_metrics_close(&m);
        return status;
    }
    *out = m;
    return AMG_OK;
}

/* Of several outputs, each one's. */
static void write_parts(FILE *f, const amg_head_result *h)
{
    for (int i = 0; i < (int)h->num_parts; i++) {
        fprintf(f, ",\"val_%d_loss\":%.9g", i, h->parts[i].val_loss);
        if (!isnan(h->parts[i].val_accuracy))
            fprintf(f, ",\"val_%d_top1\":%.9g", i, h->parts[i].val_accuracy);
    }
}

/* lr NaN: the line has it. */
static void write_head(FILE *f, double lr, const amg_head_result *h)
{
    const struct {
        const char *name;
        double value;
    } fields[] = {{"lr", lr},
                  {"loss", h->train_loss},
                  {"accuracy", h->train_accuracy},
                  {"val_loss", h->val_loss},
                  {"val_top1", h->val_top1},
                  {"val_top5", h->val_top5}};
    const char *between = "";
    fputc('{', f);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (isnan(fields[i].value)) continue;
        fprintf(f, "%s\"%s\":%.9g", between, fields[i].name, fields[i].value);
        between = ",";
    }
    write_parts(f, h);
    fputc('}', f);
}

amg_status amg_metrics_write(amg_metrics *m, const amg_metrics_line *line,
                             amg_error *err)
{
    FILE *f = m->stream;
    if (!f) return AMG_OK;
    fprintf(f, "{\"step\":%lld,\"epoch\":%lld,", (long long)line->step,
            (long long)line->epoch);
    if (line->end_of_epoch) fputs("\"end_of_epoch\":true,", f);
    if (!line->each_lr) fprintf(f, "\"lr\":%.9g,", line->lr[0]);
    fputs("\"heads\":[", f);
    for (int h = 0; h < line->num_heads; h++) {
        if (h) fputc(',', f);
        write_head(f, line->each_lr ? line->lr[h] : NAN, &line->heads[h]);
    }
    fprintf(f, "],\"%s_per_second\":%.6g}\n",
            line->predicts_tokens ? "tokens" : "images", line->per_second);
    if (fflush(f) || ferror(f))
        return amg_fail_errno(err, errno, m->path, "cannot write");
    return AMG_OK;
}

void amg_metrics_drop_dir(const char *dir)
{
    struct stat info;
    char *path = amg_path_join(dir, AMG_METRICS_FILE);
    if (path && !stat(path, &info) && info.st_size == 0) unlink(path);
    rmdir(dir); /* goes only if it is empty */
    amg_free(path);
}

void amg_metrics_close(amg_metrics *m)
{
    if (m->stream) fclose(m->stream);
    amg_free(m->path);
    memset(m, 0, sizeof *m);
}
