/* Initial weights of decoys, drawn by the laws that the original's own initial weights
 * follow. */
#ifndef AMG_OBFUSCATE_DECOY_INIT_H
#define AMG_OBFUSCATE_DECOY_INIT_H

#include "graph/graph.h"
#include "key/secret.h"

/* Fills skeleton's trainables and buffers: each takes the law of the original's
 * parameter of the same name (before any '~'). *num_unknown: trainables and buffers of
 * the original that follow no known initialisation law (a pretrained model): their
 * decoys get a normal law of equal mean and deviation, or a uniform one of equal bound,
 * which does not hide. */
AMG_MUST_CHECK amg_status amg_decoy_init(amg_keystream *k, const amg_graph *original,
                                         const amg_graph *skeleton, amg_graph **out,
                                         int *num_unknown, amg_error *err);

#endif
