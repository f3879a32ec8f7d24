/* Opaque names and keyed order for a whole graph. */
#ifndef AMG_OBFUSCATE_SCRAMBLE_H
#define AMG_OBFUSCATE_SCRAMBLE_H

#include "graph/graph.h"
#include "key/secret.h"

/* A graph that computes what g does, in which parameters stand in keyed order as p000,
 * p001, …; nodes in a keyed topological order, unnamed, with outputs v000, …; outputs
 * in g's order as h0, h1, …; inputs named x (x1, … if several). A constant stands there
 * once for each use, parameters without use do not, attributes are in one form.
 * names[v] (room for g->num_values, strings of out's arena) receives the new name of
 * g's value v
 * ("" for a parameter without use and for an absent output; one of several for a
 * constant). Optional outputs that nothing reads are absent. */
AMG_MUST_CHECK amg_status amg_scramble(amg_keystream *k, const amg_graph *g,
                                       amg_graph **out, const char **names,
                                       amg_error *err);

#endif
