/* Checks of private data and pools, before anything is read: equal shapes, no row in
 * two of them, and windows that follow each other as often in covers as in the private
 * data. Consumes the descriptions of data sets, produces an error or the way in which
 * each split's covers are to be chosen. Knows nothing of keys. */
#include "obfuscate/cover_checks.h"

#include <math.h>
#include <string.h>

const char *const amg_cover_data_names[] = {"training data", "validation data"};
const char *const amg_cover_pool_names[] = {"cover pool", "validation cover pool"};

static int64_t size_of(const amg_dataset *ds)
{
    return amg_dataset_get_info(ds)->num_samples;
}

/* ---- rows in common ---- */

/* Rows of a set ascend, so that one walk over both finds what they share. */
static amg_status check_disjoint(const amg_dataset *a, const char *a_name,
                                 const amg_dataset *b, const char *b_name,
                                 amg_error *err)
{
    if (strcmp(amg_dataset_source(a), amg_dataset_source(b)) != 0) return AMG_OK;
    int64_t i = 0, j = 0;
    while (i < size_of(a) && j < size_of(b)) {
        const int64_t in_a = amg_dataset_source_row(a, i);
        const int64_t in_b = amg_dataset_source_row(b, j);
        if (in_a == in_b) {
            amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(a),
                     "row %lld is in the %s and in the %s, expected no row in both",
                     (long long)in_a, a_name, b_name);
            amg_hint(err, "take parts of one set that do not overlap, e.g. "
                          "[0%%-50%%:seed=1] and [50%%-100%%:seed=1]");
            return AMG_MISMATCH;
        }
        i += in_a < in_b;
        j += in_b < in_a;
    }
    return AMG_OK;
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
        names[count++] = amg_cover_data_names[s];
    }
    for (int s = 0; s < num_splits; s++) {
        if (s > 0 && splits[s].pool == splits[0].pool) continue;
        sets[count] = splits[s].pool;
        names[count++] = amg_cover_pool_names[s];
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

/* ---- chains ---- */

/* Share of the samples, all but the last, that the next window follows. */
static double chained(const amg_dataset *ds)
{
    const int64_t n = size_of(ds);
    int64_t chains = 0;
    for (int64_t i = 0; i + 1 < n; i++) chains += amg_dataset_continues(ds, i);
    return n > 1 ? (double)chains / (double)(n - 1) : 0;
}

/* How far the private data's share may be from the covers' v. Of n rows drawn at random
 * from n / v it varies by v (1 - v)^2 / n (the law of runs in a random subset), the
 * pool's by no more: four times the deviation of the difference, and two chains more or
 * less for what the ends of a part do. */
static double tolerance(double v, int64_t n)
{
    return 4 * (1 - v) * sqrt(2 * v / (double)n) + 2 / (double)n;
}

/* Rows at random from a pool of which a share q is chained are so q * n / pool of the
 * time, stretches of it q. *runs: whether the latter is nearer to the private data, and
 * those have no gap at all, or the former will not do: rows need less of a pool. */
static amg_status choose_way(const amg_cover_split *split, const char *data_name,
                             const char *pool_name, bool *runs, amg_error *err)
{
    const int64_t n = size_of(split->data);
    *runs = false;
    if (amg_dataset_get_info(split->data)->stride == 0 || n < 2) return AMG_OK;
    const double own = chained(split->data), stretch = chained(split->pool);
    const double random = stretch * (double)n / (double)size_of(split->pool);
    *runs = fabs(own - stretch) < fabs(own - random) &&
            (own >= 1 || fabs(own - random) > tolerance(random, n));
    const double covers = *runs ? stretch : random;
    if (fabs(own - covers) <= tolerance(covers, n)) return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(split->data),
             "%.1f %% of the windows of the %s go on where the one before ends; covers "
             "would %.1f %% of the time (random rows of the %s) or %.1f %% (stretches "
             "of it), which tells them apart",
             100 * own, data_name, 100 * random, pool_name, 100 * stretch);
    amg_hint(err, "deal out one set, text:SET[0%%-25%%:seed=1] and "
                  "text:SET[25%%-100%%:seed=1], or take whole sets that amalgam split "
                  "made");
    return AMG_MISMATCH;
}

/* Private splits that are stretches of one text may not share tokens where one ends and
 * the other begins: the runs of a decoy never do. */
static amg_status check_apart(const amg_dataset *a, const amg_dataset *b,
                              amg_error *err)
{
    const int64_t length = amg_dataset_get_info(a)->dims[0];
    const int64_t a_first = amg_dataset_source_row(a, 0);
    const int64_t b_first = amg_dataset_source_row(b, 0);
    const int64_t apart = a_first < b_first
                              ? b_first - amg_dataset_source_row(a, size_of(a) - 1)
                              : a_first - amg_dataset_source_row(b, size_of(b) - 1);
    if (strcmp(amg_dataset_source(a), amg_dataset_source(b)) || apart >= length)
        return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(a),
             "training data and validation data are stretches of one text and share "
             "tokens where they meet, which covers never do");
    amg_hint(err, "leave a window out between them, e.g. [0:1000] and [1001:1100]");
    return AMG_MISMATCH;
}

static amg_status choose_ways(const amg_cover_split *splits, int num_splits,
                              bool runs[AMG_COVER_SPLITS], amg_error *err)
{
    for (int s = 0; s < num_splits; s++) {
        const bool shared = s > 0 && splits[s].pool == splits[0].pool;
        const amg_status st =
            choose_way(&splits[s], amg_cover_data_names[s],
                       amg_cover_pool_names[shared ? 0 : s], &runs[s], err);
        if (st != AMG_OK) return st;
        if (!shared || runs[s] == runs[0]) continue;
        amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(splits[s].pool),
                 "the %s would take %s of the cover pool, the %s %s: expected one way",
                 amg_cover_data_names[0], runs[0] ? "stretches" : "random rows",
                 amg_cover_data_names[s], runs[s] ? "stretches" : "random rows");
        amg_hint(err, "give the validation data a pool of their own");
        return AMG_MISMATCH;
    }
    return num_splits > 1 && runs[0] && runs[1]
               ? check_apart(splits[0].data, splits[1].data, err)
               : AMG_OK;
}

amg_status amg_cover_check(const amg_cover_split *splits, int num_splits,
                           bool runs[AMG_COVER_SPLITS], amg_error *err)
{
    if (num_splits < 1 || num_splits > AMG_COVER_SPLITS)
        return amg_fail(err, AMG_INVALID, -1, "covers",
                        "found %d splits, expected 1-%d", num_splits, AMG_COVER_SPLITS);
    const amg_dataset *like = splits[0].data;
    for (int s = 0; s < num_splits; s++) {
        amg_status st = check_shape(splits[s].data, amg_cover_data_names[s], like, err);
        if (st == AMG_OK)
            st = check_shape(splits[s].pool, amg_cover_pool_names[s], like, err);
        if (st != AMG_OK) return st;
    }
    const amg_status st = check_all_disjoint(splits, num_splits, err);
    return st == AMG_OK ? choose_ways(splits, num_splits, runs, err) : st;
}
