/* Scores of positions: what the attacks on the data alone share. Such an attack gives
 * every position a number by one or several rules; here the numbers become a finding:
 * how surely the best rule tells the original's positions from the others.
 *
 * The interval counts two kinds of chance: which positions are the original's (Hanley
 * and McNeil), and which samples its stream happened to get. The second is the larger:
 * of two random halves of one data set one is a little brighter, at all positions
 * together. The jackknife finds it: rows are dealt to groups in turn, and each score is
 * worked out again without the rows of each group.
 *
 * Positions of a job are in secret, uniform order, so the first ones of a large sample
 * stand for all. */
#ifndef AMG_AUDIT_POSITIONS_H
#define AMG_AUDIT_POSITIONS_H

#include "audit/attack.h"

enum {
    AMG_ROW_GROUPS = 10, /* fewer rows than that are too few for any of these attacks */
    AMG_MAX_RULES = 8,
    AMG_MAX_SCORED = 65536,  /* positions that are scored */
    AMG_POSITION_BLOCK = 64, /* positions that attacks walk through together */
    AMG_TOP_NEIGHBOURS = 16  /* found for each position, for corr and cluster */
};

/* The group of a row; replicate 1 + group is worked out without it. */
static inline int amg_row_group(int64_t row) { return (int)(row % AMG_ROW_GROUPS); }

typedef struct {
    int64_t n; /* positions scored: 0 .. n-1 */
    int num_rules;
    const char *const *names; /* "mean value"; static */
    double *score; /* [num_rules][1 + AMG_ROW_GROUPS][n]: of all rows, then without each
                      group's */
    /* A stream's positions go together, whatever it holds: tokens are numbered anew for
     * each network, and a text has its topics. So the original's mean score is compared
     * with the decoys', not position with position. */
    bool by_stream;
} amg_position_scores;

AMG_MUST_CHECK amg_status amg_position_scores_new(const amg_evidence *e, int num_rules,
                                                  const char *const *names,
                                                  amg_position_scores *out,
                                                  amg_error *err);
void amg_position_scores_clear(amg_position_scores *s); /* zeroed is fine */

static inline double *amg_position_score(const amg_position_scores *s, int rule,
                                         int replicate)
{
    return s->score + ((int64_t)rule * (1 + AMG_ROW_GROUPS) + replicate) * s->n;
}

/* A finding without figures yet. An AUC passes within margin of 1/2; by_stream, a ratio
 * from 1 / most_ratio to most_ratio. */
amg_finding amg_position_finding(const amg_position_scores *s, const char *attack,
                                 double margin, double most_ratio);
/* The best rule's AUC with its interval, corrected for the number of rules; chance .5;
 * guess: the stream whose positions stand out most. two_sided: a small score tells as
 * much as a large one, so the AUC is at least .5. Without truth the value is NaN and
 * the rule is the guess's. by_stream: the ratio that is farthest from 1, chance 1, its
 * interval by Student's t from how the decoys differ (none with one decoy). *rule: its
 * index. O(rules * (streams + groups) * n log n).
 */
AMG_MUST_CHECK amg_status amg_position_scores_judge(const amg_evidence *e,
                                                    const amg_position_scores *s,
                                                    bool two_sided, amg_finding *f,
                                                    int *rule, amg_error *err);

/* Whether f's interval (its value, without one) misses its range: the text then says
 * what to do. */
bool amg_finding_missed(const amg_finding *f);

/* Finds task->neighbours if they are not there yet: of the first positions, so many
 * that it takes minutes at most. n of them <= num_positions. */
AMG_MUST_CHECK amg_status amg_attack_neighbours(const amg_attack_task *task,
                                                amg_error *err);
/* Rows from which they are found. */
int64_t amg_attack_neighbour_rows(const amg_evidence *e);

/* Runs fn over blocks of positions 0 .. n-1 in parallel, stopping now and then for
 * progress. fn is given whole blocks but for the last. */
AMG_MUST_CHECK amg_status amg_positions_walk(const amg_attack_task *task,
                                             const char *attack, int64_t n,
                                             void (*fn)(void *context, int64_t begin,
                                                        int64_t end),
                                             void *context, amg_error *err);

#endif
