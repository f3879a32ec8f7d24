/* The architecture of decoys: walks around a hidden centre. */
#ifndef AMG_OBFUSCATE_DECOY_ARCH_H
#define AMG_OBFUSCATE_DECOY_ARCH_H

#include "graph/graph.h"
#include "obfuscate/augment_model.h"

/* A step away from the smallest kernel, or from a stretch that stands once, is taken
 * one time in so many. */
enum { AMG_DECOY_WALL = 4 };

/* Skeleton (no weights) of decoy index, 1..num_decoys. num_classes 0: an output of the
 * original's shape. */
AMG_MUST_CHECK amg_status amg_decoy_arch_make(const amg_secret *secret,
                                              const amg_graph *original, int index,
                                              int num_decoys, int64_t num_classes,
                                              const amg_decoy_options *options,
                                              amg_graph **out, amg_error *err);

/* Whether a walk from g leads anywhere: a network whose widths no rule follows, without
 * a kernel, an activation or a stretch that may change, has decoys of its own
 * architecture. */
AMG_MUST_CHECK amg_status amg_decoy_can_walk(const amg_graph *g, bool *out,
                                             amg_error *err);

/* The next or previous usual multiple of a width (…, 48, 64, 96, 128, 192, …); the
 * width itself where there is none. Up and down are each other's inverse. */
int64_t amg_decoy_ladder(int64_t width, bool up);

/* One step of the walk: *out is g, without weights, edited or, where the drawn edit
 * does not apply, not. A step leads from one architecture to another with the same
 * probability as back, but for AMG_DECOY_WALL. serial: > 0, another one for each step.
 */
AMG_MUST_CHECK amg_status amg_decoy_step(amg_keystream *k, const amg_graph *g,
                                         int serial, amg_graph **out, amg_error *err);

#endif
