/* Data sets behind one interface: finds the kind, opens the split, takes the part.
 * Consumes a DATA spec, produces samples and targets by index, whose floats are finite
 * and whose labels are none negative. Knows the kinds only through their
 * descriptors. */
#include "formats/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/cifar.h"
#include "formats/dataset_spec.h"
#include "formats/dataset_text.h"
#include "formats/folder.h"
#include "formats/idx.h"
#include "formats/npy_join.h"
#include "formats/npy_pair.h"

struct amg_dataset {
    const amg_dataset_kind *kind;
    void *set;
    amg_dataset_info info;
    int64_t first; /* row of sample 0 if rows is NULL */
    int64_t *rows; /* row of each sample, or NULL: consecutive */
    char *source;
};

/* In the order in which they are tried on a path without a kind. */
static const amg_dataset_kind *const kinds[] = {
    &amg_dataset_join, &amg_dataset_npy,   &amg_dataset_text,
    &amg_dataset_idx,  &amg_dataset_cifar, &amg_dataset_folder};
enum { NUM_KINDS = sizeof kinds / sizeof *kinds };

static void hint_kinds(amg_error *err)
{
    char text[256] = "kinds:";
    size_t n = strlen(text);
    for (int i = 0; i < NUM_KINDS && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s %s (%s)", i > 0 ? "," : "",
                              kinds[i]->name, kinds[i]->holds);
    amg_hint(err, "%s", text);
}

static amg_status find_named(const char *name, const char *spec,
                             const amg_dataset_kind **out, amg_error *err)
{
    for (int i = 0; i < NUM_KINDS; i++)
        if (strcmp(kinds[i]->name, name) == 0) {
            *out = kinds[i];
            return AMG_OK;
        }
    const amg_status st = amg_fail(err, AMG_INVALID, 0, spec,
                                   "no kind of data set is called \"%s\"", name);
    hint_kinds(err);
    return st;
}

static amg_status recognise(const char *path, const amg_dataset_kind **out,
                            amg_error *err)
{
    const bool is_dir = amg_path_is_dir(path);
    for (int i = 0; i < NUM_KINDS; i++) {
        if (kinds[i]->is_folder && !is_dir) continue;
        bool yes = false;
        const amg_status st = kinds[i]->recognise(path, &yes, err);
        if (st != AMG_OK) return st;
        if (yes) {
            *out = kinds[i];
            return AMG_OK;
        }
    }
    const amg_status st =
        amg_path_exists(path)
            ? amg_fail(err, AMG_UNSUPPORTED, -1, path, "%s of no known data set",
                       is_dir ? "a folder" : "a file")
            : amg_fail(err, AMG_NOT_FOUND, -1, path, "no such file or folder");
    hint_kinds(err);
    return st;
}

amg_status amg_dataset_real_path(const char *path, char **out, amg_error *err)
{
    char real[PATH_MAX];
    if (realpath(path, real) == NULL)
        return amg_fail_errno(err, errno, path, "cannot find its real path");
    char *copy = amg_strdup(real);
    if (copy == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
    *out = copy;
    return AMG_OK;
}

/* "KIND:REAL PATH@SPLIT", the same for every way to write the same source. */
static amg_status name_source(const amg_dataset_kind *kind, const char *path,
                              amg_dataset_split split, char **out, amg_error *err)
{
    char *real;
    const amg_status st = kind->real_path != NULL
                              ? kind->real_path(path, &real, err)
                              : amg_dataset_real_path(path, &real, err);
    if (st != AMG_OK) return st;
    const char *at = split != AMG_SPLIT_NONE ? "@" : "";
    const size_t n = strlen(kind->name) + strlen(real) + sizeof ":@train";
    char *name = amg_malloc(n);
    if (name != NULL) {
        snprintf(name, n, "%s:%s%s%s", kind->name, real, at, amg_split_name(split));
        *out = name;
    }
    amg_free(real);
    return name != NULL
               ? AMG_OK
               : amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
}

/* The split of the set that the kind finds at spec's path. */
static amg_status open_set(amg_dataset *ds, const amg_dataset_spec *spec,
                           const amg_window *window, amg_dataset_split *split,
                           amg_error *err)
{
    amg_status st;
    if (ds->kind->open_window == NULL) {
        st = ds->kind->open(spec->path, split, &ds->set, &ds->info, err);
    } else if (window != NULL) {
        st = ds->kind->open_window(spec->path, split, window, &ds->set, &ds->info, err);
    } else {
        st = amg_fail(err, AMG_INVALID, -1, spec->path,
                      "a token set, and it is not said how many tokens a network sees");
        amg_hint(err, "--seq N says it");
    }
    ds->info.kind = ds->kind->name; /* of a set that consists of others, its own */
    return st;
}

static amg_status open_spec(amg_dataset *ds, const amg_dataset_spec *spec,
                            const amg_window *window, const char *text, amg_error *err)
{
    amg_status st = spec->kind[0] != 0 ? find_named(spec->kind, text, &ds->kind, err)
                                       : recognise(spec->path, &ds->kind, err);
    if (st != AMG_OK) return st;
    if (ds->kind->is_folder && !amg_path_is_dir(spec->path))
        return amg_fail(err, AMG_NOT_FOUND, -1, spec->path, "no such folder");
    amg_dataset_split split = spec->split;
    st = open_set(ds, spec, window, &split, err);
    if (st == AMG_OK) st = name_source(ds->kind, spec->path, split, &ds->source, err);
    if (st == AMG_OK)
        st = amg_dataset_part_rows(&spec->part, ds->info.num_samples, text, &ds->first,
                                   &ds->info.num_samples, &ds->rows, err);
    return st;
}

amg_status amg_dataset_open(const char *spec, amg_dataset **out, amg_error *err)
{
    return amg_dataset_open_window(spec, NULL, out, err);
}

amg_status amg_dataset_open_window(const char *spec, const amg_window *window,
                                   amg_dataset **out, amg_error *err)
{
    amg_dataset_spec parsed;
    amg_status st = amg_dataset_spec_parse(spec, &parsed, err);
    if (st != AMG_OK) return st;
    amg_dataset *ds = amg_calloc(1, sizeof *ds);
    st = ds != NULL
             ? open_spec(ds, &parsed, window, spec, err)
             : amg_fail(err, AMG_NO_MEMORY, -1, spec, "no memory for the data set");
    if (st == AMG_OK)
        *out = ds;
    else
        amg_dataset_close(ds);
    amg_dataset_spec_clear(&parsed);
    return st;
}

void amg_dataset_close(amg_dataset *ds)
{
    if (ds == NULL) return;
    if (ds->kind != NULL) ds->kind->close(ds->set);
    amg_free(ds->rows);
    amg_free(ds->source);
    amg_free(ds);
}

const amg_dataset_info *amg_dataset_get_info(const amg_dataset *ds)
{
    return &ds->info;
}

const char *amg_dataset_class_name(const amg_dataset *ds, int64_t label)
{
    if (ds->kind->class_name == NULL || label < 0 || label >= ds->info.num_classes)
        return NULL;
    return ds->kind->class_name(ds->set, label);
}

/* The row of the set that sample i is. */
static int64_t row_of(const amg_dataset *ds, int64_t i)
{
    return ds->rows != NULL ? ds->rows[i] : ds->first + i;
}

int64_t amg_dataset_source_row(const amg_dataset *ds, int64_t i)
{
    const int64_t row = row_of(ds, i);
    if (ds->kind->source_row != NULL) return ds->kind->source_row(ds->set, row);
    return ds->info.stride > 0 ? row * ds->info.stride : row;
}

bool amg_dataset_continues(const amg_dataset *ds, int64_t i)
{
    return ds->info.stride > 0 && row_of(ds, i + 1) == row_of(ds, i) + 1;
}

bool amg_dataset_begins_document(const amg_dataset *ds, int64_t i)
{
    return ds->kind->begins_document != NULL &&
           ds->kind->begins_document(ds->set, row_of(ds, i));
}

const char *amg_dataset_source(const amg_dataset *ds) { return ds->source; }

void amg_dataset_describe_images(amg_dataset_info *info, amg_dtype dtype,
                                 const int64_t dims[3])
{
    info->dtype = dtype;
    info->rank = 3;
    memcpy(info->dims, dims, 3 * sizeof *dims);
    info->sample_bytes = (size_t)(dims[0] * dims[1] * dims[2]) * amg_dtype_size(dtype);
    info->target_dtype = AMG_I32;
    info->target_bytes = sizeof(int32_t);
}

void amg_dataset_put_label(void *y, int64_t label)
{
    const int32_t value = (int32_t)label;
    if (y != NULL) memcpy(y, &value, sizeof value);
}

amg_dataset *amg_dataset_wrap(const amg_dataset_kind *kind, void *set,
                              const amg_dataset_info *info, char *source)
{
    amg_dataset *ds = amg_calloc(1, sizeof *ds);
    if (ds == NULL) return NULL;
    *ds = (amg_dataset){.kind = kind, .set = set, .info = *info, .source = source};
    ds->info.kind = kind->name;
    return ds;
}

bool amg_dataset_shape_fits(const amg_dataset_info *info, int rank, const int64_t *dims)
{
    const int64_t *own = info->dims;
    int own_rank = info->rank;
    if (rank == own_rank + 1 && dims[0] == 1) {
        rank--, dims++;
    } else if (own_rank == rank + 1 && own[0] == 1) {
        own_rank--, own++;
    }
    return rank == own_rank && memcmp(dims, own, (size_t)rank * sizeof *dims) == 0;
}

/* A NaN would spread to every weight: it is refused here. sample: its number; part:
 * what the values are. */
static amg_status check_finite(const amg_dataset *ds, int64_t sample, const char *part,
                               const void *values, size_t size_bytes, amg_error *err)
{
    amg_tensor t;
    const int64_t count = (int64_t)(size_bytes / sizeof(float));
    const amg_status st = amg_tensor_view(AMG_F32, 1, &count, values, &t, err);
    if (st != AMG_OK) return st;
    const int64_t at = amg_tensor_find_not_finite(&t);
    if (at < 0) return AMG_OK;
    return amg_fail(err, AMG_NOT_FINITE, -1, ds->source,
                    "sample %lld: value %lld%s is NaN or infinite",
                    (long long)amg_dataset_source_row(ds, sample), (long long)at, part);
}

static amg_status check_labels(const amg_dataset *ds, int64_t sample,
                               const void *labels, amg_error *err)
{
    const int64_t classes = ds->info.num_classes;
    const uint8_t *at = labels;
    for (size_t i = 0; i < ds->info.target_bytes / sizeof(int32_t); i++) {
        int32_t label;
        memcpy(&label, at + i * sizeof label, sizeof label);
        if (label >= 0 && (classes == 0 || label < classes)) continue;
        return amg_fail(err, AMG_MISMATCH, -1, ds->source,
                        "label %ld of sample %lld, expected 0 to %lld", (long)label,
                        (long long)amg_dataset_source_row(ds, sample),
                        (long long)(classes != 0 ? classes - 1 : AMG_MAX_LABEL));
    }
    return AMG_OK;
}

static amg_status check_values(const amg_dataset *ds, int64_t i, const void *x,
                               const void *y, amg_error *err)
{
    const amg_dataset_info *info = &ds->info;
    amg_status st = AMG_OK;
    if (x != NULL && info->dtype == AMG_F32)
        st = check_finite(ds, i, "", x, info->sample_bytes, err);
    if (st != AMG_OK || y == NULL) return st;
    if (info->target_dtype == AMG_F32)
        st = check_finite(ds, i, " of its target", y, info->target_bytes, err);
    else if (info->target_dtype == AMG_I32)
        st = check_labels(ds, i, y, err);
    return st;
}

static amg_status check_index(const amg_dataset *ds, int64_t i, amg_error *err)
{
    if (i >= 0 && i < ds->info.num_samples) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, ds->source,
                    "sample %lld asked for, there are %lld", (long long)i,
                    (long long)ds->info.num_samples);
}

amg_status amg_dataset_read(const amg_dataset *ds, int64_t i, void *x, void *y,
                            amg_error *err)
{
    amg_status st = check_index(ds, i, err);
    if (st != AMG_OK) return st;
    st = ds->kind->read(ds->set, row_of(ds, i), x, y, err);
    return st == AMG_OK ? check_values(ds, i, x, y, err) : st;
}

bool amg_dataset_reads_batches(const amg_dataset *ds)
{
    return ds->kind->read_many != NULL;
}

/* Where sample i of many stands; NULL stays NULL. */
static void *nth(void *base, int64_t i, size_t size_bytes)
{
    return base != NULL ? (uint8_t *)base + (size_t)i * size_bytes : NULL;
}

/* Rows of the set in one call, then the checks that each sample gets. */
static amg_status read_batch(const amg_dataset *ds, const int64_t *ids, int64_t num,
                             void *x, void *y, amg_error *err)
{
    amg_status st = AMG_OK;
    int64_t *rows = amg_malloc((size_t)num * sizeof *rows);
    if (rows == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, ds->source, "no memory for %lld rows",
                        (long long)num);
    for (int64_t i = 0; i < num && st == AMG_OK; i++) {
        st = check_index(ds, ids[i], err);
        if (st == AMG_OK) rows[i] = row_of(ds, ids[i]);
    }
    if (st == AMG_OK) st = ds->kind->read_many(ds->set, rows, num, x, y, err);
    for (int64_t i = 0; i < num && st == AMG_OK; i++)
        st = check_values(ds, ids[i], nth(x, i, ds->info.sample_bytes),
                          nth(y, i, ds->info.target_bytes), err);
    amg_free(rows);
    return st;
}

amg_status amg_dataset_read_many(const amg_dataset *ds, const int64_t *ids, int64_t num,
                                 void *x, void *y, amg_error *err)
{
    if (num > 0 && ds->kind->read_many != NULL)
        return read_batch(ds, ids, num, x, y, err);
    amg_status st = AMG_OK;
    for (int64_t i = 0; i < num && st == AMG_OK; i++)
        st = amg_dataset_read(ds, ids[i], nth(x, i, ds->info.sample_bytes),
                              nth(y, i, ds->info.target_bytes), err);
    return st;
}
