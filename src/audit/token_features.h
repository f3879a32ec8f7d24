/* Features of a sample of tokens. Each stream's tokens are renumbered in a way of its
 * own, so only what does not depend on numbers counts: how well a sample is foretold by
 * the rest of its own stream, and how its tokens repeat. The first is the one by which
 * smaller means more natural. */
#ifndef AMG_AUDIT_TOKEN_FEATURES_H
#define AMG_AUDIT_TOKEN_FEATURES_H

#include "audit/evidence.h"

/* How often each token, pair and triple of neighbours occurs in each stream. */
typedef struct amg_token_counts amg_token_counts;

/* Counts the first rows, as many as have 2 million tokens over all streams: at most 384
 * MiB. */
AMG_MUST_CHECK amg_status amg_token_counts_new(const amg_evidence *e,
                                               amg_token_counts **out, amg_error *err);
void amg_token_counts_free(amg_token_counts *counts);

int amg_token_feature_names(const char **names); /* [AMG_MAX_FEATURES]; how many */
/* out [num][features] of rows first .. first+num-1, each without its own share in the
 * counts; false when out of memory. Thread-safe. */
AMG_MUST_CHECK bool amg_token_features(const amg_token_counts *counts,
                                       const amg_evidence *e, int stream, int64_t first,
                                       int64_t num, double *out);

#endif
