/* What the parts of the lookup attack share: the job's samples and their signatures,
 * and the search for near ones. Private to lookup*.c. */
#ifndef AMG_AUDIT_LOOKUP_FINDER_H
#define AMG_AUDIT_LOOKUP_FINDER_H

#include "audit/attack.h"
#include "audit/signature.h"

/* Of each comparison of shares, one sound job in a hundred fails. */
#define AMG_LOOKUP_ALPHA .01

typedef struct {
    const amg_attack_task *task;
    const amg_evidence *e;
    amg_sample_kind kind;
    int64_t total;         /* samples: num_streams * num_rows, stream by stream */
    size_t sample_bytes;   /* the largest stream's */
    int64_t sample_values; /* likewise */
    amg_signatures own;
} amg_finder;

AMG_MUST_CHECK amg_status amg_finder_open(const amg_attack_task *task, amg_finder *out,
                                          amg_error *err);
void amg_finder_close(amg_finder *f); /* zeroed is fine */

/* Sample i as its network sees it, elements of the evidence's type. */
void amg_finder_gather(const amg_finder *f, int64_t i, void *out);
amg_status amg_finder_no_memory(amg_error *err);

/* For each of the job's samples the nearest of pool, verified: near [total] receives
 * its number in the pool, or -1. read gives the pool's sample i in values of dtype,
 * count of them; pool NULL: the sample's own stream, numbers are the job's. skip
 * [total] (NULL: none) leaves samples out. */
typedef struct {
    const amg_signatures *pool;
    amg_dtype dtype;
    int64_t count;
    amg_status (*read)(void *context, int64_t i, void *values, amg_error *err);
    void *context;
} amg_near_pool;
AMG_MUST_CHECK amg_status amg_finder_near(const amg_finder *f,
                                          const amg_near_pool *pool,
                                          const uint8_t *skip, int64_t *near,
                                          amg_error *err);

/* For each of the job's samples the nearest of all streams, verified, if it is nearest
 * to that one, too: twin [total] receives its number, or -1. So twins come in pairs,
 * and which they are has nothing to do with where they stand. */
AMG_MUST_CHECK amg_status amg_finder_twins(const amg_finder *f, int64_t *twin,
                                           amg_error *err);

/* hits [num_streams] of num_rows each: the smallest p that a stream's share is that of
 * the others together, times the number of streams; *which: that stream. */
double amg_finder_compare(const amg_finder *f, const int64_t *hits, int *which);
/* "12.00 %, 0.00 %, …" */
const char *amg_finder_shares(const amg_finder *f, const int64_t *hits, char *text,
                              size_t size);
/* " (the original)", " (a decoy)", or "" without the truth. */
const char *amg_finder_whose(const amg_finder *f, int stream);

/* Adds a finding about streams' shares: value p, FAIL below AMG_LOOKUP_ALPHA. */
AMG_MUST_CHECK amg_status amg_lookup_shares(const amg_finder *f, const char *metric,
                                            const int64_t *hits, const char *what,
                                            const char *remedy, amg_error *err);
/* Looks for near samples in each stream and across them and adds what it finds. */
AMG_MUST_CHECK amg_status amg_lookup_near(const amg_finder *f, amg_error *err);
/* Looks all samples up in a set and adds what it finds. */
AMG_MUST_CHECK amg_status amg_lookup_set(const amg_finder *f, const char *spec,
                                         amg_error *err);

#endif
