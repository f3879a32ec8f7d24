/* Checkpoint file: lays out the entries of checkpoint.h and reads them back, checked.
 * Knows names and bytes; the trainer knows what they are for. */
#include "engine/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/safetensors.h"

enum { META_VERSION, META_STEP, META_EPOCHS, META_HEADS, META_IDENTITY };
#define META_COUNT (META_IDENTITY + AMG_ID_COUNT)
#define PROGRESS_COUNT (24 + 2 * (1 + 2 * AMG_MAX_PARTS))
_Static_assert(sizeof(amg_head_progress) == PROGRESS_COUNT * sizeof(double),
               "the progress row is doubles only");

static const char *const progress_name = "progress", *const meta_name = "meta";

/* Name of one parameter in set `which` of head h. */
static const char *entry_name(amg_arena *arena, int h, int which, const char *name)
{
    char prefix[32];
    const char kind = which == AMG_SET_PARAMS    ? 'p'
                      : which == AMG_SET_AVERAGE ? 'e'
                      : which == AMG_SET_BEST    ? 'b'
                                                 : 's';
    if (kind == 's')
        snprintf(prefix, sizeof prefix, "s%d.%d.", h, which - AMG_SET_STATES);
    else
        snprintf(prefix, sizeof prefix, "%c%d.", kind, h);
    const size_t a = strlen(prefix), b = strlen(name) + 1;
    char *out = amg_arena_alloc(arena, a + b);
    if (!out) return NULL;
    memcpy(out, prefix, a);
    memcpy(out + a, name, b);
    return out;
}

/* Buffers have no optimizer state and no average. */
static bool is_stored(const amg_param *p, int which)
{
    return which == AMG_SET_PARAMS || which == AMG_SET_BEST ||
           p->role == AMG_ROLE_TRAINABLE;
}

/* Calls visit on every stored parameter in the file's order. */
typedef amg_status (*visit_fn)(void *context, const char *name, amg_param *p, int h,
                               amg_error *err);

static amg_status for_each(const amg_checkpoint *c, amg_arena *arena, visit_fn visit,
                           void *context, amg_error *err)
{
    for (int h = 0; h < c->num_heads; h++)
        for (int which = 0; which < AMG_NUM_SETS; which++)
            for (int i = 0; i < c->sets[h][which].count; i++) {
                amg_param *p = &c->sets[h][which].items[i];
                if (!is_stored(p, which)) continue;
                const char *name = entry_name(arena, h, which, p->name);
                if (!name)
                    return amg_fail(err, AMG_NO_MEMORY, -1, p->name, "checkpoint");
                amg_status status = visit(context, name, p, h, err);
                if (status) return status;
            }
    return AMG_OK;
}

typedef struct {
    amg_st_entry *entries;
    size_t count;
    int64_t step;
} entry_list;

static amg_status add_entry(void *context, const char *name, amg_param *p, int h,
                            amg_error *err)
{
    entry_list *list = context;
    const int64_t bad = amg_tensor_find_not_finite(&p->tensor);
    if (bad >= 0)
        return amg_fail(err, AMG_NOT_FINITE, -1, p->name,
                        "head %d: element %lld is NaN or infinite after step %lld", h,
                        (long long)bad, (long long)list->step);
    list->entries[list->count++] = (amg_st_entry){name, p->tensor};
    return AMG_OK;
}

static size_t max_entries(const amg_checkpoint *c)
{
    size_t n = 2;
    for (int h = 0; h < c->num_heads; h++)
        n += (size_t)c->sets[h][AMG_SET_PARAMS].count * AMG_NUM_SETS;
    return n;
}

amg_status amg_checkpoint_write(const char *path, const amg_checkpoint *c,
                                amg_error *err)
{
    int64_t meta[META_COUNT] = {AMG_CHECKPOINT_VERSION, c->step, c->epochs_done,
                                c->num_heads};
    const int64_t meta_dims[1] = {META_COUNT};
    const int64_t progress_dims[2] = {c->num_heads, PROGRESS_COUNT};
    amg_arena arena = {0};
    entry_list list = {amg_calloc(max_entries(c), sizeof *list.entries), 2, c->step};
    if (!list.entries) return amg_fail(err, AMG_NO_MEMORY, -1, path, "checkpoint");
    memcpy(meta + META_IDENTITY, c->identity.field, sizeof c->identity.field);
    list.entries[0].name = meta_name;
    list.entries[1].name = progress_name;
    amg_status status =
        amg_tensor_view(AMG_I64, 1, meta_dims, meta, &list.entries[0].tensor, err);
    if (!status)
        status = amg_tensor_view(AMG_F64, 2, progress_dims, c->progress,
                                 &list.entries[1].tensor, err);
    if (!status) status = for_each(c, &arena, add_entry, &list, err);
    char steps[24];
    snprintf(steps, sizeof steps, "%lld", (long long)c->batches);
    const amg_st_pair pairs[] = {{AMG_ST_STEPS, steps}, {AMG_ST_JOB, c->job}};
    if (!status)
        status = amg_safetensors_write_with(path, list.entries, list.count, pairs,
                                            c->job ? 2 : 1, err);
    amg_free(list.entries);
    amg_arena_clear(&arena);
    return status;
}

typedef struct {
    const amg_safetensors *st;
    size_t count;
} entry_reader;

static amg_status read_entry(void *context, const char *name, amg_param *p, int h,
                             amg_error *err)
{
    entry_reader *r = context;
    const amg_tensor *t;
    amg_status status = amg_safetensors_get(r->st, name, p->tensor.dtype,
                                            p->tensor.rank, p->tensor.dims, &t, err);
    if (status) return status;
    if (amg_tensor_find_not_finite(t) >= 0)
        return amg_fail(err, AMG_NOT_FINITE, -1, name,
                        "head %d: the checkpoint holds NaN or infinity", h);
    memcpy(p->tensor.data, t->data, t->size_bytes);
    r->count++;
    return AMG_OK;
}

static amg_status read_meta(const char *path, const amg_safetensors *st,
                            amg_checkpoint *c, amg_error *err)
{
    const amg_tensor *t = amg_safetensors_find(st, meta_name);
    int64_t meta[META_COUNT] = {0};
    if (!t || t->dtype != AMG_I64 || t->rank != 1 || t->dims[0] < 1)
        return amg_fail(err, AMG_MALFORMED, -1, path, "this is no checkpoint");
    memcpy(meta, t->data, t->size_bytes < sizeof meta ? t->size_bytes : sizeof meta);
    if (meta[META_VERSION] != AMG_CHECKPOINT_VERSION || t->size_bytes != sizeof meta)
        return amg_fail(err, AMG_UNSUPPORTED, -1, path,
                        "checkpoint of version %lld, expected %d",
                        (long long)meta[META_VERSION], AMG_CHECKPOINT_VERSION);
    if (meta[META_HEADS] != c->num_heads)
        return amg_fail(
            err, AMG_MISMATCH, -1, path, "the checkpoint has %lld head%s, this run %d",
            (long long)meta[META_HEADS], amg_plural(meta[META_HEADS]), c->num_heads);
    amg_identity saved;
    memcpy(saved.field, meta + META_IDENTITY, sizeof saved.field);
    c->step = meta[META_STEP];
    c->epochs_done = meta[META_EPOCHS];
    return amg_identity_check(&saved, &c->identity, path, err);
}

amg_status amg_checkpoint_read(const char *path, amg_checkpoint *c, amg_error *err)
{
    const int64_t progress_dims[2] = {c->num_heads, PROGRESS_COUNT};
    const amg_tensor *progress;
    amg_arena arena = {0};
    amg_safetensors *st;
    amg_status status = amg_safetensors_open(path, &st, err);
    if (status) return status;
    entry_reader reader = {st, 2};
    status = read_meta(path, st, c, err);
    if (!status)
        status = amg_safetensors_get(st, progress_name, AMG_F64, 2, progress_dims,
                                     &progress, err);
    if (!status) memcpy(c->progress, progress->data, progress->size_bytes);
    if (!status) status = for_each(c, &arena, read_entry, &reader, err);
    if (!status && reader.count != amg_safetensors_count(st))
        status = amg_fail(err, AMG_MISMATCH, -1, path,
                          "the checkpoint holds %zu tensor%s, expected %zu",
                          amg_safetensors_count(st),
                          amg_plural((int64_t)amg_safetensors_count(st)), reader.count);
    amg_safetensors_close(st);
    amg_arena_clear(&arena);
    return status;
}
