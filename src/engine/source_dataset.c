/* A data set (formats/dataset.h) as a source whose one column is the target. */
#include <string.h>

#include "base/alloc.h"
#include "engine/source.h"

typedef struct {
    amg_dataset *owned; /* NULL: someone else closes it */
    const amg_dataset *dataset;
    int64_t num_classes;
} dataset_source;

static amg_status dataset_read(const amg_source *s, int64_t i, void *x, void *targets,
                               amg_error *err)
{
    const dataset_source *d = s->self;
    amg_status status = amg_dataset_read(d->dataset, i, x, targets, err);
    if (status || s->target_dtype != AMG_I32) return status;
    for (int64_t j = 0; j < s->target_count; j++) {
        const int32_t label = ((const int32_t *)targets)[j];
        if (label < 0 || label >= d->num_classes)
            return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(d->dataset),
                            "sample %lld has label %d, expected 0 to %lld",
                            (long long)i, label, (long long)d->num_classes - 1);
    }
    return AMG_OK;
}

static void dataset_close(amg_source *s)
{
    dataset_source *d = s->self;
    amg_dataset_close(d->owned);
    amg_free(d);
}

static amg_status check_classes(const amg_dataset *ds, int64_t num_classes,
                                amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    if (!num_classes || info->num_classes <= num_classes) return AMG_OK;
    const amg_status status =
        amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                 "the data set has %lld classes, the model has %lld",
                 (long long)info->num_classes, (long long)num_classes);
    amg_hint(err, "build the model with at least %lld classes",
             (long long)info->num_classes);
    return status;
}

amg_status amg_source_from_dataset(const amg_dataset *ds, int64_t num_classes,
                                   amg_source *out, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    amg_status status = check_classes(ds, num_classes, err);
    if (status) return status;
    dataset_source *d = amg_calloc(1, sizeof *d);
    if (!d)
        return amg_fail(err, AMG_NO_MEMORY, -1, amg_dataset_source(ds),
                        "opening the data set");
    d->dataset = ds;
    d->num_classes = num_classes ? num_classes : info->num_classes;
    *out = (amg_source){.self = d,
                        .dtype = info->dtype,
                        .rank = info->rank,
                        .sample_bytes = info->sample_bytes,
                        .num_samples = info->num_samples,
                        .num_columns = info->target_dtype != AMG_DTYPE_NONE,
                        .target_dtype = info->target_dtype,
                        .target_rank = info->target_rank,
                        .target_count = (int64_t)(info->target_bytes / 4),
                        .has_pad = info->vocab_size > 0 && info->pad >= 0,
                        .pad = info->pad,
                        .read = dataset_read,
                        .close = dataset_close};
    memcpy(out->dims, info->dims, sizeof info->dims);
    memcpy(out->target_dims, info->target_dims, sizeof info->target_dims);
    return AMG_OK;
}

amg_status amg_source_own_dataset(amg_dataset *dataset, int64_t num_classes,
                                  amg_source *out, amg_error *err)
{
    amg_status status = amg_source_from_dataset(dataset, num_classes, out, err);
    if (status)
        amg_dataset_close(dataset);
    else
        ((dataset_source *)out->self)->owned = dataset;
    return status;
}

amg_status amg_source_open_dataset(const char *spec, int64_t num_classes,
                                   amg_source *out, amg_error *err)
{
    amg_dataset *dataset;
    amg_status status = amg_dataset_open(spec, &dataset, err);
    return status ? status : amg_source_own_dataset(dataset, num_classes, out, err);
}
