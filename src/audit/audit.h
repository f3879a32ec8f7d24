/* The audit: plays the curious cloud against one job and reports, attack by attack,
 * what it learned beside what chance would give (docs/privacy.md). With the key it
 * scores itself; without, it says what an attacker would guess. */
#ifndef AMG_AUDIT_AUDIT_H
#define AMG_AUDIT_AUDIT_H

#include "amalgam/progress.h"
#include "audit/finding.h"
#include "key/keyfile.h"

typedef struct {
    const char *job;
    const char *key; /* NULL: no truth */
    const amg_passphrase *passphrase;
    const char *attacks; /* names with commas; NULL: all that have what they need but
                            shadow */
    const char
        *source; /* DATA that private samples and covers were dealt from: shadow
                    deals it anew for each secret; NULL: it takes the job's streams */
    const char *const *lookup; /* DATA that the cloud may have: public sets, the pool */
    int num_lookup;
    const char *other;         /* an earlier upload of the same data: its job folder */
    int secrets;               /* of shadow; 0: 60 */
    double max_identification; /* an identification rate above it fails; 0: chance, by
                                  the interval */
    int64_t max_rows;          /* 0: 10,000 */
    int64_t
        train_steps; /* training: steps to train where the job has no metrics; 0: 50 */
    uint64_t seed;
} amg_audit_options;

/* What one attack took. */
typedef struct {
    const char *attack;
    double seconds;
} amg_audit_time;

#define AMG_MAX_ATTACKS 16

typedef struct {
    amg_findings findings;
    int num_streams, original; /* -1: not known */
    int64_t num_rows, total_rows;
    bool paper_mode;
    int num_failed; /* findings with AMG_VERDICT_FAIL */
    int num_times;
    amg_audit_time times[AMG_MAX_ATTACKS];
    double seconds;
    size_t peak_bytes; /* resident set of the process at the end */
} amg_audit_report;

/* Progress: stage is the attack's name. AMG_INVALID: an attack that does not exist (the
 * hint lists them). */
AMG_MUST_CHECK amg_status amg_audit_run(const amg_audit_options *options,
                                        const amg_progress *progress,
                                        amg_audit_report *out, amg_error *err);
void amg_audit_report_clear(amg_audit_report *report);

/* Name and one line about each attack; NULL past the last. */
const char *amg_audit_attack_name(int i, const char **what);

/* The report as JSON text and as one self-contained HTML page, written beside and
 * renamed. */
AMG_MUST_CHECK amg_status amg_audit_write_json(const amg_audit_report *report,
                                               const char *path, amg_error *err);
AMG_MUST_CHECK amg_status amg_audit_write_html(const amg_audit_report *report,
                                               const amg_audit_options *options,
                                               const char *path, amg_error *err);
/* JSON text on the heap (amg_free), for standard output. */
AMG_MUST_CHECK amg_status amg_audit_json(const amg_audit_report *report, char **out,
                                         amg_error *err);

#endif
