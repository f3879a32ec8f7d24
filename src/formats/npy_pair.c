/* Data sets of .npy files: samples [N, …] of bytes, floats or integers and, in a second
 * file, targets [N, …]: integers are class labels, floats numbers to predict. Consumes
 * mapped arrays, produces samples and targets. Knows nothing of the bytes of .npy
 * (npy.c) or of parts. */
#include "formats/npy_pair.h"

#include <string.h>

#include "base/alloc.h"
#include "formats/npy.h"

typedef struct {
    amg_npy x, y;               /* y empty: no targets */
    int64_t x_count, y_count;   /* elements of a sample, of a target */
    amg_dtype x_dtype, y_dtype; /* what they are given as */
} pair_set;

/* The comma of "x.npy,y.npy", NULL if path is not of that form. Names may hold commas
 * themselves: the one after ".npy" counts. */
static const char *find_comma(const char *path)
{
    static const char seam[] = ".npy,";
    const size_t n = strlen(path);
    const char *at = strstr(path, seam);
    if (at == NULL || n < 4 || strcmp(path + n - 4, ".npy") != 0) return NULL;
    return at + sizeof seam - 2;
}

static bool is_single(const char *path)
{
    const size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".npy") == 0 && find_comma(path) == NULL;
}

static amg_status pair_recognise(const char *path, bool *yes, amg_error *err)
{
    (void)err;
    *yes = find_comma(path) != NULL || is_single(path);
    return AMG_OK;
}

/* Two heap strings out of "x.npy,y.npy"; *y is NULL for "x.npy" alone. */
static amg_status split_path(const char *path, char **x, char **y, amg_error *err)
{
    const char *comma = find_comma(path);
    if (comma == NULL && !is_single(path))
        return amg_fail(err, AMG_INVALID, -1, path,
                        "expected \"x.npy\" or two files, \"x.npy,y.npy\"");
    char *first = amg_strdup(path);
    char *second = comma != NULL ? amg_strdup(comma + 1) : NULL;
    if (first == NULL || (comma != NULL && second == NULL)) {
        amg_free(first);
        amg_free(second);
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
    }
    if (comma != NULL) first[comma - path] = 0;
    *x = first;
    *y = second;
    return AMG_OK;
}

/* Element i of an integer array; false if the type is none. Values of U64 beyond
 * INT64_MAX come out negative, which is as invalid. */
static bool get_integer(const amg_tensor *t, int64_t i, int64_t *out)
{
    const uint8_t *p = (const uint8_t *)t->data + (size_t)i * amg_dtype_size(t->dtype);
#define CASE(name, type)                                                               \
    case AMG_##name: {                                                                 \
        type value;                                                                    \
        memcpy(&value, p, sizeof value);                                               \
        *out = (int64_t)value;                                                         \
        return true;                                                                   \
    }
    switch (t->dtype) {
        CASE(U8, uint8_t)
        CASE(I8, int8_t)
        CASE(U16, uint16_t)
        CASE(I16, int16_t)
        CASE(U32, uint32_t)
        CASE(I32, int32_t)
        CASE(U64, uint64_t)
        CASE(I64, int64_t)
    default: return false;
    }
#undef CASE
}

static bool is_integer(amg_dtype dtype)
{
    return dtype == AMG_U8 || dtype == AMG_I8 || dtype == AMG_U16 || dtype == AMG_I16 ||
           dtype == AMG_U32 || dtype == AMG_I32 || dtype == AMG_U64 || dtype == AMG_I64;
}

static amg_status wrong_type(const char *part, const char *shape, const char *expected,
                             const char *path, amg_error *err)
{
    const amg_status st = amg_fail(err, AMG_UNSUPPORTED, -1, path,
                                   "%s are %s, expected %s", part, shape, expected);
    amg_hint(err, "numpy's astype converts: a.astype('float32')");
    return st;
}

/* Byte of the file at which element i stands. */
static int64_t offset_of(const amg_npy *npy, int64_t i)
{
    const uint8_t *start = npy->array.data;
    return (start - (const uint8_t *)npy->map.data) +
           i * (int64_t)amg_dtype_size(npy->array.dtype);
}

/* Integers of other types than I32 and U8 are given as I32: all must fit. */
static amg_status check_integers(const amg_npy *x, int64_t per_sample, const char *path,
                                 amg_error *err)
{
    const int64_t count = amg_tensor_count(&x->array);
    int64_t value = 0;
    const amg_dtype dtype = x->array.dtype;
    if (dtype != AMG_I64 && dtype != AMG_U64 && dtype != AMG_U32) return AMG_OK;
    for (int64_t i = 0; i < count; i++) {
        get_integer(&x->array, i, &value);
        const bool lost = dtype == AMG_U64 && value < 0; /* beyond INT64_MAX */
        if (!lost && value >= INT32_MIN && value <= INT32_MAX) continue;
        return amg_fail(err, AMG_UNSUPPORTED, offset_of(x, i), path,
                        "sample %lld holds a number that does not fit 32 bits",
                        (long long)(i / per_sample));
    }
    return AMG_OK;
}

/* Checks the samples and fills what info says of them. */
static amg_status describe_samples(pair_set *set, const char *path,
                                   amg_dataset_info *info, amg_error *err)
{
    const amg_tensor *x = &set->x.array;
    char shape[AMG_SHAPE_TEXT];
    amg_shape_text(x->dtype, x->rank, x->dims, shape);
    if (x->dtype != AMG_F32 && !is_integer(x->dtype))
        return wrong_type("samples", shape, "U8, F32 or integers", path, err);
    if (x->rank < 2 || x->rank > AMG_MAX_SAMPLE_RANK + 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, path,
                        "samples are %s, expected [N, 1 to %d dims]", shape,
                        AMG_MAX_SAMPLE_RANK);
    if (x->size_bytes == 0)
        return amg_fail(err, AMG_MALFORMED, -1, path, "samples are %s: nothing", shape);
    set->x_count = amg_tensor_count(x) / x->dims[0];
    set->x_dtype = x->dtype == AMG_F32 || x->dtype == AMG_U8 ? x->dtype : AMG_I32;
    info->dtype = set->x_dtype;
    info->num_samples = x->dims[0];
    info->rank = x->rank - 1;
    memcpy(info->dims, x->dims + 1, (size_t)info->rank * sizeof *info->dims);
    info->sample_bytes = (size_t)set->x_count * amg_dtype_size(set->x_dtype);
    return check_integers(&set->x, set->x_count, path, err);
}

static amg_status check_labels(const pair_set *set, const char *path,
                               int64_t *num_classes, amg_error *err)
{
    const int64_t count = amg_tensor_count(&set->y.array);
    int64_t largest = 0, label = 0;
    for (int64_t i = 0; i < count; i++) {
        get_integer(&set->y.array, i, &label);
        if (label < 0 || label > AMG_MAX_LABEL)
            return amg_fail(err, AMG_MALFORMED, offset_of(&set->y, i), path,
                            "label %lld of sample %lld, expected 0 to %d",
                            (long long)label, (long long)(i / set->y_count),
                            AMG_MAX_LABEL);
        if (label > largest) largest = label;
    }
    *num_classes = largest + 1;
    return AMG_OK;
}

/* Checks the targets and fills what info says of them. */
static amg_status describe_targets(pair_set *set, const char *path,
                                   amg_dataset_info *info, amg_error *err)
{
    const amg_tensor *y = &set->y.array;
    char shape[AMG_SHAPE_TEXT];
    amg_shape_text(y->dtype, y->rank, y->dims, shape);
    if (y->dtype != AMG_F32 && !is_integer(y->dtype))
        return wrong_type("targets", shape, "integers (classes) or F32 (numbers)", path,
                          err);
    if (y->rank < 1 || y->rank > AMG_MAX_SAMPLE_RANK + 1 ||
        y->dims[0] != info->num_samples)
        return amg_fail(err, AMG_MISMATCH, -1, path,
                        "targets are %s, expected [%lld] or [%lld, up to %d dims], one "
                        "for each sample",
                        shape, (long long)info->num_samples,
                        (long long)info->num_samples, AMG_MAX_SAMPLE_RANK);
    if (y->size_bytes == 0)
        return amg_fail(err, AMG_MALFORMED, -1, path, "targets are %s: nothing", shape);
    set->y_count = amg_tensor_count(y) / y->dims[0];
    set->y_dtype = y->dtype == AMG_F32 ? AMG_F32 : AMG_I32;
    info->target_dtype = set->y_dtype;
    info->target_rank = y->rank - 1;
    memcpy(info->target_dims, y->dims + 1,
           (size_t)info->target_rank * sizeof *info->target_dims);
    info->target_bytes = (size_t)set->y_count * amg_dtype_size(set->y_dtype);
    if (set->y_dtype == AMG_F32) return AMG_OK;
    return check_labels(set, path, &info->num_classes, err);
}

static void pair_close(void *opaque)
{
    pair_set *set = opaque;
    if (set == NULL) return;
    amg_npy_close(&set->x);
    amg_npy_close(&set->y);
    amg_free(set);
}

static amg_status pair_open(const char *path, amg_dataset_split *split, void **out,
                            amg_dataset_info *info, amg_error *err)
{
    if (*split != AMG_SPLIT_NONE) {
        const amg_status st = amg_fail(err, AMG_NOT_FOUND, -1, path,
                                       "a pair of .npy files has no split \"%s\"",
                                       amg_split_name(*split));
        amg_hint(err, "leave @%s out and name the files of that split",
                 amg_split_name(*split));
        return st;
    }
    char *x_path, *y_path;
    amg_status st = split_path(path, &x_path, &y_path, err);
    if (st != AMG_OK) return st;
    pair_set *set = amg_calloc(1, sizeof *set);
    if (set == NULL) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for the data set");
        goto done;
    }
    st = amg_npy_open(x_path, &set->x, err);
    if (st == AMG_OK) st = describe_samples(set, x_path, info, err);
    if (st == AMG_OK && y_path != NULL) st = amg_npy_open(y_path, &set->y, err);
    if (st == AMG_OK && y_path != NULL) st = describe_targets(set, y_path, info, err);
    if (st != AMG_OK) goto done;
    *out = set;
    set = NULL;
done:
    pair_close(set);
    amg_free(x_path);
    amg_free(y_path);
    return st;
}

/* Elements of one row, as the type they are given as. */
static void copy_row(const amg_tensor *from, int64_t row, int64_t count, amg_dtype as,
                     void *out)
{
    const size_t elem = amg_dtype_size(as);
    if (from->dtype == as) {
        memcpy(out, (const uint8_t *)from->data + (size_t)(row * count) * elem,
               (size_t)count * elem);
        return;
    }
    uint8_t *to = out;
    for (int64_t i = 0; i < count; i++, to += sizeof(int32_t)) {
        int64_t value = 0;
        get_integer(from, row * count + i, &value);
        const int32_t narrow = (int32_t)value;
        memcpy(to, &narrow, sizeof narrow);
    }
}

static amg_status pair_read(const void *opaque, int64_t row, void *x, void *y,
                            amg_error *err)
{
    (void)err;
    const pair_set *set = opaque;
    if (x != NULL) copy_row(&set->x.array, row, set->x_count, set->x_dtype, x);
    if (y != NULL && set->y_count > 0)
        copy_row(&set->y.array, row, set->y_count, set->y_dtype, y);
    return AMG_OK;
}

static amg_status pair_real_path(const char *path, char **out, amg_error *err)
{
    char *x, *y, *real_x = NULL, *real_y = NULL;
    amg_status st = split_path(path, &x, &y, err);
    if (st != AMG_OK) return st;
    st = amg_dataset_real_path(x, &real_x, err);
    if (st == AMG_OK && y != NULL) st = amg_dataset_real_path(y, &real_y, err);
    if (st == AMG_OK && y == NULL) {
        *out = real_x;
        real_x = NULL;
    } else if (st == AMG_OK) {
        const size_t n = strlen(real_x), m = strlen(real_y);
        char *both = amg_malloc(n + m + 2);
        if (both != NULL) {
            memcpy(both, real_x, n);
            both[n] = ',';
            memcpy(both + n + 1, real_y, m + 1);
            *out = both;
        } else {
            st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
        }
    }
    amg_free(x);
    amg_free(y);
    amg_free(real_x);
    amg_free(real_y);
    return st;
}

const amg_dataset_kind amg_dataset_npy = {
    .name = "npy",
    .holds = "x.npy,y.npy or x.npy",
    .recognise = pair_recognise,
    .open = pair_open,
    .close = pair_close,
    .read = pair_read,
    .real_path = pair_real_path,
};
