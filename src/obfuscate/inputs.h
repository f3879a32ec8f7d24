/* The data that obfuscation starts from: opened, and checked against the model, the
 * task and each other before anything is chosen. */
#ifndef AMG_OBFUSCATE_INPUTS_H
#define AMG_OBFUSCATE_INPUTS_H

#include "obfuscate/obfuscate.h"

typedef struct {
    amg_dataset *train, *val, *covers, *val_covers; /* NULL: not given */
    amg_dataset *opened[4];                         /* those of them that are ours */
    amg_task task;
    int num_parts; /* of AMG_LOSS_SUM; else 0 */
    amg_loss_part parts[AMG_MAX_PARTS];
    int64_t
        vocab;   /* samples are tokens below it: rows of the model's tables, or what
                    the data say; 0: they are no tokens, or nothing is known of them */
    int64_t pad; /* the token that fills up samples of the data, or AMG_NO_TOKEN */
    /* Classes of the original's head and of the decoys', which are as many, or more
     * where the covers have more: fewer would tell them apart. Of a language model its
     * tokens. 1 without classes. */
    int64_t num_classes, cover_classes;
} amg_inputs;

/* Opens what options name (data sets given as such are used as they are). model: as it
 * will be trained, with one input and one output. AMG_MISMATCH: samples, targets,
 * classes or vocabularies that do not fit the model, the task or the training data;
 * AMG_UNSUPPORTED: what paper mode cannot do. The names in errors are the specs, or
 * sources. */
AMG_MUST_CHECK amg_status amg_inputs_open(const amg_obfuscate_options *options,
                                          const amg_graph *model, amg_inputs *out,
                                          amg_error *err);
void amg_inputs_close(amg_inputs *in); /* zeroed is fine */

#endif
