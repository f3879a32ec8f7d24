/* What the parts of the graph attack share: the job's graph, taken apart into its
 * sub-networks, and the one question that most of them ask: is something equal in all
 * of them? Private to graph*.c. */
#ifndef AMG_AUDIT_GRAPH_PARTS_H
#define AMG_AUDIT_GRAPH_PARTS_H

#include "audit/attack.h"
#include "base/print.h"

/* Of one check a sound job fails one in a thousand: what these checks look for is gross
 * where it is at all. Divided by the number of looks. */
#define AMG_GRAPH_ALPHA 1e-3

typedef struct {
    const amg_attack_task *task;
    const amg_evidence *e;
    const amg_graph *g;
    int num;          /* sub-networks: the graph's outputs, the evidence's streams */
    int *owner;       /* [num_nodes] sub-network of each node */
    int *value_owner; /* [num_values] of what a node reads or makes; -1: the input */
    int **order;      /* [num][count] nodes in canonical order */
    int *count;       /* [num] */
    int *select;      /* [num] the Gather of the select; -1: none */
} amg_graph_parts;

/* How sub-networks agree in something. */
typedef struct {
    int differing; /* sub-networks that are not of the largest class of equal ones */
    int odd; /* the only one that is unlike all others, which are equal; else -1 */
} amg_agreement;
amg_agreement amg_graph_compare(const uint64_t *prints, int num);

/* Adds a finding that passes if nothing differs: its value is agreement.differing.
 * good: the text then; bad: what differs and what to do. Which one stands out, and that
 * it is the original, is said here. */
AMG_MUST_CHECK amg_status amg_graph_tell(const amg_graph_parts *p, const char *metric,
                                         amg_agreement agreement, const char *good,
                                         const char *bad, amg_error *err);

const char *amg_graph_head(const amg_graph_parts *p,
                           int subnet); /* its output's name */

/* The checks, one finding or more each. */
AMG_MUST_CHECK amg_status amg_graph_check_architecture(const amg_graph_parts *p,
                                                       amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_sizes(const amg_graph_parts *p,
                                                amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_catalogue(const amg_graph_parts *p,
                                                    amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_names(const amg_graph_parts *p,
                                                amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_order(const amg_graph_parts *p,
                                                amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_selects(const amg_graph_parts *p,
                                                  amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_init(const amg_graph_parts *p,
                                               amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_settings(const amg_graph_parts *p,
                                                   amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_labels(const amg_graph_parts *p,
                                                 amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_check_files(const amg_graph_parts *p,
                                                amg_error *err);

#endif
