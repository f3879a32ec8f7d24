/* What is one owner's of a job: the model, the data, the secret, and what of the plan's
 * shape follows from them. A job has one owner, a packed one several. */
#ifndef AMG_OBFUSCATE_OWNER_H
#define AMG_OBFUSCATE_OWNER_H

#include "graph/freeze.h"
#include "obfuscate/inputs.h"
#include "obfuscate/plan.h"
#include "obfuscate/rotated_data.h"

/* Zeroed is closed. */
typedef struct {
    const amg_obfuscate_options *o; /* borrowed */
    amg_graph *file;                /* as read */
    amg_graph
        *model; /* constants folded, a view of file: its weights are what trains */
    amg_frozen frozen; /* names of model's */
    amg_loss_kind loss;
    float delta; /* of losses that have one */
    amg_inputs in;
    amg_preprocess pre; /* what the model expects of the data */
    amg_preprocess fed; /* what its copy in the job begins with: pre, or, where data are
                           rotated, nothing */
    amg_rotated_data how;   /* of rotated data, */
    amg_dataset *turned[4]; /* … that in has instead of what was opened */
    amg_secret *secret;
    const char *tokens_kept, *patches_kept; /* see amg_obfuscate_result */
} amg_owner;

/* Opens model and data and checks them against each other; makes the secret. On failure
 * there is nothing to close. */
AMG_MUST_CHECK amg_status amg_owner_open(const amg_obfuscate_options *options,
                                         amg_owner *out, amg_error *err);
void amg_owner_close(amg_owner *owner);

/* The plan's shape, with the owner's options about classes, tokens and the order of
 * values. AMG_UNSUPPORTED: the latter is wanted and the model or the data do not admit
 * it (says why). */
AMG_MUST_CHECK amg_status amg_owner_shape(amg_owner *owner, int num_decoys,
                                          amg_plan_shape *out, amg_error *err);

/* Where plan (of amg_owner_shape's shape; borrowed until the owner is closed) rotates
 * values: in becomes rotated data. */
AMG_MUST_CHECK amg_status amg_owner_rotate(amg_owner *owner, const amg_obf_plan *plan,
                                           amg_error *err);

/* What y of the shards will hold: the manifest's task and target. */
void amg_owner_describe_targets(const amg_owner *owner, amg_manifest *m);

/* Writes the owner's key file: temp is the finished job's folder, names are those of
 * the owner's network in it (borrowed). */
AMG_MUST_CHECK amg_status amg_owner_write_key(const amg_owner *owner,
                                              const amg_plan_shape *shape,
                                              const amg_job_names *names,
                                              const char *temp, amg_error *err);

#endif
