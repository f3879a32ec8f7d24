/* Data sets of two .npy files: samples [N,C,H,W], [N,H,W] or [N,D] of U8 or F32, labels
 * [N] of any integer type. Consumes mapped arrays, produces samples. Knows nothing of
 * the bytes of .npy (npy.c) or of parts. */
#include "formats/npy_pair.h"

#include <string.h>

#include "base/alloc.h"
#include "formats/npy.h"

typedef struct {
    amg_npy x, y;
    size_t sample_bytes;
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

static amg_status pair_recognise(const char *path, bool *yes, amg_error *err)
{
    (void)err;
    *yes = find_comma(path) != NULL;
    return AMG_OK;
}

/* Two heap strings out of "x.npy,y.npy". */
static amg_status split_path(const char *path, char **x, char **y, amg_error *err)
{
    const char *comma = find_comma(path);
    if (comma == NULL)
        return amg_fail(err, AMG_INVALID, -1, path,
                        "expected two files, \"x.npy,y.npy\"");
    char *first = amg_strdup(path);
    char *second = amg_strdup(comma + 1);
    if (first == NULL || second == NULL) {
        amg_free(first);
        amg_free(second);
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
    }
    first[comma - path] = 0;
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

static amg_status check_samples(const amg_tensor *x, const char *path, amg_error *err)
{
    char shape[AMG_SHAPE_TEXT];
    amg_shape_text(x->dtype, x->rank, x->dims, shape);
    if (x->dtype != AMG_U8 && x->dtype != AMG_F32)
        return amg_fail(err, AMG_UNSUPPORTED, -1, path,
                        "samples are %s, expected U8 or F32", shape);
    if (x->rank < 2 || x->rank > 4)
        return amg_fail(err, AMG_UNSUPPORTED, -1, path,
                        "samples are %s, expected [N,C,H,W], [N,H,W] or [N,D]", shape);
    if (x->size_bytes == 0)
        return amg_fail(err, AMG_MALFORMED, -1, path, "samples are %s: nothing", shape);
    return AMG_OK;
}

static amg_status check_labels(const amg_npy *y, int64_t num_samples, const char *path,
                               int64_t *num_classes, amg_error *err)
{
    const amg_tensor *t = &y->array;
    int64_t largest = 0, label = 0;
    char shape[AMG_SHAPE_TEXT];
    amg_shape_text(t->dtype, t->rank, t->dims, shape);
    if (t->rank != 1 || t->dims[0] != num_samples)
        return amg_fail(err, AMG_MISMATCH, -1, path,
                        "labels are %s, expected [%lld], one for each sample", shape,
                        (long long)num_samples);
    for (int64_t i = 0; i < num_samples; i++) {
        if (!get_integer(t, i, &label))
            return amg_fail(err, AMG_UNSUPPORTED, -1, path,
                            "labels are %s, expected integers", shape);
        if (label < 0 || label > AMG_MAX_LABEL) {
            const size_t start = (size_t)((const uint8_t *)t->data - y->map.data);
            const size_t at = start + (size_t)i * amg_dtype_size(t->dtype);
            return amg_fail(err, AMG_MALFORMED, (int64_t)at, path,
                            "label %lld of sample %lld, expected 0 to %d",
                            (long long)label, (long long)i, AMG_MAX_LABEL);
        }
        if (label > largest) largest = label;
    }
    *num_classes = largest + 1;
    return AMG_OK;
}

/* [C,H,W] from the dims of the samples: [H,W] is grey, [D] is D channels of one pixel.
 */
static void describe(pair_set *set, amg_dataset_info *info)
{
    const amg_tensor *x = &set->x.array;
    const int64_t *d = x->dims;
    info->dtype = x->dtype;
    info->num_samples = d[0];
    info->dims[0] = x->rank == 3 ? 1 : d[1];
    info->dims[1] = x->rank == 2 ? 1 : d[x->rank - 2];
    info->dims[2] = x->rank == 2 ? 1 : d[x->rank - 1];
    info->sample_bytes = set->sample_bytes = x->size_bytes / (size_t)d[0];
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
    if (st == AMG_OK) st = check_samples(&set->x.array, x_path, err);
    if (st == AMG_OK) st = amg_npy_open(y_path, &set->y, err);
    if (st == AMG_OK)
        st = check_labels(&set->y, set->x.array.dims[0], y_path, &info->num_classes,
                          err);
    if (st != AMG_OK) goto done;
    describe(set, info);
    *out = set;
    set = NULL;
done:
    pair_close(set);
    amg_free(x_path);
    amg_free(y_path);
    return st;
}

static amg_status pair_read(const void *opaque, int64_t row, void *x, int64_t *label,
                            amg_error *err)
{
    (void)err;
    const pair_set *set = opaque;
    if (label != NULL) get_integer(&set->y.array, row, label);
    if (x != NULL)
        memcpy(x, (const uint8_t *)set->x.array.data + (size_t)row * set->sample_bytes,
               set->sample_bytes);
    return AMG_OK;
}

static amg_status pair_real_path(const char *path, char **out, amg_error *err)
{
    char *x, *y, *real_x = NULL, *real_y = NULL;
    amg_status st = split_path(path, &x, &y, err);
    if (st != AMG_OK) return st;
    st = amg_dataset_real_path(x, &real_x, err);
    if (st == AMG_OK) st = amg_dataset_real_path(y, &real_y, err);
    if (st == AMG_OK) {
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
    .holds = "x.npy,y.npy",
    .recognise = pair_recognise,
    .open = pair_open,
    .close = pair_close,
    .read = pair_read,
    .real_path = pair_real_path,
};
