/* Token sets as data sets: windows of a stream for a language model, or documents of
 * one length with their classes. Consumes a mapped token set and a window, produces
 * samples of I32 and labels. Knows nothing of shards (token_set.c) or of parts. */
#include "formats/dataset_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/token_set.h"

#define MAX_SEQ ((int64_t)1 << 28) /* a sample stays below 2^31 bytes */

typedef struct {
    amg_token_set tokens;
    int64_t seq, stride;
} text_set;

static amg_status text_recognise(const char *path, bool *yes, amg_error *err)
{
    char *description = amg_path_join(path, "tokens.json");
    if (description == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for a path");
    *yes = amg_path_exists(description);
    amg_free(description);
    return AMG_OK;
}

static void describe_tokens(const text_set *set, int64_t length, amg_dataset_info *info)
{
    info->dtype = AMG_I32;
    info->rank = 1;
    info->dims[0] = length;
    info->sample_bytes = (size_t)length * sizeof(int32_t);
    info->vocab_size = set->tokens.info.vocab_size;
    info->pad = set->tokens.info.pad;
    memcpy(info->vocabulary, set->tokens.info.vocabulary, sizeof info->vocabulary);
}

static amg_status describe_windows(const text_set *set, const char *path,
                                   amg_dataset_info *info, amg_error *err)
{
    const int64_t tokens = set->tokens.info.num_tokens, length = set->seq + 1;
    describe_tokens(set, length, info);
    if (tokens < length)
        return amg_fail(err, AMG_MISMATCH, -1, path,
                        "%lld tokens, expected %lld at least: %lld and the one after "
                        "them",
                        (long long)tokens, (long long)length, (long long)set->seq);
    info->num_samples = (tokens - length) / set->stride + 1;
    info->stride = set->stride;
    info->target_dtype = AMG_DTYPE_NONE;
    return AMG_OK;
}

static amg_status describe_documents(const text_set *set, const char *path,
                                     amg_dataset_info *info, amg_error *err)
{
    describe_tokens(set, set->seq, info);
    if (set->tokens.info.pad == AMG_NO_TOKEN)
        return amg_fail(err, AMG_MISMATCH, -1, path,
                        "documents with labels and no token to fill them up with");
    info->num_samples = set->tokens.info.num_documents;
    info->num_classes = set->tokens.info.num_classes;
    info->target_dtype = AMG_I32;
    info->target_bytes = sizeof(int32_t);
    return AMG_OK;
}

static amg_status check_window(const amg_window *window, const char *path,
                               amg_error *err)
{
    if (window->seq < 1 || window->seq > MAX_SEQ)
        return amg_fail(err, AMG_INVALID, -1, path,
                        "samples of %lld tokens, expected 1 to %lld",
                        (long long)window->seq, (long long)MAX_SEQ);
    if (window->stride < 0)
        return amg_fail(err, AMG_INVALID, -1, path,
                        "windows %lld tokens apart, expected 1 at least",
                        (long long)window->stride);
    return AMG_OK;
}

static void text_close(void *opaque)
{
    text_set *set = opaque;
    if (set == NULL) return;
    amg_token_set_close(&set->tokens);
    amg_free(set);
}

static amg_status text_open(const char *path, amg_dataset_split *split,
                            const amg_window *window, void **out,
                            amg_dataset_info *info, amg_error *err)
{
    if (*split != AMG_SPLIT_NONE)
        return amg_fail(err, AMG_NOT_FOUND, -1, path, "a token set has no split \"%s\"",
                        amg_split_name(*split));
    amg_status st = check_window(window, path, err);
    if (st != AMG_OK) return st;
    text_set *set = amg_calloc(1, sizeof *set);
    if (set == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for the data set");
    set->seq = window->seq;
    set->stride = window->stride > 0 ? window->stride : window->seq;
    st = amg_token_set_open(path, &set->tokens, err);
    if (st == AMG_OK)
        st = set->tokens.labels != NULL ? describe_documents(set, path, info, err)
                                        : describe_windows(set, path, info, err);
    if (st == AMG_OK)
        *out = set;
    else
        text_close(set);
    return st;
}

static amg_status read_document(const text_set *set, int64_t row, int32_t *x,
                                amg_error *err)
{
    const int64_t begin = set->tokens.documents[row];
    const int64_t length = set->tokens.documents[row + 1] - begin;
    const int64_t taken = length < set->seq ? length : set->seq;
    const amg_status st = amg_token_set_read(&set->tokens, begin, taken, x, err);
    for (int64_t i = taken; i < set->seq; i++) x[i] = (int32_t)set->tokens.info.pad;
    return st;
}

static amg_status text_read(const void *opaque, int64_t row, void *x, void *y,
                            amg_error *err)
{
    const text_set *set = opaque;
    if (set->tokens.labels == NULL)
        return x == NULL ? AMG_OK
                         : amg_token_set_read(&set->tokens, row * set->stride,
                                              set->seq + 1, x, err);
    amg_dataset_put_label(y, set->tokens.labels[row]);
    return x == NULL ? AMG_OK : read_document(set, row, x, err);
}

static bool text_begins_document(const void *opaque, int64_t row)
{
    const text_set *set = opaque;
    if (set->tokens.labels != NULL) return true;
    const int64_t token = row * set->stride;
    return set->tokens.documents[amg_token_set_document(&set->tokens, token)] == token;
}

static const char *text_class_name(const void *opaque, int64_t label)
{
    const text_set *set = opaque;
    return set->tokens.info.classes[label];
}

const amg_dataset_kind amg_dataset_text = {
    .name = "text",
    .holds = "folder with tokens.json",
    .is_folder = true,
    .recognise = text_recognise,
    .open_window = text_open,
    .close = text_close,
    .read = text_read,
    .class_name = text_class_name,
    .begins_document = text_begins_document,
};
