/* What the public functions share, and the smallest of them. Consumes the caller's
 * structs, produces the library's own; knows no algorithm. */
#include "api/api.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/token_set.h"

_Static_assert(AMALGAM_MAX_RANK == AMG_MAX_RANK, "one rank for both sides");

const char *amalgam_version(void) { return AMG_VERSION; }

void amalgam_free(void *p) { amg_free(p); }

const char *amalgam_status_name(amg_status code) { return amg_status_name(code); }

const char *amalgam_status_text(amg_status code) { return amg_status_text(code); }

amg_status api_result(json_t *value, char **out, amg_error *err)
{
    char *text =
        value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    char *copy = text ? amg_strdup(text) : NULL;
    json_decref(value);
    free(text); /* jansson's, not ours */
    if (!copy) return amg_fail(err, AMG_NO_MEMORY, -1, "result", "no memory");
    *out = copy;
    return AMG_OK;
}

json_t *api_real(double v) { return isfinite(v) ? json_real(v) : json_null(); }

json_t *api_dims(int rank, const int64_t *dims)
{
    json_t *array = json_array();
    for (int i = 0; i < rank; i++) json_array_append_new(array, json_integer(dims[i]));
    return array;
}

amg_status api_dataset_open(const amalgam_data *d, amg_dataset **out, amg_error *err)
{
    const amalgam_dataset *c = d->dataset;
    if (d->spec && c)
        return amg_fail(err, AMG_INVALID, -1, d->spec,
                        "data are given as text and as a function, expected one");
    if (!c) return AMG_OK;
    const char *source = c->source ? c->source : "data set";
    if (!c->read || !c->dtype)
        return amg_fail(err, AMG_INVALID, -1, source, "has no function or no dtype");
    if (c->rank < 0 || c->rank > AMG_MAX_RANK || c->target_rank < 0 ||
        c->target_rank > AMG_MAX_RANK)
        return amg_fail(err, AMG_INVALID, -1, source, "rank %d, target rank %d",
                        c->rank, c->target_rank);
    if (c->vocab_size < 0 || c->vocab_size > INT32_MAX || c->pad < AMG_NO_TOKEN ||
        (c->vocab_size > 0 && c->pad >= c->vocab_size))
        return amg_fail(err, AMG_INVALID, -1, source,
                        "a vocabulary of %lld tokens, padding with %lld",
                        (long long)c->vocab_size, (long long)c->pad);
    if (c->stride < 0)
        return amg_fail(err, AMG_INVALID, -1, source, "windows %lld tokens apart",
                        (long long)c->stride);
    amg_dataset_callbacks calls = {
        .info = {.dtype = amg_dtype_find_name(c->dtype),
                 .num_samples = c->num_samples,
                 .rank = c->rank,
                 .num_classes = c->num_classes,
                 .target_dtype = c->target_dtype ? amg_dtype_find_name(c->target_dtype)
                                                 : AMG_DTYPE_NONE,
                 .target_rank = c->target_rank,
                 .vocab_size = c->vocab_size,
                 .pad = c->pad,
                 .stride = c->stride},
        .source = source,
        .context = c->context,
        .read = c->read};
    memcpy(calls.info.dims, c->dims, sizeof c->dims);
    memcpy(calls.info.target_dims, c->target_dims, sizeof c->target_dims);
    return amg_dataset_from_callbacks(&calls, out, err);
}

amg_status api_passphrase_init(const char *text, amg_passphrase *out, amg_error *err)
{
    *out = (amg_passphrase){0};
    if (!text) return AMG_OK;
    const size_t length = strlen(text);
    if (!length) return amg_fail(err, AMG_INVALID, -1, "passphrase", "is empty");
    if (sodium_init() < 0)
        return amg_fail(err, AMG_IO, -1, "libsodium", "cannot start");
    out->text = sodium_malloc(length);
    if (!out->text)
        return amg_fail(err, AMG_NO_MEMORY, -1, "passphrase", "no locked memory");
    memcpy(out->text, text, length);
    out->length = length;
    return AMG_OK;
}

void api_passphrase_clear(amg_passphrase *p)
{
    sodium_free(p->text); /* wipes */
    *p = (amg_passphrase){0};
}
