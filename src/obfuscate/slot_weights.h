/* Class weights of a job's heads: the owner's, as each sub-network numbers its classes.
 */
#ifndef AMG_OBFUSCATE_SLOT_WEIGHTS_H
#define AMG_OBFUSCATE_SLOT_WEIGHTS_H

#include "formats/manifest.h"
#include "obfuscate/plan.h"

/* weights[slot] (made; amg_free each): of each slot's classes, in the job's numbers.
 * dir has the training shards that m names. texts[slot]: what the slot's owner asks for
 * (amg_class_weights_parse); NULL: nothing, or, unless the job is packed, that the slot
 * is a decoy's. A decoy gets the owner's weights, each for the class that is as
 * frequent among the decoy's labels as that of the owner among the owner's: weights
 * that fit a column of labels would tell it from others. Balanced ones are counted in
 * each column apart, where anybody can count them. AMG_INVALID: a text that is wrong,
 * or decoys have another number of classes. */
AMG_MUST_CHECK amg_status amg_slot_weights_make(const char *const *texts, bool packed,
                                                const char *dir, const amg_manifest *m,
                                                const amg_obf_plan *plan,
                                                float **weights, amg_error *err);

#endif
