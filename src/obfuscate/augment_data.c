/* The dataset augmenter: private samples and covers (or noise) in, shards of augmented
 * samples and columns of targets out, a chunk at a time. Which sample goes where is the
 * plan's and the cover plan's business; this file moves bytes and writes files. The
 * same key and data give the same bytes, however many threads work. */
#include "obfuscate/augment_data.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "formats/npy.h"
#include "obfuscate/samples.h"

#define SHARD_BYTES ((size_t)32 << 20)
#define SYNC_BYTES ((size_t)4 << 20) /* written before the disk begins with them */
#define TILE 64 /* samples that amg_scatter likes to move at once */

/* A chunk as it is written. */
typedef struct {
    int64_t first, num; /* samples */
    void *x;            /* [num][num_positions] */
    uint8_t *y;         /* [num][num_subnets][target_bytes] */
} chunk;

/* State of one split's augmentation. */
typedef struct {
    const amg_augment_options *o;
    const amg_obf_plan *plan;
    const amg_manifest *m; /* its task and target */
    const char *job_dir;
    size_t elem;          /* bytes of a value */
    int64_t total, room;  /* samples; of a chunk */
    int64_t shard_rows;   /* rows of a full shard */
    void **streams;       /* [num_subnets], by slot: [room][num_values] or NULL */
    const int64_t **rows; /* [num_subnets]: a decoy's pool rows; NULL: original */
    size_t target_bytes;  /* of one sample; 0 in tasks without targets */
    uint8_t *targets;     /* [num_subnets][room][target_bytes], by slot */
    chunk chunks[2];      /* one is made while the other is written */
    double start_seconds;
} augmenter;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- checks ---- */

static amg_status check_targets(const amg_manifest *m, const amg_dataset *ds,
                                amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    if (!amg_task_has_targets(m->task) ||
        (info->target_dtype == m->target_dtype && info->target_rank == m->target_rank &&
         memcmp(info->target_dims, m->target_dims,
                (size_t)m->target_rank * sizeof *m->target_dims) == 0))
        return AMG_OK;
    return amg_fail(
        err, AMG_MISMATCH, -1, amg_dataset_source(ds), "targets are %s, expected %s",
        amg_shape_text(info->target_dtype, info->target_rank, info->target_dims, found),
        amg_shape_text(m->target_dtype, m->target_rank, m->target_dims, expected));
}

static amg_status check_set(const amg_obf_plan *plan, const amg_manifest *m,
                            const amg_dataset *ds, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    int64_t dims[3];
    amg_samples_dims(info, dims);
    if (info->dtype == plan->shape.dtype &&
        memcmp(dims, plan->shape.dims, sizeof dims) == 0)
        return check_targets(m, ds, err);
    return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                    "samples are %s, expected %s",
                    amg_shape_text(info->dtype, 3, dims, found),
                    amg_shape_text(plan->shape.dtype, 3, plan->shape.dims, expected));
}

static amg_status check_packed(const amg_augment_options *o, const amg_manifest *m,
                               const amg_dataset *ds, amg_error *err)
{
    const int64_t expected = amg_dataset_get_info(o->data)->num_samples,
                  found = amg_dataset_get_info(ds)->num_samples;
    if (found == expected) return check_set(o->plan, m, ds, err);
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
             "%" PRId64 " samples, %s has %" PRId64 ": expected as many", found,
             amg_dataset_source(o->data), expected);
    amg_hint(err, "a part of a data set is written DATA[0:N]");
    return AMG_MISMATCH;
}

static amg_status check_options(const amg_augment_options *o, const amg_manifest *m,
                                amg_error *err)
{
    const bool streams = o->plan->shape.mode == AMG_MODE_STREAMS;
    amg_status st = check_set(o->plan, m, o->data, err);
    for (int s = 0; st == AMG_OK && o->sets && s < o->plan->num_subnets; s++)
        st = check_packed(o, m, o->sets[s], err);
    if (st == AMG_OK && streams && !o->sets) {
        if (!o->covers || !o->cover_rows)
            return amg_fail(err, AMG_INVALID, -1, o->split, "streams need covers");
        st = check_set(o->plan, m, o->covers, err);
    }
    if (st == AMG_OK && !streams &&
        (!o->noise || o->noise->dtype != o->plan->shape.dtype))
        return amg_fail(err, AMG_INVALID, -1, o->split,
                        "paper mode needs noise of the data's dtype");
    if (st == AMG_OK && amg_dataset_get_info(o->data)->num_samples < 1)
        return amg_fail(err, AMG_INVALID, -1, amg_dataset_source(o->data),
                        "found no sample");
    return st;
}

/* ---- what a slot shows ---- */

/* The slot's samples of the chunk that begins at sample first; a NULL set where noise
 * stands in their place. Decoys of paper mode have none: they train on the original's
 * targets, as in the paper, each under its own class map. */
static amg_samples samples_of(const augmenter *a, int slot, int64_t first)
{
    const bool own = slot == a->plan->original;
    amg_samples s = {.first = first, .x = a->streams[slot]};
    s.set = a->o->sets ? a->o->sets[slot] : own ? a->o->data : a->o->covers;
    s.rows = a->rows[slot];
    if (!a->o->sets && !own && !s.rows) s.set = NULL;
    if (a->targets)
        s.y = a->targets +
              (size_t)((s.set ? slot : a->plan->original) * a->room) * a->target_bytes;
    return s;
}

/* Labels of one sample, from true classes to those of the slot. */
static amg_status map_labels(const augmenter *a, int slot, const amg_dataset *ds,
                             int64_t row, const uint8_t *from, uint8_t *to,
                             amg_error *err)
{
    const amg_subnet_plan *net = &a->plan->subnets[slot];
    for (size_t at = 0; at < a->target_bytes; at += sizeof(int32_t)) {
        int32_t label;
        memcpy(&label, from + at, sizeof label);
        if (label < 0 || label >= net->num_classes)
            return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                            "sample %" PRId64 " has class %" PRId32
                            ", expected one of %" PRId64,
                            row, label, net->num_classes);
        memcpy(to + at, &net->label_map[label], sizeof label);
    }
    return AMG_OK;
}

/* Labels of which several may apply: from 0, it does not, to 1. */
static amg_status copy_degrees(const augmenter *a, const amg_dataset *ds, int64_t row,
                               const uint8_t *from, uint8_t *to, amg_error *err)
{
    for (size_t at = 0; at < a->target_bytes; at += sizeof(float)) {
        float label;
        memcpy(&label, from + at, sizeof label);
        if (!(label >= 0 && label <= 1))
            return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                            "sample %" PRId64 " has the label %g, expected 0 to 1", row,
                            (double)label);
    }
    memcpy(to, from, a->target_bytes);
    return AMG_OK;
}

/* A row of targets for several outputs: labels must be classes, degrees from 0 to 1. */
static amg_status copy_parts(const augmenter *a, const amg_dataset *ds, int64_t row,
                             const uint8_t *from, uint8_t *to, amg_error *err)
{
    const uint8_t *at = from;
    for (int p = 0; p < a->o->num_parts; p++) {
        const amg_loss_part *part = &a->o->parts[p];
        const int64_t count = amg_loss_part_targets(part);
        for (int64_t i = 0; i < count; i++, at += sizeof(float)) {
            float value;
            memcpy(&value, at, sizeof value);
            if (!amg_loss_part_takes(part, value))
                return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                                "sample %" PRId64 " has the target %g for output %d, "
                                "expected %s",
                                row, (double)value, p,
                                part->loss == AMG_LOSS_BCE ? "0 to 1"
                                                           : "one of its classes");
        }
    }
    memcpy(to, from, a->target_bytes);
    return AMG_OK;
}

/* Puts the targets of samples begin .. end-1 into the slot's column. */
static amg_status fill_column(const augmenter *a, int slot, const chunk *c,
                              int64_t begin, int64_t end, amg_error *err)
{
    const size_t bytes = a->target_bytes;
    const amg_samples s = samples_of(a, slot, c->first);
    amg_status st = AMG_OK;
    for (int64_t i = begin; st == AMG_OK && bytes > 0 && i < end; i++) {
        const uint8_t *from = (const uint8_t *)s.y + (size_t)i * bytes;
        uint8_t *to = c->y + (size_t)(i * a->plan->num_subnets + slot) * bytes;
        const amg_dataset *ds = s.set ? s.set : a->o->data;
        if (a->m->task == AMG_TASK_CLASSIFICATION)
            st = map_labels(a, slot, ds, amg_samples_row(&s, i), from, to, err);
        else if (a->m->task == AMG_TASK_MULTI_LABEL)
            st = copy_degrees(a, ds, amg_samples_row(&s, i), from, to, err);
        else if (a->m->task == AMG_TASK_MULTI_TASK)
            st = copy_parts(a, ds, amg_samples_row(&s, i), from, to, err);
        else
            memcpy(to, from, bytes);
    }
    return st;
}

/* Checks and renumbers the tokens of samples begin .. end-1 in the slot's stream. */
static amg_status map_tokens(const augmenter *a, int slot, int64_t first, int64_t begin,
                             int64_t end, amg_error *err)
{
    const amg_subnet_plan *net = &a->plan->subnets[slot];
    const int64_t n = a->plan->num_values,
                  vocab = net->vocab ? net->vocab : a->o->vocab;
    const int32_t *map = net->token_map;
    const amg_samples s = samples_of(a, slot, first);
    if (!s.set || vocab == 0 || a->plan->shape.dtype != AMG_I32) return AMG_OK;
    int32_t *x = s.x;
    for (int64_t i = begin * n; i < end * n; i++) {
        if (x[i] < 0 || x[i] >= vocab)
            return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(s.set),
                            "sample %" PRId64 " has token %" PRId32
                            ", expected one of a vocabulary of %" PRId64,
                            amg_samples_row(&s, i / n), x[i], vocab);
        if (map) x[i] = map[x[i]];
    }
    return AMG_OK;
}

/* ---- one chunk ---- */

/* Fills samples begin .. end-1 of a chunk with noise, each from its own stream. Noise
 * of tokens is numbered as the original's: it is drawn like them. */
static amg_status fill_noise(const augmenter *a, const chunk *c, int64_t begin,
                             int64_t end, amg_error *err)
{
    const int original = a->plan->original;
    const int32_t *map = a->plan->subnets[original].token_map;
    const size_t sample_bytes = (size_t)a->plan->num_values * a->elem;
    const size_t out_bytes = (size_t)a->plan->num_positions * a->elem;
    amg_keystream *ks = NULL;
    amg_status st = amg_keystream_new(a->o->secret, AMG_PURPOSE_NOISE, 0, &ks, err);
    if (st != AMG_OK) return st;
    for (int64_t i = begin; i < end; i++) {
        uint8_t hash[AMG_SAMPLE_HASH_BYTES];
        uint64_t index = 0;
        const uint8_t *x = (const uint8_t *)a->streams[original];
        amg_secret_hash(a->o->secret, x + (size_t)i * sample_bytes, sample_bytes, hash);
        for (int b = 0; b < 8; b++) index |= (uint64_t)hash[b] << 8 * b;
        amg_keystream_seek(ks, index);
        void *out = (uint8_t *)c->x + (size_t)i * out_bytes;
        amg_noise_fill(a->o->noise, ks, a->plan->num_positions, out);
        for (int64_t j = 0; map && j < a->plan->num_positions; j++)
            ((int32_t *)out)[j] = map[((int32_t *)out)[j]];
    }
    amg_keystream_free(ks);
    return AMG_OK;
}

/* Makes samples begin .. end-1 of a chunk. */
static amg_status make_part(const augmenter *a, const chunk *c, int64_t begin,
                            int64_t end, amg_error *err)
{
    const size_t row = (size_t)a->plan->num_values * a->elem;
    const void *streams[AMG_MAX_DECOYS + 1];
    amg_status st = AMG_OK;
    for (int s = 0; st == AMG_OK && s < a->plan->num_subnets; s++) {
        const amg_samples all = samples_of(a, s, c->first);
        streams[s] = all.x ? (const uint8_t *)all.x + (size_t)begin * row : NULL;
        st = amg_samples_read_part(&all, begin, end, err);
    }
    if (st == AMG_OK && a->o->noise) st = fill_noise(a, c, begin, end, err);
    for (int s = 0; st == AMG_OK && s < a->plan->num_subnets; s++) {
        st = map_tokens(a, s, c->first, begin, end, err);
        if (st == AMG_OK) st = fill_column(a, s, c, begin, end, err);
    }
    if (st == AMG_OK)
        amg_scatter(a->plan, streams, end - begin, a->elem,
                    (uint8_t *)c->x +
                        (size_t)begin * (size_t)a->plan->num_positions * a->elem);
    return st;
}

/* The next chunk in the making, while the one before is written. */
typedef struct {
    const augmenter *a;
    const chunk *made, *written; /* written->num 0: there is none yet */
    amg_outfile x, y;            /* y.stream NULL: there are no targets */
    size_t unsynced;             /* bytes of x that the disk was not told of yet */
    const amg_shard *shard;
    int64_t part; /* samples that one thread makes at once */
} step;

static amg_status write_chunk(step *s, amg_error *err)
{
    const augmenter *a = s->a;
    const chunk *c = s->written;
    const size_t row = (size_t)a->plan->num_positions * a->elem, num = (size_t)c->num;
    const size_t y_row = (size_t)a->plan->num_subnets * a->target_bytes;
    if (fwrite(c->x, row, num, s->x.stream) != num ||
        (s->y.stream && fwrite(c->y, y_row, num, s->y.stream) != num))
        return amg_fail(err, AMG_IO, -1, s->shard->x,
                        "could not write samples %" PRId64 " to %" PRId64, c->first,
                        c->first + c->num - 1);
    s->unsynced += row * num;
    if (s->unsynced >= SYNC_BYTES) {
        amg_outfile_start_sync(&s->x);
        s->unsynced = 0;
    }
    return AMG_OK;
}

static amg_status step_item(void *context, int64_t item, amg_error *err)
{
    step *s = context;
    if (item == 0) return write_chunk(s, err);
    const int64_t begin = (item - 1) * s->part, left = s->made->num - begin;
    return make_part(s->a, s->made, begin, begin + (left < s->part ? left : s->part),
                     err);
}

/* A few parts for each thread: one of them also writes. */
static amg_status run_step(step *s, amg_error *err)
{
    const int64_t parts = 4 * (int64_t)amg_threads();
    s->part = (s->made->num / parts + TILE - 1) / TILE * TILE;
    if (s->part < TILE) s->part = TILE;
    for (int slot = 0; slot < s->a->plan->num_subnets; slot++) {
        const amg_samples all = samples_of(s->a, slot, s->made->first);
        const amg_status st = amg_samples_read_ahead(&all, s->made->num, err);
        if (st != AMG_OK) return st;
    }
    return amg_parallel_items(1 + (s->made->num + s->part - 1) / s->part, step_item, s,
                              err);
}

/* ---- shards ---- */

/* "data/train-x-00012.npy" in arena; NULL when out of memory. */
static char *shard_name(amg_arena *arena, const char *split, char part, int number)
{
    char name[128];
    snprintf(name, sizeof name, "data/%s-%c-%05d.npy", split, part, number);
    return amg_arena_strdup(arena, name);
}

static amg_status open_part(const char *job_dir, const char *name, amg_dtype dtype,
                            int rank, const int64_t *dims, amg_outfile *out,
                            amg_error *err)
{
    char *path = amg_path_join(job_dir, name);
    if (!path) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory");
    amg_status st = amg_outfile_open(path, 0644, true, out, err);
    if (st == AMG_OK) st = amg_npy_write_header(out->stream, dtype, rank, dims, err);
    amg_free(path);
    return st;
}

static amg_status report(const augmenter *a, int64_t done, const amg_progress *progress,
                         amg_error *err)
{
    if (!progress || !progress->report) return AMG_OK;
    const double seconds = now_seconds() - a->start_seconds;
    const amg_progress_event event = {
        .stage = "augment",
        .done = done,
        .total = a->total,
        .loss = NAN,
        .accuracy = NAN,
        .per_second = seconds > 0 ? (double)done / seconds : 0,
    };
    if (progress->report(progress->context, &event)) return AMG_OK;
    return amg_fail(err, AMG_INTERRUPTED, -1, "augment", "stopped on request");
}

/* Opens the shard's files; y stays closed where there are no targets. */
static amg_status open_shard(const augmenter *a, const amg_shard *shard, amg_outfile *x,
                             amg_outfile *y, amg_error *err)
{
    const int64_t *dims = a->plan->out_dims;
    const int64_t x_dims[4] = {shard->rows, dims[0], dims[1], dims[2]};
    int64_t y_dims[AMG_MAX_RANK] = {shard->rows, a->plan->num_subnets};
    memcpy(y_dims + 2, a->m->target_dims, (size_t)a->m->target_rank * sizeof *y_dims);
    amg_status st =
        open_part(a->job_dir, shard->x, a->plan->shape.dtype, 4, x_dims, x, err);
    if (st == AMG_OK && shard->y)
        st = open_part(a->job_dir, shard->y, a->m->target_dtype, a->m->target_rank + 2,
                       y_dims, y, err);
    return st;
}

/* Writes samples first .. first+shard->rows-1 as the shard's files. */
static amg_status write_shard(augmenter *a, const amg_shard *shard, int64_t first,
                              const amg_progress *progress, amg_error *err)
{
    step s = {.a = a, .shard = shard};
    amg_status st = open_shard(a, shard, &s.x, &s.y, err);
    int turn = 0;
    a->chunks[1].num = 0;
    for (int64_t done = 0; st == AMG_OK && done < shard->rows; turn = !turn) {
        const int64_t left = shard->rows - done;
        chunk *made = &a->chunks[turn];
        made->first = first + done;
        made->num = left < a->room ? left : a->room;
        s.made = made;
        s.written = &a->chunks[!turn];
        st = run_step(&s, err);
        done += made->num;
        if (st == AMG_OK) st = report(a, first + done, progress, err);
    }
    s.written = &a->chunks[!turn];
    if (st == AMG_OK) st = write_chunk(&s, err);
    if (st == AMG_OK) st = amg_outfile_commit(&s.x, true, err);
    if (st == AMG_OK && shard->y) {
        st = amg_outfile_commit(&s.y, true, err);
        if (st != AMG_OK) { /* no x without its y */
            char *path = amg_path_join(a->job_dir, shard->x);
            if (path) unlink(path);
            amg_free(path);
        }
    }
    amg_outfile_abort(&s.x);
    amg_outfile_abort(&s.y);
    return st;
}

static void remove_shards(const char *job_dir, const amg_shard *shards, int count)
{
    for (int i = 0; i < count; i++) {
        const char *names[2] = {shards[i].x, shards[i].y};
        for (int part = 0; part < 2 && names[part]; part++) {
            char *path = amg_path_join(job_dir, names[part]);
            if (path) unlink(path);
            amg_free(path);
        }
    }
}

/* Names and sizes of all shards of the split, in m->arena. */
static amg_status plan_shards(const augmenter *a, amg_manifest *m, amg_split *split,
                              amg_error *err)
{
    const int64_t count = (a->total + a->shard_rows - 1) / a->shard_rows;
    if (count > 99999) /* five digits in a name */
        return amg_fail(err, AMG_INVALID, -1, a->o->split,
                        "%" PRId64 " shards, expected at most 99999", count);
    split->num_samples = a->total;
    split->num_shards = (int)count;
    split->shards = amg_arena_array(&m->arena, (size_t)count, sizeof *split->shards);
    if (!split->shards) return amg_fail(err, AMG_NO_MEMORY, -1, "shards", "no memory");
    for (int i = 0; i < split->num_shards; i++) {
        amg_shard *shard = &split->shards[i];
        const int64_t left = a->total - i * a->shard_rows;
        shard->rows = left < a->shard_rows ? left : a->shard_rows;
        shard->x = shard_name(&m->arena, a->o->split, 'x', i);
        if (a->target_bytes > 0) shard->y = shard_name(&m->arena, a->o->split, 'y', i);
        if (!shard->x || (a->target_bytes > 0 && !shard->y))
            return amg_fail(err, AMG_NO_MEMORY, -1, "shards", "no memory");
    }
    return AMG_OK;
}

/* ---- all of it ---- */

/* Buffers of the chunks. Decoys have streams in streams mode only. */
static amg_status make_room(augmenter *a, amg_error *err)
{
    const amg_obf_plan *plan = a->plan;
    const size_t subnets = (size_t)plan->num_subnets, room = (size_t)a->room;
    const bool covered = plan->shape.mode == AMG_MODE_STREAMS;
    a->streams = amg_calloc(subnets, sizeof *a->streams);
    a->rows = amg_calloc(subnets, sizeof *a->rows);
    bool ok = a->streams && a->rows;
    if (a->target_bytes > 0) {
        a->targets = amg_malloc(subnets * room * a->target_bytes);
        ok = ok && a->targets;
    }
    for (int i = 0; ok && i < 2; i++) {
        a->chunks[i].x =
            amg_alloc_aligned(room * (size_t)plan->num_positions * a->elem);
        ok = a->chunks[i].x != NULL;
        if (!ok || a->target_bytes == 0) continue;
        a->chunks[i].y = amg_malloc(room * subnets * a->target_bytes);
        ok = a->chunks[i].y != NULL;
    }
    const int64_t *next = a->o->cover_rows;
    for (int s = 0; ok && s < plan->num_subnets; s++) {
        if (s != plan->original && !covered) continue;
        a->streams[s] = amg_alloc_aligned(room * (size_t)plan->num_values * a->elem);
        ok = a->streams[s] != NULL;
        if (s == plan->original || a->o->sets) continue;
        a->rows[s] = next;
        next += a->total;
    }
    if (ok) return AMG_OK;
    return amg_fail(err, AMG_NO_MEMORY, -1, "augment",
                    "no memory for %" PRId64 " samples at once", a->room);
}

static void free_room(augmenter *a)
{
    for (int s = 0; a->streams && s < a->plan->num_subnets; s++)
        amg_free_aligned(a->streams[s]);
    amg_free(a->streams);
    amg_free(a->rows);
    amg_free(a->targets);
    for (int i = 0; i < 2; i++) {
        amg_free_aligned(a->chunks[i].x);
        amg_free(a->chunks[i].y);
    }
}

/* Makes JOB_DIR/data if it is missing; *made tells. */
static amg_status make_data_dir(const char *job_dir, char **path, bool *made,
                                amg_error *err)
{
    *path = amg_path_join(job_dir, "data");
    if (!*path) return amg_fail(err, AMG_NO_MEMORY, -1, job_dir, "no memory");
    if (amg_path_is_dir(*path)) return AMG_OK;
    amg_status st = amg_dir_make(*path, err);
    *made = st == AMG_OK;
    return st;
}

amg_status amg_augment_data(const amg_augment_options *o, const char *job_dir,
                            amg_manifest *m, amg_split *split,
                            const amg_progress *progress, amg_error *err)
{
    amg_status st = check_options(o, m, err);
    if (st != AMG_OK) return st;
    augmenter a = {.o = o, .plan = o->plan, .m = m, .job_dir = job_dir};
    a.elem = amg_dtype_size(o->plan->shape.dtype);
    a.total = amg_dataset_get_info(o->data)->num_samples;
    if (amg_task_has_targets(m->task))
        a.target_bytes = amg_dataset_get_info(o->data)->target_bytes;
    const size_t row = (size_t)o->plan->num_positions * a.elem;
    const size_t want = o->shard_bytes ? o->shard_bytes : SHARD_BYTES;
    a.shard_rows = want > row ? (int64_t)(want / row) : 1;
    a.room = amg_samples_chunk(row + (size_t)a.plan->num_subnets * a.target_bytes);
    if (a.room > a.shard_rows) a.room = a.shard_rows;
    a.start_seconds = now_seconds();

    amg_split made = {0};
    char *data_dir = NULL;
    bool made_dir = false;
    int written = 0;
    st = plan_shards(&a, m, &made, err);
    if (st == AMG_OK) st = make_room(&a, err);
    if (st == AMG_OK) st = make_data_dir(job_dir, &data_dir, &made_dir, err);
    while (st == AMG_OK && written < made.num_shards) {
        st = write_shard(&a, &made.shards[written], written * a.shard_rows, progress,
                         err);
        if (st == AMG_OK) written++;
    }
    if (st == AMG_OK) {
        *split = made;
    } else {
        remove_shards(job_dir, made.shards, written);
        if (made_dir) rmdir(data_dir);
    }
    free_room(&a);
    amg_free(data_dir);
    return st;
}
