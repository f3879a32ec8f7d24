/* The model augmenter: original + k decoys -> one job graph of k+1 unconnected
 * sub-networks over one input, with opaque names and keyed order of everything. */
#ifndef AMG_OBFUSCATE_AUGMENT_MODEL_H
#define AMG_OBFUSCATE_AUGMENT_MODEL_H

#include "obfuscate/row_moves.h"

typedef enum {
    AMG_DECOY_AUTO, /* SAME for a textbook network (graph/catalogue.h) in streams mode,
                       else WALK; amg_obfuscate settles it, elsewhere it is WALK */
    AMG_DECOY_WALK, /* hidden centre = walk(original), decoy = walk(centre) */
    AMG_DECOY_SAME
} amg_decoy_arch;

typedef struct {
    amg_decoy_arch arch;
    int walk_steps;      /* 0: 3 */
    double model_amount; /* > 0: decoys' trainables together = this x the original's
                            (paper mode) */
} amg_decoy_options;

/* One decoy, with freshly drawn weights of the same laws as the original's and
 * num_classes outputs (0: an output of the original's shape). index 1..k. *num_unknown:
 * parameters of the original whose values follow no known initialisation law (a
 * pretrained model), see decoy_init.h. */
AMG_MUST_CHECK amg_status amg_decoy_make(const amg_secret *secret,
                                         const amg_graph *original, int index,
                                         int num_decoys, int64_t num_classes,
                                         const amg_decoy_options *options,
                                         amg_graph **out, int *num_unknown,
                                         amg_error *err);

/* What one slot of a job holds. All borrowed. */
typedef struct {
    const amg_graph *graph;
    const amg_preprocess *pre;
    const amg_plan_shape *shape; /* what the slot's maps permute */
} amg_job_network;

/* Joins them: networks[plan slot] is the original, a decoy or, in a packed job, an
 * owner's. Each becomes Reshape -> Gather(select) -> Reshape -> preprocess -> its
 * network, whose class rows and embedding tables are permuted by the slot's maps. names
 * [num_subnets] receives (heap) those of each slot. target_names (NULL: not wanted)
 * receives, per slot, the job's name of the value that the slot's head is trained for
 * (heap, amg_free each and the array): with pre->windows the next tokens, else what the
 * slot's network itself sees, its input after select and preprocess. On failure there
 * is nothing to free. */
AMG_MUST_CHECK amg_status amg_augment_model(const amg_secret *secret,
                                            const amg_obf_plan *plan,
                                            const amg_job_network *networks,
                                            amg_graph **out, amg_job_names *names,
                                            char ***target_names, amg_error *err);

#endif
