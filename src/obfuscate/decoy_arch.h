/* The architecture of decoys: walks around a hidden centre. */
#ifndef AMG_OBFUSCATE_DECOY_ARCH_H
#define AMG_OBFUSCATE_DECOY_ARCH_H

#include "graph/graph.h"
#include "obfuscate/augment_model.h"

/* Skeleton (no weights) of decoy index, 1..num_decoys. */
AMG_MUST_CHECK amg_status amg_decoy_arch_make(const amg_secret *secret,
                                              const amg_graph *original, int index,
                                              int num_decoys, int64_t num_classes,
                                              const amg_decoy_options *options,
                                              amg_graph **out, amg_error *err);

#endif
