/* The choice of covers: pool and private data in, rows per decoy out (covers.h has the
 * laws and their reasons). Samples are compared by 112 bits of a keyed tag of their
 * bytes, so that nobody who fills a pool can make two samples collide. Targets play a
 * part where covers are paired by class, only. */
#include "obfuscate/covers.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "obfuscate/cover_checks.h"
#include "obfuscate/cover_choice.h"
#include "obfuscate/cover_classes.h"
#include "obfuscate/plan.h"
#include "obfuscate/samples.h"

typedef amg_cover_choice chooser;
typedef amg_cover_group group;

#define PRIVATE_STREAM 0 /* decoy d is stream d + 1 */
#define PART 64          /* samples that a thread reads and tags at once */
#define MAX_BATCH                                                                      \
    ((int64_t)1 << 20) /* candidates looked at in one walk over the pool */

/* ---- tags ---- */

bool amg_cover_shares_pool(const chooser *c, int split)
{
    return split > 0 && c->splits[split].pool == c->splits[0].pool;
}

typedef struct {
    chooser *c;
    amg_samples samples;
    int64_t num;
} tagging;

static amg_status tag_item(void *context, int64_t item, amg_error *err)
{
    const tagging *t = context;
    const chooser *c = t->c;
    const int64_t begin = item * PART;
    const int64_t end = t->num - begin < PART ? t->num : begin + PART;
    const amg_status st = amg_samples_read_part(&t->samples, begin, end, err);
    if (st == AMG_OK)
        amg_secret_tag(c->secret, c->x + (size_t)begin * c->sample_bytes,
                       c->sample_bytes, end - begin,
                       c->tags + begin * AMG_SAMPLE_TAG_BYTES);
    return st;
}

amg_status amg_cover_tag_samples(chooser *c, const amg_dataset *ds, const int64_t *rows,
                                 int64_t first, int64_t num, amg_error *err)
{
    tagging t = {c, {.set = ds, .rows = rows, .first = first, .x = c->x}, num};
    const amg_status st = amg_samples_read_ahead(&t.samples, num, err);
    if (st != AMG_OK) return st;
    return amg_parallel_items((num + PART - 1) / PART, tag_item, &t, err);
}

/* ---- private data, and room for covers ---- */

static amg_status add_private(chooser *c, const amg_dataset *data, amg_error *err)
{
    const int64_t n = amg_cover_set_size(data);
    for (int64_t first = 0; first < n; first += c->chunk) {
        int64_t num = n - first < c->chunk ? n - first : c->chunk;
        amg_status st = amg_cover_tag_samples(c, data, NULL, first, num, err);
        if (st != AMG_OK) return st;
        for (int64_t i = 0; i < num; i++) {
            amg_cover_table_expect(&c->table, c->tags, i, num);
            if (amg_cover_table_find_or_add(
                    &c->table, c->tags + i * AMG_SAMPLE_TAG_BYTES, PRIVATE_STREAM) >= 0)
                c->plan.private_repeats++;
        }
    }
    return AMG_OK;
}

/* of: of which the missing ones have to be, "" or e.g. " of class 3". */
static amg_status too_small(const chooser *c, int split, int64_t missing,
                            const char *of, amg_error *err)
{
    const amg_dataset *pool = c->splits[split].pool;
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(pool),
             "the %s has %lld samples (%lld equal to others were passed over), %lld "
             "more%s are needed for %d x %lld of %s",
             amg_cover_pool_names[pool == c->splits[0].pool ? 0 : split],
             (long long)amg_cover_set_size(pool), (long long)c->plan.passed_over,
             (long long)missing, of, c->plan.num_decoys,
             (long long)c->plan.num_samples[split], amg_cover_data_names[split]);
    amg_hint(err, "use fewer decoys, a larger pool, or a smaller part of the data");
    return AMG_MISMATCH;
}

/* Before anything is read: the plain numbers. */
static amg_status check_pool_sizes(const chooser *c, amg_error *err)
{
    int64_t left = 0;
    for (int s = 0; s < c->plan.num_splits; s++) {
        int64_t need;
        if (!amg_mul_i64(c->plan.num_decoys, c->plan.num_samples[s], &need))
            return amg_fail(err, AMG_OVERFLOW, -1, amg_cover_data_names[s],
                            "too many samples");
        if (!amg_cover_shares_pool(c, s)) left = amg_cover_set_size(c->splits[s].pool);
        if (left < need) return too_small(c, s, need - left, "", err);
        left -= need;
    }
    return AMG_OK;
}

/* ---- classes ---- */

static amg_status read_classes(chooser *c, amg_error *err)
{
    amg_status st = AMG_OK;
    int64_t classes = 1;
    for (int s = 0; s < c->plan.num_splits && st == AMG_OK; s++) {
        const amg_dataset *data = c->splits[s].data, *pool = c->splits[s].pool;
        st = amg_cover_classes_read(data, amg_cover_data_names[s], &c->own[s], err);
        if (st == AMG_OK && !amg_cover_shares_pool(c, s))
            st =
                amg_cover_classes_read(pool, amg_cover_pool_names[s], &c->pool[s], err);
        if (amg_dataset_get_info(data)->num_classes > classes)
            classes = amg_dataset_get_info(data)->num_classes;
        if (amg_dataset_get_info(pool)->num_classes > classes)
            classes = amg_dataset_get_info(pool)->num_classes;
    }
    c->num_groups = (int)classes;
    return st;
}

/* Of which class each row of the split's pool is; NULL: not paired. */
static const int32_t *pool_classes(const chooser *c, int split)
{
    return c->pool[amg_cover_shares_pool(c, split) ? 0 : split];
}

static void want(chooser *c, int split)
{
    const int64_t n = c->plan.num_samples[split];
    for (int g = 0; g < c->num_groups; g++) c->groups[g].wanted = c->groups[g].got = 0;
    if (!c->own[split]) c->groups[0].wanted = n * c->plan.num_decoys;
    for (int64_t i = 0; c->own[split] && i < n; i++)
        c->groups[c->own[split][i]].wanted += c->plan.num_decoys;
}

/* ---- rows at random ---- */

static void free_order(chooser *c)
{
    if (c->order) sodium_memzero(c->order, (size_t)c->pool_size * sizeof *c->order);
    amg_free_aligned(c->order);
    c->order = NULL;
}

static amg_status draw_order(chooser *c, const amg_dataset *pool, uint64_t index,
                             amg_error *err)
{
    amg_keystream *ks = NULL;
    const int64_t n = amg_cover_set_size(pool);
    free_order(c);
    c->pool_size = n;
    c->order = amg_alloc_aligned((size_t)n * sizeof *c->order);
    if (!c->order) return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
    amg_status st = amg_keystream_new(c->secret, AMG_PURPOSE_COVERS, index, &ks, err);
    if (st != AMG_OK) return st;
    amg_keystream_permutation(ks, n, c->order);
    amg_keystream_free(ks);
    return AMG_OK;
}

/* Where each group stands in the order of a split's pool. */
static amg_status make_groups(chooser *c, int split, amg_error *err)
{
    int64_t *ends = amg_malloc((size_t)c->num_groups * sizeof *ends);
    if (!ends) return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
    amg_status st = AMG_OK;
    ends[0] = c->pool_size;
    if (pool_classes(c, split))
        st = amg_cover_classes_group(pool_classes(c, split), c->num_groups, c->order,
                                     c->pool_size, ends, err);
    for (int g = 0; g < c->num_groups && st == AMG_OK; g++)
        c->groups[g] = (group){.front = g > 0 ? ends[g - 1] : 0, .back = ends[g]};
    amg_free(ends);
    return st;
}

/* Takes up to most candidates that are still wanted, of each group from the front
 * (training) or the back (validation). Returns how many. */
static int64_t take_candidates(chooser *c, int split, int64_t most, int64_t *out)
{
    int64_t taken = 0;
    for (int i = 0; i < c->num_groups; i++) {
        group *g = &c->groups[i];
        int64_t num = g->wanted - g->got;
        if (num > most - taken) num = most - taken;
        if (num > g->back - g->front) num = g->back - g->front;
        while (num-- > 0)
            out[taken++] = split == 0 ? c->order[g->front++] : c->order[--g->back];
    }
    return taken;
}

/* Why no candidate was left: the first group that is short. */
static amg_status lacks_rows(const chooser *c, int split, amg_error *err)
{
    char of[32] = "";
    int g = 0;
    while (c->groups[g].got == c->groups[g].wanted) g++;
    if (c->own[split]) snprintf(of, sizeof of, " of class %d", g);
    return too_small(c, split, c->groups[g].wanted - c->groups[g].got, of, err);
}

/* Tags of num candidates, in their order. They are read as they follow each other in
 * the pool, which may be a file larger than the memory; place [pool_size] is room, all
 * 0 before and, if nothing fails, after. */
static amg_status tag_candidates(chooser *c, const amg_dataset *pool,
                                 const int64_t *candidates, int64_t num,
                                 uint32_t *place, uint8_t *tags, amg_error *err)
{
    amg_status st = AMG_OK;
    int64_t *rows = amg_malloc((size_t)c->chunk * sizeof *rows);
    if (!rows) return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
    for (int64_t i = 0; i < num; i++) place[candidates[i]] = (uint32_t)i + 1;
    for (int64_t row = 0, got = 0; row < c->pool_size && st == AMG_OK; row++) {
        if (place[row]) rows[got++] = row;
        if (got == 0 || (got < c->chunk && row + 1 < c->pool_size)) continue;
        st = amg_cover_tag_samples(c, pool, rows, 0, got, err);
        while (got-- > 0) {
            memcpy(tags + (size_t)(place[rows[got]] - 1) * AMG_SAMPLE_TAG_BYTES,
                   c->tags + got * AMG_SAMPLE_TAG_BYTES, AMG_SAMPLE_TAG_BYTES);
            place[rows[got]] = 0;
        }
        got = 0;
    }
    sodium_memzero(rows, (size_t)c->chunk * sizeof *rows);
    amg_free(rows);
    return st;
}

/* Each decoy's rows of a split from the stream that took each row of the pool (0:
 * none): ascending, or so that each is of the private sample's class. */
static amg_status list_rows(chooser *c, int split, const uint16_t *taker,
                            amg_error *err)
{
    const int64_t n = c->plan.num_samples[split];
    int64_t got[AMG_MAX_DECOYS] = {0};
    for (int64_t row = 0; row < c->pool_size; row++)
        if (taker[row]) {
            const int64_t d = taker[row] - 1;
            c->plan.rows[split][d * n + got[d]++] = row;
        }
    amg_status st = AMG_OK;
    for (int64_t d = 0; c->own[split] && d < c->plan.num_decoys && st == AMG_OK; d++)
        st =
            amg_cover_classes_align(pool_classes(c, split), c->num_groups,
                                    c->own[split], c->plan.rows[split] + d * n, n, err);
    return st;
}

/* Room for a choice of rows: of a batch of candidates, and of the pool. */
typedef struct {
    int64_t batch;
    int64_t *candidates; /* [batch] */
    uint8_t *tags;       /* [batch][AMG_SAMPLE_TAG_BYTES] */
    uint32_t *place;     /* [pool_size] */
    uint16_t *taker;     /* [pool_size] */
} row_room;

static amg_status row_room_make(const chooser *c, int64_t wanted, row_room *r,
                                amg_error *err)
{
    const size_t pool = (size_t)c->pool_size;
    r->batch = wanted < MAX_BATCH ? wanted : MAX_BATCH;
    r->candidates = amg_malloc((size_t)r->batch * sizeof *r->candidates);
    r->tags = amg_malloc((size_t)r->batch * AMG_SAMPLE_TAG_BYTES);
    r->place = amg_calloc(pool, sizeof *r->place);
    r->taker = amg_calloc(pool, sizeof *r->taker);
    return r->candidates && r->tags && r->place && r->taker
               ? AMG_OK
               : amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
}

static void row_room_clear(const chooser *c, row_room *r)
{
    if (r->candidates)
        sodium_memzero(r->candidates, (size_t)r->batch * sizeof *r->candidates);
    if (r->taker) sodium_memzero(r->taker, (size_t)c->pool_size * sizeof *r->taker);
    amg_free(r->candidates);
    amg_free(r->tags);
    amg_free(r->place);
    amg_free(r->taker);
}

static amg_status choose_rows(chooser *c, int split, amg_error *err)
{
    const int64_t wanted = c->plan.num_samples[split] * c->plan.num_decoys;
    row_room r = {0};
    amg_status st = row_room_make(c, wanted, &r, err);
    const int32_t *class_of = pool_classes(c, split);
    want(c, split);
    for (int64_t got = 0; st == AMG_OK && got < wanted;) {
        const int64_t num = take_candidates(c, split, r.batch, r.candidates);
        if (num == 0) {
            st = lacks_rows(c, split, err);
            break;
        }
        st = tag_candidates(c, c->splits[split].pool, r.candidates, num, r.place,
                            r.tags, err);
        for (int64_t i = 0; st == AMG_OK && i < num; i++) {
            amg_cover_table_expect(&c->table, r.tags, i, num);
            group *g = &c->groups[class_of ? class_of[r.candidates[i]] : 0];
            const int stream = 1 + (int)(g->got % c->plan.num_decoys);
            const int held = amg_cover_table_find_or_add(
                &c->table, r.tags + i * AMG_SAMPLE_TAG_BYTES, stream);
            if (held >= 0 && held != stream) {
                c->plan.passed_over++;
                continue;
            }
            c->plan.cover_repeats += held == stream;
            r.taker[r.candidates[i]] = (uint16_t)stream;
            g->got++;
            got++;
        }
    }
    if (st == AMG_OK) st = list_rows(c, split, r.taker, err);
    row_room_clear(c, &r);
    return st;
}

/* ---- all of it ---- */

/* Buffers and the table for all samples of the job. */
static amg_status make_room(chooser *c, amg_error *err)
{
    size_t samples = 0, longest = 0;
    for (int s = 0; s < c->plan.num_splits; s++) {
        size_t of_split = (size_t)c->plan.num_samples[s] * (size_t)c->plan.num_decoys;
        c->plan.rows[s] = amg_calloc(of_split, sizeof(int64_t));
        if (!c->plan.rows[s]) goto no_memory;
        samples += of_split + (size_t)c->plan.num_samples[s];
        if (c->in_runs[s] && longest < (size_t)c->plan.num_samples[s])
            longest = (size_t)c->plan.num_samples[s];
    }
    c->sample_bytes = amg_dataset_get_info(c->splits[0].data)->sample_bytes;
    c->chunk = amg_samples_chunk(c->sample_bytes);
    c->x = amg_malloc((size_t)c->chunk * c->sample_bytes);
    c->tags = amg_malloc((size_t)c->chunk * AMG_SAMPLE_TAG_BYTES);
    c->groups = amg_calloc((size_t)c->num_groups, sizeof *c->groups);
    c->run = longest ? amg_malloc(longest * AMG_SAMPLE_TAG_BYTES) : NULL;
    if (amg_cover_table_init(&c->table, samples) && c->x && c->tags && c->groups &&
        (c->run || !longest))
        return AMG_OK;
no_memory:
    return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory to compare samples");
}

/* All private samples first: no cover may equal one, of whatever split. */
static amg_status choose_all(chooser *c, bool spread, amg_error *err)
{
    amg_status st = AMG_OK;
    const int num_splits = c->plan.num_splits;
    amg_cover_table_empty(&c->table);
    c->plan.private_repeats = c->plan.cover_repeats = c->plan.passed_over = 0;
    c->crowded = false;
    for (int s = 0; s < num_splits && st == AMG_OK; s++)
        st = add_private(c, c->splits[s].data, err);
    for (int s = 0; s < num_splits && st == AMG_OK; s++) {
        const bool shared = amg_cover_shares_pool(c, s);
        if (c->in_runs[s]) {
            if (!shared) st = amg_cover_choose_runs(c, s, spread, err);
            continue;
        }
        if (!shared) st = draw_order(c, c->splits[s].pool, (uint64_t)s, err);
        if (!shared && st == AMG_OK) st = make_groups(c, s, err);
        if (st == AMG_OK) st = choose_rows(c, s, err);
    }
    return st;
}

amg_status amg_cover_plan_derive(const amg_secret *secret, int num_decoys,
                                 const amg_cover_split *splits, int num_splits,
                                 amg_cover_plan *out, amg_error *err)
{
    chooser c = {.secret = secret, .splits = splits, .num_groups = 1};
    if (num_decoys < 1 || num_decoys > AMG_MAX_DECOYS)
        return amg_fail(err, AMG_INVALID, -1, "covers", "%d decoys, expected 1 to %d",
                        num_decoys, AMG_MAX_DECOYS);
    amg_status st = amg_cover_check(splits, num_splits, c.in_runs, err);
    if (st != AMG_OK) return st;
    c.plan.num_decoys = num_decoys;
    c.plan.num_splits = num_splits;
    for (int s = 0; s < num_splits; s++)
        c.plan.num_samples[s] = amg_cover_set_size(splits[s].data);
    st = check_pool_sizes(&c, err);
    if (st != AMG_OK) return st;
    if (splits[0].pair_classes) st = read_classes(&c, err);
    if (st == AMG_OK) st = make_room(&c, err);
    if (st == AMG_OK) st = choose_all(&c, true, err);
    /* Free rows between places are lost to the last run: once more, without. */
    if (c.crowded) st = choose_all(&c, false, err);
    if (st == AMG_OK)
        *out = c.plan;
    else
        amg_cover_plan_clear(&c.plan);
    amg_cover_table_clear(&c.table);
    amg_free(c.x);
    amg_free(c.tags);
    amg_free(c.run);
    amg_free(c.groups);
    for (int s = 0; s < num_splits; s++) {
        amg_free(c.own[s]);
        amg_free(c.pool[s]);
    }
    free_order(&c);
    return st;
}

void amg_cover_plan_clear(amg_cover_plan *plan)
{
    for (int s = 0; s < AMG_COVER_SPLITS; s++) {
        if (plan->rows[s])
            sodium_memzero(plan->rows[s], (size_t)plan->num_samples[s] *
                                              (size_t)plan->num_decoys *
                                              sizeof *plan->rows[s]);
        amg_free(plan->rows[s]);
    }
    *plan = (amg_cover_plan){0};
}
