/* Data sets of several arrays of samples, for a model of as many inputs, or of targets,
 * for one of as many outputs: a sample is the arrays' rows, flattened one behind the
 * other, as floats; that is what such a model reads, and what its loss compares it
 * with, once it is imported. One array of samples stays as it is. Consumes what
 * npy_pair.c makes of each array. */
#include "formats/npy_join.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "formats/npy_pair.h"

#define MAX_ARRAYS 16
/* Floats hold whole numbers up to this. */
#define MAX_EXACT (1 << 24)

typedef struct {
    void *set; /* amg_dataset_npy's */
    amg_dtype dtype;
    int64_t count; /* elements of a row */
} array;

typedef struct {
    int num_arrays;
    array arrays[MAX_ARRAYS]; /* of samples; the last may have the targets */
    int64_t count;            /* elements of all of a sample's */
    int num_targets;
    array targets[MAX_ARRAYS]; /* in place of those: beside samples that are not read */
} joined;

/* The '+' of "a.npy+b.npy", NULL: none. Names may hold one themselves. */
static const char *find_plus(const char *path)
{
    static const char seam[] = ".npy+";
    const char *at = strstr(path, seam);
    return at ? at + sizeof seam - 2 : NULL;
}

/* The comma before the targets, where these are several arrays; else NULL. */
static char *find_targets(char *path)
{
    static const char seam[] = ".npy,";
    char *at = strstr(path, seam);
    return at && find_plus(at) ? at + sizeof seam - 2 : NULL;
}

static amg_status join_recognise(const char *path, bool *yes, amg_error *err)
{
    (void)err;
    *yes = find_plus(path) != NULL;
    return AMG_OK;
}

static void join_close(void *opaque)
{
    joined *j = opaque;
    if (!j) return;
    for (int i = 0; i < j->num_arrays; i++) amg_dataset_npy.close(j->arrays[i].set);
    for (int i = 0; i < j->num_targets; i++) amg_dataset_npy.close(j->targets[i].set);
    amg_free(j);
}

/* Opens the array that path names; the last one's targets become those of all. */
static amg_status add_array(joined *j, const char *path, bool last,
                            amg_dataset_info *all, amg_error *err)
{
    amg_dataset_info info = {0};
    amg_dataset_split none = AMG_SPLIT_NONE;
    array *a = &j->arrays[j->num_arrays];
    if (j->num_arrays == MAX_ARRAYS)
        return amg_fail(err, AMG_UNSUPPORTED, -1, path, "more than %d arrays",
                        MAX_ARRAYS);
    amg_status st = amg_dataset_npy.open(path, &none, &a->set, &info, err);
    if (st) return st;
    j->num_arrays++;
    a->dtype = info.dtype;
    a->count = (int64_t)(info.sample_bytes / amg_dtype_size(info.dtype));
    if (j->num_arrays > 1 && info.num_samples != all->num_samples)
        return amg_fail(err, AMG_MISMATCH, -1, path,
                        "has %lld samples, the arrays before it %lld",
                        (long long)info.num_samples, (long long)all->num_samples);
    if (last) *all = info;
    all->num_samples = info.num_samples;
    if (!amg_add_i64(j->count, a->count, &j->count))
        return amg_fail(err, AMG_OVERFLOW, -1, path, "too many values a sample");
    return AMG_OK;
}

/* Cuts "a.npy+b.npy" at the first '+'; the rest, or NULL. */
static char *cut(char *path)
{
    const char *plus = find_plus(path);
    if (!plus) return NULL;
    char *rest = path + (plus - path);
    *rest = 0;
    return rest + 1;
}

static amg_status open_samples(joined *j, char *path, amg_dataset_info *info,
                               amg_error *err)
{
    amg_status st = AMG_OK;
    for (char *at = path; at && !st;) {
        char *next = cut(at);
        st = add_array(j, at, !next, info, err);
        at = next;
    }
    if (st || j->num_arrays == 1) return st;
    info->dtype = AMG_F32;
    info->rank = 1;
    info->dims[0] = j->count;
    info->sample_bytes = (size_t)j->count * sizeof(float);
    return AMG_OK;
}

/* One array of targets: opened beside samples, of which it must have one each. */
static amg_status add_target(joined *j, const char *samples, const char *path,
                             amg_dataset_info *all, amg_error *err)
{
    amg_dataset_info info = {0};
    amg_dataset_split none = AMG_SPLIT_NONE;
    array *a = &j->targets[j->num_targets];
    if (j->num_targets == MAX_ARRAYS)
        return amg_fail(err, AMG_UNSUPPORTED, -1, path, "more than %d arrays",
                        MAX_ARRAYS);
    const size_t size = strlen(samples) + strlen(path) + 2;
    char *pair = amg_malloc(size);
    if (!pair) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
    snprintf(pair, size, "%s,%s", samples, path);
    amg_status st = amg_dataset_npy.open(pair, &none, &a->set, &info, err);
    amg_free(pair);
    if (st) return st;
    j->num_targets++;
    a->dtype = info.target_dtype;
    a->count = (int64_t)(info.target_bytes / amg_dtype_size(info.target_dtype));
    if (!amg_add_i64(all->target_dims[0], a->count, &all->target_dims[0]))
        return amg_fail(err, AMG_OVERFLOW, -1, path, "too many targets a sample");
    return AMG_OK;
}

static amg_status open_targets(joined *j, const char *samples, char *path,
                               amg_dataset_info *info, amg_error *err)
{
    amg_status st = AMG_OK;
    for (char *at = path; at && !st;) {
        char *next = cut(at);
        st = add_target(j, samples, at, info, err);
        at = next;
    }
    info->target_dtype = AMG_F32;
    info->target_rank = 1;
    info->target_bytes = (size_t)info->target_dims[0] * sizeof(float);
    return st;
}

static amg_status open_arrays(joined *j, char *path, amg_dataset_info *info,
                              amg_error *err)
{
    char *comma = find_targets(path);
    *info = (amg_dataset_info){0};
    if (comma) *comma = 0;
    amg_status st = open_samples(j, path, info, err);
    return st || !comma ? st : open_targets(j, path, comma + 1, info, err);
}

static amg_status join_open(const char *path, amg_dataset_split *split, void **out,
                            amg_dataset_info *info, amg_error *err)
{
    if (*split != AMG_SPLIT_NONE) {
        const amg_status st =
            amg_fail(err, AMG_NOT_FOUND, -1, path, ".npy files have no split \"%s\"",
                     amg_split_name(*split));
        amg_hint(err, "leave @%s out and name the files of that split",
                 amg_split_name(*split));
        return st;
    }
    joined *j = amg_calloc(1, sizeof *j);
    char *copy = amg_strdup(path);
    amg_status st = j && copy ? open_arrays(j, copy, info, err)
                              : amg_fail(err, AMG_NO_MEMORY, -1, path,
                                         "no memory for the data set");
    amg_free(copy);
    if (st)
        join_close(j);
    else
        *out = j;
    return st;
}

/* Widens bytes that stand in the last quarter of the floats' place. */
static void widen_bytes(float *x, int64_t count)
{
    const uint8_t *bytes = (const uint8_t *)x + 3 * count;
    for (int64_t i = 0; i < count; i++) {
        const float value = bytes[i]; /* before it is written over */
        memcpy(x + i, &value, sizeof value);
    }
}

static amg_status convert_integers(float *x, int64_t count, int64_t row, amg_error *err)
{
    for (int64_t i = 0; i < count; i++) {
        int32_t whole;
        memcpy(&whole, x + i, sizeof whole);
        if (whole < -MAX_EXACT || whole > MAX_EXACT) {
            char where[48];
            snprintf(where, sizeof where, "sample %lld", (long long)row);
            return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                            "holds %d, which a float does not hold exactly", whole);
        }
        x[i] = (float)whole;
    }
    return AMG_OK;
}

static amg_status read_array(const array *a, int64_t row, float *x, void *y,
                             amg_error *err)
{
    uint8_t *place = (uint8_t *)x;
    if (x && a->dtype == AMG_U8) place += 3 * a->count;
    amg_status st = amg_dataset_npy.read(a->set, row, x ? place : NULL, y, err);
    if (st || !x) return st;
    if (a->dtype == AMG_U8) widen_bytes(x, a->count);
    return a->dtype == AMG_I32 ? convert_integers(x, a->count, row, err) : AMG_OK;
}

static amg_status read_targets(const joined *j, int64_t row, float *y, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < j->num_targets && !st; i++) {
        const array *a = &j->targets[i];
        st = amg_dataset_npy.read(a->set, row, NULL, y, err);
        if (!st && a->dtype == AMG_I32) st = convert_integers(y, a->count, row, err);
        y += a->count;
    }
    return st;
}

/* Several arrays of samples: as floats, with the targets of the last. */
static amg_status read_samples(const joined *j, int64_t row, float *x, void *y,
                               amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < j->num_arrays && !st; i++) {
        const bool last = i == j->num_arrays - 1;
        if (x || last) st = read_array(&j->arrays[i], row, x, last ? y : NULL, err);
        if (x) x += j->arrays[i].count;
    }
    return st;
}

static amg_status join_read(const void *opaque, int64_t row, void *x, void *y,
                            amg_error *err)
{
    const joined *j = opaque;
    void *with_samples = j->num_targets ? NULL : y;
    amg_status st = j->num_arrays == 1 ? amg_dataset_npy.read(j->arrays[0].set, row, x,
                                                              with_samples, err)
                                       : read_samples(j, row, x, with_samples, err);
    return st || !y ? st : read_targets(j, row, y, err);
}

/* Each array's own, joined by '+'. */
static amg_status join_real_path(const char *path, char **out, amg_error *err)
{
    char *copy = amg_strdup(path), *all = NULL;
    amg_status st =
        copy ? AMG_OK : amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
    for (char *at = copy; at && !st;) {
        char *next = cut(at), *real = NULL;
        st = amg_dataset_npy.real_path(at, &real, err);
        const size_t n = all ? strlen(all) : 0;
        char *more = st ? NULL : amg_realloc(all, n + strlen(real) + 2);
        if (more) {
            all = more;
            snprintf(all + n, strlen(real) + 2, "%s%s", n ? "+" : "", real);
        } else if (!st) {
            st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
        }
        amg_free(real);
        at = next;
    }
    amg_free(copy);
    if (st)
        amg_free(all);
    else
        *out = all;
    return st;
}

const amg_dataset_kind amg_dataset_join = {
    .name = "join",
    .holds = "a.npy+b.npy,y.npy",
    .recognise = join_recognise,
    .open = join_open,
    .close = join_close,
    .read = join_read,
    .real_path = join_real_path,
};
