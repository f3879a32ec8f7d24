/* Data sets made of another one: the same rows and targets, the values of each sample
 * through a function. Consumes an open data set; what it read is checked by dataset.c
 * before the function sees it. */
#include "base/alloc.h"
#include "formats/dataset_kind.h"

typedef struct {
    const amg_dataset *inner;
    amg_dataset_map_fn map;
    const void *context;
    size_t sample_bytes; /* of what comes out */
} mapped_set;

/* Samples from x, of the inner set's type, to out. */
static amg_status map_all(const mapped_set *set, const uint8_t *x, int64_t num,
                          void *out, amg_error *err)
{
    const size_t bytes = amg_dataset_get_info(set->inner)->sample_bytes;
    amg_status st = AMG_OK;
    for (int64_t i = 0; i < num && st == AMG_OK; i++) {
        float *to = (float *)((uint8_t *)out + (size_t)i * set->sample_bytes);
        st = set->map(set->context, x + (size_t)i * bytes, to, err);
    }
    return st;
}

static amg_status mapped_read_many(const void *opaque, const int64_t *rows, int64_t num,
                                   void *x, void *y, amg_error *err)
{
    const mapped_set *set = opaque;
    const size_t bytes = amg_dataset_get_info(set->inner)->sample_bytes;
    uint8_t *raw = NULL;
    if (x != NULL && (raw = amg_malloc((size_t)num * bytes)) == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, amg_dataset_source(set->inner),
                        "no memory for %lld samples", (long long)num);
    amg_status st = amg_dataset_read_many(set->inner, rows, num, raw, y, err);
    if (st == AMG_OK && x != NULL) st = map_all(set, raw, num, x, err);
    amg_free(raw);
    return st;
}

static amg_status mapped_read(const void *opaque, int64_t row, void *x, void *y,
                              amg_error *err)
{
    return mapped_read_many(opaque, &row, 1, x, y, err);
}

static const char *mapped_class_name(const void *opaque, int64_t label)
{
    return amg_dataset_class_name(((const mapped_set *)opaque)->inner, label);
}

static int64_t mapped_source_row(const void *opaque, int64_t row)
{
    return amg_dataset_source_row(((const mapped_set *)opaque)->inner, row);
}

static const amg_dataset_kind one_by_one = {.name = "mapped",
                                            .close = amg_free,
                                            .read = mapped_read,
                                            .class_name = mapped_class_name,
                                            .source_row = mapped_source_row};
static const amg_dataset_kind in_batches = {.name = "mapped",
                                            .close = amg_free,
                                            .read = mapped_read,
                                            .read_many = mapped_read_many,
                                            .class_name = mapped_class_name,
                                            .source_row = mapped_source_row};

amg_status amg_dataset_map(const amg_dataset *inner, amg_dataset_map_fn map,
                           const void *context, amg_dataset **out, amg_error *err)
{
    amg_dataset_info info = *amg_dataset_get_info(inner);
    const amg_dataset_kind *kind =
        amg_dataset_reads_batches(inner) ? &in_batches : &one_by_one;
    mapped_set *set = amg_calloc(1, sizeof *set);
    char *source = amg_strdup(amg_dataset_source(inner));
    info.sample_bytes = info.sample_bytes / amg_dtype_size(info.dtype) * sizeof(float);
    info.dtype = AMG_F32;
    info.vocab_size = info.stride = 0;
    if (set != NULL && source != NULL) {
        *set = (mapped_set){inner, map, context, info.sample_bytes};
        *out = amg_dataset_wrap(kind, set, &info, source);
        if (*out != NULL) return AMG_OK;
    }
    amg_free(source);
    amg_free(set);
    return amg_fail(err, AMG_NO_MEMORY, -1, amg_dataset_source(inner),
                    "no memory for the data set");
}
