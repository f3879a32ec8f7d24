/* Covers that are one stretch of their pool, as the private windows of a text are of
 * theirs (covers.h has the law). */
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/cover_choice.h"

typedef amg_cover_choice chooser;

/* A run that is to be: decoy's covers of a split. */
typedef struct {
    int split, decoy;
} run;

/* Rows between two windows that share no token. */
static int64_t apart(const amg_dataset *pool)
{
    const amg_dataset_info *info = amg_dataset_get_info(pool);
    return info->stride > 0 ? (info->dims[0] - 1) / info->stride : 0;
}

/* Rows left out at both ends of a pool, where the private data may be its neighbours.
 */
static int64_t margin(const chooser *c, const amg_dataset *pool)
{
    for (int s = 0; s < c->plan.num_splits; s++)
        if (!strcmp(amg_dataset_source(c->splits[s].data), amg_dataset_source(pool)))
            return apart(pool);
    return 0;
}

static amg_status no_room(chooser *c, int split, bool at_document, amg_error *err)
{
    const amg_dataset *pool = c->splits[split].pool;
    const int64_t n = c->plan.num_samples[split];
    c->crowded = true;
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(pool),
             "the %s has %lld samples (%lld equal to others were met): no room for %d "
             "stretches of %lld for the %s, %lld apart%s",
             amg_cover_pool_names[amg_cover_shares_pool(c, split) ? 0 : split],
             (long long)amg_cover_set_size(pool), (long long)c->plan.passed_over,
             c->plan.num_decoys, (long long)n, amg_cover_data_names[split],
             (long long)apart(pool),
             at_document ? ", each from where a window and a document begin" : "");
    amg_hint(err, "take a larger pool or fewer decoys%s",
             at_document
                 ? ", or leave out the first window of the data, DATA[1:]: they "
                   "then begin anywhere, as covers may"
                 : "");
    return AMG_MISMATCH;
}

/* The first run of a split's length in rows *at .. end-1 of the pool without a sample
 * of another stream, and from the beginning of a document where the private data are.
 * A row is never left out of it: where the private windows have no gap, a gap would
 * tell. *at is then the row behind the run. */
static amg_status find_run(chooser *c, run r, int64_t *at, int64_t end, amg_error *err)
{
    const amg_cover_split *split = &c->splits[r.split];
    const int64_t n = c->plan.num_samples[r.split];
    const bool at_document = amg_dataset_begins_document(split->data, 0);
    int64_t got = 0;
    while (got < n) {
        const int64_t first = *at, num = n - got < c->chunk ? n - got : c->chunk;
        if (end - first < n - got) return no_room(c, r.split, at_document, err);
        amg_status st = amg_cover_tag_samples(c, split->pool, NULL, first, num, err);
        if (st != AMG_OK) return st;
        for (; *at < first + num; ++*at) {
            const uint8_t *tag = c->tags + (*at - first) * AMG_SAMPLE_TAG_BYTES;
            if (got == 0 && at_document &&
                !amg_dataset_begins_document(split->pool, *at))
                continue;
            const int held = amg_cover_table_find(&c->table, tag);
            if (held >= 0 && held != 1 + r.decoy) {
                c->plan.passed_over++;
                got = 0;
                continue;
            }
            memcpy(c->run + got++ * AMG_SAMPLE_TAG_BYTES, tag, AMG_SAMPLE_TAG_BYTES);
        }
    }
    return AMG_OK;
}

static void take_run(chooser *c, run r, int64_t first)
{
    const int64_t n = c->plan.num_samples[r.split];
    int64_t *rows = c->plan.rows[r.split] + r.decoy * n;
    for (int64_t i = 0; i < n; i++) {
        rows[i] = first + i;
        if (amg_cover_table_find_or_add(&c->table, c->run + i * AMG_SAMPLE_TAG_BYTES,
                                        1 + r.decoy) >= 0)
            c->plan.cover_repeats++;
    }
}

/* Which decoy has the i-th run of a split: a keyed permutation for each of num splits.
 */
static amg_status draw_decoys(const chooser *c, int split, int num, int64_t *out,
                              amg_error *err)
{
    amg_keystream *ks = NULL;
    const int k = c->plan.num_decoys;
    amg_status st =
        amg_keystream_new(c->secret, AMG_PURPOSE_COVERS, (uint64_t)split, &ks, err);
    if (st != AMG_OK) return st;
    for (int i = 0; i < num; i++) amg_keystream_permutation(ks, k, out + i * k);
    amg_keystream_free(ks);
    return AMG_OK;
}

amg_status amg_cover_choose_runs(chooser *c, int split, bool spread, amg_error *err)
{
    const amg_dataset *pool = c->splits[split].pool;
    const int64_t gap = apart(pool), begin = margin(c, pool);
    const int64_t end = amg_cover_set_size(pool) - begin;
    const int k = c->plan.num_decoys;
    int last = split;
    while (last + 1 < c->plan.num_splits && amg_cover_shares_pool(c, last + 1)) last++;
    const int num = last - split + 1;
    int64_t *decoys = amg_malloc((size_t)(num * k) * sizeof *decoys);
    if (!decoys) return amg_fail(err, AMG_NO_MEMORY, -1, "covers", "no memory");
    amg_status st = draw_decoys(c, split, num, decoys, err);
    int64_t at = begin;
    for (int i = 0; i < k && st == AMG_OK; i++) {
        const int64_t place = begin + (end - begin) / k * i;
        if (spread && at < place) at = place;
        for (int s = last; s >= split && st == AMG_OK; s--) {
            const run r = {s, (int)decoys[(s - split) * k + i]};
            st = find_run(c, r, &at, end, err);
            if (st == AMG_OK) take_run(c, r, at - c->plan.num_samples[s]);
            at += gap;
        }
    }
    sodium_memzero(decoys, (size_t)(num * k) * sizeof *decoys);
    amg_free(decoys);
    return st;
}
