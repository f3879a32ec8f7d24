/* The choice of covers: pool and private data in, rows per decoy out (covers.h has the
 * law and its reasons). Samples are compared by a keyed 112-bit hash of their bytes, so
 * that nobody who fills a pool can make two samples collide. Targets play no part. */
#include "obfuscate/covers.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "obfuscate/samples.h"

#define PRIVATE_STREAM 0 /* decoy d is stream d + 1 */

/* ---- which streams hold which bytes: open addressing, at most half full ---- */

typedef struct {
    uint64_t high;
    uint64_t low; /* 48 bits of hash, then the stream + 1 in 16 bits; 0: empty */
} cell;

typedef struct {
    cell *cells;
    size_t mask;
} stream_table;

static uint64_t le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* Stream that holds these bytes already, or -1 and they are now held by stream. */
static int find_or_add(stream_table *t, const uint8_t hash[AMG_SAMPLE_HASH_BYTES],
                       int stream)
{
    const uint64_t high = le64(hash), low = le64(hash + 8) & ~UINT64_C(0xFFFF);
    size_t at = (size_t)high & t->mask;
    while (t->cells[at].low & 0xFFFF) {
        if (t->cells[at].high == high && (t->cells[at].low & ~UINT64_C(0xFFFF)) == low)
            return (int)(t->cells[at].low & 0xFFFF) - 1;
        at = (at + 1) & t->mask;
    }
    t->cells[at] = (cell){high, low | (uint64_t)(stream + 1)};
    return -1;
}

/* ---- state of one choice ---- */

typedef struct {
    const amg_secret *secret;
    const amg_cover_split *splits;
    amg_cover_plan plan;
    stream_table table;
    int64_t chunk;
    size_t sample_bytes;
    uint8_t *x;      /* [chunk][sample_bytes] */
    uint8_t *hashes; /* [chunk][AMG_SAMPLE_HASH_BYTES] */
    int64_t *order;  /* keyed permutation of the current pool's samples … */
    int64_t pool_size;
    int64_t front, back; /* … of which [front, back) were not looked at yet */
} chooser;

static const char *const data_names[] = {"training data", "validation data"};
static const char *const pool_names[] = {"cover pool", "validation cover pool"};

static int64_t size_of(const amg_dataset *ds)
{
    return amg_dataset_get_info(ds)->num_samples;
}

static void hash_range(void *context, int64_t begin, int64_t end)
{
    chooser *c = context;
    for (int64_t i = begin; i < end; i++)
        amg_secret_hash(c->secret, c->x + (size_t)i * c->sample_bytes, c->sample_bytes,
                        c->hashes + i * AMG_SAMPLE_HASH_BYTES);
}

/* Reads num <= chunk samples and leaves their hashes in c->hashes. */
static amg_status hash_samples(chooser *c, const amg_dataset *ds, const int64_t *rows,
                               int64_t first, int64_t num, amg_error *err)
{
    amg_status st = amg_samples_read(ds, rows, first, num, c->x, NULL, err);
    if (st == AMG_OK) amg_parallel_for(num, 16, hash_range, c);
    return st;
}

/* ---- rows in common ---- */

static int compare_rows(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Source rows of ds, ascending; NULL when out of memory. */
static int64_t *sorted_rows(const amg_dataset *ds)
{
    const int64_t n = size_of(ds);
    int64_t *rows = amg_malloc((size_t)n * sizeof *rows);
    for (int64_t i = 0; rows && i < n; i++) rows[i] = amg_dataset_source_row(ds, i);
    if (rows) qsort(rows, (size_t)n, sizeof *rows, compare_rows);
    return rows;
}

static amg_status check_disjoint(const amg_dataset *a, const char *a_name,
                                 const amg_dataset *b, const char *b_name,
                                 amg_error *err)
{
    if (strcmp(amg_dataset_source(a), amg_dataset_source(b)) != 0) return AMG_OK;
    amg_status st = AMG_OK;
    int64_t *rows_a = sorted_rows(a), *rows_b = sorted_rows(b);
    if (!rows_a || !rows_b) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, a_name, "no memory to compare rows");
        goto done;
    }
    for (int64_t i = 0, j = 0; i < size_of(a) && j < size_of(b);) {
        if (rows_a[i] == rows_b[j]) {
            st =
                amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(a),
                         "row %lld is in the %s and in the %s, expected no row in both",
                         (long long)rows_a[i], a_name, b_name);
            amg_hint(err, "take parts of one set that do not overlap, e.g. "
                          "[0%%-50%%:seed=1] and [50%%-100%%:seed=1]");
            break;
        }
        if (rows_a[i] < rows_b[j])
            i++;
        else
            j++;
    }
done:
    amg_free(rows_a);
    amg_free(rows_b);
    return st;
}

/* Every two of the private splits and pools. */
static amg_status check_all_disjoint(const amg_cover_split *splits, int num_splits,
                                     amg_error *err)
{
    const amg_dataset *sets[2 * AMG_COVER_SPLITS];
    const char *names[2 * AMG_COVER_SPLITS];
    int count = 0;
    for (int s = 0; s < num_splits; s++) {
        sets[count] = splits[s].data;
        names[count++] = data_names[s];
    }
    for (int s = 0; s < num_splits; s++) {
        if (s > 0 && splits[s].pool == splits[0].pool) continue;
        sets[count] = splits[s].pool;
        names[count++] = pool_names[s];
    }
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++) {
            amg_status st = check_disjoint(sets[i], names[i], sets[j], names[j], err);
            if (st != AMG_OK) return st;
        }
    return AMG_OK;
}

static amg_status check_shape(const amg_dataset *ds, const char *name,
                              const amg_dataset *like, amg_error *err)
{
    const amg_dataset_info *a = amg_dataset_get_info(ds);
    const amg_dataset_info *b = amg_dataset_get_info(like);
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    if (a->dtype == b->dtype && a->rank == b->rank &&
        memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0)
        return AMG_OK;
    return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(ds),
                    "samples of the %s are %s, expected %s as in the training data",
                    name, amg_shape_text(a->dtype, a->rank, a->dims, found),
                    amg_shape_text(b->dtype, b->rank, b->dims, expected));
}

/* ---- the choice ---- */

static amg_status too_small(const chooser *c, int split, int64_t missing,
                            amg_error *err)
{
    const amg_dataset *pool = c->splits[split].pool;
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(pool),
             "the %s has %lld samples (%lld equal to others were passed over), %lld "
             "more are needed for %d x %lld of %s",
             pool_names[pool == c->splits[0].pool ? 0 : split],
             (long long)size_of(pool), (long long)c->plan.passed_over,
             (long long)missing, c->plan.num_decoys,
             (long long)c->plan.num_samples[split], data_names[split]);
    amg_hint(err, "use fewer decoys, a larger pool, or a smaller part of the data");
    return AMG_MISMATCH;
}

/* Before anything is read: the plain numbers. */
static amg_status check_pool_sizes(const chooser *c, amg_error *err)
{
    int64_t left = 0;
    for (int s = 0; s < c->plan.num_splits; s++) {
        const bool shared = s > 0 && c->splits[s].pool == c->splits[0].pool;
        int64_t need;
        if (!amg_mul_i64(c->plan.num_decoys, c->plan.num_samples[s], &need))
            return amg_fail(err, AMG_OVERFLOW, -1, data_names[s], "too many samples");
        if (!shared) left = size_of(c->splits[s].pool);
        if (left < need) return too_small(c, s, need - left, err);
        left -= need;
    }
    return AMG_OK;
}

static void free_order(chooser *c)
{
    if (c->order) sodium_memzero(c->order, (size_t)c->pool_size * sizeof *c->order);
    amg_free(c->order);
    c->order = NULL;
}

static amg_status draw_order(chooser *c, const amg_dataset *pool, uint64_t index,
                             amg_error *err)
{
    amg_keystream *ks = NULL;
    const int64_t n = size_of(pool);
    free_order(c);
    c->pool_size = n;
    c->order = amg_malloc((size_t)n * sizeof *c->order);
    if (!c->order) return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
    amg_status st = amg_keystream_new(c->secret, AMG_PURPOSE_COVERS, index, &ks, err);
    if (st != AMG_OK) return st;
    amg_keystream_permutation(ks, n, c->order);
    amg_keystream_free(ks);
    c->front = 0;
    c->back = n;
    return AMG_OK;
}

static amg_status add_private(chooser *c, const amg_dataset *data, amg_error *err)
{
    const int64_t n = size_of(data);
    for (int64_t first = 0; first < n; first += c->chunk) {
        int64_t num = n - first < c->chunk ? n - first : c->chunk;
        amg_status st = hash_samples(c, data, NULL, first, num, err);
        if (st != AMG_OK) return st;
        for (int64_t i = 0; i < num; i++)
            if (find_or_add(&c->table, c->hashes + i * AMG_SAMPLE_HASH_BYTES,
                            PRIVATE_STREAM) >= 0)
                c->plan.private_repeats++;
    }
    return AMG_OK;
}

/* Takes num candidates from the front (training) or the back (validation). */
static void take_candidates(chooser *c, int split, int64_t num, int64_t *out)
{
    for (int64_t i = 0; i < num; i++)
        out[i] = split == 0 ? c->order[c->front++] : c->order[--c->back];
}

static amg_status choose_split(chooser *c, int split, amg_error *err)
{
    const int64_t n = c->plan.num_samples[split], k = c->plan.num_decoys;
    int64_t *rows = c->plan.rows[split];
    int64_t *candidates = amg_malloc((size_t)c->chunk * sizeof *candidates);
    if (!candidates) return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
    amg_status st = AMG_OK;
    for (int64_t got = 0; got < k * n;) {
        int64_t num = k * n - got < c->chunk ? k * n - got : c->chunk;
        if (num > c->back - c->front) num = c->back - c->front;
        if (num == 0) {
            st = too_small(c, split, k * n - got, err);
            goto done;
        }
        take_candidates(c, split, num, candidates);
        st = hash_samples(c, c->splits[split].pool, candidates, 0, num, err);
        if (st != AMG_OK) goto done;
        for (int64_t i = 0; i < num; i++) {
            const int stream = 1 + (int)(got % k);
            int held =
                find_or_add(&c->table, c->hashes + i * AMG_SAMPLE_HASH_BYTES, stream);
            if (held >= 0 && held != stream) {
                c->plan.passed_over++;
                continue;
            }
            c->plan.cover_repeats += held == stream;
            rows[got % k * n + got / k] = candidates[i];
            got++;
        }
    }
    for (int64_t d = 0; d < k; d++)
        qsort(rows + d * n, (size_t)n, sizeof *rows, compare_rows);
done:
    sodium_memzero(candidates, (size_t)c->chunk * sizeof *candidates);
    amg_free(candidates);
    return st;
}

/* Buffers and the table for all samples of the job. */
static amg_status make_room(chooser *c, amg_error *err)
{
    size_t cells = 64, samples = 0;
    for (int s = 0; s < c->plan.num_splits; s++) {
        size_t of_split = (size_t)c->plan.num_samples[s] * (size_t)c->plan.num_decoys;
        c->plan.rows[s] = amg_calloc(of_split, sizeof(int64_t));
        if (!c->plan.rows[s]) goto no_memory;
        samples += of_split + (size_t)c->plan.num_samples[s];
    }
    while (cells < 2 * samples) cells *= 2;
    c->table = (stream_table){amg_calloc(cells, sizeof(cell)), cells - 1};
    c->sample_bytes = amg_dataset_get_info(c->splits[0].data)->sample_bytes;
    c->chunk = amg_samples_chunk(c->sample_bytes);
    c->x = amg_malloc((size_t)c->chunk * c->sample_bytes);
    c->hashes = amg_malloc((size_t)c->chunk * AMG_SAMPLE_HASH_BYTES);
    if (c->table.cells && c->x && c->hashes) return AMG_OK;
no_memory:
    return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory to compare samples");
}

static amg_status check_inputs(const chooser *c, amg_error *err)
{
    if (c->plan.num_splits < 1 || c->plan.num_splits > AMG_COVER_SPLITS)
        return amg_fail(err, AMG_INVALID, -1, "covers",
                        "found %d splits, expected 1-%d", c->plan.num_splits,
                        AMG_COVER_SPLITS);
    const amg_dataset *like = c->splits[0].data;
    for (int s = 0; s < c->plan.num_splits; s++) {
        amg_status st = check_shape(c->splits[s].data, data_names[s], like, err);
        if (st == AMG_OK) st = check_shape(c->splits[s].pool, pool_names[s], like, err);
        if (st != AMG_OK) return st;
    }
    amg_status st = check_all_disjoint(c->splits, c->plan.num_splits, err);
    return st == AMG_OK ? check_pool_sizes(c, err) : st;
}

amg_status amg_cover_plan_derive(const amg_secret *secret, int num_decoys,
                                 const amg_cover_split *splits, int num_splits,
                                 amg_cover_plan *out, amg_error *err)
{
    chooser c = {.secret = secret, .splits = splits};
    c.plan.num_decoys = num_decoys;
    c.plan.num_splits = num_splits;
    for (int s = 0; s < num_splits && s < AMG_COVER_SPLITS; s++)
        c.plan.num_samples[s] = size_of(splits[s].data);
    amg_status st = check_inputs(&c, err);
    if (st != AMG_OK) return st;
    st = make_room(&c, err);
    /* All private samples first: no cover may equal one, of whatever split. */
    for (int s = 0; s < num_splits && st == AMG_OK; s++)
        st = add_private(&c, splits[s].data, err);
    for (int s = 0; s < num_splits && st == AMG_OK; s++) {
        if (s == 0 || splits[s].pool != splits[0].pool) {
            st = draw_order(&c, splits[s].pool, (uint64_t)s, err);
        }
        if (st == AMG_OK) st = choose_split(&c, s, err);
    }
    if (st == AMG_OK)
        *out = c.plan;
    else
        amg_cover_plan_clear(&c.plan);
    amg_free(c.table.cells);
    amg_free(c.x);
    amg_free(c.hashes);
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
