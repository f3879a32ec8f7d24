/* Reads the losses of metrics.jsonl, line by line. The file was written by a trainer on
 * a machine of others: whatever is not a line of its form is an error with its byte.
 * Knows nothing of drawing or of what a curve gives away. */
#include "audit/curves.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/file.h"
#include "engine/metrics.h"

/* A loss, NaN where the trainer measured none; infinite ones cannot be written. */
static double loss_of(const json_t *head, const char *name)
{
    const json_t *value = json_object_get(head, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static amg_status grow(amg_curve *c, int num_heads, amg_error *err)
{
    if (c->count < c->capacity) return AMG_OK;
    const int64_t more = c->capacity ? 2 * c->capacity : 64;
    const size_t row = (size_t)num_heads * sizeof *c->loss;
    size_t size;
    double *step = NULL, *loss = NULL;
    if (amg_mul_size((size_t)more, row, &size))
        step = amg_realloc(c->step, (size_t)more * sizeof *step);
    if (step) {
        c->step = step;
        loss = amg_realloc(c->loss, size);
    }
    if (!loss) return amg_fail(err, AMG_NO_MEMORY, -1, "metrics", "no memory");
    c->loss = loss;
    c->capacity = more;
    return AMG_OK;
}

/* Adds a point unless no head has this loss. */
static amg_status add_point(amg_curves *out, amg_curve_kind kind, double step,
                            const json_t *heads, const char *name, amg_error *err)
{
    amg_curve *c = &out->kinds[kind];
    amg_status st = grow(c, out->num_heads, err);
    if (st) return st;
    bool any = false;
    for (int h = 0; h < out->num_heads; h++) {
        const double loss = loss_of(json_array_get(heads, (size_t)h), name);
        c->loss[c->count * out->num_heads + h] = loss;
        any |= !isnan(loss);
    }
    c->step[c->count] = step;
    c->count += any;
    return AMG_OK;
}

static amg_status read_line(const json_t *line, const char *path, int64_t at,
                            amg_curves *out, amg_error *err)
{
    const json_t *step = json_object_get(line, "step");
    const json_t *heads = json_object_get(line, "heads");
    if (!json_is_integer(step) || json_integer_value(step) < 0 || !json_is_array(heads))
        return amg_fail(err, AMG_MALFORMED, at, path,
                        "no line of metrics: \"step\" or \"heads\" is missing");
    if (json_array_size(heads) != (size_t)out->num_heads)
        return amg_fail(err, AMG_MISMATCH, at, path, "%zu heads, expected the job's %d",
                        json_array_size(heads), out->num_heads);
    const double x = (double)json_integer_value(step);
    if (!json_is_true(json_object_get(line, "end_of_epoch")))
        return add_point(out, AMG_CURVE_STEPS, x, heads, "loss", err);
    amg_status st = add_point(out, AMG_CURVE_EPOCHS, x, heads, "loss", err);
    if (!st) st = add_point(out, AMG_CURVE_VALIDATION, x, heads, "val_loss", err);
    return st;
}

static amg_status read_lines(const char *path, const char *text, size_t size,
                             amg_curves *out, amg_error *err)
{
    amg_status st = AMG_OK;
    double last = 0;
    for (size_t at = 0; at < size && !st;) {
        const char *end = memchr(text + at, '\n', size - at);
        if (!end) break; /* the trainer was stopped while it wrote */
        const size_t length = (size_t)(end - text) - at;
        json_t *line = json_loadb(text + at, length, JSON_REJECT_DUPLICATES, NULL);
        if (line)
            st = read_line(line, path, (int64_t)at, out, err);
        else
            st =
                amg_fail(err, AMG_MALFORMED, (int64_t)at, path, "this line is no JSON");
        const double step = json_number_value(json_object_get(line, "step"));
        if (!st && step < last)
            st = amg_fail(err, AMG_MALFORMED, (int64_t)at, path,
                          "step %.0f after step %.0f", step, last);
        last = step;
        json_decref(line);
        at += length + 1;
    }
    return st;
}

amg_status amg_curves_read(const char *job, int num_heads, amg_curves *out,
                           amg_error *err)
{
    amg_map map = {0};
    amg_curves curves = {.num_heads = num_heads};
    char *folder = amg_path_join(job, "out");
    char *path = folder ? amg_path_join(folder, AMG_METRICS_FILE) : NULL;
    amg_status st = path ? amg_map_open(path, &map, err)
                         : amg_fail(err, AMG_NO_MEMORY, -1, job, "no memory");
    if (!st) st = read_lines(path, (const char *)map.data, map.size, &curves, err);
    if (!st)
        *out = curves;
    else
        amg_curves_clear(&curves);
    amg_map_close(&map);
    amg_free(path);
    amg_free(folder);
    return st;
}

void amg_curves_clear(amg_curves *c)
{
    for (int kind = 0; kind < AMG_NUM_CURVES; kind++) {
        amg_free(c->kinds[kind].step);
        amg_free(c->kinds[kind].loss);
    }
    *c = (amg_curves){0};
}
