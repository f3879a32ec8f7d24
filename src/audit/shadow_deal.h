/* Jobs dealt anew, as an attacker would to learn from: k+1 streams each, in the form in
 * which attacks read a job, so that images, numbers and tokens go one way.
 *
 *   a source   each job: a private part at random, k covers from the rest by the law of
 *              `amalgam obfuscate` (obfuscate/covers.h); streams side by side
 *   a job      each dealt job: other rows of it, its own streams
 *
 * A private header of shadow. */
#ifndef AMG_AUDIT_SHADOW_DEAL_H
#define AMG_AUDIT_SHADOW_DEAL_H

#include "audit/evidence.h"

typedef struct {
    const amg_evidence *job; /* borrowed */
    amg_dataset *source;     /* NULL: rows of the job are dealt */
    amg_evidence form;       /* what all dealt jobs share: all but rows */
    int64_t num_rows;        /* of a dealt job; 0: there are not enough */
    int64_t num_available;   /* rows of the source, or of the job's evidence */
    int64_t *order;          /* [num_available] of the job's rows; NULL with a source */
    uint64_t seed;
} amg_deal;

/* At most so many rows of a dealt job, and so many bytes of its samples. */
#define AMG_DEAL_MAX_ROWS 1000
#define AMG_DEAL_MAX_BYTES ((int64_t)256 << 20)

/* Jobs like `job` from the data set that its private samples and covers came from.
 * AMG_MISMATCH: samples of another shape or type. */
AMG_MUST_CHECK amg_status amg_deal_open_source(const amg_evidence *job,
                                               const char *source, uint64_t seed,
                                               amg_deal *out, amg_error *err);
/* The job's rows, dealt out to num_jobs jobs that share none. */
AMG_MUST_CHECK amg_status amg_deal_open_rows(const amg_evidence *job, int num_jobs,
                                             uint64_t seed, amg_deal *out,
                                             amg_error *err);
void amg_deal_close(amg_deal *deal); /* zeroed is fine */

/* Job number i, rows ascending. Its streams are deal's: free with amg_deal_clear_job.
 */
AMG_MUST_CHECK amg_status amg_deal_job(const amg_deal *deal, int i, amg_evidence *out,
                                       amg_error *err);
void amg_deal_clear_job(amg_evidence *dealt); /* zeroed is fine */

#endif
