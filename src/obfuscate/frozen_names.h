/* The job's names of what does not train, in every sub-network alike. */
#ifndef AMG_OBFUSCATE_FROZEN_NAMES_H
#define AMG_OBFUSCATE_FROZEN_NAMES_H

#include "formats/manifest.h"
#include "graph/freeze.h"
#include "obfuscate/plan.h"

/* Adds a slot's names to m->frozen. own: what is frozen of the original or, in a packed
 * job, of the slot's owner. names: of the slot's network; a decoy's parameter is frozen
 * if the one that it was made after is: which has its name up to a '~'. */
AMG_MUST_CHECK amg_status amg_frozen_names_add(const amg_frozen *own,
                                               const amg_job_names *names,
                                               amg_manifest *m, amg_error *err);
/* Brings them into the manifest's order; after the last slot. */
void amg_frozen_names_sort(amg_manifest *m);

#endif
