/* Writing token sets. Consumes documents one by one, produces the folder that
 * token_set.c reads, in memory of one buffer; what was begun and not finished leaves
 * nothing. Knows nothing of text. */
#include "formats/token_set.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"

/* Documents are short: what goes to a file is collected to this much. */
#define BUFFER_BYTES ((size_t)1 << 18)
#define SYNC_BYTES ((size_t)4 << 20) /* after so many the disk is set to work */

/* An array that is written element by element: how many are there is known at its end.
 */
typedef struct {
    amg_outfile file;
    amg_dtype dtype;
    int64_t count;
    uint8_t *buffer; /* [BUFFER_BYTES] */
    size_t used;     /* of the buffer, not yet in the file */
    size_t unsynced;
} growing_array;

struct amg_token_writer {
    amg_arena arena; /* the names of classes */
    char *dir, *temp;
    amg_token_info info;
    growing_array shard, documents, labels;
    int64_t *shard_tokens; /* [num_shards], those that are complete */
    int num_shards, room;
};

static amg_status no_memory(const char *where, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for the token set");
}

/* ---- arrays that grow ---- */

/* The header of a one-dim array is as long for any count: numpy leaves room. */
static amg_status put_header(growing_array *a, amg_error *err)
{
    return amg_npy_write_header(a->file.stream, a->dtype, 1, &a->count, err);
}

static amg_status begin_array(const char *dir, const char *name, amg_dtype dtype,
                              growing_array *out, amg_error *err)
{
    char *path = amg_path_join(dir, name);
    if (path == NULL) return no_memory(dir, err);
    *out = (growing_array){.dtype = dtype, .buffer = amg_malloc(BUFFER_BYTES)};
    amg_status st = out->buffer != NULL
                        ? amg_outfile_open(path, 0644, true, &out->file, err)
                        : no_memory(dir, err);
    if (st == AMG_OK) st = put_header(out, err);
    amg_free(path);
    return st;
}

static amg_status flush(growing_array *a, amg_error *err)
{
    const size_t used = a->used;
    a->used = 0;
    if (fwrite(a->buffer, 1, used, a->file.stream) != used)
        return amg_fail_errno(err, errno, a->file.path, "cannot write it");
    a->unsynced += used;
    if (a->unsynced < SYNC_BYTES) return AMG_OK;
    a->unsynced = 0;
    amg_outfile_start_sync(&a->file);
    return AMG_OK;
}

/* Room for one more element at least. */
static amg_status make_room(growing_array *a, amg_error *err)
{
    return a->used + amg_dtype_size(a->dtype) > BUFFER_BYTES ? flush(a, err) : AMG_OK;
}

static amg_status append(growing_array *a, const void *element, amg_error *err)
{
    const size_t size = amg_dtype_size(a->dtype);
    const amg_status st = make_room(a, err);
    if (st != AMG_OK) return st;
    memcpy(a->buffer + a->used, element, size);
    a->used += size;
    a->count++;
    return AMG_OK;
}

static void drop_array(growing_array *a)
{
    amg_outfile_abort(&a->file);
    amg_free(a->buffer);
    *a = (growing_array){0};
}

static amg_status end_array(growing_array *a, amg_error *err)
{
    amg_status st = flush(a, err);
    if (st == AMG_OK && fseeko(a->file.stream, 0, SEEK_SET) != 0)
        st = amg_fail_errno(err, errno, a->file.path, "cannot write it");
    if (st == AMG_OK) st = put_header(a, err);
    if (st == AMG_OK) st = amg_outfile_commit(&a->file, true, err);
    if (st == AMG_OK) drop_array(a);
    return st;
}

/* ---- the stream ---- */

static amg_status begin_shard(amg_token_writer *w, amg_error *err)
{
    char name[32];
    snprintf(name, sizeof name, "tokens-%05d.npy", w->num_shards);
    return begin_array(w->temp, name, w->info.vocab_size <= 1 << 16 ? AMG_U16 : AMG_U32,
                       &w->shard, err);
}

static amg_status end_shard(amg_token_writer *w, amg_error *err)
{
    if (w->num_shards == w->room) {
        const int room = w->room > 0 ? 2 * w->room : 16;
        int64_t *grown =
            amg_realloc(w->shard_tokens, (size_t)room * sizeof *w->shard_tokens);
        if (grown == NULL) return no_memory(w->dir, err);
        w->shard_tokens = grown;
        w->room = room;
    }
    w->shard_tokens[w->num_shards++] = w->shard.count;
    return end_array(&w->shard, err);
}

/* Puts count tokens into the shard's buffer, which has room for them; false: one is out
 * of range. */
static bool narrow(amg_token_writer *w, const int32_t *tokens, int64_t count)
{
    growing_array *shard = &w->shard;
    uint8_t *to = shard->buffer + shard->used;
    uint32_t largest = 0; /* a negative token is a large one */
    for (int64_t i = 0; i < count; i++) {
        const uint32_t token = (uint32_t)tokens[i];
        largest = token > largest ? token : largest;
    }
    if (shard->dtype == AMG_U16) {
        for (int64_t i = 0; i < count; i++) {
            const uint16_t token = (uint16_t)tokens[i];
            memcpy(to + (size_t)i * sizeof token, &token, sizeof token);
        }
    } else {
        memcpy(to, tokens, (size_t)count * sizeof *tokens);
    }
    shard->used += (size_t)count * amg_dtype_size(shard->dtype);
    shard->count += count;
    return largest < (uint32_t)w->info.vocab_size;
}

amg_status amg_token_writer_part(amg_token_writer *w, const int32_t *tokens,
                                 int64_t count, amg_error *err)
{
    amg_status st = AMG_OK;
    while (count > 0 && st == AMG_OK) {
        st = make_room(&w->shard, err);
        if (st != AMG_OK) break;
        const int64_t room =
            (int64_t)((BUFFER_BYTES - w->shard.used) / amg_dtype_size(w->shard.dtype));
        int64_t num = AMG_SHARD_TOKENS - w->shard.count;
        if (num > room) num = room;
        if (num > count) num = count;
        if (!narrow(w, tokens, num))
            return amg_fail(err, AMG_INVALID, -1, w->dir,
                            "a token is not in 0 to %lld, the vocabulary",
                            (long long)w->info.vocab_size - 1);
        w->info.num_tokens += num;
        tokens += num;
        count -= num;
        if (w->shard.count < AMG_SHARD_TOKENS) continue;
        st = end_shard(w, err);
        if (st == AMG_OK) st = begin_shard(w, err);
    }
    return st;
}

amg_status amg_token_writer_add(amg_token_writer *w, const int32_t *tokens,
                                int64_t count, int32_t label, amg_error *err)
{
    if (w->info.num_classes > 0 && (label < 0 || label >= w->info.num_classes))
        return amg_fail(err, AMG_INVALID, -1, w->dir, "label %ld, expected 0 to %lld",
                        (long)label, (long long)w->info.num_classes - 1);
    amg_status st = amg_token_writer_part(w, tokens, count, err);
    if (st == AMG_OK) st = append(&w->documents, &w->info.num_tokens, err);
    if (st == AMG_OK && w->info.num_classes > 0) st = append(&w->labels, &label, err);
    w->info.num_documents++;
    return st;
}

/* ---- the folder ---- */

/* DIR.tmp-XXXXXX, "/" at the end of DIR left out. */
static amg_status make_temp(amg_token_writer *w, amg_error *err)
{
    static const char suffix[] = ".tmp-XXXXXX";
    size_t n = strlen(w->dir);
    while (n > 1 && w->dir[n - 1] == '/') w->dir[--n] = 0;
    char *temp = amg_malloc(n + sizeof suffix);
    if (temp == NULL) return no_memory(w->dir, err);
    memcpy(temp, w->dir, n);
    memcpy(temp + n, suffix, sizeof suffix);
    if (mkdtemp(temp) == NULL) {
        const int error = errno;
        amg_free(temp);
        return amg_fail_errno(err, error, w->dir, "cannot make the folder");
    }
    w->temp = temp;
    if (chmod(temp, 0755) != 0)
        return amg_fail_errno(err, errno, temp, "cannot open it up");
    return AMG_OK;
}

static amg_status copy_info(amg_token_writer *w, const amg_token_info *info,
                            amg_error *err)
{
    w->info = *info;
    w->info.num_tokens = w->info.num_documents = 0;
    w->info.classes = NULL;
    if (info->vocab_size < 1 || info->vocab_size > INT32_MAX ||
        info->pad < AMG_NO_TOKEN || info->pad >= info->vocab_size ||
        info->eos < AMG_NO_TOKEN || info->eos >= info->vocab_size)
        return amg_fail(
            err, AMG_INVALID, -1, w->dir, "vocabulary of %lld, pad %lld, eos %lld",
            (long long)info->vocab_size, (long long)info->pad, (long long)info->eos);
    if (info->num_classes == 0) return AMG_OK;
    const char **classes =
        amg_arena_array(&w->arena, (size_t)info->num_classes, sizeof *classes);
    if (classes == NULL) return no_memory(w->dir, err);
    for (int64_t i = 0; i < info->num_classes; i++)
        if ((classes[i] = amg_arena_strdup(&w->arena, info->classes[i])) == NULL)
            return no_memory(w->dir, err);
    w->info.classes = classes;
    return AMG_OK;
}

amg_status amg_token_writer_new(const char *dir, const amg_token_info *info,
                                amg_token_writer **out, amg_error *err)
{
    static const int64_t zero = 0; /* where the first document begins */
    if (amg_path_exists(dir))
        return amg_fail(err, AMG_EXISTS, -1, dir, "exists already, not overwritten");
    amg_token_writer *w = amg_calloc(1, sizeof *w);
    if (w == NULL || (w->dir = amg_strdup(dir)) == NULL) {
        amg_free(w);
        return no_memory(dir, err);
    }
    amg_status st = copy_info(w, info, err);
    if (st == AMG_OK) st = make_temp(w, err);
    if (st == AMG_OK) st = begin_shard(w, err);
    if (st == AMG_OK)
        st = begin_array(w->temp, "documents.npy", AMG_I64, &w->documents, err);
    if (st == AMG_OK) st = append(&w->documents, &zero, err);
    if (st == AMG_OK && info->num_classes > 0)
        st = begin_array(w->temp, "labels.npy", AMG_I32, &w->labels, err);
    if (st == AMG_OK)
        *out = w;
    else
        amg_token_writer_abort(w);
    return st;
}

const char *amg_token_writer_dir(const amg_token_writer *w) { return w->temp; }

void amg_token_writer_abort(amg_token_writer *w)
{
    if (w == NULL) return;
    drop_array(&w->shard);
    drop_array(&w->documents);
    drop_array(&w->labels);
    if (w->temp != NULL) amg_dir_remove(w->temp);
    amg_arena_clear(&w->arena);
    amg_free(w->shard_tokens);
    amg_free(w->temp);
    amg_free(w->dir);
    amg_free(w);
}

/* ---- the end ---- */

static json_t *make_shards(const amg_token_writer *w)
{
    json_t *list = json_array();
    for (int i = 0; i < w->num_shards; i++)
        if (json_array_append_new(list, json_integer(w->shard_tokens[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *make_classes(const amg_token_info *info)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < info->num_classes; i++)
        if (json_array_append_new(list, json_string(info->classes[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static amg_status write_description(const amg_token_writer *w, amg_error *err)
{
    const amg_token_info *info = &w->info;
    json_t *root = json_pack(
        "{s:s, s:i, s:I, s:I, s:I, s:s, s:o, s:I, s:o}", "format", "amalgam token set",
        "version", 1, "vocab_size", (json_int_t)info->vocab_size, "pad",
        (json_int_t)info->pad, "eos", (json_int_t)info->eos, "vocabulary",
        info->vocabulary, "shards", make_shards(w), "documents",
        (json_int_t)info->num_documents, "classes", make_classes(info));
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    char *path = amg_path_join(w->temp, "tokens.json");
    json_decref(root);
    amg_outfile file = {0};
    amg_status st = text != NULL && path != NULL
                        ? amg_outfile_open(path, 0644, true, &file, err)
                        : amg_fail(err, AMG_NO_MEMORY, -1, w->dir,
                                   "no memory, or the name of a class is not UTF-8");
    if (st == AMG_OK) {
        fprintf(file.stream, "%s\n", text);
        st = amg_outfile_commit(&file, true, err);
    }
    free(text);
    amg_free(path);
    return st;
}

static amg_status hash_vocabulary(amg_token_writer *w, amg_error *err)
{
    int64_t size_bytes;
    char *path = amg_path_join(w->temp, "vocabulary.json");
    if (path == NULL) return no_memory(w->dir, err);
    const amg_status st = amg_file_sha256(path, w->info.vocabulary, &size_bytes, err);
    amg_free(path);
    return st;
}

/* The last shard, if nothing is in it, is not written. */
static amg_status end_arrays(amg_token_writer *w, amg_error *err)
{
    amg_status st = AMG_OK;
    if (w->shard.count > 0)
        st = end_shard(w, err);
    else
        drop_array(&w->shard);
    if (st == AMG_OK) st = end_array(&w->documents, err);
    if (st == AMG_OK && w->info.num_classes > 0) st = end_array(&w->labels, err);
    return st;
}

/* What was written is read once, so that no set is made that cannot be opened. */
static amg_status check_written(const amg_token_writer *w, amg_error *err)
{
    amg_token_set set;
    const amg_status st = amg_token_set_open(w->temp, &set, err);
    if (st == AMG_OK) amg_token_set_close(&set);
    return st;
}

static amg_status place(const amg_token_writer *w, amg_error *err)
{
    /* rename alone would replace an empty folder made meanwhile. */
    if (amg_path_exists(w->dir))
        return amg_fail(err, AMG_EXISTS, -1, w->dir, "exists already, not overwritten");
    if (rename(w->temp, w->dir) != 0)
        return amg_fail_errno(err, errno, w->dir, "cannot put the folder in its place");
    return AMG_OK;
}

amg_status amg_token_writer_finish(amg_token_writer *w, amg_token_info *written,
                                   amg_error *err)
{
    amg_status st = w->info.num_tokens > 0
                        ? end_arrays(w, err)
                        : amg_fail(err, AMG_INVALID, -1, w->dir, "not one token");
    if (st == AMG_OK) st = hash_vocabulary(w, err);
    if (st == AMG_OK) st = write_description(w, err);
    if (st == AMG_OK) st = check_written(w, err);
    if (st == AMG_OK) st = place(w, err);
    if (st == AMG_OK && written != NULL) {
        *written = w->info;
        written->classes = NULL;
    }
    amg_token_writer_abort(w); /* after a success there is no temporary folder left */
    return st;
}
