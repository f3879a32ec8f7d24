/* A data set (formats/dataset.h) as a source with one label column. */
#include <string.h>

#include "base/alloc.h"
#include "engine/source.h"

typedef struct {
    amg_dataset *dataset;
    int64_t num_classes;
} dataset_source;

static amg_status dataset_read(const amg_source *s, int64_t i, void *x, int32_t *labels,
                               amg_error *err)
{
    const dataset_source *d = s->self;
    int64_t label = -1;
    amg_status status = amg_dataset_read(d->dataset, i, x, &label, err);
    if (status) return status;
    if (label < 0 || label >= d->num_classes)
        return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(d->dataset),
                        "sample %lld has label %lld, expected 0 to %lld", (long long)i,
                        (long long)label, (long long)d->num_classes - 1);
    labels[0] = (int32_t)label;
    return AMG_OK;
}

static void dataset_close(amg_source *s)
{
    dataset_source *d = s->self;
    amg_dataset_close(d->dataset);
    amg_free(d);
}

amg_status amg_source_open_dataset(const char *spec, int64_t num_classes,
                                   amg_source *out, amg_error *err)
{
    amg_dataset *dataset;
    amg_status status = amg_dataset_open(spec, &dataset, err);
    if (status) return status;
    const amg_dataset_info *info = amg_dataset_get_info(dataset);
    dataset_source *d = NULL;
    if (num_classes && info->num_classes > num_classes) {
        status = amg_fail(err, AMG_MISMATCH, -1, spec,
                          "the data set has %lld classes, the model has %lld",
                          (long long)info->num_classes, (long long)num_classes);
        amg_hint(err, "build the model with at least %lld classes",
                 (long long)info->num_classes);
        goto fail;
    }
    d = amg_calloc(1, sizeof *d);
    if (!d) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, spec, "opening the data set");
        goto fail;
    }
    d->dataset = dataset;
    d->num_classes = num_classes ? num_classes : info->num_classes;
    *out = (amg_source){.self = d,
                        .dtype = info->dtype,
                        .rank = 3,
                        .sample_bytes = info->sample_bytes,
                        .num_samples = info->num_samples,
                        .num_labels = 1,
                        .read = dataset_read,
                        .close = dataset_close};
    memcpy(out->dims, info->dims, sizeof info->dims);
    return AMG_OK;
fail:
    amg_dataset_close(dataset);
    return status;
}
