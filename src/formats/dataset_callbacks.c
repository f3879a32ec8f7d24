/* Data sets made of a function of the caller's own, for samples that lie in no file of
 * ours (a Dataset of Python's). Consumes the description and the function, produces
 * rows; what they hold is checked by dataset.c as for any kind. The function may be
 * anything, so it never runs in two threads at once. */
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/dataset_kind.h"

typedef struct {
    amg_dataset_callbacks calls;
    char *name;            /* for errors */
    pthread_mutex_t *lock; /* the one below: readers hold the set as const */
    pthread_mutex_t memory;
} callback_set;

static amg_status callbacks_read_many(const void *opaque, const int64_t *rows,
                                      int64_t num, void *x, void *y, amg_error *err)
{
    const callback_set *set = opaque;
    amg_error own = {0};
    pthread_mutex_lock(set->lock);
    const amg_status st = set->calls.read(set->calls.context, rows, num, x, y, &own);
    pthread_mutex_unlock(set->lock);
    if (st == AMG_OK) return AMG_OK;
    if (own.code == AMG_OK)
        return amg_fail(err, st, -1, set->name,
                        "could not read %lld samples from row %lld on", (long long)num,
                        (long long)rows[0]);
    if (err != NULL) *err = own;
    return st;
}

static amg_status callbacks_read(const void *opaque, int64_t row, void *x, void *y,
                                 amg_error *err)
{
    return callbacks_read_many(opaque, &row, 1, x, y, err);
}

static void callbacks_close(void *opaque)
{
    callback_set *set = opaque;
    if (set == NULL) return;
    pthread_mutex_destroy(&set->memory);
    amg_free(set->name);
    amg_free(set);
}

static const amg_dataset_kind callbacks_kind = {
    .name = "callbacks",
    .close = callbacks_close,
    .read = callbacks_read,
    .read_many = callbacks_read_many,
};

/* Bytes of dims, each at least 1, of a type that a data set may have. */
static amg_status check_part(const amg_dataset_callbacks *c, const char *part,
                             bool type_fits, amg_dtype dtype, int rank, int min_rank,
                             const int64_t *dims, size_t *size_bytes, amg_error *err)
{
    if (!type_fits)
        return amg_fail(err, AMG_INVALID, -1, c->source, "%s are %s, expected %s", part,
                        amg_dtype_name(dtype),
                        min_rank > 0 ? "U8, F32 or I32" : "I32 or F32");
    if (rank < min_rank || rank > AMG_MAX_SAMPLE_RANK)
        return amg_fail(err, AMG_INVALID, -1, c->source,
                        "%s have %d dims, expected %d to %d", part, rank, min_rank,
                        AMG_MAX_SAMPLE_RANK);
    for (int i = 0; i < rank; i++)
        if (dims[i] < 1)
            return amg_fail(err, AMG_INVALID, -1, c->source,
                            "dim %d of the %s is %lld, expected 1 or more", i, part,
                            (long long)dims[i]);
    return amg_tensor_size(dtype, rank, dims, size_bytes, err);
}

/* Checks the description and works out the sizes. */
static amg_status describe(const amg_dataset_callbacks *c, amg_dataset_info *info,
                           amg_error *err)
{
    const bool classes = info->target_dtype == AMG_I32;
    const bool sample_fits =
        info->dtype == AMG_U8 || info->dtype == AMG_F32 || info->dtype == AMG_I32;
    const int64_t most_classes = classes ? (int64_t)AMG_MAX_LABEL + 1 : 0;
    if (info->num_samples < 1)
        return amg_fail(err, AMG_INVALID, -1, c->source,
                        "%lld samples, expected 1 or more",
                        (long long)info->num_samples);
    amg_status st = check_part(c, "samples", sample_fits, info->dtype, info->rank, 1,
                               info->dims, &info->sample_bytes, err);
    info->target_bytes = 0;
    if (st == AMG_OK && info->target_dtype != AMG_DTYPE_NONE)
        st = check_part(c, "targets", classes || info->target_dtype == AMG_F32,
                        info->target_dtype, info->target_rank, 0, info->target_dims,
                        &info->target_bytes, err);
    if (st != AMG_OK) return st;
    if (info->num_classes >= 0 && info->num_classes <= most_classes) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, c->source, "%lld classes, expected 0 to %lld",
                    (long long)info->num_classes, (long long)most_classes);
}

amg_status amg_dataset_from_callbacks(const amg_dataset_callbacks *c, amg_dataset **out,
                                      amg_error *err)
{
    amg_dataset_info info = c->info;
    const amg_status st = describe(c, &info, err);
    if (st != AMG_OK) return st;
    callback_set *set = amg_calloc(1, sizeof *set);
    char *source = amg_strdup(c->source);
    char *name = amg_strdup(c->source);
    if (set != NULL && source != NULL && name != NULL) {
        set->calls = *c;
        set->name = name;
        set->lock = &set->memory;
        pthread_mutex_init(set->lock, NULL);
        *out = amg_dataset_wrap(&callbacks_kind, set, &info, source);
        if (*out != NULL) return AMG_OK;
        pthread_mutex_destroy(set->lock);
    }
    amg_free(name);
    amg_free(source);
    amg_free(set);
    return amg_fail(err, AMG_NO_MEMORY, -1, c->source, "no memory for the data set");
}
