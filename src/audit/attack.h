/* Attacks: one file each, all of this form. An attack reads the evidence, adds findings
 * and perhaps pictures, and returns an error only if it could not be run; what does not
 * apply to a job is a skipped finding. The metrics are those of docs/privacy.md. */
#ifndef AMG_AUDIT_ATTACK_H
#define AMG_AUDIT_ATTACK_H

#include "amalgam/progress.h"
#include "audit/audit.h"
#include "audit/correlation.h"
#include "audit/evidence.h"
#include "audit/finding.h"

typedef struct {
    const amg_evidence *evidence;
    const amg_audit_options *options;
    amg_findings *findings;
    const amg_progress *progress;
    amg_neighbours *neighbours; /* shared by corr and cluster; n == 0: not yet found */
    uint64_t seed;              /* of this attack's random draws */
} amg_attack_task;

typedef amg_status (*amg_attack_fn)(const amg_attack_task *task, amg_error *err);

/* Data alone, nothing of the model: per position a score. */
amg_status amg_attack_lattice(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_marginal(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_corr(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_cluster(const amg_attack_task *task, amg_error *err);
/* With the model: each head's stream. */
amg_status amg_attack_naturalness(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_c2st(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_shadow(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_training(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_lookup(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_graph(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_reupload(const amg_attack_task *task, amg_error *err);
amg_status amg_attack_symmetry(const amg_attack_task *task, amg_error *err);

#endif
