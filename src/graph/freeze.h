/* Which parameters do not train: patterns of an owner's names -> parameters of the
 * folded graph, which is what trains. */
#ifndef AMG_GRAPH_FREEZE_H
#define AMG_GRAPH_FREEZE_H

#include "graph/origin.h"

/* Names of trainables and running statistics, sorted bytewise, each once. Zeroed: none.
 */
typedef struct {
    int count;
    char **names; /* heap */
} amg_frozen;

/* What the patterns freeze of a model whose origin is o. A pattern is a glob (*, ?,
 * [...]; a backslash takes the next character as it is) on the names of initializers as
 * read, or several between commas. norm_stats: batch norms whose weights are frozen
 * keep their running statistics and normalise with them, as eval() does; their names
 * are listed, too.
 *
 * AMG_NOT_FOUND: a pattern matches no weight (the hint names near ones). AMG_INVALID:
 * all is frozen, or norm_stats has no batch norm to freeze. AMG_UNSUPPORTED: what
 * trains as one parameter once the graph is folded is frozen in part. */
AMG_MUST_CHECK amg_status amg_frozen_find(const amg_origin *o,
                                          const char *const *patterns, int num_patterns,
                                          bool norm_stats, amg_frozen *out,
                                          amg_error *err);
void amg_frozen_clear(amg_frozen *f);

/* Whether name is one of count sorted names. */
bool amg_frozen_has(const char *const *names, int count, const char *name);

#endif
