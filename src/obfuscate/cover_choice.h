/* One choice of covers while it is made, private to covers.c and cover_runs.c. */
#ifndef AMG_OBFUSCATE_COVER_CHOICE_H
#define AMG_OBFUSCATE_COVER_CHOICE_H

#include "obfuscate/cover_checks.h"
#include "obfuscate/cover_table.h"

/* Rows of the pool that are drawn from by themselves: those of a class, or all. */
typedef struct {
    int64_t front, back; /* places of the order that were not looked at yet */
    int64_t wanted, got; /* for the current split */
} amg_cover_group;

/* The state of one choice. */
typedef struct {
    const amg_secret *secret;
    const amg_cover_split *splits;
    amg_cover_plan plan;
    amg_cover_table table;
    int64_t chunk;
    size_t sample_bytes;
    uint8_t *x;     /* [chunk][sample_bytes] */
    uint8_t *tags;  /* [chunk][AMG_SAMPLE_TAG_BYTES] */
    int64_t *order; /* keyed permutation of the current pool's samples, by group */
    int64_t pool_size;
    amg_cover_group *groups;         /* [num_groups] */
    int num_groups;                  /* classes that are paired, or 1 */
    int32_t *own[AMG_COVER_SPLITS];  /* [num_samples] classes of the private data … */
    int32_t *pool[AMG_COVER_SPLITS]; /* … and of the pools; all NULL: not paired */
    bool in_runs[AMG_COVER_SPLITS];
    uint8_t *run; /* [longest run][AMG_SAMPLE_TAG_BYTES], where a split is in runs */
    bool crowded; /* runs found no room as they were placed */
} amg_cover_choice;

static inline int64_t amg_cover_set_size(const amg_dataset *ds)
{
    return amg_dataset_get_info(ds)->num_samples;
}

/* Whether the split draws on the first one's pool. */
bool amg_cover_shares_pool(const amg_cover_choice *c, int split);
/* Reads num <= chunk samples, those of rows (NULL: of their own numbers) from first on,
 * and leaves their tags in c->tags. */
AMG_MUST_CHECK amg_status amg_cover_tag_samples(amg_cover_choice *c,
                                                const amg_dataset *ds,
                                                const int64_t *rows, int64_t first,
                                                int64_t num, amg_error *err);

/* Runs of split and those behind it that share its pool: k places at equal distances, a
 * validation run at each and behind it one for training, so that training data which
 * grow move none. spread false: one behind the other. AMG_MISMATCH sets c->crowded. */
AMG_MUST_CHECK amg_status amg_cover_choose_runs(amg_cover_choice *c, int split,
                                                bool spread, amg_error *err);

#endif
