/* Reading token sets. Consumes the folder that `amalgam tokenize` writes, or that a
 * stranger made; produces a stream of tokens and where its documents begin. Knows
 * nothing of text: vocabulary.json is not opened. docs/datasets.md has the refusals. */
#include "formats/token_set.h"

#include <string.h>

#include "base/alloc.h"
#include "formats/json.h"

#define MAX_SHARDS 100000
#define MAX_CLASSES (1 << 20)
#define MAX_CLASS_BYTES 1024
#define MAX_COUNT ((int64_t)1 << 40) /* tokens of a shard, documents */

static amg_status no_memory(const char *where, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for the token set");
}

/* ---- tokens.json ---- */

static amg_status read_format(const amg_json_node *root, amg_error *err)
{
    const char *format;
    int64_t version;
    const amg_json_node name = amg_json_member(root, "format");
    const amg_json_node number = amg_json_member(root, "version");
    amg_status st = amg_json_string(&name, &format, err);
    if (st != AMG_OK) return st;
    if (strcmp(format, "amalgam token set") != 0)
        return amg_json_fail(&name, err, AMG_UNSUPPORTED,
                             "found \"%s\", expected \"amalgam token set\"", format);
    st = amg_json_int(&number, 0, INT32_MAX, &version, err);
    if (st == AMG_OK && version != 1)
        return amg_json_fail(&number, err, AMG_UNSUPPORTED, "version %lld, expected 1",
                             (long long)version);
    return st;
}

/* A lower-case SHA-256. */
static amg_status read_hash(const amg_json_node *node, char out[65], amg_error *err)
{
    const char *text;
    const amg_status st = amg_json_string(node, &text, err);
    if (st != AMG_OK) return st;
    if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
        return amg_json_fail(node, err, AMG_MALFORMED, "expected 64 hex digits");
    memcpy(out, text, 65);
    return AMG_OK;
}

static amg_status read_vocabulary(const amg_json_node *root, amg_token_info *info,
                                  amg_error *err)
{
    const amg_json_node size = amg_json_member(root, "vocab_size");
    const amg_json_node pad = amg_json_member(root, "pad");
    const amg_json_node eos = amg_json_member(root, "eos");
    const amg_json_node hash = amg_json_member(root, "vocabulary");
    amg_status st = amg_json_int(&size, 1, INT32_MAX, &info->vocab_size, err);
    if (st != AMG_OK) return st;
    st = amg_json_int(&pad, AMG_NO_TOKEN, info->vocab_size - 1, &info->pad, err);
    if (st == AMG_OK)
        st = amg_json_int(&eos, AMG_NO_TOKEN, info->vocab_size - 1, &info->eos, err);
    return st == AMG_OK ? read_hash(&hash, info->vocabulary, err) : st;
}

static amg_status read_shards(const amg_json_node *node, amg_token_set *set,
                              amg_error *err)
{
    size_t count;
    amg_status st = amg_json_array(node, 1, MAX_SHARDS, &count, err);
    if (st != AMG_OK) return st;
    set->shards = amg_arena_array(&set->arena, count, sizeof *set->shards);
    set->shard_begin =
        amg_arena_array(&set->arena, count + 1, sizeof *set->shard_begin);
    if (set->shards == NULL || set->shard_begin == NULL)
        return no_memory(node->doc->name, err);
    for (size_t i = 0; i < count; i++) {
        int64_t tokens;
        const amg_json_node shard = amg_json_element(node, i);
        st = amg_json_int(&shard, 1, MAX_COUNT, &tokens, err);
        if (st != AMG_OK) return st;
        set->shard_begin[i + 1] = set->shard_begin[i] + tokens;
    }
    set->num_shards = (int)count;
    set->info.num_tokens = set->shard_begin[count];
    return AMG_OK;
}

static amg_status read_class(const amg_json_node *node, amg_arena *arena,
                             const char **out, amg_error *err)
{
    const char *text;
    const amg_status st = amg_json_string(node, &text, err);
    if (st != AMG_OK) return st;
    const size_t n = strlen(text);
    if (n == 0 || n > MAX_CLASS_BYTES)
        return amg_json_fail(node, err, AMG_MALFORMED,
                             "found %zu bytes, expected 1 to %d", n, MAX_CLASS_BYTES);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return amg_json_fail(node, err, AMG_MALFORMED, "holds a control character");
    *out = amg_arena_strdup(arena, text);
    return *out != NULL ? AMG_OK : no_memory(node->doc->name, err);
}

static amg_status read_classes(const amg_json_node *node, amg_token_set *set,
                               amg_error *err)
{
    size_t count;
    amg_status st = amg_json_array(node, 0, MAX_CLASSES, &count, err);
    if (st != AMG_OK || count == 0) return st;
    const char **classes = amg_arena_array(&set->arena, count, sizeof *classes);
    if (classes == NULL) return no_memory(node->doc->name, err);
    for (size_t i = 0; i < count && st == AMG_OK; i++) {
        const amg_json_node name = amg_json_element(node, i);
        st = read_class(&name, &set->arena, &classes[i], err);
    }
    set->info.classes = classes;
    set->info.num_classes = (int64_t)count;
    return st;
}

static amg_status read_members(const amg_json *doc, amg_token_set *set, amg_error *err)
{
    static const char *const keys[] = {"format", "version",   "vocab_size",
                                       "pad",    "eos",       "vocabulary",
                                       "shards", "documents", "classes"};
    const amg_json_node root = amg_json_root(doc);
    amg_status st = amg_json_object(&root, keys, sizeof keys / sizeof *keys, err);
    if (st != AMG_OK) return st;
    const amg_json_node shards = amg_json_member(&root, "shards");
    const amg_json_node documents = amg_json_member(&root, "documents");
    const amg_json_node classes = amg_json_member(&root, "classes");
    st = read_format(&root, err);
    if (st == AMG_OK) st = read_vocabulary(&root, &set->info, err);
    if (st == AMG_OK) st = read_shards(&shards, set, err);
    if (st == AMG_OK)
        st = amg_json_int(&documents, 1, MAX_COUNT, &set->info.num_documents, err);
    return st == AMG_OK ? read_classes(&classes, set, err) : st;
}

static amg_status read_description(const char *path, amg_token_set *set, amg_error *err)
{
    amg_map map;
    amg_json doc = {0};
    amg_status st = amg_map_open(path, &map, err);
    if (st != AMG_OK) return st;
    st = amg_json_parse((const char *)map.data, map.size, 0, path, &doc, err);
    if (st == AMG_OK) st = read_members(&doc, set, err);
    amg_json_clear(&doc);
    amg_map_close(&map);
    return st;
}

/* ---- the arrays ---- */

/* Byte of the file at which element i stands. */
static int64_t offset_of(const amg_npy *npy, int64_t i)
{
    const uint8_t *start = npy->array.data;
    return (start - npy->map.data) + i * (int64_t)amg_dtype_size(npy->array.dtype);
}

/* DIR/name, one dim of count elements of dtype or, unless NONE, of other. */
static amg_status open_array(const char *dir, const char *name, amg_dtype dtype,
                             amg_dtype other, int64_t count, amg_npy *out,
                             amg_error *err)
{
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    char *path = amg_path_join(dir, name);
    if (path == NULL) return no_memory(dir, err);
    amg_status st = amg_npy_open(path, out, err);
    const amg_tensor *a = &out->array;
    if (st == AMG_OK && (a->rank != 1 || a->dims[0] != count ||
                         (a->dtype != dtype && a->dtype != other)))
        st = amg_fail(err, AMG_MISMATCH, -1, path, "found %s, expected %s%s%s",
                      amg_shape_text(a->dtype, a->rank, a->dims, found),
                      amg_shape_text(dtype, 1, &count, expected),
                      other != AMG_DTYPE_NONE ? " or " : "",
                      other != AMG_DTYPE_NONE ? amg_dtype_name(other) : "");
    amg_free(path);
    return st;
}

static void shard_name(int shard, char out[32])
{
    snprintf(out, 32, "tokens-%05d.npy", shard);
}

static amg_status open_shards(amg_token_set *set, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < set->num_shards && st == AMG_OK; i++) {
        char name[32];
        shard_name(i, name);
        st = open_array(set->dir, name, AMG_U16, AMG_U32,
                        set->shard_begin[i + 1] - set->shard_begin[i], &set->shards[i],
                        err);
    }
    return st;
}

static amg_status open_documents(amg_token_set *set, amg_error *err)
{
    const int64_t n = set->info.num_documents;
    amg_npy *file = &set->documents_file;
    const amg_status st = open_array(set->dir, "documents.npy", AMG_I64, AMG_DTYPE_NONE,
                                     n + 1, file, err);
    if (st != AMG_OK) return st;
    const int64_t *begin = file->array.data;
    for (int64_t i = 0; i <= n; i++) { /* from 0, never down, to the last token */
        const int64_t high = i > 0 ? set->info.num_tokens : 0;
        const int64_t low = i == n ? high : i > 0 ? begin[i - 1] : 0;
        if (begin[i] >= low && begin[i] <= high) continue;
        return amg_fail(err, AMG_MALFORMED, offset_of(file, i), set->dir,
                        "documents.npy: entry %lld is %lld, expected %lld to %lld",
                        (long long)i, (long long)begin[i], (long long)low,
                        (long long)high);
    }
    set->documents = begin;
    return AMG_OK;
}

static amg_status open_labels(amg_token_set *set, amg_error *err)
{
    const int64_t n = set->info.num_documents;
    amg_npy *file = &set->labels_file;
    if (set->info.num_classes == 0) return AMG_OK;
    const amg_status st =
        open_array(set->dir, "labels.npy", AMG_I32, AMG_DTYPE_NONE, n, file, err);
    if (st != AMG_OK) return st;
    const int32_t *labels = file->array.data;
    for (int64_t i = 0; i < n; i++) {
        if (labels[i] >= 0 && labels[i] < set->info.num_classes) continue;
        return amg_fail(err, AMG_MALFORMED, offset_of(file, i), set->dir,
                        "labels.npy: label %ld of document %lld, expected 0 to %lld",
                        (long)labels[i], (long long)i,
                        (long long)set->info.num_classes - 1);
    }
    set->labels = labels;
    return AMG_OK;
}

amg_status amg_token_set_open(const char *dir, amg_token_set *out, amg_error *err)
{
    amg_token_set set = {0};
    char *path = amg_path_join(dir, "tokens.json");
    set.dir = amg_arena_strdup(&set.arena, dir);
    amg_status st = path != NULL && set.dir != NULL ? read_description(path, &set, err)
                                                    : no_memory(dir, err);
    if (st == AMG_OK) st = open_shards(&set, err);
    if (st == AMG_OK) st = open_documents(&set, err);
    if (st == AMG_OK) st = open_labels(&set, err);
    if (st == AMG_OK)
        *out = set;
    else
        amg_token_set_close(&set);
    amg_free(path);
    return st;
}

void amg_token_set_close(amg_token_set *set)
{
    for (int i = 0; i < set->num_shards; i++) amg_npy_close(&set->shards[i]);
    amg_npy_close(&set->documents_file);
    amg_npy_close(&set->labels_file);
    amg_arena_clear(&set->arena);
    *set = (amg_token_set){0};
}

/* ---- tokens ---- */

/* Which of num spans holds token; span i is begins[i] .. begins[i + 1] - 1 and may be
 * empty. */
static int64_t find_span(const int64_t *begins, int64_t num, int64_t token)
{
    int64_t low = 0, high = num;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (begins[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Widens count elements from place at on; returns the largest, so that one comparison
 * checks them all. */
static uint32_t widen(const amg_tensor *shard, int64_t at, int64_t count, int32_t *out)
{
    uint32_t largest = 0;
    if (shard->dtype == AMG_U16) {
        const uint16_t *from = (const uint16_t *)shard->data + at;
        for (int64_t i = 0; i < count; i++) {
            out[i] = (int32_t)from[i];
            largest = from[i] > largest ? from[i] : largest;
        }
    } else {
        const uint32_t *from = (const uint32_t *)shard->data + at;
        for (int64_t i = 0; i < count; i++) {
            out[i] = (int32_t)from[i];
            largest = from[i] > largest ? from[i] : largest;
        }
    }
    return largest;
}

static amg_status too_large(const amg_token_set *set, int shard, int64_t at,
                            const int32_t *tokens, amg_error *err)
{
    char name[32];
    int64_t i = 0;
    while ((uint32_t)tokens[i] < (uint32_t)set->info.vocab_size) i++;
    shard_name(shard, name);
    return amg_fail(err, AMG_MALFORMED, offset_of(&set->shards[shard], at + i),
                    set->dir, "%s: token %lu, expected 0 to %lld", name,
                    (unsigned long)(uint32_t)tokens[i],
                    (long long)set->info.vocab_size - 1);
}

amg_status amg_token_set_read(const amg_token_set *set, int64_t begin, int64_t count,
                              int32_t *out, amg_error *err)
{
    const int64_t all = set->info.num_tokens;
    if (begin < 0 || count < 0 || begin > all || count > all - begin)
        return amg_fail(err, AMG_INVALID, -1, set->dir,
                        "%lld tokens from %lld on asked for, there are %lld",
                        (long long)count, (long long)begin, (long long)all);
    int s = (int)find_span(set->shard_begin, set->num_shards, begin);
    for (; count > 0; s++) {
        const int64_t at = begin - set->shard_begin[s];
        const int64_t left = set->shard_begin[s + 1] - begin;
        const int64_t num = count < left ? count : left;
        if (widen(&set->shards[s].array, at, num, out) >=
            (uint32_t)set->info.vocab_size)
            return too_large(set, s, at, out, err);
        begin += num;
        count -= num;
        out += num;
    }
    return AMG_OK;
}

int64_t amg_token_set_document(const amg_token_set *set, int64_t token)
{
    return find_span(set->documents, set->info.num_documents, token);
}
